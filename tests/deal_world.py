"""A market for listings, rolling books, negotiation and transfer: admitted parties with people and seals, served over HTTP."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import market_world
import psycopg
import stepup_world
import uvicorn
from fastapi import FastAPI
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cloud import db
from cloud.api import app as api
from cloud.config import load_config
from cloud.db import Conn
from cloud.markettime import month_after, month_of

PARTIES = (
    ("coal", "generator", "示范热电厂"),
    ("wind", "generator", "示范风电场"),
    ("shop", "retailer", "示范售电甲"),
    ("trade", "retailer", "示范售电乙"),
    ("mill", "user", "示范轧钢厂"),
)
GUARANTEE_FEN = 100_000_000_00
_number = itertools.count(1)


@dataclass(frozen=True)
class Deals:
    """Who is there: party, login's user and second factor by a short name, and where it is served."""

    dsn: str
    base: str
    app: FastAPI
    parties: dict[str, int]
    users: dict[str, int]
    factors: dict[str, str]

    @contextmanager
    def client(self, name: str) -> Iterator[Desk]:
        """A program signed in as somebody of the party, or as 'operator'."""
        with httpx.Client(
            base_url=self.base, headers={"accept": "application/json"}, trust_env=False, timeout=30
        ) as http:
            answer = http.post("/login", data={"login": name, "password": market_world.PASSWORD})
            assert answer.status_code == 200, answer.text
            with psycopg.connect(self.dsn) as conn:
                row = conn.execute(
                    """SELECT csrf_token FROM user_session s JOIN app_user u USING (user_id) WHERE u.login = %s
                       ORDER BY s.created_at DESC LIMIT 1""",
                    (name,),
                ).fetchone()
            assert row is not None
            yield Desk(http, str(row[0]))

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Ask the database as its owner."""
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(query, values).fetchall()

    def prove(self, name: str) -> None:
        """Let the person's sessions have been proven a moment ago."""
        with psycopg.connect(self.dsn) as conn:
            conn.execute("UPDATE user_session SET proven_at = now() WHERE user_id = %s", (self.users[name],))


@dataclass(frozen=True)
class Desk:
    """A signed-in program."""

    http: httpx.Client
    form_token: str

    def post(self, path: str, form: dict[str, object] | None = None, **files: object) -> httpx.Response:
        """Send a form with the session's token."""
        data = {"form_token": self.form_token, **(form or {})}
        return self.http.post(path, data=data, **files)  # type: ignore[arg-type]

    def get(self, path: str) -> httpx.Response:
        """Look at something."""
        return self.http.get(path)

    @contextmanager
    def listening(self, path: str, last_id: str = "") -> Iterator[Heard]:
        """Hold a stream of events open, in a thread; what comes is in the answer as it comes."""
        heard = Heard()
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last_id} if last_id else {})
        with self.http.stream("GET", path, headers=headers) as answer:
            heard.status = answer.status_code
            thread = threading.Thread(target=heard.read, args=(answer,), daemon=True)
            thread.start()
            heard.is_open.wait(5)
            yield heard
            answer.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            thread.join(5)


@dataclass
class Heard:
    """What a stream has said: (event, data, id) in their order."""

    status: int = 0
    messages: list[tuple[str, str, str]] = field(default_factory=list)
    is_open: threading.Event = field(default_factory=threading.Event)

    def read(self, answer: httpx.Response) -> None:
        """Read until the connection is closed."""
        name = data = number = ""
        with suppress(httpx.HTTPError, httpx.StreamError):
            for line in answer.iter_lines():
                self.is_open.set()
                kind, _, text = line.partition(": ")
                if kind == "event":
                    name = text
                elif kind == "data":
                    data += text + "\n"
                elif kind == "id":
                    number = text
                elif not line and name:
                    self.messages.append((name, data.rstrip("\n"), number))
                    name = data = number = ""
        self.is_open.set()

    def wait(self, name: str, within_s: float = 2.0) -> str:
        """The data of the first event of that name; the time is the bound that is promised."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            for event, data, _ in tuple(self.messages):
                if event == name:
                    return data
            time.sleep(0.02)
        raise AssertionError(f"no {name} within {within_s} s: {[each[0] for each in self.messages]}")

    def named(self, name: str) -> list[str]:
        """The data of all events of that name so far."""
        return [data for event, data, _ in tuple(self.messages) if event == name]

    @property
    def last_id(self) -> str:
        """The last number that was given."""
        return next((number for _, _, number in reversed(self.messages) if number), "")


def next_month(months: int = 1) -> date:
    """A delivery month that has not begun."""
    return month_after(month_of(datetime.now(UTC).date() + timedelta(hours=8)), months)  # noqa: TID251


def fill(dsn: str) -> tuple[dict[str, int], dict[str, int], dict[str, str]]:
    """Admit the parties, with one person each who may sign, and a market operator."""
    parties: dict[str, int] = {}
    users: dict[str, int] = {}
    factors: dict[str, str] = {}
    with psycopg.connect(dsn, autocommit=True) as conn:
        users["operator"] = market_world.operator(conn, "operator")
        market_world.operator(conn, "operator2")
        for login, kind, name in PARTIES:
            parties[login] = market_world.admitted_party(conn, kind, name)
            users[login] = market_world.person(conn, parties[login], login)
            factors[login] = stepup_world.second_factor(conn, users[login])
            stepup_world.seal_holder(conn, parties[login], users[login])
            if kind == "retailer":
                lodge(conn, parties[login], GUARANTEE_FEN)
    return parties, users, factors


def lodge(conn: Conn, party_id: int, amount_fen: int) -> None:
    """Lodge a guarantee that a second person has accepted, as the owner."""
    row = conn.execute(
        """INSERT INTO guarantee_instrument (party_id, form, issuer, reference, amount_fen, valid_from, lodged_at, lodged_by)
           VALUES (%s, 'cash', '示范银行', %s, %s, '2026-01-01', '2026-01-02', 'user:1') RETURNING instrument_id""",
        (party_id, f"现金-{party_id}-{next(_number)}", amount_fen),
    ).fetchone()
    assert row is not None
    conn.execute(
        "INSERT INTO guarantee_verdict (instrument_id, verdict, at, actor) VALUES (%s, 'accept', '2026-01-03', 'user:2')",
        (row[0],),
    )
    conn.execute(
        """INSERT INTO guarantee_entry (party_id, kind, amount_fen, instrument_id, purpose_key, at, actor)
           VALUES (%s, 'lodge', %s, %s, %s, '2026-01-03', 'user:2')""",
        (party_id, amount_fen, row[0], f"lodge:{row[0]}"),
    )


@contextmanager
def market(postgres_dsn: str, template: str, folder: Path) -> Iterator[Deals]:
    """One database with the parties in it, served by a real server."""
    name = f"shoudian_deals_{os.getpid()}_{next(_number)}"
    _run(postgres_dsn, "CREATE DATABASE {} TEMPLATE {}", name, template)
    try:
        dsn = make_conninfo(postgres_dsn, dbname=name)
        parties, users, factors = fill(dsn)
        with served(dsn, folder) as (base, app):
            yield Deals(dsn, base, app, parties, users, factors)
    finally:
        _run(postgres_dsn, "DROP DATABASE {} WITH (FORCE)", name)


@contextmanager
def served(dsn: str, folder: Path) -> Iterator[tuple[str, FastAPI]]:
    """A real uvicorn in a thread."""
    settings = {
        "SHOUDIAN_DSN": dsn,
        "SHOUDIAN_HTTP_SECURE_COOKIES": "0",
        "SHOUDIAN_SEALING_KEY": stepup_world.SEALING_KEY.hex(),
        "SHOUDIAN_FILES_FOLDER": str(folder / "files"),
    }
    app = api.make_app(load_config(settings))
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=api.SHUTDOWN_S)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=5), timeout=20, trust_env=False) as http:
            http.get(f"{base}/healthz").raise_for_status()
        yield base, app
    finally:
        app.state.hub.close()
        server.should_exit = True
        thread.join(timeout=api.SHUTDOWN_S + 5)
        listening.close()


def worker(dsn: str) -> db.Pool:
    """A pool for what the worker does."""
    return db.open_pool(dsn, size_max=2)


def _run(dsn: str, statement: str, *names: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
