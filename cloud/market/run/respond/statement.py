"""Shell: participants agree with their statements or object, staff decide and settle; a portfolio is split."""

from __future__ import annotations

from datetime import datetime

from cloud.db import Conn
from cloud.errors import NotNow
from cloud.lives import step
from cloud.market import aggregate
from cloud.market.programme import EVENT, RESULT, Step
from cloud.market.run.respond.measure import NotMeasured, draw, draw_portfolio, seen
from cloud.market.run.respond.telling import check_reason, clock_text, tell, tell_party, yuan_text
from cloud.market.store import enrolments, programmes, responsemoney
from cloud.market.store import response as store
from cloud.market.store import responseresults as results
from cloud.market.store.response import EventRow
from cloud.market.store.responsemoney import PortfolioRow
from cloud.market.store.responseresults import ResultRow
from cloud.notices import Notice, post
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow


def confirm(conn: Conn, actor: Actor, result_id: int, now: datetime) -> None:
    """The participant agrees with its statement."""
    allow(conn, actor, Deed.ANSWER_RESPONSE, _of_result(conn, result_id), now)
    row = _locked(conn, result_id)
    move(conn, row, "confirm", (now, actor_name(actor)), "")


def object_to(conn: Conn, actor: Actor, result_id: int, reason: str, now: datetime) -> None:
    """The participant objects, with a reason and in time. Raises ReasonMissing, NoSuchMove."""
    allow(conn, actor, Deed.ANSWER_RESPONSE, _of_result(conn, result_id), now)
    row = _locked(conn, result_id)
    check_reason(reason)
    if now >= row.object_by:
        raise NotNow("response_objected_too_late", until=clock_text(row.object_by))
    move(conn, row, "object", (now, actor_name(actor)), reason.strip())
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
    check_reason(reason)
    made = (now, actor_name(actor))
    if not is_upheld:
        move(conn, row, "reject", made, reason.strip())
        return result_id
    event = store.event(conn, row.event_id)
    part = store.part(conn, row.event_id, row.enrolment_id)
    again = seen(conn, event, part)
    if again.slots_seen < event.end_slot - event.first_slot:
        raise NotMeasured("response_not_measured", accounts=again.enrolment.account_id)
    programme = programmes.programme(conn, event.programme_id, event.version)
    step(RESULT, row.state, "uphold")
    move(conn, row, "uphold", made, reason.strip())
    new_id = draw(conn, programme, event, again, made).result_id
    if again.enrolment.aggregator_id is not None:
        draw_portfolio(conn, programme, event, again.enrolment.aggregator_id, now)
    return new_id


def settle(conn: Conn, actor: Actor, event_id: int, now: datetime) -> int:
    """Release the confirmed results of an event for payment; return how many. Raises NoSuchMove."""
    allow(conn, actor, Deed.DIRECT_RESPONSE, Subject("response_event", str(event_id)), now)
    store.lock_event(conn, event_id)
    event = store.event(conn, event_id)
    step(EVENT, event.state, "settle")
    found = results.results(conn, event_id)
    for row in found:
        move(conn, row, "settle", (now, actor_name(actor)), "")
        each = enrolments.enrolment(conn, row.enrolment_id)
        tell(conn, each, event, "response.settled", now, reward=yuan_text(-row.total_fen))
    for portfolio in responsemoney.portfolios(conn, event_id):
        _split(conn, event, portfolio, found, now)
    return len(found)


def _split(
    conn: Conn, event: EventRow, portfolio: PortfolioRow, rows: tuple[ResultRow, ...], now: datetime
) -> None:
    """Share a portfolio's amount by the rule in force on the event's day; without one it stays with the aggregator."""
    rule = programmes.split_on(conn, portfolio.aggregator_id, event.day)
    if rule is None or portfolio.total_fen == 0:
        return
    parts = []
    for row in sorted(rows, key=lambda each: each.enrolment_id):
        each = enrolments.enrolment(conn, row.enrolment_id)
        if each.aggregator_id == portfolio.aggregator_id:
            parts.append(aggregate.Part(each.enrolment_id, each.party_id, row.bid_kwh, row.response_kwh))
    found = aggregate.split(rule, portfolio.total_fen, parts)
    responsemoney.insert_shares(conn, portfolio, rule.origin, found, now)
    for share in found.shares:
        if share.amount_fen:
            facts = {"reward": yuan_text(-share.amount_fen), "aggregator": portfolio.aggregator}
            tell_party(conn, share.party_id, event, "response.shared", now, **facts)


def _locked(conn: Conn, result_id: int) -> ResultRow:
    store.lock_event(conn, results.result(conn, result_id).event_id)
    return results.result(conn, result_id)


def _of_result(conn: Conn, result_id: int) -> Subject:
    return Subject("response_result", str(result_id), results.result(conn, result_id).payee_id)


def move(conn: Conn, row: ResultRow, deed: str, made: tuple[datetime, str], reason: str) -> None:
    """Move a result. Raises NoSuchMove."""
    after = step(RESULT, row.state, deed)
    results.add_step(conn, row.result_id, Step(deed, row.state, after, *made, reason))
    results.set_result(conn, row.result_id, after)
