"""A customer's own months under every open package: what each would have cost, and where the difference comes from. Pure.

The whole bill is rated, not only the energy: T&D, system operation, funds, basic charge and power factor are in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from cloud.billing import bench
from cloud.billing.bench import MonthUse
from cloud.billing.bill import priced, rate
from cloud.billing.catalogue import AmbiguousPrices, Catalogue, NoSuchPrice, UnpricedMonth
from cloud.billing.line import PERIODS, BillLine, Period, Section, total_fen
from cloud.billing.package import NoReferencePrice, Package
from cloud.money import quotient, total, yuan

AVERAGE_QUANTUM = Decimal("0.0001")
ENERGY_SECTIONS = (Section.ENERGY, Section.GREEN)


@dataclass(frozen=True, slots=True)
class MonthCost:
    """A month's whole bill under one offer, and its parts by section."""

    month: date
    total_fen: int
    sections: tuple[tuple[Section, int], ...]


@dataclass(frozen=True, slots=True)
class PeriodPart:
    """What a period's energy cost under an offer; None: the offer has no price of its own for it."""

    period: Period
    kwh: Decimal
    energy_fen: int | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An offer over all compared months. `package` None: what the account is on today."""

    package: Package | None
    months: tuple[MonthCost, ...]
    periods: tuple[PeriodPart, ...]
    kwh: Decimal

    @property
    def total_fen(self) -> int:
        """Add up the months."""
        return sum(each.total_fen for each in self.months)

    @property
    def energy_average(self) -> Decimal:
        """The price of energy and green value per kWh, to 0.0001 yuan; 0 without energy."""
        fen = sum(dict(each.sections).get(section, 0) for each in self.months for section in ENERGY_SECTIONS)
        return quotient(yuan(fen), self.kwh, AVERAGE_QUANTUM) if self.kwh else Decimal(0)

    @property
    def worst_month(self) -> MonthCost:
        """The dearest month."""
        return max(self.months, key=lambda each: each.total_fen)

    def section_differences(self, other: Candidate) -> tuple[tuple[Section, int], ...]:
        """Tell by section what this costs more (positive) or less than another; adds up to the whole difference."""
        mine, theirs = _section_sums(self), _section_sums(other)
        return tuple((each, mine[each] - theirs[each]) for each in Section if mine[each] != theirs[each])


@dataclass(frozen=True, slots=True)
class Left:
    """A package that is not compared, and why: a condition not met, or a price that is not published."""

    package: Package
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Today's bill and every eligible offer, the cheapest first."""

    current: Candidate
    candidates: tuple[Candidate, ...]
    left: tuple[Left, ...]


def compare(uses: Sequence[MonthUse], known: Catalogue, day: date, shift_percent: int = 0) -> Comparison:
    """Rate the months under what they were billed by and under every package open on the day.

    Every month must be one that can be rated as it is. Raises ValueError without a month.
    """
    if not uses:
        raise ValueError("nothing to compare")
    current = _candidate(None, [(use, known) for use in uses], shift_percent)
    candidates, left = [], []
    for package in open_packages(known, day):
        reasons = (bench.ineligible(use, package) for use in uses)
        reason = next((each for each in reasons if each is not None), None)
        if reason is None:
            try:
                own = [bench.on_package(use, known, package) for use in uses]
                candidates.append(_candidate(package, own, shift_percent))
            except (UnpricedMonth, NoSuchPrice, NoReferencePrice, AmbiguousPrices):
                reason = "unpriced"
        if reason is not None:
            left.append(Left(package, reason))
    order = sorted(candidates, key=lambda each: each.total_fen)
    return Comparison(current, tuple(order), tuple(left))


def open_packages(known: Catalogue, day: date) -> tuple[Package, ...]:
    """List the packages open on a day, of each the newest version, by id."""
    newest: dict[str, Package] = {}
    for each in known.files:
        if isinstance(each, Package) and each.head.in_force(day):
            before = newest.get(each.head.id)
            if before is None or before.head.version < each.head.version:
                newest[each.head.id] = each
    return tuple(newest[name] for name in sorted(newest))


def _candidate(
    package: Package | None, uses: Sequence[tuple[MonthUse, Catalogue]], shift_percent: int
) -> Candidate:
    months: list[MonthCost] = []
    lines: list[BillLine] = []
    kwh = [Decimal(0)] * len(PERIODS)
    for use, known in uses:
        segments = priced(bench.segments_under(use, known, shift_percent=shift_percent))
        own = rate(segments, use.month, use.given)
        months.append(MonthCost(use.month, total_fen(own), _by_section(own)))
        lines += own
        for each in segments:
            kwh = [total(pair) for pair in zip(kwh, each.energy.kwh, strict=True)]
    return Candidate(package, tuple(months), _periods(kwh, lines), total(kwh))


def _by_section(lines: Sequence[BillLine]) -> tuple[tuple[Section, int], ...]:
    sums: Counter[Section] = Counter()
    for line in lines:
        sums[line.section] += line.amount_fen
    return tuple((section, sums[section]) for section in Section if section in sums)


def _periods(kwh: Sequence[Decimal], lines: Sequence[BillLine]) -> tuple[PeriodPart, ...]:
    fen: Counter[Period] = Counter()
    for line in lines:
        if line.section is Section.ENERGY and line.period is not None:
            fen[line.period] += line.amount_fen
    return tuple(
        PeriodPart(period, part, fen.get(period)) for period, part in zip(PERIODS, kwh, strict=True) if part
    )


def _section_sums(candidate: Candidate) -> Counter[Section]:
    sums: Counter[Section] = Counter()
    for month in candidate.months:
        for section, fen in month.sections:
            sums[section] += fen
    return sums
