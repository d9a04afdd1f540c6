"""Geometry of supply and demand as steps, in pixels of a fixed view box. Pure; floats are pixels and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloud.market.auction import Side
from cloud.market.steps import Step

WIDTH: Final = 720
HEIGHT: Final = 360
LEFT, RIGHT, TOP, BOTTOM = 84, 16, 26, 34
MARKS_MAX: Final = 5
_ROUND: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place on an axis and the value there."""

    at: float
    value: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a page needs to draw one period: paths, axes, the indicative point; None where there is nothing."""

    demand: str
    supply: str
    own: tuple[tuple[str, str], ...]  # side and path of each own step
    price_marks: tuple[Mark, ...]
    quantity_marks: tuple[Mark, ...]
    price_y: float | None
    volume_x: float | None
    band_y: tuple[float, float] | None  # top and height of the supporting interval


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where the curves meet."""

    volume_kwh: int
    price_ticks: int | None
    interval_ticks: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class _Scale:
    low: int
    high: int
    most: int

    def x(self, kwh: int) -> float:
        return _short(LEFT + kwh * (WIDTH - LEFT - RIGHT) / self.most)

    def y(self, ticks: int) -> float:
        return _short(TOP + (self.high - ticks) * (HEIGHT - TOP - BOTTOM) / (self.high - self.low))


def drawn(
    demand: Sequence[Step], supply: Sequence[Step], meeting: Meeting, own: Mapping[Side, Mapping[int, int]]
) -> Drawing:
    """Draw both curves with own quantity marked at its price, from where that level begins."""
    scale = _scale((*demand, *supply))
    curves = {Side.BUY: demand, Side.SELL: supply}
    marked = tuple(
        (side.value, f"M{scale.x(start)} {scale.y(price)}H{scale.x(start + kwh)}")
        for side, levels in own.items()
        for price, kwh in sorted(levels.items())
        for start in (_start(curves[side], price, side),)
    )
    has_price = meeting.volume_kwh and meeting.price_ticks is not None
    band = None
    if has_price and meeting.interval_ticks is not None:
        low, high = meeting.interval_ticks
        band = scale.y(high), _short(scale.y(low) - scale.y(high))
    return Drawing(
        _path(demand, scale),
        _path(supply, scale),
        marked,
        tuple(Mark(scale.y(value), value) for value in _round(scale.low, scale.high)),
        tuple(Mark(scale.x(value), value) for value in _round(0, scale.most)),
        scale.y(meeting.price_ticks) if has_price and meeting.price_ticks is not None else None,
        scale.x(meeting.volume_kwh) if has_price else None,
        band,
    )


def _scale(steps: Sequence[Step]) -> _Scale:
    prices = [step.price_ticks for step in steps] or [0]
    low, high = min(prices), max(prices)
    room = max((high - low) // 20, 50)
    return _Scale(low - room, high + room, max((step.end_kwh for step in steps), default=1))


def _start(curve: Sequence[Step], price: int, side: Side) -> int:
    """Where a price's quantity begins: after everything better."""
    sign = -1 if side is Side.BUY else 1
    return max((step.end_kwh for step in curve if sign * step.price_ticks < sign * price), default=0)


def _path(curve: Sequence[Step], scale: _Scale) -> str:
    if not curve:
        return ""
    moves = [f"M{scale.x(0)} {scale.y(curve[0].price_ticks)}"]
    moves += [f"V{scale.y(step.price_ticks)}H{scale.x(step.end_kwh)}" for step in curve]
    return "".join(moves)


def _round(low: int, high: int) -> tuple[int, ...]:
    """Round values within a range, few enough to be read."""
    step, tens, at = 1, 1, 0
    while (high - low) // step > MARKS_MAX - 1:
        at += 1
        if at == len(_ROUND):
            at, tens = 0, tens * 10
        step = _ROUND[at] * tens
    return tuple(range(-(-low // step) * step, high + 1, step))


def _short(number: float) -> float:
    return round(number, 1)
