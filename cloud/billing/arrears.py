"""What happens when a bill is not paid: due date, ageing, late fee, dunning steps, low balance. Pure.

Everything that decides is in a dated file of kind "collection". Days are trading days; a payment on its day still
counts that day (供电营业规则: 自逾期之日起计算至交纳日止), so the principal of a late day is what was open as it began.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import groupby, pairwise, zip_longest
from typing import NamedTuple

from cloud import daytypes
from cloud.billing.filetable import CATEGORIES, FileTable
from cloud.billing.line import Derivation, Input
from cloud.billing.tariff import Head
from cloud.errors import Invalid, NotFound
from cloud.markettime import days_between
from cloud.money import fen_of, product, yuan

CHANNELS = ("inbox", "wechat", "sms", "letter", "desk")
LATE_FEE_FORMULA = "principal * days * rate"
LATE_DAYS_MAX = 3653  # a debt is followed for ten years

_DAY = timedelta(days=1)


class StepDeed(StrEnum):
    """What a dunning step does: tell the customer, or propose something to a member of staff."""

    NOTICE = "notice"
    PROPOSAL = "proposal"


@dataclass(frozen=True, slots=True)
class LateRates:
    """Late fee per day of a category: in the year in which a debt fell due, and after that year."""

    category: str
    current_year_rate: Decimal
    later_years_rate: Decimal


@dataclass(frozen=True, slots=True)
class DunningStep:
    """One step, due so many working days after the due date and not before `calendar_days` after it."""

    name: str
    working_days: int
    calendar_days: int | None
    deed: StepDeed
    channel: str


@dataclass(frozen=True, slots=True)
class CollectionRules:
    """How long a customer has, what being late costs, and who is told when."""

    head: Head
    due_days: int
    late_rates: tuple[LateRates, ...]
    late_fee_cap_ratio: Decimal | None  # of the principal; None: the rule names none
    steps: tuple[DunningStep, ...]
    prepaid_alarm_fen: int
    ageing_days: tuple[int, ...]

    def rates_for(self, category: str) -> LateRates:
        """Find the late fee rates of a customer category. Raises NoLateRates."""
        for each in self.late_rates:
            if each.category == category:
                return each
        raise NoLateRates("no_late_rates", category=category, file=self.head.origin)


class NoLateRates(Invalid):
    """The collection file in force says nothing about a customer category."""


class NoCollectionRules(NotFound):
    """No collection file is in force on a day."""


class Claim(NamedTuple):
    """From `day` on the whole demand for a bill month is `total_fen`, to be paid by `due`."""

    day: date
    due: date
    total_fen: int


class Move(NamedTuple):
    """What one day's postings changed of an open item: positive is owed, negative is paid."""

    day: date
    amount_fen: int


@dataclass(frozen=True, slots=True)
class LateFeeLine:
    """The fee of a stretch of late days with one principal and one rate."""

    principal_fen: int
    days: int
    rate: Decimal
    amount_fen: int
    derivation: Derivation


def collection_rules(table: FileTable, head: Head) -> CollectionRules:
    """Read a file of kind "collection". Raises BadPriceFile."""
    rates = tuple(_late_rates(each) for each in table.tables("late_fee"))
    if {each.category for each in rates} != set(CATEGORIES) or len(rates) != len(CATEGORIES):
        table.refuse("late_fee", [each.category for each in rates], "each once of " + " | ".join(CATEGORIES))
    steps = tuple(_step(each) for each in table.tables("step"))
    if len({each.name for each in steps}) != len(steps):
        table.refuse("step", [each.name for each in steps], "each name once")
    if list(steps) != sorted(steps, key=lambda each: each.working_days):
        table.refuse("step", [each.working_days for each in steps], "steps in order of working_days")
    ageing = table.integers("ageing_days")
    if not ageing or ageing[0] < 1 or any(one >= later for one, later in pairwise(ageing)):
        table.refuse("ageing_days", ageing, "rising days, at least one")
    return CollectionRules(
        head,
        due_days=table.integer("due_days", 1, 366),
        late_rates=rates,
        late_fee_cap_ratio=table.optional_decimal("late_fee_cap_ratio"),
        steps=steps,
        prepaid_alarm_fen=fen_of(table.decimal("prepaid_alarm_yuan")),
        ageing_days=ageing,
    )


def _late_rates(table: FileTable) -> LateRates:
    rates = LateRates(
        table.choice("category", CATEGORIES),
        table.decimal("current_year_rate"),
        table.decimal("later_years_rate"),
    )
    if not (0 <= rates.current_year_rate <= 1 and 0 <= rates.later_years_rate <= 1):
        table.refuse("current_year_rate", str(rates), "0 to 1 per day")
    table.done()
    return rates


def _step(table: FileTable) -> DunningStep:
    step = DunningStep(
        table.text("name"),
        table.integer("working_days", -20, 500),
        table.integer("calendar_days", 0, 1000) if "calendar_days" in table.content else None,
        StepDeed(table.choice("deed", tuple(StepDeed))),
        table.choice("channel", CHANNELS),
    )
    table.done()
    return step


def rules_on(files: Iterable[object], day: date) -> CollectionRules:
    """Choose the collection file in force on a day among published files, the newest version. Raises NoCollectionRules."""
    in_force = [each for each in files if isinstance(each, CollectionRules) and each.head.in_force(day)]
    if not in_force:
        raise NoCollectionRules("no_collection_rules", day=day.isoformat())
    return max(in_force, key=lambda each: (each.head.effective_from, each.head.version))


def due_date(issued_on: date, rules: CollectionRules) -> date:
    """Find the last day on which a bill issued on a day is paid in time."""
    return issued_on + timedelta(days=rules.due_days)


def late_fee(
    claims: Sequence[Claim], moves: Iterable[Move], through: date, rates: LateRates, rules: CollectionRules
) -> tuple[LateFeeLine, ...]:
    """Compute the whole late fee of one bill month from its first late day through a day, line by line.

    `claims` are the month's issued demands, oldest first; one that was replaced by its due date never falls due, and
    what a later one adds is late only after that one's own due date.
    Fee of a line = principal x days x rate, rounded once; no fee on fees. A cap cuts the last lines.
    """
    if not claims:
        return ()
    first = min(claim.due for claim in claims) + _DAY
    end = min(through + _DAY, first + timedelta(days=LATE_DAYS_MAX))
    moved = tuple(sorted(moves))
    days = [
        (day, _overdue_fen(claims, moved, day), _rate(claims, day, rates)) for day in days_between(first, end)
    ]
    lines = []
    for (principal_fen, rate), stretch in groupby(days, key=lambda each: each[1:]):
        if principal_fen > 0:
            whole = [day for day, _, _ in stretch]
            lines.append(_line(principal_fen, whole, rate, rules))
    return _capped(lines, rules)


def _overdue_fen(claims: Sequence[Claim], moves: Sequence[Move], day: date) -> int:
    open_fen = sum(move.amount_fen for move in moves if move.day < day)
    known = [claim for claim in claims if claim.day < day]
    late = [
        claim
        for claim, later in zip_longest(known, known[1:])
        if claim.due < day and (later is None or later.day > claim.due)
    ]
    if not late:
        return 0
    not_yet_due_fen = max(0, known[-1].total_fen - late[-1].total_fen)
    return max(0, open_fen - not_yet_due_fen)


def _rate(claims: Sequence[Claim], day: date, rates: LateRates) -> Decimal:
    fell_due = min(claim.due for claim in claims).year
    return rates.current_year_rate if day.year <= fell_due else rates.later_years_rate


def _line(principal_fen: int, days: Sequence[date], rate: Decimal, rules: CollectionRules) -> LateFeeLine:
    document = rules.head.document_for("late_fee")
    inputs = (
        Input("principal", yuan(principal_fen), "yuan", "ledger"),
        Input("days", Decimal(len(days)), "day", "calendar"),
        Input("rate", rate, "per day", rules.head.origin, document),
    )
    amount_fen = fen_of(product(yuan(principal_fen), Decimal(len(days)), rate))
    derivation = Derivation(LATE_FEE_FORMULA, inputs, days[0], days[-1] + _DAY)
    return LateFeeLine(principal_fen, len(days), rate, amount_fen, derivation)


def _capped(lines: Sequence[LateFeeLine], rules: CollectionRules) -> tuple[LateFeeLine, ...]:
    """Leave out what lies above the cap; the line that reaches it keeps the rest and says so."""
    if rules.late_fee_cap_ratio is None or not lines:
        return tuple(lines)
    cap_fen = fen_of(product(yuan(max(line.principal_fen for line in lines)), rules.late_fee_cap_ratio))
    kept: list[LateFeeLine] = []
    for line in lines:
        left_fen = cap_fen - sum(each.amount_fen for each in kept)
        if left_fen <= 0:
            break
        kept.append(line if line.amount_fen <= left_fen else _cut(line, left_fen, rules))
    return tuple(kept)


def _cut(line: LateFeeLine, left_fen: int, rules: CollectionRules) -> LateFeeLine:
    rest = Input(
        "rest_to_cap",
        yuan(left_fen),
        "yuan",
        rules.head.origin,
        rules.head.document_for("late_fee_cap_ratio"),
    )
    derivation = Derivation(
        "rest_to_cap", (rest,), line.derivation.first_day, line.derivation.end_day, (("cap", "reached"),)
    )
    return LateFeeLine(line.principal_fen, line.days, line.rate, left_fen, derivation)


def fee_fen(lines: Iterable[LateFeeLine]) -> int:
    """Add up a late fee."""
    return sum(line.amount_fen for line in lines)


class Debt(NamedTuple):
    """An open item as collection sees it."""

    item: str
    due: date
    open_fen: int


def overdue_days(due: date, today: date) -> int:
    """Count the days a debt is late; 0 up to and on its due date."""
    return max(0, (today - due).days)


def ageing(debts: Iterable[Debt], today: date, rules: CollectionRules) -> tuple[int, ...]:
    """Sum open amounts by age: not yet due, then one bucket per end in `ageing_days`, then everything older."""
    buckets = [0] * (len(rules.ageing_days) + 2)
    for debt in debts:
        days = overdue_days(debt.due, today)
        older = sum(1 for end in rules.ageing_days if days > end)
        buckets[0 if days == 0 else 1 + older] += debt.open_fen
    return tuple(buckets)


def is_due(due: date, step: DunningStep, today: date) -> bool:
    """Say whether a step's day has come. Raises NoCalendar; days that are still ahead need no calendar."""
    if step.working_days < 0:
        return today >= due or daytypes.add_working_days(due, step.working_days) <= today
    after = daytypes.working_days_between(due + _DAY, today + _DAY)
    return (
        after >= step.working_days and overdue_days(due, today) >= (step.calendar_days or 0) and today >= due
    )


def next_step(debt: Debt, taken: Iterable[str], today: date, rules: CollectionRules) -> DunningStep | None:
    """Choose the step to take today: the latest one that is due, and only when it and all later ones are untaken.

    Steps that were missed are not made up for (three letters on one day help nobody); each is taken at most once.
    Raises NoCalendar.
    """
    if debt.open_fen <= 0:
        return None
    done = set(taken)
    due = [step for step in rules.steps if is_due(debt.due, step, today)]
    if not due or any(step.name in done for step in rules.steps[len(due) - 1 :]):
        return None
    return due[-1]


def is_low(prepaid_fen: int, owed_fen: int, rules: CollectionRules) -> bool:
    """Say whether a prepaid balance, after what is owed, is below the alarm threshold."""
    return prepaid_fen - owed_fen < rules.prepaid_alarm_fen
