"""SQL: what came of the parts in demand-response events: results by revision, their moves. Only the state moves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.errors import NotFound
from cloud.market.performance import Performance, line_json
from cloud.market.programme import Step

ROWS_MAX = 500


class NoResult(NotFound):
    """There is no such result, or this transaction does not see it."""


@dataclass(frozen=True, slots=True)
class ResultRow:
    """What came of a participant's part."""

    result_id: int
    event_id: int
    enrolment_id: int
    revision: int
    payee_id: int
    bid_kwh: Decimal
    response_kwh: Decimal
    eligible_kwh: Decimal
    total_fen: int
    facts: dict[str, Any]
    lines: list[dict[str, Any]]
    object_by: datetime
    state: str
    made_at: datetime


_RESULT = """SELECT result_id, event_id, enrolment_id, revision, payee_id, bid_kwh, response_kwh, eligible_kwh, total_fen,
    facts, lines, object_by, state, made_at FROM response_result"""


def insert_result(
    conn: Conn,
    event_id: int,
    payee: tuple[int, int],
    found: Performance,
    facts: dict[str, Any],
    made: tuple[datetime, str, datetime],
) -> int:
    """Keep what came of a part as its next revision; `payee` is (enrolment, party), `made` (at, by whom, object until)."""
    at, actor, object_by = made
    row = conn.execute(
        """INSERT INTO response_result (event_id, enrolment_id, revision, payee_id, bid_kwh, response_kwh, eligible_kwh,
               total_fen, facts, lines, object_by, made_at)
           SELECT %(event)s, %(enrolment)s, 1 + count(*), %(payee)s, %(bid)s, %(response)s, %(eligible)s, %(total)s,
                  %(facts)s, %(lines)s, %(object_by)s, %(at)s
           FROM response_result WHERE event_id = %(event)s AND enrolment_id = %(enrolment)s
           RETURNING result_id""",
        {
            "event": event_id,
            "enrolment": payee[0],
            "payee": payee[1],
            "bid": found.bid_kwh,
            "response": found.response_kwh,
            "eligible": found.eligible_kwh,
            "total": found.total_fen,
            "facts": Jsonb(facts),
            "lines": Jsonb([line_json(line) for line in found.lines]),
            "object_by": object_by,
            "at": at,
        },
    ).fetchone()
    assert row is not None
    result_id = int(row[0])
    add_step(conn, result_id, Step("draw", "", "drawn", at, actor, ""))
    return result_id


def result(conn: Conn, result_id: int) -> ResultRow:
    """One result. Raises NoResult."""
    with conn.cursor(row_factory=class_row(ResultRow)) as cursor:
        found = cursor.execute(f"{_RESULT} WHERE result_id = %s", (result_id,)).fetchone()
    if found is None:
        raise NoResult("not_found", kind="response_result")
    return found


def results(conn: Conn, event_id: int | None = None) -> tuple[ResultRow, ...]:
    """The results that stand, of an event or of all that this transaction sees, newest first."""
    with conn.cursor(row_factory=class_row(ResultRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_RESULT} WHERE state <> 'replaced' AND (%(event)s::bigint IS NULL OR event_id = %(event)s)
                    ORDER BY result_id DESC LIMIT %(most)s""",
                {"event": event_id, "most": ROWS_MAX},
            )
        )


def settled(conn: Conn) -> tuple[ResultRow, ...]:
    """Results that are settled, oldest first: what is owed."""
    with conn.cursor(row_factory=class_row(ResultRow)) as cursor:
        return tuple(cursor.execute(f"{_RESULT} WHERE state = 'settled' ORDER BY result_id"))


def set_result(conn: Conn, result_id: int, state: str) -> None:
    """Write a result's new state; its event follows."""
    conn.execute("UPDATE response_result SET state = %s WHERE result_id = %s", (state, result_id))


def add_step(conn: Conn, result_id: int, step: Step) -> None:
    """Note a move of a result."""
    conn.execute(
        """INSERT INTO response_result_step (result_id, deed, before, after, at, actor, reason)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (result_id, step.deed, step.before, step.after, step.at, step.actor, step.reason),
    )


def steps(conn: Conn, result_id: int) -> tuple[Step, ...]:
    """The moves of a result in order."""
    rows = conn.execute(
        """SELECT deed, before, after, at, actor, reason FROM response_result_step WHERE result_id = %s
           ORDER BY step_id""",
        (result_id,),
    )
    return tuple(Step(*row) for row in rows)
