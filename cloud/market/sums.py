"""Lines over many settlement periods: one amount, the sum of a term per period, rounded once. Pure.

A term is written once for the reader, with # for the number of the period, and once for the machine; a test that
evaluates every formula of every line holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from cloud.market.line import Derivation, Input, Item, SettlementLine, Side
from cloud.market.month import MarketMonth, Stretch, UnitFacts, mwh
from cloud.money import EXACT, fen_of, product, quotient, total, yuan

ORIGINS = {
    "a": ("MWh", "declared"),
    "c": ("MWh", "contracts"),
    "m": ("MWh", "intervals"),
    "p": ("yuan/MWh", "day-ahead prices"),
    "r": ("yuan/MWh", "real-time prices"),
}
PRICE_QUANTUM = Decimal("0.001")

Values: TypeAlias = Mapping[
    str, Decimal
]  # a declared, c contract, m metered MWh; p day-ahead, r real-time price


@dataclass(frozen=True, slots=True)
class Term:
    """What is summed over the periods: `text` names a#, c#, m#, p#, r#; `mwh` is the quantity the line shows."""

    text: str
    mwh: Callable[[Values], Decimal]
    yuan: Callable[[Values], Decimal]


@dataclass(frozen=True, slots=True)
class Sum:
    """A line to be: its item, its term, the quantities by period, and whose contract it is.

    `sign_factor` turns the whole amount; with a `minuend` the amount is it minus the sum.
    """

    item: Item
    term: Term
    kwh: Mapping[str, tuple[int, ...]]
    sign_factor: int
    minuend: Input | None = None
    contract_id: str | None = None


def less(*values: Decimal) -> Decimal:
    """Subtract exactly, from left to right."""
    first, *others = values
    for each in others:
        first = EXACT.subtract(first, each)
    return first


DAY_AHEAD_BEYOND = Term(
    "(a# - c#) * p#", lambda v: less(v["a"], v["c"]), lambda v: product(less(v["a"], v["c"]), v["p"])
)
DAY_AHEAD_ALL = Term("a# * p#", lambda v: v["a"], lambda v: product(v["a"], v["p"]))
DAY_AHEAD_DIFFERENCE = Term(
    "a# * (p# - r#)", lambda v: v["a"], lambda v: product(v["a"], less(v["p"], v["r"]))
)
REAL_TIME_BEYOND = Term(
    "(m# - a#) * r#", lambda v: less(v["m"], v["a"]), lambda v: product(less(v["m"], v["a"]), v["r"])
)
REAL_TIME_REST = Term(
    "(m# - a# - c#) * r#",
    lambda v: less(v["m"], v["a"], v["c"]),
    lambda v: product(less(v["m"], v["a"], v["c"]), v["r"]),
)
REAL_TIME_ALL = Term("m# * r#", lambda v: v["m"], lambda v: product(v["m"], v["r"]))
CONTRACT_AT_DAY_AHEAD = Term("c# * p#", lambda v: v["c"], lambda v: product(v["c"], v["p"]))
CONTRACT_AT_REAL_TIME = Term("c# * r#", lambda v: v["c"], lambda v: product(v["c"], v["r"]))
RESIDUAL = Term(
    "a# * p# + (m# - a#) * r#",
    lambda v: v["m"],
    lambda v: total((product(v["a"], v["p"]), product(less(v["m"], v["a"]), v["r"]))),
)


def side_sign(unit: UnitFacts) -> int:
    """Who uses pays for what is used; who generates is paid."""
    return -1 if unit.side is Side.GENERATOR else 1


def sum_line(unit: UnitFacts, market: MarketMonth, wanted: Sum, piece: Stretch) -> SettlementLine:
    """Sum a term over the settlement periods of a stretch into one line."""
    names = [name for name in ORIGINS if f"{name}#" in wanted.term.text]
    rows = [_values(market, wanted, names, number) for number in range(piece.start, piece.end)]
    whole = total(wanted.term.yuan(row) for row in rows)
    numbered = [wanted.term.text.replace("#", f"{number:02d}") for number in range(1, len(rows) + 1)]
    formula = " + ".join(numbered)
    inputs = [
        Input(f"{name}{number:02d}", row[name], *ORIGINS[name])
        for number, row in enumerate(rows, start=1)
        for name in names
    ]
    if wanted.minuend is not None:
        whole = EXACT.subtract(wanted.minuend.value, whole)
        formula = f"{wanted.minuend.name} - ({formula})"
        inputs.insert(0, wanted.minuend)
    quantity = total(wanted.term.mwh(row) for row in rows)
    amount_fen = wanted.sign_factor * fen_of(whole)
    average = quotient(yuan(abs(amount_fen)), abs(quantity), PRICE_QUANTUM) if quantity else Decimal(0)
    return SettlementLine(
        unit.unit_id,
        unit.party_id,
        unit.side,
        wanted.item,
        wanted.contract_id,
        piece.label,
        quantity,
        average,
        amount_fen,
        Derivation(
            formula if wanted.sign_factor > 0 else f"-({formula})",
            tuple(inputs),
            piece.first_day,
            piece.end_day,
        ),
        market.rule.origin,
    )


def _values(market: MarketMonth, wanted: Sum, names: list[str], number: int) -> dict[str, Decimal]:
    prices = {"p": market.day_ahead_yuan_per_mwh, "r": market.real_time_yuan_per_mwh}
    return {name: prices[name][number] if name in prices else mwh(wanted.kwh[name][number]) for name in names}
