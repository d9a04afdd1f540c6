"""A line of a bill and how it came about. Pure.

The derivation is complete: `formula` over the named `inputs`, evaluated exactly and rounded once to the fen,
gives the line's amount (`cloud/billing/formula.py`, or any few lines of another language).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum


class Period(StrEnum):
    """Time-of-use periods 尖峰, 高峰, 平段, 低谷, 深谷, in the order in which a bill prints them."""

    TIP = "tip"
    PEAK = "peak"
    FLAT = "flat"
    VALLEY = "valley"
    DEEP = "deep"


PERIODS = tuple(Period)


class Section(StrEnum):
    """Groups of a bill in the order of the State Grid layout (tariffs-and-settlement 15)."""

    ENERGY = "energy"
    LINE_LOSS = "line_loss"
    TRANSMISSION = "transmission"
    SYSTEM_OPERATION = "system_operation"
    CATALOGUE = "catalogue"
    FUNDS = "funds"
    BASIC = "basic"
    POWER_FACTOR = "power_factor"
    GREEN = "green"


@dataclass(frozen=True, slots=True)
class Input:
    """One named number of a formula and where it comes from.

    `origin` is 'intervals', 'terms', 'lines', 'calendar' or a price file as 'id@version'.
    """

    name: str
    value: Decimal
    unit: str
    origin: str
    document: str = ""


@dataclass(frozen=True, slots=True)
class Derivation:
    """How an amount was computed: what, from what, for which days `[first_day, end_day)`.

    `notes` are (key, value) facts in order of their keys that explain an input, for example how the power factor was found.
    """

    formula: str
    inputs: tuple[Input, ...]
    first_day: date
    end_day: date
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LineItem:
    """A published item inside a charge, for display: the line's amount is rounded once, its items add up to it."""

    item: str
    name: str
    name_en: str
    price_yuan_per_unit: Decimal
    amount_fen: int


@dataclass(frozen=True, slots=True)
class BillLine:
    """One charge: quantity x price, rounded once to the fen. Positive = the customer pays."""

    section: Section
    item: str
    period: Period | None
    quantity: Decimal
    unit: str
    price_yuan_per_unit: Decimal
    amount_fen: int
    derivation: Derivation
    items: tuple[LineItem, ...] = ()


def total_fen(lines: tuple[BillLine, ...]) -> int:
    """Add up lines; the only total there is."""
    return sum(line.amount_fen for line in lines)
