"""SQL: readings as wide rows, conflicts, unbound rows, and the work list of validation.

New rows go straight into `reading` by binary COPY, because the ledger has already said that their batch is new.
Only rows that collide with an existing key (a recall overlapping a batch) take the slow way through a temporary table.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from struct import Struct
from typing import LiteralString

import psycopg

from cloud.db import Conn
from cloud.errors import Conflict
from cloud.metering.intake import Segment
from cloud.metering.register import RegisterReading
from edge_agent.wire.batch import CHANNELS, Rows

CHANNEL_COLUMNS = len(CHANNELS)
POSTGRES_EPOCH_MS = 946_684_800_000  # 2000-01-01T00:00Z, from which the binary format counts microseconds
FREEZE_BIT_AT = 2  # Quality.FREEZE = 1 << 2: source 1, stamped by the meter itself

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_COPY_HEAD = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_END = b"\xff\xff"
_COPY_COLUMNS = "taken_at, meter_key, source, quality, batch_id, " + ", ".join(
    f"c{column}" for column in range(CHANNEL_COLUMNS)
)


@dataclass(frozen=True, slots=True)
class UnboundRow:
    """A row whose meter is not bound to the gateway at that instant."""

    gateway_id: str
    meter_id: str
    taken_at: datetime
    batch_id: int
    quality: int
    ticks: tuple[int | None, ...]


def copy_rows(rows: Rows, quality: Sequence[int], segments: Sequence[Segment], batch_id: int) -> bytes:
    """Lay out the bound rows of a body as rows of PostgreSQL's binary COPY format.

    This is the ingest's inner loop. A batch in which every channel is either full or absent is laid out at one go,
    else meter by meter, else row by row.
    """
    keys: list[int] = []
    for segment in segments:
        keys += [segment.meter_key] * (segment.end - segment.start)
    if len(keys) == len(rows.taken_at_ms):
        whole = _laid_out(rows, quality, Segment(0, 0, len(keys)), keys, batch_id)
        if whole is not None:
            return whole
    parts: list[bytes] = []
    for segment in segments:
        own = [segment.meter_key] * (segment.end - segment.start)
        part = _laid_out(rows, quality, segment, own, batch_id)
        parts.append(_one_by_one(rows, quality, segment, batch_id) if part is None else part)
    return b"".join(parts)


def _laid_out(
    rows: Rows, quality: Sequence[int], segment: Segment, keys: Sequence[int], batch_id: int
) -> bytes | None:
    """Lay out rows of one form: None when some channel is present in some of them and absent in others.

    The constant bytes of a row (counts and lengths) are repeated for all rows, and each column is then put in by
    strided slices of its big-endian bytes: a dozen slices a column, whatever the number of rows.
    """
    start, end = segment.start, segment.end
    present: dict[int, array[int]] = {}
    for column, values in rows.columns.items():
        part = values[start:end]
        try:
            present[column] = array("q", part)  # type: ignore[arg-type]  # None raises TypeError
        except TypeError:
            if any(value is not None for value in part):
                return None
    layout = _layout(sum(1 << column for column in present))
    buffer = bytearray(layout.row(batch_id) * (end - start))
    taken_us = [(taken_at_ms - POSTGRES_EPOCH_MS) * 1000 for taken_at_ms in rows.taken_at_ms[start:end]]
    bits = quality[start:end]
    _put(buffer, layout, _TAKEN_AT, array("q", taken_us))
    _put(buffer, layout, _KEY_AT, array("i", keys))
    if any(bits):
        _put(buffer, layout, _SOURCE_AT, array("h", [bit >> FREEZE_BIT_AT & 1 for bit in bits]))
        _put(buffer, layout, _QUALITY_AT, array("i", bits))
    for column, numbers in present.items():
        _put(buffer, layout, layout.value_at[column], numbers)
    return bytes(buffer)


def _one_by_one(rows: Rows, quality: Sequence[int], segment: Segment, batch_id: int) -> bytes:
    """Lay out rows that each lack other channels."""
    single = (Segment(segment.meter_key, at, at + 1) for at in range(segment.start, segment.end))
    laid_out = (_laid_out(rows, quality, one, (segment.meter_key,), batch_id) for one in single)
    return b"".join(one for one in laid_out if one is not None)  # one row always has one form


@dataclass(frozen=True, slots=True)
class _Layout:
    """Bytes of a row with certain channels present: its constants, and where each channel's value stands."""

    head: bytes
    tail: bytes
    value_at: Mapping[int, int]
    size: int

    def row(self, batch_id: int) -> bytes:
        """A row of zeros in which the constants and the batch are filled in."""
        return self.head + batch_id.to_bytes(8) + self.tail


# count of fields, then per field its length (-1: null) and its bytes, all big-endian
_HEAD = Struct(">hiqiiihiii")
_TAKEN_AT, _KEY_AT, _SOURCE_AT, _QUALITY_AT = 6, 18, 26, 32
_LAYOUTS: dict[int, _Layout] = {}  # by mask of present channels; at most 2^16, in practice a handful


def _layout(mask: int) -> _Layout:
    if mask not in _LAYOUTS:
        head = _HEAD.pack(5 + CHANNEL_COLUMNS, 8, 0, 4, 0, 2, 0, 4, 0, 8)
        tail = bytearray()
        value_at: dict[int, int] = {}
        for column in range(CHANNEL_COLUMNS):
            if mask >> column & 1:
                value_at[column] = len(head) + 8 + len(tail) + 4
                tail += (8).to_bytes(4) + bytes(8)
            else:
                tail += (-1).to_bytes(4, signed=True)
        _LAYOUTS[mask] = _Layout(head, bytes(tail), value_at, len(head) + 8 + len(tail))
    return _LAYOUTS[mask]


def _put(buffer: bytearray, layout: _Layout, at: int, values: array[int]) -> None:
    """Write a column into every row, one byte position at a time."""
    if sys.byteorder == "little":
        values.byteswap()
    raw, width, step = values.tobytes(), values.itemsize, layout.size
    for byte in range(width):
        buffer[at + byte :: step] = raw[byte::width]


class Overlap(Conflict):
    """One of the rows has a key that exists; the transaction can only be rolled back, and begun with `merge_rows`."""


def copy_new(conn: Conn, packed: Sequence[bytes], found_at: datetime) -> None:
    """Copy rows straight into `reading`. Raises Overlap when one of them exists."""
    try:
        _copy(conn, f"COPY reading ({_COPY_COLUMNS}) FROM STDIN (FORMAT BINARY)", packed)
    except psycopg.errors.UniqueViolation as problem:
        raise Overlap("readings_overlap") from problem


def merge_rows(conn: Conn, packed: Sequence[bytes], found_at: datetime) -> int:
    """Add the rows whose key is new, keep what exists, and set other values for existing keys aside as conflicts.

    Returns the number of conflicts. The slow way, for rows that overlap.
    """
    conn.execute("CREATE TEMPORARY TABLE arrived (LIKE reading) ON COMMIT DROP")
    _copy(conn, f"COPY arrived ({_COPY_COLUMNS}) FROM STDIN (FORMAT BINARY)", packed)
    conn.execute(
        f"""INSERT INTO reading ({_COPY_COLUMNS}) SELECT {_COPY_COLUMNS} FROM arrived ORDER BY batch_id
            ON CONFLICT DO NOTHING"""
    )
    own = ", ".join(f"a.c{column}" for column in range(CHANNEL_COLUMNS))
    kept = ", ".join(f"r.c{column}" for column in range(CHANNEL_COLUMNS))
    conflicts = conn.execute(
        f"""INSERT INTO reading_conflict (meter_key, taken_at, source, batch_id, ticks, found_at)
            SELECT a.meter_key, a.taken_at, a.source, a.batch_id, ARRAY[{own}], %s
            FROM arrived a JOIN reading r USING (taken_at, meter_key, source)
            WHERE a.batch_id <> r.batch_id AND ({own}) IS DISTINCT FROM ({kept})""",
        (found_at,),
    ).rowcount
    conn.execute("DROP TABLE arrived")
    return conflicts


def _copy(conn: Conn, statement: str, packed: Iterable[bytes]) -> None:
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_COPY_HEAD)
        for rows in packed:
            copy.write(rows)
        copy.write(_COPY_END)


def add_unbound(conn: Conn, rows: Iterable[UnboundRow]) -> None:
    """Keep rows of meters that are not bound to the gateway, for when the binding is put right."""
    values = [(r.gateway_id, r.meter_id, r.taken_at, r.batch_id, r.quality, list(r.ticks)) for r in rows]
    if values:
        with conn.cursor() as cursor:
            cursor.executemany(
                """INSERT INTO unbound_reading (gateway_id, meter_id, taken_at, batch_id, quality, ticks)
                   VALUES (%s, %s, %s, %s, %s, %s::bigint[])""",
                values,
            )


def mark_stale(conn: Conn, days: Iterable[tuple[int, date]], marked_at: datetime) -> None:
    """Put (meter, market day) on validation's work list and wake the workers when this transaction commits."""
    wanted = sorted(set(days))
    if wanted:
        keys, dates = zip(*wanted, strict=True)
        conn.execute(
            """WITH marked AS (
                   INSERT INTO stale_day (meter_key, day, marked_at)
                   SELECT k, d, %s FROM unnest(%s::int[], %s::date[]) AS w(k, d)
                   ON CONFLICT (meter_key, day) DO UPDATE SET marks = stale_day.marks + 1)
               SELECT pg_notify('stale', '')""",
            (marked_at, list(keys), list(dates)),
            binary=True,
        )


def mark_installed_stale(conn: Conn, day: date, marked_at: datetime) -> int:
    """Mark a day of every meter that was installed in it: also silent meters get their missing day. Returns how many."""
    return conn.execute(
        """INSERT INTO stale_day (meter_key, day, marked_at)
           SELECT DISTINCT meter_key, %(day)s::date, %(at)s::timestamptz FROM installation
           WHERE period && tstzrange(%(day)s::date::timestamp AT TIME ZONE 'Asia/Shanghai',
                                     (%(day)s::date + 1)::timestamp AT TIME ZONE 'Asia/Shanghai')
           ON CONFLICT (meter_key, day) DO UPDATE SET marks = stale_day.marks + 1""",
        {"day": day, "at": marked_at},
    ).rowcount


@dataclass(frozen=True, slots=True)
class StaleMark:
    """A (meter, market day) whose intervals are out of date, as it was when it was taken."""

    meter_key: int
    day: date
    marks: int


def take_stale(conn: Conn, now: datetime, forgotten: datetime, limit: int) -> tuple[StaleMark, ...]:
    """Take marks, oldest first, so that other workers leave them alone; those taken before `forgotten` are free again."""
    rows = conn.execute(
        """UPDATE stale_day s SET taken_at = %s FROM (
               SELECT meter_key, day FROM stale_day WHERE taken_at IS NULL OR taken_at < %s
               ORDER BY marked_at, meter_key, day LIMIT %s FOR UPDATE SKIP LOCKED) t
           WHERE (s.meter_key, s.day) = (t.meter_key, t.day) RETURNING s.meter_key, s.day, s.marks""",
        (now, forgotten, limit),
    )
    return tuple(sorted((StaleMark(*row) for row in rows), key=lambda mark: (mark.meter_key, mark.day)))


def finish_stale(conn: Conn, marks: Sequence[StaleMark]) -> None:
    """Remove marks that nobody has raised since they were taken, and give the others back.

    Two statements, because a mark that is being raised while the first waits for its row is seen by the second only.
    """
    taken = (
        [mark.meter_key for mark in marks],
        [mark.day for mark in marks],
        [mark.marks for mark in marks],
    )
    conn.execute(
        """DELETE FROM stale_day s USING unnest(%s::int[], %s::date[], %s::bigint[]) AS d(meter_key, day, marks)
           WHERE (s.meter_key, s.day, s.marks) = (d.meter_key, d.day, d.marks)""",
        taken,
    )
    conn.execute(
        """UPDATE stale_day s SET taken_at = NULL FROM unnest(%s::int[], %s::date[]) AS d(meter_key, day)
           WHERE (s.meter_key, s.day) = (d.meter_key, d.day)""",
        taken[:2],
    )


def load_registers(conn: Conn, meter_key: int, start: datetime, end: datetime) -> tuple[RegisterReading, ...]:
    """Load the energy registers of a meter in `[start, end)`, with whether they came as back-fill."""
    return _registers(
        conn,
        """SELECT r.taken_at, r.source, r.quality, r.batch_id, b.stream = 2, r.c0, r.c1, r.c2, r.c3
           FROM reading r JOIN sealed_batch b USING (batch_id)
           WHERE r.meter_key = %s AND r.taken_at >= %s AND r.taken_at < %s ORDER BY r.taken_at""",
        (meter_key, start, end),
    )


def load_registers_before(
    conn: Conn, meter_key: int, start: datetime, end: datetime, limit: int
) -> tuple[RegisterReading, ...]:
    """Load the last `limit` readings of `[start, end)`: one of them stands for the mark before a gap."""
    return _registers(
        conn,
        """SELECT r.taken_at, r.source, r.quality, r.batch_id, b.stream = 2, r.c0, r.c1, r.c2, r.c3
           FROM (SELECT * FROM reading WHERE meter_key = %s AND taken_at >= %s AND taken_at < %s
                 ORDER BY taken_at DESC LIMIT %s) r JOIN sealed_batch b USING (batch_id)""",
        (meter_key, start, end, limit),
    )


def load_registers_after(
    conn: Conn, meter_key: int, start: datetime, end: datetime, limit: int
) -> tuple[RegisterReading, ...]:
    """Load the first `limit` readings of `[start, end)`: one of them stands for the mark after a gap."""
    return _registers(
        conn,
        """SELECT r.taken_at, r.source, r.quality, r.batch_id, b.stream = 2, r.c0, r.c1, r.c2, r.c3
           FROM (SELECT * FROM reading WHERE meter_key = %s AND taken_at >= %s AND taken_at < %s
                 ORDER BY taken_at LIMIT %s) r JOIN sealed_batch b USING (batch_id)""",
        (meter_key, start, end, limit),
    )


def _registers(conn: Conn, query: LiteralString, parameters: Sequence[object]) -> tuple[RegisterReading, ...]:
    return tuple(
        RegisterReading((taken_at - _EPOCH) // _MILLISECOND, source, quality, batch_id, recollected, ticks)
        for taken_at, source, quality, batch_id, recollected, *registers in conn.execute(
            query, parameters, binary=True
        )
        for ticks in (tuple(registers),)
    )
