"""Call auctions, rolling books and listings as `market_auction_cases.json` has them, exactly.

Also the executable definition of the auction (quadratic, over every price level) as an independent opinion.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloud.market import auction
from cloud.market.auction import AtMargin, Order, PriceRule, Side
from cloud.market.listing import Listing, Sharing, Take, Withdrawal, taken
from cloud.market.rolling import Book, TradePrice

CASES = json.loads((Path(__file__).parent / "market_auction_cases.json").read_text("utf-8"))

Json = dict[str, Any]


def by_id(case: Json) -> str:
    return str(case["id"])


def orders_of(case: Json) -> list[Order]:
    return [Order(o["id"], Side(o["side"]), o["p"], o["q"], o["seq"]) for o in case["orders"]]


@pytest.mark.parametrize("case", CASES["call_auction"], ids=by_id)
@pytest.mark.parametrize("at_margin", AtMargin)
def test_a_call_auction_clears_as_worked_out(case: Json, at_margin: AtMargin) -> None:
    expected = case["expected"]

    cleared = auction.cleared(orders_of(case), at_margin)

    assert cleared.volume_kwh == expected["volume"]
    assert (cleared.last_bid_ticks, cleared.last_ask_ticks) == (expected["last_bid"], expected["last_ask"])
    assert cleared.interval_ticks == (expected["interval"] and tuple(expected["interval"]))
    assert {rule: auction.price_ticks(cleared, PriceRule(rule)) for rule in expected["price"]} == expected[
        "price"
    ]
    assert cleared.filled_kwh() == expected["fills"][at_margin]
    assert [fill.order_id for fill in cleared.fills] == [order["id"] for order in case["orders"]]


@pytest.mark.parametrize("case", CASES["call_auction"], ids=by_id)
def test_pairs_are_matched_as_worked_out(case: Json) -> None:
    pairs = auction.paired(orders_of(case))

    assert [[p.buy_id, p.sell_id, p.quantity_kwh, p.price_ticks] for p in pairs] == case["expected"]["pairs"]


@pytest.mark.parametrize("case", CASES["rolling"], ids=by_id)
@pytest.mark.parametrize("rule", TradePrice)
def test_a_rolling_book_trades_as_worked_out(case: Json, rule: TradePrice) -> None:
    book, trades, sides = Book(rule), [], {}
    cancelled: dict[str, int] = {}
    for number, event in enumerate(case["events"]):
        if event["op"] == "cancel":
            cancelled[event["id"]] = book.cancel(event["id"])
            continue
        side = sides.setdefault(event["id"], Side(event["side"]) if "side" in event else Side.BUY)
        order = Order(event["id"], side, event["p"], event["q"], number)
        trades += book.add(order) if event["op"] == "add" else book.replace(order)

    assert [[t.buy_id, t.sell_id, t.quantity_kwh, t.price_ticks] for t in trades] == case["expected"][
        "trades"
    ][rule]
    resting = [
        [order.id, order.side.value, order.price_ticks, open_kwh] for order, open_kwh in book.resting()
    ]
    assert resting == case["expected"]["resting_book"]
    assert cancelled == case["expected"]["cancelled_qty"]


@pytest.mark.parametrize("case", CASES["listing"], ids=by_id)
def test_a_listing_is_taken_as_worked_out(case: Json) -> None:
    given, expected = case["listing"], case["expected"]
    listed = Listing(
        given["lister"],
        Side(given["side"]),
        given["p"],
        given["q"],
        given["min_take"],
        given["all_or_none"],
        Sharing(given["mode"]),
    )
    events = [
        Take(event["id"], event["taker"], event["q"]) if event["op"] == "take" else Withdrawal()
        for event in case["events"]
    ]

    result = taken(listed, events)

    assert {each.take_id: each.quantity_kwh for each in result.takes if each.quantity_kwh} == expected[
        "fills"
    ]
    assert {each.take_id: each.refusal for each in result.takes if each.refusal} == expected["rejected"]
    assert (result.remaining_kwh, result.withdrawn_kwh) == (expected["remaining"], expected["withdrawn"])
