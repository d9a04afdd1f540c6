"""Event streams of what several people look at: each news item once, and the parts of the page that it changed.

A reader says what it has seen: Last-Event-ID when it comes back, else `after`. It gets every news item after that, then
those parts of the page that are not as it has them, and the last message carries the number seen now; so a connection
that breaks loses nothing, and news may come twice, never not at all. Each look is a transaction with the rights that the
reader has at that moment; when they are over, so is the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from cloud import db
from cloud.api import who
from cloud.api.hub import Hub, Seat
from cloud.errors import Forbidden, NotFound, Unavailable

BETWEEN_S: Final = 0.5
KEEP_ALIVE_S: Final = 15.0
STREAMS_MAX: Final = 1000
OF_A_PERSON_MAX: Final = 24
NUMBER_MAX: Final = 2**63 - 1
After = Annotated[int, Query(ge=0, le=NUMBER_MAX)]


@dataclass(frozen=True, slots=True)
class Look:
    """What there is: the number of the last event, the news after the one asked for, and the parts of the page by name.

    `news` are (name, JSON). A part is sent when its sign is another than before; without a sign, when its text is.
    """

    number: int
    news: tuple[tuple[str, str], ...]
    parts: Mapping[str, Part]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a page; one in which people type has a sign, so that it stays as they have it."""

    text: str
    sign: str = ""

    @property
    def version(self) -> str:
        """What tells whether a reader has it."""
        return self.sign or self.text


Looker = Callable[[who.Visit, int], Look]


def streaming(request: Request, visit: who.Visit, topic: str, after: int, look: Looker) -> StreamingResponse:
    """Stream a topic to a visitor who may look at it now; `look` says what there is after a number.

    Raises what `look` raises, and Unavailable when too many streams are open.
    """
    hub: Hub = request.app.state.hub
    if hub.streams >= STREAMS_MAX or hub.of_person(visit.actor.user_id) >= OF_A_PERSON_MAX:
        raise Unavailable("too_many_streams")
    seen = _seen(request.headers.get("last-event-id", ""), after)
    look(visit, seen)
    seat = Seat(topic, visit.actor.user_id)
    return StreamingResponse(
        _stream(request, seat, seen, _Reader(visit, look)),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Who reads, and how to look for them."""

    visit: who.Visit  # of the request that began the stream: its connection is gone
    look: Looker

    def now(self, request: Request, after: int) -> Look:
        """What there is now, for the session as it is now. Raises NotFound or Forbidden when that is over."""
        now = who.clock()
        with db.transaction(request.app.state.pool, who.nobody()) as conn:
            session = who.session_in(conn, request, now, is_use=False)
            return self.look(who.Visit(conn, session, self.visit.language, now, self.visit.deed), after)


async def _stream(request: Request, seat: Seat, seen: int, reader: _Reader) -> AsyncIterator[bytes]:
    hub: Hub = request.app.state.hub
    hub.add(seat)
    shown: dict[str, str] | None = None
    try:
        yield KEEPALIVE_COMMENT  # the reader knows that it is connected
        while not hub.is_over:
            seat.woken.clear()
            try:
                found = await run_in_threadpool(reader.now, request, seen)
            except (NotFound, Forbidden):
                yield format_sse_event(event="over", data_str="-")
                return
            except Unavailable:
                found = None
            if found is not None:
                there = {name: part.version for name, part in found.parts.items()}
                if shown is None and found.number == seen:
                    shown = there  # as the reader's page has them
                for message in _messages(found, shown or {}, seen):
                    yield message
                shown, seen = there, found.number
            await asyncio.sleep(BETWEEN_S)
            try:
                await asyncio.wait_for(seat.woken.wait(), KEEP_ALIVE_S)
            except TimeoutError:
                yield KEEPALIVE_COMMENT
    finally:
        hub.remove(seat)


def _messages(found: Look, shown: Mapping[str, str], seen: int) -> list[bytes]:
    """The number comes last: a reader that has not heard it asks again for all that was before it."""
    messages = [format_sse_event(event=name, data_str=text) for name, text in found.news]
    messages += [
        format_sse_event(event=name, data_str=part.text)
        for name, part in found.parts.items()
        if shown.get(name) != part.version
    ]
    if found.number != seen:
        messages.append(format_sse_event(event="seen", data_str=str(found.number), id=str(found.number)))
    return messages


def _seen(header: str, after: int) -> int:
    """The number that a reader has seen; a header that is none of ours counts for nothing."""
    is_number = header.isascii() and header.isdecimal() and len(header) <= len(str(NUMBER_MAX))
    return min(int(header), NUMBER_MAX) if is_number else after
