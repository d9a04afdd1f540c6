"""Day types: working days, weekends and holidays with make-up working days 调休, as the State Council arranged them.

One file cn-YYYY.toml per year beside this module, with the number of the notice. A day of a year without a file has
no type: NoCalendar, never a guess from the weekday, because every year moves some Sundays to work. An instant or
"today" is never read here.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from importlib.resources import files
from typing import Final

from cloud.errors import NotFound

SATURDAY = 5
STEPS_MAX = (
    2000  # calendar days a search may walk: more than the longest period anybody counts in working days
)


class DayKind(StrEnum):
    """What a day is to the law of working time."""

    WORKDAY = "workday"
    WEEKEND = "weekend"
    HOLIDAY = "holiday"


class NoCalendar(NotFound):
    """The holiday arrangement of a year is not entered; `facts` name the day and the years that are."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """One year's notice: `off` are (day, festival) of days off, `make_up` are weekend days that are worked."""

    year: int
    title: str
    document: str
    issued: date
    off: tuple[tuple[date, str], ...]
    make_up: frozenset[date]


def kind_of(day: date) -> DayKind:
    """Tell a day's type. Raises NoCalendar."""
    arrangement = arrangement_of(day)
    if day in arrangement.make_up:
        return DayKind.WORKDAY
    if any(day == off for off, _ in arrangement.off):
        return DayKind.HOLIDAY
    return DayKind.WEEKEND if day.weekday() >= SATURDAY else DayKind.WORKDAY


def festival_of(day: date) -> str | None:
    """Name the festival a day off belongs to. Raises NoCalendar."""
    return next((name for off, name in arrangement_of(day).off if off == day), None)


def is_working_day(day: date) -> bool:
    """Whether people work on a day, make-up days included. Raises NoCalendar."""
    return kind_of(day) is DayKind.WORKDAY


def working_day(month_after: date, n: int) -> date:
    """Find the n-th working day (1, 2, …) of the month that `month_after` falls in. Raises NoCalendar.

    For a month's settlement `month_after` is any day of the following month: WD1..WD10 of 发改能源规〔2025〕976号.
    """
    if n < 1:
        raise ValueError(f"working day {n}: the first is 1")
    day = month_after.replace(day=1)
    return day if n == 1 and is_working_day(day) else add_working_days(day - timedelta(days=1), n)


def add_working_days(day: date, n: int) -> date:
    """Step n working days on from `day`, which itself does not count; a negative n steps back. Raises NoCalendar."""
    step = timedelta(days=1 if n > 0 else -1)
    left = abs(n)
    for _ in range(STEPS_MAX):
        if left == 0:
            return day
        day += step
        left -= is_working_day(day)
    raise ValueError(f"{n} working days: at most {STEPS_MAX} calendar days are searched")


def working_days_between(first: date, end: date) -> int:
    """Count the working days of `[first, end)`. Raises NoCalendar."""
    return sum(is_working_day(first + timedelta(days=offset)) for offset in range((end - first).days))


def arrangement_of(day: date) -> Arrangement:
    """The notice that governs a day's year. Raises NoCalendar."""
    try:
        return _ARRANGEMENTS[day.year]
    except KeyError:
        years = ", ".join(str(year) for year in sorted(_ARRANGEMENTS))
        raise NoCalendar("no_calendar", day=day.isoformat(), year=day.year, years=years) from None


def arrangement_from(text: str) -> Arrangement:
    """Read one year's file. Raises ValueError that names the entry when the file contradicts itself."""
    content = tomllib.loads(text)
    year = int(content["year"])
    off: list[tuple[date, str]] = []
    make_up: list[date] = []
    for holiday in content["holiday"]:
        first, last = holiday["first"], holiday["last"]
        if not first <= last or first.year != year or last.year != year:
            raise ValueError(f"{year}: {holiday['name']} {first}..{last} is no range of days of that year")
        off += [
            (first + timedelta(days=offset), holiday["name"]) for offset in range((last - first).days + 1)
        ]
        make_up += holiday.get("make_up", [])
    days = [day for day, _ in off]
    wrong = [day for day in make_up if day.weekday() < SATURDAY or day in days or day.year != year]
    if wrong or len(set(days)) != len(days):
        raise ValueError(
            f"{year}: make-up days must be weekend days that are worked, days off are listed once: {wrong}"
        )
    return Arrangement(
        year, content["title"], content["document"], content["issued"], tuple(off), frozenset(make_up)
    )


def _published() -> dict[int, Arrangement]:
    texts = [
        entry.read_text(encoding="utf-8")
        for entry in files(__package__).iterdir()
        if entry.name.startswith("cn-") and entry.name.endswith(".toml")
    ]
    return {each.year: each for each in map(arrangement_from, texts)}


_ARRANGEMENTS: Final = _published()
