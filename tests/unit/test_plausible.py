"""Doubts about declarations: slips of the unit, the same twice, and nothing said of what is usual."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.market.plausible import Doubt, Kind, Meant, before_sending, doubts, meant

USUAL = [{1: 12_000, 2: 15_000}, {1: 11_000, 2: 16_000}, {1: 12_500, 2: 14_000}]


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
    assert meant(price, 29760, 44640, 1) == expected


@pytest.mark.parametrize(
    ("whole_kwh", "elsewhere_kwh", "expected"),
    [
        (27_000, 0, []),
        (2_700, 0, [(Kind.FACTOR, 27_000, Fraction(1, 10))]),  # 万kWh written where MWh are asked
        (270_000, 0, [(Kind.FACTOR, 27_000, Fraction(10))]),
        (27_000_000, 0, [(Kind.FACTOR, 27_000, Fraction(1000))]),
        (45_000, 0, []),  # one and a half times the largest, not above it
        (45_001, 0, [(Kind.OVER_PAST, 30_000, None)]),
        (900_000, 0, [(Kind.UNUSUAL, 27_000, None)]),
        (27_000, 5_000, [(Kind.ELSEWHERE, 5_000, None)]),  # the same months in a yearly session
        (270_000, 5_000, [(Kind.FACTOR, 27_000, Fraction(10)), (Kind.ELSEWHERE, 5_000, None)]),
    ],
)
def test_before_sending_the_whole_is_held_against_the_past(
    whole_kwh: int, elsewhere_kwh: int, expected: list[tuple[Kind, int, Fraction | None]]
) -> None:
    found = before_sending(whole_kwh, [27_000, 0, 30_000, 26_000], elsewhere_kwh)

    assert [(each.kind, each.usual_kwh, each.factor) for each in found] == expected
    assert all((each.period, each.declared_kwh) == (None, whole_kwh) for each in found)


def test_before_sending_nothing_is_said_without_a_past() -> None:
    assert (
        before_sending(27_000, [], 0) == before_sending(27_000, [0, 0], 0) == before_sending(0, [5], 0) == ()
    )
