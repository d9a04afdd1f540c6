"""All published price files, and which of them are in force for whom on a day. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeAlias, TypeVar

from cloud.billing.basic import TwoPartRules
from cloud.billing.charges import Funds, Transmission
from cloud.billing.ladder import Ladder, LadderRow
from cloud.billing.package import Package, References
from cloud.billing.powerfactor import PowerFactorRules
from cloud.billing.tariff import (
    Calendar,
    Finding,
    Head,
    PriceFile,
    PriceSheet,
    all_in_prices,
    item_findings,
    printed_findings,
)
from cloud.errors import Invalid, Refused

NATIONAL = "cn"
CATALOGUE_PURCHASE = "catalogue"
# Whoever buys in the market still pays the grid's line loss and system operation prices: those of its agency sheet.
GRID_PURCHASE = "agency"
RETAIL_PURCHASE = "retail"
DIRECT_PURCHASE = "direct"
MARKET_PURCHASES = (DIRECT_PURCHASE, RETAIL_PURCHASE)

_File = TypeVar("_File", bound=PriceFile)


class UnpricedMonth(Refused):
    """No price file of a kind is in force; `facts` name the month, the kind and which files exist."""


class AmbiguousPrices(Invalid):
    """Two files of a kind are in force on the same day for the same customer."""


class NoSuchPrice(Invalid):
    """The price files have no row for the account's structure and voltage, or no table for its standard."""


@dataclass(frozen=True, slots=True)
class Buyer:
    """What decides which files apply.

    `option` names the catalogue price where there is a choice, `package` the retail package as 'id@version'.
    """

    grid: str
    purchase: str
    category: str
    option: str = ""
    package: str = ""


@dataclass(frozen=True, slots=True)
class Prices:
    """Everything that prices one day of a customer who buys through the grid company or in the market.

    `sheet` holds what customers of this way of purchase pay of the grid's price sheet; the energy of a retail customer
    is priced by its package, with the market prices it refers to.
    """

    sheet: PriceSheet
    calendar: Calendar
    transmission: Transmission
    funds: Funds
    two_part: TwoPartRules
    power_factor: PowerFactorRules
    package: Package | None = None
    references: References | None = None

    @property
    def heads(self) -> tuple[Head, ...]:
        """List the files these prices come from."""
        parts = (self.sheet, self.calendar, self.transmission, self.funds, self.two_part, self.power_factor)
        retail = (part.head for part in (self.package, self.references) if part is not None)
        return (*(part.head for part in parts), *retail)

    @property
    def energy_quantum_kwh(self) -> Decimal:
        """Tell in which steps energy is billed."""
        return self.sheet.energy_quantum_kwh


@dataclass(frozen=True, slots=True)
class LadderPrices:
    """Everything that prices one day of a customer on catalogue prices."""

    ladder: Ladder
    power_factor: PowerFactorRules

    @property
    def heads(self) -> tuple[Head, ...]:
        """List the files these prices come from."""
        return (self.ladder.head, self.power_factor.head)

    @property
    def calendar(self) -> Calendar:
        """The hours of the ladder's own periods; all flat without time of use."""
        return self.ladder.calendar

    @property
    def energy_quantum_kwh(self) -> Decimal:
        """Tell in which steps energy is billed."""
        return self.ladder.energy_quantum_kwh

    def row(self, voltage: str) -> LadderRow:
        """Find the prices of a voltage. Raises NoSuchPrice."""
        found = self.ladder.row(voltage)
        if found is None:
            raise NoSuchPrice(
                "no_such_price", structure=self.ladder.option, voltage=voltage, file=self.ladder.head.origin
            )
        return found


AnyPrices: TypeAlias = Prices | LadderPrices


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The published files, in any order."""

    files: tuple[PriceFile, ...]

    def prices_on(self, day: date, buyer: Buyer) -> Prices:
        """Collect the files in force on a day for a buyer on market prices. Raises UnpricedMonth, AmbiguousPrices."""
        selling = GRID_PURCHASE if buyer.purchase in MARKET_PURCHASES else buyer.purchase
        of_grid = [
            each
            for each in self._of(PriceSheet)
            if (each.purchase, each.category) == (selling, buyer.category)
        ]
        funds = [each for each in self._of(Funds) if each.category == buyer.category]
        return Prices(
            sheet=_one(of_grid, "price-sheet", day, buyer).paid_under(buyer.purchase),
            calendar=_one(self._of(Calendar), "calendar", day, buyer),
            transmission=_one(self._of(Transmission), "transmission", day, buyer),
            funds=_one(funds, "funds", day, buyer),
            two_part=_one(self._of(TwoPartRules), "two-part", day, buyer),
            power_factor=_one(self._of(PowerFactorRules), "power-factor", day, buyer),
            package=self._package(day, buyer) if buyer.purchase == RETAIL_PURCHASE else None,
            references=self._references(day, buyer) if buyer.purchase == RETAIL_PURCHASE else None,
        )

    def any_prices_on(self, day: date, buyer: Buyer) -> AnyPrices:
        """Collect the files in force on a day, whatever the buyer buys on. Raises UnpricedMonth, AmbiguousPrices."""
        if buyer.purchase != CATALOGUE_PURCHASE:
            return self.prices_on(day, buyer)
        rules = _one(self._of(PowerFactorRules), "power-factor", day, buyer)
        return LadderPrices(self.ladder_on(day, buyer), rules)

    def ladder_on(self, day: date, buyer: Buyer) -> Ladder:
        """Find the catalogue price of an option in force on a day, for display too. Raises UnpricedMonth."""
        offered = (buyer.category, buyer.option)
        ladders = [each for each in self._of(Ladder) if (each.category, each.option) == offered]
        return _one(ladders, "catalogue", day, buyer)

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
        return tuple(each for sheet in self._of(PriceSheet) for each in self.sheet_findings(sheet))

    def sheet_findings(self, sheet: PriceSheet) -> tuple[Finding, ...]:
        """Recompute the printed prices and items of one sheet, with the files in force on its first day."""
        named = (("sheet", sheet.head.origin),)
        found = [_with(named, each) for each in item_findings(sheet)]
        if not sheet.printed:
            return tuple(found)
        buyer = Buyer(sheet.head.grid, sheet.purchase, sheet.category)
        prices = self.prices_on(sheet.head.effective_from, buyer)
        for printed in sheet.printed:
            row = prices.transmission.row(printed.structure, printed.voltage)
            funds = prices.funds.paid_at(printed.structure, printed.voltage)
            other = () if row is None else (row.energy_yuan_per_kwh, funds.total_yuan_per_kwh)
            differing = printed_findings(sheet, printed, all_in_prices(sheet, prices.calendar, other))
            where = (*named, ("structure", printed.structure), ("voltage", printed.voltage))
            found += [_with(where, each) for each in differing]
        return tuple(found)

    def _package(self, day: date, buyer: Buyer) -> Package:
        named = [each for each in self._of(Package) if each.head.origin == buyer.package]
        return _one(named, "package", day, buyer)

    def _references(self, day: date, buyer: Buyer) -> References | None:
        """Find the market prices of the day; a package that refers to none needs none."""
        try:
            return _one(self._of(References), "market-prices", day, buyer)
        except UnpricedMonth:
            return None

    def _of(self, kind: type[_File]) -> list[_File]:
        return [each for each in self.files if isinstance(each, kind)]


def _with(where: tuple[tuple[str, str], ...], finding: Finding) -> Finding:
    return Finding(finding.rule, tuple(sorted((*where, *finding.facts))))


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
