"""shoudian-cloud settle."""

from __future__ import annotations

import argparse
import json
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cloud import commands

if TYPE_CHECKING:
    from cloud.market.progress import Event
    from cloud.market.run.settle import Desk, Look, RunRow

STAGES = (
    "collect", "check", "settle", "balance", "draw", "publish", "confirm", "final", "bills"
)  # fmt: skip
EXAMPLE = """
例 / example:
  shoudian-cloud market import market.toml          # 规则、合同、价格 / rule, contracts, prices: docs/operations/settlement.md
  shoudian-cloud settle 2026-08                     # 走到今天能到的地方 / as far as it can go today
  shoudian-cloud settle 2026-08 --status
  shoudian-cloud settle 2026-08 --release           # 审核放行 / release the drafts
  shoudian-cloud settle 2026-08 --restart check --unit 3700000000101 --reason "补采到读数"
  shoudian-cloud settle 2026-08 --open r1 --reason "迟到的数据"
  shoudian-cloud settle 2026-08 --export settlement-2026-08.csv
"""


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    parser = add("settle", _settle, "结算一个月，按 976 号日历 / settle a month by the calendar of 976号")
    parser.epilog, parser.formatter_class = EXAMPLE, argparse.RawDescriptionHelpFormatter
    parser.add_argument("month", metavar="MONTH", type=commands.month, help="YYYY-MM")
    parser.add_argument(
        "--kind", choices=("initial", "r1", "r2", "final"), help="哪一轮，默认最近一轮 / which run"
    )
    parser.add_argument(
        "--stage", choices=STAGES, metavar="STAGE", help="最多走到这个阶段 / go no further than this stage"
    )
    parser.add_argument("--status", action="store_true", help="只看，不做 / only look")
    parser.add_argument("--release", action="store_true", help="审核放行核对版 / release the drafts")
    parser.add_argument(
        "--restart", choices=STAGES, metavar="STAGE", help="从这个阶段重来 / restart from this stage"
    )
    parser.add_argument(
        "--defer", action="store_true", help="把 --unit 的电量移到下一轮 / defer the unit's energy"
    )
    parser.add_argument(
        "--accept", metavar="KIND", help="接受 --unit 的一个疑点 / accept a doubt, e.g. no_contract"
    )
    parser.add_argument("--unit", metavar="UNIT", help="户号或 party:N / account number or party:N")
    parser.add_argument(
        "--open", choices=("r1", "r2", "final"), help="为迟到数据开一轮 / open a run for late data"
    )
    parser.add_argument("--reason", default="", help="原因，写进日志 / why, for the log")
    parser.add_argument(
        "--on", metavar="DATE", type=date.fromisoformat, help="按这一天办（演练）/ act as on this day"
    )
    parser.add_argument(
        "--export", type=Path, metavar="FILE", help="写出 .csv 或 .json / write all statements"
    )


def _settle(arguments: argparse.Namespace) -> int:
    from cloud import db
    from cloud.jobs import settlement_rooms
    from cloud.market.progress import Stage
    from cloud.market.run import settle

    now = commands.now() if arguments.on is None else _noon(arguments.on)
    with db.open_pool(commands.config().dsn, size_max=2) as pool:
        desk = settle.Desk(pool, "cli:settle", now, settlement_rooms(now))
        if arguments.open:
            run = settle.open_run(desk, arguments.month, arguments.open, arguments.reason)
        else:
            run = settle.run_of(desk, arguments.month, arguments.kind, may_open=not arguments.status)
        for event in _told(desk, arguments):
            settle.add_event(desk, run, event)
        if arguments.status:
            look = settle.look_at_run(desk, run)
        else:
            look = settle.advance(desk, run, Stage(arguments.stage) if arguments.stage else Stage.BILLS)
        _show(run, look)
        if arguments.export:
            text = _exported(desk, run, arguments.export.suffix)
            arguments.export.write_text(text, encoding="utf-8", newline="")
    return 1 if look.progress.blockers else 0


def _told(desk: Desk, arguments: argparse.Namespace) -> list[Event]:
    """Read from the arguments what is to be said in the run's log first."""
    from cloud.market.progress import Outcome, Stage

    unit, reason = arguments.unit, arguments.reason
    events = []
    if arguments.restart:
        events.append(desk.event(Stage(arguments.restart), unit, Outcome.RESTART, reason=reason))
    if arguments.defer:
        events.append(desk.event(Stage.CHECK, unit, Outcome.DEFER, reason=reason))
    if arguments.accept:
        facts = {"reason": reason, "kind": arguments.accept}
        events.append(desk.event(Stage.CHECK, unit, Outcome.ACCEPT, **facts))
    if arguments.release:
        events.append(desk.event(Stage.DRAW, None, Outcome.REVIEW, reason=reason))
    return events


def _noon(day: date) -> datetime:
    from cloud.markettime import slot_start

    return slot_start(day, 48)


def _show(run: RunRow, look: Look) -> None:
    from cloud.market.line import Side
    from cloud.market.progress import STAGES, WHOLE_MARKET, Stage

    print(f"{run.month:%Y-%m} {run.kind} (#{run.run_id}), {len(look.units)} units")
    with_grid = (Stage.DRAW, Stage.PUBLISH, Stage.CONFIRM, Stage.FINAL)
    for stage in STAGES:
        units = [unit.unit_id for unit in look.units if stage in with_grid or unit.side is not Side.GRID]
        whole = 1 if stage in WHOLE_MARKET else len(units)
        done = whole - len(look.progress.open(stage, units))
        print(f"  {stage:<8} {done:>5} / {whole}")
    for blocker in look.progress.blockers:
        facts = ", ".join(f"{name}={value}" for name, value in blocker.facts.items())
        print(f"  ✗ {blocker.stage} {blocker.unit_id or '(market)'}: {blocker.kind}; {facts}")


def _exported(desk: Desk, run: RunRow, suffix: str) -> str:
    from cloud.market.run import settle
    from cloud.market.statement import statement_json, statements_csv

    statements = settle.statements_of(desk, run)
    if suffix == ".json":
        return json.dumps([statement_json(*each) for each in statements], ensure_ascii=False, indent=1)
    return statements_csv(statements)
