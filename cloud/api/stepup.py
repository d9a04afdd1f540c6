"""The own security: second factor, a fresh proof of who sits there, and who may seal for a party."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import segno
from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup

from cloud.api import reply, who
from cloud.errors import NotFound
from cloud.security import run as security
from cloud.security import store
from cloud.security.access import Deed, Role, Subject
from cloud.security.run import seals

router = APIRouter(tags=["security"])

_SEE_OTHER: Final = 303
_BIGINT_MAX: Final = 2**63 - 1

Key = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Number = Annotated[int, Form(ge=1, le=_BIGINT_MAX)]
Password = Annotated[str, Form(max_length=1000)]
Code = Annotated[str, Form(max_length=20)]


class NoDeed(NotFound):
    """Nothing of that name can be done with a seal."""


class SealView(reply.View):
    """Who holds a party's seal, held it, or is proposed to."""

    holder_id: int
    user_id: int
    login: str
    display_name: str
    state: str  # proposed, held, ended
    proposed_at: datetime
    may_approve: bool


class PersonView(reply.View):
    """A person of the party."""

    user_id: int
    login: str
    display_name: str
    has_factor: bool


class SecurityView(reply.View):
    """The own factor and proof; and the seals of a party where the person may see them."""

    has_factor: bool
    proven_until: datetime | None
    may_sign: bool
    party_id: int | None
    seals: tuple[SealView, ...]
    people: tuple[PersonView, ...]
    next: str


class EnrolmentView(reply.View):
    """A factor just made; shown this once."""

    secret: str
    address: str


@dataclass(frozen=True, slots=True)
class EnrolmentDrawing:
    """The address as a QR code."""

    qr: Markup


@router.get("/security", response_model=SecurityView)
def own_security(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_OWN_SECURITY)],
    next: Annotated[str, Query(max_length=500)] = "/security",
) -> Response:
    """The own second factor, the proof in force, and the seals of the own party."""
    view = _view(visit, visit.actor.party_id, next)
    return reply.answer(request, visit, "stepup/security.html", view)


@router.get("/security/seals", response_model=SecurityView)
def party_seals(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.GRANT_SEAL)],
    party: Annotated[int, Query(ge=0, le=_BIGINT_MAX)] = 0,
) -> Response:
    """Who may sign for a party: for staff any party's, for others the own."""
    party_id = party or visit.actor.party_id
    if party_id is not None:
        subject = Subject("party", str(party_id), party_id)
        security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    view = _view(visit, party_id, "/security/seals" + (f"?party={party_id}" if party_id else ""))
    return reply.answer(request, visit, "stepup/security.html", view)


@router.post("/security/second-factor", response_model=EnrolmentView)
def enrol(
    request: Request,
    visit: Annotated[who.Visit, who.changes(Deed.PROVE_SELF)],
    password: Password = "",
    code: Code = "",
) -> Response:
    """Make a second factor and show it once; to replace one, its code is needed too."""
    made = security.begin_factor(visit.conn, visit.session, password, code, visit.now)
    drawing = EnrolmentDrawing(_qr(made.address))
    view = EnrolmentView(secret=made.secret, address=made.address)
    return reply.answer(request, visit, "stepup/enrol.html", view, drawing=drawing)


@router.post("/security/second-factor/confirm", response_class=RedirectResponse)
def confirm(visit: Annotated[who.Visit, who.changes(Deed.PROVE_SELF)], code: Code = "") -> Response:
    """Put the factor in force by its first code."""
    security.confirm_factor(visit.conn, visit.session, code, visit.now)
    return RedirectResponse("/security", _SEE_OTHER)


@router.post("/security/step-up", response_class=RedirectResponse)
def step_up(
    visit: Annotated[who.Visit, who.changes(Deed.PROVE_SELF)],
    password: Password = "",
    code: Code = "",
    next: Annotated[str, Form(max_length=500)] = "/security",
) -> Response:
    """Prove who sits there, for five minutes, and go on where the proof was asked for."""
    security.step_up(visit.conn, visit.session, password, code, visit.now)
    return RedirectResponse(who.own_path(next), _SEE_OTHER)


@router.post("/security/seals", response_class=RedirectResponse)
def propose_seal(
    visit: Annotated[who.Visit, who.changes(Deed.GRANT_SEAL)], party_id: Number, user_id: Number
) -> Response:
    """Name a person as seal holder of a party."""
    seals.propose(visit.conn, visit.session, party_id, user_id, visit.now)
    return _to_seals(visit, party_id)


@router.post("/security/seals/{holder_id}/{deed}", response_class=RedirectResponse)
def decide_seal(
    holder_id: Key, deed: str, visit: Annotated[who.Visit, who.changes(Deed.GRANT_SEAL)]
) -> Response:
    """Approve a proposed seal holder, or end one."""
    found = store.find_seal(visit.conn, holder_id)
    if deed == "approve":
        seals.approve(visit.conn, visit.session, holder_id, visit.now)
    elif deed == "end":
        seals.end(visit.conn, visit.session, holder_id, visit.now)
    else:
        raise NoDeed("not_found", kind="deed")
    return _to_seals(visit, None if found is None else found.party_id)


@router.post("/security/people/{user_id}/reset", response_class=RedirectResponse)
def reset_factor(
    user_id: Key, visit: Annotated[who.Visit, who.changes(Deed.RESET_FACTOR)], party_id: Number
) -> Response:
    """End the second factor of somebody who lost it, and every seal of that person with it."""
    seals.reset_factor(visit.conn, visit.session, party_id, user_id, visit.now)
    return _to_seals(visit, party_id)


def _view(visit: who.Visit, party_id: int | None, next: str) -> SecurityView:
    conn, actor = visit.conn, visit.actor
    proven_at = store.proven_at(conn, visit.session.token_sha256)
    until = None if proven_at is None else proven_at + security.PROOF_LASTS
    found = () if party_id is None else store.seals_of(conn, party_id)
    return SecurityView(
        has_factor=security.has_second_factor(conn, actor.user_id),
        proven_until=until if until is not None and until > visit.now else None,
        may_sign=party_id is not None and security.may_sign_for(conn, actor, party_id, visit.now),
        party_id=party_id,
        seals=tuple(_seal_view(visit, each) for each in found),
        people=()
        if party_id is None
        else tuple(
            PersonView(user_id=user, login=login, display_name=name, has_factor=has)
            for user, login, name, has in store.people_of(conn, party_id)
        ),
        next=who.own_path(next),
    )


def _seal_view(visit: who.Visit, row: store.SealRow) -> SealView:
    state = "ended" if row.ended_at else "held" if row.approved_at else "proposed"
    is_second = visit.actor.role is Role.STAFF and visit.actor.user_id != row.proposed_by
    return SealView(
        holder_id=row.holder_id,
        user_id=row.user_id,
        login=row.login,
        display_name=row.display_name,
        state=state,
        proposed_at=row.proposed_at,
        may_approve=state == "proposed" and is_second,
    )


def _to_seals(visit: who.Visit, party_id: int | None) -> Response:
    is_staff = visit.actor.role is Role.STAFF and party_id is not None
    return RedirectResponse(f"/security/seals?party={party_id}" if is_staff else "/security", _SEE_OTHER)


def _qr(address: str) -> Markup:
    return Markup(
        segno.make(address, error="m").svg_inline(omitsize=True, border=2, svgclass="qr", lineclass=None)
    )
