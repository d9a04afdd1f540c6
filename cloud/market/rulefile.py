"""Market rules: TOML text -> typed, validated rules of settlement. Pure; the format is told in rules/README.md.

A rule is dated, versioned and sourced data: the form of settlement, its periods, how deviations are priced and
assessed, and who shares every named difference. Nothing has a default: what a rule does not say is refused, and a
market without an entered rule is not settled (tariffs-and-settlement 1.3 no. 11).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import pairwise
from typing import TypeVar

from cloud.contracts import periods
from cloud.contracts.entries import Entries, entries_from
from cloud.contracts.periods import NamedHours, hours_in
from cloud.market.deviation import Assessment, PricePick, SideRule, Tier
from cloud.market.line import Side

MARKS = ("OFF", "SEC", "CALC", "MEM", "PROJ")
WHOLE = "month"
PRICE_KEY = re.compile(r"[a-z][a-z0-9_]{0,59}", re.ASCII)

_T = TypeVar("_T")


class Form(StrEnum):
    """Without a spot market, or with one."""

    CONTRACT_DEVIATION = "contract-deviation"
    SPOT = "spot"


class PeriodKind(StrEnum):
    """What is settled as one: the month, its named periods, every hour or quarter-hour of every day."""

    MONTH = "month"
    NAMED = "named"
    HOUR = "hour"
    QUARTER = "quarter"


class SpotForm(StrEnum):
    """差量 or 差价: two ways to write the same amount (1656号 art. 74)."""

    QUANTITY = "quantity"
    DIFFERENCE = "difference"


class Reference(StrEnum):
    """The price at which contracts are compared with the market (1656号 art. 73)."""

    DAY_AHEAD = "day-ahead"
    REAL_TIME = "real-time"


class LineLoss(StrEnum):
    """Whether the line loss of the market is settled here, or charged by the tariff on the bill."""

    BILLED = "billed"
    SETTLED = "settled"


class GreenOrder(StrEnum):
    """Which green contract is served first when generation or use does not suffice for all."""

    PRICE = "price"  # highest environmental price first
    LISTED = "listed"  # by contract number


class Difference(StrEnum):
    """Every difference between what one side pays and the other receives has a name (976号 art. 14)."""

    USER_DEVIATION = "user_deviation"
    GENERATOR_DEVIATION = "generator_deviation"
    USER_ASSESSMENT = "user_assessment"
    GENERATOR_ASSESSMENT = "generator_assessment"
    MECHANISM = "mechanism"
    MECHANISM_ENERGY = "mechanism_energy"
    LINE_LOSS = "line_loss"


@dataclass(frozen=True, slots=True)
class Source:
    """A document behind a rule, with how certain it is."""

    document: str
    mark: str
    confirmed: bool
    note: str


@dataclass(frozen=True, slots=True)
class Sharing:
    """Who shares a named difference, by energy of the month; nobody: it stays with the grid company, by its name."""

    name: Difference
    among: tuple[Side, ...]


@dataclass(frozen=True, slots=True)
class MarketRule:
    """One version of a market's rule. Deviation rules are there when there is no spot market."""

    id: str
    version: int
    sha256: str
    title: str
    effective_from: date
    effective_to: date | None
    sources: tuple[Source, ...]
    form: Form
    period: PeriodKind
    spot_form: SpotForm | None
    reference: Reference | None
    line_loss: LineLoss
    green_order: GreenOrder
    hours: tuple[NamedHours, ...]
    user: SideRule | None
    generator: SideRule | None
    sharings: tuple[Sharing, ...]

    @property
    def origin(self) -> str:
        """Name this rule and version, as lines and derivations do."""
        return f"{self.id}@{self.version}"

    @property
    def document(self) -> str:
        """Name the document the rule follows first of all."""
        return self.sources[0].document

    def label_of(self, day: date, slot: int) -> str:
        """Name the period of a quarter-hour; empty where the rule names none."""
        return periods.label_of(self.hours, day, slot)

    def labels(self, month: date) -> tuple[str, ...]:
        """List the named periods of a month in the order of the day."""
        return periods.labels_of(self.hours, month)

    def sharing_of(self, name: Difference) -> Sharing:
        """Find who shares a named difference; the parser made sure that everything is said."""
        return next(each for each in self.sharings if each.name is name)

    def in_force(self, day: date) -> bool:
        """Say whether the rule itself is in force on a day."""
        return self.effective_from <= day and (self.effective_to is None or day < self.effective_to)


def rule_from(name: str, text: str) -> MarketRule:
    """Read one rule file. Raises BadMarketFile."""
    table = entries_from(name, text)
    table.choice("kind", ("market-rule",))
    settlement = table.table("settlement")
    form = Form(settlement.choice("form", tuple(Form)))
    is_spot = form is Form.SPOT
    kinds = (PeriodKind.HOUR, PeriodKind.QUARTER) if is_spot else (PeriodKind.MONTH, PeriodKind.NAMED)
    period = PeriodKind(settlement.choice("period", tuple(str(kind) for kind in kinds)))
    line_loss = LineLoss(settlement.choice("line_loss", tuple(LineLoss)))
    rule = MarketRule(
        id=table.text("id"),
        version=table.integer("version", 1, 9999),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        title=table.text("title"),
        effective_from=table.day("effective_from"),
        effective_to=table.optional_day("effective_to"),
        sources=_sources(table),
        form=form,
        period=period,
        spot_form=SpotForm(settlement.choice("spot_form", tuple(SpotForm))) if is_spot else None,
        reference=Reference(settlement.choice("reference", tuple(Reference))) if is_spot else None,
        line_loss=line_loss,
        green_order=GreenOrder(settlement.choice("green_order", tuple(GreenOrder))),
        hours=hours_in(table, is_needed=period is PeriodKind.NAMED),
        user=None if is_spot else _side(table.table("deviation"), "user"),
        generator=None if is_spot else _side(table.table("deviation"), "generator"),
        sharings=_sharings(table, is_spot, line_loss),
    )
    settlement.done()
    table.done()
    return rule


def price_keys(rule: MarketRule) -> tuple[str, ...]:
    """List every monthly price the rule may ask for, in its order; which of them must be there depends on the month."""
    picks = [
        pick
        for side in (rule.user, rule.generator)
        if side is not None
        for pick in (
            *(tier.pick for tier in (*side.over, *side.under)),
            *(assessment.pick for assessment in side.assessments),
        )
    ]
    keys = [key for pick in picks for key in pick.keys]
    return tuple(dict.fromkeys(keys))


def _sources(table: Entries) -> tuple[Source, ...]:
    sources = tuple(
        _read(
            each,
            lambda t: Source(
                t.text("document"), t.choice("mark", MARKS), t.flag("confirmed", False), t.text("note", "")
            ),
        )
        for each in table.tables("source")
    )
    if not sources:
        table.refuse(
            "source", None, "one or more tables [[source]]: a rule without a document is nobody's rule"
        )
    return sources


def _side(deviation: Entries, name: str) -> SideRule:
    table = deviation.table(name)
    return _read(
        table,
        lambda t: SideRule(
            over=_tiers(t, "over"),
            under=_tiers(t, "under"),
            assessments=tuple(_read(each, _assessment) for each in t.tables("assessment")),
        ),
    )


def _tiers(table: Entries, key: str) -> tuple[Tier, ...]:
    tiers = tuple(
        _read(each, lambda t: Tier(t.decimal("beyond_ratio"), _pick(t), t.decimal("factor")))
        for each in table.tables(key)
    )
    ratios = [tier.beyond_ratio for tier in tiers]
    if not tiers or ratios[0] != 0 or any(low >= high for low, high in pairwise(ratios)):
        table.refuse(key, [str(each) for each in ratios], 'tiers with rising beyond_ratio, the first "0"')
    return tiers


def _assessment(table: Entries) -> Assessment:
    over = table.decimal("over_band_ratio") if table.has("over_band_ratio") else None
    under = table.decimal("under_band_ratio") if table.has("under_band_ratio") else None
    if (over is None and under is None) or any(each is not None and each < 0 for each in (over, under)):
        table.refuse("over_band_ratio", over, "over_band_ratio, under_band_ratio or both, from 0")
    return Assessment(over, under, _pick(table), table.decimal("rate"))


def _pick(table: Entries) -> PricePick:
    keys = table.texts("prices")
    if not keys or not all(PRICE_KEY.fullmatch(key) for key in keys):
        table.refuse("prices", keys, "names of prices, in the order in which they are looked for")
    how = table.choice("pick", ("first", "highest", "lowest")) if len(keys) > 1 else "first"
    return PricePick(keys, how)


def _sharings(table: Entries, is_spot: bool, line_loss: LineLoss) -> tuple[Sharing, ...]:
    sharings = tuple(
        _read(
            each,
            lambda t: Sharing(
                Difference(t.choice("name", tuple(Difference))),
                tuple(Side(side) for side in t.texts("among")),
            ),
        )
        for each in table.tables("difference")
    )
    needed = {Difference.MECHANISM}
    if not is_spot:
        needed |= set(Difference) - {Difference.LINE_LOSS}
    if line_loss is LineLoss.SETTLED:
        needed.add(Difference.LINE_LOSS)
    names = [sharing.name for sharing in sharings]
    if set(names) != needed or len(names) != len(needed):
        allowed = "exactly one table for each of " + ", ".join(sorted(needed))
        table.refuse("difference", ", ".join(names), allowed)
    if any(Side.GRID in sharing.among for sharing in sharings):
        table.refuse(
            "difference.among", "grid", "user, retailer, generator; [] leaves it with the grid company"
        )
    return sharings


def _read(table: Entries, make: Callable[[Entries], _T]) -> _T:
    result = make(table)
    table.done()
    return result
