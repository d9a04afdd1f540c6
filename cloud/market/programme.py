"""A demand-response programme as dated data, and the lives of events and results. Pure.

Programmes are read by cloud/market/programmefile.py from the format that programmes/README.md tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from cloud.lives import Life
from cloud.market.response import Band, Ranking, Shortfall

EVENT = Life(
    "response_event",
    {
        (None, "plan"): "planned",
        ("planned", "notify"): "notified",
        ("planned", "cancel"): "cancelled",
        ("notified", "start"): "active",
        ("notified", "cancel"): "cancelled",
        ("active", "end"): "ended",
        ("ended", "assess"): "assessed",
        ("assessed", "confirm"): "confirmed",
        ("assessed", "object"): "disputed",
        ("disputed", "decide"): "assessed",
        ("confirmed", "settle"): "settled",
    },
)
RESULT = Life(
    "response_result",
    {
        (None, "draw"): "drawn",
        ("drawn", "confirm"): "confirmed",
        ("drawn", "silence"): "confirmed",
        ("drawn", "object"): "disputed",
        ("disputed", "reject"): "confirmed",
        ("disputed", "uphold"): "replaced",
        ("confirmed", "settle"): "settled",
    },
)


class Type(StrEnum):
    """How far ahead a response is called."""

    CONTRACTED = "contracted"  # 约定型
    DAY_AHEAD = "day-ahead"
    INTRADAY = "intraday"


class Direction(StrEnum):
    """Whether load goes down or up."""

    REDUCE = "reduce"  # 削峰
    FILL = "fill"  # 填谷


class Basis(StrEnum):
    """Which part of a resource's capacity earns a month's capacity payment 容量补偿."""

    UNCALLED = "uncalled"  # what no call of the month took
    ENROLLED = "enrolled"


class Assess(StrEnum):
    """What the resources of an aggregator are measured against: each its own bid, or all of them their bids together."""

    MEMBER = "member"
    PORTFOLIO = "portfolio"


class Form(StrEnum):
    """How a baseline meets the day it is used on."""

    RATIO = "ratio"
    ADD = "add"


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Day-of adjustment from the `slots` quarter-hours that end `gap_slots` before the event, within limits."""

    form: Form
    slots: int
    gap_slots: int
    low_ratio: Decimal | None
    high_ratio: Decimal | None
    limit_kw: Decimal | None


@dataclass(frozen=True, slots=True)
class BaselineRule:
    """X of Y: `days` of the `of_days` latest eligible days within `look_back_days`, chosen by their energy.

    The `skip_days` days right before the event do not count; a day with less than `least_ratio` of the mean energy of
    the Y is no day of ordinary use (an outage, a stoppage) and gives its place to an earlier one.
    """

    days: int
    of_days: int
    ranking: Ranking
    look_back_days: int
    adjustment: Adjustment | None
    skip_days: int = 0
    least_ratio: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A call or a test answered with less than `least_ratio` of the bid, or not at all, and what it costs.

    Each withholds `withheld_ratio` of the month's capacity payment, all of them no more than the payment.
    """

    least_ratio: Decimal
    withheld_ratio: Decimal


@dataclass(frozen=True, slots=True)
class CapacityRule:
    """What is paid for being there, by kW and month, whether called or not."""

    yuan_per_kw_month: Decimal
    basis: Basis
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Programme:
    """One version of a programme."""

    id: str
    version: int
    sha256: str
    title: str
    type: Type
    direction: Direction
    effective_from: date
    effective_to: date | None
    documents: tuple[str, ...]
    notice_minutes: int
    answer_minutes: int
    objection_days: int
    cap_yuan_per_kwh: Decimal
    band: Band
    penalty: Shortfall | None
    baseline: BaselineRule
    capacity: CapacityRule | None
    assess: Assess

    @property
    def origin(self) -> str:
        """Name this programme and version, as lines and derivations do."""
        return f"{self.id}@{self.version}"

    def is_in_force(self, day: date) -> bool:
        """Whether events of a day may use this version."""
        return self.effective_from <= day and (self.effective_to is None or day < self.effective_to)


@dataclass(frozen=True, slots=True)
class Step:
    """A move of an event or a result."""

    deed: str
    before: str
    after: str
    at: datetime
    actor: str
    reason: str
