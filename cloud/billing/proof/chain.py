"""The chain of a bill: line -> intervals -> readings -> sealed batch -> signature, with counts and the first break. Pure.

The readings come out of the signed batches, not out of a table of readings. Intervals are compared with them by the
registers alone: between two marks at which the meter was read, the intervals must add up to what the register moved,
times the multiplier, to the Wh, whatever rule filled the quarter hours between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from cloud.billing.catalogue import Catalogue
from cloud.billing.document.around import Around
from cloud.billing.facts import Bill, Register
from cloud.billing.proof.batches import Readings, open_batches
from cloud.billing.proof.step import Step, group, judged, note, unproven
from cloud.billing.proof.witness import MeterAt, Witness
from cloud.billing.segment import MEASURED, Usage, usage_from
from cloud.billing.tariff import Calendar
from cloud.markettime import SLOT, SLOTS_PER_DAY, day_of, slot_label, slot_of, slot_start
from cloud.metering.interval import Curve, IntervalDay
from cloud.metering.register import (
    QUARTER_MS,
    Installed,
    RegisterReading,
    Stretch,
    knots_of,
    rules_for,
    stretches_of,
)
from cloud.money import EXACT

COLUMNS = ("import_wh", "export_wh", "import_varh", "export_varh")
ACTIVE = COLUMNS[:2]  # the quality of a quarter hour speaks for active energy
REGISTER_CODES = ("ea_imp", "ea_exp", "er_imp", "er_exp")
TICK_EXPONENT = -4  # canonical ticks are 0.1 Wh
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Slots = dict[
    tuple[str, int], tuple[int | None, int]
]  # (supply point, quarter hour since 1970) -> value, quality


def chain(bill: Bill, around: Around, witness: Witness, catalogue: Catalogue) -> Step:
    """Walk from the bill down to the signatures."""
    same = []
    if (witness.account_id, witness.month, witness.revision) != (
        bill.account.account_id,
        bill.month,
        bill.revision,
    ):
        same = [f"the evidence is of {witness.account_id} {witness.month:%Y-%m} revision {witness.revision}"]
    opened = open_batches(witness, around.seals)
    return group(
        "chain",
        (
            judged("evidence_of", same, account=bill.account.account_id, month=f"{bill.month:%Y-%m}"),
            _lines_to_days(bill, witness, catalogue),
            _days_to_readings(bill, witness, opened.readings),
            _registers(bill, witness.meters, opened.readings),
            opened.step,
        ),
    )


# ---- bill -> interval days ---------------------------------------------------------------------------------


def _lines_to_days(bill: Bill, witness: Witness, catalogue: Catalogue) -> Step:
    """The billed days are the named revisions, and sum up to the energy of each segment."""
    problems: list[str] = []
    known = {(each.supply_point_id, each.day, each.revision): each for each in witness.days}
    chosen = []
    for named in bill.intervals:
        found = known.get((named.supply_point_id, named.day, named.revision))
        if found is None:
            problems.append(
                f"{named.supply_point_id} {named.day} revision {named.revision} is not in the evidence"
            )
        else:
            chosen.append(found)
    if not bill.intervals:
        return unproven("intervals", "the bill names no intervals", days=0, slots=0)
    calendars = {
        (each.head.id, each.head.version): each for each in catalogue.files if isinstance(each, Calendar)
    }
    unknown = 0
    for rated in bill.segments:
        segment = rated.segment
        ref = next((file for file in rated.files if file.kind == "calendar"), None)
        calendar = None if ref is None else calendars.get((ref.id, ref.version))
        days = [each for each in chosen if segment.first_day <= each.day < segment.end_day]
        if calendar is None:
            unknown += 1
            continue
        problems += _usage_problems(segment.usage, days, calendar, segment.first_day)
    if unknown and not problems:
        return unproven("intervals", "the calendar of a segment is not known here", days=len(chosen))
    return judged("intervals", problems, days=len(chosen), slots=len(chosen) * SLOTS_PER_DAY)


def _usage_problems(usage: Usage, days: list[IntervalDay], calendar: Calendar, first: date) -> list[str]:
    try:
        again = usage_from(days, calendar)
    except ValueError as error:
        return [str(error)]
    if again == usage:
        return []
    for name in (
        "import_wh",
        "days",
        "demands",
        "import_varh",
        "export_varh",
        "export_wh",
        "estimated_slots",
    ):
        was, found = getattr(usage, name), getattr(again, name)
        if was != found:
            return [f"segment from {first}: {name} is {_short(was)}, the intervals give {_short(found)}"]
    return [f"segment from {first}: other usage than its intervals"]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:120]}…"


# ---- interval days -> readings -----------------------------------------------------------------------------


def _days_to_readings(bill: Bill, witness: Witness, readings: Readings) -> Step:
    named = {(each.supply_point_id, each.day, each.revision) for each in bill.intervals}
    days = [each for each in witness.days if (each.supply_point_id, each.day, each.revision) in named]
    problems: list[str] = []
    measured = estimated = spans = 0
    for channel, column in enumerate(COLUMNS):
        slots = _slots(days, column)
        covered: set[tuple[str, int]] = set()
        for point in sorted({each.supply_point_id for each in days}):
            stretches = _stretches(witness.meters, readings, (point, channel), min(each.day for each in days))
            for run in _runs(stretches):
                spans += 1
                problems += _run_problems(run, point, slots, covered, column)
        problems += _uncovered(slots, covered, column)
        if channel == 0:
            measured = sum(quality in MEASURED for _, quality in slots.values())
            estimated = len(slots) - measured
    return judged("readings", problems, measured=measured, estimated=estimated, spans=spans)


def _slots(days: Iterable[IntervalDay], column: str) -> Slots:
    found: Slots = {}
    for each in days:
        curve: Curve = getattr(each, column)
        first = _quarter(slot_start(each.day, 0))
        for slot in range(SLOTS_PER_DAY):
            found[each.supply_point_id, first + slot] = (curve[slot], each.quality[slot])
    return found


def _stretches(
    meters: Sequence[MeterAt],
    readings: Mapping[str, list[RegisterReading]],
    register: tuple[str, int],
    first_day: date,
) -> list[Stretch]:
    """What the register (supply point, channel) moved between its marks, by the rules of the first day."""
    point, channel = register
    rules = rules_for(first_day)
    found: list[Stretch] = []
    for each in meters:
        if each.supply_point_id != point:
            continue
        installed = Installed(
            _ms(each.start),
            None if each.end is None else _ms(each.end),
            each.multiplier,
            tuple(readings.get(each.meter_id, ())),
        )
        found += stretches_of(knots_of(installed, channel, rules), each.multiplier, rules)[0]
    return sorted(found, key=lambda stretch: (stretch.start.at_ms, stretch.end.at_ms))


def _runs(stretches: Iterable[Stretch]) -> list[list[Stretch]]:
    """Join stretches that share a quarter hour; most runs are one stretch of one quarter hour."""
    runs: list[list[Stretch]] = []
    for each in stretches:
        if runs and each.slots.start < runs[-1][-1].slots.stop:
            runs[-1].append(each)
        else:
            runs.append([each])
    return runs


def _run_problems(
    run: list[Stretch], point: str, slots: Slots, covered: set[tuple[str, int]], column: str
) -> list[str]:
    span = range(run[0].slots.start, max(each.slots.stop for each in run))
    values = [slots.get((point, quarter)) for quarter in span]
    known = [each for each in values if each is not None]
    if len(known) != len(values):
        return []  # reaches beyond what was billed
    total_wh = sum(value or 0 for value, _ in known)
    covered.update((point, quarter) for quarter in span)
    moved_wh = sum(each.energy_wh for each in run)
    if any(value is None for value, _ in known):
        return (
            []
            if column != COLUMNS[0]
            else [f"{_named(point, span.start)}: no energy, though the meter was read"]
        )
    if column in ACTIVE and (called := _called_measured(run, point, slots)):
        return [
            f"{_named(point, called[0])} {column}: called measured, but no sealed reading stands at its ends"
        ]
    if total_wh != moved_wh:
        return [
            f"{_named(point, span.start)} {column}: intervals say {total_wh}, the sealed registers {moved_wh}"
        ]
    return []


def _called_measured(run: list[Stretch], point: str, slots: Slots) -> list[int]:
    """Quarter hours inside a longer stretch are shares of it, so none of them may be called measured."""
    inside = [quarter for each in run if len(each.slots) > 1 for quarter in each.slots]
    return [quarter for quarter in inside if slots[point, quarter][1] in MEASURED]


def _uncovered(slots: Slots, covered: set[tuple[str, int]], column: str) -> list[str]:
    """Energy that is called measured must have a reading at both ends; an estimate may not."""
    return [
        f"{_named(*place)} {column}: called measured, but no sealed reading stands behind it"
        for place, (value, quality) in sorted(slots.items())
        if value is not None
        and quality in MEASURED
        and place not in covered
        and (value or column == COLUMNS[0])
    ]


# ---- registers -> readings ---------------------------------------------------------------------------------


def _registers(bill: Bill, meters: Sequence[MeterAt], readings: Readings) -> Step:
    """Every register on the bill is a reading out of a signed batch, and its multiplier that of the installation."""
    problems: list[str] = []
    values = 0
    for each in bill.registers:
        multipliers = {
            meter.multiplier
            for meter in meters
            if (meter.meter_id, meter.supply_point_id) == (each.meter_id, each.supply_point_id)
        }
        if multipliers and each.multiplier not in multipliers:
            problems.append(
                f"{each.meter_id}: multiplier {each.multiplier}, installed with {sorted(multipliers)}"
            )
        for value, at, is_start in ((each.start, each.start_at, True), (each.end, each.end_at, False)):
            if value is None:
                continue
            values += 1
            found = _reading(readings.get(each.meter_id, []), each, at, is_start=is_start)
            if found != value:
                said = "no reading" if found is None else str(found)
                problems.append(f"{each.meter_id} {each.register} {at.isoformat()}: {value}, sealed {said}")
    if not values:
        return note("registers_sealed_none")
    return judged("registers_sealed", problems, values=values)


def _reading(
    readings: list[RegisterReading], register: Register, at: datetime, *, is_start: bool
) -> Decimal | None:
    """The register's value at the reading nearest to an end of the month, on the inner side of it."""
    if register.register not in REGISTER_CODES:
        return None
    column = REGISTER_CODES.index(register.register)
    at_ms = _ms(at)
    inner = [
        each
        for each in readings
        if not each.quality & 1 and (each.at_ms >= at_ms if is_start else each.at_ms <= at_ms)
    ]
    if not inner:
        return None
    order = [(each.at_ms if is_start else -each.at_ms, -each.source, each) for each in inner]
    ticks = min(order, key=lambda row: row[:2])[2].ticks[column]
    return None if ticks is None else EXACT.scaleb(Decimal(ticks), TICK_EXPONENT)


def _named(point: str, quarter: int) -> str:
    instant = _EPOCH + timedelta(milliseconds=quarter * QUARTER_MS)
    return f"{point} {day_of(instant)} {slot_label(slot_of(instant))}"


def _quarter(instant: datetime) -> int:
    return (instant - _EPOCH) // SLOT


def _ms(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(milliseconds=1)
