"""SQL: day blocks, closed days in columns over the supply points of a shard, read back as one matrix.

A row that a later revision has overtaken is marked in `block_overtaken` by the database itself, in the transaction of
that revision (cloud/schema/0017_blocks.sql); a reader sees it as not complete until the block is written again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

from cloud.db import Conn
from cloud.metering import block
from cloud.metering.interval import IntervalDay

MEMBERS_MAX = 1000
DAY_LOCK = 4344907  # the same number as in 0017_blocks.sql


def form_shards(conn: Conn, now: datetime, members_max: int = MEMBERS_MAX) -> int:
    """Give every supply point without a place one in a new shard; points of an account stay together.

    Returns how many shards were made.
    """
    conn.execute("SELECT pg_advisory_xact_lock(hashtext('block_shard'))")
    rows = conn.execute(
        """SELECT array_agg(s.supply_point_id ORDER BY s.supply_point_id) FROM supply_point s
           WHERE NOT EXISTS (SELECT FROM block_member m WHERE m.supply_point_id = s.supply_point_id)
           GROUP BY s.account_id ORDER BY s.account_id"""
    ).fetchall()
    made = 0
    for points in _together([own for (own,) in rows], members_max):
        conn.execute(
            """WITH made AS (INSERT INTO block_shard (made_at) VALUES (%s) RETURNING shard_id)
               INSERT INTO block_member (supply_point_id, shard_id, row_no)
               SELECT point, shard_id, row_no - 1
               FROM made, unnest(%s::text[]) WITH ORDINALITY p (point, row_no)""",
            (now, points),
        )
        made += 1
    return made


def shards(conn: Conn) -> tuple[int, ...]:
    """List all shards."""
    rows = conn.execute("SELECT shard_id FROM block_shard ORDER BY shard_id")
    return tuple(shard_id for (shard_id,) in rows)


def due(conn: Conn, first: date, end: date, limit: int) -> tuple[tuple[date, int], ...]:
    """List up to `limit` (day, shard) of `[first, end)` whose block is not there or has overtaken rows."""
    rows = conn.execute(
        """WITH overtaken AS (SELECT DISTINCT o.day, m.shard_id FROM block_overtaken o JOIN block_member m USING (supply_point_id))
           SELECT d.day::date, s.shard_id FROM generate_series(%(first)s::date, %(end)s::date - 1, '1 day') d (day)
           CROSS JOIN block_shard s LEFT JOIN day_block b ON (b.day, b.shard_id) = (d.day::date, s.shard_id)
           WHERE b.day IS NULL OR (d.day::date, s.shard_id) IN (TABLE overtaken)
           ORDER BY 1, 2 LIMIT %(limit)s""",
        {"first": first, "end": end, "limit": limit},
    )
    return tuple((day, shard_id) for day, shard_id in rows)


def write_from_intervals(conn: Conn, shard_id: int, day: date, now: datetime) -> int:
    """Write a day's block of a shard from the latest revisions; return its rows. One day a transaction, no more.

    Holds the day alone until the transaction ends: whoever adds a revision of it waits. The isolation must be
    READ COMMITTED, so that what was committed before the lock was got is seen.
    """
    conn.execute("SELECT pg_advisory_xact_lock(%s, %s::date - date '2000-01-01')", (DAY_LOCK, day))
    found = conn.execute(
        """SELECT DISTINCT ON (m.row_no) m.row_no, d.supply_point_id, d.day, d.revision, d.import_wh, d.export_wh,
                  d.import_varh, d.export_varh, d.quality
           FROM block_member m JOIN interval_day d USING (supply_point_id)
           WHERE m.shard_id = %s AND d.day = %s ORDER BY m.row_no, d.revision DESC""",
        (shard_id, day),
        binary=True,
    )
    days: list[IntervalDay | None] = [None] * members(conn, shard_id)
    for row_no, *named, import_wh, export_wh, import_varh, export_varh, quality in found:
        curves = (tuple(each) for each in (import_wh, export_wh, import_varh, export_varh, quality))
        days[row_no] = IntervalDay(*named, *curves)
    write(conn, shard_id, day, block.day_rows(days), now)
    return len(days)


def write(conn: Conn, shard_id: int, day: date, rows: block.DayRows, now: datetime) -> None:
    """Keep a block in place of the one before; its rows are no longer overtaken. The caller holds the day."""
    conn.execute("DELETE FROM day_block WHERE shard_id = %s AND day = %s", (shard_id, day))
    conn.execute(
        """DELETE FROM block_overtaken o USING block_member m
           WHERE o.supply_point_id = m.supply_point_id AND m.shard_id = %s AND o.day = %s""",
        (shard_id, day),
    )
    conn.execute(
        "INSERT INTO day_block (day, shard_id, members, made_at, body) VALUES (%s, %s, %s, %s, %b)",
        (day, shard_id, len(rows.flags), now, block.pack(rows)),
    )


def members(conn: Conn, shard_id: int) -> int:
    """Count the supply points of a shard."""
    row = conn.execute("SELECT count(*) FROM block_member WHERE shard_id = %s", (shard_id,)).fetchone()
    return int(row[0]) if row else 0


def state(conn: Conn, shard_id: int, first: date, end: date) -> tuple[tuple[str, str, str], ...]:
    """Name all that decides what `load` gives, without reading the bodies: numbers of blocks, overtaken rows."""
    rows = conn.execute(
        """SELECT 'block', day::text, block_no::text FROM day_block
           WHERE shard_id = %(shard)s AND day >= %(first)s AND day < %(end)s
           UNION ALL
           SELECT 'overtaken', o.day::text, o.supply_point_id
           FROM block_overtaken o JOIN block_member m USING (supply_point_id)
           WHERE m.shard_id = %(shard)s AND o.day >= %(first)s AND o.day < %(end)s ORDER BY 1, 2, 3""",
        {"shard": shard_id, "first": first, "end": end},
    )
    return tuple(rows)


def load(conn: Conn, shard_id: int, first: date, end: date) -> block.MonthRows:
    """Load days `[first, end)` of a shard. Raises BadBlock."""
    bodies = conn.execute(
        "SELECT day - %s::date, body FROM day_block WHERE shard_id = %s AND day >= %s AND day < %s ORDER BY day",
        (first, shard_id, first, end),
        binary=True,
    ).fetchall()
    overtaken = conn.execute(
        """SELECT m.row_no, o.day - %s::date FROM block_overtaken o JOIN block_member m USING (supply_point_id)
           WHERE m.shard_id = %s AND o.day >= %s AND o.day < %s""",
        (first, shard_id, first, end),
    ).fetchall()
    return block.month_rows(members(conn, shard_id), (end - first).days, bodies, overtaken)


def overtaken_unmarked(conn: Conn, shard_id: int, day: date) -> tuple[str, ...]:
    """Compare a block with the intervals, row by row: points whose latest revision is another and that nobody marked.

    Empty, unless somebody has gone around the trigger: for checks, not for every run. Raises BadBlock.
    """
    row = conn.execute(
        "SELECT members, body FROM day_block WHERE shard_id = %s AND day = %s", (shard_id, day), binary=True
    ).fetchone()
    if row is None:
        return ()
    known = block.revisions_of(*row)
    latest = conn.execute(
        """SELECT m.row_no, m.supply_point_id, max(d.revision) FROM block_member m
           JOIN interval_day d ON (d.supply_point_id, d.day) = (m.supply_point_id, %(day)s)
           WHERE m.shard_id = %(shard)s AND NOT EXISTS (
               SELECT FROM block_overtaken o WHERE (o.supply_point_id, o.day) = (m.supply_point_id, %(day)s))
           GROUP BY 1, 2 ORDER BY 1""",
        {"shard": shard_id, "day": day},
    )
    return tuple(point for row_no, point, revision in latest if known[row_no] != revision)


def _together(accounts: list[list[str]], members_max: int) -> Iterator[list[str]]:
    """Fill shards with whole accounts."""
    filling: list[str] = []
    for points in accounts:
        if filling and len(filling) + len(points) > members_max:
            yield filling
            filling = []
        filling.extend(points)
    if filling:
        yield filling
