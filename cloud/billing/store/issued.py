"""SQL of issuing: the states of a month's bills, what a bill books, and the move itself. Nothing here decides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from psycopg.rows import class_row

from cloud.billing.line import Section
from cloud.db import Conn


@dataclass(frozen=True, slots=True)
class MonthBill:
    """One revision of an account's month and where it stands."""

    bill_id: int
    revision: int
    state: str
    total_fen: int


def account_month(conn: Conn, bill_id: int) -> tuple[str, date] | None:
    """Find whose bill it is and of which month, if this transaction may see it."""
    return conn.execute("SELECT account_id, month FROM bill WHERE bill_id = %s", (bill_id,)).fetchone()


def revisions(conn: Conn, account_id: str, month: date) -> tuple[MonthBill, ...]:
    """List every revision of the account's month, first to last."""
    with conn.cursor(row_factory=class_row(MonthBill)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT bill_id, revision, state, total_fen FROM bill
                   WHERE account_id = %s AND month = %s ORDER BY revision""",
                (account_id, month),
            )
        )


def sections_fen(conn: Conn, bill_id: int) -> tuple[tuple[Section, int], ...]:
    """Add up a bill's lines by section."""
    rows = conn.execute(
        "SELECT section, sum(amount_fen) FROM bill_line WHERE bill_id = %s GROUP BY section ORDER BY section",
        (bill_id,),
    )
    return tuple((Section(section), int(fen)) for section, fen in rows)


def is_corrected_by(conn: Conn, bill_id: int, next_bill_id: int) -> bool:
    """Whether two persons have approved that the one takes the place of the other."""
    return bool(
        conn.execute(
            """SELECT FROM correction_bill c JOIN correction_decision d USING (correction_id)
               WHERE c.corrects = %s AND c.bill_id = %s AND d.deed = 'approve'""",
            (bill_id, next_bill_id),
        ).rowcount
    )


def move(conn: Conn, bill_id: int, state: str) -> None:
    """Put a bill into another state."""
    conn.execute("UPDATE bill SET state = %s WHERE bill_id = %s", (state, bill_id))


def issue(conn: Conn, bill_id: int, actor: str, now: datetime, due_date: date) -> None:
    """Put a bill into the state issued, by whom, when, and to be paid by when."""
    conn.execute(
        """UPDATE bill SET state = 'issued', issued_by = %s, issued_at = %s, due_date = %s WHERE bill_id = %s""",
        (actor, now, due_date, bill_id),
    )
