"""Laws of clearing that hold for any orders: balance, individual rationality, priority, permutation, monotony."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.market import auction
from cloud.market.auction import AtMargin, Order, PriceRule, Side
from cloud.market.listing import Listing, Remainder, Sharing, Take, taken
from cloud.market.rolling import Book, Trade, TradePrice

prices = st.integers(-50, 400)
quantities = st.integers(0, 5000)
sides = st.sampled_from(Side)


@st.composite
def books(draw: st.DrawFn, most: int = 14) -> list[Order]:
    rows = draw(st.lists(st.tuples(sides, prices, quantities), max_size=most))
    return [Order(f"o{n}", side, price, kwh, n) for n, (side, price, kwh) in enumerate(rows)]


def demand(orders: list[Order], price: int) -> int:
    return sum(o.quantity_kwh for o in orders if o.side is Side.BUY and o.price_ticks >= price)


def supply(orders: list[Order], price: int) -> int:
    return sum(o.quantity_kwh for o in orders if o.side is Side.SELL and o.price_ticks <= price)


def side_sum(orders: list[Order], cleared: auction.Clearing, side: Side) -> int:
    filled = cleared.filled_kwh()
    return sum(filled.get(o.id, 0) for o in orders if o.side is side)


@given(books(), st.sampled_from(AtMargin))
def test_what_is_bought_is_what_is_sold_and_nobody_gets_more_than_asked(
    orders: list[Order], at_margin: AtMargin
) -> None:
    cleared = auction.cleared(orders, at_margin)

    assert side_sum(orders, cleared, Side.BUY) == side_sum(orders, cleared, Side.SELL) == cleared.volume_kwh
    assert [fill.order_id for fill in cleared.fills] == [order.id for order in orders]
    assert all(0 <= f.quantity_kwh <= o.quantity_kwh for f, o in zip(cleared.fills, orders, strict=True))


@given(books())
def test_the_volume_is_the_largest_that_both_sides_accept_at_one_price(orders: list[Order]) -> None:
    best = max((min(demand(orders, o.price_ticks), supply(orders, o.price_ticks)) for o in orders), default=0)

    assert auction.cleared(orders).volume_kwh == best


@given(books(), st.sampled_from(AtMargin), st.sampled_from(PriceRule))
def test_nobody_pays_more_than_bid_or_gets_less_than_asked(
    orders: list[Order], at_margin: AtMargin, rule: PriceRule
) -> None:
    cleared = auction.cleared(orders, at_margin)
    price, filled = auction.price_ticks(cleared, rule), cleared.filled_kwh()

    assert (price is None) == (cleared.volume_kwh == 0)
    for order in orders:
        if order.id in filled:
            assert price is not None
            assert order.price_ticks >= price if order.side is Side.BUY else order.price_ticks <= price


@given(books(), st.sampled_from(AtMargin))
def test_a_better_price_goes_first(orders: list[Order], at_margin: AtMargin) -> None:
    filled = auction.cleared(orders, at_margin).filled_kwh()
    for side, sign in ((Side.BUY, -1), (Side.SELL, 1)):
        own = [o for o in orders if o.side is side]
        worst = max((sign * o.price_ticks for o in own if o.id in filled), default=None)
        if worst is not None:
            assert all(filled.get(o.id, 0) == o.quantity_kwh for o in own if sign * o.price_ticks < worst)


@given(st.data(), books(), st.sampled_from(AtMargin))
def test_the_order_of_the_list_means_nothing(
    data: st.DataObject, orders: list[Order], at_margin: AtMargin
) -> None:
    shuffled = data.draw(st.permutations(orders))

    one, other = auction.cleared(orders, at_margin), auction.cleared(shuffled, at_margin)

    assert one.filled_kwh() == other.filled_kwh()
    assert (one.volume_kwh, one.interval_ticks) == (other.volume_kwh, other.interval_ticks)
    assert auction.paired(orders) == auction.paired(shuffled)


@given(books(), prices, st.integers(1, 5000))
def test_one_more_buyer_never_lowers_volume_or_marginal_price(
    orders: list[Order], price: int, kwh: int
) -> None:
    before = auction.cleared(orders)
    after = auction.cleared([*orders, Order("new", Side.BUY, price, kwh, len(orders))])

    assert after.volume_kwh >= before.volume_kwh
    one, other = (auction.price_ticks(each, PriceRule.MARGINAL) for each in (before, after))
    if one is not None and other is not None:
        assert other >= one


@given(books())
def test_pairs_have_the_volume_and_the_fills_of_the_auction_in_time_order(orders: list[Order]) -> None:
    pairs, cleared = auction.paired(orders), auction.cleared(orders)
    got: dict[str, int] = {}
    for pair in pairs:
        assert pair.ask_ticks <= pair.price_ticks <= pair.bid_ticks
        for name in (pair.buy_id, pair.sell_id):
            got[name] = got.get(name, 0) + pair.quantity_kwh

    assert sum(pair.quantity_kwh for pair in pairs) == cleared.volume_kwh
    assert got == cleared.filled_kwh()


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**12), min_size=1, max_size=9))
def test_shares_in_proportion_add_up_and_stay_within_a_unit(whole: int, asked: list[int]) -> None:
    got = auction.prorated(whole, asked)

    assert sum(got) == min(whole, sum(asked))
    assert all(0 <= each <= most for each, most in zip(got, asked, strict=True))
    if sum(asked) > whole:
        assert all(
            abs(each * sum(asked) - most * whole) < sum(asked) for each, most in zip(got, asked, strict=True)
        )


@settings(max_examples=60)
@given(books(18), st.sampled_from(TradePrice))
def test_a_book_is_never_crossed_and_loses_nothing(orders: list[Order], rule: TradePrice) -> None:
    book = Book(rule)
    trades: list[Trade] = []
    for order in orders:
        trades += book.add(order)
        bids = [o.price_ticks for o, _ in book.resting() if o.side is Side.BUY]
        asks = [o.price_ticks for o, _ in book.resting() if o.side is Side.SELL]
        assert not bids or not asks or max(bids) < min(asks)

    by_id = {order.id: order for order in orders}
    left = {order.id: open_kwh for order, open_kwh in book.resting()}
    for order in orders:
        traded = sum(t.quantity_kwh for t in trades if order.id in (t.buy_id, t.sell_id))
        assert traded + left.get(order.id, 0) == order.quantity_kwh
    assert all(by_id[t.sell_id].price_ticks <= t.price_ticks <= by_id[t.buy_id].price_ticks for t in trades)


@given(
    st.integers(1, 10**6),
    st.lists(st.integers(1, 10**6), min_size=1, max_size=8),
    st.sampled_from(Sharing),
    st.sampled_from(Remainder),
)
def test_a_listing_gives_out_what_it_has_and_no_more(
    offer: int, asked: list[int], sharing: Sharing, remainder: Remainder
) -> None:
    takes = [Take(str(n), f"U{n}", kwh) for n, kwh in enumerate(asked)]

    result = taken(Listing("G", Side.SELL, 372, offer, sharing=sharing, remainder=remainder), takes)

    given_out = sum(each.quantity_kwh for each in result.takes)
    assert given_out == min(offer, sum(asked))
    assert given_out + result.remaining_kwh == offer
    assert [each.take_id for each in result.takes] == [take.id for take in takes]
    assert all(0 <= each.quantity_kwh <= kwh for each, kwh in zip(result.takes, asked, strict=True))
