"""SQL of bill review: the queue, what is known of an account's past, decisions, questions and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.billing.review import PastBill, Risk
from cloud.db import Conn
from cloud.markettime import month_after

QUEUE_MAX = 500
QUESTIONS_MAX = 200
PAST_MONTHS = 13
OPEN_STATES = ("draft", "held")


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A bill that waits for a decision. `score` is None until it was assessed."""

    bill_id: int
    account_id: str
    account_name: str
    month: date
    revision: int
    total_fen: int
    import_wh: int
    state: str
    made_at: datetime
    score: int | None
    reasons: list[dict[str, Any]]
    before_fen: int | None  # the month before, as it stands
    before_bill_id: int | None
    rerate_asked: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision about a bill, or the answer to a request to re-rate it."""

    review_id: int
    bill_id: int
    deed: str
    reason: str
    note: str
    actor: str
    at: datetime
    new_bill_id: int | None


@dataclass(frozen=True, slots=True)
class Question:
    """A customer's question about a bill or one line of it, with the answer when there is one."""

    question_id: int
    bill_id: int
    account_id: str
    account_name: str
    month: date
    line_no: int | None
    question: str
    context: dict[str, str]
    asked_by: str
    asked_at: datetime
    answer: str | None
    answered_at: datetime | None


def queue(conn: Conn, bill_id: int | None = None) -> tuple[QueueRow, ...]:
    """The drafts and held bills, those not assessed first, then by score; or only one of them."""
    with conn.cursor(row_factory=class_row(QueueRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT b.bill_id, b.account_id, a.name AS account_name, b.month, b.revision, b.total_fen,
                          b.import_wh, b.state, b.made_at, s.score, coalesce(s.reasons, '[]') AS reasons,
                          p.total_fen AS before_fen, p.bill_id AS before_bill_id,
                          EXISTS (SELECT FROM bill_review r WHERE r.bill_id = b.bill_id AND r.deed = 'rerate'
                                  AND NOT EXISTS (SELECT FROM bill_review d WHERE d.bill_id = r.bill_id
                                                  AND d.deed = 'rerated' AND d.review_id > r.review_id))
                              AS rerate_asked
                   FROM bill b JOIN account a USING (account_id) LEFT JOIN bill_assessment s USING (bill_id)
                   LEFT JOIN LATERAL (
                       SELECT bill_id, total_fen FROM bill e
                       WHERE e.account_id = b.account_id AND e.month = (b.month - interval '1 month')::date
                         AND e.state <> 'void' ORDER BY revision DESC LIMIT 1) p ON true
                   WHERE b.state = ANY(%s) AND (%s::bigint IS NULL OR b.bill_id = %s)
                   ORDER BY s.score DESC NULLS FIRST, abs(b.total_fen) DESC, b.bill_id LIMIT %s""",
                (list(OPEN_STATES), bill_id, bill_id, QUEUE_MAX),
            )
        )


def lock_bill(conn: Conn, bill_id: int) -> tuple[str, int, date] | None:
    """The (state, total, month) of a bill, which nobody else moves until this transaction ends."""
    row = conn.execute(
        "SELECT state, total_fen, month FROM bill WHERE bill_id = %s FOR UPDATE", (bill_id,)
    ).fetchone()
    return None if row is None else (str(row[0]), int(row[1]), row[2])


def move(conn: Conn, bill_id: int, state: str) -> None:
    """Move a bill that is locked by this transaction to another state."""
    conn.execute("UPDATE bill SET state = %s WHERE bill_id = %s", (state, bill_id))


def unassessed(conn: Conn, limit: int) -> tuple[int, ...]:
    """Drafts and held bills that have no score yet."""
    rows = conn.execute(
        """SELECT bill_id FROM bill b WHERE state = ANY(%s)
           AND NOT EXISTS (SELECT FROM bill_assessment s WHERE s.bill_id = b.bill_id) ORDER BY bill_id LIMIT %s""",
        (list(OPEN_STATES), limit),
    )
    return tuple(bill_id for (bill_id,) in rows)


def past_bills(conn: Conn, account_id: str, month: date) -> tuple[PastBill, ...]:
    """The account's earlier months as they stand, oldest first."""
    rows = conn.execute(
        """SELECT DISTINCT ON (month) bill_id, month, total_fen, import_wh,
                  ARRAY(SELECT DISTINCT f ->> 'id' || '@' || (f ->> 'version')
                        FROM jsonb_array_elements(facts -> 'segments') s, jsonb_array_elements(s -> 'files') f
                        ORDER BY 1),
                  coalesce(facts -> 'segments' -> -1 -> 'terms' ->> 'purchase', ''),
                  coalesce(facts -> 'segments' -> -1 -> 'terms' ->> 'structure', '')
           FROM bill WHERE account_id = %s AND month < %s AND month >= %s AND state <> 'void'
           ORDER BY month, revision DESC""",
        (account_id, month, month_after(month, -PAST_MONTHS)),
    )
    return tuple(PastBill(a, b, c, d, tuple(e), f, g) for a, b, c, d, e, f, g in rows)


def add_assessment(conn: Conn, bill_id: int, risk: Risk, actor: str, now: datetime) -> bool:
    """Keep a bill's score; False when it has one."""
    reasons = [{"key": each.key, "weight": each.weight, "facts": dict(each.facts)} for each in risk.reasons]
    return (
        conn.execute(
            """INSERT INTO bill_assessment (bill_id, score, reasons, rules_version, assessed_at, assessed_by)
               VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (bill_id) DO NOTHING""",
            (bill_id, risk.score, Jsonb(reasons), risk.rules_version, now, actor),
        ).rowcount
        == 1
    )


def score_of(conn: Conn, bill_id: int) -> int | None:
    """The score that was kept."""
    row = conn.execute("SELECT score FROM bill_assessment WHERE bill_id = %s", (bill_id,)).fetchone()
    return None if row is None else int(row[0])


def handled_by(conn: Conn, bill_id: int) -> frozenset[str]:
    """Who drew the bill up, held it, released it or asked to re-rate it, or the earlier draft it came from."""
    rows = conn.execute(
        """SELECT assessed_by FROM bill_assessment WHERE bill_id = %(id)s
           UNION SELECT actor FROM bill_review WHERE bill_id = %(id)s AND deed IN ('hold', 'release', 'rerate')
           UNION SELECT r.actor FROM bill_review d JOIN bill_review r ON r.bill_id = d.bill_id AND r.deed = 'rerate'
                 WHERE d.new_bill_id = %(id)s""",
        {"id": bill_id},
    )
    return frozenset(actor for (actor,) in rows)


def add_decision(conn: Conn, decision: Decision) -> None:
    """Record a decision; its `review_id` is given by the database."""
    conn.execute(
        """INSERT INTO bill_review (bill_id, deed, reason, note, actor, at, new_bill_id)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (
            *(decision.bill_id, decision.deed, decision.reason, decision.note),
            *(decision.actor, decision.at, decision.new_bill_id),
        ),
    )


def decisions(conn: Conn, bill_id: int) -> tuple[Decision, ...]:
    """What was decided about a bill, and about the draft it was re-rated from, in order."""
    with conn.cursor(row_factory=class_row(Decision)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT review_id, bill_id, deed, reason, note, actor, at, new_bill_id FROM bill_review
                   WHERE bill_id = %s OR new_bill_id = %s ORDER BY review_id""",
                (bill_id, bill_id),
            )
        )


def due_rerates(conn: Conn, limit: int) -> tuple[tuple[int, str, date], ...]:
    """(bill, account, month) of the requests to re-rate that nobody has carried out, oldest first."""
    return tuple(
        conn.execute(
            """SELECT b.bill_id, b.account_id, b.month FROM bill_review r JOIN bill b USING (bill_id)
               WHERE r.deed = 'rerate' AND NOT EXISTS (
                   SELECT FROM bill_review d
                   WHERE d.bill_id = r.bill_id AND d.deed = 'rerated' AND d.review_id > r.review_id)
               GROUP BY b.bill_id ORDER BY min(r.review_id) LIMIT %s""",
            (limit,),
        ).fetchall()
    )


# ---- questions ---------------------------------------------------------------------------------------------

_QUESTIONS = """
    SELECT q.question_id, q.bill_id, b.account_id, a.name AS account_name, b.month, q.line_no, q.question, q.context,
           q.asked_by, q.asked_at, n.answer, n.answered_at
    FROM bill_question q JOIN bill b USING (bill_id) JOIN account a USING (account_id)
    LEFT JOIN LATERAL (SELECT answer, answered_at FROM bill_answer n WHERE n.question_id = q.question_id
                       ORDER BY answer_id DESC LIMIT 1) n ON true
"""


def add_question(
    conn: Conn,
    bill_id: int,
    line_no: int | None,
    text: tuple[str, dict[str, str]],
    asked: tuple[str, datetime],
) -> int:
    """Keep a question (words, context) by somebody at an instant; return its number."""
    row = conn.execute(
        """INSERT INTO bill_question (bill_id, line_no, question, context, asked_by, asked_at)
           VALUES (%s, %s, %s, %s, %s, %s) RETURNING question_id""",
        (bill_id, line_no, text[0], Jsonb(text[1]), *asked),
    ).fetchone()
    if row is None:
        raise TypeError("INSERT … RETURNING gave no row")
    return int(row[0])


def add_answer(conn: Conn, question_id: int, answer: str, actor: str, now: datetime) -> None:
    """Keep an answer; the latest one is shown."""
    conn.execute(
        "INSERT INTO bill_answer (question_id, answer, answered_by, answered_at) VALUES (%s, %s, %s, %s)",
        (question_id, answer, actor, now),
    )


def questions_of_bill(conn: Conn, bill_id: int) -> tuple[Question, ...]:
    """The questions about one bill, newest first."""
    with conn.cursor(row_factory=class_row(Question)) as cursor:
        return tuple(
            cursor.execute(
                _QUESTIONS + "WHERE q.bill_id = %s ORDER BY q.question_id DESC LIMIT %s",
                (bill_id, QUESTIONS_MAX),
            )
        )


def questions(conn: Conn) -> tuple[Question, ...]:
    """All questions, the unanswered first, oldest first among them."""
    with conn.cursor(row_factory=class_row(Question)) as cursor:
        return tuple(
            cursor.execute(
                _QUESTIONS + "ORDER BY n.answer IS NOT NULL, q.question_id LIMIT %s", (QUESTIONS_MAX,)
            )
        )


def find_question(conn: Conn, question_id: int) -> Question | None:
    """One question."""
    with conn.cursor(row_factory=class_row(Question)) as cursor:
        return cursor.execute(_QUESTIONS + "WHERE q.question_id = %s", (question_id,)).fetchone()


def count_since(conn: Conn, asked_by: str, bill_ids: Sequence[int], since: datetime) -> int:
    """How many questions somebody asked about these bills since an instant."""
    row = conn.execute(
        "SELECT count(*) FROM bill_question WHERE asked_by = %s AND bill_id = ANY(%s) AND asked_at >= %s",
        (asked_by, list(bill_ids), since),
    ).fetchone()
    return int(row[0]) if row else 0
