"""Laws of the ledger on random sequences of deeds, against a model of a few lines that knows no SQL.

Debits = credits at every pair of dates; a replay changes nothing; a reversal cancels; what was booked before an
instant never changes afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import money_world as world
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from money_world import ISSUED_AT, account_id
from psycopg.conninfo import make_conninfo

from cloud.billing import ledger
from cloud.billing.ledger import Journal, Posting
from cloud.billing.store import bookings
from cloud.billing.store import ledger as books
from cloud.db import Conn

ACCOUNTS = (
    ledger.receivable(account_id(1)),
    ledger.receivable(account_id(2)),
    ledger.prepaid(account_id(1)),
    "revenue/energy",
    "cash/bank",
    "suspense/payments",
)
FIRST = date(2026, 6, 1)
DAYS = st.integers(0, 120).map(lambda n: FIRST + timedelta(days=n))
AMOUNTS = st.integers(-(10**12), 10**12).filter(bool)


@st.composite
def some_postings(draw: st.DrawFn) -> tuple[Posting, ...]:
    """Two to six sides that add up to zero."""
    sides = draw(st.lists(st.tuples(st.sampled_from(ACCOUNTS), AMOUNTS), min_size=1, max_size=5))
    rest = -sum(fen for _, fen in sides)
    if rest == 0:
        sides, rest = sides[:1], -sides[0][1]
    items = draw(st.lists(st.sampled_from(("", "a/2026-08", "b/2026-07")), min_size=6, max_size=6))
    both = [*sides, (draw(st.sampled_from(ACCOUNTS)), rest)]
    return tuple(Posting(account, fen, item) for (account, fen), item in zip(both, items, strict=False))


JOURNALS = st.tuples(some_postings(), DAYS, DAYS)
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("post"), JOURNALS),
        st.tuples(st.just("replay"), st.integers(0, 99)),
        st.tuples(st.just("reverse"), st.integers(0, 99), DAYS),
    ),
    min_size=1,
    max_size=12,
)


@dataclass
class Model:
    """What an accountant with a pencil would have: rows of (account, fen, item, effective day, hour booked)."""

    rows: list[tuple[str, int, str, date, int]] = field(default_factory=list)
    reversed: set[int] = field(default_factory=set)

    def add(self, journal: Journal, hour: int) -> None:
        self.rows += [
            (p.account, p.amount_fen, p.item, journal.effective_date, hour) for p in journal.postings
        ]

    def balances(self, before: date | None, hour: int | None) -> dict[str, int]:
        found: dict[str, int] = {}
        for account, fen, _, day, booked in self.rows:
            if (before is None or day < before) and (hour is None or booked < hour):
                found[account] = found.get(account, 0) + fen
        return found


@pytest.fixture(scope="module")
def shared(postgres_dsn: str, template_database: str) -> Iterator[Conn]:
    name = f"shoudian_laws_{os.getpid()}"
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
        with psycopg.connect(make_conninfo(postgres_dsn, dbname=name)) as connection:
            world.put_accounts(connection, (1, 2))
            connection.commit()
            yield connection
            connection.rollback()
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def at(hour: int) -> datetime:
    return ISSUED_AT + timedelta(hours=hour)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds=DEEDS, cut=DAYS, hour=st.integers(0, 13))
def test_any_sequence_of_deeds_keeps_the_ledger_right(
    shared: Conn, deeds: list[tuple[Any, ...]], cut: date, hour: int
) -> None:
    model = Model()
    booked: list[tuple[int, Journal]] = []
    try:
        for now, (deed, *what) in enumerate(deeds):
            carry_out(shared, model, booked, (str(deed), what), now)
        shared.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what is checked at commit
        for before, until in ((None, None), (cut, None), (None, hour), (cut, hour)):
            compare(shared, model, before, until)
        for account in ACCOUNTS:
            lines = bookings.statement(shared, account, bookings.Span())
            assert (lines[-1].balance_fen if lines else 0) == model.balances(None, None).get(account, 0)
    finally:
        shared.rollback()


def carry_out(
    conn: Conn, model: Model, booked: list[tuple[int, Journal]], deed: tuple[str, list[Any]], now: int
) -> None:
    match deed:
        case ("post", [(postings, event, effective)]):
            journal = Journal(f"j{now}", "x", event, effective, postings)
            posted = books.post(conn, journal, at(now))
            assert posted.is_new
            model.add(journal, now)
            booked.append((posted.journal_id, journal))
        case ("replay", [int(which)]) if booked:
            journal_id, journal = booked[which % len(booked)]
            assert books.post(conn, journal, at(now)) == books.Posted(journal_id, is_new=False)
        case ("reverse", [int(which), date() as day]) if booked:
            journal_id, journal = booked[which % len(booked)]
            if journal.reverses is not None or journal_id in model.reversed:
                return
            undone = ledger.reversal(journal_id, books.load(conn, journal_id), day)
            assert books.post(conn, undone, at(now)).is_new
            model.reversed.add(journal_id)
            model.add(undone, now)
        case _:
            assert not booked


def compare(conn: Conn, model: Model, before: date | None, hour: int | None) -> None:
    rows = books.trial_balance(conn, before, None if hour is None else at(hour))
    expected = model.balances(before, hour)

    assert {row.account: row.balance_fen for row in rows} == expected
    assert sum(row.debit_fen for row in rows) == sum(row.credit_fen for row in rows)
    assert sum(expected.values()) == 0


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(what=JOURNALS, day=DAYS)
def test_a_journal_and_its_reversal_leave_every_account_and_item_as_it_was(
    shared: Conn, what: tuple[tuple[Posting, ...], date, date], day: date
) -> None:
    postings, event, effective = what
    try:
        posted = books.post(shared, Journal("j", "x", event, effective, postings), at(0))
        books.post(
            shared, ledger.reversal(posted.journal_id, books.load(shared, posted.journal_id), day), at(1)
        )
        shared.execute("SET CONSTRAINTS ALL IMMEDIATE")

        left = shared.execute(
            "SELECT account_code, item FROM posting GROUP BY 1, 2 HAVING sum(amount_fen) <> 0"
        ).fetchall()
        assert left == []
    finally:
        shared.rollback()
