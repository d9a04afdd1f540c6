"""The basic charge 基本电费 of the two-part tariff: by capacity, contracted or actual demand. Pure.

Source: 发改办价格〔2016〕1583号, 发改价格〔2023〕526号. What the documents leave open is a dated parameter in
`published/cn-two-part.toml`, never a constant here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from cloud.billing.charges import Transmission, TransmissionRow
from cloud.billing.line import BillLine, Derivation, Input, Section
from cloud.billing.segment import DemandMode, Terms
from cloud.billing.tariff import Head
from cloud.money import EXACT, fen_for, fen_of, product, quotient

FEN_QUANTUM = Decimal("0.01")

_T = TypeVar("_T")


class Overrun(StrEnum):
    """The two readings of 超过105%部分的基本电费加一倍收取 (tariffs-and-settlement 1.3 no. 1)."""

    A = "A"
    B = "B"


@dataclass(frozen=True, slots=True)
class TwoPartRules:
    """How the basic charge is taken; see `published/cn-two-part.toml`."""

    head: Head
    days_of_month_charge: int
    contract_limit_ratio: Decimal
    contract_floor_ratio: Decimal
    overrun_multiplier: Decimal
    overrun_variant: Overrun
    load_discount_in_force: bool
    load_discount_from_kwh_per_kva: Decimal
    load_discount_price_factor: Decimal


@dataclass(frozen=True, slots=True)
class Service:
    """What a basic charge is taken for: terms over days, the demand reached and the month's energy."""

    terms: Terms
    first_day: date
    end_day: date
    demand_kw: Decimal
    month_kwh: Decimal  # all metering points, whole billing month: for the load discount
    whole_month: bool  # without a change inside the month the monthly charge is taken as it is

    @property
    def days(self) -> int:
        """Count the days of service."""
        return (self.end_day - self.first_day).days


def basic_line(service: Service, transmission: Transmission, rules: TwoPartRules) -> BillLine | None:
    """Charge transformer capacity or demand for one stretch of service; None for a single-part tariff.

    A stretch that is not the whole month pays 1/30 per day, whatever the length of the month.
    Raises ValueError when the terms lack what their mode needs; the database refuses such terms.
    """
    match service.terms.demand_mode:
        case DemandMode.NONE:
            return None
        case DemandMode.CAPACITY:
            return _capacity_line(service, transmission, rules)
        case DemandMode.CONTRACTED | DemandMode.ACTUAL:
            return _demand_line(service, transmission, rules)


def chargeable_kw(
    terms: Terms, demand_kw: Decimal, rules: TwoPartRules
) -> tuple[Decimal, str, tuple[Input, ...]]:
    """Compute the kW that are charged, with formula and inputs (发改办价格〔2016〕1583号).

    Contracted: at least `contract_floor_ratio` of the capacity; up to the limit the contract value, above it
    variant A or B. Actual: the demand itself.
    """
    measured = Input("demand_kw", demand_kw, "kW", "intervals")
    if terms.demand_mode is DemandMode.ACTUAL:
        return demand_kw, "demand_kw", (measured,)
    contract, word, inputs = _contract(terms, rules)
    limit = EXACT.multiply(rules.contract_limit_ratio, contract)
    if demand_kw <= limit:
        return contract, word, inputs
    inputs += (
        _rule("contract_limit_ratio", rules.contract_limit_ratio, rules),
        measured,
        _rule("overrun_multiplier", rules.overrun_multiplier, rules),
    )
    over = EXACT.subtract(demand_kw, limit)
    limit_word = f"contract_limit_ratio * {word}"
    base, base_word = (limit, limit_word) if rules.overrun_variant is Overrun.A else (contract, word)
    charged = EXACT.add(base, EXACT.multiply(over, rules.overrun_multiplier))
    return charged, f"({base_word} + (demand_kw - {limit_word}) * overrun_multiplier)", inputs


def has_load_discount(month_kwh: Decimal, capacity_kva: int | None, rules: TwoPartRules) -> bool:
    """Say whether the month's kWh per contract kVA, not rounded, reach the discount's threshold."""
    if not rules.load_discount_in_force or not capacity_kva:
        return False
    return month_kwh >= EXACT.multiply(rules.load_discount_from_kwh_per_kva, Decimal(capacity_kva))


def _capacity_line(service: Service, transmission: Transmission, rules: TwoPartRules) -> BillLine:
    row = _row(service.terms, transmission)
    price = _needed(row.capacity_yuan_per_kva_month, "capacity_yuan_per_kva_month")
    capacity = Decimal(_needed(service.terms.capacity_kva, "capacity_kva"))
    document = transmission.head.document_for("row.capacity_yuan_per_kva_month")
    inputs = (
        Input("capacity_kva", capacity, "kVA", "terms"),
        Input("capacity_price", price, "yuan/(kVA month)", transmission.head.origin, document),
    )
    return _basic(
        service, rules, "capacity_charge", (capacity, "kVA", price), ("capacity_kva * capacity_price", inputs)
    )


def _demand_line(service: Service, transmission: Transmission, rules: TwoPartRules) -> BillLine:
    terms = service.terms
    price = _needed(_row(terms, transmission).demand_yuan_per_kw_month, "demand_yuan_per_kw_month")
    kw, formula, inputs = chargeable_kw(terms, service.demand_kw, rules)
    document = transmission.head.document_for("row.demand_yuan_per_kw_month")
    inputs += (Input("demand_price", price, "yuan/(kW month)", transmission.head.origin, document),)
    formula += " * demand_price"
    if has_load_discount(service.month_kwh, terms.capacity_kva, rules):
        factor = rules.load_discount_price_factor
        inputs += (_rule("load_discount_price_factor", factor, rules),)
        formula += " * load_discount_price_factor"
        price = EXACT.multiply(price, factor)
    item = (
        "contracted_demand_charge" if terms.demand_mode is DemandMode.CONTRACTED else "actual_demand_charge"
    )
    return _basic(service, rules, item, (kw, "kW", price), (formula, inputs))


def _basic(
    service: Service,
    rules: TwoPartRules,
    item: str,
    charged: tuple[Decimal, str, Decimal],
    how: tuple[str, tuple[Input, ...]],
) -> BillLine:
    quantity, unit, price = charged
    formula, inputs = how
    if service.whole_month:
        amount_fen = fen_for(quantity, price)
    else:
        days, month_days = Decimal(service.days), Decimal(rules.days_of_month_charge)
        document = rules.head.document_for("days_of_month_charge")
        inputs += (
            Input("days", days, "day", "terms"),
            Input("month_days", month_days, "day", rules.head.origin, document),
        )
        formula += " * days / month_days"
        amount_fen = fen_of(quotient(product(quantity, price, days), month_days, FEN_QUANTUM))
    return BillLine(
        Section.BASIC,
        item=item,
        period=None,
        quantity=quantity,
        unit=unit,
        price_yuan_per_unit=price,
        amount_fen=amount_fen,
        derivation=Derivation(formula, inputs, service.first_day, service.end_day),
    )


def _contract(terms: Terms, rules: TwoPartRules) -> tuple[Decimal, str, tuple[Input, ...]]:
    agreed = Decimal(_needed(terms.contract_demand_kw, "contract_demand_kw"))
    capacity = Decimal(_needed(terms.capacity_kva, "capacity_kva"))
    floor = EXACT.multiply(rules.contract_floor_ratio, capacity)
    if agreed >= floor:
        return agreed, "contract_kw", (Input("contract_kw", agreed, "kW", "terms"),)
    inputs = (
        Input("capacity_kva", capacity, "kVA", "terms"),
        _rule("contract_floor_ratio", rules.contract_floor_ratio, rules),
    )
    return floor, "(contract_floor_ratio * capacity_kva)", inputs


def _rule(name: str, value: Decimal, rules: TwoPartRules) -> Input:
    return Input(name, value, "1", rules.head.origin, rules.head.document_for(name))


def _row(terms: Terms, transmission: Transmission) -> TransmissionRow:
    return _needed(transmission.row(terms.structure, terms.voltage), f"{terms.structure} {terms.voltage}")


def _needed(value: _T | None, name: str) -> _T:
    if value is None:
        raise ValueError(f"{name} is needed and not there")
    return value
