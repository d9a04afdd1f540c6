"""SQL: drafts of price files, runs of the test bench over them, and publishing. Nothing here commits or decides.

Who may publish is decided by the database itself: publish_draft in cloud/schema/0010_offers.sql.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.billing.draft import Checked, Problem
from cloud.billing.tariff import Head
from cloud.db import Conn
from cloud.markettime import slot_start

DRAFTS_MAX = 200
BENCHES_MAX = 20


@dataclass(frozen=True, slots=True)
class DraftHead:
    """A draft in a list: its last text, and what became of it."""

    draft_id: int
    title: str
    started_by: str
    revision: int
    author: str
    author_name: str
    saved_at: datetime
    problems: int
    kind: str | None
    sheet_id: str | None
    version: int | None
    published_at: datetime | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft with its last text."""

    head: DraftHead
    body: str
    problems: tuple[Problem, ...]
    authors: tuple[str, ...]  # everybody who wrote or started it


@dataclass(frozen=True, slots=True)
class Bench:
    """A run of the test bench and how far it is."""

    bench_id: int
    draft_id: int
    revision: int
    asked_by: str
    asked_at: datetime
    first_month: date
    end_month: date
    units: int
    done: int
    rated: int

    @property
    def is_done(self) -> bool:
        """Whether every account has been rated."""
        return self.done == self.units


@dataclass(frozen=True, slots=True)
class Unit:
    """One account to rate under a draft."""

    bench_id: int
    account_id: str
    first_month: date
    end_month: date
    body: str


@dataclass(frozen=True, slots=True)
class Result:
    """An account's month before and after; None when it could not be rated, and why."""

    account_id: str
    month: date
    category: str
    before_fen: int | None
    after_fen: int | None
    changes: tuple[dict[str, Any], ...]
    problem: str


def start(conn: Conn, title: str, actor: str, now: datetime) -> int:
    """Start a draft; return its number."""
    row = conn.execute(
        "INSERT INTO tariff_draft (title, started_by, started_at) VALUES (%s, %s, %s) RETURNING draft_id",
        (title, actor, now),
    ).fetchone()
    return _number(row)


def lock(conn: Conn, draft_id: int) -> bool:
    """Let only this transaction add to the draft until it ends; False when there is none."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"tariff draft {draft_id}",))
    return conn.execute("SELECT 1 FROM tariff_draft WHERE draft_id = %s", (draft_id,)).fetchone() is not None


def save(conn: Conn, draft_id: int, text: tuple[str, bytes], read: Checked, by: tuple[str, datetime]) -> int:
    """Add a text (body, sha256) of a draft as its next revision; return the revision."""
    row = conn.execute(
        """INSERT INTO tariff_draft_text (draft_id, revision, author, saved_at, body, sha256, problems,
                                          sheet_id, version, kind, grid, effective, document)
           SELECT %(draft)s, coalesce(max(revision), 0) + 1, %(author)s, %(now)s, %(body)s, %(sha256)s, %(problems)s,
                  %(sheet_id)s, %(version)s, %(kind)s, %(grid)s,
                  CASE WHEN %(sheet_id)s::text IS NULL THEN NULL
                       ELSE tstzrange(%(first)s::timestamptz, %(end)s::timestamptz) END, %(document)s
           FROM tariff_draft_text WHERE draft_id = %(draft)s RETURNING revision""",
        {
            "draft": draft_id,
            "author": by[0],
            "now": by[1],
            "body": text[0],
            "sha256": text[1],
            "problems": Jsonb([asdict(each) for each in read.problems]),
            **_columns(None if read.file is None else read.file.head),
        },
    ).fetchone()
    return _number(row)


def drafts(conn: Conn) -> tuple[DraftHead, ...]:
    """List drafts, the last saved first."""
    with conn.cursor(row_factory=class_row(DraftHead)) as cursor:
        return tuple(cursor.execute(_HEADS + " ORDER BY t.saved_at DESC LIMIT %s", (DRAFTS_MAX,)))


def find(conn: Conn, draft_id: int) -> Draft | None:
    """Load a draft with its last text."""
    with conn.cursor(row_factory=class_row(DraftHead)) as cursor:
        head = cursor.execute(_HEADS + " WHERE d.draft_id = %s", (draft_id,)).fetchone()
    if head is None:
        return None
    row = conn.execute(
        """SELECT t.body, t.problems, (SELECT array_agg(DISTINCT author) FROM tariff_draft_text a WHERE a.draft_id = t.draft_id)
           FROM tariff_draft_text t WHERE draft_id = %s AND revision = %s""",
        (draft_id, head.revision),
    ).fetchone()
    if row is None:
        return None
    body, problems, authors = row
    return Draft(head, body, tuple(Problem(**each) for each in problems), (*authors, head.started_by))


def publish(conn: Conn, draft_id: int, revision: int, now: datetime) -> str:
    """Publish a draft if the database lets this person; return 'ok', or the word for why not."""
    row = conn.execute("SELECT publish_draft(%s, %s, %s)", (draft_id, revision, now)).fetchone()
    return str(row[0]) if row else "not_latest"


# ---- bench -----------------------------------------------------------------------------------------------


def ask(
    conn: Conn,
    draft: tuple[int, int],
    months: tuple[date, date],
    accounts: Sequence[str],
    by: tuple[str, datetime],
) -> int:
    """Ask for a run of (draft, revision) over `[first, end)` months of the accounts; return its number."""
    row = conn.execute(
        """INSERT INTO bench_run (draft_id, revision, asked_by, asked_at, first_month, end_month)
           VALUES (%s, %s, %s, %s, %s, %s) RETURNING bench_id""",
        (*draft, *by, *months),
    ).fetchone()
    bench_id = _number(row)
    conn.execute(
        "INSERT INTO bench_unit (bench_id, account_id) SELECT %s, unnest(%s::text[])",
        (bench_id, list(accounts)),
    )
    return bench_id


def take_unit(conn: Conn) -> Unit | None:
    """Take an account of the oldest open run that nobody is working on; it is free again when this transaction ends."""
    with conn.cursor(row_factory=class_row(Unit)) as cursor:
        return cursor.execute(
            """SELECT u.bench_id, u.account_id, b.first_month, b.end_month, t.body
               FROM bench_unit u JOIN bench_run b USING (bench_id)
               JOIN tariff_draft_text t ON (t.draft_id, t.revision) = (b.draft_id, b.revision)
               WHERE u.done_at IS NULL ORDER BY u.bench_id, u.account_id LIMIT 1 FOR UPDATE OF u SKIP LOCKED"""
        ).fetchone()


def finish_unit(conn: Conn, unit: Unit, results: Sequence[Result], now: datetime) -> None:
    """Keep what an account's months came to and close its unit."""
    with conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO bench_result (bench_id, account_id, month, category, before_fen, after_fen, changes, problem)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                (
                    *(
                        unit.bench_id,
                        each.account_id,
                        each.month,
                        each.category,
                        each.before_fen,
                        each.after_fen,
                    ),
                    *(Jsonb(list(each.changes)), each.problem),
                )
                for each in results
            ],
        )
    conn.execute(
        "UPDATE bench_unit SET done_at = %s WHERE bench_id = %s AND account_id = %s",
        (now, unit.bench_id, unit.account_id),
    )


def benches(conn: Conn, draft_id: int) -> tuple[Bench, ...]:
    """List a draft's runs, the last first."""
    with conn.cursor(row_factory=class_row(Bench)) as cursor:
        return tuple(
            cursor.execute(
                _BENCHES + " WHERE b.draft_id = %s ORDER BY b.bench_id DESC LIMIT %s", (draft_id, BENCHES_MAX)
            )
        )


def find_bench(conn: Conn, bench_id: int) -> Bench | None:
    """Find a run and how far it is."""
    with conn.cursor(row_factory=class_row(Bench)) as cursor:
        return cursor.execute(_BENCHES + " WHERE b.bench_id = %s", (bench_id,)).fetchone()


def results(conn: Conn, bench_id: int, account_id: str | None = None) -> tuple[Result, ...]:
    """Load a run's results, of one account or all, by account and month."""
    rows = conn.execute(
        """SELECT account_id, month, category, before_fen, after_fen, changes, problem FROM bench_result
           WHERE bench_id = %s AND (%s::text IS NULL OR account_id = %s) ORDER BY account_id, month""",
        (bench_id, account_id, account_id),
    )
    return tuple(
        Result(account, month, category, before, after, tuple(changes), problem)
        for account, month, category, before, after, changes, problem in rows
    )


def accounts_of(conn: Conn, category: str | None, at: datetime) -> tuple[str, ...]:
    """List the accounts that have terms, of one category or all."""
    rows = conn.execute(
        """SELECT DISTINCT account_id FROM account_terms
           WHERE effective @> %s AND (%s::text IS NULL OR category = %s) ORDER BY account_id""",
        (at, category, category),
    )
    return tuple(account_id for (account_id,) in rows)


_HEADS = """
    SELECT d.draft_id, d.title, d.started_by, t.revision, t.author, coalesce(u.display_name, t.author) AS author_name,
           t.saved_at, jsonb_array_length(t.problems) AS problems, t.kind, t.sheet_id, t.version, p.published_at
    FROM tariff_draft d
    JOIN LATERAL (SELECT * FROM tariff_draft_text x WHERE x.draft_id = d.draft_id ORDER BY revision DESC LIMIT 1) t ON true
    LEFT JOIN tariff_publication p ON p.draft_id = d.draft_id
    LEFT JOIN app_user u ON 'user:' || u.user_id = t.author"""

_BENCHES = """
    SELECT b.*, (SELECT count(*) FROM bench_unit u WHERE u.bench_id = b.bench_id) AS units,
           (SELECT count(*) FROM bench_unit u WHERE u.bench_id = b.bench_id AND done_at IS NOT NULL) AS done,
           (SELECT count(*) FROM bench_result r WHERE r.bench_id = b.bench_id AND problem = '') AS rated
    FROM bench_run b"""


def _columns(head: Head | None) -> dict[str, object]:
    if head is None:
        return dict.fromkeys(("sheet_id", "version", "kind", "grid", "first", "end", "document"))
    return {
        "sheet_id": head.id,
        "version": head.version,
        "kind": head.kind,
        "grid": head.grid,
        "first": slot_start(head.effective_from, 0),
        "end": None if head.effective_to is None else slot_start(head.effective_to, 0),
        "document": head.sources[0].document,
    }


def _number(row: tuple[Any, ...] | None) -> int:
    if row is None:
        raise TypeError("INSERT … RETURNING gave no row")
    return int(row[0])
