"""SQL of users, sessions, sign-in attempts and audit rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.errors import CheckViolation, UniqueViolation
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.errors import Conflict, Forbidden, Invalid


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


class SealTaken(Conflict):
    """This person already holds the party's seal, or is proposed to."""


class NobodyOfParty(Invalid):
    """A seal holder is an enabled person of that party."""


class SealNeedsHolder(Forbidden):
    """The first seal of a party needs two of the staff; each later one a holder of the party."""


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


def load_sessions(
    conn: Conn, tokens_sha256: Sequence[bytes], *, now: datetime, seen_since: datetime
) -> dict[bytes, SessionRow]:
    """What `load_session` says of many tokens at once, by token; those that open nothing are left out."""
    rows = conn.execute(
        """SELECT s.token_sha256, s.csrf_token, s.created_at, s.seen_at, s.expires_at,
                  u.user_id, u.login, u.display_name, u.role, u.party_id, u.language
           FROM user_session s JOIN app_user u USING (user_id)
           WHERE s.token_sha256 = ANY(%s) AND s.expires_at > %s AND s.seen_at > %s AND u.disabled_at IS NULL""",
        (list(tokens_sha256), now, seen_since),
    )
    return {bytes(token): SessionRow(*facts) for token, *facts in rows}


def touch_session(conn: Conn, token_sha256: bytes, now: datetime) -> None:
    """The session was used now."""
    conn.execute("UPDATE user_session SET seen_at = %s WHERE token_sha256 = %s", (now, token_sha256))


def touch_sessions(conn: Conn, tokens_sha256: Sequence[bytes], now: datetime) -> None:
    """These sessions were used now."""
    conn.execute(
        "UPDATE user_session SET seen_at = %s WHERE token_sha256 = ANY(%s)", (now, list(tokens_sha256))
    )


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


@dataclass(frozen=True, slots=True)
class FactorRow:
    """A person's second factor; not in force before it is confirmed."""

    factor_id: int
    user_id: int
    sealed_secret: bytes
    confirmed_at: datetime | None
    last_counter: int


@dataclass(frozen=True, slots=True)
class SealRow:
    """Who may sign for a party, or is proposed to."""

    holder_id: int
    party_id: int
    user_id: int
    display_name: str
    login: str
    proposed_at: datetime
    proposed_by: int
    approved_at: datetime | None
    ended_at: datetime | None


def password_hash_of(conn: Conn, user_id: int) -> str | None:
    """The enabled user's password hash."""
    row = conn.execute(
        "SELECT password_hash FROM app_user WHERE user_id = %s AND disabled_at IS NULL", (user_id,)
    ).fetchone()
    return None if row is None else str(row[0])


def lock_step_up(conn: Conn, user_id: int) -> None:
    """Let one person's proofs pass one after the other until the transaction's end."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('step_up:' || %s, 0))", (user_id,))


def count_step_up_failures(conn: Conn, user_id: int, since: datetime) -> int:
    """Failed proofs of a person since."""
    row = conn.execute(
        "SELECT count(*) FROM step_up_attempt WHERE user_id = %s AND at >= %s AND NOT succeeded",
        (user_id, since),
    ).fetchone()
    assert row is not None
    return int(row[0])


def insert_step_up(conn: Conn, user_id: int, at: datetime) -> int:
    """Keep a proof attempted, as failed until it is known to have succeeded."""
    row = conn.execute(
        "INSERT INTO step_up_attempt (user_id, at, succeeded) VALUES (%s, %s, false) RETURNING attempt_id",
        (user_id, at),
    ).fetchone()
    assert row is not None
    return int(row[0])


def mark_step_up(conn: Conn, attempt_id: int) -> None:
    """The proof was right."""
    conn.execute("UPDATE step_up_attempt SET succeeded = true WHERE attempt_id = %s", (attempt_id,))


def mark_proven(conn: Conn, token_sha256: bytes, at: datetime) -> None:
    """The session's person has just given password and code."""
    conn.execute("UPDATE user_session SET proven_at = %s WHERE token_sha256 = %s", (at, token_sha256))


def proven_at(conn: Conn, token_sha256: bytes) -> datetime | None:
    """When the session's person last gave password and code."""
    row = conn.execute(
        "SELECT proven_at FROM user_session WHERE token_sha256 = %s", (token_sha256,)
    ).fetchone()
    return None if row is None else row[0]


def next_factor_id(conn: Conn) -> int:
    """Draw the key of a factor about to be sealed."""
    row = conn.execute("SELECT nextval(pg_get_serial_sequence('second_factor', 'factor_id'))").fetchone()
    assert row is not None
    return int(row[0])


def insert_factor(conn: Conn, factor_id: int, user_id: int, sealed: bytes, at: datetime) -> None:
    """Keep a factor that its person still has to confirm; an unconfirmed one before it ends."""
    conn.execute(
        """UPDATE second_factor SET ended_at = %s
           WHERE user_id = %s AND confirmed_at IS NULL AND ended_at IS NULL""",
        (at, user_id),
    )
    conn.execute(
        """INSERT INTO second_factor (factor_id, user_id, sealed_secret, begun_at) OVERRIDING SYSTEM VALUE
           VALUES (%s, %s, %s, %s)""",
        (factor_id, user_id, sealed, at),
    )


def factor_of(conn: Conn, user_id: int, *, is_confirmed: bool) -> FactorRow | None:
    """The person's factor in force, or the one begun last and not confirmed yet."""
    with conn.cursor(row_factory=class_row(FactorRow)) as cursor:
        return cursor.execute(
            """SELECT factor_id, user_id, sealed_secret, confirmed_at, last_counter FROM second_factor
               WHERE user_id = %s AND ended_at IS NULL AND (confirmed_at IS NOT NULL) = %s
               ORDER BY factor_id DESC LIMIT 1""",
            (user_id, is_confirmed),
        ).fetchone()


def use_counter(conn: Conn, factor_id: int, counter: int) -> bool:
    """Use up a code; False when it, or a later one, was used already."""
    return (
        conn.execute(
            "UPDATE second_factor SET last_counter = %s WHERE factor_id = %s AND last_counter < %s",
            (counter, factor_id, counter),
        ).rowcount
        == 1
    )


def confirm_factor(conn: Conn, user_id: int, factor_id: int, at: datetime) -> None:
    """Put the factor in force; one before it ends."""
    conn.execute(
        """UPDATE second_factor SET ended_at = %s
           WHERE user_id = %s AND factor_id <> %s AND ended_at IS NULL""",
        (at, user_id, factor_id),
    )
    conn.execute("UPDATE second_factor SET confirmed_at = %s WHERE factor_id = %s", (at, factor_id))


def end_factors(conn: Conn, user_id: int, at: datetime) -> int:
    """End every factor of a person and say how many there were."""
    return conn.execute(
        "UPDATE second_factor SET ended_at = %s WHERE user_id = %s AND ended_at IS NULL", (at, user_id)
    ).rowcount


def holds_seal(conn: Conn, user_id: int, party_id: int, at: datetime) -> bool:
    """Whether the person may sign for the party at that instant."""
    row = conn.execute("SELECT holds_seal(%s, %s, %s)", (user_id, party_id, at)).fetchone()
    return row == (True,)


_SEALS = """SELECT s.holder_id, s.party_id, s.user_id, u.display_name, u.login, s.proposed_at, s.proposed_by,
                   s.approved_at, s.ended_at
            FROM seal_holder s JOIN app_user u USING (user_id)"""


def seals_of(conn: Conn, party_id: int) -> tuple[SealRow, ...]:
    """Who holds, held or is proposed to hold a party's seal."""
    with conn.cursor(row_factory=class_row(SealRow)) as cursor:
        return tuple(cursor.execute(f"{_SEALS} WHERE s.party_id = %s ORDER BY s.holder_id", (party_id,)))


def find_seal(conn: Conn, holder_id: int) -> SealRow | None:
    """One of them."""
    with conn.cursor(row_factory=class_row(SealRow)) as cursor:
        return cursor.execute(f"{_SEALS} WHERE s.holder_id = %s", (holder_id,)).fetchone()


def insert_seal(conn: Conn, party_id: int, user_id: int, by: int, at: datetime) -> int:
    """Propose a person as seal holder. Raises SealTaken, NobodyOfParty."""
    try:
        with conn.transaction():
            row = conn.execute(
                """INSERT INTO seal_holder (party_id, user_id, proposed_at, proposed_by) VALUES (%s, %s, %s, %s)
                   RETURNING holder_id""",
                (party_id, user_id, at, by),
            ).fetchone()
    except UniqueViolation as taken:
        raise SealTaken("seal_taken") from taken
    except CheckViolation as problem:
        raise NobodyOfParty("nobody_of_party") from problem
    assert row is not None
    return int(row[0])


def approve_seal(conn: Conn, holder_id: int, by: int, at: datetime) -> None:
    """Put a proposed holder in force. Raises SealNeedsHolder when the one who approves may not."""
    try:
        with conn.transaction():
            conn.execute(
                "UPDATE seal_holder SET approved_at = %s, approved_by = %s WHERE holder_id = %s",
                (at, by, holder_id),
            )
    except CheckViolation as problem:
        raise SealNeedsHolder("seal_needs_holder") from problem


def end_seal(conn: Conn, holder_id: int, by: int, at: datetime) -> None:
    """The person no longer holds the seal."""
    conn.execute(
        "UPDATE seal_holder SET ended_at = %s, ended_by = %s WHERE holder_id = %s AND ended_at IS NULL",
        (at, by, holder_id),
    )


def end_seals_of(conn: Conn, user_id: int, by: int, at: datetime) -> int:
    """End every seal of a person and say how many there were."""
    return conn.execute(
        "UPDATE seal_holder SET ended_at = %s, ended_by = %s WHERE user_id = %s AND ended_at IS NULL",
        (at, by, user_id),
    ).rowcount


def names_of(conn: Conn, user_ids: Sequence[int]) -> dict[int, tuple[str, int | None]]:
    """The display names of people, and whose they are; None: of the house."""
    rows = conn.execute(
        "SELECT user_id, display_name, party_id FROM app_user WHERE user_id = ANY(%s)", (list(user_ids),)
    ).fetchall()
    return {int(user): (str(name), None if party is None else int(party)) for user, name, party in rows}


def people_of(conn: Conn, party_id: int) -> tuple[tuple[int, str, str, bool], ...]:
    """The enabled people of a party: id, login, name, and whether they have a second factor."""
    found = conn.execute(
        """SELECT u.user_id, u.login, u.display_name,
                  EXISTS (SELECT FROM second_factor f WHERE f.user_id = u.user_id AND f.confirmed_at IS NOT NULL
                                                        AND f.ended_at IS NULL)
           FROM app_user u WHERE u.party_id = %s AND u.disabled_at IS NULL ORDER BY u.login""",
        (party_id,),
    ).fetchall()
    return tuple((int(row[0]), str(row[1]), str(row[2]), bool(row[3])) for row in found)
