"""Laws of money and rating: sums, order, additivity, and every amount from its derivation alone."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloud import money
from cloud.billing import bill, facts, powerfactor, recompute
from cloud.billing.billjson import bill_from_text, bill_text
from cloud.billing.catalogue import Buyer, Catalogue
from cloud.billing.document import bill_document
from cloud.billing.labels import Language
from cloud.billing.line import PERIODS, BillLine, Section, total_fen
from cloud.billing.pricefile import price_file_from
from cloud.billing.segment import Demand, DemandMode, Segment, Terms, Usage, usage_from
from cloud.billing.store.published import packaged_catalogue, packaged_texts
from cloud.markettime import month_bounds
from cloud.metering.interval import IntervalDay, IntervalQuality

AUGUST, SEPTEMBER = date(2026, 8, 1), date(2026, 9, 1)
CATALOGUE = packaged_catalogue()
PRICES = CATALOGUE.prices_on(AUGUST, Buyer("jibei", "agency", "commercial"))
VOLTAGES = ("lt1kV", "1-10kV", "35kV", "110kV", "ge220kV")

energies_wh = st.integers(0, 10**12)
usages = st.builds(
    Usage,
    import_wh=st.tuples(*[energies_wh] * 5),
    export_wh=energies_wh,
    import_varh=energies_wh,
    export_varh=energies_wh,
    demands=st.integers(0, 10**9).map(lambda w: (Demand("SP1", Decimal(w) / 1000, AUGUST, 40),)),
    estimated_slots=st.just(0),
)


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    two_part = draw(st.booleans())
    modes = st.sampled_from([DemandMode.CAPACITY, DemandMode.CONTRACTED, DemandMode.ACTUAL])
    return Terms(
        "commercial",
        "agency",
        "two_part" if two_part else "single_part",
        draw(st.sampled_from(VOLTAGES)),
        draw(modes) if two_part else DemandMode.NONE,
        draw(st.integers(1, 10**6)),
        draw(st.integers(1, 10**6)),
        draw(st.sampled_from([None, Decimal("0.80"), Decimal("0.85"), Decimal("0.90")])),
    )


@st.composite
def months(draw: st.DrawFn) -> tuple[Segment, ...]:
    """A month of one to four segments that leave no day out."""
    cuts = sorted(draw(st.sets(st.integers(2, 31), max_size=3)))
    edges = (AUGUST, *(date(2026, 8, cut) for cut in cuts), SEPTEMBER)
    return tuple(Segment(first, end, draw(terms()), draw(usages)) for first, end in pairwise(edges))


def rated(segments: tuple[Segment, ...]) -> tuple[tuple[bill.PricedSegment, ...], tuple[BillLine, ...]]:
    priced = bill.priced([(segment, PRICES) for segment in segments])
    return priced, bill.rate(priced, AUGUST)


def made(segments: tuple[Segment, ...]) -> facts.Bill:
    priced, lines = rated(segments)
    account = facts.Account("1300000000001", "示范园区䶮光铸造厂", "示范园区1号")
    now = month_bounds(AUGUST)[1]
    return facts.Bill(account, AUGUST, 1, now, tuple(map(facts.rated, priced)), lines)


def fen_by_hand(line: BillLine) -> int:
    """An evaluator of derivations that shares nothing with the program: Python's own, over fractions."""
    names = {each.name: Fraction(str(each.value)) for each in line.derivation.inputs}
    formula = re.sub(r"\b(\d+)\b", r"number(\1)", line.derivation.formula)
    names |= {"number": Fraction, "fen": lambda x: Fraction(cents(x), 100)}  # type: ignore[dict-item]
    return cents(eval(formula, {"__builtins__": {}}, names))


def cents(value: Fraction) -> int:
    whole = int(abs(value) * 100 + Fraction(1, 2))
    return whole if value >= 0 else -whole


# -- money ---------------------------------------------------------------------------------------------------------


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
def test_shares_add_up_to_the_whole(whole: int, weights: list[int]) -> None:
    weights[0] += 1
    shares = money.shares(whole, weights)

    assert sum(shares) == whole
    exact = [Fraction(whole * weight, sum(weights)) for weight in weights]
    last = max(index for index, weight in enumerate(weights) if weight)
    assert all(
        abs(a - b) <= Fraction(1, 2) for i, (a, b) in enumerate(zip(shares, exact, strict=True)) if i != last
    )


@given(
    st.lists(st.lists(st.integers(0, 10**7), min_size=5, max_size=5), min_size=1, max_size=5),
    st.sampled_from([1, 10, 1000]),
)
def test_whole_parts_run_like_one_counter(stretches: list[list[int]], unit: int) -> None:
    before, units = 0, 0
    for parts in stretches:
        whole = money.whole_parts(parts, unit, before)
        assert all(abs(each * unit - part) < unit for each, part in zip(whole, parts, strict=True))
        assert all(each == 0 for each, part in zip(whole, parts, strict=True) if part == 0)
        before, units = before + sum(parts), units + sum(whole)
        assert abs(units * unit - before) * 2 <= unit


@given(st.decimals(-(10**9), 10**9, places=4), st.decimals(-100, 100, places=8))
def test_fen_differ_from_the_exact_product_by_at_most_half_a_fen(quantity: Decimal, price: Decimal) -> None:
    exact = Fraction(quantity) * Fraction(price) * 100
    fen = money.fen_for(quantity, price)

    assert abs(fen - exact) <= Fraction(1, 2)
    assert money.fen_for(-quantity, price) == -fen


# -- rating --------------------------------------------------------------------------------------------------------


@given(months())
def test_the_lines_are_the_bill(segments: tuple[Segment, ...]) -> None:
    priced, lines = rated(segments)

    total = sum(total_fen(tuple(line for line in lines if line.section is section)) for section in Section)
    assert total == total_fen(lines) == made(segments).total_fen
    energy = [line for line in lines if line.section is Section.ENERGY]
    assert len(energy) == 5 * len(segments)  # zero lines stay
    assert sum(line.quantity for line in energy) == sum(each.energy.total_kwh for each in priced)


@given(months())
def test_every_amount_follows_from_its_derivation_alone(segments: tuple[Segment, ...]) -> None:
    for line in rated(segments)[1]:
        assert fen_by_hand(line) == line.amount_fen, line


@given(months())
def test_a_bill_survives_its_json_and_recomputes(segments: tuple[Segment, ...]) -> None:
    original = made(segments)
    text = bill_text(original)

    assert bill_from_text(text) == original
    assert bill_text(bill_from_text(text)) == text
    checked = recompute.check(bill_from_text(text), CATALOGUE)
    assert checked == recompute.Checked((), ())


@given(months(), st.data())
def test_a_changed_amount_never_verifies(segments: tuple[Segment, ...], data: st.DataObject) -> None:
    content = bill_text(made(segments))
    original = bill_from_text(content)
    index = data.draw(st.integers(0, len(original.lines) - 1))
    line = original.lines[index]
    wrong = BillLine(
        line.section, line.item, line.period, line.quantity, line.unit, line.price_yuan_per_unit,
        line.amount_fen + data.draw(st.sampled_from([-1, 1])), line.derivation,
    )  # fmt: skip
    lines = (*original.lines[:index], wrong, *original.lines[index + 1 :])
    forged = facts.Bill(
        original.account, original.month, original.revision, original.made_at, original.segments, lines
    )

    assert f"line {index + 1} " in recompute.check(forged, CATALOGUE).problems[0]


@given(st.lists(energies_wh, min_size=5, max_size=5), terms())
def test_rating_is_additive_over_periods(kwh: list[int], own: Terms) -> None:
    """All periods at once give the same energy lines as one period at a time."""
    thousand = tuple(wh // 1000 * 1000 for wh in kwh)

    def energy_fen(import_wh: tuple[int, ...]) -> int:
        usage = Usage(import_wh, 0, 0, 0, (), 0)
        lines = rated((Segment(AUGUST, SEPTEMBER, own, usage),))[1]
        return total_fen(tuple(line for line in lines if line.section is Section.ENERGY))

    alone = [tuple(wh if i == index else 0 for i, wh in enumerate(thousand)) for index in range(5)]
    assert energy_fen(thousand) == sum(map(energy_fen, alone))


@given(usages, terms(), st.integers(2, 31))
def test_a_change_that_changes_nothing_costs_nothing_in_the_basic_charge(
    usage: Usage, own: Terms, cut: int
) -> None:
    """Segments with equal terms are one service: the capacity of a whole month is paid once, not 31/30 times."""
    middle = date(2026, 8, cut)
    nothing = Usage((0,) * 5, 0, 0, 0, (), 0)

    def basic_fen(segments: tuple[Segment, ...]) -> list[int]:
        return [line.amount_fen for line in rated(segments)[1] if line.section is Section.BASIC]

    whole = basic_fen((Segment(AUGUST, SEPTEMBER, own, usage),))
    parts = basic_fen((Segment(AUGUST, middle, own, usage), Segment(middle, SEPTEMBER, own, nothing)))
    assert whole == parts


@st.composite
def interval_days(draw: st.DrawFn) -> list[IntervalDay]:
    days = []
    for number in range(1, draw(st.integers(1, 3)) + 1):
        for point in ("SP1", "SP2"):
            curve = draw(st.lists(st.integers(0, 10**6), min_size=96, max_size=96))
            curves = (tuple(curve), (0,) * 96, tuple(reversed(curve)), (1,) * 96)
            days.append(
                IntervalDay(point, date(2026, 8, number), 1, *curves, (int(IntervalQuality.ACTUAL),) * 96)
            )
    return days


@given(interval_days(), st.randoms(use_true_random=False))
def test_the_order_of_intervals_changes_nothing_and_no_energy_is_lost(
    days: list[IntervalDay], chance: object
) -> None:
    shuffled = list(days)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]

    usage = usage_from(days, PRICES.calendar)

    assert usage == usage_from(shuffled, PRICES.calendar)
    assert usage.total_wh == sum(wh or 0 for day in days for wh in day.import_wh)
    by_period = [sum(day.import_wh[index] for day in usage.days) for index in range(len(PERIODS))]
    assert tuple(by_period) == usage.import_wh
    for demand in usage.demands:
        own = [
            wh or 0 for day in days if day.supply_point_id == demand.supply_point_id for wh in day.import_wh
        ]
        assert demand.demand_kw * 1000 == max(own) * 4


@given(months(), st.data())
def test_equal_inputs_have_one_hash_and_any_other_input_another(
    segments: tuple[Segment, ...], data: st.DataObject
) -> None:
    def hash_of(changed: tuple[Segment, ...], month: date = AUGUST, account: str = "1300000000001") -> bytes:
        return facts.input_sha256(account, month, bill.priced([(each, PRICES) for each in changed]))

    first, *rest = segments
    usage, own = first.usage, first.terms
    period = data.draw(st.integers(0, 4))
    more = tuple(wh + (index == period) for index, wh in enumerate(usage.import_wh))
    (demand,) = usage.demands
    others = [
        *(replace(first, usage=replace(usage, **{name: getattr(usage, name) + 1})) for name in (
            "export_wh", "import_varh", "export_varh", "estimated_slots")),
        replace(first, usage=replace(usage, import_wh=more)),
        replace(first, usage=replace(usage, demands=(replace(demand, demand_kw=demand.demand_kw + 1),))),
        *(replace(first, terms=replace(own, **change)) for change in (
            {"capacity_kva": 0}, {"contract_demand_kw": 0}, {"voltage": "?"}, {"structure": "?"},
            {"demand_mode": DemandMode.NONE if own.demand_mode is not DemandMode.NONE else DemandMode.ACTUAL},
            {"power_factor_standard": Decimal("0.70")})),
        replace(first, end_day=date(2026, 9, 2)),
    ]  # fmt: skip
    changed = [segment for segment in others if segment != first]

    hashes = {hash_of((segment, *rest)) for segment in changed}
    assert hash_of(segments) == hash_of((first, *rest))
    assert hash_of(segments) not in hashes | {hash_of(segments, SEPTEMBER), hash_of(segments, account="2")}
    assert len(hashes) == len(changed)


def test_another_text_of_a_price_file_is_another_input() -> None:
    own = Terms("commercial", "agency", "single_part", "lt1kV", DemandMode.NONE, None, None, None)
    segment = Segment(AUGUST, SEPTEMBER, own, Usage((0,) * 5, 0, 0, 0, (), 0))
    hashes = set()
    for changed in (None, *(each.name for each in packaged_texts())):
        files = [
            price_file_from(each.name, each.text + "#" * (each.name == changed)) for each in packaged_texts()
        ]
        prices = Catalogue(tuple(files)).prices_on(AUGUST, Buyer("jibei", "agency", "commercial"))
        hashes.add(facts.input_sha256("1300000000001", AUGUST, bill.priced([(segment, prices)])))

    assert len(hashes) == 1 + 6  # the six files in force; the calendar of 2023 is not


# -- power factor --------------------------------------------------------------------------------------------------


@given(st.integers(1, 10**15), st.integers(0, 10**15))
def test_the_power_factor_is_rounded_half_up_from_the_exact_root(active_wh: int, reactive_varh: int) -> None:
    """k is right when (k - 1/2)/100 <= P/S < (k + 1/2)/100, compared in squares."""
    factor = powerfactor.power_factor_of(active_wh, reactive_varh, Decimal("0.01"))
    assert factor is not None
    square = Fraction(active_wh**2, active_wh**2 + reactive_varh**2)
    low, high = Fraction(factor) - Fraction(1, 200), Fraction(factor) + Fraction(1, 200)

    assert low <= 0 or low**2 <= square
    assert square < high**2


@given(st.integers(0, 100), st.sampled_from(["0.80", "0.85", "0.90"]))
def test_a_better_power_factor_never_costs_more(hundredths: int, standard: str) -> None:
    table = PRICES.power_factor.table(Decimal(standard))
    assert table is not None
    here, better = (table.percent_at(Decimal(each) / 100) for each in (hundredths, min(hundredths + 1, 100)))

    assert better <= here


@given(months())
def test_rounding_per_line_is_within_a_fen_per_line(segments: tuple[Segment, ...]) -> None:
    texts = {each.name: each.text for each in packaged_texts()}
    name = "cn-power-factor-1983-215.toml"
    texts[name] = texts[name].replace('amount_rounding = "total"', 'amount_rounding = "per_line"')
    other = Catalogue(tuple(price_file_from(file, text) for file, text in texts.items()))
    prices = other.prices_on(AUGUST, Buyer("jibei", "agency", "commercial"))
    lines = bill.rate(bill.priced([(segment, prices) for segment in segments]), AUGUST)

    assert abs(total_fen(lines) - total_fen(rated(segments)[1])) <= len(lines)
    assert all(fen_by_hand(line) == line.amount_fen for line in lines)


# -- print ---------------------------------------------------------------------------------------------------------


@given(months(), st.sampled_from(list(Language)))
def test_a_printed_bill_shows_every_line_and_its_checks_agree(
    segments: tuple[Segment, ...], language: Language
) -> None:
    original = made(segments)

    document = bill_document(original, language)

    rows = [row for group in document.groups for row in group.rows]
    assert sorted(int(row.amount.raw) for row in rows) == sorted(line.amount_fen for line in original.lines)
    assert (
        sum(int(group.subtotal.raw) for group in document.groups) == document.total.raw == original.total_fen
    )
    assert all(check.agrees for check in document.checks)
    for row in rows:
        shown = Decimal(row.amount.text.replace(",", "").replace("−", "-"))
        assert shown * 100 == row.amount.raw
        assert "_" not in row.how.formula  # every name has words
