"""The ledger against a real PostgreSQL: what the database itself refuses, whoever asks."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import money_world as world
import psycopg
import pytest
from money_world import AUGUST, ISSUED_AT, account_id
from psycopg.conninfo import make_conninfo

from cloud.billing import ledger
from cloud.billing.ledger import Journal, NoLedgerAccount, Posting, Unbalanced
from cloud.billing.run import bill as billing
from cloud.billing.run import issue as issuing
from cloud.billing.store import bookings, display, published
from cloud.billing.store import ledger as books
from cloud.db import Conn, ProcessRole, Scope, take_scope

NOW = ISSUED_AT
SEPTEMBER = date(2026, 9, 1)
ONE, TWO = account_id(1), account_id(2)


@pytest.fixture(scope="module")
def ledger_database(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """One database for the module: every test works in a transaction that is rolled back."""
    name = f"shoudian_ledger_{os.getpid()}"
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
        dsn = make_conninfo(postgres_dsn, dbname=name)
        with psycopg.connect(dsn) as connection:
            world.put_accounts(connection, (1, 2))
            published.keep(connection, published.packaged_texts(), NOW)
        yield dsn
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def conn(ledger_database: str) -> Iterator[Conn]:
    with psycopg.connect(ledger_database) as connection:
        yield connection
        connection.rollback()


def as_at_commit(conn: Conn) -> None:
    """Check what is checked at commit."""
    conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
    conn.execute("SET CONSTRAINTS ALL DEFERRED")


def a_journal(key: str = "k", fen: int = 100, day: date = date(2026, 9, 14), account: str = ONE) -> Journal:
    owed = Posting(ledger.receivable(account), fen, ledger.item_of(account, AUGUST))
    return Journal(key, "issue_bill", date(2026, 8, 31), day, (owed, Posting("revenue/energy", -fen)))


def insert_raw(conn: Conn, key: str, amounts_fen: tuple[int, ...], count: int) -> int:
    """A journal as only somebody with a psql could write it."""
    row = conn.execute(
        """INSERT INTO journal (idem_key, deed, event_date, effective_date, booked_at, content_sha256, posting_count)
           VALUES (%s, 'x', '2026-08-31', '2026-09-14', %s, %s, %s) RETURNING journal_id""",
        (key, NOW, bytes(32), count),
    ).fetchone()
    assert row is not None
    for number, fen in enumerate(amounts_fen, start=1):
        conn.execute(
            "INSERT INTO posting VALUES (%s, %s, %s, 'revenue/energy', %s, '')", (row[0], number, count, fen)
        )
    return int(row[0])


@pytest.mark.parametrize(
    ("amounts_fen", "count"), [((100, -99), 2), ((100, -100), 3), ((), 2)], ids=["off", "missing", "none"]
)
def test_a_journal_that_is_not_whole_is_refused_at_commit(
    conn: Conn, amounts_fen: tuple[int, ...], count: int
) -> None:
    def insert_and_end() -> None:
        insert_raw(conn, "raw", amounts_fen, count)  # in itself accepted: more may come
        as_at_commit(conn)

    with pytest.raises(psycopg.errors.CheckViolation, match="posting"), conn.transaction():
        insert_and_end()

    assert conn.execute("SELECT count(*) FROM journal").fetchone() == (0,)


def test_no_posting_joins_a_journal_that_is_booked(conn: Conn) -> None:
    journal_id = insert_raw(conn, "raw", (100, -100), 2)
    as_at_commit(conn)

    with pytest.raises(psycopg.errors.CheckViolation), conn.transaction():
        conn.execute("INSERT INTO posting VALUES (%s, 3, 2, 'revenue/energy', 5, '')", (journal_id,))
    with pytest.raises(psycopg.errors.ForeignKeyViolation), conn.transaction():
        conn.execute("INSERT INTO posting VALUES (%s, 3, 4, 'revenue/energy', 5, '')", (journal_id,))


def test_a_reversal_cancels_exactly_and_only_once(conn: Conn) -> None:
    first = books.post(conn, a_journal(), NOW).journal_id
    as_at_commit(conn)
    half = Journal(
        "half", "x", date(2026, 8, 31), date(2026, 9, 15), a_journal(fen=-50).postings, reverses=first
    )

    def post_half() -> None:
        books.post(conn, half, NOW)
        as_at_commit(conn)

    with pytest.raises(psycopg.errors.CheckViolation, match="does not cancel"), conn.transaction():
        post_half()
    undone = ledger.reversal(first, books.load(conn, first), date(2026, 10, 1))
    reversal = books.post(conn, undone, NOW)
    as_at_commit(conn)

    assert books.post(conn, undone, NOW) == books.Posted(reversal.journal_id, is_new=False)
    again = Journal(
        "again", "x", date(2026, 8, 31), date(2026, 10, 1), a_journal(fen=-100).postings, reverses=first
    )
    with pytest.raises(books.AlreadyReversed), conn.transaction():
        books.post(conn, again, NOW)
    assert books.open_items(conn, ONE) == ()
    with pytest.raises(ledger.ReversesReversal):
        ledger.reversal(reversal.journal_id, undone, date(2026, 10, 1))


@pytest.mark.parametrize("role", [None, *(role.value for role in ProcessRole if role.value)])
@pytest.mark.parametrize("table", ["ledger_account", "journal", "posting", "period_lock"])
def test_nobody_changes_what_is_booked(conn: Conn, table: str, role: str | None) -> None:
    """Also the owner of the tables, a superuser, does not: by trigger, not by grant."""
    books.post(conn, a_journal(), NOW)
    books.lock_period(conn, AUGUST, "test", NOW)
    as_at_commit(conn)
    conn.execute("SELECT set_config('role', %s, true)", (role or "none",))
    column = {"ledger_account": "account_code", "period_lock": "locked_by", "journal": "deed"}.get(
        table, "item"
    )
    for statement in (
        f"UPDATE {table} SET {column} = {column}",
        f"DELETE FROM {table}",
        f"TRUNCATE {table} CASCADE",
    ):
        with (
            pytest.raises((psycopg.errors.RestrictViolation, psycopg.errors.InsufficientPrivilege)),
            conn.transaction(),
        ):
            conn.execute(statement)


def test_the_same_key_with_other_content_is_a_conflict(conn: Conn) -> None:
    first = books.post(conn, a_journal("k", 100), NOW)

    assert books.post(conn, a_journal("k", 100), NOW + timedelta(days=1)) == books.Posted(
        first.journal_id, is_new=False
    )
    with pytest.raises(books.KeyReused), conn.transaction():
        books.post(conn, a_journal("k", 101), NOW)


def test_twenty_at_once_with_one_key_make_one_journal(database: str) -> None:
    with psycopg.connect(database) as conn:
        world.put_accounts(conn, (1,))
    together = threading.Barrier(20)
    told: list[books.Posted] = []

    def post() -> None:
        with psycopg.connect(database) as own:
            together.wait()
            told.append(books.post(own, a_journal("once"), NOW))

    threads = [threading.Thread(target=post) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({each.journal_id for each in told}) == 1
    assert [each.is_new for each in told].count(True) == 1
    assert len(told) == 20
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT count(*) FROM journal").fetchone() == (1,)
        assert conn.execute("SELECT count(*), sum(amount_fen) FROM posting").fetchone() == (2, 0)


def test_a_locked_month_takes_nothing_and_neither_do_the_months_before_it(conn: Conn) -> None:
    assert books.lock_period(conn, AUGUST, "test", NOW)
    assert not books.lock_period(conn, AUGUST, "test", NOW)
    assert not books.lock_period(conn, date(2026, 7, 1), "test", NOW)
    assert books.locked_through(conn) == AUGUST
    as_at_commit(conn)

    for day in (date(2026, 8, 31), date(2026, 8, 1), date(2026, 3, 5)):
        with pytest.raises(books.PeriodLocked), conn.transaction():
            books.post(conn, a_journal(day=day), NOW)
    assert books.post(conn, a_journal(day=SEPTEMBER), NOW).is_new


def test_a_month_is_locked_only_when_it_is_over(conn: Conn) -> None:
    with pytest.raises(books.PeriodNotOver), conn.transaction():
        books.lock_period(conn, SEPTEMBER, "test", NOW)


def test_locking_waits_for_whoever_is_posting(database: str) -> None:
    """A journal is before the lock, or refused: none slips in while the lock is being written."""
    with psycopg.connect(database) as conn, psycopg.connect(database) as other:
        world.put_accounts(conn, (1,))
        books.post(conn, a_journal(day=date(2026, 8, 31)), NOW)
        other.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            books.lock_period(other, AUGUST, "test", NOW)
        other.rollback()
        conn.commit()
        assert books.lock_period(other, AUGUST, "test", NOW)


@pytest.mark.parametrize(
    "code",
    ["receivable", "revenues/energy", "cash/", "cash/a b", "receivable/' OR 1=1", "compensation/x", ""],
)
def test_an_account_that_is_not_in_the_chart_cannot_be_named(conn: Conn, code: str) -> None:
    with pytest.raises(NoLedgerAccount):
        Posting(code, 1)
    with pytest.raises(psycopg.errors.CheckViolation), conn.transaction():
        conn.execute("INSERT INTO ledger_account (account_code) VALUES (%s)", (code,))


@pytest.mark.parametrize("code", ["receivable/9999999999999", "prepaid/9999999999999", "payable/party/99999"])
def test_nobodys_money_is_not_booked(conn: Conn, code: str) -> None:
    journal = Journal("k", "x", SEPTEMBER, SEPTEMBER, (Posting(code, 1), Posting("cash/bank", -1)))

    with pytest.raises(books.NoLedgerOwner), conn.transaction():
        books.post(conn, journal, NOW)


@pytest.mark.parametrize(
    "postings", [(), (Posting("cash/bank", 1),), (Posting("cash/bank", 2), Posting("cash/wechat", -1))]
)
def test_an_unbalanced_journal_cannot_even_be_written_down(postings: tuple[Posting, ...]) -> None:
    with pytest.raises(Unbalanced):
        Journal("k", "x", SEPTEMBER, SEPTEMBER, postings)
    with pytest.raises(Unbalanced):
        Posting("cash/bank", 0)


def test_a_customer_sees_the_own_accounts_and_no_others(conn: Conn) -> None:
    for key, account in (("a", ONE), ("b", TWO)):
        books.post(conn, a_journal(key, account=account), NOW)
        prepaid = Posting(ledger.prepaid(account), -7)
        books.post(
            conn, Journal(f"p{key}", "pay", SEPTEMBER, SEPTEMBER, (Posting("cash/bank", 7), prepaid)), NOW
        )
    party = conn.execute("SELECT party_id FROM account WHERE account_id = %s", (ONE,)).fetchone()
    assert party is not None
    as_at_commit(conn)

    take_scope(conn, Scope(ProcessRole.API, "customer", party[0], "user:1"))

    seen = {row.account for row in books.trial_balance(conn, None, None)}
    assert seen == {ledger.receivable(ONE), ledger.prepaid(ONE)}
    assert conn.execute("SELECT count(*) FROM journal").fetchone() == (2,)
    assert books.open_items(conn, TWO) == ()
    assert [item.open_fen for item in books.open_items(conn, ONE)] == [100]
    assert books.prepaid_fen(conn, ONE) == 7
    with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
        books.post(conn, a_journal("mine"), NOW)


def test_nobody_in_particular_sees_no_money_and_posts_none(conn: Conn) -> None:
    books.post(conn, a_journal(), NOW)
    as_at_commit(conn)

    take_scope(conn, Scope(ProcessRole.API))

    assert books.trial_balance(conn, None, None) == ()
    with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
        books.post(conn, a_journal("other"), NOW)


def test_a_statement_runs_and_its_last_balance_is_the_accounts(conn: Conn) -> None:
    for number, (fen, day) in enumerate([(500, 3), (-200, 5), (70, 4), (9, 20)]):
        books.post(conn, a_journal(f"k{number}", fen, date(2026, 9, day)), NOW + timedelta(minutes=number))
    account = ledger.receivable(ONE)

    whole = bookings.statement(conn, account, bookings.Span())
    part = bookings.statement(conn, account, bookings.Span(date(2026, 9, 4), date(2026, 9, 20)))

    assert [(line.amount_fen, line.balance_fen) for line in whole] == [
        (500, 500),
        (70, 570),
        (-200, 370),
        (9, 379),
    ]
    assert [(line.amount_fen, line.balance_fen) for line in part] == [(70, 570), (-200, 370)]
    assert books.balance_fen(conn, account, effective_before=None, booked_before=None) == 379


# ---- issuing -----------------------------------------------------------------------------------------------


def test_an_issued_bill_is_owed_by_section_and_the_funds_are_passed_on(conn: Conn) -> None:
    world.put_month(conn, 1)
    drawn = billing.bill_month(conn, ONE, AUGUST, NOW)

    issued = issuing.issue(conn, drawn.bill_id, "user:7", NOW)
    as_at_commit(conn)

    by_section: dict[str, int] = dict(
        conn.execute(
            "SELECT section, sum(amount_fen)::bigint FROM bill_line GROUP BY section HAVING sum(amount_fen) <> 0"
        ).fetchall()
    )
    balances = {row.account: row.balance_fen for row in books.trial_balance(conn, None, None)}
    assert balances.pop(ledger.receivable(ONE)) == drawn.total_fen
    assert balances.pop("payable/government_funds") == -by_section.pop("funds")
    assert balances == {f"revenue/{section}": -fen for section, fen in by_section.items()}
    (item,) = books.open_items(conn, ONE)
    assert (item.open_fen, item.month, item.issued_on) == (drawn.total_fen, AUGUST, date(2026, 9, 14))
    assert item.due_date == issued.due_date == date(2026, 9, 29)  # fifteen days
    journal = bookings.find_journal(conn, issued.journal_id or 0)
    assert journal is not None
    assert (journal.event_date, journal.effective_date) == (date(2026, 8, 31), date(2026, 9, 14))
    assert journal.facts["bill"] == str(drawn.bill_id)


def test_a_bill_of_zeros_books_nothing(conn: Conn) -> None:
    bill_id = put_bill(conn, {"energy": 0, "funds": 0})

    issued = issuing.issue(conn, bill_id, "test", NOW)
    as_at_commit(conn)

    assert issued.journal_id is None
    assert books.trial_balance(conn, None, None) == ()


def test_a_bill_whose_sections_cancel_is_booked_and_owes_nothing(conn: Conn) -> None:
    bill_id = put_bill(conn, {"energy": 300, "power_factor": -300})

    issuing.issue(conn, bill_id, "test", NOW)
    as_at_commit(conn)

    assert books.open_items(conn, ONE) == ()
    assert {row.account: row.balance_fen for row in books.trial_balance(conn, None, None)} == {
        "revenue/energy": -300,
        "revenue/power_factor": 300,
    }


def test_a_negative_bill_is_the_customers_credit(conn: Conn) -> None:
    bill_id = put_bill(conn, {"energy": -1200, "funds": 100})

    issuing.issue(conn, bill_id, "test", NOW)
    as_at_commit(conn)

    assert [item.open_fen for item in books.open_items(conn, ONE)] == [-1100]


@pytest.mark.parametrize("state", ["held", "void"])
def test_only_a_draft_is_issued(conn: Conn, state: str) -> None:
    bill_id = put_bill(conn, {"energy": 5}, state)

    with pytest.raises(issuing.NotADraft), conn.transaction():
        issuing.issue(conn, bill_id, "test", NOW)


def test_an_older_draft_is_not_issued_and_becomes_void_with_its_successor(conn: Conn) -> None:
    older = put_bill(conn, {"energy": 5})
    newer = put_bill(conn, {"energy": 6}, revision=2)

    with pytest.raises(issuing.NotLatest), conn.transaction():
        issuing.issue(conn, older, "test", NOW)
    issuing.issue(conn, newer, "test", NOW)

    assert dict(conn.execute("SELECT bill_id, state FROM bill").fetchall()) == {
        older: "void",
        newer: "issued",
    }


def test_an_issued_bill_gives_way_only_by_a_correction(conn: Conn) -> None:
    first = put_bill(conn, {"energy": 5})
    issuing.issue(conn, first, "test", NOW)
    second = put_bill(conn, {"energy": 6}, revision=2)
    as_at_commit(conn)

    with pytest.raises(issuing.NeedsCorrection), conn.transaction():
        issuing.issue(conn, second, "user:7", NOW)
    with pytest.raises(psycopg.errors.CheckViolation, match="two persons"), conn.transaction():
        conn.execute("UPDATE bill SET state = 'superseded' WHERE bill_id = %s", (first,))


@pytest.mark.parametrize(
    "change",
    [
        "due_date = due_date + 30",
        "issued_at = issued_at - interval '1 year'",
        "issued_by = 'user:9'",
        "state = 'draft'",
    ],
)
def test_what_was_issued_stays_as_it_was_issued(conn: Conn, change: str) -> None:
    bill_id = put_bill(conn, {"energy": 5})
    issuing.issue(conn, bill_id, "user:1", NOW)

    with pytest.raises(psycopg.errors.CheckViolation):
        conn.execute(f"UPDATE bill SET {change} WHERE bill_id = %s", (bill_id,))


@pytest.mark.parametrize("table", ["statement", "settlement_event", "payment_order", "money_request"])
def test_nobody_empties_what_is_added_to_only(conn: Conn, table: str) -> None:
    with pytest.raises(psycopg.errors.RestrictViolation):
        conn.execute(f"TRUNCATE {table} CASCADE")


def test_a_customer_sees_what_was_issued_and_no_draft(conn: Conn) -> None:
    issued, draft = put_bill(conn, {"energy": 5}), put_bill(conn, {"energy": 6}, revision=2)
    issuing_now = put_bill(conn, {"energy": 5}, account=TWO)
    issuing.issue(conn, issuing_now, "test", NOW)
    party = conn.execute("SELECT party_id FROM account WHERE account_id = %s", (TWO,)).fetchone()
    assert party is not None
    as_at_commit(conn)

    take_scope(conn, Scope(ProcessRole.API, "customer", party[0], "user:1"))

    assert display.find_bill(conn, issuing_now, with_drafts=False) is not None
    assert display.find_bill(conn, issued, with_drafts=True) is None
    assert display.find_bill(conn, draft, with_drafts=True) is None


def put_bill(
    conn: Conn, sections_fen: dict[str, int], state: str = "draft", revision: int = 1, account: str = ONE
) -> int:
    """A bill with one line for each section."""
    row = conn.execute(
        """INSERT INTO bill (account_id, month, revision, total_fen, import_wh, state, facts, input_sha256, made_at)
           VALUES (%s, %s, %s, %s, 0, %s, '{"intervals": [], "segments": []}', %s, %s) RETURNING bill_id""",
        (account, AUGUST, revision, sum(sections_fen.values()), state, bytes(32), NOW),
    ).fetchone()
    assert row is not None
    conn.execute("SET LOCAL session_replication_role = replica")  # also for bills that are out
    for number, (section, fen) in enumerate(sections_fen.items(), start=1):
        conn.execute(
            """INSERT INTO bill_line (bill_id, line_no, section, item, quantity, unit, price_yuan_per_unit, amount_fen,
                                      derivation) VALUES (%s, %s, %s, 'x', 1, 'kWh', 1, %s, '{}')""",
            (row[0], number, section, fen),
        )
    conn.execute("SET LOCAL session_replication_role = origin")
    return int(row[0])


def test_times_are_instants_and_days_are_market_days(conn: Conn) -> None:
    """23:30 UTC on the 13th is the 14th in the market: the journal counts on the 14th."""
    bill_id = put_bill(conn, {"energy": 5})

    issued = issuing.issue(conn, bill_id, "test", datetime(2026, 9, 13, 23, 30, tzinfo=UTC))

    journal = bookings.find_journal(conn, issued.journal_id or 0)
    assert journal is not None
    assert journal.effective_date == date(2026, 9, 14)
