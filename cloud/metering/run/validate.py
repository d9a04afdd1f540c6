"""Shell: validation of what is stale. Load registers, installations and like days; compute; save what differs.

The work list is the table `stale_day`, written by the ingest in the transaction that stored the readings. A mark is
removed in the transaction that saves its result, so it comes back when anything fails, and running twice changes
nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

from cloud import markettime
from cloud.db import Conn, Pool, ProcessRole, Scope, transaction
from cloud.errors import Unavailable
from cloud.metering import vee
from cloud.metering.device import Installation
from cloud.metering.interval import Finding, IntervalDay
from cloud.metering.register import DAY_MS, Installed, RegisterReading, Rules, rules_for
from cloud.metering.store import devices, intervals, readings

log = logging.getLogger(__name__)

WORKER = Scope(ProcessRole.WORKER, actor="job:validate")
MARKS_PER_TURN = 64
FORGOTTEN_AFTER = timedelta(minutes=5)  # a worker that took marks this long ago has died
EDGE_READINGS = 64  # beside the window, enough to find the reading that stands for the mark next to a gap
BESIDE_MIDNIGHT = timedelta(minutes=30)  # a bad reading at midnight shows only between its neighbours
DAYS_TOGETHER_MAX = 64  # gaps that touch each other; more would be a loop
LIKE_DAY = timedelta(days=7)


def validate_stale(pool: Pool, now: datetime) -> int:
    """Validate one turn of stale (meter, day) marks; return how many were taken.

    Taking is a transaction of its own, so that the ingest never waits for a validation. A mark goes away with the
    transaction that saves its result, unless readings came meanwhile. Raises Unavailable; then the marks stay.
    """
    with transaction(pool, WORKER) as conn:
        marks = readings.take_stale(conn, now, now - FORGOTTEN_AFTER, MARKS_PER_TURN)
    if not marks:
        return 0
    try:
        _validate_marks(pool, marks, now)
    except Unavailable:
        raise
    except Exception:
        log.exception("validate.turn.failed marks=%d", len(marks))
        for mark in marks:
            _validate_alone(pool, mark, now)
    return len(marks)


def _validate_alone(pool: Pool, mark: readings.StaleMark, now: datetime) -> None:
    """After a turn that failed: one meter's data must not hold up the others.

    The mark that fails stays taken, so it is tried again after FORGOTTEN_AFTER, and the backlog tells how old it is.
    """
    try:
        _validate_marks(pool, (mark,), now)
    except Unavailable:
        raise
    except Exception:
        log.exception("validate.mark.failed meter_key=%d day=%s", mark.meter_key, mark.day)


def _validate_marks(pool: Pool, marks: Sequence[readings.StaleMark], now: datetime) -> None:
    with transaction(pool, WORKER) as conn:
        wanted: dict[str, set[date]] = {}
        for mark in marks:
            for installation in devices.installations_of_meter(conn, mark.meter_key):
                point = installation.supply_point_id
                # A day after an installation's end that was validated before the end was known: it has no meter now.
                if _overlaps(installation, mark.day) or intervals.load_days(
                    conn, point, mark.day, mark.day + timedelta(days=1)
                ):
                    wanted.setdefault(installation.supply_point_id, set()).add(mark.day)
        saved = sum(
            validate_days(conn, point, week, now)
            for point in sorted(wanted)
            for week in _weeks(wanted[point])
        )
        readings.finish_stale(conn, marks)
    log.info("validate.turn.done marks=%d supply_points=%d revisions=%d", len(marks), len(wanted), saved)


def note_silent(pool: Pool, day: date, now: datetime) -> int:
    """Give every supply point that was silent all day its missing day, by name; return how many. Raises Unavailable."""
    with transaction(pool, WORKER) as conn:
        silent = intervals.points_without_day(conn, day)
        return sum(validate_days(conn, point, (day,), now, keep_empty=True) for point in silent)


def validate_days(
    conn: Conn, supply_point_id: str, days: Iterable[date], now: datetime, *, keep_empty: bool = False
) -> int:
    """Validate days of a supply point, and every day that shares a gap with them; return how many new revisions.

    A revision is added only when its values differ from the latest one. A day of which nothing at all is known gets
    its first revision only with `keep_empty`: a reading at midnight must not make up the day before it.
    """
    intervals.lock_supply_point(conn, supply_point_id)
    wanted, installed = _with_gap_neighbours(conn, supply_point_id, frozenset(days))
    if not wanted:
        return 0
    first, end = min(wanted), max(wanted) + timedelta(days=1)
    like = {d.day: d for d in intervals.load_days(conn, supply_point_id, first - LIKE_DAY, end - LIKE_DAY)}
    kept = {d.day: d for d in intervals.load_days(conn, supply_point_id, first, end)}
    made_by = f"vee:{rules_for(first).version}"
    validated = vee.validate(supply_point_id, sorted(wanted), installed, like, now)
    own = {day.day: day for one in validated if (day := one.interval_day).day + LIKE_DAY in wanted}
    if own:  # a gap of a week: its first days are like days of its last
        validated = vee.validate(supply_point_id, sorted(wanted), installed, like | own, now)
    return sum(
        _save(conn, one, kept.get(one.interval_day.day), now, made_by)
        for one in validated
        if keep_empty or one.interval_day.day in kept or any(one.interval_day.quality)
    )


def _weeks(days: Iterable[date]) -> tuple[tuple[date, ...], ...]:
    """Cut days into runs that hold no day together with its like day, earliest first.

    Each run is saved before the next begins, so a day finds the week before it validated, in whatever bulk they came.
    """
    runs: list[list[date]] = []
    for day in sorted(days):
        if runs and day - runs[-1][0] < LIKE_DAY:
            runs[-1].append(day)
        else:
            runs.append([day])
    return tuple(map(tuple, runs))


def _with_gap_neighbours(
    conn: Conn, supply_point_id: str, days: frozenset[date]
) -> tuple[frozenset[date], tuple[Installed, ...]]:
    """Widen the days until no shared gap reaches beyond them; load their registers."""
    installations = devices.installations_of_supply_point(conn, supply_point_id)
    rules = rules_for(min(days))
    while True:
        installed = _load(conn, installations, days, rules)
        spanned = vee.days_spanned(installed, rules)
        joined = spanned if not days.isdisjoint(spanned) else frozenset()
        wider = days | joined
        if wider == days or len(wider) > DAYS_TOGETHER_MAX:
            return days, installed
        days = wider


def _load(
    conn: Conn, installations: Sequence[Installation], days: frozenset[date], rules: Rules
) -> tuple[Installed, ...]:
    start, _ = markettime.day_bounds(min(days))
    _, end = markettime.day_bounds(max(days))
    return tuple(
        Installed(_ms(one.start), None if one.end is None else _ms(one.end), one.multiplier, found)
        for one in installations
        if one.start < end and (one.end is None or start <= one.end)
        for found in (_registers(conn, one, start, end, rules),)
    )


def _registers(
    conn: Conn, one: Installation, start: datetime, end: datetime, rules: Rules
) -> tuple[RegisterReading, ...]:
    """Readings of the window and those beside it that bound a gap which reaches into it."""
    snap = timedelta(milliseconds=rules.snap_ms)
    reach = timedelta(milliseconds=rules.gap_days_max * DAY_MS)
    far = timedelta(days=366)  # a gap that is too long to be shared is still told
    low = max(one.start - snap, start - far)
    high = end + far if one.end is None else min(one.end + snap, end + far)
    beside = BESIDE_MIDNIGHT + snap
    inner_start, inner_end = max(start - beside, low), min(end + beside, high)
    inside = readings.load_registers(conn, one.meter_key, inner_start, inner_end)
    before: tuple[RegisterReading, ...] = ()
    after: tuple[RegisterReading, ...] = ()
    if not any(abs(_ms(start) - reading.at_ms) <= rules.snap_ms for reading in inside):
        before = readings.load_registers_before(
            conn, one.meter_key, start - reach - snap, inner_start, EDGE_READINGS
        ) or (readings.load_registers_before(conn, one.meter_key, low, inner_start, EDGE_READINGS))
    if not any(abs(_ms(end) - reading.at_ms) <= rules.snap_ms for reading in inside):
        after = readings.load_registers_after(conn, one.meter_key, inner_end, high, EDGE_READINGS)
    return (*before, *inside, *after)


def _save(conn: Conn, one: vee.ValidatedDay, kept: IntervalDay | None, now: datetime, made_by: str) -> bool:
    """Add a revision if it says something new; findings about values that stay are added to the revision they are of."""
    made = one.interval_day
    if kept is not None and kept.same_values(made):
        known = intervals.load_findings(conn, kept)
        intervals.add_findings(conn, kept, [f for f in one.findings if _named(f) not in known])
        return False
    revision = 1 if kept is None else kept.revision + 1
    numbered = IntervalDay(
        *(made.supply_point_id, made.day, revision, made.import_wh, made.export_wh),
        *(made.import_varh, made.export_varh, made.quality),
    )
    intervals.add_day(conn, numbered, intervals.Making(now, made_by, one.first_batch_id, one.last_batch_id))
    intervals.add_findings(conn, numbered, one.findings)
    return True


def _named(finding: Finding) -> tuple[int | None, str]:
    return finding.slot, finding.rule


def _overlaps(installation: Installation, day: date) -> bool:
    start, end = markettime.day_bounds(day)
    return installation.start < end and (installation.end is None or start <= installation.end)


def _ms(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
