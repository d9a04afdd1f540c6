"""The one thread that uses the outbox, so that a slow disk never holds up a bus or the uplink."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


class OutboxRefused(Exception):
    """The disk is full or fails; what was to be kept is not, and may be tried again."""


class OutboxThread:
    """Runs deeds of an outbox one after the other in a thread of their own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox")

    async def do(self, deed: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Await the result of `deed`, which is carried out to its end even when the waiting is cancelled.

        Raises OutboxRefused. A store that turns out to be corrupt is not refused but a fault: the agent ends, and
        the next start checks the file and sets it aside.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, functools.partial(deed, *args, **kwargs))
        except sqlite3.OperationalError as error:
            raise OutboxRefused(str(error)) from error

    def close(self) -> None:
        """Wait for the last deed."""
        self._pool.shutdown(wait=True)
