"""What reviewers of market entities see: an application, a change, what ends when, what is publicised."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from cloud import markettime
from cloud.api import reply, who
from cloud.api.entityviews import HeadView, field_view, head_of, objections, paper_view
from cloud.api.reply import plain
from cloud.parties import checklist as checklists
from cloud.parties.run import review
from cloud.parties.store import entities, reviews
from cloud.parties.store.entities import PartyRow
from cloud.security import run as security


class CaseView(reply.View):
    """An application beside its checklist."""

    head: HeadView
    rule: str
    due: date
    submitted_at: datetime
    items: tuple[dict[str, Any], ...]
    checks: tuple[dict[str, Any], ...]
    verdicts: tuple[dict[str, str], ...]
    has_decided: bool
    is_open: bool
    shown: int | None


class ChangeView(reply.View):
    """A change beside what is in force."""

    head: HeadView
    change_id: int
    state: str
    reason: str
    happened_on: date
    is_late: bool
    due: date
    rows: tuple[dict[str, str], ...]
    proof: tuple[dict[str, Any], ...]
    verdicts: tuple[dict[str, str], ...]
    has_decided: bool


class CalendarView(reply.View):
    """Documents of registered parties by the day on which they end."""

    today: date
    months: tuple[dict[str, Any], ...]


class PublicityView(reply.View):
    """What is publicised, with the objections that the visitor may see."""

    rows: tuple[dict[str, Any], ...]
    today: date


def case_view(visit: who.Visit, party: PartyRow, shown: int | None) -> CaseView:
    """An application item by item, with what the visitor and the others found."""
    case = review.case_of(visit.conn, party)
    today = markettime.day_of(visit.now)
    me = security.actor_name(visit.actor)
    sent = reviews.papers_of(visit.conn, case.submission.submission_id)
    rows = [row for row in entities.papers(visit.conn, party.party_id) if row.paper_id in sent]
    papers = {row.item: paper_view(row, today) for row in rows}
    fields = {each.key: each for each in case.checklist.fields}
    mine = {each.item: each for each in case.findings if each.reviewer == me}
    others: dict[str, list[dict[str, Any]]] = {}
    for each in case.findings:
        if each.reviewer != me:
            others.setdefault(each.item, []).append(
                {"who": each.reviewer, "is_right": each.is_right, "note": each.note}
            )
    items = []
    for item in case.items:
        kind, _, key = item.partition(".")
        items.append(
            {
                "item": item,
                "kind": kind,
                "key": key,
                "field": field_view(fields[key], case.facts) if kind == "field" else None,
                "paper": papers.get(key) if kind == "paper" else None,
                "mine": {"is_right": mine[item].is_right, "note": mine[item].note} if item in mine else None,
                "others": others.get(item, []),
            }
        )
    return CaseView(
        head=head_of(party),
        rule=case.submission.rule,
        due=case.submission.due,
        submitted_at=case.submission.submitted_at,
        items=tuple(items),
        checks=_checks(case, entities.held(rows), today),
        verdicts=tuple(
            {"who": each.reviewer, "verdict": each.verdict.value, "reason": each.reason}
            for each in case.given
        ),
        has_decided=any(each.reviewer == me for each in case.given),
        is_open=party.state in ("submitted", "reviewing"),
        shown=shown if shown in sent else next((row.paper_id for row in rows), None),
    )


def change_view(visit: who.Visit, change: reviews.ChangeRow, party: PartyRow) -> ChangeView:
    """A change: what is in force beside what is asked for."""
    today = markettime.day_of(visit.now)
    base = next(
        each for each in entities.profiles(visit.conn, party.party_id) if each.version == change.base_version
    )
    proof = [
        row
        for number in reviews.change_papers(visit.conn, change.change_id)
        if (row := entities.find_paper(visit.conn, number)) is not None
    ]
    given = reviews.change_verdicts(visit.conn, change.change_id)
    me = security.actor_name(visit.actor)
    return ChangeView(
        head=head_of(party),
        change_id=change.change_id,
        state=change.state,
        reason=change.reason,
        happened_on=change.happened_on,
        is_late=change.is_late,
        due=change.due,
        rows=tuple(
            {"key": key, "before": base.facts.get(key, ""), "after": value}
            for key, value in change.facts.items()
        ),
        proof=tuple(paper_view(row, today) for row in proof),
        verdicts=tuple({"who": each[0], "verdict": each[1], "reason": each[2]} for each in given),
        has_decided=any(each[0] == me for each in given),
    )


def calendar_view(visit: who.Visit, days: int) -> CalendarView:
    """What ends within so many days, or has ended, month by month."""
    today = markettime.day_of(visit.now)
    months: dict[str, list[dict[str, Any]]] = {}
    for party, paper in entities.expiring(visit.conn, today + timedelta(days=days + 1)):
        row = paper_view(paper, today)
        row |= {"party_id": party.party_id, "party": party.name, "kind": party.kind, "state": party.state}
        months.setdefault(f"{row['until']:%Y-%m}", []).append(row)
    return CalendarView(
        today=today, months=tuple({"month": month, "rows": rows} for month, rows in months.items())
    )


def publicity_view(visit: who.Visit) -> PublicityView:
    """What is publicised now."""
    today = markettime.day_of(visit.now)
    rows = []
    for each in reviews.publicised(visit.conn, today):
        party = entities.find(visit.conn, each.party_id)
        assert party is not None
        rows.append(
            {
                "publicity_id": each.publicity_id,
                "party_id": party.party_id,
                "party": party.name,
                "kind": party.kind,
                "subkind": party.subkind,
                "about": each.about,
                "starts": each.starts,
                "last": each.ends - timedelta(days=1),
                "is_running": each.starts <= today < each.ends,
                "objections": objections(visit, each.publicity_id),
            }
        )
    return PublicityView(rows=tuple(rows), today=today)


def _checks(
    case: review.Case, held: Sequence[checklists.HeldPaper], today: date
) -> tuple[dict[str, Any], ...]:
    """What the system checked by itself: nothing missing, minima, admission tier, class."""
    subkind = case.facts.get("subkind", case.party.subkind)
    found = checklists.gaps(case.checklist, subkind, case.facts, held, today)
    checks: list[dict[str, Any]] = [
        {"is_right": False, "item": gap.item, "why": gap.why, "facts": dict(gap.facts)} for gap in found
    ]
    if not found:
        checks.append({"is_right": True, "item": "", "why": "complete", "facts": {}})
    if case.facts.get("usci"):
        checks.append({"is_right": True, "item": "field.usci", "why": "usci_right", "facts": {}})
    admitted = checklists.admitted(case.checklist, case.facts)
    if admitted is not None and admitted.is_admitted:
        cap = admitted.annual_cap_kwh
        why = "cap_none" if cap is None else "cap"
        facts = {} if cap is None else {"kwh": plain(cap)}
        checks.append({"is_right": True, "item": "field.assets_yuan", "why": why, "facts": facts})
    scale = checklists.scale_of(case.checklist, case.facts)
    if scale:
        checks.append({"is_right": True, "item": "field.annual_kwh", "why": f"scale_{scale}", "facts": {}})
    return tuple(checks)
