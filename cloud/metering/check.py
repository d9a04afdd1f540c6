"""Named checks on a finished interval day. Pure; names from Oracle's list of validation rules (product.md B.2)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from cloud.markettime import SLOTS_PER_DAY
from cloud.metering.interval import Finding, IntervalDay, IntervalQuality, Severity


@dataclass(frozen=True, slots=True)
class SumCheck:
    """Interval sum against register difference: how far apart, and whether that is within the tolerance."""

    difference_wh: int
    difference_pct: Decimal
    passes: bool


def sum_check(interval_sum_wh: int, register_difference_wh: int, tolerance_pct: Decimal) -> SumCheck:
    """Compare: difference % = (sum - register) / register x 100, which fails beyond the tolerance (case VE-102).

    Against a register that did not move any energy at all fails.
    """
    difference_wh = interval_sum_wh - register_difference_wh
    if register_difference_wh == 0:
        return SumCheck(difference_wh, Decimal(0), passes=difference_wh == 0)
    difference_pct = Decimal(difference_wh) * 100 / Decimal(register_difference_wh)
    return SumCheck(difference_wh, difference_pct, passes=abs(difference_pct) <= tolerance_pct)


def checked(
    interval_day: IntervalDay, like: IntervalDay | None, ended_slots: int, spike_pct: int, high_pct: int
) -> list[Finding]:
    """Apply the checks that look at one day's import; those on sums need a complete day.

    `like` is the same weekday a week before; only the first `ended_slots` slots can be missed.
    """
    findings = missing_runs(interval_day, ended_slots)
    curve = [value for value in interval_day.import_wh if value is not None]
    if len(curve) < SLOTS_PER_DAY:
        return findings
    like_sum_wh = (
        None if like is None or None in like.import_wh else sum(value or 0 for value in like.import_wh)
    )
    findings += spike(curve, spike_pct)
    if like_sum_wh and sum(curve) == 0:
        facts: dict[str, int | str] = {"like_day_wh": like_sum_wh}
        findings.append(Finding(None, "zero_consumption", Severity.WARNING, facts))
    if like_sum_wh and sum(curve) * 100 > like_sum_wh * high_pct:
        facts = {"day_wh": sum(curve), "like_day_wh": like_sum_wh, "limit_pct": high_pct}
        findings.append(Finding(None, "high_low", Severity.WARNING, facts))
    return findings


def missing_runs(interval_day: IntervalDay, ended_slots: int) -> list[Finding]:
    """Name each run of slots that are over and missing."""
    findings: list[Finding] = []
    run = 0
    for slot in range(ended_slots):
        run = run + 1 if interval_day.quality[slot] == IntervalQuality.MISSING else 0
        ends = slot + 1 == ended_slots or interval_day.quality[slot + 1] != IntervalQuality.MISSING
        if run and ends:
            findings.append(Finding(slot - run + 1, "missing_quantity", Severity.WARNING, {"slots": run}))
    return findings


def spike(curve: list[int], spike_pct: int) -> list[Finding]:
    """Interval spike: (highest - third highest) / third highest strictly above the limit (California VEE)."""
    highest, _, third = sorted(curve, reverse=True)[:3]
    if third > 0 and (highest - third) * 100 > third * spike_pct:
        facts: dict[str, int | str] = {"highest_wh": highest, "third_wh": third, "limit_pct": spike_pct}
        return [Finding(curve.index(highest), "interval_spike", Severity.INFO, facts)]
    return []
