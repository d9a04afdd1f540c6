"""Drafts of price files from the first line to being in force: start, save, ask for a bench run, publish.

The two-person rule is the database's (publish_draft in cloud/schema/0010_offers.sql); here its answer becomes words.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime

from cloud.billing import draft as drafting
from cloud.billing.catalogue import AmbiguousPrices, Catalogue
from cloud.billing.draft import Checked, Problem
from cloud.billing.store import drafts, published
from cloud.billing.tariff import Head
from cloud.db import Conn
from cloud.errors import Conflict, Forbidden, Invalid, NotFound, NotNow

TEXT_MAX = 40_000  # characters; a form's body has its limit (cloud/api/app.py)
ACCOUNTS_MAX = 5000
ONE_A_DAY = "one file of a kind on a day"


class NoSuchDraft(NotFound):
    """There is no draft of that number."""


class DraftPublished(NotNow):
    """The draft has been published; a change is a new draft with the next version."""


class DraftChanged(Conflict):
    """Somebody saved another text of the draft meanwhile."""


class OwnDraft(Forbidden):
    """Whoever wrote any of a draft cannot publish it: a second person looks."""


class NotPublishable(NotNow):
    """The draft is not valid, has not been run on the bench, or its version is taken; the key says which."""


class NothingToBench(Invalid):
    """No account was chosen, or too many, or one that has no terms, or the draft is not valid."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to run on the bench: months `[first, end)` of the accounts."""

    first_month: date
    end_month: date
    account_ids: tuple[str, ...]


def start(conn: Conn, title: str, body: str, actor: str, now: datetime) -> int:
    """Start a draft with its first text; return its number. Raises NotPublishable for a text that cannot be kept."""
    draft_id = drafts.start(conn, title, actor, now)
    _save(conn, draft_id, body, actor, now)
    return draft_id


def save(conn: Conn, draft_id: int, body: str, seen_revision: int, by: tuple[str, datetime]) -> int:
    """Save a text as the draft's next revision, right or wrong; return the revision.

    Raises NoSuchDraft, DraftPublished, and DraftChanged when `seen_revision` is not the last any more.
    """
    known = _open_draft(conn, draft_id)
    if known.head.revision != seen_revision:
        raise DraftChanged("draft_changed", draft_id=draft_id, revision=known.head.revision)
    if known.body == _kept(body):
        return known.head.revision
    return _save(conn, draft_id, body, *by)


def read(body: str, known: Catalogue) -> Checked:
    """Read a text as the publisher will: the file itself, and whether it fits those that are published."""
    checked = drafting.checked(body)
    if checked.file is None:
        return checked
    head = checked.file.head
    taken = [each.head.version for each in known.files if each.head.id == head.id]
    if taken and head.version <= max(taken):
        line = drafting.line_of(body, "version")
        problem = Problem(line, "version", str(head.version), f"{max(taken) + 1}: {max(taken)} is published")
        return Checked(None, (problem,))
    if misplaced := drafting.misplaced(checked.file, known):
        key, other = misplaced
        return Checked(None, (Problem(drafting.line_of(body, key), key, *_taken(key, other.head)),))
    try:
        Catalogue((*known.files, checked.file)).findings()
    except AmbiguousPrices as twice:
        line = drafting.line_of(body, "effective_from")
        return Checked(None, (Problem(line, "effective_from", str(twice.facts["files"]), ONE_A_DAY),))
    return checked


def _taken(key: str, other: Head) -> tuple[str, str]:
    if key == "id":
        return other.id, f"another id: {other.origin} is a {other.kind} of {other.grid}"
    until = "" if other.effective_to is None else f" to {other.effective_to}"
    return f"{other.origin} holds from {other.effective_from}{until}", ONE_A_DAY


def ask(conn: Conn, draft_id: int, asked: Asked, by: tuple[str, datetime]) -> int:
    """Ask for a bench run of the draft's last text; return its number. Raises NoSuchDraft, NothingToBench."""
    known = _open_draft(conn, draft_id)
    if known.problems:
        raise NothingToBench("draft_not_valid", draft_id=draft_id)
    if not asked.account_ids or len(asked.account_ids) > ACCOUNTS_MAX:
        raise NothingToBench("nothing_to_bench", most=ACCOUNTS_MAX)
    months = (asked.first_month, asked.end_month)
    return drafts.ask(conn, (draft_id, known.head.revision), months, asked.account_ids, by)


def publish(conn: Conn, draft_id: int, revision: int, now: datetime) -> None:
    """Make the draft a price file in force from its date; the person is the one this transaction speaks for.

    Raises NoSuchDraft, DraftChanged, DraftPublished, OwnDraft, NotPublishable.
    """
    known = _open_draft(conn, draft_id)
    if read(known.body, published.catalogue(conn)).problems:
        raise NotPublishable("draft_not_valid", draft_id=draft_id)
    match drafts.publish(conn, draft_id, revision, now):
        case "ok":
            return
        case "own_draft" | "not_staff":
            raise OwnDraft("own_draft", draft_id=draft_id)
        case "not_latest":
            raise DraftChanged("draft_changed", draft_id=draft_id, revision=known.head.revision)
        case "published":
            raise DraftPublished("draft_published", draft_id=draft_id)
        case reason:  # not_benched, draft_not_valid, version_taken
            raise NotPublishable(reason, draft_id=draft_id)


def _open_draft(conn: Conn, draft_id: int) -> drafts.Draft:
    found = drafts.find(conn, draft_id) if drafts.lock(conn, draft_id) else None
    if found is None:
        raise NoSuchDraft("no_such_draft", draft_id=draft_id)
    if found.head.published_at is not None:
        raise DraftPublished("draft_published", draft_id=draft_id)
    return found


def _save(conn: Conn, draft_id: int, body: str, actor: str, now: datetime) -> int:
    text = _kept(body)
    if not text.strip() or len(text) > TEXT_MAX:
        raise NotPublishable("draft_length", most=TEXT_MAX)
    checked = read(text, published.catalogue(conn))
    return drafts.save(conn, draft_id, (text, hashlib.sha256(text.encode()).digest()), checked, (actor, now))


def _kept(body: str) -> str:
    """Take a form's text: browsers send CRLF, files have LF and end with one."""
    return body.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"
