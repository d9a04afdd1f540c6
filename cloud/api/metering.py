"""A customer's electricity: power now, today's quarter-hours, days and months.

Numbers of the live panel are unvalidated and say so; energies come from validated intervals.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import RedirectResponse

from cloud import markettime
from cloud.api import drawing, panel, reply, usage, who
from cloud.errors import NotFound
from cloud.parties import store as parties
from cloud.security.access import Deed

router = APIRouter(tags=["metering"])

FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2199


class NoSuchDay(NotFound):
    """The calendar has no such day or month, or it is outside the years we keep."""


class AccountView(reply.View):
    """An account in a list."""

    account_id: str
    name: str
    address: str
    party_name: str


class AccountsView(reply.View):
    """The accounts this person may open."""

    accounts: tuple[AccountView, ...]


class LiveView(reply.View):
    """Everything of the live page."""

    account: AccountView
    now: panel.NowView
    period: usage.PeriodView | None
    today: usage.DayView
    month: usage.MonthView


AnyDay = Annotated[str, Path(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="YYYY-MM-DD")]
AnyMonth = Annotated[str, Path(pattern="^[0-9]{4}-[0-9]{2}$", description="YYYY-MM")]


@router.get("/accounts", response_model=AccountsView)
def accounts(request: Request, visit: Annotated[who.Visit, who.visits(Deed.LIST_ACCOUNTS)]) -> Response:
    """The accounts this person may open."""
    rows = parties.list_accounts(visit.conn, visit.actor.party_id)
    return reply.answer(
        request, visit, "metering/accounts.html", AccountsView(accounts=tuple(map(_account_view, rows)))
    )


@router.get("/accounts/{account_id}/live", response_model=LiveView)
def live_page(
    request: Request,
    account_id: who.AccountId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_USAGE)],
) -> Response:
    """Power now with its age, the time-of-use period, today's quarter-hours, phases, month to date."""
    account = who.account_for(visit, account_id)
    today = markettime.day_of(visit.now)
    calendar = usage.calendar_of(request, visit, account_id, today)
    direction = usage.direction(visit, account_id)
    view = LiveView(
        account=_account_view(account),
        now=panel.now_view(visit, account_id),
        period=None if calendar is None else usage.period_view(calendar, visit.now),
        today=usage.day_view(visit, account_id, today, calendar, direction),
        month=usage.month_view(visit, account_id, markettime.month_of(today), direction),
    )
    drawn = drawing.draw_day(visit.language, view.today, visit.now, view.month)
    return reply.answer(request, visit, "metering/live.html", view, account_id=account_id, drawing=drawn)


@router.get("/accounts/{account_id}/live/now", response_model=panel.NowView)
def live_now(
    request: Request,
    account_id: who.AccountId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_USAGE)],
) -> Response:
    """Power now and the phases, without the rest of the page."""
    who.account_for(visit, account_id)
    view = panel.now_view(visit, account_id)
    if reply.wants_json(request):
        return reply.as_json(view)
    return reply.page(request, visit.language, "metering/_now.html", now=view)


@router.get("/accounts/{account_id}/usage", response_class=Response)
def usage_page(
    request: Request,
    account_id: who.AccountId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_USAGE)],
) -> Response:
    """This month's usage: sends on to the month."""
    who.account_for(visit, account_id)
    month = markettime.day_of(visit.now).strftime("%Y-%m")
    return RedirectResponse(f"/accounts/{account_id}/months/{month}", 303)


@router.get("/accounts/{account_id}/days/{day}", response_model=usage.DayView)
def day_page(
    request: Request,
    account_id: who.AccountId,
    day: AnyDay,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_USAGE)],
) -> Response:
    """The quarter-hours of one day."""
    who.account_for(visit, account_id)
    wanted = _day_from(day)
    calendar = usage.calendar_of(request, visit, account_id, wanted)
    view = usage.day_view(visit, account_id, wanted, calendar, usage.direction(visit, account_id))
    drawn = drawing.draw_day(visit.language, view, visit.now)
    return reply.answer(request, visit, "metering/day.html", view, account_id=account_id, drawing=drawn)


@router.get("/accounts/{account_id}/months/{month}", response_model=usage.MonthView)
def month_page(
    request: Request,
    account_id: who.AccountId,
    month: AnyMonth,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_USAGE)],
) -> Response:
    """The days of one month."""
    who.account_for(visit, account_id)
    wanted = _day_from(f"{month}-01")
    view = usage.month_view(visit, account_id, wanted, usage.direction(visit, account_id))
    drawn = drawing.draw_month(visit.language, view)
    return reply.answer(request, visit, "metering/month.html", view, account_id=account_id, drawing=drawn)


def _account_view(row: parties.AccountRow) -> AccountView:
    return AccountView(
        account_id=row.account_id, name=row.name, address=row.address, party_name=row.party_name
    )


def _day_from(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError as problem:
        raise NoSuchDay("not_found", kind="day") from problem
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise NoSuchDay("not_found", kind="day")
    return day
