"""What to read next on one line. Pure: instants come in, tasks come out.

Three kinds of reading, in this order of urgency:

* `BILL`: the registers that are charged, of every meter at every wall-clock quarter-hour; again after a minute if
  it failed. Instants: an answer within 30 s after the boundary is the reading *of* the boundary, because bills are
  made of boundary readings and the register has moved on by at most 30 s of load, which the next interval gives
  back; a later answer keeps its own instant and validation interpolates.
* `DETAIL`: power, voltages, currents of the same instant, if read within two minutes of it, once the registers are
  in. Never charged.
* `LIVE`: values for the eye every few seconds; skipped, never queued, when the line is slow.

An agent that starts between two boundaries reads the registers at once, with the instant of the answer.

A silent meter must not cost the others their turn: after `max_unanswered` failures in a row it rests, from the
profile's shortest pause doubling to its longest, and is then asked after all meters that answer; on a line that is
never idle one task in twenty is such a question.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

QUARTER_HOUR_MS: Final = 900_000
BOUNDARY_TOLERANCE_MS: Final = 30_000
DETAIL_WITHIN_MS: Final = 120_000
BILL_AGAIN_MS: Final = 60_000
LINE_AGAIN_MS: Final = 5_000
RESTING_ONE_IN: Final = 20
_NEVER_MS: Final = 1 << 62


class Kind(IntEnum):
    """What a task is for; the smaller the more urgent."""

    BILL = 0
    DETAIL = 1
    LIVE = 2


class Outcome(Enum):
    """How a task ended."""

    ANSWERED = "answered"
    SILENT = "silent"
    LINE_DOWN = "line down"  # says nothing about the meter


@dataclass(frozen=True, slots=True)
class PlannedMeter:
    """One meter as the plan sees it."""

    meter_id: str
    bill: frozenset[str]
    detail: frozenset[str]
    live: frozenset[str]
    max_unanswered: int
    rest_s: tuple[int, int]  # shortest, longest


@dataclass(frozen=True, slots=True)
class Task:
    """Read these channels of this meter now. `slot_ms` is the boundary, or for DETAIL the instant to add to."""

    meter_id: str
    kind: Kind
    slot_ms: int
    channels: frozenset[str]


def slot_of_ms(now_ms: int) -> int:
    """The quarter-hour boundary at or before this instant."""
    return now_ms - now_ms % QUARTER_HOUR_MS


def instant_of_ms(task: Task, answered_ms: int) -> int:
    """The instant that a reading is the reading of (see above)."""
    if task.kind is Kind.DETAIL:
        return task.slot_ms
    near = 0 <= answered_ms - task.slot_ms <= BOUNDARY_TOLERANCE_MS
    return task.slot_ms if task.kind is Kind.BILL and near else answered_ms


@dataclass(slots=True)
class _Course:
    """Where one meter stands."""

    meter: PlannedMeter
    bill_due_ms: int
    live_due_ms: int
    detail_of_ms: int | None = None
    unanswered_count: int = 0
    rest_s: int = 0
    rest_until_ms: int = 0


class Plan:
    """The tasks of one line. Ask `next`, do the task, tell `done`; when `next` is None, sleep till `wake_at_ms`."""

    def __init__(
        self, meters: Iterable[PlannedMeter], now_ms: int, *, live_every_s: int, detail_every_s: int
    ) -> None:
        self._live_every_ms = live_every_s * 1000
        self._detail_every_ms = detail_every_s * 1000
        live_due_ms = now_ms if live_every_s else _NEVER_MS
        self._courses = {meter.meter_id: _Course(meter, now_ms, live_due_ms) for meter in meters}
        self._since_resting = 0

    def next(self, now_ms: int) -> Task | None:
        """The most urgent task that is due, or None."""
        due = [(course, task) for course in self._courses.values() if (task := self._due(course, now_ms))]
        awake = [(course, task) for course, task in due if not course.rest_s]
        resting = [(course, task) for course, task in due if course.rest_s]
        choice = resting if not awake or (resting and self._since_resting >= RESTING_ONE_IN) else awake
        return min(choice, key=lambda pair: _urgency(*pair))[1] if choice else None

    def _due(self, course: _Course, now_ms: int) -> Task | None:
        meter = course.meter
        if course.rest_until_ms > now_ms:
            return None
        if course.bill_due_ms <= now_ms:
            return Task(meter.meter_id, Kind.BILL, slot_of_ms(now_ms), meter.bill)
        if course.detail_of_ms is not None:
            if now_ms - course.detail_of_ms <= DETAIL_WITHIN_MS:
                return Task(meter.meter_id, Kind.DETAIL, course.detail_of_ms, meter.detail)
            course.detail_of_ms = None
        if course.live_due_ms <= now_ms:
            return Task(meter.meter_id, Kind.LIVE, slot_of_ms(now_ms), meter.live)
        return None

    def wake_at_ms(self, now_ms: int) -> int:
        """When something may become due; at the latest the next quarter-hour."""
        due_ms = [
            max(course.rest_until_ms, min(course.bill_due_ms, course.live_due_ms))
            for course in self._courses.values()
        ]
        return max(now_ms + 1, min([slot_of_ms(now_ms) + QUARTER_HOUR_MS, *due_ms]))

    def done(self, task: Task, outcome: Outcome, now_ms: int) -> None:
        """Take note of how a task ended. For an answered BILL task `now_ms` is the instant of the answer."""
        course = self._courses[task.meter_id]
        self._since_resting = 0 if course.rest_s else self._since_resting + 1
        if outcome is Outcome.ANSWERED:
            course.unanswered_count, course.rest_s, course.rest_until_ms = 0, 0, 0
        elif outcome is Outcome.SILENT:
            self._failed(course, now_ms)
        match task.kind:
            case Kind.BILL:
                self._bill_done(course, task, outcome, now_ms)
            case Kind.DETAIL:
                course.detail_of_ms = None
            case Kind.LIVE:
                course.live_due_ms = now_ms - now_ms % self._live_every_ms + self._live_every_ms

    def _bill_done(self, course: _Course, task: Task, outcome: Outcome, now_ms: int) -> None:
        next_slot_ms = task.slot_ms + QUARTER_HOUR_MS
        if outcome is Outcome.ANSWERED:
            course.bill_due_ms = next_slot_ms
            instant_ms = instant_of_ms(task, now_ms)
            wanted = course.meter.detail and self._detail_every_ms
            if wanted and instant_ms == task.slot_ms and task.slot_ms % self._detail_every_ms == 0:
                course.detail_of_ms = instant_ms
        else:
            pause_ms = BILL_AGAIN_MS if outcome is Outcome.SILENT else LINE_AGAIN_MS
            course.bill_due_ms = min(now_ms + pause_ms, max(next_slot_ms, now_ms + 1))

    def _failed(self, course: _Course, now_ms: int) -> None:
        course.unanswered_count += 1
        shortest_s, longest_s = course.meter.rest_s
        if course.unanswered_count >= course.meter.max_unanswered:
            course.rest_s = min(max(shortest_s, course.rest_s * 2), longest_s)
            course.rest_until_ms = now_ms + course.rest_s * 1000

    def clock_stepped(self, now_ms: int) -> None:
        """The wall clock was set: everything is due, as instants planned by the old time mean nothing now."""
        for course in self._courses.values():
            course.bill_due_ms, course.detail_of_ms = now_ms, None
            course.live_due_ms = now_ms if self._live_every_ms else _NEVER_MS
            course.rest_until_ms = min(course.rest_until_ms, now_ms + course.rest_s * 1000)

    def settled(self, now_ms: int) -> bool:
        """Whether nothing more is to come for the current quarter-hour from meters that answer.

        A meter that failed is asked again a minute after its failure; nobody waits for that.
        """
        slot_ms = slot_of_ms(now_ms)
        return all(
            course.rest_s or (course.bill_due_ms >= slot_ms + BILL_AGAIN_MS and course.detail_of_ms is None)
            for course in self._courses.values()
        )

    def resting(self, meter_id: str) -> bool:
        """Whether this meter is asked only now and then."""
        return self._courses[meter_id].rest_s > 0


def _urgency(course: _Course, task: Task) -> tuple[bool, int]:
    """Registers first; then whatever has waited longest, so that neither detail nor live starves."""
    since_ms = course.live_due_ms if task.kind is Kind.LIVE else task.slot_ms
    return task.kind is not Kind.BILL, since_ms
