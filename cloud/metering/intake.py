"""What the door says to a sealed batch, and the arithmetic of acknowledgement. Pure.

A message is opened with the registered key (`opened`), then judged against the ledger (`verdict_of`) under the
gateway's lock. Every message gets exactly one verdict; which of them store, acknowledge or quarantine is one table:

    verdict           stored as evidence   acknowledged   quarantined
    accepted          yes                  yes            only rows of unbound meters
    duplicate         is there already     yes            no
    rejected          yes                  yes (rej)      yes: its seq is consumed, so nobody is blocked
    equivocation      no                   no             yes: same place in the stream, other bytes
    foreign_store     no                   no             yes: not the store that holds this epoch; hello asks for a new one
    unknown_epoch     no                   no             yes: an epoch that was never granted
    bad_signature     no                   no             yes
    unknown_key       no                   no             yes
    spoof             no                   no             yes: topic and header name different gateways
    malformed         no                   no             yes: not even a header that could be answered
    unknown_gateway   no                   no             yes
    closed_gateway    no                   no             yes: revoked or suspended
    fault             no                   no             yes: our own bug; set aside so that it blocks nobody
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.wire import batch, control, cose, event, fields
from edge_agent.wire.batch import Header, Quality, Rows
from edge_agent.wire.event import Event

FUTURE_ALLOWED_MS = 5 * 60 * 1000
HAVE_RANGES_MAX = 16
REJECTED_TOLD_MAX = 16
WEEKS_PER_BATCH_MAX = 64  # more would let one mad clock make partitions without end
WEEK_MS = 7 * 86_400_000
NOBODY = "?"  # under which messages of gateways that do not exist are counted
CLOSED_STATES = frozenset({"suspended", "revoked"})


class Verdict(StrEnum):
    """The one thing that is said of a message; the table is at the top of this file."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    EQUIVOCATION = "equivocation"
    FOREIGN_STORE = "foreign_store"
    UNKNOWN_EPOCH = "unknown_epoch"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_KEY = "unknown_key"
    SPOOF = "spoof"
    MALFORMED = "malformed"
    UNKNOWN_GATEWAY = "unknown_gateway"
    CLOSED_GATEWAY = "closed_gateway"
    FAULT = "fault"


STORED = frozenset({Verdict.ACCEPTED, Verdict.REJECTED})
ACKNOWLEDGED = frozenset({Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.REJECTED})
QUARANTINED = frozenset(Verdict) - {Verdict.ACCEPTED, Verdict.DUPLICATE}


class Greeting(StrEnum):
    """What a hello's store is to the cloud."""

    KNOWN = "known"
    FIRST = "first"
    SUCCESSOR = "successor"
    REPLACED = "replaced"


class Position(NamedTuple):
    """Identity of a batch: its place in a stream."""

    gateway_id: str
    epoch: int
    stream: int
    seq: int


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the registry knows of a gateway now. `keys`: key id → raw Ed25519 public key, those in force."""

    gateway_id: str
    state: str
    epoch: int
    store_uuid: bytes | None
    keys: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message as the broker gave it. `gateway_id` is the one in the topic."""

    topic: str
    gateway_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A message after everything that can be said without the ledger.

    `trouble` is the verdict if nothing later overrides it; `position` is set as soon as the bytes name one.
    """

    arrived: Arrived
    sha256: bytes
    position: Position | None
    previous_sha256: bytes
    header: Header | None
    content: Rows | tuple[Event, ...] | None
    trouble: Verdict | None
    detail: str


class Peeked(NamedTuple):
    """A message parsed but not verified: everything in it is only a claim."""

    arrived: Arrived
    sha256: bytes
    envelope: cose.Envelope | None
    position: Position | None
    problem: str


class Binding(NamedTuple):
    """A meter's time at a gateway, `[start_ms, end_ms)`."""

    meter_key: int
    start_ms: int
    end_ms: int


class Segment(NamedTuple):
    """Rows `[start, end)` of a body that belong to one meter and one binding."""

    meter_key: int
    start: int
    end: int


class Link(NamedTuple):
    """A batch in its stream's hash chain: its own hash, and the one it names as its predecessor's."""

    sha256: bytes
    previous_sha256: bytes


class StreamState(NamedTuple):
    """What the ledger knows of a stream. `islands`: closed ranges of consumed seqs, most above `upto`."""

    upto: int
    islands: tuple[tuple[int, int], ...]
    has_rejected: bool = False


# ---- opening ---------------------------------------------------------------------------------------------


def peeked(arrived: Arrived) -> Peeked:
    """Look at whose batch this claims to be, without believing it. Enough to look up keys and ledger."""
    sha256 = hashlib.sha256(arrived.body).digest()
    try:
        envelope = cose.peek(arrived.body)
    except cose.Malformed as problem:
        return Peeked(arrived, sha256, None, None, str(problem))
    return Peeked(arrived, sha256, envelope, _position(envelope), "")


def opened(looked: Peeked, gateway: Gateway | None, ledger: Mapping[Position, Link]) -> Opened:
    """Verify and decode a message as far as its gateway's keys allow.

    Bytes that the ledger already holds at this position are a duplicate without verifying them again.
    """
    arrived, envelope, position = looked.arrived, looked.envelope, looked.position

    def troubled(verdict: Verdict, detail: str, place: Position | None = None) -> Opened:
        return Opened(arrived, looked.sha256, place, batch.NO_PREVIOUS, None, None, verdict, detail)

    if gateway is None:
        return troubled(Verdict.UNKNOWN_GATEWAY, f"no gateway {arrived.gateway_id} is registered")
    if gateway.state in CLOSED_STATES:
        return troubled(Verdict.CLOSED_GATEWAY, f"the gateway is {gateway.state}")
    if envelope is None:
        return troubled(Verdict.MALFORMED, looked.problem)
    claimed = envelope.header.get("gw")
    if claimed != gateway.gateway_id:
        return troubled(Verdict.SPOOF, f"the header names {str(claimed)[:64]!r}")
    if envelope.kid not in gateway.keys:
        return troubled(Verdict.UNKNOWN_KEY, f"key id {envelope.kid.hex()} is not registered or not in force")
    known = None if position is None else ledger.get(position)
    if known is not None and known.sha256 == looked.sha256:
        return troubled(Verdict.DUPLICATE, "", position)
    try:
        cose.verify(envelope, Ed25519PublicKey.from_public_bytes(gateway.keys[envelope.kid]), batch.AAD)
    except cose.Forged as problem:
        return troubled(Verdict.BAD_SIGNATURE, str(problem))
    return _decoded(arrived, looked.sha256, envelope, position)


def _decoded(arrived: Arrived, sha256: bytes, envelope: cose.Envelope, position: Position | None) -> Opened:
    """Read header and body of a message that its gateway has signed."""
    header: Header | None = None
    content: Rows | tuple[Event, ...] | None = None
    trouble: Verdict | None = None
    detail = ""
    try:
        header = batch.header_of(envelope)
        if header.schema == batch.SCHEMA_EVENTS:
            content = event.decode_events(envelope.payload, header)
        else:
            content = batch.decode_body(envelope.payload, header)
            _refuse_scattered(content)
    except cose.Malformed as problem:
        # Signed, so it is the gateway's own: where it names its place, the place is consumed and the queue goes on.
        trouble = Verdict.MALFORMED if position is None else Verdict.REJECTED
        content, detail = None, str(problem)
    previous = header.previous_sha256 if header else batch.NO_PREVIOUS
    return Opened(arrived, sha256, position, previous, header, content, trouble, detail)


def _refuse_scattered(rows: Rows) -> None:
    if max(rows.taken_at_ms) - min(rows.taken_at_ms) < WEEKS_PER_BATCH_MAX * WEEK_MS:
        return
    weeks = len({taken_at_ms // WEEK_MS for taken_at_ms in rows.taken_at_ms})
    if weeks > WEEKS_PER_BATCH_MAX:
        raise cose.Malformed(
            f"rows of {weeks} different weeks in one batch; at most {WEEKS_PER_BATCH_MAX} are allowed"
        )


def _position(envelope: cose.Envelope) -> Position | None:
    """The place a header claims, even when the rest of the header is nonsense."""
    h = envelope.header
    gateway_id, epoch, stream, seq = h.get("gw"), h.get("ep"), h.get("st"), h.get("sq")
    if (
        type(gateway_id) is not str
        or type(epoch) is not int
        or type(stream) is not int
        or type(seq) is not int
    ):
        return None
    if not (1 <= epoch <= fields.EPOCH_MAX and 0 <= stream <= 2 and 1 <= seq <= fields.SEQ_MAX):
        return None
    return Position(gateway_id, epoch, stream, seq)


# ---- judging ---------------------------------------------------------------------------------------------


def verdict_of(message: Opened, gateway: Gateway | None, known_sha256: bytes | None) -> Verdict:
    """Say the final verdict, under the gateway's lock. `known_sha256`: what the ledger holds at the position."""
    if gateway is None:
        return Verdict.UNKNOWN_GATEWAY
    if gateway.state in CLOSED_STATES:
        return Verdict.CLOSED_GATEWAY
    if message.trouble not in (None, Verdict.REJECTED):
        return message.trouble
    if known_sha256 is not None:
        return Verdict.DUPLICATE if known_sha256 == message.sha256 else Verdict.EQUIVOCATION
    position = message.position
    if position is None:
        return Verdict.MALFORMED
    if position.epoch > gateway.epoch:
        return Verdict.UNKNOWN_EPOCH
    if (
        message.header is not None
        and position.epoch == gateway.epoch
        and gateway.store_uuid is not None
        and gateway.store_uuid != message.header.store_uuid
    ):
        return Verdict.FOREIGN_STORE
    return message.trouble or Verdict.ACCEPTED


def answer_to_hello(gateway: Gateway, store_uuid: bytes, past_stores: Collection[bytes]) -> Greeting:
    """Say what a hello from this store means. Epochs are granted here and nowhere else; none is granted twice.

    Another store than the registered one is the successor of a lost store, so its seqs begin a new epoch. A store
    that was once replaced is a late hello or a restored image: it is never registered again.
    """
    if gateway.store_uuid == store_uuid:
        return Greeting.KNOWN
    if store_uuid in past_stores:
        return Greeting.REPLACED
    return Greeting.FIRST if gateway.store_uuid is None else Greeting.SUCCESSOR


def neighbours(position: Position) -> tuple[Position, Position]:
    """The places before and after a batch in its stream."""
    return position._replace(seq=position.seq - 1), position._replace(seq=position.seq + 1)


def broken_links(stored: Collection[Position], ledger: Mapping[Position, Link]) -> tuple[Position, ...]:
    """Name batches whose claimed predecessor is not the one in the ledger, among `stored` and their successors.

    `ledger` holds the stored batches and those of their neighbours that have arrived; what has not cannot be judged.
    """
    ends = {position for place in stored for position in (place, neighbours(place)[1])}
    first = Link(batch.NO_PREVIOUS, batch.NO_PREVIOUS)
    return tuple(
        sorted(
            after
            for after in ends & ledger.keys()
            for before in (first if after.seq == 1 else ledger.get(neighbours(after)[0]),)
            if before is not None and ledger[after].previous_sha256 != before.sha256
        )
    )


# ---- rows ------------------------------------------------------------------------------------------------


def clock_marked(rows: Rows, header: Header, received_ms: int) -> list[int]:
    """Quality bits of the rows, with CLOCK on those whose instant cannot be trusted: kept, but not billed."""
    if header.clock_source == "none":
        return [quality | Quality.CLOCK for quality in rows.quality]
    latest_ms = received_ms + FUTURE_ALLOWED_MS
    if header.last_ms <= latest_ms:
        return rows.quality
    return [
        quality | Quality.CLOCK if taken_at_ms > latest_ms else quality
        for quality, taken_at_ms in zip(rows.quality, rows.taken_at_ms, strict=True)
    ]


def segments_of(
    rows: Rows, bindings: Mapping[str, Sequence[Binding]]
) -> tuple[tuple[Segment, ...], tuple[int, ...]]:
    """Split rows by meter and binding: segments of bound rows, and the indices of rows bound to nobody here.

    `bindings`: of this gateway, by meter id. Every row is in exactly one segment or among the unbound.
    """
    bound: list[Segment] = []
    unbound: list[int] = []
    starts = [bisect_left(rows.meter_index, meter) for meter in range(len(rows.meters) + 1)]
    for meter_id, (start, end) in zip(rows.meters, pairwise(starts), strict=True):
        at = start
        for binding in sorted(bindings.get(meter_id, ()), key=lambda one: one.start_ms):
            first = bisect_left(rows.taken_at_ms, binding.start_ms, at, end)
            last = bisect_left(rows.taken_at_ms, binding.end_ms, first, end)
            unbound.extend(range(at, first))
            if last > first:
                bound.append(Segment(binding.meter_key, first, last))
            at = last
        unbound.extend(range(at, end))
    return tuple(bound), tuple(unbound)


# ---- acknowledging ---------------------------------------------------------------------------------------


def contiguous(state: StreamState) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Advance `upto` over the ranges that touch it; return it and the first ranges that lie beyond a gap.

    Ranges may come in any order, touch or overlap (a loss record may name seqs that arrived after all).
    """
    upto = state.upto
    beyond: list[tuple[int, int]] = []
    for first, last in sorted(state.islands):
        if first <= upto + 1 and not beyond:
            upto = max(upto, last)
        elif beyond and first <= beyond[-1][1] + 1:
            beyond[-1] = (beyond[-1][0], max(beyond[-1][1], last))
        else:
            beyond.append((first, last))
    return upto, tuple(beyond[:HAVE_RANGES_MAX])


def acks_from(
    gateways: Sequence[Gateway],
    states: Mapping[tuple[str, int, int], StreamState],
    rejected: Mapping[tuple[str, int, int], Sequence[tuple[int, int]]],
    generation: int,
) -> tuple[control.Ack, ...]:
    """Say for each gateway, store and current epoch what is committed of its streams.

    Keys are (gateway, epoch, stream); `rejected` gives (seq, batch id) of batches that were consumed unread. A gateway
    without a registered store has nothing to be told.
    """
    return tuple(
        control.Ack(
            gateway.gateway_id,
            gateway.store_uuid,
            generation,
            gateway.epoch,
            tuple(
                control.StreamAck(key[2], *contiguous(states[key]), _told(rejected.get(key, ())))
                for key in sorted(states)
                if key[:2] == (gateway.gateway_id, gateway.epoch)
            ),
        )
        for gateway in gateways
        if gateway.store_uuid is not None
    )


def _told(rejected: Iterable[tuple[int, int]]) -> tuple[control.Rejected, ...]:
    return tuple(control.Rejected(seq, "schema", f"B-{batch_id}") for seq, batch_id in rejected)
