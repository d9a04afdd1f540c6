"""What screens make of samples and days: power with its multiplier, ages, sums that hide no gap."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from cloud.metering.display import (
    DayRow,
    Freshness,
    LiveRow,
    SlotSum,
    channel,
    freshness,
    oldest,
    power_w,
    summed_day,
    total_power_w,
)

NOON = datetime(2026, 8, 1, 4, tzinfo=UTC)


def row(p: int | None, at: datetime | None, multiplier: int = 1) -> LiveRow:
    return LiveRow("M1", "SP1", "总表", multiplier, at, None if at is None else {"p": p})


# A tick of power is 0.1 W at the meter's face.
@pytest.mark.parametrize(
    ("ticks", "multiplier", "watts"),
    [(1234, 1, 123), (1235, 1, 124), (-1235, 1, -124), (1900, 2000, 380_000), (0, 30, 0)],
)
def test_power_is_the_faces_ticks_times_the_multiplier_in_watts(
    ticks: int, multiplier: int, watts: int
) -> None:
    assert power_w({"p": ticks}, multiplier) == watts


def test_channels_are_exact_at_the_meters_face() -> None:
    assert channel({"u_a": 23012}, "u_a") == Decimal("230.12")
    assert channel({"i_a": 3120}, "i_a") == Decimal("3.120")
    assert channel({}, "u_b") is None
    assert channel(None, "u_a") is None


@pytest.mark.parametrize(
    ("age_s", "said"), [(0, Freshness.LIVE), (30, Freshness.LIVE), (31, Freshness.STALE)]
)
def test_a_sample_is_live_for_half_a_minute(age_s: int, said: Freshness) -> None:
    assert freshness(NOON - timedelta(seconds=age_s), NOON) is said


def test_no_sample_is_missing() -> None:
    assert freshness(None, NOON) is Freshness.MISSING


def test_a_sum_with_a_silent_meter_is_unknown_not_smaller() -> None:
    known, silent = row(1000, NOON), row(None, None)

    assert total_power_w([known, known]) == 200
    assert total_power_w([known, silent]) is None
    assert oldest([known, silent]) is None
    assert total_power_w([]) is None


def test_a_sum_is_as_old_as_its_oldest_sample() -> None:
    earlier = NOON - timedelta(minutes=3)

    assert oldest([row(1, NOON), row(1, earlier)]) == earlier


def day(import_wh: list[int | None], quality: list[int]) -> DayRow:
    rest = 96 - len(import_wh)
    return DayRow("SP1", date(2026, 8, 1), 1, import_wh + [0] * rest, [0] * 96, quality + [1] * rest)


def test_a_summed_slot_has_the_worst_quality_of_its_parts() -> None:
    first = day([100, None, 100, 100], [1, 0, 1, 4])
    second = day([50, 60, 70, 80], [1, 1, 3, 2])

    summed = summed_day([first, second])

    assert summed[:4] == (SlotSum(150, 0, 1), SlotSum(60, 0, 0), SlotSum(170, 0, 3), SlotSum(180, 0, 4))


def test_a_day_without_rows_is_missing_throughout() -> None:
    assert summed_day([]) == (SlotSum(None, None, 0),) * 96
