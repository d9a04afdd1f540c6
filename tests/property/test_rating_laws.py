"""Laws of the tariff language: items, ladders, splits of a month, power factor runs, printed tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.billing import bill, evidence, facts, ladder, recompute, tariff
from cloud.billing.billjson import bill_from_text, bill_text
from cloud.billing.catalogue import AnyPrices, Buyer, Catalogue, LadderPrices
from cloud.billing.line import PERIODS, BillLine, Derivation, Period, Section, total_fen
from cloud.billing.segment import DemandMode, Segment, Terms, Usage
from cloud.billing.store.published import packaged_catalogue
from cloud.markettime import month_bounds

AUGUST, SEPTEMBER = date(2026, 8, 1), date(2026, 9, 1)
CATALOGUE = packaged_catalogue()
HOME = Terms("residential", "catalogue", "single_part", "lt1kV", DemandMode.NONE, None, None, None)
SHOP = Terms("commercial", "agency", "single_part", "lt1kV", DemandMode.NONE, None, None, None)
PACKAGES = ("demo-capped", "demo-fixed", "demo-green", "demo-ladder", "demo-linked", "demo-share", "demo-spread", "demo-tou")  # fmt: skip

kwhs = st.decimals(0, 10**6, places=2)
rising = st.lists(st.decimals(1, 10**5, places=1), min_size=1, max_size=4, unique=True).map(sorted)
energies_wh = st.integers(0, 10**9)


def usage_of(import_wh: tuple[int, ...], reactive_varh: int = 0) -> Usage:
    return Usage(import_wh, 0, reactive_varh, 0, (), 0)


def prices_of(terms: Terms, grid: str = "jibei", package: str = "", day: date = AUGUST) -> AnyPrices:
    return CATALOGUE.any_prices_on(day, Buyer(grid, terms.purchase, terms.category, terms.option, package))


@st.composite
def customers(draw: st.DrawFn) -> tuple[Terms, AnyPrices]:
    """Somebody of any way of purchase with shipped prices for August 2026."""
    match draw(st.sampled_from(["agency", "direct", "retail", "catalogue"])):
        case "catalogue":
            terms = replace(HOME, option=draw(st.sampled_from(["ladder", "ladder_tou", "shared"])))
            return terms, prices_of(terms)
        case "retail":
            terms = replace(SHOP, purchase="retail", voltage="1-10kV")
            return terms, prices_of(terms, package=f"{draw(st.sampled_from(PACKAGES))}@1")
        case "agency" if draw(st.booleans()):
            terms = replace(
                SHOP, structure="two_part", voltage="1-10kV", demand_mode=DemandMode.CAPACITY,
                capacity_kva=draw(st.integers(1, 10**5)), power_factor_standard=Decimal("0.90"),
            )  # fmt: skip
            return terms, prices_of(terms, draw(st.sampled_from(["jibei", "shanghai"])))
        case purchase:
            terms = replace(SHOP, purchase=purchase)
            return terms, prices_of(terms)


@st.composite
def whole_months(draw: st.DrawFn) -> tuple[tuple[Segment, AnyPrices], ...]:
    """August of one or two customers' terms, one after the other, as a mid-month change gives them."""
    cut = draw(st.integers(2, 31))
    edges = draw(st.sampled_from([(AUGUST, SEPTEMBER), (AUGUST, date(2026, 8, cut), SEPTEMBER)]))
    segments = []
    for first, end in pairwise(edges):
        terms, prices = draw(customers())
        wh = draw(st.tuples(*[energies_wh] * 5))
        segments.append((Segment(first, end, terms, usage_of(wh, draw(energies_wh))), prices))
    return tuple(segments)


def made(segments: tuple[tuple[Segment, AnyPrices], ...], given_: bill.Given) -> facts.Bill:
    priced = bill.priced(segments)
    account = facts.Account("1300000000001", "示范园区䶮光铸造厂", "示范园区1号")
    lines = bill.rate(priced, AUGUST, given_)
    now = month_bounds(AUGUST)[1]
    return facts.Bill(account, AUGUST, 1, now, tuple(map(facts.rated, priced)), lines, given=given_)


# -- any bill ------------------------------------------------------------------------------------------------------


@given(whole_months(), kwhs)
def test_every_kind_of_bill_survives_its_json_and_recomputes(
    segments: tuple[tuple[Segment, AnyPrices], ...], year_kwh: Decimal
) -> None:
    original = made(segments, bill.Given(year_kwh))
    again = bill_from_text(bill_text(original))

    assert again == original
    assert again.given == original.given
    assert recompute.check(again, CATALOGUE) == recompute.Checked((), ())
    assert original.lines == made(segments, bill.Given(year_kwh)).lines


@given(whole_months())
def test_items_add_up_to_their_line(segments: tuple[tuple[Segment, AnyPrices], ...]) -> None:
    lines = made(segments, bill.Given()).lines

    for line in lines:
        if line.items:
            assert sum(item.amount_fen for item in line.items) == line.amount_fen
            assert sum(item.price_yuan_per_unit for item in line.items) == line.price_yuan_per_unit
            assert len(line.items) > 1
    funds = [line for line in lines if line.section is Section.FUNDS]
    assert all(line.items or len(line.derivation.inputs) == 2 for line in funds)


@given(whole_months())
def test_a_forged_item_never_verifies(segments: tuple[tuple[Segment, AnyPrices], ...]) -> None:
    original = made(segments, bill.Given())
    for index, line in enumerate(original.lines):
        if line.items:
            first, *rest = line.items
            forged = replace(line, items=(replace(first, amount_fen=first.amount_fen + 1), *rest))
            lines = (*original.lines[:index], forged, *original.lines[index + 1 :])
            assert recompute.check(replace(original, lines=lines), CATALOGUE).problems


@given(st.tuples(*[energies_wh] * 5), st.sets(st.integers(2, 31), max_size=3), customers())
def test_splitting_a_month_without_changing_anything_changes_nothing(
    wh: tuple[int, ...], cuts: set[int], who: tuple[Terms, AnyPrices]
) -> None:
    terms, prices = who
    package = prices.package.head.origin if not isinstance(prices, LadderPrices) and prices.package else ""
    edges = (AUGUST, *(date(2026, 8, cut) for cut in sorted(cuts)), SEPTEMBER)
    split = [evidence.Stretch(first, end, terms, package) for first, end in pairwise(edges)]
    whole = [evidence.Stretch(AUGUST, SEPTEMBER, terms, package)]
    grid = prices.heads[0].grid

    assert evidence.priced_stretches(split, CATALOGUE, grid) == evidence.priced_stretches(
        whole, CATALOGUE, grid
    )


@given(
    st.sampled_from(("demo-ladder", "demo-capped")),
    st.lists(st.tuples(*[st.integers(0, 10**5)] * 5), min_size=2, max_size=2),
    st.integers(2, 31),
)
def test_a_ladder_and_a_cap_are_of_the_month_whatever_else_changes_in_it(
    package: str, kwh: list[tuple[int, ...]], cut: int
) -> None:
    """A transformer is exchanged on a day of the month; the package stays the same, and so does what it costs."""
    terms = replace(SHOP, purchase="retail", structure="two_part", voltage="1-10kV",
                    demand_mode=DemandMode.CAPACITY, capacity_kva=630)  # fmt: skip
    prices, day = prices_of(terms, package=f"{package}@1"), date(2026, 8, cut)
    first, second = (usage_of(tuple(1000 * each for each in part)) for part in kwh)
    both = usage_of(tuple(1000 * sum(pair) for pair in zip(*kwh, strict=True)))

    def bought(*segments: Segment) -> int:
        lines = bill.rate(bill.priced([(each, prices) for each in segments]), AUGUST)
        return total_fen(tuple(line for line in lines if line.section is Section.ENERGY))

    larger = replace(terms, capacity_kva=800)
    assert bought(Segment(AUGUST, day, terms, first), Segment(day, SEPTEMBER, larger, second)) == bought(
        Segment(AUGUST, SEPTEMBER, terms, both)
    )


@given(st.lists(st.tuples(*[energies_wh] * 5), min_size=1, max_size=4))
def test_the_kwh_of_a_split_month_add_up_to_those_of_the_whole(parts: list[tuple[int, ...]]) -> None:
    """Stretches with different terms each get what one counter of the month moved: nothing is rounded twice."""
    prices = prices_of(SHOP)
    days = [AUGUST + timedelta(number) for number in range(len(parts))] + [SEPTEMBER]
    split = bill.priced(
        [
            (Segment(*edges, SHOP, usage_of(wh)), prices)
            for edges, wh in zip(pairwise(days), parts, strict=True)
        ]
    )
    together = tuple(map(sum, zip(*parts, strict=True)))
    (whole,) = bill.priced([(Segment(AUGUST, SEPTEMBER, SHOP, usage_of(together)), prices)])

    assert sum(each.energy.total_kwh for each in split) == whole.energy.total_kwh


# -- ladder --------------------------------------------------------------------------------------------------------


@given(rising, kwhs, kwhs)
def test_tiers_sum_to_the_energy_and_only_the_last_is_open(
    limits: list[Decimal], before: Decimal, kwh: Decimal
) -> None:
    tiers = ladder.tier_kwh(limits, before, kwh)

    assert sum(tiers) == kwh
    assert all(each >= 0 for each in tiers)
    for limit, below, each in zip(limits, (Decimal(0), *limits), tiers, strict=False):
        assert each <= limit - below
        if each and before + kwh > limit:
            assert before + each >= limit or each == limit - below


@given(rising, kwhs, kwhs, kwhs)
def test_a_split_of_the_energy_gives_the_same_tiers(
    limits: list[Decimal], before: Decimal, first: Decimal, second: Decimal
) -> None:
    whole = ladder.tier_kwh(limits, before, first + second)
    parts = (ladder.tier_kwh(limits, before, first), ladder.tier_kwh(limits, before + first, second))

    assert whole == tuple(map(sum, zip(*parts, strict=True)))


@given(
    st.integers(0, 10**5),
    st.integers(0, 10**5),
    st.integers(0, 5000),
    st.sampled_from(["ladder", "ladder_tou"]),
)
def test_more_energy_or_a_later_position_never_costs_less(
    kwh: int, more: int, year_kwh: int, option: str
) -> None:
    terms = replace(HOME, option=option)
    prices = prices_of(terms)

    def fen(valley_kwh: int, before: int) -> int:
        index = PERIODS.index(Period.VALLEY if option == "ladder_tou" else Period.FLAT)
        wh = tuple(valley_kwh * 1000 if i == index else 0 for i in range(5))
        segments = bill.priced([(Segment(AUGUST, SEPTEMBER, terms, usage_of(wh)), prices)])
        return total_fen(bill.rate(segments, AUGUST, bill.Given(Decimal(before))))

    assert fen(kwh + more, year_kwh) >= fen(kwh, year_kwh)
    assert fen(kwh, year_kwh + more) >= fen(kwh, year_kwh)


# -- power factor over a change --------------------------------------------------------------------------------------


@st.composite
def charged(draw: st.DrawFn) -> tuple[tuple[BillLine, ...], tuple[tuple[date, date], ...]]:
    cuts = sorted(draw(st.sets(st.integers(2, 31), max_size=3)))
    edges = (AUGUST, *(date(2026, 8, cut) for cut in cuts), SEPTEMBER)
    lines = []
    for _ in range(draw(st.integers(1, 4))):
        first, end = sorted(draw(st.sets(st.integers(0, 31), min_size=2, max_size=2)))
        days = Derivation("kwh", (), AUGUST + timedelta(first), AUGUST + timedelta(end))
        amount = draw(st.integers(-(10**9), 10**9))
        lines.append(BillLine(Section.BASIC, "x", None, Decimal(1), "kW", Decimal(1), amount, days))
    return tuple(lines), tuple(pairwise(edges))


@given(charged())
def test_charges_shared_by_days_keep_their_sum(
    case: tuple[tuple[BillLine, ...], tuple[tuple[date, date], ...]],
) -> None:
    lines, spans = case

    shared = bill.shared_by_days(lines, spans)

    assert sum(line.amount_fen for own in shared for line in own) == total_fen(lines)
    for (first, end), own in zip(spans, shared, strict=True):
        for line in own:
            assert first <= line.derivation.first_day < line.derivation.end_day <= end


def test_a_standard_that_changes_inside_the_month_adjusts_each_part_of_the_basic_charge_by_its_own() -> None:
    """1250 kVA x 23.6 = 29,500.00; 10 of 31 days are 9,516.13, 21 of 31 are 19,983.87 (by hand)."""
    own = Terms(
        "commercial", "agency", "two_part", "1-10kV", DemandMode.CAPACITY, 1250, None, Decimal("0.90")
    )
    later = replace(own, power_factor_standard=Decimal("0.85"))
    prices, cut = prices_of(own), date(2026, 8, 11)
    nothing, poor = usage_of((0,) * 5), usage_of((0, 0, 0, 0, 1000), 1000)
    lines = bill.rate(
        bill.priced(
            [(Segment(AUGUST, cut, own, nothing), prices), (Segment(cut, SEPTEMBER, later, poor), prices)]
        ),
        AUGUST,
    )
    first, second = (line for line in lines if line.section is Section.POWER_FACTOR)

    assert first.quantity == Decimal("9516.13")
    energy = sum(
        line.amount_fen
        for line in lines
        if line.section not in (Section.FUNDS, Section.BASIC, Section.POWER_FACTOR)
    )
    assert second.quantity == Decimal("19983.87") + Decimal(energy) / 100
    assert dict(second.derivation.notes)["power_factor"] == "0.71"


# -- printed tables ------------------------------------------------------------------------------------------------

SHEETS = [
    (sheet, row) for sheet in CATALOGUE.files if isinstance(sheet, tariff.PriceSheet) for row in sheet.printed
]


def test_the_shipped_tables_are_complete() -> None:
    rows = [sheet.head.id for sheet, _ in SHEETS]

    assert rows.count("jibei-agency-2026-08") == 10
    assert rows.count("hubei-agency-2026-01") == 7
    assert rows.count("shanghai-agency-2026-08") == 5


@pytest.mark.parametrize(
    ("sheet", "row"), SHEETS, ids=[f"{s.head.grid}-{r.structure}-{r.voltage}" for s, r in SHEETS]
)
def test_a_kwh_of_each_period_costs_what_the_notice_prints(
    sheet: tariff.PriceSheet, row: tariff.PrintedRow
) -> None:
    """All ten rows of Jibei, seven of Hubei, five of Shanghai: the prices of a bill's lines are the printed one."""
    mode = DemandMode.CAPACITY if row.structure == "two_part" else DemandMode.NONE
    terms = Terms("commercial", "agency", row.structure, row.voltage, mode, 1, None, None)
    day = sheet.head.effective_from
    prices = prices_of(terms, sheet.head.grid, day=day)
    segment = Segment(day, day + timedelta(31), terms, usage_of((1000,) * 5))
    lines = bill.rate(bill.priced([(segment, prices)]), day)

    for period, printed in zip(PERIODS, row.prices_yuan_per_kwh, strict=True):
        if printed is not None:
            own = [line for line in lines if line.unit == "kWh" and line.period in (None, period)]
            assert sum(line.price_yuan_per_unit for line in own) == printed, period


def test_the_published_defects_of_hubei_are_found_and_no_others() -> None:
    """tariffs-and-settlement 5.4: single-part 0.0002 low, peak at 1.49 or 1.495, items 0.0043 short."""
    found = [(each.rule, dict(each.facts)) for each in CATALOGUE.findings()]
    peaks = [told for rule, told in found if told.get("period") == "peak"]
    flats = [told for rule, told in found if told.get("period") == "flat"]
    items = [told for rule, told in found if rule == "printed_items_differ"]

    assert {told["sheet"] for _, told in found} == {"hubei-agency-2026-01@1"}
    assert len(peaks) == 7
    assert {told["structure"] for told in flats} == {"single_part"}
    assert {Decimal(told["recomputed"]) - Decimal(told["printed"]) for told in flats} == {Decimal("0.0002")}
    assert [Decimal(told["printed"]) - Decimal(told["recomputed"]) for told in items] == [Decimal("0.0043")]
    assert len(found) == 7 + 3 + 1


def test_another_sheet_of_the_same_grid_keeps_its_own_findings() -> None:
    jibei = Catalogue(tuple(each for each in CATALOGUE.files if each.head.grid in ("jibei", "cn")))

    assert jibei.findings() == ()
