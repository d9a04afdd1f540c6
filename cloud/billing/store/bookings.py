"""SQL to look at the ledger: an account's statement with running balance, and one journal with what belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from psycopg.rows import class_row

from cloud.billing.ledger import Posting
from cloud.db import Conn

LINES_MAX = 1000  # of one statement


@dataclass(frozen=True, slots=True)
class Span:
    """Which journals count: effective in `[first, end)` and booked before; None is without that bound."""

    first: date | None = None
    end: date | None = None
    booked_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One posting on an account and the balance after it (+ debit)."""

    journal_id: int
    deed: str
    event_date: date
    effective_date: date
    booked_at: datetime
    item: str
    amount_fen: int
    balance_fen: int
    reverses: int | None


@dataclass(frozen=True, slots=True)
class JournalRow:
    """A journal with its postings, and the one that reversed it."""

    journal_id: int
    idem_key: str
    deed: str
    event_date: date
    effective_date: date
    booked_at: datetime
    facts: dict[str, str]
    reverses: int | None
    reversed_by: int | None


def ids_of(conn: Conn, idem_keys: Sequence[str]) -> dict[str, int]:
    """Find the journals that were booked under these keys, as far as this transaction sees them."""
    rows = conn.execute(
        "SELECT idem_key, journal_id FROM journal WHERE idem_key = ANY(%s)", (list(idem_keys),)
    )
    return {str(key): int(journal_id) for key, journal_id in rows}


def statement(conn: Conn, account: str, span: Span) -> tuple[StatementLine, ...]:
    """List an account's postings in order of effective date, the newest LINES_MAX of the span.

    The running balance includes everything effective before the span.
    """
    with conn.cursor(row_factory=class_row(StatementLine)) as cursor:
        newest = cursor.execute(
            """SELECT * FROM (
                   SELECT j.journal_id, j.deed, j.event_date, j.effective_date, j.booked_at, p.item, p.amount_fen,
                          (sum(p.amount_fen) OVER (ORDER BY j.effective_date, j.journal_id, p.posting_no))::bigint
                              AS balance_fen, j.reverses
                   FROM posting p JOIN journal j USING (journal_id)
                   WHERE p.account_code = %(account)s AND (%(end)s::date IS NULL OR j.effective_date < %(end)s)
                     AND (%(booked)s::timestamptz IS NULL OR j.booked_at < %(booked)s)
                   ORDER BY j.effective_date DESC, j.journal_id DESC, p.posting_no DESC) all_lines
               WHERE %(first)s::date IS NULL OR effective_date >= %(first)s LIMIT %(most)s""",
            {
                "account": account,
                "first": span.first,
                "end": span.end,
                "booked": span.booked_before,
                "most": LINES_MAX,
            },
        ).fetchall()
    return tuple(reversed(newest))


def find_journal(conn: Conn, journal_id: int) -> JournalRow | None:
    """Find a journal, if this transaction may see it."""
    with conn.cursor(row_factory=class_row(JournalRow)) as cursor:
        return cursor.execute(
            """SELECT j.journal_id, j.idem_key, j.deed, j.event_date, j.effective_date, j.booked_at, j.facts, j.reverses,
                      r.journal_id AS reversed_by
               FROM journal j LEFT JOIN journal r ON r.reverses = j.journal_id WHERE j.journal_id = %s""",
            (journal_id,),
        ).fetchone()


def postings(conn: Conn, journal_id: int) -> tuple[Posting, ...]:
    """List a journal's postings as far as this transaction sees them."""
    rows = conn.execute(
        "SELECT account_code, amount_fen, item FROM posting WHERE journal_id = %s ORDER BY posting_no",
        (journal_id,),
    )
    return tuple(Posting(*row) for row in rows)
