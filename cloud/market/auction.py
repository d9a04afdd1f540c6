"""Call auction 集中竞价: uniform marginal clearing 统一边际出清 and high-low pairing 高低匹配. Pure, whole numbers only.

A price is a whole number of ticks, a quantity a whole number of kWh (0.001 MWh); the kernel does not care how large a
tick is. Time priority is by `seq`, never by a clock, so the same orders in any array order give the same result.
Order rules: 发改能源规〔2025〕1656号 annex 4. How the price is taken and who is cut at the margin are local conventions
and therefore parameters (market.md 1, 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Side(StrEnum):
    """Buy or sell."""

    BUY = "B"
    SELL = "S"


class PriceRule(StrEnum):
    """Where the uniform price lies between the last matched bid and ask."""

    MID_LAST = "mid_last"
    MARGINAL = "marginal"
    CROSS_OR_MID = "cross_or_mid"
    SELLER = "seller"
    BUYER = "buyer"


class AtMargin(StrEnum):
    """Who is cut at the marginal price: the later order, or everybody in proportion."""

    TIME = "time"
    PRORATA = "prorata"


@dataclass(frozen=True, slots=True)
class Order:
    """One segment of an offer or bid; the lower `seq` came earlier. Zero quantity is no order."""

    id: str
    side: Side
    price_ticks: int
    quantity_kwh: int
    seq: int
    participant: str = ""

    def __post_init__(self) -> None:
        if self.quantity_kwh < 0:
            raise ValueError(f"order {self.id}: a quantity is never negative")


@dataclass(frozen=True, slots=True)
class Fill:
    """What an order got; every order has one, also of zero."""

    order_id: str
    quantity_kwh: int


@dataclass(frozen=True, slots=True)
class Clearing:
    """The result of an auction; without a trade the prices are None and the volume is zero.

    `[low_ticks, high_ticks]` holds every price that supports the allocation; `None` as `bid_out` or `ask_out` means
    that the side is exhausted.
    """

    volume_kwh: int
    last_bid_ticks: int | None
    last_ask_ticks: int | None
    bid_out_ticks: int | None
    ask_out_ticks: int | None
    fills: tuple[Fill, ...]

    @property
    def interval_ticks(self) -> tuple[int, int] | None:
        """The lowest and the highest price at which nobody would want to trade more or less."""
        if self.last_bid_ticks is None or self.last_ask_ticks is None:
            return None
        low = (
            self.last_ask_ticks
            if self.bid_out_ticks is None
            else max(self.last_ask_ticks, self.bid_out_ticks)
        )
        high = (
            self.last_bid_ticks
            if self.ask_out_ticks is None
            else min(self.last_bid_ticks, self.ask_out_ticks)
        )
        return low, high

    def filled_kwh(self) -> dict[str, int]:
        """Order id -> quantity, of the orders that traded."""
        return {fill.order_id: fill.quantity_kwh for fill in self.fills if fill.quantity_kwh}


@dataclass(frozen=True, slots=True)
class Pair:
    """One match of the best bid left with the best ask left."""

    buy_id: str
    sell_id: str
    quantity_kwh: int
    bid_ticks: int
    ask_ticks: int

    @property
    def price_ticks(self) -> int:
        """The mean of bid and ask, half away from zero."""
        return half_up(self.bid_ticks + self.ask_ticks, 2)


def cleared(orders: Iterable[Order], at_margin: AtMargin = AtMargin.TIME) -> Clearing:
    """Clear one period: the largest volume that buyers and sellers both accept at one price.

    Orders better than the marginal level are filled in full; at the level `at_margin` decides. Ids are unique.
    """
    listed = tuple(orders)
    bids, asks = priority(listed, Side.BUY), priority(listed, Side.SELL)
    matched = _paired(bids, asks)
    volume_kwh = sum(pair.quantity_kwh for pair in matched)
    if not matched:
        return Clearing(0, None, None, None, None, tuple(Fill(order.id, 0) for order in listed))
    filled = _filled(bids, volume_kwh, at_margin) | _filled(asks, volume_kwh, at_margin)
    return Clearing(
        volume_kwh,
        last_bid_ticks=matched[-1].bid_ticks,
        last_ask_ticks=matched[-1].ask_ticks,
        bid_out_ticks=_beyond(bids, volume_kwh),
        ask_out_ticks=_beyond(asks, volume_kwh),
        fills=tuple(Fill(order.id, filled.get(order.id, 0)) for order in listed),
    )


def price_ticks(clearing: Clearing, rule: PriceRule) -> int | None:
    """Take the uniform price; None without a trade.

    `MARGINAL` is the price of the side that is cut, else the middle of the supporting interval; `CROSS_OR_MID` is
    that where both sides have quantity left, else the mean of the last pair.
    """
    bid, ask, interval = clearing.last_bid_ticks, clearing.last_ask_ticks, clearing.interval_ticks
    if bid is None or ask is None or interval is None:
        return None
    match rule:
        case PriceRule.BUYER:
            return bid
        case PriceRule.SELLER:
            return ask
        case PriceRule.MID_LAST:
            return half_up(bid + ask, 2)
        case PriceRule.CROSS_OR_MID if clearing.bid_out_ticks is None or clearing.ask_out_ticks is None:
            return half_up(bid + ask, 2)
    if clearing.bid_out_ticks == bid:
        return bid
    if clearing.ask_out_ticks == ask:
        return ask
    return half_up(sum(interval), 2)


def paired(orders: Iterable[Order]) -> tuple[Pair, ...]:
    """Match the best bid with the best ask for the smaller rest, until they no longer meet (高低匹配)."""
    listed = tuple(orders)
    return _paired(priority(listed, Side.BUY), priority(listed, Side.SELL))


def priority(orders: Iterable[Order], side: Side) -> tuple[Order, ...]:
    """The orders of one side, best price first, the earlier first at the same price; empty ones left out."""
    own = (order for order in orders if order.side is side and order.quantity_kwh)
    sign = -1 if side is Side.BUY else 1
    return tuple(sorted(own, key=lambda order: (sign * order.price_ticks, order.seq)))


def prorated(whole_kwh: int, asked_kwh: Sequence[int]) -> tuple[int, ...]:
    """Share a whole in proportion to what is asked, nobody above it; units left over go to the largest remainders.

    Ties go to the earlier in the list, so put it in order of time.
    """
    asked = sum(asked_kwh)
    if whole_kwh >= asked:
        return tuple(asked_kwh)
    parts = [whole_kwh * each // asked for each in asked_kwh]
    order = sorted(range(len(parts)), key=lambda index: (-(whole_kwh * asked_kwh[index] % asked), index))
    for index in order[: whole_kwh - sum(parts)]:
        parts[index] += 1
    return tuple(parts)


def half_up(dividend: int, divisor: int) -> int:
    """Divide and round half away from zero."""
    sign = -1 if (dividend < 0) != (divisor < 0) else 1
    return sign * ((2 * abs(dividend) + abs(divisor)) // (2 * abs(divisor)))


def _paired(bids: Sequence[Order], asks: Sequence[Order]) -> tuple[Pair, ...]:
    pairs: list[Pair] = []
    bought_kwh = sold_kwh = buyer = seller = 0
    while buyer < len(bids) and seller < len(asks) and bids[buyer].price_ticks >= asks[seller].price_ticks:
        bid, ask = bids[buyer], asks[seller]
        quantity_kwh = min(bid.quantity_kwh - bought_kwh, ask.quantity_kwh - sold_kwh)
        pairs.append(Pair(bid.id, ask.id, quantity_kwh, bid.price_ticks, ask.price_ticks))
        bought_kwh, sold_kwh = bought_kwh + quantity_kwh, sold_kwh + quantity_kwh
        if bought_kwh == bid.quantity_kwh:
            buyer, bought_kwh = buyer + 1, 0
        if sold_kwh == ask.quantity_kwh:
            seller, sold_kwh = seller + 1, 0
    return tuple(pairs)


def _beyond(side: Sequence[Order], volume_kwh: int) -> int | None:
    """The price of the first kWh of a side that did not trade."""
    reached_kwh = 0
    for order in side:
        reached_kwh += order.quantity_kwh
        if reached_kwh > volume_kwh:
            return order.price_ticks
    return None


def _filled(side: Sequence[Order], volume_kwh: int, at_margin: AtMargin) -> dict[str, int]:
    filled: dict[str, int] = {}
    left_kwh, start = volume_kwh, 0
    while left_kwh and start < len(side):
        end = start
        while end < len(side) and side[end].price_ticks == side[start].price_ticks:
            end += 1
        level = side[start:end]
        asked = [order.quantity_kwh for order in level]
        got = prorated(left_kwh, asked) if at_margin is AtMargin.PRORATA else _in_turn(left_kwh, asked)
        filled |= {order.id: quantity for order, quantity in zip(level, got, strict=True)}
        left_kwh -= sum(got)
        start = end
    return filled


def _in_turn(whole_kwh: int, asked_kwh: Sequence[int]) -> tuple[int, ...]:
    got: list[int] = []
    for asked in asked_kwh:
        got.append(min(asked, whole_kwh - sum(got)))
    return tuple(got)
