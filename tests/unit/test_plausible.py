"""Doubts about declarations: slips of the unit, the same twice, and nothing said of what is usual."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.market.orders import Rules
from cloud.market.plausible import Doubt, Kind, Meant, doubts, meant

USUAL = [{1: 12_000, 2: 15_000}, {1: 11_000, 2: 16_000}, {1: 12_500, 2: 14_000}]
RULES = Rules(period_count=24, price_min_ticks=29760, price_max_ticks=44640, margin_rate_pct=Decimal(5))


@pytest.mark.parametrize(
    ("declared", "factor"),
    [
        ({1: 12_000_000, 2: 15_000_000}, Fraction(1000)),  # kWh written where MWh are asked
        ({1: 120_000, 2: 150_000}, Fraction(10)),
        ({1: 1_200, 2: 1_500}, Fraction(1, 10)),
        ({1: 12, 2: 15}, Fraction(1, 1000)),
    ],
)
def test_a_slip_of_the_unit_is_told_once_for_the_whole(declared: dict[int, int], factor: Fraction) -> None:
    (doubt,) = doubts(declared, USUAL)

    assert (doubt.kind, doubt.period, doubt.factor) == (Kind.FACTOR, None, factor)
    assert doubt.usual_kwh == 27_000


def test_a_slip_in_one_period_is_told_with_its_period() -> None:
    assert doubts({1: 12_000, 2: 1_500}, USUAL) == (Doubt(Kind.FACTOR, 2, 1_500, 15_000, Fraction(1, 10)),)


def test_the_same_once_more_is_told() -> None:
    (doubt,) = doubts({1: 12_000, 2: 15_000}, USUAL, standing=[{1: 12_000, 2: 15_000}])

    assert doubt.kind is Kind.TWICE
    assert doubts({1: 12_000, 2: 15_000}, USUAL, standing=[{1: 12_000}]) == ()


@given(
    st.dictionaries(st.integers(1, 24), st.integers(1_000, 10**9), min_size=1),
    st.fractions(Fraction(1, 3), 3, max_denominator=10),
)
def test_within_three_times_the_usual_nothing_is_said(usual: dict[int, int], times: Fraction) -> None:
    declared = {period: int(kwh * times) for period, kwh in usual.items()}

    assert doubts(declared, [usual, usual]) == ()


def test_who_has_no_history_is_told_nothing() -> None:
    assert doubts({1: 5}, USUAL[:1]) == ()
    assert doubts({}, USUAL) == ()


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        ("0.372", Meant("yuan/kWh", 37200)),
        ("37.2", Meant("fen/kWh", 37200)),
        ("372.00", None),
        ("500.00", None),
        ("NaN", None),
        ("0.372005", None),
    ],
)
def test_a_price_in_another_unit_is_understood(price: str, expected: Meant | None) -> None:
    assert meant(RULES, price) == expected
