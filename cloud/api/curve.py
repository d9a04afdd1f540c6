"""The live curve of a trading session: the aggregate of what is declared, without names, at most once a second.

Each process keeps the aggregate of the sessions that are looked at and reads on from the last number. What a session's
rule hides is hidden here too, until the result is published; a closed book has nothing new to show.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from cloud import db
from cloud.api import curvechart, reply, who
from cloud.errors import NotFound, Unavailable
from cloud.market import curve
from cloud.market.auction import Side
from cloud.market.run import doubt
from cloud.market.session import AFTER_PUBLICATION, clock_of, phase
from cloud.market.sessionfile import rule_from
from cloud.market.steps import Step, thinned
from cloud.market.store import orders, sessions
from cloud.security import run as security
from cloud.security.access import Deed, Role, Subject

router = APIRouter(tags=["trading"])

BETWEEN: Final = timedelta(seconds=1)
KEEP_ALIVE_S: Final = 15.0
LOOKS_APART_MAX: Final = (
    5  # seconds without news after which a stream looks again: who asks, and the session's phase
)
SESSIONS_MAX: Final = 64
STREAMS_MAX: Final = 500
Period = Annotated[int, Query(ge=1, le=1152)]


class NoCurve(NotFound):
    """There is no such session or period, or this person does not see it."""


class StepView(reply.View):
    """From `start_kwh` to `end_kwh` of a side at `price_ticks`."""

    price_ticks: int
    start_kwh: int
    end_kwh: int


class OwnView(reply.View):
    """What the own party declared in this period, and what of it would trade at the indicative price."""

    side: str
    levels: list[tuple[int, int]]
    certain_kwh: int
    marginal_kwh: int


class DoubtView(reply.View):
    """What looks like a slip in an own declaration; `factor` is how many times the usual, as "1000" or "1/10"."""

    kind: str
    side: str
    unit_id: str
    period: int | None
    declared_kwh: int
    usual_kwh: int
    factor: str | None


class CurveView(reply.View):
    """One period of a session as it stands; prices in 0.01 yuan/MWh. Without a trade there is no price."""

    session_id: int
    session_no: str
    title: str
    phase: str
    period: int
    periods: list[str]
    is_shown: bool
    is_live: bool
    seq: int
    demand: list[StepView]
    supply: list[StepView]
    volume_kwh: int
    price_rule: str
    price_ticks: int | None
    low_ticks: int | None
    high_ticks: int | None
    own: list[OwnView]
    doubts: list[DoubtView]


@dataclass(slots=True)
class _Kept:
    """A session's aggregate and when it was last brought up to date."""

    curve: curve.Curve
    read_at: datetime | None
    lock: threading.Lock


class Curves:
    """The aggregates of this process, of the sessions looked at last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self.streams = 0

    def snapshot(
        self, conn: db.Conn, session: sessions.SessionRow, period: int, now: datetime
    ) -> curve.Snapshot:
        """One period of a session, no older than a second."""
        rule = rule_from(session.rule_id, session.rule_body)
        kept = self._of(session.session_id)
        with kept.lock:
            if kept.read_at is None or now - kept.read_at >= BETWEEN:
                while events := orders.events_after(conn, session.session_id, kept.curve.last_seq):
                    kept.curve.add(events)
                    if len(events) < orders.EVENTS_MAX:
                        break
                kept.read_at = now
            return kept.curve.snapshot(period, rule.price_rule)

    def has_news(self, session_id: int, period: int, seq: int, now: datetime) -> bool:
        """Whether a reader who has seen `seq` should look: there is more, or nobody has looked for a second."""
        kept = self._kept.get(session_id)
        if kept is None or kept.read_at is None:
            return False
        return now - kept.read_at >= BETWEEN or kept.curve.changed_at(period) != seq

    def _of(self, session_id: int) -> _Kept:
        with self._lock:
            kept = self._kept.pop(session_id, None) or _Kept(curve.Curve(), None, threading.Lock())
            self._kept[session_id] = kept
            while len(self._kept) > SESSIONS_MAX:
                self._kept.popitem(last=False)
            return kept


@router.get("/trading/sessions/{session_id}/curve", response_model=CurveView)
def session_curve(
    request: Request,
    session_id: int,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_TRADING)],
    period: Period = 1,
) -> Response:
    """The curves of one period, with the indicative price and the own declarations; as a page, it goes on by itself."""
    if "text/event-stream" in request.headers.get("accept", ""):
        return _streaming(request, session_id, period, visit)
    view = view_of(visit, request.app.state.curves, session_id, period)
    tag = _tag(view, visit)
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"ETag": tag})
    response = reply.answer(request, visit, "curve/curve.html", view, drawing=drawing_of(view))
    response.headers["ETag"] = tag
    return response


@router.get("/trading/sessions/{session_id}/curve.svg")
def drawn_curve(
    request: Request,
    session_id: int,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_TRADING)],
    period: Period = 1,
) -> Response:
    """The drawing alone: a fragment for a page of ours, a picture for anybody else."""
    view = view_of(visit, request.app.state.curves, session_id, period)
    template = "curve/_curve.html" if "hx-request" in request.headers else "curve/picture.svg"
    text = reply.fragment(visit.language, template, view=view, drawing=drawing_of(view))
    kind = "text/html" if template.endswith("html") else "image/svg+xml"
    return Response(text, media_type=kind, headers={"ETag": _tag(view, visit)})


@router.get(
    "/trading/sessions/{session_id}/curve/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "event `curve`: the drawing, whenever it changed",
        }
    },
)
def curve_events(
    request: Request,
    session_id: int,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_TRADING)],
    period: Period = 1,
) -> Response:
    """The drawing again whenever a declaration changed it, at most once a second."""
    return _streaming(request, session_id, period, visit)


def view_of(visit: who.Visit, curves: Curves, session_id: int, period: int) -> CurveView:
    """One period as this person may see it now. Raises NoCurve."""
    session = sessions.find(visit.conn, session_id)
    if session is None or period > len(session.periods):
        raise NoCurve("not_found", kind="session")
    subject = Subject("session", str(session_id), visit.actor.party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    is_shown = session.shows_curve or session.state in AFTER_PUBLICATION
    now_phase = phase(session.state, session.hours, visit.now)
    shot = curves.snapshot(visit.conn, session, period, visit.now) if is_shown else None
    own = _own(visit, session_id, period, shot)
    low, high = (shot.interval_ticks if shot else None) or (None, None)
    return CurveView(
        session_id=session_id,
        session_no=session.session_no,
        title=session.title,
        phase=now_phase,
        period=period,
        periods=[f"{each.month:%Y-%m} {clock_of(each.label)}" for each in session.periods],
        is_shown=is_shown,
        is_live=now_phase == "open",
        seq=shot.seq if shot else 0,
        demand=_steps(shot.demand if shot else ()),
        supply=_steps(shot.supply if shot else ()),
        volume_kwh=shot.volume_kwh if shot else 0,
        price_rule=rule_from(session.rule_id, session.rule_body).price_rule.value,
        price_ticks=shot.price_ticks if shot else None,
        low_ticks=low,
        high_ticks=high,
        own=own,
        doubts=_doubts(visit, session, period),
    )


def drawing_of(view: CurveView) -> curvechart.Drawing:
    """The same as a drawing."""
    interval = None
    if view.low_ticks is not None and view.high_ticks is not None:
        interval = view.low_ticks, view.high_ticks
    demand, supply = (
        tuple(Step(each.price_ticks, each.start_kwh, each.end_kwh) for each in side)
        for side in (view.demand, view.supply)
    )
    own: Mapping[Side, Mapping[int, int]] = {Side(each.side): dict(each.levels) for each in view.own}
    meeting = curvechart.Meeting(view.volume_kwh, view.price_ticks, interval)
    return curvechart.drawn(demand, supply, meeting, own if view.is_shown else {})


def _own(visit: who.Visit, session_id: int, period: int, shot: curve.Snapshot | None) -> list[OwnView]:
    if visit.actor.role is not Role.CUSTOMER or visit.actor.party_id is None:
        return []
    rows = orders.of_party(visit.conn, session_id, visit.actor.party_id)
    found = []
    for side in Side:
        levels = curve.own_levels(rows, side, period)
        if levels:
            certain, marginal = shot.inside_kwh(side, levels) if shot else (0, 0)
            found.append(
                OwnView(
                    side=side.value,
                    levels=sorted(levels.items(), reverse=side is Side.BUY),
                    certain_kwh=certain,
                    marginal_kwh=marginal,
                )
            )
    return found


def _doubts(visit: who.Visit, session: sessions.SessionRow, period: int) -> list[DoubtView]:
    """Doubts about the own declarations, of this period or the whole."""
    party_id = visit.actor.party_id
    found = () if party_id is None else doubt.own_doubts(visit.conn, session, party_id)
    return [
        DoubtView(
            kind=each.doubt.kind.value,
            side=each.side,
            unit_id=each.unit_id,
            period=each.doubt.period,
            declared_kwh=each.doubt.declared_kwh,
            usual_kwh=each.doubt.usual_kwh,
            factor=None if each.doubt.factor is None else str(each.doubt.factor),
        )
        for each in found
        if each.doubt.period in (None, period)
    ]


def _steps(steps: tuple[Step, ...]) -> list[StepView]:
    return [
        StepView(price_ticks=each.price_ticks, start_kwh=each.start_kwh, end_kwh=each.end_kwh)
        for each in thinned(steps)
    ]


def _tag(view: CurveView, visit: who.Visit) -> str:
    """What the answer depends on: the last change, the phase, who looks and in which language."""
    party = visit.actor.party_id or 0
    own = sum(kwh for each in view.own for _, kwh in each.levels)
    return f'W/"{view.session_id}-{view.period}-{view.seq}-{view.phase}-{party}-{own}-{len(view.doubts)}-{visit.language}"'


def _streaming(request: Request, session_id: int, period: int, visit: who.Visit) -> StreamingResponse:
    curves: Curves = request.app.state.curves
    view_of(visit, curves, session_id, period)
    if curves.streams >= STREAMS_MAX:
        raise Unavailable("too_many_streams")
    return StreamingResponse(
        _stream(request, session_id, period, visit.language),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _stream(request: Request, session_id: int, period: int, language: str) -> AsyncIterator[bytes]:
    curves: Curves = request.app.state.curves
    curves.streams += 1
    shown, seq, quiet, unlooked = "", 0, 0, LOOKS_APART_MAX
    try:
        while not request.app.state.hub.is_over:
            tag, text = shown, ""
            if unlooked >= LOOKS_APART_MAX or curves.has_news(session_id, period, seq, who.clock()):
                unlooked = 0
                try:
                    tag, seq, text = await run_in_threadpool(_drawn, request, session_id, period, language)
                except NotFound:
                    yield format_sse_event(event="over", data_str="-")
                    return
                except Unavailable:
                    tag = shown
            if tag != shown:
                shown, quiet = tag, 0
                yield format_sse_event(event="curve", data_str=text)
            elif quiet >= KEEP_ALIVE_S:
                quiet = 0
                yield KEEPALIVE_COMMENT
            await asyncio.sleep(BETWEEN.total_seconds())
            quiet, unlooked = quiet + 1, unlooked + 1
    finally:
        curves.streams -= 1


def _drawn(request: Request, session_id: int, period: int, language: str) -> tuple[str, int, str]:
    """The drawing as it is now, for the person's session as it is now. Raises NotFound when that is over."""
    now = who.clock()
    with db.transaction(request.app.state.pool, who.nobody()) as conn:
        session = who.session_in(conn, request, now, is_use=False)
        visit = who.Visit(conn, session, language, now, Deed.SEE_TRADING)
        view = view_of(visit, request.app.state.curves, session_id, period)
    text = reply.fragment(language, "curve/_curve.html", view=view, drawing=drawing_of(view))
    return _tag(view, visit), view.seq, text
