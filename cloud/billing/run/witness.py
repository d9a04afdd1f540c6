"""Evidence of a bill as a folder that anybody can check without our database: written here, and read back."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cloud.billing.document.around import NOTHING, Around, bill_file_text
from cloud.billing.facts import Bill
from cloud.billing.proof.step import Step, right, wrong
from cloud.billing.proof.witness import BadEvidence, Witness, witness_from, witness_text
from cloud.billing.store import bills, display
from cloud.billing.store import evidence as store
from cloud.db import Conn
from cloud.errors import Conflict, NotFound
from cloud.markettime import slot_start
from cloud.money import yuan

BILL_FILE, EVIDENCE_FILE, BATCHES, PRICES = "bill.json", "evidence.json", "batches", "prices"
DRAFT = "draft"
EVIDENCE_BYTES_MAX = 200_000_000
BATCH_BYTES_MAX = 96 * 1024


class FolderNotEmpty(Conflict):
    """Evidence is written into a folder of its own."""


class NoBill(NotFound):
    """There is no such bill."""


def load(conn: Conn, bill_id: int) -> tuple[Bill, Around, Witness]:
    """Load a bill with all that it rests on. Raises NoBill."""
    row = display.find_bill(conn, bill_id, with_drafts=True)
    if row is None:
        raise NoBill("no_such_bill", bill_id=bill_id, state="—")
    bill = bills.load(conn, bill_id)
    return bill, display.around(conn, row, bill), store.load(conn, bill, span(bill))


def load_for(conn: Conn, bill: Bill) -> Witness:
    """Load what a bill from a file rests on, by its account, days and meters."""
    return store.load(conn, bill, span(bill))


def kept(conn: Conn, bill: Bill, around: Around) -> Step:
    """Compare a bill from a file with the one that the database keeps: account, terms, prices, amounts, what is around.

    A file can be right in itself and still be of other terms or of another position in the ladder than was billed.
    """
    named = {"account": bill.account.account_id, "month": f"{bill.month:%Y-%m}", "revision": bill.revision}
    bill_id = bills.number_of(conn, bill.account.account_id, bill.month, bill.revision)
    row = None if bill_id is None else display.find_bill(conn, bill_id, with_drafts=True)
    if bill_id is None or row is None:
        return wrong("kept", "the database keeps no such bill", **named)
    known = bills.load(conn, bill_id)
    if known != bill:
        told = f"the database keeps another bill of this revision, of {yuan(known.total_fen)} yuan"
        return wrong("kept", told, **named)
    if known.state == DRAFT and bill.state != DRAFT:
        return wrong("kept", "the bill was never issued", **named)
    if bill.state != DRAFT and around not in (NOTHING, display.around(conn, row, known)):
        return wrong("kept", "earlier months, arrears, dates or keys are not those of the database", **named)
    return right("kept", **named)


def span(bill: Bill) -> tuple[datetime, datetime]:
    """The instants `[start, end)` of a bill's days."""
    if not bill.segments:
        return slot_start(bill.month, 0), slot_start(bill.month, 0)
    first, end = bill.segments[0].segment.first_day, bill.segments[-1].segment.end_day
    return slot_start(first, 0), slot_start(end, 0)


def write(folder: Path, bill: Bill, around: Around, witness: Witness) -> int:
    """Write the folder; return how many files. Raises FolderNotEmpty, OSError."""
    if folder.exists() and any(folder.iterdir()):
        raise FolderNotEmpty("folder_not_empty", folder=folder)
    for place in (folder, folder / BATCHES, folder / PRICES):
        place.mkdir(parents=True, exist_ok=True)
    (folder / BILL_FILE).write_text(bill_file_text(bill, around), "utf-8")
    (folder / EVIDENCE_FILE).write_text(witness_text(witness), "utf-8")
    for batch in witness.batches:
        (folder / BATCHES / f"{batch.batch_id}.cose").write_bytes(batch.body)
    for name, text in witness.prices:
        (folder / PRICES / f"{name}.toml").write_bytes(text.encode())
    return 2 + len(witness.batches) + len(witness.prices)


def read(folder: Path) -> Witness:
    """Read a folder of evidence. Raises BadEvidence."""
    try:
        text = _bytes(folder / EVIDENCE_FILE, EVIDENCE_BYTES_MAX)
        bodies = {
            int(path.stem): _bytes(path, BATCH_BYTES_MAX)
            for path in sorted((folder / BATCHES).glob("*.cose"))
        }
        prices = {
            path.name.removesuffix(".toml"): path.read_bytes().decode()
            for path in sorted((folder / PRICES).glob("*.toml"))
        }
    except (OSError, ValueError) as error:
        raise BadEvidence("bad_evidence", folder=folder, problem=str(error)) from error
    return witness_from(text, bodies, prices)


def _bytes(path: Path, bytes_max: int) -> bytes:
    if path.stat().st_size > bytes_max:
        raise ValueError(f"{path.name} has more than {bytes_max} bytes")
    return path.read_bytes()
