"""From the view of a day or a month to what its page draws: bars, bands, the sentence that says it in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Final

from cloud import markettime, words
from cloud.api import chart, reply, usage
from cloud.billing.line import PERIODS, Period

_WH_PER_KWH: Final = 1000
Say = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of the day in one period, in per cent of the width."""

    period: Period
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class DayDrawing:
    """A day's chart: one entry of `bars`, `before`, `values`, `texts` per quarter-hour."""

    bars: tuple[chart.Bar, ...]
    before: tuple[chart.Bar, ...]
    values: tuple[int | None, ...]
    texts: tuple[str, ...]
    marks: tuple[chart.Mark, ...]
    decimals: int
    bands: tuple[Band, ...]
    by_period: tuple[tuple[Period, int], ...]
    summary: str
    now_x: float
    day_before: date
    day_after: date
    month_wh: int


@dataclass(frozen=True, slots=True)
class MonthDrawing:
    """A month's chart: one entry of `bars`, `texts`, `is_gap` per day."""

    bars: tuple[chart.Bar, ...]
    texts: tuple[str, ...]
    is_gap: tuple[bool, ...]
    marks: tuple[chart.Mark, ...]
    decimals: int
    known_days: int
    summary: str
    month_before: date
    month_after: date


def draw_day(
    language: str, day: usage.DayView, now: datetime, month: usage.MonthView | None = None
) -> DayDrawing:
    """What the page of a day shows."""
    say = _speaker(language)
    values = tuple(usage.value_of(slot, day.direction) for slot in day.slots)
    top = chart.nice_top(max([1, *(value for value in (*values, *day.previous_wh) if value is not None)]))
    return DayDrawing(
        bars=chart.bars(values, top),
        before=chart.bars(day.previous_wh, top),
        values=values,
        texts=tuple(_slot_text(say, day, index, value) for index, value in enumerate(values)),
        marks=chart.marks(top),
        decimals=_decimals(top),
        bands=_bands(day),
        by_period=tuple(
            (period, day.by_period_wh[period]) for period in PERIODS if period in day.by_period_wh
        ),
        summary=_day_summary(say, day, values),
        now_x=100 * (now - markettime.slot_start(day.day, 0)).total_seconds() / 86_400,
        day_before=day.day - timedelta(days=1),
        day_after=day.day + timedelta(days=1),
        month_wh=0 if month is None else month_total(month),
    )


def draw_month(language: str, month: usage.MonthView) -> MonthDrawing:
    """What the page of a month shows."""
    say = _speaker(language)
    values = tuple(_month_value(day, month.direction) for day in month.days)
    known = [value for value in values if value is not None]
    top = chart.nice_top(max([1, *known]))
    return MonthDrawing(
        bars=chart.bars(values, top),
        texts=tuple(
            say("month.day_text", day=day.day.isoformat(), kwh=reply.kwh(value))
            if value is not None
            else say("month.day_missing", day=day.day.isoformat())
            for day, value in zip(month.days, values, strict=True)
        ),
        is_gap=tuple(0 < day.missing < markettime.SLOTS_PER_DAY for day in month.days),
        marks=chart.marks(top),
        decimals=_decimals(top),
        known_days=len(known),
        summary=say("month.summary_" + month.direction, kwh=reply.kwh(month_total(month)), n=len(known)),
        month_before=markettime.month_after(month.month, -1),
        month_after=markettime.month_after(month.month, 1),
    )


def month_total(month: usage.MonthView) -> int:
    """The month's energy in the account's direction."""
    return month.export_wh if month.direction == "export" else month.import_wh


def _month_value(day: usage.MonthDayView, direction: str) -> int | None:
    return day.export_wh if direction == "export" else day.import_wh


def _decimals(top: int) -> int:
    step = top // chart.MARKS
    return 0 if step % _WH_PER_KWH == 0 else 1 if step % 100 == 0 else 2 if step % 10 == 0 else 3


def _bands(day: usage.DayView) -> tuple[Band, ...]:
    width = 100 / markettime.SLOTS_PER_DAY
    found = []
    for period, slots in groupby(day.slots, key=lambda slot: slot.period):
        stretch = tuple(slots)
        if period is not None:
            found.append(Band(period, stretch[0].slot * width, len(stretch) * width))
    return tuple(found)


def _slot_text(say: Say, day: usage.DayView, index: int, value: int | None) -> str:
    slot = day.slots[index]
    facts = {
        "interval": f"{markettime.slot_label(index)}–{markettime.slot_label(index + 1)}",
        "period": "" if slot.period is None else say(f"period.{slot.period}"),
        "kwh": reply.kwh(value, 3),
        "before": reply.kwh(day.previous_wh[index], 3),
        "quality": say(f"quality.{slot.quality}"),
    }
    if slot.is_future:
        return say("chart.slot_future", **facts)
    if slot.quality == "pending":
        return say("chart.slot_pending", **facts)
    return say("chart.slot_missing" if value is None else "chart.slot", **facts)


def _day_summary(say: Say, day: usage.DayView, values: tuple[int | None, ...]) -> str:
    if day.peak_slot is None:
        return say("chart.summary_empty")
    peak = f"{markettime.slot_label(day.peak_slot)}–{markettime.slot_label(day.peak_slot + 1)}"
    whole = "_day" if day.last_known_slot == markettime.SLOTS_PER_DAY else ""
    first = say(
        f"chart.summary_{day.direction}{whole}",
        until=markettime.slot_label(day.last_known_slot),
        kwh=reply.kwh(day.total_wh),
        peak=peak,
        peak_kwh=reply.kwh(values[day.peak_slot], 3),
    )
    change = day.change_percent
    if change is None:
        return first
    which = "more" if change > 0 else "less" if change < 0 else "same"
    return first + say(f"chart.than_before_{which}", percent=str(abs(change)))


def _speaker(language: str) -> Say:
    def say(key: str, **facts: object) -> str:
        return words.say(language, key, **facts)

    return say
