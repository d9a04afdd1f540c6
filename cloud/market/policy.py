"""Policy documents: what stands on a day, what expires or was repealed, what is about to change. Pure.

Whether a policy holds follows from its own days and from what later policies say of it; nothing is edited. A later
policy repeals from its effective day on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from cloud.errors import Invalid

EXPIRING_DAYS: Final = 60
KINDS: Final = ("repeals", "amends", "implements")
_LENGTHS: Final[Mapping[str, tuple[int, int]]] = {"number": (2, 100), "title": (2, 300), "issuer": (2, 200)}


class BadPolicy(Invalid):
    """A policy cannot be entered like this; `facts` name the place."""


class Standing(StrEnum):
    """How a policy stands on a day."""

    COMING = "coming"
    IN_FORCE = "in_force"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    REPEALED = "repealed"


@dataclass(frozen=True, slots=True)
class Relation:
    """What a policy does to another, by the other's number, from a day on."""

    kind: str
    number: str
    from_day: date


@dataclass(frozen=True, slots=True)
class NewPolicy:
    """A policy as it is entered; `rules` are the rule files of ours that it touches."""

    number: str
    title: str
    issuer: str
    issued: date
    effective: date
    expires: date | None
    summary: str
    tags: tuple[str, ...]
    rules: tuple[str, ...]
    relations: tuple[Relation, ...]

    def __post_init__(self) -> None:
        for name, (shortest, longest) in _LENGTHS.items():
            if not shortest <= len(getattr(self, name)) <= longest:
                raise BadPolicy("bad_policy", place=name)
        if self.expires is not None and self.expires <= self.effective:
            raise BadPolicy("bad_policy", place="expires")
        if len(self.tags) > 20 or len(self.rules) > 40 or len(self.summary) > 4000:
            raise BadPolicy("bad_policy", place="tags, rules, summary")
        numbers = [(each.kind, each.number) for each in self.relations]
        if len(set(numbers)) != len(numbers) or any(
            each.kind not in KINDS or each.number == self.number or not 2 <= len(each.number) <= 100
            for each in self.relations
        ):
            raise BadPolicy("bad_policy", place="relations")


def standing(effective: date, expires: date | None, repealed: Sequence[date], day: date) -> Standing:
    """How a policy stands on a day; `repealed` are the days from which others repeal it.

    It is expiring for the EXPIRING_DAYS before it ends, by its own words or by another's.
    """
    if any(start <= day for start in repealed):
        return Standing.REPEALED
    if expires is not None and expires <= day:
        return Standing.EXPIRED
    if effective > day:
        return Standing.COMING
    ends = [*repealed, *([] if expires is None else [expires])]
    is_near = any(end <= day + timedelta(days=EXPIRING_DAYS) for end in ends)
    return Standing.EXPIRING if is_near else Standing.IN_FORCE
