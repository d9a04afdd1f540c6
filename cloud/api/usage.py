"""Days and months of an account as view models: what pages draw and the API gives."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from fastapi import Request

from cloud import markettime
from cloud.api import chart, reply, who
from cloud.billing.catalogue import CATALOGUE_PURCHASE, Buyer, Catalogue, UnpricedMonth
from cloud.billing.line import Period
from cloud.billing.tariff import Calendar
from cloud.metering import display
from cloud.metering.store import display as store
from cloud.parties import store as parties

# A quarter-hour that ended so short a time ago may still be under way: two sealing periods and their validation.
PENDING: Final = timedelta(minutes=40)
QUALITY: Final = ("missing", "actual", "recollected", "estimated", "manual")


class PeriodView(reply.View):
    """The time-of-use period now, when it ends and what follows (None: not before tomorrow's end)."""

    period: Period
    until: datetime | None
    next_period: Period | None
    day_periods: tuple[Period, ...]


class SlotView(reply.View):
    """One quarter-hour [start, end): validated energy of a quality of QUALITY, or not there yet: `pending`.

    `is_future` when it has not ended yet.
    """

    slot: int
    start: datetime
    end: datetime
    import_wh: int | None
    export_wh: int | None
    quality: str
    period: Period | None
    is_future: bool


class DayView(reply.View):
    """The 96 quarter-hours of a market day, with the same hours of the day before for comparison."""

    account_id: str
    day: date
    direction: str
    slots: tuple[SlotView, ...]
    previous_wh: tuple[int | None, ...]
    total_wh: int
    previous_same_hours_wh: int | None
    change_percent: Decimal | None
    by_period_wh: dict[Period, int]
    peak_slot: int | None
    missing: int
    estimated: int
    last_known_slot: int


class MonthDayView(reply.View):
    """One day of a month."""

    day: date
    import_wh: int | None
    export_wh: int | None
    missing: int
    estimated: int


class MonthView(reply.View):
    """The days of a calendar month and their sums."""

    account_id: str
    month: date
    direction: str
    days: tuple[MonthDayView, ...]
    import_wh: int
    export_wh: int
    missing: int
    estimated: int


def calendar_of(request: Request, visit: who.Visit, account_id: str, day: date) -> Calendar | None:
    """The time-of-use calendar of the account on that day; None when its tariff does not know periods."""
    terms = parties.find_terms(visit.conn, account_id, markettime.slot_start(day, 0))
    account = parties.find_account(visit.conn, account_id)
    catalogue: Catalogue = request.app.state.catalogue
    if account is None or terms is None:
        return None
    buyer = Buyer(account.grid, terms.purchase, terms.category, terms.option)
    try:
        if terms.purchase == CATALOGUE_PURCHASE:
            ladder = catalogue.ladder_on(day, buyer)
            return ladder.calendar if ladder.knows_periods else None
        return catalogue.calendar_on(day, account.grid) if terms.category == "commercial" else None
    except UnpricedMonth:
        return None


def period_view(calendar: Calendar, now: datetime) -> PeriodView:
    """The period at the instant, until when, and what follows; a period may go on past midnight."""
    today = markettime.day_of(now)
    periods = _periods(calendar, today)
    ahead = periods + _periods(calendar, today + timedelta(days=1))
    slot = markettime.slot_of(now)
    until = next((later for later in range(slot, len(ahead)) if ahead[later] is not ahead[slot]), None)
    return PeriodView(
        period=ahead[slot],
        until=None if until is None else markettime.slot_start(today, 0) + until * markettime.SLOT,
        next_period=None if until is None else ahead[until],
        day_periods=periods,
    )


def _periods(calendar: Calendar, day: date) -> tuple[Period, ...]:
    return tuple(calendar.period_of(day, slot) for slot in range(markettime.SLOTS_PER_DAY))


def direction(visit: who.Visit, account_id: str) -> str:
    """What the account's charts are about: a generator's feed-in, everybody else's use."""
    terms = parties.find_terms(visit.conn, account_id, visit.now)
    return "export" if terms is not None and terms.category == "generation" else "import"


def day_view(
    visit: who.Visit, account_id: str, day: date, calendar: Calendar | None, direction: str
) -> DayView:
    rows = store.days_of_account(visit.conn, account_id, day - timedelta(days=1), day + timedelta(days=1))
    slots = display.summed_day([row for row in rows if row.day == day])
    before = display.summed_day([row for row in rows if row.day < day])
    starts = markettime.slots_of_day(day)
    views = tuple(
        SlotView(
            slot=index,
            start=starts[index],
            end=starts[index] + markettime.SLOT,
            import_wh=slot.import_wh,
            export_wh=slot.export_wh,
            quality=_quality(slot, visit.now - starts[index] - markettime.SLOT),
            period=None if calendar is None else calendar.period_of(day, index),
            is_future=starts[index] + markettime.SLOT > visit.now,
        )
        for index, slot in enumerate(slots)
    )
    return _with_sums(account_id, day, direction, views, before)


def _quality(slot: display.SlotSum, since_end: timedelta) -> str:
    is_unknown = slot.import_wh is None and slot.export_wh is None
    return "pending" if is_unknown and since_end < PENDING else QUALITY[slot.quality]


def _with_sums(
    account_id: str,
    day: date,
    direction: str,
    views: tuple[SlotView, ...],
    before: tuple[display.SlotSum, ...],
) -> DayView:
    values = [value_of(view, direction) for view in views]
    previous = tuple(value_of(slot, direction) for slot in before)
    both = [(a, b) for a, b in zip(values, previous, strict=True) if a is not None and b is not None]
    known = [view for view, value in zip(views, values, strict=True) if value is not None]
    by_period: dict[Period, int] = {}
    for view in known:
        if view.period is not None:
            by_period[view.period] = by_period.get(view.period, 0) + (value_of(view, direction) or 0)
    return DayView(
        account_id=account_id,
        day=day,
        direction=direction,
        slots=views,
        previous_wh=previous,
        total_wh=sum(value for value in values if value is not None),
        previous_same_hours_wh=sum(b for _, b in both) if both else None,
        change_percent=chart.change_percent(sum(a for a, _ in both), sum(b for _, b in both)),
        by_period_wh=by_period,
        peak_slot=max(known, key=lambda view: value_of(view, direction) or 0).slot if known else None,
        missing=sum(view.quality == "missing" for view in views),
        estimated=sum(view.quality == "estimated" for view in views),
        last_known_slot=max((view.slot + 1 for view in known), default=0),
    )


def value_of(slot: SlotView | display.SlotSum, direction: str) -> int | None:
    return slot.export_wh if direction == "export" else slot.import_wh


def month_view(visit: who.Visit, account_id: str, month: date, direction: str) -> MonthView:
    rows = store.day_totals_of_account(visit.conn, account_id, month, markettime.month_after(month))
    found = {row.day: row for row in rows}
    days = tuple(_month_day(day, found.get(day)) for day in markettime.days_of_month(month))
    return MonthView(
        account_id=account_id,
        month=month,
        direction=direction,
        days=days,
        import_wh=sum(row.import_wh for row in rows),
        export_wh=sum(row.export_wh for row in rows),
        missing=sum(row.missing for row in rows if row.day < markettime.day_of(visit.now)),
        estimated=sum(row.estimated for row in rows),
    )


def _month_day(day: date, row: store.DayTotalRow | None) -> MonthDayView:
    if row is None:
        return MonthDayView(day=day, import_wh=None, export_wh=None, missing=96, estimated=0)
    return MonthDayView(
        day=day,
        import_wh=row.import_wh,
        export_wh=row.export_wh,
        missing=row.missing,
        estimated=row.estimated,
    )
