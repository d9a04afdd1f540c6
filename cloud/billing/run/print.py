"""One bill -> paper: PDF/A-3 with its JSON attached."""

from __future__ import annotations

from cloud.billing.billjson import bill_text
from cloud.billing.document import bill_document
from cloud.billing.facts import Bill
from cloud.billing.labels import Language
from cloud.paper.render import Attachment, render


def bill_file_name(bill: Bill, suffix: str) -> str:
    """Name the file of a bill: account, month, and the revision of a correction."""
    revision = f"-r{bill.revision}" if bill.revision > 1 else ""
    return f"bill-{bill.account.account_id}-{bill.month:%Y-%m}{revision}.{suffix}"


def bill_pdf(bill: Bill, language: Language) -> bytes:
    """Print a bill; the same bill gives the same bytes. Raises Unprintable, NoChineseFont."""
    document = bill_document(bill, language)
    attachment = Attachment(bill_file_name(bill, "json"), bill_text(bill), document.title)
    return render("bill", document.as_json(), attachment, bill.made_at)
