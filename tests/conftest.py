"""Shared fixtures: a real PostgreSQL, real brokers, free ports; and what happens to a test that cannot run here.

SHOUDIAN_TEST_DSN      superuser DSN of a server to use instead of the embedded one (for example TimescaleDB)
SHOUDIAN_REQUIRE_ALL   1: a test that would be skipped fails instead (CI); `timescaledb` and `not_as_root` may still skip
HYPOTHESIS_PROFILE     explore: other random examples on each run; by default examples are the same every time
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cloud.db import migrate
from demo.broker import Broker, running_broker
from demo.postgres import embedded_postgres

REQUIRE_ALL = os.environ.get("SHOUDIAN_REQUIRE_ALL") == "1"
MAY_SKIP = ("timescaledb", "not_as_root")
_number = itertools.count(1)

hypothesis.settings.register_profile("same", derandomize=True, deadline=None, max_examples=100)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "timescaledb: needs a server with TimescaleDB (SHOUDIAN_TEST_DSN)")
    config.addinivalue_line("markers", "not_as_root: shows what an ordinary user may not do")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("not_as_root") and os.geteuid() == 0:
        pytest.skip("root may do everything")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    allowed = any(item.get_closest_marker(name) for name in MAY_SKIP)
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail") and not allowed:
        report.outcome = "failed"
        report.longrepr = f"skipped, but SHOUDIAN_REQUIRE_ALL=1: {call.excinfo.value if call.excinfo else ''}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if REQUIRE_ALL and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped whole, but SHOUDIAN_REQUIRE_ALL=1: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def program() -> Callable[[str], Path]:
    """Find a program of the machine, also in the sbin folders; skip the test when it is not installed."""

    def find(name: str) -> Path:
        path = shutil.which(
            name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
        )
        if path is None:
            pytest.skip(f"the program {name} is not installed on this machine")
        return Path(path)

    return find


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Give a function that names a TCP port of 127.0.0.1 free at this moment, another one each time."""
    given: set[int] = set()

    def find() -> int:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            if port not in given:
                given.add(port)
                return port

    return find


# -- PostgreSQL ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Superuser DSN of one server for the whole run."""
    given = os.environ.get("SHOUDIAN_TEST_DSN")
    if given:
        yield given
        return
    with embedded_postgres(tmp_path_factory.mktemp("postgres") / "server", durable=False) as server:
        yield server.dsn


@pytest.fixture(scope="session")
def template_database(postgres_dsn: str) -> Iterator[str]:
    """Name of a migrated database that nobody connects to, so that it can be cloned."""
    with _fresh_database(postgres_dsn, "template0") as name:
        migrate(make_conninfo(postgres_dsn, dbname=name))
        yield name


@pytest.fixture
def database(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """Superuser DSN of a fresh migrated database."""
    with _fresh_database(postgres_dsn, template_database) as name:
        yield make_conninfo(postgres_dsn, dbname=name)


@pytest.fixture
def empty_database(postgres_dsn: str) -> Iterator[str]:
    """Superuser DSN of a fresh database without our schema."""
    with _fresh_database(postgres_dsn, "template0") as name:
        yield make_conninfo(postgres_dsn, dbname=name)


class _fresh_database:
    """Lend a new database; dropped at the end with whatever still holds a connection."""

    def __init__(self, dsn: str, template: str) -> None:
        self.dsn, self.template = dsn, template
        self.name = f"shoudian_test_{os.getpid()}_{next(_number)}"

    def __enter__(self) -> str:
        self._run("CREATE DATABASE {} TEMPLATE {}", self.name, self.template)
        return self.name

    def __exit__(self, *_: object) -> None:
        self._run("DROP DATABASE {} WITH (FORCE)", self.name)

    def _run(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


# -- brokers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def mosquitto(
    program: Callable[[str], Path], free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    """A real mosquitto on a free port of 127.0.0.1, without TLS or access list."""
    program("mosquitto")
    folder = tmp_path_factory.mktemp("mosquitto")
    with running_broker(folder, port=free_port(), pki=None, kind="mosquitto") as broker:
        yield broker


@pytest.fixture
def amqtt(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The pip broker amqtt (MQTT 3.1.1) on a free port, without TLS: what a machine without mosquitto has."""
    with running_broker(tmp_path_factory.mktemp("amqtt"), port=free_port(), pki=None, kind="amqtt") as broker:
        yield broker
