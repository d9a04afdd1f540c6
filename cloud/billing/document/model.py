"""What a bill shows, as plain values: every number formatted and raw. The page and the paper print this. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """A value as it is shown and as it is. `raw` is a plain decimal, an integer or a text; amounts are fen."""

    text: str
    raw: str | int


@dataclass(frozen=True, slots=True)
class Field:
    """A labelled value."""

    key: str
    label: str
    value: Figure


@dataclass(frozen=True, slots=True)
class RegisterRow:
    """One register of one meter: previous, current, multiplier, measured."""

    meter_id: str
    supply_point_id: str
    register: str
    start: Figure
    end: Figure
    multiplier: Figure
    measured: Figure
    unit: str


@dataclass(frozen=True, slots=True)
class PeriodRow:
    """Billed energy of one period; `code` (tip, peak, …) chooses its colour."""

    code: str
    label: str
    kwh: Figure
    share: Figure


@dataclass(frozen=True, slots=True)
class DayBar:
    """One day's energy by period in Wh, in the order of the periods, for the chart."""

    label: str
    import_wh: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MonthBar:
    """One month of the year that ends with this bill, for the chart."""

    label: str
    year: str
    kwh: Figure
    amount: Figure
    import_wh: int
    is_this: bool


@dataclass(frozen=True, slots=True)
class How:
    """怎么算的: the formula in words and numbers, the days it is about, and where each number comes from."""

    formula: str
    numbers: str
    inputs: tuple[Field, ...]
    origins: tuple[str, ...]
    files: tuple[str, ...]  # price files as 'id@version'
    first_day: str
    last_day: str
    days: str  # the same in words
    is_measured: bool  # some input comes from the interval days


@dataclass(frozen=True, slots=True)
class Part:
    """其中: what a line is made of. The amounts of a line's parts add up to the line's."""

    label: str
    price: Figure
    amount: Figure


@dataclass(frozen=True, slots=True)
class ChargeRow:
    """One line of the bill; `line_no` is its number in the bill, from 1."""

    line_no: int
    item: str
    label: str
    period: str
    period_label: str
    quantity: Figure
    unit: str
    price: Figure
    amount: Figure
    parts: tuple[Part, ...]
    how: How


@dataclass(frozen=True, slots=True)
class ChargeGroup:
    """The lines of one section with their sum."""

    section: str
    label: str
    rows: tuple[ChargeRow, ...]
    subtotal: Figure


@dataclass(frozen=True, slots=True)
class Check:
    """One of the checks: two sides that must agree."""

    key: str
    label: str
    left: Figure
    right: Figure
    agrees: bool
    verdict: str


@dataclass(frozen=True, slots=True)
class BasisRow:
    """A price file the bill stands on."""

    kind: str
    title: str
    document: str
    origin: str
    sha256: str
    provisional: bool
    open_rules: str  # what in the file is not confirmed; empty when all is


@dataclass(frozen=True, slots=True)
class Notice:
    """A correction explained: why, what was owed before, what is owed more or less."""

    title: str
    reason: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class BillDocument:
    """Everything a bill shows, in one language."""

    language: str
    title: str
    subtitle: str
    status: str  # a mark such as 'draft', already in words; empty for an issued bill
    words: dict[str, str]  # headings and column names
    account_id: str
    month: str  # YYYY-MM
    revision: int
    total: Figure
    total_label: str
    total_capitals: str
    overview: tuple[Field, ...]
    correction: Notice | None
    registers: tuple[RegisterRow, ...]
    periods: tuple[PeriodRow, ...]
    total_kwh: Figure
    days: tuple[DayBar, ...]
    months: tuple[MonthBar, ...]
    groups: tuple[ChargeGroup, ...]
    basic: tuple[Field, ...]
    power_factor: tuple[Field, ...]
    tax: tuple[Field, ...]
    checks: tuple[Check, ...]
    basis: tuple[BasisRow, ...]
    pay: tuple[str, ...]
    remarks: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Turn into plain values, for a template."""
        return asdict(self)
