"""SQL: which sessions a platform matches, and from which of its results a clearing run came (0028, 0032)."""

from __future__ import annotations

from typing import Any

from cloud.db import Conn


def is_hosted(conn: Conn, session_id: int) -> bool:
    """Whether a platform matches a session."""
    row = conn.execute(
        "SELECT EXISTS (SELECT FROM exchange_session WHERE session_id = %s)", (session_id,)
    ).fetchone()
    return bool(row and row[0])


def taken_body(conn: Conn, session_id: int, run_no: int) -> dict[str, Any] | None:
    """The platform's result that became this run, as it was kept; None for a run of our own."""
    row = conn.execute(
        "SELECT body FROM exchange_result WHERE (session_id, run_no) = (%s, %s) AND verdict = 'taken'",
        (session_id, run_no),
    ).fetchone()
    return None if row is None else dict(row[0])
