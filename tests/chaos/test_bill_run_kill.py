"""The bill run is killed at random, again and again, and started again: no doubled posting, no missing bill.

SHOUDIAN_CHAOS_SEED       when the kills come; printed, so that a failing run can be had again
SHOUDIAN_CHAOS_ACCOUNTS   how many accounts are billed, 60 by default
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psycopg
import pytest
from bulk_world import AUGUST, SHAPES, Shape, put_account

SEED = int(os.environ.get("SHOUDIAN_CHAOS_SEED", "20260801"))
ACCOUNTS = int(os.environ.get("SHOUDIAN_CHAOS_ACCOUNTS", "60"))
KILLS = 4
PATIENCE_S = 240.0
FILL = """
INSERT INTO interval_day (supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh, quality,
                          made_at, made_by)
SELECT supply_point_id, day::date, 1,
       (SELECT array_agg(20000 + (hashint8(right(account_id, 6)::bigint * 96 + slot) & 16383)::bigint ORDER BY slot)
        FROM generate_series(0, 95) slot),
       array_fill(0::bigint, ARRAY[96]), array_fill(6000::bigint, ARRAY[96]), array_fill(0::bigint, ARRAY[96]),
       array_fill(1::smallint, ARRAY[96]), now(), 'test:1'
FROM supply_point, generate_series(date '2026-08-01', date '2026-08-31', '1 day') day
"""

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


def world(dsn: str) -> tuple[str, ...]:
    """Accounts of every shape, each with a month of its own."""
    accounts = tuple(f"{1_300_000_000_000 + number}" for number in range(ACCOUNTS))
    with psycopg.connect(dsn) as conn:
        conn.execute("INSERT INTO party (kind, name) VALUES ('user', '示范园区')")
        for number, account_id in enumerate(accounts):
            put_account(conn, account_id, Shape(*SHAPES[number % len(SHAPES)]))
        conn.execute(FILL)
    return accounts


def counts(dsn: str) -> tuple[int, int]:
    """Bills drawn up, and bills issued."""
    with psycopg.connect(dsn) as conn:
        row = conn.execute("SELECT count(*), count(*) FILTER (WHERE state = 'issued') FROM bill").fetchone()
    return row or (0, 0)


def start(dsn: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cloud", "bill-run", AUGUST.strftime("%Y-%m"), "--issue-low"]
    environment = {**os.environ, "SHOUDIAN_DSN": dsn}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_run_killed_at_random_bills_everybody_once(database: str) -> None:
    accounts = world(database)
    rng = np.random.default_rng(SEED)
    print(f"SHOUDIAN_CHAOS_SEED={SEED}")
    reached: list[tuple[int, int]] = []
    for number in range(KILLS):
        # wait until the run has got further by a random number of bills, then strike at a random moment after
        running, wanted = start(database), counts(database)[0] + int(rng.integers(1, ACCOUNTS // KILLS))
        end = time.monotonic() + PATIENCE_S / KILLS
        while counts(database)[0] < min(wanted, ACCOUNTS - KILLS + number) and time.monotonic() < end:
            assert running.poll() is None, running.communicate()[0]
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0, 0.05)))
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=20)
        assert running.returncode == -signal.SIGKILL
        reached.append(counts(database))
    print(f"killed after (drawn, issued): {reached}")
    assert reached[-1][0] < ACCOUNTS
    assert reached == sorted(reached)

    running = start(database)
    told, _ = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, told
    running = start(database)
    again, _ = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, again

    with psycopg.connect(database) as conn:
        rows = conn.execute(
            """SELECT b.account_id, count(*), min(b.revision), min(b.state), count(DISTINCT j.journal_id)
               FROM bill b LEFT JOIN journal j ON j.idem_key = 'bill:' || b.bill_id GROUP BY 1 ORDER BY 1"""
        ).fetchall()
        owed = conn.execute("SELECT sum(total_fen), count(*) FROM bill").fetchone()
        booked = conn.execute(
            "SELECT sum(amount_fen), count(DISTINCT account_code) FROM posting WHERE account_code LIKE 'receivable/%'"
        ).fetchone()
        balance = conn.execute("SELECT sum(amount_fen) FROM posting").fetchone()
        lines = conn.execute(
            """SELECT count(*) FROM bill b WHERE total_fen <> (SELECT sum(amount_fen) FROM bill_line l
                                                              WHERE l.bill_id = b.bill_id)"""
        ).fetchone()
    assert rows == [(account_id, 1, 1, "issued", 1) for account_id in accounts]
    assert owed == booked
    assert balance == (0,)
    assert lines == (0,)
