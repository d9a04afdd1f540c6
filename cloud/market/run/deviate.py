"""The shell that compares contract volumes with energy: as settled, or as metered so far; both sides are told when it is off.

A unit's energy stands against everything it bought less everything it sold in the month (批发用户偏差 = 实际 −（购入 − 售出）);
a contract's share of what is off goes by its part of the promise. Looks are safe to repeat: the same energy is noted
once, and told once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from cloud.contracts.contract import PARTY_UNIT
from cloud.contracts.execution import Deviation, projected_kwh
from cloud.contracts.store import dealings, life, papers, wholesale
from cloud.contracts.store.dealings import DeviationRow
from cloud.contracts.terms import WholesaleTerms
from cloud.db import Conn, Pool, ProcessRole, Scope, transaction
from cloud.market.store import members, runs
from cloud.markettime import day_of, days_of_month, month_after, month_bounds, month_of
from cloud.metering.store import intervals
from cloud.notices import Notice, post

SCOPE = Scope(ProcessRole.WORKER, actor="job:deviations")
BAND_PERCENT = Decimal(5)  # where the contract names none
DAYS_METERED_MIN = 3  # a projection from fewer days says nothing
WH_PER_KWH = 1000
KWH_PER_MWH = 1000


@dataclass(frozen=True, slots=True)
class Energy:
    """A unit's energy of a month: whole as settled, or projected from the days metered so far."""

    kwh: int
    is_whole_month: bool
    source: str


def look(pool: Pool, now: datetime) -> int:
    """Compare last month and this one; return how many deviations were new."""
    month = month_of(day_of(now))
    return sum(_look_at(pool, each, now) for each in (month_after(month, -1), month))


def _look_at(pool: Pool, month: date, now: datetime) -> int:
    with transaction(pool, SCOPE) as conn:
        terms = wholesale.of_month(conn, month)
        if not terms:
            return 0
        net_kwh = _net(terms, month)
        energy = _settled(conn, month)
        noted = 0
        for unit_id in net_kwh:
            if unit_id not in energy:
                metered = _metered(conn, unit_id, month, now)
                if metered is not None:
                    energy[unit_id] = metered
        for each in terms:
            noted += _note(conn, each, month, (net_kwh, energy), now)
    return noted


def _net(terms: Sequence[WholesaleTerms], month: date) -> Mapping[str, int]:
    """What each unit bought less what it sold, kWh; of a unit that only sells, negative."""
    net_kwh: dict[str, int] = defaultdict(int)
    for each in terms:
        kwh = sum(volume.kwh for volume in each.volumes_of(month))
        net_kwh[each.buyer] += kwh
        net_kwh[each.seller] -= kwh
    return net_kwh


def _settled(conn: Conn, month: date) -> dict[str, Energy]:
    found: dict[str, Energy] = {}
    for run in runs.runs_of(conn, month):  # a later run knows better
        metered = {unit.unit_id for unit in runs.units_of(conn, run.run_id) if unit.is_metered}
        for unit_id, row in runs.energies_of(conn, run.run_id).items():
            if unit_id in metered:
                found[unit_id] = Energy(sum(row.actual_kwh), True, "settlement_energy")
    return found


def _metered(conn: Conn, unit_id: str, month: date, now: datetime) -> Energy | None:
    """Project a unit's month from its days metered so far; None when too few are."""
    start, end = month_bounds(month)
    if unit_id.startswith(PARTY_UNIT):
        accounts = [
            member.account_id
            for retailer, member in members.customers(conn, start, end)
            if f"{PARTY_UNIT}{retailer.party_id}" == unit_id
        ]
    else:
        accounts = [unit_id]
    feeds = {member.account_id for member in members.generators(conn, start, end)}
    days: dict[date, int] = defaultdict(int)
    seen: dict[date, int] = defaultdict(int)
    past = min(month_after(month), day_of(now))
    points = [(account, point) for account in accounts for point in members.supply_points(conn, account)]
    for account, point in points:
        for each in intervals.load_days(conn, point, month, past):
            curve = each.export_wh if account in feeds else each.import_wh
            days[each.day] += sum(wh or 0 for wh in curve)
            seen[each.day] += 1
    whole = [day for day, count in seen.items() if count == len(points)]
    if len(whole) < DAYS_METERED_MIN:
        return None
    of_month = len(days_of_month(month))
    kwh = (sum(days[day] for day in whole) + WH_PER_KWH // 2) // WH_PER_KWH
    return Energy(projected_kwh(kwh, len(whole), of_month), len(whole) == of_month, "interval_day")


def _note(
    conn: Conn,
    terms: WholesaleTerms,
    month: date,
    known: tuple[Mapping[str, int], Mapping[str, Energy]],
    now: datetime,
) -> int:
    net_kwh, energy = known
    promised_kwh = sum(volume.kwh for volume in terms.volumes_of(month))
    noted = 0
    for side, unit_id in (("seller", terms.seller), ("buyer", terms.buyer)):
        if unit_id not in energy or not life.is_kept(conn, terms.contract_id):
            continue
        found = energy[unit_id]
        all_kwh = net_kwh[unit_id] if side == "buyer" else -net_kwh[unit_id]
        row = DeviationRow(
            *(terms.contract_id, side, month, promised_kwh, all_kwh, found.kwh, found.is_whole_month),
            *(found.source, now),
        )
        if dealings.put_deviation(conn, row):
            noted += 1
            _tell(conn, row, now)
    return noted


def _tell(conn: Conn, row: DeviationRow, now: datetime) -> None:
    deviation = Deviation(row.promised_kwh, row.all_promised_kwh, row.actual_kwh)
    if deviation.percent is None or not deviation.is_beyond(_band(conn, row.contract_id)):
        return
    contract = life.find(conn, row.contract_id)
    facts = {
        "contract": row.contract_id,
        "month": f"{row.month:%Y-%m}",
        "percent": f"{deviation.percent:+f}",
        "promised": f"{Decimal(row.promised_kwh) / KWH_PER_MWH:f}",
        "actual": f"{Decimal(row.actual_kwh) / KWH_PER_MWH:f}",
    }
    week = day_of(now) - timedelta(
        days=day_of(now).weekday()
    )  # a running month is told of once a week at most
    once = f"{row.month:%Y-%m}.{row.side}.{'whole' if row.is_whole_month else week.isoformat()}"
    for party_id in contract.parties:
        key = f"contract:{row.contract_id}:deviation:{once}:{party_id}"
        post(conn, Notice(party_id, "contract.deviation", facts, f"/contracts/{row.contract_id}", key), now)


def _band(conn: Conn, contract_id: str) -> Decimal:
    for paper in reversed(papers.of_contract(conn, contract_id)):
        named = paper.content["values"].get("deviation_percent", "")
        if named:
            return Decimal(named)
    return BAND_PERCENT
