"""Corrections desk: proposals with what they charge more and give back, each line before and after, and the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import RedirectResponse

from cloud.api import chart, reply, who
from cloud.billing.bill import LineChange, line_changes
from cloud.billing.correction import Cause, Outcome, Why
from cloud.billing.labels import Language, word
from cloud.billing.line import Section
from cloud.billing.run import bill as drawing_up
from cloud.billing.run import correct, issue
from cloud.billing.store import bills as kept
from cloud.billing.store import corrections as store
from cloud.errors import NotFound
from cloud.metering.interval import IntervalDay
from cloud.metering.store import intervals
from cloud.security import run as security
from cloud.security.access import Deed, Subject

router = APIRouter(tags=["corrections"])

_BIGINT_MAX: Final = 2**63 - 1
_SEE_OTHER: Final = 303
SHOWN_WHOLE: Final = 10  # bills of a proposal whose lines are on its page; the others have a page each
PLOTS_MAX: Final = 8  # days of one bill
SHELLS: Final = correct.Shells(drawing_up.inputs, drawing_up.draw, issue.issue)

Number = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Reason = Annotated[str, Form(max_length=500)]


class NoProposal(NotFound):
    """There is no such proposal, or no such bill in it."""


class ProposalView(reply.View):
    """A proposal. `deed` null: it waits for a decision; `is_mine`: this person prepared it and cannot approve."""

    correction_id: int
    run: str
    reason: str
    prepared_by: str
    prepared_at: datetime
    differs: int
    same: int
    beyond: int
    refused: int
    more_fen: int
    less_fen: int
    deed: str | None
    decision_reason: str | None
    decided_by: str | None
    decided_at: datetime | None
    is_mine: bool


class ProposalsView(reply.View):
    """Those that wait, and those that are decided or had nothing to change; newest first."""

    waiting: tuple[ProposalView, ...]
    done: tuple[ProposalView, ...]


class WhyView(reply.View):
    """What changed under a bill."""

    cause: Cause
    detail: str


class ChangeView(reply.View):
    """One charge before and after."""

    section: str
    item: str
    period: str | None
    first_day: date
    before_fen: int
    after_fen: int
    change_fen: int


class CorrectedView(reply.View):
    """One touched bill: what it was, what it would be, and why. `changes` only where they were asked for."""

    bill_id: int
    account_id: str
    account_name: str
    month: date
    revision: int
    outcome: Outcome
    whys: tuple[WhyView, ...]
    before_fen: int
    after_fen: int
    change_fen: int
    problem: str
    new_bill_id: int | None
    changes: tuple[ChangeView, ...]


class CorrectionView(reply.View):
    """A proposal with its bills."""

    proposal: ProposalView
    items: tuple[CorrectedView, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """One changed day: the import of its quarter-hours before and after, as bars of one scale."""

    supply_point_id: str
    day: date
    before: tuple[chart.Bar, ...]
    after: tuple[chart.Bar, ...]
    before_wh: int
    after_wh: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """Labels of the changed charges and plots of the changed days, by bill."""

    labels: dict[int, tuple[str, ...]]
    plots: dict[int, tuple[Plot, ...]]


@router.get("/corrections", response_model=ProposalsView)
def proposals(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_CORRECTIONS)]) -> Response:
    """The desk: proposals that wait, and what was decided."""
    _allow(visit, "list")
    view = ProposalsView(
        waiting=tuple(_proposal_view(visit, row) for row in store.newest(visit.conn, is_open=True)),
        done=tuple(_proposal_view(visit, row) for row in store.newest(visit.conn, is_open=False)),
    )
    return reply.answer(request, visit, "corrections/list.html", view)


@router.get("/corrections/{correction_id}", response_model=CorrectionView)
def proposal(
    request: Request, correction_id: Number, visit: Annotated[who.Visit, who.visits(Deed.SEE_CORRECTIONS)]
) -> Response:
    """One proposal: every touched bill, the first ones line by line."""
    row, items = _found(visit, correction_id)
    whole = {each.bill_id for each in [i for i in items if i.outcome is Outcome.DIFFERS][:SHOWN_WHOLE]}
    return _correction(request, visit, row, items, whole, "corrections/one.html")


@router.get("/corrections/{correction_id}/bills/{bill_id}", response_model=CorrectionView)
def proposal_bill(
    request: Request,
    correction_id: Number,
    bill_id: Number,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_CORRECTIONS)],
) -> Response:
    """One bill of a proposal, line by line."""
    row, items = _found(visit, correction_id)
    own = tuple(each for each in items if each.bill_id == bill_id)
    if not own:
        raise NoProposal("not_found", kind="correction")
    return _correction(request, visit, row, own, {bill_id}, "corrections/one.html")


@router.post("/corrections/{correction_id}/{deed}", response_model=CorrectionView, status_code=_SEE_OTHER)
def decide(
    request: Request,
    correction_id: Number,
    deed: Literal["approve", "decline", "withdraw"],
    visit: Annotated[who.Visit, who.changes(Deed.DECIDE_CORRECTION)],
    reason: Reason = "",
) -> Response:
    """Approve (a second person: bills and reversals in one transaction), decline, or withdraw to prepare anew."""
    if deed == "approve":
        correct.approve(visit.conn, visit.actor, correction_id, SHELLS, visit.now)
    elif deed == "decline":
        correct.decline(visit.conn, visit.actor, correction_id, reason, visit.now)
    else:
        correct.withdraw(visit.conn, visit.actor, correction_id, reason, visit.now)
    if reply.wants_json(request):
        row, items = _found(visit, correction_id)
        return reply.as_json(_view(visit, row, items, {}))
    return RedirectResponse(f"/corrections/{correction_id}", _SEE_OTHER)


def _allow(visit: who.Visit, key: str) -> None:
    security.allow(visit.conn, visit.actor, visit.deed, Subject("correction", key), visit.now)


def _found(visit: who.Visit, correction_id: int) -> tuple[store.CorrectionRow, tuple[store.ItemRow, ...]]:
    _allow(visit, str(correction_id))
    row = store.find(visit.conn, correction_id)
    if row is None:
        raise NoProposal("not_found", kind="correction")
    return row, store.items(visit.conn, correction_id)


def _correction(
    request: Request,
    visit: who.Visit,
    row: store.CorrectionRow,
    items: Sequence[store.ItemRow],
    whole: set[int],
    template: str,
) -> Response:
    changes = {each.bill_id: _changes(visit, each) for each in items if each.bill_id in whole}
    language = Language(visit.language)
    drawing = Drawing(
        labels={
            bill_id: tuple(_label(language, change) for change in found) for bill_id, found in changes.items()
        },
        plots={each.bill_id: _plots(visit, each.whys) for each in items if each.bill_id in whole},
    )
    return reply.answer(request, visit, template, _view(visit, row, items, changes), drawing=drawing)


def _changes(visit: who.Visit, item: store.ItemRow) -> tuple[LineChange, ...]:
    after = store.proposed_bill(visit.conn, item.correction_id, item.bill_id)
    if after is None:
        return ()
    return line_changes(kept.load(visit.conn, item.bill_id).lines, after.lines)


def _label(language: Language, change: LineChange) -> str:
    """Name a charge: who sells the energy may change inside the month, so there the item alone says it."""
    names = [] if change.section is Section.ENERGY else [word(language, f"section.{change.section}")]
    names.append(word(language, f"item.{change.item}"))
    if change.period is not None:
        names.append(word(language, f"period.{change.period}"))
    if change.first_day.day > 1:
        names.append(f"{change.first_day:%m-%d} →")
    return " · ".join(dict.fromkeys(names))


def _plots(visit: who.Visit, whys: Sequence[Why]) -> tuple[Plot, ...]:
    """Draw the days whose intervals changed; a detail reads 'SP0001 2026-08-12 1 2': point, day, revisions."""
    plots = []
    for why in [each for each in whys if each.cause is Cause.INTERVAL][:PLOTS_MAX]:
        point, day, was, now = why.detail.split()
        before = intervals.load_revision(visit.conn, point, date.fromisoformat(day), int(was))
        after = intervals.load_revision(visit.conn, point, date.fromisoformat(day), int(now))
        if after is not None:
            plots.append(_plot(before, after))
    return tuple(plots)


def _plot(before: IntervalDay | None, after: IntervalDay) -> Plot:
    was = (None,) * len(after.import_wh) if before is None else before.import_wh
    top = chart.nice_top(max(1, *(wh or 0 for wh in (*was, *after.import_wh))))
    return Plot(
        supply_point_id=after.supply_point_id,
        day=after.day,
        before=chart.bars(was, top),
        after=chart.bars(after.import_wh, top),
        before_wh=sum(wh or 0 for wh in was),
        after_wh=sum(wh or 0 for wh in after.import_wh),
    )


def _view(
    visit: who.Visit,
    row: store.CorrectionRow,
    items: Sequence[store.ItemRow],
    changes: dict[int, tuple[LineChange, ...]],
) -> CorrectionView:
    return CorrectionView(
        proposal=_proposal_view(visit, row),
        items=tuple(_item_view(each, changes.get(each.bill_id, ())) for each in items),
    )


def _proposal_view(visit: who.Visit, row: store.CorrectionRow) -> ProposalView:
    return ProposalView(
        correction_id=row.correction_id,
        run=row.run,
        reason=row.reason,
        prepared_by=row.prepared_by,
        prepared_at=row.prepared_at,
        differs=row.differs_count,
        same=row.same_count,
        beyond=row.beyond_count,
        refused=row.refused_count,
        more_fen=row.more_fen,
        less_fen=row.less_fen,
        deed=row.deed,
        decision_reason=row.decision_reason,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        is_mine=row.prepared_by == security.actor_name(visit.actor),
    )


def _item_view(each: store.ItemRow, changes: Sequence[LineChange]) -> CorrectedView:
    return CorrectedView(
        bill_id=each.bill_id,
        account_id=each.account_id,
        account_name=each.account_name,
        month=each.month,
        revision=each.revision,
        outcome=each.outcome,
        whys=tuple(WhyView(cause=why.cause, detail=why.detail) for why in each.whys),
        before_fen=each.before_fen,
        after_fen=each.after_fen,
        change_fen=each.change_fen,
        problem=each.problem,
        new_bill_id=each.new_bill_id,
        changes=tuple(
            ChangeView(
                section=change.section,
                item=change.item,
                period=change.period,
                first_day=change.first_day,
                before_fen=change.before_fen,
                after_fen=change.after_fen,
                change_fen=change.change_fen,
            )
            for change in changes
        ),
    )
