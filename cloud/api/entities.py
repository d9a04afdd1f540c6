"""The company page: a party registers itself, keeps its documents, reports changes, groups its supply points, leaves.

A form's field is `f.<key>` for a fact; a supply point is ticked as `point`. Files are read by their bytes (upload.py).
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Path, Request, Response
from fastapi.responses import RedirectResponse

from cloud import files
from cloud.api import entityviews as views
from cloud.api import reply, who
from cloud.api import upload as sending
from cloud.api.upload import Upload
from cloud.errors import Invalid, NotFound
from cloud.files import NewDocument
from cloud.parties.run import change, group, leave, register
from cloud.parties.run.register import PaperText
from cloud.parties.store import entities, reviews, units
from cloud.parties.store.entities import PaperRow, PartyRow
from cloud.security import run as security
from cloud.security.access import Deed, Subject

router = APIRouter(tags=["entities"])

_BIGINT_MAX: Final = 2**63 - 1
_FIELDS_MAX: Final = 100
_LENGTH_MAX: Final = 2000
_VIEWER: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"
_SHOWN: Final = frozenset({"application/pdf", "image/png", "image/jpeg"})

Number = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Text = Annotated[str, Form(max_length=2000)]


class NoPaper(NotFound):
    """There is no such document, or this person does not see it."""


class BadForm(Invalid):
    """The form has too many fields, one that is too long, or a day that is none."""


async def _texts(request: Request) -> dict[str, str]:
    """The facts of the form: its fields `f.<key>`."""
    form = await request.form()
    found = {
        key.removeprefix("f."): value
        for key, value in form.multi_items()
        if key.startswith("f.") and isinstance(value, str)
    }
    if len(found) > _FIELDS_MAX or any(len(value) > _LENGTH_MAX for value in found.values()):
        raise BadForm("bad_entity_form", name="form")
    return found


Texts = Annotated[dict[str, str], Depends(_texts)]


@router.get("/company", response_model=views.EntityView)
def company(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_COMPANY)]) -> Response:
    """The visitor's company: state, what is missing, documents, changes, units, history."""
    return reply.answer(request, visit, "entities/company.html", views.entity(visit, _own(visit)))


@router.post("/company/form", response_class=RedirectResponse)
def save(
    texts: Texts, visit: Annotated[who.Visit, who.changes(Deed.EDIT_COMPANY)], subkind: Text = ""
) -> Response:
    """Save the form, whole or not."""
    register.save(visit.conn, _own(visit), subkind, texts, _act(visit))
    return _back("facts")


@router.post("/company/papers", response_class=RedirectResponse)
def add_paper(
    request: Request,
    visit: Annotated[who.Visit, who.changes(Deed.EDIT_COMPANY)],
    file: Annotated[Upload, sending.upload()],
    item: Text = "",
    number: Text = "",
    issuer: Text = "",
    valid_from: Text = "",
    until: Text = "",
) -> Response:
    """Add a document, to an application or as a renewal."""
    party = _own(visit)
    days = (_day(valid_from, "valid_from"), _day(until, "until"))
    document_id = _keep(request, visit, party, file)
    text = PaperText(item, document_id, number, issuer, *days)
    register.add_paper(visit.conn, party, text, _act(visit))
    return _back("papers")


@router.post("/company/submit", response_class=RedirectResponse)
def submit(visit: Annotated[who.Visit, who.changes(Deed.EDIT_COMPANY)], promise: Text = "") -> Response:
    """Send the application with the commitment."""
    register.submit(visit.conn, _own(visit), promise == "yes", _act(visit))
    return _back("state")


@router.post("/company/withdraw", response_class=RedirectResponse)
def withdraw(visit: Annotated[who.Visit, who.changes(Deed.EDIT_COMPANY)]) -> Response:
    """Take the application back before its review has begun."""
    register.withdraw(visit.conn, _own(visit), _act(visit))
    return _back("state")


@router.post("/company/changes", response_class=RedirectResponse)
def ask_change(
    request: Request,
    texts: Texts,
    visit: Annotated[who.Visit, who.changes(Deed.EDIT_COMPANY)],
    file: Annotated[Upload, sending.upload()],
    happened_on: Text = "",
    reason: Text = "",
    subkind: Text = "",
) -> Response:
    """Report a change with its proof."""
    party = _own(visit)
    happened = _day(happened_on, "happened_on")
    if happened is None:
        raise BadForm("bad_entity_form", name="happened_on")
    document_id = _keep(request, visit, party, file)
    proof = register.add_paper(visit.conn, party, PaperText("change_proof", document_id), _act(visit))
    wish = change.Wish(texts, subkind, happened, reason, (proof,))
    change.ask(visit.conn, party, wish, _act(visit))
    return _back("changes")


@router.post("/company/changes/{change_id}/withdraw", response_class=RedirectResponse)
def withdraw_change(
    change_id: Number, visit: Annotated[who.Visit, who.changes(Deed.EDIT_COMPANY)]
) -> Response:
    """Take a reported change back."""
    found = reviews.find_change(visit.conn, change_id)
    if found is None:
        raise NoPaper("not_found", kind="change")
    _allow(visit, "change", change_id, found.party_id)
    change.withdraw(visit.conn, found)
    return _back("changes")


@router.post("/company/leave", response_class=RedirectResponse)
def ask_leave(
    visit: Annotated[who.Visit, who.changes(Deed.EDIT_COMPANY)],
    reason: Text = "",
    contracts: Text = "",
    last_day: Text = "",
) -> Response:
    """Ask to be deregistered."""
    day = _day(last_day, "last_day")
    if day is None:
        raise BadForm("bad_entity_form", name="last_day")
    leave.ask(visit.conn, _own(visit), (reason, contracts), day, _act(visit))
    return _back("state")


@router.post("/company/units", response_class=RedirectResponse)
def make_unit(
    visit: Annotated[who.Visit, who.changes(Deed.EDIT_COMPANY)],
    name: Text = "",
    point: Annotated[list[str], Form(max_length=200)] = [],  # noqa: B006  # FastAPI copies it
) -> Response:
    """Group supply points into a new consumption unit."""
    group.make(visit.conn, _own(visit).party_id, name, point, _act(visit))
    return _back("units")


@router.post("/company/units/{unit_no}", response_class=RedirectResponse)
def put_points(
    unit_no: Number,
    visit: Annotated[who.Visit, who.changes(Deed.EDIT_COMPANY)],
    point: Annotated[list[str], Form(max_length=200)] = [],  # noqa: B006  # FastAPI copies it
) -> Response:
    """Let a unit hold exactly these supply points from now on."""
    unit = units.find(visit.conn, unit_no)
    if unit is None:
        raise NoPaper("not_found", kind="unit")
    _allow(visit, "unit", unit_no, unit.party_id)
    group.put(visit.conn, unit, point, _act(visit))
    return _back("units")


@router.get("/papers/{paper_id}", response_class=Response)
def paper(
    request: Request, paper_id: Number, visit: Annotated[who.Visit, who.visits(Deed.SEE_PAPER)]
) -> Response:
    """A document as a download."""
    return sending.send(*_document(request, visit, _paper_for(visit, paper_id)))


@router.get("/papers/{paper_id}/view", response_class=Response)
def view_paper(
    request: Request, paper_id: Number, visit: Annotated[who.Visit, who.visits(Deed.SEE_PAPER)]
) -> Response:
    """A document to look at in the reviewer's viewer: what a browser shows without running anything of ours."""
    row = _paper_for(visit, paper_id)
    document, body = _document(request, visit, row)
    response = sending.send(document, body)
    if document.media_type in _SHOWN:
        response.headers["Content-Disposition"] = "inline"
        response.headers["Content-Security-Policy"] = _VIEWER
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


def _own(visit: who.Visit) -> PartyRow:
    assert visit.actor.party_id is not None
    return views.party_for(visit, visit.actor.party_id)


def _allow(visit: who.Visit, kind: str, number: int, party_id: int) -> None:
    security.allow(visit.conn, visit.actor, visit.deed, Subject(kind, str(number), party_id), visit.now)


def _paper_for(visit: who.Visit, paper_id: int) -> PaperRow:
    row = entities.find_paper(visit.conn, paper_id)
    if row is None:
        raise NoPaper("not_found", kind="paper")
    _allow(visit, "paper", paper_id, row.party_id)
    return row


def _document(request: Request, visit: who.Visit, row: PaperRow) -> tuple[files.Document, bytes]:
    document = files.find(visit.conn, row.document_id)
    if document is None:
        raise NoPaper("not_found", kind="paper")
    return document, request.app.state.vault.get(document.sha256)


def _keep(request: Request, visit: who.Visit, party: PartyRow, file: Upload) -> int:
    sha256 = request.app.state.vault.put(file.body)
    new = NewDocument(sha256, file.name, file.media_type, len(file.body), party.party_id, "qualification")
    return files.note(visit.conn, new, visit.now, security.actor_name(visit.actor))


def _act(visit: who.Visit) -> tuple[datetime, str]:
    return visit.now, security.actor_name(visit.actor)


def _day(text: str, name: str) -> date | None:
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise BadForm("bad_entity_form", name=name) from None


def _back(place: str) -> Response:
    return RedirectResponse(f"/company#{place}", status_code=303)
