"""Supply and demand of one period as steps, for people to look at. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from cloud.market.auction import Order, Side


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
    found: list[Step] = []
    reached = 0
    for price in sorted(levels, reverse=side is Side.BUY):
        found.append(Step(price, reached, reached + levels[price]))
        reached += levels[price]
    return tuple(found)


def book_sha256(orders: Iterable[Order]) -> str:
    """Hash the canonical order list: by seq, one JSON array an order; the array order of the input does not matter."""
    listed = sorted(orders, key=lambda order: order.seq)
    rows = [
        [each.seq, each.id, each.participant, each.side.value, each.price_ticks, each.quantity_kwh]
        for each in listed
    ]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()
