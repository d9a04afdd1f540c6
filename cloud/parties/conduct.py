"""Conduct: what a party did, as facts that other rooms note once and a score later rests on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Conduct(StrEnum):
    """A kind of fact, and what its magnitude counts."""

    PAID_ON_TIME = "paid_on_time"  # 0
    PAID_LATE = "paid_late"  # days late
    UNPAID = "unpaid"  # days overdue when it was noted
    DEVIATION = "deviation"  # of a month's contracted energy from the metered, in ppm
    BREACH = "breach"  # of a contract; 0
    VIOLATION = "violation"  # of a market rule; 0
    FINANCIAL = "financial"  # points of 100 from audited accounts
    DATA_QUALITY = "data_quality"  # of a month's quarter-hours measured, not estimated, in ppm
    DEFAULT_DRAW = "default_draw"  # drawn from the guarantee, fen


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that happened; `source_key` is unique within its kind, so that nothing is noted twice."""

    party_id: int
    kind: Conduct
    at: datetime
    magnitude: int
    source_key: str
    document: str
    fact_id: int = 0

    def __post_init__(self) -> None:
        if self.magnitude < 0:
            raise ValueError(f"{self.kind} {self.source_key}: {self.magnitude} is below zero")


def within(facts: Sequence[Fact], since: datetime, until: datetime) -> tuple[Fact, ...]:
    """Take the facts of [since, until), in the order in which they happened."""
    found = (fact for fact in facts if since <= fact.at < until)
    return tuple(sorted(found, key=lambda fact: (fact.at, fact.kind, fact.source_key)))


def of_kinds(facts: Sequence[Fact], kinds: Sequence[Conduct]) -> tuple[Fact, ...]:
    """Take the facts of some kinds."""
    return tuple(fact for fact in facts if fact.kind in kinds)


def still_true(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """Leave out what a later fact has overtaken: a bill that was unpaid and has been paid since, if late."""
    paid = {
        fact.source_key.removeprefix("bill:")
        for fact in facts
        if fact.kind in (Conduct.PAID_LATE, Conduct.PAID_ON_TIME)
    }
    return tuple(
        fact
        for fact in facts
        if fact.kind is not Conduct.UNPAID or fact.source_key.removeprefix("unpaid:") not in paid
    )
