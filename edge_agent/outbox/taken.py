"""Readings on their way through the store: as they are taken, as they wait, and as they come back out of a batch.

Pure. `Taken` is re-exported by the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.wire import batch, cose
from edge_agent.wire.batch import CANONICAL_DECIMALS, Reading
from edge_agent.wire.fields import STREAM_BILLING


@dataclass(frozen=True, slots=True)
class Taken:
    """A reading as it enters the store. `decimals` are those of the profile it was read with."""

    reading: Reading
    decimals: tuple[int, ...]
    billing: bool = True
    stream: int = STREAM_BILLING


def readings_of(rows: batch.Rows, stream: int) -> tuple[Taken, ...]:
    """The readings of a decoded batch, in canonical ticks, ready to wait again."""
    columns = [rows.columns.get(column) for column in range(len(batch.CHANNELS))]
    return tuple(
        Taken(
            Reading(
                rows.meters[rows.meter_index[at]],
                rows.taken_at_ms[at],
                rows.quality[at],
                tuple(None if column is None else column[at] for column in columns),
            ),
            CANONICAL_DECIMALS,
            stream=stream,
        )
        for at in range(len(rows.meter_index))
    )


def uniform(
    taken: Sequence[tuple[Reading, tuple[int, ...]]],
) -> tuple[list[Reading], dict[str, tuple[int, ...]]]:
    """One set of decimals per meter: a meter whose profile changed meanwhile is told in canonical ticks."""
    decimals: dict[str, tuple[int, ...]] = {}
    for reading, own in taken:
        if decimals.setdefault(reading.meter_id, own) != own:
            decimals[reading.meter_id] = CANONICAL_DECIMALS
    readings = [
        reading if decimals[reading.meter_id] == own else _canonical(reading, own) for reading, own in taken
    ]
    return readings, decimals


def _canonical(reading: Reading, decimals: Sequence[int]) -> Reading:
    ticks = tuple(
        None if tick is None else tick * 10 ** (most - own)
        for tick, own, most in zip(reading.ticks, decimals, CANONICAL_DECIMALS, strict=True)
    )
    return Reading(reading.meter_id, reading.taken_at_ms, reading.quality, ticks)


def merged(waiting: tuple[int, bytes, bytes], taken: Taken) -> tuple[int, bytes, bytes]:
    """The waiting sample with its empty channels filled from a later one of the same instant."""
    quality, decimals, encoded = waiting
    ticks = tuple(ticks_in(encoded))
    if bytes(taken.decimals) != decimals:
        return waiting
    filled = tuple(new if old is None else old for old, new in zip(ticks, taken.reading.ticks, strict=True))
    return quality | taken.reading.quality, decimals, cose.pack(filled)


def ticks_in(encoded: bytes) -> list[int | None]:
    values: list[int | None] = cose.unpack(encoded, depth_max=2)
    return values
