"""A meter's profile: TOML text in, a frozen `Profile` out, or `BadProfile`.

Devices are data: what a meter model is called, how its line is set, which register holds which
channel, how often each is read. Drivers interpret it; a new model is a TOML file, not a class.

The tables below (`_LINK`, `_BLOCK`, …) are the one description of the file format: the reader refuses
what they do not name, and `schema()` prints them as JSON Schema for editors.

Pure: text in, values out. Numbers with a point become `Decimal`, never `float`.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from edge_agent.profile.keys import BadProfile, Key, read_table, table_schema
from edge_agent.profile.model import (
    REGISTERS_BY_TYPE,
    Block,
    Caveat,
    Channel,
    GoldenFrame,
    Link,
    PollGroup,
    Profile,
)
from edge_agent.wire.batch import CHANNEL_COLUMN, CHANNELS

__all__ = [
    "BadProfile",
    "Block",
    "Caveat",
    "Channel",
    "GoldenFrame",
    "Link",
    "PollGroup",
    "Profile",
    "bundle_sha256",
    "profile_from",
    "schema",
]

SCHEMA = "shoudian.profile/1"
PROTOCOLS = ("dlt645-2007", "dlt645-1997", "modbus-tcp", "modbus-rtu")

_UNIT_BY_CODE = {channel.code: channel.unit for channel in CHANNELS}
_DECIMALS_MAX_BY_CODE = {channel.code: channel.decimals for channel in CHANNELS}
_FORMATS = (*(f"{sign}bcd{size}" for sign in ("", "s") for size in range(1, 7)), "bits1", "bits2")
_SECONDS_BY_SUFFIX = {"s": 1, "m": 60, "h": 3600}

_DI_PATTERN = r"[0-9A-F]{4}([0-9A-F]{4})?"
_HEX_PATTERN = r"[0-9A-F]{2}( ?[0-9A-F]{2})*"

_VENDOR = {"zh": Key("string", "maker, Chinese"), "en": Key("string", "maker, English")}
_LINK = {
    "baud": Key("integers", "rates to try, the usual one first", (9600,)),
    "parity": Key("string", "character parity", "E", ("N", "E", "O")),
    "stop_bits": Key("integer", "stop bits", 1, (1, 2)),
    "preamble_fe": Key("integer", "DL/T 645: wake-up bytes FE before a request", 4, low=0, high=16),
    "timeout_ms": Key("integer", "longest wait for a whole reply", 1500, low=50, high=60_000),
    "retries": Key("integer", "further tries after silence or a broken reply", 2, low=0, high=10),
    "gap_ms": Key("integer", "pause between two transactions", 30, low=0, high=5000),
    "byte_gap_ms": Key(
        "integer", "a half frame that stands still this long is dropped", 500, low=5, high=5000
    ),
    "late_ms": Key("integer", "line closed this long after a timeout", 700, low=0, high=60_000),
    "max_unanswered": Key("integer", "silent polls in a row before backing off", 3, low=1, high=100),
    "backoff_s": Key("integers", "shortest and longest pause of a silent meter", (60, 600)),
    "registers_max": Key("integer", "Modbus: registers per request", 60, low=1, high=125),
    "register_gap_max": Key("integer", "Modbus: unwanted registers read along", 8, low=0, high=124),
    "forbidden": Key("ranges", "Modbus: [first, end) registers never to be read", ()),
}
_CHANNEL_COMMON = {
    "code": Key("string", "code of the wire catalogue", allowed=tuple(CHANNEL_COLUMN)),
    "unit": Key("string", "must be the catalogue's unit of that code"),
    "decimals": Key("integer", "decimals on the meter's face", low=0, high=6),
    "kind": Key(
        "string", "counter: a register that only grows; gauge: anything else", allowed=("counter", "gauge")
    ),
    "billing": Key("boolean", "may be charged; only counters", False),
    "rollover": Key("integer", "the counter's first impossible value, in `unit`", 0, low=0),
    "range": Key("numbers", "plausible [lowest, highest], in `unit`"),
}
_CHANNEL_DLT645 = {
    **_CHANNEL_COMMON,
    "di": Key("string", "data identifier, most significant byte first", pattern=_DI_PATTERN),
    "format": Key("string", "bcdN unsigned, sbcdN with sign bit, bitsN word; N bytes", allowed=_FORMATS),
    "reply_bytes": Key(
        "integer", "bytes of the whole answer behind the DI, when more than the item", 0, low=0, high=196
    ),
}
_CHANNEL_MODBUS = {
    **_CHANNEL_COMMON,
    "fc": Key("integer", "3 = holding, 4 = input registers", allowed=(3, 4)),
    "address": Key("integer", "PDU address, 0-based", low=0, high=65535),
    "type": Key("string", "how the registers are coded", allowed=tuple(REGISTERS_BY_TYPE)),
    "word_order": Key("string", "big: high word first", "big", ("big", "little")),
    "scale": Key("number", "raw x scale = value in `unit`"),
    "missing": Key("strings", "raw patterns in hex that mean no value; default: the type's usual ones", None),
}
_BLOCK = {
    "di": Key("string", "data identifier of the block", pattern=_DI_PATTERN),
    "gives": Key("strings", "channel codes in the block's order, at least two"),
    "items": Key("integer", "items the block always has; 0 = any number", 0, low=0, high=64),
}
_GROUP = {
    "name": Key("string", "name of the poll group"),
    "every": Key("string", "5s, 15m, 1h", pattern=r"[1-9][0-9]*[smh]"),
    "aligned": Key("boolean", "on the wall clock's multiples", False),
    "channels": Key("strings", "channel codes"),
}
_CAVEAT = {
    "zh": Key("string", "Chinese"),
    "en": Key("string", "English"),
    "evidence": Key("string", "where it is written or was seen"),
}
_FRAME = {
    "source": Key("string", "where the frames come from"),
    "tx": Key("string", "request, hex", pattern=_HEX_PATTERN),
    "rx": Key("string", "answer, hex", pattern=_HEX_PATTERN),
    "expect": Key("values", 'channel code = value on the face, as text; "" = must be missing'),
}


def _top(channel_keys: Mapping[str, Key], protocols: tuple[str, ...]) -> Mapping[str, Key]:
    return {
        "schema": Key("string", "format of this file", allowed=(SCHEMA,)),
        "id": Key("string", "stable id", pattern=r"[a-z0-9]+([.-][a-z0-9]+)*"),
        "version": Key("string", "semantic version", pattern=r"[0-9]+\.[0-9]+\.[0-9]+"),
        "protocol": Key("string", "what the meter speaks", allowed=protocols),
        "vendor": Key("table", "maker", keys=_VENDOR),
        "models": Key("strings", "model names on the meter's face"),
        "link": Key("table", "how to talk on its line", {}, keys=_LINK),
        "channel": Key("tables", "one quantity each", keys=channel_keys),
        "block": Key("tables", "DIs that answer several channels", (), keys=_BLOCK),
        "group": Key("tables", "poll groups", keys=_GROUP),
        "caveat": Key("tables", "known traps", (), keys=_CAVEAT),
        "frames": Key("tables", "golden frames", keys=_FRAME),
    }


_FORMATS_BY_FAMILY = {
    "dlt645": _top(_CHANNEL_DLT645, PROTOCOLS[:2]),
    "modbus": _top(_CHANNEL_MODBUS, PROTOCOLS[2:]),
}


def profile_from(text: str, source: str = "profile") -> Profile:
    """Read one profile; `source` names the file in errors. Raises BadProfile."""
    try:
        raw = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise BadProfile(source, "file", f"not TOML: {error}") from error
    protocol = raw.get("protocol")
    if protocol not in PROTOCOLS:
        raise BadProfile(source, "protocol", f"{protocol!r} is not one of {', '.join(PROTOCOLS)}")
    top = read_table(source, "", raw, _FORMATS_BY_FAMILY[protocol.partition("-")[0]])
    channels = tuple(_channel(source, f"channel[{n}]", keys) for n, keys in enumerate(top["channel"]))
    profile = Profile(
        id=top["id"],
        version=top["version"],
        protocol=protocol,
        vendor_zh=top["vendor"]["zh"],
        vendor_en=top["vendor"]["en"],
        models=top["models"],
        link=Link(**top["link"]),
        channels=tuple(sorted(channels, key=lambda channel: CHANNEL_COLUMN[channel.code])),
        blocks=tuple(Block(**block) for block in top["block"]),
        groups=tuple(_group(source, f"group[{n}]", keys) for n, keys in enumerate(top["group"])),
        caveats=tuple(Caveat(**caveat) for caveat in top["caveat"]),
        frames=tuple(_frame(source, f"frames[{n}]", keys) for n, keys in enumerate(top["frames"])),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
    _refuse_contradictions(source, profile)
    return profile


def bundle_sha256(profiles: Iterable[Profile]) -> str:
    """Hash a set of profiles: the same set gives the same hash in any order."""
    lines = sorted(f"{profile.id} {profile.version} {profile.sha256}\n" for profile in profiles)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _channel(source: str, where: str, keys: dict[str, Any]) -> Channel:
    code = keys["code"]
    unit, decimals = _UNIT_BY_CODE[code], keys["decimals"]
    if keys["unit"] != unit:
        raise BadProfile(source, f"{where}.unit", f"{keys['unit']!r} given, {code} is in {unit!r}")
    if decimals > _DECIMALS_MAX_BY_CODE[code]:
        most = _DECIMALS_MAX_BY_CODE[code]
        raise BadProfile(source, f"{where}.decimals", f"{decimals} given, {code} carries at most {most}")
    if keys["billing"] and keys["kind"] != "counter":
        raise BadProfile(source, f"{where}.billing", "only a counter read from a register may be charged")
    if len(keys["range"]) != 2 or keys["range"][0] >= keys["range"][1]:
        raise BadProfile(source, f"{where}.range", "two numbers, the lowest first")
    low, high = (_whole(source, f"{where}.range", bound, decimals) for bound in keys["range"])
    rollover = keys["rollover"] * 10**decimals or None
    if (keys["kind"] == "counter") != (rollover is not None):
        raise BadProfile(source, f"{where}.rollover", "a counter has one above 0, a gauge has none")
    scale = Decimal(keys.get("scale", 1))
    type_ = keys.get("type", "")
    if type_ and type_ != "f32":
        _whole(source, f"{where}.scale", scale, decimals)
    return Channel(
        code=code,
        unit=unit,
        decimals=decimals,
        kind=keys["kind"],
        billing=keys["billing"],
        rollover_ticks=rollover,
        low_ticks=low,
        high_ticks=high,
        di=keys.get("di", ""),
        format=keys.get("format", ""),
        reply_bytes=keys.get("reply_bytes", 0) or int(keys.get("format", "0")[-1]),
        fc=keys.get("fc", 0),
        address=keys.get("address", 0),
        type=type_,
        word_order=keys.get("word_order", "big"),
        scale=scale,
        missing=_missing(source, f"{where}.missing", type_, keys.get("missing")),
    )


def _whole(source: str, where: str, number: Decimal | int, decimals: int) -> int:
    ticks = Decimal(number).scaleb(decimals)
    if ticks != int(ticks):
        raise BadProfile(source, where, f"{number} is finer than the channel's {decimals} decimals")
    return int(ticks)


def _missing(source: str, where: str, type_: str, patterns: Sequence[str] | None) -> tuple[int, ...]:
    """The raw patterns that stand for "no value"; what makers use when nothing is said (§8.7, §8.8)."""
    digits = 4 * REGISTERS_BY_TYPE.get(type_, 0)
    if patterns is None:
        if type_.startswith("u"):
            return (int("F" * digits, 16),)
        if type_.startswith("i"):
            return (int("7" + "F" * (digits - 1), 16), int("8" + "0" * (digits - 1), 16))
        return ()
    for pattern in patterns:
        if not re.fullmatch(f"[0-9A-F]{{{digits}}}", pattern):
            raise BadProfile(source, where, f"{pattern!r} is not {digits} hex digits")
    return tuple(int(pattern, 16) for pattern in patterns)


def _group(source: str, where: str, keys: dict[str, Any]) -> PollGroup:
    every_s = int(keys["every"][:-1]) * _SECONDS_BY_SUFFIX[keys["every"][-1]]
    if keys["aligned"] and 86400 % every_s:
        raise BadProfile(source, f"{where}.every", "an aligned group divides the day")
    return PollGroup(keys["name"], every_s, keys["aligned"], keys["channels"])


def _frame(source: str, where: str, keys: dict[str, Any]) -> GoldenFrame:
    expect = []
    for code, value in keys["expect"].items():
        if not re.fullmatch(r"(-?[0-9]+(\.[0-9]+)?)?", value):
            raise BadProfile(source, f"{where}.expect.{code}", f"{value!r} is not a decimal number in quotes")
        expect.append((code, Decimal(value) if value else None))
    return GoldenFrame(keys["source"], bytes.fromhex(keys["tx"]), bytes.fromhex(keys["rx"]), tuple(expect))


def _refuse_contradictions(source: str, profile: Profile) -> None:
    """Refuse what no single key shows: doubles, unknown codes, blocks of unlike items."""
    codes = profile.codes
    for code in codes:
        if codes.count(code) > 1:
            raise BadProfile(source, "channel", f"{code} is described twice")
    named = [(f"block[{n}].gives", block.gives) for n, block in enumerate(profile.blocks)]
    named += [(f"group[{n}].channels", group.channels) for n, group in enumerate(profile.groups)]
    named += [(f"frames[{n}].expect", tuple(c for c, _ in f.expect)) for n, f in enumerate(profile.frames)]
    for where, used in named:
        strangers = sorted(set(used) - set(codes))
        if strangers:
            raise BadProfile(
                source, where, f"{', '.join(strangers)} has no [[channel]]; known: {', '.join(codes)}"
            )
    di_digits = {"dlt645-2007": 8, "dlt645-1997": 4}.get(profile.protocol, 0)
    dis = [channel.di for channel in profile.channels] + [block.di for block in profile.blocks]
    if any(len(di) != di_digits for di in dis):
        raise BadProfile(source, "di", f"{profile.protocol} has DIs of {di_digits} hex digits")
    for n, block in enumerate(profile.blocks):
        formats = {profile.channel(code).format for code in block.gives}
        if len(block.gives) < 2 or len(formats) != 1:
            raise BadProfile(
                source, f"block[{n}].gives", "at least two channels of one format; one is read by its own DI"
            )
        if 0 < block.items < len(block.gives):
            raise BadProfile(
                source, f"block[{n}].items", f"fewer than the {len(block.gives)} channels it gives"
            )
    if not profile.frames:
        raise BadProfile(source, "frames", "golden frames are mandatory")


def schema() -> dict[str, Any]:
    """Give the JSON Schema of the file format, for editors; drawn from the same tables as the reader."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Shoudian meter profile",
        "anyOf": [table_schema(keys) for keys in _FORMATS_BY_FAMILY.values()],
    }
