"""How concentrated a market is, and which prices stand out. Pure, exact where it is arithmetic.

HHI is the sum of squared shares in per cent, 0 to 10,000; top-4 is the share of the four largest in per cent. A price
stands out by the robust z-score 0.6745 x (x - median) / MAD of Iglewicz and Hoaglin (1993), from 3.5 on; without spread
(MAD = 0) whatever differs from the median by more than a tenth of it stands out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

Z_LIMIT: Final = Decimal("3.5")
_CONSISTENT: Final = Fraction(6745, 10_000)
_SAMPLE_MIN: Final = 5
MODERATE_HHI, HIGH_HHI = 1000, 1800  # marks on the page, not verdicts


@dataclass(frozen=True, slots=True)
class Share:
    """One participant's part of a whole."""

    name: str
    quantity_kwh: int
    percent: Decimal


@dataclass(frozen=True, slots=True)
class Concentration:
    """A whole by its parts, the largest first."""

    total_kwh: int
    shares: tuple[Share, ...]
    hhi: int
    top4_percent: Decimal


@dataclass(frozen=True, slots=True)
class Outlier:
    """A price that stands out; `z` is its robust score, None where there is no spread to measure by."""

    name: str
    price_yuan_per_mwh: Decimal
    median_yuan_per_mwh: Decimal
    z: Decimal | None


def concentration(quantities_kwh: Mapping[str, int]) -> Concentration | None:
    """Measure how a whole is shared; None without any quantity. Who has nothing has no share."""
    present = {name: quantity for name, quantity in quantities_kwh.items() if quantity > 0}
    total = sum(present.values())
    if not total:
        return None
    ranked = sorted(present.items(), key=lambda each: (-each[1], each[0]))
    squares = sum((Fraction(100 * quantity, total) ** 2 for _, quantity in ranked), Fraction(0))
    shares = tuple(
        Share(name, quantity, _tenths(Fraction(100 * quantity, total))) for name, quantity in ranked
    )
    top4 = Fraction(100 * sum(quantity for _, quantity in ranked[:4]), total)
    return Concentration(total, shares, _half_up(squares), _tenths(top4))


def outliers(prices: Sequence[tuple[str, Decimal]]) -> tuple[Outlier, ...]:
    """Prices that stand out from the others, the farthest first; of fewer than five prices none does."""
    if len(prices) < _SAMPLE_MIN:
        return ()
    middle = _median([Fraction(price) for _, price in prices])
    spread = _median([abs(Fraction(price) - middle) for _, price in prices])
    found = []
    for name, price in prices:
        distance = Fraction(price) - middle
        if spread:
            z = _CONSISTENT * distance / spread
            if abs(z) >= Fraction(Z_LIMIT):
                found.append((abs(z), Outlier(name, price, _cents(middle), _cents(z))))
        elif abs(distance) * 10 > abs(middle):
            found.append((abs(distance), Outlier(name, price, _cents(middle), None)))
    return tuple(outlier for _, outlier in sorted(found, key=lambda each: (-each[0], each[1].name)))


def _median(values: Sequence[Fraction]) -> Fraction:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _half_up(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def _tenths(value: Fraction) -> Decimal:
    return Decimal(_half_up(value * 10)).scaleb(-1)


def _cents(value: Fraction) -> Decimal:
    sign = -1 if value < 0 else 1
    return sign * Decimal(_half_up(abs(value) * 100)).scaleb(-2)
