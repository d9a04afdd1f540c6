"""A trading session: its life, its hours, its periods. Pure.

Drafted by one person of the staff and announced by another; opened and frozen by the clock or by hand; cleared PRE,
checked for the security of the grid, published FINAL; then perhaps a rolling phase. What was published is corrected by a
later run in its place, the state stays. A suspension ends in the state that
the hours then say; a cancellation releases whatever was bound (market.md 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from cloud.contracts.terms import HOURS, QUARTERS
from cloud.errors import Invalid
from cloud.lives import Life

SESSION = Life(
    "session",
    {
        (None, "draft"): "drafted",
        ("drafted", "announce"): "announced",
        ("drafted", "drop"): "dropped",
        ("announced", "open"): "open",
        ("open", "freeze"): "frozen",
        ("frozen", "clear"): "cleared",
        ("cleared", "clear"): "cleared",
        ("checked", "clear"): "cleared",
        ("cleared", "check"): "checked",
        ("checked", "publish"): "published",
        ("published", "roll"): "rolling",
        ("published", "close"): "closed",
        ("rolling", "close"): "closed",
        ("published", "correct"): "published",
        ("rolling", "correct"): "rolling",
        ("closed", "correct"): "closed",
        ("announced", "suspend"): "suspended",
        ("open", "suspend"): "suspended",
        ("frozen", "suspend"): "suspended",
        ("cleared", "suspend"): "suspended",
        ("checked", "suspend"): "suspended",
        ("suspended", "reannounce"): "announced",
        ("suspended", "reopen"): "open",
        ("suspended", "refreeze"): "frozen",
        ("announced", "cancel"): "cancelled",
        ("open", "cancel"): "cancelled",
        ("frozen", "cancel"): "cancelled",
        ("cleared", "cancel"): "cancelled",
        ("checked", "cancel"): "cancelled",
        ("suspended", "cancel"): "cancelled",
    },
)
STATES = tuple(dict.fromkeys(SESSION.moves.values()))
AFTER_PUBLICATION = ("published", "rolling", "closed")
PERIODS_MAX = 1152


class BadSession(Invalid):
    """A session cannot be made from this; `facts` say what and why."""


@dataclass(frozen=True, slots=True)
class Hours:
    """When a session takes declarations `[opens_at, freezes_at)`, tells its result, and ends its rolling phase."""

    opens_at: datetime
    freezes_at: datetime
    publishes_at: datetime
    rolls_until: datetime | None

    def __post_init__(self) -> None:
        rolls = self.rolls_until
        if not self.opens_at < self.freezes_at <= self.publishes_at or (
            rolls is not None and rolls <= self.publishes_at
        ):
            raise BadSession("session_hours")


@dataclass(frozen=True, slots=True)
class Period:
    """One thing that is cleared by itself: a period of a delivery month."""

    number: int
    month: date
    label: str

    @property
    def name(self) -> str:
        """How it is printed: '2026-12 h07'."""
        return f"{self.month:%Y-%m} {self.label}"


def periods_of(months: tuple[date, ...], labels: tuple[str, ...]) -> tuple[Period, ...]:
    """Number the periods of delivery months, from 1. Raises BadSession."""
    if not months or len(set(months)) != len(months) or any(month.day != 1 for month in months):
        raise BadSession("session_months")
    if len(months) * len(labels) > PERIODS_MAX:
        raise BadSession("session_periods", most=PERIODS_MAX)
    each = ((month, label) for month in sorted(months) for label in labels)
    return tuple(Period(number, month, label) for number, (month, label) in enumerate(each, start=1))


def clock_of(label: str) -> str:
    """Tell an hour or quarter-hour as a clock reads it: 'h07' is 06:00–07:00; others stay as they are."""
    for family, minutes in ((HOURS, 60), (QUARTERS, 15)):
        if label in family:
            start = family.index(label) * minutes
            end = start + minutes
            return f"{start // 60:02d}:{start % 60:02d}–{end // 60:02d}:{end % 60:02d}"
    return label


def phase(state: str, hours: Hours, now: datetime) -> str:
    """What a participant meets now: the state, ahead of a clock that has not been looked at yet."""
    if state == "announced" and hours.opens_at <= now < hours.freezes_at:
        return "open"
    return "frozen" if state == "open" and now >= hours.freezes_at else state


def resumption(hours: Hours, has_closed: bool, now: datetime) -> str:
    """Which deed resumes a suspended session at its new hours: a closed book never opens again."""
    if has_closed or now >= hours.freezes_at:
        return "refreeze"
    return "reannounce" if now < hours.opens_at else "reopen"
