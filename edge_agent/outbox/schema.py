"""The store's tables, pragmas and the one way to open, check and change them.

`reading` and `event` hold only what is not sealed yet; `batch` holds sealed messages in epochs. `stream.upto` is the
highest sequence number the cloud has acked without a gap, so the backlog is known without counting rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

VERSION: Final = 1
BUSY_TIMEOUT_S: Final = 5.0

# auto_vacuum must be set before the first table is made, hence the order.
_PRAGMAS: Final = (
    "PRAGMA auto_vacuum=INCREMENTAL",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # NORMAL loses committed rows when the power fails
    "PRAGMA wal_autocheckpoint=1000",
    "PRAGMA journal_size_limit=4194304",
    "PRAGMA foreign_keys=ON",
)

_TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE stream (
    stream       INTEGER PRIMARY KEY,
    next_seq     INTEGER NOT NULL CHECK (next_seq >= 1),
    last_sha256  BLOB NOT NULL CHECK (length(last_sha256) = 32),
    upto         INTEGER NOT NULL CHECK (upto >= 0 AND upto < next_seq)
) STRICT;
CREATE TABLE reading (
    stream       INTEGER NOT NULL REFERENCES stream,
    meter_id     TEXT NOT NULL,
    taken_at_ms  INTEGER NOT NULL,
    quality      INTEGER NOT NULL,
    decimals     BLOB NOT NULL CHECK (length(decimals) = 16),
    ticks        BLOB NOT NULL,
    PRIMARY KEY (stream, meter_id, taken_at_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX reading_time ON reading (stream, taken_at_ms);
CREATE TABLE last_reading (
    stream       INTEGER NOT NULL,
    meter_id     TEXT NOT NULL,
    taken_at_ms  INTEGER NOT NULL,
    PRIMARY KEY (stream, meter_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE event (
    event_id     INTEGER PRIMARY KEY,
    kind         TEXT NOT NULL,
    at_ms        INTEGER NOT NULL,
    facts        BLOB NOT NULL
) STRICT;
CREATE TABLE batch (
    batch_id     INTEGER PRIMARY KEY,
    epoch        INTEGER NOT NULL,
    stream       INTEGER NOT NULL REFERENCES stream,
    seq          INTEGER NOT NULL,
    sha256       BLOB NOT NULL CHECK (length(sha256) = 32),
    readings     INTEGER NOT NULL,
    first_ms     INTEGER NOT NULL,
    last_ms      INTEGER NOT NULL,
    sealed_ms    INTEGER NOT NULL,
    acked_ms     INTEGER,
    state        TEXT NOT NULL CHECK (state IN ('sealed', 'acked', 'dead')),
    reason       TEXT,
    body         BLOB NOT NULL,
    UNIQUE (epoch, stream, seq)
) STRICT;
CREATE INDEX batch_acked ON batch (acked_ms) WHERE state = 'acked';
CREATE INDEX batch_sealed ON batch (stream, seq) WHERE state = 'sealed';
INSERT INTO stream VALUES (0, 1, zeroblob(32), 0), (1, 1, zeroblob(32), 0), (2, 1, zeroblob(32), 0);
"""


class Corrupt(Exception):
    """The database file cannot be trusted any more."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, make the tables of a new one, check an old one. Raises Corrupt, sqlite3.OperationalError."""
    conn = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        for pragma in _PRAGMAS:
            conn.execute(pragma).close()
        _check(conn)
        if _version(conn) == 0:
            with transaction(conn):
                for statement in _TABLES.split(";\n"):
                    conn.execute(statement)
                conn.execute(f"PRAGMA user_version={VERSION}")
        if _version(conn) != VERSION:
            raise Corrupt(f"store of version {_version(conn)}; this agent knows {VERSION}")
    except sqlite3.OperationalError as error:
        conn.close()
        if error.sqlite_errorcode & 0xFF in _DAMAGE:
            raise Corrupt(str(error)) from error
        raise
    except sqlite3.DatabaseError as error:
        conn.close()
        raise Corrupt(str(error)) from error
    except Corrupt:
        conn.close()
        raise
    return conn


@contextmanager
def transaction(conn: sqlite3.Connection) -> Iterator[None]:
    """Everything inside is on the disk when this returns, or nothing is."""
    conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:  # a full disk may have rolled it back already
            conn.execute("ROLLBACK")
        raise


_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _check(conn: sqlite3.Connection) -> None:
    findings = conn.execute("PRAGMA quick_check(1)").fetchone()
    if findings != ("ok",):
        raise Corrupt(str(findings[0]))


def _version(conn: sqlite3.Connection) -> int:
    version: int = conn.execute("PRAGMA user_version").fetchone()[0]
    return version
