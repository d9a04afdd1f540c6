"""shoudian-cloud exchange: status, look, reconcile, simulate."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from cloud import commands
from cloud.errors import Invalid

if TYPE_CHECKING:
    from cloud.outside.exchange.port import Exchange

EXAMPLE = """例 / example:
  shoudian-cloud exchange simulate --folder .exsim     # 平台模拟器，打印要设置的环境变量 / a simulated platform; prints what to set
  set -a; . .exsim/exchange.env; set +a
  shoudian-cloud exchange status                       # 通信、积压、承办场次 / line, backlog, hosted sessions
  shoudian-cloud exchange look                         # 报出到期的申报、取结果 / send what is due, fetch results
  shoudian-cloud exchange close JJ-2026-11             # 仅模拟器：关闭场次并出清 / simulator only: close and clear
  shoudian-cloud exchange reconcile 2026-11-12         # 与平台日文件核对，有差异返回 1 / compare; exit code 1 if they differ
"""


class NoPlatform(Invalid):
    """No trading platform is configured."""


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    deed = commands.topic(add, "exchange", "外部交易平台 / an external trading platform", EXAMPLE)
    deed("status", _status, "通信与积压 / line and backlog; exit code 1 while something fails or waits long")
    deed("look", _look, "一轮收发 / one round of sending and fetching; safe to repeat")
    close = deed("close", _close, "关闭模拟器的场次并出清 / close and clear a session of the simulator")
    close.add_argument("session", metavar="SESSION")
    day = deed("reconcile", _reconcile, "核对一天 / compare a day; exit code 1 if something differs")
    day.add_argument("day", type=date.fromisoformat, metavar="DATE", help="YYYY-MM-DD")
    sim = deed("simulate", _simulate, "运行平台模拟器 / run a simulated platform")
    sim.add_argument(
        "--folder", type=Path, default=Path("exsim"), help="密钥与账册 / keys, exchange.env and books"
    )
    sim.add_argument("--host", default="127.0.0.1")
    sim.add_argument("--port", type=int, default=8091, help="0: 任选 / any")


def _platform() -> Exchange:
    from cloud.outside.exchange import connected

    found = connected(commands.config())
    if found is None:
        raise NoPlatform("no_platform")
    return found


def _status(arguments: argparse.Namespace) -> int:
    from cloud import db
    from cloud.market.store import exchange as store
    from cloud.market.store import exchangeline

    config, platform = commands.config(), _platform()
    with (
        db.open_pool(config.dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor="cli:exchange")) as conn,
    ):
        backlog, line = store.backlog(conn, platform.platform), exchangeline.line(conn, platform.platform)
        hosted = store.hosted(conn, platform.platform)
    failures = 0 if line is None else line.failures
    print(
        f"{platform.platform}: 待送达 / waiting {backlog.waiting + backlog.unqueued}, 最早 / oldest {backlog.oldest or '—'}"
    )
    if line is not None:
        print(
            f"最近成功 / last success {line.ok_at or '—'}, 连续失败 / failures in a row {failures} {line.problem if failures else ''}"
        )
    for row in hosted:
        print(
            f"  {row.session_no} [{row.state}] NEW {row.new} SENT {row.sent} ACKED {row.acked} "
            f"REJECTED {row.rejected} RECONCILED {row.reconciled} 结果 / result {row.result_version or '—'}"
        )
    return 1 if failures else 0


def _look(arguments: argparse.Namespace) -> int:
    from cloud import db
    from cloud.files import open_vault
    from cloud.market.run import host
    from cloud.outside.exchange import errands

    config, platform = commands.config(), _platform()
    with db.open_pool(config.dsn, size_max=2) as pool:
        room = errands.Room(pool, open_vault(config.files), host.take, "cli")
        hosts_all = config.exchange is not None and config.exchange.hosts_matching
        done = errands.look(room, platform, commands.now(), hosts_all=hosts_all)
    print(
        f"入队 / queued {done.queued}, 已答复 / answered {done.answered}, 结果 / results {done.results}"
        + ("；平台不可用 / the platform is away" if done.is_away else "")
    )
    return 1 if done.is_away else 0


def _close(arguments: argparse.Namespace) -> None:
    import json
    import urllib.request

    settings = commands.config().exchange
    if settings is None:
        raise NoPlatform("no_platform")
    asked = urllib.request.Request(
        f"{settings.url}/control/close", json.dumps({"session": arguments.session}).encode(), method="POST"
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=10) as answer:
        result = json.load(answer)
    for each in result["periods"]:
        print(f"{result['session']} #{each['period']}: {each['mwh']} MWh @ {each['price'] or '—'}")


def _reconcile(arguments: argparse.Namespace) -> int:
    from cloud import db
    from cloud.files import open_vault
    from cloud.market.run import host
    from cloud.outside.exchange import errands

    config, platform = commands.config(), _platform()
    with db.open_pool(config.dsn, size_max=2) as pool:
        room = errands.Room(pool, open_vault(config.files), host.take, "cli")
        found = errands.reconcile_day(room, platform, arguments.day, commands.now())
    if found is None:
        print(f"{arguments.day}: 平台还没有日文件 / the platform has no file yet")
        return 1
    print(f"{arguments.day}: {len(found)} 处差异 / differences")
    for each in found:
        print(
            f"  {each.gap} {each.session_no} {each.key} #{each.period} 我方 / ours {each.ours} 平台 / theirs {each.theirs}"
        )
    return 1 if found else 0


def _simulate(arguments: argparse.Namespace) -> None:
    from cloud.outside.exchangesim.server import Simulator

    simulator = Simulator(arguments.folder, (arguments.host, arguments.port), commands.now)
    commands.serve(
        simulator,
        f"平台模拟器 / simulated platform: {simulator.base}  ({arguments.folder / 'exchange.env'})",
    )
