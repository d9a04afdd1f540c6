"""Doubts about a declaration, against what was declared before: they are told to its owner and refuse nothing.

A slip of the unit makes a quantity 10, 100 or 1000 times what is usual, or a part of it: kWh for MWh, a month for a day.
A price in yuan/kWh or fen/kWh is outside every band and is refused; here is said what was probably meant. Some of it is
asked before anything is sent, of the whole declaration; the rest of what stands, unit by unit and period by period. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from cloud.market.orders import DIGITS_MAX, TICK_PLACES, parsed, units

PAST_MAX: Final = 12  # declarations back
PAST_MIN: Final = 2  # fewer tell nothing of what is usual
FACTORS: Final = (10, 100, 1000)
NEAR: Final = Fraction(5, 2)  # how far from a factor still counts as it
UNUSUAL: Final = 4  # times what is usual, or a part of it
OVER_PAST: Final = Fraction(3, 2)  # times the largest of the past
PRICE_UNITS: Final = {1000: "yuan/kWh", 10: "fen/kWh", 100: "10 fen/kWh"}


class Kind(StrEnum):
    """What is doubtful."""

    FACTOR = "factor"  # the quantity is about 10, 100 or 1000 times the usual, or a part of it
    UNUSUAL = "unusual"  # it is far from the usual otherwise
    OVER_PAST = "over_past"  # it is well above the largest so far
    TWICE = "twice"  # the same stands already, for another unit or beside
    ELSEWHERE = "elsewhere"  # the same months were declared for in other sessions


@dataclass(frozen=True, slots=True)
class Doubt:
    """One doubt; period None is about the whole declaration. `factor` is how many times the usual, rounded to a power.

    `usual_kwh` is what was compared with: the usual, the largest so far, or what stands elsewhere.
    """

    kind: Kind
    period: int | None
    declared_kwh: int
    usual_kwh: int
    factor: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Meant:
    """A price that was probably meant: in which unit it was written, and what it is in ticks."""

    unit: str
    price_ticks: int


def doubts(
    declared: Mapping[int, int], past: Sequence[Mapping[int, int]], standing: Sequence[Mapping[int, int]] = ()
) -> tuple[Doubt, ...]:
    """What is doubtful about quantities (period -> kWh) of one unit and side.

    `past`: the unit's own declarations of sessions of the same kind, the latest first. `standing`: what the same party
    has standing on that side in this session, without what this declaration replaces.
    """
    whole_kwh = sum(declared.values())
    found = [
        Doubt(Kind.TWICE, None, whole_kwh, whole_kwh) for other in standing if dict(other) == dict(declared)
    ][:1]
    recent = past[:PAST_MAX]
    if len(recent) < PAST_MIN or not whole_kwh:
        return tuple(found)
    whole = _doubt(None, whole_kwh, _median([sum(each.values()) for each in recent]))
    if whole is not None:
        return (*found, whole)
    for period, kwh in sorted(declared.items()):
        before = [each[period] for each in recent if each.get(period)]
        doubt = _doubt(period, kwh, _median(before)) if len(before) >= PAST_MIN else None
        if doubt is not None:
            found.append(doubt)
    return tuple(found)


def before_sending(whole_kwh: int, past_kwh: Sequence[int], elsewhere_kwh: int) -> tuple[Doubt, ...]:
    """What is doubtful about the quantity of a declaration as a whole, of one party and side.

    `past_kwh`: of its earlier declarations. `elsewhere_kwh`: declared in other sessions for the same months.
    """
    past = [kwh for kwh in past_kwh if kwh > 0]
    found = []
    if past and whole_kwh:
        doubt = _doubt(None, whole_kwh, _median(past))
        if doubt is None and whole_kwh > max(past) * OVER_PAST:
            doubt = Doubt(Kind.OVER_PAST, None, whole_kwh, max(past))
        found += [doubt] if doubt is not None else []
    if elsewhere_kwh:
        found.append(Doubt(Kind.ELSEWHERE, None, whole_kwh, elsewhere_kwh))
    return tuple(found)


def meant(price: str, low: int, high: int, step_ticks: int) -> Meant | None:
    """What a price outside the band was probably meant to be; None where nothing fits or it is inside already."""
    if parsed(price, DIGITS_MAX) is None:
        return None
    ticks = Fraction(units(price, TICK_PLACES))
    if low <= ticks <= high:
        return None
    for factor, unit in PRICE_UNITS.items():
        other = ticks * factor
        if low <= other <= high and other % step_ticks == 0:
            return Meant(unit, int(other))
    return None


def _doubt(period: int | None, kwh: int, usual_kwh: int) -> Doubt | None:
    if not usual_kwh:
        return None
    times = Fraction(kwh, usual_kwh)
    away = max(times, 1 / times)
    if away < UNUSUAL:
        return None
    for factor in FACTORS:
        if factor / NEAR <= away <= factor * NEAR:
            signed = Fraction(factor) if times > 1 else Fraction(1, factor)
            return Doubt(Kind.FACTOR, period, kwh, usual_kwh, signed)
    return Doubt(Kind.UNUSUAL, period, kwh, usual_kwh)


def _median(numbers: Sequence[int]) -> int:
    listed = sorted(numbers)
    return listed[(len(listed) - 1) // 2] if listed else 0
