"""SQL: registering gateways, meters and installations (装接), each safe to repeat.

An installation that is registered or ended late says something new about days that are over: their marks are raised
for validation here, and readings that waited for a binding are taken into the ledger.
"""

from __future__ import annotations

from datetime import datetime

import psycopg

from cloud.db import Conn
from cloud.errors import Conflict, Invalid
from cloud.metering.device import Installation


class PlaceTaken(Conflict):
    """The meter or the supply point is taken in that time."""


class NoSuchPlace(Invalid):
    """The supply point or the gateway is not registered."""


def put_gateway(conn: Conn, gateway_id: str, name: str) -> None:
    """Register a gateway or renew its name; its keys come with enrolment."""
    conn.execute(
        """INSERT INTO gateway (gateway_id, name) VALUES (%s, %s)
           ON CONFLICT (gateway_id) DO UPDATE SET name = excluded.name""",
        (gateway_id, name),
    )


def put_meter(conn: Conn, meter_id: str, profile: str, address: str) -> int:
    """Register a meter or renew its profile and address; return its key."""
    row = conn.execute(
        """INSERT INTO meter (meter_id, profile, address) VALUES (%s, %s, %s)
           ON CONFLICT (meter_id) DO UPDATE SET profile = excluded.profile, address = excluded.address
           RETURNING meter_key""",
        (meter_id, profile, address),
    ).fetchone()
    assert row is not None
    return int(row[0])


def put_installation(conn: Conn, installation: Installation) -> bool:
    """Install a meter, or end the installation of the same start; False when that one says something else.

    Raises PlaceTaken, NoSuchPlace; then the transaction can only be rolled back.
    """
    try:
        return _put_installation(conn, installation)
    except psycopg.errors.ExclusionViolation as problem:
        raise PlaceTaken("place_taken", supply_point=installation.supply_point_id) from problem
    except psycopg.errors.ForeignKeyViolation as problem:
        raise NoSuchPlace("no_such_place", supply_point=installation.supply_point_id) from problem


def _put_installation(conn: Conn, installation: Installation) -> bool:
    facts = (installation.supply_point_id, installation.gateway_id, installation.multiplier)
    kept = conn.execute(
        """SELECT supply_point_id, gateway_id, multiplier, upper(period) FROM installation
           WHERE meter_key = %s AND lower(period) = %s FOR UPDATE""",
        (installation.meter_key, installation.start),
    ).fetchone()
    if kept is None:
        conn.execute(
            """INSERT INTO installation (meter_key, supply_point_id, gateway_id, multiplier, period)
               VALUES (%s, %s, %s, %s, tstzrange(%s, %s))""",
            (installation.meter_key, *facts, installation.start, installation.end),
        )
        _take_unbound(conn, installation)
        _mark_stale(conn, installation, installation.start, installation.end)
        return True
    was_end = kept[3]
    if was_end != installation.end:
        conn.execute(
            """UPDATE installation SET period = tstzrange(%s, %s)
               WHERE meter_key = %s AND lower(period) = %s""",
            (installation.start, installation.end, installation.meter_key, installation.start),
        )
        _take_unbound(conn, installation)
        first_end = min((end for end in (was_end, installation.end) if end is not None), default=None)
        _mark_stale(
            conn, installation, first_end or installation.start, _later_end(was_end, installation.end)
        )
    return kept[:3] == facts


def _later_end(one: datetime | None, other: datetime | None) -> datetime | None:
    return None if one is None or other is None else max(one, other)


def _take_unbound(conn: Conn, installation: Installation) -> None:
    """Take the readings that came from this gateway before it was known whose they were.

    A row whose key is taken already stays where it is: the ledger's first word is not overwritten.
    """
    facts = {
        "key": installation.meter_key,
        "gateway": installation.gateway_id,
        "start": installation.start,
        "end": installation.end,
    }
    conn.execute(  # a hypertable makes its own chunks
        """SELECT make_reading_partition(first_at, 1) FROM (
               SELECT min(u.taken_at) AS first_at FROM unbound_reading u JOIN meter m USING (meter_id)
               WHERE m.meter_key = %(key)s AND u.gateway_id = %(gateway)s
                     AND tstzrange(%(start)s, %(end)s) @> u.taken_at
               GROUP BY (u.taken_at AT TIME ZONE 'Asia/Shanghai')::date) AS days
           WHERE (SELECT relkind FROM pg_class WHERE oid = 'reading'::regclass) = 'p'""",
        facts,
    )
    conn.execute(
        """WITH bound AS (
               DELETE FROM unbound_reading u USING meter m
               WHERE m.meter_key = %(key)s AND u.meter_id = m.meter_id AND u.gateway_id = %(gateway)s
                     AND tstzrange(%(start)s, %(end)s) @> u.taken_at
                     AND NOT EXISTS (SELECT FROM reading r
                                     WHERE (r.taken_at, r.meter_key) = (u.taken_at, m.meter_key)
                                           AND r.source = (u.quality & 4) / 4)
               RETURNING u.taken_at, u.quality, u.batch_id, u.ticks AS t)
           INSERT INTO reading (taken_at, meter_key, source, quality, batch_id,
                                c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15)
           SELECT DISTINCT ON (taken_at, source) taken_at, %(key)s, (quality & 4) / 4 AS source, quality, batch_id,
                  t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10], t[11], t[12], t[13], t[14], t[15], t[16]
           FROM bound ORDER BY taken_at, source, batch_id""",
        facts,
    )


def _mark_stale(conn: Conn, installation: Installation, start: datetime, end: datetime | None) -> None:
    """Mark the days of `[start, end)` that have intervals or readings; the others have nothing to be put right."""
    conn.execute(
        """INSERT INTO stale_day (meter_key, day, marked_at)
           SELECT %(key)s, day, statement_timestamp() FROM (
               SELECT day FROM interval_day WHERE supply_point_id = %(point)s
                   AND day >= (%(start)s AT TIME ZONE 'Asia/Shanghai')::date
                   AND day <= coalesce((%(end)s AT TIME ZONE 'Asia/Shanghai')::date, 'infinity')
               UNION
               SELECT (taken_at AT TIME ZONE 'Asia/Shanghai')::date FROM reading
               WHERE meter_key = %(key)s AND tstzrange(%(start)s, %(end)s, '[]') @> taken_at
                     AND taken_at >= %(start)s) AS touched
           ON CONFLICT (meter_key, day) DO UPDATE SET marks = stale_day.marks + 1""",
        {
            "key": installation.meter_key,
            "point": installation.supply_point_id,
            "start": start,
            "end": end,
        },
    )
