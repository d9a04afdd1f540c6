"""What the terminal shows: progress while history is replayed, then where to look and who may sign in."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from rich.console import Console, Group
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo.history import BILL_MONTH
from demo.money import settle_and_bill
from demo.trade import open_market
from demo.up import Running
from demo.world import GATEWAYS, PEOPLE

LOOK_S = 0.3
PROGRESS_FILE = "progress.json"


@dataclass(frozen=True, slots=True)
class Seen:
    """How far the cloud is."""

    readings: int
    batches: int
    wire_bytes: int
    stale_days: int
    validated_days: int
    silent_meters: int  # no reading within an hour


def show(running: Running, console: Console) -> None:
    """Follow the replay, make the bills, print the addresses, then keep the processes alive. Never returns by itself."""
    with psycopg.connect(running.dsn, autocommit=True) as conn:
        if _replay_is_due(running):
            _follow(running, conn, console)
        if not running.quick:
            settle_and_bill(running, console)
        open_market(running.home.folder, running.dsn, console)
        seen = _seen(conn)
        if seen.silent_meters:
            console.print(
                f"[yellow]{seen.silent_meters} 只电能表没有新读数，见网关日志 / meters without new readings: see the gateways' "
                f"logs in {running.home.logs}[/]"
            )
        console.print(_welcome(running, seen))
    while True:
        running.family.revive(lambda line: console.print(f"[yellow]{line}[/]"))
        time.sleep(1)


def _replay_is_due(running: Running) -> bool:
    time.sleep(LOOK_S)
    return not all(_progress(running, gateway.gateway_id).get("live") for gateway in GATEWAYS)


def _follow(running: Running, conn: psycopg.Connection[tuple[object, ...]], console: Console) -> None:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}"),
        TimeElapsedColumn(),
    )
    console.print(
        "历史回放：真实报文、签名、入库、校核 / history runs through the real path: frames, signatures, ingest, validation"
    )
    with Progress(*columns, console=console) as bars:
        tasks = {
            g.gateway_id: bars.add_task(f"{g.name} {g.gateway_id}", total=1000, note="") for g in GATEWAYS
        }
        checked = bars.add_task("校核 / validation", total=None, note="")
        while True:
            running.family.revive(lambda line: bars.console.print(f"[yellow]{line}[/]"))
            caught_up = [_move(bars, tasks[g.gateway_id], _progress(running, g.gateway_id)) for g in GATEWAYS]
            seen = _seen(conn)
            whole = seen.validated_days + seen.stale_days
            note = f"{seen.readings:,} 个读数 / readings, {seen.stale_days} 日待校 / days to do"
            bars.update(checked, total=max(whole, 1), completed=seen.validated_days, note=note)
            if all(caught_up) and seen.stale_days == 0:
                return
            time.sleep(LOOK_S)


def _move(bars: Progress, task: TaskID, progress: dict[str, int]) -> bool:
    """Show one gateway's progress; True when it is live and the cloud has acknowledged all it sealed."""
    if not progress:
        return False
    whole = max(1, progress["whole"])
    at = datetime.fromtimestamp(progress["at_ms"] // 1000, UTC).astimezone(BILL_MONTH.tzinfo)
    backlog = progress["backlog"]
    note = f"{at:%Y-%m-%d %H:%M}  待确认 / unacked {backlog}"
    bars.update(task, completed=progress["done"] * 1000 // whole, note=note)
    return bool(progress["live"]) and backlog == 0


def _progress(running: Running, gateway_id: str) -> dict[str, int]:
    path: Path = running.home.gateway(gateway_id) / PROGRESS_FILE
    try:
        progress: dict[str, int] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return progress


def _seen(conn: psycopg.Connection[tuple[object, ...]]) -> Seen:
    row = conn.execute(
        """SELECT (SELECT coalesce(sum(readings), 0) FROM sealed_batch), (SELECT count(*) FROM sealed_batch),
                  (SELECT coalesce(sum(octet_length(body)), 0) FROM sealed_batch WHERE stream = 0),
                  (SELECT count(*) FROM stale_day),
                  (SELECT count(DISTINCT (supply_point_id, day)) FROM interval_day),
                  (SELECT count(*) FROM meter m WHERE NOT EXISTS (
                       SELECT FROM reading r WHERE r.meter_key = m.meter_key AND r.taken_at > now() - interval '1 hour'))"""
    ).fetchone()
    assert row is not None
    return Seen(*(int(str(value)) for value in row))


def _welcome(running: Running, seen: Seen) -> Panel:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for title in ("角色 / who", "用户 / login", "密码 / password"):
        table.add_column(title, no_wrap=True, header_style="dim")
    for login, role, name, _ in PEOPLE:
        table.add_row(f"{name} ({role})", f"[bold]{login}[/]", f"[bold]{running.logins[login]}[/]")
    per_reading = f"{seen.wire_bytes / seen.readings:.2f}" if seen.readings else "–"
    lines = (
        f"网页 / pages  [bold]{running.web_url}/[/]",
        f"接口 / API    {running.web_url}/docs",
        f"线路 / wire   {seen.readings:,} 个读数 / readings, {per_reading} B/reading",
        f"日志 / logs   {running.home.logs}",
    )
    title, subtitle = "售电演示已就绪 / Shoudian is running", "Ctrl-C 停止 / stops"
    return Panel(Group(table, "", *lines), title=title, subtitle=subtitle, expand=False)
