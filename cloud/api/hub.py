"""Wakes the open event streams of this process: one thread listens to the database, each stream waits for its topic.

A topic is what a notification says: `live` for samples of any meter, or the payload of the channel `deals` (a room, a
book, a listing). Nothing is carried but the news that there is something; a stream reads with its own reader's rights.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass, field
from typing import Final

from cloud import db
from cloud.errors import Unavailable

log = logging.getLogger(__name__)

LIVE: Final = "live"
DEALS: Final = "deals"
CHANNELS: Final = (LIVE, DEALS)
RETRY_S: Final = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """An open stream: what it waits for, whose it is, and the event that wakes it."""

    topic: str
    user_id: int
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Hub:
    """The streams of this process, by topic."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seats: dict[str, set[Seat]] = {}

    @property
    def is_over(self) -> bool:
        """Whether the process is stopping."""
        return self._over.is_set()

    def open(self) -> None:
        """Start to listen; called from the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._listen, name="hub", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop to listen and let every stream end. Safe to call twice."""
        self._over.set()
        self._wake_soon("")

    def wait_closed(self) -> None:
        """Wait until nobody listens any more; call after `close`, from a thread that may block."""
        if self._thread is not None:
            self._thread.join()

    def add(self, seat: Seat) -> None:
        """A stream wants to be woken."""
        self._seats.setdefault(seat.topic, set()).add(seat)

    def remove(self, seat: Seat) -> None:
        """The stream is over."""
        seats = self._seats.get(seat.topic, set())
        seats.discard(seat)
        if not seats:
            self._seats.pop(seat.topic, None)

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return sum(map(len, self._seats.values()))

    def of_topic(self, topic: str) -> int:
        """How many streams wait for a topic."""
        return len(self._seats.get(topic, ()))

    def of_person(self, user_id: int) -> int:
        """How many streams a person has open, whatever they wait for."""
        return sum(seat.user_id == user_id for seats in self._seats.values() for seat in seats)

    def _listen(self) -> None:
        while not self.is_over:
            try:
                for channel, payload in db.heard(self._dsn, CHANNELS, self._over.is_set):
                    self._wake_soon(payload if channel == DEALS else channel)
            except Unavailable as problem:
                log.warning("hub.listen.lost problem=%s", problem)
                self._over.wait(RETRY_S)

    def _wake_soon(self, topic: str) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, topic)

    def _wake(self, topic: str) -> None:
        """Wake who waits for a topic; an empty one is everybody."""
        for seats in (self._seats.get(topic, ()),) if topic else tuple(self._seats.values()):
            for seat in seats:
                seat.woken.set()
