"""Money that goes back or was forgiven, in combinations: whatever order things happen in, nobody gains a fen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pay_world as world
import psycopg
import pytest
from pay_world import AUGUST, HOME, MILL, SEPTEMBER, SHOP, balance, rows

from cloud import db
from cloud.billing.ledger import Journal, Posting, receivable
from cloud.billing.payment import FoundBy, NothingThere, Notified, Provider, Purpose, payment_code
from cloud.billing.run import bank, collect, pay, requests
from cloud.billing.store import collect as store
from cloud.billing.store import ledger as books
from cloud.billing.store import payments
from cloud.db import Pool, ProcessRole, Scope

WORKER = Scope(ProcessRole.WORKER, actor="test")
STAFF = Scope(ProcessRole.API, "staff", None, "user:1")
NOW = datetime(2026, 9, 28, 4, tzinfo=UTC)
WAIT_S = 0.5


@pytest.fixture
def pool(database: str) -> Iterator[Pool]:
    world.fill(database, NOW)
    with db.open_pool(database, size_max=3) as made:
        yield made


def _pay(pool: Pool, fen: int, transaction: str) -> int:
    """MILL pays; the number of the receipt."""
    with db.transaction(pool, STAFF) as conn:
        wish = pay.Wish(MILL, Provider.WECHAT, Purpose.TOP_UP, None, fen, False)
        number = pay.open_order(conn, wish, "user:1", NOW).order_no
    with db.transaction(pool, WORKER) as conn:
        paid = Notified(Provider.WECHAT, transaction, number, fen, NOW, "", FoundBy.CALLBACK)
        pay.take(conn, paid, NOW)
        found = payments.receipt_of_order(conn, number)
    assert found is not None
    return found.receipt_id


def _approved(pool: Pool, wish: requests.Wish) -> None:
    with db.transaction(pool, STAFF) as conn:
        number = requests.ask(conn, wish, "user:1", NOW)
    with db.transaction(pool, STAFF) as conn:
        requests.decide(conn, number, "user:2", NOW, is_approved=True)


def _corrected(dsn: str, item: str, fen: int) -> None:
    """A correction takes something off a bill that is out."""
    postings = (Posting(receivable(MILL), -fen, item), Posting("revenue/energy", fen))
    with psycopg.connect(dsn) as conn:
        books.post(conn, Journal("correction", "issue_bill", NOW.date(), NOW.date(), postings), NOW)


def _file(line: str) -> bytes:
    return f"交易日期,收入金额,支出金额,对方户名,附言,流水号\n{line}\n".encode()


def _at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 4, tzinfo=UTC)


def _owed(dsn: str) -> dict[str, int]:
    found = rows(
        dsn,
        "SELECT item, sum(amount_fen)::bigint FROM posting WHERE account_code = %s GROUP BY 1",
        receivable(MILL),
    )
    return {str(item): fen for item, fen in found if isinstance(fen, int)}


def test_two_who_ask_for_the_same_money_at_once_do_not_both_get_it(database: str, pool: Pool) -> None:
    receipt_id = _pay(pool, 1000, "T1")
    _pay(pool, 1000, "T2")  # other money of the customer's, out of which a second refund could be paid
    wish = requests.Wish("refund", MILL, receipt_id, "", 1000, "误缴")
    refused = []

    def ask() -> None:
        try:
            with db.transaction(pool, STAFF) as conn:
                requests.ask(conn, wish, "user:2", NOW)
        except NothingThere as refusal:
            refused.append(refusal)

    thread = threading.Thread(target=ask)
    with db.transaction(pool, STAFF) as conn:
        requests.ask(conn, wish, "user:1", NOW)
        thread.start()
        thread.join(WAIT_S)
        assert thread.is_alive()  # it waits for the first to be decided one way or the other
    thread.join()

    assert len(refused) == 1
    assert rows(database, "SELECT amount_fen FROM money_request") == [(1000,)]


def test_a_refund_of_one_customers_part_leaves_the_others(pool: Pool) -> None:
    with db.transaction(pool, STAFF) as conn:
        bank.import_file(conn, "a.csv", _file("2026-09-24,100.00,,某某,无,A1"), "user:1", NOW)
        (row,) = payments.unplaced(conn)
        bank.place(conn, row.receipt_id, [(MILL, 5000), (HOME, 5000)], "user:1", NOW)
    _approved(pool, requests.Wish("refund", MILL, row.receipt_id, "", 5000, "误缴"))

    _approved(pool, requests.Wish("refund", HOME, row.receipt_id, "", 5000, "误缴"))

    with pytest.raises(NothingThere), db.transaction(pool, STAFF) as conn:
        requests.ask(conn, requests.Wish("refund", HOME, row.receipt_id, "", 1, "误缴"), "user:1", NOW)


def test_a_refund_re_opens_no_item_beyond_what_is_paid_of_it(database: str, pool: Pool) -> None:
    """100 yuan paid August; corrected to 60, 40 went on to September: a whole refund leaves 60 and 40 owed."""
    august = world.owe(database, MILL, AUGUST, 10_000, issued=date(2026, 9, 10), due=date(2026, 9, 25))
    receipt_id = _pay(pool, 10_000, "T1")
    _corrected(database, august, 4000)
    september = world.owe(database, MILL, SEPTEMBER, 4000, issued=date(2026, 9, 20), due=date(2026, 10, 5))
    collect.use_prepaid(pool, NOW)

    _approved(pool, requests.Wish("refund", MILL, receipt_id, "", 10_000, "误缴"))

    assert _owed(database) == {august: 6000, september: 4000}


def test_a_waived_fee_that_turns_out_never_due_is_no_money(database: str, pool: Pool) -> None:
    item = world.owe(database, MILL, AUGUST, 10_000_000, issued=date(2026, 9, 10), due=date(2026, 9, 25))
    collect.collect(pool, _at(date(2026, 9, 28)))
    _approved(pool, requests.Wish("waiver", MILL, None, f"{item}/late", 60_000, "系统故障"))
    file = _file(f"2026-09-24,100000.00,,某某,{payment_code(MILL)},A1")
    with db.transaction(pool, STAFF) as conn:
        bank.import_file(conn, "a.csv", file, "user:1", _at(date(2026, 9, 29)))

    for day in (date(2026, 9, 30), date(2026, 10, 1)):
        collect.collect(pool, _at(day))

    assert set(_owed(database).values()) == {0}
    assert balance(database, f"prepaid/{MILL}") == 0
    assert balance(database, "income/late_fee") == 0


def test_a_given_up_debt_that_is_corrected_away_is_no_money(database: str, pool: Pool) -> None:
    """60 of 100 yuan paid, 40 given up; corrected to 50: the 40 are taken back, and 10 are the customer's."""
    item = world.owe(database, MILL, AUGUST, 10_000, issued=date(2026, 9, 10), due=date(2026, 9, 30))
    _pay(pool, 6000, "T1")
    _approved(pool, requests.Wish("bad_debt", MILL, None, item, 4000, "破产"))
    _corrected(database, item, 5000)

    assert [collect.use_prepaid(pool, NOW) for _ in range(2)] == [1, 0]

    assert _owed(database) == {item: 0}
    assert balance(database, "expense/bad_debt") == 0
    assert balance(database, f"prepaid/{MILL}") == -1000


def test_nobody_is_left_out_because_the_list_is_long(
    database: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "DEBTS_MAX", 1)
    for account_id in (HOME, MILL, SHOP):
        world.owe(database, account_id, AUGUST, 100_000, issued=date(2026, 9, 10), due=date(2026, 9, 25))

    done = collect.collect(pool, _at(date(2026, 9, 28)))

    assert (done.fees, done.notices) == (3, 3)
