"""SQL: which accounts take part in which programme of demand response, by themselves or by an aggregator."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import psycopg
from psycopg.rows import class_row

from cloud.db import Conn
from cloud.errors import Conflict, NotFound

ROWS_MAX = 500


class NoEnrolment(NotFound):
    """There is no such enrolment, or this transaction does not see it."""


class EnrolledAlready(Conflict):
    """An account is in one programme at a time."""


@dataclass(frozen=True, slots=True)
class EnrolmentRow:
    """A resource in a programme on the days `[first_day, end_day)`; end None: until it is ended."""

    enrolment_id: int
    programme_id: str
    account_id: str
    account_name: str
    party_id: int
    party_name: str
    aggregator_id: int | None
    aggregator_name: str | None
    first_day: date
    end_day: date | None
    capacity_kw: int
    resource: str
    agreement: str

    @property
    def payee_id(self) -> int:
        """Who answers, objects and is paid: the aggregator if there is one."""
        return self.party_id if self.aggregator_id is None else self.aggregator_id


@dataclass(frozen=True, slots=True)
class NewEnrolment:
    """An enrolment to be made."""

    programme_id: str
    account_id: str
    party_id: int
    aggregator_id: int | None
    first_day: date
    end_day: date | None
    capacity_kw: int
    resource: str
    agreement: str


_ENROLMENT = """SELECT n.enrolment_id, n.programme_id, n.account_id, a.name AS account_name, n.party_id,
    p.name AS party_name, n.aggregator_id, g.name AS aggregator_name, lower(n.effective) AS first_day,
    upper(n.effective) AS end_day, n.capacity_kw, n.resource, n.agreement
    FROM response_enrolment n LEFT JOIN LATERAL (SELECT name FROM account WHERE account_id = n.account_id) acc ON true
    CROSS JOIN LATERAL (SELECT coalesce(acc.name, n.account_id) AS name) a
    JOIN party p ON p.party_id = n.party_id LEFT JOIN party g ON g.party_id = n.aggregator_id"""


def insert_enrolment(conn: Conn, new: NewEnrolment, made: tuple[datetime, str]) -> int:
    """Enrol an account. Raises EnrolledAlready."""
    try:
        row = conn.execute(
            """INSERT INTO response_enrolment (programme_id, account_id, party_id, aggregator_id, effective, capacity_kw,
                   resource, agreement, made_at, made_by)
               VALUES (%s, %s, %s, %s, daterange(%s, %s), %s, %s, %s, %s, %s) RETURNING enrolment_id""",
            (
                *(
                    new.programme_id,
                    new.account_id,
                    new.party_id,
                    new.aggregator_id,
                    new.first_day,
                    new.end_day,
                ),
                *(new.capacity_kw, new.resource, new.agreement, *made),
            ),
        ).fetchone()
    except psycopg.errors.ExclusionViolation as problem:
        raise EnrolledAlready("response_enrolled_already", account=new.account_id) from problem
    assert row is not None
    return int(row[0])


def end_enrolment(conn: Conn, enrolment_id: int, end: date) -> None:
    """Let an enrolment end on a day (that day no more)."""
    conn.execute(
        """UPDATE response_enrolment SET effective = daterange(lower(effective), %s)
           WHERE enrolment_id = %s AND (upper(effective) IS NULL OR upper(effective) > %s)""",
        (end, enrolment_id, end),
    )


def enrolments(conn: Conn, party_id: int | None = None) -> tuple[EnrolmentRow, ...]:
    """Enrolments that this transaction sees: of a party (its own, or as aggregator) or all."""
    with conn.cursor(row_factory=class_row(EnrolmentRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_ENROLMENT} WHERE %(party)s::bigint IS NULL OR %(party)s IN (n.party_id, n.aggregator_id)
                    ORDER BY n.programme_id, n.enrolment_id LIMIT %(most)s""",
                {"party": party_id, "most": ROWS_MAX},
            )
        )


def enrolment(conn: Conn, enrolment_id: int) -> EnrolmentRow:
    """One enrolment. Raises NoEnrolment."""
    with conn.cursor(row_factory=class_row(EnrolmentRow)) as cursor:
        found = cursor.execute(f"{_ENROLMENT} WHERE n.enrolment_id = %s", (enrolment_id,)).fetchone()
    if found is None:
        raise NoEnrolment("not_found", kind="response_enrolment")
    return found


def enrolled_on(conn: Conn, programme_id: str, day: date) -> tuple[EnrolmentRow, ...]:
    """The resources of a programme on a day."""
    with conn.cursor(row_factory=class_row(EnrolmentRow)) as cursor:
        return tuple(
            cursor.execute(
                f"{_ENROLMENT} WHERE n.programme_id = %s AND n.effective @> %s::date ORDER BY n.enrolment_id",
                (programme_id, day),
            )
        )


def account_party(conn: Conn, account_id: str) -> int | None:
    """Whose account it is; None: there is none, or this transaction does not see it."""
    row = conn.execute("SELECT party_id FROM account WHERE account_id = %s", (account_id,)).fetchone()
    return None if row is None else int(row[0])


def accounts_of(conn: Conn, party_id: int) -> tuple[str, ...]:
    """The accounts of a party."""
    rows = conn.execute(
        "SELECT account_id FROM account WHERE party_id = %s ORDER BY 1 LIMIT 200", (party_id,)
    )
    return tuple(str(row[0]) for row in rows)


def without_capacity(conn: Conn, days: tuple[date, date]) -> tuple[EnrolmentRow, ...]:
    """Every resource that was enrolled for some of the month's days `[first, end)` and has no capacity payment of it yet."""
    with conn.cursor(row_factory=class_row(EnrolmentRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_ENROLMENT} WHERE n.effective && daterange(%(first)s, %(end)s) AND NOT EXISTS (
                        SELECT FROM response_capacity c WHERE c.enrolment_id = n.enrolment_id AND c.month = %(first)s)
                    ORDER BY n.enrolment_id""",
                {"first": days[0], "end": days[1]},
            )
        )
