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
from cloud.cases.verdict import Difference, Kind, State, Verdict, count_fields, differences
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
    """Work a case as far as its inputs reach. Raises BadCase for what contradicts, or when nothing can be worked."""
    work = Work(case, case.inputs)
    if case.inputs.get("rows") is not None and not work.is_list("rows"):
        raise case.bad("inputs.rows", "is no list", "a list of objects")
    try:
        work.attempt(lambda: AREAS[case.area].rate(work, rules))
    except (ArithmeticError, ValueError) as problem:
        raise case.bad(
            "inputs", f"cannot be worked ({problem})", "numbers that the rule can be applied to"
        ) from problem
    if work.lacking and not work.results.named:
        raise work.lacking[0]
    return work


def tried(case: Case, rules: Rules) -> Verdict:
    """Work a case and compare; one that cannot be worked is refused, one that expects nothing shows nothing."""
    fields = count_fields(dict(case.expected or {}))
    try:
        work = worked(case, rules)
    except BadCase as problem:
        return Verdict(case, State.REFUSED, (), Results({}, {}), (), fields, problem)
    found = differences(case, work.results)
    lacking = work.lacking[0] if found and work.lacking else None
    if lacking is not None and all(each.kind is Kind.NOT_COMPUTED for each in found) and len(found) == fields:
        return Verdict(case, State.REFUSED, (), work.results, work.unused(), fields, lacking)
    unproven = () if found else _unproven(work)
    state = State.EMPTY if not fields else State.FAIL if found or unproven else State.PASS
    return Verdict(
        case, state, (*found, *unproven), work.results, work.unused(), fields, lacking, tuple(work.weighty())
    )


def _unproven(work: Work) -> tuple[Difference, ...]:
    """What makes agreement worthless: a switch that no rule read, or a number while the program took one of its own."""
    assumed = ", ".join(f"{name} = {value}" for name, value in work.assumed().items())
    return tuple(
        Difference(path, Kind.NOT_READ, "", assumed, "0")
        for path, value in work.weighty().items()
        if assumed or isinstance(value, bool)
    )


def rated(case: Case, rules: Rules) -> Verdict:
    """Work one case for its own sake. Raises BadCase for what it lacks, contradicts, or says that no rule knows.

    A number that no rule looked at may be part of a rule that this program lacks; without an expected result
    nothing would show it.
    """
    work = worked(case, rules)
    verdict = tried(case, rules)
    if work.lacking and not verdict.is_right:
        raise work.lacking[0]
    if work.weighty() and not verdict.is_right:
        raise case.bad(
            next(iter(work.weighty())),
            "is known to no rule of this area",
            "inputs that a rule uses; see the documentation",
        )
    return verdict
