"""Shell: a registered party reports a change with proof; two of the staff accept it, and it holds from that instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from cloud import markettime, notices
from cloud.db import Conn
from cloud.errors import Forbidden, Invalid, NotNow
from cloud.lives import step
from cloud.notices import Notice
from cloud.parties import checklist as checklists
from cloud.parties import registration
from cloud.parties.checklist import Checklist
from cloud.parties.labels import labels
from cloud.parties.party import CHANGE, REGISTERED, SUBKINDS, Kind
from cloud.parties.store import entities, reviews
from cloud.parties.store.entities import PartyRow, ProfileRow
from cloud.parties.store.reviews import ChangeRow, NewChange

REASON_MAX = 1000


class NotRegistered(NotNow):
    """Only a party in force reports changes; before that it edits its form."""


class BadChange(Invalid):
    """Nothing differs, the day lies ahead, or proof or reason is missing."""


class Decided(NotNow):
    """The change is decided, or the profile has changed since it was written."""


class OwnVerdict(Forbidden):
    """This reviewer has decided already: the second pair of eyes is somebody else's."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A change as somebody wrote it; `papers` are the numbers of the proof."""

    texts: Mapping[str, str]
    subkind: str
    happened_on: date
    reason: str
    papers: Sequence[int]


def ask(conn: Conn, party: PartyRow, wish: Wish, act: tuple[datetime, str]) -> int:
    """Report a change; what is reported later than 5 working days after it happened is marked late.

    Raises NotRegistered, BadChange, OpenAlready, BadFact, BadCode.
    """
    at, actor = act
    today = markettime.day_of(at)
    if party.state not in REGISTERED:
        raise NotRegistered("party_not_registered", state=party.state)
    profile = entities.profile_at(conn, party.party_id, at)
    if profile is None:
        raise NotRegistered("party_not_registered", state=party.state)
    wanted = checklists.in_force(Kind(party.kind), today)
    differing = differences(wanted, profile.facts, wish.texts, wish.subkind or party.subkind)
    reason = " ".join(wish.reason.split())
    if not differing:
        raise BadChange("change_nothing")
    if wish.happened_on > today:
        raise BadChange("change_ahead", day=wish.happened_on.isoformat())
    if not 1 <= len(reason) <= REASON_MAX:
        raise BadChange("change_reason_missing", longest=REASON_MAX)
    own = {row.paper_id for row in entities.papers(conn, party.party_id)}
    if not wish.papers or not set(wish.papers) <= own:
        raise BadChange("change_proof_missing")
    _check(conn, party, wanted, {**profile.facts, **differing})
    new = NewChange(
        party.party_id,
        profile.version,
        differing,
        wish.happened_on,
        registration.is_late(wish.happened_on, today, wanted.report_days),
        reason,
        registration.due(today, wanted.review_days),
    )
    change_id = reviews.add_change(conn, new, wish.papers, at, actor)
    facts = {"party": party.name, "due": new.due.isoformat()}
    notices.post(
        conn,
        Notice(None, "entity.change_asked", facts, f"/entity-changes/{change_id}", f"change:{change_id}"),
        at,
    )
    return change_id


def differences(
    wanted: Checklist, facts: Mapping[str, str], texts: Mapping[str, str], subkind: str
) -> dict[str, str]:
    """What of the texts differs from the profile; '' takes a fact away. Raises BadFact, BadCode, BadChange."""
    if subkind not in SUBKINDS[wanted.kind]:
        raise BadChange("bad_party", kind=wanted.kind.value, name=subkind[:60])
    fields = [each for each in checklists.fields_of(wanted, subkind) if each.key in texts]
    read = {each.key: checklists.fact_from(each, texts[each.key]) for each in fields}
    read["subkind"] = subkind
    return {key: value for key, value in read.items() if value != facts.get(key, "")}


def withdraw(conn: Conn, change: ChangeRow) -> None:
    """Take a change back. Raises NoSuchMove."""
    reviews.set_change_state(conn, change.change_id, step(CHANGE, change.state, "withdraw"))


def decide(conn: Conn, change: ChangeRow, verdict: tuple[bool, str], act: tuple[datetime, str]) -> str:
    """Accept or refuse (False, with its reason); return the state. The second acceptance puts the change in force.

    Raises Decided, OwnVerdict, BadChange, and what a profile with the change would be refused for.
    """
    at, reviewer = act
    is_accepted, text = verdict
    reason = " ".join(text.split())
    party = entities.lock(conn, change.party_id)
    kept = reviews.find_change(conn, change.change_id)
    assert party is not None
    assert kept is not None
    if kept.state != "asked":
        raise Decided("change_decided")
    given = reviews.change_verdicts(conn, change.change_id)
    if any(each[0] == reviewer for each in given):
        raise OwnVerdict("party_decided_already")
    if not is_accepted and not 1 <= len(reason) <= REASON_MAX:
        raise BadChange("change_reason_missing", longest=REASON_MAX)
    word = "accept" if is_accepted else "refuse"
    reviews.add_change_verdict(conn, change.change_id, (reviewer, word, reason), at)
    if is_accepted and len(given) + 1 < registration.EYES:
        facts = {"party": party.name, "due": kept.due.isoformat()}
        path = f"/entity-changes/{change.change_id}"
        notices.post(
            conn, Notice(None, "entity.second_review", facts, path, f"second-change:{change.change_id}"), at
        )
        return kept.state
    state = step(CHANGE, kept.state, word)
    reviews.set_change_state(conn, change.change_id, state)
    if is_accepted:
        _put_in_force(conn, party, kept, act)
    told = {"party": party.name, "reason": reason[:300]}
    notices.post(
        conn,
        Notice(party.party_id, f"entity.change_{state}", told, "/company", f"decided:{change.change_id}"),
        at,
    )
    return state


def _put_in_force(conn: Conn, party: PartyRow, change: ChangeRow, act: tuple[datetime, str]) -> None:
    at, actor = act
    versions = entities.profiles(conn, party.party_id)
    if not versions or versions[-1].version != change.base_version or party.state not in REGISTERED:
        raise Decided("change_outdated")
    facts = {key: value for key, value in {**versions[-1].facts, **change.facts}.items() if value}
    wanted = checklists.in_force(Kind(party.kind), markettime.day_of(at))
    _check(conn, party, wanted, facts)
    source = f"change:{change.change_id}"
    profile = ProfileRow(party.party_id, versions[-1].version + 1, facts, at, source, actor)
    entities.add_profile(conn, profile)
    entities.set_face(
        conn, party.party_id, facts.get("name", party.name), facts.get("subkind", party.subkind)
    )
    entities.note(
        conn,
        party.party_id,
        ("change", party.state, party.state),
        (at, actor, labels([f"field.{key}" for key in sorted(change.facts)])),
    )


def _check(conn: Conn, party: PartyRow, wanted: Checklist, facts: Mapping[str, str]) -> None:
    """A changed profile still owes every fact; documents keep their own clocks."""
    given = {key: value for key, value in facts.items() if value}
    gaps = checklists.gaps(wanted, given.get("subkind", party.subkind), given, (), date.min)
    wrong = [gap.item for gap in gaps if gap.item.startswith("field.")]
    if wrong:
        raise BadChange("change_incomplete", field=wrong[0].removeprefix("field."))
    code = given.get("usci", "")
    if code and entities.is_code_taken(conn, code, party.party_id):
        raise BadChange("change_code_taken", code=code)
