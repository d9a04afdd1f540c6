"""Cases of settlement with a spot market: 差量 and 差价. Pure."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from cloud.cases.work import Work
from cloud.market.spot import SpotPeriod, difference_parts, quantity_parts
from cloud.money import EXACT, total

MWH = "mwh quantity_mwh energy_mwh quantity contract_mwh"

PRICE = "price price_yuan_per_mwh unit_price contract_price"

DAY_AHEAD = "day_ahead_mwh da_mwh day_ahead_quantity_mwh"

REAL_TIME_PRICE = "real_time_price rt_price realtime_price"

ACTUAL = "actual_mwh metered_mwh consumption_mwh generation_mwh actual_generation_mwh actual_consumption_mwh"

CONTRACTS = "contracts contract_lines"

CONTRACT = "contract_mwh contract_quantity_mwh qc_mwh contracts_mwh"

CONTRACT_PRICE = "contract_price contract_average_price contract_prices"


def contract_pairs(work: Work) -> list[tuple[Decimal, Decimal]]:
    """Quantity and price of each contract, from objects, from two lists, or of the one contract."""
    if work.is_list(CONTRACTS):
        return [(row.decimal(MWH), row.decimal(PRICE)) for row in work.tables(CONTRACTS)]
    if not work.is_list(CONTRACT):
        return [(work.number_or(0, CONTRACT), work.number_or(0, CONTRACT_PRICE))]
    quantities = work.decimals(CONTRACT)
    listed = work.is_list(CONTRACT_PRICE)
    prices = work.decimals(CONTRACT_PRICE) if listed else [work.decimal(CONTRACT_PRICE)] * len(quantities)
    if len(prices) != len(quantities):
        work.bad(
            work.here("contract_price"), f"has {len(prices)} values", f"{len(quantities)}, as contract_mwh"
        )
    return list(zip(quantities, prices, strict=True))


def _reference_is_real_time(work: Work) -> bool:
    spelled = {
        "day-ahead": "da",
        "day_ahead": "da",
        "dayahead": "da",
        "da": "da",
        "日前": "da",
        "real-time": "rt",
        "real_time": "rt",
        "realtime": "rt",
        "rt": "rt",
        "实时": "rt",
    }
    return work.choice("da", spelled, "reference_point reference reference_market") == "rt"


def spot_parts(work: Work) -> tuple[Fraction, Fraction, dict[str, Fraction]]:
    """Both forms of one period, exact: several contracts enter as their sum of energy and of money."""
    quantities = contract_pairs(work) or [(Decimal(0), Decimal(0))]
    real_time = _reference_is_real_time(work)
    first = Fraction(0)
    second = Fraction(0)
    parts: dict[str, Fraction] = {
        name: Fraction(0)
        for name in (
            "contract",
            "day_ahead",
            "real_time",
            "contract_difference",
            "day_ahead_difference",
            "actual_at_real_time",
        )
    }
    whole = total(quantity for quantity, _ in quantities)
    for number, (quantity, price) in enumerate(quantities):
        # Day-ahead and actual energy belong to the whole; they enter once, with the first contract.
        rest = EXACT.subtract(whole, quantity) if not number else Decimal(0)
        ahead = (
            EXACT.subtract(work.decimal(DAY_AHEAD), rest if not real_time else Decimal(0))
            if not number
            else quantity
            if not real_time
            else Decimal(0)
        )
        actual = EXACT.subtract(work.decimal(ACTUAL), rest) if not number else quantity
        period = SpotPeriod(
            quantity,
            price,
            ahead,
            work.decimal("day_ahead_price da_price"),
            actual,
            work.decimal(REAL_TIME_PRICE),
            real_time,
        )
        by_quantity, by_difference = quantity_parts(period), difference_parts(period)
        first += sum(map(Fraction, by_quantity))
        second += sum(map(Fraction, by_difference))
        for name, value in zip(("contract", "day_ahead", "real_time"), by_quantity, strict=True):
            parts[name] += Fraction(value)
        for name, value in zip(
            ("contract_difference", "day_ahead_difference", "actual_at_real_time"), by_difference, strict=True
        ):
            parts[name] += Fraction(value)
    return first, second, parts


def spot(work: Work) -> None:
    """差量 and 差价: two forms of one amount."""
    work.rule = "发改能源规〔2025〕1656号 arts 73, 74 · §10.3"
    first, second, parts = spot_parts(work)
    put_spot(work, first, second)
    for name, formula, also in (
        ("contract", "Qc x Pc", "contract_charge contract_part"),
        ("day_ahead", "(Qda - Qc) x Pda", "day_ahead_deviation_amount day_ahead_charge"),
        ("real_time", "(Qact - Qda) x Prt", "real_time_deviation_amount real_time_charge"),
        ("contract_difference", "Qc x (Pc - Pda)", "contract_difference_charge contract_for_difference_part"),
        ("day_ahead_difference", "Qda x (Pda - Prt)", "day_ahead_difference_charge"),
        (
            "actual_at_real_time",
            "Qact x Prt",
            "real_time_full_amount real_time_energy_amount energy_at_real_time",
        ),
    ):
        work.put_money(f"{name}_amount", parts[name], formula, also=also)
    actual = work.decimal(ACTUAL)
    if actual:
        work.put(
            "average_price", work.rounded(first / Fraction(actual), "price", "0.001"), "amount / actual_mwh"
        )


def put_spot(work: Work, first: Fraction, second: Fraction) -> None:
    by_quantity = work.put_money(
        "quantity_difference_amount", first, "Qc x Pc + (Qda - Qc) x Pda + (Qact - Qda) x Prt"
    )
    by_difference = work.put_money(
        "contract_for_difference_amount", second, "Qact x Prt + Qda x (Pda - Prt) + Qc x (Pc - Pda)"
    )
    work.put("forms_equal", by_quantity == by_difference, "both forms")
    work.put("difference", EXACT.subtract(by_quantity, by_difference), "one form - the other")
