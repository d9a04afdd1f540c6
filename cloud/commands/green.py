"""shoudian-cloud green: certificates from the command line."""

from __future__ import annotations

import argparse
from datetime import date
from typing import TYPE_CHECKING

from cloud import commands

if TYPE_CHECKING:
    from cloud.db import Conn

EXAMPLE = """
例 / example:
  shoudian-cloud green issue 2026-08      # 核发 2026 年 8 月 / issue the certificates of a month
  shoudian-cloud green allot 2026-08      # 按正式结算划转 / hand over with settled green contracts
  shoudian-cloud green check              # 台账与重复核查 / balances and the double-count check
  shoudian-cloud green expire             # 过期处理 / let old ones go
"""


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    parser = add("green", _green, "绿证：核发、划转、核查、过期 / green certificates")
    parser.epilog, parser.formatter_class = EXAMPLE, argparse.RawDescriptionHelpFormatter
    parser.add_argument("deed", choices=("issue", "allot", "check", "expire"))
    parser.add_argument("month", metavar="MONTH", type=commands.month, nargs="?", help="YYYY-MM")


def _green(arguments: argparse.Namespace) -> int:
    from cloud import db
    from cloud.market.run import green

    now = commands.now()
    scope = db.Scope(db.ProcessRole.WORKER, actor="cli:green")
    with (
        db.open_pool(commands.config().dsn, size_max=1) as pool,
        db.transaction(pool, scope) as conn,
    ):
        if arguments.deed == "check":
            return _check(conn)
        if arguments.deed == "expire":
            print(f"过期 / expired: {green.expire(conn, now)} MWh")
            return 0
        month: date = arguments.month or _last_month()
        if arguments.deed == "issue":
            for row in green.issue_month(conn, month, None, now):
                print(
                    f"{row.unit_id} {row.month:%Y-%m}: {row.issued_mwh} MWh, 结转 / carried {row.carry_after_kwh} kWh"
                )
        else:
            for each in green.allot_month(conn, month, None, now):
                print(f"{each.contract_id}: {each.moved_mwh} MWh ({each.settled_kwh} kWh 已结算 / settled)")
    return 0


def _check(conn: Conn) -> int:
    from cloud.market.store import greenaudit

    for row in greenaudit.balances(conn):
        print(f"{row.account:<28} {row.party_name or '':<20} {row.mwh:>10}")
    found = greenaudit.doubts(conn)
    for name, mwh in found:
        print(f"{name:<28} {mwh:>10}")
    return 1 if any(mwh for _, mwh in found) else 0


def _last_month() -> date:
    from cloud import markettime

    return markettime.month_after(markettime.month_of(markettime.day_of(commands.now())), -1)
