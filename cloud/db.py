"""The only place that opens connections, commits, and changes the schema.

`transaction(pool, scope)` makes one transaction speak as one process role and for one person: the settings
`app.role`, `app.party_id` and `app.actor` are what row-level security reads (cloud/schema/0009_grants.sql).
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolTimeout

from cloud.errors import Invalid, Refused, Unavailable

Conn = psycopg.Connection[tuple[Any, ...]]
Pool = ConnectionPool[Conn]

MIGRATION_LOCK = 0x5348_4F55  # "SHOU"; any constant that nobody else takes
READY_PAUSE_S = 0.1
LOOK_EVERY_S = 0.5  # how soon a listener notices that it is to stop
_FILE_NAME = re.compile(r"^(\d{4})_[a-z_]+\.sql$")


class ProcessRole(StrEnum):
    """Database role of a process; OWNER is whoever connected (migrations and imports only)."""

    OWNER = ""
    INGEST = "shoudian_ingest"
    WORKER = "shoudian_worker"
    API = "shoudian_api"
    PROVISION = "shoudian_provision"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose privileges a transaction has: the process's role and, for the API, the person's."""

    process: ProcessRole
    person_role: str = (
        ""  # 'staff', 'technician', 'customer'; empty: nobody in particular, sees no customer's rows
    )
    party_id: int | None = None  # the customer's party
    actor: str = ""  # for the audit row: 'user:17', 'job:validate'


class SchemaChanged(Refused):
    """A migration that this database has already taken differs from the file of that number."""

    def __str__(self) -> str:
        return (
            f"schema file {self.facts['file']} was changed after this database had taken it; restore the file"
        )


class BadDsn(Invalid):
    """SHOUDIAN_DSN is no connection string."""

    def __str__(self) -> str:
        return (
            "SHOUDIAN_DSN: 不是连接串 / is no connection string；"
            "允许 / allowed: host=db dbname=shoudian user=shoudian"
        )


class Unwritable(Invalid):
    """A text has a character that no text of the database may have: NUL."""


class SchemaUnknown(Refused):
    """This database has taken a migration that this version of the program does not know."""

    def __str__(self) -> str:
        return f"this database has taken {self.facts['file']}, which this version does not know; use a newer version"


def open_pool(dsn: str, *, size_max: int = 8, wait_s: float = 10.0, is_checked: bool = True) -> Pool:
    """Open a pool; a server that is down is found out at the first use.

    Checking a connection before each use costs a round trip; who tries again anyway can do without.
    """
    pool: Pool = ConnectionPool(
        dsn,
        min_size=1,
        max_size=size_max,
        timeout=wait_s,
        reconnect_timeout=wait_s,
        check=ConnectionPool.check_connection if is_checked else None,
        kwargs={"autocommit": False, "connect_timeout": 5},
        open=True,
    )
    return pool


@contextmanager
def transaction(pool: Pool, scope: Scope) -> Iterator[Conn]:
    """Run one transaction with the scope's privileges; commit at the end, roll back on any exception.

    Raises Unavailable when the server cannot be reached or drops the connection, and Unwritable.
    """
    try:
        with pool.connection() as conn:
            take_scope(conn, scope)
            yield conn
    except psycopg.DataError as problem:
        if "NUL" in str(problem) or isinstance(problem, psycopg.errors.UntranslatableCharacter):
            raise Unwritable("unwritable_text") from problem
        raise
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as problem:
        raise Unavailable("database_unavailable", problem=_one_line(problem)) from problem


@contextmanager
def connected(dsn: str) -> Iterator[Conn]:
    """Lend one connection of its own, closed at the end. Raises Unavailable as `transaction` does."""
    try:
        with psycopg.connect(dsn, connect_timeout=5) as conn:
            yield conn
    except (psycopg.OperationalError, psycopg.InterfaceError) as problem:
        raise Unavailable("database_unavailable", problem=_one_line(problem)) from problem


def heard(dsn: str, channels: Sequence[str], is_over: Callable[[], bool]) -> Iterator[tuple[str, str]]:
    """LISTEN: yield channel and payload of every notification until `is_over`, and ("", "") once when listening begins.

    What came before that, or was missed while nobody listened, is for the caller to read. Raises Unavailable.
    """
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as conn:
            for channel in channels:
                conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            yield "", ""
            while not is_over():
                for each in conn.notifies(timeout=LOOK_EVERY_S, stop_after=1):
                    yield each.channel, each.payload
    except psycopg.OperationalError as problem:
        raise Unavailable("database_unavailable", problem=_one_line(problem)) from problem


def hold_key(conn: Conn, key: UUID) -> None:
    """Be the only one who does something under a client's key until the transaction's end: a retry waits for the first."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", (str(key),))


def take_scope(conn: Conn, scope: Scope) -> None:
    """Give the rest of the current transaction the scope's role and settings."""
    conn.execute(
        """SELECT set_config('app.role', %s, true), set_config('app.party_id', %s, true),
                  set_config('app.actor', %s, true), set_config('role', %s, true)""",
        (
            scope.person_role,
            "" if scope.party_id is None else str(scope.party_id),
            scope.actor,
            scope.process.value or "none",
        ),
    )


def keep_so_far(conn: Conn) -> None:
    """Commit what the transaction holds and go on in a new one with the same scope.

    For what must stay on record even if the request is refused, such as a failed attempt. Call it before anything else
    is written, or half of a deed stays too.
    """
    if conn.autocommit:
        return
    kept = conn.execute(
        """SELECT current_setting('app.role', true), current_setting('app.party_id', true),
                  current_setting('app.actor', true), current_setting('role')"""
    ).fetchone()
    assert kept is not None
    conn.commit()
    conn.execute(
        """SELECT set_config('app.role', %s, true), set_config('app.party_id', %s, true),
                  set_config('app.actor', %s, true), set_config('role', %s, true)""",
        tuple(each or "" for each in kept),
    )


def wait_ready(dsn: str, timeout_s: float) -> None:
    """Wait until the server answers a query. Raises BadDsn, and Unavailable after `timeout_s`."""
    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise BadDsn("bad_dsn") from None  # it may hold a password: neither it nor libpq's words are repeated
    end = time.monotonic() + timeout_s
    while True:
        try:
            with psycopg.connect(dsn, connect_timeout=3) as conn:
                conn.execute("SELECT 1")
            return
        except psycopg.OperationalError as problem:
            if time.monotonic() >= end:
                raise Unavailable("database_unavailable", problem=_one_line(problem)) from problem
        time.sleep(READY_PAUSE_S)


def migrate(dsn: str) -> tuple[str, ...]:
    """Bring the schema up to the files of cloud/schema and return the names of those applied now.

    Safe to run at the same time from anywhere: an advisory lock lets one in after the other.
    Each file is one transaction. Raises SchemaChanged, SchemaUnknown, Unavailable.
    """
    files = _schema_files()
    applied: list[str] = []
    try:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
            taken = _taken(conn)
            _refuse_differences(files, taken)
            for name, text in files:
                if name not in taken:
                    _apply(conn, name, text)
                    applied.append(name)
    except psycopg.OperationalError as problem:
        raise Unavailable("database_unavailable", problem=_one_line(problem)) from problem
    return tuple(applied)


def pending(conn: Conn) -> tuple[str, ...]:
    """Name the schema files that this database has not taken yet. Raises SchemaChanged, SchemaUnknown."""
    files = _schema_files()
    try:
        with conn.transaction():
            taken: dict[str, bytes] = dict(
                conn.execute("SELECT name, sha256 FROM schema_migration").fetchall()
            )
    except psycopg.errors.UndefinedTable:
        taken = {}
    _refuse_differences(files, taken)
    return tuple(name for name, _ in files if name not in taken)


def _schema_files() -> tuple[tuple[str, str], ...]:
    folder = resources.files("cloud") / "schema"
    names = sorted(entry.name for entry in folder.iterdir() if _FILE_NAME.match(entry.name))
    return tuple((name, (folder / name).read_text(encoding="utf-8")) for name in names)


def _taken(conn: Conn) -> dict[str, bytes]:
    conn.execute(
        """CREATE TABLE IF NOT EXISTS schema_migration (
               name text PRIMARY KEY, sha256 bytea NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"""
    )
    return {name: bytes(sha256) for name, sha256 in conn.execute("SELECT name, sha256 FROM schema_migration")}


def _refuse_differences(files: tuple[tuple[str, str], ...], taken: dict[str, bytes]) -> None:
    known = {name: _sha256(text) for name, text in files}
    for name, sha256 in taken.items():
        if name not in known:
            raise SchemaUnknown("schema_unknown", file=name)
        if known[name] != sha256:
            raise SchemaChanged("schema_changed", file=name)


def _apply(conn: Conn, name: str, text: str) -> None:
    with conn.transaction():
        conn.execute(text)
        conn.execute("INSERT INTO schema_migration (name, sha256) VALUES (%s, %s)", (name, _sha256(text)))


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _one_line(problem: Exception) -> str:
    return " ".join(str(problem).split())[:300]
