"""Staff's desk of market entities: invite, review beside the documents, changes, expiry calendar, entity 360; publicity.

Publicity is for everybody who is signed in: who objects is a party, or staff for somebody outside.
"""

from __future__ import annotations

import secrets
from collections import Counter
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from cloud import markettime
from cloud.api import entitycases as cases
from cloud.api import entityviews as views
from cloud.api import reply, who
from cloud.errors import Invalid, NotFound
from cloud.parties.party import PARTY, Kind
from cloud.parties.registration import Verdict
from cloud.parties.run import change, leave, register, review
from cloud.parties.run.register import Person
from cloud.parties.store import entities, reviews
from cloud.security import run as security
from cloud.security.access import Deed, Role, Subject
from cloud.security.store import UserRow

router = APIRouter(tags=["entities"])

_BIGINT_MAX: Final = 2**63 - 1
_FIELDS_MAX: Final = 300
_KINDS: Final = tuple(each.value for each in Kind)
_STATES: Final = tuple(dict.fromkeys(PARTY.moves.values()))
_DAYS: Final = 180
# As every page's (app.HEADERS), and a document in a frame of its own: /papers/{paper_id}/view.
_WITH_VIEWER: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; frame-src 'self'"
)

Number = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Text = Annotated[str, Form(max_length=2000)]


class NoRequest(NotFound):
    """There is no such change, publicity or objection."""


class BadForm(Invalid):
    """The form has too many fields or one that cannot be read."""


async def _words(request: Request) -> dict[str, tuple[bool, str]]:
    """Findings of the form: `v.<item>` yes or no, `n.<item>` the note; an item without a word is left out."""
    form = await request.form()
    texts = {key: value for key, value in form.multi_items() if isinstance(value, str)}
    if len(texts) > _FIELDS_MAX or any(len(value) > 2000 for value in texts.values()):
        raise BadForm("bad_entity_form", name="form")
    found = {key.removeprefix("v."): value for key, value in texts.items() if key.startswith("v.")}
    if set(found.values()) - {"yes", "no", ""}:
        raise BadForm("bad_entity_form", name="v")
    return {item: (value == "yes", texts.get(f"n.{item}", "")) for item, value in found.items() if value}


Words = Annotated[dict[str, tuple[bool, str]], Depends(_words)]


@router.get("/entities", response_model=views.DeskView)
def desk(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_ENTITIES)],
    kind: Annotated[str, Query(pattern="^([a-z]{1,20})?$")] = "",
    state: Annotated[str, Query(pattern="^([a-z]{1,20})?$")] = "",
    text: Annotated[str, Query(max_length=60)] = "",
) -> Response:
    """All entities, by kind, state and name."""
    _allow_all(visit, "entities")
    found = entities.listed(visit.conn, kind=kind, state=state, text=text)
    counted = Counter(each.state for each in entities.listed(visit.conn, kind=kind, text=text))
    view = views.DeskView(
        parties=tuple(map(views.head_of, found)),
        counts=dict(counted),
        asked={"kind": kind, "state": state, "text": text},
        kinds=_KINDS,
        states=_STATES,
    )
    return reply.answer(request, visit, "entities/desk.html", view)


@router.post("/entities", response_model=views.InvitedView)
def invite(
    request: Request,
    visit: Annotated[who.Visit, who.changes(Deed.INVITE_PARTY)],
    kind: Text = "",
    name: Text = "",
    login: Text = "",
    display_name: Text = "",
) -> Response:
    """Invite a party: a draft and its first person, whose password is shown once."""
    _allow_all(visit, "entities")
    password = secrets.token_urlsafe(12)
    user = UserRow(0, login, "", display_name.strip() or login, Role.CUSTOMER, 0, "zh")
    kept = security.new_user(user, password)
    person = Person(kept.login, kept.password_hash, kept.display_name)
    party_id = register.invite(visit.conn, kind, name, person, _act(visit))
    view = views.InvitedView(party_id=party_id, name=name, login=kept.login, password=password)
    return reply.answer(request, visit, "entities/invited.html", view)


@router.get("/entities/{party_id}", response_model=views.EntityView)
def entity(
    request: Request, party_id: Number, visit: Annotated[who.Visit, who.visits(Deed.SEE_ENTITIES)]
) -> Response:
    """Entity 360: facts, documents, changes, consumption units, retailer, one timeline."""
    party = views.party_for(visit, party_id)
    return reply.answer(request, visit, "entities/entity.html", views.entity(visit, party))


@router.post("/entities/{party_id}/{deed}", response_class=RedirectResponse)
def direct(
    party_id: Number,
    deed: Literal["suspend", "restore", "stay"],
    visit: Annotated[who.Visit, who.changes(Deed.REVIEW_ENTITY)],
    reason: Text = "",
) -> Response:
    """Stop a party's trading, allow it again, or stop its deregistration, with the reason."""
    party = views.party_for(visit, party_id)
    if deed == "suspend":
        review.suspend(visit.conn, party, reason, _act(visit))
    elif deed == "restore":
        review.restore(visit.conn, party, reason, _act(visit))
    else:
        leave.stay(visit.conn, party, reason, _act(visit))
    return _back(f"/entities/{party_id}")


@router.get("/entity-review", response_model=views.QueueView)
def queue(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_ENTITIES)]) -> Response:
    """Applications and changes that wait, by promised day."""
    _allow_all(visit, "entities")
    work: list[dict[str, Any]] = [
        {
            "kind": each.kind,
            "number": each.number,
            "party_id": each.party_id,
            "party": each.party_name,
            "party_kind": each.party_kind,
            "due": each.due,
            "since": each.since,
            "accepts": each.accepts,
            "has_decided": each.has_decided,
        }
        for each in reviews.work(visit.conn, security.actor_name(visit.actor))
    ]
    view = views.QueueView(work=tuple(work), today=markettime.day_of(visit.now))
    return reply.answer(request, visit, "entities/queue.html", view)


@router.get("/entity-review/{party_id}", response_model=cases.CaseView)
def case(
    request: Request,
    party_id: Number,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_ENTITIES)],
    paper: Annotated[int, Query(ge=0, le=_BIGINT_MAX)] = 0,
) -> Response:
    """An application: the documents beside the checklist."""
    party = views.party_for(visit, party_id)
    response = reply.answer(
        request, visit, "entities/case.html", cases.case_view(visit, party, paper or None)
    )
    response.headers["Content-Security-Policy"] = _WITH_VIEWER
    return response


@router.post("/entity-review/{party_id}/findings", response_class=RedirectResponse)
def find(
    party_id: Number,
    found: Words,
    visit: Annotated[who.Visit, who.changes(Deed.REVIEW_ENTITY)],
    verdict: Literal["", "accept", "return"] | None = Form(""),
    reason: Text = "",
) -> Response:
    """Note what was found of items; with a verdict, decide as well."""
    party = views.party_for(visit, party_id)
    if found or not verdict:
        review.find(visit.conn, party, found, _act(visit))
    if verdict:
        review.decide(visit.conn, party, Verdict(verdict), reason, _act(visit))
        return _back("/entity-review")
    return _back(f"/entity-review/{party_id}")


@router.get("/entity-changes/{change_id}", response_model=cases.ChangeView)
def show_change(
    request: Request, change_id: Number, visit: Annotated[who.Visit, who.visits(Deed.SEE_ENTITIES)]
) -> Response:
    """A reported change beside what is in force."""
    found = _change(visit, change_id)
    party = views.party_for(visit, found.party_id)
    return reply.answer(request, visit, "entities/change.html", cases.change_view(visit, found, party))


@router.post("/entity-changes/{change_id}/verdict", response_class=RedirectResponse)
def decide_change(
    change_id: Number,
    visit: Annotated[who.Visit, who.changes(Deed.REVIEW_ENTITY)],
    verdict: Annotated[Literal["accept", "refuse"], Form()] = "refuse",
    reason: Text = "",
) -> Response:
    """Accept or refuse a change; the second acceptance puts it in force."""
    found = _change(visit, change_id)
    views.party_for(visit, found.party_id)
    change.decide(visit.conn, found, (verdict == "accept", reason), _act(visit))
    return _back(f"/entity-changes/{change_id}")


@router.get("/qualifications", response_model=cases.CalendarView)
def qualifications(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_ENTITIES)],
    days: Annotated[int, Query(ge=1, le=3660)] = _DAYS,
) -> Response:
    """Which documents end when."""
    _allow_all(visit, "entities")
    return reply.answer(request, visit, "entities/calendar.html", cases.calendar_view(visit, days))


@router.get("/publicity", response_model=cases.PublicityView)
def publicity(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_PUBLICITY)]) -> Response:
    """What is publicised, for everybody who is signed in."""
    _allow_all(visit, "publicity")
    return reply.answer(request, visit, "entities/publicity.html", cases.publicity_view(visit))


@router.post("/publicity/{publicity_id}/objections", response_class=RedirectResponse)
def object_to(
    publicity_id: Number,
    visit: Annotated[who.Visit, who.changes(Deed.RAISE_OBJECTION)],
    grounds: Text = "",
    objector: Text = "",
) -> Response:
    """Object: a party in its own name, staff in the name of somebody outside."""
    found = reviews.find_publicity(visit.conn, publicity_id)
    if found is None:
        raise NoRequest("not_found", kind="publicity")
    _allow_all(visit, f"publicity:{publicity_id}")
    party_id = visit.actor.party_id
    if party_id is not None:
        own = entities.find(visit.conn, party_id)
        objector = "" if own is None else own.name
    review.object_to(visit.conn, found, (party_id, objector, grounds), _act(visit))
    return _back("/publicity")


@router.post("/objections/{objection_id}/answer", response_class=RedirectResponse)
def answer_objection(
    objection_id: Number,
    visit: Annotated[who.Visit, who.changes(Deed.REVIEW_ENTITY)],
    verdict: Annotated[Literal["uphold", "reject"], Form()] = "reject",
    reason: Text = "",
) -> Response:
    """Answer an objection with its reason."""
    found = reviews.find_objection(visit.conn, objection_id)
    if found is None:
        raise NoRequest("not_found", kind="objection")
    _allow_all(visit, f"objection:{objection_id}")
    review.answer_objection(visit.conn, found, verdict == "uphold", reason, _act(visit))
    return _back("/publicity")


def _change(visit: who.Visit, change_id: int) -> reviews.ChangeRow:
    found = reviews.find_change(visit.conn, change_id)
    if found is None:
        raise NoRequest("not_found", kind="change")
    return found


def _allow_all(visit: who.Visit, what: str) -> None:
    security.allow(visit.conn, visit.actor, visit.deed, Subject(what, "all", visit.actor.party_id), visit.now)


def _act(visit: who.Visit) -> tuple[datetime, str]:
    return visit.now, security.actor_name(visit.actor)


def _back(path: str) -> Response:
    return RedirectResponse(path, status_code=303)
