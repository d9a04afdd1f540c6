"""A market file: rule, contracts, prices and declared quantities of a market as one TOML text. Pure.

The format is told in docs/operations/settlement.md. Importing the same file again changes nothing; a correction is
entered as a later file. Tables of many days may stand in a CSV file beside it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation

from cloud.contracts.entries import BadMarketFile, Entries, entries_from
from cloud.contracts.terms import WholesaleTerms, terms_from
from cloud.market.rulefile import PRICE_KEY, MarketRule, rule_from

PACKAGED = "package:"
POINTS = (24, 96)
ROWS_MAX = 5000
Reader = Callable[[str], str]  # a file's text by the name that stands in the market file


@dataclass(frozen=True, slots=True)
class DatedRule:
    """A rule and the month from which it is in force here."""

    from_month: date
    rule: MarketRule
    text: str


@dataclass(frozen=True, slots=True)
class Price:
    """A price of a month, yuan/MWh (`line_loss_rate`: a ratio); None: none called."""

    month: date
    price_key: str
    value_per_unit: Decimal | None
    source: str


@dataclass(frozen=True, slots=True)
class SpotDay:
    """Spot prices of one day."""

    kind: str
    day: date
    yuan_per_mwh: tuple[Decimal, ...]
    source: str


@dataclass(frozen=True, slots=True)
class DeclaredDay:
    """Day-ahead quantities of a unit's day."""

    unit: str
    day: date
    kwh: tuple[int, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """Mechanism energy of a generator's month, or the generation of one that is not metered here."""

    unit: str
    month: date
    item: str
    mwh: Decimal
    price_yuan_per_mwh: Decimal | None
    source: str


@dataclass(frozen=True, slots=True)
class MarketFile:
    """Everything a market file enters."""

    market_id: str
    name: str
    parties: tuple[tuple[str, str], ...]  # (name, kind): counterparties that are not in the site file
    rules: tuple[DatedRule, ...]
    contracts: tuple[WholesaleTerms, ...]
    prices: tuple[Price, ...]
    spot: tuple[SpotDay, ...]
    declared: tuple[DeclaredDay, ...]
    quantities: tuple[Quantity, ...]


def market_from(name: str, text: str, read: Reader, packaged: Reader) -> MarketFile:
    """Read a market file. Raises BadMarketFile. `read` gives files beside it, `packaged` the rules that come along."""
    table = entries_from(name, text)
    found = MarketFile(
        market_id=table.text("market"),
        name=table.text("name"),
        parties=tuple(_party(each) for each in table.tables("party")),
        rules=tuple(_rule(each, read, packaged) for each in table.tables("rule")),
        contracts=tuple(terms_from(each) for each in table.tables("contract")),
        prices=tuple(_price(each) for each in table.tables("price")),
        spot=tuple(day for each in table.tables("spot") for day in _spot(each, read)),
        declared=tuple(day for each in table.tables("declared") for day in _declared(each, read)),
        quantities=tuple(_quantity(each) for each in table.tables("quantity")),
    )
    table.done()
    return found


def _party(table: Entries) -> tuple[str, str]:
    found = (table.text("name"), table.choice("kind", ("generator", "retailer", "user")))
    table.done()
    return found


def _rule(table: Entries, read: Reader, packaged: Reader) -> DatedRule:
    file, month = table.text("file"), table.month("from")
    text = packaged(file.removeprefix(PACKAGED)) if file.startswith(PACKAGED) else read(file)
    rule = rule_from(file, text)
    if not rule.in_force(month):
        table.refuse("from", f"{month:%Y-%m}", f"a month in which {rule.origin} is in force")
    table.done()
    return DatedRule(month, rule, text)


def _price(table: Entries) -> Price:
    key = table.text("key")
    if not PRICE_KEY.fullmatch(key):
        table.refuse("key", key, "small letters, digits and _")
    is_none = table.flag("none_called", False)
    if is_none == table.has("value"):
        table.refuse("value", table.take("value"), "either a value, or none_called = true")
    value = None if is_none else table.decimal("value")
    found = Price(table.month("month"), key, value, table.text("source"))
    table.done()
    return found


def _spot(table: Entries, read: Reader) -> tuple[SpotDay, ...]:
    kind, source = table.choice("kind", ("day_ahead", "real_time")), table.text("source")
    rows = _rows(table, table.text("file"), read)
    table.done()
    return tuple(SpotDay(kind, day, values, source) for day, values in rows)


def _declared(table: Entries, read: Reader) -> tuple[DeclaredDay, ...]:
    unit, source, file = table.text("unit"), table.text("source"), table.text("file")
    found = []
    for day, values in _rows(table, file, read):
        if any(value != int(value) or value < 0 for value in values):
            table.refuse("file", f"{file}, {day}", "whole kWh from 0")
        found.append(DeclaredDay(unit, day, tuple(int(value) for value in values), source))
    table.done()
    return tuple(found)


def _quantity(table: Entries) -> Quantity:
    item = table.choice("item", ("mechanism", "generation"))
    mwh = table.decimal("mwh")
    if mwh < 0 or mwh * 1000 != int(mwh * 1000):
        table.refuse("mwh", mwh, "from 0, at most 3 decimals (whole kWh)")
    found = Quantity(
        table.text("unit"),
        table.month("month"),
        item,
        mwh,
        table.decimal("price") if item == "mechanism" else None,
        table.text("source"),
    )
    table.done()
    return found


def _rows(table: Entries, file: str, read: Reader) -> list[tuple[date, tuple[Decimal, ...]]]:
    """Read `day,1,2,…,24` (or 96) rows; a first row without a date is a heading."""
    found: list[tuple[date, tuple[Decimal, ...]]] = []
    for number, row in enumerate(csv.reader(io.StringIO(read(file))), start=1):
        if number > ROWS_MAX:
            table.refuse("file", file, f"at most {ROWS_MAX} rows")
        if not row or (number == 1 and not row[0][:1].isdigit()):
            continue
        try:
            values = tuple(Decimal(cell.strip()) for cell in row[1:])
            day = date.fromisoformat(row[0].strip())
        except (ValueError, InvalidOperation):
            table.refuse("file", f"{file}, row {number}", "YYYY-MM-DD and plain numbers")
        if len(values) not in POINTS or not all(value.is_finite() for value in values):
            table.refuse("file", f"{file}, row {number}: {len(values)} values", "24 or 96 numbers a day")
        found.append((day, values))
    if not found or len({day for day, _ in found}) != len(found):
        table.refuse("file", file, "one or more days, each once")
    return found


__all__ = ["BadMarketFile", "MarketFile", "market_from"]
