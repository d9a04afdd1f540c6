"""Clearing of one period in arrays: the same results as `auction`, for books of a million orders. Pure, no float.

Levels of price and side are stacked upwards, at one price the asks below the bids. Where the running sum of all quantity
reaches all that is bid, supply meets demand: asks below and bids above that level get all they want, those of the level
share the rest. The stack comes of sorting the orders, or of counting where the prices lie in a band.
Whatever would not fit into 62 bits goes to `auction`, which knows no bounds. market.md 2.6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

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


class _Bounds(NamedTuple):
    """The lowest and highest price, and the largest quantity."""

    low_ticks: int
    high_ticks: int
    most_kwh: int


class _Stack(NamedTuple):
    """The level of every order, 2 x the price above `base_ticks`, and one more for a bid; and from below all that want anything."""

    level: Whole  # by place in the book
    levels: Whole  # ascending, a level of several orders may be there several times
    quantity_kwh: Whole
    base_ticks: int

    def price_ticks(self, is_own: NDArray[np.bool_], run: slice) -> int | None:
        """The price of the first level of a side in a run of the stack."""
        own = is_own[run]
        if not len(own) or not own[first := own.argmax()]:
            return None
        return int(self.levels[run][first] >> 1) + self.base_ticks


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
    bounds = _bounds(book)
    if bounds is None:
        return _unbounded(book, at_margin)
    is_dense = bounds.high_ticks - bounds.low_ticks < COUNTED_LEVELS * len(book.seq)
    stacked = _counted if is_dense and _is_countable(book, bounds) else _sorted
    return _met(book, stacked(book, bounds), at_margin)


def by_sorting(book: Book, at_margin: AtMargin = AtMargin.TIME) -> Result:
    """Clear by one sort: O(n log n), any prices."""
    bounds = _bounds(book)
    return _unbounded(book, at_margin) if bounds is None else _met(book, _sorted(book, bounds), at_margin)


def by_counting(book: Book, at_margin: AtMargin = AtMargin.TIME) -> Result:
    """Clear by sums per price level: O(n + levels), where the prices lie in a band.

    Raises ValueError where they do not.
    """
    bounds = _bounds(book)
    if bounds is None:
        return _unbounded(book, at_margin)
    if not _is_countable(book, bounds):
        raise ValueError("too many price levels or too much quantity to count")
    return _met(book, _counted(book, bounds), at_margin)


def pair(book: Book) -> Pairs:
    """Match the best bid with the best ask for the smaller rest, in columns. Raises OverflowError above 62 bits."""
    if _bounds(book) is None:
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


def _bounds(book: Book) -> _Bounds | None:
    """None where sums of quantity or differences of prices may go beyond the bits."""
    if not len(book.seq):
        return _Bounds(0, 0, 0)
    prices, most = book.price_ticks, int(book.quantity_kwh.max())
    bounds = _Bounds(int(prices.min()), int(prices.max()), most)
    if max(-bounds.low_ticks, bounds.high_ticks) >= 1 << (BITS - 2):
        return None
    fits = most * len(prices) < 1 << BITS or sum(book.quantity_kwh.tolist()) < 1 << BITS
    return bounds if fits else None


def _is_countable(book: Book, bounds: _Bounds) -> bool:
    is_narrow = bounds.high_ticks - bounds.low_ticks < LEVELS_MAX
    return is_narrow and int(book.quantity_kwh.sum()) < EXACT_FLOAT


def _sorted(book: Book, bounds: _Bounds) -> _Stack:
    level = (book.price_ticks << 1) + book.is_buy
    bits = bounds.most_kwh.bit_length()
    if 1 + max(-bounds.low_ticks, bounds.high_ticks).bit_length() + bits <= BITS:
        key = level << bits | book.quantity_kwh
        key.sort()
        levels, quantity_kwh = key >> bits, key & ((1 << bits) - 1)
    else:
        rank = np.argsort(level)
        levels, quantity_kwh = level[rank], book.quantity_kwh[rank]
    if np.count_nonzero(quantity_kwh) < len(quantity_kwh):
        wanted = np.flatnonzero(quantity_kwh)
        levels, quantity_kwh = levels[wanted], quantity_kwh[wanted]
    return _Stack(level, levels, quantity_kwh, 0)


def _counted(book: Book, bounds: _Bounds) -> _Stack:
    level = (book.price_ticks - bounds.low_ticks << 1) + book.is_buy
    # bincount adds in binary64: exact below 2^53.
    total = np.bincount(level, weights=book.quantity_kwh, minlength=1)
    levels = np.flatnonzero(total)
    return _Stack(level, levels, total[levels].astype(np.int64), bounds.low_ticks)


def _met(book: Book, stack: _Stack, at_margin: AtMargin) -> Result:
    """Find the level at which supply meets demand, and give every order its part."""
    levels, is_bid, reached = stack.levels, stack.levels & 1, stack.quantity_kwh.cumsum()
    bought = int(stack.quantity_kwh @ is_bid)
    if not bought:
        return _nothing(book)
    level = int(levels[reached.searchsorted(bought)])
    start, end = int(levels.searchsorted(level)), int(levels.searchsorted(level, "right"))
    before, upto = int(reached[start - 1]) if start else 0, int(reached[end - 1])
    part = upto - bought if level & 1 else bought - before
    volume_kwh = int(stack.quantity_kwh[end:] @ is_bid[end:]) + (part if level & 1 else 0)
    if not volume_kwh:
        return _nothing(book)
    filled = book.quantity_kwh * ((stack.level > level) == book.is_buy)
    (place,) = (stack.level == level).nonzero()
    if len(place) > 1:
        place = place[np.argsort(book.seq[place], kind="stable")]
        filled[place] = _cut(book.quantity_kwh[place], part, at_margin)
    else:
        filled[place] = part
    bids, down = is_bid.astype(np.bool_), slice(end - 1, None, -1)
    asks = ~bids
    return Result(
        volume_kwh,
        stack.price_ticks(bids, slice(start if part else end, None)),
        stack.price_ticks(asks, down),
        stack.price_ticks(bids, down),
        stack.price_ticks(asks, slice(start if part < upto - before else end, None)),
        filled,
    )


def _nothing(book: Book) -> Result:
    return Result(0, None, None, None, None, np.zeros(len(book.seq), np.int64))


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
