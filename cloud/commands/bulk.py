"""shoudian-cloud blocks, bulk-bill: everybody's month at once."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import TYPE_CHECKING

from cloud import commands
from cloud.errors import Refused

if TYPE_CHECKING:
    from cloud.billing.run.bulk import Done
    from cloud.db import Conn, Pool


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    command = add(
        "blocks",
        _blocks,
        "把已结束各日的电量按列存成日块 / keep the closed days of a month as columns, for the bulk run",
    )
    command.add_argument("month", metavar="MONTH", type=commands.month, help="YYYY-MM")
    command = add(
        "bulk-bill",
        _bulk_bill,
        "批量算出一个月所有户号的账单草稿，可随时中断后重跑 / draft everybody's month at once; stop and start it as you like",
    )
    command.add_argument("month", metavar="MONTH", type=commands.month, help="YYYY-MM，例 / e.g. 2026-08")
    command.add_argument(
        "--bills",
        type=int,
        default=0,
        metavar="N",
        help="再把至多 N 份草稿逐户出成带推导的账单，并核对到分 / then make up to N drafts bills with derivations, "
        "equal to the fen",
    )
    command.add_argument(
        "--rest",
        action="store_true",
        help="批量不适用的户号逐户出账 / bill one by one those that the bulk way does not cover",
    )


def _blocks(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.markettime import month_after
    from cloud.metering.run import blocks

    days = (arguments.month, month_after(arguments.month))
    with db.open_pool(commands.config().dsn, size_max=1) as pool:
        written = blocks.keep(pool, days, commands.now(), _told_block)
    print(f"日块 / blocks written: {written}")


def _told_block(day: date, rows: int) -> None:
    print(f"{day.isoformat()}: {rows} 计量点 / supply points", flush=True)


def _bulk_bill(arguments: argparse.Namespace) -> int:
    from cloud import db
    from cloud.billing.run import bulk

    month, now = arguments.month, commands.now()
    with db.open_pool(commands.config().dsn, size_max=1) as pool:

        def opened() -> AbstractContextManager[Conn]:
            return db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor="cli:bulk-bill"))

        with opened() as conn:
            run = bulk.begin(conn, month, now)
        done = bulk.run_all(opened, run, _told_shard)
        with opened() as conn:
            left = bulk.left_over(conn, month)
        print(
            f"草稿 / drafts: {sum(each.drafts for each in done)}，新增 / new: {sum(each.added for each in done)}，"
            f"留待逐户 / left to the single path: {len(left)}"
        )
        refused = _expand(pool, month, arguments.bills, now)
        if arguments.rest:
            refused += _rest(pool, month, left, now)
        else:
            for account_id, reason in left:
                print(f"{account_id}: {reason}")
    return 1 if refused else 0


def _told_shard(done: Done) -> None:
    how = "无变化 / unchanged" if done.is_passed_over else f"新增 / new {done.added}"
    print(f"#{done.shard_id}: {done.drafts} 草稿 / drafts, {how}, 留待 / left {done.left_over}", flush=True)


def _expand(pool: Pool, month: date, limit: int, now: datetime) -> int:
    from cloud.billing.run import bill as billing
    from cloud.billing.run import bulk
    from cloud.billing.store import bills
    from cloud.billing.store import bulk as drafts

    with _worker(pool) as conn:
        waiting = drafts.waiting(conn, month, limit)
    refused = 0
    for account_id in waiting:
        try:
            with _worker(pool) as conn:
                drawn = billing.bill_month(conn, account_id, month, now)
                bulk.expand(conn, drawn.bill_id, bills.load(conn, drawn.bill_id))
        except Refused as problem:
            print(f"{account_id}: {problem}")
            refused += 1
    if waiting:
        print(f"账单 / bills: {len(waiting) - refused}")
    return refused


def _rest(pool: Pool, month: date, left: tuple[tuple[str, str], ...], now: datetime) -> int:
    from cloud.billing.run import bill as billing

    refused = 0
    for account_id, reason in left:
        try:
            with _worker(pool) as conn:
                drawn = billing.bill_month(conn, account_id, month, now)
            print(f"{account_id}: {reason} -> #{drawn.bill_id}")
        except Refused as problem:
            print(f"{account_id}: {reason} -> {problem}")
            refused += 1
    return refused


def _worker(pool: Pool) -> AbstractContextManager[Conn]:
    from cloud import db

    return db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor="cli:bulk-bill"))
