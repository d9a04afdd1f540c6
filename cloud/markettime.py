"""Market time: quarter-hour slots, trading days and billing months. Pure.

Instants are aware UTC everywhere else; the market's local time exists only here. Ranges are half-open
`[start, end)`. A trading day is 00:00-24:00 Beijing time in 96 slots: slot i is [00:00 + 15 i min, + 15 min)
(发改能源规〔2025〕976号: 96-point curves). A billing month is a calendar month of trading days.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

# China has had no summer time since 1991-09-15, so Asia/Shanghai is a fixed offset for every instant this
# system can meet; a fixed offset needs no zone files, which a bare machine may lack. A test compares the two.
MARKET_ZONE = timezone(timedelta(hours=8), "Asia/Shanghai")

SLOTS_PER_DAY = 96
SLOT = timedelta(minutes=15)
SLOTS_PER_HOUR = 4


class NaiveInstant(ValueError):
    """An instant without a zone: nobody can say which day it belongs to."""


def market_local(instant: datetime) -> datetime:
    """Show an instant on the market's clock. Raises NaiveInstant."""
    if instant.tzinfo is None:
        raise NaiveInstant(f"{instant.isoformat()} has no zone")
    return instant.astimezone(MARKET_ZONE)


def day_of(instant: datetime) -> date:
    """Find the trading day an instant falls in."""
    return market_local(instant).date()


def slot_of(instant: datetime) -> int:
    """Find the slot 0..95 of its trading day that an instant falls in; a boundary opens its slot."""
    local = market_local(instant)
    return local.hour * SLOTS_PER_HOUR + local.minute // 15


def slot_start(day: date, slot: int) -> datetime:
    """Compute the instant at which a slot opens; slot 96 is the day's end."""
    if not 0 <= slot <= SLOTS_PER_DAY:
        raise ValueError(f"slot {slot}: allowed 0..{SLOTS_PER_DAY}")
    midnight = datetime(day.year, day.month, day.day, tzinfo=MARKET_ZONE)
    return (midnight + slot * SLOT).astimezone(UTC)


def slots_of_day(day: date) -> tuple[datetime, ...]:
    """List the 96 opening instants of a trading day."""
    first = slot_start(day, 0)
    return tuple(first + slot * SLOT for slot in range(SLOTS_PER_DAY))


def slot_label(slot: int) -> str:
    """Name a slot boundary on the clock face: 0 is '00:00', 96 is '24:00'."""
    return f"{slot // SLOTS_PER_HOUR:02d}:{slot % SLOTS_PER_HOUR * 15:02d}"


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """Bound a trading day: `[start, end)` in UTC."""
    return slot_start(day, 0), slot_start(day, SLOTS_PER_DAY)


def month_of(day: date) -> date:
    """Name the billing month of a trading day by its first day."""
    return day.replace(day=1)


def month_after(month: date, months: int = 1) -> date:
    """Step whole months from the anchor `month` (its first day); negative steps go back."""
    index = month.year * 12 + month.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


def month_bounds(month: date) -> tuple[datetime, datetime]:
    """Bound a billing month: `[start, end)` in UTC. `month` is any day of it."""
    first = month_of(month)
    return slot_start(first, 0), slot_start(month_after(first), 0)


def days_between(first: date, end: date) -> tuple[date, ...]:
    """List the trading days of `[first, end)`."""
    return tuple(first + timedelta(days=offset) for offset in range((end - first).days))


def days_of_month(month: date) -> tuple[date, ...]:
    """List the trading days of a billing month."""
    first = month_of(month)
    return days_between(first, month_after(first))


def month_from(text: str) -> date:
    """Read 'YYYY-MM' as the first day of that month. Raises ValueError that shows the form."""
    try:
        year, month = text.split("-")
        if (
            (len(year), len(month)) != (4, 2)
            or not (year + month).isascii()
            or not (year + month).isdecimal()
        ):
            raise ValueError(text)
        return date(int(year), int(month), 1)
    except ValueError as error:
        raise ValueError(f"month {text!r}: write YYYY-MM, for example 2026-08") from error
