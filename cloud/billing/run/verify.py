"""`shoudian-cloud verify-bill FILE`: recompute a bill from its JSON or PDF, offline, and tell OK or what is wrong.

A bill that names a price file not known here is not OK: its prices could be anything.

Checked are every line's formula, the energy by day and period, and the rating with the published price files that
the bill names by SHA-256.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cloud.billing.billjson import bill_from_text
from cloud.billing.labels import money_text
from cloud.billing.recompute import check
from cloud.billing.store import published
from cloud.errors import Invalid
from cloud.paper.attached import attached_json

FILE_BYTES_MAX = 50_000_000


class UnreadableFile(Invalid):
    """The file is not there, may not be read, or is far too large for a bill."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to print, and whether the bill is right."""

    text: str
    is_right: bool


def verify_file(path: Path) -> Verdict:
    """Check one file. Raises UnreadableFile, NoAttachment, NotABill."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise UnreadableFile("unreadable_file", file=path, problem=f"more than {FILE_BYTES_MAX} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableFile("unreadable_file", file=path, problem=error.strerror or error) from error
    return verify(content)


def verify(content: bytes) -> Verdict:
    """Check a bill's JSON or PDF. Raises NoAttachment, NotABill."""
    bill = bill_from_text(attached_json(content) if content.startswith(b"%PDF") else content)
    found = check(bill, published.packaged_catalogue())
    name = f"{bill.account.account_id} {bill.month:%Y-%m} revision {bill.revision}"
    if found.problems:
        return Verdict(f"WRONG {name}: {found.problems[0]}", is_right=False)
    if found.unknown_files:
        unknown = ", ".join(found.unknown_files)
        return Verdict(f"UNPROVEN {name}: price files not known here: {unknown}", is_right=False)
    how = "formulas, energy and price files agree"
    total = f"{len(bill.lines)} lines, {money_text(bill.total_fen)} yuan"
    return Verdict(f"OK {name}: {total}; {how}", is_right=True)
