"""The burst before a gate: every participant submits within the same second, over HTTP, to real servers and database.

Run: python -m benchmarks.intake_burst [participants] [processes] [periods]
3,000 participants, 2 server processes (`shoudian-cloud serve`) and 24 periods x 3 segments by default. Everybody is
signed in beforehand; a third are users, a third retailers who lodge a guarantee that each bid binds, a third generators.
Each sends on a connection of its own at an instant drawn from the second. The time of an answer counts from the instant
at which its request should have been sent, so that waiting for a connection is part of it. At the end the
book is compared with the acknowledgements: each of them once, nothing else. Target: p99 <= 3 s, aimed at 1 s.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import httpx
import psycopg
import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.conninfo import make_conninfo

from cloud.db import migrate
from cloud.market.sessionfile import rule_from
from demo.postgres import embedded_postgres

PARTICIPANTS, PROCESSES, PERIODS, SEGMENTS = 3000, 2, 24, 3
SPREAD_S = 1.0
ANSWER_S, START_S = 60.0, 180.0
TARGET_S, AIM_S = 3.0, 1.0
KINDS = ("user", "retailer", "generator")
RULES = {3: "jibei-monthly-auction-1", 24: "jibei-multiday-24-1", 96: "jibei-curve-96-1"}


@dataclass(frozen=True, slots=True)
class Sender:
    """A participant who is signed in, and the declaration it will send."""

    party_id: int
    token: str
    form_token: str
    body: bytes
    client_key: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: after how long, with which status and text."""

    client_key: str
    status: int
    seconds: float
    body: bytes

    @property
    def seq(self) -> int | None:
        """The number that the receipt gives; read when all is over, because the senders share the servers' cores."""
        return json.loads(self.body).get("seq") if self.status in (200, 201) else None


def prepared(dsn: str, count: int, periods: int) -> tuple[int, tuple[Sender, ...]]:
    """Fill an empty migrated database: parties in force, signed in; one open session. Return its id and the senders."""
    now = datetime.now(UTC)  # noqa: TID251  # a benchmark is a composition root
    with psycopg.connect(dsn) as conn:
        session_id = _open_session(conn, now, periods)
        senders = tuple(_sender(conn, number, now, periods) for number in range(count))
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("ANALYZE")
    return session_id, senders


def _open_session(conn: psycopg.Connection[tuple[object, ...]], now: datetime, periods: int) -> int:
    file = f"{RULES[periods]}.toml"
    body = (resources.files("cloud.market") / "sessions" / file).read_text("utf-8")
    rule = rule_from(file, body)
    month = (now + timedelta(days=40)).date().replace(day=1)
    row = conn.execute(
        """INSERT INTO trading_session (session_no, title, announcement, rule_id, rule_version, rule_sha256, rule_body,
               product, is_sealed, shows_curve, period_month, period_label, opens_at, freezes_at, publishes_at, state,
               drafted_at, drafted_by)
           VALUES ('BURST-1', 'burst', '', %s, %s, %s, %s, 'energy', true, true, %s, %s, %s, %s, %s, 'open', %s, 'bench')
           RETURNING session_id""",
        (
            *(rule.rule_id, rule.version, rule.sha256, body, [month] * len(rule.labels), list(rule.labels)),
            *(now - timedelta(hours=1), now + timedelta(hours=1), now + timedelta(hours=2), now),
        ),
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


def _sender(conn: psycopg.Connection[tuple[object, ...]], number: int, now: datetime, periods: int) -> Sender:
    kind = KINDS[number % len(KINDS)]
    row = conn.execute(
        "INSERT INTO party (kind, name, state, subkind) VALUES (%s, %s, 'effective', 'other') RETURNING party_id",
        (kind, f"示范主体{number}"),
    ).fetchone()
    assert row is not None
    party_id = int(str(row[0]))
    user = conn.execute(
        """INSERT INTO app_user (login, password_hash, display_name, role, party_id)
           VALUES (%s, 'none', 'trader', 'customer', %s) RETURNING user_id""",
        (f"trader{number}", party_id),
    ).fetchone()
    assert user is not None
    token, form_token, key = uuid.uuid4().hex, uuid.uuid4().hex, str(uuid.uuid4())
    conn.execute(
        """INSERT INTO user_session (token_sha256, user_id, csrf_token, created_at, seen_at, expires_at)
           VALUES (%s, %s, %s, %s, %s, %s)""",
        (hashlib.sha256(token.encode()).digest(), user[0], form_token, now, now, now + timedelta(hours=2)),
    )
    unit = f"party:{party_id}"
    if kind == "user":
        unit = f"{1_300_000_000_000 + number}"
        conn.execute(
            "INSERT INTO account (account_id, party_id, name, address) VALUES (%s, %s, 'plant', 'park')",
            (unit, party_id),
        )
        conn.execute(
            """INSERT INTO account_terms (account_id, effective, category, purchase, structure, voltage)
               VALUES (%s, '[2020-01-01 00:00+08,)', 'commercial', 'direct', 'single_part', '1-10kV')""",
            (unit,),
        )
    if kind == "retailer":
        _lodge(conn, party_id, now)
    side = "S" if kind == "generator" else "B"
    sign = 1 if side == "S" else -1
    entries = [
        [
            period,
            f"{372 + sign * (segment * 5) + number % 20}.{number % 10}0",
            f"{10 + number % 30}.{number % 9}00",
        ]
        for period in range(1, periods + 1)
        for segment in range(SEGMENTS)
    ]
    body = {"unit": unit, "side": side, "client_key": key, "replaces": None, "entries": entries}
    return Sender(party_id, token, form_token, json.dumps(body).encode(), key)


def _lodge(conn: psycopg.Connection[tuple[object, ...]], party_id: int, now: datetime) -> None:
    """A retailer's guarantee, large enough for its bid."""
    row = conn.execute(
        """INSERT INTO guarantee_instrument (party_id, form, issuer, reference, amount_fen, valid_from, expires_on,
               lodged_at, lodged_by) VALUES (%s, 'insurance', '示范保险', %s, 100000000000, %s, %s, %s, 'bench') RETURNING instrument_id""",
        (party_id, f"P{party_id}", now.date(), (now + timedelta(days=300)).date(), now),
    ).fetchone()
    assert row is not None
    conn.execute(
        "INSERT INTO guarantee_verdict (instrument_id, verdict, at, actor) VALUES (%s, 'accept', %s, 'user:999999')",
        (row[0], now),
    )
    conn.execute(
        """INSERT INTO guarantee_entry (party_id, kind, amount_fen, instrument_id, purpose_key, at, actor)
           VALUES (%s, 'lodge', 100000000000, %s, %s, %s, 'bench')""",
        (party_id, row[0], f"lodge:{party_id}", now),
    )


async def burst(
    ports: Sequence[int], session_id: int, senders: Sequence[Sender], spread_s: float
) -> list[Answer]:
    """Send everything within `spread_s` and wait for every answer."""
    start = time.perf_counter() + 0.2
    tasks = [
        _send(ports[place % len(ports)], session_id, sender, start + spread_s * place / len(senders))
        for place, sender in enumerate(senders)
    ]
    return await asyncio.gather(*tasks)


async def _send(port: int, session_id: int, sender: Sender, at: float) -> Answer:
    head = (
        f"POST /trading/sessions/{session_id}/orders HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Cookie: shoudian_session={sender.token}\r\nx-form-token: {sender.form_token}\r\n"
        f"Content-Type: application/json\r\nAccept: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(sender.body)}\r\n\r\n"
    ).encode()
    await asyncio.sleep(max(0.0, at - time.perf_counter()))
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + sender.body)
            text = await reader.read(-1)
            writer.close()
    except (OSError, TimeoutError):
        return Answer(sender.client_key, 0, time.perf_counter() - at, b"")
    seconds = time.perf_counter() - at
    status = int(text[9:12]) if text[:5] == b"HTTP/" else 0
    return Answer(sender.client_key, status, seconds, text.partition(b"\r\n\r\n")[2])


def differences(dsn: str, session_id: int, senders: Sequence[Sender], answers: Sequence[Answer]) -> list[str]:
    """Compare the book with the acknowledgements: what is in one and not in the other, or twice."""
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(
            "SELECT client_key::text, seq FROM bid_event WHERE session_id = %s AND kind = 'SUBMIT'",
            (session_id,),
        ).fetchall()
    book = {str(key): int(str(seq)) for key, seq in rows}
    said = {answer.client_key: answer.seq for answer in answers if answer.status in (200, 201)}
    found = [f"acknowledged and not in the book: {key}" for key in said.keys() - book.keys()]
    found += [f"another number: {key}" for key in said.keys() & book.keys() if said[key] != book[key]]
    found += [f"in the book and not acknowledged: {key}" for key in book.keys() - said.keys()]
    if len(rows) != len(book):
        found.append(f"{len(rows) - len(book)} declarations twice")
    if book.keys() - {sender.client_key for sender in senders}:
        found.append("a declaration nobody sent")
    return found


@contextmanager
def servers(dsn: str, folder: Path, processes: int) -> Iterator[tuple[int, ...]]:
    """Run `shoudian-cloud serve` in that many processes, as behind a proxy, and end them; lend their ports."""
    key = folder / "receipt.pem"
    key.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(processes)]
        ports = tuple(int(probe.getsockname()[1]) for probe in probes)
    settings = {
        "SHOUDIAN_DSN": dsn,
        "SHOUDIAN_HTTP_SECURE_COOKIES": "0",
        "SHOUDIAN_RECEIPT_KEY_FILE": str(key),
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "cloud", "serve"],
            env=os.environ | settings | {"SHOUDIAN_HTTP_PORT": str(port)},
        )
        for port in ports
    ]
    try:
        for port in ports:
            _wait(port)
        yield ports
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(20)


def _wait(port: int) -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False, timeout=10).raise_for_status()
            return
        except httpx.TransportError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which that part of the values lies."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(part * len(ranked)))]


def main() -> None:
    """Run once and print; exit 1 when something was lost, twice or too slow."""
    given = [int(each) for each in sys.argv[1:]]
    count, processes, periods = (given + [PARTICIPANTS, PROCESSES, PERIODS][len(given) :])[:3]
    with tempfile.TemporaryDirectory() as name, embedded_postgres(Path(name) / "server") as server:
        with psycopg.connect(server.dsn, autocommit=True) as conn:
            conn.execute("CREATE DATABASE burst")
        dsn = make_conninfo(server.dsn, dbname="burst")
        migrate(dsn)
        session_id, senders = prepared(dsn, count, periods)
        with servers(dsn, Path(name), processes) as ports:
            uvloop.run(burst(ports, 2**31 - 1, senders[:50], 0.2))  # code is loaded; no such session
            answers = uvloop.run(burst(ports, session_id, senders, SPREAD_S))
        problems = differences(dsn, session_id, senders, answers)
    good = [answer.seconds for answer in answers if answer.status == 201]
    refused = sorted({answer.status for answer in answers if answer.status != 201})
    print(
        f"{count} participants, {periods} x {SEGMENTS}, {processes} processes, within {SPREAD_S} s, fsync on"
    )
    print(f"acknowledged {len(good)}; other statuses {refused}; differences from the book {len(problems)}")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    p50, p99, worst = quantile(good, 0.5), quantile(good, 0.99), max(good)
    print(
        f"answer after: p50 {p50:.2f} s, p99 {p99:.2f} s, last {worst:.2f} s (target p99 {TARGET_S}, aim {AIM_S})"
    )
    for problem in problems[:10]:
        print(problem)
    sys.exit(bool(problems) or len(good) != count or p99 > TARGET_S)


if __name__ == "__main__":
    main()
