"""What is rated: a stretch of days in which nothing changes, with its terms and measured energy. Pure.

A billing month is one segment, or several when terms, price files or the account itself change inside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache

from cloud.billing.line import PERIODS, Period
from cloud.billing.tariff import Calendar
from cloud.markettime import SLOTS_PER_DAY, SLOTS_PER_HOUR
from cloud.metering.interval import IntervalDay, IntervalQuality
from cloud.money import EXACT

# Qualities that stand on a reading of the meter; everything else that has a value is a stand-in.
MEASURED = frozenset({int(IntervalQuality.ACTUAL), int(IntervalQuality.RECOLLECTED)})


class DemandMode(StrEnum):
    """How the basic charge is taken (发改办价格〔2016〕1583号)."""

    NONE = "none"
    CAPACITY = "capacity"
    CONTRACTED = "contracted"
    ACTUAL = "actual"


@dataclass(frozen=True, slots=True)
class Terms:
    """The rating facts of an account as they are between two changes."""

    category: str
    purchase: str
    structure: str
    voltage: str
    demand_mode: DemandMode
    capacity_kva: int | None
    contract_demand_kw: int | None
    power_factor_standard: Decimal | None  # None: not assessed
    option: str = ""  # which catalogue price, where the customer has a choice: "ladder", "ladder_tou", …


@dataclass(frozen=True, slots=True)
class Demand:
    """The highest 15-minute average power of one supply point and when it was."""

    supply_point_id: str
    demand_kw: Decimal
    day: date
    slot: int


@dataclass(frozen=True, slots=True)
class DayUse:
    """Imported Wh of one trading day by period, in the order of PERIODS; all supply points together."""

    day: date
    import_wh: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Measured energy of a segment: Wh by period in the order of PERIODS, reactive energy, demands."""

    import_wh: tuple[int, ...]
    export_wh: int
    import_varh: int
    export_varh: int
    demands: tuple[Demand, ...]  # one per supply point, in the order of their ids
    estimated_slots: int  # slots whose value is not measured (estimated or entered by hand)
    days: tuple[DayUse, ...] = ()  # the same import Wh by day

    @property
    def total_wh(self) -> int:
        """Add up the periods."""
        return sum(self.import_wh)

    @property
    def reactive_varh(self) -> int:
        """Add forward and reverse reactive energy in absolute value ((83)水电财字第215号, 2(2))."""
        return abs(self.import_varh) + abs(self.export_varh)

    @property
    def demand_kw(self) -> Decimal:
        """Add up the supply points' demands: each line by itself, then summed (1583号)."""
        result = Decimal(0)
        for demand in self.demands:
            result = EXACT.add(result, demand.demand_kw)
        return result


@dataclass(frozen=True, slots=True)
class Segment:
    """Days `[first_day, end_day)` under one set of terms."""

    first_day: date
    end_day: date
    terms: Terms
    usage: Usage

    @property
    def days(self) -> int:
        """Count the days of service."""
        return (self.end_day - self.first_day).days


def usage_from(days: Sequence[IntervalDay], calendar: Calendar) -> Usage:
    """Sum interval days into a segment's usage.

    Demand is the largest interval import x 4 (15-minute average power); the meter's own maximum-demand
    register is not used: it is one number a month without a trace, and it cannot be split where a segment ends.
    The days must be complete. Raises ValueError when a slot has no value; callers refuse before that.
    """
    by_day: dict[date, list[int]] = {}
    export_wh = import_varh = export_varh = estimated = 0
    peaks: dict[str, tuple[int, date, int]] = {}
    for each in sorted(days, key=lambda day: (day.supply_point_id, day.day)):
        imported = _known(each)
        day_wh = by_day.setdefault(each.day, [0] * len(PERIODS))
        for index, slots in enumerate(_slots_by_period(calendar.day(each.day))):
            day_wh[index] += sum(map(imported.__getitem__, slots))
        highest = max(imported)
        if each.supply_point_id not in peaks or highest > peaks[each.supply_point_id][0]:
            peaks[each.supply_point_id] = (highest, each.day, imported.index(highest))
        estimated += sum(quality not in MEASURED for quality in each.quality)
        export_wh += sum(filter(None, each.export_wh))
        import_varh += sum(filter(None, each.import_varh))
        export_varh += sum(filter(None, each.export_varh))
    return Usage(
        import_wh=tuple(sum(day[index] for day in by_day.values()) for index in range(len(PERIODS))),
        export_wh=export_wh,
        import_varh=import_varh,
        export_varh=export_varh,
        demands=tuple(_demand(point, *peak) for point, peak in sorted(peaks.items())),
        estimated_slots=estimated,
        days=tuple(DayUse(day, tuple(wh)) for day, wh in sorted(by_day.items())),
    )


def missing_slots(interval_day: IntervalDay, *, reactive: bool) -> tuple[int, ...]:
    """List the slots of a day that lack import energy, or reactive energy where that is billed too.

    A meter without a reverse reactive register has none in the whole day: that is not a gap.
    """
    needed = [interval_day.import_wh]
    if reactive:
        needed.append(interval_day.import_varh)
        if any(value is not None for value in interval_day.export_varh):
            needed.append(interval_day.export_varh)
    return tuple(slot for slot in range(SLOTS_PER_DAY) if any(column[slot] is None for column in needed))


def _demand(supply_point_id: str, wh: int, day: date, slot: int) -> Demand:
    return Demand(supply_point_id, EXACT.scaleb(Decimal(wh * SLOTS_PER_HOUR), -3), day, slot)


@lru_cache(maxsize=64)
def _slots_by_period(day: tuple[Period, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(slot for slot, each in enumerate(day) if each is period) for period in PERIODS)


def _known(each: IntervalDay) -> tuple[int, ...]:
    known = tuple(wh for wh in each.import_wh if wh is not None)
    if len(known) != SLOTS_PER_DAY:
        raise ValueError(f"{each.supply_point_id} {each.day} slot {each.import_wh.index(None)} has no value")
    return known
