"""A small world for the bulk run: accounts of many shapes with real load curves, in a real database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np

from cloud.db import Conn
from cloud.markettime import days_of_month
from cloud.metering.interval import IntervalDay, IntervalQuality
from cloud.metering.store import intervals
from demo import curves

AUGUST = date(2026, 8, 1)
NOW = datetime(2026, 9, 3, 2, tzinfo=UTC)
MAKING = intervals.Making(NOW, "test:1", 7, 9)
FIRST_SAMPLE = 213 * 96  # 1 August of the curves' year
MEASURED = (int(IntervalQuality.ACTUAL),) * 96
NOTHING = (0,) * 96
SHAPES = (
    ("single_part", "lt1kV", "none", None, None, None),
    ("single_part", "1-10kV", "none", None, None, "0.85"),
    ("two_part", "1-10kV", "capacity", 630, None, "0.90"),
    ("two_part", "1-10kV", "actual", 1250, None, "0.90"),
    ("two_part", "35kV", "contracted", 4000, 2600, "0.90"),
    ("two_part", "110kV", "actual", 20_000, None, "0.80"),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Terms of an account, in the order of the columns."""

    structure: str
    voltage: str
    demand_mode: str
    capacity_kva: int | None
    contract_kw: int | None
    standard: str | None


def put_accounts(conn: Conn, count: int, points_each: int = 1) -> tuple[str, ...]:
    """Make accounts with the shapes in turn and `points_each` supply points each; return their numbers."""
    conn.execute("INSERT INTO party (kind, name) VALUES ('user', '示范园区') ON CONFLICT DO NOTHING")
    numbers = tuple(f"{1_300_000_000_000 + number}" for number in range(count))
    for number, account_id in enumerate(numbers):
        put_account(conn, account_id, Shape(*SHAPES[number % len(SHAPES)]), points_each)
    return numbers


def put_account(conn: Conn, account_id: str, shape: Shape, points: int = 1) -> None:
    """Make one account of the only party, with terms since 2020."""
    conn.execute(
        "INSERT INTO account (account_id, party_id, name, address) SELECT %s, party_id, %s, '示范园区' FROM party LIMIT 1",
        (account_id, f"示范{account_id}"),
    )
    conn.execute(
        """INSERT INTO account_terms (account_id, effective, category, purchase, structure, voltage, demand_mode,
                                      capacity_kva, contract_demand_kw, power_factor_standard)
           VALUES (%s, '[2020-01-01 00:00+08,)', 'commercial', 'agency', %s, %s, %s, %s, %s, %s)""",
        (
            *(account_id, shape.structure, shape.voltage, shape.demand_mode),
            *(shape.capacity_kva, shape.contract_kw, shape.standard),
        ),
    )
    for point in range(points):
        conn.execute(
            "INSERT INTO supply_point VALUES (%s, %s, '表')", (f"SP{account_id}-{point}", account_id)
        )


def month_of(point: str, seed: int) -> tuple[IntervalDay, ...]:
    """A month of a real load curve, scaled and shaken a little by the seed."""
    rng = np.random.default_rng(seed)
    names = sorted(name for name in curves.load() if name.endswith("_p"))
    active = curves.load()[names[seed % len(names)]].samples
    peak_wh = int(10 ** rng.uniform(3, 6))
    days = []
    for number, day in enumerate(days_of_month(AUGUST)):
        first = FIRST_SAMPLE + number * 96
        sample = np.array(active[first : first + 96], np.int64)
        wh = np.abs(sample * peak_wh // curves.SCALE + rng.integers(0, max(peak_wh // 50, 2), 96))
        varh = wh * int(rng.integers(10, 120)) // 100
        imported, reactive = tuple(wh.tolist()), tuple(varh.tolist())
        days.append(IntervalDay(point, day, 1, imported, NOTHING, reactive, NOTHING, MEASURED))
    return tuple(days)


def fill(conn: Conn, accounts: tuple[str, ...], points_each: int = 1) -> None:
    """Give every supply point its month."""
    for number, account_id in enumerate(accounts):
        for point in range(points_each):
            for day in month_of(f"SP{account_id}-{point}", number * 7 + point):
                intervals.add_day(conn, day, MAKING)
