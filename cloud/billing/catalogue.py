"""All published price files, and which of them are in force for whom on a day. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from cloud.billing.basic import TwoPartRules
from cloud.billing.charges import Funds, Transmission
from cloud.billing.powerfactor import PowerFactorRules
from cloud.billing.tariff import (
    Calendar,
    Finding,
    Head,
    PriceFile,
    PriceSheet,
    all_in_prices,
    printed_findings,
)
from cloud.errors import Invalid, Refused

NATIONAL = "cn"

_File = TypeVar("_File", bound=PriceFile)


class UnpricedMonth(Refused):
    """No price file of a kind is in force; `facts` name the month, the kind and which files exist."""


class AmbiguousPrices(Invalid):
    """Two files of a kind are in force on the same day for the same customer."""


@dataclass(frozen=True, slots=True)
class Buyer:
    """What decides which files apply: the grid, the way of purchase and the customer category."""

    grid: str
    purchase: str
    category: str


@dataclass(frozen=True, slots=True)
class Prices:
    """Everything that prices one day of one customer."""

    sheet: PriceSheet
    calendar: Calendar
    transmission: Transmission
    funds: Funds
    two_part: TwoPartRules
    power_factor: PowerFactorRules

    @property
    def heads(self) -> tuple[Head, ...]:
        """List the files these prices come from."""
        parts = (self.sheet, self.calendar, self.transmission, self.funds, self.two_part, self.power_factor)
        return tuple(part.head for part in parts)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The published files, in any order."""

    files: tuple[PriceFile, ...]

    def prices_on(self, day: date, buyer: Buyer) -> Prices:
        """Collect the files in force on a day. Raises UnpricedMonth, AmbiguousPrices."""
        sheets = [each for each in self._of(PriceSheet) if _sells_to(each, buyer)]
        funds = [each for each in self._of(Funds) if each.category == buyer.category]
        return Prices(
            sheet=_one(sheets, "price-sheet", day, buyer),
            calendar=_one(self._of(Calendar), "calendar", day, buyer),
            transmission=_one(self._of(Transmission), "transmission", day, buyer),
            funds=_one(funds, "funds", day, buyer),
            two_part=_one(self._of(TwoPartRules), "two-part", day, buyer),
            power_factor=_one(self._of(PowerFactorRules), "power-factor", day, buyer),
        )

    def calendar_on(self, day: date, grid: str) -> Calendar:
        """Find the time-of-use calendar in force on a day, for display too. Raises UnpricedMonth."""
        return _one(self._of(Calendar), "calendar", day, Buyer(grid, "", ""))

    def changes_within(self, first: date, end: date) -> tuple[date, ...]:
        """List the days inside `(first, end)` on which some file starts or stops being in force."""
        heads = [each.head for each in self.files]
        days = {head.effective_from for head in heads} | {head.effective_to for head in heads}
        return tuple(sorted(day for day in days if day is not None and first < day < end))

    def findings(self) -> tuple[Finding, ...]:
        """Recompute every printed price of every sheet; report where it is not the sum of its components."""
        found: list[Finding] = []
        for sheet in self._of(PriceSheet):
            prices = self.prices_on(
                sheet.head.effective_from, Buyer(sheet.head.grid, sheet.purchase, sheet.category)
            )
            for printed in sheet.printed:
                row = prices.transmission.row(printed.structure, printed.voltage)
                other = () if row is None else (row.energy_yuan_per_kwh, prices.funds.total_yuan_per_kwh)
                differing = printed_findings(printed, all_in_prices(sheet, prices.calendar, other))
                where = (
                    ("sheet", sheet.head.origin),
                    ("structure", printed.structure),
                    ("voltage", printed.voltage),
                )
                found += [Finding(each.rule, tuple(sorted((*where, *each.facts)))) for each in differing]
        return tuple(found)

    def _of(self, kind: type[_File]) -> list[_File]:
        return [each for each in self.files if isinstance(each, kind)]


def _sells_to(sheet: PriceSheet, buyer: Buyer) -> bool:
    return (sheet.purchase, sheet.category) == (buyer.purchase, buyer.category)


def _one(files: Iterable[_File], kind: str, day: date, buyer: Buyer) -> _File:
    known = [each for each in files if each.head.grid in (buyer.grid, NATIONAL)]
    in_force = [each for each in known if each.head.in_force(day)]
    own = [each for each in in_force if each.head.grid == buyer.grid] or in_force
    newest: dict[str, _File] = {}
    for each in sorted(own, key=lambda file: file.head.version):
        newest[each.head.id] = each
    match list(newest.values()):
        case [only]:
            return only
        case []:
            raise UnpricedMonth(
                "unpriced_month",
                month=day.strftime("%Y-%m"),
                day=day.isoformat(),
                kind=kind,
                grid=buyer.grid,
                purchase=buyer.purchase,
                category=buyer.category,
                exist=", ".join(sorted(_span(each.head) for each in known)) or "none",
            )
        case several:
            ids = ", ".join(sorted(each.head.origin for each in several))
            raise AmbiguousPrices("ambiguous_prices", day=day.isoformat(), kind=kind, files=ids)


def _span(head: Head) -> str:
    return f"{head.origin} [{head.effective_from}, {head.effective_to or '…'})"
