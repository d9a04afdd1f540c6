"""SQL: which sessions go on into a rolling phase with their rests, and what became of each rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from cloud.db import Conn


@dataclass(frozen=True, slots=True)
class RestRow:
    """An entry of a declaration that went on as a rolling order, or did not for a reason."""

    seq: int
    place: int
    session_id: int
    party_id: int
    rolling_id: int
    order_seq: int | None
    reason: str
    at: datetime


def due(conn: Conn, at: datetime) -> tuple[int, ...]:
    """Sessions in their rolling phase that no rolling session ever followed; those of a platform are the platform's."""
    rows = conn.execute(
        """SELECT session_id FROM trading_session s WHERE state = 'rolling' AND rolls_until > %s
             AND NOT EXISTS (SELECT FROM rolling_session r WHERE r.session_id = s.session_id)
             AND NOT EXISTS (SELECT FROM exchange_session e WHERE e.session_id = s.session_id)
           ORDER BY session_id""",
        (at,),
    )
    return tuple(int(session_id) for (session_id,) in rows)


def was_opened(conn: Conn, session_id: int) -> bool:
    """Whether a rolling session followed a session, called off or not: rests go on once."""
    found = conn.execute("SELECT FROM rolling_session WHERE session_id = %s LIMIT 1", (session_id,))
    return found.fetchone() is not None


def rolling_after(conn: Conn, session_id: int) -> int | None:
    """The rolling session that follows a session."""
    row = conn.execute(
        "SELECT rolling_id FROM rolling_session WHERE session_id = %s AND state <> 'cancelled'", (session_id,)
    ).fetchone()
    return None if row is None else int(row[0])


def insert(conn: Conn, rows: Sequence[RestRow]) -> None:
    """Keep what became of rests."""
    with conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO session_rest (seq, place, session_id, party_id, rolling_id, order_seq, reason, at)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
            [tuple(getattr(row, name) for name in RestRow.__slots__) for row in rows],
        )


def of_declaration(conn: Conn, seq: int) -> tuple[RestRow, ...]:
    """What became of a declaration's rests, as far as this person may see."""
    with conn.cursor(row_factory=class_row(RestRow)) as cursor:
        return tuple(cursor.execute("SELECT * FROM session_rest WHERE seq = %s ORDER BY place", (seq,)))
