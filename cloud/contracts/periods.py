"""The named periods of a market's days, as its rule file tells them: which quarter-hours are 'peak', in which months. Pure.

A market rule (cloud/market/rulefile.py) is read whole where months are settled; whoever draws a contract up needs its
hours alone, so that no volume is promised for a period that no settlement has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from cloud.contracts.entries import Entries, entries_from
from cloud.contracts.terms import LABEL, WHOLE_MONTH
from cloud.markettime import SLOTS_PER_DAY, SLOTS_PER_HOUR


@dataclass(frozen=True, slots=True)
class NamedHours:
    """96 labels of the days of some months."""

    months: tuple[int, ...]
    labels: tuple[str, ...]


def hours_of_rule(name: str, text: str) -> tuple[NamedHours, ...]:
    """Read the named hours out of a rule file, and nothing else of it. Raises BadMarketFile."""
    return hours_in(entries_from(name, text), is_needed=False)


def hours_in(table: Entries, *, is_needed: bool) -> tuple[NamedHours, ...]:
    """Read the tables [[hours]]: none, or every month of the year once. Raises BadMarketFile."""
    hours = tuple(_named_hours(each) for each in table.tables("hours"))
    months = sorted(month for each in hours for month in each.months)
    if (is_needed or hours) and months != list(range(1, 13)):
        table.refuse("hours.months", months, "every month 1..12 in exactly one table [[hours]]")
    return hours


def label_of(hours: Sequence[NamedHours], day: date, slot: int) -> str:
    """Name the period of a quarter-hour; empty where the hours name none."""
    return next((each.labels[slot] for each in hours if day.month in each.months), "")


def labels_of(hours: Sequence[NamedHours], month: date) -> tuple[str, ...]:
    """List the named periods of a month in the order of the day."""
    labels = next((each.labels for each in hours if month.month in each.months), ())
    return tuple(dict.fromkeys(labels))


def _named_hours(table: Entries) -> NamedHours:
    months = table.integers("months")
    labels = [""] * SLOTS_PER_DAY
    names = [key for key in table.content if key != "months"]
    for name in names:
        if not LABEL.fullmatch(name) or name == WHOLE_MONTH:
            table.refuse(name, name, "a name of small letters, digits and _, other than month")
        for text in table.texts(name):
            start, end = _slots(table, name, text)
            for slot in range(start, end):
                if labels[slot]:
                    table.refuse(name, text, f"hours that {labels[slot]} does not have")
                labels[slot] = name
    if "" in labels:
        table.refuse("(hours)", f"quarter-hour {labels.index('')} has no period", "24 hours, each once")
    table.done()
    return NamedHours(months, tuple(labels))


def _slots(table: Entries, key: str, text: str) -> tuple[int, int]:
    try:
        first, last = (_slot(part) for part in text.split("-"))
    except ValueError:
        first, last = 0, 0
    if not 0 <= first < last <= SLOTS_PER_DAY:
        table.refuse(key, text, 'quarter-hours, for example "16:00-18:30"')
    return first, last


def _slot(text: str) -> int:
    hour, minute = text.split(":")
    if len(hour) != 2 or minute not in ("00", "15", "30", "45"):
        raise ValueError(text)
    return int(hour) * SLOTS_PER_HOUR + int(minute) // 15
