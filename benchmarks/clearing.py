"""Clearing one auction: our kernels beside a sort, plain Python and other people's engines, in the same run.

Run: python -m benchmarks.clearing [orders …]
Half the orders are bids around 382.00, half asks around 362.00, in a band of +-20 % around 372.00; every way starts with
the book in its own form, and gives every order its fill (pymarket's curves and the LP give what they give). Times are the
best of many rounds, of a small book of hundreds; a machine that is shared makes them long, so quote ratios. What is not
installed is named; what needs minutes at a size is left out there. How to install the peers: docs/operations/benchmarks.md.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from cloud.market import auction, kernel
from cloud.market.auction import AtMargin, Order, Side

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
SORT_RATIO_MAX: Final = 3  # of our clearing to a sort of as many orders
SORT: Final = "np.argsort stable of prices"
ROUNDS_MIN, ROUNDS_MAX, ORDERS_ROUNDS = 9, 1_000, 1_000_000  # rounds of a size
CLEARED_S_MAX, PAIRED_S_MAX, DAY_S_MAX = 0.25, 1.0, 0.25  # at 1e6; a day of 96 periods by 9,000 orders
LP_MAX, ASSUME_MAX, PYMARKET_MAX = 100_000, 10_000, 10_000
SLOW_S: Final = 0.5
Work = Callable[[], object]


def book_of(count: int, seed: int = 1) -> kernel.Book:
    """A book like a province's month: whole ticks and whole kWh."""
    chance = np.random.default_rng(seed)
    is_buy = np.zeros(count, np.bool_)
    is_buy[chance.permutation(count)[: count // 2]] = True
    centre = np.where(is_buy, 38_200, 36_200)
    price = np.rint(chance.normal(centre, 2_500)).astype(np.int64).clip(29_760, 44_640)
    return kernel.Book(is_buy, price, chance.integers(1, 500_001, count), np.arange(count))


def best_s(make: Callable[[], Work], rounds: int) -> tuple[float, object]:
    """The best of several rounds in process time; a slow one is not repeated. `make` is not timed."""
    best, result = float("inf"), None
    for _ in range(rounds):
        work = make()
        gc.collect()
        seconds, result = _timed(work)
        best = min(best, seconds)
        if best > SLOW_S:
            break
    return best, result


def best_of_each(ways: Mapping[str, Work], rounds: int) -> dict[str, tuple[float, object]]:
    """The best round of each way; in a round every way has its turn, so that all see the same machine."""
    best: dict[str, tuple[float, object]] = {}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, work in ways.items():
                seconds, result = _timed(work)
                best[name] = min(seconds, best[name][0] if name in best else seconds), result
    finally:
        gc.enable()
    return best


def _timed(work: Work) -> tuple[float, object]:
    started_ns = time.process_time_ns()
    result = work()
    return (time.process_time_ns() - started_ns) / 1e9, result


def orders_of(book: kernel.Book) -> list[Order]:
    """The same book as objects."""
    rows = zip(book.is_buy.tolist(), book.price_ticks.tolist(), book.quantity_kwh.tolist(), strict=True)
    return [
        Order(str(seq), Side.BUY if is_buy else Side.SELL, price, kwh, seq)
        for seq, (is_buy, price, kwh) in enumerate(rows)
    ]


def highs(book: kernel.Book) -> Callable[[], Work]:
    """Welfare as a linear program, scipy's HiGHS. Trades without any welfare it may leave out, so volumes may differ."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix

    sign = np.where(book.is_buy, -1.0, 1.0)
    cost, balance = sign * book.price_ticks, csr_matrix(sign)
    bounds = np.column_stack((np.zeros(len(sign)), book.quantity_kwh))
    return lambda: lambda: round(-linprog(cost, A_eq=balance, b_eq=[0], bounds=bounds, method="highs").fun)


def assume(book: kernel.Book) -> Callable[[], Work]:
    """assume-framework's pay-as-clear role, without its simulation around it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
    ):  # on import it opens a log where it stands
        from assume.markets.clearing_algorithms.simple import PayAsClearRole

    start, end = (datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (0, 1))
    product = (start, end, None)
    role = object.__new__(PayAsClearRole)

    def make() -> Work:
        orders: list[dict[str, Any]] = [
            {
                "start_time": start,
                "end_time": end,
                "only_hours": None,
                "price": float(price),
                "volume": float(-kwh if is_buy else kwh),
                "bid_id": str(place),
            }
            for place, (is_buy, price, kwh) in enumerate(
                zip(book.is_buy.tolist(), book.price_ticks.tolist(), book.quantity_kwh.tolist(), strict=True)
            )
        ]
        return lambda: role.clear(orders, [product])[2][0]["supply_volume"]

    return make


def pymarket(book: kernel.Book) -> Callable[[], Work]:
    """pymarket's curves and where they meet."""
    import pandas  # type: ignore[import-untyped]  # a peer's own
    from pymarket.bids import demand_curves

    bids = pandas.DataFrame(
        {
            "quantity": book.quantity_kwh.astype(float),
            "price": book.price_ticks.astype(float),
            "user": np.arange(len(book.seq)),
            "buying": book.is_buy,
            "time": 0,
            "divisible": True,
        }
    )

    def work() -> object:
        demand, _ = demand_curves.demand_curve_from_bids(bids)
        supply, _ = demand_curves.supply_curve_from_bids(bids)
        return demand_curves.intersect_stepwise(demand, supply)[0]

    return lambda: work


PEERS: Final = ((highs, LP_MAX), (assume, ASSUME_MAX), (pymarket, PYMARKET_MAX))


def measure(count: int) -> list[str]:
    """Time everything at one size; the lines to print, with what misses its target."""
    book = book_of(count)
    rounds = max(ROUNDS_MIN, min(ROUNDS_MAX, ORDERS_ROUNDS // count))
    spent = best_of_each(ours(book), rounds)
    orders = orders_of(book)
    spent["plain Python"] = best_s(lambda: lambda: auction.cleared(orders).volume_kwh, 3)
    cleared_s, volume = spent["clear"]
    lines = []
    for name, (seconds, result) in spent.items():
        same = "" if isinstance(result, np.ndarray) or result == volume else f"   OTHER volume {result}"
        lines.append(f"{count:>9} {name:<28} {seconds * 1e3:>12.3f} ms {seconds / cleared_s:>11.1f} x{same}")
    lines += peers_at(book, cleared_s)
    lines.append(_verdict(f"{count:>9} clear, in {SORT}", cleared_s / spent[SORT][0], SORT_RATIO_MAX, "x"))
    if count >= SIZES[-1]:
        lines.append(_verdict(f"{count:>9} clear", cleared_s, CLEARED_S_MAX, "s"))
        lines.append(_verdict(f"{count:>9} pair", spent["pair"][0], PAIRED_S_MAX, "s"))
    return lines


def ours(book: kernel.Book) -> dict[str, Work]:
    """Our ways, and what numpy alone needs to sort as much."""
    keys = np.random.default_rng(2).permutation(book.price_ticks << 20 | book.seq)
    return {
        "np.sort of int64": lambda: np.sort(keys),
        SORT: lambda: np.argsort(book.price_ticks, kind="stable"),
        "clear": lambda: kernel.clear(book).volume_kwh,
        "  by sorting": lambda: kernel.by_sorting(book).volume_kwh,
        "  by sorting, pro rata": lambda: kernel.by_sorting(book, AtMargin.PRORATA).volume_kwh,
        "  by counting": lambda: kernel.by_counting(book).volume_kwh,
        "  by counting, pro rata": lambda: kernel.by_counting(book, AtMargin.PRORATA).volume_kwh,
        "pair": lambda: int(kernel.pair(book).quantity_kwh.sum()),
    }


def peers_at(book: kernel.Book, cleared_s: float) -> list[str]:
    """Time the peers that are there and can do this size."""
    count, lines, found = len(book.seq), [], kernel.clear(book)
    welfare = int((np.where(book.is_buy, 1, -1) * book.price_ticks * found.filled_kwh).sum())
    for peer, most in PEERS:
        name = f"{count:>9} {peer.__name__:<28}"
        if count > most:
            lines.append(f"{name} left out above {most} orders")
            continue
        try:
            seconds, result = best_s(peer(book), 3)
        except ImportError as missing:
            lines.append(f"{name} not installed ({missing.name})")
            continue
        figure, own = ("welfare", welfare) if peer is highs else ("volume", found.volume_kwh)
        agrees = f"the same {figure}" if result == own else f"{figure} {result}, not {own}"
        lines.append(f"{name} {seconds * 1e3:>12.3f} ms {seconds / cleared_s:>11.1f} x   {agrees}")
    return lines


def day_of() -> str:
    """A whole day: 96 periods of 3,000 participants with three segments each."""
    books = [book_of(9_000, seed) for seed in range(96)]
    spent, _ = best_s(lambda: lambda: [kernel.clear(book).volume_kwh for book in books], 5)
    return _verdict("  96 periods by 9,000 orders", spent, DAY_S_MAX, "s")


def _verdict(name: str, found: float, most: float, unit: str) -> str:
    return f"{name}: {found:.3f} {unit}, target {most} {unit}: {'met' if found <= most else 'MISSED'}"


def main() -> None:
    """Print times and ratios to our clearing."""
    for count in tuple(map(int, sys.argv[1:])) or SIZES:
        print("\n".join(measure(count)), flush=True)
    print(day_of())
    print(
        "  not to be had from PyPI for this Python: lemlab, BEST's simply (another has its name), gsy-framework, OpenEUPHEMIA"
    )


if __name__ == "__main__":
    main()
