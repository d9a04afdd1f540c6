"""A bilateral negotiation 双边协商: its life, offers as versions, what differs, and the chain of what was said. Pure.

Everything that happens in a room is one event; the room is the fold of its events. An offer is a whole version and is never
edited: a counter-offer is the next one. Accepting names the version's number and hash, so nobody agrees to what the other
side has replaced meanwhile; what is agreed is frozen until both sides allow a change. Each event carries the hash of the
one before it, so that the exported timeline proves itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from cloud.contracts.terms import ContractKind, Shape, WholesaleTerms
from cloud.errors import Conflict, Forbidden, Invalid
from cloud.lives import Life, step
from cloud.market.offering import LINES_MAX, Line

NEGOTIATION = Life(
    "negotiation",
    {
        (None, "open"): "invited",
        ("invited", "join"): "negotiating",
        ("invited", "decline"): "declined",
        ("invited", "withdraw"): "withdrawn",
        ("invited", "expire"): "expired",
        ("negotiating", "offer"): "offered",
        ("negotiating", "withdraw"): "withdrawn",
        ("negotiating", "expire"): "expired",
        ("offered", "offer"): "offered",
        ("offered", "retract"): "negotiating",
        ("offered", "accept"): "agreed",
        ("offered", "withdraw"): "withdrawn",
        ("offered", "expire"): "expired",
        ("withdrawn", "reopen"): "invited",
        ("expired", "reopen"): "invited",
        ("declined", "reopen"): "invited",
        ("agreed", "ask_change"): "changing",
        ("changing", "refuse_change"): "agreed",
        ("changing", "allow_change"): "negotiating",
    },
)
TALKING = frozenset(
    {"invited", "negotiating", "offered", "agreed", "changing"}
)  # messages and files are possible
SAYING = frozenset({"say", "file"})
EXPIRING = ("invited", "negotiating", "offered")
NOTHING = "0" * 64
SCHEMA = "shoudian-negotiation/1"
MESSAGE_MAX = 2000


class RoomState(StrEnum):
    """Where a room stands: the states of NEGOTIATION by name."""

    INVITED = "invited"
    NEGOTIATING = "negotiating"
    OFFERED = "offered"
    AGREED = "agreed"
    CHANGING = "changing"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class SettlementMethod(StrEnum):
    """How the contract is settled."""

    PHYSICAL = "physical"  # 实物交割：合同电量按合同价
    DIFFERENCE = "difference"  # 差价结算：合同价与市场价之差


class Deviation(StrEnum):
    """Who bears deviation of the contract's energy."""

    MARKET = "market"  # 按市场规则结算
    BAND = "band"  # ±x% 以内互免，超出部分按约定价
    OWN = "own"  # 违约方承担


class StaleVersion(Conflict):
    """Somebody accepts another version than the one that stands, or other words than it has."""


class NotYourTurn(Forbidden):
    """The deed is the other side's: nobody accepts the own offer, joins the own invitation, allows the own request."""


class BadTerms(Invalid):
    """An offer cannot be made from this."""


class NothingNew(Invalid):
    """An offer says exactly what the standing one says."""


@dataclass(frozen=True, slots=True)
class Terms:
    """One version's content: volumes by month and period with prices, settlement method, deviation clause."""

    lines: tuple[Line, ...]
    settlement: SettlementMethod
    deviation: Deviation
    band_permille: int = 0  # of the contract's volume; only with Deviation.BAND
    clause: str = ""

    def __post_init__(self) -> None:
        keys = [(line.month, line.period) for line in self.lines]
        if not 0 < len(keys) <= LINES_MAX or len(set(keys)) != len(keys):
            raise BadTerms("negotiation_lines", most=LINES_MAX)
        if any(line.kwh <= 0 or line.month.day != 1 for line in self.lines):
            raise BadTerms("negotiation_volume")
        if (self.deviation is Deviation.BAND) != (0 < self.band_permille <= 1000):
            raise BadTerms("negotiation_band")
        if len(self.clause) > MESSAGE_MAX:
            raise BadTerms("negotiation_clause", most=MESSAGE_MAX)


@dataclass(frozen=True, slots=True)
class Version:
    """An offer: its number in the room, who made it, what it says."""

    version_no: int
    party_id: int
    terms: Terms
    sha256: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a room; `party_id` None is the operator or the clock. `body` holds plain values."""

    event_no: int
    deed: str
    party_id: int | None
    actor: str
    at: datetime
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Link:
    """An event with its place in the chain: the bytes that are hashed, and the hash before and after."""

    event: Event
    text: str
    before_sha256: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Room:
    """A room as its events leave it."""

    seller_id: int
    buyer_id: int
    state: str | None = None
    inviter_id: int | None = None
    versions: tuple[Version, ...] = ()
    standing_no: int | None = None  # the version that may be accepted
    agreed_no: int | None = None
    agreed_count: int = 0  # how often this room came to an agreement
    asker_id: int | None = None  # who wants to change what was agreed

    @property
    def standing(self) -> Version | None:
        """The offer that may be accepted now."""
        return None if self.standing_no is None else self.versions[self.standing_no - 1]

    @property
    def agreed(self) -> Version | None:
        """What was agreed, frozen."""
        return None if self.agreed_no is None else self.versions[self.agreed_no - 1]

    def other_of(self, party_id: int) -> int:
        """The other side."""
        return self.buyer_id if party_id == self.seller_id else self.seller_id


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between versions: of a line (month, period) or of a clause; None: it is not in that version."""

    what: str
    place: str
    before: str | None
    after: str | None


def folded(room: Room, events: Sequence[Event]) -> Room:
    """Play events in their order. Raises NoSuchMove, NotYourTurn, StaleVersion when one of them could not have been."""
    for event in events:
        room = after(room, event)
    return room


def after(room: Room, event: Event) -> Room:
    """The room after an event; what the event may not do, raises. Raises NoSuchMove, NotYourTurn, StaleVersion, NothingNew."""
    deed, party_id = event.deed, event.party_id
    if party_id is not None and party_id not in (room.seller_id, room.buyer_id):
        raise NotYourTurn("not_in_the_room")
    if deed in SAYING:
        if room.state not in TALKING:
            step(NEGOTIATION, room.state, deed)  # raises: nothing is said in a closed room
        return room
    state = step(NEGOTIATION, room.state, deed)
    _check_turn(room, deed, party_id)
    room = replace(room, state=state)
    match deed:
        case "open" | "reopen":
            return replace(room, inviter_id=party_id, standing_no=None)
        case "offer":
            return _with_offer(room, event)
        case "retract" | "withdraw" | "expire" | "decline":
            return replace(room, standing_no=None)
        case "accept":
            _check_seen(room, event.body)
            return replace(
                room, agreed_no=room.standing_no, standing_no=None, agreed_count=room.agreed_count + 1
            )
        case "ask_change":
            return replace(room, asker_id=party_id)
        case "allow_change":
            return replace(room, asker_id=None, agreed_no=None)
        case "refuse_change":
            return replace(room, asker_id=None)
    return room


def differences(old: Terms | None, new: Terms) -> tuple[Change, ...]:
    """What a version says otherwise than another: quantities in MWh, prices in yuan/MWh, clauses."""
    found: list[Change] = []
    before = {} if old is None else {(line.month, line.period): line for line in old.lines}
    now = {(line.month, line.period): line for line in new.lines}
    for key in sorted(before.keys() | now.keys()):
        was, is_now = before.get(key), now.get(key)
        place = f"{key[0]:%Y-%m} {key[1]}"
        for what in ("mwh", "price", "environment"):
            one, other = _figure(was, what), _figure(is_now, what)
            if one != other and not (what == "environment" and {one, other} == {None, "0.00"}):
                found.append(Change(what, place, one, other))
    for what in ("settlement", "deviation", "band_permille", "clause"):
        one = None if old is None else str(getattr(old, what))
        if one != str(getattr(new, what)):
            found.append(Change(what, "", one, str(getattr(new, what))))
    return tuple(found)


def terms_json(terms: Terms) -> dict[str, Any]:
    """Write a version's content as plain values, exact and in one form only: this is what is hashed."""
    ordered = sorted(terms.lines, key=lambda line: (line.month, line.period))
    return {
        "lines": [
            [f"{line.month:%Y-%m}", line.period, line.kwh, line.price_ticks, line.environment_ticks]
            for line in ordered
        ],
        "settlement": terms.settlement.value,
        "deviation": terms.deviation.value,
        "band_permille": terms.band_permille,
        "clause": terms.clause,
    }


def terms_from(content: Mapping[str, Any]) -> Terms:
    """Read what `terms_json` wrote."""
    return Terms(
        tuple(
            Line(date.fromisoformat(f"{month}-01"), period, kwh, price, environment)
            for month, period, kwh, price, environment in content["lines"]
        ),
        SettlementMethod(content["settlement"]),
        Deviation(content["deviation"]),
        content["band_permille"],
        content["clause"],
    )


def version_sha256(room_id: int, number: int, room: Room, terms: Terms) -> str:
    """Hash a version: its room and number, who sells to whom, and every figure and word of it."""
    content = {
        "room": room_id,
        "version": number,
        "seller": room.seller_id,
        "buyer": room.buyer_id,
        "terms": terms_json(terms),
    }
    return _sha256(_text(content))


def linked(room_id: int, event: Event, before_sha256: str) -> Link:
    """Give an event its place in the room's chain."""
    text = _text(
        {
            "room": room_id,
            "number": event.event_no,
            "deed": event.deed,
            "party": event.party_id,
            "actor": event.actor,
            "at": event.at.isoformat(),
            "body": dict(event.body),
        }
    )
    return Link(event, text, before_sha256, _sha256(before_sha256 + text))


def first_broken(links: Sequence[Mapping[str, Any]]) -> int | None:
    """Verify an exported chain; the number of the first event that is not what was recorded, None when all are.

    Each link is {number, text, before_sha256, sha256}: a reader needs nothing but SHA-256 to do the same.
    """
    before = NOTHING
    for number, link in enumerate(links, start=1):
        content = json.loads(link["text"])
        if (
            content.get("number") != number
            or link["before_sha256"] != before
            or link["sha256"] != _sha256(before + link["text"])
        ):
            return number
        before = link["sha256"]
    return None


def evidence(room_id: int, title: str, links: Sequence[Link]) -> dict[str, Any]:
    """The room's timeline as a document that proves itself: every event's bytes and the chain over them."""
    chain = [
        {
            "number": link.event.event_no,
            "text": link.text,
            "before_sha256": link.before_sha256,
            "sha256": link.sha256,
        }
        for link in links
    ]
    return {
        "schema": SCHEMA,
        "room": room_id,
        "title": title,
        "rule": "sha256(before_sha256 + text), UTF-8; before the first event 64 zeros",
        "last_sha256": links[-1].sha256 if links else NOTHING,
        "events": chain,
    }


def contract_id_of(room_id: int, version_no: int) -> str:
    """The number of the contract that an agreed version becomes."""
    return f"NEG-{room_id:06d}-V{version_no}"


def wholesale_of(
    room_id: int, version: Version, units: tuple[str, str], signed: date, *, is_green: bool
) -> WholesaleTerms:
    """Make the contract's terms of an agreed version; `units` are the seller's and the buyer's."""
    ordered = sorted(version.terms.lines, key=lambda line: (line.month, line.period))
    return WholesaleTerms(
        contract_id_of(room_id, version.version_no),
        1,
        ContractKind.GREEN if is_green else ContractKind.BILATERAL,
        *units,
        signed,
        f"negotiation:{room_id} version {version.version_no} sha256 {version.sha256}",
        Shape.FLAT,
        (),
        tuple(line.volume for line in ordered),
    )


def _check_turn(room: Room, deed: str, party_id: int | None) -> None:
    """Who may do what: some deeds are one side's only, and the clock's only deed is to expire."""
    if (party_id is None) != (deed == "expire") and not (party_id is None and deed == "refuse_change"):
        raise NotYourTurn("not_your_turn", deed=deed)
    standing = room.standing
    other_than = {
        "join": room.inviter_id,
        "decline": room.inviter_id,
        "accept": None if standing is None else standing.party_id,
        "allow_change": room.asker_id,
    }
    only = {"retract": None if standing is None else standing.party_id}
    if deed in other_than and party_id == other_than[deed]:
        raise NotYourTurn("not_your_turn", deed=deed)
    if deed in only and party_id != only[deed]:
        raise NotYourTurn("not_your_turn", deed=deed)


def _check_seen(room: Room, body: Mapping[str, Any]) -> None:
    standing = room.standing
    if standing is None or (body["version"], body["sha256"]) != (standing.version_no, standing.sha256):
        raise StaleVersion("stale_version", version=None if standing is None else standing.version_no)


def _with_offer(room: Room, event: Event) -> Room:
    terms = terms_from(event.body["terms"])
    number = len(room.versions) + 1
    if event.body["version"] != number or event.party_id is None:
        raise StaleVersion("stale_version", version=number - 1)
    standing = room.standing
    if standing is not None and terms_json(standing.terms) == terms_json(terms):
        raise NothingNew("nothing_new", version=standing.version_no)
    made = Version(number, event.party_id, terms, event.body["sha256"], event.at)
    return replace(room, versions=(*room.versions, made), standing_no=number)


def _figure(line: Line | None, what: str) -> str | None:
    if line is None:
        return None
    volume = line.volume
    value = {
        "mwh": volume.mwh,
        "price": volume.price_yuan_per_mwh,
        "environment": volume.environment_yuan_per_mwh,
    }[what]
    return format(value, "f")


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
