"""Shell: the uplink. One MQTT session after the other; whatever the broker forgets is sent again from the outbox.

A PUBACK says that a broker has a message in its memory; a committed batch is what the cloud's signed cumulative ack
says, and only that moves anything in the outbox. Clients are never reused: after any loss a new one is built, so no
state of the library survives a connection. Jitter comes from here and from nowhere else in the agent.
"""

from __future__ import annotations

import asyncio
import logging
import random  # noqa: TID251  # jitter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar, Final

import aiomqtt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.clock import Clock
from edge_agent.config import BrokerConfig, Keys
from edge_agent.health import Health, LiveBoard, StateSource
from edge_agent.outbox import AckEffect, Outbox, OutboxRefused, OutboxThread
from edge_agent.wire import control, cose
from edge_agent.wire.fields import STREAM_BACKFILL, STREAM_BILLING, STREAM_EVENTS

log = logging.getLogger(__name__)

WINDOW_BATCHES: Final = 32
DOUBLINGS_MAX: Final = 16
LASTING_S: Final = 30.0  # a session that lived this long forgives the failures before it
KEEPALIVE_S: Final = 60
GOODBYE_S: Final = 2.0
STATE_EVERY_S: Final = 60.0
LIVE_EVERY_S: Final = 1.0
LIVE_EXPIRY_S: Final = 60
LIVE_SAMPLES_MAX: Final = 100
_SENDING_ORDER: Final = (STREAM_EVENTS, STREAM_BILLING, STREAM_BACKFILL)
_PROTOCOLS: Final = {3: aiomqtt.ProtocolVersion.V311, 5: aiomqtt.ProtocolVersion.V5}


class SessionLost(Exception):
    """The connection to the broker ended; the text says how."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the uplink waits before it tries again: each time twice as long as before, up to the longest."""

    again_first_s: float = 5.0  # a batch or a hello that nobody has acked
    again_most_s: float = 300.0
    reconnect_first_s: float = 1.0
    reconnect_most_s: float = 300.0
    answer_s: float = 15.0  # for the broker's answer to anything

    def again_s(self, times: int) -> float:
        """After something was sent for the `times`-th time: never before the ack may have come, hence little jitter."""
        return _doubled_s(self.again_first_s, times, self.again_most_s) * random.uniform(1.0, 1.25)

    def reconnect_s(self, failures: int) -> float:
        """Full jitter, so that gateways do not return all at once."""
        return random.uniform(0.0, _doubled_s(self.reconnect_first_s, failures, self.reconnect_most_s))


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks on this link."""

    gateway_id: str
    boot_id: str
    agent_version: str
    profile_bundle: str


@dataclass(slots=True)
class _Flight:
    """A batch that was sent and is not acked: how often, and when to try again (loop time)."""

    times: int
    again_at_s: float


@dataclass(frozen=True, slots=True)
class Cargo:
    """What the link carries and reports. `wake` is set by whoever has sealed something."""

    outbox: Outbox
    thread: OutboxThread
    wake: asyncio.Event
    clock: Clock
    health: Health
    board: LiveBoard
    source: StateSource


class Link:
    """The uplink of one agent."""

    pace: ClassVar[Pace] = Pace()

    def __init__(self, speaker: Speaker, broker: BrokerConfig, keys: Keys, cargo: Cargo) -> None:
        self._speaker = speaker
        self._broker = broker
        self._key: Ed25519PrivateKey = keys.signing
        self._cloud_key: Ed25519PublicKey = keys.cloud
        self._tls = keys.tls
        self._outbox, self._thread, self._wake = cargo.outbox, cargo.thread, cargo.wake
        self._clock, self._health = cargo.clock, cargo.health
        self._board, self._source = cargo.board, cargo.source
        # Set once the cloud has named our store since we started: this is no copy that was put back.
        self._heard = asyncio.Event()
        self._greet = asyncio.Event()
        self._held: frozenset[int] = frozenset()
        self._have: dict[int, tuple[tuple[int, int], ...]] = {}
        self._flights: dict[tuple[int, int], _Flight] = {}

    async def run(self) -> None:
        """Keep a session going until cancelled."""
        failures = 0
        while True:
            began_s = _now_s()
            try:
                async with self._connected() as client:
                    await self._session(client)
            except (aiomqtt.MqttError, OSError, SessionLost) as error:
                _end_if_cancelled()  # TaskGroup prefers a failure to a cancellation in the same instant
                failures = 1 if _now_s() - began_s > LASTING_S else failures + 1
                pause_s = self.pace.reconnect_s(failures)
                log.warning("link.lost failures=%d next_try_s=%.1f reason=%s", failures, pause_s, error)
                await asyncio.sleep(pause_s)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiomqtt.Client]:
        gateway_id = self._speaker.gateway_id
        offline = await self._thread.do(self._source.state, online=False)
        will = aiomqtt.Will(
            control.state_topic(gateway_id), control.encode_state(offline), qos=1, retain=True
        )
        client = aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            identifier=gateway_id,
            protocol=_PROTOCOLS[self._broker.mqtt_version],
            will=will,
            tls_context=self._tls,
            keepalive=KEEPALIVE_S,
            timeout=self.pace.answer_s,
            clean_start=True if self._broker.mqtt_version == 5 else MQTT_CLEAN_START_FIRST_ONLY,
            clean_session=None if self._broker.mqtt_version == 5 else True,
        )
        async with client:
            log.info("link.connected host=%s port=%d", self._broker.host, self._broker.port)
            self._health.connected = True
            try:
                yield client
            finally:
                self._health.connected = False

    async def _session(self, client: aiomqtt.Client) -> None:
        """Talk until the connection ends. Raises SessionLost."""
        self._flights.clear()
        self._have, self._held = {}, frozenset()
        _end_if_cancelled()
        await client.subscribe(control.ack_topic(self._speaker.gateway_id), qos=1)
        _end_if_cancelled()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._say_hello(client))
                tasks.create_task(self._send(client))
                tasks.create_task(self._say_state(client))
                tasks.create_task(self._say_live(client))
                # Here and not as a task of its own: when a task fails after the body has ended, TaskGroup leaves its
                # own cancellation counted, and the next session would take that for being told to end.
                await self._receive(client)
        except BaseExceptionGroup as failures:
            ends, faults = failures.split((aiomqtt.MqttError, OutboxRefused))
            if faults is not None or ends is None:
                raise
            raise SessionLost(str(ends.exceptions[0])) from failures
        except asyncio.CancelledError:
            await self._say_goodbye(client)
            raise

    # ---- acks in -------------------------------------------------------------------------------------

    async def _receive(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            await self._hear(
                bytes(message.payload) if isinstance(message.payload, bytes | bytearray) else b""
            )

    async def _hear(self, payload: bytes) -> None:
        try:
            ack = control.ack_of(cose.open_sealed(payload, self._cloud_key, control.ACK_AAD))
        except (cose.Forged, cose.Malformed) as error:
            self._health.acks["refused"] += 1
            log.warning("link.ack.refused reason=%s", error)
            return
        effect = await self._thread.do(self._outbox.apply, ack, self._clock.now_ms())
        self._health.acks[effect.value] += 1
        if effect is AckEffect.APPLIED:
            self._held = frozenset(stream.stream for stream in ack.streams if stream.hold)
            self._have = {stream.stream: stream.have for stream in ack.streams}
            self._heard.set()
            self._wake.set()
        elif effect is AckEffect.FORKED:
            log.warning("link.store.put_back gateway=%s", self._speaker.gateway_id)
            self._heard.clear()
            self._greet.set()

    # ---- batches out ---------------------------------------------------------------------------------

    async def _send(self, client: aiomqtt.Client) -> None:
        while True:
            await self._heard.wait()
            self._wake.clear()
            for stream in _SENDING_ORDER:
                if stream not in self._held:
                    await self._send_stream(client, stream)
            latest_s = _now_s() + self.pace.again_most_s
            due_s = min(
                (flight.again_at_s for key, flight in self._flights.items() if key[0] not in self._held),
                default=latest_s,
            )
            await _set_within(self._wake, max(0.0, due_s - _now_s()))

    async def _send_stream(self, client: aiomqtt.Client, stream: int) -> None:
        waiting = await self._thread.do(
            self._outbox.unacked, stream, WINDOW_BATCHES, newest_first=stream == STREAM_EVENTS
        )
        for key in [key for key in self._flights if key[0] == stream]:
            if key[1] not in waiting or self._arrived(*key):
                del self._flights[key]
        for seq in waiting:
            flight = self._flights.get((stream, seq))
            if (flight is None or flight.again_at_s <= _now_s()) and not self._arrived(stream, seq):
                await self._send_batch(client, stream, seq, flight)

    async def _send_batch(
        self, client: aiomqtt.Client, stream: int, seq: int, flight: _Flight | None
    ) -> None:
        """Publish one batch, unless it was acked a moment ago or is damaged; the outbox looks once more."""
        body = await self._thread.do(self._outbox.body_to_send, stream, seq, self._clock.now_ms())
        if body is None:
            self._flights.pop((stream, seq), None)
            return
        times = flight.times + 1 if flight else 1
        self._flights[stream, seq] = _Flight(times, _now_s() + self.pace.again_s(times))
        await _publish(client, control.batch_topic(self._speaker.gateway_id, stream), body)
        await self.published(stream, seq)

    async def published(self, stream: int, seq: int) -> None:
        """The broker has confirmed a batch. That is not durability, so nothing follows from it."""

    def _arrived(self, stream: int, seq: int) -> bool:
        return any(first <= seq <= last for first, last in self._have.get(stream, ()))

    # ---- what else is said ---------------------------------------------------------------------------

    async def _say_hello(self, client: aiomqtt.Client) -> None:
        """On every connection, again while nobody answers, and when the store has a new name."""
        times = 0
        while True:
            self._greet.clear()
            sealed = await self._thread.do(self._hello)
            await _publish(client, control.hello_topic(self._speaker.gateway_id), sealed)
            times += 1
            if await _set_within(self._heard, self.pace.again_s(times)):
                times = 0
                await self._greet.wait()

    def _hello(self) -> bytes:
        state = self._clock.state()
        hello = control.Hello(
            gateway_id=self._speaker.gateway_id,
            store_uuid=self._outbox.store_uuid,
            epoch=self._outbox.epoch,
            streams=self._outbox.offers(),
            generation=self._outbox.generation,
            boot_id=self._speaker.boot_id,
            sent_ms=self._clock.now_ms(),
            agent_version=self._speaker.agent_version,
            profile_bundle=self._speaker.profile_bundle,
            clock_source=state.source,
            clock_error_ms=state.error_ms,
        )
        return control.seal_hello(hello, self._key)

    async def _say_state(self, client: aiomqtt.Client) -> None:
        while True:
            await self._publish_state(client, online=True)
            _end_if_cancelled()
            await asyncio.sleep(STATE_EVERY_S)

    async def _publish_state(self, client: aiomqtt.Client, *, online: bool) -> None:
        state = await self._thread.do(self._source.state, online=online)
        topic = control.state_topic(self._speaker.gateway_id)
        await client.publish(topic, control.encode_state(state), qos=1, retain=True)

    async def _say_goodbye(self, client: aiomqtt.Client) -> None:
        """A clean end: the will is not sent then, so we say ourselves that we are gone."""
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._publish_state(client, online=False)
        except (aiomqtt.MqttError, TimeoutError) as error:
            log.info("link.goodbye.failed reason=%s", error)

    async def _say_live(self, client: aiomqtt.Client) -> None:
        properties = None
        if self._broker.mqtt_version == 5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no types here
            properties.MessageExpiryInterval = LIVE_EXPIRY_S
        topic = control.live_topic(self._speaker.gateway_id)
        while True:
            fresh = self._board.take()
            for start in range(0, len(fresh), LIVE_SAMPLES_MAX):
                live = control.Live(self._speaker.gateway_id, fresh[start : start + LIVE_SAMPLES_MAX])
                await client.publish(topic, control.encode_live(live), qos=0, properties=properties)
                _end_if_cancelled()
            await asyncio.sleep(LIVE_EVERY_S)


async def _publish(client: aiomqtt.Client, topic: str, body: bytes) -> None:
    """Publish with QoS 1 and wait for the PUBACK."""
    await client.publish(topic, body, qos=1)
    _end_if_cancelled()


def _end_if_cancelled() -> None:
    """aiomqtt waits with asyncio.wait_for, which before Python 3.12 drops a cancellation that comes with the answer.

    A loop that goes on after that would never end, and neither would the agent.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _set_within(event: asyncio.Event, seconds_s: float) -> bool:
    """Wait for the event, but no longer than this; says whether it came."""
    try:
        async with asyncio.timeout(seconds_s):
            return await event.wait()
    except TimeoutError:
        return False


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _doubled_s(first_s: float, times: int, most_s: float) -> float:
    """The first wait, doubled with each time but the first. The exponent is bounded: days without an ack are no error."""
    return min(most_s, first_s * (1 << min(times - 1, DOUBLINGS_MAX)))
