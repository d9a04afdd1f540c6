"""The agent's idea of time. Pure: a `Clock` is handed in, nothing here reads one.

Sampling follows the wall clock's quarter-hours, waiting follows the monotonic clock in short naps, so that a step of
the wall clock is noticed within a second. A step is a difference between what the two clocks say has passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from edge_agent.wire.batch import Quality

STEP_MS: Final = 2_000
STEP_SHADOW_MS: Final = 900_000  # readings within a quarter-hour after a step carry the mark


@dataclass(frozen=True, slots=True)
class ClockState:
    """Where the time comes from and how wrong it may be."""

    source: str  # one of wire.fields.CLOCK_SOURCES
    error_ms: int

    @property
    def trusted(self) -> bool:
        """Whether instants of this clock may be charged."""
        return self.source != "none"


class Clock(Protocol):
    """A wall clock, a monotonic clock and a way to wait. The demonstration hands in one that jumps."""

    def now_ms(self) -> int:
        """UTC, milliseconds since 1970."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back; the zero is arbitrary."""
        ...

    def state(self) -> ClockState:
        """Source and error bound now."""
        ...

    async def sleep_until_ms(self, at_ms: int) -> None:
        """Return when the wall clock has reached `at_ms`, or as much time has passed as it was away then."""
        ...


class StepWatch:
    """Notices when the wall clock is set, from pairs of readings of both clocks."""

    def __init__(self, now_ms: int, monotonic_ms: int) -> None:
        self._offset_ms = now_ms - monotonic_ms
        self._shadow_until_ms = 0

    def observe(self, now_ms: int, monotonic_ms: int) -> int:
        """The step since the last look in milliseconds, 0 if there was none worth the name."""
        step_ms = now_ms - monotonic_ms - self._offset_ms
        self._offset_ms = now_ms - monotonic_ms
        if abs(step_ms) <= STEP_MS:
            return 0
        self._shadow_until_ms = monotonic_ms + STEP_SHADOW_MS
        return step_ms

    def quality(self, monotonic_ms: int) -> Quality:
        """The mark for a reading taken now."""
        return Quality.STEP if monotonic_ms < self._shadow_until_ms else Quality(0)
