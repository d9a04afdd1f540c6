"""A small world for pages, put into a database by SQL: two customers, staff, a technician, three gateways.

Nothing here goes through the code under test, the HTTP edge: rows are written as their tables want them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

import psycopg
from argon2 import PasswordHasher

from cloud.billing.bill import priced, rate
from cloud.billing.billjson import derivation_json, facts_json, items_json
from cloud.billing.catalogue import Buyer
from cloud.billing.facts import Account, Bill, Register, rated
from cloud.billing.segment import DayUse, Demand, DemandMode, Segment, Terms, Usage
from cloud.billing.store.published import packaged_catalogue

BEIJING: Final = ZoneInfo("Asia/Shanghai")
PASSWORD: Final = "correct horse battery"
# Quick to compute; the real parameters are those of cloud.security.run, which verifies these all the same.
_HASH: Final = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)

WORKSHOP: Final = "1300000000001"
SHOP: Final = "1300000000002"
HOME: Final = "1300000000003"
SOLAR: Final = "1300000000004"
STRANGER: Final = "1300000000009"
BILLED_KWH: Final = (20_000, 30_000, 40_000, 25_000, 0)  # 尖 峰 平 谷 深谷


@dataclass(frozen=True)
class World:
    """What a test needs to know of it."""

    dsn: str
    bill_id: int
    foreign_bill_id: int
    draft_bill_id: int
    workshop_meter_key: int
    now: datetime


ACCOUNTS: Final = (
    # account, party, name, address, category, structure, voltage, demand, kVA, meter, gateway, multiplier, kW
    (
        WORKSHOP,
        1,
        "云岭精密（示范）一厂",
        "示范园区创新路 18 号",
        "commercial",
        "two_part",
        "1-10kV",
        "capacity",
        800,
        "M0001",
        "GW001",
        2000,
        380,
    ),
    (
        SHOP,
        1,
        "云岭精密 门市部",
        "示范园区东街 2 号",
        "commercial",
        "single_part",
        "lt1kV",
        "none",
        None,
        "M0002",
        "GW001",
        1,
        9,
    ),
    (
        HOME,
        2,
        "周家（示范居民）",
        "示范小区 3 栋 502",
        "residential",
        "single_part",
        "lt1kV",
        "none",
        None,
        "M0003",
        "GW002",
        1,
        2,
    ),
    (
        SOLAR,
        1,
        "云岭精密 屋顶光伏",
        "示范园区创新路 18 号",
        "generation",
        "single_part",
        "lt1kV",
        "none",
        None,
        "M0004",
        "GW002",
        30,
        -60,
    ),
    (
        STRANGER,
        3,
        "邻家饭店（示范）",
        "示范园区西街 7 号",
        "commercial",
        "single_part",
        "lt1kV",
        "none",
        None,
        "M0009",
        "GW002",
        1,
        15,
    ),
)


def fill(dsn: str, now: datetime) -> World:
    """Write the world. `now` decides what today is."""
    with psycopg.connect(dsn) as conn:
        for party_id, name in (
            (1, "云岭精密制造（示范）有限公司"),
            (2, "周家（示范）"),
            (3, "邻家饭店（示范）"),
        ):
            conn.execute(
                "INSERT INTO party (party_id, kind, name) OVERRIDING SYSTEM VALUE VALUES (%s, 'user', %s)",
                (party_id, name),
            )
        for login, name, role, party_id in (
            ("yunling", "云岭精密", "customer", 1),
            ("zhou", "周家", "customer", 2),
            ("linjia", "邻家饭店", "customer", 3),
            ("staff", "值班员", "staff", None),
            ("tech", "现场班", "technician", None),
            ("regulator", "监管专员", "regulator", None),
        ):
            conn.execute(
                "INSERT INTO app_user (login, password_hash, display_name, role, party_id) VALUES (%s, %s, %s, %s, %s)",
                (login, _HASH, name, role, party_id),
            )
        _gateways(conn, now)
        keys = {account[9]: _account(conn, account, now) for account in ACCOUNTS}
        bills = [
            _bill(conn, account, state)
            for account, state in ((WORKSHOP, "issued"), (STRANGER, "issued"), (SHOP, "draft"))
        ]
        conn.execute("SELECT setval(pg_get_serial_sequence('party', 'party_id'), 10)")
    return World(dsn, bills[0], bills[1], bills[2], keys["M0001"], now)


def _gateways(conn: psycopg.Connection[tuple[object, ...]], now: datetime) -> None:
    for gateway_id, name, state in (
        ("GW001", "示范园区配电房", "active"),
        ("GW002", "示范小区东侧", "active"),
        ("GW003", "南门备用网关", "registered"),
    ):
        conn.execute(
            "INSERT INTO gateway (gateway_id, name, state) VALUES (%s, %s, %s)", (gateway_id, name, state)
        )
    conn.execute(
        "INSERT INTO gateway_status (gateway_id, seen_at, online, backlog_batches, oldest_unacked_s) VALUES ('GW001', %s, true, 1, 240)",
        (now - timedelta(seconds=9),),
    )
    conn.execute(
        "INSERT INTO gateway_status (gateway_id, seen_at, online, backlog_batches, oldest_unacked_s) VALUES ('GW002', %s, true, 17, 15300)",
        (now - timedelta(seconds=40),),
    )
    today = now.astimezone(BEIJING).date()
    conn.execute(
        "INSERT INTO intake_count VALUES (%s, 'GW002', 'bad_signature', 3), (%s, 'GW002', 'accepted', 700), (%s, 'GW002', 'malformed', 1)",
        (today - timedelta(days=1),) * 3,
    )


def _account(conn: psycopg.Connection[tuple[object, ...]], account: tuple[object, ...], now: datetime) -> int:
    (
        account_id,
        party_id,
        name,
        address,
        category,
        structure,
        voltage,
        mode,
        kva,
        meter_id,
        gateway_id,
        multiplier,
        kw,
    ) = account
    conn.execute(
        "INSERT INTO account (account_id, party_id, name, address) VALUES (%s, %s, %s, %s)",
        (account_id, party_id, name, address),
    )
    conn.execute(
        """INSERT INTO account_terms (account_id, effective, category, purchase, structure, voltage, demand_mode, capacity_kva, power_factor_standard)
           VALUES (%s, '[2025-12-31 16:00+00,)', %s, 'agency', %s, %s, %s, %s, %s)""",
        (account_id, category, structure, voltage, mode, kva, "0.90" if kva else None),
    )
    point = f"SP{str(account_id)[-4:]}"
    conn.execute("INSERT INTO supply_point VALUES (%s, %s, %s)", (point, account_id, f"{name} 总表"))
    row = conn.execute(
        "INSERT INTO meter (meter_id, profile, address) VALUES (%s, 'cn.generic.dlt645-2007.3p4w', %s) RETURNING meter_key",
        (meter_id, f"00000000{str(meter_id)[-4:]}"),
    ).fetchone()
    assert row is not None
    key = int(str(row[0]))
    conn.execute(
        "INSERT INTO installation (meter_key, supply_point_id, gateway_id, multiplier, period) VALUES (%s, %s, %s, %s, '[2025-12-31 16:00+00,)')",
        (key, point, gateway_id, multiplier),
    )
    assert isinstance(kw, int)
    assert isinstance(multiplier, int)
    if account_id != HOME:
        live(conn, key, now - timedelta(seconds=4), kw * 10_000 // multiplier)
    _days(conn, point, kw, now)
    return key


def live(
    conn: psycopg.Connection[tuple[object, ...]],
    meter_key: int,
    at: datetime,
    power_ticks: int,
    *,
    is_three_phase: bool = True,
) -> None:
    """A live sample as ingest writes it, with its NOTIFY."""
    ticks = {
        "p": power_ticks,
        "pf": 962,
        "u_a": 23012,
        "u_b": 22987,
        "u_c": 23105,
        "i_a": 3120,
        "i_b": 2985,
        "i_c": 3050,
        "freq": 5001,
    }
    conn.execute(
        """INSERT INTO live_value VALUES (%s, %s, %s)
           ON CONFLICT (meter_key) DO UPDATE SET taken_at = excluded.taken_at, ticks = excluded.ticks""",
        (meter_key, at, json.dumps(ticks)),
    )
    conn.execute("NOTIFY live")


def _days(conn: psycopg.Connection[tuple[object, ...]], point: str, kw: int, now: datetime) -> None:
    """August 2026 whole, the present month until now; one gap, some estimates."""
    local = now.astimezone(BEIJING)
    today = local.date()
    august = [date(2026, 8, 1) + timedelta(days=n) for n in range(31)]
    recent = [day for n in range(40) if (day := today - timedelta(days=n)) not in august]
    for day in (*august, *recent):
        until = (local.hour * 4 + local.minute // 15) if day == today else 96
        _day(conn, point, kw, day, until)


def _day(conn: psycopg.Connection[tuple[object, ...]], point: str, kw: int, day: date, until: int) -> None:
    values = [_slot_wh(kw, day, slot) if slot < until else None for slot in range(96)]
    quality = [1 if slot < until else 0 for slot in range(96)]
    if day.day % 9 == 5:
        quality[40:44] = [3] * len(quality[40:44])
    if day.day % 13 == 11:
        values[20:23], quality[20:23] = [None] * 3, [0] * 3
    zero = [None if value is None else 0 for value in values]
    used, fed = (values, zero) if kw > 0 else (zero, values)
    reactive = [None if value is None else value // 3 for value in used]
    conn.execute(
        """INSERT INTO interval_day (supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh, quality, made_at, made_by)
           VALUES (%s, %s, 1, %s, %s, %s, %s, %s, %s, 'test:1')""",
        (point, day, used, fed, reactive, zero, quality, datetime(2026, 1, 1, tzinfo=BEIJING)),
    )
    if day.day % 13 == 11:
        conn.execute(
            "INSERT INTO finding (supply_point_id, day, revision, slot, rule, severity) VALUES (%s, %s, 1, 20, 'missing_quantity', 'warning')",
            (point, day),
        )


def _slot_wh(kw: int, day: date, slot: int) -> int:
    """A working day's shape in whole Wh: low at night, two humps by day; the sun's for a generator."""
    if kw < 0:
        height = max(0, 100 - (slot - 50) * (slot - 50) // 5)
    else:
        height = (
            22
            + max(0, 70 - abs(slot - 40) * 5)
            + max(0, 58 - abs(slot - 66) * 4)
            + max(0, 34 - abs(slot - 78) * 3)
        )
    wobble = (day.toordinal() * 7 + slot * 13) % 11 - 5
    return abs(kw) * 1000 // 4 * max(0, height + wobble * (height > 0)) // 110


def _bill(conn: psycopg.Connection[tuple[object, ...]], account_id: str, state: str) -> int:
    """A bill of August 2026 for round numbers of kWh, drawn up by the rating code, written as its tables want it."""
    bill = august_bill(account_id)
    row = conn.execute(
        """INSERT INTO bill (account_id, month, revision, total_fen, import_wh, state, facts, input_sha256, made_at,
                             issued_at, issued_by, due_date)
           VALUES (%s, '2026-08-01', 1, %s, %s, %s, %s, %s, %s, %s, 'test', '2026-09-30') RETURNING bill_id""",
        (
            account_id,
            bill.total_fen,
            bill.import_wh,
            state,
            json.dumps(facts_json(bill)),
            bytes(32),
            bill.made_at,
            bill.made_at,
        ),
    ).fetchone()
    assert row is not None
    bill_id = int(str(row[0]))
    conn.execute(
        "SET LOCAL session_replication_role = replica"
    )  # it is out already: no line may be added but here
    for number, line in enumerate(bill.lines, 1):
        conn.execute(
            "INSERT INTO bill_line VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                bill_id,
                number,
                line.section,
                line.item,
                line.period,
                line.quantity,
                line.unit,
                line.price_yuan_per_unit,
                line.amount_fen,
                json.dumps(derivation_json(line.derivation)),
                json.dumps(items_json(line)),
            ),
        )
    conn.execute("SET LOCAL session_replication_role = origin")
    return bill_id


def august_bill(account_id: str) -> Bill:
    """The workshop's two-part bill at 1-10 kV with 800 kVA: 20, 30, 40 and 25 MWh in 尖 峰 平 谷."""
    month, end = date(2026, 8, 1), date(2026, 9, 1)
    name, address = next((str(each[2]), str(each[3])) for each in ACCOUNTS if each[0] == account_id)
    terms = Terms(
        "commercial", "agency", "two_part", "1-10kV", DemandMode.CAPACITY, 800, None, Decimal("0.90")
    )
    by_period = tuple(kwh * 1000 for kwh in BILLED_KWH)
    days = tuple(
        DayUse(month + timedelta(days=n), tuple(wh // 31 + (wh % 31 if n == 0 else 0) for wh in by_period))
        for n in range(31)
    )
    point = f"SP{account_id[-4:]}"
    demand = Demand(point, Decimal("412.6"), date(2026, 8, 18), 43)
    usage = Usage(by_period, 0, 38_500_000, 0, (demand,), 4, days)
    prices = packaged_catalogue().prices_on(month, Buyer("jibei", "agency", "commercial"))
    segments = priced([(Segment(month, end, terms, usage), prices)])
    start_at, end_at = datetime(2026, 8, 1, tzinfo=BEIJING), datetime(2026, 9, 1, tzinfo=BEIJING)
    register = Register(
        point,
        "M0001",
        "ea_imp",
        "kWh",
        2000,
        start_at,
        end_at,
        Decimal("1042.31"),
        Decimal("1099.81"),
        (17, 2993),
    )
    return Bill(
        Account(account_id, name, address),
        month,
        1,
        datetime(2026, 9, 2, 1, tzinfo=BEIJING),
        tuple(rated(each) for each in segments),
        rate(segments, month),
        (register,),
    )
