"""A strict reader of one table of a data file: every key asked for, every other key refused. Pure.

Errors name the file, the key and what is allowed, so that an analyst can mend the file without the program.
"""

from __future__ import annotations

import datetime
import keyword
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import NoReturn, TypeVar

from cloud.errors import Invalid

DECIMAL_LENGTH_MAX = 40
TEXT_LENGTH_MAX = 2000

# JSON Schema of what is read.
TEXT = MappingProxyType({"type": "string", "minLength": 1, "maxLength": TEXT_LENGTH_MAX})
DECIMAL = MappingProxyType(
    {"type": "string", "pattern": "^[+-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)$", "maxLength": DECIMAL_LENGTH_MAX}
)
ID = MappingProxyType({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"})
DATE = MappingProxyType({"type": "string", "format": "date"})
TABLE = MappingProxyType({"type": "object"})
TABLES = MappingProxyType({"type": "array", "minItems": 1})

_DECIMAL = re.compile(str(DECIMAL["pattern"]))
_ID = re.compile(str(ID["pattern"]))
_T = TypeVar("_T")

STRUCTURES = ("single_part", "two_part")
VOLTAGES = ("lt1kV", "1-10kV", "35kV", "110kV", "ge220kV")
CATEGORIES = ("commercial", "residential", "agricultural", "generation")
PURCHASES = ("agency", "direct", "retail", "catalogue")

# Names that formulas use themselves; no item of a file may be called so.
FORMULA_WORDS = ("kwh", "coefficient", "printed_difference", "fen")


class BadPriceFile(Invalid):
    """A data file breaks its format; `facts` name file, key, what was found and what is allowed."""

    def __init__(self, file: str, key: str, found: object, allowed: str) -> None:
        super().__init__("bad_price_file", file=file, key=key, found=found, allowed=allowed)

    def __str__(self) -> str:
        """Tell it in one line."""
        facts = self.facts
        return f"{facts['file']}: {facts['key']}: found {facts['found']!r}, allowed: {facts['allowed']}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reader asked of one key: the JSON Schema of its value, and whether it had to be there."""

    shape: Mapping[str, object]
    required: bool = True


@dataclass(frozen=True, slots=True)
class FileTable:
    """A table of the file, its place in it, and what was asked of its keys so far.

    `opened` are all tables of the file that were read, this one included: what the readers asked of them is the
    format of the file, of which `fileschema` makes the published JSON Schema.
    """

    file: str
    place: str
    content: Mapping[str, object]
    asked: dict[str, Asked] = field(default_factory=dict)
    opened: list[FileTable] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Enter the table in the file's list."""
        self.opened.append(self)

    def refuse(self, key: str, found: object, allowed: str) -> NoReturn:
        """Raise BadPriceFile for a key of this table."""
        raise BadPriceFile(self.file, f"{self.place}{key}", found, allowed)

    def take(self, key: str, shape: Mapping[str, object], *, required: bool = True) -> object:
        """Read a key as it is; None when it is absent. `shape` is its JSON Schema."""
        self.asked[key] = Asked(shape, required)
        return self.content.get(key)

    def _relax(self, key: str, shape: Mapping[str, object]) -> bool:
        """Note that a key may be absent; say whether it is there."""
        self.asked[key] = Asked(shape, required=False)
        return key in self.content

    def text(self, key: str) -> str:
        """Read a text of 1 to 2000 characters."""
        value = self.take(key, TEXT)
        if not isinstance(value, str) or not 1 <= len(value) <= TEXT_LENGTH_MAX:
            self.refuse(key, value, f"a text of 1 to {TEXT_LENGTH_MAX} characters")
        return value

    def optional_text(self, key: str) -> str:
        """Read a text that may be absent."""
        return self._optional(key, self.text(key)) if self._relax(key, TEXT) else ""

    def id(self, key: str) -> str:
        """Read a name that may stand in an address and as the name of a file."""
        value = self.take(key, ID)
        if not isinstance(value, str) or not _ID.fullmatch(value):
            self.refuse(key, value, "letters, digits, . _ - of ASCII, a letter or digit first, at most 100")
        return value

    def choice(self, key: str, allowed: Collection[str]) -> str:
        """Read one of a few words."""
        value = self.take(key, {"enum": sorted(allowed)})
        if not isinstance(value, str) or value not in allowed:
            self.refuse(key, value, " | ".join(allowed))
        return value

    def integer(self, key: str, lowest: int, highest: int) -> int:
        """Read a whole number within bounds."""
        value = self.take(key, {"type": "integer", "minimum": lowest, "maximum": highest})
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            self.refuse(key, value, f"a whole number {lowest}..{highest}")
        return value

    def flag(self, key: str) -> bool:
        """Read true or false."""
        value = self.take(key, {"type": "boolean"})
        if not isinstance(value, bool):
            self.refuse(key, value, "true | false")
        return value

    def optional_flag(self, key: str) -> bool:
        """Read true or false that may be absent, which is false."""
        return self._optional(key, self.flag(key)) if self._relax(key, {"type": "boolean"}) else False

    def has(self, key: str) -> bool:
        """Say whether a key is there."""
        return key in self.content

    def decimal(self, key: str) -> Decimal:
        """Read an exact number, written as a string so that no digit is lost on the way."""
        value = self.take(key, DECIMAL)
        if not isinstance(value, str):
            self.refuse(key, value, 'a decimal in quotes, for example "0.398598"')
        return self.exact(key, value)

    def optional_decimal(self, key: str) -> Decimal | None:
        """Read an exact number that may be absent."""
        return self._optional(key, self.decimal(key)) if self._relax(key, DECIMAL) else None

    def exact(self, key: str, text: str) -> Decimal:
        """Turn a text of this table into an exact number."""
        if len(text) > DECIMAL_LENGTH_MAX or not _DECIMAL.fullmatch(text):
            self.refuse(
                key,
                text,
                f'a decimal of plain digits, for example "0.398598", at most {DECIMAL_LENGTH_MAX} characters',
            )
        return Decimal(text)

    def day(self, key: str) -> datetime.date:
        """Read a date, written YYYY-MM-DD without quotes."""
        value = self.take(key, DATE)
        if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
            self.refuse(key, value, "a date without quotes, for example 2026-08-01")
        return value

    def optional_day(self, key: str) -> datetime.date | None:
        """Read a date that may be absent."""
        return self._optional(key, self.day(key)) if self._relax(key, DATE) else None

    def texts(self, key: str) -> tuple[str, ...]:
        """Read a list of texts; absent is empty."""
        value = self.take(key, {"type": "array", "items": {"type": "string"}}, required=False)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self.refuse(key, value, "a list of texts in quotes")
        return tuple(value)

    def choices(self, key: str, allowed: Collection[str]) -> tuple[str, ...]:
        """Read a list of a few words, each at most once; absent is empty."""
        words = self.texts(key)
        shape = {"type": "array", "items": {"enum": sorted(allowed)}, "uniqueItems": True}
        self.asked[key] = Asked(shape, required=False)
        if not set(words) <= set(allowed) or len(set(words)) != len(words):
            self.refuse(key, words, " | ".join(allowed) + ", each once")
        return words

    def integers(self, key: str) -> tuple[int, ...]:
        """Read a list of whole numbers."""
        value = self.take(key, {"type": "array", "items": {"type": "integer"}})
        if not isinstance(value, list) or not all(type(each) is int for each in value):
            self.refuse(key, value, "a list of whole numbers")
        return tuple(value)

    def decimals(self, key: str) -> tuple[Decimal, ...]:
        """Read a list of exact numbers; absent is empty."""
        value = self.take(key, {"type": "array", "items": DECIMAL}, required=False)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self.refuse(key, value, 'a list of decimals in quotes, for example ["0.52", "0.57"]')
        return tuple(self.exact(key, each) for each in value)

    def table(self, key: str) -> FileTable:
        """Read a sub-table."""
        value = self.take(key, TABLE)
        if not isinstance(value, dict):
            self.refuse(key, value, f"a table [{key}]")
        return FileTable(self.file, f"{self.place}{key}.", value, opened=self.opened)

    def optional_table(self, key: str) -> FileTable | None:
        """Read a sub-table that may be absent."""
        return self._optional(key, self.table(key)) if self._relax(key, TABLE) else None

    def tables(self, key: str) -> tuple[FileTable, ...]:
        """Read a list of sub-tables; at least one."""
        value = self.take(key, TABLES)
        if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
            self.refuse(key, value, f"one or more tables [[{key}]]")
        return tuple(
            FileTable(self.file, f"{self.place}{key}[{number}].", each, opened=self.opened)
            for number, each in enumerate(value, start=1)
        )

    def optional_tables(self, key: str) -> tuple[FileTable, ...]:
        """Read a list of sub-tables that may be absent."""
        return self._optional(key, self.tables(key)) if self._relax(key, TABLES) else ()

    def _optional(self, key: str, value: _T) -> _T:
        self.asked[key] = Asked(self.asked[key].shape, required=False)
        return value

    def done(self) -> None:
        """Refuse every key that nobody asked for."""
        unknown = sorted(set(self.content) - set(self.asked))
        if unknown:
            self.refuse(unknown[0], self.content[unknown[0]], "only " + ", ".join(sorted(self.asked)))


def item_name(table: FileTable) -> str:
    """Read the key `item`: a name that formulas may use."""
    item = table.text("item")
    is_name = item.isidentifier() and item.isascii() and not keyword.iskeyword(item)
    if not is_name or item in FORMULA_WORDS:
        table.refuse("item", item, "a name of letters, digits and _, which formulas may use")
    return item
