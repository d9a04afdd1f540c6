"""The month's bill of an agency purchase case, charge by charge. Pure."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from cloud.billing import tariff
from cloud.billing.line import Section
from cloud.billing.tariff import Component
from cloud.cases import power_factor, two_part, two_part_inputs
from cloud.cases.agency_parts import ENVIRONMENT, KWH, extra_floats
from cloud.cases.rules import Rules
from cloud.cases.work import Work
from cloud.money import EXACT, total


def _billed_differences(work: Work) -> dict[str, Decimal]:
    found = work.results.named.get("difference_by_period")
    if found is None or not isinstance(found.value, dict):
        return {}
    return {name: value for name, value in found.value.items() if isinstance(value, Decimal)}


def bill(
    work: Work, rules: Rules, parts: tuple[Component, ...], coefficients: dict[str, Decimal], extra: Decimal
) -> None:
    """A month's bill: each charge rounded by itself, power factor on all but funds and environmental value."""
    kwh = _kwh(work)
    total_kwh = total(value for name, value in kwh.items() if name != "total")
    work.put("total_kwh", total_kwh, "sum of the periods")
    charges = {
        "energy_charge": _energy(work, parts, kwh, coefficients, extra),
        "line_loss_charge": _section(work, "line_loss_charge", Section.LINE_LOSS, parts, kwh, coefficients),
        "td_energy_charge": _section(
            work, "td_energy_charge", Section.TRANSMISSION, parts, kwh, coefficients
        ),
        "system_operation_charge": _section(
            work, "system_operation_charge", Section.SYSTEM_OPERATION, parts, kwh, coefficients
        ),
    }
    funds = _section(work, "government_funds_charge", Section.FUNDS, parts, kwh, coefficients)
    charges["basic_charge"] = _basic(work, rules, total_kwh)
    base = total(charges.values())
    work.put("pf_base", base, " + ".join(charges), rule="§2.3")
    amount = _power_factor(work, rules, base, list(charges.values()))
    green = Decimal(0)
    if work.has(f"{ENVIRONMENT} env_value environmental_value"):
        value = "env_value environmental_value"
        green = (
            work.money(work.decimal(value))
            if work.has(value)
            else work.money(EXACT.multiply(work.number_or(total_kwh, "green_kwh"), work.decimal(ENVIRONMENT)))
        )
        work.put("environmental_value", green, "green_kwh x environmental_price", rule="1656号 art. 33 · §11")
    adjustment = work.number_or(0, "adjustments refund back_billing adj")
    whole = total((base, funds, amount, green, adjustment))
    work.put(
        "total",
        whole,
        "pf_base + government_funds_charge + pf_amount" + (" + environmental_value" if green else ""),
    )
    if total_kwh:
        work.put(
            "average_price",
            work.rounded(Fraction(whole) / Fraction(total_kwh), "average_price"),
            "total / total_kwh",
        )
    _all_in_layout(work, kwh)


def _kwh(work: Work) -> dict[str, Decimal]:
    if work.is_table(KWH):
        found = work.numbers(KWH)
        stated = found.pop("total", None)
        if stated is not None and stated != total(found.values()) and found:
            work.bad(
                work.here("kwh.total"), f"is {stated}", f"the sum of the periods, {total(found.values())}"
            )
        return found or {"flat": stated or Decimal(0)}
    return {"flat": work.decimal(KWH)}


def _energy(
    work: Work,
    parts: tuple[Component, ...],
    kwh: dict[str, Decimal],
    coefficients: dict[str, Decimal],
    extra: Decimal,
) -> Decimal:
    own = tuple(part for part in parts if part.section is Section.ENERGY)
    differences = _billed_differences(work)
    charges: dict[str, Decimal] = {}
    for name, energy_kwh in kwh.items():
        coefficient = _coefficient(work, name, coefficients, own)
        added = EXACT.multiply(extra, coefficient) if extra_floats(work) else extra
        price = total((tariff.floated(own, coefficient), added, differences.get(name, Decimal(0))))
        charges[name] = work.money(EXACT.multiply(energy_kwh, price))
    words = [f"{part.item} x coefficient" if part.floats else part.item for part in own]
    formula = f"({' + '.join(words + (['extra_price'] if extra else []))}) x kwh"
    work.put("energy_charge_by_period", dict(charges), formula, kind="money")
    result = total(charges.values())
    work.put("energy_charge", result, "sum of the periods")
    return result


def _coefficient(
    work: Work, period: str, coefficients: dict[str, Decimal], parts: tuple[Component, ...]
) -> Decimal:
    if period in coefficients:
        return coefficients[period]
    if not coefficients or not any(part.floats for part in parts):
        return Decimal(1)
    return work.bad(
        f"{work.here('period_coefficients')}.{period}",
        "is missing",
        "a coefficient for every period with energy",
    )


def _section(
    work: Work,
    name: str,
    section: Section,
    parts: tuple[Component, ...],
    kwh: dict[str, Decimal],
    coefficients: dict[str, Decimal],
) -> Decimal:
    """A charge on all energy, or one per period where it floats."""
    own = tuple(part for part in parts if part.section is section)
    if any(part.floats for part in own):
        charges = {
            period: work.money(
                EXACT.multiply(energy, tariff.floated(own, _coefficient(work, period, coefficients, own)))
            )
            for period, energy in kwh.items()
        }
        work.put(
            f"{name}_by_period",
            dict(charges),
            f"{' + '.join(part.item for part in own)} x coefficient x kwh",
            kind="money",
        )
        found = total(charges.values())
        work.put(name, found, "sum of the periods")
        return found
    price = total(part.price_yuan_per_kwh for part in own)
    formula = f"{' + '.join(part.item for part in own) or '0'} x total_kwh"
    return work.put_money(name, EXACT.multiply(total(kwh.values()), price), formula)


def _basic(work: Work, rules: Rules, total_kwh: Decimal) -> Decimal:
    if not work.is_table("basic_charge basic"):
        stated = (
            work.number_or(0, "basic_charge demand_charge capacity_charge")
            if not work.is_table("basic_charge")
            else Decimal(0)
        )
        work.put("basic_charge", stated, "" if stated else "0 (single-part)")
        return stated
    part = work.table("basic_charge basic")
    if part.has(two_part_inputs.CONTRACT_KVA) and not part.has(two_part_inputs.KWH):
        part.put("month_kwh", total_kwh)
    found = two_part.basic_charge(part, rules)
    result = (
        part.results.named["basic_charge"]
        if "basic_charge" in part.results.named
        else part.results.named["total"]
    )
    work.put("basic_charge", found, result.step.formula, rule=two_part.RULE, kind="money")
    for name in ("load_factor_discount_applied", "kwh_per_kva", "effective_contract_demand_kw"):
        if name in part.results.named:
            work.results.named[name] = part.results.named[name]
    return found


def _power_factor(work: Work, rules: Rules, base: Decimal, charges: list[Decimal]) -> Decimal:
    part = work.table("pf power_factor") if work.is_table("pf power_factor") else work
    if part is work and not work.has("pf_standard pf"):
        work.put("pf_amount", Decimal(0), "0 (not assessed)")
        return Decimal(0)
    standard = power_factor.standard_of(part, "standard pf_standard")
    found: Decimal | None = None
    if standard is not None:
        if part.has(power_factor.ACTIVE) or part.has(power_factor.REACTIVE) or part.has(power_factor.FORWARD):
            active = part.decimal(power_factor.ACTIVE) if part.has(power_factor.ACTIVE) else _known_kwh(work)
            reactive = EXACT.add(
                abs(part.number_or(0, f"{power_factor.REACTIVE} {power_factor.FORWARD}")),
                abs(part.number_or(0, power_factor.REVERSE)),
            )
            found = power_factor.power_factor_of(part, active, reactive)
        else:
            found = work.rounded(part.decimal("value pf power_factor actual"), "pf", "0.01")
    percent = power_factor.percent_at(part, rules, found, standard)
    work.put("pf", found, power_factor.PF_FORMULA if part.has(power_factor.REACTIVE) else "")
    work.put("pf_percent", percent, "table(pf, pf_standard)", rule=power_factor.RULE)
    amount = power_factor.amount_of(work, base, percent)
    per_line = total(power_factor.amount_of(work, charge, percent) for charge in charges)
    work.put("pf_amount_per_line_sum", per_line, "each charge x pf_percent / 100, rounded, summed")
    work.put("pf_amount", amount, "pf_base x pf_percent / 100", rule=power_factor.RULE, kind="money")
    return amount


def _known_kwh(work: Work) -> Decimal:
    found = work.results.named["total_kwh"].value
    return found if isinstance(found, Decimal) else Decimal(0)


def _all_in_layout(work: Work, kwh: dict[str, Decimal]) -> None:
    """The other layout of a bill: period price x kWh; differs from the component lines by rounding only (§5.3)."""
    prices = work.results.named.get("all_in_price_by_period")
    if prices is None or not isinstance(prices.value, dict):
        return
    table = prices.value
    charges: dict[str, Decimal] = {}
    for name, energy in kwh.items():
        price = table.get(name)
        if isinstance(price, Decimal):
            charges[name] = work.money(EXACT.multiply(energy, price))
    work.put("all_in_charge_by_period", dict(charges), "all_in_price_by_period x kwh", kind="money")
    work.put("all_in_total", total(charges.values()), "sum of the periods")
