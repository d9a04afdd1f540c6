"""A check as a tree of steps, each right, wrong, open or only a note. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Finding(StrEnum):
    """What a step found."""

    RIGHT = "right"
    WRONG = "wrong"
    OPEN = "open"  # could not be proven here
    NOTE = "note"  # not asked for, or nothing to prove


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was checked: its key in the words, its figures, the first wrong thing, and what it is made of."""

    key: str
    finding: Finding
    facts: tuple[tuple[str, str], ...] = ()
    problem: str = ""
    children: tuple[Step, ...] = ()


def right(key: str, **facts: object) -> Step:
    """A step that holds."""
    return Step(key, Finding.RIGHT, _facts(facts))


def wrong(key: str, problem: str, **facts: object) -> Step:
    """A step that does not hold."""
    return Step(key, Finding.WRONG, _facts(facts), problem)


def unproven(key: str, problem: str, **facts: object) -> Step:
    """A step that cannot be decided here."""
    return Step(key, Finding.OPEN, _facts(facts), problem)


def note(key: str, **facts: object) -> Step:
    """Something to know."""
    return Step(key, Finding.NOTE, _facts(facts))


def judged(key: str, problems: list[str], **facts: object) -> Step:
    """Right without problems; the first of them else."""
    return wrong(key, problems[0], **facts) if problems else right(key, **facts)


def group(key: str, children: tuple[Step, ...], **facts: object) -> Step:
    """A step that is as good as the worst of its parts."""
    found = {each.finding for each in walk(children)}
    order = (Finding.WRONG, Finding.OPEN, Finding.RIGHT)
    worst = next((each for each in order if each in found), Finding.NOTE)
    return Step(key, worst, _facts(facts), "", children)


def walk(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Every step of a tree, parents first."""
    for each in steps:
        yield each
        yield from walk(each.children)


def first(steps: tuple[Step, ...], finding: Finding) -> Step | None:
    """The first step with a problem of that kind."""
    return next((each for each in walk(steps) if each.finding is finding and each.problem), None)


def _facts(facts: dict[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in facts.items())
