"""The HTTP process under test: a real uvicorn on a real PostgreSQL, with the small world in it.

Used from tests/pages and tests/authz: `from pages.site import site`.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import psycopg
import pytest
import uvicorn
from fastapi import FastAPI
from pages import world
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cloud.api import app as api
from cloud.config import load_config

START_S = 20
_number = itertools.count(1)


@dataclass(frozen=True)
class Site:
    """Where it answers, what is in it, and the application for tests that read its routes."""

    base: str
    world: world.World
    app: FastAPI

    @contextmanager
    def client(self, login: str | None = None, **headers: str) -> Iterator[httpx.Client]:
        """A program's connection, signed in when a login is given."""
        with httpx.Client(
            base_url=self.base, headers={"accept": "application/json", **headers}, trust_env=False, timeout=20
        ) as client:
            if login is not None:
                answer = client.post("/login", data={"login": login, "password": world.PASSWORD})
                assert answer.status_code == 200, answer.text
            yield client

    def form_token(self, client: httpx.Client) -> str:
        """The token that the session's forms carry, as a page shows it."""
        page = client.get("/accounts", headers={"accept": "text/html"}, follow_redirects=True).text
        found = re.search(r'name="form_token" value="([^"]+)"', page)
        assert found, page
        return found[1]


@pytest.fixture(scope="module")
def site(postgres_dsn: str, template_database: str) -> Iterator[Site]:
    """One site for the tests of a module; they may add rows but must not need each other's."""
    name = f"shoudian_site_{os.getpid()}_{next(_number)}"
    _run(postgres_dsn, "CREATE DATABASE {} TEMPLATE {}", name, template_database)
    try:
        dsn = make_conninfo(postgres_dsn, dbname=name)
        filled = world.fill(dsn, datetime.now(UTC))  # noqa: TID251  # pages show ages against the real clock
        with _serving(dsn) as (base, app):
            yield Site(base, filled, app)
    finally:
        _run(postgres_dsn, "DROP DATABASE {} WITH (FORCE)", name)


class _serving:
    """uvicorn in a thread on a free port; at the end it must stop by itself, open streams included."""

    def __init__(self, dsn: str) -> None:
        self.files = tempfile.TemporaryDirectory(prefix="shoudian-files-")
        settings = {
            "SHOUDIAN_DSN": dsn,
            "SHOUDIAN_FILES_FOLDER": self.files.name,
            "SHOUDIAN_HTTP_SECURE_COOKIES": "0",
            "SHOUDIAN_SEALING_KEY": "5e" * 32,
        }
        self.app = api.make_app(load_config(settings))
        self.socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            self.app, log_level="warning", server_header=False, timeout_graceful_shutdown=api.SHUTDOWN_S
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})

    def __enter__(self) -> tuple[str, FastAPI]:
        self.thread.start()
        base = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        transport = httpx.HTTPTransport(retries=5)
        with httpx.Client(transport=transport, timeout=START_S, trust_env=False) as client:
            client.get(f"{base}/healthz").raise_for_status()
        return base, self.app

    def __exit__(self, *_: object) -> None:
        self.app.state.hub.close()
        self.server.should_exit = True
        self.thread.join(timeout=api.SHUTDOWN_S + 5)
        self.socket.close()
        self.files.cleanup()
        assert not self.thread.is_alive(), "the server did not stop"


def _run(dsn: str, statement: str, *names: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
