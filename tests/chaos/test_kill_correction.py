"""kill -9 in the middle of approving a correction of many bills: afterwards all of it is there, or none of it."""

from __future__ import annotations

import os
import signal
import time

import money_world as world
import psycopg
import pytest
from money_world import AUGUST, SHELLS, account_id
from psycopg.conninfo import make_conninfo

from cloud.billing import correction, ledger
from cloud.billing.run import correct
from cloud.billing.store import corrections, touched
from cloud.billing.store import ledger as books
from cloud.db import Conn
from cloud.security.access import Actor

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

BILLS = 12
MOMENTS = (0.5, 0.1, 0.3, 0.65, 0.2)  # of the time that an approval takes
NOW = world.ISSUED_AT.replace(month=11)


def fill(conn: Conn) -> tuple[int, Actor]:
    """Many bills of which every one is touched, and the proposal that corrects them."""
    numbers = tuple(range(1, BILLS + 1))
    world.put_accounts(conn, numbers)
    for number in numbers:
        world.put_month(conn, number)
        world.bill_and_issue(conn, number)
        world.put_revision(conn, world.a_day(number, AUGUST, 2, slot_40=1000 * number + 7000), NOW)
    touched.look(conn, NOW)
    notes = correction.by_bill(touched.waiting(conn))
    order = correct.Order("r1", "迟到数据", "job:corrections")
    proposal = correct.prepare(conn, notes, order, SHELLS, NOW)
    actor = world.put_staff(conn, "zhang")
    conn.commit()
    return proposal, actor


def approve_and_be_killed(dsn: str, proposal: int, actor: Actor, after_s: float | None) -> bool:
    """Approve in a process of its own; kill it after a while, if asked to. Tell whether it came to its end."""
    child = os.fork()
    if child == 0:
        with psycopg.connect(make_conninfo(dsn, application_name="approver")) as conn:
            correct.approve(conn, actor, proposal, SHELLS, NOW)
            conn.commit()
        os._exit(0)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return status == 0


def wait_until_gone(conn: Conn) -> None:
    for _ in range(500):
        conn.rollback()  # a snapshot of the activity lasts as long as its transaction
        row = conn.execute("SELECT 1 FROM pg_stat_activity WHERE application_name = 'approver'").fetchone()
        if row is None:
            return
        time.sleep(0.02)
    raise AssertionError("the killed approver's session is still there")


def traces(conn: Conn) -> tuple[object, ...]:
    """Everything an approval leaves behind."""
    row = conn.execute(
        """SELECT (SELECT count(*) FROM bill WHERE state = 'superseded'), (SELECT count(*) FROM bill WHERE revision = 2),
                  (SELECT count(*) FROM journal WHERE reverses IS NOT NULL), (SELECT count(*) FROM journal),
                  (SELECT count(*) FROM correction_bill), (SELECT count(*) FROM correction_decision)"""
    ).fetchone()
    assert row is not None
    return row


def test_a_killed_approval_leaves_nothing_and_the_next_one_leaves_all(database: str) -> None:
    with psycopg.connect(database) as conn:
        proposal, actor = fill(conn)
        began = time.monotonic()
        correct.approve(conn, actor, proposal, SHELLS, NOW)
        whole_s = time.monotonic() - began
        conn.rollback()
        nothing = traces(conn)
        assert nothing == (0, 0, 0, BILLS, 0, 0)

        killed = 0
        for moment in MOMENTS:
            is_done = approve_and_be_killed(database, proposal, actor, moment * whole_s)
            wait_until_gone(conn)
            if is_done:
                break
            killed += 1
            assert traces(conn) == nothing
        else:
            assert approve_and_be_killed(database, proposal, actor, None)
        conn.rollback()

        assert traces(conn) == (BILLS, BILLS, BILLS, 3 * BILLS, BILLS, 1)
        assert killed >= 2, f"only {killed} kills came in time"
        assert sum(row.balance_fen for row in books.trial_balance(conn, None, None)) == 0
        for item in corrections.items(conn, proposal):
            (open_item,) = books.open_items(conn, item.account_id)
            assert open_item.item == ledger.item_of(item.account_id, AUGUST)
            assert open_item.open_fen == item.after_fen
        assert account_id(1) == corrections.items(conn, proposal)[0].account_id
