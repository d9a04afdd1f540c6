"""Rolling matching 滚动撮合: an incoming order meets the resting ones. Pure, whole numbers only.

The best price on the other side first, then the earlier order (对手方价格优先、时间优先, 发改能源规〔2025〕1656号 annex 5);
a fill is at the resting order's price unless the session says otherwise. One book per product and period.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from cloud.market.auction import Order, Side, half_up

_BUY = Side.BUY  # in a million events a lookup in the class of an enumeration tells


class TradePrice(StrEnum):
    """Whose price a trade gets."""

    RESTING = "resting"
    MEDIAN = "median"  # of bid, ask and the book's last trade; RESTING before the first
    MID = "mid"


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill of an incoming order against a resting one."""

    buy_id: str
    sell_id: str
    quantity_kwh: int
    price_ticks: int


@dataclass(slots=True)
class _Resting:
    """An order in the book and what is still open of it."""

    order: Order
    open_kwh: int


class _Queue:
    """One side of a book: price -> orders in order of time; the best price first. What left is cleared when it is met."""

    __slots__ = ("_levels", "_prices", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign  # price x sign: the lower the better
        self._levels: dict[int, deque[_Resting]] = {}
        self._prices: list[int] = []  # a heap of price x sign

    def first(self) -> _Resting | None:
        """The oldest order at the best price."""
        prices = self._prices
        while prices:
            best = prices[0]
            level = self._levels[best]
            while level:
                if level[0].open_kwh:
                    return level[0]
                level.popleft()
            del self._levels[best]
            heapq.heappop(prices)
        return None

    def append(self, resting: _Resting) -> None:
        """Queue an order behind the others of its price."""
        price = resting.order.price_ticks * self.sign
        level = self._levels.get(price)
        if level is None:
            self._levels[price] = deque((resting,))
            heapq.heappush(self._prices, price)
        else:
            level.append(resting)


class Book:
    """The resting orders of one product and period; one writer. Events are answered in the order they come."""

    def __init__(self, rule: TradePrice = TradePrice.RESTING) -> None:
        self._rule = rule
        self._is_resting_price = rule is TradePrice.RESTING
        self._bids, self._asks = _Queue(-1), _Queue(1)
        self._open: dict[str, _Resting] = {}
        self._last_ticks: int | None = None

    def add(self, order: Order) -> tuple[Trade, ...]:
        """Trade the order as far as prices meet; what is left of it rests.

        Meeting an order of the same participant ends the trading and cancels the rest of the incoming order.
        """
        if order.id in self._open:
            raise ValueError(f"order {order.id} is in the book already")
        trades: list[Trade] = []
        left_kwh = order.quantity_kwh
        is_buy = order.side is _BUY
        other = self._asks if is_buy else self._bids
        worst = order.price_ticks * other.sign
        while left_kwh and (resting := other.first()) is not None:
            if resting.order.price_ticks * other.sign > worst:
                break
            if order.participant and resting.order.participant == order.participant:
                left_kwh = 0
                break
            open_kwh = resting.open_kwh
            quantity_kwh = left_kwh if left_kwh < open_kwh else open_kwh
            trades.append(self._trade(order, resting.order, quantity_kwh))
            left_kwh -= quantity_kwh
            resting.open_kwh = open_kwh - quantity_kwh
            if open_kwh == quantity_kwh:
                del self._open[resting.order.id]
        if left_kwh:
            self._open[order.id] = resting = _Resting(order, left_kwh)
            (self._bids if is_buy else self._asks).append(resting)
        return tuple(trades)

    def cancel(self, order_id: str) -> int:
        """Take an order out; the quantity cancelled, zero when it is not in the book."""
        resting = self._open.get(order_id)
        if resting is None:
            return 0
        open_kwh = resting.open_kwh
        self._reduce(resting, 0)
        return open_kwh

    def replace(self, order: Order) -> tuple[Trade, ...]:
        """Change price and open quantity of a resting order; nothing when it is not in the book.

        The same price and no more quantity keeps its place in time; anything else is a new order.
        """
        resting = self._open.get(order.id)
        if resting is None:
            return ()
        if resting.order.price_ticks == order.price_ticks and order.quantity_kwh <= resting.open_kwh:
            self._reduce(resting, order.quantity_kwh)
            return ()
        self._reduce(resting, 0)
        return self.add(order)

    def resting(self) -> tuple[tuple[Order, int], ...]:
        """The orders in the book with their open quantities, in the order in which they came to rest."""
        return tuple((each.order, each.open_kwh) for each in self._open.values())

    def _trade(self, order: Order, resting: Order, quantity_kwh: int) -> Trade:
        buy, sell = (order, resting) if order.side is _BUY else (resting, order)
        price_ticks = resting.price_ticks
        if self._is_resting_price:
            return Trade(buy.id, sell.id, quantity_kwh, price_ticks)
        if self._rule is TradePrice.MID:
            price_ticks = half_up(buy.price_ticks + sell.price_ticks, 2)
        elif self._rule is TradePrice.MEDIAN and self._last_ticks is not None:
            price_ticks = sorted((buy.price_ticks, sell.price_ticks, self._last_ticks))[1]
        self._last_ticks = price_ticks
        return Trade(buy.id, sell.id, quantity_kwh, price_ticks)

    def _reduce(self, resting: _Resting, open_kwh: int) -> None:
        """Set what is open; an order of nothing leaves, its place in the queue is cleared when it comes to the front."""
        resting.open_kwh = open_kwh
        if not open_kwh:
            del self._open[resting.order.id]
