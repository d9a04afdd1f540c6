"""Trading on a platform that is not ours: the life of a message to it, what its results must obey, what differs. Pure.

A declaration goes out under a key that is the same however often it is sent; the platform keeps it once. A result is
believed when it balances and fits what was declared. At night our messages and results are held against the
platform's own file; every difference has a name (market.md 14.2, point 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from cloud.errors import Invalid
from cloud.lives import Life
from cloud.market.auction import AtMargin, Clearing, Fill, PriceRule, Side

MESSAGE: Final = Life(
    "exchange_message",
    {
        (None, "queue"): "NEW",
        ("NEW", "send"): "SENT",
        ("SENT", "send"): "SENT",  # the same message under the same key, after no or no credible answer
        ("SENT", "ack"): "ACKED",
        ("SENT", "reject"): "REJECTED",
        ("ACKED", "reconcile"): "RECONCILED",
    },
)
FIRST_WAIT: Final = timedelta(seconds=5)
LONGEST_WAIT: Final = timedelta(minutes=10)
ENTRIES_MAX: Final = 5000


class Kind(StrEnum):
    """What a message asks for."""

    SUBMIT = "SUBMIT"
    REPLACE = "REPLACE"
    WITHDRAW = "WITHDRAW"


class BadResult(Invalid):
    """A result contradicts itself or what was declared; `facts` say where. It is kept and not used."""


@dataclass(frozen=True, slots=True)
class Entry:
    """So much in one period at one price; `period` is the session's number from 1."""

    period: int
    price_ticks: int
    quantity_kwh: int


@dataclass(frozen=True, slots=True)
class Declaration:
    """What one unit declares for a side; `replaces` is the key of what it takes the place of, or withdraws."""

    key: str
    kind: Kind
    session_no: str
    unit_id: str
    side: Side
    entries: tuple[Entry, ...]
    replaces: str | None
    declared_at: datetime

    def __post_init__(self) -> None:
        if (self.kind is Kind.WITHDRAW) == bool(self.entries) or len(self.entries) > ENTRIES_MAX:
            raise ValueError(f"{self.key}: a withdrawal has no entries, anything else has some")
        if (self.kind is Kind.SUBMIT) != (self.replaces is None):
            raise ValueError(f"{self.key}: only a first declaration replaces nothing")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the platform said to a message: its receipt, or the code of its refusal."""

    key: str
    is_accepted: bool
    code: str
    receipt_no: str


@dataclass(frozen=True, slots=True)
class PeriodResult:
    """One period's outcome; without a trade the prices are None."""

    period: int
    volume_kwh: int
    price_ticks: int | None
    last_bid_ticks: int | None
    last_ask_ticks: int | None
    bid_out_ticks: int | None
    ask_out_ticks: int | None


@dataclass(frozen=True, slots=True)
class Result:
    """A session's outcome: per period, and per key one quantity for every entry of the declaration."""

    session_no: str
    version: int
    price_rule: PriceRule
    at_margin: AtMargin
    periods: tuple[PeriodResult, ...]
    fills: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Held:
    """What the platform's file says of one of our keys, or our books say of it."""

    key: str
    session_no: str
    kind: Kind
    side: Side
    unit_id: str
    entries: tuple[Entry, ...]
    is_accepted: bool


@dataclass(frozen=True, slots=True)
class DayFile:
    """The platform's file of a day: every declaration that it took from us, and its sessions' results."""

    day: date
    declarations: tuple[Held, ...]
    results: tuple[Result, ...]


class Gap(StrEnum):
    """The names of differences."""

    MISSING_THERE = "missing_there"  # acknowledged to us, not in their file
    MISSING_HERE = "missing_here"  # in their file, never sent by us
    DOUBLED_THERE = "doubled_there"  # one key twice in their file
    CONTENT = "content"  # other side, unit, quantity or price under the same key
    VERDICT = "verdict"  # accepted there and refused here, or the other way round
    UNANSWERED = "unanswered"  # taken there, and we still have no answer
    RESULT_MISSING_HERE = "result_missing_here"
    RESULT_MISSING_THERE = "result_missing_there"
    RESULT_VERSION = "result_version"
    VOLUME = "volume"
    PRICE = "price"
    FILL = "fill"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which our books and the platform's file differ."""

    gap: Gap
    session_no: str
    key: str  # of a declaration; "" for a result
    period: int  # 0: not about a period
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Ours:
    """Our books of a day: messages by key with what they say and their state, and results taken."""

    messages: Mapping[str, tuple[Held, str]]
    results: Mapping[str, Result] = field(default_factory=dict)


def wait_after(attempts: int) -> timedelta:
    """How long to wait after that many attempts: doubling, up to LONGEST_WAIT."""
    if attempts < 1:
        raise ValueError("the first attempt waits for nothing")
    doublings: int = 2 ** min(attempts - 1, 20)
    return min(FIRST_WAIT * doublings, LONGEST_WAIT)


def checked(result: Result, declared: Mapping[str, Declaration]) -> Result:
    """The result, if it can be true: balanced, within what was declared, at prices that everybody accepted.

    `declared` is what stood when the book closed, by key. Raises BadResult.
    """
    periods = {each.period: each for each in result.periods}
    if len(periods) != len(result.periods):
        raise BadResult("bad_result", session=result.session_no, place="period", problem="twice")
    if unknown := sorted(result.fills.keys() ^ declared.keys()):
        raise BadResult("bad_result", session=result.session_no, place=unknown[0], problem="not one each")
    sums: dict[tuple[int, Side], int] = {}
    for key, fills in result.fills.items():
        own = declared[key]
        if len(fills) != len(own.entries):
            raise BadResult("bad_result", session=result.session_no, place=key, problem="entries")
        for entry, filled_kwh in zip(own.entries, fills, strict=True):
            _check_fill(result.session_no, own, entry, filled_kwh, periods.get(entry.period))
            place = (entry.period, own.side)
            sums[place] = sums.get(place, 0) + filled_kwh
    for each in result.periods:
        both = tuple(sums.get((each.period, side), 0) for side in Side)
        if both != (each.volume_kwh, each.volume_kwh) or (each.volume_kwh > 0) != (
            each.price_ticks is not None
        ):
            raise BadResult(
                "bad_result", session=result.session_no, place=f"period {each.period}", problem="balance"
            )
    return result


def clearing_of(result: Result, declared: Mapping[str, Declaration], period: int) -> Clearing:
    """One period of a checked result as the auction's own type: a fill per entry, id 'key/position'."""
    found = next(each for each in result.periods if each.period == period)
    fills = tuple(
        Fill(f"{key}/{position}", result.fills[key][position])
        for key in sorted(declared)
        for position, entry in enumerate(declared[key].entries)
        if entry.period == period
    )
    return Clearing(
        found.volume_kwh,
        found.last_bid_ticks,
        found.last_ask_ticks,
        found.bid_out_ticks,
        found.ask_out_ticks,
        fills,
    )


def differences(ours: Ours, theirs: DayFile) -> tuple[Difference, ...]:
    """Everything in which our books and the platform's file of a day differ, in the order of keys and sessions."""
    found = list(_doubled(theirs.declarations))
    there = {each.key: each for each in theirs.declarations}
    for key in sorted(ours.messages.keys() | there.keys()):
        found += _of_key(key, ours.messages.get(key), there.get(key))
    results = {each.session_no: each for each in theirs.results}
    for session_no in sorted(ours.results.keys() | results.keys()):
        found += _of_result(session_no, ours.results.get(session_no), results.get(session_no))
    return tuple(found)


def _check_fill(
    session_no: str, own: Declaration, entry: Entry, filled_kwh: int, period: PeriodResult | None
) -> None:
    if period is None:
        raise BadResult("bad_result", session=session_no, place=f"period {entry.period}", problem="missing")
    if not 0 <= filled_kwh <= entry.quantity_kwh:
        raise BadResult("bad_result", session=session_no, place=own.key, problem="over the declaration")
    if filled_kwh and period.price_ticks is not None:
        gain = (entry.price_ticks - period.price_ticks) * (1 if own.side is Side.BUY else -1)
        if gain < 0:
            raise BadResult("bad_result", session=session_no, place=own.key, problem="price")


def _doubled(declarations: Sequence[Held]) -> tuple[Difference, ...]:
    seen: set[str] = set()
    found = []
    for each in declarations:
        if each.key in seen:
            found.append(Difference(Gap.DOUBLED_THERE, each.session_no, each.key, 0, "1", "2"))
        seen.add(each.key)
    return tuple(found)


def _of_key(key: str, ours: tuple[Held, str] | None, theirs: Held | None) -> tuple[Difference, ...]:
    if ours is None:
        assert theirs is not None
        return (Difference(Gap.MISSING_HERE, theirs.session_no, key, 0, "", theirs.kind.value),)
    own, state = ours
    if theirs is None:
        is_gap = state in ("ACKED", "RECONCILED")
        return (Difference(Gap.MISSING_THERE, own.session_no, key, 0, state, ""),) if is_gap else ()
    if state in ("NEW", "SENT"):
        return (Difference(Gap.UNANSWERED, own.session_no, key, 0, state, _verdict(theirs.is_accepted)),)
    if (state == "REJECTED") == theirs.is_accepted:
        return (Difference(Gap.VERDICT, own.session_no, key, 0, state, _verdict(theirs.is_accepted)),)
    if _content(own) != _content(theirs):
        return (Difference(Gap.CONTENT, own.session_no, key, 0, _content(own), _content(theirs)),)
    return ()


def _of_result(session_no: str, ours: Result | None, theirs: Result | None) -> tuple[Difference, ...]:
    if ours is None:
        assert theirs is not None
        return (Difference(Gap.RESULT_MISSING_HERE, session_no, "", 0, "", f"v{theirs.version}"),)
    if theirs is None:
        return (Difference(Gap.RESULT_MISSING_THERE, session_no, "", 0, f"v{ours.version}", ""),)
    found = []
    if ours.version != theirs.version:
        versions = (f"v{ours.version}", f"v{theirs.version}")
        found.append(Difference(Gap.RESULT_VERSION, session_no, "", 0, *versions))
    here, there = ({each.period: each for each in side.periods} for side in (ours, theirs))
    for period in sorted(here.keys() | there.keys()):
        own, other = here.get(period), there.get(period)
        volumes = tuple("" if each is None else str(each.volume_kwh) for each in (own, other))
        prices = tuple("" if each is None else str(each.price_ticks) for each in (own, other))
        if volumes[0] != volumes[1]:
            found.append(Difference(Gap.VOLUME, session_no, "", period, *volumes))
        if prices[0] != prices[1]:
            found.append(Difference(Gap.PRICE, session_no, "", period, *prices))
    for key in sorted(ours.fills.keys() | theirs.fills.keys()):
        filled = (ours.fills.get(key, ()), theirs.fills.get(key, ()))
        if filled[0] != filled[1]:
            texts = tuple(",".join(map(str, each)) for each in filled)
            found.append(Difference(Gap.FILL, session_no, key, 0, *texts))
    return tuple(found)


def _verdict(is_accepted: bool) -> str:
    return "accepted" if is_accepted else "rejected"


def _content(held: Held) -> str:
    entries = ";".join(f"{e.period}:{e.price_ticks}:{e.quantity_kwh}" for e in held.entries)
    return f"{held.kind} {held.unit_id} {held.side} {entries}"
