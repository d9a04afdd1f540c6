"""Segments and prices -> lines -> a bill; and what a new revision changes. Pure.

rate(priced segments) -> lines          sum of lines = bill, zero lines stay
line_changes(previous, next)            a correction is a difference, never an edit
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from cloud.billing import basic, charges, ladder, powerfactor, retail, tariff
from cloud.billing.catalogue import DIRECT_PURCHASE, AnyPrices, LadderPrices, NoSuchPrice, Prices
from cloud.billing.line import BillLine, Period, Section, total_fen
from cloud.billing.package import Form
from cloud.billing.segment import DemandMode, Segment, Terms, Usage
from cloud.markettime import days_of_month
from cloud.money import EXACT, shares, total, whole_parts

WH_PER_KWH = 1000

# Goes into the hash of a bill's inputs: a change of the rating code that can move a fen raises it.
# 2: a charge over several power factor runs takes part in each by days.
# 3: a package's ladder and cap are of its energy, whatever else changes in its days.
RATING_VERSION = "3"


@dataclass(frozen=True, slots=True)
class PricedSegment:
    """A segment with the prices in force on its days and the kWh that are billed for it."""

    segment: Segment
    prices: AnyPrices
    energy: tariff.Energy


@dataclass(frozen=True, slots=True)
class Given:
    """What a month's bill takes from elsewhere: the ladder's position, a direct user's settlement.

    `year_kwh` counts the catalogue kWh billed earlier in the calendar year, `service_from` is the first day of the
    account's service (None: before this year), `settled` are the final settlement lines of the month as bill lines.
    """

    year_kwh: Decimal = Decimal(0)
    service_from: date | None = None
    settled: tuple[BillLine, ...] = ()


NOTHING_GIVEN = Given()


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


def priced(segments: Sequence[tuple[Segment, AnyPrices]]) -> tuple[PricedSegment, ...]:
    """Round the measured Wh of each segment to the kWh that are billed.

    The kWh of a month are those of a counter that runs through it and shows whole units; each segment gets
    what the counter moved, its periods by largest remainder (976号 art. 12: settled energy in whole kWh).
    """
    result = []
    before_wh = 0
    for segment, prices in segments:
        quantum = prices.energy_quantum_kwh
        unit_wh = int(EXACT.multiply(quantum, Decimal(WH_PER_KWH)))
        units = whole_parts(segment.usage.import_wh, unit_wh, before_wh)
        kwh = tuple(EXACT.multiply(Decimal(each), quantum) for each in units)
        result.append(PricedSegment(segment, prices, tariff.Energy(kwh, segment.first_day, segment.end_day)))
        before_wh += segment.usage.total_wh
    return tuple(result)


def rate(
    segments: Sequence[PricedSegment], month: date, given: Given = NOTHING_GIVEN
) -> tuple[BillLine, ...]:
    """Draw up the lines of a month from its segments in order of days. Raises NoSuchPrice.

    Order: settled market energy; energy, line loss, T&D, system operation, catalogue and funds of each segment; basic
    charges; power factor.
    """
    lines = list(given.settled)
    settles_line_loss = any(line.section is Section.LINE_LOSS for line in given.settled)
    month_kwh = Decimal(0)
    for each, bought in zip(segments, _package_lines(segments), strict=True):
        prices = each.prices
        if isinstance(prices, LadderPrices):
            lines += _ladder_lines(each, prices, ladder.Before(given.year_kwh, month_kwh, given.service_from))
            month_kwh = EXACT.add(month_kwh, each.energy.total_kwh)
        else:
            lines += _energy_lines(each, prices, bought, settles_line_loss=settles_line_loss)
    lines += _basic_lines(segments, month)
    return (*lines, *_power_factor_lines(segments, tuple(lines)))


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


def _ladder_lines(each: PricedSegment, prices: LadderPrices, before: ladder.Before) -> tuple[BillLine, ...]:
    own = prices.ladder
    position = ladder.position_of(own, each.segment.first_day, each.segment.end_day, before)
    return ladder.ladder_lines(each.energy, own, prices.row(each.segment.terms.voltage), position)


def _package_lines(segments: Sequence[PricedSegment]) -> tuple[tuple[BillLine, ...], ...]:
    """Charge each run of segments on one package; what comes of a run stands with its first segment."""
    result: list[tuple[BillLine, ...]] = []
    for run in _runs(segments, _package_terms):
        prices = run[0].prices
        own: tuple[BillLine, ...] = ()
        if isinstance(prices, Prices) and prices.package is not None:
            kwh = tuple(map(total, zip(*(each.energy.kwh for each in run), strict=True)))
            energy = tariff.Energy(kwh, run[0].segment.first_day, run[-1].segment.end_day)
            own = retail.package_lines(energy, prices.package, prices.references, prices.calendar)
        result += [own, *((),) * (len(run) - 1)]
    return tuple(result)


def _package_terms(each: PricedSegment) -> tuple[object, ...]:
    """A ladder and a cap go by the energy of all days on the package; other packages charge each segment by itself."""
    prices = each.prices
    package = None if isinstance(prices, LadderPrices) else prices.package
    if package is None or (package.formula.form is not Form.LADDER and package.cap_yuan_per_kwh is None):
        return (each.segment.first_day,)
    heads = (prices.package, prices.references, prices.calendar) if isinstance(prices, Prices) else ()
    return tuple("" if file is None else file.head.origin for file in heads)


def _energy_lines(
    each: PricedSegment, prices: Prices, bought: Sequence[BillLine], *, settles_line_loss: bool
) -> tuple[BillLine, ...]:
    """Charge a segment's energy; a direct user whose market settles the line loss does not pay its price again."""
    terms, sheet, calendar = each.segment.terms, prices.sheet, prices.calendar
    row = prices.transmission.row(terms.structure, terms.voltage)
    if row is None:
        raise NoSuchPrice(
            "no_such_price",
            structure=terms.structure,
            voltage=terms.voltage,
            file=prices.transmission.head.origin,
        )
    funds = prices.funds.paid_at(terms.structure, terms.voltage)
    rebuilt = tariff.all_in_prices(sheet, calendar, (row.energy_yuan_per_kwh, funds.total_yuan_per_kwh))
    differences = tariff.price_differences(sheet, sheet.printed_row(terms.structure, terms.voltage), rebuilt)
    floating = calendar if sheet.transmission_floats else None
    has_line_loss = not (settles_line_loss and terms.purchase == DIRECT_PURCHASE)
    return (
        *(line for line in bought if line.section is not Section.GREEN),
        *tariff.component_lines(Section.ENERGY, each.energy, sheet, calendar, differences),
        *(tariff.component_lines(Section.LINE_LOSS, each.energy, sheet, calendar) if has_line_loss else ()),
        *charges.transmission_lines(each.energy, prices.transmission, row, floating),
        *tariff.component_lines(Section.SYSTEM_OPERATION, each.energy, sheet, calendar),
        *((charges.funds_line(each.energy, funds),) if funds.items else ()),
        *tariff.component_lines(Section.GREEN, each.energy, sheet, calendar),
        *(line for line in bought if line.section is Section.GREEN),
    )


def _basic_lines(segments: Sequence[PricedSegment], month: date) -> tuple[BillLine, ...]:
    """Charge each run of segments with equal terms of the basic charge once, over all its days."""
    month_kwh = total(each.energy.total_kwh for each in segments)
    month_days = days_of_month(month)
    lines = []
    for run in _runs(segments, _basic_terms):
        first, last, prices = run[0], run[-1], run[0].prices
        if isinstance(prices, LadderPrices):
            continue  # a catalogue price has one part
        days = (last.segment.end_day - first.segment.first_day).days
        service = basic.Service(
            first.segment.terms,
            first.segment.first_day,
            last.segment.end_day,
            demand_kw=_demand_kw([each.segment.usage for each in run]),
            month_kwh=month_kwh,
            whole_month=days == len(month_days),
        )
        _need_basic_price(first.segment.terms, prices)
        line = basic.basic_line(service, prices.transmission, prices.two_part)
        if line is not None:
            lines.append(line)
    return tuple(lines)


def _need_basic_price(terms: Terms, prices: Prices) -> None:
    row = prices.transmission.row(terms.structure, terms.voltage)
    if terms.demand_mode is not DemandMode.NONE and (row is None or row.capacity_yuan_per_kva_month is None):
        raise NoSuchPrice(
            "no_such_price",
            structure=f"{terms.structure} {terms.demand_mode}",
            voltage=terms.voltage,
            file=prices.transmission.head.origin,
        )


def _basic_terms(each: PricedSegment) -> tuple[object, ...]:
    terms, prices = each.segment.terms, each.prices
    if terms.demand_mode is DemandMode.NONE or isinstance(prices, LadderPrices):
        return (DemandMode.NONE, isinstance(prices, LadderPrices))
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
    """Adjust each run of segments with one standard by that run's own power factor, on that run's own charges."""
    runs = _runs(segments, _power_factor_terms)
    spans = tuple((run[0].segment.first_day, run[-1].segment.end_day) for run in runs)
    bases = shared_by_days(lines, spans)
    result = []
    for run, own in zip(runs, bases, strict=True):
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
        result.append(powerfactor.power_factor_line(assessed, own, rules))
    return tuple(result)


def shared_by_days(
    lines: Sequence[BillLine], spans: Sequence[tuple[date, date]]
) -> tuple[tuple[BillLine, ...], ...]:
    """Give each span of days `[first, end)` its lines; a line over several is shared by days, to the fen exactly.

    So a basic charge of the whole month takes part in every power factor run with its days' share of the amount.
    """
    own: list[list[BillLine]] = [[] for _ in spans]
    for line in lines:
        how = line.derivation
        days = [max((min(end, how.end_day) - max(first, how.first_day)).days, 0) for first, end in spans]
        for index, amount_fen in enumerate(shares(line.amount_fen, days)):
            if days[index] == sum(days):
                own[index].append(line)
            elif days[index]:
                first, end = spans[index]
                edges = replace(how, first_day=max(first, how.first_day), end_day=min(end, how.end_day))
                own[index].append(replace(line, amount_fen=amount_fen, derivation=edges))
    return tuple(map(tuple, own))


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
