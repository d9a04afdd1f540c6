"""Laws of market settlement on random markets: money and energy are conserved, every amount follows from its derivation."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_worlds import MONTH, World, rule, worlds

from cloud.billing.formula import fen_by
from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.contracts.volumes import contract_curve, months_of_year, spread
from cloud.market.allocation import allocate
from cloud.market.balance import Unbalanced, balance
from cloud.market.deviation import deviation_amount
from cloud.market.line import Item, SettlementLine, Side
from cloud.market.month import MarketMonth, by_period, mwh, settled_kwh, stretches
from cloud.market.spot import SpotPeriod, difference_parts, quantity_parts
from cloud.markettime import days_of_month

FEW = settings(max_examples=25, deadline=None)
numbers = st.integers(-(10**7), 10**7).map(lambda milli: Decimal(milli).scaleb(-3))


def _everything(world: World) -> tuple[SettlementLine, ...]:
    own = world.own_lines()
    return (*own, *balance(world.market, world.units, world.contracts, own).lines)


def _follows(line: SettlementLine) -> bool:
    inputs = {each.name: each.value for each in line.derivation.inputs}
    return fen_by(line.derivation.formula, inputs) == line.amount_fen


@given(worlds(spot=False))
@FEW
def test_a_month_without_spot_adds_up_to_zero_to_the_fen(world: World) -> None:
    lines = _everything(world)

    paid = sum(line.amount_fen for line in lines if line.side in (Side.USER, Side.RETAILER))
    received = sum(-line.amount_fen for line in lines if line.side in (Side.GENERATOR, Side.GRID))
    assert paid == received
    assert not [line for line in lines if line.item is Item.ROUNDING]


@given(worlds(spot=True))
@settings(max_examples=4, deadline=None)
def test_a_month_with_spot_adds_up_to_zero_and_only_rounding_is_left(world: World) -> None:
    lines = _everything(world)

    assert sum(line.amount_fen for line in lines) == 0
    rounding = sum(abs(line.amount_fen) for line in lines if line.item is Item.ROUNDING)
    assert 2 * rounding <= len(lines)


@given(worlds(spot=False))
@FEW
def test_every_amount_follows_from_its_derivation(world: World) -> None:
    assert [line for line in _everything(world) if not _follows(line)] == []


@given(worlds(spot=True))
@settings(max_examples=4, deadline=None)
def test_every_amount_of_a_spot_month_follows_from_its_derivation(world: World) -> None:
    assert [line for line in _everything(world) if not _follows(line)] == []


@given(worlds(spot=False))
@FEW
def test_a_difference_is_given_away_to_the_fen_and_under_its_name(world: World) -> None:
    own = world.own_lines()
    books = balance(world.market, world.units, world.contracts, own)

    caused = {each.name: each.amount_fen for each in books.conservation.differences}
    given_away = Counter[str]()
    for line in books.lines:
        given_away[line.difference] -= line.amount_fen
    assert {name: fen for name, fen in given_away.items() if fen} == caused


@given(worlds(spot=False), st.data())
@FEW
def test_a_line_that_is_lost_or_changed_is_seen(world: World, data: st.DataObject) -> None:
    own = world.own_lines()
    moved = [n for n, line in enumerate(own) if line.item in (Item.CONTRACT, Item.GREEN) and line.amount_fen]
    if not moved:
        return
    number = data.draw(st.sampled_from(moved))
    changed = replace(own[number], amount_fen=own[number].amount_fen + 1)

    for wrong in ((*own[:number], *own[number + 1 :]), (*own[:number], changed, *own[number + 1 :])):
        with pytest.raises(Unbalanced):
            balance(world.market, world.units, world.contracts, wrong)


@given(worlds(spot=True))
@settings(max_examples=4, deadline=None)
def test_both_spot_forms_are_the_same_money_but_for_the_rounding_of_lines(world: World) -> None:
    reference = str(world.market.rule.reference)
    totals = {}
    for name in ("two-settlement", "two-settlement-cfd"):
        market = replace(world.market, rule=rule(name, reference=reference))
        lines = World(market, world.units, world.contracts).own_lines()
        totals[name] = {
            unit.unit_id: [line.amount_fen for line in lines if line.unit_id == unit.unit_id]
            for unit in world.units
        }

    for unit_id, by_quantity in totals["two-settlement"].items():
        by_difference = totals["two-settlement-cfd"][unit_id]
        assert 2 * abs(sum(by_quantity) - sum(by_difference)) <= len(by_quantity) + len(by_difference)


@given(*[numbers] * 6, st.booleans())
def test_the_two_forms_are_equal_before_rounding(
    contract: Decimal, price: Decimal, ahead: Decimal, ahead_price: Decimal, actual: Decimal, real_time: Decimal,
    is_reference_real_time: bool,
) -> None:  # fmt: skip
    period = SpotPeriod(contract, price, ahead, ahead_price, actual, real_time, is_reference_real_time)

    assert sum(map(Fraction, quantity_parts(period))) == sum(map(Fraction, difference_parts(period)))


@given(st.integers(-(10**9), 10**9), st.lists(st.integers(0, 10**9), min_size=1, max_size=12).filter(any))
def test_an_allocation_adds_up_and_only_the_last_is_off(surplus: int, weights: list[int]) -> None:
    shares = allocate("x", surplus, [(str(number), weight) for number, weight in enumerate(weights)])

    assert sum(share.amount_fen for share in shares) == surplus
    assert sum(share.is_last for share in shares) == 1
    for share in shares:
        exact = Fraction(surplus * share.weight_kwh, sum(weights))
        assert share.is_last or abs(share.amount_fen - exact) <= Fraction(1, 2)


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=300).filter(any))
def test_a_volume_is_spread_to_the_last_kwh(volume: int, weights: list[int]) -> None:
    parts = spread(volume, weights)

    assert sum(parts) == volume
    assert min(parts) >= 0
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(volume * weight, sum(weights))) < 1
        assert weight or part == 0


@given(
    st.lists(st.integers(0, 5 * 10**6), min_size=3, max_size=3),
    st.sampled_from([Shape.FLAT, Shape.CURVE, Shape.LOAD]),
    st.lists(st.integers(1, 999), min_size=24, max_size=24),
)
@FEW
def test_a_contract_is_laid_out_over_its_month_to_the_last_kwh(
    volumes_kwh: list[int], shape: Shape, weights: list[int]
) -> None:
    named = rule("889-demo", period="named")
    load = tuple(tuple(weights[(slot + day) % 24] for slot in range(96)) for day in range(28))
    terms = WholesaleTerms(
        "C", 1, ContractKind.BILATERAL, "s", "b", MONTH, "doc", shape,
        tuple(weights) if shape is Shape.CURVE else (),
        tuple(
            Volume(MONTH, label, Decimal(kwh).scaleb(-3), Decimal(1), Decimal(0))
            for label, kwh in zip(("valley", "flat", "peak"), volumes_kwh, strict=True)
        ),
    )  # fmt: skip

    curve = contract_curve(terms, MONTH, named, load)

    assert len(curve) == len(days_of_month(MONTH)) == 28
    assert dict(zip(named.labels(MONTH), by_period(named, MONTH, curve), strict=True)) == {
        "valley": volumes_kwh[0],
        "flat": volumes_kwh[1],
        "peak": volumes_kwh[2],
    }


@given(st.integers(0, 10**10), st.integers(2024, 2040))
def test_a_year_is_spread_over_its_months(volume: int, year: int) -> None:
    months = months_of_year(volume, year)

    assert sum(kwh for _, kwh in months) == volume
    days = sum(len(days_of_month(month)) for month, _ in months)
    for month, kwh in months:
        assert abs(kwh - Fraction(volume * len(days_of_month(month)), days)) < 1


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=100))
def test_periods_add_up_to_the_rounded_month(parts_wh: list[int]) -> None:
    assert sum(settled_kwh(parts_wh)) == (2 * sum(parts_wh) + 1000) // 2000


@given(st.sampled_from(["889-demo", "fujian-band", "ningxia-band", "sichuan-band"]), numbers, numbers)
def test_a_deviation_is_priced_whole_and_nothing_of_it_twice(
    name: str, contract: Decimal, actual: Decimal
) -> None:
    contract, actual = abs(contract), abs(actual)
    prices = {key: Decimal(400) for key in (
        "up_regulation_average", "down_regulation_average", "auction_highest", "auction_lowest", "auction_uniform",
        "incremental_cap", "contract_price_with_transmission",
    )}  # fmt: skip
    side = rule(name).user
    assert side is not None

    found = deviation_amount(side, contract, actual, prices)

    priced = sum(part.quantity_mwh for part in found.parts if part.kind != "assessment")
    assert priced == abs(actual - contract) == abs(found.deviation_mwh)
    assert found.assessed_mwh <= abs(found.deviation_mwh)


def test_stretches_cut_a_month_without_gap() -> None:
    for each in (
        rule("889-demo"),
        rule("889-demo", period="named"),
        rule("two-settlement"),
        rule("two-settlement", period="quarter"),
    ):
        pieces = stretches(each, MONTH)

        assert [piece.start for piece in pieces] == [0, *(piece.end for piece in pieces[:-1])]
    assert MarketMonth(MONTH, rule("889-demo"), {}).prices == {}
    assert mwh(1234567) == Decimal("1234.567")
