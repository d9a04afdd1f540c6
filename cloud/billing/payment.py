"""Payment orders and what a payment settles: lives, verdicts, allocation to open bills, journals. Pure.

Money that arrived is booked once: the key of its journal is its channel and reference. It settles the chosen bill
first, then the oldest month; within a month the bill before its late fee; what is left is prepaid. What cannot be
told whose it is lies in suspense until a person says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple

from cloud.billing.ledger import Journal, Posting, prepaid, receivable
from cloud.errors import Conflict, Invalid, NotNow
from cloud.lives import Life
from cloud.markettime import day_of, month_after, month_of

SUSPENSE = "suspense/payments"
AMOUNT_FEN_MAX = 100_000_000  # one order; larger sums go by bank transfer
_YUAN = re.compile(r"(\d{1,9})(?:\.(\d{1,2}))?", re.ASCII)
LATE_SUFFIX = "/late"  # of the item of a month's late fee, so that fees never bear fees


class Provider(StrEnum):
    """Who moves money for us and calls back."""

    WECHAT = "wechat"
    ALIPAY = "alipay"


class Purpose(StrEnum):
    """What a customer wants to pay."""

    BALANCE = "balance"
    BILL = "bill"
    TOP_UP = "top_up"


class FoundBy(StrEnum):
    """How we learned of money that arrived."""

    CALLBACK = "callback"
    QUERY = "query"
    STATEMENT = "statement"
    BANK_FILE = "bank_file"


class Verdict(StrEnum):
    """What a genuine report of a payment means for us."""

    ACCEPTED = "accepted"
    REPEAT = "repeat"
    MISMATCH = "mismatch"
    UNKNOWN_ORDER = "unknown_order"


# The money came, however late: a paid report beats a closed or failed order. `suspend`: money that does not fit.
PAYMENT = Life(
    "payment",
    {
        (None, "open"): "created",
        ("created", "offer"): "pending",
        ("created", "refuse"): "failed",
        ("created", "pay"): "paid",
        ("pending", "pay"): "paid",
        ("closed", "pay"): "paid",
        ("failed", "pay"): "paid",
        ("created", "close"): "closed",
        ("pending", "close"): "closed",
        ("created", "suspend"): "suspended",
        ("pending", "suspend"): "suspended",
        ("closed", "suspend"): "suspended",
        ("failed", "suspend"): "suspended",
    },
)

# Whatever needs a second person. A refund is sent by the worker after the approval is committed.
REQUEST = Life(
    "request",
    {
        (None, "ask"): "asked",
        ("asked", "decline"): "declined",
        ("asked", "approve"): "approved",
        ("approved", "settle"): "done",
        ("approved", "send"): "sent",
        ("sent", "settle"): "done",
        ("approved", "fail"): "failed",
        ("sent", "fail"): "failed",
    },
)


class BadAmount(Invalid):
    """An amount to pay, split or give back is not possible."""


class OwnRequest(Conflict):
    """Nobody approves what they asked for themselves."""


class NothingThere(NotNow):
    """There is not that much left to be matched, waived or given back."""


@dataclass(frozen=True, slots=True)
class Order:
    """A payment order as it stands."""

    order_no: str
    account_id: str
    provider: Provider
    purpose: Purpose
    month: date | None
    amount_fen: int
    is_phone: bool
    state: str
    pay_url: str
    problem: str
    transaction_id: str | None
    created_at: datetime
    expires_at: datetime
    asked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Notified:
    """A genuine report that money was paid: by callback, by our asking, or in the provider's statement."""

    provider: Provider
    transaction_id: str
    order_no: str
    amount_fen: int
    paid_at: datetime
    payer: str
    found_by: FoundBy


class Open(NamedTuple):
    """What is open of one item of a customer's receivable account."""

    item: str
    month: date
    open_fen: int


class Cash(NamedTuple):
    """Money that arrived: by which channel, under which reference, about which day."""

    channel: str
    reference: str
    amount_fen: int
    event_date: date


class Part(NamedTuple):
    """How much of a sum goes to an item."""

    item: str
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """Where a sum goes: to open items, the rest in advance."""

    parts: tuple[Part, ...]
    prepaid_fen: int


def verdict(order: Order | None, notified: Notified) -> Verdict:
    """Judge a genuine report against our order: pay once, never twice, never another amount."""
    if order is None or order.provider is not notified.provider:
        return Verdict.UNKNOWN_ORDER
    if order.transaction_id is not None:
        is_same = order.transaction_id == notified.transaction_id
        return Verdict.REPEAT if is_same and order.state == "paid" else Verdict.MISMATCH
    return Verdict.ACCEPTED if order.amount_fen == notified.amount_fen else Verdict.MISMATCH


def check_amount(amount_fen: int) -> None:
    """Raise BadAmount for an amount that no order can have."""
    if not 1 <= amount_fen <= AMOUNT_FEN_MAX:
        raise BadAmount("bad_amount", lowest_fen=1, highest_fen=AMOUNT_FEN_MAX)


def fen_from(text: str) -> int:
    """Read an amount in yuan as a person types it. Raises BadAmount."""
    found = _YUAN.fullmatch(text.replace(",", "").replace("，", "").strip())
    if found is None:
        raise BadAmount("bad_yuan", found=text[:20])
    return int(found[1]) * 100 + int((found[2] or "0").ljust(2, "0"))


def allocate(amount_fen: int, opened: Iterable[Open], first_month: date | None = None) -> Allocation:
    """Spread a positive sum over open items: the chosen month first, then the oldest; the rest is prepaid."""
    if amount_fen <= 0:
        raise BadAmount("bad_amount", lowest_fen=1, highest_fen=AMOUNT_FEN_MAX)
    owed = sorted(
        (each for each in opened if each.open_fen > 0),
        key=lambda each: (each.month != first_month, each.month, each.item),
    )
    left_fen, parts = amount_fen, []
    for each in owed:
        if left_fen == 0:
            break
        taken_fen = min(left_fen, each.open_fen)
        parts.append(Part(each.item, taken_fen))
        left_fen -= taken_fen
    return Allocation(tuple(parts), left_fen)


def credits_of(account_id: str, allocation: Allocation) -> tuple[Posting, ...]:
    """Credit what a sum settles, and the rest as paid in advance."""
    settled = tuple(Posting(receivable(account_id), -fen, item) for item, fen in allocation.parts)
    rest = (Posting(prepaid(account_id), -allocation.prepaid_fen),) if allocation.prepaid_fen else ()
    return settled + rest


def received(
    notified: Notified, account_id: str, allocation: Allocation, effective_date: date, order_no: str
) -> Journal:
    """Book a provider's payment to its customer: cash against open items, oldest first, and prepaid."""
    facts = (("order", order_no), ("transaction", notified.transaction_id))
    cash = Cash(notified.provider, notified.transaction_id, notified.amount_fen, day_of(notified.paid_at))
    return taken(cash, account_id, allocation, effective_date, facts)


def taken(
    cash: Cash,
    account_id: str,
    allocation: Allocation,
    effective_date: date,
    facts: tuple[tuple[str, str], ...] = (),
) -> Journal:
    """Book money that arrived to its customer."""
    return Journal(
        idem_key=payment_key(cash.channel, cash.reference),
        deed="take_payment",
        event_date=cash.event_date,
        effective_date=effective_date,
        postings=(Posting(f"cash/{cash.channel}", cash.amount_fen), *credits_of(account_id, allocation)),
        facts=facts,
    )


def suspended(cash: Cash, effective_date: date) -> Journal:
    """Book money that nobody can place yet: cash against suspense. The same key as if it had been placed."""
    return Journal(
        idem_key=payment_key(cash.channel, cash.reference),
        deed="take_payment",
        event_date=cash.event_date,
        effective_date=effective_date,
        postings=(
            Posting(f"cash/{cash.channel}", cash.amount_fen),
            Posting(SUSPENSE, -cash.amount_fen, f"{cash.channel}:{cash.reference}"),
        ),
        facts=(("suspense", cash.reference),),
    )


def placed(
    receipt: tuple[int, str, str], part_no: int, account_id: str, allocation: Allocation, day: date
) -> Journal:
    """Move a part of a receipt (id, channel, reference) from suspense to the customer it turned out to belong to."""
    receipt_id, channel, reference = receipt
    amount_fen = sum(part.amount_fen for part in allocation.parts) + allocation.prepaid_fen
    return Journal(
        idem_key=f"receipt:{receipt_id}:{part_no}",
        deed="match_receipt",
        event_date=day,
        effective_date=day,
        postings=(
            Posting(SUSPENSE, amount_fen, f"{channel}:{reference}"),
            *credits_of(account_id, allocation),
        ),
        facts=(("receipt", str(receipt_id)),),
    )


def moved(key: str, account_id: str, opened: Sequence[Open], prepaid_fen: int, day: date) -> Journal | None:
    """Use what a customer has in advance for what is open; None when there is nothing to move.

    Items with a credit (a corrected bill that was already paid) become prepaid first.
    """
    over = tuple(each for each in opened if each.open_fen < 0)
    over_fen = -sum(each.open_fen for each in over)
    available_fen = max(0, prepaid_fen) + over_fen
    owed = [each for each in opened if each.open_fen > 0]
    if not over and not (owed and available_fen):
        return None
    used = allocate(available_fen, owed) if available_fen else Allocation((), 0)
    used_fen = sum(part.amount_fen for part in used.parts)
    change_fen = used_fen - over_fen  # + prepaid shrinks
    postings = (
        *((Posting(prepaid(account_id), change_fen),) if change_fen else ()),
        *(Posting(receivable(account_id), -each.open_fen, each.item) for each in over),
        *(Posting(receivable(account_id), -fen, item) for item, fen in used.parts),
    )
    return Journal(key, "use_prepaid", day, day, postings)


def refund_taken(
    request_id: int, account_id: str, reduced: Sequence[Part], prepaid_fen: int, day: date
) -> Journal:
    """Take a refund's amount from the customer's prepaid balance, and re-open what it had settled, until it is sent."""
    amount_fen = prepaid_fen + sum(part.amount_fen for part in reduced)
    postings = (
        *((Posting(prepaid(account_id), prepaid_fen),) if prepaid_fen else ()),
        *(Posting(receivable(account_id), fen, item) for item, fen in reduced),
        Posting(SUSPENSE, -amount_fen, f"refund:{request_id}"),
    )
    return Journal(f"refund:{request_id}", "approve_refund", day, day, postings)


def refund_sent(request_id: int, channel: str, amount_fen: int, day: date) -> Journal:
    """Book that a refund has left."""
    postings = (
        Posting(SUSPENSE, amount_fen, f"refund:{request_id}"),
        Posting(f"cash/{channel}", -amount_fen),
    )
    return Journal(f"refund-sent:{request_id}", "send_refund", day, day, postings)


def refund_source(
    amount_fen: int, prepaid_fen: int, settled: Sequence[Part], paid: Sequence[Part]
) -> tuple[int, tuple[Part, ...]]:
    """Decide where a refund comes from: the prepaid balance, then what the payment settled, newest first.

    `paid` is what is paid of every item now. No item is re-opened beyond it: what a correction has since moved from
    the settled item to others comes from those, newest first. Raises NothingThere when that is not enough.
    """
    from_prepaid_fen = min(amount_fen, max(0, prepaid_fen))
    left_fen, there = amount_fen - from_prepaid_fen, dict(paid)
    reduced: dict[str, int] = {}
    newest = sorted(settled, reverse=True) + sorted(paid, reverse=True)
    for item, most_fen in newest:
        taken_fen = min(left_fen, most_fen, there.get(item, 0))
        if taken_fen > 0:
            reduced[item] = reduced.get(item, 0) + taken_fen
            there[item] -= taken_fen
            left_fen -= taken_fen
    if left_fen:
        raise NothingThere("nothing_there", amount_fen=amount_fen, left_fen=amount_fen - left_fen)
    return from_prepaid_fen, tuple(Part(*each) for each in sorted(reduced.items(), reverse=True))


def recovered(
    key: str, account_id: str, opened: Sequence[Open], given_up: Sequence[Part], day: date
) -> Journal | None:
    """Take back given-up debt where an item has a credit: a debt that was corrected away is no money of the customer's.

    None when no item with a credit was given up.
    """
    lost = dict(given_up)
    back = [
        Part(each.item, min(-each.open_fen, lost[each.item]))
        for each in opened
        if each.open_fen < 0 and lost.get(each.item, 0) > 0
    ]
    if not back:
        return None
    postings = (
        Posting("expense/bad_debt", -sum(fen for _, fen in back)),
        *(Posting(receivable(account_id), fen, item) for item, fen in back),
    )
    return Journal(key, "recover_bad_debt", day, day, postings)


def payment_key(channel: str, reference: str) -> str:
    """Name the journal of money that arrived: once per channel and reference."""
    return f"payment:{channel}:{reference}"


def effective_day(event: date, locked_through: date | None) -> date:
    """Choose the period a payment counts in: its own day, or the first open day after a closed month."""
    if locked_through is None or month_of(event) > locked_through:
        return event
    return month_after(locked_through)


# ---- the reference that a customer writes on a bank transfer ---------------------------------------------

_CODE = re.compile(r"SD\s?-?(\d{10,13})-?(\d{2})(?!\d)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<!\d)\d{10,13}(?!\d)")


def payment_code(account_id: str) -> str:
    """Make an account's payment code: SD, account number, two check digits (ISO 7064 mod 97-10)."""
    return f"SD{account_id}{98 - int(account_id + '00') % 97:02d}"


def codes_in(text: str) -> tuple[str, ...]:
    """Find the accounts whose payment code stands in a text, check digits right."""
    found = [
        account for account, check in _CODE.findall(_folded(text)) if payment_code(account)[-2:] == check
    ]
    return tuple(dict.fromkeys(found))


def numbers_in(text: str) -> tuple[str, ...]:
    """Find bare account numbers in a text."""
    return tuple(dict.fromkeys(_NUMBER.findall(_folded(text))))


def _folded(text: str) -> str:
    """Full-width digits and letters as banks print them become plain ones."""
    return "".join(chr(ord(each) - 0xFEE0) if "！" <= each <= "～" else each for each in text)
