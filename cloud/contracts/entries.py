"""A strict reader of the tables of a market's files: every key asked for, every other key refused. Pure.

A refusal names the file, the key and what is allowed, so that an operator can mend the file without the program.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import NoReturn

from cloud.errors import Invalid
from cloud.markettime import month_from

DIGITS_MAX = 30
TEXT_MAX = 2000


class BadMarketFile(Invalid):
    """A market's file breaks its format; `facts` name file, key, what was found and what is allowed."""

    def __init__(self, file: str, key: str, found: object, allowed: str) -> None:
        super().__init__("bad_market_file", file=file, name=key, found=found, allowed=allowed)

    def __str__(self) -> str:
        """Tell it in one line."""
        facts = self.facts
        return f"{facts['file']}: {facts['name']}: found {facts['found']!r}, allowed: {facts['allowed']}"


@dataclass(frozen=True, slots=True)
class Entries:
    """A table of the file, its place in it, and the keys that were read so far."""

    file: str
    place: str
    content: Mapping[str, object]
    read: set[str] = field(default_factory=set)

    def refuse(self, key: str, found: object, allowed: str) -> NoReturn:
        """Raise BadMarketFile for a key of this table."""
        raise BadMarketFile(self.file, f"{self.place}{key}", found, allowed)

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self.content

    def take(self, key: str) -> object:
        """Read a key as it is; None when it is absent."""
        self.read.add(key)
        return self.content.get(key)

    def text(self, key: str, default: str | None = None) -> str:
        """Read a text of 1 to 2000 characters; absent is the default, if there is one."""
        value = self.take(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not 1 <= len(value) <= TEXT_MAX or not value.isprintable():
            self.refuse(key, value, f"a text of 1 to {TEXT_MAX} printable characters")
        return value

    def choice(self, key: str, allowed: Collection[str]) -> str:
        """Read one of a few words."""
        value = self.take(key)
        if not isinstance(value, str) or value not in allowed:
            self.refuse(key, value, " | ".join(allowed))
        return value

    def integer(self, key: str, lowest: int, highest: int) -> int:
        """Read a whole number within bounds."""
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            self.refuse(key, value, f"a whole number {lowest}..{highest}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Read true or false."""
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(key, value, "true | false")
        return value

    def decimal(self, key: str, default: str | None = None) -> Decimal:
        """Read an exact number, written as a string so that no digit is lost on the way."""
        value = self.take(key)
        if value is None and default is not None:
            value = default
        allowed = f'plain digits in quotes, for example "398.500", at most {DIGITS_MAX} characters'
        if not isinstance(value, str) or len(value) > DIGITS_MAX or not set(value) <= set("-.0123456789"):
            self.refuse(key, value, allowed)
        try:
            return Decimal(value)
        except InvalidOperation:
            self.refuse(key, value, allowed)

    def day(self, key: str) -> date:
        """Read a date, written YYYY-MM-DD without quotes."""
        value = self.take(key)
        if not isinstance(value, date) or isinstance(value, datetime):
            self.refuse(key, value, "a date without quotes, for example 2026-08-01")
        return value

    def optional_day(self, key: str) -> date | None:
        """Read a date that may be absent."""
        return self.day(key) if key in self.content else None

    def month(self, key: str) -> date:
        """Read a month, written "YYYY-MM"."""
        value = self.take(key)
        try:
            return month_from(str(value))
        except ValueError:
            self.refuse(key, value, 'a month in quotes, for example "2026-08"')

    def texts(self, key: str) -> tuple[str, ...]:
        """Read a list of texts; absent is empty."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            self.refuse(key, value, "a list of texts in quotes")
        return tuple(value)

    def integers(self, key: str) -> tuple[int, ...]:
        """Read a list of whole numbers; absent is empty."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(type(each) is int for each in value):
            self.refuse(key, value, "a list of whole numbers")
        return tuple(value)

    def table(self, key: str) -> Entries:
        """Read a sub-table."""
        value = self.take(key)
        if not isinstance(value, dict):
            self.refuse(key, value, f"a table [{self.place}{key}]")
        return Entries(self.file, f"{self.place}{key}.", value)

    def tables(self, key: str) -> tuple[Entries, ...]:
        """Read a list of sub-tables; absent is empty."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self.refuse(key, value, f"tables [[{self.place}{key}]]")
        return tuple(
            Entries(self.file, f"{self.place}{key}[{number}].", each)
            for number, each in enumerate(value, start=1)
        )

    def done(self) -> None:
        """Refuse every key that nobody asked for."""
        unknown = sorted(set(self.content) - self.read)
        if unknown:
            self.refuse(unknown[0], self.content[unknown[0]], "only " + ", ".join(sorted(self.read)))


def entries_from(name: str, text: str) -> Entries:
    """Read a whole file as its outermost table. Raises BadMarketFile."""
    try:
        return Entries(name, "", tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise BadMarketFile(name, "(whole file)", str(error), "TOML 1.0") from error
