"""SQL: the ticks of the timetable, and what intake and validation have left to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime

from cloud.db import Conn, connected

LISTEN_S = 1.0  # how soon a stop is noticed


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits: stale days and since when, refusals of a day, unread rows of unbound meters."""

    stale_days: int
    stale_since: datetime | None
    refused_today: int
    unresolved: int


def wakeups(dsn: str, is_over: Callable[[], bool]) -> Iterator[None]:
    """Yield once at the start, then whenever days were marked stale, until `is_over`.

    Several marks may make one yield: what is stale is read from the table. Raises Unavailable.
    """
    with connected(dsn) as conn:
        conn.execute("LISTEN stale")
        conn.commit()
        conn.autocommit = True
        yield
        while not is_over():
            if any([True for _ in conn.notifies(timeout=LISTEN_S, stop_after=1)]):  # noqa: C419 - read to its end
                yield


@dataclass(frozen=True, slots=True)
class Tick:
    """An instant at which a timetable's entry was due."""

    entry: str
    instant: datetime


def claim_tick(conn: Conn, tick: Tick, taken_by: str, now: datetime, dead: datetime) -> bool:
    """Take a tick for this process; False when another has. Any number may tick, one does the work.

    A tick that was taken before `dead` and is not done belongs to a process that was killed: it is free again.
    """
    return (
        conn.execute(
            """INSERT INTO timetable_tick AS t (entry, instant, taken_by, taken_at) VALUES (%s, %s, %s, %s)
               ON CONFLICT (entry, instant) DO UPDATE SET taken_by = excluded.taken_by, taken_at = excluded.taken_at
               WHERE t.done_at IS NULL AND t.taken_at < %s""",
            (tick.entry, tick.instant, taken_by, now, dead),
        ).rowcount
        == 1
    )


def finish_tick(conn: Conn, tick: Tick, now: datetime) -> None:
    """Say that the look has been taken."""
    conn.execute(
        "UPDATE timetable_tick SET done_at = %s WHERE (entry, instant) = (%s, %s)",
        (now, tick.entry, tick.instant),
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
