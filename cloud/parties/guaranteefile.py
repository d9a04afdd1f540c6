"""Rules of the guarantee: TOML text -> what a retailer must lodge, by its energy and its grade. Pure.

The format is that of rules/guarantee-*.toml; the arithmetic is guarantee.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Final

from cloud.money import EXACT, fen_of
from cloud.parties import guarantee
from cloud.parties.guarantee import Rates, Step, Volumes
from cloud.parties.ruletext import Table, table_from
from cloud.parties.standing import UNRATED, Grade

ONE: Final = Decimal(1)
ZERO: Final = Decimal(0)
_YUAN_MAX: Final = Decimal(10**12)
_KWH_MAX: Final = 10**15


class Form(StrEnum):
    """Two rates on energy, or steps of annual energy."""

    RATES = "rates"
    STEPS = "steps"


class Scaling(StrEnum):
    """What the grade does: nothing, × (1 + factor), or ÷ (1 + unsecured ratio)."""

    NONE = "none"
    FACTOR = "factor"
    DIVISOR = "divisor"


@dataclass(frozen=True, slots=True)
class GuaranteeRule:
    """A rule of the guarantee, with all its numbers."""

    rule_id: str
    version: int
    scaling: Scaling
    rates: Rates | None
    steps: tuple[Step, ...]
    by_grade: Mapping[Grade, Decimal]
    remind_days: tuple[int, ...]
    contract_yuan_per_kwh: Decimal  # what a contract binds of what is lodged, before the grade is looked at
    entrant_least_kwh: int  # the energy of a year with which a newcomer counts at least

    @property
    def name(self) -> str:
        """How a requirement names its rule."""
        return f"{self.rule_id}@{self.version}"


@dataclass(frozen=True, slots=True)
class Traded:
    """How much a party trades, as rooms above know it: for the guarantee, and its largest month for limits."""

    volumes: Volumes
    largest_month_kwh: int


@dataclass(frozen=True, slots=True)
class Required:
    """What must be lodged, before and after the grade is looked at."""

    base_fen: int
    required_fen: int


def required(rule: GuaranteeRule, volumes: Volumes, grade: Grade | None, *, has_unsecured: bool) -> Required:
    """Work out what must be lodged; whoever has no grade counts as A."""
    if rule.rates is not None:
        base_yuan = guarantee.national_bases(volumes, rule.rates).larger_yuan
    else:
        base_yuan = guarantee.stepped_yuan(volumes.wholesale_12_months_kwh, rule.steps)
    return Required(fen_of(base_yuan), _scaled_fen(rule, base_yuan, grade, has_unsecured=has_unsecured))


def bond_fen(rule: GuaranteeRule, kwh: int, grade: Grade | None, *, has_unsecured: bool) -> int:
    """Work out what a contract of so much energy binds of what its buyer has lodged."""
    base_yuan = EXACT.multiply(Decimal(kwh), rule.contract_yuan_per_kwh)
    return _scaled_fen(rule, base_yuan, grade, has_unsecured=has_unsecured)


def with_forecast(rule: GuaranteeRule, volumes: Volumes, declared_kwh: int) -> Volumes:
    """Let a newcomer count with the year that it declared, and with the least of the rule; what it trades may be more.

    Two months are two twelfths of the year.
    """
    year_kwh = Decimal(max(declared_kwh, rule.entrant_least_kwh))
    two_months_kwh = (year_kwh / 6).quantize(ONE, ROUND_CEILING)
    return Volumes(
        max(volumes.wholesale_12_months_kwh, year_kwh),
        max(volumes.wholesale_2_months_kwh, two_months_kwh),
        volumes.retail_2_months_kwh,
    )


@lru_cache(maxsize=16)
def rule_from(body: str) -> GuaranteeRule:
    """Read a rule. Raises BadRule."""
    text = table_from(body)
    text.known("rule", "rates", "step", "by_grade", "contract", "entrant")
    head = text.table("rule")
    head.known("id", "version", "title", "title_en", "source", "form", "scaling", "remind_days")
    head.text("title"), head.text("title_en"), head.text("source")
    form, scaling = head.word("form", Form), head.word("scaling", Scaling)
    rates = _rates(text.table("rates")) if form is Form.RATES else None
    steps = _steps(text) if form is Form.STEPS else ()
    return GuaranteeRule(
        head.text("id"),
        head.integer("version", 1, 10**6),
        scaling,
        rates,
        steps,
        {} if scaling is Scaling.NONE else _by_grade(text.table("by_grade"), scaling),
        _days(head),
        _contract_rate(text, rates, steps),
        _entrant_least(text),
    )


def _scaled_fen(rule: GuaranteeRule, base_yuan: Decimal, grade: Grade | None, *, has_unsecured: bool) -> int:
    number = rule.by_grade.get(UNRATED if grade is None else grade, ZERO)
    if rule.scaling is Scaling.FACTOR:
        return guarantee.rated_fen(base_yuan, number)
    if rule.scaling is Scaling.DIVISOR:
        return guarantee.reduced_fen(base_yuan, number, has_paid_late=not has_unsecured)
    return fen_of(base_yuan)


def _contract_rate(text: Table, rates: Rates | None, steps: tuple[Step, ...]) -> Decimal:
    """Read what a contract binds per kWh; a text that does not say so takes its rate of a year, or its dearest step."""
    if text.has("contract"):
        table = text.table("contract")
        table.known("yuan_per_kwh")
        return table.decimal("yuan_per_kwh", ZERO, ONE)
    if rates is not None:
        return rates.twelve_months_yuan_per_kwh
    return max((step.yuan_per_kwh or ZERO for step in steps), default=ZERO)


def _entrant_least(text: Table) -> int:
    if not text.has("entrant"):
        return 0
    table = text.table("entrant")
    table.known("least_kwh")
    return table.integer("least_kwh", 0, _KWH_MAX)


def _rates(table: Table) -> Rates:
    table.known("twelve_months", "two_months")
    return Rates(table.decimal("twelve_months", ZERO, ONE), table.decimal("two_months", ZERO, ONE))


def _steps(text: Table) -> tuple[Step, ...]:
    steps = tuple(_step(each) for each in text.tables("step"))
    bounds = [step.below_kwh for step in steps]
    known = [bound for bound in bounds if bound is not None]
    if not steps or bounds[-1] is not None or None in bounds[:-1] or known != sorted(set(known)):
        raise text.refusal("step", bounds, "bounds that rise, the last step without one")
    return steps


def _step(table: Table) -> Step:
    table.known("below_kwh", "fixed_yuan", "yuan_per_kwh")
    if table.has("fixed_yuan") == table.has("yuan_per_kwh"):
        raise table.refusal("fixed_yuan", None, "fixed_yuan or yuan_per_kwh")
    below = Decimal(table.integer("below_kwh", 1, _KWH_MAX)) if table.has("below_kwh") else None
    if table.has("fixed_yuan"):
        return Step(below, fixed_yuan=table.decimal("fixed_yuan", ZERO, _YUAN_MAX))
    return Step(below, yuan_per_kwh=table.decimal("yuan_per_kwh", ZERO, ONE))


def _by_grade(table: Table, scaling: Scaling) -> dict[Grade, Decimal]:
    table.known(*Grade)
    lowest = -ONE if scaling is Scaling.FACTOR else ZERO
    return {grade: table.decimal(grade.value, lowest, Decimal(10)) for grade in Grade}


def _days(head: Table) -> tuple[int, ...]:
    value = head.content.get("remind_days")
    if not isinstance(value, list) or not all(isinstance(each, int) and 0 < each <= 365 for each in value):
        raise head.refusal("remind_days", value, "a list of days, 1 to 365")
    return tuple(value)
