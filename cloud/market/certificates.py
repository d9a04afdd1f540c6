"""Green certificates 绿证 as a ledger in whole MWh: which serial numbers move from which account to which. Pure.

account codes   issued/{party} (the source, below zero) held/{party} locked/{party}/{sale} retired/{party} expired
An entry takes a run of serial numbers from one account and puts the same run into another, so its postings add up to
zero. One certificate is 1 MWh; it is traded once, used once, and counts for 24 calendar months that begin with the
month of production (发改能源〔2023〕1044号 六, 十一; life: 国能发新能规〔2024〕67号, from memory).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from cloud.errors import Conflict, Invalid, NotNow
from cloud.lives import Life
from cloud.market import green
from cloud.markettime import month_after
from cloud.money import EXACT

VALID_MONTHS = 24
KWH_PER_MWH = 1000
MWH_MAX = 10_000_000  # of one deed: more is a slip of the keyboard
EXPIRED = "expired"

SALE = Life(
    "green_sale",
    {
        (None, "offer"): "open",
        ("open", "sell"): "sold",
        ("open", "withdraw"): "withdrawn",
        ("open", "lapse"): "lapsed",
    },
)

WholeMwh = int  # a certificate is one MWh, never a part of it


class Kind(StrEnum):
    """What an entry does."""

    ISSUE = "issue"
    LOCK = "lock"
    RELEASE = "release"
    TRANSFER = "transfer"
    RETIRE = "retire"
    EXPIRE = "expire"


class NotEnough(NotNow):
    """The account holds fewer certificates of that sort than asked for."""


class NotValidThen(Invalid):
    """A certificate counts for use in the 24 months that begin with its month of production."""


class BadQuantity(Invalid):
    """Certificates are whole, at least one."""


class KeyReused(Conflict):
    """The same key came with other content."""


class MonthOutOfOrder(NotNow):
    """Certificates are issued month after month, because each carries a part to the next."""


@dataclass(frozen=True, slots=True)
class Serials:
    """A run of serial numbers `[start, end)`: one MWh each."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 < self.start < self.end:
            raise ValueError(f"no serial numbers in [{self.start}, {self.end})")

    @property
    def mwh(self) -> int:
        """How many certificates these are."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Holding:
    """A run of certificates of one batch, wherever it is."""

    serials: Serials
    production_month: date
    is_traded: bool
    is_tradable: bool


@dataclass(frozen=True, slots=True)
class Posting:
    """One side of an entry: `mwh` is + into the account, - out of it."""

    account: str
    serials: Serials
    mwh: WholeMwh


@dataclass(frozen=True, slots=True)
class Due:
    """What a plant's month earns: whole certificates, and the kWh carried to the next month."""

    earned_kwh: int
    carry_before_kwh: int
    issued_mwh: WholeMwh
    carry_after_kwh: int


def issued_account(party_id: int) -> str:
    """Where a generator's certificates come from."""
    return f"issued/{party_id}"


def held_account(party_id: int) -> str:
    """What a party holds."""
    return f"held/{party_id}"


def locked_account(party_id: int, sale_id: int) -> str:
    """What a party has put aside for one sale."""
    return f"locked/{party_id}/{sale_id}"


def retired_account(party_id: int) -> str:
    """What a party has used up."""
    return f"retired/{party_id}"


def moved(source: str, target: str, runs: Sequence[Serials]) -> tuple[Posting, ...]:
    """Write an entry: every run leaves the source and arrives at the target; the sum is zero."""
    return tuple(
        posting for run in runs for posting in (Posting(source, run, -run.mwh), Posting(target, run, run.mwh))
    )


def due(generation_kwh: int, mechanism_kwh: int, carry_before_kwh: int) -> Due:
    """Compute what a month earns: generation less mechanism energy (1656号 art. 77), whole MWh of it and of the carry."""
    earned_kwh = max(0, generation_kwh - mechanism_kwh)
    found = green.certificates(_mwh(carry_before_kwh), _mwh(earned_kwh))
    return Due(
        earned_kwh, carry_before_kwh, found.issued_count, int(EXACT.multiply(found.carry_mwh, Decimal(1000)))
    )


def due_mwh(settled_kwh: int, handed_mwh: int) -> WholeMwh:
    """How many certificates a contract is still due of all it has settled; none when it was handed more already."""
    return max(0, settled_kwh // KWH_PER_MWH - handed_mwh)


def check_next_month(month: date, last: date | None) -> None:
    """Refuse a month that does not follow the last one that was issued. Raises MonthOutOfOrder."""
    if last is not None and month != month_after(last):
        raise MonthOutOfOrder(
            "green_month_order", month=f"{month:%Y-%m}", expected=f"{month_after(last):%Y-%m}"
        )


def last_valid_month(production_month: date) -> date:
    """Find the last month for whose use a certificate counts."""
    return month_after(production_month, VALID_MONTHS - 1)


def is_expired(production_month: date, today: date) -> bool:
    """Whether a certificate's 24 months are over."""
    return today >= month_after(production_month, VALID_MONTHS)


def counts_for(production_month: date, first_month: date, last_month: date) -> bool:
    """Whether a certificate may be used for all the months `first_month` to `last_month`, both included."""
    return production_month <= first_month and last_month <= last_valid_month(production_month)


def check_mwh(mwh: int) -> None:
    """Refuse a quantity that nobody can mean. Raises BadQuantity."""
    if not 0 < mwh <= MWH_MAX:
        raise BadQuantity("green_bad_quantity", mwh=mwh, most=MWH_MAX)


def picked(holdings: Iterable[Holding], mwh: int) -> tuple[Serials, ...]:
    """Take `mwh` certificates, those first whose life ends first, then by number. Raises NotEnough, BadQuantity."""
    check_mwh(mwh)
    left, runs = mwh, []
    for each in sorted(holdings, key=lambda one: (one.production_month, one.serials.start)):
        if left == 0:
            break
        taken = min(left, each.serials.mwh)
        runs.append(Serials(each.serials.start, each.serials.start + taken))
        left -= taken
    if left:
        raise NotEnough("green_not_enough", asked=mwh, found=mwh - left)
    return tuple(runs)


def sale_fen(mwh: int, price_ticks: int) -> int:
    """What certificates cost: the price is in 0.01 yuan for one, so nothing is ever rounded."""
    return mwh * price_ticks


def number(serial: int) -> str:
    """Write a certificate's number as people read it."""
    return f"GEC{serial:012d}"


def span(serials: Serials) -> str:
    """Write a run of numbers: one number, or the first and the last."""
    if serials.mwh == 1:
        return number(serials.start)
    return f"{number(serials.start)}–{number(serials.end - 1)}"


def _mwh(kwh: int) -> Decimal:
    return EXACT.divide(Decimal(kwh), Decimal(KWH_PER_MWH))
