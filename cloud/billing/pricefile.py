"""Published price files: TOML text -> typed, validated price data. Pure; the format is told in published/README.md.

A file that does not say exactly what is expected is refused whole (BadPriceFile); nothing is guessed. A new kind of
file is one function `(FileTable, Head) -> PriceFile` in KINDS, and its word in the CHECK of price_sheet.kind.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from cloud.billing import arrears, correction, packagefile, rulefile, sheetfile
from cloud.billing.filetable import BadPriceFile, FileTable
from cloud.billing.tariff import Head, PriceFile, Source

Parser: TypeAlias = Callable[[FileTable, Head], PriceFile]

MARKS = ("OFF", "SEC", "CALC", "MEM", "PROJ")


def price_file_from(name: str, text: str) -> PriceFile:
    """Read one file of any kind. Raises BadPriceFile."""
    return opened_price_file(name, text)[0]


def opened_price_file(name: str, text: str) -> tuple[PriceFile, FileTable]:
    """Read one file of any kind, and show the table it was read from with all that was asked. Raises BadPriceFile."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadPriceFile(name, "(whole file)", str(error), "TOML 1.0") from error
    return _read(FileTable(name, "", content), hashlib.sha256(text.encode()).hexdigest())


def price_file_from_content(name: str, content: Mapping[str, object]) -> PriceFile:
    """Read one file of any kind that is no text any more; it has no SHA-256. Raises BadPriceFile."""
    return _read(FileTable(name, "", content), "")[0]


def _read(table: FileTable, sha256: str) -> tuple[PriceFile, FileTable]:
    kind = table.choice("kind", KINDS)
    head = _head(table, kind, sha256)
    result = KINDS[kind](table, head)
    table.done()
    return result, table


def _head(table: FileTable, kind: str, sha256: str) -> Head:
    first, end = table.day("effective_from"), table.optional_day("effective_to")
    if end is not None and end <= first:
        table.refuse("effective_to", end, f"absent, or a day after effective_from {first}")
    return Head(
        kind=kind,
        id=table.id("id"),
        version=table.integer("version", 1, 9999),
        sha256=sha256,
        title=table.text("title"),
        grid=table.text("grid"),
        effective_from=first,
        effective_to=end,
        sources=tuple(_source(each) for each in table.tables("source")),
    )


def _source(table: FileTable) -> Source:
    mark = table.text("mark")
    if not set(mark.split("+")) <= set(MARKS):
        table.refuse("mark", mark, " | ".join(MARKS) + ", joined by +")
    source = Source(
        document=table.text("document"),
        mark=mark,
        confirmed=table.choice("status", ("confirmed", "provisional")) == "confirmed",
        covers=table.texts("covers"),
        note=table.optional_text("note"),
    )
    table.done()
    return source


KINDS: Mapping[str, Parser] = MappingProxyType(
    {
        "calendar": sheetfile.calendar,
        "price-sheet": sheetfile.price_sheet,
        "transmission": sheetfile.transmission,
        "funds": sheetfile.funds,
        "catalogue": sheetfile.catalogue,
        "power-factor": rulefile.power_factor,
        "two-part": rulefile.two_part,
        "package": packagefile.package,
        "market-prices": packagefile.market_prices,
        "collection": arrears.collection_rules,
        "correction": correction.correction_rules,
    }
)
