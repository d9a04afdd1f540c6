"""The disk policy: what goes when the store grows, in this order, and never billing data without a word.

Filling is that of the store against its limit, the smaller of the configured one and 70 % of the partition:
from 80 % an alarm, and diagnostic readings are no longer kept; from 90 % acked batches go, oldest first; from 95 %
readings that wait are thinned to the first of each meter and quarter-hour, and how many is told. What was not acked
stays, whatever the filling. Acked batches older than the ring's length go in any case.
"""

from __future__ import annotations

import os
from enum import IntEnum
from pathlib import Path
from typing import Final

from edge_agent.outbox.store import Outbox
from edge_agent.wire.event import Event

QUARTER_HOUR_MS: Final = 900_000
PARTITION_PERMILLE: Final = 700
GONE_PER_CALL_MAX: Final = 500
VACUUM_PAGES: Final = 1024


class Filling(IntEnum):
    """Steps of filling, in permille of the limit."""

    EASY = 0
    ALARM = 800
    DROP_ACKED = 900
    THIN = 950


def limit_bytes(folder: Path, configured_bytes: int) -> int:
    """The smaller of what is configured and 70 % of the partition that holds `folder`."""
    disk = os.statvfs(folder)
    return min(configured_bytes, disk.f_frsize * disk.f_blocks * PARTITION_PERMILLE // 1000)


class Budget:
    """Keeps one outbox within its limit; `permille` is the filling after the last `tidy`."""

    def __init__(self, outbox: Outbox, bytes_max: int, ring_ms: int) -> None:
        self._outbox = outbox
        self._bytes_max = bytes_max
        self._ring_ms = ring_ms
        self._said = Filling.EASY
        self.permille = self._measured()

    def tidy(self, now_ms: int) -> int:
        """Let go of what may go; returns the filling in permille afterwards. Call after each sealing."""
        self._drop_acked(before_ms=now_ms - self._ring_ms)
        while self._measured() >= Filling.DROP_ACKED and self._drop_acked(before_ms=now_ms + 1):
            pass
        if self._measured() >= Filling.THIN:
            self._thin(now_ms)
        # executescript: execute() takes one step of this statement, which frees a single page.
        self._outbox.conn.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
        self.permille = self._measured()
        self._outbox.diagnostics = self.permille < Filling.ALARM
        self._tell(now_ms)
        return self.permille

    def _measured(self) -> int:
        pages, free, size = (
            self._outbox.conn.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size * 1000 // self._bytes_max)

    def _drop_acked(self, *, before_ms: int) -> int:
        return self._outbox.conn.execute(
            "DELETE FROM batch WHERE batch_id IN (SELECT batch_id FROM batch WHERE state='acked' AND acked_ms<?"
            " ORDER BY acked_ms, batch_id LIMIT ?)",
            (before_ms, GONE_PER_CALL_MAX),
        ).rowcount

    def _thin(self, now_ms: int) -> None:
        same_quarter = f"earlier.taken_at_ms/{QUARTER_HOUR_MS} = reading.taken_at_ms/{QUARTER_HOUR_MS}"
        gone = self._outbox.conn.execute(
            "DELETE FROM reading WHERE EXISTS (SELECT 1 FROM reading AS earlier WHERE earlier.stream=reading.stream"
            f" AND earlier.meter_id=reading.meter_id AND {same_quarter}"
            " AND earlier.taken_at_ms < reading.taken_at_ms)"
        ).rowcount
        if gone:
            self._outbox.note(Event("readings_thinned", now_ms, {"rows": gone, "permille": self._measured()}))

    def _tell(self, now_ms: int) -> None:
        """One event when a step is reached, one when it is left."""
        step = max(step for step in Filling if self.permille >= step)
        if step != self._said:
            self._said = step
            self._outbox.note(Event("disk_filling", now_ms, {"permille": self.permille, "step": step.name}))
