"""Real day-ahead auctions with published prices: 60 hours of the Italian market, April 2025.

The books are read where they lie, beside the repository: their origin's terms do not let us carry them. A published
price lies in the interval that our clearing says supports the volume, and equals it where that is one point.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cloud.market import auction, kernel
from cloud.market.auction import AtMargin, Order, PriceRule, Side

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "real_auctions"
FILE = FOLDER / "gme_2025-04_60h.json.gz"
Hour = dict[str, Any]


@pytest.fixture(scope="module")
def hours() -> list[Hour]:
    if not FILE.exists():
        pytest.skip(f"{FILE.name} is not beside the repository; it is read in place and not carried")
    with gzip.open(FILE) as file:
        found: list[Hour] = json.load(file)["hours"]
    return found


def orders_of(hour: Hour) -> list[Order]:
    bids = [Order(f"B{n}", Side.BUY, price, kwh, n) for n, (price, kwh) in enumerate(hour["bids"])]
    first = len(bids)
    return bids + [
        Order(f"S{n}", Side.SELL, price, kwh, first + n) for n, (price, kwh) in enumerate(hour["asks"])
    ]


def test_the_published_price_is_one_that_our_clearing_supports(hours: list[Hour]) -> None:
    inside = exact = points = 0
    for hour in hours:
        clearing = kernel.cleared(orders_of(hour))
        low, high = clearing.interval_ticks or (0, -1)
        inside += low <= hour["published_price"] <= high
        if low == high:
            points += 1
            exact += auction.price_ticks(clearing, PriceRule.MARGINAL) == hour["published_price"]

    assert (len(hours), inside) == (60, 60)
    assert (points, exact) == (47, 47)


@pytest.mark.parametrize("at_margin", AtMargin)
def test_every_way_gives_the_same_and_what_two_others_computed(
    hours: list[Hour], at_margin: AtMargin
) -> None:
    for hour in hours:
        orders = orders_of(hour)
        book, ids = kernel.book_of(orders), [order.id for order in orders]
        plain = auction.cleared(orders, at_margin)

        assert kernel.by_sorting(book, at_margin).clearing(ids) == plain
        assert kernel.by_counting(book, at_margin).clearing(ids) == plain
        assert (plain.volume_kwh, plain.last_bid_ticks, plain.last_ask_ticks) == (
            hour["volume"],
            hour["last_bid"],
            hour["last_ask"],
        )
        assert list(plain.interval_ticks or ()) == hour["interval"]
        assert auction.price_ticks(plain, PriceRule.MARGINAL) == hour["marginal"]
    assert kernel.paired(orders) == auction.paired(orders)
