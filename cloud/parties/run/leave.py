"""Shell: a party asks to be deregistered, says how its contracts end, and may stay after all."""

from __future__ import annotations

from datetime import date, datetime

from cloud import markettime, notices
from cloud.db import Conn
from cloud.errors import Invalid
from cloud.notices import Notice
from cloud.parties import checklist as checklists
from cloud.parties import registration
from cloud.parties.party import Kind
from cloud.parties.store import entities, reviews
from cloud.parties.store.entities import PartyRow

REASON_MAX, CONTRACTS_MAX = 1000, 2000


class BadLeave(Invalid):
    """Reason or the handling of contracts is missing, or the last day is too early."""


def ask(
    conn: Conn, party: PartyRow, texts: tuple[str, str], last_day: date, act: tuple[datetime, str]
) -> int:
    """Ask to be deregistered; `texts` are the reason and how running contracts are handled.

    It is publicised for 10 working days; contracts are handled at least as long before the month of which `last_day`
    is the first day that is no longer performed. Trading stops at once. Raises BadLeave, NoSuchMove, OpenAlready.
    """
    at, actor = act
    today = markettime.day_of(at)
    reason, contracts = (" ".join(text.split()) for text in texts)
    if not 1 <= len(reason) <= REASON_MAX or not 1 <= len(contracts) <= CONTRACTS_MAX:
        raise BadLeave("leave_reason_missing", longest=REASON_MAX)
    wanted = checklists.in_force(Kind(party.kind), today)
    earliest = registration.earliest_last_day(today, wanted.leave_days)
    if last_day < earliest or last_day.day != 1:
        raise BadLeave("leave_too_early", earliest=earliest.isoformat())
    entities.move(conn, party, "leave", (at, actor, reason))
    leave_id = reviews.add_leave(conn, (party.party_id, reason, contracts, last_day), at, actor)
    facts = {"party": party.name, "day": last_day.isoformat()}
    path = f"/entities/{party.party_id}"
    notices.post(conn, Notice(None, "entity.leave_asked", facts, path, f"leave:{leave_id}"), at)
    return leave_id


def stay(conn: Conn, party: PartyRow, reason: str, act: tuple[datetime, str]) -> PartyRow:
    """Stop a deregistration: the party stays, suspended until staff let it trade again. Raises NoSuchMove, BadLeave."""
    plain = " ".join(reason.split())
    if not 1 <= len(plain) <= REASON_MAX:
        raise BadLeave("leave_reason_missing", longest=REASON_MAX)
    at, actor = act
    moved = entities.move(conn, party, "stay", (at, actor, plain))
    found = reviews.leave_of(conn, party.party_id)
    if found is not None and found.state == "asked":
        reviews.end_leave(conn, found.leave_id, "stayed", None)
    return moved
