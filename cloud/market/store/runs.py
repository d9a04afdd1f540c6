"""SQL: settlement runs: their units, their log, collected energy and lines at work. Rows are only added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.market.line import SettlementLine, Side
from cloud.market.progress import STAGES, Event, Outcome, Stage
from cloud.market.statement import line_from, line_json

KINDS = ("initial", "r1", "r2", "final")


@dataclass(frozen=True, slots=True)
class RunRow:
    """A settlement run."""

    run_id: int
    market_id: str
    month: date
    kind: str
    opened_at: datetime
    opened_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A unit that a run settles."""

    unit_id: str
    side: Side
    party_id: int | None
    account_id: str | None
    name: str
    is_metered: bool


@dataclass(frozen=True, slots=True)
class EnergyRow:
    """What was collected for a unit: kWh by settlement period, and by day for the picture."""

    actual_kwh: tuple[int, ...]
    day_ahead_kwh: tuple[int, ...]
    day_kwh: tuple[int, ...]
    customers_kwh: Mapping[str, int]
    evidence: Mapping[str, Mapping[str, int]]
    problems: tuple[Mapping[str, Any], ...]


def lock_run(conn: Conn, run_id: int) -> None:
    """Let only this transaction work on the run, until it ends."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 13))", (f"settlement run {run_id}",))


def open_run(conn: Conn, market_id: str, month: date, kind: str, told: tuple[str, datetime, str]) -> RunRow:
    """Open a run, or find it when it is open already; `told` is (actor, when, why)."""
    actor, now, reason = told
    conn.execute(
        """INSERT INTO settlement_run (market_id, month, kind, opened_at, opened_by, reason)
           VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (market_id, month, kind) DO NOTHING""",
        (market_id, month, kind, now, actor, reason),
    )
    found = [run for run in runs_of(conn, month) if (run.market_id, run.kind) == (market_id, kind)]
    return found[0]


def runs_of(conn: Conn, month: date) -> tuple[RunRow, ...]:
    """The runs of a month in the order they were opened."""
    return _runs(conn, "WHERE month = %s ORDER BY run_id", (month,))


def find_run(conn: Conn, run_id: int) -> RunRow | None:
    """The run of that number."""
    found = _runs(conn, "WHERE run_id = %s", (run_id,))
    return found[0] if found else None


def recent_runs(conn: Conn, most: int) -> tuple[RunRow, ...]:
    """The latest runs, newest month first."""
    return _runs(conn, "ORDER BY month DESC, run_id DESC LIMIT %s", (most,))


def _runs(conn: Conn, end: str, parameters: tuple[object, ...]) -> tuple[RunRow, ...]:
    with conn.cursor(row_factory=class_row(RunRow)) as cursor:
        return tuple(
            cursor.execute(
                f"SELECT run_id, market_id, month, kind, opened_at, opened_by, reason FROM settlement_run {end}",
                parameters,
            )
        )


def units_of(conn: Conn, run_id: int) -> tuple[UnitRow, ...]:
    """The units of a run, by id."""
    rows = conn.execute(
        """SELECT unit_id, side, party_id, account_id, name, is_metered FROM settlement_unit
           WHERE run_id = %s ORDER BY unit_id""",
        (run_id,),
    )
    return tuple(UnitRow(unit_id, Side(side), *rest) for unit_id, side, *rest in rows)


def put_units(conn: Conn, run_id: int, units: Sequence[UnitRow]) -> int:
    """Add units that the run does not have yet; return how many were new."""
    new = 0
    for unit in units:
        new += conn.execute(
            """INSERT INTO settlement_unit (run_id, unit_id, side, party_id, account_id, name, is_metered)
               VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
            (
                *(run_id, unit.unit_id, unit.side, unit.party_id, unit.account_id, unit.name),
                unit.is_metered,
            ),
        ).rowcount
    return new


def events_of(conn: Conn, run_id: int) -> tuple[Event, ...]:
    """The log of a run, in order."""
    rows = conn.execute(
        """SELECT event_id, stage, unit_id, outcome, at, actor, facts FROM settlement_event
           WHERE run_id = %s ORDER BY event_id""",
        (run_id,),
    )
    return tuple(
        Event(event_id, Stage(stage), unit_id, Outcome(outcome), at, actor, facts)
        for event_id, stage, unit_id, outcome, at, actor, facts in rows
    )


def is_done(conn: Conn, run_id: int, stage: Stage, unit_id: str | None) -> bool:
    """Whether the log says that a stage is done for a unit and no later restart undid it: progress_of, asked of one unit."""
    at = STAGES.index(stage)
    row = conn.execute(
        """SELECT EXISTS (SELECT FROM settlement_event d
               WHERE d.run_id = %(run)s AND d.stage = %(stage)s AND d.unit_id IS NOT DISTINCT FROM %(unit)s
                 AND d.outcome = 'done' AND NOT EXISTS (
                     SELECT FROM settlement_event r WHERE r.run_id = %(run)s AND r.outcome = 'restart'
                       AND r.event_id > d.event_id AND r.stage = ANY(%(before)s)
                       AND (r.unit_id IS NULL OR r.unit_id = %(unit)s OR %(after_books)s)))""",
        {
            "run": run_id,
            "stage": stage,
            "unit": unit_id,
            "before": [str(each) for each in STAGES[: at + 1]],
            "after_books": at >= STAGES.index(Stage.BALANCE),
        },
    ).fetchone()
    return bool(row and row[0])


def last_restart(conn: Conn, run_id: int) -> int:
    """The number of the run's last restart; 0: none."""
    row = conn.execute(
        "SELECT coalesce(max(event_id), 0) FROM settlement_event WHERE run_id = %s AND outcome = 'restart'",
        (run_id,),
    ).fetchone()
    return int(row[0]) if row else 0


def add_event(conn: Conn, run_id: int, event: Event) -> None:
    """Append to the log; the number of the event given is ignored."""
    conn.execute(
        """INSERT INTO settlement_event (run_id, stage, unit_id, outcome, at, actor, facts)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (
            *(run_id, event.stage, event.unit_id, event.outcome, event.at, event.actor),
            Jsonb(dict(event.facts)),
        ),
    )


def add_energy(conn: Conn, run_id: int, unit_id: str, energy: EnergyRow, now: datetime) -> None:
    """Keep what was collected for a unit."""
    conn.execute(
        """INSERT INTO settlement_energy (run_id, unit_id, actual_kwh, day_ahead_kwh, day_kwh, customers_kwh, evidence,
                                          problems, made_at)
           VALUES (%s, %s, %s::bigint[], %s::bigint[], %s::bigint[], %s, %s, %s, %s)""",
        (
            *(run_id, unit_id, list(energy.actual_kwh), list(energy.day_ahead_kwh), list(energy.day_kwh)),
            *(Jsonb(dict(energy.customers_kwh)), Jsonb(dict(energy.evidence))),
            *(Jsonb([dict(each) for each in energy.problems]), now),
        ),
    )


def energies_of(conn: Conn, run_id: int) -> dict[str, EnergyRow]:
    """What was collected last, by unit."""
    rows = conn.execute(
        """SELECT DISTINCT ON (unit_id) unit_id, actual_kwh, day_ahead_kwh, day_kwh, customers_kwh, evidence, problems
           FROM settlement_energy WHERE run_id = %s ORDER BY unit_id, energy_id DESC""",
        (run_id,),
        binary=True,
    )
    return {row[0]: _energy(*row[1:]) for row in rows}


def energy_of(conn: Conn, run_id: int, unit_id: str) -> EnergyRow | None:
    """What was collected last for one unit."""
    row = conn.execute(
        """SELECT actual_kwh, day_ahead_kwh, day_kwh, customers_kwh, evidence, problems FROM settlement_energy
           WHERE run_id = %s AND unit_id = %s ORDER BY energy_id DESC LIMIT 1""",
        (run_id, unit_id),
    ).fetchone()
    return None if row is None else _energy(*row)


def _energy(actual: Any, ahead: Any, days: Any, customers: Any, evidence: Any, problems: Any) -> EnergyRow:
    return EnergyRow(tuple(actual), tuple(ahead), tuple(days), customers, evidence, tuple(problems))


def add_work(
    conn: Conn,
    run_id: int,
    unit_id: str,
    lines: Sequence[SettlementLine],
    facts: Mapping[str, Any],
    now: datetime,
) -> None:
    """Keep lines that are not yet a statement; unit '' is the books of the market."""
    conn.execute(
        "INSERT INTO settlement_work (run_id, unit_id, lines, facts, made_at) VALUES (%s, %s, %s, %s, %s)",
        (run_id, unit_id, Jsonb([line_json(line) for line in lines]), Jsonb(dict(facts)), now),
    )


def work_of(conn: Conn, run_id: int) -> dict[str, tuple[SettlementLine, ...]]:
    """The lines at work, by unit; '' are those of the books."""
    rows = conn.execute(
        """SELECT DISTINCT ON (unit_id) unit_id, lines FROM settlement_work
           WHERE run_id = %s ORDER BY unit_id, work_id DESC""",
        (run_id,),
    )
    return {unit_id: tuple(line_from(line) for line in lines) for unit_id, lines in rows}


def work_of_units(conn: Conn, run_id: int, unit_ids: Sequence[str]) -> dict[str, tuple[SettlementLine, ...]]:
    """The lines at work of some units."""
    rows = conn.execute(
        """SELECT DISTINCT ON (unit_id) unit_id, lines FROM settlement_work
           WHERE run_id = %s AND unit_id = ANY(%s) ORDER BY unit_id, work_id DESC""",
        (run_id, list(unit_ids)),
    )
    return {unit_id: tuple(line_from(line) for line in lines) for unit_id, lines in rows}


def work_facts(conn: Conn, run_id: int, unit_id: str) -> dict[str, Any]:
    """The facts kept with the lines at work; of '' they are the proof of conservation."""
    row = conn.execute(
        """SELECT facts FROM settlement_work WHERE run_id = %s AND unit_id = %s
           ORDER BY work_id DESC LIMIT 1""",
        (run_id, unit_id),
    ).fetchone()
    return {} if row is None else dict(row[0])
