"""SQL: scores with their evidence, exceptions, rules proposed and in force, and what parties must lodge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import Any, Final

from psycopg.errors import CheckViolation, UniqueViolation
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.errors import Conflict, Forbidden

PACKAGED: Final = {"credit": "credit-shoudian-2026.toml", "guarantee": "guarantee-national-2021.toml"}


class SecondPersonNeeded(Forbidden):
    """Whoever proposed does not decide."""


class DecidedAlready(Conflict):
    """Somebody has decided already."""


class RuleKnown(Conflict):
    """A rule of that id and version was proposed already."""


@dataclass(frozen=True, slots=True)
class PartyRow:
    """A party as credit sees it."""

    party_id: int
    kind: str
    name: str
    state: str


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A score kept."""

    score_id: int
    party_id: int
    model: str
    at: datetime
    points: Any
    grade: str
    factors: list[dict[str, Any]]
    rules: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RequirementRow:
    """What a party must lodge, as worked out."""

    party_id: int
    rule: str
    at: datetime
    grade: str | None
    volumes: dict[str, Any]
    base_fen: int
    required_fen: int
    limit_kwh: int | None


@dataclass(frozen=True, slots=True)
class OverrideRow:
    """An exception proposed, and what became of it."""

    override_id: int
    party_id: int
    name: str
    grade: str
    reason: str
    expires_at: datetime
    proposed_at: datetime
    proposed_by: str
    verdict: str | None


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule proposed, with its simulation, and what became of it."""

    entry_id: int
    subject: str
    rule_id: str
    version: int
    body: str
    sha256: str
    simulation: list[dict[str, Any]]
    reason: str
    proposed_at: datetime
    proposed_by: str
    verdict: str | None
    decided_at: datetime | None


def parties(conn: Conn) -> tuple[PartyRow, ...]:
    """All parties that this transaction sees."""
    with conn.cursor(row_factory=class_row(PartyRow)) as cursor:
        return tuple(cursor.execute("SELECT party_id, kind, name, state FROM party ORDER BY kind, name"))


def find_party(conn: Conn, party_id: int) -> PartyRow | None:
    """One of them."""
    with conn.cursor(row_factory=class_row(PartyRow)) as cursor:
        return cursor.execute(
            "SELECT party_id, kind, name, state FROM party WHERE party_id = %s", (party_id,)
        ).fetchone()


def active_body(conn: Conn, subject: str) -> str:
    """The text in force: the one activated last, else the packaged one."""
    row = conn.execute(
        """SELECT r.body FROM party_rule r JOIN party_rule_verdict v USING (entry_id)
           WHERE r.subject = %s AND v.verdict = 'activate' ORDER BY v.at DESC, r.entry_id DESC LIMIT 1""",
        (subject,),
    ).fetchone()
    return packaged(PACKAGED[subject]) if row is None else str(row[0])


def packaged(name: str) -> str:
    """A text that comes with the program."""
    return (resources.files("cloud.parties") / "rules" / name).read_text("utf-8")


def packaged_names(subject: str) -> tuple[str, ...]:
    """Which texts come with the program."""
    folder = resources.files("cloud.parties") / "rules"
    return tuple(sorted(each.name for each in folder.iterdir() if each.name.startswith(f"{subject}-")))


def insert_rule(conn: Conn, facts: Mapping[str, object]) -> int:
    """Keep a proposed rule. Raises RuleKnown."""
    row = {**facts, "simulation": Jsonb(facts["simulation"])}
    try:
        with conn.transaction():
            kept = conn.execute(
                """INSERT INTO party_rule (subject, rule_id, version, body, sha256, simulation, reason, proposed_at,
                                           proposed_by)
                   VALUES (%(subject)s, %(rule_id)s, %(version)s, %(body)s, %(sha256)s, %(simulation)s, %(reason)s,
                           %(at)s, %(by)s) RETURNING entry_id""",
                row,
            ).fetchone()
    except UniqueViolation as problem:
        raise RuleKnown("rule_known", rule=facts["rule_id"], version=facts["version"]) from problem
    assert kept is not None
    return int(kept[0])


_RULES = """SELECT r.entry_id, r.subject, r.rule_id, r.version, r.body, r.sha256, r.simulation, r.reason, r.proposed_at,
                   r.proposed_by, v.verdict, v.at AS decided_at
            FROM party_rule r LEFT JOIN party_rule_verdict v USING (entry_id)"""


def rules(conn: Conn, subject: str) -> tuple[RuleRow, ...]:
    """The rules proposed, the newest first."""
    with conn.cursor(row_factory=class_row(RuleRow)) as cursor:
        return tuple(cursor.execute(f"{_RULES} WHERE r.subject = %s ORDER BY r.entry_id DESC", (subject,)))


def find_rule(conn: Conn, entry_id: int) -> RuleRow | None:
    """One of them."""
    with conn.cursor(row_factory=class_row(RuleRow)) as cursor:
        return cursor.execute(f"{_RULES} WHERE r.entry_id = %s", (entry_id,)).fetchone()


def decide(conn: Conn, table: str, key: int, verdict: str, act: tuple[str, datetime]) -> None:
    """Keep a second person's decision on a rule, an exception, an instrument or what was entered of conduct.

    `table` is one of this module's names, never a person's input. Raises SecondPersonNeeded, DecidedAlready.
    """
    columns = {"party_rule": "entry_id", "credit_override": "override_id", "guarantee": "instrument_id"}
    column = (columns | {"conduct_entry": "entry_id"})[table]
    actor, at = act
    try:
        with conn.transaction():
            conn.execute(
                f"INSERT INTO {table}_verdict ({column}, verdict, at, actor) VALUES (%s, %s, %s, %s)",
                (key, verdict, at, actor),
            )
    except CheckViolation as problem:
        raise SecondPersonNeeded("second_person_needed") from problem
    except UniqueViolation as problem:
        raise DecidedAlready("decided_already") from problem


def insert_score(conn: Conn, facts: Mapping[str, object]) -> int:
    """Keep a score with its evidence."""
    row = {**facts, "factors": Jsonb(facts["factors"]), "rules": Jsonb(facts["rules"])}
    kept = conn.execute(
        """INSERT INTO credit_score (party_id, model, model_sha256, at, points, grade, factors, rules, made_by)
           VALUES (%(party_id)s, %(model)s, %(sha256)s, %(at)s, %(points)s, %(grade)s, %(factors)s, %(rules)s, %(by)s)
           RETURNING score_id""",
        row,
    ).fetchone()
    assert kept is not None
    return int(kept[0])


def scores(conn: Conn, party_id: int) -> tuple[ScoreRow, ...]:
    """A party's scores, the newest first."""
    with conn.cursor(row_factory=class_row(ScoreRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT score_id, party_id, model, at, points, grade, factors, rules FROM credit_score
                   WHERE party_id = %s ORDER BY at DESC, score_id DESC""",
                (party_id,),
            )
        )


def insert_requirement(conn: Conn, facts: Mapping[str, object]) -> None:
    """Keep what a party must lodge."""
    conn.execute(
        """INSERT INTO guarantee_requirement (party_id, rule, rule_sha256, at, grade, volumes, base_fen, required_fen,
                                              limit_kwh, made_by)
           VALUES (%(party_id)s, %(rule)s, %(sha256)s, %(at)s, %(grade)s, %(volumes)s, %(base_fen)s, %(required_fen)s,
                   %(limit_kwh)s, %(by)s)""",
        {**facts, "volumes": Jsonb(facts["volumes"])},
    )


def requirement(conn: Conn, party_id: int, at: datetime) -> RequirementRow | None:
    """What a party must lodge, as last worked out before an instant."""
    with conn.cursor(row_factory=class_row(RequirementRow)) as cursor:
        return cursor.execute(
            """SELECT party_id, rule, at, grade, volumes, base_fen, required_fen, limit_kwh FROM guarantee_requirement
               WHERE party_id = %s AND at <= %s ORDER BY at DESC, requirement_id DESC LIMIT 1""",
            (party_id, at),
        ).fetchone()


def newcomers(conn: Conn, at: datetime) -> dict[int, int]:
    """The energy of a year that parties declared which are in force for less than a year; 0: none declared."""
    rows = conn.execute(
        """SELECT e.party_id,
                  coalesce((SELECT p.facts->>'forecast_annual_kwh' FROM party_profile p
                            WHERE p.party_id = e.party_id AND p.effective_at <= %(at)s ORDER BY p.version DESC LIMIT 1), '')
           FROM party_event e WHERE e.after = 'effective' AND e.at <= %(at)s
           GROUP BY e.party_id HAVING min(e.at) > %(at)s - interval '12 months'""",
        {"at": at},
    ).fetchall()
    return {int(party_id): int(kwh) if str(kwh).isdecimal() else 0 for party_id, kwh in rows}


def insert_override(
    conn: Conn, party_id: int, exception: tuple[str, str, datetime], act: tuple[str, datetime]
) -> int:
    """Keep a proposed exception: grade, reason and expiry."""
    row = conn.execute(
        """INSERT INTO credit_override (party_id, grade, reason, expires_at, proposed_by, proposed_at)
           VALUES (%s, %s, %s, %s, %s, %s) RETURNING override_id""",
        (party_id, *exception, *act),
    ).fetchone()
    assert row is not None
    return int(row[0])


def overrides(conn: Conn, party_id: int | None = None) -> tuple[OverrideRow, ...]:
    """Exceptions of a party, or of all; the newest first."""
    with conn.cursor(row_factory=class_row(OverrideRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT o.override_id, o.party_id, p.name, o.grade, o.reason, o.expires_at, o.proposed_at,
                          o.proposed_by, v.verdict
                   FROM credit_override o JOIN party p USING (party_id)
                        LEFT JOIN credit_override_verdict v USING (override_id)
                   WHERE %(party)s::bigint IS NULL OR o.party_id = %(party)s ORDER BY o.override_id DESC""",
                {"party": party_id},
            )
        )
