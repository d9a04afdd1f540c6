"""SQL: for whom and what green certificates were used up, and what anybody may ask about a proof."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from psycopg.rows import class_row

from cloud.db import Conn

ROWS_MAX = 500


@dataclass(frozen=True, slots=True)
class Retirement:
    """For whom and what certificates were used."""

    party_id: int
    proof_no: str
    used_by: str
    purpose: str
    first_month: date
    last_month: date
    mwh: int
    at: datetime


@dataclass(frozen=True, slots=True)
class RetirementRow(Retirement):
    """A use, with the number of its entry and the user's party."""

    entry_id: int
    party_name: str


def insert_retirement(conn: Conn, entry_id: int, use: Retirement) -> None:
    """Keep for whom and what the certificates of an entry were used."""
    conn.execute(
        """INSERT INTO green_retirement (entry_id, party_id, proof_no, used_by, purpose, first_month, last_month, mwh, at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
        (
            *(entry_id, use.party_id, use.proof_no, use.used_by, use.purpose),
            *(use.first_month, use.last_month, use.mwh, use.at),
        ),
    )


def retirements(conn: Conn, party_id: int | None) -> tuple[RetirementRow, ...]:
    """Uses of a party, or of everybody, newest first."""
    with conn.cursor(row_factory=class_row(RetirementRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT r.entry_id, r.party_id, p.name AS party_name, r.proof_no, r.used_by, r.purpose, r.first_month,
                          r.last_month, r.mwh, r.at
                   FROM green_retirement r JOIN party p USING (party_id)
                   WHERE %(party)s::bigint IS NULL OR r.party_id = %(party)s
                   ORDER BY r.entry_id DESC LIMIT %(most)s""",
                {"party": party_id, "most": ROWS_MAX},
            )
        )


def retirement(conn: Conn, entry_id: int) -> RetirementRow | None:
    """One use."""
    with conn.cursor(row_factory=class_row(RetirementRow)) as cursor:
        return cursor.execute(
            """SELECT r.entry_id, r.party_id, p.name AS party_name, r.proof_no, r.used_by, r.purpose, r.first_month,
                      r.last_month, r.mwh, r.at
               FROM green_retirement r JOIN party p USING (party_id) WHERE r.entry_id = %s""",
            (entry_id,),
        ).fetchone()


def proof(conn: Conn, proof_no: str) -> tuple[int, date, date, date] | None:
    """What anybody may ask about a proof: (MWh, first month, last month, day of use); None: it does not stand."""
    row = conn.execute("SELECT * FROM green_proof(%s)", (proof_no,)).fetchone()
    return None if row is None else (int(row[0]), row[1], row[2], row[3])
