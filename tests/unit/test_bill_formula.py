"""The language of derivations knows numbers, names, + - * / and fen(); nothing else gets through."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloud.billing.formula import BadFormula, fen_by

INPUTS = {"kwh": Decimal("30000"), "a": Decimal("0.398598"), "k": Decimal("2.04"), "b": Decimal("-0.012885")}


@pytest.mark.parametrize(
    ("formula", "fen"),
    [
        ("kwh * (a * k + b)", 2400765),
        ("10 / 3", 333),
        ("-1 / 200", -1),
        ("fen(a) + fen(-a)", 0),
        ("fen(1 / 3) * 3", 99),
        ("kwh - (kwh - 1)", 100),
    ],
)
def test_a_formula_is_exact_until_its_one_rounding(formula: str, fen: int) -> None:
    assert fen_by(formula, INPUTS) == fen


@pytest.mark.parametrize(
    "formula",
    [
        "", "kwh *", "unknown * 2", "kwh ** 2", "kwh // 2", "kwh / 0", "1.5 * kwh", "True", "'a'", "fen(1, 2)",
        "fen", "open('x')", "__import__('os')", "kwh if kwh else 1", "[1]", "a.real", "(lambda: 1)()",
        "+".join(["1"] * 400), "1" * 20_000,
    ],
)  # fmt: skip
def test_anything_else_is_refused(formula: str) -> None:
    with pytest.raises(BadFormula):
        fen_by(formula, INPUTS)
