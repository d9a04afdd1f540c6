"""What a participant did in an event, and what it is paid: settlement lines with their derivation. Pure.

Sign of lines as in market settlement: positive = the participant pays, negative = it receives. A response of an event
is the sum over its quarter-hours, those on the wrong side included; it is rounded once, to the watt-hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

from cloud.market import response
from cloud.market.baseline import Adjusted, kw_of
from cloud.market.line import Derivation, Input
from cloud.market.programme import Direction, Programme
from cloud.market.statement import derivation_json
from cloud.markettime import SLOTS_PER_HOUR
from cloud.money import EXACT, quotient

SLOT_HOURS = Decimal(1) / SLOTS_PER_HOUR
_WATT_HOUR = Decimal("0.001")


class Item(StrEnum):
    """What a line is for."""

    RESPONSE = "response"
    SHORTFALL = "shortfall"


@dataclass(frozen=True, slots=True)
class Line:
    """One amount of one participant in one event."""

    item: Item
    quantity_kwh: Decimal
    price_yuan_per_kwh: Decimal
    amount_fen: int
    derivation: Derivation


@dataclass(frozen=True, slots=True)
class Called:
    """What was asked and promised: slots `[first, end)` of a day, kW bid, clearing price."""

    day: date
    slots: tuple[int, int]
    bid_kw: int
    price_yuan_per_kwh: Decimal
    event: str


@dataclass(frozen=True, slots=True)
class Performance:
    """What came of it."""

    bid_kwh: Decimal
    response_kwh: Decimal
    eligible_kwh: Decimal
    lines: tuple[Line, ...]

    @property
    def total_fen(self) -> int:
        """What the participant pays (+) or receives (-)."""
        return sum(line.amount_fen for line in self.lines)


def bid_kwh(bid_kw: int, slots: tuple[int, int]) -> Decimal:
    """The energy of a bid over the event."""
    return EXACT.multiply(Decimal(bid_kw), EXACT.multiply(SLOT_HOURS, Decimal(slots[1] - slots[0])))


def estimate_fen(programme: Programme, bid_kw: int, slots: tuple[int, int], price: Decimal) -> int:
    """What an invitation says can be earned: the bid, fully delivered."""
    paid = response.paid_price(price, programme.cap_yuan_per_kwh)
    return response.payment_fen(bid_kwh(bid_kw, slots), paid)


def response_kwh(
    direction: Direction, baseline_kw: Sequence[Fraction], actual_wh: Sequence[int | None]
) -> Decimal:
    """Energy not taken (or taken more, when filling a valley), to the watt-hour. Raises ValueError for a gap."""
    exact = response.reduction_kwh(baseline_kw, [kw_of(wh) for wh in actual_wh], SLOT_HOURS)
    if direction is Direction.FILL:
        exact = -exact
    return quotient(Decimal(exact.numerator), Decimal(exact.denominator), _WATT_HOUR)


def performance(
    programme: Programme, called: Called, fitted: Adjusted, actual_wh: Sequence[int | None]
) -> Performance:
    """Measure a participant's response and price it by its programme."""
    bid = bid_kwh(called.bid_kw, called.slots)
    achieved = response_kwh(programme.direction, fitted.kw, actual_wh)
    counted = max(Decimal(0), achieved)
    eligible = response.eligible_kwh(counted, bid, programme.band)
    price = response.paid_price(called.price_yuan_per_kwh, programme.cap_yuan_per_kwh)
    inputs = (
        Input("eligible_kwh", eligible, "kWh", "intervals"),
        Input("price", price, "yuan/kWh", f"event {called.event}"),
    )
    notes = _notes(programme, called, fitted, achieved, bid)
    amount = -response.payment_fen(eligible, price)
    lines = [
        Line(
            Item.RESPONSE,
            eligible,
            price,
            amount,
            _derived("-1 * eligible_kwh * price", inputs, called, notes),
        )
    ]
    if programme.penalty is not None:
        missing = response.shortfall(counted, bid, programme.penalty)
        if missing > 0:
            fen = response.penalty_fen(counted, bid, price, programme.penalty)
            charged = (
                Input("missing_kwh", missing, "kWh", "intervals"),
                Input("price", price, "yuan/kWh", f"event {called.event}"),
                Input("multiple", programme.penalty.multiple_factor, "1", programme.origin),
            )
            formula = "missing_kwh * price * multiple"
            lines.append(Line(Item.SHORTFALL, missing, price, fen, _derived(formula, charged, called, notes)))
    return Performance(bid, achieved, eligible, tuple(lines))


def line_json(line: Line) -> dict[str, Any]:
    """Write a line as plain values; numbers are strings, so that no digit is lost."""
    return {
        "item": line.item.value,
        "quantity_kwh": format(line.quantity_kwh, "f"),
        "price_yuan_per_kwh": format(line.price_yuan_per_kwh, "f"),
        "amount_fen": line.amount_fen,
        "derivation": derivation_json(line.derivation),
    }


def _derived(
    formula: str, inputs: tuple[Input, ...], called: Called, notes: tuple[tuple[str, str], ...]
) -> Derivation:
    return Derivation(formula, inputs, called.day, called.day + timedelta(days=1), notes)


def _notes(
    programme: Programme, called: Called, fitted: Adjusted, achieved: Decimal, bid: Decimal
) -> tuple[tuple[str, str], ...]:
    band = programme.band
    return (
        ("adjustment", str(fitted.change)),
        ("band", f"{band.low_ratio}–{band.high_ratio or ''}"),
        ("baseline_kwh", str(sum(fitted.kw, Fraction(0)) / SLOTS_PER_HOUR)),
        ("bid_kwh", format(bid, "f")),
        ("clearing_price", format(called.price_yuan_per_kwh, "f")),
        ("price_cap", format(programme.cap_yuan_per_kwh, "f")),
        ("programme", programme.origin),
        ("response_kwh", format(achieved, "f")),
    )
