"""How fast everybody's month is billed at once, as ratios within one run.

Energy part: sums by period of 100,000 customers x 2,976 quarter-hours (int32), against numpy's own sum of the same
matrix, axis by axis (limit 0.8). Whole run: day blocks read from an embedded PostgreSQL, rated, and drafts written
back, by the very code of `shoudian-cloud bulk-bill` (limit 10,000 bills/s for the one process). Every shard draws one
account by the single path too; at the end some more are, from their blocks, line by line.

Curves are the real ones of demo/curves, scaled and shaken by a seeded generator.

    python -m benchmarks.bulk_rating [--customers 100000] [--seed 20260801] [--repetitions 5] [--dsn DSN]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.conninfo import make_conninfo

from cloud.billing import bulk as many
from cloud.billing import bulkshard
from cloud.billing.bulkplan import Days, Plan
from cloud.billing.run import bulk
from cloud.billing.store import bulk as drafts
from cloud.db import Conn, ProcessRole, Scope, migrate, take_scope
from cloud.markettime import SLOTS_PER_DAY, days_of_month, month_bounds
from cloud.metering import block
from cloud.metering.store import blocks
from demo import curves
from demo.postgres import embedded_postgres

AUGUST, SEPTEMBER = date(2026, 8, 1), date(2026, 9, 1)
NOW = datetime(2026, 9, 3, 2, tzinfo=UTC)
DAYS = len(days_of_month(AUGUST))
SLOTS = DAYS * SLOTS_PER_DAY
FIRST_SAMPLE = 213 * SLOTS_PER_DAY  # 1 August of the curves' year
SPOT_CHECKS = 200
LIMIT_ENERGY = 0.8
LIMIT_BILLS_PER_S = 10_000
# structure, voltage, demand mode, kVA for each kW of peak, contract share, standard, share of the customers in percent
SHAPES = (
    ("single_part", "lt1kV", "none", 0.0, 0.0, None, 40),
    ("single_part", "1-10kV", "none", 0.0, 0.0, "0.85", 20),
    ("two_part", "1-10kV", "capacity", 1.4, 0.0, "0.90", 20),
    ("two_part", "1-10kV", "actual", 1.4, 0.0, "0.90", 10),
    ("two_part", "35kV", "contracted", 1.6, 0.8, "0.90", 6),
    ("two_part", "110kV", "actual", 1.8, 0.0, "0.90", 4),
)


@dataclass(frozen=True, slots=True)
class World:
    """Customers in rows: their month, reactive energy of each day, and peak."""

    import_wh: npt.NDArray[np.int32]  # [customers, slots]
    varh: npt.NDArray[np.int64]  # [customers, days]
    peak_kw: npt.NDArray[np.int64]


def world(customers: int, seed: int) -> World:
    """Make the matrix, a thousand customers at a time."""
    rng = np.random.default_rng(seed)
    loaded = curves.load()
    names = sorted(name for name in loaded if name.endswith("_p"))
    year = np.array([loaded[name].samples for name in names], np.int64)
    month = np.abs(year[:, FIRST_SAMPLE : FIRST_SAMPLE + SLOTS])
    matrix = np.empty((customers, SLOTS), np.int32)
    peak_kw = np.exp(rng.uniform(np.log(20), np.log(8000), customers)).astype(np.int64)
    for start in range(0, customers, 1000):
        peak = peak_kw[start : start + 1000, None] * 250  # Wh in a quarter of an hour
        own = month[rng.integers(0, len(names), len(peak))]
        shaken = own * rng.integers(970, 1031, own.shape)
        matrix[start : start + 1000] = peak * shaken // (curves.SCALE * 1000)
    daily = matrix.reshape(customers, DAYS, SLOTS_PER_DAY).sum(axis=2, dtype=np.int64)
    return World(matrix, daily * rng.integers(5, 110, (customers, 1)) // 100, peak_kw)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=20260801)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--dsn", help="superuser DSN of a server to use instead of an embedded one")
    given = parser.parse_args()
    if given.dsn:
        run(given.dsn, given)
        return
    with tempfile.TemporaryDirectory() as folder, embedded_postgres(Path(folder) / "server") as server:
        run(server.dsn, given)


def run(admin_dsn: str, given: argparse.Namespace) -> None:
    """Measure in a database of our own and print the figures."""
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS shoudian_bench WITH (FORCE)")
        admin.execute("CREATE DATABASE shoudian_bench")
    dsn = make_conninfo(admin_dsn, dbname="shoudian_bench")
    try:
        migrate(dsn)
        print(
            f"seed {given.seed}, {given.customers:,} customers x {SLOTS:,} quarter-hours, best (median) of {given.repetitions}"
        )
        made = world(given.customers, given.seed)
        put_world(dsn, made)
        before_mib = memory_mib()
        report_run(dsn, given.customers, given.repetitions)
        print(
            f"  memory: {before_mib:,.0f} MiB before (the benchmark's own matrix), {memory_mib():,.0f} MiB at most during the runs"
        )
        check(dsn, given.seed)
        report_energy(dsn, made.import_wh, given.repetitions)
        print(f"peak memory of the whole benchmark {memory_mib():,.0f} MiB")
    finally:
        with psycopg.connect(admin_dsn, autocommit=True) as admin:
            admin.execute("DROP DATABASE shoudian_bench WITH (FORCE)")


# ---- the world in the database -----------------------------------------------------------------------------------


def put_world(dsn: str, made: World) -> None:
    """Write accounts, terms, shards, and the blocks of the month."""
    count = len(made.peak_kw)
    of_shape = np.repeat(np.arange(len(SHAPES)), [each[-1] for each in SHAPES])
    with psycopg.connect(dsn) as conn:
        conn.execute("INSERT INTO party (kind, name) VALUES ('user', '示范园区')")
        with (
            conn.cursor() as cursor,
            cursor.copy("COPY account (account_id, party_id, name, address) FROM STDIN") as copy,
        ):
            for number in range(count):
                copy.write_row((account_id(number), 1, f"示范{number}", "示范园区"))
        with conn.cursor() as cursor, cursor.copy("COPY supply_point FROM STDIN") as copy:
            for number in range(count):
                copy.write_row((f"SP{account_id(number)}", account_id(number), "表"))
        columns = "account_id, effective, category, purchase, structure, voltage, demand_mode, capacity_kva, contract_demand_kw, power_factor_standard"
        with conn.cursor() as cursor, cursor.copy(f"COPY account_terms ({columns}) FROM STDIN") as copy:
            for number, peak in enumerate(made.peak_kw.tolist()):
                copy.write_row(
                    (
                        account_id(number),
                        "[2020-01-01 00:00+08,)",
                        "commercial",
                        "agency",
                        *terms(int(of_shape[number % 100]), peak),
                    )
                )
        blocks.form_shards(conn, NOW)
    with psycopg.connect(dsn) as conn:
        conn.execute("ANALYZE")
        wanted = blocks.shards(conn)
    took = time.perf_counter()
    size = 0
    for shard_id in wanted:
        with worker(dsn) as conn:
            size += put_shard(conn, shard_id, made)
    took = time.perf_counter() - took
    print(
        f"  {len(wanted)} shards x {DAYS} day blocks laid down and written: {count / took:,.0f} customer months/s, "
        f"{size / made.import_wh.size:.2f} bytes a value"
    )


def put_shard(conn: Conn, shard_id: int, made: World) -> int:
    """Write the month's blocks of a shard straight from the matrix; return their bytes."""
    rows = conn.execute(
        "SELECT supply_point_id FROM block_member WHERE shard_id = %s ORDER BY row_no", (shard_id,)
    ).fetchall()
    at = np.array([int(point[2:]) - 1_300_000_000_000 for (point,) in rows])
    month = made.import_wh[at].reshape(len(at), DAYS, SLOTS_PER_DAY)
    for number, day in enumerate(days_of_month(AUGUST)):
        sums = np.zeros((block.SUMS, len(at)), np.int64)
        sums[1] = made.varh[at, number]
        revisions = np.ones(len(at), np.int32)
        flags = np.full(len(at), block.COMPLETE | block.REACTIVE, np.uint8)
        blocks.write(conn, shard_id, day, block.DayRows(revisions, flags, sums, month[:, number]), NOW)
    row = conn.execute(
        "SELECT sum(octet_length(body)) FROM day_block WHERE shard_id = %s", (shard_id,)
    ).fetchone()
    return int(row[0]) if row else 0


def account_id(number: int) -> str:
    return str(1_300_000_000_000 + number)


def terms(shape: int, peak_kw: int) -> tuple[object, ...]:
    """Terms of a customer: a shape of the list, with sizes that go with the peak."""
    structure, voltage, mode, kva_per_kw, share, standard, _ = SHAPES[shape]
    capacity = int(peak_kw * kva_per_kw) + 1 if kva_per_kw else None
    contract = int(peak_kw * share) + 1 if share else None
    return structure, voltage, mode, capacity, contract, standard


@contextmanager
def worker(dsn: str) -> Iterator[Conn]:
    with psycopg.connect(dsn) as conn:
        take_scope(conn, Scope(ProcessRole.WORKER, actor="benchmark"))
        yield conn


# ---- what is measured --------------------------------------------------------------------------------------------


def report_run(dsn: str, customers: int, repetitions: int) -> None:
    """The whole run into an empty draft table, and the same again with nothing to do."""
    first: list[float] = []
    cpu: list[tuple[float, float]] = []  # own and the server's processor seconds
    for _ in range(repetitions):
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("TRUNCATE bulk_done, bulk_draft, bulk_expanded")
            conn.execute("CHECKPOINT")
        start, busy = time.perf_counter(), time.process_time()
        done, server_s = run_month(dsn)
        first.append(customers / (time.perf_counter() - start))
        cpu.append((time.process_time() - busy, server_s))
        if sum(each.added for each in done) != customers:
            raise SystemExit(f"{sum(each.added for each in done)} drafts of {customers}")
    start = time.perf_counter()
    if not all(each.is_passed_over for each in run_month(dsn)[0]):
        raise SystemExit("a second run did something")
    again = customers / (time.perf_counter() - start)
    best = max(first)
    print(
        f"whole run, reading and writing, one process: {best:,.0f} ({statistics.median(first):,.0f}) bills/s, "
        f"limit {LIMIT_BILLS_PER_S:,}: {'kept' if best >= LIMIT_BILLS_PER_S else 'NOT KEPT'}"
    )
    own_s, server_s = min(cpu, key=sum)
    print(
        f"  processor time a bill: {1e6 * own_s / customers:.1f} us here and {1e6 * server_s / customers:.1f} us in the "
        f"database server, one after the other: {customers / (own_s + server_s):,.0f} bills/s on an idle machine; "
        f"a run with nothing to do {again:,.0f}/s"
    )
    report_parts(dsn)


def run_month(dsn: str) -> tuple[tuple[bulk.Done, ...], float]:
    """Draft the month; the outcome, and the processor seconds of the server's process that worked for us."""
    with psycopg.connect(dsn) as conn:

        @contextmanager
        def opened() -> Iterator[Conn]:
            with conn.transaction():
                take_scope(conn, Scope(ProcessRole.WORKER, actor="benchmark"))
                yield conn

        before_s = processor_s(conn.info.backend_pid)
        with opened() as begun:
            run = bulk.begin(begun, AUGUST, NOW)
        done = bulk.run_all(opened, run, lambda done: None)
        return done, processor_s(conn.info.backend_pid) - before_s


def processor_s(pid: int) -> float:
    """Processor seconds of a process of this machine; 0 where it is on another one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report_parts(dsn: str) -> None:
    """Where the time of a shard goes, in microseconds a bill."""
    with worker(dsn) as conn:
        run = bulk.begin(conn, AUGUST, NOW)
        shard_id = blocks.shards(conn)[0]
        groups = groups_of(conn, run, shard_id)
        accounts = sum(len(own) for _, own in groups)
        month = blocks.load(conn, shard_id, AUGUST, SEPTEMBER)
        outcome = bulkshard.rate_shard(month, groups)
        parts: dict[str, Callable[[], object]] = {
            "state of blocks": lambda: blocks.state(conn, shard_id, AUGUST, SEPTEMBER),
            "accounts and terms": lambda: drafts.shard_accounts(conn, shard_id, *month_bounds(AUGUST)),
            "blocks read and unpacked": lambda: blocks.load(conn, shard_id, AUGUST, SEPTEMBER),
            "energy by period, highest quarter-hour": lambda: many.energy_of(
                month.import_wh, groups[0][0].days
            ),
            "rated (with energy and one account by the single path)": lambda: bulkshard.rate_shard(
                month, groups
            ),
            "one account by the single path": lambda: bulkshard.check(outcome.groups[0], month),
            "input hashes": lambda: [bulkshard.input_hashes(each, bytes(32)) for each in outcome.groups],
        }
        for name, part in parts.items():
            print(f"    {name:56} {1e6 * min(timed(part) for _ in range(7)) / accounts:7.1f} us a bill")


def report_energy(dsn: str, matrix: npt.NDArray[np.int32], repetitions: int) -> None:
    """The energy part against numpy's own sum of the same matrix in memory, turn by turn."""
    with worker(dsn) as conn:
        days = groups_of(conn, bulk.begin(conn, AUGUST, NOW), blocks.shards(conn)[0])[0][0].days
    ways: dict[str, Callable[[], object]] = {
        "numpy int32 matrix, sum(axis=1): the reference": lambda: matrix.sum(axis=1),
        "numpy sum(axis=1, dtype=int32), wraps": lambda: matrix.sum(axis=1, dtype=np.int32),
        "energy by period": lambda: periods_only(matrix, days),
        "energy by period and highest quarter-hour": lambda: many.energy_of(matrix, days),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            took[name].append(timed(way))
    reference = min(took["numpy int32 matrix, sum(axis=1): the reference"])
    print("energy part, in memory")
    for name, seconds in took.items():
        best = min(seconds)
        print(
            f"  {name:48} {len(matrix) / best:10,.0f} ({len(matrix) / statistics.median(seconds):10,.0f}) customers/s "
            f"ratio {reference / best:5.2f}"
        )
    ratio = reference / min(took["energy by period"])
    print(f"  limit {LIMIT_ENERGY}: {'kept' if ratio >= LIMIT_ENERGY else 'NOT KEPT'}")
    if not np.array_equal(
        many.energy_of(matrix, days).import_wh.sum(axis=1), matrix.sum(axis=1, dtype=np.int64)
    ):
        raise SystemExit("the periods do not add up to the sum")


def periods_only(matrix: npt.NDArray[np.int32], days: Days) -> npt.NDArray[np.int64]:
    """The sums without the search for the highest quarter-hour, which the bound against overflow comes from."""
    return many.period_sums(matrix, days, 8000 * 250 * 2)


def groups_of(conn: Conn, run: bulk.Run, shard_id: int) -> list[tuple[Plan, list[bulkshard.Account]]]:
    known = drafts.shard_accounts(conn, shard_id, *month_bounds(AUGUST))
    return bulk._sorted_out(run, known, {})[0]


def check(dsn: str, seed: int) -> None:
    """Draw some accounts of some shards by the single path, from their quarter-hours on."""
    rng = np.random.default_rng(seed + 1)
    checked = 0
    with worker(dsn) as conn:
        run = bulk.begin(conn, AUGUST, NOW)
        for shard_id in rng.permutation(blocks.shards(conn))[:10].tolist():
            month = blocks.load(conn, shard_id, AUGUST, SEPTEMBER)
            for group in bulkshard.rate_shard(month, groups_of(conn, run, shard_id)).groups:
                for number in rng.integers(0, len(group.accounts), SPOT_CHECKS // 60).tolist():
                    bulkshard.check(group, month, number)
                    kept = drafts.draft(conn, AUGUST, group.accounts[number].account_id)
                    if kept is None or list(kept.amounts_fen) != group.rated.amounts_fen[number].tolist():
                        raise SystemExit(f"{group.accounts[number].account_id} is kept otherwise")
                    checked += 1
    print(f"spot check: {checked} accounts by the single path, from quarter-hours to every line's fen: equal")


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
