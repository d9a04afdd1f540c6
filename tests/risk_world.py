"""A retailer with 60 measured days and spot prices: what the tests of the risk desk start from."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import market_world

from cloud.billing.run import conduct
from cloud.contracts.store import wholesale
from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.db import Conn
from cloud.market.store import entered
from cloud.market.store.entered import Entry, MarketRow
from cloud.markettime import day_of, month_of
from cloud.parties.run import rate

ACCOUNT = "1302000300011"
QUARTER_WH = 250_000  # 1 MWh an hour
DAYS = 60


def retailer(conn: Conn, now: datetime) -> int:
    """60 measured days of 1 MWh an hour at spot prices of 350, 360, … 440 in turn; 600 MWh of the month are bought at 400."""
    party_id = market_world.admitted_party(conn, "retailer", "示范售电")
    conn.execute("INSERT INTO account VALUES (%s, %s, '示范用户', '园区')", (ACCOUNT, party_id))
    conn.execute(
        """INSERT INTO account_terms (account_id, effective, category, purchase, structure, voltage)
           VALUES (%s, tstzrange('2026-01-01', null), 'commercial', 'direct', 'single_part', '1-10kV')""",
        (ACCOUNT,),
    )
    conn.execute("INSERT INTO supply_point VALUES ('SP1', %s, '总表')", (ACCOUNT,))
    entered.put_market(conn, MarketRow("demo", "示范市场"), Entry("test", now))
    days = [day_of(now) - timedelta(days=ago) for ago in range(1, DAYS + 1)]
    for day in days:
        zero, load, good = [0] * 96, [QUARTER_WH] * 96, [1] * 96
        conn.execute(
            """INSERT INTO interval_day (supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh, quality,
                                         made_at, made_by) VALUES ('SP1', %s, 1, %s, %s, %s, %s, %s, %s, 'vee:1')""",
            (day, load, zero, zero, zero, good, now),
        )
        price = [350 + 10 * (day.toordinal() % 10)] * 24
        conn.execute(
            """INSERT INTO market_price_day (market_id, kind, day, yuan_per_mwh, source, entered_at, entered_by)
               VALUES ('demo', 'real_time', %s, %s::numeric[], 'test', %s, 'test')""",
            (day, price, now),
        )
    buy(conn, party_id, "C1", ContractKind.BILATERAL, "600", month_of(day_of(now)))
    return party_id


def assess(conn: Conn, now: datetime) -> int:
    """What the daily look does; how many parties are graded."""
    return rate.look(conn, conduct.gather(conn, now), conduct.traded(conn, now), ("test", now))[1]


def buy(conn: Conn, party_id: int, contract_id: str, kind: ContractKind, mwh: str, month: date) -> None:
    """The retailer buys energy of a month at 400 yuan/MWh."""
    volume = Volume(month, "month", Decimal(mwh), Decimal(400), Decimal(0))
    terms = WholesaleTerms(
        contract_id, 1, kind, "grid", f"party:{party_id}", date(2026, 8, 1), "合同", Shape.FLAT, (), (volume,)
    )
    wholesale.put(conn, terms, "test", market_world.ADMITTED_AT)
