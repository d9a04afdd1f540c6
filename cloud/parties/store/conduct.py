"""SQL: facts of a party's conduct. A fact is noted once by kind and key, whoever notes it again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from psycopg.rows import dict_row

from cloud.db import Conn
from cloud.parties.conduct import Conduct, Fact


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
