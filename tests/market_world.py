"""Parties that may trade, and people, without going through registration: what the tests of the market start from."""

from __future__ import annotations

from datetime import UTC, datetime

from argon2 import PasswordHasher
from psycopg.types.json import Jsonb

from cloud.db import Conn

PASSWORD = "correct horse battery"
ADMITTED_AT = datetime(2026, 1, 5, 2, tzinfo=UTC)
_HASH = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
_SUBKINDS = {
    "user": "industrial",
    "retailer": "independent",
    "generator": "coal",
    "storage": "battery",
    "vpp": "aggregator",
}


def admitted_party(conn: Conn, kind: str, name: str, **profile: object) -> int:
    """A party in force (kind: user, retailer, generator, storage, vpp); `profile` overrides facts of its profile."""
    row = conn.execute(
        "INSERT INTO party (kind, name, state, subkind) VALUES (%s, %s, 'effective', %s) RETURNING party_id",
        (kind, name, profile.get("subkind", _SUBKINDS[kind])),
    ).fetchone()
    assert row is not None
    party_id = int(row[0])
    facts = {"name": name, "subkind": _SUBKINDS[kind], "address": "示范园区"} | profile
    conn.execute(
        """INSERT INTO party_profile (party_id, version, facts, effective_at, source, made_by)
           VALUES (%s, 1, %s, %s, 'test', 'test')""",
        (party_id, Jsonb(facts), ADMITTED_AT),
    )
    conn.execute(
        """INSERT INTO party_event (party_id, deed, before, after, at, actor)
           VALUES (%s, 'admit', 'reviewing', 'effective', %s, 'test')""",
        (party_id, ADMITTED_AT),
    )
    return party_id


def person(conn: Conn, party_id: int | None, login: str, role: str = "customer") -> int:
    """Somebody who may sign in with PASSWORD and acts for the party."""
    row = conn.execute(
        """INSERT INTO app_user (login, password_hash, display_name, role, party_id) VALUES (%s, %s, %s, %s, %s)
           RETURNING user_id""",
        (login, _HASH, login, role, party_id),
    ).fetchone()
    assert row is not None
    return int(row[0])


def operator(conn: Conn, login: str) -> int:
    """A market operator: a member of the staff who may sign in with PASSWORD."""
    return person(conn, None, login, "staff")
