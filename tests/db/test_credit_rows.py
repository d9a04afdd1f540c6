"""Credit and guarantee as the database keeps them: two persons, evidence, conservation, and reserves that never exceed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib import resources

import market_world
import psycopg
import pytest
import risk_world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud import db, jobs
from cloud.config import load_config
from cloud.errors import Refused
from cloud.market.store import orders
from cloud.parties.conduct import Conduct, Fact
from cloud.parties.run import pledge, rate
from cloud.parties.standing import Grade, NoParty
from cloud.parties.store import conduct, credits, guarantees, standings
from cloud.security.access import Actor, NotForRole, Role

NOW = datetime(2026, 9, 1, 2, tzinfo=UTC)
BODY = (resources.files("cloud.parties") / "rules" / "credit-shoudian-2026.toml").read_text("utf-8")


@pytest.fixture
def conn(database: str) -> Iterator[db.Conn]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


def staff(conn: db.Conn, login: str) -> Actor:
    return Actor(market_world.operator(conn, login), login, login, Role.STAFF, None, "zh")


@pytest.fixture
def two(conn: db.Conn) -> tuple[Actor, Actor]:
    return staff(conn, "credit-a"), staff(conn, "credit-b")


@pytest.fixture
def retailer(conn: db.Conn) -> int:
    return market_world.admitted_party(conn, "retailer", "示范售电")


def lodged(
    conn: db.Conn, two: tuple[Actor, Actor], party_id: int, amount_fen: int, reference: str = "L1"
) -> int:
    paper = pledge.Paper("letter", "示范银行", reference, amount_fen, date(2026, 1, 1), date(2026, 12, 31))
    instrument_id = pledge.lodge(conn, two[0], party_id, paper, NOW)
    pledge.decide(conn, two[1], instrument_id, "accept", NOW)
    return instrument_id


def test_an_instrument_counts_once_a_second_person_has_accepted_it(
    conn: db.Conn, two: tuple[Actor, Actor], retailer: int
) -> None:
    paper = pledge.Paper("letter", "示范银行", "L1", 100_00, date(2026, 1, 1), date(2026, 12, 31))
    instrument_id = pledge.lodge(conn, two[0], retailer, paper, NOW)
    with pytest.raises(credits.SecondPersonNeeded):
        pledge.decide(conn, two[0], instrument_id, "accept", NOW)
    assert standings.free_fen(conn, retailer, NOW) == 0

    pledge.decide(conn, two[1], instrument_id, "accept", NOW)

    assert standings.free_fen(conn, retailer, NOW) == 100_00
    assert standings.free_fen(conn, retailer, datetime(2026, 12, 30, 15, 59, tzinfo=UTC)) == 100_00
    assert (
        standings.free_fen(conn, retailer, datetime(2026, 12, 30, 16, 0, tzinfo=UTC)) == 0
    )  # 12-31 in China


def test_a_reserve_is_made_once_and_given_back_once(
    conn: db.Conn, two: tuple[Actor, Actor], retailer: int
) -> None:
    lodged(conn, two, retailer, 100_00)
    standings.reserve(conn, retailer, 60_00, "order:1", NOW)
    standings.reserve(conn, retailer, 60_00, "order:1", NOW)
    with pytest.raises(standings.AnotherAmount):
        standings.reserve(conn, retailer, 59_00, "order:1", NOW)
    with pytest.raises(standings.OverGuarantee):
        standings.reserve(conn, retailer, 40_01, "order:2", NOW)
    standings.reserve(conn, retailer, 40_00, "order:3", NOW)  # equality passes, as IN-106 says of a margin

    for _ in range(2):
        standings.release(conn, "order:1", NOW)
    standings.release(conn, "never reserved", NOW)

    assert standings.free_fen(conn, retailer, NOW) == 60_00


def test_reserves_at_the_same_time_never_exceed(
    database: str, conn: db.Conn, two: tuple[Actor, Actor], retailer: int
) -> None:
    lodged(conn, two, retailer, 100)
    gate, taken = threading.Barrier(8), []

    def take(number: int) -> None:
        with psycopg.connect(database) as own:
            gate.wait()
            for each in range(10):
                try:
                    standings.reserve(own, retailer, 7, f"order:{number}:{each}", NOW)
                    own.commit()
                    taken.append(7)
                except standings.OverGuarantee:
                    own.rollback()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(taken) == 98
    assert guarantees.balances(conn, retailer, date(2026, 9, 1)) == (100, 98)


DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["lodge", "reserve", "release", "become", "draw", "return"]),
        st.integers(1, 120),
        st.integers(0, 4),
    ),
    max_size=15,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds=DEEDS)
def test_the_guarantee_ledger_neither_makes_nor_loses_a_fen(
    conn: db.Conn, deeds: list[tuple[str, int, int]]
) -> None:
    """lodged = left + returned + drawn, per instrument; reserved = reserves − releases; a reserve never exceeds what is free."""
    number = next(_numbers)
    two = staff(conn, f"law-{number}a"), staff(conn, f"law-{number}b")
    party_id = market_world.admitted_party(conn, "retailer", f"示范售电 {number}")
    held, drawn, returned = {}, 0, 0
    reserved: dict[str, int] = {}
    for step, (deed, amount, which) in enumerate(deeds):
        free = sum(held.values()) - sum(reserved.values())
        ids = sorted(held)
        target = ids[which % len(ids)] if ids else 0
        try:
            if deed == "lodge":
                held[lodged(conn, two, party_id, amount, f"{number}-{step}")] = amount
            elif deed == "reserve":
                standings.reserve(conn, party_id, amount, f"{number}:{step}", NOW)
                assert amount <= free
                reserved[f"{number}:{step}"] = amount
            elif deed == "release" and reserved:
                key = sorted(reserved)[which % len(reserved)]
                standings.release(conn, key, NOW)
                del reserved[key]
            elif deed == "become" and reserved:  # an order is a contract now, which needs another amount
                key = sorted(reserved)[which % len(reserved)]
                given_back, purpose = reserved.pop(key), f"{number}:{step}:contract"
                with conn.transaction():
                    standings.release(conn, key, NOW)
                    bound = standings.carry(conn, party_id, amount, purpose, NOW)
                assert not standings.release(conn, key, NOW)  # a replay changes nothing
                assert bound == (amount if amount <= free + given_back else min(amount, given_back))
                if bound:
                    reserved[purpose] = bound
                    standings.reserve(conn, party_id, bound, purpose, NOW)
            elif deed == "draw" and ids:
                pledge.draw(conn, two[0], target, (amount, "未足额付款"), NOW)
                held[target], drawn = held[target] - amount, drawn + amount
            elif deed == "return" and ids:
                pledge.give_back(conn, two[0], target, "退还", NOW)
                assert held[target] <= free
                returned, held[target] = returned + held[target], 0
        except Refused:
            assert deed != "reserve" or amount > free

    in_force, kept = guarantees.balances(conn, party_id, date(2026, 9, 1))
    rows = guarantees.of_party(conn, party_id)
    assert {row.instrument_id: row.left_fen for row in rows if row.verdict} == held
    assert in_force + drawn + returned == sum(row.amount_fen for row in rows)
    assert kept == sum(reserved.values())
    assert standings.free_fen(conn, party_id, NOW) == in_force - kept


_numbers = iter(range(10**6))


def test_entries_and_facts_are_never_changed(conn: db.Conn, two: tuple[Actor, Actor], retailer: int) -> None:
    lodged(conn, two, retailer, 100_00)
    note(conn, retailer, Conduct.VIOLATION, 1, 0)

    for statement in ("UPDATE guarantee_entry SET amount_fen = 1", "DELETE FROM conduct_fact"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(statement)


def note(conn: db.Conn, party_id: int, kind: Conduct, days_ago: int, magnitude: int) -> None:
    at = NOW - timedelta(days=days_ago)
    fact = Fact(party_id, kind, at, magnitude, f"{party_id}:{kind}:{days_ago}", "document")
    conduct.note(conn, (fact,), "test", NOW)


def test_a_score_keeps_its_evidence_and_drives_the_standing(conn: db.Conn, retailer: int) -> None:
    assert standings.standing_of(conn, retailer, NOW).grade is None
    note(conn, retailer, Conduct.VIOLATION, 10, 0)
    note(conn, retailer, Conduct.PAID_ON_TIME, 20, 0)

    risk_world.assess(conn, NOW)

    (kept,) = credits.scores(conn, retailer)
    assert {each["key"]: len(each["facts"]) for each in kept.factors} == {
        "payment": 1, "performance": 0, "compliance": 1, "financial": 0, "data": 0,
    }  # fmt: skip
    # 0.35·100 + 0.25·75 + 0.15·50 + 0.15·70 + 0.10·80 = 79.75: A by points, B by the violation.
    assert (str(kept.points), kept.grade) == ("79.75", "B")
    found = standings.standing_of(conn, retailer, NOW)
    assert (found.grade, found.is_admitted, found.guarantee_free_fen) == ("B", True, 0)
    with pytest.raises(NoParty):
        standings.standing_of(conn, 10**9, NOW)


def test_an_exception_needs_two_persons_and_ends(
    conn: db.Conn, two: tuple[Actor, Actor], retailer: int
) -> None:
    until = NOW + timedelta(days=30)
    override_id = rate.propose_override(conn, two[0], retailer, (Grade.AA, "母公司担保", until), NOW)
    assert standings.grade_of(conn, retailer, NOW) is None
    with pytest.raises(credits.SecondPersonNeeded):
        rate.decide_override(conn, two[0], override_id, "accept", NOW)

    rate.decide_override(conn, two[1], override_id, "accept", NOW)

    assert standings.grade_of(conn, retailer, NOW) is Grade.AA
    assert standings.grade_of(conn, retailer, until) is None
    with pytest.raises(credits.DecidedAlready):
        rate.decide_override(conn, two[1], override_id, "reject", NOW)
    for exception in (
        (Grade.AA, " ", until),
        (Grade.AA, "理由", NOW),
        (Grade.AA, "理由", NOW + timedelta(days=400)),
    ):
        with pytest.raises(rate.BadException):
            rate.propose_override(conn, two[0], retailer, exception, NOW)


def test_a_model_is_simulated_and_put_in_force_by_a_second_person(
    conn: db.Conn, two: tuple[Actor, Actor], retailer: int
) -> None:
    note(conn, retailer, Conduct.DEVIATION, 10, 150_000)
    risk_world.assess(conn, NOW)
    before = credits.scores(conn, retailer)[0]
    stricter = BODY.replace('id = "shoudian-2026"', 'id = "stricter"').replace(
        'below = 200000, points = "50"', 'below = 200000, points = "0"'
    )

    entry_id = rate.propose_rule(conn, two[0], ("credit", stricter, "偏差更严"), NOW)

    kept = credits.find_rule(conn, entry_id)
    assert kept is not None
    row = next(each for each in kept.simulation if each["party_id"] == retailer)
    assert (row["before"], row["after"]) == (before.grade, "B" if before.grade == "A" else row["after"])
    assert rate.active_rules(conn).model.model_id == "shoudian-2026"
    with pytest.raises(credits.SecondPersonNeeded):
        rate.decide_rule(conn, two[0], entry_id, "activate", NOW)
    rate.decide_rule(conn, two[1], entry_id, "activate", NOW)
    assert rate.active_rules(conn).model.model_id == "stricter"
    risk_world.assess(conn, NOW + timedelta(hours=1))
    assert credits.scores(conn, retailer)[0].model == "stricter@1"
    customer = Actor(1, "c", "c", Role.CUSTOMER, retailer, "zh")
    with pytest.raises(NotForRole):
        rate.propose_rule(conn, customer, ("credit", stricter, "x"), NOW)


def test_expiry_is_told_once_per_step(conn: db.Conn, two: tuple[Actor, Actor], retailer: int) -> None:
    lodged(conn, two, retailer, 100_00)  # until 2026-12-31
    day = datetime(2026, 12, 30, 2, tzinfo=UTC)
    told = [
        pledge.remind(conn, day - timedelta(days=ago)) for ago in (90, 59, 58, 29, 6, 5, 0)
    ]  # to the party and to staff

    assert told == [0, 2, 0, 2, 2, 0, 0]
    assert pledge.remind(conn, day + timedelta(days=1)) == 2


def test_another_party_sees_nothing_of_it(
    database: str, conn: db.Conn, two: tuple[Actor, Actor], retailer: int
) -> None:
    lodged(conn, two, retailer, 100_00)
    note(conn, retailer, Conduct.VIOLATION, 10, 0)
    risk_world.assess(conn, NOW)
    other = market_world.admitted_party(conn, "retailer", "另一家售电")
    tables = (
        "conduct_fact",
        "credit_score",
        "guarantee_requirement",
        "guarantee_instrument",
        "guarantee_entry",
        "guarantee_left",
    )
    with db.open_pool(database, size_max=1) as pool:
        for party_id, seen in ((retailer, True), (other, False)):
            scope = db.Scope(db.ProcessRole.API, "customer", party_id, "user:1")
            with db.transaction(pool, scope) as visit:
                for table in tables:
                    found = visit.execute(
                        f"SELECT count(*) FROM {table} WHERE party_id = %s", (retailer,)
                    ).fetchone()
                    assert found == (1,) if seen else found == (0,), table
        scope = db.Scope(db.ProcessRole.API, "customer", other, "user:1")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction(pool, scope) as visit:
            standings.reserve(visit, retailer, 1, "theft", NOW)
        with db.transaction(pool, db.Scope(db.ProcessRole.API, "customer", retailer, "user:1")) as visit:
            standings.reserve(visit, retailer, 1, "order:own", NOW)


def test_the_daily_look_runs_as_the_worker(database: str, conn: db.Conn, retailer: int) -> None:
    note(conn, retailer, Conduct.PAID_ON_TIME, 20, 0)
    entry = next(each for each in jobs.ENTRIES if each.name == "credit")
    config = load_config({"SHOUDIAN_DSN": database})
    with db.open_pool(database, size_max=1) as pool:
        for days in (0, 1):
            entry.look(pool, config, NOW + timedelta(days=days))
    assert len(credits.scores(conn, retailer)) == 2


def test_what_a_person_enters_of_conduct_counts_once_a_second_one_accepts_it(
    conn: db.Conn, two: tuple[Actor, Actor], retailer: int
) -> None:
    entered = Fact(retailer, Conduct.VIOLATION, NOW - timedelta(days=3), 0, "v1", "监管通报 3 号")
    number = rate.enter_fact(conn, two[0], entered, NOW)
    with pytest.raises(credits.SecondPersonNeeded):
        rate.decide_fact(conn, two[0], number, "accept", NOW)
    assert conduct.of_party(conn, retailer, NOW) == ()

    rate.decide_fact(conn, two[1], number, "accept", NOW)

    (kept,) = conduct.of_party(conn, retailer, NOW)
    assert (kept.kind, kept.document) == (Conduct.VIOLATION, "监管通报 3 号")
    with pytest.raises(credits.DecidedAlready):
        rate.decide_fact(conn, two[1], number, "accept", NOW)
    late = Fact(retailer, Conduct.VIOLATION, NOW + timedelta(days=1), 0, "v2", "通报")
    with pytest.raises(rate.BadEntry):
        rate.enter_fact(conn, two[0], late, NOW)


def test_over_http_no_fact_of_a_person_is_written_past_the_second_one(conn: db.Conn, retailer: int) -> None:
    conn.execute("SET ROLE shoudian_api")
    conn.execute("SELECT set_config('app.role', 'staff', false), set_config('app.actor', 'user:1', false)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conduct.note(conn, (Fact(retailer, Conduct.FINANCIAL, NOW, 100, "f1", "审计"),), "user:1", NOW)
    assert (
        conduct.note(conn, (Fact(retailer, Conduct.PAID_LATE, NOW, 3, "bill:1", "账单"),), "user:1", NOW) == 1
    )


def test_a_household_is_not_admitted_however_many_are_asked_for_at_once(conn: db.Conn) -> None:
    home = market_world.admitted_party(conn, "user", "示范家庭")
    conn.execute("SET session_replication_role = replica")
    conn.execute("UPDATE party SET subkind = 'residential' WHERE party_id = %s", (home,))

    assert not standings.standing_of(conn, home, NOW).is_admitted
    assert not standings.standings_of(conn, [home], NOW)[home].is_admitted
    assert orders.admitted(conn, [home]) == frozenset()
