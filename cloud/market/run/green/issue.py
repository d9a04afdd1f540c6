"""Shell: enter plants, and issue what their months earned: one entry of the ledger each, once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from cloud import markettime
from cloud.db import Conn
from cloud.errors import NotFound, NotNow
from cloud.market import certificates as gec
from cloud.market.certificates import Kind, Serials
from cloud.market.run.green.holder import CLOCK, tell
from cloud.market.store import certificates as store
from cloud.market.store import entered, greenfacts, members
from cloud.market.store.certificates import MonthRow, NewEntry, PlantRow
from cloud.metering.store import intervals
from cloud.money import EXACT
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow


class NoGeneration(NotNow):
    """The plant's generation of the month is neither metered completely nor entered."""


class MonthNotOver(NotNow):
    """Certificates of a month are issued when it is over."""


class NoPlant(NotFound):
    """No plant of that unit is entered."""


def enter_plant(conn: Conn, actor: Actor, plant: PlantRow, now: datetime) -> bool:
    """Enter a plant whose energy earns certificates; False when it stands so already. Raises NoPlant."""
    allow(conn, actor, Deed.DIRECT_GREEN, Subject("green_plant", plant.unit_id), now)
    if greenfacts.party_of(conn, plant.unit_id) != plant.party_id:
        raise NoPlant("not_found", kind="green_plant")
    return store.put_plant(conn, plant, now, actor_name(actor))


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
        tell(
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
