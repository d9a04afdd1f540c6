"""Cases of real bills 真实账单: a printed bill reconciled line by line with prices, energy and power factor. Pure."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

from cloud.billing import arrears
from cloud.billing.arrears import Claim, CollectionRules, LateRates, Move
from cloud.cases import power_factor
from cloud.cases.rules import Rules
from cloud.cases.work import Work, by_row
from cloud.money import EXACT, fen_of, total, yuan

RULE = "§15"
PRINTED = "printed_lines lines charge_lines bill_lines printed_charges charges"
MARKET = "market_purchase purchase agency_purchase energy energy_charge market_energy retail_energy"
STATED = "printed_total total_printed bill_total total total_amount"
DAILY = (
    "daily_rate daily_rate_current_year current_year_rate rate rate_per_day rate_current_year late_fee_rate"
)
DAILY_LATER = "daily_rate_later_years later_years_rate rate_after_year_end rate_next_year daily_rate_after_year_end rate_later_years rate_cross_year"
LATE_CAP = "late_fee_cap_ratio cap_ratio late_fee_cap"
LATE = "due_date overdue_days late_days days_late days_late_current_year"


def rate(work: Work, rules: Rules) -> None:
    """Work a case: whatever the bill prints is added up, whatever has a price is recomputed."""
    work.rule = RULE
    if work.is_list("rows"):
        by_row(work, lambda row: rate(row, rules))
        return
    if work.has(LATE):
        late_fee(work, rules)
        return
    lines = _printed(work)
    _energy(work)
    _recomputed(work, lines)
    _power_factor(work, rules, lines)
    if lines:
        _totals(work, lines)
    elif work.has(STATED):
        _tax(work, work.decimal(STATED))
    _rest(work)


def _printed(work: Work) -> dict[str, Decimal]:
    """The printed amounts by item; a line without an amount has quantity x price."""
    if work.is_table(PRINTED):
        return work.numbers(PRINTED)
    if not work.is_list(PRINTED):
        return {}
    raw = work.raw(PRINTED)
    if isinstance(raw, list) and not any(isinstance(each, dict) for each in raw):
        return {f"line_{n}": amount for n, amount in enumerate(work.decimals(PRINTED), 1)}
    lines: dict[str, Decimal] = {}
    rows = work.tables(PRINTED)
    for number, row in enumerate(rows, 1):
        lines[f"{number} {row.text_or('line', 'item name line charge component')}"] = _line(row)
    work.put_rows("rows", rows)
    work.put("amounts", list(lines.values()), "each line")
    return lines


def _line(row: Work) -> Decimal:
    price, quantity = "price price_per_kwh unit_price rate", "kwh quantity energy_kwh billed_kwh kw kva mwh"
    amount = "amount printed_amount charge printed"
    if row.own(price) and row.own(quantity) and row.has(price) and row.has(quantity):
        computed = row.put_money(
            "computed_amount", EXACT.multiply(row.decimal(quantity), row.decimal(price)), "quantity x price"
        )
        if row.own(amount) and row.has(amount):
            difference = EXACT.subtract(row.decimal(amount), computed)
            row.put("difference", difference, "printed - computed")
            row.put("matches", not difference, "printed = computed")
            return row.decimal(amount)
        return computed
    found = row.decimal(amount)
    row.put("amount", found, "printed")
    return found


def _totals(work: Work, lines: dict[str, Decimal]) -> None:
    whole = total(lines.values())
    work.put("total", whole, "sum of the printed lines")
    work.put("zero_lines", Decimal(sum(1 for value in lines.values() if not value)), "lines of 0.00")
    work.put("negative_lines", Decimal(sum(1 for value in lines.values() if value < 0)), "lines below 0")
    work.put("line_count", Decimal(len(lines)), "lines")
    work.put("is_refund", whole < 0, "total < 0")
    if work.has(STATED):
        stated = work.decimal(STATED)
        work.put("total_printed", stated, "printed")
        work.put("total_difference", EXACT.subtract(stated, whole), "printed total - sum of lines")
        work.put("total_matches", stated == whole, "printed total = sum of lines")
    _tax(work, whole)


def _tax(work: Work, whole: Decimal) -> None:
    """Value added tax that is contained in a total."""
    tax = "vat_rate vat vat_ratio"
    if work.has_ratio(tax):
        ratio = Fraction(work.ratio(tax))
        net = work.put_money("amount_excl_vat", Fraction(whole) / (1 + ratio), "total / (1 + vat_rate)")
        work.put("vat_amount", EXACT.subtract(whole, net), "total - amount_excl_vat")


def _kwh(work: Work) -> tuple[dict[str, Decimal], Decimal | None]:
    """Energy by period, and the total."""
    if work.is_table("kwh kwh_by_period energy_kwh"):
        numbers = work.numbers("kwh kwh_by_period energy_kwh")
        periods: dict[str, Decimal] = {
            name: numbers[name] for name in ("tip", "peak", "flat", "valley", "deep") if name in numbers
        }
        stated = next((numbers[name] for name in ("total", "total_kwh") if name in numbers), None)
        return periods, stated if stated is not None else (total(periods.values()) if periods else None)
    if work.has("kwh total_kwh kwh_total energy_kwh"):
        return {}, work.decimal("kwh total_kwh kwh_total energy_kwh")
    return {}, None


def _meters(work: Work) -> tuple[Decimal | None, Decimal]:
    """Energy of the main meter and of the sub-meters (定比, 定量)."""
    ratio_names = "sub_meter_ratio fixed_ratio sub_ratio sub_meter_fixed_ratio fixed_ratio_pct"
    _, whole = _kwh(work)
    if work.has(ratio_names) and whole is not None:
        value = work.decimal(ratio_names)
        ratio = (
            value / 100
            if value >= 1 or any("pct" in name for name in work.names_given() if "ratio" in name)
            else value
        )
        sub = work.rounded(EXACT.multiply(whole, ratio), "energy_kwh", "1")
        work.put("sub_meter_kwh", sub, "total_kwh x fixed_ratio", kind="energy_kwh")
        work.put("main_meter_kwh", EXACT.subtract(whole, sub), "total_kwh - sub_meter_kwh")
        return EXACT.subtract(whole, sub), sub
    if not work.is_table("kwh"):
        return None, Decimal(0)
    numbers = work.numbers("kwh")
    subs = [value for name, value in numbers.items() if name.startswith("sub")]
    mains = [value for name, value in numbers.items() if name.startswith("main")]
    return (total(mains) if mains else None), total(subs)


def _energy(work: Work) -> None:
    periods, whole = _kwh(work)
    if periods:
        work.put("kwh_sum", total(periods.values()), "sum of the periods")
    if periods and whole is not None:
        work.put("kwh_matches", total(periods.values()) == whole, "sum of the periods = total")
    main, sub = _meters(work)
    if main is not None and whole is not None:
        work.put("meters_match", EXACT.add(main, sub) == whole, "main + sub = total")
    readings = "registers readings meter_readings register_readings"
    if work.is_list(readings):
        rows = work.tables(readings)
        for row in rows:
            _register(row)
        work.put_rows("registers", rows, also=f"{readings} rows")
        work.put("read_kwh", [row.results.named["read_kwh"].value for row in rows], "each register")
        found = [row.results.named["kwh"].value for row in rows]
        work.put("registers_total_kwh", total(each for each in found if isinstance(each, Decimal)), "sum")
    elif work.has(
        "end_reading current_reading reading_end register_now register_after reading_now"
    ) and work.has("start_reading previous_reading reading_start register_before reading_before"):
        _register(work)


def _register(row: Work) -> None:
    start, end = (
        "start previous start_reading previous_reading reading_start last register_before reading_before register_start before",
        "end current end_reading current_reading reading_end this register_now register_after reading_after reading_now register_end now after",
    )
    difference = EXACT.subtract(row.decimal(end), row.decimal(start))
    if difference < 0 and row.has("register_max rollover register_modulus digits_limit"):
        difference = EXACT.add(difference, row.decimal("register_max rollover register_modulus digits_limit"))
    read = EXACT.multiply(difference, row.number_or(1, "multiplier meter_multiplier ct_ratio"))
    parts = [
        row.number_or(0, name)
        for name in ("transformer_loss_kwh", "line_loss_kwh", "adjustment_kwh", "refund_kwh")
    ]
    billed = row.rounded(total((read, *parts)), "energy_kwh", "1")
    row.put("read_kwh", row.rounded(read, "energy_kwh", "1"), "(end - start) x multiplier", kind="energy_kwh")
    row.put("kwh", billed, "read_kwh + losses + adjustments", kind="energy_kwh")


def _prefixed(work: Work, prefix: str) -> Decimal | None:
    names = [name for name in work.names_given() if name.startswith(prefix)]
    return work.decimal(names[0]) if len(names) == 1 and work.is_number(names[0]) else None


def _recomputed(work: Work, lines: dict[str, Decimal]) -> None:
    """Charges that have a price: funds, T&D of main and sub-meters, demand."""
    _, whole = _kwh(work)
    funds = "government_funds_price funds_price"
    if work.has(funds) and whole is not None:
        work.put_money(
            "government_funds_charge",
            EXACT.multiply(whole, work.decimal(funds)),
            "total_kwh x government_funds_price",
        )
    main_price, sub_price = _prefixed(work, "td_energy_price_main"), _prefixed(work, "td_energy_price_sub")
    main, sub = _meters(work)
    if main_price is not None and main is not None:
        charge = work.put_money(
            "td_energy_charge_main", EXACT.multiply(main, main_price), "main meter kWh x main price"
        )
        sub_charge = Decimal(0)
        if sub_price is not None:
            sub_charge = work.put_money(
                "td_energy_charge_sub", EXACT.multiply(sub, sub_price), "sub-meter kWh x sub price"
            )
        work.put(
            "td_energy_charge", EXACT.add(charge, sub_charge), "td_energy_charge_main + td_energy_charge_sub"
        )
    elif work.has("td_energy_price td_price") and whole is not None:
        work.put_money(
            "td_energy_charge",
            EXACT.multiply(whole, work.decimal("td_energy_price td_price")),
            "total_kwh x td_energy_price",
        )
    for name, price in (
        ("line_loss_charge", "line_loss_price"),
        ("system_operation_charge", "system_operation_price"),
        ("market_purchase_charge", "market_purchase_price purchase_price agency_price"),
    ):
        if work.has(price) and whole is not None:
            work.put_money(
                name, EXACT.multiply(whole, work.decimal(price)), f"total_kwh x {price.split()[0]}"
            )
    demand, price = "max_demand_kw demand_kw", "demand_price_per_kw_month demand_price"
    if work.has(demand) and work.has(price):
        work.put_money(
            "demand_charge",
            EXACT.multiply(work.decimal(demand), work.decimal(price)),
            "max_demand_kw x demand_price_per_kw_month",
        )
    kva, capacity_price = "transformer_kva capacity_kva", "capacity_price_per_kva_month capacity_price"
    if work.has(kva) and work.has(capacity_price):
        work.put_money(
            "capacity_charge",
            EXACT.multiply(work.decimal(kva), work.decimal(capacity_price)),
            "transformer_kva x capacity_price",
        )
    contract = "contract_kva contract_capacity_kva"
    if work.has(contract) and whole is not None:
        work.put(
            "kwh_per_kva",
            work.rounded(Fraction(whole) / Fraction(work.positive(contract)), "kwh_per_kva"),
            "total_kwh / contract_kva",
        )


def _power_factor(work: Work, rules: Rules, lines: dict[str, Decimal]) -> None:
    """The base reconstructed from printed lines, less what the non-assessed sub-meter has in it; the adjustment."""
    if lines and not any(name[0].isdigit() for name in lines):
        base = _base(work, lines)
        work.put(
            "pf_base_reconstructed",
            base,
            "lines that take part - share of the non-assessed sub-meter",
            kind="money",
            rule="§2.3",
        )
    printed = "pf_base_printed printed_pf_base pf_base participating_amount"
    if work.has(printed):
        work.put("pf_base_printed", work.decimal(printed), "printed")
    standard = power_factor.standard_of(work, "pf_standard") if work.given("pf_standard") else None
    factor = work.rounded(work.decimal("pf"), "pf", "0.01") if work.has("pf") else None
    if standard is not None and factor is not None:
        percent = power_factor.percent_at(work, rules, factor, standard)
        power_factor.put_percent(work, percent)
        if work.has(printed):
            amount = power_factor.amount_of(work, work.decimal(printed), percent)
            work.put(
                "pf_amount_on_printed_base",
                amount,
                "pf_base_printed x pf_percent / 100",
                kind="money",
                rule=power_factor.RULE,
            )
        if lines and not any(name[0].isdigit() for name in lines):
            each = [power_factor.amount_of(work, line, percent) for line in _taking(lines).values()]
            work.put("pf_amount_by_line", list(each), "line x pf_percent / 100", kind="money")
            work.put("pf_amount_per_line_sum", total(each), "sum of the lines' amounts")
        if "pf_base_reconstructed" in work.results.named:
            amount = power_factor.amount_of(work, _base(work, lines), percent)
            work.put(
                "pf_amount_on_reconstructed_base",
                amount,
                "pf_base_reconstructed x pf_percent / 100",
                kind="money",
                rule=power_factor.RULE,
            )
    if "pf_amount" in lines:
        work.put("pf_amount_printed", lines["pf_amount"], "printed")
    elif "pf_amount_on_printed_base" in work.results.named:
        work.put(
            "pf_amount_printed",
            work.results.named["pf_amount_on_printed_base"].value,
            "pf_amount_on_printed_base",
        )


def _taking(lines: dict[str, Decimal]) -> dict[str, Decimal]:
    """The lines that take part in the power factor adjustment."""
    outside = ("pf", "fund", "env", "green", "power_factor", "refund", "adjust")
    return {name: value for name, value in lines.items() if not any(word in name for word in outside)}


def _base(work: Work, lines: dict[str, Decimal]) -> Decimal:
    taking = _taking(lines)
    base = total(taking.values())
    _, sub = _meters(work)
    _, whole = _kwh(work)
    if not sub or not whole:
        return base
    sub_price = _prefixed(work, "td_energy_price_sub")
    sub_charge = Decimal(0) if sub_price is None else work.money(EXACT.multiply(sub, sub_price))
    names = ("td_energy", "demand", "basic", "capacity")
    shared = total(value for name, value in taking.items() if not name.startswith(names))
    return work.rounded(
        Fraction(base) - Fraction(sub_charge) - Fraction(shared) * Fraction(sub) / Fraction(whole),
        "money",
        "0.01",
    )


def _rest(work: Work) -> None:
    """Average price, change against the month before, share of the periods."""
    _, whole = _kwh(work)
    amount: Decimal | None = None
    if "total" in work.results.named:
        amount = work.decimal_result("total")
    elif work.has(STATED):
        amount = work.decimal(STATED)
    if whole and amount is not None:
        average = work.rounded(Fraction(amount) / Fraction(whole), "average_price", work_default(work))
        work.put("average_price", average, "total / total_kwh")
    previous = "previous_total last_month_total previous_amount"
    if work.has(previous) and amount is not None:
        before = work.decimal(previous)
        change = work.rounded(Fraction(amount - before) * 100 / Fraction(before), "percent", "0.01")
        work.put("change_pct", change, "(total - previous) / previous x 100")


def work_default(work: Work) -> str | None:
    """Average prices are shown as prices are, where the case names their decimals."""
    return f"{work.case.quanta['price']}" if "price" in work.case.quanta else None


def late_fee(work: Work, rules: Rules) -> None:
    """电费违约金: principal x days x daily rate; the part after the year's end at the other rate (§16)."""
    amount = work.decimal(
        "overdue_amount unpaid_amount amount principal debt arrears_amount bill_amount overdue_principal"
    )
    daily = work.ratio(DAILY)
    later_daily = work.ratio(DAILY_LATER) if work.has_ratio(DAILY_LATER) else daily
    rates = LateRates(work.text_or("commercial", "category customer_category"), daily, later_daily)
    if work.has("due_date"):
        due, paid = _date(work, "due_date"), _date(work, "paid_date payment_date pay_date paid_on")
        cap = work.ratio(LATE_CAP) if work.has_ratio(LATE_CAP) else None
        file = CollectionRules(rules.two_part.head, 0, (rates,), cap, (), 0, ())
        lines = arrears.late_fee(
            [Claim(due, due, fen_of(amount))], [Move(due, fen_of(amount))], paid, rates, file
        )
        work.put(
            "late_days", Decimal(sum(line.days for line in lines)), "days after due_date up to paid_date"
        )
        for number, name in enumerate(("current_year", "later_years")[: len(lines)]):
            later = " days_after_year_end late_days_after_year_end" if number else ""
            work.put(f"late_days_{name}", Decimal(lines[number].days), "", also=f"days_{name}{later}")
            work.put(
                f"late_fee_{name}",
                yuan(lines[number].amount_fen),
                "principal x days x rate",
                kind="money",
                also=f"penalty_{name}",
            )
        fee = yuan(arrears.fee_fen(lines))
    else:
        days = work.number_or(0, "overdue_days late_days days_late days_late_current_year days")
        late = work.number_or(0, "days_late_later_years days_after_year_end days_next_year")
        parts = (
            work.money(EXACT.multiply(EXACT.multiply(amount, days), rates.current_year_rate)),
            work.money(EXACT.multiply(EXACT.multiply(amount, late), rates.later_years_rate)),
        )
        fee = total(parts)
        if work.has_ratio(LATE_CAP):
            fee = min(fee, work.money(EXACT.multiply(amount, work.ratio(LATE_CAP))))
    work.put("late_fee", fee, "principal x days x daily rate", kind="money", rule="供电营业规则 · §16")
    work.put("total", EXACT.add(amount, fee), "principal + late_fee")


def _date(work: Work, names: str) -> date:
    text = work.text(names)
    try:
        return date.fromisoformat(text)
    except ValueError:
        work.bad(work.here(names.split()[0]), f"is {text!r}"[:60], "a date YYYY-MM-DD")
