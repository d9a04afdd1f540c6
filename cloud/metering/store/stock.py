"""SQL: registering gateways, meters and installations (装接), each safe to repeat."""

from __future__ import annotations

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
        """SELECT supply_point_id, gateway_id, multiplier FROM installation
           WHERE meter_key = %s AND lower(period) = %s FOR UPDATE""",
        (installation.meter_key, installation.start),
    ).fetchone()
    if kept is None:
        conn.execute(
            """INSERT INTO installation (meter_key, supply_point_id, gateway_id, multiplier, period)
               VALUES (%s, %s, %s, %s, tstzrange(%s, %s))""",
            (installation.meter_key, *facts, installation.start, installation.end),
        )
        return True
    conn.execute(
        """UPDATE installation SET period = tstzrange(%s, %s)
           WHERE meter_key = %s AND lower(period) = %s AND upper(period) IS DISTINCT FROM %s""",
        (installation.start, installation.end, installation.meter_key, installation.start, installation.end),
    )
    return kept == facts
