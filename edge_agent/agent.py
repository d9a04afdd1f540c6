"""One agent, composed: lines, plan, store and uplink as the configuration says, until told to stop."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.clock import Clock
from edge_agent.config import AgentConfig, BadConfig, Keys, load_keys
from edge_agent.drivers.bus import BadUrl, Line, open_line
from edge_agent.drivers.read import read_meter
from edge_agent.health import Health, LiveBoard, StateSource, write_state
from edge_agent.link import Cargo, Link, Speaker
from edge_agent.outbox import Budget, Opened, OutboxRefused, limit_bytes, open_outbox
from edge_agent.poll import PortPoller, ReadMeter, Shared, Store, port_meters, seal_regularly
from edge_agent.profile import Profile, bundle_sha256
from edge_agent.system import agent_version, boot_id
from edge_agent.wire.event import Event

log = logging.getLogger(__name__)

REPORT_EVERY_S: Final = 10.0
BUNDLE_DIGITS: Final = 16  # of the profiles' hash; goes with every batch, and 64 bits tell bundles apart
_DAY_MS: Final = 86_400_000
_ADDRESS_BY_FAMILY: Final = {
    "dlt645": (re.compile(r"[0-9]{12}"), "12 digits"),
    "modbus": (re.compile(r"[0-9]{1,3}"), "a unit id from 0 to 255"),
}


@dataclass(frozen=True, slots=True)
class Parts:
    """What tests and the demonstration may replace."""

    read: ReadMeter = read_meter
    open_line: Callable[[str], Awaitable[Line]] = open_line
    link: type[Link] = Link


def clock_sleepers(config: AgentConfig) -> int:
    """How many loops of an agent sleep on its clock: one per port and one that seals."""
    return len(config.ports) + 1


def check(config: AgentConfig, profiles: Mapping[str, Profile]) -> None:
    """Refuse what the configuration's own reader cannot see: profiles and addresses. Raises BadConfig."""
    for number, meter in enumerate(config.meters):
        if meter.profile not in profiles:
            problem = f"{meter.profile!r} is not a profile; allowed: {', '.join(sorted(profiles))}"
            raise BadConfig(config.file, f"meter[{number}].profile", problem)
        family = profiles[meter.profile].protocol.partition("-")[0]
        pattern, allowed = _ADDRESS_BY_FAMILY[family]
        if not pattern.fullmatch(meter.address) or (family == "modbus" and int(meter.address) > 255):
            problem = f"{meter.address!r} given; {profiles[meter.profile].protocol} wants {allowed}"
            raise BadConfig(config.file, f"meter[{number}].address", problem)


async def lines_of(
    config: AgentConfig, open_one: Callable[[str], Awaitable[Line]] = open_line
) -> dict[str, Line]:
    """The lines by port name; they connect with their first talk. Raises BadConfig."""
    lines = {}
    for number, port in enumerate(config.ports):
        try:
            lines[port.name] = await open_one(port.url)
        except BadUrl as error:
            raise BadConfig(config.file, f"port[{number}].url", str(error)) from error
    return lines


async def run(
    config: AgentConfig,
    profiles: Mapping[str, Profile],
    clock: Clock,
    stop: asyncio.Event,
    parts: Parts | None = None,
) -> None:
    """Be the agent until `stop` is set. Raises BadConfig, OutboxUnusable before anything is started."""
    parts = parts or Parts()
    check(config, profiles)
    keys = load_keys(config)
    lines = await lines_of(config, parts.open_line)
    opened = open_outbox(config.data_dir, config.gateway_id, keys.signing, clock.now_ms())
    if opened.salvaged is not None:
        log.error("outbox.corrupt folder=%s readings_salvaged=%d", config.data_dir, opened.salvaged)
    try:
        await _Agent(config, profiles, clock, keys, opened).run(lines, parts, stop)
    finally:
        opened.close()


class _Agent:
    """The loops of one agent and what they share."""

    def __init__(
        self, config: AgentConfig, profiles: Mapping[str, Profile], clock: Clock, keys: Keys, opened: Opened
    ) -> None:
        self._config = config
        self._profiles = profiles
        self._clock = clock
        self._keys = keys
        outbox = opened.outbox
        used = {meter.profile for meter in config.meters}
        bundle = bundle_sha256(profiles[name] for name in used)[:BUNDLE_DIGITS]
        self._speaker = Speaker(config.gateway_id, boot_id(), agent_version(), bundle)
        budget = Budget(
            outbox, limit_bytes(config.data_dir, config.disk_bytes_max), config.keep_acked_days * _DAY_MS
        )
        self._health = Health(meter.meter_id for meter in config.meters)
        self._board = LiveBoard()
        self._store = Store(outbox, budget, clock, self._speaker.boot_id, bundle)
        self._source = StateSource(
            config.gateway_id, self._speaker.agent_version, outbox, budget, clock, self._health
        )

    async def run(self, lines: Mapping[str, Line], parts: Parts, stop: asyncio.Event) -> None:
        """Run all loops until `stop`; then each finishes what it holds."""
        shared = Shared(self._clock, self._store, self._health, self._board, parts.read)
        pollers = [
            PortPoller(shared, lines[port], meters, self._config.poll)
            for port, meters in port_meters(self._config, self._profiles).items()
        ]
        store = self._store
        cargo = Cargo(
            store.outbox, store.thread, store.sealed, self._clock, self._health, self._board, self._source
        )
        link = parts.link(self._speaker, self._config.broker, self._keys, cargo)
        started = Event("agent_started", self._clock.now_ms(), {"version": self._speaker.agent_version})
        try:
            await self._store.tell(started)
        except OutboxRefused as error:  # a full disk must not keep the agent from delivering what fills it
            log.warning("outbox.refused event=agent_started reason=%s", error)
        sealing = seal_regularly(
            pollers, self._clock, self._store, seal_every_s=self._config.poll.seal_every_s
        )
        try:
            async with asyncio.TaskGroup() as group:
                loops = [poller.run() for poller in pollers]
                tasks = [group.create_task(loop) for loop in (*loops, sealing, link.run(), self._report())]
                await stop.wait()
                for task in tasks:
                    task.cancel()
        finally:
            await self._leave_state(self._config.data_dir, online=False)
            self._store.thread.close()

    async def _report(self) -> None:
        while True:
            await self._leave_state(self._config.data_dir, online=True)
            await asyncio.sleep(REPORT_EVERY_S)

    async def _leave_state(self, folder: Path, *, online: bool) -> None:
        try:
            state = await self._store.thread.do(self._source.state, online=online)
            await asyncio.to_thread(write_state, folder, state, self._health.facts())
        except (OSError, OutboxRefused) as error:
            log.warning("state.unwritten folder=%s reason=%s", folder, error)
