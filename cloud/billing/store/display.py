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
from cloud.billing.facts import Bill
from cloud.db import Conn
from cloud.markettime import month_after

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


def around(conn: Conn, row: BillRow, bill: Bill) -> Around:
    """What stands around a bill."""
    known_at = row.issued_at or row.made_at
    return Around(
        past=_past(conn, row, known_at),
        issued_at=row.issued_at,
        due_on=row.due_date,
        arrears_fen=_arrears_fen(conn, row, known_at) if row.issued_at else None,
        corrects=_corrects(conn, row),
        seals=_seals(conn, bill),
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
        """SELECT revision, total_fen,
                  coalesce((SELECT reason FROM correction_bill c WHERE c.bill_id = %s), 'rerated') FROM bill
           WHERE account_id = %s AND month = %s AND revision < %s AND issued_at IS NOT NULL
           ORDER BY revision DESC LIMIT 1""",
        (row.bill_id, row.account_id, row.month, row.revision),
    ).fetchone()
    return None if found is None else Corrects(*found)


def _seals(conn: Conn, bill: Bill) -> tuple[Seal, ...]:
    """The keys that sealed the batches at the edges of the bill's days and registers.

    A sealed batch says its key's id in its first bytes (edge_agent/wire/cose.py: 01 27 04 48, then the eight bytes).
    """
    named = {batch_id for each in bill.registers for batch_id in each.batch_ids}
    for day in bill.intervals:
        named.update(each for each in (day.first_batch_id, day.last_batch_id) if each is not None)
    rows = conn.execute(
        """SELECT DISTINCT k.gateway_id, encode(k.public_key, 'hex') FROM sealed_batch b
           JOIN gateway_key k ON k.gateway_id = b.gateway_id AND k.key_id = substring(
               b.body FROM position('\\x01270448'::bytea IN substring(b.body FROM 1 FOR 16)) + 4 FOR 8)
           WHERE b.batch_id = ANY(%s) ORDER BY 1, 2""",
        (sorted(named),),
    )
    return tuple(Seal(*each) for each in rows)
