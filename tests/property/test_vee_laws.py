"""Laws of validation: energy is conserved exactly, order and repetition mean nothing, more readings only refine."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloud.metering.estimate import shared
from cloud.metering.interval import IntervalDay, IntervalQuality
from cloud.metering.register import Installed, RegisterReading
from cloud.metering.vee import days_spanned, rules_for, validate

FIRST = date(2026, 8, 3)
START_MS = int(datetime(2026, 8, 2, 16, tzinfo=UTC).timestamp()) * 1000
QUARTER_MS = 900_000
NOW = datetime(2026, 9, 1, tzinfo=UTC)
DAYS = 3
MARKS = DAYS * 96


@st.composite
def registers(draw: st.DrawFn) -> tuple[int, list[RegisterReading]]:
    """Rising registers at some of the quarter-hour marks of three days, with noise between the marks, and a multiplier."""
    marks = sorted(draw(st.sets(st.integers(0, MARKS), min_size=2, max_size=60)))
    steps = draw(st.lists(st.integers(0, 10**6), min_size=len(marks), max_size=len(marks)))
    multiplier = draw(st.integers(1, 10_000))
    total = draw(st.integers(0, 10**8))
    readings = []
    for mark, step in zip(marks, steps, strict=True):
        total += step
        at_ms = START_MS + mark * QUARTER_MS
        readings.append(RegisterReading(at_ms, 0, 0, mark, False, (total, None, total // 3, None)))
        if draw(st.booleans()):  # a reading that stands for no mark
            readings.append(
                RegisterReading(at_ms + 400_000, 0, 0, mark, False, (total, None, total // 3, None))
            )
    return multiplier, readings


def result_of(multiplier: int, readings: list[RegisterReading]) -> tuple[IntervalDay, ...]:
    installed = (Installed(START_MS - 96 * QUARTER_MS, None, multiplier, tuple(readings)),)
    days = [FIRST + timedelta(days=n) for n in range(DAYS)]
    return tuple(one.interval_day for one in validate("SP1", days, installed, {}, NOW))


@given(registers())
def test_the_intervals_add_up_to_the_register_difference(drawn: tuple[int, list[RegisterReading]]) -> None:
    multiplier, readings = drawn
    days = result_of(multiplier, readings)
    at_marks = [r.ticks for r in readings if (r.at_ms - START_MS) % QUARTER_MS == 0]
    for channel, curve in ((0, "import_wh"), (2, "import_varh")):
        first, last = at_marks[0][channel], at_marks[-1][channel]
        expected = last * multiplier // 10 - first * multiplier // 10
        assert sum(value or 0 for day in days for value in getattr(day, curve)) == expected


@given(registers())
def test_a_slot_between_two_readings_is_exactly_their_difference(
    drawn: tuple[int, list[RegisterReading]],
) -> None:
    multiplier, readings = drawn
    by_mark = {
        (r.at_ms - START_MS) // QUARTER_MS: r.ticks[0]
        for r in readings
        if (r.at_ms - START_MS) % QUARTER_MS == 0
    }
    days = result_of(multiplier, readings)
    first, last = min(by_mark), max(by_mark)
    for slot in range(MARKS):
        day, at = days[slot // 96], slot % 96
        if slot in by_mark and slot + 1 in by_mark:
            assert day.quality[at] == IntervalQuality.ACTUAL
            assert (
                day.import_wh[at] == by_mark[slot + 1] * multiplier // 10 - by_mark[slot] * multiplier // 10
            )
        elif first <= slot < last:
            assert day.quality[at] == IntervalQuality.ESTIMATED
        else:
            assert (day.quality[at], day.import_wh[at]) == (IntervalQuality.MISSING, None)


@given(st.data())
def test_order_and_repetition_mean_nothing(data: st.DataObject) -> None:
    multiplier, readings = data.draw(registers())
    shuffled = data.draw(st.permutations(readings + readings[: len(readings) // 2]))
    assert result_of(multiplier, shuffled) == result_of(multiplier, readings)


@given(registers())
def test_days_validated_together_or_alone_say_the_same(drawn: tuple[int, list[RegisterReading]]) -> None:
    multiplier, readings = drawn
    installed = (Installed(START_MS - 96 * QUARTER_MS, None, multiplier, tuple(readings)),)
    together = result_of(multiplier, readings)
    alone = tuple(
        validate("SP1", [FIRST + timedelta(days=n)], installed, {}, NOW)[0].interval_day for n in range(DAYS)
    )
    assert alone == together


@given(registers())
def test_every_gap_over_midnight_is_told_to_the_shell(drawn: tuple[int, list[RegisterReading]]) -> None:
    _, readings = drawn
    installed = (Installed(START_MS - 96 * QUARTER_MS, None, 1, tuple(readings)),)
    marks = [(r.at_ms - START_MS) // QUARTER_MS for r in readings if (r.at_ms - START_MS) % QUARTER_MS == 0]
    expected = {
        FIRST + timedelta(days=day)
        for before, after in pairwise(marks)
        if before // 96 != (after - 1) // 96
        for day in range(before // 96, (after - 1) // 96 + 1)
    }
    assert days_spanned(installed, rules_for(FIRST)) == expected


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**9), min_size=1, max_size=700))
def test_shares_add_up_and_none_is_negative(energy_wh: int, weights: list[int]) -> None:
    parts = shared(energy_wh, weights)
    assert sum(parts) == energy_wh
    assert min(parts) >= 0
    whole = sum(weights)
    if whole:
        assert all(
            abs(part * whole - energy_wh * weight) <= whole
            for part, weight in zip(parts, weights, strict=True)
        )
