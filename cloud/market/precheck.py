"""Preliminary check 预审 of an offer or a listing: is it complete, is it allowed, is it plausible. Pure.

Errors refuse; warnings are shown to both sides and kept with the event. Bounds are data (cloud/market/desk/*.toml). A price in
yuan/kWh or a quantity in kWh or 10 MWh is the commonest mistake: it is a factor of ten or a thousand away from everything else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum

from cloud.contracts.terms import HOURS, LABEL, QUARTERS, WHOLE_MONTH
from cloud.errors import Invalid
from cloud.market.offering import Line
from cloud.market.orders import TICK_PLACES
from cloud.markettime import month_after, month_of


class Severity(StrEnum):
    """Whether a finding refuses or warns."""

    ERROR = "error"
    WARNING = "warning"


class NotAdmissible(Invalid):
    """The preliminary check found errors: `findings` are their keys."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be; `key` names the sentence, `place` the month and period."""

    severity: Severity
    key: str
    place: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class DeskRules:
    """What holds for negotiations, listings and rolling books of a market; both bounds of the band are inclusive."""

    rule_id: str
    document: str
    price_min_ticks: int
    price_max_ticks: int
    lot_kwh: int
    months_ahead_count: int
    margin_rate_pct: Decimal
    named_periods: tuple[str, ...]
    unusual_factor: int


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of both sides: who is not admitted, monthly kWh of the past, volumes already agreed in this pair."""

    unadmitted: tuple[str, ...] = ()
    past_month_kwh: tuple[int, ...] = ()
    limit_kwh: int | None = None
    agreed: frozenset[tuple[date, str, int]] = field(default_factory=frozenset)


def desk_rules(text: str) -> DeskRules:
    """Read a desk's rules from TOML; the band is around the benchmark price 基准价. Raises ValueError."""
    table = tomllib.loads(text)
    benchmark = Decimal(table["benchmark_yuan_per_mwh"]).scaleb(TICK_PLACES)
    low = benchmark * (100 - Decimal(table["band_down_pct"])) / 100
    high = benchmark * (100 + Decimal(table["band_up_pct"])) / 100
    if low != int(low) or high != int(high):
        raise ValueError("the band's bounds are no whole ticks")
    return DeskRules(
        table["id"],
        table["document"],
        int(low),
        int(high),
        table["lot_kwh"],
        table["months_ahead"],
        Decimal(table["margin_rate_pct"]),
        tuple(table["periods"]),
        table["unusual_factor"],
    )


def findings(lines: Sequence[Line], rules: DeskRules, known: Known, today: date) -> tuple[Finding, ...]:
    """Check completeness and compliance, then plausibility; errors first, each in the order of the lines."""
    found = [Finding(Severity.ERROR, "not_admitted", value=name) for name in known.unadmitted]
    for line in lines:
        found += _of_line(line, rules, today)
    families = {(line.month, _family(line.period)) for line in lines}
    for month in sorted({month for month, _ in families}):
        if sum(1 for each, _ in families if each == month) > 1:
            found.append(Finding(Severity.ERROR, "period_mixed", f"{month:%Y-%m}"))
    whole = sum(line.kwh for line in lines)
    if known.limit_kwh is not None and whole > known.limit_kwh:
        found.append(Finding(Severity.ERROR, "over_limit", value=str(known.limit_kwh)))
    found += _unusual(lines, rules, known)
    same = [line for line in lines if (line.month, line.period, line.kwh) in known.agreed]
    found += [Finding(Severity.WARNING, "duplicate", _place(line)) for line in same]
    return tuple(sorted(found, key=lambda each: each.severity is not Severity.ERROR))


def demand_clean(found: Sequence[Finding]) -> None:
    """Let only what has no error go on. Raises NotAdmissible."""
    errors = [each for each in found if each.severity is Severity.ERROR]
    if errors:
        raise NotAdmissible(f"precheck_{errors[0].key}", place=errors[0].place, value=errors[0].value)


def _of_line(line: Line, rules: DeskRules, today: date) -> list[Finding]:
    keys = []
    if not LABEL.fullmatch(line.period) or not _is_known(line.period, rules):
        keys.append(("period_unknown", line.period))
    if line.kwh <= 0 or line.kwh % rules.lot_kwh:
        keys.append(("lot", str(rules.lot_kwh)))
    first = month_after(month_of(today))
    if not first <= line.month < month_after(first, rules.months_ahead_count):
        keys.append(("supply_month", f"{line.month:%Y-%m}"))
    if not rules.price_min_ticks <= line.price_ticks <= rules.price_max_ticks:
        is_per_kwh = rules.price_min_ticks <= line.price_ticks * 1000 <= rules.price_max_ticks
        keys.append(("price_unit" if is_per_kwh else "price_band", _yuan(line.price_ticks)))
    return [Finding(Severity.ERROR, key, _place(line), value) for key, value in keys]


def _unusual(lines: Sequence[Line], rules: DeskRules, known: Known) -> list[Finding]:
    """Months whose whole is far from every month of the past: a thousand times is a wrong unit, ten times a doubt."""
    past = sorted(kwh for kwh in known.past_month_kwh if kwh > 0)
    if not past:
        return []
    usual = past[len(past) // 2]
    found = []
    for month in sorted({line.month for line in lines}):
        kwh = sum(line.kwh for line in lines if line.month == month)
        if kwh > usual * rules.unusual_factor or kwh * rules.unusual_factor < usual:
            is_unit = kwh > usual * 300 or kwh * 300 < usual
            key = "unit_doubt" if is_unit else "volume_unusual"
            found.append(Finding(Severity.WARNING, key, f"{month:%Y-%m}", _mwh(usual)))
    return found


def _is_known(period: str, rules: DeskRules) -> bool:
    return period == WHOLE_MONTH or period in HOURS or period in QUARTERS or period in rules.named_periods


def _family(period: str) -> str:
    if period == WHOLE_MONTH:
        return "month"
    return "hours" if period in HOURS else "quarters" if period in QUARTERS else "named"


def _place(line: Line) -> str:
    return f"{line.month:%Y-%m} {line.period}"


def _yuan(ticks: int) -> str:
    return format(Decimal(ticks).scaleb(-2), "f")


def _mwh(kwh: int) -> str:
    return format(Decimal(kwh).scaleb(-3), "f")
