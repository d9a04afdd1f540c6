"""Accounts with bills that are out, a quarter-hour that turns out otherwise, and what the desk then says."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, date, datetime

import money_world as world
from money_world import SHELLS, account_id

from cloud.billing.run import correct
from cloud.billing.store import corrections
from cloud.billing.store import ledger as books
from cloud.billing.store.corrections import ItemRow
from cloud.db import Conn, ProcessRole, Scope, open_pool

JOB = Scope(ProcessRole.WORKER, actor="job:corrections")
DAY = date(2026, 8, 20)
SLOT = 40  # 10:00, a peak quarter-hour of the Jibei calendar in August
LATE_AT = datetime(2026, 9, 29, 3, tzinfo=UTC)  # forty days after the day it is about
R1_DUE = datetime(2026, 11, 2, 3, tzinfo=UTC)  # two months after the month's end
NUMBERS = itertools.count(1)
_hours = itertools.count()


def some_accounts(conn: Conn, count: int) -> tuple[int, ...]:
    """Accounts with August drawn up and issued."""
    numbers = tuple(next(NUMBERS) for _ in range(count))
    world.put_accounts(conn, numbers)
    for number in numbers:
        world.put_month(conn, number)
        world.bill_and_issue(conn, number)
    conn.commit()
    return numbers


def less(conn: Conn, number: int, at: datetime = LATE_AT, day: date = DAY, revision: int = 2) -> None:
    """The quarter-hour of 10:00 turns out to have had one kilowatt-hour less."""
    changed = world.a_day(number, day, revision, **{f"slot_{SLOT}": 1000 * number - 1000 * (revision - 1)})
    world.put_revision(conn, changed, at)
    conn.commit()


def propose(dsn: str, now: datetime = R1_DUE) -> tuple[int, ...]:
    with open_pool(dsn, size_max=1) as pool:
        return correct.propose_due(pool, JOB, SHELLS, now)


def items_of(conn: Conn, proposals: Sequence[int]) -> list[ItemRow]:
    return [item for number in proposals for item in corrections.items(conn, number)]


def revisions(conn: Conn, *numbers: int) -> list[tuple[str, int, str, int]]:
    rows = conn.execute(
        "SELECT account_id, revision, state, total_fen FROM bill WHERE account_id = ANY(%s) ORDER BY 1, 2",
        ([account_id(number) for number in numbers],),
    )
    return rows.fetchall()


def open_fen(conn: Conn, number: int) -> list[int]:
    return [item.open_fen for item in books.open_items(conn, account_id(number))]


def is_balanced(conn: Conn) -> bool:
    rows = books.trial_balance(conn, None, None)
    return bool(rows) and sum(row.balance_fen for row in rows) == 0


def corrections_bill(conn: Conn, number: int) -> int:
    row = conn.execute(
        "SELECT bill_id FROM bill WHERE account_id = %s AND state = 'issued'", (account_id(number),)
    ).fetchone()
    assert row is not None
    return int(row[0])
