"""Server-sent events of the live panel: a fragment whenever a sample arrives, at most one a second per page.

Every open page is one async stream that the hub wakes. A stream ends when its reader is gone, its session is over, or the process stops; nothing is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from cloud import db
from cloud.api import panel, reply, who
from cloud.api.hub import LIVE, Hub, Seat
from cloud.errors import NotFound, Unavailable
from cloud.security.access import Deed

router = APIRouter(tags=["metering"])

BETWEEN_EVENTS_S: Final = 1.0
KEEP_ALIVE_S: Final = 15.0
STREAMS_MAX: Final = 500


@router.get(
    "/accounts/{account_id}/live/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "event `now`: the live panel, as HTML"}
    },
)
def events(
    request: Request,
    account_id: who.AccountId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_USAGE)],
) -> StreamingResponse:
    """The live panel again whenever a sample arrives."""
    who.account_for(visit, account_id)
    hub: Hub = request.app.state.hub
    if hub.of_topic(LIVE) >= STREAMS_MAX:
        raise Unavailable("too_many_streams")
    return StreamingResponse(
        _stream(request, Seat(LIVE, visit.actor.user_id), account_id, visit.language),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _stream(request: Request, seat: Seat, account_id: str, language: str) -> AsyncIterator[bytes]:
    hub: Hub = request.app.state.hub
    hub.add(seat)
    shown: datetime | None = None
    try:
        while not hub.is_over:
            seat.woken.clear()
            try:
                taken_at, text = await run_in_threadpool(_panel, request, account_id, language)
            except NotFound:
                yield format_sse_event(event="over", data_str="-")
                return
            except Unavailable:
                taken_at, text = shown, ""
            if text and taken_at != shown:
                shown = taken_at
                yield format_sse_event(event="now", data_str=text)
            await asyncio.sleep(BETWEEN_EVENTS_S)
            try:
                await asyncio.wait_for(seat.woken.wait(), KEEP_ALIVE_S)
            except TimeoutError:
                yield KEEPALIVE_COMMENT
    finally:
        hub.remove(seat)


def _panel(request: Request, account_id: str, language: str) -> tuple[datetime | None, str]:
    """The panel as it is now, for the session as it is now. Raises NotFound when that is over."""
    now = who.clock()
    with db.transaction(request.app.state.pool, who.nobody()) as conn:
        session = who.session_in(conn, request, now, is_use=False)
        visit = who.Visit(conn, session, language, now, Deed.SEE_USAGE)
        view = panel.now_view(visit, account_id)
    return view.taken_at, reply.fragment(language, "metering/_now.html", now=view)
