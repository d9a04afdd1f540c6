"""SQL: events of demand response, invitations, answers, and frozen baselines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

import psycopg
from psycopg.rows import class_row

from cloud.db import Conn
from cloud.errors import NotFound, NotNow
from cloud.market.baseline import Baseline
from cloud.market.programme import Step

_LOCK = 47  # an event, exclusive for a transaction


class NoEvent(NotFound):
    """There is no such event, or this transaction does not see it."""


class AnsweredTooLate(NotNow):
    """The time to answer is over, or the bid is more than the resource has."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event: the slots `[first_slot, end_slot)` of a day."""

    event_id: int
    programme_id: str
    version: int
    day: date
    first_slot: int
    end_slot: int
    starts_at: datetime
    ends_at: datetime
    answer_by: datetime
    target_kw: int
    price_yuan_per_kwh: Decimal
    reason: str
    state: str
    is_test: bool = False

    @property
    def slots(self) -> tuple[int, int]:
        """The event's quarter-hours."""
        return self.first_slot, self.end_slot


@dataclass(frozen=True, slots=True)
class PartRow:
    """A participant of an event: invitation, latest answer, frozen baseline."""

    enrolment_id: int
    estimate_fen: int
    invited_at: datetime
    choice: str | None
    bid_kw: int | None
    answered_at: datetime | None
    days: list[date] | None
    kw: list[str] | None
    evidence: list[str] | None
    problem: str | None
    frozen_at: datetime | None

    @property
    def baseline(self) -> Baseline | None:
        """The frozen baseline; None: not frozen yet, or there were too few days."""
        if not self.kw:
            return None
        return Baseline(tuple(self.days or ()), tuple(map(Fraction, self.kw)), tuple(self.evidence or ()))


_EVENT = """SELECT event_id, programme_id, version, day, first_slot, end_slot, starts_at, ends_at, answer_by, target_kw,
    price_yuan_per_kwh, reason, state, is_test FROM response_event"""


def insert_event(conn: Conn, new: EventRow, made: tuple[datetime, str]) -> int:
    """Plan an event; its number and state are the database's."""
    row = conn.execute(
        """INSERT INTO response_event (programme_id, version, day, first_slot, end_slot, starts_at, ends_at, answer_by,
               target_kw, price_yuan_per_kwh, reason, is_test, made_at, made_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING event_id""",
        (
            *(
                new.programme_id,
                new.version,
                new.day,
                new.first_slot,
                new.end_slot,
                new.starts_at,
                new.ends_at,
            ),
            *(new.answer_by, new.target_kw, new.price_yuan_per_kwh, new.reason, new.is_test, *made),
        ),
    ).fetchone()
    assert row is not None
    event_id = int(row[0])
    _add_step(conn, event_id, Step("plan", "", "planned", *made, new.reason))
    return event_id


def lock_event(conn: Conn, event_id: int) -> None:
    """Let nobody else move this event until the transaction's end."""
    conn.execute("SELECT pg_advisory_xact_lock(%s, %s::integer)", (_LOCK, event_id % 2**31))


def event(conn: Conn, event_id: int) -> EventRow:
    """One event. Raises NoEvent."""
    with conn.cursor(row_factory=class_row(EventRow)) as cursor:
        found = cursor.execute(f"{_EVENT} WHERE event_id = %s", (event_id,)).fetchone()
    if found is None:
        raise NoEvent("not_found", kind="response_event")
    return found


def events(conn: Conn) -> tuple[EventRow, ...]:
    """The events that this transaction sees, latest first."""
    with conn.cursor(row_factory=class_row(EventRow)) as cursor:
        return tuple(cursor.execute(f"{_EVENT} ORDER BY starts_at DESC, event_id DESC LIMIT 200"))


def due_events(conn: Conn, now: datetime) -> tuple[EventRow, ...]:
    """Events that the clock moves: those that begin, end, or wait to be assessed or confirmed by silence."""
    with conn.cursor(row_factory=class_row(EventRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_EVENT} WHERE (state = 'notified' AND starts_at <= %(now)s)
                        OR (state = 'active' AND ends_at <= %(now)s) OR state IN ('ended', 'assessed')
                    ORDER BY event_id""",
                {"now": now},
            )
        )


def move_event(conn: Conn, event_id: int, step: Step) -> None:
    """Write an event's move."""
    conn.execute("UPDATE response_event SET state = %s WHERE event_id = %s", (step.after, event_id))
    _add_step(conn, event_id, step)


def _add_step(conn: Conn, key: int, step: Step) -> None:
    conn.execute(
        """INSERT INTO response_event_step (event_id, deed, before, after, at, actor, reason)
            VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (key, step.deed, step.before, step.after, step.at, step.actor, step.reason),
    )


def steps(conn: Conn, event_id: int) -> tuple[Step, ...]:
    """The moves of an event in order."""
    rows = conn.execute(
        """SELECT deed, before, after, at, actor, reason FROM response_event_step WHERE event_id = %s
           ORDER BY step_id""",
        (event_id,),
    )
    return tuple(Step(*row) for row in rows)


def invite(conn: Conn, event_id: int, enrolment_id: int, estimate_fen: int, at: datetime) -> None:
    """Invite a resource once."""
    conn.execute(
        """INSERT INTO response_invitation (event_id, enrolment_id, estimate_fen, invited_at) VALUES (%s, %s, %s, %s)
           ON CONFLICT DO NOTHING""",
        (event_id, enrolment_id, estimate_fen, at),
    )


def parts(conn: Conn, event_id: int) -> tuple[PartRow, ...]:
    """The participants of an event that this transaction sees."""
    with conn.cursor(row_factory=class_row(PartRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT i.enrolment_id, i.estimate_fen, i.invited_at, a.choice, a.bid_kw, a.at AS answered_at, b.days,
                          b.kw, b.evidence, b.problem, b.frozen_at
                   FROM response_invitation i
                   LEFT JOIN LATERAL (SELECT choice, bid_kw, at FROM response_answer a
                                      WHERE (a.event_id, a.enrolment_id) = (i.event_id, i.enrolment_id)
                                      ORDER BY answer_id DESC LIMIT 1) a ON true
                   LEFT JOIN response_baseline b USING (event_id, enrolment_id)
                   WHERE i.event_id = %s ORDER BY i.enrolment_id""",
                (event_id,),
            )
        )


def part(conn: Conn, event_id: int, enrolment_id: int) -> PartRow:
    """One participant of an event. Raises NoEvent."""
    found = next((each for each in parts(conn, event_id) if each.enrolment_id == enrolment_id), None)
    if found is None:
        raise NoEvent("not_found", kind="response_event")
    return found


def insert_answer(
    conn: Conn, event_id: int, enrolment_id: int, bid_kw: int, made: tuple[datetime, str]
) -> None:
    """Answer an invitation: kW, or 0 to stay out. Raises AnsweredTooLate."""
    try:
        conn.execute(
            """INSERT INTO response_answer (event_id, enrolment_id, choice, bid_kw, at, actor)
               VALUES (%s, %s, %s, %s, %s, %s)""",
            (event_id, enrolment_id, "in" if bid_kw else "out", bid_kw, *made),
        )
    except psycopg.errors.CheckViolation as problem:
        raise AnsweredTooLate("response_answer_refused") from problem


def freeze(
    conn: Conn, event_id: int, enrolment_id: int, found: Baseline | None, problem: str, at: datetime
) -> None:
    """Keep a baseline before the event, once; or why there is none."""
    conn.execute(
        """INSERT INTO response_baseline (event_id, enrolment_id, days, kw, evidence, problem, frozen_at)
           VALUES (%s, %s, %s::date[], %s::text[], %s::text[], %s, %s) ON CONFLICT DO NOTHING""",
        (
            *(event_id, enrolment_id, list(found.days) if found else []),
            [f"{kw.numerator}/{kw.denominator}" for kw in found.kw] if found else [],
            *(list(found.evidence) if found else [], problem, at),
        ),
    )


def member_load(
    conn: Conn, event_id: int, enrolment_id: int
) -> tuple[tuple[str, int | None, list[int | None] | None, list[int] | None], ...]:
    """What the supply points of an aggregator's resource drew on the day of an event; nothing for anybody else.

    (supply point, revision, Wh, quality) each; None: nothing is validated yet.
    """
    rows = conn.execute("SELECT * FROM response_member_load(%s, %s)", (event_id, enrolment_id))
    return tuple((str(row[0]), row[1], row[2], row[3]) for row in rows)


def called_days(conn: Conn, account_id: str) -> frozenset[date]:
    """The days on which an account took part in an event, or was to: no baseline is made of them."""
    rows = conn.execute(
        """SELECT DISTINCT e.day FROM response_event e JOIN response_invitation i USING (event_id)
           JOIN response_enrolment n USING (enrolment_id)
           JOIN LATERAL (SELECT choice FROM response_answer a
                         WHERE (a.event_id, a.enrolment_id) = (i.event_id, i.enrolment_id)
                         ORDER BY answer_id DESC LIMIT 1) a ON a.choice = 'in'
           WHERE n.account_id = %s AND e.state <> 'cancelled'""",
        (account_id,),
    )
    return frozenset(row[0] for row in rows)


def called_in(conn: Conn, enrolment_id: int, days: tuple[date, date]) -> tuple[EventRow, ...]:
    """The events to which a resource was invited on the days `[first, end)` and that were not called off, in order."""
    with conn.cursor(row_factory=class_row(EventRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_EVENT} WHERE day >= %s AND day < %s AND state <> 'cancelled' AND EXISTS (
                        SELECT FROM response_invitation i
                        WHERE i.event_id = response_event.event_id AND i.enrolment_id = %s) ORDER BY event_id""",
                (*days, enrolment_id),
            )
        )
