"""Keep the day blocks of closed days up to date: shards for new supply points, blocks that are missing or overtaken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

from cloud.db import Pool, ProcessRole, Scope, transaction
from cloud.markettime import day_of
from cloud.metering.store import blocks

SCOPE = Scope(ProcessRole.WORKER, actor="job:blocks")
LOOK_BACK_DAYS = 70  # the running month and the one that is being billed; older days by the command
AT_ONCE = 1000


def keep_recent(pool: Pool, now: datetime, told: Callable[[date, int], None]) -> int:
    """Write what is due of the days that are over; return how many blocks were written."""
    today = day_of(now)
    return keep(pool, (today - timedelta(days=LOOK_BACK_DAYS), today), now, told)


def keep(pool: Pool, days: tuple[date, date], now: datetime, told: Callable[[date, int], None]) -> int:
    """Write what is due of days `[first, end)`, a block a transaction; days that are not over are left alone.

    Safe to stop anywhere and to start again: what is written is no longer due.
    """
    first, end = days[0], min(days[1], day_of(now))
    with transaction(pool, SCOPE) as conn:
        blocks.form_shards(conn, now)
    written = 0
    while True:
        with transaction(pool, SCOPE) as conn:
            due = blocks.due(conn, first, end, AT_ONCE)
        for day, shard_id in due:
            with transaction(pool, SCOPE) as conn:
                rows = blocks.write_from_intervals(conn, shard_id, day, now)
            told(day, rows)
        written += len(due)
        if len(due) < AT_ONCE:
            return written
