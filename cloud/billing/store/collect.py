"""SQL of collection: who owes what since when, notices, late fees, and requests that need a second person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.billing.arrears import Claim, Move
from cloud.billing.payment import LATE_SUFFIX, OwnRequest, Part
from cloud.db import Conn
from cloud.errors import NotFound

LIST_MAX = 500
DEBTS_MAX = 100_000  # of one page; collection turns the pages
FIRST = ("", "")  # before every (account, item)
# Deeds of journals by what they do to an item: pay it (or take that back), or make less of the claim.
PAYING = ("take_payment", "match_receipt", "use_prepaid", "approve_refund", "reverse_approve_refund")
GIVING_UP = ("approve_bad_debt", "recover_bad_debt")
WAIVING = ("approve_waiver", *GIVING_UP)


class NoRequest(NotFound):
    """There is no such request, or it is decided."""


class NoNotice(NotFound):
    """There is no such proposal, or it is decided."""


@dataclass(frozen=True, slots=True)
class DebtRow:
    """An open bill month of a customer; `late_fen` is what is open of its late fee."""

    account_id: str
    account_name: str
    party_id: int
    item: str
    month: date
    open_fen: int
    late_fen: int
    due_date: date | None
    category: str


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A dunning step that was taken, or a proposal that waits."""

    notice_id: int
    account_id: str
    item: str
    step: str
    kind: str
    channel: str
    amount_fen: int
    due_date: date | None
    made_on: date
    decided_by: str | None
    decision: str


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request that needs a second person, and how it stands."""

    request_id: int
    kind: str
    account_id: str | None
    receipt_id: int | None
    item: str
    amount_fen: int
    reason: str
    state: str
    asked_by: str
    asked_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    refund_no: str | None
    problem: str


@dataclass(frozen=True, slots=True)
class LateFeeRow:
    """A late fee posting: what it came to through a day, and its derivation."""

    item: str
    through_day: date
    account_id: str
    total_fen: int
    change_fen: int
    lines: list[dict[str, object]]
    rules: str
    journal_id: int


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One posting on a customer's receivable or prepaid account, in the order in which it was booked."""

    booked_at: datetime
    effective_date: date
    deed: str
    journal_id: int
    account_code: str
    item: str
    amount_fen: int


_DEBTS = """
    WITH open AS (
        SELECT l.account_id, regexp_replace(p.item, '/late$', '') AS item,
               coalesce(sum(p.amount_fen) FILTER (WHERE p.item NOT LIKE '%%/late'), 0)::bigint AS open_fen,
               coalesce(sum(p.amount_fen) FILTER (WHERE p.item LIKE '%%/late'), 0)::bigint AS late_fen
        FROM posting p JOIN ledger_account l USING (account_code)
        WHERE l.account_code LIKE 'receivable/%%' AND l.account_id IS NOT NULL AND p.item <> ''
          AND (%(account_id)s::text IS NULL OR l.account_id = %(account_id)s)
        GROUP BY 1, 2)
    SELECT o.account_id, a.name AS account_name, a.party_id, o.item,
           to_date(split_part(o.item, '/', 2), 'YYYY-MM') AS month, o.open_fen, o.late_fen, b.due_date,
           coalesce((SELECT t.category FROM account_terms t WHERE t.account_id = o.account_id
                     ORDER BY upper_inf(t.effective) DESC, upper(t.effective) DESC LIMIT 1), 'commercial') AS category
    FROM open o JOIN account a USING (account_id)
    LEFT JOIN bill b ON b.account_id = o.account_id AND b.state = 'issued'
                    AND b.month = to_date(split_part(o.item, '/', 2), 'YYYY-MM')
"""


def debts(conn: Conn, account_id: str | None = None, after: tuple[str, str] = FIRST) -> tuple[DebtRow, ...]:
    """List open bill months, of one account or of all, by account and month: the DEBTS_MAX after (account, item)."""
    return _debt_rows(conn, "(o.open_fen <> 0 OR o.late_fen <> 0)", account_id, after)


def billed(conn: Conn, after: tuple[str, str] = FIRST) -> tuple[DebtRow, ...]:
    """List bill months that were ever late or are open, whose late fee has to be looked at again; paged like debts."""
    return _debt_rows(conn, _BILLED, None, after)


_BILLED = """(o.open_fen <> 0 OR EXISTS (SELECT FROM late_fee f WHERE f.item = o.item) OR EXISTS (
                SELECT FROM bill c WHERE c.account_id = o.account_id AND c.due_date IS NOT NULL
                   AND c.month = to_date(split_part(o.item, '/', 2), 'YYYY-MM')
                   AND c.state IN ('issued', 'superseded')
                   AND EXISTS (SELECT FROM posting p JOIN journal j USING (journal_id)
                               WHERE p.account_code = 'receivable/' || o.account_id AND p.item = o.item
                                 AND j.effective_date > c.due_date)))"""


def _debt_rows(
    conn: Conn, condition: str, account_id: str | None, after: tuple[str, str]
) -> tuple[DebtRow, ...]:
    with conn.cursor(row_factory=class_row(DebtRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_DEBTS} WHERE {condition} AND (o.account_id, o.item) > (%(account)s, %(item)s)
                    ORDER BY o.account_id, o.item LIMIT %(most)s""",
                {"account_id": account_id, "account": after[0], "item": after[1], "most": DEBTS_MAX},
            )
        )


def claims_of(conn: Conn, account_id: str, month: date) -> tuple[Claim, ...]:
    """List what was demanded for a bill month, one claim per issued revision, oldest first."""
    rows = conn.execute(
        """SELECT (issued_at AT TIME ZONE 'Asia/Shanghai')::date, due_date, total_fen FROM bill
           WHERE account_id = %s AND month = %s AND state IN ('issued', 'superseded') AND due_date IS NOT NULL
           ORDER BY revision""",
        (account_id, month),
    )
    return tuple(Claim(*row) for row in rows)


def moves_of(conn: Conn, account_id: str, item: str) -> tuple[Move, ...]:
    """List what changed an open item, by effective date."""
    rows = conn.execute(
        """SELECT j.effective_date, sum(p.amount_fen)::bigint FROM posting p JOIN journal j USING (journal_id)
           WHERE p.account_code = 'receivable/' || %s AND p.item = %s GROUP BY 1 ORDER BY 1""",
        (account_id, item),
    )
    return tuple(Move(*row) for row in rows)


def late_fee_posted_fen(conn: Conn, item: str) -> int:
    """Add up what was posted as late fee of an item, waivers left aside."""
    row = conn.execute(
        "SELECT coalesce(sum(change_fen), 0) FROM late_fee WHERE item = %s", (item,)
    ).fetchone()
    return 0 if row is None else int(row[0])


def insert_late_fee(conn: Conn, row: LateFeeRow, now: datetime) -> None:
    """Keep a late fee posting with its derivation."""
    conn.execute(
        """INSERT INTO late_fee (item, through_day, account_id, total_fen, change_fen, lines, rules, journal_id, made_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            *(row.item, row.through_day, row.account_id, row.total_fen, row.change_fen, Jsonb(row.lines)),
            *(row.rules, row.journal_id, now),
        ),
    )


def late_fees_of(conn: Conn, account_id: str) -> tuple[LateFeeRow, ...]:
    """List the last late fee posting of each item of an account: its lines explain the whole fee."""
    with conn.cursor(row_factory=class_row(LateFeeRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT DISTINCT ON (item) item, through_day, account_id, total_fen, change_fen, lines, rules, journal_id
                   FROM late_fee WHERE account_id = %s ORDER BY item, through_day DESC""",
                (account_id,),
            )
        )


# ---- notices ---------------------------------------------------------------------------------------------


def steps_taken(conn: Conn, item: str) -> tuple[str, ...]:
    """List the dunning steps an item has had."""
    rows = conn.execute("SELECT step FROM collection_notice WHERE item = %s", (item,))
    return tuple(row[0] for row in rows)


def insert_notice(conn: Conn, row: NoticeRow, rules: str, now: datetime) -> bool:
    """Keep a step; False when this item has had it."""
    return (
        conn.execute(
            """INSERT INTO collection_notice (account_id, item, step, kind, channel, amount_fen, due_date, made_on, made_at,
                                              rules)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (item, step) DO NOTHING""",
            (
                *(row.account_id, row.item, row.step, row.kind, row.channel, row.amount_fen, row.due_date),
                *(row.made_on, now, rules),
            ),
        ).rowcount
        == 1
    )


def notices(conn: Conn, account_id: str | None) -> tuple[NoticeRow, ...]:
    """List notices and proposals, newest first: of one account or of all."""
    with conn.cursor(row_factory=class_row(NoticeRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT notice_id, account_id, item, step, kind, channel, amount_fen, due_date, made_on, decided_by,
                          decision FROM collection_notice WHERE %s::text IS NULL OR account_id = %s
                   ORDER BY made_on DESC, notice_id DESC LIMIT %s""",
                (account_id, account_id, LIST_MAX),
            )
        )


def decide_notice(conn: Conn, notice_id: int, decision: str, by: tuple[str, datetime]) -> None:
    """Keep a person's decision on a proposal. Raises NoNotice."""
    done = conn.execute(
        """UPDATE collection_notice SET decision = %s, decided_by = %s, decided_at = %s
           WHERE notice_id = %s AND kind = 'proposal' AND decided_by IS NULL""",
        (decision, *by, notice_id),
    ).rowcount
    if not done:
        raise NoNotice("not_found", kind="proposal")


def prepaid_accounts(conn: Conn) -> tuple[tuple[str, int], ...]:
    """List (account, prepaid balance) of every customer who has topped up: an overpaid bill alone asks for no alarm."""
    rows = conn.execute(
        """SELECT l.account_id, -sum(p.amount_fen)::bigint FROM posting p JOIN ledger_account l USING (account_code)
           WHERE l.account_code LIKE 'prepaid/%' AND EXISTS (
               SELECT FROM payment_order o
               WHERE o.account_id = l.account_id AND o.purpose = 'top_up' AND o.state = 'paid')
           GROUP BY 1 ORDER BY 1"""
    )
    return tuple((account_id, fen) for account_id, fen in rows)


def movable_accounts(conn: Conn) -> tuple[str, ...]:
    """List customers who have something in advance or a credit, and something that it could be used for."""
    rows = conn.execute(
        """WITH items AS (
               SELECT l.account_id, l.account_code LIKE 'prepaid/%' AS is_prepaid, p.item, sum(p.amount_fen) AS fen
               FROM posting p JOIN ledger_account l USING (account_code)
               WHERE l.account_id IS NOT NULL GROUP BY 1, 2, 3)
           SELECT account_id FROM items GROUP BY account_id
           HAVING bool_or(NOT is_prepaid AND fen < 0)
               OR (bool_or(is_prepaid AND fen < 0) AND bool_or(NOT is_prepaid AND fen > 0))
           ORDER BY account_id"""
    )
    return tuple(row[0] for row in rows)


def last_journal_of(conn: Conn, account_id: str) -> int:
    """Number the state of a customer's accounts by the last journal that touched them."""
    row = conn.execute(
        """SELECT coalesce(max(journal_id), 0) FROM posting
           WHERE account_code IN ('receivable/' || %s, 'prepaid/' || %s)""",
        (account_id, account_id),
    ).fetchone()
    return 0 if row is None else int(row[0])


def timeline(conn: Conn, account_id: str) -> tuple[TimelineRow, ...]:
    """List every posting on a customer's accounts, newest first."""
    with conn.cursor(row_factory=class_row(TimelineRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT j.booked_at, j.effective_date, j.deed, p.journal_id, p.account_code, p.item, p.amount_fen
                   FROM posting p JOIN journal j USING (journal_id)
                   WHERE p.account_code IN ('receivable/' || %s, 'prepaid/' || %s)
                   ORDER BY p.journal_id DESC, p.posting_no LIMIT %s""",
                (account_id, account_id, LIST_MAX),
            )
        )


# ---- requests --------------------------------------------------------------------------------------------

_REQUEST = """request_id, kind, account_id, receipt_id, item, amount_fen, reason, state, asked_by, asked_at, decided_by,
              decided_at, refund_no, problem"""


def insert_request(conn: Conn, row: RequestRow) -> int:
    """Keep a request; return its number."""
    found = conn.execute(
        """INSERT INTO money_request (kind, account_id, receipt_id, item, amount_fen, reason, asked_by, asked_at, refund_no)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING request_id""",
        (
            *(row.kind, row.account_id, row.receipt_id, row.item, row.amount_fen, row.reason),
            *(row.asked_by, row.asked_at, row.refund_no),
        ),
    ).fetchone()
    assert found is not None
    return int(found[0])


def lock_request(conn: Conn, request_id: int) -> RequestRow:
    """Load a request that nobody else moves until this transaction ends. Raises NoRequest."""
    with conn.cursor(row_factory=class_row(RequestRow)) as cursor:
        row = cursor.execute(
            f"SELECT {_REQUEST} FROM money_request WHERE request_id = %s FOR UPDATE",
            (request_id,),
        ).fetchone()
    if row is None:
        raise NoRequest("not_found", kind="request")
    return row


def decide_request(conn: Conn, request_id: int, state: str, by: str, now: datetime) -> None:
    """Keep a second person's decision. Raises OwnRequest when it is the same person."""
    try:
        conn.execute(
            "UPDATE money_request SET state = %s, decided_by = %s, decided_at = %s WHERE request_id = %s",
            (state, by, now, request_id),
        )
    except psycopg.errors.CheckViolation as problem:
        raise OwnRequest("own_request") from problem


def settle_request(conn: Conn, request_id: int, state: str) -> None:
    """Give a decided request that we carry out ourselves its next state."""
    conn.execute("UPDATE money_request SET state = %s WHERE request_id = %s", (state, request_id))


def move_request(conn: Conn, request_id: int, state: str, now: datetime, problem: str) -> None:
    """Give a refund under way its next state."""
    conn.execute(
        "UPDATE money_request SET state = %s, tried_at = %s, problem = left(%s, 500) WHERE request_id = %s",
        (state, now, problem, request_id),
    )


def requests(conn: Conn, *, is_open: bool) -> tuple[RequestRow, ...]:
    """List requests, newest first: those that wait for somebody, or all."""
    with conn.cursor(row_factory=class_row(RequestRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""SELECT {_REQUEST} FROM money_request WHERE NOT %s OR state IN ('asked', 'approved', 'sent')
                    ORDER BY request_id DESC LIMIT %s""",
                (is_open, LIST_MAX),
            )
        )


def refunds_of_account(conn: Conn, account_id: str) -> tuple[RequestRow, ...]:
    """List an account's refunds, newest first."""
    with conn.cursor(row_factory=class_row(RequestRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""SELECT {_REQUEST} FROM money_request WHERE kind = 'refund' AND account_id = %s
                    ORDER BY request_id DESC LIMIT %s""",
                (account_id, LIST_MAX),
            )
        )


def refunds_to_send(conn: Conn, tried_before: datetime) -> tuple[RequestRow, ...]:
    """List refunds that are approved or under way and were not tried since an instant."""
    with conn.cursor(row_factory=class_row(RequestRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""SELECT {_REQUEST} FROM money_request
                    WHERE kind = 'refund' AND state IN ('approved', 'sent') AND coalesce(tried_at, asked_at) < %s
                    ORDER BY request_id LIMIT 100""",
                (tried_before,),
            )
        )


def refundable_fen(conn: Conn, receipt_id: int, account_id: str) -> int:
    """Compute what an account has of a receipt, less its refunds that were not declined and have not failed."""
    row = conn.execute(
        """SELECT (SELECT coalesce(sum(amount_fen), 0) FROM receipt_part
                   WHERE receipt_id = %(receipt)s AND account_id = %(account)s)
                - (SELECT coalesce(sum(amount_fen), 0) FROM money_request
                   WHERE kind = 'refund' AND receipt_id = %(receipt)s AND account_id = %(account)s
                     AND state NOT IN ('declined', 'failed'))""",
        {"receipt": receipt_id, "account": account_id},
    ).fetchone()
    return 0 if row is None else int(row[0])


def paid_items(conn: Conn, account_id: str) -> tuple[Part, ...]:
    """List what is paid of each of an account's items, by payments, prepaid money and refunds."""
    return _items_of_deeds(conn, account_id, PAYING)


def forgiven_items(conn: Conn, account_id: str, deeds: tuple[str, ...]) -> tuple[Part, ...]:
    """List what of an account's items was waived (WAIVING) or given up (GIVING_UP) and not taken back."""
    return _items_of_deeds(conn, account_id, deeds)


def _items_of_deeds(conn: Conn, account_id: str, deeds: tuple[str, ...]) -> tuple[Part, ...]:
    rows = conn.execute(
        """SELECT p.item, -sum(p.amount_fen)::bigint FROM posting p JOIN journal j USING (journal_id)
           WHERE p.account_code = 'receivable/' || %s AND j.deed = ANY(%s)
           GROUP BY p.item HAVING -sum(p.amount_fen) > 0 ORDER BY p.item""",
        (account_id, list(deeds)),
    )
    return tuple(Part(*row) for row in rows)


def settled_by(conn: Conn, receipt_id: int, account_id: str) -> tuple[Part, ...]:
    """List what a receipt settled of an account, less what refunds have re-opened."""
    rows = conn.execute(
        """SELECT p.item, -sum(p.amount_fen)::bigint FROM posting p
           WHERE p.account_code = 'receivable/' || %(account)s AND p.journal_id IN (
               SELECT journal_id FROM receipt_part WHERE receipt_id = %(receipt)s
               UNION SELECT j.journal_id FROM journal j JOIN money_request q ON j.idem_key = 'refund:' || q.request_id
                     WHERE q.receipt_id = %(receipt)s
               UNION SELECT b.journal_id FROM journal b JOIN journal j ON b.reverses = j.journal_id
                     JOIN money_request q ON j.idem_key = 'refund:' || q.request_id WHERE q.receipt_id = %(receipt)s)
           GROUP BY p.item HAVING -sum(p.amount_fen) > 0 ORDER BY p.item""",
        {"receipt": receipt_id, "account": account_id},
    )
    return tuple(Part(*row) for row in rows)


def late_item(item: str) -> str:
    """Name the open item of a bill month's late fee."""
    return item + LATE_SUFFIX
