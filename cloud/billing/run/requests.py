"""What needs a second person: refund, waiver of a late fee, bad debt, write-off of money that is nobody's.

One asks, another decides (the database refuses the same person). All but a refund are carried out in the transaction of
the decision; a refund's amount is taken from the customer then, and a worker sends it.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from cloud.billing import payment
from cloud.billing.ledger import Journal, Posting, receivable, reversal
from cloud.billing.payment import REQUEST, SUSPENSE, BadAmount, NothingThere, OwnRequest
from cloud.billing.store import collect as store
from cloud.billing.store import ledger as books
from cloud.billing.store import payments
from cloud.db import Conn
from cloud.lives import step
from cloud.markettime import day_of

log = logging.getLogger(__name__)

REASON_LENGTH_MAX: Final = 500
UNCLAIMED: Final = "income/unclaimed"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for. `key` is a receipt's number, or an open item."""

    kind: str
    account_id: str | None
    receipt_id: int | None
    item: str
    amount_fen: int
    reason: str


def ask(conn: Conn, wish: Wish, actor: str, now: datetime) -> int:
    """Ask for something that another person has to approve; return the request's number.

    Raises BadAmount, NothingThere, NoReceipt.
    """
    reason = wish.reason.strip()
    if wish.amount_fen <= 0 or not 1 <= len(reason) <= REASON_LENGTH_MAX:
        raise BadAmount("bad_request", longest=REASON_LENGTH_MAX)
    _check(conn, wish)
    return store.insert_request(
        conn,
        store.RequestRow(
            request_id=0,
            kind=wish.kind,
            account_id=wish.account_id,
            receipt_id=wish.receipt_id,
            item=wish.item,
            amount_fen=wish.amount_fen,
            reason=reason,
            state=step(REQUEST, None, "ask"),
            asked_by=actor,
            asked_at=now,
            decided_by=None,
            decided_at=None,
            refund_no=f"R{now:%y%m%d}{secrets.token_hex(6).upper()}" if wish.kind == "refund" else None,
            problem="",
        ),
    )


def decide(conn: Conn, request_id: int, actor: str, now: datetime, *, is_approved: bool) -> store.RequestRow:
    """Approve or decline a request that somebody else made, and carry it out.

    Raises OwnRequest, NoSuchMove, NothingThere, NoRequest.
    """
    row = store.lock_request(conn, request_id)
    if row.asked_by == actor:
        raise OwnRequest("own_request")
    state = step(REQUEST, row.state, "approve" if is_approved else "decline")
    if is_approved:
        _carry_out(conn, row, actor, now)
    store.decide_request(conn, request_id, state, actor, now)
    if is_approved and row.kind != "refund":
        store.settle_request(conn, request_id, step(REQUEST, state, "settle"))
    return store.lock_request(conn, request_id)


def refund_left(conn: Conn, row: store.RequestRow, now: datetime) -> None:
    """Book that a refund has left; a worker after the provider's answer, or a person after a bank transfer."""
    receipt = payments.load_receipt(conn, _receipt_id(row))
    books.post(conn, payment.refund_sent(row.request_id, receipt.channel, row.amount_fen, day_of(now)), now)


def refund_moved(conn: Conn, request_id: int, deed: str, now: datetime, problem: str = "") -> None:
    """Move a refund under way: sent, settled (booked) or failed (what was taken from the customer is given back)."""
    row = store.lock_request(conn, request_id)
    if row.state == deed or (row.state, deed) not in REQUEST.moves:
        store.move_request(conn, request_id, row.state, now, problem)
        return
    if deed == "settle":
        refund_left(conn, row, now)
    elif deed == "fail":
        journal_id = books.find_id(conn, f"refund:{request_id}")
        assert journal_id is not None
        books.post(conn, reversal(journal_id, books.load(conn, journal_id), day_of(now)), now)
        log.error("refund.failed request=%d problem=%s", request_id, problem)
    store.move_request(conn, request_id, step(REQUEST, row.state, deed), now, problem)


def transferred(conn: Conn, request_id: int, now: datetime) -> None:
    """Note that a person has made the bank transfer of an approved refund. Raises NoSuchMove, BadAmount."""
    row = store.lock_request(conn, request_id)
    if row.kind != "refund" or payments.load_receipt(conn, _receipt_id(row)).channel != "bank":
        raise BadAmount("not_by_bank")
    state = step(REQUEST, row.state, "settle")
    refund_left(conn, row, now)
    store.settle_request(conn, request_id, state)


def _check(conn: Conn, wish: Wish) -> None:
    """Raise NothingThere when there is not that much to give back, waive or write off."""
    left_fen = 0
    if wish.kind == "refund":
        receipt = payments.lock_receipt(conn, _receipt_id(wish))  # two who ask at once do not both get it
        left_fen = store.refundable_fen(conn, receipt.receipt_id, wish.account_id or "")
    elif wish.kind == "write_off":
        left_fen = payments.load_receipt(conn, _receipt_id(wish)).open_fen
    else:
        left_fen = sum(
            each.open_fen for each in books.open_items(conn, wish.account_id or "") if each.item == wish.item
        )
    if wish.amount_fen > left_fen:
        raise NothingThere("nothing_there", amount_fen=wish.amount_fen, left_fen=max(0, left_fen))


def _carry_out(conn: Conn, row: store.RequestRow, actor: str, now: datetime) -> None:
    day = day_of(now)
    if row.kind == "write_off":
        receipt = payments.lock_receipt(conn, _receipt_id(row))
        if row.amount_fen > receipt.open_fen:
            raise NothingThere("nothing_there", amount_fen=row.amount_fen, left_fen=receipt.open_fen)
        journal_id = books.post(conn, _write_off(row, receipt, day), now).journal_id
        payments.add_part(conn, receipt.receipt_id, None, row.amount_fen, journal_id, (actor, now))
        return
    account_id = row.account_id
    assert account_id is not None
    payments.lock_money(conn, account_id)
    if row.kind == "refund":
        settled = store.settled_by(conn, _receipt_id(row), account_id)
        prepaid_fen = books.prepaid_fen(conn, account_id)
        paid = store.paid_items(conn, account_id)
        from_prepaid_fen, reduced = payment.refund_source(row.amount_fen, prepaid_fen, settled, paid)
        books.post(
            conn, payment.refund_taken(row.request_id, account_id, reduced, from_prepaid_fen, day), now
        )
        return
    open_fen = sum(each.open_fen for each in books.open_items(conn, account_id) if each.item == row.item)
    if row.amount_fen > open_fen:
        raise NothingThere("nothing_there", amount_fen=row.amount_fen, left_fen=open_fen)
    books.post(conn, _forgiven(row, account_id, day), now)


def _forgiven(row: store.RequestRow, account_id: str, day: date) -> Journal:
    """Waive a late fee (less income), or give up a debt (a cost)."""
    against = "income/late_fee" if row.kind == "waiver" else "expense/bad_debt"
    postings = (
        Posting(against, row.amount_fen),
        Posting(receivable(account_id), -row.amount_fen, row.item),
    )
    facts = (("request", str(row.request_id)),)
    return Journal(f"request:{row.request_id}", f"approve_{row.kind}", day, day, postings, facts)


def _write_off(row: store.RequestRow, receipt: payments.ReceiptRow, day: date) -> Journal:
    postings = (
        Posting(SUSPENSE, row.amount_fen, f"{receipt.channel}:{receipt.reference}"),
        Posting(UNCLAIMED, -row.amount_fen),
    )
    facts = (("request", str(row.request_id)),)
    return Journal(f"request:{row.request_id}", "approve_write_off", day, day, postings, facts)


def _receipt_id(row: store.RequestRow | Wish) -> int:
    if row.receipt_id is None:
        raise payments.NoReceipt("not_found", kind="receipt")
    return row.receipt_id
