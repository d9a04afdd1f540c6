"""Reports to the regulator, for staff: the calendar, building, checks, handing in, corrections, exports."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import RedirectResponse

from cloud import daytypes, words
from cloud.api import reply, who
from cloud.market import report, reportrule, sheet
from cloud.market.reportrule import Due
from cloud.market.run import report as run
from cloud.market.run.report import Wanted
from cloud.market.store import reports as store
from cloud.market.store.reports import ReportRow
from cloud.markettime import day_of
from cloud.security import run as security
from cloud.security.access import Deed, Subject

router = APIRouter(tags=["reports"])

_BIGINT_MAX: Final = 2**63 - 1
_BACK, _AHEAD = timedelta(days=100), timedelta(days=60)
_ROWS_SHOWN: Final = 200
VersionId = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]


class FindingView(reply.View):
    """A check with its outcome."""

    check: str
    is_passed: bool
    detail: str


class VersionView(reply.View):
    """A revision of a report as it stands."""

    version_id: int
    report_id: str
    title: str
    definition: int
    period: str
    due: date
    revision: int
    reason: str
    state: str
    is_sound: bool
    row_count: int
    sha256: str
    built_at: datetime
    built_by: str
    submitted_at: datetime | None
    receipt_no: str
    answered_at: datetime | None
    answer: str
    last_problem: str
    findings: tuple[FindingView, ...]


class EntryView(reply.View):
    """One entry of the calendar, with the latest revision if there is one."""

    report_id: str
    title: str
    first: date
    period: str
    due: date
    is_late: bool
    can_build: bool
    latest: VersionView | None


class CalendarView(reply.View):
    """What was and will be due."""

    today: date
    has_regulator: bool
    problem: str
    entries: tuple[EntryView, ...]


class EventView(reply.View):
    """One move of a revision."""

    deed: str
    state: str
    at: datetime
    actor: str
    detail: str


class ReportView(reply.View):
    """A revision with its beginning, its checks, what happened, and the other revisions of its period."""

    version: VersionView
    basis: str
    has_regulator: bool
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    events: tuple[EventView, ...]
    others: tuple[VersionView, ...]


@router.get("/reports", response_model=CalendarView)
def calendar(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_REPORTS)]) -> Response:
    """The calendar of a hundred days back and sixty ahead."""
    today, problem = day_of(visit.now), ""
    definitions = run.definitions()
    latest = {(row.report_id, row.first_day): row for row in store.latest(visit.conn, today - 4 * _BACK)}
    dues: tuple[Due, ...] = ()
    try:
        dues = reportrule.calendar(definitions, today - _BACK, today + _AHEAD)
    except daytypes.NoCalendar as missing:
        year_end = date(today.year, 12, 31)
        problem = words.say(visit.language, "problem.no_calendar", **missing.facts)
        dues = reportrule.calendar(definitions, max(today - _BACK, date(today.year, 1, 1)), year_end)
    entries = tuple(
        _entry(visit.language, due, latest.get((due.report_id, due.first)), today) for due in dues
    )
    has_regulator = request.app.state.config.regulator is not None
    view = CalendarView(today=today, has_regulator=has_regulator, problem=problem, entries=entries)
    return reply.answer(request, visit, "reports/calendar.html", view)


@router.post("/reports/build", response_class=RedirectResponse)
def build(
    request: Request,
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_REPORTS)],
    report_id: Annotated[str, Form(pattern="^[a-z][a-z0-9-]{2,59}$")],
    first: Annotated[date, Form()],
    reason: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Build the next revision for a period from the tables, and run its checks."""
    _allow(visit, f"{report_id}/{first}")
    wanted = Wanted(report_id, first, reason)
    by = security.actor_name(visit.actor)
    row = run.build(visit.conn, request.app.state.vault, wanted, by, visit.now)
    return RedirectResponse(f"/reports/{row.version_id}", 303)


@router.get("/reports/{version_id}", response_model=ReportView)
def one(
    request: Request, version_id: VersionId, visit: Annotated[who.Visit, who.visits(Deed.SEE_REPORTS)]
) -> Response:
    """A revision: its checks, its first rows, what happened to it."""
    row = _find(visit, version_id)
    columns, rows = report.table_of(request.app.state.vault.get(row.sha256))
    definition = reportrule.find(run.definitions(), row.report_id)
    basis = next((each.basis for each in definition.versions if each.version == row.definition), "")
    view = ReportView(
        version=_version(visit.language, row),
        basis=basis,
        has_regulator=request.app.state.config.regulator is not None,
        columns=columns,
        rows=rows[:_ROWS_SHOWN],
        events=tuple(
            EventView(deed=e.deed, state=e.state, at=e.at, actor=e.actor, detail=e.detail)
            for e in store.events_of(visit.conn, version_id)
        ),
        others=tuple(
            _version(visit.language, each)
            for each in store.revisions(visit.conn, row.report_id, row.first_day)
            if each.version_id != version_id
        ),
    )
    return reply.answer(request, visit, "reports/one.html", view)


@router.post("/reports/{version_id}/submit", response_class=RedirectResponse)
def submit(version_id: VersionId, visit: Annotated[who.Visit, who.changes(Deed.DIRECT_REPORTS)]) -> Response:
    """Hand a sound report in: the worker sends it and brings the receipt."""
    _allow(visit, str(version_id))
    run.sending(visit.conn, version_id, security.actor_name(visit.actor), visit.now)
    return RedirectResponse(f"/reports/{version_id}", 303)


@router.get("/reports/{version_id}/{form}", response_class=Response)
def export(
    request: Request,
    version_id: VersionId,
    form: Literal["xlsx", "csv", "json"],
    visit: Annotated[who.Visit, who.visits(Deed.SEE_REPORTS)],
) -> Response:
    """The revision as a workbook, a table of text, or the document that is handed in."""
    row = _find(visit, version_id)
    body = request.app.state.vault.get(row.sha256)
    titles = {
        column: words.say(visit.language, f"report_column.{column}") for column in report.COLUMNS[row.kind]
    }
    name = f"{row.report_id}-{reportrule.period_name(row.first_day, row.end_day)}-v{row.revision}.{form}"
    if form == "json":
        content, media_type = body, "application/json"
    elif form == "csv":
        content, media_type = (
            b"\xef\xbb\xbf" + report.csv_text(body, titles).encode(),
            "text/csv; charset=utf-8",
        )
    else:
        columns, rows = report.table_of(body)
        title = _title(visit.language, row.report_id)
        content, media_type = (
            sheet.workbook(title, [titles[each] for each in columns], rows),
            sheet.MEDIA_TYPE,
        )
    return Response(
        content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


def _allow(visit: who.Visit, key: str) -> None:
    security.allow(visit.conn, visit.actor, visit.deed, Subject("report", key), visit.now)


def _find(visit: who.Visit, version_id: int) -> ReportRow:
    row = store.find(visit.conn, version_id)
    if row is None:
        raise reportrule.NoReport("not_found", kind="report")
    _allow(visit, str(version_id))
    return row


def _title(language: str, report_id: str) -> str:
    definition = reportrule.find(run.definitions(), report_id)
    return definition.title_zh if language == "zh" else definition.title_en


def _entry(language: str, due: Due, row: ReportRow | None, today: date) -> EntryView:
    is_in = row is not None and row.state in ("submitted", "accepted")
    return EntryView(
        report_id=due.report_id,
        title=_title(language, due.report_id),
        first=due.first,
        period=due.name,
        due=due.due,
        is_late=due.due < today and not is_in,
        can_build=due.end <= today and row is None,
        latest=None if row is None else _version(language, row),
    )


def _version(language: str, row: ReportRow) -> VersionView:
    return VersionView(
        version_id=row.version_id,
        report_id=row.report_id,
        title=_title(language, row.report_id),
        definition=row.definition,
        period=reportrule.period_name(row.first_day, row.end_day),
        due=row.due,
        revision=row.revision,
        reason=row.reason,
        state=row.state,
        is_sound=row.is_sound,
        row_count=row.row_count,
        sha256=row.sha256,
        built_at=row.built_at,
        built_by=row.built_by,
        submitted_at=row.submitted_at,
        receipt_no=row.receipt_no,
        answered_at=row.answered_at,
        answer=row.answer,
        last_problem=row.last_problem,
        findings=tuple(FindingView(**each) for each in row.findings),
    )
