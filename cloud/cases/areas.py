"""The sixteen areas of cases: their names and who works them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloud.cases import agency, power_factor, two_part
from cloud.cases.reading import BadCase, Case
from cloud.cases.result import Results
from cloud.cases.rules import Rules
from cloud.cases.verdict import State, Verdict, count_fields, differences
from cloud.cases.work import Work

Rate = Callable[[Work, Rules], None]


@dataclass(frozen=True, slots=True)
class Area:
    """One area: its names and the function that works its cases."""

    name_zh: str
    name_en: str
    rate: Rate


AREAS: Final = {
    "power_factor": Area("功率因数调整", "power factor adjustment", power_factor.rate),
    "two_part": Area("两部制基本电费", "two-part tariff", two_part.rate),
    "agency_purchase": Area("代理购电", "agency purchase", agency.rate),
}


def worked(case: Case, rules: Rules) -> Work:
    """Work a case. Raises BadCase for what it lacks or contradicts."""
    work = Work(case, case.inputs)
    if case.area not in AREAS:
        raise case.bad("area", "no rule works it", ", ".join(AREAS))
    AREAS[case.area].rate(work, rules)
    return work


def tried(case: Case, rules: Rules) -> Verdict:
    """Work a case and compare; one that cannot be worked is refused, one that expects nothing shows nothing."""
    try:
        work = worked(case, rules)
    except BadCase as problem:
        return Verdict(
            case,
            State.REFUSED,
            (),
            Results({}, {}),
            (),
            count_fields(dict(case.expected or {})),
            str(problem),
        )
    found = differences(case, work.results)
    fields = count_fields(dict(case.expected or {}))
    state = State.EMPTY if not fields else State.FAIL if found else State.PASS
    return Verdict(case, state, found, work.results, work.unused(), fields)
