"""Who sits there: password and code, used once, counted, sealed; and who may seal for a party."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from secrets import token_bytes

import market_world
import psycopg
import pyotp
import pytest
import stepup_world

from cloud import db
from cloud.security import run, sealing, store, totp
from cloud.security.access import Actor, NotYours, Role
from cloud.security.run import seals

NOW = datetime(2026, 9, 1, 2, 0, 7, tzinfo=UTC)
PASSWORD = market_world.PASSWORD


@pytest.fixture
def conn(database: str) -> Iterator[db.Conn]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


def session_of(conn: db.Conn, user_id: int, role: Role, party_id: int | None) -> run.Session:
    login = f"user-{user_id}"
    token = user_id.to_bytes(32, "big")
    store.insert_session(conn, token, user_id, "form", at=NOW, expires_at=NOW + timedelta(hours=12))
    actor = Actor(user_id, login, login, role, party_id, "zh")
    return run.Session(actor, "form", token, stepup_world.SEALING_KEY)


@pytest.fixture
def holder(conn: db.Conn) -> tuple[run.Session, str, int]:
    party_id = market_world.admitted_party(conn, "retailer", "示范售电")
    user_id = market_world.person(conn, party_id, "seal1")
    return (
        session_of(conn, user_id, Role.CUSTOMER, party_id),
        stepup_world.second_factor(conn, user_id),
        party_id,
    )


def staff_session(conn: db.Conn, login: str) -> run.Session:
    session = session_of(conn, market_world.operator(conn, login), Role.STAFF, None)
    store.mark_proven(conn, session.token_sha256, NOW)
    return session


def test_codes_are_those_of_rfc_6238() -> None:
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # RFC 6238 appendix B, SHA-1; its last six digits
    for seconds, code in (
        (59, "287082"),
        (1111111109, "081804"),
        (1234567890, "005924"),
        (2000000000, "279037"),
    ):
        at = datetime.fromtimestamp(seconds, UTC)

        assert totp.counter_of(secret, code, at, after=0) == seconds // 30


def test_a_code_counts_for_one_step_aside_and_never_twice() -> None:
    secret = pyotp.random_base32()
    code = stepup_world.code(secret, NOW)
    counter = int(NOW.timestamp()) // 30

    assert totp.counter_of(secret, code, NOW + timedelta(seconds=30), after=0) == counter
    assert totp.counter_of(secret, code, NOW + timedelta(seconds=60), after=0) is None
    assert totp.counter_of(secret, code, NOW, after=counter) is None


def test_a_proof_lasts_five_minutes_and_opens_one_session(
    conn: db.Conn, holder: tuple[run.Session, str, int]
) -> None:
    session, secret, _ = holder
    with pytest.raises(run.StepUpNeeded):
        run.demand_step_up(conn, session, NOW)

    run.step_up(conn, session, PASSWORD, stepup_world.code(secret, NOW), NOW)

    run.demand_step_up(conn, session, NOW + timedelta(minutes=4, seconds=59))
    with pytest.raises(run.StepUpNeeded):
        run.demand_step_up(conn, session, NOW + timedelta(minutes=5))
    with pytest.raises(run.StepUpNeeded):
        run.demand_step_up(conn, replace(session, token_sha256=b"other" * 6 + b"xx"), NOW)


def test_a_used_code_is_refused(conn: db.Conn, holder: tuple[run.Session, str, int]) -> None:
    session, secret, _ = holder
    code = stepup_world.code(secret, NOW)
    run.step_up(conn, session, PASSWORD, code, NOW)

    with pytest.raises(run.WrongProof):
        run.step_up(conn, session, PASSWORD, code, NOW + timedelta(seconds=1))


def test_neither_password_nor_code_alone_proves_anybody(
    conn: db.Conn, holder: tuple[run.Session, str, int]
) -> None:
    session, secret, _ = holder

    with pytest.raises(run.WrongProof):
        run.step_up(conn, session, "not the password", stepup_world.code(secret, NOW), NOW)
    with pytest.raises(run.WrongProof):
        run.step_up(conn, session, PASSWORD, "abcdef", NOW)
    with pytest.raises(run.StepUpNeeded):
        run.demand_step_up(conn, session, NOW)


def test_failures_stay_on_record_when_the_request_is_rolled_back_and_five_lock(
    database: str, conn: db.Conn, holder: tuple[run.Session, str, int]
) -> None:
    session, secret, party_id = holder
    scope = db.Scope(db.ProcessRole.API, "customer", party_id, run.actor_name(session.actor))
    with db.open_pool(database, size_max=1) as pool:
        for _ in range(5):
            with pytest.raises(run.WrongProof), db.transaction(pool, scope) as visit:
                run.step_up(visit, session, PASSWORD, "000000x", NOW)

        with pytest.raises(run.TooManyTries), db.transaction(pool, scope) as visit:
            run.step_up(visit, session, PASSWORD, stepup_world.code(secret, NOW), NOW)
        later = NOW + timedelta(minutes=16)
        with db.transaction(pool, scope) as visit:
            run.step_up(visit, session, PASSWORD, stepup_world.code(secret, later), later)
            run.demand_step_up(visit, session, later)


def test_enrolment_needs_the_password_and_its_first_code(conn: db.Conn) -> None:
    party_id = market_world.admitted_party(conn, "retailer", "示范售电")
    user_id = market_world.person(conn, party_id, "fresh")
    session = session_of(conn, user_id, Role.CUSTOMER, party_id)
    with pytest.raises(run.WrongProof):
        run.begin_factor(conn, session, "wrong", "", NOW)

    made = run.begin_factor(conn, session, PASSWORD, "", NOW)
    assert not run.has_second_factor(conn, user_id)
    run.confirm_factor(conn, session, stepup_world.code(made.secret, NOW), NOW)

    assert run.has_second_factor(conn, user_id)
    later = NOW + timedelta(minutes=1)
    with pytest.raises(run.WrongProof):  # a thief of the password cannot replace the factor
        run.begin_factor(conn, session, PASSWORD, "", later)
    assert run.begin_factor(conn, session, PASSWORD, stepup_world.code(made.secret, later), later)


def test_a_sealed_secret_opens_only_where_it_stands() -> None:
    key = stepup_world.SEALING_KEY
    sealed = sealing.seal(
        key, b"secret", sealing.place("second_factor", "sealed_secret", 7), token_bytes(sealing.NONCE_BYTES)
    )

    assert sealing.unseal(key, sealed, "second_factor|sealed_secret|7") == b"secret"
    for other, where in (
        (key, "second_factor|sealed_secret|8"),
        (b"x" * 32, "second_factor|sealed_secret|7"),
    ):
        with pytest.raises(sealing.Unsealable):
            sealing.unseal(other, sealed, where)
    with pytest.raises(sealing.NoSealingKey):
        sealing.seal(None, b"secret", "anywhere", token_bytes(sealing.NONCE_BYTES))


def test_the_first_seal_needs_two_of_the_staff_and_the_next_a_holder(
    conn: db.Conn, holder: tuple[run.Session, str, int]
) -> None:
    session, _, party_id = holder
    one, other = staff_session(conn, "staff-a"), staff_session(conn, "staff-b")
    second = market_world.person(conn, party_id, "seal2")

    first = seals.propose(conn, one, party_id, session.actor.user_id, NOW)
    assert not run.may_sign_for(conn, session.actor, party_id, NOW)
    with pytest.raises(store.SealNeedsHolder):
        seals.approve(conn, one, first, NOW)
    seals.approve(conn, other, first, NOW)
    assert run.may_sign_for(conn, session.actor, party_id, NOW)

    by_staff = seals.propose(conn, one, party_id, second, NOW)
    with pytest.raises(store.SealNeedsHolder):
        seals.approve(conn, other, by_staff, NOW)
    store.mark_proven(conn, session.token_sha256, NOW)
    seals.end(conn, session, by_staff, NOW)
    seals.propose(conn, session, party_id, second, NOW)
    acting = Actor(second, "seal2", "seal2", Role.CUSTOMER, party_id, "zh")
    assert run.may_sign_for(conn, acting, party_id, NOW)


def test_nobody_signs_for_another_party_and_staff_for_none(
    conn: db.Conn, holder: tuple[run.Session, str, int]
) -> None:
    session, _, party_id = holder
    stepup_world.seal_holder(conn, party_id, session.actor.user_id)
    foreign = market_world.admitted_party(conn, "generator", "示范热电厂")
    staff = staff_session(conn, "staff-a")

    assert run.may_sign_for(conn, session.actor, party_id, NOW)
    assert not run.may_sign_for(conn, session.actor, foreign, NOW)
    assert not run.may_sign_for(conn, staff.actor, party_id, NOW)
    store.mark_proven(conn, session.token_sha256, NOW)
    with pytest.raises(NotYours):
        seals.propose(conn, session, foreign, session.actor.user_id, NOW)
    with pytest.raises(store.NobodyOfParty):
        seals.propose(conn, staff, foreign, session.actor.user_id, NOW)


def test_a_person_without_a_seal_cannot_take_one(conn: db.Conn, holder: tuple[run.Session, str, int]) -> None:
    session, _, party_id = holder
    store.mark_proven(conn, session.token_sha256, NOW)

    with pytest.raises(store.SealNeedsHolder):
        seals.propose(conn, session, party_id, session.actor.user_id, NOW)
    with pytest.raises(psycopg.errors.CheckViolation):
        conn.execute(
            """INSERT INTO seal_holder (party_id, user_id, proposed_at, proposed_by, approved_at, approved_by)
               VALUES (%s, %s, %s, %s, %s, %s)""",
            (party_id, session.actor.user_id, NOW, session.actor.user_id, NOW, session.actor.user_id),
        )


def test_resetting_a_lost_factor_takes_the_seal(conn: db.Conn, holder: tuple[run.Session, str, int]) -> None:
    session, _, party_id = holder
    stepup_world.seal_holder(conn, party_id, session.actor.user_id)

    seals.reset_factor(conn, staff_session(conn, "staff-a"), party_id, session.actor.user_id, NOW)

    assert not run.has_second_factor(conn, session.actor.user_id)
    assert not run.may_sign_for(conn, session.actor, party_id, NOW)


def test_another_person_sees_no_factor(
    database: str, conn: db.Conn, holder: tuple[run.Session, str, int]
) -> None:
    session, _, party_id = holder
    other = market_world.person(conn, party_id, "other")
    with db.open_pool(database, size_max=1) as pool:
        for user_id, seen in ((session.actor.user_id, 1), (other, 0)):
            with db.transaction(
                pool, db.Scope(db.ProcessRole.API, "customer", party_id, f"user:{user_id}")
            ) as visit:
                assert visit.execute("SELECT count(*) FROM second_factor").fetchone() == (seen,)
