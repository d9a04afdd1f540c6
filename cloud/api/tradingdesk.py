"""Session operations for staff: calendar, drafts and announcements, gates, clearing, check, publication, disputes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Form, Path, Request, Response
from fastapi.responses import RedirectResponse

from cloud import markettime
from cloud.api import reply, who
from cloud.api import tradingviews as views
from cloud.errors import Invalid, NotFound
from cloud.lives import deeds
from cloud.market.auction import AtMargin, PriceRule
from cloud.market.run import certify, clear, convene, host, rectify, trade
from cloud.market.session import AFTER_PUBLICATION, SESSION, Hours
from cloud.market.sessionbook import Way
from cloud.market.sessionfile import Method
from cloud.market.store import changes, clearings, hosting, orders, sessions
from cloud.market.store.sessions import SessionRow
from cloud.security import run as security
from cloud.security.access import Deed, Subject

router = APIRouter(tags=["trading"])

SHELLS: Final = rectify.Shells(clear.clear, host.take_over, clear.republish)
RECENT: Final = timedelta(minutes=1)
_INT_MAX: Final = 2**31 - 1
_BIGINT_MAX: Final = 2**63 - 1

SessionId = Annotated[int, Path(ge=1, le=_INT_MAX)]
RunNo = Annotated[int, Path(ge=1, le=_INT_MAX)]
Text = Annotated[str, Form(max_length=4000)]
Short = Annotated[str, Form(max_length=200)]


class NoSession(NotFound):
    """There is no such session, run or deed."""


class BadPlan(Invalid):
    """A form of the desk says something that cannot be read."""


async def _sent_fields(request: Request) -> Mapping[str, str]:
    """The fields of the request's form: cuts are named by their pieces."""
    form = await request.form()
    return {name: str(value)[:1000] for name, value in form.items()}


@dataclass(frozen=True, slots=True)
class Asked:
    """A deed as it was asked for."""

    visit: who.Visit
    session_id: int
    reason: str
    fields: Mapping[str, str]


@router.get("/trading/desk", response_model=views.DeskView)
def desk(request: Request, visit: Annotated[who.Visit, who.visits(Deed.DIRECT_TRADING)]) -> Response:
    """The calendar of all sessions, the rules they may follow, open disputes."""
    security.allow(visit.conn, visit.actor, visit.deed, Subject("trading", "desk"), visit.now)
    view = views.DeskView(
        now=visit.now,
        sessions=tuple(views.head_view(row, visit.now) for row in sessions.listed(visit.conn)),
        rules=tuple(views.rule_view(rule) for rule in convene.rules().values()),
        disputes=tuple(
            views.dispute_view(each) for each in clearings.disputes(visit.conn, None) if each.verdict is None
        ),
    )
    return reply.answer(request, visit, "trading/desk.html", view)


@router.post("/trading/desk", response_class=RedirectResponse)
def draft(
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_TRADING)],
    session_no: Short = "",
    title: Short = "",
    rule: Short = "",
    day: Short = "",
    months: Short = "",
    announcement: Text = "",
    opens: Short = "",
    freezes: Short = "",
    publishes: Short = "",
) -> Response:
    """Draw a session up: number, title, rule, trading day, delivery months "2026-12 2027-01", hours if not the rule's."""
    try:
        on = date.fromisoformat(day.strip())
        named = tuple(markettime.month_from(each) for each in months.replace(",", " ").split())
        hours = _hours(on, opens, freezes, publishes) if opens.strip() else None
    except (ValueError, OverflowError) as problem:
        raise BadPlan("session_plan") from problem
    if len(title.strip()) < 2 or not _is_number(session_no.strip()):
        raise BadPlan("session_plan")
    plan = convene.Plan(session_no, title, announcement, rule, named, on, hours)
    session_id = convene.draft(visit.conn, visit.actor, plan, visit.now)
    return _back(session_id)


@router.get("/trading/desk/{session_id}", response_model=views.OperationsView)
def operations(
    request: Request,
    session_id: SessionId,
    visit: Annotated[who.Visit, who.visits(Deed.DIRECT_TRADING)],
) -> Response:
    """A session's desk: what can be done now, how many came, runs, log, disputes."""
    return reply.answer(request, visit, "trading/operations.html", _operations(visit, session_id))


@router.get("/trading/desk/{session_id}/counts", response_model=views.OperationsView)
def live_counts(
    request: Request,
    session_id: SessionId,
    visit: Annotated[who.Visit, who.visits(Deed.DIRECT_TRADING)],
) -> Response:
    """How many declarations came and how fast, for the desk's own refresh."""
    return reply.answer(request, visit, "trading/_counts.html", _operations(visit, session_id))


@router.post("/trading/desk/{session_id}/{deed}", response_class=RedirectResponse)
def direct(
    session_id: SessionId,
    deed: str,
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_TRADING)],
    fields: Annotated[Mapping[str, str], Depends(_sent_fields)],
    reason: Text = "",
) -> Response:
    """Announce, drop, open, freeze, suspend, resume, cancel, note, clear, sandbox, check, publish or close.

    After the gate also: ask to strike out a declaration (`seq`) or to take over a platform's version (`offer`), and as
    another person approve or refuse such a change (`change`).
    """
    done = _DEEDS.get(deed)
    if done is None or sessions.find(visit.conn, session_id) is None:
        raise NoSession("not_found", kind="trading_session")
    done(Asked(visit, session_id, reason, fields))
    return _back(session_id)


@router.get("/trading/desk/{session_id}/runs/{run_no}", response_model=views.RunPageView)
def run(
    request: Request,
    session_id: SessionId,
    run_no: RunNo,
    visit: Annotated[who.Visit, who.visits(Deed.DIRECT_TRADING)],
) -> Response:
    """A run whole, computed once more from the closed book: the same hash, or somebody changed something."""
    row = _row(visit, session_id)
    kept, again = clear.repeated(visit.conn, session_id, run_no)
    base = kept.based_on or run_no
    view = views.RunPageView(
        head=views.head_view(row, visit.now),
        run=views.run_view(kept),
        prices=tuple(
            views.price_view(each, row) for each in clearings.prices_of(visit.conn, session_id, run_no)
        ),
        pieces=tuple(
            views.piece_view(each, row) for each in clearings.pieces_of(visit.conn, session_id, run_no)
        ),
        cuts=tuple(map(views.cut_view, clearings.cuts_of(visit.conn, session_id, base))),
        repeated_sha256=again,
        is_same=again == kept.result_sha256,
        may_check=row.state == "cleared" and kept.kind == "pre" and run_no == _last_pre(visit, session_id),
    )
    return reply.answer(request, visit, "trading/run.html", view)


@router.post("/trading/disputes/{dispute_id}/answer", response_class=RedirectResponse)
def answer_dispute(
    dispute_id: Annotated[int, Path(ge=1, le=_BIGINT_MAX)],
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_TRADING)],
    verdict: Annotated[Literal["upheld", "rejected"], Form()] = "rejected",
    body: Text = "",
) -> Response:
    """Answer a dispute."""
    session_id = convene.answer_dispute(visit.conn, visit.actor, dispute_id, (verdict, body), visit.now)
    return _back(session_id)


# ---- deeds ---------------------------------------------------------------------------------------------------------


def _resume(asked: Asked) -> None:
    """At the hours given, on the day given; the same hours later if none are."""
    row = _row(asked.visit, asked.session_id)
    fields = asked.fields
    try:
        day = date.fromisoformat(
            fields.get("day", "").strip() or markettime.day_of(asked.visit.now).isoformat()
        )
        hours = (
            _hours(day, fields.get("opens", ""), fields.get("freezes", ""), fields.get("publishes", ""))
            if fields.get("opens", "").strip()
            else row.hours
        )
    except (ValueError, OverflowError) as problem:
        raise BadPlan("session_plan") from problem
    visit = asked.visit
    convene.resume(visit.conn, visit.actor, asked.session_id, hours, asked.reason, visit.now)


def _sandbox(asked: Asked) -> None:
    fields, way = asked.fields, None
    if fields.get("method"):
        try:
            way = Way(
                Method(fields["method"]),
                PriceRule(fields.get("price_rule", "mid_last")),
                AtMargin(fields.get("at_margin", "time")),
            )
        except ValueError as problem:
            raise BadPlan("session_plan") from problem
    visit = asked.visit
    clear.sandbox(visit.conn, visit.actor, asked.session_id, way, asked.reason, visit.now)


def _check(asked: Asked) -> None:
    """Cuts are fields cut_{piece} = MWh left; empty ones cut nothing."""
    cuts: list[clear.Cut] = []
    for name, value in asked.fields.items():
        number = name.removeprefix("cut_")
        if name.startswith("cut_") and value.strip():
            try:
                cuts.append(clear.Cut(_piece_no(number), _kwh(value), asked.reason))
            except ValueError as problem:
                raise BadPlan("session_plan") from problem
    visit = asked.visit
    clear.check(visit.conn, visit.actor, asked.session_id, cuts, visit.now)


def _strike(asked: Asked) -> None:
    visit, seq = asked.visit, _number(asked.fields, "seq")
    rectify.ask_strike(visit.conn, visit.actor, asked.session_id, seq, asked.reason, visit.now)


def _takeover(asked: Asked) -> None:
    visit, offer = asked.visit, _number(asked.fields, "offer")
    rectify.ask_takeover(visit.conn, visit.actor, asked.session_id, offer, asked.reason, visit.now)


def _approve(asked: Asked) -> None:
    visit, change = asked.visit, (asked.session_id, _number(asked.fields, "change"))
    rectify.approve(visit.conn, visit.actor, change, asked.reason, SHELLS, visit.now)


def _refuse(asked: Asked) -> None:
    visit, change = asked.visit, _number(asked.fields, "change")
    rectify.refuse(visit.conn, visit.actor, asked.session_id, change, asked.reason, visit.now)


def _number(fields: Mapping[str, str], name: str) -> int:
    text = fields.get(name, "").strip().removeprefix("#")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise BadPlan("session_number")
    return int(text)


def _last_pre(visit: who.Visit, session_id: int) -> int:
    return max(run.run_no for run in clearings.runs_of(visit.conn, session_id) if run.kind == "pre")


def _piece_no(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise ValueError(text)
    return int(text)


def _kwh(text: str) -> int:
    """MWh as a person writes them, exactly in kWh. Raises ValueError."""
    whole, _, decimals = text.strip().partition(".")
    digits = whole + decimals
    if not whole or not (digits.isascii() and digits.isdecimal()) or len(whole) > 9 or len(decimals) > 3:
        raise ValueError(text)
    return int(whole) * 1000 + int((decimals or "0").ljust(3, "0"))


_DEEDS: Final[Mapping[str, Callable[[Asked], object]]] = {
    "announce": lambda a: convene.announce(a.visit.conn, a.visit.actor, a.session_id, a.visit.now),
    "drop": lambda a: convene.drop(a.visit.conn, a.visit.actor, a.session_id, a.visit.now),
    "open": lambda a: convene.open_now(a.visit.conn, a.visit.actor, a.session_id, a.reason, a.visit.now),
    "freeze": lambda a: convene.freeze(a.visit.conn, a.visit.actor, a.session_id, a.reason, a.visit.now),
    "suspend": lambda a: convene.suspend(a.visit.conn, a.visit.actor, a.session_id, a.reason, a.visit.now),
    "resume": _resume,
    "cancel": lambda a: convene.cancel(a.visit.conn, a.visit.actor, a.session_id, a.reason, a.visit.now),
    "exception": lambda a: convene.note_exception(
        a.visit.conn, a.visit.actor, a.session_id, a.reason, a.visit.now
    ),
    "clear": lambda a: clear.clear(a.visit.conn, a.visit.actor, a.session_id, a.reason, a.visit.now),
    "sandbox": _sandbox,
    "check": _check,
    "publish": lambda a: clear.publish(
        a.visit.conn, a.visit.actor, a.session_id, a.visit.now, certify.hand_over
    ),
    "strike": _strike,
    "takeover": _takeover,
    "approve": _approve,
    "refuse": _refuse,
    "close": lambda a: convene.close(a.visit.conn, a.visit.actor, a.session_id, a.visit.now),
}


# ---- views ---------------------------------------------------------------------------------------------------------


def _operations(visit: who.Visit, session_id: int) -> views.OperationsView:
    row, conn = _row(visit, session_id), visit.conn
    counts = orders.counts(conn, session_id, visit.now - RECENT)
    is_hosted = hosting.is_hosted(conn, session_id)
    possible = [
        each
        for each in deeds(SESSION, row.state)
        if each != "correct" and not (each == "clear" and is_hosted)
    ]
    named = tuple(dict.fromkeys("resume" if each.startswith("re") else each for each in possible))
    return views.OperationsView(
        now=visit.now,
        head=views.head_view(row, visit.now),
        announcement=row.announcement,
        rule=views.rule_view(trade.rule_of(row)),
        drafted_by=row.drafted_by,
        deeds=named,
        book_sha256=row.book_sha256,
        last_seq=row.last_seq,
        counts={
            "events": counts.events,
            "parties": counts.parties,
            "recent": counts.recent,
            "withdrawn": counts.withdrawn,
            "last_at": counts.last_at,
        },
        refusals=orders.refusals(conn, session_id),
        runs=tuple(map(views.run_view, clearings.runs_of(conn, session_id))),
        log=tuple(
            views.event_view(each, session_id) for each in reversed(sessions.events_of(conn, session_id))
        ),
        disputes=tuple(map(views.dispute_view, clearings.disputes(conn, session_id))),
        changes=tuple(map(views.change_view, changes.of_session(conn, session_id))),
        offers=tuple(map(views.offer_view, changes.offers_of(conn, session_id))),
        is_hosted=is_hosted,
        may_strike=row.gate_at is not None
        and not is_hosted
        and row.state in (*rectify.BEFORE_PUBLICATION, *AFTER_PUBLICATION),
        actor=security.actor_name(visit.actor),
    )


def _row(visit: who.Visit, session_id: int) -> SessionRow:
    row = sessions.find(visit.conn, session_id)
    if row is None:
        raise NoSession("not_found", kind="trading_session")
    subject = Subject("trading_session", str(session_id))
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    return row


def _hours(day: date, opens: str, freezes: str, publishes: str) -> Hours:
    return Hours(_at(day, opens), _at(day, freezes), _at(day, publishes), None)


def _at(day: date, clock: str) -> datetime:
    hour, _, minute = clock.strip().partition(":")
    if not (hour.isdecimal() and minute.isdecimal() and int(hour) < 24 and int(minute) < 60):
        raise ValueError(clock)
    return markettime.slot_start(day, 0) + timedelta(hours=int(hour), minutes=int(minute))


def _is_number(text: str) -> bool:
    return (
        4 <= len(text) <= 40 and text.isascii() and text.replace("-", "").isalnum() and text == text.upper()
    )


def _back(session_id: int) -> Response:
    return RedirectResponse(f"/trading/desk/{session_id}", 303)
