"""Contract volume beside metered energy: projected from the days there are, told to both sides once, share by promise."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import contract_world as w
import psycopg
import pytest
from contract_world import World

from cloud.contracts.contract import from_trade
from cloud.contracts.store import dealings, life, wholesale
from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.db import Conn, open_pool
from cloud.market.run import deviate

ACCOUNT, POINT = "3700000000002", "SP-DEV-1"
SEPTEMBER = date(2026, 9, 1)
LATER = datetime(2026, 9, 11, 3, tzinfo=UTC)
SLOT_WH = 10_000  # 96 x 10 kWh = 960 kWh a day


@pytest.fixture
def owner(database: str) -> Iterator[Conn]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


@pytest.fixture
def world(database: str, owner: Conn, tmp_path: Path) -> Iterator[World]:
    with open_pool(database, size_max=3) as pool:
        yield w.build(owner, pool, tmp_path)


def meter(owner: Conn, party_id: int | None, days: int) -> None:
    owner.execute(
        "INSERT INTO account (account_id, party_id, name, address, grid) VALUES (%s, %s, '铸造', '示范园区', 'jibei')",
        (ACCOUNT, party_id),
    )
    owner.execute("INSERT INTO supply_point VALUES (%s, %s, '主表')", (POINT, ACCOUNT))
    for number in range(days):
        owner.execute(
            """INSERT INTO interval_day (supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh,
                                         quality, made_at, made_by)
               VALUES (%s, %s, 1, array_fill(%s::bigint, ARRAY[96]), array_fill(0::bigint, ARRAY[96]),
                       array_fill(0::bigint, ARRAY[96]), array_fill(0::bigint, ARRAY[96]),
                       array_fill(0::smallint, ARRAY[96]), %s, 'test')""",
            (POINT, SEPTEMBER + timedelta(days=number), SLOT_WH, LATER),
        )


def trade(owner: Conn, world: World, contract_id: str, mwh: str) -> None:
    volume = Volume(SEPTEMBER, "month", Decimal(mwh), Decimal("400"), Decimal(0))
    terms = WholesaleTerms(
        *(
            contract_id,
            1,
            ContractKind.AUCTION,
            world.units()[0],
            ACCOUNT,
            date(2026, 8, 20),
            "场次",
            Shape.FLAT,
        ),
        curve=(),
        volumes=(volume,),
    )
    wholesale.put(owner, terms, "test", w.NOW)
    life.insert(owner, from_trade(terms, "session:1"), w.NOW, "test")


def test_a_running_month_is_projected_and_told_of_once(world: World, owner: Conn) -> None:
    meter(owner, world.buyer.party_id, 10)
    trade(owner, world, "D-1", "18.000")
    trade(owner, world, "D-2", "6.000")

    assert deviate.look(world.pool, LATER) == 2
    assert deviate.look(world.pool, LATER) == 0
    (row,) = dealings.deviations_of(owner, "D-1")
    # 10 days x 960 kWh, so 28,800 kWh in 30 days; 24,000 kWh are promised, 18,000 of them by this contract
    assert (row.actual_kwh, row.all_promised_kwh, row.promised_kwh) == (28_800, 24_000, 18_000)
    assert (row.side, row.is_whole_month, row.source) == ("buyer", False, "interval_day")
    for party_id in (world.seller.party_id, world.buyer.party_id):
        told = owner.execute(
            "SELECT facts->>'percent' FROM notice WHERE key = 'contract.deviation' AND party_id = %s ORDER BY 1",
            (party_id,),
        ).fetchall()
        assert told == [("+20.0",), ("+20.0",)]


def test_energy_as_promised_is_noted_and_nobody_is_disturbed(world: World, owner: Conn) -> None:
    meter(owner, world.buyer.party_id, 10)
    trade(owner, world, "D-1", "28.000")

    assert deviate.look(world.pool, LATER) == 1
    assert owner.execute("SELECT count(*) FROM notice WHERE key = 'contract.deviation'").fetchone() == (0,)


def test_too_few_days_say_nothing(world: World, owner: Conn) -> None:
    meter(owner, world.buyer.party_id, 2)
    trade(owner, world, "D-1", "18.000")

    assert deviate.look(world.pool, datetime(2026, 9, 3, 3, tzinfo=UTC)) == 0
