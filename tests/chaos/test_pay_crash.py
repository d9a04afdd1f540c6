"""kill -9 between a provider's call and our answer, at random: it calls again, and every payment is booked exactly once.

The simulator's diary, on disk before it calls, is compared with the ledger.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random  # noqa: TID251  # chance is the point; the seed is printed

import httpx
import pay_world as world
import psycopg
import pytest
from pay_world import MILL, balance, clock, rows, until
from psycopg.conninfo import make_conninfo

from cloud import db
from cloud.billing.payment import Provider, Purpose
from cloud.billing.run import pay
from cloud.db import ProcessRole, Scope
from cloud.outside.payments import errands

SEED = int(os.environ.get("SHOUDIAN_CHAOS_SEED", "20261125"))
KILLS = int(os.environ.get("SHOUDIAN_CHAOS_KILLS", "2"))
PAYMENTS = 12 * KILLS
pytestmark = pytest.mark.chaos


@pytest.fixture
def crash_database(postgres_dsn: str, template_database: str) -> Iterator[str]:
    name = f"shoudian_crash_{os.getpid()}"
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
        try:
            yield make_conninfo(postgres_dsn, dbname=name)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.timeout(240)
def test_no_payment_is_lost_or_doubled_when_the_process_is_killed(
    crash_database: str, tmp_path: Path
) -> None:
    chance = Random(SEED)
    print(f"SHOUDIAN_CHAOS_SEED={SEED}")
    dsn = crash_database
    world.fill(dsn, clock())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with (
        world.simulator(tmp_path) as made,
        world.serving(dsn, port, tmp_path, made) as served,
        db.open_pool(dsn, size_max=2) as pool,
    ):
        offered = world.adapters(served)
        orders = []
        for number in range(PAYMENTS):
            with db.transaction(pool, Scope(ProcessRole.API, "staff", None, "user:1")) as conn:
                provider = Provider.WECHAT if number % 2 else Provider.ALIPAY
                wish = pay.Wish(MILL, provider, Purpose.TOP_UP, None, 100 + number, False)
                order = pay.open_order(conn, wish, "user:1", clock())
            errands.offer(pool, offered, order, "http://127.0.0.1/x", clock())
            made.book.plan(order.provider, order.order_no, ("good", "good"))
            orders.append(order)

        def press() -> None:
            for order in orders:
                made.pay(order.provider, order.order_no)
                time.sleep(chance.uniform(0.0, 0.12))

        payer = threading.Thread(target=press)
        payer.start()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, 0.8))
            served.kill()
            served.start()
        payer.join()
        until(
            lambda: rows(dsn, "SELECT count(*) FROM payment_order WHERE state <> 'paid'") == [(0,)],
            "every order is paid",
            90,
        )
        _same_as_the_diary(dsn, made)
        with httpx.Client(base_url=served.base, trust_env=False) as anybody:
            assert anybody.get("/healthz").status_code == 200


def _same_as_the_diary(dsn: str, made: world.Simulator) -> None:
    paid = {str(entry["transaction_id"]): entry["amount_fen"] for entry in world.diary(made, "paid")}
    booked = dict(rows(dsn, "SELECT reference, amount_fen FROM receipt"))  # type: ignore[arg-type]  # two columns
    journals = rows(
        dsn, "SELECT facts ->> 'transaction', count(*) FROM journal WHERE deed = 'take_payment' GROUP BY 1"
    )
    assert len(paid) == PAYMENTS
    assert booked == paid
    assert {count for _, count in journals} == {1}
    cash = balance(dsn, "cash/wechat") + balance(dsn, "cash/alipay")
    assert cash == sum(int(str(fen)) for fen in paid.values()) == -balance(dsn, f"prepaid/{MILL}")
