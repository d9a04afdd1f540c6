"""Statements against our books: bank line -> customer with confidence, provider statement -> named differences. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from cloud.billing.payment import Provider, codes_in, numbers_in

CERTAIN_PERCENT = 90
_BY_CODE, _BY_NUMBER, _BY_NAME, _BY_AMOUNT = 100, 90, 50, 30


class Reason(StrEnum):
    """Why a customer is thought to have sent a bank transfer."""

    CODE = "code"
    NUMBER = "number"
    NAME = "name"
    AMOUNT = "amount"


@dataclass(frozen=True, slots=True)
class BankLine:
    """One line of a bank statement; amount + came in, - went out."""

    line_no: int
    line_sha256: bytes
    booked_on: date
    amount_fen: int
    payer_name: str
    payer_account: str
    memo: str
    bank_ref: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A customer who may have sent money: names it may come under, sums that would settle something."""

    account_id: str
    names: tuple[str, ...]
    open_fen: tuple[int, ...]  # the whole balance and each bill


@dataclass(frozen=True, slots=True)
class Guess:
    """A customer, how sure we are, and why."""

    account_id: str
    confidence_percent: int
    reasons: tuple[Reason, ...]


def guesses(line: BankLine, candidates: Iterable[Candidate]) -> tuple[Guess, ...]:
    """Rank the customers a line may come from, the surest first.

    A payment code with right check digits is certain; an account number nearly; name and amount together are a
    suggestion for a person, never enough to book.
    """
    text = f"{line.memo} {line.payer_name}"
    coded, numbered = set(codes_in(text)), set(numbers_in(text))
    found = [
        guess for each in candidates if (guess := _guess(line, each, coded, numbered)).confidence_percent > 0
    ]
    return tuple(sorted(found, key=lambda each: (-each.confidence_percent, each.account_id)))


def certain(ranked: Sequence[Guess]) -> Guess | None:
    """Choose the customer to book to without asking: certain, and the only one that is."""
    sure = [each for each in ranked if each.confidence_percent >= CERTAIN_PERCENT]
    return sure[0] if len(sure) == 1 else None


def _guess(line: BankLine, candidate: Candidate, coded: set[str], numbered: set[str]) -> Guess:
    name = _plain(line.payer_name)
    reasons = []
    if candidate.account_id in coded:
        reasons.append(Reason.CODE)
    elif candidate.account_id in numbered:
        reasons.append(Reason.NUMBER)
    if name and any(_plain(each) == name for each in candidate.names):
        reasons.append(Reason.NAME)
    if line.amount_fen in candidate.open_fen:
        reasons.append(Reason.AMOUNT)
    if Reason.CODE in reasons:
        percent = _BY_CODE
    elif Reason.NUMBER in reasons:
        percent = min(99, _BY_NUMBER + 5 * (len(reasons) - 1))
    else:
        percent = sum(_BY_NAME if each is Reason.NAME else _BY_AMOUNT for each in reasons)
    return Guess(candidate.account_id, percent, tuple(reasons))


def _plain(name: str) -> str:
    """A name as banks write it: without blanks, brackets of either width alike."""
    return "".join(name.split()).replace("（", "(").replace("）", ")").casefold()


# ---- the provider's statement 对账单 ----------------------------------------------------------------------


class What(StrEnum):
    """What a statement line is about."""

    PAYMENT = "payment"
    REFUND = "refund"


class Kind(StrEnum):
    """In which way the provider and we differ."""

    MISSING_HERE = "missing_here"
    MISSING_THERE = "missing_there"
    AMOUNT_DIFFERS = "amount_differs"
    TWICE_THERE = "twice_there"


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of a provider's day statement. `reference`: transaction id, or our refund number for a refund."""

    what: What
    reference: str
    order_no: str
    amount_fen: int
    fee_fen: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Statement:
    """A provider's statement of one trading day, as it was fetched."""

    provider: Provider
    day: date
    sha256: bytes
    lines: tuple[StatementLine, ...]

    @property
    def fee_fen(self) -> int:
        """Add up what the provider kept; negative when it gave back more."""
        return sum(line.fee_fen for line in self.lines)

    def sum_fen(self, what: What) -> int:
        """Add up payments or refunds."""
        return sum(line.amount_fen for line in self.lines if line.what is what)


@dataclass(frozen=True, slots=True)
class Ours:
    """What we booked of a provider's day."""

    what: What
    reference: str
    order_no: str
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing the provider and we do not agree on."""

    kind: Kind
    what: What
    reference: str
    order_no: str
    ours_fen: int | None
    theirs_fen: int | None


def differences(statement: Statement, ours: Iterable[Ours]) -> tuple[Difference, ...]:
    """Name every difference between a day's statement and our books, by payment and by refund."""
    here = {(each.what, each.reference): each for each in ours}
    there = {(each.what, each.reference): each for each in statement.lines}
    times = Counter((each.what, each.reference) for each in statement.lines)
    found = []
    for key in sorted(here.keys() | there.keys()):
        our, their = here.get(key), there.get(key)
        our_fen = None if our is None else our.amount_fen
        their_fen = None if their is None else their.amount_fen
        order_no = our.order_no if our is not None else their.order_no if their is not None else ""
        kinds = []
        if our_fen is None:
            kinds.append(Kind.MISSING_HERE)
        elif their_fen is None:
            kinds.append(Kind.MISSING_THERE)
        elif our_fen != their_fen:
            kinds.append(Kind.AMOUNT_DIFFERS)
        if times[key] > 1:
            kinds.append(Kind.TWICE_THERE)
        found += [Difference(kind, *key, order_no, our_fen, their_fen) for kind in kinds]
    return tuple(found)
