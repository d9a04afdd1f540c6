"""Retail packages 零售套餐: energy x package formula -> bill lines; and the market prices they refer to. Pure.

A package is a dated price file (kind "package"), market prices another (kind "market-prices"); `packagefile` reads
both. The price of a period comes about in this order (tariffs-and-settlement 9.4):

    form                fixed and by period   amount (x ratio)
                        fixed + linked        fixed x (1 - linked_ratio) + target x linked_ratio
                        average + spread      average (x ratio) + spread
                        spread sharing        reference (x ratio) - (reference - average) x customer_share + floating
                        ladder                the tier's price, by the month's energy, not by period
    price rounding      to the package's price quantum, half up
    ratio correction    tip and peak at least, valley and deep at most limit x flat price (赣发改 463号 form)
    price limits        within floor and ceiling
    cap 封顶             a last line takes back what the fee exceeds kWh x cap price by
    green               kWh x share x environmental price in a section of its own, outside TOU and power factor base
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import TypeVar

from cloud.billing.line import PERIODS, BillLine, Derivation, Input, Period, Section
from cloud.billing.package import (
    Form,
    Green,
    Limits,
    NoReferencePrice,
    Package,
    References,
    Series,
    SeriesPrice,
)
from cloud.billing.tariff import Calendar, Energy
from cloud.markettime import days_of_month
from cloud.money import EXACT, fen_for, fen_of, product, quotient, rounded, yuan

_T = TypeVar("_T")

ONE = Decimal(1)
ZERO = Decimal(0)
KWH_QUANTUM = Decimal(1)
FLAT = PERIODS.index(Period.FLAT)
# Sides of the ratio correction: the first are raised to their limit, the second lowered.
RAISED = (Period.TIP, Period.PEAK)
LOWERED = (Period.VALLEY, Period.DEEP)


@dataclass(frozen=True, slots=True)
class PeriodPrice:
    """The price of one kWh with the formula over inputs that gives it exactly."""

    yuan_per_kwh: Decimal
    formula: str
    inputs: tuple[Input, ...]


@dataclass(frozen=True, slots=True)
class _Deal:
    """What prices one stretch."""

    package: Package
    references: References | None
    calendar: Calendar

    def market(self, series: Series) -> SeriesPrice:
        if self.references is None:
            raise NoReferencePrice("no_reference_price", series=series, file=self.package.head.origin)
        return self.references.of(series)

    def term(self, name: str, value: Decimal, unit: str = "yuan/kWh") -> Input:
        head = self.package.head
        return Input(name, value, unit, head.origin, head.document_for(name))

    def price_of(self, name: str, series: Series, index: int) -> Input:
        found = self.market(series)
        origin = self.package.head.origin if self.references is None else self.references.head.origin
        return Input(name, found.price.of(index), "yuan/kWh", origin, found.document)


def package_lines(
    energy: Energy, package: Package, references: References | None, calendar: Calendar
) -> tuple[BillLine, ...]:
    """Charge the energy of a stretch of days under a package: lines by period, by tier or one; then cap and green.

    Lines of zero kWh stay. Raises NoReferencePrice.
    """
    deal = _Deal(package, references, calendar)
    if package.formula.form is Form.LADDER:
        lines = _ladder_lines(energy, package)
    else:
        prices = period_prices(package, references, calendar)
        lines = _priced_lines(energy, prices, by_period=_is_by_period(deal))
    if package.cap_yuan_per_kwh is not None:
        lines += _cap_lines(energy, lines, deal)
    return lines if package.green is None else (*lines, _green_line(energy, package.green, deal))


def period_prices(
    package: Package, references: References | None, calendar: Calendar
) -> tuple[PeriodPrice, ...]:
    """Compute the price of every period, in the order of PERIODS. Raises NoReferencePrice.

    The ratio correction takes the flat price as it is charged, so its limits hold to half a price quantum.
    """
    deal = _Deal(package, references, calendar)
    plain = [_quantized(_formed(deal, index), package) for index in range(len(PERIODS))]
    corrected = _corrected(plain, package)
    return tuple(_limited(each, package) for each in corrected)


def corrected_prices(
    prices: Sequence[Decimal], limits: Sequence[Decimal], quantum: Decimal
) -> tuple[Decimal, ...]:
    """Move the prices of the periods to their limits x flat price where they are beyond (`RT-101`)."""
    flat = rounded(prices[FLAT], quantum)
    return tuple(
        _moved(period, rounded(price, quantum), rounded(EXACT.multiply(limit, flat), quantum))
        for period, price, limit in zip(PERIODS, prices, limits, strict=True)
    )


def linked_price(fixed: Decimal, linked: Decimal, ratio: Decimal) -> Decimal:
    """Mix a fixed and a market price: fixed x (1 - ratio) + linked x ratio (`RT-101`)."""
    return EXACT.add(EXACT.multiply(fixed, EXACT.subtract(ONE, ratio)), EXACT.multiply(linked, ratio))


def shared_price(
    reference: Decimal, average: Decimal, customer_share: Decimal, ratio: Decimal = ONE
) -> Decimal:
    """Give the customer a share of what the market was below the reference (`RT-102`)."""
    saving = EXACT.multiply(EXACT.subtract(reference, average), customer_share)
    return EXACT.subtract(EXACT.multiply(reference, ratio), saving)


def capped_fen(fee_fen: int, kwh: Decimal, cap_yuan_per_kwh: Decimal) -> int:
    """Limit a fee to kWh x cap when its average price is above the cap; the unrounded average decides."""
    above = yuan(fee_fen) > EXACT.multiply(kwh, cap_yuan_per_kwh)
    return fen_for(kwh, cap_yuan_per_kwh) if above else fee_fen


def _formed(deal: _Deal, index: int) -> PeriodPrice:
    match deal.package.formula.form:
        case Form.FIXED:
            return _fixed(deal, index)
        case Form.LINKED:
            return _linked(deal, index)
        case Form.AVERAGE:
            return _averaged(deal, index)
        case Form.SHARE:
            return _shared(deal, index)
        case Form.LADDER:
            raise ValueError("a ladder has no price of a period")


def _fixed(deal: _Deal, index: int) -> PeriodPrice:
    amount = deal.term("fixed_price", _needed(deal.package.formula.amount).of(index))
    factor, word, ratios = _ratio(deal, index)
    return PeriodPrice(EXACT.multiply(amount.value, factor), f"fixed_price{word}", (amount, *ratios))


def _linked(deal: _Deal, index: int) -> PeriodPrice:
    formula = deal.package.formula
    fixed = deal.term("fixed_price", _needed(formula.amount).of(index))
    share = deal.term("linked_ratio", formula.linked_ratio, "1")
    target = deal.price_of("linked_price", _needed(formula.linked), index)
    return PeriodPrice(
        linked_price(fixed.value, target.value, share.value),
        "(fixed_price * (1 - linked_ratio) + linked_price * linked_ratio)",
        (fixed, share, target),
    )


def _averaged(deal: _Deal, index: int) -> PeriodPrice:
    average = deal.price_of("average_price", _needed(deal.package.formula.average), index)
    spread = deal.term("spread", deal.package.formula.spread_yuan_per_kwh)
    factor, word, ratios = _ratio(deal, index)
    price = EXACT.add(EXACT.multiply(average.value, factor), spread.value)
    return PeriodPrice(price, f"(average_price{word} + spread)", (average, *ratios, spread))


def _shared(deal: _Deal, index: int) -> PeriodPrice:
    formula = deal.package.formula
    reference = (
        deal.term("reference_price", _needed(formula.amount).of(index))
        if formula.reference is None
        else deal.price_of("reference_price", formula.reference, index)
    )
    average = deal.price_of("average_price", _needed(formula.average), index)
    share = deal.term("customer_share", formula.customer_ratio, "1")
    factor, word, ratios = _ratio(deal, index)
    price = shared_price(reference.value, average.value, share.value, factor)
    text = f"reference_price{word} - (reference_price - average_price) * customer_share"
    inputs = (reference, *ratios, average, share)
    if formula.floating_yuan_per_kwh:
        floating = deal.term("floating", formula.floating_yuan_per_kwh)
        return PeriodPrice(EXACT.add(price, floating.value), f"({text} + floating)", (*inputs, floating))
    return PeriodPrice(price, f"({text})", inputs)


def _ratio(deal: _Deal, index: int) -> tuple[Decimal, str, tuple[Input, ...]]:
    formula = deal.package.formula
    if formula.is_calendar_ratio:
        head, value = deal.calendar.head, deal.calendar.coefficients[index]
        return (
            value,
            " * ratio",
            (Input("ratio", value, "1", head.origin, head.document_for("coefficients")),),
        )
    if formula.ratios is None:
        return ONE, "", ()
    return formula.ratios[index], " * ratio", (deal.term("ratio", formula.ratios[index], "1"),)


def _quantized(price: PeriodPrice, package: Package) -> PeriodPrice:
    """Round a price as the package says; what the rounding moved is an input, so the formula stays exact."""
    result = rounded(price.yuan_per_kwh, package.price_quantum_yuan_per_kwh)
    moved = EXACT.subtract(result, price.yuan_per_kwh)
    if not moved:
        return replace(price, yuan_per_kwh=result)
    return PeriodPrice(
        result,
        f"({price.formula} + price_rounding)",
        (*price.inputs, _term(package, "price_rounding", moved)),
    )


def _corrected(prices: Sequence[PeriodPrice], package: Package) -> Sequence[PeriodPrice]:
    if package.correction is None:
        return prices
    right = corrected_prices(
        [each.yuan_per_kwh for each in prices], package.correction, package.price_quantum_yuan_per_kwh
    )
    flat = _term(package, "flat_price", prices[FLAT].yuan_per_kwh)
    result = []
    for before, after, limit in zip(prices, right, package.correction, strict=True):
        if before.yuan_per_kwh == after:
            result.append(before)
            continue
        ratio = _term(package, "ratio_limit", limit, "1")
        exact = PeriodPrice(EXACT.multiply(limit, flat.value), "ratio_limit * flat_price", (ratio, flat))
        result.append(_quantized(exact, package))
    return result


def _moved(period: Period, price: Decimal, limit: Decimal) -> Decimal:
    if period in RAISED:
        return max(price, limit)
    return min(price, limit) if period in LOWERED else price


def _limited(price: PeriodPrice, package: Package) -> PeriodPrice:
    floor, ceiling = package.limits.floor_yuan_per_kwh, package.limits.ceiling_yuan_per_kwh
    for name, bound, is_beyond in (
        ("price_floor", floor, floor is not None and price.yuan_per_kwh < floor),
        ("price_ceiling", ceiling, ceiling is not None and price.yuan_per_kwh > ceiling),
    ):
        if is_beyond and bound is not None:
            return PeriodPrice(bound, name, (_term(package, name, bound),))
    return price


def _is_by_period(deal: _Deal) -> bool:
    formula = deal.package.formula
    if formula.ratios is not None or formula.is_calendar_ratio or deal.package.correction is not None:
        return True
    if formula.amount is not None and not formula.amount.single:
        return True
    return any(not deal.market(each).price.single for each in formula.series)


def _priced_lines(energy: Energy, prices: Sequence[PeriodPrice], *, by_period: bool) -> tuple[BillLine, ...]:
    if not by_period:
        return (_line(energy, None, energy.total_kwh, prices[FLAT]),)
    return tuple(
        _line(energy, period, kwh, price)
        for period, kwh, price in zip(PERIODS, energy.kwh, prices, strict=True)
    )


def _line(energy: Energy, period: Period | None, kwh: Decimal, price: PeriodPrice) -> BillLine:
    return BillLine(
        Section.ENERGY,
        item="package_energy",
        period=period,
        quantity=kwh,
        unit="kWh",
        price_yuan_per_unit=price.yuan_per_kwh,
        amount_fen=fen_for(kwh, price.yuan_per_kwh),
        derivation=Derivation(
            f"kwh * {price.formula}",
            (Input("kwh", kwh, "kWh", "intervals"), *price.inputs),
            energy.first_day,
            energy.end_day,
        ),
    )


def tier_kwh(kwh: Decimal, starts: Sequence[Decimal]) -> tuple[Decimal, ...]:
    """Split energy over tiers that begin at `starts`; the parts add up to it."""
    edges = (*starts, None)
    return tuple(
        max(ZERO, EXACT.subtract(kwh if end is None else min(kwh, end), start))
        for start, end in pairwise(edges)
        if start is not None
    )


def _ladder_lines(energy: Energy, package: Package) -> tuple[BillLine, ...]:
    """Charge each tier; a stretch shorter than its month has its thresholds cut by days, in whole kWh."""
    tiers = package.formula.tiers
    days = (energy.end_day - energy.first_day).days
    month_days = len(days_of_month(energy.first_day.replace(day=1)))
    starts = [
        quotient(product(tier.from_kwh, Decimal(days)), Decimal(month_days), KWH_QUANTUM) for tier in tiers
    ]
    lines = []
    for number, (tier, start, kwh) in enumerate(
        zip(tiers, starts, tier_kwh(energy.total_kwh, starts), strict=True), start=1
    ):
        name = "tier_price"
        price = PeriodPrice(
            _bounded(tier.price_yuan_per_kwh, package.limits),
            name,
            (_term(package, name, _bounded(tier.price_yuan_per_kwh, package.limits)),),
        )
        line = _line(energy, None, kwh, price)
        notes = (
            ("days", f"{days}/{month_days}"),
            ("stretch_kwh", f"{energy.total_kwh:f}"),
            ("tier_from_kwh", f"{start:f}"),
        )
        derivation = replace(line.derivation, notes=notes)
        lines.append(replace(line, item=f"package_tier_{number}", derivation=derivation))
    return tuple(lines)


def _bounded(price: Decimal, limits: Limits) -> Decimal:
    if limits.floor_yuan_per_kwh is not None:
        price = max(price, limits.floor_yuan_per_kwh)
    return price if limits.ceiling_yuan_per_kwh is None else min(price, limits.ceiling_yuan_per_kwh)


def _cap_lines(energy: Energy, lines: Sequence[BillLine], deal: _Deal) -> tuple[BillLine, ...]:
    """Take back what the fee exceeds the cap by, as a line of its own; none when it does not."""
    cap = _needed(deal.package.cap_yuan_per_kwh)
    fee_fen, kwh = sum(line.amount_fen for line in lines), energy.total_kwh
    right_fen = capped_fen(fee_fen, kwh, cap)
    if right_fen == fee_fen:
        return ()
    inputs = (
        Input("kwh", kwh, "kWh", "intervals"),
        deal.term("cap_price", cap),
        Input("uncapped_fee", yuan(fee_fen), "yuan", "lines"),
    )
    return (
        BillLine(
            Section.ENERGY,
            item="package_cap",
            period=None,
            quantity=kwh,
            unit="kWh",
            price_yuan_per_unit=cap,
            amount_fen=right_fen - fee_fen,
            derivation=Derivation(
                "fen(kwh * cap_price) - uncapped_fee", inputs, energy.first_day, energy.end_day
            ),
        ),
    )


def _green_line(energy: Energy, green: Green, deal: _Deal) -> BillLine:
    kwh = EXACT.multiply(energy.total_kwh, green.green_ratio)
    return BillLine(
        Section.GREEN,
        item="green_value",
        period=None,
        quantity=kwh,
        unit="kWh",
        price_yuan_per_unit=green.price_yuan_per_kwh,
        amount_fen=fen_of(EXACT.multiply(kwh, green.price_yuan_per_kwh)),
        derivation=Derivation(
            "kwh * green_share * green_price",
            (
                Input("kwh", energy.total_kwh, "kWh", "intervals"),
                deal.term("green_share", green.green_ratio, "1"),
                deal.term("green_price", green.price_yuan_per_kwh),
            ),
            energy.first_day,
            energy.end_day,
        ),
    )


def _term(package: Package, name: str, value: Decimal, unit: str = "yuan/kWh") -> Input:
    return Input(name, value, unit, package.head.origin, package.head.document_for(name))


def _needed(value: _T | None) -> _T:
    if value is None:
        raise ValueError("the package lacks a number that its form needs; the reader refuses such files")
    return value
