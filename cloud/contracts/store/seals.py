"""SQL: the seal authority, and the seals of parties. A seal's key is read by a transaction of its own party alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cloud.db import Conn
from cloud.errors import Conflict


class AuthorityKept(Conflict):
    """There is an authority already."""


@dataclass(frozen=True, slots=True)
class SealRow:
    """A seal in force; `sealed_key` is None where this transaction may not read it."""

    seal_id: int
    certificate: str
    certificate_sha256: str
    valid_until: datetime
    sealed_key: bytes | None


@dataclass(frozen=True, slots=True)
class AuthorityRow:
    """The authority of the platform."""

    authority_id: int
    certificate: str
    certificate_sha256: str
    sealed_key: bytes


def authority(conn: Conn) -> AuthorityRow | None:
    """The authority in force: the last one made."""
    row = conn.execute(
        """SELECT authority_id, certificate, certificate_sha256, sealed_key FROM seal_authority
           ORDER BY authority_id DESC LIMIT 1"""
    ).fetchone()
    return None if row is None else AuthorityRow(row[0], row[1], row[2], bytes(row[3]))


def roots(conn: Conn) -> tuple[str, ...]:
    """The certificates of all authorities that there ever were, for whoever checks."""
    rows = conn.execute("SELECT certificate FROM seal_authority ORDER BY authority_id")
    return tuple(str(row[0]) for row in rows)


def insert_authority(
    conn: Conn, certificate: str, sha256: str, sealed_key: bytes, kept: tuple[datetime, str]
) -> None:
    """Keep an authority; `kept` is (when, by whom)."""
    conn.execute(
        """INSERT INTO seal_authority (certificate, certificate_sha256, sealed_key, made_at, made_by)
           VALUES (%s, %s, %s, %s, %s)""",
        (certificate, sha256, sealed_key, *kept),
    )


def seal_of(conn: Conn, party_id: int, at: datetime) -> SealRow | None:
    """The party's seal in force, with its sealed key if this is a transaction of the party."""
    row = conn.execute(
        """SELECT s.seal_id, s.certificate, s.certificate_sha256, s.valid_until, k.sealed_key
           FROM party_seal s LEFT JOIN party_seal_key k USING (seal_id)
           WHERE s.party_id = %s AND s.valid_until > %s ORDER BY s.seal_id DESC LIMIT 1""",
        (party_id, at),
    ).fetchone()
    if row is None:
        return None
    return SealRow(row[0], row[1], row[2], row[3], None if row[4] is None else bytes(row[4]))


def insert_seal(
    conn: Conn, party_id: int, certificate: tuple[str, str, datetime], kept: tuple[datetime, str]
) -> int:
    """Keep a seal's certificate (PEM, hash, valid until); `kept` is (when, by whom). Return its number."""
    row = conn.execute(
        """INSERT INTO party_seal (party_id, certificate, certificate_sha256, valid_until, made_at, made_by)
           VALUES (%s, %s, %s, %s, %s, %s) RETURNING seal_id""",
        (party_id, *certificate, *kept),
    ).fetchone()
    assert row is not None
    return int(row[0])


def insert_key(conn: Conn, seal_id: int, party_id: int, sealed_key: bytes) -> None:
    """Keep a seal's key, sealed for its place."""
    conn.execute(
        "INSERT INTO party_seal_key (seal_id, party_id, sealed_key) VALUES (%s, %s, %s)",
        (seal_id, party_id, sealed_key),
    )


def lock_seal(conn: Conn, party_id: int) -> None:
    """Let only one transaction make a seal of the party at a time."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 30))", (f"seal {party_id}",))
