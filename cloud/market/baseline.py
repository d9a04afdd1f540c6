"""A participant's baseline: which days may make it, which do, and what the day itself shifts. Pure.

The raw baseline is frozen before the event begins, from days that are over; the day-of adjustment uses quarter-hours
before the event only, and never leaves its limits. Everything is an exact fraction of kW.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from cloud.daytypes import DayKind
from cloud.errors import NotNow
from cloud.market import response
from cloud.market.programme import Adjustment, BaselineRule, Form
from cloud.markettime import SLOTS_PER_DAY, SLOTS_PER_HOUR

WH_PER_KW_SLOT = 1000 // SLOTS_PER_HOUR  # a kilowatt for a quarter of an hour


class TooFewDays(NotNow):
    """There are fewer eligible days than the programme's baseline needs."""


@dataclass(frozen=True, slots=True)
class DayLoad:
    """A day of a participant: what its supply points drew, by quarter-hour; None: missing or estimated there."""

    day: date
    wh: tuple[int | None, ...]
    evidence: tuple[str, ...] = ()  # 'supply point@revision'

    @property
    def is_complete(self) -> bool:
        """Whether every quarter-hour is known by measurement."""
        return len(self.wh) == SLOTS_PER_DAY and None not in self.wh


@dataclass(frozen=True, slots=True)
class Baseline:
    """A raw baseline of all 96 quarter-hours in kW, and the days it was made of."""

    days: tuple[date, ...]
    kw: tuple[Fraction, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Adjusted:
    """The baseline of an event's quarter-hours after the day-of adjustment, and how it came about."""

    kw: tuple[Fraction, ...]
    before_actual_kw: Fraction | None
    before_baseline_kw: Fraction | None
    change: Fraction  # factor of a ratio, kW of an addition


def load_of(day: date, curves: Iterable[tuple[str, Sequence[int | None]]]) -> DayLoad:
    """Add up supply points; a quarter-hour that one of them misses is missing."""
    found = tuple(curves)
    wh = tuple(
        None if any(value is None for value in values) else sum(value or 0 for value in values)
        for values in zip(*(curve for _, curve in found), strict=True)
    )
    return DayLoad(day, wh, tuple(evidence for evidence, _ in found))


def candidate_days(
    event_day: date, kind_of: Callable[[date], DayKind], called: Collection[date], rule: BaselineRule
) -> tuple[date, ...]:
    """List the days that may make a baseline, latest first: of the event day's kind, no holiday, no event of one's own.

    A holiday's own baseline is made of weekends.
    """
    kind = kind_of(event_day)
    wanted = DayKind.WEEKEND if kind is not DayKind.WORKDAY else DayKind.WORKDAY
    days = (event_day - timedelta(days=back) for back in range(1 + rule.skip_days, rule.look_back_days + 1))
    return tuple(day for day in days if kind_of(day) is wanted and day not in called)


def baseline(rule: BaselineRule, candidates: Iterable[date], loads: Mapping[date, DayLoad]) -> Baseline:
    """Take the `of_days` latest complete candidates, keep `days` of them by energy, and average them. Raises TooFewDays."""
    complete = _ordinary(rule, [loads[day] for day in candidates if day in loads and loads[day].is_complete])
    days_kw = [tuple(kw_of(wh) for wh in load.wh) for load in complete]
    energy = [sum(day, Decimal(0)) for day in days_kw]
    picked = response.selected_days(energy, rule.days, rule.ranking)
    return Baseline(
        tuple(complete[each].day for each in picked),
        response.baseline_kw([days_kw[each] for each in picked]),
        tuple(evidence for each in picked for evidence in complete[each].evidence),
    )


def _ordinary(rule: BaselineRule, complete: Sequence[DayLoad]) -> Sequence[DayLoad]:
    """The `of_days` latest days none of which has less than `least_ratio` of their mean energy."""
    left = list(complete)
    while True:
        window = left[: rule.of_days]
        if len(window) < rule.of_days:
            raise TooFewDays("response_too_few_days", found=len(window), needed=rule.of_days)
        if rule.least_ratio is None:
            return window
        energy = {load.day: sum(wh or 0 for wh in load.wh) for load in window}
        least = Fraction(rule.least_ratio) * sum(energy.values()) / len(window)
        low = {day for day, wh in energy.items() if wh < least}
        if not low:
            return window
        left = [load for load in left if load.day not in low]


def adjusted(raw: Baseline, rule: Adjustment | None, load: DayLoad, event_slots: tuple[int, int]) -> Adjusted:
    """Fit the raw baseline of the event's slots `[first, end)` to the day, within the rule's limits.

    Without a rule, or without all measurements of the window before the event, the raw baseline stands. Nobody is
    expected to draw less than nothing: an addition leaves no point below 0.
    """
    first, end = event_slots
    kw = raw.kw[first:end]
    unchanged = Adjusted(kw, None, None, Fraction(1 if rule and rule.form is Form.RATIO else 0))
    if rule is None:
        return unchanged
    last = first - rule.gap_slots
    window = range(max(0, last - rule.slots), max(0, last))
    values = [load.wh[slot] if slot < len(load.wh) else None for slot in window]
    if len(window) < rule.slots or None in values:
        return unchanged
    actual = response.mean([kw_of(wh) for wh in values])
    before = sum((raw.kw[slot] for slot in window), Fraction(0)) / len(window)
    if rule.form is Form.ADD:
        assert rule.limit_kw is not None
        limit = Fraction(rule.limit_kw)
        change = max(-limit, min(limit, actual - before))
        shifted = response.shifted(kw, before + change, before)
        return Adjusted(tuple(max(Fraction(0), point) for point in shifted), actual, before, change)
    if before == 0:
        return unchanged
    assert rule.low_ratio is not None
    assert rule.high_ratio is not None
    ratio = response.adjustment_ratio(actual, before, rule.low_ratio, rule.high_ratio)
    return Adjusted(tuple(point * ratio for point in kw), actual, before, ratio)


def kw_of(wh: int | None) -> Decimal:
    """The mean power of a quarter-hour's energy. Raises ValueError for a missing one."""
    if wh is None:
        raise ValueError("a quarter-hour is missing")
    return Decimal(wh) / WH_PER_KW_SLOT
