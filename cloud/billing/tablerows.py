"""A price table as a notice prints it, rebuilt row by row from its components; and any package's prices by period. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from cloud.billing.catalogue import Buyer, Catalogue, UnpricedMonth
from cloud.billing.package import Form, NoReferencePrice, Package, References
from cloud.billing.retail import period_prices
from cloud.billing.tariff import PriceFile, PriceSheet, all_in_prices


@dataclass(frozen=True, slots=True)
class TableRow:
    """All-in prices of one structure and voltage in the order of PERIODS; `differs` where the notice prints another."""

    structure: str
    voltage: str
    prices: tuple[Decimal, ...]
    differs: tuple[bool, ...]
    demand_yuan_per_kw_month: Decimal | None
    capacity_yuan_per_kva_month: Decimal | None


def rows_of(file: PriceFile, known: Catalogue) -> tuple[TableRow, ...]:
    """Rebuild the table of a price sheet, or a package's period prices, with the files in force on its first day.

    Nothing for other kinds, and nothing when files that it needs are not published.
    """
    try:
        if isinstance(file, PriceSheet):
            return _sheet_rows(file, known)
        return _package_rows(file, known) if isinstance(file, Package) else ()
    except (UnpricedMonth, NoReferencePrice):
        return ()


def _sheet_rows(sheet: PriceSheet, known: Catalogue) -> tuple[TableRow, ...]:
    day = sheet.head.effective_from
    others = tuple(each for each in known.files if each.head.origin != sheet.head.origin)
    on = Catalogue((*others, sheet))
    prices = on.prices_on(day, Buyer(sheet.head.grid, sheet.purchase, sheet.category))
    rows = []
    for row in prices.transmission.rows:
        funds = prices.funds.paid_at(row.structure, row.voltage)
        rebuilt = all_in_prices(sheet, prices.calendar, (row.energy_yuan_per_kwh, funds.total_yuan_per_kwh))
        printed = sheet.printed_row(row.structure, row.voltage)
        given = printed.prices_yuan_per_kwh if printed else (None,) * len(rebuilt)
        rows.append(
            TableRow(
                row.structure,
                row.voltage,
                rebuilt,
                tuple(
                    price is not None and price != mine for price, mine in zip(given, rebuilt, strict=True)
                ),
                row.demand_yuan_per_kw_month,
                row.capacity_yuan_per_kva_month,
            )
        )
    return tuple(rows)


def _package_rows(package: Package, known: Catalogue) -> tuple[TableRow, ...]:
    if package.formula.form is Form.LADDER:
        return ()
    references = sorted(
        (each for each in known.files if isinstance(each, References)),
        key=lambda each: each.head.effective_from,
    )
    newest = references[-1] if references else None
    day = newest.head.effective_from if newest else package.head.effective_from
    calendar = known.calendar_on(day, package.head.grid)
    prices = tuple(each.yuan_per_kwh for each in period_prices(package, newest, calendar))
    return (TableRow("", "", prices, (False,) * len(prices), None, None),)
