"""Shells: issue certificates of a month, sell them once, use them up with a proof, and let the old ones expire.

Every deed is one entry of the ledger in the caller's transaction, made once by its key; who comes second finds the
certificates gone.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from cloud import markettime
from cloud.contracts.store import wholesale
from cloud.contracts.terms import ContractKind
from cloud.db import Conn
from cloud.errors import Invalid, NotFound, NotNow
from cloud.lives import step
from cloud.market import certificates as gec
from cloud.market.certificates import Kind, Serials
from cloud.market.store import certificates as store
from cloud.market.store import entered, greenfacts, greenuses, members
from cloud.market.store.certificates import (
    MonthRow,
    NewEntry,
    NewSale,
    PlaceRow,
    PlantRow,
    SaleRow,
)
from cloud.metering.store import intervals
from cloud.money import EXACT, shares
from cloud.notices import Notice, post
from cloud.parties.store import standings
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow

CLOCK: Final = "job:green"
PAGE: Final = "/green"
TEXT_MAX: Final = 200
PURPOSE_MAX: Final = 300


class NoGeneration(NotNow):
    """The plant's generation of the month is neither metered completely nor entered."""


class MonthNotOver(NotNow):
    """Certificates of a month are issued when it is over."""


class NotAdmitted(NotNow):
    """Only a party whose registration is in force may trade certificates."""


class BadUse(Invalid):
    """A use names its user, its purpose and its months."""


class NoPlant(NotFound):
    """No plant of that unit is entered."""


class OwnSale(NotNow):
    """Nobody buys of themselves, and what was offered to somebody else is theirs to take."""


class SaleOver(NotNow):
    """The sale is over."""


@dataclass(frozen=True, slots=True)
class Use:
    """For whom, for what and for which months certificates are used up."""

    used_by: str
    purpose: str
    first_month: date
    last_month: date


@dataclass(frozen=True, slots=True)
class Allotted:
    """What went along with a green contract of a month."""

    contract_id: str
    seller_id: int
    settled_kwh: int
    moved_mwh: int


# ---- issue -----------------------------------------------------------------------------------------------


def issue_month(conn: Conn, month: date, actor: Actor | None, now: datetime) -> tuple[MonthRow, ...]:
    """Issue what every plant's month earned; plants whose month is issued, or has no figures yet, are left alone.

    `actor` None is the clock. Return the months that were issued now. Raises MonthNotOver.
    """
    if actor is not None:
        allow(conn, actor, Deed.DIRECT_GREEN, Subject("green_month", f"{month:%Y-%m}"), now)
    if markettime.month_after(month) > markettime.day_of(now):
        raise MonthNotOver("green_month_not_over", month=f"{month:%Y-%m}")
    by = CLOCK if actor is None else actor_name(actor)
    issued = []
    for plant in store.plants(conn):
        store.lock_unit(conn, plant.unit_id)
        last = _last(store.months(conn, plant.unit_id))
        if last is not None and last.month >= month:
            continue
        found = _generation(conn, plant, month)
        if found is None or (last is not None and month != markettime.month_after(last.month)):
            continue
        issued.append(_issue(conn, plant, month, (last, *found), (now, by)))
    return tuple(issued)


def issue_plant(conn: Conn, actor: Actor, unit_id: str, month: date, now: datetime) -> MonthRow:
    """Issue one plant's month, once. Raises NoPlant, NoGeneration, MonthNotOver, MonthOutOfOrder."""
    allow(conn, actor, Deed.DIRECT_GREEN, Subject("green_plant", unit_id), now)
    plant = next((each for each in store.plants(conn) if each.unit_id == unit_id), None)
    if plant is None:
        raise NoPlant("not_found", kind="green_plant")
    if markettime.month_after(month) > markettime.day_of(now):
        raise MonthNotOver("green_month_not_over", month=f"{month:%Y-%m}")
    store.lock_unit(conn, unit_id)
    done = store.months(conn, unit_id)
    if kept := [each for each in done if each.month == month]:
        return kept[0]
    last = _last(done)
    gec.check_next_month(month, None if last is None else last.month)
    found = _generation(conn, plant, month)
    if found is None:
        raise NoGeneration("green_no_generation", unit=unit_id, month=f"{month:%Y-%m}")
    return _issue(conn, plant, month, (last, *found), (now, actor_name(actor)))


def _issue(
    conn: Conn,
    plant: PlantRow,
    month: date,
    facts: tuple[MonthRow | None, int, int, str],
    made: tuple[datetime, str],
) -> MonthRow:
    last, generation_kwh, mechanism_kwh, source = facts
    due = gec.due(generation_kwh, mechanism_kwh, 0 if last is None else last.carry_after_kwh)
    row = MonthRow(
        *(plant.unit_id, month, plant.party_id, generation_kwh, mechanism_kwh),
        *(due.carry_before_kwh, due.issued_mwh, due.carry_after_kwh, source),
    )
    entry_id = None
    if due.issued_mwh:
        first = store.next_serial(conn)
        postings = gec.moved(
            gec.issued_account(plant.party_id),
            gec.held_account(plant.party_id),
            (Serials(first, first + due.issued_mwh),),
        )
        entry = NewEntry(Kind.ISSUE, f"issue:{plant.unit_id}:{month:%Y-%m}", postings)
        entry_id = store.post(conn, entry, *made, batch=(plant, month))
        _tell(
            conn,
            plant.party_id,
            "green.issued",
            entry.idem_key,
            made[0],
            plant=plant.name,
            month=f"{month:%Y-%m}",
            mwh=str(due.issued_mwh),
        )
    store.insert_month(conn, row, due, entry_id, made)
    return row


def _last(months: Sequence[MonthRow]) -> MonthRow | None:
    return months[-1] if months else None


def _generation(conn: Conn, plant: PlantRow, month: date) -> tuple[int, int, str] | None:
    """Generation and mechanism energy of a month in kWh, and where from; None: not known yet.

    What was entered speaks before the meter: it is entered where the meter is not ours, or was wrong.
    """
    quantities = entered.quantities_of(conn, plant.unit_id, month)
    mechanism = quantities.get("mechanism")
    mechanism_kwh = 0 if mechanism is None else -int(-EXACT.multiply(mechanism.mwh, 1000) // 1)
    if (generation := quantities.get("generation")) is not None:
        return int(EXACT.multiply(generation.mwh, 1000)), mechanism_kwh, "entered"
    points = members.supply_points(conn, plant.unit_id)
    total_wh = 0
    for point in points:
        days = intervals.load_days(conn, point, month, markettime.month_after(month))
        values = [wh for day in days for wh in day.export_wh]
        if len(days) != len(markettime.days_of_month(month)) or None in values:
            return None
        total_wh += sum(wh or 0 for wh in values)
    return (total_wh // 1000, mechanism_kwh, "intervals") if points else None


# ---- sell ------------------------------------------------------------------------------------------------


def offer(conn: Conn, actor: Actor, sale: NewSale, now: datetime) -> SaleRow:
    """Put certificates aside and offer them, to one buyer or to whoever takes them; once by the seller's key.

    Raises NotAdmitted, NotEnough, BadQuantity.
    """
    allow(conn, actor, Deed.TRADE_GREEN, Subject("party", str(sale.seller_id), sale.seller_id), now)
    _check_admitted(conn, sale.seller_id, now)
    gec.check_mwh(sale.mwh)
    if sale.price_ticks < 0 or sale.ends_at <= now or sale.buyer_id == sale.seller_id:
        raise Invalid("green_bad_sale")
    by = actor_name(actor)
    sale_id, is_new = store.insert_sale(conn, sale, now, by)
    if is_new:
        held = gec.held_account(sale.seller_id)
        runs = gec.picked(
            [
                each.holding
                for each in store.places(conn, held)
                if each.is_tradable and not each.is_traded and not _is_old(each, now)
            ],
            sale.mwh,
        )
        locked = gec.moved(held, gec.locked_account(sale.seller_id, sale_id), runs)
        store.post(
            conn, NewEntry(Kind.LOCK, f"lock:{sale_id}", locked, price_ticks=sale.price_ticks), now, by
        )
        if sale.buyer_id is not None:
            _tell(conn, sale.buyer_id, "green.offered", f"green-offer:{sale_id}", now, mwh=str(sale.mwh))
    return store.sale(conn, sale_id)


def take(conn: Conn, actor: Actor, sale_id: int, mwh: int, key: str, now: datetime) -> int:
    """Buy of a sale; the certificates are the buyer's at once. Return the entry. The same key takes once.

    Raises NoSale, NotAdmitted, SaleOver, OwnSale, NotEnough, GoneMeanwhile.
    """
    allow(conn, actor, Deed.TRADE_GREEN, Subject("party", str(actor.party_id), actor.party_id), now)
    assert actor.party_id is not None
    buyer_id = actor.party_id
    _check_admitted(conn, buyer_id, now)
    store.lock_sale(conn, sale_id)
    idem_key = f"take:{sale_id}:{buyer_id}:{key}"
    if (kept := store.find_entry(conn, idem_key)) is not None:
        return kept[0]
    sale = store.sale(conn, sale_id)
    if sale.seller_id == buyer_id or sale.buyer_id not in (None, buyer_id):
        raise OwnSale("green_not_for_you")
    if sale.state != "open" or now >= sale.ends_at:
        raise SaleOver("green_sale_over")
    locked = gec.locked_account(sale.seller_id, sale_id)
    valid = [each.holding for each in store.places(conn, locked) if not _is_old(each, now)]
    postings = gec.moved(locked, gec.held_account(buyer_id), gec.picked(valid, mwh))
    entry = NewEntry(Kind.TRANSFER, idem_key, postings, price_ticks=sale.price_ticks)
    entry_id = store.post(conn, entry, now, actor_name(actor))
    store.note_exhausted(conn, sale_id)
    _tell(conn, sale.seller_id, "green.sold", idem_key, now, mwh=str(mwh))
    return entry_id


def withdraw(conn: Conn, actor: Actor, sale_id: int, now: datetime) -> None:
    """Give up what is left of one's own sale; the certificates are free again."""
    allow(conn, actor, Deed.TRADE_GREEN, _of_sale(conn, sale_id), now)
    store.lock_sale(conn, sale_id)
    sale = store.sale(conn, sale_id)
    _end(conn, sale, "withdraw", (now, actor_name(actor)))


def _of_sale(conn: Conn, sale_id: int) -> Subject:
    return Subject("green_sale", str(sale_id), store.sale(conn, sale_id).seller_id)


def lapse(conn: Conn, now: datetime) -> int:
    """End the sales whose time is over; return how many."""
    due = store.lapsed_sales(conn, now)
    for sale_id in due:
        store.lock_sale(conn, sale_id)
        sale = store.sale(conn, sale_id)
        if sale.state == "open":
            _end(conn, sale, "lapse", (now, CLOCK))
    return len(due)


def _end(conn: Conn, sale: SaleRow, deed: str, made: tuple[datetime, str]) -> None:
    state = step(gec.SALE, sale.state, deed)
    locked = gec.locked_account(sale.seller_id, sale.sale_id)
    runs = [each.holding.serials for each in store.places(conn, locked)]
    if runs:
        postings = gec.moved(locked, gec.held_account(sale.seller_id), runs)
        store.post(conn, NewEntry(Kind.RELEASE, f"release:{sale.sale_id}", postings), *made)
    store.move_sale(conn, sale.sale_id, state)


# ---- along with green contracts --------------------------------------------------------------------------


def allot_month(conn: Conn, month: date, actor: Actor | None, now: datetime) -> tuple[Allotted, ...]:
    """Hand over the certificates of a settled month's green contracts: min(contract, generation − mechanism, use).

    The quantity is that of the final statement's environmental value; parts below one MWh of a contract add up over
    its months. They go to the buyer, or to the users a retailer's contract names (1656号 art. 53, 79). Running it again
    changes nothing. Return what was handed over now.
    """
    if actor is not None:
        allow(conn, actor, Deed.DIRECT_GREEN, Subject("green_month", f"{month:%Y-%m}"), now)
    by = CLOCK if actor is None else actor_name(actor)
    done = []
    settled = greenfacts.settled_kwh(conn, month)
    for terms in wholesale.of_month(conn, month):
        key = f"allot:{terms.contract_id}:{month:%Y-%m}"
        if terms.kind is not ContractKind.GREEN or terms.contract_id not in settled:
            continue
        if greenfacts.is_allotted(conn, key):
            continue
        seller_id = greenfacts.party_of(conn, terms.seller)
        if seller_id is None:
            continue
        targets = _targets(conn, terms.green_users or (terms.buyer,), month)
        whole_kwh = greenfacts.settled_until(conn, terms.contract_id, month)
        due = whole_kwh // gec.KWH_PER_MWH - store.transferred_mwh(conn, terms.contract_id)
        moved = _hand_over(
            conn, (terms.contract_id, terms.seller, seller_id), targets, due, (key, month, now, by)
        )
        done.append(Allotted(terms.contract_id, seller_id, settled[terms.contract_id], moved))
    return tuple(done)


def _targets(conn: Conn, users: Sequence[str], month: date) -> tuple[tuple[int, int], ...]:
    """Who gets the certificates, by party, with the kWh of the month that weigh them."""
    weights: dict[int, int] = {}
    for user in users:
        party_id = greenfacts.party_of(conn, user)
        if party_id is not None:
            weights[party_id] = weights.get(party_id, 0) + greenfacts.used_kwh(conn, user, month)
    return tuple(sorted(weights.items()))


def _hand_over(
    conn: Conn,
    contract: tuple[str, str, int],
    targets: Sequence[tuple[int, int]],
    due: int,
    made: tuple[str, date, datetime, str],
) -> int:
    contract_id, unit_id, seller_id = contract
    key, month, now, by = made
    held = gec.held_account(seller_id)
    free = [
        each.holding
        for each in store.places(conn, held, unit_id)
        if each.is_tradable and not each.is_traded and each.month <= month and not _is_old(each, now)
    ]
    mwh = min(due, sum(each.serials.mwh for each in free))
    if mwh <= 0 or not targets:
        return 0
    weights = [weight for _, weight in targets]
    parts = shares(mwh, weights if any(weights) else [1] * len(weights))
    postings: list[gec.Posting] = []
    for (party_id, _), part in zip(targets, parts, strict=True):
        if part == 0 or party_id == seller_id:
            continue
        runs = gec.picked(free, part)
        free = _without(free, runs)
        postings += gec.moved(held, gec.held_account(party_id), runs)
        _tell(conn, party_id, "green.allotted", f"{key}:{party_id}", now, contract=contract_id, mwh=str(part))
    if postings:
        store.post(conn, NewEntry(Kind.TRANSFER, key, tuple(postings), contract_id), now, by)
    return sum(each.mwh for each in postings if each.mwh > 0)


def _without(free: Sequence[gec.Holding], runs: Sequence[Serials]) -> list[gec.Holding]:
    """What is left when runs that begin holdings are taken away."""
    ends = {run.start: run.end for run in runs}
    left = []
    for each in free:
        first = ends.get(each.serials.start, each.serials.start)
        if first < each.serials.end:
            rest = Serials(first, each.serials.end)
            left.append(gec.Holding(rest, each.production_month, each.is_traded, each.is_tradable))
    return left


# ---- use and expiry --------------------------------------------------------------------------------------


def retire(conn: Conn, actor: Actor, mwh: int, use: Use, key: str, now: datetime) -> int:
    """Use up certificates that the actor's party holds, for a named user, purpose and months. Return the entry.

    Those that count for all of the months are taken, the oldest first. The same key uses once.
    Raises BadUse, NotValidThen, NotEnough.
    """
    allow(conn, actor, Deed.TRADE_GREEN, Subject("party", str(actor.party_id), actor.party_id), now)
    assert actor.party_id is not None
    party_id = actor.party_id
    used_by, purpose = use.used_by.strip(), use.purpose.strip()
    this_month = markettime.month_of(markettime.day_of(now))
    if not (0 < len(used_by) <= TEXT_MAX and 0 < len(purpose) <= PURPOSE_MAX):
        raise BadUse("green_bad_use")
    if not use.first_month <= use.last_month <= this_month:
        raise BadUse("green_bad_period")
    idem_key = f"retire:{party_id}:{key}"
    if (kept := store.find_entry(conn, idem_key)) is not None:
        return kept[0]
    held = gec.held_account(party_id)
    everything = [each for each in store.places(conn, held) if not _is_old(each, now)]
    fitting = [
        each.holding for each in everything if gec.counts_for(each.month, use.first_month, use.last_month)
    ]
    total = sum(each.mwh for each in everything)
    if sum(each.serials.mwh for each in fitting) < mwh <= total:
        raise gec.NotValidThen("green_not_valid_then", asked=mwh, months=gec.VALID_MONTHS)
    postings = gec.moved(held, gec.retired_account(party_id), gec.picked(fitting, mwh))
    entry_id = store.post(conn, NewEntry(Kind.RETIRE, idem_key, postings), now, actor_name(actor))
    proof_no = f"GR-{entry_id:06d}-{secrets.token_hex(8).upper()}"
    row = greenuses.Retirement(
        party_id, proof_no, used_by, purpose, use.first_month, use.last_month, mwh, now
    )
    greenuses.insert_retirement(conn, entry_id, row)
    return entry_id


def expire(conn: Conn, now: datetime) -> int:
    """Let certificates go whose 24 months are over, also those put aside for a sale; return how many."""
    today = markettime.day_of(now)
    oldest = markettime.month_after(markettime.month_of(today), -(gec.VALID_MONTHS - 1))
    moved = 0
    for each in store.old_places(conn, oldest):
        postings = gec.moved(each.account, gec.EXPIRED, (each.holding.serials,))
        store.post(conn, NewEntry(Kind.EXPIRE, f"expire:{each.first}:{each.end}", postings), now, CLOCK)
        moved += each.mwh
        if each.party_id is not None:
            key = f"green-expired:{each.first}:{each.end}"
            _tell(
                conn, each.party_id, "green.expired", key, now, mwh=str(each.mwh), month=f"{each.month:%Y-%m}"
            )
    return moved


def enter_plant(conn: Conn, actor: Actor, plant: PlantRow, now: datetime) -> bool:
    """Enter a plant whose energy earns certificates; False when it stands so already. Raises NoPlant."""
    allow(conn, actor, Deed.DIRECT_GREEN, Subject("green_plant", plant.unit_id), now)
    if greenfacts.party_of(conn, plant.unit_id) != plant.party_id:
        raise NoPlant("not_found", kind="green_plant")
    return store.put_plant(conn, plant, now, actor_name(actor))


def _check_admitted(conn: Conn, party_id: int, now: datetime) -> None:
    if not standings.standing_of(conn, party_id, now).is_admitted:
        raise NotAdmitted("green_not_admitted")


def _is_old(place: PlaceRow, now: datetime) -> bool:
    return gec.is_expired(place.month, markettime.day_of(now))


def _tell(conn: Conn, party_id: int, key: str, idem_key: str, at: datetime, **facts: str) -> None:
    post(conn, Notice(party_id, key, facts, PAGE, f"notice:{idem_key}"[:200]), at)
