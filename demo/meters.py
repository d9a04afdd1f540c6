"""The simulated meters of the demonstration: real servers on TCP ports and a pseudo serial port.

Each gateway's meters share one clock. It follows the wall clock until that gateway's runner steps it through history over the
control port, one line a command:

    step <gateway> <milliseconds UTC>   → ok    the meters show what they showed then
    live <gateway>                      → ok    follow the wall clock again
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from demo.load import Load
from demo.world import SITES, Site
from edge_agent.drivers.sim import Dlt645Slave, ModbusSlave, SimMeter, Slave
from edge_agent.drivers.simline import PtyLine, serve_pty, serve_tcp
from edge_agent.profile import Profile
from firmware_profiles import load_profiles

ADDRESS_FILE = "meters.json"


def wall_ms() -> int:
    """Milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class MeterClock:
    """What time the meters of one gateway believe it is; `stepped_ms` None = the wall clock."""

    wall: Callable[[], int] = wall_ms
    stepped_ms: int | None = None

    def now_ms(self) -> int:
        return self.wall() if self.stepped_ms is None else self.stepped_ms


@dataclass(frozen=True, slots=True)
class LoadFace:
    """The face of a meter of `profile` in front of `load`."""

    load: Load
    profile: Profile
    clock: MeterClock

    def ticks(self, code: str) -> int:
        """Value of a channel now, in the profile's decimals; counters roll over as the profile says."""
        channel = self.profile.channel(code)
        value = self.load.ticks(code, self.clock.now_ms(), channel.decimals)
        return value if channel.rollover_ticks is None else value % channel.rollover_ticks


@dataclass(slots=True)
class MeterPark:
    """All lines of the demonstration, serving; `urls` says where by (gateway, port)."""

    clocks: Mapping[str, MeterClock]
    servers: list[asyncio.Server] = field(default_factory=list)
    serial_lines: list[PtyLine] = field(default_factory=list)
    urls: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    control_port: int = 0

    async def close(self) -> None:
        for server in self.servers:
            server.close()
        for line in self.serial_lines:
            line.close()


async def serve_meters(sites: Iterable[Site] = SITES, wall: Callable[[], int] = wall_ms) -> MeterPark:
    """Put every line of `sites` on a free TCP port of 127.0.0.1, lines called 'serial' on a pseudo serial port."""
    profiles = load_profiles()
    lines: dict[tuple[str, str], list[Site]] = defaultdict(list)
    for site in sites:
        lines[site.gateway_id, site.port].append(site)
    park = MeterPark({gateway: MeterClock(wall) for gateway, _ in lines})
    for (gateway, port), on_line in lines.items():
        new_slave = partial(_slave, on_line, profiles, park.clocks[gateway])
        if port == "serial":
            serial_line = serve_pty(new_slave())
            park.serial_lines.append(serial_line)
            park.urls[gateway][port] = f"serial://{serial_line.path}?baud=9600&parity=N&gap_ms=0"
        else:
            server = await serve_tcp(new_slave)
            park.servers.append(server)
            park.urls[gateway][port] = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}?gap_ms=0"
    control = await asyncio.start_server(partial(_control, park.clocks), "127.0.0.1", 0)
    park.servers.append(control)
    park.control_port = control.sockets[0].getsockname()[1]
    return park


def _slave(sites: Sequence[Site], profiles: Mapping[str, Profile], clock: MeterClock) -> Slave:
    meters = [
        SimMeter(profiles[s.profile], s.address, LoadFace(s.load, profiles[s.profile], clock)) for s in sites
    ]
    if meters[0].profile.protocol.startswith("modbus"):
        return ModbusSlave(meters)
    return Dlt645Slave(meters, seed=len(meters))


async def _control(
    clocks: Mapping[str, MeterClock], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            writer.write(_obey(clocks, line.decode("ascii", "replace").split()) + b"\n")
            await writer.drain()
    writer.close()


def _obey(clocks: Mapping[str, MeterClock], words: Sequence[str]) -> bytes:
    match words:
        case ["step", gateway, instant] if gateway in clocks and instant.isdecimal():
            clocks[gateway].stepped_ms = int(instant)
        case ["live", gateway] if gateway in clocks:
            clocks[gateway].stepped_ms = None
        case _:
            return b"what?"
    return b"ok"


async def run(home: Path) -> None:
    """Serve until SIGTERM or SIGINT; `home`/meters.json tells the addresses once all lines are up."""
    park = await serve_meters()
    part = home / f"{ADDRESS_FILE}.part"
    part.write_text(json.dumps({"control_port": park.control_port, "urls": park.urls, "pid": os.getpid()}))
    part.rename(home / ADDRESS_FILE)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    await park.close()
