"""SQL for the bill pages: which bills an account has, whose a bill is, and what stands around it.

A whole bill is loaded by `bills.load`. What stands around it is taken as it was known when the bill was issued (a
draft: when it was drawn up), so that the same bill is the same paper whenever it is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from psycopg.rows import class_row

from cloud.billing.document.around import PAST_MONTHS, Around, Corrects, PastMonth, Seal
from cloud.db import Conn
from cloud.markettime import month_after, month_bounds

BILLS_MAX = 240  # of one list: twenty years of months
SEEN_BY_CUSTOMERS = ("issued", "superseded")


@dataclass(frozen=True, slots=True)
class BillRow:
    """A bill without its lines."""

    bill_id: int
    account_id: str
    account_name: str
    party_id: int
    month: date
    revision: int
    total_fen: int
    import_wh: int
    state: str
    made_at: datetime
    issued_at: datetime | None
    due_date: date | None


def bills_of_account(conn: Conn, account_id: str, *, with_drafts: bool) -> tuple[BillRow, ...]:
    """The account's bills, newest month and revision first; drafts are not yet bills to their customer."""
    with conn.cursor(row_factory=class_row(BillRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT b.bill_id, b.account_id, a.name AS account_name, a.party_id, b.month, b.revision,
                          b.total_fen, b.import_wh, b.state, b.made_at, b.issued_at, b.due_date
                   FROM bill b JOIN account a USING (account_id)
                   WHERE b.account_id = %s AND (%s OR b.state = ANY(%s))
                   ORDER BY b.month DESC, b.revision DESC LIMIT %s""",
                (account_id, with_drafts, list(SEEN_BY_CUSTOMERS), BILLS_MAX),
            )
        )


def find_bill(conn: Conn, bill_id: int, *, with_drafts: bool) -> BillRow | None:
    """The bill of that number without its lines, if this transaction may see it."""
    with conn.cursor(row_factory=class_row(BillRow)) as cursor:
        return cursor.execute(
            """SELECT b.bill_id, b.account_id, a.name AS account_name, a.party_id, b.month, b.revision,
                      b.total_fen, b.import_wh, b.state, b.made_at, b.issued_at, b.due_date
               FROM bill b JOIN account a USING (account_id)
               WHERE b.bill_id = %s AND (%s OR b.state = ANY(%s))""",
            (bill_id, with_drafts, list(SEEN_BY_CUSTOMERS)),
        ).fetchone()


def bills_of_month(conn: Conn, month: date, states: Sequence[str]) -> tuple[tuple[int, str, int], ...]:
    """(bill, account, revision) of the month in these states, the latest revision of each account, by account."""
    return tuple(
        conn.execute(
            """SELECT DISTINCT ON (account_id) bill_id, account_id, revision FROM bill
               WHERE month = %s AND state = ANY(%s) ORDER BY account_id, revision DESC""",
            (month, list(states)),
        ).fetchall()
    )


def around(conn: Conn, row: BillRow) -> Around:
    """What stands around a bill."""
    known_at = row.issued_at or row.made_at
    return Around(
        past=_past(conn, row, known_at),
        issued_at=row.issued_at,
        due_on=row.due_date,
        arrears_fen=_arrears_fen(conn, row, known_at) if row.issued_at else None,
        corrects=_corrects(conn, row),
        seals=_seals(conn, row, known_at),
    )


def _past(conn: Conn, row: BillRow, known_at: datetime) -> tuple[PastMonth, ...]:
    rows = conn.execute(
        """SELECT DISTINCT ON (month) month, total_fen, import_wh FROM bill
           WHERE account_id = %s AND month >= %s AND month < %s AND issued_at < %s
           ORDER BY month, revision DESC""",
        (row.account_id, month_after(row.month, -PAST_MONTHS), row.month, known_at),
    )
    return tuple(PastMonth(*each) for each in rows)


def _arrears_fen(conn: Conn, row: BillRow, known_at: datetime) -> int:
    """What the ledger says was owed of other months just before this bill was booked."""
    found = conn.execute(
        """SELECT coalesce(sum(p.amount_fen), 0)::bigint FROM posting p JOIN journal j USING (journal_id)
           WHERE p.account_code = 'receivable/' || %s AND p.item <> %s AND j.booked_at < %s""",
        (row.account_id, f"{row.account_id}/{row.month:%Y-%m}", known_at),
    ).fetchone()
    return int(found[0]) if found else 0


def _corrects(conn: Conn, row: BillRow) -> Corrects | None:
    """The revision that was issued before this one."""
    found = conn.execute(
        """SELECT revision, total_fen FROM bill
           WHERE account_id = %s AND month = %s AND revision < %s AND issued_at IS NOT NULL
           ORDER BY revision DESC LIMIT 1""",
        (row.account_id, row.month, row.revision),
    ).fetchone()
    return None if found is None else Corrects(found[0], found[1], "rerated")


def _seals(conn: Conn, row: BillRow, known_at: datetime) -> tuple[Seal, ...]:
    """The keys of the gateways that read this account's meters in the month."""
    start, end = month_bounds(row.month)
    rows = conn.execute(
        """SELECT DISTINCT k.gateway_id, encode(k.public_key, 'hex') FROM supply_point s
           JOIN installation i USING (supply_point_id) JOIN gateway_key k USING (gateway_id)
           WHERE s.account_id = %s AND i.period && tstzrange(%s, %s) AND lower(k.valid) < %s
             AND (upper(k.valid) IS NULL OR upper(k.valid) > %s) ORDER BY 1, 2""",
        (row.account_id, start, end, known_at, start),
    )
    return tuple(Seal(*each) for each in rows)
