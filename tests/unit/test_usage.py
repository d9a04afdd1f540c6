"""Time-of-use periods as the live page tells them, against the notice 冀发改能价〔2025〕1275号."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from cloud.api.usage import period_view
from cloud.billing.store.published import packaged_catalogue

BEIJING = ZoneInfo("Asia/Shanghai")


# August: 尖 18-21; 峰 10-12, 16-18, 21-22; 平 7-10, 12-16, 22-23; 谷 0-7, 23-24. December: 深谷 12-15, 平 22-24 and 0-1.
@pytest.mark.parametrize(
    ("now", "period", "until", "following"),
    [
        ("2026-08-11 18:00", "tip", "2026-08-11 21:00", "peak"),
        ("2026-08-11 20:59", "tip", "2026-08-11 21:00", "peak"),
        ("2026-08-11 21:00", "peak", "2026-08-11 22:00", "flat"),
        ("2026-08-11 00:00", "valley", "2026-08-11 07:00", "flat"),
        ("2026-08-11 23:30", "valley", "2026-08-12 07:00", "flat"),
        ("2026-12-10 13:10", "deep", "2026-12-10 15:00", "flat"),
        ("2026-12-10 23:00", "flat", "2026-12-11 01:00", "valley"),
        ("2026-08-31 23:30", "valley", "2026-09-01 00:00", "flat"),  # September: 平 0-1
    ],
)
def test_the_period_now_ends_where_the_notice_says(now: str, period: str, until: str, following: str) -> None:
    instant = datetime.fromisoformat(now).replace(tzinfo=BEIJING)
    calendar = packaged_catalogue().calendar_on(instant.date(), "jibei")

    view = period_view(calendar, instant)

    assert (view.period, view.next_period) == (period, following)
    assert view.until == datetime.fromisoformat(until).replace(tzinfo=BEIJING)


def test_the_days_strip_is_the_notices_day() -> None:
    calendar = packaged_catalogue().calendar_on(date(2026, 8, 11), "jibei")

    strip = period_view(calendar, datetime(2026, 8, 11, 12, tzinfo=BEIJING)).day_periods

    hours = {
        name: sum(each == name for each in strip) / 4 for name in ("tip", "peak", "flat", "valley", "deep")
    }
    assert hours == {"tip": 3, "peak": 5, "flat": 8, "valley": 8, "deep": 0}
