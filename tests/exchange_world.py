"""A session with declarations in a real database, and a simulated platform on a real socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import market_world
import psycopg

from cloud import db
from cloud.config import load_config
from cloud.db import Pool, ProcessRole, Scope, open_pool
from cloud.files import FolderVault
from cloud.market.auction import Side
from cloud.market.declaration import Declaration, Packed, content_sha256
from cloud.market.run import convene, host
from cloud.market.sessionfile import rule_from
from cloud.market.store import orders, sessions
from cloud.market.store.sessions import Gate
from cloud.outside.exchange import connected
from cloud.outside.exchange.client import HttpExchange
from cloud.outside.exchange.errands import Room
from cloud.outside.exchangesim.server import Simulator
from cloud.security.access import Actor, Role

SESSION = "JJ-2026-11"
GATE = datetime(2026, 11, 12, 2, 0, tzinfo=UTC)
NOW = GATE - timedelta(hours=1)

Bid = tuple[str, str, Sequence[tuple[int, int, int]]]  # unit, side, (period, ticks, kWh)


class Clock:
    """The instant that both sides read."""

    def __init__(self) -> None:
        self.now = NOW

    def read(self) -> datetime:
        return self.now

    def step(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


@dataclass
class World:
    dsn: str
    pool: Pool
    room: Room
    simulator: Simulator
    platform: HttpExchange
    clock: Clock
    session_id: int

    def bid(
        self, unit: str, side: str, entries: Sequence[tuple[int, int, int]], replaces: int | None = None
    ) -> int:
        """Put a declaration into our book as the owner of the tables would."""
        kind = "SUBMIT" if replaces is None else "REPLACE" if entries else "WITHDRAW"
        return _insert_bid(self.dsn, self.session_id, (kind, unit, side, replaces), entries)

    def close_gate(self) -> None:
        """Close our book as the clock does."""
        with psycopg.connect(self.dsn) as conn:
            db.take_scope(conn, Scope(ProcessRole.WORKER, actor="test"))
            last_seq, book = orders.close(conn, self.session_id, "test", GATE)
            sessions.set_gate(conn, self.session_id, Gate(GATE, last_seq, book))

    def staff(self, login: str) -> Actor:
        """A person of the market operator."""
        with psycopg.connect(self.dsn) as conn:
            return Actor(market_world.operator(conn, login), login, login, Role.STAFF, None, "zh")

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(query).fetchall()


@contextmanager
def world(dsn: str, folder: Path, timeout_s: float = 0.5) -> Iterator[World]:
    """An open session that the platform hosts."""
    clock = Clock()
    simulator = Simulator(folder / "platform", ("127.0.0.1", 0), clock.read)
    thread = threading.Thread(target=simulator.run)
    thread.start()
    pool = open_pool(dsn, size_max=4)
    try:
        lines = (folder / "platform" / "exchange.env").read_text().splitlines()
        environ = dict(line.split("=", 1) for line in lines)
        platform = connected(load_config({"SHOUDIAN_DSN": dsn, **environ}))
        assert isinstance(platform, HttpExchange)
        platform.line = replace(platform.line, timeout_s=timeout_s)
        room = Room(pool, FolderVault(folder / "files"), host.take, "test")
        yield World(dsn, pool, room, simulator, platform, clock, _session(dsn))
    finally:
        pool.close()
        simulator.close()
        thread.join(timeout=5)


def _session(dsn: str) -> int:
    body = convene.rule_texts()["jibei-multiday-24@1"]
    rule = rule_from("rule", body)
    with psycopg.connect(dsn) as conn:
        for name in ("示范发电厂甲", "示范发电厂乙", "示范售电公司", "示范用户"):
            kind = "generator" if "发电" in name else "retailer"
            conn.execute("INSERT INTO party (kind, name) VALUES (%s, %s)", (kind, name))
        row = conn.execute(
            """INSERT INTO trading_session (session_no, title, announcement, rule_id, rule_version, rule_sha256, rule_body,
                   product, is_sealed, shows_curve, period_month, period_label, opens_at, freezes_at, publishes_at, state,
                   drafted_at, drafted_by)
               VALUES (%s, '十二月集中竞价', '', 'jibei-multiday-24', 1, %s, %s, 'energy', true, false,
                   ARRAY['2026-12-01', '2026-12-01']::date[], ARRAY['h01', 'h02'], %s, %s, %s, 'open', %s, 'test')
               RETURNING session_id""",
            (
                SESSION,
                rule.sha256,
                body,
                NOW - timedelta(hours=1),
                GATE,
                GATE + timedelta(hours=2),
                NOW - timedelta(days=1),
            ),
        ).fetchone()
        assert row is not None
        conn.execute("INSERT INTO exchange_session VALUES (%s, 'simulated', %s, 'test')", (row[0], NOW))
    return int(row[0])


def _insert_bid(
    dsn: str,
    session_id: int,
    head: tuple[str, str, str, int | None],
    entries: Sequence[tuple[int, int, int]],
) -> int:
    kind, unit, side, replaces = head
    columns = [[entry[place] for entry in entries] for place in range(3)]
    key, packed = uuid4(), Packed(*(tuple(column) for column in columns))
    said = Declaration(unit, Side(side), () if entries else None, key, replaces)
    content = content_sha256(SESSION, said, packed)
    with psycopg.connect(dsn) as conn:
        row = conn.execute(
            """INSERT INTO bid_event (session_id, kind, party_id, unit_id, side, replaces, period, price_ticks,
                   quantity_kwh, margin_fen, client_key, content_sha256, at, actor)
               VALUES (%s, %s, %s, %s, %s, %s, %s::smallint[], %s::integer[], %s::bigint[], 0, %s, %s, %s, 'test') RETURNING seq""",
            (
                session_id,
                kind,
                int(unit.partition(":")[2]),
                unit,
                side,
                replaces,
                *columns,
                key,
                content,
                NOW,
            ),
        ).fetchone()
        assert row is not None
    return int(row[0])
