"""Cases of the two-part tariff 两部制: the basic charge in its three modes, its discount and its penalties. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from cloud.billing import basic
from cloud.billing.basic import Overrun, Service, TwoPartRules
from cloud.billing.charges import Transmission, TransmissionRow
from cloud.billing.line import BillLine
from cloud.billing.segment import DemandMode, Terms
from cloud.cases.rules import Rules
from cloud.cases.two_part_inputs import (
    CAPACITY_PRICE,
    CONTRACT,
    CONTRACT_KVA,
    DAY_BASE,
    DAYS,
    DEMAND,
    DEMAND_PRICE,
    KVA,
    KWH,
    LINES,
    PARTS,
    PER_KVA,
    days_of,
    demand_of,
    has_demand,
    kva_of,
    mode_of,
    rules_of,
)
from cloud.cases.work import Work, by_row
from cloud.money import EXACT, total, yuan

RULE = "发改办价格〔2016〕1583号 · §3"


def rate(work: Work, rules: Rules) -> None:
    """Work a case: segments of a month, several lines, one charge, or what is due beside it."""
    work.rule = RULE
    if work.is_list("rows"):
        _put_total(work, by_row(work, lambda row: _rate_one(row, rules)))
    else:
        _rate_one(work, rules)


def basic_charge(work: Work, rules: Rules) -> Decimal:
    """The basic charge of a case that contains one; noted as `basic_charge`."""
    mode = mode_of(work)
    if mode == "none":
        work.put("basic_charge", Decimal(0), "0 (single-part)")
        return Decimal(0)
    if work.is_list("segments"):
        _segments(work, rules)
        found = work.results.named["total"].value
    else:
        _charge(work, rules, mode)
        found = work.results.named["basic_charge"].value
    return found if isinstance(found, Decimal) else Decimal(0)


def _rate_one(work: Work, rules: Rules) -> None:
    if work.has("monthly_loss_kwh transformer_loss_kwh_month month_loss_kwh monthly_transformer_loss_kwh"):
        _loss(work)
    elif work.has("penalty_multiple penalty_multiplier penalty_ratio penalty_times"):
        _penalty(work, rules)
    elif work.is_list("segments"):
        _segments(work, rules)
    elif work.is_list(LINES):
        _several(work, rules, work.tables(LINES), "line_charges")
    elif work.is_list(PARTS):
        _split(work)
    else:
        _charge_or_structure(work, rules)


def _charge_or_structure(work: Work, rules: Rules) -> None:
    has_price = work.has(CAPACITY_PRICE) or work.has(DEMAND_PRICE)
    if work.has(CAPACITY_PRICE) and work.has(DEMAND_PRICE) and not work.has("billing_mode mode"):
        _compared(work, rules)
    elif has_price:
        _charge(work, rules, mode_of(work))
    elif work.has(PER_KVA) or work.has(KWH):
        _load_discount(work, rules_of(work, rules))
    elif work.has(CONTRACT):
        _effective_contract(work, rules_of(work, rules))
    else:
        _structure(work)
        work.attempt(lambda: work.decimal(CAPACITY_PRICE))


def _charge(work: Work, rules: Rules, mode: str) -> None:
    two_part = rules_of(work, rules)
    if mode == "capacity":
        line = _line(work, two_part, DemandMode.CAPACITY, Decimal(0))
        work.put(
            "basic_charge",
            _amount(work, line),
            f"transformer_kva x capacity_price_per_kva_month{_by_days(work)}",
            kind="money",
        )
    elif mode == "contracted":
        _contracted(work, two_part)
    elif mode == "actual":
        demand = demand_of(work)
        _load_discount(work, two_part)
        line = _line(work, two_part, DemandMode.ACTUAL, demand)
        _put_demand_charge(
            work, _amount(work, line), f"max_demand_kw x demand_price{_by_discount(work)}{_by_days(work)}"
        )
        _put_discount_difference(work, two_part, line, demand)
    else:
        work.put("basic_charge", Decimal(0), "0 (single-part)")


def _put_demand_charge(work: Work, amount: Decimal, formula: str) -> None:
    work.put("basic_charge", amount, formula, kind="money")


def _put_discount_difference(work: Work, two_part: TwoPartRules, line: BillLine, demand: Decimal) -> None:
    full = work.money(_prorated(work, EXACT.multiply(line.quantity, work.decimal(DEMAND_PRICE)), two_part))
    work.put("demand_charge_full", full, "kW x demand_price")
    work.put(
        "discount_amount", EXACT.subtract(full, _amount(work, line)), "demand_charge_full - basic_charge"
    )
    work.put("demand_price_applied", line.price_yuan_per_unit, "demand_price x discount")


def _contracted(work: Work, two_part: TwoPartRules) -> None:
    _effective_contract(work, two_part)
    _load_discount(work, two_part)
    # Without a measured demand the contract itself is what is charged: nothing says that it was exceeded.
    demand = demand_of(work) if has_demand(work) else _contract(work, two_part)
    price = work.decimal(DEMAND_PRICE)
    for variant in Overrun:
        line = _line(work, replace(two_part, overrun_variant=variant), DemandMode.CONTRACTED, demand)
        formula = (
            "contract x price up to the limit; above: "
            + ("limit x contract" if variant is Overrun.A else "contract")
            + " x price + (max_demand_kw - limit x contract) x overrun_multiplier x price"
        )
        name = f"demand_charge_variant_{variant.lower()}"
        work.put(
            name,
            _amount(work, line),
            formula,
            also=f"variant_{variant.lower()} charge_variant_{variant.lower()} basic_charge_variant_{variant.lower()}",
            kind="money",
        )
        work.put(
            f"chargeable_kw_variant_{variant.lower()}",
            line.quantity,
            "",
            also=f"billed_kw_variant_{variant.lower()}",
        )
    line = _line(work, two_part, DemandMode.CONTRACTED, demand)
    _put_demand_charge(
        work,
        _amount(work, line),
        f"by variant {two_part.overrun_variant}{_by_discount(work)}{_by_days(work)}",
    )
    work.put("chargeable_kw", line.quantity, "")
    contract = _contract(work, two_part)
    limit = EXACT.multiply(two_part.contract_limit_ratio, contract)
    over = max(Decimal(0), EXACT.subtract(demand, limit))
    work.put("limit_kw", limit, "limit_ratio x contract")
    work.put("overrun_kw", over, "max(0, max_demand_kw - limit_kw)")
    work.put("is_overrun", bool(over), "max_demand_kw > limit_kw")
    work.put_money(
        "overrun_charge",
        EXACT.multiply(EXACT.multiply(over, two_part.overrun_multiplier), price),
        "overrun_kw x overrun_multiplier x price",
    )
    obsolete = contract + max(Decimal(0), EXACT.subtract(demand, contract)) * 2
    work.put_money("demand_charge_pre_2016", EXACT.multiply(obsolete, price), "C x P + 2 x P x (MD - C)")
    _put_discount_difference(work, two_part, line, demand)


def _contract(work: Work, two_part: TwoPartRules) -> Decimal:
    requested = work.not_negative(CONTRACT)
    if not work.has(f"transformers_kva transformers {KVA}"):
        return requested
    return max(requested, EXACT.multiply(two_part.contract_floor_ratio, kva_of(work)))


def _effective_contract(work: Work, two_part: TwoPartRules) -> None:
    requested, effective = work.not_negative(CONTRACT), _contract(work, two_part)
    if work.has(f"transformers_kva transformers {KVA}"):
        floor = EXACT.multiply(two_part.contract_floor_ratio, kva_of(work))
        work.put("floor_kw", floor, "floor_ratio x (transformers + directly connected motors)")
        work.put("floor_applied", effective > requested, "contract_demand_kw < floor_kw")
    work.put("effective_contract_demand_kw", effective, "max(contract_demand_kw, floor_kw)")


def _load_discount(work: Work, two_part: TwoPartRules) -> None:
    """The discount from so many kWh per contract kVA on; the quotient is compared unrounded."""
    if work.has(PER_KVA):
        per_kva = Fraction(work.decimal(PER_KVA))
        applied = two_part.load_discount_in_force and per_kva >= Fraction(
            two_part.load_discount_from_kwh_per_kva
        )
    elif work.has(KWH) and work.has(CONTRACT_KVA):
        kva = work.positive(CONTRACT_KVA) if not work.is_list(CONTRACT_KVA) else kva_of(work)
        per_kva = Fraction(work.decimal(KWH)) / Fraction(kva)
        applied = two_part.load_discount_in_force and per_kva >= Fraction(
            two_part.load_discount_from_kwh_per_kva
        )
        work.put("kwh_per_kva", work.rounded(per_kva, "kwh_per_kva"), "month_kwh / contract_kva")
    else:
        applied = False
    work.put(
        "load_factor_discount_applied",
        applied,
        "kwh_per_kva >= threshold (not rounded)",
        rule="发改价格〔2023〕526号 · §3.2",
    )


def _is_discounted(work: Work) -> bool:
    found = work.results.named.get("load_factor_discount_applied")
    return found is not None and found.value is True


def _line(work: Work, two_part: TwoPartRules, mode: DemandMode, demand: Decimal) -> BillLine:
    """The line a bill would have; all kW and kVA scaled to whole numbers, which the charge is linear in."""
    needs_kva = mode is DemandMode.CAPACITY or work.has(f"transformers_kva transformers {KVA}")
    kva = kva_of(work) if needs_kva else Decimal(0)
    contract = work.not_negative(CONTRACT) if mode is DemandMode.CONTRACTED else Decimal(0)
    scale = max(0, *(-int(each.as_tuple().exponent) for each in (kva, contract)))
    terms = Terms(
        category="commercial", purchase="agency", structure="two_part", voltage="any", demand_mode=mode,
        capacity_kva=int(EXACT.scaleb(kva, scale)), contract_demand_kw=int(EXACT.scaleb(contract, scale)),
        power_factor_standard=None,
    )  # fmt: skip
    days = days_of(work)
    first = date(2026, 1, 1)
    factor = two_part.load_discount_price_factor if _is_discounted(work) else Decimal(1)
    row = TransmissionRow(
        "two_part", "any", Decimal(0),
        demand_yuan_per_kw_month=None if mode is DemandMode.CAPACITY else EXACT.multiply(work.not_negative(DEMAND_PRICE), factor),
        capacity_yuan_per_kva_month=work.not_negative(CAPACITY_PRICE) if mode is DemandMode.CAPACITY else None,
    )  # fmt: skip
    service = Service(
        terms,
        first,
        first + timedelta(days=30 if days is None else days),
        EXACT.scaleb(demand, scale),
        Decimal(0),
        days is None,
    )
    # The discount is decided above on exact quotients, so it is in the price already.
    line = basic.basic_line(
        service,
        Transmission(two_part.head, Decimal(0), (row,)),
        replace(two_part, load_discount_in_force=False),
    )
    if line is None:
        raise ValueError(f"no basic charge in mode {mode}")
    quantity = EXACT.scaleb(line.quantity, -scale)
    exact = _prorated(work, EXACT.multiply(quantity, line.price_yuan_per_unit), two_part)
    amount_fen = line.amount_fen if not scale else int(EXACT.scaleb(work.money(exact), 2))
    return replace(line, quantity=quantity, amount_fen=amount_fen)


def _amount(work: Work, line: BillLine) -> Decimal:
    return yuan(line.amount_fen)


def _prorated(work: Work, amount: Decimal, two_part: TwoPartRules) -> Fraction:
    days = days_of(work)
    return Fraction(amount) if days is None else Fraction(amount) * days / two_part.days_of_month_charge


def _by_days(work: Work) -> str:
    return " x days / day_base" if days_of(work) is not None else ""


def _by_discount(work: Work) -> str:
    return " x discount_factor" if _is_discounted(work) else ""


def _segments(work: Work, rules: Rules) -> None:
    _several(work, rules, work.tables("segments"), "segment_charges")


def _several(work: Work, rules: Rules, parts: list[Work], name: str) -> None:
    """Charge each stretch of days or each line by itself, then sum."""
    charges: list[Decimal] = []
    for part in parts:
        part.rule = work.rule
        _charge(part, rules, mode_of(part))
        found = part.results.named["basic_charge"].value
        charges.append(found if isinstance(found, Decimal) else Decimal(0))
    work.put(
        name,
        list(charges),
        "each by itself, rounded",
        also="charges segment_charges line_charges demand_charges segments_charge charge_by_line charge_per_line",
        kind="money",
    )
    work.put_rows("segments", parts)
    work.put("total", total(charges), "sum")
    for variant in ("a", "b"):
        each = [part.results.named.get(f"demand_charge_variant_{variant}") for part in parts]
        amounts = [one.value for one in each if one is not None and isinstance(one.value, Decimal)]
        if amounts and len(amounts) == len(parts):
            work.put(
                f"{name}_variant_{variant}", list(amounts), f"each by variant {variant.upper()}", kind="money"
            )
            work.put(f"total_variant_{variant}", total(amounts), "sum")
    demands = [part.decimal(DEMAND) for part in parts if part.own(DEMAND) and part.has(DEMAND)]
    if demands:
        work.put("total_demand_kw", total(demands), "sum")


def _split(work: Work) -> None:
    """Demand split to sub-meters with six decimals, each part rounded to the fen."""
    raw = work.raw(PARTS)
    if isinstance(raw, list) and all(isinstance(each, dict) for each in raw):
        demands = [_part_demand(part) for part in work.tables(PARTS)]
    else:
        demands = [work.rounded(each, "power_kw", "0.000001") for each in work.decimals(PARTS)]
    price = work.decimal(DEMAND_PRICE)
    charges = [work.money(EXACT.multiply(each, price)) for each in demands]
    work.put("allocated_demand_kw", list(demands), "demand x share", kind="power_kw")
    work.put("part_charges", list(charges), "kW x demand_price", kind="money")
    work.put("total", total(charges), "sum")
    work.put("total_demand_kw", total(demands), "sum")
    if work.has(DEMAND):
        work.put_money(
            "demand_charge_unsplit",
            EXACT.multiply(work.decimal(DEMAND), price),
            "max_demand_kw x demand_price",
        )


def _part_demand(part: Work) -> Decimal:
    share = "share ratio share_ratio"
    if part.own(share):
        whole = part.decimal(DEMAND)
        return part.rounded(EXACT.multiply(whole, part.decimal(share)), "power_kw", "0.000001")
    return part.rounded(part.decimal(DEMAND), "power_kw", "0.000001")


def _compared(work: Work, rules: Rules) -> None:
    """The charge in every mode that the case has numbers for, and the cheapest."""
    found: dict[str, Decimal] = {}
    for mode, name in (
        ("capacity", "capacity_charge"),
        ("contracted", "contract_demand_charge"),
        ("actual", "actual_demand_charge"),
    ):
        if (mode == "contracted" and not work.has(CONTRACT)) or (mode == "actual" and not work.has(DEMAND)):
            continue
        part = work.part(mode)
        _charge(part, rules, mode)
        amount = part.results.named["basic_charge"].value
        if isinstance(amount, Decimal):
            found[mode] = amount
            work.put(name, amount, f"mode {mode}")
    names = {"capacity": "capacity", "contracted": "contract_max_demand", "actual": "actual_max_demand"}
    cheapest = min(found, key=lambda mode: found[mode])
    work.put("cheapest_mode", names[cheapest], "the smallest charge")
    work.put("saving", EXACT.subtract(max(found.values()), min(found.values())), "largest - smallest")


def _penalty(work: Work, rules: Rules) -> None:
    """Suspended equipment started without permission: the charge due and a penalty of a multiple of it (§16)."""
    part = work.part("due")
    _charge(part, rules, mode_of(work))
    due = part.results.named["basic_charge"].value
    charge = due if isinstance(due, Decimal) else Decimal(0)
    work.put("basic_charge_due", charge, f"kVA or kW x price{_by_days(work)}", kind="money")
    multiple = work.decimal("penalty_multiple penalty_multiplier penalty_ratio penalty_times")
    penalty = work.put_money(
        "penalty", EXACT.multiply(charge, multiple), "basic_charge_due x penalty_multiple"
    )
    work.put("total", EXACT.add(charge, penalty), "basic_charge_due + penalty")


def _loss(work: Work) -> None:
    """Transformer loss of a part of a month: monthly loss x days / 30, whole kWh (§16)."""
    loss = work.decimal(
        "monthly_loss_kwh transformer_loss_kwh_month month_loss_kwh monthly_transformer_loss_kwh"
    )
    days, base = work.decimal(DAYS), work.number_or(30, DAY_BASE)
    found = work.rounded(Fraction(loss) * Fraction(days) / Fraction(base), "energy_kwh", "1")
    work.put("loss_kwh", found, "monthly_loss_kwh x days / day_base", kind="energy_kwh")


def _structure(work: Work) -> None:
    """Which tariff structures a capacity may have: up to 100 kVA single, to 315 a choice, from 315 two-part (§3.1)."""
    kva = kva_of(work)
    choice_from = work.number_or(100, "single_part_max_kva choice_from_kva single_part_limit_kva")
    two_part_from = work.number_or(315, "two_part_from_kva two_part_min_kva two_part_limit_kva")
    existing = work.flag(False, "existing_single_part is_existing_single_part existing_user is_existing")
    single = kva < two_part_from or existing
    allowed = (["single_part"] if single else []) + (["two_part"] if kva > choice_from else [])
    work.put(
        "allowed_structures",
        list(allowed),
        "single <= 100 kVA < choice < 315 kVA <= two-part",
        rule="发改价格〔2023〕526号 · §3.1",
    )
    work.put("structure", allowed[0] if len(allowed) == 1 else "choice", "")


def _put_total(work: Work, rows: list[Work]) -> None:
    found = [row.results.named["basic_charge"].value for row in rows if "basic_charge" in row.results.named]
    amounts = [each for each in found if isinstance(each, Decimal)]
    if amounts and len(amounts) == len(rows):
        work.put("total", total(amounts), "sum of the rows")
