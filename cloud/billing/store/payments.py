"""SQL of payments: provider calls as they came, orders and their events, money received and whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.billing.payment import NothingThere, Order, Provider, Purpose
from cloud.db import Conn
from cloud.errors import NotFound

HISTORY_MAX = 200
OPEN_ORDERS_MAX = 100  # one look of the worker
FORGED_KEPT_MAX = 500  # of a provider and a day; the rest is only counted

_ORDER = """order_no, account_id, provider, purpose, month, amount_fen, is_phone, state, pay_url, problem,
            transaction_id, created_at, expires_at, asked_at"""


class NoOrder(NotFound):
    """There is no such payment order, or it is not this person's to see."""


class NoReceipt(NotFound):
    """There is no such receipt, or it is not this person's to see."""


@dataclass(frozen=True, slots=True)
class Call:
    """A provider's call as it is kept; `times` counts the same message."""

    call_id: int
    times: int
    verdict: str


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """Money that arrived, and how much of it has been placed."""

    receipt_id: int
    channel: str
    reference: str
    order_no: str | None
    amount_fen: int
    received_on: date
    received_at: datetime
    payer_name: str
    memo: str
    found_by: str
    why_suspended: str
    placed_fen: int

    @property
    def open_fen(self) -> int:
        """Compute what is still nobody's."""
        return self.amount_fen - self.placed_fen


@dataclass(frozen=True, slots=True)
class PartRow:
    """A part of a receipt that belongs to an account: what its customer gets a receipt for."""

    receipt_id: int
    part_no: int
    account_id: str | None
    amount_fen: int
    journal_id: int
    made_at: datetime
    channel: str
    reference: str
    order_no: str | None
    received_at: datetime
    payer_name: str


@dataclass(frozen=True, slots=True)
class NewReceipt:
    """Money to keep a row for."""

    channel: str
    reference: str
    order_no: str | None
    amount_fen: int
    received_on: date
    received_at: datetime
    payer_name: str
    memo: str
    found_by: str
    why_suspended: str


# ---- calls -----------------------------------------------------------------------------------------------


def keep_call(
    conn: Conn,
    provider: Provider,
    sha256: bytes,
    message: tuple[Mapping[str, str], bytes],
    now: datetime,
    *,
    is_proven: bool = False,
) -> Call | None:
    """Keep a call (headers, body) before anybody reads it; None when too many forged ones came today.

    Then it is only counted, unless it is proven to come from the provider.
    """
    headers, body = message
    with conn.cursor(row_factory=class_row(Call)) as cursor:
        return cursor.execute(
            """INSERT INTO provider_call AS c (provider, sha256, headers, body, received_at, last_at)
               SELECT %(provider)s, %(sha256)s, %(headers)s, %(body)s, %(now)s, %(now)s
               WHERE %(proven)s OR (SELECT count(*) FROM provider_call
                      WHERE verdict IN ('unread', 'forged', 'stale', 'foreign') AND provider = %(provider)s
                        AND received_at > %(now)s - interval '1 day') < %(most)s
                  OR EXISTS (SELECT FROM provider_call WHERE provider = %(provider)s AND sha256 = %(sha256)s)
               ON CONFLICT (provider, sha256) DO UPDATE SET times = c.times + 1, last_at = excluded.last_at
               RETURNING call_id, times, verdict""",
            {
                "provider": provider,
                "sha256": sha256,
                "headers": Jsonb(dict(headers)),
                "body": body,
                "now": now,
                "most": FORGED_KEPT_MAX,
                "proven": is_proven,
            },
        ).fetchone()


def judge_call(conn: Conn, call_id: int | None, verdict: str, detail: str, order_no: str | None) -> None:
    """Note what a kept call turned out to be; a message once accepted stays accepted."""
    conn.execute(
        """UPDATE provider_call SET verdict = %s, detail = left(%s, 500), order_no = coalesce(%s, order_no)
           WHERE call_id = %s AND verdict NOT IN ('accepted', 'mismatch')""",
        (verdict, detail, order_no, call_id),
    )


def count_call(conn: Conn, provider: Provider, day: date, verdict: str) -> None:
    """Count a call by what it turned out to be."""
    conn.execute(
        """INSERT INTO provider_call_count AS c (provider, day, verdict, calls) VALUES (%s, %s, %s, 1)
           ON CONFLICT (provider, day, verdict) DO UPDATE SET calls = c.calls + 1""",
        (provider, day, verdict),
    )


def call_counts(conn: Conn, since: date) -> tuple[tuple[str, date, str, int], ...]:
    """List (provider, day, verdict, calls) from a day on, newest first."""
    return tuple(
        conn.execute(
            """SELECT provider, day, verdict, calls FROM provider_call_count WHERE day >= %s
               ORDER BY day DESC, provider, verdict LIMIT 500""",
            (since,),
        )
    )


def take_nonce(conn: Conn, provider: Provider, nonce: str, sha256: bytes, now: datetime) -> bytes | None:
    """Use a nonce up; None when it was unused, else the hash of the message that used it first."""
    taken = conn.execute(
        """INSERT INTO provider_nonce (provider, nonce, sha256, at) VALUES (%s, %s, %s, %s)
           ON CONFLICT DO NOTHING""",
        (provider, nonce, sha256, now),
    ).rowcount
    if taken:
        return None
    row = conn.execute(
        "SELECT sha256 FROM provider_nonce WHERE provider = %s AND nonce = %s", (provider, nonce)
    ).fetchone()
    return b"" if row is None else bytes(row[0])


def forget_nonces(conn: Conn, before: datetime) -> int:
    """Forget nonces so old that their messages are stale anyhow."""
    return conn.execute("DELETE FROM provider_nonce WHERE at < %s", (before,)).rowcount


# ---- orders ----------------------------------------------------------------------------------------------


def insert_order(conn: Conn, order: Order, actor: str) -> None:
    """Keep a new order with its first event."""
    conn.execute(
        """INSERT INTO payment_order (order_no, account_id, provider, purpose, month, amount_fen, is_phone,
                                      created_at, created_by, expires_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            *(order.order_no, order.account_id, order.provider, order.purpose, order.month, order.amount_fen),
            *(order.is_phone, order.created_at, actor, order.expires_at),
        ),
    )
    note_event(conn, order.order_no, "open", "created", order.created_at, actor)


def find_order(conn: Conn, order_no: str, *, is_locked: bool = False) -> Order | None:
    """Load an order; locked: nobody else moves it until this transaction ends."""
    row = conn.execute(
        f"SELECT {_ORDER} FROM payment_order WHERE order_no = %s{' FOR UPDATE' if is_locked else ''}",
        (order_no,),
    ).fetchone()
    return None if row is None else _order(row)


def find_same(conn: Conn, order: Order) -> Order | None:
    """Find an order that is still open and asks for the same: a second press of the button is not a second order."""
    row = conn.execute(
        f"""SELECT {_ORDER} FROM payment_order
            WHERE account_id = %s AND provider = %s AND purpose = %s AND month IS NOT DISTINCT FROM %s
              AND amount_fen = %s AND is_phone = %s AND state IN ('created', 'pending') AND expires_at > %s
            ORDER BY created_at DESC LIMIT 1""",
        (
            *(order.account_id, order.provider, order.purpose, order.month, order.amount_fen, order.is_phone),
            order.created_at,
        ),
    ).fetchone()
    return None if row is None else _order(row)


def orders_of(conn: Conn, account_id: str) -> tuple[Order, ...]:
    """List an account's orders, newest first."""
    rows = conn.execute(
        f"SELECT {_ORDER} FROM payment_order WHERE account_id = %s ORDER BY created_at DESC LIMIT %s",
        (account_id, HISTORY_MAX),
    )
    return tuple(map(_order, rows))


def orders_to_offer(conn: Conn, before: datetime) -> tuple[Order, ...]:
    """List orders that no provider knows yet although they were opened before an instant."""
    rows = conn.execute(
        f"""SELECT {_ORDER} FROM payment_order WHERE state = 'created' AND created_at < %s
            ORDER BY created_at LIMIT %s""",
        (before, OPEN_ORDERS_MAX),
    )
    return tuple(map(_order, rows))


def orders_to_ask(conn: Conn, before: datetime, closed_since: datetime) -> tuple[Order, ...]:
    """List orders to ask the provider about: pending, or closed lately, and not asked since an instant."""
    rows = conn.execute(
        f"""SELECT {_ORDER} FROM payment_order
            WHERE (state = 'pending' OR (state IN ('closed', 'failed') AND created_at > %s))
              AND coalesce(asked_at, created_at) < %s ORDER BY coalesce(asked_at, created_at) LIMIT %s""",
        (closed_since, before, OPEN_ORDERS_MAX),
    )
    return tuple(map(_order, rows))


def move_order(
    conn: Conn,
    order_no: str,
    state: str,
    *,
    pay_url: str | None = None,
    problem: str | None = None,
    transaction_id: str | None = None,
) -> None:
    """Give an order its next state and what came with it."""
    conn.execute(
        """UPDATE payment_order SET state = %s, pay_url = coalesce(%s, pay_url), problem = coalesce(%s, problem),
                  transaction_id = coalesce(%s, transaction_id) WHERE order_no = %s""",
        (state, pay_url, problem, transaction_id, order_no),
    )


def note_asked(conn: Conn, order_no: str, now: datetime) -> None:
    """Remember when a provider was last asked about an order."""
    conn.execute("UPDATE payment_order SET asked_at = %s WHERE order_no = %s", (now, order_no))


def note_event(
    conn: Conn, order_no: str, deed: str, state: str, at: datetime, actor: str, **facts: object
) -> None:
    """Append a move of an order."""
    conn.execute(
        """INSERT INTO payment_event (order_no, seq, deed, state, at, actor, facts)
           VALUES (%s, 1 + (SELECT count(*) FROM payment_event WHERE order_no = %s), %s, %s, %s, %s, %s)""",
        (order_no, order_no, deed, state, at, actor, Jsonb(facts)),
    )


def lock_money(conn: Conn, account_id: str) -> None:
    """Let one transaction at a time spread money over an account's open items."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 12))", (account_id,))


# ---- receipts --------------------------------------------------------------------------------------------


def insert_receipt(conn: Conn, new: NewReceipt, now: datetime) -> int | None:
    """Keep money that arrived, once per channel and reference; None when it is known."""
    row = conn.execute(
        """INSERT INTO receipt (channel, reference, order_no, amount_fen, received_on, received_at, payer_name, memo,
                                found_by, why_suspended, booked_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (channel, reference) DO NOTHING RETURNING receipt_id""",
        (
            *(new.channel, new.reference, new.order_no, new.amount_fen, new.received_on, new.received_at),
            *(new.payer_name, new.memo, new.found_by, new.why_suspended, now),
        ),
    ).fetchone()
    return None if row is None else int(row[0])


def add_part(
    conn: Conn,
    receipt_id: int,
    account_id: str | None,
    amount_fen: int,
    journal_id: int,
    by: tuple[str, datetime],
) -> int:
    """Say whose a part of a receipt is; return the part's number. Raises NothingThere when it is more than is left."""
    try:
        row = conn.execute(
            """INSERT INTO receipt_part (receipt_id, part_no, account_id, amount_fen, journal_id, made_by, made_at)
               VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING part_no""",
            (receipt_id, next_part(conn, receipt_id), account_id, amount_fen, journal_id, *by),
        ).fetchone()
    except psycopg.errors.CheckViolation as problem:
        raise NothingThere("nothing_there", amount_fen=amount_fen, left_fen=0) from problem
    assert row is not None
    return int(row[0])


def next_part(conn: Conn, receipt_id: int) -> int:
    """The number that the next part of a receipt gets."""
    row = conn.execute(
        "SELECT count(*) + 1 FROM receipt_part WHERE receipt_id = %s", (receipt_id,)
    ).fetchone()
    return 1 if row is None else int(row[0])


_RECEIPT = """r.receipt_id, r.channel, r.reference, r.order_no, r.amount_fen, r.received_on, r.received_at, r.payer_name,
              r.memo, r.found_by, r.why_suspended,
              coalesce((SELECT sum(p.amount_fen) FROM receipt_part p WHERE p.receipt_id = r.receipt_id), 0)::bigint
                  AS placed_fen"""
_PART = """p.receipt_id, p.part_no, p.account_id, p.amount_fen, p.journal_id, p.made_at, r.channel, r.reference,
           r.order_no, r.received_at, r.payer_name"""


def lock_receipt(conn: Conn, receipt_id: int) -> ReceiptRow:
    """Load a receipt that nobody else may split until this transaction ends. Raises NoReceipt."""
    conn.execute("SELECT pg_advisory_xact_lock(12, %s)", (receipt_id % 2**31,))
    return load_receipt(conn, receipt_id)


def load_receipt(conn: Conn, receipt_id: int) -> ReceiptRow:
    """Load a receipt. Raises NoReceipt."""
    with conn.cursor(row_factory=class_row(ReceiptRow)) as cursor:
        row = cursor.execute(
            f"SELECT {_RECEIPT} FROM receipt r WHERE r.receipt_id = %s",
            (receipt_id,),
        ).fetchone()
    if row is None:
        raise NoReceipt("not_found", kind="receipt")
    return row


def receipt_of_order(conn: Conn, order_no: str) -> ReceiptRow | None:
    """Find the money that an order brought."""
    with conn.cursor(row_factory=class_row(ReceiptRow)) as cursor:
        return cursor.execute(
            f"SELECT {_RECEIPT} FROM receipt r WHERE r.order_no = %s ORDER BY r.receipt_id LIMIT 1",
            (order_no,),
        ).fetchone()


def unplaced(conn: Conn, most: int = HISTORY_MAX) -> tuple[ReceiptRow, ...]:
    """List receipts of which a part is nobody's yet, oldest first."""
    with conn.cursor(row_factory=class_row(ReceiptRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""SELECT {_RECEIPT} FROM receipt r
                    WHERE r.amount_fen > coalesce((SELECT sum(p.amount_fen) FROM receipt_part p
                                                   WHERE p.receipt_id = r.receipt_id), 0)
                    ORDER BY r.received_on, r.receipt_id LIMIT %s""",
                (most,),
            )
        )


def parts_of_account(conn: Conn, account_id: str) -> tuple[PartRow, ...]:
    """List what an account has paid, newest first."""
    with conn.cursor(row_factory=class_row(PartRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""SELECT {_PART} FROM receipt_part p JOIN receipt r USING (receipt_id)
                    WHERE p.account_id = %s ORDER BY r.received_at DESC, p.receipt_id DESC, p.part_no LIMIT %s""",
                (account_id, HISTORY_MAX),
            )
        )


def credits_of(conn: Conn, journal_id: int, account_id: str) -> tuple[tuple[str, str, int], ...]:
    """List (account, item, amount) of what a journal credited to a customer, whose own postings are all this reads."""
    return tuple(
        conn.execute(
            """SELECT account_code, item, -amount_fen FROM posting
               WHERE journal_id = %s AND account_code IN ('receivable/' || %s, 'prepaid/' || %s) ORDER BY posting_no""",
            (journal_id, account_id, account_id),
        )
    )


def find_part(conn: Conn, receipt_id: int, part_no: int) -> PartRow | None:
    """Find a part of a receipt, if this transaction may see it."""
    with conn.cursor(row_factory=class_row(PartRow)) as cursor:
        return cursor.execute(
            f"""SELECT {_PART} FROM receipt_part p JOIN receipt r USING (receipt_id)
                WHERE p.receipt_id = %s AND p.part_no = %s""",
            (receipt_id, part_no),
        ).fetchone()


def _order(row: tuple[object, ...]) -> Order:
    order_no, account_id, provider, purpose, *rest = row
    return Order(order_no, account_id, Provider(str(provider)), Purpose(str(purpose)), *rest)  # type: ignore[arg-type]  # columns in the order of the fields
