"""Review of bills before they go out: assess, hold, release, ask to re-rate, clear for issuing; and customers' questions.

Each deed checks the bill's state under a lock and records who did what, in the caller's transaction. Issuing itself
is `run/issue`; re-rating is drawing up again (`run/bill`), which a worker does: a request here is its work list.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from cloud.billing import review
from cloud.billing.document.charges import groups
from cloud.billing.labels import Language
from cloud.billing.review import History, HoldReason, Risk
from cloud.billing.store import bills
from cloud.billing.store import review as store
from cloud.db import Conn
from cloud.errors import Forbidden, Invalid, NotFound, NotNow
from cloud.security.run import is_person

ASSESS_PER_TURN = 200
RERATES_PER_TURN = 50
NOTE_LENGTH_MAX = 1000
QUESTION_LENGTH = (2, 1000)
ANSWER_LENGTH_MAX = 2000
QUESTIONS_A_DAY = 20


class NoReview(NotFound):
    """There is no such bill or question."""


class NotOpen(NotNow):
    """The bill is in a state in which this cannot be decided any more."""


class SamePerson(Forbidden):
    """This bill needs a second person: who drew, held or re-rated it may not clear it."""


class NotLow(NotNow):
    """Only bills of low risk are cleared together, unseen."""


class NotAssessed(NotNow):
    """A bill is cleared only after it was assessed."""


class BadText(Invalid):
    """A question, answer or note is empty or too long, or no reason was chosen."""


class TooManyQuestions(NotNow):
    """So many questions in a day are a robot's."""


def assess(conn: Conn, bill_id: int, actor: str, now: datetime) -> Risk:
    """Score a bill once; `actor` is who drew it up. Safe to repeat: the first score stays. Raises NoSuchRow."""
    bill = bills.load(conn, bill_id)
    past = store.past_bills(conn, bill.account.account_id, bill.month)
    risk = review.risk(bill, History(past))
    store.add_assessment(conn, bill_id, risk, actor, now)
    return risk


def assess_drafts(conn: Conn, actor: str, now: datetime) -> int:
    """Score what was drawn up and not yet scored; return how many."""
    waiting = store.unassessed(conn, ASSESS_PER_TURN)
    for bill_id in waiting:
        assess(conn, bill_id, actor, now)
    return len(waiting)


def hold(conn: Conn, bill_id: int, actor: str, reason: HoldReason, now: datetime, note: str = "") -> None:
    """Hold a draft back. Raises NoReview, NotOpen, BadText."""
    _open(conn, bill_id, "draft")
    store.move(conn, bill_id, "held")
    _record(conn, bill_id, "hold", actor, now, reason=reason, note=note)


def release(conn: Conn, bill_id: int, actor: str, now: datetime, note: str = "") -> None:
    """Make a held bill a draft again. Raises NoReview, NotOpen, BadText."""
    _open(conn, bill_id, "held")
    store.move(conn, bill_id, "draft")
    _record(conn, bill_id, "release", actor, now, note=note)


def rerate(conn: Conn, bill_id: int, actor: str, now: datetime, note: str = "") -> None:
    """Ask that a bill be drawn up again from what is known now. Raises NoReview, NotOpen, BadText."""
    _open(conn, bill_id, "draft", "held")
    _record(conn, bill_id, "rerate", actor, now, note=note)


def rerated(
    conn: Conn, bill_id: int, new_bill_id: int | None, actor: str, now: datetime, note: str = ""
) -> None:
    """Record what came of a request: another bill, which takes the old draft's place, or the reason why none."""
    if new_bill_id is not None and new_bill_id != bill_id:
        found = store.lock_bill(conn, bill_id)
        if found is not None and found[0] in store.OPEN_STATES:
            store.move(conn, bill_id, "void")
        assess(conn, new_bill_id, actor, now)
    decision = store.Decision(0, bill_id, "rerated", "", note[:NOTE_LENGTH_MAX], actor, now, new_bill_id)
    store.add_decision(conn, decision)


def clear(conn: Conn, bill_id: int, actor: str, now: datetime, *, together: bool = False) -> None:
    """Approve a draft; the caller issues it in the same transaction. `together`: with others, unseen.

    Where a second person is needed, a command is none: nobody knows who sits at it.

    Raises NoReview, NotOpen, NotAssessed, SamePerson, NotLow.
    """
    total_fen, month = _open(conn, bill_id, "draft")
    score = store.score_of(conn, bill_id)
    if score is None:
        raise NotAssessed("bill_not_assessed", bill_id=bill_id)
    rules = review.rules_for(month)
    if together and not review.is_low(score, total_fen, rules):
        raise NotLow("bill_not_low", bill_id=bill_id, score=score, most=rules.bulk_score_max)
    if review.needs_second_person(score, total_fen, rules) and (
        not is_person(actor) or actor in store.handled_by(conn, bill_id)
    ):
        raise SamePerson("same_person", bill_id=bill_id)
    _record(conn, bill_id, "approve", actor, now)


def ask(
    conn: Conn, bill_id: int, line_no: int | None, question: str, asked: tuple[str, datetime, Language]
) -> int:
    """Keep a customer's question with what the line says; return its number.

    `asked` is (by whom, when, in which language). Raises BadText, NoReview, TooManyQuestions.
    """
    actor, now, language = asked
    text = _checked(question, *QUESTION_LENGTH)
    if store.count_since(conn, actor, [bill_id], now - timedelta(days=1)) >= QUESTIONS_A_DAY:
        raise TooManyQuestions("too_many_questions", most=QUESTIONS_A_DAY)
    context: dict[str, str] = {}
    if line_no is not None:
        rows = [row for group in groups(bills.load(conn, bill_id).lines, language) for row in group.rows]
        row = next((each for each in rows if each.line_no == line_no), None)
        if row is None:
            raise NoReview("not_found", kind="line")
        context = {
            "label": f"{row.label} {row.period_label}".strip(),
            "quantity": f"{row.quantity.text} {row.unit}",
            "price": row.price.text,
            "amount": row.amount.text,
        }
    return store.add_question(conn, bill_id, line_no, (text, context), (actor, now))


def answer(conn: Conn, question_id: int, text: str, actor: str, now: datetime) -> None:
    """Answer a question; its customer sees it. Raises NoReview, BadText."""
    if store.find_question(conn, question_id) is None:
        raise NoReview("not_found", kind="question")
    store.add_answer(conn, question_id, _checked(text, QUESTION_LENGTH[0], ANSWER_LENGTH_MAX), actor, now)


def _open(conn: Conn, bill_id: int, *states: str) -> tuple[int, date]:
    found = store.lock_bill(conn, bill_id)
    if found is None:
        raise NoReview("not_found", kind="bill")
    state, total_fen, month = found
    if state not in states:
        raise NotOpen("bill_not_open", bill_id=bill_id, state=state, allowed=", ".join(states))
    return total_fen, month


def _record(
    conn: Conn, bill_id: int, deed: str, actor: str, now: datetime, *, reason: str = "", note: str = ""
) -> None:
    if len(note) > NOTE_LENGTH_MAX or "\0" in note:
        raise BadText("bad_text", shortest=0, longest=NOTE_LENGTH_MAX)
    store.add_decision(conn, store.Decision(0, bill_id, deed, reason, note.strip(), actor, now, None))


def _checked(text: str, shortest: int, longest: int) -> str:
    stripped = text.strip()
    if not shortest <= len(stripped) <= longest or "\0" in stripped:
        raise BadText("bad_text", shortest=shortest, longest=longest)
    return stripped
