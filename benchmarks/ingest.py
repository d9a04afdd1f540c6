"""How fast sealed batches become committed rows, as ratios within one run.

The reference (1.0) is a bare binary COPY of the same rows into the same keyed, partitioned table, one transaction a
group. Against it: ledger + COPY (duplicates decided by the batch ledger, evidence kept, days marked stale, cursors
moved), and the whole signed path (open, verify, decode, judge, store, commit, sign acks).

    python -m benchmarks.ingest [--gateways 40] [--meters 10] [--instants 25] [--rounds 8] [--dsn DSN]
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.conninfo import make_conninfo

from cloud.db import Pool, migrate, open_pool, transaction
from cloud.metering.intake import Arrived
from cloud.metering.run.intake import INGEST, Intake, Prepared
from cloud.metering.store import partitions, readings
from cloud.site import import_site, site_from
from demo.postgres import embedded_postgres
from edge_agent.wire import batch, control, cose
from edge_agent.wire.batch import CANONICAL_DECIMALS, CHANNELS, NO_PREVIOUS, Header, Reading

START_MS = int(datetime(2026, 8, 3, tzinfo=UTC).timestamp()) * 1000
RECEIVED = datetime(2026, 8, 20, tzinfo=UTC)
REPETITIONS = 5
CHANNELS_READ = 8  # import, export, p, q, three voltages, a current: what a quarter-hour curve carries


@dataclass(frozen=True, slots=True)
class Shape:
    gateways: int
    meters: int
    instants: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Bench:
    """A database with a site, and groups of sealed batches for each round, one batch a gateway."""

    dsn: str
    pool: Pool
    shape: Shape
    groups: tuple[tuple[Arrived, ...], ...]

    @property
    def rows_per_group(self) -> int:
        return self.shape.gateways * self.shape.meters * self.shape.instants

    def empty(self) -> None:
        """Forget everything that was ingested and settle the server, so that every measurement starts alike."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            conn.execute(
                "TRUNCATE reading, sealed_batch, batch_cursor, stale_day, intake_count, quarantine, batch_loss CASCADE"
            )
            conn.execute("CHECKPOINT")

    def wal_bytes(self) -> int:
        with psycopg.connect(self.dsn) as conn:
            (position,) = conn.execute(
                "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"
            ).fetchone() or (0,)
            return int(position)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("gateways", 40), ("meters", 10), ("instants", 25), ("rounds", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dsn", help="superuser DSN of a server to use instead of an embedded one")
    given = parser.parse_args()
    shape = Shape(given.gateways, given.meters, given.instants, given.rounds)
    if given.dsn:
        run(given.dsn, shape)
        return
    with tempfile.TemporaryDirectory() as folder, embedded_postgres(Path(folder) / "server") as server:
        run(server.dsn, shape)


def run(admin_dsn: str, shape: Shape) -> None:
    """Measure in a database of our own and print the ratios."""
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS shoudian_bench WITH (FORCE)")
        admin.execute("CREATE DATABASE shoudian_bench")
    dsn = make_conninfo(admin_dsn, dbname="shoudian_bench")
    try:
        migrate(dsn)
        with open_pool(dsn, size_max=4, is_checked=False) as pool:
            bench = build(dsn, pool, shape)
            report(bench)
    finally:
        with psycopg.connect(admin_dsn, autocommit=True) as admin:
            admin.execute("DROP DATABASE shoudian_bench WITH (FORCE)")


def report(bench: Bench) -> None:
    """Print rates and ratios; the ways take turns, and the fastest of five runs of each counts: the rest is other load."""
    shape = bench.shape
    size = len(bench.groups[0][0].body)
    print(
        f"{shape.rounds} groups of {shape.gateways} batches of {shape.meters} meters x {shape.instants} instants x "
        f"{CHANNELS_READ} channels; {bench.rows_per_group} rows a group, {size} bytes a batch"
    )
    ways: dict[str, Callable[[Bench], float]] = {
        "binary COPY, keyed table": bare_copy,
        "ledger + COPY": ledger_and_copy,
        "whole signed path": signed_path,
        "duplicates replayed": duplicates,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    wal: dict[str, int] = {}
    for _ in range(REPETITIONS):
        for name, way in ways.items():
            if way is not duplicates:
                bench.empty()
            before = bench.wal_bytes()
            seconds[name].append(way(bench))
            wal[name] = bench.wal_bytes() - before
    rows = bench.rows_per_group * shape.rounds
    values = rows * CHANNELS_READ
    reference = min(seconds["binary COPY, keyed table"])
    for name, took in seconds.items():
        best = min(took)
        print(
            f"{name:26s} {rows / best:10,.0f} rows/s {values / best:12,.0f} readings/s "
            f"ratio {reference / best:6.2f}  WAL {wal[name] / values:5.1f} B/reading"
        )


# ---- the ways --------------------------------------------------------------------------------------------


def bare_copy(bench: Bench) -> float:
    """COPY of rows packed beforehand, one transaction a group."""
    groups = [[one.packed for one in prepared] for prepared in _prepared(bench)]
    start = time.perf_counter()
    for packed in groups:
        with transaction(bench.pool, INGEST) as conn:
            readings.copy_new(conn, packed, RECEIVED)
    return time.perf_counter() - start


def ledger_and_copy(bench: Bench) -> float:
    """Everything the storing transaction does, with batches opened beforehand."""
    taker = _intake(bench)
    groups = _prepared(bench)
    start = time.perf_counter()
    for prepared in groups:
        taker.store(prepared, RECEIVED)
    return time.perf_counter() - start


def signed_path(bench: Bench) -> float:
    """Sealed bytes in, signed acks out, in two stages as the ingest process runs them."""
    taker = _intake(bench)
    start = time.perf_counter()
    with ThreadPoolExecutor(1) as ahead:
        prepared = ahead.submit(taker.prepare, bench.groups[0], RECEIVED)
        for following in (*bench.groups[1:], ()):
            group = prepared.result()
            prepared = ahead.submit(taker.prepare, following, RECEIVED)
            taker.store(group, RECEIVED)
    return time.perf_counter() - start


def duplicates(bench: Bench) -> float:
    """The same sealed bytes once more, right after they were stored."""
    return signed_path(bench)


def _prepared(bench: Bench) -> list[list[Prepared]]:
    taker = _intake(bench)
    return [taker.prepare(group, RECEIVED) for group in bench.groups]


def _intake(bench: Bench) -> Intake:
    return Intake(bench.pool, Ed25519PrivateKey.generate(), generation=1, partition_days=7)


# ---- the world -------------------------------------------------------------------------------------------


def build(dsn: str, pool: Pool, shape: Shape) -> Bench:
    """Import a site, register keys, and seal every round's batches."""
    keys = {f"GW{n:04d}": Ed25519PrivateKey.generate() for n in range(shape.gateways)}
    with psycopg.connect(dsn) as conn:
        import_site(conn, site_from(_site(list(keys), shape.meters), "bench.toml"))
        partitions.prepare_readings(conn, datetime.fromtimestamp(START_MS / 1000, UTC), 7)
        for gateway_id, key in keys.items():
            public = key.public_key().public_bytes_raw()
            conn.execute(
                "INSERT INTO gateway_key (gateway_id, key_id, public_key) VALUES (%s, %s, %s)",
                (gateway_id, cose.key_id(public), public),
            )
        conn.execute("UPDATE gateway SET state = 'active'")
    streams = [_stream(gateway_id, key, shape) for gateway_id, key in keys.items()]
    return Bench(dsn, pool, shape, tuple(zip(*streams, strict=True)))


def _stream(gateway_id: str, key: Ed25519PrivateKey, shape: Shape) -> list[Arrived]:
    """One gateway's chain of batches, one a round."""
    sent: list[Arrived] = []
    previous = NO_PREVIOUS
    for number in range(shape.rounds):
        rows = [
            Reading(
                f"{gateway_id}M{meter}",
                START_MS + (number * shape.instants + at) * 60_000,
                0,
                _ticks(meter, number, at),
            )
            for meter in range(shape.meters)
            for at in range(shape.instants)
        ]
        header = Header(
            gateway_id=gateway_id,
            store_uuid=gateway_id.encode().ljust(16, b"-"),
            epoch=1,
            stream=0,
            seq=number + 1,
            previous_sha256=previous,
            readings=0,
            first_ms=0,
            last_ms=0,
            sealed_ms=START_MS,
            monotonic_ms=1,
            boot_id="boot",
            clock_source="ntp",
            clock_error_ms=20,
            profile_bundle="bundle",
            schema=1,
        )
        sealed = batch.seal_batch(header, rows, {row.meter_id: CANONICAL_DECIMALS for row in rows}, key)
        previous = hashlib.sha256(sealed).digest()
        sent.append(Arrived(control.batch_topic(gateway_id, 0), gateway_id, sealed))
    return sent


def _ticks(meter: int, number: int, at: int) -> tuple[int | None, ...]:
    """A register that rises unevenly, powers and voltages that wander; deterministic."""
    wander = (meter * 7919 + number * 104_729 + at * 1_299_709) % 1_000
    ticks: list[int | None] = [None] * len(CHANNELS)
    ticks[0], ticks[1] = 10_000_000 + (number * 25 + at) * 1_200 + wander, 5_000
    ticks[4], ticks[5] = 12_000 + 13 * wander, 4_000 + 7 * wander
    ticks[7:11] = [22_800 + wander // 4, 22_900 + wander // 5, 23_000 + wander // 6, 17_000 + 3 * wander]
    return tuple(ticks)


def _site(gateways: Sequence[str], meters: int) -> str:
    parts = [
        '[[party]]\nname = "示范园区"\n[[account]]\nid = "3700000000001"\nparty = "示范园区"\nname = "示范园区"\n'
        'address = "示范园区一号路"\n'
    ]
    for gateway_id in gateways:
        parts.append(f'[[gateway]]\nid = "{gateway_id}"\nname = "{gateway_id}"\n')
        for number in range(meters):
            meter_id = f"{gateway_id}M{number}"
            parts.append(
                f'[[meter]]\nid = "{meter_id}"\nprofile = "bench"\naddress = "{number}"\n'
                f'[[supply_point]]\nid = "{meter_id}"\naccount = "3700000000001"\nname = "{meter_id}"\n'
                f'[[installation]]\nmeter = "{meter_id}"\nsupply_point = "{meter_id}"\ngateway = "{gateway_id}"\n'
                "multiplier = 1\nfrom = 2026-01-01\n"
            )
    return "".join(parts)


if __name__ == "__main__":
    main()
