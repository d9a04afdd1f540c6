"""Cases of deviations 偏差: U1/U2 and K1/K2 forms, tiers, free bands with assessment, passing on to customers. Pure."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from cloud.cases.work import Work
from cloud.market.deviation import (
    Assessment,
    Deviation,
    PassOnTerms,
    PricePick,
    SideRule,
    Tier,
    deviation_amount,
    pass_on,
)
from cloud.money import EXACT, total, yuan

RULE = "发改能源规〔2020〕889号 art. 103 · §8"
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


def rate(work: Work) -> None:
    """Work a case, or each of its rows."""
    if work.is_list("rows"):
        rows = work.tables("rows")
        for row in rows:
            _one(row)
        work.put_rows("rows", rows)
        for name, also in (
            ("penalty", "total_penalty"),
            ("charge", "total_charge"),
            ("deviation_amount", "total_deviation_amount"),
            ("total", "grand_total"),
        ):
            found = [row.results.named[name].value for row in rows if name in row.results.named]
            amounts = [each for each in found if isinstance(each, Decimal)]
            if len(amounts) == len(rows):
                work.put(f"{name}_sum", total(amounts), "sum of the rows", also=f"{also} sum total")
    else:
        _one(work)


def _one(work: Work) -> None:
    if work.has("bid_mwh declared_mwh"):
        _passed_on(work)
    elif work.has("band_low low_band recovery_low_ratio lower_ratio") and work.has(
        "band_high high_band recovery_high_ratio upper_ratio"
    ):
        _recovered(work)
    elif _has_band(work) and (
        work.has(PENALTY)
        or _side_price(work, "over") is not None
        or _side_price(work, "under") is not None
        or not work.has(f"{UP} {DOWN} u1 k1 tiers")
    ):
        _banded(work)
    else:
        _regulated(work)


def _contract(work: Work) -> Decimal:
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
        work.put("net_contract_mwh", found, "bought - sold", also="contract_mwh contract_total_mwh")
        return found
    bought = "purchased_contract_mwh bought_contract_mwh contracts_bought_mwh bought_mwh purchase_contract_mwh buy_contract_mwh purchased_mwh"
    if work.has(bought) and not work.own("contract_mwh"):
        sold_mwh = work.number_or(
            0, "sold_contract_mwh contracts_sold_mwh sold_mwh sale_contract_mwh sell_contract_mwh"
        )
        found = EXACT.subtract(work.decimal(bought), sold_mwh)
        work.put("net_contract_mwh", found, "bought - sold", also="contract_mwh")
        return found
    return work.not_negative(CONTRACT)


def _contract_charge(work: Work, contract: Decimal) -> Decimal | None:
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
        work.put(
            "contract_charge",
            total(amounts),
            "sum of contract_mwh x price",
            kind="money",
            also="contract_amount contract_revenue",
        )
        return total(amounts)
    if not work.has(CONTRACT_PRICE):
        return None
    return work.put_money(
        "contract_charge",
        EXACT.multiply(contract, work.decimal(CONTRACT_PRICE)),
        "contract_mwh x contract_price",
        also="contract_amount contract_revenue contract_cost",
    )


def _is_generator(work: Work) -> bool:
    side = work.choice(
        "",
        {
            "generator": "generator",
            "generation": "generator",
            "seller": "generator",
            "user": "user",
            "buyer": "user",
            "consumer": "user",
            "retailer": "user",
            "wholesale_user": "user",
        },
        "side participant_type market_side role participant",
    )
    return side == "generator" or (
        not side
        and (work.has("k1 k2 k1_factor") or work.has("generation_mwh actual_generation_mwh"))
        and not work.has("u1 u2")
    )


def _regulated(work: Work) -> None:
    """889号: over-use at the up-regulation average x U1, under-use at the down-regulation average x U2; K1, K2 mirrored."""
    work.rule = RULE
    contract, actual = _contract(work), work.not_negative(ACTUAL)
    generator = _is_generator(work)
    over_tiers, under_tiers = _tiers(work, "over", generator), _tiers(work, "under", generator)
    deviation_mwh = EXACT.subtract(actual, contract)
    work.put(
        "deviation_mwh", deviation_mwh, "actual_mwh - contract_mwh", also="deviation deviation_energy_mwh"
    )
    over = deviation_mwh > 0
    prices = _prices(work, over, generator)
    rule = SideRule(over_tiers if over else (), under_tiers if deviation_mwh < 0 else (), _assessments(work))
    found = deviation_amount(rule, contract, actual, prices)
    sign = Decimal(1)
    amount = EXACT.multiply(sign, yuan(found.energy_fen))
    _put_pieces(work, found, over)
    parts = [part for part in found.parts if part.kind != "assessment"]
    price = EXACT.multiply(parts[0].price_yuan_per_mwh, parts[0].price_factor) if len(parts) == 1 else None
    names = ("K1", "K2") if generator else ("U1", "U2")
    basis = "down" if generator == over else "up"
    formula = f"{basis}_regulation_average_price x {names[0] if over else names[1]}"
    if price is not None:
        work.put(
            "deviation_price",
            work.rounded(price, "price"),
            formula,
            also="deviation_unit_price price over_price under_price over_use_price under_use_price",
        )
    elif not parts:
        work.put("deviation_price", None, "no deviation")
    elif deviation_mwh:
        average = work.rounded(Fraction(abs(amount)) / Fraction(abs(deviation_mwh)), "price", "0.001")
        work.put(
            "deviation_price", average, "deviation_amount / deviation_mwh", also="average_deviation_price"
        )
    work.put(
        "deviation_amount",
        amount,
        "deviation_mwh x deviation_price",
        kind="money",
        also="deviation_charge deviation_fee deviation_revenue over_use_amount under_use_amount",
    )
    assessment = yuan(found.assessment_fen)
    if found.assessment_fen or rule.assessments:
        work.put(
            "penalty",
            assessment,
            "assessed_mwh x price x rate",
            kind="money",
            also="assessment assessment_amount",
        )
        work.put("assessed_mwh", found.assessed_mwh, "max(0, |deviation| - band x contract)")
    charge = _contract_charge(work, contract)
    if charge is not None:
        work.put(
            "total",
            total((charge, amount, assessment if not generator else -assessment)),
            "contract_charge + deviation_amount",
            also="total_charge total_amount settlement_amount total_revenue revenue total_cost",
        )
        if actual:
            work.put(
                "average_price",
                work.rounded(Fraction(total((charge, amount))) / Fraction(actual), "price", "0.001"),
                "total / actual_mwh",
            )


def _put_pieces(work: Work, found: Deviation, over: bool) -> None:
    parts = [part for part in found.parts if part.kind != "assessment"]
    rows = []
    for part in parts:
        row = work.part("tier")
        row.put("mwh", part.quantity_mwh, "", also="tier_mwh quantity_mwh energy_mwh")
        row.put(
            "price",
            EXACT.multiply(part.price_yuan_per_mwh, part.price_factor),
            "price x coefficient",
            also="tier_price deviation_price",
        )
        row.put("coefficient", part.price_factor, "")
        row.put("amount", yuan(part.amount_fen), "mwh x price", kind="money", also="tier_amount charge")
        rows.append(row)
    work.put_rows("tiers", rows, also="pieces deviation_tiers tier_results")
    work.put("tier_mwh", [part.quantity_mwh for part in parts], "", also="tier_energy_mwh tiers_mwh")
    work.put(
        "tier_amount",
        [yuan(part.amount_fen) for part in parts],
        "",
        also="tier_amounts tier_charges tier_charge tiers_amount",
    )
    work.put(
        "over_use_mwh" if over else "under_use_mwh",
        abs(found.deviation_mwh),
        "",
        also="over_mwh over_generation_mwh" if over else "under_mwh under_generation_mwh",
    )


def _tiers(work: Work, kind: str, generator: bool) -> tuple[Tier, ...]:
    """The coefficient of one side, or several by distance from the contract."""
    letter, number = ("k" if generator else "u"), ("1" if kind == "over" else "2")
    names = f"{letter}{number} {letter}{number}_coefficient {kind}_use_coefficient {kind}_coefficient {kind}_factor coefficient_{letter}{number}"
    pick = PricePick((kind,), "first")
    listed = f"{kind}_tiers tiers_{kind} {kind}_use_tiers {letter}{number}_tiers tiers coefficient_tiers"
    if not work.is_list(listed):
        if work.is_list(names):
            work.bad(work.here(names.split()[0]), "is a list", "a decimal string")
        return (Tier(Decimal(0), pick, work.number_or(1, names)),)
    tiers: list[Tier] = []
    below = Decimal(0)
    for row in work.tables(listed):
        start = _ratio(
            row,
            "beyond_pct from_pct over_pct from_percent above_pct",
            "beyond_ratio from_ratio beyond from above from_threshold",
        )
        factor = row.decimal(f"{names} coefficient factor multiplier")
        tiers.append(Tier(below if start is None else start, pick, factor))
        end = _ratio(row, "upto_pct to_pct upto_percent", "upto_ratio to_ratio upto to upto_threshold")
        below = below if end is None else end
    return tuple(tiers)


def _ratio(row: Work, percent: str, ratio: str) -> Decimal | None:
    if row.own(percent):
        return EXACT.scaleb(row.decimal(percent), -2) if row.has(percent) else None
    return row.decimal(ratio) if row.own(ratio) and row.has(ratio) else None


def _prices(work: Work, over: bool, generator: bool) -> dict[str, Decimal | None]:
    """The price of the deviation: the regulation average; where none was called, the auction's extreme price."""
    up = generator != over
    first, other = (UP, UP_ELSE) if up else (DOWN, DOWN_ELSE)
    work.note(f"{UP} {DOWN} {UP_ELSE} {DOWN_ELSE} u1 u2 k1 k2")
    called = work.flag(True, ("up" if up else "down") + "_regulation_called regulation_called")
    if called and work.has(first):
        price = work.decimal(first)
    elif work.has(other):
        price = work.decimal(other)
        work.put("price_basis", "monthly auction: no regulation called", "")
    else:
        price = work.decimal(first if called else other)
    return {"over": price, "under": price, "assessment": price}


def _has_band(work: Work) -> bool:
    return work.has(
        f"{BANDS} {OVER_BAND} {UNDER_BAND} threshold_pct free_band_pct band_pct upper_threshold_pct lower_threshold_pct over_threshold_pct under_threshold_pct upper_band_pct lower_band_pct over_band_pct under_band_pct free_band_over_pct free_band_under_pct"
    )


def _band(work: Work, kind: str) -> Decimal | None:
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


def _assessments(work: Work) -> tuple[Assessment, ...]:
    if not (_has_band(work) and work.has(PENALTY)):
        return ()
    return (
        Assessment(
            _band(work, "over"),
            _band(work, "under"),
            PricePick(("assessment",), "first"),
            work.decimal(PENALTY),
        ),
    )


def _side_price(work: Work, kind: str) -> Decimal | None:
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


def _banded(work: Work) -> None:
    """A free band around the contract; the excess is assessed at a share of a price (福建, 宁夏, 四川, 广东 forms)."""
    work.rule = "§8.2"
    contract, actual = _contract(work), work.not_negative(ACTUAL)
    deviation = EXACT.subtract(actual, contract)
    over = deviation > 0
    kind = "over" if over else "under"
    band = _band(work, kind)
    own_rate = " ".join(
        f"{word}_penalty_rate penalty_rate_{word} {word}_rate {word}_assessment_rate"
        for word in (
            ("over", "upper", "up", "over_use") if over else ("under", "lower", "low", "under_use", "down")
        )
    )
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
    own = _side_price(work, kind)
    price = own if own is not None else work.decimal(REFERENCE) if work.has(REFERENCE) else None
    work.put("deviation_mwh", deviation, "actual_mwh - contract_mwh", also="deviation deviation_energy_mwh")
    work.put(
        "deviation_pct",
        work.rounded(Fraction(deviation) * 100 / Fraction(contract), "percent") if contract else None,
        "deviation_mwh / contract_mwh x 100",
        also="deviation_percent deviation_rate_pct",
    )
    if price is None:
        if deviation and band is None:
            work.decimal(BANDS)
        free = Decimal(0) if band is None else EXACT.multiply(band, contract)
        assessed = max(Decimal(0), EXACT.subtract(abs(deviation), free))
        work.put(
            "assessed_mwh",
            assessed,
            "max(0, |deviation| - threshold x contract_mwh)",
            also="assessed_energy_mwh excess_mwh",
        )
        work.put("within_band", not assessed, "|deviation| <= threshold x contract_mwh", also="exempt free")
        return
    terms = Assessment(
        band if over else None, band if not over else None, PricePick(("price",), "first"), rate_of
    )
    found = deviation_amount(SideRule((), (), (terms,)), contract, actual, {"price": price})
    work.put(
        "free_mwh",
        EXACT.multiply(band or Decimal(0), contract),
        "threshold x contract_mwh",
        also="free_band_mwh threshold_mwh",
    )
    work.put(
        "assessed_mwh",
        found.assessed_mwh,
        "max(0, |deviation| - threshold x contract_mwh)",
        also="assessed_energy_mwh excess_mwh",
    )
    work.put(
        "within_band", not found.assessed_mwh, "|deviation| <= threshold x contract_mwh", also="exempt free"
    )
    work.put("assessment_price", EXACT.multiply(price, rate_of), "price x rate", also="penalty_price")
    work.put(
        "penalty",
        yuan(found.assessment_fen),
        "assessed_mwh x price x rate",
        kind="money",
        also="assessment assessment_amount penalty_amount charge amount",
    )


def _passed_on(work: Work) -> None:
    """A retailer passes its deviation on: threshold, share, prices of both sides; compensation when it bid too little."""
    work.rule = "§8.3"
    bid, actual = work.decimal("bid_mwh declared_mwh"), work.decimal(ACTUAL)
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
    work.put("deviation_mwh", found.deviation_mwh, "actual_mwh - bid_mwh", also="deviation")
    work.put("threshold_mwh", free, "bid_mwh x threshold_pct / 100", kind="energy_mwh", also="free_mwh")
    work.put(
        "assessed_mwh",
        assessed,
        "max(0, |deviation| - threshold) x share_pct / 100",
        kind="energy_mwh",
        also="assessed_energy_mwh",
    )
    charge = work.put_money(
        "charge",
        EXACT.multiply(assessed, over_price if over else under_price),
        f"assessed_mwh x {'price_up' if over else 'price_low'}",
        also="assessment assessment_charge penalty assessment_amount deviation_charge",
    )
    compensation = _compensation(work, bid)
    if work.has("saving savings user_saving"):
        saving = work.decimal("saving savings user_saving")
        work.put(
            "user_profit",
            total((saving, -charge, compensation)),
            "saving - charge + compensation",
            also="profit customer_profit net_benefit user_net",
        )
    work.put("net_charge", EXACT.subtract(charge, compensation), "charge - compensation")


def _pass_price(work: Work, side: str) -> Decimal:
    word = "upper" if side == "up" else "lower"
    other = "over" if side == "up" else "under"
    names = (
        f"price_{side} {side}_price {word}_price price_{word} {other}_price price_{other} manual_price price"
    )
    if work.has(names):
        return work.decimal(names)
    percent = f"price_{side}_pct_of_energy_price {side}_price_pct price_pct_of_energy_price price_percent price_pct energy_price_pct price_pct_{side}"
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
    work.put("compensated_mwh", short, "max(0, contract_mwh - bid_mwh - threshold)", also="compensation_mwh")
    return work.put_money(
        "compensation",
        EXACT.multiply(short, work.decimal("compensation_price compensation_price_per_mwh")),
        "compensated_mwh x compensation_price",
        also="compensation_amount",
    )


def _recovered(work: Work) -> None:
    """中长期偏差收益回收: contracts outside a band of the actual energy give their gain back."""
    work.rule = "§8.2"
    contract, actual = _contract(work), work.not_negative(ACTUAL)
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
    work.put(
        "excess_mwh",
        over or under,
        "energy outside the band",
        also="deviation_mwh recovered_mwh assessed_mwh",
    )
    work.put_money(
        "recovery",
        EXACT.multiply(over or under, max(Decimal(0), gain)),
        "excess_mwh x max(0, price difference)",
        also="recovered_amount recovery_amount penalty",
    )
