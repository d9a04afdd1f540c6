"""What a call auction leaves unfilled, in the order in which it enters the rolling book after it. Pure.

A rest keeps its place in time: rests enter in the order of the declarations' numbers, then of the entries in them
(market.md 5). The auction trades as much as can be traded, so rests never meet each other. What the security check cut
of a fill is no rest: the grid does not carry it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cloud.market.auction import Side
from cloud.market.sessionbook import Bid


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of one entry of a declaration."""

    seq: int
    entry_no: int  # its place in the declaration, from 0
    party_id: int
    unit_id: str
    side: Side
    period: int
    price_ticks: int
    quantity_kwh: int


def rests_of(
    bids: Iterable[Bid], fills: Mapping[int, Sequence[int]], struck: Collection[int] = ()
) -> tuple[Rest, ...]:
    """What a run left unfilled, before any cut, of what was not struck out."""
    found = []
    for bid in sorted(bids, key=lambda each: each.seq):
        if bid.seq in struck:
            continue
        for place, period in enumerate(bid.period):
            left = bid.quantity_kwh[place] - fills[bid.seq][place]
            if left:
                rest = Rest(
                    *(bid.seq, place, bid.party_id, bid.unit_id, bid.side, period),
                    *(bid.price_ticks[place], left),
                )
                found.append(rest)
    return tuple(found)
