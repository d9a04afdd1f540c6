"""What happens to a bill when something it rests on changes: which run takes it, and what it changes. Pure.

initial   the normal bill run; what is known later finds its bill already issued
r1 r2 …   late readings wait for the first run whose cut-off they make
desk      everything else (a price file, terms, a package, a settlement) is proposed at once
beyond    known later than the back-billing limit allows: listed, never billed
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from itertools import groupby, pairwise

from cloud import daytypes
from cloud.billing.bill import LineChange, line_changes
from cloud.billing.facts import Bill
from cloud.billing.filetable import FileTable
from cloud.billing.line import BillLine, total_fen
from cloud.billing.tariff import Head
from cloud.markettime import day_bounds, month_after, month_bounds

INITIAL = "initial"
DESK = "desk"
BEYOND = "beyond"


class Cause(StrEnum):
    """What changed under a bill."""

    INTERVAL = "interval"
    PRICE_FILE = "price_file"
    TERMS = "terms"
    PACKAGE = "package"
    SUPPLY_POINT = "supply_point"
    SETTLEMENT = "settlement"
    LADDER = "ladder"  # an earlier month of the year was corrected, and so was where this one begins


class Outcome(StrEnum):
    """What a look at one touched bill came to."""

    DIFFERS = "differs"
    SAME = "same"
    BEYOND = "beyond"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Run:
    """A correction run: it takes what became known before its cut-off, so many months after the billed month."""

    name: str
    months: int


@dataclass(frozen=True, slots=True)
class CorrectionRules:
    """The runs in order of their cut-offs, and how far back a bill is corrected at all."""

    head: Head
    back_months: int
    initial_working_days: int
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """One reason why a bill is touched: 'SP0001 2026-08-12 1 2' (from revision 1 to 2), 'jibei-agency-2026-08@2'."""

    cause: Cause
    detail: str


@dataclass(frozen=True, slots=True)
class Touched:
    """An issued bill that something changed under, with everything that did and when the last of it was known."""

    bill_id: int
    account_id: str
    month: date
    whys: tuple[Why, ...]
    known_at: datetime


@dataclass(frozen=True, slots=True)
class Item:
    """What a proposal says about one touched bill. `bill` is the next revision, of DIFFERS only."""

    bill_id: int
    outcome: Outcome
    whys: tuple[Why, ...]
    before_fen: int
    after_fen: int
    input_sha256: bytes | None = None
    bill: Bill | None = None
    problem: str = ""

    @property
    def change_fen(self) -> int:
        """Compute what the customer owes more (positive) or less."""
        return self.after_fen - self.before_fen


@dataclass(frozen=True, slots=True)
class Totals:
    """What a proposal comes to: bills that change, what is charged more and what is given back."""

    bills_count: int
    more_fen: int
    less_fen: int

    @property
    def change_fen(self) -> int:
        """Compute the balance of both."""
        return self.more_fen + self.less_fen


def correction_rules(table: FileTable, head: Head) -> CorrectionRules:
    """Read a file of kind "correction". Raises BadPriceFile."""
    runs = tuple(_run(each) for each in table.tables("run"))
    back_months = table.integer("back_months", 1, 120)
    months = [each.months for each in runs]
    if not runs or any(one >= later for one, later in pairwise(months)) or months[-1] > back_months:
        table.refuse("run", months, f"rising months, at least one run, none beyond back_months {back_months}")
    if len({each.name for each in runs} | {INITIAL, DESK, BEYOND}) != len(runs) + 3:
        table.refuse("run", [each.name for each in runs], "each name once, none of initial | desk | beyond")
    initial = table.integer("initial_working_days", 1, 20)
    return CorrectionRules(head, back_months, initial, runs)


def _run(table: FileTable) -> Run:
    run = Run(table.text("name"), table.integer("months", 1, 120))
    table.done()
    return run


def cutoff(month: date, run: Run) -> datetime:
    """Find the instant before which a run of a month takes what became known."""
    return month_bounds(month_after(month, 1 + run.months))[0]


def initial_cutoff(month: date, rules: CorrectionRules) -> datetime:
    """Find the instant at which the month's normal bill run ends. Raises NoCalendar."""
    return day_bounds(daytypes.working_day(month_after(month), rules.initial_working_days))[1]


def limit(month: date, rules: CorrectionRules) -> datetime:
    """Find the instant from which on nothing about a month is back-billed any more."""
    return month_bounds(month_after(month, 1 + rules.back_months))[0]


def is_beyond(month: date, known_at: datetime, rules: CorrectionRules) -> bool:
    """Whether a change became known too late for the month's bill."""
    return known_at >= limit(month, rules)


def run_of(touched: Touched, rules: CorrectionRules) -> str:
    """Name the run that takes a touched bill: late readings wait, the rest goes to the desk; or BEYOND."""
    if is_beyond(touched.month, touched.known_at, rules):
        return BEYOND
    if any(each.cause is not Cause.INTERVAL for each in touched.whys):
        return DESK
    taking = (each.name for each in rules.runs if touched.known_at < cutoff(touched.month, each))
    return next(taking, BEYOND)


def is_due(touched: Touched, now: datetime, rules: CorrectionRules) -> bool:
    """Whether the run that takes a touched bill is due."""
    name = run_of(touched, rules)
    if name in (DESK, BEYOND):
        return True
    run = next(each for each in rules.runs if each.name == name)
    return now >= cutoff(touched.month, run)


def by_bill(notes: Iterable[Touched]) -> tuple[Touched, ...]:
    """Put what touches the same bill together; what was known last decides about the run."""
    ordered = sorted(notes, key=lambda each: (each.account_id, each.month, each.bill_id))
    return tuple(
        _merged(tuple(group))
        for _, group in groupby(ordered, key=lambda each: (each.account_id, each.month, each.bill_id))
    )


def _merged(notes: tuple[Touched, ...]) -> Touched:
    first = notes[0]
    whys = {why for each in notes for why in each.whys}
    ordered = tuple(sorted(whys, key=lambda why: (why.cause, why.detail)))
    known_at = max(each.known_at for each in notes)
    return Touched(first.bill_id, first.account_id, first.month, ordered, known_at)


def same(touched: Touched, lines: Sequence[BillLine], input_sha256: bytes) -> Item:
    """Say that a bill is touched and yet right: what decides its amounts is as it was, or comes to the same lines."""
    fen = total_fen(tuple(lines))
    return Item(touched.bill_id, Outcome.SAME, touched.whys, fen, fen, input_sha256)


def differs(touched: Touched, lines: Sequence[BillLine], bill: Bill, input_sha256: bytes) -> Item:
    """Propose the next revision of a bill."""
    before_fen = total_fen(tuple(lines))
    return Item(
        touched.bill_id, Outcome.DIFFERS, touched.whys, before_fen, bill.total_fen, input_sha256, bill
    )


def not_billed(touched: Touched, total_before_fen: int, outcome: Outcome, problem: str = "") -> Item:
    """List a bill that is touched and stays as it is: too late, or it cannot be drawn up."""
    return Item(touched.bill_id, outcome, touched.whys, total_before_fen, total_before_fen, problem=problem)


def totals(changes_fen: Iterable[int]) -> Totals:
    """Add up what the changed bills charge more and give back."""
    changes = tuple(changes_fen)
    more = sum(each for each in changes if each > 0)
    return Totals(len(changes), more, sum(changes) - more)


def changes(before: Sequence[BillLine], after: Sequence[BillLine]) -> tuple[LineChange, ...]:
    """List the charges that differ; their changes add up to the change of the total."""
    return line_changes(before, after)
