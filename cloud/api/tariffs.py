"""Tariff designer for staff: published files, drafts with what is wrong at which line, bench runs, publishing by a second person."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Final

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import RedirectResponse

from cloud.api import reply, tariffviews, who
from cloud.billing import draft as drafting
from cloud.billing.bench import outcome
from cloud.billing.filetable import CATEGORIES
from cloud.billing.line import PERIODS
from cloud.billing.run import bench as benching
from cloud.billing.run import publish as publishing
from cloud.billing.store import drafts, published
from cloud.billing.tablerows import rows_of
from cloud.errors import Invalid, NotFound
from cloud.markettime import day_of, month_after, month_from
from cloud.security import run as security
from cloud.security.access import Deed, Subject

router = APIRouter(tags=["tariffs"])

_BIGINT_MAX: Final = 2**63 - 1
_SEE_OTHER: Final = 303
MONTHS_MAX: Final = 24
_VERSION: Final = re.compile(r"^version\s*=\s*\d+", re.MULTILINE)

Number = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
SheetId = Annotated[str, Path(pattern="^[A-Za-z0-9._-]{1,100}$")]


class NoTariff(NotFound):
    """There is no such price file, draft or bench run."""


class BadMonths(Invalid):
    """The months of a bench run are no months, or none, or too many."""


@router.get("/tariffs", response_model=tariffviews.TariffsView)
def tariffs(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_TARIFFS)]) -> Response:
    """Every published price file and the drafts."""
    today = day_of(visit.now)
    files = sorted(
        published.catalogue(visit.conn).files,
        key=lambda each: (each.head.kind, each.head.id, -each.head.version),
    )
    view = tariffviews.TariffsView(
        files=tuple(tariffviews.file_view(each, today) for each in files),
        drafts=tuple(map(tariffviews.head_view, drafts.drafts(visit.conn))),
    )
    return reply.answer(request, visit, "tariffs/tariffs.html", view)


@router.get("/tariffs/files/{sheet_id}/{version}", response_model=tariffviews.FileTextView)
def tariff_file(
    request: Request,
    sheet_id: SheetId,
    version: Annotated[int, Path(ge=1, le=9999)],
    visit: Annotated[who.Visit, who.visits(Deed.SEE_TARIFFS)],
) -> Response:
    """A published price file as it was published."""
    body = published.text_of(visit.conn, sheet_id, version)
    if body is None:
        raise NoTariff("not_found", kind="price file")
    known = published.catalogue(visit.conn)
    (file,) = (each for each in known.files if (each.head.id, each.head.version) == (sheet_id, version))
    rows = rows_of(file, known)
    view = tariffviews.FileTextView(
        file=tariffviews.file_view(file, day_of(visit.now)),
        body=body,
        rows=tuple(map(tariffviews.row_view, rows)),
    )
    return reply.answer(request, visit, "tariffs/file.html", view)


@router.post("/tariffs/drafts", response_model=tariffviews.DraftView, status_code=_SEE_OTHER)
def new_draft(
    request: Request,
    visit: Annotated[who.Visit, who.changes(Deed.WRITE_TARIFF)],
    title: Annotated[str, Form(min_length=1, max_length=200)],
    origin: Annotated[str, Form(max_length=120)] = "",
    body: Annotated[str, Form(max_length=publishing.TEXT_MAX)] = "",
) -> Response:
    """Start a draft, from a text or as the next version of the published file `origin` ('id@version')."""
    text = _next_version(visit, origin) if origin else body
    draft_id = publishing.start(visit.conn, title, text, security.actor_name(visit.actor), visit.now)
    return _changed(request, visit, draft_id)


@router.get("/tariffs/drafts/{draft_id}", response_model=tariffviews.DraftView)
def draft(
    request: Request, draft_id: Number, visit: Annotated[who.Visit, who.visits(Deed.SEE_TARIFFS)]
) -> Response:
    """A draft: text with what is wrong at which line, difference to the file in force, bench runs."""
    found = _draft(visit, draft_id)
    view = _draft_view(visit, found)
    last = month_after(day_of(visit.now).replace(day=1), -1)
    drawing = tariffviews.DraftDrawing(
        seasons=drafting.seasons_of(found.body) if 'kind = "calendar"' in found.body else (),
        categories=CATEGORIES,
        first_month=month_after(last, -11).strftime("%Y-%m"),
        last_month=last.strftime("%Y-%m"),
    )
    return reply.answer(request, visit, "tariffs/draft.html", view, drawing=drawing)


@router.post("/tariffs/drafts/{draft_id}/text", response_model=tariffviews.DraftView, status_code=_SEE_OTHER)
def save_text(
    request: Request,
    draft_id: Number,
    visit: Annotated[who.Visit, who.changes(Deed.WRITE_TARIFF)],
    revision: Annotated[int, Form(ge=1)],
    body: Annotated[str, Form(min_length=1, max_length=publishing.TEXT_MAX)],
) -> Response:
    """Save a text as the draft's next revision; `revision` is the one it was written on."""
    by = (security.actor_name(visit.actor), visit.now)
    publishing.save(visit.conn, draft_id, body, revision, by)
    return _changed(request, visit, draft_id)


@router.post("/tariffs/drafts/{draft_id}/hours", response_model=tariffviews.DraftView, status_code=_SEE_OTHER)
def save_hours(
    request: Request,
    draft_id: Number,
    visit: Annotated[who.Visit, who.changes(Deed.WRITE_TARIFF)],
    revision: Annotated[int, Form(ge=1)],
    hours: Annotated[list[str], Form(max_length=500)],
) -> Response:
    """Write painted hours into a calendar's draft: five texts per season, '10:00-12:00, 16:00-18:00', by period."""
    found = _draft(visit, draft_id)
    size = len(PERIODS)
    seasons = [
        dict(zip(PERIODS, map(_ranges, hours[start : start + size]), strict=False))
        for start in range(0, len(hours), size)
    ]
    try:
        body = drafting.painted(found.body, seasons)
    except ValueError as problem:
        raise publishing.DraftChanged(
            "draft_changed", draft_id=draft_id, revision=found.head.revision
        ) from problem
    by = (security.actor_name(visit.actor), visit.now)
    publishing.save(visit.conn, draft_id, body, revision, by)
    return _changed(request, visit, draft_id)


@router.post("/tariffs/drafts/{draft_id}/bench", response_model=tariffviews.BenchView, status_code=_SEE_OTHER)
def ask_bench(
    request: Request,
    draft_id: Number,
    visit: Annotated[who.Visit, who.changes(Deed.BENCH_TARIFF)],
    first: Annotated[str, Form(max_length=10)],
    last: Annotated[str, Form(max_length=10)],
    category: Annotated[str, Form(max_length=20)] = "",
    accounts: Annotated[str, Form(max_length=100_000)] = "",
) -> Response:
    """Run the draft over months `first` to `last` of all accounts, those of a category, or those named."""
    months = _months(first, last)
    picked = tuple(dict.fromkeys(re.findall(r"\b[0-9]{10,13}\b", accounts)))
    known = drafts.accounts_of(visit.conn, category or None, visit.now)
    if unknown := sorted(set(picked) - set(known)):
        raise publishing.NothingToBench("bench_accounts_unknown", accounts=", ".join(unknown))
    asked = publishing.Asked(*months, picked or known)
    by = (security.actor_name(visit.actor), visit.now)
    bench_id = publishing.ask(visit.conn, draft_id, asked, by)
    _note(visit, draft_id)
    if reply.wants_json(request):
        return reply.as_json(tariffviews.bench_view(_bench(visit, bench_id)))
    return RedirectResponse(f"/tariffs/benches/{bench_id}", _SEE_OTHER)


@router.post(
    "/tariffs/drafts/{draft_id}/publish", response_model=tariffviews.DraftView, status_code=_SEE_OTHER
)
def publish(
    request: Request,
    draft_id: Number,
    visit: Annotated[who.Visit, who.changes(Deed.PUBLISH_TARIFF)],
    revision: Annotated[int, Form(ge=1)],
) -> Response:
    """Publish the draft's last text; only somebody who wrote none of it can."""
    publishing.publish(visit.conn, draft_id, revision, visit.now)
    return _changed(request, visit, draft_id)


@router.get("/tariffs/benches/{bench_id}", response_model=tariffviews.BenchResultView)
def bench_run(
    request: Request, bench_id: Number, visit: Annotated[who.Visit, who.visits(Deed.SEE_TARIFFS)]
) -> Response:
    """A bench run: progress, winners and losers, distribution, totals by category, the worst ten."""
    found = _bench(visit, bench_id)
    results = drafts.results(visit.conn, bench_id)
    result = outcome(benching.balances(results))
    view = tariffviews.result_view(found, result, results)
    return reply.answer(request, visit, "tariffs/bench.html", view, drawing=tariffviews.columns(result))


@router.get("/tariffs/benches/{bench_id}/accounts/{account_id}", response_model=tariffviews.AccountResultView)
def bench_account(
    request: Request,
    bench_id: Number,
    account_id: who.AccountId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_TARIFFS)],
) -> Response:
    """One account of a bench run, month by month, with every charge that differs."""
    who.account_for(visit, account_id)
    results = drafts.results(visit.conn, bench_id, account_id)
    found = _bench(visit, bench_id)
    if not results:
        raise NoTariff("not_found", kind="bench result")
    months = tuple(
        tariffviews.MonthChangeView(
            month=each.month,
            before_fen=each.before_fen,
            after_fen=each.after_fen,
            problem=tariffviews.told(each.problem) if each.problem else "",
            changes=each.changes,
        )
        for each in results
    )
    view = tariffviews.AccountResultView(
        bench=tariffviews.bench_view(found), account_id=account_id, months=months
    )
    return reply.answer(request, visit, "tariffs/bench_account.html", view)


def _draft_view(visit: who.Visit, found: drafts.Draft) -> tariffviews.DraftView:
    known = published.catalogue(visit.conn)
    file = drafting.checked(found.body).file
    before = None if file is None else benching.replaced(visit.conn, file, day_of(visit.now))
    against = tariffviews.Against(
        origin="" if before is None else before[0].head.origin,
        difference=() if before is None else drafting.differences(before[1], found.body),
        rows=() if file is None else rows_of(file, known),
    )
    benches = drafts.benches(visit.conn, found.head.draft_id)
    return tariffviews.draft_view(found, file, against, benches, security.actor_name(visit.actor))


def _draft(visit: who.Visit, draft_id: int) -> drafts.Draft:
    found = drafts.find(visit.conn, draft_id)
    if found is None:
        raise NoTariff("not_found", kind="draft")
    return found


def _bench(visit: who.Visit, bench_id: int) -> drafts.Bench:
    found = drafts.find_bench(visit.conn, bench_id)
    if found is None:
        raise NoTariff("not_found", kind="bench run")
    return found


def _changed(request: Request, visit: who.Visit, draft_id: int) -> Response:
    """Note the deed and show the draft as it is now."""
    _note(visit, draft_id)
    if reply.wants_json(request):
        return reply.as_json(_draft_view(visit, _draft(visit, draft_id)))
    return RedirectResponse(f"/tariffs/drafts/{draft_id}", _SEE_OTHER)


def _note(visit: who.Visit, draft_id: int) -> None:
    subject = Subject("tariff_draft", str(draft_id))
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)


def _next_version(visit: who.Visit, origin: str) -> str:
    """The text of the newest version of a published file, numbered as the next."""
    name = origin.partition("@")[0]
    versions = [each.head.version for each in published.catalogue(visit.conn).files if each.head.id == name]
    body = published.text_of(visit.conn, name, max(versions)) if versions else None
    if body is None:
        raise NoTariff("not_found", kind="price file")
    return _VERSION.sub(f"version = {max(versions) + 1}", body, count=1)


def _months(first: str, last: str) -> tuple[date, date]:
    try:
        start, end = month_from(first), month_after(month_from(last))
    except ValueError as problem:
        raise BadMonths("bad_months", first=first, last=last, most=MONTHS_MAX) from problem
    if not start < end <= month_after(start, MONTHS_MAX):
        raise BadMonths("bad_months", first=first, last=last, most=MONTHS_MAX)
    return start, end


def _ranges(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in re.split(r"[,，;；]", text) if each.strip())
