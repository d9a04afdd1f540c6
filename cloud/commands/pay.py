"""shoudian-cloud pay: import-bank, reconcile, dun, self-test, simulate."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from cloud import commands
from cloud.errors import Invalid

if TYPE_CHECKING:
    from cloud.outside.payments.errands import Offered

EXAMPLE = """例 / example:
  shoudian-cloud pay import-bank 流水-2026-09.csv      # CSV, UTF-8 或 GBK / or GBK
  shoudian-cloud pay reconcile 2026-09-12              # 与微信、支付宝对账单核对 / compare with the providers' statements
  shoudian-cloud pay dun --day 2026-10-08              # 违约金与催收步骤 / late fees and dunning steps
  shoudian-cloud pay self-test                         # 密钥、回调地址、时钟 / keys, callback address, clock
  shoudian-cloud pay simulate --folder .paysim         # 两家支付机构的模拟器 / a simulator of both providers
"""


class NoPaymentProvider(Invalid):
    """Neither WeChat Pay nor Alipay is configured."""


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    deed = commands.topic(add, "pay", "缴费、对账、催收 / payments, reconciliation, dunning", EXAMPLE)
    file = deed(
        "import-bank", _import_bank, "导入银行流水 / import a bank statement; again books nothing twice"
    )
    file.add_argument("file", type=Path, metavar="FILE", help="docs/operations/payments.md")
    day = deed(
        "reconcile",
        _reconcile,
        "核对一天的对账单 / compare a day's provider statements; exit code 1 if they differ",
    )
    day.add_argument("day", type=date.fromisoformat, metavar="DATE", help="YYYY-MM-DD")
    dun = deed("dun", _dun, "违约金、催收、预存抵扣 / late fees, dunning steps, prepaid; safe to repeat")
    dun.add_argument("--day", type=date.fromisoformat, help="当作这一天 / as if it were this day, YYYY-MM-DD")
    deed(
        "self-test", _self_test, "检查支付配置 / check the payment set-up; exit code 1 if something is wrong"
    )
    sim = deed("simulate", _simulate, "运行支付模拟器 / run the simulator of both providers")
    sim.add_argument(
        "--folder", type=Path, default=Path("paysim"), help="密钥与流水 / keys, pay.env and diary"
    )
    sim.add_argument("--host", default="127.0.0.1")
    sim.add_argument("--port", type=int, default=8090, help="0: 任选 / any")


def _import_bank(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.billing.run import bank

    content = arguments.file.read_bytes()
    with (
        db.open_pool(commands.config().dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor="cli:pay")) as conn,
    ):
        done = bank.import_file(conn, arguments.file.name, content, "cli:pay", commands.now())
    print(
        f"{done.lines} 行 / lines: {done.booked} 入账 / booked, {done.pooled} 未认款 / unmatched, "
        f"{done.known} 已导入过 / known, {done.outgoing} 支出 / outgoing"
    )


def _reconcile(arguments: argparse.Namespace) -> int:
    from cloud import db
    from cloud.outside.payments import errands

    config, count = commands.config(), 0
    offered = _offered()
    with db.open_pool(config.dsn, size_max=1) as pool:
        for provider in offered.values():
            found = errands.reconcile_day(pool, provider, arguments.day, commands.now())
            print(f"{provider.provider} {arguments.day}: {len(found)} 处差异 / differences")
            for each in found:
                print(
                    f"  {each.kind} {each.what} {each.reference} 我方 / ours {each.ours_fen} 对方 / theirs {each.theirs_fen} (分 / fen)"
                )
            count += len(found)
    return 1 if count else 0


def _dun(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.billing.run import collect
    from cloud.markettime import slot_start

    now = commands.now() if arguments.day is None else slot_start(arguments.day, 48)
    with db.open_pool(commands.config().dsn, size_max=2) as pool:
        done = collect.collect(pool, now)
    print(
        f"预存抵扣 / settled from prepaid {done.moved}, 违约金 / late fees {done.fees}, 通知 / notices {done.notices}, "
        f"建议 / proposals {done.proposals}, 余额提醒 / low balances {done.alarms}, 无日历 / no calendar {done.undated}"
    )


def _self_test(arguments: argparse.Namespace) -> int:
    from cloud.outside.payments.selftest import findings

    config = commands.config()
    wrong = 0
    for each in findings(config, _offered(), commands.now()):
        print(f"{'✓' if each.passes else '✗'} {each.provider}: {each.text}")
        wrong += not each.passes
    return 1 if wrong else 0


def _offered() -> Offered:
    from cloud.outside.payments import offered

    found = offered(commands.config())
    if not found:
        raise NoPaymentProvider("no_payment_provider")
    return found


def _simulate(arguments: argparse.Namespace) -> None:
    from cloud.outside.paysim.server import Simulator

    simulator = Simulator(arguments.folder, (arguments.host, arguments.port), commands.now)
    commands.serve(
        simulator,
        f"支付模拟器 / payment simulator: {simulator.base}",
        f"云端设置 / settings for the cloud: {arguments.folder / 'pay.env'}",
    )
