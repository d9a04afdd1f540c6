"""How fast bills are rated, one after another, as ratios within one run.

The reference (1.0) is the bare sum: the month's 2,976 quarter-hours of a customer added up by Python's `sum`, which
any rating must at least read. Against it: intervals to usage by period (once per customer), usage to the lines of a
bill with their derivations, the bill as JSON, and the bill on paper.

    python -m benchmarks.rating [--bills 200] [--papers 20]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from cloud.billing import bill, facts
from cloud.billing.billjson import bill_text
from cloud.billing.catalogue import Buyer, Prices
from cloud.billing.labels import Language
from cloud.billing.run.print import bill_pdf
from cloud.billing.segment import DemandMode, Segment, Terms, usage_from
from cloud.billing.store.published import packaged_catalogue
from cloud.markettime import days_of_month, month_bounds
from cloud.metering.interval import IntervalDay, IntervalQuality

AUGUST, SEPTEMBER = date(2026, 8, 1), date(2026, 9, 1)
TERMS = Terms("commercial", "agency", "two_part", "1-10kV", DemandMode.ACTUAL, 1250, None, Decimal("0.90"))


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer's month."""

    number: int
    days: tuple[IntervalDay, ...]


def customer(number: int) -> Customer:
    """Make a month of 31 x 96 quarter-hours that differs from customer to customer."""
    measured = (int(IntervalQuality.ACTUAL),) * 96
    nothing = (0,) * 96
    days = []
    for day in days_of_month(AUGUST):
        curve = tuple(
            20_000 + (number * 7919 + day.day * 104_729 + slot * 1_299_709) % 50_000 for slot in range(96)
        )
        reactive = tuple(wh // 3 for wh in curve)
        days.append(IntervalDay(f"SP{number}", day, 1, curve, nothing, reactive, nothing, measured))
    return Customer(number, tuple(days))


def bare_sum(one: Customer) -> int:
    """Add the month's quarter-hours up and nothing else."""
    return sum(sum(wh or 0 for wh in day.import_wh) for day in one.days)


def segment_of(one: Customer, prices: Prices) -> Segment:
    """Sum a month by period, with demand and reactive energy."""
    return Segment(AUGUST, SEPTEMBER, TERMS, usage_from(one.days, prices.calendar))


def bill_of(number: int, segment: Segment, prices: Prices) -> facts.Bill:
    """Rate a summed month: all lines with their derivations."""
    priced = bill.priced([(segment, prices)])
    lines = bill.rate(priced, AUGUST)
    account = facts.Account(f"{number:013d}", f"示范园区{number}号", "示范园区")
    return facts.Bill(account, AUGUST, 1, month_bounds(AUGUST)[1], tuple(map(facts.rated, priced)), lines)


def per_s(count: int, work: Callable[[], object]) -> float:
    """Time one pass over `count` things; things per second."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bills", type=int, default=200, help="customers to rate")
    parser.add_argument("--papers", type=int, default=20, help="bills to print")
    arguments = parser.parse_args()
    prices = packaged_catalogue().prices_on(AUGUST, Buyer("jibei", "agency", "commercial"))
    customers = [customer(number) for number in range(arguments.bills)]
    segments = [segment_of(each, prices) for each in customers]
    bills = [bill_of(number, segment, prices) for number, segment in enumerate(segments)]
    papers = bills[: arguments.papers]
    bill_pdf(bills[-1], Language.ZH)  # the fonts are read once
    rows = (
        (
            "bare sum of 2,976 quarter-hours",
            per_s(len(bills), lambda: [bare_sum(each) for each in customers]),
        ),
        (
            "intervals -> usage by period",
            per_s(len(bills), lambda: [segment_of(each, prices) for each in customers]),
        ),
        (
            "usage -> lines with derivations",
            per_s(len(bills), lambda: [bill_of(n, each, prices) for n, each in enumerate(segments)]),
        ),
        (
            "intervals -> bill",
            per_s(
                len(bills),
                lambda: [bill_of(each.number, segment_of(each, prices), prices) for each in customers],
            ),
        ),
        ("bill -> JSON", per_s(len(bills), lambda: [bill_text(each) for each in bills])),
        (
            "bill -> PDF, two pages",
            per_s(len(papers), lambda: [bill_pdf(each, Language.ZH) for each in papers]),
        ),
    )
    reference = rows[0][1]
    print(f"{'one process, one at a time':36} {'bills/s':>10} {'ratio':>8}")
    for name, rate in rows:
        print(f"{name:36} {rate:10,.0f} {rate / reference:8.3f}")


if __name__ == "__main__":
    main()
