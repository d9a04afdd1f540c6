"""An aggregator's event, measured as one, split and paid; and capacity by month, on the real database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
import response_world as world
from response_world import ACCOUNTS, CALLED_AT, END, EVENT_DAY, FIRST, STAFF, STAFF_SCOPE, WORKER

from cloud import db, markettime
from cloud.billing.run import reward
from cloud.market.run import respond
from cloud.market.store import enrolments, responsemoney
from cloud.market.store import response as store
from cloud.market.store import responseresults as results

ENDS = markettime.slot_start(EVENT_DAY, END)
AUGUST = date(2026, 8, 1)
SEPTEMBER = datetime(2026, 9, 10, tzinfo=UTC)
NEW = respond.NewEvent("vpp-contracted-demo", EVENT_DAY, FIRST, END, 600, Decimal("0.80"), "晚峰缺口")


@pytest.fixture
def pool(database: str) -> Iterator[db.Pool]:
    with db.open_pool(database, size_max=3) as pool:
        yield pool


def assessed(
    pool: db.Pool, new: respond.NewEvent, vpp: world.Participant, bids: dict[str, int], loads: dict[str, int]
) -> tuple[int, dict[str, int]]:
    """Call, answer as the aggregator, meter and assess; return the event and the enrolments by account."""
    with db.transaction(pool, STAFF_SCOPE) as conn:
        event_id = respond.plan(conn, STAFF, new, CALLED_AT)
        respond.notify(conn, STAFF, event_id, CALLED_AT)
        enrolled = {each.account_id: each.enrolment_id for each in enrolments.enrolments(conn)}
    with db.transaction(pool, vpp.scope) as conn:
        for account_id, kw in bids.items():
            at = CALLED_AT + timedelta(minutes=1)
            respond.answer(conn, vpp.actor, event_id, enrolled[account_id], kw, at)
    for account_id, kw in loads.items():
        metered(pool, account_id, kw)
    with db.transaction(pool, WORKER) as conn:
        respond.look(conn, ENDS + timedelta(hours=12))
    return event_id, enrolled


def metered(pool: db.Pool, account_id: str, event_kw: int, revision: int = 1) -> None:
    kw: list[int | None] = [world.BASE_KW] * 96
    kw[FIRST:END] = [event_kw] * (END - FIRST)
    with db.transaction(pool, world.OWNER) as conn:
        world.put_day(conn, f"SP{account_id}", EVENT_DAY, kw, revision)


def settled(pool: db.Pool, event_id: int) -> None:
    with db.transaction(pool, WORKER) as conn:
        respond.look(conn, ENDS + timedelta(days=8))  # silence confirms
    with db.transaction(pool, STAFF_SCOPE) as conn:
        respond.settle(conn, STAFF, event_id, ENDS + timedelta(days=9))


def owed(pool: db.Pool) -> tuple[list[int], dict[str, int]]:
    """Draw up August's capacity and book everything, twice; return what was booked and the ledger."""
    booked = []
    for _ in range(2):
        with db.transaction(pool, WORKER) as conn:
            respond.pay_capacity(conn, AUGUST, SEPTEMBER)
            booked.append(reward.book_settled(conn, SEPTEMBER))
            rows = conn.execute(
                "SELECT account_code, sum(amount_fen)::bigint FROM posting GROUP BY 1"
            ).fetchall()
    return booked, dict(rows)


def test_a_portfolio_is_measured_as_one_split_and_seen_by_whom_it_concerns(pool: db.Pool) -> None:
    """Bids 400 + 300 kW for two hours; loads 1000 -> 450 and 1000 -> 900, measured anew 800.

    As one: 1100 + 200 = 1300 of 1400 kWh, 1040 yuan at 0.80; anew 1100 + 400 = 1500, 1200 yuan (alone: 960 and 0 kWh).
    A fifth stays, 960 yuan in the ratio 1100 : 400 are 704 and 256. Capacity: one was called for all of its 400 kW; two
    for 300, so 100 kW x 0.3 = 30 yuan, half withheld for 400 of 600 kWh; of 15 yuan 12 are passed on.
    """
    one, two, vpp = world.build_portfolio(pool)
    bids = {ACCOUNTS[0]: 400, ACCOUNTS[1]: 300}
    event_id, enrolled = assessed(pool, NEW, vpp, bids, {ACCOUNTS[0]: 450, ACCOUNTS[1]: 900})
    with db.transaction(pool, vpp.scope) as conn:
        (first,) = responsemoney.portfolios(conn, event_id)
        row = next(each for each in results.results(conn) if each.enrolment_id == enrolled[ACCOUNTS[1]])
        respond.object_to(conn, vpp.actor, row.result_id, "二厂漏采", ENDS + timedelta(days=1))
    metered(pool, ACCOUNTS[1], 800, revision=2)
    with db.transaction(pool, STAFF_SCOPE) as conn:
        respond.decide(conn, STAFF, row.result_id, (True, "补采"), ENDS + timedelta(days=2))
    settled(pool, event_id)
    booked, ledger = owed(pool)
    measured = {}
    for name, who in (("one", one), ("two", two), ("vpp", vpp)):
        with db.transaction(pool, who.scope) as conn:
            event = store.event(conn, event_id)
            found = [respond.seen(conn, event, each) for each in store.parts(conn, event_id)]
            measured[name] = [(each.slots_seen, each.response_kwh) for each in found]
    assert measured == {"one": [(8, 1100)], "two": [(8, 400)], "vpp": [(8, 1100), (8, 400)]}
    seen = {}
    for name, who in (("one", one), ("two", two), ("vpp", vpp)):
        with db.transaction(pool, who.scope) as conn:
            shares = [each.amount_fen for each in responsemoney.shares_of(conn, event_id)]
            capacity = [each.passed_on_fen for each in responsemoney.capacities(conn)]
            seen[name] = (shares, len(responsemoney.portfolios(conn)), sorted(capacity))

    assert (first.revision, first.response_kwh, first.total_fen) == (1, 1300, -104000)
    with db.transaction(pool, STAFF_SCOPE) as conn:
        (again,) = responsemoney.portfolios(conn, event_id)
    assert (again.revision, again.response_kwh, again.eligible_kwh, again.total_fen) == (
        2,
        1500,
        1500,
        -120000,
    )
    assert seen == {
        "one": ([-70400], 0, [0]),
        "two": ([-25600], 0, [-1200]),
        "vpp": ([-24000, -70400, -25600], 1, [-1200, 0]),
    }
    assert booked == [3, 0]  # the portfolio, its split, one month of capacity
    assert ledger == {
        f"payable/party/{one.party_id}": -70400,
        f"payable/party/{two.party_id}": -25600 - 1200,
        f"payable/party/{vpp.party_id}": -24000 - 300,
        "settlement/demand_response": 121500,
    }


def test_a_test_pays_no_energy_and_what_failed_it_loses_capacity(pool: db.Pool) -> None:
    """Two answers with 300 kW and does nothing, one does not answer: each loses half of 400 kW x 0.3 = 120 yuan."""
    one, two, vpp = world.build_portfolio(pool)
    test = replace(NEW, is_test=True)
    event_id, _ = assessed(pool, test, vpp, {ACCOUNTS[1]: 300}, {ACCOUNTS[1]: 1000})
    with db.transaction(pool, WORKER) as conn:
        waiting = respond.pay_capacity(conn, AUGUST, SEPTEMBER)
        too_early = respond.pay_capacity(conn, date(2026, 9, 1), SEPTEMBER)
    settled(pool, event_id)
    booked, ledger = owed(pool)
    with db.transaction(pool, STAFF_SCOPE) as conn:
        rows = {row.party_id: (row.kw, row.failures, row.total_fen) for row in responsemoney.capacities(conn)}

    assert (waiting, too_early) == (0, 0)  # the test of August was not settled; September is not over
    assert rows == {one.party_id: (400, 1, -6000), two.party_id: (400, 1, -6000)}
    assert booked == [2, 0]
    assert ledger == {
        f"payable/party/{one.party_id}": -4800,
        f"payable/party/{two.party_id}": -4800,
        f"payable/party/{vpp.party_id}": -2400,
        "settlement/demand_response": 12000,
    }


def test_the_database_keeps_shares_that_add_up_only(pool: db.Pool) -> None:
    _, _, vpp = world.build_portfolio(pool)
    event_id, _ = assessed(pool, NEW, vpp, {ACCOUNTS[0]: 400}, {ACCOUNTS[0]: 600})
    insert = """INSERT INTO response_share (portfolio_id, event_id, share_no, party_id, rule, weight_wh, amount_fen, at)
                SELECT portfolio_id, event_id, 0, aggregator_id, 'x@1', 0, total_fen + %s, at FROM response_portfolio"""
    with pytest.raises(psycopg.errors.CheckViolation), db.transaction(pool, world.OWNER) as conn:
        conn.execute(insert, (1,))
    with db.transaction(pool, world.OWNER) as conn:
        conn.execute(insert, (0,))

    with pytest.raises(psycopg.Error), db.transaction(pool, world.OWNER) as conn:
        conn.execute("UPDATE response_share SET amount_fen = 0")
    with db.transaction(pool, vpp.scope) as conn:
        assert [each.event_id for each in responsemoney.shares_of(conn)] == [event_id]
