"""How far a settlement run is: the fold of its events. Pure; nothing else remembers the state of a run.

A stage is done for a unit (or for the market as a whole) when an event says so that no later restart of it, or of a
stage before it, has undone. So a worker that is killed leaves either the work and its event, or neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Stage(StrEnum):
    """The stages in their order."""

    COLLECT = "collect"
    CHECK = "check"
    SETTLE = "settle"
    BALANCE = "balance"
    DRAW = "draw"
    PUBLISH = "publish"
    CONFIRM = "confirm"
    FINAL = "final"
    BILLS = "bills"


STAGES = tuple(Stage)
WHOLE_MARKET = frozenset({Stage.BALANCE})  # one unit of work: the books


class Outcome(StrEnum):
    """What an event says."""

    DONE = "done"
    BLOCKED = "blocked"
    RESTART = "restart"  # of a stage, for one unit or for all: it and what follows is to be done again
    DEFER = "defer"  # a unit's energy goes to the next run; its contracts are settled
    ACCEPT = "accept"  # a person takes a doubt upon themselves
    REVIEW = "review"  # a person has looked at the drawn statements: they may be published


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the log."""

    event_id: int
    stage: Stage
    unit_id: str | None
    outcome: Outcome
    at: datetime
    actor: str
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Blocker:
    """What stands in the way of a unit at a stage; `kind` chooses the sentence, `facts` fill it in."""

    stage: Stage
    unit_id: str | None
    kind: str
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Progress:
    """Per stage the units that are done, what blocks, who was deferred, and which doubts were accepted."""

    done: Mapping[Stage, frozenset[str | None]]
    blockers: tuple[Blocker, ...]
    deferred: frozenset[str]
    accepted: frozenset[tuple[str | None, str]]
    is_reviewed: bool
    last: Mapping[tuple[Stage, str | None], Event] = field(default_factory=dict)

    def is_done(self, stage: Stage, unit_id: str | None) -> bool:
        """Whether the stage is done for the unit."""
        return unit_id in self.done[stage]

    def open(self, stage: Stage, units: Iterable[str]) -> tuple[str | None, ...]:
        """List what the stage has still to do, in the order of the units."""
        wanted: tuple[str | None, ...] = (None,) if stage in WHOLE_MARKET else tuple(units)
        return tuple(unit for unit in wanted if unit not in self.done[stage])


def progress_of(events: Iterable[Event]) -> Progress:
    """Fold a run's events, in the order of their numbers."""
    last: dict[tuple[Stage, str | None], Event] = {}
    deferred: set[str] = set()
    accepted: set[tuple[str | None, str]] = set()
    reviewed = False
    for event in events:
        match event.outcome:
            case Outcome.RESTART:
                last = {key: kept for key, kept in last.items() if not _undone(key, event)}
                reviewed = False
                if event.stage in (Stage.COLLECT, Stage.CHECK):
                    deferred = {unit for unit in deferred if event.unit_id not in (None, unit)}
            case Outcome.DEFER if event.unit_id is not None:
                deferred.add(event.unit_id)
            case Outcome.ACCEPT:
                accepted.add((event.unit_id, str(event.facts.get("kind"))))
            case Outcome.REVIEW:
                reviewed = True
            case _:
                last[event.stage, event.unit_id] = event
    return Progress(
        {
            stage: frozenset(
                unit for (at, unit), e in last.items() if at is stage and e.outcome is Outcome.DONE
            )
            for stage in STAGES
        },
        tuple(blocker for event in last.values() for blocker in blockers_of(event)),
        frozenset(deferred),
        frozenset(accepted),
        reviewed,
        last,
    )


def blockers_of(event: Event) -> tuple[Blocker, ...]:
    """Read what an event names as being in the way."""
    if event.outcome is not Outcome.BLOCKED:
        return ()
    found = event.facts.get("blockers")
    return tuple(
        Blocker(event.stage, event.unit_id, str(each["kind"]), dict(each.get("facts", {})))
        for each in (found if isinstance(found, list) else [])
    )


def _undone(key: tuple[Stage, str | None], restart: Event) -> bool:
    """A restart undoes the stage and all after it: of that unit, and of the market, whose books rest on every unit."""
    stage, unit_id = key
    if STAGES.index(stage) < STAGES.index(restart.stage):
        return False
    books_first = STAGES.index(stage) >= STAGES.index(Stage.BALANCE)
    return restart.unit_id in (None, unit_id) or books_first
