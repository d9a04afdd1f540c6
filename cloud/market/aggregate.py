"""An aggregator's portfolio 虚拟电厂 in an event: its members measured together, and its money split among them. Pure.

Nothing is lost by adding up: the portfolio's baseline, load and bid are the sums of its members'. A split is a rule as
data; the aggregator's part and the members' shares add up to the portfolio's amount to the fen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from cloud.contracts.entries import entries_from
from cloud.market.baseline import Adjusted
from cloud.market.performance import Called, Performance, performance
from cloud.market.programme import Programme
from cloud.money import fen_for, shares

MARKS = ("OFF", "SEC", "CALC", "MEM", "PROJ")
WH_PER_KWH = 1000


class By(StrEnum):
    """What weighs a member's share of what the portfolio receives."""

    RESPONSE = "response"  # what it did, not below 0
    BID = "bid"


class Charges(StrEnum):
    """Who bears what the portfolio is charged."""

    AGGREGATOR = "aggregator"
    MEMBERS = "members"  # by what each fell short of its bid


@dataclass(frozen=True, slots=True)
class SplitRule:
    """One version of how an aggregator shares with its members."""

    id: str
    version: int
    sha256: str
    effective_from: date
    keep_ratio: Decimal
    by: By
    charges: Charges

    @property
    def origin(self) -> str:
        """Name this rule and version."""
        return f"{self.id}@{self.version}"


@dataclass(frozen=True, slots=True)
class Member:
    """A resource in a portfolio: what it promised, what was expected of it, and what it drew in the event's slots."""

    enrolment_id: int
    party_id: int
    bid_kw: int
    fitted: Adjusted
    actual_wh: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What a member's share is weighed by."""

    enrolment_id: int
    party_id: int
    bid_kwh: Decimal
    response_kwh: Decimal


@dataclass(frozen=True, slots=True)
class Share:
    """A member's share of the portfolio's amount: positive = the member pays."""

    enrolment_id: int
    party_id: int
    weight_wh: int
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Split:
    """A portfolio's amount in parts that add up to it."""

    aggregator_fen: int
    shares: tuple[Share, ...]


def joined(members: Sequence[Member]) -> Member:
    """Add up members: the portfolio as if it were one resource. Raises ValueError for none."""
    if not members:
        raise ValueError("a portfolio of nobody")
    kw = tuple(sum(points, Fraction(0)) for points in zip(*(each.fitted.kw for each in members), strict=True))
    wh = tuple(sum(slot) for slot in zip(*(each.actual_wh for each in members), strict=True))
    bid_kw = sum(each.bid_kw for each in members)
    return Member(0, 0, bid_kw, Adjusted(kw, None, None, Fraction(0)), wh)


def portfolio_performance(programme: Programme, called: Called, members: Sequence[Member]) -> Performance:
    """Measure and price a portfolio by the sums of its members: who does more makes up for who does less."""
    one = joined(members)
    asked = Called(called.day, called.slots, one.bid_kw, called.price_yuan_per_kwh, called.event)
    return performance(programme, asked, one.fitted, one.actual_wh)


def split(rule: SplitRule, total_fen: int, parts: Sequence[Part]) -> Split:
    """Split what a portfolio receives (-) or pays (+). What nobody's weight claims stays with the aggregator."""
    if total_fen > 0:
        if rule.charges is Charges.AGGREGATOR:
            return Split(total_fen, _zero(parts))
        weights = [_wh(each.bid_kwh - each.response_kwh) for each in parts]
        return _shared(total_fen, 0, parts, weights)
    kept = -fen_for(Decimal(-total_fen).scaleb(-2), rule.keep_ratio)
    weights = [_wh(each.response_kwh if rule.by is By.RESPONSE else each.bid_kwh) for each in parts]
    return _shared(total_fen, kept, parts, weights)


def passed_on_fen(rule: SplitRule, amount_fen: int) -> int:
    """Pass on a member's own amount, its capacity payment: less what the aggregator keeps of it."""
    if amount_fen > 0:
        return amount_fen if rule.charges is Charges.MEMBERS else 0
    return amount_fen + fen_for(Decimal(-amount_fen).scaleb(-2), rule.keep_ratio)


def split_from(name: str, text: str) -> SplitRule:
    """Read a split rule. Raises BadMarketFile, which names what is wrong and what is allowed."""
    entries = entries_from(name, text)
    entries.choice("kind", ("response-split",))
    found = SplitRule(
        entries.text("id"),
        entries.integer("version", 1, 999),
        hashlib.sha256(text.encode()).hexdigest(),
        entries.day("effective_from"),
        entries.decimal("keep_ratio"),
        By(entries.choice("by", tuple(By))),
        Charges(entries.choice("charges", tuple(Charges))),
    )
    if not 0 <= found.keep_ratio <= 1:
        entries.refuse("keep_ratio", found.keep_ratio, "a number from 0 to 1")
    for each in entries.tables("source"):
        each.text("document")
        each.choice("mark", MARKS)
        each.text("note", "")
        each.done()
    entries.done()
    return found


def _shared(total_fen: int, kept_fen: int, parts: Sequence[Part], weights: Sequence[int]) -> Split:
    if not any(weights):
        return Split(total_fen, _zero(parts))
    amounts = shares(total_fen - kept_fen, weights)
    return Split(
        kept_fen,
        tuple(
            Share(each.enrolment_id, each.party_id, weight, amount)
            for each, weight, amount in zip(parts, weights, amounts, strict=True)
        ),
    )


def _zero(parts: Sequence[Part]) -> tuple[Share, ...]:
    return tuple(Share(each.enrolment_id, each.party_id, 0, 0) for each in parts)


def _wh(kwh: Decimal) -> int:
    return max(0, int(kwh * WH_PER_KWH))
