"""A declaration: what one party offers for one unit and side in all periods of a session, checked as a whole. Pure.

Every period is checked by `orders.check`, in order of the declaration; the first code that applies is the answer. What
is plainly in order is recognised without going through the single checks: 3,000 come within a second.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from cloud.market import orders
from cloud.market.auction import Side
from cloud.market.orders import BookState, Code, Held, Limits, Rules, Segment, Submission
from cloud.market.sessionfile import SessionRule

ENTRIES_MAX: Final = 11_520
_PRICE: Final = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,2}))?", re.ASCII)
_MWH: Final = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,3}))?", re.ASCII)


class Entry(NamedTuple):
    """One segment as it was sent: price in yuan/MWh and quantity in MWh as texts; periods count from 1.

    A tuple, because a burst makes half a million of them and a frozen dataclass costs five times as much.
    """

    period: int
    price: str
    mwh: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """What was sent. `replaces` is the number of the declaration that it takes the place of; entries None withdraw it."""

    unit_id: str
    side: Side
    entries: tuple[Entry, ...] | None
    client_key: UUID
    replaces: int | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """Entries in whole units, in order of period, the order within a period kept."""

    period: tuple[int, ...]
    price_ticks: tuple[int, ...]
    quantity_kwh: tuple[int, ...]

    @property
    def value(self) -> int:
        """Sum of price x quantity in 1e-5 yuan."""
        return sum(map(int.__mul__, self.price_ticks, self.quantity_kwh))


@dataclass(frozen=True, slots=True)
class Standing:
    """A declaration of the same party in the same session that stands."""

    seq: int
    unit_id: str
    side: Side
    packed: Packed


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the party may: kWh in the session (None: any), and fen of margin it can still bind (None: any)."""

    is_eligible: bool
    cap_kwh: int | None
    margin_fen: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """ACCEPT with what was understood and the margin that it binds, or the code and the period that it is about."""

    code: Code
    period: int | None = None
    packed: Packed = Packed((), (), ())
    margin_fen: int = 0


def checked(
    rule: SessionRule, periods: int, allowance: Allowance, standing: Sequence[Standing], sent: Declaration
) -> Verdict:
    """Check a declaration while the gate is open; `standing` without what it replaces."""
    entries = sent.entries
    if not entries or len(entries) > ENTRIES_MAX:
        return Verdict(Code.NO_SEGMENT if not entries else Code.TOO_MANY_SEGMENTS)
    packed = _plain(rule, periods, sent.side, entries)
    if packed is None or not _is_within(rule, allowance, standing, sent.side, packed):
        return _one_by_one(rule, periods, allowance, standing, sent)
    return Verdict(Code.ACCEPT, None, packed, margin_fen(rule, sent.side, packed))


def margin_fen(rule: SessionRule, side: Side, packed: Packed) -> int:
    """The margin that a declaration binds: a share of what is bid to buy, rounded up to a fen."""
    if side is not Side.BUY or not rule.margin_percent:
        return 0
    exact = (Decimal(packed.value) * rule.margin_percent).scaleb(-5)
    return int(exact.to_integral_value(ROUND_CEILING))


def content_sha256(session_no: str, sent: Declaration, packed: Packed) -> bytes:
    """Hash what was declared: the same content of the same client key is the same declaration."""
    content = [
        *(session_no, sent.unit_id, sent.side.value, sent.replaces, sent.entries is None),
        *(packed.period, packed.price_ticks, packed.quantity_kwh),
    ]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).digest()


def packed_from(entries: Sequence[Entry]) -> Packed | None:
    """Read entries as whole units; None when one is no whole number of them."""
    found: dict[int, list[tuple[int, int]]] = {}
    for entry in entries:
        ticks, kwh = _ticks(entry.price), _kwh(entry.mwh)
        if ticks is None or kwh is None:
            return None
        found.setdefault(entry.period, []).append((ticks, kwh))
    flat = [(period, *pair) for period in sorted(found) for pair in found[period]]
    return Packed(*(tuple(each[place] for each in flat) for place in range(3)))


def _plain(rule: SessionRule, periods: int, side: Side, entries: Sequence[Entry]) -> Packed | None:
    """Understand entries that break no rule of shape; None when the single checks must tell."""
    packed = packed_from(entries)
    if packed is None:
        return None
    low, high, tick, lot = rule.band.low_ticks, rule.band.high_ticks, rule.step_ticks, rule.lot_kwh
    sign = -1 if side is Side.BUY else 1
    before, last, run = 0, 0, 0
    for period, ticks, kwh in zip(packed.period, packed.price_ticks, packed.quantity_kwh, strict=True):
        run, last = (run + 1, last) if period == before else (1, sign * ticks)
        if (
            not 1 <= period <= periods
            or run > rule.segments_max
            or sign * ticks < last
            or not low <= ticks <= high
            or ticks % tick
            or kwh <= 0
            or kwh % lot
        ):
            return None
        before, last = period, sign * ticks
    return packed


def _is_within(
    rule: SessionRule, allowance: Allowance, standing: Sequence[Standing], side: Side, packed: Packed
) -> bool:
    if not allowance.is_eligible:
        return False
    if allowance.cap_kwh is not None:
        declared = sum(packed.quantity_kwh) + sum(sum(each.packed.quantity_kwh) for each in standing)
        if declared > allowance.cap_kwh:
            return False
    if any(
        each.side is not side and not set(each.packed.period).isdisjoint(packed.period) for each in standing
    ):
        return False
    if rule.cap_kwh is not None and _over_cap(rule.cap_kwh, standing, packed) is not None:
        return False
    return _has_margin(rule, allowance, standing, side, packed)


def _over_cap(cap_kwh: int, standing: Sequence[Standing], packed: Packed) -> int | None:
    """The first period in which a participant declares more than everybody may."""
    declared: dict[int, int] = {}
    for each in (*(each.packed for each in standing), packed):
        for period, kwh in zip(each.period, each.quantity_kwh, strict=True):
            declared[period] = declared.get(period, 0) + kwh
    return next((period for period in packed.period if declared[period] > cap_kwh), None)


def _has_margin(
    rule: SessionRule, allowance: Allowance, standing: Sequence[Standing], side: Side, packed: Packed
) -> bool:
    if side is not Side.BUY or allowance.margin_fen is None:
        return True
    bound = sum(margin_fen(rule, each.side, each.packed) for each in standing)
    return bound + margin_fen(rule, side, packed) <= allowance.margin_fen


def _one_by_one(
    rule: SessionRule, periods: int, allowance: Allowance, standing: Sequence[Standing], sent: Declaration
) -> Verdict:
    rules = Rules(
        *(
            periods,
            rule.band.low_ticks,
            rule.band.high_ticks,
            rule.step_ticks,
            rule.lot_kwh,
            rule.segments_max,
        ),
        rule.margin_percent,
    )
    free_fen = allowance.margin_fen
    limits = Limits(
        allowance.is_eligible,
        allowance.cap_kwh,
        None if free_fen is None else Decimal(free_fen).scaleb(-2),
    )
    held = [one for each in standing for one in _held(each)]
    for period, segments in _by_period(sent.entries or ()).items():
        submission = Submission("", sent.side, period, segments)
        found = orders.check(rules, limits, BookState(True, tuple(held)), submission)
        if found.code is not Code.ACCEPT:
            return Verdict(found.code, period)
        held.append(Held(0, "", sent.side, period, found.segments))
    packed = packed_from(sent.entries or ())
    if packed is None:
        raise AssertionError("what every single check accepts is a whole number of units")
    if rule.cap_kwh is not None:
        over = _over_cap(rule.cap_kwh, standing, packed)
        if over is not None:
            return Verdict(Code.QTY_CAP, over)
    if not _has_margin(
        rule, allowance, standing, sent.side, packed
    ):  # every declaration's margin is a whole fen
        return Verdict(Code.MARGIN)
    return Verdict(Code.ACCEPT, None, packed, margin_fen(rule, sent.side, packed))


def _by_period(entries: Sequence[Entry]) -> Mapping[int, tuple[tuple[str, str], ...]]:
    found: dict[int, tuple[tuple[str, str], ...]] = {}
    for entry in entries:
        found[entry.period] = (*found.get(entry.period, ()), (entry.price, entry.mwh))
    return found


def _held(standing: Standing) -> tuple[Held, ...]:
    found: dict[int, tuple[Segment, ...]] = {}
    packed = standing.packed
    for period, ticks, kwh in zip(packed.period, packed.price_ticks, packed.quantity_kwh, strict=True):
        found[period] = (*found.get(period, ()), Segment(ticks, kwh))
    return tuple(
        Held(standing.seq, "", standing.side, period, segments) for period, segments in found.items()
    )


@lru_cache(maxsize=1 << 16)
def _ticks(text: str) -> int | None:
    """Read yuan/MWh as 0.01 yuan/MWh; None for what is no whole number of them."""
    found = _PRICE.fullmatch(text)
    if found is not None:
        return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))
    return _whole(text, 2)


@lru_cache(maxsize=1 << 16)
def _kwh(text: str) -> int | None:
    """Read MWh as kWh; None for what is no whole number of them."""
    found = _MWH.fullmatch(text)
    if found is not None:
        return int(found[1]) * 1000 + int((found[2] or "").ljust(3, "0"))
    return _whole(text, 3)


def _whole(text: str, places: int) -> int | None:
    if orders.parsed(text) is None:
        return None
    found = orders.units(text, places)
    return found if isinstance(found, int) else None
