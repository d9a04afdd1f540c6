"""Cases of free bands with assessment, of passing on to customers and of recovered gains. Pure."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from cloud.cases.deviation_inputs import (
    ACTUAL,
    BANDS,
    CONTRACT,
    CONTRACT_PRICE,
    PENALTY,
    REFERENCE,
    band_of,
    contract_of,
)
from cloud.cases.work import Work
from cloud.market.deviation import Assessment, PassOnTerms, PricePick, SideRule, deviation_amount, pass_on
from cloud.money import EXACT, total, yuan


def side_price(work: Work, kind: str) -> Decimal | None:
    """The price of the excess of one side; over-use may take the higher of several."""
    words = (
        ("over", "up", "upper", "over_use")
        if kind == "over"
        else ("under", "low", "lower", "under_use", "down")
    )
    for word in words:
        if work.has(f"{word}_price price_{word} {word}_penalty_price {word}_assessment_price"):
            return work.decimal(f"{word}_price price_{word} {word}_penalty_price {word}_assessment_price")
    if kind == "over":
        several = [
            work.decimal(name)
            for name in (
                "up_regulation_price",
                "system_up_regulation_price",
                "incremental_cap_price",
                "incremental_price_cap",
                "increment_cap_price",
                "incremental_cap",
            )
            if work.has(name)
        ]
        return max(several) if several else None
    if work.has("contract_price_incl_td contract_price_including_td contract_price_with_td"):
        return work.decimal("contract_price_incl_td contract_price_including_td contract_price_with_td")
    if work.has("td_price td_energy_price") and work.has(CONTRACT_PRICE):
        return EXACT.add(work.decimal(CONTRACT_PRICE), work.decimal("td_price td_energy_price"))
    return None


def _rates_of(kind: str) -> str:
    words = (
        ("over", "upper", "up", "over_use")
        if kind == "over"
        else ("under", "lower", "low", "under_use", "down")
    )
    return " ".join(
        f"{word}_penalty_rate penalty_rate_{word} {word}_rate {word}_assessment_rate" for word in words
    )


def banded(work: Work) -> None:
    """A free band around the contract; the excess is assessed at a share of a price (福建, 宁夏, 四川, 广东 forms)."""
    work.rule = "§8.2"
    contract, actual = contract_of(work), work.not_negative(ACTUAL)
    deviation = EXACT.subtract(actual, contract)
    over = deviation > 0
    kind = "over" if over else "under"
    band = band_of(work, kind)
    # What the other side has is known, though it changes nothing here.
    other = "under" if over else "over"
    band_of(work, other)
    side_price(work, other)
    work.note(_rates_of(other))
    own_rate = _rates_of(kind)
    rate_of = (
        work.decimal(own_rate)
        if work.has(own_rate)
        else (
            work.decimal(PENALTY)
            if work.has(PENALTY)
            else EXACT.scaleb(work.decimal("penalty_rate_pct penalty_pct assessment_pct"), -2)
            if work.has("penalty_rate_pct penalty_pct assessment_pct")
            else Decimal(1)
        )
    )
    own = side_price(work, kind)
    price = own if own is not None else work.decimal(REFERENCE) if work.has(REFERENCE) else None
    work.put("deviation_mwh", deviation, "actual_mwh - contract_mwh")
    work.put(
        "deviation_pct",
        work.rounded(Fraction(deviation) * 100 / Fraction(contract), "percent") if contract else None,
        "deviation_mwh / contract_mwh x 100",
    )
    if price is None:
        if deviation and band is None:
            work.decimal(BANDS)
        free = Decimal(0) if band is None else EXACT.multiply(band, contract)
        assessed = max(Decimal(0), EXACT.subtract(abs(deviation), free))
        work.put("assessed_mwh", assessed, "max(0, |deviation| - threshold x contract_mwh)")
        work.put("within_band", not assessed, "|deviation| <= threshold x contract_mwh")
        return
    terms = Assessment(
        band if over else None, band if not over else None, PricePick(("price",), "first"), rate_of
    )
    found = deviation_amount(SideRule((), (), (terms,)), contract, actual, {"price": price})
    work.put("free_mwh", EXACT.multiply(band or Decimal(0), contract), "threshold x contract_mwh")
    work.put("assessed_mwh", found.assessed_mwh, "max(0, |deviation| - threshold x contract_mwh)")
    work.put("within_band", not found.assessed_mwh, "|deviation| <= threshold x contract_mwh")
    side = f"{kind}_use"
    work.put(
        "assessment_price", EXACT.multiply(price, rate_of), "price x rate", also=f"{side}_price {kind}_price"
    )
    formula = "assessed_mwh x price x rate"
    work.put(
        "penalty", yuan(found.assessment_fen), formula, kind="money", also=f"{side}_amount {side}_penalty"
    )


def passed_on(work: Work) -> None:
    """A retailer passes its deviation on: threshold, share, prices of both sides; compensation when it bid too little."""
    work.rule = "§8.3"
    bid = work.decimal("bid_mwh declared_mwh")
    if work.has(CONTRACT):
        _compensation(work, bid)
    actual = work.decimal(ACTUAL)
    both = "threshold_pct"
    over_price, under_price = _pass_price(work, "up"), _pass_price(work, "low")
    terms = PassOnTerms(
        work.decimal(f"upper_threshold_pct up_threshold_pct threshold_up_pct {both}"), work.decimal(f"lower_threshold_pct low_threshold_pct threshold_low_pct {both}"),
        over_price, under_price, work.number_or(100, "share_pct customer_share_pct user_share_pct"),
    )  # fmt: skip
    found = pass_on(terms, bid, actual)
    over = found.deviation_mwh > 0
    threshold = terms.upper_threshold_percent if over else terms.lower_threshold_percent
    free = work.rounded(EXACT.scaleb(EXACT.multiply(bid, threshold), -2), "energy_mwh", "0.01")
    excess = max(Decimal(0), EXACT.subtract(abs(found.deviation_mwh), free))
    assessed = found.assessed_mwh
    if work.case.quanta.get("energy_mwh", Decimal("0.01")) != Decimal("0.01"):
        assessed = work.rounded(
            EXACT.scaleb(EXACT.multiply(excess, terms.share_percent), -2), "energy_mwh", "0.01"
        )
    work.put("deviation_mwh", found.deviation_mwh, "actual_mwh - bid_mwh")
    work.put("threshold_mwh", free, "bid_mwh x threshold_pct / 100", kind="energy_mwh")
    work.put("assessed_mwh", assessed, "max(0, |deviation| - threshold) x share_pct / 100", kind="energy_mwh")
    charge = work.put_money(
        "charge",
        EXACT.multiply(assessed, over_price if over else under_price),
        f"assessed_mwh x {'price_up' if over else 'price_low'}",
    )
    compensation = _compensation(work, bid)
    if work.has("saving savings user_saving"):
        saving = work.decimal("saving savings user_saving")
        work.put("user_profit", total((saving, -charge, compensation)), "saving - charge + compensation")
    work.put("net_charge", EXACT.subtract(charge, compensation), "charge - compensation")


def profit(work: Work) -> None:
    """What a customer gains: its saving less the assessment, plus the compensation."""
    assessed = work.number_or(0, "assessment assessment_amount charge penalty")
    paid = work.number_or(0, "compensation compensation_amount")
    saving = work.decimal("saving savings user_saving")
    work.put("user_profit", total((saving, -assessed, paid)), "saving - assessment + compensation")


def _pass_price(work: Work, side: str) -> Decimal:
    word = "upper" if side == "up" else "lower"
    other = "over" if side == "up" else "under"
    names = (
        f"price_{side} {side}_price {word}_price price_{word} {other}_price price_{other} manual_price price"
    )
    if work.has(names):
        return work.decimal(names)
    percent = f"price_{side}_pct_of_energy_price {side}_price_pct price_pct_of_energy_price price_percent price_{side}_pct {word}_price_pct price_pct energy_price_pct price_pct_{side}"
    if work.has(percent):
        base = work.decimal("energy_price td_price reference_price base_price energy_price_yuan_per_mwh")
        return EXACT.scaleb(EXACT.multiply(base, work.decimal(percent)), -2)
    return work.decimal(names)


def _compensation(work: Work, bid: Decimal) -> Decimal:
    if not (work.has("compensation_price compensation_price_per_mwh") and work.has(CONTRACT)):
        return Decimal(0)
    contract = work.decimal(CONTRACT)
    threshold = work.number_or(0, "compensation_threshold_pct compensation_threshold_percent")
    free = work.rounded(EXACT.scaleb(EXACT.multiply(contract, threshold), -2), "energy_mwh", "0.01")
    short = max(Decimal(0), EXACT.subtract(EXACT.subtract(contract, bid), free))
    work.put("compensated_mwh", short, "max(0, contract_mwh - bid_mwh - threshold)")
    return work.put_money(
        "compensation",
        EXACT.multiply(short, work.decimal("compensation_price compensation_price_per_mwh")),
        "compensated_mwh x compensation_price",
    )


def recovered(work: Work) -> None:
    """中长期偏差收益回收: contracts outside a band of the actual energy give their gain back."""
    work.rule = "§8.2"
    contract, actual = contract_of(work), work.not_negative(ACTUAL)
    low, high = (
        work.decimal("band_low low_band recovery_low_ratio lower_ratio"),
        work.decimal("band_high high_band recovery_high_ratio upper_ratio"),
    )
    price, spot = (
        work.decimal(CONTRACT_PRICE),
        work.decimal("spot_price real_time_price reference_price spot_average_price market_average_price"),
    )
    least, most = EXACT.multiply(low, actual), EXACT.multiply(high, actual)
    over, under = (
        max(Decimal(0), EXACT.subtract(contract, most)),
        max(Decimal(0), EXACT.subtract(least, contract)),
    )
    gain = EXACT.subtract(spot, price) if over else EXACT.subtract(price, spot)
    work.put(
        "contract_ratio",
        work.rounded(Fraction(contract) / Fraction(actual), "ratio") if actual else None,
        "contract_mwh / actual_mwh",
    )
    work.put("excess_mwh", over or under, "energy outside the band")
    work.put(
        "over_mwh",
        over,
        "max(0, contract_mwh - band_high x actual_mwh)",
        also="over_contract_mwh surplus_mwh",
    )
    work.put(
        "shortfall_mwh", under, "max(0, band_low x actual_mwh - contract_mwh)", also="under_mwh short_mwh"
    )
    work.put_money(
        "recovery",
        EXACT.multiply(over or under, max(Decimal(0), gain)),
        "excess_mwh x max(0, price difference)",
    )
