"""A listing on the market 挂牌 as the desk keeps it: lines by month and period, its life, takes and what they get. Pure.

One take covers all lines at once and is accepted or refused as a whole, by the rules of `listing` on every line. By time it
gets its quantity at once; in a batch window all takes of the window share when it closes. What was taken is never undone:
the lister withdraws or reduces the rest only (market.md 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.errors import Invalid
from cloud.lives import Life
from cloud.market.auction import Side
from cloud.market.listing import Listing, Refusal, Remainder, Sharing, Take, taken
from cloud.market.orders import KWH_PLACES, TICK_PLACES, parsed, units

LISTING = Life(
    "listing",
    {
        (None, "publish"): "open",
        ("open", "exhaust"): "taken",
        ("open", "withdraw"): "withdrawn",
        ("open", "expire"): "expired",
        ("open", "clear"): "cleared",
    },
)
LINES_MAX = 288
NAMED_MAX = 20  # parties to whom one listing is directed
SELLING = frozenset(
    {"generator", "storage", "vpp", "retailer"}
)  # a retailer sells what it bought and does not need
BUYING = frozenset({"user", "retailer", "storage", "vpp"})


class Code(StrEnum):
    """Why a take is refused, in the order in which it is checked; the middle four are the listing's own."""

    QTY_INVALID = "QTY_INVALID"
    LISTING_CLOSED = "LISTING_CLOSED"
    SELF_TRADE = "SELF_TRADE"
    BELOW_MIN_TAKE = "BELOW_MIN_TAKE"
    ALL_OR_NONE = "ALL_OR_NONE"
    NOT_ELIGIBLE = "NOT_ELIGIBLE"
    PRICE_DIFFERS = "PRICE_DIFFERS"
    ABOVE_REST = "ABOVE_REST"
    QTY_CAP = "QTY_CAP"  # asked last, by the shell: above what the party may contract


class BadQuantity(Invalid):
    """A quantity or price is no exact number of whole units, or not a plausible one."""


class BadOffer(Invalid):
    """A listing cannot be made from this; the key says why."""


class CannotReduce(Invalid):
    """A reduction is above what is left: what was taken stays."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is listed for one period of one month; the second price is of the environment, zero unless green."""

    month: date
    period: str
    kwh: int
    price_ticks: int
    environment_ticks: int = 0

    @property
    def volume(self) -> Volume:
        """The line as a contract promises it."""
        return volume_of(self, self.kwh)


@dataclass(frozen=True, slots=True)
class Offer:
    """A binding offer: who lists what, and who may take how much of it in `[starts_at, ends_at)`."""

    lister_id: int
    side: Side
    lines: tuple[Line, ...]
    starts_at: datetime
    ends_at: datetime
    min_take_kwh: int = 0
    all_or_none: bool = False
    sharing: Sharing = Sharing.TIME
    remainder: Remainder = Remainder.LARGEST
    is_clipped: bool = True
    is_green: bool = False
    eligible_kinds: tuple[str, ...] = ()
    eligible_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        keys = [(line.month, line.period) for line in self.lines]
        if not 0 < len(keys) <= LINES_MAX or len(set(keys)) != len(keys):
            raise BadOffer("listing_lines", most=LINES_MAX)
        if any(line.kwh <= 0 or line.month.day != 1 for line in self.lines):
            raise BadOffer("listing_volume")
        if self.starts_at >= self.ends_at:
            raise BadOffer("listing_hours")
        if self.all_or_none and self.sharing is Sharing.PRORATA:
            raise BadOffer("listing_whole_batch")  # a share of the whole is not the whole
        if not 0 <= self.min_take_kwh <= min(line.kwh for line in self.lines):
            raise BadOffer("listing_min_take")
        if len(self.eligible_ids) > NAMED_MAX or len(set(self.eligible_ids)) != len(self.eligible_ids):
            raise BadOffer("listing_named_many", most=NAMED_MAX)
        if self.lister_id in self.eligible_ids:
            raise BadOffer("listing_named_self")
        if not self.is_green and any(line.environment_ticks for line in self.lines):
            raise BadOffer("listing_environment")
        for month in {line.month for line in self.lines}:  # 1656号 art. 33: outside the time of use
            if len({line.environment_ticks for line in self.lines if line.month == month}) > 1:
                raise BadOffer("listing_environment_month")


@dataclass(frozen=True, slots=True)
class Taker:
    """Who takes: `asked_before` is what the same party asked of a batch so far, by line."""

    party_id: int
    kind: str
    asked_before: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """A take as it was sent: kWh by line, and the prices that the taker saw and accepts."""

    kwh: tuple[int, ...]
    price_ticks: tuple[int, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a take: a refusal, or what it gets now by line; None as `got` waits for the window's end."""

    refusal: Code | None
    got: tuple[int, ...] | None = None


def may_act(kind: str, side: Side) -> bool:
    """Whether a kind of party may buy or sell here: generators sell, users buy, who stands between does both."""
    return kind in (SELLING if side is Side.SELL else BUYING)


def opposite(side: Side) -> Side:
    """The other direction: who takes an offer to sell buys."""
    return Side.BUY if side is Side.SELL else Side.SELL


def answered(offer: Offer, left: Sequence[int], is_open: bool, taker: Taker, asked: Asked) -> Outcome:
    """Decide about one take given what is left of each line; a line that nothing is asked of is left alone.

    The kernel's codes come first and in its order, then who may take at all and whether the prices are those listed.
    """
    if len(asked.kwh) != len(offer.lines) or not any(asked.kwh) or min(asked.kwh) < 0:
        return Outcome(Code.QTY_INVALID)
    in_time = is_open and offer.starts_at <= asked.at < offer.ends_at
    got, found = [], []
    for line, rest, kwh in zip(offer.lines, left, asked.kwh, strict=True):
        if kwh == 0 and not offer.all_or_none:
            got.append(0)
            continue
        one = taken(_kernel(offer, line, rest if in_time else 0), [Take("take", str(taker.party_id), kwh)])
        result = one.takes[0]
        got.append(result.quantity_kwh)
        found.append(result.refusal)
    for refusal in Refusal:
        if refusal in found:
            return Outcome(Code(refusal.value))
    if not may_act(taker.kind, opposite(offer.side)) or not _is_eligible(offer, taker):
        return Outcome(Code.NOT_ELIGIBLE)
    if asked.price_ticks != tuple(line.price_ticks for line in offer.lines):
        return Outcome(Code.PRICE_DIFFERS)
    if offer.sharing is Sharing.PRORATA:
        before = taker.asked_before or (0,) * len(offer.lines)
        sums = [kwh + sum_kwh for kwh, sum_kwh in zip(asked.kwh, before, strict=True)]
        if any(total > line.kwh for total, line in zip(sums, offer.lines, strict=True)):
            return Outcome(Code.ABOVE_REST)  # asking for more than is listed would only buy a larger share
        return Outcome(None)
    is_cut = any(one < kwh for one, kwh in zip(got, asked.kwh, strict=True))
    if is_cut and (offer.all_or_none or not offer.is_clipped):
        return Outcome(Code.ABOVE_REST)
    return Outcome(None, tuple(got))


def shared(offer: Offer, left: Sequence[int], asked: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Share what a batch window has left among its takes in their order of time: one tuple of kWh by line for each take."""
    columns = []
    for number, line in enumerate(offer.lines):
        takes = [Take(str(index), f"take {index}", kwh[number]) for index, kwh in enumerate(asked)]
        window = Listing(
            "", offer.side, line.price_ticks, left[number], 0, False, Sharing.PRORATA, offer.remainder
        )
        result = taken(window, takes) if left[number] else None
        columns.append([0] * len(takes) if result is None else [each.quantity_kwh for each in result.takes])
    return tuple(tuple(column[index] for column in columns) for index in range(len(asked)))


def reduced(left: Sequence[int], by: Sequence[int]) -> tuple[int, ...]:
    """Give up part of the rest; the new rest by line. Raises CannotReduce."""
    if (
        len(by) != len(left)
        or not any(by)
        or any(not 0 <= one <= rest for one, rest in zip(by, left, strict=True))
    ):
        raise CannotReduce("listing_cannot_reduce")
    return tuple(rest - one for one, rest in zip(by, left, strict=True))


def value_of(lines: Sequence[Line], kwh: Sequence[int]) -> int:
    """Price x quantity of both prices in 1e-5 yuan: what a buyer binds itself to."""
    each = zip(lines, kwh, strict=True)
    return sum((line.price_ticks + line.environment_ticks) * quantity for line, quantity in each)


def margin_fen(value: int, rate_pct: Decimal) -> int:
    """The margin on a value of 1e-5 yuan, in whole fen, rounded up: a fraction of a fen is asked for as one.

    Who buys at a negative price owes nothing for it.
    """
    rate, per = rate_pct.as_integer_ratio()
    return -(-max(0, value) * rate // (100_000 * per))


def terms_of(
    contract_id: str, offer: Offer, units: tuple[str, str], kwh: Sequence[int], signed: tuple[date, str]
) -> WholesaleTerms:
    """Make the contract of a take; `units` are lister's and taker's, `signed` the day and the document it rests on."""
    lister, taker = units
    seller, buyer = (lister, taker) if offer.side is Side.SELL else (taker, lister)
    volumes = [volume_of(line, got) for line, got in zip(offer.lines, kwh, strict=True) if got]
    kind = ContractKind.GREEN if offer.is_green else ContractKind.LISTING
    ordered = tuple(sorted(volumes, key=lambda volume: (volume.month, volume.period)))
    return WholesaleTerms(contract_id, 1, kind, seller, buyer, signed[0], signed[1], Shape.FLAT, (), ordered)


def volume_of(line: Line, kwh: int) -> Volume:
    """A quantity of a line as a contract promises it; prices have exactly two decimals."""
    return Volume(
        line.month,
        line.period,
        Decimal(kwh).scaleb(-3),
        Decimal(line.price_ticks).scaleb(-2),
        Decimal(line.environment_ticks).scaleb(-2),
    )


def kwh_from(text: str) -> int:
    """Read MWh as whole kWh; nothing is rounded. Raises BadQuantity."""
    return _whole(text, KWH_PLACES, "quantity_form")


def ticks_from(text: str) -> int:
    """Read yuan/MWh as whole ticks of 0.01; nothing is rounded. Raises BadQuantity."""
    return _whole(text, TICK_PLACES, "price_form")


def _whole(text: str, places: int, key: str) -> int:
    value = None if parsed(text.strip()) is None else units(text.strip(), places)
    if not isinstance(value, int):
        raise BadQuantity(key, text=text[:40])
    return value


def _kernel(offer: Offer, line: Line, rest_kwh: int) -> Listing:
    """The listing of one line as it stands: the kernel clips to what is left and knows the codes."""
    quantity_kwh = line.kwh if offer.all_or_none and rest_kwh else rest_kwh
    return Listing(
        str(offer.lister_id),
        offer.side,
        line.price_ticks,
        quantity_kwh,
        offer.min_take_kwh,
        offer.all_or_none,
        Sharing.TIME,
    )


def _is_eligible(offer: Offer, taker: Taker) -> bool:
    return (not offer.eligible_kinds or taker.kind in offer.eligible_kinds) and (
        not offer.eligible_ids or taker.party_id in offer.eligible_ids
    )
