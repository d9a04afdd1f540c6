"""The sixteen areas of cases: their names and who works them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloud.cases import (
    agency,
    clearing,
    deviation,
    green,
    ladder,
    package,
    power_factor,
    precision,
    real_bill,
    response,
    retailers,
    settlement,
    tou,
    two_part,
    vee,
)
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


def _alone(rate: Callable[[Work], None]) -> Rate:
    """An area whose cases bring all their rules with them."""
    return lambda work, _: rate(work)


AREAS: Final = {
    "power_factor": Area("功率因数调整", "power factor adjustment", power_factor.rate),
    "two_part": Area("两部制基本电费", "two-part tariff", two_part.rate),
    "agency_purchase": Area("代理购电", "agency purchase", agency.rate),
    "real_bill": Area("真实账单", "real bills", real_bill.rate),
    "tou": Area("分时电价", "time of use", _alone(tou.rate)),
    "ladder": Area("居民阶梯电价", "residential ladder", _alone(ladder.rate)),
    "market_clearing": Area("市场出清", "market clearing", _alone(clearing.rate)),
    "deviation": Area("偏差考核", "deviation", _alone(deviation.rate)),
    "settlement": Area("市场结算", "market settlement", _alone(settlement.rate)),
    "retail_package": Area("零售套餐", "retail packages", _alone(package.rate)),
    "guarantee": Area("履约保函", "performance guarantee", _alone(retailers.rate_guarantee)),
    "admission": Area("售电公司准入", "retailer admission", _alone(retailers.rate_admission)),
    "demand_response": Area("需求响应", "demand response", _alone(response.rate)),
    "green_power": Area("绿电绿证", "green power", _alone(green.rate)),
    "precision": Area("计量精度", "precision", _alone(precision.rate)),
    "metering_vee": Area("数据校验与拟合", "meter data validation", _alone(vee.rate)),
}


def worked(case: Case, rules: Rules) -> Work:
    """Work a case. Raises BadCase for what it lacks or contradicts."""
    work = Work(case, case.inputs)
    try:
        AREAS[case.area].rate(work, rules)
    except (ArithmeticError, ValueError) as problem:
        raise case.bad(
            "inputs", f"cannot be worked ({problem})", "numbers that the rule can be applied to"
        ) from problem
    return work


def tried(case: Case, rules: Rules) -> Verdict:
    """Work a case and compare; one that cannot be worked is refused, one that expects nothing shows nothing."""
    try:
        work = worked(case, rules)
    except BadCase as problem:
        fields = count_fields(dict(case.expected or {}))
        return Verdict(case, State.REFUSED, (), Results({}, {}), (), fields, problem)
    found = differences(case, work.results)
    fields = count_fields(dict(case.expected or {}))
    state = State.EMPTY if not fields else State.FAIL if found else State.PASS
    return Verdict(case, state, found, work.results, work.unused(), fields)


def rated(case: Case, rules: Rules) -> Verdict:
    """Work one case for its own sake. Raises BadCase for what it lacks, contradicts, or says that no rule knows.

    A number that no rule looked at may be part of a rule that this program lacks; without an expected result
    nothing would show it.
    """
    work = worked(case, rules)
    verdict = tried(case, rules)
    if work.unused() and not verdict.is_right:
        raise case.bad(
            work.unused()[0],
            "is known to no rule of this area",
            "inputs that a rule uses; see the documentation",
        )
    return verdict
