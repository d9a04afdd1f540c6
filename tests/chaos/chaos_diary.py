"""What a gateway of the fault run has read, written down beside the outbox under test; and the comparison at the end.

One JSON object a line: `{"at": instant, "rows": {meter: ticks}}` before the outbox is asked to keep them, `{"kept":
instant}` after it has said that they are on the disk. Each line is one write(2) to an unbuffered file, so it outlives
the SIGKILL of its writer; the machine itself does not go down in this run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Key = tuple[str, int]  # meter, instant in ms
Ticks = tuple[int | None, ...]


class Diary:
    """The writing end, continued by each life of the gateway."""

    def __init__(self, path: Path) -> None:
        self.last_ms = max((at_ms for _, at_ms in read(path).said), default=0)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._file, b"\n")  # the last line of a killed writer may be torn

    def say(self, at_ms: int, rows: Mapping[str, Ticks]) -> None:
        """These readings are about to be given to the outbox."""
        self._write({"at": at_ms, "rows": rows})

    def kept(self, at_ms: int) -> None:
        """The outbox has them."""
        self._write({"kept": at_ms})

    def _write(self, line: Mapping[str, object]) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Truth:
    """All that was said, and of which of it the outbox said that it had it."""

    said: Mapping[Key, Ticks]
    kept: frozenset[Key]


def read(path: Path) -> Truth:
    """Read a diary; a torn line is of a deed that was not told."""
    said: dict[Key, Ticks] = {}
    instants: set[int] = set()
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if "kept" in told:
            instants.add(told["kept"])
        else:
            said |= {(meter_id, told["at"]): tuple(ticks) for meter_id, ticks in told["rows"].items()}
    return Truth(said, frozenset(key for key in said if key[1] in instants))


@dataclass(frozen=True, slots=True)
class Difference:
    """What the database lacks, has too much or has otherwise; and a checksum of either side."""

    kept: int
    arrived: int
    lost: tuple[Key, ...]
    invented: tuple[Key, ...]
    altered: tuple[Key, ...]
    told_sha256: str
    stored_sha256: str


def compare(truth: Truth, stored: Mapping[Key, Ticks]) -> Difference:
    """Hold what is stored against the diary. What was in hand at a kill may have arrived or not; nothing else may."""
    owed = {key: truth.said[key] for key in truth.said if key in truth.kept or key in stored}
    return Difference(
        kept=len(truth.kept),
        arrived=len(stored),
        lost=tuple(sorted(truth.kept - stored.keys())),
        invented=tuple(sorted(stored.keys() - truth.said.keys())),
        altered=tuple(sorted(key for key in stored if stored[key] != truth.said.get(key, stored[key]))),
        told_sha256=_sha256(owed),
        stored_sha256=_sha256(stored),
    )


def _sha256(rows: Mapping[Key, Ticks]) -> str:
    return hashlib.sha256(json.dumps(sorted(rows.items())).encode()).hexdigest()
