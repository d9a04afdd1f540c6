"""Dated price sheets and time-of-use calendars: energy x price per period -> bill lines. Pure.

A price sheet is made of components; those that float with the time of use are multiplied by the period's
coefficient (冀北: only the month average purchase price; 冀发改能价〔2025〕1275号). All-in prices that the notice
prints are recomputed from the components; where they differ, the printed price is billed and a finding made
(tariffs-and-settlement 1.3 no. 18).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Protocol

from cloud.billing.line import PERIODS, BillLine, Derivation, Input, Period, Section
from cloud.markettime import SLOTS_PER_DAY
from cloud.money import EXACT, fen_for, total

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
    """Time-of-use calendar: 12 months x 96 slots, and the coefficient of each period."""

    head: Head
    coefficients: tuple[Decimal, ...]  # in the order of PERIODS
    months: tuple[tuple[Period, ...], ...]  # months[0] is January; 96 periods each

    def period_of(self, day: date, slot: int) -> Period:
        """Find the period of a slot 0..95 of a trading day."""
        return self.months[day.month - 1][slot]

    def coefficient_of(self, period: Period) -> Decimal:
        """Find the coefficient that floating components are multiplied by."""
        return self.coefficients[PERIODS.index(period)]


@dataclass(frozen=True, slots=True)
class Component:
    """One part of the price of a kWh."""

    section: Section
    item: str
    name: str
    name_en: str
    price_yuan_per_kwh: Decimal
    floats: bool


@dataclass(frozen=True, slots=True)
class PrintedRow:
    """All-in prices as the notice prints them for one structure and voltage, in the order of PERIODS."""

    structure: str
    voltage: str
    prices_yuan_per_kwh: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class PriceSheet:
    """The monthly price table of one way of purchase and one customer category."""

    head: Head
    purchase: str
    category: str
    energy_quantum_kwh: Decimal
    components: tuple[Component, ...]
    printed: tuple[PrintedRow, ...]

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
    """Rebuild the price table's row: the sheet's components of every period plus T&D and funds."""
    other = total(other_yuan_per_kwh)
    return tuple(
        EXACT.add(floated(sheet.components, calendar.coefficient_of(period)), other) for period in PERIODS
    )


def printed_differences(printed: PrintedRow | None, recomputed: Sequence[Decimal]) -> tuple[Decimal, ...]:
    """Compute printed minus recomputed price of every period; zeros when the notice prints none."""
    if printed is None:
        return (ZERO,) * len(PERIODS)
    pairs = zip(printed.prices_yuan_per_kwh, recomputed, strict=True)
    return tuple(EXACT.subtract(given, rebuilt) for given, rebuilt in pairs)


def printed_findings(printed: PrintedRow | None, recomputed: Sequence[Decimal]) -> tuple[Finding, ...]:
    """Report every period in which the printed price is not the sum of its components."""
    differences = printed_differences(printed, recomputed)
    return tuple(
        Finding(
            "printed_price_differs",
            (("period", period), ("printed", str(EXACT.add(rebuilt, off))), ("recomputed", str(rebuilt))),
        )
        for period, rebuilt, off in zip(PERIODS, recomputed, differences, strict=True)
        if off
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

    `differences` (printed minus recomputed, per period) are added to the price. Lines of zero kWh stay.
    """
    parts = sheet.components_of(section)
    if not parts:
        return ()
    if not any(part.floats for part in parts) and not any(differences):
        return (_line(section, None, energy.total_kwh, energy, _terms(parts, sheet, None, ZERO)),)
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
