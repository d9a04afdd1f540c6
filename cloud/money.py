"""Money: the only place where an amount is rounded. Pure.

Amounts are `int` fen (分, 0.01 yuan); prices and quantities are `Decimal` made from strings or integers.
Every charge line is rounded once, to the fen, half away from zero (四舍五入), and lines are then summed:
发改能源规〔2025〕976号 art. 12; the rounding mode is assumed, the document gives only the decimals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation, Overflow

FEN_PER_YUAN = 100

# Wide enough for any quantity x price x factor here. It traps Inexact: a product is exact or it raises, so
# nothing is ever rounded before the one rounding below, whatever the caller's ambient context says.
EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, Overflow])
_ROUNDING = Context(prec=100, rounding=ROUND_HALF_UP, traps=[InvalidOperation, Overflow])


def product(*factors: Decimal) -> Decimal:
    """Multiply exactly, independent of the ambient decimal context."""
    result = Decimal(1)
    for factor in factors:
        result = EXACT.multiply(result, factor)
    return result


def total(values: Iterable[Decimal]) -> Decimal:
    """Add up exactly, independent of the ambient decimal context."""
    result = Decimal(0)
    for value in values:
        result = EXACT.add(result, value)
    return result


def rounded(value: Decimal, quantum: Decimal) -> Decimal:
    """Round half away from zero to a multiple of the power of ten `quantum`, as the policy document names it.

    For prices, power factors and energies whose decimals a document fixes; amounts go through `fen_of`.
    """
    return value.quantize(quantum, context=_ROUNDING)


def quotient(dividend: Decimal, divisor: Decimal, quantum: Decimal) -> Decimal:
    """Divide and round once, half away from zero; no double rounding however long the true quotient is."""
    numerator, denominator = _integers(dividend, EXACT.multiply(divisor, quantum))
    sign = -1 if (numerator < 0) != (denominator < 0) else 1
    steps = sign * ((2 * abs(numerator) + abs(denominator)) // (2 * abs(denominator)))
    return EXACT.multiply(Decimal(steps), quantum)


def fen_of(amount_yuan: Decimal) -> int:
    """Round an amount in yuan to whole fen, half away from zero."""
    return int(EXACT.scaleb(rounded(amount_yuan, Decimal("0.01")), 2))


def fen_for(quantity: Decimal, price_yuan: Decimal) -> int:
    """Price a quantity: `quantity` x `price_yuan` per unit, rounded once to whole fen."""
    return fen_of(EXACT.multiply(quantity, price_yuan))


def yuan(amount_fen: int) -> Decimal:
    """Show fen as yuan with exactly two decimals."""
    return EXACT.scaleb(Decimal(amount_fen), -2)


def shares(whole: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Split `whole` by `weights` so that the shares add up to it exactly.

    Each share is round(whole x weight / sum of weights); the last participant with a weight takes the
    remainder, so it may be off its exact share by up to half a unit per other participant.
    Source: tariffs-and-settlement 10.4 (last in the listed order). Raises ValueError for an empty or negative
    key, which names nobody to pay.
    """
    weight_sum = sum(weights)
    if weight_sum <= 0 or min(weights) < 0:
        raise ValueError(f"weights {tuple(weights)!r} name nobody: need at least one positive, none negative")
    sign = -1 if whole < 0 else 1
    parts = [sign * ((2 * abs(whole) * weight + weight_sum) // (2 * weight_sum)) for weight in weights]
    last = max(index for index, weight in enumerate(weights) if weight)
    parts[last] += whole - sum(parts)
    return tuple(parts)


def whole_parts(parts: Sequence[int], unit: int, before: int = 0) -> tuple[int, ...]:
    """Round parts of a whole to whole units so that they still add up to the rounded whole.

    The whole is rounded half up as a counter would show it: units(before + sum) - units(before), where `before`
    is what the same counter had counted already; so stretches of a month add up to the month. Each part gets
    its full units, the units left go to the largest remainders (ties: the first). Nothing may be negative.
    """
    if unit <= 0 or before < 0 or any(part < 0 for part in parts):
        raise ValueError(f"parts {tuple(parts)!r} of unit {unit} after {before}: nothing may be negative")
    whole_units = _units(before + sum(parts), unit) - _units(before, unit)
    whole = [part // unit for part in parts]
    left = whole_units - sum(whole)
    for index in sorted(range(len(parts)), key=lambda i: (-(parts[i] % unit), i))[:left]:
        whole[index] += 1
    return tuple(whole)


def _units(amount: int, unit: int) -> int:
    return (2 * amount + unit) // (2 * unit)


def _integers(dividend: Decimal, divisor: Decimal) -> tuple[int, int]:
    top, top_below = dividend.as_integer_ratio()
    bottom, bottom_below = divisor.as_integer_ratio()
    return top * bottom_below, bottom * top_below
