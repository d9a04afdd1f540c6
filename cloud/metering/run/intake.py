"""Shell: a group of sealed batches → verdicts → one transaction → acks to publish.

Opening (signatures, decompression, packing of rows) happens before the transaction that stores, so the gateways'
locks are held only for the inserts. What the caller publishes or confirms to the broker, it does after `take`
returned, hence after the commit. One bad message never spoils the others of its group: every refusal is a verdict,
and should our own code fail over a message, the group is taken again one by one and that message set aside.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud import markettime
from cloud.db import Conn, Pool, ProcessRole, Scope, transaction
from cloud.errors import Unavailable
from cloud.lives import deeds
from cloud.metering import intake
from cloud.metering.device import GATEWAY
from cloud.metering.intake import Arrived, Binding, Gateway, Link, Opened, Position, Segment, Verdict
from cloud.metering.store import devices, ledger, partitions, readings
from edge_agent.wire import control
from edge_agent.wire.batch import Rows
from edge_agent.wire.cose import Malformed
from edge_agent.wire.event import Event

log = logging.getLogger(__name__)

INGEST = Scope(ProcessRole.INGEST, actor="job:ingest")
BINDINGS_FRESH = timedelta(seconds=30)  # a moved meter is noticed at once all the same: a miss loads again
DETAIL_CHARACTERS_MAX = 300

_DAY_MS = 86_400_000
_MARKET_OFFSET_MS = int(markettime.MARKET_ZONE.utcoffset(None).total_seconds()) * 1000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a group: one verdict per message in the order given, and signed acks by gateway."""

    verdicts: tuple[Verdict, ...]
    acks: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Prepared:
    """An opened message with everything that is stored if the ledger agrees."""

    message: Opened
    batch_id: int
    packed: bytes
    unbound: tuple[readings.UnboundRow, ...]
    stale: frozenset[tuple[int, date]]


AddRows = Callable[[Conn, Sequence[bytes], datetime], None]


@dataclass(frozen=True, slots=True)
class _Judged:
    prepared: Prepared
    verdict: Verdict


class Intake:
    """Takes groups of sealed batches in two stages that may run in two threads: `prepare` the next group while `store`
    waits for the database. Keeps between groups only what can be loaded again."""

    def __init__(self, pool: Pool, key: Ed25519PrivateKey, *, generation: int, partition_days: int) -> None:
        self._pool = pool
        self._key = key
        self._generation = generation
        self._partition_days = partition_days
        self._bindings: dict[str, tuple[datetime, dict[str, tuple[Binding, ...]]]] = {}  # of `prepare`
        self._partitions: tuple[tuple[int, int], ...] | None = None  # of `store`; None: not asked yet

    def take(self, arrived: Sequence[Arrived], received_at: datetime) -> Taken:
        """Store a group and return what to acknowledge, both stages one after the other.

        Raises Unavailable when the database does not answer: then nothing may be confirmed.
        """
        return self.store(self.prepare(arrived, received_at), received_at)

    # ---- first stage -------------------------------------------------------------------------------------

    def prepare(self, arrived: Sequence[Arrived], received_at: datetime) -> list[Prepared]:
        """Open a group: verify, decode, and pack the rows that will be stored if the ledger agrees.

        A message over which our own code fails is set aside as a fault. Raises Unavailable.
        """
        try:
            return self._prepare_group(arrived, received_at)
        except Unavailable:
            raise
        except Exception as bug:
            log.exception("intake.group.unopened messages=%d", len(arrived))
            if len(arrived) == 1:
                return [_faulty(arrived[0], bug)]
        return [one for message in arrived for one in self.prepare((message,), received_at)]

    def _prepare_group(self, arrived: Sequence[Arrived], received_at: datetime) -> list[Prepared]:
        looked = [intake.peeked(one) for one in arrived]
        with transaction(self._pool, INGEST) as conn:
            gateways = devices.load_gateways(conn, {message.gateway_id for message in arrived})
            places = {one.position for one in looked if one.position and one.position.gateway_id in gateways}
            known = ledger.load_ledger(conn, places)
            messages = [intake.opened(one, gateways.get(one.arrived.gateway_id), known) for one in looked]
            self._refresh_bindings(
                conn, {m.arrived.gateway_id for m in messages if m.content is not None}, received_at
            )
            batch_ids = ledger.draw_batch_ids(conn, len(messages))
            return [
                self._prepared(conn, message, batch_id, received_at)
                for message, batch_id in zip(messages, batch_ids, strict=True)
            ]

    def _refresh_bindings(self, conn: Conn, gateway_ids: Iterable[str], now: datetime) -> None:
        old = [
            g for g in gateway_ids if g not in self._bindings or now - self._bindings[g][0] > BINDINGS_FRESH
        ]
        if old:
            for gateway_id, meters in devices.load_bindings(conn, old).items():
                self._bindings[gateway_id] = (now, meters)

    def _prepared(self, conn: Conn, message: Opened, batch_id: int, received_at: datetime) -> Prepared:
        content, header = message.content, message.header
        if not isinstance(content, Rows) or header is None:
            return Prepared(message, batch_id, b"", (), frozenset())
        gateway_id = header.gateway_id
        segments, unbound = intake.segments_of(content, self._bindings[gateway_id][1])
        if unbound and self._bindings[gateway_id][0] != received_at:
            self._bindings[gateway_id] = (received_at, devices.load_bindings(conn, (gateway_id,))[gateway_id])
            segments, unbound = intake.segments_of(content, self._bindings[gateway_id][1])
        quality = intake.clock_marked(content, header, _ms(received_at))
        return Prepared(
            message,
            batch_id,
            readings.copy_rows(content, quality, segments, batch_id),
            tuple(_unbound_row(content, quality, at, gateway_id, batch_id) for at in unbound),
            _stale(content, segments),
        )

    # ---- second stage ------------------------------------------------------------------------------------

    def store(self, prepared: Sequence[Prepared], received_at: datetime) -> Taken:
        """Judge and store an opened group in one transaction; return signed acks.

        Should our own code or the table's rules fail over the group, it is stored one by one and what still fails is
        set aside. Raises Unavailable.
        """
        try:
            return self._store_group(prepared, received_at)
        except Unavailable:
            raise
        except Exception as bug:
            log.exception("intake.group.unstored messages=%d", len(prepared))
            self._partitions = None
            if len(prepared) == 1:
                return self._store_group([_faulty(prepared[0].message.arrived, bug)], received_at)
        taken = [self.store((one,), received_at) for one in prepared]
        acks = {gateway_id: ack for one in taken for gateway_id, ack in one.acks.items()}
        return Taken(tuple(one.verdicts[0] for one in taken), acks)

    def _store_group(self, prepared: Sequence[Prepared], received_at: datetime) -> Taken:
        self._make_partitions(prepared)
        try:
            verdicts, acks = self._commit(prepared, received_at, readings.copy_new)
        except readings.Overlap:  # rows overlap rows of other batches: the slow way, from the start
            verdicts, acks = self._commit(prepared, received_at, _merge_rows)
        told = " ".join(f"{name}={count}" for name, count in sorted(Counter(verdicts).items()))
        log.info("intake.group.stored messages=%d %s", len(verdicts), told)
        return Taken(verdicts, {ack.gateway_id: control.seal_ack(ack, self._key) for ack in acks})

    def _commit(
        self, prepared: Sequence[Prepared], received_at: datetime, add_rows: AddRows
    ) -> tuple[tuple[Verdict, ...], tuple[control.Ack, ...]]:
        with transaction(self._pool, INGEST) as conn:
            judged, gateways, broken = _judge(conn, prepared, received_at)
            _store(conn, judged, gateways, received_at, add_rows)
            _note_broken_chains(conn, broken, received_at)
            acks = _acks(conn, judged, gateways, self._generation)
        return tuple(one.verdict for one in judged), acks

    def _make_partitions(self, prepared: Sequence[Prepared]) -> None:
        """Make the native partitions that nobody foresaw, before the transaction that needs them."""
        if self._partitions is None:
            with transaction(self._pool, INGEST) as conn:
                self._partitions = _bounds(conn)
        if not self._partitions:  # a hypertable
            return
        missing = {
            taken_at_ms
            for one in prepared
            if one.packed and isinstance(one.message.content, Rows)
            for taken_at_ms in _uncovered(one.message.content.taken_at_ms, self._partitions)
        }
        if missing:
            with transaction(self._pool, INGEST) as conn:
                made = partitions.ensure_partitions(conn, map(_instant, missing), self._partition_days)
                self._partitions = _bounds(conn)
            log.info("intake.partitions.made partitions=%d", made)


# ---- inside the transaction ------------------------------------------------------------------------------


def _judge(
    conn: Conn, prepared: Sequence[Prepared], received_at: datetime
) -> tuple[list[_Judged], dict[str, Gateway], tuple[Position, ...]]:
    """Say the verdicts in order of arrival, under the locks of the gateways; and which hash chains are broken."""
    gateways = devices.lock_gateways(conn, {one.message.arrived.gateway_id for one in prepared})
    places = {p for one in prepared if (p := one.message.position) is not None and p.gateway_id in gateways}
    around = {near for place in places for near in intake.neighbours(place)}
    known = ledger.load_ledger(conn, places | around)
    judged: list[_Judged] = []
    stored: set[Position] = set()
    for one in prepared:
        message, place = one.message, one.message.position
        gateway = gateways.get(message.arrived.gateway_id)
        verdict = intake.verdict_of(message, gateway, known[place].sha256 if place in known else None)
        judged.append(_Judged(one, verdict))
        if verdict in intake.STORED and place and gateway:
            known[place] = Link(message.sha256, message.previous_sha256)
            stored.add(place)
            if gateway.store_uuid is None and message.header and place.epoch == gateway.epoch:
                store_uuid = message.header.store_uuid
                devices.register_store(conn, gateway.gateway_id, store_uuid, gateway.epoch, received_at)
                gateways[gateway.gateway_id] = replace(gateway, store_uuid=store_uuid)
    return judged, gateways, intake.broken_links(stored, known)


def _store(
    conn: Conn,
    judged: Sequence[_Judged],
    gateways: Mapping[str, Gateway],
    received_at: datetime,
    add_rows: AddRows,
) -> None:
    accepted = [one.prepared for one in judged if one.verdict is Verdict.ACCEPTED]
    ledger.add_evidence(conn, [_evidence(one) for one in judged if one.verdict in intake.STORED], received_at)
    packed = [one.packed for one in accepted if one.packed]
    if packed:
        add_rows(conn, packed, received_at)
    readings.add_unbound(conn, (row for one in accepted for row in one.unbound))
    readings.mark_stale(conn, (mark for one in accepted for mark in one.stale), received_at)
    _add_gateway_events(conn, accepted)
    _note_suspicions(conn, judged, received_at)
    heard = {one.message.arrived.gateway_id for one in accepted}
    arriving = {gateway_id for gateway_id in heard if "report" in deeds(GATEWAY, gateways[gateway_id].state)}
    if arriving:
        devices.move_gateways(conn, arriving, "report")
    refused = [_quarantined(one) for one in judged if one.verdict in intake.QUARANTINED]
    ledger.quarantine(conn, refused, received_at, _day_start(received_at))
    _count(conn, received_at, [(_counted_as(one), one.verdict) for one in judged])


def _merge_rows(conn: Conn, packed: Sequence[bytes], received_at: datetime) -> None:
    conflicts = readings.merge_rows(conn, packed, received_at)
    if conflicts:
        log.warning("intake.readings.conflict rows=%d", conflicts)


def _add_gateway_events(conn: Conn, accepted: Sequence[Prepared]) -> None:
    events: list[devices.GatewayEvent] = []
    losses: list[tuple[control.Loss, str, int]] = []
    for one in accepted:
        if isinstance(one.message.content, tuple):
            gateway_id = one.message.arrived.gateway_id
            for told in one.message.content:
                facts = {**told.facts, "batch_id": one.batch_id}
                actor = f"gateway:{gateway_id}"
                events.append(devices.GatewayEvent(gateway_id, _instant(told.at_ms), told.kind, actor, facts))
                if told.kind == control.LOSS:
                    losses.extend((loss, gateway_id, one.batch_id) for loss in _losses(told))
    devices.add_events(conn, events)
    ledger.add_losses(conn, losses)
    ledger.open_cursors(conn, ((gateway_id, loss.epoch, loss.stream) for loss, gateway_id, _ in losses))


def _losses(told: Event) -> tuple[control.Loss, ...]:
    try:
        return (control.loss_of(told),)
    except Malformed:  # kept as an event; a loss that names no range consumes nothing
        return ()


def _note_suspicions(conn: Conn, judged: Sequence[_Judged], received_at: datetime) -> None:
    twice = {one.prepared.message.arrived.gateway_id for one in judged if one.verdict is Verdict.EQUIVOCATION}
    if twice:
        moved = devices.move_gateways(conn, twice, "suspect")
        log.warning("intake.equivocation gateways=%d", len(twice))
        devices.add_events(
            conn,
            (
                devices.GatewayEvent(g, received_at, "suspect", INGEST.actor, {"why": "equivocation"})
                for g in moved
            ),
        )


def _note_broken_chains(conn: Conn, broken: Sequence[Position], received_at: datetime) -> None:
    if broken:
        log.warning("intake.chain.broken batches=%d", len(broken))
        devices.add_events(
            conn,
            (
                devices.GatewayEvent(p.gateway_id, received_at, "chain_break", INGEST.actor, p._asdict())
                for p in broken
            ),
        )


def _acks(
    conn: Conn, judged: Sequence[_Judged], gateways: Mapping[str, Gateway], generation: int
) -> tuple[control.Ack, ...]:
    """Advance the cursors of the streams that got something, and say for each gateway what is committed."""
    places = {
        place
        for one in judged
        if one.verdict in intake.ACKNOWLEDGED and (place := one.prepared.message.position) is not None
    }
    answered = [gateways[gateway_id] for gateway_id in sorted({place.gateway_id for place in places})]
    streams = {(place.gateway_id, place.epoch, place.stream) for place in places}
    epochs = {stream[:2] for stream in streams} | {
        (gateway.gateway_id, gateway.epoch) for gateway in answered
    }
    states = ledger.load_streams(conn, epochs)
    if not states.keys() >= streams:
        ledger.open_cursors(conn, streams)
        states = ledger.load_streams(conn, epochs)
    reached = {key: intake.contiguous(state)[0] for key, state in states.items()}
    ledger.advance_cursors(conn, {key: upto for key, upto in reached.items() if upto != states[key].upto})
    has_rejected = any(state.has_rejected for state in states.values())
    rejected = ledger.load_rejected(conn, epochs, intake.REJECTED_TOLD_MAX) if has_rejected else {}
    return intake.acks_from(answered, states, rejected, generation)


# ---- forms -----------------------------------------------------------------------------------------------


def _faulty(message: Arrived, bug: Exception) -> Prepared:
    """A message that is set aside because our own code failed over it."""
    sha256 = hashlib.sha256(message.body).digest()
    detail = f"{type(bug).__name__}: {bug}"
    troubled = Opened(message, sha256, None, bytes(32), None, None, Verdict.FAULT, detail)
    return Prepared(troubled, 0, b"", (), frozenset())


def _evidence(one: _Judged) -> ledger.Evidence:
    message, header = one.prepared.message, one.prepared.message.header
    assert message.position is not None
    return ledger.Evidence(
        batch_id=one.prepared.batch_id,
        position=message.position,
        sha256=message.sha256,
        previous_sha256=message.previous_sha256,
        verdict=one.verdict.value,
        readings=header.readings if header else 0,
        first_at=_instant(header.first_ms) if header else None,
        last_at=_instant(header.last_ms) if header else None,
        body=message.arrived.body,
    )


def _quarantined(one: _Judged) -> ledger.Quarantined:
    """The body rests in the ledger when there is a batch of it, else here."""
    message, arrived = one.prepared.message, one.prepared.message.arrived
    is_stored = one.verdict is Verdict.REJECTED
    return ledger.Quarantined(
        topic=arrived.topic,
        gateway_id=arrived.gateway_id,
        verdict=one.verdict.value,
        detail=(message.detail or one.verdict.value).replace("\0", "\\0")[:DETAIL_CHARACTERS_MAX],
        sha256=message.sha256,
        body=None if is_stored else arrived.body,
        batch_id=one.prepared.batch_id if is_stored else None,
    )


def _counted_as(one: _Judged) -> str:
    unknown = one.verdict is Verdict.UNKNOWN_GATEWAY
    return intake.NOBODY if unknown else one.prepared.message.arrived.gateway_id


def _count(conn: Conn, received_at: datetime, said: Iterable[tuple[str, Verdict]]) -> None:
    counts = Counter((gateway_id, verdict.value) for gateway_id, verdict in said)
    ledger.count_verdicts(conn, markettime.day_of(received_at), counts)


def _day_start(received_at: datetime) -> datetime:
    return markettime.slot_start(markettime.day_of(received_at), 0)


def _unbound_row(
    rows: Rows, quality: Sequence[int], at: int, gateway_id: str, batch_id: int
) -> readings.UnboundRow:
    ticks = tuple(
        rows.columns[column][at] if column in rows.columns else None
        for column in range(readings.CHANNEL_COLUMNS)
    )
    meter_id = rows.meters[rows.meter_index[at]]
    return readings.UnboundRow(
        gateway_id, meter_id, _instant(rows.taken_at_ms[at]), batch_id, quality[at], ticks
    )


def _stale(rows: Rows, segments: Sequence[Segment]) -> frozenset[tuple[int, date]]:
    """Which (meter, market day) these rows change."""
    whole = _days((min(rows.taken_at_ms), max(rows.taken_at_ms)))
    if len(whole) == 1:  # the usual batch: a quarter of an hour of one day
        return frozenset((segment.meter_key, day) for segment in segments for day in whole)
    return frozenset(
        (segment.meter_key, day)
        for segment in segments
        for day in _days(rows.taken_at_ms[segment.start : segment.end])
    )


def _days(taken_at_ms: Iterable[int]) -> set[date]:
    """Market days whose intervals these instants bound: midnight ends one day and opens the next."""
    local_ms = [at + _MARKET_OFFSET_MS for at in taken_at_ms]
    numbers = {at // _DAY_MS for at in local_ms} | {(at - 1) // _DAY_MS for at in local_ms}
    return {date.fromordinal(_EPOCH_ORDINAL + number) for number in numbers}


def _bounds(conn: Conn) -> tuple[tuple[int, int], ...]:
    if partitions.storage_of(conn).keeping is partitions.Keeping.HYPERTABLE:
        return ()
    return tuple((_ms(start), _ms(end)) for start, end in partitions.partition_bounds(conn)) or ((0, 0),)


def _uncovered(taken_at_ms: Sequence[int], bounds: Sequence[tuple[int, int]]) -> set[int]:
    first, last = min(taken_at_ms), max(taken_at_ms)
    if any(start <= first and last < end for start, end in bounds):
        return set()
    # Partitions begin and end at market midnights, so one instant speaks for its whole market day.
    days = {(at + _MARKET_OFFSET_MS) // _DAY_MS: at for at in taken_at_ms}
    return {at for at in days.values() if not any(start <= at < end for start, end in bounds)}


def _ms(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _instant(at_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
