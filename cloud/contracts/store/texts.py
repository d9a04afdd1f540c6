"""SQL: the clause library and the templates, every version, and what was decided about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from psycopg.errors import InsufficientPrivilege, UniqueViolation
from psycopg.rows import class_row

from cloud.db import Conn
from cloud.errors import Conflict, Forbidden, NotFound

USES_MAX = 100


class NoText(NotFound):
    """There is no such clause or template of that version."""


class VersionTaken(Conflict):
    """That version of the text is kept already."""


class OwnText(Forbidden):
    """Who wrote a text does not approve it."""


@dataclass(frozen=True, slots=True)
class TextRow:
    """A version of a text and where it stands: 'waiting', 'approve' (from `from_day`), 'refuse' or 'withdraw'."""

    kind: str
    text_id: str
    version: int
    title: str
    body: str
    sha256: str
    written_by: str
    written_at: datetime
    standing: str
    from_day: date | None
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about a text."""

    deed: str
    from_day: date
    reason: str
    actor: str
    at: datetime


_SELECT = """SELECT t.kind, t.text_id, t.version, t.title, t.body, t.sha256, t.written_by, t.written_at,
       coalesce(d.deed, 'waiting') AS standing, d.from_day, d.actor AS decided_by, d.at AS decided_at, d.reason
    FROM contract_text t LEFT JOIN LATERAL (
        SELECT * FROM contract_text_decision d WHERE (d.kind, d.text_id, d.version) = (t.kind, t.text_id, t.version)
        ORDER BY d.decision_id DESC LIMIT 1) d ON true"""


def insert(conn: Conn, text: TextRow) -> None:
    """Keep a version of a text; its standing is not kept. Raises VersionTaken."""
    try:
        with conn.transaction():
            conn.execute(
                """INSERT INTO contract_text (kind, text_id, version, title, body, sha256, written_by, written_at)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
                (
                    *(text.kind, text.text_id, text.version, text.title, text.body, text.sha256),
                    *(text.written_by, text.written_at),
                ),
            )
    except UniqueViolation as taken:
        raise VersionTaken("text_version_taken", name=text.text_id, version=text.version) from taken


def decide(conn: Conn, text: TextRow, decision: Decision) -> None:
    """Keep a decision. Raises OwnText."""
    try:
        with conn.transaction():
            conn.execute(
                """INSERT INTO contract_text_decision (kind, text_id, version, deed, from_day, reason, actor, at)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
                (
                    *(
                        text.kind,
                        text.text_id,
                        text.version,
                        decision.deed,
                        decision.from_day,
                        decision.reason,
                    ),
                    *(decision.actor, decision.at),
                ),
            )
    except InsufficientPrivilege as refused:
        raise OwnText("own_text") from refused


def find(conn: Conn, kind: str, text_id: str, version: int) -> TextRow:
    """Load a version. Raises NoText."""
    found = _load(conn, "WHERE (t.kind, t.text_id, t.version) = (%s, %s, %s)", (kind, text_id, version))
    if not found:
        raise NoText("not_found", kind=kind)
    return found[0]


def all_of(conn: Conn, kind: str) -> tuple[TextRow, ...]:
    """Every version of every text of a kind, by id, the latest version first."""
    return _load(conn, "WHERE t.kind = %s ORDER BY t.text_id, t.version DESC", (kind,))


def in_force(conn: Conn, kind: str, day: date) -> tuple[TextRow, ...]:
    """The version of each text that is in force on a day: the latest approved one from a day not after it."""
    latest: dict[str, TextRow] = {}
    for row in all_of(conn, kind):
        is_so = row.standing == "approve" and row.from_day is not None and row.from_day <= day
        if is_so and row.text_id not in latest:
            latest[row.text_id] = row
    return tuple(latest.values())


def used_in(conn: Conn, template_id: str, version: int) -> tuple[str, ...]:
    """Contracts whose papers were drawn up from a template's version, latest first; the first USES_MAX."""
    rows = conn.execute(
        """SELECT contract_id, max(drawn_at) FROM contract_paper WHERE template_id = %s AND template_version = %s
           GROUP BY contract_id ORDER BY 2 DESC LIMIT %s""",
        (template_id, version, USES_MAX),
    )
    return tuple(str(row[0]) for row in rows)


def _load(conn: Conn, rest: str, parameters: tuple[object, ...]) -> tuple[TextRow, ...]:
    with conn.cursor(row_factory=class_row(TextRow)) as cursor:
        return tuple(cursor.execute(f"{_SELECT} {rest}", parameters))
