"""Validation by example: published cases, meter exchange, rollover, bad readings, gaps, and what is found."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from cloud.metering.check import sum_check
from cloud.metering.estimate import filled_by_like_day, shared
from cloud.metering.interval import IntervalDay, IntervalQuality
from cloud.metering.register import Installed, RegisterReading
from cloud.metering.vee import days_spanned, rules_for, validate

DAY = date(2026, 8, 3)  # a Monday
START_MS = int(datetime(2026, 8, 2, 16, tzinfo=UTC).timestamp()) * 1000  # its midnight in Asia/Shanghai
QUARTER_MS = 900_000
LATER = datetime(2026, 9, 1, tzinfo=UTC)
A, E, M, R = (
    *(
        IntervalQuality.ACTUAL,
        IntervalQuality.ESTIMATED,
        IntervalQuality.MISSING,
        IntervalQuality.RECOLLECTED,
    ),
)
CASES = json.loads((Path(__file__).parent.parent / "golden" / "vee_cases.json").read_text(encoding="utf-8"))


def reg(slot: int, ticks: int | None, *, offset_ms: int = 0, **changes: object) -> RegisterReading:
    """A reading at a quarter-hour mark of DAY (96 is its end) that knows the import register only."""
    facts = {"source": 0, "quality": 0, "batch_id": 7, "recollected": False, **changes}
    return RegisterReading(START_MS + slot * QUARTER_MS + offset_ms, ticks=(ticks, None, None, None), **facts)


def meter(
    *readings: RegisterReading, multiplier: int = 1, start_slot: int = -9000, end_slot: int | None = None
) -> Installed:
    end_ms = None if end_slot is None else START_MS + end_slot * QUARTER_MS
    return Installed(START_MS + start_slot * QUARTER_MS, end_ms, multiplier, readings)


def steady(first: int = 0, end: int = 97, per_slot: int = 100) -> list[RegisterReading]:
    return [reg(slot, 5000 + per_slot * slot) for slot in range(first, end)]


def one_day(*installed: Installed, like: dict[date, IntervalDay] | None = None, now: datetime = LATER):
    (result,) = validate("SP1", [DAY], installed, like or {}, now)
    return result


def rules_found(result: object) -> list[tuple[int | None, str]]:
    return [(finding.slot, finding.rule) for finding in result.findings]


# ---- published cases -------------------------------------------------------------------------------------


def test_like_day_shape_fills_up_to_the_register_difference() -> None:
    case = CASES["VE-101"]
    wh = {
        key: int(Decimal(case["inputs"][key]) * 1000)
        for key in ("daily_register_kwh", "sum_of_good_points_kwh")
    }
    like = [int(Decimal(value) * 1000) for value in case["inputs"]["like_day_values_kwh"]]
    filled = filled_by_like_day(wh["daily_register_kwh"], wh["sum_of_good_points_kwh"], like)
    assert [Decimal(value) / 1000 for value in filled] == [
        Decimal(v) for v in case["expected"]["filled_values_kwh"]
    ]
    completed = Decimal(sum(filled) + wh["sum_of_good_points_kwh"]) / 1000
    assert completed == Decimal(case["expected"]["completed_sum_kwh"])


def test_the_sum_check_of_the_published_case_fails() -> None:
    case = CASES["VE-102"]
    inputs = {key: Decimal(value) for key, value in case["inputs"].items()}
    result = sum_check(
        int(inputs["interval_sum_kwh"] * 1000),
        int(inputs["register_difference_kwh"] * 1000),
        inputs["tolerance_pct"],
    )
    assert Decimal(result.difference_wh) / 1000 == Decimal(case["expected"]["difference_kwh"])
    assert result.difference_pct == Decimal(case["expected"]["difference_pct"])
    assert ("pass" if result.passes else "fail") == case["expected"]["result"]


def test_the_sum_check_passes_at_its_tolerance_and_fails_just_beyond() -> None:
    assert sum_check(99_950, 100_000, Decimal("0.05")).passes
    assert not sum_check(99_949, 100_000, Decimal("0.05")).passes
    assert not sum_check(1, 0, Decimal("0.05")).passes


def test_shares_of_nothing_known_are_equal_and_add_up() -> None:
    assert shared(10, (0, 0, 0)) == (3, 3, 4)
    assert shared(0, (1, 2)) == (0, 0)


# ---- a day -----------------------------------------------------------------------------------------------


def test_a_full_day_is_actual_and_the_multiplier_is_applied_before_the_floor() -> None:
    # 0.3 Wh a slot on the face, times 7: 2.1 Wh a slot, of which whole Wh are 2, 2, … and now and then 3.
    result = one_day(meter(*(reg(slot, 3 * slot) for slot in range(97)), multiplier=7))
    assert result.interval_day.quality == (A,) * 96
    assert result.interval_day.import_wh[:10] == (2, 2, 2, 2, 2, 2, 2, 2, 2, 3)
    assert sum(result.interval_day.import_wh) == 96 * 3 * 7 // 10
    assert result.interval_day.export_wh == (None,) * 96
    assert result.findings == ()


def test_readings_a_little_beside_the_mark_stand_for_it_the_nearest_first() -> None:
    readings = steady()
    readings[10] = reg(10, 999, offset_ms=-60_001)  # too far: stands for nothing
    readings.append(reg(10, 6001, offset_ms=60_000))
    readings.append(reg(10, 6000, offset_ms=-4_000))
    day = one_day(meter(*readings)).interval_day
    assert day.import_wh == (10,) * 96


def test_a_reading_the_meter_stamped_itself_comes_first() -> None:
    day = one_day(meter(*steady(), reg(10, 6050, source=1))).interval_day
    assert day.import_wh[9:11] == (15, 5)


def test_a_reading_without_a_trusted_clock_bounds_nothing() -> None:
    readings = steady()
    readings[40] = reg(40, 5000 + 4000, quality=1)
    day = one_day(meter(*readings)).interval_day
    assert day.quality[38:42] == (A, E, E, A)


def test_back_fill_is_told_from_what_came_by_itself() -> None:
    readings = steady()
    readings[40] = reg(40, 9000, recollected=True)
    day = one_day(meter(*readings)).interval_day
    assert day.quality[38:42] == (A, R, R, A)
    assert day.import_wh == (10,) * 96


def test_a_gap_without_a_like_day_is_a_straight_line_and_told() -> None:
    readings = [r for r in steady() if not START_MS + 20 * QUARTER_MS < r.at_ms < START_MS + 24 * QUARTER_MS]
    readings = [r if r.at_ms <= START_MS + 20 * QUARTER_MS else reg_plus(r, 30) for r in readings]
    result = one_day(meter(*readings))
    assert result.interval_day.import_wh[19:25] == (10, 10, 11, 11, 11, 10)  # 43 Wh over four slots
    assert result.interval_day.quality[19:25] == (A, E, E, E, E, A)
    (finding,) = result.findings
    assert (finding.slot, finding.rule) == (20, "consecutive_interval")
    assert finding.facts == {"slots": 4, "method": "linear", "channel": "import_wh"}


def reg_plus(reading: RegisterReading, ticks: int) -> RegisterReading:
    slot = (reading.at_ms - START_MS) // QUARTER_MS
    return reg(slot, (reading.ticks[0] or 0) + ticks)


def like_week_before(curve: tuple[int | None, ...]) -> dict[date, IntervalDay]:
    none = (None,) * 96
    day = DAY - timedelta(days=7)
    quality = tuple(M if value is None else A for value in curve)
    return {day: IntervalDay("SP1", day, 1, curve, none, none, none, quality)}


def test_a_gap_takes_the_shape_of_the_same_weekday_a_week_before() -> None:
    readings = [r for r in steady() if not START_MS + 20 * QUARTER_MS < r.at_ms < START_MS + 24 * QUARTER_MS]
    curve = (5,) * 20 + (0, 10, 30, 60) + (5,) * 72
    result = one_day(meter(*readings), like=like_week_before(curve))
    assert result.interval_day.import_wh[20:24] == (0, 4, 12, 24)
    assert result.findings[0].facts["method"] == "like_day"


def test_a_like_day_with_a_hole_in_the_right_place_is_no_like_day() -> None:
    readings = [r for r in steady() if not START_MS + 20 * QUARTER_MS < r.at_ms < START_MS + 24 * QUARTER_MS]
    curve = (5,) * 20 + (0, 10, None, 60) + (5,) * 72
    result = one_day(meter(*readings), like=like_week_before(curve))
    assert result.interval_day.import_wh[20:24] == (10, 10, 10, 10)


def test_a_gap_longer_than_a_week_stays_missing_and_its_energy_is_named() -> None:
    first, last = -5 * 96, 3 * 96  # eight days
    result = one_day(meter(reg(first, 0), reg(last, 80_000)))
    assert result.interval_day.import_wh == (None,) * 96
    assert result.interval_day.quality == (M,) * 96
    facts = {f.rule: f.facts for f in result.findings}
    assert facts["prolonged_gap"]["energy_wh"] == 8000
    assert facts["missing_quantity"] == {"slots": 96}


def test_a_gap_of_exactly_a_week_is_still_shared_and_its_days_belong_together() -> None:
    installed = (meter(reg(-3 * 96, 0), reg(4 * 96, 6_720_0)),)
    assert days_spanned(installed, rules_for(DAY)) == {DAY + timedelta(days=n) for n in range(-3, 4)}
    assert one_day(*installed).interval_day.import_wh == (10,) * 96


def test_a_meter_exchange_loses_nothing() -> None:
    exchange_ms = 400_000  # into slot 8
    old = Installed(START_MS - QUARTER_MS, START_MS + 8 * QUARTER_MS + exchange_ms, 10, (
        *(reg(slot, 1000 + 20 * slot) for slot in range(9)), reg(8, 1169, offset_ms=exchange_ms - 5_000),
    ))  # fmt: skip
    new = Installed(START_MS + 8 * QUARTER_MS + exchange_ms, None, 20, (
        reg(8, 3, offset_ms=exchange_ms + 9_000), *(reg(slot, 11 * (slot - 8)) for slot in range(9, 97)),
    ))  # fmt: skip
    result = one_day(old, new)
    day = result.interval_day
    assert day.quality == (A,) * 96
    assert day.import_wh[7:10] == (20, (1169 - 1160) * 10 // 10 + (11 * 20 // 10 - 3 * 20 // 10), 22)
    assert sum(day.import_wh) == (1169 - 1000) + (11 * 88 * 20 // 10 - 3 * 20 // 10)
    assert result.findings == ()


def test_a_slot_that_was_measured_in_part_only_says_so() -> None:
    old = meter(*steady(0, 9), end_slot=8)  # nobody read it at the exchange
    old = Installed(old.start_ms, START_MS + 8 * QUARTER_MS + 400_000, 1, old.readings)
    new = Installed(START_MS + 8 * QUARTER_MS + 400_000, None, 1, (
        reg(8, 0, offset_ms=400_000), *(reg(slot, 100 * (slot - 8)) for slot in range(9, 97)),
    ))  # fmt: skip
    day = one_day(old, new).interval_day
    assert (day.import_wh[8], day.quality[8]) == (10, E)
    assert day.quality[7] == day.quality[9] == A


def test_before_the_first_meter_there_is_nothing() -> None:
    day = one_day(meter(*steady(40), start_slot=40)).interval_day
    assert day.import_wh[:40] == (None,) * 40
    assert day.import_wh[40:] == (10,) * 56


def test_a_register_that_passes_its_last_digit_goes_on_counting() -> None:
    top = 10**10
    readings = [reg(slot, (top - 1000 + 100 * slot) % top) for slot in range(97)]
    result = one_day(meter(*readings, multiplier=3))
    assert sum(result.interval_day.import_wh) == 96 * 100 * 3 // 10
    assert result.interval_day.quality == (A,) * 96
    assert rules_found(result) == [(10, "register_rollover")]


@pytest.mark.parametrize("wrong", [0, 5_000_000])
def test_one_bad_reading_is_left_out_and_told(wrong: int) -> None:
    readings = steady()
    readings[30] = reg(30, wrong)
    result = one_day(meter(*readings))
    assert sum(result.interval_day.import_wh) == 960
    assert result.interval_day.quality[28:32] == (A, E, E, A)
    assert (30, "negative_consumption") in rules_found(result)


@pytest.mark.parametrize(("first", "wrong"), [(9_500_000_000, 0), (5_000, 9_999_999_999)])
def test_one_bad_reading_at_the_other_end_of_the_range_is_no_rollover(first: int, wrong: int) -> None:
    readings = [reg(slot, first + 100 * slot) for slot in range(97)]
    readings[30] = reg(30, wrong)
    result = one_day(meter(*readings))
    assert sum(result.interval_day.import_wh) == 960
    assert (30, "negative_consumption") in rules_found(result)
    assert "register_rollover" not in [rule for _, rule in rules_found(result)]


def test_a_register_that_was_set_back_invents_nothing_across_the_break() -> None:
    readings = [*steady(0, 48), *(reg(slot, 100 * (slot - 48)) for slot in range(48, 97))]
    result = one_day(meter(*readings))
    day = result.interval_day
    assert (day.import_wh[47], day.quality[47]) == (None, M)
    assert sum(value or 0 for value in day.import_wh) == 47 * 10 + 48 * 10
    assert [f.severity for f in result.findings if f.rule == "negative_consumption"] == ["error"]


def test_only_slots_that_are_over_can_be_missed() -> None:
    now = datetime(2026, 8, 3, 4, 7, tzinfo=UTC)  # 12:07, in slot 48
    result = one_day(meter(*steady(0, 47)), now=now)
    assert rules_found(result) == [(46, "missing_quantity")]
    assert result.findings[0].facts == {"slots": 2}


def test_zero_and_high_days_and_spikes_are_noticed() -> None:
    usual = like_week_before((10,) * 96)
    assert rules_found(one_day(meter(*steady(per_slot=0)), like=usual)) == [(None, "zero_consumption")]
    assert rules_found(one_day(meter(*steady(per_slot=500)), like=usual)) == []
    assert rules_found(one_day(meter(*steady(per_slot=501)), like=usual)) == [(None, "high_low")]
    spiked = [reg_plus(r, 190 if r.at_ms > START_MS + 50 * QUARTER_MS else 0) for r in steady()]
    assert rules_found(one_day(meter(*spiked))) == [(50, "interval_spike")]
    just_not = [reg_plus(r, 180 if r.at_ms > START_MS + 50 * QUARTER_MS else 0) for r in steady()]
    assert rules_found(one_day(meter(*just_not))) == []


def test_the_rule_set_that_was_in_force_is_found() -> None:
    assert rules_for(date(2026, 8, 3)).version == 2


def late(slot: int, ticks: int) -> RegisterReading:
    """A reading that a slow line brings five minutes after its mark."""
    return reg(slot, ticks, offset_ms=300_000)


def test_a_meter_that_is_always_read_late_has_a_curve() -> None:
    readings = [late(slot, 90 * slot) for slot in range(-2, 99)]  # 9 Wh in every quarter hour

    result = one_day(meter(*readings))

    assert result.interval_day.import_wh == (9,) * 96
    assert result.interval_day.quality == (E,) * 96


def test_days_of_a_late_meter_are_validated_alone_and_still_add_up() -> None:
    readings = [late(slot, (slot + 2) ** 2 * 10) for slot in range(-2, 195)]
    installed = (meter(*readings),)
    following = DAY + timedelta(days=1)

    together = validate("SP1", [DAY, following], installed, {}, LATER)
    alone = [validate("SP1", [day], installed, {}, LATER)[0] for day in (DAY, following)]

    assert [one.interval_day for one in together] == [one.interval_day for one in alone]
    assert days_spanned(installed, rules_for(DAY)) == frozenset()


def test_what_lies_between_the_last_reading_and_its_mark_is_missing_not_zero() -> None:
    result = one_day(meter(*[late(slot, 90 * slot) for slot in range(-2, 40)]))  # silent from 09:50

    assert result.interval_day.import_wh[:39] == (9,) * 39
    assert result.interval_day.import_wh[39:] == (None,) * 57
    assert result.interval_day.quality[39:] == (M,) * 57


def test_a_late_reading_beside_a_mark_that_was_read_changes_nothing() -> None:
    strays = [late(slot, 5000 + 100 * slot + 99) for slot in range(96)]

    assert one_day(meter(*steady(), *strays)) == one_day(meter(*steady()))
