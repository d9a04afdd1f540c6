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


class Book:
    """The resting orders of one product and period; one writer. Events are answered in the order they come."""

    def __init__(self, rule: TradePrice = TradePrice.RESTING) -> None:
        self._rule = rule
        self._levels: dict[Side, dict[int, deque[_Resting]]] = {Side.BUY: {}, Side.SELL: {}}
        self._best: dict[Side, list[int]] = {Side.BUY: [], Side.SELL: []}  # heaps of prices, the best first
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
        while left_kwh and (resting := self._meeting(order)) is not None:
            if order.participant and resting.order.participant == order.participant:
                left_kwh = 0
                break
            quantity_kwh = min(left_kwh, resting.open_kwh)
            trades.append(self._trade(order, resting.order, quantity_kwh))
            left_kwh -= quantity_kwh
            self._reduce(resting, resting.open_kwh - quantity_kwh)
        if left_kwh:
            self._rest(order, left_kwh)
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

    def _meeting(self, order: Order) -> _Resting | None:
        side = Side.SELL if order.side is Side.BUY else Side.BUY
        levels, best = self._levels[side], self._best[side]
        while best:
            price_ticks = best[0] if side is Side.SELL else -best[0]
            level = levels[price_ticks]
            while level and not level[0].open_kwh:
                level.popleft()
            if level:
                met = (
                    order.price_ticks >= price_ticks
                    if side is Side.SELL
                    else order.price_ticks <= price_ticks
                )
                return level[0] if met else None
            del levels[price_ticks]
            heapq.heappop(best)
        return None

    def _trade(self, order: Order, resting: Order, quantity_kwh: int) -> Trade:
        buy, sell = (order, resting) if order.side is Side.BUY else (resting, order)
        price_ticks = resting.price_ticks
        if self._rule is TradePrice.MID:
            price_ticks = half_up(buy.price_ticks + sell.price_ticks, 2)
        elif self._rule is TradePrice.MEDIAN and self._last_ticks is not None:
            price_ticks = sorted((buy.price_ticks, sell.price_ticks, self._last_ticks))[1]
        self._last_ticks = price_ticks
        return Trade(buy.id, sell.id, quantity_kwh, price_ticks)

    def _rest(self, order: Order, open_kwh: int) -> None:
        resting = _Resting(order, open_kwh)
        self._open[order.id] = resting
        levels = self._levels[order.side]
        if order.price_ticks not in levels:
            levels[order.price_ticks] = deque()
            sign = 1 if order.side is Side.SELL else -1
            heapq.heappush(self._best[order.side], sign * order.price_ticks)
        levels[order.price_ticks].append(resting)

    def _reduce(self, resting: _Resting, open_kwh: int) -> None:
        """Set what is open; an order of nothing leaves, its place in the queue is cleared when it comes to the front."""
        resting.open_kwh = open_kwh
        if not open_kwh:
            del self._open[resting.order.id]
