"""A platform's result becomes a PRE run of our own session: checked for the grid, published and contracted like any."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from cloud.db import Conn
from cloud.errors import NotNow
from cloud.market import exchange, exchangefile
from cloud.market.auction import Side
from cloud.market.exchange import Declaration, PeriodResult, Result
from cloud.market.matching import Share, pieces
from cloud.market.store import hosting as store

ACTOR: Final = "job:exchange"


class NotWaiting(NotNow):
    """The session does not wait for a result: its book is open, or it was cleared."""


def take(
    conn: Conn, session_id: int, result: Result, declared: Mapping[str, Declaration], now: datetime
) -> int:
    """Keep a checked result as a clearing run and move the session to 'cleared'; return the run's number. Raises NotWaiting."""
    run_no = store.next_run_no(conn, session_id)
    if run_no is None:
        raise NotWaiting("not_waiting", session=result.session_no)
    run, who = (session_id, run_no), (ACTOR, now)
    numbers = {key: seq_of(key) for key in declared}
    book = exchangefile.canonical(
        {key: exchangefile.declaration_bytes(declared[key]).decode() for key in sorted(declared)}
    )
    head = store.RunRow(
        price_rule=result.price_rule.value,
        at_margin=result.at_margin.value,
        first_seq=min(numbers.values(), default=0),
        last_seq=max(numbers.values(), default=0),
        orders=sum(len(each.entries) for each in declared.values()),
        input_sha256=hashlib.sha256(book).hexdigest(),
        result_sha256=hashlib.sha256(exchangefile.canonical(exchangefile.result_json(result))).hexdigest(),
        made_by=exchangefile.RESULT,
    )
    store.insert_run(conn, run, head, "", who)
    store.insert_prices(conn, run, [_price_row(result, each, declared) for each in result.periods])
    store.insert_fills(conn, run, [(numbers[key], list(result.fills[key])) for key in sorted(declared)])
    store.insert_pieces(
        conn, run, [row for each in result.periods for row in _pieces(result, each, declared, numbers)]
    )
    store.has_cleared(conn, session_id, run_no, who)
    return run_no


def seq_of(key: str) -> int:
    """The number in our book of a declaration by its key."""
    return int(key.rpartition(":")[2])


def _price_row(
    result: Result, period: PeriodResult, declared: Mapping[str, Declaration]
) -> tuple[int | None, ...]:
    offered = {
        side: sum(
            entry.quantity_kwh
            for own in declared.values()
            if own.side is side
            for entry in own.entries
            if entry.period == period.period
        )
        for side in Side
    }
    low, high = exchange.clearing_of(result, declared, period.period).interval_ticks or (None, None)
    return (
        *(period.period, period.volume_kwh, period.price_ticks, period.last_bid_ticks),
        *(period.last_ask_ticks, low, high, offered[Side.BUY], offered[Side.SELL]),
    )


def _pieces(
    result: Result,
    period: PeriodResult,
    declared: Mapping[str, Declaration],
    numbers: Mapping[str, int],
) -> list[tuple[int, int, int, int, int]]:
    """Sellers and buyers laid end to end in order of price, then number: (period, sell seq, buy seq, kWh, ticks)."""
    shares: dict[Side, list[tuple[int, int, Share]]] = {Side.BUY: [], Side.SELL: []}
    for key, own in declared.items():
        for entry, filled_kwh in zip(own.entries, result.fills[key], strict=True):
            if entry.period == period.period and filled_kwh:
                rank = -entry.price_ticks if own.side is Side.BUY else entry.price_ticks
                shares[own.side].append((rank, numbers[key], Share(key, filled_kwh)))
    ranked = {
        side: [share for _, _, share in sorted(found, key=lambda each: each[:2])]
        for side, found in shares.items()
    }
    return [
        (period.period, numbers[each.seller], numbers[each.buyer], each.quantity_kwh, period.price_ticks or 0)
        for each in pieces(ranked[Side.BUY], ranked[Side.SELL])
    ]
