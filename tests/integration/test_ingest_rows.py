"""The bytes of the fast path: whatever the pattern of absent channels, PostgreSQL reads back what was decoded."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_world import NOON, NOON_MS

from cloud.metering.intake import Segment
from cloud.metering.store.readings import copy_new, copy_rows
from edge_agent.wire.batch import Rows

VALUE = st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(0, 10**6)


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database) as conn:
        conn.execute("SELECT make_reading_partition(%s, 7)", (NOON,))
        conn.commit()
        yield conn


@st.composite
def bodies(draw: st.DrawFn) -> Rows:
    """Up to three meters whose channels are full, empty, absent or full of holes."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    size = sum(sizes)
    columns: dict[int, list[int | None]] = {}
    for column in draw(st.sets(st.integers(0, 15))):
        values = st.integers(0, 2**40) if draw(st.booleans()) else VALUE
        columns[column] = draw(st.lists(values, min_size=size, max_size=size))
    index = [meter for meter, own in enumerate(sizes) for _ in range(own)]
    times = [NOON_MS + at for own in sizes for at in range(own)]
    quality = draw(st.lists(st.sampled_from((0, 0, 1, 4, 12)), min_size=size, max_size=size))
    return Rows(tuple(f"M{n}" for n in range(len(sizes))), index, times, quality, columns)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(bodies(), st.booleans())
def test_rows_come_back_as_they_were_decoded(conn: psycopg.Connection, rows: Rows, has_gap: bool) -> None:
    size = len(rows.meter_index)
    starts = [rows.meter_index.index(meter) for meter in range(len(rows.meters))] + [size]
    segments = [Segment(meter + 1, starts[meter], starts[meter + 1]) for meter in range(len(rows.meters))]
    if has_gap:  # the first row is bound to nobody
        segments[0] = segments[0]._replace(start=1)
    copy_new(conn, [copy_rows(rows, rows.quality, segments, 2**40 + 7)], NOON)
    stored = conn.execute("SELECT * FROM reading ORDER BY meter_key, taken_at").fetchall()
    conn.rollback()
    expected = [
        (
            *(
                rows.taken_at_ms[at],
                rows.meter_index[at] + 1,
                int(bool(rows.quality[at] & 4)),
                rows.quality[at],
            ),
            2**40 + 7,
            *(rows.columns[column][at] if column in rows.columns else None for column in range(16)),
        )
        for at in range(1 if has_gap else 0, size)
    ]
    assert [(round(row[0].timestamp() * 1000), *row[1:]) for row in stored] == expected
