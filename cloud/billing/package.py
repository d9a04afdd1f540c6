"""What a retail package 零售套餐 says, and the market prices it may refer to. Pure; read by `packagefile`, used by `retail`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from cloud.billing.tariff import Head
from cloud.errors import Refused

ZERO = Decimal(0)


class NoReferencePrice(Refused):
    """The package refers to a market price that is not published for the days."""


class Form(StrEnum):
    """How a package makes its price."""

    FIXED = "fixed"
    LADDER = "ladder"
    LINKED = "fixed_linked"
    AVERAGE = "average_spread"
    SHARE = "spread_share"


class Series(StrEnum):
    """Market prices a package may refer to."""

    MARKET_AVERAGE = "market_average"
    ANNUAL_AVERAGE = "annual_average"
    DAY_AHEAD_AVERAGE = "day_ahead_average"
    REAL_TIME_AVERAGE = "real_time_average"
    AGENCY = "agency"
    UPPER_LIMIT = "upper_limit"


@dataclass(frozen=True, slots=True)
class ByPeriod:
    """A price of all periods, in the order of PERIODS; `single` = one price that all of them share."""

    prices: tuple[Decimal, ...]
    single: bool

    def of(self, index: int) -> Decimal:
        """Find the price of a period by its place in PERIODS."""
        return self.prices[index]


@dataclass(frozen=True, slots=True)
class SeriesPrice:
    """One market price of a month, with the document that published it."""

    series: Series
    price: ByPeriod
    document: str


@dataclass(frozen=True, slots=True)
class References:
    """The market prices of the days the file is in force; kind "market-prices"."""

    head: Head
    series: tuple[SeriesPrice, ...]

    def of(self, series: Series) -> SeriesPrice:
        """Find a market price. Raises NoReferencePrice."""
        for each in self.series:
            if each.series is series:
                return each
        raise NoReferencePrice("no_reference_price", series=series, file=self.head.origin)


@dataclass(frozen=True, slots=True)
class Tier:
    """A price from `from_kwh` of the month on, up to the next tier."""

    from_kwh: Decimal
    price_yuan_per_kwh: Decimal


@dataclass(frozen=True, slots=True)
class Formula:
    """The form of a package with its numbers; which of them are there depends on the form."""

    form: Form
    amount: ByPeriod | None = None  # fixed; the fixed part of fixed_linked
    ratios: tuple[Decimal, ...] | None = None  # time-of-use ratios that multiply, in the order of PERIODS
    is_calendar_ratio: bool = False  # or the coefficients of the calendar in force
    tiers: tuple[Tier, ...] = ()
    linked: Series | None = None
    linked_ratio: Decimal = ZERO
    average: Series | None = None
    spread_yuan_per_kwh: Decimal = ZERO
    reference: Series | None = None  # spread sharing: a market price, or `amount`
    customer_ratio: Decimal = ZERO
    floating_yuan_per_kwh: Decimal = ZERO

    @property
    def series(self) -> tuple[Series, ...]:
        """List the market prices that are needed."""
        return tuple(each for each in (self.linked, self.average, self.reference) if each is not None)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the period prices in yuan/kWh; None = unbounded."""

    floor_yuan_per_kwh: Decimal | None
    ceiling_yuan_per_kwh: Decimal | None


@dataclass(frozen=True, slots=True)
class Green:
    """Green power: the share of the energy that is green and the price of its environmental value."""

    green_ratio: Decimal
    price_yuan_per_kwh: Decimal


@dataclass(frozen=True, slots=True)
class DeviationClause:
    """How the retailer passes its deviation on (`DV-103`); the assessment itself is the market's settlement."""

    upper_threshold_ratio: Decimal
    lower_threshold_ratio: Decimal
    customer_ratio: Decimal
    over_yuan_per_kwh: Decimal
    under_yuan_per_kwh: Decimal


@dataclass(frozen=True, slots=True)
class Package:
    """A retail package as offered; `head.effective_from/to` are the days on which it can be signed."""

    head: Head
    retailer: str
    name: str
    name_en: str
    categories: tuple[str, ...]
    voltages: tuple[str, ...]
    price_quantum_yuan_per_kwh: Decimal
    formula: Formula
    correction: tuple[Decimal, ...] | None  # limits x flat, in the order of PERIODS
    limits: Limits
    cap_yuan_per_kwh: Decimal | None
    green: Green | None
    deviation: DeviationClause | None

    def ineligible(self, category: str, voltage: str) -> str | None:
        """Say which condition a customer does not meet, as a word; None when all are met."""
        if category not in self.categories:
            return "category"
        return "voltage" if voltage not in self.voltages else None
