"""Session rules: TOML text -> typed, validated rules of a call auction. Pure; the format is told in sessions/README.md.

A rule is dated, versioned and sourced data: product and periods, tick and lot, the band around the base price, who may
trade, caps, margin, how is cleared, what is shown, the hours of a trading day. What a rule does not say is refused.
A session carries the whole text, so that a run can be repeated from the database alone (market.md 1, 8, 10).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum

from cloud.contracts.entries import Entries, entries_from
from cloud.contracts.terms import HOURS, LABEL, QUARTERS, WHOLE_MONTH
from cloud.market.auction import AtMargin, PriceRule, Side
from cloud.parties.standing import UNRATED, Grade

SCHEMA = "shoudian-session-rule/1"
TICKS_PER_YUAN = 100
KWH_PER_MWH = 1000
KWH_PER_CERTIFICATE = 1000
KINDS = ("user", "retailer", "generator", "storage", "vpp")
GRADES = ("AAA", "AA", "A", "BBB", "BB", "B", "C", "D")
SEGMENTS_MAX = 10
PERIODS_MAX = 1152  # a year of months by 96
ROLLING_PERIODS_MAX = 288  # books of a rolling session (0029_listings.sql)
RESTS = ("expire", "rolling")
RULE_ID = re.compile(r"[a-z0-9-]{3,60}", re.ASCII)
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)


class Product(StrEnum):
    """What is traded."""

    ENERGY = "energy"
    GREEN = "energy+env"  # 绿电: the energy's price is bid, the environmental value is the rule's
    CERTIFICATE = "gec"  # 绿证: whole certificates of 1 MWh


class Method(StrEnum):
    """How a book is cleared: one price for all 统一边际出清, or pair by pair 高低匹配."""

    UNIFORM = "uniform"
    PAIRING = "pairing"


@dataclass(frozen=True, slots=True)
class Band:
    """The prices allowed, both ends included, and where they come from."""

    base_ticks: int
    low_ticks: int
    high_ticks: int
    source: str


@dataclass(frozen=True, slots=True)
class Hours:
    """A trading day of this kind of session on the market's clock; `rolls_until` None: no rolling phase."""

    opens: time
    freezes: time
    publishes: time
    rolls_until: time | None


@dataclass(frozen=True, slots=True)
class First:
    """Whose declarations alone are taken in the first minutes of a session 信用优先; who is not graded counts as A.

    It is the hour of coming in that credit decides: what is in the book is ranked by price and time, whosesoever it is.
    """

    grades: tuple[str, ...]
    minutes: int

    def opens_for(self, grade: str | None, opens_at: datetime) -> datetime:
        """From when on a party of that grade may declare."""
        if self.minutes and (grade or UNRATED) not in self.grades:
            return opens_at + timedelta(minutes=self.minutes)
        return opens_at


@dataclass(frozen=True, slots=True)
class SessionRule:
    """One version of the rules of a kind of session."""

    rule_id: str
    version: int
    from_day: date
    end_day: date | None  # exclusive
    title: str
    document: str
    product: Product
    labels: tuple[str, ...]  # the periods of one delivery month
    step_ticks: int  # in 0.01 yuan/MWh
    lot_kwh: int
    segments_max: int
    environment_ticks: int
    band: Band
    buyers: tuple[str, ...]
    sellers: tuple[str, ...]
    grades: tuple[str, ...]  # empty: any
    first: First
    cap_kwh: int | None  # declared by one participant for one period
    margin_percent: Decimal  # of price x quantity of what is bought
    method: Method
    price_rule: PriceRule
    at_margin: AtMargin
    carries_rests: bool  # what is left unfilled goes on in the rolling phase
    alert_ticks: int | None  # tell staff when the price and the marginal price differ by more
    is_sealed: bool
    shows_curve: bool
    hours: Hours
    sha256: str

    @property
    def origin(self) -> str:
        """Name this rule and version."""
        return f"{self.rule_id}@{self.version}"

    def in_force(self, day: date) -> bool:
        """Whether sessions of that trading day may follow it."""
        return self.from_day <= day and (self.end_day is None or day < self.end_day)

    def kinds(self, side: Side) -> tuple[str, ...]:
        """Kinds of parties that may trade on a side."""
        return self.buyers if side is Side.BUY else self.sellers


def rule_from(name: str, text: str) -> SessionRule:
    """Read a rule file. Raises BadMarketFile, naming file, key and what is allowed."""
    top = entries_from(name, text)
    top.choice("schema", (SCHEMA,))
    rule_id = top.text("id")
    if not RULE_ID.fullmatch(rule_id):
        top.refuse("id", rule_id, "3 to 60 small letters, digits, -")
    product, clearing, showing = top.table("product"), top.table("clearing"), top.table("showing")
    kind = Product(product.choice("kind", tuple(Product)))
    who, caps = top.table("who"), top.table("caps")
    from_day, end_day = top.day("from"), top.optional_day("to")
    if end_day is not None and end_day <= from_day:
        top.refuse("to", end_day, "a later day than `from`")
    method = Method(clearing.choice("method", tuple(Method)))
    lot_kwh = _kwh(product, "lot_mwh")
    if kind is Product.CERTIFICATE and lot_kwh % KWH_PER_CERTIFICATE:
        product.refuse("lot_mwh", product.take("lot_mwh"), "whole MWh for certificates")
    rule = SessionRule(
        rule_id=rule_id,
        version=top.integer("version", 1, 9999),
        from_day=from_day,
        end_day=end_day,
        title=top.text("title"),
        document=top.text("document"),
        product=kind,
        labels=_labels(product),
        step_ticks=_ticks(product, "tick_yuan_per_mwh"),
        lot_kwh=lot_kwh,
        segments_max=product.integer("segments_max", 1, SEGMENTS_MAX),
        environment_ticks=_environment(product, kind),
        band=_band(top.table("band")),
        buyers=_kinds(who, "buyers", KINDS),
        sellers=_kinds(who, "sellers", KINDS),
        grades=_some(who, "grades", GRADES),
        first=_first(top),
        cap_kwh=_kwh(caps, "participant_mwh") if caps.has("participant_mwh") else None,
        margin_percent=_percent(top.table("margin"), "rate_percent", Decimal(100)),
        method=method,
        price_rule=PriceRule(clearing.choice("price_rule", tuple(PriceRule))),
        at_margin=_at_margin(clearing, method),
        carries_rests=clearing.has("rests") and clearing.choice("rests", RESTS) == "rolling",
        alert_ticks=_ticks(clearing, "alert_yuan_per_mwh") if clearing.has("alert_yuan_per_mwh") else None,
        is_sealed=showing.flag("is_sealed", True),
        shows_curve=showing.flag("shows_curve", False),
        hours=_hours(top.table("clock")),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
    if rule.carries_rests and (rule.hours.rolls_until is None or len(rule.labels) > ROLLING_PERIODS_MAX):
        clearing.refuse("rests", "rolling", "expire, where no rolling phase of at most 288 periods follows")
    if kind is Product.CERTIFICATE:
        _check_certificates(rule, product, clearing)
    caps.text("source")
    for table in (product, clearing, showing, who, caps, top):
        table.done()
    return rule


def _labels(product: Entries) -> tuple[str, ...]:
    kind = product.choice("periods", ("month", "tou", "24", "96"))
    labels = product.texts("labels")
    if kind == "tou":
        if not labels or len(set(labels)) != len(labels) or not all(map(LABEL.fullmatch, labels)):
            product.refuse("labels", labels, "the names of the periods, each once, for example peak")
        return labels
    if labels:
        product.refuse("labels", labels, 'only where periods = "tou"')
    return {"month": (WHOLE_MONTH,), "24": HOURS, "96": QUARTERS}[kind]


def _check_certificates(rule: SessionRule, product: Entries, clearing: Entries) -> None:
    """A certificate is one MWh of one month, whole and never energy: no part of it is shared out, none rolls on."""
    if rule.labels != (WHOLE_MONTH,):
        product.refuse("periods", product.take("periods"), "month, for certificates of a month of production")
    if rule.at_margin is not AtMargin.TIME:
        clearing.refuse("at_margin", rule.at_margin, "time, where whole certificates are traded")
    if rule.hours.rolls_until is not None:
        clearing.refuse("rests", "rolling", "no rolling phase for certificates")


def _environment(product: Entries, kind: Product) -> int:
    if (kind is Product.GREEN) != product.has("environment_yuan_per_mwh"):
        product.refuse(
            "environment_yuan_per_mwh", product.take("environment_yuan_per_mwh"), f"given for {Product.GREEN}"
        )
    return _ticks(product, "environment_yuan_per_mwh") if kind is Product.GREEN else 0


def _band(table: Entries) -> Band:
    base = _ticks(table, "base_yuan_per_mwh")
    down, up = (_percent(table, f"{name}_percent", Decimal(1000)) for name in ("down", "up"))
    low, high = (base * (100 - down) / 100, base * (100 + up) / 100)
    if low != int(low) or high != int(high):
        table.refuse("base_yuan_per_mwh", f"{low}..{high}", "limits that are whole 0.01 yuan/MWh")
    band = Band(base, int(low), int(high), table.text("source"))
    table.done()
    return band


def _kinds(table: Entries, key: str, allowed: Collection[str]) -> tuple[str, ...]:
    found = _some(table, key, allowed)
    if not found:
        table.refuse(key, found, "one or more of " + ", ".join(allowed))
    return found


def _some(table: Entries, key: str, allowed: Collection[str]) -> tuple[str, ...]:
    found = table.texts(key)
    if not set(found) <= set(allowed) or len(set(found)) != len(found):
        table.refuse(key, found, "each once, of " + ", ".join(allowed))
    return found


def _first(top: Entries) -> First:
    if not top.has("first"):
        return First((), 0)
    table = top.table("first")
    found = First(_some(table, "grades", tuple(Grade)), table.integer("minutes", 1, 24 * 60))
    if not found.grades:
        table.refuse("grades", found.grades, "one or more of " + ", ".join(Grade))
    table.done()
    return found


def _at_margin(clearing: Entries, method: Method) -> AtMargin:
    at_margin = AtMargin(clearing.choice("at_margin", tuple(AtMargin)))
    if method is Method.PAIRING and at_margin is not AtMargin.TIME:
        clearing.refuse("at_margin", at_margin, "time, where pairs are matched one after the other")
    return at_margin


def _hours(table: Entries) -> Hours:
    named = {key: table.text(key) for key in ("opens", "freezes", "publishes")}
    if table.has("rolls_until"):
        named["rolls_until"] = table.text("rolls_until")
    read: dict[str, time] = {}
    for key, value in named.items():
        found = _CLOCK.fullmatch(value)
        if found is None:
            table.refuse(key, value, 'an hour of the market\'s clock, for example "09:20"')
        read[key] = time(int(found[1]), int(found[2]))
    if list(read.values()) != sorted(set(read.values())):
        table.refuse("opens", named, "opens before freezes before publishes before rolls_until")
    table.done()
    return Hours(read["opens"], read["freezes"], read["publishes"], read.get("rolls_until"))


def _ticks(table: Entries, key: str) -> int:
    """Read yuan/MWh as 0.01 yuan/MWh, exactly."""
    value = table.decimal(key)
    ticks = value * TICKS_PER_YUAN
    if ticks != int(ticks) or not 0 < ticks < 10**9:
        table.refuse(key, value, "yuan/MWh above 0 with at most 2 decimals")
    return int(ticks)


def _kwh(table: Entries, key: str) -> int:
    value = table.decimal(key)
    kwh = value * KWH_PER_MWH
    if kwh != int(kwh) or not 0 < kwh < 10**12:
        table.refuse(key, value, "MWh above 0 with at most 3 decimals")
    return int(kwh)


def _percent(table: Entries, key: str, most: Decimal) -> Decimal:
    value = table.decimal(key)
    if not 0 <= value <= most:
        table.refuse(key, value, f"0 to {most}")
    return value
