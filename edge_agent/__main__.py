"""`shoudian-agent`: run, check, status. The composition root of the edge: clock, signals, terminal."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from edge_agent import agent
from edge_agent.config import AgentConfig, BadConfig, MeterConfig, load_config, load_keys
from edge_agent.drivers.bus import Line, LineDown
from edge_agent.drivers.read import MeterSample, read_meter
from edge_agent.drivers.talk import NoReply
from edge_agent.health import read_state
from edge_agent.outbox import OutboxUnusable
from edge_agent.profile import BadProfile, Profile
from edge_agent.system import SystemClock, agent_version
from edge_agent.wire.batch import CHANNELS
from firmware_profiles import load_profiles

EXIT_OK: Final = 0
EXIT_SILENT_METERS: Final = 1
EXIT_REFUSED: Final = 2
EXIT_FAULT: Final = 70

_HELP = """\
售电采集代理：按整刻钟读取电能表，把每个读数存到云端确认入库为止。
The edge agent: reads meters on the quarter-hour and keeps every reading until the cloud has committed it.

例 / examples:
  shoudian-agent check  --config /etc/shoudian-agent/agent.toml   检查配置并逐表试读一次 / check, read each meter once
  shoudian-agent run    --config /etc/shoudian-agent/agent.toml   运行，SIGTERM 正常停止 / run; SIGTERM stops it cleanly
  shoudian-agent status --config /etc/shoudian-agent/agent.toml   积压、磁盘、每只表 / backlog, disk, every meter

agent.toml 由 shoudian-provision enrol 生成身份部分，再填写 [[port]] 与 [[meter]]。
`shoudian-provision enrol` writes its identity part; lines ([[port]]) and meters ([[meter]]) are added by hand:

  [[port]]                                            [[meter]]
  name = "rs485-1"                                    meter_id = "M0001"
  url = "serial:///dev/ttyUSB0?baud=2400&parity=E"    port = "rs485-1"
  # url = "tcp://10.0.0.5:7001"                       profile = "cn.generic.dlt645-2007.3p4w"
                                                      address = "000000000001"
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command; the exit code is 0, 1 (some meter is silent), 2 (refused) or 70 (a fault of ours)."""
    options = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    try:
        config = load_config(options.config)
        profiles = load_profiles(options.profiles)
        return int(options.command(config, profiles))
    except (BadConfig, BadProfile, OutboxUnusable) as error:
        print(f"shoudian-agent: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shoudian-agent", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=agent_version())
    commands = parser.add_subparsers(required=True, metavar="run | check | status")
    for name, command, text in (
        ("run", _run, "采集并上送，直到停止 / read and deliver until stopped"),
        ("check", _check, "检查配置、证书、线路，逐表试读 / check files and lines, read each meter once"),
        ("status", _status, "显示运行中的代理的状态 / show how the running agent is"),
    ):
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument("--config", type=Path, required=True, metavar="FILE", help="agent.toml")
        sub.add_argument(
            "--profiles", type=Path, metavar="DIR", help="另加表型文件夹 / a folder of further meter profiles"
        )
        sub.add_argument("--verbose", action="store_true", help="逐项日志 / log every detail")
    return parser


# ---- run -------------------------------------------------------------------------------------------------


def _run(config: AgentConfig, profiles: Mapping[str, Profile]) -> int:
    try:
        asyncio.run(_until_stopped(config, profiles))
    except ExceptionGroup as faults:
        logging.getLogger("edge_agent").error("agent.fault", exc_info=faults)
        return EXIT_FAULT
    return EXIT_OK


async def _until_stopped(config: AgentConfig, profiles: Mapping[str, Profile]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await agent.run(config, profiles, SystemClock(), stop)


# ---- check -----------------------------------------------------------------------------------------------


def _check(config: AgentConfig, profiles: Mapping[str, Profile]) -> int:
    agent.check(config, profiles)
    load_keys(config)
    print(f"{config.file}: 配置、密钥与证书正常 / configuration, keys and certificates are in order")
    rows = asyncio.run(_read_all(config, profiles))
    _print_table(
        ("电表 meter", "端口 port", "结果 result", "毫秒 ms", "读数 values"), [row for _, row in rows]
    )
    return EXIT_OK if all(answered for answered, _ in rows) else EXIT_SILENT_METERS


async def _read_all(
    config: AgentConfig, profiles: Mapping[str, Profile]
) -> list[tuple[bool, tuple[str, ...]]]:
    lines = await agent.lines_of(config)
    rows = []
    for meter in config.meters:
        rows.append(await _read_once(lines[meter.port], meter, profiles[meter.profile]))
    for line in lines.values():
        await line.close()
    return rows


async def _read_once(line: Line, meter: MeterConfig, profile: Profile) -> tuple[bool, tuple[str, ...]]:
    began_s = time.monotonic()
    try:
        sample = await read_meter(line, profile, meter.address, profile.codes)
    except NoReply:
        return False, (meter.meter_id, meter.port, "无应答 no reply", _since_ms(began_s), f"{meter.address}?")
    except LineDown as error:
        return False, (meter.meter_id, meter.port, "线路不通 line down", _since_ms(began_s), str(error))
    result = "部分 partial" if sample.problems else "正常 ok"
    shown = "; ".join((_values(sample, profile), *sample.problems[:2]))
    return True, (meter.meter_id, meter.port, result, _since_ms(began_s), shown)


def _since_ms(began_s: float) -> str:
    return str(round((time.monotonic() - began_s) * 1000))


def _values(sample: MeterSample, profile: Profile) -> str:
    shown = []
    for channel, tick, decimals in zip(CHANNELS, sample.ticks, profile.decimals, strict=True):
        if tick is not None and channel.code in ("ea_imp", "p", "u_a", "i_a"):
            shown.append(f"{channel.code} {_decimal(tick, decimals)} {channel.unit}")
    return ", ".join(shown)


def _decimal(ticks: int, decimals: int) -> str:
    sign, digits = "-" if ticks < 0 else "", str(abs(ticks)).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else f"{sign}{digits}"


# ---- status ----------------------------------------------------------------------------------------------


def _status(config: AgentConfig, profiles: Mapping[str, Profile]) -> int:
    try:
        state = read_state(config.data_dir)
    except FileNotFoundError:
        print(f"{config.data_dir}: 代理尚未运行过 / no agent has run here yet", file=sys.stderr)
        return EXIT_REFUSED
    except (OSError, ValueError) as error:
        print(f"shoudian-agent: {config.data_dir}: {error}", file=sys.stderr)
        return EXIT_REFUSED
    _print_table(("", ""), [(title, value) for title, value in _facts(state)])
    print()
    rows = [
        (
            meter["meter_id"],
            _time(meter["last_ok_ms"]) if meter["last_ok_ms"] else "从未 never",
            str(meter["reads_ok"]),
            str(meter["reads_failed"]),
            str(state["delay_ms"].get(meter["meter_id"], "")),
            "暂停 resting" if meter["resting"] else "",
        )
        for meter in state["meters"]
    ]
    _print_table(("电表 meter", "最近成功 last ok", "成功 ok", "失败 failed", "迟 delay ms", ""), rows)
    return EXIT_OK


def _facts(state: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("网关 gateway", f"{state['gateway_id']} ({state['agent_version']}, {state['process']})"),
        ("时刻 as of", _time(state["at_ms"])),
        ("运行 running", "是 yes" if state["online"] else "否 no"),
        ("已连云端 connected", "是 yes" if state["connected"] else "否 no"),
        ("待确认批次 unacked batches", str(state["backlog_batches"])),
        ("最早未确认 oldest unacked", f"{state['oldest_unacked_s']} s"),
        ("存储 store filled", f"{state['disk_permille'] / 10:.1f} %"),
        ("时钟 clock", f"{state['clock_source']} ± {state['clock_error_ms']} ms"),
        ("纪元 epoch", str(state["epoch"] or "尚未授予 not granted yet")),
        *((f"线路 line {port}", problem) for port, problem in state["lines"].items()),
    ]


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(_width(row[at]) for row in (head, *rows)) for at in range(len(head))]
    for row in (head, *rows) if any(head) else rows:
        print(
            "  ".join(
                cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
            ).rstrip()
        )


def _width(text: str) -> int:
    """Columns on a terminal; Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


if __name__ == "__main__":
    sys.exit(main())
