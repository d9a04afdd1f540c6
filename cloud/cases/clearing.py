"""Cases of market clearing 市场出清: call auction, high-low pairing, rolling matching, listing, price limits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from cloud.cases.work import Work
from cloud.market import auction, listing, rolling
from cloud.market.auction import AtMargin, Order, PriceRule, Side
from cloud.market.listing import Listing, Refusal, Remainder, Sharing, Take, Withdrawal
from cloud.market.rolling import Book, TradePrice
from cloud.money import EXACT, total

RULE = "发改能源规〔2025〕1656号 annex 4, 5 · §7.3"
BUYS, SELLS = "buy_orders bids buyers demand buys", "sell_orders asks sellers offers supply sells"
MWH = "mwh quantity_mwh quantity energy_mwh volume_mwh"
PRICE = "price price_yuan_per_mwh limit_price bid_price ask_price"
PARTICIPANT = "participant id name buyer seller order_id taker order"
RULES = {
    "midpoint_of_last_pair": "mid_last", "midpoint": "mid_last", "mid": "mid_last", "mid_last": "mid_last", "last_pair_midpoint": "mid_last", "midpoint_last_pair": "mid_last",
    "seller_marginal_price": "seller", "sellers_marginal_price": "seller", "seller_marginal": "seller", "seller": "seller", "last_sell_price": "seller", "last_seller_price": "seller", "marginal_sell_price": "seller", "sell_marginal_price": "seller", "sell_price_of_last_pair": "seller", "seller_price": "seller", "marginal_seller": "seller", "seller_price_of_last_pair": "seller", "last_ask": "seller", "sellers_marginal": "seller",
    "buyer_marginal_price": "buyer", "buyers_marginal_price": "buyer", "buyer_marginal": "buyer", "buyer": "buyer", "last_buy_price": "buyer", "last_buyer_price": "buyer", "marginal_buy_price": "buyer", "buy_marginal_price": "buyer", "buy_price_of_last_pair": "buyer", "buyer_price": "buyer", "marginal_buyer": "buyer", "buyer_price_of_last_pair": "buyer", "last_bid": "buyer", "buyers_marginal": "buyer",
    "marginal": "marginal", "cross_or_mid": "cross_or_mid",
    "pair": "pair", "pair_midpoint": "pair", "midpoint_of_pair": "pair", "midpoint_of_each_pair": "pair", "each_pair": "pair", "each_pair_midpoint": "pair", "pair_average": "pair", "pair_mean": "pair", "mean_of_pair": "pair", "high_low": "pair", "high_low_matching": "pair", "pairwise_midpoint": "pair", "midpoint_per_pair": "pair", "average_of_pair": "pair", "high_low_pairing": "pair", "pairwise": "pair", "per_pair_midpoint": "pair", "high_low_match": "pair", "pair_price": "pair", "高低匹配": "pair",
}  # fmt: skip
SHARING = {"time": "time", "time_order": "time", "time_priority": "time", "first_come": "time", "pro_rata": "prorata", "prorata": "prorata", "pro-rata": "prorata", "proportional": "prorata", "proportion": "prorata"}  # fmt: skip
REMAINDER = {
    "last": "last",
    "last_participant": "last",
    "last_taker": "last",
    "largest": "largest",
    "largest_remainder": "largest",
}


def rate(work: Work) -> None:
    """Work a case by the form its inputs have."""
    work.rule = RULE
    if work.has("resting_sell_orders resting_buy_orders resting_orders"):
        _rolling(work)
    elif work.is_list("takers takes asks_for taker_orders acceptances accepting_orders") and not (
        work.is_list(BUYS) and work.is_list(SELLS)
    ):
        _listing(work)
    elif work.is_list(BUYS) or work.is_list(SELLS):
        _auction(work)
    elif work.has("benchmark_price base_price coal_benchmark_price"):
        _limits(work)
    else:
        work.tables(BUYS)


class _Scale:
    """Turns the decimals of a case into whole ticks and kWh, exactly, and back."""

    def __init__(self, prices: Sequence[Decimal], quantities: Sequence[Decimal]) -> None:
        # One decimal finer than the prices, so that the mean of two is still a whole tick: rounding comes last.
        self._price_places = max((0, *(-int(each.as_tuple().exponent) for each in prices))) + 1
        self._places = max((3, *(-int(each.as_tuple().exponent) for each in quantities)))

    def ticks(self, price: Decimal) -> int:
        return int(EXACT.scaleb(price, self._price_places))

    def kwh(self, quantity: Decimal) -> int:
        return int(EXACT.scaleb(quantity, self._places))

    def price(self, ticks: int) -> Decimal:
        return EXACT.scaleb(Decimal(ticks), -self._price_places)

    def mwh(self, kwh: int) -> Decimal:
        return EXACT.scaleb(Decimal(kwh), -self._places)


def _scale(work: Work, names: Sequence[str]) -> _Scale:
    prices, quantities = [], []
    for name in names:
        for row in (
            work.tables(name) if work.is_list(name) else ([work.table(name)] if work.is_table(name) else [])
        ):
            if row.own(PRICE):
                prices.append(row.decimal(PRICE))
            quantities.append(row.not_negative(MWH))
    return _Scale(prices, quantities)


def _names_of(rows: Sequence[Work]) -> tuple[str, ...]:
    return tuple(row.text_or(f"#{number}", PARTICIPANT) for number, row in enumerate(rows, 1))


def _order_of_time(rows: Sequence[Work]) -> tuple[int, ...]:
    """Positions by sequence number or clock time; the order of the list decides between equals and without either."""
    keys: list[tuple[Decimal, str]] = []
    for row in rows:
        number = (
            row.decimal("sequence seq order_sequence")
            if row.own("sequence seq order_sequence") and row.has("sequence seq order_sequence")
            else Decimal(0)
        )
        clock = row.text("time submitted_at at") if row.own("time submitted_at at") else ""
        keys.append((number, clock.rjust(32) if clock.count(":") == 1 and clock.index(":") == 1 else clock))
    ranked = sorted(range(len(rows)), key=lambda index: (keys[index], index))
    return tuple(ranked.index(index) + 1 for index in range(len(rows)))


def _orders(rows: Sequence[Work], side: Side, scale: _Scale) -> tuple[list[Order], dict[str, str]]:
    """Orders with ids of their own, and the participant's name of each."""
    found, names = [], {}
    for number, (row, seq, name) in enumerate(zip(rows, _order_of_time(rows), _names_of(rows), strict=True)):
        own = f"{side}{number}"
        names[own] = name
        found.append(Order(own, side, scale.ticks(row.decimal(PRICE)), scale.kwh(row.not_negative(MWH)), seq))
    return found, names


def _auction(work: Work) -> None:
    scale = _scale(work, (BUYS, SELLS))
    buys, names = _orders(work.tables(BUYS) if work.is_list(BUYS) else [], Side.BUY, scale)
    sells, sellers = _orders(work.tables(SELLS) if work.is_list(SELLS) else [], Side.SELL, scale)
    names |= sellers
    orders = _within_limits(work, [*buys, *sells], names, scale)
    margin = AtMargin(
        work.choice("time", SHARING, "allocation margin_allocation at_margin tie_rule allocation_rule")
    )
    cleared, pairs = auction.cleared(orders, margin), auction.paired(orders)
    _matched(work, pairs, names, scale)
    rule = work.choice(
        "mid_last",
        RULES,
        "price_rule pricing_rule clearing_price_rule pricing price_convention clearing_rule",
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
    work.put(
        "total_mwh",
        volume,
        "sum of the matches",
        also="volume_mwh matched_mwh total_volume_mwh cleared_mwh matched_total_mwh",
    )
    _prices(work, cleared, rule, scale)
    _averages(work, pairs, scale)
    _fills(work, cleared, orders, names, scale)
    if "clearing_price" in work.results.named and isinstance(
        price := work.results.named["clearing_price"].value, Decimal
    ):
        work.put_money(
            "total_amount",
            EXACT.multiply(price, volume),
            "clearing_price x total_mwh",
            also="amount turnover total_money",
        )


def _within_limits(work: Work, orders: list[Order], names: dict[str, str], scale: _Scale) -> list[Order]:
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
        work.put(
            "rejected_orders",
            [names[each.id] for each in out],
            "price outside the limits",
            also="rejected rejected_participants",
        )
    return [each for each in orders if each not in out]


def _matched(work: Work, pairs: Sequence[auction.Pair], names: dict[str, str], scale: _Scale) -> None:
    rows = []
    for pair in pairs:
        row = work.part("matched")
        row.put("buyer", names[pair.buy_id], "", also="buy buy_participant")
        row.put("seller", names[pair.sell_id], "", also="sell sell_participant")
        row.put(
            "mwh",
            scale.mwh(pair.quantity_kwh),
            "the smaller rest of the two",
            also="quantity_mwh quantity energy_mwh matched_mwh volume_mwh",
        )
        price = work.rounded(scale.price(pair.price_ticks), "price", "0.001")
        row.put(
            "price", price, "(buy_price + sell_price) / 2", kind="price_mwh", also="pair_price clearing_price"
        )
        row.put("buy_price", scale.price(pair.bid_ticks), "", also="bid_price bid")
        row.put("sell_price", scale.price(pair.ask_ticks), "", also="ask_price ask")
        row.put_money("amount", EXACT.multiply(price, scale.mwh(pair.quantity_kwh)), "price x mwh")
        rows.append(row)
    work.put_rows("matched", rows, also="matches pairs trades fills matched_pairs pair_results")
    work.put(
        "pair_prices",
        [row.results.named["price"].value for row in rows],
        "(buy_price + sell_price) / 2",
        kind="price_mwh",
        also="prices",
    )
    amounts = [row.results.named["amount"].value for row in rows]
    work.put(
        "pairs_amount",
        total(each for each in amounts if isinstance(each, Decimal)),
        "sum of the pairs",
        also="total_pair_amount total_pairs_amount",
    )
    work.put("match_count", Decimal(len(rows)), "", also="number_of_matches pairs_count number_of_pairs")


def _prices(work: Work, cleared: auction.Clearing, rule: str, scale: _Scale) -> None:
    if cleared.last_bid_ticks is None or cleared.last_ask_ticks is None:
        work.put("last_pair", None, "no match")
        work.put(
            "clearing_price",
            None,
            "no match",
            also="uniform_price price marginal_price market_clearing_price",
        )
        return
    last = work.part("last_pair")
    last.put("buy_price", scale.price(cleared.last_bid_ticks), "", also="bid_price buy bid buyer_price")
    last.put("sell_price", scale.price(cleared.last_ask_ticks), "", also="ask_price sell ask seller_price")
    work.put_parts("last_pair", last, also="last_matched_pair marginal_pair")
    interval = cleared.interval_ticks
    if interval is not None:
        work.put("price_interval", [scale.price(each) for each in interval], "", also="interval")
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
        work.put(
            "clearing_price",
            work.results.named[f"price_{rule}"].value,
            words[rule],
            kind="price_mwh",
            also="uniform_price price marginal_price market_clearing_price uniform_clearing_price",
        )


def _averages(work: Work, pairs: Sequence[auction.Pair], scale: _Scale) -> None:
    """The average of the pair prices, weighted by energy."""
    volume = sum(pair.quantity_kwh for pair in pairs)
    if not volume:
        work.put("average_price", None, "no match", also="weighted_average_price")
        return
    prices = [work.rounded(scale.price(pair.price_ticks), "price", "0.001") for pair in pairs]
    money = sum(
        (Fraction(price) * pair.quantity_kwh for price, pair in zip(prices, pairs, strict=True)), Fraction(0)
    )
    average = work.rounded(money / volume, "price", "0.001")
    work.put(
        "average_price",
        average,
        "sum(pair price x mwh) / total_mwh",
        kind="price_mwh",
        also="weighted_average_price energy_weighted_average_price average_pair_price volume_weighted_average_price energy_weighted_average weighted_average",
    )


def _fills(
    work: Work, cleared: auction.Clearing, orders: Sequence[Order], names: dict[str, str], scale: _Scale
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


def _rolling(work: Work) -> None:
    """Resting orders in order of time, then the incoming ones; every fill at the resting order's price by default."""
    names = (
        "resting_sell_orders",
        "resting_buy_orders",
        "resting_orders",
        "incoming_buy_order",
        "incoming_sell_order",
        "incoming_order",
        "incoming_orders",
        "incoming_buy_orders",
        "incoming_sell_orders",
    )
    scale = _scale(work, names)
    rule = TradePrice(
        work.choice(
            "resting",
            {
                "resting": "resting",
                "resting_order": "resting",
                "resting_order_price": "resting",
                "resting_price": "resting",
                "median": "median",
                "mid": "mid",
                "midpoint": "mid",
            },
            "trade_price_rule price_rule",
        )
    )
    book = Book(rule)
    people: dict[str, str] = {}
    for row, side, seq in _rested(work):
        order = Order(f"R{seq}", side, scale.ticks(row.decimal(PRICE)), scale.kwh(row.not_negative(MWH)), seq)
        people[order.id] = row.text_or(order.id, PARTICIPANT)
        if book.add(order):
            work.bad(row.path, "crosses the other side of the book", "resting orders that do not meet")
    trades: list[tuple[rolling.Trade, Order]] = []
    incoming = _incoming(work)
    for number, (row, side) in enumerate(incoming):
        order = Order(
            f"I{number}",
            side,
            scale.ticks(row.decimal(PRICE)),
            scale.kwh(row.not_negative(MWH)),
            10**6 + number,
        )
        people[order.id] = row.text_or("incoming", PARTICIPANT)
        trades += [(trade, order) for trade in book.add(order)]
    _rolled(work, trades, people, scale)
    asked = total(row.not_negative(MWH) for row, _ in incoming)
    filled = scale.mwh(sum(trade.quantity_kwh for trade, _ in trades))
    work.put("filled_mwh", filled, "sum of the fills", also="total_mwh matched_mwh")
    work.put(
        "unfilled_mwh",
        EXACT.subtract(asked, filled),
        "incoming - filled",
        also="remaining_mwh rest_mwh unmatched_mwh resting_mwh unfilled",
    )
    _left_in_book(work, book, people, scale)


def _rested(work: Work) -> list[tuple[Work, Side, int]]:
    rows: list[tuple[Work, Side]] = []
    for name, side in (("resting_sell_orders", Side.SELL), ("resting_buy_orders", Side.BUY)):
        if work.is_list(name):
            rows += [(row, side) for row in work.tables(name)]
    if work.is_list("resting_orders"):
        rows += [(row, _side(row)) for row in work.tables("resting_orders")]
    order = _order_of_time([row for row, _ in rows])
    ranked = sorted(zip(rows, order, strict=True), key=lambda each: each[1])
    return [(row, side, seq) for (row, side), seq in ranked]


def _side(row: Work) -> Side:
    return Side(
        row.choice(
            "",
            {"buy": "B", "b": "B", "sell": "S", "s": "S", "bid": "B", "ask": "S", "买": "B", "卖": "S"},
            "side direction",
        )
    )


def _incoming(work: Work) -> list[tuple[Work, Side]]:
    found: list[tuple[Work, Side]] = []
    for name, side in (("incoming_buy_order", Side.BUY), ("incoming_sell_order", Side.SELL)):
        if work.is_table(name):
            found.append((work.table(name), side))
    for name, side in (("incoming_buy_orders", Side.BUY), ("incoming_sell_orders", Side.SELL)):
        if work.is_list(name):
            found += [(row, side) for row in work.tables(name)]
    if work.is_table("incoming_order"):
        found.append((work.table("incoming_order"), _side(work.table("incoming_order"))))
    if work.is_list("incoming_orders"):
        found += [(row, _side(row)) for row in work.tables("incoming_orders")]
    if not found:
        work.table("incoming_buy_order")
    return found


def _rolled(
    work: Work, trades: Sequence[tuple[rolling.Trade, Order]], people: dict[str, str], scale: _Scale
) -> None:
    rows, money, volume = [], Fraction(0), 0
    for trade, order in trades:
        resting = trade.sell_id if order.side is Side.BUY else trade.buy_id
        price = work.rounded(scale.price(trade.price_ticks), "price", "0.001")
        row = work.part("fills")
        row.put(
            "participant",
            people[resting],
            "best price, then earliest",
            also="counterparty resting seller order"
            if order.side is Side.BUY
            else "counterparty resting buyer order",
        )
        row.put("price", price, "price of the resting order", also="trade_price")
        row.put(
            "mwh",
            scale.mwh(trade.quantity_kwh),
            "the smaller rest of the two",
            also="quantity_mwh quantity filled_mwh",
        )
        row.put(
            "incoming", people[order.id], "", also="taker buyer" if order.side is Side.BUY else "taker seller"
        )
        row.put_money("amount", EXACT.multiply(price, scale.mwh(trade.quantity_kwh)), "price x mwh")
        rows.append(row)
        money += Fraction(price) * trade.quantity_kwh
        volume += trade.quantity_kwh
    work.put_rows("fills", rows, also="trades matched matches")
    average = work.rounded(money / volume, "price", "0.001") if volume else None
    work.put(
        "average_price",
        average,
        "sum(price x mwh) / sum(mwh)",
        kind="price_mwh",
        also="weighted_average_price average_fill_price",
    )
    amounts = [row.results.named["amount"].value for row in rows]
    work.put(
        "total_amount",
        total(each for each in amounts if isinstance(each, Decimal)),
        "sum of the fills",
        also="amount turnover",
    )


def _left_in_book(work: Work, book: Book, people: dict[str, str], scale: _Scale) -> None:
    rows = []
    for order, open_kwh in book.resting():
        row = work.part("resting")
        row.put("participant", people[order.id], "")
        row.put("side", "buy" if order.side is Side.BUY else "sell", "")
        row.put("price", scale.price(order.price_ticks), "")
        row.put("mwh", scale.mwh(open_kwh), "", also="quantity_mwh remaining_mwh open_mwh")
        rows.append(row)
    work.put_rows(
        "resting_after", rows, also="remaining_orders book_after resting_orders resting_book remaining_book"
    )
    sells = [row for row in rows if row.results.named["side"].value == "sell"]
    work.put_rows("resting_sell_orders_after", sells, also="remaining_sell_orders resting_sell_orders")
    buys = [row for row in rows if row.results.named["side"].value == "buy"]
    work.put_rows("resting_buy_orders_after", buys, also="remaining_buy_orders resting_buy_orders")


def _listing(work: Work) -> None:
    names = "takers takes asks_for taker_orders acceptances accepting_orders"
    takers = work.tables(names)
    offer = (
        work.table("listing offer listed_order listing_order")
        if work.is_table("listing offer listed_order listing_order")
        else work
    )
    quantity = offer.not_negative(f"{MWH} offer_mwh listed_mwh offered_mwh")
    price = offer.decimal_or(None, "price listed_price offer_price price_yuan_per_mwh listing_price")
    scale = _Scale(
        [price or Decimal(0)], [quantity, *(row.not_negative(f"{MWH} ask_mwh asked_mwh") for row in takers)]
    )
    sharing = Sharing(
        work.choice(
            "time",
            SHARING,
            "allocation allocation_rule mode rule_of_allocation sharing allocation_method method",
        )
    )
    remainder = Remainder(work.choice("last", REMAINDER, "remainder remainder_rule remainder_to"))
    listed = Listing(
        "",
        Side.SELL,
        0,
        scale.kwh(quantity),
        scale.kwh(work.number_or(0, "min_take_mwh minimum_take_mwh")),
        work.flag(False, "all_or_none"),
        sharing,
        remainder,
    )
    order = _order_of_time(takers)
    people = _names_of(takers)
    takes = [
        Take(str(index), people[index], scale.kwh(takers[index].not_negative(f"{MWH} ask_mwh asked_mwh")))
        for index in sorted(range(len(takers)), key=lambda index: order[index])
    ]
    events: list[Take | Withdrawal] = list(takes)
    result = listing.taken(replace(listed, lister="\0"), events)
    got = {each.take_id: each for each in result.takes}
    rows = []
    for index, person in enumerate(people):
        row = work.part("allocation")
        mine = got[str(index)]
        row.put(
            "mwh",
            scale.mwh(mine.quantity_kwh),
            "in order of time" if sharing is Sharing.TIME else "offer x ask / sum of asks",
            also="allocated_mwh quantity_mwh quantity fill_mwh allocation_mwh",
        )
        row.put("participant", person, "", also="taker name buyer")
        row.put(
            "unfilled_mwh",
            EXACT.subtract(
                takers[index].not_negative(f"{MWH} ask_mwh asked_mwh"), scale.mwh(mine.quantity_kwh)
            ),
            "ask - allocated",
            also="unallocated_mwh",
        )
        row.put(
            "rejected",
            mine.refusal is not None and mine.refusal is not Refusal.LISTING_CLOSED,
            "",
            also="refused",
        )
        if price is not None:
            row.put_money("amount", EXACT.multiply(price, scale.mwh(mine.quantity_kwh)), "listed price x mwh")
        rows.append(row)
    work.put_rows("allocations", rows, also="allocation allocated fills shares takers matched rows")
    each_mwh = [row.results.named["mwh"].value for row in rows]
    work.put("allocated_mwh", list(each_mwh), "", also="allocation_mwh quantities allocations_mwh")
    work.put(
        "allocation_by_taker",
        dict(zip(people, each_mwh, strict=True)),
        "",
        also="allocation_by_participant allocated_by_participant fills_by_taker",
    )
    whole = total(value for value in each_mwh if isinstance(value, Decimal))
    work.put("total_mwh", whole, "sum", also="allocated_total_mwh total_allocated_mwh sold_mwh")
    work.put(
        "remaining_mwh",
        scale.mwh(result.remaining_kwh),
        "offer - allocated",
        also="unsold_mwh rest_mwh unfilled_mwh remaining unallocated_mwh",
    )
    if price is not None:
        work.put("price", price, "the listed price", also="trade_price")
        work.put_money("total_amount", EXACT.multiply(price, whole), "price x total_mwh", also="amount")


def _limits(work: Work) -> None:
    """Price limits around a benchmark (基准价 ± 20 %)."""
    base = work.decimal("benchmark_price base_price coal_benchmark_price")
    band = (
        work.number_or(20, "band_pct limit_pct floating_pct") / 100
        if work.has("band_pct limit_pct floating_pct")
        else work.number_or("0.2", "band band_ratio")
    )
    low, high = EXACT.multiply(base, 1 - band), EXACT.multiply(base, 1 + band)
    work.put(
        "lower_limit", low, "benchmark x (1 - band)", also="price_lower_limit lower_price min_price floor"
    )
    work.put(
        "upper_limit", high, "benchmark x (1 + band)", also="price_upper_limit upper_price max_price ceiling"
    )
    if work.has("price"):
        work.put(
            "within_limits",
            low <= work.decimal("price") <= high,
            "lower <= price <= upper",
            also="allowed valid within_band",
        )
