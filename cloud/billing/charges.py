"""Charges on all energy of a segment beside the price sheet: T&D and government funds. Pure.

Line loss and system operation are components of the price sheet (`tariff.component_lines`); the basic charge is
in `basic`, the power factor in `powerfactor`. Each line is rounded once to the fen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from cloud.billing.line import PERIODS, BillLine, Derivation, Input, Section
from cloud.billing.tariff import Calendar, Energy, Head, PricedItem, line_items
from cloud.money import EXACT, fen_for, total


@dataclass(frozen=True, slots=True)
class TransmissionRow:
    """T&D prices of one structure and voltage; demand and capacity prices only where there are two parts."""

    structure: str
    voltage: str
    energy_yuan_per_kwh: Decimal
    demand_yuan_per_kw_month: Decimal | None
    capacity_yuan_per_kva_month: Decimal | None


@dataclass(frozen=True, slots=True)
class Transmission:
    """A grid's T&D price table (输配电价表) with its line loss rate."""

    head: Head
    line_loss_rate: Decimal | None  # None: not published
    rows: tuple[TransmissionRow, ...]

    def row(self, structure: str, voltage: str) -> TransmissionRow | None:
        """Find the row of a structure and voltage."""
        found = (row for row in self.rows if (row.structure, row.voltage) == (structure, voltage))
        return next(found, None)


@dataclass(frozen=True, slots=True)
class FundItem(PricedItem):
    """One government fund or surcharge; `voltages` and `structures` that pay it, all where empty."""

    voltages: tuple[str, ...] = ()
    structures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Funds:
    """Government funds and surcharges of one customer category."""

    head: Head
    category: str
    items: tuple[FundItem, ...]

    @property
    def total_yuan_per_kwh(self) -> Decimal:
        """Add up the items; the bill charges the total (the split is not certain everywhere)."""
        return total(item.price_yuan_per_kwh for item in self.items)

    def paid_at(self, structure: str, voltage: str) -> Funds:
        """Keep the items that customers of a structure and voltage pay."""
        items = tuple(
            item
            for item in self.items
            if (not item.voltages or voltage in item.voltages)
            and (not item.structures or structure in item.structures)
        )
        return self if items == self.items else replace(self, items=items)


def transmission_lines(
    energy: Energy, transmission: Transmission, row: TransmissionRow, floats: Calendar | None
) -> tuple[BillLine, ...]:
    """Charge T&D: one line on all energy, or one per period where the T&D price `floats` with a calendar."""
    if floats is None:
        return (transmission_line(energy, transmission, row),)
    document = floats.head.document_for("coefficients")
    lines = []
    for period, kwh, coefficient in zip(PERIODS, energy.kwh, floats.coefficients, strict=True):
        price = EXACT.multiply(row.energy_yuan_per_kwh, coefficient)
        factor = Input("coefficient", coefficient, "1", floats.head.origin, document)
        own = Input("kwh", kwh, "kWh", "intervals")
        plain = transmission_line(energy, transmission, row)
        derivation = replace(
            plain.derivation,
            formula="kwh * transmission_price * coefficient",
            inputs=(own, *plain.derivation.inputs[1:], factor),
        )
        lines.append(
            replace(
                plain,
                period=period,
                quantity=kwh,
                price_yuan_per_unit=price,
                amount_fen=fen_for(kwh, price),
                derivation=derivation,
            )
        )
    return tuple(lines)


def transmission_line(energy: Energy, transmission: Transmission, row: TransmissionRow) -> BillLine:
    """Charge T&D on all energy of the segment."""
    price = row.energy_yuan_per_kwh
    document = transmission.head.document_for("row.energy_yuan_per_kwh")
    return BillLine(
        Section.TRANSMISSION,
        item="transmission_energy",
        period=None,
        quantity=energy.total_kwh,
        unit="kWh",
        price_yuan_per_unit=price,
        amount_fen=fen_for(energy.total_kwh, price),
        derivation=Derivation(
            "kwh * transmission_price",
            (
                Input("kwh", energy.total_kwh, "kWh", "intervals"),
                Input("transmission_price", price, "yuan/kWh", transmission.head.origin, document),
            ),
            energy.first_day,
            energy.end_day,
        ),
    )


def funds_line(energy: Energy, funds: Funds) -> BillLine:
    """Charge government funds on all energy: one line on the published total, its items share the amount."""
    price = funds.total_yuan_per_kwh
    document = funds.head.document_for("item")
    items = tuple(
        Input(item.item, item.price_yuan_per_kwh, "yuan/kWh", funds.head.origin, document)
        for item in funds.items
    )
    line = BillLine(
        Section.FUNDS,
        item="government_funds",
        period=None,
        quantity=energy.total_kwh,
        unit="kWh",
        price_yuan_per_unit=price,
        amount_fen=fen_for(energy.total_kwh, price),
        derivation=Derivation(
            f"kwh * ({' + '.join(item.item for item in funds.items)})",
            (Input("kwh", energy.total_kwh, "kWh", "intervals"), *items),
            energy.first_day,
            energy.end_day,
        ),
    )
    return replace(line, items=line_items(line, funds.items))
