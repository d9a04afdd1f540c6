"""Published price files: TOML text -> typed, validated price data. Pure; the format is told in published/README.md.

A file that does not say exactly what is expected is refused whole (BadPriceFile); nothing is guessed. A new kind of
file is one function `(FileTable, Head) -> PriceFile` in KINDS, and its word in the CHECK of price_sheet.kind.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import pairwise
from types import MappingProxyType
from typing import TypeAlias

from cloud.billing import arrears, packagefile
from cloud.billing.basic import Overrun, TwoPartRules
from cloud.billing.charges import FundItem, Funds, Transmission, TransmissionRow
from cloud.billing.filetable import (
    CATEGORIES,
    PURCHASES,
    STRUCTURES,
    VOLTAGES,
    BadPriceFile,
    FileTable,
    item_name,
)
from cloud.billing.line import PERIODS, Period, Section
from cloud.billing.powerfactor import AmountRounding, PowerFactorRules, PowerFactorTable, Step
from cloud.billing.tariff import (
    Calendar,
    Component,
    Head,
    PriceFile,
    PriceSheet,
    PrintedRow,
    Source,
    periods_of_day,
)
from cloud.markettime import SLOTS_PER_HOUR

Parser: TypeAlias = Callable[[FileTable, Head], PriceFile]

MARKS = ("OFF", "SEC", "CALC", "MEM", "PROJ")
SHEET_SECTIONS = (Section.ENERGY, Section.LINE_LOSS, Section.SYSTEM_OPERATION)


def price_file_from(name: str, text: str) -> PriceFile:
    """Read one file of any kind. Raises BadPriceFile."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadPriceFile(name, "(whole file)", str(error), "TOML 1.0") from error
    table = FileTable(name, "", content)
    kind = table.choice("kind", KINDS)
    head = _head(table, hashlib.sha256(text.encode()).hexdigest())
    result = KINDS[kind](table, head)
    table.done()
    return result


def _head(table: FileTable, sha256: str) -> Head:
    first, end = table.day("effective_from"), table.optional_day("effective_to")
    if end is not None and end <= first:
        table.refuse("effective_to", end, f"absent, or a day after effective_from {first}")
    return Head(
        kind=table.text("kind"),
        id=table.text("id"),
        version=table.integer("version", 1, 9999),
        sha256=sha256,
        title=table.text("title"),
        grid=table.text("grid"),
        effective_from=first,
        effective_to=end,
        sources=tuple(_source(each) for each in table.tables("source")),
    )


def _source(table: FileTable) -> Source:
    mark = table.text("mark")
    if not set(mark.split("+")) <= set(MARKS):
        table.refuse("mark", mark, " | ".join(MARKS) + ", joined by +")
    source = Source(
        document=table.text("document"),
        mark=mark,
        confirmed=table.choice("status", ("confirmed", "provisional")) == "confirmed",
        covers=table.texts("covers"),
        note=table.optional_text("note"),
    )
    table.done()
    return source


def _calendar(table: FileTable, head: Head) -> Calendar:
    months: dict[int, tuple[Period, ...]] = {}
    for season in table.tables("season"):
        numbers = season.integers("months")
        if not numbers or not set(numbers) <= set(range(1, 13)) or set(numbers) & set(months):
            season.refuse("months", numbers, "months 1..12, each in one season only")
        hours = {
            period: tuple(_hours(season, period, each) for each in season.texts(period)) for period in PERIODS
        }
        season.done()
        try:
            day = periods_of_day(hours)
        except ValueError as error:
            season.refuse("hours", str(error), "00:00-24:00 covered exactly once")
        months |= dict.fromkeys(numbers, day)
    if len(months) != 12:
        table.refuse("season", f"months {sorted(months)}", "all twelve months")
    return Calendar(
        head, _by_period(table.table("coefficients")), tuple(months[number] for number in range(1, 13))
    )


def _hours(season: FileTable, period: Period, text: str) -> tuple[int, int]:
    start, _, end = text.partition("-")
    slots = (_slot(season, period, start), _slot(season, period, end))
    if slots[0] >= slots[1]:
        season.refuse(period, text, "HH:MM-HH:MM with the start before the end")
    return slots


def _slot(season: FileTable, period: Period, clock: str) -> int:
    hours, colon, minutes = clock.partition(":")
    digits = hours.isascii() and minutes.isascii() and hours.isdecimal() and minutes.isdecimal()
    if not (colon and digits and len(hours) == len(minutes) == 2 and int(minutes) in (0, 15, 30, 45)):
        season.refuse(period, clock, "a quarter hour HH:MM")
    slot = int(hours) * SLOTS_PER_HOUR + int(minutes) // 15
    if slot > 24 * SLOTS_PER_HOUR:
        season.refuse(period, clock, "at most 24:00")
    return slot


def _by_period(table: FileTable) -> tuple[Decimal, ...]:
    values = tuple(table.decimal(period) for period in PERIODS)
    table.done()
    return values


def _price_sheet(table: FileTable, head: Head) -> PriceSheet:
    quantum = table.decimal("energy_quantum_kwh")
    if quantum not in (Decimal("1"), Decimal("0.1"), Decimal("0.01"), Decimal("0.001")):
        table.refuse("energy_quantum_kwh", str(quantum), '"1" | "0.1" | "0.01" | "0.001"')
    components = tuple(_component(each) for each in table.tables("component"))
    if not any(part.section is Section.ENERGY for part in components):
        table.refuse("component", "none of section energy", "at least one of section energy")
    if len({part.item for part in components}) != len(components):
        table.refuse("component", "an item twice", "each item once")
    printed = tuple(_printed(each) for each in table.tables("printed")) if "printed" in table.content else ()
    return PriceSheet(
        head,
        purchase=table.choice("purchase", PURCHASES),
        category=table.choice("category", CATEGORIES),
        energy_quantum_kwh=quantum,
        components=components,
        printed=printed,
    )


def _component(table: FileTable) -> Component:
    part = Component(
        section=Section(table.choice("section", SHEET_SECTIONS)),
        item=item_name(table),
        name=table.text("name"),
        name_en=table.text("name_en"),
        price_yuan_per_kwh=table.decimal("price_yuan_per_kwh"),
        floats=table.flag("floats"),
    )
    table.done()
    return part


def _printed(table: FileTable) -> PrintedRow:
    structure, voltage = table.choice("structure", STRUCTURES), table.choice("voltage", VOLTAGES)
    row = PrintedRow(structure, voltage, tuple(table.decimal(period) for period in PERIODS))
    table.done()
    return row


def _transmission(table: FileTable, head: Head) -> Transmission:
    rows = tuple(_transmission_row(each) for each in table.tables("row"))
    if len({(row.structure, row.voltage) for row in rows}) != len(rows):
        table.refuse("row", "a structure and voltage twice", "each structure and voltage once")
    return Transmission(head, table.decimal("line_loss_rate"), rows)


def _transmission_row(table: FileTable) -> TransmissionRow:
    row = TransmissionRow(
        structure=table.choice("structure", STRUCTURES),
        voltage=table.choice("voltage", VOLTAGES),
        energy_yuan_per_kwh=table.decimal("energy_yuan_per_kwh"),
        demand_yuan_per_kw_month=table.optional_decimal("demand_yuan_per_kw_month"),
        capacity_yuan_per_kva_month=table.optional_decimal("capacity_yuan_per_kva_month"),
    )
    prices = (row.demand_yuan_per_kw_month, row.capacity_yuan_per_kva_month)
    if any((price is None) != (row.structure == "single_part") for price in prices):
        table.refuse(
            "demand_yuan_per_kw_month", str(prices), "both demand and capacity price, for two_part only"
        )
    table.done()
    return row


def _funds(table: FileTable, head: Head) -> Funds:
    items = tuple(_fund_item(each) for each in table.tables("item"))
    if len({item.item for item in items}) != len(items):
        table.refuse("item", "an item twice", "each item once")
    return Funds(head, table.choice("category", CATEGORIES), items)


def _fund_item(table: FileTable) -> FundItem:
    item = FundItem(
        item=item_name(table),
        name=table.text("name"),
        name_en=table.text("name_en"),
        price_yuan_per_kwh=table.decimal("price_yuan_per_kwh"),
    )
    table.done()
    return item


def _power_factor(table: FileTable, head: Head) -> PowerFactorRules:
    quantum = table.decimal("power_factor_quantum")
    if quantum != Decimal("0.01"):
        table.refuse("power_factor_quantum", str(quantum), '"0.01": the tables have that step')
    excluded = table.texts("excluded_sections")
    if not set(excluded) <= set(Section):
        table.refuse("excluded_sections", excluded, " | ".join(Section))
    return PowerFactorRules(
        head,
        power_factor_quantum=quantum,
        amount_rounding=AmountRounding(table.choice("amount_rounding", tuple(AmountRounding))),
        excluded_sections=tuple(Section(each) for each in excluded),
        tables=tuple(_power_factor_table(each) for each in table.tables("standard")),
    )


def _power_factor_table(table: FileTable) -> PowerFactorTable:
    standard = table.decimal("standard")
    result = PowerFactorTable(standard, _steps(table, "reward"), _steps(table, "surcharge"))
    rising = (standard, *(step.until for step in result.rewards))
    falling = (standard, *(step.until for step in result.surcharges))
    if any(low >= high for low, high in pairwise(rising)) or rising[-1] > 1:
        table.refuse(
            "reward", [str(each) for each in rising], "steps that rise from the standard to at most 1.00"
        )
    if any(high <= low for high, low in pairwise(falling)) or falling[-1] != 0:
        table.refuse(
            "surcharge", [str(each) for each in falling], "steps that fall from the standard to 0.00"
        )
    table.done()
    return result


def _steps(table: FileTable, key: str) -> tuple[Step, ...]:
    steps = []
    for each in table.tables(key):
        steps.append(Step(each.decimal("until"), each.decimal("percent")))
        each.done()
    return tuple(steps)


def _two_part(table: FileTable, head: Head) -> TwoPartRules:
    return TwoPartRules(
        head,
        days_of_month_charge=table.integer("days_of_month_charge", 28, 31),
        contract_limit_ratio=table.decimal("contract_limit_ratio"),
        contract_floor_ratio=table.decimal("contract_floor_ratio"),
        overrun_multiplier=table.decimal("overrun_multiplier"),
        overrun_variant=Overrun(table.choice("overrun_variant", tuple(Overrun))),
        load_discount_in_force=table.flag("load_discount_in_force"),
        load_discount_from_kwh_per_kva=table.decimal("load_discount_from_kwh_per_kva"),
        load_discount_price_factor=table.decimal("load_discount_price_factor"),
    )


KINDS: Mapping[str, Parser] = MappingProxyType(
    {
        "calendar": _calendar,
        "price-sheet": _price_sheet,
        "transmission": _transmission,
        "funds": _funds,
        "power-factor": _power_factor,
        "two-part": _two_part,
        "package": packagefile.package,
        "market-prices": packagefile.market_prices,
        "collection": arrears.collection_rules,
    }
)
