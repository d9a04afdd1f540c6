"""Shells: publish a listing, take of it, give up its rest; and the clock that ends listings and clears batch windows.

Everything that changes a listing happens under its lock in the database, so takers at the same instant come one after the
other and nothing is sold twice; a take by time becomes a contract in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import resources
from typing import Final
from uuid import UUID

from cloud import markettime
from cloud.contracts.contract import from_trade
from cloud.contracts.store import life, wholesale
from cloud.db import Conn, Pool, ProcessRole, Scope, transaction
from cloud.errors import Conflict, Forbidden, Invalid, NotNow
from cloud.lives import step
from cloud.market.auction import Side
from cloud.market.listing import Sharing
from cloud.market.offering import (
    LISTING,
    Asked,
    Code,
    Offer,
    Taker,
    answered,
    margin_fen,
    may_act,
    opposite,
    reduced,
    shared,
    terms_of,
    value_of,
)
from cloud.market.precheck import DeskRules, Finding, Known, demand_clean, desk_rules, findings
from cloud.market.store import listings
from cloud.market.store.listings import ListingRow, NewEvent, TakeRow
from cloud.notices import Notice, post
from cloud.parties.guarantee import contract_purpose
from cloud.parties.guaranteefile import rule_from
from cloud.parties.standing import Standing
from cloud.parties.store import credits, standings
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow

NOTE_MAX: Final = 1000
CLOCK: Final = Scope(ProcessRole.WORKER, actor="job:listings")
RULES: Final = desk_rules((resources.files("cloud.market") / "desk" / "jibei-2026.toml").read_text("utf-8"))


class NotAdmitted(Forbidden):
    """Only a party whose registration is in force may trade."""


class WrongSide(Invalid):
    """This kind of party does not buy or sell here."""


class UnknownUnit(Invalid):
    """The unit is none that this party trades with."""


class TakeRefused(NotNow):
    """A take is refused; the code says why (market.md 6)."""


class CannotBeNamed(Invalid):
    """A listing is directed to a party that is not there, not admitted, or cannot take it."""


class NotTheLister(Forbidden):
    """Only who listed it gives up its rest."""


class BatchTaken(NotNow):
    """A batch window in which somebody has asked stays open to its end."""


class KeyUsed(Conflict):
    """The client key belongs to another listing or take of this party."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A listing as its party sends it."""

    offer: Offer
    unit_id: str
    note: str
    client_key: UUID | None = None


@dataclass(frozen=True, slots=True)
class TakeSent:
    """A take as its party sends it: kWh and the seen prices by line, and with which unit."""

    kwh: tuple[int, ...]
    price_ticks: tuple[int, ...]
    unit_id: str
    client_key: UUID | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a taker gets: a number, what it got by line (None: when the window closes), and its contract."""

    receipt_no: str
    listing_id: int
    seq: int
    kwh: tuple[int, ...]
    got: tuple[int, ...] | None
    contract_id: str | None
    at: datetime


def publish(conn: Conn, actor: Actor, sent: Publication, now: datetime) -> int:
    """List an offer and return its number; the same client key gives the same listing.

    Raises NotAdmitted, WrongSide, UnknownUnit, NotAdmissible, OverGuarantee.
    """
    allow(conn, actor, Deed.TRADE_LISTINGS, Subject("listing", "new", actor.party_id), now)
    party_id = _own_party(actor)
    if sent.client_key is not None:
        kept = listings.by_client_key(conn, party_id, sent.client_key)
        if kept is not None:
            if not _is_again(listings.find(conn, kept), sent.offer, now):
                raise KeyUsed("client_key_used")
            return kept
    standing = _gate(conn, party_id, sent.offer.side, sent.unit_id, now)
    if sent.offer.ends_at <= now:
        raise TakeRefused("listing_over")
    demand_clean(check(conn, sent.offer, (sent.unit_id, standing), now))
    _demand_takers(conn, sent.offer)
    offer_id = listings.insert(
        conn, sent.offer, sent.unit_id, sent.note.strip(), (now, actor_name(actor), sent.client_key)
    )
    if sent.offer.side is Side.BUY:
        _reserve(conn, standing, _listed_fen(sent.offer, _whole(sent.offer)), _listing_key(offer_id), now)
    _tell_named(conn, offer_id, sent.offer, now)
    return offer_id


def check(conn: Conn, offer: Offer, whose: tuple[str, Standing], now: datetime) -> tuple[Finding, ...]:
    """Check an offer before it is listed; `whose` are its unit and where its party stands."""
    unit_id, standing = whose
    known = Known(
        past_month_kwh=listings.past_month_kwh(conn, (unit_id,)),
        limit_kwh=_open_limit_kwh(conn, standing, now),
    )
    return findings(offer.lines, RULES, known, markettime.day_of(now))


def take(conn: Conn, actor: Actor, listing_id: int, sent: TakeSent, now: datetime) -> Receipt:
    """Take of a listing: by time a contract at once, in a batch a place in the window; a retry gets its first receipt.

    Raises TakeRefused with the code, NotAdmitted, WrongSide, UnknownUnit, OverGuarantee.
    """
    allow(conn, actor, Deed.TRADE_LISTINGS, Subject("listing", str(listing_id), actor.party_id), now)
    party_id = _own_party(actor)
    listings.lock(conn, listing_id)
    if sent.client_key is not None:
        kept = listings.take_by_key(conn, party_id, sent.client_key)
        if kept is not None:
            if kept.listing_id != listing_id or tuple(kept.kwh) != sent.kwh:
                raise KeyUsed("client_key_used")
            return receipt_of(kept)
    row = listings.find(conn, listing_id)
    offer = row.offer
    taking = Side.BUY if offer.side is Side.SELL else Side.SELL
    standing = standings.standing_of(conn, party_id, now)
    asked_before: tuple[int, ...] = ()
    if offer.sharing is Sharing.PRORATA:
        asked_before = listings.asked_by(conn, listing_id, party_id, len(offer.lines))
    outcome = answered(
        offer,
        row.left,
        row.state == "open" and row.is_admitted,
        Taker(party_id, standing.kind, asked_before),
        Asked(sent.kwh, sent.price_ticks, now),
    )
    if outcome.refusal is not None:
        raise TakeRefused(f"take_{outcome.refusal.value.lower()}", code=outcome.refusal.value)
    _gate(conn, party_id, taking, sent.unit_id, now)
    limit = _open_limit_kwh(conn, standing, now)
    if limit is not None and sum(sent.kwh if outcome.got is None else outcome.got) > limit:
        raise TakeRefused("take_qty_cap", code=Code.QTY_CAP.value)
    event = NewEvent("take", sent.kwh, party_id, sent.unit_id, now, actor_name(actor), sent.client_key)
    seq = listings.add_event(conn, listing_id, event)
    if outcome.got is None:
        if taking is Side.BUY:
            _reserve(conn, standing, _listed_fen(offer, sent.kwh), f"take:{seq}", now)
        return Receipt(_receipt_no(listing_id, seq), listing_id, seq, sent.kwh, None, None, now)
    if taking is Side.BUY:
        bond_fen = _bond_fen(conn, party_id, outcome.got, now)
        _reserve(conn, standing, bond_fen, contract_purpose(_contract_id(listing_id, seq)), now)
    taker = _Taker(seq, party_id, sent.unit_id)
    contract_id = _contract(conn, row, taker, outcome.got, (now, actor_name(actor)))
    listings.add_share(conn, listing_id, seq, outcome.got, (contract_id, now))
    listings.exhausted(conn, listing_id)
    return Receipt(_receipt_no(listing_id, seq), listing_id, seq, sent.kwh, outcome.got, contract_id, now)


def reduce(conn: Conn, actor: Actor, listing_id: int, by: Sequence[int], now: datetime) -> None:
    """Give up part of the rest, by line. Raises NotTheLister, CannotReduce, NoSuchMove."""
    allow(conn, actor, Deed.TRADE_LISTINGS, Subject("listing", str(listing_id), actor.party_id), now)
    row = _own_open(conn, actor, listing_id)
    left = _rest(conn, row)
    rest = reduced(left, by)
    if not any(rest) and left == row.left:
        withdraw(conn, actor, listing_id, now)
        return
    listings.add_event(
        conn, listing_id, NewEvent("reduce", tuple(by), row.party_id, row.unit_id, now, actor_name(actor))
    )


def withdraw(conn: Conn, actor: Actor, listing_id: int, now: datetime) -> None:
    """Give up all that is left; what was taken stays. Raises NotTheLister, BatchTaken, NoSuchMove."""
    allow(conn, actor, Deed.TRADE_LISTINGS, Subject("listing", str(listing_id), actor.party_id), now)
    row = _own_open(conn, actor, listing_id)
    if _rest(conn, row) != row.left:
        raise BatchTaken("listing_batch_taken")
    after = step(LISTING, row.state, "withdraw")
    listings.add_event(
        conn, listing_id, NewEvent("withdraw", row.left, row.party_id, row.unit_id, now, actor_name(actor))
    )
    listings.move(conn, listing_id, row.state, after)
    _settle_reserve(conn, row, now)


def ring(pool: Pool, now: datetime) -> int:
    """End every listing whose time is over: the rest expires, a batch window is shared first. Return how many."""
    with transaction(pool, CLOCK) as conn:
        due = listings.due(conn, now)
        exhausted = listings.exhausted_bound(conn)
    for listing_id in due:
        with transaction(pool, CLOCK) as conn:
            end(conn, listing_id, now)
    for listing_id in exhausted:
        with transaction(pool, CLOCK) as conn:
            _settle_reserve(conn, listings.find(conn, listing_id), now)
    return len(due)


def end(conn: Conn, listing_id: int, now: datetime) -> None:
    """End one listing by the clock; safe to repeat."""
    listings.lock(conn, listing_id)
    row = listings.find(conn, listing_id)
    if row.state != "open" or row.offer.ends_at > now:
        return
    is_batch = row.offer.sharing is Sharing.PRORATA
    if is_batch:
        _clear(conn, row, now)
    left = listings.find(conn, listing_id).left
    deed = "clear" if is_batch else "expire"
    if any(left):
        listings.add_event(conn, listing_id, NewEvent("expire", left, None, None, now, CLOCK.actor))
    elif is_batch:
        nothing = (0,) * len(left)
        listings.add_event(conn, listing_id, NewEvent("clear", nothing, None, None, now, CLOCK.actor))
    listings.move(conn, listing_id, row.state, step(LISTING, row.state, deed))
    _settle_reserve(conn, listings.find(conn, listing_id), now)
    _tell(conn, row.party_id, "listing.ended", row, f"listing:{listing_id}:ended", now)


def receipt_of(row: TakeRow) -> Receipt:
    """The receipt of a take that was kept."""
    return Receipt(
        _receipt_no(row.listing_id, row.seq),
        row.listing_id,
        row.seq,
        tuple(row.kwh),
        None if row.got is None else tuple(row.got),
        row.contract_id,
        row.at,
    )


# ---- inside ----------------------------------------------------------------------------------------------


def _is_again(kept: ListingRow, offer: Offer, now: datetime) -> bool:
    """Whether an offer is the one that was listed; what begins at once begins later when it is sent again."""
    begins_at_once = kept.offer.starts_at == kept.published_at and offer.starts_at == now
    return kept.offer == (replace(offer, starts_at=kept.offer.starts_at) if begins_at_once else offer)


def _demand_takers(conn: Conn, offer: Offer) -> None:
    """Demand that everybody to whom an offer is directed could take it. Raises CannotBeNamed."""
    found = {party_id: kind for party_id, _, kind in listings.named(conn, offer.eligible_ids)}
    kinds = offer.eligible_kinds
    for party_id in offer.eligible_ids:
        kind = found.get(party_id)
        if kind is None or not may_act(kind, opposite(offer.side)) or (kinds and kind not in kinds):
            raise CannotBeNamed("listing_named_cannot", party=party_id)


def _tell_named(conn: Conn, listing_id: int, offer: Offer, now: datetime) -> None:
    """Tell those to whom a listing is directed: nobody else hears of it."""
    facts = {"listing": str(listing_id)}
    for party_id in offer.eligible_ids:
        key = f"listing:{listing_id}:directed:{party_id}"
        post(conn, Notice(party_id, "listing.directed", facts, f"/listings/{listing_id}", key), now)


@dataclass(frozen=True, slots=True)
class _Taker:
    seq: int
    party_id: int
    unit_id: str


def _clear(conn: Conn, row: ListingRow, now: datetime) -> None:
    """Share a batch window among its takes; each that got something becomes a contract."""
    takes = [each for each in listings.takes_of(conn, row.listing_id) if each.got is None]
    for each, got in zip(takes, shared(row.offer, row.left, [take.kwh for take in takes]), strict=True):
        assert each.party_id is not None
        assert each.unit_id is not None
        contract_id = None
        standings.release(conn, f"take:{each.seq}", now)
        if any(got):
            taker = _Taker(each.seq, each.party_id, each.unit_id)
            if row.offer.side is Side.SELL:
                _carry(conn, each.party_id, got, _contract_id(row.listing_id, each.seq), now)
            contract_id = _contract(conn, row, taker, got, (now, CLOCK.actor))
        listings.add_share(conn, row.listing_id, each.seq, got, (contract_id, now))
        _tell(conn, each.party_id, "listing.shared", row, f"take:{each.seq}:shared", now)


def _contract(
    conn: Conn, row: ListingRow, taker: _Taker, got: Sequence[int], done: tuple[datetime, str]
) -> str:
    """Make the contract of a take, where settlement and the archive find it, and tell both sides."""
    now, by = done
    contract_id = _contract_id(row.listing_id, taker.seq)
    signed = (markettime.day_of(now), f"{_receipt_no(row.listing_id, taker.seq)}")
    terms = terms_of(contract_id, row.offer, (row.unit_id, taker.unit_id), got, signed)
    wholesale.put(conn, terms, by, now)
    life.insert(conn, from_trade(terms, f"listing:{row.listing_id}"), now, by)
    for party_id in (row.party_id, taker.party_id):
        key = f"take:{taker.seq}:{party_id}"
        facts = {"listing": str(row.listing_id), "contract": contract_id, "mwh": _mwh(sum(got))}
        post(conn, Notice(party_id, "listing.taken", facts, f"/listings/{row.listing_id}", key), now)
    return contract_id


def _gate(conn: Conn, party_id: int, side: Side, unit_id: str, now: datetime) -> Standing:
    """The hard gate of the market: who is admitted, of a kind that acts on this side, with a unit of its own."""
    standing = standings.standing_of(conn, party_id, now)
    if not standing.is_admitted:
        raise NotAdmitted("trader_not_admitted")
    if not may_act(standing.kind, side):
        raise WrongSide("wrong_side")
    if unit_id not in listings.units_of(conn, party_id, now):
        raise UnknownUnit("unknown_unit", unit=unit_id[:40])
    return standing


def _reserve(conn: Conn, standing: Standing, amount_fen: int, key: str, now: datetime) -> None:
    if standing.guarantee_free_fen is not None:
        standings.reserve(conn, standing.party_id, amount_fen, key, now)


def _carry(conn: Conn, party_id: int, got: Sequence[int], contract_id: str, now: datetime) -> None:
    standings.carry(conn, party_id, _bond_fen(conn, party_id, got, now), contract_purpose(contract_id), now)


def _bond_fen(conn: Conn, party_id: int, kwh: Sequence[int], now: datetime) -> int:
    rule = rule_from(credits.active_body(conn, "guarantee"))
    return standings.bond_fen(conn, rule, party_id, sum(kwh), now)


def _open_limit_kwh(conn: Conn, standing: Standing, now: datetime) -> int | None:
    """What a party may still list or take this month, of all its listings and takes; None: it has no limit.

    Listing has no session of its own: the calendar month in which it is listed or taken is the one that the limit is for.
    """
    if standing.limit_kwh is None:
        return None
    standings.lock_limit(conn, standing.party_id)
    since = markettime.slot_start(markettime.month_of(markettime.day_of(now)), 0)
    return max(0, standing.limit_kwh - listings.bound_kwh(conn, standing.party_id, since))


def _settle_reserve(conn: Conn, row: ListingRow, now: datetime) -> None:
    """A listing to buy is over: what was reserved for the rest is free, what was taken stays bound by its contract."""
    if row.offer.side is not Side.BUY:
        return
    standings.release(conn, _listing_key(row.listing_id), now)
    for each in listings.takes_of(conn, row.listing_id):
        if each.contract_id is not None and each.got is not None:
            _carry(conn, row.party_id, each.got, each.contract_id, now)


def _own_open(conn: Conn, actor: Actor, listing_id: int) -> ListingRow:
    listings.lock(conn, listing_id)
    row = listings.find(conn, listing_id)
    if row.party_id != _own_party(actor):
        raise NotTheLister("not_the_lister")
    step(LISTING, row.state, "withdraw")
    return row


def _rest(conn: Conn, row: ListingRow) -> tuple[int, ...]:
    """What the lister may still give up: in a batch not what somebody has asked for."""
    if row.offer.sharing is Sharing.TIME:
        return row.left
    asked = [0] * len(row.left)
    for each in listings.takes_of(conn, row.listing_id):
        asked = [one + other for one, other in zip(asked, each.kwh, strict=True)]
    return tuple(max(0, left - one) for left, one in zip(row.left, asked, strict=True))


def _tell(conn: Conn, party_id: int, key: str, row: ListingRow, idem_key: str, now: datetime) -> None:
    facts = {"listing": str(row.listing_id)}
    post(conn, Notice(party_id, key, facts, f"/listings/{row.listing_id}", idem_key), now)


def _listed_fen(offer: Offer, kwh: Sequence[int]) -> int:
    return margin_fen(value_of(offer.lines, kwh), RULES.margin_rate_pct)


def _whole(offer: Offer) -> tuple[int, ...]:
    return tuple(line.kwh for line in offer.lines)


def _contract_id(listing_id: int, seq: int) -> str:
    return f"GP-{listing_id:06d}-{seq}"


def _listing_key(listing_id: int) -> str:
    return f"listing:{listing_id}"


def _receipt_no(listing_id: int, seq: int) -> str:
    return f"ZP{listing_id:06d}-{seq:08d}"


def _mwh(kwh: int) -> str:
    return f"{kwh // 1000}.{kwh % 1000:03d}"


def _own_party(actor: Actor) -> int:
    if actor.party_id is None:
        raise NotAdmitted("trader_not_admitted")
    return actor.party_id


def rules() -> DeskRules:
    """The bounds that hold for what is listed and negotiated here."""
    return RULES
