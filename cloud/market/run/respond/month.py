"""Shell: pay a month's capacity, resource by resource, when nothing of its events is open any more."""

from __future__ import annotations

from datetime import date, datetime

from cloud import markettime
from cloud.db import Conn
from cloud.market import aggregate
from cloud.market import capacity as cp
from cloud.market.programme import Programme
from cloud.market.run.respond.telling import yuan_text
from cloud.market.store import enrolments, programmes, responsemoney
from cloud.market.store import response as store
from cloud.market.store import responseresults as results
from cloud.market.store.enrolments import EnrolmentRow
from cloud.market.store.response import EventRow
from cloud.notices import Notice, post


def pay_capacity(conn: Conn, month: date, now: datetime) -> int:
    """Draw up the capacity payments of a month that is over; return how many were drawn up now. Safe to run twice.

    By the programme's version in force on the resource's first day of the month. A resource with an event of the month
    that is not settled waits: what failed is known when it is confirmed.
    """
    after = markettime.month_after(month)
    if markettime.day_of(now) < after:
        return 0
    paid = 0
    for row in enrolments.without_capacity(conn, (month, after)):
        first, end = max(row.first_day, month), min(row.end_day or after, after)
        try:
            programme = programmes.programme_on(conn, row.programme_id, first)
        except programmes.NoProgramme:
            continue
        events = store.called_in(conn, row.enrolment_id, (month, after))
        if programme.capacity is None or any(each.state != "settled" for each in events):
            continue
        calls = tuple(_call(conn, row, each) for each in events)
        resource = cp.Resource(str(row.enrolment_id), month, row.capacity_kw, (end - first).days)
        paid += _keep(
            conn, row, programme, cp.payment(programme, programme.capacity, resource, calls), (month, now)
        )
    return paid


def _call(conn: Conn, row: EnrolmentRow, event: EventRow) -> cp.Call:
    """What a resource promised and did. Without a baseline nothing can be held against it."""
    part = store.part(conn, event.event_id, row.enrolment_id)
    found = [each for each in results.results(conn, event.event_id) if each.enrolment_id == row.enrolment_id]
    if part.choice != "in" or not found:
        return cp.Call(str(event.event_id), event.is_test, None, cp.NOTHING, cp.NOTHING)
    (result,) = found
    done = result.bid_kwh if result.facts["problem"] else result.response_kwh
    return cp.Call(str(event.event_id), event.is_test, part.bid_kw, result.bid_kwh, done)


def _keep(
    conn: Conn, row: EnrolmentRow, programme: Programme, found: cp.Payment, of: tuple[date, datetime]
) -> int:
    month, now = of
    rule = None if row.aggregator_id is None else programmes.split_on(conn, row.aggregator_id, month)
    passed_on = 0 if rule is None else aggregate.passed_on_fen(rule, found.total_fen)
    new = responsemoney.NewCapacity(
        *(row.enrolment_id, month, (programme.id, programme.version), row.payee_id, row.party_id, passed_on)
    )
    if not responsemoney.insert_capacity(conn, new, found, now):
        return 0
    facts = {"month": f"{month:%Y-%m}", "account": row.account_id, "reward": yuan_text(-found.total_fen)}
    key = f"response-capacity:{row.enrolment_id}:{month:%Y-%m}"
    post(conn, Notice(row.payee_id, "response.capacity", facts, "/response#capacity", key), now)
    return 1
