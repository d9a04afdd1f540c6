"""SQL of enrolment: claims, keys, certificates, and the gateway's moves. Neither commits nor decides."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn
from provisioning.ca import Revoked


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway's row, locked for this transaction."""

    gateway_id: str
    state: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Claim:
    """One issued code; only its HMAC is known."""

    issued_at: dt.datetime
    expires_at: dt.datetime
    used_at: dt.datetime | None


def lock_gateway(conn: Conn, gateway_id: str) -> Gateway | None:
    """Find a gateway and let nobody else change it before we have committed."""
    with conn.cursor(row_factory=class_row(Gateway)) as cursor:
        return cursor.execute(
            "SELECT gateway_id, state, epoch FROM gateway WHERE gateway_id = %s FOR UPDATE", (gateway_id,)
        ).fetchone()


def register_gateway(conn: Conn, gateway_id: str, name: str) -> bool:
    """Note a gateway that is yet to come; False when it is known already."""
    done = conn.execute(
        "INSERT INTO gateway (gateway_id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING", (gateway_id, name)
    )
    return done.rowcount == 1


def end_open_claims(conn: Conn, gateway_id: str, now: dt.datetime) -> None:
    """Let the unused codes of a gateway expire now."""
    conn.execute(
        "UPDATE claim SET expires_at = %s WHERE gateway_id = %s AND used_at IS NULL AND expires_at > %s",
        (now, gateway_id, now),
    )


def add_claim(
    conn: Conn, gateway_id: str, claim_hmac: bytes, issued_at: dt.datetime, expires_at: dt.datetime
) -> None:
    conn.execute(
        "INSERT INTO claim (gateway_id, claim_hmac, issued_at, expires_at) VALUES (%s, %s, %s, %s)",
        (gateway_id, claim_hmac, issued_at, expires_at),
    )


def find_claim(conn: Conn, gateway_id: str, claim_hmac: bytes) -> Claim | None:
    with conn.cursor(row_factory=class_row(Claim)) as cursor:
        return cursor.execute(
            "SELECT issued_at, expires_at, used_at FROM claim WHERE gateway_id = %s AND claim_hmac = %s",
            (gateway_id, claim_hmac),
        ).fetchone()


def use_claim(conn: Conn, claim_hmac: bytes, now: dt.datetime) -> None:
    conn.execute("UPDATE claim SET used_at = %s WHERE claim_hmac = %s", (now, claim_hmac))


def count_refusals(conn: Conn, gateway_id: str, since: dt.datetime) -> int:
    """Count wrong codes for a gateway since an instant."""
    row = conn.execute(
        "SELECT count(*) FROM gateway_event WHERE gateway_id = %s AND deed = 'claim refused' AND at >= %s",
        (gateway_id, since),
    ).fetchone()
    assert row is not None
    return int(row[0])


def last_claim_issued_at(conn: Conn, gateway_id: str) -> dt.datetime | None:
    row = conn.execute("SELECT max(issued_at) FROM claim WHERE gateway_id = %s", (gateway_id,)).fetchone()
    assert row is not None
    at: dt.datetime | None = row[0]
    return at


def note_event(
    conn: Conn, gateway_id: str, at: dt.datetime, deed: str, actor: str, facts: Mapping[str, object]
) -> None:
    """Append one move to the gateway's life."""
    conn.execute(
        "INSERT INTO gateway_event (gateway_id, at, deed, actor, facts) VALUES (%s, %s, %s, %s, %s)",
        (gateway_id, at, deed, actor, Jsonb(dict(facts))),
    )


def current_key(conn: Conn, gateway_id: str, now: dt.datetime) -> bytes | None:
    """Give the raw Ed25519 public key that the gateway signs with now."""
    row = conn.execute(
        "SELECT public_key FROM gateway_key WHERE gateway_id = %s AND valid @> %s::timestamptz"
        " ORDER BY lower(valid) DESC LIMIT 1",
        (gateway_id, now),
    ).fetchone()
    return None if row is None else bytes(row[0])


def end_keys(conn: Conn, gateway_id: str, now: dt.datetime) -> None:
    """Let every signing key of the gateway end now."""
    conn.execute(
        "UPDATE gateway_key SET valid = tstzrange(lower(valid), greatest(%s, lower(valid)), '[)')"
        " WHERE gateway_id = %s AND (upper_inf(valid) OR upper(valid) > %s)",
        (now, gateway_id, now),
    )


def add_key(conn: Conn, gateway_id: str, key_id: bytes, public_key: bytes, now: dt.datetime) -> None:
    conn.execute(
        "INSERT INTO gateway_key (gateway_id, key_id, public_key, valid)"
        " VALUES (%s, %s, %s, tstzrange(%s, NULL, '[)'))",
        (gateway_id, key_id, public_key, now),
    )


def set_state(conn: Conn, gateway_id: str, state: str, epoch: int) -> None:
    conn.execute(
        "UPDATE gateway SET state = %s, epoch = %s WHERE gateway_id = %s", (state, epoch, gateway_id)
    )


def add_certificate(
    conn: Conn,
    gateway_id: str,
    serial_number: int,
    fingerprint: bytes,
    valid_from: dt.datetime,
    valid_until: dt.datetime,
) -> None:
    conn.execute(
        "INSERT INTO certificate (serial_number, gateway_id, fingerprint, valid)"
        " VALUES (%s, %s, %s, tstzrange(%s, %s, '[)'))",
        (f"{serial_number:x}", gateway_id, fingerprint, valid_from, valid_until),
    )


def revoke_certificates(conn: Conn, gateway_id: str, now: dt.datetime, reason: str) -> int:
    """Mark the gateway's certificates as revoked and count those that were not yet."""
    done = conn.execute(
        "UPDATE certificate SET revoked_at = %s, reason = %s WHERE gateway_id = %s AND revoked_at IS NULL",
        (now, reason, gateway_id),
    )
    return done.rowcount


def load_revoked(conn: Conn, now: dt.datetime) -> tuple[Revoked, ...]:
    """List revoked certificates that have not expired by themselves."""
    rows = conn.execute(
        "SELECT serial_number, revoked_at, reason FROM certificate"
        " WHERE revoked_at IS NOT NULL AND upper(valid) > %s ORDER BY revoked_at, serial_number",
        (now,),
    )
    return tuple(Revoked(int(serial, 16), at, reason) for serial, at, reason in rows)
