"""Price files of kind "package" and "market-prices": tables -> typed data, strictly. Pure; told in published/README.md."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

from cloud.billing.filetable import CATEGORIES, VOLTAGES, FileTable
from cloud.billing.line import PERIODS, Period
from cloud.billing.package import (
    ByPeriod,
    DeviationClause,
    Form,
    Formula,
    Green,
    Limits,
    Package,
    References,
    Series,
    SeriesPrice,
    Tier,
)
from cloud.billing.tariff import Head

QUANTA = ("0.000001", "0.00001", "0.0001", "0.00000001")
CALENDAR_RATIOS = "calendar"
TIERS_MAX = 20
ZERO = Decimal(0)
ONE = Decimal(1)


def package(table: FileTable, head: Head) -> Package:
    """Read a retail package. Raises BadPriceFile."""
    formula = _formula(table.table("formula"))
    is_tiered = formula.form is Form.LADDER
    if is_tiered and "correction" in table.content:
        table.refuse("correction", "given", "absent: a ladder has no prices by period")
    return Package(
        head,
        retailer=table.text("retailer"),
        name=table.text("name"),
        name_en=table.text("name_en"),
        categories=_chosen(table, "categories", CATEGORIES),
        voltages=_chosen(table, "voltages", VOLTAGES),
        price_quantum_yuan_per_kwh=Decimal(table.choice("price_quantum", QUANTA)),
        formula=formula,
        correction=_periods(table.table("correction")) if "correction" in table.content else None,
        limits=_limits(table),
        cap_yuan_per_kwh=table.optional_decimal("cap_yuan_per_kwh"),
        green=_green(table.table("green")) if "green" in table.content else None,
        deviation=_deviation(table.table("deviation")) if "deviation" in table.content else None,
    )


def market_prices(table: FileTable, head: Head) -> References:
    """Read the market prices of a stretch of days. Raises BadPriceFile."""
    series = tuple(_series(each, head) for each in table.tables("series"))
    if len({each.series for each in series}) != len(series):
        table.refuse("series", "a series twice", "each series once")
    return References(head, series)


def _series(table: FileTable, head: Head) -> SeriesPrice:
    series = Series(table.choice("series", tuple(Series)))
    price = _by_period(table, "price_yuan_per_kwh")
    table.done()
    return SeriesPrice(series, price, head.document_for(f"series.{series}"))


def _formula(table: FileTable) -> Formula:
    form = Form(table.choice("form", tuple(Form)))
    match form:
        case Form.FIXED:
            formula = Formula(form, amount=_by_period(table, "fixed_price"), **_ratios(table))
        case Form.LADDER:
            formula = Formula(form, tiers=_tiers(table))
        case Form.LINKED:
            formula = Formula(
                form,
                amount=_by_period(table, "fixed_price"),
                linked=_one_series(table, "linked"),
                linked_ratio=_share(table, "linked_ratio"),
            )
        case Form.AVERAGE:
            formula = Formula(
                form,
                average=_one_series(table, "average"),
                spread_yuan_per_kwh=table.decimal("spread"),
                **_ratios(table),
            )
        case Form.SHARE:
            formula = _shared(table)
    table.done()
    return formula


def _shared(table: FileTable) -> Formula:
    is_own = "reference_price" in table.content
    if is_own == ("reference" in table.content):
        table.refuse("reference", "both or none", "either reference_price or reference")
    return Formula(
        Form.SHARE,
        amount=_by_period(table, "reference_price") if is_own else None,
        reference=None if is_own else _one_series(table, "reference"),
        average=_one_series(table, "average"),
        customer_ratio=_share(table, "customer_share"),
        floating_yuan_per_kwh=table.optional_decimal("floating") or ZERO,
        **_ratios(table),
    )


def _ratios(table: FileTable) -> dict[str, Any]:
    if "ratios" not in table.content:
        return {}
    if isinstance(table.content["ratios"], str):
        table.choice("ratios", (CALENDAR_RATIOS,))
        return {"is_calendar_ratio": True}
    return {"ratios": _periods(table.table("ratios"))}


def _tiers(table: FileTable) -> tuple[Tier, ...]:
    tiers = []
    for each in table.tables("tier"):
        tiers.append(Tier(each.decimal("from_kwh"), each.decimal("price_yuan_per_kwh")))
        each.done()
    starts = [tier.from_kwh for tier in tiers]
    if starts[0] != 0 or any(low >= high for low, high in pairwise(starts)) or len(tiers) > TIERS_MAX:
        table.refuse(
            "tier", [str(each) for each in starts], f'from_kwh "0", then rising; at most {TIERS_MAX}'
        )
    return tuple(tiers)


def _by_period(table: FileTable, key: str) -> ByPeriod:
    """Read one price in quotes, or a table with the five periods."""
    if isinstance(table.content.get(key), dict):
        return ByPeriod(_periods(table.table(key)), single=False)
    return ByPeriod((table.decimal(key),) * len(PERIODS), single=True)


def _periods(table: FileTable) -> tuple[Decimal, ...]:
    prices = tuple(table.decimal(period) for period in PERIODS)
    if any(price < 0 for price in prices):
        table.refuse(Period.FLAT, [str(each) for each in prices], "numbers that are not negative")
    table.done()
    return prices


def _limits(table: FileTable) -> Limits:
    if "limits" not in table.content:
        return Limits(None, None)
    limits = table.table("limits")
    bounds = Limits(limits.optional_decimal("floor"), limits.optional_decimal("ceiling"))
    if (
        bounds.floor_yuan_per_kwh is not None
        and bounds.ceiling_yuan_per_kwh is not None
        and bounds.floor_yuan_per_kwh > bounds.ceiling_yuan_per_kwh
    ):
        limits.refuse(
            "floor", str(bounds.floor_yuan_per_kwh), f"at most the ceiling {bounds.ceiling_yuan_per_kwh}"
        )
    limits.done()
    return bounds


def _green(table: FileTable) -> Green:
    green = Green(_share(table, "share"), table.decimal("price_yuan_per_kwh"))
    table.done()
    return green


def _deviation(table: FileTable) -> DeviationClause:
    clause = DeviationClause(
        upper_threshold_ratio=_share(table, "upper_threshold"),
        lower_threshold_ratio=_share(table, "lower_threshold"),
        customer_ratio=_share(table, "customer_share"),
        over_yuan_per_kwh=table.decimal("over_yuan_per_kwh"),
        under_yuan_per_kwh=table.decimal("under_yuan_per_kwh"),
    )
    table.done()
    return clause


def _share(table: FileTable, key: str) -> Decimal:
    share = table.decimal(key)
    if not ZERO <= share <= ONE:
        table.refuse(key, str(share), '"0" to "1"')
    return share


def _one_series(table: FileTable, key: str) -> Series:
    return Series(table.choice(key, tuple(Series)))


def _chosen(table: FileTable, key: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    found = table.texts(key)
    if not found or not set(found) <= set(allowed) or len(set(found)) != len(found):
        table.refuse(key, list(found), " | ".join(allowed) + ", each at most once")
    return found
