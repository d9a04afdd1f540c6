"""Money on a real PostgreSQL: bank files, four eyes, refunds, late fees day by day, statements; and what the database refuses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pay_world as world
import psycopg
import pytest
from pay_world import AUGUST, HOME, MILL, SEPTEMBER, SHOP, balance, rows

from cloud import db
from cloud.billing.payment import (
    PAYMENT,
    REQUEST,
    FoundBy,
    NothingThere,
    Notified,
    OwnRequest,
    Provider,
    Purpose,
    payment_code,
)
from cloud.billing.reconcile import Statement, StatementLine, What
from cloud.billing.run import bank, collect, pay, requests
from cloud.billing.store import payments
from cloud.config import load_config
from cloud.db import Pool, ProcessRole, Scope
from cloud.lives import NoSuchMove
from cloud.outside.payments import errands, offered
from cloud.outside.payments.errands import Offered
from cloud.outside.paysim.book import Edit
from cloud.outside.paysim.server import Simulator

WORKER = Scope(ProcessRole.WORKER, actor="test")
STAFF = Scope(ProcessRole.API, "staff", None, "user:1")
NOW = datetime(2026, 9, 28, 4, tzinfo=UTC)


@pytest.fixture
def pool(database: str) -> Iterator[Pool]:
    world.fill(database, NOW)
    with db.open_pool(database, size_max=3) as made:
        yield made


@pytest.fixture
def simulated(database: str, tmp_path: Path) -> Iterator[tuple[Simulator, Offered]]:
    with world.simulator(tmp_path) as made:
        config = load_config(world.settings(database, 1, tmp_path, made))
        yield made, offered(config)


def _paid(fen: int, transaction: str = "T1", order_no: str = "P0") -> Notified:
    return Notified(Provider.WECHAT, transaction, order_no, fen, NOW, "", FoundBy.CALLBACK)


def _order(pool: Pool, account_id: str, fen: int) -> str:
    with db.transaction(pool, STAFF) as conn:
        wish = pay.Wish(account_id, Provider.WECHAT, Purpose.TOP_UP, None, fen, False)
        return pay.open_order(conn, wish, "user:1", NOW).order_no


def _pay(pool: Pool, account_id: str, fen: int, transaction: str = "T1") -> int:
    number = _order(pool, account_id, fen)
    with db.transaction(pool, WORKER) as conn:
        pay.take(conn, _paid(fen, transaction, number), NOW)
        found = payments.receipt_of_order(conn, number)
    assert found is not None
    return found.receipt_id


# ---- lives and walls -------------------------------------------------------------------------------------


def test_the_database_knows_the_same_moves_as_the_program(database: str) -> None:
    kept = set(rows(database, "SELECT life, before, deed, after FROM money_move"))

    assert kept == {
        (life.name, before or "", deed, after)
        for life in (PAYMENT, REQUEST)
        for (before, deed), after in life.moves.items()
    }


def test_the_database_refuses_other_moves_changes_and_parts_that_exceed(database: str, pool: Pool) -> None:
    receipt_id = _pay(pool, MILL, 100)
    for statement in (
        "UPDATE payment_order SET state = 'created'",
        "UPDATE receipt SET amount_fen = 1",
        "DELETE FROM receipt_part",
        "DELETE FROM provider_call",
        "UPDATE payment_event SET deed = 'x'",
        f"INSERT INTO receipt_part VALUES ({receipt_id}, 9, '{SHOP}', 1, 1, now(), 'x')",
    ):
        with psycopg.connect(database) as conn, pytest.raises(psycopg.Error):
            conn.execute(statement)


def test_a_customers_transaction_sees_own_money_only(pool: Pool) -> None:
    _pay(pool, MILL, 100)
    _pay(pool, HOME, 200, "T2")
    zhou = Scope(ProcessRole.API, "customer", 2, "user:9")

    with db.transaction(pool, zhou) as conn:
        assert {row[0] for row in conn.execute("SELECT account_id FROM payment_order")} == {HOME}
        assert {row[0] for row in conn.execute("SELECT account_id FROM receipt_part")} == {HOME}
        assert [row[0] for row in conn.execute("SELECT amount_fen FROM receipt")] == [200]
        assert conn.execute("SELECT count(*) FROM provider_call").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM bank_line").fetchone() == (0,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction(pool, zhou) as conn:
        conn.execute("UPDATE payment_order SET state = 'paid'")


# ---- bank ------------------------------------------------------------------------------------------------


def _bank_file(*lines: str) -> bytes:
    return ("交易日期,收入金额,支出金额,对方户名,附言,流水号\n" + "\n".join(lines) + "\n").encode("gb18030")


def test_a_bank_file_is_booked_once_and_the_rest_is_placed_by_hand(database: str, pool: Pool) -> None:
    world.owe(database, MILL, AUGUST, 1_000_00, issued=date(2026, 9, 10), due=date(2026, 9, 25))
    world.owe(database, SHOP, AUGUST, 300_00, issued=date(2026, 9, 10), due=date(2026, 9, 25))
    file = _bank_file(
        f"2026-09-20,1200.00,,云岭精密制造（示范）有限公司,电费 {payment_code(MILL)},A1",
        "2026-09-21,300.00,,某代办,代缴电费,A2",
        "2026-09-22,,50.00,某供应商,货款,A3",
    )
    with db.transaction(pool, STAFF) as conn:
        done = bank.import_file(conn, "a.csv", file, "user:1", NOW)
    assert (done.lines, done.booked, done.pooled, done.outgoing, done.known) == (3, 1, 1, 1, 0)
    assert balance(database, f"receivable/{MILL}") == 0
    assert balance(database, f"prepaid/{MILL}") == -200_00
    assert balance(database, "suspense/payments") == -300_00

    with db.transaction(pool, STAFF) as conn:
        again = bank.import_file(conn, "b.csv", file, "user:1", NOW)
        (pooled,) = payments.unplaced(conn)
        guess = bank.guesses_of(conn, pooled)[0]
    assert (again.known, again.booked, again.pooled) == (3, 0, 0)
    assert (guess.account_id, guess.confidence_percent) == (SHOP, 30)

    with db.transaction(pool, STAFF) as conn:
        bank.place(conn, pooled.receipt_id, [(SHOP, 250_00), (HOME, 40_00)], "user:1", NOW)
    with pytest.raises(NothingThere), db.transaction(pool, STAFF) as conn:
        bank.place(conn, pooled.receipt_id, [(SHOP, 10_01)], "user:1", NOW)
    assert balance(database, f"receivable/{SHOP}") == 50_00
    assert balance(database, f"prepaid/{HOME}") == -40_00
    assert balance(database, "suspense/payments") == -10_00

    with db.transaction(pool, STAFF) as conn:
        wish = requests.Wish("write_off", None, pooled.receipt_id, "", 10_00, "查无此人")
        number = requests.ask(conn, wish, "user:1", NOW)
    with pytest.raises(OwnRequest), db.transaction(pool, STAFF) as conn:
        requests.decide(conn, number, "user:1", NOW, is_approved=True)
    with db.transaction(pool, STAFF) as conn:
        assert requests.decide(conn, number, "user:2", NOW, is_approved=True).state == "done"
        assert payments.unplaced(conn) == ()
    assert balance(database, "suspense/payments") == 0
    assert balance(database, "income/unclaimed") == -10_00


# ---- prepaid ---------------------------------------------------------------------------------------------


def test_what_was_paid_too_much_settles_the_next_bill_once(database: str, pool: Pool) -> None:
    world.owe(database, MILL, AUGUST, 400, issued=date(2026, 9, 10), due=date(2026, 9, 25))
    _pay(pool, MILL, 1000)
    assert (balance(database, f"receivable/{MILL}"), balance(database, f"prepaid/{MILL}")) == (0, -600)
    world.owe(database, MILL, SEPTEMBER, 900, issued=date(2026, 9, 20), due=date(2026, 10, 5))

    assert collect.use_prepaid(pool, NOW) == 1
    assert collect.use_prepaid(pool, NOW) == 0

    assert (balance(database, f"receivable/{MILL}"), balance(database, f"prepaid/{MILL}")) == (300, 0)


# ---- refunds ---------------------------------------------------------------------------------------------


def test_a_refund_needs_two_people_and_leaves_once(
    database: str, pool: Pool, simulated: tuple[Simulator, Offered]
) -> None:
    made, providers = simulated
    number = _order(pool, MILL, 1000)
    now = world.clock()
    with db.transaction(pool, WORKER) as conn:
        order = payments.find_order(conn, number)
    assert order is not None
    errands.offer(pool, providers, order, "http://127.0.0.1/x", now)
    trade = made.book.pay("wechat", number)
    assert trade is not None
    errands.look(pool, providers, "http://127.0.0.1", now + timedelta(minutes=1))
    ((receipt_id,),) = rows(database, "SELECT receipt_id FROM receipt")
    world.owe(database, MILL, AUGUST, 700, issued=date(2026, 9, 10), due=date(2026, 9, 25))
    collect.use_prepaid(pool, now)

    with db.transaction(pool, STAFF) as conn:
        wish = requests.Wish("refund", MILL, receipt_id, "", 300, "多缴")  # type: ignore[arg-type]  # a number
        request_id = requests.ask(conn, wish, "user:1", now)
    with pytest.raises(NothingThere), db.transaction(pool, STAFF) as conn:
        requests.ask(conn, requests.Wish("refund", MILL, receipt_id, "", 701, "太多"), "user:1", now)  # type: ignore[arg-type]  # a number
    errands.look(pool, providers, "http://127.0.0.1", now + timedelta(minutes=2))
    assert trade.refunds == {}
    with db.transaction(pool, STAFF) as conn:
        requests.decide(conn, request_id, "user:2", now, is_approved=True)
    assert balance(database, f"prepaid/{MILL}") == 0

    for minutes in (3, 4, 5):
        errands.look(pool, providers, "http://127.0.0.1", now + timedelta(minutes=minutes))

    assert [fen for fen, _ in trade.refunds.values()] == [300]
    assert rows(database, "SELECT state FROM money_request") == [("done",)]
    assert balance(database, "suspense/payments") == 0
    assert balance(database, "cash/wechat") == 700
    with pytest.raises(NoSuchMove), db.transaction(pool, STAFF) as conn:
        requests.decide(conn, request_id, "user:3", now, is_approved=False)


def test_a_refund_the_provider_refuses_is_given_back_to_the_customer(
    database: str, pool: Pool, simulated: tuple[Simulator, Offered]
) -> None:
    _, providers = simulated
    receipt_id = _pay(pool, MILL, 500)  # the simulator knows no such transaction
    with db.transaction(pool, STAFF) as conn:
        request_id = requests.ask(
            conn, requests.Wish("refund", MILL, receipt_id, "", 200, "误缴"), "user:1", NOW
        )
        requests.decide(conn, request_id, "user:2", NOW, is_approved=True)
    assert balance(database, f"prepaid/{MILL}") == -300

    errands.look(pool, providers, "http://127.0.0.1", world.clock())

    assert rows(database, "SELECT state FROM money_request") == [("failed",)]
    assert balance(database, f"prepaid/{MILL}") == -500
    assert balance(database, "suspense/payments") == 0


# ---- collection ------------------------------------------------------------------------------------------


def _at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 4, tzinfo=UTC)


def test_a_late_fee_grows_by_the_day_stops_when_paid_and_can_be_waived(database: str, pool: Pool) -> None:
    """100,000.00 yuan at 0.2 %: 200.00 a day from 26 Sep. Paid on 29 Sep: four days, 800.00."""
    item = world.owe(database, MILL, AUGUST, 10_000_000, issued=date(2026, 9, 10), due=date(2026, 9, 25))
    late = f"{item}/late"
    for day, total in ((25, 0), (26, 20_000), (26, 20_000), (28, 60_000)):
        collect.collect(pool, _at(date(2026, 9, day)))
        found = rows(database, "SELECT coalesce(sum(amount_fen), 0) FROM posting WHERE item = %s", late)
        assert found == [(total,)], day
    number = _order(pool, MILL, 10_080_000)
    with db.transaction(pool, WORKER) as conn:
        at = _at(date(2026, 9, 29))
        collect.post_late_fee(conn, _debt(conn, item), date(2026, 9, 29), _rules(conn), at)
        paid = Notified(Provider.WECHAT, "T", number, 10_080_000, at, "", FoundBy.CALLBACK)
        pay.take(conn, paid, at)
    assert balance(database, f"receivable/{MILL}") == 0

    for day in (date(2026, 9, 30), date(2026, 10, 9)):
        collect.collect(pool, _at(day))

    assert balance(database, f"receivable/{MILL}") == 0
    assert balance(database, "income/late_fee") == -80_000
    assert balance(database, f"prepaid/{MILL}") == 0


def test_a_transfer_that_counts_from_an_earlier_day_takes_the_fee_back(database: str, pool: Pool) -> None:
    world.owe(database, MILL, AUGUST, 10_000_000, issued=date(2026, 9, 10), due=date(2026, 9, 25))
    collect.collect(pool, _at(date(2026, 9, 28)))
    assert balance(database, "income/late_fee") == -60_000
    file = _bank_file(f"2026-09-24,100000.00,,某某,{payment_code(MILL)},A1")
    with db.transaction(pool, STAFF) as conn:
        bank.import_file(conn, "a.csv", file, "user:1", _at(date(2026, 9, 29)))

    collect.collect(pool, _at(date(2026, 9, 30)))

    assert balance(database, "income/late_fee") == 0
    assert balance(database, f"receivable/{MILL}") == 0


def test_a_waiver_is_approved_by_another_and_not_charged_again(database: str, pool: Pool) -> None:
    item = world.owe(database, MILL, AUGUST, 10_000_000, issued=date(2026, 9, 10), due=date(2026, 9, 25))
    collect.collect(pool, _at(date(2026, 9, 28)))
    with db.transaction(pool, STAFF) as conn:
        wish = requests.Wish("waiver", MILL, None, f"{item}/late", 60_000, "系统故障")
        number = requests.ask(conn, wish, "user:1", NOW)
        requests.decide(conn, number, "user:2", NOW, is_approved=True)
    assert balance(database, "income/late_fee") == 0

    collect.collect(pool, _at(date(2026, 9, 29)))

    assert balance(database, "income/late_fee") == -20_000


def test_steps_are_taken_once_and_the_last_only_proposes(database: str, pool: Pool) -> None:
    world.owe(database, MILL, AUGUST, 100_00, issued=date(2026, 9, 10), due=date(2026, 9, 25))
    for day in (
        date(2026, 9, 22),
        date(2026, 9, 28),
        date(2026, 9, 28),
        date(2026, 10, 16),
        date(2026, 11, 20),
    ):
        collect.collect(pool, _at(day))

    found = rows(database, "SELECT step, kind FROM collection_notice ORDER BY notice_id")
    assert found == [
        ("reminder", "notice"),
        ("overdue", "notice"),
        ("demand", "notice"),
        ("supply", "proposal"),
    ]


def test_a_low_prepaid_balance_is_told_once_a_month(database: str, pool: Pool) -> None:
    _pay(pool, MILL, 99_00)
    for day in (date(2026, 9, 28), date(2026, 9, 29), date(2026, 10, 9)):
        collect.collect(pool, _at(day))

    found = rows(database, "SELECT step, amount_fen FROM collection_notice ORDER BY notice_id")
    assert found == [("prepaid_low", 99_00)] * 2


# ---- statements ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", [Provider.WECHAT, Provider.ALIPAY])
def test_reconciliation_finds_every_planted_difference_and_books_what_was_missed(
    database: str, pool: Pool, simulated: tuple[Simulator, Offered], provider: Provider
) -> None:
    made, providers = simulated
    now = world.clock()
    today = (now + timedelta(hours=8)).date()
    names, fee_fen = _five_payments(pool, made, providers, provider, now)  # the first was never told to us
    mistakes = (
        Edit("drop", names[1]),
        Edit("amount", names[2], 333),
        Edit("twice", names[3]),
        Edit("add", "X-1", 777, "PUNKNOWN"),
    )
    made.book.edit(provider, today, mistakes)

    found = errands.reconcile_day(pool, providers[provider], today, now)
    again = errands.reconcile_day(pool, providers[provider], today, now)

    assert {(each.kind.value, each.reference) for each in found} == {
        ("missing_here", names[0]),
        ("missing_there", names[1]),
        ("amount_differs", names[2]),
        ("twice_there", names[3]),
        ("missing_here", "X-1"),
    }
    assert {each.kind.value for each in again} == {"missing_there", "amount_differs", "twice_there"}
    kept = rows(
        database, "SELECT reference, resolution FROM statement_difference WHERE resolved_at IS NOT NULL"
    )
    assert dict(kept) == {names[0]: "booked: accepted", "X-1": "booked: unknown_order"}  # type: ignore[arg-type]  # two texts
    assert rows(database, "SELECT found_by FROM receipt WHERE reference = %s", names[0]) == [("statement",)]
    assert balance(database, "expense/provider_fee") == fee_fen
    assert balance(database, "suspense/payments") == -777


def _five_payments(
    pool: Pool, made: Simulator, providers: Offered, provider: Provider, now: datetime
) -> tuple[list[str], int]:
    """Pay five orders and tell us of all but the first: transactions, and the fee a statement with the mistakes shows."""
    trades = []
    for fen in (100, 200, 300, 400, 500):
        with db.transaction(pool, STAFF) as conn:
            wish = pay.Wish(MILL, provider, Purpose.TOP_UP, None, fen * 100, False)
            order = pay.open_order(conn, wish, "user:1", now)
        errands.offer(pool, providers, order, "http://127.0.0.1/x", now)
        trade = made.book.pay(provider, order.order_no)
        assert trade is not None
        trades.append(trade)
    with db.transaction(pool, WORKER) as conn:
        for trade in trades[1:]:
            assert trade.paid_at is not None
            told = Notified(
                *(provider, trade.transaction_id, trade.order_no, trade.amount_fen, trade.paid_at, ""),
                FoundBy.CALLBACK,
            )
            pay.take(conn, told, now)
    # 0.6 % of 100, 300, 400 twice (the doubled line carries its fee again) and 500 yuan; the second line was dropped.
    return [trade.transaction_id for trade in trades], 60 + 180 + 240 * 2 + 300


def test_fees_of_a_day_are_booked_once(database: str, pool: Pool) -> None:
    line = StatementLine(What.PAYMENT, "T9", "P9", 10_000, 60, NOW)
    statement = Statement(Provider.ALIPAY, date(2026, 9, 28), bytes(32), (line,))
    for _ in range(2):
        with db.transaction(pool, WORKER) as conn:
            pay.reconcile(conn, statement, NOW)

    assert balance(database, "expense/provider_fee") == 60
    assert balance(database, "cash/alipay") == 10_000 - 60


def test_fees_of_a_statement_that_came_too_early_are_made_up_for(database: str, pool: Pool) -> None:
    line = StatementLine(What.PAYMENT, "T9", "P9", 10_000, 60, NOW)
    day = date(2026, 9, 28)
    for lines in ((), (line,), (line,)):
        with db.transaction(pool, WORKER) as conn:
            pay.reconcile(conn, Statement(Provider.ALIPAY, day, bytes([len(lines)]) * 32, lines), NOW)

    assert balance(database, "expense/provider_fee") == 60
    assert balance(database, "cash/alipay") == 10_000 - 60


def test_yesterdays_statement_is_left_until_the_providers_have_made_it(
    database: str, pool: Pool, simulated: tuple[Simulator, Offered]
) -> None:
    _, providers = simulated
    morning = datetime(2026, 9, 28, 1, tzinfo=UTC)  # 09:00 on the market's clock

    errands.reconcile_lately(pool, providers, morning)
    early = rows(database, "SELECT max(day) FROM provider_statement")
    errands.reconcile_lately(pool, providers, morning + timedelta(hours=3))

    assert early == [(date(2026, 9, 26),)]
    assert rows(database, "SELECT max(day) FROM provider_statement") == [(date(2026, 9, 27),)]


def _debt(conn: db.Conn, item: str):  # type: ignore[no-untyped-def]  # a store's row
    from cloud.billing.store import collect as store

    return next(each for each in store.debts(conn, MILL) if each.item == item)


def _rules(conn: db.Conn):  # type: ignore[no-untyped-def]  # the published rules
    from cloud.billing import arrears
    from cloud.billing.store import published

    return arrears.rules_on(published.catalogue(conn).files, date(2026, 9, 29))
