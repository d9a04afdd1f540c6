"""A demand-response programme as dated data: TOML text -> typed, validated rules; and the lives of events and results.

The format is told in programmes/README.md. Nothing has a default: what a programme does not say does not exist. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from cloud.contracts.entries import Entries, entries_from
from cloud.lives import Life
from cloud.market.response import Band, Ranking, Shortfall
from cloud.markettime import SLOTS_PER_DAY

MARKS = ("OFF", "SEC", "CALC", "MEM", "PROJ")
DAYS_MAX = 60

EVENT = Life(
    "response_event",
    {
        (None, "plan"): "planned",
        ("planned", "notify"): "notified",
        ("planned", "cancel"): "cancelled",
        ("notified", "start"): "active",
        ("notified", "cancel"): "cancelled",
        ("active", "end"): "ended",
        ("ended", "assess"): "assessed",
        ("assessed", "confirm"): "confirmed",
        ("assessed", "object"): "disputed",
        ("disputed", "decide"): "assessed",
        ("confirmed", "settle"): "settled",
    },
)
RESULT = Life(
    "response_result",
    {
        (None, "draw"): "drawn",
        ("drawn", "confirm"): "confirmed",
        ("drawn", "silence"): "confirmed",
        ("drawn", "object"): "disputed",
        ("disputed", "reject"): "confirmed",
        ("disputed", "uphold"): "replaced",
        ("confirmed", "settle"): "settled",
    },
)


class Type(StrEnum):
    """How far ahead a response is called."""

    CONTRACTED = "contracted"  # 约定型
    DAY_AHEAD = "day-ahead"
    INTRADAY = "intraday"


class Direction(StrEnum):
    """Whether load goes down or up."""

    REDUCE = "reduce"  # 削峰
    FILL = "fill"  # 填谷


class Form(StrEnum):
    """How a baseline meets the day it is used on."""

    RATIO = "ratio"
    ADD = "add"


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Day-of adjustment from the `slots` quarter-hours that end `gap_slots` before the event, within limits."""

    form: Form
    slots: int
    gap_slots: int
    low_ratio: Decimal | None
    high_ratio: Decimal | None
    limit_kw: Decimal | None


@dataclass(frozen=True, slots=True)
class BaselineRule:
    """X of Y: `days` of the `of_days` latest eligible days within `look_back_days`, chosen by their energy."""

    days: int
    of_days: int
    ranking: Ranking
    look_back_days: int
    adjustment: Adjustment | None


@dataclass(frozen=True, slots=True)
class Programme:
    """One version of a programme."""

    id: str
    version: int
    sha256: str
    title: str
    type: Type
    direction: Direction
    effective_from: date
    effective_to: date | None
    documents: tuple[str, ...]
    notice_minutes: int
    answer_minutes: int
    objection_days: int
    cap_yuan_per_kwh: Decimal
    band: Band
    penalty: Shortfall | None
    baseline: BaselineRule

    @property
    def origin(self) -> str:
        """Name this programme and version, as lines and derivations do."""
        return f"{self.id}@{self.version}"

    def is_in_force(self, day: date) -> bool:
        """Whether events of a day may use this version."""
        return self.effective_from <= day and (self.effective_to is None or day < self.effective_to)


@dataclass(frozen=True, slots=True)
class Step:
    """A move of an event or a result."""

    deed: str
    before: str
    after: str
    at: datetime
    actor: str
    reason: str


def programme_from(name: str, text: str) -> Programme:
    """Read a programme. Raises BadMarketFile, which names what is wrong and what is allowed."""
    entries = entries_from(name, text)
    entries.choice("kind", ("response-programme",))
    terms, price, band = (entries.table(key) for key in ("terms", "price", "band"))
    found = Programme(
        entries.text("id"),
        entries.integer("version", 1, 999),
        hashlib.sha256(text.encode()).hexdigest(),
        entries.text("title"),
        Type(entries.choice("type", tuple(Type))),
        Direction(entries.choice("direction", tuple(Direction))),
        entries.day("effective_from"),
        entries.optional_day("effective_to"),
        tuple(_source(each) for each in entries.tables("source")),
        terms.integer("notice_minutes", 1, 10_080),
        terms.integer("answer_minutes", 0, 10_080),
        terms.integer("objection_days", 1, 60),
        _positive(price, "cap_yuan_per_kwh"),
        Band(_positive(band, "low_ratio"), _positive(band, "high_ratio") if band.has("high_ratio") else None),
        _penalty(entries),
        _baseline(entries.table("baseline")),
    )
    for each in (terms, price, band, entries):
        each.done()
    if not found.documents:
        entries.refuse("source", "none", "at least one source")
    if found.band.high_ratio is not None and found.band.high_ratio < found.band.low_ratio:
        band.refuse("high_ratio", found.band.high_ratio, "not below low_ratio")
    if found.answer_minutes >= found.notice_minutes:
        terms.refuse("answer_minutes", found.answer_minutes, "below notice_minutes")
    return found


def _source(entries: Entries) -> str:
    document = entries.text("document")
    entries.choice("mark", MARKS)
    entries.text("note", "")
    entries.done()
    return document


def _penalty(entries: Entries) -> Shortfall | None:
    if not entries.has("penalty"):
        return None
    table = entries.table("penalty")
    found = Shortfall(_positive(table, "least_ratio"), _positive(table, "multiple"))
    table.done()
    return found


def _baseline(entries: Entries) -> BaselineRule:
    of = entries.integer("of", 1, DAYS_MAX)
    found = BaselineRule(
        entries.integer("days", 1, of),
        of,
        Ranking(entries.choice("ranking", tuple(Ranking))),
        entries.integer("look_back_days", of, 400),
        _adjustment(entries.table("adjustment")) if entries.has("adjustment") else None,
    )
    entries.done()
    return found


def _adjustment(entries: Entries) -> Adjustment:
    form = Form(entries.choice("form", tuple(Form)))
    is_ratio = form is Form.RATIO
    found = Adjustment(
        form,
        entries.integer("slots", 1, SLOTS_PER_DAY),
        entries.integer("gap_slots", 0, SLOTS_PER_DAY),
        _positive(entries, "low_ratio") if is_ratio else None,
        _positive(entries, "high_ratio") if is_ratio else None,
        None if is_ratio else _positive(entries, "limit_kw"),
    )
    entries.done()
    return found


def _positive(entries: Entries, key: str) -> Decimal:
    value = entries.decimal(key)
    if value <= 0:
        entries.refuse(key, value, "a number above 0")
    return value
