"""Geometry of charts and how numbers look."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloud.api import chart, reply


@pytest.mark.parametrize(
    ("highest", "top"),
    [
        (1, 4),
        (4, 4),
        (5, 8),
        (83_772, 100_000),
        (43_181, 60_000),
        (100_000, 100_000),
        (100_001, 120_000),
        (3_727_410, 4_000_000),
    ],
)
def test_the_axis_ends_at_the_least_round_number_not_under_the_highest_bar(highest: int, top: int) -> None:
    assert chart.nice_top(highest) == top


def test_bars_stand_side_by_side_in_order_and_a_missing_value_is_no_zero() -> None:
    first, second, third = chart.bars([50, None, 0], 100)

    assert (first.y, first.height) == (50, 50)
    assert second.height is None
    assert third.height == 0
    assert first.x < first.x + first.width < second.x < third.x
    assert third.x + third.width < 100


def test_change_is_exact_to_a_tenth_and_absent_without_a_base() -> None:
    assert chart.change_percent(110, 100) == Decimal("10.0")
    assert chart.change_percent(90, 120) == Decimal("-25.0")
    assert chart.change_percent(5, 0) is None


@pytest.mark.parametrize(
    ("number", "places", "decimals", "text"),
    [
        (1_234_567, 3, 2, "1,234.57"),
        (1_234_565, 3, 2, "1,234.57"),
        (-1_234_565, 3, 2, "−1,234.57"),
        (0, 3, 1, "0.0"),
        (999, 3, 0, "1"),
    ],
)
def test_scaled_numbers_round_half_away_from_zero_and_group_thousands(
    number: int, places: int, decimals: int, text: str
) -> None:
    assert reply.scaled(number, places, decimals) == text


def test_nothing_is_a_dash_and_never_zero() -> None:
    assert reply.kwh(None) == reply.kilowatts(None) == "—"


def test_fen_are_shown_as_yuan_with_two_decimals() -> None:
    assert reply.yuan_text(123_456_789) == "1,234,567.89"
    assert reply.yuan_text(-5) == "−0.05"
