"""Drawing contracts up, and the studio: templates and clauses, written by one and approved by another.

A form's field is `v.<variable>`, `c.<clause>` for another text of a clause, `x.<clause>` to leave it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import FormData

from cloud.api import contractviews as views
from cloud.api import reply, who
from cloud.api.contractask import (
    BIGINT_MAX,
    DAY_PATTERN,
    BadForm,
    ContractId,
    NoDeed,
    PaperNo,
    Text,
    ask_of,
    day_from,
)
from cloud.contracts import difference
from cloud.contracts.contract import SIDES, Kind, sides_of, terms_from_json
from cloud.contracts.document import Changes
from cloud.contracts.run import texts as studio
from cloud.contracts.run.desk import deal, draft, sign
from cloud.contracts.run.desk.ask import contract_for
from cloud.contracts.run.desk.print import printed
from cloud.contracts.store import dealings, life, papers, texts
from cloud.contracts.store.life import ContractRow
from cloud.contracts.template import template_from, volumes_text
from cloud.markettime import day_of
from cloud.security import run as security
from cloud.security.access import Deed, Subject

router = APIRouter(tags=["contracts"])

_FIELDS_MAX: Final = 300
_FIELD_LENGTH_MAX: Final = 20_000

TextId = Annotated[str, Path(pattern="^[a-z][a-z0-9-]{1,48}$")]
Version = Annotated[int, Path(ge=1, le=9999)]
TextKind = Annotated[Literal["clause", "template"], Path()]
Chosen = Annotated[str, Query(pattern="^([a-z][a-z0-9-]{1,48})?$")]
OfContract = Annotated[str, Query(pattern="^[A-Za-z0-9_.-]{0,64}$")]


async def _fields(request: Request) -> dict[str, str]:
    """All fields of the form as text."""
    form: FormData = await request.form()
    found = {key: value for key, value in form.multi_items() if isinstance(value, str)}
    if len(found) > _FIELDS_MAX or any(len(value) > _FIELD_LENGTH_MAX for value in found.values()):
        raise BadForm("bad_value", name="form", found=len(found), allowed=f"{_FIELDS_MAX}")
    return found


Fields = Annotated[dict[str, str], Depends(_fields)]


@router.get("/contract-draft", response_model=views.DraftView)
def new(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.DRAW_CONTRACT)],
    template: Chosen = "",
    contract: OfContract = "",
    request_id: Annotated[int, Query(ge=0, le=BIGINT_MAX)] = 0,
    side: Annotated[Literal["", "seller", "buyer"], Query()] = "",
) -> Response:
    """The form that draws a contract up, draws one up anew, or draws up what a request agreed."""
    security.allow(
        visit.conn, visit.actor, visit.deed, Subject("contract", "new", visit.actor.party_id), visit.now
    )
    ask = ask_of(request, visit)
    row = contract_for(visit.conn, ask, Deed.DRAW_CONTRACT, contract) if contract else None
    found = _templates(visit, row, request_id)
    chosen = next(
        (each for each in found if each["text_id"] == template), found[0] if row and found else None
    )
    shown = None
    if chosen is not None:
        shown = views.template_view(*draft.template_of(visit.conn, chosen["text_id"], chosen["version"]))
    places = _places(visit, row, shown, side)
    view = views.DraftView(
        templates=found,
        template=shown,
        values=_values(visit, row, shown),
        seller=places.seller,
        buyer=places.buyer,
        side=places.side,
        sides=places.sides,
        own_units=places.own_units,
        others=places.others,
        contract=contract,
        request=request_id,
        is_agreed=row is not None and row.agreed is not None,
    )
    return reply.answer(request, visit, "contracts/new.html", view)


@router.post("/contract-draft", response_class=RedirectResponse)
def draw(
    request: Request, fields: Fields, visit: Annotated[who.Visit, who.changes(Deed.DRAW_CONTRACT)]
) -> Response:
    """Keep a draft: of a new contract, of one drawn up anew, or of what a request agreed."""
    ask, wish = ask_of(request, visit), _wish(fields)
    contract_id = fields.get("contract", "")
    number = fields.get("request", "")
    if number.isascii() and number.isdecimal() and len(number) < 19 and int(number):
        deal.draw_for(visit.conn, ask, int(number), wish)
        contract_id = dealings.find_request(visit.conn, int(number)).contract_id
    elif contract_id:
        draft.redraw(visit.conn, ask, contract_id[:64], wish)
    else:
        contract_id = draft.start(visit.conn, ask, wish, _units(fields))
    return RedirectResponse(f"/contracts/{contract_id}", status_code=303)


@router.post("/contract-draft/preview", response_class=Response)
def preview(
    request: Request, fields: Fields, visit: Annotated[who.Visit, who.changes(Deed.DRAW_CONTRACT)]
) -> Response:
    """What would be printed, as a PDF; nothing is kept."""
    paper = draft.preview(visit.conn, ask_of(request, visit), _wish(fields), _units(fields))
    response = Response(printed(paper), media_type="application/pdf")
    response.headers["Content-Disposition"] = "inline; filename=preview.pdf"
    return response


@router.post("/contracts/{contract_id}/papers/{paper_no}/{deed}", response_class=RedirectResponse)
def direct(
    request: Request,
    contract_id: ContractId,
    paper_no: PaperNo,
    deed: str,
    visit: Annotated[who.Visit, who.changes(Deed.DRAW_CONTRACT)],
    reason: Text = "",
    days: Annotated[str, Form(pattern="^[0-9]{0,3}$")] = "",
) -> Response:
    """Send a draft for signature, recall it, or move its expiry."""
    ask = ask_of(request, visit)
    if deed == "send":
        draft.send(visit.conn, ask, contract_id, paper_no)
    elif deed == "recall":
        draft.recall(visit.conn, ask, contract_id, paper_no, reason)
    elif deed == "extend":
        sign.extend(visit.conn, ask, contract_id, paper_no, int(days) if days else None)
    else:
        raise NoDeed("not_found", kind="deed")
    return RedirectResponse(f"/contracts/{contract_id}", status_code=303)


@router.post("/contracts/{contract_id}/cancel", response_class=RedirectResponse)
def cancel(
    request: Request,
    contract_id: ContractId,
    visit: Annotated[who.Visit, who.changes(Deed.DRAW_CONTRACT)],
    reason: Text = "",
) -> Response:
    """Give a draft up."""
    draft.cancel(visit.conn, ask_of(request, visit), contract_id, reason)
    return RedirectResponse(f"/contracts/{contract_id}", status_code=303)


# ---- the studio ------------------------------------------------------------------------------------------


@router.get("/contract-texts", response_model=views.TextsView)
def library(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_CONTRACT_TEXTS)]) -> Response:
    """The clause library and the templates."""
    view = views.TextsView(
        clauses=tuple(views.text_view(row) for row in texts.all_of(visit.conn, "clause")),
        templates=tuple(views.text_view(row) for row in texts.all_of(visit.conn, "template")),
    )
    return reply.answer(request, visit, "contracts/studio.html", view)


@router.post("/contract-texts", response_class=RedirectResponse)
def write(
    visit: Annotated[who.Visit, who.changes(Deed.WRITE_CONTRACT_TEXT)],
    kind: Annotated[Literal["clause", "template"], Form()] = "clause",
    body: Annotated[str, Form(max_length=100_000)] = "",
) -> Response:
    """Keep a new version of a clause or template; a colleague approves it."""
    kept = studio.write(visit.conn, visit.actor, kind, body.replace("\r\n", "\n"), visit.now)
    return RedirectResponse(f"/contract-texts/{kind}/{kept.text_id}/{kept.version}", status_code=303)


@router.post("/contract-texts/supplied", response_class=RedirectResponse)
def supplied(visit: Annotated[who.Visit, who.changes(Deed.WRITE_CONTRACT_TEXT)]) -> Response:
    """Enter the clauses and templates that come with the program, in this person's name."""
    security.allow(visit.conn, visit.actor, visit.deed, Subject("contract_text", "supplied"), visit.now)
    studio.enter_supplied(visit.conn, security.actor_name(visit.actor), visit.now)
    return RedirectResponse("/contract-texts", status_code=303)


@router.get("/contract-texts/{kind}/{text_id}/{version}", response_model=views.TextView)
def text(
    request: Request,
    kind: TextKind,
    text_id: TextId,
    version: Version,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_CONTRACT_TEXTS)],
) -> Response:
    """One version: its text, what changed since the version before, where it is used."""
    row = texts.find(visit.conn, kind, text_id, version)
    older = [
        each for each in texts.all_of(visit.conn, kind) if each.text_id == text_id and each.version < version
    ]
    changed = difference.pieces(older[0].body, row.body) if older else ()
    view = views.TextView(
        text=views.text_view(row),
        used_in=_used_in(visit, row),
        clauses_of=tuple(f"{one}@{number}" for one, number in template_from(text_id, row.body).clauses)
        if kind == "template"
        else (),
        before=tuple((piece.how, piece.text) for piece in changed),
    )
    return reply.answer(request, visit, "contracts/text.html", view)


@router.post("/contract-texts/{kind}/{text_id}/{version}/{deed}", response_class=RedirectResponse)
def decide(
    kind: TextKind,
    text_id: TextId,
    version: Version,
    deed: str,
    visit: Annotated[who.Visit, who.changes(Deed.APPROVE_CONTRACT_TEXT)],
    reason: Text = "",
    from_day: Annotated[str, Form(pattern=DAY_PATTERN)] = "",
) -> Response:
    """Approve, send back or stop using a version; never one's own."""
    row = texts.find(visit.conn, kind, text_id, version)
    if deed not in studio.DEEDS:
        raise NoDeed("not_found", kind="deed")
    studio.decide(visit.conn, visit.actor, row, (deed, day_from("from_day", from_day), reason), visit.now)
    return RedirectResponse(f"/contract-texts/{kind}/{text_id}/{version}", status_code=303)


# ---- views -----------------------------------------------------------------------------------------------


def _templates(visit: who.Visit, row: ContractRow | None, request_id: int) -> tuple[dict[str, Any], ...]:
    """The templates in force that fit: main ones, those of the contract's kind, or those for what was agreed."""
    purpose = "main"
    if request_id:
        purpose = deal.PURPOSES[dealings.find_request(visit.conn, request_id).kind].value
    found = []
    for each in texts.in_force(visit.conn, "template", day_of(visit.now)):
        template = template_from(each.text_id, each.body)
        fits_kind = row is None or purpose != "main" or template.kind.value == row.kind
        if template.purpose.value == purpose and fits_kind:
            found.append(views.text_view(each) | {"contract_kind": template.kind.value})
    return tuple(found)


def _values(visit: who.Visit, row: ContractRow | None, shown: views.TemplateView | None) -> dict[str, str]:
    if shown is None:
        return {}
    values = {each["name"]: each["default"] for each in shown.variables}
    if row is None:
        return values
    kept = [paper for paper in papers.of_contract(visit.conn, row.contract_id) if paper.purpose == "main"]
    if kept:
        values |= {name: text for name, text in kept[-1].content["values"].items() if name in values}
    if row.agreed is not None and "volumes" in values:
        values["volumes"] = volumes_text(terms_from_json(row.agreed).volumes)
    return values


@dataclass(frozen=True, slots=True)
class _Places:
    """Who can stand on which side of a draft; `side` is the own one."""

    seller: str = ""
    buyer: str = ""
    side: str = ""
    sides: tuple[str, ...] = ()
    own_units: tuple[str, ...] = ()
    others: dict[str, tuple[tuple[str, str, str], ...]] = field(default_factory=dict)


def _places(
    visit: who.Visit, row: ContractRow | None, shown: views.TemplateView | None, asked: str
) -> _Places:
    if row is not None:
        return _Places(row.seller_unit, row.buyer_unit)
    if shown is None:
        return _Places()
    own, kind = visit.actor.party_id, Kind(shown.kind)
    sellers, buyers = (life.in_force(visit.conn, kinds, own) for kinds in SIDES[kind])
    others = {"seller": sellers, "buyer": buyers}
    if own is None:
        return _Places(others=others)
    sides = sides_of(kind, life.kind_of(visit.conn, own))
    side = asked if asked in sides else sides[0] if sides else ""
    return _Places(side=side, sides=sides, own_units=life.units_of(visit.conn, own), others=others)


def _wish(fields: dict[str, str]) -> draft.Wish:
    template_id, _, version = fields.get("template", "").partition("@")
    number = int(version) if version.isascii() and version.isdecimal() and len(version) < 5 else 0
    special = ((fields.get("special_title", "").strip(), fields.get("special_text", "").strip()),)
    return draft.Wish(
        template_id,
        number,
        {key[2:]: value.replace("\r\n", "\n") for key, value in fields.items() if key.startswith("v.")},
        Changes(
            {
                key[2:]: value.strip().replace("\r\n", "\n")
                for key, value in fields.items()
                if key.startswith("c.") and value.strip()
            },
            tuple(key[2:] for key in fields if key.startswith("x.")),
            special if special[0][0] or special[0][1] else (),
        ),
    )


def _units(fields: dict[str, str]) -> tuple[str, str]:
    seller, buyer = (fields.get(side, "").strip()[:64] for side in ("seller", "buyer"))
    if seller == buyer:
        raise BadForm("bad_value", name="buyer", found=buyer, allowed="another than the seller")
    return seller, buyer


def _used_in(visit: who.Visit, row: texts.TextRow) -> tuple[str, ...]:
    if row.kind == "template":
        return texts.used_in(visit.conn, row.text_id, row.version)
    return tuple(
        f"{each.text_id}@{each.version}"
        for each in texts.all_of(visit.conn, "template")
        if (row.text_id, row.version) in template_from(each.text_id, each.body).clauses
    )
