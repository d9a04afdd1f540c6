"""A month of a small market in a real database: by the calendar, through a killed worker, with late data and objections."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest
import settlement_world as world
from settlement_world import AUGUST, CUSTOMERS, GENERATORS, USERS, desk_on, run_of

from cloud import db
from cloud.__main__ import main
from cloud.billing.formula import fen_by
from cloud.db import Pool
from cloud.market.line import Item, SettlementLine, Side
from cloud.market.progress import Outcome, Stage
from cloud.market.run import settle
from cloud.market.run.settle.desk import Revenue, Rooms
from cloud.market.statement import STATEMENT
from cloud.market.store import runs, settlements
from cloud.market.store.settlements import StatementRow

WD1, WD5, WD6, WD7, WD8 = (date(2026, 9, day) for day in (1, 7, 8, 9, 10))
KILLS = 4
WORKER = """
import sys
from datetime import date
sys.path.insert(0, sys.argv[2])
import settlement_world as world
from cloud import db
from cloud.__main__ import main
from cloud.market.run import settle
with db.open_pool(sys.argv[1], size_max=1) as pool:
    desk = world.desk_on(pool, date(2026, 9, 1))
    print("ready", flush=True)
    settle.advance(desk, world.run_of(desk))
"""


@pytest.fixture
def pool(database: str, tmp_path: Path) -> Iterator[Pool]:
    world.build(database, tmp_path)
    with db.open_pool(database, size_max=2) as pool:
        yield pool


def release(pool: Pool, kind: str = "initial", day: date = WD5) -> None:
    desk = desk_on(pool, day)
    settle.add_event(desk, run_of(desk, kind), desk.event(Stage.DRAW, None, Outcome.REVIEW))


def advance(pool: Pool, day: date, kind: str = "initial", **more: object) -> settle.Look:
    desk = desk_on(pool, day)
    if "rooms" in more:
        desk = settle.Desk(pool, desk.actor, desk.now, more["rooms"])  # type: ignore[arg-type]
    return settle.advance(desk, run_of(desk, kind))


def settle_wholly(pool: Pool) -> None:
    advance(pool, WD1)
    release(pool)
    for day in (WD5, WD7, WD8):
        advance(pool, day)


def statements(pool: Pool) -> dict[str, StatementRow]:
    with db.transaction(pool, desk_on(pool, WD8).scope) as conn:
        return {row.unit_id: row for row in settlements.standing(conn, AUGUST)}


def all_lines(pool: Pool) -> list[SettlementLine]:
    with db.transaction(pool, desk_on(pool, WD8).scope) as conn:
        found = settlements.standing(conn, AUGUST)
        return [line for row in found for _, line in settlements.lines_of(conn, row.statement_id)]


def kinds(look: settle.Look) -> set[tuple[str | None, str]]:
    return {(blocker.unit_id, blocker.kind) for blocker in look.progress.blockers}


def test_a_month_goes_through_its_stages_by_the_calendar(pool: Pool, database: str) -> None:
    world.fill(database)

    look = advance(pool, WD1)
    assert kinds(look) == {(None, "not_reviewed")}
    assert {row.state for row in statements(pool).values()} == {"drawn"}

    release(pool)
    advance(pool, WD5)
    advance(pool, WD6)  # one working day to object: the whole of WD6
    states = {unit: row.state for unit, row in statements(pool).items()}
    assert states.pop("grid") == "confirmed"
    assert set(states.values()) == {"draft"}

    asked: list[str] = []
    rooms = Rooms(
        lambda conn, account, month: asked.append(account) or 7, lambda conn, accounts, month: Revenue(92_610_705, len(accounts))
    )  # fmt: skip
    look = advance(pool, WD7, rooms=rooms)
    assert {row.state for row in statements(pool).values()} == {"final"}
    assert settle.is_complete(look)
    assert asked == sorted(
        USERS
    )  # direct users' bills; retail customers are billed by their retailer's package

    retailer = next(unit for unit in look.units if unit.side is Side.RETAILER)
    with db.transaction(pool, desk_on(pool, WD8).scope) as conn:
        kept = settlements.retail_of(conn, run_of(desk_on(pool, WD8)).run_id, retailer.unit_id)
        assert settlements.state_of(conn, USERS[0], AUGUST) == "final"
    assert kept is not None
    result, bills = kept
    cost = sum(line.amount_fen for line in all_lines(pool) if line.unit_id == retailer.unit_id)
    assert (result.revenue_fen, result.cost_fen, result.net_fen, bills) == (
        92_610_705, cost, 92_610_705 - cost, len(CUSTOMERS),
    )  # fmt: skip


def test_a_retailers_result_waits_until_all_its_customers_are_billed(pool: Pool, database: str) -> None:
    world.fill(database)
    billed = [0]
    rooms = Rooms(
        lambda conn, account, month: 7, lambda conn, accounts, month: Revenue(100 * billed[0], billed[0])
    )
    advance(pool, WD1)
    release(pool)
    advance(pool, WD5)

    found = []
    for billed[0] in (0, len(CUSTOMERS) - 1, len(CUSTOMERS)):
        look = advance(pool, WD7, rooms=rooms)
        with db.transaction(pool, desk_on(pool, WD8).scope) as conn:
            kept = settlements.retail_of(conn, run_of(desk_on(pool, WD8)).run_id, "party:5")
        found.append((kinds(look), None if kept is None else (kept[0].revenue_fen, kept[1])))

    waits = {("party:5", "customers_not_billed")}
    assert found == [(waits, None), (waits, None), (set(), (100 * len(CUSTOMERS), len(CUSTOMERS)))]


def test_the_month_is_conserved_to_the_fen_and_to_the_kwh(pool: Pool, database: str) -> None:
    world.fill(database)
    settle_wholly(pool)
    lines = all_lines(pool)

    assert sum(line.amount_fen for line in lines) == 0
    paid = sum(line.amount_fen for line in lines if line.side in (Side.USER, Side.RETAILER))
    assert paid == -sum(line.amount_fen for line in lines if line.side in (Side.GENERATOR, Side.GRID))
    for line in lines:
        assert (
            fen_by(line.derivation.formula, {i.name: i.value for i in line.derivation.inputs})
            == line.amount_fen
        )

    with psycopg.connect(database) as conn:
        for account in (*USERS, *GENERATORS):
            column = "export_wh" if account in GENERATORS else "import_wh"
            row = conn.execute(
                f"SELECT sum(wh) FROM interval_day d, unnest(d.{column}) wh WHERE supply_point_id = %s",
                (f"SP{account}",),
            ).fetchone()
            assert row is not None
            assert statements(pool)[account].quantity_kwh == (row[0] + 500) // 1000

    held = {line.difference for line in lines if line.item is Item.HELD}
    assert held == {"mechanism", "mechanism_energy"}
    # 20 MWh x (372 - 365) and 20 MWh x 365: the grid company buys it and passes the difference on by name.
    of_wind = {line.item: line.amount_fen for line in lines if line.unit_id == GENERATORS[1]}
    assert (of_wind[Item.MECHANISM], of_wind[Item.MECHANISM_ENERGY]) == (-140_00, -7_300_00)
    # min(contract 45.5, generation - mechanism, use): both sides of one contract, to the fen.
    green = [line for line in lines if line.item is Item.GREEN]
    assert {(line.unit_id, line.amount_fen) for line in green} == {
        (USERS[1], 84_175),
        (GENERATORS[1], -84_175),
    }


@pytest.mark.chaos
def test_a_worker_killed_at_any_moment_leaves_nothing_double_and_nothing_missing(
    pool: Pool, database: str, tmp_path: Path
) -> None:
    world.fill(database)
    killed = 0
    for number in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, database, str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
            time.sleep(0.03 + 0.06 * number)
            if worker.poll() is None:
                worker.send_signal(signal.SIGKILL)
                killed += 1
    assert killed >= 2

    settle_wholly(pool)

    with psycopg.connect(database) as conn:
        doubled = conn.execute(
            """SELECT stage, unit_id, count(*) FROM settlement_event WHERE outcome = 'done'
               GROUP BY 1, 2 HAVING count(*) > 1 AND unit_id IS NOT NULL"""
        ).fetchall()
        collected = conn.execute("SELECT unit_id, count(*) FROM settlement_energy GROUP BY 1").fetchall()
        drawn = conn.execute("SELECT unit_id, count(*) FROM statement GROUP BY 1").fetchall()
    assert doubled == []
    assert {count for _, count in (*collected, *drawn)} == {1}
    assert len(collected) == 5
    assert len(drawn) == 6  # and the grid company's
    assert sum(line.amount_fen for line in all_lines(pool)) == 0


def test_what_is_missing_is_named_and_the_rest_goes_on(pool: Pool, database: str, tmp_path: Path) -> None:
    gone = date(2026, 8, 13)
    world.fill(database, without=((USERS[0], gone), (CUSTOMERS[1], gone)))
    retailer = "party:5"

    look = advance(pool, WD1)

    assert kinds(look) == {(USERS[0], "intervals_missing"), (retailer, "intervals_missing")}
    facts = {b.unit_id: b.facts for b in look.progress.blockers}
    assert facts[USERS[0]] == {"account": USERS[0], "slots": 96, "days": 1, "first": "2026-08-13"}
    assert facts[retailer]["account"] == CUSTOMERS[1]
    assert look.progress.is_done(Stage.SETTLE, USERS[1])
    assert not look.progress.is_done(Stage.BALANCE, None)

    with psycopg.connect(database) as conn:  # one reading comes, and its unit is collected again
        world.add_day(conn, CUSTOMERS[1], gone)
    desk = desk_on(pool, WD1, 15)
    run = run_of(desk)
    settle.add_event(desk, run, desk.event(Stage.COLLECT, retailer, Outcome.RESTART, reason="补采"))
    settle.add_event(desk, run, desk.event(Stage.CHECK, USERS[0], Outcome.DEFER, reason="下一轮"))
    look = settle.advance(desk, run)

    assert kinds(look) == {(None, "not_reviewed")}
    assert statements(pool)[USERS[0]].facts["is_deferred"] is True
    assert {line.item for line in all_lines(pool) if line.unit_id == USERS[0]} == {Item.CONTRACT}
    assert sum(line.amount_fen for line in all_lines(pool)) == 0


def test_a_market_without_a_rule_is_not_settled_by_a_guess(database: str, tmp_path: Path) -> None:
    text = world.MARKET_FILE
    rule = text[text.index("[[rule]]") : text.index("[[contract]]")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "MARKET_FILE", text.replace(rule, ""))
        world.build(database, tmp_path)
    world.fill(database)
    with db.open_pool(database, size_max=2) as pool:
        assert kinds(advance(pool, WD1)) == {(None, "no_rule")}
        assert statements(pool) == {}

        with psycopg.connect(database) as conn:  # a price is missing next, and is named
            world.enter_file(conn, tmp_path, f'market = "demo"\nname = "示范电力市场"\n{rule}')
            conn.execute("ALTER TABLE market_price DISABLE TRIGGER kept")
            conn.execute("DELETE FROM market_price WHERE price_key = 'auction_lowest'")
        look = advance(pool, WD1)
        assert {kind for _, kind in kinds(look)} == {"no_such_price"}
        assert {b.facts["price"] for b in look.progress.blockers} == {"auction_lowest"}


def test_late_data_gets_a_run_of_its_own_and_edits_nothing(pool: Pool, database: str) -> None:
    world.fill(database)
    settle_wholly(pool)
    before = statements(pool)
    with pytest.raises(settle.RunNotFinal):
        settle.open_run(desk_on(pool, WD8), AUGUST, "r2", "too soon")

    with psycopg.connect(database) as conn:
        world.add_day(conn, USERS[0], date(2026, 8, 20), revision=2, more_wh=1000)  # 96 kWh more
    look = advance(pool, date(2026, 10, 12), "r1")
    assert kinds(look) == {(None, "not_reviewed")}
    release(pool, "r1", date(2026, 10, 12))
    for day in (date(2026, 10, 12), date(2026, 10, 14)):
        look = advance(pool, day, "r1")
    assert settle.is_complete(look)

    after = statements(pool)
    assert after[USERS[0]].quantity_kwh == before[USERS[0]].quantity_kwh + 96
    assert after[USERS[0]].revision == 2
    assert after[USERS[0]].change_fen == after[USERS[0]].total_fen - before[USERS[0]].total_fen
    assert (
        after[GENERATORS[0]].statement_id == before[GENERATORS[0]].statement_id
    )  # equal inputs, no new revision
    assert sum(row.total_fen for row in after.values()) == 0
    with db.transaction(pool, desk_on(pool, WD8).scope) as conn:
        old = settlements.find(conn, before[USERS[0]].statement_id)
        assert old is not None
        assert (old.state, old.total_fen) == ("superseded", before[USERS[0]].total_fen)
        final = settlements.final_lines(conn, USERS[0], AUGUST)
    assert sum(line.amount_fen for line in final) == after[USERS[0]].total_fen
    with pytest.raises(settle.TooOld):
        settle.open_run(desk_on(pool, date(2027, 9, 1)), AUGUST, "r2", "thirteen months later")


def test_who_turns_out_not_to_be_in_the_market_is_settled_to_nothing(
    pool: Pool, database: str, tmp_path: Path
) -> None:
    world.fill(database)
    settle_wholly(pool)
    other = world.MARKET_FILE.split("[[contract]]")[3].split("[[price]]")[0].replace(USERS[1], USERS[0])
    head = world.MARKET_FILE.split("[[rule]]")[0]
    with psycopg.connect(database) as conn:
        conn.execute("UPDATE account_terms SET purchase = 'agency' WHERE account_id = %s", (USERS[1],))
        world.enter_file(conn, tmp_path, f"{head}[[contract]]{other.replace('version = 1', 'version = 2')}")

    day = date(2026, 10, 12)
    look = advance(pool, day, "r1")
    assert kinds(look) == {(USERS[1], "no_contract"), (USERS[1], "not_in_market")}
    desk = desk_on(pool, day)
    for kind in ("no_contract", "not_in_market"):
        accepted = desk.event(Stage.CHECK, USERS[1], Outcome.ACCEPT, reason="属代理购电", kind=kind)
        settle.add_event(desk, run_of(desk, "r1"), accepted)
    advance(pool, day, "r1")
    release(pool, "r1", day)
    for later in (day, date(2026, 10, 14)):
        look = advance(pool, later, "r1")
    assert settle.is_complete(look)

    after = statements(pool)
    assert (after[USERS[1]].state, after[USERS[1]].total_fen, after[USERS[1]].revision) == ("final", 0, 2)
    assert sum(row.total_fen for row in after.values()) == 0


def test_a_run_repeated_and_restarted_changes_nothing(pool: Pool, database: str) -> None:
    world.fill(database)
    settle_wholly(pool)
    before = {unit: (row.statement_id, row.state) for unit, row in statements(pool).items()}

    desk = desk_on(pool, WD8)
    run = run_of(desk)
    settle.add_event(desk, run, desk.event(Stage.COLLECT, None, Outcome.RESTART, reason="试"))
    settle.advance(desk, run)
    release(pool)
    settle.advance(desk, run)
    settle.advance(desk, run)

    assert {unit: (row.statement_id, row.state) for unit, row in statements(pool).items()} == before


def test_an_objection_holds_its_lines_and_nothing_else(pool: Pool, database: str) -> None:
    world.fill(database)
    advance(pool, WD1)
    release(pool)
    advance(pool, WD5)
    row = statements(pool)[USERS[0]]
    desk = desk_on(pool, WD6)
    with db.transaction(pool, desk.scope) as conn:
        moved = settlements.MoveRow("object", "draft", "disputed", desk.now, "user:9", "偏差不对", [2])
        assert settlements.move(conn, row.statement_id, "draft", "disputed")
        settlements.add_move(conn, row.statement_id, moved)

    advance(pool, WD7)
    states = Counter(each.state for each in statements(pool).values())
    assert states == {"disputed": 1, "confirmed": 5}  # nothing is final before WD8 while one is open
    advance(pool, WD8)

    assert {each.state for each in statements(pool).values()} == {"final"}
    with db.transaction(pool, desk.scope) as conn:
        lines = dict(settlements.lines_of(conn, row.statement_id))
        final = settlements.final_lines(conn, USERS[0], AUGUST)
    assert lines[2].item is Item.DEVIATION_OVER
    assert final == tuple(line for number, line in lines.items() if number != 2)


def test_the_database_keeps_statements_as_they_are(pool: Pool, database: str) -> None:
    world.fill(database)
    settle_wholly(pool)

    with psycopg.connect(database) as conn:
        table = conn.execute("SELECT before, deed, after FROM statement_move").fetchall()
        for wrong in (
            "UPDATE statement SET total_fen = total_fen + 1",
            "UPDATE statement SET state = 'draft'",
            "DELETE FROM statement",
            "UPDATE statement_line SET amount_fen = 0",
            "DELETE FROM settlement_event",
            "UPDATE wholesale_volume SET mwh = 1",
        ):
            with pytest.raises(psycopg.Error), conn.transaction():
                conn.execute(wrong)
    assert {(before or "", deed, after) for (before, deed), after in STATEMENT.moves.items()} == set(table)


def test_last_month_is_looked_at_from_its_first_working_day(pool: Pool, database: str) -> None:
    world.fill(database)

    assert settle.look(desk_on(pool, date(2026, 8, 31))) == 0  # July was before the market had a rule
    assert settle.look(desk_on(pool, WD1, 9)) == 1
    with db.transaction(pool, desk_on(pool, WD1).scope) as conn:
        assert [run.kind for run in runs.runs_of(conn, AUGUST)] == ["initial"]


def test_the_commands_settle_as_the_worker_does(
    pool: Pool,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world.fill(database)
    monkeypatch.setenv("SHOUDIAN_DSN", database)
    results = tmp_path / "results.csv"

    assert main(["market", "import", str(tmp_path / "market.toml")]) == 0
    assert (
        "0 rules, 0 contracts, 0 prices" in capsys.readouterr().out
    )  # it was entered before: nothing is new
    assert main(["settle", "2026-08", "--status"]) == 2  # there is no run yet, and looking opens none
    assert main(["settle", "2026-08", "--on", "2026-09-01"]) == 1
    assert "not_reviewed" in capsys.readouterr().out
    assert main(["settle", "2026-08", "--on", "2026-09-07", "--release"]) == 0
    assert (
        main(["settle", "2026-08", "--on", "2026-09-09", "--stage", "final", "--export", str(results)]) == 0
    )
    assert main(["settle", "2026-08", "--on", "2026-10-12", "--open", "r2", "--reason", "x"]) == 2
    rows = results.read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + len(all_lines(pool))
    assert sum(round(float(row.split(",")[11]) * 100) for row in rows[1:]) == 0
