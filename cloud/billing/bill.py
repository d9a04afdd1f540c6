"""Segments and prices -> lines -> a bill; and what a new revision changes. Pure.

rate(priced segments) -> lines          sum of lines = bill, zero lines stay
line_changes(previous, next)            a correction is a difference, never an edit
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from cloud.billing import basic, charges, powerfactor, tariff
from cloud.billing.catalogue import Prices
from cloud.billing.line import BillLine, Period, Section, total_fen
from cloud.billing.segment import DemandMode, Segment, Usage
from cloud.errors import Invalid
from cloud.markettime import days_of_month
from cloud.money import EXACT, total, whole_parts

WH_PER_KWH = 1000

# Goes into the hash of a bill's inputs: a change of the rating code that can move a fen raises it.
RATING_VERSION = "1"


class NoSuchPrice(Invalid):
    """The price files have no row for the account's structure and voltage, or no table for its standard."""


@dataclass(frozen=True, slots=True)
class PricedSegment:
    """A segment with the prices in force on its days and the kWh that are billed for it."""

    segment: Segment
    prices: Prices
    energy: tariff.Energy


@dataclass(frozen=True, slots=True)
class LineChange:
    """One charge before and after; a charge that is new or gone has zero on the other side."""

    section: Section
    item: str
    period: Period | None
    first_day: date
    before_fen: int
    after_fen: int

    @property
    def change_fen(self) -> int:
        """Compute what is owed more (positive) or less."""
        return self.after_fen - self.before_fen


def priced(segments: Sequence[tuple[Segment, Prices]]) -> tuple[PricedSegment, ...]:
    """Round the measured Wh of each segment to the kWh that are billed.

    The kWh of a month are those of a counter that runs through it and shows whole units; each segment gets
    what the counter moved, its periods by largest remainder (976号 art. 12: settled energy in whole kWh).
    """
    result = []
    before_wh = 0
    for segment, prices in segments:
        quantum = prices.sheet.energy_quantum_kwh
        unit_wh = int(EXACT.multiply(quantum, Decimal(WH_PER_KWH)))
        units = whole_parts(segment.usage.import_wh, unit_wh, before_wh)
        kwh = tuple(EXACT.multiply(Decimal(each), quantum) for each in units)
        result.append(PricedSegment(segment, prices, tariff.Energy(kwh, segment.first_day, segment.end_day)))
        before_wh += segment.usage.total_wh
    return tuple(result)


def rate(segments: Sequence[PricedSegment], month: date) -> tuple[BillLine, ...]:
    """Draw up the lines of a month from its segments in order of days. Raises NoSuchPrice.

    Order: energy, line loss, T&D, system operation and funds of each segment, basic charges, power factor.
    """
    energy_lines = tuple(line for each in segments for line in _energy_lines(each))
    lines = energy_lines + _basic_lines(segments, month)
    return lines + _power_factor_lines(segments, lines)


def line_changes(before: Sequence[BillLine], after: Sequence[BillLine]) -> tuple[LineChange, ...]:
    """List the charges that differ between two revisions; their changes add up to the change of the total."""
    was, now = _by_charge(before), _by_charge(after)
    return tuple(
        LineChange(*charge, before_fen=was.get(charge, 0), after_fen=now.get(charge, 0))
        for charge in dict.fromkeys((*was, *now))
        if was.get(charge, 0) != now.get(charge, 0)
    )


def owed_change_fen(before: Sequence[BillLine], after: Sequence[BillLine]) -> int:
    """Compute what is owed more (positive) or less after a new revision."""
    return total_fen(tuple(after)) - total_fen(tuple(before))


def _by_charge(lines: Sequence[BillLine]) -> dict[tuple[Section, str, Period | None, date], int]:
    amounts: dict[tuple[Section, str, Period | None, date], int] = {}
    for line in lines:
        charge = (line.section, line.item, line.period, line.derivation.first_day)
        amounts[charge] = amounts.get(charge, 0) + line.amount_fen
    return amounts


def _energy_lines(each: PricedSegment) -> tuple[BillLine, ...]:
    prices, terms = each.prices, each.segment.terms
    row = prices.transmission.row(terms.structure, terms.voltage)
    if row is None:
        raise NoSuchPrice(
            "no_such_price",
            structure=terms.structure,
            voltage=terms.voltage,
            file=prices.transmission.head.origin,
        )
    other = (row.energy_yuan_per_kwh, prices.funds.total_yuan_per_kwh)
    rebuilt = tariff.all_in_prices(prices.sheet, prices.calendar, other)
    differences = tariff.printed_differences(
        prices.sheet.printed_row(terms.structure, terms.voltage), rebuilt
    )
    sheet, calendar = prices.sheet, prices.calendar
    return (
        *tariff.component_lines(Section.ENERGY, each.energy, sheet, calendar, differences),
        *tariff.component_lines(Section.LINE_LOSS, each.energy, sheet, calendar),
        charges.transmission_line(each.energy, prices.transmission, row),
        *tariff.component_lines(Section.SYSTEM_OPERATION, each.energy, sheet, calendar),
        charges.funds_line(each.energy, prices.funds),
    )


def _basic_lines(segments: Sequence[PricedSegment], month: date) -> tuple[BillLine, ...]:
    """Charge each run of segments with equal terms of the basic charge once, over all its days."""
    month_kwh = total(each.energy.total_kwh for each in segments)
    month_days = days_of_month(month)
    lines = []
    for run in _runs(segments, _basic_terms):
        first, last = run[0], run[-1]
        days = (last.segment.end_day - first.segment.first_day).days
        service = basic.Service(
            first.segment.terms,
            first.segment.first_day,
            last.segment.end_day,
            demand_kw=_demand_kw([each.segment.usage for each in run]),
            month_kwh=month_kwh,
            whole_month=days == len(month_days),
        )
        line = basic.basic_line(service, first.prices.transmission, first.prices.two_part)
        if line is not None:
            lines.append(line)
    return tuple(lines)


def _basic_terms(each: PricedSegment) -> tuple[object, ...]:
    terms, prices = each.segment.terms, each.prices
    if terms.demand_mode is DemandMode.NONE:
        return (DemandMode.NONE,)
    parts = (terms.structure, terms.voltage, terms.demand_mode, terms.capacity_kva, terms.contract_demand_kw)
    return (*parts, prices.transmission.head.origin, prices.two_part.head.origin)


def _demand_kw(usages: Sequence[Usage]) -> Decimal:
    """Find each supply point's highest demand over the run, then add the supply points up."""
    highest: dict[str, Decimal] = {}
    for usage in usages:
        for demand in usage.demands:
            known = highest.get(demand.supply_point_id, Decimal(0))
            highest[demand.supply_point_id] = max(known, demand.demand_kw)
    return total(highest.values())


def _power_factor_lines(
    segments: Sequence[PricedSegment], lines: tuple[BillLine, ...]
) -> tuple[BillLine, ...]:
    """Adjust each run of segments with one standard by that run's own power factor."""
    result = []
    for run in _runs(segments, _power_factor_terms):
        standard, rules = run[0].segment.terms.power_factor_standard, run[0].prices.power_factor
        if standard is None:
            continue
        if rules.table(standard) is None:
            raise NoSuchPrice("no_such_price", standard=standard, file=rules.head.origin)
        assessed = powerfactor.Assessed(
            standard,
            active_wh=sum(each.segment.usage.total_wh for each in run),
            reactive_varh=sum(each.segment.usage.reactive_varh for each in run),
        )
        first, end = run[0].segment.first_day, run[-1].segment.end_day
        own = [line for line in lines if first <= line.derivation.first_day < end]
        result.append(powerfactor.power_factor_line(assessed, own, rules))
    return tuple(result)


def _power_factor_terms(each: PricedSegment) -> tuple[object, ...]:
    return each.segment.terms.power_factor_standard, each.prices.power_factor.head.origin


def _runs(
    segments: Sequence[PricedSegment], key: Callable[[PricedSegment], tuple[object, ...]]
) -> tuple[tuple[PricedSegment, ...], ...]:
    """Cut the segments where the key changes or where days are missing between two of them."""
    runs: list[tuple[PricedSegment, ...]] = []
    for each in segments:
        last = runs[-1][-1] if runs else None
        if last and last.segment.end_day == each.segment.first_day and key(last) == key(each):
            runs[-1] += (each,)
        else:
            runs.append((each,))
    return tuple(runs)
