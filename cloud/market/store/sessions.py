"""SQL: trading sessions, their moves, clearing runs and what became of them. Only a session's state moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from psycopg.errors import UniqueViolation
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.errors import Conflict
from cloud.market.session import Hours, Period


class SessionTaken(Conflict):
    """There is a session of that number already."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as it is kept."""

    session_id: int
    session_no: str
    title: str
    announcement: str
    rule_id: str
    rule_version: int
    rule_sha256: str
    rule_body: str
    product: str
    is_sealed: bool
    shows_curve: bool
    period_month: list[date]
    period_label: list[str]
    opens_at: datetime
    freezes_at: datetime
    publishes_at: datetime
    rolls_until: datetime | None
    state: str
    gate_at: datetime | None
    last_seq: int | None
    book_sha256: str | None
    final_run: int | None
    drafted_at: datetime
    drafted_by: str

    @property
    def hours(self) -> Hours:
        """When it takes declarations and tells its result."""
        return Hours(self.opens_at, self.freezes_at, self.publishes_at, self.rolls_until)

    @property
    def periods(self) -> tuple[Period, ...]:
        """What is cleared, each by itself."""
        named = zip(self.period_month, self.period_label, strict=True)
        return tuple(Period(number, month, label) for number, (month, label) in enumerate(named, start=1))


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that is to be drafted."""

    session_no: str
    title: str
    announcement: str
    rule: tuple[str, int, str, str]  # id, version, sha256, body
    product: str
    is_sealed: bool
    shows_curve: bool
    periods: tuple[Period, ...]
    hours: Hours


@dataclass(frozen=True, slots=True)
class EventRow:
    """A move of a session, or a note."""

    event_id: int
    deed: str
    state: str
    at: datetime
    actor: str
    reason: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gate:
    """The closed book: when, up to which number, and the hash of what stood."""

    at: datetime
    last_seq: int
    book_sha256: str


def insert(conn: Conn, new: NewSession, actor: str, at: datetime) -> int:
    """Keep a draft and return its id. Raises SessionTaken."""
    try:
        with conn.transaction():
            row = conn.execute(
                """INSERT INTO trading_session (session_no, title, announcement, rule_id, rule_version, rule_sha256, rule_body,
                       product, is_sealed, shows_curve, period_month, period_label, opens_at, freezes_at, publishes_at,
                       rolls_until, drafted_at, drafted_by)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::date[], %s::text[], %s, %s, %s, %s, %s, %s)
                   RETURNING session_id""",
                (
                    *(new.session_no, new.title, new.announcement, *new.rule, new.product, new.is_sealed),
                    *(new.shows_curve, [each.month for each in new.periods]),
                    *([each.label for each in new.periods], new.hours.opens_at, new.hours.freezes_at),
                    *(new.hours.publishes_at, new.hours.rolls_until, at, actor),
                ),
            ).fetchone()
    except UniqueViolation as taken:
        raise SessionTaken("session_taken", session=new.session_no) from taken
    assert row is not None
    note(conn, int(row[0]), "draft", "drafted", (actor, at, ""))
    return int(row[0])


def note(
    conn: Conn,
    session_id: int,
    deed: str,
    state: str,
    who: tuple[str, datetime, str],
    facts: Mapping[str, object] | None = None,
) -> None:
    """Append to a session's log: `who` is actor, instant and reason."""
    actor, at, reason = who
    conn.execute(
        "INSERT INTO session_event (session_id, deed, state, at, actor, reason, facts) VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (session_id, deed, state, at, actor, reason, Jsonb(dict(facts or {}))),
    )


def ring(conn: Conn, at: datetime) -> tuple[int, ...]:
    """Open announced sessions whose hour has come; return those that this call opened."""
    return tuple(session_id for (session_id,) in conn.execute("SELECT session_ring(%s)", (at,)))


def lock(conn: Conn, session_id: int) -> SessionRow | None:
    """Load a session and keep others from moving it until the transaction ends."""
    return next(iter(_sessions(conn, "session_id = %s FOR NO KEY UPDATE", (session_id,))), None)


def find(conn: Conn, session_id: int) -> SessionRow | None:
    """The session of that id, if this person sees it."""
    return next(iter(_sessions(conn, "session_id = %s", (session_id,))), None)


def find_many(conn: Conn, session_ids: Sequence[int]) -> dict[int, SessionRow]:
    """Sessions by id."""
    rows = _sessions(conn, "session_id = ANY(%s)", (list(session_ids),))
    return {row.session_id: row for row in rows}


def listed(conn: Conn, most: int = 200) -> tuple[SessionRow, ...]:
    """The sessions this person sees, the latest first."""
    return _sessions(conn, "true ORDER BY opens_at DESC, session_id DESC LIMIT %s", (most,))


def due(conn: Conn, at: datetime) -> tuple[int, ...]:
    """Open sessions whose gate is past its hour, and those that rolled or were published long enough to close."""
    rows = conn.execute(
        """SELECT session_id FROM trading_session
           WHERE (state = 'open' AND freezes_at <= %s)
              OR (state = 'published' AND rolls_until IS NOT NULL AND publishes_at <= %s)
              OR (state = 'rolling' AND rolls_until <= %s) ORDER BY session_id""",
        (at, at, at),
    )
    return tuple(session_id for (session_id,) in rows)


def set_state(conn: Conn, session_id: int, state: str) -> None:
    """Move a session; the database knows the same moves and refuses others."""
    conn.execute("UPDATE trading_session SET state = %s WHERE session_id = %s", (state, session_id))


def set_gate(conn: Conn, session_id: int, gate: Gate) -> None:
    """Freeze a session with its closed book."""
    conn.execute(
        "UPDATE trading_session SET state = 'frozen', gate_at = %s, last_seq = %s, book_sha256 = %s WHERE session_id = %s",
        (gate.at, gate.last_seq, gate.book_sha256, session_id),
    )


def set_hours(conn: Conn, session_id: int, state: str, hours: Hours) -> None:
    """Resume a suspended session at new hours."""
    conn.execute(
        """UPDATE trading_session SET state = %s, opens_at = %s, freezes_at = %s, publishes_at = %s, rolls_until = %s
           WHERE session_id = %s""",
        (state, hours.opens_at, hours.freezes_at, hours.publishes_at, hours.rolls_until, session_id),
    )


def set_final(conn: Conn, session_id: int, run_no: int, state: str = "published") -> None:
    """Publish a run as the session's result; a corrected one in whatever state the session is."""
    conn.execute(
        "UPDATE trading_session SET state = %s, final_run = %s WHERE session_id = %s",
        (state, run_no, session_id),
    )


def events_of(conn: Conn, session_id: int) -> tuple[EventRow, ...]:
    """A session's log, the earliest first."""
    with conn.cursor(row_factory=class_row(EventRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT event_id, deed, state, at, actor, reason, facts FROM session_event
                   WHERE session_id = %s ORDER BY event_id""",
                (session_id,),
            )
        )


def _sessions(conn: Conn, condition: str, parameters: tuple[object, ...]) -> tuple[SessionRow, ...]:
    with conn.cursor(row_factory=class_row(SessionRow)) as cursor:
        return tuple(cursor.execute(f"SELECT * FROM trading_session WHERE {condition}", parameters))
