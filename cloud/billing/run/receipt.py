"""A receipt of a payment: what was paid, what it settled, in figures and in capitals; as a page and as PDF/A-3."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from cloud.billing.capitals import capitals
from cloud.billing.payment import LATE_SUFFIX
from cloud.billing.store import payments
from cloud.billing.store.payments import PartRow
from cloud.db import Conn
from cloud.markettime import market_local
from cloud.money import yuan
from cloud.paper.render import Attachment, render
from cloud.parties import store as parties
from cloud.words import say

NUMBER_DIGITS = 9


@dataclass(frozen=True, slots=True)
class SettledLine:
    """What a payment settled: a bill month, its late fee, or paid in advance."""

    kind: str  # bill, late_fee, prepaid
    month: str
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The facts of a receipt."""

    number: str
    account_id: str
    account_name: str
    party_name: str
    channel: str
    reference: str
    order_no: str
    paid_at: datetime
    made_at: datetime
    amount_fen: int
    in_capitals: str
    lines: tuple[SettledLine, ...]


def receipt_of(conn: Conn, part: PartRow) -> Receipt:
    """Collect the facts of a part of a receipt that belongs to an account."""
    assert part.account_id is not None
    account = parties.find_account(conn, part.account_id)
    assert account is not None
    lines = []
    for code, item, amount_fen in payments.credits_of(conn, part.journal_id, part.account_id):
        if code.startswith("prepaid/"):
            lines.append(SettledLine("prepaid", "", amount_fen))
        else:
            kind = "late_fee" if item.endswith(LATE_SUFFIX) else "bill"
            lines.append(SettledLine(kind, item.split("/")[1], amount_fen))
    return Receipt(
        number=f"SJ{part.receipt_id:0{NUMBER_DIGITS}d}-{part.part_no}",
        account_id=part.account_id,
        account_name=account.name,
        party_name=account.party_name,
        channel=part.channel,
        reference=part.reference[:32],
        order_no=part.order_no or "",
        paid_at=part.received_at,
        made_at=part.made_at,
        amount_fen=part.amount_fen,
        in_capitals=capitals(part.amount_fen),
        lines=tuple(lines),
    )


def receipt_pdf(receipt: Receipt, language: str) -> bytes:
    """Print a receipt; the same receipt gives the same bytes. Raises Unprintable, NoChineseFont."""

    def word(key: str) -> str:
        return say(language, f"receipt.{key}")

    facts = [
        (word("number"), receipt.number),
        (word("payer"), receipt.party_name),
        (word("account"), f"{receipt.account_id} {receipt.account_name}"),
        (word("paid_at"), f"{market_local(receipt.paid_at):%Y-%m-%d %H:%M:%S}"),
        (word("channel"), word(f"by_{receipt.channel}")),
        (word("reference"), receipt.reference),
    ]
    data = {
        "language": language,
        "title": word("title"),
        "facts": [{"label": label, "text": text} for label, text in facts],
        "lines": [
            {"label": f"{word(line.kind)} {line.month}".strip(), "amount": _money(line.amount_fen)}
            for line in receipt.lines
        ],
        "words": {name: word(name) for name in ("item", "amount", "total", "capitals", "note")},
        "total": _money(receipt.amount_fen),
        "capitals": receipt.in_capitals,
    }
    attached = json.dumps(asdict(receipt), ensure_ascii=False, default=str, indent=1)
    name = f"receipt-{receipt.number}.json"
    return render("receipt", data, Attachment(name, attached, word("title")), receipt.made_at)


def _money(amount_fen: int) -> str:
    return f"{yuan(amount_fen):,}".replace("-", "\N{MINUS SIGN}")
