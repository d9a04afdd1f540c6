"""The line to an external trading platform, for the market's operators: health, backlog, messages, reconciliations."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import RedirectResponse

from cloud.api import reply, who
from cloud.errors import Conflict, NotFound
from cloud.market.store import exchange as store
from cloud.market.store import exchangeline, oversight
from cloud.security import run as security
from cloud.security.access import Deed, Subject

router = APIRouter(tags=["exchange"])

_INT_MAX: Final = 2**31 - 1
_BIGINT_MAX: Final = 2**63 - 1
SessionId = Annotated[int, Path(ge=1, le=_INT_MAX)]


class NoHosted(NotFound):
    """There is no such session, or no platform hosts it."""


class NoPlatform(Conflict):
    """No platform is configured, so none can host a session."""


class NotHostable(Conflict):
    """A session goes to a platform before its first declaration, or not at all."""


class LineView(reply.View):
    """How the platform has been lately."""

    failures: int
    quiet_until: datetime | None
    ok_at: datetime | None
    failed_at: datetime | None
    problem: str


class HostedView(reply.View):
    """A hosted session with its messages by state."""

    session_id: int
    session_no: str
    state: str
    new: int
    sent: int
    acked: int
    rejected: int
    reconciled: int
    result_version: int | None
    offered_version: int | None


class ReconciliationView(reply.View):
    """One comparison with the platform's file of a day."""

    reconciliation_id: int
    day: date
    declarations: int
    results: int
    differences: int
    at: datetime


class OfferedView(reply.View):
    """A session that could be handed over."""

    session_id: int
    session_no: str
    title: str


class ExchangeView(reply.View):
    """Everything about the line."""

    platform: str
    hosts_matching: bool
    is_quiet: bool
    waiting: int
    unqueued: int
    oldest: datetime | None
    attempts_most: int
    line: LineView | None
    hosted: tuple[HostedView, ...]
    offered: tuple[OfferedView, ...]
    reconciliations: tuple[ReconciliationView, ...]


class MessageView(reply.View):
    """A message as it stands; what a sealed declaration says is not shown."""

    message_id: int
    idem_key: str
    kind: str
    state: str
    attempts: int
    next_at: datetime
    queued_at: datetime
    answered_at: datetime | None
    answer_code: str
    receipt_no: str
    last_problem: str


class MessagesView(reply.View):
    """A hosted session's messages, the latest first."""

    session: HostedView
    messages: tuple[MessageView, ...]


class DifferenceView(reply.View):
    """One difference by its name."""

    gap: str
    session_no: str
    key: str
    period: int
    ours: str
    theirs: str


class DifferencesView(reply.View):
    """What a comparison found."""

    reconciliation: ReconciliationView
    differences: tuple[DifferenceView, ...]


@router.get("/exchange", response_model=ExchangeView)
def overview(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_EXCHANGE)]) -> Response:
    """The platform, its line, what waits for it, the sessions that it hosts, and the nightly comparisons."""
    settings = request.app.state.config.exchange
    platform = "" if settings is None else settings.platform
    line, backlog = exchangeline.line(visit.conn, platform), store.backlog(visit.conn, platform)
    hostable = set(store.hostable(visit.conn)) if platform else set()
    view = ExchangeView(
        platform=platform,
        hosts_matching=settings is not None and settings.hosts_matching,
        is_quiet=line is not None and line.quiet_until > visit.now,
        waiting=backlog.waiting,
        unqueued=backlog.unqueued,
        oldest=backlog.oldest,
        attempts_most=backlog.attempts_most,
        line=None if line is None else _line(line),
        hosted=tuple(_hosted(each) for each in store.hosted(visit.conn)),
        offered=tuple(
            OfferedView(session_id=each.session_id, session_no=each.session_no, title=each.title)
            for each in oversight.listed(visit.conn)
            if each.session_id in hostable
        ),
        reconciliations=tuple(_reconciliation(each) for each in store.reconciliations(visit.conn, platform)),
    )
    return reply.answer(request, visit, "exchange/overview.html", view)


@router.get("/exchange/sessions/{session_id}", response_model=MessagesView)
def messages(
    request: Request, session_id: SessionId, visit: Annotated[who.Visit, who.visits(Deed.SEE_EXCHANGE)]
) -> Response:
    """A hosted session's messages with their states."""
    hosted = _find(visit, session_id)
    rows = store.messages(visit.conn, session_id)
    view = MessagesView(session=_hosted(hosted), messages=tuple(_message(each) for each in rows))
    return reply.answer(request, visit, "exchange/messages.html", view)


@router.post("/exchange/sessions/{session_id}/host", response_class=RedirectResponse)
def host(
    request: Request, session_id: SessionId, visit: Annotated[who.Visit, who.changes(Deed.DIRECT_EXCHANGE)]
) -> Response:
    """Hand a session's matching to the platform, before anybody has declared anything."""
    _allow(visit, session_id)
    settings = request.app.state.config.exchange
    if oversight.find(visit.conn, session_id) is None:
        raise NoHosted("not_found", kind="session")
    if settings is None:
        raise NoPlatform("no_platform")
    if session_id not in store.hostable(visit.conn):
        raise NotHostable("not_hostable")
    store.host(visit.conn, session_id, settings.platform, visit.now, security.actor_name(visit.actor))
    return RedirectResponse(f"/exchange/sessions/{session_id}", 303)


@router.post("/exchange/sessions/{session_id}/again", response_class=RedirectResponse)
def again(session_id: SessionId, visit: Annotated[who.Visit, who.changes(Deed.DIRECT_EXCHANGE)]) -> Response:
    """Let unanswered messages go at once instead of waiting for their turn."""
    _allow(visit, session_id)
    _find(visit, session_id)
    store.send_again(visit.conn, session_id, visit.now)
    return RedirectResponse(f"/exchange/sessions/{session_id}", 303)


@router.get("/exchange/reconciliations/{reconciliation_id}", response_model=DifferencesView)
def differences(
    request: Request,
    reconciliation_id: Annotated[int, Path(ge=1, le=_BIGINT_MAX)],
    visit: Annotated[who.Visit, who.visits(Deed.SEE_EXCHANGE)],
) -> Response:
    """What a comparison with the platform's file found, each difference by its name."""
    row = store.find_reconciliation(visit.conn, reconciliation_id)
    if row is None:
        raise NoHosted("not_found", kind="reconciliation")
    found = store.differences_of(visit.conn, reconciliation_id)
    view = DifferencesView(
        reconciliation=_reconciliation(row),
        differences=tuple(
            DifferenceView(
                gap=each.gap.value,
                session_no=each.session_no,
                key=each.key,
                period=each.period,
                ours=each.ours,
                theirs=each.theirs,
            )
            for each in found
        ),
    )
    return reply.answer(request, visit, "exchange/differences.html", view)


def _allow(visit: who.Visit, session_id: int) -> None:
    security.allow(
        visit.conn, visit.actor, visit.deed, Subject("exchange_session", str(session_id)), visit.now
    )


def _find(visit: who.Visit, session_id: int) -> store.HostedRow:
    found = next((each for each in store.hosted(visit.conn) if each.session_id == session_id), None)
    if found is None:
        raise NoHosted("not_found", kind="session")
    return found


def _line(row: exchangeline.LineRow) -> LineView:
    return LineView(
        failures=row.failures,
        quiet_until=row.quiet_until if row.failures else None,
        ok_at=row.ok_at,
        failed_at=row.failed_at,
        problem=row.problem if row.failures else "",
    )


def _hosted(row: store.HostedRow) -> HostedView:
    return HostedView(
        session_id=row.session_id,
        session_no=row.session_no,
        state=row.state,
        new=row.new,
        sent=row.sent,
        acked=row.acked,
        rejected=row.rejected,
        reconciled=row.reconciled,
        result_version=row.result_version,
        offered_version=row.offered_version,
    )


def _reconciliation(row: store.ReconciliationRow) -> ReconciliationView:
    return ReconciliationView(
        reconciliation_id=row.reconciliation_id,
        day=row.day,
        declarations=row.declarations,
        results=row.results,
        differences=row.differences,
        at=row.at,
    )


def _message(row: store.MessageRow) -> MessageView:
    return MessageView(
        message_id=row.message_id,
        idem_key=row.idem_key,
        kind=row.kind,
        state=row.state,
        attempts=row.attempts,
        next_at=row.next_at,
        queued_at=row.queued_at,
        answered_at=row.answered_at,
        answer_code=row.answer_code,
        receipt_no=row.receipt_no,
        last_problem=row.last_problem,
    )
