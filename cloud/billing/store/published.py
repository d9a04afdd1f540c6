"""The price files that come with the program, and the ones this database has taken. SQL and package files.

A file is identified by (id, version); its text never changes after it was taken: the same id and version with
other bytes is refused, a correction is the next version.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from importlib import resources

from cloud.billing.catalogue import AmbiguousPrices, Catalogue, UnpricedMonth
from cloud.billing.filetable import BadPriceFile
from cloud.billing.pricefile import price_file_from
from cloud.billing.tariff import Finding, Head, PriceFile, PriceSheet
from cloud.db import Conn
from cloud.errors import Conflict
from cloud.markettime import slot_start

SCHEMA_NAME = "price-file.schema.json"


class PublishedFileChanged(Conflict):
    """A price file of an id and version that the database has already taken now has other bytes."""


@dataclass(frozen=True, slots=True)
class PublishedText:
    """A price file as it was read: its name for messages, and its text."""

    name: str
    text: str


def packaged_texts() -> tuple[PublishedText, ...]:
    """Read the price files that come with the program, in order of their names."""
    folder = resources.files("cloud.billing") / "published"
    found = (*folder.iterdir(), *(folder / "packages").iterdir())
    files = sorted((each for each in found if each.name.endswith(".toml")), key=lambda each: each.name)
    return tuple(PublishedText(each.name, each.read_text("utf-8")) for each in files)


def packaged_schema() -> str:
    """Read the JSON Schema of price files, for editors."""
    return (resources.files("cloud.billing") / "published" / SCHEMA_NAME).read_text("utf-8")


def packaged_catalogue() -> Catalogue:
    """Read the price files that come with the program. Raises BadPriceFile."""
    return Catalogue(tuple(_parsed(each.name, each.text) for each in packaged_texts()))


@dataclass(frozen=True, slots=True)
class Checked:
    """A price file that can be used, what in it does not add up, and why that could not be looked at."""

    file: PriceFile
    findings: tuple[Finding, ...]
    incomplete: str


def checked_file(name: str, content: bytes) -> Checked:
    """Read a price file that is not published yet, beside those that come with the program. Raises BadPriceFile."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadPriceFile(name, "(whole file)", f"byte {error.start + 1} is no UTF-8", "UTF-8") from error
    file = price_file_from(name, text)
    others = tuple(each for each in packaged_catalogue().files if each.head.id != file.head.id)
    try:
        findings = Catalogue((*others, file)).sheet_findings(file) if isinstance(file, PriceSheet) else ()
    except (UnpricedMonth, AmbiguousPrices) as problem:
        return Checked(file, (), str(problem))
    return Checked(file, findings, "")


def keep(conn: Conn, texts: Iterable[PublishedText], now: datetime) -> int:
    """Take price files that the database does not have yet; count them.

    Raises BadPriceFile, and PublishedFileChanged when a file that was taken has other bytes now.
    """
    taken = {
        (sheet_id, version): sha256
        for sheet_id, version, sha256 in conn.execute(
            "SELECT sheet_id, version, encode(sha256, 'hex') FROM price_sheet"
        )
    }
    count = 0
    for each in texts:
        head = _parsed(each.name, each.text).head
        known = taken.get((head.id, head.version))
        if known is None:
            count += _keep_one(conn, head, each.text, now)
        elif known != head.sha256:
            raise PublishedFileChanged(
                "published_file_changed",
                file=each.name,
                id=head.id,
                version=head.version,
                allowed="a higher version",
            )
    return count


def catalogue(conn: Conn) -> Catalogue:
    """Load every price file that the database has taken."""
    rows = conn.execute(
        "SELECT sheet_id, version, body FROM price_sheet ORDER BY sheet_id, version"
    ).fetchall()
    return Catalogue(tuple(_parsed(f"{sheet_id}@{version}", body) for sheet_id, version, body in rows))


def text_of(conn: Conn, sheet_id: str, version: int) -> str | None:
    """Read a taken file as it was published; None when there is no such version."""
    row = conn.execute(
        "SELECT body FROM price_sheet WHERE sheet_id = %s AND version = %s", (sheet_id, version)
    ).fetchone()
    return None if row is None else str(row[0])


def _keep_one(conn: Conn, head: Head, text: str, now: datetime) -> int:
    return conn.execute(
        """INSERT INTO price_sheet (sheet_id, version, kind, grid, sha256, effective, document, body, loaded_at)
           VALUES (%s, %s, %s, %s, %s, tstzrange(%s, %s, '[)'), %s, %s, %s)
           ON CONFLICT (sheet_id, version) DO NOTHING""",
        (
            *(head.id, head.version, head.kind, head.grid, bytes.fromhex(head.sha256)),
            *(slot_start(head.effective_from, 0), _end(head.effective_to)),
            *(head.sources[0].document, text, now),
        ),
    ).rowcount


def _end(day: date | None) -> datetime | None:
    return None if day is None else slot_start(day, 0)


@lru_cache(maxsize=256)
def _parsed(name: str, text: str) -> PriceFile:
    return price_file_from(name, text)
