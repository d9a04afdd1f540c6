"""The gate of a session on a real database: many writers, one closing, no number missed; a day of 96 periods."""

from __future__ import annotations

import threading
from datetime import timedelta

import psycopg
import trade_world as world

from cloud import db
from cloud.db import ProcessRole, Scope
from cloud.market.closedbook import bids_of
from cloud.market.run import clear, convene, trade
from cloud.market.sessionbook import book_sha256
from cloud.market.store import clearings, orders, sessions

WORKER = Scope(ProcessRole.WORKER, actor="test")
AFTER = world.FREEZES + timedelta(seconds=1)
PEAK, FLAT = 1, 2


def test_no_late_declaration_is_in_and_no_acknowledged_one_is_missing(database: str) -> None:
    """Writers race with the closing of the gate; the closed book is exactly what was acknowledged."""
    who, session_id = world.opened(database, plants=1, users=12)
    said: list[int] = []
    refused: list[str] = []
    lock = threading.Lock()
    begin = threading.Barrier(len(who.users) + 1)

    def write(actor: world.Actor) -> None:
        seq: int | None = None
        with psycopg.connect(database) as conn:
            begin.wait()
            for number in range(60):
                db.take_scope(conn, WORKER)
                declared = world.sent(who, actor, [(PEAK, f"{380 + number % 50}", "1")], replaces=seq)
                outcome = world.take(conn, session_id, [(actor, declared)])[0]
                conn.commit()
                with lock:
                    if isinstance(outcome, trade.Acknowledged):
                        seq = outcome.seq
                        said.append(seq)
                    else:
                        refused.append(outcome.key)

    threads = [threading.Thread(target=write, args=(actor,)) for actor in who.users]
    for each in threads:
        each.start()
    begin.wait()
    with psycopg.connect(database) as conn:
        while len(said) < 100:
            threading.Event().wait(0.005)
        world.as_person(conn, who.operator)
        convene.freeze(conn, who.operator, session_id, "提前截止演练", world.DURING)
    for each in threads:
        each.join(30)

    with psycopg.connect(database) as conn:
        row = sessions.find(conn, session_id)
        assert row is not None
        assert row.last_seq is not None
        kept = [seq for (seq,) in conn.execute("SELECT seq FROM bid_event WHERE kind <> 'CLOSE'").fetchall()]
        assert sorted(kept) == sorted(said)
        assert max(kept) < row.last_seq
        assert refused, "the race was over before the gate closed"
        assert set(refused) == {"gate_closed"}
        assert row.book_sha256 == book_sha256(
            bids_of(row.session_no, orders.book(conn, session_id, row.last_seq))
        )


def test_who_reads_by_number_misses_no_event_of_many_writers(database: str) -> None:
    who, session_id = world.opened(database, plants=1, users=6)
    seen: list[int] = []
    done = threading.Event()

    def follow() -> None:
        with psycopg.connect(database, autocommit=True) as conn:
            while True:
                is_last = done.is_set()
                seen.extend(
                    each.seq for each in orders.events_after(conn, session_id, seen[-1] if seen else 0)
                )
                if is_last:
                    return

    def write(actor: world.Actor) -> None:
        seq: int | None = None
        with psycopg.connect(database) as conn:
            for number in range(25):
                db.take_scope(conn, WORKER)
                declared = world.sent(who, actor, [(PEAK, f"{380 + number}", "1")], replaces=seq)
                seq = world.kept(world.take(conn, session_id, [(actor, declared)])[0]).seq
                conn.commit()

    reader = threading.Thread(target=follow)
    writers = [threading.Thread(target=write, args=(actor,)) for actor in who.users]
    for each in (reader, *writers):
        each.start()
    for each in writers:
        each.join(40)
    done.set()
    reader.join(10)

    with psycopg.connect(database) as conn:
        assert seen == [seq for (seq,) in conn.execute("SELECT seq FROM bid_event ORDER BY seq").fetchall()]


def test_ninety_six_periods_of_three_segments_clear_each_by_itself(database: str) -> None:
    with psycopg.connect(database) as conn:
        who = world.people(conn)
        session_id = world.announced(conn, who, rule="jibei-curve-96@1", number="TEST-96")
        sessions.ring(conn, world.DURING)
        db.take_scope(conn, WORKER)
        for actor, base, step in ((who.users[0], 420, -10), (who.plants[0], 330, 10)):
            given = [
                (period, f"{base + step * segment}", f"{period}.500")
                for period in range(1, 97)
                for segment in range(3)
            ]
            acknowledged = world.kept(*world.take(conn, session_id, [(actor, world.sent(who, actor, given))]))
            assert len(acknowledged.period) == 288
        convene.look(conn, AFTER)
        db.take_scope(conn, Scope(ProcessRole.OWNER))
        clear.clear(conn, who.operator, session_id, "", AFTER)
        prices = clearings.prices_of(conn, session_id, 1)
        # every offer is below every bid: all of 3 x (p + 0.5) MWh trades at the mean of 400 and 350
        assert [(each.volume_kwh, each.price_ticks) for each in prices] == [
            (3 * (period * 1000 + 500), 37_500) for period in range(1, 97)
        ]
