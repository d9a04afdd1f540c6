"""The ingest process against real brokers: mosquitto (MQTT 5, shared subscription) and amqtt (3.1.1)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import paho.mqtt.client as paho
import psycopg
import pytest
from ingest_world import CLOUD_KEY, NOON, NOON_MS, FakeGateway, build, reading

from cloud.config import BrokerConfig
from cloud.db import open_pool
from cloud.outside.gateways import Ingest, IngestSettings
from demo.broker import Broker
from edge_agent.wire import control, cose

PATIENCE_S = 20.0


class Running:
    """An ingest in a thread of its own, and a plain paho client that plays all gateways."""

    def __init__(self, dsn: str, broker: Broker, ingest_id: str = "ing-0", group: int = 100) -> None:
        self.dsn, self.broker = dsn, broker
        self.acks: dict[str, control.Ack] = {}
        self.said: list[control.Ack] = []
        config = BrokerConfig(broker.host, broker.port, broker.mqtt_version, None, None, None, "", "")
        settings = IngestSettings(ingest_id, group, timedelta(milliseconds=50), 1, 7)
        self.pool = open_pool(dsn, size_max=4, wait_s=1)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self.connected = threading.Event()

        async def main() -> None:
            ingest = Ingest(settings, config, self.pool, CLOUD_KEY, lambda: NOON)
            await ingest.run(self._stop)

        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(main()))
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="all-gateways")
        self.client.on_message = self._on_ack
        self.client.on_connect = lambda client, *_: client.subscribe("down/v1/+/ack", qos=1)
        self.client.reconnect_delay_set(0.2, 0.5)

    def __enter__(self) -> Running:
        self._thread.start()
        self.client.connect(self.broker.host, self.broker.port)
        self.client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self._loop.close()
        self.pool.close()

    def _on_ack(self, _client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        ack = control.ack_of(cose.open_sealed(message.payload, CLOUD_KEY.public_key(), control.ACK_AAD))
        self.said.append(ack)
        self.acks[ack.gateway_id] = ack

    def publish(self, topic: str, body: bytes, qos: int = 1, *, retain: bool = False) -> None:
        self.client.publish(topic, body, qos=qos, retain=retain)

    def upto(self, gateway_id: str, stream: int = 0) -> int:
        ack = self.acks.get(gateway_id)
        return max((s.upto for s in ack.streams if s.stream == stream), default=0) if ack else 0

    def rows(self, query: str) -> list[tuple]:
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(query).fetchall()


def eventually(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.05)


@pytest.fixture(params=["mosquitto", "amqtt"])
def broker(request: pytest.FixtureRequest) -> Broker:
    return request.getfixturevalue(request.param)


@pytest.fixture
def running(database: str, broker: Broker) -> Iterator[Running]:
    with Running(database, broker) as running:
        yield running


def offer(running: Running, gateway: FakeGateway, bodies: list[bytes], until: int) -> None:
    """Publish until the application's ack says so, as an agent does: whatever the broker loses is sent again."""

    def done() -> bool:
        if running.upto(gateway.gateway_id) >= until:
            return True
        for body in bodies[running.upto(gateway.gateway_id) :]:
            running.publish(control.batch_topic(gateway.gateway_id, 0), body)
        time.sleep(0.5)
        return False

    eventually(done, f"{gateway.gateway_id} acknowledged up to {until}")


def test_batches_are_acknowledged_after_they_are_committed(running: Running) -> None:
    gateways = build(running.dsn)
    for gateway in gateways.values():
        bodies = [gateway.seal([reading(gateway.meters[0], NOON_MS + n, n)]) for n in range(20)]
        offer(running, gateway, bodies, 20)
    assert running.rows("SELECT count(*), sum(c0) FROM reading") == [(40, 2 * sum(range(20)))]
    assert running.rows("SELECT sum(upto) FROM batch_cursor") == [(40,)]


def test_an_agent_that_comes_later_finds_its_ack_retained(running: Running) -> None:
    gateway = build(running.dsn)["GW1"]
    offer(running, gateway, [gateway.seal([reading("GW1M1", NOON_MS, 1)])], 1)
    late: list[control.Ack] = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="late")
    client.on_message = lambda _c, _u, m: late.append(
        control.ack_of(cose.open_sealed(m.payload, CLOUD_KEY.public_key(), control.ACK_AAD))
    )
    client.connect(running.broker.host, running.broker.port)
    client.subscribe("down/v1/GW1/ack", qos=1)
    client.loop_start()
    eventually(lambda: bool(late), "the retained ack")
    client.disconnect()
    client.loop_stop()
    assert late[0].streams[0].upto == 1


def test_hello_state_and_live_values_find_their_places(running: Running) -> None:
    gateway = build(running.dsn)["GW1"]

    def greeted() -> bool:
        running.publish(control.hello_topic("GW1"), gateway.hello())
        time.sleep(0.3)
        return "GW1" in running.acks

    eventually(greeted, "an answer to hello")
    assert running.acks["GW1"] == control.Ack("GW1", gateway.store_uuid, 1, 1, ())
    state = control.State("GW1", True, NOON_MS, 1, 7, 90, 120, "0.1.0", "ntp", 20, ())
    running.publish(control.state_topic("GW1"), control.encode_state(state))
    running.publish(control.state_topic("GW2"), control.encode_state(state))  # in another gateway's name
    running.publish("up/v1/GW1/nonsense", b"")
    samples = (
        control.LiveSample("GW1M1", NOON_MS, 0, {"p": 1_230_000, "u_a": 22_950}),
        control.LiveSample("GW2M1", NOON_MS, 0, {"p": 6}),  # not this gateway's meter
    )
    running.publish(control.live_topic("GW1"), control.encode_live(control.Live("GW1", samples)), qos=0)
    old = (control.LiveSample("GW1M1", NOON_MS - 5, 0, {"p": 5}),)
    running.publish(control.live_topic("GW1"), control.encode_live(control.Live("GW1", old)), qos=0)
    eventually(lambda: running.rows("SELECT count(*) FROM live_value") == [(1,)], "a live value")
    eventually(lambda: running.rows("SELECT count(*) FROM gateway_status") == [(1,)], "a status")
    assert running.rows("SELECT ticks FROM live_value") == [({"p": 1_230_000, "u_a": 22_950},)]
    assert running.rows(
        "SELECT gateway_id, online, seen_at, backlog_batches, oldest_unacked_s FROM gateway_status"
    ) == [("GW1", True, NOON, 7, 90)]
    eventually(
        lambda: running.rows("SELECT verdict FROM quarantine") == [("spoof",)], "the refused state kept"
    )


def test_poison_is_confirmed_to_the_broker_and_blocks_nobody(database: str, broker: Broker) -> None:
    gateways = build(database)
    with Running(database, broker, group=5) as running:  # the broker stops after ten that are not confirmed
        eventually(running.client.is_connected, "connected")
        time.sleep(0.5)  # subscribed
        for n in range(40):
            running.publish(control.batch_topic("GW1", 0), b"poison %d" % n)
        gateway = gateways["GW2"]
        offer(running, gateway, [gateway.seal([reading("GW2M1", NOON_MS + n, n)]) for n in range(30)], 30)
        eventually(
            lambda: running.rows("SELECT messages FROM intake_count WHERE verdict = 'malformed'") == [(40,)],
            "every poison counted exactly once",
        )


def test_the_ingest_outlives_its_broker(running: Running) -> None:
    gateway = build(running.dsn)["GW1"]
    bodies = [gateway.seal([reading("GW1M1", NOON_MS + n, n)]) for n in range(10)]
    offer(running, gateway, bodies[:5], 5)
    os.kill(running.broker.pid, signal.SIGKILL)  # its guard starts another one
    time.sleep(0.5)
    offer(running, gateway, bodies, 10)
    assert running.rows("SELECT count(*) FROM reading") == [(10,)]


def test_the_ingest_outlives_its_database_and_acknowledges_nothing_meanwhile(
    database: str, postgres_dsn: str, mosquitto: Broker
) -> None:
    gateways = build(database)
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with Running(database, mosquitto) as running, psycopg.connect(postgres_dsn, autocommit=True) as admin:
        gateway = gateways["GW1"]
        bodies = [gateway.seal([reading("GW1M1", NOON_MS + n, n)]) for n in range(10)]
        offer(running, gateway, bodies[:3], 3)
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        said = len(running.said)
        for body in bodies[3:]:
            running.publish(control.batch_topic("GW1", 0), body)
        time.sleep(1.5)
        assert len(running.said) == said
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        eventually(lambda: running.upto("GW1") == 10, "the messages in hand are stored by themselves")
        assert running.rows("SELECT count(*) FROM reading") == [(10,)]


def test_two_ingests_share_the_gateways(database: str, mosquitto: Broker) -> None:
    gateways = build(database, ("GW1", "GW2", "GW3"))
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(Running(database, mosquitto))
        stack.enter_context(_second(database, mosquitto))
        for gateway in gateways.values():
            bodies = [gateway.seal([reading(gateway.meters[0], NOON_MS + n, n)]) for n in range(40)]
            offer(running, gateway, bodies, 40)
        assert running.rows("SELECT count(*), sum(c0) FROM reading") == [(120, 3 * sum(range(40)))]


@contextlib.contextmanager
def _second(dsn: str, broker: Broker) -> Iterator[None]:
    second = Running(dsn, broker, "ing-1")
    second.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="idle")
    with second:
        yield
