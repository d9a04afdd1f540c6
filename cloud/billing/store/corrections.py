"""SQL of proposed corrections: what they say, the decision, the bills they made. Nothing here commits or decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.billing.billjson import bill_from, bill_json
from cloud.billing.correction import Cause, Item, Outcome, Why
from cloud.billing.facts import Bill
from cloud.db import Conn
from cloud.errors import Forbidden

LIST_MAX = 200  # proposals on one page


class SamePerson(Forbidden):
    """Who prepared a correction does not approve it."""


@dataclass(frozen=True, slots=True)
class CorrectionRow:
    """A proposal without its items, and what was decided (deed None: nothing yet)."""

    correction_id: int
    run: str
    reason: str
    prepared_by: str
    prepared_at: datetime
    differs_count: int
    same_count: int
    beyond_count: int
    refused_count: int
    more_fen: int
    less_fen: int
    deed: str | None
    decision_reason: str | None
    decided_by: str | None
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One touched bill of a proposal, without the bill it would become."""

    correction_id: int
    bill_id: int
    account_id: str
    account_name: str
    month: date
    revision: int
    outcome: Outcome
    whys: tuple[Why, ...]
    input_sha256: bytes | None
    before_fen: int
    after_fen: int
    problem: str
    new_bill_id: int | None

    @property
    def change_fen(self) -> int:
        """Compute what the customer owes more (positive) or less."""
        return self.after_fen - self.before_fen


@dataclass(frozen=True, slots=True)
class CorrectionNote:
    """What a customer is told on a corrected bill: why it took another's place, and what it changed."""

    bill_id: int
    corrects: int
    reason: str
    whys: tuple[Why, ...]
    change_fen: int
    corrected_at: datetime


def insert(conn: Conn, run: str, reason: str, actor: str, now: datetime) -> int:
    """Begin a proposal; return its number."""
    row = conn.execute(
        """INSERT INTO correction (run, reason, prepared_by, prepared_at) VALUES (%s, %s, %s, %s)
           RETURNING correction_id""",
        (run, reason, actor, now),
    ).fetchone()
    if row is None:
        raise TypeError("INSERT … RETURNING gave no row")
    return int(row[0])


def insert_item(conn: Conn, correction_id: int, item: Item) -> None:
    """Add what the proposal says about one bill."""
    conn.execute(
        """INSERT INTO correction_item (correction_id, bill_id, outcome, causes, input_sha256, content, before_fen,
                                        after_fen, problem)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            *(correction_id, item.bill_id, item.outcome, Jsonb(_causes(item.whys)), item.input_sha256),
            None if item.bill is None else Jsonb(bill_json(item.bill)),
            *(item.before_fen, item.after_fen, item.problem),
        ),
    )


def issued_input(conn: Conn, bill_id: int) -> tuple[bytes, int, int]:
    """Load the hash of what an issued bill was drawn from, its total, and the month's latest revision number."""
    row = conn.execute(
        """SELECT b.input_sha256, b.total_fen,
                  (SELECT max(revision) FROM bill l WHERE (l.account_id, l.month) = (b.account_id, b.month))
           FROM bill b WHERE b.bill_id = %s""",
        (bill_id,),
    ).fetchone()
    if row is None:
        raise TypeError(f"a touched bill {bill_id} that is not there")
    return bytes(row[0]), int(row[1]), int(row[2])


def lock(conn: Conn, correction_id: int) -> None:
    """Let only this transaction decide about a proposal, until it ends."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"correction {correction_id}",))


def find(conn: Conn, correction_id: int) -> CorrectionRow | None:
    """Find one proposal with its sums."""
    with conn.cursor(row_factory=class_row(CorrectionRow)) as cursor:
        return cursor.execute(_ROWS.format("WHERE c.correction_id = %s"), (correction_id,)).fetchone()


def newest(conn: Conn, *, is_open: bool) -> tuple[CorrectionRow, ...]:
    """List proposals, newest first: those that wait for a decision, or the others."""
    waits = "d.deed IS NULL AND EXISTS (SELECT FROM correction_item o WHERE o.correction_id = c.correction_id AND o.outcome = 'differs')"
    where = f"WHERE {waits}" if is_open else f"WHERE NOT ({waits})"
    with conn.cursor(row_factory=class_row(CorrectionRow)) as cursor:
        return tuple(
            cursor.execute(_ROWS.format(where) + " ORDER BY c.correction_id DESC LIMIT %s", (LIST_MAX,))
        )


def items(conn: Conn, correction_id: int) -> tuple[ItemRow, ...]:
    """List the bills of a proposal by account and month."""
    rows = conn.execute(
        """SELECT i.correction_id, i.bill_id, b.account_id, a.name, b.month, b.revision, i.outcome, i.causes,
                  i.input_sha256, i.before_fen, i.after_fen, i.problem, n.bill_id
           FROM correction_item i JOIN bill b USING (bill_id) JOIN account a USING (account_id)
           LEFT JOIN correction_bill n ON n.corrects = i.bill_id AND n.correction_id = i.correction_id
           WHERE i.correction_id = %s ORDER BY b.account_id, b.month""",
        (correction_id,),
    )
    return tuple(map(_item_row, rows))


def proposed_bill(conn: Conn, correction_id: int, bill_id: int) -> Bill | None:
    """Load the revision that a proposal would put in a bill's place. Raises NotABill."""
    row = conn.execute(
        "SELECT content FROM correction_item WHERE correction_id = %s AND bill_id = %s",
        (correction_id, bill_id),
    ).fetchone()
    return None if row is None or row[0] is None else bill_from(row[0])


def decide(conn: Conn, correction_id: int, deed: str, reason: str, by: tuple[str, datetime]) -> None:
    """Keep the decision, with who and when. Raises SamePerson when who approves has prepared it."""
    try:
        conn.execute(
            """INSERT INTO correction_decision (correction_id, deed, reason, decided_by, decided_at)
               VALUES (%s, %s, %s, %s, %s)""",
            (correction_id, deed, reason, *by),
        )
    except psycopg.errors.CheckViolation as problem:
        if problem.diag.constraint_name == "correction_by_two":
            raise SamePerson("correction_same_person", correction=correction_id) from problem
        raise


def insert_bill(conn: Conn, row: ItemRow, bill_id: int, reason: str, now: datetime) -> None:
    """Tie a correction bill to the one it takes the place of, with what its customer is told."""
    conn.execute(
        """INSERT INTO correction_bill (bill_id, corrects, correction_id, reason, causes, change_fen, corrected_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (
            *(bill_id, row.bill_id, row.correction_id, reason, Jsonb(_causes(row.whys)), row.change_fen),
            now,
        ),
    )


def corrections_of(conn: Conn, bill_id: int) -> tuple[CorrectionNote, ...]:
    """List what a bill corrects and by what it was corrected itself, oldest first; customers see their own."""
    rows = conn.execute(
        """SELECT bill_id, corrects, reason, causes, change_fen, corrected_at FROM correction_bill
           WHERE bill_id = %s OR corrects = %s ORDER BY corrected_at, bill_id""",
        (bill_id, bill_id),
    )
    return tuple(
        CorrectionNote(new, old, reason, _whys(causes), change_fen, at)
        for new, old, reason, causes, change_fen, at in rows
    )


def _item_row(row: tuple[Any, ...]) -> ItemRow:
    *head, outcome, causes, sha256, before_fen, after_fen, problem, new_bill_id = row
    correction_id, bill_id, account_id, account_name, month, revision = head
    return ItemRow(
        correction_id=correction_id,
        bill_id=bill_id,
        account_id=account_id,
        account_name=account_name,
        month=month,
        revision=revision,
        outcome=Outcome(outcome),
        whys=_whys(causes),
        input_sha256=None if sha256 is None else bytes(sha256),
        before_fen=before_fen,
        after_fen=after_fen,
        problem=problem,
        new_bill_id=new_bill_id,
    )


def _causes(whys: Sequence[Why]) -> list[dict[str, str]]:
    return [{"cause": why.cause.value, "detail": why.detail} for why in whys]


def _whys(causes: list[dict[str, str]]) -> tuple[Why, ...]:
    return tuple(Why(Cause(each["cause"]), each["detail"]) for each in causes)


_ROWS = """
    SELECT c.correction_id, c.run, c.reason, c.prepared_by, c.prepared_at,
           s.differs_count, s.same_count, s.beyond_count, s.refused_count, s.more_fen, s.less_fen,
           d.deed, d.reason AS decision_reason, d.decided_by, d.decided_at
    FROM correction c LEFT JOIN correction_decision d USING (correction_id)
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE outcome = 'differs') AS differs_count,
               count(*) FILTER (WHERE outcome = 'same') AS same_count,
               count(*) FILTER (WHERE outcome = 'beyond') AS beyond_count,
               count(*) FILTER (WHERE outcome = 'refused') AS refused_count,
               coalesce(sum(after_fen - before_fen) FILTER (WHERE after_fen > before_fen), 0)::bigint AS more_fen,
               coalesce(sum(after_fen - before_fen) FILTER (WHERE after_fen < before_fen), 0)::bigint AS less_fen
        FROM correction_item i WHERE i.correction_id = c.correction_id) s {}"""
