"""Shell: a party registers itself. It is invited, fills in its form, adds documents, commits itself and applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from cloud import markettime, notices
from cloud.db import Conn
from cloud.errors import Invalid, NotNow
from cloud.notices import Notice
from cloud.parties import checklist as checklists
from cloud.parties import registration
from cloud.parties.checklist import Gap
from cloud.parties.labels import label
from cloud.parties.party import EDITABLE, REGISTERED, SUBKINDS, UNREGISTERED, Kind
from cloud.parties.store import entities, reviews
from cloud.parties.store.entities import NewPaper, PartyRow
from cloud.parties.store.reviews import NewSubmission

NUMBER_MAX, ISSUER_MAX = 100, 200


class NotEditable(NotNow):
    """The application is under review or decided: its form and documents stay as they were sent."""


class Incomplete(Invalid):
    """Something stands against the application; `missing` counts it and the company page names it."""


class NotCommitted(Invalid):
    """The commitment was not given."""


class BadPaper(Invalid):
    """A document's kind, number or dates cannot be so."""


class BadKind(Invalid):
    """There is no such kind or class of parties."""


@dataclass(frozen=True, slots=True)
class Person:
    """The first person of a party."""

    login: str
    password_hash: str
    display_name: str
    language: str = "zh"


@dataclass(frozen=True, slots=True)
class PaperText:
    """A document as somebody filled it in; `until` is the last day on which it holds."""

    item: str
    document_id: int
    number: str = ""
    issuer: str = ""
    valid_from: date | None = None
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """What stands against applying: nothing means ready."""

    gaps: tuple[Gap, ...]

    @property
    def is_ready(self) -> bool:
        """Whether the application can be sent."""
        return not self.gaps


def invite(conn: Conn, kind: str, name: str, person: Person | None, act: tuple[datetime, str]) -> int:
    """Enter a party, or take a known one, as a draft, with its first person; `act` is when and who.

    Raises BadKind, NameTaken, NoSuchMove.
    """
    plain = " ".join(name.split())
    if kind not in SUBKINDS or not 1 <= len(plain) <= 200 or not plain.isprintable():
        raise BadKind("bad_party", kind=kind, name=plain[:60])
    known = entities.listed(conn, kind=kind, state=UNREGISTERED, text=plain)
    found = next((each for each in known if each.name == plain), None)
    if found is None:
        party_id = entities.insert(conn, kind, plain)
        entities.note(conn, party_id, ("invite", UNREGISTERED, "draft"), (*act, ""))
    else:
        party_id = entities.move(conn, found, "invite", (*act, "")).party_id
    if person is not None:
        entities.invite_person(
            conn,
            party_id,
            person.login,
            person.password_hash,
            (person.display_name, person.language),
        )
    return party_id


def save(
    conn: Conn, party: PartyRow, subkind: str, texts: Mapping[str, str], act: tuple[datetime, str]
) -> int:
    """Save the form, whole or not; return the revision. Raises NotEditable, BadKind, BadFact, BadCode, NameTaken."""
    if party.state not in EDITABLE:
        raise NotEditable("party_not_editable", state=party.state)
    if subkind not in SUBKINDS[Kind(party.kind)]:
        raise BadKind("bad_party", kind=party.kind, name=subkind[:60])
    at, actor = act
    wanted = checklists.in_force(Kind(party.kind), markettime.day_of(at))
    facts = checklists.facts_from(checklists.fields_of(wanted, subkind), texts)
    entities.set_face(conn, party.party_id, facts.get("name", party.name), subkind)
    return entities.add_form(conn, party.party_id, facts | {"subkind": subkind}, at, actor)


def add_paper(conn: Conn, party: PartyRow, text: PaperText, act: tuple[datetime, str]) -> int:
    """Add a document: to an application, or as a renewal of a registered party. Raises NotEditable, BadPaper."""
    if party.state not in EDITABLE | REGISTERED:
        raise NotEditable("party_not_editable", state=party.state)
    at, actor = act
    wanted = checklists.in_force(Kind(party.kind), markettime.day_of(at))
    known = {each.key: each for each in checklists.papers_of(wanted, party.subkind)}
    if text.item not in known and text.item != "change_proof":
        raise BadPaper("bad_party_paper", field="item")
    if text.item in known and known[text.item].is_dated and text.until is None:
        raise BadPaper("bad_party_paper", field="until")
    if text.valid_from and text.until and text.until <= text.valid_from:
        raise BadPaper("bad_party_paper", field="until")
    if text.until is not None and text.until < markettime.day_of(at):
        raise BadPaper("paper_over", until=text.until.isoformat())
    if len(text.number) > NUMBER_MAX or len(text.issuer) > ISSUER_MAX:
        raise BadPaper("bad_party_paper", field="number")
    new = NewPaper(
        party.party_id,
        text.item,
        text.document_id,
        " ".join(text.number.split()),
        " ".join(text.issuer.split()),
        text.valid_from,
        None if text.until is None else date.fromordinal(text.until.toordinal() + 1),
    )
    paper_id = entities.add_paper(conn, new, at, actor)
    if party.state in REGISTERED:
        facts = {"party": party.name, "item": label(text.item)}
        path = f"/entities/{party.party_id}"
        notices.post(conn, Notice(None, "entity.paper_renewed", facts, path, f"paper:{paper_id}"), at)
    return paper_id


def readiness(conn: Conn, party: PartyRow, at: datetime) -> Readiness:
    """What stands against sending the application now."""
    wanted = checklists.in_force(Kind(party.kind), markettime.day_of(at))
    form = entities.form_of(conn, party.party_id)
    facts = {} if form is None else form.facts
    if not party.subkind:
        return Readiness((Gap("field.subkind", "missing"),))
    held = entities.held(entities.papers(conn, party.party_id))
    gaps = checklists.gaps(wanted, party.subkind, facts, held, markettime.day_of(at))
    code = facts.get("usci", "")
    if code and entities.is_code_taken(conn, code, party.party_id):
        gaps = (*gaps, Gap("field.usci", "code_taken"))
    return Readiness(gaps)


def submit(conn: Conn, party: PartyRow, is_promised: bool, act: tuple[datetime, str]) -> int:
    """Send the application with the commitment. Raises NotCommitted, Incomplete, NoSuchMove."""
    at, actor = act
    if party.state not in EDITABLE:
        raise NotEditable("party_not_editable", state=party.state)
    if not is_promised:
        raise NotCommitted("commitment_missing")
    ready = readiness(conn, party, at)
    if not ready.is_ready:
        raise Incomplete("application_incomplete", missing=len(ready.gaps))
    form = entities.form_of(conn, party.party_id)
    assert form is not None
    wanted = checklists.in_force(Kind(party.kind), markettime.day_of(at))
    entities.move(conn, party, "submit", (at, actor, ""))
    due = registration.due(markettime.day_of(at), wanted.review_days)
    new = NewSubmission(party.party_id, form.revision, wanted.name, wanted.sha256, wanted.commitment, due)
    speaking = entities.speaking(entities.papers(conn, party.party_id))
    submission_id = reviews.add_submission(conn, new, [row.paper_id for row in speaking], at, actor)
    facts = {"party": party.name, "due": due.isoformat()}
    path = f"/entity-review/{party.party_id}"
    notices.post(
        conn, Notice(None, "entity.application_sent", facts, path, f"submission:{submission_id}"), at
    )
    return submission_id


def withdraw(conn: Conn, party: PartyRow, act: tuple[datetime, str]) -> PartyRow:
    """Take an application back before anybody has begun to review it. Raises NoSuchMove."""
    return entities.move(conn, party, "withdraw", (*act, ""))
