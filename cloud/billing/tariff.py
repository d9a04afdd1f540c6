"""Dated price sheets and time-of-use calendars: energy x price per period -> bill lines. Pure.

A price sheet is made of components; those that float with the time of use are multiplied by the period's
coefficient (冀北: only the month average purchase price; 冀发改能价〔2025〕1275号). All-in prices that the notice
prints are recomputed from the components; where they differ, the printed price is billed and a finding made
(tariffs-and-settlement 1.3 no. 18).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Protocol

from cloud import daytypes
from cloud.billing.line import PERIODS, BillLine, Derivation, Input, LineItem, Period, Section
from cloud.daytypes import DayKind
from cloud.markettime import SLOTS_PER_DAY
from cloud.money import EXACT, fen_for, rounded, total

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Source:
    """A document behind a file or some of its keys, with how certain it is (tariffs-and-settlement 0.1)."""

    document: str
    mark: str
    confirmed: bool
    covers: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Head:
    """Who published what, and the days `[effective_from, effective_to)` on which it is in force."""

    kind: str
    id: str
    version: int
    sha256: str
    title: str
    grid: str
    effective_from: date
    effective_to: date | None
    sources: tuple[Source, ...]

    @property
    def origin(self) -> str:
        """Name this file and version, as derivations do."""
        return f"{self.id}@{self.version}"

    def document_for(self, key: str) -> str:
        """Find the document that stands behind `key`: the source that covers it, else that of the file."""
        covering = [source for source in self.sources if key in source.covers]
        return (covering or [s for s in self.sources if not s.covers] or list(self.sources))[0].document

    def in_force(self, day: date) -> bool:
        """Say whether the file is in force on a trading day."""
        return self.effective_from <= day and (self.effective_to is None or day < self.effective_to)


class PriceFile(Protocol):
    """Any published file: its content is of its kind, its head is common to all."""

    @property
    def head(self) -> Head:
        """Who published it, and when it is in force."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """Time-of-use calendar: 12 months x 96 slots, other hours on days off, and the coefficient of each period."""

    head: Head
    coefficients: tuple[Decimal, ...]  # in the order of PERIODS
    months: tuple[tuple[Period, ...], ...]  # months[0] is January; 96 periods each
    days_off: tuple[tuple[DayKind, int, tuple[Period, ...]], ...] = ()  # (day type, month, its 96 periods)

    def day(self, day: date) -> tuple[Period, ...]:
        """Find the 96 periods of a trading day, 调休 days included. Raises NoCalendar where day types matter."""
        if self.days_off:
            kind = daytypes.kind_of(day)
            for other, month, periods in self.days_off:
                if (other, month) == (kind, day.month):
                    return periods
        return self.months[day.month - 1]

    def period_of(self, day: date, slot: int) -> Period:
        """Find the period of a slot 0..95 of a trading day."""
        return self.day(day)[slot]

    def coefficient_of(self, period: Period) -> Decimal:
        """Find the coefficient that floating components are multiplied by."""
        return self.coefficients[PERIODS.index(period)]


@dataclass(frozen=True, slots=True)
class PricedItem:
    """A published item of a price, for display."""

    item: str
    name: str
    name_en: str
    price_yuan_per_kwh: Decimal


@dataclass(frozen=True, slots=True)
class Component:
    """One part of the price of a kWh; `paid_by` are the ways of purchase whose customers pay it."""

    section: Section
    item: str
    name: str
    name_en: str
    price_yuan_per_kwh: Decimal
    floats: bool
    paid_by: tuple[str, ...] = ()
    items: tuple[PricedItem, ...] = ()


@dataclass(frozen=True, slots=True)
class PrintedRow:
    """All-in prices as the notice prints them for one structure and voltage; None: a period it does not print."""

    structure: str
    voltage: str
    prices_yuan_per_kwh: tuple[Decimal | None, ...]  # in the order of PERIODS


@dataclass(frozen=True, slots=True)
class PriceSheet:
    """The monthly price table of one way of purchase and one customer category.

    `transmission_floats`: the T&D energy price belongs to what floats with the time of use (Shanghai).
    `price_quantum_yuan_per_kwh`: decimals of the all-in prices; None: they are exact.
    """

    head: Head
    purchase: str
    category: str
    energy_quantum_kwh: Decimal
    components: tuple[Component, ...]
    printed: tuple[PrintedRow, ...]
    transmission_floats: bool = False
    price_quantum_yuan_per_kwh: Decimal | None = None

    def paid_under(self, purchase: str) -> PriceSheet:
        """Keep what customers of a way of purchase pay; the printed prices are those of the sheet's own."""
        if purchase == self.purchase:
            return self
        parts = tuple(part for part in self.components if purchase in part.paid_by)
        return replace(self, components=parts, printed=(), price_quantum_yuan_per_kwh=None)

    def components_of(self, section: Section) -> tuple[Component, ...]:
        """List the components of one section of the bill."""
        return tuple(part for part in self.components if part.section is section)

    def printed_row(self, structure: str, voltage: str) -> PrintedRow | None:
        """Find the printed prices of a structure and voltage, if the notice prints them."""
        rows = (row for row in self.printed if (row.structure, row.voltage) == (structure, voltage))
        return next(rows, None)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should look at; `rule` names it, `facts` say what and where."""

    rule: str
    facts: tuple[tuple[str, str], ...]


def periods_of_day(hours: Mapping[Period, Sequence[tuple[int, int]]]) -> tuple[Period, ...]:
    """Lay `[start, end)` slot ranges out over one day.

    Raises ValueError unless every slot is covered exactly once.
    """
    slots: list[Period | None] = [None] * SLOTS_PER_DAY
    for period, ranges in hours.items():
        for start, end in ranges:
            for slot in range(start, end):
                if slots[slot] is not None:
                    raise ValueError(f"slot {slot} is both {slots[slot]} and {period}")
                slots[slot] = period
    if None in slots:
        raise ValueError(f"slot {slots.index(None)} is in no period")
    return tuple(period for period in slots if period is not None)


def floated(components: Iterable[Component], coefficient: Decimal) -> Decimal:
    """Add up components, those that float multiplied by the coefficient; exact."""
    price = ZERO
    for part in components:
        factor = coefficient if part.floats else Decimal(1)
        price = EXACT.add(price, EXACT.multiply(part.price_yuan_per_kwh, factor))
    return price


def all_in_prices(
    sheet: PriceSheet, calendar: Calendar, other_yuan_per_kwh: Sequence[Decimal]
) -> tuple[Decimal, ...]:
    """Rebuild the price table's row: the sheet's components of every period plus T&D (first) and funds; exact.

    The environmental value of green power stands beside the table (发改能源规〔2025〕1656号 art. 33).
    """
    transmission, *rest = (*other_yuan_per_kwh, ZERO)
    parts_of_price = [part for part in sheet.components if part.section is not Section.GREEN]
    row = []
    for period in PERIODS:
        coefficient = calendar.coefficient_of(period)
        factor = coefficient if sheet.transmission_floats else Decimal(1)
        parts = (floated(parts_of_price, coefficient), EXACT.multiply(transmission, factor), *rest)
        row.append(total(parts))
    return tuple(row)


def price_differences(
    sheet: PriceSheet, printed: PrintedRow | None, recomputed: Sequence[Decimal]
) -> tuple[Decimal, ...]:
    """Compute what is billed minus the exact price of every period.

    Billed is the printed price, or else the exact one rounded to the sheet's quantum.
    """
    billed = printed.prices_yuan_per_kwh if printed else (None,) * len(PERIODS)
    return tuple(
        EXACT.subtract(_as_printed(exact, sheet) if given is None else given, exact)
        for given, exact in zip(billed, recomputed, strict=True)
    )


def printed_findings(
    sheet: PriceSheet, printed: PrintedRow, recomputed: Sequence[Decimal]
) -> tuple[Finding, ...]:
    """Report every period in which the printed price is not the sum of its components."""
    pairs = zip(PERIODS, printed.prices_yuan_per_kwh, recomputed, strict=True)
    expected = ((period, given, _as_printed(exact, sheet)) for period, given, exact in pairs)
    return tuple(
        Finding(
            "printed_price_differs",
            (("period", period), ("printed", str(given)), ("recomputed", str(rebuilt))),
        )
        for period, given, rebuilt in expected
        if given is not None and given != rebuilt
    )


def item_findings(sheet: PriceSheet) -> tuple[Finding, ...]:
    """Report every component whose published items do not add up to its published price."""
    sums = [(part, total(each.price_yuan_per_kwh for each in part.items)) for part in sheet.components]
    return tuple(
        Finding(
            "printed_items_differ",
            (("item", part.item), ("printed", str(part.price_yuan_per_kwh)), ("recomputed", str(items))),
        )
        for part, items in sums
        if part.items and items != part.price_yuan_per_kwh
    )


def _as_printed(exact: Decimal, sheet: PriceSheet) -> Decimal:
    return (
        exact
        if sheet.price_quantum_yuan_per_kwh is None
        else rounded(exact, sheet.price_quantum_yuan_per_kwh)
    )


@dataclass(frozen=True, slots=True)
class Energy:
    """Billed energy of a stretch of days `[first_day, end_day)`, kWh in the order of PERIODS."""

    kwh: tuple[Decimal, ...]
    first_day: date
    end_day: date

    @property
    def total_kwh(self) -> Decimal:
        """Add up the periods."""
        return total(self.kwh)


def component_lines(
    section: Section,
    energy: Energy,
    sheet: PriceSheet,
    calendar: Calendar,
    differences: Sequence[Decimal] = (),
) -> tuple[BillLine, ...]:
    """Price one section of the sheet: a line per period when any of it floats, else one on all energy.

    `differences` (billed minus exact price, per period) are added to the price. Lines of zero kWh stay.
    """
    parts = sheet.components_of(section)
    if not parts:
        return ()
    if not any(part.floats for part in parts) and not any(differences):
        line = _line(section, None, energy.total_kwh, energy, _terms(parts, sheet, None, ZERO))
        return (replace(line, items=line_items(line, items_of(parts))),)
    return tuple(
        _line(
            section,
            period,
            kwh,
            energy,
            _terms(parts, sheet, (calendar, period), differences[index] if differences else ZERO),
        )
        for index, (period, kwh) in enumerate(zip(PERIODS, energy.kwh, strict=True))
    )


def items_of(parts: Iterable[Component]) -> tuple[PricedItem, ...]:
    """List the published items of components; a component without items is its own."""
    return tuple(
        item
        for part in parts
        for item in (part.items or (PricedItem(part.item, part.name, part.name_en, part.price_yuan_per_kwh),))
    )


def line_items(line: BillLine, items: Sequence[PricedItem]) -> tuple[LineItem, ...]:
    """Share a line's amount among the items of its price, so that they add up to it exactly.

    Each is its own price x quantity, rounded to the fen; the last with a price takes the remainder
    (tariffs-and-settlement 10.4). Items that do not add up to the published price get one more, `not_itemised`, with the difference.
    One item says nothing new: then there are none.
    """
    missing = EXACT.subtract(line.price_yuan_per_unit, total(item.price_yuan_per_kwh for item in items))
    if missing:
        items = (*items, PricedItem("not_itemised", "未列明细", "Not itemised", missing))
    if len(items) < 2:
        return ()
    amounts = [fen_for(line.quantity, item.price_yuan_per_kwh) for item in items]
    last = max((index for index, item in enumerate(items) if item.price_yuan_per_kwh), default=-1)
    amounts[last] += line.amount_fen - sum(amounts)
    return tuple(
        LineItem(item.item, item.name, item.name_en, item.price_yuan_per_kwh, amount_fen)
        for item, amount_fen in zip(items, amounts, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Price:
    """A price with the formula that gives it."""

    yuan_per_kwh: Decimal
    formula: str
    inputs: tuple[Input, ...]


def _terms(
    parts: Sequence[Component], sheet: PriceSheet, at: tuple[Calendar, Period] | None, difference: Decimal
) -> _Price:
    inputs = [
        Input(
            part.item,
            part.price_yuan_per_kwh,
            "yuan/kWh",
            sheet.head.origin,
            sheet.head.document_for(f"component.{part.item}"),
        )
        for part in parts
    ]
    words = [f"{part.item} * coefficient" if part.floats else part.item for part in parts]
    coefficient = Decimal(1)
    if at is not None and any(part.floats for part in parts):
        calendar, period = at
        coefficient = calendar.coefficient_of(period)
        document = calendar.head.document_for("coefficients")
        inputs.append(Input("coefficient", coefficient, "1", calendar.head.origin, document))
    price = floated(parts, coefficient)
    if difference:
        price = EXACT.add(price, difference)
        words.append("printed_difference")
        document = sheet.head.document_for("printed")
        inputs.append(Input("printed_difference", difference, "yuan/kWh", sheet.head.origin, document))
    formula = words[0] if len(words) == 1 and "*" not in words[0] else f"({' + '.join(words)})"
    return _Price(price, formula, tuple(inputs))


def _line(section: Section, period: Period | None, kwh: Decimal, energy: Energy, price: _Price) -> BillLine:
    return BillLine(
        section,
        item=str(section),
        period=period,
        quantity=kwh,
        unit="kWh",
        price_yuan_per_unit=price.yuan_per_kwh,
        amount_fen=fen_for(kwh, price.yuan_per_kwh),
        derivation=Derivation(
            formula=f"kwh * {price.formula}",
            inputs=(Input("kwh", kwh, "kWh", "intervals"), *price.inputs),
            first_day=energy.first_day,
            end_day=energy.end_day,
        ),
    )
