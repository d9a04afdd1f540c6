"""A meter's registers: which readings count, and the energy between them. Pure.

The only place where ticks become watt-hours and where the multiplier is applied: the running total of the meter's face
is scaled by the multiplier, floored to whole Wh, then differenced, so the parts add up to the whole exactly.

A register counts at *marks*: the quarter hours, and the instants an installation begins and ends. The reading nearest
to a mark within `snap_ms` stands for it, a meter-stamped one first. Where no reading stands for a mark, those nearest to it
on both sides count at the instant they were taken, so a meter at the end of a slow line, always read minutes late, still
has a curve: its energy is shared over the two quarter hours it lies in. A register that falls is a rollover when it fell
from the top of its range to the bottom and stayed there, else a bad reading; around a bad reading nothing is invented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from cloud.metering.interval import Severity

TICKS_PER_WH = 10  # canonical energy tick: 0.1 Wh or varh
QUARTER_MS = 900_000
DAY_MS = 86_400_000
UNTRUSTED_CLOCK = 1  # Quality.CLOCK of the wire: such a reading bounds no interval


@dataclass(frozen=True, slots=True)
class Rules:
    """Parameters of validation, in force from market day `since`. `version` is what a revision says it was made by."""

    version: int
    since: date
    snap_ms: int
    gap_days_max: int
    rollover_ticks: int
    spike_pct: int
    high_pct: int
    sum_tolerance_pct: Decimal


RULES = (
    # 6 + 2 digits on the face of a DL/T 645 meter: the register rolls over at 1,000,000 kWh.
    # Version 2 uses readings between marks where a mark has none; version 1 let them count for nothing.
    Rules(2, date(2000, 1, 1), 60_000, 7, 10**10, 180, 500, Decimal("0.05")),
)


def rules_for(day: date) -> Rules:
    """Find the rules in force on a market day."""
    return max((rules for rules in RULES if rules.since <= day), key=lambda rules: rules.since)


@dataclass(frozen=True, slots=True)
class RegisterReading:
    """The four energy registers of a meter at an instant, in canonical ticks of its face; None: not read."""

    at_ms: int
    source: int
    quality: int
    batch_id: int
    recollected: bool
    ticks: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Installed:
    """A meter's time at the supply point, `[start_ms, end_ms)`, with its readings in any order."""

    start_ms: int
    end_ms: int | None
    multiplier: int
    readings: tuple[RegisterReading, ...]


class Knot(NamedTuple):
    """A register's count at a mark, or beside one that has none; `ticks` unwrapped, so it never falls within a stretch."""

    at_ms: int
    ticks: int
    batch_id: int
    recollected: bool
    is_at_mark: bool = True


class Stretch(NamedTuple):
    """Energy between two knots of one register that follow each other."""

    start: Knot
    end: Knot
    energy_wh: int

    @property
    def slots(self) -> range:
        """Quarter hours since 1970 that the stretch touches."""
        return range(self.start.at_ms // QUARTER_MS, -(-self.end.at_ms // QUARTER_MS))

    @property
    def is_short(self) -> bool:
        """Tell whether it is shorter than a missing quarter hour: then a straight line is as good as any shape."""
        return self.end.at_ms - self.start.at_ms < 2 * QUARTER_MS

    def overlap_ms(self, slot: int) -> int:
        """How much of a quarter hour the stretch covers."""
        return min(self.end.at_ms, (slot + 1) * QUARTER_MS) - max(self.start.at_ms, slot * QUARTER_MS)


class Trouble(NamedTuple):
    """Something wrong with a register at an instant."""

    at_ms: int
    rule: str
    severity: Severity
    facts: Mapping[str, int | str]


def knots_of(installed: Installed, channel: int, rules: Rules) -> list[Knot]:
    """Choose the readings that count, in order. Unreadable ones and those with an untrusted clock count for nothing."""
    best: dict[int, tuple[tuple[int, int, int, int], Knot]] = {}
    between: dict[tuple[int, int, int], Knot] = {}
    for reading in installed.readings:
        ticks = reading.ticks[channel]
        if ticks is None or reading.quality & UNTRUSTED_CLOCK:
            continue
        mark_ms = _mark(reading.at_ms, installed, rules.snap_ms)
        if mark_ms is None:
            if _is_inside(reading.at_ms, installed):
                key = (reading.at_ms, -reading.source, ticks)
                between[key] = Knot(reading.at_ms, ticks, reading.batch_id, reading.recollected, False)
            continue
        rank = (-reading.source, abs(reading.at_ms - mark_ms), reading.at_ms, ticks)
        if mark_ms not in best or rank < best[mark_ms][0]:
            best[mark_ms] = (rank, Knot(mark_ms, ticks, reading.batch_id, reading.recollected))
    at_marks = {mark_ms: knot for mark_ms, (_, knot) in best.items()}
    ordered = [between[key] for key in sorted(between, reverse=True)]
    return sorted((at_marks | _beside_marks(ordered, at_marks)).values())


def _beside_marks(between: Sequence[Knot], at_marks: Mapping[int, Knot]) -> dict[int, Knot]:
    """Of readings between marks, latest first: the last one before and the first one after each mark that has none."""
    before: dict[int, Knot] = {}
    after: dict[int, Knot] = {}
    for knot in between:
        opening_ms = knot.at_ms // QUARTER_MS * QUARTER_MS
        if opening_ms not in at_marks:
            after[opening_ms] = knot
        if opening_ms + QUARTER_MS not in at_marks:
            known = before.get(opening_ms)
            before[opening_ms] = knot if known is None or known.at_ms == knot.at_ms else known
    return {knot.at_ms: knot for knot in (*before.values(), *after.values())}


def _is_inside(at_ms: int, installed: Installed) -> bool:
    return installed.start_ms <= at_ms and (installed.end_ms is None or at_ms <= installed.end_ms)


def _mark(at_ms: int, installed: Installed, snap_ms: int) -> int | None:
    """The mark a reading stands for: the nearest one, within `snap_ms`, inside the installation."""
    quarter_ms = (at_ms + QUARTER_MS // 2) // QUARTER_MS * QUARTER_MS
    marks_ms = [installed.start_ms, quarter_ms]
    if installed.end_ms is not None:
        marks_ms.append(installed.end_ms)
    inside = [
        mark_ms
        for mark_ms in marks_ms
        if installed.start_ms <= mark_ms and (installed.end_ms is None or mark_ms <= installed.end_ms)
    ]
    nearest = min(inside, key=lambda mark_ms: (abs(mark_ms - at_ms), mark_ms))
    return nearest if abs(nearest - at_ms) <= snap_ms else None


def stretches_of(
    knots: Sequence[Knot], multiplier: int, rules: Rules
) -> tuple[tuple[Stretch, ...], tuple[Trouble, ...]]:
    """Difference the scaled and floored running total between knots; a fall begins anew and is told."""
    chains, troubles = _rising(knots, rules.rollover_ticks)
    stretches = tuple(
        Stretch(before, after, total_wh(after, multiplier) - total_wh(before, multiplier))
        for chain in chains
        for before, after in pairwise(chain)
    )
    return stretches, tuple(troubles)


def total_wh(knot: Knot, multiplier: int) -> int:
    """Scale a register's count by the multiplier and floor it to whole Wh."""
    return knot.ticks * multiplier // TICKS_PER_WH


def _rising(knots: Sequence[Knot], rollover_ticks: int) -> tuple[list[list[Knot]], list[Trouble]]:
    """Split knots into chains whose ticks never fall, dropping single bad readings and unwrapping rollovers."""
    chains: list[list[Knot]] = [[]]
    troubles: list[Trouble] = []
    turns = 0
    for at, raw in enumerate(knots):
        knot = raw._replace(ticks=raw.ticks + turns * rollover_ticks)
        chain = chains[-1]
        if chain and knot.ticks < chain[-1].ticks:
            before = chain[-1]
            facts: dict[str, int | str] = {"from_ticks": before.ticks, "to_ticks": knot.ticks}
            upcoming = knots[at + 1].ticks + turns * rollover_ticks if at + 1 < len(knots) else None
            if len(chain) > 1 and knot.ticks >= chain[-2].ticks:
                chain.pop()
                troubles.append(Trouble(before.at_ms, "negative_consumption", Severity.WARNING, facts))
            elif upcoming is not None and upcoming >= before.ticks:
                troubles.append(Trouble(knot.at_ms, "negative_consumption", Severity.WARNING, facts))
                continue
            elif _rolled_over(before.ticks - turns * rollover_ticks, raw.ticks, rollover_ticks):
                turns += 1
                knot = raw._replace(ticks=raw.ticks + turns * rollover_ticks)
                troubles.append(Trouble(knot.at_ms, "register_rollover", Severity.INFO, facts))
            else:
                chains.append([])
                troubles.append(Trouble(knot.at_ms, "negative_consumption", Severity.ERROR, facts))
        chains[-1].append(knot)
    return chains, troubles


def _rolled_over(before_ticks: int, after_ticks: int, rollover_ticks: int) -> bool:
    tenth = rollover_ticks // 10
    return rollover_ticks - tenth <= before_ticks < rollover_ticks and 0 <= after_ticks < tenth


def loose_slots(stretches: Sequence[Stretch], rules: Rules) -> frozenset[int]:
    """Quarter hours in which what is known begins or ends between marks: part of their energy is in no stretch."""
    loose: set[int] = set()
    ends = [stretch for stretch in stretches if is_estimable(stretch, rules)]
    starts_at = {stretch.start.at_ms for stretch in ends}
    ends_at = {stretch.end.at_ms for stretch in ends}
    for stretch in ends:
        for knot, goes_on in ((stretch.start, ends_at), (stretch.end, starts_at)):
            if not knot.is_at_mark and knot.at_ms not in goes_on:
                loose.add(knot.at_ms // QUARTER_MS)
    return frozenset(loose)


def is_estimable(stretch: Stretch, rules: Rules) -> bool:
    """Tell whether a stretch is short enough to be shared over its slots."""
    return stretch.end.at_ms - stretch.start.at_ms <= rules.gap_days_max * DAY_MS
