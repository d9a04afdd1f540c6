"""Cases of the power factor adjustment 功率因数调整电费. Pure."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import isqrt

from cloud.billing import powerfactor
from cloud.billing.powerfactor import AmountRounding
from cloud.cases.rules import Rules
from cloud.cases.work import Work, by_row
from cloud.money import EXACT, total, yuan

RULE = "(83)水电财字第215号 · §2"
PF_FORMULA = "active_kwh / sqrt(active_kwh ^ 2 + reactive_kvarh ^ 2)"
NOT_ASSESSED = frozenset({"none", "not_assessed", "not assessed", "no", "-", "不考核"})

ACTIVE = "active_kwh active_energy_kwh p_kwh active kwh_active active_total_kwh"
REACTIVE = "reactive_kvarh reactive_energy_kvarh q_kvarh reactive_total_kvarh"
FORWARD = "reactive_forward_kvarh forward_reactive_kvarh reactive_import_kvarh reactive_kvarh_forward"
REVERSE = "reactive_reverse_kvarh reverse_reactive_kvarh reactive_export_kvarh reactive_kvarh_reverse reactive_leading_kvarh"
STANDARD = "pf_standard standard power_factor_standard"
POWER_FACTOR = "pf power_factor pf_value pf_actual value average_pf pf_unrounded pf_raw pf_exact"
BASE = "participating_amount pf_base base_amount base adjusted_amount participating_charges base_before_pf amount"
BILLED = "billed_amount_excl_funds billed_amount billed_total billed_amount_excluding_funds amount_billed"
LINES = "charge_lines lines participating_lines components charges base_lines line_amounts participating_amounts pf_base_lines participating_charge_lines"
FUNDS = "government_funds government_funds_charge funds funds_charge government_funds_amount"
GREEN = "environmental_value env_value green_environmental_value green_charge"
CATEGORY = "category user_class customer_category user_category class"
KVA = "kva capacity_kva transformer_kva capacity_kw"
LEAST_KVA, INDUSTRY_ABOVE_KVA, IRRIGATION_FROM_KVA = 100, 160, 3200
CLASSES = {
    "industrial": "industrial", "industry": "industrial", "工业": "industrial", "large_industrial": "industrial", "大工业": "industrial",
    "non_industrial": "other", "非工业": "other", "commercial": "other", "other": "other", "other_industrial": "other", "general": "other",
    "irrigation": "irrigation", "电力排灌站": "irrigation", "pumping_station": "irrigation", "agricultural": "agricultural", "agriculture": "agricultural",
    "农业": "agricultural", "wholesale": "wholesale", "趸售": "wholesale", "residential": "residential", "居民": "residential", "resident": "residential",
}  # fmt: skip
PERCENT = "pf_percent percent adjustment_percent pf_adjustment_percent percent_adjustment"
AMOUNT = "pf_amount adjustment_amount pf_adjustment_amount pf_adjustment adjustment pf_charge"


def rate(work: Work, rules: Rules) -> None:
    """Work a case: power factor, percentage, coefficient, amount; back-billing where a bill was wrong."""
    if work.is_list("rows"):
        _rows(work, rules)
    elif work.is_list(POWER_FACTOR) or work.is_list("pf_values pf_list power_factors pfs"):
        _table_points(work, rules)
    elif work.has(BILLED):
        _corrected(work, rules)
    elif work.has(CATEGORY) and work.has(f"{KVA} supply") and not work.given(STANDARD):
        _standard_by_class(work)
    else:
        _adjusted(work, rules)


def _standard_by_class(work: Work) -> None:
    """The standard of a user class (§2.1): industry above 160 kVA at high voltage, others from 100 kVA, agriculture."""
    category = work.choice("", CLASSES, CATEGORY)
    kva = work.not_negative(KVA)
    high = "high" in work.text_or("high", "supply voltage supply_voltage").lower() or work.flag(
        False, "high_voltage"
    )
    regulating = work.flag(False, "on_load_tap_changer load_regulating_transformer on_load_regulation")
    standard: Decimal | None = None
    if category == "residential" or kva < LEAST_KVA:
        standard = None
    elif category in ("agricultural", "wholesale"):
        standard = Decimal("0.80")
    elif high and (
        (category == "industrial" and kva > INDUSTRY_ABOVE_KVA)
        or regulating
        or (category == "irrigation" and kva >= IRRIGATION_FROM_KVA)
    ):
        standard = Decimal("0.90")
    else:
        standard = Decimal("0.85")
    work.put("pf_standard", standard, "by user class and capacity", rule="(83)水电财字第215号 · §2.1")
    work.put("assessed", standard is not None, "pf_standard is not null")


def percent_at(work: Work, rules: Rules, power_factor: Decimal | None, standard: Decimal | None) -> Decimal:
    """Read the table of a standard; zero when not assessed or undefined."""
    if power_factor is None or standard is None:
        return Decimal(0)
    if not 0 <= power_factor <= 1:
        work.bad(work.here("pf"), f"is {power_factor}", "0 to 1")
    table = rules.power_factor.table(standard)
    if table is None:
        known = ", ".join(str(each.standard) for each in rules.power_factor.tables)
        work.bad(work.here("pf_standard"), f"is {standard}", known)
    return table.percent_at(power_factor)


def standard_of(work: Work, names: str) -> Decimal | None:
    """The standard of a case; None when it is not assessed."""
    if not work.flag(True, "assessed pf_assessed is_assessed"):
        return None
    if not work.has(names):
        return None if work.given(names) else work.decimal(names)
    if not work.is_number(names) and work.text(names).lower() in NOT_ASSESSED:
        return None
    return work.decimal(names)


def power_factor_of(work: Work, active: Decimal, reactive: Decimal) -> Decimal | None:
    """The power factor of two energies, rounded as the case says; None without active energy."""
    if active < 0:
        work.bad(work.here("active_kwh"), f"is {active}", "zero or more")
    scale = max(0, *(-int(each.as_tuple().exponent) for each in (active, reactive)))
    p, q = (int(EXACT.scaleb(each, scale)) for each in (active, reactive))
    return powerfactor.power_factor_of(p, q, _quantum(work))


def _quantum(work: Work) -> Decimal:
    return work.case.quanta.get("pf", Decimal("0.01"))


def _rows(work: Work, rules: Rules) -> None:
    rows = by_row(work, lambda row: rate(row, rules))
    amounts = [row.results.find("pf_amount") for row in rows]
    values = [each.value for each in amounts if each is not None]
    if values and len(values) == len(rows):
        work.put("total", total(value for value in values if isinstance(value, Decimal)), "sum of the rows")


def _table_points(work: Work, rules: Rules) -> None:
    points = work.decimals(f"pf_values pf_list power_factors pfs {POWER_FACTOR}")
    if work.is_list(f"pf_standards standards {STANDARD}"):
        standards = work.decimals(f"pf_standards standards {STANDARD}")
        table = work.part("table")
        for standard in standards:
            table.put(
                f"{standard:f}",
                [percent_at(work, rules, _rounded(work, point), standard) for point in points],
            )
        work.put_parts("percent_by_standard", table)
        return
    own = standard_of(work, STANDARD)
    percents = [percent_at(work, rules, _rounded(work, point), own) for point in points]
    work.put("pf_percent", list(percents), "table(pf, pf_standard)", rule=RULE)
    work.put("coefficient", [EXACT.scaleb(each, -2) for each in percents], "pf_percent / 100")


def _every_standard(work: Work, rules: Rules, power_factor: Decimal) -> None:
    """A point of the table without a standard: the percentage of every one."""
    part = work.part("percent_by_standard")
    for table in rules.power_factor.tables:
        name, percent = f"{table.standard:f}", table.percent_at(power_factor)
        part.put(name, percent, "table(pf, standard)", rule=RULE)
        digits = name.replace(".", "")
        names = " ".join(
            f"{word}_{each} {word}_standard_{each}"
            for word in ("percent", "pct", "pf_percent", "standard", "table", "std", "pf")
            for each in (name, digits, digits.lstrip("0") or "0", name.replace(".", "_"))
        )
        work.put(f"pf_percent_{name}", percent, "table(pf, standard)", rule=RULE, also=names)
    work.put_parts("percent_by_standard", part)


def _rounded(work: Work, power_factor: Decimal) -> Decimal:
    return work.rounded(power_factor, "pf", "0.01")


def _reactive(work: Work) -> Decimal | None:
    """|forward| + |reverse|, with what the transformer and line add when the meter is on the low side."""
    if work.has(REACTIVE) and not work.has(REVERSE):
        found = abs(work.decimal(REACTIVE))
    elif work.has(f"{FORWARD} {REACTIVE}") or work.has(REVERSE):
        forward, reverse = work.number_or(0, f"{FORWARD} {REACTIVE}"), work.number_or(0, REVERSE)
        found = EXACT.add(abs(forward), abs(reverse))
        work.put(
            "reactive_total_kvarh", found, "|reactive_forward_kvarh| + |reactive_reverse_kvarh|", rule=RULE
        )
    else:
        return None
    losses = [
        work.number_or(0, name)
        for name in ("transformer_loss_kvarh", "line_loss_kvarh", "loss_kvarh", "reactive_loss_kvarh")
    ]
    if any(losses):
        found = total((found, *losses))
        work.put("reactive_with_loss_kvarh", found, "reactive + losses")
    return found


def _active(work: Work) -> Decimal:
    found = work.decimal(ACTIVE)
    losses = [
        work.number_or(0, name)
        for name in ("transformer_loss_kwh", "line_loss_kwh", "loss_kwh", "active_loss_kwh")
    ]
    if any(losses):
        found = total((found, *losses))
        work.put("active_with_loss_kwh", found, "active + losses")
    return found


def _adjusted(work: Work, rules: Rules) -> None:
    if work.has(f"{PERCENT} coefficient"):
        percent = work.decimal(PERCENT) if work.has(PERCENT) else EXACT.scaleb(work.decimal("coefficient"), 2)
        put_percent(work, percent)
        _put_amounts(work, percent)
        return
    if work.has(POWER_FACTOR) and not work.given(STANDARD) and not work.has(BASE):
        _every_standard(work, rules, _rounded(work, work.decimal(POWER_FACTOR)))
        return
    standard = standard_of(work, STANDARD)
    found: Decimal | None = None
    if work.has(ACTIVE) and (reactive := _reactive(work)) is not None:
        active = _active(work)
        found = power_factor_of(work, active, reactive)
        _put_power_factor(work, found, active, reactive)
        if work.has(REVERSE):
            _ignoring_reverse(work, rules, active, standard)
    elif work.has(POWER_FACTOR):
        found = _rounded(work, work.decimal(POWER_FACTOR))
        work.put("pf", found, "", kind="pf")
    elif standard is not None and not work.given(POWER_FACTOR):
        work.decimal(REACTIVE if work.has(ACTIVE) else ACTIVE)
    percent = percent_at(work, rules, found, standard)
    if percent:
        work.assume("the published table's percentage", percent)
    if work.flag(False, "standard_lowered lowered_standard is_lowered_standard is_standard_lowered"):
        percent = max(percent, Decimal(0))
    put_percent(work, percent)
    _put_amounts(work, percent)


def put_percent(work: Work, percent: Decimal) -> None:
    """Note the percentage and the coefficient of a table row."""
    work.put("pf_percent", percent, "table(pf, pf_standard)", rule=RULE)
    work.put("coefficient", EXACT.scaleb(percent, -2), "pf_percent / 100")


def _put_power_factor(work: Work, found: Decimal | None, active: Decimal, reactive: Decimal) -> None:
    work.put("pf", found, PF_FORMULA, rule=RULE, kind="pf")
    if found is not None:
        work.put("pf_exact", _unrounded(active, reactive), PF_FORMULA)


def _unrounded(active: Decimal, reactive: Decimal) -> Decimal:
    """The power factor to twelve decimals, cut; from whole numbers."""
    square = Fraction(active) ** 2 / (Fraction(active) ** 2 + Fraction(reactive) ** 2)
    return EXACT.scaleb(Decimal(isqrt(10**24 * square.numerator // square.denominator)), -12)


def _ignoring_reverse(work: Work, rules: Rules, active: Decimal, standard: Decimal | None) -> None:
    without = power_factor_of(work, active, abs(work.number_or(0, f"{FORWARD} {REACTIVE}")))
    work.put(
        "pf_if_reverse_ignored", without, "active_kwh / sqrt(active_kwh ^ 2 + reactive_forward_kvarh ^ 2)"
    )
    percent = percent_at(work, rules, without, standard)
    work.put("pf_percent_if_reverse_ignored", percent, "table(pf_if_reverse_ignored, pf_standard)")


def _put_amounts(work: Work, percent: Decimal) -> None:
    lines = _lines(work)
    if lines:
        base = total(lines)
        work.put("pf_base", base, " + ".join(["line"] * len(lines)) if len(lines) < 9 else "sum of the lines")
        each = [work.money(EXACT.scaleb(EXACT.multiply(line, percent), -2)) for line in lines]
        work.put("pf_amount_by_line", list(each), "line x pf_percent / 100", kind="money")
        per_line = total(each)
        work.put("pf_amount_per_line_sum", per_line, "sum of the lines' amounts")
    elif work.has(BASE):
        base = work.decimal(BASE)
    else:
        return
    amount = amount_of(work, base, percent)
    if lines and _rounds_per_line(work):
        amount = total(each)
    formula = "participating_amount x pf_percent / 100"
    work.put("pf_amount_on_total_base", amount_of(work, base, percent), formula, rule=RULE, kind="money")
    work.put("pf_amount", amount, formula, rule=RULE, kind="money")
    if lines:
        work.put(
            "rounding_difference",
            EXACT.subtract(total(each), amount_of(work, base, percent)),
            "pf_amount_per_line_sum - pf_amount_on_total_base",
        )
    funds, green = work.number_or(0, FUNDS), work.number_or(0, GREEN)
    work.put("total", total((base, amount, funds, green)), "pf_base + pf_amount + funds + green")


def _rounds_per_line(work: Work) -> bool:
    words = {
        "per_line": "line",
        "line": "line",
        "lines": "line",
        "total": "total",
        "once": "total",
        "total_base": "total",
        "on_total_base": "total",
    }
    return (
        work.choice("total", words, "pf_rounding rounding_method amount_rounding pf_amount_rounding")
        == "line"
    )


def amount_of(work: Work, base: Decimal, percent: Decimal) -> Decimal:
    """Take the percentage of a base, by the bill's own function where the case rounds to the fen."""
    if "money" in work.case.quanta and (
        work.case.quanta["money"] != Decimal("0.01") or work.case.mode != "half_up"
    ):
        return work.money(EXACT.scaleb(EXACT.multiply(base, percent), -2))
    scaled = EXACT.scaleb(base, 2)
    if scaled != int(scaled):
        return work.money(EXACT.scaleb(EXACT.multiply(base, percent), -2))
    return yuan(powerfactor.adjustment_fen((int(scaled),), percent, AmountRounding.TOTAL))


def _lines(work: Work) -> list[Decimal]:
    """Charges that take part; government funds and environmental value among them do not (§2.3)."""
    if work.is_list(LINES):
        raw = work.raw(LINES)
        if isinstance(raw, list) and all(isinstance(each, dict) for each in raw):
            taking = [
                each
                for each in work.tables(LINES)
                if each.flag(True, "participates in_base in_pf_base included")
            ]
            return [each.decimal("amount charge value") for each in taking]
        return work.decimals(LINES)
    if work.is_table(LINES):
        return [amount for name, amount in work.numbers(LINES).items() if not _outside(name)]
    names = "energy_charge market_purchase line_loss_charge line_loss td_energy_charge td_energy system_operation_charge system_operation basic_charge demand_charge capacity_charge"
    found = [work.decimal(name) for name in names.split() if name in work.names_given()]
    return found if len(found) > 1 else []


def _outside(name: str) -> bool:
    return any(word in name for word in ("fund", "surcharge", "env", "green", "基金"))


def _corrected(work: Work, rules: Rules) -> None:
    """A billed amount contains the adjustment of a wrong power factor or standard; take it out and put the right one in."""
    billed = work.decimal(BILLED)
    standard_true = standard_of(
        work,
        f"pf_standard_true pf_standard_new correct_pf_standard new_pf_standard pf_standard_correct {STANDARD}",
    )
    standard_billed = standard_of(
        work,
        f"pf_standard_billed pf_standard_old wrong_pf_standard old_pf_standard {STANDARD} pf_standard_true pf_standard_new",
    )
    wrong, right = _both_factors(work)
    old, new = percent_at(work, rules, wrong, standard_billed), percent_at(work, rules, right, standard_true)
    work.put("pf_billed", wrong, "active_kwh / sqrt(active_kwh ^ 2 + reactive_kvarh_read ^ 2)", kind="pf")
    work.put("pf_percent_billed", old, "table(pf_billed, pf_standard)", rule=RULE)
    factor = EXACT.add(Decimal(1), EXACT.scaleb(old, -2))
    if not factor:
        work.bad(work.here("pf_billed"), "has an adjustment of -100 %", "another power factor")
    base = work.rounded(Fraction(billed) / Fraction(factor), "money", "0.01")
    work.put("base_before_pf", base, "billed_amount / (1 + pf_percent_billed / 100)", kind="money")
    work.put(
        "pf_true",
        right,
        "active_kwh / sqrt(active_kwh ^ 2 + (reactive_kvarh_read + reactive_kvarh_missed) ^ 2)",
        kind="pf",
    )
    work.put("pf_percent_true", new, "table(pf_true, pf_standard)", rule=RULE)
    correct = EXACT.add(base, amount_of(work, base, new))
    work.put("correct_total", correct, "base_before_pf x (1 + pf_percent_true / 100)", kind="money")
    difference = EXACT.subtract(correct, billed)
    work.put("back_bill_amount", difference, "correct_total - billed_amount")
    work.put("pf_amount_billed", EXACT.subtract(billed, base), "billed_amount - base_before_pf")
    work.put("pf_amount_true", amount_of(work, base, new), "base_before_pf x pf_percent_true / 100")


def _both_factors(work: Work) -> tuple[Decimal | None, Decimal | None]:
    if work.has("pf_billed pf_old wrong_pf pf_wrong") and work.has("pf_true pf_correct correct_pf pf_new"):
        return _rounded(work, work.decimal("pf_billed pf_old wrong_pf pf_wrong")), _rounded(
            work, work.decimal("pf_true pf_correct correct_pf pf_new")
        )
    if work.has("pf") and not work.has("reactive_kvarh_read"):
        same = _rounded(work, work.decimal("pf"))
        return same, same
    active = work.decimal(ACTIVE)
    read_names = (
        f"reactive_kvarh_read reactive_read_kvarh reactive_kvarh_billed reactive_billed_kvarh {REACTIVE}"
    )
    read = work.decimal(read_names)
    if work.has("reactive_kvarh_true reactive_kvarh_correct reactive_true_kvarh"):
        true = work.decimal("reactive_kvarh_true reactive_kvarh_correct reactive_true_kvarh")
    else:
        missed = "reactive_kvarh_missed reactive_missed_kvarh missed_reactive_kvarh reactive_kvarh_missing"
        true = EXACT.add(abs(read), abs(work.number_or(0, missed)))
    active_true = (
        work.number_or(active, "active_kwh_true active_kwh_correct")
        if work.has("active_kwh_true active_kwh_correct")
        else EXACT.add(active, work.number_or(0, "active_kwh_missed active_missed_kwh"))
    )
    return power_factor_of(work, active, read), power_factor_of(work, active_true, true)
