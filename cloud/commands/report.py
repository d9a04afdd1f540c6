"""shoudian-cloud report: calendar, build, submit, export, simulate."""

from __future__ import annotations

import argparse
from datetime import date, timedelta
from pathlib import Path

from cloud import commands
from cloud.errors import Invalid

EXAMPLE = """例 / example:
  shoudian-cloud report calendar                              # 近期应报送的 / what is due
  shoudian-cloud report build trades-monthly 2026-10          # 生成并检查，未通过返回 1 / build and check; exit code 1 if not sound
  shoudian-cloud report export 3 报表.xlsx                    # 按扩展名 xlsx、csv、json / by the ending
  shoudian-cloud report submit 3                              # 报送并取回执 / hand in, take the receipt
  shoudian-cloud report build trades-monthly 2026-10 --reason 合同变更   # 更正 / a correction
  shoudian-cloud report simulate --folder .regsim             # 监管接口模拟器 / a simulated regulator
"""


class NoRegulator(Invalid):
    """No interface to the regulator is configured."""


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    deed = commands.topic(add, "report", "监管报送 / reports to the regulator", EXAMPLE)
    deed("calendar", _calendar, "报送日历 / the calendar")
    build = deed("build", _build, "生成并检查 / build and check; exit code 1 if a check has not passed")
    build.add_argument("report", metavar="REPORT")
    build.add_argument(
        "month",
        type=commands.month,
        metavar="MONTH",
        help="YYYY-MM；季报用季内任一月 / any month of a quarter",
    )
    build.add_argument("--reason", default="", help="第 2 版起必填 / needed from the second revision on")
    submit = deed("submit", _submit, "报送 / hand in; exit code 1 without a receipt")
    submit.add_argument("version", type=int, metavar="VERSION")
    export = deed("export", _export, "导出 / export")
    export.add_argument("version", type=int, metavar="VERSION")
    export.add_argument("file", type=Path, metavar="FILE", help="*.xlsx | *.csv | *.json")
    sim = deed("simulate", _simulate, "运行监管接口模拟器 / run a simulated regulator")
    sim.add_argument(
        "--folder", type=Path, default=Path("regsim"), help="密钥与收到的报表 / keys and reports received"
    )
    sim.add_argument("--host", default="127.0.0.1")
    sim.add_argument("--port", type=int, default=8092, help="0: 任选 / any")


def _calendar(arguments: argparse.Namespace) -> None:
    from cloud.market import reportrule
    from cloud.markettime import day_of

    today = day_of(commands.now())
    last = min(today + timedelta(days=60), date(today.year, 12, 31))
    for due in reportrule.calendar(reportrule.packaged(), today - timedelta(days=31), last):
        print(f"{due.due}{' !' if due.due < today else '  '} {due.report_id}@{due.version} {due.name}")


def _build(arguments: argparse.Namespace) -> int:
    from cloud import db
    from cloud.files import open_vault
    from cloud.market.run import report
    from cloud.market.run.report import Wanted

    config = commands.config()
    with (
        db.open_pool(config.dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor="cli:report")) as conn,
    ):
        wanted = Wanted(arguments.report, arguments.month, arguments.reason)
        row = report.build(conn, open_vault(config.files), wanted, "cli:report", commands.now())
    print(
        f"#{row.version_id} {row.report_id} {row.first_day}…{row.end_day} v{row.revision}: {row.row_count} 行 / rows"
    )
    for each in row.findings:
        print(f"  {'✓' if each['is_passed'] else '✗'} {each['check']} {each['detail']}")
    return 0 if row.is_sound else 1


def _submit(arguments: argparse.Namespace) -> int:
    from cloud import db
    from cloud.files import open_vault
    from cloud.market.store import reports
    from cloud.outside.regulator import connected, errands

    config = commands.config()
    regulator = connected(config)
    if regulator is None:
        raise NoRegulator("no_regulator")
    with db.open_pool(config.dsn, size_max=2) as pool:
        vault = open_vault(config.files)
        errands.submit(pool, vault, regulator, arguments.version, "cli:report", commands.now())
        with db.transaction(pool, errands.SCOPE) as conn:
            row = reports.find(conn, arguments.version)
    assert row is not None
    print(f"#{row.version_id} {row.state} {row.receipt_no} {row.answer}{row.last_problem}")
    return 0 if row.state == "accepted" else 1


def _export(arguments: argparse.Namespace) -> None:
    from cloud import db, words
    from cloud.files import open_vault
    from cloud.market import report, reportrule, sheet
    from cloud.market.store import reports

    config = commands.config()
    with (
        db.open_pool(config.dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor="cli:report")) as conn,
    ):
        row = reports.find(conn, arguments.version)
    if row is None:
        raise reportrule.NoReport("no_report", report=arguments.version, period="")
    body = open_vault(config.files).get(row.sha256)
    titles = {each: words.say("zh", f"report_column.{each}") for each in report.COLUMNS[row.kind]}
    columns, rows = report.table_of(body)
    content = {
        ".json": lambda: body,
        ".csv": lambda: b"\xef\xbb\xbf" + report.csv_text(body, titles).encode(),
        ".xlsx": lambda: sheet.workbook(row.report_id, [titles[each] for each in columns], rows),
    }
    if arguments.file.suffix not in content:
        raise Invalid("bad_file_ending", allowed=", ".join(content))
    arguments.file.write_bytes(content[arguments.file.suffix]())
    print(f"{arguments.file}: {len(rows)} 行 / rows")


def _simulate(arguments: argparse.Namespace) -> None:
    from cloud.outside.regulatorsim.server import Simulator

    simulator = Simulator(arguments.folder, (arguments.host, arguments.port), commands.now)
    commands.serve(
        simulator,
        f"监管接口模拟器 / simulated regulator: {simulator.base}  ({arguments.folder / 'regulator.env'})",
    )
