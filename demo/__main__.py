"""shoudian-demo: the whole system on one machine, with simulated meters that follow real load curves."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from demo.guard import Trouble

HOME = Path(".shoudian/demo")
EXAMPLE = """
例 / examples:
  shoudian-demo up                 启动全部；Ctrl-C 停止，再次启动从停下处继续
                                   start everything; Ctrl-C stops it, starting again goes on where it was
  shoudian-demo up --quick         只回放昨天和今天 / only yesterday and today: up in half a minute
  shoudian-demo up --port 8080     网页换一个端口 / pages on another port
  shoudian-demo reset              删除演示的全部数据 / delete all that the demonstration has made
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an expected failure is one line and exit code 2."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except Trouble as trouble:
        print(f"错误 / error: {trouble}", file=sys.stderr)
        return 2
    except OSError as problem:
        print(f"错误 / error: {problem.filename or ''}: {problem.strerror or problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shoudian-demo",
        description="在本机运行整个系统：3 台网关、24 只电能表、真实负荷曲线 / "
        "the whole system on this machine: 3 gateways, 24 meters, real load curves",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="启动 / start")
    up.add_argument("--port", type=int, default=8000, help="网页端口 / port of the pages (default 8000)")
    up.add_argument(
        "--broker",
        choices=("auto", "mosquitto", "amqtt"),
        default="auto",
        help="消息代理 / broker (default: mosquitto when it is installed)",
    )
    up.set_defaults(run=_up)
    quick = "只回放昨天和今天，不出账单 / replay only yesterday and today, make no bills"
    reset = commands.add_parser("reset", help="删除演示数据 / delete the demonstration's data")
    reset.set_defaults(run=_reset)
    meters = commands.add_parser("meters", help="（内部）只运行模拟电能表 / only the simulated meters")
    meters.set_defaults(run=_meters)
    gateway = commands.add_parser("gateway", help="（内部）只运行一台网关 / only one gateway")
    gateway.add_argument("gateway_id")
    gateway.set_defaults(run=_gateway)
    for command in (up, gateway):
        command.add_argument("--quick", action="store_true", help=quick)
    for command in (up, reset, meters, gateway):
        command.add_argument(
            "--home", type=Path, default=HOME, help=f"数据目录 / folder for all data (default {HOME})"
        )
    return parser


def _up(arguments: argparse.Namespace) -> None:
    from demo.show import show
    from demo.up import Home, demonstration

    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _as_interrupt)
    home = Home(arguments.home.resolve())
    try:
        with demonstration(home, arguments.port, arguments.broker, console, quick=arguments.quick) as running:
            show(running, console)
    except KeyboardInterrupt:
        console.print("已全部停止，数据已保留 / everything has stopped; the data are kept")


def _as_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _reset(arguments: argparse.Namespace) -> None:
    from demo.up import Home, only_one

    home = Home(arguments.home.resolve())
    if not (home.folder / "lock").exists():
        raise Trouble(f"{home.folder} 里没有演示数据 / there is no demonstration in this folder")
    with only_one(home):
        shutil.rmtree(home.folder)
    print(f"已删除 / deleted: {home.folder}")


def _meters(arguments: argparse.Namespace) -> None:
    from demo.meters import run

    asyncio.run(run(arguments.home))


def _gateway(arguments: argparse.Namespace) -> None:
    from demo.gateway import run

    asyncio.run(run(arguments.home, arguments.gateway_id, quick=arguments.quick))


if __name__ == "__main__":
    sys.exit(main())
