"""Shells of room 1: allow (decide and record), sign in, sign out, who is it, add a user.

Signing in is three steps, so that no transaction is open while argon2id works and no burst passes the limit:
`knock` counts and notes the attempt (committed), `is_right` compares in the request's own thread, `enter`
opens the session. An unknown login takes the same steps, the same time and gets the same answer.
"""

from __future__ import annotations

import getpass
import hashlib
import secrets
import sys
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from cloud.db import Conn
from cloud.errors import Forbidden, Invalid, NotFound, NotNow
from cloud.security import store
from cloud.security.access import (
    Actor,
    Deed,
    NotForRole,
    NotYours,
    Reach,
    Role,
    Subject,
    is_recorded,
    may,
    reach,
)

IDLE_MAX: Final = timedelta(hours=2)
SESSION_MAX: Final = timedelta(hours=12)
TOUCH_EVERY: Final = timedelta(minutes=1)
FAILURES_WINDOW: Final = timedelta(minutes=15)
FAILURES_MAX: Final = (5, 50, 40)  # of the login from the address; of the login; from the address
LOGIN_LENGTH_MAX: Final = 64
PASSWORD_LENGTH: Final = (10, 256)
_HASHES_AT_ONCE: Final = 2  # 64 MiB each

_HASHER: Final = PasswordHasher()
_AT_WORK: Final = threading.BoundedSemaphore(_HASHES_AT_ONCE)
# Compared with when there is no such login, so that the answer takes as long.
_NOBODYS_HASH: Final = _HASHER.hash(secrets.token_hex(16))


class WrongPassword(Forbidden):
    """Login and password do not belong together (or there is no such login: nobody can tell)."""


class TooManyTries(NotNow):
    """Too many failed attempts of late; `wait_s` is when to try again."""


class NoSession(NotFound):
    """Nobody is signed in here, or no longer."""


class BadUser(Invalid):
    """A user cannot be made from this."""


@dataclass(frozen=True, slots=True)
class Knock:
    """An attempt to sign in, already on record."""

    attempt_id: int
    login: str
    address: str
    user: store.UserRow | None


@dataclass(frozen=True, slots=True)
class Pass:
    """A new session: the token goes into the cookie and nowhere else."""

    token: str
    actor: Actor
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """Whose request this is, and the token its forms must carry."""

    actor: Actor
    csrf_token: str
    token_sha256: bytes


def allow(conn: Conn, actor: Actor, deed: Deed, subject: Subject, now: datetime) -> None:
    """Decide whether the actor may do the deed to the subject, and record it where access.is_recorded says so.

    Raises NotForRole when the role has no such right, NotYours when the subject is out of its reach.
    """
    if reach(actor, deed) is Reach.NONE:
        raise NotForRole("not_for_role", deed=deed.value)
    if not may(actor, deed, subject):
        raise NotYours("not_found", kind=subject.kind)
    if is_recorded(actor, deed, subject):
        note(conn, actor_name(actor), deed, f"{subject.kind}:{subject.key}", now)


def note(conn: Conn, actor: str, deed: Deed, subject: str, now: datetime, **facts: object) -> None:
    """Append an audit row in the deed's own transaction."""
    store.insert_audit(conn, at=now, actor=actor, deed=deed.value, subject=subject, facts=facts)


def actor_name(actor: Actor) -> str:
    """How audit rows name a person."""
    return f"user:{actor.user_id}"


def is_person(actor: str) -> bool:
    """Whether a name in audit rows and decisions is a person's, and not a command's or a job's."""
    return actor.startswith("user:")


def knock(conn: Conn, login: str, address: str, now: datetime) -> Knock:
    """Note an attempt to sign in and find who it may be. Raises TooManyTries.

    The attempt counts as failed until `enter`; the caller commits before comparing the password.
    """
    login = login.strip().lower()[:LOGIN_LENGTH_MAX].replace("\0", "")
    store.lock_sign_in(conn, login)
    failures = store.count_failures(conn, login, address, now - FAILURES_WINDOW)
    if any(count >= most for count, most in zip(failures, FAILURES_MAX, strict=True)):
        raise TooManyTries("too_many_tries", wait_s=int(FAILURES_WINDOW.total_seconds()))
    attempt_id = store.insert_attempt(conn, login, address, now)
    return Knock(attempt_id, login, address, store.find_user(conn, login))


def is_right(tried: Knock, password: str) -> bool:
    """Whether the password is the user's. Takes as long for a login that does not exist."""
    stored = _NOBODYS_HASH if tried.user is None else tried.user.password_hash
    with _AT_WORK:
        try:
            _HASHER.verify(stored, password[: PASSWORD_LENGTH[1]])
        except (VerifyMismatchError, InvalidHashError):
            return False
    return tried.user is not None


def proven(conn: Conn, tried: Knock) -> None:
    """Note that an attempt's password was right, where no session is opened: it is no failure."""
    store.mark_succeeded(conn, tried.attempt_id)


def enter(conn: Conn, tried: Knock, now: datetime) -> Pass:
    """Open a session for the attempt whose password was right. Raises WrongPassword."""
    user = tried.user
    if user is None:
        raise WrongPassword("wrong_password")
    store.mark_succeeded(conn, tried.attempt_id)
    store.delete_expired_sessions(conn, user.user_id, now)
    token = secrets.token_urlsafe(32)
    expires_at = now + SESSION_MAX
    store.insert_session(
        conn, _sha256(token), user.user_id, secrets.token_urlsafe(24), at=now, expires_at=expires_at
    )
    actor = Actor(user.user_id, user.login, user.display_name, Role(user.role), user.party_id, user.language)
    note(conn, actor_name(actor), Deed.SIGN_IN, f"user:{user.user_id}", now, address=tried.address)
    return Pass(token, actor, expires_at)


def find_session(conn: Conn, token: str, now: datetime, *, is_use: bool = True) -> Session:
    """Whose session the token opens. Raises NoSession.

    `is_use` says that the person did something, which an open live page by itself is not.
    """
    token_sha256 = _sha256(token)
    row = store.load_session(conn, token_sha256, now=now, seen_since=now - IDLE_MAX)
    if row is None:
        raise NoSession("no_session")
    if is_use and now - row.seen_at > TOUCH_EVERY:
        store.touch_session(conn, token_sha256, now)
    actor = Actor(row.user_id, row.login, row.display_name, Role(row.role), row.party_id, row.language)
    return Session(actor, row.csrf_token, token_sha256)


def sign_out(conn: Conn, session: Session, now: datetime) -> None:
    """End the session; its token opens nothing any more."""
    actor = session.actor
    allow(
        conn, actor, Deed.SIGN_OUT, Subject("session", session.token_sha256.hex()[:12], actor.party_id), now
    )
    store.delete_session(conn, session.token_sha256)


def same(secret: str, offered: str) -> bool:
    """Compare two secrets in constant time."""
    return secrets.compare_digest(secret.encode(), offered.encode())


def new_form_token() -> str:
    """A token for the sign-in form, before there is a session."""
    return secrets.token_urlsafe(24)


def add_user(conn: Conn, user: store.UserRow, password: str) -> int:
    """Keep a new user with that password (user.password_hash and user_id are ignored).

    Raises BadUser, LoginTaken.
    """
    login = user.login.strip().lower()
    shortest, longest = PASSWORD_LENGTH
    if not shortest <= len(password) <= longest:
        raise BadUser("password_length", shortest=shortest, longest=longest)
    if not 3 <= len(login) <= LOGIN_LENGTH_MAX or not login.isprintable() or " " in login:
        raise BadUser("login_form", login=login)
    if (user.role == Role.CUSTOMER) != (user.party_id is not None):
        raise BadUser("customer_needs_party")
    with _AT_WORK:
        password_hash = _HASHER.hash(password)
    kept = store.UserRow(0, login, password_hash, user.display_name, user.role, user.party_id, user.language)
    return store.insert_user(conn, kept)


def read_password(password_file: Path | None) -> str:
    """The password from a file, from a pipe, or asked for twice at the terminal; never from the arguments."""
    if password_file is not None:
        try:
            return password_file.read_text("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise BadUser("password_no_text", file=str(password_file)) from None
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("密码 Password: ")
    if getpass.getpass("再输一次 Again: ") != password:
        raise BadUser("passwords_differ")
    return password


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
