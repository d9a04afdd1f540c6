"""One bill -> paper: PDF/A-3 with its JSON attached, signed when there is a signer.

`bill_file_text` is the file attached to the paper and the file to download; `bill_pdf` and it are made of the same
bill and surroundings. A character that the font lacks is printed as 〓 and told in the remarks; it stops nothing.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path

from cloud.billing.billjson import bill_from_text
from cloud.billing.document import bill_document
from cloud.billing.document.around import NOTHING, Around, around_from_text, bill_file_text
from cloud.billing.facts import Bill
from cloud.billing.labels import Language, word
from cloud.config import SignerConfig
from cloud.paper import glyphs
from cloud.paper.render import Attachment, render
from cloud.paper.sign import Signer, load_signer, sign

PROBLEM_LENGTH_MAX = 500
AHEAD = 4  # bills handed to each printing process before it has printed those before


@dataclass(frozen=True, slots=True)
class Job:
    """One bill to print into a file, as its JSON text: what a printing process needs to know."""

    name: str  # for people: account and month
    text: str
    path: Path
    language: Language
    signer: SignerConfig


@dataclass(frozen=True, slots=True)
class Printed:
    """What came of a job; an empty problem is a printed file."""

    name: str
    path: Path
    problem: str


def bill_file_name(bill: Bill, suffix: str) -> str:
    """Name the file of a bill: account, month, and the revision of a correction."""
    revision = f"-r{bill.revision}" if bill.revision > 1 else ""
    return f"bill-{bill.account.account_id}-{bill.month:%Y-%m}{revision}.{suffix}"


def bill_pdf(bill: Bill, language: Language, around: Around = NOTHING, signer: Signer | None = None) -> bytes:
    """Print a bill; the same bill, surroundings and signer give the same bytes.

    Raises Unprintable, NoChineseFont, BadFont.
    """
    pdf = bill_paper(bill, language, around, is_signed=signer is not None)
    if signer is None:
        return pdf
    return sign(pdf, signer, *signed_as(bill, language, around))


def signed_as(bill: Bill, language: Language, around: Around) -> tuple[datetime, str]:
    """As of when a bill is signed, and under which title."""
    title = f"{word(language, 'title')} {bill.account.account_id} {bill.month:%Y-%m}"
    return (around.issued_at or bill.made_at).astimezone(UTC), title


def bill_paper(bill: Bill, language: Language, around: Around, *, is_signed: bool) -> bytes:
    """Print a bill without signing it: what a signature is put upon. Raises like `bill_pdf`."""
    document = bill_document(bill, language, around)
    content, missing = glyphs.printable(document.as_json())
    remarks = [word(language, "remark_signed" if is_signed else "remark_unsigned")]
    if missing:
        remarks.append(word(language, "remark_unprintable", characters=glyphs.named(missing)))
    content["remarks"] = [*content["remarks"], *remarks]
    attachment = Attachment(bill_file_name(bill, "json"), bill_file_text(bill, around), document.title)
    return render("bill", content, attachment, bill.made_at)


def signer_of(config: SignerConfig) -> Signer | None:
    """The signer of this process; None when no key is configured. Raises BadSigner."""
    if config.key_file is None or config.certificate_file is None:
        return None
    return _signer(config.key_file, config.certificate_file)


@lru_cache(maxsize=2)
def _signer(key_file: Path, certificate_file: Path) -> Signer:
    return load_signer(key_file, certificate_file)


def print_all(jobs: Iterable[Job], processes: int) -> Iterator[Printed]:
    """Print many bills side by side; every job has its answer, in order, whatever happens to another.

    A file appears whole or not at all, so a run that was killed is simply run again.
    """
    waiting: deque[tuple[Job, Future[str]]] = deque()
    pending = iter(jobs)
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        while True:
            room = processes * AHEAD - len(waiting)
            waiting.extend((job, pool.submit(_problem_of, job)) for job in islice(pending, room))
            if not waiting:
                return
            job, future = waiting.popleft()
            died = future.exception()
            problem = future.result() if died is None else f"{type(died).__name__}: {died}"
            yield Printed(job.name, job.path, problem[:PROBLEM_LENGTH_MAX])


def _problem_of(job: Job) -> str:
    """Print a job in a printing process; a problem goes back as words, since not every exception can travel."""
    try:
        print_one(job)
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    return ""


def print_one(job: Job) -> None:
    """Print one job's file. Raises what `bill_pdf` raises, NotABill, BadSigner, OSError."""
    bill, around = bill_from_text(job.text), around_from_text(job.text)
    pdf = bill_pdf(bill, job.language, around, signer_of(job.signer))
    half = job.path.with_name(f".{job.path.name}.{os.getpid()}")
    half.write_bytes(pdf)
    half.replace(job.path)
