"""The same energy under other prices: a draft in the place of the file in force, or another package. Pure.

There is one rating path: everything here ends in `bill.rate` over segments made by `evidence`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from cloud.billing import draft as drafting
from cloud.billing import evidence
from cloud.billing.bill import Given, LineChange, line_changes, priced, rate
from cloud.billing.catalogue import AnyPrices, Catalogue
from cloud.billing.evidence import Stretch
from cloud.billing.line import PERIODS, BillLine, Period, total_fen
from cloud.billing.package import Package
from cloud.billing.segment import Segment
from cloud.billing.tariff import PriceFile
from cloud.metering.interval import IntervalDay
from cloud.money import quotient

RETAIL = "retail"
PERCENT = 100
BARS = 12
WORST_SHOWN = 10
DEAR = (PERIODS.index(Period.TIP), PERIODS.index(Period.PEAK))
CHEAP = PERIODS.index(Period.VALLEY)


@dataclass(frozen=True, slots=True)
class MonthUse:
    """A month of one account as its bill is drawn up from: terms by day, interval days, what was given."""

    month: date
    grid: str
    stretches: tuple[Stretch, ...]
    days: tuple[IntervalDay, ...]
    given: Given

    @property
    def category(self) -> str:
        """The customer category at the beginning of the month."""
        return self.stretches[0].terms.category


@dataclass(frozen=True, slots=True)
class Rerated:
    """An account's month before and after."""

    before_fen: int
    after_fen: int
    changes: tuple[LineChange, ...]

    @property
    def change_fen(self) -> int:
        """What is owed more (positive) or less."""
        return self.after_fen - self.before_fen


@dataclass(frozen=True, slots=True)
class Balance:
    """An account over all months of a run that could be rated."""

    account_id: str
    category: str
    before_fen: int
    after_fen: int

    @property
    def change_fen(self) -> int:
        """What the account owes more (positive) or less."""
        return self.after_fen - self.before_fen


@dataclass(frozen=True, slots=True)
class CategorySum:
    """All accounts of a category together."""

    category: str
    account_count: int
    winner_count: int
    loser_count: int
    before_fen: int
    after_fen: int


@dataclass(frozen=True, slots=True)
class Bar:
    """Accounts whose change in percent of before lies in `[start, end)`; the last bar includes its end."""

    start_percent: Decimal
    end_percent: Decimal
    account_count: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a bench run says when it is done."""

    balances: tuple[Balance, ...]
    categories: tuple[CategorySum, ...]
    bars: tuple[Bar, ...]
    worst: tuple[Balance, ...]

    @property
    def winners(self) -> int:
        """Count the accounts that would owe less."""
        return sum(each.winner_count for each in self.categories)

    @property
    def losers(self) -> int:
        """Count the accounts that would owe more."""
        return sum(each.loser_count for each in self.categories)


def lines_under(use: MonthUse, known: Catalogue, *, shift_percent: int = 0) -> tuple[BillLine, ...]:
    """Rate a month with the files of a catalogue. Raises UnpricedMonth, AmbiguousPrices, NoSuchPrice.

    `shift_percent` of the tip and peak energy is moved to the valley first; demand stays as measured.
    """
    return rate(priced(segments_under(use, known, shift_percent=shift_percent)), use.month, use.given)


def segments_under(
    use: MonthUse, known: Catalogue, *, shift_percent: int = 0
) -> tuple[tuple[Segment, AnyPrices], ...]:
    """Cut a month where the catalogue's files change and sum its energy by the periods of their calendars."""
    cut = evidence.priced_stretches(use.stretches, known, use.grid)
    found = evidence.segments(cut, use.days)
    return tuple((shifted(segment, shift_percent), prices) for segment, prices in found)


def on_package(use: MonthUse, known: Catalogue, package: Package) -> tuple[MonthUse, Catalogue]:
    """Put the month's account on a package for all its days, offered then or not."""
    standing = drafting.as_if_in_force(package, known)
    stretches = tuple(
        replace(each, terms=replace(each.terms, purchase=RETAIL), package=package.head.origin)
        for each in use.stretches
    )
    return replace(use, stretches=stretches, given=replace(use.given, settled=())), standing


def ineligible(use: MonthUse, package: Package) -> str | None:
    """Say which condition of the package the account does not meet in the month; None when it meets all."""
    reasons = (package.ineligible(each.terms.category, each.terms.voltage) for each in use.stretches)
    return next((reason for reason in reasons if reason is not None), None)


def rerated(use: MonthUse, known: Catalogue, file: PriceFile) -> Rerated:
    """Rate a month as it is and with a draft in the place of the file in force.

    A draft of a package: the account is put on it. Raises as `lines_under`.
    """
    before = lines_under(use, known)
    if isinstance(file, Package):
        after = lines_under(*on_package(use, known, file))
    else:
        after = lines_under(use, drafting.as_if_in_force(file, known))
    return Rerated(total_fen(before), total_fen(after), line_changes(before, after))


def shifted(segment: Segment, percent: int) -> Segment:
    """Move a share of the tip and peak energy to the valley; not a watt-hour is lost."""
    if not percent:
        return segment
    wh = list(segment.usage.import_wh)
    for index in DEAR:
        moved = wh[index] * percent // PERCENT
        wh[index] -= moved
        wh[CHEAP] += moved
    return replace(segment, usage=replace(segment.usage, import_wh=tuple(wh), days=()))


def outcome(balances: Iterable[Balance]) -> Outcome:
    """Sum up a run: by category, as a distribution of the change in percent, and who would lose most."""
    known = tuple(sorted(balances, key=lambda each: each.account_id))
    categories = tuple(
        _category_sum(category, [each for each in known if each.category == category])
        for category in sorted({each.category for each in known})
    )
    losing = sorted((each for each in known if each.change_fen > 0), key=lambda each: -each.change_fen)
    return Outcome(known, categories, _bars(known), tuple(losing[:WORST_SHOWN]))


def change_percent(before_fen: int, after_fen: int) -> Decimal:
    """Tell a change in percent of before, to 0.01; 0 when there was nothing before."""
    if not before_fen:
        return Decimal(0)
    return quotient(Decimal((after_fen - before_fen) * PERCENT), Decimal(abs(before_fen)), Decimal("0.01"))


def _category_sum(category: str, balances: Sequence[Balance]) -> CategorySum:
    return CategorySum(
        category,
        account_count=len(balances),
        winner_count=sum(each.change_fen < 0 for each in balances),
        loser_count=sum(each.change_fen > 0 for each in balances),
        before_fen=sum(each.before_fen for each in balances),
        after_fen=sum(each.after_fen for each in balances),
    )


def _bars(balances: Sequence[Balance]) -> tuple[Bar, ...]:
    """Lay the changes out over bars of equal width, whole hundredths of a percent, that cover all of them."""
    cents = [int(change_percent(each.before_fen, each.after_fen) * PERCENT) for each in balances]
    if not cents:
        return ()
    low, high = min(cents), max(cents)
    width = max(-(-(high - low) // BARS), 1)
    counts = Counter(min((each - low) // width, BARS - 1) for each in cents)
    number = max(counts) + 1
    return tuple(
        Bar(
            Decimal(low + index * width).scaleb(-2),
            Decimal(low + (index + 1) * width).scaleb(-2),
            counts[index],
        )
        for index in range(number)
    )
