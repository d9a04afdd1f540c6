"""Validation, estimation and editing: registers of a supply point's meters → interval days and findings. Pure.

Between two marks that follow each other the energy is actual; over any other stretch it is shared by the shape of the
same weekday a week before, else by a straight line. A stretch longer than `gap_days_max` stays missing, and a finding
names its energy. So intervals add up to the register difference exactly, whatever is missing between.

Rule names: Oracle Utilities Meter Data Management, "Configuring VEE Rules" (product.md B.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from cloud import markettime
from cloud.markettime import SLOTS_PER_DAY
from cloud.metering.check import checked, sum_check
from cloud.metering.estimate import Method, shared
from cloud.metering.interval import Curve, Finding, IntervalDay, IntervalQuality, Severity
from cloud.metering.register import (
    QUARTER_MS,
    Installed,
    Rules,
    Stretch,
    Trouble,
    is_estimable,
    knots_of,
    loose_slots,
    rules_for,
    stretches_of,
    total_wh,
)

ENERGY_CHANNELS = ("import_wh", "export_wh", "import_varh", "export_varh")  # catalogue columns 0..3
ACTIVE_CHANNELS = (0, 1)
WEEK_SLOTS = 7 * SLOTS_PER_DAY

Shape = Callable[[int, int], int | None]  # (channel, quarter hour) → like-day energy, None: unknown


@dataclass(frozen=True, slots=True)
class ValidatedDay:
    """A day as validation sees it (revision 0), what was found about it, and the batches it rests on."""

    interval_day: IntervalDay
    findings: tuple[Finding, ...]
    first_batch_id: int | None
    last_batch_id: int | None


@dataclass(frozen=True, slots=True)
class _Worked:
    """What the registers say, before it is cut into days. Lists by channel; quarter hours since 1970."""

    installed: Sequence[Installed]
    rules: Rules
    stretches: Sequence[Sequence[Stretch]]
    cells: Sequence[Mapping[int, Cell]]
    troubles: Sequence[Trouble]


def days_spanned(installed: Iterable[Installed], rules: Rules) -> frozenset[date]:
    """Name the market days of every gap that is shared over several days: they are validated together or not at all.

    A short stretch over midnight is shared by a straight line, which either day finds alone.
    """
    spanned: set[date] = set()
    for one in installed:
        for channel in range(len(ENERGY_CHANNELS)):
            stretches, _ = stretches_of(knots_of(one, channel, rules), one.multiplier, rules)
            for stretch in stretches:
                if is_estimable(stretch, rules) and not stretch.is_short:
                    first, last = _day_of(stretch.slots[0]), _day_of(stretch.slots[-1])
                    if first != last:
                        spanned.update(markettime.days_between(first, last + timedelta(days=1)))
    return frozenset(spanned)


# ---- slots -----------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """What is known of a channel in a quarter hour."""

    energy_wh: int
    covered_ms: int
    quality: IntervalQuality
    method: Method | None


def shares_of(stretch: Stretch, channel: int, shape: Shape) -> dict[int, Cell]:
    """Share a stretch over the quarter hours it touches; within one quarter hour nothing needs to be estimated."""
    slots = stretch.slots
    measured = (
        IntervalQuality.RECOLLECTED
        if stretch.start.recollected or stretch.end.recollected
        else IntervalQuality.ACTUAL
    )
    if len(slots) == 1:
        return {slots[0]: Cell(stretch.energy_wh, stretch.overlap_ms(slots[0]), measured, None)}
    like = [shape(channel, slot) for slot in slots]
    overlaps_ms = [stretch.overlap_ms(slot) for slot in slots]
    shaped = [
        value * overlap_ms for value, overlap_ms in zip(like, overlaps_ms, strict=True) if value is not None
    ]
    has_shape = len(shaped) == len(slots) and any(shaped) and not stretch.is_short
    method = Method.LIKE_DAY if has_shape else Method.LINEAR
    weights = shaped if method is Method.LIKE_DAY else overlaps_ms
    return {
        slot: Cell(energy_wh, overlap_ms, IntervalQuality.ESTIMATED, method)
        for slot, energy_wh, overlap_ms in zip(
            slots, shared(stretch.energy_wh, weights), overlaps_ms, strict=True
        )
    }


def _merged(one: Cell | None, other: Cell) -> Cell:
    """Two meters, or two parts, in one quarter hour."""
    if one is None:
        return other
    return Cell(
        one.energy_wh + other.energy_wh,
        one.covered_ms + other.covered_ms,
        max(one.quality, other.quality),
        one.method or other.method,
    )


def _installed_ms(slot: int, installed: Sequence[Installed]) -> int:
    """How much of a quarter hour some meter was installed."""
    start_ms, end_ms = slot * QUARTER_MS, (slot + 1) * QUARTER_MS
    return sum(
        max(0, min(end_ms, end_ms if one.end_ms is None else one.end_ms) - max(start_ms, one.start_ms))
        for one in installed
    )


# ---- days ------------------------------------------------------------------------------------------------


def validate(
    supply_point_id: str,
    days: Sequence[date],
    installed: Sequence[Installed],
    like: Mapping[date, IntervalDay],
    now: datetime,
) -> tuple[ValidatedDay, ...]:
    """Make the interval days of a supply point from the registers of its meters.

    `days` holds every day of every gap it touches (`days_spanned`); `like` holds days a week earlier where there are
    any. The same input gives the same output, in whatever order readings come and however often.
    """
    worked = _worked(installed, rules_for(min(days)), _shape_of(like))
    return tuple(_validated(supply_point_id, day, worked, like, now) for day in sorted(days))


def _worked(installed: Sequence[Installed], rules: Rules, shape: Shape) -> _Worked:
    cells: list[dict[int, Cell]] = [{} for _ in ENERGY_CHANNELS]
    stretches: list[list[Stretch]] = [[] for _ in ENERGY_CHANNELS]
    troubles: list[Trouble] = []
    for one in installed:
        for channel in range(len(ENERGY_CHANNELS)):
            found, told = stretches_of(knots_of(one, channel, rules), one.multiplier, rules)
            named = {"channel": ENERGY_CHANNELS[channel]}
            troubles.extend(trouble._replace(facts={**trouble.facts, **named}) for trouble in told)
            stretches[channel].extend(found)
            loose = loose_slots(found, rules)
            for stretch in found:
                if is_estimable(stretch, rules):
                    for slot, cell in shares_of(stretch, channel, shape).items():
                        if slot not in loose:
                            cells[channel][slot] = _merged(cells[channel].get(slot), cell)
    return _Worked(installed, rules, stretches, cells, troubles)


def _shape_of(like: Mapping[date, IntervalDay]) -> Shape:
    good = (IntervalQuality.ACTUAL, IntervalQuality.RECOLLECTED)

    def shape(channel: int, slot: int) -> int | None:
        week_before = slot - WEEK_SLOTS
        found = like.get(_day_of(week_before))
        if found is None:
            return None
        at = week_before - _slots_of(found.day)[0]
        curve: Curve = getattr(found, ENERGY_CHANNELS[channel])
        return curve[at] if found.quality[at] in good else None

    return shape


def _validated(
    supply_point_id: str, day: date, worked: _Worked, like: Mapping[date, IntervalDay], now: datetime
) -> ValidatedDay:
    slots = _slots_of(day)
    curves: list[Curve] = [
        tuple(found[slot].energy_wh if slot in found else None for slot in slots) for found in worked.cells
    ]
    active = [channel for channel in ACTIVE_CHANNELS if worked.stretches[channel]] or [0]
    quality = tuple(
        int(
            _quality(
                [worked.cells[channel].get(slot) for channel in active], _installed_ms(slot, worked.installed)
            )
        )
        for slot in slots
    )
    interval_day = IntervalDay(supply_point_id, day, 0, curves[0], curves[1], curves[2], curves[3], quality)
    rules, main = worked.rules, active[0]
    findings = [
        *_told(worked.troubles, slots),
        *_gaps(main, worked.cells[main], slots),
        *_unshared(worked.stretches[main], slots, rules),
        *_sum_checked(interval_day, worked, slots),
        *checked(
            interval_day,
            like.get(day - timedelta(days=7)),
            _ended_slots(slots, now),
            rules.spike_pct,
            rules.high_pct,
        ),
    ]
    batches = [
        knot.batch_id
        for found in worked.stretches
        for stretch in found
        if _touches(stretch, slots)
        for knot in (stretch.start, stretch.end)
    ]
    return ValidatedDay(interval_day, tuple(findings), min(batches, default=None), max(batches, default=None))


def _sum_checked(interval_day: IntervalDay, worked: _Worked, slots: range) -> list[Finding]:
    """Check a complete day of one meter against its register at both midnights, as it was read."""
    if len(worked.installed) != 1 or None in interval_day.import_wh:
        return []
    (one,) = worked.installed
    at = {knot.at_ms: knot for knot in knots_of(one, 0, worked.rules)}
    opening, closing = at.get(slots[0] * QUARTER_MS), at.get((slots[-1] + 1) * QUARTER_MS)
    left_out = {trouble.at_ms for trouble in worked.troubles if trouble.severity is Severity.WARNING}
    if opening is None or closing is None or not left_out.isdisjoint((opening.at_ms, closing.at_ms)):
        return []
    turns = sum(
        trouble.rule == "register_rollover"
        and trouble.facts["channel"] == ENERGY_CHANNELS[0]
        and opening.at_ms < trouble.at_ms <= closing.at_ms
        for trouble in worked.troubles
    )
    closing = closing._replace(ticks=closing.ticks + turns * worked.rules.rollover_ticks)
    register_wh = total_wh(closing, one.multiplier) - total_wh(opening, one.multiplier)
    summed_wh = sum(value or 0 for value in interval_day.import_wh)
    result = sum_check(summed_wh, register_wh, worked.rules.sum_tolerance_pct)
    if result.passes:
        return []
    facts: dict[str, int | str] = {"intervals_wh": summed_wh, "register_wh": register_wh}
    return [Finding(None, "sum_check", Severity.ERROR, facts)]


def _quality(found: Sequence[Cell | None], installed_ms: int) -> IntervalQuality:
    known = [cell for cell in found if cell is not None]
    if len(known) < len(found):
        return IntervalQuality.MISSING
    if any(cell.covered_ms < installed_ms for cell in known):
        return IntervalQuality.ESTIMATED  # part of the quarter hour was not measured
    return max(cell.quality for cell in known)


def _told(troubles: Iterable[Trouble], slots: range) -> list[Finding]:
    return [
        Finding(trouble.at_ms // QUARTER_MS - slots[0], trouble.rule, trouble.severity, trouble.facts)
        for trouble in troubles
        if trouble.at_ms // QUARTER_MS in slots
    ]


def _gaps(channel: int, cells: Mapping[int, Cell], slots: range) -> list[Finding]:
    """One finding per run of estimated slots: how long it is and how it was filled."""
    findings: list[Finding] = []
    run = 0
    for slot in slots:
        cell = cells.get(slot)
        run = run + 1 if cell is not None and cell.method is not None else 0
        following = cells.get(slot + 1) if slot + 1 in slots else None
        if run and cell is not None and (following is None or following.method is not cell.method):
            facts: dict[str, int | str] = {
                "slots": run,
                "method": str(cell.method),
                "channel": ENERGY_CHANNELS[channel],
            }
            findings.append(Finding(slot - run + 1 - slots[0], "consecutive_interval", Severity.INFO, facts))
            run = 0
    return findings


def _unshared(stretches: Iterable[Stretch], slots: range, rules: Rules) -> list[Finding]:
    """Name the energy of stretches that are too long to be shared."""
    return [
        Finding(
            None,
            "prolonged_gap",
            Severity.ERROR,
            {
                "energy_wh": stretch.energy_wh,
                "from": _instant(stretch.start.at_ms).isoformat(),
                "to": _instant(stretch.end.at_ms).isoformat(),
            },
        )
        for stretch in stretches
        if not is_estimable(stretch, rules)
        and stretch.slots[0] <= slots[-1]
        and stretch.slots[-1] >= slots[0]
    ]


def _touches(stretch: Stretch, slots: range) -> bool:
    return stretch.slots[0] <= slots[-1] and stretch.slots[-1] >= slots[0]


def _ended_slots(slots: range, now: datetime) -> int:
    """How many of a day's slots are over, so that their absence means something."""
    now_slot = (now - datetime(1970, 1, 1, tzinfo=UTC)) // markettime.SLOT
    return max(0, min(SLOTS_PER_DAY, now_slot - slots[0]))


def _slots_of(day: date) -> range:
    """The quarter hours since 1970 of a market day."""
    first = (markettime.slot_start(day, 0) - datetime(1970, 1, 1, tzinfo=UTC)) // markettime.SLOT
    return range(first, first + SLOTS_PER_DAY)


def _day_of(slot: int) -> date:
    return markettime.day_of(_instant(slot * QUARTER_MS))


def _instant(at_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
