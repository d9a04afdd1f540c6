"""SQL: interval days by revision, and findings. Rows are only ever added; the latest revision speaks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.metering.interval import Finding, IntervalDay


@dataclass(frozen=True, slots=True)
class Making:
    """Who made a revision, when, and from which batches."""

    made_at: datetime
    made_by: str
    first_batch_id: int | None
    last_batch_id: int | None


def load_days(conn: Conn, supply_point_id: str, first_day: date, end_day: date) -> tuple[IntervalDay, ...]:
    """Load the latest revision of each day of `[first_day, end_day)` that has one, in order."""
    rows = conn.execute(
        """SELECT DISTINCT ON (day) supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh, quality
           FROM interval_day WHERE supply_point_id = %s AND day >= %s AND day < %s ORDER BY day, revision DESC""",
        (supply_point_id, first_day, end_day),
        binary=True,
    )
    return tuple(_day(*row) for row in rows)


def load_revision(conn: Conn, supply_point_id: str, day: date, revision: int) -> IntervalDay | None:
    """Load one revision of one day, as it was when somebody used it."""
    row = conn.execute(
        """SELECT supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh, quality
           FROM interval_day WHERE supply_point_id = %s AND day = %s AND revision = %s""",
        (supply_point_id, day, revision),
        binary=True,
    ).fetchone()
    return None if row is None else _day(*row)


def _day(supply_point_id: str, day: date, revision: int, *curves: list[int | None]) -> IntervalDay:
    import_wh, export_wh, import_varh, export_varh, quality = (tuple(curve) for curve in curves)
    return IntervalDay(
        supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh, quality  # type: ignore[arg-type]  # quality has no nulls (schema)
    )  # fmt: skip


def points_without_day(conn: Conn, day: date) -> tuple[str, ...]:
    """List the supply points that had a meter on a day and have no revision of it."""
    rows = conn.execute(
        """SELECT DISTINCT i.supply_point_id FROM installation i
           WHERE i.period && tstzrange(%(day)s::date::timestamp AT TIME ZONE 'Asia/Shanghai',
                                       (%(day)s::date + 1)::timestamp AT TIME ZONE 'Asia/Shanghai')
             AND NOT EXISTS (SELECT FROM interval_day d
                             WHERE d.supply_point_id = i.supply_point_id AND d.day = %(day)s::date)
           ORDER BY 1""",
        {"day": day},
    )
    return tuple(supply_point_id for (supply_point_id,) in rows)


def lock_supply_point(conn: Conn, supply_point_id: str) -> None:
    """Let only this transaction revise the supply point's days; others wait."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 96))", (supply_point_id,))


def load_findings(conn: Conn, interval_day: IntervalDay) -> frozenset[tuple[int | None, str]]:
    """Load which (slot, rule) are found already about a revision."""
    rows = conn.execute(
        "SELECT slot, rule FROM finding WHERE supply_point_id = %s AND day = %s AND revision = %s",
        (interval_day.supply_point_id, interval_day.day, interval_day.revision),
    )
    return frozenset(rows.fetchall())


def add_day(conn: Conn, interval_day: IntervalDay, making: Making) -> None:
    """Add a revision. Raises psycopg.errors.UniqueViolation when that revision exists."""
    conn.execute(
        """INSERT INTO interval_day (supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh,
                                     quality, made_at, made_by, first_batch_id, last_batch_id)
           VALUES (%s, %s, %s, %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::smallint[], %s, %s, %s, %s)""",
        (
            *(interval_day.supply_point_id, interval_day.day, interval_day.revision),
            *(list(interval_day.import_wh), list(interval_day.export_wh)),
            *(list(interval_day.import_varh), list(interval_day.export_varh)),
            [int(quality) for quality in interval_day.quality],
            *(making.made_at, making.made_by, making.first_batch_id, making.last_batch_id),
        ),
    )


def add_findings(conn: Conn, interval_day: IntervalDay, findings: Iterable[Finding]) -> None:
    """Add what was found about a revision."""
    rows = [
        (
            *(interval_day.supply_point_id, interval_day.day, interval_day.revision),
            *(finding.slot, finding.rule, finding.severity.value, Jsonb(dict(finding.facts))),
        )
        for finding in findings
    ]
    if rows:
        with conn.cursor() as cursor:
            cursor.executemany(
                """INSERT INTO finding (supply_point_id, day, revision, slot, rule, severity, facts)
                   VALUES (%s, %s, %s, %s, %s, %s, %s)""",
                rows,
            )


def prune_running(conn: Conn, before: datetime) -> int:
    """Let the forerunners of days that ended before an instant go: revisions made while the day was still running.

    Nothing is billed from a running day, so they are no evidence; the last of them stays. Returns how many went.
    """
    row = conn.execute("SELECT prune_running_days(%s)", (before,)).fetchone()
    return int(row[0]) if row else 0
