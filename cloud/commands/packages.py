"""shoudian-cloud package: list, assign, end."""

from __future__ import annotations

import argparse
from datetime import date

from cloud import commands

EXAMPLE = """
例 / example:
  shoudian-cloud package list
  shoudian-cloud package assign 3700000000001 demo-tou --from 2026-09-01 --until 2027-01-01
  shoudian-cloud package end 3700000000001 2026-11-01
"""


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    deed = commands.topic(
        add, "package", "零售套餐：列出、签入、终止 / retail packages: list, assign, end", EXAMPLE
    )
    deed("list", _list, "列出已发布的套餐 / list the published packages")
    command = deed("assign", _assign, "把户号签入一个套餐 / put an account on a package")
    command.add_argument("account", metavar="ACCOUNT", help="户号 / account number")
    command.add_argument("package", metavar="PACKAGE", help="demo-tou@1，或 demo-tou 取最新 / or the newest")
    command.add_argument(
        "--from", dest="first", type=_day, required=True, metavar="YYYY-MM-DD", help="首日 / first day"
    )
    command.add_argument(
        "--until", dest="end", type=_day, metavar="YYYY-MM-DD", help="不含的终止日 / first day without it"
    )
    command = deed("end", _end, "终止户号的套餐 / end an account's package")
    command.add_argument("account", metavar="ACCOUNT")
    command.add_argument("day", type=_day, metavar="YYYY-MM-DD", help="不含的终止日 / first day without it")


def _list(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.billing.package import Package
    from cloud.billing.store import published

    with (
        db.open_pool(commands.config().dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor="cli:package")) as conn,
    ):
        published.keep(conn, published.packaged_texts(), commands.now())
        files = published.catalogue(conn).files
    for each in files:
        if isinstance(each, Package):
            until = each.head.effective_to or "…"
            form = each.formula.form.value
            print(
                f"{each.head.origin}  {form}  {each.name} / {each.name_en}  {each.retailer}  {each.head.effective_from} – {until}"
            )


def _assign(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.billing.run import offer

    with (
        db.open_pool(commands.config().dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor="cli:package")) as conn,
    ):
        by = ("cli:package", commands.now())
        days = (arguments.first, arguments.end)
        done = offer.assign(conn, arguments.account, arguments.package, days, by)
    print(
        f"{done.account_id}: {done.package.head.origin} {done.package.name}, {done.first_day} – {done.end_day or '…'}"
    )


def _end(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.billing.run import offer

    with (
        db.open_pool(commands.config().dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor="cli:package")) as conn,
    ):
        offer.end(conn, arguments.account, arguments.day)
    print(f"{arguments.account}: {arguments.day}")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(f"{text}: YYYY-MM-DD") from problem
