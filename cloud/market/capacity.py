"""A resource's capacity payment 容量补偿 of a month: kW x price, less what calls took and what failures withhold. Pure.

海南 2025 draft [SEC]: 0.3 yuan/kW·month for uncalled capacity (tariffs-and-settlement 12.1). A resource that is enrolled
for a part of the month is paid for its days. Sign as everywhere: positive = the participant pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from cloud.market.line import Derivation, Input
from cloud.market.programme import Basis, CapacityRule, Failure, Programme
from cloud.market.statement import derivation_json
from cloud.markettime import days_of_month, month_after
from cloud.money import EXACT, quotient

NOTHING = Decimal(0)


class Item(StrEnum):
    """What a line is for."""

    CAPACITY = "capacity"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Call:
    """A call or a test of a month: what was promised (None: no answer, or a refusal), and what came of it."""

    event: str
    is_test: bool
    bid_kw: int | None
    bid_kwh: Decimal
    response_kwh: Decimal


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource on `days` days of a month."""

    enrolment: str
    month: date
    capacity_kw: int
    days: int


@dataclass(frozen=True, slots=True)
class Line:
    """One amount of a resource's month."""

    item: Item
    kw: int
    yuan_per_kw_month: Decimal
    amount_fen: int
    derivation: Derivation


@dataclass(frozen=True, slots=True)
class Payment:
    """What a month's capacity comes to."""

    kw: int
    failures: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def total_fen(self) -> int:
        """What the participant pays (+) or receives (-)."""
        return sum(line.amount_fen for line in self.lines)


def payment(programme: Programme, rule: CapacityRule, resource: Resource, calls: Sequence[Call]) -> Payment:
    """Compute a resource's month: the paid capacity at its price, less what its failures withhold."""
    kw = paid_kw(rule.basis, resource.capacity_kw, calls)
    failed = () if rule.failure is None else failures(rule.failure, calls)
    inputs = (
        Input("kw", Decimal(kw), "kW", f"enrolment {resource.enrolment}"),
        Input("price", rule.yuan_per_kw_month, "yuan/kW·month", programme.origin),
        Input("days", Decimal(resource.days), "1", f"enrolment {resource.enrolment}"),
        Input("month_days", Decimal(len(days_of_month(resource.month))), "1", "calendar"),
    )
    notes = (
        ("basis", rule.basis.value),
        ("calls", ", ".join(each.event for each in calls if not each.is_test)),
        ("capacity_kw", str(resource.capacity_kw)),
        ("failures", ", ".join(failed)),
        ("tests", ", ".join(each.event for each in calls if each.is_test)),
    )
    earned_fen = _fen(inputs)
    lines = [
        _line(Item.CAPACITY, "-1 * kw * price * days / month_days", (-earned_fen, inputs), notes, resource)
    ]
    if rule.failure is not None and failed and earned_fen:
        ratio = min(Decimal(1), EXACT.multiply(Decimal(len(failed)), rule.failure.withheld_ratio))
        more = (*inputs, Input("withheld_ratio", ratio, "1", programme.origin))
        formula = "kw * price * days / month_days * withheld_ratio"
        lines.append(_line(Item.WITHHELD, formula, (_fen(more), more), notes, resource))
    return Payment(kw, failed, tuple(lines))


def paid_kw(basis: Basis, capacity_kw: int, calls: Sequence[Call]) -> int:
    """Find the capacity that is paid: all of it, or what no call of the month took; an unanswered call took all."""
    if basis is Basis.ENROLLED:
        return capacity_kw
    taken = (capacity_kw if each.bid_kw is None else each.bid_kw for each in calls if not each.is_test)
    return max(0, capacity_kw - max(taken, default=0))


def failures(rule: Failure, calls: Sequence[Call]) -> tuple[str, ...]:
    """List the calls and tests that were not answered, or with less than the least share of what was promised."""
    return tuple(
        each.event
        for each in calls
        if each.bid_kw is None or each.response_kwh < EXACT.multiply(each.bid_kwh, rule.least_ratio)
    )


def line_json(line: Line) -> dict[str, Any]:
    """Write a line as plain values; numbers are strings, so that no digit is lost."""
    return {
        "item": line.item.value,
        "kw": line.kw,
        "yuan_per_kw_month": format(line.yuan_per_kw_month, "f"),
        "amount_fen": line.amount_fen,
        "derivation": derivation_json(line.derivation),
    }


def _fen(inputs: Sequence[Input]) -> int:
    """Round kw x price x days / month_days (x the withheld share) once."""
    value = {each.name: each.value for each in inputs}
    whole = EXACT.multiply(EXACT.multiply(value["kw"], value["price"]), value["days"])
    whole = EXACT.multiply(EXACT.multiply(whole, value.get("withheld_ratio", Decimal(1))), Decimal(100))
    return int(quotient(whole, value["month_days"], Decimal(1)))


def _line(
    item: Item,
    formula: str,
    priced: tuple[int, tuple[Input, ...]],
    notes: tuple[tuple[str, str], ...],
    resource: Resource,
) -> Line:
    amount_fen, inputs = priced
    derivation = Derivation(formula, inputs, resource.month, month_after(resource.month), notes)
    value = {each.name: each.value for each in inputs}
    return Line(item, int(value["kw"]), value["price"], amount_fen, derivation)
