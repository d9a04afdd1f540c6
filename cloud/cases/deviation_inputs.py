"""What cases of deviations call contracts, actual energy and prices. Pure."""

from __future__ import annotations

from decimal import Decimal

from cloud.cases.work import Work
from cloud.money import EXACT, total

UP = "up_regulation_average_price up_regulation_weighted_average_price up_regulation_price up_price price_up_regulation"

DOWN = "down_regulation_average_price down_regulation_weighted_average_price down_regulation_price down_price price_down_regulation"

UP_ELSE = "highest_monthly_auction_price monthly_auction_highest_price highest_auction_price monthly_highest_price auction_highest_price uniform_monthly_auction_price monthly_auction_price uniform_clearing_price auction_price auction_max_price max_auction_price monthly_auction_max_price monthly_clearing_price uniform_price"

DOWN_ELSE = "lowest_monthly_auction_price monthly_auction_lowest_price lowest_auction_price monthly_lowest_price auction_lowest_price uniform_monthly_auction_price monthly_auction_price uniform_clearing_price auction_price auction_min_price min_auction_price monthly_auction_min_price monthly_clearing_price uniform_price"

CONTRACT = "contract_mwh contracted_mwh net_contract_mwh planned_mwh"

ACTUAL = "actual_mwh actual_generation_mwh generation_mwh actual_consumption_mwh consumption_mwh metered_mwh used_mwh grid_supplied_mwh"

CONTRACT_PRICE = "contract_price contract_average_price average_contract_price contract_price_yuan_per_mwh"

BANDS = "threshold threshold_ratio free_band band free_threshold free_band_ratio"

OVER_BAND = "upper_threshold over_threshold threshold_over threshold_upper free_band_over upper_band over_band threshold_up free_band_upper upper_free_band band_over"

UNDER_BAND = "lower_threshold under_threshold threshold_under threshold_lower free_band_under lower_band under_band threshold_low threshold_down free_band_lower lower_free_band band_under"

REFERENCE = "reference_price auction_price monthly_auction_price monthly_clearing_price clearing_price highest_auction_price price assessment_price highest_monthly_auction_price penalty_price"

PENALTY = "penalty_rate assessment_rate rate penalty_ratio assessment_ratio"


def contract_of(work: Work) -> Decimal:
    """Contracts bought less contracts sold on."""
    if work.is_list("contracts"):
        found = Decimal(0)
        for row in work.tables("contracts"):
            sold = (
                row.choice(
                    "buy",
                    {
                        "buy": "buy",
                        "purchase": "buy",
                        "bought": "buy",
                        "sell": "sell",
                        "sale": "sell",
                        "sold": "sell",
                    },
                    "side direction type kind",
                )
                == "sell"
            )
            mwh = row.decimal("mwh contract_mwh quantity_mwh")
            found = EXACT.subtract(found, mwh) if sold else EXACT.add(found, mwh)
        work.put("net_contract_mwh", found, "bought - sold")
        return found
    bought = "purchased_contract_mwh bought_contract_mwh contracts_bought_mwh bought_mwh purchase_contract_mwh buy_contract_mwh purchased_mwh"
    if work.has(bought) and not work.own("contract_mwh"):
        sold_mwh = work.number_or(
            0, "sold_contract_mwh contracts_sold_mwh sold_mwh sale_contract_mwh sell_contract_mwh"
        )
        found = EXACT.subtract(work.decimal(bought), sold_mwh)
        work.put("net_contract_mwh", found, "bought - sold")
        return found
    return work.not_negative(CONTRACT)


def contract_charge(work: Work, contract: Decimal) -> Decimal | None:
    if work.is_list("contracts"):
        amounts = []
        for row in work.tables("contracts"):
            if not row.own("price contract_price"):
                return None
            sold = (
                row.choice(
                    "buy",
                    {
                        "buy": "buy",
                        "purchase": "buy",
                        "bought": "buy",
                        "sell": "sell",
                        "sale": "sell",
                        "sold": "sell",
                    },
                    "side direction type kind",
                )
                == "sell"
            )
            amounts.append(
                work.money(
                    EXACT.multiply(
                        row.decimal("mwh contract_mwh quantity_mwh"), row.decimal("price contract_price")
                    )
                )
                * (-1 if sold else 1)
            )
        work.put("contract_charge", total(amounts), "sum of contract_mwh x price", kind="money")
        return total(amounts)
    if not work.has(CONTRACT_PRICE):
        return None
    return work.put_money(
        "contract_charge",
        EXACT.multiply(contract, work.decimal(CONTRACT_PRICE)),
        "contract_mwh x contract_price",
    )


def has_band(work: Work) -> bool:
    return work.has(
        f"{BANDS} {OVER_BAND} {UNDER_BAND} threshold_pct free_band_pct band_pct upper_threshold_pct lower_threshold_pct over_threshold_pct under_threshold_pct upper_band_pct lower_band_pct over_band_pct under_band_pct free_band_over_pct free_band_under_pct"
    )


def band_of(work: Work, kind: str) -> Decimal | None:
    own = OVER_BAND if kind == "over" else UNDER_BAND
    side = ("upper", "over", "up", "above") if kind == "over" else ("lower", "under", "low", "below")
    percent = " ".join(
        f"{word}_threshold_pct {word}_band_pct free_band_{word}_pct threshold_{word}_pct {word}_free_band_pct"
        for word in side
    )
    if work.has(percent):
        return EXACT.scaleb(work.decimal(percent), -2)
    if work.has(own):
        return work.decimal(own)
    if work.has("threshold_pct free_band_pct band_pct"):
        return EXACT.scaleb(work.decimal("threshold_pct free_band_pct band_pct"), -2)
    return work.decimal(BANDS) if work.has(BANDS) else None
