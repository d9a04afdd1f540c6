"""Fields of EBP/1 messages: identifiers, ranges, and the checks that every decoder applies to them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from edge_agent.wire.cose import Malformed

STREAM_BILLING: Final = 0
STREAM_EVENTS: Final = 1
STREAM_BACKFILL: Final = 2
STREAMS: Final = (STREAM_BILLING, STREAM_EVENTS, STREAM_BACKFILL)
SEQ_MAX: Final = (1 << 63) - 1
EPOCH_MAX: Final = (1 << 31) - 1
INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1
FIRST_INSTANT_MS: Final = 946_684_800_000  # 2000-01-01T00:00Z
END_INSTANT_MS: Final = 7_258_118_400_000  # 2200-01-01T00:00Z
CLOCK_SOURCES: Final = frozenset({"ntp", "gnss", "cell", "meter", "rtc", "none"})
GATEWAY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
METER_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)
WORD: Final = re.compile(r"[A-Za-z0-9_.:@+-]{1,64}", re.ASCII)


def whole(h: Mapping[str, Any], key: str, least: int, most: int) -> int:
    """A whole number (no boolean) of `h` within limits. Raises Malformed."""
    value = h[key]
    if type(value) is not int or not least <= value <= most:
        raise Malformed(f"{key} must be a whole number from {least} to {most}")
    return value


def octets(h: Mapping[str, Any], key: str, size: int) -> bytes:
    """A byte string of `h` of this size. Raises Malformed."""
    value = h[key]
    if type(value) is not bytes or len(value) != size:
        raise Malformed(f"{key} must be {size} bytes")
    return value


def text(h: Mapping[str, Any], key: str, alphabet: re.Pattern[str]) -> str:
    """A text of `h` made of this alphabet only. Raises Malformed."""
    value = h[key]
    if type(value) is not str or not alphabet.fullmatch(value):
        raise Malformed(f"{key} must match {alphabet.pattern}")
    return value
