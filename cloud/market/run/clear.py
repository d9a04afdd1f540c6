"""Shells: clear a closed book, repeat it in the sandbox, check it for the grid's security, publish it as contracts.

A closed book never changes: its rows are only added, none after the gate. So a run is a function of the session's own
copy of its rules and of the rows up to its last number, whenever and by whomever it is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import metadata
from typing import Final

from cloud import markettime, notices
from cloud.contracts.contract import IN_FORCE, from_trade
from cloud.contracts.store import life, wholesale
from cloud.contracts.terms import WholesaleTerms
from cloud.db import Conn, ProcessRole, Scope, take_scope
from cloud.errors import Conflict, Forbidden, Invalid, NotFound, NotNow
from cloud.lives import step
from cloud.market import exchangefile
from cloud.market.auction import AtMargin, PriceRule
from cloud.market.closedbook import bids_of, check_whole
from cloud.market.hostedbook import hosted, seq_of
from cloud.market.session import SESSION
from cloud.market.sessionbook import (
    BadCut,
    Bid,
    Piece,
    Result,
    Way,
    book_sha256,
    cleared,
    cut,
    cuts_again,
    input_sha256,
    result_sha256,
    struck_words,
)
from cloud.market.sessionfile import KWH_PER_CERTIFICATE, Method, Product, SessionRule, rule_from
from cloud.market.sessiontrade import PieceRow, TradedIn, figures, sums, terms_of, trades
from cloud.market.store import changes, clearings, hosting, orders, sessions
from cloud.market.store.clearings import ContractRow, CutRow, RunRow
from cloud.market.store.sessions import SessionRow
from cloud.notices import Notice
from cloud.parties.guarantee import contract_purpose
from cloud.parties.guaranteefile import rule_from as guarantee_rule_from
from cloud.parties.store import credits, standings
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow

REASON_MAX: Final = 1000
HandOver = Callable[[Conn, SessionRow, int, Sequence[PieceRow], tuple[str, datetime]], object]


class NoRun(NotFound):
    """There is no such session, or it has no such run."""


class BookOpen(Conflict):
    """The book is not closed yet."""


class Hosted(NotNow):
    """A platform matches this session: its result is taken, none is computed."""


class ContractMoved(Conflict):
    """A contract of the session is no longer what the session made it: it was transferred, amended or ended since."""


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
    if hosting.is_hosted(conn, session_id):
        raise Hosted("session_hosted", session=row.session_no)
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
    if row.product == Product.CERTIFICATE and any(each.to_kwh % KWH_PER_CERTIFICATE for each in cuts):
        raise BadCut("bad_cut", piece=cuts[0].piece_no, to_kwh=cuts[0].to_kwh)
    cut(_entered(conn, row, result.fills), result, {each.piece_no: each.to_kwh for each in cuts})
    for each in cuts:
        kept = CutRow(each.piece_no, each.to_kwh, _said(each.reason), now, actor_name(actor))
        clearings.insert_cut(conn, session_id, run.run_no, kept)
    sessions.set_state(conn, session_id, state)
    facts = {"run": run.run_no, "cuts": len(cuts)}
    sessions.note(conn, session_id, "check", state, (actor_name(actor), now, ""), facts)


def publish(
    conn: Conn, actor: Actor, session_id: int, now: datetime, hand_over: HandOver | None = None
) -> tuple[str, ...]:
    """Publish the checked result FINAL: contracts, notices to both sides; margins are given back, contracts bind instead.

    Certificates make no contract: `hand_over` puts them into their buyers' accounts, with what is owed for them.
    Somebody else than who checked it. Safe to repeat after a crash: all of it is one transaction. Raises SamePerson.
    """
    row = _lock(conn, actor, session_id, now)
    state = step(SESSION, row.state, "publish")
    checked = [each for each in sessions.events_of(conn, session_id) if each.deed == "check"]
    if checked and checked[-1].actor == actor_name(actor):
        raise SamePerson("session_same_person")
    take_scope(conn, Scope(ProcessRole.WORKER, actor=actor_name(actor)))  # acts for every party of the result
    pre = _last(conn, session_id, "pre")
    final, bids = _keep_final(conn, row, pre, (actor_name(actor), now, ""))
    run_no = final.run_no
    sessions.set_final(conn, session_id, run_no)
    facts = {"run": run_no, "result_sha256": final.result_sha256}
    sessions.note(conn, session_id, "publish", state, (actor_name(actor), now, ""), facts)
    for key, _ in orders.reserved(conn, session_id):
        standings.release(conn, key, now)
    orders.free_exposures(conn, session_id)
    contracts: tuple[str, ...] = ()
    if row.product != Product.CERTIFICATE:
        contracts = _contract(conn, row, run_no, (actor_name(actor), now))
    elif hand_over is None:
        raise TypeError("certificates are handed over when they are published")
    else:
        hand_over(conn, row, run_no, clearings.pieces_of(conn, session_id, run_no), (actor_name(actor), now))
    for party_id in sorted({bid.party_id for bid in bids}):
        _tell(conn, row, party_id, now)
    return contracts


def republish(
    conn: Conn, actor: Actor, session_id: int, pre_run: int | None, reason: str, now: datetime
) -> tuple[str, ...]:
    """Put a corrected result in the place of the published one: the PRE run given, or the book cleared once more.

    The first runs stay; of its contracts only those change whose energy or price does, by a later version, or are void.
    The caller has seen to it that two people want it. Returns the contracts that changed or are new. Raises ContractMoved.
    """
    row = _lock(conn, actor, session_id, now)
    state, who = step(SESSION, row.state, "correct"), (actor_name(actor), now, _said(reason))
    take_scope(conn, Scope(ProcessRole.WORKER, actor=actor_name(actor)))
    before = _find(conn, session_id, row.final_run or 0)
    if pre_run is None:
        rule = rule_from(row.rule_id, row.rule_body)
        named = ("pre", clearings.next_run(conn, session_id), None)
        pre, _ = _keep_run(conn, row, named, Way(rule.method, rule.price_rule, rule.at_margin), who)
    else:
        pre = _find(conn, session_id, pre_run)
    result = clearings.result_of(conn, session_id, pre.run_no)
    for old, piece_no in cuts_again(*_cut_before(conn, before), result.pieces):
        why = f"{before.based_on}: {old.reason}"[:REASON_MAX]
        kept = CutRow(piece_no, old.to_kwh, why, now, actor_name(actor))
        clearings.insert_cut(conn, session_id, pre.run_no, kept)
    final, bids = _keep_final(conn, row, pre, who)
    sessions.set_final(conn, session_id, final.run_no, state)
    hashes = {"result_sha256": final.result_sha256, "was_sha256": before.result_sha256}
    facts = {"run": final.run_no, "was": before.run_no, **hashes}
    sessions.note(conn, session_id, "correct", state, who, facts)
    made = _correct_contracts(conn, row, (before.run_no, final.run_no), who)
    for party_id in sorted({bid.party_id for bid in bids}):
        told = {"session": row.session_no, "title": row.title, "reason": who[2]}
        key = f"session:{session_id}:corrected:{final.run_no}:{party_id}"
        path = f"/trading/sessions/{session_id}"
        notices.post(conn, Notice(party_id, "session_corrected", told, path, key), now)
    return made


def repeated(conn: Conn, session_id: int, run_no: int) -> tuple[RunRow, str]:
    """Compute a run again and return it with the hash that comes out now: it is the same, or was tampered with.

    A platform's run is computed from its document as it was kept, all others from the book by their own way.
    """
    row = sessions.find(conn, session_id)
    if row is None:
        raise NoRun("not_found", kind="clearing_run")
    run = _find(conn, session_id, run_no)
    base_no = run.based_on or run.run_no
    body = hosting.taken_body(conn, session_id, base_no)
    if body is not None:
        theirs = exchangefile.result_from(exchangefile.canonical(body))
        bids = _entered(conn, row, map(seq_of, theirs.fills))
        result = hosted(theirs, bids, len(row.period_label))
    else:
        way = Way(Method(run.method), PriceRule(run.price_rule), AtMargin(run.at_margin))
        bids = _book(conn, row)
        result = cleared(bids, len(row.period_label), way, changes.struck_in(conn, session_id, base_no))
    if run.kind == "final":
        cuts = {each.piece_no: each.to_kwh for each in clearings.cuts_of(conn, session_id, base_no)}
        result = cut(bids, result, cuts)
    return run, result_sha256(result)


def _keep_run(
    conn: Conn,
    row: SessionRow,
    named: tuple[str, int, int | None],
    way: Way,
    who: tuple[str, datetime, str],
) -> tuple[RunRow, Result]:
    bids = _book(conn, row)
    struck = changes.struck(conn, row.session_id)
    result = cleared(bids, len(row.period_label), way, struck)
    book = book_sha256(bids)
    run = RunRow(
        *(row.session_id, named[1], named[0], named[2], row.rule_sha256, way.price_rule.value),
        *(way.at_margin.value, way.method.value, min((bid.seq for bid in bids), default=0)),
        *(row.last_seq or 0, sum(len(bid.period) for bid in bids)),
        input_sha256(book, way, row.rule_sha256, struck_words(struck)),
        *(result_sha256(result), _version()),
        who[2],
        who[1],
        who[0],
    )
    clearings.insert_run(conn, run, result, {bid.seq: bid.party_id for bid in bids})
    changes.keep_struck(conn, row.session_id, run.run_no, struck)
    return run, result


def _keep_final(
    conn: Conn, row: SessionRow, pre: RunRow, who: tuple[str, datetime, str]
) -> tuple[RunRow, tuple[Bid, ...]]:
    """Keep a PRE run with its cuts as a FINAL one."""
    session_id = row.session_id
    found = clearings.result_of(conn, session_id, pre.run_no)
    bids = _entered(conn, row, found.fills)
    cuts = {each.piece_no: each.to_kwh for each in clearings.cuts_of(conn, session_id, pre.run_no)}
    result = cut(bids, found, cuts)
    run_no = clearings.next_run(conn, session_id)
    final = RunRow(
        *(session_id, run_no, "final", pre.run_no, pre.rule_sha256, pre.price_rule, pre.at_margin),
        *(pre.method, pre.first_seq, pre.last_seq, pre.orders, pre.input_sha256, result_sha256(result)),
        *(_version(), who[2], who[1], who[0]),
    )
    clearings.insert_run(conn, final, result, {bid.seq: bid.party_id for bid in bids})
    return final, bids


def _book(conn: Conn, row: SessionRow) -> tuple[Bid, ...]:
    """The closed book, each row still what it was when the book was closed. Raises BookOpen, BookChanged."""
    if row.last_seq is None:
        raise BookOpen("book_open")
    bids = bids_of(row.session_no, orders.book(conn, row.session_id, row.last_seq))
    check_whole(bids, row.book_sha256)
    return bids


def _entered(conn: Conn, row: SessionRow, seqs: Iterable[int]) -> tuple[Bid, ...]:
    """The closed book, and whatever else of these numbers a platform held of it."""
    bids = _book(conn, row)
    missing = set(seqs) - {bid.seq for bid in bids}
    return (*bids, *bids_of(row.session_no, orders.rows_of(conn, row.session_id, sorted(missing))))


def _contract(conn: Conn, row: SessionRow, run_no: int, who: tuple[str, datetime]) -> tuple[str, ...]:
    """Make the pieces of a final run contracts, one of a pair of units and, where they met at several prices, of each."""
    layers = trades(clearings.pieces_of(conn, row.session_id, run_no)).values()
    return tuple(_enter(conn, row, number, layer, who) for number, layer in enumerate(layers, start=1))


def _enter(
    conn: Conn, row: SessionRow, number: int, layer: Sequence[PieceRow], who: tuple[str, datetime]
) -> str:
    """Enter a trade as a contract, in force at once, with its buyer's bond. Returns its number."""
    actor, now = who
    contract_id = f"{row.session_no}-{number:05d}"
    terms = _terms(row, contract_id, layer, now)
    wholesale.put(conn, terms, actor, now)
    life.insert(conn, from_trade(terms, f"session:{row.session_id}"), now, actor)
    kwh, fen = sums(layer)
    kept = ContractRow(contract_id, row.session_id, layer[0].seller_id, layer[0].buyer_id, kwh, fen, now)
    clearings.insert_contract(conn, kept)
    guarantee = guarantee_rule_from(credits.active_body(conn, "guarantee"))
    bond_fen = standings.bond_fen(conn, guarantee, kept.buyer_id, kwh, now)
    standings.carry(conn, kept.buyer_id, bond_fen, contract_purpose(contract_id), now)
    return contract_id


def _correct_contracts(
    conn: Conn, row: SessionRow, runs: tuple[int, int], who: tuple[str, datetime, str]
) -> tuple[str, ...]:
    """Let a session's contracts follow from one final run to the next; what both say alike stays untouched."""
    old, new = (trades(clearings.pieces_of(conn, row.session_id, run_no)) for run_no in runs)
    kept = clearings.contracts_of(conn, row.session_id)
    live = _live(conn, kept)
    number, made = len(kept), []
    for key in sorted(old.keys() | new.keys()):
        was, is_now = old.get(key, ()), new.get(key, ())
        if figures(was) == figures(is_now):
            continue
        if not was:
            number += 1
            made.append(_enter(conn, row, number, is_now, who[:2]))
        else:
            made.append(_change(conn, row, live[key], (was, is_now), (runs[1], *who)))
    return tuple(made)


def _live(conn: Conn, kept: Sequence[ContractRow]) -> dict[tuple[str, str, int], str]:
    """The contracts that the last run left by pair of units and layer; of a pair the earlier number is the lower layer."""
    found: dict[tuple[str, str, int], str] = {}
    for each in sorted(kept, key=lambda one: one.contract_id):
        if each.quantity_kwh:  # nothing is left of what a run made void
            contract = life.find(conn, each.contract_id)
            pair = contract.seller_unit, contract.buyer_unit
            found[*pair, sum(key[:2] == pair for key in found)] = each.contract_id
    return found


def _change(
    conn: Conn,
    row: SessionRow,
    contract_id: str,
    layers: tuple[Sequence[PieceRow], Sequence[PieceRow]],
    who: tuple[int, str, datetime, str],
) -> str:
    """Give a contract the figures of a corrected run, or none at all: then it is void. Raises ContractMoved."""
    run_no, actor, now, why = who
    contract = life.find(conn, contract_id, is_locked=True)
    terms = wholesale.find(conn, contract_id, contract.version)
    agreed = _terms(row, contract_id, layers[0], now).volumes
    if contract.state not in IN_FORCE or terms is None or terms.volumes != agreed:
        raise ContractMoved("contract_moved_on", contract=contract_id)
    volumes = _terms(row, contract_id, layers[1], now).volumes if layers[1] else ()
    document = f"更正 {contract_id}（{row.session_no}，运行 {run_no}）"
    later = replace(terms, version=terms.version + 1, document=document, volumes=volumes)
    wholesale.put(conn, later, actor, now)
    event = life.Event("amend" if volumes else "void", now, actor, why, facts={"run": run_no})
    life.move(conn, contract, event, version=later.version)
    clearings.change_contract(conn, contract_id, run_no, sums(layers[1]), now)
    return contract_id


def _terms(row: SessionRow, contract_id: str, layer: Sequence[PieceRow], now: datetime) -> WholesaleTerms:
    of = TradedIn(row.session_no, rule_from(row.rule_id, row.rule_body), row.periods)
    return terms_of(of, contract_id, layer, markettime.day_of(now))


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


def _find(conn: Conn, session_id: int, run_no: int) -> RunRow:
    found = next((each for each in clearings.runs_of(conn, session_id) if each.run_no == run_no), None)
    if found is None:
        raise NoRun("not_found", kind="clearing_run")
    return found


def _cut_before(conn: Conn, final: RunRow) -> tuple[tuple[CutRow, ...], tuple[Piece, ...]]:
    """What the security check cut before a final run, and the pieces that it was cut of."""
    base_no = final.based_on or final.run_no
    cuts = clearings.cuts_of(conn, final.session_id, base_no)
    return cuts, clearings.result_of(conn, final.session_id, base_no).pieces


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
