"""People with a second factor and a seal, the short way: what tests of signing start from. Use a connection as the owner."""

from __future__ import annotations

from datetime import UTC, datetime
from secrets import token_bytes

import httpx
import pyotp

from cloud.db import Conn
from cloud.security import sealing

SEALING_KEY = bytes.fromhex("5e" * 32)  # what tests/pages/site.py configures
LONG_AGO = datetime(2026, 1, 5, 2, tzinfo=UTC)


def second_factor(conn: Conn, user_id: int) -> str:
    """Give the person a confirmed second factor and return its secret."""
    secret = pyotp.random_base32()
    row = conn.execute("SELECT nextval(pg_get_serial_sequence('second_factor', 'factor_id'))").fetchone()
    assert row is not None
    sealed = sealing.seal(
        SEALING_KEY,
        secret.encode(),
        sealing.place("second_factor", "sealed_secret", row[0]),
        token_bytes(sealing.NONCE_BYTES),
    )
    conn.execute(
        """INSERT INTO second_factor (factor_id, user_id, sealed_secret, begun_at, confirmed_at)
           OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s, %s, %s)""",
        (row[0], user_id, sealed, LONG_AGO, LONG_AGO),
    )
    return secret


def code(secret: str, at: datetime) -> str:
    """What the authenticator shows at that instant."""
    return pyotp.TOTP(secret).at(at)


def seal_holder(conn: Conn, party_id: int, user_id: int, since: datetime = LONG_AGO) -> int:
    """Let the person sign for the party, granted by two of the staff (made here) as the first of the party is."""
    staff = []
    for number in (1, 2):
        row = conn.execute(
            """INSERT INTO app_user (login, password_hash, display_name, role) VALUES (%s, 'none', 'seal', 'staff')
               ON CONFLICT (login) DO UPDATE SET display_name = 'seal' RETURNING user_id""",
            (f"seal-grantor-{number}",),
        ).fetchone()
        assert row is not None
        staff.append(int(row[0]))
    row = conn.execute(
        """INSERT INTO seal_holder (party_id, user_id, proposed_at, proposed_by, approved_at, approved_by)
           VALUES (%s, %s, %s, %s, %s, %s) RETURNING holder_id""",
        (party_id, user_id, since, staff[0], since, staff[1]),
    ).fetchone()
    assert row is not None
    return int(row[0])


def prove(client: httpx.Client, form_token: str, password: str, offered: str) -> httpx.Response:
    """Give password and code over HTTP; the client's session is then proven for some minutes."""
    form = {"form_token": form_token, "password": password, "code": offered, "next": "/security"}
    return client.post("/security/step-up", data=form)
