"""Registration: the clocks of review, publicity, change and deregistration, and when two persons have decided. Pure.

Days are counted as 国能发监管规〔2024〕76号 does: the day of the deed itself does not count; "within 5 working days" includes
the fifth. Publicity covers `[starts, ends)`.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from cloud import daytypes
from cloud.errors import Forbidden, Invalid, NotNow
from cloud.parties.checklist import Checklist

EYES = 2  # persons who must accept


class Verdict(StrEnum):
    """What one reviewer says of the whole."""

    ACCEPT = "accept"
    RETURN = "return"


class OwnWork(Forbidden):
    """Whoever acts for the applicant, or has decided already, is not the second pair of eyes."""


class Unchecked(NotNow):
    """The reviewer has not looked at every item; `missing` counts them."""


class Rejected(Invalid):
    """The reviewer found items that are not right, so accepting contradicts them."""


class ReasonMissing(Invalid):
    """A return needs its reason."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A reviewer's last word about one item."""

    reviewer: str
    item: str
    is_right: bool
    note: str


@dataclass(frozen=True, slots=True)
class Given:
    """A verdict that was given."""

    reviewer: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Publicity:
    """The days `[starts, ends)` on which something is publicised."""

    starts: date
    ends: date


def deed_of(given: Sequence[Given], checklist: Checklist) -> str | None:
    """What the verdicts add up to: return at the first return, admit or publicise when two accepted, else None."""
    if any(each.verdict is Verdict.RETURN for each in given):
        return "return"
    if len({each.reviewer for each in given}) < EYES:
        return None
    return "publicise" if checklist.publicity_months else "admit"


def check_verdict(
    new: Given, given: Sequence[Given], items: Sequence[str], findings: Sequence[Finding]
) -> None:
    """Check that a reviewer may give this verdict now. Raises OwnWork, ReasonMissing, Unchecked, Rejected."""
    if any(each.reviewer == new.reviewer for each in given):
        raise OwnWork("party_decided_already")
    mine = {each.item: each for each in findings if each.reviewer == new.reviewer}
    wrong = [item for item in items if item in mine and not mine[item].is_right]
    if new.verdict is Verdict.RETURN:
        if not new.reason and not wrong:
            raise ReasonMissing("return_reason_missing")
        return
    missing = [item for item in items if item not in mine]
    if missing:
        raise Unchecked("items_unchecked", missing=len(missing))
    if wrong:
        raise Rejected("items_rejected", wrong=len(wrong))


def reasons_of(new: Given, items: Sequence[str], findings: Sequence[Finding]) -> Mapping[str, str]:
    """What the applicant is told is not right: the reviewer's notes by item."""
    return {
        each.item: each.note
        for each in findings
        if each.reviewer == new.reviewer and not each.is_right and each.item in items
    }


def due(submitted: date, working_days: int) -> date:
    """The last day to decide. Raises NoCalendar."""
    return daytypes.add_working_days(submitted, working_days)


def is_late(happened: date, reported: date, working_days: int) -> bool:
    """Whether a change is reported after its last day. Raises NoCalendar."""
    return reported > daytypes.add_working_days(happened, working_days)


def month_publicity(accepted: date, months: int) -> Publicity:
    """From the day after acceptance, for so many months: the same day of the month, or the month's last."""
    starts = accepted + timedelta(days=1)
    year, month = divmod(starts.year * 12 + starts.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return Publicity(starts, date(year, month + 1, min(starts.day, last)))


def leave_publicity(asked: date, working_days: int) -> Publicity:
    """From the day after the application, for so many working days. Raises NoCalendar."""
    last = daytypes.add_working_days(asked, working_days)
    return Publicity(asked + timedelta(days=1), last + timedelta(days=1))


def earliest_last_day(asked: date, working_days: int) -> date:
    """The first month whose performance may end: contracts are handled 10 working days before it. Raises NoCalendar."""
    ready = daytypes.add_working_days(asked, working_days)
    year, month = divmod(ready.year * 12 + ready.month, 12)
    return date(year, month + 1, 1)


def kept_until(struck_off: date, years: int) -> date:
    """The first day on which history need no longer be kept."""
    try:
        return struck_off.replace(year=struck_off.year + years)
    except ValueError:
        return date(struck_off.year + years, 3, 1)
