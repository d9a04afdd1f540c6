"""What a group of customers with equal prices has in common, read off bills of the single path. Pure.

A plan is not a second tariff: two probe customers are rated by `bill.rate`, and their lines say which lines there
are and at which price. Where the two differ in more than quantities, the group is refused by name and goes the
single path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction

from cloud.billing import basic
from cloud.billing.bill import RATING_VERSION, PricedSegment, priced, rate
from cloud.billing.catalogue import AnyPrices, LadderPrices, Prices
from cloud.billing.ladder import Before, Ladder, limits_at, position_of
from cloud.billing.line import PERIODS, BillLine, Section
from cloud.billing.powerfactor import AmountRounding, PowerFactorTable
from cloud.billing.segment import Demand, DemandMode, Segment, Terms, Usage
from cloud.billing.tariff import Calendar
from cloud.errors import Refused
from cloud.markettime import SLOTS_PER_DAY, days_of_month, month_after
from cloud.money import EXACT, fen_for, quotient

WH_PER_KWH = 1000
# Units of energy of the two probes by period: so small and so large that any step of a tariff lies between, and no
# sum of some is equal to another sum.
PROBES = ((1, 2, 4, 8, 16), (3_000_001, 6_000_004, 12_000_016, 24_000_064, 48_000_256))
PURCHASES = frozenset({"agency", "catalogue"})


class NotInBulk(Refused):
    """The bulk path does not cover these customers; `facts['reason']` says why. The single path does."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the lines and prices; capacities and contract demands may differ in a group."""

    grid: str
    category: str
    purchase: str
    structure: str
    voltage: str
    demand_mode: DemandMode
    power_factor_standard: Decimal | None
    option: str = ""


@dataclass(frozen=True, slots=True)
class Days:
    """The month's days by their pattern of periods."""

    kinds: tuple[tuple[int, ...], ...]  # each 96 numbers of periods, in the order of PERIODS
    kind_of_day: tuple[int, ...]

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """Group neighbouring days of one pattern: `[first, end)` numbers of days."""
        edges = [
            number
            for number in range(1, len(self.kind_of_day))
            if self.kind_of_day[number] != self.kind_of_day[number - 1]
        ]
        return tuple(zip((0, *edges), (*edges, len(self.kind_of_day)), strict=True))


@dataclass(frozen=True, slots=True)
class Column:
    """One line: its price for one unit of the period's energy, or of all energy where `period_column` is None.

    `yuan_per_unit` is None for the basic charge and the power factor, which have rules of their own.
    """

    line: BillLine  # of a probe: section, item, unit and price speak for all, quantity and amount do not
    period_column: int | None
    yuan_per_unit: Decimal | None


@dataclass(frozen=True, slots=True)
class Basic:
    """The basic charge of a whole month; see `basic`."""

    column: int
    mode: DemandMode
    yuan_per_unit: Decimal
    floor_ratio: Decimal
    limit_ratio: Decimal
    overrun_multiplier: Decimal
    overrun_from_limit: bool  # variant A
    discount_from_units_per_kva: Fraction | None  # in units of billed energy; None: not in force
    discount_factor: Decimal


@dataclass(frozen=True, slots=True)
class PowerFactor:
    """The adjustment: percent for each step of the power factor, and the lines that take part."""

    column: int
    steps_per_unit: int
    percent_at: tuple[Decimal, ...]  # for 0, 1, … `steps_per_unit` steps
    base_columns: tuple[int, ...]
    per_line: bool


@dataclass(frozen=True, slots=True)
class Tiers:
    """The lines of a ladder's tiers: which tier (from 0) a line charges; its price stands in its column."""

    ladder: Ladder
    tier_of: tuple[tuple[int, int], ...]  # (column, tier)

    def limits_units(self, month: date, service_from: date | None) -> tuple[int, ...]:
        """Compute the tiers' limits in billed units, for a whole month of an account. Raises NotInBulk."""
        position = position_of(self.ladder, month, month_after(month), Before(service_from=service_from))
        quantum = self.ladder.energy_quantum_kwh
        return tuple(whole_units(limit, quantum) for limit in limits_at(self.ladder, position))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a group and month that is not an account's own figure."""

    month: date
    shape: Shape
    prices: AnyPrices
    days: Days
    unit_wh: int
    columns: tuple[Column, ...]
    basic: Basic | None
    power_factor: PowerFactor | None
    tiers: Tiers | None


def whole_units(kwh: Decimal, quantum_kwh: Decimal) -> int:
    """Count kWh in units of the quantum. Raises NotInBulk when that is no whole number."""
    units = Fraction(kwh) / Fraction(quantum_kwh)
    if units.denominator != 1:
        raise NotInBulk("not_in_bulk", reason="kwh_between_units", kwh=str(kwh), quantum_kwh=str(quantum_kwh))
    return units.numerator


def terms_of(shape: Shape, capacity_kva: int | None, contract_demand_kw: int | None) -> Terms:
    """Put the terms of an account together from its group's and its own."""
    return Terms(
        shape.category,
        shape.purchase,
        shape.structure,
        shape.voltage,
        shape.demand_mode,
        capacity_kva,
        contract_demand_kw,
        shape.power_factor_standard,
        shape.option,
    )


def plan_for(shape: Shape, prices: AnyPrices, month: date) -> Plan:
    """Find out how a month of these customers is rated. Raises NotInBulk, NoSuchPrice."""
    if shape.purchase not in PURCHASES:
        raise _refused(shape, "purchase")
    small, large = (_probe(shape, prices, month, units) for units in PROBES)
    lines = rate(small, month)
    again = rate(large, month)
    if [_name(line) for line in lines] != [_name(line) for line in again]:
        raise _refused(shape, "lines_depend_on_quantity")
    tiers = _tiers(prices, lines) if isinstance(prices, LadderPrices) else None
    of_tiers = {} if tiers is None else dict(tiers.tier_of)
    columns = tuple(
        _tier_column(line, prices)
        if number in of_tiers
        else _column(shape, number, (small, lines[number]), (large, again[number]))
        for number, line in enumerate(lines)
    )
    return Plan(
        month=month,
        shape=shape,
        prices=prices,
        days=_days(prices.calendar, month),
        unit_wh=int(EXACT.multiply(prices.energy_quantum_kwh, Decimal(WH_PER_KWH))),
        columns=columns,
        basic=_basic(shape, prices, columns) if isinstance(prices, Prices) else None,
        power_factor=_power_factor(shape, prices, columns),
        tiers=tiers,
    )


def _probe(shape: Shape, prices: AnyPrices, month: date, units: tuple[int, ...]) -> tuple[PricedSegment, ...]:
    unit_wh = int(EXACT.multiply(prices.energy_quantum_kwh, Decimal(WH_PER_KWH)))
    terms = terms_of(shape, sum(units), sum(units))
    usage = Usage(
        import_wh=tuple(each * unit_wh for each in units),
        export_wh=0,
        import_varh=0,
        export_varh=0,
        demands=(Demand("probe", Decimal(sum(units)), month, 0),),
        estimated_slots=0,
    )
    return priced([(Segment(month, month_after(month), terms, usage), prices)])


def _column(
    shape: Shape,
    number: int,
    small: tuple[tuple[PricedSegment, ...], BillLine],
    large: tuple[tuple[PricedSegment, ...], BillLine],
) -> Column:
    line = small[1]
    if line.section in (Section.BASIC, Section.POWER_FACTOR):
        return Column(line, None, None)
    periods = {_period_of(segments, each) for segments, each in (small, large)}
    prices = {each.price_yuan_per_unit for _, each in (small, large)}
    exact = all(
        fen_for(each.quantity, each.price_yuan_per_unit) == each.amount_fen for _, each in (small, large)
    )
    if len(periods) != 1 or len(prices) != 1 or not exact or periods == {-1}:
        raise _refused(shape, "line_not_linear", line=f"{number + 1} {line.section} {line.item}")
    period = periods.pop()
    quantum = small[0][0].prices.energy_quantum_kwh
    return Column(line, period, EXACT.multiply(prices.pop(), quantum))


def _tiers(prices: LadderPrices, lines: Sequence[BillLine]) -> Tiers:
    """Find the lines that charge tiers: those of no period, in the order of the tiers up to the last."""
    numbers = [
        number
        for number, line in enumerate(lines)
        if line.section is Section.CATALOGUE and line.period is None
    ]
    first = len(prices.ladder.limits_kwh) + 1 - len(numbers)
    return Tiers(prices.ladder, tuple((number, first + at) for at, number in enumerate(numbers)))


def _tier_column(line: BillLine, prices: AnyPrices) -> Column:
    return Column(line, None, EXACT.multiply(line.price_yuan_per_unit, prices.energy_quantum_kwh))


def _period_of(segments: tuple[PricedSegment, ...], line: BillLine) -> int | None:
    """Find whose energy a line charges; -1 when it is neither a period's nor all of it."""
    energy = segments[0].energy
    if line.unit != "kWh":
        return -1
    if line.quantity == energy.total_kwh:
        return None
    return energy.kwh.index(line.quantity) if line.quantity in energy.kwh else -1


def _days(calendar: Calendar, month: date) -> Days:
    kinds: dict[tuple[int, ...], int] = {}
    kind_of_day = []
    for day in days_of_month(month):
        pattern = tuple(PERIODS.index(calendar.period_of(day, slot)) for slot in range(SLOTS_PER_DAY))
        kind_of_day.append(kinds.setdefault(pattern, len(kinds)))
    return Days(tuple(kinds), tuple(kind_of_day))


def _basic(shape: Shape, prices: Prices, columns: tuple[Column, ...]) -> Basic | None:
    found = [number for number, each in enumerate(columns) if each.line.section is Section.BASIC]
    if not found:
        return None
    row = prices.transmission.row(shape.structure, shape.voltage)
    price = None
    if row is not None:
        is_capacity = shape.demand_mode is DemandMode.CAPACITY
        price = row.capacity_yuan_per_kva_month if is_capacity else row.demand_yuan_per_kw_month
    if len(found) != 1 or price is None:
        raise _refused(shape, "basic_charge")
    rules = prices.two_part
    per_kva = Fraction(rules.load_discount_from_kwh_per_kva) / Fraction(prices.sheet.energy_quantum_kwh)
    return Basic(
        column=found[0],
        mode=shape.demand_mode,
        yuan_per_unit=price,
        floor_ratio=rules.contract_floor_ratio,
        limit_ratio=rules.contract_limit_ratio,
        overrun_multiplier=rules.overrun_multiplier,
        overrun_from_limit=rules.overrun_variant is basic.Overrun.A,
        discount_from_units_per_kva=per_kva if rules.load_discount_in_force else None,
        discount_factor=rules.load_discount_price_factor,
    )


def _power_factor(shape: Shape, prices: AnyPrices, columns: tuple[Column, ...]) -> PowerFactor | None:
    found = [number for number, each in enumerate(columns) if each.line.section is Section.POWER_FACTOR]
    if shape.power_factor_standard is None or not found:
        return None
    rules = prices.power_factor
    table = rules.table(shape.power_factor_standard)
    if len(found) != 1 or table is None:
        raise _refused(shape, "power_factor")
    steps = int(quotient(Decimal(1), rules.power_factor_quantum, Decimal(1)))
    return PowerFactor(
        column=found[0],
        steps_per_unit=steps,
        percent_at=_percents(table, steps, rules.power_factor_quantum),
        base_columns=tuple(
            number
            for number, each in enumerate(columns)
            if number != found[0] and each.line.section not in rules.excluded_sections
        ),
        per_line=rules.amount_rounding is AmountRounding.PER_LINE,
    )


def _percents(table: PowerFactorTable, steps: int, quantum: Decimal) -> tuple[Decimal, ...]:
    return tuple(table.percent_at(EXACT.multiply(Decimal(step), quantum)) for step in range(steps + 1))


def plan_content(plan: Plan) -> dict[str, object]:
    """Write down what makes a plan: equal content, equal fen for equal figures."""
    return {
        "rating_version": RATING_VERSION,
        "month": plan.month.strftime("%Y-%m"),
        "shape": {name: str(value) for name, value in asdict(plan.shape).items()},
        "files": [
            {"kind": head.kind, "id": head.id, "version": head.version, "sha256": head.sha256}
            for head in plan.prices.heads
        ],
        "lines": [
            {
                "section": each.line.section,
                "item": each.line.item,
                "period": each.line.period,
                "yuan_per_unit": None if each.yuan_per_unit is None else str(each.yuan_per_unit),
            }
            for each in plan.columns
        ],
    }


def _name(line: BillLine) -> tuple[Section, str, object]:
    return line.section, line.item, line.period


def _refused(shape: Shape, reason: str, **facts: str) -> NotInBulk:
    return NotInBulk(
        "not_in_bulk",
        reason=reason,
        purchase=shape.purchase,
        category=shape.category,
        structure=shape.structure,
        voltage=shape.voltage,
        **facts,
    )
