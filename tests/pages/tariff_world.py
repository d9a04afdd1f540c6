"""What the tests of tariffs add to the small world: prices, a complete August, a second member of the staff, a retailer."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final

import psycopg

from cloud.billing.run import bench
from cloud.billing.store import published
from cloud.db import ProcessRole, Scope, open_pool, transaction

RETAILER: Final = "示范售电有限公司"
AUGUST: Final = date(2026, 8, 1)
NOW: Final = datetime(2026, 11, 25, tzinfo=UTC)
WORKER: Final = Scope(ProcessRole.WORKER, actor="job:test")
BENCH: Final = Scope(ProcessRole.WORKER, actor="job:bench")


def add(dsn: str) -> None:
    """Complete August's days, publish the packaged prices, add 'second' to the staff."""
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """CREATE FUNCTION pg_temp.filled(bigint[]) RETURNS bigint[] LANGUAGE sql AS
               'SELECT array_agg(coalesce(v, 1000) ORDER BY n) FROM unnest($1) WITH ORDINALITY AS each (v, n)'"""
        )
        conn.execute(
            """INSERT INTO interval_day (supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh,
                                         quality, made_at, made_by)
               SELECT supply_point_id, day, 2, pg_temp.filled(import_wh), pg_temp.filled(export_wh),
                      pg_temp.filled(import_varh), pg_temp.filled(export_varh),
                      array_replace(quality, 0::smallint, 3::smallint), %s, 'test:2'
               FROM interval_day WHERE revision = 1 AND day IN ('2026-08-11', '2026-08-24')""",
            (NOW,),
        )
        conn.execute(
            """INSERT INTO app_user (login, password_hash, display_name, role)
               SELECT 'second', password_hash, '复核员', 'staff' FROM app_user WHERE login = 'staff'"""
        )
        conn.execute("INSERT INTO party (kind, name) VALUES ('retailer', %s)", (RETAILER,))
    with open_pool(dsn, size_max=1) as pool, transaction(pool, BENCH) as conn:
        published.keep(conn, published.packaged_texts(), NOW)


def work(dsn: str, units_max: int = 1000) -> int:
    """Do the worker's part of open bench runs."""
    with open_pool(dsn, size_max=1) as pool:
        return bench.work_off(pool, BENCH, NOW, units_max)
