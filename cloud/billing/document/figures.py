"""How the numbers of a bill become figures. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from cloud.billing.document.model import Field, Figure
from cloud.billing.labels import Language, money_text, number_text, percent_text, price_text, word
from cloud.money import quotient

PRICE_QUANTUM = Decimal("0.0001")


def number(value: Decimal) -> Figure:
    """A number with thousands separators."""
    return Figure(number_text(value), str(value))


def money(amount_fen: int) -> Figure:
    """Fen as yuan."""
    return Figure(money_text(amount_fen), amount_fen)


def price(value: Decimal) -> Figure:
    """A price with all its published decimals."""
    return Figure(price_text(value), str(value))


def share(part: Decimal, whole: Decimal) -> Figure:
    """A part of a whole in per cent."""
    if not whole:
        return Figure("—", "")
    ratio = quotient(part, whole, PRICE_QUANTUM)
    return Figure(percent_text(ratio), str(ratio))


def change(now: Decimal, before: Decimal) -> Figure:
    """How much more or less than before, in per cent with its sign."""
    if not before:
        return Figure("—", "")
    ratio = quotient(now - before, abs(before), PRICE_QUANTUM)
    text = percent_text(ratio).replace("-", "−")
    return Figure(text if ratio < 0 else f"+{text}", str(ratio))


def with_unit(value: Decimal, unit: str, language: Language) -> Figure:
    """A number and its unit."""
    return Figure(f"{number_text(value)} {word(language, f'unit.{unit}')}", str(value))


def fields(language: Language, pairs: Iterable[tuple[str, Figure]]) -> tuple[Field, ...]:
    """Label values by their keys."""
    return tuple(Field(key, word(language, key), value) for key, value in pairs)
