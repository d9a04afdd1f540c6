"""SQL: programmes of demand response and how aggregators split, by version; rows are only added."""

from __future__ import annotations

from datetime import date, datetime

from cloud.db import Conn
from cloud.errors import Conflict, NotFound
from cloud.market.aggregate import SplitRule, split_from
from cloud.market.programme import Programme
from cloud.market.programmefile import programme_from


class NoProgramme(NotFound):
    """No programme of that name is entered, or none of its versions is in force on the day."""


class ProgrammeChanged(Conflict):
    """That version is entered already and says something else."""


def put_programme(conn: Conn, programme: Programme, body: str, made: tuple[datetime, str]) -> bool:
    """Enter a version of a programme; False when it is entered already. Raises ProgrammeChanged."""
    row = conn.execute(
        "SELECT sha256 FROM response_programme WHERE programme_id = %s AND version = %s",
        (programme.id, programme.version),
    ).fetchone()
    if row is not None:
        if row[0] != programme.sha256:
            raise ProgrammeChanged("response_programme_changed", programme=programme.origin)
        return False
    conn.execute(
        """INSERT INTO response_programme (programme_id, version, title, type, direction, sha256, body, entered_at, entered_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            *(programme.id, programme.version, programme.title, programme.type, programme.direction),
            *(programme.sha256, body, *made),
        ),
    )
    return True


def programmes(conn: Conn) -> tuple[Programme, ...]:
    """The latest version of each programme."""
    rows = conn.execute(
        """SELECT DISTINCT ON (programme_id) programme_id, body FROM response_programme
           ORDER BY programme_id, version DESC"""
    )
    return tuple(programme_from(str(name), str(body)) for name, body in rows)


def programme(conn: Conn, programme_id: str, version: int) -> Programme:
    """One version of a programme. Raises NoProgramme."""
    row = conn.execute(
        "SELECT body FROM response_programme WHERE programme_id = %s AND version = %s",
        (programme_id, version),
    ).fetchone()
    if row is None:
        raise NoProgramme("not_found", kind="response_programme")
    return programme_from(programme_id, str(row[0]))


def programme_on(conn: Conn, programme_id: str, day: date) -> Programme:
    """The latest version of a programme that is in force on a day. Raises NoProgramme."""
    rows = conn.execute(
        "SELECT body FROM response_programme WHERE programme_id = %s ORDER BY version DESC", (programme_id,)
    )
    for (body,) in rows.fetchall():
        found = programme_from(programme_id, str(body))
        if found.is_in_force(day):
            return found
    raise NoProgramme("response_no_programme", programme=programme_id, day=day.isoformat())


def put_split(conn: Conn, aggregator_id: int, rule: SplitRule, body: str, made: tuple[datetime, str]) -> bool:
    """Enter a version of an aggregator's split; False when it is entered already. Raises ProgrammeChanged."""
    row = conn.execute(
        "SELECT sha256 FROM response_split WHERE aggregator_id = %s AND version = %s",
        (aggregator_id, rule.version),
    ).fetchone()
    if row is not None:
        if row[0] != rule.sha256:
            raise ProgrammeChanged("response_programme_changed", programme=rule.origin)
        return False
    conn.execute(
        """INSERT INTO response_split (aggregator_id, version, rule_id, effective_from, sha256, body, entered_at, entered_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
        (aggregator_id, rule.version, rule.id, rule.effective_from, rule.sha256, body, *made),
    )
    return True


def split_count(conn: Conn, aggregator_id: int) -> int:
    """How many versions of its split an aggregator has."""
    row = conn.execute(
        "SELECT count(*) FROM response_split WHERE aggregator_id = %s", (aggregator_id,)
    ).fetchone()
    assert row is not None
    return int(row[0])


def split_on(conn: Conn, aggregator_id: int, day: date) -> SplitRule | None:
    """An aggregator's latest split that is in force on a day; None: it has entered none."""
    row = conn.execute(
        """SELECT rule_id, body FROM response_split WHERE aggregator_id = %s AND effective_from <= %s
           ORDER BY version DESC LIMIT 1""",
        (aggregator_id, day),
    ).fetchone()
    return None if row is None else split_from(str(row[0]), str(row[1]))
