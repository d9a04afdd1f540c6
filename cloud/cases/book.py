"""A book to clear: a list of orders, an object with them, several periods, or one case of a file. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cloud.cases.auctionfile import Bad, Json, Table, decoded, table_of
from cloud.cases.auctions import orders_from
from cloud.market import auction, kernel
from cloud.market.auction import AtMargin, Clearing, Order, Pair, PriceRule, Side

PERIODS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Cleared:
    """One period's result under a rule; with pairs when each pair has its own price."""

    period: str
    orders: tuple[Order, ...]
    clearing: Clearing
    rule: PriceRule
    margin: AtMargin
    pairs: tuple[Pair, ...] | None

    @property
    def price_ticks(self) -> int | None:
        """The uniform price; None without a trade, and where each pair has its own."""
        return None if self.pairs is not None else auction.price_ticks(self.clearing, self.rule)

    @property
    def welfare(self) -> int:
        """What buyers offered less what sellers asked, of what traded: ticks x kWh."""
        filled = self.clearing.filled_kwh()
        return sum(
            (1 if order.side is Side.BUY else -1) * order.price_ticks * filled.get(order.id, 0)
            for order in self.orders
        )

    @property
    def input_sha256(self) -> str:
        """The hash of the canonical order list."""
        return orders_sha256(self.orders)

    def document(self) -> dict[str, Json]:
        """The whole result; every order has a fill, also of zero, in the order of time."""
        clearing, rules = self.clearing, tuple(PriceRule)
        interval = clearing.interval_ticks
        seqs = {order.id: order.seq for order in self.orders}
        fills = sorted(clearing.fills, key=lambda fill: seqs[fill.order_id])
        return {
            "period": self.period,
            "rule": "pairs" if self.pairs is not None else self.rule.value,
            "allocation": self.margin.value,
            "orders": len(self.orders),
            "volume": clearing.volume_kwh,
            "price": self.price_ticks,
            "prices": {rule.value: auction.price_ticks(clearing, rule) for rule in rules},
            "last_bid": clearing.last_bid_ticks,
            "last_ask": clearing.last_ask_ticks,
            "bid_out": clearing.bid_out_ticks,
            "ask_out": clearing.ask_out_ticks,
            "interval": None if interval is None else list(interval),
            "welfare": self.welfare,
            "fills": {fill.order_id: fill.quantity_kwh for fill in fills},
            "pairs": None
            if self.pairs is None
            else [[pair.buy_id, pair.sell_id, pair.quantity_kwh, pair.price_ticks] for pair in self.pairs],
            "input_sha256": self.input_sha256,
        }


def orders_sha256(orders: Iterable[Order]) -> str:
    """Hash the canonical order list: by seq, one JSON array an order; the array order of the input does not matter."""
    listed = sorted(orders, key=lambda order: order.seq)
    rows = [
        [each.seq, each.id, each.participant, each.side.value, each.price_ticks, each.quantity_kwh]
        for each in listed
    ]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def result_sha256(documents: Sequence[Mapping[str, Json]]) -> str:
    """Hash the results: the same book under the same rule gives the same on every machine."""
    text = json.dumps(documents, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def books_from(text: str, place: str, case_id: str | None = None) -> dict[str, tuple[Order, ...]]:
    """Read a book: period -> orders; a book without periods has one, called "1". Raises Bad."""
    content = decoded(text, place)
    if isinstance(content, list):
        return {"1": tuple(orders_from(Table(place, {"orders": content})))}
    top = table_of(content, place)
    if top.has("call_auction"):
        top = _case_of(top, case_id)
    elif case_id is not None:
        raise Bad(place, "--id", case_id, "only with a file of cases (call_auction)")
    if top.has("periods"):
        table = top.table("periods")
        if not 1 <= len(table.content) <= PERIODS_MAX:
            top.refuse("periods", f"1 to {PERIODS_MAX} periods, each a list of orders")
        return {period: tuple(orders_from(table, period)) for period in table.content}
    if not top.has("orders"):
        top.refuse("orders", 'a list of orders {"id", "side": "B" | "S", "p", "q", "seq"}')
    return {"1": tuple(orders_from(top))}


def clear(
    books: Mapping[str, Sequence[Order]], rule: PriceRule, margin: AtMargin, *, is_paired: bool
) -> tuple[Cleared, ...]:
    """Clear each period by itself: periods are independent."""
    return tuple(
        Cleared(
            period,
            tuple(orders),
            kernel.cleared(orders, margin),
            rule,
            margin,
            kernel.paired(orders) if is_paired else None,
        )
        for period, orders in books.items()
    )


def _case_of(top: Table, case_id: str | None) -> Table:
    cases = top.tables("call_auction")
    ids = [case.text("id") for case in cases]
    if case_id is None and len(cases) == 1:
        return cases[0]
    if case_id not in ids:
        raise Bad(top.place, "--id", case_id, ", ".join(ids)[:300])
    return cases[ids.index(case_id)]
