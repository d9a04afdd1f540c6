"""SQL: policy documents, what they do to each other, and who has read them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from psycopg.errors import UniqueViolation
from psycopg.rows import class_row

from cloud.db import Conn
from cloud.errors import Conflict
from cloud.market.policy import NewPolicy, Relation


class PolicyKept(Conflict):
    """A policy of that number is entered already."""


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A policy as it is kept, with the days from which others repeal it, and whether this person has read it."""

    policy_id: int
    number: str
    title: str
    issuer: str
    issued: date
    effective: date
    expires: date | None
    summary: str
    tags: list[str]
    rules: list[str]
    document_id: int | None
    source: str
    entered_at: datetime
    entered_by: str
    repealed: list[date]
    read_at: datetime | None


_COLUMNS: Final = """p.policy_id, p.number, p.title, p.issuer, p.issued, p.effective, p.expires, p.summary, p.tags, p.rules,
    p.document_id, p.source, p.entered_at, p.entered_by,
    ARRAY(SELECT r.from_day FROM policy_relation r WHERE r.other_number = p.number AND r.kind = 'repeals'
          ORDER BY r.from_day) AS repealed,
    (SELECT r.at FROM policy_read r WHERE r.policy_id = p.policy_id AND r.user_id = %(user)s) AS read_at"""


def insert(conn: Conn, new: NewPolicy, document_id: int | None, who: tuple[str, str], at: datetime) -> int:
    """Keep a policy and return its id; `who` is source and actor. Raises PolicyKept."""
    try:
        with conn.transaction():
            row = conn.execute(
                """INSERT INTO policy (number, title, issuer, issued, effective, expires, summary, tags, rules, document_id,
                       source, entered_at, entered_by)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s::text[], %s::text[], %s, %s, %s, %s) RETURNING policy_id""",
                (
                    *(new.number, new.title, new.issuer, new.issued, new.effective, new.expires, new.summary),
                    *(list(new.tags), list(new.rules), document_id, who[0], at, who[1]),
                ),
            ).fetchone()
    except UniqueViolation as taken:
        raise PolicyKept("policy_kept", number=new.number) from taken
    assert row is not None
    for each in new.relations:
        conn.execute(
            "INSERT INTO policy_relation VALUES (%s, %s, %s, %s)",
            (row[0], each.kind, each.number, each.from_day),
        )
    return int(row[0])


def is_kept(conn: Conn, number: str) -> bool:
    """Whether a policy of that number is entered."""
    row = conn.execute("SELECT EXISTS (SELECT FROM policy WHERE number = %s)", (number,)).fetchone()
    assert row is not None
    return bool(row[0])


def listed(
    conn: Conn, user_id: int, *, text: str = "", tag: str = "", most: int = 200
) -> tuple[PolicyRow, ...]:
    """Policies, the latest in force first, narrowed by words of number, title or summary, and by a tag."""
    return _rows(
        conn,
        """WHERE (%(text)s = '' OR strpos(lower(p.number || ' ' || p.title || ' ' || p.summary || ' ' || p.issuer),
                                        lower(%(text)s)) > 0)
             AND (%(tag)s = '' OR %(tag)s = ANY(p.tags)) ORDER BY p.effective DESC, p.policy_id DESC LIMIT %(most)s""",
        {"user": user_id, "text": text, "tag": tag, "most": most},
    )


def find(conn: Conn, user_id: int, policy_id: int) -> PolicyRow | None:
    """One policy."""
    return next(iter(_rows(conn, "WHERE p.policy_id = %(id)s", {"user": user_id, "id": policy_id})), None)


def relations_of(conn: Conn, policy_id: int) -> tuple[Relation, ...]:
    """What a policy does to others."""
    rows = conn.execute(
        "SELECT kind, other_number, from_day FROM policy_relation WHERE policy_id = %s ORDER BY kind, other_number",
        (policy_id,),
    )
    return tuple(Relation(*row) for row in rows)


def relations_to(conn: Conn, number: str) -> tuple[tuple[int, str, Relation], ...]:
    """What others do to a policy: their id and number, and the relation."""
    rows = conn.execute(
        """SELECT p.policy_id, p.number, r.kind, r.other_number, r.from_day
           FROM policy_relation r JOIN policy p USING (policy_id) WHERE r.other_number = %s ORDER BY r.from_day, p.number""",
        (number,),
    )
    return tuple((int(row[0]), str(row[1]), Relation(*row[2:])) for row in rows)


def numbers(conn: Conn) -> dict[str, int]:
    """The ids of all policies by number."""
    return {
        str(number): int(policy_id)
        for number, policy_id in conn.execute("SELECT number, policy_id FROM policy")
    }


def mark_read(conn: Conn, policy_id: int, user_id: int, at: datetime) -> bool:
    """A person says that the policy is read; False when said before."""
    cursor = conn.execute(
        "INSERT INTO policy_read (policy_id, user_id, at) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (policy_id, user_id, at),
    )
    return cursor.rowcount == 1


def readers(conn: Conn, policy_id: int) -> tuple[tuple[int, datetime], ...]:
    """Who has read a policy: all for staff, oneself for others."""
    rows = conn.execute("SELECT user_id, at FROM policy_read WHERE policy_id = %s ORDER BY at", (policy_id,))
    return tuple((int(user_id), at) for user_id, at in rows)


def _rows(conn: Conn, rest: str, parameters: dict[str, Any]) -> tuple[PolicyRow, ...]:
    with conn.cursor(row_factory=class_row(PolicyRow)) as cursor:
        return tuple(cursor.execute(f"SELECT {_COLUMNS} FROM policy p {rest}", parameters))
