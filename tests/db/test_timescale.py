"""The same ingest on a hypertable; skipped on servers without TimescaleDB (SHOUDIAN_TEST_DSN names one that has it)."""

from __future__ import annotations

import threading

import psycopg
import pytest
from ingest_world import CLOUD_KEY, NOON, NOON_MS, build, reading, readings_of

from cloud.db import ProcessRole, Scope, migrate, open_pool, transaction
from cloud.jobs import drain
from cloud.metering.intake import Arrived, Verdict
from cloud.metering.run.intake import Intake
from cloud.metering.store import partitions
from edge_agent.wire import control

pytestmark = pytest.mark.timescaledb


@pytest.fixture
def hypertable(empty_database: str) -> str:
    """DSN of a database in which `reading` is a hypertable."""
    migrate(empty_database)
    with psycopg.connect(empty_database) as conn:
        storage = partitions.prepare_readings(conn, NOON, 7)
    if storage.keeping is not partitions.Keeping.HYPERTABLE:
        pytest.skip("this server has no TimescaleDB loaded")
    return empty_database


def test_the_edition_decides_about_policies_by_name(hypertable: str) -> None:
    with psycopg.connect(hypertable) as conn:
        storage = partitions.storage_of(conn)
        again = partitions.prepare_readings(conn, NOON, 7)
        assert partitions.ensure_ahead(conn, NOON, 7) == 0
    assert storage == again
    has_policies = storage.edition == "timescale"
    assert (storage.compresses, storage.retains) == (has_policies, has_policies)


def test_batches_overlaps_and_validation_on_a_hypertable(hypertable: str) -> None:
    gateway = build(hypertable, ("GW1",), 2)["GW1"]
    with open_pool(hypertable, size_max=2) as pool:
        intake = Intake(pool, CLOUD_KEY, generation=1, partition_days=7)

        def take(body: bytes, stream: int = 0) -> Verdict:
            return intake.take((Arrived(control.batch_topic("GW1", stream), "GW1", body),), NOON).verdicts[0]

        assert take(gateway.seal(readings_of(gateway, NOON_MS - 8 * 900_000, 9))) is Verdict.ACCEPTED
        recall = [reading("GW1M1", NOON_MS, 4711), reading("GW1M1", NOON_MS - 100 * 86_400_000, 1)]
        assert take(gateway.seal(recall, 2), 2) is Verdict.ACCEPTED
        drain(pool, threading.Event())
        with psycopg.connect(hypertable) as conn:
            assert conn.execute("SELECT count(*) FROM reading").fetchone() == (19,)
            assert conn.execute("SELECT ticks[1] FROM reading_conflict").fetchall() == [(4711,)]
            total = conn.execute(
                """SELECT sum(wh) FROM interval_day, unnest(import_wh) AS wh
                   WHERE supply_point_id = 'SP-GW1M2' AND day = '2026-08-03'"""
            ).fetchone()
        assert total == (8 * 250 // 10,)
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            transaction(pool, Scope(ProcessRole.API, "staff")) as conn,
        ):
            conn.execute("SELECT FROM reading")


def test_a_table_that_holds_readings_keeps_its_kind(empty_database: str) -> None:
    database = empty_database
    migrate(database)
    gateway = build(database, ("GW1",), 1)["GW1"]
    with open_pool(database, size_max=1) as pool:
        intake = Intake(pool, CLOUD_KEY, generation=1, partition_days=7)
        body = gateway.seal([reading("GW1M1", NOON_MS, 1)])
        intake.take((Arrived(control.batch_topic("GW1", 0), "GW1", body),), NOON)
    with psycopg.connect(database) as conn:
        assert partitions.prepare_readings(conn, NOON, 7).keeping is partitions.Keeping.NATIVE
        assert conn.execute("SELECT c0 FROM reading").fetchall() == [(1,)]
