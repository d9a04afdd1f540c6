"""Checks of a declaration before it enters a book: one code per rule, in a fixed order. Pure, whole numbers only.

A price is a whole number of 0.01 yuan/MWh, a quantity a whole number of kWh; what is not an exact multiple is refused,
never rounded (market.md 9). Rules and limits are data of the session; the state is what was accepted before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from cloud.market.auction import Side

TICK_PLACES: Final = 2  # decimals of yuan/MWh
KWH_PLACES: Final = 3  # decimals of MWh
DIGITS_MAX: Final = 15
BANDED_DIGITS_MAX: Final = 308  # a price that a band will refuse may be as large as a machine's number
_NUMBER: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", re.ASCII)


class Code(StrEnum):
    """Why a declaration is refused, in the order in which it is checked; ACCEPT and SAME_ACK_AS_FIRST are no refusals."""

    PRICE_INVALID = "PRICE_INVALID"
    QTY_INVALID = "QTY_INVALID"
    NO_SEGMENT = "NO_SEGMENT"
    SAME_ACK_AS_FIRST = "SAME_ACK_AS_FIRST"
    GATE_CLOSED = "GATE_CLOSED"
    NOT_ELIGIBLE = "NOT_ELIGIBLE"
    PERIOD_UNKNOWN = "PERIOD_UNKNOWN"
    PRICE_TICK = "PRICE_TICK"
    PRICE_ABOVE_LIMIT = "PRICE_ABOVE_LIMIT"
    PRICE_BELOW_LIMIT = "PRICE_BELOW_LIMIT"
    QTY_NONPOSITIVE = "QTY_NONPOSITIVE"
    QTY_LOT = "QTY_LOT"
    TOO_MANY_SEGMENTS = "TOO_MANY_SEGMENTS"
    SEGMENTS_NOT_MONOTONE = "SEGMENTS_NOT_MONOTONE"
    QTY_CAP = "QTY_CAP"
    SIDE_CONFLICT = "SIDE_CONFLICT"
    MARGIN = "MARGIN"
    ACCEPT = "ACCEPT"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a session allows. A band of None is open on that side; both bounds are inclusive."""

    period_count: int
    price_min_ticks: int | None
    price_max_ticks: int | None
    step_ticks: int = 1
    lot_kwh: int = 1
    segment_count_max: int = 10
    margin_rate_pct: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What this participant may: declared quantity in the session, and money free for margin; None = no limit."""

    is_eligible: bool = True
    cap_kwh: int | None = None
    margin_free_yuan: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """A declaration as it was sent: segments of (price in yuan/MWh, quantity in MWh) as decimal texts; period from 1."""

    participant: str
    side: Side
    period_no: int
    segments: tuple[tuple[str, str], ...]
    client_key: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One step of a declaration in whole units."""

    price_ticks: int
    quantity_kwh: int

    @property
    def value(self) -> int:
        """Price x quantity in 1e-5 yuan."""
        return self.price_ticks * self.quantity_kwh


@dataclass(frozen=True, slots=True)
class Held:
    """A declaration that was accepted before and stands, of whichever participant."""

    seq: int
    participant: str
    side: Side
    period_no: int
    segments: tuple[Segment, ...]
    client_key: str | None = None


@dataclass(frozen=True, slots=True)
class BookState:
    """Whether the gate is open, and what was accepted before (of this participant at least)."""

    is_open: bool
    held: tuple[Held, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """The outcome: ACCEPT with the segments in whole units, the first's number for a retry, else the first code that applies."""

    code: Code
    segments: tuple[Segment, ...] = ()
    first_seq: int | None = None


def check(rules: Rules, limits: Limits, state: BookState, sent: Submission) -> Checked:
    """Check a declaration, syntax first; a retry gets its first answer whatever has changed since."""
    syntax = _syntax(rules, sent)
    if syntax is not None:
        return Checked(syntax)
    own = tuple(held for held in state.held if held.participant == sent.participant)
    if sent.client_key is not None:
        for held in own:
            if held.client_key == sent.client_key:
                return Checked(Code.SAME_ACK_AS_FIRST, held.segments, held.seq)
    code = _gate(rules, limits, state, sent) or _shape(rules, sent)
    if code is not None:
        return Checked(code)
    segments = tuple(_segment(price, quantity) for price, quantity in sent.segments)
    code = _limits(rules, limits, own, sent, segments)
    return Checked(Code.ACCEPT, segments) if code is None else Checked(code)


def parsed(text: str, digits_max: int = DIGITS_MAX) -> Decimal | None:
    """A finite decimal in ASCII of a plausible size; anything else is None."""
    if not _NUMBER.fullmatch(text):
        return None
    value = Decimal(text)
    return value if value == 0 or abs(value.adjusted()) <= digits_max else None


def units(text: str, places: int) -> int | Fraction:
    """A decimal in units of 10^-places, exactly: an int where it is whole. The text is one that `parsed` takes."""
    whole, _, decimals = text.partition(".")
    if len(decimals) <= places and "e" not in text and "E" not in text:
        return int(whole + decimals.ljust(places, "0"))
    exact: Fraction = Fraction(text) * 10**places
    return exact.numerator if exact.denominator == 1 else exact


def margin_needed(segments: Sequence[Segment], rate_pct: Decimal) -> Decimal:
    """The margin for buy segments in yuan, exact: rate x sum of price x quantity."""
    return Decimal(sum(each.value for each in segments)).scaleb(-5) * rate_pct / 100


def _syntax(rules: Rules, sent: Submission) -> Code | None:
    if not sent.segments:
        return Code.NO_SEGMENT
    is_banded = rules.price_min_ticks is not None and rules.price_max_ticks is not None
    digits_max = BANDED_DIGITS_MAX if is_banded else DIGITS_MAX
    if any(parsed(price, digits_max) is None for price, _ in sent.segments):
        return Code.PRICE_INVALID
    return Code.QTY_INVALID if any(parsed(quantity) is None for _, quantity in sent.segments) else None


def _gate(rules: Rules, limits: Limits, state: BookState, sent: Submission) -> Code | None:
    if not state.is_open:
        return Code.GATE_CLOSED
    if not limits.is_eligible:
        return Code.NOT_ELIGIBLE
    return None if 1 <= sent.period_no <= rules.period_count else Code.PERIOD_UNKNOWN


def _shape(rules: Rules, sent: Submission) -> Code | None:
    """Ticks, band, lots, number and order of the segments."""
    prices = [units(price, TICK_PLACES) for price, _ in sent.segments]
    quantities = [units(quantity, KWH_PLACES) for _, quantity in sent.segments]
    if any(price % rules.step_ticks for price in prices):
        return Code.PRICE_TICK
    if rules.price_max_ticks is not None and any(price > rules.price_max_ticks for price in prices):
        return Code.PRICE_ABOVE_LIMIT
    if rules.price_min_ticks is not None and any(price < rules.price_min_ticks for price in prices):
        return Code.PRICE_BELOW_LIMIT
    if any(quantity <= 0 for quantity in quantities):
        return Code.QTY_NONPOSITIVE
    if any(quantity % rules.lot_kwh for quantity in quantities):
        return Code.QTY_LOT
    if len(prices) > rules.segment_count_max:
        return Code.TOO_MANY_SEGMENTS
    if prices != sorted(prices, reverse=sent.side is Side.BUY):
        return Code.SEGMENTS_NOT_MONOTONE
    return None


def _limits(
    rules: Rules, limits: Limits, own: Sequence[Held], sent: Submission, segments: tuple[Segment, ...]
) -> Code | None:
    """What depends on what the participant declared before."""
    before = [segment for held in own for segment in held.segments]
    if (
        limits.cap_kwh is not None
        and sum(each.quantity_kwh for each in [*before, *segments]) > limits.cap_kwh
    ):
        return Code.QTY_CAP
    if any(held.period_no == sent.period_no and held.side is not sent.side for held in own):
        return Code.SIDE_CONFLICT
    if sent.side is Side.BUY and limits.margin_free_yuan is not None:
        bought = [segment for held in own if held.side is Side.BUY for segment in held.segments]
        if margin_needed([*bought, *segments], rules.margin_rate_pct) > limits.margin_free_yuan:
            return Code.MARGIN
    return None


def _segment(price: str, quantity: str) -> Segment:
    return Segment(int(units(price, TICK_PLACES)), int(units(quantity, KWH_PLACES)))
