"""Hours of time-of-use periods in price files: months x day types x quarter-hours. Pure."""

from __future__ import annotations

from cloud.billing.filetable import FileTable
from cloud.billing.line import PERIODS, Period
from cloud.billing.tariff import periods_of_day
from cloud.daytypes import DayKind
from cloud.markettime import SLOTS_PER_HOUR

MONTHS = range(1, 13)
EVERY_DAY = tuple(DayKind)

Day = tuple[Period, ...]
Months = tuple[Day, ...]
DaysOff = tuple[tuple[DayKind, int, Day], ...]


def hours(table: FileTable) -> tuple[Months, DaysOff]:
    """Read the tables [[season]]: the 96 periods of each month's working days, and of days off that differ.

    A season without `days` holds on every day. Every month and day type is in exactly one season.
    """
    found: dict[tuple[DayKind, int], Day] = {}
    for season in table.tables("season"):
        numbers, kinds = season.integers("months"), _kinds(season)
        places = {(kind, number) for kind in kinds for number in numbers}
        if not numbers or not set(numbers) <= set(MONTHS) or places & set(found):
            season.refuse("months", numbers, "months 1..12, each in one season only")
        found |= dict.fromkeys(places, _day(season))
        season.done()
    for kind in DayKind:
        known = sorted(number for each, number in found if each is kind)
        if known != list(MONTHS):
            table.refuse(
                "season", f"months {known} of day type {kind}", "all twelve months of every day type"
            )
    working = tuple(found[DayKind.WORKDAY, number] for number in MONTHS)
    days_off = tuple(
        (kind, number, found[kind, number])
        for kind in (DayKind.WEEKEND, DayKind.HOLIDAY)
        for number in MONTHS
        if found[kind, number] != working[number - 1]
    )
    return working, days_off


def _kinds(season: FileTable) -> tuple[DayKind, ...]:
    return tuple(DayKind(name) for name in season.choices("days", tuple(DayKind))) or EVERY_DAY


def _day(season: FileTable) -> Day:
    ranges = {
        period: tuple(_range(season, period, each) for each in season.texts(period)) for period in PERIODS
    }
    try:
        return periods_of_day(ranges)
    except ValueError as error:
        season.refuse("hours", str(error), "00:00-24:00 covered exactly once")


def _range(season: FileTable, period: Period, text: str) -> tuple[int, int]:
    start, _, end = text.partition("-")
    slots = (_slot(season, period, start), _slot(season, period, end))
    if slots[0] >= slots[1]:
        season.refuse(period, text, "HH:MM-HH:MM with the start before the end")
    return slots


def _slot(season: FileTable, period: Period, clock: str) -> int:
    hours, colon, minutes = clock.partition(":")
    digits = hours.isascii() and minutes.isascii() and hours.isdecimal() and minutes.isdecimal()
    if not (colon and digits and len(hours) == len(minutes) == 2 and int(minutes) in (0, 15, 30, 45)):
        season.refuse(period, clock, "a quarter hour HH:MM")
    slot = int(hours) * SLOTS_PER_HOUR + int(minutes) // 15
    if slot > 24 * SLOTS_PER_HOUR:
        season.refuse(period, clock, "at most 24:00")
    return slot
