"""shoudian-cloud bill, verify-bill."""

from __future__ import annotations

import argparse
from pathlib import Path

from cloud import commands


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    command = add("bill", _bill, "出一个户号一个月的电费账单 / draw an account's bill of a month")
    command.add_argument("account", metavar="ACCOUNT", help="户号 / account number")
    command.add_argument("month", metavar="MONTH", type=commands.month, help="YYYY-MM")
    command.add_argument(
        "--issue", action="store_true", help="同时出账，客户可见 / issue it: its customer sees it"
    )
    command.add_argument(
        "--pdf", type=Path, metavar="FILE", help="同时写出 PDF / also write the PDF to this file"
    )
    command.add_argument("--language", choices=("zh", "en"), default="zh")
    command = add(
        "verify-bill",
        _verify_bill,
        "离线重算账单文件 / recompute a bill's .pdf or .json offline; exit code 1 and the first wrong line if it is wrong",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="例 / e.g. bill-3700000000001-2026-08.pdf")


def _bill(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.billing.labels import Language, money_text
    from cloud.billing.run import bill as billing
    from cloud.billing.run.issue import issue
    from cloud.billing.run.print import bill_pdf
    from cloud.billing.store import bills

    with (
        db.open_pool(commands.config().dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor="cli:bill")) as conn,
    ):
        now = commands.now()
        drawn = billing.bill_month(conn, arguments.account, arguments.month, now)
        if arguments.issue:
            issue(conn, drawn.bill_id, "cli:bill", now)
        pdf = (
            bill_pdf(bills.load(conn, drawn.bill_id), Language(arguments.language)) if arguments.pdf else b""
        )
    if arguments.pdf:
        arguments.pdf.write_bytes(pdf)
    how = "新账单 / new" if drawn.is_new else "数据未变 / unchanged"
    print(
        f"{arguments.account} {arguments.month:%Y-%m}: {money_text(drawn.total_fen)} 元 / yuan, "
        f"#{drawn.bill_id} revision {drawn.revision}, {how}, 差额 / change {money_text(drawn.change_fen)}"
    )


def _verify_bill(arguments: argparse.Namespace) -> int:
    from cloud.billing.run.verify import verify_file

    verdict = verify_file(arguments.file)
    print(verdict.text)
    return 0 if verdict.is_right else 1
