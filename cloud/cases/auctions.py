"""Worked cases of clearing and order intake: what each kind computes, in the file's own shapes. Pure.

The file's format: schema `auction-cases` 1.0, docs/operations/market-cases.md. Prices are whole ticks, quantities whole kWh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

from cloud.cases.auctionfile import Bad, Case, Json, Table
from cloud.market import auction, orders
from cloud.market.auction import AtMargin, Order, PriceRule, Side
from cloud.market.listing import Listing, Sharing, Take, Withdrawal, taken
from cloud.market.rolling import Book, Trade, TradePrice
from cloud.market.spread import ReturnSplit, spread_return


def work(case: Case) -> dict[str, Json]:
    """Compute everything the case's kind can expect. Raises Bad."""
    return _KINDS[case.kind](case)


def orders_from(table: Table, key: str = "orders") -> list[Order]:
    """Read orders {id, side, p, q, seq}; ids are unique, `seq` orders time."""
    rows = table.tables(key)
    found = [
        Order(
            row.text("id"),
            row.side("side"),
            row.integer("p"),
            row.integer("q", least=0),
            row.integer("seq") if row.has("seq") else number,
            row.text("participant") if row.has("participant") else "",
        )
        for number, row in enumerate(rows)
    ]
    _once(table.place, f"{key}[].id", [each.id for each in found])
    _once(table.place, f"{key}[].seq", [each.seq for each in found])
    return found


def _once(place: str, name: str, values: Sequence[str | int]) -> None:
    seen: set[str | int] = set()
    for value in values:
        if value in seen:
            raise Bad(place, name, value, "each once")
        seen.add(value)


def call_auction(listed: Sequence[Order]) -> dict[str, Json]:
    """Volume, last pair, interval, every price rule, fills by both allocations, pairs and welfare."""
    clearings = {margin: auction.cleared(listed, margin) for margin in AtMargin}
    clearing = clearings[AtMargin.TIME]
    interval = clearing.interval_ticks
    fills = {margin.value: each.filled_kwh() for margin, each in clearings.items()}
    by_id = {order.id: order for order in listed}
    welfare = sum(
        (1 if by_id[each].side is Side.BUY else -1) * by_id[each].price_ticks * kwh
        for each, kwh in fills[AtMargin.TIME.value].items()
    )
    return {
        "volume": clearing.volume_kwh,
        "last_bid": clearing.last_bid_ticks,
        "last_ask": clearing.last_ask_ticks,
        "interval": None if interval is None else list(interval),
        "price": {rule.value: auction.price_ticks(clearing, rule) for rule in PriceRule},
        "fills": {margin: dict(each) for margin, each in fills.items()},
        "pairs": [
            [pair.buy_id, pair.sell_id, pair.quantity_kwh, pair.price_ticks]
            for pair in auction.paired(listed)
        ],
        "welfare": welfare,
    }


def _call_auction(case: Case) -> dict[str, Json]:
    return call_auction(orders_from(case.table))


def _rolling(case: Case) -> dict[str, Json]:
    trades: dict[str, Json] = {}
    for rule in TradePrice:
        book, made, cancelled = _played(case, rule)
        trades[rule.value] = [[t.buy_id, t.sell_id, t.quantity_kwh, t.price_ticks] for t in made]
    resting = [
        [order.id, order.side.value, order.price_ticks, open_kwh] for order, open_kwh in book.resting()
    ]
    return {"trades": trades, "resting_book": resting, "cancelled_qty": cancelled}


def _played(case: Case, rule: TradePrice) -> tuple[Book, list[Trade], dict[str, Json]]:
    book, made = Book(rule), list[Trade]()
    cancelled: dict[str, Json] = {}
    sides: dict[str, Side] = {}
    for number, event in enumerate(case.table.tables("events")):
        own = event.text("id")
        match event.choice("op", ("add", "cancel", "replace")):
            case "cancel":
                cancelled[own] = book.cancel(own)
            case "add" if own in sides:
                raise Bad(event.place, "id", own, "an id that was not added before")
            case "add":
                sides[own] = event.side("side")
                made += book.add(_incoming(event, sides[own], number))
            case _ if own in sides:  # a replace of an order nobody knows is nothing
                made += book.replace(_incoming(event, sides[own], number))
    return book, made, cancelled


def _incoming(event: Table, side: Side, seq: int) -> Order:
    who = event.text("participant") if event.has("participant") else ""
    return Order(event.text("id"), side, event.integer("p"), event.integer("q", least=0), seq, who)


def _listing(case: Case) -> dict[str, Json]:
    terms = case.table.table("listing")
    listing = Listing(
        terms.text("lister"),
        terms.side("side"),
        terms.integer("p"),
        terms.integer("q", least=0),
        terms.integer("min_take", least=0) if terms.has("min_take") else 0,
        terms.flag("all_or_none") if terms.has("all_or_none") else False,
        Sharing(terms.choice("mode", tuple(Sharing)) if terms.has("mode") else Sharing.TIME),
    )
    events: list[Take | Withdrawal] = []
    for event in case.table.tables("events"):
        if event.choice("op", ("take", "withdraw")) == "withdraw":
            events.append(Withdrawal())
        else:
            events.append(Take(event.text("id"), event.text("taker"), event.integer("q", least=0)))
    _once(case.table.place, "events[].id", [each.id for each in events if isinstance(each, Take)])
    listed = taken(listing, events)
    return {
        "price": listing.price_ticks,
        "fills": {each.take_id: each.quantity_kwh for each in listed.takes if each.quantity_kwh},
        "rejected": {each.take_id: each.refusal.value for each in listed.takes if each.refusal},
        "remaining": listed.remaining_kwh,
        "withdrawn": listed.withdrawn_kwh,
    }


def _spread(case: Case) -> dict[str, Json]:
    listed = orders_from(case.table)
    beta = case.table.fraction("beta")
    found = {split: spread_return(listed, beta, split) for split in ReturnSplit}
    first = found[ReturnSplit.BY_VOLUME]
    pairs = [[pair.buy_id, pair.sell_id, pair.quantity_kwh, pair.price_ticks] for pair in first.pairs]
    return {
        "volume": first.volume_kwh,
        "surplus": str(first.surplus_tick_kwh),
        "pairs": pairs,
        "fills": dict(first.filled_kwh()),
        "settlement": {split.value: _settled(each.settled_ticks) for split, each in found.items()},
    }


def _settled(ticks: Mapping[str, Fraction]) -> dict[str, Json]:
    return {
        own: {
            "spread_exact": str(exact),
            "spread_rounded": auction.half_up(exact.numerator, exact.denominator),
        }
        for own, exact in ticks.items()
    }


def _intake(case: Case) -> dict[str, Json]:
    config, state = case.table.table("config"), case.table.table("state")
    sent = _submission(case.table.table("order"))
    caps = config.table("max_qty_per_participant_m") if config.has("max_qty_per_participant_m") else None
    money = config.table("balance_cny") if config.has("balance_cny") else None
    who = sent.participant
    limits = orders.Limits(
        cap_kwh=caps.integer(who, least=0) if caps and caps.has(who) else None,
        margin_free_yuan=money.decimal(who) if money and money.has(who) else None,
    )
    held = tuple(
        _held(prior.integer("seq"), _submission(prior.table("order"))) for prior in state.tables("prior")
    )
    is_open = state.choice("phase", ("OPEN", "CLOSED")) == "OPEN"
    checked = orders.check(_rules(config), limits, orders.BookState(is_open, held), sent)
    # The format has one code for what cannot be read; the service says which of the two it was.
    is_syntax = checked.code in (orders.Code.QTY_INVALID, orders.Code.NO_SEGMENT)
    found: dict[str, Json] = {"code": (orders.Code.PRICE_INVALID if is_syntax else checked.code).value}
    if checked.first_seq is not None:
        found["seq"] = checked.first_seq
    return found


def _rules(config: Table) -> orders.Rules:
    return orders.Rules(
        period_count=config.integer("periods", least=1),
        price_min_ticks=config.integer("price_min_c") if config.has("price_min_c") else None,
        price_max_ticks=config.integer("price_max_c") if config.has("price_max_c") else None,
        step_ticks=config.integer("tick_c", least=1),
        lot_kwh=config.integer("lot_m", least=1),
        segment_count_max=config.integer("max_segments", least=1),
        margin_rate_pct=config.decimal("margin_rate_pct") if config.has("margin_rate_pct") else Decimal(0),
    )


def _submission(order: Table) -> orders.Submission:
    segments = order.content.get("segments")
    if not isinstance(segments, list):
        order.refuse("segments", 'a list of ["price", "quantity"]')
    pairs = []
    for each in segments:
        if not isinstance(each, list) or len(each) != 2 or not all(isinstance(part, str) for part in each):
            order.refuse("segments", 'pairs of decimal texts ["372.00", "10.000"]')
        pairs.append((each[0], each[1]))
    key = order.text("client_key") if order.has("client_key") else None
    return orders.Submission(
        order.text("participant"), order.side("side"), order.integer("period"), tuple(pairs), key
    )


def _held(seq: int, sent: orders.Submission) -> orders.Held:
    open_rules = orders.Rules(
        period_count=max(1, sent.period_no),
        price_min_ticks=None,
        price_max_ticks=None,
        segment_count_max=10**6,
    )
    checked = orders.check(open_rules, orders.Limits(), orders.BookState(is_open=True), sent)
    return orders.Held(seq, sent.participant, sent.side, sent.period_no, checked.segments, sent.client_key)


_KINDS: Final[Mapping[str, Callable[[Case], dict[str, Json]]]] = {
    "call_auction": _call_auction,
    "rolling": _rolling,
    "listing": _listing,
    "spread_return": _spread,
    "intake": _intake,
}
