"""A line of a market settlement and how it came about. Pure.

One sign for everybody: positive = the unit pays, negative = the unit receives. So a month balances when all lines of
all units, the named differences included, add up to zero. Shares and differences are lines like any other
(发改能源规〔2025〕976号 art. 14: no unnamed imbalance pool).

The derivation is complete, in the language of bills: `formula` over the named `inputs`, evaluated exactly in yuan and
rounded once to the fen, gives the line's amount.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

GRID_UNIT = "grid"
PARTY_PREFIX = "party:"


class Side(StrEnum):
    """Which side of the market a unit stands on."""

    USER = "user"
    RETAILER = "retailer"
    GENERATOR = "generator"
    GRID = "grid"


class Item(StrEnum):
    """What a line is for, in the order in which a statement lists them (889号 art. 100, 976号)."""

    CONTRACT = "contract"  # contract energy at contract price
    CONTRACT_DIFFERENCE = "contract_difference"  # 差价 form: contract x (contract price - reference price)
    DAY_AHEAD = "day_ahead"
    REAL_TIME = "real_time"
    DEVIATION_OVER = "deviation_over"
    DEVIATION_UNDER = "deviation_under"
    ASSESSMENT = "assessment"  # of the part of a deviation outside the free band
    MECHANISM_ENERGY = "mechanism_energy"  # without a spot market: mechanism energy at the reference price
    MECHANISM = "mechanism"  # its difference: quantity x (mechanism price - reference price)
    GREEN = "green"  # environmental value 绿电环境价值
    LINE_LOSS = "line_loss"
    SHARE = "share"  # a unit's share of a named difference
    RESIDUAL = (
        "residual"  # the grid's purchase of what nobody in the market used: agency customers and losses
    )
    HELD = "held"  # a named difference that stays with the grid company
    ROUNDING = "rounding"


@dataclass(frozen=True, slots=True)
class Input:
    """One named number of a formula and where it comes from.

    `origin` is 'intervals', 'contract NO@VERSION', 'prices', 'declared', 'lines' or a rule as 'id@version'.
    """

    name: str
    value: Decimal
    unit: str
    origin: str
    document: str = ""


@dataclass(frozen=True, slots=True)
class Derivation:
    """How an amount was computed: what, from what, for which days `[first_day, end_day)`.

    `notes` are (key, value) facts in order of their keys that explain an input.
    """

    formula: str
    inputs: tuple[Input, ...]
    first_day: date
    end_day: date
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SettlementLine:
    """One settled amount of one unit: rounded once to the fen. Positive = the unit pays.

    `unit_id` is an account number for direct users and generators, 'party:N' for retailers, 'grid' for the grid
    company. `period` is the label of a settlement period ('month', 'peak', 'h08', '2026-08-07') and `difference` names
    what a share belongs to, else it is empty. `price_yuan_per_mwh` of a line over several prices is their average for
    display; the derivation has each of them.
    """

    unit_id: str
    party_id: int | None
    side: Side
    item: Item
    contract_id: str | None
    period: str
    quantity_mwh: Decimal
    price_yuan_per_mwh: Decimal
    amount_fen: int
    derivation: Derivation
    rule_version: str
    difference: str = ""


def total_fen(lines: tuple[SettlementLine, ...]) -> int:
    """Add up lines; the only total there is."""
    return sum(line.amount_fen for line in lines)


def party_unit(party_id: int) -> str:
    """Name the unit of a party that settles as a whole, as a retailer does."""
    return f"{PARTY_PREFIX}{party_id}"
