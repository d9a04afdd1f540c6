"""SQL: facts of a party's conduct. A fact is noted once by kind and key, whoever notes it again.

What a person enters waits for a second one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row, dict_row

from cloud.db import Conn
from cloud.parties.conduct import Conduct, Fact


@dataclass(frozen=True, slots=True)
class EntryRow:
    """A fact as a person entered it; it waits while there is no verdict."""

    entry_id: int
    party_id: int
    name: str
    kind: str
    at: datetime
    magnitude: int
    source_key: str
    document: str
    proposed_at: datetime
    proposed_by: str
    verdict: str | None

    @property
    def fact(self) -> Fact:
        """The fact that it becomes."""
        whose = (self.party_id, Conduct(self.kind), self.at)
        return Fact(*whose, self.magnitude, self.source_key, self.document)


def enter(conn: Conn, fact: Fact, by: str, at: datetime) -> int:
    """Keep what a person entered until a second one has seen it; return its number."""
    row = conn.execute(
        """INSERT INTO conduct_entry (party_id, kind, at, magnitude, source_key, document, proposed_at, proposed_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING entry_id""",
        (fact.party_id, fact.kind.value, fact.at, fact.magnitude, fact.source_key, fact.document, at, by),
    ).fetchone()
    assert row is not None
    return int(row[0])


def waiting(conn: Conn) -> tuple[EntryRow, ...]:
    """What was entered and nobody has decided about, the oldest first."""
    return _entries(conn, "v.verdict IS NULL ORDER BY c.entry_id", ())


def find_entry(conn: Conn, entry_id: int) -> EntryRow | None:
    """One entry."""
    found = _entries(conn, "c.entry_id = %s", (entry_id,))
    return found[0] if found else None


def note(conn: Conn, facts: Sequence[Fact], by: str, at: datetime) -> int:
    """Keep the facts that are not known yet and say how many those were."""
    kept = 0
    for fact in facts:
        kept += conn.execute(
            """INSERT INTO conduct_fact (party_id, kind, at, magnitude, source_key, document, noted_at, noted_by)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (kind, source_key) DO NOTHING""",
            (
                *(fact.party_id, fact.kind.value, fact.at, fact.magnitude),
                *(fact.source_key, fact.document, at, by),
            ),
        ).rowcount
    return kept


def of_party(conn: Conn, party_id: int, until: datetime) -> tuple[Fact, ...]:
    """All facts of a party before an instant."""
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(
            """SELECT party_id, kind, at, magnitude, source_key, document, fact_id FROM conduct_fact
               WHERE party_id = %s AND at < %s ORDER BY at, fact_id""",
            (party_id, until),
        )
        return tuple(Fact(**{**row, "kind": Conduct(row["kind"])}) for row in found)


def _entries(conn: Conn, condition: str, parameters: tuple[object, ...]) -> tuple[EntryRow, ...]:
    with conn.cursor(row_factory=class_row(EntryRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""SELECT c.entry_id, c.party_id, p.name, c.kind, c.at, c.magnitude, c.source_key, c.document,
                           c.proposed_at, c.proposed_by, v.verdict
                    FROM conduct_entry c JOIN party p USING (party_id) LEFT JOIN conduct_entry_verdict v USING (entry_id)
                    WHERE {condition}""",
                parameters,
            )
        )
