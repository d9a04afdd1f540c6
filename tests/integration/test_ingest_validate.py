"""From sealed batches to interval days in a real database: conservation, lateness, repetition, exchanges, silence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from ingest_world import CLOUD_KEY, QUARTER_MS, FakeGateway, build, reading

from cloud.db import open_pool, transaction
from cloud.jobs import TIMETABLE, drain
from cloud.metering.device import Installation
from cloud.metering.intake import Arrived
from cloud.metering.interval import IntervalQuality
from cloud.metering.run.intake import Intake
from cloud.metering.run.validate import WORKER, note_silent, validate_stale
from cloud.metering.store import intervals, readings, stock
from edge_agent.wire import control

DAY = date(2026, 8, 3)
MIDNIGHT_MS = int(datetime(2026, 8, 2, 16, tzinfo=UTC).timestamp()) * 1000
NOW = datetime(2026, 8, 20, tzinfo=UTC)
DAY_MS = 96 * QUARTER_MS


class World:
    def __init__(self, dsn: str, multiplier: int = 7) -> None:
        self.dsn = dsn
        self.gateways = build(dsn, ("GW1",), 2, multiplier)
        self.gateway = self.gateways["GW1"]
        self.pool = open_pool(dsn, size_max=3)
        self.intake = Intake(self.pool, CLOUD_KEY, generation=1, partition_days=7)

    def send(self, gateway: FakeGateway, rows: list, stream: int = 0) -> None:
        body = gateway.seal(rows, stream)
        topic = control.batch_topic(gateway.gateway_id, stream)
        self.intake.take((Arrived(topic, gateway.gateway_id, body),), NOW)

    def validate(self) -> None:
        drain(self.pool, threading.Event())

    def rows(self, query: str) -> list[tuple]:
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(query).fetchall()

    def keys(self, meter_id: str) -> list[int]:
        return [key for (key,) in self.rows(f"SELECT meter_key FROM meter WHERE meter_id = '{meter_id}'")]

    def days(self, meter_id: str = "GW1M1") -> dict[date, object]:
        with psycopg.connect(self.dsn) as conn:
            found = intervals.load_days(conn, f"SP-{meter_id}", date(2026, 7, 1), date(2026, 9, 1))
        return {one.day: one for one in found}


@pytest.fixture
def world(database: str) -> Iterator[World]:
    world = World(database)
    with world.pool:
        yield world


def register(slot: int) -> int:
    """An uneven register in ticks of 0.1 Wh at a quarter hour after the midnight of DAY."""
    return 10_000 + 33 * slot + (slot * slot) % 17


def quarter(meter_id: str, slot: int) -> object:
    return reading(meter_id, MIDNIGHT_MS + slot * QUARTER_MS, register(slot))


def total_wh(days: dict) -> int:
    return sum(value or 0 for day in days.values() for value in day.import_wh)


def test_a_week_adds_up_to_the_registers_times_the_multiplier(world: World) -> None:
    for day in range(7):
        world.send(
            world.gateway, [quarter("GW1M1", 96 * day + slot) for slot in range(97 if day == 6 else 96)]
        )
    world.validate()
    days = world.days()
    assert [days[DAY + timedelta(days=n)].quality == (1,) * 96 for n in range(7)] == [True] * 7
    assert total_wh(days) == register(7 * 96) * 7 // 10 - register(0) * 7 // 10
    assert world.rows("SELECT count(*) FROM stale_day") == [(0,)]
    assert world.rows("SELECT made_by, first_batch_id <= last_batch_id FROM interval_day LIMIT 1") == [
        ("vee:2", True)
    ]


def test_the_same_again_adds_no_revision_and_a_late_reading_adds_one(world: World) -> None:
    slots = [slot for slot in range(97) if slot not in (40, 41)]
    world.send(world.gateway, [quarter("GW1M1", slot) for slot in slots])
    world.validate()
    assert world.days()[DAY].quality[38:43] == (1, 3, 3, 3, 1)
    with psycopg.connect(world.dsn) as conn:
        readings.mark_stale(conn, [(1, DAY)], NOW)
    world.validate()
    assert world.days()[DAY].revision == 1
    assert world.rows("SELECT count(*) FROM finding WHERE rule = 'consecutive_interval'") == [(1,)]

    world.send(
        world.gateway, [quarter("GW1M1", 40), quarter("GW1M1", 41)], stream=2
    )  # recalled from the meter
    world.validate()
    day = world.days()[DAY]
    assert (day.revision, day.quality[38:43]) == (2, (1, 2, 2, 2, 1))
    assert sum(day.import_wh) == register(96) * 7 // 10 - register(0) * 7 // 10
    assert world.rows("SELECT count(*) FROM interval_day WHERE day = '2026-08-03'") == [(2,)]


def test_a_gap_over_days_is_shared_once_and_refined_whole_when_a_reading_comes_late(world: World) -> None:
    world.send(world.gateway, [quarter("GW1M1", slot) for slot in [*range(-96, 50), *range(300, 385)]])
    world.validate()
    days = world.days()
    assert total_wh(days) == register(384) * 7 // 10 - register(-96) * 7 // 10
    first = {day: days[DAY + timedelta(days=day)].revision for day in range(4)}
    late = [quarter("GW1M1", 200)]  # in the middle of the gap, on the third day
    world.send(world.gateway, late)
    world.validate()
    days = world.days()
    assert total_wh(days) == register(384) * 7 // 10 - register(-96) * 7 // 10
    assert (
        sum(days[DAY + timedelta(days=slot // 96)].import_wh[slot % 96] for slot in range(49, 200))
        == register(200) * 7 // 10 - register(49) * 7 // 10
    )
    assert all(days[DAY + timedelta(days=day)].revision > first[day] for day in range(4) if day < 3)


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_in_which_days_arrive_and_are_validated_means_nothing(world: World, order: int) -> None:
    parts = [[quarter("GW1M1", 96 * day + slot) for slot in range(0, 97, 5)] for day in range(4)]
    for part in parts[::order]:
        world.send(world.gateway, part)
        world.validate()
    days = world.days()
    assert sorted(days) == [DAY + timedelta(days=n) for n in range(4)]
    assert total_wh(days) == register(383) * 7 // 10 - register(0) * 7 // 10


def test_a_meter_exchange_in_the_middle_of_a_slot(world: World) -> None:
    at_ms = MIDNIGHT_MS + 40 * QUARTER_MS + 300_000
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    with psycopg.connect(world.dsn) as conn:  # M2 follows M1 at M1's supply point, with another transformer
        conn.execute("DELETE FROM installation WHERE meter_key = 2")
        conn.execute(
            "UPDATE installation SET period = tstzrange(lower(period), %s) WHERE meter_key = 1", (at,)
        )
        conn.execute(
            """INSERT INTO installation (meter_key, supply_point_id, gateway_id, multiplier, period)
               VALUES (2, 'SP-GW1M1', 'GW1', 30, tstzrange(%s, NULL))""",
            (at,),
        )
    old = [quarter("GW1M1", slot) for slot in range(41)] + [reading("GW1M1", at_ms - 4_000, 12_000)]
    new = [reading("GW1M2", at_ms + 2_000, 5)]
    new += [reading("GW1M2", MIDNIGHT_MS + slot * QUARTER_MS, 5 + 10 * (slot - 40)) for slot in range(41, 97)]
    world.send(world.gateway, old + new)
    world.validate()
    day = world.days()[DAY]
    assert day.quality == (IntervalQuality.ACTUAL,) * 96
    old_wh = 12_000 * 7 // 10 - register(0) * 7 // 10
    new_wh = (5 + 10 * 56) * 30 // 10 - 5 * 30 // 10
    assert sum(day.import_wh) == old_wh + new_wh


def test_a_silent_meter_gets_a_missing_day_by_name(world: World) -> None:
    with transaction(world.pool, TIMETABLE) as conn:
        assert readings.mark_installed_stale(conn, DAY, NOW) == 2
    world.validate()
    assert world.days("GW1M2") == {}  # nobody said anything of it
    assert note_silent(world.pool, DAY, NOW) == 2
    assert note_silent(world.pool, DAY, NOW) == 0
    assert world.days("GW1M2")[DAY].quality == (0,) * 96
    assert world.rows("SELECT supply_point_id, rule, slot, facts FROM finding ORDER BY 1") == [
        ("SP-GW1M1", "missing_quantity", 0, {"slots": 96}),
        ("SP-GW1M2", "missing_quantity", 0, {"slots": 96}),
    ]


def test_the_forerunners_of_a_running_day_go_when_it_is_over_and_the_last_one_stays(world: World) -> None:
    noon = datetime(2026, 8, 3, 4, tzinfo=UTC)
    for until in (10, 20, 30):
        world.send(world.gateway, [quarter("GW1M1", slot) for slot in range(until - 10, until)])
        while validate_stale(world.pool, noon):
            pass
    assert world.days()[DAY].revision == 3
    with transaction(world.pool, TIMETABLE) as conn:
        assert intervals.prune_running(conn, datetime(2026, 8, 3, 15, tzinfo=UTC)) == 0  # still running
        assert intervals.prune_running(conn, datetime(2026, 8, 3, 16, tzinfo=UTC)) == 2
    assert world.rows("SELECT revision FROM interval_day WHERE day = '2026-08-03'") == [(3,)]


def test_a_mark_that_is_raised_while_it_is_worked_on_comes_back(world: World) -> None:
    world.send(world.gateway, [quarter("GW1M1", slot) for slot in range(10, 20)])
    with transaction(world.pool, WORKER) as conn:
        taken = readings.take_stale(conn, NOW, NOW - timedelta(minutes=5), 10)
    assert [(mark.meter_key, mark.day) for mark in taken] == [(1, DAY)]
    with transaction(world.pool, WORKER) as conn:
        assert readings.take_stale(conn, NOW, NOW - timedelta(minutes=5), 10) == ()  # others leave it alone
        assert (
            len(readings.take_stale(conn, NOW, NOW + timedelta(seconds=1), 10)) == 1
        )  # unless its worker has died
    world.send(world.gateway, [quarter("GW1M1", slot) for slot in range(20, 30)])
    with transaction(world.pool, WORKER) as conn:
        readings.finish_stale(conn, taken)
    assert world.rows("SELECT meter_key, day, taken_at FROM stale_day") == [(1, DAY, None)]
    world.validate()
    assert world.rows("SELECT count(*) FROM stale_day") == [(0,)]
    assert sum(1 for quality in world.days()[DAY].quality if quality) == 19


def test_a_mark_that_is_being_raised_while_it_is_finished_comes_back(world: World) -> None:
    """The ingest holds the mark's row and commits while the worker waits for it."""
    world.send(world.gateway, [quarter("GW1M1", slot) for slot in range(10, 20)])
    with transaction(world.pool, WORKER) as conn:
        taken = readings.take_stale(conn, NOW, NOW - timedelta(minutes=5), 10)

    def finish() -> None:
        with transaction(world.pool, WORKER) as conn:
            readings.finish_stale(conn, taken)

    worker = threading.Thread(target=finish)
    with psycopg.connect(world.dsn) as ingest:
        ingest.execute("UPDATE stale_day SET marks = marks + 1")
        worker.start()
        while not world.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            assert worker.is_alive()
    worker.join()

    assert world.rows("SELECT marks, taken_at FROM stale_day") == [(2, None)]


def test_two_workers_share_the_work(world: World) -> None:
    for day in range(6):
        world.send(world.gateway, [quarter(m, 96 * day + s) for m in world.gateway.meters for s in range(97)])
    threads = [threading.Thread(target=world.validate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.rows("SELECT count(*) FROM stale_day") == [(0,)]
    for meter_id in world.gateway.meters:
        assert total_wh(world.days(meter_id)) == register(6 * 96) * 7 // 10 - register(0) * 7 // 10


@pytest.mark.parametrize("wrong", [0, 90_000_000])
def test_one_bad_reading_at_midnight_makes_no_energy_on_either_side(world: World, wrong: int) -> None:
    rows = [quarter("GW1M1", slot) for slot in range(193)]
    rows[96] = reading("GW1M1", MIDNIGHT_MS + DAY_MS, wrong)
    for start in range(0, 193, 48):
        world.send(world.gateway, rows[start : start + 48])
        world.validate()

    days = world.days()

    assert total_wh(days) == register(192) * 7 // 10 - register(0) * 7 // 10
    assert [days[day].import_wh.count(None) for day in (DAY, DAY + timedelta(days=1))] == [0, 0]
    latest = {day: one.revision for day, one in days.items()}
    told = world.rows("SELECT day, revision, rule FROM finding WHERE severity = 'error'")
    assert [rule for day, revision, rule in told if latest[day] == revision] == []


def test_a_meter_that_cannot_be_validated_holds_up_nobody_else(database: str) -> None:
    world = World(database, multiplier=1_000_000)
    with world.pool:
        world.send(
            world.gateway, [reading("GW1M1", MIDNIGHT_MS + slot * QUARTER_MS, slot << 62) for slot in (0, 1)]
        )
        world.send(world.gateway, [quarter("GW1M2", slot) for slot in range(5)])

        world.validate()

        assert DAY in world.days("GW1M2")
        assert [meter for (meter,) in world.rows("SELECT DISTINCT meter_key FROM stale_day")] == world.keys(
            "GW1M1"
        )


def installed_until(world: World, meter_id: str, end: datetime | None) -> None:
    """Say through the site's own door when the meter was taken down."""
    (key,) = world.keys(meter_id)
    at = datetime(2025, 12, 31, 16, tzinfo=UTC)
    with psycopg.connect(world.dsn) as conn:
        assert stock.put_installation(conn, Installation(key, f"SP-{meter_id}", "GW1", 7, at, end))


def test_an_end_that_is_told_late_takes_the_energy_after_it_away_and_a_longer_one_brings_it_back(
    world: World,
) -> None:
    world.send(world.gateway, [quarter("GW1M1", slot) for slot in range(193)])  # two days
    world.validate()
    next_day = DAY + timedelta(days=1)
    before = world.days()
    installed_until(world, "GW1M1", datetime(2026, 8, 3, 4, tzinfo=UTC))  # 12:00 of the first day

    world.validate()

    ended = world.days()
    assert ended[DAY].import_wh[:48] == before[DAY].import_wh[:48]
    assert ended[DAY].quality[48:] == (IntervalQuality.MISSING,) * 48
    assert ended[next_day].quality == (IntervalQuality.MISSING,) * 96
    assert world.rows("SELECT count(*) FROM stale_day") == [(0,)]
    installed_until(world, "GW1M1", None)
    world.validate()
    assert {day: one.import_wh for day, one in world.days().items()} == {
        day: one.import_wh for day, one in before.items()
    }


def test_readings_of_a_meter_that_is_registered_later_are_not_lost(world: World) -> None:
    (key,) = world.keys("GW1M2")
    with psycopg.connect(world.dsn) as conn:
        conn.execute("DELETE FROM installation WHERE meter_key = %s", (key,))
    rows = [quarter("GW1M2", slot) for slot in range(97)]
    world.send(world.gateway, rows)
    world.validate()
    assert world.days("GW1M2") == {}

    installed_until(world, "GW1M2", None)
    world.validate()

    assert sum(world.days("GW1M2")[DAY].import_wh) == (register(96) * 7 // 10) - (register(0) * 7 // 10)
    assert world.rows("SELECT count(*) FROM unbound_reading") == [(0,)]
    assert world.rows("SELECT count(*) FROM reading") == [(97,)]
