"""Cases of market settlement 市场结算: with and without spot, retailers, generators, allocation, balance, calendar. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from functools import partial

from cloud.cases.settlement_shares import MONTH, WEIGHTS, allocated, calendar, is_allocation
from cloud.cases.settlement_spot import (
    ACTUAL,
    CONTRACT,
    CONTRACTS,
    DAY_AHEAD,
    MWH,
    PRICE,
    contract_pairs,
    put_spot,
    spot,
    spot_parts,
)
from cloud.cases.work import Work
from cloud.market.deviation import PricePick, SideRule, Tier, deviation_amount
from cloud.money import EXACT, total, yuan

RULE = "发改能源规〔2025〕976号 · §10"
REGULATION = "up_regulation_average_price up_price pup price_up up_regulation_price down_regulation_average_price down_price pdn price_down down_regulation_price deviation_price k1 k2 u1 u2"
# "generation - sum of contracts - mechanism energy": the rule takes mechanism energy out of the deviation.
_MECHANISM_APART = re.compile(
    r"(?:generation|actual|上网电量|发电量)[^.;。；]*(?:[-−–－减扣]|less|minus|net of)[^.;。；]*(?:mechanism|机制)"
)


def rate(work: Work) -> None:
    """Work a case by the inputs it has."""
    work.rule = RULE
    if work.is_list("rows") and _rows_are_cases(work):
        _by_period(work)
    elif is_allocation(work):
        allocated(work)
    elif work.is_list(
        "user_side user_side_lines user_lines user_amounts payers user_side_amounts"
    ) or work.is_table("user_side user_side_amounts user_amounts"):
        _balanced(work)
    elif work.is_list("retail_lines") or work.has("retail_revenue retail_amount"):
        _retailer(work)
    elif work.is_list("rows periods hours intervals time_periods"):
        _by_period(work)
    elif work.has(DAY_AHEAD):
        spot(work)
    elif work.has("mechanism_mwh") and not work.has(f"{CONTRACTS} {CONTRACT} {ACTUAL}"):
        _mechanism(work)
    elif work.is_table("charges bill_lines components") or work.has("energy_charge"):
        _user_bill(work)
    elif work.has(f"{MONTH} from_month") and not work.has(ACTUAL):
        calendar(work)
    elif work.is_list("lines settlement_lines items"):
        _lines(work)
    else:
        _no_spot(work)


def _rows_are_cases(work: Work) -> bool:
    """Whether each row is a case of its own, and not one of those that share, pay or are paid."""
    rows = work.tables("rows")
    alone = f"{WEIGHTS} retail_lines retail_revenue energy_charge charges user_side user_amounts"
    return bool(rows) and (work.has(WEIGHTS) or any(row.own(alone) for row in rows))


def _lines(work: Work) -> None:
    names = "lines settlement_lines items"
    amounts = [_line_amount(row) for row in work.tables(names)]
    work.put("line_amounts", list(amounts), "mwh x price, each rounded", kind="money")
    work.put_rows("rows", work.tables(names))
    work.put("total", total(amounts), "sum of the lines")


def _line_amount(row: Work) -> Decimal:
    """One line: energy to three decimals x price to three decimals, rounded to the fen; or a stated amount."""
    if row.own("amount charge") and not row.own(MWH):
        found = row.decimal("amount charge")
    elif row.own("kwh quantity_kwh") and not row.own(MWH):
        found = row.money(EXACT.multiply(row.decimal("kwh quantity_kwh"), row.decimal(PRICE)))
    else:
        mwh = row.rounded(row.decimal(MWH), "energy_mwh", "0.001")
        price = row.rounded(row.decimal(PRICE), "price", "0.001")
        found = row.money(EXACT.multiply(mwh, price))
    sign = row.choice(
        "+", {"pay": "+", "receive": "-", "+": "+", "-": "-", "buy": "+", "sell": "-"}, "direction sign"
    )
    found = -found if sign == "-" else found
    row.put("amount", found, "mwh x price", kind="money")
    return found


def _contract_lines(work: Work) -> tuple[Decimal, Decimal | None, list[Decimal]]:
    """Contract energy, amount and the single amounts; amount None when there is no price."""
    if work.is_list(CONTRACTS):
        rows = work.tables(CONTRACTS)
        sign = [
            -1
            if row.choice(
                "buy",
                {"buy": "buy", "purchase": "buy", "sell": "sell", "sold": "sell", "sale": "sell"},
                "side direction type",
            )
            == "sell"
            else 1
            for row in rows
        ]
        energy = total(row.decimal(MWH) * each for row, each in zip(rows, sign, strict=True))
        amounts = [
            row.money(EXACT.multiply(row.decimal(MWH), row.decimal(PRICE))) * each
            for row, each in zip(rows, sign, strict=True)
        ]
        work.put("contract_amounts", list(amounts), "mwh x price", kind="money")
        return energy, total(amounts), amounts
    if work.is_list(CONTRACT):
        return _contract_lists(work)
    energy = work.number_or(0, CONTRACT)
    if not work.has("contract_price contract_average_price"):
        return energy, None, []
    amount = work.money(EXACT.multiply(energy, work.decimal("contract_price contract_average_price")))
    return energy, amount, [amount]


def _contract_lists(work: Work) -> tuple[Decimal, Decimal | None, list[Decimal]]:
    """Contracts as a list of quantities and a list of prices."""
    amounts = [work.money(EXACT.multiply(mwh, price)) for mwh, price in contract_pairs(work)]
    work.put("contract_amounts", list(amounts), "mwh x price", kind="money")
    return total(work.decimals(CONTRACT)), total(amounts), amounts


def _by_period(work: Work) -> None:
    names = "rows periods hours intervals time_periods"
    rows = work.tables(names)
    if not (work.has(DAY_AHEAD) or any(row.own(DAY_AHEAD) for row in rows)):
        for row in rows:
            row.rule = work.rule
            row.attempt(partial(rate_row, row))
        work.put_rows("rows", rows, also=names)
        found = [
            row.results.named[name].value
            for row in rows
            for name in ("total", "amount")
            if name in row.results.named
        ]
        amounts = [each for each in found if isinstance(each, Decimal)]
        if len(amounts) == len(rows):
            work.put("total", total(amounts), "sum of the rows")
        return
    first = second = Fraction(0)
    rounded_sum = Decimal(0)
    for row in rows:
        one, other, _ = spot_parts(row)
        put_spot(row, one, other)
        first, second = first + one, second + other
        rounded_sum = EXACT.add(rounded_sum, row.money(one))
    work.put_rows("rows", rows, also=names)
    put_spot(work, Fraction(rounded_sum), Fraction(total(row.money(spot_parts(row)[1]) for row in rows)))
    work.put("total", rounded_sum, "sum of the periods")


def rate_row(row: Work) -> None:
    """One row without spot: lines, contracts and deviation."""
    if is_allocation(row):
        allocated(row)
    elif row.is_list("user_side user_amounts"):
        _balanced(row)
    elif row.is_list("retail_lines") or row.has("retail_revenue retail_amount"):
        _retailer(row)
    elif row.is_table("charges bill_lines components") or row.has("energy_charge"):
        _user_bill(row)
    elif row.own(MONTH) and not row.has(ACTUAL):
        calendar(row)
    elif row.own(CONTRACTS) or row.has(ACTUAL):
        _no_spot(row)
    elif row.own("mechanism_mwh"):
        _mechanism(row)
    else:
        _line_amount(row)


def _retailer(work: Work) -> None:
    """售电公司: retail revenue less wholesale cost; both are shown separately (976号 art. 34)."""
    if work.is_list("retail_lines"):
        rows = work.tables("retail_lines")
        amounts = [_line_amount(row) for row in rows]
        work.put("retail_line_amounts", list(amounts), "mwh x price", kind="money")
        work.put_rows("retail_lines", rows)
        revenue = total(amounts)
    else:
        revenue = work.decimal("retail_revenue retail_amount")
    work.put("retail_revenue", revenue, "sum of the retail lines")
    cost = _wholesale(work)
    work.put("wholesale_cost", cost, "contracts + deviation")
    work.put("net_to_retailer", EXACT.subtract(revenue, cost), "retail_revenue - wholesale_cost")
    sold = (
        [row.number_or(0, MWH) for row in work.tables("retail_lines")] if work.is_list("retail_lines") else []
    )
    if total(sold):
        work.put(
            "margin_per_mwh",
            work.rounded(Fraction(revenue - cost) / Fraction(total(sold)), "price", "0.001"),
            "net / retail MWh",
        )


def _wholesale(work: Work) -> Decimal:
    parts: list[Decimal] = []
    for name, also in (
        ("wholesale_contract", "wholesale_contract_charge contract_charge wholesale_contract_cost"),
        (
            "wholesale_deviation",
            "wholesale_deviation_charge deviation_charge deviation_amount wholesale_deviation_cost",
        ),
    ):
        if work.is_table(name):
            parts.append(_line_amount(work.table(name)))
            work.put(f"{name}_amount", parts[-1], "mwh x price", kind="money", also=also)
    for name in ("wholesale_contracts", "wholesale_lines", "wholesale_deviations", "deviation_lines"):
        if work.is_list(name):
            amounts = [_line_amount(row) for row in work.tables(name)]
            work.put(f"{name}_amount", total(amounts), "sum", also=f"{name}_total {name}_cost")
            parts += amounts
    for name in (
        "wholesale_cost",
        "other_cost",
        "assessment",
        "deviation_penalty",
        "other_wholesale_charges",
    ):
        if work.has(name):
            parts.append(work.decimal(name))
    if not parts:
        if work.has(ACTUAL) and work.has(f"{CONTRACTS} contract_mwh"):
            part = work.part("wholesale")
            _no_spot(part)
            found = part.results.named["total"].value
            parts.append(found if isinstance(found, Decimal) else Decimal(0))
            work.inherit(part)
        else:
            work.table("wholesale_contract")
    return total(parts)


def _no_spot(work: Work) -> None:
    """A = sum of contracts + over x Pup x U1 - under x Pdn x U2; a generator mirrored with K1, K2, mechanism apart.

    Mechanism energy is taken out of the generation only where the rule of the case says so (§10.3 does not).
    """
    work.rule = "§10.3"
    energy, amount, _ = _contract_lines(work)
    if amount is not None:
        work.put("contract_charge", amount, "sum of Qc x Pc", kind="money")
    work.put("contract_mwh", energy, "sum of the contracts")
    has_mechanism = work.has("mechanism_price")
    difference = _mechanism(work) if has_mechanism else Decimal(0)
    words = ["contract_charge"]
    whole = amount or Decimal(0)
    generator = _is_generator(work)
    if work.has(ACTUAL) or not has_mechanism or work.has(REGULATION):
        market = work.decimal(ACTUAL)
        if generator and work.has("mechanism_mwh") and _MECHANISM_APART.search(work.case.rule.lower()):
            market = EXACT.subtract(market, work.decimal("mechanism_mwh"))
        elif not has_mechanism:
            work.note("mechanism_mwh")
        whole = EXACT.add(whole, _deviation(work, energy, market, generator=generator))
        words.append("deviation_amount")
    work.put("market_total", whole, " + ".join(words))
    whole = EXACT.add(whole, difference)
    words += ["mechanism_difference"] if has_mechanism else []
    work.put("total", whole, " + ".join(words))
    actual = work.decimal_or(None, ACTUAL)
    if actual:
        average = work.rounded(Fraction(whole) / Fraction(actual), "price", "0.001")
        work.put("average_price", average, "total / actual_mwh")


def _is_generator(work: Work) -> bool:
    roles = {"generator": "generator"} | dict.fromkeys(("user", "retailer", "direct_user", "buyer"), "user")
    role = work.choice("", roles, "side participant_type role market_side")
    if role or work.has("k1 k2"):
        return role != "user"
    return work.has("generation_mwh actual_generation_mwh") and not work.has("u1 u2")


def _deviation(work: Work, contract: Decimal, actual: Decimal, *, generator: bool) -> Decimal:
    """Price what is beyond the contracts, by the settlement's own function."""
    over = actual > contract
    names = ("k1", "k2") if generator else ("u1", "u2")
    up = "up_regulation_average_price up_price pup price_up up_regulation_price"
    down = "down_regulation_average_price down_price pdn price_down down_regulation_price"
    wanted = up if over != generator else down
    price = work.decimal_or(None, f"{wanted} deviation_price")
    if price is None and actual != contract:
        work.decimal(wanted)
    work.note(f"{up} {down} {names[0]} {names[1]}")
    pick = PricePick(("price",), "first")
    tiers = [(Tier(Decimal(0), pick, work.number_or(1, name)),) for name in names]
    found = deviation_amount(SideRule(tiers[0], tiers[1]), contract, actual, {"price": price})
    work.put("deviation_mwh", found.deviation_mwh, "actual_mwh - contract_mwh")
    for part in found.parts:
        factored = EXACT.multiply(part.price_yuan_per_mwh, part.price_factor)
        work.put("deviation_price", factored, f"regulation average x {names[0 if over else 1].upper()}")
    amount = yuan(found.amount_fen)
    work.put("deviation_amount", amount, "deviation_mwh x deviation_price", kind="money")
    return amount


def _mechanism(work: Work) -> Decimal:
    """机制电量差价: Qm x (Pm - Pref), settled separately."""
    quantity, price = work.decimal("mechanism_mwh"), work.decimal("mechanism_price")
    reference = work.decimal(
        "reference_price mechanism_reference_price market_average_price market_reference_price"
    )
    work.put(
        "mechanism_price_difference", EXACT.subtract(price, reference), "mechanism_price - reference_price"
    )
    found = work.put_money(
        "mechanism_difference",
        EXACT.multiply(quantity, EXACT.subtract(price, reference)),
        "mechanism_mwh x (mechanism_price - reference_price)",
    )
    if work.has("market_revenue"):
        work.put(
            "total", EXACT.add(work.decimal("market_revenue"), found), "market_revenue + mechanism_difference"
        )
    return found


def _amounts(work: Work, names: str) -> list[Decimal]:
    if not work.has(names):
        return []
    if work.is_table(names):
        return list(work.numbers(names).values())
    if work.is_number(names):
        return [work.decimal(names)]
    raw = work.raw(names)
    if isinstance(raw, list) and all(isinstance(each, dict) for each in raw):
        return [_line_amount(row) for row in work.tables(names)]
    return work.decimals(names)


def _balanced(work: Work) -> None:
    """Conservation: what the user side pays = what the generator side gets + named differences + T&D + funds."""
    users = total(
        _amounts(work, "user_side user_side_lines user_lines user_amounts payers user_side_amounts")
    )
    generators = total(
        _amounts(
            work,
            "generator_side generator_side_lines generator_lines generator_amounts receivers generator_side_amounts",
        )
    )
    named = total(
        _amounts(
            work, "differences named_differences itemised_differences difference_items itemized_differences"
        )
    )
    grid = total(
        value
        for names in (
            "transmission td_amount td td_charge td_energy grid_amount grid",
            "government_funds funds government_funds_amount funds_amount funds_charge",
            "system_operation",
            "line_loss",
            "environmental_value",
        )
        for value in _amounts(work, names)
    )
    left = EXACT.subtract(users, total((generators, named, grid)))
    work.put("user_total", users, "sum of the user side")
    work.put("generator_total", generators, "sum of the generator side")
    work.put("other_total", EXACT.add(named, grid), "differences + T&D + funds")
    work.put("imbalance", left, "user side - everything received")
    work.put("balanced", not left, "imbalance = 0")


def _user_bill(work: Work) -> None:
    """T = E + LL + TD + SO + BASIC + GF + PF + ENV + ADJ; PF base without GF and ENV."""
    table = (
        work.table("charges bill_lines components")
        if work.is_table("charges bill_lines components")
        else work
    )
    values = {name: table.number_or(0, names) for name, names in (
        ("energy", "energy_charge energy e"), ("line_loss", "line_loss_charge line_loss ll"), ("td", "td_energy_charge td_energy td transmission"),
        ("system_operation", "system_operation_charge system_operation so"), ("basic", "basic_charge basic demand_charge capacity_charge"),
        ("funds", "government_funds_charge government_funds funds gf"), ("environment", "environmental_value env_value env"), ("adjustment", "adjustments adjustment adj refund"),
    )}  # fmt: skip
    base = total(values[name] for name in ("energy", "line_loss", "td", "system_operation", "basic"))
    percent = (
        work.number_or(0, "pf_percent pf_pct")
        if work.has("pf_percent pf_pct")
        else EXACT.scaleb(work.number_or(0, "pf_coefficient coefficient"), 2)
    )
    work.put("pf_base", base, "E + LL + TD + SO + BASIC")
    amount = work.put_money(
        "pf_amount", EXACT.scaleb(EXACT.multiply(base, percent), -2), "pf_base x pf_percent / 100"
    )
    work.put(
        "total",
        total((base, values["funds"], amount, values["environment"], values["adjustment"])),
        "pf_base + GF + PF + ENV + ADJ",
    )
