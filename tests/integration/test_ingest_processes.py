"""The processes as they are started in production: migrate, import, ingest, work, health; each ends when it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paho.mqtt.client as paho
import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from ingest_world import CLOUD_KEY, NOON_MS, QUARTER_MS, build, reading

from cloud.config import load_config
from cloud.db import open_pool
from cloud.errors import Unavailable
from cloud.jobs import ENTRIES, EPOCH, Entry, between, latest_instant, tick
from cloud.metering.store.timetable import Tick
from demo.broker import Broker
from edge_agent.wire import control

PATIENCE_S = 30.0


def environ(dsn: str, broker: Broker | None, key_file: Path) -> dict[str, str]:
    told = {key: value for key, value in os.environ.items() if not key.startswith("SHOUDIAN_")}
    told |= {"SHOUDIAN_DSN": dsn, "SHOUDIAN_COMMAND_KEY_FILE": str(key_file)}
    if broker is not None:
        told |= {"SHOUDIAN_BROKER_HOST": broker.host, "SHOUDIAN_BROKER_PORT": str(broker.port)}
    return told


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "cloud.key"
    path.write_bytes(CLOUD_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def command(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cloud", *arguments], env=env, capture_output=True, text=True, timeout=50
    )


@contextmanager
def process(env: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        [sys.executable, "-m", "cloud", *arguments], env=env, stderr=subprocess.PIPE, text=True
    )
    try:
        yield running
        running.send_signal(signal.SIGTERM)
        _, told = running.communicate(timeout=20)
        assert running.returncode == 0, told
        assert "Traceback" not in told
    finally:
        running.kill()
        running.wait()


def test_from_a_published_batch_to_an_interval_day(database: str, mosquitto: Broker, key_file: Path) -> None:
    gateway = build(database, ("GW1",), 1)["GW1"]
    env = environ(database, mosquitto, key_file)
    assert command(env, "migrate").returncode == 0
    ready = command(env, "health", "--broker")
    assert ready.returncode == 0, ready.stdout
    sealed = gateway.seal([reading("GW1M1", NOON_MS - at * QUARTER_MS, 5000 - 10 * at) for at in range(3)])
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="GW1")
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()
    with process(env, "ingest", "--id", "ing-0"), process(env, "work"):
        end = time.monotonic() + PATIENCE_S
        found: list[tuple] = []
        while not found:
            assert time.monotonic() < end, "no interval day"
            client.publish(control.batch_topic("GW1", 0), sealed, qos=1)
            time.sleep(0.5)
            with psycopg.connect(database) as conn:
                found = conn.execute(
                    "SELECT wh FROM interval_day, unnest(import_wh) AS wh WHERE supply_point_id = 'SP-GW1M1' AND wh = 1"
                ).fetchall()
    client.disconnect()
    client.loop_stop()
    assert len(found) >= 1


@pytest.mark.parametrize(
    ("arguments", "change", "said"),
    [
        (("migrate", "--wait-s", "0.2"), {"SHOUDIAN_DSN": "host=127.0.0.1 port=1"}, "Connection refused"),
        (("ingest", "--id", "x"), {"SHOUDIAN_COMMAND_KEY_FILE": __file__}, "SHOUDIAN_COMMAND_KEY_FILE"),
        (("import", "/nowhere.toml"), {}, "/nowhere.toml"),
        (("work",), {"SHOUDIAN_DSN": ""}, "SHOUDIAN_DSN"),
        (("user", "add", "abc", "--role", "customer", "--name", "x", "--party", "nobody"), {}, "nobody"),
    ],
)
def test_an_expected_failure_is_one_line_in_each_language_and_exit_code_2(
    database: str, key_file: Path, arguments: tuple[str, ...], change: dict[str, str], said: str
) -> None:
    told = command(environ(database, None, key_file) | change, *arguments)
    assert told.returncode == 2
    assert said in told.stderr
    assert "Traceback" not in told.stderr
    assert len(told.stderr.strip().splitlines()) <= 2  # one in each language


def test_help_teaches_by_example(key_file: Path) -> None:
    told = command({"PATH": os.environ["PATH"]}, "--help")
    assert told.returncode == 0
    assert "shoudian-cloud migrate" in told.stdout
    assert "SHOUDIAN_DSN" in told.stdout


# ---- timetable -------------------------------------------------------------------------------------------


def test_however_many_workers_tick_one_looks(database: str) -> None:
    looked: list[datetime] = []
    entry = Entry("test", timedelta(hours=24), timedelta(0), lambda pool, config, now: looked.append(now))
    config = load_config({"SHOUDIAN_DSN": database})
    with open_pool(database, size_max=4) as pool:
        threads = [
            threading.Thread(target=tick, args=(pool, config, entry, f"w{n}", set())) for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(looked) == 1


def test_a_look_that_failed_is_taken_again(database: str) -> None:
    answers = [Unavailable("database_unavailable", problem="gone"), None]

    def look(pool: object, config: object, now: datetime) -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    entry = Entry("test", timedelta(hours=24), timedelta(0), look)
    config = load_config({"SHOUDIAN_DSN": database})
    owed: set[Tick] = set()
    with open_pool(database, size_max=2) as pool:
        assert [tick(pool, config, entry, "w0", owed) for _ in range(3)] == [False, True, False]


@pytest.mark.parametrize(
    ("taken_ago", "is_done", "is_looked_at"),
    [
        (timedelta(hours=1), False, True),
        (timedelta(hours=1), True, False),
        (timedelta(minutes=5), False, False),
    ],
)
def test_the_tick_of_a_worker_that_was_killed_is_looked_at_by_another(
    database: str, taken_ago: timedelta, is_done: bool, is_looked_at: bool
) -> None:
    looked: list[datetime] = []
    entry = Entry("test", timedelta(days=10_000), timedelta(0), lambda pool, config, now: looked.append(now))
    now = datetime.now(UTC)  # noqa: TID251 - `tick` reads the clock itself
    with psycopg.connect(database) as conn:
        conn.execute(
            "INSERT INTO timetable_tick (entry, instant, taken_by, taken_at, done_at) VALUES ('test', %s, 'dead', %s, %s)",
            (latest_instant(entry, now), now - taken_ago, now if is_done else None),
        )
    config = load_config({"SHOUDIAN_DSN": database})
    with open_pool(database, size_max=2) as pool:
        assert tick(pool, config, entry, "w1", set()) is is_looked_at
        assert tick(pool, config, entry, "w2", set()) is False

    assert len(looked) == is_looked_at


def test_a_daily_entry_is_looked_at_soon_after_its_instant_whenever_the_worker_started() -> None:
    assert max(between(entry) for entry in ENTRIES) <= timedelta(minutes=5)


def test_every_entry_can_be_looked_at(database: str) -> None:
    config = load_config({"SHOUDIAN_DSN": database})
    with open_pool(database, size_max=2) as pool:
        assert all(tick(pool, config, entry, "w0", set()) for entry in ENTRIES)
        with psycopg.connect(database) as conn:
            assert conn.execute("SELECT count(*) FROM timetable_tick").fetchone() == (len(ENTRIES),)


def test_an_instant_is_the_same_for_every_worker() -> None:
    entry = Entry("x", timedelta(days=1), timedelta(hours=16, minutes=20), lambda *_: None)
    noon = datetime(2026, 8, 3, 12, tzinfo=UTC)
    assert latest_instant(entry, noon) == datetime(2026, 8, 2, 16, 20, tzinfo=UTC)
    assert latest_instant(entry, datetime(2026, 8, 3, 16, 20, tzinfo=UTC)) == datetime(
        2026, 8, 3, 16, 20, tzinfo=UTC
    )
    assert latest_instant(entry, EPOCH) < EPOCH
