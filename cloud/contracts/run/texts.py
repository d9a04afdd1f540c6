"""Shells: clauses and templates are written, checked, approved by another person, and put in force or withdrawn."""

from __future__ import annotations

import hashlib
from datetime import date, datetime
from importlib import resources

from cloud.contracts.clause import PLACE, Clause, clause_from
from cloud.contracts.store import texts
from cloud.contracts.store.texts import Decision, TextRow
from cloud.contracts.template import GIVEN, Template, template_from
from cloud.db import Conn
from cloud.errors import Invalid
from cloud.markettime import day_of
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow

REASON_MAX = 1000
DEEDS = ("approve", "refuse", "withdraw")


class BadText(Invalid):
    """The text does not fit: a clause that is not there, a variable that the template does not ask for, no reason."""


def write(conn: Conn, actor: Actor, kind: str, body: str, now: datetime) -> TextRow:
    """Keep a new version of a clause or template; it waits for another person's approval.

    Raises BadMarketFile, BadText, VersionTaken.
    """
    allow(conn, actor, Deed.WRITE_CONTRACT_TEXT, Subject("contract_text", kind), now)
    return _kept(conn, kind, body, actor_name(actor), now)


def decide(
    conn: Conn, actor: Actor, text: TextRow, told: tuple[str, date | None, str], now: datetime
) -> None:
    """Approve (from a day on), refuse or withdraw a version; `told` is (deed, day, why). Raises OwnText, BadText.

    A template is approved when each of its clauses is.
    """
    allow(
        conn,
        actor,
        Deed.APPROVE_CONTRACT_TEXT,
        Subject("contract_text", f"{text.text_id}@{text.version}"),
        now,
    )
    deed, day, reason = told
    if deed not in DEEDS or not 0 < len(reason.strip()) <= REASON_MAX:
        raise BadText("reason_missing", longest=REASON_MAX)
    if deed == "approve" and text.written_by == actor_name(actor):
        raise texts.OwnText("own_text")
    if deed == "approve" and text.kind == "template":
        for clause_id, version in template_from(text.text_id, text.body).clauses:
            if texts.find(conn, "clause", clause_id, version).standing != "approve":
                raise BadText("clause_not_approved", clause=f"{clause_id}@{version}")
    texts.decide(conn, text, Decision(deed, day or day_of(now), reason.strip(), actor_name(actor), now))


def enter_supplied(conn: Conn, by: str, now: datetime) -> int:
    """Keep the clauses and templates that come with the program, as far as they are not kept; each waits for approval."""
    folder = resources.files("cloud.contracts") / "templates"
    entered = 0
    for kind, place in (("clause", folder / "clauses"), ("template", folder)):
        for file in sorted(place.iterdir(), key=lambda each: each.name):
            if file.name.endswith(".toml"):
                body = file.read_text(encoding="utf-8")
                read = clause_from(file.name, body) if kind == "clause" else template_from(file.name, body)
                text_id = read.clause_id if isinstance(read, Clause) else read.template_id
                kept = {(row.text_id, row.version) for row in texts.all_of(conn, kind)}
                if (text_id, read.version) not in kept:
                    _kept(conn, kind, body, by, now)
                    entered += 1
    return entered


def check(conn: Conn, kind: str, body: str) -> Clause | Template:
    """Read a text as it would be kept, with all that it names. Raises BadMarketFile, NoText, BadText."""
    if kind == "clause":
        return clause_from("clause", body)
    if kind != "template":
        raise BadText("bad_text_kind", kind=kind)
    template = template_from("template", body)
    names = {variable.name for variable in template.variables} | GIVEN
    for clause_id, version in template.clauses:
        unknown = set(PLACE.findall(texts.find(conn, "clause", clause_id, version).body)) - names
        if unknown:
            raise BadText("unknown_variable", name=f"{clause_id}: {sorted(unknown)[0]}")
    return template


def _kept(conn: Conn, kind: str, body: str, by: str, now: datetime) -> TextRow:
    read = check(conn, kind, body)
    text_id = read.clause_id if isinstance(read, Clause) else read.template_id
    sha256 = hashlib.sha256(body.encode()).hexdigest()
    row = TextRow(
        *(kind, text_id, read.version, read.title, body, sha256, by, now),
        *("waiting", None, None, None, None),
    )
    texts.insert(conn, row)
    return row
