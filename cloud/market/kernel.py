"""Clearing of one period in arrays: the same results as `auction`, for books of a million orders. Pure, no float.

Two ways to the same result. Sorting: price and place packed into one 64-bit number a side, one sort, running sums.
Counting: quantity summed by price level, where the prices lie in a band; only the two marginal levels are ordered.
Whatever would not fit into 62 bits goes to `auction`, which knows no bounds. market.md 2.6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloud.market import auction
from cloud.market.auction import AtMargin, Clearing, Fill, Order, Pair, PriceRule, Side

Whole = NDArray[np.int64]
BITS: Final = 62  # every sum and product stays below 2^62
LEVELS_MAX: Final = 1 << 20  # of prices, for counting
COUNTED_LEVELS: Final = 1  # price levels per order up to which counting pays
EXACT_FLOAT: Final = 1 << 53


@dataclass(frozen=True, slots=True)
class Book:
    """The orders of one period as columns of equal length; ids are the places in the columns."""

    is_buy: NDArray[np.bool_]
    price_ticks: Whole
    quantity_kwh: Whole
    seq: Whole

    def __post_init__(self) -> None:
        if len({len(self.is_buy), len(self.price_ticks), len(self.quantity_kwh), len(self.seq)}) != 1:
            raise ValueError("the columns of a book are equally long")
        if len(self.quantity_kwh) and int(self.quantity_kwh.min()) < 0:
            raise ValueError("a quantity is never negative")


@dataclass(frozen=True, slots=True)
class Result:
    """What `auction.Clearing` holds, with one filled quantity per place."""

    volume_kwh: int
    last_bid_ticks: int | None
    last_ask_ticks: int | None
    bid_out_ticks: int | None
    ask_out_ticks: int | None
    filled_kwh: Whole

    def clearing(self, ids: Sequence[str] = ()) -> Clearing:
        """The same as a `Clearing`; without ids it has no fills."""
        filled = self.filled_kwh.tolist() if ids else []
        return Clearing(
            self.volume_kwh,
            self.last_bid_ticks,
            self.last_ask_ticks,
            self.bid_out_ticks,
            self.ask_out_ticks,
            tuple(map(Fill, ids, filled)),
        )

    def price_ticks(self, rule: PriceRule) -> int | None:
        """The uniform price; None without a trade."""
        return auction.price_ticks(self.clearing(), rule)


@dataclass(frozen=True, slots=True)
class Pairs:
    """High-low pairs as columns: places of buyer and seller, quantity, and their limits."""

    buyer: Whole
    seller: Whole
    quantity_kwh: Whole
    bid_ticks: Whole
    ask_ticks: Whole

    def price_ticks(self) -> Whole:
        """The mean of bid and ask of each pair, half away from zero."""
        total = self.bid_ticks + self.ask_ticks
        mean: Whole = np.sign(total) * ((np.abs(total) + 1) // 2)
        return mean


@dataclass(frozen=True, slots=True)
class _Ranked:
    """One side in priority: places in the book, prices and running sums of quantity."""

    place: Whole
    price_ticks: Whole
    quantity_kwh: Whole
    reached_kwh: Whole


def book_of(orders: Sequence[Order]) -> Book:
    """Columns of a list of orders. Raises OverflowError above 63 bits."""
    count, buy = len(orders), Side.BUY
    return Book(
        np.fromiter((order.side is buy for order in orders), np.bool_, count),
        np.fromiter((order.price_ticks for order in orders), np.int64, count),
        np.fromiter((order.quantity_kwh for order in orders), np.int64, count),
        np.fromiter((order.seq for order in orders), np.int64, count),
    )


def cleared(orders: Iterable[Order], at_margin: AtMargin = AtMargin.TIME) -> Clearing:
    """Clear one period; exactly what `auction.cleared` gives."""
    listed = tuple(orders)
    try:
        book = book_of(listed)
    except OverflowError:
        return auction.cleared(listed, at_margin)
    return clear(book, at_margin).clearing([order.id for order in listed])


def paired(orders: Iterable[Order]) -> tuple[Pair, ...]:
    """Match high with low; exactly what `auction.paired` gives."""
    listed = tuple(orders)
    try:
        found = pair(book_of(listed))
    except OverflowError:
        return auction.paired(listed)
    return tuple(
        Pair(listed[buyer].id, listed[seller].id, kwh, bid, ask)
        for buyer, seller, kwh, bid, ask in zip(
            found.buyer.tolist(),
            found.seller.tolist(),
            found.quantity_kwh.tolist(),
            found.bid_ticks.tolist(),
            found.ask_ticks.tolist(),
            strict=True,
        )
    )


def clear(book: Book, at_margin: AtMargin = AtMargin.TIME) -> Result:
    """Clear columns by the way that is quicker for them."""
    if not _fits(book):
        return _unbounded(book, at_margin)
    if len(book.seq) and _levels(book) <= COUNTED_LEVELS * len(book.seq) and _is_countable(book):
        return by_counting(book, at_margin)
    return by_sorting(book, at_margin)


def by_sorting(book: Book, at_margin: AtMargin = AtMargin.TIME) -> Result:
    """Clear by one sort per side: O(n log n), any prices."""
    if not _fits(book):
        return _unbounded(book, at_margin)
    bids, asks = _ranked(book, Side.BUY), _ranked(book, Side.SELL)
    volume_kwh = _volume(bids, asks)
    filled = np.zeros(len(book.seq), np.int64)
    if not volume_kwh:
        return Result(0, None, None, None, None, filled)
    for side in (bids, asks):
        own = volume_kwh - (side.reached_kwh - side.quantity_kwh)
        filled[side.place] = np.clip(own, 0, side.quantity_kwh)
        if at_margin is AtMargin.PRORATA:
            _share_level(filled, side, volume_kwh)
    bid, bid_out = _around(bids, volume_kwh)
    ask, ask_out = _around(asks, volume_kwh)
    return Result(volume_kwh, bid, ask, bid_out, ask_out, filled)


def by_counting(book: Book, at_margin: AtMargin = AtMargin.TIME) -> Result:
    """Clear by sums per price level: O(n + levels), where the prices lie in a band.

    Raises ValueError where they do not.
    """
    if not _fits(book):
        return _unbounded(book, at_margin)
    if not len(book.seq):
        return Result(0, None, None, None, None, book.quantity_kwh)
    if not _is_countable(book):
        raise ValueError("too many price levels or too much quantity to count")
    low, levels = int(book.price_ticks.min()), _levels(book)
    index = book.price_ticks - low + book.is_buy * levels  # the asks' levels, then the bids'
    # bincount adds in binary64: exact below 2^53.
    total = np.bincount(index, weights=book.quantity_kwh, minlength=2 * levels).astype(np.int64)
    sold, bought = total[:levels], total[levels:]
    supply, demand = np.cumsum(sold), np.cumsum(bought[::-1])[::-1]
    volume_kwh = int(np.minimum(demand, supply).max())
    if not volume_kwh:
        return Result(0, None, None, None, None, np.zeros(len(index), np.int64))
    bid, bid_out = (_last(bought, reached) for reached in (demand >= volume_kwh, demand > volume_kwh))
    ask, ask_out = (
        _last(sold[::-1], reached[::-1]) for reached in (supply >= volume_kwh, supply > volume_kwh)
    )
    assert bid is not None
    assert ask is not None
    ask, ask_out = levels - 1 - ask, None if ask_out is None else levels - 1 - ask_out
    is_better = np.zeros(2 * levels, np.bool_)
    is_better[:ask] = is_better[levels + bid + 1 :] = True
    filled = book.quantity_kwh * is_better[index]
    for marginal, left_kwh in (
        (ask, volume_kwh - int(supply[ask] - sold[ask])),
        (levels + bid, volume_kwh - int(demand[bid] - bought[bid])),
    ):
        place = np.flatnonzero(index == marginal)
        place = place[np.argsort(book.seq[place], kind="stable")]
        filled[place] = _cut(book.quantity_kwh[place], left_kwh, at_margin)
    return Result(
        volume_kwh,
        bid + low,
        ask + low,
        None if bid_out is None else bid_out + low,
        None if ask_out is None else ask_out + low,
        filled,
    )


def pair(book: Book) -> Pairs:
    """Match the best bid with the best ask for the smaller rest, in columns. Raises OverflowError above 62 bits."""
    if not _fits(book):
        raise OverflowError("too much quantity for 62 bits")
    bids, asks = _ranked(book, Side.BUY), _ranked(book, Side.SELL)
    volume_kwh = _volume(bids, asks)
    ends = [np.array([volume_kwh] if volume_kwh else [], np.int64)]
    for side in (bids, asks):
        count = int(np.searchsorted(side.reached_kwh, volume_kwh, side="left"))
        ends.append(side.reached_kwh[:count])
    end = np.sort(np.concatenate(ends), kind="stable")  # two sorted runs: merged, not sorted anew
    if len(end):
        end = end[np.concatenate(([True], end[1:] != end[:-1]))]
    quantity = np.diff(end, prepend=0)
    buyer, seller = (np.searchsorted(side.reached_kwh, end, side="left") for side in (bids, asks))
    return Pairs(
        bids.place[buyer], asks.place[seller], quantity, bids.price_ticks[buyer], asks.price_ticks[seller]
    )


def _fits(book: Book) -> bool:
    """Whether sums of quantity, and sums and differences of prices, stay within the bits."""
    if not len(book.seq):
        return True
    prices = int(book.price_ticks.max()), int(book.price_ticks.min())
    if max(map(abs, prices)) >= 1 << (BITS - 2):
        return False
    most = int(book.quantity_kwh.max())
    return most * len(book.seq) < 1 << BITS or sum(book.quantity_kwh.tolist()) < 1 << BITS


def _levels(book: Book) -> int:
    return int(book.price_ticks.max()) - int(book.price_ticks.min()) + 1


def _is_countable(book: Book) -> bool:
    return _levels(book) <= LEVELS_MAX and int(book.quantity_kwh.sum()) < EXACT_FLOAT


def _last(quantity_kwh: Whole, is_reached: NDArray[np.bool_]) -> int | None:
    """The last level with quantity of which a claim holds."""
    found = np.flatnonzero(is_reached & (quantity_kwh > 0))
    return int(found[-1]) if len(found) else None


def _unbounded(book: Book, at_margin: AtMargin) -> Result:
    columns = zip(
        book.is_buy.tolist(),
        book.price_ticks.tolist(),
        book.quantity_kwh.tolist(),
        book.seq.tolist(),
        strict=True,
    )
    orders = (
        Order(str(place), Side.BUY if is_buy else Side.SELL, price, kwh, seq)
        for place, (is_buy, price, kwh, seq) in enumerate(columns)
    )
    found = auction.cleared(orders, at_margin)
    return Result(
        found.volume_kwh,
        found.last_bid_ticks,
        found.last_ask_ticks,
        found.bid_out_ticks,
        found.ask_out_ticks,
        np.array([fill.quantity_kwh for fill in found.fills], np.int64),
    )


def _ranked(book: Book, side: Side) -> _Ranked:
    """Order one side by price and seq; orders of nothing are left out."""
    own = book.is_buy if side is Side.BUY else ~book.is_buy
    place = np.flatnonzero(own & (book.quantity_kwh > 0))
    seq = book.seq[place]
    if len(seq) > 1 and not bool(np.all(seq[1:] > seq[:-1])):
        place = place[np.argsort(seq, kind="stable")]
    price = book.price_ticks[place]
    if not len(place):
        return _Ranked(place, price, price, price)
    best = int(price.max()) if side is Side.BUY else int(price.min())
    away = best - price if side is Side.BUY else price - best
    bits = len(place).bit_length()
    if int(away.max()).bit_length() + bits <= BITS:
        key = (away << bits) | np.arange(len(place))
        key.sort()
        rank, away = key & ((1 << bits) - 1), key >> bits
        price = best - away if side is Side.BUY else away + best
    else:
        rank = np.argsort(away, kind="stable")
        price = price[rank]
    place = place[rank]
    quantity_kwh = book.quantity_kwh[place]
    return _Ranked(place, price, quantity_kwh, np.cumsum(quantity_kwh))


def _volume(bids: _Ranked, asks: _Ranked) -> int:
    """The largest volume that both sides accept at one price.

    Down the bids, demand grows and the supply at their price falls: the best is where the two meet.
    """
    if not len(bids.place) or not len(asks.place):
        return 0

    def supply(bid: int) -> int:
        count = int(np.searchsorted(asks.price_ticks, bids.price_ticks[bid], side="right"))
        return int(asks.reached_kwh[count - 1]) if count else 0

    met = _first(len(bids.place), lambda bid: int(bids.reached_kwh[bid]) >= supply(bid))
    before_kwh = int(bids.reached_kwh[met - 1]) if met else 0
    return before_kwh if met == len(bids.place) else max(before_kwh, supply(met))


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """The first number below `count` for which a claim holds that goes on to hold; else `count`."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _around(side: _Ranked, volume_kwh: int) -> tuple[int, int | None]:
    """The price of the last kWh that traded and of the first that did not."""
    last = int(np.searchsorted(side.reached_kwh, volume_kwh, side="left"))
    beyond = int(np.searchsorted(side.reached_kwh, volume_kwh, side="right"))
    return int(side.price_ticks[last]), int(side.price_ticks[beyond]) if beyond < len(side.place) else None


def _share_level(filled: Whole, side: _Ranked, volume_kwh: int) -> None:
    """Share what is left at the marginal level of a side in proportion."""
    last = int(np.searchsorted(side.reached_kwh, volume_kwh, side="left"))
    marginal = int(side.price_ticks[last])
    sign = 1 if int(side.price_ticks[0]) <= int(side.price_ticks[-1]) else -1
    level = sign * side.price_ticks
    start = int(np.searchsorted(level, sign * marginal, side="left"))
    end = int(np.searchsorted(level, sign * marginal, side="right"))
    left_kwh = volume_kwh - (int(side.reached_kwh[start - 1]) if start else 0)
    filled[side.place[start:end]] = _cut(side.quantity_kwh[start:end], left_kwh, AtMargin.PRORATA)


def _cut(asked_kwh: Whole, left_kwh: int, at_margin: AtMargin) -> Whole:
    """What the orders of one level get of what is left; they stand in order of time."""
    if at_margin is AtMargin.TIME:
        in_turn: Whole = np.clip(left_kwh - (np.cumsum(asked_kwh) - asked_kwh), 0, asked_kwh)
        return in_turn
    asked = int(asked_kwh.sum())
    if left_kwh >= asked:
        return asked_kwh
    if int(asked_kwh.max()) * left_kwh >= 1 << BITS:
        return np.array(auction.prorated(left_kwh, asked_kwh.tolist()), np.int64)
    parts, remainders = np.divmod(asked_kwh * left_kwh, asked)
    over = left_kwh - int(parts.sum())
    parts[np.argsort(-remainders, kind="stable")[:over]] += 1
    return parts
