"""The market's day is 00:00-24:00 Beijing time; ranges are half-open; instants are aware."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from cloud import markettime


def test_the_zone_is_shanghai_for_every_day_since_its_last_summer_time() -> None:
    shanghai = ZoneInfo("Asia/Shanghai")
    first = datetime(1992, 1, 1, tzinfo=UTC)
    for instant in (first + timedelta(hours=17 * step) for step in range(40_000)):
        assert markettime.market_local(instant).replace(tzinfo=None) == instant.astimezone(shanghai).replace(
            tzinfo=None
        )


@pytest.mark.parametrize(
    ("utc", "day", "slot"),
    [
        (datetime(2026, 7, 31, 16, 0, tzinfo=UTC), date(2026, 8, 1), 0),
        (datetime(2026, 7, 31, 15, 59, 59, 999999, tzinfo=UTC), date(2026, 7, 31), 95),
        (datetime(2026, 8, 1, 15, 45, tzinfo=UTC), date(2026, 8, 1), 95),
        (datetime(2026, 8, 1, 4, 15, tzinfo=UTC), date(2026, 8, 1), 49),
    ],
)
def test_a_boundary_opens_its_slot(utc: datetime, day: date, slot: int) -> None:
    assert (markettime.day_of(utc), markettime.slot_of(utc)) == (day, slot)


def test_a_naive_instant_belongs_to_no_day() -> None:
    with pytest.raises(markettime.NaiveInstant):
        markettime.day_of(datetime(2026, 8, 1))  # noqa: DTZ001  # that is the point


def test_days_and_months_meet_without_gap() -> None:
    start, end = markettime.month_bounds(date(2026, 8, 17))
    days = markettime.days_of_month(date(2026, 8, 1))

    assert (start, end) == (datetime(2026, 7, 31, 16, tzinfo=UTC), datetime(2026, 8, 31, 16, tzinfo=UTC))
    assert len(days) == 31
    assert markettime.day_bounds(days[0])[0] == start
    assert markettime.day_bounds(days[-1])[1] == end
    assert [markettime.day_bounds(day)[1] for day in days[:-1]] == [
        markettime.day_bounds(day)[0] for day in days[1:]
    ]


def test_slots_of_a_day_find_themselves() -> None:
    day = date(2026, 2, 28)
    assert [markettime.slot_of(start) for start in markettime.slots_of_day(day)] == list(range(96))
    assert {markettime.day_of(start) for start in markettime.slots_of_day(day)} == {day}
    assert [markettime.slot_label(slot) for slot in (0, 1, 95, 96)] == ["00:00", "00:15", "23:45", "24:00"]


def test_months_are_stepped_from_their_anchor() -> None:
    assert markettime.month_after(date(2026, 12, 1)) == date(2027, 1, 1)
    assert markettime.month_after(date(2026, 1, 1), -1) == date(2025, 12, 1)
    assert markettime.month_after(date(2026, 8, 1), 17) == date(2028, 1, 1)


@pytest.mark.parametrize("text", ["2026-8", "202608", "2026-13", "26-08", "2026-08-01", "", "２０２６-08"])
def test_a_month_is_written_yyyy_mm(text: str) -> None:
    with pytest.raises(ValueError, match="YYYY-MM"):
        markettime.month_from(text)
    assert markettime.month_from("2026-08") == date(2026, 8, 1)
