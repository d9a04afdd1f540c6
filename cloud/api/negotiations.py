"""The negotiation room 双边协商: rooms, offers as versions with their differences, chat and files, agreement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import RedirectResponse

from cloud import files
from cloud.api import dealviews, reply, roomcases, upload, who
from cloud.api.dealviews import Columns, RoomHeadView, RoomView
from cloud.market.negotiation import Deviation, SettlementMethod, Terms
from cloud.market.run import negotiate
from cloud.market.store import listings, negotiations
from cloud.security.access import Deed, Role

router = APIRouter(tags=["negotiations"])

_SEE_OTHER: Final = 303
_INT_MAX: Final = 2**31 - 1
RoomId = Annotated[int, Path(ge=1, le=_INT_MAX)]
Column = Annotated[Sequence[str], Form()]
Short = Annotated[str, Form(max_length=60)]
Reason = Annotated[str, Form(max_length=1000)]
Until = Annotated[str, Form(max_length=40)]


class RoomsView(reply.View):
    """The visitor's rooms, and what a new one needs."""

    rooms: tuple[RoomHeadView, ...]
    parties: tuple[tuple[int, str, str], ...]
    units: tuple[str, ...]
    until: str
    is_trader: bool


class OfferedView(reply.View):
    """The number of a version, and what the preliminary check warns of."""

    version: int
    warnings: tuple[str, ...]


class AgreedView(reply.View):
    """The contract that an agreement became."""

    contract_id: str


class OpenedView(reply.View):
    """The number of a room."""

    negotiation_id: int


@router.get("/negotiations", response_model=RoomsView)
def rooms(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_NEGOTIATIONS)]) -> Response:
    """The visitor's rooms (who oversees: all), the latest first, with what is unread."""
    party_id = visit.actor.party_id
    dealviews.allow(visit, "negotiation", "all")
    unread = negotiations.unread(visit.conn, visit.actor.user_id) if party_id is not None else {}
    is_trader = visit.actor.role is Role.CUSTOMER
    view = RoomsView(
        rooms=tuple(
            dealviews.head_view(row, unread.get(row.negotiation_id, 0))
            for row in negotiations.of_party(visit.conn, party_id)
        ),
        parties=listings.admitted(visit.conn, "", party_id) if is_trader else (),
        units=dealviews.own_units(visit),
        until=reply.local(visit.now + timedelta(days=14), "%Y-%m-%dT18:00"),
        is_trader=is_trader,
    )
    return reply.answer(request, visit, "negotiations/rooms.html", view)


@router.post("/negotiations", response_model=OpenedView)
def open_room(
    request: Request,
    visit: Annotated[who.Visit, who.changes(Deed.NEGOTIATE)],
    title: Annotated[str, Form(max_length=200)] = "",
    side: Annotated[str, Form(max_length=4)] = "",
    unit: Short = "",
    invited: Annotated[int, Form(ge=0, le=2**63 - 1)] = 0,
    green: Annotated[str, Form(max_length=4)] = "",
    until: Until = "",
) -> Response:
    """Open a room and invite the other side."""
    chosen = dealviews.own_unit(visit, unit)
    opening = negotiate.Opening(
        title, dealviews.side_from(side), chosen, invited, bool(green), dealviews.instant_from(until)
    )
    number = negotiate.open_room(visit.conn, visit.actor, opening, visit.now)
    if reply.wants_json(request):
        return reply.as_json(OpenedView(negotiation_id=number), 201)
    return RedirectResponse(f"/negotiations/{number}", _SEE_OTHER)


@router.get("/negotiations/{negotiation_id}", response_model=RoomView)
def room(
    request: Request, negotiation_id: RoomId, visit: Annotated[who.Visit, who.visits(Deed.SEE_NEGOTIATIONS)]
) -> Response:
    """A room: what stands, every version and what it changed, the talk, and what may be done now."""
    view = roomcases.view_of(visit, roomcases.found(visit, negotiation_id))
    roomcases.mark_read(visit, view)
    return reply.answer(request, visit, "negotiations/room.html", view)


@router.get("/negotiations/{negotiation_id}/now", response_model=RoomView)
def room_now(
    request: Request, negotiation_id: RoomId, visit: Annotated[who.Visit, who.visits(Deed.SEE_NEGOTIATIONS)]
) -> Response:
    """The talk of a room, as a fragment that the page asks for while its stream is broken."""
    view = roomcases.view_of(visit, roomcases.found(visit, negotiation_id))
    return reply.answer(request, visit, "negotiations/_talk.html", view)


@router.post("/negotiations/{negotiation_id}/join", response_class=RedirectResponse)
def join(
    negotiation_id: RoomId, visit: Annotated[who.Visit, who.changes(Deed.NEGOTIATE)], unit: Short = ""
) -> Response:
    """Accept an invitation."""
    roomcases.found(visit, negotiation_id)
    chosen = dealviews.own_unit(visit, unit)
    negotiate.join(visit.conn, visit.actor, negotiation_id, chosen, visit.now)
    return _back(negotiation_id)


@router.post("/negotiations/{negotiation_id}/offers", response_model=OfferedView)
def offer(
    request: Request,
    negotiation_id: RoomId,
    visit: Annotated[who.Visit, who.changes(Deed.NEGOTIATE)],
    month: Column = (),
    period: Column = (),
    mwh: Column = (),
    price: Column = (),
    environment: Column = (),
    settlement: Annotated[SettlementMethod, Form()] = SettlementMethod.PHYSICAL,
    deviation: Annotated[Deviation, Form()] = Deviation.MARKET,
    band_pct: Short = "",
    clause: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Make an offer or a counter-offer: volume and price by month x period, settlement method, deviation clause."""
    roomcases.found(visit, negotiation_id)
    terms = Terms(
        dealviews.lines_from(Columns(month, period, mwh, price, environment)),
        settlement,
        deviation,
        _permille(band_pct) if deviation is Deviation.BAND else 0,
        clause.strip(),
    )
    number, found = negotiate.offer(visit.conn, visit.actor, negotiation_id, terms, visit.now)
    if reply.wants_json(request):
        warnings = tuple(dealviews.finding_text(visit.language, each) for each in found)
        return reply.as_json(OfferedView(version=number, warnings=warnings), 201)
    return _back(negotiation_id)


@router.post("/negotiations/{negotiation_id}/accept", response_model=AgreedView)
def accept(
    request: Request,
    negotiation_id: RoomId,
    visit: Annotated[who.Visit, who.changes(Deed.NEGOTIATE)],
    version: Annotated[int, Form(ge=1, le=_INT_MAX)],
    sha256: Annotated[str, Form(pattern="^[0-9a-f]{64}$")],
) -> Response:
    """Agree to the version of that number and hash: it is frozen and becomes a contract's draft."""
    roomcases.found(visit, negotiation_id)
    seen = (version, sha256)
    contract_id = negotiate.accept(visit.conn, visit.session, negotiation_id, seen, visit.now)
    if reply.wants_json(request):
        return reply.as_json(AgreedView(contract_id=contract_id), 201)
    return _back(negotiation_id)


@router.post("/negotiations/{negotiation_id}/messages", response_class=RedirectResponse)
def say(
    negotiation_id: RoomId,
    visit: Annotated[who.Visit, who.changes(Deed.NEGOTIATE)],
    text: Annotated[str, Form(max_length=4000)] = "",
) -> Response:
    """Say something in the room."""
    roomcases.found(visit, negotiation_id)
    negotiate.say(visit.conn, visit.actor, negotiation_id, text, visit.now)
    return _back(negotiation_id, "#talk")


@router.post("/negotiations/{negotiation_id}/files", response_class=RedirectResponse)
def give_file(
    request: Request,
    negotiation_id: RoomId,
    visit: Annotated[who.Visit, who.changes(Deed.NEGOTIATE)],
    file: Annotated[upload.Upload, upload.upload()],
) -> Response:
    """Lay a file before both sides, such as a draft of the contract."""
    roomcases.found(visit, negotiation_id)
    sha256 = request.app.state.vault.put(file.body)
    document = files.NewDocument(
        sha256, file.name, file.media_type, len(file.body), visit.actor.party_id, "negotiation"
    )
    negotiate.give_file(visit.conn, visit.actor, negotiation_id, document, visit.now)
    return _back(negotiation_id, "#talk")


@router.post("/negotiations/{negotiation_id}/reopen", response_class=RedirectResponse)
def reopen(
    negotiation_id: RoomId,
    visit: Annotated[who.Visit, who.changes(Deed.NEGOTIATE)],
    reason: Reason = "",
    until: Until = "",
) -> Response:
    """Invite the other side again."""
    roomcases.found(visit, negotiation_id)
    told = (reason, dealviews.instant_from(until))
    negotiate.reopen(visit.conn, visit.actor, negotiation_id, told, visit.now)
    return _back(negotiation_id)


@router.post("/negotiations/{negotiation_id}/refuse-change", response_class=RedirectResponse)
def operator_refuse(
    negotiation_id: RoomId,
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_NEGOTIATIONS)],
    reason: Reason = "",
) -> Response:
    """The market operator refuses a change of what was agreed."""
    negotiations.find(visit.conn, negotiation_id)
    negotiate.refuse_change(visit.conn, visit.actor, negotiation_id, reason, visit.now)
    return _back(negotiation_id)


@router.post("/negotiations/{negotiation_id}/{deed}", response_class=RedirectResponse)
def do(
    negotiation_id: RoomId,
    deed: Annotated[str, Path(max_length=20)],
    visit: Annotated[who.Visit, who.changes(Deed.NEGOTIATE)],
    reason: Reason = "",
) -> Response:
    """Decline, retract the own offer, withdraw; ask for, allow or refuse a change of what was agreed."""
    roomcases.found(visit, negotiation_id)
    if deed in ("decline", "retract", "withdraw"):
        negotiate.close_deed(visit.conn, visit.actor, (negotiation_id, deed), reason, visit.now)
    elif deed == "ask_change":
        negotiate.ask_change(visit.conn, visit.actor, negotiation_id, reason, visit.now)
    elif deed in ("allow_change", "refuse_change"):
        answer = (deed == "allow_change", reason)
        negotiate.answer_change(visit.conn, visit.actor, negotiation_id, answer, visit.now)
    else:
        raise negotiations.NoRoom("not_found", kind="deed")
    return _back(negotiation_id)


# ---- inside ----------------------------------------------------------------------------------------------


def _permille(text: str) -> int:
    """Percent with at most one decimal, as permille. Raises BadForm."""
    whole, _, tenth = text.strip().partition(".")
    if not (whole + tenth).isascii() or not (whole + tenth).isdecimal() or len(tenth) > 1 or len(whole) > 3:
        raise dealviews.BadForm("percent_form", text=text[:20])
    return int(whole or 0) * 10 + int(tenth or 0)


def _back(negotiation_id: int, place: str = "") -> Response:
    return RedirectResponse(f"/negotiations/{negotiation_id}{place}", _SEE_OTHER)
