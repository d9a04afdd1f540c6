"""A small world that owes money, a served cloud and a simulator of both providers, all over real sockets.

Bills are rows and journals as issuing writes them; nothing is rated here.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import uvicorn
from argon2 import PasswordHasher

from cloud.api import app as api
from cloud.billing.ledger import Journal, Posting, item_of, receivable
from cloud.billing.store import ledger as books
from cloud.billing.store import published
from cloud.config import load_config
from cloud.outside.payments import offered
from cloud.outside.payments.errands import Offered
from cloud.outside.paysim import keys
from cloud.outside.paysim.server import Simulator

PASSWORD = "correct horse battery"
_HASH = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
MILL, SHOP, HOME = "1300000000001", "1300000000002", "1300000000003"
AUGUST, SEPTEMBER = date(2026, 8, 1), date(2026, 9, 1)
WAIT_S = 20.0


def clock() -> datetime:
    """The machine's clock: provider calls are judged by it."""
    return datetime.now(UTC)  # noqa: TID251  # a served process reads the real one too


def fill(dsn: str, now: datetime) -> None:
    """Two parties with three accounts, their people, two members of staff, and the published files."""
    with psycopg.connect(dsn) as conn:
        for party_id, name in ((1, "云岭精密制造（示范）有限公司"), (2, "周家（示范）")):
            conn.execute(
                "INSERT INTO party (party_id, kind, name) OVERRIDING SYSTEM VALUE VALUES (%s, 'user', %s)",
                (party_id, name),
            )
        for account_id, party_id, name, category in (
            (MILL, 1, "云岭精密（示范）一厂", "commercial"),
            (SHOP, 1, "云岭精密 门市部", "commercial"),
            (HOME, 2, "周家（示范居民）", "residential"),
        ):
            conn.execute(
                "INSERT INTO account (account_id, party_id, name, address) VALUES (%s, %s, %s, '示范园区')",
                (account_id, party_id, name),
            )
            conn.execute(
                """INSERT INTO account_terms (account_id, effective, category, purchase, structure, voltage)
                   VALUES (%s, '[2025-12-31 16:00+00,)', %s, 'agency', 'single_part', 'lt1kV')""",
                (account_id, category),
            )
        for login, role, party in (
            ("yunling", "customer", 1),
            ("zhou", "customer", 2),
            ("staff", "staff", None),
            ("second", "staff", None),
        ):
            conn.execute(
                "INSERT INTO app_user (login, password_hash, display_name, role, party_id) VALUES (%s, %s, %s, %s, %s)",
                (login, _HASH, login, role, party),
            )
        published.keep(conn, published.packaged_texts(), now)


def owe(dsn: str, account_id: str, month: date, amount_fen: int, *, issued: date, due: date) -> str:
    """Issue a bill of an amount; return its open item."""
    with psycopg.connect(dsn) as conn:
        at = datetime(issued.year, issued.month, issued.day, 4, tzinfo=UTC)
        row = conn.execute(
            """INSERT INTO bill (account_id, month, revision, total_fen, import_wh, state, facts, input_sha256, made_at,
                                 issued_at, issued_by, due_date)
               VALUES (%s, %s, 1, %s, 0, 'issued', '{}', %s, %s, %s, 'test', %s) RETURNING bill_id""",
            (account_id, month, amount_fen, bytes(32), at, at, due),
        ).fetchone()
        assert row is not None
        item = item_of(account_id, month)
        postings = (Posting(receivable(account_id), amount_fen, item), Posting("revenue/energy", -amount_fen))
        books.post(conn, Journal(f"bill:{row[0]}", "issue_bill", issued, issued, postings), at)
        return item


def balance(dsn: str, account: str) -> int:
    """A ledger account's balance, + debit."""
    with psycopg.connect(dsn) as conn:
        return books.balance_fen(conn, account, effective_before=None, booked_before=None)


def rows(dsn: str, query: str, *facts: object) -> list[tuple[object, ...]]:
    """Ask the database directly."""
    with psycopg.connect(dsn) as conn:
        return conn.execute(query, facts).fetchall()


def until(claim: Callable[[], object], what: str, wait_s: float = WAIT_S) -> object:
    """Wait until a claim holds."""
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        found = claim()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"did not happen in {wait_s} s: {what}")


@contextlib.contextmanager
def simulator(folder: Path) -> Iterator[Simulator]:
    """A running simulator of both providers."""
    made = Simulator(folder, ("127.0.0.1", 0), clock)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join(5)


@dataclass
class Served:
    """A `shoudian-cloud serve` process that can be killed and started again."""

    base: str
    environ: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it answers."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cloud", "serve"],
            env=os.environ | self.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self.answers, "the served process answers", 60)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def answers(self) -> bool:
        """Whether it answers."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.base}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @contextlib.contextmanager
    def client(self, login: str) -> Iterator[httpx.Client]:
        """A program's connection, signed in, with the form token in its header."""
        with httpx.Client(
            base_url=self.base, headers={"accept": "application/json"}, trust_env=False, timeout=20
        ) as client:
            assert client.post("/login", data={"login": login, "password": PASSWORD}).status_code == 200
            page = client.get("/", headers={"accept": "text/html"}, follow_redirects=True).text
            client.headers["x-form-token"] = page.split('name="form_token" value="')[1].split('"')[0]
            yield client


def settings(dsn: str, port: int, folder: Path, made: Simulator) -> dict[str, str]:
    """The environment of a cloud that pays with the simulator."""
    return {
        "SHOUDIAN_DSN": dsn,
        "SHOUDIAN_HTTP_PORT": str(port),
        "SHOUDIAN_HTTP_SECURE_COOKIES": "0",
        "SHOUDIAN_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "SHOUDIAN_BANK_HOLDER": "示范售电有限公司",
        "SHOUDIAN_BANK_NUMBER": "6222000000000000001",
        "SHOUDIAN_BANK_NAME": "示范银行",
        **keys.settings(folder, made.base),
    }


@contextlib.contextmanager
def serving_here(dsn: str, port: int, folder: Path, made: Simulator) -> Iterator[Served]:
    """The same cloud in a thread of this process, with real sockets: sooner there than a process."""
    served = Served(f"http://127.0.0.1:{port}", settings(dsn, port, folder, made))
    app = api.make_app(load_config(served.environ))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(served.answers, "the served cloud answers", 60)
        yield served
    finally:
        app.state.hub.close()
        server.should_exit = True
        thread.join(20)


@contextlib.contextmanager
def serving(dsn: str, port: int, folder: Path, made: Simulator) -> Iterator[Served]:
    """A served cloud that pays with the simulator."""
    served = Served(f"http://127.0.0.1:{port}", settings(dsn, port, folder, made))
    served.start()
    try:
        yield served
    finally:
        if served.process is not None:
            served.process.terminate()
            served.process.wait(20)


def adapters(served: Served) -> Offered:
    """The same adapters in this process, as a worker would have them."""
    return offered(load_config(served.environ))


def diary(made: Simulator, what: str) -> list[dict[str, object]]:
    """Entries of the simulator's diary on disk."""
    return [entry for entry in made.book.diary() if entry["what"] == what]


def long_ago(days: int) -> date:
    """A day before today on the market's clock."""
    return (clock() + timedelta(hours=8)).date() - timedelta(days=days)


def dumped(value: object) -> str:
    """A value for an assertion's message."""
    return json.dumps(value, ensure_ascii=False, default=str, indent=1)
