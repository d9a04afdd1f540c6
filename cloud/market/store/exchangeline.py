"""SQL: the line to a trading platform: who talks to it now, how it has been lately, how long it is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from cloud.db import Conn


@dataclass(frozen=True, slots=True)
class LineRow:
    """How the platform has been lately."""

    platform: str
    failures: int
    quiet_until: datetime
    ok_at: datetime | None
    failed_at: datetime | None
    problem: str


def hold_line(conn: Conn, platform: str, holder: str, until: datetime, now: datetime) -> bool:
    """Take the line for oneself until then; False while another has it, or while it is left alone after failures."""
    conn.execute("INSERT INTO exchange_line (platform) VALUES (%s) ON CONFLICT DO NOTHING", (platform,))
    cursor = conn.execute(
        """UPDATE exchange_line SET held_by = %(holder)s, held_until = %(until)s
           WHERE platform = %(platform)s AND quiet_until <= %(now)s AND (held_until <= %(now)s OR held_by = %(holder)s)""",
        {"platform": platform, "holder": holder, "until": until, "now": now},
    )
    return cursor.rowcount == 1


def drop_line(conn: Conn, platform: str, holder: str, now: datetime) -> None:
    """Leave the line to others."""
    conn.execute(
        "UPDATE exchange_line SET held_until = %s WHERE platform = %s AND held_by = %s",
        (now, platform, holder),
    )


def line_ok(conn: Conn, platform: str, now: datetime) -> None:
    """The platform answered."""
    conn.execute(
        "UPDATE exchange_line SET failures = 0, ok_at = %s, quiet_until = 'epoch' WHERE platform = %s",
        (now, platform),
    )


def line_failed(conn: Conn, platform: str, problem: str, now: datetime) -> int:
    """The platform did not answer, or not credibly; tell how often in a row."""
    row = conn.execute(
        """UPDATE exchange_line SET failures = failures + 1, failed_at = %s, problem = %s WHERE platform = %s
           RETURNING failures""",
        (now, problem[:300], platform),
    ).fetchone()
    return 0 if row is None else int(row[0])


def leave_alone(conn: Conn, platform: str, until: datetime) -> None:
    """Open the circuit: nobody calls the platform until then."""
    conn.execute("UPDATE exchange_line SET quiet_until = %s WHERE platform = %s", (until, platform))


def line(conn: Conn, platform: str) -> LineRow | None:
    """How the platform has been lately."""
    with conn.cursor(row_factory=class_row(LineRow)) as cursor:
        return cursor.execute(
            """SELECT platform, failures, quiet_until, ok_at, failed_at, problem FROM exchange_line
               WHERE platform = %s""",
            (platform,),
        ).fetchone()
