"""shoudian-cloud tariff bench: a price file on disk against the one in force, over known months of known accounts."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from cloud import commands
from cloud.errors import Invalid

if TYPE_CHECKING:
    from cloud.billing.bench import Outcome
    from cloud.billing.store.drafts import Result


class NoBenchAccounts(Invalid):
    """No account was named, or none has terms."""


def add_bench(deed: commands.Add) -> None:
    """Name the deed `tariff bench`."""
    text = "把价格文件草稿套在既有电量上，与现行文件比较 / rate known months under a draft price file, against the file in force"
    command = deed("bench", _bench, text)
    command.add_argument("file", type=Path, metavar="DRAFT.toml")
    command.add_argument(
        "--accounts",
        default="",
        metavar="A,B",
        help="户号，逗号分隔；缺省全部 / account numbers; default all",
    )
    command.add_argument(
        "--months",
        required=True,
        type=_months,
        metavar="YYYY-MM[..YYYY-MM]",
        help="例 / e.g. 2025-09..2026-08",
    )


def _bench(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.billing.bench import outcome
    from cloud.billing.pricefile import price_file_from
    from cloud.billing.run import bench
    from cloud.billing.store import drafts, published

    file = price_file_from(arguments.file.name, arguments.file.read_text(encoding="utf-8"))
    now = commands.now()
    results: list[Result] = []
    with (
        db.open_pool(commands.config().dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor="cli:bench")) as conn,
    ):
        published.keep(conn, published.packaged_texts(), now)
        named = tuple(each.strip() for each in arguments.accounts.split(",") if each.strip())
        accounts = named or drafts.accounts_of(conn, None, now)
        if not accounts:
            raise NoBenchAccounts("no_bench_accounts")
        for account in accounts:
            for month in bench.months_between(*arguments.months):
                results.append(bench.rate_month(conn, account, month, file, now))
    _print(outcome(bench.balances(tuple(results))), results)


def _print(found: Outcome, results: list[Result]) -> None:
    from cloud.billing.bench import change_percent
    from cloud.billing.labels import money_text

    for each in found.balances:
        change = ("+" if each.change_fen > 0 else "") + money_text(each.change_fen)
        percent = change_percent(each.before_fen, each.after_fen)
        print(
            f"{each.account_id}  {each.category}  {money_text(each.before_fen)} → {money_text(each.after_fen)}"
            f"  {change}  {percent} %"
        )
    for sums in found.categories:
        print(
            f"{sums.category}: {sums.account_count} 户 / accounts, 少付 / pay less {sums.winner_count}, 多付 / pay more {sums.loser_count}, "
            f"{money_text(sums.before_fen)} → {money_text(sums.after_fen)}"
        )
    for unrated in results:
        if unrated.problem:
            print(f"{unrated.account_id} {unrated.month:%Y-%m}: 未计费 / not rated: {unrated.problem}")


def _months(text: str) -> tuple[date, date]:
    from cloud.markettime import month_after

    first, _, last = text.partition("..")
    start = commands.month(first)
    end = month_after(commands.month(last) if last else start)
    if end <= start:
        raise argparse.ArgumentTypeError(f"{text}: YYYY-MM..YYYY-MM")
    return start, end
