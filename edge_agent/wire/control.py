"""EBP/1 control messages: topics, hello and state (up), ack (down), live values, and the loss record.

Hello and ack are COSE_Sign1 envelopes with a purpose of their own; state and live are plain CBOR, because they are
shown and never billed. All decoders raise Malformed and nothing else. Pure.

Epochs. Batches are known by (gateway, epoch, stream, seq), and the cloud alone issues epochs:

* An agent names its store (`store_uuid`) in every hello. It sends no batch before an ack that names the same
  store: a fresh store may be a first start or the successor of a lost one, and only the cloud knows.
* Cloud, on a hello with the registered store: ack with the current epoch. With no store registered: register it,
  same epoch. With another store: register it and grant epoch + 1. A store_uuid that was once replaced is never
  registered again, so a hello that arrives late changes nothing.
* Agent, on an ack that names its store: a higher epoch is adopted and what was not acked is sealed anew in it
  (readings are keyed by meter and instant, so what had arrived after all has no second effect). An `upto` that
  the store has never reached means that the store was put back to an older state: it takes a new store_uuid and
  says hello again. An ack of a lower epoch or generation is old news.
* `generation` grows when the cloud's database was restored: then a lower `upto` counts, and the agent offers
  again what it kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.wire import cose
from edge_agent.wire.batch import CHANNEL_COLUMN, QUALITY_MAX
from edge_agent.wire.cose import Malformed
from edge_agent.wire.event import Event
from edge_agent.wire.fields import (
    CLOCK_SOURCES,
    END_INSTANT_MS,
    EPOCH_MAX,
    FIRST_INSTANT_MS,
    GATEWAY_ID,
    INT64_MAX,
    INT64_MIN,
    METER_ID,
    SEQ_MAX,
    STREAM_BACKFILL,
    STREAMS,
    WORD,
    octets,
    text,
    whole,
)

ACK_AAD: Final = "ebp/1/ack"
HELLO_AAD: Final = "ebp/1/hello"
HAVE_MAX: Final = 16
REJECTED_MAX: Final = 64
METERS_MAX: Final = 1024
LOSS: Final = "loss"

_VERSION: Final = 1
_DEPTH_MAX: Final = 6
_INSTANT: Final = (FIRST_INSTANT_MS, END_INSTANT_MS - 1)


# ---- topics ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UpTopic:
    """What a gateway's topic says: whose it is, and kind b (with its stream), live, hello or state."""

    gateway_id: str
    kind: str
    stream: int | None


def batch_topic(gateway_id: str, stream: int) -> str:
    """Sealed batches; QoS 1."""
    return f"up/v1/{gateway_id}/b/{stream}"


def live_topic(gateway_id: str) -> str:
    """Latest values for the eye; QoS 0, never billed."""
    return f"up/v1/{gateway_id}/live"


def hello_topic(gateway_id: str) -> str:
    """Said on every connection; QoS 1."""
    return f"up/v1/{gateway_id}/hello"


def state_topic(gateway_id: str) -> str:
    """Health; QoS 1, retained, and the will."""
    return f"up/v1/{gateway_id}/state"


def ack_topic(gateway_id: str) -> str:
    """The cloud's cumulative ack; QoS 1, retained."""
    return f"down/v1/{gateway_id}/ack"


def up_topic(topic: str) -> UpTopic:
    """Read a topic a gateway published on. Raises Malformed."""
    parts = topic.split("/")
    if len(parts) < 4 or parts[:2] != ["up", "v1"] or not GATEWAY_ID.fullmatch(parts[2]):
        raise Malformed("not a gateway's topic")
    match parts[3:]:
        case ["b", stream] if stream in _STREAM_BY_NAME:
            return UpTopic(parts[2], "b", _STREAM_BY_NAME[stream])
        case ["live" | "hello" | "state" as kind]:
            return UpTopic(parts[2], kind, None)
        case _:
            raise Malformed("not a topic of EBP/1")


_STREAM_BY_NAME: Final = {str(stream): stream for stream in STREAMS}


# ---- hello -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamOffer:
    """One stream as the agent has it; `oldest_unacked` equals `next_seq` when nothing waits."""

    stream: int
    next_seq: int
    oldest_unacked: int


@dataclass(frozen=True, slots=True)
class Hello:
    """Who is speaking and from which store. `epoch` is the agent's last one, 0 when it has none yet."""

    gateway_id: str
    store_uuid: bytes
    epoch: int
    streams: tuple[StreamOffer, ...]
    generation: int
    boot_id: str
    sent_ms: int
    agent_version: str
    profile_bundle: str
    clock_source: str
    clock_error_ms: int


def seal_hello(hello: Hello, key: Ed25519PrivateKey) -> bytes:
    """Sign a hello with the gateway's key."""
    body = {
        "su": hello.store_uuid,
        "ep": hello.epoch,
        "st": [[s.stream, s.next_seq, s.oldest_unacked] for s in hello.streams],
        "gen": hello.generation,
        "bt": hello.boot_id,
        "ts": hello.sent_ms,
        "av": hello.agent_version,
        "pf": hello.profile_bundle,
        "ck": [hello.clock_source, hello.clock_error_ms],
    }
    return cose.seal({"v": _VERSION, "gw": hello.gateway_id}, cose.pack(body), key, HELLO_AAD)


def hello_of(envelope: cose.Envelope) -> Hello:
    """Read a hello from an envelope that was verified with HELLO_AAD. Raises Malformed."""
    gateway_id, body = _opened(envelope, {"su", "ep", "st", "gen", "bt", "ts", "av", "pf", "ck"})
    clock = _row(body["ck"], 2)
    if type(clock[0]) is not str or clock[0] not in CLOCK_SOURCES:
        raise Malformed("unknown clock source")
    return Hello(
        gateway_id=gateway_id,
        store_uuid=octets(body, "su", 16),
        epoch=whole(body, "ep", 0, EPOCH_MAX),
        streams=_distinct(tuple(_offer(row) for row in _rows(body["st"], len(STREAMS)))),
        generation=whole(body, "gen", 0, EPOCH_MAX),
        boot_id=text(body, "bt", WORD),
        sent_ms=whole(body, "ts", *_INSTANT),
        agent_version=text(body, "av", WORD),
        profile_bundle=text(body, "pf", WORD),
        clock_source=clock[0],
        clock_error_ms=whole({"ck": clock[1]}, "ck", 0, EPOCH_MAX),
    )


def _offer(row: Any) -> StreamOffer:
    named = dict(zip(("s", "next", "oldest"), _row(row, 3), strict=True))
    return StreamOffer(
        stream=whole(named, "s", 0, STREAM_BACKFILL),
        next_seq=whole(named, "next", 1, SEQ_MAX),
        oldest_unacked=whole(named, "oldest", 1, SEQ_MAX),
    )


# ---- ack -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rejected:
    """A batch kept in quarantine: it is consumed, must not be sent again, and a human will look at it."""

    seq: int
    code: str
    reference: str


@dataclass(frozen=True, slots=True)
class StreamAck:
    """What is committed of a stream: all up to `upto`, and the closed ranges `have` beyond it."""

    stream: int
    upto: int
    have: tuple[tuple[int, int], ...] = ()
    rejected: tuple[Rejected, ...] = ()
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Ack:
    """What the cloud has made durable for one gateway, store and epoch. Sent after the commit, never before."""

    gateway_id: str
    store_uuid: bytes
    generation: int
    epoch: int
    streams: tuple[StreamAck, ...]


def seal_ack(ack: Ack, key: Ed25519PrivateKey) -> bytes:
    """Sign an ack with the cloud's command key."""
    streams = [
        {
            "s": stream.stream,
            "upto": stream.upto,
            "have": [list(span) for span in stream.have],
            "rej": [[r.seq, r.code, r.reference] for r in stream.rejected],
            "hold": stream.hold,
        }
        for stream in ack.streams
    ]
    body = {"su": ack.store_uuid, "gen": ack.generation, "ep": ack.epoch, "st": streams}
    return cose.seal({"v": _VERSION, "gw": ack.gateway_id}, cose.pack(body), key, ACK_AAD)


def ack_of(envelope: cose.Envelope) -> Ack:
    """Read an ack from an envelope that was verified with ACK_AAD. Raises Malformed."""
    gateway_id, body = _opened(envelope, {"su", "gen", "ep", "st"})
    return Ack(
        gateway_id=gateway_id,
        store_uuid=octets(body, "su", 16),
        generation=whole(body, "gen", 0, EPOCH_MAX),
        epoch=whole(body, "ep", 1, EPOCH_MAX),
        streams=_distinct(tuple(_stream_ack(stream) for stream in _rows(body["st"], len(STREAMS)))),
    )


def _stream_ack(value: Any) -> StreamAck:
    if type(value) is not dict or value.keys() != {"s", "upto", "have", "rej", "hold"}:
        raise Malformed("a stream's ack must hold exactly s, upto, have, rej and hold")
    if type(value["hold"]) is not bool:
        raise Malformed("hold must be a boolean")
    return StreamAck(
        stream=whole(value, "s", 0, STREAM_BACKFILL),
        upto=whole(value, "upto", 0, SEQ_MAX),
        have=tuple(_span(row) for row in _rows(value["have"], HAVE_MAX)),
        rejected=tuple(_rejected(row) for row in _rows(value["rej"], REJECTED_MAX)),
        hold=value["hold"],
    )


def _span(row: Any) -> tuple[int, int]:
    named = dict(zip(("first", "last"), _row(row, 2), strict=True))
    first = whole(named, "first", 1, SEQ_MAX)
    return first, whole(named, "last", first, SEQ_MAX)


def _rejected(row: Any) -> Rejected:
    named = dict(zip(("sq", "code", "ref"), _row(row, 3), strict=True))
    return Rejected(whole(named, "sq", 1, SEQ_MAX), text(named, "code", WORD), text(named, "ref", WORD))


# ---- state -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MeterHealth:
    """How reading one meter goes since the agent started; `last_ok_ms` is 0 when it never answered."""

    meter_id: str
    last_ok_ms: int
    reads_ok: int
    reads_failed: int
    resting: bool


@dataclass(frozen=True, slots=True)
class State:
    """A gateway's health. The will is a State with `online` false and everything else as it was at connection."""

    gateway_id: str
    online: bool
    at_ms: int
    epoch: int
    backlog_batches: int
    oldest_unacked_s: int
    disk_permille: int
    agent_version: str
    clock_source: str
    clock_error_ms: int
    meters: tuple[MeterHealth, ...]


def encode_state(state: State) -> bytes:
    """Plain CBOR of a state."""
    return cose.pack(
        {
            "v": _VERSION,
            "gw": state.gateway_id,
            "on": state.online,
            "at": state.at_ms,
            "ep": state.epoch,
            "bk": state.backlog_batches,
            "age": state.oldest_unacked_s,
            "dk": state.disk_permille,
            "av": state.agent_version,
            "ck": [state.clock_source, state.clock_error_ms],
            "m": [[m.meter_id, m.last_ok_ms, m.reads_ok, m.reads_failed, m.resting] for m in state.meters],
        }
    )


def decode_state(encoded: bytes) -> State:
    """Read a state. Raises Malformed."""
    body = _plain(encoded, {"v", "gw", "on", "at", "ep", "bk", "age", "dk", "av", "ck", "m"})
    clock = _row(body["ck"], 2)
    if type(body["on"]) is not bool or type(clock[0]) is not str or clock[0] not in CLOCK_SOURCES:
        raise Malformed("on must be a boolean and ck name a known clock source")
    return State(
        gateway_id=text(body, "gw", GATEWAY_ID),
        online=body["on"],
        at_ms=whole(body, "at", *_INSTANT),
        epoch=whole(body, "ep", 0, EPOCH_MAX),
        backlog_batches=whole(body, "bk", 0, SEQ_MAX),
        oldest_unacked_s=whole(body, "age", 0, SEQ_MAX),
        disk_permille=whole(body, "dk", 0, EPOCH_MAX),
        agent_version=text(body, "av", WORD),
        clock_source=clock[0],
        clock_error_ms=whole({"ck": clock[1]}, "ck", 0, EPOCH_MAX),
        meters=tuple(_meter_health(row) for row in _rows(body["m"], METERS_MAX)),
    )


def _meter_health(row: Any) -> MeterHealth:
    named = dict(zip(("m", "last", "ok", "failed", "resting"), _row(row, 5), strict=True))
    if type(named["resting"]) is not bool:
        raise Malformed("resting must be a boolean")
    return MeterHealth(
        meter_id=text(named, "m", METER_ID),
        last_ok_ms=whole(named, "last", 0, END_INSTANT_MS - 1),
        reads_ok=whole(named, "ok", 0, SEQ_MAX),
        reads_failed=whole(named, "failed", 0, SEQ_MAX),
        resting=named["resting"],
    )


# ---- live ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LiveSample:
    """One meter's latest values, in canonical ticks by channel code."""

    meter_id: str
    taken_at_ms: int
    quality: int
    ticks: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Live:
    """Latest values of some meters of a gateway."""

    gateway_id: str
    samples: tuple[LiveSample, ...]


def encode_live(live: Live) -> bytes:
    """Plain CBOR of live values."""
    samples = [[s.meter_id, s.taken_at_ms, s.quality, dict(s.ticks)] for s in live.samples]
    return cose.pack({"v": _VERSION, "gw": live.gateway_id, "s": samples})


def decode_live(encoded: bytes) -> Live:
    """Read live values. Raises Malformed."""
    body = _plain(encoded, {"v", "gw", "s"})
    return Live(
        text(body, "gw", GATEWAY_ID), tuple(_live_sample(row) for row in _rows(body["s"], METERS_MAX))
    )


def _live_sample(row: Any) -> LiveSample:
    named = dict(zip(("m", "at", "q", "ticks"), _row(row, 4), strict=True))
    ticks = named["ticks"]
    if type(ticks) is not dict or not ticks.keys() <= CHANNEL_COLUMN.keys():
        raise Malformed("live ticks must be a map of known channel codes")
    return LiveSample(
        meter_id=text(named, "m", METER_ID),
        taken_at_ms=whole(named, "at", *_INSTANT),
        quality=whole(named, "q", 0, QUALITY_MAX),
        ticks={code: whole(ticks, code, INT64_MIN, INT64_MAX) for code in ticks},
    )


# ---- loss ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loss:
    """A range of sealed batches that the agent can no longer deliver; told to the cloud as an event."""

    epoch: int
    stream: int
    first_seq: int
    last_seq: int
    readings: int
    first_ms: int
    last_ms: int
    reason: str


def loss_event(loss: Loss, at_ms: int) -> Event:
    """The event that carries a loss in stream 1."""
    return Event(LOSS, at_ms, {key: getattr(loss, key) for key in _LOSS_LIMITS} | {"reason": loss.reason})


def loss_of(event: Event) -> Loss:
    """Read a loss back from its event. Raises Malformed."""
    if event.kind != LOSS or event.facts.keys() != {*_LOSS_LIMITS, "reason"}:
        raise Malformed("not a loss record")
    numbers = {key: whole(event.facts, key, *limits) for key, limits in _LOSS_LIMITS.items()}
    return Loss(**numbers, reason=text(event.facts, "reason", WORD))


_LOSS_LIMITS: Final = {
    "epoch": (1, EPOCH_MAX),
    "stream": (0, STREAM_BACKFILL),
    "first_seq": (1, SEQ_MAX),
    "last_seq": (1, SEQ_MAX),
    "readings": (0, SEQ_MAX),
    "first_ms": _INSTANT,
    "last_ms": _INSTANT,
}


# ---- shared checks ---------------------------------------------------------------------------------------


def _opened(envelope: cose.Envelope, keys: set[str]) -> tuple[str, dict[str, Any]]:
    if envelope.header.keys() != {"v", "gw"}:
        raise Malformed("the header must hold exactly v and gw")
    whole(envelope.header, "v", _VERSION, _VERSION)
    return text(envelope.header, "gw", GATEWAY_ID), _map(envelope.payload, keys)


def _plain(encoded: bytes, keys: set[str]) -> dict[str, Any]:
    if len(encoded) > cose.SEALED_BYTES_MAX:
        raise Malformed(f"message of {len(encoded)} bytes; at most {cose.SEALED_BYTES_MAX} are allowed")
    body = _map(encoded, keys)
    whole(body, "v", _VERSION, _VERSION)
    return body


def _map(encoded: bytes, keys: set[str]) -> dict[str, Any]:
    body = cose.unpack(encoded, depth_max=_DEPTH_MAX)
    if type(body) is not dict or body.keys() != keys:
        raise Malformed(f"the message must be a map of exactly {', '.join(sorted(keys))}")
    return body


_PerStream = TypeVar("_PerStream", StreamOffer, StreamAck)


def _distinct(streams: tuple[_PerStream, ...]) -> tuple[_PerStream, ...]:
    if len({stream.stream for stream in streams}) != len(streams):
        raise Malformed("a stream is named twice")
    return streams


def _rows(value: Any, most: int) -> list[Any]:
    if type(value) is not list or len(value) > most:
        raise Malformed(f"a list of at most {most} entries was expected")
    return value


def _row(value: Any, size: int) -> list[Any]:
    if type(value) is not list or len(value) != size:
        raise Malformed(f"a list of {size} entries was expected")
    return value
