"""`shoudian-cloud verify-bill FILE`: everything that can be checked about a bill, as a tree of steps.

Offline: who signed the PDF and whether it was changed since; whether its pages show what its data says; every amount,
the energy of every day, the registers, the price files. With evidence, from our database or from a folder: the whole
chain from the lines to the signatures of the gateways. A bill is right when nothing is wrong and nothing is left open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud.billing.billjson import bill_from_text
from cloud.billing.catalogue import Catalogue
from cloud.billing.document import bill_document
from cloud.billing.document.around import Around, around_from_text, bill_file_text
from cloud.billing.facts import Bill
from cloud.billing.filetable import BadPriceFile
from cloud.billing.labels import Language, money_text
from cloud.billing.pricefile import price_file_from
from cloud.billing.proof.chain import chain
from cloud.billing.proof.computing import computing
from cloud.billing.proof.page import page_problems
from cloud.billing.proof.step import Finding, Step, first, judged, note, right, unproven, wrong
from cloud.billing.proof.witness import Witness
from cloud.billing.run.print import bill_paper, signed_as
from cloud.billing.store import published
from cloud.errors import Invalid
from cloud.paper.attached import attached_json, page_text
from cloud.paper.render import Unprintable
from cloud.paper.sign import Signature, is_paper_signed, signature_of
from cloud.words import say

FILE_BYTES_MAX = 50_000_000
MARKS = {Finding.RIGHT: "✓", Finding.WRONG: "✗", Finding.OPEN: "?", Finding.NOTE: "·"}
ALIKE = "printed_alike"


class UnreadableFile(Invalid):
    """The file is not there, may not be read, or is far too large for a bill."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The summary in one line, the steps, and whether the bill is right."""

    text: str
    is_right: bool
    steps: tuple[Step, ...]

    def tree(self, language: str) -> str:
        """Write the steps for a person."""
        return "\n".join(_lines(self.steps, language, ""))


@dataclass(frozen=True, slots=True)
class Beside:
    """What is given beside the file: trusted roots (PEM), evidence, and whether our database keeps the bill."""

    roots: tuple[bytes, ...] = ()
    witness: Witness | None = None
    kept: Step | None = None


NOTHING_BESIDE = Beside()


def read_file(path: Path) -> bytes:
    """Read a bill's file. Raises UnreadableFile."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise UnreadableFile("unreadable_file", file=path, problem=f"more than {FILE_BYTES_MAX} bytes")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFile("unreadable_file", file=path, problem=error.strerror or error) from error


def verify_file(path: Path, beside: Beside = NOTHING_BESIDE) -> Verdict:
    """Check one file. Raises UnreadableFile, NoAttachment, NotABill, BadPriceFile."""
    return verify(read_file(path), beside)


def bill_of(content: bytes) -> tuple[Bill, Around, bytes]:
    """The bill in a PDF or JSON, its surroundings, and its JSON text. Raises NoAttachment, NotABill."""
    text = attached_json(content) if content.startswith(b"%PDF") else content
    return bill_from_text(text), around_from_text(text), text


def verify(content: bytes, beside: Beside = NOTHING_BESIDE) -> Verdict:
    """Check a bill's JSON or PDF. Raises NoAttachment, NotABill, BadPriceFile."""
    bill, around, text = bill_of(content)
    steps: list[Step] = []
    if content.startswith(b"%PDF"):
        signature = signature_of(content, beside.roots)
        steps.append(_signature(signature, bool(beside.roots)))
        steps.append(_page(content, bill, around, signature, text))
    else:
        steps.append(_unsigned("json_unsigned", bool(beside.roots)))
    if beside.kept is not None:
        steps.append(beside.kept)
    catalogue, odd = _catalogue(beside.witness)
    steps += odd
    steps.append(computing(bill, catalogue))
    if beside.witness is None:
        steps.append(note("chain_not_asked"))
    else:
        steps.append(chain(bill, around, beside.witness, catalogue))
    return _verdict(bill, tuple(steps))


def _verdict(bill: Bill, steps: tuple[Step, ...]) -> Verdict:
    name = f"{bill.account.account_id} {bill.month:%Y-%m} revision {bill.revision}"
    if broken := first(steps, Finding.WRONG):
        return Verdict(f"WRONG {name}: {broken.problem}", is_right=False, steps=steps)
    if unsure := first(steps, Finding.OPEN):
        return Verdict(f"UNPROVEN {name}: {unsure.problem}", is_right=False, steps=steps)
    total = f"{len(bill.lines)} lines, {money_text(bill.total_fen)} yuan"
    how = "formulas, energy and price files agree"
    return Verdict(f"OK {name}: {total}; {how}", is_right=True, steps=steps)


# ---- signature and page ------------------------------------------------------------------------------------


def _signature(found: Signature | None, must: bool) -> Step:
    if found is None:
        return _unsigned("unsigned", must)
    facts = {
        "signer": found.signer or "?",
        "at": "—" if found.signed_at is None else found.signed_at.isoformat(),
        "sha256": found.signer_sha256[:16],
    }
    if found.problem:
        return wrong("signature", f"signature: {found.problem}", **facts)
    if not found.is_intact:
        return wrong("signature", "signature: the document was changed after it was signed", **facts)
    if not found.covers_all:
        return wrong("signature", "signature: something was added after it was signed", **facts)
    if not found.is_valid_at:
        return wrong("signature", "signature: made outside the life of its certificate", **facts)
    if found.is_trusted is None:
        return right("signature_root_unknown", **facts)
    if not found.is_trusted:
        return wrong(
            "signature", f"signature: {found.signer} is not vouched for by the trusted root", **facts
        )
    return right("signature", **facts)


def _unsigned(key: str, must: bool) -> Step:
    """No signature is a note, unless a trusted root was given: then a signature was asked for."""
    return wrong(key, "signature: there is none, though a trusted root was given") if must else note(key)


def _page(pdf: bytes, bill: Bill, around: Around, signature: Signature | None, text: bytes) -> Step:
    """The pages are what this program prints of the data, byte for byte; else their text is compared."""
    if bill_file_text(bill, around).encode() != text:
        return wrong("page", "the attached JSON says more, or says it otherwise, than a bill's JSON does")
    for language in Language:
        try:
            paper = bill_paper(bill, language, around, is_signed=signature is not None)
        except Unprintable:
            continue
        if pdf == paper or (signature and is_paper_signed(pdf, paper, *signed_as(bill, language, around))):
            return right(ALIKE)
    shown = page_text(pdf)
    problems = [page_problems(shown, bill_document(bill, language, around)) for language in Language]
    if [] not in problems:
        return judged("page", max(problems, key=lambda found: found[0].startswith("line")))
    if signature is not None and signature.is_intact and signature.covers_all and signature.is_trusted:
        return right("page_text")  # text may be covered by something else: whoever signed it answers for it
    return unproven(
        "page_text",
        "the pages hold the amounts of the data, but are not what this version prints; --trust decides",
    )


# ---- price files -------------------------------------------------------------------------------------------


def _catalogue(witness: Witness | None) -> tuple[Catalogue, list[Step]]:
    """The published files that come with the program, and those of the evidence that are not among them."""
    packaged = published.packaged_catalogue()
    if witness is None:
        return packaged, []
    known = {(each.head.id, each.head.version): each.head.sha256 for each in packaged.files}
    more, odd = [], []
    for name, text in witness.prices:
        try:
            file = price_file_from(name, text)
        except BadPriceFile as error:
            odd.append(wrong("prices_of_evidence", f"price file {name}: {error}"))
            continue
        head = file.head
        if f"{head.id}@{head.version}" != name:
            odd.append(wrong("prices_of_evidence", f"price file {name}: says it is {head.id}@{head.version}"))
        elif (head.id, head.version) not in known:
            more.append(file)
        elif known[head.id, head.version] != head.sha256:
            odd.append(wrong("prices_of_evidence", f"price file {name}: other bytes than the published file"))
    if more and not odd:
        odd.append(note("prices_of_evidence", files=", ".join(each.head.origin for each in more)))
    return Catalogue((*packaged.files, *more)), odd


# ---- words -------------------------------------------------------------------------------------------------


def _lines(steps: Sequence[Step], language: str, indent: str) -> Iterable[str]:
    for at, each in enumerate(steps):
        is_last = at == len(steps) - 1
        facts = dict(each.facts)
        branch = "└─" if is_last else "├─"
        lead = f"{indent}{branch} " if indent or len(steps) > 1 else ""
        yield f"{lead}{MARKS[each.finding]} {say(language, f'verify.{each.key}', **facts)}"
        below = indent + ("   " if is_last else "│  ")
        if each.problem:
            yield f"{below}   {each.problem}"
        yield from _lines(each.children, language, below)
