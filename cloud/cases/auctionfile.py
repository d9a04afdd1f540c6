"""A file of auction cases and how expected compares with got. Pure; every refusal names the place in the file.

Format: schema `auction-cases` 1.0. Fields that the format does not know are left alone: a newer file may carry more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, NoReturn

from cloud.errors import Invalid
from cloud.market.auction import Side

Json = object
KINDS: Final = ("call_auction", "rolling", "listing", "spread_return", "intake")
SCHEMA: Final = "auction-cases"
INTEGER_MAX: Final = 10**18


class Bad(Invalid):
    """Something in the file is not what its format says; one line names place, found and allowed."""

    def __init__(self, place: str, key: str, found: object, allowed: str) -> None:
        super().__init__("bad_auction_case", place=place, name=key, found=repr(found)[:80], allowed=allowed)

    def __str__(self) -> str:
        """Tell it in one line."""
        facts = self.facts
        return (
            f"{facts['place']}: {facts['name']}: 是 / is {facts['found']}, 应为 / allowed: {facts['allowed']}"
        )


@dataclass(frozen=True, slots=True)
class Table:
    """An object of the file and where it stands."""

    place: str
    content: Mapping[str, Json]

    def refuse(self, key: str, allowed: str) -> NoReturn:
        """Raise Bad for a key."""
        raise Bad(self.place, key, self.content.get(key), allowed)

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.content.get(key) is not None

    def text(self, key: str) -> str:
        """Read a text of 1 to 200 characters."""
        value = self.content.get(key)
        if not isinstance(value, str) or not 1 <= len(value) <= 200:
            self.refuse(key, "a text of 1 to 200 characters")
        return value

    def integer(self, key: str, least: int = -INTEGER_MAX) -> int:
        """Read a whole number; a float is none, be it 3.0."""
        value = self.content.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= INTEGER_MAX:
            self.refuse(key, f"a whole number from {least}" if least > -INTEGER_MAX else "a whole number")
        return value

    def flag(self, key: str) -> bool:
        """Read true or false."""
        value = self.content.get(key)
        if not isinstance(value, bool):
            self.refuse(key, "true or false")
        return value

    def choice(self, key: str, allowed: Collection[str]) -> str:
        """Read one of a few words."""
        value = self.content.get(key)
        if not isinstance(value, str) or value not in allowed:
            self.refuse(key, " | ".join(allowed))
        return value

    def side(self, key: str) -> Side:
        """Read B or S."""
        return Side(self.choice(key, tuple(Side)))

    def decimal(self, key: str) -> Decimal:
        """Read a number that is not negative: a whole one, or a decimal text."""
        value = self.content.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return Decimal(value)
        if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,15}([.][0-9]{1,9})?", value, re.ASCII):
            self.refuse(key, 'a number from 0, as text: "1000.00"')
        return Decimal(value)

    def fraction(self, key: str) -> Fraction:
        """Read a share written as text, "3/4" or "0.75"."""
        try:
            value = Fraction(self.text(key))
        except (ValueError, ZeroDivisionError):
            self.refuse(key, 'a share from 0 to 1, as "3/4"')
        if not 0 <= value <= 1:
            self.refuse(key, 'a share from 0 to 1, as "3/4"')
        return value

    def table(self, key: str) -> Table:
        """Read an object."""
        return table_of(self.content.get(key), f"{self.place}.{key}")

    def tables(self, key: str) -> list[Table]:
        """Read a list of objects."""
        value = self.content.get(key)
        if not isinstance(value, list):
            self.refuse(key, "a list of objects")
        return [table_of(each, f"{self.place}.{key}[{number}]") for number, each in enumerate(value)]


@dataclass(frozen=True, slots=True)
class Case:
    """One worked case."""

    kind: str
    id: str
    title: str
    table: Table
    expected: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not as expected."""

    at: str
    expected: Json
    got: Json


def table_of(value: Json, place: str) -> Table:
    """An object of the file. Raises Bad."""
    if not isinstance(value, dict):
        raise Bad(place, "-", value, "an object {…}")
    return Table(place, value)


def decoded(text: str, place: str) -> Json:
    """Read JSON strictly: no key twice, no NaN. Raises Bad."""

    def no_twice(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            raise Bad(place, next(key for key in keys if keys.count(key) > 1), "twice", "each key once")
        return found

    def no_constant(name: str) -> NoReturn:
        raise Bad(place, "-", name, "a number")

    try:
        return json.loads(text, object_pairs_hook=no_twice, parse_constant=no_constant)
    except (ValueError, RecursionError) as problem:
        if isinstance(problem, Bad):
            raise
        raise Bad(place, "-", str(problem)[:60], "JSON (UTF-8)") from problem


def cases_from(text: str, place: str) -> tuple[Case, ...]:
    """Read a file of cases: all of them or none. Raises Bad."""
    top = table_of(decoded(text, place), place)
    if top.has("schema") and top.text("schema") != SCHEMA:
        top.refuse("schema", SCHEMA)
    if top.has("schema_version") and not top.text("schema_version").startswith("1."):
        top.refuse("schema_version", "1.x")
    if not any(top.has(kind) for kind in KINDS):
        raise Bad(place, " | ".join(KINDS), None, "at least one of these lists")
    cases = tuple(_case(kind, row) for kind in KINDS if top.has(kind) for row in top.tables(kind))
    if not cases:
        raise Bad(place, " | ".join(KINDS), [], "at least one case in these lists")
    ids = [case.id for case in cases]
    if len(set(ids)) != len(ids):
        raise Bad(place, "id", next(each for each in ids if ids.count(each) > 1), "each case id once")
    return cases


def _case(kind: str, row: Table) -> Case:
    own = row.text("id")
    title = row.content.get("title")
    table = Table(f"{own}", row.content)
    return Case(kind, own, title if isinstance(title, str) else "", table, table.table("expected").content)


def differences(case: Case, got: Mapping[str, Json]) -> tuple[Difference, ...]:
    """Compare what the case expects with what was computed; what it does not state is not compared.

    Raises Bad where nothing of what it expects can be compared.
    """
    if not case.expected.keys() & {*got, "published_price"}:
        raise Bad(case.id, "expected", ", ".join(case.expected) or "{}", " | ".join(got))
    found: list[Difference] = []
    for key, expected in case.expected.items():
        if key == "published_price":
            found += _published(expected, got)
        elif key == "fills":
            is_by_rule = case.kind == "call_auction"
            found += _compared(key, _without_zeros(expected), got.get(key), is_partial=is_by_rule)
        elif key in got:
            found += _compared(key, expected, got[key], is_partial=key in ("price", "trades", "settlement"))
    return tuple(found)


def uncompared(case: Case, got: Mapping[str, Json]) -> tuple[str, ...]:
    """Name what the case expects and this version of the format does not know."""
    return tuple(key for key in case.expected if key not in got and key != "published_price")


def _without_zeros(fills: Json) -> Json:
    """Fills name who traded; a zero says the same as no entry."""
    if not isinstance(fills, Mapping):
        return fills
    return {
        key: _without_zeros(value)
        for key, value in fills.items()
        if isinstance(value, bool) or not isinstance(value, int) or value
    }


def _published(price: Json, got: Mapping[str, Json]) -> Iterator[Difference]:
    """A published price lies in the interval that supports the volume, and is its one point where there is one."""
    interval = got.get("interval")
    if price is None:
        return
    if (
        not isinstance(price, int)
        or not isinstance(interval, list)
        or not interval[0] <= price <= interval[1]
    ):
        yield Difference("published_price", price, f"interval {interval}")


def _compared(at: str, expected: Json, got: Json, *, is_partial: bool) -> Iterator[Difference]:
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        for key, value in expected.items():
            if key not in got:
                yield Difference(f"{at}.{key}", value, "—")
            else:
                is_settled = at.startswith("settlement.")  # of an order the exact or the rounded, or both
                yield from _compared(f"{at}.{key}", value, got[key], is_partial=is_settled)
        if not is_partial:
            for key in got.keys() - expected.keys():
                yield Difference(f"{at}.{key}", "—", got[key])
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for number, (one, other) in enumerate(zip(expected, got, strict=True)):
            if isinstance(one, bool) or type(one) is not type(other) or one != other:
                yield Difference(f"{at}[{number}]", one, other)
    elif not _is_same(at, expected, got):
        yield Difference(at, expected, got)


def _is_same(at: str, expected: Json, got: Json) -> bool:
    """Exactly equal; of the fractions, "-5300" and "-10600/2" are one."""
    if at == "surplus" or at.endswith(".spread_exact"):
        try:
            return not isinstance(expected, bool | float) and Fraction(str(expected)) == Fraction(str(got))
        except (ValueError, ZeroDivisionError):
            return False
    return not isinstance(expected, bool) and type(expected) is type(got) and expected == got
