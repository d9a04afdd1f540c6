"""Validity of documents: which reminder is due, what has expired, and whether trading stops. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from cloud.parties.checklist import Checklist, HeldPaper, papers_of


@dataclass(frozen=True, slots=True)
class Reminder:
    """A document that ends in at most `days`, or has ended (0)."""

    item: str
    valid_until: date
    days: int
    stops_trading: bool


def reminders(
    checklist: Checklist, subkind: str, papers: Sequence[HeldPaper], today: date
) -> tuple[Reminder, ...]:
    """The tightest reminder due of every document: of 60, 30, 7 days the least that is reached; 0 when it expired."""
    stopping = {each.key for each in papers_of(checklist, subkind) if each.stops_trading}
    found = []
    for paper in papers:
        if paper.valid_until is None:
            continue
        left = (paper.valid_until - today).days - 1  # 0 on the last day on which it holds
        reached = [days for days in checklist.remind_days if left <= days]
        if reached:
            days = 0 if left < 0 else min(reached)
            found.append(Reminder(paper.item, paper.valid_until, days, paper.item in stopping))
    return tuple(found)


def stopping(
    checklist: Checklist, subkind: str, papers: Sequence[HeldPaper], today: date
) -> tuple[Reminder, ...]:
    """The expired documents without which the party may not trade."""
    return tuple(
        each for each in reminders(checklist, subkind, papers, today) if each.days == 0 and each.stops_trading
    )
