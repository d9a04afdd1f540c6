"""Closed days in columns: the bytes of a day block over many supply points, and a stretch of days as one matrix. Pure.

A block's body is one zstd frame (with checksum) over byte planes, little-endian: all lowest bytes first, and so on, so
that the high bytes of small numbers cost nothing. In order, for every row:

    revisions   int32              revision of each row's day; 0: no such day
    flags       uint8              COMPLETE, REACTIVE
    sums        int64 x 4          of the day: export_wh, import_varh, export_varh, slots that are not measured
    import_wh   int32 x 96         only where the row is COMPLETE, else zeros
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import zstandard

from cloud.errors import Conflict
from cloud.markettime import SLOTS_PER_DAY
from cloud.metering.interval import IntervalDay, IntervalQuality

COMPLETE, REACTIVE = 1, 2  # every import slot is known and below 2^31; so is the reactive energy
SUMS = 4
INT32_BELOW = 2**31
MEASURED = (int(IntervalQuality.ACTUAL), int(IntervalQuality.RECOLLECTED))

_LEVEL = 1
_ROW_BYTES = 4 + 1 + 8 * SUMS + 4 * SLOTS_PER_DAY

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.uint8]
Claims = npt.NDArray[np.bool_]


class BadBlock(Conflict):
    """A block's body is not what was written; `facts` say which. Write it again from the intervals."""


@dataclass(frozen=True, slots=True)
class DayRows:
    """One day of many supply points, as a block holds it."""

    revisions: Int32  # [rows]
    flags: Flags  # [rows]
    sums: Int64  # [4, rows]
    import_wh: Int32  # [rows, 96]


@dataclass(frozen=True, slots=True)
class MonthRows:
    """Some days of many supply points: one row a supply point."""

    import_wh: Int32  # [rows, days x 96]
    export_wh: Int64  # [rows], like the next three
    import_varh: Int64
    export_varh: Int64
    estimated_slots: Int64
    is_complete: Claims  # every day is there, complete, and no later revision of it exists
    is_reactive: Claims  # reactive energy too
    revisions: Int32  # [rows, days]


def day_rows(days: Sequence[IntervalDay | None]) -> DayRows:
    """Lay the same day of many supply points down; None where one has no such day."""
    rows = DayRows(
        np.zeros(len(days), np.int32),
        np.zeros(len(days), np.uint8),
        np.zeros((SUMS, len(days)), np.int64),
        np.zeros((len(days), SLOTS_PER_DAY), np.int32),
    )
    for number, day in enumerate(days):
        if day is not None:
            _lay_down(rows, number, day)
    return rows


def pack(rows: DayRows) -> bytes:
    """Write a block's body."""
    planes = (_planes(rows.revisions), rows.flags.tobytes(), _planes(rows.sums), _planes(rows.import_wh))
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(b"".join(planes))


def month_rows(
    rows: int, days: int, bodies: Sequence[tuple[int, bytes]], overtaken: Sequence[tuple[int, int]]
) -> MonthRows:
    """Put blocks together: `bodies` are (number of the day, body), `overtaken` (row, number of the day).

    A day without a block is not complete for anybody. Raises BadBlock.
    """
    matrix = np.zeros((rows, days, SLOTS_PER_DAY), np.int32)
    revisions = np.zeros((rows, days), np.int32)
    sums = np.zeros((SUMS, rows), np.int64)
    flags = np.zeros((rows, days), np.uint8)
    for day, body in bodies:
        try:
            revisions[:, day], flags[:, day], day_sums = _unpack(body, matrix[:, day])
        except (zstandard.ZstdError, ValueError) as problem:
            raise BadBlock("bad_block", day_number=day, problem=str(problem)) from problem
        sums += day_sums
    for row, day in overtaken:
        flags[row, day] = 0
    return MonthRows(
        import_wh=matrix.reshape(rows, days * SLOTS_PER_DAY),
        export_wh=sums[0],
        import_varh=sums[1],
        export_varh=sums[2],
        estimated_slots=sums[3],
        is_complete=np.all(flags & COMPLETE, axis=1),
        is_reactive=np.all(flags & REACTIVE, axis=1),
        revisions=revisions,
    )


def revisions_of(rows: int, body: bytes) -> tuple[int, ...]:
    """Read which revision of each row a block holds. Raises BadBlock."""
    return tuple(month_rows(rows, 1, ((0, body),), ()).revisions[:, 0].tolist())


def _unpack(body: bytes, import_wh: Int32) -> tuple[Int32, Flags, Int64]:
    rows = len(import_wh)
    raw = zstandard.ZstdDecompressor().decompress(body)
    if len(raw) != _ROW_BYTES * rows:
        raise ValueError(f"{len(raw)} bytes, {rows} rows are {_ROW_BYTES * rows}")
    first, second, third = 4 * rows, 5 * rows, (5 + 8 * SUMS) * rows
    revisions, sums = np.zeros(rows, np.int32), np.zeros((SUMS, rows), np.int64)
    _join(raw[:first], revisions)
    _join(raw[second:third], sums)
    _join(memoryview(raw)[third:], import_wh)
    return revisions, np.frombuffer(raw[first:second], np.uint8), sums


def _planes(values: Int32 | Int64) -> bytes:
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return np.ascontiguousarray(little.view(np.uint8).reshape(-1, values.itemsize).T).tobytes()


def _join(raw: bytes | memoryview, out: Int32 | Int64) -> None:
    """Put byte planes together; `out` holds zeros, and its last axis is contiguous."""
    planes = np.frombuffer(raw, np.uint8).reshape(out.itemsize, *out.shape)
    for number in range(out.itemsize):
        if planes[number].any():
            at = number if sys.byteorder == "little" else out.itemsize - 1 - number
            out.view(np.uint8)[..., at :: out.itemsize] = planes[number]


def _lay_down(rows: DayRows, number: int, day: IntervalDay) -> None:
    """Put one day of one supply point into its row; what is complete is what `segment.missing_slots` asks for."""
    rows.revisions[number] = day.revision
    energies = (sum(filter(None, curve)) for curve in (day.export_wh, day.import_varh, day.export_varh))
    rows.sums[:, number] = (*energies, sum(each not in MEASURED for each in day.quality))
    known = [wh for wh in day.import_wh if wh is not None]
    if len(known) < SLOTS_PER_DAY or min(known) < 0 or max(known) >= INT32_BELOW:
        return
    has_reactive = None not in day.import_varh and (
        None not in day.export_varh or all(each is None for each in day.export_varh)
    )
    rows.import_wh[number] = known
    rows.flags[number] = COMPLETE | (REACTIVE if has_reactive else 0)
