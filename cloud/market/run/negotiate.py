"""Shells of the negotiation room 双边协商: open, join, offer, say, agree, change, reopen; and the clock that ends rooms.

Every deed is one event in the room's chain, checked by the fold before it is kept and by the database again. Accepting asks for
a person who may sign for the party, proven a moment ago, and for the number and hash of the version that this person saw;
it freezes the version and enters the contract's draft in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from importlib import resources
from typing import Any, Final

from cloud import files, markettime
from cloud.contracts.contract import NEGOTIATION, from_trade
from cloud.contracts.store import life
from cloud.contracts.store.promised import promised_kwh
from cloud.contracts.terms import WholesaleTerms
from cloud.db import Conn, Pool, ProcessRole, Scope, take_scope, transaction
from cloud.errors import Forbidden, Invalid, NotNow
from cloud.market.auction import Side
from cloud.market.negotiation import (
    EXPIRING,
    MESSAGE_MAX,
    Event,
    Link,
    Room,
    Terms,
    after,
    contract_id_of,
    linked,
    terms_json,
    version_sha256,
    wholesale_of,
)
from cloud.market.offering import may_act
from cloud.market.precheck import DeskRules, Finding, Known, demand_clean, desk_rules, findings
from cloud.market.store import listings, negotiations
from cloud.market.store.negotiations import NewRoom, RoomRow
from cloud.notices import Notice, post
from cloud.parties.guarantee import agreed_purpose
from cloud.parties.guaranteefile import rule_from
from cloud.parties.store import credits, standings
from cloud.security.access import Actor, Deed, Role, Subject
from cloud.security.run import Session, actor_name, allow, demand_step_up, may_sign_for

CLOCK: Final = Scope(ProcessRole.WORKER, actor="job:negotiations")
REASON_MAX: Final = 1000
LASTS_MAX: Final = timedelta(days=90)
RULES: Final = desk_rules((resources.files("cloud.market") / "desk" / "jibei-2026.toml").read_text("utf-8"))
_UNSIGNED: Final = frozenset({"draft", "declined", "expired"})


class NotAdmitted(Forbidden):
    """Only parties whose registration is in force negotiate; each on a side that its kind may take."""


class NotASigner(Forbidden):
    """Only who may sign for the party agrees for it."""


class BadRoom(Invalid):
    """A room cannot be opened like this."""


class NothingSaid(Invalid):
    """A message, a reason or a title is empty or too long."""


class RoomOver(NotNow):
    """The room's time is over; it may be reopened."""


class NotCovered(NotNow):
    """What is to be agreed is more than a side may contract, or than the buyer's guarantee covers."""


class ChangeTooLate(NotNow):
    """What was agreed is being signed or is signed: from here on its contract is amended."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A room as its opener wants it: on which side, with whom, until when."""

    title: str
    side: Side
    unit_id: str
    invited_id: int
    is_green: bool
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Entered:
    """A room that is locked and folded, and who acts in it."""

    row: RoomRow
    links: tuple[Link, ...]
    room: Room
    party_id: int | None


def open_room(conn: Conn, actor: Actor, opening: Opening, now: datetime) -> int:
    """Open a room and invite the other side; return its number. Raises NotAdmitted, BadRoom, NothingSaid."""
    allow(conn, actor, Deed.NEGOTIATE, Subject("negotiation", "new", actor.party_id), now)
    party_id = _party(actor)
    title = opening.title.strip()
    if not 2 <= len(title) <= 120 or "\0" in title:
        raise NothingSaid("title_missing")
    if opening.invited_id == party_id:
        raise BadRoom("room_with_oneself")
    if not now < opening.expires_at <= now + LASTS_MAX:
        raise BadRoom("room_until", days=LASTS_MAX.days)
    other = Side.SELL if opening.side is Side.BUY else Side.BUY
    _gate(conn, party_id, opening.side, now)
    _gate(conn, opening.invited_id, other, now)
    _check_unit(conn, party_id, opening.unit_id, now)
    is_seller = opening.side is Side.SELL
    seller, buyer = (party_id, opening.invited_id) if is_seller else (opening.invited_id, party_id)
    units = (opening.unit_id, "") if is_seller else ("", opening.unit_id)
    new = NewRoom(title, opening.is_green, seller, buyer, party_id, units, opening.expires_at)
    number = negotiations.insert(conn, new, now, actor_name(actor))
    row = negotiations.find(conn, number)
    body = {"title": title, "side": opening.side.value, "unit": opening.unit_id, "is_green": opening.is_green}
    entered = Entered(row, (), row.empty, party_id)
    _keep(conn, entered, _event(entered, actor, "open", body, now))
    _tell(conn, row, party_id, ("negotiation.invited", 1), now)
    return number


def join(conn: Conn, actor: Actor, negotiation_id: int, unit_id: str, now: datetime) -> None:
    """Accept an invitation, with the unit that trades. Raises NotYourTurn, NotAdmitted."""
    allow(conn, actor, Deed.NEGOTIATE, Subject("negotiation", str(negotiation_id), actor.party_id), now)
    entered = _enter(conn, actor, negotiation_id, now)
    party_id = _party(actor)
    side = Side.SELL if party_id == entered.row.seller_id else Side.BUY
    _gate(conn, party_id, side, now)
    _check_unit(conn, party_id, unit_id, now)
    column = "seller_unit" if side is Side.SELL else "buyer_unit"
    _do(conn, entered, _event(entered, actor, "join", {"unit": unit_id}, now), **{column: unit_id})


def offer(
    conn: Conn, actor: Actor, negotiation_id: int, terms: Terms, now: datetime
) -> tuple[int, tuple[Finding, ...]]:
    """Make an offer or a counter-offer: the next version; return its number and the warnings that both sides see.

    Raises NotAdmissible, NotYourTurn, NothingNew, NoSuchMove.
    """
    allow(conn, actor, Deed.NEGOTIATE, Subject("negotiation", str(negotiation_id), actor.party_id), now)
    entered = _enter(conn, actor, negotiation_id, now)
    found = check(conn, entered.row, terms, now)
    demand_clean(found)
    number = len(entered.room.versions) + 1
    body = {
        "version": number,
        "terms": terms_json(terms),
        "sha256": version_sha256(negotiation_id, number, entered.room, terms),
        "warnings": [asdict(each) for each in found],
    }
    _do(conn, entered, _event(entered, actor, "offer", body, now))
    return number, found


def check(conn: Conn, row: RoomRow, terms: Terms, now: datetime) -> tuple[Finding, ...]:
    """The preliminary check 预审 of a version: completeness, compliance, plausibility. Errors come first."""
    unadmitted = tuple(
        name
        for party_id, name in ((row.seller_id, row.seller_name), (row.buyer_id, row.buyer_name))
        if not standings.standing_of(conn, party_id, now).is_admitted
    )
    known = Known(
        unadmitted,
        listings.past_month_kwh(conn, (row.buyer_unit,)),
        agreed=negotiations.agreed_volumes(conn, row.seller_unit, row.buyer_unit, ""),
    )
    return findings(terms.lines, rules(), known, markettime.day_of(now))


def accept(conn: Conn, session: Session, negotiation_id: int, seen: tuple[int, str], now: datetime) -> str:
    """Agree to the standing version, `seen` by number and hash: it is frozen and becomes a contract's draft.

    What both may contract and the buyer's guarantee must cover it; the guarantee is bound from here on.
    Returns the contract's number. Raises StepUpNeeded, NotASigner, StaleVersion, NotYourTurn, NotAdmissible, NotCovered.
    """
    actor = session.actor
    allow(conn, actor, Deed.NEGOTIATE, Subject("negotiation", str(negotiation_id), actor.party_id), now)
    _authorised(conn, session, now)
    entered = _enter(conn, actor, negotiation_id, now)
    version, sha256 = seen
    body: dict[str, Any] = {"version": version, "sha256": sha256}
    body["contract"] = contract_id_of(negotiation_id, version)
    event = _event(entered, actor, "accept", body, now)
    room = after(entered.room, event)
    assert room.agreed is not None
    row = entered.row
    demand_clean(check(conn, row, room.agreed.terms, now))
    day = markettime.day_of(now)
    units = (row.seller_unit, row.buyer_unit)
    terms = wholesale_of(negotiation_id, room.agreed, units, day, is_green=row.is_green)
    _cover(conn, actor, row, terms, now)
    life.insert(conn, from_trade(terms, f"{NEGOTIATION}:{negotiation_id}"), now, actor_name(actor))
    _do(conn, entered, event)
    return terms.contract_id


def say(conn: Conn, actor: Actor, negotiation_id: int, text: str, now: datetime) -> None:
    """Say something in the room. Raises NothingSaid, NoSuchMove when it is closed."""
    allow(conn, actor, Deed.NEGOTIATE, Subject("negotiation", str(negotiation_id), actor.party_id), now)
    entered = _enter(conn, actor, negotiation_id, now)
    _keep(conn, entered, _event(entered, actor, "say", {"text": _text(text, MESSAGE_MAX)}, now))
    _tell(conn, entered.row, entered.party_id, ("negotiation.said", len(entered.links) + 1), now)


def give_file(
    conn: Conn, actor: Actor, negotiation_id: int, document: files.NewDocument, now: datetime
) -> int:
    """Lay a file that is in the vault before both sides; return its document number. Raises NoSuchMove."""
    allow(conn, actor, Deed.NEGOTIATE, Subject("negotiation", str(negotiation_id), actor.party_id), now)
    entered = _enter(conn, actor, negotiation_id, now)
    party_id = _party(actor)
    document_id = files.note(conn, document, now, actor_name(actor))
    files.share(conn, document_id, entered.room.other_of(party_id), now, actor_name(actor))
    body = {
        "document": document_id,
        "name": document.name,
        "sha256": document.sha256,
        "bytes": document.size_bytes,
    }
    _keep(conn, entered, _event(entered, actor, "file", body, now))
    return document_id


def close_deed(conn: Conn, actor: Actor, at: tuple[int, str], reason: str, now: datetime) -> None:
    """Decline an invitation, retract the own offer, or withdraw from the room; `at` is (room, deed). Raises NotYourTurn."""
    allow(conn, actor, Deed.NEGOTIATE, Subject("negotiation", str(at[0]), actor.party_id), now)
    negotiation_id, deed = at
    if deed not in ("decline", "retract", "withdraw"):
        raise BadRoom("not_understood")
    entered = _enter(conn, actor, negotiation_id, now)
    told = reason.strip() if deed == "retract" else _text(reason, REASON_MAX)
    _do(conn, entered, _event(entered, actor, deed, {"reason": told}, now))


def reopen(conn: Conn, actor: Actor, negotiation_id: int, told: tuple[str, datetime], now: datetime) -> None:
    """Invite the other side again into a room that was declined, left or is over; `told` is (why, until when)."""
    allow(conn, actor, Deed.NEGOTIATE, Subject("negotiation", str(negotiation_id), actor.party_id), now)
    entered = _enter(conn, actor, negotiation_id, now)
    reason, until = told
    if not now < until <= now + LASTS_MAX:
        raise BadRoom("room_until", days=LASTS_MAX.days)
    body = {"reason": _text(reason, REASON_MAX), "until": until.isoformat()}
    _do(conn, entered, _event(entered, actor, "reopen", body, now), expires_at=until)


def ask_change(conn: Conn, actor: Actor, negotiation_id: int, reason: str, now: datetime) -> None:
    """Ask to change what was agreed, saying why; the other side allows it or not. Raises NothingSaid, ChangeTooLate."""
    allow(conn, actor, Deed.NEGOTIATE, Subject("negotiation", str(negotiation_id), actor.party_id), now)
    entered = _enter(conn, actor, negotiation_id, now)
    event = _event(entered, actor, "ask_change", {"reason": _text(reason, REASON_MAX)}, now)
    after(entered.room, event)
    _drawn(conn, entered)
    _do(conn, entered, event)


def answer_change(
    conn: Conn, actor: Actor, negotiation_id: int, answer: tuple[bool, str], now: datetime
) -> None:
    """Let the other side allow a change (the contract's draft is cancelled and talks go on) or refuse it, saying why.

    Raises NotYourTurn, ChangeTooLate.
    """
    allow(conn, actor, Deed.NEGOTIATE, Subject("negotiation", str(negotiation_id), actor.party_id), now)
    entered = _enter(conn, actor, negotiation_id, now)
    is_allowed, reason = answer
    deed = "allow_change" if is_allowed else "refuse_change"
    event = _event(entered, actor, deed, {"reason": _text(reason, REASON_MAX)}, now)
    after(entered.room, event)
    if is_allowed:
        row = _drawn(conn, entered)
        told = life.Event("cancel", now, actor_name(actor), str(event.body["reason"]))
        life.move(conn, row, told)
    _do(conn, entered, event)


def refuse_change(conn: Conn, actor: Actor, negotiation_id: int, reason: str, now: datetime) -> None:
    """Let the market operator refuse a change of what was agreed. Raises NoSuchMove, NothingSaid."""
    allow(conn, actor, Deed.DIRECT_NEGOTIATIONS, Subject("negotiation", str(negotiation_id)), now)
    entered = _enter(conn, actor, negotiation_id, now)
    _do(conn, entered, _event(entered, actor, "refuse_change", {"reason": _text(reason, REASON_MAX)}, now))


def ring(pool: Pool, now: datetime) -> int:
    """End every room whose time is over; return how many."""
    with transaction(pool, CLOCK) as conn:
        due = negotiations.due(conn, now)
    for negotiation_id in due:
        with transaction(pool, CLOCK) as conn:
            expire(conn, negotiation_id, now)
    return len(due)


def expire(conn: Conn, negotiation_id: int, now: datetime) -> None:
    """End one room by the clock; safe to repeat."""
    negotiations.lock(conn, negotiation_id)
    row = negotiations.find(conn, negotiation_id)
    if row.state not in EXPIRING or row.expires_at > now:
        return
    links = negotiations.links_of(conn, negotiation_id)
    entered = Entered(row, links, negotiations.room_of(row, links), None)
    _do(conn, entered, Event(len(links) + 1, "expire", None, CLOCK.actor, now, {}))


def rules() -> DeskRules:
    """The bounds that hold for what is negotiated."""
    return RULES


# ---- inside ----------------------------------------------------------------------------------------------


def _enter(conn: Conn, actor: Actor, negotiation_id: int, now: datetime) -> Entered:
    """Lock and fold a room for somebody who may act in it. Raises NoRoom, RoomOver."""
    negotiations.lock(conn, negotiation_id)
    row = negotiations.find(conn, negotiation_id)
    if actor.role is not Role.STAFF and actor.party_id not in row.parties:
        raise negotiations.NoRoom("not_found", kind="negotiation")
    if row.state in EXPIRING and row.expires_at <= now:
        raise RoomOver("room_over")
    links = negotiations.links_of(conn, negotiation_id)
    return Entered(row, links, negotiations.room_of(row, links), actor.party_id)


def _event(entered: Entered, actor: Actor, deed: str, body: Mapping[str, Any], now: datetime) -> Event:
    return Event(len(entered.links) + 1, deed, entered.party_id, actor_name(actor), now, body)


def _keep(conn: Conn, entered: Entered, event: Event) -> Room:
    """Check an event by the fold and append it to the chain."""
    room = after(entered.room, event)
    link = linked(entered.row.negotiation_id, event, negotiations.last_sha256(entered.links))
    negotiations.add_link(conn, entered.row.negotiation_id, link)
    return room


def _do(conn: Conn, entered: Entered, event: Event, **changed: object) -> None:
    """Keep an event that moves the room, and tell the other side, or both."""
    room = _keep(conn, entered, event)
    assert room.state is not None
    negotiations.move(conn, entered.row, room.state, **changed)
    _tell(conn, entered.row, event.party_id, (f"negotiation.{event.deed}", event.event_no), event.at)


def _tell(conn: Conn, row: RoomRow, by: int | None, what: tuple[str, int], now: datetime) -> None:
    key, number = what
    for party_id in row.parties:
        if party_id != by:
            facts = {"title": row.title, "room": str(row.negotiation_id)}
            idem_key = f"negotiation:{row.negotiation_id}:{number}:{party_id}"
            post(conn, Notice(party_id, key, facts, f"/negotiations/{row.negotiation_id}", idem_key), now)


def _drawn(conn: Conn, entered: Entered) -> life.ContractRow:
    """The contract of what was agreed, while it is only drawn up. Raises ChangeTooLate."""
    agreed = entered.room.agreed
    assert agreed is not None
    contract_id = contract_id_of(entered.row.negotiation_id, agreed.version_no)
    row = life.find(conn, contract_id, is_locked=True)
    if row.state not in _UNSIGNED:
        raise ChangeTooLate("change_too_late", contract=contract_id)
    return row


def _cover(conn: Conn, actor: Actor, row: RoomRow, terms: WholesaleTerms, now: datetime) -> None:
    """Hold what is to be agreed to the limits of both sides, and bind the buyer's guarantee for it. Raises NotCovered.

    The month in which it is agreed is the one that a limit is for, as with listings. Either side may be the one that
    accepts, so the guarantee of the other is looked at as the worker.
    """
    kwh = int(sum(volume.mwh for volume in terms.volumes) * 1000)
    since = markettime.slot_start(markettime.month_of(markettime.day_of(now)), 0)
    take_scope(conn, Scope(ProcessRole.WORKER, actor=actor_name(actor)))
    for party_id, name in sorted(((row.seller_id, row.seller_name), (row.buyer_id, row.buyer_name))):
        limit_kwh = standings.standing_of(conn, party_id, now).limit_kwh
        if limit_kwh is not None:
            standings.lock_limit(conn, party_id)
            if promised_kwh(conn, party_id, since) + kwh > limit_kwh:
                raise NotCovered("agreed_over_limit", party=name, limit=str(limit_kwh))
    rule = rule_from(credits.active_body(conn, "guarantee"))
    bond_fen = standings.bond_fen(conn, rule, row.buyer_id, kwh, now)
    try:
        standings.reserve(conn, row.buyer_id, bond_fen, agreed_purpose(terms.contract_id), now)
    except standings.OverGuarantee as problem:
        raise NotCovered("guarantee_short", party=row.buyer_name) from problem
    take_scope(conn, Scope(ProcessRole.API, actor.role.value, actor.party_id, actor_name(actor)))


def _authorised(conn: Conn, session: Session, now: datetime) -> None:
    actor = session.actor
    if not may_sign_for(conn, actor, _party(actor), now):
        raise NotASigner("not_a_signer")
    demand_step_up(conn, session, now)


def _gate(conn: Conn, party_id: int, side: Side, now: datetime) -> None:
    standing = standings.standing_of(conn, party_id, now)
    if not standing.is_admitted:
        raise NotAdmitted("trader_not_admitted")
    if not may_act(standing.kind, side):
        raise NotAdmitted("wrong_side")


def _check_unit(conn: Conn, party_id: int, unit_id: str, now: datetime) -> None:
    if unit_id not in listings.units_of(conn, party_id, now):
        raise BadRoom("unknown_unit", unit=unit_id[:40])


def _text(text: str, longest: int) -> str:
    told = text.strip()
    if not 0 < len(told) <= longest or "\0" in told:
        raise NothingSaid("text_missing", longest=longest)
    return told


def _party(actor: Actor) -> int:
    if actor.party_id is None:
        raise NotAdmitted("trader_not_admitted")
    return actor.party_id
