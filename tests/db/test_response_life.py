"""A demand-response event from the call to the payment, each step by whom it belongs to, on the real database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
import response_world as world
from response_world import ACCOUNTS, CALLED_AT, END, EVENT_DAY, FIRST, STAFF, STAFF_SCOPE, WORKER

from cloud import db, markettime
from cloud.billing.run import reward
from cloud.errors import NotFound, NotNow, Refused
from cloud.lives import NoSuchMove
from cloud.market.programme import EVENT, RESULT
from cloud.market.run import respond
from cloud.market.store import enrolments
from cloud.market.store import response as store
from cloud.market.store import responseresults as results
from cloud.security.access import NotForRole

STARTS = markettime.slot_start(EVENT_DAY, FIRST)
ENDS = markettime.slot_start(EVENT_DAY, END)
NEW = respond.NewEvent("jibei-peak-demo", EVENT_DAY, FIRST, END, 600, Decimal("1.20"), "晚峰缺口")


@pytest.fixture
def pool(database: str) -> Iterator[db.Pool]:
    with db.open_pool(database, size_max=3) as pool:
        yield pool


def called(pool: db.Pool) -> tuple[int, dict[str, int]]:
    """Plan and notify; return the event and the enrolments by account."""
    with db.transaction(pool, STAFF_SCOPE) as conn:
        event_id = respond.plan(conn, STAFF, NEW, CALLED_AT)
        respond.notify(conn, STAFF, event_id, CALLED_AT)
        by_account = {each.account_id: each.enrolment_id for each in enrolments.enrolments(conn)}
    return event_id, by_account


def answer(pool: db.Pool, who: world.Participant, event_id: int, enrolment_id: int, kw: int) -> None:
    with db.transaction(pool, who.scope) as conn:
        respond.answer(conn, who.actor, event_id, enrolment_id, kw, CALLED_AT + timedelta(hours=1))


def metered(pool: db.Pool, account_id: str, event_kw: int | None, revision: int = 1) -> None:
    kw: list[int | None] = [world.BASE_KW] * 96
    kw[FIRST:END] = [event_kw] * (END - FIRST)
    with db.transaction(pool, world.OWNER) as conn:
        world.put_day(conn, f"SP{account_id}", EVENT_DAY, kw, revision)


def looked(pool: db.Pool, at: datetime) -> str:
    with db.transaction(pool, WORKER) as conn:
        respond.look(conn, at)
    with db.transaction(pool, WORKER) as conn:  # an event follows its statements at commit
        (event,) = store.events(conn)
    return event.state


def test_an_event_from_call_to_payment(pool: db.Pool) -> None:
    first, _, vpp = world.build(pool)
    event_id, enrolled = called(pool)
    answer(pool, first, event_id, enrolled[ACCOUNTS[0]], 400)
    answer(pool, vpp, event_id, enrolled[ACCOUNTS[1]], 300)
    states = [looked(pool, at) for at in (STARTS - timedelta(seconds=1), STARTS, ENDS)]
    metered(pool, ACCOUNTS[0], 620)  # 380 kW less for two hours: 760 kWh of the 800 bid
    metered(pool, ACCOUNTS[1], 980)  # 20 kW less: 40 kWh of 600, below the band and below half
    states.append(looked(pool, ENDS + timedelta(hours=12)))

    with db.transaction(pool, STAFF_SCOPE) as conn:
        found = {row.enrolment_id: row for row in results.results(conn, event_id)}
    one, two = found[enrolled[ACCOUNTS[0]]], found[enrolled[ACCOUNTS[1]]]
    for who, row in ((first, one), (vpp, two)):
        with db.transaction(pool, who.scope) as conn:
            respond.confirm(conn, who.actor, row.result_id, ENDS + timedelta(days=1))
    with db.transaction(pool, STAFF_SCOPE) as conn:
        states.append(store.event(conn, event_id).state)
        respond.settle(conn, STAFF, event_id, ENDS + timedelta(days=2))
    with db.transaction(pool, WORKER) as conn:
        owed = {row.payee_id: row.total_fen for row in results.settled(conn)}
        states.append(store.event(conn, event_id).state)
        booked = [reward.book_settled(conn, ENDS + timedelta(days=3)) for _ in range(2)]
        rows = conn.execute(
            "SELECT account_code, sum(amount_fen)::bigint FROM posting GROUP BY 1 ORDER BY 1"
        ).fetchall()

    assert booked == [2, 0]
    assert dict(rows) == {
        f"payable/party/{first.party_id}": -91200,
        f"payable/party/{vpp.party_id}": 15600,
        "settlement/demand_response": 75600,
    }
    assert states == ["notified", "active", "ended", "assessed", "confirmed", "settled"]
    assert (one.response_kwh, one.eligible_kwh) == (760, 760)
    assert (two.response_kwh, two.eligible_kwh) == (40, 0)
    # 760 kWh x 1.20; and (600 x 50 % - 40) kWh x 1.20 x 0.5 charged
    assert owed == {first.party_id: -91200, vpp.party_id: 15600}


def test_an_objection_is_measured_again_and_only_then_paid(pool: db.Pool) -> None:
    first, _, _ = world.build(pool, aggregated=False)
    event_id, enrolled = called(pool)
    answer(pool, first, event_id, enrolled[ACCOUNTS[0]], 400)
    metered(pool, ACCOUNTS[0], 900)
    assert looked(pool, ENDS + timedelta(hours=1)) == "assessed"
    at = ENDS + timedelta(days=1)
    with db.transaction(pool, first.scope) as conn:
        (row,) = results.results(conn, event_id)
        respond.object_to(conn, first.actor, row.result_id, "表计有一段漏采，现已补采", at)
    metered(pool, ACCOUNTS[0], 600, revision=2)
    with db.transaction(pool, STAFF_SCOPE) as conn:
        disputed = store.event(conn, event_id).state
        with pytest.raises(NoSuchMove):
            respond.settle(conn, STAFF, event_id, at)
        new_id = respond.decide(conn, STAFF, row.result_id, (True, "补采后重算"), at)
    with db.transaction(pool, first.scope) as conn:
        again = results.result(conn, new_id)
        state = store.event(conn, event_id).state

    assert disputed == "disputed"
    assert (row.response_kwh, again.response_kwh, again.revision) == (200, 800, 2)
    assert (again.state, state) == ("drawn", "assessed")
    assert looked(pool, again.object_by - timedelta(seconds=1)) == "assessed"
    assert looked(pool, again.object_by) == "confirmed"  # silence confirms


def test_a_frozen_baseline_does_not_follow_what_comes_after(pool: db.Pool) -> None:
    world.build(pool, aggregated=False)
    event_id, enrolled = called(pool)
    with db.transaction(pool, world.OWNER) as conn:
        for back in range(1, 20):
            world.put_day(conn, f"SP{ACCOUNTS[0]}", EVENT_DAY - timedelta(days=back), [9000] * 96, revision=2)
    with db.transaction(pool, STAFF_SCOPE) as conn:
        part = store.part(conn, event_id, enrolled[ACCOUNTS[0]])
    assert part.baseline is not None
    assert set(part.baseline.kw) == {world.BASE_KW}

    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        db.transaction(pool, world.OWNER) as conn,
    ):
        conn.execute("UPDATE response_baseline SET kw = '{}'")
    with db.transaction(pool, world.OWNER) as conn:
        conn.execute("UPDATE response_event SET state = 'active'")
        conn.execute("ALTER TABLE response_baseline DISABLE TRIGGER kept")
        conn.execute("DELETE FROM response_baseline")
    with pytest.raises(psycopg.errors.CheckViolation), db.transaction(pool, world.OWNER) as conn:
        store.freeze(conn, event_id, enrolled[ACCOUNTS[0]], part.baseline, "", STARTS)


def test_the_day_before_today_is_the_last_of_a_baseline(pool: db.Pool) -> None:
    world.build(pool, aggregated=False)
    event_id, enrolled = called(pool)
    with db.transaction(pool, STAFF_SCOPE) as conn:
        part = store.part(conn, event_id, enrolled[ACCOUNTS[0]])

    assert part.days is not None
    assert max(part.days) < markettime.day_of(CALLED_AT)
    assert len(part.days) == 5


def test_nobody_answers_late_or_above_the_resource(pool: db.Pool) -> None:
    first, _, _ = world.build(pool, aggregated=False)
    event_id, enrolled = called(pool)
    own = enrolled[ACCOUNTS[0]]
    deadline = STARTS - timedelta(minutes=60)
    with db.transaction(pool, first.scope) as conn:
        respond.answer(conn, first.actor, event_id, own, 400, deadline - timedelta(seconds=1))
    for kw, at in ((300, deadline), (401, CALLED_AT), (0, STARTS)):
        with pytest.raises(NotNow), db.transaction(pool, first.scope) as conn:
            respond.answer(conn, first.actor, event_id, own, kw, at)
    with db.transaction(pool, first.scope) as conn:
        assert store.part(conn, event_id, own).bid_kw == 400


def test_of_an_aggregators_resource_only_the_aggregator_answers(pool: db.Pool) -> None:
    first, two, vpp = world.build(pool)
    event_id, enrolled = called(pool)
    aggregated = enrolled[ACCOUNTS[1]]

    for who in (two, first):
        with pytest.raises(Refused), db.transaction(pool, who.scope) as conn:
            respond.answer(conn, who.actor, event_id, aggregated, 100, CALLED_AT)
    with db.transaction(pool, first.scope) as conn:
        seen = {part.enrolment_id for part in store.parts(conn, event_id)}
    with db.transaction(pool, vpp.scope) as conn:
        seen_by_vpp = {part.enrolment_id for part in store.parts(conn, event_id)}

    assert seen == {enrolled[ACCOUNTS[0]]}
    assert seen_by_vpp == {aggregated}
    with pytest.raises(NotForRole), db.transaction(pool, first.scope) as conn:
        respond.plan(conn, first.actor, NEW, CALLED_AT)


def test_an_account_is_in_one_programme_at_a_time(pool: db.Pool) -> None:
    first, two, _ = world.build(pool)

    with pytest.raises(enrolments.EnrolledAlready), db.transaction(pool, two.scope) as conn:
        respond.enrol(conn, two.actor, world.enrolment(1, two.party_id, None), world.ENROLLED_AT)
    with pytest.raises(Refused), db.transaction(pool, first.scope) as conn:  # another's account
        respond.enrol(conn, first.actor, world.enrolment(1, first.party_id, None), world.ENROLLED_AT)


def test_an_event_with_an_unmeasured_quarter_hour_waits(pool: db.Pool) -> None:
    first, _, _ = world.build(pool, aggregated=False)
    event_id, enrolled = called(pool)
    answer(pool, first, event_id, enrolled[ACCOUNTS[0]], 400)
    metered(pool, ACCOUNTS[0], None)
    waiting = looked(pool, ENDS + timedelta(hours=3))
    metered(pool, ACCOUNTS[0], 600, revision=2)

    assert waiting == "ended"
    assert looked(pool, ENDS + timedelta(hours=4)) == "assessed"


def test_event_days_are_left_out_of_the_next_baseline(pool: db.Pool) -> None:
    first, _, _ = world.build(pool, aggregated=False)
    event_id, enrolled = called(pool)
    answer(pool, first, event_id, enrolled[ACCOUNTS[0]], 400)
    metered(pool, ACCOUNTS[0], 600)
    looked(pool, ENDS + timedelta(hours=3))
    later = respond.NewEvent("jibei-peak-demo", date(2026, 8, 24), FIRST, END, 600, Decimal("1.20"), "第二次")
    with db.transaction(pool, STAFF_SCOPE) as conn:
        second = respond.plan(conn, STAFF, later, CALLED_AT + timedelta(days=3))
        respond.notify(conn, STAFF, second, CALLED_AT + timedelta(days=3))
        part = store.part(conn, second, enrolled[ACCOUNTS[0]])

    assert part.days is not None
    assert EVENT_DAY not in part.days


def test_a_price_above_the_cap_and_a_late_call_are_refused(pool: db.Pool) -> None:
    world.build(pool, aggregated=False)
    dear = respond.NewEvent(*(getattr(NEW, name) for name in NEW.__slots__[:5]), Decimal("1.51"), "贵")
    with pytest.raises(respond.BadEvent), db.transaction(pool, STAFF_SCOPE) as conn:
        respond.plan(conn, STAFF, dear, CALLED_AT)
    with pytest.raises(respond.TooLateToCall), db.transaction(pool, STAFF_SCOPE) as conn:
        respond.plan(conn, STAFF, NEW, STARTS - timedelta(minutes=119))


def test_a_foreign_result_does_not_exist(pool: db.Pool) -> None:
    first, two, _ = world.build(pool)
    event_id, enrolled = called(pool)
    answer(pool, first, event_id, enrolled[ACCOUNTS[0]], 400)
    for account_id in ACCOUNTS:
        metered(pool, account_id, 600)
    looked(pool, ENDS + timedelta(hours=3))
    with db.transaction(pool, STAFF_SCOPE) as conn:
        (row,) = results.results(conn, event_id)

    with pytest.raises(NotFound), db.transaction(pool, two.scope) as conn:
        respond.confirm(conn, two.actor, row.result_id, ENDS + timedelta(days=1))


def test_the_database_knows_the_same_lives(pool: db.Pool) -> None:
    with db.transaction(pool, world.OWNER) as conn:
        for life, table in ((EVENT, "response_event_move"), (RESULT, "response_result_move")):
            rows = conn.execute(f"SELECT before, deed, after FROM {table}").fetchall()
            assert {(before or None, deed): after for before, deed, after in rows} == life.moves


def test_who_leaves_before_the_first_day_takes_part_on_that_day_only(pool: db.Pool) -> None:
    first, _, _ = world.build(pool)
    before = markettime.slot_start(date(2026, 5, 1), 0) - timedelta(days=3)  # 2 May is the first day
    with db.transaction(pool, first.scope) as conn:
        (own,) = enrolments.enrolments(conn, first.party_id)
        respond.leave(conn, first.actor, own.enrolment_id, before)

        (left,) = enrolments.enrolments(conn, first.party_id)
    assert (left.first_day, left.end_day) == (date(2026, 5, 2), date(2026, 5, 3))
