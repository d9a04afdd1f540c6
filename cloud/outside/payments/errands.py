"""Errands between our books and the providers: each a transaction, a call outside it, and a transaction.

Used by the pages (right after an order was opened, and for a provider's call) and by the worker's timetable, which finds
whatever the first left undone. Every errand may run twice or die anywhere: orders and refunds go by our own numbers.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Final

from cloud import db
from cloud.billing.payment import Order, Provider
from cloud.billing.reconcile import Difference
from cloud.billing.run import pay, requests
from cloud.billing.store import collect, payments, statements
from cloud.db import Pool, ProcessRole, Scope
from cloud.errors import Unavailable
from cloud.markettime import day_of, slot_start
from cloud.outside.payments.port import (
    CALL_AGE_MAX,
    CallAnswer,
    Genuine,
    Payments,
    ProviderRefused,
    RefundOrder,
    Standing,
    UntrueCall,
)

log = logging.getLogger(__name__)

Offered = Mapping[Provider, Payments]
OFFER_AGAIN: Final = timedelta(seconds=10)  # an order whose opener died
ASK_AFTER: Final = timedelta(seconds=40)  # without a call: ask
CLOSED_WATCHED: Final = timedelta(days=1)
REFUND_AGAIN: Final = timedelta(seconds=30)
STATEMENT_DAYS: Final = 7
STATEMENT_OUT_SLOT: Final = 48  # noon: the providers make a day's statement in the next day's morning
HEADERS_KEPT: Final = (
    *("content-type", "user-agent", "wechatpay-timestamp", "wechatpay-nonce", "wechatpay-serial"),
    *("wechatpay-signature", "wechatpay-signature-type"),
)


def scope(name: str) -> Scope:
    """Speak as the worker does, under the errand's own name."""
    return Scope(ProcessRole.WORKER, actor=name)


# ---- a provider calls ------------------------------------------------------------------------------------


def take_call(
    pool: Pool, provider: Payments, headers: Mapping[str, str], body: bytes, now: datetime
) -> CallAnswer:
    """Keep a call as it came, prove it, book it once, and only then answer that it was taken.

    Committed before anybody reads it; nonce, receipt and journal are one transaction, so a call that died on the way
    is simply taken when it comes again.
    """
    kept = {name: headers[name][:1000] for name in HEADERS_KEPT if name in headers}
    sha256 = hashlib.sha256(json.dumps(kept, sort_keys=True).encode() + b"\n" + body).digest()
    who = scope(f"hook:{provider.provider}")
    with db.transaction(pool, who) as conn:
        call = payments.keep_call(conn, provider.provider, sha256, (kept, body), now)
    call_id = None if call is None else call.call_id
    try:
        genuine = provider.read(headers, body, now)
        with db.transaction(pool, who) as conn:
            if call is None:  # a flood of forged calls keeps no evidence of true ones out
                call = payments.keep_call(conn, provider.provider, sha256, (kept, body), now, is_proven=True)
                call_id = None if call is None else call.call_id
            verdict = _take(conn, provider.provider, genuine, sha256, now)
            order_no = None if genuine.notified is None else genuine.notified.order_no
            payments.judge_call(conn, call_id, verdict, genuine.about, order_no)
            payments.count_call(conn, provider.provider, day_of(now), verdict)
    except UntrueCall as untrue:
        with db.transaction(pool, who) as conn:
            payments.judge_call(conn, call_id, untrue.kind, str(untrue.facts["detail"]), None)
            payments.count_call(conn, provider.provider, day_of(now), untrue.kind)
        log.error(
            "hook.untrue provider=%s kind=%s detail=%s",
            provider.provider,
            untrue.kind,
            untrue.facts["detail"],
        )
        return provider.answer(is_taken=False)
    return provider.answer(is_taken=True)


def _take(conn: db.Conn, provider: Provider, genuine: Genuine, sha256: bytes, now: datetime) -> str:
    """Take a proven call; the very same message again is a repeat. Raises UntrueCall for a nonce that was used otherwise."""
    first = payments.take_nonce(conn, provider, genuine.nonce, sha256, now)
    if first is not None:
        if first != sha256:
            raise UntrueCall("replayed", f"nonce {genuine.nonce[:60]}")
        return "repeat"
    if genuine.notified is None:
        return "not_a_payment"
    return pay.take(conn, genuine.notified, now).value


# ---- we call a provider ----------------------------------------------------------------------------------


def offer(pool: Pool, offered: Offered, order: Order, return_url: str, now: datetime) -> None:
    """Make an order known to its provider and keep where it is paid. A provider that is away is tried again later."""
    provider = offered.get(order.provider)
    deed, pay_url, problem = "offer", None, None
    try:
        if provider is None:
            raise ProviderRefused("provider_refused", code="OFF", problem="not configured")
        pay_url = provider.offer(order, return_url)
    except ProviderRefused as refused:
        deed, problem = "refuse", f"{refused.facts['code']} {refused.facts['problem']}"
    except Unavailable as away:
        log.warning("pay.offer.away order=%s problem=%s", order.order_no, away)
        return
    with db.transaction(pool, scope("job:payments")) as conn:
        pay.move(conn, order.order_no, deed, now, pay_url=pay_url, problem=problem)


def ask(pool: Pool, offered: Offered, order: Order, now: datetime) -> None:
    """Ask the provider how an order stands: take what was paid, close what ran out."""
    provider = offered.get(order.provider)
    if provider is None:
        return
    who = scope("job:payments")
    try:
        asked = provider.ask(order.order_no)
        is_over = now >= order.expires_at and asked.standing is not Standing.PAID
        if is_over and order.state == "pending":
            provider.close(order.order_no)
            asked = provider.ask(order.order_no)  # somebody may have paid while we closed
    except (Unavailable, ProviderRefused, UntrueCall) as problem:
        log.warning("pay.ask.failed order=%s problem=%s", order.order_no, problem)
        with db.transaction(pool, who) as conn:
            payments.note_asked(conn, order.order_no, now)
        return
    with db.transaction(pool, who) as conn:
        payments.note_asked(conn, order.order_no, now)
        if asked.notified is not None:
            pay.take(conn, asked.notified, now)
        elif asked.standing is Standing.CLOSED or is_over:
            pay.move(conn, order.order_no, "close", now)


def look(pool: Pool, offered: Offered, public_url: str, now: datetime) -> None:
    """One round: offer what was not, ask about what is open, send refunds, forget old nonces."""
    who = scope("job:payments")
    with db.transaction(pool, who) as conn:
        waiting = payments.orders_to_offer(conn, now - OFFER_AGAIN)
        pending = payments.orders_to_ask(conn, now - ASK_AFTER, now - CLOSED_WATCHED)
        refunds = collect.refunds_to_send(conn, now - REFUND_AGAIN)
        payments.forget_nonces(conn, now - 4 * CALL_AGE_MAX)
    for order in waiting:
        if now >= order.expires_at:
            with db.transaction(pool, who) as conn:
                pay.move(conn, order.order_no, "close", now)
        else:
            offer(pool, offered, order, return_address(public_url, order.order_no), now)
    for order in pending:
        ask(pool, offered, order, now)
    for row in refunds:
        send_refund(pool, offered, row, now)


def return_address(public_url: str, order_no: str) -> str:
    """Where a person comes back to from the provider's page."""
    return f"{public_url}/payments/{order_no}"


def send_refund(pool: Pool, offered: Offered, row: collect.RequestRow, now: datetime) -> None:
    """Send an approved refund; bank transfers are left to a person."""
    who = scope("job:refunds")
    with db.transaction(pool, who) as conn:
        receipt = payments.load_receipt(conn, row.receipt_id or 0)
        if receipt.channel == "bank":
            return
        if row.state == "approved":
            requests.refund_moved(conn, row.request_id, "send", now)
    provider = offered.get(Provider(receipt.channel))
    if provider is None:
        return
    wanted = RefundOrder(
        row.refund_no or "",
        receipt.order_no or "",
        receipt.reference,
        row.amount_fen,
        receipt.amount_fen,
        row.reason,
    )
    deed, problem = "settle", ""
    try:
        if provider.refund(wanted) is not Standing.PAID:
            deed, problem = "sent", "under way"
    except ProviderRefused as refused:
        deed, problem = "fail", f"{refused.facts['code']} {refused.facts['problem']}"
    except Unavailable as away:
        deed, problem = "sent", str(away)
    with db.transaction(pool, who) as conn:
        requests.refund_moved(conn, row.request_id, deed, now, problem)


def reconcile_day(pool: Pool, provider: Payments, day: date, now: datetime) -> tuple[Difference, ...]:
    """Fetch a provider's statement of a day and compare it. Raises Unavailable, ProviderRefused."""
    statement = provider.statement(day)
    with db.transaction(pool, scope("job:reconcile")) as conn:
        return pay.reconcile(conn, statement, now)


def reconcile_lately(pool: Pool, offered: Offered, now: datetime) -> None:
    """Compare the days of the last week that were not compared yet; one that is not out yet is tried again later.

    Yesterday is left until noon: before, a provider may say that there is no statement, as on a day without payments.
    """
    today = day_of(now)
    last = 1 if now >= slot_start(today, STATEMENT_OUT_SLOT) else 2
    days = [today - timedelta(days=back) for back in range(STATEMENT_DAYS, last - 1, -1)]
    for provider in offered.values():
        with db.transaction(pool, scope("job:reconcile")) as conn:
            compared = statements.compared_days(conn, provider.provider, days[0])
        for day in days:
            if day in compared:
                continue
            try:
                found = reconcile_day(pool, provider, day, now)
            except (Unavailable, ProviderRefused) as problem:
                log.warning(
                    "pay.statement.missing provider=%s day=%s problem=%s", provider.provider, day, problem
                )
                continue
            if found:
                log.error(
                    "pay.statement.differs provider=%s day=%s count=%d", provider.provider, day, len(found)
                )
