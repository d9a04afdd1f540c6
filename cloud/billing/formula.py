"""The small language of derivations: evaluate a formula exactly and round it to the fen. Pure.

    formula = sums, differences, products and quotients of named inputs and whole numbers, with parentheses;
    fen(x)  = x rounded to 0.01, half away from zero

Used to check a bill, never to make one: rating computes its amounts directly, so this is a second opinion.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

FORMULA_LENGTH_MAX = 10_000
DEPTH_MAX = 200
BITS_MAX = 4096  # of a numerator or denominator: a hundred digits are 333
FEN_BELOW = 2**63


class BadFormula(ValueError):
    """The text is not a formula of this language, or names an input that is not there."""


def fen_by(formula: str, inputs: Mapping[str, Decimal]) -> int:
    """Evaluate `formula` in yuan and round to whole fen. Raises BadFormula."""
    if len(formula) > FORMULA_LENGTH_MAX:
        raise BadFormula(f"longer than {FORMULA_LENGTH_MAX} characters")
    try:
        tree = ast.parse(formula, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadFormula(f"cannot read {formula[:80]!r}") from error
    fen = int(_rounded(_value(tree.body, inputs, 0)) * 100)
    if abs(fen) >= FEN_BELOW:
        raise BadFormula("its amount is no amount of money")
    return fen


def _value(node: ast.expr, inputs: Mapping[str, Decimal], depth: int) -> Fraction:
    if depth > DEPTH_MAX:
        raise BadFormula(f"deeper than {DEPTH_MAX}")
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return Fraction(number)
        case ast.Name(id=name) if name in inputs:
            return Fraction(inputs[name])
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, inputs, depth + 1)
        case ast.Call(func=ast.Name(id="fen"), args=[argument], keywords=[]):
            return _rounded(_value(argument, inputs, depth + 1))
        case ast.BinOp(left=left, op=op, right=right):
            return _bounded(_combined(_value(left, inputs, depth + 1), op, _value(right, inputs, depth + 1)))
        case ast.Name(id=name):
            raise BadFormula(f"not allowed or unknown here: {name[:80]!r}")
        case _:  # what it says is not written out: that could go deeper than this evaluator may
            raise BadFormula(f"not allowed here: {type(node).__name__}")


def _combined(left: Fraction, op: ast.operator, right: Fraction) -> Fraction:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div() if right:
            return left / right
        case _:
            raise BadFormula(f"not allowed: {type(op).__name__} with right side {right}")


def _bounded(value: Fraction) -> Fraction:
    """Refuse to go on with a number that is made to grow: each step would take longer than the one before."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > BITS_MAX:
        raise BadFormula("its numbers grow beyond all amounts of money")
    return value


def _rounded(value: Fraction) -> Fraction:
    cents = abs(value) * 100
    whole = (2 * cents.numerator + cents.denominator) // (2 * cents.denominator)
    return Fraction(whole if value >= 0 else -whole, 100)
