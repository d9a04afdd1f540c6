"""Demand response: the desk of the staff (resources, events, dispatch, settlement) and the participants' pages."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from importlib import resources
from typing import Annotated, Final

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import RedirectResponse

from cloud.api import reply, responseplot, responseviews, who
from cloud.api.responseplot import Plot
from cloud.api.responseviews import (
    CapacityView,
    EnrolmentView,
    EventHead,
    PartView,
    PortfolioView,
    ResultView,
    StepView,
)
from cloud.errors import Invalid
from cloud.lives import deeds
from cloud.market.programme import EVENT
from cloud.market.run import respond
from cloud.market.store import enrolments, programmes, responsemoney
from cloud.market.store import response as store
from cloud.market.store import responseresults as results
from cloud.market.store.enrolments import NewEnrolment
from cloud.money import yuan
from cloud.security import run as security
from cloud.security.access import Deed, Role, Subject

router = APIRouter(tags=["response"])

_BIGINT_MAX: Final = 2**63 - 1
_TEXT_MAX: Final = 20_000
Id = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Short = Annotated[str, Form(max_length=60)]
Text = Annotated[str, Form(max_length=1000)]


class BadNumber(Invalid):
    """A number, a day or a time of the form cannot be read."""


class ProgrammeView(reply.View):
    """A programme as its latest version says it."""

    programme_id: str
    version: int
    title: str
    type: str
    direction: str
    cap_yuan_per_kwh: str
    notice_minutes: int
    baseline_days: int
    baseline_of: int
    ranking: str
    capacity_price: str | None
    assess: str
    documents: tuple[str, ...]


class BoardView(reply.View):
    """Programmes, resources, events and statements that concern the visitor."""

    programmes: tuple[ProgrammeView, ...]
    enrolments: tuple[EnrolmentView, ...]
    events: tuple[EventHead, ...]
    capacity_kw: int
    capacity: tuple[CapacityView, ...]
    has_portfolio: bool
    accounts: tuple[str, ...]
    packaged: tuple[str, ...]
    is_staff: bool


class EventView(reply.View):
    """An event with its participants and statements, as far as the visitor may see them."""

    event: EventHead
    parts: tuple[PartView, ...]
    portfolios: tuple[PortfolioView, ...]
    results: tuple[ResultView, ...]
    steps: tuple[StepView, ...]
    promised_kw: int
    deeds: tuple[str, ...]
    is_staff: bool


@dataclass(frozen=True, slots=True)
class EventDrawing:
    """The plots by enrolment and of portfolios by aggregator, and whether the page renews itself."""

    plots: dict[int, Plot]
    joint: dict[int, tuple[str, Plot]]
    is_live: bool


@router.get("/response", response_model=BoardView)
def board(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_RESPONSE)]) -> Response:
    """Programmes, resources and events: of the visitor's party, for staff of everybody."""
    party_id = visit.actor.party_id
    subject = Subject("response", str(party_id or "all"), party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    found = enrolments.enrolments(visit.conn, party_id)
    today = visit.now.date()
    view = BoardView(
        programmes=tuple(
            ProgrammeView(
                programme_id=each.id,
                version=each.version,
                title=each.title,
                type=each.type.value,
                direction=each.direction.value,
                cap_yuan_per_kwh=format(each.cap_yuan_per_kwh, "f"),
                notice_minutes=each.notice_minutes,
                baseline_days=each.baseline.days,
                baseline_of=each.baseline.of_days,
                ranking=each.baseline.ranking.value,
                capacity_price=None
                if each.capacity is None
                else format(each.capacity.yuan_per_kw_month, "f"),
                assess=each.assess.value,
                documents=each.documents,
            )
            for each in programmes.programmes(visit.conn)
        ),
        enrolments=tuple(responseviews.enrolment_view(each, party_id) for each in found),
        events=tuple(map(responseviews.head_view, store.events(visit.conn))),
        capacity_kw=sum(each.capacity_kw for each in found if each.end_day is None or each.end_day > today),
        capacity=tuple(
            responseviews.capacity_view(each, party_id) for each in responsemoney.capacities(visit.conn, 100)
        ),
        has_portfolio=party_id is None or any(each.aggregator_id == party_id for each in found),
        accounts=() if party_id is None else enrolments.accounts_of(visit.conn, party_id),
        packaged=tuple(sorted(_packaged())) if party_id is None else (),
        is_staff=visit.actor.role is Role.STAFF,
    )
    return reply.answer(request, visit, "response/board.html", view)


@router.get("/response/events/{event_id}", response_model=EventView)
def event(
    request: Request, event_id: Id, visit: Annotated[who.Visit, who.visits(Deed.SEE_RESPONSE)]
) -> Response:
    """An event: invitation and answer, baseline and actual, statements."""
    row = store.event(visit.conn, event_id)
    party_id = visit.actor.party_id
    security.allow(
        visit.conn, visit.actor, visit.deed, Subject("response_event", str(event_id), party_id), visit.now
    )
    seen = [respond.seen(visit.conn, row, each) for each in store.parts(visit.conn, event_id)]
    is_staff = visit.actor.role is Role.STAFF
    shares = responsemoney.shares_of(visit.conn, event_id)
    accounts = {each.part.enrolment_id: each.enrolment.account_id for each in seen}
    view = EventView(
        event=responseviews.head_view(row),
        parts=tuple(responseviews.part_view(row, each, party_id, visit.now, shares) for each in seen),
        portfolios=tuple(
            responseviews.portfolio_view(each, shares, accounts)
            for each in responsemoney.portfolios(visit.conn, event_id)
        ),
        results=tuple(
            responseviews.result_view(each, party_id) for each in results.results(visit.conn, event_id)
        ),
        steps=tuple(
            StepView(deed=each.deed, after=each.after, at=each.at, reason=each.reason)
            for each in store.steps(visit.conn, event_id)
        ),
        promised_kw=sum(each.part.bid_kw or 0 for each in seen),
        deeds=tuple(
            each for each in deeds(EVENT, row.state) if each in ("notify", "cancel", "assess", "settle")
        )
        if is_staff
        else (),
        is_staff=is_staff,
    )
    drawing = EventDrawing(*_plots(row, seen, party_id), row.state == "active")
    return reply.answer(request, visit, "response/event.html", view, drawing=drawing)


def _plots(
    event: store.EventRow, seen: Sequence[respond.Seen], party_id: int | None
) -> tuple[dict[int, Plot], dict[int, tuple[str, Plot]]]:
    """The plots of participants, and of the portfolios that the visitor may see: its own, for staff all."""
    plots: dict[int, Plot] = {}
    members: dict[int, list[responseplot.Curves]] = {}
    names: dict[int, str] = {}
    for each in seen:
        curves = responseplot.curves_of(event, each)
        if curves is None:
            continue
        plots[each.part.enrolment_id] = responseplot.plot(event, curves)
        aggregator_id = each.enrolment.aggregator_id
        if each.part.choice == "in" and aggregator_id is not None and party_id in (None, aggregator_id):
            members.setdefault(aggregator_id, []).append(curves)
            names[aggregator_id] = each.enrolment.aggregator_name or ""
    joint = {}
    for number, found in members.items():
        whole = responseplot.added(found)
        if whole is not None:
            joint[number] = (names[number], responseplot.plot(event, whole))
    return plots, joint


@router.post("/response/programmes", response_class=RedirectResponse)
def enter_programme(
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_RESPONSE)],
    packaged: Short = "",
    body: Annotated[str, Form(max_length=_TEXT_MAX)] = "",
) -> Response:
    """Enter a version of a programme, from a packaged file or as text."""
    files = _packaged()
    text = files.get(packaged, body)
    respond.enter_programme(visit.conn, visit.actor, packaged or "programme.toml", text, visit.now)
    return RedirectResponse("/response", 303)


@router.post("/response/enrolments", response_class=RedirectResponse)
def enrol(
    visit: Annotated[who.Visit, who.changes(Deed.SEE_RESPONSE)],
    programme: Short = "",
    account: Short = "",
    aggregator: Short = "",
    first_day: Short = "",
    capacity_kw: Short = "",
    resource: Text = "",
    agreement: Text = "",
) -> Response:
    """Put an account into a programme: its holder, or staff for an aggregator with the agreement named."""
    owner_id = enrolments.account_party(visit.conn, account.strip())
    new = NewEnrolment(
        programme,
        account.strip(),
        owner_id or 0,
        _whole(aggregator) if aggregator.strip() else None,
        _day(first_day),
        None,
        _whole(capacity_kw),
        resource,
        agreement,
    )
    respond.enrol(visit.conn, visit.actor, new, visit.now)
    return RedirectResponse("/response", 303)


@router.post("/response/enrolments/{enrolment_id}/leave", response_class=RedirectResponse)
def leave(enrolment_id: Id, visit: Annotated[who.Visit, who.changes(Deed.SEE_RESPONSE)]) -> Response:
    """End an enrolment with today."""
    respond.leave(visit.conn, visit.actor, enrolment_id, visit.now)
    return RedirectResponse("/response", 303)


@router.post("/response/events", response_class=RedirectResponse)
def plan(
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_RESPONSE)],
    programme: Short = "",
    day: Short = "",
    start: Short = "",
    end: Short = "",
    target_kw: Short = "",
    price: Short = "",
    reason: Text = "",
    purpose: Short = "call",
) -> Response:
    """Plan an event, or a test of what the resources can do."""
    new = respond.NewEvent(
        *(programme, _day(day), _slot(start), _slot(end), _whole(target_kw), _price(price), reason),
        purpose == "test",
    )
    event_id = respond.plan(visit.conn, visit.actor, new, visit.now)
    return RedirectResponse(f"/response/events/{event_id}", 303)


@router.post("/response/events/{event_id}/answer", response_class=RedirectResponse)
def answer(
    event_id: Id,
    visit: Annotated[who.Visit, who.changes(Deed.ANSWER_RESPONSE)],
    enrolment: Short = "",
    bid_kw: Short = "0",
) -> Response:
    """Opt in with kW, or out with 0."""
    respond.answer(visit.conn, visit.actor, event_id, _whole(enrolment), _whole(bid_kw), visit.now)
    return RedirectResponse(f"/response/events/{event_id}", 303)


@router.post("/response/events/{event_id}/{deed}", response_class=RedirectResponse)
def direct(
    event_id: Id,
    deed: str,
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_RESPONSE)],
    reason: Text = "",
) -> Response:
    """Notify, cancel, assess or settle an event."""
    conn, actor, now = visit.conn, visit.actor, visit.now
    if deed == "notify":
        respond.notify(conn, actor, event_id, now)
    elif deed == "cancel":
        respond.cancel(conn, actor, event_id, reason, now)
    elif deed == "assess":
        respond.assess(conn, actor, event_id, now)
    elif deed == "settle":
        respond.settle(conn, actor, event_id, now)
    else:
        raise store.NoEvent("not_found", kind="deed")
    return RedirectResponse(f"/response/events/{event_id}", 303)


@router.post("/response/results/{result_id}/decide", response_class=RedirectResponse)
def decide(
    result_id: Id,
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_RESPONSE)],
    verdict: Short = "",
    reason: Text = "",
) -> Response:
    """Uphold or reject an objection."""
    row = results.result(visit.conn, result_id)
    respond.decide(visit.conn, visit.actor, result_id, (verdict == "uphold", reason), visit.now)
    return RedirectResponse(f"/response/events/{row.event_id}", 303)


@router.post("/response/results/{result_id}/{deed}", response_class=RedirectResponse)
def answer_result(
    result_id: Id,
    deed: str,
    visit: Annotated[who.Visit, who.changes(Deed.ANSWER_RESPONSE)],
    reason: Text = "",
) -> Response:
    """Confirm a statement, or object to it."""
    row = results.result(visit.conn, result_id)
    if deed == "confirm":
        respond.confirm(visit.conn, visit.actor, result_id, visit.now)
    elif deed == "object":
        respond.object_to(visit.conn, visit.actor, result_id, reason, visit.now)
    else:
        raise results.NoResult("not_found", kind="deed")
    return RedirectResponse(f"/response/events/{row.event_id}", 303)


@router.get("/response/events/{event_id}/csv", response_class=Response)
def event_csv(event_id: Id, visit: Annotated[who.Visit, who.visits(Deed.SEE_RESPONSE)]) -> Response:
    """The settlement lines of an event as a table."""
    store.event(visit.conn, event_id)
    subject = Subject("response_event", str(event_id), visit.actor.party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(
        ("event", "account", "revision", "item", "quantity_kwh", "price_yuan_per_kwh", "amount_yuan", "state")
    )
    for row in results.results(visit.conn, event_id):
        account_id = enrolments.enrolment(visit.conn, row.enrolment_id).account_id
        for line in row.lines:
            writer.writerow(
                (
                    *(event_id, account_id, row.revision, line["item"], line["quantity_kwh"]),
                    *(line["price_yuan_per_kwh"], yuan(line["amount_fen"]), row.state),
                )
            )
    for portfolio in responsemoney.portfolios(visit.conn, event_id):
        for line in portfolio.lines:
            writer.writerow(
                (
                    *(event_id, portfolio.aggregator, portfolio.revision, line["item"], line["quantity_kwh"]),
                    *(line["price_yuan_per_kwh"], yuan(line["amount_fen"]), portfolio.event_state),
                )
            )
    for share in responsemoney.shares_of(visit.conn, event_id):
        energy = Decimal(share.weight_wh).scaleb(-3)
        writer.writerow((event_id, share.party, "", "share", energy, "", yuan(share.amount_fen), share.rule))
    name = f'attachment; filename="response-{event_id}.csv"'
    return Response(
        out.getvalue(), media_type="text/csv; charset=utf-8", headers={"Content-Disposition": name}
    )


def _packaged() -> dict[str, str]:
    folder = resources.files("cloud.market") / "programmes"
    return {each.name: each.read_text("utf-8") for each in folder.iterdir() if each.name.endswith(".toml")}


def _whole(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise BadNumber("response_bad_number", found=text[:30])
    return int(text)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise BadNumber("response_bad_number", found=text[:30]) from None


def _slot(text: str) -> int:
    hour, _, minute = text.strip().partition(":")
    if hour not in _HOURS or minute not in _MINUTES or (hour == "24" and minute != "00"):
        raise BadNumber("response_bad_number", found=text[:30])
    return int(hour) * 4 + int(minute) // 15


def _price(text: str) -> Decimal:
    try:
        price = Decimal(text.strip())
    except InvalidOperation:
        raise BadNumber("response_bad_number", found=text[:30]) from None
    if not price.is_finite() or not 0 < price < 1000 or price != round(price, 4):
        raise BadNumber("response_bad_number", found=text[:30])
    return price


_HOURS: Final = frozenset(f"{hour:02d}" for hour in range(25))
_MINUTES: Final = frozenset(("00", "15", "30", "45"))
