"""What the pages of demand response show: events, resources, statements, capacity and portfolios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from cloud.api import reply
from cloud.market.run.respond import Seen
from cloud.market.store.enrolments import EnrolmentRow
from cloud.market.store.response import EventRow, PartRow
from cloud.market.store.responsemoney import CapacityRow, PortfolioRow, ShareRow
from cloud.market.store.responseresults import ResultRow
from cloud.markettime import slot_label


class EventHead(reply.View):
    """An event in a list."""

    event_id: int
    programme: str
    day: date
    hours: str
    starts_at: datetime
    answer_by: datetime
    target_kw: int
    price_yuan_per_kwh: str
    reason: str
    state: str
    is_test: bool


class EnrolmentView(reply.View):
    """A resource in a programme."""

    enrolment_id: int
    programme_id: str
    account_id: str
    account_name: str
    party: str
    aggregator: str | None
    first_day: date
    end_day: date | None
    capacity_kw: int
    resource: str
    is_mine: bool


class PartView(reply.View):
    """A participant of an event, its answer and how it does."""

    enrolment_id: int
    account_id: str
    account_name: str
    capacity_kw: int
    estimate_fen: int
    choice: str | None
    bid_kw: int | None
    baseline_days: tuple[date, ...]
    problem: str
    response_kwh: str
    slots_seen: int
    slots: int
    may_answer: bool
    party: str
    aggregator: str | None
    share_fen: int | None
    is_own: bool


class ResultView(reply.View):
    """A participant's statement of an event."""

    result_id: int
    enrolment_id: int
    revision: int
    bid_kwh: str
    response_kwh: str
    eligible_kwh: str
    total_fen: int
    lines: tuple[dict[str, Any], ...]
    settled_with: str
    facts: dict[str, Any]
    object_by: datetime
    state: str
    may_answer: bool


class StepView(reply.View):
    """A move of an event."""

    deed: str
    after: str
    at: datetime
    reason: str


class CapacityView(reply.View):
    """A resource's month of capacity; the amounts as the visitor's party receives (-) them."""

    account_id: str
    month: date
    kw: int
    failures: int
    total_fen: int
    passed_on_fen: int
    lines: tuple[dict[str, Any], ...]
    is_member: bool


class ShareView(reply.View):
    """A part of a settled portfolio."""

    party: str
    account_id: str | None
    rule: str
    weight_kwh: str
    amount_fen: int


class PortfolioView(reply.View):
    """An aggregator in an event: its members as one."""

    event_id: int
    day: date
    aggregator_id: int
    aggregator: str
    assess: str
    state: str
    members: int
    bid_kwh: str
    response_kwh: str
    eligible_kwh: str
    total_fen: int
    kept_fen: int | None
    passed_on_fen: int
    lines: tuple[dict[str, Any], ...]
    shares: tuple[ShareView, ...]


def head_view(row: EventRow) -> EventHead:
    """An event for a list."""
    return EventHead(
        event_id=row.event_id,
        programme=f"{row.programme_id}@{row.version}",
        day=row.day,
        hours=f"{slot_label(row.first_slot)}–{slot_label(row.end_slot)}",
        starts_at=row.starts_at,
        answer_by=row.answer_by,
        target_kw=row.target_kw,
        price_yuan_per_kwh=format(row.price_yuan_per_kwh, "f"),
        reason=row.reason,
        state=row.state,
        is_test=row.is_test,
    )


def enrolment_view(row: EnrolmentRow, party_id: int | None) -> EnrolmentView:
    """A resource; `is_mine`: the visitor's own account, which it may take out."""
    return EnrolmentView(
        enrolment_id=row.enrolment_id,
        programme_id=row.programme_id,
        account_id=row.account_id,
        account_name=row.account_name,
        party=row.party_name,
        aggregator=row.aggregator_name,
        first_day=row.first_day,
        end_day=row.end_day,
        capacity_kw=row.capacity_kw,
        resource=row.resource,
        is_mine=row.party_id == party_id,
    )


def part_view(
    event: EventRow, found: Seen, party_id: int | None, now: datetime, shares: Sequence[ShareRow]
) -> PartView:
    """A participant as it stands; `shares` are those of the event that the visitor may see."""
    part: PartRow = found.part
    return PartView(
        enrolment_id=part.enrolment_id,
        account_id=found.enrolment.account_id,
        account_name=found.enrolment.account_name,
        capacity_kw=found.enrolment.capacity_kw,
        estimate_fen=part.estimate_fen,
        choice=part.choice,
        bid_kw=part.bid_kw,
        baseline_days=tuple(part.days or ()),
        problem=part.problem or "",
        response_kwh=_kwh(found.response_kwh),
        slots_seen=found.slots_seen,
        slots=event.end_slot - event.first_slot,
        may_answer=event.state == "notified"
        and now < event.answer_by
        and found.enrolment.payee_id == party_id,
        party=found.enrolment.party_name,
        aggregator=found.enrolment.aggregator_name,
        is_own=found.enrolment.party_id == party_id,
        share_fen=next((each.amount_fen for each in shares if each.enrolment_id == part.enrolment_id), None),
    )


def result_view(row: ResultRow, party_id: int | None) -> ResultView:
    """A statement; only whom it pays answers it."""
    return ResultView(
        result_id=row.result_id,
        enrolment_id=row.enrolment_id,
        revision=row.revision,
        bid_kwh=_kwh(row.bid_kwh),
        response_kwh=_kwh(row.response_kwh),
        eligible_kwh=_kwh(row.eligible_kwh),
        total_fen=row.total_fen,
        lines=tuple(row.lines),
        settled_with=str(row.facts.get("settled_with", "itself")),
        facts=row.facts,
        object_by=row.object_by,
        state=row.state,
        may_answer=row.payee_id == party_id and row.state == "drawn",
    )


def capacity_view(row: CapacityRow, party_id: int | None) -> CapacityView:
    """A month of capacity; a member of a portfolio sees what is passed on to it."""
    is_member = row.party_id == party_id and row.payee_id != party_id
    return CapacityView(
        account_id=row.account_id,
        month=row.month,
        kw=row.kw,
        failures=row.failures,
        total_fen=row.passed_on_fen if is_member else row.total_fen,
        passed_on_fen=row.passed_on_fen,
        lines=() if is_member else tuple(row.lines),
        is_member=is_member,
    )


def portfolio_view(
    row: PortfolioRow, shares: Sequence[ShareRow], accounts: Mapping[int, str]
) -> PortfolioView:
    """A portfolio with its parts, once it is settled."""
    own = [each for each in shares if each.portfolio_id == row.portfolio_id]
    kept = next((each.amount_fen for each in own if each.enrolment_id is None), None)
    return PortfolioView(
        event_id=row.event_id,
        day=row.day,
        aggregator_id=row.aggregator_id,
        aggregator=row.aggregator,
        assess=row.assess,
        state=row.event_state,
        members=row.members,
        bid_kwh=_kwh(row.bid_kwh),
        response_kwh=_kwh(row.response_kwh),
        eligible_kwh=_kwh(row.eligible_kwh),
        total_fen=row.total_fen,
        kept_fen=kept,
        passed_on_fen=sum(each.amount_fen for each in own if each.enrolment_id is not None),
        lines=tuple(row.lines),
        shares=tuple(
            ShareView(
                party=each.party,
                account_id=None if each.enrolment_id is None else accounts.get(each.enrolment_id),
                rule=each.rule,
                weight_kwh=_kwh(Decimal(each.weight_wh).scaleb(-3)),
                amount_fen=each.amount_fen,
            )
            for each in own
        ),
    )


def _kwh(value: Decimal) -> str:
    """Write an energy without idle zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
