"""A metered month of a green contract: settled, matched, certificates handed over and used once, and settled anew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg
import pytest
import settlement_world as world
from settlement_world import AUGUST, GENERATORS, USERS, desk_on, run_of

from cloud import db
from cloud.db import Pool, ProcessRole, Scope
from cloud.market import certificates as gec
from cloud.market.progress import Outcome, Stage
from cloud.market.run import green, settle
from cloud.market.store import greenaudit, greenfacts
from cloud.market.store.certificates import PlantRow
from cloud.markettime import days_of_month
from cloud.security.access import Actor, Role

FARM, CENTRE = GENERATORS[1], USERS[1]
STAFF = Actor(1, "operator", "operator", Role.STAFF, None, "zh")
WORKER = Scope(ProcessRole.WORKER, actor="job:green")
RUNS = {  # kind: the days on which it is released and final
    "initial": (date(2026, 9, 1), date(2026, 9, 7), date(2026, 9, 9)),
    "r1": (date(2026, 10, 12), date(2026, 10, 12), date(2026, 10, 14)),
    "r2": (date(2026, 11, 12), date(2026, 11, 12), date(2026, 11, 16)),
}


@pytest.fixture
def pool(database: str, tmp_path: Path) -> Iterator[Pool]:
    world.build(database, tmp_path)
    world.fill(database)
    with db.open_pool(database, size_max=2) as pool:
        yield pool


def use_again(dsn: str, revision: int, more_wh: int) -> int:
    """Measure the buyer's month anew, each quarter-hour by so much more; return its use in kWh."""
    with psycopg.connect(dsn) as conn:
        for day in days_of_month(AUGUST):
            world.add_day(conn, CENTRE, day, revision, more_wh)
        row = conn.execute(
            "SELECT sum(wh) FROM interval_day d, unnest(d.import_wh) wh WHERE supply_point_id = %s AND revision = %s",
            (f"SP{CENTRE}", revision),
        ).fetchone()
    assert row is not None
    return int(row[0] + 500) // 1000


def settled(pool: Pool, kind: str) -> None:
    first, released, final = RUNS[kind]
    desk = desk_on(pool, first)
    settle.advance(desk, run_of(desk, kind))
    desk = desk_on(pool, released)
    settle.add_event(desk, run_of(desk, kind), desk.event(Stage.DRAW, None, Outcome.REVIEW))
    settle.advance(desk, run_of(desk, kind))
    desk = desk_on(pool, final)
    assert settle.is_final(settle.advance(desk, run_of(desk, kind)))


def handed(pool: Pool, at: datetime) -> list[int]:
    """Hand over twice; return what each time moved."""
    found = []
    for _ in range(2):
        with db.transaction(pool, WORKER) as conn:
            found.append(sum(each.moved_mwh for each in green.allot_month(conn, AUGUST, None, at)))
    return found


def test_a_settled_green_month_is_handed_over_and_used_once_however_often_it_is_settled(
    pool: Pool, database: str
) -> None:
    """45.5 MWh of contract against a use that is measured too low, then right, then lower: 34 + 11, and none back."""
    low = use_again(database, 2, -10_000)
    assert 34_000 <= low < 35_000
    with db.transaction(pool, Scope(ProcessRole.API, "staff", None, "user:1")) as conn:
        party_id, buyer_id = (greenfacts.party_of(conn, unit) or 0 for unit in (FARM, CENTRE))
        plant = PlantRow(FARM, party_id, "", "示范风电场", "wind", True, "示范备案")
        green.enter_plant(conn, STAFF, plant, datetime(2026, 8, 1, tzinfo=UTC))
    buyer = Actor(9, "centre", "centre", Role.CUSTOMER, buyer_id, "zh")
    buyer_scope = Scope(ProcessRole.API, "customer", buyer_id, "user:9")
    at = datetime(2026, 9, 10, 2, tzinfo=UTC)

    settled(pool, "initial")
    before_issue = handed(pool, at)  # settled, but nothing issued yet: it waits
    with db.transaction(pool, WORKER) as conn:
        (row,) = green.issue_month(conn, AUGUST, None, at)
        farm = conn.execute(
            "SELECT sum(wh) FROM interval_day d, unnest(d.export_wh) wh WHERE supply_point_id = %s",
            (f"SP{FARM}",),
        ).fetchone()
    assert farm is not None
    assert (
        row.issued_mwh == (int(farm[0]) // 1000 - 20_000) // 1000
    )  # generation less 20 MWh of the mechanism
    first = handed(pool, at)
    use = green.Use("示范数据中心", "年度碳报告", AUGUST, AUGUST)
    with db.transaction(pool, buyer_scope) as conn:
        green.retire(conn, buyer, 34, use, "all", at)

    use_again(database, 3, 0)  # above 45.5 MWh: the contract is the least of the three
    settled(pool, "r1")
    later = datetime(2026, 10, 20, 2, tzinfo=UTC)
    second = handed(pool, later)
    with db.transaction(pool, buyer_scope) as conn:
        green.retire(conn, buyer, 11, use, "the rest", later)
    with pytest.raises(gec.NotEnough), db.transaction(pool, buyer_scope) as conn:
        green.retire(conn, buyer, 1, use, "once more", later)

    lower = use_again(database, 4, -8_000)
    assert 40_000 <= lower < 41_000
    settled(pool, "r2")
    third = handed(pool, datetime(2026, 11, 20, 2, tzinfo=UTC))
    with db.transaction(pool, WORKER) as conn:
        ahead = greenfacts.ahead(conn)
        doubts = {name: mwh for name, mwh in greenaudit.doubts(conn) if mwh}
        balances = {each.account: each.mwh for each in greenaudit.balances(conn)}

    assert (before_issue, first, second, third) == ([0, 0], [34, 0], [11, 0], [0, 0])
    assert ahead == (("C-GREEN-1", lower, 45),)
    assert doubts == {}
    assert balances == {
        f"issued/{party_id}": -row.issued_mwh,
        f"held/{party_id}": row.issued_mwh - 45,
        f"retired/{buyer_id}": 45,
    }
