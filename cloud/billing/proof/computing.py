"""The offline part: a bill's own figures against each other and against the published price files. Pure.

Energy: every day of every segment is there once, the days add up, the registers moved as much as the intervals say.
Amounts: `recompute.check` (every formula by another evaluator, and the rating code run again).
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

from cloud.billing.catalogue import Catalogue
from cloud.billing.facts import Bill
from cloud.billing.proof.step import Step, group, judged, note, right, unproven
from cloud.billing.recompute import Checked, check
from cloud.markettime import days_between, month_after, month_of
from cloud.money import EXACT, yuan

IMPORT_REGISTER = "ea_imp"
DIFFERS = "register_differs"  # the finding of a bill that knows that its registers differ
DAY = timedelta(days=1)


def computing(bill: Bill, catalogue: Catalogue) -> Step:
    """Check everything that needs nothing but the bill and the price files."""
    checked = check(bill, catalogue)
    energy = [*_day_problems(bill), *_sum_problems(checked)]
    return group(
        "computing",
        (
            _amounts(bill, checked),
            judged(
                "energy",
                energy,
                days=sum(len(each.segment.usage.days) for each in bill.segments),
                kwh=bill.total_kwh,
            ),
            _registers(bill),
            _files(bill, checked, catalogue),
        ),
        yuan=yuan(bill.total_fen),
    )


def _amounts(bill: Bill, checked: Checked) -> Step:
    own = [each for each in checked.problems if not each.startswith(("energy ", "price file "))]
    if own:
        return judged("amounts", own, lines=len(bill.lines))
    if checked.unknown_files:
        return unproven("amounts_by_formula", "", lines=len(bill.lines))
    return right("amounts", lines=len(bill.lines), settled=len(bill.given.settled))


def _sum_problems(checked: Checked) -> list[str]:
    return [each for each in checked.problems if each.startswith("energy ")]


def _day_problems(bill: Bill) -> list[str]:
    """Every day of the month's segments once: energy without its days proves nothing."""
    problems = []
    if not bill.segments:
        return ["the bill has no segment"]
    edges = [(each.segment.first_day, each.segment.end_day) for each in bill.segments]
    first_day, end_day = min(first for first, _ in edges), max(end for _, end in edges)
    if first_day < bill.month or end_day > month_after(month_of(bill.month)):
        return ["segments reach beyond the month"]
    for (_, end), (first, _) in pairwise(edges):
        if first != end:
            problems.append(f"segments: {end} to {first} is in none or in two")
    for each in bill.segments:
        segment = each.segment
        found = [day.day for day in segment.usage.days]
        wanted = list(days_between(segment.first_day, segment.end_day))
        if found != wanted:
            lost = sorted(set(wanted) - set(found))
            extra = sorted(set(found) - set(wanted))
            named = f"missing {lost[0]}" if lost else f"not in it {extra[0]}" if extra else "out of order"
            problems.append(f"days of {segment.first_day} to {segment.end_day}: {named}")
    return problems


def _registers(bill: Bill) -> Step:
    """Registers x multiplier against the intervals, to the Wh; a difference that the bill itself names is no fraud."""
    moved_kwh: dict[str, Decimal] = defaultdict(Decimal)
    unread: set[str] = set()
    for each in bill.registers:
        if each.register != IMPORT_REGISTER:
            continue
        if each.moved_kwh is None:
            unread.add(each.supply_point_id)
            continue
        moved_kwh[each.supply_point_id] = EXACT.add(moved_kwh[each.supply_point_id], each.moved_kwh)
    if not bill.registers:
        return note("registers_none")
    known = {finding.rule for finding in bill.findings}
    if unread:
        return note("registers_unread", points=", ".join(sorted(unread)))
    wh = sum((EXACT.scaleb(kwh, 3) for kwh in moved_kwh.values()), Decimal(0))
    slack = Decimal(len(bill.registers))  # each register's multiplied total was floored to the Wh
    problems = []
    if abs(EXACT.subtract(wh, Decimal(bill.import_wh))) > slack and DIFFERS not in known:
        problems.append(f"registers moved {wh.normalize():f} Wh, the intervals say {bill.import_wh} Wh")
    return judged(
        "registers",
        problems,
        meters=len({each.meter_id for each in bill.registers}),
        wh=f"{wh.normalize():f}",
    )


def _files(bill: Bill, checked: Checked, catalogue: Catalogue) -> Step:
    refs = dict.fromkeys(ref for each in bill.segments for ref in each.files)
    others = [each for each in checked.problems if each.startswith("price file ")]
    if others:
        return judged("prices", others, files=len(refs))
    if checked.unknown_files:
        return unproven(
            "prices", "price files not known here: " + ", ".join(checked.unknown_files), files=len(refs)
        )
    heads = {(each.head.id, each.head.version): each.head for each in catalogue.files}
    stale = [
        f"price file {ref.id}@{ref.version} is not in force on {day}"
        for each in bill.segments
        for ref in each.files
        for day in (each.segment.first_day, each.segment.end_day - DAY)
        if not heads[ref.id, ref.version].in_force(day)
    ]
    return judged("prices", stale, files=len(refs))
