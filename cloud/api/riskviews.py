"""Views of the risk desk, and what its pictures are drawn from: shares of the picture's width and height in percent."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from cloud.api.reply import View
from cloud.market.store.risks import AlarmRow, PlanRow

KINDS: Final = ("contracted", "listed", "rolling", "green", "exposed")


class AlarmView(View):
    """An alarm."""

    alarm_id: int
    party_id: int
    name: str
    indicator: str
    level: str
    value_ppm: int
    is_unlodged: bool
    at: datetime
    ended_at: datetime | None


class PlanView(View):
    """A response."""

    plan_id: int
    party_id: int
    name: str
    alarm_id: int | None
    measure: str
    action: str
    owner: str
    due_on: date
    state: str
    outcome: str | None
    deeds: tuple[str, ...]
    is_late: bool


class HeadView(View):
    """A retailer on the desk."""

    party_id: int
    name: str
    measured_at: datetime | None
    levels: dict[str, str | None]


class DeskView(View):
    """All retailers, open alarms, plans."""

    parties: tuple[HeadView, ...]
    alarms: tuple[AlarmView, ...]
    plans: tuple[PlanView, ...]


class RiskView(View):
    """One party's positions, indicators, portfolio, alarms and plans."""

    party_id: int
    name: str
    measured_at: datetime | None
    readings: list[dict[str, Any]]
    positions: list[dict[str, Any]]
    portfolio: dict[str, Any]
    alarms: tuple[AlarmView, ...]
    plans: tuple[PlanView, ...]
    owners: tuple[tuple[int, str], ...]
    may_manage: bool
    may_measure: bool


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a column: in percent of the picture."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """Columns of months by kind, the load's line, the results' histogram with VaR marks."""

    months: tuple[str, ...]
    bars: tuple[Bar, ...]
    loads: tuple[Bar, ...]
    histogram: tuple[Bar, ...]
    marks: tuple[tuple[str, float], ...]


def alarm_view(row: AlarmRow) -> AlarmView:
    """An alarm as it is kept."""
    return AlarmView(
        alarm_id=row.alarm_id,
        party_id=row.party_id,
        name=row.name,
        indicator=row.indicator,
        level=row.level,
        value_ppm=row.value_ppm,
        is_unlodged=row.is_unlodged,
        at=row.at,
        ended_at=row.ended_at,
    )


def plan_view(row: PlanRow, deeds: tuple[str, ...], today: date) -> PlanView:
    """A plan, and what can be done with it."""
    return PlanView(
        plan_id=row.plan_id,
        party_id=row.party_id,
        name=row.name,
        alarm_id=row.alarm_id,
        measure=row.measure,
        action=row.action,
        owner=row.owner,
        due_on=row.due_on,
        state=row.state,
        outcome=row.outcome,
        deeds=deeds,
        is_late=row.state in ("open", "doing") and row.due_on < today,
    )


def drawing(positions: list[dict[str, Any]], portfolio: dict[str, Any]) -> Drawing:
    """Lay out the pictures."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in positions:
        for kind in ("contracted", "listed", "rolling", "green", "load"):
            sums[row["month"]][kind] += row[f"{kind}_kwh"]
    months = tuple(sorted(sums))
    top = max((max(_covered(sums[month]), sums[month]["load"]) for month in months), default=0) or 1
    bars: list[Bar] = []
    loads: list[Bar] = []
    wide = 100 / max(1, len(months))
    for number, month in enumerate(months):
        row, x, base = sums[month], number * wide + wide * 0.2, 100.0
        parts = [(kind, row[kind]) for kind in KINDS[:-1]] + [("exposed", row["load"] - _covered(row))]
        for kind, kwh in parts:
            height = max(0, kwh) * 96 / top
            base -= height
            if height > 0:
                bars.append(Bar(kind, round(x, 2), round(base, 2), round(wide * 0.6, 2), round(height, 2)))
        loads.append(
            Bar("load", round(x, 2), round(100 - row["load"] * 96 / top, 2), round(wide * 0.6, 2), 0)
        )
    return Drawing(months, tuple(bars), tuple(loads), *_histogram(portfolio))


def _covered(row: dict[str, int]) -> int:
    return sum(row[kind] for kind in KINDS[:-1])


def _histogram(portfolio: dict[str, Any]) -> tuple[tuple[Bar, ...], tuple[tuple[str, float], ...]]:
    shape = portfolio.get("histogram")
    if not shape or shape["last"] <= shape["first"]:
        return (), ()
    top, wide = max(shape["counts"]), 100 / len(shape["counts"])
    bars = tuple(
        Bar(
            "result",
            round(number * wide, 2),
            round(100 - count * 96 / top, 2),
            round(wide * 0.9, 2),
            round(count * 96 / top, 2),
        )
        for number, count in enumerate(shape["counts"])
    )
    span = shape["last"] - shape["first"]
    places = [("mean", portfolio["expected_yuan"])]
    places += [
        (f"var{round(each['level'] * 100)}", portfolio["expected_yuan"] - each["var_yuan"])
        for each in portfolio["measures"]
    ]
    marks = tuple(
        (name, round(min(100.0, max(0.0, (at - shape["first"]) * 100 / span)), 2)) for name, at in places
    )
    return bars, marks
