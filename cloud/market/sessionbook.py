"""The closed book of a session and its clearing, period by period: the same book always gives the same bytes. Pure.

Priority is price, then the number a declaration got, then the place in it. A run's result is every declaration's fills,
also of zero, the prices, and the pieces that say who sells to whom; the security check cuts pieces, never adds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from cloud.errors import Invalid
from cloud.market import kernel, matching
from cloud.market.auction import AtMargin, Clearing, Order, PriceRule, Side, price_ticks
from cloud.market.sessionfile import Method


class Cut(Protocol):
    """A cut of the security check: to how much a piece was cut."""

    @property
    def piece_no(self) -> int: ...
    @property
    def to_kwh(self) -> int: ...


AnyCut = TypeVar("AnyCut", bound=Cut)


class BadCut(Invalid):
    """A cut names no piece of the run, or is no cut."""


@dataclass(frozen=True, slots=True)
class Bid:
    """A declaration that stood when the book was closed."""

    seq: int
    party_id: int
    unit_id: str
    side: Side
    period: tuple[int, ...]
    price_ticks: tuple[int, ...]
    quantity_kwh: tuple[int, ...]
    content_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """How a book is cleared."""

    method: Method
    price_rule: PriceRule
    at_margin: AtMargin


@dataclass(frozen=True, slots=True)
class PeriodResult:
    """What came out for a period; prices None: nobody met. Under pairing the price is the volume's mean, for the eye."""

    period: int
    volume_kwh: int
    price_ticks: int | None
    last_bid_ticks: int | None
    last_ask_ticks: int | None
    low_ticks: int | None
    high_ticks: int | None
    bid_kwh: int
    ask_kwh: int
    marginal_ticks: int | None


@dataclass(frozen=True, slots=True)
class Piece:
    """What goes from one declaration to another, at which price."""

    piece_no: int
    period: int
    sell_seq: int
    buy_seq: int
    quantity_kwh: int
    price_ticks: int


@dataclass(frozen=True, slots=True)
class Result:
    """All periods of a run; `fills` has every declaration of the book, entry by entry."""

    prices: tuple[PeriodResult, ...]
    fills: Mapping[int, tuple[int, ...]]
    pieces: tuple[Piece, ...]


def book_sha256(bids: Iterable[Bid]) -> str:
    """Hash the book: one line "seq content_sha256" a declaration, by number.

    The database computes the same when it closes the book, and the lines may be published: whoever has a receipt finds
    the own line there.
    """
    digest = hashlib.sha256()
    for bid in sorted(bids, key=lambda each: each.seq):
        digest.update(f"{bid.seq} {bid.content_sha256}\n".encode())
    return digest.hexdigest()


def input_sha256(book: str, way: Way, rule_sha256: str, also: Sequence[str] = ()) -> str:
    """Hash everything a run depends on: the book's hash, the rule's, the way it is cleared.

    `also` is what else it rests on: declarations struck out (`struck`), a platform's document.
    """
    words = [book, rule_sha256, way.method.value, way.price_rule.value, way.at_margin.value, *also]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def result_sha256(result: Result) -> str:
    """Hash a result in its canonical form."""
    text = json.dumps(result_json(result), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def result_json(result: Result) -> dict[str, Any]:
    """Write a result as plain whole numbers."""
    return {
        "prices": [
            [each.period, each.volume_kwh, each.price_ticks, each.last_bid_ticks, each.last_ask_ticks]
            for each in result.prices
        ],
        "fills": [[seq, list(result.fills[seq])] for seq in sorted(result.fills)],
        "pieces": [
            [each.period, each.sell_seq, each.buy_seq, each.quantity_kwh, each.price_ticks]
            for each in result.pieces
        ],
    }


def struck_words(struck: Iterable[int]) -> tuple[str, ...]:
    """What `input_sha256` says of declarations that a run leaves out; nothing where there are none."""
    return tuple(f"struck {seq}" for seq in sorted(struck))


def cleared(bids: Sequence[Bid], periods: int, way: Way, struck: Collection[int] = ()) -> Result:
    """Clear all periods, each by itself; what is struck out stays in the result and gets nothing."""
    by_period: dict[int, list[tuple[Order, int, int]]] = {period: [] for period in range(1, periods + 1)}
    rank = 0
    for bid in sorted((each for each in bids if each.seq not in struck), key=lambda each: each.seq):
        name = str(bid.seq)
        for place, period in enumerate(bid.period):
            order = Order(str(rank), bid.side, bid.price_ticks[place], bid.quantity_kwh[place], rank, name)
            by_period[period].append((order, bid.seq, place))
            rank += 1
    fills = {bid.seq: [0] * len(bid.period) for bid in bids}
    prices: list[PeriodResult] = []
    pieces: list[Piece] = []
    for period, listed in by_period.items():
        orders = [order for order, _, _ in listed]
        clearing = kernel.cleared(orders, way.at_margin)
        for (_, seq, place), fill in zip(listed, clearing.fills, strict=True):
            fills[seq][place] = fill.quantity_kwh
        found = _pieces(orders, clearing, way)
        for sell, buy, kwh, ticks in found:
            pieces.append(Piece(len(pieces) + 1, period, sell, buy, kwh, ticks))
        prices.append(_price(period, orders, clearing, way, found))
    return Result(tuple(prices), {seq: tuple(each) for seq, each in fills.items()}, tuple(pieces))


def cut(bids: Sequence[Bid], result: Result, cuts: Mapping[int, int]) -> Result:
    """Cut pieces of a result to so many kWh; both sides lose the same. Raises BadCut.

    A declaration loses of its worst entries first. Prices stay: the check is no second auction.
    """
    known = {piece.piece_no: piece for piece in result.pieces}
    for number, to_kwh in cuts.items():
        if number not in known or not 0 <= to_kwh < known[number].quantity_kwh:
            raise BadCut("bad_cut", piece=number, to_kwh=to_kwh)
    lost: dict[tuple[int, int], int] = {}
    for number, to_kwh in cuts.items():
        piece = known[number]
        for seq in (piece.sell_seq, piece.buy_seq):
            key = (seq, piece.period)
            lost[key] = lost.get(key, 0) + piece.quantity_kwh - to_kwh
    fills = {seq: list(each) for seq, each in result.fills.items()}
    of_seq = {bid.seq: bid for bid in bids}
    for (seq, period), kwh in lost.items():
        left = kwh
        for place in reversed(range(len(fills[seq]))):
            if of_seq[seq].period[place] == period:
                taken = min(left, fills[seq][place])
                fills[seq][place] -= taken
                left -= taken
    pieces = [
        replace(piece, quantity_kwh=cuts.get(piece.piece_no, piece.quantity_kwh)) for piece in result.pieces
    ]
    kept = [piece for piece in pieces if piece.quantity_kwh]
    volume: dict[int, int] = {}
    for piece in kept:
        volume[piece.period] = volume.get(piece.period, 0) + piece.quantity_kwh
    prices = tuple(replace(each, volume_kwh=volume.get(each.period, 0)) for each in result.prices)
    numbered = tuple(replace(piece, piece_no=number) for number, piece in enumerate(kept, start=1))
    return Result(prices, {seq: tuple(each) for seq, each in fills.items()}, numbered)


def cuts_again(
    cuts: Sequence[AnyCut], old: Sequence[Piece], new: Sequence[Piece]
) -> tuple[tuple[AnyCut, int], ...]:
    """Which pieces of a corrected run the cuts of the run before hold: the same pair in the same period, where it is more.

    Gives each such cut with the number of the new piece.
    """
    named = {number: name for name, number in _named(old).items()}
    there = _named(new)
    more = {piece.piece_no: piece.quantity_kwh for piece in new}
    found = ((each, there.get(named[each.piece_no], 0)) for each in cuts)
    return tuple((each, number) for each, number in found if number and more[number] > each.to_kwh)


def _named(pieces: Sequence[Piece]) -> dict[tuple[int, int, int, int], int]:
    """Numbers of pieces by period, seller's and buyer's declaration, and which of these two it is."""
    found: dict[tuple[int, int, int, int], int] = {}
    for piece in pieces:
        pair = piece.period, piece.sell_seq, piece.buy_seq
        found[*pair, sum(key[:3] == pair for key in found)] = piece.piece_no
    return found


def _pieces(orders: Sequence[Order], clearing: Clearing, way: Way) -> tuple[tuple[int, int, int, int], ...]:
    """Seller, buyer, kWh and price of every piece of a period."""
    if way.method is Method.PAIRING:
        pairs = matching.matched_pairs(orders, kernel.paired(orders))
        return tuple(
            (int(each.seller), int(each.buyer), each.quantity_kwh, each.price_ticks) for each in pairs
        )
    ticks = price_ticks(clearing, way.price_rule)
    if ticks is None:
        return ()
    return tuple(
        (int(each.seller), int(each.buyer), each.quantity_kwh, ticks)
        for each in matching.matched(orders, clearing)
    )


def _price(
    period: int,
    orders: Sequence[Order],
    clearing: Clearing,
    way: Way,
    found: Sequence[tuple[int, int, int, int]],
) -> PeriodResult:
    ticks = price_ticks(clearing, way.price_rule)
    if way.method is Method.PAIRING and clearing.volume_kwh:
        money = sum(kwh * each for _, _, kwh, each in found)
        ticks = (2 * money + clearing.volume_kwh) // (2 * clearing.volume_kwh)
    low, high = clearing.interval_ticks or (None, None)
    declared = {side: sum(order.quantity_kwh for order in orders if order.side is side) for side in Side}
    return PeriodResult(
        *(period, clearing.volume_kwh, ticks, clearing.last_bid_ticks, clearing.last_ask_ticks, low, high),
        *(declared[Side.BUY], declared[Side.SELL], price_ticks(clearing, PriceRule.MARGINAL)),
    )
