"""What the pages of market entities show: a company to itself, an entity to staff."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from cloud import markettime
from cloud.api import reply, who
from cloud.api.reply import plain
from cloud.billing.store import bills
from cloud.daytypes import NoCalendar
from cloud.errors import NotFound
from cloud.parties import checklist as checklists
from cloud.parties import registration
from cloud.parties.checklist import Checklist, Field
from cloud.parties.party import EDITABLE, REGISTERED, SUBKINDS, Kind, may_trade, services
from cloud.parties.run import register
from cloud.parties.store import entities, obstacles, reviews, units
from cloud.parties.store.entities import PaperRow, PartyRow
from cloud.parties.store.obstacles import Obstacle
from cloud.security import run as security
from cloud.security.access import Subject
from cloud.security.store import names_of

NUMBERS = frozenset({"yuan", "decimal", "whole"})
BILLS_SHOWN = 24
_LEAVABLE = REGISTERED | {"deregistering"}
_PERSON = re.compile(r"user:[0-9]{1,18}")
_OBSTACLE_PATHS = {
    "contract": "/contracts/{}",
    "statement": "/statements/{}",
    "receivable": "/accounts/{}/timeline",
    "bill": "/bills/{}",
    "listing": "/listings/{}",
    "order": "/rolling/{}",
    "negotiation": "/negotiations/{}",
    "transfer": "/transfers/{}",
}


class NoParty(NotFound):
    """There is no such party."""


class HeadView(reply.View):
    """A party and where it stands."""

    party_id: int
    name: str
    kind: str
    subkind: str
    state: str
    may_trade: bool


class EntityView(reply.View):
    """Everything of a party: to itself as the company page, to staff as entity 360."""

    head: HeadView
    rule: str
    sources: tuple[dict[str, str], ...]
    commitment: str
    subkinds: tuple[str, ...]
    fields: tuple[dict[str, Any], ...]
    papers: tuple[dict[str, Any], ...]
    older_papers: tuple[dict[str, Any], ...]
    gaps: tuple[dict[str, Any], ...]
    promised: date | None
    services: tuple[str, ...]
    scale: str
    annual_cap_kwh: str | None
    versions: tuple[dict[str, Any], ...]
    changes: tuple[dict[str, Any], ...]
    leave: dict[str, Any] | None
    earliest_leave: date | None  # none: next year's holidays are not entered yet
    publicity: dict[str, Any] | None
    units: tuple[dict[str, Any], ...]
    points: tuple[dict[str, Any], ...]
    relations: tuple[dict[str, Any], ...]
    timeline: tuple[dict[str, Any], ...]
    obstacles: tuple[dict[str, Any], ...]
    bills: tuple[dict[str, Any], ...]
    may_edit: bool
    may_change: bool


class DeskView(reply.View):
    """Staff's list of entities, and what ends soon."""

    parties: tuple[HeadView, ...]
    counts: dict[str, int]
    asked: dict[str, str]
    kinds: tuple[str, ...]
    states: tuple[str, ...]


class QueueView(reply.View):
    """What waits for review, by promised day."""

    work: tuple[dict[str, Any], ...]
    today: date


class InvitedView(reply.View):
    """The first person of an invited party; the password is shown once and kept nowhere."""

    party_id: int
    name: str
    login: str
    password: str


def party_for(visit: who.Visit, party_id: int) -> PartyRow:
    """The party, if the visitor may do this visit's deed to it. Raises NoParty, NotYours, NotForRole."""
    party = entities.find(visit.conn, party_id)
    if party is None:
        raise NoParty("not_found", kind="party")
    security.allow(visit.conn, visit.actor, visit.deed, Subject("party", str(party_id), party_id), visit.now)
    return party


def head_of(party: PartyRow) -> HeadView:
    """The head of a party's page."""
    trades = may_trade(party.kind, party.subkind, party.state)
    return HeadView(
        party_id=party.party_id,
        name=party.name,
        kind=party.kind,
        subkind=party.subkind,
        state=party.state,
        may_trade=trades,
    )


def entity(visit: who.Visit, party: PartyRow) -> EntityView:
    """Gather everything of a party."""
    conn, now = visit.conn, visit.now
    today = markettime.day_of(now)
    wanted = checklists.in_force(Kind(party.kind), today)
    form = entities.form_of(conn, party.party_id)
    profile = entities.profile_at(conn, party.party_id, now)
    facts = (
        profile.facts
        if profile and party.state not in EDITABLE
        else form.facts
        if form
        else {"name": party.name}
    )
    papers = entities.papers(conn, party.party_id)
    is_draft = party.state in EDITABLE
    gaps = register.readiness(conn, party, now).gaps if is_draft else ()
    submission = reviews.last_submission(conn, party.party_id)
    admitted = checklists.admitted(wanted, facts)
    cap = admitted.annual_cap_kwh if admitted else None
    return EntityView(
        head=head_of(party),
        rule=wanted.name,
        sources=tuple({"document": each.document, "mark": each.mark} for each in wanted.sources),
        commitment=wanted.commitment,
        subkinds=SUBKINDS[Kind(party.kind)],
        fields=tuple(field_view(each, facts) for each in checklists.fields_of(wanted, party.subkind or "-")),
        papers=_papers(wanted, party.subkind, papers, today),
        older_papers=_older(papers),
        gaps=tuple({"item": gap.item, "why": gap.why, "facts": dict(gap.facts)} for gap in gaps),
        promised=submission.due if submission and party.state in ("submitted", "reviewing") else None,
        services=tuple(each.value for each in services(Kind(party.kind), party.subkind)),
        scale=checklists.scale_of(wanted, facts),
        annual_cap_kwh=None if cap is None else plain(cap),
        versions=_versions(visit, party),
        changes=_changes(visit, party),
        leave=_leave(visit, party),
        earliest_leave=_earliest_leave(today, wanted),
        publicity=_publicity_of(visit, party),
        units=_units(visit, party),
        points=_points(visit, party),
        relations=tuple(
            {
                "user": each.user_name,
                "retailer": each.retailer_name,
                "start": each.start,
                "end": each.end,
            }
            for each in units.relations(conn, party.party_id)
        ),
        timeline=timeline(visit, party),
        obstacles=_obstacles(visit, party, today) if party.state in _LEAVABLE else (),
        bills=_bills(visit, party),
        may_edit=is_draft,
        may_change=party.state in REGISTERED and profile is not None,
    )


def field_view(wanted: Field, facts: Any) -> dict[str, Any]:
    """A fact with its value and how it is written."""
    value = facts.get(wanted.key, "")
    return {
        "key": wanted.key,
        "type": wanted.type,
        "options": wanted.options,
        "is_optional": wanted.is_optional,
        "value": value,
        "shown": plain(value) if value and wanted.type in NUMBERS else value,
    }


def paper_view(row: PaperRow, today: date) -> dict[str, Any]:
    """A document with the last day on which it holds and how many days that is away."""
    until = None if row.valid_until is None else row.valid_until - timedelta(days=1)
    return {
        "paper_id": row.paper_id,
        "item": row.item,
        "number": row.number,
        "issuer": row.issuer,
        "until": until,
        "days": None if until is None else (until - today).days,
        "file": row.file_name,
        "media_type": row.media_type,
        "added_at": row.added_at,
    }


def timeline(visit: who.Visit, party: PartyRow) -> tuple[dict[str, Any], ...]:
    """Everything that happened to the party, newest first."""
    moves = [
        {
            "at": each.at,
            "what": f"deed.{each.deed}",
            "actor": each.actor,
            "text": each.reason,
            "state": each.after,
        }
        for each in entities.events(visit.conn, party.party_id)
    ]
    papers = [
        {"at": row.added_at, "what": "paper", "actor": row.added_by, "text": row.item, "state": ""}
        for row in entities.papers(visit.conn, party.party_id)
    ]
    asked = [
        {
            "at": row.asked_at,
            "what": "change_asked",
            "actor": row.asked_by,
            "text": row.reason,
            "state": row.state,
        }
        for row in reviews.changes(visit.conn, party.party_id)
    ]
    rows = list(enumerate([*reversed(papers), *reversed(asked), *moves]))
    newest = sorted(rows, key=lambda each: (each[1]["at"], each[0]), reverse=True)
    names = _names(visit, [str(row["actor"]) for _, row in newest])
    return tuple(row | names[str(row["actor"])] for _, row in newest)


def _names(visit: who.Visit, actors: Sequence[str]) -> dict[str, dict[str, str]]:
    """Who an actor is to this visitor: a party reads the names of its own people, of everybody else only what they are."""
    numbers = [int(actor.removeprefix("user:")) for actor in actors if _PERSON.fullmatch(actor)]
    known = names_of(visit.conn, numbers)
    found: dict[str, dict[str, str]] = {}
    for actor in actors:
        person = known.get(int(actor.removeprefix("user:"))) if _PERSON.fullmatch(actor) else None
        if person is None:
            found[actor] = {"actor": "", "actor_kind": "clock" if actor.startswith("job:") else "program"}
        elif visit.actor.party_id in (None, person[1]):
            found[actor] = {"actor": person[0], "actor_kind": "person"}
        else:
            found[actor] = {"actor": "", "actor_kind": "house" if person[1] is None else "other"}
    return found


def _obstacles(visit: who.Visit, party: PartyRow, today: date) -> tuple[dict[str, Any], ...]:
    """What stands in the way of a deregistration, each with the page where it is ended."""
    is_staff = visit.actor.party_id is None
    return tuple(
        {
            "kind": each.kind,
            "name": each.name,
            "amount_fen": each.amount_fen,
            "path": _obstacle_path(each, is_staff=is_staff),
        }
        for each in obstacles.of_party(visit.conn, party.party_id, today)
    )


def _obstacle_path(each: Obstacle, *, is_staff: bool) -> str:
    if each.kind in ("receivable", "payable") and not each.number:
        return "/receivables" if is_staff else "/statements"
    if each.kind == "guarantee":
        return f"/credit/parties/{each.number}" if is_staff else "/credit"
    if each.kind == "declaration":
        return f"/trading/{'desk' if is_staff else 'sessions'}/{each.number}"
    return _OBSTACLE_PATHS[each.kind].format(each.number)


def _bills(visit: who.Visit, party: PartyRow) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "bill_id": each.bill_id,
            "account_id": each.account_id,
            "month": f"{each.month:%Y-%m}",
            "state": each.state,
            "total_fen": each.total_fen,
            "open_fen": each.open_fen,
        }
        for each in bills.of_party(visit.conn, party.party_id, BILLS_SHOWN)
    )


def _units(visit: who.Visit, party: PartyRow) -> tuple[dict[str, Any], ...]:
    found = units.of_party(visit.conn, party.party_id)
    return tuple({"unit_no": each.unit_no, "name": each.name} for each in found)


def _points(visit: who.Visit, party: PartyRow) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "supply_point_id": each.supply_point_id,
            "account_id": each.account_id,
            "name": each.name,
            "unit_no": each.unit_no,
        }
        for each in units.points(visit.conn, party.party_id, visit.now)
    )


def _earliest_leave(today: date, wanted: Checklist) -> date | None:
    try:
        return registration.earliest_last_day(today, wanted.leave_days)
    except NoCalendar:
        return None


def _papers(
    wanted: Checklist, subkind: str, rows: Sequence[PaperRow], today: date
) -> tuple[dict[str, Any], ...]:
    held = {row.item: paper_view(row, today) for row in entities.speaking(rows)}
    return tuple(
        {
            "key": each.key,
            "is_optional": each.is_optional,
            "is_dated": each.is_dated,
            "stops_trading": each.stops_trading,
            "held": held.get(each.key),
        }
        for each in checklists.papers_of(wanted, subkind or "-")
    )


def _older(rows: Sequence[PaperRow]) -> tuple[dict[str, Any], ...]:
    speaking = {row.paper_id for row in entities.speaking(rows)}
    return tuple(
        {"paper_id": row.paper_id, "item": row.item, "file": row.file_name, "added_at": row.added_at}
        for row in rows
        if row.paper_id not in speaking or row.item == "change_proof"
    )


def _versions(visit: who.Visit, party: PartyRow) -> tuple[dict[str, Any], ...]:
    found = entities.profiles(visit.conn, party.party_id)
    rows = []
    for before, after in zip((None, *found), found, strict=False):
        kept = {} if before is None else before.facts
        changed = sorted(
            key for key in {*kept, *after.facts} if kept.get(key, "") != after.facts.get(key, "")
        )
        rows.append(
            {
                "version": after.version,
                "at": after.effective_at,
                "source": after.source,
                "by": after.made_by,
                "changed": [] if before is None else changed,
            }
        )
    return tuple(reversed(rows))


def _changes(visit: who.Visit, party: PartyRow) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "change_id": row.change_id,
            "keys": sorted(row.facts),
            "state": row.state,
            "due": row.due,
            "is_late": row.is_late,
            "asked_at": row.asked_at,
            "reasons": [
                each[2] for each in reviews.change_verdicts(visit.conn, row.change_id) if each[1] == "refuse"
            ],
        }
        for row in reviews.changes(visit.conn, party.party_id)
    )


def _leave(visit: who.Visit, party: PartyRow) -> dict[str, Any] | None:
    row = reviews.leave_of(visit.conn, party.party_id)
    if row is None:
        return None
    return {
        "reason": row.reason,
        "contracts": row.contracts,
        "last_day": row.last_day,
        "state": row.state,
        "keep_until": row.keep_until,
    }


def _publicity_of(visit: who.Visit, party: PartyRow) -> dict[str, Any] | None:
    row = reviews.publicity_of(visit.conn, party.party_id)
    if row is None:
        return None
    return {
        "publicity_id": row.publicity_id,
        "about": row.about,
        "starts": row.starts,
        "last": row.ends - timedelta(days=1),
        "objections": objections(visit, row.publicity_id),
    }


def objections(visit: who.Visit, publicity_id: int) -> list[dict[str, Any]]:
    return [
        {
            "objection_id": each.objection_id,
            "objector": each.objector,
            "grounds": each.grounds,
            "at": each.at,
            "is_upheld": each.is_upheld,
            "answer": each.answer,
        }
        for each in reviews.objections(visit.conn, publicity_id)
    ]
