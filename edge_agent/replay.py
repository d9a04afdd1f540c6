"""A clock that jumps to the next thing to do: history runs through the real agent as fast as it can be read.

Time stands still while any of the agent's loops works, and jumps when all of them sleep. After `end_ms` the clock
hands over to another one (the machine's), so a replay goes over into live operation. For tests and demonstrations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from edge_agent.clock import Clock, ClockState


class ReplayClock:
    """`sleepers` loops share it: an agent has one per port and one for sealing (`agent.clock_sleepers`).

    `on_jump` is awaited with the new instant before anybody wakes, e.g. to move the simulated meters along. With
    no clock to hand over to (`then`), sleepers stay asleep at the end and `ended` is set.
    """

    def __init__(
        self,
        start_ms: int,
        end_ms: int,
        sleepers: int,
        *,
        on_jump: Callable[[int], Awaitable[None]] | None = None,
        then: Clock | None = None,
    ) -> None:
        self._now_ms = start_ms
        self._end_ms = end_ms
        self._sleepers = sleepers
        self._on_jump = on_jump
        self._then = then
        self._waiting: dict[asyncio.Future[None], int] = {}
        self.ended = asyncio.Event()

    def now_ms(self) -> int:
        """Replayed time, then the other clock's."""
        return self._then.now_ms() if self.ended.is_set() and self._then else self._now_ms

    def monotonic_ms(self) -> int:
        """As the wall clock: history has no steps."""
        return self.now_ms()

    def state(self) -> ClockState:
        """Replayed history was stamped by a good clock."""
        return self._then.state() if self.ended.is_set() and self._then else ClockState("ntp", 0)

    async def sleep_until_ms(self, at_ms: int) -> None:
        """Sleep; the last of the sleepers to lie down makes time jump."""
        if self.ended.is_set() and self._then:
            await self._then.sleep_until_ms(at_ms)
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[waiting] = at_ms
        try:
            if len(self._waiting) >= self._sleepers:
                await self._jump()
            await waiting
        finally:
            self._waiting.pop(waiting, None)

    async def _jump(self) -> None:
        next_ms = max(self._now_ms, min(self._waiting.values()))
        if next_ms >= self._end_ms:
            self._now_ms = self._end_ms
            if self._on_jump:
                await self._on_jump(self._end_ms)
            self.ended.set()
            if self._then:
                self._wake(lambda at_ms: True)
            return
        if next_ms > self._now_ms and self._on_jump:
            await self._on_jump(next_ms)
        self._now_ms = next_ms
        self._wake(lambda at_ms: at_ms <= next_ms)

    def _wake(self, due: Callable[[int], bool]) -> None:
        for waiting in [future for future, at_ms in self._waiting.items() if due(at_ms)]:
            del self._waiting[waiting]
            if not waiting.done():
                waiting.set_result(None)
