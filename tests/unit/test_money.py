"""Rounding happens once, half away from zero, whatever the ambient decimal context says."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext

import pytest

from cloud import money


@pytest.mark.parametrize(
    ("quantity", "price", "fen"),
    [
        ("1", "10.005", 1001),  # binary floating point would give 1000
        ("1", "-10.005", -1001),
        ("1", "0.004999", 0),
        ("-1", "0.005", -1),
        ("30000", "0.80025492", 2400765),
        ("7479418", "0.0452", 33806969),  # a real bill: 338,069.69
        ("0", "1", 0),
    ],
)
def test_fen_is_rounded_half_away_from_zero(quantity: str, price: str, fen: int) -> None:
    assert money.fen_for(Decimal(quantity), Decimal(price)) == fen


def test_nothing_is_rounded_before_the_one_rounding() -> None:
    with localcontext(Context(prec=3)):
        assert (
            money.fen_for(Decimal("123456.789"), Decimal("9.87654321")) == 121932631
        )  # 123456789 x 987654321 = 121932631112635269
        assert money.total([Decimal("123456.789"), Decimal("0.001")]) == Decimal("123456.790")


def test_a_quotient_is_rounded_once() -> None:
    assert money.quotient(
        Decimal("0.398598") * Decimal("0.0287"), Decimal("0.9713"), Decimal("0.000001")
    ) == Decimal("0.011778")
    assert money.quotient(Decimal(-1), Decimal(8), Decimal("0.01")) == Decimal("-0.13")
    just_below = Decimal("4." + "9" * 40)
    assert money.quotient(just_below, Decimal(1000), Decimal("0.01")) == Decimal("0.00")


@pytest.mark.parametrize(
    ("whole", "weights", "expected"),
    [
        (100, [1, 1, 1], (33, 33, 34)),
        (-100, [1, 1, 1], (-33, -33, -34)),
        (5, [0, 1, 0], (0, 5, 0)),
        (0, [3, 7], (0, 0)),
    ],
)
def test_shares_leave_the_remainder_to_the_last_who_has_a_weight(
    whole: int, weights: list[int], expected: tuple[int, ...]
) -> None:
    assert money.shares(whole, weights) == expected


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1, 3]])
def test_shares_refuse_a_key_that_names_nobody(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="name nobody"):
        money.shares(10, weights)


def test_yuan_shows_two_decimals() -> None:
    assert [str(money.yuan(fen)) for fen in (0, 5, -5, 18114140)] == ["0.00", "0.05", "-0.05", "181141.40"]
