"""Shells of rolling matching 滚动撮合: announce, submit, cancel, replace, close by the clock.

A book has one writer at a time: whoever holds its lock in the database. The log of events is the truth; a process keeps the
book it has folded from it and, before it uses it, reads what others have appended since. A book whose last event was rolled
back is folded anew, so what is in memory is never ahead of what is committed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from cloud import markettime
from cloud.contracts.contract import from_trade
from cloud.contracts.store import life, wholesale
from cloud.db import Conn, Pool, ProcessRole, Scope, take_scope, transaction
from cloud.errors import Conflict, Forbidden, Invalid, NotFound, NotNow
from cloud.lives import step
from cloud.market.auction import Side
from cloud.market.offering import margin_fen, may_act
from cloud.market.orders import BookState, Code, Limits, Rules, Submission
from cloud.market.orders import check as checked
from cloud.market.rollbook import ROLLING, Answer, Depth, LiveBook, Op, Stays, contracts_of
from cloud.market.store import listings, rolling
from cloud.market.store.rolling import LogRow, NewEvent, NewRolling, OwnRow, RollingRow, TradeRow
from cloud.notices import Notice, post
from cloud.parties.guarantee import contract_purpose
from cloud.parties.guaranteefile import rule_from
from cloud.parties.standing import Standing
from cloud.parties.store import credits, standings
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow

CLOCK: Final = Scope(ProcessRole.WORKER, actor="job:rolling")
BOOKS_KEPT_MAX: Final = 512


class NotAdmitted(Forbidden):
    """Only a party whose registration is in force may trade."""


class OrderRefused(NotNow):
    """An order is refused; the code says why (market.md 9)."""


class NoOrder(NotFound):
    """There is no such order of this party."""


class KeyUsed(Conflict):
    """The client key belongs to something else that this party sent."""


class BadRolling(Invalid):
    """A rolling session cannot be announced like this."""


@dataclass(frozen=True, slots=True)
class OrderSent:
    """An order as its party sends it: price in yuan/MWh and quantity in MWh as texts."""

    period_no: int
    side: Side
    stays: Stays
    price: str
    quantity: str
    unit_id: str
    client_key: UUID | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an event at once. `seq` is its place in the book's log and, of an order, the order's number."""

    receipt_no: str
    seq: int
    order_seq: int
    traded_kwh: int
    resting_kwh: int
    cancelled_kwh: int
    trades: tuple[TradeRow, ...]
    is_self_match: bool
    at: datetime


class Shelf:
    """The books that this process has folded, the last used at the end. One at a time: a writer has the book's lock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[str, int, int], tuple[LiveBook, dict[int, LogRow]]] = OrderedDict()

    def book(self, conn: Conn, row: RollingRow, period_no: int) -> tuple[LiveBook, dict[int, LogRow]]:
        """The book as its committed log says, and its orders by number."""
        key = (conn.info.dsn, row.rolling_id, period_no)
        book, orders = self._kept.pop(key, (LiveBook(row.rule), {}))
        events = rolling.log_after(conn, row.rolling_id, period_no, max(0, book.last_seq - 1))
        if book.last_seq and (not events or events[0].seq != book.last_seq):
            book, orders = LiveBook(row.rule), {}  # the last event was rolled back
            events = rolling.log_after(conn, row.rolling_id, period_no, 0)
        for each in events:
            if each.seq > book.last_seq:
                book.apply(each.event)
                if each.op == Op.ADD:
                    orders[each.seq] = each
        self._kept[key] = (book, orders)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return book, orders


_SHELF: Final = Shelf(BOOKS_KEPT_MAX)
_READ: Final = Shelf(BOOKS_KEPT_MAX)  # for who only looks: committed events, none of them ever rolled back
_READING: Final = threading.Lock()


def announce(conn: Conn, actor: Actor, new: NewRolling, now: datetime) -> int:
    """Announce a rolling session. Raises BadRolling."""
    allow(conn, actor, Deed.DIRECT_ROLLING, Subject("rolling_session", "new"), now)
    opens_at, closes_at = new.hours
    low, high = new.band
    if not now < closes_at or not opens_at < closes_at:
        raise BadRolling("rolling_hours")
    if not new.periods or len(set(new.periods)) != len(new.periods):
        raise BadRolling("rolling_periods")
    if low is not None and high is not None and low > high:
        raise BadRolling("rolling_band")
    step(ROLLING, None, "announce")
    return rolling.announce(conn, new, now, actor_name(actor))


def submit(conn: Conn, actor: Actor, rolling_id: int, sent: OrderSent, now: datetime) -> Receipt:
    """Put an order into its book: it trades at once as far as prices meet, the rest rests, or is cancelled as it says.

    A retry with the same client key gets its first receipt. Raises NotAdmitted, OrderRefused, OverGuarantee.
    """
    allow(conn, actor, Deed.TRADE_ROLLING, Subject("rolling_session", str(rolling_id), actor.party_id), now)
    party_id = _own_party(actor)
    row = rolling.find(conn, rolling_id)
    standing = standings.standing_of(conn, party_id, now)
    if not 1 <= sent.period_no <= len(row.period_label):
        raise OrderRefused("order_period_unknown", code=Code.PERIOD_UNKNOWN.value)
    rolling.lock(conn, rolling_id, sent.period_no)
    kept = _kept(conn, party_id, sent.client_key)
    if kept is not None:
        if (kept.rolling_id, kept.period_no, kept.side) != (rolling_id, sent.period_no, sent.side):
            raise KeyUsed("client_key_used")
        return _receipt_again(conn, kept)
    price_ticks, quantity_kwh = _checked(row, standing, sent, now)
    if sent.unit_id not in listings.units_of(conn, party_id, now):
        raise OrderRefused("unknown_unit", unit=sent.unit_id[:40])
    book, orders = _SHELF.book(conn, row, sent.period_no)
    if book.is_closed:
        raise OrderRefused("order_gate_closed", code=Code.GATE_CLOSED.value)
    _within_limit(conn, row, standing, (None, quantity_kwh))
    event = NewEvent(
        Op.ADD, now, actor_name(actor), party_id, sent.unit_id, sent.side, sent.stays, price_ticks, quantity_kwh,
        client_key=sent.client_key,
    )  # fmt: skip
    seq = rolling.add_event(conn, rolling_id, sent.period_no, event)
    if sent.side is Side.BUY:
        _reserve(conn, row, standing, (_bid_key(seq), price_ticks * quantity_kwh), now)
    log = LogRow(
        seq, Op.ADD, None, party_id, sent.unit_id, sent.side, sent.stays, price_ticks, quantity_kwh, now
    )
    receipt = _applied(conn, row, sent.period_no, (book, orders), log)
    if sent.side is Side.BUY and receipt.cancelled_kwh:
        _free_cut(conn, row, receipt, (party_id, price_ticks), now)
    return receipt


def cancel(conn: Conn, actor: Actor, rolling_id: int, order_seq: int, now: datetime) -> Receipt:
    """Take an own order out of its book; nothing is cancelled, without complaint, when nothing of it is there. Raises NoOrder."""
    allow(conn, actor, Deed.TRADE_ROLLING, Subject("rolling_session", str(rolling_id), actor.party_id), now)
    row, order = _own_order(conn, actor, rolling_id, order_seq)
    rolling.lock(conn, rolling_id, order.period_no)
    book, orders = _SHELF.book(conn, row, order.period_no)
    if book.is_closed or not row.is_open(now):
        raise OrderRefused("order_gate_closed", code=Code.GATE_CLOSED.value)
    event = NewEvent(Op.CANCEL, now, actor_name(actor), actor.party_id, order_seq=order_seq)
    seq = rolling.add_event(conn, rolling_id, order.period_no, event)
    log = LogRow(seq, Op.CANCEL, order_seq, actor.party_id, None, None, None, None, None, now)
    receipt = _applied(conn, row, order.period_no, (book, orders), log)
    if order.side == Side.BUY:
        _free_cut(conn, row, receipt, (_own_party(actor), 0), now)
    return receipt


def replace(
    conn: Conn, actor: Actor, order_at: tuple[int, int], price_and_quantity: tuple[str, str], now: datetime
) -> Receipt:
    """Change price and open quantity of an own order (session, number): its place stays with the same price and no more quantity.

    Raises NoOrder, OrderRefused, OverGuarantee.
    """
    allow(conn, actor, Deed.TRADE_ROLLING, Subject("rolling_session", str(order_at[0]), actor.party_id), now)
    row, order = _own_order(conn, actor, *order_at)
    party_id = _own_party(actor)
    standing = standings.standing_of(conn, party_id, now)
    side = Side(order.side or "")
    sent = OrderSent(order.period_no, side, Stays.DAY, *price_and_quantity, unit_id=order.unit_id or "")
    price_ticks, quantity_kwh = _checked(row, standing, sent, now)
    rolling.lock(conn, row.rolling_id, order.period_no)
    book, orders = _SHELF.book(conn, row, order.period_no)
    if book.is_closed:
        raise OrderRefused("order_gate_closed", code=Code.GATE_CLOSED.value)
    if not book.open_kwh(order.seq):
        raise OrderRefused("order_not_open", order=order.seq)
    _within_limit(conn, row, standing, (order.seq, quantity_kwh))
    event = NewEvent(
        Op.REPLACE, now, actor_name(actor), party_id, order.unit_id, None, None, price_ticks, quantity_kwh, order.seq
    )  # fmt: skip
    seq = rolling.add_event(conn, row.rolling_id, order.period_no, event)
    if side is Side.BUY:
        freed_fen = _free_order(conn, row, order.seq, party_id, now)
        value = price_ticks * quantity_kwh + rolling.bought_value(conn, row.rolling_id, order.seq)
        _reserve(conn, row, standing, (_bid_key(seq), value), now, freed_fen=freed_fen)
    log = LogRow(
        seq, Op.REPLACE, order.seq, party_id, order.unit_id, None, None, price_ticks, quantity_kwh, now
    )
    receipt = _applied(conn, row, order.period_no, (book, orders), log)
    if side is Side.BUY and receipt.cancelled_kwh:
        _free_cut(conn, row, receipt, (party_id, price_ticks), now)
    return receipt


def depth(conn: Conn, row: RollingRow, period_no: int) -> Depth:
    """The best levels of a book, without names: as its committed log says, beside whoever writes it."""
    with _READING:
        book, _ = _READ.book(conn, row, period_no)
        return book.depth()


def open_orders(conn: Conn, row: RollingRow, period_no: int) -> dict[int, tuple[int, int]]:
    """Price in ticks and open kWh of every resting order of a book, by its number."""
    with _READING:
        book, _ = _READ.book(conn, row, period_no)
        return {int(order.id): (order.price_ticks, kwh) for order, kwh in book.resting()}


def cancel_session(conn: Conn, actor: Actor, rolling_id: int, now: datetime) -> None:
    """Call a rolling session off before it has traded. Raises NoSuchMove, OrderRefused."""
    allow(conn, actor, Deed.DIRECT_ROLLING, Subject("rolling_session", str(rolling_id)), now)
    row = rolling.find(conn, rolling_id)
    after = step(ROLLING, row.state, "cancel")
    if rolling.trades_of(conn, rolling_id):
        raise OrderRefused("rolling_traded")
    rolling.move(conn, rolling_id, row.state, after)
    take_scope(
        conn, Scope(ProcessRole.WORKER, actor=actor_name(actor))
    )  # gives back what everybody has bound
    _release(conn, row, now)


def ring(pool: Pool, now: datetime) -> int:
    """Close every rolling session whose hour has come; return how many."""
    with transaction(pool, CLOCK) as conn:
        due = rolling.due(conn, now)
    for row in due:
        with transaction(pool, CLOCK) as conn:
            close(conn, row.rolling_id, now)
    return len(due)


def close(conn: Conn, rolling_id: int, now: datetime) -> tuple[str, ...]:
    """Close the books of a session: rests expire, the trades of each pair become a contract. Safe to repeat.

    Returns the contracts. Raises NoRolling.
    """
    for period_no in range(1, len(rolling.find(conn, rolling_id).period_label) + 1):
        rolling.lock(conn, rolling_id, period_no)
    row = rolling.find(conn, rolling_id)
    if row.state != "scheduled" or now < row.closes_at:
        return rolling.contracts_of(conn, rolling_id)
    for period_no in range(1, len(row.period_label) + 1):
        rolling.add_event(conn, rolling_id, period_no, NewEvent(Op.CLOSE, now, CLOCK.actor))
    rolling.move(conn, rolling_id, row.state, step(ROLLING, row.state, "close"))
    trades = rolling.trades_of(conn, rolling_id)
    pairs = {(each.seller_unit, each.buyer_unit): each for each in trades}
    _release(conn, row, now)
    signed = (markettime.day_of(row.closes_at), f"rolling session {rolling_id}")
    made = contracts_of(f"GD-{rolling_id:05d}", rolling.matches_of(row, trades), signed)
    rule = rule_from(credits.active_body(conn, "guarantee"))
    for terms in made:
        pair = pairs[terms.seller, terms.buyer]
        wholesale.put(conn, terms, CLOCK.actor, now)
        life.insert(conn, from_trade(terms, f"rolling:{rolling_id}"), now, CLOCK.actor)
        rolling.add_contract(conn, rolling_id, terms.contract_id, pair, now)
        own = [each for each in trades if (each.seller_unit, each.buyer_unit) == (terms.seller, terms.buyer)]
        bond_fen = standings.bond_fen(conn, rule, pair.buyer_id, sum(each.kwh for each in own), now)
        standings.carry(conn, pair.buyer_id, bond_fen, contract_purpose(terms.contract_id), now)
        for party_id in (pair.seller_id, pair.buyer_id):
            facts = {"session": row.title, "contract": terms.contract_id}
            key = f"rolling:{terms.contract_id}:{party_id}"
            post(conn, Notice(party_id, "rolling.contract", facts, f"/rolling/{rolling_id}", key), now)
    return tuple(terms.contract_id for terms in made)


# ---- inside ----------------------------------------------------------------------------------------------


def _applied(
    conn: Conn, row: RollingRow, period_no: int, kept: tuple[LiveBook, dict[int, LogRow]], log: LogRow
) -> Receipt:
    """Let the book answer an event that is in its log, and keep its trades."""
    book, orders = kept
    if log.op == Op.ADD:
        orders[log.seq] = log
    answer: Answer = book.apply(log.event)
    trades = tuple(
        _trade(orders[int(each.buy_id)], orders[int(each.sell_id)], log, (each.quantity_kwh, each.price_ticks), period_no)
        for each in answer.trades
    )  # fmt: skip
    for trade in trades:
        rolling.add_trade(conn, row.rolling_id, period_no, trade)
        _tell_resting(conn, row, log, trade)
    order_seq = log.seq if log.op == Op.ADD else log.order_seq or 0
    return Receipt(
        _receipt_no(row.rolling_id, log.seq),
        log.seq,
        order_seq,
        sum(trade.kwh for trade in trades),
        answer.resting_kwh,
        answer.cancelled_kwh,
        trades,
        answer.is_self_match,
        log.at,
    )


def _trade(buy: LogRow, sell: LogRow, log: LogRow, what: tuple[int, int], period_no: int) -> TradeRow:
    assert buy.party_id is not None
    assert sell.party_id is not None
    units = (buy.unit_id or "", sell.unit_id or "")
    return TradeRow(
        0, period_no, log.seq, buy.seq, sell.seq, buy.party_id, sell.party_id, *units, *what, at=log.at
    )


def _tell_resting(conn: Conn, row: RollingRow, log: LogRow, trade: TradeRow) -> None:
    """Tell the side whose order rested: the other has its receipt."""
    party_id = trade.seller_id if log.party_id == trade.buyer_id else trade.buyer_id
    order = trade.sell_seq if log.party_id == trade.buyer_id else trade.buy_seq
    facts = {"session": row.title, "order": str(order), "mwh": f"{trade.kwh // 1000}.{trade.kwh % 1000:03d}"}
    key = f"rolling:{row.rolling_id}:{log.seq}:{order}"
    post(conn, Notice(party_id, "rolling.traded", facts, f"/rolling/{row.rolling_id}", key), log.at)


def _checked(row: RollingRow, standing: Standing, sent: OrderSent, now: datetime) -> tuple[int, int]:
    """Price and quantity in whole units, by the checks of every declaration. Raises OrderRefused, NotAdmitted."""
    if not standing.is_admitted:
        raise NotAdmitted("trader_not_admitted")
    rules = Rules(
        len(row.period_label), row.price_min_ticks, row.price_max_ticks, row.tick, row.lot_kwh, 1, Decimal(0)
    )
    limits = Limits(is_eligible=may_act(standing.kind, sent.side), cap_kwh=standing.limit_kwh)
    submission = Submission(
        str(standing.party_id), sent.side, sent.period_no, ((sent.price.strip(), sent.quantity.strip()),)
    )
    found = checked(rules, limits, BookState(row.is_open(now)), submission)
    if found.code is not Code.ACCEPT:
        raise OrderRefused(f"order_{found.code.value.lower()}", code=found.code.value)
    (segment,) = found.segments
    return segment.price_ticks, segment.quantity_kwh


def _within_limit(conn: Conn, row: RollingRow, standing: Standing, order: tuple[int | None, int]) -> None:
    """Hold all of a party's trades and open orders of the session, of every period, to its limit. Raises OrderRefused."""
    replaced, quantity_kwh = order
    if standing.limit_kwh is None:
        return
    standings.lock_limit(conn, standing.party_id)
    if (
        rolling.bound_kwh(conn, row.rolling_id, standing.party_id, replaced) + quantity_kwh
        > standing.limit_kwh
    ):
        raise OrderRefused("order_qty_cap", code=Code.QTY_CAP.value)


def _own_order(conn: Conn, actor: Actor, rolling_id: int, order_seq: int) -> tuple[RollingRow, OwnRow]:
    order = rolling.own_order(conn, _own_party(actor), order_seq)
    if order is None or order.rolling_id != rolling_id:
        raise NoOrder("not_found", kind="order")
    return rolling.find(conn, rolling_id), order


def _kept(conn: Conn, party_id: int, client_key: UUID | None) -> OwnRow | None:
    return None if client_key is None else rolling.by_client_key(conn, party_id, client_key)


def _receipt_again(conn: Conn, kept: OwnRow) -> Receipt:
    """The first answer to an event: found again by folding the log up to it."""
    row = rolling.find(conn, kept.rolling_id)
    book = LiveBook(row.rule)
    answer = Answer()
    for each in rolling.log_after(conn, kept.rolling_id, kept.period_no, 0):
        if each.seq <= kept.seq:
            answer = book.apply(each.event)
    trades = tuple(each for each in rolling.trades_of(conn, kept.rolling_id) if each.seq == kept.seq)
    return Receipt(
        _receipt_no(kept.rolling_id, kept.seq),
        kept.seq,
        kept.order_seq or kept.seq,
        sum(trade.kwh for trade in trades),
        answer.resting_kwh,
        answer.cancelled_kwh,
        trades,
        answer.is_self_match,
        kept.at,
    )


def _reserve(
    conn: Conn,
    row: RollingRow,
    standing: Standing,
    bid: tuple[str, int],
    now: datetime,
    *,
    freed_fen: int = 0,
) -> None:
    """Bind margin for a bid, for what it bought and what is open of it, until the session closes; `bid` is (purpose, value).

    What asks for no more than it has just freed goes through, also where a guarantee has shrunk meanwhile.
    """
    purpose, value = bid
    if standing.guarantee_free_fen is not None:
        amount_fen = margin_fen(value, row.margin_rate_pct)
        bind = standings.carry if amount_fen <= freed_fen else standings.reserve
        bind(conn, standing.party_id, amount_fen, purpose, now)


def _free_cut(conn: Conn, row: RollingRow, receipt: Receipt, bid: tuple[int, int], now: datetime) -> None:
    """Part of a bid is gone: only what it bought and what rests of it stays bound; `bid` is (party, price of the rest)."""
    party_id, price_ticks = bid
    if not _free_order(conn, row, receipt.order_seq, party_id, now):
        return
    value = receipt.resting_kwh * price_ticks + rolling.bought_value(conn, row.rolling_id, receipt.order_seq)
    amount_fen = margin_fen(value, row.margin_rate_pct)
    standings.carry(conn, party_id, amount_fen, _bid_key(receipt.seq, is_cut=True), now)


def _free_order(conn: Conn, row: RollingRow, order_seq: int, party_id: int, now: datetime) -> int:
    """Give back all that an order has bound, in the transaction that binds what is left of it; say how much."""
    freed_fen = 0
    for each in rolling.own_events(conn, party_id, row.rolling_id):
        if order_seq in (each.seq, each.order_seq):
            for is_cut in (False, True):
                freed_fen += standings.release(conn, _bid_key(each.seq, is_cut=is_cut), now)
    return freed_fen


def _release(conn: Conn, row: RollingRow, now: datetime) -> None:
    for period_no in range(1, len(row.period_label) + 1):
        for each in rolling.log_after(conn, row.rolling_id, period_no, 0):
            for is_cut in (False, True):
                standings.release(conn, _bid_key(each.seq, is_cut=is_cut), now)


def _bid_key(seq: int, *, is_cut: bool = False) -> str:
    """Under which name an event's bid is bound, and what is left of it once part of it was cancelled at once."""
    return f"rolling:bid:{seq}:left" if is_cut else f"rolling:bid:{seq}"


def _receipt_no(rolling_id: int, seq: int) -> str:
    return f"GD{rolling_id:05d}-{seq:08d}"


def _own_party(actor: Actor) -> int:
    if actor.party_id is None:
        raise NotAdmitted("trader_not_admitted")
    return actor.party_id
