"""Questions about a bill or one of its lines: the customer asks, staff answer, the customer sees the answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from cloud.api import reply, who
from cloud.billing.document.charges import groups
from cloud.billing.document.model import ChargeRow
from cloud.billing.labels import Language
from cloud.billing.run import review
from cloud.billing.store import bills as kept
from cloud.billing.store import display
from cloud.billing.store import review as store
from cloud.errors import NotFound
from cloud.security import run as security
from cloud.security.access import Deed, Role, Subject

router = APIRouter(tags=["questions"])

_BIGINT_MAX: Final = 2**63 - 1
_SEE_OTHER: Final = 303
BillId = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
QuestionId = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]


class NoQuestion(NotFound):
    """There is no such bill or question, or this person does not see it."""


class QuestionView(reply.View):
    """A question with the line it is about, and its answer."""

    question_id: int
    bill_id: int
    account_id: str
    account_name: str
    month: date
    line_no: int | None
    question: str
    context: dict[str, str]
    asked_at: datetime
    answer: str | None
    answered_at: datetime | None


class BillQuestionsView(reply.View):
    """The questions about one bill, newest first."""

    bill_id: int
    account_id: str
    month: date
    questions: tuple[QuestionView, ...]


class QuestionsView(reply.View):
    """All questions, the unanswered first."""

    unanswered: int
    questions: tuple[QuestionView, ...]


class AskedView(reply.View):
    """The number of a new question."""

    question_id: int


@dataclass(frozen=True, slots=True)
class AskDrawing:
    """The line that is asked about, and whether this person may ask."""

    line: ChargeRow | None
    may_ask: bool


@router.get("/bills/{bill_id}/questions", response_model=BillQuestionsView)
def of_bill(
    request: Request,
    bill_id: BillId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_BILLS)],
    line: Annotated[int | None, Query(ge=1, le=10_000)] = None,
) -> Response:
    """What was asked about a bill, and the form to ask about it or about one line."""
    row = _bill_for(visit, bill_id)
    found = tuple(map(_view, store.questions_of_bill(visit.conn, bill_id)))
    view = BillQuestionsView(bill_id=bill_id, account_id=row.account_id, month=row.month, questions=found)
    asked = None
    if line is not None:
        language = Language(visit.language)
        rows = [
            each for group in groups(kept.load(visit.conn, bill_id).lines, language) for each in group.rows
        ]
        asked = next((each for each in rows if each.line_no == line), None)
    drawing = AskDrawing(asked, visit.actor.role is Role.CUSTOMER)
    return reply.answer(
        request, visit, "billing/questions.html", view, account_id=row.account_id, drawing=drawing
    )


@router.post("/bills/{bill_id}/questions", response_model=AskedView)
def ask(
    request: Request,
    bill_id: BillId,
    visit: Annotated[who.Visit, who.changes(Deed.ASK_ABOUT_BILL)],
    question: Annotated[str, Form(max_length=2000)],
    line: Annotated[int | None, Form(ge=1, le=10_000)] = None,
) -> Response:
    """Ask about the bill or one of its lines."""
    _bill_for(visit, bill_id)
    asked = (security.actor_name(visit.actor), visit.now, Language(visit.language))
    question_id = review.ask(visit.conn, bill_id, line, question, asked)
    if reply.wants_json(request):
        return reply.as_json(AskedView(question_id=question_id), 201)
    return RedirectResponse(f"/bills/{bill_id}/questions", _SEE_OTHER)


@router.get("/questions", response_model=QuestionsView)
def all_questions(
    request: Request, visit: Annotated[who.Visit, who.visits(Deed.ANSWER_QUESTIONS)]
) -> Response:
    """All questions of customers about their bills."""
    security.allow(visit.conn, visit.actor, visit.deed, Subject("questions", "all"), visit.now)
    found = tuple(map(_view, store.questions(visit.conn)))
    view = QuestionsView(unanswered=sum(each.answer is None for each in found), questions=found)
    return reply.answer(request, visit, "review/questions.html", view)


@router.post("/questions/{question_id}/answer", response_class=Response)
def answer(
    request: Request,
    question_id: QuestionId,
    visit: Annotated[who.Visit, who.changes(Deed.ANSWER_QUESTIONS)],
    answer: Annotated[str, Form(max_length=4000)],
) -> Response:
    """Answer a question."""
    found = store.find_question(visit.conn, question_id)
    if found is None:
        raise NoQuestion("not_found", kind="question")
    _bill_for(visit, found.bill_id)
    review.answer(visit.conn, question_id, answer, security.actor_name(visit.actor), visit.now)
    if reply.wants_json(request):
        return Response(status_code=204)
    return RedirectResponse("/questions", _SEE_OTHER)


def _bill_for(visit: who.Visit, bill_id: int) -> display.BillRow:
    row = display.find_bill(visit.conn, bill_id, with_drafts=visit.actor.role is Role.STAFF)
    if row is None:
        raise NoQuestion("not_found", kind="bill")
    subject = Subject("bill", str(bill_id), row.party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    return row


def _view(each: store.Question) -> QuestionView:
    return QuestionView(
        question_id=each.question_id,
        bill_id=each.bill_id,
        account_id=each.account_id,
        account_name=each.account_name,
        month=each.month,
        line_no=each.line_no,
        question=each.question,
        context=each.context,
        asked_at=each.asked_at,
        answer=each.answer,
        answered_at=each.answered_at,
    )
