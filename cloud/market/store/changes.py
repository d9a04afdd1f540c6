"""SQL: what changes a result after the gate: declarations struck out, corrected results of a platform; asked and answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.errors import UniqueViolation
from psycopg.rows import class_row

from cloud.db import Conn
from cloud.errors import Conflict


class Struck(Conflict):
    """The declaration is struck out already, or somebody has asked for it."""


class Answered(Conflict):
    """Somebody else has answered meanwhile."""


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change as it was asked for and, once there is one, its answer; `version` is that of the platform's result."""

    change_id: int
    session_id: int
    kind: str
    seq: int | None
    offer_id: int | None
    version: int | None
    reason: str
    asked_at: datetime
    asked_by: str
    verdict: str | None
    answer: str | None
    answered_at: datetime | None
    answered_by: str | None


@dataclass(frozen=True, slots=True)
class OfferRow:
    """A later version of a platform's result, and whether it is the one in our books."""

    offer_id: int
    session_id: int
    version: int
    document: str
    body: dict[str, Any]
    at: datetime
    is_taken: bool


@dataclass(frozen=True, slots=True)
class StruckRow:
    """A declaration that no longer counts."""

    seq: int
    at: datetime
    reason: str


def ask(
    conn: Conn, session_id: int, what: tuple[str, int | None, int | None], who: tuple[str, datetime, str]
) -> int:
    """Keep that a change is asked for: `what` is kind, declaration and offer; `who` actor, instant and reason. Raises Struck."""
    try:
        with conn.transaction():
            row = conn.execute(
                """INSERT INTO result_change (session_id, kind, seq, offer_id, asked_by, asked_at, reason)
                   VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING change_id""",
                (session_id, *what, *who),
            ).fetchone()
    except UniqueViolation as struck:
        raise Struck("struck_already", seq=what[1]) from struck
    assert row is not None
    return int(row[0])


def answer(conn: Conn, change_id: int, verdict: str, who: tuple[str, datetime, str]) -> None:
    """Keep the answer. Raises Answered."""
    try:
        with conn.transaction():
            conn.execute(
                "INSERT INTO result_change_answer (change_id, verdict, actor, at, reason) VALUES (%s, %s, %s, %s, %s)",
                (change_id, verdict, *who),
            )
    except UniqueViolation as answered:
        raise Answered("change_answered", change=change_id) from answered


def find(conn: Conn, session_id: int, change_id: int) -> ChangeRow | None:
    """A change of a session."""
    return next((each for each in of_session(conn, session_id) if each.change_id == change_id), None)


def of_session(conn: Conn, session_id: int) -> tuple[ChangeRow, ...]:
    """A session's changes, the latest first."""
    with conn.cursor(row_factory=class_row(ChangeRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT c.change_id, c.session_id, c.kind, c.seq, c.offer_id, o.version, c.reason, c.asked_at, c.asked_by,
                          a.verdict, a.reason AS answer, a.at AS answered_at, a.actor AS answered_by
                   FROM result_change c LEFT JOIN result_change_answer a USING (change_id)
                        LEFT JOIN exchange_offer o USING (offer_id)
                   WHERE c.session_id = %s ORDER BY c.change_id DESC""",
                (session_id,),
            )
        )


def struck(conn: Conn, session_id: int) -> frozenset[int]:
    """The declarations of a session that are struck out, by number."""
    rows = conn.execute(
        """SELECT c.seq FROM result_change c JOIN result_change_answer a USING (change_id)
           WHERE c.session_id = %s AND c.kind = 'strike' AND a.verdict = 'approved'""",
        (session_id,),
    )
    return frozenset(int(seq) for (seq,) in rows)


def struck_for(conn: Conn, session_id: int) -> dict[int, StruckRow]:
    """What this person may know of the session's struck declarations: staff of all, a party of its own."""
    with conn.cursor(row_factory=class_row(StruckRow)) as cursor:
        return {row.seq: row for row in cursor.execute("SELECT * FROM bid_struck(%s)", (session_id,))}


def keep_struck(conn: Conn, session_id: int, run_no: int, seqs: Iterable[int]) -> None:
    """Keep which declarations a run left out."""
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO clearing_struck (session_id, run_no, seq) VALUES (%s, %s, %s)",
            [(session_id, run_no, seq) for seq in sorted(seqs)],
        )


def struck_in(conn: Conn, session_id: int, run_no: int) -> frozenset[int]:
    """Which declarations a run left out."""
    rows = conn.execute(
        "SELECT seq FROM clearing_struck WHERE (session_id, run_no) = (%s, %s)", (session_id, run_no)
    )
    return frozenset(int(seq) for (seq,) in rows)


def offers_of(conn: Conn, session_id: int) -> tuple[OfferRow, ...]:
    """The later versions that a platform sent of a session's result, the latest first."""
    return _offers(conn, "o.session_id = %s", (session_id,))


def find_offer(conn: Conn, session_id: int, offer_id: int) -> OfferRow | None:
    """An offer of a session."""
    return next(iter(_offers(conn, "(o.session_id, o.offer_id) = (%s, %s)", (session_id, offer_id))), None)


def _offers(conn: Conn, condition: str, parameters: tuple[object, ...]) -> tuple[OfferRow, ...]:
    with conn.cursor(row_factory=class_row(OfferRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""SELECT o.offer_id, o.session_id, o.version, o.document, o.body, o.at,
                           EXISTS (SELECT FROM exchange_result r WHERE r.session_id = o.session_id AND r.verdict = 'taken'
                                   AND r.version >= o.version) AS is_taken
                    FROM exchange_offer o WHERE {condition} ORDER BY o.version DESC, o.offer_id DESC""",
                parameters,
            )
        )
