"""What must be reported to the regulator, in which form and by when: dated definitions from TOML files. Pure.

A definition is `cloud/market/reporting/<id>.toml`: id, kind, titles, and versions, each in force from a day. The due day
is counted in working days of the month after the period (cloud/daytypes), so it moves with the holidays.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import Any, Final

from cloud import daytypes
from cloud.errors import Invalid, NotFound
from cloud.market.report import CHECKS, COLUMNS
from cloud.markettime import month_after

PERIODS: Final = ("month", "quarter")
_MONTHS: Final = {"month": 1, "quarter": 3}
DUE_WD_MAX: Final = 20


class BadReportRule(Invalid):
    """A definition's file contradicts itself; `facts` name the file and the entry."""


class NoReport(NotFound):
    """There is no such report, or it was not due for that period."""


@dataclass(frozen=True, slots=True)
class Version:
    """A form and deadline in force from a day."""

    version: int
    start: date
    basis: str
    period: str
    due_working_day: int
    columns: tuple[str, ...]
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Definition:
    """One report with all its versions, the oldest first."""

    report_id: str
    kind: str
    title_zh: str
    title_en: str
    versions: tuple[Version, ...]

    def version_for(self, first: date) -> Version:
        """The version that governs a period by its first day. Raises NoReport."""
        found = [each for each in self.versions if each.start <= first]
        if not found:
            raise NoReport("no_report", report=self.report_id, period=first.isoformat())
        return found[-1]


@dataclass(frozen=True, slots=True)
class Due:
    """One entry of the calendar: which report, for which period `[first, end)`, by which day (included)."""

    report_id: str
    version: int
    first: date
    end: date
    due: date

    @property
    def name(self) -> str:
        """How the period is printed: '2026-10' or '2026Q3'."""
        return period_name(self.first, self.end)


def packaged() -> tuple[Definition, ...]:
    """The definitions that come with the program, in order of their ids. Raises BadReportRule."""
    folder = files("cloud.market").joinpath("reporting")
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return tuple(
        definition_from(entry.name, entry.read_text("utf-8"))
        for entry in entries
        if entry.name.endswith(".toml")
    )


def find(definitions: Sequence[Definition], report_id: str) -> Definition:
    """The definition of that id. Raises NoReport."""
    found = next((each for each in definitions if each.report_id == report_id), None)
    if found is None:
        raise NoReport("no_report", report=report_id, period="")
    return found


def definition_from(file: str, text: str) -> Definition:
    """Read one file. Raises BadReportRule."""
    try:
        content = tomllib.loads(text)
        kind = str(content["kind"])
        if kind not in COLUMNS:
            raise ValueError(f"kind {kind}: {sorted(COLUMNS)}")
        versions = tuple(_version(kind, each) for each in content["version"])
        numbers = [(each.version, each.start) for each in versions]
        if numbers != sorted(set(numbers)) or len({start for _, start in numbers}) != len(numbers):
            raise ValueError("versions rise in number and day")
        definition = Definition(
            str(content["id"]), kind, str(content["title_zh"]), str(content["title_en"]), versions
        )
        if f"{definition.report_id}.toml" != file:
            raise ValueError(f"id {definition.report_id}: the file is {file}")
    except KeyError as missing:
        raise BadReportRule("bad_report_rule", file=file, problem=f"{missing} is missing") from missing
    except (ValueError, TypeError, tomllib.TOMLDecodeError) as problem:
        raise BadReportRule("bad_report_rule", file=file, problem=str(problem)) from problem
    return definition


def period_of(version: Version, day: date) -> tuple[date, date]:
    """The period `[first, end)` that a day falls in."""
    months = _MONTHS[version.period]
    first = date(day.year, (day.month - 1) // months * months + 1, 1)
    return first, month_after(first, months)


def due_day(version: Version, end: date) -> date:
    """The last day to hand in the report of a period that ends before `end`. Raises daytypes.NoCalendar."""
    return daytypes.working_day(end, version.due_working_day)


def calendar(definitions: Sequence[Definition], first: date, last: date) -> tuple[Due, ...]:
    """Every report that is due on a day of `[first, last]`, in order of the due days. Raises daytypes.NoCalendar."""
    found: dict[tuple[str, date], Due] = {}
    for definition in definitions:
        month = month_after(first.replace(day=1), -4)
        while month <= last:
            try:
                version = definition.version_for(month)
            except NoReport:
                month = month_after(month)
                continue
            start, end = period_of(version, month)
            if month == start and end <= last:
                due = due_day(version, end)
                if first <= due <= last:
                    found[definition.report_id, start] = Due(
                        definition.report_id, version.version, start, end, due
                    )
            month = month_after(month)
    return tuple(sorted(found.values(), key=lambda each: (each.due, each.report_id)))


def period_name(first: date, end: date) -> str:
    """'2026-10' for a month, '2026Q3' for a quarter."""
    is_month = month_after(first) == end
    return f"{first:%Y-%m}" if is_month else f"{first.year}Q{(first.month + 2) // 3}"


def _version(kind: str, table: dict[str, Any]) -> Version:
    version = Version(
        version=table["version"],
        start=table["from"],
        basis=table["basis"],
        period=table["period"],
        due_working_day=table["due_working_day"],
        columns=tuple(table["columns"]),
        checks=tuple(table["checks"]),
    )
    if not isinstance(version.version, int) or version.version < 1 or not isinstance(version.start, date):
        raise ValueError("a version has a number from 1 and a day")
    if version.period not in PERIODS or not 1 <= version.due_working_day <= DUE_WD_MAX:
        raise ValueError(f"period is one of {PERIODS}, due_working_day from 1 to {DUE_WD_MAX}")
    if unknown := [each for each in version.columns if each not in COLUMNS[kind]]:
        raise ValueError(f"columns {unknown}: a report of {kind} has {COLUMNS[kind]}")
    if unknown := [each for each in version.checks if each not in CHECKS[kind]]:
        raise ValueError(f"checks {unknown}: a report of {kind} has {sorted(CHECKS[kind])}")
    if not version.checks or not version.columns or version.start.day != 1:
        raise ValueError("a version has columns and checks, and starts on a first of a month")
    return version
