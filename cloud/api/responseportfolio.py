"""Portfolios of aggregators 虚拟电厂: members, how the money is shared, and what each event and month came to."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from cloud.api import reply, responseviews, who
from cloud.api.responseviews import CapacityView, EnrolmentView, PortfolioView
from cloud.errors import Invalid
from cloud.market.aggregate import SplitRule
from cloud.market.run import respond
from cloud.market.store import enrolments, programmes, responsemoney
from cloud.markettime import day_of
from cloud.security import run as security
from cloud.security.access import Deed, Role, Subject

router = APIRouter(tags=["response"])

Short = Annotated[str, Form(max_length=60)]
Text = Annotated[str, Form(max_length=200)]
_ID_MAX: Final = 2**63 - 1


class BadSplit(Invalid):
    """A field of the form cannot be read."""


class RuleView(reply.View):
    """How an aggregator shares with its members."""

    rule: str
    effective_from: date
    keep_percent: str
    by: str
    charges: str


class AggregatorView(reply.View):
    """An aggregator with its members, events and months."""

    party_id: int
    name: str
    capacity_kw: int
    rule: RuleView | None
    members: tuple[EnrolmentView, ...]
    events: tuple[PortfolioView, ...]
    capacity: tuple[CapacityView, ...]
    received_fen: int
    passed_on_fen: int
    kept_fen: int


class PortfolioBoardView(reply.View):
    """The visitor's own portfolio; for staff that of every aggregator."""

    aggregators: tuple[AggregatorView, ...]
    is_staff: bool


@router.get("/response/portfolio", response_model=PortfolioBoardView)
def portfolio(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_RESPONSE)]) -> Response:
    """What an aggregator's resources are, promised, did and earned; and what of it went to the members."""
    party_id = visit.actor.party_id
    subject = Subject("response", str(party_id or "all"), party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    found = [each for each in enrolments.enrolments(visit.conn, party_id) if each.aggregator_id is not None]
    wanted = {
        each.aggregator_id: each.aggregator_name or ""
        for each in found
        if each.aggregator_id is not None and party_id in (None, each.aggregator_id)
    }
    view = PortfolioBoardView(
        aggregators=tuple(_aggregator(visit, each, wanted[each], found) for each in sorted(wanted)),
        is_staff=visit.actor.role is Role.STAFF,
    )
    return reply.answer(request, visit, "response/portfolio.html", view)


@router.post("/response/splits", response_class=RedirectResponse)
def enter_split(
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_RESPONSE)],
    aggregator: Short = "",
    first_day: Short = "",
    keep_percent: Short = "",
    by: Short = "",
    charges: Short = "",
    document: Text = "",
) -> Response:
    """Enter the next version of how an aggregator shares with its members, by their agreement."""
    number = aggregator.strip()
    if not (number.isascii() and number.isdecimal() and 0 < int(number) <= _ID_MAX):
        raise BadSplit("response_bad_number", found=number[:30])
    version = programmes.split_count(visit.conn, int(number)) + 1
    text = "\n".join(
        (
            'kind = "response-split"',
            f'id = "split-{number}"',
            f"version = {version}",
            f"effective_from = {_day(first_day).isoformat()}",
            f'keep_ratio = "{_ratio(keep_percent)}"',
            f"by = {json.dumps(by)}",
            f"charges = {json.dumps(charges)}",
            "[[source]]",
            f"document = {json.dumps(document.strip() or '—', ensure_ascii=False)}",
            'mark = "PROJ"',
        )
    )
    respond.enter_split(visit.conn, visit.actor, int(number), text, visit.now)
    return RedirectResponse("/response/portfolio", 303)


def _aggregator(
    visit: who.Visit, party_id: int, name: str, found: list[enrolments.EnrolmentRow]
) -> AggregatorView:
    conn = visit.conn
    today = day_of(visit.now)
    members = [each for each in found if each.aggregator_id == party_id]
    accounts = {each.enrolment_id: each.account_id for each in members}
    shares = responsemoney.shares_of(conn)
    events = tuple(
        responseviews.portfolio_view(each, shares, accounts)
        for each in responsemoney.portfolios(conn)
        if each.aggregator_id == party_id
    )
    months = tuple(
        responseviews.capacity_view(each, party_id)
        for each in responsemoney.capacities(conn)
        if each.payee_id == party_id
    )
    settled = [each for each in events if each.state == "settled"]
    received = sum(each.total_fen for each in settled) + sum(each.total_fen for each in months)
    passed_on = sum(each.passed_on_fen for each in settled) + sum(each.passed_on_fen for each in months)
    rule = programmes.split_on(conn, party_id, today)
    return AggregatorView(
        party_id=party_id,
        name=name,
        capacity_kw=sum(each.capacity_kw for each in members if each.end_day is None or each.end_day > today),
        rule=None if rule is None else _rule(rule),
        members=tuple(responseviews.enrolment_view(each, party_id) for each in members),
        events=events,
        capacity=months,
        received_fen=received,
        passed_on_fen=passed_on,
        kept_fen=received - passed_on,
    )


def _rule(rule: SplitRule) -> RuleView:
    return RuleView(
        rule=rule.origin,
        effective_from=rule.effective_from,
        keep_percent=format((rule.keep_ratio * 100).normalize(), "f"),
        by=rule.by.value,
        charges=rule.charges.value,
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise BadSplit("response_bad_number", found=text[:30]) from None


def _ratio(text: str) -> str:
    try:
        percent = Decimal(text.strip())
    except InvalidOperation:
        raise BadSplit("response_bad_number", found=text[:30]) from None
    if not percent.is_finite() or not 0 <= percent <= 100 or percent != round(percent, 4):
        raise BadSplit("response_bad_number", found=text[:30])
    return format(percent.scaleb(-2), "f")
