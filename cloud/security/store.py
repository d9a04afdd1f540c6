"""SQL of users, sessions, sign-in attempts and audit rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg.errors import UniqueViolation
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.errors import Conflict


@dataclass(frozen=True, slots=True)
class UserRow:
    """A person who may sign in."""

    user_id: int
    login: str
    password_hash: str
    display_name: str
    role: str
    party_id: int | None
    language: str


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session in force, with the person whose it is."""

    csrf_token: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    user_id: int
    login: str
    display_name: str
    role: str
    party_id: int | None
    language: str


class LoginTaken(Conflict):
    """Another user already has this login."""


def find_user(conn: Conn, login: str) -> UserRow | None:
    """The enabled user of that login."""
    with conn.cursor(row_factory=class_row(UserRow)) as cursor:
        return cursor.execute(
            """SELECT user_id, login, password_hash, display_name, role, party_id, language
               FROM app_user WHERE login = %s AND disabled_at IS NULL""",
            (login,),
        ).fetchone()


def insert_user(conn: Conn, user: UserRow) -> int:
    """Keep a new user (its user_id is ignored) and return the id given. Raises LoginTaken."""
    try:
        with conn.transaction():
            row = conn.execute(
                """INSERT INTO app_user (login, password_hash, display_name, role, party_id, language)
                   VALUES (%s, %s, %s, %s, %s, %s) RETURNING user_id""",
                (
                    user.login,
                    user.password_hash,
                    user.display_name,
                    user.role,
                    user.party_id,
                    user.language,
                ),
            ).fetchone()
    except UniqueViolation as taken:
        raise LoginTaken("login_taken", login=user.login) from taken
    assert row is not None
    return int(row[0])


def party_of_account(conn: Conn, account_id: str) -> int | None:
    """The party that holds the account."""
    row = conn.execute("SELECT party_id FROM account WHERE account_id = %s", (account_id,)).fetchone()
    return None if row is None else int(row[0])


def lock_sign_in(conn: Conn, login: str) -> None:
    """Let the sign-in attempts of one login pass one after the other until the transaction's end."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('sign_in:' || %s, 0))", (login,))


def count_failures(conn: Conn, login: str, address: str, since: datetime) -> tuple[int, int, int]:
    """Failed attempts since: of this login from this address, of this login, from this address."""
    row = conn.execute(
        """SELECT count(*) FILTER (WHERE login = %(login)s AND address = %(address)s),
                  count(*) FILTER (WHERE login = %(login)s), count(*) FILTER (WHERE address = %(address)s)
           FROM sign_in_attempt
           WHERE at >= %(since)s AND NOT succeeded AND (login = %(login)s OR address = %(address)s)""",
        {"login": login, "address": address, "since": since},
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])


def insert_attempt(conn: Conn, login: str, address: str, at: datetime) -> int:
    """Keep an attempt, as failed until it is known to have succeeded."""
    row = conn.execute(
        """INSERT INTO sign_in_attempt (login, address, at, succeeded) VALUES (%s, %s, %s, false)
           RETURNING attempt_id""",
        (login, address, at),
    ).fetchone()
    assert row is not None
    return int(row[0])


def mark_succeeded(conn: Conn, attempt_id: int) -> None:
    """The attempt's password was right."""
    conn.execute("UPDATE sign_in_attempt SET succeeded = true WHERE attempt_id = %s", (attempt_id,))


def insert_session(
    conn: Conn, token_sha256: bytes, user_id: int, csrf_token: str, *, at: datetime, expires_at: datetime
) -> None:
    """Keep a new session; only the hash of its token is known here."""
    conn.execute(
        """INSERT INTO user_session (token_sha256, user_id, csrf_token, created_at, seen_at, expires_at)
           VALUES (%s, %s, %s, %s, %s, %s)""",
        (token_sha256, user_id, csrf_token, at, at, expires_at),
    )


def load_session(
    conn: Conn, token_sha256: bytes, *, now: datetime, seen_since: datetime
) -> SessionRow | None:
    """The session of that token if it has neither expired nor idled since `seen_since`."""
    with conn.cursor(row_factory=class_row(SessionRow)) as cursor:
        return cursor.execute(
            """SELECT s.csrf_token, s.created_at, s.seen_at, s.expires_at,
                      u.user_id, u.login, u.display_name, u.role, u.party_id, u.language
               FROM user_session s JOIN app_user u USING (user_id)
               WHERE s.token_sha256 = %s AND s.expires_at > %s AND s.seen_at > %s AND u.disabled_at IS NULL""",
            (token_sha256, now, seen_since),
        ).fetchone()


def touch_session(conn: Conn, token_sha256: bytes, now: datetime) -> None:
    """The session was used now."""
    conn.execute("UPDATE user_session SET seen_at = %s WHERE token_sha256 = %s", (now, token_sha256))


def delete_session(conn: Conn, token_sha256: bytes) -> None:
    """The session is over."""
    conn.execute("DELETE FROM user_session WHERE token_sha256 = %s", (token_sha256,))


def delete_expired_sessions(conn: Conn, user_id: int, now: datetime) -> None:
    """Forget the user's sessions that are over anyway."""
    conn.execute("DELETE FROM user_session WHERE user_id = %s AND expires_at <= %s", (user_id, now))


def insert_audit(
    conn: Conn, *, at: datetime, actor: str, deed: str, subject: str, facts: Mapping[str, object]
) -> None:
    """Keep who did what to what."""
    conn.execute(
        "INSERT INTO audit_event (at, actor, deed, subject, facts) VALUES (%s, %s, %s, %s, %s)",
        (at, actor, deed, subject, Jsonb(dict(facts))),
    )
