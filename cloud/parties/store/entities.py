"""SQL of market entities: parties with their state, the forms they fill in, profiles in force, documents, and events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from psycopg.errors import UniqueViolation
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.errors import Conflict
from cloud.lives import NoSuchMove, step
from cloud.parties.checklist import HeldPaper
from cloud.parties.party import PARTY

LISTED_MAX: Final = 500


class NameTaken(Conflict):
    """Another party has this name."""


class CodeTaken(Conflict):
    """Another registered party has this unified social credit code."""


@dataclass(frozen=True, slots=True)
class PartyRow:
    """A party and where it stands."""

    party_id: int
    kind: str
    name: str
    state: str
    subkind: str


@dataclass(frozen=True, slots=True)
class FormRow:
    """What an applicant saved last."""

    party_id: int
    revision: int
    facts: Mapping[str, str]
    saved_at: datetime
    saved_by: str


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A version of a profile; the last one is in force."""

    party_id: int
    version: int
    facts: Mapping[str, str]
    effective_at: datetime
    source: str
    made_by: str


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A document of a party, with the file behind it."""

    paper_id: int
    party_id: int
    item: str
    document_id: int
    number: str
    issuer: str
    valid_from: date | None
    valid_until: date | None
    added_at: datetime
    added_by: str
    file_name: str
    media_type: str


@dataclass(frozen=True, slots=True)
class NewPaper:
    """A document to add."""

    party_id: int
    item: str
    document_id: int
    number: str
    issuer: str
    valid_from: date | None
    valid_until: date | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """A move of a party."""

    event_id: int
    deed: str
    before: str
    after: str
    at: datetime
    actor: str
    reason: str


def find(conn: Conn, party_id: int) -> PartyRow | None:
    """The party of that number."""
    with conn.cursor(row_factory=class_row(PartyRow)) as cursor:
        return cursor.execute(
            "SELECT party_id, kind, name, state, subkind FROM party WHERE party_id = %s", (party_id,)
        ).fetchone()


def lock(conn: Conn, party_id: int) -> PartyRow | None:
    """The party of that number, held until the transaction ends: one decides after the other."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('party:' || %s, 0))", (party_id,))
    return find(conn, party_id)


def listed(conn: Conn, *, kind: str = "", state: str = "", text: str = "") -> tuple[PartyRow, ...]:
    """Parties by name; '' asks for any kind or state; the first LISTED_MAX."""
    with conn.cursor(row_factory=class_row(PartyRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT party_id, kind, name, state, subkind FROM party
                   WHERE (%(kind)s = '' OR kind = %(kind)s) AND (%(state)s = '' OR state = %(state)s)
                     AND (%(text)s = '' OR strpos(lower(name), lower(%(text)s)) > 0)
                   ORDER BY name LIMIT %(most)s""",
                {"kind": kind, "state": state, "text": text, "most": LISTED_MAX},
            )
        )


def insert(conn: Conn, kind: str, name: str) -> int:
    """Enter a new party as a draft. Raises NameTaken."""
    try:
        with conn.transaction():
            row = conn.execute(
                "INSERT INTO party (kind, name, state) VALUES (%s, %s, 'draft') RETURNING party_id",
                (kind, name),
            ).fetchone()
    except UniqueViolation as problem:
        raise NameTaken("party_name_taken", name=name) from problem
    assert row is not None
    return int(row[0])


def invite_person(conn: Conn, party_id: int, login: str, password_hash: str, facts: tuple[str, str]) -> int:
    """Make a person of a party; `facts` are display name and language. Raises Conflict."""
    try:
        with conn.transaction():
            row = conn.execute(
                "SELECT invite_person(%s, %s, %s, %s, %s)", (party_id, login, password_hash, *facts)
            ).fetchone()
    except UniqueViolation as problem:
        raise Conflict("login_taken", login=login) from problem
    assert row is not None
    return int(row[0])


def move(conn: Conn, party: PartyRow, deed: str, act: tuple[datetime, str, str]) -> PartyRow:
    """Move the party by a deed; `act` is when, who and why. Raises NoSuchMove."""
    after = step(PARTY, party.state, deed)
    cursor = conn.execute(
        "UPDATE party SET state = %s WHERE party_id = %s AND state = %s", (after, party.party_id, party.state)
    )
    if cursor.rowcount != 1:  # moved by somebody else meanwhile, or not this person's to move
        raise NoSuchMove("no_such_move", life=PARTY.name, state=party.state, deed=deed)
    note(conn, party.party_id, (deed, party.state, after), act)
    return PartyRow(party.party_id, party.kind, party.name, after, party.subkind)


def note(conn: Conn, party_id: int, moved: tuple[str, str, str], act: tuple[datetime, str, str]) -> None:
    """Keep an event: deed, before, after; when, who and why."""
    conn.execute(
        """INSERT INTO party_event (party_id, deed, before, after, at, actor, reason)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (party_id, *moved, *act),
    )


def events(conn: Conn, party_id: int) -> tuple[EventRow, ...]:
    """Everything that moved the party, oldest first."""
    with conn.cursor(row_factory=class_row(EventRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT event_id, deed, before, after, at, actor, reason FROM party_event
                   WHERE party_id = %s ORDER BY event_id""",
                (party_id,),
            )
        )


def set_face(conn: Conn, party_id: int, name: str, subkind: str) -> None:
    """Give the party the name and class of its profile. Raises NameTaken."""
    try:
        with conn.transaction():
            conn.execute(
                "UPDATE party SET name = %s, subkind = %s WHERE party_id = %s AND (name, subkind) <> (%s, %s)",
                (name, subkind, party_id, name, subkind),
            )
    except UniqueViolation as problem:
        raise NameTaken("party_name_taken", name=name) from problem


def add_form(conn: Conn, party_id: int, facts: Mapping[str, str], at: datetime, by: str) -> int:
    """Save what an applicant wrote; return the revision."""
    row = conn.execute(
        """INSERT INTO party_form (party_id, revision, facts, saved_at, saved_by)
           SELECT %s, coalesce(max(revision), 0) + 1, %s, %s, %s FROM party_form WHERE party_id = %s
           RETURNING revision""",
        (party_id, Jsonb(dict(facts)), at, by, party_id),
    ).fetchone()
    assert row is not None
    return int(row[0])


def form_of(conn: Conn, party_id: int, revision: int | None = None) -> FormRow | None:
    """The form of a revision, or the last."""
    with conn.cursor(row_factory=class_row(FormRow)) as cursor:
        return cursor.execute(
            """SELECT party_id, revision, facts, saved_at, saved_by FROM party_form
               WHERE party_id = %s AND (%s::integer IS NULL OR revision = %s) ORDER BY revision DESC LIMIT 1""",
            (party_id, revision, revision),
        ).fetchone()


def add_profile(conn: Conn, profile: ProfileRow) -> None:
    """Put a version of a profile in force."""
    conn.execute(
        """INSERT INTO party_profile (party_id, version, facts, effective_at, source, made_by)
           VALUES (%s, %s, %s, %s, %s, %s)""",
        (
            profile.party_id,
            profile.version,
            Jsonb(dict(profile.facts)),
            profile.effective_at,
            profile.source,
            profile.made_by,
        ),
    )


def profiles(conn: Conn, party_id: int) -> tuple[ProfileRow, ...]:
    """All versions of a profile, oldest first."""
    with conn.cursor(row_factory=class_row(ProfileRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT party_id, version, facts, effective_at, source, made_by FROM party_profile
                   WHERE party_id = %s ORDER BY version""",
                (party_id,),
            )
        )


def profile_at(conn: Conn, party_id: int, at: datetime) -> ProfileRow | None:
    """The profile that was in force at an instant."""
    with conn.cursor(row_factory=class_row(ProfileRow)) as cursor:
        return cursor.execute(
            """SELECT party_id, version, facts, effective_at, source, made_by FROM party_profile
               WHERE party_id = %s AND effective_at <= %s ORDER BY version DESC LIMIT 1""",
            (party_id, at),
        ).fetchone()


def is_code_taken(conn: Conn, usci: str, apart_from: int) -> bool:
    """Whether another party is registered, or applies, with that code."""
    row = conn.execute("SELECT code_is_taken(%s, %s)", (usci, apart_from)).fetchone()
    assert row is not None
    return bool(row[0])


_PAPER: Final = """SELECT p.paper_id, p.party_id, p.item, p.document_id, p.number, p.issuer, p.valid_from, p.valid_until,
                          p.added_at, p.added_by, d.name AS file_name, d.media_type
                   FROM party_document p JOIN document d USING (document_id)"""


def add_paper(conn: Conn, paper: NewPaper, at: datetime, by: str) -> int:
    """Add a document; it speaks for its kind from now on."""
    row = conn.execute(
        """INSERT INTO party_document (party_id, item, document_id, number, issuer, valid_from, valid_until, added_at, added_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING paper_id""",
        (
            *(paper.party_id, paper.item, paper.document_id, paper.number, paper.issuer),
            *(paper.valid_from, paper.valid_until, at, by),
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def papers(conn: Conn, party_id: int) -> tuple[PaperRow, ...]:
    """All documents of a party, newest first."""
    with conn.cursor(row_factory=class_row(PaperRow)) as cursor:
        return tuple(cursor.execute(f"{_PAPER} WHERE p.party_id = %s ORDER BY p.paper_id DESC", (party_id,)))


def speaking(rows: Sequence[PaperRow]) -> tuple[PaperRow, ...]:
    """Of all documents, newest first, the last of every kind."""
    found: dict[str, PaperRow] = {}
    for row in rows:
        found.setdefault(row.item, row)
    return tuple(found.values())


def find_paper(conn: Conn, paper_id: int) -> PaperRow | None:
    """One document, if this transaction may see it."""
    with conn.cursor(row_factory=class_row(PaperRow)) as cursor:
        return cursor.execute(f"{_PAPER} WHERE p.paper_id = %s", (paper_id,)).fetchone()


def expiring(conn: Conn, before: date) -> tuple[tuple[PartyRow, PaperRow], ...]:
    """Speaking documents of registered parties that end before a day, soonest first; the first LISTED_MAX."""
    rows = conn.execute(
        """SELECT e.party_id, e.kind, e.name, e.state, e.subkind, p.paper_id, p.item, p.document_id, p.number, p.issuer,
                  p.valid_from, p.valid_until, p.added_at, p.added_by, d.name, d.media_type
           FROM (SELECT DISTINCT ON (party_id, item) * FROM party_document ORDER BY party_id, item, paper_id DESC) p
           JOIN party e USING (party_id) JOIN document d USING (document_id)
           WHERE p.valid_until < %s AND e.state IN ('effective', 'suspended', 'deregistering')
           ORDER BY p.valid_until, e.name LIMIT %s""",
        (before, LISTED_MAX),
    ).fetchall()
    return tuple((PartyRow(*row[:5]), PaperRow(row[5], row[0], *row[6:])) for row in rows)


def with_dated_papers(conn: Conn) -> tuple[int, ...]:
    """Registered parties that have given a document with an end, by number."""
    rows = conn.execute(
        """SELECT DISTINCT d.party_id FROM party_document d JOIN party p USING (party_id)
           WHERE d.valid_until IS NOT NULL AND p.state IN ('effective', 'suspended') ORDER BY d.party_id"""
    )
    return tuple(int(row[0]) for row in rows)


def held(rows: Sequence[PaperRow]) -> tuple[HeldPaper, ...]:
    """What a checklist needs to know of documents."""
    return tuple(HeldPaper(row.item, row.valid_until) for row in speaking(rows))
