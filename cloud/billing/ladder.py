"""Catalogue prices 目录电价 of households: tiers by the kWh of a year or month, time-of-use prices beside them. Pure.

The position in the cycle decides the tier, a month may be split between tiers; each tier's kWh x price is a line
(tariffs-and-settlement 4.4). With time-of-use prices all kWh pay the first tier's price of their period, and the kWh
of higher tiers an increment on top. The all-in price contains T&D, system operation and funds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

from cloud.billing.line import PERIODS, BillLine, Derivation, Input, Section
from cloud.billing.tariff import Calendar, Energy, Head
from cloud.markettime import days_of_month, month_of
from cloud.money import EXACT, fen_for, quotient

MONTHS_OF_YEAR = 12


class Cycle(StrEnum):
    """Over what the kWh of the tiers are counted."""

    YEAR = "year"
    MONTH = "month"


class ProRata(StrEnum):
    """How the limits shrink when the customer is there, or the price in force, for a part of the cycle only."""

    NONE = "none"
    MONTHS = "months"  # 1/12 of a year's limit for every month begun
    DAYS = "days"


@dataclass(frozen=True, slots=True)
class LadderRow:
    """Prices of some voltages: one per tier, or one per period and the increments of the tiers above the first."""

    voltages: tuple[str, ...]
    tiers: tuple[Decimal, ...]  # yuan/kWh; with period prices: what a tier adds, the first adds 0
    periods: tuple[Decimal | None, ...] | None  # in the order of PERIODS; None: no time of use


@dataclass(frozen=True, slots=True)
class Ladder:
    """A published catalogue price: an option that customers of a category may have."""

    head: Head
    category: str
    option: str
    energy_quantum_kwh: Decimal
    cycle: Cycle
    pro_rata: ProRata
    limits_kwh: tuple[Decimal, ...]  # upper limits of all tiers but the last
    rows: tuple[LadderRow, ...]
    calendar: Calendar

    @property
    def knows_periods(self) -> bool:
        """Say whether it matters when the energy is used."""
        return any(row.periods is not None for row in self.rows)

    def row(self, voltage: str) -> LadderRow | None:
        """Find the prices of a voltage."""
        return next((row for row in self.rows if voltage in row.voltages), None)


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the cycle a stretch begins: kWh counted before it, and the part of the cycle that counts."""

    before_kwh: Decimal = Decimal(0)
    part_count: int = 1  # of `whole_count` months or days
    whole_count: int = 1


@dataclass(frozen=True, slots=True)
class Before:
    """Catalogue kWh billed before a stretch: of earlier months of the year, and earlier in the month."""

    year_kwh: Decimal = Decimal(0)
    month_kwh: Decimal = Decimal(0)
    service_from: date | None = None  # first day of the account's service; None: before this year


def tier_kwh(limits_kwh: Sequence[Decimal], before_kwh: Decimal, kwh: Decimal) -> tuple[Decimal, ...]:
    """Split kWh that come after `before_kwh` between the tiers; one more tier than limits, sums to `kwh`."""
    edges = (Decimal(0), *limits_kwh, max(EXACT.add(before_kwh, kwh), *limits_kwh, before_kwh))
    end = EXACT.add(before_kwh, kwh)
    return tuple(
        max(EXACT.subtract(min(end, above), max(before_kwh, below)), Decimal(0))
        for below, above in pairwise(edges)
    )


def limits_at(ladder: Ladder, position: Position) -> tuple[Decimal, ...]:
    """Compute the limits that hold for a part of the cycle, rounded to the ladder's energy quantum."""
    if position.part_count == position.whole_count:
        return ladder.limits_kwh
    part, whole = Decimal(position.part_count), Decimal(position.whole_count)
    return tuple(
        quotient(EXACT.multiply(limit, part), whole, ladder.energy_quantum_kwh) for limit in ladder.limits_kwh
    )


def position_of(ladder: Ladder, first_day: date, end_day: date, before: Before) -> Position:
    """Find where a stretch `[first_day, end_day)` of one month stands in the ladder's cycle.

    Days and months of a year count from `before.service_from`; a year's position is that of the whole calendar
    year, a month's that of the month, or of the stretch alone where limits are shared out by days.
    """
    if ladder.cycle is Cycle.MONTH:
        if ladder.pro_rata is ProRata.NONE:
            return Position(before.month_kwh)
        month_days = len(days_of_month(month_of(first_day)))
        return Position(part_count=(end_day - first_day).days, whole_count=month_days)
    counted = EXACT.add(before.year_kwh, before.month_kwh)
    new_year, year_end = date(first_day.year, 1, 1), date(first_day.year + 1, 1, 1)
    since = max(before.service_from or new_year, new_year)
    match ladder.pro_rata:
        case ProRata.NONE:
            return Position(counted)
        case ProRata.MONTHS:
            return Position(counted, MONTHS_OF_YEAR + 1 - since.month, MONTHS_OF_YEAR)
        case ProRata.DAYS:
            return Position(counted, (year_end - since).days, (year_end - new_year).days)


def ladder_lines(energy: Energy, ladder: Ladder, row: LadderRow, position: Position) -> tuple[BillLine, ...]:
    """Price the energy of a stretch: lines by period where the row has period prices, then one per tier.

    Tiers without kWh stay as zero lines; the first tier of a row with period prices adds nothing and has no line.
    """
    limits = limits_at(ladder, position)
    split = tier_kwh(limits, position.before_kwh, energy.total_kwh)
    notes = (
        ("limits_kwh", " / ".join(map(str, limits))),
        ("position_kwh", str(position.before_kwh)),
        ("tiers_kwh", " / ".join(map(str, split))),
    )
    document = ladder.head.document_for("row.tiers")
    by_tier = tuple(
        _line(
            (
                f"catalogue_tier_{number}" if row.periods is None else f"catalogue_tier_{number}_increment",
                None,
                kwh,
            ),
            Input("tier_price", price, "yuan/kWh", ladder.head.origin, document),
            energy,
            notes,
        )
        for number, (kwh, price) in enumerate(zip(split, row.tiers, strict=True), start=1)
        if row.periods is None or number > 1
    )
    return (*_period_lines(energy, ladder, row), *by_tier)


def _period_lines(energy: Energy, ladder: Ladder, row: LadderRow) -> tuple[BillLine, ...]:
    if row.periods is None:
        return ()
    document = ladder.head.document_for("row.periods")
    return tuple(
        _line(
            ("catalogue_energy", index, kwh),
            Input("period_price", price, "yuan/kWh", ladder.head.origin, document),
            energy,
            (),
        )
        for index, (kwh, price) in enumerate(zip(energy.kwh, row.periods, strict=True))
        if price is not None
    )


def _line(
    what: tuple[str, int | None, Decimal], price: Input, energy: Energy, notes: tuple[tuple[str, str], ...]
) -> BillLine:
    item, period, kwh = what
    return BillLine(
        Section.CATALOGUE,
        item=item,
        period=None if period is None else PERIODS[period],
        quantity=kwh,
        unit="kWh",
        price_yuan_per_unit=price.value,
        amount_fen=fen_for(kwh, price.value),
        derivation=Derivation(
            f"kwh * {price.name}",
            (Input("kwh", kwh, "kWh", "intervals"), price),
            energy.first_day,
            energy.end_day,
            notes,
        ),
    )
