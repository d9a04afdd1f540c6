"""Who buys from whom after a uniform clearing: fills of both sides become pieces, and pieces contracts. Pure, exact.

A clearing says how much each order got, not from whom. Both sides are laid end to end in order of priority and cut where
either ends (the northwest corner): b buyers and s sellers give at most b + s - 1 pieces, every kWh in exactly one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cloud.errors import Invalid
from cloud.market.auction import Clearing, Order, Pair, Side, priority


class SidesUnequal(Invalid):
    """What is bought and what is sold are not the same quantity."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one order or one participant got."""

    name: str
    quantity_kwh: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A quantity that goes from one seller to one buyer."""

    seller: str
    buyer: str
    quantity_kwh: int


def pieces(bought: Iterable[Share], sold: Iterable[Share]) -> tuple[Piece, ...]:
    """Cut both sides, each in order of priority, into pieces of one seller and one buyer. Raises SidesUnequal.

    The same pair meeting again right away is one piece.
    """
    buyers = [each for each in bought if each.quantity_kwh]
    sellers = [each for each in sold if each.quantity_kwh]
    totals = [sum(each.quantity_kwh for each in side) for side in (buyers, sellers)]
    if totals[0] != totals[1]:
        raise SidesUnequal("sides_unequal", bought_kwh=totals[0], sold_kwh=totals[1])
    found: list[Piece] = []
    buyer = seller = taken_kwh = given_kwh = 0
    while buyer < len(buyers):
        to, source = buyers[buyer], sellers[seller]
        quantity_kwh = min(to.quantity_kwh - taken_kwh, source.quantity_kwh - given_kwh)
        if found and (found[-1].seller, found[-1].buyer) == (source.name, to.name):
            quantity_kwh, last = quantity_kwh + found.pop().quantity_kwh, quantity_kwh
        else:
            last = quantity_kwh
        found.append(Piece(source.name, to.name, quantity_kwh))
        taken_kwh, given_kwh = taken_kwh + last, given_kwh + last
        if taken_kwh == to.quantity_kwh:
            buyer, taken_kwh = buyer + 1, 0
        if given_kwh == source.quantity_kwh:
            seller, given_kwh = seller + 1, 0
    return tuple(found)


def shares(orders: Sequence[Order], clearing: Clearing, side: Side) -> tuple[Share, ...]:
    """What each participant of a side got, in order of its best order; so that contracts are few."""
    filled = clearing.filled_kwh()
    got: dict[str, int] = {}
    for order in priority(orders, side):
        if kwh := filled.get(order.id, 0):
            got[order.participant] = got.get(order.participant, 0) + kwh
    return tuple(Share(name, kwh) for name, kwh in got.items())


def matched(orders: Iterable[Order], clearing: Clearing) -> tuple[Piece, ...]:
    """Turn the clearing of one period into pieces between participants, all at the uniform price."""
    listed = tuple(orders)
    return pieces(shares(listed, clearing, Side.BUY), shares(listed, clearing, Side.SELL))


@dataclass(frozen=True, slots=True)
class PricedPiece:
    """A piece with a price of its own."""

    seller: str
    buyer: str
    quantity_kwh: int
    price_ticks: int


def matched_pairs(orders: Iterable[Order], pairs: Iterable[Pair]) -> tuple[PricedPiece, ...]:
    """Turn high-low pairs into pieces between participants; equal parties and prices become one, in order of matching."""
    who = {order.id: order.participant for order in orders}
    found: dict[tuple[str, str, int], int] = {}
    for pair in pairs:
        key = (who[pair.sell_id], who[pair.buy_id], pair.price_ticks)
        found[key] = found.get(key, 0) + pair.quantity_kwh
    return tuple(
        PricedPiece(seller, buyer, kwh, price_ticks) for (seller, buyer, price_ticks), kwh in found.items()
    )
