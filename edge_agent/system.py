"""The machine the agent runs on: its clocks, its boot, the agent's own version."""

from __future__ import annotations

import asyncio
import ctypes
import time
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Final

from edge_agent.clock import ClockState

NAP_MS: Final = 1_000
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_FIRST_PLAUSIBLE_MS: Final = 1_767_225_600_000  # 2026-01-01: an earlier clock was never set
_ADJTIMEX_BYTES: Final = 256  # struct timex has 208 bytes on 64-bit Linux
_TIME_ERROR: Final = 5  # adjtimex(2): clock not synchronized
_RTC_ERROR_MS: Final = 60_000


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """UTC, milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds since some start."""
        return time.monotonic_ns() // 1_000_000

    def state(self) -> ClockState:
        """ntp when the kernel says the clock is disciplined, rtc when it is merely plausible, else none."""
        error_ms = _kernel_error_ms()
        if error_ms is not None:
            return ClockState("ntp", error_ms)
        return (
            ClockState("rtc", _RTC_ERROR_MS)
            if self.now_ms() >= _FIRST_PLAUSIBLE_MS
            else ClockState("none", 0)
        )

    async def sleep_until_ms(self, at_ms: int) -> None:
        """Wait in naps, so that a clock that is set meanwhile is followed forwards, and never waited for backwards."""
        end_ms = self.monotonic_ms() + max(0, at_ms - self.now_ms())
        while (left_ms := min(at_ms - self.now_ms(), end_ms - self.monotonic_ms())) > 0:
            await asyncio.sleep(min(left_ms, NAP_MS) / 1000)


def boot_id() -> str:
    """The kernel's name for this boot; where there is none, one for this process."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return str(uuid.uuid4())


def agent_version() -> str:
    """The installed version."""
    return version("shoudian")


def _kernel_error_ms() -> int | None:
    """The kernel's bound on the clock's error (adjtimex), None if nobody disciplines it."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    timex = ctypes.create_string_buffer(_ADJTIMEX_BYTES)  # modes = 0: only ask
    if adjtimex(timex) in (-1, _TIME_ERROR):
        return None
    width = ctypes.sizeof(ctypes.c_long)
    error_us = ctypes.c_long.from_buffer(timex, 3 * width).value  # modes (padded), offset, freq, maxerror
    return max(0, error_us // 1000)
