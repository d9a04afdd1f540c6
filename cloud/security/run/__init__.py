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
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from cloud.db import Conn, keep_so_far
from cloud.errors import Forbidden, Invalid, NotFound, NotNow
from cloud.security import sealing, store, totp
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
PROOF_LASTS: Final = timedelta(minutes=5)
STEP_UP_FAILURES_MAX: Final = 5  # within FAILURES_WINDOW
_HASHES_AT_ONCE: Final = 2  # 64 MiB each

_HASHER: Final = PasswordHasher()
_AT_WORK: Final = threading.BoundedSemaphore(_HASHES_AT_ONCE)
# Compared with when there is no such login, so that the answer takes as long.
_NOBODYS_HASH: Final = _HASHER.hash(secrets.token_hex(16))


class WrongPassword(Forbidden):
    """Login and password do not belong together (or there is no such login: nobody can tell)."""


class TooManyTries(NotNow):
    """Too many failed attempts of late; `wait_s` is when to try again."""


class StepUpNeeded(Forbidden):
    """This deed needs password and code, given within the last minutes."""


class WrongProof(Forbidden):
    """Password and code do not both fit (nobody is told which), or the code was used before."""


class NoSecondFactor(NotNow):
    """This person has no second factor yet, or none that waits to be confirmed."""


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
    sealing_key: bytes | None = field(
        default=None, repr=False
    )  # what the person's second factor is sealed with


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A second factor just made: shown once, to its person, and never again."""

    secret: str = field(repr=False)
    address: str = field(repr=False)


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


def person(conn: Conn, actor: str) -> tuple[str, int | None] | None:
    """The display name of the person whom audit rows name so, and the party (None: of the house); None: nobody."""
    number = actor.removeprefix("user:")
    if not (number.isascii() and number.isdecimal() and len(number) < 19):
        return None
    return store.names_of(conn, [int(number)]).get(int(number))


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


def find_session(
    conn: Conn, token: str, now: datetime, *, is_use: bool = True, sealing_key: bytes | None = None
) -> Session:
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
    return Session(actor, row.csrf_token, token_sha256, sealing_key)


def find_sessions(conn: Conn, tokens: Sequence[str], now: datetime) -> dict[str, Session]:
    """Whose sessions the tokens open, for many requests at once; what opens nothing is left out."""
    of_token = {_sha256(token): token for token in tokens}
    rows = store.load_sessions(conn, tuple(of_token), now=now, seen_since=now - IDLE_MAX)
    found: dict[str, Session] = {}
    untouched = sorted(token for token, row in rows.items() if now - row.seen_at > TOUCH_EVERY)
    if untouched:
        store.touch_sessions(conn, untouched, now)
    for token_sha256, row in rows.items():
        actor = Actor(row.user_id, row.login, row.display_name, Role(row.role), row.party_id, row.language)
        found[of_token[token_sha256]] = Session(actor, row.csrf_token, token_sha256)
    return found


def sign_out(conn: Conn, session: Session, now: datetime) -> None:
    """End the session; its token opens nothing any more."""
    actor = session.actor
    allow(
        conn, actor, Deed.SIGN_OUT, Subject("session", session.token_sha256.hex()[:12], actor.party_id), now
    )
    store.delete_session(conn, session.token_sha256)


def step_up(conn: Conn, session: Session, password: str, code: str, now: datetime) -> None:
    """Prove who sits there: password and the code of the second factor; the session stays proven for PROOF_LASTS.

    Call it first: the attempt stays on record whatever follows, and with it what the transaction already holds.
    Raises TooManyTries, NoSecondFactor, WrongProof.
    """
    user_id = session.actor.user_id
    factor = store.factor_of(conn, user_id, is_confirmed=True)
    if factor is None:
        raise NoSecondFactor("no_second_factor")
    _prove(conn, session, factor, code, now, password=password)
    store.mark_proven(conn, session.token_sha256, now)
    note(conn, actor_name(session.actor), Deed.PROVE_SELF, f"user:{user_id}", now)


def demand_step_up(conn: Conn, session: Session, now: datetime) -> None:
    """Let a deed go on only if the person proved itself within PROOF_LASTS. Raises StepUpNeeded."""
    at = store.proven_at(conn, session.token_sha256)
    if at is None or not now - PROOF_LASTS < at <= now:
        raise StepUpNeeded("step_up_needed")


def may_sign_for(conn: Conn, actor: Actor, party_id: int, at: datetime) -> bool:
    """Whether the person holds the seal of exactly that party; staff never do."""
    is_own = actor.role is Role.CUSTOMER and actor.party_id == party_id
    return is_own and store.holds_seal(conn, actor.user_id, party_id, at)


def has_second_factor(conn: Conn, user_id: int) -> bool:
    """Whether the person has a second factor in force."""
    return store.factor_of(conn, user_id, is_confirmed=True) is not None


def begin_factor(conn: Conn, session: Session, password: str, code: str, now: datetime) -> Enrolment:
    """Make a second factor for the person, in force once confirmed. To replace one, its code is needed as well.

    Raises TooManyTries, WrongProof, NoSealingKey.
    """
    user_id = session.actor.user_id
    _prove(conn, session, store.factor_of(conn, user_id, is_confirmed=True), code, now, password=password)
    secret, factor_id = totp.new_secret(), store.next_factor_id(conn)
    sealed = sealing.seal(
        session.sealing_key, secret.encode(), _place(factor_id), secrets.token_bytes(sealing.NONCE_BYTES)
    )
    store.insert_factor(conn, factor_id, user_id, sealed, now)
    return Enrolment(secret, totp.address(secret, session.actor.login))


def confirm_factor(conn: Conn, session: Session, code: str, now: datetime) -> None:
    """Put the factor just made in force by its first code. Raises NoSecondFactor, TooManyTries, WrongProof."""
    user_id = session.actor.user_id
    factor = store.factor_of(conn, user_id, is_confirmed=False)
    if factor is None:
        raise NoSecondFactor("no_second_factor")
    _prove(conn, session, factor, code, now)
    store.confirm_factor(conn, user_id, factor.factor_id, now)
    note(conn, actor_name(session.actor), Deed.PROVE_SELF, f"second_factor:{factor.factor_id}", now)


def _prove(
    conn: Conn,
    session: Session,
    factor: store.FactorRow | None,
    code: str,
    now: datetime,
    *,
    password: str | None = None,
) -> None:
    """Count the attempt, commit that, and compare all there is to compare before saying anything."""
    user_id = session.actor.user_id
    store.lock_step_up(conn, user_id)
    if store.count_step_up_failures(conn, user_id, now - FAILURES_WINDOW) >= STEP_UP_FAILURES_MAX:
        raise TooManyTries("too_many_tries", wait_s=int(FAILURES_WINDOW.total_seconds()))
    attempt_id = store.insert_step_up(conn, user_id, now)
    keep_so_far(conn)
    is_proven = password is None or _is_password_of(conn, user_id, password)
    if factor is not None:
        secret = sealing.unseal(session.sealing_key, factor.sealed_secret, _place(factor.factor_id)).decode()
        counter = totp.counter_of(secret, code.strip(), now, factor.last_counter)
        is_proven = is_proven and counter is not None and store.use_counter(conn, factor.factor_id, counter)
    if not is_proven:
        raise WrongProof("wrong_proof")
    store.mark_step_up(conn, attempt_id)


def _is_password_of(conn: Conn, user_id: int, password: str) -> bool:
    stored = store.password_hash_of(conn, user_id) or _NOBODYS_HASH
    with _AT_WORK:
        try:
            return _HASHER.verify(stored, password[: PASSWORD_LENGTH[1]])
        except (VerifyMismatchError, InvalidHashError):
            return False


def _place(factor_id: int) -> str:
    return sealing.place("second_factor", "sealed_secret", factor_id)


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
    return store.insert_user(conn, new_user(user, password))


def new_user(user: store.UserRow, password: str) -> store.UserRow:
    """Check a user that is to be kept and hash its password. Raises BadUser."""
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
    return store.UserRow(0, login, password_hash, user.display_name, user.role, user.party_id, user.language)


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
