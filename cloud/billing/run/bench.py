"""Rate known energy under other prices: the test bench's accounts one by one, and a customer's comparison of packages.

A bench run is rows: a unit is one account; a unit and its results are one transaction, so a run that is killed goes
on where it was, with any number of workers, and nothing is rated twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from cloud.billing import bench, comparison, draft
from cloud.billing.bench import MonthUse
from cloud.billing.bill import LineChange
from cloud.billing.catalogue import Catalogue
from cloud.billing.comparison import Comparison
from cloud.billing.package import Package
from cloud.billing.run import bill as billing
from cloud.billing.store import drafts, published
from cloud.billing.store.drafts import Result, Unit
from cloud.billing.tariff import PriceFile
from cloud.db import Conn, Pool, Scope, transaction
from cloud.errors import Refused
from cloud.markettime import day_of, month_after, month_of

MONTHS_BACK = 12


@dataclass(frozen=True, slots=True)
class SkippedMonth:
    """A month that is not in the comparison: the key of the refusal says why."""

    month: date
    reason: str


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison over the months that could be rated; `result` None when there is none."""

    months: tuple[date, ...]
    skipped: tuple[SkippedMonth, ...]
    result: Comparison | None


def compare(conn: Conn, account_id: str, now: datetime, shift_percent: int = 0) -> Compared:
    """Compare the open packages on the account's last twelve whole months, as far as they can be rated."""
    uses: list[MonthUse] = []
    skipped: list[SkippedMonth] = []
    known: Catalogue | None = None
    for month in months_before(month_of(day_of(now)), MONTHS_BACK):
        try:
            inputs = billing.inputs(conn, account_id, month, now)
            use = use_of(inputs)
            bench.lines_under(use, inputs.catalogue)
        except Refused as problem:
            skipped.append(SkippedMonth(month, problem.key))
            continue
        known = inputs.catalogue
        uses.append(use)
    result = None if known is None else comparison.compare(uses, known, day_of(now), shift_percent)
    return Compared(tuple(use.month for use in uses), tuple(skipped), result)


def work_off(pool: Pool, scope: Scope, now: datetime, units_max: int) -> int:
    """Rate open bench units until none is free, or `units_max`; return how many this process did."""
    done = 0
    while done < units_max:
        with transaction(pool, scope) as conn:
            unit = drafts.take_unit(conn)
            if unit is None:
                break
            drafts.finish_unit(conn, unit, rate_unit(conn, unit, now), now)
        done += 1
    return done


def rate_unit(conn: Conn, unit: Unit, now: datetime) -> tuple[Result, ...]:
    """Rate the account's months before and after; a month that cannot be rated says why."""
    file = draft.checked(unit.body).file
    if file is None:
        raise ValueError(f"bench run {unit.bench_id} is of a text that is no price file")
    months = months_between(unit.first_month, unit.end_month)
    return tuple(rate_month(conn, unit.account_id, month, file, now) for month in months)


def rate_month(conn: Conn, account_id: str, month: date, file: PriceFile, now: datetime) -> Result:
    """Rate one month of an account before and after the draft."""
    category = ""
    try:
        inputs = billing.inputs(conn, account_id, month, now)
        use = use_of(inputs)
        category = use.category
        if isinstance(file, Package) and (reason := bench.ineligible(use, file)):
            return Result(account_id, month, category, None, None, (), f"ineligible_{reason}")
        rated = bench.rerated(use, inputs.catalogue, file)
    except Refused as problem:
        return Result(account_id, month, category, None, None, (), problem.key)
    changes = tuple(map(_change_json, rated.changes))
    return Result(account_id, month, category, rated.before_fen, rated.after_fen, changes, "")


def balances(results: tuple[Result, ...]) -> tuple[bench.Balance, ...]:
    """Add up each account's months that were rated."""
    sums: dict[str, bench.Balance] = {}
    for each in results:
        if each.before_fen is None or each.after_fen is None:
            continue
        before = sums.get(each.account_id, bench.Balance(each.account_id, each.category, 0, 0))
        sums[each.account_id] = bench.Balance(
            each.account_id,
            each.category,
            before.before_fen + each.before_fen,
            before.after_fen + each.after_fen,
        )
    return tuple(sums.values())


def replaced(conn: Conn, file: PriceFile, day: date) -> tuple[PriceFile, str] | None:
    """Find the file a draft follows and its text; None when it is the first of its kind."""
    before = draft.in_force_before(file, published.catalogue(conn), day)
    if before is None:
        return None
    return before, published.text_of(conn, before.head.id, before.head.version) or ""


def use_of(inputs: billing.Inputs) -> MonthUse:
    """Take of a bill's inputs what other prices may be put to."""
    stretches = tuple(stretch for stretch, _ in inputs.stretches)
    return MonthUse(inputs.month, inputs.grid, stretches, inputs.days, inputs.given)


def months_before(month: date, count: int) -> tuple[date, ...]:
    """List the `count` months before a month, the earliest first."""
    return tuple(month_after(month, -back) for back in range(count, 0, -1))


def months_between(first: date, end: date) -> tuple[date, ...]:
    """List the months of `[first, end)`."""
    found = []
    while first < end:
        found.append(first)
        first = month_after(first)
    return tuple(found)


def _change_json(change: LineChange) -> dict[str, Any]:
    return {
        "section": change.section.value,
        "item": change.item,
        "period": None if change.period is None else change.period.value,
        "first_day": change.first_day.isoformat(),
        "before_fen": change.before_fen,
        "after_fen": change.after_fen,
    }
