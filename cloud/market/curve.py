"""The live curve of a session: quantity by side, period and price, kept up to date declaration by declaration. Pure.

What is kept knows no names. Adding the events of a book one by one gives the same as summing what stands at the end.
An indicative price is what the auction would give if the gate closed now; nobody is bound by it (market.md 15).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cloud.market import kernel
from cloud.market.auction import PriceRule, Side
from cloud.market.steps import Step, stacked

Levels = dict[int, int]  # price -> kWh
Key = tuple[Side, int]  # side and period


class Event(Protocol):
    """A committed row of a book: entry i is quantity_kwh[i] in period[i] at price_ticks[i]; `replaces` stands no longer."""

    @property
    def seq(self) -> int: ...
    @property
    def side(self) -> str | None: ...
    @property
    def replaces(self) -> int | None: ...
    @property
    def period(self) -> Sequence[int]: ...
    @property
    def price_ticks(self) -> Sequence[int]: ...
    @property
    def quantity_kwh(self) -> Sequence[int]: ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One period as it stands after event `seq`; no price without a trade."""

    seq: int
    period: int
    demand: tuple[Step, ...]
    supply: tuple[Step, ...]
    volume_kwh: int
    price_ticks: int | None
    interval_ticks: tuple[int, int] | None
    last_bid_ticks: int | None
    last_ask_ticks: int | None

    def inside_kwh(self, side: Side, own: Levels) -> tuple[int, int]:
        """Of own quantity: what would trade for certain, and what lies at the margin, where time or shares decide."""
        last = self.last_bid_ticks if side is Side.BUY else self.last_ask_ticks
        if last is None:
            return 0, 0
        sign = 1 if side is Side.BUY else -1
        certain = sum(kwh for price, kwh in own.items() if sign * price > sign * last)
        return certain, own.get(last, 0)


class Curve:
    """The aggregate of one session's book; one writer. Events that came already are passed over."""

    def __init__(self) -> None:
        self._levels: dict[Key, Levels] = {}
        self._standing: dict[int, Event] = {}
        self._changed: dict[int, int] = {}
        self._shots: dict[tuple[int, PriceRule], Snapshot] = {}  # of each period the last one taken
        self.last_seq = 0

    def add(self, events: Iterable[Event]) -> None:
        """Take committed events in the order of their numbers."""
        for event in events:
            if event.seq <= self.last_seq:
                continue
            if (
                event.replaces is not None
                and (before := self._standing.pop(event.replaces, None)) is not None
            ):
                self._count(before, -1, event.seq)
            if event.side is not None and len(event.period):
                self._standing[event.seq] = event
                self._count(event, 1, event.seq)
            self.last_seq = event.seq

    def changed_at(self, period: int) -> int:
        """The number of the last event that changed a period; 0 where there was none."""
        return self._changed.get(period, 0)

    def levels(self, side: Side, period: int) -> tuple[tuple[int, int], ...]:
        """(price, kWh) of a side, the best price first."""
        found = self._levels.get((side, period), {})
        return tuple(sorted(found.items(), reverse=side is Side.BUY))

    def snapshot(self, period: int, rule: PriceRule) -> Snapshot:
        """Curves and indicative price of a period; worked out once, however many look."""
        shot = self._shots.get((period, rule))
        if shot is None or shot.seq != self.changed_at(period):
            shot = self._shots[period, rule] = self._taken(period, rule)
        return shot

    def _taken(self, period: int, rule: PriceRule) -> Snapshot:
        bids, asks = self.levels(Side.BUY, period), self.levels(Side.SELL, period)
        both = bids + asks
        book = kernel.Book(
            np.arange(len(both)) < len(bids),
            np.array([price for price, _ in both], np.int64),
            np.array([kwh for _, kwh in both], np.int64),
            np.arange(len(both)),
        )
        result = kernel.clear(book)
        return Snapshot(
            self.changed_at(period),
            period,
            stacked(bids),
            stacked(asks),
            result.volume_kwh,
            result.price_ticks(rule),
            result.clearing().interval_ticks,
            result.last_bid_ticks,
            result.last_ask_ticks,
        )

    def _count(self, event: Event, sign: int, seq: int) -> None:
        side = Side(str(event.side))
        for period, price, kwh in zip(event.period, event.price_ticks, event.quantity_kwh, strict=True):
            levels = self._levels.setdefault((side, period), {})
            left_kwh = levels.get(price, 0) + sign * kwh
            if left_kwh:
                levels[price] = left_kwh
            else:
                levels.pop(price, None)
            self._changed[period] = seq


def own_levels(events: Iterable[Event], side: Side, period: int) -> Levels:
    """Price -> kWh of what stands of these events, of one participant for example."""
    own = Curve()
    own.add(events)
    return dict(own.levels(side, period))
