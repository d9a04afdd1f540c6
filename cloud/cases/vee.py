"""Cases of meter data validation and estimation 计量数据校验与拟合. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from cloud.cases.work import Work, by_row
from cloud.metering import check
from cloud.money import EXACT, total

RULE = "§14"
POINTS_MAX = 10_000
LIKE = "like_day_values_kwh like_day_kwh like_day_values reference_day_values_kwh like_day_shape_kwh like_day_curve_kwh"
REGISTER = "daily_register_kwh register_difference_kwh daily_frozen_difference_kwh daily_register_difference_kwh register_kwh register_difference"
GOOD = "sum_of_good_points_kwh good_sum_kwh good_points_sum_kwh"
GOOD_LIST = "good_points_kwh good_values_kwh good_points"
SUM = "interval_sum_kwh intervals_sum_kwh curve_sum_kwh sum_of_intervals_kwh"
INTERVALS = "intervals_kwh interval_values_kwh interval_kwh curve_kwh"
BEFORE = "value_before_kwh value_before before_kwh before before_value_kwh before_value before_kw value_before_kw last_good_kwh last_good_kw last_good last_good_value left left_kwh left_value point_before_kwh point_before_kw point_before previous_kwh previous_value"
AFTER = "value_after_kwh value_after after_kwh after after_value_kwh after_value after_kw value_after_kw next_good_kwh next_good_kw next_good next_good_value right right_kwh right_value point_after_kwh point_after_kw point_after next_kwh next_value"
GAP = "missing_points missing_count n_missing n missing points_missing number_of_missing_points missing_intervals gap_points"
CURVE = "values_kwh curve_kwh intervals_kwh interval_values_kwh values_kw curve_kw values curve interval_kwh"
START = "start_reading reading_start previous_reading register_before reading_before register_start start_register previous_register before_register"
END = "end_reading reading_end current_reading register_after reading_after register_now register_end end_register current_register after_register"
MODULUS = "register_modulus rollover register_max register_capacity overflow_at"
DIGITS = "register_digits digits integer_digits register_integer_digits"
THRESHOLD = "coverage_threshold min_coverage threshold required_coverage min_coverage_rate coverage_rate_min minimum_coverage"
TOLERANCE = "tolerance_pct tolerance_percent limit_pct"
SPIKE = "spike_threshold_pct spike_pct threshold_pct spike_limit_pct spike_threshold_percent limit_pct"
CORRECTION = "correction_rate_pct correction_rate correction_pct correction_rate_percent"


def rate(work: Work) -> None:
    """Work a case by the check or the method that its inputs belong to."""
    work.rule = RULE
    if work.is_list("rows"):
        by_row(work, _one)
    else:
        _one(work)


def _one(work: Work) -> None:
    if work.has(LIKE):
        _like_day(work)
    elif work.has(CORRECTION) or work.has("correct_power_factor_ratio"):
        _wrong_wiring(work)
    elif work.has(BEFORE):
        _linear(work)
    elif _has_gaps(work):
        _completed(work)
    elif work.has(f"{SUM} {INTERVALS}") and work.has(REGISTER):
        _sum_check(work)
    elif work.has("expected_points expected_count points_expected total_points") or work.has(
        "coverage_threshold min_coverage coverage_threshold_pct min_coverage_pct"
    ):
        _coverage(work)
    elif work.has(SPIKE):
        _spike(work)
    elif work.is_list("days_kwh reference_days_kwh history_days_kwh"):
        _reference_days(work)
    elif work.has(START) and work.has(END):
        _register(work)
    elif work.is_list(INTERVALS) or work.is_list("interval_kw average_kw values_kw"):
        _demand(work)
    elif work.has(
        "clock_offset_s clock_offset_seconds clock_difference_seconds clock_drift_s clock_difference_s clock_offset_min clock_difference_min clock_deviation_minutes clock_offset_minutes"
    ):
        _clock(work)
    else:
        work.decimal(SUM)


def _like_day(work: Work) -> None:
    """Missing energy in the shape of a like day; exact, and the completed curve sums to the register difference."""
    shape = work.decimals(LIKE)
    register = work.decimal(REGISTER) if work.has(REGISTER) else _by_readings(work)
    good = total(work.decimals(GOOD_LIST)) if work.is_list(GOOD_LIST) else work.number_or(0, GOOD)
    missing = EXACT.subtract(register, good)
    work.put("missing_kwh", missing, "daily_register_kwh - sum_of_good_points_kwh")
    if missing < 0:
        work.bad(
            work.here("sum_of_good_points_kwh"),
            f"is above the register difference by {-missing}",
            "at most the register difference",
        )
    if missing and not any(shape) and not _may_share_equally(work):
        work.bad(
            work.here("like_day_values_kwh"), "add up to zero", "a shape above zero, or equal_split: true"
        )
    filled = _shared(work, missing, shape)
    work.put(
        "filled_values_kwh",
        list(filled),
        "missing_kwh x like-day value / sum of like-day values",
        kind="energy_kwh" if "energy_kwh" in work.case.quanta else "",
    )
    work.put("completed_sum_kwh", EXACT.add(good, total(filled)), "good points + filled points")
    weight = total(shape)
    if weight:
        work.put(
            "scale_factor",
            work.rounded(Fraction(missing) / Fraction(weight), "coefficient"),
            "missing_kwh / sum of like-day values",
        )


def _may_share_equally(work: Work) -> bool:
    return work.flag(False, "equal_split split_equally") or (
        work.text_or("", "zero_shape_rule zero_shape").replace("_", " ")
        in ("equal", "equal split", "equally")
    )


def _by_readings(work: Work) -> Decimal:
    start, end = (
        work.decimal("start_reading reading_start previous_reading"),
        work.decimal("end_reading reading_end current_reading"),
    )
    return EXACT.multiply(EXACT.subtract(end, start), work.number_or(1, "multiplier meter_multiplier"))


def _shared(work: Work, whole: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """Share by weights exactly; where the case rounds energy, the last point takes the remainder. All zero: equally, where the case says so."""
    if any(weight < 0 for weight in weights):
        work.bad(work.here("like_day_values_kwh"), "has a negative value", "zero or more")
    counted = list(weights) if any(weights) else [Decimal(1)] * len(weights)
    if not counted:
        work.bad(work.here("like_day_values_kwh"), "is empty", "one value per missing point")
    exact = [Fraction(whole) * Fraction(weight) / Fraction(total(counted)) for weight in counted]
    if "energy_kwh" not in work.case.quanta:
        return [work.exact(each) for each in exact]
    parts = [work.rounded(each, "energy_kwh") for each in exact]
    parts[-1] = EXACT.subtract(whole, total(parts[:-1]))
    return parts


def _linear(work: Work) -> None:
    before, after, count = work.decimal(BEFORE), work.decimal(AFTER), work.integer(GAP)
    if not 1 <= count <= POINTS_MAX:
        work.bad(work.here("missing_points"), f"is {count}", f"1 to {POINTS_MAX}")
    step = (Fraction(after) - Fraction(before)) / (count + 1)
    values = _between(work, before, after, count)
    work.put(
        "step",
        work.rounded(step, "energy_kwh") if "energy_kwh" in work.case.quanta else work.exact(step),
        "(after - before) / (n + 1)",
    )
    work.put("filled_values_kwh", list(values), "before + k x step")
    work.put("filled_sum_kwh", total(values), "sum")
    limit = "max_gap_points linear_max_points short_gap_points max_gap_minutes"
    if work.has(limit) and work.has("interval_minutes"):
        work.put(
            "linear_allowed", count * work.decimal("interval_minutes") <= work.decimal(limit), "gap <= limit"
        )
    elif work.has(limit):
        work.put("linear_allowed", Decimal(count) <= work.decimal(limit), "n <= limit")


def _between(work: Work, before: Decimal, after: Decimal, count: int) -> list[Decimal]:
    step = (Fraction(after) - Fraction(before)) / (count + 1)
    return [work.rounded(Fraction(before) + step * number, "energy_kwh") for number in range(1, count + 1)]


def _has_gaps(work: Work) -> bool:
    raw = work.raw(CURVE) if work.is_list(CURVE) else None
    return isinstance(raw, list) and None in raw and any(each is not None for each in raw)


def _completed(work: Work) -> None:
    """A curve with nulls: every gap inside it is filled by a straight line between its neighbours."""
    raw = work.raw(CURVE)
    known = dict(work.known_decimals(CURVE))
    completed: list[Decimal] = []
    filled: list[Decimal] = []
    for number in range(len(raw) if isinstance(raw, list) else 0):
        if number in known:
            completed.append(known[number])
            continue
        left = max((each for each in known if each < number), default=None)
        right = min((each for each in known if each > number), default=None)
        if left is None or right is None:
            work.bad(
                f"{work.here('values_kwh')}[{number}]", "has no value on one side", "a gap inside the curve"
            )
        found = _between(work, known[left], known[right], right - left - 1)[number - left - 1]
        filled.append(found)
        completed.append(found)
    work.put("completed_kwh", list(completed), "before + k x step in every gap")
    work.put("filled_values_kwh", list(filled), "before + k x step")
    work.put("missing_points", Decimal(len(filled)), "nulls")
    work.put("filled_sum_kwh", total(filled), "sum")
    work.put("completed_sum_kwh", total(completed), "sum")


def _sum_check(work: Work) -> None:
    """Interval sum against register difference, by the validation's own function in whole Wh or finer."""
    names = INTERVALS if work.is_list(INTERVALS) else f"{SUM} {INTERVALS}"
    interval = total(work.decimals(INTERVALS)) if work.is_list(INTERVALS) else work.decimal(names)
    register = work.decimal(REGISTER)
    warning = "warning_pct warn_pct warning_threshold_pct"
    # Without a tolerance there is nothing to pass or fail; the difference and a warning are there all the same.
    has_limit = work.has(TOLERANCE) or not work.has(warning)
    tolerance = work.not_negative(TOLERANCE) if has_limit else Decimal(0)
    scale = max(3, *(-int(each.as_tuple().exponent) for each in (interval, register)))
    found = check.sum_check(int(EXACT.scaleb(interval, scale)), int(EXACT.scaleb(register, scale)), tolerance)
    difference = EXACT.scaleb(Decimal(found.difference_wh), -scale)
    if work.is_list(INTERVALS):
        work.put("interval_sum_kwh", interval, "sum of the intervals")
    work.put("difference_kwh", difference, "interval_sum_kwh - register_difference_kwh")
    percent = Fraction(difference) * 100 / Fraction(register) if register else None
    shown = None if percent is None else work.rounded(percent, "percent")
    work.put("difference_pct", shown, "difference_kwh / register_difference_kwh x 100")
    passes = abs(percent) <= Fraction(tolerance) if percent is not None else found.passes
    if has_limit:
        work.put("result", "pass" if passes else "fail", "fail when |difference_pct| > tolerance_pct")
        work.put("passes", passes, "")
    if work.has(warning) and percent is not None:
        work.put("warning", abs(percent) > Fraction(work.decimal(warning)), "|difference_pct| > warning_pct")


def _wrong_wiring(work: Work) -> None:
    """Correction energy = read energy x correction rate, per period; flat = total - peak - valley."""
    raw = work.decimal(CORRECTION)
    is_percent = (
        any("correction" in name and name.endswith(("pct", "percent")) for name in work.names_given())
        or abs(raw) > 20
    )
    factor = EXACT.scaleb(raw, -2) if is_percent else raw
    names = "read_kwh kwh read_energy_kwh registered_kwh metered_kwh measured_kwh"
    by_period = " ".join(
        f"read_{name}_kwh {name}_kwh {name}_read_kwh kwh_{name}" for name in ("peak", "flat", "valley")
    )
    if work.is_number(names) and not work.has(by_period):
        _corrected_one(work, work.decimal(names), factor)
        return
    if not work.is_table(names):
        flat_names = ("total", "tip", "peak", "flat", "valley", "deep")
        given = {
            name: work.decimal(f"read_{name}_kwh {name}_kwh {name}_read_kwh kwh_{name}")
            for name in flat_names
            if work.has(f"read_{name}_kwh {name}_kwh {name}_read_kwh kwh_{name}")
        }
        if not given:
            _corrected_one(work, work.decimal(names), factor)
            return
    else:
        given = dict(work.numbers(names))
    whole = given.get("total")
    corrected = {
        name: work.rounded(EXACT.multiply(value, factor), "energy_kwh")
        for name, value in given.items()
        if name != "flat"
    }
    if "flat" in given or whole is not None:
        others = total(value for name, value in corrected.items() if name not in ("total", "flat"))
        if whole is not None:
            corrected["flat"] = EXACT.subtract(corrected["total"], others)
        else:
            corrected["flat"] = work.rounded(EXACT.multiply(given["flat"], factor), "energy_kwh")
    if "flat" not in given and whole is not None:
        others_read = total(value for name, value in given.items() if name != "total")
        work.put("flat_kwh", EXACT.subtract(whole, others_read), "read total - the other periods")
    order = [name for name in (*given, "flat") if name in corrected]
    result = {name: corrected[name] for name in dict.fromkeys(order)}
    work.put("correction_kwh", dict(result), "read_kwh x correction rate; flat = total - peak - valley")
    periods = {name: value for name, value in result.items() if name != "total"}
    work.put("correction_by_period", dict(periods), "without the total")
    for name, value in result.items():
        work.put(
            f"correction_{name}_kwh",
            value,
            "read_kwh x correction rate",
            also=f"{name}_correction_kwh {name} {name}_kwh correction_kwh_{name}",
        )
    corrected_whole = result.get("total", total(periods.values()))
    work.put("correction_total_kwh", corrected_whole, "", also="correction_kwh correction_energy_kwh")
    read = whole if whole is not None else total(given.values())
    work.put(
        "true_total_kwh", EXACT.add(read, result.get("total", total(periods.values()))), "read + correction"
    )


def _corrected_one(work: Work, read: Decimal, factor: Decimal) -> None:
    correction = work.rounded(EXACT.multiply(read, factor), "energy_kwh")
    work.put(
        "correction_kwh",
        correction,
        "read_kwh x correction rate",
        kind="energy_kwh" if "energy_kwh" in work.case.quanta else "",
    )
    work.put("true_kwh", EXACT.add(read, correction), "read_kwh + correction_kwh")
    if work.has("price price_per_kwh"):
        work.put_money(
            "correction_amount",
            EXACT.multiply(correction, work.decimal("price price_per_kwh")),
            "correction_kwh x price",
        )


def _coverage(work: Work) -> None:
    """Share of the points that are there; from a threshold on the curve is used, below it the register."""
    points = "actual_points points_present good_points valid_points received_points present_points"
    have = work.decimal(points) if not work.is_list(points) else Decimal(len(work.decimals(points)))
    expected = work.number_or(96, "expected_points expected_count points_expected total_points")
    threshold = work.ratio_or("0.95", THRESHOLD)
    if expected <= 0:
        work.bad(work.here("expected_points"), f"is {expected}", "a number above zero")
    ratio = Fraction(have) / Fraction(expected)
    work.put("coverage", work.rounded(ratio, "ratio"), "points present / points expected")
    work.put("coverage_pct", work.rounded(ratio * 100, "percent"), "x 100")
    enough = ratio >= Fraction(threshold)
    work.put("sufficient", enough, "coverage >= threshold")
    work.put("result", "pass" if enough else "fail", "")
    work.put("source", "curve" if enough else "register", "")
    work.put("missing_points", EXACT.subtract(expected, have), "expected - present")


def _spike(work: Work) -> None:
    """(highest - third highest) / third highest, strictly above the limit (California VEE)."""
    limit = work.decimal(SPIKE)
    names = f"{CURVE} day_values_kwh daily_values_kwh interval_values daily_kwh"
    if work.is_list(names):
        values = sorted(work.decimals(names), reverse=True)
        if len(values) < 3:
            work.bad(work.here("values_kwh"), f"has {len(values)} values", "at least 3")
        highest, third = values[0], values[2]
        position = Decimal(work.decimals(names).index(highest))
    else:
        highest, third = (
            work.decimal("max_kwh highest_kwh max highest max_value max_kw highest_kw first_kwh first_kw"),
            work.decimal(
                "third_kwh third_highest_kwh third third_highest third_max_kwh third_value third_kw third_highest_kw"
            ),
        )
        position = Decimal(0)
    ratio = (Fraction(highest) - Fraction(third)) * 100 / Fraction(third) if third else None
    work.put("highest_kwh", highest, "")
    work.put("third_highest_kwh", third, "")
    work.put(
        "spike_pct",
        None if ratio is None else work.rounded(ratio, "percent"),
        "(highest - third highest) / third highest x 100",
    )
    work.put(
        "spike_ratio",
        None if ratio is None else work.rounded(ratio / 100, "ratio"),
        "(highest - third highest) / third highest",
    )
    scale = max(3, *(-int(each.as_tuple().exponent) for each in (highest, third)))
    whole = [int(EXACT.scaleb(each, scale)) for each in (highest, highest, third)]
    is_whole = limit == int(limit)
    found = (
        bool(check.spike(whole, int(limit)))
        if is_whole
        else ratio is not None and third > 0 and ratio > Fraction(limit)
    )
    work.put("is_spike", found, "spike_pct > threshold (strictly)")
    work.put("result", "fail" if found else "pass", "")
    work.put("spike_index", position if found else None, "")


def _reference_days(work: Work) -> None:
    """Longer gaps: the average of reference days, point by point."""
    days = work.matrix("days_kwh reference_days_kwh history_days_kwh")
    values = [
        work.rounded(sum(map(Fraction, point), Fraction(0)) / len(point), "energy_kwh")
        for point in zip(*days, strict=True)
    ]
    work.put("filled_values_kwh", list(values), "mean of the reference days")
    work.put("filled_sum_kwh", total(values), "sum")


def _register(work: Work) -> None:
    difference = EXACT.subtract(work.decimal(END), work.decimal(START))
    modulus = work.decimal_or(None, MODULUS)
    if modulus is None and work.has(DIGITS):
        modulus = Decimal(10) ** work.integer(DIGITS)
    rolled = difference < 0 and modulus is not None
    if rolled and modulus is not None:
        difference = EXACT.add(difference, modulus)
    work.put(
        "register_difference_kwh",
        EXACT.multiply(difference, work.number_or(1, "multiplier meter_multiplier")),
        "(end - start) x multiplier",
    )
    work.put("rolled_over", rolled, "")
    work.put("negative", difference < 0, "end < start")


def _demand(work: Work) -> None:
    """Maximum demand: the largest average power of an interval x the multiplier."""
    multiplier = work.number_or(1, "multiplier meter_multiplier")
    if work.is_list(INTERVALS):
        minutes = work.decimal_or(None, "interval_minutes minutes")
        hours = (
            Fraction(minutes) / 60
            if minutes is not None
            else Fraction(work.decimal("interval_hours hours_per_interval"))
        )
        highest = Fraction(max(work.decimals(INTERVALS))) / hours
    else:
        highest = Fraction(max(work.decimals("interval_kw average_kw values_kw")))
    work.put(
        "max_demand_kw",
        work.rounded(highest * Fraction(multiplier), "power_kw"),
        "largest kWh / interval_hours x multiplier",
    )


def _clock(work: Work) -> None:
    """The meter's clock may be off by so much."""
    seconds = "clock_offset_s clock_offset_seconds clock_difference_seconds clock_drift_s clock_difference_s"
    minutes = "clock_offset_min clock_difference_min clock_deviation_minutes clock_offset_minutes"
    off = abs(work.decimal(seconds)) if work.has(seconds) else abs(work.decimal(minutes)) * 60
    limit = (
        work.decimal("limit_s tolerance_s limit_seconds tolerance_seconds max_offset_s")
        if work.has("limit_s tolerance_s limit_seconds tolerance_seconds max_offset_s")
        else work.number_or(3, "limit_min tolerance_min limit_minutes tolerance_minutes max_offset_min") * 60
    )
    work.put("passes", off <= limit, "|offset| <= limit")
    work.put("result", "pass" if off <= limit else "fail", "")
