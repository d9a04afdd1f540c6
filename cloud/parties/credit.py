"""Credit: points per factor from the facts of a party's conduct, weighed to a score, graded AAA … C. Pure.

A model is dated, versioned data (creditfile.py): factors, weights, steps and hard rules. The score keeps, per factor, the
facts it rests on; a factor without facts takes the points that the model states. Points are exact decimals of 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Final

from cloud.money import EXACT, product, quotient, total
from cloud.parties.conduct import Conduct, Fact, of_kinds, still_true, within
from cloud.parties.standing import Grade

FULL: Final = Decimal(100)
QUANTUM: Final = Decimal("0.01")


class Method(StrEnum):
    """How facts become points: taken off a hundred, read from steps of their mean, or the latest fact's own points."""

    DEDUCTION = "deduction"
    STEPS = "steps"
    LATEST = "latest"


class UserClass(StrEnum):
    """良好, 一般, 较差: what the user's document calls the grades."""

    GOOD = "good"
    AVERAGE = "average"
    POOR = "poor"


@dataclass(frozen=True, slots=True)
class Deduction:
    """Points that one fact of a kind costs, and more per unit of its magnitude."""

    kind: Conduct
    points: Decimal
    points_per_unit: Decimal


@dataclass(frozen=True, slots=True)
class Step:
    """Points while the mean magnitude is below a bound; None: any more."""

    below: int | None
    points: Decimal


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor: which kinds of facts, how they become points, and what nothing is worth."""

    key: str
    weight: int
    method: Method
    kinds: tuple[Conduct, ...]
    without: Decimal
    deductions: tuple[Deduction, ...] = ()
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class HardRule:
    """Whatever the points: a fact of these kinds within so many days caps the grade."""

    key: str
    kinds: tuple[Conduct, ...]
    within_days: int
    cap: Grade | None  # None: no cap, but no unsecured credit
    no_unsecured: bool


@dataclass(frozen=True, slots=True)
class GradeRule:
    """From how many points on, to which class it belongs, and what share of its volume the party may trade at once."""

    grade: Grade
    at_least: Decimal
    user_class: UserClass
    limit_percent: int | None


@dataclass(frozen=True, slots=True)
class Model:
    """A credit model; the weights add up to a hundred, the grades run from AAA to C."""

    model_id: str
    version: int
    window_days: int
    factors: tuple[Factor, ...]
    hard_rules: tuple[HardRule, ...]
    grades: tuple[GradeRule, ...]

    def __post_init__(self) -> None:
        bounds = [each.at_least for each in self.grades]
        if sum(factor.weight for factor in self.factors) != FULL:
            raise ValueError("the weights do not add up to 100")
        if tuple(each.grade for each in self.grades) != tuple(Grade) or bounds[-1] != 0:
            raise ValueError("the grades must run from AAA to C, and C begin at 0")
        if any(upper <= lower for upper, lower in pairwise(bounds)):
            raise ValueError("each grade must begin below the better one")

    @property
    def name(self) -> str:
        """How a score names its model."""
        return f"{self.model_id}@{self.version}"

    def rule_of(self, grade: Grade) -> GradeRule:
        """What the model says of a grade."""
        return next(each for each in self.grades if each.grade is grade)


@dataclass(frozen=True, slots=True)
class FactorScore:
    """A factor's points of a hundred and the facts they rest on; none: the model's points for nothing known."""

    key: str
    weight: int
    points: Decimal
    facts: tuple[Fact, ...]

    @property
    def lost(self) -> Decimal:
        """What this factor costs of the whole score."""
        return quotient(EXACT.multiply(FULL - self.points, Decimal(self.weight)), FULL, QUANTUM)


@dataclass(frozen=True, slots=True)
class RuleTaken:
    """A hard rule that took effect, with the facts that it rests on."""

    rule: HardRule
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """A party's score by one version of one model."""

    model: str
    points: Decimal
    grade: Grade
    user_class: UserClass
    factors: tuple[FactorScore, ...]
    rules: tuple[RuleTaken, ...]

    @property
    def has_unsecured(self) -> bool:
        """Whether unsecured credit may count; who paid late within twelve months has none (广东 2024)."""
        return not any(taken.rule.no_unsecured for taken in self.rules)


@dataclass(frozen=True, slots=True)
class Change:
    """What a model would make of a party, beside what is in force."""

    party_id: int
    before: Grade | None
    after: Grade | None


def score(model: Model, facts: Sequence[Fact], at: datetime) -> Score | None:
    """Score a party from the facts of its window before `at`; None when there is none: it is not graded."""
    facts = still_true(facts)
    known = within(facts, at - timedelta(days=model.window_days), at)
    if not known:
        return None
    factors = tuple(_factor(each, of_kinds(known, each.kinds)) for each in model.factors)
    points = quotient(total(product(each.points, Decimal(each.weight)) for each in factors), FULL, QUANTUM)
    taken = tuple(
        RuleTaken(rule, found)
        for rule in model.hard_rules
        if (found := of_kinds(within(facts, at - timedelta(days=rule.within_days), at), rule.kinds))
    )
    grade = _capped(_graded(model, points), taken)
    return Score(model.name, points, grade, model.rule_of(grade).user_class, factors, taken)


def hints(made: Score) -> tuple[FactorScore, ...]:
    """Name what costs the most first: how the party can improve."""
    lossy = (each for each in made.factors if each.lost > 0)
    return tuple(sorted(lossy, key=lambda each: (-each.lost, each.key)))


def limit_kwh(model: Model, grade: Grade, month_kwh: int) -> int | None:
    """The most a party of the grade may contract in one session: a share of its largest month; None: no limit."""
    percent = model.rule_of(grade).limit_percent
    return None if percent is None else month_kwh * percent // 100


def _factor(factor: Factor, facts: tuple[Fact, ...]) -> FactorScore:
    points = factor.without if not facts else max(Decimal(0), min(FULL, _points(factor, facts)))
    return FactorScore(factor.key, factor.weight, points, facts)


def _points(factor: Factor, facts: tuple[Fact, ...]) -> Decimal:
    if factor.method is Method.LATEST:
        return Decimal(facts[-1].magnitude)
    if factor.method is Method.STEPS:
        mean = quotient(Decimal(sum(fact.magnitude for fact in facts)), Decimal(len(facts)), Decimal(1))
        return next(step.points for step in factor.steps if step.below is None or mean < step.below)
    costs = {each.kind: each for each in factor.deductions}
    lost = total(
        EXACT.add(each.points, product(each.points_per_unit, Decimal(fact.magnitude)))
        for fact in facts
        if (each := costs.get(fact.kind)) is not None
    )
    return EXACT.subtract(FULL, lost)


def _graded(model: Model, points: Decimal) -> Grade:
    return next(each.grade for each in model.grades if points >= each.at_least)


def _capped(grade: Grade, taken: Sequence[RuleTaken]) -> Grade:
    order = tuple(Grade)
    caps = [taken_one.rule.cap for taken_one in taken if taken_one.rule.cap is not None]
    return max((grade, *caps), key=order.index)
