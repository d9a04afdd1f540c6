"""The gateways over MQTT: sealed batches, hellos, states and live values in; acks out, after the commit.

The broker is never relied on: a message is confirmed to it (PUBACK) and acknowledged to its gateway only after the
transaction that stored it, and what the broker loses is sent again by the gateway. aiomqtt 2.5 confirms by itself
before anybody has seen a message; so manual confirmation is switched on in the paho client underneath, which is why
its version is pinned tightly (ADR 0004).

While the database is away, the group in hand is kept and tried again; the broker stops sending once its receive
maximum is unconfirmed. When the broker is away, the connection is built anew; the gateways repeat what was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import aiomqtt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud.config import BrokerConfig
from cloud.db import Pool
from cloud.errors import Unavailable
from cloud.metering.intake import Arrived
from cloud.metering.run import gateways as run_gateways
from cloud.metering.run.intake import Intake, Prepared
from edge_agent.wire import control
from edge_agent.wire.cose import Malformed

log = logging.getLogger(__name__)

SESSION_EXPIRY_S = 300
KEEPALIVE_S = 60
RETRY_FIRST_S = 0.5
RETRY_MOST_S = 30.0
ACKS_AT_ONCE_MAX = 32

Clock = Callable[[], datetime]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """What one ingest process is: its stable name and how it groups."""

    ingest_id: str
    group_messages_max: int
    group_wait: timedelta
    generation: int
    partition_days: int


@dataclass(frozen=True, slots=True)
class _Opened:
    """A group of messages after the first stage; `by_kind` says of each whether it was a retained copy."""

    messages: Sequence[aiomqtt.Message]
    prepared: Sequence[Prepared]
    by_kind: Mapping[str, Sequence[tuple[Arrived, bool]]]
    strays: Sequence[tuple[str, bytes]]


class Ingest:
    """One ingest process: a broker connection, and groups of messages into the database."""

    def __init__(
        self, settings: IngestSettings, broker: BrokerConfig, pool: Pool, key: Ed25519PrivateKey, clock: Clock
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._pool = pool
        self._key = key
        self._clock = clock
        self._intake = Intake(
            pool, key, generation=settings.generation, partition_days=settings.partition_days
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, through every loss of broker or database."""
        failures = 0
        while not stop.is_set():
            try:
                async with self._connected() as client:
                    log.info("ingest.connected id=%s", self._settings.ingest_id)
                    failures = 0
                    await self._serve(client, stop)
            except aiomqtt.MqttError as problem:
                failures += 1
                delay_s = self._delay_s(failures)
                log.warning("ingest.broker.lost retry_s=%.1f problem=%s", delay_s, problem)
                await _wait(stop, delay_s)

    def _delay_s(self, failures: int) -> float:
        """Back off, each worker at its own pace, so that they do not come back all at once."""
        spread = zlib.crc32(self._settings.ingest_id.encode()) % 1000 / 1000
        doubled_s = RETRY_FIRST_S * float(1 << min(failures, 10))
        return min(RETRY_MOST_S, doubled_s) * (0.5 + spread / 2)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiomqtt.Client]:
        client = _client(self._settings, self._broker)
        client._client.manual_ack_set(True)  # before connecting: a kept session delivers at once
        async with client:
            for topic in _subscriptions(self._broker.mqtt_version):
                await client.subscribe(topic, qos=1)
            yield client

    async def _serve(self, client: aiomqtt.Client, stop: asyncio.Event) -> None:
        """Read and store until the connection is lost (MqttError) or the process is asked to stop."""
        arrived: asyncio.Queue[aiomqtt.Message] = asyncio.Queue(2 * self._settings.group_messages_max)
        opened: asyncio.Queue[_Opened] = asyncio.Queue(1)
        tasks = [
            asyncio.create_task(_read(client, arrived), name="read"),
            asyncio.create_task(self._prepare(arrived, opened), name="prepare"),
            asyncio.create_task(self._work(client, opened), name="work"),
            asyncio.create_task(stop.wait(), name="stop"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _prepare(self, arrived: asyncio.Queue[aiomqtt.Message], opened: asyncio.Queue[_Opened]) -> None:
        """First stage: while one group is being stored, verify and decode the next."""
        while True:
            group = await _next_group(arrived, self._settings)
            await opened.put(await self._patiently(lambda group=group: self._open(group)))  # type: ignore[misc]  # bound

    async def _work(self, client: aiomqtt.Client, opened: asyncio.Queue[_Opened]) -> None:
        """Second stage: store, then acknowledge to the gateways, then confirm to the broker."""
        while True:
            group = await opened.get()
            acks = await self._patiently(partial(self._store, group))
            await _publish(client, acks)
            for message in group.messages:
                client._client.ack(message.mid, message.qos)

    async def _patiently(self, deed: Callable[[], T]) -> T:
        """Do it in a thread, and again for as long as the database is away. Every deed here is safe to repeat."""
        failures = 0
        while True:
            try:
                return await asyncio.to_thread(deed)
            except Unavailable as problem:
                failures += 1
                delay_s = self._delay_s(failures)
                log.warning("ingest.database.away retry_s=%.1f problem=%s", delay_s, problem)
                await asyncio.sleep(delay_s)

    def _open(self, group: Sequence[aiomqtt.Message]) -> _Opened:
        """Sort the messages by kind and open the sealed batches among them."""
        now = self._clock()
        by_kind: dict[str, list[tuple[Arrived, bool]]] = {"b": [], "hello": [], "state": [], "live": []}
        strays: list[tuple[str, bytes]] = []
        for message in group:
            topic, body = str(message.topic), _bytes(message.payload)
            try:
                said = control.up_topic(topic)
            except Malformed:
                strays.append((topic, body))
            else:
                by_kind[said.kind].append((Arrived(topic, said.gateway_id, body), message.retain))
        prepared = self._intake.prepare([one for one, _ in by_kind["b"]], now) if by_kind["b"] else []
        return _Opened(group, prepared, by_kind, strays)

    def _store(self, group: _Opened) -> dict[str, bytes]:
        """Hand each message to the shell of its kind; return signed acks by gateway."""
        now = self._clock()
        acks: dict[str, bytes] = {}
        for topic, body in group.strays:
            run_gateways.note_stray(self._pool, topic, body, now)
        for hello, _ in group.by_kind["hello"]:
            _, ack = run_gateways.greet(self._pool, hello, now, self._key, self._settings.generation)
            if ack is not None:
                acks[hello.gateway_id] = ack
        if group.prepared:
            acks |= self._intake.store(group.prepared, now).acks
        for state, retained in group.by_kind["state"]:
            run_gateways.note_state(self._pool, state, now, retained=retained)
        run_gateways.note_live(self._pool, [one for one, _ in group.by_kind["live"]], now)
        return acks


def _client(settings: IngestSettings, broker: BrokerConfig) -> aiomqtt.Client:
    is_v5 = broker.mqtt_version == 5
    properties = None
    if is_v5:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho is untyped there
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = 2 * settings.group_messages_max
    return aiomqtt.Client(
        broker.host,
        broker.port,
        identifier=settings.ingest_id,
        username=broker.username or None,
        password=broker.password or None,
        protocol=aiomqtt.ProtocolVersion.V5 if is_v5 else aiomqtt.ProtocolVersion.V311,
        clean_session=None if is_v5 else False,
        clean_start=False if is_v5 else MQTT_CLEAN_START_FIRST_ONLY,  # paho's "not given"
        properties=properties,
        keepalive=KEEPALIVE_S,
        tls_context=_tls_context(broker),
        max_queued_outgoing_messages=0,
        max_inflight_messages=ACKS_AT_ONCE_MAX,
    )


def _tls_context(broker: BrokerConfig) -> ssl.SSLContext | None:
    if broker.ca_file is None:
        return None
    context = ssl.create_default_context(cafile=str(broker.ca_file))
    if broker.certificate_file is not None:
        context.load_cert_chain(str(broker.certificate_file), str(broker.key_file or broker.certificate_file))
    return context


def _subscriptions(mqtt_version: int) -> tuple[str, ...]:
    """Shared among all ingest processes where the broker speaks MQTT 5; else there is one process."""
    kinds = ("b/#", "hello", "state", "live")
    if mqtt_version == 5:
        return tuple(f"$share/{'ing' if kind == 'b/#' else 'ops'}/up/v1/+/{kind}" for kind in kinds)
    return tuple(f"up/v1/+/{kind}" for kind in kinds)


async def _read(client: aiomqtt.Client, arrived: asyncio.Queue[aiomqtt.Message]) -> None:
    async for message in client.messages:
        await arrived.put(message)


async def _next_group(
    arrived: asyncio.Queue[aiomqtt.Message], settings: IngestSettings
) -> list[aiomqtt.Message]:
    """Take what is there, and wait a moment for more: few large transactions are cheaper than many small ones."""
    group = [await arrived.get()]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.group_wait.total_seconds()):
            while len(group) < settings.group_messages_max:
                group.append(await arrived.get())
    return group


async def _publish(client: aiomqtt.Client, acks: dict[str, bytes]) -> None:
    """Publish acks, retained: a gateway that comes back frees its space without sending again."""
    gate = asyncio.Semaphore(ACKS_AT_ONCE_MAX)

    async def publish(gateway_id: str, ack: bytes) -> None:
        async with gate:
            await client.publish(control.ack_topic(gateway_id), ack, qos=1, retain=True)

    await asyncio.gather(*(publish(gateway_id, ack) for gateway_id, ack in acks.items()))


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _bytes(payload: object) -> bytes:
    return bytes(payload) if isinstance(payload, (bytes, bytearray)) else str(payload or "").encode()
