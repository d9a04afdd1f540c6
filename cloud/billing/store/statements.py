"""SQL of statements: bank files with their lines and who may have sent them, provider statements and differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from psycopg.rows import class_row

from cloud.billing.payment import Provider
from cloud.billing.reconcile import BankLine, Candidate, Difference, Ours, Statement, What
from cloud.db import Conn
from cloud.errors import NotFound

CANDIDATES_MAX = 20
DIFFERENCES_MAX = 500


class NoDifference(NotFound):
    """There is no such open difference."""


@dataclass(frozen=True, slots=True)
class StatementRow:
    """A provider's statement of a day that was compared, and how many differences are still open."""

    provider: str
    day: date
    line_count: int
    payments_fen: int
    refunds_fen: int
    fee_fen: int
    fetched_at: datetime
    open_count: int


@dataclass(frozen=True, slots=True)
class DifferenceRow:
    """A difference, and what became of it."""

    provider: str
    day: date
    kind: str
    what: str
    reference: str
    order_no: str
    ours_fen: int | None
    theirs_fen: int | None
    resolved_at: datetime | None
    resolved_by: str | None
    resolution: str


def insert_import(
    conn: Conn, file_name: str, sha256: bytes, line_count: int, by: tuple[datetime, str]
) -> int:
    """Note that a bank file was read."""
    row = conn.execute(
        """INSERT INTO bank_import (file_name, sha256, line_count, imported_at, imported_by)
           VALUES (left(%s, 200), %s, %s, %s, %s) RETURNING import_id""",
        (file_name, sha256, line_count, *by),
    ).fetchone()
    assert row is not None
    return int(row[0])


def insert_line(conn: Conn, import_id: int, line: BankLine) -> bool:
    """Keep a bank line; False when the same line was imported before."""
    return (
        conn.execute(
            """INSERT INTO bank_line (line_sha256, import_id, line_no, booked_on, amount_fen, payer_name, payer_account,
                                      memo, bank_ref)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
            (
                *(line.line_sha256, import_id, line.line_no, line.booked_on, line.amount_fen),
                *(line.payer_name, line.payer_account, line.memo, line.bank_ref),
            ),
        ).rowcount
        == 1
    )


def candidates(conn: Conn, account_ids: Sequence[str], name: str, amount_fen: int) -> tuple[Candidate, ...]:
    """Find customers who may have sent money: named by number, of the payer's name, or owing just that sum."""
    rows = conn.execute(
        """WITH owed AS (
               SELECT l.account_id, p.item, sum(p.amount_fen) AS fen
               FROM posting p JOIN ledger_account l USING (account_code)
               WHERE l.account_code LIKE 'receivable/%%' AND l.account_id IS NOT NULL GROUP BY l.account_id, p.item),
           found AS (
               SELECT account_id, 1 AS rank FROM account WHERE account_id = ANY(%(ids)s)
               UNION SELECT a.account_id, 2 FROM account a JOIN party y USING (party_id)
                   WHERE %(name)s <> '' AND (a.name = %(name)s OR y.name = %(name)s)
               UNION SELECT account_id, 3 FROM owed WHERE fen = %(fen)s
               UNION (SELECT account_id, 3 FROM owed GROUP BY account_id HAVING sum(fen) = %(fen)s)),
           best AS (SELECT account_id, min(rank) AS rank FROM found GROUP BY account_id
                    ORDER BY 2, 1 LIMIT %(most)s)
           SELECT b.account_id, ARRAY[a.name, y.name],
                  (SELECT coalesce(array_agg(fen::bigint), '{}') FROM (
                       SELECT fen FROM owed o WHERE o.account_id = b.account_id AND fen > 0
                       UNION SELECT sum(fen) FROM owed o WHERE o.account_id = b.account_id) sums)
           FROM best b JOIN account a USING (account_id) JOIN party y USING (party_id) ORDER BY b.rank, b.account_id""",
        {"ids": list(account_ids), "name": name, "fen": amount_fen, "most": CANDIDATES_MAX},
    )
    return tuple(
        Candidate(account_id, tuple(names), tuple(fen for fen in owed if fen is not None))
        for account_id, names, owed in rows
    )


def bank_line_of(conn: Conn, line_sha256: bytes) -> BankLine | None:
    """Find the bank line behind a receipt."""
    with conn.cursor(row_factory=class_row(BankLine)) as cursor:
        return cursor.execute(
            """SELECT line_no, line_sha256, booked_on, amount_fen, payer_name, payer_account, memo, bank_ref
               FROM bank_line WHERE line_sha256 = %s""",
            (line_sha256,),
        ).fetchone()


def ours(conn: Conn, provider: Provider, day: date) -> tuple[Ours, ...]:
    """List what we booked of a provider's day: money received and refunds that were sent."""
    payments = conn.execute(
        """SELECT reference, coalesce(order_no, ''), amount_fen FROM receipt
           WHERE channel = %s AND received_on = %s""",
        (provider, day),
    ).fetchall()
    refunds = conn.execute(
        """SELECT q.refund_no, coalesce(r.order_no, ''), q.amount_fen
           FROM money_request q JOIN receipt r USING (receipt_id)
           JOIN journal j ON j.idem_key = 'refund-sent:' || q.request_id
           WHERE r.channel = %s AND j.event_date = %s""",
        (provider, day),
    ).fetchall()
    return tuple(Ours(What.PAYMENT, *row) for row in payments) + tuple(
        Ours(What.REFUND, *row) for row in refunds
    )


def insert_statement(conn: Conn, statement: Statement, now: datetime) -> None:
    """Note a day's statement; the first of a day stays."""
    conn.execute(
        """INSERT INTO provider_statement (provider, day, sha256, line_count, payments_fen, refunds_fen, fee_fen,
                                           fetched_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
        (
            *(statement.provider, statement.day, statement.sha256, len(statement.lines)),
            *(statement.sum_fen(What.PAYMENT), statement.sum_fen(What.REFUND), statement.fee_fen, now),
        ),
    )


def booked_fee(conn: Conn, provider: Provider, day: date) -> tuple[int, int]:
    """Add up the fees of a provider's day that are booked, in fen; and number the last journal that did so."""
    row = conn.execute(
        """SELECT coalesce(-sum(p.amount_fen), 0), coalesce(max(journal_id), 0) FROM posting p JOIN journal j USING (journal_id)
           WHERE p.account_code = 'cash/' || %s AND j.deed = 'book_provider_fee' AND j.event_date = %s""",
        (provider, day),
    ).fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def insert_differences(conn: Conn, provider: Provider, day: date, found: Iterable[Difference]) -> None:
    """Keep differences; one that is known stays as it is."""
    for each in found:
        conn.execute(
            """INSERT INTO statement_difference (provider, day, kind, what, reference, order_no, ours_fen, theirs_fen)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
            (
                *(provider, day, each.kind, each.what, each.reference, each.order_no),
                *(each.ours_fen, each.theirs_fen),
            ),
        )


def resolve(
    conn: Conn, key: tuple[str, date, str, str, str], resolution: str, by: tuple[datetime, str]
) -> None:
    """Say what became of a difference (provider, day, kind, what, reference). Raises NoDifference."""
    done = conn.execute(
        """UPDATE statement_difference SET resolution = left(%s, 500), resolved_at = %s, resolved_by = %s
           WHERE (provider, day, kind, what, reference) = (%s, %s, %s, %s, %s) AND resolved_at IS NULL""",
        (resolution, *by, *key),
    ).rowcount
    if not done:
        raise NoDifference("not_found", kind="difference")


def statements(conn: Conn, since: date) -> tuple[StatementRow, ...]:
    """List compared statements from a day on, newest first."""
    with conn.cursor(row_factory=class_row(StatementRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT s.provider, s.day, s.line_count, s.payments_fen, s.refunds_fen, s.fee_fen, s.fetched_at,
                          (SELECT count(*) FROM statement_difference d
                           WHERE (d.provider, d.day) = (s.provider, s.day) AND d.resolved_at IS NULL) AS open_count
                   FROM provider_statement s WHERE s.day >= %s ORDER BY s.day DESC, s.provider LIMIT 200""",
                (since,),
            )
        )


def compared_days(conn: Conn, provider: Provider, first: date) -> frozenset[date]:
    """List the days from `first` on whose statement was compared."""
    rows = conn.execute(
        "SELECT day FROM provider_statement WHERE provider = %s AND day >= %s", (provider, first)
    )
    return frozenset(row[0] for row in rows)


def difference_rows(conn: Conn, *, is_open: bool) -> tuple[DifferenceRow, ...]:
    """List differences, newest day first: the open ones, or all."""
    with conn.cursor(row_factory=class_row(DifferenceRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT provider, day, kind, what, reference, order_no, ours_fen, theirs_fen, resolved_at, resolved_by,
                          resolution FROM statement_difference WHERE resolved_at IS NULL OR NOT %s
                   ORDER BY day DESC, provider, kind, what, reference LIMIT %s""",
                (is_open, DIFFERENCES_MAX),
            )
        )
