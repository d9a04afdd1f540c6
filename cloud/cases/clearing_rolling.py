"""Cases of rolling matching 滚动撮合. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from cloud.cases.clearing_scale import MWH, PARTICIPANT, PRICE, Scale, order_of_time, scale_of
from cloud.cases.work import Work
from cloud.market import rolling
from cloud.market.auction import Order, Side
from cloud.market.rolling import Book, TradePrice
from cloud.money import EXACT, total


def rate_rolling(work: Work) -> None:
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
    scale = scale_of(work, names)
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
    work.put("filled_mwh", filled, "sum of the fills")
    work.put("unfilled_mwh", EXACT.subtract(asked, filled), "incoming - filled")
    _left_in_book(work, book, people, scale)


def _rested(work: Work) -> list[tuple[Work, Side, int]]:
    rows: list[tuple[Work, Side]] = []
    for name, side in (("resting_sell_orders", Side.SELL), ("resting_buy_orders", Side.BUY)):
        if work.is_list(name):
            rows += [(row, side) for row in work.tables(name)]
    if work.is_list("resting_orders"):
        rows += [(row, _side(row)) for row in work.tables("resting_orders")]
    order = order_of_time([row for row, _ in rows])
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
    work: Work, trades: Sequence[tuple[rolling.Trade, Order]], people: dict[str, str], scale: Scale
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
        row.put("price", price, "price of the resting order")
        row.put("mwh", scale.mwh(trade.quantity_kwh), "the smaller rest of the two")
        row.put(
            "incoming", people[order.id], "", also="taker buyer" if order.side is Side.BUY else "taker seller"
        )
        row.put_money("amount", EXACT.multiply(price, scale.mwh(trade.quantity_kwh)), "price x mwh")
        rows.append(row)
        money += Fraction(price) * trade.quantity_kwh
        volume += trade.quantity_kwh
    work.put_rows("fills", rows)
    average = work.rounded(money / volume, "price", "0.001") if volume else None
    work.put("average_price", average, "sum(price x mwh) / sum(mwh)", kind="price_mwh")
    amounts = [row.results.named["amount"].value for row in rows]
    work.put("total_amount", total(each for each in amounts if isinstance(each, Decimal)), "sum of the fills")


def _left_in_book(work: Work, book: Book, people: dict[str, str], scale: Scale) -> None:
    rows = []
    for order, open_kwh in book.resting():
        row = work.part("resting")
        row.put("participant", people[order.id], "")
        row.put("side", "buy" if order.side is Side.BUY else "sell", "")
        row.put("price", scale.price(order.price_ticks), "")
        row.put("mwh", scale.mwh(open_kwh), "")
        rows.append(row)
    work.put_rows("resting_after", rows)
    sells = [row for row in rows if row.results.named["side"].value == "sell"]
    work.put_rows("resting_sell_orders_after", sells)
    buys = [row for row in rows if row.results.named["side"].value == "buy"]
    work.put_rows("resting_buy_orders_after", buys)
