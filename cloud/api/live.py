"""Server-sent events of the live panel: a fragment whenever a sample arrives, at most one a second per page.

One thread per process listens to the database; every open page is one async stream with an event to wake it.
A stream ends when its reader is gone, its session is over, or the process stops; nothing is left behind.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from cloud import db
from cloud.api import panel, reply, who
from cloud.errors import NotFound, Unavailable
from cloud.metering.store import live as store
from cloud.security.access import Deed

log = logging.getLogger(__name__)
router = APIRouter(tags=["metering"])

BETWEEN_EVENTS_S: Final = 1.0
KEEP_ALIVE_S: Final = 15.0
RETRY_S: Final = 2.0
STREAMS_MAX: Final = 500


class Hub:
    """Wakes every open stream of this process when samples arrive."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._streams: set[asyncio.Event] = set()

    @property
    def is_over(self) -> bool:
        """Whether the process is stopping."""
        return self._over.is_set()

    def open(self) -> None:
        """Start to listen; called from the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._listen, name="live", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop to listen and let every stream end. Safe to call twice."""
        self._over.set()
        self._wake_soon()

    def wait_closed(self) -> None:
        """Wait until nobody listens any more; call after `close`, from a thread that may block."""
        if self._thread is not None:
            self._thread.join()

    def add(self, woken: asyncio.Event) -> None:
        """A stream wants to be woken."""
        self._streams.add(woken)

    def remove(self, woken: asyncio.Event) -> None:
        """The stream is over."""
        self._streams.discard(woken)

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def _listen(self) -> None:
        while not self.is_over:
            try:
                for _ in store.arrivals(self._dsn, self._over.is_set):
                    self._wake_soon()
            except Unavailable as problem:
                log.warning("live.listen.lost problem=%s", problem)
                self._over.wait(RETRY_S)

    def _wake_soon(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for woken in self._streams:
            woken.set()


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
    if hub.streams >= STREAMS_MAX:
        raise Unavailable("too_many_streams")
    return StreamingResponse(
        _stream(request, hub, account_id, visit.language),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _stream(request: Request, hub: Hub, account_id: str, language: str) -> AsyncIterator[bytes]:
    woken = asyncio.Event()
    hub.add(woken)
    shown: datetime | None = None
    try:
        while not hub.is_over:
            woken.clear()
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
                await asyncio.wait_for(woken.wait(), KEEP_ALIVE_S)
            except TimeoutError:
                yield KEEPALIVE_COMMENT
    finally:
        hub.remove(woken)


def _panel(request: Request, account_id: str, language: str) -> tuple[datetime | None, str]:
    """The panel as it is now, for the session as it is now. Raises NotFound when that is over."""
    now = who.clock()
    with db.transaction(request.app.state.pool, who.nobody()) as conn:
        session = who.session_in(conn, request, now, is_use=False)
        visit = who.Visit(conn, session, language, now, Deed.SEE_USAGE)
        view = panel.now_view(visit, account_id)
    return view.taken_at, reply.fragment(language, "metering/_now.html", now=view)
