"""Laws of retail packages, whatever the prices and the energy."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import retail_texts as texts
from hypothesis import given
from hypothesis import strategies as st

from cloud.billing import retail
from cloud.billing.formula import fen_by
from cloud.billing.line import PERIODS, Period
from cloud.billing.package import Package, References
from cloud.billing.store.published import packaged_catalogue
from cloud.billing.tariff import Energy
from cloud.money import fen_for, yuan

CATALOGUE = packaged_catalogue()
CALENDAR = CATALOGUE.calendar_on(date(2026, 8, 1), "jibei")
(REFERENCES,) = (each for each in CATALOGUE.files if isinstance(each, References))
PACKAGES = tuple(each for each in CATALOGUE.files if isinstance(each, Package))
HALF = Decimal("0.0000005")

energies = st.tuples(*(st.integers(0, 5_000_000) for _ in PERIODS)).map(
    lambda kwh: Energy(tuple(map(Decimal, kwh)), date(2026, 8, 1), date(2026, 9, 1))
)
prices = st.integers(0, 2_000_000).map(lambda ticks: Decimal(ticks).scaleb(-6))
shares = st.integers(0, 1000).map(lambda ticks: Decimal(ticks).scaleb(-3))
rows = st.tuples(*(prices for _ in PERIODS))


@given(st.sampled_from(PACKAGES), energies)
def test_every_line_follows_from_its_derivation_alone(package: Package, energy: Energy) -> None:
    for line in retail.package_lines(energy, package, REFERENCES, CALENDAR):
        inputs = {each.name: each.value for each in line.derivation.inputs}
        assert fen_by(line.derivation.formula, inputs) == line.amount_fen


@given(energies, rows, prices)
def test_a_cap_never_raises_the_fee_and_is_never_exceeded(
    energy: Energy, row: tuple[Decimal, ...], cap: Decimal
) -> None:
    fixed = texts.by_period("formula.fixed_price", tuple(map(str, row)))
    plain = texts.package('form = "fixed"\n', below=fixed)
    capped = texts.package('form = "fixed"\n', f'cap_yuan_per_kwh = "{cap}"\n', fixed)

    before = sum(line.amount_fen for line in retail.package_lines(energy, plain, None, CALENDAR))
    after = sum(line.amount_fen for line in retail.package_lines(energy, capped, None, CALENDAR))

    assert after == min(before, fen_for(energy.total_kwh, cap))
    assert yuan(after) <= energy.total_kwh * cap + Decimal("0.005")


@given(energies, rows, prices)
def test_scaling_every_price_is_the_cap_within_half_a_fen_for_each_line(
    energy: Energy, row: tuple[Decimal, ...], cap: Decimal
) -> None:
    kwh = energy.total_kwh
    fee = sum(fen_for(each, price) for each, price in zip(energy.kwh, row, strict=True))
    if not kwh or yuan(fee) <= kwh * cap:
        return

    factor = cap * kwh / yuan(fee)
    scaled = sum(each * price * factor for each, price in zip(energy.kwh, row, strict=True))
    capped = retail.capped_fen(fee, kwh, cap)

    # The average is taken from the rounded lines (tariffs-and-settlement 9.4): half a fen a line, scaled, and its own.
    assert abs(scaled - yuan(capped)) <= Decimal("0.005") * (len(row) * factor + 1)


@given(prices, prices, shares)
def test_a_linked_price_lies_between_its_two_prices(fixed: Decimal, linked: Decimal, ratio: Decimal) -> None:
    price = retail.linked_price(fixed, linked, ratio)

    assert min(fixed, linked) <= price <= max(fixed, linked)
    assert retail.linked_price(fixed, linked, Decimal(0)) == fixed
    assert retail.linked_price(fixed, linked, Decimal(1)) == linked


@given(prices, prices, shares)
def test_spread_sharing_ends_at_the_reference_and_at_the_market(
    reference: Decimal, average: Decimal, share: Decimal
) -> None:
    assert retail.shared_price(reference, average, Decimal(0)) == reference
    assert retail.shared_price(reference, average, Decimal(1)) == average
    price = retail.shared_price(reference, average, share)
    assert min(reference, average) <= price <= max(reference, average)


@given(rows)
def test_corrected_prices_keep_the_ratios_and_the_flat_price(row: tuple[Decimal, ...]) -> None:
    limits = tuple(map(Decimal, ("1.8", "1.6", "1", "0.4", "0.3")))

    right = dict(zip(PERIODS, retail.corrected_prices(row, limits, Decimal("0.000001")), strict=True))

    flat = right[Period.FLAT]
    assert flat == row[PERIODS.index(Period.FLAT)]
    assert right[Period.TIP] >= flat * limits[0] - HALF
    assert right[Period.PEAK] >= flat * limits[1] - HALF
    assert right[Period.VALLEY] <= flat * limits[3] + HALF
    assert right[Period.DEEP] <= flat * limits[4] + HALF
    again = retail.corrected_prices(tuple(right.values()), limits, Decimal("0.000001"))
    assert again == tuple(right.values())


@given(
    st.integers(0, 10_000_000).map(Decimal),
    st.lists(st.integers(1, 5_000_000), max_size=6, unique=True).map(sorted),
)
def test_tiers_neither_make_nor_lose_energy(kwh: Decimal, starts: list[int]) -> None:
    edges = (Decimal(0), *map(Decimal, starts))

    parts = retail.tier_kwh(kwh, edges)

    assert sum(parts) == kwh
    assert all(part >= 0 for part in parts)
    assert all(
        not later or part == end - start
        for part, later, start, end in zip(parts, parts[1:], edges, edges[1:], strict=False)
    )
