"""A disk too full to seal still makes room."""

import asyncio
import sqlite3

import pytest
from test_edge_outbox import NOON_MS, ack, filled, outbox, taken  # noqa: F401  # outbox is a fixture

from edge_agent.outbox import Budget, OutboxRefused
from edge_agent.poll import Store
from edge_agent.replay import ReplayClock
from edge_agent.wire.control import StreamAck


def test_a_disk_too_full_to_seal_still_lets_go_of_what_is_acked(outbox):  # noqa: F811
    """Or nothing would ever make room again."""
    filled(outbox, 40)
    outbox.apply(ack(outbox, StreamAck(0, 40)), NOON_MS)
    clock = ReplayClock(NOON_MS + 10_000, NOON_MS + 20_000, 1)
    store = Store(outbox, Budget(outbox, 10**9, ring_ms=1000), clock, "boot", "bundle")
    pages = outbox.conn.execute("PRAGMA page_count").fetchone()[0]
    outbox.conn.execute(f"PRAGMA max_page_count={pages}")

    def add_until_full():
        for slot in range(50, 5000):
            outbox.add([taken(slot)])

    with pytest.raises(sqlite3.OperationalError, match="full"):
        add_until_full()

    async def seal():
        with pytest.raises(OutboxRefused, match="full"):
            await store.seal()

    try:
        asyncio.run(seal())
    finally:
        store.thread.close()

    assert outbox.conn.execute("SELECT count(*) FROM batch WHERE state = 'acked'").fetchone() == (0,)
