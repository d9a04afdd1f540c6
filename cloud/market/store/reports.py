"""SQL: what reports are made of, what they are checked against, and the reports with what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.market.report import Control, Finding

_ENTERED: Final = ("effective", "suspended", "deregistering", "deregistered")


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A revision of a report as it stands."""

    version_id: int
    report_id: str
    definition: int
    kind: str
    first_day: date
    end_day: date
    due: date
    revision: int
    reason: str
    sha256: str
    size_bytes: int
    row_count: int
    findings: list[dict[str, Any]]
    is_sound: bool
    state: str
    built_at: datetime
    built_by: str
    submitted_at: datetime | None
    submitted_by: str
    receipt_no: str
    answered_at: datetime | None
    answer: str
    last_problem: str


@dataclass(frozen=True, slots=True)
class NewReport:
    """A revision that is to be kept."""

    report_id: str
    definition: int
    kind: str
    first_day: date
    end_day: date
    due: date
    revision: int
    reason: str
    sha256: str
    size_bytes: int
    row_count: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class EventRow:
    """One move of a report."""

    deed: str
    state: str
    at: datetime
    actor: str
    detail: str


# ---- what reports are made of ----------------------------------------------------------------------------


def trade_rows(conn: Conn, first: date, end: date) -> list[dict[str, str]]:
    """Volumes of the latest version of every contract, delivered in `[first, end)`."""
    rows = conn.execute(
        """SELECT c.contract_id, c.kind, c.seller, c.buyer, to_char(v.month, 'YYYY-MM'), v.period, v.mwh::text,
                  v.price_yuan_per_mwh::text, round(v.mwh * v.price_yuan_per_mwh, 2)::text
           FROM wholesale_contract c JOIN wholesale_volume v USING (contract_id, version)
           WHERE c.version = (SELECT max(l.version) FROM wholesale_contract l WHERE l.contract_id = c.contract_id)
             AND v.month >= %s AND v.month < %s
           ORDER BY c.contract_id, v.month, v.volume_no""",
        (first, end),
    )
    names = (
        "contract",
        "kind",
        "seller",
        "buyer",
        "month",
        "period",
        "mwh",
        "price_yuan_per_mwh",
        "amount_yuan",
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def trade_control(conn: Conn, first: date, end: date) -> Control:
    """The same volumes counted from the other side: all volumes of the months less those of replaced versions."""
    row = conn.execute(
        """SELECT count(*) - count(*) FILTER (WHERE r), coalesce(sum(mwh), 0) - coalesce(sum(mwh) FILTER (WHERE r), 0)
           FROM (SELECT v.mwh, EXISTS (SELECT FROM wholesale_contract n
                                       WHERE n.contract_id = v.contract_id AND n.version > v.version) AS r
                 FROM wholesale_volume v WHERE v.month >= %s AND v.month < %s) counted""",
        (first, end),
    ).fetchone()
    assert row is not None
    known = conn.execute(
        "SELECT 'party:' || party_id FROM party UNION ALL SELECT account_id FROM account"
    ).fetchall()
    return Control(
        row_count=int(row[0]), sum_mwh=Decimal(row[1]), known_units=frozenset(unit for (unit,) in known)
    )


def entity_rows(conn: Conn) -> list[dict[str, str]]:
    """Every party that was ever admitted to the market, as it stands now."""
    rows = conn.execute(
        """SELECT p.party_id::text, p.name, p.kind, p.subkind, p.state,
                  coalesce(to_char((SELECT max(e.at) FROM party_event e WHERE e.party_id = p.party_id AND e.after = p.state)
                                   AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD'), '')
           FROM party p WHERE p.state = ANY(%s) ORDER BY p.party_id""",
        (list(_ENTERED),),
    )
    names = ("party", "name", "kind", "subkind", "state", "since")
    return [dict(zip(names, row, strict=True)) for row in rows]


def entity_control(conn: Conn, first: date, end: date) -> Control:
    """The register counted by kind, its numbers, and the units that traded in `[first, end)`."""
    counts = conn.execute(
        "SELECT kind, count(*) FROM party WHERE state = ANY(%s) GROUP BY kind", (list(_ENTERED),)
    ).fetchall()
    parties = conn.execute(
        "SELECT party_id::text FROM party WHERE state = ANY(%s)", (list(_ENTERED),)
    ).fetchall()
    units = conn.execute(
        """SELECT DISTINCT unnest(ARRAY[c.seller, c.buyer]) FROM wholesale_contract c
           JOIN wholesale_volume v USING (contract_id, version) WHERE v.month >= %s AND v.month < %s""",
        (first, end),
    ).fetchall()
    return Control(
        row_count=sum(int(count) for _, count in counts),
        counts={str(kind): int(count) for kind, count in counts},
        parties=frozenset(party for (party,) in parties),
        units=frozenset(unit for (unit,) in units),
    )


def settlement_rows(conn: Conn, first: date, end: date) -> list[dict[str, str]]:
    """The statement of every unit and month of `[first, end)` that is not replaced."""
    rows = conn.execute(
        """SELECT s.unit_id, s.name, s.side, to_char(s.month, 'YYYY-MM'), s.revision::text, s.state,
                  count(l.*)::text, (s.quantity_kwh / 1000.0)::numeric(20, 3)::text,
                  coalesce(sum(l.amount_fen), 0)::bigint
           FROM statement s LEFT JOIN statement_line l USING (statement_id)
           WHERE s.month >= %s AND s.month < %s AND s.state <> 'superseded'
             AND s.revision = (SELECT max(n.revision) FROM statement n
                               WHERE n.unit_id = s.unit_id AND n.month = s.month AND n.state <> 'superseded')
           GROUP BY s.statement_id ORDER BY s.month, s.unit_id""",
        (first, end),
    )
    names = ("unit", "name", "side", "month", "revision", "state", "lines", "mwh", "amount_yuan")
    return [dict(zip(names, (*row[:8], f"{Decimal(row[8]).scaleb(-2):f}"), strict=True)) for row in rows]


def settlement_control(conn: Conn, first: date, end: date) -> Control:
    """Units of the months' runs, the statements' own totals, and statements whose lines differ from their total."""
    row = conn.execute(
        """SELECT count(*), coalesce(sum(total_fen), 0)::bigint FROM (
               SELECT DISTINCT ON (unit_id, month) total_fen FROM statement
               WHERE month >= %s AND month < %s AND state <> 'superseded' ORDER BY unit_id, month, revision DESC) latest""",
        (first, end),
    ).fetchone()
    assert row is not None
    units = conn.execute(
        """SELECT DISTINCT u.unit_id FROM settlement_unit u JOIN settlement_run r USING (run_id)
           WHERE r.month >= %s AND r.month < %s AND u.side <> 'grid'""",
        (first, end),
    ).fetchall()
    unequal = conn.execute(
        """SELECT s.unit_id || ' ' || to_char(s.month, 'YYYY-MM') FROM statement s JOIN statement_line l USING (statement_id)
           WHERE s.month >= %s AND s.month < %s AND s.state <> 'superseded'
           GROUP BY s.statement_id HAVING sum(l.amount_fen) <> s.total_fen ORDER BY 1""",
        (first, end),
    ).fetchall()
    return Control(
        row_count=int(row[0]),
        sum_fen=int(row[1]),
        units=frozenset(unit for (unit,) in units),
        unequal=tuple(text for (text,) in unequal),
    )


# ---- the reports -----------------------------------------------------------------------------------------

_COLUMNS: Final = """version_id, report_id, definition, kind, first_day, end_day, due, revision, reason, sha256, size_bytes,
    row_count, findings, is_sound, state, built_at, built_by, submitted_at, submitted_by, receipt_no, answered_at, answer,
    last_problem"""


def lock_period(conn: Conn, report_id: str, first: date) -> None:
    """Let revisions of one report and period be made one after the other until the transaction's end."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 36))", (f"{report_id} {first}",))


def insert(conn: Conn, new: NewReport, by: str, at: datetime) -> int:
    """Keep a revision and return its number."""
    findings = [{"check": f.check, "is_passed": f.is_passed, "detail": f.detail} for f in new.findings]
    row = conn.execute(
        """INSERT INTO report_version (report_id, definition, kind, first_day, end_day, due, revision, reason, sha256,
               size_bytes, row_count, findings, is_sound, built_at, built_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING version_id""",
        (
            *(new.report_id, new.definition, new.kind, new.first_day, new.end_day, new.due, new.revision),
            *(new.reason, new.sha256, new.size_bytes, new.row_count, Jsonb(findings)),
            *(all(finding.is_passed for finding in new.findings), at, by),
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def find(conn: Conn, version_id: int, *, is_locked: bool = False) -> ReportRow | None:
    """One revision, if this person sees it."""
    rest = "WHERE version_id = %s" + (" FOR UPDATE" if is_locked else "")
    return next(iter(_rows(conn, rest, (version_id,))), None)


def revisions(conn: Conn, report_id: str, first: date) -> tuple[ReportRow, ...]:
    """All revisions for a period, the latest first."""
    return _rows(conn, "WHERE report_id = %s AND first_day = %s ORDER BY revision DESC", (report_id, first))


def latest(conn: Conn, since: date) -> tuple[ReportRow, ...]:
    """The latest revision of every report for periods that end after `since`."""
    return _rows(
        conn,
        """r WHERE end_day > %s AND revision = (SELECT max(n.revision) FROM report_version n
               WHERE n.report_id = r.report_id AND n.first_day = r.first_day)
           ORDER BY first_day DESC, report_id""",
        (since,),
    )


def handed_in(conn: Conn, most: int = 100) -> tuple[ReportRow, ...]:
    """Reports that were handed in, the latest first."""
    return _rows(
        conn,
        "WHERE state IN ('submitted', 'accepted', 'returned') ORDER BY submitted_at DESC LIMIT %s",
        (most,),
    )


def unanswered(conn: Conn) -> tuple[ReportRow, ...]:
    """Reports that went out and have no credible answer."""
    return _rows(conn, "WHERE state = 'submitted' ORDER BY version_id LIMIT 100", ())


def move(conn: Conn, version_id: int, state: str, event: tuple[str, str, str], at: datetime) -> None:
    """Move a report and say so: `event` is deed, actor and detail."""
    deed, actor, detail = event
    conn.execute("UPDATE report_version SET state = %s WHERE version_id = %s", (state, version_id))
    conn.execute(
        "INSERT INTO report_event (version_id, deed, state, at, actor, detail) VALUES (%s, %s, %s, %s, %s, %s)",
        (version_id, deed, state, at, actor, detail[:1000]),
    )


def submitted(conn: Conn, version_id: int, by: str, at: datetime) -> None:
    """Note, before it goes, that a report is handed in; the first time counts."""
    conn.execute(
        """UPDATE report_version SET submitted_at = coalesce(submitted_at, %s),
               submitted_by = CASE WHEN submitted_by = '' THEN %s ELSE submitted_by END WHERE version_id = %s""",
        (at, by, version_id),
    )


def answered(conn: Conn, version_id: int, answer: tuple[str, str, str], at: datetime) -> None:
    """Note the regulator's answer: document's hash, receipt number, words."""
    conn.execute(
        """UPDATE report_version SET answer_sha256 = %s, receipt_no = %s, answer = %s, answered_at = %s, last_problem = ''
           WHERE version_id = %s""",
        (answer[0], answer[1][:200], answer[2][:1000], at, version_id),
    )


def failed(conn: Conn, version_id: int, problem: str) -> None:
    """Note why there is no answer yet."""
    conn.execute(
        "UPDATE report_version SET last_problem = %s WHERE version_id = %s", (problem[:300], version_id)
    )


def events_of(conn: Conn, version_id: int) -> tuple[EventRow, ...]:
    """What happened to a revision, the earliest first."""
    with conn.cursor(row_factory=class_row(EventRow)) as cursor:
        return tuple(
            cursor.execute(
                "SELECT deed, state, at, actor, detail FROM report_event WHERE version_id = %s ORDER BY event_id",
                (version_id,),
            )
        )


def _rows(conn: Conn, rest: str, parameters: Sequence[object]) -> tuple[ReportRow, ...]:
    with conn.cursor(row_factory=class_row(ReportRow)) as cursor:
        return tuple(cursor.execute(f"SELECT {_COLUMNS} FROM report_version {rest}", parameters))
