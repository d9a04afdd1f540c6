"""The calendar of 发改能源规〔2025〕976号: what a month's settlement must have reached on which working day. Pure.

Working days are those of the month after the settled one, make-up days included. "Before WDn" includes WDn.
A correction reaches back at most twelve months.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from cloud import daytypes
from cloud.markettime import month_after

DRAFT_WD, FINAL_WD, BILLS_WD = 5, 8, 10
OBJECT_WD, CHECK_WD = 1, 1
ASK_WD, ANSWER_WD = 15, 5
CORRECTION_MONTHS = 12


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The days of one month's settlement. Every deadline includes its day."""

    readings: date  # WD1: the grid's monthly readings; collecting starts
    draft: date  # WD5 结算依据（核对版）
    final: date  # WD8 正式结算依据
    bills: date  # WD10
    correctable_until: date


def deadlines(month: date) -> Deadlines:
    """Compute the days for a settled month. Raises NoCalendar."""
    following = month_after(month)
    return Deadlines(
        readings=daytypes.working_day(following, 1),
        draft=daytypes.working_day(following, DRAFT_WD),
        final=daytypes.working_day(following, FINAL_WD),
        bills=daytypes.working_day(following, BILLS_WD),
        correctable_until=correctable_until(month),
    )


def objection_until(published: date) -> date:
    """Find the last day to object to a draft: one working day after it; silence then confirms. Raises NoCalendar."""
    return daytypes.add_working_days(published, OBJECT_WD)


def check_until(objected: date) -> date:
    """Find the last day to check an objection. Raises NoCalendar."""
    return daytypes.add_working_days(objected, CHECK_WD)


def ask_until(final: date) -> date:
    """Find the last day to ask about a final statement. Raises NoCalendar."""
    return daytypes.add_working_days(final, ASK_WD)


def answer_until(asked: date) -> date:
    """Find the last day to answer a query. Raises NoCalendar."""
    return daytypes.add_working_days(asked, ANSWER_WD)


def correctable_until(month: date) -> date:
    """Find the first day on which the month can no longer be corrected: twelve months after it ended."""
    return month_after(month, 1 + CORRECTION_MONTHS)
