"""Which stretches of history the demonstration replays. Pure.

The month is August 2026, the month of the published price table, so that its bill can be made; then the last days before now, so
that today's page has a yesterday. Between the two the sites were not connected.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cloud.markettime import MARKET_ZONE

BILL_MONTH = datetime(2026, 8, 1, tzinfo=MARKET_ZONE)
BILL_MONTH_END = datetime(2026, 9, 1, tzinfo=MARKET_ZONE)
RECENT_DAYS = 7
QUARTER_MS = 900_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of history in milliseconds UTC, both ends read: `first_ms` <= reading <= `last_ms`."""

    first_ms: int
    last_ms: int


def stretches(now: datetime, seen_ms: int | None, *, quick: bool = False) -> tuple[Stretch, ...]:
    """Say what to replay at `now` when the newest reading kept is of `seen_ms` (None: a fresh start).

    `quick` leaves the bill month out and begins with yesterday.

    Raises ValueError before the bill month has ended.
    """
    if now < BILL_MONTH_END:
        raise ValueError(f"the demonstration replays {BILL_MONTH:%Y-%m}, which is not over")
    now_ms = _ms(now)
    today = now.astimezone(MARKET_ZONE).replace(hour=0, minute=0, second=0, microsecond=0)
    recent_ms = max(_ms(BILL_MONTH_END), _ms(today - timedelta(days=1 if quick else RECENT_DAYS)))
    recent = Stretch(recent_ms, now_ms // QUARTER_MS * QUARTER_MS)
    whole = (recent,) if quick else (Stretch(_ms(BILL_MONTH), _ms(BILL_MONTH_END)), recent)
    if seen_ms is None:
        return whole
    next_ms = (seen_ms // QUARTER_MS + 1) * QUARTER_MS
    left = (Stretch(max(stretch.first_ms, next_ms), stretch.last_ms) for stretch in whole)
    return tuple(stretch for stretch in left if stretch.first_ms <= stretch.last_ms)


def _ms(at: datetime) -> int:
    return int(at.timestamp()) * 1000
