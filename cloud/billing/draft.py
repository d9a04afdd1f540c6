"""A price file while it is being written: what is wrong at which line, its calendar as hours to paint, what differs. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from cloud.billing import pricefile
from cloud.billing.catalogue import Buyer, Catalogue, Prices, UnpricedMonth
from cloud.billing.charges import Funds, Transmission
from cloud.billing.filetable import BadPriceFile
from cloud.billing.line import PERIODS, Period
from cloud.billing.tariff import Calendar, Head, PriceFile, PriceSheet, PrintedRow, all_in_prices
from cloud.money import EXACT

DIFF_LINES_MAX = 2000
CONTEXT_LINES = 3
DRAFT_NAME = "draft"
_HEADER = re.compile(r"^\s*\[\[?\s*([A-Za-z0-9_.-]+)\s*\]\]?\s*(#.*)?$")
_TOML_LINE = re.compile(r"at line (\d+)")
_PLACE = re.compile(r"([A-Za-z0-9_-]+)(?:\[(\d+)\])?")
_HOURS_LINE = re.compile(r"^\s*(" + "|".join(PERIODS) + r")\s*=\s*\[(.*)\]\s*(#.*)?$")


@dataclass(frozen=True, slots=True)
class Problem:
    """What the reader refuses: the line where it stands (0: no line, something is missing), key, found, allowed."""

    line_no: int
    key: str
    found: str
    allowed: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A draft's text as read: a price file, or what is wrong with it."""

    file: PriceFile | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a difference: '+' new, '-' gone, ' ' equal, '@' where the next lines stand."""

    sign: str
    text: str


@dataclass(frozen=True, slots=True)
class Season:
    """A season of a calendar as painted: its own words, and the hours of each period in the order of PERIODS."""

    title: str
    hours: tuple[tuple[str, ...], ...]


def checked(text: str) -> Checked:
    """Read a draft as strictly as a published file."""
    try:
        return Checked(pricefile.price_file_from(DRAFT_NAME, text), ())
    except BadPriceFile as bad:
        key, found, allowed = (str(bad.facts[name]) for name in ("key", "found", "allowed"))
    told = _TOML_LINE.search(found)
    line = int(told[1]) if told else line_of(text, key)
    return Checked(None, (Problem(line, key, found, allowed),))


def line_of(text: str, key: str) -> int:
    """Find the line of a key as messages name it ('component[3].price_yuan_per_kwh'); 0 when it is not there.

    A key that its table lacks is shown at the table's header.
    """
    lines = text.splitlines()
    *tables, name = [(match[1], int(match[2] or 0)) for match in _PLACE.finditer(key)] or [("", 0)]
    place, start = _table_start(lines, tables)
    if place is None:
        return 0
    if name[1]:
        _, found = _table_start(lines, [*tables, name])
        return found
    for number in range(start, len(lines)):
        if number > start - 1 and _HEADER.match(lines[number]):
            break
        if re.match(rf"^\s*{re.escape(name[0])}\s*[=.]", lines[number]):
            return number + 1
    return start


def differences(before: str, after: str) -> tuple[DiffLine, ...]:
    """Compare two texts line by line."""
    told = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=CONTEXT_LINES)
    body = [line for line in told if not line.startswith(("---", "+++"))]
    return tuple(DiffLine(line[:1] or " ", line[1:]) for line in body[:DIFF_LINES_MAX])


def replaced_by(file: PriceFile, known: Catalogue) -> tuple[PriceFile, ...]:
    """List the files whose place a draft would take: same kind, same grid, for the same customers."""
    return tuple(each for each in known.files if _scope(each) == _scope(file))


def misplaced(file: PriceFile, known: Catalogue) -> tuple[str, PriceFile] | None:
    """Find a published file that leaves a draft no place, and the draft's key that says so.

    Either its id is that of other prices, or files of two ids would hold for the same customers on one day: then
    nobody could tell which, and no bill of that day could be drawn.
    """
    head, scope = file.head, _scope(file)
    named = [("id", each) for each in known.files if each.head.id == head.id and _scope(each) != scope]
    beside = [
        ("effective_from", each)
        for each in replaced_by(file, known)
        if each.head.id != head.id and _overlap(head, each.head)
    ]
    return next(iter((*named, *beside)), None)


def in_force_before(file: PriceFile, known: Catalogue, day: date) -> PriceFile | None:
    """Find the file a draft would follow: in force on the day, else the last that was; newest version first."""
    places = [each for each in replaced_by(file, known) if each.head.effective_from <= day]
    order = sorted(
        places, key=lambda each: (each.head.in_force(day), each.head.effective_from, each.head.version)
    )
    return order[-1] if order else None


def as_if_in_force(file: PriceFile, known: Catalogue) -> Catalogue:
    """Give the catalogue in which the draft had always been in force in the place of those it replaces.

    So a draft of next year's prices is rated over last year's intervals. All-in prices that sheets in force print
    move by what the draft moves the sum of their components by: they were printed for the file it replaces.
    """
    gone = set(map(id, replaced_by(file, known)))
    # A price file is a frozen dataclass with a head; only the dates of the copy differ.
    always: Head = replace(file.head, effective_from=date(1, 1, 1), effective_to=None)
    standing = replace(file, head=always)  # type: ignore[type-var]  # every price file is a dataclass
    moved = Catalogue((*(each for each in known.files if id(each) not in gone), standing))
    if not isinstance(file, Calendar | Transmission | Funds):
        return moved
    return Catalogue(
        tuple(
            _reprinted(each, known, moved)
            if isinstance(each, PriceSheet) and each.head.grid == file.head.grid
            else each
            for each in moved.files
        )
    )


def _reprinted(sheet: PriceSheet, known: Catalogue, moved: Catalogue) -> PriceSheet:
    buyer = Buyer(sheet.head.grid, sheet.purchase, sheet.category)
    try:
        before, after = (each.prices_on(sheet.head.effective_from, buyer) for each in (known, moved))
        rows = tuple(_moved_row(sheet, row, before, after) for row in sheet.printed)
    except UnpricedMonth:
        return sheet
    return replace(sheet, printed=rows)


def _moved_row(sheet: PriceSheet, printed: PrintedRow, before: Prices, after: Prices) -> PrintedRow:
    was, now = (_rebuilt(sheet, printed, each) for each in (before, after))
    return replace(
        printed,
        prices_yuan_per_kwh=tuple(
            None if given is None else EXACT.add(given, EXACT.subtract(new, old))
            for given, new, old in zip(printed.prices_yuan_per_kwh, now, was, strict=True)
        ),
    )


def _rebuilt(sheet: PriceSheet, printed: PrintedRow, prices: Prices) -> tuple[Decimal, ...]:
    row = prices.transmission.row(printed.structure, printed.voltage)
    if row is None:
        return (Decimal(0),) * len(PERIODS)
    funds = prices.funds.paid_at(printed.structure, printed.voltage)
    return all_in_prices(sheet, prices.calendar, (row.energy_yuan_per_kwh, funds.total_yuan_per_kwh))


def seasons_of(text: str) -> tuple[Season, ...]:
    """List the seasons of a calendar's text with their hours as written, valid or not."""
    found = []
    for start, end in _blocks(text.splitlines(), "season"):
        block = text.splitlines()[start + 1 : end]
        hours = {match[1]: match[2] for match in map(_HOURS_LINE.match, block) if match}
        words = [line.strip() for line in block if line.strip() and not _HOURS_LINE.match(line)]
        title = " · ".join(word for word in words if not word.startswith("#"))
        found.append(
            Season(title, tuple(tuple(re.findall(r'"([^"]*)"', hours.get(each, ""))) for each in PERIODS))
        )
    return tuple(found)


def painted(text: str, seasons: Sequence[Mapping[Period, Sequence[str]]]) -> str:
    """Write the hours of each season into a calendar's text; everything else of it stays as it is.

    Raises ValueError unless there are as many seasons as the text has.
    """
    lines = text.splitlines()
    blocks = _blocks(lines, "season")
    if len(blocks) != len(seasons):
        raise ValueError(f"{len(seasons)} seasons painted, the text has {len(blocks)}")
    for (start, end), hours in reversed(list(zip(blocks, seasons, strict=True))):
        kept = [line for line in lines[start + 1 : end] if not _HOURS_LINE.match(line)]
        while kept and not kept[-1].strip():
            kept.pop()
        new = [
            f"{period} = [{', '.join(_quoted(each) for each in hours.get(period, ()))}]"
            for period in PERIODS
            if hours.get(period)
        ]
        lines[start + 1 : end] = [*kept, *new, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _quoted(hours: str) -> str:
    return '"' + re.sub(r"[^0-9:\-]", "", hours) + '"'


def _overlap(one: Head, other: Head) -> bool:
    end, other_end = one.effective_to or date.max, other.effective_to or date.max
    return one.effective_from < other_end and other.effective_from < end


def _scope(file: PriceFile) -> tuple[object, ...]:
    own = ("purchase", "category", "structure", "option")
    parts = tuple(getattr(file, name, None) for name in own)
    name = file.head.id if file.head.kind == "package" else ""
    return (file.head.kind, file.head.grid, name, *parts)


def _blocks(lines: Sequence[str], name: str) -> list[tuple[int, int]]:
    """Find each table of a list: its header's place and the place of the next header."""
    headers = [(number, match[1]) for number, line in enumerate(lines) if (match := _HEADER.match(line))]
    ends = [number for number, _ in headers[1:]] + [len(lines)]
    return [(number, end) for (number, word), end in zip(headers, ends, strict=True) if word == name]


def _table_start(lines: Sequence[str], tables: Sequence[tuple[str, int]]) -> tuple[str | None, int]:
    """Find the header of a nested table: its dotted name and line number; (None, 0) when it is not there."""
    dotted, at = "", 0
    for name, number in tables:
        dotted = f"{dotted}.{name}" if dotted else name
        seen = 0
        for place in range(at, len(lines)):
            match = _HEADER.match(lines[place])
            if match and match[1] == dotted:
                seen += 1
                if seen == max(number, 1):
                    at = place + 1
                    break
        else:
            return None, 0
    return dotted, at
