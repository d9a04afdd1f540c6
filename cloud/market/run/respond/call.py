"""Shell: call an event or a test, freeze baselines, and take the answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from cloud import markettime
from cloud.daytypes import kind_of
from cloud.db import Conn
from cloud.errors import Invalid, NotNow
from cloud.lives import step
from cloud.market import baseline as bl
from cloud.market import performance as pf
from cloud.market.programme import EVENT, Programme, Step
from cloud.market.run.respond.measure import day_loads
from cloud.market.run.respond.telling import check_reason, clock_text, of_enrolment, tell, yuan_text
from cloud.market.store import enrolments, programmes
from cloud.market.store import response as store
from cloud.market.store.enrolments import EnrolmentRow
from cloud.market.store.response import EventRow
from cloud.markettime import SLOTS_PER_DAY
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow


class BadEvent(Invalid):
    """An event needs a day, slots, a target and a price that its programme allows."""


class TooLateToCall(NotNow):
    """The programme wants participants told earlier than that."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event as staff build it."""

    programme_id: str
    day: date
    first_slot: int
    end_slot: int
    target_kw: int
    price_yuan_per_kwh: Decimal
    reason: str
    is_test: bool = False


def plan(conn: Conn, actor: Actor, new: NewEvent, now: datetime) -> int:
    """Plan an event; nobody is told yet. Raises BadEvent, NoProgramme, TooLateToCall."""
    allow(conn, actor, Deed.DIRECT_RESPONSE, Subject("response_programme", new.programme_id), now)
    is_possible = 0 <= new.first_slot < new.end_slot <= SLOTS_PER_DAY and 0 < new.target_kw <= 100_000_000
    if not is_possible or new.price_yuan_per_kwh <= 0 or not 0 < len(new.reason.strip()) <= 300:
        raise BadEvent("response_bad_event")
    programme = programmes.programme_on(conn, new.programme_id, new.day)
    if new.price_yuan_per_kwh > programme.cap_yuan_per_kwh:
        raise BadEvent("response_above_cap", cap=str(programme.cap_yuan_per_kwh))
    starts_at = markettime.slot_start(new.day, new.first_slot)
    _check_in_time(programme, starts_at, now)
    row = EventRow(
        *(0, programme.id, programme.version, new.day, new.first_slot, new.end_slot, starts_at),
        markettime.slot_start(new.day, new.end_slot),
        starts_at - timedelta(minutes=programme.answer_minutes),
        *(new.target_kw, new.price_yuan_per_kwh, new.reason.strip(), "planned", new.is_test),
    )
    return store.insert_event(conn, row, (now, actor_name(actor)))


def notify(conn: Conn, actor: Actor, event_id: int, now: datetime) -> int:
    """Invite every resource of the programme, freeze its baseline, tell who answers; return how many were invited.

    Raises NoSuchMove, TooLateToCall.
    """
    allow(conn, actor, Deed.DIRECT_RESPONSE, Subject("response_event", str(event_id)), now)
    store.lock_event(conn, event_id)
    event = store.event(conn, event_id)
    after = step(EVENT, event.state, "notify")
    programme = programmes.programme(conn, event.programme_id, event.version)
    _check_in_time(programme, event.starts_at, now)
    invited = enrolments.enrolled_on(conn, event.programme_id, event.day)
    for each in invited:
        estimate = (
            0
            if event.is_test
            else pf.estimate_fen(programme, each.capacity_kw, event.slots, event.price_yuan_per_kwh)
        )
        store.invite(conn, event_id, each.enrolment_id, estimate, now)
        found, problem = _baseline(conn, programme, event, each, now)
        store.freeze(conn, event_id, each.enrolment_id, found, problem, now)
        tell(
            conn,
            each,
            event,
            "response.tested" if event.is_test else "response.invited",
            now,
            reward=yuan_text(estimate),
            until=clock_text(event.answer_by),
            kw=str(each.capacity_kw),
        )
    store.move_event(
        conn, event_id, Step("notify", event.state, after, now, actor_name(actor), f"{len(invited)}")
    )
    return len(invited)


def cancel(conn: Conn, actor: Actor, event_id: int, reason: str, now: datetime) -> None:
    """Call an event off before it begins. Raises NoSuchMove, ReasonMissing."""
    allow(conn, actor, Deed.DIRECT_RESPONSE, Subject("response_event", str(event_id)), now)
    store.lock_event(conn, event_id)
    event = store.event(conn, event_id)
    check_reason(reason)
    after = step(EVENT, event.state, "cancel")
    store.move_event(
        conn, event_id, Step("cancel", event.state, after, now, actor_name(actor), reason.strip())
    )
    for part in store.parts(conn, event_id):
        tell(conn, enrolments.enrolment(conn, part.enrolment_id), event, "response.cancelled", now)


def answer(conn: Conn, actor: Actor, event_id: int, enrolment_id: int, bid_kw: int, now: datetime) -> None:
    """Opt in with kW, or out with 0; the latest answer before the time to answer is over counts.

    Raises AnsweredTooLate.
    """
    allow(conn, actor, Deed.ANSWER_RESPONSE, of_enrolment(conn, enrolment_id, is_paid=True), now)
    row = enrolments.enrolment(conn, enrolment_id)
    store.part(conn, event_id, enrolment_id)
    if not 0 <= bid_kw <= row.capacity_kw:
        raise store.AnsweredTooLate("response_answer_refused")
    store.insert_answer(conn, event_id, enrolment_id, bid_kw, (now, actor_name(actor)))


def _check_in_time(programme: Programme, starts_at: datetime, now: datetime) -> None:
    if now > starts_at - timedelta(minutes=programme.notice_minutes):
        raise TooLateToCall("response_too_late_to_call", minutes=programme.notice_minutes)


def _baseline(
    conn: Conn, programme: Programme, event: EventRow, row: EnrolmentRow, now: datetime
) -> tuple[bl.Baseline | None, str]:
    rule = programme.baseline
    called = store.called_days(conn, row.account_id)
    today = markettime.day_of(now)
    candidates = [
        day
        for day in bl.candidate_days(event.day, kind_of, called, rule)
        if day < today  # a day is known when it is over
    ]
    first = event.day - timedelta(days=rule.look_back_days)
    loads = {each.day: each for each in day_loads(conn, row.account_id, first, today)}
    try:
        return bl.baseline(rule, candidates, loads), ""
    except bl.TooFewDays as few:
        return None, f"{few.facts['found']}/{few.facts['needed']}"
