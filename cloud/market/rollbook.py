"""A rolling session's book 滚动撮合 as the fold of its event log: day orders, FAK, FOK, cancel, replace, close. Pure.

The matching is `rolling.Book`. One log, one book: replaying the events gives the same book and the same trades, whoever
replays them and in how many pieces. An order's id is the number of the event that added it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum

from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.lives import Life
from cloud.market.auction import Order, Side, half_up
from cloud.market.rolling import Book, Trade, TradePrice

ROLLING = Life(
    "rolling_session",
    {
        (None, "announce"): "scheduled",
        ("scheduled", "close"): "closed",
        ("scheduled", "cancel"): "cancelled",
    },
)
LEVELS_SHOWN = 5


class Op(StrEnum):
    """What an event does to the book."""

    ADD = "add"
    CANCEL = "cancel"
    REPLACE = "replace"
    CLOSE = "close"


class Stays(StrEnum):
    """How long an order stays: until the close, or not beyond the instant it comes."""

    DAY = "day"
    FAK = "fak"  # fill and kill: what does not trade at once is cancelled
    FOK = "fok"  # fill or kill: all at once, or nothing


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a book's log. Cancel and replace name the order by `order_seq`; close empties the book."""

    seq: int
    op: Op
    participant: str = ""
    side: Side = Side.BUY
    stays: Stays = Stays.DAY
    price_ticks: int = 0
    quantity_kwh: int = 0
    order_seq: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What an event did: trades in their order; the quantity that it cancelled or refused; what rests of the order."""

    trades: tuple[Trade, ...] = ()
    cancelled_kwh: int = 0
    resting_kwh: int = 0
    is_self_match: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """What rests at one price, of how many orders; no names."""

    price_ticks: int
    quantity_kwh: int
    order_count: int


@dataclass(frozen=True, slots=True)
class Depth:
    """The best levels of both sides, the best first."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


@dataclass(slots=True)
class LiveBook:
    """A book that events are applied to, one after the other, in the order of their numbers."""

    rule: TradePrice
    last_seq: int = 0
    is_closed: bool = False
    _book: Book = field(init=False)

    def __post_init__(self) -> None:
        self._book = Book(self.rule)

    def apply(self, event: Event) -> Answer:
        """Do what an event says and tell what came of it. Raises ValueError when it is out of order."""
        if event.seq <= self.last_seq:
            raise ValueError(f"event {event.seq} after {self.last_seq}")
        self.last_seq = event.seq
        if event.op is Op.CLOSE:
            self.is_closed = True
            gone = sum(self._book.cancel(order.id) for order, _ in self._book.resting())
            return Answer(cancelled_kwh=gone)
        if self.is_closed:
            return Answer(cancelled_kwh=event.quantity_kwh)
        if event.op is Op.CANCEL:
            return Answer(cancelled_kwh=self._book.cancel(str(event.order_seq)))
        return self._add(event) if event.op is Op.ADD else self._replace(event)

    def resting(self) -> tuple[tuple[Order, int], ...]:
        """The orders in the book and what is open of each, in the order in which they came to rest."""
        return self._book.resting()

    def open_kwh(self, order_seq: int) -> int:
        """What is open of an order; zero when it is not in the book."""
        return next((kwh for order, kwh in self.resting() if order.id == str(order_seq)), 0)

    def depth(self, levels: int = LEVELS_SHOWN) -> Depth:
        """Add up what rests by price, without names."""
        return Depth(self._side(Side.BUY)[:levels], self._side(Side.SELL)[:levels])

    def state(self) -> tuple[tuple[str, str, int, int], ...]:
        """The whole book as plain values, in its order: to compare and to hash."""
        return tuple((order.id, order.side.value, order.price_ticks, kwh) for order, kwh in self.resting())

    def _add(self, event: Event) -> Answer:
        order = Order(
            str(event.seq), event.side, event.price_ticks, event.quantity_kwh, event.seq, event.participant
        )
        if event.stays is Stays.FOK and self._within_reach_kwh(order) < order.quantity_kwh:
            return Answer(cancelled_kwh=order.quantity_kwh)
        return self._answer(event, self._book.add(order), order.id, order.quantity_kwh)

    def _replace(self, event: Event) -> Answer:
        found = [order for order, _ in self.resting() if order.id == str(event.order_seq)]
        if not found:
            return Answer(cancelled_kwh=event.quantity_kwh)
        kept = found[0]
        order = Order(kept.id, kept.side, event.price_ticks, event.quantity_kwh, event.seq, kept.participant)
        return self._answer(event, self._book.replace(order), kept.id, order.quantity_kwh)

    def _answer(self, event: Event, trades: tuple[Trade, ...], order_id: str, quantity_kwh: int) -> Answer:
        rests = self.open_kwh(int(order_id))
        cut = quantity_kwh - sum(trade.quantity_kwh for trade in trades) - rests
        if event.stays is Stays.DAY or not rests:
            return Answer(trades, cut, rests, is_self_match=cut > 0)
        return Answer(trades, cut + self._book.cancel(order_id), 0, is_self_match=cut > 0)

    def _within_reach_kwh(self, order: Order) -> int:
        """How much would trade at once: better prices first, the earlier first, up to an order of the same participant."""
        sign = 1 if order.side is Side.BUY else -1
        met = [
            (sign * each.price_ticks, number, each, kwh)
            for number, (each, kwh) in enumerate(self.resting())
            if each.side is not order.side and sign * each.price_ticks <= sign * order.price_ticks
        ]
        reached = 0
        for _, _, each, kwh in sorted(met, key=lambda one: one[:2]):
            if order.participant and each.participant == order.participant:
                break
            reached += kwh
        return reached

    def _side(self, side: Side) -> tuple[Level, ...]:
        sums: dict[int, tuple[int, int]] = {}
        for order, kwh in self.resting():
            if order.side is side:
                so_far, count = sums.get(order.price_ticks, (0, 0))
                sums[order.price_ticks] = (so_far + kwh, count + 1)
        return tuple(Level(price, *sums[price]) for price in sorted(sums, reverse=side is Side.BUY))


@dataclass(frozen=True, slots=True)
class Match:
    """A trade of a session with everything a contract needs."""

    seller: str
    buyer: str
    month: date
    period: str
    kwh: int
    price_ticks: int


def replayed(rule: TradePrice, events: Iterable[Event]) -> tuple[LiveBook, tuple[Answer, ...]]:
    """Build a book from its log; one answer per event."""
    book = LiveBook(rule)
    return book, tuple(book.apply(event) for event in events)


def contracts_of(
    prefix: str,
    matches: Iterable[Match],
    signed: tuple[date, str],
    ids: Mapping[tuple[str, str], str] | None = None,
) -> tuple[WholesaleTerms, ...]:
    """Gather a session's trades by pair of units into contracts: one volume per month and period, at the mean price.

    The mean is weighted by energy and rounded once, to six decimals; energy is exact. Ids count up in the order of pairs.
    """
    gathered: dict[tuple[str, str], dict[tuple[date, str], tuple[int, int]]] = {}
    for match in matches:
        lines = gathered.setdefault((match.seller, match.buyer), {})
        kwh, value = lines.get((match.month, match.period), (0, 0))
        lines[match.month, match.period] = (kwh + match.kwh, value + match.kwh * match.price_ticks)
    found = []
    for number, pair in enumerate(sorted(gathered), start=1):
        contract_id = (ids or {}).get(pair) or f"{prefix}-{number:03d}"
        volumes = tuple(
            Volume(month, period, Decimal(kwh).scaleb(-3), _mean(value, kwh), Decimal(0))
            for (month, period), (kwh, value) in sorted(gathered[pair].items())
        )
        found.append(
            WholesaleTerms(
                contract_id, 1, ContractKind.ROLLING, *pair, signed[0], signed[1], Shape.FLAT, (), volumes
            )
        )
    return tuple(found)


def _mean(value: int, kwh: int) -> Decimal:
    """Yuan/MWh of ticks x kWh over kWh, six decimals, half away from zero."""
    return Decimal(half_up(value * 10_000, kwh)).scaleb(-6)
