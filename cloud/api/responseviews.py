"""What the pages of demand response show: views and the plot of a participant's day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any, Final

from cloud.api import reply
from cloud.market.run.respond import Seen
from cloud.market.store.response import EnrolmentRow, EventRow, PartRow
from cloud.market.store.responseresults import ResultRow
from cloud.markettime import SLOTS_PER_DAY, slot_label

_MARGIN_SLOTS: Final = 8  # what the plot shows before and after the event


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


@dataclass(frozen=True, slots=True)
class Plot:
    """A participant's hours around the event in a box of 1000 x 400, and the numbers behind it."""

    event_x: int
    event_width: int
    base: str
    actual: tuple[str, ...]
    top_kw: int
    rows: tuple[tuple[str, str, str], ...]
    first: str
    end: str


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


def part_view(event: EventRow, found: Seen, party_id: int | None, now: datetime) -> PartView:
    """A participant as it stands."""
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
        response_kwh=format(found.response_kwh, "f"),
        slots_seen=found.slots_seen,
        slots=event.end_slot - event.first_slot,
        may_answer=event.state == "notified"
        and now < event.answer_by
        and found.enrolment.payee_id == party_id,
    )


def result_view(row: ResultRow, party_id: int | None) -> ResultView:
    """A statement; only whom it pays answers it."""
    return ResultView(
        result_id=row.result_id,
        enrolment_id=row.enrolment_id,
        revision=row.revision,
        bid_kwh=format(row.bid_kwh, "f"),
        response_kwh=format(row.response_kwh, "f"),
        eligible_kwh=format(row.eligible_kwh, "f"),
        total_fen=row.total_fen,
        lines=tuple(row.lines),
        facts=row.facts,
        object_by=row.object_by,
        state=row.state,
        may_answer=row.payee_id == party_id and row.state == "drawn",
    )


def plot(event: EventRow, found: Seen) -> Plot | None:
    """Baseline and actual around the event; None without a baseline."""
    raw = found.part.baseline
    if raw is None:
        return None
    first, end = max(0, event.first_slot - _MARGIN_SLOTS), min(SLOTS_PER_DAY, event.end_slot + _MARGIN_SLOTS)
    fitted = dict(enumerate(found.fitted.kw if found.fitted else (), start=event.first_slot))
    base = [fitted.get(slot, raw.kw[slot]) for slot in range(first, end)]
    actual = [None if wh is None else Fraction(wh, 250) for wh in found.actual_wh[first:end]]
    top = max([*base, *(each for each in actual if each is not None), Fraction(1)]) * Fraction(11, 10)
    width = Fraction(1000, end - first)

    def point(number: int, kw: Fraction) -> str:
        return f"{int(width * number + width / 2)},{int(400 - 400 * kw / top)}"

    runs: list[list[str]] = [[]]
    for number, kw in enumerate(actual):
        if kw is None:
            runs.append([])
        else:
            runs[-1].append(point(number, kw))
    rows = tuple(
        (slot_label(first + number), str(int(kw)), "—" if seen is None else str(int(seen)))
        for number, (kw, seen) in enumerate(zip(base, actual, strict=True))
    )
    return Plot(
        int(width * (event.first_slot - first)),
        int(width * (event.end_slot - event.first_slot)),
        " ".join(point(number, kw) for number, kw in enumerate(base)),
        tuple(" ".join(run) for run in runs if run),
        int(top),
        rows,
        slot_label(first),
        slot_label(end),
    )
