"""Cases of demand response 需求响应: caps, bands, baselines, adjustments, penalties, capacity, pools. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from cloud.cases.response_baseline import BEFORE_ACTUAL, adjusted, baseline_of
from cloud.cases.work import Work, by_row
from cloud.market import response
from cloud.market.response import Band, Shortfall
from cloud.money import EXACT, total, yuan

RULE = "电力需求侧管理办法 发改运行规〔2023〕1283号 · §12"
CLEARING = "clearing_price price price_per_kwh bid_price declared_price price_yuan_per_kwh energy_price called_price call_price"
CAPS = "price_caps caps product_caps"
CAP = "price_cap cap cap_price"
RESPONSE = "response_kwh responded_kwh reduction_kwh actual_kwh effective_kwh actual_response_kwh called_kwh eligible_kwh actual_mwh response_mwh hourly_actual_kwh hourly_actual_mwh"
RESPONSE_KW = "actual_kw response_kw actual_reduction_kw reduction_kw actual_response_kw actual_mw response_mw hourly_actual_kw hourly_actual_mw"
BID = "bid_kwh committed_kwh declared_kwh invited_kwh contracted_kwh commitment_kwh awarded_kwh cleared_kwh bid_mwh"
BID_KW = "bid_kw committed_kw declared_kw awarded_kw contracted_kw cleared_kw commitment_kw bid_mw"
LOW = "band_low lower_ratio low_ratio min_ratio lower_band band_lower lower_limit_ratio payment_band_low unpaid_below lower_threshold min_response_ratio"
HIGH = "band_high upper_ratio high_ratio max_ratio upper_band band_upper upper_limit_ratio payment_band_high paid_up_to upper_threshold max_response_ratio"
LOW_ELSE, HIGH_ELSE = "lower_limit min minimum", "upper_limit max maximum"
ACTUAL_KW = "actual_kw event_actual_kw event_kw actual_load_kw load_kw"
HOURS = "interval_hours hours_per_interval interval_h"
LEAST = "r1 penalty_ratio minimum_ratio assessment_ratio penalty_threshold_ratio"
MULTIPLE = "m penalty_multiple penalty_multiplier penalty_factor penalty_coefficient"


def rate(work: Work) -> None:
    """Work a case: baseline, reduction, what counts, price, payment, penalty, pool; whatever its inputs have."""
    work.rule = RULE
    if work.is_list("rows"):
        rows = by_row(work, _one)
        for name in ("payment", "penalty", "net_payment"):
            found = [row.results.named[name].value for row in rows if name in row.results.named]
            amounts = [each for each in found if isinstance(each, Decimal)]
            if len(amounts) == len(rows):
                work.put(
                    f"total_{name}", total(amounts), "sum of the rows", also=f"{name}_total total {name}"
                )
        if work.has("pool pool_amount annual_pool"):
            _pool_of_rows(work, rows)
    else:
        _one(work)
        if not work.results.named:
            work.decimal(RESPONSE)


def _pool_of_rows(work: Work, rows: list[Work]) -> None:
    """What each row claims, or is to be paid, out of the pool."""
    claim = "claim claim_amount claimed_amount entitlement"
    claims = [
        row.decimal(claim) if row.own(claim) else row.results.named["payment"].value
        for row in rows
        if row.own(claim) or "payment" in row.results.named
    ]
    _pool(work, claims)
    paid = work.results.named["paid_amounts"].value
    for row, amount in zip(rows, paid if isinstance(paid, list) else [], strict=False):
        row.put(
            "paid",
            amount,
            "claim, or pool x claim / sum of claims",
            kind="money",
            also="paid_amount amount allocated",
        )


def _one(work: Work) -> None:
    if work.has("pool pool_amount annual_pool pool_limit") and (
        work.is_list("claims payments amounts entitlements") or work.is_table("claims payments amounts")
    ):
        _pool(work, list(_claims(work)))
        return
    baseline = baseline_of(work)
    baseline = adjusted(work, baseline)
    reduced = _reduction(work, baseline)
    quantity = _eligible(work, reduced)
    _capacity(work)
    _paid(work, quantity)
    _penalty(work)
    _net(work)


def _reduction(work: Work, baseline: tuple[Fraction, ...]) -> Fraction | None:
    if not baseline or not work.has(ACTUAL_KW):
        return None
    actual = work.decimals(ACTUAL_KW) if work.is_list(ACTUAL_KW) else [work.decimal(ACTUAL_KW)]
    if len(baseline) == 1 and len(actual) > 1:
        baseline = baseline * len(actual)
    if len(actual) != len(baseline):
        work.bad(work.here("actual_kw"), f"has {len(actual)} values", f"{len(baseline)}, as the baseline")
    hours = _interval_hours(work, len(actual))
    filling = (
        work.choice(
            "cut",
            {
                "peak": "cut",
                "cut": "cut",
                "peak_shaving": "cut",
                "reduction": "cut",
                "valley": "fill",
                "fill": "fill",
                "valley_filling": "fill",
                "increase": "fill",
            },
            "direction response_type",
        )
        == "fill"
    )
    found = response.reduction_kwh(baseline, actual, Decimal(1)) * hours
    found = -found if filling else found
    duration = hours * len(actual)
    work.put(
        "reduction_kwh",
        work.rounded(found, "energy_kwh_response"),
        "sum((baseline - actual) x interval_hours)",
    )
    work.put("average_reduction_kw", work.rounded(found / duration, "power_kw"), "reduction_kwh / duration")
    steps = [
        work.rounded(base - Fraction(each), "power_kw") for base, each in zip(baseline, actual, strict=True)
    ]
    work.put("reduction_by_interval_kw", [-each if filling else each for each in steps], "baseline - actual")
    return found


def _interval_hours(work: Work, points: int) -> Fraction:
    """How long each point lasts: in hours or minutes; an hour where the case does not say."""
    minutes = "interval_minutes minutes_per_interval"
    if work.has(minutes) and not work.has(HOURS):
        return Fraction(work.decimal(minutes)) / 60
    if points > 1 and not work.has(f"{HOURS} event_hours duration_hours hours"):
        work.assume("interval_hours", Decimal(1))
    return Fraction(work.number_or(Decimal(1), HOURS, "event_hours duration_hours hours"))


def _eligible(work: Work, reduced: Fraction | None) -> Decimal | None:
    """What is paid: inside the band when the event's rule has one."""
    if reduced is not None:
        actual = work.exact(reduced)
    elif work.has(RESPONSE):
        actual = work.decimal(RESPONSE)
    elif work.has(RESPONSE_KW) and work.is_number(RESPONSE_KW):
        actual = EXACT.multiply(
            work.decimal(RESPONSE_KW), work.number_or(1, "duration_hours hours event_hours")
        )
    else:
        return None
    if not (work.has(BID) or work.has(BID_KW)):
        return actual
    bid = (
        work.decimal(BID)
        if work.has(BID)
        else EXACT.multiply(work.decimal(BID_KW), work.number_or(1, "duration_hours hours event_hours"))
    )
    if bid:
        ratio = Fraction(actual) / Fraction(bid)
        work.put("response_ratio", work.rounded(ratio, "ratio"), "actual / bid")
        work.put("response_ratio_pct", work.rounded(ratio * 100, "percent"), "actual / bid x 100")
    # The limits of a day-of adjustment go by names of the same kind.
    more = not work.has(BEFORE_ACTUAL)
    lows, highs = f"{LOW} {LOW_ELSE if more else ''}", f"{HIGH} {HIGH_ELSE if more else ''}"
    if not (work.has_ratio(lows) or work.has_ratio(highs)):
        return actual
    # A side of the band that the case does not give limits nothing.
    band = Band(
        work.ratio(lows) if work.has_ratio(lows) else Decimal(0),
        work.ratio(highs) if work.has_ratio(highs) else None,
    )
    found = response.eligible_kwh(actual, bid, band)
    work.put("eligible_kwh", found, "0 below low x bid; at most high x bid")
    if not work.has(BID):
        hours = work.number_or(1, "duration_hours hours event_hours")
        work.put(
            "eligible_kw", work.rounded(Fraction(found) / Fraction(hours), "power_kw"), "eligible_kwh / hours"
        )
    work.put("qualified", bool(found), "actual >= low x bid")
    return found


def _cap(work: Work) -> Decimal | None:
    if work.is_table(CAPS):
        product = work.text("product event_type product_type response_type type")
        listed, caps = work.raw(CAPS), work.numbers(CAPS)
        if isinstance(listed, dict) and product in listed:
            return caps.get(product)
        work.bad(work.here("product"), f"is {product!r}", ", ".join(caps))
    return work.decimal_or(None, CAP)


def _paid(work: Work, quantity: Decimal | None) -> None:
    if not work.has(CLEARING) and not work.has("top_up_to_price top_up_price target_price topup_price"):
        return
    if work.has("top_up_to_price top_up_price target_price topup_price"):
        full, other = (
            work.decimal("top_up_to_price top_up_price target_price topup_price"),
            work.decimal("provincial_price province_price base_price"),
        )
        price = max(Decimal(0), EXACT.subtract(full, other))
        work.put("top_up_price", price, "top-up target - provincial price")
        if quantity is not None:
            work.put_money("top_up", EXACT.multiply(quantity, price), "kWh x top_up_price")
        return
    cap = _cap(work)
    price = response.paid_price(work.decimal(CLEARING), cap)
    work.put(
        "paid_price",
        price,
        "min(clearing_price, cap of the product)" if cap is not None else "clearing_price",
    )
    work.put("capped", cap is not None and work.decimal(CLEARING) > cap, "clearing_price > cap")
    if quantity is not None:
        amount = work.put_money("energy_payment", EXACT.multiply(quantity, price), "kWh x paid_price")
        capacity = work.results.named.get("capacity_payment")
        extra = capacity.value if capacity is not None and isinstance(capacity.value, Decimal) else Decimal(0)
        work.put(
            "payment",
            EXACT.add(amount, extra),
            "kWh x paid_price" + (" + capacity_payment" if extra else ""),
            kind="money",
        )
        if work.has("customer_share_pct user_share_pct share_pct"):
            work.put_money(
                "customer_payment",
                EXACT.scaleb(
                    EXACT.multiply(amount, work.decimal("customer_share_pct user_share_pct share_pct")), -2
                ),
                "payment x customer_share_pct / 100",
            )


def _capacity(work: Work) -> None:
    """约定型: capacity that was not called is paid by kW and month."""
    price = "capacity_price capacity_price_per_kw_month capacity_price_per_kw standby_price uncalled_capacity_price"
    kw = "uncalled_kw capacity_kw uncalled_capacity_kw standby_kw reserved_kw contracted_capacity_kw"
    if work.has(price) and work.has(kw):
        months = work.number_or(1, "months")
        amount = work.put_money(
            "capacity_payment",
            EXACT.multiply(EXACT.multiply(work.decimal(kw), work.decimal(price)), months),
            "kW x capacity_price x months",
        )
        if not (work.has(CLEARING) and work.has(RESPONSE)):
            work.put("payment", amount, "capacity_payment", kind="money")


def _penalty(work: Work) -> None:
    """max(0, bid x R1 - actual) x clearing price x M, per hour or for the event."""
    if not (work.has_ratio(LEAST) and work.has_ratio(MULTIPLE) and (work.has(BID) or work.has(BID_KW))):
        return
    rule = Shortfall(work.ratio(LEAST), work.ratio(MULTIPLE))
    bids = _series(work, BID, BID_KW)
    actual = _series(work, RESPONSE, RESPONSE_KW)
    prices = (
        work.decimals(CLEARING)
        if work.is_list(CLEARING)
        else [work.decimal(CLEARING)] * max(len(bids), len(actual))
    )
    bids = bids * len(actual) if len(bids) == 1 else bids
    if not len(bids) == len(actual) == len(prices):
        work.bad(work.here("actual_kwh"), f"has {len(actual)} values", f"{len(bids)}, as the bid")
    missing = [response.shortfall(one, bid, rule) for one, bid in zip(actual, bids, strict=True)]
    penalties = [
        work.money(EXACT.multiply(EXACT.multiply(short, price), rule.multiple_factor))
        for short, price in zip(missing, prices, strict=True)
    ]
    formula = "max(0, bid x R1 - actual) x clearing_price x M"
    work.put("shortfall_kwh", missing[0] if len(missing) == 1 else list(missing), "max(0, bid x R1 - actual)")
    if len(penalties) > 1:
        work.put("penalty_by_hour", list(penalties), formula, kind="money")
    work.put("penalty", total(penalties), formula, kind="money")


def _series(work: Work, *names: str) -> list[Decimal]:
    wanted = " ".join(names)
    return work.decimals(wanted) if work.is_list(wanted) else [work.decimal(wanted)]


def _net(work: Work) -> None:
    """Payment less penalty; a penalty that the case states is part of the payment (§12.4)."""
    stated = "penalty penalty_amount assessment_amount"
    paid = work.results.named.get("payment")
    if (
        "penalty" not in work.results.named
        and work.has(stated)
        and paid is not None
        and isinstance(paid.value, Decimal)
    ):
        less = EXACT.subtract(paid.value, work.decimal(stated))
        work.put("gross_payment", paid.value, "kWh x paid_price", kind="money")
        work.put("payment", less, "gross_payment - penalty", kind="money")
        work.put("net_payment", less, "gross_payment - penalty", kind="money")
        return
    payment, penalty = work.results.named.get("payment"), work.results.named.get("penalty")
    if (
        payment is not None
        and penalty is not None
        and isinstance(payment.value, Decimal)
        and isinstance(penalty.value, Decimal)
    ):
        work.put("net_payment", EXACT.subtract(payment.value, penalty.value), "payment - penalty")


def _claims(work: Work) -> list[Decimal]:
    names = "claims payments amounts entitlements"
    if work.is_table(names):
        return list(work.numbers(names).values())
    raw = work.raw(names)
    if isinstance(raw, list) and all(isinstance(each, dict) for each in raw):
        return [
            row.decimal("amount claim payment")
            if row.own("amount claim payment")
            else work.money(
                EXACT.multiply(row.decimal("kwh response_kwh"), row.decimal("price top_up_price"))
            )
            for row in work.tables(names)
        ]
    return work.decimals(names)


def _pool(work: Work, values: Sequence[object]) -> None:
    """A pool that is too small is shared pro rata; the last claim takes the remainder."""
    claims = [value for value in values if isinstance(value, Decimal)]
    pool = work.not_negative("pool pool_amount annual_pool pool_limit")
    fen = [int(EXACT.scaleb(claim, 2)) for claim in claims]
    paid = [yuan(each) for each in response.from_pool(fen, int(EXACT.scaleb(pool, 2)))]
    work.put("paid_amounts", list(paid), "claims, or pool x claim / sum of claims", kind="money")
    work.put("claims_total", total(claims), "sum")
    work.put("total_paid", total(paid), "sum")
    work.put("pool_exceeded", total(claims) > pool, "sum of claims > pool")
    work.put(
        "pool_ratio",
        work.rounded(min(Fraction(1), Fraction(pool) / Fraction(total(claims))), "ratio")
        if total(claims)
        else Decimal(1),
        "pool / sum of claims",
    )
