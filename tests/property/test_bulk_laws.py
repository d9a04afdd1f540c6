"""The bulk path gives the fen of the single path, line by line, for every structure, voltage, demand mode and standard."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import product

import numpy as np
import pytest

from cloud import money
from cloud.billing import bill, bulk, bulkplan, powerfactor
from cloud.billing.basic import Overrun
from cloud.billing.bulkplan import NotInBulk, Shape, plan_for
from cloud.billing.catalogue import Buyer, LadderPrices, Prices
from cloud.billing.ladder import Cycle, ProRata
from cloud.billing.line import PERIODS, BillLine, Period, Section
from cloud.billing.powerfactor import AmountRounding
from cloud.billing.segment import Demand, DemandMode, Segment, Terms, Usage, usage_from
from cloud.billing.store.published import packaged_catalogue
from cloud.billing.tariff import Component
from cloud.markettime import days_of_month
from cloud.metering.interval import IntervalDay, IntervalQuality

AUGUST, SEPTEMBER = date(2026, 8, 1), date(2026, 9, 1)
PRICES = packaged_catalogue().prices_on(AUGUST, Buyer("jibei", "agency", "commercial"))
STANDARDS = (None, Decimal("0.80"), Decimal("0.85"), Decimal("0.90"))
MODES = (DemandMode.CAPACITY, DemandMode.CONTRACTED, DemandMode.ACTUAL)
SEED = 20260801
ACCOUNTS = 40


def shapes() -> list[Shape]:
    """Every combination for which the published prices have a row."""
    rows = [(row.structure, row.voltage) for row in PRICES.transmission.rows]
    return [
        Shape("jibei", "commercial", "agency", structure, voltage, mode, standard)
        for (structure, voltage), standard in product(rows, STANDARDS)
        for mode in ((DemandMode.NONE,) if structure == "single_part" else MODES)
    ]


def usages(count: int, seed: int) -> tuple[bulk.Usages, list[Usage]]:
    """The same random customers twice: as columns, and as the single path knows them; many sit on a rounding edge."""
    rng = np.random.default_rng(seed)
    scale = 10 ** rng.integers(0, 10, (count, 1))
    import_wh = rng.integers(0, 1000, (count, len(PERIODS))) * scale
    import_wh = np.where(rng.random((count, 5)) < 0.2, import_wh // 1000 * 1000 + 500, import_wh)
    import_wh[0] = 0
    capacity = rng.integers(1, 10**6, count)
    for number in range(1, count, 4):  # one kWh below, on, and above 260 kWh per kVA
        import_wh[number] = 0
        import_wh[number, number % 5] = (capacity[number] * 260 + number % 3 - 1) * 1000
    total = import_wh.sum(axis=1)
    reactive = (total * rng.integers(0, 2500, count)) // 1000
    contract = np.maximum((capacity * rng.integers(30, 130, count)) // 100, 1)
    highest = np.where(
        rng.random(count) < 0.5,
        contract * 250 * rng.integers(100, 110, count) // 100,
        rng.integers(0, 10**8, count),
    )
    columns = bulk.Usages(bulk.Energy(import_wh, highest), reactive, capacity, contract)
    single = [
        Usage(
            import_wh=tuple(wh),
            export_wh=0,
            import_varh=varh,
            export_varh=0,
            demands=(Demand("SP1", Decimal(top * 4).scaleb(-3), AUGUST, 40),),
            estimated_slots=0,
        )
        for wh, varh, top in zip(import_wh.tolist(), reactive.tolist(), highest.tolist(), strict=True)
    ]
    return columns, single


def single_path(
    shape: Shape, prices: Prices, columns: bulk.Usages, single: list[Usage]
) -> list[tuple[tuple[bill.PricedSegment, ...], tuple[BillLine, ...]]]:
    drawn = []
    for number, usage in enumerate(single):
        terms = Terms(
            shape.category, shape.purchase, shape.structure, shape.voltage, shape.demand_mode,
            int(columns.capacity_kva[number]), int(columns.contract_kw[number]), shape.power_factor_standard,
        )  # fmt: skip
        segments = bill.priced([(Segment(AUGUST, SEPTEMBER, terms, usage), prices)])
        drawn.append((segments, bill.rate(segments, AUGUST)))
    return drawn


def assert_equal(shape: Shape, prices: Prices, seed: int, count: int = ACCOUNTS) -> None:
    """Compare every line, the billed units and the totals of random customers."""
    columns, single = usages(count, seed)
    plan = plan_for(shape, prices, AUGUST)
    many = bulk.rate_group(plan, columns)
    for number, (segments, lines) in enumerate(single_path(shape, prices, columns, single)):
        quantum = prices.sheet.energy_quantum_kwh
        assert segments[0].energy.kwh == tuple(Decimal(u) * quantum for u in many.units[number].tolist()), (
            number
        )
        assert [each.line.item for each in plan.columns] == [line.item for line in lines]
        amounts = many.amounts_fen[number].tolist()
        for line, fen in zip(lines, amounts, strict=True):
            assert fen == line.amount_fen, (shape, number, line)
        assert int(many.total_fen[number]) == sum(line.amount_fen for line in lines)


@pytest.mark.parametrize("voltage", sorted({row.voltage for row in PRICES.transmission.rows}))
def test_bulk_is_equal_to_single_for_every_shape(voltage: str) -> None:
    own = [each for each in shapes() if each.voltage == voltage]
    assert own
    for number, shape in enumerate(own):
        assert_equal(shape, PRICES, SEED + number)


@pytest.mark.parametrize(
    "two_part",
    [
        replace(PRICES.two_part, overrun_variant=Overrun.B),
        replace(PRICES.two_part, load_discount_in_force=False),
        replace(
            PRICES.two_part,
            contract_limit_ratio=Decimal("1.1375"),
            contract_floor_ratio=Decimal("0.3333"),
            overrun_multiplier=Decimal("2.5"),
            load_discount_from_kwh_per_kva=Decimal("260.5"),
        ),
    ],
)
def test_bulk_follows_the_dated_rules_of_the_basic_charge(two_part: object) -> None:
    prices = replace(PRICES, two_part=two_part)  # type: ignore[arg-type]  # parametrize knows no types
    for number, mode in enumerate((DemandMode.CONTRACTED, DemandMode.ACTUAL)):
        shape = Shape("jibei", "commercial", "agency", "two_part", "1-10kV", mode, Decimal("0.90"))
        assert_equal(shape, prices, SEED + 100 + number, 80)


def test_bulk_rounds_the_power_factor_per_line_where_the_rules_do() -> None:
    prices = replace(
        PRICES, power_factor=replace(PRICES.power_factor, amount_rounding=AmountRounding.PER_LINE)
    )
    shape = Shape("jibei", "commercial", "agency", "two_part", "35kV", DemandMode.ACTUAL, Decimal("0.85"))
    assert_equal(shape, prices, SEED + 200, 80)


def test_bulk_takes_negative_prices_and_a_coarser_quantum() -> None:
    negative = tuple(
        replace(each, price_yuan_per_kwh=-each.price_yuan_per_kwh)
        if each.section is not Section.ENERGY
        else each
        for each in PRICES.sheet.components
    )
    assert any(each.price_yuan_per_kwh < 0 for each in negative)
    for quantum in (Decimal("0.01"), Decimal(10)):
        sheet = replace(PRICES.sheet, components=negative, printed=(), energy_quantum_kwh=quantum)
        shape = Shape(
            "jibei", "commercial", "agency", "two_part", "1-10kV", DemandMode.CONTRACTED, Decimal("0.90")
        )
        assert_equal(shape, replace(PRICES, sheet=sheet), SEED + 300, 80)


def test_power_factor_steps_are_exact_on_every_limit() -> None:
    """Energies whose power factor is as near to a half step as whole numbers can be, and far beyond 64 bits."""
    for step in range(1, 101):
        for active in (10**6 + step, 10**12 + step, 10**18 + step):
            limit = ((200 * active) ** 2 // (2 * step - 1) ** 2) - active**2
            reactive = int(Decimal(max(limit, 0)).sqrt())
            for each in (max(reactive - 1, 0), reactive, reactive + 1):
                wanted = powerfactor.power_factor_of(active, each, Decimal("0.01"))
                assert wanted == Decimal(bulk._power_factor_steps(active, each, 100)) / 100


def test_units_are_those_of_the_single_path() -> None:
    rng = np.random.default_rng(SEED)
    for unit in (1, 10, 1000, 10_000):
        import_wh = rng.integers(0, 4, (500, 5)) * unit // 2 + rng.integers(-1, 2, (500, 5))
        import_wh = np.maximum(import_wh, 0)
        many = bulk.billed_units(import_wh, unit)
        assert [tuple(row) for row in many.tolist()] == [
            money.whole_parts(row, unit) for row in import_wh.tolist()
        ]


def test_amounts_beyond_64_bits_are_exact_or_refused_and_never_wrap() -> None:
    big = np.array([10**14 + 3, -(10**14) - 3, 5], np.int64)
    price = Decimal("0.123456789012")
    assert bulk.fen_half_up(big, bulk.Fraction(price)).tolist() == [
        money.fen_for(Decimal(int(each)), price) for each in big
    ]
    with pytest.raises(bulk.BeyondWholeNumbers):
        bulk.fen_half_up(np.array([2**62], np.int64), bulk.Fraction(1))
    with pytest.raises(bulk.BeyondWholeNumbers):
        bulk.billed_units(np.full((1, 5), 2**60, np.int64), 1000)


# ---- ladders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["ladder", "ladder_tou", "shared"])
@pytest.mark.parametrize("cycle", list(Cycle))
@pytest.mark.parametrize("pro_rata", [ProRata.NONE, ProRata.MONTHS, ProRata.DAYS])
def test_ladders_are_equal_wherever_in_the_year_an_account_stands(
    option: str, cycle: Cycle, pro_rata: ProRata
) -> None:
    """Before, on and behind each limit; served since ever, or since some day of the year."""
    if cycle is Cycle.MONTH and pro_rata is ProRata.MONTHS:
        return  # no such file is read
    buyer = Buyer("jibei", "catalogue", "residential", option)
    known = packaged_catalogue().any_prices_on(AUGUST, buyer)
    assert isinstance(known, LadderPrices)
    prices = replace(known, ladder=replace(known.ladder, cycle=cycle, pro_rata=pro_rata))
    shape = Shape("jibei", "residential", "catalogue", "single_part", "lt1kV", DemandMode.NONE, None, option)
    plan = plan_for(shape, prices, AUGUST)
    rng = np.random.default_rng(SEED)
    count = 60
    edges = [0, *(int(each) for each in known.ladder.limits_kwh)]
    before = [max(0, int(rng.choice(edges)) + int(rng.integers(-3, 4))) for _ in range(count)]
    since = [None if rng.random() < 0.5 else date(2026, int(rng.integers(1, 9)), 1) for _ in range(count)]
    import_wh = rng.integers(0, 10 ** rng.integers(3, 7, (count, 1)), (count, 5))
    limits = np.array([plan.tiers.limits_units(AUGUST, each) for each in since], np.int64)  # type: ignore[union-attr]  # a ladder has tiers
    limits = limits.reshape(count, -1)
    started = np.array(before if cycle is Cycle.YEAR else [0] * count, np.int64)
    zeros = np.zeros(count, np.int64)
    usage = bulk.Usages(bulk.Energy(import_wh, zeros), zeros, zeros, zeros, bulk.Ladder(started, limits))
    many = bulk.rate_group(plan, usage)
    for number in range(count):
        terms = bulkplan.terms_of(shape, None, None)
        own = Usage(tuple(import_wh[number].tolist()), 0, 0, 0, (), 0)
        segments = bill.priced([(Segment(AUGUST, SEPTEMBER, terms, own), prices)])
        lines = bill.rate(segments, AUGUST, bill.Given(Decimal(before[number]), since[number]))
        assert many.amounts_fen[number].tolist() == [line.amount_fen for line in lines], number
        assert [each.line.item for each in plan.columns] == [line.item for line in lines]


# ---- from quarter-hours ------------------------------------------------------------------------------------------


def interval_days(point: str, import_wh: np.ndarray, varh: np.ndarray) -> list[IntervalDay]:
    measured, nothing = (int(IntervalQuality.ACTUAL),) * 96, (0,) * 96
    return [
        IntervalDay(point, day, 1, tuple(wh), nothing, tuple(q), nothing, measured)
        for day, wh, q in zip(
            days_of_month(AUGUST),
            import_wh.reshape(-1, 96).tolist(),
            varh.reshape(-1, 96).tolist(),
            strict=True,
        )
    ]


@pytest.mark.parametrize("highest", [50_000, 2**31 - 1])
def test_quarter_hours_become_the_usage_of_the_single_path(highest: int) -> None:
    """Also where a month's sum of one slot leaves 32 bits; accounts of one, two and three supply points."""
    rng = np.random.default_rng(SEED + highest)
    points_of = [1, 2, 3, 1, 2]
    matrix = rng.integers(0, highest, (sum(points_of), 2976), dtype=np.int32, endpoint=True)
    varh = rng.integers(0, 1000, matrix.shape)
    plan = plan_for(
        Shape("jibei", "commercial", "agency", "single_part", "1-10kV", DemandMode.NONE, None), PRICES, AUGUST
    )
    first_rows = np.array([0, *np.cumsum(points_of)[:-1]], np.int64)
    many = bulk.of_accounts(bulk.energy_of(matrix, plan.days), first_rows)
    for number, (first, count) in enumerate(zip(first_rows.tolist(), points_of, strict=True)):
        days = [
            each
            for row in range(first, first + count)
            for each in interval_days(f"SP{row}", matrix[row], varh[row])
        ]
        usage = usage_from(days, PRICES.calendar)
        assert usage.import_wh == tuple(many.import_wh[number].tolist())
        assert usage.demand_kw == Decimal(int(many.highest_wh[number]) * 4).scaleb(-3)


def test_days_of_different_patterns_are_summed_by_their_own_periods() -> None:
    matrix = np.arange(4 * 96 * 3, dtype=np.int32).reshape(3, 4 * 96)
    kinds = (tuple([0] * 48 + [4] * 48), tuple([2] * 96))
    sums = bulk.energy_of(matrix, bulkplan.Days(kinds, (0, 1, 1, 0))).import_wh
    for row, wh in zip(sums.tolist(), matrix.reshape(3, 4, 96).tolist(), strict=True):
        half = [sum(wh[0][:48]) + sum(wh[3][:48]), sum(wh[0][48:]) + sum(wh[3][48:])]
        assert row == [half[0], 0, sum(wh[1]) + sum(wh[2]), 0, half[1]]


def test_a_negative_quarter_hour_is_no_energy() -> None:
    with pytest.raises(ValueError, match="negative"):
        bulk.energy_of(np.full((1, 96), -1, np.int32), bulkplan.Days(((2,) * 96,), (0,)))


# ---- what is not covered ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("purchase", ["direct", "retail"])
def test_what_the_bulk_path_does_not_cover_is_refused_by_name(purchase: str) -> None:
    with pytest.raises(NotInBulk) as refused:
        plan_for(
            Shape("jibei", "commercial", purchase, "single_part", "1-10kV", DemandMode.NONE, None),
            PRICES,
            AUGUST,
        )
    assert refused.value.facts["reason"] == "purchase"


def test_a_sheet_with_one_more_component_is_followed() -> None:
    """The plan reads the lines of the single path, so a new component needs no code here."""
    more = Component(Section.SYSTEM_OPERATION, "x", "x", "x", Decimal("0.00012345"), True)
    sheet = replace(PRICES.sheet, components=(*PRICES.sheet.components, more))
    shape = Shape("jibei", "commercial", "agency", "single_part", "lt1kV", DemandMode.NONE, Decimal("0.85"))
    assert_equal(shape, replace(PRICES, sheet=sheet), SEED + 400)


def test_periods_are_in_the_order_of_a_bill() -> None:
    assert PERIODS == (Period.TIP, Period.PEAK, Period.FLAT, Period.VALLEY, Period.DEEP)
    assert days_of_month(AUGUST)[-1] + timedelta(days=1) == SEPTEMBER
