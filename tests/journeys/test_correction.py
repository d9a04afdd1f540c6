"""A reading is corrected in a closed month: exactly the touched bills change, and the ledger stays right.

Product asks E #2 (correcting a reading corrects the money), E #3 (late data after the period is closed) and E #20
(back-dated entries do not distort periods). One database for the module; every test has accounts of its own.
"""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import money_world as world
import pytest
from correction_world import (
    DAY,
    LATE_AT,
    NUMBERS,
    R1_DUE,
    SLOT,
    corrections_bill,
    is_balanced,
    items_of,
    less,
    open_fen,
    propose,
    revisions,
    some_accounts,
)
from money_world import AUGUST, ISSUED_AT, SHELLS, account_id, point_id

from cloud.billing import correction, ledger
from cloud.billing.correction import DESK, Outcome
from cloud.billing.facts import Bill
from cloud.billing.ledger import Journal, Posting
from cloud.billing.run import bill as billing
from cloud.billing.run import correct
from cloud.billing.run import issue as issuing
from cloud.billing.store import bills, corrections, published, touched
from cloud.billing.store import ledger as books
from cloud.db import Conn, ProcessRole, Scope, take_scope
from cloud.markettime import days_of_month
from cloud.metering.interval import IntervalDay
from cloud.metering.store import intervals
from cloud.security.access import Actor

_hours = itertools.count()


def test_one_corrected_interval_of_a_closed_month_changes_exactly_its_bill(
    conn: Conn, journey_database: str, second: Actor
) -> None:
    """E #2. 1 kWh of the peak less, worth what the bill's own lines say a peak kWh costs."""
    one, *others = some_accounts(conn, 3)
    books.lock_period(conn, AUGUST, "test", ISSUED_AT)
    conn.commit()
    untouched = revisions(conn, *others)
    august = books.trial_balance(conn, date(2026, 9, 1), None)
    september = books.trial_balance(conn, date(2026, 10, 1), None)
    old = bills.load(conn, corrections_bill(conn, one))
    less(conn, one)

    proposals = propose(journey_database)

    (item,) = items_of(conn, proposals)
    assert (item.account_id, item.outcome) == (account_id(one), Outcome.DIFFERS)
    assert [why.detail for why in item.whys] == [f"{point_id(one)} 2026-08-20 1 2"]
    assert len(revisions(conn, one)) == 1  # a proposal is no bill
    (new_id,) = correct.approve(conn, second, item.correction_id, SHELLS, R1_DUE)
    conn.commit()

    new = bills.load(conn, new_id)
    assert [row[1:3] for row in revisions(conn, one)] == [(1, "superseded"), (2, "issued")]
    assert new.total_fen - old.total_fen == item.change_fen < 0
    assert sum(line.quantity for line in new.lines if line.section == "energy") == (
        sum(line.quantity for line in old.lines if line.section == "energy") - Decimal(1)
    )
    changed = {(c.section, c.period) for c in correction.changes(old.lines, new.lines)}
    assert all(period in (None, "peak") for _, period in changed)
    assert revisions(conn, *others) == untouched
    assert open_fen(conn, one) == [new.total_fen]
    assert is_balanced(conn)
    # E #20: neither the locked month nor the one in which the bill went out has moved.
    assert books.trial_balance(conn, date(2026, 9, 1), None) == august
    assert books.trial_balance(conn, date(2026, 10, 1), None) == september


def test_the_customer_reads_why_and_sees_both_bills(conn: Conn, journey_database: str, second: Actor) -> None:
    one, other = some_accounts(conn, 2)
    old_id = corrections_bill(conn, one)
    less(conn, one)
    (proposal,) = propose(journey_database)
    (new_id,) = correct.approve(conn, second, proposal, SHELLS, R1_DUE)
    conn.commit()
    parties = dict(conn.execute("SELECT account_id, party_id FROM account").fetchall())

    take_scope(conn, Scope(ProcessRole.API, "customer", parties[account_id(one)], "user:1"))

    (note,) = corrections.corrections_of(conn, new_id)
    assert corrections.corrections_of(conn, old_id) == (note,)
    assert (note.bill_id, note.corrects, note.corrected_at) == (new_id, old_id, R1_DUE)
    assert "电量数据更正或迟到" in note.reason
    assert note.change_fen < 0
    assert conn.execute("SELECT count(*) FROM correction").fetchone() == (
        0,
    )  # the desk is not the customer's
    conn.rollback()
    take_scope(conn, Scope(ProcessRole.API, "customer", parties[account_id(other)], "user:1"))
    assert corrections.corrections_of(conn, new_id) == ()


def test_a_correction_after_payment_leaves_the_customers_money_on_the_account(
    conn: Conn, journey_database: str, second: Actor
) -> None:
    (one,) = some_accounts(conn, 1)
    paid = bills.load(conn, corrections_bill(conn, one)).total_fen
    item = ledger.item_of(account_id(one), AUGUST)
    books.post(
        conn,
        Journal(
            f"payment:{one}",
            "pay",
            date(2026, 9, 20),
            date(2026, 9, 20),
            (Posting("cash/bank", paid), Posting(ledger.receivable(account_id(one)), -paid, item)),
        ),
        LATE_AT,
    )
    conn.commit()
    assert open_fen(conn, one) == []
    less(conn, one)

    (proposal,) = propose(journey_database)
    (new_id,) = correct.approve(conn, second, proposal, SHELLS, R1_DUE)
    conn.commit()

    change = bills.load(conn, new_id).total_fen - paid
    assert open_fen(conn, one) == [change]  # negative: we owe it
    assert change < 0
    assert is_balanced(conn)


def test_late_data_goes_to_the_run_that_is_due_and_not_before(
    conn: Conn, journey_database: str, second: Actor
) -> None:
    """E #3: data at D+40 finds the bill issued; R1 takes it, the others stay as they are."""
    one, other = some_accounts(conn, 2)
    less(conn, one)

    assert propose(journey_database, datetime(2026, 9, 30, tzinfo=UTC)) == ()
    assert propose(journey_database, datetime(2026, 10, 31, 15, tzinfo=UTC)) == ()
    (proposal,) = propose(journey_database, datetime(2026, 10, 31, 16, tzinfo=UTC))  # 1 November, market time

    row = corrections.find(conn, proposal)
    assert row is not None
    assert (row.run, row.differs_count, row.prepared_by) == ("r1", 1, "job:corrections")
    correct.approve(conn, second, proposal, SHELLS, R1_DUE)
    conn.commit()
    assert [each[1:3] for each in revisions(conn, one, other)] == [
        (1, "superseded"),
        (2, "issued"),
        (1, "issued"),
    ]
    less(conn, one, datetime(2026, 11, 20, tzinfo=UTC), revision=3)  # after R1: the next run is R2, in March
    assert propose(journey_database, datetime(2027, 2, 27, tzinfo=UTC)) == ()
    (proposal,) = propose(journey_database, datetime(2027, 3, 1, tzinfo=UTC))
    row = corrections.find(conn, proposal)
    assert row is not None
    assert row.run == "r2"
    correct.decline(conn, second, proposal, "测试到此为止", datetime(2027, 3, 1, tzinfo=UTC))
    conn.commit()


def test_what_changed_under_a_draft_is_found_once_it_is_issued(conn: Conn, journey_database: str) -> None:
    """Drawn on the 14th, changed that evening, looked at daily, issued on the 18th: nothing is lost on the way."""
    one = next(NUMBERS)
    world.put_accounts(conn, [one])
    world.put_month(conn, one)
    drawn = billing.bill_month(conn, account_id(one), AUGUST, ISSUED_AT)
    conn.commit()
    less(conn, one, datetime(2026, 9, 14, 12, tzinfo=UTC))
    for day in (15, 16, 17):
        assert propose(journey_database, datetime(2026, 9, day, 1, tzinfo=UTC)) == ()
    issuing.issue(conn, drawn.bill_id, "user:1", datetime(2026, 9, 18, 1, tzinfo=UTC))
    conn.commit()

    early = propose(journey_database, datetime(2026, 9, 18, 2, tzinfo=UTC))
    due = propose(journey_database)

    assert early == ()  # late readings wait for their run
    assert [(item.bill_id, item.outcome) for item in items_of(conn, due)] == [
        (drawn.bill_id, Outcome.DIFFERS)
    ]


def test_what_is_known_after_twelve_months_is_listed_and_not_billed(
    conn: Conn, journey_database: str, second: Actor
) -> None:
    one, two = some_accounts(conn, 2)
    limit = datetime(2027, 8, 31, 16, tzinfo=UTC)  # 1 September 2027 in the market
    less(conn, one, limit)
    less(conn, two, datetime(2027, 8, 31, 15, 59, tzinfo=UTC))

    outcomes = {item.account_id: item for item in items_of(conn, propose(journey_database, limit))}

    assert outcomes[account_id(one)].outcome is Outcome.BEYOND
    assert outcomes[account_id(one)].change_fen == 0
    assert outcomes[account_id(two)].outcome is Outcome.DIFFERS
    with pytest.raises(correct.NothingToCorrect):
        correct.approve(conn, second, outcomes[account_id(one)].correction_id, SHELLS, limit)
    conn.rollback()
    correct.decline(conn, second, outcomes[account_id(two)].correction_id, "测试到此为止", limit)
    conn.commit()


def test_one_account_that_cannot_be_drawn_up_never_stops_the_others(
    conn: Conn, journey_database: str, second: Actor
) -> None:
    broken, healthy = some_accounts(conn, 2)
    gap = world.a_day(broken, DAY, 2)
    missing = (None, *gap.import_wh[1:])
    world.put_revision(
        conn, type(gap)(*(gap.supply_point_id, DAY, 2, missing), *(missing,) * 3, gap.quality), LATE_AT
    )
    less(conn, healthy)

    (proposal,) = propose(journey_database)

    found = {item.account_id: item for item in corrections.items(conn, proposal)}
    assert found[account_id(broken)].outcome is Outcome.REFUSED
    assert found[account_id(broken)].problem.startswith("intervals_missing")
    assert found[account_id(healthy)].outcome is Outcome.DIFFERS
    correct.approve(conn, second, proposal, SHELLS, R1_DUE)
    conn.commit()
    assert [row[1:3] for row in revisions(conn, broken)] == [(1, "issued")]
    assert [row[1:3] for row in revisions(conn, healthy)] == [(1, "superseded"), (2, "issued")]


def test_a_bug_in_one_account_never_stops_the_others(conn: Conn, second: Actor) -> None:
    buggy, healthy = some_accounts(conn, 2)
    less(conn, buggy)
    less(conn, healthy)

    def draw(conn: Conn, known: billing.Inputs, revision: int, now: datetime) -> Bill:
        if known.account.account_id == account_id(buggy):
            raise ZeroDivisionError("planted")
        return billing.draw(conn, known, revision, now)

    shells = correct.Shells(billing.inputs, draw, issuing.issue)
    touched.look(conn, R1_DUE)
    notes = [
        each
        for each in correction.by_bill(touched.waiting(conn))
        if each.account_id in (account_id(buggy), account_id(healthy))
    ]
    proposal = correct.prepare(conn, notes, correct.Order("r1", "测试", "job:x"), shells, R1_DUE)

    outcomes = {item.account_id: (item.outcome, item.problem) for item in corrections.items(conn, proposal)}
    assert outcomes[account_id(buggy)] == (Outcome.REFUSED, "bug: ZeroDivisionError")
    assert outcomes[account_id(healthy)][0] is Outcome.DIFFERS
    assert len(correct.approve(conn, second, proposal, SHELLS, R1_DUE)) == 1
    conn.commit()


def test_a_change_that_moves_no_fen_makes_no_bill(conn: Conn, journey_database: str) -> None:
    """Half a kilowatt-hour of 2,976 quarter-hours: whole kWh are billed, so the bill stays right."""
    (one,) = some_accounts(conn, 1)
    world.put_revision(conn, world.a_day(one, DAY, 2, **{f"slot_{SLOT}": 1000 * one - 400}), LATE_AT)
    conn.commit()

    (item,) = (
        each for each in items_of(conn, propose(journey_database)) if each.account_id == account_id(one)
    )

    assert item.outcome is Outcome.SAME
    assert corrections.find(conn, item.correction_id) not in corrections.newest(conn, is_open=True)


def test_a_superseding_price_file_is_proposed_at_once_to_every_bill_that_names_it(
    conn: Conn, journey_database: str, second: Actor
) -> None:
    numbers = some_accounts(conn, 2)
    now = datetime(2026, 9, 30, 2, tzinfo=UTC)
    publish_next(conn, "jibei-funds", now)
    found = touched.bills_of_file(conn, "jibei-funds", [1])
    assert {corrections_bill(conn, number) for number in numbers} <= set(found)

    proposals = propose(journey_database, now)

    mine = [item for item in items_of(conn, proposals) if item.account_id in map(account_id, numbers)]
    assert [item.outcome for item in mine] == [Outcome.DIFFERS] * 2
    assert {why.detail for item in mine for why in item.whys} == {"jibei-funds@2"}
    assert all(corrections.find(conn, number).run == DESK for number in proposals)  # type: ignore[union-attr]
    after = corrections.proposed_bill(conn, mine[0].correction_id, mine[0].bill_id)
    assert after is not None
    changed = correction.changes(bills.load(conn, mine[0].bill_id).lines, after.lines)
    assert "funds" in {each.section for each in changed}
    for number in proposals:
        correct.approve(conn, second, number, SHELLS, now)
    conn.commit()
    assert is_balanced(conn)
    assert propose(journey_database, now) == ()  # and nothing is left to do


def publish_next(conn: Conn, sheet_id: str, now: datetime) -> None:
    """The next version of a published file: every price a tenth higher where it is the water fund's."""
    row = conn.execute("SELECT body FROM price_sheet WHERE sheet_id = %s", (sheet_id,)).fetchone()
    assert row is not None
    body = str(row[0]).replace("version = 1", "version = 2", 1)
    prices = [line for line in body.splitlines() if line.startswith("price_yuan_per_kwh = ")]
    assert prices
    changed = body.replace(prices[0], 'price_yuan_per_kwh = "0.05"', 1)
    published.keep(conn, [published.PublishedText(f"{sheet_id}.toml", changed)], now)
    conn.commit()


def test_changed_terms_are_proposed_at_once(conn: Conn, journey_database: str, second: Actor) -> None:
    one, other = some_accounts(conn, 2)
    conn.execute("UPDATE account_terms SET voltage = '35kV' WHERE account_id = %s", (account_id(one),))
    conn.commit()
    now = datetime(2026, 9, 30, 4, tzinfo=UTC)

    (proposal,) = propose(journey_database, now)

    (item,) = corrections.items(conn, proposal)
    assert (item.account_id, item.outcome, item.whys[0].cause) == (account_id(one), Outcome.DIFFERS, "terms")
    correct.approve(conn, second, proposal, SHELLS, now)
    conn.commit()
    assert [row[1:3] for row in revisions(conn, other)] == [(1, "issued")]


def test_a_corrected_month_moves_the_ladder_of_the_months_after_it(
    conn: Conn, journey_database: str, second: Actor
) -> None:
    """河北 ladder in the year's month of moving in: 180 kWh a month, so July's kWh decide August's tiers."""
    one = next(NUMBERS)
    world.put_accounts(conn, (one,))
    conn.execute(
        """UPDATE account_terms SET category = 'residential', purchase = 'catalogue', option = 'ladder', voltage = 'lt1kV',
                  effective = '[2026-07-01 00:00+08,)' WHERE account_id = %s""",
        (account_id(one),),
    )
    july = date(2026, 7, 1)
    for month, at in ((july, datetime(2026, 9, 5, 2, tzinfo=UTC)), (AUGUST, ISSUED_AT)):
        for day in days_of_month(month):
            making = intervals.Making(at - timedelta(days=11), "test:1", None, None)
            intervals.add_day(conn, flat_day(one, day, 100), making)  # 9.6 kWh a day
        world.bill_and_issue(conn, one, month, at)
    conn.commit()
    known = datetime(2026, 9, 20, 2, tzinfo=UTC)
    for day in days_of_month(july)[:20]:
        world.put_revision(conn, flat_day(one, day, 900, revision=2), known)  # 86.4 kWh a day for twenty days
    conn.commit()
    (proposal,) = propose(journey_database)
    assert [(item.month, item.outcome) for item in corrections.items(conn, proposal)] == [
        (july, Outcome.DIFFERS)
    ]
    correct.approve(conn, second, proposal, SHELLS, R1_DUE)
    conn.commit()

    (following,) = propose(journey_database, R1_DUE + timedelta(hours=2))

    (item,) = corrections.items(conn, following)
    assert (item.month, item.outcome, {why.cause for why in item.whys}) == (
        AUGUST,
        Outcome.DIFFERS,
        {"ladder"},
    )
    correct.approve(conn, second, following, SHELLS, R1_DUE + timedelta(hours=3))
    conn.commit()
    tiers = {
        line.item: line.quantity
        for line in bills.load(conn, world_bill(conn, one, AUGUST)).lines
        if line.section == "catalogue"
    }
    # The year from July has 6 x 180 = 1080 and 6 x 280 = 1680 kWh; July came to 20 x 86.4 + 11 x 9.6 = 1833.6 kWh, so
    # all of August's 297.6 lies above both.
    assert sum(kwh for item, kwh in tiers.items() if item.endswith("_3")) == 298
    assert propose(journey_database, R1_DUE + timedelta(hours=4)) == ()


def flat_day(number: int, day: date, wh: int, revision: int = 1) -> IntervalDay:
    """A day of `wh` in every quarter-hour."""
    return IntervalDay(
        point_id(number), day, revision, (wh,) * 96, world.NO, world.NO, world.NO, world.MEASURED
    )


def world_bill(conn: Conn, number: int, month: date) -> int:
    """The bill that stands."""
    row = conn.execute(
        "SELECT bill_id FROM bill WHERE account_id = %s AND month = %s AND state = 'issued'",
        (account_id(number), month),
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_terms_that_end_later_do_not_touch_the_months_before(conn: Conn, journey_database: str) -> None:
    (one,) = some_accounts(conn, 1)
    conn.execute(
        """UPDATE account_terms SET effective = tstzrange(lower(effective), '2026-11-01 00:00+08')
           WHERE account_id = %s""",
        (account_id(one),),
    )
    conn.commit()

    assert propose(journey_database, datetime(2026, 9, 30, 5, tzinfo=UTC)) == ()


def test_a_statement_that_became_final_after_the_bill_touches_it(conn: Conn, journey_database: str) -> None:
    """The amounts of an agency customer do not rest on it, so the look says: touched, and still right."""
    (one,) = some_accounts(conn, 1)
    final_at = datetime(2026, 10, 2, 3, tzinfo=UTC)
    conn.execute(
        "SET LOCAL session_replication_role = replica"
    )  # only the trace that settlement leaves behind
    row = conn.execute(
        """INSERT INTO statement (run_id, unit_id, side, account_id, name, month, revision, state, quantity_kwh, total_fen,
                                  change_fen, input_sha256, facts, made_at)
           VALUES (1, %s, 'user', %s, 'n', %s, 1, 'final', 0, 0, 0, repeat('0', 64), '{}', %s) RETURNING statement_id""",
        (account_id(one), account_id(one), AUGUST, final_at),
    ).fetchone()
    assert row is not None
    conn.execute(
        """INSERT INTO statement_event (statement_id, deed, before, after, at, actor)
           VALUES (%s, 'finish', 'confirmed', 'final', %s, 'test')""",
        (row[0], final_at),
    )
    conn.commit()

    (item,) = (
        each
        for each in items_of(conn, propose(journey_database, final_at))
        if each.account_id == account_id(one)
    )

    assert [(why.cause, why.detail) for why in item.whys] == [("settlement", f"{account_id(one)} r1")]
    assert item.outcome is Outcome.SAME
