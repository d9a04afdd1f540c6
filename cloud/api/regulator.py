"""The regulator's view, read only: who is in the market, how concentrated it is, prices that stand out, sessions and results.

Nothing of a person is here: accounts, bills and readings are closed to the role by row-level security, and this page
asks only what oversight.py asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from cloud import markettime
from cloud.api import chart, reply, who
from cloud.errors import NotFound
from cloud.market import concentration, reportrule
from cloud.market.concentration import Concentration
from cloud.market.store import oversight, reports
from cloud.market.store.oversight import PeriodRow, SessionRow
from cloud.security.access import Deed

router = APIRouter(tags=["regulator"])

_SHARES_SHOWN: Final = 10
_TREND_MONTHS: Final = 12


class NoSession(NotFound):
    """There is no such session, or it is not announced yet."""


class ShareView(reply.View):
    """One participant's part."""

    name: str
    quantity_kwh: int
    percent: Decimal


class SideView(reply.View):
    """How one side of the market is shared in a month; None: nothing was traded."""

    total_kwh: int
    hhi: int
    top4_percent: Decimal
    shares: tuple[ShareView, ...]
    participants: int


class OutlierView(reply.View):
    """A contract whose price stands out from the month's others."""

    contract_id: str
    seller: str
    buyer: str
    mwh: Decimal
    price: Decimal
    median: Decimal
    z: Decimal | None


class TrendView(reply.View):
    """A month's concentration on both sides."""

    month: date
    seller_hhi: int | None
    buyer_hhi: int | None


class SessionView(reply.View):
    """A session with what its published result came to."""

    session_id: int
    session_no: str
    title: str
    state: str
    opens_at: datetime
    gate_at: datetime | None
    rule: str
    volume_kwh: int | None
    low_ticks: int | None
    high_ticks: int | None


class HandedInView(reply.View):
    """A report that was handed in."""

    report_id: str
    period: str
    revision: int
    state: str
    submitted_at: datetime | None
    receipt_no: str


class MarketView(reply.View):
    """The market in a month."""

    month: date
    months: tuple[date, ...]
    entities: tuple[tuple[str, str, int], ...]
    rooms: tuple[tuple[str, int], ...]
    sellers: SideView | None
    buyers: SideView | None
    contracts: int
    outliers: tuple[OutlierView, ...]
    trend: tuple[TrendView, ...]
    sessions: tuple[SessionView, ...]
    reports: tuple[HandedInView, ...]


class PeriodView(reply.View):
    """A period of a published result."""

    period: int
    month: date
    label: str
    volume_kwh: int
    price_ticks: int | None
    bid_kwh: int
    ask_kwh: int


class ResultView(reply.View):
    """A session's published result."""

    session: SessionView
    periods: tuple[PeriodView, ...]


@dataclass(frozen=True, slots=True)
class Dot:
    """A contract in the scatter of prices, in per cent of the drawing."""

    x: float
    y: float
    name: str
    is_outlier: bool


@dataclass(frozen=True, slots=True)
class MarketDrawing:
    """What the page draws: prices as dots with their median, concentration by month as bars."""

    dots: tuple[Dot, ...]
    median_y: float | None
    low: Decimal
    high: Decimal
    hhi_bars: tuple[chart.Bar, ...]
    colours: tuple[str, ...] = tuple(f"share-{number}" for number in range(_SHARES_SHOWN))


@dataclass(frozen=True, slots=True)
class ResultDrawing:
    """Bars of volume per period and the line of prices, in per cent of the drawing."""

    bars: tuple[chart.Bar, ...]
    prices: tuple[tuple[float, float], ...]
    low_ticks: int
    high_ticks: int


@router.get("/regulator", response_model=MarketView)
def market(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_REGULATOR)],
    month: Annotated[str, Query(pattern="^([0-9]{4}-(0[1-9]|1[0-2]))?$")] = "",
) -> Response:
    """The market in a month; default: the latest with contracts."""
    months = oversight.traded_months(visit.conn)
    this_month = markettime.day_of(visit.now).replace(day=1)
    chosen = markettime.month_from(month) if month else (months[0] if months else this_month)
    prices = oversight.contract_prices(visit.conn, chosen)
    found = concentration.outliers([(row[0], row[4]) for row in prices])
    by_contract = {row[0]: row for row in prices}
    view = MarketView(
        month=chosen,
        months=months,
        entities=oversight.entity_counts(visit.conn),
        rooms=oversight.room_counts(visit.conn),
        sellers=_side(concentration.concentration(oversight.quantities(visit.conn, chosen, "seller"))),
        buyers=_side(concentration.concentration(oversight.quantities(visit.conn, chosen, "buyer"))),
        contracts=len(prices),
        outliers=tuple(
            OutlierView(
                contract_id=each.name,
                seller=by_contract[each.name][1],
                buyer=by_contract[each.name][2],
                mwh=by_contract[each.name][3],
                price=each.price_yuan_per_mwh,
                median=each.median_yuan_per_mwh,
                z=each.z,
            )
            for each in found
        ),
        trend=tuple(_trend(visit, each) for each in sorted(months[:_TREND_MONTHS])),
        sessions=tuple(_session(row) for row in oversight.listed(visit.conn)),
        reports=tuple(_handed_in(row) for row in reports.handed_in(visit.conn)),
    )
    drawing = _drawing(prices, {each.name for each in found}, view.trend)
    return reply.answer(request, visit, "regulator/market.html", view, drawing=drawing)


@router.get("/regulator/sessions/{session_id}", response_model=ResultView)
def result(
    request: Request,
    session_id: Annotated[int, Path(ge=1, le=2**31 - 1)],
    visit: Annotated[who.Visit, who.visits(Deed.SEE_REGULATOR)],
) -> Response:
    """A session's published result by period."""
    row = oversight.find(visit.conn, session_id)
    if row is None:
        raise NoSession("not_found", kind="session")
    found = oversight.periods(visit.conn, session_id)
    view = ResultView(session=_session(row), periods=tuple(_period(each) for each in found))
    return reply.answer(request, visit, "regulator/session.html", view, drawing=_result_drawing(found))


def _side(found: Concentration | None) -> SideView | None:
    if found is None:
        return None
    shares = tuple(
        ShareView(name=each.name, quantity_kwh=each.quantity_kwh, percent=each.percent)
        for each in found.shares[:_SHARES_SHOWN]
    )
    return SideView(
        total_kwh=found.total_kwh,
        hhi=found.hhi,
        top4_percent=found.top4_percent,
        shares=shares,
        participants=len(found.shares),
    )


def _trend(visit: who.Visit, month: date) -> TrendView:
    sellers = concentration.concentration(oversight.quantities(visit.conn, month, "seller"))
    buyers = concentration.concentration(oversight.quantities(visit.conn, month, "buyer"))
    return TrendView(
        month=month,
        seller_hhi=None if sellers is None else sellers.hhi,
        buyer_hhi=None if buyers is None else buyers.hhi,
    )


def _session(row: SessionRow) -> SessionView:
    return SessionView(
        session_id=row.session_id,
        session_no=row.session_no,
        title=row.title,
        state=row.state,
        opens_at=row.opens_at,
        gate_at=row.gate_at,
        rule=f"{row.rule_id}@{row.rule_version}",
        volume_kwh=row.volume_kwh,
        low_ticks=row.low_ticks,
        high_ticks=row.high_ticks,
    )


def _handed_in(row: reports.ReportRow) -> HandedInView:
    return HandedInView(
        report_id=row.report_id,
        period=reportrule.period_name(row.first_day, row.end_day),
        revision=row.revision,
        state=row.state,
        submitted_at=row.submitted_at,
        receipt_no=row.receipt_no,
    )


def _period(row: PeriodRow) -> PeriodView:
    return PeriodView(
        period=row.period,
        month=row.month,
        label=row.label,
        volume_kwh=row.volume_kwh,
        price_ticks=row.price_ticks,
        bid_kwh=row.bid_kwh,
        ask_kwh=row.ask_kwh,
    )


def _drawing(
    prices: tuple[tuple[str, str, str, Decimal, Decimal], ...], out: set[str], trend: tuple[TrendView, ...]
) -> MarketDrawing:
    bars = chart.bars([each.seller_hhi for each in trend], 10_000) if trend else ()
    if not prices:
        return MarketDrawing((), None, Decimal(0), Decimal(0), bars)
    values = sorted(row[4] for row in prices)
    low, high = values[0], values[-1]
    spread = (high - low) or Decimal(1)
    dots = tuple(
        Dot(
            round(2 + 96 * (place + 0.5) / len(prices), 2),
            round(4 + 92 * float((high - row[4]) / spread), 2),
            f"{row[0]} {row[1]} → {row[2]} {row[4]}",
            row[0] in out,
        )
        for place, row in enumerate(prices)
    )
    middle = (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2
    return MarketDrawing(dots, round(4 + 92 * float((high - middle) / spread), 2), low, high, bars)


def _result_drawing(periods: tuple[PeriodRow, ...]) -> ResultDrawing:
    if not periods:
        return ResultDrawing((), (), 0, 0)
    top = chart.nice_top(max(1, *(each.volume_kwh for each in periods)))
    ticks = [each.price_ticks for each in periods if each.price_ticks is not None]
    low, high = (min(ticks), max(ticks)) if ticks else (0, 0)
    place, spread = 100 / len(periods), (high - low) or 1
    line = tuple(
        (round((number + 0.5) * place, 2), round(6 + 60 * (high - each.price_ticks) / spread, 2))
        for number, each in enumerate(periods)
        if each.price_ticks is not None
    )
    return ResultDrawing(chart.bars([each.volume_kwh for each in periods], top), line, low, high)
