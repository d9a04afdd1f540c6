"""The kinds of price files that say how the basic charge and the power factor adjustment are taken. Pure."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from cloud.billing.basic import Overrun, TwoPartRules
from cloud.billing.filetable import FileTable
from cloud.billing.line import Section
from cloud.billing.powerfactor import AmountRounding, PowerFactorRules, PowerFactorTable, Step
from cloud.billing.tariff import Head


def power_factor(table: FileTable, head: Head) -> PowerFactorRules:
    """Read kind "power-factor"."""
    quantum = table.decimal("power_factor_quantum")
    if quantum != Decimal("0.01"):
        table.refuse("power_factor_quantum", str(quantum), '"0.01": the tables have that step')
    excluded = table.choices("excluded_sections", tuple(Section))
    return PowerFactorRules(
        head,
        power_factor_quantum=quantum,
        amount_rounding=AmountRounding(table.choice("amount_rounding", tuple(AmountRounding))),
        excluded_sections=tuple(Section(each) for each in excluded),
        tables=tuple(_power_factor_table(each) for each in table.tables("standard")),
    )


def _power_factor_table(table: FileTable) -> PowerFactorTable:
    standard = table.decimal("standard")
    result = PowerFactorTable(standard, _steps(table, "reward"), _steps(table, "surcharge"))
    rising = (standard, *(step.until for step in result.rewards))
    falling = (standard, *(step.until for step in result.surcharges))
    if any(low >= high for low, high in pairwise(rising)) or rising[-1] > 1:
        table.refuse(
            "reward", [str(each) for each in rising], "steps that rise from the standard to at most 1.00"
        )
    if any(high <= low for high, low in pairwise(falling)) or falling[-1] != 0:
        table.refuse(
            "surcharge", [str(each) for each in falling], "steps that fall from the standard to 0.00"
        )
    table.done()
    return result


def _steps(table: FileTable, key: str) -> tuple[Step, ...]:
    steps = []
    for each in table.tables(key):
        steps.append(Step(each.decimal("until"), each.decimal("percent")))
        each.done()
    return tuple(steps)


def two_part(table: FileTable, head: Head) -> TwoPartRules:
    """Read kind "two-part"."""
    return TwoPartRules(
        head,
        days_of_month_charge=table.integer("days_of_month_charge", 28, 31),
        contract_limit_ratio=table.decimal("contract_limit_ratio"),
        contract_floor_ratio=table.decimal("contract_floor_ratio"),
        overrun_multiplier=table.decimal("overrun_multiplier"),
        overrun_variant=Overrun(table.choice("overrun_variant", tuple(Overrun))),
        load_discount_in_force=table.flag("load_discount_in_force"),
        load_discount_from_kwh_per_kva=table.decimal("load_discount_from_kwh_per_kva"),
        load_discount_price_factor=table.decimal("load_discount_price_factor"),
    )
