"""SQL of applications and what becomes of them: findings, verdicts, publicity, objections, changes, deregistrations."""

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
from cloud.parties.registration import Finding, Given, Publicity, Verdict

LISTED_MAX: Final = 500


class OpenAlready(Conflict):
    """The party has a request of this kind that is not decided yet."""


@dataclass(frozen=True, slots=True)
class SubmissionRow:
    """An application as it was sent."""

    submission_id: int
    party_id: int
    revision: int
    rule: str
    due: date
    submitted_at: datetime
    submitted_by: str


@dataclass(frozen=True, slots=True)
class NewSubmission:
    """An application to send."""

    party_id: int
    revision: int
    rule: str
    rule_sha256: str
    promised: str
    due: date


@dataclass(frozen=True, slots=True)
class PublicityRow:
    """Something publicised on `[starts, ends)`."""

    publicity_id: int
    party_id: int
    about: str
    source: str
    starts: date
    ends: date


@dataclass(frozen=True, slots=True)
class ObjectionRow:
    """What somebody says against a registration, and what was answered."""

    objection_id: int
    publicity_id: int
    objector: str
    grounds: str
    at: datetime
    is_upheld: bool | None
    answer: str | None


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change that is asked for."""

    change_id: int
    party_id: int
    base_version: int
    facts: Mapping[str, str]
    happened_on: date
    is_late: bool
    reason: str
    state: str
    due: date
    asked_at: datetime
    asked_by: str


@dataclass(frozen=True, slots=True)
class NewChange:
    """A change to ask for."""

    party_id: int
    base_version: int
    facts: Mapping[str, str]
    happened_on: date
    is_late: bool
    reason: str
    due: date


@dataclass(frozen=True, slots=True)
class LeaveRow:
    """A wish to be deregistered."""

    leave_id: int
    party_id: int
    reason: str
    contracts: str
    last_day: date
    state: str
    keep_until: date | None
    asked_at: datetime
    asked_by: str


@dataclass(frozen=True, slots=True)
class Work:
    """Something that waits for staff."""

    kind: str  # 'application', 'change'
    number: int
    party_id: int
    party_name: str
    party_kind: str
    due: date
    since: datetime
    accepts: int
    has_decided: bool


def add_submission(conn: Conn, new: NewSubmission, papers: Sequence[int], at: datetime, by: str) -> int:
    """Keep an application with the documents that go with it."""
    row = conn.execute(
        """INSERT INTO party_submission (party_id, revision, rule, rule_sha256, promised, due, submitted_at, submitted_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING submission_id""",
        (new.party_id, new.revision, new.rule, new.rule_sha256, new.promised, new.due, at, by),
    ).fetchone()
    assert row is not None
    for paper_id in papers:
        conn.execute("INSERT INTO submission_paper VALUES (%s, %s)", (row[0], paper_id))
    return int(row[0])


def last_submission(conn: Conn, party_id: int) -> SubmissionRow | None:
    """The party's last application."""
    with conn.cursor(row_factory=class_row(SubmissionRow)) as cursor:
        return cursor.execute(
            """SELECT submission_id, party_id, revision, rule, due, submitted_at, submitted_by FROM party_submission
               WHERE party_id = %s ORDER BY submission_id DESC LIMIT 1""",
            (party_id,),
        ).fetchone()


def papers_of(conn: Conn, submission_id: int) -> frozenset[int]:
    """The documents that went with an application."""
    rows = conn.execute("SELECT paper_id FROM submission_paper WHERE submission_id = %s", (submission_id,))
    return frozenset(int(row[0]) for row in rows)


def add_finding(conn: Conn, submission_id: int, finding: Finding, at: datetime) -> None:
    """Keep a reviewer's word about one item."""
    conn.execute(
        """INSERT INTO submission_finding (submission_id, reviewer, item, is_right, note, at)
           VALUES (%s, %s, %s, %s, %s, %s)""",
        (submission_id, finding.reviewer, finding.item, finding.is_right, finding.note, at),
    )


def findings(conn: Conn, submission_id: int) -> tuple[Finding, ...]:
    """Every reviewer's last word about every item."""
    rows = conn.execute(
        """SELECT DISTINCT ON (reviewer, item) reviewer, item, is_right, note FROM submission_finding
           WHERE submission_id = %s ORDER BY reviewer, item, finding_id DESC""",
        (submission_id,),
    ).fetchall()
    return tuple(Finding(*row) for row in rows)


def add_verdict(conn: Conn, submission_id: int, given: Given, at: datetime) -> None:
    """Keep a reviewer's verdict."""
    conn.execute(
        "INSERT INTO submission_verdict (submission_id, reviewer, verdict, reason, at) VALUES (%s, %s, %s, %s, %s)",
        (submission_id, given.reviewer, given.verdict.value, given.reason, at),
    )


def verdicts(conn: Conn, submission_id: int) -> tuple[Given, ...]:
    """The verdicts of an application."""
    rows = conn.execute(
        "SELECT reviewer, verdict, reason FROM submission_verdict WHERE submission_id = %s ORDER BY at, reviewer",
        (submission_id,),
    ).fetchall()
    return tuple(Given(row[0], Verdict(row[1]), row[2]) for row in rows)


def add_publicity(conn: Conn, facts: tuple[int, str, str], days: Publicity, at: datetime, actor: str) -> int:
    """Publicise; `facts` are party, about and source."""
    row = conn.execute(
        """INSERT INTO party_publicity (party_id, about, source, starts, ends, at, actor)
           VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING publicity_id""",
        (*facts, days.starts, days.ends, at, actor),
    ).fetchone()
    assert row is not None
    return int(row[0])


_PUBLICITY: Final = "SELECT publicity_id, party_id, about, source, starts, ends FROM party_publicity"


def find_publicity(conn: Conn, publicity_id: int) -> PublicityRow | None:
    """One publicity."""
    with conn.cursor(row_factory=class_row(PublicityRow)) as cursor:
        return cursor.execute(f"{_PUBLICITY} WHERE publicity_id = %s", (publicity_id,)).fetchone()


def publicity_of(conn: Conn, party_id: int) -> PublicityRow | None:
    """The party's last publicity."""
    with conn.cursor(row_factory=class_row(PublicityRow)) as cursor:
        return cursor.execute(
            f"{_PUBLICITY} WHERE party_id = %s ORDER BY publicity_id DESC LIMIT 1", (party_id,)
        ).fetchone()


_WAITING: Final = """SELECT q.publicity_id, q.party_id, q.about, q.source, q.starts, q.ends
                      FROM party_publicity q JOIN party p USING (party_id)
                      WHERE ((q.about = 'registration' AND p.state = 'publicised')
                             OR (q.about = 'deregistration' AND p.state = 'deregistering'))
                        AND q.publicity_id = (SELECT max(publicity_id) FROM party_publicity l
                                              WHERE l.party_id = q.party_id)"""


def publicised(conn: Conn, day: date) -> tuple[PublicityRow, ...]:
    """What is publicised on that day, or will be, soonest end first."""
    with conn.cursor(row_factory=class_row(PublicityRow)) as cursor:
        return tuple(
            cursor.execute(
                f"{_WAITING} AND q.ends > %s ORDER BY q.ends, q.publicity_id LIMIT %s", (day, LISTED_MAX)
            )
        )


def ended_publicity(conn: Conn, day: date) -> tuple[PublicityRow, ...]:
    """Publicity that is over on that day while its party still waits for it."""
    with conn.cursor(row_factory=class_row(PublicityRow)) as cursor:
        return tuple(
            cursor.execute(
                f"{_WAITING} AND q.ends <= %s ORDER BY q.ends, q.publicity_id LIMIT %s", (day, LISTED_MAX)
            )
        )


def add_objection(
    conn: Conn, publicity_id: int, facts: tuple[int | None, str, str], at: datetime, actor: str
) -> None:
    """Keep an objection; `facts` are party (None: from outside), objector and grounds."""
    conn.execute(
        """INSERT INTO party_objection (publicity_id, party_id, objector, grounds, at, actor)
           VALUES (%s, %s, %s, %s, %s, %s)""",
        (publicity_id, *facts, at, actor),
    )


def objections(conn: Conn, publicity_id: int) -> tuple[ObjectionRow, ...]:
    """The objections that this transaction may see, with their answers."""
    with conn.cursor(row_factory=class_row(ObjectionRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT o.objection_id, o.publicity_id, o.objector, o.grounds, o.at, a.is_upheld, a.reason AS answer
                   FROM party_objection o LEFT JOIN objection_answer a USING (objection_id)
                   WHERE o.publicity_id = %s ORDER BY o.objection_id""",
                (publicity_id,),
            )
        )


def find_objection(conn: Conn, objection_id: int) -> ObjectionRow | None:
    """One objection."""
    with conn.cursor(row_factory=class_row(ObjectionRow)) as cursor:
        return cursor.execute(
            """SELECT o.objection_id, o.publicity_id, o.objector, o.grounds, o.at, a.is_upheld, a.reason AS answer
               FROM party_objection o LEFT JOIN objection_answer a USING (objection_id) WHERE o.objection_id = %s""",
            (objection_id,),
        ).fetchone()


def answer_objection(
    conn: Conn, objection_id: int, is_upheld: bool, reason: str, act: tuple[datetime, str]
) -> None:
    """Answer an objection, once; `act` is when and who."""
    conn.execute(
        "INSERT INTO objection_answer (objection_id, is_upheld, reason, at, actor) VALUES (%s, %s, %s, %s, %s)",
        (objection_id, is_upheld, reason, *act),
    )


def add_change(conn: Conn, new: NewChange, papers: Sequence[int], at: datetime, by: str) -> int:
    """Keep a change with its proof. Raises OpenAlready."""
    try:
        with conn.transaction():
            row = conn.execute(
                """INSERT INTO party_change (party_id, base_version, facts, happened_on, is_late, reason, due, asked_at, asked_by)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING change_id""",
                (
                    *(new.party_id, new.base_version, Jsonb(dict(new.facts)), new.happened_on, new.is_late),
                    *(new.reason, new.due, at, by),
                ),
            ).fetchone()
    except UniqueViolation as problem:
        raise OpenAlready("change_open_already") from problem
    assert row is not None
    for paper_id in papers:
        conn.execute("INSERT INTO change_paper VALUES (%s, %s)", (row[0], paper_id))
    return int(row[0])


_CHANGE: Final = """SELECT change_id, party_id, base_version, facts, happened_on, is_late, reason, state, due, asked_at,
                           asked_by FROM party_change"""


def find_change(conn: Conn, change_id: int) -> ChangeRow | None:
    """One change, if this transaction may see it."""
    with conn.cursor(row_factory=class_row(ChangeRow)) as cursor:
        return cursor.execute(f"{_CHANGE} WHERE change_id = %s", (change_id,)).fetchone()


def changes(conn: Conn, party_id: int) -> tuple[ChangeRow, ...]:
    """The party's changes, newest first."""
    with conn.cursor(row_factory=class_row(ChangeRow)) as cursor:
        return tuple(cursor.execute(f"{_CHANGE} WHERE party_id = %s ORDER BY change_id DESC", (party_id,)))


def change_papers(conn: Conn, change_id: int) -> tuple[int, ...]:
    """The proof of a change."""
    rows = conn.execute(
        "SELECT paper_id FROM change_paper WHERE change_id = %s ORDER BY paper_id", (change_id,)
    )
    return tuple(int(row[0]) for row in rows)


def add_change_verdict(conn: Conn, change_id: int, given: tuple[str, str, str], at: datetime) -> None:
    """Keep a reviewer's verdict: reviewer, verdict, reason."""
    conn.execute(
        "INSERT INTO change_verdict (change_id, reviewer, verdict, reason, at) VALUES (%s, %s, %s, %s, %s)",
        (change_id, *given, at),
    )


def change_verdicts(conn: Conn, change_id: int) -> tuple[tuple[str, str, str], ...]:
    """Reviewer, verdict and reason of those who have decided."""
    return tuple(
        (row[0], row[1], row[2])
        for row in conn.execute(
            "SELECT reviewer, verdict, reason FROM change_verdict WHERE change_id = %s ORDER BY at, reviewer",
            (change_id,),
        )
    )


def set_change_state(conn: Conn, change_id: int, state: str) -> None:
    """Decide a change."""
    conn.execute("UPDATE party_change SET state = %s WHERE change_id = %s", (state, change_id))


def add_leave(conn: Conn, facts: tuple[int, str, str, date], at: datetime, by: str) -> int:
    """Keep a wish to leave: party, reason, contracts, last day. Raises OpenAlready."""
    try:
        with conn.transaction():
            row = conn.execute(
                """INSERT INTO party_leave (party_id, reason, contracts, last_day, asked_at, asked_by)
                   VALUES (%s, %s, %s, %s, %s, %s) RETURNING leave_id""",
                (*facts, at, by),
            ).fetchone()
    except UniqueViolation as problem:
        raise OpenAlready("leave_open_already") from problem
    assert row is not None
    return int(row[0])


def leave_of(conn: Conn, party_id: int) -> LeaveRow | None:
    """The party's last wish to leave."""
    with conn.cursor(row_factory=class_row(LeaveRow)) as cursor:
        return cursor.execute(
            """SELECT leave_id, party_id, reason, contracts, last_day, state, keep_until, asked_at, asked_by
               FROM party_leave WHERE party_id = %s ORDER BY leave_id DESC LIMIT 1""",
            (party_id,),
        ).fetchone()


def end_leave(conn: Conn, leave_id: int, state: str, keep_until: date | None) -> None:
    """Close a wish to leave: done with the day until which history is kept, or stayed."""
    conn.execute(
        "UPDATE party_leave SET state = %s, keep_until = %s WHERE leave_id = %s",
        (state, keep_until, leave_id),
    )


def work(conn: Conn, reviewer: str) -> tuple[Work, ...]:
    """What waits for a decision, by promised day; `has_decided`: this reviewer has done the own part."""
    with conn.cursor(row_factory=class_row(Work)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT 'application' AS kind, s.submission_id AS number, p.party_id, p.name AS party_name,
                          p.kind AS party_kind, s.due, s.submitted_at AS since,
                          (SELECT count(*) FROM submission_verdict v WHERE v.submission_id = s.submission_id) AS accepts,
                          EXISTS (SELECT FROM submission_verdict v
                                  WHERE v.submission_id = s.submission_id AND v.reviewer = %(who)s) AS has_decided
                   FROM party p JOIN LATERAL (SELECT * FROM party_submission s WHERE s.party_id = p.party_id
                                              ORDER BY submission_id DESC LIMIT 1) s ON true
                   WHERE p.state IN ('submitted', 'reviewing')
                   UNION ALL
                   SELECT 'change', c.change_id, p.party_id, p.name, p.kind, c.due, c.asked_at,
                          (SELECT count(*) FROM change_verdict v WHERE v.change_id = c.change_id),
                          EXISTS (SELECT FROM change_verdict v WHERE v.change_id = c.change_id AND v.reviewer = %(who)s)
                   FROM party_change c JOIN party p USING (party_id) WHERE c.state = 'asked'
                   ORDER BY 6, 7 LIMIT %(most)s""",
                {"who": reviewer, "most": LISTED_MAX},
            )
        )


def unpublicised_leaves(conn: Conn) -> tuple[int, ...]:
    """Parties that wish to leave and are not publicised yet."""
    rows = conn.execute(
        """SELECT l.party_id FROM party_leave l JOIN party p USING (party_id)
           WHERE l.state = 'asked' AND p.state = 'deregistering'
             AND NOT EXISTS (SELECT FROM party_publicity q WHERE q.source = 'leave:' || l.leave_id)
           ORDER BY l.leave_id"""
    )
    return tuple(int(row[0]) for row in rows)
