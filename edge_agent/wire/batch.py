"""EBP/1 batches: readings ⇄ columns of integer differences ⇄ CBOR ⇄ zstd, and every limit of the door.

Header (signed, readable without unpacking): v, gw, su store uuid, ep, st, sq, pv SHA-256 of the previous sealed
batch of the stream (32 zero bytes before the first), n single values, t0, t1, ts sealed at, mo monotonic ms,
bt boot id, ck [clock source, error ms], pf profile bundle, sc schema.

Body of schema 1, one entry per row in each column, rows meter by meter and strictly later within a meter::

    d   {m: [meter id...], c: [channel code...], e: [[decimals per channel]...], k: [index into e per meter]}
    x   index into d.m            never falls, starts at 0, leaves no meter out
    t   ms UTC                    first absolute, then the difference to the previous row
    q   quality bits
    cK  ticks of channel d.c[K]   difference to the previous value of the same meter; null = no value, base kept

Decimals are the meter's own; decoding multiplies up to the catalogue's ticks, exactly. What `decode_body`
returns fits the database: int64, years 2000 to 2199, known channels, ids of the allowed alphabet.
Schema 2, events, is in `event`. Pure; depends on `cose` and `fields`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntFlag
from itertools import accumulate, pairwise
from operator import mul
from typing import Any, Final, NamedTuple

import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.wire import cose
from edge_agent.wire.cose import Malformed
from edge_agent.wire.fields import (
    CLOCK_SOURCES,
    END_INSTANT_MS,
    EPOCH_MAX,
    FIRST_INSTANT_MS,
    GATEWAY_ID,
    INT64_MAX,
    INT64_MIN,
    METER_ID,
    SEQ_MAX,
    STREAM_BACKFILL,
    WORD,
    octets,
    text,
    whole,
)

AAD: Final = "ebp/1"
VERSION: Final = 1
SCHEMA_READINGS: Final = 1
SCHEMA_EVENTS: Final = 2
SEALED_BYTES_MAX: Final = cose.SEALED_BYTES_MAX
UNPACKED_BYTES_MAX: Final = 1 << 20
READINGS_MAX: Final = 16_384
QUALITY_MAX: Final = (1 << 15) - 1
NO_PREVIOUS: Final = bytes(32)

_ZSTD_LEVEL: Final = 3
_BODY_DEPTH_MAX: Final = 6
_INT: Final = {int}
_INT_OR_NONE: Final = {int, type(None)}


class Channel(NamedTuple):
    """One measured quantity; `decimals` fixes the canonical tick, e.g. 4 decimals of kWh = 0.1 Wh."""

    code: str
    unit: str
    decimals: int


CHANNELS: Final = (
    Channel("ea_imp", "kWh", 4),
    Channel("ea_exp", "kWh", 4),
    Channel("er_imp", "kvarh", 4),
    Channel("er_exp", "kvarh", 4),
    Channel("p", "kW", 4),
    Channel("q", "kvar", 4),
    Channel("pf", "1", 3),
    Channel("u_a", "V", 2),
    Channel("u_b", "V", 2),
    Channel("u_c", "V", 2),
    Channel("i_a", "A", 3),
    Channel("i_b", "A", 3),
    Channel("i_c", "A", 3),
    Channel("freq", "Hz", 2),
    Channel("md_imp", "kW", 4),
    Channel("status", "1", 0),
)
CHANNEL_COLUMN: Final = {channel.code: column for column, channel in enumerate(CHANNELS)}
CANONICAL_DECIMALS: Final = tuple(channel.decimals for channel in CHANNELS)


class TooBig(Exception):
    """These readings do not fit into one batch; seal fewer."""


class Quality(IntFlag):
    """What is known against a reading; 0 is a plain good reading."""

    CLOCK = 1  # the gateway had no trusted clock
    RETRY = 2  # the meter answered only after a retry
    FREEZE = 4  # stamped and stored by the meter itself
    PARTIAL = 8  # some channel of the profile is missing
    STEP = 16  # the gateway's clock stepped around this instant


@dataclass(frozen=True, slots=True)
class Reading:
    """One meter at one instant: 16 entries in catalogue order, in ticks of the meter's own decimals."""

    meter_id: str
    taken_at_ms: int
    quality: int
    ticks: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """The signed header H. `readings`, `first_ms` and `last_ms` are set by the sealing functions."""

    gateway_id: str
    store_uuid: bytes
    epoch: int
    stream: int
    seq: int
    previous_sha256: bytes
    readings: int
    first_ms: int
    last_ms: int
    sealed_ms: int
    monotonic_ms: int
    boot_id: str
    clock_source: str
    clock_error_ms: int
    profile_bundle: str
    schema: int


@dataclass(frozen=True, slots=True)
class Rows:
    """A decoded body. Columns are keyed by catalogue column and hold canonical ticks, one per row."""

    meters: tuple[str, ...]
    meter_index: list[int]
    taken_at_ms: list[int]
    quality: list[int]
    columns: dict[int, list[int | None]]


# ---- header ----------------------------------------------------------------------------------------------


def header_of(envelope: cose.Envelope) -> Header:
    """Read H of a batch, without unpacking the body. Raises Malformed."""
    h = envelope.header
    if h.keys() != _HEADER_KEYS:
        raise Malformed(f"header keys must be exactly {', '.join(sorted(_HEADER_KEYS))}")
    if type(h["v"]) is not int or h["v"] != VERSION:
        raise Malformed("protocol version is not 1")
    clock = h["ck"]
    if type(clock) is not list or len(clock) != 2 or type(clock[0]) is not str:
        raise Malformed("ck must be [source, error ms]")
    if clock[0] not in CLOCK_SOURCES:
        raise Malformed(f"unknown clock source; allowed are {', '.join(sorted(CLOCK_SOURCES))}")
    header = Header(
        gateway_id=text(h, "gw", GATEWAY_ID),
        store_uuid=octets(h, "su", 16),
        epoch=whole(h, "ep", 1, EPOCH_MAX),
        stream=whole(h, "st", 0, STREAM_BACKFILL),
        seq=whole(h, "sq", 1, SEQ_MAX),
        previous_sha256=octets(h, "pv", 32),
        readings=whole(h, "n", 1, READINGS_MAX),
        first_ms=whole(h, "t0", FIRST_INSTANT_MS, END_INSTANT_MS - 1),
        last_ms=whole(h, "t1", FIRST_INSTANT_MS, END_INSTANT_MS - 1),
        sealed_ms=whole(h, "ts", FIRST_INSTANT_MS, END_INSTANT_MS - 1),
        monotonic_ms=whole(h, "mo", 0, SEQ_MAX),
        boot_id=text(h, "bt", WORD),
        clock_source=clock[0],
        clock_error_ms=whole({"ck": clock[1]}, "ck", 0, EPOCH_MAX),
        profile_bundle=text(h, "pf", WORD),
        schema=whole(h, "sc", SCHEMA_READINGS, SCHEMA_EVENTS),
    )
    if header.first_ms > header.last_ms:
        raise Malformed("t0 is later than t1")
    return header


_HEADER_KEYS: Final = frozenset(
    {"v", "gw", "su", "ep", "st", "sq", "pv", "n", "t0", "t1", "ts", "mo", "bt", "ck", "pf", "sc"}
)


def _wire_header(header: Header) -> dict[str, Any]:
    return {
        "v": VERSION,
        "gw": header.gateway_id,
        "su": header.store_uuid,
        "ep": header.epoch,
        "st": header.stream,
        "sq": header.seq,
        "pv": header.previous_sha256,
        "n": header.readings,
        "t0": header.first_ms,
        "t1": header.last_ms,
        "ts": header.sealed_ms,
        "mo": header.monotonic_ms,
        "bt": header.boot_id,
        "ck": [header.clock_source, header.clock_error_ms],
        "pf": header.profile_bundle,
        "sc": header.schema,
    }


# ---- sealing ---------------------------------------------------------------------------------------------


def seal_batch(
    header: Header,
    readings: Sequence[Reading],
    decimals: Mapping[str, tuple[int, ...]],
    key: Ed25519PrivateKey,
) -> bytes:
    """Seal readings (any order, at most one per meter and instant) into one signed batch.

    `decimals` gives each meter's 16 decimals. Counts and times of `header` are filled in here. Raises TooBig.
    """
    rows = sorted(readings, key=lambda reading: (reading.meter_id, reading.taken_at_ms))
    values = sum(len(row.ticks) - row.ticks.count(None) for row in rows)
    if values > READINGS_MAX or len(rows) > READINGS_MAX:
        raise TooBig(f"{values} values in {len(rows)} rows; at most {READINGS_MAX} are allowed")
    times_ms = [row.taken_at_ms for row in rows]
    counted = replace(
        header,
        readings=values,
        first_ms=min(times_ms),
        last_ms=max(times_ms),
        schema=SCHEMA_READINGS,
    )
    return sealed_message(counted, _body(rows, decimals), key)


def sealed_message(header: Header, body: dict[str, Any], key: Ed25519PrivateKey) -> bytes:
    """Pack, compress and sign a body of either schema. Raises TooBig."""
    unpacked = cose.pack(body)
    if len(unpacked) > UNPACKED_BYTES_MAX:
        raise TooBig(f"{len(unpacked)} bytes unpacked; at most {UNPACKED_BYTES_MAX} are allowed")
    payload = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(unpacked)
    sealed = cose.seal(_wire_header(header), payload, key, AAD)
    if len(sealed) > SEALED_BYTES_MAX:
        raise TooBig(f"{len(sealed)} bytes sealed; at most {SEALED_BYTES_MAX} are allowed")
    return sealed


def _body(rows: Sequence[Reading], decimals: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    meters = sorted({row.meter_id for row in rows})
    index = {meter_id: at for at, meter_id in enumerate(meters)}
    meter_index = [index[row.meter_id] for row in rows]
    starts = _starts(meter_index, len(meters))
    grid = list(zip(*(row.ticks for row in rows), strict=True))
    used = [column for column, values in enumerate(grid) if any(value is not None for value in values)]
    scales = [tuple(decimals[meter_id][column] for column in used) for meter_id in meters]
    distinct = sorted(set(scales))
    body: dict[str, Any] = {
        "d": {
            "m": meters,
            "c": [CHANNELS[column].code for column in used],
            "e": distinct,
            "k": [distinct.index(scale) for scale in scales],
        },
        "x": meter_index,
        "t": _differences([row.taken_at_ms for row in rows]),
        "q": [row.quality for row in rows],
    }
    for position, column in enumerate(used):
        differences: list[int | None] = []
        for start, end in pairwise(starts):
            differences.extend(_differences(grid[column][start:end]))
        body[f"c{position}"] = differences
    return body


def _differences(values: Sequence[int | None]) -> list[int | None]:
    """Each value less the value before it; null stays null and leaves the base as it was."""
    base = 0
    result: list[int | None] = []
    for value in values:
        if value is None:
            result.append(None)
        else:
            result.append(value - base)
            base = value
    return result


# ---- opening ---------------------------------------------------------------------------------------------


def decode_body(payload: bytes, header: Header) -> Rows:
    """Unpack the readings of a batch whose signature was verified. Raises Malformed."""
    body = unpacked_body(payload, header, SCHEMA_READINGS)
    meters, columns, scales = _dictionary(body.get("d"))
    if body.keys() != {"d", "x", "t", "q", *(f"c{position}" for position in range(len(columns)))}:
        raise Malformed("the body's columns are not those its dictionary names")
    meter_index, size = _meter_index(body["x"], len(meters))
    starts = _starts(meter_index, len(meters))
    taken_at_ms = _times(body["t"], size, starts)
    # The header's instants lie within the years 2000 to 2199, and so do all between them.
    if (min(taken_at_ms), max(taken_at_ms)) != (header.first_ms, header.last_ms):
        raise Malformed("t0 and t1 are not the first and last instant of the body")
    quality = _integers(body["q"], size, "q")
    if min(quality) < 0 or max(quality) > QUALITY_MAX:
        raise Malformed(f"quality bits must be from 0 to {QUALITY_MAX}")
    decoded: dict[int, list[int | None]] = {}
    nulls = 0
    for position, column in enumerate(columns):
        factors = [scale[position] for scale in scales]
        decoded[column], missing = _channel(body[f"c{position}"], size, starts, factors)
        nulls += missing
    if size * len(columns) - nulls != header.readings:
        raise Malformed("n is not the number of values in the body")
    return Rows(meters, meter_index, taken_at_ms, quality, decoded)


def unpacked_body(payload: bytes, header: Header, schema: int) -> dict[str, Any]:
    """Decompress and parse a body of the schema that is expected. Raises Malformed."""
    if header.schema != schema:
        raise Malformed(f"schema {header.schema} where {schema} was expected")
    body = cose.unpack(_decompressed(payload), depth_max=_BODY_DEPTH_MAX)
    if type(body) is not dict:
        raise Malformed("the body must be a map")
    return body


def _decompressed(payload: bytes) -> bytes:
    """Unpack one zstd frame that declares its size; refuses a bomb before the first byte is made."""
    try:
        frame = zstandard.get_frame_parameters(payload)
        if not 0 < frame.content_size <= UNPACKED_BYTES_MAX:
            raise Malformed(f"the frame must declare a content size from 1 to {UNPACKED_BYTES_MAX} bytes")
        if frame.dict_id != 0:
            raise Malformed("compression dictionaries are not spoken here")
        return zstandard.ZstdDecompressor().decompress(
            payload, max_output_size=UNPACKED_BYTES_MAX, allow_extra_data=False
        )
    except (zstandard.ZstdError, MemoryError) as error:
        raise Malformed(f"not one whole zstd frame: {error}") from None


def _dictionary(d: Any) -> tuple[tuple[str, ...], list[int], list[list[int]]]:
    """Meter ids, catalogue columns, and per meter the factor of each channel to canonical ticks."""
    if type(d) is not dict or d.keys() != {"m", "c", "e", "k"}:
        raise Malformed("d must hold exactly m, c, e and k")
    if not all(type(value) is list and value for value in d.values()):
        raise Malformed("m, c, e and k must be lists with entries")
    meters, codes, scales, chosen = d["m"], d["c"], d["e"], d["k"]
    if len(meters) > READINGS_MAX or not all(type(m) is str and METER_ID.fullmatch(m) for m in meters):
        raise Malformed(f"a meter id must match {METER_ID.pattern}")
    if not all(type(code) is str and code in CHANNEL_COLUMN for code in codes):
        raise Malformed("unknown channel code")
    columns = [CHANNEL_COLUMN[code] for code in codes]
    if len(set(meters)) != len(meters) or len(set(columns)) != len(columns):
        raise Malformed("a meter or a channel is named twice")
    most = [CHANNELS[column].decimals for column in columns]
    factors = [_factors(scale, most) for scale in scales]
    if len(chosen) != len(meters) or set(map(type, chosen)) != _INT:
        raise Malformed("k must hold one index per meter")
    if min(chosen) < 0 or max(chosen) >= len(factors):
        raise Malformed("k points outside e")
    return tuple(meters), columns, [factors[at] for at in chosen]


def _factors(scale: Any, most: list[int]) -> list[int]:
    if type(scale) is not list or len(scale) != len(most) or set(map(type, scale)) != _INT:
        raise Malformed("an entry of e must hold one number of decimals per channel")
    if not all(0 <= decimals <= limit for decimals, limit in zip(scale, most, strict=True)):
        raise Malformed("decimals must be from 0 to the catalogue's")
    return [10 ** (limit - decimals) for decimals, limit in zip(scale, most, strict=True)]


def _integers(values: Any, size: int, name: str) -> list[int]:
    if type(values) is not list or len(values) != size or set(map(type, values)) != _INT:
        raise Malformed(f"{name} must be a list of {size} whole numbers")
    return values


def _meter_index(x: Any, meters: int) -> tuple[list[int], int]:
    if type(x) is not list or not 1 <= len(x) <= READINGS_MAX:
        raise Malformed(f"x must list 1 to {READINGS_MAX} rows")
    index = _integers(x, len(x), "x")
    if index != sorted(index) or index[0] != 0 or index[-1] != meters - 1:
        raise Malformed("rows must be ordered by meter, from the first to the last of m")
    return index, len(index)


def _starts(meter_index: list[int], meters: int) -> list[int]:
    """Where each meter's rows start, and where the last one's end. Raises Malformed if a meter has none."""
    starts = [bisect_left(meter_index, meter) for meter in range(meters)]
    starts.append(len(meter_index))
    if len(set(starts)) != len(starts):
        raise Malformed("a meter of m has no row")
    return starts


def _times(t: Any, size: int, starts: list[int]) -> list[int]:
    steps_ms = _integers(t, size, "t")
    if any(min(steps_ms[start + 1 : end], default=1) <= 0 for start, end in pairwise(starts)):
        raise Malformed("a meter's rows must be strictly later one after the other")
    return list(accumulate(steps_ms))


def _channel(
    differences: Any, size: int, starts: list[int], factors: list[int]
) -> tuple[list[int | None], int]:
    """One channel's canonical ticks and how many of them are missing. Raises Malformed."""
    if type(differences) is not list or len(differences) != size:
        raise Malformed(f"a channel's column must list {size} entries")
    kinds = set(map(type, differences))
    if not kinds <= _INT_OR_NONE:
        raise Malformed("a channel's column may hold whole numbers and null only")
    if kinds == _INT:
        ticks = _summed(differences, starts, factors)
        if min(ticks) < INT64_MIN or max(ticks) > INT64_MAX:
            raise Malformed("a value does not fit into 64 bits")
        return ticks, 0  # type: ignore[return-value]  # list is invariant; nobody appends None to it
    sparse: list[int | None] = []
    for (start, end), factor in zip(pairwise(starts), factors, strict=True):
        base = 0
        for step in differences[start:end]:
            if step is None:
                sparse.append(None)
            else:
                base += step * factor
                sparse.append(base)
    present = [tick for tick in sparse if tick is not None]
    if present and (min(present) < INT64_MIN or max(present) > INT64_MAX):
        raise Malformed("a value does not fit into 64 bits")
    return sparse, size - len(present)


def _summed(differences: list[int], starts: list[int], factors: list[int]) -> list[int]:
    """Running sums per meter, times the meter's factor. One row a meter needs no sums, and is common."""
    if len(differences) == len(factors):
        return list(map(mul, differences, factors))
    ticks: list[int] = []
    for (start, end), factor in zip(pairwise(starts), factors, strict=True):
        steps = differences[start:end]
        ticks.extend(accumulate(steps if factor == 1 else [step * factor for step in steps]))
    return ticks
