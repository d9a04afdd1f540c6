"""The risk desk: positions, indicators, value at risk, alarms and responses; for staff of all, for a retailer its own."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import RedirectResponse

from cloud.api import reply, who
from cloud.api import riskviews as views
from cloud.errors import Invalid, NotFound
from cloud.lives import deeds
from cloud.market.risk import PLAN, Measure
from cloud.market.run import risk as desk
from cloud.market.store import risks
from cloud.market.store.risks import PlanRow
from cloud.markettime import day_of
from cloud.security import run as security
from cloud.security.access import Deed, Role, Subject, may

router = APIRouter(tags=["risk"])

_BIGINT_MAX: Final = 2**63 - 1

Key = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Text = Annotated[str, Form(max_length=1000)]


class NoParty(NotFound):
    """There is no such party, or this person does not see it."""


class BadDay(Invalid):
    """This is no day."""


@router.get("/risk", response_model=views.DeskView | views.RiskView)
def risk_desk(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_RISK)]) -> Response:
    """For staff every retailer with its levels; for others the own party's risk."""
    if visit.actor.role is not Role.STAFF:
        assert visit.actor.party_id is not None
        return _party_page(request, visit, visit.actor.party_id)
    heads = []
    for party_id, _, name in risks.traders(visit.conn):
        last = risks.last_measurement(visit.conn, party_id)
        measured = [] if last is None else [each for each in last.readings if each["value_ppm"] is not None]
        levels = {each["indicator"]: each["level"] for each in measured}
        at = None if last is None else last.at
        heads.append(views.HeadView(party_id=party_id, name=name, measured_at=at, levels=levels))
    view = views.DeskView(
        parties=tuple(heads),
        alarms=tuple(views.alarm_view(each) for each in risks.alarms(visit.conn, None)),
        plans=tuple(_plan_view(visit, each) for each in risks.plans(visit.conn, None)),
    )
    return reply.answer(request, visit, "risk/desk.html", view)


@router.get("/risk/parties/{party_id}", response_model=views.RiskView)
def party_risk(
    request: Request, party_id: Key, visit: Annotated[who.Visit, who.visits(Deed.SEE_RISK)]
) -> Response:
    """One party's positions, indicators, value at risk, alarms and responses."""
    return _party_page(request, visit, party_id)


@router.post("/risk/parties/{party_id}/measure", response_class=RedirectResponse)
def measure(party_id: Key, visit: Annotated[who.Visit, who.changes(Deed.MEASURE_RISK)]) -> Response:
    """Measure now."""
    desk.measure_now(visit.conn, visit.actor, party_id, visit.now)
    return RedirectResponse(f"/risk/parties/{party_id}", 303)


@router.post("/risk/parties/{party_id}/plans", response_class=RedirectResponse)
def propose(
    party_id: Key,
    visit: Annotated[who.Visit, who.changes(Deed.MANAGE_RISK)],
    measure: Measure = Form(Measure.HEDGE),
    action: Text = "",
    owner_id: Annotated[int, Form(ge=0, le=_BIGINT_MAX)] = 0,
    due_on: Annotated[str, Form(max_length=10)] = "",
    alarm_id: Annotated[str, Form(pattern="^[0-9]{0,18}$")] = "",
) -> Response:
    """Open a response: what is done, by whom, until when."""
    plan = {"measure": measure, "action": action, "owner_id": owner_id, "due_on": _day(due_on)}
    plan["alarm_id"] = int(alarm_id) if alarm_id else None
    desk.propose(visit.conn, visit.actor, party_id, plan, visit.now)
    return RedirectResponse(f"/risk/parties/{party_id}", 303)


@router.post("/risk/plans/{plan_id}/{deed}", response_class=RedirectResponse)
def move(
    plan_id: Key,
    deed: Literal["start", "finish", "drop"],
    visit: Annotated[who.Visit, who.changes(Deed.MANAGE_RISK)],
    outcome: Text = "",
) -> Response:
    """Start a response, or close it with what came of it."""
    party_id = desk.move(visit.conn, visit.actor, plan_id, deed, outcome, visit.now)
    return RedirectResponse(f"/risk/parties/{party_id}", 303)


def _party_page(request: Request, visit: who.Visit, party_id: int) -> Response:
    conn, name = visit.conn, risks.name_of(visit.conn, party_id)
    if name is None:
        raise NoParty("not_found", kind="party")
    subject = Subject("party", str(party_id), party_id)
    security.allow(conn, visit.actor, visit.deed, subject, visit.now)
    last = risks.last_measurement(conn, party_id)
    view = views.RiskView(
        party_id=party_id,
        name=name,
        measured_at=None if last is None else last.at,
        readings=[] if last is None else last.readings,
        positions=[] if last is None else last.positions,
        portfolio={} if last is None else last.portfolio,
        alarms=tuple(views.alarm_view(each) for each in risks.alarms(conn, party_id)),
        plans=tuple(_plan_view(visit, each) for each in risks.plans(conn, party_id)),
        owners=risks.owners(conn, party_id),
        may_manage=may(visit.actor, Deed.MANAGE_RISK, subject),
        may_measure=may(visit.actor, Deed.MEASURE_RISK, subject),
    )
    drawing = views.drawing(view.positions, view.portfolio)
    return reply.answer(request, visit, "risk/party.html", view, drawing=drawing)


def _plan_view(visit: who.Visit, row: PlanRow) -> views.PlanView:
    return views.plan_view(row, deeds(PLAN, row.state), day_of(visit.now))


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007  # a day has no zone
    except ValueError:
        raise BadDay("bad_credit_day", found=text) from None
