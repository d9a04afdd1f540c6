"""Cases of green power 绿电 and certificates 绿证. Pure."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from cloud.cases.work import Work
from cloud.market import green
from cloud.market.green import GreenMonth
from cloud.money import EXACT, total

RULE = "发改能源规〔2025〕1656号 arts 33, 78; 发改能源〔2023〕1044号 · §11"
CONTRACT = "contract_mwh contracted_mwh green_contract_mwh"
GENERATION = "generation_mwh generated_mwh on_grid_mwh"
CONSUMPTION = "consumption_mwh used_mwh consumed_mwh user_mwh"
PRICE = "env_price environmental_price env_price_per_mwh green_price"
MONTH = "month_mwh energy_mwh generated_month_mwh mwh green_mwh_month"
CARRY = "carry_mwh_before carry_before_mwh carry_mwh balance_mwh_before carry_in_mwh"
GREEN = "green_mwh settled_green_mwh settled_mwh green_quantity_mwh"
COMPENSATION = "compensation_price deviation_compensation_price compensation_price_per_mwh"
SIZE = "certificate_mwh gec_mwh certificate_size_mwh"


def rate(work: Work) -> None:
    """Work a case: the settled quantity and its value, or certificates month after month."""
    work.rule = RULE
    if work.has("production_month"):
        _validity(work)
    elif work.is_list("rows"):
        rows = work.tables("rows")
        if any(row.has(CONTRACT) or row.has(GENERATION) or row.has(CONSUMPTION) for row in rows):
            _settled_rows(work, rows)
        elif any(row.own("production_month") for row in rows):
            for row in rows:
                _validity(row)
            work.put_rows("rows", rows)
        else:
            _issued(work, rows)
    elif work.is_list("months_mwh monthly_mwh month_mwh"):
        names = "months_mwh monthly_mwh month_mwh"
        rows = [
            Work(work.case, {"month_mwh": f"{each:f}"}, f"{work.here('months_mwh')}[{n}]", work)
            for n, each in enumerate(work.decimals(names))
        ]
        _issued(work, rows)
    elif work.has("trades trade_count times_traded"):
        _tradable(work)
    elif work.has(CONTRACT) and work.has(GREEN) and not work.has(GENERATION):
        _compensated(work, work.not_negative(CONTRACT), work.not_negative(GREEN))
    elif work.has(f"{CONTRACT} {GENERATION} {CONSUMPTION}"):
        _settled(work)
    elif work.has(GREEN) and work.has(PRICE):
        _valued(work, work.not_negative(GREEN))
    else:
        _issued(work, [work])


def _settled_rows(work: Work, rows: list[Work]) -> None:
    for row in rows:
        _settled(row)
    work.put_rows("rows", rows)
    for name, also in (
        ("green_mwh", "total_green_mwh"),
        ("env_value", "total_env_value total total_value"),
        ("gec_count", "total_gec_count"),
    ):
        found = [row.results.named[name].value for row in rows if name in row.results.named]
        work.put(
            f"{name}_sum",
            total(each for each in found if isinstance(each, Decimal)),
            "sum of the rows",
            also=also,
        )


def _settled(work: Work) -> None:
    month = GreenMonth(
        work.not_negative(CONTRACT),
        work.not_negative(GENERATION),
        work.number_or(0, "mechanism_mwh mechanism_energy_mwh"),
        work.not_negative(CONSUMPTION),
    )
    quantity = work.rounded(green.green_mwh(month), "energy_mwh")
    work.put("green_mwh", quantity, "min(contract_mwh, generation_mwh - mechanism_mwh, consumption_mwh)")
    limits = {
        "contract": month.contract_mwh,
        "generation": EXACT.subtract(month.generation_mwh, month.mechanism_mwh),
        "consumption": month.consumption_mwh,
    }
    work.put("limiting", min(limits, key=lambda name: limits[name]), "the smallest")
    work.put(
        "contract_shortfall_mwh",
        max(Decimal(0), EXACT.subtract(month.contract_mwh, quantity)),
        "contract_mwh - green_mwh",
    )
    if work.has(PRICE):
        _valued(work, quantity)
    if work.has(COMPENSATION):
        _compensated(work, month.contract_mwh, quantity)
    issued = green.certificates(work.number_or(0, CARRY), quantity, work.number_or(1, SIZE))
    work.put("gec_count", Decimal(issued.issued_count), "whole certificates of 1 MWh")
    work.put("carry_mwh", issued.carry_mwh, "carried to the next month")


def _valued(work: Work, quantity: Decimal) -> None:
    """Environmental value, and the energy at its own price beside it."""
    value = work.put_money(
        "env_value", EXACT.multiply(quantity, work.decimal(PRICE)), "green_mwh x env_price"
    )
    if work.has("pf_base") and work.has("pf_percent pf_pct"):
        percent = work.decimal("pf_percent pf_pct")
        amount = EXACT.scaleb(EXACT.multiply(work.decimal("pf_base"), percent), -2)
        work.put_money("pf_amount", amount, "pf_base x pf_percent / 100: env_value is outside the base")
    if work.has("energy_price"):
        energy = work.put_money(
            "energy_amount",
            EXACT.multiply(quantity, work.decimal("energy_price")),
            "green_mwh x energy_price",
        )
        work.put("total", EXACT.add(energy, value), "energy_amount + env_value")


def _compensated(work: Work, contract: Decimal, green_mwh: Decimal) -> None:
    """Green energy that the contract promised and that did not come, at the contract's compensation price."""
    short = max(Decimal(0), EXACT.subtract(contract, green_mwh))
    work.put("contract_shortfall_mwh", short, "contract_mwh - green_mwh")
    price = work.decimal(COMPENSATION)
    work.put_money(
        "compensation", EXACT.multiply(short, price), "contract_shortfall_mwh x compensation_price"
    )


def _tradable(work: Work) -> None:
    """A certificate may be traded once (1044号), or as often as the case says."""
    most = work.number_or(1, "max_trades trades_max allowed_trades")
    traded = work.decimal("trades trade_count times_traded")
    work.put("tradable", traded < most, "trades < max_trades")


def _issued(work: Work, rows: list[Work]) -> None:
    carry, size = work.number_or(0, CARRY), work.number_or(1, SIZE)
    if size <= 0:
        work.bad(work.here("certificate_mwh"), f"is {size}", "a size above zero")
    months = [row.not_negative(MONTH) for row in rows]
    found = green.issued(carry, months, size)
    counts = []
    for row, each in zip(rows, found, strict=True):
        row.put("issued", Decimal(each.issued_count), "integer part of (carry + month_mwh) / certificate_mwh")
        row.put("carry_mwh", each.carry_mwh, "balance - issued")
        counts.append(Decimal(each.issued_count))
    if rows != [work]:
        work.put_rows("rows", rows)
        work.put("issued_by_month", list(counts), "")
        work.put("carry_after", found[-1].carry_mwh if found else carry, "")
    work.put("total_issued", total(counts), "sum")


def _validity(work: Work) -> None:
    """A certificate counts for 24 calendar months that begin with the production month (1044号)."""
    first = _month(work, "production_month")
    months = int(work.number_or(24, "validity_months"))
    index = first.year * 12 + first.month - 1 + months - 1
    last = date(index // 12, index % 12 + 1, 1)
    work.put("last_valid_month", f"{last:%Y-%m}", "production month + 24 months, inclusive")
    if work.has("use_month usage_month cancel_month claim_month month"):
        use = _month(work, "use_month usage_month cancel_month claim_month month")
        work.put("valid", first <= use <= last, "production month <= use month <= last month")


def _month(work: Work, names: str) -> date:
    text = work.text(names)
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        work.bad(work.here(names.split()[0]), f"is {text!r}"[:40], "a month YYYY-MM")
