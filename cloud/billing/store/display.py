"""SQL for the bill pages: which bills an account has, and whose a bill is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from psycopg.rows import class_row

from cloud.billing.billjson import bill_from
from cloud.billing.facts import Bill
from cloud.db import Conn

BILLS_MAX = 240  # of one list: twenty years of months


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


def bills_of_account(conn: Conn, account_id: str, *, with_drafts: bool) -> tuple[BillRow, ...]:
    """The account's bills, newest month and revision first; drafts are not yet bills to their customer."""
    with conn.cursor(row_factory=class_row(BillRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT b.bill_id, b.account_id, a.name AS account_name, a.party_id, b.month, b.revision,
                          b.total_fen, b.import_wh, b.state, b.made_at
                   FROM bill b JOIN account a USING (account_id)
                   WHERE b.account_id = %s AND (%s OR b.state = 'issued')
                   ORDER BY b.month DESC, b.revision DESC LIMIT %s""",
                (account_id, with_drafts, BILLS_MAX),
            )
        )


def find_bill(conn: Conn, bill_id: int, *, with_drafts: bool) -> BillRow | None:
    """The bill of that number without its lines, if this transaction may see it."""
    with conn.cursor(row_factory=class_row(BillRow)) as cursor:
        return cursor.execute(
            """SELECT b.bill_id, b.account_id, a.name AS account_name, a.party_id, b.month, b.revision,
                      b.total_fen, b.import_wh, b.state, b.made_at
               FROM bill b JOIN account a USING (account_id)
               WHERE b.bill_id = %s AND (%s OR b.state = 'issued')""",
            (bill_id, with_drafts),
        ).fetchone()


def load_bill(conn: Conn, row: BillRow) -> Bill:
    """The whole bill of the row: its kept facts and its lines as they were drawn up. Raises NotABill."""
    found = conn.execute("SELECT facts FROM bill WHERE bill_id = %s", (row.bill_id,)).fetchone()
    lines = conn.execute(
        """SELECT jsonb_build_object(
                      'section', section, 'item', item, 'period', period, 'quantity', quantity::text, 'unit', unit,
                      'price_yuan_per_unit', price_yuan_per_unit::text, 'amount_fen', amount_fen,
                      'derivation', derivation, 'items', items)
           FROM bill_line WHERE bill_id = %s ORDER BY line_no""",
        (row.bill_id,),
    ).fetchall()
    facts = {} if found is None else found[0]
    return bill_from(
        {
            **facts,
            "month": row.month.strftime("%Y-%m"),
            "revision": row.revision,
            "made_at": row.made_at.astimezone(UTC).isoformat(),
            "total_fen": row.total_fen,
            "state": row.state,
            "lines": [line for (line,) in lines],
        }
    )
