"""Settlement: the console of a month for staff, statements for staff and for whom they are for.

A customer sees published statements of the own party only, confirms, objects and asks; staff direct the run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from cloud import markettime
from cloud.api import reply, who
from cloud.api import settlementviews as views
from cloud.billing.store import marketside
from cloud.daytypes import NoCalendar
from cloud.errors import NotFound
from cloud.market.deadlines import Deadlines, deadlines, objection_until
from cloud.market.line import SettlementLine, Side
from cloud.market.progress import Event, Outcome, Progress, Stage, progress_of
from cloud.market.run import deeds
from cloud.market.run.settle.stages import ACCEPTABLE
from cloud.market.settlement import RetailerResult
from cloud.market.statement import Heading, statement_json, statements_csv
from cloud.market.store import entered, members, runs, settlements
from cloud.market.store.runs import RunRow, UnitRow
from cloud.market.store.settlements import StatementRow
from cloud.security import run as security
from cloud.security.access import Deed, Role, Subject

router = APIRouter(tags=["settlement"])

_BIGINT_MAX: Final = 2**63 - 1
_DUE: Final = {Stage.COLLECT: "readings", Stage.PUBLISH: "draft", Stage.FINAL: "final", Stage.BILLS: "bills"}
_OUTCOMES: Final = {
    each.value: each for each in (Outcome.RESTART, Outcome.DEFER, Outcome.ACCEPT, Outcome.REVIEW)
}

RunId = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
StatementId = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Text = Annotated[str, Form(max_length=1000)]


class NoRun(NotFound):
    """There is no such run."""


class NoStatement(NotFound):
    """There is no such statement, or this person does not see it."""


@dataclass(frozen=True, slots=True)
class ConsoleDrawing:
    """What the console's page draws."""

    flows: tuple[views.FlowBar, ...]
    names: dict[str, str]
    sections: dict[str, str]


@dataclass(frozen=True, slots=True)
class StatementDrawing:
    """What a statement's page draws: the days, and the lines by item with their subtotal."""

    days: tuple[views.DayBar, ...]
    groups: tuple[tuple[str, int, tuple[dict[str, Any], ...]], ...]
    named_inputs: tuple[str, ...] = views.NAMED_INPUTS


@router.get("/settlement", response_model=views.ConsoleView)
def console(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_SETTLEMENT)],
    month: Annotated[str, Query(pattern="^([0-9]{4}-(0[1-9]|1[0-2]))?$")] = "",
    run: Annotated[int, Query(ge=0, le=_BIGINT_MAX)] = 0,
) -> Response:
    """A month's settlement: stages, blockers, who pays whom, statements, log. Default: last month."""
    first = markettime.month_from(month) if month else _last_month(visit)
    found = runs.runs_of(visit.conn, first)
    chosen = next((each for each in found if each.run_id == run), found[-1] if found else None)
    view, drawing = _console(visit, first, found, chosen)
    return reply.answer(request, visit, "settlement/console.html", view, drawing=drawing)


@router.post("/settlement/months/{month}/runs", response_class=RedirectResponse)
def open_run(
    month: Annotated[str, Path(pattern="^[0-9]{4}-(0[1-9]|1[0-2])$")],
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_SETTLEMENT)],
    reason: Text = "",
) -> Response:
    """Open the month's next run, for late data."""
    opened = deeds.open_later_run(visit.conn, visit.actor, markettime.month_from(month), reason, visit.now)
    return _back(f"/settlement?month={opened.month:%Y-%m}&run={opened.run_id}")


@router.post("/settlement/runs/{run_id}/{deed}", response_class=RedirectResponse)
def direct(
    run_id: RunId,
    deed: str,
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_SETTLEMENT)],
    stage: Annotated[Stage, Form()] = Stage.CHECK,
    unit: Text = "",
    kind: Text = "",
    reason: Text = "",
) -> Response:
    """Restart a stage, defer a unit to the next run, accept a doubt, or release the drafts; the worker goes on."""
    run = _run_for(visit, run_id)
    if deed not in _OUTCOMES:
        raise NoRun("not_found", kind="deed")
    facts = {"reason": reason.strip(), **({"kind": kind} if kind else {})}
    event = Event(0, stage, unit or None, _OUTCOMES[deed], visit.now, "", facts)
    deeds.note_on_run(visit.conn, visit.actor, run, event)
    return _back(f"/settlement?month={run.month:%Y-%m}&run={run_id}")


@router.get("/settlement/runs/{run_id}/csv", response_class=Response)
def run_csv(run_id: RunId, visit: Annotated[who.Visit, who.visits(Deed.SEE_SETTLEMENT)]) -> Response:
    """All lines of a run's statements as one table, for accounting and for the grid company."""
    run = _run_for(visit, run_id)
    found = settlements.of_run(visit.conn, run_id)
    text = statements_csv([(_heading(row), _lines(visit, row)) for row in found])
    return _download(text, "text/csv; charset=utf-8", f"settlement-{run.month:%Y-%m}-{run.kind}.csv")


@router.post("/settlement/queries/{query_id}/answer", response_class=RedirectResponse)
def answer(
    query_id: Annotated[int, Path(ge=1, le=_BIGINT_MAX)],
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_SETTLEMENT)],
    text: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Answer a query about a statement."""
    deeds.answer(visit.conn, visit.actor, query_id, text, visit.now)
    return _back("/settlement")


@router.post("/settlement/statements/{statement_id}/check", response_class=RedirectResponse)
def check(
    statement_id: StatementId,
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_SETTLEMENT)],
    verdict: Annotated[Literal["uphold", "reject"], Form()] = "reject",
    reason: Text = "",
) -> Response:
    """Decide about an objection."""
    row = _statement_for(visit, statement_id)
    deeds.check_objection(visit.conn, visit.actor, row, (verdict == "uphold", reason), visit.now)
    return _back(f"/statements/{statement_id}")


@router.get("/statements", response_model=views.StatementsView)
def statements(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_STATEMENTS)]) -> Response:
    """The published statements: a customer's own, staff's all."""
    party_id = visit.actor.party_id
    security.allow(
        visit.conn,
        visit.actor,
        visit.deed,
        Subject("statements", str(party_id or "all"), party_id),
        visit.now,
    )
    rows = settlements.of_parties(visit.conn, party_id)
    view = views.StatementsView(statements=tuple(map(views.head_view, rows)))
    return reply.answer(request, visit, "settlement/statements.html", view)


@router.get("/statements/{statement_id}", response_model=views.StatementView)
def statement(
    request: Request, statement_id: StatementId, visit: Annotated[who.Visit, who.visits(Deed.SEE_STATEMENTS)]
) -> Response:
    """One statement: every line with how it was computed, contract beside metered day by day."""
    row = _statement_for(visit, statement_id)
    view = _statement(visit, row)
    items: dict[str, list[dict[str, Any]]] = {}
    for line in view.lines:
        items.setdefault(line["item"], []).append(line)
    groups = tuple(
        (item, sum(line["amount_fen"] for line in lines), tuple(lines)) for item, lines in items.items()
    )
    drawing = StatementDrawing(views.day_bars(view.actual_day_kwh, view.contract_day_kwh), groups)
    return reply.answer(
        request, visit, "settlement/statement.html", view, account_id=row.account_id, drawing=drawing
    )


@router.get("/statements/{statement_id}/csv", response_class=Response)
def statement_csv(
    statement_id: StatementId, visit: Annotated[who.Visit, who.visits(Deed.SEE_STATEMENTS)]
) -> Response:
    """The statement's lines as a table."""
    row = _statement_for(visit, statement_id)
    return _download(
        statements_csv([(_heading(row), _lines(visit, row))]), "text/csv; charset=utf-8", f"{_name(row)}.csv"
    )


@router.get("/statements/{statement_id}/json", response_class=Response)
def statement_text(
    statement_id: StatementId, visit: Annotated[who.Visit, who.visits(Deed.SEE_STATEMENTS)]
) -> Response:
    """The statement for programs, with every derivation."""
    row = _statement_for(visit, statement_id)
    text = json.dumps(statement_json(_heading(row), _lines(visit, row)), ensure_ascii=False, indent=1)
    return _download(text, "application/json", f"{_name(row)}.json")


@router.post("/statements/{statement_id}/{deed}", response_class=RedirectResponse)
def answer_statement(
    statement_id: StatementId,
    deed: str,
    visit: Annotated[who.Visit, who.changes(Deed.ANSWER_STATEMENT)],
    reason: Text = "",
    line: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Confirm a draft, object to it or to some of its lines, or ask about it."""
    row = _statement_for(visit, statement_id)
    lines = [int(each) for each in line or [] if each.isascii() and each.isdecimal() and len(each) <= 6]
    if deed == "confirm":
        deeds.confirm(visit.conn, visit.actor, row, visit.now)
    elif deed == "object":
        deeds.object_to(visit.conn, visit.actor, row, (reason, lines), visit.now)
    elif deed == "ask":
        deeds.ask(visit.conn, visit.actor, row, (lines[0] if lines else None, reason), visit.now)
    else:
        raise NoStatement("not_found", kind="deed")
    return _back(f"/statements/{statement_id}")


# ---- views -----------------------------------------------------------------------------------------------


def _console(
    visit: who.Visit, month: date, found: Sequence[RunRow], chosen: RunRow | None
) -> tuple[views.ConsoleView, ConsoleDrawing]:
    conn = visit.conn
    market = entered.find_market(conn)
    rule = None if market is None else entered.rule_of(conn, market.market_id, month)
    events = () if chosen is None else runs.events_of(conn, chosen.run_id)
    progress = progress_of(events)
    units = () if chosen is None else runs.units_of(conn, chosen.run_id)
    names = {unit.unit_id: unit.name for unit in units}
    standing = tuple(map(views.head_view, settlements.standing(conn, month)))
    books = {} if chosen is None else runs.work_facts(conn, chosen.run_id, "")
    due, problem = _deadlines(visit, month)
    view = views.ConsoleView(
        month=month,
        month_before=markettime.month_after(month, -1),
        month_after=markettime.month_after(month),
        market=None if market is None else market.name,
        rule=None if rule is None else f"{rule.rule_id}@{rule.version} · {rule.document}",
        runs=tuple(map(views.run_view, found)),
        run=None if chosen is None else views.run_view(chosen),
        stages=views.stage_views(progress, units, due),
        blockers=tuple(
            views.blocker_view(visit.language, each, names, ACCEPTABLE) for each in progress.blockers
        ),
        deferred=tuple(sorted(progress.deferred)),
        is_reviewed=progress.is_reviewed,
        statements=standing,
        disputed=tuple(each for each in standing if each.state == "disputed"),
        queries=tuple(map(views.query_view, settlements.queries_of(conn, None))),
        log=tuple(views.event_view(visit.language, each) for each in reversed(events[-views.LOG_MAX :])),
        books=books if progress.is_done(Stage.BALANCE, None) else {},
        deadlines=due,
        late_units=_late_units(visit, chosen, units, progress),
        retail=_retail(visit, chosen, units),
        sections_fen=marketside.section_sums(conn, month),
        problem=problem,
    )
    by_side = view.books.get("by_side", {})
    flows = views.flow_bars(by_side, visit.language) if by_side else ()
    return view, ConsoleDrawing(flows, names, views.section_names(visit.language, view.sections_fen))


def _deadlines(visit: who.Visit, month: date) -> tuple[dict[str, date], str]:
    try:
        found: Deadlines = deadlines(month)
    except NoCalendar as missing:
        return {}, views.blocker_text(visit.language, missing.key, dict(missing.facts))
    return {stage.value: getattr(found, name) for stage, name in _DUE.items()}, ""


def _late_units(
    visit: who.Visit, run: RunRow | None, units: Sequence[UnitRow], progress: Progress
) -> tuple[str, ...]:
    """Units of a final run whose intervals have later revisions than those that were settled."""
    if run is None or not units or progress.open(Stage.FINAL, [unit.unit_id for unit in units]):
        return ()
    late = []
    for unit_id, energy in runs.energies_of(visit.conn, run.run_id).items():
        points = sorted(energy.evidence)
        seen = members.latest_revisions(visit.conn, points, run.month, markettime.month_after(run.month))
        settled = {
            (point, date.fromisoformat(day)): revision
            for point, days in energy.evidence.items()
            for day, revision in days.items()
        }
        if any(seen[key] > revision for key, revision in settled.items() if key in seen):
            late.append(unit_id)
    return tuple(late)


def _retail(visit: who.Visit, run: RunRow | None, units: Sequence[UnitRow]) -> tuple[dict[str, Any], ...]:
    if run is None:
        return ()
    found = []
    for unit in units:
        kept = settlements.retail_of(visit.conn, run.run_id, unit.unit_id)
        if unit.side is Side.RETAILER and kept is not None:
            found.append({"unit_id": unit.unit_id, "name": unit.name, **_retail_facts(kept)})
    return tuple(found)


def _retail_facts(kept: tuple[RetailerResult, int]) -> dict[str, int]:
    result, bills = kept
    return {
        "revenue_fen": result.revenue_fen,
        "cost_fen": result.cost_fen,
        "net_fen": result.net_fen,
        "bills": bills,
    }


def _statement(visit: who.Visit, row: StatementRow) -> views.StatementView:
    conn = visit.conn
    moves = settlements.moves_of(conn, row.statement_id)
    published = [move.at for move in moves if move.deed == "publish"]
    retail = settlements.retail_of(conn, row.run_id, row.unit_id) if row.side == "retailer" else None
    is_owner = visit.actor.role is Role.CUSTOMER
    return views.StatementView(
        head=views.head_view(row),
        lines=tuple(views.line_view(*each) for each in settlements.lines_of(conn, row.statement_id)),
        held=tuple(sorted(settlements.held_lines(conn, row.statement_id))),
        moves=tuple(map(views.move_view, moves)),
        queries=tuple(map(views.query_view, settlements.queries_of(conn, row.statement_id))),
        rule=str(row.facts.get("rule", "")),
        input_sha256=row.input_sha256,
        is_deferred=bool(row.facts.get("is_deferred")),
        object_until=objection_until(markettime.day_of(published[-1])) if published else None,
        actual_day_kwh=tuple(row.facts.get("actual_day_kwh", ())),
        contract_day_kwh=tuple(row.facts.get("contract_day_kwh", ())),
        retail=None if retail is None else _retail_facts(retail),
        may_answer=is_owner,
        may_direct=visit.actor.role is Role.STAFF,
    )


def _statement_for(visit: who.Visit, statement_id: int) -> StatementRow:
    row = settlements.find(visit.conn, statement_id)
    if row is None or (visit.actor.role is not Role.STAFF and row.state == "drawn"):
        raise NoStatement("not_found", kind="statement")
    subject = Subject("statement", str(statement_id), row.party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    return row


def _run_for(visit: who.Visit, run_id: int) -> RunRow:
    run = runs.find_run(visit.conn, run_id)
    if run is None:
        raise NoRun("not_found", kind="settlement_run")
    security.allow(visit.conn, visit.actor, visit.deed, Subject("settlement_run", str(run_id)), visit.now)
    return run


def _lines(visit: who.Visit, row: StatementRow) -> tuple[SettlementLine, ...]:
    return tuple(line for _, line in settlements.lines_of(visit.conn, row.statement_id))


def _heading(row: StatementRow) -> Heading:
    return Heading(row.unit_id, row.name, Side(row.side), row.month, row.revision, row.state)


def _name(row: StatementRow) -> str:
    unit = row.unit_id.replace(":", "-")
    return f"statement-{unit}-{row.month:%Y-%m}-r{row.revision}"


def _last_month(visit: who.Visit) -> date:
    kept = runs.recent_runs(visit.conn, 1)
    today = markettime.day_of(visit.now)
    return kept[0].month if kept else markettime.month_after(markettime.month_of(today), -1)


def _back(path: str) -> Response:
    return RedirectResponse(path, 303)


def _download(text: str, kind: str, name: str) -> Response:
    return Response(text, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
