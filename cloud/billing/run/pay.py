"""Take payments: open an order, take a report of money, compare a provider's statement. One transaction each, the caller's.

Nothing here talks to a provider (cloud.outside.payments does, before or after); a report is taken once however often and
however parallel it comes: the order's row is locked, the receipt is unique by channel and reference, the journal by key.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from cloud.billing import payment
from cloud.billing import reconcile as compare
from cloud.billing.ledger import Journal, Posting
from cloud.billing.payment import (
    PAYMENT,
    Cash,
    FoundBy,
    NothingThere,
    Notified,
    Open,
    Order,
    Provider,
    Purpose,
    Verdict,
)
from cloud.billing.reconcile import Difference, Kind, Statement, StatementLine, What
from cloud.billing.store import ledger as books
from cloud.billing.store import payments as store
from cloud.billing.store import statements
from cloud.db import Conn
from cloud.lives import NoSuchMove, step
from cloud.markettime import day_of

log = logging.getLogger(__name__)

ORDER_LIFE: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a customer wants to pay, and how. Without an amount: everything open, or the whole chosen bill."""

    account_id: str
    provider: Provider
    purpose: Purpose
    month: date | None
    amount_fen: int | None
    is_phone: bool


def owed_fen(conn: Conn, account_id: str, month: date | None = None) -> int:
    """Add up what is open of an account, or of one bill month with its late fee."""
    opened = books.open_items(conn, account_id)
    return sum(each.open_fen for each in opened if month is None or each.month == month)


def open_order(conn: Conn, wish: Wish, actor: str, now: datetime) -> Order:
    """Open a payment order, or find the one that is open for just the same. Raises BadAmount, NothingThere."""
    amount_fen = wish.amount_fen
    if amount_fen is None:
        amount_fen = owed_fen(conn, wish.account_id, wish.month)
        if amount_fen <= 0:
            raise NothingThere("nothing_owed")
    payment.check_amount(amount_fen)
    order = Order(
        order_no=f"P{now:%y%m%d}{secrets.token_hex(6).upper()}",
        account_id=wish.account_id,
        provider=wish.provider,
        purpose=wish.purpose,
        month=wish.month,
        amount_fen=amount_fen,
        is_phone=wish.is_phone,
        state=step(PAYMENT, None, "open"),
        pay_url="",
        problem="",
        transaction_id=None,
        created_at=now,
        expires_at=now + ORDER_LIFE,
        asked_at=None,
    )
    known = store.find_same(conn, order)
    if known is not None:
        return known
    store.insert_order(conn, order, actor)
    return order


def move(
    conn: Conn,
    order_no: str,
    deed: str,
    now: datetime,
    *,
    pay_url: str | None = None,
    problem: str | None = None,
) -> Order:
    """Move an order: offered, refused, closed. One that has moved on meanwhile stays as it is. Raises NoOrder."""
    order = store.find_order(conn, order_no, is_locked=True)
    if order is None:
        raise store.NoOrder("not_found", kind="payment")
    try:
        state = step(PAYMENT, order.state, deed)
    except NoSuchMove:
        return order
    store.move_order(conn, order_no, state, pay_url=pay_url, problem=problem)
    store.note_event(conn, order_no, deed, state, now, "job:payments", problem=problem or "")
    found = store.find_order(conn, order_no)
    assert found is not None
    return found


def take(conn: Conn, notified: Notified, now: datetime) -> Verdict:
    """Take a genuine report of money: book it to the order's customer once, or to suspense when it does not fit."""
    order = store.find_order(conn, notified.order_no, is_locked=True)
    found = payment.verdict(order, notified)
    if found is Verdict.ACCEPTED and order is not None:
        return _book(conn, order, notified, now)
    if found is Verdict.REPEAT:
        return found
    return _suspend(conn, order if found is Verdict.MISMATCH else None, notified, found, now)


def _book(conn: Conn, order: Order, notified: Notified, now: datetime) -> Verdict:
    store.lock_money(conn, order.account_id)
    receipt_id = store.insert_receipt(conn, _receipt(notified, order.order_no, ""), now)
    if receipt_id is None:
        return Verdict.REPEAT
    opened = tuple(
        Open(each.item, each.month, each.open_fen) for each in books.open_items(conn, order.account_id)
    )
    allocation = payment.allocate(notified.amount_fen, opened, order.month)
    day = payment.effective_day(day_of(notified.paid_at), books.locked_through(conn))
    journal = payment.received(notified, order.account_id, allocation, day, order.order_no)
    journal_id = books.post(conn, journal, now).journal_id
    actor = f"{notified.provider}:{notified.found_by}"
    store.add_part(conn, receipt_id, order.account_id, notified.amount_fen, journal_id, (actor, now))
    _moved(conn, order, "pay", notified, now)
    log.info("pay.taken order=%s fen=%d by=%s", order.order_no, notified.amount_fen, actor)
    return Verdict.ACCEPTED


def _suspend(conn: Conn, order: Order | None, notified: Notified, why: Verdict, now: datetime) -> Verdict:
    order_no = None if order is None else order.order_no
    if store.insert_receipt(conn, _receipt(notified, order_no, why), now) is None:
        return Verdict.REPEAT
    event = day_of(notified.paid_at)
    day = payment.effective_day(event, books.locked_through(conn))
    cash = Cash(notified.provider, notified.transaction_id, notified.amount_fen, event)
    books.post(conn, payment.suspended(cash, day), now)
    if order is not None and (order.state, "suspend") in PAYMENT.moves:
        _moved(conn, order, "suspend", notified, now)
    log.error(
        "pay.suspended why=%s order=%s transaction=%s fen=%d",
        *(why, notified.order_no, notified.transaction_id, notified.amount_fen),
    )
    return why


def _moved(conn: Conn, order: Order, deed: str, notified: Notified, now: datetime) -> None:
    state = step(PAYMENT, order.state, deed)
    store.move_order(conn, order.order_no, state, transaction_id=notified.transaction_id)
    store.note_event(
        *(conn, order.order_no, deed, state, now, f"{notified.provider}:{notified.found_by}"),
        transaction=notified.transaction_id,
        amount_fen=notified.amount_fen,
    )


def _receipt(notified: Notified, order_no: str | None, why: str) -> store.NewReceipt:
    return store.NewReceipt(
        channel=notified.provider,
        reference=notified.transaction_id,
        order_no=order_no,
        amount_fen=notified.amount_fen,
        received_on=day_of(notified.paid_at),
        received_at=notified.paid_at,
        payer_name=notified.payer,
        memo="" if order_no else notified.order_no,
        found_by=notified.found_by,
        why_suspended=why,
    )


# ---- the provider's statement ----------------------------------------------------------------------------


def reconcile(conn: Conn, statement: Statement, now: datetime) -> tuple[Difference, ...]:
    """Compare a provider's day with our books, keep every difference, book fees and payments that we had missed.

    The same day again adds only what is new. A payment we had missed is booked like any other report; the difference
    stays on record as settled that way.
    """
    provider, day = statement.provider, statement.day
    statements.insert_statement(conn, statement, now)
    found = compare.differences(statement, statements.ours(conn, provider, day))
    statements.insert_differences(conn, provider, day, found)
    lines = {(line.what, line.reference): line for line in statement.lines}
    for each in found:
        if each.kind is Kind.MISSING_HERE and each.what is What.PAYMENT:
            taken = take(conn, _from_line(provider, lines[each.what, each.reference]), now)
            key = (provider, day, each.kind, each.what, each.reference)
            if taken in (Verdict.ACCEPTED, Verdict.MISMATCH, Verdict.UNKNOWN_ORDER):
                statements.resolve(conn, key, f"booked: {taken}", (now, "job:reconcile"))
    booked_fen, last_journal = statements.booked_fee(conn, provider, day)
    if statement.fee_fen != booked_fen:
        effective = payment.effective_day(day, books.locked_through(conn))
        fee_key = f"provider-fee:{provider}:{day}:{last_journal}"
        books.post(conn, _fee(fee_key, statement, booked_fen, effective), now)
    log.info("pay.reconciled provider=%s day=%s lines=%d found=%d", provider, day, len(lines), len(found))
    return found


def _from_line(provider: Provider, line: StatementLine) -> Notified:
    return Notified(provider, line.reference, line.order_no, line.amount_fen, line.at, "", FoundBy.STATEMENT)


def _fee(key: str, statement: Statement, booked_fen: int, effective: date) -> Journal:
    """Book what the day's fees come to beyond what is booked: a statement that was fetched too early had less."""
    change_fen = statement.fee_fen - booked_fen
    postings = (
        Posting("expense/provider_fee", change_fen),
        Posting(f"cash/{statement.provider}", -change_fen),
    )
    return Journal(key, "book_provider_fee", statement.day, effective, postings)
