"""How the table `reading` is kept: the one place that asks the server what it has, and acts on it.

With TimescaleDB loaded, `reading` is a hypertable; compression and retention are policies where the licence
edition has them ("timescale"), and are named as absent where it has not ("apache"). Without TimescaleDB it stays
what the schema made it: native range partitions by week (or day), made ahead by the timetable and on demand
when a group of batches holds rows of a week that nobody foresaw.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cloud.db import Conn

PARTITIONS_AHEAD = timedelta(days=35)
COMPRESS_AFTER_DAYS = 35  # behind the agents' ring: a conflict check in a compressed chunk decompresses it
RETAIN_DAYS = 5 * 366  # readings can be rebuilt from the sealed batches, which stay as long as bills


class Keeping(StrEnum):
    """How time divides the table."""

    HYPERTABLE = "hypertable"
    NATIVE = "native partitions"


@dataclass(frozen=True, slots=True)
class Storage:
    """What this database does with readings."""

    keeping: Keeping
    edition: str  # 'timescale', 'apache' or 'none'
    compresses: bool
    retains: bool  # whether old readings go by themselves

    def __str__(self) -> str:
        said = [str(self.keeping), f"TimescaleDB edition: {self.edition}"]
        said.append("compression after 35 days" if self.compresses else "no compression")
        said.append("retention 5 years" if self.retains else "no retention policy")
        return "; ".join(said)


def prepare_readings(conn: Conn, now: datetime, width_days: int) -> Storage:
    """Make the best of the server: called by `migrate` with the owner's rights, safe to repeat.

    A table that already holds readings keeps its kind: converting it is a maintenance window's work.
    """
    if _timescale_is_loaded(conn) and not _is_hypertable(conn) and _is_empty(conn):
        _make_hypertable(conn, width_days)
    storage = storage_of(conn)
    if storage.keeping is Keeping.NATIVE:
        ensure_partitions(conn, _weeks(now - timedelta(days=7), now + PARTITIONS_AHEAD), width_days)
        return storage
    if storage.edition == "timescale" and not storage.compresses:
        _add_policies(conn)
        return storage_of(conn)
    return storage


def storage_of(conn: Conn) -> Storage:
    """Ask the server how `reading` is kept."""
    if not _is_hypertable(conn):
        return Storage(Keeping.NATIVE, "none", compresses=False, retains=False)
    (edition,) = conn.execute("SELECT current_setting('timescaledb.license', true)").fetchone() or ("apache",)
    jobs = {
        name
        for (name,) in conn.execute(
            "SELECT proc_name FROM timescaledb_information.jobs WHERE hypertable_name = 'reading'"
        )
    }
    return Storage(
        Keeping.HYPERTABLE,
        edition,
        compresses=bool(jobs & {"policy_compression", "policy_columnstore"}),
        retains="policy_retention" in jobs,
    )


def ensure_partitions(conn: Conn, instants: Iterable[datetime], width_days: int) -> int:
    """Make the native partitions that these instants need and return how many were new. Race-safe."""
    made = conn.execute(
        """SELECT count(*) FILTER (WHERE make_reading_partition(instant, %s))
           FROM unnest(%s::timestamptz[]) AS instant""",
        (width_days, sorted(instants)),
    ).fetchone()
    return int(made[0]) if made else 0


def ensure_ahead(conn: Conn, now: datetime, width_days: int) -> int:
    """Make the partitions of the coming weeks; a hypertable needs none. Returns how many were new."""
    if _is_hypertable(conn):
        return 0
    return ensure_partitions(conn, _weeks(now, now + PARTITIONS_AHEAD), width_days)


def partition_bounds(conn: Conn) -> tuple[tuple[datetime, datetime], ...]:
    """List the native partitions as half-open ranges."""
    return tuple(conn.execute("SELECT start_at, end_at FROM reading_partition ORDER BY start_at").fetchall())


def _weeks(first: datetime, end: datetime) -> list[datetime]:
    """Instants close enough together that every partition of `[first, end)` contains one, of either width."""
    days = (end - first).days
    return [first + timedelta(days=day) for day in range(days + 1)]


def _timescale_is_loaded(conn: Conn) -> bool:
    """Whether the extension can be used here: installed on the server and preloaded."""
    found = conn.execute(
        """SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
              AND current_setting('shared_preload_libraries') LIKE '%timescaledb%'"""
    ).fetchone()
    return bool(found and found[0])


def _is_hypertable(conn: Conn) -> bool:
    installed = conn.execute(
        "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"
    ).fetchone()
    if not (installed and installed[0]):
        return False
    found = conn.execute(
        "SELECT EXISTS (SELECT FROM timescaledb_information.hypertables WHERE hypertable_name = 'reading')"
    ).fetchone()
    return bool(found and found[0])


def _is_empty(conn: Conn) -> bool:
    found = conn.execute("SELECT NOT EXISTS (SELECT FROM reading)").fetchone()
    return bool(found and found[0])


def _make_hypertable(conn: Conn, width_days: int) -> None:
    """Replace the empty partitioned table by a hypertable with the same columns, key and grants."""
    conn.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    conn.execute("CREATE TABLE reading_as_hypertable (LIKE reading INCLUDING ALL)")
    grants = conn.execute(
        """SELECT grantee, privilege_type FROM information_schema.role_table_grants
           WHERE table_schema = current_schema() AND table_name = 'reading' AND grantee LIKE 'shoudian%'"""
    ).fetchall()
    conn.execute("DROP TABLE reading")
    conn.execute("DELETE FROM reading_partition")
    conn.execute("ALTER TABLE reading_as_hypertable RENAME TO reading")
    conn.execute(
        """SELECT create_hypertable('reading', by_range('taken_at', make_interval(days => %s)),
                                    create_default_indexes => false)""",  # the key begins with taken_at already
        (width_days,),
    )
    for grantee, privilege in grants:
        conn.execute(f"GRANT {privilege} ON reading TO {grantee}")


def _add_policies(conn: Conn) -> None:
    """Compress behind the back-fill horizon and let very old rows go (community edition only).

    Segmented by meter: what is asked of old readings is one meter's month.
    """
    conn.execute(
        """ALTER TABLE reading SET (timescaledb.compress, timescaledb.compress_segmentby = 'meter_key',
                                    timescaledb.compress_orderby = 'taken_at, source')"""
    )
    conn.execute(
        "SELECT add_compression_policy('reading', make_interval(days => %s), if_not_exists => true)",
        (COMPRESS_AFTER_DAYS,),
    )
    conn.execute(
        "SELECT add_retention_policy('reading', make_interval(days => %s), if_not_exists => true)",
        (RETAIN_DAYS,),
    )
