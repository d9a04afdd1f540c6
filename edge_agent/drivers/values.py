"""From an item's bytes or registers to ticks of the meter's face, and back for the simulator. Pure.

Integers only. DL/T 645 items are packed BCD, low byte first; the sign is the top bit of the last byte
(DL/T 645-2007 Annex A). FF fill and any other digit above 9 mean "no value", never a number.

A float32 register is the one place where a meter hands out a binary fraction: its exact value
(`Decimal(float)` is exact) is scaled and rounded once, half to even, to the face's decimals. The error
is at most half a tick, and less than what float32 itself lost above 2^24 ticks.
"""

import struct
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

from edge_agent.profile import Channel

METER_CLOCK: Final = timezone(timedelta(hours=8))  # meters keep Beijing time, which has no summer time

_SIGN = 0x80
_EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN)  # the longest float32 has 112 significant digits
_FLOAT_NAN = bytes.fromhex("7FC00000")


@dataclass(frozen=True, slots=True)
class Missing:
    """Why an item gives no value."""

    reason: str


# ---------------------------------------------------------------- DL/T 645 items


def bcd(raw: bytes, *, signed: bool = False) -> int | None:
    """Read packed BCD, low byte first; None where any digit is above 9 (FF fill included)."""
    if signed and raw[-1] & _SIGN:
        magnitude = bcd(raw[:-1] + bytes((raw[-1] ^ _SIGN,)))
        return None if magnitude is None else -magnitude
    try:
        return int(raw[::-1].hex())
    except ValueError:
        return None


def bcd_bytes(number: int, size: int, *, signed: bool = False) -> bytes:
    """Write packed BCD, low byte first. Raises OverflowError when it does not fit."""
    digits = f"{abs(number):0{2 * size}d}"
    raw = bytes.fromhex(digits)[::-1] if len(digits) == 2 * size else b""
    if not raw or (number < 0 and not signed) or (signed and raw[-1] & _SIGN):
        raise OverflowError(f"{number} does not fit into {size} BCD bytes")
    return raw[:-1] + bytes((raw[-1] | _SIGN,)) if number < 0 else raw


def text(raw: bytes) -> str:
    """Read an ASCII item: last character first on the wire, NUL fill behind the text."""
    return raw[::-1].rstrip(b"\0").lstrip(b"\0").decode("ascii", "replace").strip()


def moment(raw: bytes) -> datetime | None:
    """Read `mm hh DD MM YY` or `ss mm hh DD MM YY`, kept in Beijing time; None when it is no time."""
    digits = raw[::-1].hex()
    if len(raw) not in (5, 6) or not digits.isdecimal():
        return None
    year, month, day, hour, minute, second = (
        int(digits.ljust(12, "0")[at : at + 2]) for at in range(0, 12, 2)
    )
    try:
        return datetime(2000 + year, month, day, hour, minute, second, tzinfo=METER_CLOCK)
    except ValueError:
        return None


def bits(raw: bytes) -> frozenset[int]:
    """Give the numbers of the set bits of a status word, bit 0 first (DL/T 645-2007 Annex C)."""
    word = int.from_bytes(raw, "little")
    return frozenset(bit for bit in range(8 * len(raw)) if word >> bit & 1)


def ticks_of(channel: Channel, data: bytes) -> int | Missing:
    """Decode the answer to the channel's own DI."""
    if len(data) != channel.reply_bytes:
        return Missing(f"{channel.di} has {len(data)} bytes, {channel.reply_bytes} expected: {data.hex()}")
    return item_ticks(channel, data[: channel.item_bytes])


def block_ticks(channels: tuple[Channel, ...], items: int, data: bytes) -> tuple[int | Missing, ...]:
    """Decode a block's first items, one per channel; `items` = 0 allows any number (k tariffs)."""
    size = channels[0].item_bytes
    count, rest = divmod(len(data), size)
    if rest or count < len(channels) or (items and count != items):
        wrong = Missing(
            f"block has {len(data)} bytes, {items or len(channels)} x {size} expected: {data.hex()}"
        )
        return (wrong,) * len(channels)
    return tuple(item_ticks(channel, data[n * size : (n + 1) * size]) for n, channel in enumerate(channels))


def item_ticks(channel: Channel, raw: bytes) -> int | Missing:
    """Decode one item of the right length, in range or missing."""
    if channel.format.startswith("bits"):
        return _in_range(channel, int.from_bytes(raw, "little"))
    number = bcd(raw, signed=channel.signed)
    if number is None:
        return Missing(f"{channel.di} gives no number: {raw.hex()}")
    return _in_range(channel, number)


def item_bytes(channel: Channel, ticks: int | None) -> bytes:
    """Encode one item as the meter would; None becomes FF fill. Raises OverflowError."""
    if ticks is None:
        return b"\xff" * channel.item_bytes
    if channel.format.startswith("bits"):
        return ticks.to_bytes(channel.item_bytes, "little")
    return bcd_bytes(ticks, channel.item_bytes, signed=channel.signed)


# ---------------------------------------------------------------- Modbus registers


def register_ticks(channel: Channel, data: bytes) -> int | Missing:
    """Decode the channel's registers, exactly; float32 rounds once, half to even."""
    in_order = _high_word_first(channel, data)
    raw = int.from_bytes(in_order, "big")
    if raw in channel.missing:
        return Missing(f"register {channel.address} says no value: {raw:X}")
    if channel.type == "f32":
        value = Decimal(struct.unpack(">f", in_order)[0])
        if not value.is_finite():
            return Missing(f"register {channel.address} is not a number")
    else:
        value = Decimal(int.from_bytes(in_order, "big", signed=channel.type[0] == "i"))
    scaled = _EXACT.multiply(value, channel.scale.scaleb(channel.decimals))
    return _in_range(channel, int(_EXACT.to_integral_value(scaled)))


def register_bytes(channel: Channel, ticks: int | None) -> bytes:
    """Encode ticks as the meter's registers; None becomes its "no value". Raises OverflowError."""
    size = channel.item_bytes
    if ticks is None:
        raw = channel.missing[0].to_bytes(size, "big") if channel.missing else _FLOAT_NAN
    elif channel.type == "f32":
        raw = struct.pack(">f", _EXACT.divide(Decimal(ticks).scaleb(-channel.decimals), channel.scale))
    else:
        whole = _EXACT.divide(Decimal(ticks).scaleb(-channel.decimals), channel.scale)
        raw = int(_EXACT.to_integral_value(whole)).to_bytes(size, "big", signed=channel.type[0] == "i")
    return _high_word_first(channel, raw)


def _high_word_first(channel: Channel, data: bytes) -> bytes:
    """Undo (or make) the low-word-first order; it is its own inverse."""
    if channel.word_order == "big":
        return data
    return b"".join(data[at : at + 2] for at in range(len(data) - 2, -1, -2))


def _in_range(channel: Channel, ticks: int) -> int | Missing:
    if channel.low_ticks <= ticks <= channel.high_ticks:
        return ticks
    face = Decimal(ticks).scaleb(-channel.decimals)
    return Missing(f"{face} {channel.unit} is outside the profile's range")
