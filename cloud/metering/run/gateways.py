"""Shell: what gateways say besides batches. Hello (signed, may open an epoch), state and live values (display only)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cloud import markettime
from cloud.db import Conn, Pool, ProcessRole, Scope, transaction
from cloud.metering import intake
from cloud.metering.intake import Arrived, Gateway, Greeting, Verdict
from cloud.metering.store import devices, ledger
from edge_agent.wire import control, cose

log = logging.getLogger(__name__)

INGEST = Scope(ProcessRole.INGEST, actor="job:ingest")
LIVE_AHEAD_MAX = timedelta(minutes=5)  # a sample from the future would hide the true ones until then


def greet(
    pool: Pool, message: Arrived, received_at: datetime, key: Ed25519PrivateKey, generation: int
) -> tuple[Verdict, bytes | None]:
    """Answer a hello with a signed ack for the speaker's store and epoch; None when nothing may be said.

    A new store gets its epoch here, under the gateway's lock. Raises Unavailable.
    """
    with transaction(pool, INGEST) as conn:
        devices.lock_gateways(conn, (message.gateway_id,))
        gateway = devices.load_gateways(conn, (message.gateway_id,)).get(message.gateway_id)
        verdict, hello, detail = _heard(message, gateway)
        if hello is None or gateway is None:
            _refuse(conn, message, verdict, detail, received_at)
            return verdict, None
        ack = _answer(conn, gateway, hello, received_at, generation)
    return verdict, None if ack is None else control.seal_ack(ack, key)


def _heard(message: Arrived, gateway: Gateway | None) -> tuple[Verdict, control.Hello | None, str]:
    if gateway is None:
        return Verdict.UNKNOWN_GATEWAY, None, "hello"
    if gateway.state in intake.CLOSED_STATES:
        return Verdict.CLOSED_GATEWAY, None, f"hello while {gateway.state}"
    try:
        envelope = cose.peek(message.body)
        if envelope.header.get("gw") != gateway.gateway_id:
            return Verdict.SPOOF, None, "hello in another gateway's name"
        if envelope.kid not in gateway.keys:
            return Verdict.UNKNOWN_KEY, None, f"hello by key {envelope.kid.hex()}"
        public_key = Ed25519PublicKey.from_public_bytes(gateway.keys[envelope.kid])
        cose.verify(envelope, public_key, control.HELLO_AAD)
        return Verdict.ACCEPTED, control.hello_of(envelope), ""
    except cose.Forged as problem:
        return Verdict.BAD_SIGNATURE, None, f"hello: {problem}"
    except cose.Malformed as problem:
        return Verdict.MALFORMED, None, f"hello: {problem}"


def _answer(
    conn: Conn, gateway: Gateway, hello: control.Hello, received_at: datetime, generation: int
) -> control.Ack | None:
    past = devices.load_stores(conn, gateway.gateway_id)
    greeting = intake.answer_to_hello(gateway, hello.store_uuid, past)
    facts: dict[str, object] = {"store_uuid": hello.store_uuid.hex(), "boot_id": hello.boot_id}
    if greeting is Greeting.REPLACED:
        log.warning("intake.hello.replaced_store gateway=%s", gateway.gateway_id)
        devices.move_gateways(conn, (gateway.gateway_id,), "suspect")
        _note(conn, gateway.gateway_id, received_at, "hello_of_replaced_store", facts)
        return None
    if greeting in (Greeting.FIRST, Greeting.SUCCESSOR):
        epoch = gateway.epoch + (greeting is Greeting.SUCCESSOR)
        devices.register_store(conn, gateway.gateway_id, hello.store_uuid, epoch, received_at)
        _note(conn, gateway.gateway_id, received_at, "epoch_granted", {**facts, "epoch": epoch})
        log.info("intake.epoch.granted gateway=%s epoch=%d", gateway.gateway_id, epoch)
        gateway = Gateway(gateway.gateway_id, gateway.state, epoch, hello.store_uuid, gateway.keys)
    devices.move_gateways(conn, (gateway.gateway_id,), "report")
    epochs = ((gateway.gateway_id, gateway.epoch),)
    rejected = ledger.load_rejected(conn, epochs, intake.REJECTED_TOLD_MAX)
    (ack,) = intake.acks_from((gateway,), ledger.load_streams(conn, epochs), rejected, generation)
    return ack


def _note(conn: Conn, gateway_id: str, at: datetime, deed: str, facts: Mapping[str, object]) -> None:
    devices.add_events(conn, (devices.GatewayEvent(gateway_id, at, deed, INGEST.actor, facts),))


def _refuse(conn: Conn, message: Arrived, verdict: Verdict, detail: str, received_at: datetime) -> None:
    sha256 = hashlib.sha256(message.body).digest()
    item = ledger.Quarantined(
        message.topic,
        message.gateway_id,
        verdict.value,
        detail.replace("\0", "\\0")[:300],
        sha256,
        message.body,
        None,
    )
    day = markettime.day_of(received_at)
    ledger.quarantine(conn, (item,), received_at, markettime.slot_start(day, 0))
    counted_as = intake.NOBODY if verdict is Verdict.UNKNOWN_GATEWAY else message.gateway_id
    ledger.count_verdicts(conn, day, {(counted_as, verdict.value): 1})


def note_stray(pool: Pool, topic: str, body: bytes, received_at: datetime) -> None:
    """Keep and count a message on a topic that is none of the protocol's. Raises Unavailable."""
    with transaction(pool, INGEST) as conn:
        _refuse(
            conn,
            Arrived(topic[:200], intake.NOBODY, body),
            Verdict.MALFORMED,
            "not a topic of EBP/1",
            received_at,
        )


def note_state(pool: Pool, message: Arrived, received_at: datetime, *, retained: bool) -> Verdict:
    """Keep a gateway's last state message for the fleet page. Raises Unavailable."""
    state, verdict, detail = _read_state(message)
    with transaction(pool, INGEST) as conn:
        if not devices.load_gateways(conn, (message.gateway_id,)):
            verdict, detail = Verdict.UNKNOWN_GATEWAY, "state"
        if state is None or verdict is not Verdict.ACCEPTED:
            _refuse(conn, message, verdict, detail, received_at)
        else:
            devices.save_status(conn, _status(state, received_at, retained))
    return verdict


def _read_state(message: Arrived) -> tuple[control.State | None, Verdict, str]:
    try:
        state = control.decode_state(message.body)
    except cose.Malformed as problem:
        return None, Verdict.MALFORMED, f"state: {problem}"
    if state.gateway_id != message.gateway_id:
        return None, Verdict.SPOOF, "state in another gateway's name"
    return state, Verdict.ACCEPTED, ""


def _status(state: control.State, received_at: datetime, retained: bool) -> devices.GatewayStatus:
    # A will and a retained copy were written at their own instant; only a live "online" says that it is there now.
    told_at = min(_instant(state.at_ms), received_at)
    return devices.GatewayStatus(
        gateway_id=state.gateway_id,
        seen_at=received_at if state.online and not retained else told_at,
        online=state.online,
        backlog_batches=state.backlog_batches,
        oldest_unacked_s=state.oldest_unacked_s,
        facts=asdict(state),
        retained=retained,
    )


def note_live(pool: Pool, messages: Sequence[Arrived], received_at: datetime) -> int:
    """Keep the newest live sample of each meter that is bound to its speaker; return how many were kept.

    What cannot be read or is nobody's is dropped: live values are for the eye, unsequenced and never billed.
    Raises Unavailable.
    """
    lives = [live for message in messages for live in _readable(message)]
    if not lives:
        return 0
    with transaction(pool, INGEST) as conn:
        bindings = devices.load_bindings(conn, {live.gateway_id for live in lives})
        gateways = devices.load_gateways(conn, {live.gateway_id for live in lives})
        newest: dict[int, tuple[datetime, Mapping[str, int]]] = {}
        for live in lives:
            gateway = gateways.get(live.gateway_id)
            if gateway is None or gateway.state in intake.CLOSED_STATES:
                continue
            for sample in live.samples:
                taken_at = _instant(sample.taken_at_ms)
                for meter_key in _bound(
                    bindings[live.gateway_id].get(sample.meter_id, ()), sample.taken_at_ms
                ):
                    if taken_at <= received_at + LIVE_AHEAD_MAX and (
                        meter_key not in newest or newest[meter_key][0] < taken_at
                    ):
                        newest[meter_key] = (taken_at, sample.ticks)
        return devices.save_live(conn, newest)


def _readable(message: Arrived) -> tuple[control.Live, ...]:
    try:
        live = control.decode_live(message.body)
    except cose.Malformed as problem:
        log.warning("intake.live.malformed gateway=%s problem=%s", message.gateway_id, problem)
        return ()
    return (live,) if live.gateway_id == message.gateway_id else ()


def _bound(bindings: Iterable[intake.Binding], at_ms: int) -> tuple[int, ...]:
    return tuple(binding.meter_key for binding in bindings if binding.start_ms <= at_ms < binding.end_ms)


def _instant(at_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
