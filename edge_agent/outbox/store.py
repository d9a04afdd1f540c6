"""The outbox itself: add, seal, offer, apply an ack. One instance, one thread, one writer (see the package)."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, LiteralString

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.outbox.schema import transaction
from edge_agent.outbox.taken import Taken, merged, readings_of, ticks_in, uniform
from edge_agent.wire import batch, control, cose, event
from edge_agent.wire.batch import Reading
from edge_agent.wire.event import Event
from edge_agent.wire.fields import (
    END_INSTANT_MS,
    FIRST_INSTANT_MS,
    STREAM_BACKFILL,
    STREAM_BILLING,
    STREAM_EVENTS,
    STREAMS,
)

SEAL_TARGET_BYTES: Final = 48 * 1024
_ROWS_PER_SEAL_MAX: Final = batch.READINGS_MAX // len(batch.CHANNELS)


class AckEffect(StrEnum):
    """What an ack did to the store."""

    IGNORED = "ignored"  # for another store, epoch or generation
    APPLIED = "applied"
    FORKED = "forked"  # this store was put back to an older state; it has a new name now: say hello again


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is known at the moment of sealing."""

    sealed_ms: int
    monotonic_ms: int
    boot_id: str
    clock_source: str
    clock_error_ms: int
    profile_bundle: str


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is not yet in the cloud. `oldest_unacked_ms` is the sealing time of the oldest batch, 0 if none."""

    backlog_batches: int
    oldest_unacked_ms: int


@dataclass(slots=True)
class _Cursor:
    next_seq: int
    last_sha256: bytes
    upto: int


class Outbox:
    """The agent's store. Obtained from `open_outbox`."""

    def __init__(self, conn: sqlite3.Connection, gateway_id: str, key: Ed25519PrivateKey) -> None:
        self.conn = conn
        self._gateway_id = gateway_id
        self._key = key
        self.diagnostics = True
        self._load()

    def close(self) -> None:
        """Let go of the file."""
        self.conn.close()

    def _load(self) -> None:
        meta = dict(self.conn.execute("SELECT key, value FROM meta"))
        self.store_uuid: bytes = meta.get("store_uuid", b"")
        self.epoch: int = meta.get("epoch", 0)
        self.generation: int = meta.get("generation", 0)
        self.confirmed: bool = bool(meta.get("confirmed", 0))
        rows = self.conn.execute("SELECT stream, next_seq, last_sha256, upto FROM stream")
        self._cursors = {stream: _Cursor(*rest) for stream, *rest in rows}
        if not self.store_uuid:
            with transaction(self.conn):
                self._rename()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """A transaction after whose failure the numbers in memory are those on the disk again."""
        try:
            with transaction(self.conn):
                yield
        except BaseException:
            self._load()
            raise

    def _rename(self) -> None:
        """A new name for this store: the cloud will answer it with an epoch of its own."""
        self.store_uuid, self.confirmed = secrets.token_bytes(16), False
        self._set_meta(store_uuid=self.store_uuid, confirmed=0)

    def _set_meta(self, **values: int | bytes) -> None:
        self.conn.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    # ---- in ------------------------------------------------------------------------------------------

    def add(self, taken: Sequence[Taken]) -> int:
        """Keep the readings of one poll cycle in one transaction; returns how many rows are new.

        Diagnostic readings (not `billing`) are refused while the disk is filling up (`diagnostics`).
        A second sample of the same meter and instant fills channels that are still empty while the first one
        waits; afterwards it is dropped, because an instant that was sealed is never told twice.
        """
        with self._transaction():
            return sum(self._add(one) for one in taken if one.billing or self.diagnostics)

    def _add(self, taken: Taken) -> bool:
        key = (taken.stream, taken.reading.meter_id, taken.reading.taken_at_ms)
        waiting = self.conn.execute(
            "SELECT quality, decimals, ticks FROM reading WHERE stream=? AND meter_id=? AND taken_at_ms=?",
            key,
        ).fetchone()
        if waiting is not None:
            quality, decimals, ticks = merged(waiting, taken)
            self.conn.execute(
                "UPDATE reading SET quality=?, decimals=?, ticks=? WHERE stream=? AND meter_id=? AND taken_at_ms=?",
                (quality, decimals, ticks, *key),
            )
            return False
        last = self.conn.execute(
            "SELECT 1 FROM last_reading WHERE stream=? AND meter_id=? AND taken_at_ms=?", key
        ).fetchone()
        if last is not None:
            return False
        self._insert(taken)
        self.conn.execute("INSERT OR REPLACE INTO last_reading VALUES (?, ?, ?)", key)
        return True

    def _insert(self, taken: Taken) -> None:
        reading = taken.reading
        self.conn.execute(
            "INSERT OR IGNORE INTO reading VALUES (?, ?, ?, ?, ?, ?)",
            (
                taken.stream,
                reading.meter_id,
                reading.taken_at_ms,
                reading.quality,
                bytes(taken.decimals),
                cose.pack(reading.ticks),
            ),
        )

    def note(self, *happened: Event) -> None:
        """Keep events until they are sealed into stream 1."""
        with self._transaction():
            self._note(*happened)

    def _note(self, *happened: Event) -> None:
        self.conn.executemany(
            "INSERT INTO event (kind, at_ms, facts) VALUES (?, ?, ?)",
            [(one.kind, one.at_ms, cose.pack(dict(one.facts))) for one in happened],
        )

    # ---- sealing -------------------------------------------------------------------------------------

    def seal(self, stamp: Stamp) -> int:
        """Seal all that waits, a batch a transaction; returns the number of batches.

        Seals nothing before the cloud has confirmed the epoch: then no batch can exist under a number that an
        earlier, lost store has used. Nor does it while the clock stands at an instant that no batch can have.
        """
        if not self._may_seal(stamp):
            return 0
        sealed = 0
        for stream in (STREAM_BILLING, STREAM_BACKFILL):
            while self._seal_readings(stream, stamp):
                sealed += 1
        return sealed + self.seal_events(stamp)

    def seal_events(self, stamp: Stamp) -> int:
        """Seal the events that wait, and no readings; returns the number of batches."""
        sealed = 0
        while self._may_seal(stamp) and self._seal_events(stamp):
            sealed += 1
        return sealed

    def _may_seal(self, stamp: Stamp) -> bool:
        return self.confirmed and _is_told(stamp.sealed_ms)

    def _seal_readings(self, stream: int, stamp: Stamp) -> bool:
        with self._transaction():
            rows = self.conn.execute(
                "SELECT meter_id, taken_at_ms, quality, decimals, ticks FROM reading WHERE stream=?"
                " ORDER BY taken_at_ms, meter_id LIMIT ?",
                (stream, _ROWS_PER_SEAL_MAX),
            ).fetchall()
            if not rows:
                return False
            header = self._header(stream, stamp)
            taken = [(Reading(m, at, q, tuple(ticks_in(ticks))), tuple(d)) for m, at, q, d, ticks in rows]
            while True:
                readings, decimals = uniform(taken)
                try:
                    body = batch.seal_batch(header, readings, decimals, self._key)
                except batch.TooBig:
                    body = b""
                if body and (len(body) <= SEAL_TARGET_BYTES or len(taken) == 1):
                    break
                taken = taken[: len(taken) // 2]
            self.conn.executemany(
                "DELETE FROM reading WHERE stream=? AND meter_id=? AND taken_at_ms=?",
                [(stream, reading.meter_id, reading.taken_at_ms) for reading in readings],
            )
            self._keep(body, stamp)
        return True

    def _seal_events(self, stamp: Stamp) -> bool:
        with self._transaction():
            rows = self.conn.execute(
                "SELECT event_id, kind, at_ms, facts FROM event ORDER BY event_id LIMIT ?",
                (event.EVENTS_MAX,),
            ).fetchall()
            if not rows:
                return False
            happened = [Event(kind, _tellable(at_ms), _map(facts)) for _, kind, at_ms, facts in rows]
            body = event.seal_events(self._header(STREAM_EVENTS, stamp), happened, self._key)
            self.conn.executemany("DELETE FROM event WHERE event_id=?", [(row[0],) for row in rows])
            self._keep(body, stamp)
        return True

    def _header(self, stream: int, stamp: Stamp) -> batch.Header:
        cursor = self._cursors[stream]
        return batch.Header(
            gateway_id=self._gateway_id,
            store_uuid=self.store_uuid,
            epoch=self.epoch,
            stream=stream,
            seq=cursor.next_seq,
            previous_sha256=cursor.last_sha256,
            readings=0,
            first_ms=0,
            last_ms=0,
            sealed_ms=stamp.sealed_ms,
            monotonic_ms=stamp.monotonic_ms,
            boot_id=stamp.boot_id,
            clock_source=stamp.clock_source,
            clock_error_ms=stamp.clock_error_ms,
            profile_bundle=stamp.profile_bundle,
            schema=batch.SCHEMA_READINGS,
        )

    def _keep(self, body: bytes, stamp: Stamp) -> None:
        """Store a sealed batch and move its stream on, inside the caller's transaction."""
        header = batch.header_of(cose.peek(body))
        sha256 = hashlib.sha256(body).digest()
        self.conn.execute(
            "INSERT INTO batch (epoch, stream, seq, sha256, readings, first_ms, last_ms, sealed_ms, state, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'sealed', ?)",
            (
                *(header.epoch, header.stream, header.seq, sha256),
                *(header.readings, header.first_ms, header.last_ms, stamp.sealed_ms, body),
            ),
        )
        self.conn.execute(
            "UPDATE stream SET next_seq=?, last_sha256=? WHERE stream=?",
            (header.seq + 1, sha256, header.stream),
        )
        cursor = self._cursors[header.stream]
        self._cursors[header.stream] = _Cursor(header.seq + 1, sha256, cursor.upto)

    # ---- out -----------------------------------------------------------------------------------------

    def offers(self) -> tuple[control.StreamOffer, ...]:
        """What a hello says of each stream."""
        return tuple(
            control.StreamOffer(stream, cursor.next_seq, cursor.upto + 1)
            for stream, cursor in sorted(self._cursors.items())
        )

    def unacked(self, stream: int, limit: int, *, newest_first: bool) -> tuple[int, ...]:
        """Up to `limit` sequence numbers of the current epoch that wait for an ack, in sending order.

        Newest first, a quarter of them are the oldest all the same: until those have arrived no ack moves, and the
        newest would be all that is ever sent.
        """
        if not newest_first:
            return self._waiting(stream, limit, "ASC")
        oldest = self._waiting(stream, limit // 4, "ASC")
        newest = self._waiting(stream, limit - len(oldest), "DESC")
        return newest + tuple(seq for seq in oldest if seq < newest[-1])

    def _waiting(self, stream: int, limit: int, order: LiteralString) -> tuple[int, ...]:
        rows = self.conn.execute(
            f"SELECT seq FROM batch WHERE state='sealed' AND stream=? AND epoch=? ORDER BY seq {order} LIMIT ?",
            (stream, self.epoch, limit),
        )
        return tuple(row[0] for row in rows)

    def body_to_send(self, stream: int, seq: int, now_ms: int) -> bytes | None:
        """The sealed batch, or None if it need not (acked meanwhile) or cannot be sent any more.

        A batch that was damaged on the disk would be refused for ever and hold up its stream; it is set aside
        and reported as a loss, which the cloud counts as consumed.
        """
        if not self.confirmed:
            return None
        row = self.conn.execute(
            "SELECT batch_id, sha256, body FROM batch WHERE state='sealed' AND stream=? AND epoch=? AND seq=?",
            (stream, self.epoch, seq),
        ).fetchone()
        if row is None:
            return None
        batch_id, sha256, body = row
        if hashlib.sha256(body).digest() == sha256:
            whole: bytes = body
            return whole
        with self._transaction():
            self._set_aside(batch_id, "damaged-on-disk", now_ms)
        return None

    def _set_aside(self, batch_id: int, reason: str, now_ms: int) -> None:
        self.conn.execute("UPDATE batch SET state='dead', reason=? WHERE batch_id=?", (reason, batch_id))
        epoch, stream, seq, readings, first_ms, last_ms = self.conn.execute(
            "SELECT epoch, stream, seq, readings, first_ms, last_ms FROM batch WHERE batch_id=?", (batch_id,)
        ).fetchone()
        loss = control.Loss(epoch, stream, seq, seq, readings, first_ms, last_ms, reason)
        self._note(control.loss_event(loss, now_ms))

    def depth(self) -> Depth:
        """The backlog, without counting rows."""
        backlog = sum(cursor.next_seq - 1 - cursor.upto for cursor in self._cursors.values())
        oldest = self.conn.execute(
            "SELECT min(sealed_ms) FROM batch JOIN stream USING (stream) WHERE epoch=? AND seq=upto+1",
            (self.epoch,),
        ).fetchone()[0]
        return Depth(backlog, oldest or 0)

    # ---- acks ----------------------------------------------------------------------------------------

    def apply(self, ack: control.Ack, now_ms: int) -> AckEffect:
        """Take note of what the cloud has committed. The caller has verified the ack's signature."""
        if (ack.gateway_id, ack.store_uuid) != (self._gateway_id, self.store_uuid):
            return AckEffect.IGNORED
        restored = 0 < self.generation < ack.generation  # 0: this store has heard of none yet
        if ack.generation < self.generation or (ack.epoch < self.epoch and not restored):
            return AckEffect.IGNORED
        with self._transaction():
            if ack.epoch != self.epoch:
                self._adopt(ack.epoch, now_ms, everything=restored)
            if self._put_back(ack):
                self._fork(now_ms)
                return AckEffect.FORKED
            self.confirmed, self.generation = True, ack.generation
            self._set_meta(epoch=self.epoch, confirmed=1, generation=ack.generation)
            for stream in ack.streams:
                self._apply_stream(stream, now_ms, restored=restored)
        return AckEffect.APPLIED

    def _put_back(self, ack: control.Ack) -> bool:
        """The cloud has numbers of this store's epoch that the store has never made."""
        return any(
            max((stream.upto, *(last for _, last in stream.have), *(r.seq for r in stream.rejected)))
            >= self._cursors[stream.stream].next_seq
            for stream in ack.streams
        )

    def _fork(self, now_ms: int) -> None:
        self._note(
            Event("store_put_back", now_ms, {"store_uuid": self.store_uuid.hex(), "epoch": self.epoch})
        )
        self._rename()

    def _adopt(self, epoch: int, now_ms: int, *, everything: bool) -> None:
        """Go on in another epoch: what the cloud has not acked waits again and gets new numbers.

        Readings are known by meter and instant, so one that had arrived under its old number has no second effect.
        After a restore of the cloud (`everything`) its acks of other epochs count for nothing either.
        """
        states = "('sealed', 'acked')" if everything else "('sealed')"
        waiting = self.conn.execute(f"SELECT batch_id FROM batch WHERE state IN {states}").fetchall()
        for (batch_id,) in waiting:  # one body at a time: after a long outage they do not fit into memory
            sha256, body = self.conn.execute(
                "SELECT sha256, body FROM batch WHERE batch_id=?", (batch_id,)
            ).fetchone()
            if hashlib.sha256(body).digest() == sha256:
                self._unseal(body)
                self.conn.execute("DELETE FROM batch WHERE batch_id=?", (batch_id,))
            else:
                self._set_aside(batch_id, "damaged-on-disk", now_ms)
        self.epoch = epoch
        self.conn.execute("UPDATE stream SET upto=0, next_seq=1, last_sha256=zeroblob(32)")
        self._cursors = {stream: _Cursor(1, batch.NO_PREVIOUS, 0) for stream in STREAMS}

    def _unseal(self, body: bytes) -> None:
        envelope = cose.peek(body)
        header = batch.header_of(envelope)
        if header.schema == batch.SCHEMA_EVENTS:
            self._note(*event.decode_events(envelope.payload, header))
            return
        for taken in readings_of(batch.decode_body(envelope.payload, header), header.stream):
            self._insert(taken)

    def _apply_stream(self, stream: control.StreamAck, now_ms: int, *, restored: bool) -> None:
        cursor = self._cursors[stream.stream]
        upto = stream.upto if restored else max(stream.upto, cursor.upto)
        upto = min(upto, cursor.next_seq - 1)
        key = (stream.stream, self.epoch)
        if restored:
            self.conn.execute(
                "UPDATE batch SET state='sealed', acked_ms=NULL, reason=NULL"
                " WHERE stream=? AND epoch=? AND seq>? AND (state='acked' OR reason='rejected')",
                (*key, upto),
            )
            self._tell_missing(stream.stream, upto, cursor, now_ms)
        self.conn.executemany(
            "UPDATE batch SET state='dead', reason='rejected' WHERE state='sealed' AND stream=? AND epoch=? AND seq=?",
            [(*key, rejected.seq) for rejected in stream.rejected],
        )
        self.conn.execute(
            "UPDATE batch SET state='acked', acked_ms=?"
            " WHERE state='sealed' AND stream=? AND epoch=? AND seq<=?",
            (now_ms, *key, upto),
        )
        self.conn.execute("UPDATE stream SET upto=? WHERE stream=?", (upto, stream.stream))
        cursor.upto = upto

    def _tell_missing(self, stream: int, upto: int, cursor: _Cursor, now_ms: int) -> None:
        """After a restore: numbers beyond `upto` that are no longer kept here are lost, and told so."""
        oldest = self.conn.execute(
            "SELECT min(seq), min(first_ms) FROM batch WHERE stream=? AND epoch=? AND seq>?",
            (stream, self.epoch, upto),
        ).fetchone()
        end, first_ms = oldest if oldest[0] is not None else (cursor.next_seq, now_ms)
        if end > upto + 1:
            loss = control.Loss(
                self.epoch, stream, upto + 1, end - 1, 0, first_ms, first_ms, "no-longer-kept"
            )
            self._note(control.loss_event(loss, now_ms))


def _is_told(at_ms: int) -> bool:
    return _tellable(at_ms) == at_ms


def _tellable(at_ms: int) -> int:
    """The nearest instant that a batch can tell: a clock that nobody has set yet may stand in 1970."""
    return min(max(at_ms, FIRST_INSTANT_MS), END_INSTANT_MS - 1)


def _map(encoded: bytes) -> dict[str, int | str | bool]:
    facts: dict[str, int | str | bool] = cose.unpack(encoded, depth_max=2)
    return facts
