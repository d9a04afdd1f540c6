"""The stages of the statements: draw, publish, confirm, final, bills. Each unit of each is one transaction."""

from __future__ import annotations

from datetime import date

from cloud import markettime
from cloud.db import Conn, transaction
from cloud.lives import step
from cloud.market.deadlines import check_until, deadlines, objection_until
from cloud.market.line import Side
from cloud.market.progress import Blocker, Event, Outcome, Stage
from cloud.market.run.settle.desk import Desk, is_settled_unit
from cloud.market.run.settle.stages import Look, blocked, gate, look_at, once
from cloud.market.settlement import retailer_result
from cloud.market.statement import STATEMENT, input_sha256, ordered
from cloud.market.store import runs, settlements
from cloud.market.store.runs import RunRow, UnitRow
from cloud.market.store.settlements import MoveRow, StatementRow
from cloud.markettime import month_after


def take(conn: Conn, desk: Desk, statement: StatementRow, deed: str, reason: str = "") -> str:
    """Move a statement along its life and note it; return the new state. Raises NoSuchMove."""
    after = step(STATEMENT, statement.state, deed)
    if not settlements.move(conn, statement.statement_id, statement.state, after):
        raise TypeError(f"statement {statement.statement_id} moved under the run's lock")
    move = MoveRow(deed, statement.state, after, desk.now, desk.actor, reason, [])
    settlements.add_move(conn, statement.statement_id, move)
    return after


def draw(desk: Desk, run: RunRow) -> None:
    """Draw up a statement per unit from its own lines and its shares; equal inputs make no new revision."""
    with transaction(desk.pool, desk.scope) as conn:
        look = look_at(conn, run)
        if not look.progress.is_done(Stage.BALANCE, None):
            return
    for unit in look.ready(Stage.DRAW):

        def work(conn: Conn, unit: UnitRow = unit) -> Event:
            return _draw_one(conn, desk, run, look, unit)

        once(desk, run, look, (Stage.DRAW, unit.unit_id), work)


def _draw_one(conn: Conn, desk: Desk, run: RunRow, look: Look, unit: UnitRow) -> Event:
    kept = runs.work_of_units(conn, run.run_id, [unit.unit_id, ""])
    shares = [line for line in kept.get("", ()) if line.unit_id == unit.unit_id]
    lines = ordered((*kept.get(unit.unit_id, ()), *shares))
    proof = runs.work_facts(conn, run.run_id, "")
    sha256 = input_sha256(lines, str(proof.get("rule_sha256", "")))
    before = settlements.latest(conn, unit.unit_id, run.month)
    if before is not None and before.input_sha256 == sha256 and before.state != "superseded":
        return desk.event(Stage.DRAW, unit.unit_id, Outcome.DONE, unchanged=before.statement_id)
    if before is not None and before.state not in ("final", "superseded"):
        take(conn, desk, before, "replace")
    energy = runs.energy_of(conn, run.run_id, unit.unit_id)
    total_fen = sum(line.amount_fen for line in lines)
    settled_fen = sum(line.amount_fen for line in settlements.final_lines(conn, unit.unit_id, run.month))
    statement = StatementRow(
        0,
        run.run_id,
        unit.unit_id,
        unit.side,
        unit.party_id,
        unit.account_id,
        unit.name,
        run.month,
        1 if before is None else before.revision + 1,
        "drawn",
        0 if energy is None else sum(energy.actual_kwh),
        total_fen,
        total_fen - settled_fen,
        sha256,
        {
            "rule": proof.get("rule", ""),
            "is_deferred": unit.unit_id in look.progress.deferred,
            "evidence": {} if energy is None else energy.evidence,
            "actual_day_kwh": () if energy is None else energy.day_kwh,
            "contract_day_kwh": runs.work_facts(conn, run.run_id, unit.unit_id).get("contract_day_kwh", ()),
            "last_month": _last_month(conn, unit.unit_id, run.month),
        },
        desk.now,
    )
    statement_id = settlements.add(conn, statement, lines)
    settlements.add_move(conn, statement_id, MoveRow("draw", "", "drawn", desk.now, desk.actor, run.kind, []))
    return desk.event(Stage.DRAW, unit.unit_id, Outcome.DONE, statement=statement_id, fen=total_fen)


def _last_month(conn: Conn, unit_id: str, month: date) -> dict[str, int] | None:
    last = settlements.final_of(conn, unit_id, month_after(month, -1))
    return None if last is None else {"fen": last.total_fen, "kwh": last.quantity_kwh}


def publish(desk: Desk, run: RunRow) -> None:
    """Publish the drafts once somebody has reviewed them."""
    with transaction(desk.pool, desk.scope) as conn:
        look = look_at(conn, run)
    ready = look.ready(Stage.PUBLISH)
    if not ready or look.progress.open(Stage.DRAW, [unit.unit_id for unit in look.units]):
        return
    due = deadlines(run.month).draft.isoformat() if run.kind == "initial" else ""
    missing = (
        [] if look.progress.is_reviewed else [Blocker(Stage.PUBLISH, None, "not_reviewed", {"due": due})]
    )
    if not gate(desk, run, look, Stage.PUBLISH, missing):
        return
    for unit in ready:

        def work(conn: Conn, unit: UnitRow = unit) -> Event:
            statement = settlements.latest(conn, unit.unit_id, run.month)
            if statement is not None and statement.state == "drawn":
                take(conn, desk, statement, "publish")
            return desk.event(Stage.PUBLISH, unit.unit_id, Outcome.DONE)

        once(desk, run, look, (Stage.PUBLISH, unit.unit_id), work)


def confirm(desk: Desk, run: RunRow) -> None:
    """Let silence confirm what nobody objected to within a working day; the grid company's own needs no answer."""
    with transaction(desk.pool, desk.scope) as conn:
        look = look_at(conn, run)
    for unit in look.ready(Stage.CONFIRM):

        def work(conn: Conn, unit: UnitRow = unit) -> Event | None:
            statement = settlements.latest(conn, unit.unit_id, run.month)
            if statement is None:
                return None
            state = statement.state
            if state == "draft" and (unit.side is Side.GRID or desk.today > _silent_after(conn, statement)):
                state = take(conn, desk, statement, "silence")
            if state == "draft" or (state == "disputed" and not _is_checked(conn, desk, run, statement)):
                return None
            return desk.event(Stage.CONFIRM, unit.unit_id, Outcome.DONE, state=state)

        once(desk, run, look, (Stage.CONFIRM, unit.unit_id), work)


def _silent_after(conn: Conn, statement: StatementRow) -> date:
    published = [
        move.at for move in settlements.moves_of(conn, statement.statement_id) if move.deed == "publish"
    ]
    return objection_until(markettime.day_of(published[-1]))


def _is_checked(conn: Conn, desk: Desk, run: RunRow, statement: StatementRow) -> bool:
    """Whether the time to check an objection is over: WD8 of the first run, one working day in a later one."""
    if run.kind == "initial":
        return desk.today >= deadlines(run.month).final
    moves = settlements.moves_of(conn, statement.statement_id)
    objected = [move.at for move in moves if move.deed == "object"]
    return desk.today > check_until(markettime.day_of(objected[-1]))


def finalise(desk: Desk, run: RunRow) -> None:
    """Make statements final: when all are answered, or on WD8 at the latest; disputed lines are held, no others."""
    with transaction(desk.pool, desk.scope) as conn:
        look = look_at(conn, run)
    waits = look.progress.open(Stage.CONFIRM, [unit.unit_id for unit in look.units])
    if waits and (run.kind != "initial" or desk.today < deadlines(run.month).final):
        return
    for unit in look.ready(Stage.FINAL):

        def work(conn: Conn, unit: UnitRow = unit) -> Event | None:
            statement = settlements.latest(conn, unit.unit_id, run.month)
            if statement is None:
                return None
            if statement.state != "final":
                _finalise_one(conn, desk, statement)
            return desk.event(Stage.FINAL, unit.unit_id, Outcome.DONE)

        once(desk, run, look, (Stage.FINAL, unit.unit_id), work)


def _finalise_one(conn: Conn, desk: Desk, statement: StatementRow) -> None:
    before = settlements.final_of(conn, statement.unit_id, statement.month)
    if before is not None:
        take(conn, desk, before, "replace")
    if statement.state == "disputed":
        objections = [
            move for move in settlements.moves_of(conn, statement.statement_id) if move.deed == "object"
        ]
        settlements.hold_lines(conn, statement.statement_id, objections[-1].line_nos, desk.now)
    take(conn, desk, statement, "finalise")


def bills(desk: Desk, run: RunRow) -> None:
    """Hand the final lines of direct users on: their bills are drawn up by the room above.

    A retailer's month is told once all of its customers are billed: before, its revenue would be part of what it is.
    """
    with transaction(desk.pool, desk.scope) as conn:
        look = look_at(conn, run)
    for unit in look.ready(Stage.BILLS):
        if not is_settled_unit(unit):
            continue

        def work(conn: Conn, unit: UnitRow = unit) -> Event:
            return _bill_one(conn, desk, run, unit)

        once(desk, run, look, (Stage.BILLS, unit.unit_id), work)


def _bill_one(conn: Conn, desk: Desk, run: RunRow, unit: UnitRow) -> Event:
    facts: dict[str, object] = {}
    if desk.rooms is not None and unit.is_metered and unit.side is Side.USER:
        facts["bill"] = desk.rooms.draw_bill(conn, str(unit.account_id), run.month)
    if desk.rooms is not None and unit.side is Side.RETAILER:
        energy = runs.energy_of(conn, run.run_id, unit.unit_id)
        customers = sorted(energy.customers_kwh) if energy is not None else []
        revenue = desk.rooms.retail_fen(conn, customers, run.month)
        if revenue.bills < len(customers):
            told = {"billed": revenue.bills, "customers": len(customers)}
            waits = Blocker(Stage.BILLS, unit.unit_id, "customers_not_billed", told)
            return blocked(desk, Stage.BILLS, unit.unit_id, [waits])
        wholesale = settlements.final_lines(conn, unit.unit_id, run.month)
        result = retailer_result([revenue.amount_fen], [line.amount_fen for line in wholesale])
        settlements.add_retail(conn, (run.run_id, unit.unit_id), result, revenue.bills, desk.now)
        facts = {"retail_fen": revenue.amount_fen, "bills": revenue.bills, "customers": len(customers)}
    return desk.event(Stage.BILLS, unit.unit_id, Outcome.DONE, **facts)
