"""Load records 负荷记录 of DL/T 645-2007 class 06: joined answer data in, records out. Pure.

    A0 A0 | len | mm hh DD MM YY | class 1 | AA | class 2 | AA | ... class 6 | AA | CS | E5

len counts time, classes and separators. CS sums from the first A0 to the last AA. E0 E0 instead of
A0 A0 marks a record the meter itself calls bad. A class that is not recorded leaves nothing before its
AA. BCD digits never contain A, so a separator can't be mistaken for a value; classes are read by
position and length all the same, because an invalid block may be filled with anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from edge_agent.drivers import values

_HEAD_GOOD = b"\xa0\xa0"
_HEAD_BAD = b"\xe0\xe0"
_SEPARATOR = 0xAA
_END = 0xE5
_TIME_BYTES = 5


class Item(NamedTuple):
    """One value inside a class; units and decimals as the live items of DL/T 645-2007 table A.3."""

    name: str
    size: int
    decimals: int
    signed: bool


_U = tuple(Item(f"u_{phase}", 2, 1, False) for phase in "abc")
_I = tuple(Item(f"i_{phase}", 3, 3, True) for phase in "abc")
_P = tuple(Item(f"p{phase}", 3, 4, True) for phase in ("", "_a", "_b", "_c"))
_Q = tuple(Item(f"q{phase}", 3, 4, True) for phase in ("", "_a", "_b", "_c"))
_PF = tuple(Item(f"pf{phase}", 2, 3, True) for phase in ("", "_a", "_b", "_c"))
_ACTIVE = (Item("ea_imp", 4, 2, False), Item("ea_exp", 4, 2, False))
_REACTIVE = (Item("er_imp", 4, 2, True), Item("er_exp", 4, 2, True))
_QUADRANTS = tuple(Item(f"er_q{quadrant}", 4, 2, False) for quadrant in (1, 2, 3, 4))
_DEMAND = (Item("demand_p", 3, 4, True), Item("demand_q", 3, 4, True))
_DEMAND_LONG = (*_DEMAND, Item("i_n", 3, 3, True), Item("s", 3, 4, True))  # extended meters

# For each class the shapes it may have.
CLASSES: Final = (
    ((*_U, *_I, Item("freq", 2, 2, False)),),
    ((*_P, *_Q),),
    (_PF,),
    ((*_ACTIVE, *_REACTIVE),),
    (_QUADRANTS,),
    (_DEMAND, _DEMAND_LONG),
)
DECIMALS_BY_NAME: Final = {
    item.name: item.decimals for shapes in CLASSES for items in shapes for item in items
}


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """One instant of the meter's memory, in ticks; a class that is not recorded has no entries."""

    taken_at: datetime | None
    trusted: bool  # False: the meter flagged the record as bad
    ticks: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """Bytes that are no record, and why; nothing behind them could be read either."""

    raw: bytes
    reason: str


def load_records(data: bytes, only_class: int = 0) -> tuple[LoadRecord | BrokenRecord, ...]:
    """Split the joined data of a load-profile answer; empty data means no record.

    `only_class` is the class asked for (DI2 of 06cc00rr): some meters then send one separator, some six.
    """
    found: list[LoadRecord | BrokenRecord] = []
    at = 0
    while at < len(data):
        record, at = _record(data, at, only_class)
        found.append(record)
    return tuple(found)


def _record(data: bytes, at: int, only_class: int) -> tuple[LoadRecord | BrokenRecord, int]:
    rest = data[at:]
    head, size = rest[:2], rest[2] if len(rest) > 2 else 0
    if head not in (_HEAD_GOOD, _HEAD_BAD):
        return BrokenRecord(rest, "does not begin with A0 A0 or E0 E0"), len(data)
    if len(rest) < size + 5 or size < _TIME_BYTES:
        return BrokenRecord(rest, f"is shorter than its length {size}"), len(data)
    body, checksum, end = rest[3 : 3 + size], rest[3 + size], rest[4 + size]
    if end != _END:
        return BrokenRecord(rest, "does not end with E5"), len(data)
    if sum(rest[: 3 + size]) & 0xFF != checksum:
        return BrokenRecord(rest[: size + 5], "has a wrong inner checksum"), at + size + 5
    blocks = _blocks(body[_TIME_BYTES:], only_class)
    if isinstance(blocks, str):
        return BrokenRecord(rest[: size + 5], blocks), at + size + 5
    ticks = {name: value for items, block in blocks for name, value in _items(items, block)}
    record = LoadRecord(values.moment(body[:_TIME_BYTES]), head == _HEAD_GOOD, ticks)
    return record, at + size + 5


_Items = tuple[Item, ...]


def _blocks(body: bytes, only_class: int) -> list[tuple[_Items, bytes]] | str:
    """Cut the classes apart; a text says why that is impossible."""
    if only_class:
        for items in CLASSES[only_class - 1]:
            if len(body) == _size(items) + 1 and body[-1] == _SEPARATOR:
                return [(items, body[:-1])]
    found: list[tuple[_Items, bytes]] = []
    at = 0
    for number, shapes in enumerate(CLASSES, start=1):
        if at == len(body):
            break
        if body[at] == _SEPARATOR:
            at += 1
            continue
        for items in shapes:
            end = at + _size(items)
            if body[end : end + 1] == bytes((_SEPARATOR,)):
                found.append((items, body[at:end]))
                at = end + 1
                break
        else:
            return f"class {number} does not end with its separator"
    return found if at == len(body) else "bytes are left over behind the last class"


def _items(items: _Items, block: bytes) -> list[tuple[str, int | None]]:
    read: list[tuple[str, int | None]] = []
    at = 0
    for item in items:
        read.append((item.name, values.bcd(block[at : at + item.size], signed=item.signed)))
        at += item.size
    return read


def _size(items: _Items) -> int:
    return sum(item.size for item in items)
