"""Day types: against an independent list, against dates read from the notices by hand, and by their own laws."""

from __future__ import annotations

from datetime import date, timedelta

import chinese_calendar
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud import daytypes
from cloud.daytypes import DayKind

FIRST, END = date(2025, 1, 1), date(2027, 1, 1)
DAYS = tuple(FIRST + timedelta(days=offset) for offset in range((END - FIRST).days))


def test_working_days_are_those_of_an_independent_list() -> None:
    different = [day for day in DAYS if daytypes.is_working_day(day) != chinese_calendar.is_workday(day)]

    assert len(DAYS) == 730
    assert different == []


def test_days_off_are_those_of_an_independent_list() -> None:
    theirs = {day for day in DAYS if chinese_calendar.get_holiday_detail(day)[1] is not None}
    # The independent list counts a weekend day without a festival as "holiday, no name".
    ours = {day for day in DAYS if daytypes.kind_of(day) is DayKind.HOLIDAY}
    in_lieu = {
        day for day in theirs if chinese_calendar.is_workday(day)
    }  # make-up days carry the festival's name there

    assert ours == theirs - in_lieu


@pytest.mark.parametrize(
    ("day", "kind"),
    [
        (date(2025, 1, 26), DayKind.WORKDAY),  # 周日上班
        (date(2025, 1, 28), DayKind.HOLIDAY),  # 除夕
        (date(2025, 2, 4), DayKind.HOLIDAY),
        (date(2025, 2, 5), DayKind.WORKDAY),
        (date(2025, 10, 8), DayKind.HOLIDAY),
        (date(2025, 10, 11), DayKind.WORKDAY),  # 周六上班
        (date(2026, 1, 4), DayKind.WORKDAY),  # 周日上班
        (date(2026, 2, 15), DayKind.HOLIDAY),
        (date(2026, 2, 24), DayKind.WORKDAY),
        (date(2026, 2, 28), DayKind.WORKDAY),  # 周六上班
        (date(2026, 9, 19), DayKind.WEEKEND),
        (date(2026, 9, 20), DayKind.WORKDAY),  # 周日上班
        (date(2026, 9, 27), DayKind.HOLIDAY),  # a Sunday of the Mid-Autumn days off
        (date(2026, 10, 10), DayKind.WORKDAY),  # 周六上班
    ],
)
def test_days_of_the_notices_read_by_hand(day: date, kind: DayKind) -> None:
    assert daytypes.kind_of(day) is kind


@pytest.mark.parametrize(
    ("month_after", "n", "day"),
    [
        (date(2026, 9, 1), 1, date(2026, 9, 1)),  # Tuesday
        (date(2026, 9, 1), 5, date(2026, 9, 7)),
        (date(2026, 9, 1), 8, date(2026, 9, 10)),
        (date(2026, 9, 1), 10, date(2026, 9, 14)),
        (date(2026, 10, 15), 1, date(2026, 10, 8)),  # after seven days off
        (date(2026, 10, 15), 3, date(2026, 10, 10)),  # the Saturday that is worked
        (date(2026, 10, 15), 10, date(2026, 10, 20)),
        (date(2026, 2, 1), 10, date(2026, 2, 13)),
        (date(2026, 2, 1), 11, date(2026, 2, 14)),  # Saturday, worked for the Spring Festival
        (date(2026, 2, 1), 12, date(2026, 2, 24)),
        (date(2025, 10, 1), 1, date(2025, 10, 9)),
    ],
)
def test_working_days_of_a_month_counted_by_hand(month_after: date, n: int, day: date) -> None:
    assert daytypes.working_day(month_after, n) == day


def test_a_year_without_notice_has_no_calendar() -> None:
    with pytest.raises(daytypes.NoCalendar) as refused:
        daytypes.kind_of(date(2031, 1, 4))

    assert refused.value.facts["year"] == 2031
    assert "2026" in str(refused.value.facts["years"])


def test_every_year_names_its_notice() -> None:
    assert daytypes.arrangement_of(date(2025, 5, 1)).document == "国办发明电〔2024〕12号"
    assert daytypes.arrangement_of(date(2026, 5, 1)).document == "国办发明电〔2025〕7号"
    assert daytypes.festival_of(date(2026, 6, 19)) == "端午节"
    assert daytypes.festival_of(date(2026, 6, 22)) is None


@given(st.sampled_from(DAYS[60:-60]), st.integers(1, 30))
def test_stepping_on_and_counting_agree(day: date, n: int) -> None:
    later = daytypes.add_working_days(day, n)

    assert daytypes.is_working_day(later)
    assert daytypes.working_days_between(day + timedelta(days=1), later + timedelta(days=1)) == n


@given(st.sampled_from([day for day in DAYS[60:-60] if daytypes.is_working_day(day)]), st.integers(1, 30))
def test_stepping_back_undoes_stepping_on(day: date, n: int) -> None:
    assert daytypes.add_working_days(daytypes.add_working_days(day, n), -n) == day


@pytest.mark.parametrize(
    "entry",
    [
        'name = "x"\nfirst = 2030-01-02\nlast = 2030-01-01',  # ends before it begins
        'name = "x"\nfirst = 2029-12-31\nlast = 2030-01-01',  # another year
        'name = "x"\nfirst = 2030-01-01\nlast = 2030-01-01\nmake_up = [2030-01-02]',  # a Wednesday needs no making up
        'name = "x"\nfirst = 2030-01-01\nlast = 2030-01-05\nmake_up = [2030-01-05]',  # off and worked
        'name = "x"\nfirst = 2030-01-01\nlast = 2030-01-01\n[[holiday]]\nname = "y"\nfirst = 2030-01-01\nlast = 2030-01-01',
    ],
)
def test_a_file_that_contradicts_itself_is_refused(entry: str) -> None:
    head = 'year = 2030\ntitle = "t"\ndocument = "d"\nissued = 2029-11-01\n'

    with pytest.raises(ValueError, match="2030"):
        daytypes.arrangement_from(f"{head}[[holiday]]\n{entry}\n")
