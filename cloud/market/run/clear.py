"""Shells: clear a closed book, repeat it in the sandbox, check it for the grid's security, publish it as contracts.

A closed book never changes: its rows are only added, none after the gate. So a run is a function of the session's own
copy of its rules and of the rows up to its last number, whenever and by whomever it is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib import metadata
from typing import Final
from uuid import UUID

from cloud import markettime, notices
from cloud.contracts.contract import from_trade
from cloud.contracts.store import life, wholesale
from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.db import Conn, ProcessRole, Scope, take_scope
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.lives import step
from cloud.market.auction import AtMargin, PriceRule, Side
from cloud.market.declaration import Declaration, Packed, content_sha256
from cloud.market.session import SESSION
from cloud.market.sessionbook import (
    Bid,
    Result,
    Way,
    book_sha256,
    cleared,
    cut,
    input_sha256,
    result_sha256,
)
from cloud.market.sessionfile import Method, Product, SessionRule, rule_from
from cloud.market.store import clearings, orders, sessions
from cloud.market.store.clearings import ContractRow, CutRow, PieceRow, RunRow
from cloud.market.store.orders import BidRow
from cloud.market.store.sessions import SessionRow
from cloud.money import fen_of
from cloud.notices import Notice
from cloud.parties.store import standings
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow

REASON_MAX: Final = 1000
_NO_KEY: Final = UUID(int=0)


class NoRun(NotFound):
    """There is no such session, or it has no such run."""


class BookOpen(Conflict):
    """The book is not closed yet."""


class BookChanged(Conflict):
    """A row of the book is not what was hashed when the book was closed."""


class SamePerson(Forbidden):
    """Who checked a result does not publish it as well."""


class ReasonMissing(Invalid):
    """Whoever cuts a result, or repeats a run, says why."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A piece of the run that is to be cut."""

    piece_no: int
    to_kwh: int
    reason: str


def clear(conn: Conn, actor: Actor, session_id: int, reason: str, now: datetime) -> int:
    """Clear the closed book as the session's rule says: a PRE run. A later one needs a reason."""
    row = _lock(conn, actor, session_id, now)
    state = step(SESSION, row.state, "clear")
    run_no = clearings.next_run(conn, session_id)
    if run_no > 1 and row.state != "frozen":
        _said(reason)
    rule = rule_from(row.rule_id, row.rule_body)
    way = Way(rule.method, rule.price_rule, rule.at_margin)
    run, result = _keep_run(conn, row, ("pre", run_no, None), way, (actor_name(actor), now, reason.strip()))
    sessions.set_state(conn, session_id, state)
    facts = {"run": run_no, "input_sha256": run.input_sha256, "result_sha256": run.result_sha256}
    sessions.note(conn, session_id, "clear", state, (actor_name(actor), now, reason.strip()), facts)
    _alert(conn, row, rule, result, now)
    return run_no


def sandbox(conn: Conn, actor: Actor, session_id: int, way: Way | None, reason: str, now: datetime) -> RunRow:
    """Repeat a run, with the session's rule or another way; it is kept apart and never published."""
    row = _lock(conn, actor, session_id, now)
    if row.gate_at is None:
        raise BookOpen("book_open")
    rule = rule_from(row.rule_id, row.rule_body)
    chosen = way or Way(rule.method, rule.price_rule, rule.at_margin)
    run_no = clearings.next_run(conn, session_id)
    who = (actor_name(actor), now, _said(reason))
    run, _ = _keep_run(conn, row, ("sandbox", run_no, None), chosen, who)
    facts = {"run": run_no, "result_sha256": run.result_sha256}
    sessions.note(conn, session_id, "sandbox", row.state, who, facts)
    return run


def check(conn: Conn, actor: Actor, session_id: int, cuts: Sequence[Cut], now: datetime) -> None:
    """Accept the last PRE run as it is, or with pieces cut for the security of the grid."""
    row = _lock(conn, actor, session_id, now)
    state = step(SESSION, row.state, "check")
    run = _last(conn, session_id, "pre")
    result = clearings.result_of(conn, session_id, run.run_no)
    cut(_bids(_book(conn, row)), result, {each.piece_no: each.to_kwh for each in cuts})
    for each in cuts:
        kept = CutRow(each.piece_no, each.to_kwh, _said(each.reason), now, actor_name(actor))
        clearings.insert_cut(conn, session_id, run.run_no, kept)
    sessions.set_state(conn, session_id, state)
    facts = {"run": run.run_no, "cuts": len(cuts)}
    sessions.note(conn, session_id, "check", state, (actor_name(actor), now, ""), facts)


def publish(conn: Conn, actor: Actor, session_id: int, now: datetime) -> tuple[str, ...]:
    """Publish the checked result FINAL: contracts, notices to both sides, margins given back.

    Somebody else than who checked it. Safe to repeat after a crash: all of it is one transaction. Raises SamePerson.
    """
    row = _lock(conn, actor, session_id, now)
    state = step(SESSION, row.state, "publish")
    checked = [each for each in sessions.events_of(conn, session_id) if each.deed == "check"]
    if checked and checked[-1].actor == actor_name(actor):
        raise SamePerson("session_same_person")
    take_scope(conn, Scope(ProcessRole.WORKER, actor=actor_name(actor)))  # acts for every party of the result
    pre = _last(conn, session_id, "pre")
    bids = _bids(_book(conn, row))
    cuts = {each.piece_no: each.to_kwh for each in clearings.cuts_of(conn, session_id, pre.run_no)}
    result = cut(bids, clearings.result_of(conn, session_id, pre.run_no), cuts)
    run_no = clearings.next_run(conn, session_id)
    final = RunRow(
        *(session_id, run_no, "final", pre.run_no, pre.rule_sha256, pre.price_rule, pre.at_margin),
        *(pre.method, pre.first_seq, pre.last_seq, pre.orders, pre.input_sha256, result_sha256(result)),
        *(_version(), "", now, actor_name(actor)),
    )
    clearings.insert_run(conn, final, result, {bid.seq: bid.party_id for bid in bids})
    sessions.set_final(conn, session_id, run_no)
    facts = {"run": run_no, "result_sha256": final.result_sha256}
    sessions.note(conn, session_id, "publish", state, (actor_name(actor), now, ""), facts)
    contracts = _contract(conn, row, run_no, (actor_name(actor), now))
    for key, _ in orders.reserved(conn, session_id):
        standings.release(conn, key, now)
    orders.free_exposures(conn, session_id)
    for party_id in sorted({bid.party_id for bid in bids}):
        _tell(conn, row, party_id, now)
    return contracts


def repeated(conn: Conn, session_id: int, run_no: int) -> tuple[RunRow, str]:
    """Compute a PRE or sandbox run again and return it with the hash that comes out now: it is the same, or was tampered with."""
    row = sessions.find(conn, session_id)
    run = next((each for each in clearings.runs_of(conn, session_id) if each.run_no == run_no), None)
    if row is None or run is None:
        raise NoRun("not_found", kind="clearing_run")
    way = Way(Method(run.method), PriceRule(run.price_rule), AtMargin(run.at_margin))
    bids = _bids(_book(conn, row))
    result = cleared(bids, len(row.period_label), way)
    if run.kind == "final":
        cuts = {each.piece_no: each.to_kwh for each in clearings.cuts_of(conn, session_id, run.based_on or 0)}
        result = cut(bids, result, cuts)
    return run, result_sha256(result)


def _keep_run(
    conn: Conn,
    row: SessionRow,
    named: tuple[str, int, int | None],
    way: Way,
    who: tuple[str, datetime, str],
) -> tuple[RunRow, Result]:
    bids = _bids(_book(conn, row))
    result = cleared(bids, len(row.period_label), way)
    book = book_sha256(bids)
    run = RunRow(
        *(row.session_id, named[1], named[0], named[2], row.rule_sha256, way.price_rule.value),
        *(way.at_margin.value, way.method.value, min((bid.seq for bid in bids), default=0)),
        *(row.last_seq or 0, sum(len(bid.period) for bid in bids)),
        *(input_sha256(book, way, row.rule_sha256), result_sha256(result), _version()),
        who[2],
        who[1],
        who[0],
    )
    clearings.insert_run(conn, run, result, {bid.seq: bid.party_id for bid in bids})
    return run, result


def _book(conn: Conn, row: SessionRow) -> tuple[BidRow, ...]:
    """The closed book, each row still what it was when the book was closed. Raises BookOpen, BookChanged."""
    if row.last_seq is None:
        raise BookOpen("book_open")
    rows = orders.book(conn, row.session_id, row.last_seq)
    for each in rows:
        packed = Packed(tuple(each.period), tuple(each.price_ticks), tuple(each.quantity_kwh))
        sent = Declaration(
            str(each.unit_id), Side(str(each.side)), (), each.client_key or _NO_KEY, each.replaces
        )
        if content_sha256(row.session_no, sent, packed) != bytes(each.content_sha256):
            raise BookChanged("book_changed", seq=each.seq)
    if book_sha256(_bids(rows)) != row.book_sha256:
        raise BookChanged("book_changed", seq=row.last_seq)
    return rows


def _bids(rows: Iterable[BidRow]) -> tuple[Bid, ...]:
    return tuple(
        Bid(
            *(row.seq, row.party_id or 0, str(row.unit_id), Side(str(row.side)), tuple(row.period)),
            *(tuple(row.price_ticks), tuple(row.quantity_kwh), bytes(row.content_sha256).hex()),
        )
        for row in rows
    )


def _contract(conn: Conn, row: SessionRow, run_no: int, who: tuple[str, datetime]) -> tuple[str, ...]:
    """Make the pieces of a final run contracts, one of a pair of units and, where they met at several prices, of each."""
    actor, now = who
    rule = rule_from(row.rule_id, row.rule_body)
    made: list[str] = []
    for (seller, buyer), pieces in _by_pair(clearings.pieces_of(conn, row.session_id, run_no)).items():
        for layer in _layers(pieces):
            contract_id = f"{row.session_no}-{len(made) + 1:05d}"
            terms = _terms(row, rule, (contract_id, seller, buyer), layer, now)
            wholesale.put(conn, terms, actor, now)
            life.insert(conn, from_trade(terms, f"session:{row.session_id}"), now, actor)
            kwh = sum(each.quantity_kwh for each in layer)
            amount = sum(each.quantity_kwh * each.price_ticks for each in layer)
            fen = fen_of(Decimal(amount).scaleb(-5))
            kept = ContractRow(
                contract_id, row.session_id, layer[0].seller_id, layer[0].buyer_id, kwh, fen, now
            )
            clearings.insert_contract(conn, kept)
            made.append(contract_id)
    return tuple(made)


def _by_pair(pieces: Iterable[PieceRow]) -> Mapping[tuple[str, str], tuple[PieceRow, ...]]:
    found: dict[tuple[str, str], list[PieceRow]] = {}
    for piece in pieces:
        found.setdefault((piece.seller_unit, piece.buyer_unit), []).append(piece)
    return {pair: tuple(found[pair]) for pair in sorted(found)}


def _layers(pieces: Sequence[PieceRow]) -> tuple[tuple[PieceRow, ...], ...]:
    """Put pieces so that each layer has every period once at one price; equal prices of a period are one already or summed."""
    by_period: dict[int, dict[int, PieceRow]] = {}
    for piece in pieces:
        prices = by_period.setdefault(piece.period, {})
        before = prices.get(piece.price_ticks)
        prices[piece.price_ticks] = piece if before is None else _joined(before, piece)
    layers: list[list[PieceRow]] = []
    for period in sorted(by_period):
        for depth, ticks in enumerate(sorted(by_period[period])):
            if depth == len(layers):
                layers.append([])
            layers[depth].append(by_period[period][ticks])
    return tuple(map(tuple, layers))


def _joined(one: PieceRow, other: PieceRow) -> PieceRow:
    return PieceRow(
        *(one.piece_no, one.period, one.sell_seq, one.buy_seq, one.seller_id, one.buyer_id),
        *(one.seller, one.buyer, one.seller_unit, one.buyer_unit),
        *(one.quantity_kwh + other.quantity_kwh, one.price_ticks),
    )


def _terms(
    row: SessionRow,
    rule: SessionRule,
    named: tuple[str, str, str],
    layer: Sequence[PieceRow],
    now: datetime,
) -> WholesaleTerms:
    contract_id, seller, buyer = named
    periods = row.periods
    is_green = rule.product is Product.GREEN
    volumes = tuple(
        Volume(
            *(periods[each.period - 1].month, periods[each.period - 1].label),
            Decimal(each.quantity_kwh).scaleb(-3),
            Decimal(each.price_ticks).scaleb(-2),
            Decimal(rule.environment_ticks).scaleb(-2),
        )
        for each in layer
    )
    return WholesaleTerms(
        *(contract_id, 1, ContractKind.GREEN if is_green else ContractKind.AUCTION, seller, buyer),
        *(
            markettime.day_of(now),
            f"电子交易确认单 {contract_id}（{row.session_no}）",
            Shape.FLAT,
            (),
            volumes,
        ),
        (buyer,) if is_green and not buyer.startswith("party:") else (),
    )


def _alert(conn: Conn, row: SessionRow, rule: SessionRule, result: Result, now: datetime) -> None:
    """Tell staff where the price and the marginal price are far apart (market.md 2.2)."""
    far = [
        each.period
        for each in result.prices
        if rule.alert_ticks is not None
        and each.price_ticks is not None
        and each.marginal_ticks is not None
        and abs(each.price_ticks - each.marginal_ticks) > rule.alert_ticks
    ]
    if far:
        facts = {"session": row.session_no, "title": row.title, "periods": str(len(far))}
        path = f"/trading/desk/{row.session_id}"
        key = f"session:{row.session_id}:apart:{now.isoformat()}"
        notices.post(conn, Notice(None, "session_prices_apart", facts, path, key), now)


def _tell(conn: Conn, row: SessionRow, party_id: int, now: datetime) -> None:
    facts = {"session": row.session_no, "title": row.title}
    path = f"/trading/sessions/{row.session_id}"
    key = f"session:{row.session_id}:published:{party_id}"
    notices.post(conn, Notice(party_id, "session_published", facts, path, key), now)


def _last(conn: Conn, session_id: int, kind: str) -> RunRow:
    found = [each for each in clearings.runs_of(conn, session_id) if each.kind == kind]
    if not found:
        raise NoRun("not_found", kind="clearing_run")
    return found[-1]


def _lock(conn: Conn, actor: Actor, session_id: int, now: datetime) -> SessionRow:
    allow(conn, actor, Deed.DIRECT_TRADING, Subject("trading_session", str(session_id)), now)
    row = sessions.lock(conn, session_id)
    if row is None:
        raise NoRun("not_found", kind="trading_session")
    return row


def _said(reason: str) -> str:
    words = reason.strip()
    if not 2 <= len(words) <= REASON_MAX:
        raise ReasonMissing("reason_missing", longest=REASON_MAX)
    return words


def _version() -> str:
    return metadata.version("shoudian")
