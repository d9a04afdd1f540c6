"""Shell: what participants did in an event, from validated quarter-hours, each by itself and each portfolio as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from cloud.db import Conn
from cloud.errors import NotNow
from cloud.lives import step
from cloud.market import aggregate
from cloud.market import baseline as bl
from cloud.market import performance as pf
from cloud.market.programme import EVENT, Assess, Programme, Step
from cloud.market.run.respond.telling import CLOCK, clock_text, tell, tell_party, yuan_text
from cloud.market.store import enrolments, members, programmes, responsemoney
from cloud.market.store import response as store
from cloud.market.store import responseresults as results
from cloud.market.store.enrolments import EnrolmentRow
from cloud.market.store.response import EventRow, PartRow
from cloud.market.store.responseresults import ResultRow
from cloud.markettime import SLOTS_PER_DAY
from cloud.metering.interval import IntervalQuality
from cloud.metering.store import intervals
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow

MEASURED: Final = (IntervalQuality.ACTUAL, IntervalQuality.RECOLLECTED)


class NotMeasured(NotNow):
    """Quarter-hours of the event are missing or estimated: it cannot be assessed yet."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A participant's day so far beside its baseline."""

    part: PartRow
    enrolment: EnrolmentRow
    actual_wh: tuple[int | None, ...]
    fitted: bl.Adjusted | None
    response_kwh: Decimal
    slots_seen: int


def day_loads(conn: Conn, account_id: str, first: date, end: date) -> tuple[bl.DayLoad, ...]:
    """Add up an account's supply points by day; what is estimated counts as not known."""
    curves: dict[date, list[tuple[str, tuple[int | None, ...]]]] = {}
    points = members.supply_points(conn, account_id)
    for point in points:
        for each in intervals.load_days(conn, point, first, end):
            curve = (f"{point}@{each.revision}", measured(each.import_wh, each.quality))
            curves.setdefault(each.day, []).append(curve)
    return tuple(bl.load_of(day, found) for day, found in sorted(curves.items()) if len(found) == len(points))


def _member_load(conn: Conn, event: EventRow, enrolment_id: int) -> tuple[bl.DayLoad, ...]:
    """The event's day as the aggregator sees it, to whom the account itself is closed."""
    rows = store.member_load(conn, event.event_id, enrolment_id)
    curves = [
        (f"{point}@{revision}", measured(wh, quality))
        for point, revision, wh, quality in rows
        if wh is not None and quality is not None
    ]
    is_whole = bool(rows) and len(curves) == len(rows)
    return (bl.load_of(event.day, curves),) if is_whole else ()


def measured(wh: Sequence[int | None], quality: Sequence[int]) -> tuple[int | None, ...]:
    """Quarter-hours that were measured; what is estimated counts as not known."""
    return tuple(each if mark in MEASURED else None for each, mark in zip(wh, quality, strict=True))


def seen(conn: Conn, event: EventRow, part: PartRow) -> Seen:
    """A participant's event so far, from validated quarter-hours: for the live page and for the assessment alike."""
    row = enrolments.enrolment(conn, part.enrolment_id)
    programme = programmes.programme(conn, event.programme_id, event.version)
    found = day_loads(conn, row.account_id, event.day, event.day + timedelta(days=1)) or _member_load(
        conn, event, part.enrolment_id
    )
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
    programme = programmes.programme(conn, event.programme_id, event.version)
    for each in found:
        draw(conn, programme, event, each, (now, by))
    for aggregator_id in sorted({each.enrolment.aggregator_id or 0 for each in found} - {0}):
        draw_portfolio(conn, programme, event, aggregator_id, now)
    store.move_event(conn, event_id, Step("assess", event.state, after, now, by, f"{len(found)}"))
    if not found:
        for deed in ("confirm", "settle"):
            state = store.event(conn, event_id).state
            store.move_event(conn, event_id, Step(deed, state, step(EVENT, state, deed), now, by, "0"))
    return len(found)


def draw(
    conn: Conn, programme: Programme, event: EventRow, each: Seen, made: tuple[datetime, str]
) -> ResultRow:
    """Draw up what a participant did and is paid: its next revision.

    A test pays no energy; a member of a portfolio that is measured as one is paid by the split of that.
    """
    now, by = made
    is_joint = programme.assess is Assess.PORTFOLIO and each.enrolment.aggregator_id is not None
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
    if event.is_test or is_joint:
        found = replace(found, lines=())
    facts: dict[str, Any] = {
        "programme": programme.origin,
        "settled_with": "test" if event.is_test else "portfolio" if is_joint else "itself",
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
    if is_joint and not event.is_test:
        return row  # the aggregator is told of its portfolio
    tell(
        conn,
        each.enrolment,
        event,
        "response.assessed",
        now,
        f"{row.revision}",
        reward=yuan_text(-found.total_fen),
        until=clock_text(object_by),
    )
    return row


def draw_portfolio(
    conn: Conn, programme: Programme, event: EventRow, aggregator_id: int, now: datetime
) -> None:
    """Draw up an aggregator's event from the results of its members that stand: its next revision."""
    rows = {row.enrolment_id: row for row in results.results(conn, event.event_id)}
    joint = []
    standing: list[ResultRow] = []
    for part in store.parts(conn, event.event_id):
        row, enrolment = rows.get(part.enrolment_id), enrolments.enrolment(conn, part.enrolment_id)
        if row is None or enrolment.aggregator_id != aggregator_id:
            continue
        standing.append(row)
        if not row.facts["problem"]:
            kw = tuple(map(Fraction, row.facts["baseline_kw"]))
            fitted = bl.Adjusted(kw, None, None, Fraction(0))
            wh = tuple(row.facts["actual_wh"])
            joint.append(
                aggregate.Member(part.enrolment_id, enrolment.party_id, part.bid_kw or 0, fitted, wh)
            )
    found = responsemoney.NewPortfolio(
        len(standing),
        sum((row.bid_kwh for row in standing), Decimal(0)),
        sum((row.response_kwh for row in standing), Decimal(0)),
        sum((row.eligible_kwh for row in standing), Decimal(0)),
        sum(row.total_fen for row in standing),
        (),
    )
    if programme.assess is Assess.PORTFOLIO and joint:
        called = pf.Called(event.day, event.slots, 0, event.price_yuan_per_kwh, str(event.event_id))
        one = aggregate.portfolio_performance(programme, called, joint)
        lines = () if event.is_test else one.lines
        found = responsemoney.NewPortfolio(
            *(len(standing), one.bid_kwh, one.response_kwh, one.eligible_kwh),
            sum(line.amount_fen for line in lines),
            tuple(pf.line_json(line) for line in lines),
        )
    key = (event.event_id, aggregator_id)
    responsemoney.insert_portfolio(conn, key, programme.assess.value, found, now)
    if programme.assess is Assess.PORTFOLIO and not event.is_test:
        until = max(row.object_by for row in standing)
        facts = {"reward": yuan_text(-found.total_fen), "until": clock_text(until)}
        tell_party(conn, aggregator_id, event, "response.portfolio", now, **facts)
