"""The one thread that uses the outbox, so that a slow disk never holds up a bus or the uplink."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


class OutboxThread:
    """Runs deeds of an outbox one after the other in a thread of their own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox")

    async def do(self, deed: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Await the result of `deed`, which is carried out to its end even when the waiting is cancelled."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, functools.partial(deed, *args, **kwargs))

    def close(self) -> None:
        """Wait for the last deed."""
        self._pool.shutdown(wait=True)
