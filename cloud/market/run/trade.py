"""Shell: take declarations into sealed books, many in one transaction, each with an answer of its own.

The caller has proved who sends and gives the worker's scope: the intake acts for everybody, and row-level security would
hide the others' rows from it. Within one call a party appears once: a second declaration of a party waits for the next.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from uuid import UUID

from cloud.db import Conn
from cloud.errors import Conflict, Invalid, NotFound, NotNow, Refused
from cloud.market.auction import Side
from cloud.market.declaration import (
    Allowance,
    Declaration,
    Packed,
    Standing,
    Verdict,
    checked,
    content_sha256,
    packed_from,
)
from cloud.market.orders import Code
from cloud.market.receipt import Acknowledged
from cloud.market.sessionfile import KWH_PER_CERTIFICATE, Product, SessionRule, rule_from
from cloud.market.store import greenstock, orders, sessions
from cloud.market.store.orders import BidRow, NewBid
from cloud.market.store.sessions import SessionRow
from cloud.markettime import market_local
from cloud.parties.standing import Standing as PartyStanding
from cloud.parties.store import standings
from cloud.security.access import Actor, Deed, Subject, may
from cloud.security.run import actor_name

STANDING_KEPT: Final = timedelta(seconds=20)  # admission itself is asked each time
PARTY_UNIT: Final = "party:"


class NoSession(NotFound):
    """There is no such session, or it is not announced yet."""


class Declined(Invalid):
    """A declaration breaks a rule of its session; `code` says which, `period` where."""


class Closed(NotNow):
    """The session takes no declarations now."""


class KeyReused(Conflict):
    """The client key was used for another declaration."""


class DeclaredMeanwhile(Conflict):
    """What stands is another declaration than the one to be replaced."""


class NotRung(Exception):
    """An announced session's hour has come: whoever calls rings, and comes again."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A declaration and who sends it."""

    actor: Actor
    session_id: int
    sent: Declaration


@dataclass(frozen=True, slots=True)
class Known:
    """What is kept of a party between calls: where it stands, and its accounts in the market."""

    standing: PartyStanding
    accounts: tuple[str, ...]
    at: datetime


Memory = MutableMapping[int, Known]
Outcome = Acknowledged | Refused


@dataclass(frozen=True, slots=True)
class _Table:
    """What the transaction has locked and loaded."""

    now: datetime
    sessions: Mapping[int, SessionRow]
    gates: Mapping[int, orders.Gate]
    exposures: Mapping[tuple[int, int], int]
    rows: Mapping[int, tuple[BidRow, ...]]  # by party: what stands, and what has its client key
    admitted: frozenset[int]
    memory: Memory
    certificates: Mapping[tuple[int, int], int]  # MWh that a party can sell in a session of certificates


@dataclass(frozen=True, slots=True)
class _Entry:
    """A declaration that is in order, and what it replaces."""

    arrival: Arrival
    bid: NewBid
    old: BidRow | None


def take_in(conn: Conn, arrivals: Sequence[Arrival], memory: Memory, now: datetime) -> tuple[Outcome, ...]:
    """Check declarations and enter those that are in order; answer every one, in the order given.

    `memory` is kept by the caller between calls. Raises NotRung before anything is locked.
    """
    table = _table(conn, arrivals, memory, now)
    judged = [_judged(table, arrival) for arrival in arrivals]
    entries = [each for each in judged if isinstance(each, _Entry)]
    refused = _reserve(conn, entries, memory, now)
    kept = [each for each in entries if id(each) not in refused]
    numbers = orders.append(conn, [each.bid for each in kept], now) if kept else ()
    seqs = {id(each): seq for each, seq in zip(kept, numbers, strict=True)}
    outcomes: list[Outcome] = []
    for each in judged:
        if not isinstance(each, _Entry):
            outcomes.append(each)
        elif id(each) in refused:
            outcomes.append(refused[id(each)])
        else:
            row = table.sessions[each.bid.session_id]
            outcomes.append(_acknowledged(row, each.bid, seqs[id(each)], now))
    _note_refusals(conn, arrivals, outcomes, now)
    return tuple(outcomes)


def rule_of(row: SessionRow) -> SessionRule:
    """The rules of a session, from its own copy of their text."""
    return _rule(f"{row.rule_id}@{row.rule_version}", row.rule_body)


def acknowledged(row: SessionRow, bid: BidRow) -> Acknowledged:
    """What a receipt says of a row of the book."""
    if bid.party_id is None or bid.unit_id is None or bid.side is None:
        raise TypeError("a closing row has no receipt")
    return Acknowledged(
        *(row.session_no, bid.seq, bid.kind, bid.party_id, bid.unit_id, bid.side, bid.replaces),
        *(tuple(bid.period), tuple(bid.price_ticks), tuple(bid.quantity_kwh), bid.margin_fen),
        *(str(bid.client_key), bytes(bid.content_sha256).hex(), bid.at),
    )


def units_of(known: Known) -> tuple[str, ...]:
    """The units a party trades by: users by their accounts, all others by the party itself."""
    if known.standing.kind == "user":
        return known.accounts
    return (f"{PARTY_UNIT}{known.standing.party_id}",)


def standing_seq(conn: Conn, session_id: int, party_id: int) -> int:
    """The number of the party's latest declaration that stands in the session; 0: none does."""
    sent = orders.of_party(conn, session_id, party_id)
    gone = {bid.replaces for bid in sent}
    return max((bid.seq for bid in sent if bid.seq not in gone and bid.kind != "WITHDRAW"), default=0)


def shape_problem(row: SessionRow, sent: Declaration) -> str:
    """The code by which a declaration would be refused for what it says, whoever sends it; empty: none."""
    if sent.entries is None:
        return ""
    verdict = checked(rule_of(row), len(row.period_label), Allowance(True, None, None), (), sent)
    if verdict.code is Code.ACCEPT:
        return ""
    named = "" if verdict.period is None else _period_name(row, verdict.period)
    return f"{verdict.code.value} {named}".strip()


def known_party(conn: Conn, party_id: int, now: datetime) -> Known:
    """Load where a party stands and by which units it trades."""
    found = standings.standing_of(conn, party_id, now)
    return Known(found, orders.accounts_of(conn, [party_id], now).get(party_id, ()), now)


def _table(conn: Conn, arrivals: Sequence[Arrival], memory: Memory, now: datetime) -> _Table:
    session_ids = sorted({arrival.session_id for arrival in arrivals})
    parties = [_party(arrival) for arrival in arrivals]
    if len(set(parties)) != len(parties):
        raise ValueError("a party appears once")
    gates = orders.gates(conn, session_ids, now)
    if any(gate.state == "announced" and gate.opens_at <= now < gate.freezes_at for gate in gates.values()):
        raise NotRung
    there = [arrival for arrival in arrivals if arrival.session_id in gates]
    whose = [(arrival.session_id, _party(arrival)) for arrival in there]
    exposures = orders.lock_exposures(conn, whose) if whose else {}
    keys = [(arrival.session_id, _party(arrival), arrival.sent.client_key) for arrival in there]
    rows: dict[int, tuple[BidRow, ...]] = {}
    for row in orders.standing(conn, keys) if keys else ():
        if row.party_id is not None:
            rows[row.party_id] = (*rows.get(row.party_id, ()), row)
    admitted = _remember(conn, parties, memory, now)
    found = sessions.find_many(conn, session_ids)
    stock = {
        (row.session_id, party_id): mwh
        for row in found.values()
        if row.product == Product.CERTIFICATE
        for party_id, mwh in greenstock.tradable_mwh(conn, parties, row.period_month[0]).items()
    }
    return _Table(now, found, gates, exposures, rows, admitted, memory, stock)


def _remember(conn: Conn, parties: Sequence[int], memory: Memory, now: datetime) -> frozenset[int]:
    """Load what is not known or too old; return those that are admitted at this instant."""
    old = [
        party_id
        for party_id in parties
        if party_id not in memory or now - memory[party_id].at > STANDING_KEPT
    ]
    accounts = orders.accounts_of(conn, old, now) if old else {}
    found = standings.standings_of(conn, old, now) if old else {}
    for party_id, each in found.items():
        memory[party_id] = Known(each, accounts.get(party_id, ()), now)
    return orders.admitted(conn, parties)


def _judged(table: _Table, arrival: Arrival) -> _Entry | Outcome:
    party_id, sent = _party(arrival), arrival.sent
    row = table.sessions.get(arrival.session_id)
    subject = Subject("trading_session", str(arrival.session_id), party_id)
    if row is None or row.state in ("drafted", "dropped") or not may(arrival.actor, Deed.TRADE, subject):
        return NoSession("not_found", kind="trading_session")
    own = table.rows.get(party_id, ())
    first = next((each for each in own if each.client_key == sent.client_key), None)
    if first is not None:
        packed = Packed((), (), ()) if sent.entries is None else packed_from(sent.entries)
        content = None if packed is None else content_sha256(row.session_no, sent, packed)
        if content != bytes(first.content_sha256):
            return KeyReused("client_key_reused", seq=first.seq)
        return acknowledged(row, first)
    gate = table.gates[arrival.session_id]
    if gate.state != "open" or table.now >= gate.freezes_at:
        return Closed("gate_closed", session=row.session_no)
    known = table.memory.get(party_id)
    if known is None or sent.unit_id not in units_of(known):
        return Declined("unit_unknown", unit=sent.unit_id)
    opens_at = rule_of(row).first.opens_for(known.standing.grade, gate.opens_at)
    if table.now < opens_at:
        return Closed("credit_first", session=row.session_no, opens=f"{market_local(opens_at):%H:%M}")
    return _in_session(table, arrival, row, tuple(each for each in own if each.session_id == row.session_id))


def _in_session(
    table: _Table, arrival: Arrival, row: SessionRow, own: tuple[BidRow, ...]
) -> _Entry | Outcome:
    party_id, sent = _party(arrival), arrival.sent
    old = next((each for each in own if (each.unit_id, each.side) == (sent.unit_id, sent.side)), None)
    if (None if old is None else old.seq) != sent.replaces:
        return DeclaredMeanwhile("declared_meanwhile", seq=0 if old is None else old.seq)
    if sent.entries is None and old is None:
        return DeclaredMeanwhile("declared_meanwhile", seq=0)
    verdict = Verdict(Code.ACCEPT)
    if sent.entries is not None:
        others = tuple(_standing(each) for each in own if each is not old)
        rule = rule_of(row)
        verdict = checked(
            rule, len(row.period_label), _allowance(table, row, party_id, rule, sent.side), others, sent
        )
    if verdict.code is not Code.ACCEPT:
        return _declined(row, verdict)
    kind = "WITHDRAW" if sent.entries is None else "SUBMIT" if old is None else "REPLACE"
    bid = NewBid(
        *(row.session_id, kind, party_id, sent.unit_id, sent.side.value, sent.replaces),
        *(verdict.packed.period, verdict.packed.price_ticks, verdict.packed.quantity_kwh),
        *(verdict.margin_fen, sent.client_key, content_sha256(row.session_no, sent, verdict.packed)),
        actor_name(arrival.actor),
    )
    return _Entry(arrival, bid, old)


def _allowance(table: _Table, row: SessionRow, party_id: int, rule: SessionRule, side: Side) -> Allowance:
    """Kind, grade and admission decide whether, the credit limit how much; the guarantee is asked when it is reserved.

    Nobody sells more certificates than it holds.
    """
    found = table.memory[party_id].standing
    is_eligible = (
        party_id in table.admitted
        and found.is_admitted
        and found.kind in rule.kinds(side)
        and (not rule.grades or found.grade in rule.grades)
    )
    cap_kwh = found.limit_kwh
    if rule.product is Product.CERTIFICATE and side is Side.SELL:
        stock_kwh = table.certificates.get((row.session_id, party_id), 0) * KWH_PER_CERTIFICATE
        cap_kwh = stock_kwh if cap_kwh is None else min(cap_kwh, stock_kwh)
    return Allowance(is_eligible, cap_kwh, None)


def _declined(row: SessionRow, verdict: Verdict) -> Declined:
    named = "" if verdict.period is None else _period_name(row, verdict.period)
    return Declined(f"declined_{verdict.code.value.lower()}", code=verdict.code.value, period=named)


def _period_name(row: SessionRow, number: int) -> str:
    return row.periods[number - 1].name if 1 <= number <= len(row.period_label) else str(number)


def _reserve(conn: Conn, entries: Sequence[_Entry], memory: Memory, now: datetime) -> dict[int, Refused]:
    """Bind margins in the parties' guarantees, party by party in one order for everybody; return who lacks it."""
    ranked = sorted(entries, key=lambda one: one.bid.party_id)
    binding = [each for each in ranked if memory[each.bid.party_id].standing.guarantee_free_fen is not None]
    fresh = [each for each in binding if each.old is None and each.bid.margin_fen]
    try:
        if fresh:
            standings.reserve_new(conn, [_reserve_of(each) for each in fresh], now)
    except standings.OverGuarantee:
        fresh = []  # somebody lacks it: one by one
    done = {id(each) for each in fresh}
    refused: dict[int, Refused] = {}
    for each in binding:
        if id(each) in done or not (each.bid.margin_fen or each.old is not None):
            continue
        try:
            with conn.transaction():
                if each.old is not None and each.old.client_key is not None and each.old.margin_fen:
                    standings.release(conn, purpose(each.bid.party_id, each.old.client_key), now)
                party_id, fen, key = _reserve_of(each)
                standings.reserve(conn, party_id, fen, key, now)
        except standings.OverGuarantee as over:
            refused[id(each)] = Declined("declined_margin", code=Code.MARGIN.value, period="", **over.facts)
    return refused


def _reserve_of(entry: _Entry) -> tuple[int, int, str]:
    bid = entry.bid
    return bid.party_id, bid.margin_fen, purpose(bid.party_id, bid.client_key)


def purpose(party_id: int, client_key: UUID) -> str:
    """Under which name a declaration's margin is reserved."""
    return f"bid:{party_id}:{client_key}"


def _note_refusals(
    conn: Conn, arrivals: Sequence[Arrival], outcomes: Sequence[Outcome], now: datetime
) -> None:
    refused = [
        (arrival.session_id, _party(arrival), *_code(outcome))
        for arrival, outcome in zip(arrivals, outcomes, strict=True)
        if isinstance(outcome, Refused) and not isinstance(outcome, NoSession)
    ]
    if refused:
        orders.refuse(conn, refused, now)


def _code(refused: Refused) -> tuple[str, str]:
    return str(refused.facts.get("code", refused.key.upper())), str(refused.facts.get("period", ""))


def _acknowledged(row: SessionRow, bid: NewBid, seq: int, at: datetime) -> Acknowledged:
    return Acknowledged(
        *(row.session_no, seq, bid.kind, bid.party_id, bid.unit_id, bid.side, bid.replaces),
        *(bid.period, bid.price_ticks, bid.quantity_kwh, bid.margin_fen),
        *(str(bid.client_key), bid.content_sha256.hex(), at),
    )


def _standing(row: BidRow) -> Standing:
    packed = Packed(tuple(row.period), tuple(row.price_ticks), tuple(row.quantity_kwh))
    return Standing(row.seq, str(row.unit_id), Side(str(row.side)), packed)


def _party(arrival: Arrival) -> int:
    if arrival.actor.party_id is None:
        raise TypeError("only a customer declares")
    return arrival.actor.party_id


@lru_cache(maxsize=64)
def _rule(name: str, body: str) -> SessionRule:
    return rule_from(name, body)
