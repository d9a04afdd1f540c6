"""SQL: statements with their lines, what became of them, and queries about them. Of a statement only the state moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.market.line import Item, SettlementLine, Side
from cloud.market.settlement import RetailerResult
from cloud.market.statement import derivation_from, derivation_json

STATEMENTS_MAX = 2000  # of one list


@dataclass(frozen=True, slots=True)
class StatementRow:
    """A statement without its lines."""

    statement_id: int
    run_id: int
    unit_id: str
    side: str
    party_id: int | None
    account_id: str | None
    name: str
    month: date
    revision: int
    state: str
    quantity_kwh: int
    total_fen: int
    change_fen: int
    input_sha256: str
    facts: dict[str, Any]
    made_at: datetime


@dataclass(frozen=True, slots=True)
class MoveRow:
    """One move of a statement's life."""

    deed: str
    before: str
    after: str
    at: datetime
    actor: str
    reason: str
    line_nos: list[int]


@dataclass(frozen=True, slots=True)
class QueryRow:
    """A query about a statement, and its answer if there is one."""

    query_id: int
    statement_id: int
    line_no: int | None
    question: str
    asked_at: datetime
    asked_by: str
    answer_by: date
    answer: str | None
    answered_at: datetime | None


_COLUMNS = """statement_id, run_id, unit_id, side, party_id, account_id, name, month, revision, state, quantity_kwh,
              total_fen, change_fen, input_sha256, facts, made_at"""


def state_of(conn: Conn, unit_id: str, month: date) -> str | None:
    """The state of the unit's latest statement of the month that was not replaced; None: there is none."""
    row = conn.execute(
        """SELECT state FROM statement WHERE unit_id = %s AND month = %s AND state <> 'superseded'
           ORDER BY revision DESC LIMIT 1""",
        (unit_id, month),
    ).fetchone()
    return None if row is None else str(row[0])


def final_lines(conn: Conn, unit_id: str, month: date) -> tuple[SettlementLine, ...]:
    """The lines of the unit's final statement of the month that are not held back as disputed; none: not final yet."""
    row = conn.execute(
        "SELECT statement_id FROM statement WHERE unit_id = %s AND month = %s AND state = 'final'",
        (unit_id, month),
    ).fetchone()
    if row is None:
        return ()
    held = held_lines(conn, row[0])
    return tuple(line for number, line in lines_of(conn, row[0]) if number not in held)


def add(conn: Conn, statement: StatementRow, lines: Sequence[SettlementLine]) -> int:
    """Keep a statement as drawn up, with its lines; return its number."""
    row = conn.execute(
        """INSERT INTO statement (run_id, unit_id, side, party_id, account_id, name, month, revision, quantity_kwh,
                                  total_fen, change_fen, input_sha256, facts, made_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING statement_id""",
        (
            *(statement.run_id, statement.unit_id, statement.side, statement.party_id, statement.account_id),
            *(statement.name, statement.month, statement.revision, statement.quantity_kwh),
            *(statement.total_fen, statement.change_fen, statement.input_sha256, Jsonb(statement.facts)),
            statement.made_at,
        ),
    ).fetchone()
    if row is None:
        raise TypeError("INSERT … RETURNING gave no row")
    statement_id = int(row[0])
    with conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO statement_line (statement_id, line_no, item, contract_id, period, difference, quantity_mwh,
                                           price_yuan_per_mwh, amount_fen, derivation, rule_version)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                (
                    *(statement_id, number, line.item, line.contract_id, line.period, line.difference),
                    *(line.quantity_mwh, line.price_yuan_per_mwh, line.amount_fen),
                    *(Jsonb(derivation_json(line.derivation)), line.rule_version),
                )
                for number, line in enumerate(lines, start=1)
            ],
        )
    return statement_id


def find(conn: Conn, statement_id: int) -> StatementRow | None:
    """The statement of that number, if this transaction may see it."""
    found = _rows(conn, "WHERE statement_id = %s", (statement_id,))
    return found[0] if found else None


def latest(conn: Conn, unit_id: str, month: date) -> StatementRow | None:
    """The unit's statement of the highest revision, in whatever state."""
    found = _rows(conn, "WHERE unit_id = %s AND month = %s ORDER BY revision DESC LIMIT 1", (unit_id, month))
    return found[0] if found else None


def final_of(conn: Conn, unit_id: str, month: date) -> StatementRow | None:
    """The unit's final statement of the month."""
    found = _rows(conn, "WHERE unit_id = %s AND month = %s AND state = 'final'", (unit_id, month))
    return found[0] if found else None


def standing(conn: Conn, month: date) -> tuple[StatementRow, ...]:
    """The statements of a month that were not replaced, by unit and revision."""
    return _rows(
        conn,
        "WHERE month = %s AND state <> 'superseded' ORDER BY unit_id, revision LIMIT %s",
        (month, STATEMENTS_MAX),
    )


def of_run(conn: Conn, run_id: int) -> tuple[StatementRow, ...]:
    """The statements of a run that were not replaced, by unit."""
    return _rows(
        conn,
        "WHERE run_id = %s AND state <> 'superseded' ORDER BY unit_id LIMIT %s",
        (run_id, STATEMENTS_MAX),
    )


def of_parties(conn: Conn, party_id: int | None) -> tuple[StatementRow, ...]:
    """The published statements of a party (None: of everybody), newest first."""
    return _rows(
        conn,
        """WHERE (%s::bigint IS NULL OR party_id = %s) AND state <> 'drawn'
           ORDER BY month DESC, unit_id, revision DESC LIMIT %s""",
        (party_id, party_id, STATEMENTS_MAX),
    )


def _rows(conn: Conn, end: str, parameters: tuple[object, ...]) -> tuple[StatementRow, ...]:
    with conn.cursor(row_factory=class_row(StatementRow)) as cursor:
        return tuple(cursor.execute(f"SELECT {_COLUMNS} FROM statement {end}", parameters))


def lines_of(conn: Conn, statement_id: int) -> tuple[tuple[int, SettlementLine], ...]:
    """The lines of a statement with their numbers."""
    rows = conn.execute(
        """SELECT l.line_no, s.unit_id, s.party_id, s.side, l.item, l.contract_id, l.period, l.quantity_mwh,
                  l.price_yuan_per_mwh, l.amount_fen, l.derivation, l.rule_version, l.difference
           FROM statement_line l JOIN statement s USING (statement_id)
           WHERE statement_id = %s ORDER BY l.line_no""",
        (statement_id,),
    )
    return tuple(
        (
            number,
            SettlementLine(
                *(unit_id, party_id, Side(side), Item(item), contract_id, period, quantity, price, amount_fen),
                derivation_from(derivation),
                rule_version,
                difference,
            ),
        )
        for number, unit_id, party_id, side, item, contract_id, period, quantity, price, amount_fen, derivation, rule_version, difference in rows
    )  # fmt: skip


def held_lines(conn: Conn, statement_id: int) -> frozenset[int]:
    """The numbers of the lines that did not become final because they are disputed."""
    rows = conn.execute("SELECT line_no FROM statement_hold WHERE statement_id = %s", (statement_id,))
    return frozenset(number for (number,) in rows)


def hold_lines(conn: Conn, statement_id: int, line_nos: Sequence[int], now: datetime) -> None:
    """Keep disputed lines out of what is final; no numbers: all lines."""
    conn.execute(
        """INSERT INTO statement_hold (statement_id, line_no, held_at)
           SELECT statement_id, line_no, %s FROM statement_line
           WHERE statement_id = %s AND (cardinality(%s::integer[]) = 0 OR line_no = ANY(%s::integer[]))""",
        (now, statement_id, list(line_nos), list(line_nos)),
    )


def move(conn: Conn, statement_id: int, before: str, after: str) -> bool:
    """Move a statement from one state to another; False when it is not in `before`, or not this transaction's to move."""
    return (
        conn.execute(
            "UPDATE statement SET state = %s WHERE statement_id = %s AND state = %s",
            (after, statement_id, before),
        ).rowcount
        == 1
    )


def add_move(conn: Conn, statement_id: int, move_row: MoveRow) -> None:
    """Append to a statement's life."""
    conn.execute(
        """INSERT INTO statement_event (statement_id, deed, before, after, at, actor, reason, line_nos)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s::integer[])""",
        (
            *(statement_id, move_row.deed, move_row.before, move_row.after, move_row.at, move_row.actor),
            *(move_row.reason, move_row.line_nos),
        ),
    )


def moves_of(conn: Conn, statement_id: int) -> tuple[MoveRow, ...]:
    """A statement's life, in order."""
    with conn.cursor(row_factory=class_row(MoveRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT deed, before, after, at, actor, reason, line_nos FROM statement_event
                   WHERE statement_id = %s ORDER BY event_id""",
                (statement_id,),
            )
        )


def add_query(
    conn: Conn, statement_id: int, line_no: int | None, question: str, asked: tuple[datetime, str, date]
) -> int:
    """Keep a query; `asked` is (when, by whom, to be answered by). Return its number."""
    row = conn.execute(
        """INSERT INTO settlement_query (statement_id, line_no, question, asked_at, asked_by, answer_by)
           VALUES (%s, %s, %s, %s, %s, %s) RETURNING query_id""",
        (statement_id, line_no, question, *asked),
    ).fetchone()
    if row is None:
        raise TypeError("INSERT … RETURNING gave no row")
    return int(row[0])


def queries_of(conn: Conn, statement_id: int | None) -> tuple[QueryRow, ...]:
    """The queries about a statement, or with None all that wait for an answer, oldest first."""
    with conn.cursor(row_factory=class_row(QueryRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT q.query_id, q.statement_id, q.line_no, q.question, q.asked_at, q.asked_by, q.answer_by,
                          a.answer, a.answered_at
                   FROM settlement_query q LEFT JOIN settlement_answer a USING (query_id)
                   WHERE q.statement_id = %(of)s OR (%(of)s::bigint IS NULL AND a.query_id IS NULL)
                   ORDER BY q.query_id""",
                {"of": statement_id},
            )
        )


def add_answer(conn: Conn, query_id: int, answer: str, actor: str, now: datetime) -> bool:
    """Answer a query; False when it is answered already or there is none."""
    return (
        conn.execute(
            """INSERT INTO settlement_answer (query_id, answer, answered_at, answered_by)
               SELECT query_id, %s, %s, %s FROM settlement_query WHERE query_id = %s
               ON CONFLICT DO NOTHING""",
            (answer, now, actor, query_id),
        ).rowcount
        == 1
    )


def add_retail(
    conn: Conn, of_unit: tuple[int, str], result: RetailerResult, bills: int, now: datetime
) -> None:
    """Keep a retailer's result of a run: revenue and wholesale cost, side by side."""
    conn.execute(
        """INSERT INTO settlement_retail (run_id, unit_id, revenue_fen, cost_fen, bills, made_at)
           VALUES (%s, %s, %s, %s, %s, %s)""",
        (*of_unit, result.revenue_fen, result.cost_fen, bills, now),
    )


def retail_of(conn: Conn, run_id: int, unit_id: str) -> tuple[RetailerResult, int] | None:
    """A retailer's last result of a run, and how many customers' bills are in it."""
    row = conn.execute(
        """SELECT revenue_fen, cost_fen, bills FROM settlement_retail WHERE run_id = %s AND unit_id = %s
           ORDER BY retail_id DESC LIMIT 1""",
        (run_id, unit_id),
    ).fetchone()
    return None if row is None else (RetailerResult(row[0], row[1]), int(row[2]))
