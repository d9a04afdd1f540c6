"""Listing 挂牌 and taking 摘牌: takers accept a listed price. Pure, whole numbers only.

When takers ask for more than is offered, the earlier take goes first (贵州) or all of a window share in proportion
(重庆): a parameter of the listing (tariffs-and-settlement 7.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cloud.market.auction import Side, prorated
from cloud.money import shares


class Sharing(StrEnum):
    """Who gets how much when takers ask for more than the offer."""

    TIME = "time"
    PRORATA = "prorata"


class Remainder(StrEnum):
    """Who gets the kWh that proportional shares leave over."""

    LARGEST = "largest"  # the largest fractions, ties to the earlier take
    LAST = "last"  # shares rounded, the last take gets the rest


class Refusal(StrEnum):
    """Why a take is refused, in the order in which it is checked."""

    LISTING_CLOSED = "LISTING_CLOSED"
    SELF_TRADE = "SELF_TRADE"
    BELOW_MIN_TAKE = "BELOW_MIN_TAKE"
    ALL_OR_NONE = "ALL_OR_NONE"


@dataclass(frozen=True, slots=True)
class Listing:
    """A binding offer at one price."""

    lister: str
    side: Side
    price_ticks: int
    quantity_kwh: int
    min_take_kwh: int = 0
    all_or_none: bool = False
    sharing: Sharing = Sharing.TIME
    remainder: Remainder = Remainder.LARGEST


@dataclass(frozen=True, slots=True)
class Take:
    """A taker accepts `quantity_kwh` of the listing, in order of time."""

    id: str
    taker: str
    quantity_kwh: int


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """The lister takes back what is left."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a take: a quantity, or a refusal with none."""

    take_id: str
    quantity_kwh: int
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """The listing at its end: one `Taken` per take, in their order."""

    takes: tuple[Taken, ...]
    remaining_kwh: int
    withdrawn_kwh: int


def taken(listing: Listing, events: Sequence[Take | Withdrawal]) -> Listed:
    """Play takes and a withdrawal in order of time; takes above the rest are clipped to it.

    With proportional sharing all accepted takes belong to one window and share at its end.
    """
    left_kwh = listing.quantity_kwh
    withdrawn_kwh = 0
    is_open = True
    outcome: list[tuple[Take, Refusal | None, int]] = []
    for event in events:
        if isinstance(event, Withdrawal):
            if is_open and listing.sharing is Sharing.TIME:
                withdrawn_kwh, left_kwh = left_kwh, 0
            is_open = False
            continue
        refusal = _refusal(listing, event, is_open and left_kwh > 0)
        got_kwh = 0 if refusal else min(event.quantity_kwh, left_kwh)
        outcome.append((event, refusal, got_kwh))
        if listing.sharing is Sharing.TIME:
            left_kwh -= got_kwh
    if listing.sharing is Sharing.PRORATA:
        outcome = _shared(listing, outcome)
        left_kwh -= sum(got_kwh for _, _, got_kwh in outcome)
        if not is_open:
            withdrawn_kwh, left_kwh = left_kwh, 0
    return Listed(
        tuple(Taken(take.id, got_kwh, refusal) for take, refusal, got_kwh in outcome), left_kwh, withdrawn_kwh
    )


def _refusal(listing: Listing, take: Take, is_open: bool) -> Refusal | None:
    if not is_open:
        return Refusal.LISTING_CLOSED
    if take.taker == listing.lister:
        return Refusal.SELF_TRADE
    if take.quantity_kwh < listing.min_take_kwh:
        return Refusal.BELOW_MIN_TAKE
    if listing.all_or_none and take.quantity_kwh < listing.quantity_kwh:
        return Refusal.ALL_OR_NONE
    return None


def _shared(
    listing: Listing, outcome: list[tuple[Take, Refusal | None, int]]
) -> list[tuple[Take, Refusal | None, int]]:
    asked = [0 if refusal else take.quantity_kwh for take, refusal, _ in outcome]
    if listing.remainder is Remainder.LARGEST or sum(asked) <= listing.quantity_kwh:
        got = prorated(listing.quantity_kwh, asked)
    else:
        got = shares(listing.quantity_kwh, asked)
        if any(not 0 <= kwh <= most for kwh, most in zip(got, asked, strict=True)):
            # Many tiny takes: what is left over is more than the last asks for.
            got = prorated(listing.quantity_kwh, asked)
    return [(take, refusal, kwh) for (take, refusal, _), kwh in zip(outcome, got, strict=True)]
