"""Double entry in whole fen: journals that balance, their reversal, and what a bill books. Pure.

account codes   receivable/{account_id} prepaid/{account_id} cash/{wechat,alipay,bank} suspense/payments
                revenue/{section} payable/government_funds income/late_fee expense/{provider_fee,bad_debt}
                receivable/party/{party_id} payable/party/{party_id} settlement/{item} compensation
sign            + debit (what we have or are owed, costs), - credit (what we owe, income)
item            what meets what on a receivable account: '{account_id}/{YYYY-MM}', one bill month with all its
                revisions, payments and late fees
dates           event_date: what it is about; effective_date: the period it counts in; booked_at: when we knew

Nothing is ever changed: a reversal is a journal of its own, effective in an open period that somebody chose.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from cloud.billing.line import Section
from cloud.errors import Invalid
from cloud.markettime import days_of_month, month_after

POSTINGS_MAX = 1000
FUNDS = "payable/government_funds"
_ACCOUNT = re.compile(
    r"(receivable|prepaid|cash|suspense|revenue|payable|income|expense|settlement)/[A-Za-z0-9_./-]{1,80}|compensation"
)


class Unbalanced(Invalid):
    """Debits and credits of a journal differ, or it moves nothing."""


class NoLedgerAccount(Invalid):
    """There is no account of that form in the chart above."""


class ReversesReversal(Invalid):
    """A reversal is not reversed: what it undid is posted anew."""


@dataclass(frozen=True, slots=True)
class Posting:
    """One side of a journal: + debit, - credit. Raises NoLedgerAccount, Unbalanced (zero)."""

    account: str
    amount_fen: int
    item: str = ""

    def __post_init__(self) -> None:
        if not _ACCOUNT.fullmatch(self.account):
            raise NoLedgerAccount("no_ledger_account", account=self.account)
        if self.amount_fen == 0:
            raise Unbalanced("unbalanced", key=self.account, balance_fen=0)


@dataclass(frozen=True, slots=True)
class Journal:
    """Postings that belong together and add up to zero. The same `idem_key` is the same event, booked once.

    `facts` say what it is about: ("bill", "17"), ("payment", "9"). Raises Unbalanced.
    """

    idem_key: str
    deed: str
    event_date: date
    effective_date: date
    postings: tuple[Posting, ...]
    facts: tuple[tuple[str, str], ...] = ()
    reverses: int | None = None

    def __post_init__(self) -> None:
        balance_fen = sum(each.amount_fen for each in self.postings)
        if balance_fen != 0 or not 2 <= len(self.postings) <= POSTINGS_MAX:
            raise Unbalanced("unbalanced", key=self.idem_key, balance_fen=balance_fen)


def content_sha256(journal: Journal) -> bytes:
    """Hash what a journal says: the same key must always bring the same content."""
    content = [
        journal.deed,
        journal.event_date.isoformat(),
        journal.effective_date.isoformat(),
        [[each.account, each.amount_fen, each.item] for each in journal.postings],
        sorted(journal.facts),
        journal.reverses,
    ]
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def reversal(journal_id: int, journal: Journal, effective_date: date) -> Journal:
    """Undo a booked journal in the period that `effective_date` chooses. Raises ReversesReversal."""
    if journal.reverses is not None:
        raise ReversesReversal("reverses_reversal", journal=journal_id)
    return Journal(
        idem_key=f"reversal:{journal_id}",
        deed=f"reverse_{journal.deed}",
        event_date=journal.event_date,
        effective_date=effective_date,
        postings=tuple(Posting(each.account, -each.amount_fen, each.item) for each in journal.postings),
        facts=journal.facts,
        reverses=journal_id,
    )


def receivable(account_id: str) -> str:
    """Name the account of what a customer owes."""
    return f"receivable/{account_id}"


def prepaid(account_id: str) -> str:
    """Name the account of what a customer has paid in advance."""
    return f"prepaid/{account_id}"


def item_of(account_id: str, month: date) -> str:
    """Name what the bills of a month and their payments have in common."""
    return f"{account_id}/{month:%Y-%m}"


def bill_postings(
    account_id: str, month: date, sections: Iterable[tuple[Section, int]]
) -> tuple[Posting, ...]:
    """Book a bill by what its sections amount to in fen: the customer owes the total, the funds are passed on.

    Empty for a bill whose sections are all zero: there is nothing to book.
    """
    by_account: dict[str, int] = defaultdict(int)
    for section, fen in sections:
        by_account[FUNDS if section is Section.FUNDS else f"revenue/{section}"] -= fen
    total_fen = -sum(by_account.values())
    owed = (Posting(receivable(account_id), total_fen, item_of(account_id, month)),) if total_fen else ()
    return owed + tuple(Posting(account, fen) for account, fen in sorted(by_account.items()) if fen)


def open_day(day: date, locked_through: date | None) -> date:
    """The first day from `day` on whose month is still open: in which a journal about `day` may count."""
    return day if locked_through is None else max(day, month_after(locked_through))


def bill_event_date(month: date) -> date:
    """The day that a month's bill is about: the last of the month."""
    return days_of_month(month)[-1]
