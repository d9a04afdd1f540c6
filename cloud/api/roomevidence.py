"""What a negotiation room leaves as evidence, the files that were laid before both sides, and its stream."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from cloud import files
from cloud.api import reply, roomcases, roompaper, streaming, upload, who
from cloud.api.dealviews import RoomView
from cloud.market.negotiation import evidence, first_broken
from cloud.market.store import negotiations
from cloud.security.access import Deed

router = APIRouter(tags=["negotiations"])

_INT_MAX: Final = 2**31 - 1
RoomId = Annotated[int, Path(ge=1, le=_INT_MAX)]


class EvidenceView(reply.View):
    """A room's timeline with its chain, for the page that is printed."""

    room: RoomView
    chain: dict[str, Any]
    first_broken: int | None


@router.get(
    "/negotiations/{negotiation_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "event `happened`: what happened, as JSON; then the changed parts of the page, as HTML",
        }
    },
)
def events(
    request: Request,
    negotiation_id: RoomId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_NEGOTIATIONS)],
    after: streaming.After = 0,
) -> StreamingResponse:
    """What happens in a room, as it happens; after Last-Event-ID or `after` nothing is left out."""

    def look(reader: who.Visit, seen: int) -> streaming.Look:
        return roomcases.look(reader, negotiation_id, seen)

    return streaming.streaming(request, visit, f"room:{negotiation_id}", after, look)


@router.get("/negotiations/{negotiation_id}/evidence", response_model=EvidenceView)
def evidence_page(
    request: Request, negotiation_id: RoomId, visit: Annotated[who.Visit, who.visits(Deed.SEE_NEGOTIATIONS)]
) -> Response:
    """The timeline as a page to print, with every event's hash and whether the chain holds."""
    row = roomcases.found(visit, negotiation_id)
    chain = evidence(negotiation_id, row.title, negotiations.links_of(visit.conn, negotiation_id))
    view = EvidenceView(
        room=roomcases.view_of(visit, row), chain=chain, first_broken=first_broken(chain["events"])
    )
    return reply.answer(request, visit, "negotiations/evidence.html", view)


@router.get("/negotiations/{negotiation_id}/evidence.json", response_class=JSONResponse)
def evidence_file(
    negotiation_id: RoomId, visit: Annotated[who.Visit, who.visits(Deed.SEE_NEGOTIATIONS)]
) -> Response:
    """The timeline as a file that proves itself: the bytes of every event and the chain over them."""
    row = roomcases.found(visit, negotiation_id)
    chain = evidence(negotiation_id, row.title, negotiations.links_of(visit.conn, negotiation_id))
    name = f"negotiation-{negotiation_id}.json"
    return JSONResponse(chain, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@router.get("/negotiations/{negotiation_id}/evidence.pdf", response_class=Response)
def evidence_pdf(
    negotiation_id: RoomId, visit: Annotated[who.Visit, who.visits(Deed.SEE_NEGOTIATIONS)]
) -> Response:
    """The room as a page of paper: versions, talk, files with their hashes; the chain is attached to it."""
    row = roomcases.found(visit, negotiation_id)
    links = negotiations.links_of(visit.conn, negotiation_id)
    body = roompaper.room_pdf(visit.language, roomcases.view_of(visit, row), links)
    name = f'attachment; filename="negotiation-{negotiation_id}.pdf"'
    return Response(body, media_type="application/pdf", headers={"Content-Disposition": name})


@router.get("/negotiations/{negotiation_id}/files/{document_id}", response_class=Response)
def take_file(
    request: Request,
    negotiation_id: RoomId,
    document_id: Annotated[int, Path(ge=1, le=2**63 - 1)],
    visit: Annotated[who.Visit, who.visits(Deed.SEE_NEGOTIATIONS)],
) -> Response:
    """A file that was laid before both sides."""
    roomcases.found(visit, negotiation_id)
    laid = {link.event.body.get("document") for link in negotiations.links_of(visit.conn, negotiation_id)}
    document = files.find(visit.conn, document_id) if document_id in laid else None
    if document is None:
        raise files.NoFile("not_found", kind="document")
    return upload.send(document, request.app.state.vault.get(document.sha256))
