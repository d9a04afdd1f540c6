"""A customer's own months under every open retail package: one comparison, as page and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from cloud import words
from cloud.api import reply, who
from cloud.billing.comparison import Candidate, Comparison
from cloud.billing.package import Form, Package
from cloud.billing.run import bench
from cloud.security.access import Deed

router = APIRouter(tags=["packages"])

SHIFT_MAX: Final = 50
WIDTH: Final = 100.0


class MonthView(reply.View):
    """A month's whole bill under one offer."""

    month: date
    total_fen: int


class SectionView(reply.View):
    """What a section of the bill costs more (positive) or less than today."""

    section: str
    difference_fen: int


class PeriodView(reply.View):
    """A period's energy and what it cost; null when the offer has no price by period."""

    period: str
    kwh: Decimal
    share_percent: Decimal
    energy_fen: int | None


class CandidateView(reply.View):
    """An offer over all compared months; `package_id` null: what the account is on today."""

    package_id: str | None
    version: int | None
    name: str
    retailer: str
    form: str | None
    total_fen: int
    difference_fen: int
    energy_average_yuan_per_kwh: Decimal
    worst_month: date
    months: tuple[MonthView, ...]
    sections: tuple[SectionView, ...]
    periods: tuple[PeriodView, ...]
    risks: tuple[str, ...]
    is_demonstration: bool


class LeftView(reply.View):
    """A package that is not compared, and why."""

    package_id: str
    name: str
    reason: str


class SkippedView(reply.View):
    """A month that could not be rated, and why."""

    month: date
    reason: str


class CompareView(reply.View):
    """The comparison: today first, then every eligible offer, the cheapest first."""

    account_id: str
    account_name: str
    shift_percent: int
    months: tuple[date, ...]
    skipped: tuple[SkippedView, ...]
    current: CandidateView | None
    candidates: tuple[CandidateView, ...]
    left: tuple[LeftView, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """An offer's bar and where zero difference lies, in per cent of the drawing."""

    width: float


@dataclass(frozen=True, slots=True)
class Pair:
    """A month's two bars, today and cheapest, in per cent of the drawing."""

    month: date
    x: float
    width: float
    current: float
    cheapest: float


@dataclass(frozen=True, slots=True)
class CompareDrawing:
    """What the page draws: a bar for each offer, today's first, and two bars for each month."""

    bars: tuple[Bar, ...]
    pairs: tuple[Pair, ...]


@router.get("/accounts/{account_id}/packages", response_model=CompareView)
def packages(
    request: Request,
    account_id: who.AccountId,
    visit: Annotated[who.Visit, who.visits(Deed.COMPARE_PACKAGES)],
    shift: Annotated[int, Query(ge=0, le=SHIFT_MAX)] = 0,
) -> Response:
    """What each open package would have cost in the account's last twelve months; `shift` moves that share of peak energy to the valley."""
    account = who.account_for(visit, account_id)
    found = bench.compare(visit.conn, account_id, visit.now, shift)
    view = _view(visit.language, found, (account_id, account.name, shift))
    return reply.answer(
        request, visit, "offers/packages.html", view, account_id=account_id, drawing=_drawing(view)
    )


def _view(language: str, found: bench.Compared, of: tuple[str, str, int]) -> CompareView:
    account_id, name, shift = of
    result = found.result
    return CompareView(
        account_id=account_id,
        account_name=name,
        shift_percent=shift,
        months=found.months,
        skipped=tuple(SkippedView(month=each.month, reason=_told(each.reason)) for each in found.skipped),
        current=None if result is None else _candidate_view(language, result.current, result),
        candidates=()
        if result is None
        else tuple(_candidate_view(language, each, result) for each in result.candidates),
        left=()
        if result is None
        else tuple(
            LeftView(package_id=each.package.head.id, name=_name(language, each.package), reason=each.reason)
            for each in result.left
        ),
    )


def _candidate_view(language: str, each: Candidate, result: Comparison) -> CandidateView:
    package = each.package
    return CandidateView(
        package_id=None if package is None else package.head.id,
        version=None if package is None else package.head.version,
        name="" if package is None else _name(language, package),
        retailer="" if package is None else package.retailer,
        form=None if package is None else package.formula.form.value,
        total_fen=each.total_fen,
        difference_fen=each.total_fen - result.current.total_fen,
        energy_average_yuan_per_kwh=each.energy_average,
        worst_month=each.worst_month.month,
        months=tuple(MonthView(month=month.month, total_fen=month.total_fen) for month in each.months),
        sections=tuple(
            SectionView(section=section.value, difference_fen=fen)
            for section, fen in each.section_differences(result.current)
        ),
        periods=tuple(
            PeriodView(
                period=part.period.value,
                kwh=part.kwh,
                share_percent=_percent(part.kwh, each.kwh),
                energy_fen=part.energy_fen,
            )
            for part in each.periods
        ),
        risks=() if package is None else _risks(package),
        is_demonstration=package is not None and any("PROJ" in each.mark for each in package.head.sources),
    )


def _risks(package: Package) -> tuple[str, ...]:
    """Name what a customer should know before signing; the page has a sentence for each."""
    formula = package.formula
    found = {
        "floats": bool(formula.series),
        "fixed": not formula.series,
        "shared": formula.form is Form.SHARE,
        "tiered": formula.form is Form.LADDER,
        "capped": package.cap_yuan_per_kwh is not None,
        "green": package.green is not None,
        "deviation": package.deviation is not None,
    }
    return tuple(name for name, applies in found.items() if applies)


def _told(reason: str) -> str:
    return reason if words.known(f"bench_problem.{reason}") else "other"


def _name(language: str, package: Package) -> str:
    return package.name if language == "zh" else package.name_en


def _percent(part: Decimal, whole: Decimal) -> Decimal:
    return (part * 100 / whole).quantize(Decimal("0.1")) if whole else Decimal(0)


def _drawing(view: CompareView) -> CompareDrawing:
    if view.current is None:
        return CompareDrawing((), ())
    offers = (view.current, *view.candidates)
    highest = max((each.total_fen for each in offers), default=0) or 1
    bars = tuple(Bar(max(WIDTH * each.total_fen / highest, 0.0)) for each in offers)
    cheapest = min(offers, key=lambda each: each.total_fen)
    peak = (
        max((month.total_fen for each in (view.current, cheapest) for month in each.months), default=0) or 1
    )
    place = WIDTH / max(len(view.current.months), 3)
    pairs = tuple(
        Pair(now.month, index * place, place, 100 * now.total_fen / peak, 100 * best.total_fen / peak)
        for index, (now, best) in enumerate(zip(view.current.months, cheapest.months, strict=True))
    )
    return CompareDrawing(bars, pairs)
