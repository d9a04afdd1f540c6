"""One bill -> paper: PDF/A-3 with its JSON attached, signed when there is a signer.

`bill_file_text` is the file attached to the paper and the file to download; `bill_pdf` and it are made of the same
bill and surroundings. A character that the font lacks is printed as 〓 and told in the remarks; it stops nothing.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from cloud.billing.document import bill_document
from cloud.billing.document.around import NOTHING, Around, bill_file_text
from cloud.billing.facts import Bill
from cloud.billing.labels import Language, word
from cloud.config import SignerConfig
from cloud.paper import glyphs
from cloud.paper.render import Attachment, render
from cloud.paper.sign import Signer, load_signer, sign


def bill_file_name(bill: Bill, suffix: str) -> str:
    """Name the file of a bill: account, month, and the revision of a correction."""
    revision = f"-r{bill.revision}" if bill.revision > 1 else ""
    return f"bill-{bill.account.account_id}-{bill.month:%Y-%m}{revision}.{suffix}"


def bill_pdf(bill: Bill, language: Language, around: Around = NOTHING, signer: Signer | None = None) -> bytes:
    """Print a bill; the same bill, surroundings and signer give the same bytes.

    Raises Unprintable, NoChineseFont, BadFont.
    """
    document = bill_document(bill, language, around)
    content, missing = glyphs.printable(document.as_json())
    remarks = [word(language, "remark_unsigned" if signer is None else "remark_signed")]
    if missing:
        remarks.append(word(language, "remark_unprintable", characters=glyphs.named(missing)))
    content["remarks"] = [*content["remarks"], *remarks]
    attachment = Attachment(bill_file_name(bill, "json"), bill_file_text(bill, around), document.title)
    pdf = render("bill", content, attachment, bill.made_at)
    if signer is None:
        return pdf
    title = f"{document.title} {bill.account.account_id} {document.month}"
    return sign(pdf, signer, around.issued_at or bill.made_at, title)


def signer_of(config: SignerConfig) -> Signer | None:
    """The signer of this process; None when no key is configured. Raises BadSigner."""
    if config.key_file is None or config.certificate_file is None:
        return None
    return _signer(config.key_file, config.certificate_file)


@lru_cache(maxsize=2)
def _signer(key_file: Path, certificate_file: Path) -> Signer:
    return load_signer(key_file, certificate_file)
