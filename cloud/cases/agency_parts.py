"""The components of an agency price: which there are, which float, what penalised users pay on top. Pure."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations

from cloud.billing.line import Section
from cloud.billing.tariff import Component
from cloud.cases.work import Work
from cloud.money import EXACT, total

RULE = "发改办价格〔2021〕809号 · §5"
AVERAGE = "month_average_purchase_price average_purchase_price month_average_price purchase_price avg_purchase_price"
HISTORIC = "historic_deviation_price historic_deviation deviation_price historical_deviation_price"
AGENCY = "agency_price agency_purchase_price"
LOSS = "line_loss_price line_loss"
SYSTEM = "system_operation_price system_operation system_operation_fee_price system_operation_price_printed printed_system_operation_price"
FUNDS = "government_funds_price government_funds funds_price funds government_fund_items government_funds_items fund_items funds_items"
TRANSMISSION = (
    "td_energy_price td_price transmission_price td_energy t_and_d_energy_price td_energy_price_per_kwh"
)
COEFFICIENTS = "period_coefficients coefficients tou_coefficients period_ratios"
FLOATS = "floats floating_components floating floating_set floating_base floating_base_components tou_base components_floating floating_base_price"
LOSS_RATE = "line_loss_rate loss_rate line_loss_ratio loss_ratio line_loss"
PENALTY = "multiplier price_multiplier agency_multiplier penalty_multiplier agency_price_multiplier user_multiplier penalised_multiplier"
KWH = "kwh kwh_by_period energy_kwh period_kwh"
ENVIRONMENT = "environmental_price env_price green_price environmental_price_per_kwh"
# Component -> (canonical name, section of the bill, other names).
PARTS: dict[str, tuple[Section, str]] = {
    "month_average_purchase_price": (Section.ENERGY, AVERAGE),
    "historic_deviation_price": (Section.ENERGY, HISTORIC),
    "agency_price": (Section.ENERGY, AGENCY),
    "line_loss_price": (Section.LINE_LOSS, LOSS),
    "td_energy_price": (Section.TRANSMISSION, TRANSMISSION),
    "system_operation_price": (Section.SYSTEM_OPERATION, SYSTEM),
    "government_funds_price": (Section.FUNDS, FUNDS),
}
JIBEI_FLOATS = frozenset({"month_average_purchase_price"})


def components_of(work: Work) -> Work:
    return work.table("components") if work.is_table("components") else work


def funds_only(work: Work) -> None:
    """Government funds by themselves: the sum of their items, and the charge on the energy."""
    source = components_of(work)
    names = FUNDS if source.has(FUNDS) else "items"
    if not source.has(names) or (names == "items" and source.has(SYSTEM)):
        return
    price = part_price(source, names)
    work.put("government_funds_price", price, "sum of the items")
    if work.has(KWH) and not work.is_table(KWH):
        work.put_money("government_funds_charge", EXACT.multiply(work.decimal(KWH), price), "kWh x price")


def parts_of(work: Work) -> tuple[Component, ...]:
    """The components of the price per kWh; the agency price counts as a whole when it floats or is not split."""
    source = components_of(work)
    floats = _floating(work)
    split = source.has(AVERAGE)
    found: list[Component] = []
    for name, (section, names) in PARTS.items():
        if name == "agency_price" and ((split and "agency_price" not in floats) or not source.has(names)):
            continue
        if (
            name in ("month_average_purchase_price", "historic_deviation_price")
            and "agency_price" in floats
            and source.has(AGENCY)
        ):
            source.note(names)
            continue
        if source.has(names):
            found.append(Component(section, name, name, name, part_price(source, names), name in floats))
    if work.is_number(FLOATS) and not floats:
        base = Component(Section.ENERGY, "floating_base", "", "", work.decimal(FLOATS), True)
        found = [base, *(part for part in found if part.section is not Section.ENERGY)]
    for item, price in _items(source).items():
        found.append(Component(Section.SYSTEM_OPERATION, item, item, item, price, False))
    source.note(f"{AGENCY} components_note")
    return tuple(found)


def part_price(source: Work, names: str) -> Decimal:
    """One price, or the sum of an object or list of them."""
    if source.is_table(names):
        return total(source.numbers(names).values())
    if source.is_list(names):
        raw = source.raw(names)
        if isinstance(raw, list) and all(isinstance(each, dict) for each in raw):
            return total(each.decimal("price price_per_kwh amount value") for each in source.tables(names))
        return total(source.decimals(names))
    return source.decimal(names)


def _items(source: Work) -> dict[str, Decimal]:
    names = "system_operation_items system_operation_item_prices"
    return source.numbers(names) if source.is_table(names) and not source.has(SYSTEM) else {}


def _floating(work: Work) -> frozenset[str]:
    """Which components are multiplied by the period's coefficient; Jibei's, unless the case says otherwise."""
    source = components_of(work)
    if not work.has(FLOATS):
        return JIBEI_FLOATS if source.has(AVERAGE) else frozenset({"agency_price"})
    if work.is_number(FLOATS):
        return _adding_up_to(source, work.decimal(FLOATS))
    raw = work.raw(FLOATS)
    if isinstance(raw, str):
        raw = [part for part in raw.replace("+", ",").replace(" ", "").split(",") if part]
    if isinstance(raw, dict):
        raw = [name for name, value in raw.items() if value is True]
    if not isinstance(raw, list):
        work.bad(work.here("floats"), "is no list", "a list of components")
    return frozenset(_known_part(work, str(each)) for each in raw)


def _known_part(work: Work, name: str) -> str:
    bare = name.removesuffix("_price")
    for own, (_, names) in PARTS.items():
        if name in names.split() or f"{bare}_price" in names.split() or bare in names.split() or bare == own:
            return own
    return work.bad(work.here("floats"), f"names {name!r}", ", ".join(PARTS))


def penalised(work: Work) -> Decimal:
    """The extra price of users at 1.5 times: added to every period, not floated unless the case says so."""
    source = components_of(work)
    if not (work.has(PENALTY) or work.has("extra_ratio surcharge_ratio extra_multiplier penalty_ratio")):
        return Decimal(0)
    names = "extra_ratio surcharge_ratio extra_multiplier penalty_ratio"
    ratio = work.decimal(names) if work.has(names) else EXACT.subtract(work.decimal(PENALTY), Decimal(1))
    price = (
        source.decimal(AGENCY)
        if source.has(AGENCY)
        else EXACT.add(source.decimal(AVERAGE), source.number_or(0, HISTORIC))
    )
    extra = EXACT.multiply(price, ratio)
    work.put("extra_price", extra, "agency_price x (multiplier - 1)", rule="发改办价格〔2021〕809号 · §5.2")
    return extra


def extra_floats(work: Work) -> bool:
    return work.flag(False, "extra_floats extra_floated penalty_floats surcharge_floats")


def _adding_up_to(source: Work, base: Decimal) -> frozenset[str]:
    """The components that make up a floating base that is given as a number; none: the base is a component itself."""
    names = [
        name
        for name in ("agency_price", "line_loss_price", "td_energy_price", "month_average_purchase_price")
        if source.has(PARTS[name][1])
    ]
    for count in range(1, len(names) + 1):
        for chosen in combinations(names, count):
            if total(part_price(source, PARTS[name][1]) for name in chosen) == base:
                return frozenset(chosen)
    return frozenset()
