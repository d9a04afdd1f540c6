"""Which characters the printing font has, and what becomes of those it lacks.

An archival PDF may not hold a character without a glyph, so the print engine refuses the whole document for one emoji
in a name. Here such characters become 〓 (the printer's mark for a missing type) before they reach it, and are told.

The font file is read for its `cmap` table only (OpenType 1.9: format 4 and 12 subtables; TTC: its first font).
"""

from __future__ import annotations

import struct
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from cloud.errors import Unavailable
from cloud.paper.fonts import PATTERN, font_folders

MISSING = "〓"
SHOWN_MAX = 20
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # no glyph, whatever the font says
_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))  # choose a form of the character before them
_FORMAT_4, _FORMAT_12 = 4, 12


class BadFont(Unavailable):
    """The font file has no table of characters that can be read."""


def printable(value: Any) -> tuple[Any, tuple[str, ...]]:
    """Replace what the font lacks in every text of a JSON-like value; name the characters, each once, in order."""
    missing: dict[str, None] = {}
    return _printable(value, missing), tuple(missing)


def named(characters: Sequence[str]) -> str:
    """Name characters by their code points: 'U+1F600, U+202E'."""
    shown = ", ".join(f"U+{ord(character):04X}" for character in characters[:SHOWN_MAX])
    return shown + (" …" if len(characters) > SHOWN_MAX else "")


def is_printable(character: str) -> bool:
    """Tell whether the font has the character."""
    if unicodedata.category(character) in _INVISIBLE:
        return False
    starts, ends = _coverage()
    at = bisect_right(starts, ord(character)) - 1
    return at >= 0 and ord(character) < ends[at]


def _printable(value: Any, missing: dict[str, None]) -> Any:
    if isinstance(value, str):
        return _text(value, missing)
    if isinstance(value, Mapping):
        return {key: _printable(each, missing) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(each, missing) for each in value]
    return value


def _text(text: str, missing: dict[str, None]) -> str:
    if text.isascii() and text.isprintable():
        return text
    characters = []
    for character in text:
        if character == "\n" or is_printable(character):
            characters.append(character)
            continue
        missing[character] = None
        if not any(ord(character) in selectors for selectors in _SELECTORS):
            characters.append(MISSING)
    return "".join(characters)


@lru_cache(maxsize=1)
def _coverage() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Starts and ends of the ranges of code points that have a glyph. Raises NoChineseFont, BadFont."""
    (folder,) = font_folders()
    path = min(folder.glob(PATTERN))
    try:
        covered = _covered(path)
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise BadFont("bad_font", file=path, problem=f"{type(error).__name__}: {error}") from error
    starts: list[int] = []
    ends: list[int] = []
    for code in sorted(covered):
        if ends and ends[-1] == code:
            ends[-1] = code + 1
        else:
            starts.append(code)
            ends.append(code + 1)
    return tuple(starts), tuple(ends)


def _covered(path: Path) -> set[int]:
    with path.open("rb") as file:
        head = file.read(16)
        at = struct.unpack(">I", head[12:16])[0] if head[:4] == b"ttcf" else 0
        file.seek(at + 4)
        (tables,) = struct.unpack(">H", file.read(2))
        file.seek(at + 12)
        directory = file.read(16 * tables)
        for index in range(tables):
            tag, _, offset, length = struct.unpack_from(">4sIII", directory, 16 * index)
            if tag == b"cmap":
                file.seek(offset)
                return _of_cmap(file.read(length))
    raise ValueError("no cmap table")


def _of_cmap(cmap: bytes) -> set[int]:
    (count,) = struct.unpack_from(">H", cmap, 2)
    covered: set[int] = set()
    for index in range(count):
        (offset,) = struct.unpack_from(">I", cmap, 4 + 8 * index + 4)
        (form,) = struct.unpack_from(">H", cmap, offset)
        if form == _FORMAT_12:
            covered |= _of_groups(cmap, offset)
        elif form == _FORMAT_4 and not covered:
            covered |= _of_segments(cmap, offset)
    if not covered:
        raise ValueError("no subtable of format 4 or 12")
    return covered


def _of_groups(cmap: bytes, offset: int) -> set[int]:
    (groups,) = struct.unpack_from(">I", cmap, offset + 12)
    covered: set[int] = set()
    for index in range(groups):
        first, last, glyph = struct.unpack_from(">III", cmap, offset + 16 + 12 * index)
        covered.update(range(first if glyph else first + 1, last + 1))
    return covered


def _of_segments(cmap: bytes, offset: int) -> set[int]:
    (twice,) = struct.unpack_from(">H", cmap, offset + 6)
    count = twice // 2
    ends = struct.unpack_from(f">{count}H", cmap, offset + 14)
    starts = struct.unpack_from(f">{count}H", cmap, offset + 16 + twice)
    return {code for start, end in zip(starts, ends, strict=True) for code in range(start, end + 1)} - {
        0xFFFF
    }
