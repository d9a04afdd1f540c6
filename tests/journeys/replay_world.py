"""The whole path in one place: simulated meters on sockets, real agents on replayed time, a real broker, the real ingest,
validation and billing on a real database. Time of the meters and agents is replayed; nothing else is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cloud.billing.run.bill import Drawn, bill_month
from cloud.config import BrokerConfig
from cloud.db import Pool, ProcessRole, Scope, open_pool, transaction
from cloud.metering.intake import Arrived
from cloud.metering.run.intake import Intake
from cloud.metering.run.validate import validate_stale
from cloud.metering.store.readings import mark_stale
from cloud.outside.gateways import Ingest, IngestSettings
from cloud.site import import_site, site_from
from demo.broker import Broker
from demo.files import site_text
from demo.meters import MeterClock, MeterPark, serve_meters
from demo.world import Site
from edge_agent import agent
from edge_agent.config import AgentConfig, load_config
from edge_agent.link import Link, Pace
from edge_agent.profile import Profile
from edge_agent.replay import ReplayClock
from edge_agent.wire import control, cose

AUGUST_MS = 1_785_513_600_000  # 2026-08-01T00:00+08:00
QUARTER_MS = 900_000
SETTLE_MS = 120_000  # to read and seal the last boundary
NOW = datetime(2026, 9, 2, tzinfo=UTC)  # the cloud's clock
CLOUD_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


Jump = Callable[[int], Awaitable[None]]


class QuickLink(Link):
    """The uplink, which does not wait long to try again: replayed days are seconds."""

    pace = Pace(again_first_s=2.0, again_most_s=4.0, reconnect_first_s=0.2, reconnect_most_s=1.0)


@dataclass
class Cloud:
    """The cloud's side: a database with the demonstration's world in it, and whom it knows."""

    dsn: str
    pool: Pool
    gateway_keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(query.encode(), values).fetchall()

    def know(self, gateway_id: str) -> None:
        """Enrol a gateway: the cloud gets its public key."""
        key = self.gateway_keys[gateway_id] = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw()
        with psycopg.connect(self.dsn) as conn:
            conn.execute(
                "INSERT INTO gateway_key (gateway_id, key_id, public_key) VALUES (%s, %s, %s)",
                (gateway_id, cose.key_id(public), public),
            )
            conn.execute("UPDATE gateway SET state = 'enrolled' WHERE gateway_id = %s", (gateway_id,))

    def take(self, batches: Sequence[tuple[str, int, bytes]]) -> tuple[str, ...]:
        """Give (gateway, stream, sealed batch) to the intake, all in one group; return its verdicts."""
        intake = Intake(self.pool, CLOUD_KEY, generation=1, partition_days=7)
        arrived = [
            Arrived(control.batch_topic(gateway_id, stream), gateway_id, body)
            for gateway_id, stream, body in batches
        ]
        return tuple(str(verdict) for verdict in intake.take(arrived, NOW).verdicts)

    def mark_all_stale(self) -> None:
        """Have every day that has a reading validated anew."""
        days = "SELECT DISTINCT meter_key, (taken_at AT TIME ZONE 'Asia/Shanghai')::date FROM reading"
        marks = self.rows(days)
        with transaction(self.pool, Scope(ProcessRole.WORKER)) as conn:
            mark_stale(conn, marks, NOW)

    def validate(self) -> None:
        while validate_stale(self.pool, NOW):
            pass

    def bill(self, account_id: str) -> Drawn:
        with transaction(self.pool, Scope(ProcessRole.WORKER)) as conn:
            return bill_month(conn, account_id, datetime(2026, 8, 1, tzinfo=UTC).date(), NOW)


@contextlib.contextmanager
def cloud_with(dsn: str, gateway_ids: Sequence[str]) -> Iterator[Cloud]:
    """A cloud that knows the demonstration's customers and meters, and the keys of these gateways."""
    with psycopg.connect(dsn) as conn:
        import_site(conn, site_from(site_text(), "site.toml"))
    with open_pool(dsn, size_max=4) as pool:
        cloud = Cloud(dsn, pool)
        for gateway_id in gateway_ids:
            cloud.know(gateway_id)
        yield cloud


@contextlib.contextmanager
def ingest_of(cloud: Cloud, broker: Broker) -> Iterator[None]:
    """The ingest, in a thread with a loop of its own."""
    config = BrokerConfig(broker.host, broker.port, broker.mqtt_version, None, None, None, "", "")
    settings = IngestSettings("ing-0", 100, timedelta(milliseconds=50), 1, 7)
    ingest = Ingest(settings, config, cloud.pool, CLOUD_KEY, lambda: NOW)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(ingest.run(stop)))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()
        loop.close()


def write_config(
    folder: Path,
    cloud: Cloud,
    broker: Broker,
    sites: Sequence[Site],
    urls: dict[str, str],
    seal_every_s: int,
) -> AgentConfig:
    """Write agent.toml and the keys for the gateway of `sites`, and read it as the agent does."""
    gateway_id = sites[0].gateway_id
    folder.mkdir()
    key = cloud.gateway_keys[gateway_id].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = CLOUD_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "signing.key").write_bytes(key)
    (folder / "cloud.pub").write_bytes(public)
    ports = "".join(f'[[port]]\nname = "{name}"\nurl = "{url}"\n' for name, url in urls.items())
    meters = "".join(
        f'[[meter]]\nmeter_id = "{site.meter_id}"\nport = "{site.port}"\nprofile = "{site.profile}"\n'
        f'address = "{site.address}"\n'
        for site in sites
    )
    (folder / "agent.toml").write_text(
        f'gateway_id = "{gateway_id}"\ndata_dir = "data"\n'
        '[identity]\nsigning_key = "signing.key"\ncloud_public_key = "cloud.pub"\n'
        f'[broker]\nhost = "{broker.host}"\nport = {broker.port}\ntls = false\nmqtt_version = {broker.mqtt_version}\n'
        f"[poll]\nlive_every_s = 0\ndetail_every_s = 86_400\nseal_every_s = {seal_every_s}\n{ports}{meters}"
    )
    return load_config(folder / "agent.toml")


@contextlib.asynccontextmanager
async def agent_through(
    config: AgentConfig, profiles: dict[str, Profile], quarters: int, on_jump: Jump
) -> AsyncIterator[ReplayClock]:
    """A real agent that lives through August from its first instant; the clock says when it is through."""
    end_ms = AUGUST_MS + quarters * QUARTER_MS + SETTLE_MS
    clock = ReplayClock(AUGUST_MS, end_ms, agent.clock_sleepers(config), on_jump=on_jump)
    stop = asyncio.Event()
    running = asyncio.ensure_future(agent.run(config, profiles, clock, stop, agent.Parts(link=QuickLink)))
    try:
        yield clock
    finally:
        stop.set()
        await running


async def delivered(clock: ReplayClock, data_dir: Path, within_s: float) -> None:
    """Wait until the agent has lived through its history and the cloud has acked all that it sealed."""
    async with asyncio.timeout(within_s):
        await clock.ended.wait()
        while unacked(data_dir):
            await asyncio.sleep(0.05)


def unacked(data_dir: Path) -> int:
    """Count what the agent's store holds and the cloud has not acked."""
    with contextlib.closing(
        sqlite3.connect(f"file:{data_dir}/outbox.db?mode=ro", uri=True, timeout=5)
    ) as conn:
        (waiting,) = conn.execute(
            "SELECT (SELECT sum(next_seq - 1 - upto) FROM stream) + (SELECT count(*) FROM reading)"
        ).fetchone()
        return int(waiting)


def stepping(clock: MeterClock) -> Jump:
    """Let the meters follow the agent's clock."""

    async def step(at_ms: int) -> None:
        clock.stepped_ms = at_ms

    return step


@contextlib.asynccontextmanager
async def meters_of(sites: Sequence[Site]) -> AsyncIterator[MeterPark]:
    """The simulated meters of these sites on their lines, showing what they did on the first of August."""
    park = await serve_meters(sites)
    for clock in park.clocks.values():
        clock.stepped_ms = AUGUST_MS
    try:
        yield park
    finally:
        await park.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def instant(quarter: int) -> datetime:
    """Boundary number `quarter` of August."""
    return datetime.fromtimestamp((AUGUST_MS + quarter * QUARTER_MS) // 1000, UTC)
