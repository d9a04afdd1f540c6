"""The processes of a fault run and what may befall them: gateways, a broker that remembers nothing, two ingests, PostgreSQL.

Everything is real: the gateways run the agent's store and uplink, the ingests are `shoudian-cloud ingest`, the
database keeps what it has committed (fsync on). Who is killed is started again at once over what it left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random  # noqa: TID251  # from a printed seed
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from chaos_line import Line
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from ingest_world import CLOUD_KEY, FakeGateway, build

from demo.broker import Broker
from demo.postgres import Server
from demo.unprivileged import die_with_parent
from provisioning.broker import plain_conf

GATEWAYS = ("GW1", "GW2", "GW3")
METERS_EACH = 3
INGESTS = ("ing-0", "ing-1")
PROFILE = "cn.generic.dlt645-2007.3p4w"
KINDS = (
    "kill_gateway", "kill_broker", "kill_ingest", "kill_backend", "end_backend", "break_line", "forget_queue",
)  # fmt: skip
GATEWAY_PROGRAM = Path(__file__).with_name("chaos_gateway.py")
LOOK_S = 0.1
STOP_S = 20.0
STRIKE = """
    SELECT {what} FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND query !~ '^(COMMIT|ROLLBACK)'
    ORDER BY random() LIMIT 1"""
STRIKE_LOOKS = 500
KEEPING_S = 0.004
STRIKE_PAUSE_S = 0.002


@dataclass
class Process:
    """A process that comes back."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as sink:
            self.running = subprocess.Popen(
                self.command,
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                preexec_fn=lambda: die_with_parent(signal.SIGKILL),
            )

    def kill(self) -> None:
        """SIGKILL."""
        self.check()
        assert self.running is not None
        self.running.kill()
        self.running.wait()

    def check(self) -> None:
        """Who ends by himself, fails the run."""
        ended = self.running is None or self.running.poll() is not None
        assert not ended, f"{self.name} has ended by itself:\n{self.log.read_text(errors='replace')[-2000:]}"

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.running is not None
        self.running.terminate()
        async with asyncio.timeout(STOP_S):
            while (code := self.running.poll()) is None:
                await asyncio.sleep(0.05)
        return code

    def end(self) -> None:
        """Whatever happened, nothing stays behind."""
        if self.running is not None and self.running.poll() is None:
            self.kill()


@dataclass
class Site:
    """A gateway: its folder, its line, its process."""

    folder: Path
    line: Line
    process: Process

    def look(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the gateway's own store, from outside and only to read."""
        with closing(sqlite3.connect(f"file:{self.folder}/data/outbox.db?mode=ro", uri=True)) as conn:
            return conn.execute(query).fetchall()

    def await_entry(self) -> None:
        """Return when the diary grows, or after a while."""
        diary = self.folder / "diary"
        before = diary.stat().st_size
        for _ in range(STRIKE_LOOKS):
            if diary.stat().st_size != before:
                return
            time.sleep(0.0005)

    def is_heard(self) -> bool:
        return bool(self.look("SELECT 1 FROM stream WHERE stream=0 AND upto > 0"))

    def is_empty(self) -> bool:
        """Nothing waits to be sealed, and no sealed batch waits to be sent."""
        waiting = "SELECT 1 FROM reading UNION ALL SELECT 1 FROM event"
        return not self.look(f"{waiting} UNION ALL SELECT 1 FROM batch WHERE state='sealed' LIMIT 1")


@dataclass
class World:
    """One run's processes; `faults` counts what was done to them."""

    server: Server
    dsn: str
    broker: Broker
    ingests: list[Process]
    sites: list[Site]
    chance: random.Random
    faults: Counter[str] = field(default_factory=Counter)
    struck: int = 0  # transactions

    @property
    def processes(self) -> list[Process]:
        return [*self.ingests, *(site.process for site in self.sites)]

    # ---- faults ------------------------------------------------------------------------------------------

    async def kill_gateway(self) -> None:
        """In the milliseconds in which it keeps a reading."""
        site = self.chance.choice(self.sites)
        await asyncio.to_thread(site.await_entry)
        time.sleep(self.chance.uniform(0, KEEPING_S))
        site.process.kill()
        site.process.start()

    async def kill_broker(self) -> None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # dead, and not yet back
            os.kill(self.broker.pid, signal.SIGKILL)

    async def kill_ingest(self) -> None:
        process = self.chance.choice(self.ingests)
        process.kill()
        process.start()

    async def kill_backend(self) -> None:
        """SIGKILL one that is inside a transaction: PostgreSQL ends all others too, and recovers."""
        await asyncio.to_thread(self._strike, "pid")

    async def end_backend(self) -> None:
        """Have PostgreSQL end one connection of the ingests that is inside a transaction."""
        await asyncio.to_thread(self._strike, "pg_terminate_backend(pid)")

    async def break_line(self) -> None:
        await self.chance.choice(self.sites).line.swallow(self.chance.uniform(0.3, 1.2))

    async def forget_queue(self) -> None:
        """No ingest for a moment, so that the broker holds what gateways send; then it dies with it."""
        for process in self.ingests:
            process.kill()
        await asyncio.sleep(self.chance.uniform(0.6, 1.2))
        await self.kill_broker()
        for process in self.ingests:
            process.start()

    async def storm(self, seconds: float, pause_s: tuple[float, float], each_at_least: int) -> None:
        """Do all kinds of faults in random order, each as often as the others, for a while and so often at least."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + seconds
        bag: list[str] = []
        while loop.time() < end_s or min(self.faults[kind] for kind in KINDS) < each_at_least:
            await asyncio.sleep(self.chance.uniform(*pause_s))
            bag = bag or self.chance.sample(KINDS, len(KINDS))
            deed: Callable[[], Awaitable[None]] = getattr(self, kind := bag.pop())
            self.faults[kind] += 1
            await deed()

    def _strike(self, what: str) -> None:
        """Look until a transaction is under way, for a while that it never takes when readings flow; and strike."""
        with (
            contextlib.suppress(psycopg.OperationalError),  # still recovering from the last one
            psycopg.connect(self.dsn, autocommit=True, connect_timeout=5) as conn,
        ):
            for _ in range(STRIKE_LOOKS):
                if found := conn.execute(STRIKE.format(what=what)).fetchone():
                    if what == "pid":
                        os.kill(found[0], signal.SIGKILL)
                    self.struck += 1
                    return
                time.sleep(STRIKE_PAUSE_S)

    # ---- looking -----------------------------------------------------------------------------------------

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database; it may be recovering."""
        for _ in range(100):
            try:
                with psycopg.connect(self.dsn, autocommit=True, connect_timeout=5) as conn:
                    return conn.execute(query).fetchall()
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise AssertionError("the database does not come back")

    async def until(self, claim: Callable[[Site], bool], seconds: float) -> float:
        """Wait until all gateways are so, but no longer than this; returns how long that took."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while (waited_s := loop.time() - began_s) < seconds:
            for process in self.processes:
                process.check()
            if all([await asyncio.to_thread(_holds, claim, site) for site in self.sites]):
                break
            await asyncio.sleep(LOOK_S)
        return waited_s

    def be_quiet(self) -> None:
        """No more readings."""
        for site in self.sites:
            (site.folder / "quiet").touch()

    def logs(self) -> str:
        """What all processes wrote."""
        return "\n".join(process.log.read_text(errors="replace") for process in self.processes)


def _holds(claim: Callable[[Site], bool], site: Site) -> bool:
    try:
        return claim(site)
    except sqlite3.Error:  # not made yet, or its owner is just being killed
        return False


# ---- bringing it up ------------------------------------------------------------------------------------------


@asynccontextmanager
async def running_world(
    folder: Path, server: Server, database: str, broker: Broker, seed: int, uplink: str
) -> AsyncIterator[World]:
    """Everything up, with a fresh migrated database; nothing left at the end."""
    dsn = server.dsn_of(database)
    fakes = build(dsn, GATEWAYS, METERS_EACH)
    key_file = folder / "cloud.key"
    key_file.write_bytes(CLOUD_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    conf = plain_conf(port=broker.port).replace("persistence true", "persistence false")
    broker.put({"mosquitto.conf": conf})
    os.kill(broker.pid, signal.SIGKILL)  # comes back with nothing to write on
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SHOUDIAN_")}
    env = kept | {
        "SHOUDIAN_DSN": dsn,
        "SHOUDIAN_COMMAND_KEY_FILE": str(key_file),
        "SHOUDIAN_BROKER_HOST": broker.host,
        "SHOUDIAN_BROKER_PORT": str(broker.port),
    }
    ingests = [
        Process(name, (sys.executable, "-m", "cloud", "ingest", "--id", name), env, folder / f"{name}.log")
        for name in INGESTS
    ]
    sites = [await make_site(folder, fake, broker, uplink, kept) for fake in fakes.values()]
    world = World(server, dsn, broker, ingests, sites, random.Random(seed))
    try:
        for process in world.processes:
            process.start()
        yield world
    finally:
        for process in world.processes:
            process.end()
        for site in sites:
            await site.line.close()


async def make_site(
    folder: Path, fake: FakeGateway, broker: Broker, uplink: str, env: Mapping[str, str]
) -> Site:
    line = Line(broker.port)
    await line.open()
    home = folder / fake.gateway_id
    home.mkdir()
    (home / "signing.key").write_bytes(
        fake.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    public = CLOUD_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (home / "cloud.pub").write_bytes(public)
    meters = "".join(
        f'[[meter]]\nmeter_id = "{meter_id}"\nport = "p"\nprofile = "{PROFILE}"\naddress = "{number:012d}"\n'
        for number, meter_id in enumerate(fake.meters, 1)
    )
    (home / "agent.toml").write_text(f"""
gateway_id = "{fake.gateway_id}"
data_dir = "data"
[identity]
signing_key = "signing.key"
cloud_public_key = "cloud.pub"
[broker]
host = "127.0.0.1"
port = {line.port}
tls = false
mqtt_version = {broker.mqtt_version}
[[port]]
name = "p"
url = "tcp://127.0.0.1:1"
{meters}""")
    command = (sys.executable, str(GATEWAY_PROGRAM), str(home), uplink)
    return Site(home, line, Process(fake.gateway_id, command, env, folder / f"{fake.gateway_id}.log"))
