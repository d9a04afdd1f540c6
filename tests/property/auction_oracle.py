"""Auctions and rolling books by the slowest honest way, straight from the definitions of market.md 2 and 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloud.market.auction import AtMargin, Order, Side
from cloud.market.rolling import TradePrice

Event = tuple[str, str, Side, int, int]  # op, id, side, price, quantity


@dataclass(frozen=True)
class Outcome:
    """What the definition gives."""

    volume: int
    last_bid: int | None
    last_ask: int | None
    interval: tuple[int, int] | None
    fills: dict[str, int]


def cleared(orders: Sequence[Order], at_margin: AtMargin) -> Outcome:
    """Try every price, then fill one unit of priority after the other."""
    bids = [o for o in orders if o.side is Side.BUY and o.quantity_kwh]
    asks = [o for o in orders if o.side is Side.SELL and o.quantity_kwh]
    prices = sorted({o.price_ticks for o in bids + asks})
    demand = {p: sum(o.quantity_kwh for o in bids if o.price_ticks >= p) for p in prices}
    supply = {p: sum(o.quantity_kwh for o in asks if o.price_ticks <= p) for p in prices}
    volume = max((min(demand[p], supply[p]) for p in prices), default=0)
    if not volume:
        return Outcome(0, None, None, None, {})
    # A price supports the volume if nobody beyond it wants more and everybody within it is served.
    last_bid = max(o.price_ticks for o in bids if demand[o.price_ticks] >= volume)
    last_ask = min(o.price_ticks for o in asks if supply[o.price_ticks] >= volume)
    unmet_bids = [o.price_ticks for o in bids if demand[o.price_ticks] > volume]
    unmet_asks = [o.price_ticks for o in asks if supply[o.price_ticks] > volume]
    interval = max([last_ask, *unmet_bids]), min([last_bid, *unmet_asks])
    fills = filled(bids, volume, -1, at_margin) | filled(asks, volume, 1, at_margin)
    return Outcome(volume, last_bid, last_ask, interval, fills)


def filled(side: Sequence[Order], volume: int, sign: int, at_margin: AtMargin) -> dict[str, int]:
    got: dict[str, int] = {}
    for price in sorted({sign * o.price_ticks for o in side}):
        level = sorted((o for o in side if sign * o.price_ticks == price), key=lambda o: o.seq)
        left = volume - sum(got.values())
        total = sum(o.quantity_kwh for o in level)
        if at_margin is AtMargin.PRORATA and left < total:
            share = {o.id: o.quantity_kwh * left // total for o in level}
            rest = {o.id: o.quantity_kwh * left % total for o in level}
            for o in sorted(level, key=lambda o: (-rest[o.id], o.seq))[: left - sum(share.values())]:
                share[o.id] += 1
            got |= share
        else:
            for o in level:
                got[o.id] = min(o.quantity_kwh, left)
                left -= got[o.id]
    return {name: kwh for name, kwh in got.items() if kwh}


def welfare_bound(orders: Sequence[Order]) -> int:
    """The optimum of the linear program by its dual: the least, over all prices, of what everybody could gain there.

    By duality no allocation is worth more, and the optimum is reached at the price of some order.
    """
    sign = {Side.BUY: 1, Side.SELL: -1}
    return min(
        (
            sum(o.quantity_kwh * max(0, sign[o.side] * (o.price_ticks - at.price_ticks)) for o in orders)
            for at in orders
        ),
        default=0,
    )


def half_up(whole: int) -> int:
    """Half of a whole number, away from zero."""
    return (abs(whole) + 1) // 2 * (1 if whole >= 0 else -1)


def rolled(
    events: Sequence[Event], rule: TradePrice
) -> tuple[list[list[object]], list[list[object]], dict[str, int]]:
    """Trades, resting orders in order of time, and what each cancel took out: a list, searched from its beginning."""
    book: list[tuple[str, Side, int, int]] = []
    trades: list[list[object]] = []
    cancelled: dict[str, int] = {}
    last: int | None = None
    for op, own, side, price, quantity in events:
        here = next((each for each in book if each[0] == own), None)
        if op == "cancel":
            cancelled[own] = here[3] if here else 0
            book = [each for each in book if each[0] != own]
            continue
        if op == "replace":
            if here is None:
                continue
            if here[2] == price and quantity <= here[3]:
                book = [
                    (each[0], each[1], each[2], quantity if each[0] == own else each[3])
                    for each in book
                    if each[0] != own or quantity
                ]
                continue
            side = here[1]
            book.remove(here)
        while quantity:
            met = [
                each
                for each in book
                if each[1] is not side and (each[2] <= price if side is Side.BUY else each[2] >= price)
            ]
            if not met:
                break
            best = min(
                met, key=lambda each: each[2] if side is Side.BUY else -each[2]
            )  # the oldest of equals
            part = min(quantity, best[3])
            bid, ask = (price, best[2]) if side is Side.BUY else (best[2], price)
            at = best[2]
            if rule is TradePrice.MID:
                at = half_up(bid + ask)
            elif rule is TradePrice.MEDIAN and last is not None:
                at = sorted((bid, ask, last))[1]
            trades.append([own, best[0], part, at] if side is Side.BUY else [best[0], own, part, at])
            last, quantity = at, quantity - part
            place = book.index(best)
            book[place : place + 1] = [(*best[:3], best[3] - part)] if best[3] > part else []
        if quantity:
            book.append((own, side, price, quantity))
    return trades, [list(each) for each in book], cancelled
