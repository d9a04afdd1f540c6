"""Shell of the timetable: publicity that ended, documents that end, deregistrations that are due. Idempotent.

Every look does what is due on its day; a look that was missed is made good by the next one. A party whose document without
which it may not trade has expired is suspended, and lets itself be restored by a renewed document.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from cloud import markettime, notices
from cloud.daytypes import NoCalendar
from cloud.db import Conn
from cloud.notices import Notice
from cloud.parties import checklist as checklists
from cloud.parties import expiry, registration
from cloud.parties.expiry import Reminder
from cloud.parties.labels import label, labels
from cloud.parties.party import EFFECTIVE, Kind
from cloud.parties.store import entities, obstacles, reviews
from cloud.parties.store.entities import PartyRow, ProfileRow
from cloud.parties.store.reviews import PublicityRow

log = logging.getLogger(__name__)

ACTOR: Final = "job:entities"
EXPIRED: Final = "过期 expired: "


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look did."""

    took_effect: int
    struck_off: int
    suspended: int
    restored: int
    reminded: int


def watch(conn: Conn, at: datetime) -> Seen:
    """Do what is due now."""
    today = markettime.day_of(at)
    ended = [_end_publicity(conn, each, at) for each in reviews.ended_publicity(conn, today)]
    looked = [_look_at(conn, party_id, at) for party_id in entities.with_dated_papers(conn)]
    for party_id in reviews.unpublicised_leaves(conn):
        try:
            _publicise_leave(conn, party_id, at)
        except NoCalendar as unknown:  # its working days are not known yet; the next look tries again
            log.warning("entities.leave.waits party=%d %s", party_id, unknown)
    return Seen(
        ended.count("take_effect"),
        ended.count("strike_off"),
        sum(each[0] == "suspend" for each in looked),
        sum(each[0] == "restore" for each in looked),
        sum(each[1] for each in looked),
    )


def _end_publicity(conn: Conn, publicity: PublicityRow, at: datetime) -> str:
    """Let a registration take effect, or strike a party off; '' while an objection is open or it is too early."""
    party = entities.lock(conn, publicity.party_id)
    assert party is not None
    if any(each.is_upheld is None for each in reviews.objections(conn, publicity.publicity_id)):
        facts = {"party": party.name}
        path = f"/entities/{party.party_id}"
        key = f"objection-open:{publicity.publicity_id}"
        notices.post(conn, Notice(None, "entity.objection_open", facts, path, key), at)
        return ""
    if publicity.about == "registration" and party.state == "publicised":
        return _take_effect(conn, party, at)
    if publicity.about == "deregistration" and party.state == "deregistering":
        return _strike_off(conn, party, at)
    return ""


def _take_effect(conn: Conn, party: PartyRow, at: datetime) -> str:
    submission = reviews.last_submission(conn, party.party_id)
    assert submission is not None
    form = entities.form_of(conn, party.party_id, submission.revision)
    assert form is not None
    entities.move(conn, party, "take_effect", (at, ACTOR, ""))
    version = len(entities.profiles(conn, party.party_id)) + 1
    source = f"submission:{submission.submission_id}"
    entities.add_profile(conn, ProfileRow(party.party_id, version, form.facts, at, source, ACTOR))
    entities.set_face(
        conn, party.party_id, form.facts.get("name", party.name), form.facts.get("subkind", party.subkind)
    )
    told = Notice(
        party.party_id,
        "entity.party_effective",
        {"party": party.name},
        "/company",
        f"party_effective:{source}",
    )
    notices.post(conn, told, at)
    return "take_effect"


def _strike_off(conn: Conn, party: PartyRow, at: datetime) -> str:
    leave = reviews.leave_of(conn, party.party_id)
    today = markettime.day_of(at)
    if leave is None or leave.state != "asked" or today < leave.last_day:
        return ""
    in_the_way = obstacles.of_party(conn, party.party_id, today)
    if in_the_way:
        facts = {"party": party.name, "count": str(len(in_the_way))}
        for whose, path in (
            (None, f"/entities/{party.party_id}#obstacles"),
            (party.party_id, "/company#leave"),
        ):
            once = f"leave-obstacles:{leave.leave_id}:{today.isoformat()}:{whose or 'staff'}"
            notices.post(conn, Notice(whose, "entity.leave_obstacles", facts, path, once), at)
        return ""
    wanted = checklists.in_force(Kind(party.kind), today)
    entities.move(conn, party, "strike_off", (at, ACTOR, leave.reason))
    reviews.end_leave(
        conn, leave.leave_id, "done", registration.kept_until(today, wanted.history_months // 12)
    )
    told = Notice(
        party.party_id, "entity.party_struck_off", {"party": party.name}, "/company", f"off:{leave.leave_id}"
    )
    notices.post(conn, told, at)
    return "strike_off"


def _publicise_leave(conn: Conn, party_id: int, at: datetime) -> None:
    party = entities.lock(conn, party_id)
    leave = reviews.leave_of(conn, party_id)
    assert party is not None
    assert leave is not None
    today = markettime.day_of(at)
    wanted = checklists.in_force(Kind(party.kind), today)
    days = registration.leave_publicity(today, wanted.leave_days)
    reviews.add_publicity(conn, (party_id, "deregistration", f"leave:{leave.leave_id}"), days, at, ACTOR)


def _look_at(conn: Conn, party_id: int, at: datetime) -> tuple[str, int]:
    """Remind of what ends, suspend for what has ended, restore what was renewed; the deed, and how many were told."""
    party = entities.lock(conn, party_id)
    assert party is not None
    today = markettime.day_of(at)
    wanted = checklists.in_force(Kind(party.kind), today)
    held = entities.held(entities.papers(conn, party_id))
    due = expiry.reminders(wanted, party.subkind, held, today)
    told = sum(_remind(conn, party, each, at) for each in due)
    stopping = expiry.stopping(wanted, party.subkind, held, today)
    if stopping and party.state == EFFECTIVE:
        items = labels([each.item for each in stopping])
        entities.move(conn, party, "suspend", (at, ACTOR, f"{EXPIRED}{items}"))
        _tell_suspended(conn, party, stopping, at)
        return "suspend", told
    if not stopping and party.state == "suspended" and _was_suspended_here(conn, party_id):
        entities.move(conn, party, "restore", (at, ACTOR, "已更新 renewed"))
        key = f"restored:{party_id}:{today.isoformat()}"
        notices.post(
            conn, Notice(party_id, "entity.party_restored", {"party": party.name}, "/company", key), at
        )
        return "restore", told
    return "", told


def _was_suspended_here(conn: Conn, party_id: int) -> bool:
    last = entities.events(conn, party_id)[-1]
    return last.deed == "suspend" and last.actor == ACTOR


def _remind(conn: Conn, party: PartyRow, reminder: Reminder, at: datetime) -> int:
    last_day = reminder.valid_until - timedelta(days=1)
    facts = {
        "party": party.name,
        "item": label(reminder.item),
        "day": last_day.isoformat(),
        "days": str(reminder.days),
    }
    key = "entity.paper_expired" if reminder.days == 0 else "entity.paper_expiring"
    once = f"{key}:{party.party_id}:{reminder.item}:{reminder.valid_until}:{reminder.days}"
    told = notices.post(conn, Notice(party.party_id, key, facts, "/company", once), at)
    if reminder.days == min(7, reminder.days):
        path = f"/entities/{party.party_id}"
        notices.post(conn, Notice(None, f"{key}_staff", facts, path, f"staff:{once}"), at)
    return int(told)


def _tell_suspended(conn: Conn, party: PartyRow, stopping: Sequence[Reminder], at: datetime) -> None:
    first: date = min(each.valid_until for each in stopping)
    facts = {"party": party.name, "reason": labels([each.item for each in stopping])}
    for whose, path in ((party.party_id, "/company"), (None, f"/entities/{party.party_id}")):
        once = f"suspended:{whose}:{party.party_id}:{first}:{at.isoformat()}"
        notices.post(conn, Notice(whose, "entity.party_suspend", facts, path, once), at)
