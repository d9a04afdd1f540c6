"""Rolling matching: events per second of our book and of engines from PyPI, in the same run, on the same events.

Run: python -m benchmarks.rolling [events …]; how to install the peers: docs/operations/benchmarks.md.
Three quarters of the events are new orders, about 45 % of them meet something; a quarter cancel a random earlier order.
Every engine starts with its own orders made already, and must come to the same volume and value. A peer that is not
installed is named and left out.
"""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from cloud.market.auction import Order, Side
from cloud.market.rolling import Book

EVENTS = (10_000, 100_000, 1_000_000)
TARGET_PER_S = 300_000
TARGET_RATIO = 2
ROUNDS = 3
LARGE = 100_000  # events above which a peer has one round: its orders, made before, fill the memory
SLOW_EVENTS_MAX = 10_000  # of the engine that needs a millisecond an event
Event = tuple[
    int, int, bool, int, int
]  # number of the order, kind (0 add, 1 cancel), is_buy, price, quantity


@dataclass(frozen=True, slots=True)
class Traded:
    """What came of the events."""

    trades: int
    volume: int
    value: int


Run = Callable[[], Traded]
Engine = Callable[[list[Event]], Run]


def events_of(count: int, seed: int = 1) -> list[Event]:
    """Make events: prices a few ticks around 372.00 on both sides."""
    chance = np.random.default_rng(seed)
    is_cancel = chance.random(count) < 0.25
    is_buy = chance.random(count) < 0.5
    away = np.abs(chance.normal(0, 60, count)).astype(int) - 22
    quantity = chance.integers(1, 500_001, count)
    places = chance.random(count)
    found: list[Event] = []
    orders = 0
    for number in range(count):
        if is_cancel[number] and orders:
            found.append((int(places[number] * orders), 1, False, 0, 0))
        else:
            price = 37200 - int(away[number]) if is_buy[number] else 37200 + int(away[number])
            found.append((orders, 0, bool(is_buy[number]), price, int(quantity[number])))
            orders += 1
    return found


def ours(events: list[Event]) -> Run:
    """Our book; ids are texts."""
    todo: list[Order | str] = [
        str(number) if kind else Order(str(number), Side.BUY if is_buy else Side.SELL, price, kwh, number)
        for number, kind, is_buy, price, kwh in events
    ]

    def run() -> Traded:
        book = Book()
        trades = volume = value = 0
        for each in todo:
            if isinstance(each, str):
                book.cancel(each)
            else:
                for trade in book.add(each):
                    trades += 1
                    volume += trade.quantity_kwh
                    value += trade.quantity_kwh * trade.price_ticks
        return Traded(trades, volume, value)

    return run


def lightmatchingengine(events: list[Event]) -> Run:
    """PyPI lightmatchingengine 2019.1.4; it raises when a filled order is cancelled."""
    from lightmatchingengine.lightmatchingengine import LightMatchingEngine

    def run() -> Traded:
        engine = LightMatchingEngine()
        trades = volume = value = 0
        for number, kind, is_buy, price, kwh in events:
            if kind:
                try:
                    engine.cancel_order(number + 1, "x")
                except AssertionError:
                    continue
                continue
            side = 1 if is_buy else 2
            _, made = engine.add_order("x", price, kwh, side)
            for trade in made:
                if trade.trade_side != side:  # it reports both sides; the resting one has the quantity
                    trades += 1
                    volume += trade.trade_qty
                    value += trade.trade_qty * trade.trade_price
        return Traded(trades, volume, value)

    return run


def pyorderbook(events: list[Event]) -> Run:
    """PyPI pyorderbook 0.4.9; it logs an error and raises when a filled order is cancelled, so it is asked first."""
    import pyorderbook as peer

    logging.getLogger().setLevel(logging.WARNING)

    def made() -> list[Any]:
        return [
            None if kind else peer.Order(peer.Side.BID if is_buy else peer.Side.ASK, "x", price, kwh)
            for _, kind, is_buy, price, kwh in events
        ]

    fresh = [made() for _ in range(rounds_at(len(events)))]

    def run() -> Traded:
        book, todo = peer.Book(), fresh.pop()
        orders: list[Any] = []
        trades = volume = value = 0
        for event, order in zip(events, todo, strict=True):
            if order is None:
                earlier = orders[event[0]]
                if earlier.id in book.order_map:
                    book.cancel(earlier)
                continue
            orders.append(order)
            for trade in book.match(order).trades:
                trades += 1
                volume += trade.fill_quantity
                value += trade.fill_quantity * int(trade.fill_price)
        return Traded(trades, volume, value)

    return run


def order_matching(events: list[Event]) -> Run:
    """PyPI order-matching 0.12.0."""
    from loguru import logger
    from order_matching import enums, matching_engine, order, orders

    logger.remove()
    at = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)

    def run() -> Traded:
        engine = matching_engine.MatchingEngine(seed=1)
        trades = volume = value = 0
        for number, kind, is_buy, price, kwh in events:
            own = str(number)
            if kind:
                if engine.unprocessed_orders.find_order_by_id(own) is not None:
                    engine.cancel_order(own)
                continue
            side = enums.Side.BUY if is_buy else enums.Side.SELL
            new = order.LimitOrder(
                side=side, price=price, size=kwh, timestamp=at, order_id=own, trader_id=own
            )
            engine.place(orders.Orders([new]))
            for trade in engine.match(timestamp=at).trades:
                trades += 1
                volume += int(trade.size)
                value += int(trade.size) * int(trade.price)
        return Traded(trades, volume, value)

    return run


PEERS: tuple[Engine, ...] = (lightmatchingengine, pyorderbook, order_matching)


def rounds_at(count: int) -> int:
    """How often a peer plays so many events."""
    return ROUNDS if count <= LARGE else 1


def best_s(run: Run, rounds: int) -> tuple[float, Traded]:
    """The quickest of several rounds, in process time, and what came of it."""
    times, traded = [], None
    for _ in range(rounds):
        gc.collect()
        started_ns = time.process_time_ns()
        traded = run()
        times.append((time.process_time_ns() - started_ns) / 1e9)
    assert traded is not None
    return min(times), traded


def main() -> None:
    """Print one line per engine and number of events."""
    for count in tuple(map(int, sys.argv[1:])) or EVENTS:
        events = events_of(count)
        spent, traded = best_s(ours(events), ROUNDS)
        per_s = count / spent
        print(f"{count:>9} events: ours {per_s:>11,.0f}/s   {traded}")
        peers: dict[str, float] = {}
        for peer in PEERS:
            name = peer.__name__
            if peer is order_matching and count > SLOW_EVENTS_MAX:
                print(f"{'':>17} {name}: left out above {SLOW_EVENTS_MAX} events")
                continue
            try:
                run = peer(events)
            except ModuleNotFoundError as missing:
                print(f"{'':>17} {name}: not installed ({missing.name})")
                continue
            spent, found = best_s(run, 1 if peer is order_matching else rounds_at(count))
            peers[name] = count / spent
            same = "same trades" if found == traded else f"OTHER trades: {found}"
            print(f"{'':>17} {name} {count / spent:>11,.0f}/s   {per_s * spent / count:.1f} x   {same}")
        if peers:
            ratio = per_s / max(peers.values())
            print(
                f"{'':>17} target {TARGET_PER_S:,}/s and {TARGET_RATIO} x: {per_s:,.0f}/s and {ratio:.1f} x the best peer"
            )


if __name__ == "__main__":
    main()
