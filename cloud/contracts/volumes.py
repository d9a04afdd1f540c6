"""Decomposition of contract volumes: a year to months, a month to days x quarter-hours, in whole kWh. Pure.

Every kWh of the contract is in exactly one quarter-hour: the running total is rounded, never the parts, so the parts
add up to the volume and each is within 1 kWh of its exact share.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Protocol, TypeAlias

from cloud.contracts.terms import HOURS, QUARTERS, WHOLE_MONTH, Shape, Volume, WholesaleTerms
from cloud.errors import Invalid
from cloud.markettime import SLOTS_PER_DAY, SLOTS_PER_HOUR, days_of_month

Curve: TypeAlias = tuple[tuple[int, ...], ...]  # days of the month x 96 quarter-hours, kWh


class NoSuchPeriod(Invalid):
    """A contract names a period that the market's calendar does not have in that month."""


class NothingToFollow(Invalid):
    """A volume has a shape that gives no weight to any quarter-hour of its period."""


class Periods(Protocol):
    """The market's calendar of named periods."""

    def label_of(self, day: date, slot: int) -> str:
        """Name the period of a quarter-hour; empty where the calendar names none."""


def spread(volume_kwh: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Split a volume by weights so that the parts add up to it, each within 1 kWh of its exact share.

    Raises ValueError when the weights give it to nobody.
    """
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise ValueError("weights name nobody: need at least one positive, none negative")
    parts: list[int] = []
    passed, given = 0, 0
    for weight in weights:
        passed += weight
        upto = volume_kwh * passed // whole
        parts.append(upto - given)
        given = upto
    return tuple(parts)


def months_of_year(volume_kwh: int, year: int, weights: Sequence[int] = ()) -> tuple[tuple[date, int], ...]:
    """Split an annual volume over the twelve months: by their days, or by the weights given."""
    months = tuple(date(year, number, 1) for number in range(1, 13))
    by = tuple(weights) or tuple(len(days_of_month(month)) for month in months)
    return tuple(zip(months, spread(volume_kwh, by), strict=True))


def volume_curve(terms: WholesaleTerms, volume: Volume, periods: Periods, load: Curve = ()) -> Curve:
    """Lay one volume out over its month. Raises NoSuchPeriod, NothingToFollow.

    `load` (days x 96, any unit) is what a load-shaped contract follows.
    """
    days = days_of_month(volume.month)
    inside = tuple(_slots(volume.period, day, periods) for day in days)
    if not any(inside):
        raise NoSuchPeriod(
            "no_such_period",
            contract=terms.contract_id,
            period=volume.period,
            month=f"{volume.month:%Y-%m}",
        )
    weights = [_weight(terms, load, number, slot) for number, slots in enumerate(inside) for slot in slots]
    if volume.kwh and not any(weights):
        raise NothingToFollow(
            "nothing_to_follow",
            contract=terms.contract_id,
            period=volume.period,
            month=f"{volume.month:%Y-%m}",
        )
    parts = iter(spread(volume.kwh, weights) if volume.kwh else (0,) * len(weights))
    rows = []
    for slots in inside:
        row = [0] * SLOTS_PER_DAY
        for slot in slots:
            row[slot] = next(parts)
        rows.append(tuple(row))
    return tuple(rows)


def contract_curve(terms: WholesaleTerms, month: date, periods: Periods, load: Curve = ()) -> Curve:
    """Lay everything a contract promises for a month out over it. Raises NoSuchPeriod, NothingToFollow."""
    return added(month, [volume_curve(terms, each, periods, load) for each in terms.volumes_of(month)])


def added(month: date, curves: Sequence[Curve]) -> Curve:
    """Add curves of one month, quarter-hour by quarter-hour."""
    nothing = (0,) * SLOTS_PER_DAY
    return tuple(
        tuple(map(sum, zip(*(curve[number] for curve in curves), strict=True))) if curves else nothing
        for number in range(len(days_of_month(month)))
    )


def _slots(period: str, day: date, periods: Periods) -> tuple[int, ...]:
    if period == WHOLE_MONTH:
        return tuple(range(SLOTS_PER_DAY))
    if period in HOURS:
        first = HOURS.index(period) * SLOTS_PER_HOUR
        return tuple(range(first, first + SLOTS_PER_HOUR))
    if period in QUARTERS:
        return (QUARTERS.index(period),)
    return tuple(slot for slot in range(SLOTS_PER_DAY) if periods.label_of(day, slot) == period)


def _weight(terms: WholesaleTerms, load: Curve, day_number: int, slot: int) -> int:
    match terms.shape:
        case Shape.FLAT:
            return 1
        case Shape.CURVE:
            return terms.curve[slot * len(terms.curve) // SLOTS_PER_DAY]
        case Shape.LOAD:
            return load[day_number][slot] if load else 0
