"""Credit models: TOML text -> typed, validated model. Pure; the format is that of rules/credit-shoudian-2026.toml."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from cloud.parties.conduct import Conduct
from cloud.parties.credit import (
    FULL,
    Deduction,
    Factor,
    GradeRule,
    HardRule,
    Method,
    Model,
    Step,
    UserClass,
)
from cloud.parties.ruletext import BadRule, Table, table_from
from cloud.parties.standing import Grade

ZERO: Final = Decimal(0)
_MAGNITUDE_MAX: Final = 10**12
_PERCENT_MAX: Final = 1000


def model_from(body: str) -> Model:
    """Read a model. Raises BadRule."""
    text = table_from(body)
    text.known("model", "factor", "hard_rule", "grade")
    head = text.table("model")
    head.known("id", "version", "title", "title_en", "source", "window_days")
    head.text("title"), head.text("title_en"), head.text("source")
    try:
        return Model(
            head.text("id"),
            head.integer("version", 1, 10**6),
            head.integer("window_days", 1, 3660),
            tuple(_factor(each) for each in text.tables("factor")),
            tuple(_hard_rule(each) for each in text.tables("hard_rule")),
            tuple(_grade(each) for each in text.tables("grade")),
        )
    except (ValueError, IndexError) as problem:
        raise BadRule("bad_party_rule", name="", found=str(problem), allowed="AAA … C, 100") from None


def _factor(table: Table) -> Factor:
    table.known("key", "weight", "method", "kinds", "without", "deductions", "steps")
    method = table.word("method", Method)
    if (method is Method.DEDUCTION) != table.has("deductions") or (method is Method.STEPS) != table.has(
        "steps"
    ):
        raise table.refusal("method", method, "deduction with deductions, steps with steps, latest")
    steps = tuple(_step(each) for each in table.tables("steps"))
    bounds = [step.below for step in steps]
    known = [bound for bound in bounds if bound is not None]
    if steps and (bounds[-1] is not None or len(known) != len(steps) - 1 or known != sorted(set(known))):
        raise table.refusal("steps", bounds, "bounds that rise, the last step without one")
    return Factor(
        table.text("key"),
        table.integer("weight", 0, int(FULL)),
        method,
        table.words("kinds", Conduct),
        table.decimal("without", ZERO, FULL),
        tuple(_deduction(each) for each in table.tables("deductions")),
        steps,
    )


def _deduction(table: Table) -> Deduction:
    table.known("kind", "points", "points_per_unit")
    return Deduction(
        table.word("kind", Conduct),
        table.decimal("points", ZERO, FULL),
        table.decimal("points_per_unit", ZERO, FULL),
    )


def _step(table: Table) -> Step:
    table.known("below", "points")
    below = table.integer("below", 1, _MAGNITUDE_MAX) if table.has("below") else None
    return Step(below, table.decimal("points", ZERO, FULL))


def _hard_rule(table: Table) -> HardRule:
    table.known("key", "kinds", "within_days", "cap", "no_unsecured")
    return HardRule(
        table.text("key"),
        table.words("kinds", Conduct),
        table.integer("within_days", 1, 3660),
        table.word("cap", Grade) if table.has("cap") else None,
        table.truth("no_unsecured"),
    )


def _grade(table: Table) -> GradeRule:
    table.known("grade", "at_least", "class", "limit_percent")
    return GradeRule(
        table.word("grade", Grade),
        table.decimal("at_least", ZERO, FULL),
        table.word("class", UserClass),
        table.integer("limit_percent", 0, _PERCENT_MAX) if table.has("limit_percent") else None,
    )
