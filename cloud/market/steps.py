"""Supply and demand of one period as steps, for people to look at. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cloud.market.auction import Order, Side

POINTS_MAX: Final = 200  # of a side, where a screen is to draw them


@dataclass(frozen=True, slots=True)
class Step:
    """One price level: from `start_kwh` to `end_kwh` of the side's quantity, the best price first."""

    price_ticks: int
    start_kwh: int
    end_kwh: int


def steps(orders: Iterable[Order], side: Side) -> tuple[Step, ...]:
    """Sum a side's quantity by price level, the best first."""
    levels: dict[int, int] = {}
    for order in orders:
        if order.side is side and order.quantity_kwh:
            levels[order.price_ticks] = levels.get(order.price_ticks, 0) + order.quantity_kwh
    return stacked(sorted(levels.items(), reverse=side is Side.BUY))


def stacked(levels: Iterable[tuple[int, int]]) -> tuple[Step, ...]:
    """Put (price, kWh) one behind the other."""
    found, reached_kwh = [], 0
    for price, kwh in levels:
        found.append(Step(price, reached_kwh, reached_kwh + kwh))
        reached_kwh += kwh
    return tuple(found)


def thinned(steps: Sequence[Step], most: int = POINTS_MAX) -> tuple[Step, ...]:
    """No more steps than can be seen: neighbours are joined at the worst price among them, their quantity kept."""
    if len(steps) <= most:
        return tuple(steps)
    joined = []
    for number in range(most):
        part = steps[number * len(steps) // most : (number + 1) * len(steps) // most]
        joined.append(Step(part[-1].price_ticks, part[0].start_kwh, part[-1].end_kwh))
    return tuple(joined)
