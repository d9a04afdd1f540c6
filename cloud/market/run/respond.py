"""Shells: enrol, call an event, answer it, freeze baselines, measure, dispute and settle.

The clock moves what needs nobody (start, end, assess, silence); every other move is a person's. A baseline is frozen
when the event is notified, from days that are over, so nothing done afterwards can change it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from cloud import markettime
from cloud.daytypes import kind_of
from cloud.db import Conn
from cloud.errors import Invalid, NotNow
from cloud.lives import step
from cloud.market import baseline as bl
from cloud.market import performance as pf
from cloud.market.programme import EVENT, RESULT, Programme, Step, programme_from
from cloud.market.store import members
from cloud.market.store import response as store
from cloud.market.store import responseresults as results
from cloud.market.store.response import EnrolmentRow, EventRow, NewEnrolment, PartRow
from cloud.market.store.responseresults import ResultRow
from cloud.markettime import SLOTS_PER_DAY
from cloud.metering.interval import IntervalQuality
from cloud.metering.store import intervals
from cloud.notices import Notice, post
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow

CLOCK: Final = "job:response"
REASON_MAX: Final = 1000
MEASURED: Final = (IntervalQuality.ACTUAL, IntervalQuality.RECOLLECTED)


class BadEvent(Invalid):
    """An event needs a day, slots, a target and a price that its programme allows."""


class TooLateToCall(NotNow):
    """The programme wants participants told earlier than that."""


class BadEnrolment(Invalid):
    """An enrolment names an account, a resource with its kW, and an agreement."""


class ReasonMissing(Invalid):
    """Whoever objects, cancels or decides says why."""


class NotMeasured(NotNow):
    """Quarter-hours of the event are missing or estimated: it cannot be assessed yet."""


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


@dataclass(frozen=True, slots=True)
class Seen:
    """A participant's day so far beside its baseline."""

    part: PartRow
    enrolment: EnrolmentRow
    actual_wh: tuple[int | None, ...]
    fitted: bl.Adjusted | None
    response_kwh: Decimal
    slots_seen: int


# ---- programmes and enrolment ----------------------------------------------------------------------------


def enter_programme(conn: Conn, actor: Actor, name: str, text: str, now: datetime) -> bool:
    """Enter a version of a programme; False when it is entered already."""
    allow(conn, actor, Deed.DIRECT_RESPONSE, Subject("response_programme", name), now)
    programme = programme_from(name, text)
    return store.put_programme(conn, programme, text, (now, actor_name(actor)))


def enrol(conn: Conn, actor: Actor, new: NewEnrolment, now: datetime) -> int:
    """Put an account into a programme: the holder its own, staff anybody's, for an aggregator with the agreement named.

    Raises BadEnrolment, NoProgramme, EnrolledAlready.
    """
    allow(conn, actor, _deed_of(actor), _of_account(conn, new.account_id), now)
    owner_id = store.account_party(conn, new.account_id)
    is_told = 0 < len(new.resource.strip()) <= 200 and 0 < len(new.agreement.strip()) <= 200
    if (
        owner_id is None
        or owner_id != new.party_id
        or not is_told
        or not 0 < new.capacity_kw <= 10_000_000
        or (actor.party_id is not None and new.aggregator_id is not None)
        or new.aggregator_id == owner_id
        or (new.aggregator_id is not None and not _is_aggregator(conn, new.aggregator_id))
    ):
        raise BadEnrolment("response_bad_enrolment")
    if new.first_day < markettime.day_of(now) or (new.end_day is not None and new.end_day <= new.first_day):
        raise BadEnrolment("response_bad_days")
    store.programme_on(conn, new.programme_id, new.first_day)
    return store.insert_enrolment(conn, new, (now, actor_name(actor)))


def leave(conn: Conn, actor: Actor, enrolment_id: int, now: datetime) -> None:
    """End an enrolment with today; promises already given stand."""
    allow(conn, actor, _deed_of(actor), _of_enrolment(conn, enrolment_id, is_paid=False), now)
    store.end_enrolment(conn, enrolment_id, markettime.day_of(now) + timedelta(days=1))


def _is_aggregator(conn: Conn, party_id: int) -> bool:
    party = members.find_party(conn, party_id)
    return party is not None and party.kind in ("vpp", "retailer")


# ---- events ----------------------------------------------------------------------------------------------


def plan(conn: Conn, actor: Actor, new: NewEvent, now: datetime) -> int:
    """Plan an event; nobody is told yet. Raises BadEvent, NoProgramme, TooLateToCall."""
    allow(conn, actor, Deed.DIRECT_RESPONSE, Subject("response_programme", new.programme_id), now)
    is_possible = 0 <= new.first_slot < new.end_slot <= SLOTS_PER_DAY and 0 < new.target_kw <= 100_000_000
    if not is_possible or new.price_yuan_per_kwh <= 0 or not 0 < len(new.reason.strip()) <= 300:
        raise BadEvent("response_bad_event")
    programme = store.programme_on(conn, new.programme_id, new.day)
    if new.price_yuan_per_kwh > programme.cap_yuan_per_kwh:
        raise BadEvent("response_above_cap", cap=str(programme.cap_yuan_per_kwh))
    starts_at = markettime.slot_start(new.day, new.first_slot)
    _check_in_time(programme, starts_at, now)
    row = EventRow(
        *(0, programme.id, programme.version, new.day, new.first_slot, new.end_slot, starts_at),
        markettime.slot_start(new.day, new.end_slot),
        starts_at - timedelta(minutes=programme.answer_minutes),
        *(new.target_kw, new.price_yuan_per_kwh, new.reason.strip(), "planned"),
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
    programme = store.programme(conn, event.programme_id, event.version)
    _check_in_time(programme, event.starts_at, now)
    invited = store.enrolled_on(conn, event.programme_id, event.day)
    for each in invited:
        estimate = pf.estimate_fen(programme, each.capacity_kw, event.slots, event.price_yuan_per_kwh)
        store.invite(conn, event_id, each.enrolment_id, estimate, now)
        found, problem = _baseline(conn, programme, event, each, now)
        store.freeze(conn, event_id, each.enrolment_id, found, problem, now)
        _tell(
            conn,
            each,
            event,
            "response.invited",
            now,
            reward=_yuan(estimate),
            until=_clock(event.answer_by),
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
    _check_reason(reason)
    after = step(EVENT, event.state, "cancel")
    store.move_event(
        conn, event_id, Step("cancel", event.state, after, now, actor_name(actor), reason.strip())
    )
    for part in store.parts(conn, event_id):
        _tell(conn, store.enrolment(conn, part.enrolment_id), event, "response.cancelled", now)


def answer(conn: Conn, actor: Actor, event_id: int, enrolment_id: int, bid_kw: int, now: datetime) -> None:
    """Opt in with kW, or out with 0; the latest answer before the time to answer is over counts.

    Raises AnsweredTooLate.
    """
    allow(conn, actor, Deed.ANSWER_RESPONSE, _of_enrolment(conn, enrolment_id, is_paid=True), now)
    row = store.enrolment(conn, enrolment_id)
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
        for day in bl.candidate_days(event.day, kind_of, called, rule.look_back_days)
        if day < today  # a day is known when it is over
    ]
    first = event.day - timedelta(days=rule.look_back_days)
    loads = {each.day: each for each in day_loads(conn, row.account_id, first, today)}
    try:
        return bl.baseline(rule, candidates, loads), ""
    except bl.TooFewDays as few:
        return None, f"{few.facts['found']}/{few.facts['needed']}"


def day_loads(conn: Conn, account_id: str, first: date, end: date) -> tuple[bl.DayLoad, ...]:
    """Add up an account's supply points by day; what is estimated counts as not known."""
    curves: dict[date, list[tuple[str, tuple[int | None, ...]]]] = {}
    points = members.supply_points(conn, account_id)
    for point in points:
        for each in intervals.load_days(conn, point, first, end):
            measured = tuple(
                wh if quality in MEASURED else None
                for wh, quality in zip(each.import_wh, each.quality, strict=True)
            )
            curves.setdefault(each.day, []).append((f"{point}@{each.revision}", measured))
    return tuple(bl.load_of(day, found) for day, found in sorted(curves.items()) if len(found) == len(points))


# ---- measuring -------------------------------------------------------------------------------------------


def seen(conn: Conn, event: EventRow, part: PartRow) -> Seen:
    """A participant's event so far, from validated quarter-hours: for the live page and for the assessment alike."""
    row = store.enrolment(conn, part.enrolment_id)
    programme = store.programme(conn, event.programme_id, event.version)
    found = day_loads(conn, row.account_id, event.day, event.day + timedelta(days=1))
    load = found[0] if found else bl.DayLoad(event.day, (None,) * SLOTS_PER_DAY)
    first, end = event.slots
    raw = part.baseline
    fitted = None if raw is None else bl.adjusted(raw, programme.baseline.adjustment, load, event.slots)
    actual = load.wh[first:end]
    known = [number for number, wh in enumerate(actual) if wh is not None]
    done = Decimal(0)
    if fitted is not None and known:
        done = pf.response_kwh(
            programme.direction, [fitted.kw[each] for each in known], [actual[each] for each in known]
        )
    return Seen(part, row, load.wh, fitted, done, len(known))


def assess(conn: Conn, actor: Actor | None, event_id: int, now: datetime) -> int:
    """Draw up what every participant did and is paid; return how many. Raises NoSuchMove, NotMeasured.

    Who said nothing, or stayed out, has no result. Who has no baseline gets nothing, and it is said.
    """
    if actor is not None:
        allow(conn, actor, Deed.DIRECT_RESPONSE, Subject("response_event", str(event_id)), now)
    store.lock_event(conn, event_id)
    event = store.event(conn, event_id)
    after = step(EVENT, event.state, "assess")
    promised = [each for each in store.parts(conn, event_id) if each.choice == "in"]
    found = [seen(conn, event, each) for each in promised]
    missing = [each for each in found if each.slots_seen < event.end_slot - event.first_slot]
    if missing:
        raise NotMeasured(
            "response_not_measured", accounts=", ".join(e.enrolment.account_id for e in missing)
        )
    by = CLOCK if actor is None else actor_name(actor)
    programme = store.programme(conn, event.programme_id, event.version)
    for each in found:
        _draw(conn, programme, event, each, (now, by))
    store.move_event(conn, event_id, Step("assess", event.state, after, now, by, f"{len(found)}"))
    if not found:
        for deed in ("confirm", "settle"):
            state = store.event(conn, event_id).state
            store.move_event(conn, event_id, Step(deed, state, step(EVENT, state, deed), now, by, "0"))
    return len(found)


def _draw(
    conn: Conn, programme: Programme, event: EventRow, each: Seen, made: tuple[datetime, str]
) -> ResultRow:
    now, by = made
    first, end = event.slots
    called = pf.Called(
        event.day, event.slots, each.part.bid_kw or 0, event.price_yuan_per_kwh, str(event.event_id)
    )
    actual = each.actual_wh[first:end]
    fitted = each.fitted
    if fitted is None:  # without a baseline the load itself is one: nothing was given, nothing is charged
        fitted = bl.Adjusted(tuple(Fraction(bl.kw_of(wh)) for wh in actual), None, None, Fraction(0))
        found = pf.Performance(pf.bid_kwh(called.bid_kw, event.slots), Decimal(0), Decimal(0), ())
    else:
        found = pf.performance(programme, called, fitted, actual)
    facts: dict[str, Any] = {
        "programme": programme.origin,
        "baseline_days": [day.isoformat() for day in each.part.days or ()],
        "baseline_kw": [str(kw) for kw in fitted.kw],
        "actual_wh": list(actual),
        "adjustment": str(fitted.change),
        "before_actual_kw": None if fitted.before_actual_kw is None else str(fitted.before_actual_kw),
        "before_baseline_kw": None if fitted.before_baseline_kw is None else str(fitted.before_baseline_kw),
        "evidence": list(each.part.evidence or ()),
        "problem": each.part.problem or "",
    }
    object_by = now + timedelta(days=programme.objection_days)
    result_id = results.insert_result(
        conn,
        event.event_id,
        (each.enrolment.enrolment_id, each.enrolment.payee_id),
        found,
        facts,
        (now, by, object_by),
    )
    row = results.result(conn, result_id)
    _tell(
        conn,
        each.enrolment,
        event,
        "response.assessed",
        now,
        f"{row.revision}",
        reward=_yuan(-found.total_fen),
        until=_clock(object_by),
    )
    return row


# ---- the statement ---------------------------------------------------------------------------------------


def confirm(conn: Conn, actor: Actor, result_id: int, now: datetime) -> None:
    """The participant agrees with its statement."""
    allow(conn, actor, Deed.ANSWER_RESPONSE, _of_result(conn, result_id), now)
    row = _locked(conn, result_id)
    _move(conn, row, "confirm", (now, actor_name(actor)), "")


def object_to(conn: Conn, actor: Actor, result_id: int, reason: str, now: datetime) -> None:
    """The participant objects, with a reason and in time. Raises ReasonMissing, NoSuchMove."""
    allow(conn, actor, Deed.ANSWER_RESPONSE, _of_result(conn, result_id), now)
    row = _locked(conn, result_id)
    _check_reason(reason)
    if now >= row.object_by:
        raise NotNow("response_objected_too_late", until=_clock(row.object_by))
    _move(conn, row, "object", (now, actor_name(actor)), reason.strip())
    key = f"response-objection:{result_id}"
    facts = {"event": str(row.event_id)}
    post(conn, Notice(None, "response.objection", facts, f"/response/events/{row.event_id}", key), now)


def decide(conn: Conn, actor: Actor, result_id: int, verdict: tuple[bool, str], now: datetime) -> int:
    """Uphold an objection (measured again from today's intervals) or reject it. Return the result that stands."""
    allow(conn, actor, Deed.DIRECT_RESPONSE, Subject("response_result", str(result_id)), now)
    is_upheld, reason = verdict
    row = results.result(conn, result_id)
    store.lock_event(conn, row.event_id)
    row = results.result(conn, result_id)
    _check_reason(reason)
    made = (now, actor_name(actor))
    if not is_upheld:
        _move(conn, row, "reject", made, reason.strip())
        return result_id
    event = store.event(conn, row.event_id)
    part = store.part(conn, row.event_id, row.enrolment_id)
    again = seen(conn, event, part)
    if again.slots_seen < event.end_slot - event.first_slot:
        raise NotMeasured("response_not_measured", accounts=again.enrolment.account_id)
    programme = store.programme(conn, event.programme_id, event.version)
    step(RESULT, row.state, "uphold")
    _move(conn, row, "uphold", made, reason.strip())
    return _draw(conn, programme, event, again, made).result_id


def settle(conn: Conn, actor: Actor, event_id: int, now: datetime) -> int:
    """Release the confirmed results of an event for payment; return how many. Raises NoSuchMove."""
    allow(conn, actor, Deed.DIRECT_RESPONSE, Subject("response_event", str(event_id)), now)
    store.lock_event(conn, event_id)
    event = store.event(conn, event_id)
    step(EVENT, event.state, "settle")
    found = results.results(conn, event_id)
    for row in found:
        _move(conn, row, "settle", (now, actor_name(actor)), "")
        each = store.enrolment(conn, row.enrolment_id)
        _tell(conn, each, event, "response.settled", now, reward=_yuan(-row.total_fen))
    return len(found)


def _locked(conn: Conn, result_id: int) -> ResultRow:
    store.lock_event(conn, results.result(conn, result_id).event_id)
    return results.result(conn, result_id)


def _deed_of(actor: Actor) -> Deed:
    return Deed.DIRECT_RESPONSE if actor.party_id is None else Deed.ANSWER_RESPONSE


def _of_account(conn: Conn, account_id: str) -> Subject:
    return Subject("account", account_id, store.account_party(conn, account_id))


def _of_enrolment(conn: Conn, enrolment_id: int, *, is_paid: bool) -> Subject:
    row = store.enrolment(conn, enrolment_id)
    return Subject("response_enrolment", str(enrolment_id), row.payee_id if is_paid else row.party_id)


def _of_result(conn: Conn, result_id: int) -> Subject:
    return Subject("response_result", str(result_id), results.result(conn, result_id).payee_id)


def _move(conn: Conn, row: ResultRow, deed: str, made: tuple[datetime, str], reason: str) -> None:
    after = step(RESULT, row.state, deed)
    results.add_step(conn, row.result_id, Step(deed, row.state, after, *made, reason))
    results.set_result(conn, row.result_id, after)


# ---- the clock -------------------------------------------------------------------------------------------


def look(conn: Conn, now: datetime) -> int:
    """Do what is due by the clock: start, end, assess, confirm by silence; return how many moves were made."""
    moves = 0
    for due in store.due_events(conn, now):
        store.lock_event(conn, due.event_id)
        event = store.event(conn, due.event_id)
        for state, deed, instant in (
            ("notified", "start", event.starts_at),
            ("active", "end", event.ends_at),
        ):
            if event.state == state and now >= instant:
                after = step(EVENT, state, deed)
                store.move_event(conn, event.event_id, Step(deed, state, after, now, CLOCK, ""))
                event = store.event(conn, event.event_id)
                moves += 1
        moves += _assess_or_silence(conn, event, now)
    return moves


def _assess_or_silence(conn: Conn, event: EventRow, now: datetime) -> int:
    if event.state == "ended":
        try:
            assess(conn, None, event.event_id, now)
        except NotMeasured:
            return 0  # metering may still fill the gap; the desk shows whose
        return 1
    if event.state != "assessed":
        return 0
    silent = [
        row for row in results.results(conn, event.event_id) if row.state == "drawn" and now >= row.object_by
    ]
    for row in silent:
        _move(conn, row, "silence", (now, CLOCK), "")
    return len(silent)


def _check_reason(reason: str) -> None:
    if not 0 < len(reason.strip()) <= REASON_MAX:
        raise ReasonMissing("reason_missing", longest=REASON_MAX)


def _tell(
    conn: Conn, row: EnrolmentRow, event: EventRow, key: str, at: datetime, again: str = "", **facts: str
) -> None:
    when = f"{event.day} {markettime.slot_label(event.first_slot)}–{markettime.slot_label(event.end_slot)}"
    idem_key = f"{key}:{event.event_id}:{row.enrolment_id}:{again}"
    told = {"when": when, "account": row.account_id, **facts}
    post(conn, Notice(row.payee_id, key, told, f"/response/events/{event.event_id}", idem_key), at)


def _yuan(amount_fen: int) -> str:
    sign = "-" if amount_fen < 0 else ""
    return f"{sign}{abs(amount_fen) // 100}.{abs(amount_fen) % 100:02d}"


def _clock(instant: datetime) -> str:
    return markettime.market_local(instant).strftime("%Y-%m-%d %H:%M")
