"""Baselines of demand response: which days, their mean, day-of adjustment. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from cloud.cases.work import Work
from cloud.market import response
from cloud.market.response import Ranking
from cloud.money import EXACT, total

DAYS_KW = "days_kw baseline_days_kw history_kw days history_days_kw reference_days_kw"

DAY_TABLES = "days history_days baseline_days reference_days eligible_days"

COUNT = "days_to_select select_days select_count days_selected number_of_days_to_select"

DAILY = "daily_kwh day_energy_kwh daily_energy_kwh days_energy_kwh"

INTERVAL = "event_interval_kw interval_kw event_kw_by_day event_hour_kw"

EXCLUDED = (
    "excluded_days exclude_days excluded_day_indexes event_day_indexes excluded_indexes exclude_day_indexes"
)

BEFORE_ACTUAL = "pre_event_actual_kw pre_actual_kw before_actual_kw pre_event_actual pre_event_load_kw adjustment_actual_kw adjustment_window_actual_kw"

BEFORE_BASE = "pre_event_baseline_kw pre_baseline_kw before_baseline_kw pre_event_baseline adjustment_baseline_kw adjustment_window_baseline_kw"

BASELINE = "baseline_kw raw_baseline_kw baseline unadjusted_baseline_kw event_baseline_kw"


def baseline_of(work: Work) -> tuple[Fraction, ...]:
    if work.is_list(DAY_TABLES) and _holds_tables(work):
        return _of_days(work)
    if work.has(DAYS_KW) and work.is_list(DAYS_KW):
        days = work.matrix(DAYS_KW)
        days = _chosen(work, days)
        found = response.baseline_kw(days)
        _put_baseline(work, found)
        return found
    if work.is_list(DAILY):
        return _ranked(work)
    if work.is_list(BASELINE):
        return tuple(map(Fraction, work.decimals(BASELINE)))
    if work.has(BASELINE):
        return (Fraction(work.decimal(BASELINE)),)
    return ()


def _holds_tables(work: Work) -> bool:
    raw = work.raw(DAY_TABLES)
    return isinstance(raw, list) and bool(raw) and all(isinstance(each, dict) for each in raw)


def _of_days(work: Work) -> tuple[Fraction, ...]:
    """Days as objects: those marked as excluded are left out, then those with the most energy count."""
    days = work.tables(DAY_TABLES)
    energy, load = (
        "kwh daily_kwh energy_kwh day_kwh",
        "event_kw interval_kw kw load_kw event_interval_kw values_kw",
    )
    left = [
        number
        for number, day in enumerate(days)
        if not any(
            day.own(name) and day.flag(False, name) for name in ("excluded", "is_excluded", "event_day")
        )
        and not (day.own("eligible") and not day.flag(True, "eligible"))
    ]
    count = work.integer(COUNT) if work.has(COUNT) else len(left)
    if not 0 < count <= len(left):
        work.bad(work.here("days_to_select"), f"is {count}", f"1 to {len(left)}")
    points = [day.decimals(load) if day.is_list(load) else [day.decimal(load)] for day in days]
    sums = [
        day.decimal(energy) if day.own(energy) else total(points[number]) for number, day in enumerate(days)
    ]
    picked = response.selected_days([sums[number] for number in left], count, _ranking(work))
    chosen = [left[number] for number in picked]
    work.put("selected_day_indexes", [Decimal(number) for number in chosen], "days with the largest energy")
    dates = [day.text("date day") if day.own("date day") else f"#{number}" for number, day in enumerate(days)]
    work.put("selected_dates", [dates[number] for number in chosen], "", also="selected_days days_used")
    found = response.baseline_kw([points[number] for number in chosen])
    _put_baseline(work, found)
    if len(found) == 1:
        work.put("baseline_kw", work.rounded(found[0], "power_kw"), "mean of the selected days")
    return found


def _put_baseline(work: Work, found: Sequence[Fraction]) -> None:
    values = [work.rounded(each, "power_kw") for each in found]
    work.put("baseline_kw", list(values), "arithmetic mean of the days")
    work.put(
        "average_baseline_kw",
        work.rounded(sum(found, Fraction(0)) / len(found), "power_kw"),
        "mean of the points",
    )


def _ranking(work: Work) -> Ranking:
    spelled = {
        "highest": "highest",
        "high": "highest",
        "largest": "highest",
        "lowest": "lowest",
        "low": "lowest",
        "smallest": "lowest",
        "middle": "middle",
        "mid": "middle",
    }
    return Ranking(work.choice("highest", spelled, "ranking selection selection_rule select rank"))


def _chosen(work: Work, days: list[list[Decimal]]) -> list[list[Decimal]]:
    """Days that are left out, then the days with the most energy when only some count."""
    excluded = {int(each) for each in work.decimals(EXCLUDED)} if work.is_list(EXCLUDED) else set()
    left = [number for number in range(len(days)) if number not in excluded]
    if not left:
        work.bad(work.here("days_kw"), "has no eligible day", "at least one")
    if work.has(COUNT):
        count = work.integer(COUNT)
        if not 0 < count <= len(left):
            work.bad(work.here("days_to_select"), f"is {count}", f"1 to {len(left)}")
        energy = work.decimals(DAILY) if work.is_list(DAILY) else [total(day) for day in days]
        picked = response.selected_days([energy[number] for number in left], count, _ranking(work))
        left = [left[number] for number in picked]
    if work.has(COUNT) or excluded:
        work.put("selected_day_indexes", [Decimal(number) for number in left], "days with the largest energy")
    return [days[number] for number in left]


def _ranked(work: Work) -> tuple[Fraction, ...]:
    """X of Y: rank the days by energy, keep some; the baseline of the interval is the mean of their values."""
    energy = work.decimals(DAILY)
    excluded = {int(each) for each in work.decimals(EXCLUDED)} if work.is_list(EXCLUDED) else set()
    left = [number for number in range(len(energy)) if number not in excluded]
    count = work.integer(COUNT) if work.has(COUNT) else len(left)
    if not 0 < count <= len(left):
        work.bad(work.here("days_to_select"), f"is {count}", f"1 to {len(left)}")
    picked = [
        left[number]
        for number in response.selected_days([energy[number] for number in left], count, _ranking(work))
    ]
    work.put(
        "selected_day_indexes", [Decimal(number) for number in picked], "days with the largest daily_kwh"
    )
    if not work.is_list(INTERVAL):
        return ()
    raw = work.raw(INTERVAL)
    if isinstance(raw, list) and raw and isinstance(raw[0], list):
        rows = work.matrix(INTERVAL)
        _same_length(work, len(rows), len(energy))
        found = response.baseline_kw([rows[number] for number in picked])
        _put_baseline(work, found)
        return found
    values = work.decimals(INTERVAL)
    _same_length(work, len(values), len(energy))
    one = response.mean([values[number] for number in picked])
    work.put("baseline_kw", work.rounded(one, "power_kw"), "mean of the selected days")
    return (one,)


def _same_length(work: Work, got: int, wanted: int) -> None:
    if got != wanted:
        work.bad(work.here("event_interval_kw"), f"has {got} values", f"{wanted}, one per day")


def _mean_of(work: Work, names: str) -> Fraction:
    return response.mean(work.decimals(names)) if work.is_list(names) else Fraction(work.decimal(names))


def adjusted(work: Work, baseline: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    """Day-of adjustment: by addition or by a limited ratio, applied to the raw baseline."""
    if not (work.has(BEFORE_ACTUAL) and work.has(BEFORE_BASE)):
        return baseline
    actual, before = _mean_of(work, BEFORE_ACTUAL), _mean_of(work, BEFORE_BASE)
    spelled = {
        "additive": "add",
        "add": "add",
        "multiplicative": "multiply",
        "ratio": "multiply",
        "multiply": "multiply",
        "scalar": "multiply",
        "none": "none",
    }
    limited = work.has(
        "ratio_min ratio_max ratio_low ratio_high min_ratio max_ratio lower_limit upper_limit adjustment_min adjustment_max limit_low limit_high ratio_limits adjustment_limit_pct limit_pct adjustment_limits adjustment_cap_pct ratio_lower ratio_upper ratio_floor ratio_cap limit_lower limit_upper"
    )
    kind = work.choice(
        "multiply" if limited else "add",
        spelled,
        "adjustment adjustment_method adjustment_type day_of_adjustment method",
    )
    if kind == "none":
        return baseline
    if kind == "add":
        shift = actual - before
        if work.has("adjustment_cap_kw max_adjustment_kw adjustment_limit_kw"):
            limit = Fraction(work.decimal("adjustment_cap_kw max_adjustment_kw adjustment_limit_kw"))
            shift = max(-limit, min(limit, shift))
        work.put("adjustment_kw", work.rounded(shift, "power_kw"), "pre-event actual - pre-event baseline")
        found = response.shifted(baseline, before + shift, before)
    else:
        if not before:
            work.bad(work.here("pre_event_baseline_kw"), "is zero", "a baseline above zero")
        low, high = _ratio_limits(work)
        work.put("raw_ratio", work.rounded(actual / before, "ratio"), "pre-event actual / pre-event baseline")
        ratio = response.adjustment_ratio(actual, before, low, high)
        work.put("adjustment_ratio", work.rounded(ratio, "ratio"), "limited to [low, high]")
        work.put("ratio_limited", ratio != actual / before, "")
        found = tuple(each * ratio for each in baseline)
    values = [work.rounded(each, "power_kw") for each in found]
    single = len(values) == 1 and not work.is_list(BASELINE) and not work.is_list(DAYS_KW)
    if values:
        work.put(
            "adjusted_baseline_kw",
            values[0] if single else list(values),
            "baseline with day-of adjustment",
            also="baseline_kw baseline",
        )
    return found


def _ratio_limits(work: Work) -> tuple[Decimal, Decimal]:
    if work.is_list("ratio_limits adjustment_limits"):
        low, high = [*work.decimals("ratio_limits adjustment_limits"), Decimal(0), Decimal(0)][:2]
        return low, high
    percent = "adjustment_limit_pct limit_pct adjustment_cap_pct"
    if work.has(percent):
        part = EXACT.scaleb(work.decimal(percent), -2)
        return EXACT.subtract(Decimal(1), part), EXACT.add(Decimal(1), part)
    return (
        work.ratio_or(
            "0.8",
            "ratio_min ratio_low min_ratio lower_limit adjustment_min limit_low ratio_lower ratio_floor limit_lower",
        ),
        work.ratio_or(
            "1.2",
            "ratio_max ratio_high max_ratio upper_limit adjustment_max limit_high ratio_upper ratio_cap limit_upper",
        ),
    )
