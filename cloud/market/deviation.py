"""Deviation of a unit from its contracts: what energy beyond or below them costs, and what is assessed. Pure.

Forms seen: 889号 (over-use at the up-regulation average x U1, under-use at the down-regulation average x U2), tiers by
distance from the contract, free bands with an assessment of the excess (福建 3 %, 宁夏 5 %, 四川 +8/-4 %). All of them
are data; 889号 is repealed since 2026-03-01, so no form is built in (tariffs-and-settlement 8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from cloud.errors import NotFound
from cloud.money import EXACT, fen_of, product, rounded

ZERO = Decimal(0)
ENERGY_QUANTUM_MWH = Decimal("0.001")
PASSED_ON_QUANTUM_MWH = Decimal("0.01")


class NoSuchPrice(NotFound):
    """A price of the month is neither entered nor said to be none; `facts` name it."""


@dataclass(frozen=True, slots=True)
class PricePick:
    """Names of prices, and which of those that exist counts: the first, the highest or the lowest.

    "None called" is a fact of a month (上调未调用): such a price is passed over. A price nobody entered is missing.
    """

    keys: tuple[str, ...]
    how: str


@dataclass(frozen=True, slots=True)
class Tier:
    """Energy further than `beyond_ratio` x contract from the contract, up to the next tier: price x factor."""

    beyond_ratio: Decimal
    pick: PricePick
    price_factor: Decimal


@dataclass(frozen=True, slots=True)
class Assessment:
    """Energy outside the free band pays price x rate on top. A band of None: that side is not assessed."""

    over_band_ratio: Decimal | None
    under_band_ratio: Decimal | None
    pick: PricePick
    price_rate: Decimal


@dataclass(frozen=True, slots=True)
class SideRule:
    """How one side of the market pays for its deviations."""

    over: tuple[Tier, ...]
    under: tuple[Tier, ...]
    assessments: tuple[Assessment, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A priced piece of a deviation: quantity x price x factor, rounded once. Under-use is returned: negative."""

    kind: Literal["over", "under", "assessment"]
    quantity_mwh: Decimal
    price_key: str
    price_yuan_per_mwh: Decimal
    price_factor: Decimal
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Deviation:
    """What a deviation costs whoever buys: positive is paid. Whoever sells is paid it (and pays what is returned)."""

    deviation_mwh: Decimal
    parts: tuple[Part, ...]

    @property
    def energy_fen(self) -> int:
        """Add up the energy parts: over-use added, under-use returned."""
        return sum(part.amount_fen for part in self.parts if part.kind != "assessment")

    @property
    def assessed_mwh(self) -> Decimal:
        """Add up the energy that is assessed."""
        return sum((part.quantity_mwh for part in self.parts if part.kind == "assessment"), ZERO)

    @property
    def assessment_fen(self) -> int:
        """Add up the assessments: always paid by whoever deviates."""
        return sum(part.amount_fen for part in self.parts if part.kind == "assessment")

    @property
    def amount_fen(self) -> int:
        """Add up everything."""
        return self.energy_fen + self.assessment_fen


@dataclass(frozen=True, slots=True)
class PassedOn:
    """What a retailer charges a customer for a deviation."""

    deviation_mwh: Decimal
    assessed_mwh: Decimal
    amount_fen: int


@dataclass(frozen=True, slots=True)
class PassOnTerms:
    """The contractual clause: free thresholds in percent of the bid, prices of the excess, the customer's share."""

    upper_threshold_percent: Decimal
    lower_threshold_percent: Decimal
    over_price_yuan_per_unit: Decimal
    under_price_yuan_per_unit: Decimal
    share_percent: Decimal


Prices = Mapping[str, Decimal | None]


def deviation_amount(rule: SideRule, contract_mwh: Decimal, actual_mwh: Decimal, prices: Prices) -> Deviation:
    """Price the deviation of `actual_mwh` from `contract_mwh`. Raises NoSuchPrice.

    A price in `prices` is yuan/MWh, or None for "none called in this month". Without a deviation no price is needed.
    """
    deviation_mwh = EXACT.subtract(actual_mwh, contract_mwh)
    parts = [
        *_tier_parts("over", rule.over, contract_mwh, max(deviation_mwh, ZERO), prices),
        *_tier_parts("under", rule.under, contract_mwh, max(-deviation_mwh, ZERO), prices),
    ]
    for assessment in rule.assessments:
        excess = assessed_mwh(assessment, contract_mwh, deviation_mwh)
        if excess:
            key, price = picked(assessment.pick, prices)
            amount = fen_of(product(excess, price, assessment.price_rate))
            parts.append(Part("assessment", excess, key, price, assessment.price_rate, amount))
    return Deviation(deviation_mwh, tuple(parts))


def assessed_mwh(assessment: Assessment, contract_mwh: Decimal, deviation_mwh: Decimal) -> Decimal:
    """Compute the energy outside the free band: max(0, |deviation| - band x contract), to the kWh."""
    band = assessment.over_band_ratio if deviation_mwh > 0 else assessment.under_band_ratio
    if band is None:
        return ZERO
    free = rounded(product(band, contract_mwh), ENERGY_QUANTUM_MWH)
    return max(ZERO, EXACT.subtract(abs(deviation_mwh), free))


def pass_on(terms: PassOnTerms, bid_mwh: Decimal, actual_mwh: Decimal) -> PassedOn:
    """Pass a deviation on to a retail customer: (|deviation| - bid x threshold) x share, not below 0, x price.

    The threshold energy and the assessed energy are rounded to 0.01 MWh, the charge to the fen.
    """
    deviation = EXACT.subtract(actual_mwh, bid_mwh)
    is_over = deviation > 0
    percent = terms.upper_threshold_percent if is_over else terms.lower_threshold_percent
    free = rounded(product(bid_mwh, percent, Decimal("0.01")), PASSED_ON_QUANTUM_MWH)
    excess = max(ZERO, EXACT.subtract(abs(deviation), free))
    assessed = rounded(product(excess, terms.share_percent, Decimal("0.01")), PASSED_ON_QUANTUM_MWH)
    price = terms.over_price_yuan_per_unit if is_over else terms.under_price_yuan_per_unit
    return PassedOn(deviation, assessed, fen_of(product(assessed, price)))


def picked(pick: PricePick, prices: Prices) -> tuple[str, Decimal]:
    """Choose the price that counts, with its name. Raises NoSuchPrice."""
    found: list[tuple[str, Decimal]] = []
    for key in pick.keys:
        if key not in prices:
            raise NoSuchPrice("no_such_price", price=key)
        if (price := prices[key]) is not None:
            found.append((key, price))
            if pick.how == "first":
                break
    if not found:
        raise NoSuchPrice("no_such_price", price=" / ".join(pick.keys))
    return min(found, key=_value) if pick.how == "lowest" else max(found, key=_value)


def _tier_parts(
    kind: Literal["over", "under"],
    tiers: tuple[Tier, ...],
    contract_mwh: Decimal,
    beyond_mwh: Decimal,
    prices: Prices,
) -> list[Part]:
    if not beyond_mwh:
        return []
    bounds = [rounded(product(tier.beyond_ratio, contract_mwh), ENERGY_QUANTUM_MWH) for tier in tiers]
    sign = 1 if kind == "over" else -1
    parts = []
    for number, tier in enumerate(tiers):
        upto = beyond_mwh if number + 1 == len(tiers) else min(beyond_mwh, bounds[number + 1])
        quantity = EXACT.subtract(upto, bounds[number])
        if quantity > 0:
            key, price = picked(tier.pick, prices)
            amount = sign * fen_of(product(quantity, price, tier.price_factor))
            parts.append(Part(kind, quantity, key, price, tier.price_factor, amount))
    return parts


def _value(named: tuple[str, Decimal]) -> Decimal:
    return named[1]
