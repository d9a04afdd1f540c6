"""The agent and the real ingest, over a real broker into a real PostgreSQL: what meters showed is what rows say."""

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from ingest_world import CLOUD_KEY, NOON, NOON_MS, QUARTER_MS, build

from cloud.config import BrokerConfig
from cloud.db import open_pool
from cloud.outside.gateways import Ingest, IngestSettings
from edge_agent import agent
from edge_agent.config import load_config
from edge_agent.drivers.sim import Dlt645Slave, SimMeter
from edge_agent.drivers.simline import serve_tcp
from edge_agent.replay import ReplayClock
from firmware_profiles import load_profiles

PROFILE = "cn.generic.dlt645-2007.3p4w"
PROFILES = {
    name: replace(profile, link=replace(profile.link, gap_ms=0)) for name, profile in load_profiles().items()
}
START_MS = NOON_MS - 48 * QUARTER_MS


@dataclass
class World:
    now_ms: int = START_MS

    async def jump(self, now_ms):
        self.now_ms = now_ms


@dataclass(frozen=True)
class Face:
    number: int
    world: World

    def ticks(self, code):
        slot = (self.world.now_ms - START_MS) // QUARTER_MS
        return {"ea_imp": 100_000 * self.number + 37 * slot, "p": 12_345, "freq": 5_000}.get(code, 0)


class IngestThread:
    """The cloud's ingest in a thread with a loop of its own, as its process would have it."""

    def __init__(self, dsn, broker):
        self._pool = open_pool(dsn, size_max=4, wait_s=1)
        config = BrokerConfig(broker.host, broker.port, broker.mqtt_version, None, None, None, "", "")
        settings = IngestSettings("ing-0", 100, timedelta(milliseconds=50), 1, 7)
        self._ingest = Ingest(settings, config, self._pool, CLOUD_KEY, lambda: NOON)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(
            target=lambda: self._loop.run_until_complete(self._ingest.run(self._stop))
        )

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._loop.close()
        self._pool.close()


def write_config(folder, gateway, url, broker):
    key = gateway.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = CLOUD_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "signing.key").write_bytes(key)
    (folder / "cloud.pub").write_bytes(public)
    meters = "".join(
        f'[[meter]]\nmeter_id = "{meter_id}"\nport = "p"\nprofile = "{PROFILE}"\naddress = "{number:012d}"\n'
        for number, meter_id in enumerate(gateway.meters, 1)
    )
    (folder / "agent.toml").write_text(f"""
gateway_id = "{gateway.gateway_id}"
data_dir = "data"
[identity]
signing_key = "signing.key"
cloud_public_key = "cloud.pub"
[broker]
host = "127.0.0.1"
port = {broker.port}
tls = false
mqtt_version = {broker.mqtt_version}
[poll]
live_every_s = 0
[[port]]
name = "p"
url = "{url}"
{meters}""")
    return load_config(folder / "agent.toml")


@asynccontextmanager
async def meters_on(world, count):
    def slave():
        return Dlt645Slave(
            [SimMeter(PROFILES[PROFILE], f"{n:012d}", Face(n, world)) for n in range(1, count + 1)]
        )

    async with await serve_tcp(slave) as server:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def half_a_day(config, url_world, dsn, rows_wanted):
    """Replay 48 quarter-hours and wait until the database has them."""
    stop = asyncio.Event()
    clock = ReplayClock(START_MS, NOON_MS + 1, agent.clock_sleepers(config), on_jump=url_world.jump)
    running = asyncio.ensure_future(agent.run(config, PROFILES, clock, stop))
    try:
        async with asyncio.timeout(50):
            while await asyncio.to_thread(count_rows, dsn) < rows_wanted:
                assert not running.done(), running.exception()
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.5)
    finally:
        stop.set()
        await running


def count_rows(dsn):
    return query(dsn, "SELECT count(*) FROM reading")[0][0]


def query(dsn, text):
    with psycopg.connect(dsn) as conn:
        return conn.execute(text).fetchall()


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_what_the_meters_showed_is_what_the_database_says(request, kind, database, tmp_path):
    broker = request.getfixturevalue(kind)
    gateway = build(database, gateways=("GW1",), meters_each=2)["GW1"]

    async def scenario():
        world = World()
        async with meters_on(world, 2) as url:
            await half_a_day(write_config(tmp_path, gateway, url, broker), world, database, 2 * 48)

    with IngestThread(database, broker):
        asyncio.run(scenario())

    found = query(
        database,
        "SELECT meter_id, (extract(epoch FROM taken_at) * 1000)::bigint, source, quality, c0, c4"
        " FROM reading JOIN meter USING (meter_key) ORDER BY 1, 2",
    )
    assert found == [
        (f"GW1M{n}", START_MS + slot * QUARTER_MS, 0, 0, (100_000 * n + 37 * slot) * 100, 12_345)
        for n in (1, 2)
        for slot in range(48)
    ]
    verdicts = query(database, "SELECT verdict, sum(messages)::int FROM intake_count GROUP BY verdict")
    assert {verdict for verdict, _ in verdicts} <= {"accepted", "duplicate"}
    assert query(database, "SELECT count(*) FROM quarantine") == [(0,)]
