"""A contract in execution: its milestones and who is to be reminded when, and volume beside energy. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from cloud.markettime import day_of, month_after, month_of
from cloud.money import quotient

REMIND_DAYS = {
    "sign_by": (7, 3, 1, 0),
    "cooling_ends": (1, 0),
    "delivery_begins": (7, 1, 0),
    "statement_due": (3, 0),
    "delivery_ends": (60, 30, 7, 0),
    "archive": (0,),
}
STATEMENT_DAY = (
    10  # of the month after: the statement of a month is confirmed by then (976号, WD8 at the latest)
)
ARCHIVE_DAYS = 60
TENTH = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class Dates:
    """What a timetable is made of: the open paper's expiry, the end of cooling-off, `[first, end)` of delivery."""

    state: str
    expires_at: datetime | None
    cooling_until: datetime | None
    first: date
    end: date


@dataclass(frozen=True, slots=True)
class Milestone:
    """Something that is to be done or happens on a day; `month` is the delivery month it is about, if any."""

    key: str
    due: date
    month: date | None = None

    @property
    def name(self) -> str:
        """Name it uniquely within its contract."""
        return f"{self.key}:{self.due.isoformat()}"


def milestones(dates: Dates) -> tuple[Milestone, ...]:
    """List what lies ahead and behind of a contract, by day."""
    found = []
    if dates.state == "signing" and dates.expires_at is not None:
        found.append(Milestone("sign_by", day_of(dates.expires_at)))
    if dates.state == "cooling" and dates.cooling_until is not None:
        found.append(Milestone("cooling_ends", day_of(dates.cooling_until)))
    if dates.state in ("cooling", "effective", "executing", "completed", "archived"):
        found.append(Milestone("delivery_begins", dates.first))
        month = month_of(dates.first)
        while month < dates.end:
            found.append(Milestone("statement_due", month_after(month).replace(day=STATEMENT_DAY), month))
            month = month_after(month)
        found.append(Milestone("delivery_ends", dates.end - timedelta(days=1)))
        found.append(Milestone("archive", dates.end + timedelta(days=ARCHIVE_DAYS)))
    return tuple(sorted(found, key=lambda each: (each.due, each.key)))


def reminders(found: Sequence[Milestone], today: date) -> tuple[tuple[Milestone, int], ...]:
    """List the milestones to remind of today, each with the days left that its reminder is about.

    Of a milestone's reminders only the nearest is due: who looked late sends one, not all. Nothing is past its day.
    """
    due = []
    for milestone in found:
        left_days = (milestone.due - today).days
        reached = [days for days in REMIND_DAYS[milestone.key] if left_days <= days]
        if left_days >= 0 and reached:
            due.append((milestone, min(reached)))
    return tuple(due)


@dataclass(frozen=True, slots=True)
class Deviation:
    """A month of a unit: promised by one contract, by all its contracts, and what was metered or settled."""

    promised_kwh: int
    all_promised_kwh: int
    actual_kwh: int

    @property
    def percent(self) -> Decimal | None:
        """How far the energy is off everything promised, in percent to one decimal; None: nothing was promised."""
        if not self.all_promised_kwh:
            return None
        off = Decimal((self.actual_kwh - self.all_promised_kwh) * 100)
        return quotient(off, Decimal(self.all_promised_kwh), TENTH)

    @property
    def share_kwh(self) -> int:
        """This contract's part of the energy that is off, by its part of the promise; rounded toward zero."""
        if not self.all_promised_kwh:
            return 0
        off_kwh = self.actual_kwh - self.all_promised_kwh
        sign = -1 if off_kwh < 0 else 1
        return sign * (abs(off_kwh) * self.promised_kwh // self.all_promised_kwh)

    def is_beyond(self, band_percent: Decimal) -> bool:
        """Whether both sides are to be told: farther off than the band, or energy without any promise."""
        return self.actual_kwh > 0 if self.percent is None else abs(self.percent) > band_percent


def projected_kwh(actual_kwh: int, days_metered: int, days_of_month: int) -> int:
    """Project a month's energy from its first days, each day alike; whole kWh, half up. Raises ValueError for no day."""
    if not 0 < days_metered <= days_of_month or actual_kwh < 0:
        raise ValueError(f"{actual_kwh} kWh in {days_metered} of {days_of_month} days")
    return (2 * actual_kwh * days_of_month + days_metered) // (2 * days_metered)
