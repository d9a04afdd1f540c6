"""Two persons correct a bill: who prepared it cannot approve it, and what was shown is what is issued."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime

import money_world as world
import psycopg
import pytest
from argon2 import PasswordHasher
from correction_world import (
    DAY,
    LATE_AT,
    NUMBERS,
    R1_DUE,
    corrections_bill,
    is_balanced,
    less,
    open_fen,
    propose,
    revisions,
    some_accounts,
)
from money_world import SHELLS, account_id, point_id

from cloud.__main__ import main
from cloud.billing import correction
from cloud.billing.correction import BEYOND, DESK
from cloud.billing.run import correct
from cloud.billing.store import bills, corrections, touched
from cloud.billing.store.corrections import SamePerson
from cloud.db import Conn, ProcessRole, Scope, take_scope
from cloud.security.access import Actor


def a_proposal_of(conn: Conn, number: int, actor: str) -> int:
    less(conn, number)
    touched.look(conn, R1_DUE)
    notes = correction.by_bill(touched.waiting(conn, account_id(number)))
    proposal = correct.prepare(conn, notes, correct.Order(DESK, "表计更换漏录", actor), SHELLS, R1_DUE)
    conn.commit()
    return proposal


def test_who_prepared_a_correction_cannot_approve_it_in_code_or_in_sql(conn: Conn, second: Actor) -> None:
    (one,) = some_accounts(conn, 1)
    proposal = a_proposal_of(conn, one, f"user:{second.user_id}")

    with pytest.raises(SamePerson):
        correct.approve(conn, second, proposal, SHELLS, R1_DUE)
    conn.rollback()
    with pytest.raises(SamePerson):
        corrections.decide(conn, proposal, "approve", "", (f"user:{second.user_id}", R1_DUE))
    conn.rollback()
    third = world.put_staff(conn, f"li{next(NUMBERS)}")
    assert len(correct.approve(conn, third, proposal, SHELLS, R1_DUE)) == 1
    conn.commit()


@pytest.mark.parametrize("actor", ["cli:correct", "job:corrections", "user:", ""])
def test_no_command_and_no_job_approves(conn: Conn, actor: str) -> None:
    (one,) = some_accounts(conn, 1)
    proposal = a_proposal_of(conn, one, "job:corrections")

    with pytest.raises((psycopg.errors.CheckViolation, SamePerson)):
        corrections.decide(conn, proposal, "approve", "", (actor, R1_DUE))
    conn.rollback()


def test_a_page_decides_in_the_name_of_who_is_signed_in(conn: Conn, second: Actor) -> None:
    (one,) = some_accounts(conn, 1)
    proposal = a_proposal_of(conn, one, "job:corrections")

    take_scope(conn, Scope(ProcessRole.API, "staff", None, f"user:{second.user_id}"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        corrections.decide(conn, proposal, "approve", "", ("user:999", R1_DUE))
    conn.rollback()
    take_scope(conn, Scope(ProcessRole.API, "staff", None, f"user:{second.user_id}"))
    assert len(correct.approve(conn, second, proposal, SHELLS, R1_DUE)) == 1
    conn.commit()
    with pytest.raises(correct.Decided):
        correct.approve(conn, second, proposal, SHELLS, R1_DUE)
    conn.rollback()


def test_what_changed_since_it_was_shown_is_not_issued(
    conn: Conn, journey_database: str, second: Actor
) -> None:
    """What the approver saw is what is issued, or nothing is."""
    one, two = some_accounts(conn, 2)
    less(conn, one)
    less(conn, two)
    (proposal,) = propose(journey_database)
    less(conn, two, R1_DUE, revision=3)

    with pytest.raises(correct.Outdated):
        correct.approve(conn, second, proposal, SHELLS, R1_DUE)
    conn.rollback()

    assert [row[1:3] for row in revisions(conn, one, two)] == [(1, "issued"), (1, "issued")]
    assert conn.execute(
        "SELECT count(*) FROM correction_bill WHERE correction_id = %s", (proposal,)
    ).fetchone() == (0,)
    correct.withdraw(conn, second, proposal, "数据又有变化", R1_DUE)
    conn.commit()
    later = datetime(2027, 3, 2, tzinfo=UTC)
    anew = propose(journey_database, later)  # R1 takes the one, R2 the other
    for number in anew:
        correct.approve(conn, second, number, SHELLS, later)
    conn.commit()
    assert {row[2] for row in revisions(conn, one, two)} == {"superseded", "issued"}
    assert is_balanced(conn)


def test_a_declined_correction_is_not_proposed_again(
    conn: Conn, journey_database: str, second: Actor
) -> None:
    (one,) = some_accounts(conn, 1)
    less(conn, one)
    (proposal,) = propose(journey_database)
    with pytest.raises(correct.NeedsReason):
        correct.decline(conn, second, proposal, " ", R1_DUE)
    correct.decline(conn, second, proposal, "读数已核实无误", R1_DUE)
    conn.commit()

    assert propose(journey_database) == ()
    assert [row[1:3] for row in revisions(conn, one)] == [(1, "issued")]


def test_looking_twice_proposes_once(conn: Conn, journey_database: str) -> None:
    (one,) = some_accounts(conn, 1)
    less(conn, one)

    assert len(propose(journey_database)) == 1
    assert propose(journey_database) == ()
    assert corrections_bill(conn, one) in touched.bills_of_day(conn, point_id(one), DAY)
    assert touched.bills_of_day(conn, point_id(one), date(2026, 9, 1)) == ()


def test_a_second_correction_reverses_the_first(conn: Conn, journey_database: str, second: Actor) -> None:
    """The same bill twice: at every step the customer owes exactly the bill that stands."""
    (one,) = some_accounts(conn, 1)
    for revision, known, due in ((2, LATE_AT, R1_DUE), (3, R1_DUE, datetime(2027, 3, 2, tzinfo=UTC))):
        less(conn, one, known, revision=revision)
        (proposal,) = propose(journey_database, due)
        (bill_id,) = correct.approve(conn, second, proposal, SHELLS, due)
        conn.commit()
        assert open_fen(conn, one) == [bills.load(conn, bill_id).total_fen]
        assert is_balanced(conn)
    assert [row[1:3] for row in revisions(conn, one)] == [(1, "superseded"), (2, "superseded"), (3, "issued")]
    assert BEYOND not in {row.run for row in corrections.newest(conn, is_open=True)}


def test_a_person_approves_by_command_as_often_as_there_is_something(
    conn: Conn, journey_database: str, monkeypatch: pytest.MonkeyPatch, second: Actor
) -> None:
    """The right password is no failed attempt to sign in: the seventh approval is like the first."""
    (one,) = some_accounts(conn, 1)
    less(conn, one)
    (proposal,) = propose(journey_database)
    password = "correct horse battery"
    hashed = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(password)
    conn.execute("UPDATE app_user SET password_hash = %s WHERE user_id = %s", (hashed, second.user_id))
    conn.commit()
    monkeypatch.setenv("SHOUDIAN_DSN", journey_database)

    codes = []
    for number in (*(9_999_999,) * 6, proposal):
        monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))
        codes.append(main(["correct", "approve", str(number), "--login", second.login]))

    assert codes == [2] * 6 + [0]
    assert [row[1:3] for row in revisions(conn, one)] == [(1, "superseded"), (2, "issued")]
