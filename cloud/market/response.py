"""Demand response 需求响应: baselines, what counts as a response, what is paid and what is charged. Pure.

No programme is built in: caps, bands, numbers of days, limits and multiples are the event's own parameters
(tariffs-and-settlement 12; 电力需求侧管理办法, 发改运行规〔2023〕1283号). Means and ratios are exact fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from cloud.money import EXACT, fen_for, fen_of, product, shares


class Ranking(StrEnum):
    """Which days of a window make the baseline."""

    HIGHEST = "highest"
    LOWEST = "lowest"
    MIDDLE = "middle"


@dataclass(frozen=True, slots=True)
class Band:
    """Below `low_ratio` of the bid nothing is paid, above `high_ratio` no more than that; bounds belong to the band."""

    low_ratio: Decimal
    high_ratio: Decimal | None


@dataclass(frozen=True, slots=True)
class Shortfall:
    """The charge for responding too little: max(0, bid x `least_ratio` - actual) x price x `multiple_factor`."""

    least_ratio: Decimal
    multiple_factor: Decimal


def selected_days(
    daily_kwh: Sequence[Decimal], count: int, ranking: Ranking = Ranking.HIGHEST
) -> tuple[int, ...]:
    """Choose `count` days by their energy (X of Y); positions in the list, ascending; ties go to the earlier.

    `MIDDLE` leaves out as many of the highest as of the lowest, one more of the lowest when it does not divide.
    Raises ValueError when there are fewer days than that.
    """
    if not 0 < count <= len(daily_kwh):
        raise ValueError(f"{count} of {len(daily_kwh)} days")
    order = sorted(range(len(daily_kwh)), key=lambda day: (-daily_kwh[day], day))
    spare = len(order) - count
    skipped = {Ranking.HIGHEST: 0, Ranking.LOWEST: spare, Ranking.MIDDLE: spare // 2}[ranking]
    return tuple(sorted(order[skipped : skipped + count]))


def mean(values: Sequence[Decimal]) -> Fraction:
    """The exact arithmetic mean. Raises ValueError for none."""
    if not values:
        raise ValueError("a mean of nothing")
    return sum((Fraction(value) for value in values), Fraction(0)) / len(values)


def baseline_kw(days_kw: Sequence[Sequence[Decimal]]) -> tuple[Fraction, ...]:
    """The mean of the days, point by point; every day has the same number of points."""
    return tuple(mean(point) for point in zip(*days_kw, strict=True))


def shifted(
    baseline: Sequence[Fraction], before_actual_kw: Fraction, before_baseline_kw: Fraction
) -> tuple[Fraction, ...]:
    """Day-of adjustment by addition: shift the baseline by actual minus baseline before the event."""
    return tuple(point + before_actual_kw - before_baseline_kw for point in baseline)


def adjustment_ratio(
    before_actual_kw: Fraction, before_baseline_kw: Fraction, low_ratio: Decimal, high_ratio: Decimal
) -> Fraction:
    """Day-of adjustment by multiplication: actual / baseline before the event, kept within its limits."""
    return min(Fraction(high_ratio), max(Fraction(low_ratio), before_actual_kw / before_baseline_kw))


def reduction_kwh(baseline: Sequence[Fraction], actual_kw: Sequence[Decimal], hours: Decimal) -> Fraction:
    """Energy not taken: the sum of (baseline - actual) x hours; intervals above the baseline count against it."""
    pairs = zip(baseline, actual_kw, strict=True)
    return sum(((base - Fraction(actual)) * Fraction(hours) for base, actual in pairs), Fraction(0))


def eligible_kwh(actual_kwh: Decimal, bid_kwh: Decimal, band: Band) -> Decimal:
    """The response that is paid."""
    if actual_kwh < EXACT.multiply(bid_kwh, band.low_ratio):
        return Decimal(0)
    if band.high_ratio is None:
        return actual_kwh
    return min(actual_kwh, EXACT.multiply(bid_kwh, band.high_ratio))


def paid_price(clearing_yuan: Decimal, cap_yuan: Decimal | None) -> Decimal:
    """The clearing price, at most the product's cap."""
    return clearing_yuan if cap_yuan is None else min(clearing_yuan, cap_yuan)


def payment_fen(eligible: Decimal, price_yuan: Decimal) -> int:
    """Pay for energy or power: quantity x price."""
    return fen_for(eligible, price_yuan)


def shortfall(actual: Decimal, bid: Decimal, rule: Shortfall) -> Decimal:
    """How much of the least response is missing, in the unit of bid and actual."""
    return max(Decimal(0), EXACT.subtract(EXACT.multiply(bid, rule.least_ratio), actual))


def penalty_fen(actual: Decimal, bid: Decimal, price_yuan: Decimal, rule: Shortfall) -> int:
    """Charge a response that is too small."""
    return fen_of(product(shortfall(actual, bid, rule), price_yuan, rule.multiple_factor))


def from_pool(claims_fen: Sequence[int], pool_fen: int) -> tuple[int, ...]:
    """Pay claims in full, or pro rata when the pool is too small; the last claim takes the remainder."""
    if sum(claims_fen) <= pool_fen:
        return tuple(claims_fen)
    return shares(pool_fen, claims_fen)
