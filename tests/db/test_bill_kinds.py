"""Bills of every way of purchase against a real database: grids, packages, ladders, service, meter exchange."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from cloud.billing.billjson import bill_text
from cloud.billing.evidence import IntervalsMissing
from cloud.billing.facts import Bill
from cloud.billing.line import Section
from cloud.billing.run import bill as billing
from cloud.billing.run.verify import verify
from cloud.billing.store import bills, published
from cloud.contracts.store import retail as packages
from cloud.contracts.store.retail import DatedPackage
from cloud.db import Conn
from cloud.market import line as market
from cloud.market.line import Item, SettlementLine, Side
from cloud.market.store import settlements
from cloud.markettime import day_of, days_of_month, slot_start
from cloud.metering.interval import IntervalDay, IntervalQuality
from cloud.metering.store import intervals, partitions

ACCOUNT = "1300000000001"
AUGUST = date(2026, 8, 1)
NOW = datetime(2026, 9, 3, 2, tzinfo=UTC)
MAKING = intervals.Making(NOW, "test:1", 7, 9)
HOURLY = (250,) * 96  # 24 kWh a day
NO = (0,) * 96
MEASURED = (int(IntervalQuality.ACTUAL),) * 96


@pytest.fixture
def conn(database: str) -> Iterator[Conn]:
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO party (kind, name) VALUES ('user', '示范园区䶮光铸造厂'), ('retailer', '示范售电有限公司')"
        )
        yield connection


def open_account(conn: Conn, terms: str, grid: str = "jibei", since: str = "2020-01-01") -> None:
    conn.execute(
        """INSERT INTO account (account_id, party_id, name, address, grid)
           SELECT %s, party_id, name, '示范园区1号', %s FROM party WHERE kind = 'user'""",
        (ACCOUNT, grid),
    )
    conn.execute(
        f"""INSERT INTO account_terms (account_id, effective, category, purchase, structure, voltage, option)
            VALUES (%s, tstzrange(%s::date::timestamp AT TIME ZONE 'Asia/Shanghai', NULL), {terms})""",
        (ACCOUNT, since),
    )
    conn.execute("INSERT INTO supply_point VALUES ('SP0001', %s, '总表')", (ACCOUNT,))


def fill(conn: Conn, days: tuple[date, ...], curve: tuple[int | None, ...] = HOURLY) -> None:
    for day in days:
        intervals.add_day(conn, IntervalDay("SP0001", day, 1, curve, NO, NO, NO, MEASURED), MAKING)


def drawn(conn: Conn, month: date = AUGUST) -> Bill:
    bill = bills.load(conn, billing.bill_month(conn, ACCOUNT, month, NOW).bill_id)
    assert verify(bill_text(bill).encode()).is_right
    return bill


def test_an_account_pays_the_prices_of_its_grid(conn: Conn) -> None:
    """湖北 2026-01, single-part below 1 kV: 744 kWh at the printed prices, 2 h tip, 6 h peak, 8 h flat, 8 h valley."""
    january = date(2026, 1, 1)
    open_account(conn, "'commercial', 'agency', 'single_part', 'lt1kV', ''", grid="hubei")
    fill(conn, days_of_month(january))

    bill = drawn(conn, january)

    kwh = {"tip": 62, "peak": 186, "flat": 248, "valley": 248}
    printed = {"tip": "1.133999", "peak": "0.930961", "flat": "0.735686", "valley": "0.516924"}
    exact = sum(Decimal(price) * kwh[period] for period, price in printed.items())
    assert abs(Decimal(bill.total_fen) / 100 - exact) <= Decimal("0.005") * len(bill.lines)
    assert {each.rule for each in bill.findings} == {"printed_price_differs", "printed_items_differ"}
    assert {dict(each.facts).get("voltage", "lt1kV") for each in bill.findings} == {"lt1kV"}
    system = next(line for line in bill.lines if line.section is Section.SYSTEM_OPERATION)
    assert [item.item for item in system.items][-1] == "not_itemised"
    assert sum(item.amount_fen for item in system.items) == system.amount_fen == 6121  # 744 x 0.082273


def test_a_package_that_changes_inside_the_month_cuts_it(conn: Conn) -> None:
    open_account(conn, "'commercial', 'retail', 'single_part', '1-10kV', ''")
    fill(conn, days_of_month(AUGUST))
    published.keep(conn, published.packaged_texts(), NOW)
    row = conn.execute("SELECT party_id FROM party WHERE kind = 'retailer'").fetchone()
    assert row is not None
    cut = slot_start(date(2026, 8, 11), 0)
    with pytest.raises(billing.NoPackage, match="2026-08-01"):
        billing.bill_month(conn, ACCOUNT, AUGUST, NOW)
    packages.assign(
        conn, ACCOUNT, DatedPackage(slot_start(AUGUST, 0), cut, "demo-fixed", 1, row[0]), "test", NOW
    )
    with pytest.raises(billing.NoPackage, match="2026-08-11"):
        billing.bill_month(conn, ACCOUNT, AUGUST, NOW)
    packages.assign(conn, ACCOUNT, DatedPackage(cut, None, "demo-green", 1, row[0]), "test", NOW)

    bill = drawn(conn)

    used = [[file.id for file in each.files if file.kind == "package"] for each in bill.segments]
    assert used == [["demo-fixed"], ["demo-green"]]
    assert [each.segment.days for each in bill.segments] == [10, 21]
    assert not [line for line in bill.lines if line.item == "energy"]  # no agency price
    sections = [line.section for line in bill.lines if line.derivation.first_day == date(2026, 8, 11)]
    assert sections[0] is Section.ENERGY
    assert {Section.LINE_LOSS, Section.TRANSMISSION, Section.SYSTEM_OPERATION, Section.FUNDS} < set(sections)
    assert sections[-1] is Section.GREEN


def test_a_year_on_the_ladder_needs_its_earlier_bills(conn: Conn) -> None:
    """From 2026-06-15 on: 7/12 of 2160 and 3360 kWh; June's 16 days are 384 kWh, July's 744 kWh."""
    june, july = date(2026, 6, 1), date(2026, 7, 1)
    open_account(conn, "'residential', 'catalogue', 'single_part', 'lt1kV', 'ladder'", since="2026-06-15")
    fill(conn, (*days_of_month(june)[14:], *days_of_month(july), *days_of_month(AUGUST)))

    with pytest.raises(billing.YearIncomplete, match="2026-06, 2026-07"):
        billing.bill_month(conn, ACCOUNT, AUGUST, NOW)
    months = [drawn(conn, month) for month in (june, july, AUGUST)]

    assert [bill.given.year_kwh for bill in months] == [0, 384, 1128]
    assert months[-1].given.service_from == date(2026, 6, 15)
    assert [[line.quantity for line in bill.lines] for bill in months] == [
        [384, 0, 0], [744, 0, 0], [132, 612, 0],
    ]  # fmt: skip
    assert months[-1].total_fen == 6864 + 34884  # 132 x 0.52 + 612 x 0.57


def test_a_correction_of_an_earlier_month_moves_the_later_one(conn: Conn) -> None:
    july = date(2026, 7, 1)
    open_account(conn, "'residential', 'catalogue', 'single_part', 'lt1kV', 'ladder'", since="2026-07-01")
    fill(conn, (*days_of_month(july), *days_of_month(AUGUST)))
    drawn(conn, july)
    before = billing.bill_month(conn, ACCOUNT, AUGUST, NOW)
    more = IntervalDay("SP0001", july, 2, (2500,) * 96, NO, NO, NO, MEASURED)
    intervals.add_day(conn, more, MAKING)

    drawn(conn, july)
    after = billing.bill_month(conn, ACCOUNT, AUGUST, NOW)

    assert (before.revision, after.revision) == (1, 2)
    assert bills.load(conn, after.bill_id).given.year_kwh == 744 + 216


def test_what_was_used_before_this_system_counts(conn: Conn) -> None:
    open_account(conn, "'residential', 'catalogue', 'single_part', 'lt1kV', 'ladder'")
    conn.execute("INSERT INTO year_opening VALUES (%s, %s, 2000)", (ACCOUNT, AUGUST))
    fill(conn, days_of_month(AUGUST))

    bill = drawn(conn)

    assert bill.given.year_kwh == 2000
    assert [line.quantity for line in bill.lines] == [160, 584, 0]


def test_time_of_use_of_a_household_splits_the_day(conn: Conn) -> None:
    open_account(conn, "'residential', 'catalogue', 'single_part', 'lt1kV', 'ladder_tou'", since="2026-08-01")
    fill(conn, days_of_month(AUGUST))

    bill = drawn(conn)

    energy = {line.period: line.quantity for line in bill.lines if line.item == "catalogue_energy"}
    assert energy == {"peak": 14 * 31, "valley": 10 * 31}
    assert bill.total_fen == 434 * 55 + 310 * 30


def install(conn: Conn, meter: str, multiplier: int, start: datetime, end: datetime | None) -> None:
    conn.execute("INSERT INTO gateway (gateway_id, name) VALUES ('GW1', '网关') ON CONFLICT DO NOTHING")
    conn.execute("INSERT INTO meter (meter_id, profile, address) VALUES (%s, 'p', %s)", (meter, meter[1:]))
    conn.execute(
        """INSERT INTO installation (meter_key, supply_point_id, gateway_id, multiplier, period)
           SELECT meter_key, 'SP0001', 'GW1', %s, tstzrange(%s, %s) FROM meter WHERE meter_id = %s""",
        (multiplier, start, end, meter),
    )


def read(conn: Conn, meter: str, at: datetime, ticks: int) -> None:
    partitions.ensure_partitions(conn, [at], 7)
    conn.execute(
        """INSERT INTO reading (taken_at, meter_key, source, quality, batch_id, c0, c1, c2)
           SELECT %s, meter_key, 0, 0, 1, %s, 0, 0 FROM meter WHERE meter_id = %s""",
        (at, ticks, meter),
    )


def test_only_days_of_service_are_required(conn: Conn) -> None:
    """A meter from 10 August 10:07 to 20 August 16:00: what lies outside never blocks the bill; inside it does."""
    open_account(conn, "'commercial', 'agency', 'single_part', 'lt1kV', ''")
    start, end = slot_start(date(2026, 8, 10), 40) + timedelta(minutes=7), slot_start(date(2026, 8, 20), 64)
    install(conn, "M1", 1, start, end)
    first = tuple(None if slot <= 40 else 250 for slot in range(96))
    last = tuple(None if slot >= 64 else 250 for slot in range(96))
    fill(conn, (date(2026, 8, 10),), first)
    fill(conn, tuple(day for day in days_of_month(AUGUST) if 11 <= day.day <= 19 and day.day != 15))
    fill(conn, (date(2026, 8, 20),), last)

    with pytest.raises(IntervalsMissing) as refusal:
        billing.bill_month(conn, ACCOUNT, AUGUST, NOW)
    assert [(each.day.day, len(each.slots)) for each in refusal.value.missing] == [(15, 96)]
    fill(conn, (date(2026, 8, 15),))
    bill = drawn(conn)

    assert bill.import_wh == 250 * (55 + 9 * 96 + 64)
    assert bill.estimated_slots == 0


def test_a_supply_point_without_a_meter_that_month_is_not_waited_for(conn: Conn) -> None:
    open_account(conn, "'commercial', 'agency', 'single_part', 'lt1kV', ''")
    install(conn, "M1", 1, slot_start(date(2026, 9, 1), 0), None)

    assert drawn(conn).total_fen == 0


def test_a_meter_exchange_with_another_multiplier_keeps_registers_and_intervals_together(conn: Conn) -> None:
    """80 x until 15 August, 120 x from then on; 24 kWh a day on both: 14 days and 17 days."""
    open_account(conn, "'commercial', 'agency', 'single_part', 'lt1kV', ''")
    fill(conn, days_of_month(AUGUST))
    start, change, end = (slot_start(day, 0) for day in (AUGUST, date(2026, 8, 15), date(2026, 9, 1)))
    install(conn, "M1", 80, start - timedelta(days=400), change)
    install(conn, "M2", 120, change, None)
    read(conn, "M1", start, 1_000_0000)
    read(conn, "M1", change, 1_000_0000 + 14 * 24 * 10_000 // 80)
    read(conn, "M2", change, 5_0000)
    read(conn, "M2", end, 5_0000 + 17 * 24 * 10_000 // 120)

    bill = drawn(conn)

    active = [each for each in bill.registers if each.register == "ea_imp"]
    assert [(each.meter_id, each.multiplier) for each in active] == [("M1", 80), ("M2", 120)]
    assert [day_of(each.end_at).day for each in active] == [15, 1]
    assert bill.findings == ()
    assert bill.import_wh == 31 * 24_000


def test_an_exchange_that_lost_energy_is_a_finding(conn: Conn) -> None:
    open_account(conn, "'commercial', 'agency', 'single_part', 'lt1kV', ''")
    fill(conn, days_of_month(AUGUST))
    start, change, end = (slot_start(day, 0) for day in (AUGUST, date(2026, 8, 15), date(2026, 9, 1)))
    install(conn, "M1", 80, start - timedelta(days=400), change)
    install(conn, "M2", 120, change, None)
    read(conn, "M1", start, 0)
    read(conn, "M1", change, 14 * 24 * 10_000 // 80 - 1)
    read(conn, "M2", change, 0)
    read(conn, "M2", end, 17 * 24 * 10_000 // 120)

    assert [each.rule for each in drawn(conn).findings] == ["register_differs"]


# -- a direct user's settlement ------------------------------------------------------------------------------------


def settlement_line(item: Item, mwh: str, price: str, formula: str, fen: int) -> SettlementLine:
    inputs = (
        market.Input("mwh", Decimal(mwh), "MWh", "intervals"),
        market.Input("price", Decimal(price), "yuan/MWh", "contract C1@1"),
    )
    how = market.Derivation(formula, inputs, AUGUST, date(2026, 9, 1))
    return SettlementLine(
        *(ACCOUNT, None, Side.USER, item, "C1", "month", Decimal(mwh), Decimal(price), fen, how),
        rule_version="demo-rule@1",
    )


def put_statement(conn: Conn, lines: tuple[SettlementLine, ...]) -> int:
    row = conn.execute(
        """WITH m AS (INSERT INTO market (market_id, name, entered_at, entered_by)
                      VALUES ('jibei', '冀北', %(now)s, 'test') RETURNING market_id)
           INSERT INTO settlement_run (market_id, month, kind, opened_at, opened_by, reason)
           SELECT market_id, %(month)s, 'initial', %(now)s, 'test', '' FROM m RETURNING run_id""",
        {"now": NOW, "month": AUGUST},
    ).fetchone()
    assert row is not None
    total = sum(line.amount_fen for line in lines)
    statement = settlements.StatementRow(
        *(0, row[0], ACCOUNT, "user", None, ACCOUNT, "示范", AUGUST, 1, "drawn", 744, total, total, "0" * 64),
        *({}, NOW),
    )
    return settlements.add(conn, statement, lines)


def test_a_direct_user_pays_the_final_settlement_and_the_grids_charges(conn: Conn) -> None:
    """0.700 MWh at 380 and 0.044 MWh of deviation at 418; green value 3.50 stays out of the power factor base."""
    open_account(conn, "'commercial', 'direct', 'single_part', '1-10kV', ''")
    conn.execute("UPDATE account_terms SET power_factor_standard = 0.85")
    fill(conn, days_of_month(AUGUST))
    lines = (
        settlement_line(Item.CONTRACT, "0.700", "380", "mwh * price", 26600),
        settlement_line(Item.DEVIATION_OVER, "0.044", "418", "mwh * price", 1839),
        settlement_line(Item.GREEN, "0.700", "5", "mwh * price", 350),
    )
    statement = put_statement(conn, lines)

    for before, after in (("drawn", "draft"), ("draft", "confirmed"), ("confirmed", "final")):
        with pytest.raises(billing.NotSettled, match=before):
            billing.bill_month(conn, ACCOUNT, AUGUST, NOW)
        assert settlements.move(conn, statement, before, after)
    bill = drawn(conn)

    assert [(line.section, line.item, line.amount_fen) for line in bill.lines[:3]] == [
        (Section.ENERGY, "settled_contract", 26600),
        (Section.ENERGY, "settled_deviation_over", 1839),
        (Section.GREEN, "settled_green", 350),
    ]
    assert dict(bill.lines[1].derivation.notes)["rule"] == "demo-rule@1"
    assert not [line for line in bill.lines if line.item == "energy"]
    by = {line.section: line for line in bill.lines[3:]}
    assert by[Section.LINE_LOSS].amount_fen == 876  # 744 x 0.011778
    base = 26600 + 1839 + sum(by[s].amount_fen for s in (Section.LINE_LOSS, Section.TRANSMISSION, Section.SYSTEM_OPERATION))  # fmt: skip
    assert by[Section.POWER_FACTOR].quantity == Decimal(base) / 100
    assert bill.given.settled == bill.lines[:3]


def test_line_loss_that_the_market_settles_is_not_charged_twice(conn: Conn) -> None:
    open_account(conn, "'commercial', 'direct', 'single_part', '1-10kV', ''")
    fill(conn, days_of_month(AUGUST))
    lines = (
        settlement_line(Item.CONTRACT, "0.744", "380", "mwh * price", 28272),
        settlement_line(Item.LINE_LOSS, "0.744", "11.778", "mwh * price", 876),
    )
    statement = put_statement(conn, lines)
    for before, after in (("drawn", "draft"), ("draft", "confirmed"), ("confirmed", "final")):
        settlements.move(conn, statement, before, after)

    bill = drawn(conn)

    assert [line.item for line in bill.lines if line.section is Section.LINE_LOSS] == ["settled_line_loss"]
