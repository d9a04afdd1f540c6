"""Geometry of bar charts, in per cent of the drawing, so that an SVG without a view box fits every screen.

Pure. Numbers here are pixels and nothing else; floats are allowed for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

GAP_SHARE: Final = 0.16  # of a bar's place left empty
_STEP_TENTHS: Final = (10, 15, 20, 25, 30, 40, 50, 60, 80, 100)  # of a power of ten; round to the eye
MARKS: Final = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: where it stands and how high it is, in per cent; height None: there is no value."""

    x: float
    width: float
    y: float
    height: float | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A grid line: its place in per cent from the top and the value it stands for."""

    y: float
    value: int


def nice_top(highest: int) -> int:
    """The smallest MARKS round steps that are not under the highest value."""
    tens = 1
    while tens * MARKS * 10 < highest:
        tens *= 10
    steps = (tens * tenths // 10 for tenths in _STEP_TENTHS if tens * tenths % 10 == 0)
    return next(step * MARKS for step in steps if step * MARKS >= highest)


def bars(values: Sequence[int | None], top: int) -> tuple[Bar, ...]:
    """Bars for the values, equally wide, scaled so that `top` fills the drawing."""
    place = 100 / len(values)
    return tuple(_bar(index * place, place, value, top) for index, value in enumerate(values))


def marks(top: int) -> tuple[Mark, ...]:
    """Grid lines from `top` down to above zero."""
    return tuple(Mark(100 * (MARKS - part) / MARKS, top * part // MARKS) for part in range(MARKS, 0, -1))


def change_percent(now: int, before: int) -> Decimal | None:
    """How much more (or less) now is than before, in per cent to a tenth; None when there was nothing before."""
    if before <= 0:
        return None
    return (Decimal(100) * (now - before) / before).quantize(Decimal("0.1"))


def _bar(x: float, place: float, value: int | None, top: int) -> Bar:
    gap = place * GAP_SHARE / 2
    if value is None:
        return Bar(_short(x + gap), _short(place - 2 * gap), 100.0, None)
    height = min(100.0, 100 * max(value, 0) / top)
    return Bar(_short(x + gap), _short(place - 2 * gap), _short(100 - height), _short(height))


def _short(number: float) -> float:
    return int(number * 1000 + 0.5) / 1000
