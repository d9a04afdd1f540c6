"""The kinds of price files that hold prices: calendar, price-sheet, transmission, funds, catalogue. Pure."""

from __future__ import annotations

from decimal import Decimal

from cloud.billing import hoursfile
from cloud.billing.charges import FundItem, Funds, Transmission, TransmissionRow
from cloud.billing.filetable import (
    CATEGORIES,
    PURCHASES,
    STRUCTURES,
    VOLTAGES,
    FileTable,
    item_name,
)
from cloud.billing.ladder import Cycle, Ladder, LadderRow, ProRata
from cloud.billing.line import PERIODS, Period, Section
from cloud.billing.tariff import Calendar, Component, Head, PricedItem, PriceSheet, PrintedRow
from cloud.markettime import SLOTS_PER_DAY

SHEET_SECTIONS = (Section.ENERGY, Section.LINE_LOSS, Section.SYSTEM_OPERATION, Section.GREEN)
MARKET_PURCHASES = ("agency", "direct", "retail")
ENERGY_QUANTA = ("1", "0.1", "0.01", "0.001")
PRICE_QUANTA = ("0.0001", "0.00001", "0.000001", "0.0000001", "0.00000001")
NO_COEFFICIENTS = (Decimal(1),) * len(PERIODS)
OPTION_LENGTH_MAX = 30


def calendar(table: FileTable, head: Head) -> Calendar:
    """Read kind "calendar"."""
    coefficients = _by_period(table.table("coefficients"))
    months, days_off = hoursfile.hours(table)
    return Calendar(head, coefficients, months, days_off)


def _by_period(table: FileTable) -> tuple[Decimal, ...]:
    values = tuple(table.decimal(period) for period in PERIODS)
    table.done()
    return values


def price_sheet(table: FileTable, head: Head) -> PriceSheet:
    """Read kind "price-sheet"."""
    purchase = table.choice("purchase", PURCHASES)
    components = tuple(_component(each, purchase) for each in table.tables("component"))
    if not any(part.section is Section.ENERGY for part in components):
        table.refuse("component", "none of section energy", "at least one of section energy")
    if len({part.item for part in components}) != len(components):
        table.refuse("component", "an item twice", "each item once")
    return PriceSheet(
        head,
        purchase=purchase,
        category=table.choice("category", CATEGORIES),
        energy_quantum_kwh=Decimal(table.choice("energy_quantum_kwh", ENERGY_QUANTA)),
        components=components,
        printed=tuple(_printed(each) for each in table.optional_tables("printed")),
        transmission_floats=table.optional_flag("transmission_floats"),
        price_quantum_yuan_per_kwh=_price_quantum(table),
    )


def _price_quantum(table: FileTable) -> Decimal | None:
    quantum = table.optional_decimal("price_quantum_yuan_per_kwh")
    if quantum is not None and str(quantum) not in PRICE_QUANTA:
        table.refuse("price_quantum_yuan_per_kwh", str(quantum), " | ".join(PRICE_QUANTA))
    return quantum


def _component(table: FileTable, purchase: str) -> Component:
    section = Section(table.choice("section", SHEET_SECTIONS))
    part = Component(
        section=section,
        item=item_name(table),
        name=table.text("name"),
        name_en=table.text("name_en"),
        price_yuan_per_kwh=table.decimal("price_yuan_per_kwh"),
        floats=table.flag("floats"),
        paid_by=_paid_by(table, section, purchase),
        items=tuple(_priced_item(each) for each in table.optional_tables("items")),
    )
    if section is Section.GREEN and part.floats:
        table.refuse("floats", part.floats, "false: the environmental value does not float (1656号 art. 33)")
    if len({item.item for item in part.items}) != len(part.items):
        table.refuse("items", "an item twice", "each item once")
    table.done()
    return part


def _paid_by(table: FileTable, section: Section, purchase: str) -> tuple[str, ...]:
    """Read who pays: by default energy those of the sheet's own purchase, the rest whoever buys in a market."""
    named = table.choices("paid_by", PURCHASES)
    if named:
        return named
    return (purchase,) if section is Section.ENERGY else tuple(dict.fromkeys((purchase, *MARKET_PURCHASES)))


def _priced_item(table: FileTable) -> PricedItem:
    item = PricedItem(
        item_name(table), table.text("name"), table.text("name_en"), table.decimal("price_yuan_per_kwh")
    )
    table.done()
    return item


def _printed(table: FileTable) -> PrintedRow:
    structure, voltage = table.choice("structure", STRUCTURES), table.choice("voltage", VOLTAGES)
    prices = tuple(table.optional_decimal(period) for period in PERIODS)
    if not any(prices):
        table.refuse("flat", "no price", "at least one of " + ", ".join(PERIODS))
    table.done()
    return PrintedRow(structure, voltage, prices)


def transmission(table: FileTable, head: Head) -> Transmission:
    """Read kind "transmission"."""
    rows = tuple(_transmission_row(each) for each in table.tables("row"))
    if len({(row.structure, row.voltage) for row in rows}) != len(rows):
        table.refuse("row", "a structure and voltage twice", "each structure and voltage once")
    return Transmission(head, table.optional_decimal("line_loss_rate"), rows)


def _transmission_row(table: FileTable) -> TransmissionRow:
    row = TransmissionRow(
        structure=table.choice("structure", STRUCTURES),
        voltage=table.choice("voltage", VOLTAGES),
        energy_yuan_per_kwh=table.decimal("energy_yuan_per_kwh"),
        demand_yuan_per_kw_month=table.optional_decimal("demand_yuan_per_kw_month"),
        capacity_yuan_per_kva_month=table.optional_decimal("capacity_yuan_per_kva_month"),
    )
    given = [price is not None for price in (row.demand_yuan_per_kw_month, row.capacity_yuan_per_kva_month)]
    if any(given) if row.structure == "single_part" else any(given) != all(given):
        table.refuse(
            "demand_yuan_per_kw_month",
            f"{sum(given)} of demand and capacity price",
            "both demand and capacity price, or neither where they are not known, for two_part only",
        )
    table.done()
    return row


def funds(table: FileTable, head: Head) -> Funds:
    """Read kind "funds"."""
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
        voltages=table.choices("voltages", VOLTAGES),
        structures=table.choices("structures", STRUCTURES),
    )
    table.done()
    return item


def catalogue(table: FileTable, head: Head) -> Ladder:
    """Read kind "catalogue": one catalogue price that customers of a category may have."""
    limits = table.decimals("limits_kwh")
    if list(limits) != sorted(set(limits)) or any(limit <= 0 for limit in limits):
        table.refuse(
            "limits_kwh", [str(each) for each in limits], "rising limits above 0, one per tier but the last"
        )
    months, days_off = (
        hoursfile.hours(table) if table.has("season") else (((Period.FLAT,) * SLOTS_PER_DAY,) * 12, ())
    )
    ladder = Ladder(
        head,
        category=table.choice("category", CATEGORIES),
        option=_option(table),
        energy_quantum_kwh=Decimal(table.choice("energy_quantum_kwh", ENERGY_QUANTA)),
        cycle=Cycle(table.choice("cycle", tuple(Cycle))),
        pro_rata=ProRata(table.choice("pro_rata", tuple(ProRata))),
        limits_kwh=limits,
        rows=tuple(_ladder_row(each, len(limits) + 1) for each in table.tables("row")),
        calendar=Calendar(head, NO_COEFFICIENTS, months, days_off),
    )
    if ladder.cycle is Cycle.MONTH and ladder.pro_rata is ProRata.MONTHS:
        table.refuse("pro_rata", ladder.pro_rata, "none | days for a ladder of the month")
    voltages = [voltage for row in ladder.rows for voltage in row.voltages]
    if len(set(voltages)) != len(voltages):
        table.refuse("row", voltages, "each voltage in one row only")
    _check_periods(table, ladder)
    return ladder


def _option(table: FileTable) -> str:
    option = table.text("option")
    if (
        not option.isidentifier()
        or not option.isascii()
        or not option.islower()
        or len(option) > OPTION_LENGTH_MAX
    ):
        table.refuse("option", option, f"a name of small letters, digits and _, at most {OPTION_LENGTH_MAX}")
    return option


def _ladder_row(table: FileTable, tiers: int) -> LadderRow:
    periods = table.optional_table("periods")
    row = LadderRow(
        voltages=table.choices("voltages", VOLTAGES),
        tiers=table.decimals("tiers"),
        periods=None if periods is None else tuple(periods.optional_decimal(period) for period in PERIODS),
    )
    if periods is not None:
        periods.done()
    if not row.voltages:
        table.refuse("voltages", row.voltages, " | ".join(VOLTAGES))
    if len(row.tiers) != tiers:
        table.refuse("tiers", [str(each) for each in row.tiers], f"{tiers} prices: one per tier")
    if row.periods is not None and row.tiers[0]:
        table.refuse("tiers", str(row.tiers[0]), "0 first: with period prices a tier says what it adds")
    table.done()
    return row


def _check_periods(table: FileTable, ladder: Ladder) -> None:
    """Refuse hours of a period that has no price, and period prices without hours."""
    days = (*ladder.calendar.months, *(periods for _, _, periods in ladder.calendar.days_off))
    used = {period for day in days for period in day}
    for row in ladder.rows:
        priced = {
            period for period, price in zip(PERIODS, row.periods or (), strict=False) if price is not None
        }
        wanted = used if row.periods is not None or table.has("season") else priced
        if priced != wanted:
            table.refuse(
                "row.periods",
                sorted(priced),
                "a price for each period of the hours: " + ", ".join(sorted(used)),
            )
