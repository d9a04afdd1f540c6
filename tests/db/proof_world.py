"""One account with one meter through a whole month: sealed batches, readings, intervals, a bill; all by the real code."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime

import psycopg
from ingest_world import CLOUD_KEY, QUARTER_MS, FakeGateway, build, reading
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cloud.billing.run import review
from cloud.billing.run.bill import bill_month
from cloud.billing.run.issue import issue
from cloud.db import Pool, open_pool, transaction
from cloud.jobs import TIMETABLE, drain
from cloud.metering.intake import Arrived
from cloud.metering.run.intake import Intake
from edge_agent.wire import control

ACCOUNT = "3700000000001"
AUGUST = date(2026, 8, 1)
FIRST_MS = int(datetime(2026, 7, 31, 16, tzinfo=UTC).timestamp()) * 1000
QUARTERS = 31 * 96
GAP = range(1000, 1009)  # instants that no reading came for: nine quarter hours are shared out
TAKEN_AT = datetime(2026, 9, 1, 2, tzinfo=UTC)
DRAWN_AT = datetime(2026, 9, 2, 2, tzinfo=UTC)
MULTIPLIER = 40
_number = itertools.count(1)


@dataclass
class ProofWorld:
    """Where it is, and the bill that stands at its end."""

    dsn: str
    pool: Pool
    bill_id: int


def ticks(quarter: int) -> int:
    """An uneven register in 0.1 Wh."""
    return 50_000 + 131 * quarter + (quarter * quarter) % 97


def fill(dsn: str, *, is_billed: bool = True) -> ProofWorld:
    """Seal a month, take it in, validate; and draw up and issue its bill."""
    gateway = build(dsn, ("GW1",), 1, MULTIPLIER)["GW1"]
    pool = open_pool(dsn, size_max=2)
    intake = Intake(pool, CLOUD_KEY, generation=1, partition_days=7)
    for first in range(0, QUARTERS + 1, 480):
        _send(intake, gateway, range(first, min(first + 480, QUARTERS + 1)))
    drain(pool, threading.Event())
    if not is_billed:
        return ProofWorld(dsn, pool, 0)
    with transaction(pool, TIMETABLE) as conn:
        bill_id = bill_month(conn, ACCOUNT, AUGUST, DRAWN_AT).bill_id
        review.assess(conn, bill_id, "job:bill", DRAWN_AT)
        issue(conn, bill_id, "job:bill", DRAWN_AT)
    return ProofWorld(dsn, pool, bill_id)


def _send(intake: Intake, gateway: FakeGateway, quarters: range) -> None:
    rows = [
        reading("GW1M1", FIRST_MS + quarter * QUARTER_MS, ticks(quarter))
        for quarter in quarters
        if quarter not in GAP
    ]
    topic = control.batch_topic(gateway.gateway_id, 0)
    intake.take((Arrived(topic, gateway.gateway_id, gateway.seal(rows)),), TAKEN_AT)


@contextmanager
def own_database(dsn: str, template: str) -> Iterator[str]:
    """Lend a database for the tests of a module."""
    name = f"shoudian_proof_{os.getpid()}_{next(_number)}"
    _run(dsn, "CREATE DATABASE {} TEMPLATE {}", name, template)
    try:
        yield make_conninfo(dsn, dbname=name)
    finally:
        _run(dsn, "DROP DATABASE {} WITH (FORCE)", name)


def _run(dsn: str, statement: str, *names: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def change(dsn: str, statement: str, *values: object) -> None:
    """Do as the owner of the tables what nobody may: change what is kept."""
    with psycopg.connect(dsn) as conn:
        conn.execute("SET session_replication_role = replica")  # no trigger stands in the way of a forger
        conn.execute(statement, values)
