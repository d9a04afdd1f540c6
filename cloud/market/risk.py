"""Risk of a retailer: positions per month and period, indicators against thresholds, and the life of a response. Pure.

Thresholds are dated data (desk/risk-2026.toml), in parts per million. A position counts what the unit bought, less what
it sold, by how it was agreed; the rest of the expected load is exposed to the spot price.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from cloud.contracts.terms import WHOLE_MONTH, ContractKind, WholesaleTerms
from cloud.contracts.volumes import Curve, Periods, volume_curve
from cloud.errors import Invalid
from cloud.lives import Life
from cloud.markettime import days_of_month, month_of

PPM = 1_000_000
KWH_PER_MWH = 1000
COLUMNS = {
    ContractKind.BILATERAL: "contracted",
    ContractKind.AUCTION: "contracted",
    ContractKind.LISTING: "listed",
    ContractKind.ROLLING: "rolling",
    ContractKind.GREEN: "green",
}
PLAN = Life(
    "risk_plan",
    {
        (None, "propose"): "open",
        ("open", "start"): "doing",
        ("open", "drop"): "dropped",
        ("doing", "finish"): "done",
        ("doing", "drop"): "dropped",
    },
)


class BadThresholds(Invalid):
    """The text of thresholds breaks its format."""


class Indicator(StrEnum):
    """What is watched."""

    EXPOSURE = "exposure"
    PRICE = "price"
    CREDIT = "credit"
    GUARANTEE = "guarantee"
    CVAR = "cvar"
    POLICY = "policy"


class Level(StrEnum):
    """How far an indicator is over its thresholds, worse last."""

    WATCH = "watch"
    ALARM = "alarm"
    STOP = "stop"


class Measure(StrEnum):
    """What can be done about a risk (R143)."""

    HEDGE = "hedge"  # 套期保值: buy or sell contracts against the exposure
    CONTRACT = "contract"  # 合同条款调整
    GUARANTEE = "guarantee"  # 信用担保
    WATCH = "watch"  # 加强监测


@dataclass(frozen=True, slots=True)
class Position:
    """One period of a month: kWh bought less sold, by how it was agreed, and the load expected."""

    month: date
    period: str
    contracted_kwh: int
    listed_kwh: int
    rolling_kwh: int
    green_kwh: int
    load_kwh: int

    @property
    def covered_kwh(self) -> int:
        """What is agreed."""
        return self.contracted_kwh + self.listed_kwh + self.rolling_kwh + self.green_kwh

    @property
    def exposed_kwh(self) -> int:
        """What the spot market decides: positive is short of energy, negative has too much."""
        return self.load_kwh - self.covered_kwh


@dataclass(frozen=True, slots=True)
class Change:
    """A policy or rule that is about to change, and the first day on which it is no more as it was."""

    name: str
    from_day: date


@dataclass(frozen=True, slots=True)
class Reading:
    """An indicator's value in ppm; None: it cannot be said, and why is in the facts."""

    indicator: Indicator
    value_ppm: int | None
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which value on an indicator is to be watched, alarms, or stops trading."""

    indicator: Indicator
    watch: int
    alarm: int
    stop: int

    def level_of(self, value_ppm: int | None) -> Level | None:
        """Say which threshold a value has reached; the limits themselves are reached."""
        if value_ppm is None or value_ppm < self.watch:
            return None
        return (
            Level.STOP if value_ppm >= self.stop else Level.ALARM if value_ppm >= self.alarm else Level.WATCH
        )


@dataclass(frozen=True, slots=True)
class MonthLoad:
    """The load expected in a month, laid out over its days and quarter-hours in Wh."""

    month: date
    curve_wh: Curve


def expected_load(month: date, slots_wh: Sequence[int]) -> MonthLoad:
    """Expect every day of a month like the mean day measured lately: 96 quarter-hours, Wh."""
    return MonthLoad(month, tuple(tuple(slots_wh) for _ in days_of_month(month)))


def positions(
    units: Sequence[str], contracts: Sequence[WholesaleTerms], load: MonthLoad, periods: Periods
) -> tuple[Position, ...]:
    """Add up contracts and load of a month by the market's named periods; without names the month is one.

    Raises NoSuchPeriod, NothingToFollow.
    """
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    labels = _labels(load.month, periods)
    for label, wh in _by_label(labels, load.curve_wh).items():
        sums[label]["load"] += (2 * wh + KWH_PER_MWH) // (2 * KWH_PER_MWH)
    for terms in contracts:
        sign = (terms.buyer in units) - (terms.seller in units)
        for volume in terms.volumes_of(load.month) if sign else ():
            curve = volume_curve(terms, volume, periods, load.curve_wh)
            for label, kwh in _by_label(labels, curve).items():
                sums[label][COLUMNS[terms.kind]] += sign * kwh
    return tuple(
        Position(
            load.month,
            label,
            *(sums[label][key] for key in ("contracted", "listed", "rolling", "green", "load")),
        )
        for label in sorted(sums)
    )


def exposure_ppm(found: Sequence[Position]) -> int | None:
    """The largest share of a month's load that is exposed, in either direction; None without load."""
    months: dict[date, list[int]] = defaultdict(lambda: [0, 0])
    for each in found:
        months[each.month][0] += abs(each.exposed_kwh)
        months[each.month][1] += each.load_kwh
    shares = [exposed * PPM // load for exposed, load in months.values() if load > 0]
    return max(shares, default=None)


def price_ppm(days: Sequence[Decimal]) -> int | None:
    """How far the last day's mean price is from the mean of the days before it; None with fewer than two days."""
    if len(days) < 2 or not (before := sum(days[:-1])):
        return None
    return int(abs(days[-1] * (len(days) - 1) - before) * PPM / abs(before))


def policy_ppm(found: Sequence[Position], changes: Sequence[Change]) -> int | None:
    """The share of what is agreed ahead that is delivered in months on or after a change; None: nothing is agreed.

    A month counts whole from the month of the first change on: its energy was agreed under other rules.
    """
    held: dict[date, int] = defaultdict(int)
    for each in found:
        held[each.month] += abs(each.covered_kwh)
    first = min((change.from_day for change in changes), default=date.max)
    touched = sum(kwh for month, kwh in held.items() if month >= month_of(first))
    whole = sum(held.values())
    return None if whole == 0 else touched * PPM // whole


def share_ppm(part: int, whole: int) -> int | None:
    """A share; of nothing it is whole when there is a part, and unsaid when there is none."""
    if whole <= 0:
        return PPM if part > 0 else None
    return max(0, part) * PPM // whole


def thresholds_from(body: str) -> tuple[Threshold, ...]:
    """Read the thresholds: each indicator once, rising. Raises BadThresholds."""
    try:
        rows = tomllib.loads(body)["indicator"]
        found = tuple(
            Threshold(Indicator(row["key"]), int(row["watch"]), int(row["alarm"]), int(row["stop"]))
            for row in rows
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as problem:
        raise BadThresholds("bad_thresholds", problem=str(problem)[:200]) from None
    if {each.indicator for each in found} != set(Indicator) or len(found) != len(Indicator):
        raise BadThresholds("bad_thresholds", problem="each indicator once")
    if any(not 0 < each.watch <= each.alarm <= each.stop for each in found):
        raise BadThresholds("bad_thresholds", problem="0 < watch <= alarm <= stop")
    return found


def _labels(month: date, periods: Periods) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(periods.label_of(day, slot) or WHOLE_MONTH for slot in range(96))
        for day in days_of_month(month)
    )


def _by_label(labels: tuple[tuple[str, ...], ...], curve: Curve) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for names, row in zip(labels, curve, strict=True):
        for label, amount in zip(names, row, strict=True):
            sums[label] += amount
    return sums
