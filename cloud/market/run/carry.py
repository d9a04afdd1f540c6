"""Shell: what a call auction left unfilled goes on in the rolling phase, where the session's rule says so.

The clock does it once, when a published session begins to roll: a rolling session is opened with the same periods, band
and steps until the same hour, and the rests enter its books in the order of their numbers. A rest can be withdrawn there
at any time. What its party cannot cover any more, or may not trade any more, does not go on; its party is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from cloud import notices
from cloud.db import Conn
from cloud.market.auction import Side
from cloud.market.closedbook import bids_of
from cloud.market.offering import margin_fen
from cloud.market.rests import Rest, rests_of
from cloud.market.rollbook import Op, Stays
from cloud.market.rolling import TradePrice
from cloud.market.sessionfile import SessionRule, rule_from
from cloud.market.store import changes, clearings, orders, rests, rolling, sessions
from cloud.market.store.rests import RestRow
from cloud.market.store.rolling import NewEvent, NewRolling
from cloud.market.store.sessions import SessionRow
from cloud.notices import Notice
from cloud.parties.standing import Standing
from cloud.parties.store import standings

CLOCK: Final = "job:sessions"


def look(conn: Conn, now: datetime) -> int:
    """Open the rolling sessions that are due with the rests of the auctions before them; speaks as the worker."""
    opened = 0
    for session_id in rests.due(conn, now):
        row = sessions.lock(conn, session_id)
        if row is None or row.state != "rolling" or rests.was_opened(conn, session_id):
            continue
        rule = rule_from(row.rule_id, row.rule_body)
        if rule.carries_rests:
            _open(conn, row, rule, now)
            opened += 1
    return opened


def _open(conn: Conn, row: SessionRow, rule: SessionRule, now: datetime) -> None:
    assert row.rolls_until is not None
    new = NewRolling(
        row.title,
        tuple((each.month, each.label) for each in row.periods),
        TradePrice.RESTING,
        (rule.band.low_ticks, rule.band.high_ticks),
        (rule.step_ticks, rule.lot_kwh),
        rule.margin_percent,
        (now, row.rolls_until),
        row.session_id,
    )
    rolling_id = rolling.announce(conn, new, now, CLOCK)
    left = _left(conn, row)
    known = standings.standings_of(conn, sorted({each.party_id for each in left}), now)
    for period in sorted({each.period for each in left}):
        rolling.lock(conn, rolling_id, period)
    kept = tuple(_enter(conn, rolling_id, (rule, row.session_id), (each, known), now) for each in left)
    rests.insert(conn, kept)
    facts = {
        "rolling": rolling_id,
        "rests": len(kept),
        "entered": sum(each.order_seq is not None for each in kept),
    }
    sessions.note(conn, row.session_id, "rests", row.state, (CLOCK, now, ""), facts)
    _tell(conn, row, rolling_id, kept, now)


def _left(conn: Conn, row: SessionRow) -> tuple[Rest, ...]:
    """The rests of the run that was published, before the security check cut it."""
    final = next(each for each in clearings.runs_of(conn, row.session_id) if each.run_no == row.final_run)
    base_no = final.based_on or final.run_no
    bids = bids_of(row.session_no, orders.book(conn, row.session_id, row.last_seq or 0))
    fills = clearings.fills_of(conn, row.session_id, base_no)
    return rests_of(bids, fills, changes.struck_in(conn, row.session_id, base_no))


def _enter(
    conn: Conn,
    rolling_id: int,
    of: tuple[SessionRule, int],
    whose: tuple[Rest, Mapping[int, Standing]],
    now: datetime,
) -> RestRow:
    """Put a rest into its book as a day order, with the margin that a bid binds there."""
    (rule, session_id), (rest, known) = of, whose
    standing = known[rest.party_id]
    reason, order_seq = "", None
    try:
        with conn.transaction():
            if not standing.is_admitted:
                raise _StaysOut("not_admitted")
            event = NewEvent(
                *(Op.ADD, now, CLOCK, rest.party_id, rest.unit_id, rest.side, Stays.DAY),
                *(rest.price_ticks, rest.quantity_kwh),
            )
            order_seq = rolling.add_event(conn, rolling_id, rest.period, event)
            if rest.side is Side.BUY and standing.guarantee_free_fen is not None:
                fen = margin_fen(rest.price_ticks * rest.quantity_kwh, rule.margin_percent)
                standings.reserve(conn, rest.party_id, fen, f"rolling:bid:{order_seq}", now)
    except standings.OverGuarantee:
        reason, order_seq = "guarantee", None
    except _StaysOut as out:
        reason, order_seq = str(out), None
    return RestRow(rest.seq, rest.entry_no, session_id, rest.party_id, rolling_id, order_seq, reason, now)


class _StaysOut(Exception):
    """A rest does not go on."""


def _tell(conn: Conn, row: SessionRow, rolling_id: int, kept: Iterable[RestRow], now: datetime) -> None:
    sums: dict[int, tuple[int, int]] = {}
    for each in kept:
        entered, out = sums.get(each.party_id, (0, 0))
        sums[each.party_id] = (entered + (each.order_seq is not None), out + (each.order_seq is None))
    for party_id, (entered, out) in sorted(sums.items()):
        facts = {"session": row.session_no, "entered": str(entered), "out": str(out)}
        key = f"session:{row.session_id}:rests:{party_id}"
        notices.post(conn, Notice(party_id, "session_rests", facts, f"/rolling/{rolling_id}", key), now)
