"""Cases of market clearing 市场出清: call auction, high-low pairing, rolling matching, listing, price limits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from cloud.cases.clearing_listing import OFFER, SHARING, TAKERS, rate_listing
from cloud.cases.clearing_rolling import rate_rolling
from cloud.cases.clearing_scale import MWH, PRICE, Scale, names_of, order_of_time, scale_of
from cloud.cases.work import Work, by_row
from cloud.market import auction
from cloud.market.auction import AtMargin, Order, PriceRule, Side
from cloud.money import EXACT, total

RULE = "发改能源规〔2025〕1656号 annex 4, 5 · §7.3"
BUYS, SELLS = "buy_orders bids buyers demand buys", "sell_orders asks sellers offers supply sells"
BENCHMARK = "benchmark_price base_price coal_benchmark_price"
RULES = {
    "midpoint_of_last_pair": "mid_last", "midpoint": "mid_last", "mid": "mid_last", "mid_last": "mid_last", "last_pair_midpoint": "mid_last", "midpoint_last_pair": "mid_last",
    "seller_marginal_price": "seller", "sellers_marginal_price": "seller", "seller_marginal": "seller", "seller": "seller", "last_sell_price": "seller", "last_seller_price": "seller", "marginal_sell_price": "seller", "sell_marginal_price": "seller", "sell_price_of_last_pair": "seller", "seller_price": "seller", "marginal_seller": "seller", "seller_price_of_last_pair": "seller", "last_ask": "seller", "sellers_marginal": "seller",
    "buyer_marginal_price": "buyer", "buyers_marginal_price": "buyer", "buyer_marginal": "buyer", "buyer": "buyer", "last_buy_price": "buyer", "last_buyer_price": "buyer", "marginal_buy_price": "buyer", "buy_marginal_price": "buyer", "buy_price_of_last_pair": "buyer", "buyer_price": "buyer", "marginal_buyer": "buyer", "buyer_price_of_last_pair": "buyer", "last_bid": "buyer", "buyers_marginal": "buyer",
    "marginal": "marginal", "cross_or_mid": "cross_or_mid",
    "pair": "pair", "pair_midpoint": "pair", "midpoint_of_pair": "pair", "midpoint_of_each_pair": "pair", "each_pair": "pair", "each_pair_midpoint": "pair", "pair_average": "pair", "pair_mean": "pair", "mean_of_pair": "pair", "high_low": "pair", "high_low_matching": "pair", "pairwise_midpoint": "pair", "midpoint_per_pair": "pair", "average_of_pair": "pair", "high_low_pairing": "pair", "pairwise": "pair", "per_pair_midpoint": "pair", "high_low_match": "pair", "pair_price": "pair", "高低匹配": "pair", "pay_as_matched": "pair", "as_matched": "pair",
}  # fmt: skip


def rate(work: Work) -> None:
    """Work a case by the form its inputs have, or each of its rows."""
    work.rule = RULE
    if work.is_list("rows"):
        if work.has(BENCHMARK):
            _limits(work)
        by_row(work, _one)
    else:
        _one(work)


def _one(work: Work) -> None:
    if work.has("resting_sell_orders resting_buy_orders resting_orders"):
        rate_rolling(work)
    elif work.has(OFFER) and work.is_list(TAKERS):
        rate_listing(work)
    elif work.is_list(BUYS) or work.is_list(SELLS):
        _auction(work)
    elif work.has(BENCHMARK):
        _limits(work)
    else:
        work.tables(BUYS)


def _orders(rows: Sequence[Work], side: Side, scale: Scale) -> tuple[list[Order], dict[str, str]]:
    """Orders with ids of their own, and the participant's name of each."""
    found, names = [], {}
    for number, (row, seq, name) in enumerate(zip(rows, order_of_time(rows), names_of(rows), strict=True)):
        own = f"{side}{number}"
        names[own] = name
        found.append(Order(own, side, scale.ticks(row.decimal(PRICE)), scale.kwh(row.not_negative(MWH)), seq))
    return found, names


def _auction(work: Work) -> None:
    scale = scale_of(work, (BUYS, SELLS))
    buys, names = _orders(work.tables(BUYS) if work.is_list(BUYS) else [], Side.BUY, scale)
    sells, sellers = _orders(work.tables(SELLS) if work.is_list(SELLS) else [], Side.SELL, scale)
    names |= sellers
    orders = _within_limits(work, [*buys, *sells], names, scale)
    margin = AtMargin(
        work.choice("time", SHARING, "allocation margin_allocation at_margin tie_rule allocation_rule")
    )
    cleared, pairs = auction.cleared(orders, margin), auction.paired(orders)
    _matched(work, pairs, names, scale)
    rule = _price_rule(
        work, "price_rule pricing_rule clearing_price_rule pricing price_convention clearing_rule", "mid_last"
    )
    rule = work.choice(
        rule,
        {
            **RULES,
            "uniform": rule,
            "uniform_marginal": rule,
            "uniform_price": rule,
            "uniform_marginal_price": rule,
            "call_auction": rule,
            "统一边际出清": rule,
        },
        "form clearing_form mode method matching_form",
    )
    volume = scale.mwh(cleared.volume_kwh)
    work.put("total_mwh", volume, "sum of the matches")
    _prices(work, cleared, rule, scale)
    _averages(work, pairs, scale)
    _fills(work, cleared, orders, names, scale)
    if rule == "pair":
        work.put("total_amount", work.results.named["pairs_amount"].value, "sum of the pairs", kind="money")
    elif "clearing_price" in work.results.named and isinstance(
        price := work.results.named["clearing_price"].value, Decimal
    ):
        work.put_money("total_amount", EXACT.multiply(price, volume), "clearing_price x total_mwh")


def _price_rule(work: Work, names: str, default: str) -> str:
    """Read a price convention by what its words say, where it is none of the usual ones."""
    if not work.has(names) or work.text(names).lower() in RULES:
        return work.choice(default, RULES, names)
    words = set(work.text(names).lower().replace("-", "_").split("_"))
    if words & {"pair", "pairs", "each", "pairwise"} and not words & {"last", "marginal"}:
        return "pair"
    if words & {"midpoint", "mid", "average", "mean"}:
        return "mid_last"
    for side, kinds in (
        ("seller", {"sell", "seller", "sellers", "ask", "offer"}),
        ("buyer", {"buy", "buyer", "buyers", "bid"}),
    ):
        if words & kinds:
            return side
    return work.choice(default, RULES, names)


def _within_limits(work: Work, orders: list[Order], names: dict[str, str], scale: Scale) -> list[Order]:
    """Orders outside the price limits are refused; the limits themselves are allowed."""
    low = work.decimal_or(None, "price_lower_limit lower_limit price_floor floor_price min_price price_min")
    high = work.decimal_or(
        None, "price_upper_limit upper_limit price_cap ceiling_price max_price price_ceiling price_max"
    )
    if work.is_table("price_limits limits price_band"):
        table = work.table("price_limits limits price_band")
        low, high = (
            table.decimal_or(low, "lower min low floor"),
            table.decimal_or(high, "upper max high ceiling cap"),
        )
    out = [
        each
        for each in orders
        if (low is not None and scale.price(each.price_ticks) < low)
        or (high is not None and scale.price(each.price_ticks) > high)
    ]
    if low is not None or high is not None:
        work.put("rejected_orders", [names[each.id] for each in out], "price outside the limits")
    return [each for each in orders if each not in out]


def _matched(work: Work, pairs: Sequence[auction.Pair], names: dict[str, str], scale: Scale) -> None:
    rows = []
    for pair in pairs:
        row = work.part("matched")
        row.put("buyer", names[pair.buy_id], "")
        row.put("seller", names[pair.sell_id], "")
        row.put("mwh", scale.mwh(pair.quantity_kwh), "the smaller rest of the two")
        price = work.rounded(scale.price(pair.price_ticks), "price", "0.001")
        row.put("price", price, "(buy_price + sell_price) / 2", kind="price_mwh")
        row.put("buy_price", scale.price(pair.bid_ticks), "")
        row.put("sell_price", scale.price(pair.ask_ticks), "")
        row.put_money("amount", EXACT.multiply(price, scale.mwh(pair.quantity_kwh)), "price x mwh")
        rows.append(row)
    work.put_rows("matched", rows)
    work.put(
        "pair_prices",
        [row.results.named["price"].value for row in rows],
        "(buy_price + sell_price) / 2",
        kind="price_mwh",
    )
    amounts = [row.results.named["amount"].value for row in rows]
    work.put("pairs_amount", total(each for each in amounts if isinstance(each, Decimal)), "sum of the pairs")
    work.put("match_count", Decimal(len(rows)), "")


def _prices(work: Work, cleared: auction.Clearing, rule: str, scale: Scale) -> None:
    if cleared.last_bid_ticks is None or cleared.last_ask_ticks is None:
        work.put("last_pair", None, "no match")
        work.put("clearing_price", None, "no match")
        return
    last = work.part("last_pair")
    last.put("buy_price", scale.price(cleared.last_bid_ticks), "")
    last.put("sell_price", scale.price(cleared.last_ask_ticks), "")
    work.put_parts("last_pair", last)
    interval = cleared.interval_ticks
    if interval is not None:
        work.put("price_interval", [scale.price(each) for each in interval], "")
    words = {
        "mid_last": "(buy_price + sell_price) / 2 of the last pair",
        "seller": "sell_price of the last pair",
        "buyer": "buy_price of the last pair",
        "marginal": "price of the side that is cut",
        "cross_or_mid": "price where the curves cross, else the mean",
    }
    for each in PriceRule:
        ticks = auction.price_ticks(cleared, each)
        price = None if ticks is None else work.rounded(scale.price(ticks), "price", "0.001")
        extra = {
            "mid_last": "midpoint_price clearing_price_midpoint midpoint_of_last_pair midpoint",
            "seller": "seller_marginal_price clearing_price_seller seller_marginal sellers_marginal_price clearing_price_seller_marginal",
            "buyer": "buyer_marginal_price clearing_price_buyer buyer_marginal buyers_marginal_price clearing_price_buyer_marginal",
        }.get(each, "")
        work.put(f"price_{each}", price, words[each], kind="price_mwh", also=extra)
    if rule != "pair":
        work.put("clearing_price", work.results.named[f"price_{rule}"].value, words[rule], kind="price_mwh")


def _averages(work: Work, pairs: Sequence[auction.Pair], scale: Scale) -> None:
    """The average of the pair prices, weighted by energy."""
    volume = sum(pair.quantity_kwh for pair in pairs)
    if not volume:
        work.put("average_price", None, "no match")
        return
    prices = [work.rounded(scale.price(pair.price_ticks), "price", "0.001") for pair in pairs]
    money = sum(
        (Fraction(price) * pair.quantity_kwh for price, pair in zip(prices, pairs, strict=True)), Fraction(0)
    )
    average = work.rounded(money / volume, "price", "0.001")
    work.put("average_price", average, "sum(pair price x mwh) / total_mwh", kind="price_mwh")


def _fills(
    work: Work, cleared: auction.Clearing, orders: Sequence[Order], names: dict[str, str], scale: Scale
) -> None:
    filled = cleared.filled_kwh()
    for side, name in ((Side.BUY, "buy"), (Side.SELL, "sell")):
        own = [order for order in orders if order.side is side]
        got: dict[str, Decimal] = {}
        left: dict[str, Decimal] = {}
        for order in own:
            key = names[order.id]
            got[key] = got.get(key, Decimal(0)) + scale.mwh(filled.get(order.id, 0))
            left[key] = left.get(key, Decimal(0)) + scale.mwh(order.quantity_kwh - filled.get(order.id, 0))
        work.put(f"{name}_fills_all", dict(got), "", also=f"{name}er_fills_all")
        work.put(
            f"{name}_fills",
            {key: each for key, each in got.items() if each},
            "quantity of each order that trades",
            also=f"{name}er_fills {name}er_mwh {name}_mwh {name}er_totals matched_{name}_mwh {name}_matched",
        )
        work.put(
            f"{name}_unmatched",
            {key: each for key, each in left.items() if each},
            "",
            also=f"unmatched_{name} unmatched_{name}_orders {name}_unfilled unmatched_{name}_mwh {name}_unmatched_orders",
        )
        work.put(
            f"unmatched_{name}_total_mwh",
            total(left.values()),
            "",
            also=f"{name}_unfilled_mwh unfilled_{name}_mwh unmatched_{name}_mwh {name}_unmatched_mwh {name}_unmatched_total_mwh",
        )


def _limits(work: Work) -> None:
    """Price limits around a benchmark (基准价 ± 20 %)."""
    base = work.decimal(BENCHMARK)
    band = work.ratio_or("0.2", "band band_ratio limit limit_ratio floating floating_ratio")
    low, high = EXACT.multiply(base, 1 - band), EXACT.multiply(base, 1 + band)
    work.put("lower_limit", low, "benchmark x (1 - band)")
    work.put("upper_limit", high, "benchmark x (1 + band)")
    offered = "price bid bid_price offer offer_price ask order_price"
    if work.has(offered):
        within = low <= work.decimal(offered) <= high
        work.put("within_limits", within, "lower <= price <= upper")
