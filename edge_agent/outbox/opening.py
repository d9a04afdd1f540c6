"""Open the store: one agent at a time, damaged files set aside and salvaged, what cannot be used said plainly."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.outbox import schema
from edge_agent.outbox.store import Outbox
from edge_agent.outbox.taken import Taken, readings_of
from edge_agent.wire import batch, cose, event
from edge_agent.wire.batch import Reading
from edge_agent.wire.event import Event
from edge_agent.wire.fields import METER_ID, STREAMS

FILE_NAME: Final = "outbox.db"
LOCK_NAME: Final = "agent.lock"
CORRUPT_KEPT: Final = "corrupt"


class OutboxUnusable(Exception):
    """The data folder cannot hold the store; the text says which path and why."""


class OutboxBusy(OutboxUnusable):
    """Another agent uses this data folder."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An open store, and the lock that keeps other agents out as long as it is held."""

    outbox: Outbox
    lock: IO[str]
    salvaged: int | None  # readings saved from a damaged file; None when nothing was damaged

    def close(self) -> None:
        """Close the store, then let others in."""
        self.outbox.close()
        self.lock.close()


def open_outbox(folder: Path, gateway_id: str, key: Ed25519PrivateKey, now_ms: int) -> Opened:
    """Open or make the store in `folder`. Raises OutboxUnusable, OutboxBusy.

    A file that fails its check is renamed `outbox.db.corrupt-<ms>`; a fresh store (with a new store_uuid, so that
    the cloud grants a new epoch) takes over whatever can still be read and was not acked.
    """
    lock = _lock(folder)
    path = folder / FILE_NAME
    try:
        try:
            return Opened(Outbox(schema.connect(path), gateway_id, key), lock, None)
        except schema.Corrupt as error:
            aside = _put_aside(path, now_ms)
            outbox = Outbox(schema.connect(path), gateway_id, key)
            salvaged = _salvage(aside, outbox)
            facts: dict[str, int | str | bool] = {
                "reason": str(error)[: event.FACT_CHARACTERS_MAX],
                "readings_salvaged": salvaged,
            }
            outbox.note(Event("store_corrupt", now_ms, facts))
            return Opened(outbox, lock, salvaged)
    except (OSError, sqlite3.OperationalError) as error:
        lock.close()
        raise OutboxUnusable(f"{path}: {error}") from error


def _lock(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / LOCK_NAME, "a+")  # noqa: SIM115  # held for the life of the agent
    except OSError as error:
        raise OutboxUnusable(f"{error.filename or folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise OutboxBusy(f"{folder}: another agent (process {holder}) uses this folder") from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _put_aside(path: Path, now_ms: int) -> Path:
    aside = path.with_name(f"{path.name}.{CORRUPT_KEPT}-{now_ms}")
    for suffix in ("", "-wal", "-shm"):
        if Path(f"{path}{suffix}").exists():
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    return aside


def _salvage(aside: Path, outbox: Outbox) -> int:
    """Take over what waits or was not acked, as far as the damaged file can be read; returns the readings."""
    try:
        conn = sqlite3.connect(aside, isolation_level=None)
    except sqlite3.Error:
        return 0
    try:
        return outbox.add(tuple(_unacked(conn)))
    finally:
        conn.close()


def _unacked(conn: sqlite3.Connection) -> Iterator[Taken]:
    """Every whole reading that the damaged file still gives; a row that makes no sense is part of the damage."""
    for row in _readable(conn, "SELECT stream, meter_id, taken_at_ms, quality, decimals, ticks FROM reading"):
        try:
            yield _waiting(*row)
        except (cose.Malformed, TypeError, ValueError):
            continue
    for sha256, body in _readable(conn, "SELECT sha256, body FROM batch WHERE state='sealed'"):
        if isinstance(body, bytes) and hashlib.sha256(body).digest() == sha256:
            yield from _readings_in(body)


def _readable(conn: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    try:
        yield from conn.execute(query)
    except sqlite3.DatabaseError:
        return  # the rest of this table is part of the damage


def _waiting(stream: int, meter_id: str, at_ms: int, quality: int, decimals: bytes, ticks: bytes) -> Taken:
    values = tuple(cose.unpack(ticks, depth_max=2))
    whole = all(type(number) is int for number in (stream, at_ms, quality))
    if not whole or len(values) != len(batch.CHANNELS) or len(decimals) != len(values):
        raise ValueError("not a reading")
    if not METER_ID.fullmatch(meter_id) or stream not in STREAMS:
        raise ValueError("not a reading's key")
    return Taken(Reading(meter_id, at_ms, quality, values), tuple(decimals), stream=stream)


def _readings_in(body: bytes) -> tuple[Taken, ...]:
    envelope = cose.peek(body)
    header = batch.header_of(envelope)
    if header.schema != batch.SCHEMA_READINGS:
        return ()
    return readings_of(batch.decode_body(envelope.payload, header), header.stream)
