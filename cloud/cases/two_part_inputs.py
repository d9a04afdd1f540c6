"""What cases of the two-part tariff call capacity, demand, days and prices. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

from cloud.billing.basic import Overrun, TwoPartRules
from cloud.cases.rules import Rules
from cloud.cases.work import Work
from cloud.money import EXACT, total

MODES = {
    "capacity": "capacity", "transformer_capacity": "capacity", "by_capacity": "capacity", "kva": "capacity",
    "contract_max_demand": "contracted", "contract_demand": "contracted", "contracted": "contracted",
    "contract_maximum_demand": "contracted", "contracted_demand": "contracted", "contract": "contracted",
    "actual_max_demand": "actual", "actual_demand": "actual", "actual": "actual", "actual_maximum_demand": "actual",
    "max_demand": "actual", "none": "none", "single_part": "none",
}  # fmt: skip

KVA = "transformer_kva capacity_kva kva installed_kva running_kva total_kva installed_capacity_kva total_capacity_kva"

CAPACITY_PRICE = (
    "capacity_price_per_kva_month capacity_price price_per_kva_month capacity_price_yuan_per_kva_month"
)

DEMAND = "max_demand_kw demand_kw actual_demand_kw actual_max_demand_kw md_kw kw measured_demand_kw"

DEMAND_PRICE = "demand_price_per_kw_month demand_price price_per_kw_month demand_price_yuan_per_kw_month"

CONTRACT = "contract_demand_kw contract_max_demand_kw contract_kw requested_contract_demand_kw contracted_demand_kw requested_demand_kw requested_kw contract_demand_requested_kw contract_requested_kw"

FLOOR = "min_contract_ratio floor_ratio contract_floor_ratio min_ratio minimum_ratio contract_demand_floor_ratio floor"

DAYS = "days service_days days_in_service days_of_service"

FIRST_DAY = "start_date from_date from start date_from first_day"

LAST_DAY = "end_date to_date to end date_to last_day"

DAY_AFTER = "until until_date end_exclusive end_date_exclusive to_exclusive day_after"

DAY_BASE = "day_base days_of_month days_per_month month_days days_base"

LINES = "incoming_lines lines supply_lines supply_points circuits feeders"

PARTS = "allocations_kw demand_parts_kw parts_kw parts sub_meters demand_parts allocated_demand_kw demand_split_kw split_demand_kw meters"

READING = "demand_reading register_demand demand_register max_demand_reading demand_register_kw demand_reading_kw register_demand_kw"

KWH = "month_kwh total_kwh kwh energy_kwh kwh_total monthly_kwh"

CONTRACT_KVA = f"contract_kva contract_capacity_kva contract_transformer_kva {KVA}"

PER_KVA = "kwh_per_contract_kva kwh_per_kva month_kwh_per_kva"

LIMIT = "limit_ratio contract_limit_ratio overrun_limit_ratio overrun_threshold_ratio"

OVERRUN = "overrun_multiplier overrun_factor k"

THRESHOLD = "load_factor_threshold_kwh_per_kva threshold_kwh_per_kva load_discount_from_kwh_per_kva threshold"

DISCOUNT = "discount load_factor_discount discount_factor load_factor_discount_factor demand_price_factor discount_ratio load_discount_price_factor discount_price_factor discount_multiplier discounted_price_ratio load_factor_price_ratio load_factor_discount_ratio demand_price_discount discount_price_ratio load_factor_price_factor demand_price_ratio"


def mode_of(work: Work) -> str:
    default = "capacity" if work.has(CAPACITY_PRICE) else "contracted" if work.has(CONTRACT) else "actual"
    return work.choice(default, MODES, "billing_mode mode demand_mode basic_charge_mode")


def rules_of(work: Work, rules: Rules) -> TwoPartRules:
    """The published rules with what the case says otherwise."""
    own = rules.two_part
    base = (
        work.number_or(own.days_of_month_charge, DAY_BASE)
        if days_of(work) is not None
        else work.decimal_or(Decimal(own.days_of_month_charge), DAY_BASE)
    ) or Decimal(0)
    has_load = work.has(PER_KVA) or (work.has(KWH) and work.has(CONTRACT_KVA))
    if base <= 0 or base != int(base):
        work.bad(work.here(DAY_BASE.split()[0]), f"is {base}", "a whole number of days")
    in_force = own.load_discount_in_force and _is_switched_on(work) and not work.is_null(THRESHOLD)
    return replace(
        own,
        days_of_month_charge=int(base),
        contract_limit_ratio=work.ratio_or(own.contract_limit_ratio, LIMIT)
        if work.has(CONTRACT)
        else own.contract_limit_ratio,
        contract_floor_ratio=work.ratio_or(own.contract_floor_ratio, FLOOR)
        if work.has(CONTRACT) and work.has(KVA)
        else own.contract_floor_ratio,
        overrun_multiplier=work.number_or(own.overrun_multiplier, OVERRUN)
        if work.has(CONTRACT)
        else own.overrun_multiplier,
        overrun_variant=Overrun(
            work.choice(own.overrun_variant, {"a": "A", "b": "B"}, "variant overrun_variant")
        ),
        load_discount_in_force=in_force,
        load_discount_from_kwh_per_kva=work.number_or(own.load_discount_from_kwh_per_kva, THRESHOLD)
        if in_force and has_load
        else own.load_discount_from_kwh_per_kva,
        load_discount_price_factor=_discount_factor(work, own.load_discount_price_factor)
        if in_force and has_load
        else own.load_discount_price_factor,
    )


def _is_switched_on(work: Work) -> bool:
    """Every switch of the load factor rule that the case has, whatever it calls it, must be on."""
    switches = [
        name
        for name in work.names_seen()
        if ("discount" in name or "load_factor" in name) and work.is_flag(name)
    ]
    return all(work.flag(True, name) for name in switches)


def _discount_factor(work: Work, own: Decimal) -> Decimal:
    """The factor on the price; a percentage below 50 says how much is taken off."""
    found = work.ratio_or(own, DISCOUNT)
    is_percent = not work.has(DISCOUNT) and work.has_ratio(DISCOUNT)
    return EXACT.subtract(Decimal(1), found) if is_percent and found < Decimal("0.5") else found


def kva_of(work: Work) -> Decimal:
    """Transformers, one or a list, and high-voltage motors that are connected directly."""
    if work.is_list(f"transformers_kva transformers {KVA}"):
        raw = work.raw(f"transformers_kva transformers {KVA}")
        if isinstance(raw, list) and all(isinstance(each, dict) for each in raw):
            sizes = [
                each.decimal(f"kva {KVA}") for each in work.tables(f"transformers_kva transformers {KVA}")
            ]
        else:
            sizes = work.decimals(f"transformers_kva transformers {KVA}")
    else:
        sizes = [work.not_negative(KVA)]
    motors = [
        work.number_or(0, name)
        for name in (
            "hv_motor_kw",
            "hv_motors_kw",
            "direct_hv_motors_kw",
            "high_voltage_motor_kw",
            "motor_kw",
            "hv_motor_kva",
            "direct_motor_kw",
            "direct_hv_motor_kw",
        )
    ]
    found = total((*sizes, *motors))
    if len(sizes) + sum(1 for each in motors if each) > 1:
        work.put("capacity_total_kva", found, "transformers + directly connected high-voltage motors")
    return found


def has_demand(work: Work) -> bool:
    return work.has(f"{DEMAND} {READING} quarter_hour_kwh interval_kwh quarter_hour_kw interval_kw")


def demand_of(work: Work) -> Decimal:
    if work.is_list(DEMAND):
        found = total(work.decimals(DEMAND))
    else:
        found = work.not_negative(DEMAND) if work.has(DEMAND) else _read_demand(work)
    return found


def _read_demand(work: Work) -> Decimal:
    """Demand = the meter's maximum x its multiplier, or the largest quarter-hour's energy x 4."""
    if work.is_list("quarter_hour_kwh interval_kwh"):
        highest = EXACT.multiply(max(work.decimals("quarter_hour_kwh interval_kwh")), Decimal(4))
    elif work.is_list("quarter_hour_kw interval_kw"):
        highest = max(work.decimals("quarter_hour_kw interval_kw"))
    elif work.has(READING):
        highest = work.decimal(READING)
    else:
        return work.decimal(DEMAND)
    demand = EXACT.multiply(highest, work.number_or(1, "multiplier meter_multiplier"))
    work.put("max_demand_kw", demand, "demand_reading x multiplier")
    return demand


def days_of(work: Work) -> int | None:
    """Days in service: stated, or counted from the dates of the stretch."""
    if not work.has(DAYS):
        return _counted_days(work)
    days = work.integer(DAYS)
    if not 0 <= days <= 3660:
        work.bad(work.here(DAYS.split()[0]), f"is {days}", "0 to 3660 days")
    return days


def _counted_days(work: Work) -> int | None:
    """From the first day to the last, both counted; to the day after it where that is how the case says it.

    It is where the next stretch begins on the day this one ends, or where the last stretch ends on the first of a month
    that it does not begin in.
    """
    if not work.own(FIRST_DAY) or not work.own(f"{LAST_DAY} {DAY_AFTER}"):
        return None
    first, exclusive = _day(work, FIRST_DAY), work.own(DAY_AFTER)
    last = _day(work, DAY_AFTER if exclusive else LAST_DAY)
    if not exclusive:
        others = work.beside(FIRST_DAY)
        exclusive = f"{last}" in others or (
            last.day == 1 and (last.year, last.month) != (first.year, first.month)
        )
    days = (last - first).days + (0 if exclusive else 1)
    if days < 0:
        work.bad(work.here(LAST_DAY.split()[0]), f"is {last}", f"{first} or later")
    return days


def _day(work: Work, names: str) -> date:
    text = work.text(names)
    try:
        return date.fromisoformat(text)
    except ValueError:
        work.bad(work.here(names.split()[0]), f"is {text!r}"[:40], "a date YYYY-MM-DD")
