"""What screens show of readings: latest samples and summed days. Pure; display only, never billed.

Live samples are unvalidated and at the meter's face; only their power is multiplied to the primary side here, so
that the number means something to its reader. Validated energy comes from intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from cloud.markettime import SLOTS_PER_DAY
from edge_agent.wire.batch import CANONICAL_DECIMALS, CHANNEL_COLUMN

LIVE_AGE_MAX: Final = timedelta(seconds=30)  # six polls of the fast group
WATT_DECIMALS: Final = 3

# Worst first: a sum is as good as its worst part (numbers: interval quality).
_WORST_FIRST: Final = (0, 3, 4, 2, 1)
MISSING: Final = 0
ESTIMATED: Final = 3


class Freshness(StrEnum):
    """How old a sample is to its reader."""

    LIVE = "live"
    STALE = "stale"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class LiveRow:
    """The latest unvalidated sample of a meter of an account, if there ever was one."""

    meter_id: str
    supply_point_id: str
    supply_point_name: str
    multiplier: int
    taken_at: datetime | None
    ticks: Mapping[str, int | None] | None


@dataclass(frozen=True, slots=True)
class DayRow:
    """The latest revision of a supply point's day: 96 values, None where missing."""

    supply_point_id: str
    day: date
    revision: int
    import_wh: list[int | None]
    export_wh: list[int | None]
    quality: list[int]


@dataclass(frozen=True, slots=True)
class SlotSum:
    """One quarter-hour of an account: sums over its supply points and the worst of their qualities."""

    import_wh: int | None
    export_wh: int | None
    quality: int


NO_SLOT: Final = SlotSum(None, None, MISSING)


def freshness(taken_at: datetime | None, now: datetime) -> Freshness:
    """How old a sample is: at most LIVE_AGE_MAX is live."""
    if taken_at is None:
        return Freshness.MISSING
    return Freshness.LIVE if now - taken_at <= LIVE_AGE_MAX else Freshness.STALE


def power_w(ticks: Mapping[str, int | None] | None, multiplier: int) -> int | None:
    """Primary active power in whole watts, half away from zero; positive = drawn from the grid."""
    value = None if ticks is None else ticks.get("p")
    if value is None:
        return None
    per_watt = int(10 ** (CANONICAL_DECIMALS[CHANNEL_COLUMN["p"]] - WATT_DECIMALS))
    size = (abs(value) * multiplier + per_watt // 2) // per_watt
    return size if value >= 0 else -size


def channel(ticks: Mapping[str, int | None] | None, code: str) -> Decimal | None:
    """A channel at the meter's face in its unit, exact."""
    value = None if ticks is None else ticks.get(code)
    return None if value is None else Decimal(value).scaleb(-CANONICAL_DECIMALS[CHANNEL_COLUMN[code]])


def total_power_w(rows: Sequence[LiveRow]) -> int | None:
    """The account's power: the sum over its meters, or None when any of them has no sample."""
    parts = [power_w(row.ticks, row.multiplier) for row in rows]
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None


def oldest(rows: Sequence[LiveRow]) -> datetime | None:
    """The instant of the oldest sample, which is how old the sum is; None when any meter has none."""
    instants = [row.taken_at for row in rows]
    known = [instant for instant in instants if instant is not None]
    return min(known) if known and len(known) == len(instants) else None


def summed_day(rows: Sequence[DayRow]) -> tuple[SlotSum, ...]:
    """The 96 quarter-hours of an account: known values added up, with the worst quality of the parts."""
    return tuple(_summed_slot(rows, slot) for slot in range(SLOTS_PER_DAY))


def _summed_slot(rows: Sequence[DayRow], slot: int) -> SlotSum:
    if not rows:
        return NO_SLOT
    worst = min((row.quality[slot] for row in rows), key=_WORST_FIRST.index)
    return SlotSum(
        _known_sum([row.import_wh[slot] for row in rows]),
        _known_sum([row.export_wh[slot] for row in rows]),
        worst,
    )


def _known_sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
