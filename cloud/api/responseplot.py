"""The plot of an event: baseline against actual, of a participant or of a portfolio, drawn into a box of 1000 x 400."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from cloud.market.run.respond import Seen
from cloud.market.store.response import EventRow
from cloud.markettime import SLOTS_PER_DAY, SLOTS_PER_HOUR, slot_label

_MARGIN_SLOTS: Final = 8  # what the plot shows before and after the event
_LINES: Final = 4  # between 0 and the top
_WIDTH: Final = 1000
_HEIGHT: Final = 400


@dataclass(frozen=True, slots=True)
class Plot:
    """The hours around an event: lines in the box, the labels at its edges, and the numbers behind it."""

    event_x: int
    event_width: int
    base: str
    actual: tuple[str, ...]
    gap: str  # between both, from the event's beginning as far as it is measured
    marks: tuple[tuple[int, str], ...]  # per cent from above, kW
    hours: tuple[str, ...]  # at equal distances
    rows: tuple[tuple[str, str, str, bool], ...]  # label, baseline, actual, whether in the event


@dataclass(frozen=True, slots=True)
class Curves:
    """Kilowatts by quarter-hour of a day; None: not measured."""

    base: tuple[Fraction, ...]
    actual: tuple[Fraction | None, ...]


def curves_of(event: EventRow, found: Seen) -> Curves | None:
    """A participant's day; None without a baseline."""
    raw = found.part.baseline
    if raw is None:
        return None
    fitted = dict(enumerate(found.fitted.kw if found.fitted else (), start=event.first_slot))
    base = tuple(fitted.get(slot, raw.kw[slot]) for slot in range(SLOTS_PER_DAY))
    return Curves(base, tuple(None if wh is None else Fraction(wh, 250) for wh in found.actual_wh))


def added(curves: Sequence[Curves]) -> Curves | None:
    """A portfolio's day: the sum of its members; a quarter-hour that one of them misses is missing."""
    if not curves:
        return None
    base = tuple(sum(points, Fraction(0)) for points in zip(*(each.base for each in curves), strict=True))
    actual = tuple(
        None if None in points else sum((point or Fraction(0) for point in points), Fraction(0))
        for points in zip(*(each.actual for each in curves), strict=True)
    )
    return Curves(base, actual)


def plot(event: EventRow, curves: Curves) -> Plot:
    """Draw a day around the event, in whole hours."""
    first = max(0, event.first_slot - _MARGIN_SLOTS) // SLOTS_PER_HOUR * SLOTS_PER_HOUR
    end = min(SLOTS_PER_DAY, -(-(event.end_slot + _MARGIN_SLOTS) // SLOTS_PER_HOUR) * SLOTS_PER_HOUR)
    base, actual = curves.base[first:end], curves.actual[first:end]
    top = _top(max([*base, *(each for each in actual if each is not None)]) * Fraction(21, 20))
    width = Fraction(_WIDTH, end - first)

    def step(number: int, kw: Fraction) -> tuple[str, str]:
        """A quarter-hour is a level line from its beginning to its end."""
        y = int(_HEIGHT - _HEIGHT * kw / top)
        return f"{int(width * number)},{y}", f"{int(width * (number + 1))},{y}"

    runs: list[list[str]] = [[]]
    for number, kw in enumerate(actual):
        if kw is None:
            runs.append([])
        else:
            runs[-1].extend(step(number, kw))
    there: list[str] = []
    back: list[str] = []
    for number in range(event.first_slot - first, event.end_slot - first):
        kw = actual[number]
        if kw is None:
            break
        there += step(number, base[number])
        back += step(number, kw)
    hours = (end - first) // SLOTS_PER_HOUR
    every = next(each for each in (1, 2, 3, hours) if hours % each == 0 and hours // each <= 8)
    return Plot(
        int(width * (event.first_slot - first)),
        int(width * (event.end_slot - event.first_slot)),
        " ".join(point for number, kw in enumerate(base) for point in step(number, kw)),
        tuple(" ".join(run) for run in runs if run),
        " ".join(there + back[::-1]),
        tuple(
            (100 * number // _LINES, f"{top * (_LINES - number) // _LINES:,}") for number in range(_LINES + 1)
        ),
        tuple(slot_label(slot) for slot in range(first, end + 1, every * SLOTS_PER_HOUR)),
        tuple(
            (
                slot_label(first + number),
                _kw(kw),
                "—" if seen is None else _kw(seen),
                event.first_slot <= first + number < event.end_slot,
            )
            for number, (kw, seen) in enumerate(zip(base, actual, strict=True))
        ),
    )


def _top(highest: Fraction) -> int:
    """The least of 4, 8, 12 … 36 times a power of ten that is not below `highest`: four even lines below it."""
    scale = 1
    while True:
        for step in range(4, 40, 4):
            if step * scale >= highest:
                return step * scale
        scale *= 10


def _kw(value: Fraction) -> str:
    """Write kilowatts to a tenth."""
    tenths = (20 * value.numerator + value.denominator) // (2 * value.denominator)
    return f"{tenths // 10}.{tenths % 10}" if tenths % 10 else str(tenths // 10)
