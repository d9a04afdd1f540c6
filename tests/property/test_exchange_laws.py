"""Laws of the uniform price, in all three ways of computing it: the definition, plain Python, arrays.

The letters P1, P2, … are the properties of market.md 11; those not here are in test_clearing_laws.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from cloud.cases import book as casebook
from cloud.cases.book import orders_sha256
from cloud.market import auction, kernel
from cloud.market.auction import AtMargin, Clearing, Order, PriceRule, Side, price_ticks
from tests.property import auction_oracle as oracle

TOUCH = [Order("B", Side.BUY, 5, 10, 1), Order("S", Side.SELL, 5, 10, 2)]
TIES = [Order(str(n), Side.BUY if n < 3 else Side.SELL, 7, 10, n) for n in range(5)]
GAP = [Order("B", Side.BUY, 4, 10, 1), Order("S", Side.SELL, 5, 10, 2)]


@st.composite
def books(draw: st.DrawFn, most: int = 12, span: int = 12, size: int = 40) -> list[Order]:
    """Few price levels and small quantities, so that ties, plateaus and exact meets are common; any order of time."""
    low = draw(st.sampled_from((-5, 0, 37_200)))
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from(Side), st.integers(low, low + span), st.integers(0, size)),
            max_size=most,
        )
    )
    seqs = draw(st.permutations(range(len(rows))))
    return [
        Order(f"o{n}", side, price, kwh, seqs[n], f"p{n % 4}") for n, (side, price, kwh) in enumerate(rows)
    ]


margins = st.sampled_from(AtMargin)


def ways(orders: list[Order], at_margin: AtMargin) -> dict[str, Clearing]:
    """The same book by every way of this code."""
    ids = [order.id for order in orders]
    found = {
        "plain": auction.cleared(orders, at_margin),
        "kernel": kernel.cleared(orders, at_margin),
        "sorted": kernel.by_sorting(kernel.book_of(orders), at_margin).clearing(ids),
    }
    if max((o.price_ticks for o in orders), default=0) < 10**6:
        found["counted"] = kernel.by_counting(kernel.book_of(orders), at_margin).clearing(ids)
    return found


def welfare(orders: list[Order], clearing: Clearing) -> int:
    filled = clearing.filled_kwh()
    return sum((1 if o.side is Side.BUY else -1) * o.price_ticks * filled.get(o.id, 0) for o in orders)


@settings(max_examples=400)
@given(books(), margins)
@example(TOUCH, AtMargin.TIME)
@example(TIES, AtMargin.PRORATA)
@example(GAP, AtMargin.TIME)
def test_every_way_gives_what_the_definition_gives(orders: list[Order], at_margin: AtMargin) -> None:
    expected = oracle.cleared(orders, at_margin)

    for way, got in ways(orders, at_margin).items():
        told = (got.volume_kwh, got.last_bid_ticks, got.last_ask_ticks, got.interval_ticks, got.filled_kwh())
        assert told == (
            expected.volume,
            expected.last_bid,
            expected.last_ask,
            expected.interval,
            expected.fills,
        ), way
        assert got == auction.cleared(orders, at_margin), way


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(Side), st.integers(-(10**18), 10**18), st.integers(0, 10**18)), max_size=30
    ),
    margins,
)
def test_numbers_too_large_for_the_arrays_come_out_the_same(
    rows: list[tuple[Side, int, int]], at_margin: AtMargin
) -> None:
    orders = [Order(str(n), side, price, kwh, n) for n, (side, price, kwh) in enumerate(rows)]
    beyond = [*orders, Order("x", Side.BUY, 10**30, 10**30, len(orders))]

    assert kernel.cleared(orders, at_margin) == auction.cleared(orders, at_margin)
    assert kernel.cleared(beyond, at_margin) == auction.cleared(beyond, at_margin)
    assert kernel.paired(beyond) == auction.paired(beyond)


@given(
    st.integers(1, 10**12), st.lists(st.integers(1, 10**12), min_size=1, max_size=20), st.integers(1, 10**12)
)
def test_a_level_of_large_orders_is_shared_without_overflow(price: int, asked: list[int], offer: int) -> None:
    orders = [Order(f"B{n}", Side.BUY, price, kwh, n) for n, kwh in enumerate(asked)]
    orders.append(Order("S", Side.SELL, price, offer, 99))

    assert kernel.cleared(orders, AtMargin.PRORATA) == auction.cleared(orders, AtMargin.PRORATA)


@given(books(30))
def test_pairs_in_arrays_are_the_pairs(orders: list[Order]) -> None:
    assert kernel.paired(orders) == auction.paired(orders)
    found = kernel.pair(kernel.book_of(orders))
    assert found.price_ticks().tolist() == [pair.price_ticks for pair in auction.paired(orders)]


@given(books(), margins)
def test_no_allocation_is_worth_more(orders: list[Order], at_margin: AtMargin) -> None:
    """P6, by the dual of the linear program, exactly."""
    assert welfare(orders, kernel.cleared(orders, at_margin)) == oracle.welfare_bound(orders)


@settings(max_examples=25, deadline=None)
@given(books(25, span=200, size=5000))
def test_a_solver_finds_no_better_allocation(orders: list[Order]) -> None:
    """P6, by HiGHS; at ties it may leave trades of no worth, so the volume is only bounded."""
    sign = np.array([-1.0 if order.side is Side.BUY else 1.0 for order in orders])
    if not len(sign):
        return
    best = linprog(
        sign * [order.price_ticks for order in orders],
        A_eq=[sign],
        b_eq=[0],
        bounds=[(0, order.quantity_kwh) for order in orders],
    )
    clearing = kernel.cleared(orders)

    assert round(-best.fun) == welfare(orders, clearing)
    assert round(best.x[sign < 0].sum()) <= clearing.volume_kwh


@given(books())
def test_at_the_margin_the_earlier_goes_first(orders: list[Order]) -> None:
    """P8: in a level nobody is served while an earlier one is not full."""
    filled = kernel.cleared(orders).filled_kwh()

    for order in orders:
        for later in orders:
            is_level = (later.side, later.price_ticks) == (order.side, order.price_ticks)
            if is_level and later.seq > order.seq and later.id in filled:
                assert filled.get(order.id, 0) == order.quantity_kwh


@given(books(), margins)
def test_who_is_called_what_means_nothing(orders: list[Order], at_margin: AtMargin) -> None:
    """P11."""
    other = [replace(o, id=f"x{99 - n}", participant="same") for n, o in enumerate(orders)]

    one, two = kernel.cleared(orders, at_margin), kernel.cleared(other, at_margin)

    assert [fill.quantity_kwh for fill in one.fills] == [fill.quantity_kwh for fill in two.fills]
    assert one.interval_ticks == two.interval_ticks


@given(books(), st.sampled_from(PriceRule))
def test_the_price_lies_between_the_last_pair_and_in_the_band(orders: list[Order], rule: PriceRule) -> None:
    """P12, P13; a marginal price supports the allocation."""
    clearing = kernel.cleared(orders)
    price = price_ticks(clearing, rule)
    if price is None:
        return
    ask, bid = clearing.last_ask_ticks, clearing.last_bid_ticks
    assert ask is not None
    assert bid is not None
    assert ask <= price <= bid
    assert min(o.price_ticks for o in orders) <= price <= max(o.price_ticks for o in orders)
    interval = clearing.interval_ticks
    assert interval is not None
    assert ask <= interval[0] <= interval[1] <= bid
    if rule is PriceRule.MARGINAL:
        assert interval[0] <= price <= interval[1]


@settings(max_examples=250)
@given(books(), st.sampled_from(Side), st.integers(-6, 13), st.integers(1, 40))
def test_more_demand_never_lowers_and_more_supply_never_raises(
    orders: list[Order], side: Side, price: int, kwh: int
) -> None:
    """P14, of volume, last price and interval; `mid_last` knows no such law."""
    before = kernel.cleared(orders)
    after = kernel.cleared([*orders, Order("new", side, price, kwh, len(orders))])

    assert after.volume_kwh >= before.volume_kwh
    if before.interval_ticks is None or after.interval_ticks is None:
        return
    if side is Side.BUY:
        assert (after.last_ask_ticks or 0) >= (before.last_ask_ticks or 0)
        assert all(now >= then for now, then in zip(after.interval_ticks, before.interval_ticks, strict=True))
    else:
        assert (after.last_bid_ticks or 0) <= (before.last_bid_ticks or 0)
        assert all(now <= then for now, then in zip(after.interval_ticks, before.interval_ticks, strict=True))


def test_the_mean_of_the_last_pair_may_fall_when_demand_rises() -> None:
    """market.md 2.2, CA-121 and CA-122: why the marginal price is shown beside it."""
    base = [
        Order("B1", Side.BUY, 40000, 10, 1),
        Order("S1", Side.SELL, 30000, 10, 2),
        Order("S2", Side.SELL, 31000, 10, 3),
    ]
    more = [*base, Order("B2", Side.BUY, 32000, 10, 4)]

    assert [price_ticks(kernel.cleared(each), PriceRule.MID_LAST) for each in (base, more)] == [35000, 31500]
    assert [price_ticks(kernel.cleared(each), PriceRule.MARGINAL) for each in (base, more)] == [30500, 31500]


@given(books())
def test_who_got_nothing_may_as_well_have_stayed_away(orders: list[Order]) -> None:
    """P15."""
    clearing = kernel.cleared(orders)
    filled = clearing.filled_kwh()
    for absent in orders:
        if absent.id not in filled:
            without = kernel.cleared([order for order in orders if order is not absent])
            assert without.filled_kwh() == filled
            assert (without.last_bid_ticks, without.last_ask_ticks) == (
                clearing.last_bid_ticks,
                clearing.last_ask_ticks,
            )


@given(books(), st.data())
def test_an_order_in_two_parts_gets_what_it_would_have_got(orders: list[Order], data: st.DataObject) -> None:
    """P16."""
    if not orders:
        return
    whole = data.draw(st.sampled_from(orders))
    first_kwh = data.draw(st.integers(0, whole.quantity_kwh))
    wide = [replace(order, seq=2 * order.seq) for order in orders]
    parts = [
        replace(whole, id="a", seq=2 * whole.seq, quantity_kwh=first_kwh),
        replace(whole, id="b", seq=2 * whole.seq + 1, quantity_kwh=whole.quantity_kwh - first_kwh),
    ]

    one, two = kernel.cleared(wide), kernel.cleared([o for o in wide if o.id != whole.id] + parts)

    got = two.filled_kwh()
    assert one.filled_kwh().get(whole.id, 0) == got.get("a", 0) + got.get("b", 0)
    assert (one.volume_kwh, one.interval_ticks) == (two.volume_kwh, two.interval_ticks)


@given(books(), st.integers(1, 1000), st.integers(0, 10**6))
def test_other_units_and_another_zero_change_the_result_alike(orders: list[Order], c: int, up: int) -> None:
    """P17, P18."""
    clearing = kernel.cleared(orders)
    more = kernel.cleared([replace(order, quantity_kwh=c * order.quantity_kwh) for order in orders])
    above = [replace(order, price_ticks=order.price_ticks + 5 + up) for order in orders]
    base = [replace(order, price_ticks=order.price_ticks + 5) for order in orders]

    assert more.filled_kwh() == {name: c * kwh for name, kwh in clearing.filled_kwh().items()}
    for rule in PriceRule:
        one, two = price_ticks(kernel.cleared(base), rule), price_ticks(kernel.cleared(above), rule)
        assert two == (None if one is None else one + up)


MIRRORED = {
    PriceRule.MID_LAST: PriceRule.MID_LAST,
    PriceRule.MARGINAL: PriceRule.MARGINAL,
    PriceRule.CROSS_OR_MID: PriceRule.CROSS_OR_MID,
    PriceRule.SELLER: PriceRule.BUYER,
    PriceRule.BUYER: PriceRule.SELLER,
}


@given(books(), margins)
def test_buyers_and_sellers_are_treated_alike(orders: list[Order], at_margin: AtMargin) -> None:
    """P19: swap the sides and the sign of every price, and only the signs of the result change."""
    other = [
        replace(o, side=Side.SELL if o.side is Side.BUY else Side.BUY, price_ticks=-o.price_ticks)
        for o in orders
    ]
    one, two = kernel.cleared(orders, at_margin), kernel.cleared(other, at_margin)

    assert one.fills == two.fills
    for rule, mirrored in MIRRORED.items():
        price = price_ticks(one, rule)
        assert price_ticks(two, mirrored) == (None if price is None else -price)


@given(books(), books(), books())
def test_periods_know_nothing_of_each_other(one: list[Order], two: list[Order], other: list[Order]) -> None:
    """P20."""

    def first(beside: list[Order]) -> object:
        periods = {"1": one, "2": beside}
        cleared = casebook.clear(periods, PriceRule.MID_LAST, AtMargin.TIME, is_paired=True)
        return cleared[0].document()

    assert first(two) == first(other)


@given(books(), st.data())
def test_the_same_book_has_the_same_hashes_in_any_list(orders: list[Order], data: st.DataObject) -> None:
    """P21; and another book another one."""
    shuffled = data.draw(st.permutations(orders))

    def hashes(listed: list[Order]) -> tuple[str, str]:
        cleared = casebook.clear({"1": listed}, PriceRule.MARGINAL, AtMargin.PRORATA, is_paired=True)
        return orders_sha256(listed), casebook.result_sha256([each.document() for each in cleared])

    assert hashes(orders) == hashes(shuffled)
    if orders:
        changed = [replace(orders[0], quantity_kwh=orders[0].quantity_kwh + 1), *orders[1:]]
        assert orders_sha256(changed) != orders_sha256(orders)
