"""What cases of the two-part tariff call capacity, demand, days and prices. Pure."""

from __future__ import annotations

from dataclasses import replace
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

KVA = "transformer_kva capacity_kva kva installed_kva running_kva total_kva"

CAPACITY_PRICE = (
    "capacity_price_per_kva_month capacity_price price_per_kva_month capacity_price_yuan_per_kva_month"
)

DEMAND = "max_demand_kw demand_kw actual_demand_kw actual_max_demand_kw md_kw kw measured_demand_kw"

DEMAND_PRICE = "demand_price_per_kw_month demand_price price_per_kw_month demand_price_yuan_per_kw_month"

CONTRACT = "contract_demand_kw contract_max_demand_kw contract_kw requested_contract_demand_kw contracted_demand_kw requested_demand_kw requested_kw"

FLOOR = "min_contract_ratio floor_ratio contract_floor_ratio min_ratio minimum_ratio contract_demand_floor_ratio floor"

DAYS = "days service_days days_in_service days_of_service"

DAY_BASE = "day_base days_of_month days_per_month month_days days_base"

LINES = "incoming_lines lines supply_lines supply_points circuits feeders"

PARTS = (
    "allocations_kw parts sub_meters demand_parts allocated_demand_kw demand_split_kw split_demand_kw meters"
)

KWH = "month_kwh total_kwh kwh energy_kwh kwh_total monthly_kwh"

CONTRACT_KVA = f"contract_kva contract_capacity_kva contract_transformer_kva {KVA}"

PER_KVA = "kwh_per_contract_kva kwh_per_kva month_kwh_per_kva"

THRESHOLD = "load_factor_threshold_kwh_per_kva threshold_kwh_per_kva load_discount_from_kwh_per_kva threshold"

DISCOUNT = "discount load_factor_discount discount_factor load_factor_discount_factor demand_price_factor discount_ratio load_discount_price_factor discount_price_factor discount_multiplier discounted_price_ratio"


def mode_of(work: Work) -> str:
    default = "capacity" if work.has(CAPACITY_PRICE) else "contracted" if work.has(CONTRACT) else "actual"
    return work.choice(default, MODES, "billing_mode mode demand_mode basic_charge_mode")


def rules_of(work: Work, rules: Rules) -> TwoPartRules:
    """The published rules with what the case says otherwise."""
    own = rules.two_part
    base = work.number_or(own.days_of_month_charge, DAY_BASE)
    if base <= 0 or base != int(base):
        work.bad(work.here(DAY_BASE.split()[0]), f"is {base}", "a whole number of days")
    in_force = work.flag(
        own.load_discount_in_force,
        "load_factor_rule_in_force load_discount_in_force discount_in_force load_factor_discount_in_force",
    )
    return replace(
        own,
        days_of_month_charge=int(base),
        contract_limit_ratio=work.number_or(
            own.contract_limit_ratio, "limit_ratio contract_limit_ratio overrun_limit_ratio"
        ),
        contract_floor_ratio=work.number_or(own.contract_floor_ratio, FLOOR),
        overrun_multiplier=work.number_or(own.overrun_multiplier, "overrun_multiplier overrun_factor k"),
        overrun_variant=Overrun(
            work.choice(own.overrun_variant, {"a": "A", "b": "B"}, "variant overrun_variant")
        ),
        load_discount_in_force=in_force,
        load_discount_from_kwh_per_kva=work.number_or(own.load_discount_from_kwh_per_kva, THRESHOLD),
        load_discount_price_factor=work.number_or(own.load_discount_price_factor, DISCOUNT),
    )


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
    elif work.has("demand_reading register_demand demand_register max_demand_reading"):
        highest = work.decimal("demand_reading register_demand demand_register max_demand_reading")
    else:
        return work.decimal(DEMAND)
    demand = EXACT.multiply(highest, work.number_or(1, "multiplier meter_multiplier"))
    work.put("max_demand_kw", demand, "demand_reading x multiplier")
    return demand


def days_of(work: Work) -> int | None:
    if not work.has(DAYS):
        return None
    days = work.integer(DAYS)
    if not 0 <= days <= 3660:
        work.bad(work.here(DAYS.split()[0]), f"is {days}", "0 to 3660 days")
    return days
