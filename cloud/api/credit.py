"""Credit and guarantee: the desk of the staff, and for each party its own grade with the reasons and how to improve."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import RedirectResponse

from cloud.api import creditviews as views
from cloud.api import reply, who
from cloud.billing.run import conduct as looks
from cloud.errors import Invalid, NotFound
from cloud.markettime import day_of, slot_start
from cloud.parties.conduct import Conduct, Fact
from cloud.parties.run import pledge, rate
from cloud.parties.standing import Grade
from cloud.parties.store import conduct, credits, guarantees
from cloud.parties.store.credits import PartyRow
from cloud.security import run as security
from cloud.security.access import Deed, Role, Subject

router = APIRouter(tags=["credit"])

_BIGINT_MAX: Final = 2**63 - 1
_PARTIES_MAX: Final = 500

Key = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Text = Annotated[str, Form(max_length=1000)]


class NoParty(NotFound):
    """There is no such party, or this person does not see it."""


class NoRule(NotFound):
    """There is no such proposal."""


class BadEntry(Invalid):
    """A form says something that cannot be."""


@dataclass(frozen=True, slots=True)
class DeskDrawing:
    """What the desk's page draws besides: the packaged texts to start a proposal from."""

    texts: dict[str, str]
    grades: tuple[str, ...]


@router.get("/credit", response_model=views.CreditView | views.PartyCreditView)
def credit(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_CREDIT)]) -> Response:
    """For staff all parties and what waits; for others the own party's credit."""
    if visit.actor.role is not Role.STAFF:
        assert visit.actor.party_id is not None
        return _party_page(request, visit, visit.actor.party_id)
    rules, actor = rate.active_rules(visit.conn), security.actor_name(visit.actor)
    parties = credits.parties(visit.conn)[:_PARTIES_MAX]
    today = day_of(visit.now)
    waiting = [
        each for each in guarantees.of_party(visit.conn, None) if each.verdict is None or each.left_fen
    ]
    view = views.CreditView(
        model=views.model_view(rules),
        parties=tuple(views.head_view(visit.conn, each, rules.model, visit.now) for each in parties),
        overrides=tuple(
            views.override_view(each, actor, is_staff=True)
            for each in credits.overrides(visit.conn)
            if each.verdict is None
        ),
        entered=tuple(views.entered_view(each, actor) for each in conduct.waiting(visit.conn)),
        rules=tuple(
            views.rule_view(each, actor)
            for subject in ("credit", "guarantee")
            for each in credits.rules(visit.conn, subject)
        ),
        instruments=tuple(views.instrument_view(each, actor, today, is_staff=True) for each in waiting),
    )
    texts = {subject: credits.active_body(visit.conn, subject) for subject in ("credit", "guarantee")}
    drawing = DeskDrawing(texts, tuple(Grade))
    return reply.answer(request, visit, "credit/desk.html", view, drawing=drawing)


@router.get("/credit/parties/{party_id}", response_model=views.PartyCreditView)
def party_credit(
    request: Request, party_id: Key, visit: Annotated[who.Visit, who.visits(Deed.SEE_CREDIT)]
) -> Response:
    """A party's grade with its reasons and how to improve it, and its guarantee."""
    return _party_page(request, visit, party_id)


@router.post("/credit/assess", response_class=RedirectResponse)
def assess(visit: Annotated[who.Visit, who.changes(Deed.RATE_CREDIT)]) -> Response:
    """Look at bills, statements and measured days now, and score every party."""
    subject = Subject("credit", "all")
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    act = (security.actor_name(visit.actor), visit.now)
    seen, traded = looks.gather(visit.conn, visit.now), looks.traded(visit.conn, visit.now)
    rate.look(visit.conn, seen, traded, act)
    return _back("/credit")


@router.post("/credit/parties/{party_id}/facts", response_class=RedirectResponse)
def enter_fact(
    party_id: Key,
    visit: Annotated[who.Visit, who.changes(Deed.RATE_CREDIT)],
    kind: Conduct = Form(Conduct.VIOLATION),
    day: Annotated[str, Form(max_length=10)] = "",
    points: Annotated[str, Form(max_length=3)] = "0",
    document: Text = "",
) -> Response:
    """Enter a violation, a breach of contract, or points of audited accounts, with the document that says so.

    It counts once a second person accepts it.
    """
    party = _party(visit, party_id)
    at, text = slot_start(_day(day), 0), document.strip()
    if not points.isascii() or not points.isdigit():
        raise BadEntry("bad_credit_entry")
    fact = Fact(party.party_id, kind, at, int(points), f"{party_id}:{day}:{text}"[:200], text)
    rate.enter_fact(visit.conn, visit.actor, fact, visit.now)
    return _back("/credit")


@router.post("/credit/facts/{entry_id}/{verdict}", response_class=RedirectResponse)
def decide_fact(
    entry_id: Key,
    verdict: Literal["accept", "reject"],
    visit: Annotated[who.Visit, who.changes(Deed.RATE_CREDIT)],
) -> Response:
    """Let what somebody entered of a party's conduct count, or reject it: a second person."""
    party_id = rate.decide_fact(visit.conn, visit.actor, entry_id, verdict, visit.now)
    return _back(f"/credit/parties/{party_id}")


@router.post("/credit/parties/{party_id}/overrides", response_class=RedirectResponse)
def propose_override(
    party_id: Key,
    visit: Annotated[who.Visit, who.changes(Deed.RATE_CREDIT)],
    grade: Grade = Form(Grade.A),
    reason: Text = "",
    until: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Propose an exception: another grade, with a reason, through a last day."""
    _party(visit, party_id)
    expires_at = slot_start(_day(until) + timedelta(days=1), 0)
    rate.propose_override(visit.conn, visit.actor, party_id, (grade, reason, expires_at), visit.now)
    return _back(f"/credit/parties/{party_id}")


@router.post("/credit/overrides/{override_id}/{verdict}", response_class=RedirectResponse)
def decide_override(
    override_id: Key,
    verdict: Literal["accept", "reject"],
    visit: Annotated[who.Visit, who.changes(Deed.RATE_CREDIT)],
) -> Response:
    """Let an exception take effect, or reject it: a second person."""
    rate.decide_override(visit.conn, visit.actor, override_id, verdict, visit.now)
    return _back("/credit")


@router.post("/credit/rules", response_class=RedirectResponse)
def propose_rule(
    visit: Annotated[who.Visit, who.changes(Deed.RATE_CREDIT)],
    subject: Literal["credit", "guarantee"] = Form("credit"),
    body: Annotated[str, Form(max_length=50_000)] = "",
    reason: Text = "",
) -> Response:
    """Propose a model or a rule of the guarantee; it is simulated over all parties at once."""
    text = (subject, body.replace("\r\n", "\n"), reason)
    entry_id = rate.propose_rule(visit.conn, visit.actor, text, visit.now)
    return _back(f"/credit/rules/{entry_id}")


@router.get("/credit/rules/{entry_id}", response_model=views.RuleView)
def rule(
    request: Request, entry_id: Key, visit: Annotated[who.Visit, who.visits(Deed.RATE_CREDIT)]
) -> Response:
    """A proposal with what it would change."""
    found = credits.find_rule(visit.conn, entry_id)
    if found is None:
        raise NoRule("not_found", kind="party_rule")
    view = views.rule_view(found, security.actor_name(visit.actor))
    return reply.answer(request, visit, "credit/rule.html", view)


@router.post("/credit/rules/{entry_id}/{verdict}", response_class=RedirectResponse)
def decide_rule(
    entry_id: Key,
    verdict: Literal["activate", "reject"],
    visit: Annotated[who.Visit, who.changes(Deed.RATE_CREDIT)],
) -> Response:
    """Put a proposal in force, or reject it: a second person."""
    rate.decide_rule(visit.conn, visit.actor, entry_id, verdict, visit.now)
    return _back("/credit")


@router.post("/credit/parties/{party_id}/instruments", response_class=RedirectResponse)
def lodge(
    party_id: Key,
    visit: Annotated[who.Visit, who.changes(Deed.KEEP_GUARANTEE)],
    form: Annotated[str, Form(max_length=20)] = "",
    issuer: Text = "",
    reference: Text = "",
    amount_yuan: Annotated[str, Form(max_length=20)] = "",
    dates: Annotated[str, Form(max_length=10, alias="valid_from")] = "",
    expires_on: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Enter an instrument as its paper says; it counts once a second person accepts it."""
    _party(visit, party_id)
    last = _day(expires_on) if expires_on else None
    paper = pledge.Paper(form, issuer, reference, _fen(amount_yuan), _day(dates), last)
    pledge.lodge(visit.conn, visit.actor, party_id, paper, visit.now)
    return _back(f"/credit/parties/{party_id}")


@router.post("/credit/instruments/{instrument_id}/{deed}", response_class=RedirectResponse)
def move_instrument(
    instrument_id: Key,
    deed: Literal["accept", "reject", "return", "draw"],
    visit: Annotated[who.Visit, who.changes(Deed.KEEP_GUARANTEE)],
    amount_yuan: Annotated[str, Form(max_length=20)] = "",
    reason: Text = "",
) -> Response:
    """Accept or reject an instrument (a second person), give it back, or draw on it after a default."""
    if deed == "draw":
        amount = (_fen(amount_yuan), reason)
        pledge.draw(visit.conn, visit.actor, instrument_id, amount, visit.now)
    elif deed == "return":
        pledge.give_back(visit.conn, visit.actor, instrument_id, reason, visit.now)
    else:
        pledge.decide(visit.conn, visit.actor, instrument_id, deed, visit.now)
    found = guarantees.find(visit.conn, instrument_id)
    return _back("/credit" if found is None else f"/credit/parties/{found.party_id}")


def _party(visit: who.Visit, party_id: int) -> PartyRow:
    found = credits.find_party(visit.conn, party_id)
    if found is None:
        raise NoParty("not_found", kind="party")
    subject = Subject("party", str(party_id), party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    return found


def _party_page(request: Request, visit: who.Visit, party_id: int) -> Response:
    party, conn = _party(visit, party_id), visit.conn
    rules, actor = rate.active_rules(conn), security.actor_name(visit.actor)
    is_staff = visit.actor.role is Role.STAFF
    scored = credits.scores(conn, party_id)
    last = scored[0] if scored else None
    needed = credits.requirement(conn, party_id, visit.now)
    lossy = [each for each in (last.factors if last else []) if Decimal(each["lost"]) > 0]
    view = views.PartyCreditView(
        head=views.head_view(conn, party, rules.model, visit.now),
        model=views.model_view(rules),
        scored_by=None if last is None else last.model,
        scored_at=None if last is None else last.at,
        factors=[] if last is None else last.factors,
        rules=[] if last is None else last.rules,
        hints=tuple(each["key"] for each in sorted(lossy, key=lambda each: -Decimal(each["lost"]))),
        requirement_rule=None if needed is None else needed.rule,
        base_fen=0 if needed is None else needed.base_fen,
        volumes={} if needed is None else needed.volumes,
        overrides=tuple(
            views.override_view(each, actor, is_staff=is_staff) for each in credits.overrides(conn, party_id)
        ),
        instruments=tuple(
            views.instrument_view(each, actor, day_of(visit.now), is_staff=is_staff)
            for each in guarantees.of_party(conn, party_id)
        ),
        entries=tuple(views.entry_view(each) for each in guarantees.entries(conn, party_id)),
        may_rate=is_staff,
    )
    return reply.answer(request, visit, "credit/party.html", view, drawing=DeskDrawing({}, tuple(Grade)))


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007  # a day has no zone
    except ValueError:
        raise BadEntry("bad_credit_day", found=text) from None


def _fen(text: str) -> int:
    try:
        fen = Decimal(text.strip().replace(",", "")) * 100
    except InvalidOperation:
        raise BadEntry("bad_credit_amount", found=text) from None
    if not fen.is_finite() or fen != fen.to_integral_value() or not 0 < fen < 10**15:
        raise BadEntry("bad_credit_amount", found=text)
    return int(fen)


def _back(path: str) -> Response:
    return RedirectResponse(path, 303)
