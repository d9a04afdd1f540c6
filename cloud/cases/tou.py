"""Cases of time-of-use prices 分时电价: calendars that cover the day once, the period of a time, prices. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import partial

from cloud import daytypes
from cloud.billing import tariff
from cloud.billing.line import Period
from cloud.cases.work import Work
from cloud.markettime import SLOTS_PER_DAY, SLOTS_PER_HOUR, slot_label
from cloud.money import EXACT, total

RULE = "§4"
CLOCK = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])")
CALENDAR = "calendar calendars seasons"
COEFFICIENTS = "period_coefficients coefficients tou_coefficients"
BASE = "month_average_purchase_price average_purchase_price base_price flat_price average_price price"
QUERIES = "rows queries times questions"
SLOT_MINUTES = 15
TIME = "time clock at clock_time hour"
PERIOD_PRICES = "period_prices prices price_by_period tou_prices"


@dataclass(frozen=True, slots=True)
class Season:
    """One entry of a calendar: for which months and day types, and its periods by slot (None: in no period)."""

    months: tuple[int, ...]
    kinds: tuple[str, ...]
    slots: tuple[tuple[str, ...], ...]

    @property
    def is_exact(self) -> bool:
        """Whether every slot is in exactly one period."""
        return all(len(each) == 1 for each in self.slots)


def rate(work: Work) -> None:
    """Work a case: check a calendar, answer for times, spread a curve over periods, price it."""
    work.rule = RULE
    seasons = _seasons(work)
    if seasons:
        _cover(work, seasons)
        _by_hours(work, seasons)
    _coefficients(work)
    if work.is_list(QUERIES):
        rows = work.tables(QUERIES)
        for row in rows:
            row.attempt(partial(_row, row, seasons))
        work.put_rows("rows", rows)
        work.put(
            "periods",
            [row.results.named["period"].value for row in rows if "period" in row.results.named],
            "",
        )
    elif work.has(TIME):
        _ask(work, seasons)
    if seasons and work.is_list(
        "curve_kwh load_curve_kwh hourly_kwh kwh_by_hour quarter_hour_kwh curve interval_kwh hourly_load_kwh"
    ):
        _curve(work, seasons)
    _average(work)


def _row(row: Work, seasons: tuple[Season, ...]) -> None:
    """A row asks for a time, or is a case of its own: a calendar, coefficients, prices with energy."""
    if row.own(TIME) or not (row.own(CALENDAR) or row.own("periods") or not row.has(TIME)):
        _ask(row, _seasons(row) if row.own(CALENDAR) else seasons)
    elif row.own(
        f"{CALENDAR} {COEFFICIENTS} {PERIOD_PRICES} peak_coefficient valley_coefficient peak_price valley_price"
    ):
        rate(row)
    else:
        _ask(row, seasons)


def _seasons(work: Work) -> tuple[Season, ...]:
    if not work.has(CALENDAR) and work.is_table("periods"):
        return (Season(tuple(range(1, 13)), (), _slots(work.table("periods"))),)
    if not work.has(CALENDAR):
        return ()
    entries = [work.table(CALENDAR)] if work.is_table(CALENDAR) else work.tables(CALENDAR)
    return tuple(
        Season(
            _months(entry), _kinds(entry), _slots(entry.table("periods") if entry.own("periods") else entry)
        )
        for entry in entries
    )


def _months(entry: Work) -> tuple[int, ...]:
    if not entry.own("months month"):
        return tuple(range(1, 13))
    months = (
        [int(each) for each in entry.decimals("months")]
        if entry.is_list("months")
        else [entry.integer("months month")]
    )
    for month in months:
        if not 1 <= month <= 12:
            entry.bad(entry.here("months"), f"has {month}", "1 to 12")
    return tuple(months)


def _kinds(entry: Work) -> tuple[str, ...]:
    if not entry.own("day_types day_type days"):
        return ()
    raw = entry.raw("day_types day_type days")
    return tuple(str(each) for each in raw) if isinstance(raw, list) else (str(raw),)


def _slots(periods: Work) -> tuple[tuple[str, ...], ...]:
    slots: list[list[str]] = [[] for _ in range(SLOTS_PER_DAY)]
    for name in periods.names_given():
        if name not in tuple(Period):
            if name in ("months", "month", "day_types", "day_type", "days", "name", "season"):
                continue
            periods.bad(periods.here(name), "is no period", ", ".join(Period))
        for start, end in _ranges(periods, name):
            for slot in range(start, end):
                slots[slot].append(name)
    return tuple(tuple(each) for each in slots)


def _ranges(periods: Work, name: str) -> Iterable[tuple[int, int]]:
    raw = periods.raw(name) if periods.has(name) else []
    if not isinstance(raw, list):
        periods.bad(periods.here(name), "is no list", 'a list of ["HH:MM", "HH:MM"]')
    for number, each in enumerate(raw):
        at = f"{periods.here(name)}[{number}]"
        if not isinstance(each, list) or len(each) != 2:
            periods.bad(at, "is no pair", '["HH:MM", "HH:MM"]')
        start, end = _slot(periods, str(each[0]), at), _slot(periods, str(each[1]), at)
        if start < end:
            yield start, end
        elif start == end:
            periods.bad(at, "is empty", "a start before its end")
        else:  # over midnight
            yield start, SLOTS_PER_DAY
            yield 0, end


def _slot(work: Work, text: str, at: str) -> int:
    minutes = _minutes(work, text, at)
    if minutes % SLOT_MINUTES:
        work.bad(at, f"is {text}", "a quarter of an hour")
    return minutes // SLOT_MINUTES


def _minutes(work: Work, text: str, at: str) -> int:
    found = CLOCK.fullmatch(text)
    minutes = int(found[1]) * 60 + int(found[2]) if found else 0
    if not found or minutes > 24 * 60:
        work.bad(at, f"is {text!r}"[:40], "a clock time HH:MM up to 24:00")
    return minutes


def _cover(work: Work, seasons: tuple[Season, ...]) -> None:
    rows = []
    for season in seasons:
        row = work.part("season")
        hours = {name: _hours(sum(1 for each in season.slots if name in each)) for name in _listed(season)}
        row.put("months", [Decimal(month) for month in season.months], "")
        if season.kinds:
            row.put("day_types", [str(each) for each in season.kinds], "")
        row.put("hours", dict(hours), "sum of the lengths of the intervals")
        row.put("hours_total", total(hours.values()), "sum")
        _coverage(row, (season,))
        rows.append(row)
    work.put_rows("hours_per_period", rows)
    totals = [
        total(_hours(sum(1 for each in season.slots if name in each)) for name in _listed(season))
        for season in seasons
    ]
    work.put(
        "hours_total_per_season",
        totals[0] if len(set(totals)) == 1 else list(totals),
        "sum of the hours of every season",
    )
    if len(seasons) == 1:
        work.put(
            "hours",
            {
                name: _hours(sum(1 for each in seasons[0].slots if name in each))
                for name in _listed(seasons[0])
            },
            "",
        )
    _coverage(work, seasons)
    _months_covered(work, seasons)


def _listed(season: Season) -> list[str]:
    """The periods of a season in the order in which the calendar names them."""
    return list(dict.fromkeys(name for each in season.slots for name in each))


def _hours(slots: int) -> Decimal:
    return EXACT.divide(Decimal(slots), Decimal(SLOTS_PER_HOUR))


def _coverage(work: Work, seasons: tuple[Season, ...]) -> None:
    gaps = [pair for season in seasons for pair in _runs(season, lambda each: not each)]
    overlaps = [pair for season in seasons for pair in _runs(season, lambda each: len(each) > 1)]
    exact = not gaps and not overlaps
    if exact:
        for season in seasons:
            tariff.periods_of_day(
                {
                    name: [(slot, slot + 1) for slot, each in enumerate(season.slots) if name in each]
                    for name in map(Period, _listed(season))
                }
            )
    work.put("covered_exactly_once", exact, "every quarter-hour is in exactly one period")
    work.put("gaps", [list(pair) for pair in gaps], "quarter-hours in no period")
    work.put("overlaps", [list(pair) for pair in overlaps], "quarter-hours in several periods")
    work.put("gap_hours", _hours(sum(1 for season in seasons for each in season.slots if not each)), "")
    work.put(
        "overlap_hours", _hours(sum(1 for season in seasons for each in season.slots if len(each) > 1)), ""
    )
    kinds = (["gap"] if gaps else []) + (["overlap"] if overlaps else [])
    work.put("error", "_and_".join(kinds) if kinds else None, "")
    work.put("result", "ok" if exact else "error", "")


def _runs(season: Season, is_in: object) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    start: int | None = None
    for slot in range(SLOTS_PER_DAY + 1):
        inside = slot < SLOTS_PER_DAY and bool(callable(is_in) and is_in(season.slots[slot]))
        if inside and start is None:
            start = slot
        elif not inside and start is not None:
            found.append((slot_label(start), slot_label(slot)))
            start = None
    return found


def _months_covered(work: Work, seasons: tuple[Season, ...]) -> None:
    counted = (
        [month for season in seasons for month in season.months]
        if not any(season.kinds for season in seasons)
        else []
    )
    if counted:
        work.put(
            "months_covered_once",
            sorted(counted) == list(range(1, 13)),
            "every month is in exactly one season",
        )
        work.put("missing_months", [Decimal(month) for month in range(1, 13) if month not in counted], "")


def _coefficients(work: Work) -> None:
    """Coefficients that follow from others (tip = peak x 1.2, deep = valley x 0.8), and the prices they give."""
    ratios = {
        "tip": "tip_over_peak tip_factor tip_to_peak_ratio tip_ratio",
        "deep": "deep_over_valley deep_factor deep_to_valley_ratio deep_ratio",
    }
    known = dict(work.numbers(COEFFICIENTS)) if work.is_table(COEFFICIENTS) else {}
    for name in ("peak", "valley"):
        if name not in known and work.has(f"{name}_coefficient {name}_ratio"):
            known[name] = work.decimal(f"{name}_coefficient {name}_ratio")
    for name, base in (("tip", "peak"), ("deep", "valley")):
        if name not in known and base in known and work.has(ratios[name]):
            known[name] = EXACT.multiply(known[base], work.decimal(ratios[name]))
            work.put(
                f"{name}_coefficient",
                known[name],
                f"{base}_coefficient x {name}_factor",
                also=f"{name} {name}_ratio coefficient_{name}",
            )
    if not known:
        return
    work.put("coefficients", dict(known), "")
    order = ("tip", "peak", "flat", "valley", "deep")
    whole = {**known, "flat": known.get("flat", Decimal(1))}
    work.put("coefficients_with_flat", {name: whole[name] for name in order if name in whole}, "flat = 1")
    if work.has(BASE):
        base_price, other = (
            work.decimal(BASE),
            work.number_or(0, "other_price fixed_price not_floating_price other_components_price"),
        )
        prices = {
            name: work.rounded(EXACT.add(EXACT.multiply(base_price, each), other), "price")
            for name, each in known.items()
        }
        work.put("price_by_period", dict(prices), "base_price x coefficient + other_price")
        if "peak" in prices and "valley" in prices:
            work.put("peak_valley_spread", EXACT.subtract(prices["peak"], prices["valley"]), "peak - valley")


def _ask(row: Work, seasons: tuple[Season, ...]) -> None:
    text = row.text(TIME)
    if text.isdecimal() and len(text) <= 2 and not row.own("time clock at"):
        text = f"{int(text):02d}:00"
    at = row.here("time")
    minutes = _minutes(row, text, at)
    if minutes == 24 * 60:
        row.bad(at, "is 24:00", "a time of the day, 00:00 to 23:59")
    month, kind = _when(row)
    fitting = [
        season for season in seasons if month in season.months and (not season.kinds or kind in season.kinds)
    ]
    if len(fitting) != 1:
        row.bad(
            at,
            f"has {len(fitting)} calendars in month {month}",
            "exactly one calendar for a month and day type",
        )
    period = fitting[0].slots[minutes // SLOT_MINUTES]
    row.put(
        "period", period[0] if len(period) == 1 else None, "the interval [start, end) that holds the time"
    )
    coefficients = row.numbers(COEFFICIENTS) if row.is_table(COEFFICIENTS) else {}
    if len(period) == 1 and period[0] in coefficients:
        row.put("coefficient", coefficients[period[0]], "")
        if row.has(BASE):
            row.put(
                "price",
                row.rounded(EXACT.multiply(row.decimal(BASE), coefficients[period[0]]), "price"),
                "base_price x coefficient",
            )
    prices = "period_prices prices price_by_period"
    if len(period) == 1 and row.is_table(prices) and period[0] in row.numbers(prices):
        row.put("price", row.numbers(prices)[period[0]], "price of the period")


def _when(row: Work) -> tuple[int, str]:
    """The month and day type of a question: given, or from a date by the State Council's notice."""
    if row.has("date day"):
        text = row.text("date day")
        try:
            day = date.fromisoformat(text)
        except ValueError:
            row.bad(row.here("date"), f"is {text!r}"[:40], "a date YYYY-MM-DD")
        kind = row.text_or("", "day_type")
        if not kind:
            try:
                kind = str(daytypes.kind_of(day))
            except Exception as problem:
                if type(problem).__name__ != "NoCalendar":
                    raise
                kind = "workday" if day.weekday() < 5 else "weekend"
        return day.month, kind
    month = row.integer("month")
    return month, row.text_or("workday", "day_type")


def _curve(work: Work, seasons: tuple[Season, ...]) -> None:
    """Spread a day's curve of 24, 48 or 96 values over the periods."""
    values = work.decimals(
        "curve_kwh load_curve_kwh hourly_kwh kwh_by_hour quarter_hour_kwh curve interval_kwh hourly_load_kwh"
    )
    if not values or SLOTS_PER_DAY % len(values):
        work.bad(work.here("curve_kwh"), f"has {len(values)} values", "24, 48 or 96 values")
    month, kind = _when(work) if work.has("month date day") else (seasons[0].months[0], "workday")
    fitting = [
        season for season in seasons if month in season.months and (not season.kinds or kind in season.kinds)
    ]
    if len(fitting) != 1 or not fitting[0].is_exact:
        work.bad(
            work.here("calendar"), f"does not fit month {month}", "one calendar that covers the day once"
        )
    per_value = SLOTS_PER_DAY // len(values)
    sums: dict[str, Decimal] = {name: Decimal(0) for name in _listed(fitting[0])}
    for number, value in enumerate(values):
        names = {fitting[0].slots[slot][0] for slot in range(number * per_value, (number + 1) * per_value)}
        if len(names) > 1:
            work.bad(
                work.here("curve_kwh"), f"value {number + 1} lies in {len(names)} periods", "finer values"
            )
        sums[names.pop()] += value
    work.put("kwh_by_period", dict(sums), "sum of the values in each period")
    work.put("total_kwh", total(sums.values()), "sum")


def _flat_prices(work: Work) -> dict[str, Decimal] | None:
    """Prices given as one input per period."""
    found = {str(name): work.decimal(f"{name}_price") for name in Period if work.has(f"{name}_price")}
    return found or None


def _by_hours(work: Work, seasons: tuple[Season, ...]) -> None:
    """The mean of the coefficients over the hours of each season."""
    if not work.is_table(COEFFICIENTS):
        return
    coefficients = {"flat": Decimal(1), **work.numbers(COEFFICIENTS)}
    rows = []
    for season in seasons:
        if not season.is_exact or any(name not in coefficients for name in _listed(season)):
            return
        row = work.part("average_coefficient")
        whole = sum((Fraction(coefficients[slot[0]]) for slot in season.slots), Fraction(0))
        row.put("months", [Decimal(month) for month in season.months])
        mean = row.rounded(whole / SLOTS_PER_DAY, "coefficient", "0.000001")
        row.put("value", mean, "sum(coefficient x hours) / 24", also="average average_coefficient")
        rows.append(row)
    work.put_rows("average_coefficient", rows)


def _average(work: Work) -> None:
    """The average price over the periods, weighted by their energy."""
    table = work.numbers(PERIOD_PRICES) if work.is_table(PERIOD_PRICES) else _flat_prices(work)
    if table is None and "price_by_period" in work.results.named:
        found = work.results.named["price_by_period"].value
        table = (
            {name: each for name, each in found.items() if isinstance(each, Decimal)}
            if isinstance(found, dict)
            else None
        )
    if table is None:
        return
    weights: dict[str, Decimal] = {}
    if work.is_table("kwh kwh_by_period energy_kwh period_kwh weights hours"):
        weights = work.numbers("kwh kwh_by_period energy_kwh period_kwh weights hours")
    elif "kwh_by_period" in work.results.named:
        found = work.results.named["kwh_by_period"].value
        weights = (
            {name: each for name, each in found.items() if isinstance(each, Decimal)}
            if isinstance(found, dict)
            else {}
        )
    elif "hours" in work.results.named:
        found = work.results.named["hours"].value
        weights = (
            {name: each for name, each in found.items() if isinstance(each, Decimal)}
            if isinstance(found, dict)
            else {}
        )
    weights.pop("total", None)
    if not weights or not total(weights.values()):
        return
    for name in weights:
        if name not in table:
            work.bad(work.here(f"prices.{name}"), "is missing", "a price for every period with energy")
    charges = {name: work.money(EXACT.multiply(weight, table[name])) for name, weight in weights.items()}
    whole = sum((Fraction(weight) * Fraction(table[name]) for name, weight in weights.items()), Fraction(0))
    work.put("charge_by_period", dict(charges), "kwh x price", kind="money")
    work.put("total_charge", total(charges.values()), "sum of the periods")
    average = work.rounded(whole / Fraction(total(weights.values())), "price", "0.000001")
    work.put("weighted_average_price", average, "sum(kwh x price) / sum(kwh)", kind="price")
    work.put("total_kwh", total(weights.values()), "sum")
