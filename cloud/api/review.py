"""Bill review: the queue sorted by risk, one bill beside the month before it, and what may be decided about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import RedirectResponse

from cloud.api import reply, who
from cloud.billing import review as rules
from cloud.billing.bill import line_changes
from cloud.billing.document import BillDocument, bill_document
from cloud.billing.labels import Language, money_text, word
from cloud.billing.review import HoldReason
from cloud.billing.run import issue, review
from cloud.billing.store import bills as kept
from cloud.billing.store import display
from cloud.billing.store import review as store
from cloud.errors import NotFound, Refused
from cloud.money import quotient
from cloud.security import run as security
from cloud.security.access import Deed, Subject

router = APIRouter(tags=["review"])

_BIGINT_MAX: Final = 2**63 - 1
_SEE_OTHER: Final = 303
TOGETHER_MAX: Final = 200
BillId = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Note = Annotated[str, Form(max_length=1000)]


class NotWaiting(NotFound):
    """There is no such bill, or it does not wait for a decision."""


class ReasonView(reply.View):
    """Why a bill is looked at."""

    key: str
    weight: int
    facts: dict[str, str]


class WaitingView(reply.View):
    """A bill that waits. `score` null: not assessed yet; `is_low`: may be approved with others."""

    bill_id: int
    account_id: str
    account_name: str
    month: date
    revision: int
    total_fen: int
    import_wh: int
    state: str
    made_at: datetime
    score: int | None
    is_low: bool
    needs_second: bool
    reasons: tuple[ReasonView, ...]
    before_fen: int | None
    change_percent: Decimal | None
    rerate_asked: bool


class QueueView(reply.View):
    """The queue, riskiest first."""

    waiting: tuple[WaitingView, ...]
    low: int
    rules_version: int


class DecisionView(reply.View):
    """What somebody decided."""

    bill_id: int
    deed: str
    reason: str
    note: str
    actor: str
    at: datetime
    new_bill_id: int | None


class ChangeView(reply.View):
    """A charge beside the month before."""

    section: str
    item: str
    period: str | None
    before_fen: int
    after_fen: int
    change_fen: int


class ReviewView(reply.View):
    """One bill in review. `waiting` null: it is decided."""

    bill_id: int
    account_id: str
    state: str
    waiting: WaitingView | None
    before_bill_id: int | None
    changes: tuple[ChangeView, ...]
    decisions: tuple[DecisionView, ...]
    handled_by: tuple[str, ...]
    is_mine: bool


class DoneView(reply.View):
    """What came of a decision."""

    bill_id: int
    deed: str
    state: str


class RefusedView(reply.View):
    """A bill that was not approved, and why."""

    bill_id: int
    problem: str


class TogetherView(reply.View):
    """What came of approving several bills."""

    approved: tuple[int, ...]
    refused: tuple[RefusedView, ...]


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A changed charge in words."""

    label: str
    before: str
    after: str
    change: str


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Both documents, and the charges in words."""

    now: BillDocument
    before: BillDocument | None
    changes: tuple[ChangeRow, ...]
    hold_reasons: tuple[HoldReason, ...]


@router.get("/review", response_model=QueueView)
def queue(request: Request, visit: Annotated[who.Visit, who.visits(Deed.REVIEW_BILLS)]) -> Response:
    """Drafts and held bills, riskiest first."""
    _allow(visit, "queue", "review")
    waiting = tuple(map(_waiting, store.queue(visit.conn)))
    view = QueueView(
        waiting=waiting,
        low=sum(each.is_low and each.state == "draft" for each in waiting),
        rules_version=rules.rules_for(visit.now.date()).version,
    )
    return reply.answer(request, visit, "review/queue.html", view)


@router.get("/review/{bill_id}", response_model=ReviewView)
def one(
    request: Request, bill_id: BillId, visit: Annotated[who.Visit, who.visits(Deed.REVIEW_BILLS)]
) -> Response:
    """One bill beside the month before."""
    row = _row_for(visit, bill_id)
    found = store.queue(visit.conn, bill_id)
    waiting = _waiting(found[0]) if found else None
    before_id = found[0].before_bill_id if found else None
    now = kept.load(visit.conn, bill_id)
    before = None if before_id is None else kept.load(visit.conn, before_id)
    changes = () if before is None else line_changes(before.lines, now.lines)
    handled = store.handled_by(visit.conn, bill_id)
    view = ReviewView(
        bill_id=bill_id,
        account_id=row.account_id,
        state=row.state,
        waiting=waiting,
        before_bill_id=before_id,
        changes=tuple(
            ChangeView(
                section=each.section,
                item=each.item,
                period=each.period,
                before_fen=each.before_fen,
                after_fen=each.after_fen,
                change_fen=each.change_fen,
            )
            for each in changes
        ),
        decisions=tuple(map(_decision_view, store.decisions(visit.conn, bill_id))),
        handled_by=tuple(sorted(handled)),
        is_mine=security.actor_name(visit.actor) in handled,
    )
    language = Language(visit.language)
    drawing = SideBySide(
        bill_document(now, language, display.around(visit.conn, row, now)),
        None if before is None else bill_document(before, language),
        _in_words(view.changes, language),
        tuple(HoldReason),
    )
    return reply.answer(request, visit, "review/bill.html", view, drawing=drawing)


@router.post("/review/approve", response_model=TogetherView)
def approve_together(
    request: Request,
    visit: Annotated[who.Visit, who.changes(Deed.DECIDE_BILL)],
    bill_id: Annotated[list[int], Form(max_length=TOGETHER_MAX)],
) -> Response:
    """Approve and issue bills of low risk; one that may not be is named and stays."""
    _allow(visit, "queue", "review")
    actor = security.actor_name(visit.actor)
    approved, refused = [], []
    for each in sorted(set(bill_id)):
        try:
            with visit.conn.transaction():
                review.clear(visit.conn, each, actor, visit.now, together=True)
                issue.issue(visit.conn, each, actor, visit.now)
        except Refused as problem:
            refused.append(RefusedView(bill_id=each, problem=problem.key))
        else:
            approved.append(each)
    view = TogetherView(approved=tuple(approved), refused=tuple(refused))
    if reply.wants_json(request):
        return reply.as_json(view)
    return reply.answer(request, visit, "review/together.html", view)


@router.post("/review/{bill_id}/{deed}", response_model=DoneView)
def decide(
    request: Request,
    bill_id: BillId,
    deed: Literal["approve", "hold", "release", "rerate"],
    visit: Annotated[who.Visit, who.changes(Deed.DECIDE_BILL)],
    reason: Annotated[HoldReason | None, Form()] = None,
    note: Note = "",
) -> Response:
    """Approve and issue a bill, hold it back, release it, or ask that it be drawn up again."""
    _row_for(visit, bill_id)
    actor = security.actor_name(visit.actor)
    if deed == "approve":
        review.clear(visit.conn, bill_id, actor, visit.now)
        issue.issue(visit.conn, bill_id, actor, visit.now)
    elif deed == "hold":
        if reason is None:
            raise review.BadText("bad_text", shortest=1, longest=review.NOTE_LENGTH_MAX)
        review.hold(visit.conn, bill_id, actor, reason, visit.now, note)
    elif deed == "release":
        review.release(visit.conn, bill_id, actor, visit.now, note)
    else:
        review.rerate(visit.conn, bill_id, actor, visit.now, note)
    if not reply.wants_json(request):
        return RedirectResponse(f"/review/{bill_id}", _SEE_OTHER)
    state = _row_for(visit, bill_id).state
    return reply.as_json(DoneView(bill_id=bill_id, deed=deed, state=state))


def _allow(visit: who.Visit, kind: str, key: str, party_id: int | None = None) -> None:
    security.allow(visit.conn, visit.actor, visit.deed, Subject(kind, key, party_id), visit.now)


def _row_for(visit: who.Visit, bill_id: int) -> display.BillRow:
    row = display.find_bill(visit.conn, bill_id, with_drafts=True)
    if row is None:
        raise NotWaiting("not_found", kind="bill")
    _allow(visit, "bill", str(bill_id), row.party_id)
    return row


def _waiting(row: store.QueueRow) -> WaitingView:
    in_force = rules.rules_for(row.month)
    change = None
    if row.before_fen:
        ratio = quotient(
            Decimal((row.total_fen - row.before_fen) * 100), Decimal(abs(row.before_fen)), Decimal("0.1")
        )
        change = ratio
    return WaitingView(
        bill_id=row.bill_id,
        account_id=row.account_id,
        account_name=row.account_name,
        month=row.month,
        revision=row.revision,
        total_fen=row.total_fen,
        import_wh=row.import_wh,
        state=row.state,
        made_at=row.made_at,
        score=row.score,
        is_low=row.score is not None and rules.is_low(row.score, row.total_fen, in_force),
        needs_second=row.score is not None and rules.needs_second_person(row.score, row.total_fen, in_force),
        reasons=tuple(ReasonView(**each) for each in row.reasons),
        before_fen=row.before_fen,
        change_percent=change,
        rerate_asked=row.rerate_asked,
    )


def _decision_view(each: store.Decision) -> DecisionView:
    return DecisionView(
        bill_id=each.bill_id,
        deed=each.deed,
        reason=each.reason,
        note=each.note,
        actor=each.actor,
        at=each.at,
        new_bill_id=each.new_bill_id,
    )


def _in_words(changes: tuple[ChangeView, ...], language: Language) -> tuple[ChangeRow, ...]:
    return tuple(
        ChangeRow(
            " · ".join(
                (
                    word(language, f"item.{each.item}"),
                    *([word(language, f"period.{each.period}")] if each.period else []),
                )
            ),
            money_text(each.before_fen),
            money_text(each.after_fen),
            money_text(each.change_fen),
        )
        for each in changes
    )
