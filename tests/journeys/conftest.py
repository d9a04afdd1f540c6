"""Databases and brokers that live as long as a module: a month is replayed once and looked at from many sides."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import money_world
import psycopg
import pytest
from correction_world import NUMBERS
from psycopg import sql
from psycopg.conninfo import make_conninfo
from replay_world import free_port

from cloud.db import Conn
from cloud.security.access import Actor
from demo.broker import Broker, running_broker

_number = itertools.count(1)


@pytest.fixture(scope="module")
def journey_database(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """Superuser DSN of a fresh migrated database for one module."""
    name = sql.Identifier(f"shoudian_journey_{os.getpid()}_{next(_number)}")
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(template_database))
        )
        try:
            yield make_conninfo(postgres_dsn, dbname=name.as_string(admin).strip('"'))
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture(scope="module")
def journey_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The machine's mosquitto, or amqtt where there is none."""
    with running_broker(tmp_path_factory.mktemp("broker"), port=free_port(), pki=None) as broker:
        yield broker


@pytest.fixture
def conn(journey_database: str) -> Iterator[Conn]:
    """A connection as the owner; each test of corrections begins as if nobody had looked for any yet."""
    with psycopg.connect(journey_database) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("DELETE FROM correction_look")
        connection.commit()
        yield connection


@pytest.fixture
def second(conn: Conn) -> Actor:
    """Another member of the staff."""
    actor = money_world.put_staff(conn, f"zhang{next(NUMBERS)}")
    conn.commit()
    return actor
