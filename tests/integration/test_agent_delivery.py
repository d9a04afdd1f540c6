"""The whole agent against a real broker and simulated meters on real sockets: every reading arrives exactly once.

The cloud here is a few lines of the test: it opens batches with the gateway's key, keeps them in a dictionary and
acks by the rules of `edge_agent.wire.control`. Time is replayed, so a day takes seconds.
"""

import asyncio
import sqlite3
import sys
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from itertools import takewhile

import aiomqtt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from edge_agent import agent
from edge_agent.config import load_config
from edge_agent.drivers.sim import Dlt645Slave, SimMeter
from edge_agent.drivers.simline import serve_tcp
from edge_agent.replay import ReplayClock
from edge_agent.wire import batch, control, cose, event
from firmware_profiles import load_profiles

GATEWAY_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CLOUD_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
MIDNIGHT_MS = 1_785_513_600_000  # 2026-08-01T00:00 Asia/Shanghai
QUARTER_HOUR_MS = 900_000
PROFILE = "cn.generic.dlt645-2007.3p4w"
PROFILES = {
    name: replace(profile, link=replace(profile.link, gap_ms=0, timeout_ms=700, late_ms=0, retries=0))
    for name, profile in load_profiles().items()
}
IMPATIENT = "test.impatient"  # as PROFILE, for the meter that never answers
PROFILES[IMPATIENT] = replace(PROFILES[PROFILE], link=replace(PROFILES[PROFILE].link, timeout_ms=50))
METERS = ("M1", "M2", "M3")
DEAD = "M9"


def energy_ticks(meter_id, slot):
    """What meter's register shows at a boundary, in 0.01 kWh: another one for every meter and slot."""
    return 10_000 * int(meter_id[1]) + 37 * slot


@dataclass
class World:
    """The instant the meters believe it is."""

    now_ms: int = MIDNIGHT_MS

    async def jump(self, now_ms):
        self.now_ms = now_ms


@dataclass(frozen=True)
class Face:
    meter_id: str
    world: World

    def ticks(self, code):
        slot = (self.world.now_ms - MIDNIGHT_MS) // QUARTER_HOUR_MS
        return {"ea_imp": energy_ticks(self.meter_id, slot), "p": 12_345, "u_a": 2_301, "freq": 5_000}.get(
            code, 0
        )


@dataclass
class Cloud:
    """A cloud as small as the protocol allows."""

    port: int
    mqtt_version: int
    generation: int = 1
    answering: bool = True
    stores: list = field(default_factory=list)
    batches: dict = field(default_factory=dict)
    arrivals: list = field(default_factory=list)
    live: list = field(default_factory=list)
    states: list = field(default_factory=list)
    up: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self):
        version = aiomqtt.ProtocolVersion.V5 if self.mqtt_version == 5 else aiomqtt.ProtocolVersion.V311
        async with aiomqtt.Client("127.0.0.1", self.port, identifier="ing-0", protocol=version) as client:
            await client.subscribe("up/v1/#", qos=1)
            self.up.set()
            async for message in client.messages:
                topic = control.up_topic(str(message.topic))
                match topic.kind:
                    case "hello":
                        self.greet(bytes(message.payload))
                        await self.ack(client)
                    case "b":
                        self.take(bytes(message.payload))
                        await self.ack(client)
                    case "state":
                        self.states.append(control.decode_state(bytes(message.payload)))
                    case "live":
                        self.live.append(control.decode_live(bytes(message.payload)))

    def greet(self, sealed):
        hello = control.hello_of(cose.open_sealed(sealed, GATEWAY_KEY.public_key(), control.HELLO_AAD))
        if hello.store_uuid not in self.stores:
            self.stores.append(hello.store_uuid)

    def take(self, sealed):
        envelope = cose.open_sealed(sealed, GATEWAY_KEY.public_key(), batch.AAD)
        header = batch.header_of(envelope)
        key = (header.epoch, header.stream, header.seq)
        self.arrivals.append(key)
        assert self.batches.setdefault(key, sealed) == sealed, "equivocation"

    async def ack(self, client):
        if not self.answering or not self.stores:
            return
        epoch = len(self.stores)
        streams = tuple(control.StreamAck(stream, self.upto(epoch, stream)) for stream in (0, 1, 2))
        ack = control.Ack("GW001", self.stores[-1], self.generation, epoch, streams)
        await client.publish(control.ack_topic("GW001"), control.seal_ack(ack, CLOUD_KEY), qos=1, retain=True)
        if asyncio.current_task().cancelling():  # which aiomqtt may have dropped with the PUBACK
            raise asyncio.CancelledError

    def upto(self, epoch, stream):
        seqs = sorted(seq for e, s, seq in self.batches if (e, s) == (epoch, stream))
        return len(
            [*takewhile(lambda pair: pair[0] == pair[1], zip(seqs, range(1, len(seqs) + 1), strict=True))]
        )

    def rows(self):
        """(meter, instant) → (quality, ea_imp in 0.1 Wh, p) for every reading in every batch; none may come twice."""
        found = {}
        for sealed in self.batches.values():
            envelope = cose.peek(sealed)
            header = batch.header_of(envelope)
            if header.schema != batch.SCHEMA_READINGS:
                continue
            rows = batch.decode_body(envelope.payload, header)
            for at, meter in enumerate(rows.meter_index):
                key = (rows.meters[meter], rows.taken_at_ms[at])
                assert key not in found, f"{key} came twice"
                power = rows.columns.get(4, {})
                found[key] = (rows.quality[at], rows.columns[0][at], power[at] if power else None)
        return found

    def events(self):
        told = []
        for sealed in self.batches.values():
            envelope = cose.peek(sealed)
            header = batch.header_of(envelope)
            if header.schema == batch.SCHEMA_EVENTS:
                told += event.decode_events(envelope.payload, header)
        return told


def write_config(
    folder, urls, broker, *, seal_every_s=3600, live_every_s=0, meters=METERS, detail_every_s=900
):
    raw = GATEWAY_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "signing.key").write_bytes(raw)
    (folder / "cloud.pub").write_bytes(
        CLOUD_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    text = f"""
gateway_id = "GW001"
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
seal_every_s = {seal_every_s}
live_every_s = {live_every_s}
detail_every_s = {detail_every_s}
"""
    for number, url in enumerate(urls):
        text += f'[[port]]\nname = "p{number}"\nurl = "{url}"\n'
    for number, meter_id in enumerate(meters):
        port = f"p{number % len(urls)}"
        profile = IMPATIENT if meter_id == DEAD else PROFILE
        text += f'[[meter]]\nmeter_id = "{meter_id}"\nport = "{port}"\nprofile = "{profile}"\n'
        text += f'address = "{int(meter_id[1]):012d}"\n'
    (folder / "agent.toml").write_text(text)
    return load_config(folder / "agent.toml")


@asynccontextmanager
async def meters_on(world, meter_ids):
    def slave():
        return Dlt645Slave(
            [SimMeter(PROFILES[PROFILE], f"{int(m[1]):012d}", Face(m, world)) for m in meter_ids]
        )

    async with await serve_tcp(slave) as server:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def play(scenario):
    """Run a scenario; if it has not ended after 50 s, say where every task waits before pytest ends it."""

    async def played():
        tell = asyncio.get_running_loop().call_later(
            50, lambda: [task.print_stack(file=sys.stdout) for task in asyncio.all_tasks()]
        )
        try:
            return await scenario
        finally:
            tell.cancel()

    return asyncio.run(played())


@asynccontextmanager
async def running(coroutine):
    """Run something beside the body; if it fails, the body ends at once and the test says why."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(coroutine)
        yield
        task.cancel()


def unacked(folder):
    with closing(sqlite3.connect(f"file:{folder}/data/outbox.db?mode=ro", uri=True)) as conn:
        return conn.execute("SELECT sum(next_seq - 1 - upto) FROM stream").fetchone()[0]


def gone(cloud):
    """Whether the agent has said goodbye."""
    return not cloud.states[-1].online


async def until(claim, seconds=45.0):
    async with asyncio.timeout(seconds):
        while not claim():
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Replay:
    """A running agent; `over` returns when it has lived through its history."""

    clock: ReplayClock
    running_agent: asyncio.Future

    async def over(self):
        ended = asyncio.ensure_future(self.clock.ended.wait())
        await asyncio.wait((ended, self.running_agent), return_when=asyncio.FIRST_COMPLETED)
        assert ended.done(), self.running_agent.exception()


@asynccontextmanager
async def agent_over(config, world, days, parts=None, start_ms=MIDNIGHT_MS):
    """An agent that replays this many days and then stands still."""
    stop = asyncio.Event()
    end_ms = start_ms + round(days * 86_400_000) + 120_000  # the last boundary, and time to seal it
    clock = ReplayClock(start_ms, end_ms, agent.clock_sleepers(config), on_jump=world.jump)
    running_agent = asyncio.ensure_future(agent.run(config, PROFILES, clock, stop, parts))
    try:
        yield Replay(clock, running_agent)
    finally:
        stop.set()
        await running_agent


def expected(meters, slots):
    return {
        (meter_id, MIDNIGHT_MS + slot * QUARTER_HOUR_MS): (0, energy_ticks(meter_id, slot) * 100, 12_345)
        for meter_id in meters
        for slot in slots
    }


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_a_day_of_quarter_hours_arrives_exactly_once_and_is_acked(request, kind, tmp_path):
    broker = request.getfixturevalue(kind)

    async def scenario():
        world, cloud = World(), Cloud(broker.port, broker.mqtt_version)
        async with meters_on(world, METERS) as one, meters_on(world, METERS) as two, running(cloud.run()):
            await cloud.up.wait()
            config = write_config(tmp_path, (one, two), broker)
            async with agent_over(config, world, days=1) as replay:
                await replay.over()
                await until(lambda: len(cloud.rows()) == 3 * 97)
                await until(lambda: unacked(tmp_path) == 0)
            await until(lambda: gone(cloud))
        return cloud

    cloud = play(scenario())

    assert cloud.rows() == expected(METERS, range(97))
    assert [told.kind for told in cloud.events()] == ["agent_started"]
    assert cloud.states[-1].backlog_batches == 0
    assert len(cloud.arrivals) == len(set(cloud.arrivals)), "on a quiet line nothing is sent twice"


def test_a_dead_meter_costs_the_others_nothing(mosquitto, tmp_path):
    async def scenario():
        world, cloud = World(), Cloud(mosquitto.port, mosquitto.mqtt_version)
        async with meters_on(world, METERS) as one, running(cloud.run()):
            await cloud.up.wait()
            config = write_config(tmp_path, (one,), mosquitto, meters=(DEAD, *METERS))
            async with agent_over(config, world, days=0.125) as replay:
                await replay.over()
                await until(lambda: len(cloud.rows()) >= 3 * 13)
                await until(lambda: unacked(tmp_path) == 0)
            await until(lambda: gone(cloud))
        return cloud

    cloud = play(scenario())

    assert cloud.rows() == expected(METERS, range(13))
    dead = next(meter for meter in cloud.states[-1].meters if meter.meter_id == DEAD)
    assert (dead.reads_ok, dead.resting) == (0, True)
    assert 0 < dead.reads_failed < 100


def test_nothing_is_lost_or_doubled_when_the_cloud_is_away_and_the_agent_restarts(mosquitto, tmp_path):
    async def scenario():
        world, cloud = World(), Cloud(mosquitto.port, mosquitto.mqtt_version)
        async with meters_on(world, METERS) as one:
            config = write_config(tmp_path, (one,), mosquitto, seal_every_s=900)
            async with running(cloud.run()):
                await cloud.up.wait()
                async with agent_over(config, world, days=0.25) as replay:
                    await replay.over()
                    await until(lambda: len(cloud.rows()) >= 3 * 20)
            before = len(cloud.rows())
            async with agent_over(config, world, 0.25, start_ms=MIDNIGHT_MS + 24 * QUARTER_HOUR_MS) as replay:
                await replay.over()
            async with (
                running(cloud.run()),
                agent_over(config, world, 0.25, start_ms=MIDNIGHT_MS + 48 * QUARTER_HOUR_MS) as replay,
            ):
                await replay.over()
                await until(lambda: len(cloud.rows()) == 3 * 73)
        return cloud, before

    cloud, before = play(scenario())

    assert before <= 3 * 25
    assert cloud.rows() == expected(METERS, range(73))
    assert len(cloud.stores) == 1


def test_a_lost_store_goes_on_in_a_new_epoch(mosquitto, tmp_path):
    async def scenario():
        world, cloud = World(), Cloud(mosquitto.port, mosquitto.mqtt_version)
        async with meters_on(world, METERS) as one, running(cloud.run()):
            await cloud.up.wait()
            config = write_config(tmp_path, (one,), mosquitto)
            async with agent_over(config, world, days=0.25) as replay:
                await replay.over()
                await until(lambda: len(cloud.rows()) >= 3 * 20)
            arrived = len(cloud.rows())
            for file in (tmp_path / "data").glob("outbox.db*"):
                file.unlink()
            start_ms = MIDNIGHT_MS + 48 * QUARTER_HOUR_MS
            async with agent_over(config, world, 0.25, start_ms=start_ms) as replay:
                await replay.over()
                await until(lambda: len(cloud.rows()) >= arrived + 3 * 20)
        return cloud

    cloud = play(scenario())

    assert {epoch for epoch, _, _ in cloud.batches} == {1, 2}
    assert sorted(seq for epoch, stream, seq in cloud.batches if (epoch, stream) == (2, 0))[0] == 1


def test_a_restored_cloud_gets_again_what_it_lost(mosquitto, tmp_path):
    async def scenario():
        world, cloud = World(), Cloud(mosquitto.port, mosquitto.mqtt_version)
        async with meters_on(world, METERS) as one:
            config = write_config(tmp_path, (one,), mosquitto, seal_every_s=900)
            async with agent_over(config, world, days=0.5) as replay:
                async with running(cloud.run()):
                    await cloud.up.wait()
                    await replay.over()
                    await until(lambda: len(cloud.rows()) == 3 * 49 and unacked(tmp_path) == 0)
                whole = cloud.rows()
                restored = Cloud(cloud.port, cloud.mqtt_version, generation=2, stores=list(cloud.stores))
                restored.batches = {key: body for key, body in cloud.batches.items() if key[2] <= 10}
                async with running(restored.run()):
                    await restored.up.wait()
                    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
                        await restored.ack(client)
                    await until(lambda: restored.rows() == whole)
        return restored, whole

    restored, whole = play(scenario())

    assert restored.rows() == whole == expected(METERS, range(49))


def test_forged_acks_let_nothing_go(mosquitto, tmp_path):
    async def scenario():
        world, cloud = World(), Cloud(mosquitto.port, mosquitto.mqtt_version)
        async with meters_on(world, METERS) as one, running(cloud.run()):
            await cloud.up.wait()
            config = write_config(tmp_path, (one,), mosquitto, seal_every_s=900)
            async with agent_over(config, world, days=0.25) as replay:
                await replay.over()
                await until(lambda: len(cloud.rows()) == 3 * 25 and unacked(tmp_path) == 0)
                cloud.answering = False
            async with agent_over(
                config, world, days=0.1, start_ms=MIDNIGHT_MS + 30 * QUARTER_HOUR_MS
            ) as replay:
                await replay.over()
                await until(lambda: len(cloud.rows()) >= 3 * 28)
                honest = control.Ack(
                    "GW001", cloud.stores[0], 1, 1, (control.StreamAck(0, cloud.upto(1, 0)),)
                )
                async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
                    for forged in (
                        control.seal_ack(honest, GATEWAY_KEY),
                        cose.seal({"v": 1, "gw": "GW001"}, b"\xa0", CLOUD_KEY, control.ACK_AAD),
                        cose.seal({"v": 1, "gw": "GW001"}, b"", CLOUD_KEY, batch.AAD),
                        b"",
                        b"\xff" * 500,
                    ):
                        await client.publish(control.ack_topic("GW001"), forged, qos=1)
                await asyncio.sleep(0.3)
            await until(lambda: gone(cloud))
        return cloud

    cloud = play(scenario())

    assert cloud.states[-1].backlog_batches > 0


def test_live_values_are_sent_and_never_sealed(mosquitto, tmp_path):
    async def scenario():
        world, cloud = World(), Cloud(mosquitto.port, mosquitto.mqtt_version)
        async with meters_on(world, METERS) as one, running(cloud.run()):
            await cloud.up.wait()
            config = write_config(tmp_path, (one,), mosquitto, live_every_s=60, detail_every_s=0)
            async with agent_over(config, world, days=0.1) as replay:
                await replay.over()
                await until(lambda: len(cloud.rows()) >= 24 and latest(cloud).keys() == set(METERS))
        return cloud

    def latest(cloud):
        return {sample.meter_id: sample for live in cloud.live for sample in live.samples}

    cloud = play(scenario())

    samples = latest(cloud)
    assert samples["M1"].ticks["u_a"] == 23_010
    assert samples["M1"].ticks["p"] == 12_345
    assert all(power is None for _, _, power in cloud.rows().values())
