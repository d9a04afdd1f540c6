"""SQL: the ticks of the timetable, and what intake and validation have left to look at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from cloud.db import Conn


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits: stale days and since when, refusals of a day, unread rows of unbound meters."""

    stale_days: int
    stale_since: datetime | None
    refused_today: int
    unresolved: int


def claim_tick(conn: Conn, entry: str, instant: datetime, taken_by: str) -> bool:
    """Take a tick for this process; False when another has taken it. Any number may tick, one does the work."""
    return (
        conn.execute(
            "INSERT INTO timetable_tick (entry, instant, taken_by) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (entry, instant, taken_by),
        ).rowcount
        == 1
    )


def forget_ticks(conn: Conn, before: datetime) -> int:
    """Drop ticks that nobody will take again."""
    return conn.execute("DELETE FROM timetable_tick WHERE instant < %s", (before,)).rowcount


def forget_sessions(conn: Conn, now: datetime) -> int:
    """Drop sessions that have expired."""
    return conn.execute("DELETE FROM user_session WHERE expires_at <= %s", (now,)).rowcount


def load_backlog(conn: Conn, day: date) -> Backlog:
    """Count what waits for validation or for a person."""
    row = conn.execute(
        """SELECT (SELECT count(*) FROM stale_day), (SELECT min(marked_at) FROM stale_day),
                  (SELECT coalesce(sum(messages), 0)::bigint FROM intake_count
                   WHERE day = %s AND verdict NOT IN ('accepted', 'duplicate')),
                  (SELECT count(*) FROM quarantine WHERE resolved_at IS NULL)""",
        (day,),
    ).fetchone()
    assert row is not None
    return Backlog(*row)
