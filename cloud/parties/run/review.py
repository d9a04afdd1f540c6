"""Shell: staff review an application item by item; two accept, one returns; retailers and VPPs are publicised first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cloud import markettime, notices
from cloud.db import Conn
from cloud.errors import Conflict, Invalid, NotNow
from cloud.notices import Notice
from cloud.parties import checklist as checklists
from cloud.parties import registration
from cloud.parties.checklist import Checklist
from cloud.parties.labels import label
from cloud.parties.party import IN_REVIEW
from cloud.parties.registration import Finding, Given, Verdict
from cloud.parties.store import entities, reviews
from cloud.parties.store.entities import PartyRow, ProfileRow
from cloud.parties.store.reviews import ObjectionRow, PublicityRow, SubmissionRow

NOTE_MAX, REASON_MAX = 1000, 2000


class NotInReview(NotNow):
    """No application of this party waits for review."""


class BadFinding(Invalid):
    """There is no such item, or a rejected one has no note."""


class NotPublicised(NotNow):
    """This is not publicised now."""


class AnsweredAlready(Conflict):
    """The objection has been answered."""


@dataclass(frozen=True, slots=True)
class Case:
    """An application under review, with all that is needed to decide."""

    party: PartyRow
    submission: SubmissionRow
    checklist: Checklist
    facts: Mapping[str, str]
    items: tuple[str, ...]
    findings: tuple[Finding, ...]
    given: tuple[Given, ...]


def case_of(conn: Conn, party: PartyRow) -> Case:
    """The party's last application. Raises NotInReview when it never applied."""
    submission = reviews.last_submission(conn, party.party_id)
    if submission is None:
        raise NotInReview("not_in_review", party=party.name)
    form = entities.form_of(conn, party.party_id, submission.revision)
    assert form is not None
    wanted = checklists.named(submission.rule)
    sent = reviews.papers_of(conn, submission.submission_id)
    held = [row.item for row in entities.papers(conn, party.party_id) if row.paper_id in sent]
    subkind = form.facts.get("subkind", party.subkind)
    return Case(
        party,
        submission,
        wanted,
        form.facts,
        checklists.items(wanted, subkind, form.facts, held),
        reviews.findings(conn, submission.submission_id),
        reviews.verdicts(conn, submission.submission_id),
    )


def find(
    conn: Conn, party: PartyRow, words: Mapping[str, tuple[bool, str]], act: tuple[datetime, str]
) -> None:
    """Note what a reviewer found of items: item -> (is right, note). Raises NotInReview, BadFinding, OwnWork."""
    case = _open_case(conn, party)
    at, reviewer = act
    if any(each.reviewer == reviewer for each in case.given):
        raise registration.OwnWork("party_decided_already")
    kept = {each.item: each for each in case.findings if each.reviewer == reviewer}
    for item, (is_right, note) in words.items():
        plain = " ".join(note.split())
        if item not in case.items or len(plain) > NOTE_MAX or not (is_right or plain):
            raise BadFinding("bad_finding", item=item[:60])
        finding = Finding(reviewer, item, is_right, plain)
        if kept.get(item) != finding:
            reviews.add_finding(conn, case.submission.submission_id, finding, at)
    if case.party.state == "submitted":
        entities.move(conn, case.party, "review", (at, reviewer, ""))


def decide(conn: Conn, party: PartyRow, verdict: Verdict, reason: str, act: tuple[datetime, str]) -> PartyRow:
    """Give a verdict; the second acceptance admits or publicises, a return goes back with its reasons.

    Raises NotInReview, and what registration.check_verdict raises.
    """
    case = _open_case(conn, party)
    at, reviewer = act
    new = Given(reviewer, verdict, " ".join(reason.split())[:REASON_MAX])
    registration.check_verdict(new, case.given, case.items, case.findings)
    told = _told(case, new)
    reviews.add_verdict(conn, case.submission.submission_id, Given(reviewer, verdict, told), at)
    moving = case.party
    if moving.state == "submitted":
        moving = entities.move(conn, moving, "review", (at, reviewer, ""))
    deed = registration.deed_of((*case.given, new), case.checklist)
    if deed is None:
        facts = {"party": party.name, "due": case.submission.due.isoformat()}
        key = f"second:{case.submission.submission_id}"
        notices.post(
            conn, Notice(None, "entity.second_review", facts, f"/entity-review/{party.party_id}", key), at
        )
        return moving
    moved = entities.move(conn, moving, deed, (at, reviewer, told if deed == "return" else ""))
    if deed == "publicise":
        days = registration.month_publicity(markettime.day_of(at), case.checklist.publicity_months)
        source = f"submission:{case.submission.submission_id}"
        reviews.add_publicity(conn, (party.party_id, "registration", source), days, at, reviewer)
        _tell(conn, case, "entity.party_publicised", {"until": days.ends.isoformat()}, at)
    elif deed == "admit":
        enter(conn, case, (at, reviewer))
    else:
        _tell(conn, case, "entity.party_returned", {"reason": told[:300]}, at)
    return moved


def enter(conn: Conn, case: Case, act: tuple[datetime, str]) -> None:
    """Put the profile of an application in force."""
    at, actor = act
    party_id = case.party.party_id
    version = len(entities.profiles(conn, party_id)) + 1
    source = f"submission:{case.submission.submission_id}"
    entities.add_profile(conn, ProfileRow(party_id, version, case.facts, at, source, actor))
    entities.set_face(
        conn,
        party_id,
        case.facts.get("name", case.party.name),
        case.facts.get("subkind", case.party.subkind),
    )
    _tell(conn, case, "entity.party_effective", {}, at)


def object_to(
    conn: Conn, publicity: PublicityRow, facts: tuple[int | None, str, str], act: tuple[datetime, str]
) -> None:
    """Object to what is publicised; `facts` are party (None: from outside), objector and grounds.

    Raises NotPublicised, BadFinding.
    """
    at, actor = act
    party_id, objector, grounds = facts
    party = entities.find(conn, publicity.party_id)
    assert party is not None
    today = markettime.day_of(at)
    waiting = {"registration": "publicised", "deregistration": "deregistering"}[publicity.about]
    if party.state != waiting or not publicity.starts <= today < publicity.ends:
        raise NotPublicised("not_publicised", party=party.name)
    if not 1 <= len(grounds.strip()) <= REASON_MAX or not 1 <= len(objector.strip()) <= 200:
        raise BadFinding("grounds_missing", longest=REASON_MAX)
    reviews.add_objection(
        conn, publicity.publicity_id, (party_id, objector.strip(), grounds.strip()), at, actor
    )
    told = {"party": party.name, "objector": objector.strip()}
    path = f"/entities/{party.party_id}"
    key = f"objection:{publicity.publicity_id}:{actor}:{at.isoformat()}"
    notices.post(conn, Notice(None, "entity.objection_raised", told, path, key), at)


def answer_objection(
    conn: Conn, objection: ObjectionRow, is_upheld: bool, reason: str, act: tuple[datetime, str]
) -> None:
    """Answer an objection with its reason; an upheld one sends the application back, or stops the deregistration.

    Raises AnsweredAlready, BadFinding.
    """
    at, actor = act
    if objection.is_upheld is not None:
        raise AnsweredAlready("answered_already")
    if not 1 <= len(reason.strip()) <= REASON_MAX:
        raise BadFinding("grounds_missing", longest=REASON_MAX)
    publicity = reviews.find_publicity(conn, objection.publicity_id)
    assert publicity is not None
    party = entities.lock(conn, publicity.party_id)
    assert party is not None
    reviews.answer_objection(conn, objection.objection_id, is_upheld, reason.strip(), act)
    if not is_upheld:
        return
    if publicity.about == "registration" and party.state == "publicised":
        entities.move(conn, party, "uphold", (at, actor, reason.strip()))
    elif publicity.about == "deregistration" and party.state == "deregistering":
        entities.move(conn, party, "stay", (at, actor, reason.strip()))
        leave = reviews.leave_of(conn, party.party_id)
        assert leave is not None
        reviews.end_leave(conn, leave.leave_id, "stayed", None)
    facts = {"party": party.name, "reason": reason.strip()[:300]}
    path = "/company"
    notices.post(
        conn,
        Notice(party.party_id, "entity.objection_upheld", facts, path, f"upheld:{objection.objection_id}"),
        at,
    )


def suspend(conn: Conn, party: PartyRow, reason: str, act: tuple[datetime, str]) -> PartyRow:
    """Stop a party's trading, with the reason. Raises NoSuchMove, BadFinding."""
    return _by_staff(conn, party, "suspend", reason, act)


def restore(conn: Conn, party: PartyRow, reason: str, act: tuple[datetime, str]) -> PartyRow:
    """Let a suspended party trade again. Raises NoSuchMove, BadFinding."""
    return _by_staff(conn, party, "restore", reason, act)


def _by_staff(conn: Conn, party: PartyRow, deed: str, reason: str, act: tuple[datetime, str]) -> PartyRow:
    plain = " ".join(reason.split())
    if not 1 <= len(plain) <= REASON_MAX:
        raise BadFinding("grounds_missing", longest=REASON_MAX)
    at, actor = act
    moved = entities.move(conn, party, deed, (at, actor, plain))
    facts = {"party": party.name, "reason": plain[:300]}
    key = f"{deed}:{party.party_id}:{at.isoformat()}"
    notices.post(conn, Notice(party.party_id, f"entity.party_{deed}", facts, "/company", key), at)
    return moved


def _open_case(conn: Conn, party: PartyRow) -> Case:
    held = entities.lock(conn, party.party_id)
    if held is None or held.state not in IN_REVIEW:
        raise NotInReview("not_in_review", party=party.name)
    return case_of(conn, held)


def _told(case: Case, new: Given) -> str:
    if new.verdict is Verdict.ACCEPT:
        return new.reason
    notes = registration.reasons_of(new, case.items, case.findings)
    parts = ([new.reason] if new.reason else []) + [f"{label(item)}: {note}" for item, note in notes.items()]
    return "; ".join(parts)[:REASON_MAX]


def _tell(conn: Conn, case: Case, key: str, facts: Mapping[str, str], at: datetime) -> None:
    party = case.party
    told = {"party": party.name, **facts}
    once = f"{key}:{case.submission.submission_id}"
    notices.post(conn, Notice(party.party_id, key, told, "/company", once), at)
