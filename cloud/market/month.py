"""What a market month is settled from: its rule, prices, units and contracts, laid out by settlement periods. Pure.

Quantities are kWh integers in one flat order of settlement periods: the month, its named periods, or every hour
(quarter-hour) of every day. `stretches` cuts that order into the pieces that are one line each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from cloud.contracts.terms import KWH_PER_MWH, Volume, WholesaleTerms
from cloud.contracts.volumes import Curve, volume_curve
from cloud.market.line import Side
from cloud.market.rulefile import WHOLE, MarketRule, PeriodKind
from cloud.markettime import SLOTS_PER_DAY, SLOTS_PER_HOUR, days_of_month, month_after
from cloud.money import EXACT, whole_parts

WH_PER_KWH = 1000


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of the month that is one line: settlement periods `[start, end)` of the flat order."""

    label: str
    first_day: date
    end_day: date
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Mechanism:
    """Mechanism energy 机制电量 of a generator in the month: its quantity, its price, and what it is compared with."""

    kwh: int
    price_yuan_per_mwh: Decimal
    reference_yuan_per_mwh: Decimal
    document: str


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """One unit of the month. Who is not metered here delivers exactly its contracts and has no deviation.

    `generation_kwh` is what an unmetered generator's green contracts may draw on; None when nobody entered it.
    """

    unit_id: str
    party_id: int | None
    side: Side
    actual_kwh: tuple[int, ...] = ()
    day_ahead_kwh: tuple[int, ...] = ()
    mechanism: Mechanism | None = None
    is_metered: bool = True
    generation_kwh: int | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """One volume of a contract, laid out over the settlement periods."""

    volume: Volume
    kwh: tuple[int, ...]
    day_kwh: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ContractFacts:
    """A contract as far as it concerns the month."""

    terms: WholesaleTerms
    promises: tuple[Promise, ...]

    @property
    def kwh(self) -> tuple[int, ...]:
        """Add up the promises, period by period."""
        return tuple(map(sum, zip(*(promise.kwh for promise in self.promises), strict=True)))

    @property
    def total_kwh(self) -> int:
        """Add up the whole month."""
        return sum(promise.volume.kwh for promise in self.promises)


@dataclass(frozen=True, slots=True)
class MarketMonth:
    """Rule and prices of a month. Spot prices are in the flat order of settlement periods, else empty."""

    month: date
    rule: MarketRule
    prices: Mapping[str, Decimal | None]
    day_ahead_yuan_per_mwh: tuple[Decimal, ...] = ()
    real_time_yuan_per_mwh: tuple[Decimal, ...] = ()


def stretches(rule: MarketRule, month: date) -> tuple[Stretch, ...]:
    """Cut the month into the pieces that are one line each."""
    end_day = month_after(month)
    if rule.period in (PeriodKind.MONTH, PeriodKind.NAMED):
        labels = (WHOLE,) if rule.period is PeriodKind.MONTH else rule.labels(month)
        return tuple(
            Stretch(label, month, end_day, number, number + 1) for number, label in enumerate(labels)
        )
    width = SLOTS_PER_DAY // _slots_each(rule)
    return tuple(
        Stretch(day.isoformat(), day, day + timedelta(days=1), number * width, (number + 1) * width)
        for number, day in enumerate(days_of_month(month))
    )


def by_period(rule: MarketRule, month: date, curve: Curve) -> tuple[int, ...]:
    """Add a curve (days x 96) up by settlement periods, in the flat order."""
    if rule.period is PeriodKind.MONTH:
        return (sum(map(sum, curve)),)
    if rule.period is PeriodKind.NAMED:
        sums = dict.fromkeys(rule.labels(month), 0)
        for day, row in zip(days_of_month(month), curve, strict=True):
            for slot, amount in enumerate(row):
                sums[rule.label_of(day, slot)] += amount
        return tuple(sums.values())
    width = _slots_each(rule)
    return tuple(sum(row[slot : slot + width]) for row in curve for slot in range(0, SLOTS_PER_DAY, width))


def settled_kwh(parts_wh: Sequence[int]) -> tuple[int, ...]:
    """Round metered energy to whole kWh so that the periods add up to the rounded month (976号 art. 12)."""
    return whole_parts(parts_wh, WH_PER_KWH)


def contract_facts(terms: WholesaleTerms, rule: MarketRule, month: date, load: Curve = ()) -> ContractFacts:
    """Lay a contract out over the settlement periods. Raises NoSuchPeriod, NothingToFollow."""
    promises = []
    for volume in terms.volumes_of(month):
        curve = volume_curve(terms, volume, rule, load)
        promises.append(Promise(volume, by_period(rule, month, curve), tuple(map(sum, curve))))
    return ContractFacts(terms, tuple(promises))


def added_kwh(size: int, many: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Add quantities up period by period; of nobody: zeros."""
    return tuple(map(sum, zip(*many, strict=True))) if many else (0,) * size


def mwh(kwh: int) -> Decimal:
    """Show whole kWh as MWh with three decimals, exactly."""
    return EXACT.divide(Decimal(kwh), Decimal(KWH_PER_MWH)).quantize(Decimal("0.001"), context=EXACT)


def _slots_each(rule: MarketRule) -> int:
    return SLOTS_PER_HOUR if rule.period is PeriodKind.HOUR else 1
