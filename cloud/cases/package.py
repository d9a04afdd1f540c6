"""Cases of retail packages 零售套餐: linked prices, time-of-use correction, spread, sharing, cap, simple forms. Pure."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from cloud.billing import retail
from cloud.billing.line import PERIODS
from cloud.cases.work import Work, by_row
from cloud.money import EXACT, total, yuan

RULE = "§9.4"
FIXED = "fixed_prices fixed_price fixed fixed_period_prices single_price single_comprehensive_price comprehensive_price"
LINKED = "linked_prices linked_price target_prices target_price linked target real_time_average_price day_ahead_average_price agency_price"
LIMITS = "tou_ratio_limits ratio_limits tou_limits tou_ratio_correction correction_ratios"
RATIOS = (
    "tou_ratios tou_coefficients tou_multipliers ratio_set period_coefficients tou_ratio ratios period_ratios"
)
KWH = "kwh kwh_by_period energy_kwh period_kwh mwh_by_period"
MWH = "mwh quantity_mwh energy_mwh"
CAP = "cap_price price_cap cap capped_price cap_average_price ceiling_price"
PRICES = "prices period_prices price_by_period package_prices final_prices base_prices uncapped_prices"
AVERAGE = "market_average_price average_price market_monthly_average_price market_average market_price monthly_average_price annual_average_price real_time_average_price day_ahead_average_price"
REFERENCE = "reference_price reference ref_price upper_limit_price"
BASE = "flat_price base_price"
SHARE_PCT = "customer_share_pct share_pct customer_share_percent sharing_pct user_share_pct"
SHARE = "customer_share share_ratio sharing_ratio user_share customer_share_ratio user_share_ratio share_of_customer"
SPREAD = "spread price_spread average_spread markup spread_price"
GUARANTEED = "guaranteed_amount minimum_amount guaranteed"
QUANTUM = "0.000001"


def rate(work: Work) -> None:
    """Work a case: period prices where there are any, then fees; simple forms side by side."""
    work.rule = RULE
    if work.is_list("rows"):
        by_row(work, _one)
    else:
        _one(work)


def _one(work: Work) -> None:
    prices = _formed(work)
    if prices is not None:
        prices = _corrected(work, prices)
        prices = _bounded(work, prices)
    if prices is not None and work.has(KWH):
        _fee(work, prices)
    elif prices is None and work.is_table(PRICES):
        given = work.numbers(PRICES)
        given = _corrected(work, given) if work.is_table(LIMITS) else given
        if work.has(KWH):
            _fee(work, given)
    elif prices is None and work.has(CAP) and work.has(KWH):
        _fee_of_one(work)
    if work.has(GUARANTEED) and work.has(f"{SHARE_PCT} {SHARE}"):
        _guaranteed(work)
    elif work.has(MWH) or not work.results.named or work.is_table("share"):
        _simple(work)
    _green(work)


def _guaranteed(work: Work) -> None:
    """保底+分成: the customer's share of a revenue, at least the guaranteed amount."""
    share = _share_of(work, SHARE_PCT, SHARE) or Decimal(0)
    part = work.put_money(
        "shared_amount", EXACT.multiply(work.decimal("revenue income"), share), "revenue x share"
    )
    amount = max(work.decimal(GUARANTEED), part)
    work.put("amount", amount, "max(guaranteed_amount, revenue x share)", kind="money")


def _share_of(work: Work, percent: str, ratio: str) -> Decimal | None:
    if work.has(percent):
        return EXACT.scaleb(work.decimal(percent), -2)
    return work.decimal(ratio) if work.has(ratio) else None


def _price_table(work: Work, names: str, periods: tuple[str, ...]) -> dict[str, Decimal]:
    if work.is_table(names):
        return work.numbers(names)
    one = work.decimal(names)
    return dict.fromkeys(periods, one)


def _periods_of(work: Work, *names: str) -> tuple[str, ...]:
    for name in (*names, RATIOS, LIMITS, KWH):
        if work.is_table(name):
            return tuple(key for key in work.numbers(name) if key != "total")
    return ("flat",)


def _formed(work: Work) -> dict[str, Decimal] | None:
    """Prices of the periods by the form whose numbers the case has; None when it has no period form."""
    linked_ratio = _share_of(
        work,
        "linked_ratio_pct linked_pct linkage_ratio_pct linked_share_pct",
        "linked_ratio lambda linked_share linkage_ratio",
    )
    if linked_ratio is not None and work.has(FIXED) and work.has(LINKED):
        return _linked(work, linked_ratio)
    if work.is_table(RATIOS) and not work.has(MWH):
        return _multiplied(work)
    if _is_shared(work) and not work.has(MWH):
        return _shared(work, {"flat": Decimal(1)})
    if work.is_table(FIXED):
        prices = work.numbers(FIXED)
        return {name: work.rounded(price, "price", QUANTUM) for name, price in prices.items()}
    return None


def _linked(work: Work, ratio: Decimal) -> dict[str, Decimal]:
    names = _periods_of(work, FIXED, LINKED)
    fixed, linked = _price_table(work, FIXED, names), _price_table(work, LINKED, names)
    if set(fixed) != set(linked):
        work.bad(work.here("linked_prices"), f"has {', '.join(linked)}", ", ".join(fixed))
    coefficients = work.numbers(RATIOS) if work.is_table(RATIOS) and not work.is_table(FIXED) else {}
    prices = {}
    for name, price in fixed.items():
        mixed = retail.linked_price(price, linked[name], ratio)
        prices[name] = work.rounded(
            EXACT.multiply(mixed, coefficients.get(name, Decimal(1))), "price", QUANTUM
        )
    work.put(
        "linked_result_prices",
        dict(prices),
        "fixed x (1 - linked_ratio) + linked x linked_ratio",
        kind="price",
    )
    if tuple(prices) == ("flat",) and not work.is_table(FIXED):
        work.put("price", prices["flat"], "fixed x (1 - linked_ratio) + linked x linked_ratio", kind="price")
    return prices


def _multiplied(work: Work) -> dict[str, Decimal]:
    """A flat price, average + spread or shared price, multiplied by ratios of the periods."""
    ratios = work.numbers(RATIOS)
    if _is_shared(work):
        return _shared(work, ratios)
    if work.has(AVERAGE) and work.has(SPREAD):
        average, spread = work.decimal(AVERAGE), work.decimal(SPREAD)
        prices = {
            name: work.rounded(EXACT.add(EXACT.multiply(average, ratio), spread), "price", QUANTUM)
            for name, ratio in ratios.items()
        }
        work.put("prices", dict(prices), "average x ratio + spread", kind="price")
        return prices
    flat = work.decimal("flat_price base_price fixed_price fixed price average_price")
    prices = {
        name: work.rounded(EXACT.multiply(flat, ratio), "price", QUANTUM) for name, ratio in ratios.items()
    }
    work.put("prices", dict(prices), "flat_price x ratio", kind="price")
    return prices


def _is_shared(work: Work) -> bool:
    """Whether a spread is shared: below a reference price, by the market's average or as it is stated."""
    if not work.has(f"{SHARE_PCT} {SHARE}"):
        return False
    return (work.has(REFERENCE) and work.has(f"{AVERAGE} {SPREAD}")) or (work.has(BASE) and work.has(SPREAD))


def _reference_and_average(work: Work) -> tuple[Decimal, Decimal]:
    reference = work.decimal(REFERENCE if work.has(REFERENCE) else BASE)
    average = work.decimal(AVERAGE) if work.has(AVERAGE) else EXACT.subtract(reference, work.decimal(SPREAD))
    return reference, average


def _shared(work: Work, ratios: dict[str, Decimal]) -> dict[str, Decimal]:
    """价差分成: reference x ratio - (reference - average) x share + floating."""
    reference, average = _reference_and_average(work)
    share = _share_of(work, SHARE_PCT, SHARE) or Decimal(0)
    floating = work.number_or(0, "floating floating_price float_price floating_amount price_floating")
    spread = EXACT.subtract(reference, average)
    prices = {}
    for name, ratio in ratios.items():
        shared = retail.shared_price(reference, average, share, ratio)
        prices[name] = work.rounded(EXACT.add(shared, floating), "price", QUANTUM)
    work.put("spread", spread, "reference - market average")
    work.put("spread_share", EXACT.multiply(spread, share), "spread x customer_share")
    work.put("prices", dict(prices), "reference x ratio - spread x customer_share + floating", kind="price")
    if tuple(prices) == ("flat",):
        work.put("price", prices["flat"], "reference - spread x customer_share + floating", kind="price")
    return prices


def _corrected(work: Work, prices: dict[str, Decimal]) -> dict[str, Decimal]:
    """Tip and peak at least, valley and deep at most ratio x flat; a price outside is moved to its limit."""
    final = prices
    if work.is_table(LIMITS) and "flat" in prices:
        limits = work.numbers(LIMITS)
        flat = prices["flat"]
        known = {str(period) for period in PERIODS}
        for name in prices:
            if name not in known:
                work.bad(work.here(f"fixed_prices.{name}"), "is no period", ", ".join(sorted(known)))
        names = [str(period) for period in PERIODS]
        # A period that the case does not price or limit gets a limit that moves nothing.
        beyond = {"tip": Decimal(0), "peak": Decimal(0)}
        ratios = [limits[name] if name in limits else beyond.get(name, Decimal(10**9)) for name in names]
        full = [prices.get(name, flat) for name in names]
        moved = retail.corrected_prices(full, ratios, work.case.quanta.get("price", Decimal(QUANTUM)))
        final = {name: price for name, price in zip(names, moved, strict=True) if name in prices}
        final = {name: final[name] for name in prices}
    adjusted = [name for name in prices if final[name] != prices[name]]
    work.put("adjusted", bool(adjusted), "a price was moved to its limit")
    work.put("adjusted_periods", [str(name) for name in adjusted], "")
    work.put(
        "final_prices",
        dict(final),
        "tip, peak at least, valley, deep at most ratio x flat",
        kind="price",
        rule="赣发改 463号 · §9.4",
    )
    return final


def _bounded(work: Work, prices: dict[str, Decimal]) -> dict[str, Decimal]:
    """Price limits of a package, where it has any."""
    low, high = (
        work.decimal_or(None, "floor_price price_floor min_price lower_limit"),
        work.decimal_or(None, "price_ceiling max_price upper_limit"),
    )
    if low is None and high is None:
        return prices
    final = {
        name: min(
            max(price, low if low is not None else price),
            high if high is not None else max(price, low or price),
        )
        for name, price in prices.items()
    }
    work.put("final_prices", dict(final), "within floor and ceiling", kind="price")
    return final


def _fee(work: Work, prices: dict[str, Decimal]) -> None:
    kwh = work.numbers(KWH) if work.is_table(KWH) else {"flat": work.decimal(KWH)}
    kwh.pop("total", None)
    if len(prices) == 1:
        prices = dict.fromkeys(kwh, next(iter(prices.values())))
    for name in kwh:
        if name not in prices:
            work.bad(work.here(f"prices.{name}"), "is missing", "a price for every period with energy")
    charges = {name: work.money(EXACT.multiply(energy, prices[name])) for name, energy in kwh.items()}
    work.put("fee_by_period", dict(charges), "kwh x price", kind="money")
    _capped(work, total(charges.values()), total(kwh.values()), prices)


def _fee_of_one(work: Work) -> None:
    kwh = work.numbers(KWH) if work.is_table(KWH) else {"flat": work.decimal(KWH)}
    kwh.pop("total", None)
    whole = total(kwh.values())
    names = "uncapped_fee fee nominal_fee"
    fee = (
        work.decimal(names)
        if work.has(names)
        else work.money(
            EXACT.multiply(
                whole,
                work.decimal("nominal_average_price nominal_avg_price average_price price package_price"),
            )
        )
    )
    _capped(work, fee, whole, {})


def _capped(work: Work, fee: Decimal, kwh: Decimal, prices: dict[str, Decimal]) -> None:
    """封顶: when the average price of the uncapped fee is above the cap, the fee is total kWh x cap."""
    work.put("total_kwh", kwh, "sum of the periods")
    work.put("uncapped_fee", fee, "sum of kwh x price", kind="money")
    average = Fraction(fee) / Fraction(kwh) if kwh else Fraction(0)
    work.put("average_price", work.rounded(average, "price", QUANTUM), "uncapped_fee / kWh", kind="price")
    cap = work.decimal_or(None, CAP)
    if cap is None or not work.flag(True, "is_capped cap_enabled has_cap"):
        work.put("fee", fee, "uncapped_fee", kind="money")
        return
    applied = average > Fraction(cap)
    final = yuan(retail.capped_fen(int(EXACT.scaleb(fee, 2)), kwh, cap))
    work.put("cap_applied", applied, "average_price > cap_price")
    work.put("fee", final, "kWh x cap_price" if applied else "uncapped_fee", kind="money")
    work.put("cap_reduction", EXACT.subtract(fee, final), "uncapped_fee - fee")
    factor = Fraction(cap) / average if applied else Fraction(1)
    work.put(
        "final_average_price",
        work.rounded(Fraction(final) / Fraction(kwh), "price", QUANTUM) if kwh else None,
        "fee / kWh",
        kind="price",
    )
    work.put(
        "scaled_prices",
        {name: work.rounded(Fraction(price) * factor, "price", QUANTUM) for name, price in prices.items()},
        "price x cap / average",
        kind="price",
    )
    work.put("scale_factor", work.rounded(factor, "coefficient"), "cap / average")


def _simple(work: Work) -> None:
    """Fixed price, market average plus spread, percentage share: fees on the same energy."""
    mwh = "mwh" if work.has(MWH) else ""
    energy = work.decimal(MWH) if mwh else work.decimal(KWH) if work.is_number(KWH) else work.decimal(MWH)
    fees: dict[str, Decimal] = {}
    if work.is_number(FIXED) and work.has(FIXED):
        price = _bounded(work, {"flat": work.decimal(FIXED)})["flat"]
        fees["fixed"] = work.put_money("fee_fixed", EXACT.multiply(energy, price), "energy x fixed_price")
    if work.has(AVERAGE) and work.has(SPREAD):
        fees["average_plus_spread"] = work.put_money(
            "fee_average_plus_spread",
            EXACT.multiply(energy, EXACT.add(work.decimal(AVERAGE), work.decimal(SPREAD))),
            "energy x (market average + spread)",
        )
    part = work.table("share") if work.is_table("share") else work
    share = _share_of(part, SHARE_PCT, SHARE) if part is not work or not work.is_table("share") else None
    if share is not None and _is_shared(part):
        price = retail.shared_price(*_reference_and_average(part), share)
        price = EXACT.add(price, part.number_or(0, "floating floating_price"))
        formula = "reference - (reference - market average) x share"
        work.put("share_price", price, formula, also="price" if part is work else "")
        fees["share"] = work.put_money(
            "fee_share",
            EXACT.multiply(energy, price),
            "energy x (reference - (reference - market average) x customer share)",
        )
    linked = _share_of(work, "linked_ratio_pct linked_pct", "linked_ratio lambda")
    if linked is not None and work.is_number(FIXED) and work.is_number(LINKED):
        price = retail.linked_price(work.decimal(FIXED), work.decimal(LINKED), linked)
        work.put("linked_result_price", price, "fixed x (1 - ratio) + linked x ratio")
        fees["fixed_linked"] = work.put_money(
            "fee_fixed_linked", EXACT.multiply(energy, price), "energy x mixed price"
        )
    if not fees:
        work.decimal(FIXED)
    cheapest = min(fees, key=lambda name: fees[name])
    work.put("cheapest", cheapest, "the smallest fee")
    form = "fixed_linked" if set(fees) <= {"fixed", "fixed_linked"} and "fixed_linked" in fees else cheapest
    if len(fees) == 1 or form == "fixed_linked":
        work.put("fee", fees[form], f"fee_{form}", kind="money")


def _green(work: Work) -> None:
    price = "environmental_price env_price green_price environmental_price_per_kwh"
    if not work.has(price) or not work.flag(True, "is_green_power is_green green"):
        return
    share = (
        _share_of(work, "green_share_pct", "green_share")
        if work.has("green_share green_share_pct")
        else Decimal(1)
    )
    quantity = (
        work.decimal("green_kwh green_mwh")
        if work.has("green_kwh green_mwh")
        else EXACT.multiply(
            total(work.numbers(KWH).values()) if work.is_table(KWH) else work.decimal(f"{KWH} {MWH}"),
            share or Decimal(1),
        )
    )
    value = work.put_money(
        "environmental_value",
        EXACT.multiply(quantity, work.decimal(price)),
        "green energy x environmental_price",
    )
    fee = work.results.named.get("fee")
    if fee is not None and isinstance(fee.value, Decimal):
        work.put("total", EXACT.add(fee.value, value), "fee + environmental_value")
