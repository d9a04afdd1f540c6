"""Cases of agency purchase 代理购电: price composition, a month's bill on the price table, rebuilding a table. Pure."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from cloud.billing import tariff
from cloud.billing.line import Period, Section
from cloud.billing.tariff import Component
from cloud.cases import power_factor, two_part
from cloud.cases.rules import Rules
from cloud.cases.work import Work
from cloud.money import EXACT, total

RULE = "发改办价格〔2021〕809号 · §5"
AVERAGE = "month_average_purchase_price average_purchase_price month_average_price purchase_price avg_purchase_price"
HISTORIC = "historic_deviation_price historic_deviation deviation_price historical_deviation_price"
AGENCY = "agency_price agency_purchase_price"
LOSS = "line_loss_price line_loss"
SYSTEM = "system_operation_price system_operation system_operation_fee_price"
FUNDS = "government_funds_price government_funds funds_price funds"
TRANSMISSION = (
    "td_energy_price td_price transmission_price td_energy t_and_d_energy_price td_energy_price_per_kwh"
)
COEFFICIENTS = "period_coefficients coefficients tou_coefficients period_ratios"
FLOATS = "floats floating_components floating floating_set floating_base floating_base_components tou_base components_floating"
LOSS_RATE = "line_loss_rate loss_rate line_loss_rate_pct loss_rate_pct line_loss_ratio loss_ratio"
PENALTY = "multiplier price_multiplier agency_multiplier penalty_multiplier agency_price_multiplier"
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


def rate(work: Work, rules: Rules) -> None:
    """Work a case: a bill where there is energy, a price table where there are rows, else the price of each period."""
    work.rule = RULE
    if work.is_list("rows"):
        _table(work, rules)
        return
    if work.has(LOSS_RATE) and not work.has(COEFFICIENTS):
        _loss_price(work)
        if not work.has(KWH):
            _composition(work)
            return
    elif work.has(LOSS_RATE):
        _loss_price(work)
    _priced(work, rules)


def _table(work: Work, rules: Rules) -> None:
    """Rebuild the rows of a price table, or the bills of several customers."""
    rows = work.tables("rows")
    for row in rows:
        _loss_price(row) if row.own(LOSS_RATE) else None
        if row.has(COEFFICIENTS) or row.has(KWH):
            _priced(row, rules)
        elif not row.own(LOSS_RATE):
            _composition(row)
    work.put_rows("rows", rows)
    exact = [
        row.results.named["matches_printed"].value for row in rows if "matches_printed" in row.results.named
    ]
    if exact:
        work.put("all_match", all(value is True for value in exact), "every row")
        work.put("rows_matching", Decimal(sum(1 for value in exact if value is True)), "count")


def _components(work: Work) -> Work:
    return work.table("components") if work.is_table("components") else work


def _parts(work: Work) -> tuple[Component, ...]:
    """The components of the price per kWh; the agency price counts as a whole when it floats or is not split."""
    source = _components(work)
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
            found.append(Component(section, name, name, name, _part_price(source, names), name in floats))
    for item, price in _items(source).items():
        found.append(Component(Section.SYSTEM_OPERATION, item, item, item, price, False))
    source.note(f"{AGENCY} components_note")
    return tuple(found)


def _part_price(source: Work, names: str) -> Decimal:
    if source.is_table(names):
        return total(source.numbers(names).values())
    if source.is_list(names):
        return total(source.decimals(names))
    return source.decimal(names)


def _items(source: Work) -> dict[str, Decimal]:
    names = "system_operation_items system_operation_item_prices"
    return source.numbers(names) if source.is_table(names) and not source.has(SYSTEM) else {}


def _floating(work: Work) -> frozenset[str]:
    """Which components are multiplied by the period's coefficient; Jibei's, unless the case says otherwise."""
    if not work.has(FLOATS):
        return JIBEI_FLOATS
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


def _loss_price(work: Work) -> None:
    """上网环节线损费用折价 = P x r / (1 - r), six decimals."""
    rate = work.decimal(LOSS_RATE)
    is_percent = (
        any(name.endswith(("_pct", "_percent")) for name in work.names_given() if "loss" in name) or rate >= 1
    )
    ratio = Fraction(rate) / (100 if is_percent else 1)
    if not 0 <= ratio < 1:
        work.bad(work.here("line_loss_rate"), f"is {rate}", "0 to below 1")
    source = _components(work)
    price = source.decimal(f"{AVERAGE} {AGENCY} price price_per_kwh")
    found = work.rounded(Fraction(price) * ratio / (1 - ratio), "price", "0.000001")
    work.put("line_loss_price", found, "P x r / (1 - r)", kind="price")
    printed = (
        "line_loss_price_printed printed_line_loss_price published_line_loss_price line_loss_price_published"
    )
    if source.has(printed) or source.has(LOSS):
        given = source.decimal(f"{printed} {LOSS}")
        work.put("line_loss_difference", EXACT.subtract(given, found), "printed - computed")
        work.put("matches_published", given == found, "printed = computed")


def _composition(work: Work) -> None:
    """Prices that no time of use touches: agency price, flat total."""
    source = _components(work)
    if source.has(AVERAGE) and source.has(HISTORIC):
        work.put(
            "agency_price",
            EXACT.add(source.decimal(AVERAGE), source.decimal(HISTORIC)),
            "month_average_purchase_price + historic_deviation_price",
        )
    parts = _parts(work)
    if len(parts) > 1:
        work.put(
            "all_in_price",
            total(part.price_yuan_per_kwh for part in parts),
            " + ".join(part.item for part in parts),
        )
    _items_sum(work)


def _items_sum(work: Work) -> None:
    source = _components(work)
    names = "system_operation_items system_operation_item_prices items"
    if source.is_table(names) or source.is_list(names):
        amounts = list(source.numbers(names).values()) if source.is_table(names) else source.decimals(names)
        sum_of = total(amounts)
        work.put("system_operation_items_sum", sum_of, "sum of the items")
        if source.has(SYSTEM):
            work.put(
                "system_operation_difference",
                EXACT.subtract(source.decimal(SYSTEM), sum_of),
                "printed - sum of items",
            )


def _penalised(work: Work) -> Decimal:
    """The extra price of users at 1.5 times: added to every period, not floated unless the case says so."""
    source = _components(work)
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


def _extra_floats(work: Work) -> bool:
    return work.flag(False, "extra_floats extra_floated penalty_floats surcharge_floats")


def _priced(work: Work, rules: Rules) -> None:
    parts = _parts(work)
    if not parts:
        _components(work).decimal(f"{AVERAGE} {AGENCY}")
    coefficients = work.numbers(COEFFICIENTS) if work.has(COEFFICIENTS) else {}
    for name in coefficients:
        if name not in tuple(Period):
            work.bad(f"{work.here(COEFFICIENTS[0])}.{name}", "is no period", ", ".join(Period))
    extra = _penalised(work)
    if coefficients:
        _row(work, parts, coefficients, extra)
    _composition_notes(work)
    if work.has(KWH):
        _bill(work, rules, parts, coefficients, extra)


def _composition_notes(work: Work) -> None:
    source = _components(work)
    if source.has(AVERAGE) and source.has(HISTORIC):
        work.put(
            "agency_price",
            EXACT.add(source.decimal(AVERAGE), source.decimal(HISTORIC)),
            "month_average_purchase_price + historic_deviation_price",
        )
    floating = total(part.price_yuan_per_kwh for part in _parts(work) if part.floats)
    work.put("floating_base", floating, "components that float")
    _items_sum(work)


def _row(work: Work, parts: tuple[Component, ...], coefficients: dict[str, Decimal], extra: Decimal) -> None:
    """The price of every period: floating components x coefficient + the others (+ the extra of 1.5x users)."""
    prices: dict[str, Decimal] = {}
    energy: dict[str, Decimal] = {}
    energy_parts = tuple(part for part in parts if part.section is Section.ENERGY)
    for name, coefficient in coefficients.items():
        added = EXACT.multiply(extra, coefficient) if _extra_floats(work) else extra
        prices[name] = work.rounded(EXACT.add(tariff.floated(parts, coefficient), added), "price")
        energy[name] = EXACT.add(tariff.floated(energy_parts, coefficient), added)
    words = [f"{part.item} x coefficient" if part.floats else part.item for part in parts]
    formula = " + ".join(words + (["extra_price"] if extra else []))
    work.put("all_in_price_by_period", dict(prices), formula)
    work.put("energy_price_by_period", dict(energy), "energy components")
    for name in prices:
        work.put(
            name, prices[name], formula, also=f"{name}_price all_in_{name} price_{name} all_in_price_{name}"
        )
    _against_printed(work, prices)


def _against_printed(work: Work, prices: dict[str, Decimal]) -> None:
    names = "printed_prices printed printed_price_by_period published_prices printed_all_in_price_by_period published_price_by_period published printed_all_in_prices published_all_in_price_by_period printed_prices_by_period"
    if not work.is_table(names):
        return
    printed = work.numbers(names)
    both = {name: EXACT.subtract(printed[name], prices[name]) for name in printed if name in prices}
    off = {name: value for name, value in both.items() if value}
    work.put("difference_by_period", dict(both), "printed - computed", rule="§1.3 no. 18")
    work.put("matches_printed", not off, "every difference is zero")
    work.put("differing_periods", [str(name) for name in off], "")
    work.put("billed_price_by_period", dict(printed), "the printed price is billed", rule="§1.3 no. 18")


def _billed_differences(work: Work) -> dict[str, Decimal]:
    found = work.results.named.get("difference_by_period")
    if found is None or not isinstance(found.value, dict):
        return {}
    return {name: value for name, value in found.value.items() if isinstance(value, Decimal)}


def _bill(
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
        added = EXACT.multiply(extra, coefficient) if _extra_floats(work) else extra
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
    if part.has(two_part.CONTRACT_KVA) and not part.has(two_part.KWH):
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
