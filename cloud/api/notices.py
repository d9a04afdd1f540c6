"""The inbox: what happened that concerns the visitor's party (for staff: the market operator), read or not yet.

Opening a notice marks it read for this person and leads to the page it is about; other people of the same party
keep it unread.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from cloud import notices, words
from cloud.api import reply, who
from cloud.errors import NotFound
from cloud.notices import NoticeRow, Reader
from cloud.security import run as security
from cloud.security.access import Deed, Subject

router = APIRouter(tags=["notices"])

_BIGINT_MAX: Final = 2**63 - 1
_TOPIC: Final = "^([a-z][a-z0-9_]{0,79})?$"


class NoNotice(NotFound):
    """There is no such notice in this inbox."""


class NoticeView(reply.View):
    """One notice in the visitor's language."""

    notice_id: int
    key: str
    text: str
    path: str
    at: datetime
    read_at: datetime | None


class InboxView(reply.View):
    """The visitor's notices, newest first."""

    unread: int
    topics: tuple[str, ...]
    topic: str
    only_unread: bool
    notices: tuple[NoticeView, ...]
    older_before: int | None


@dataclass(frozen=True, slots=True)
class InboxDrawing:
    """Which topics have a name in words; others are shown by their key."""

    named: frozenset[str]


@router.get("/notices", response_model=InboxView)
def inbox(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_NOTICES)],
    topic: Annotated[str, Query(pattern=_TOPIC)] = "",
    unread: Annotated[bool, Query()] = False,
    before: Annotated[int | None, Query(ge=1, le=_BIGINT_MAX)] = None,
) -> Response:
    """The visitor's notices; `topic` and `unread` narrow them, `before` goes on where a page ended."""
    reader = _allowed(visit)
    rows = notices.inbox(visit.conn, reader, only_unread=unread, topic=topic, before=before)
    view = InboxView(
        unread=notices.unread(visit.conn, reader),
        topics=notices.topics(visit.conn, reader),
        topic=topic,
        only_unread=unread,
        notices=tuple(_view(visit.language, row) for row in rows),
        older_before=rows[-1].notice_id if len(rows) == notices.PAGE_ROWS_MAX else None,
    )
    drawing = InboxDrawing(frozenset(each for each in view.topics if words.known(f"notice_topic.{each}")))
    return reply.answer(request, visit, "notices/inbox.html", view, drawing=drawing)


@router.post("/notices/{notice_id}/open", response_class=RedirectResponse)
def open_notice(
    notice_id: Annotated[int, Path(ge=1, le=_BIGINT_MAX)],
    visit: Annotated[who.Visit, who.changes(Deed.MARK_NOTICES)],
) -> Response:
    """Mark one notice read and go to what it is about."""
    reader = _allowed(visit)
    row = notices.find(visit.conn, reader, notice_id)
    if row is None:
        raise NoNotice("not_found", kind="notice")
    notices.mark_read(visit.conn, reader, (notice_id,), visit.now)
    return RedirectResponse(row.path, 303)


@router.post("/notices/read", response_class=RedirectResponse)
def read_all(visit: Annotated[who.Visit, who.changes(Deed.MARK_NOTICES)]) -> Response:
    """Mark everything read."""
    notices.mark_all_read(visit.conn, _allowed(visit), visit.now)
    return RedirectResponse("/notices", 303)


def _allowed(visit: who.Visit) -> Reader:
    """The visitor's own inbox; there is no way to name another's."""
    actor = visit.actor
    subject = Subject("inbox", str(actor.user_id), actor.party_id)
    security.allow(visit.conn, actor, visit.deed, subject, visit.now)
    return Reader(actor.user_id, actor.party_id)


def _view(language: str, row: NoticeRow) -> NoticeView:
    key = f"notice.{row.key}"
    text = words.say(language, key, **row.facts) if words.known(key) else row.key
    return NoticeView(
        notice_id=row.notice_id, key=row.key, text=text, path=row.path, at=row.at, read_at=row.read_at
    )
