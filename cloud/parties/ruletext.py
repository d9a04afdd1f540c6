"""A strict reader of the tables of a party's rule files: what is not known is refused, and nothing has a default. Pure."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final, TypeVar

from cloud.errors import Invalid

BYTES_MAX: Final = 50_000
_E = TypeVar("_E", bound=StrEnum)


class BadRule(Invalid):
    """A rule's text breaks its format; `facts` name the key, what was found and what is allowed."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the text and its place in it."""

    place: str
    content: Mapping[str, object]

    def known(self, *keys: str) -> None:
        """Refuse keys that nobody reads. Raises BadRule."""
        for key in self.content:
            if key not in keys:
                raise self.refusal(key, self.content[key], ", ".join(keys))

    def refusal(self, key: str, found: object, allowed: str) -> BadRule:
        """Say what is wrong with a key."""
        return BadRule("bad_party_rule", name=f"{self.place}{key}", found=str(found), allowed=allowed)

    def text(self, key: str) -> str:
        """Read a text of 1 to 200 characters."""
        value = self.content.get(key)
        if not isinstance(value, str) or not 0 < len(value) <= 200:
            raise self.refusal(key, value, "text, 1 to 200 characters")
        return value

    def integer(self, key: str, lowest: int, highest: int) -> int:
        """Read a whole number."""
        value = self.content.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            raise self.refusal(key, value, f"a whole number from {lowest} to {highest}")
        return value

    def decimal(self, key: str, lowest: Decimal, highest: Decimal) -> Decimal:
        """Read a decimal written as a text, so that no digit is lost."""
        value = self.content.get(key)
        try:
            number = Decimal(value) if isinstance(value, str) and len(value) <= 30 else None
        except InvalidOperation:
            number = None
        if number is None or not number.is_finite() or not lowest <= number <= highest:
            raise self.refusal(key, value, f"a decimal in quotes from {lowest} to {highest}")
        return number

    def word(self, key: str, allowed: type[_E]) -> _E:
        """Read one of an enumeration's words."""
        value = self.content.get(key)
        if value not in tuple(allowed):
            raise self.refusal(key, value, ", ".join(allowed))
        return allowed(str(value))

    def words(self, key: str, allowed: type[_E]) -> tuple[_E, ...]:
        """Read a list of an enumeration's words."""
        value = self.content.get(key)
        if not isinstance(value, list) or not value:
            raise self.refusal(key, value, "a list of " + ", ".join(allowed))
        return tuple(Table(f"{self.place}{key}.", {"": each}).word("", allowed) for each in value)

    def truth(self, key: str) -> bool:
        """Read true or false."""
        value = self.content.get(key)
        if not isinstance(value, bool):
            raise self.refusal(key, value, "true, false")
        return value

    def table(self, key: str) -> Table:
        """Read a table."""
        value = self.content.get(key)
        if not isinstance(value, dict):
            raise self.refusal(key, value, f"a table [{key}]")
        return Table(f"{self.place}{key}.", value)

    def tables(self, key: str) -> tuple[Table, ...]:
        """Read a list of tables; absent is none."""
        value = self.content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.refusal(key, value, f"tables [[{key}]]")
        return tuple(Table(f"{self.place}{key}[{number}].", each) for number, each in enumerate(value, 1))

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self.content


def table_from(body: str) -> Table:
    """Read a text as TOML. Raises BadRule."""
    if len(body.encode()) > BYTES_MAX:
        raise BadRule("bad_party_rule", name="", found=f"{len(body)}", allowed=f"{BYTES_MAX} bytes")
    try:
        return Table("", tomllib.loads(body))
    except tomllib.TOMLDecodeError as problem:
        raise BadRule("bad_party_rule", name="", found=str(problem)[:200], allowed="TOML") from None


def sha256_of(body: str) -> str:
    """Hash a rule's text, as scores and requirements name it."""
    return hashlib.sha256(body.encode()).hexdigest()
