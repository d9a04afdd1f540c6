"""Read a demand-response programme: TOML text -> typed, validated rules. Pure.

The format is told in programmes/README.md. Nothing has a default: what a programme does not say does not exist.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal

from cloud.contracts.entries import Entries, entries_from
from cloud.market.programme import (
    Adjustment,
    Assess,
    BaselineRule,
    Basis,
    CapacityRule,
    Direction,
    Failure,
    Form,
    Programme,
    Type,
)
from cloud.market.response import Band, Ranking, Shortfall
from cloud.markettime import SLOTS_PER_DAY

MARKS = ("OFF", "SEC", "CALC", "MEM", "PROJ")
DAYS_MAX = 60


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
        _capacity(entries),
        _assess(entries),
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
        entries.integer("skip_days", 0, DAYS_MAX) if entries.has("skip_days") else 0,
        _ratio(entries, "least_ratio") if entries.has("least_ratio") else None,
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


def _capacity(entries: Entries) -> CapacityRule | None:
    if not entries.has("capacity"):
        return None
    table = entries.table("capacity")
    failure = None
    if table.has("failure"):
        inner = table.table("failure")
        failure = Failure(_ratio(inner, "least_ratio"), _ratio(inner, "withheld_ratio"))
        inner.done()
    basis = Basis(table.choice("basis", tuple(Basis)))
    found = CapacityRule(_positive(table, "yuan_per_kw_month"), basis, failure)
    table.done()
    return found


def _assess(entries: Entries) -> Assess:
    if not entries.has("aggregation"):
        return Assess.MEMBER
    table = entries.table("aggregation")
    found = Assess(table.choice("assess", tuple(Assess)))
    table.done()
    return found


def _ratio(entries: Entries, key: str) -> Decimal:
    value = entries.decimal(key)
    if not 0 < value <= 1:
        entries.refuse(key, value, "a number above 0, at most 1")
    return value
