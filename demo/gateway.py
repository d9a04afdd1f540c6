"""One gateway of the demonstration: the real agent, first on a clock that jumps through history, then on the machine's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from demo.history import Stretch, stretches
from demo.meters import ADDRESS_FILE, wall_ms
from edge_agent import agent
from edge_agent.config import AgentConfig, load_config
from edge_agent.outbox.opening import FILE_NAME
from edge_agent.profile import Profile
from edge_agent.replay import ReplayClock
from edge_agent.system import SystemClock
from firmware_profiles import load_profiles

PROGRESS_FILE = "progress.json"
REPORT_S = 0.3
SETTLE_MS = 120_000  # replayed time after a stretch's last instant, so that it is read and sealed
# A month that waited for its uplink goes out in larger batches; the last days as a gateway does every day.
SEAL_EVERY_S = (86_400, 900)


@dataclass(slots=True)
class Course:
    """How far the replay is, for the one who watches."""

    folder: Path
    plan: Sequence[Stretch]
    at_ms: int = 0
    live: bool = False
    done_ms: int = 0
    stretch: int = field(default=0)

    def note(self) -> None:
        """Write progress.json."""
        past = sum(s.last_ms - s.first_ms for s in self.plan[: self.stretch])
        inside = 0
        if not self.live and self.stretch < len(self.plan):
            inside = max(0, self.at_ms - self.plan[self.stretch].first_ms)
        whole = sum(s.last_ms - s.first_ms for s in self.plan)
        facts = {
            "at_ms": self.at_ms,
            "done": min(whole, past + inside),
            "whole": whole,
            "live": self.live,
            "backlog": _backlog(self.folder),
        }
        part = self.folder / f"{PROGRESS_FILE}.part"
        part.write_text(json.dumps(facts))
        part.rename(self.folder / PROGRESS_FILE)


async def run(home: Path, gateway_id: str, *, quick: bool = False) -> None:
    """Replay what is due, then read live until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    folder = home / "gateways" / gateway_id
    config = load_config(folder / "agent.toml")
    profiles = load_profiles()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    plan = stretches(datetime.fromtimestamp(wall_ms() // 1000, UTC), _seen_ms(config), quick=quick)
    course = Course(folder, plan)
    reporter = asyncio.create_task(_report(course))
    reader, writer = await asyncio.open_connection("127.0.0.1", _control_port(home))
    try:
        meters = _Meters(gateway_id, reader, writer)
        for turn, stretch in enumerate(plan):
            course.stretch = turn
            if stop.is_set():
                return
            await _replay(config, profiles, stretch, course, meters, stop)
        await meters.live()
        course.stretch, course.live, course.at_ms = len(plan), True, wall_ms()
        if not stop.is_set():
            await agent.run(config, profiles, SystemClock(), stop)
    finally:
        reporter.cancel()
        writer.close()


@dataclass(frozen=True, slots=True)
class _Meters:
    """The control line to the simulated meters."""

    gateway_id: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def step(self, at_ms: int) -> None:
        await self._say(f"step {self.gateway_id} {at_ms}")

    async def live(self) -> None:
        await self._say(f"live {self.gateway_id}")

    async def _say(self, words: str) -> None:
        self.writer.write(f"{words}\n".encode())
        if await self.reader.readline() != b"ok\n":
            raise ConnectionError(f"the simulated meters do not obey: {words}")


async def _replay(
    config: AgentConfig,
    profiles: dict[str, Profile],
    stretch: Stretch,
    course: Course,
    meters: _Meters,
    stop: asyncio.Event,
) -> None:
    """Run the agent through one stretch; return at its end, or when `stop` is set."""
    is_last = stretch is course.plan[-1]
    poll = replace(config.poll, live_every_s=0, detail_every_s=3600, seal_every_s=SEAL_EVERY_S[is_last])

    async def step(at_ms: int) -> None:
        course.at_ms = min(at_ms, stretch.last_ms)
        await meters.step(at_ms)

    await step(stretch.first_ms)
    clock = ReplayClock(
        stretch.first_ms, stretch.last_ms + SETTLE_MS, agent.clock_sleepers(config), on_jump=step
    )
    over = asyncio.Event()
    running = asyncio.create_task(agent.run(replace(config, poll=poll), profiles, clock, over))
    waits = [asyncio.create_task(clock.ended.wait()), asyncio.create_task(stop.wait()), running]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    over.set()
    for wait in waits[:2]:
        wait.cancel()
    await running


async def _report(course: Course) -> None:
    while True:
        with contextlib.suppress(OSError, sqlite3.Error):
            course.note()
        await asyncio.sleep(REPORT_S)


def _seen_ms(config: AgentConfig) -> int | None:
    """Give the instant up to which every meter has been read and kept; None for a store without readings."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_look(config.data_dir)) as conn:
        row = conn.execute("SELECT min(taken_at_ms), count(*) FROM last_reading").fetchone()
        return row[0] if row[1] >= len(config.meters) else None
    return None


def _backlog(folder: Path) -> int:
    """Count sealed batches that the cloud has not acknowledged."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_look(folder / "data")) as conn:
        return int(conn.execute("SELECT count(*) FROM batch WHERE state = 'sealed'").fetchone()[0])
    return 0


def _look(data_dir: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{data_dir / FILE_NAME}?mode=ro", uri=True, timeout=0.2)


def _control_port(home: Path) -> int:
    return int(json.loads((home / ADDRESS_FILE).read_text())["control_port"])
