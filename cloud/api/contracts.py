"""Contracts for their parties and the operator: lists, the archive, one contract with its card, signing, 不是我签的.

The pages never decide who may sign: the shells of cloud/contracts/run/desk do, and the database asks again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from cloud.api import contractviews as views
from cloud.api import reply, who
from cloud.api.contractask import (
    BIGINT_MAX,
    DAY_PATTERN,
    ContractId,
    NoDeed,
    PaperNo,
    Text,
    ask_of,
    day_from,
    download,
)
from cloud.contracts import difference
from cloud.contracts.contract import STATES, Kind
from cloud.contracts.run.desk import deal, read, sign, turn
from cloud.contracts.run.desk.ask import Ask, contract_for
from cloud.contracts.store import archive, dealings, life, papers, seals
from cloud.contracts.store.life import ContractRow
from cloud.contracts.store.papers import PaperRow
from cloud.errors import Forbidden
from cloud.markettime import day_of
from cloud.security import run as security
from cloud.security.access import Deed, Role, Subject

router = APIRouter(tags=["contracts"])

_STEPS: Final = frozenset({"organise", "refuse", "say", "agree", "fail", "withdraw"})
_WAITING: Final = {"signing", "cooling"}

Number = Annotated[int, Path(ge=1, le=BIGINT_MAX)]
Words = Annotated[str, Query(max_length=60)]


@router.get("/contracts", response_model=views.ContractsView)
def contracts(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_CONTRACTS)]) -> Response:
    """The contracts of the own party, or for the operator everybody's, with what waits for this person."""
    party_id = visit.actor.party_id
    subject = Subject("contracts", str(party_id or "all"), party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    rows = life.of_parties(visit.conn, party_id)
    is_staff = visit.actor.role is Role.STAFF
    view = views.ContractsView(
        contracts=tuple(map(views.head_view, rows)),
        waiting=tuple(row.contract_id for row in rows if party_id and _waits_for(visit, row, party_id)),
        disputes=tuple(views.dispute_view(each, None) for each in dealings.open_disputes(visit.conn))
        if is_staff
        else (),
        requests=tuple(views.request_view(row) for row in dealings.open_requests(visit.conn)),
    )
    return reply.answer(request, visit, "contracts/list.html", view)


@router.get("/contracts/archive", response_model=views.ArchiveView)
def find(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_CONTRACTS)],
    text: Words = "",
    number: Words = "",
    party: Words = "",
    kind: Annotated[str, Query(pattern="^([a-z]{1,20})?$")] = "",
    state: Annotated[str, Query(pattern="^([a-z]{1,20})?$")] = "",
    first: Annotated[str, Query(pattern=DAY_PATTERN)] = "",
    last: Annotated[str, Query(pattern=DAY_PATTERN)] = "",
    page: Annotated[int, Query(ge=1, le=1000)] = 1,
) -> Response:
    """Find contracts by text, number, party, kind, state and day of signing; row-level security keeps each to the own."""
    party_id = visit.actor.party_id
    subject = Subject("contracts", str(party_id or "all"), party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    past = day_from("last", last)
    wanted = archive.Wanted(
        *(
            text.replace("\0", ""),
            number.replace("\0", "").strip(),
            party.replace("\0", "").strip(),
            kind,
            state,
        ),
        *(day_from("first", first), None if past is None else past + timedelta(days=1), page),
    )
    found, has_more = archive.find(visit.conn, wanted)
    asked = {"text": text, "number": number, "party": party, "kind": kind, "state": state}
    asked |= {"first": first, "last": last}
    view = views.ArchiveView(
        found=tuple(map(views.found_view, found)),
        has_more=has_more,
        asked=asked,
        page=page,
        shelves=archive.counts(visit.conn),
    )
    return reply.answer(request, visit, "contracts/archive.html", view, drawing=(tuple(Kind), STATES))


@router.get("/contracts/seal-roots.pem", response_class=Response)
def seal_roots(visit: Annotated[who.Visit, who.visits(Deed.SEE_CONTRACTS)]) -> Response:
    """The certificates that the seals of signed contracts chain to, for checking offline."""
    subject = Subject("seal_roots", "all", visit.actor.party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    return download("".join(seals.roots(visit.conn)).encode(), "application/x-pem-file", "seal-roots.pem")


@router.get("/contracts/{contract_id}", response_model=views.ContractView)
def contract(
    request: Request,
    contract_id: ContractId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_CONTRACTS)],
) -> Response:
    """One contract: key terms, differences, who signs, files, timeline, execution, and what can be done."""
    ask = ask_of(request, visit)
    row = contract_for(visit.conn, ask, Deed.SEE_CONTRACTS, contract_id)
    view = _contract(visit, row)
    return reply.answer(
        request, visit, "contracts/contract.html", view, drawing=_drawing(visit, ask, row, view)
    )


@router.get("/contracts/{contract_id}/papers/{paper_no}/pdf", response_class=Response)
def paper_pdf(
    request: Request,
    contract_id: ContractId,
    paper_no: PaperNo,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_CONTRACTS)],
) -> Response:
    """A paper as a file, with the signatures made so far."""
    body = read.file_for(visit.conn, ask_of(request, visit), contract_id, paper_no)
    return download(body, "application/pdf", f"{contract_id}-{paper_no}.pdf")


@router.post("/contracts/{contract_id}/papers/{paper_no}/confirm", response_class=RedirectResponse)
def confirm(
    request: Request,
    contract_id: ContractId,
    paper_no: PaperNo,
    visit: Annotated[who.Visit, who.changes(Deed.SIGN_CONTRACT)],
    card: Annotated[str, Form(max_length=64)] = "",
    tick: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Confirm the key terms that were shown, each of them, and every warning."""
    told = sign.Told(card, tuple(each[:60] for each in (tick or [])[:40]))
    sign.confirm(visit.conn, ask_of(request, visit), contract_id, paper_no, told)
    return _back(contract_id, "sign")


@router.post("/contracts/{contract_id}/papers/{paper_no}/sign", response_class=RedirectResponse)
def put_seal(
    request: Request,
    contract_id: ContractId,
    paper_no: PaperNo,
    visit: Annotated[who.Visit, who.changes(Deed.SIGN_CONTRACT)],
    confirmation: Annotated[int, Form(ge=0, le=BIGINT_MAX)] = 0,
) -> Response:
    """Sign for the own party; nothing is held while a time-stamp authority is asked."""
    ask = ask_of(request, visit)
    ready = sign.prepare(visit.conn, ask, contract_id, paper_no, confirmation)
    with who.between(visit):
        made = sign.make(ready)
    sign.keep(visit.conn, ask, made)
    return _back(contract_id, "signers")


@router.post("/contracts/{contract_id}/papers/{paper_no}/decline", response_class=RedirectResponse)
def decline(
    request: Request,
    contract_id: ContractId,
    paper_no: PaperNo,
    visit: Annotated[who.Visit, who.changes(Deed.SIGN_CONTRACT)],
    reason: Text = "",
) -> Response:
    """Decline a paper, saying why."""
    sign.decline(visit.conn, ask_of(request, visit), contract_id, paper_no, reason)
    return _back(contract_id)


@router.post("/contracts/{contract_id}/dispute", response_class=RedirectResponse)
def dispute(
    request: Request,
    contract_id: ContractId,
    visit: Annotated[who.Visit, who.changes(Deed.DISPUTE_CONTRACT)],
    reason: Text = "",
) -> Response:
    """不是我签的: freeze the contract at once."""
    deal.dispute(visit.conn, ask_of(request, visit), contract_id, reason)
    return _back(contract_id)


@router.post("/contracts/{contract_id}/retract", response_class=RedirectResponse)
def retract(
    request: Request,
    contract_id: ContractId,
    visit: Annotated[who.Visit, who.changes(Deed.DISPUTE_CONTRACT)],
    reason: Text = "",
) -> Response:
    """Take the own signature back while the contract cools."""
    deal.retract(visit.conn, ask_of(request, visit), contract_id, reason)
    return _back(contract_id)


@router.post("/contracts/disputes/{dispute_id}/decide", response_class=RedirectResponse)
def decide(
    request: Request,
    dispute_id: Number,
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_CONTRACTS)],
    verdict: Annotated[Literal["uphold", "reject"], Form()] = "reject",
    reason: Text = "",
) -> Response:
    """Decide a dispute."""
    deal.decide(visit.conn, ask_of(request, visit), dispute_id, deal.Verdict(verdict == "uphold", reason))
    return _back(dealings.find_dispute(visit.conn, dispute_id).contract_id)


@router.post("/contracts/{contract_id}/requests", response_class=RedirectResponse)
def ask_for(
    request: Request,
    contract_id: ContractId,
    visit: Annotated[who.Visit, who.changes(Deed.SIGN_CONTRACT)],
    kind: Annotated[Literal["amend", "supplement", "transfer", "terminate"], Form()] = "amend",
    wanted: Text = "",
) -> Response:
    """Ask to amend, supplement, transfer or end a contract in force."""
    deal.request(visit.conn, ask_of(request, visit), contract_id, kind, wanted)
    return _back(contract_id, "requests")


@router.post("/contracts/requests/{request_id}/{deed}", response_class=RedirectResponse)
def answer(
    request: Request,
    request_id: Number,
    deed: str,
    visit: Annotated[who.Visit, who.changes(Deed.SEE_CONTRACTS)],
    note: Text = "",
) -> Response:
    """Take a request a step on: organise, refuse, say, agree, fail, withdraw."""
    if deed not in _STEPS:
        raise NoDeed("not_found", kind="deed")
    deal.answer(visit.conn, ask_of(request, visit), request_id, deed, note)
    return _back(dealings.find_request(visit.conn, request_id).contract_id, "requests")


@router.post("/contracts/{contract_id}/milestones", response_class=RedirectResponse)
def mark(
    request: Request,
    contract_id: ContractId,
    visit: Annotated[who.Visit, who.changes(Deed.SEE_CONTRACTS)],
    milestone: Annotated[str, Form(max_length=80)] = "",
    note: Text = "",
) -> Response:
    """Note that a milestone was met."""
    deal.mark(visit.conn, ask_of(request, visit), contract_id, milestone, note)
    return _back(contract_id, "milestones")


# ---- views -----------------------------------------------------------------------------------------------


def _contract(visit: who.Visit, row: ContractRow) -> views.ContractView:
    conn = visit.conn
    is_trade = row.kind == Kind.CONFIRMATION and row.agreed is not None
    kept = (read.confirmation_of(conn, row),) if is_trade else papers.of_contract(conn, row.contract_id)
    shown = [paper for paper in kept if paper.state != "replaced"]
    events = life.events_of(conn, row.contract_id)
    main = next((paper for paper in reversed(shown) if paper.purpose == "main"), None)
    other, changes = ("", ()) if main is None else read.last_together(conn, row, main)
    dates = turn.dates_of(conn, row)
    names: dict[int | None, str] = {row.seller_id: row.seller_name, row.buyer_id: row.buyer_name}
    return views.ContractView(
        head=views.head_view(row),
        source=row.source,
        units=(row.seller_unit, row.buyer_unit),
        version=row.version,
        cooling_until=row.cooling_until,
        effective_at=row.effective_at,
        papers=tuple(_paper(visit, paper) for paper in shown),
        last_together=other,
        last_changes=tuple(difference.changes_json(changes)),
        events=tuple(views.event_view(each, names) for each in events),
        disputes=tuple(
            views.dispute_view(each, visit.actor.party_id)
            for each in dealings.disputes_of(conn, row.contract_id)
        ),
        requests=tuple(
            views.request_view(each, dealings.steps_of(conn, each.request_id))
            for each in dealings.requests_of(conn, row.contract_id)
        ),
        milestones=views.milestone_views(dates, events, day_of(visit.now)),
        deviations=views.deviation_views(dealings.deviations_of(conn, row.contract_id)),
        may=views.may_of(row, visit.actor.party_id, is_staff=visit.actor.role is Role.STAFF),
    )


def _paper(visit: who.Visit, paper: PaperRow) -> views.PaperView:
    signers = papers.signers_of(visit.conn, paper.contract_id, paper.paper_no)
    confirmations = papers.confirmations_of(visit.conn, paper.contract_id, paper.paper_no)
    return views.paper_view(paper, signers, confirmations, sign.file_of(paper, signers), visit.actor.party_id)


def _drawing(visit: who.Visit, ask: Ask, row: ContractRow, view: views.ContractView) -> views.PageDrawing:
    address, device = ask.where
    number, at = 0, None
    for paper in view.papers:
        if paper.state == "signing":
            number, at = _fresh(visit, row, paper.paper_no)
    return views.PageDrawing(address, device, _is_proven(visit), number, at)


def _fresh(visit: who.Visit, row: ContractRow, paper_no: int) -> tuple[int, datetime | None]:
    """The confirmation of this person that can still be signed upon."""
    for each in reversed(papers.confirmations_of(visit.conn, row.contract_id, paper_no)):
        if each.user_id == visit.actor.user_id and not each.is_used:
            if visit.now < each.at + sign.CONFIRMED_FOR:
                return each.confirmation_id, each.at
            break
    return 0, None


def _is_proven(visit: who.Visit) -> bool:
    try:
        security.demand_step_up(visit.conn, visit.session, visit.now)
    except Forbidden:
        return False
    return visit.actor.party_id is not None and security.may_sign_for(
        visit.conn, visit.actor, visit.actor.party_id, visit.now
    )


def _waits_for(visit: who.Visit, row: ContractRow, party_id: int) -> bool:
    if row.state not in _WAITING and row.state not in ("effective", "executing"):
        return False
    for paper in papers.of_contract(visit.conn, row.contract_id):
        if paper.state == "signing":
            signers = papers.signers_of(visit.conn, row.contract_id, paper.paper_no)
            turn_of = next((each for each in signers if each.signed_at is None), None)
            return turn_of is not None and turn_of.party_id == party_id
    return False


def _back(contract_id: str, place: str = "") -> RedirectResponse:
    return RedirectResponse(f"/contracts/{contract_id}" + (f"#{place}" if place else ""), status_code=303)
