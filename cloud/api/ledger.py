"""The ledger for staff: trial balance at any pair of dates, an account's statement, one journal and what it is about."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from cloud.api import reply, who
from cloud.billing.store import bookings
from cloud.billing.store import ledger as books
from cloud.errors import Invalid, NotFound
from cloud.markettime import MARKET_ZONE, month_after
from cloud.security import run as security
from cloud.security.access import Deed, Subject

router = APIRouter(tags=["ledger"])

_BIGINT_MAX: Final = 2**63 - 1
KINDS: Final = (
    "receivable",
    "prepaid",
    "cash",
    "suspense",
    "settlement",
    "payable",
    "revenue",
    "income",
    "expense",
    "compensation",
)

DayText = Annotated[str, Query(max_length=10)]
InstantText = Annotated[str, Query(max_length=40)]


class BadDate(Invalid):
    """A date or an instant of a form cannot be read."""


class NoJournal(NotFound):
    """There is no journal of that number."""


class TrialRowView(reply.View):
    """One account; the balance is + debit, - credit."""

    account: str
    debit_fen: int
    credit_fen: int
    balance_fen: int


class KindView(reply.View):
    """The accounts of one kind, for example every receivable."""

    kind: str
    accounts: int
    debit_fen: int
    credit_fen: int
    balance_fen: int
    rows: tuple[TrialRowView, ...]


class TrialBalanceView(reply.View):
    """Every account up to a day (inclusive) as booked before an instant; null is without that bound."""

    effective: date | None
    booked: datetime | None
    kinds: tuple[KindView, ...]
    debit_fen: int
    credit_fen: int
    locked_through: date | None


class StatementLineView(reply.View):
    """One posting and the balance after it."""

    journal_id: int
    deed: str
    event_date: date
    effective_date: date
    booked_at: datetime
    item: str
    amount_fen: int
    balance_fen: int
    reverses: int | None


class StatementView(reply.View):
    """An account's postings in order of effective date; `opening_fen` is the balance before the first."""

    account: str
    first: date | None
    last: date | None
    opening_fen: int
    closing_fen: int
    lines: tuple[StatementLineView, ...]


class PostingView(reply.View):
    """One side of a journal."""

    account: str
    amount_fen: int
    item: str


class JournalView(reply.View):
    """A journal with its three dates, its postings, and the bill or payment it is about."""

    journal_id: int
    idem_key: str
    deed: str
    event_date: date
    effective_date: date
    booked_at: datetime
    facts: dict[str, str]
    postings: tuple[PostingView, ...]
    reverses: int | None
    reversed_by: int | None


@router.get("/ledger", response_model=TrialBalanceView)
def trial_balance(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_LEDGER)],
    effective: DayText = "",
    booked: InstantText = "",
) -> Response:
    """The trial balance: effective up to and including a day, booked before an instant (market time without a zone)."""
    _allow(visit, "trial_balance")
    day, instant = _day(effective), _instant(booked)
    rows = books.trial_balance(visit.conn, None if day is None else day + timedelta(days=1), instant)
    view = TrialBalanceView(
        effective=day,
        booked=instant,
        kinds=tuple(_kind_view(kind, rows) for kind in KINDS if any(_kind(row) == kind for row in rows)),
        debit_fen=sum(row.debit_fen for row in rows),
        credit_fen=sum(row.credit_fen for row in rows),
        locked_through=books.locked_through(visit.conn),
    )
    return reply.answer(request, visit, "ledger/trial.html", view)


@router.get(
    "/ledger/csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}, "description": "The trial balance, amounts in fen"}},
)
def trial_balance_csv(
    visit: Annotated[who.Visit, who.visits(Deed.SEE_LEDGER)],
    effective: DayText = "",
    booked: InstantText = "",
) -> Response:
    """The same trial balance as a table for programs."""
    _allow(visit, "trial_balance")
    day = _day(effective)
    rows = books.trial_balance(visit.conn, None if day is None else day + timedelta(days=1), _instant(booked))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("account", "debit_fen", "credit_fen", "balance_fen"))
    table.writerows((row.account, row.debit_fen, row.credit_fen, row.balance_fen) for row in rows)
    return Response(
        text.getvalue(),
        media_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="trial-balance.csv"'},
    )


@router.get("/ledger/statement", response_model=StatementView)
def statement(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_LEDGER)],
    account: Annotated[str, Query(min_length=1, max_length=100)],
    first: DayText = "",
    last: DayText = "",
) -> Response:
    """An account's statement with running balance, from and to a day (both inclusive)."""
    _allow(visit, account)
    start, end = _day(first), _day(last)
    span = bookings.Span(start, None if end is None else end + timedelta(days=1))
    lines = bookings.statement(visit.conn, account, span)
    opening = _opening_fen(visit, account, lines, span)
    view = StatementView(
        account=account,
        first=start,
        last=end,
        opening_fen=opening,
        closing_fen=lines[-1].balance_fen if lines else opening,
        lines=tuple(map(_line_view, lines)),
    )
    return reply.answer(request, visit, "ledger/statement.html", view)


@router.get("/ledger/journals/{journal_id}", response_model=JournalView)
def journal(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_LEDGER)],
    journal_id: Annotated[int, Path(ge=1, le=_BIGINT_MAX)],
) -> Response:
    """One journal."""
    _allow(visit, f"journal {journal_id}")
    row = bookings.find_journal(visit.conn, journal_id)
    if row is None:
        raise NoJournal("not_found", kind="journal")
    view = JournalView(
        journal_id=row.journal_id,
        idem_key=row.idem_key,
        deed=row.deed,
        event_date=row.event_date,
        effective_date=row.effective_date,
        booked_at=row.booked_at,
        facts=row.facts,
        postings=tuple(
            PostingView(account=each.account, amount_fen=each.amount_fen, item=each.item)
            for each in bookings.postings(visit.conn, journal_id)
        ),
        reverses=row.reverses,
        reversed_by=row.reversed_by,
    )
    return reply.answer(request, visit, "ledger/journal.html", view)


def _allow(visit: who.Visit, what: str) -> None:
    security.allow(visit.conn, visit.actor, visit.deed, Subject("ledger", what), visit.now)


def _opening_fen(
    visit: who.Visit, account: str, lines: Sequence[bookings.StatementLine], span: bookings.Span
) -> int:
    if lines:
        return lines[0].balance_fen - lines[0].amount_fen
    before = span.first or span.end or month_after(visit.now.date().replace(day=1))
    return books.balance_fen(visit.conn, account, effective_before=before, booked_before=None)


def _line_view(line: bookings.StatementLine) -> StatementLineView:
    return StatementLineView(
        journal_id=line.journal_id,
        deed=line.deed,
        event_date=line.event_date,
        effective_date=line.effective_date,
        booked_at=line.booked_at,
        item=line.item,
        amount_fen=line.amount_fen,
        balance_fen=line.balance_fen,
        reverses=line.reverses,
    )


def _kind(row: books.TrialRow) -> str:
    return row.account.partition("/")[0]


def _kind_view(kind: str, rows: Sequence[books.TrialRow]) -> KindView:
    own = [row for row in rows if _kind(row) == kind]
    return KindView(
        kind=kind,
        accounts=len(own),
        debit_fen=sum(row.debit_fen for row in own),
        credit_fen=sum(row.credit_fen for row in own),
        balance_fen=sum(row.balance_fen for row in own),
        rows=tuple(
            TrialRowView(
                account=row.account,
                debit_fen=row.debit_fen,
                credit_fen=row.credit_fen,
                balance_fen=row.balance_fen,
            )
            for row in own
        ),
    )


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as problem:
        raise BadDate("bad_date", found=text) from problem


def _instant(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text) if text else None
    except ValueError as problem:
        raise BadDate("bad_date", found=text) from problem
    if instant is None or instant.tzinfo is not None:
        return instant
    return instant.replace(tzinfo=MARKET_ZONE)
