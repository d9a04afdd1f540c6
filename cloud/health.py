"""Readiness: what a process needs in order to do its work, each with a name and a sentence."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cloud import db
from cloud.config import BrokerConfig, CloudConfig
from cloud.errors import Refused, Unavailable
from cloud.metering.store import partitions

CONNECT_S = 3.0
AHEAD_LEAST = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    passes: bool
    detail: str


def readiness(config: CloudConfig, now: datetime, *, with_broker: bool) -> tuple[Check, ...]:
    """Look at the database, its schema and the partitions ahead, and at the broker for a process that needs it."""
    checks = list(_database(config, now))
    if with_broker:
        checks.append(_broker(config.broker))
    return tuple(checks)


def _database(config: CloudConfig, now: datetime) -> Iterable[Check]:
    try:
        with db.connected(config.dsn) as conn:
            yield Check("database", True, "answers")
            yield _schema(conn)
            storage = partitions.storage_of(conn)
            yield Check("readings", *_ahead(conn, storage, now))
    except Unavailable as problem:
        yield Check("database", False, str(problem))


def _schema(conn: db.Conn) -> Check:
    try:
        waiting = db.pending(conn)
    except Refused as problem:
        return Check("schema", False, str(problem))
    return Check("schema", not waiting, f"not yet applied: {', '.join(waiting)}" if waiting else "is current")


def _ahead(conn: db.Conn, storage: partitions.Storage, now: datetime) -> tuple[bool, str]:
    if storage.keeping is partitions.Keeping.HYPERTABLE:
        return True, str(storage)
    last = max((end for _, end in partitions.partition_bounds(conn)), default=now)
    return last - now >= AHEAD_LEAST, f"{storage}; made ahead until {last.isoformat()}"


def _broker(broker: BrokerConfig) -> Check:
    place = f"{broker.host}:{broker.port}"
    try:
        with socket.create_connection((broker.host, broker.port), CONNECT_S):
            return Check("broker", True, f"{place} takes connections")
    except OSError as problem:
        return Check("broker", False, f"{place}: {problem.strerror or problem}")
