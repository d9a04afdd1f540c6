"""A small market in a real database: two generators, a retailer with three customers, two direct users, August 2026."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg

from cloud.db import Conn, Pool
from cloud.market.run import settle
from cloud.market.run.enter import enter, read_market
from cloud.market.run.settle import Desk
from cloud.markettime import days_of_month, month_after
from cloud.metering.interval import IntervalDay, IntervalQuality
from cloud.metering.store import intervals

AUGUST = date(2026, 8, 1)
USERS = ("3700000000101", "3700000000102")
GENERATORS = ("3700000000201", "3700000000202")
CUSTOMERS = ("3700000000301", "3700000000302", "3700000000303")
MARKET_FILE = """
market = "demo"
name = "示范电力市场"

[[rule]]
file = "package:889-demo"
from = "2026-08"

[[contract]]
id = "C-THERMAL-1"
version = 1
kind = "bilateral"
seller = "3700000000201"
buyer = "3700000000101"
signed = 2026-07-20
document = "示范合同 1 号"
shape = "flat"
[[contract.volume]]
month = "2026-08"
period = "month"
mwh = "60.000"
price = "398.500"

[[contract]]
id = "C-THERMAL-2"
version = 1
kind = "auction"
seller = "3700000000201"
buyer = "party:示范售电有限公司"
signed = 2026-07-22
document = "示范成交单 2 号"
shape = "load"
[[contract.volume]]
month = "2026-08"
period = "month"
mwh = "120.125"
price = "401.250"

[[contract]]
id = "C-GREEN-1"
version = 1
kind = "green"
seller = "3700000000202"
buyer = "3700000000102"
signed = 2026-07-25
document = "示范绿电合同 1 号"
shape = "curve"
curve = [0, 0, 0, 0, 0, 0, 1, 2, 4, 6, 8, 9, 9, 9, 8, 6, 4, 2, 1, 0, 0, 0, 0, 0]
[[contract.volume]]
month = "2026-08"
period = "month"
mwh = "45.500"
price = "372.000"
environment = "18.500"

[[price]]
month = "2026-08"
key = "up_regulation_average"
value = "420.000"
source = "示范调度月报"

[[price]]
month = "2026-08"
key = "down_regulation_average"
none_called = true
source = "示范调度月报"

[[price]]
month = "2026-08"
key = "auction_lowest"
value = "330.000"
source = "示范交易公告"

[[price]]
month = "2026-08"
key = "mechanism_reference"
value = "365.000"
source = "示范交易公告"

[[quantity]]
unit = "3700000000202"
month = "2026-08"
item = "mechanism"
mwh = "20.000"
price = "372.000"
source = "示范机制电量清单"
"""


@dataclass(frozen=True)
class Amounts:
    """The least and the spread of a quarter-hour's energy, Wh."""

    least_wh: int
    spread_wh: int


SIZES = {
    **dict.fromkeys(USERS, Amounts(12_000, 19_001)),
    GENERATORS[0]: Amounts(50_000, 41_003),
    GENERATORS[1]: Amounts(10_000, 33_011),
    **dict.fromkeys(CUSTOMERS, Amounts(6_000, 17_003)),
}


def noon(day: date) -> datetime:
    """Noon of a market day."""
    return datetime(day.year, day.month, day.day, 4, tzinfo=UTC)


def build(dsn: str, folder: Path, month: date = AUGUST) -> None:
    """Register everybody and enter the market."""
    with psycopg.connect(dsn) as conn:
        parties = {
            "示范铸造有限公司": ("user", USERS[:1]),
            "示范数据中心": ("user", USERS[1:]),
            "示范热电厂": ("generator", GENERATORS[:1]),
            "示范风电场": ("generator", GENERATORS[1:]),
            "示范售电有限公司": ("retailer", ()),
            "示范商户甲": ("user", CUSTOMERS[:1]),
            "示范商户乙": ("user", CUSTOMERS[1:2]),
            "示范商户丙": ("user", CUSTOMERS[2:]),
        }
        for name, (kind, accounts) in parties.items():
            row = conn.execute(
                "INSERT INTO party (kind, name) VALUES (%s, %s) RETURNING party_id", (kind, name)
            ).fetchone()
            for account in accounts:
                _account(conn, account, int(row[0]) if row else 0, name)
        conn.execute(
            """INSERT INTO price_sheet (sheet_id, version, kind, grid, sha256, effective, document, body, loaded_at)
               VALUES ('demo-package', 1, 'package', 'jibei', decode(repeat('00', 32), 'hex'), '[2026-01-01,)', 'doc', '', now())"""
        )
        for account in CUSTOMERS:
            conn.execute(
                """INSERT INTO account_package (account_id, effective, package_id, package_version, retailer_id,
                                                assigned_by, assigned_at)
                   SELECT %s, '[2026-01-01 00:00+08,)', 'demo-package', 1, party_id, 'test', now()
                   FROM party WHERE name = '示范售电有限公司'""",
                (account,),
            )
        enter_file(conn, folder, MARKET_FILE.replace("2026-08", f"{month:%Y-%m}"))


def enter_file(conn: Conn, folder: Path, text: str) -> None:
    """Enter the text of a market file."""
    path = folder / "market.toml"
    path.write_text(text, encoding="utf-8")
    enter(conn, read_market(path), "test", noon(date(2026, 7, 30)))


def _account(conn: Conn, account: str, party_id: int, name: str) -> None:
    conn.execute("INSERT INTO account VALUES (%s, %s, %s, '示范园区')", (account, party_id, name))
    purchase = "direct" if account in USERS else "retail" if account in CUSTOMERS else "catalogue"
    category = "generation" if account in GENERATORS else "commercial"
    conn.execute(
        """INSERT INTO account_terms (account_id, effective, category, purchase, structure, voltage)
           VALUES (%s, '[2026-01-01 00:00+08,)', %s, %s, 'single_part', '1-10kV')""",
        (account, category, purchase),
    )
    conn.execute("INSERT INTO supply_point VALUES (%s, %s, '总表')", (f"SP{account}", account))


def fill(dsn: str, month: date = AUGUST, without: tuple[tuple[str, date], ...] = ()) -> None:
    """Put the energy of every account into the month, but for some days."""
    with psycopg.connect(dsn) as conn:
        for account in SIZES:
            for day in days_of_month(month):
                if (account, day) not in without:
                    add_day(conn, account, day)


def add_day(conn: Conn, account: str, day: date, revision: int = 1, more_wh: int = 0) -> None:
    """Add one revision of one day; the same account and day always have the same energy."""
    amounts = SIZES[account]
    number = int(account[-3:]) * 1009 + day.toordinal() * 31
    energy = tuple(
        amounts.least_wh + (number * (slot + 7) * 7919) % amounts.spread_wh + more_wh for slot in range(96)
    )
    nothing = (0,) * 96
    into, out = (nothing, energy) if account in GENERATORS else (energy, nothing)
    quality = (int(IntervalQuality.ACTUAL),) * 96
    made = intervals.Making(noon(month_after(day.replace(day=1))), "test", None, None)
    intervals.add_day(
        conn, IntervalDay(f"SP{account}", day, revision, into, out, nothing, nothing, quality), made
    )


def desk_on(pool: Pool, day: date, hour: int = 12) -> Desk:
    """A desk at an hour of a market day."""
    return Desk(pool, "test:settle", noon(day).replace(hour=(hour - 8) % 24))


def run_of(desk: Desk, kind: str = "initial", month: date = AUGUST) -> settle.RunRow:
    """Open a run, or find it."""
    return settle.open_run(desk, month, kind, "test")
