"""Collect: who is in the market in the month, and the energy of one unit from the latest intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from cloud.contracts.terms import WholesaleTerms
from cloud.contracts.volumes import Curve, spread
from cloud.db import Conn
from cloud.market.line import GRID_UNIT, PARTY_PREFIX, Side, party_unit
from cloud.market.month import added_kwh, by_period, settled_kwh, stretches
from cloud.market.rulefile import Form, MarketRule
from cloud.market.store import entered, members, settlements
from cloud.market.store.members import Member
from cloud.market.store.runs import EnergyRow, UnitRow
from cloud.markettime import SLOTS_PER_DAY, day_of, days_of_month, month_after, month_bounds
from cloud.metering.store import intervals
from cloud.money import whole_parts

GRID_NAME = "电网企业"
SIDES = {"user": Side.USER, "retailer": Side.RETAILER, "generator": Side.GENERATOR, "vpp": Side.USER}


@dataclass(frozen=True, slots=True)
class Metered:
    """Energy of an account's part of the month: Wh by day x 96, which revisions said so, and what is wrong with it."""

    curve_wh: Curve
    evidence: dict[str, dict[str, int]]
    missing_slots: int
    missing_days: tuple[date, ...]
    errors: int


def find_units(conn: Conn, month: date, contracts: Sequence[WholesaleTerms]) -> tuple[UnitRow, ...]:
    """List the units of a month: direct users, generators, retailers with customers, and whoever has a contract.

    Who was settled finally before and is none of these any more is settled once more, to nothing: else what replaced
    its lines elsewhere would be counted beside them.
    """
    start, end = month_bounds(month)
    units: dict[str, UnitRow] = {}
    for side, found in (
        (Side.USER, members.direct_users(conn, start, end)),
        (Side.GENERATOR, members.generators(conn, start, end)),
    ):
        for each in found:
            units[each.account_id] = UnitRow(
                each.account_id, side, each.party_id, each.account_id, each.name, True
            )
    for retailer, _ in members.customers(conn, start, end):
        unit_id = party_unit(retailer.party_id)
        units[unit_id] = UnitRow(unit_id, Side.RETAILER, retailer.party_id, None, retailer.name, True)
    for unit_id in sorted({unit for terms in contracts for unit in (terms.seller, terms.buyer)} - set(units)):
        if (unit := _counterparty(conn, unit_id)) is not None:
            units[unit_id] = unit
    for row in settlements.standing(conn, month):
        if row.state == "final" and row.unit_id not in units:
            side = Side(row.side)
            units[row.unit_id] = UnitRow(row.unit_id, side, row.party_id, row.account_id, row.name, False)
    if units:
        units[GRID_UNIT] = UnitRow(GRID_UNIT, Side.GRID, None, None, GRID_NAME, False)
    return tuple(units[unit_id] for unit_id in sorted(units))


def _counterparty(conn: Conn, unit_id: str) -> UnitRow | None:
    """A party of a contract that has no metered energy in this market: its contracts are settled, nothing else."""
    if unit_id.startswith(PARTY_PREFIX):
        party = members.find_party(conn, int(unit_id.removeprefix(PARTY_PREFIX)))
        return (
            None
            if party is None
            else UnitRow(unit_id, SIDES[party.kind], party.party_id, None, party.name, False)
        )
    account = members.find_account(conn, unit_id)
    return None if account is None else UnitRow(unit_id, Side.USER, account[0], unit_id, account[1], False)


def energy(conn: Conn, unit: UnitRow, month: date, rule: MarketRule) -> EnergyRow:
    """Add up the energy of one unit of the month, and name what is missing or in doubt."""
    pieces = stretches(rule, month)
    metered = {
        account: metered_energy(conn, parts, unit.side, month) for account, parts in _parts(conn, unit, month)
    }
    by_account = {
        account: settled_kwh(by_period(rule, month, each.curve_wh)) for account, each in metered.items()
    }
    actual = added_kwh(pieces[-1].end, list(by_account.values()))
    days = [
        sum(map(sum, column)) for column in zip(*(each.curve_wh for each in metered.values()), strict=True)
    ]
    problems = [problem for account, each in metered.items() for problem in _problems(account, each)]
    ahead: tuple[int, ...] = ()
    if rule.form is Form.SPOT and unit.is_metered:
        ahead, absent = _declared(conn, unit, month, rule)
        problems += named_days("no_declared", absent)
    return EnergyRow(
        actual,
        ahead,
        whole_parts(days, 1000) if days else (),
        {account: sum(kwh) for account, kwh in by_account.items()} if unit.side is Side.RETAILER else {},
        {point: days for each in metered.values() for point, days in each.evidence.items()},
        tuple(problems),
    )


def load_curve(conn: Conn, unit: UnitRow, month: date) -> Curve:
    """The unit's own load of the month, Wh by day x 96: what a load-shaped contract follows."""
    curves = [
        metered_energy(conn, parts, unit.side, month).curve_wh for _, parts in _parts(conn, unit, month)
    ]
    return tuple(tuple(map(sum, zip(*rows, strict=True))) for rows in zip(*curves, strict=True))


def _parts(conn: Conn, unit: UnitRow, month: date) -> tuple[tuple[str, tuple[Member, ...]], ...]:
    """The accounts behind a unit, each with the parts of the month in which it belongs to it."""
    start, end = month_bounds(month)
    if not unit.is_metered:
        return ()
    if unit.side is Side.RETAILER:
        found = [
            member
            for retailer, member in members.customers(conn, start, end)
            if retailer.party_id == unit.party_id
        ]
    else:
        of_side = members.generators if unit.side is Side.GENERATOR else members.direct_users
        found = [each for each in of_side(conn, start, end) if each.account_id == unit.account_id]
    by_account: dict[str, list[Member]] = defaultdict(list)
    for each in found:
        by_account[each.account_id].append(each)
    return tuple((account, tuple(parts)) for account, parts in sorted(by_account.items()))


def metered_energy(conn: Conn, parts: Sequence[Member], side: Side, month: date) -> Metered:
    """Add up an account's supply points, quarter-hour by quarter-hour, on its days of the month."""
    wanted = [day for day in days_of_month(month) if any(_is_inside(part, day) for part in parts)]
    points = members.supply_points(conn, parts[0].account_id)
    curve = {day: [0] * SLOTS_PER_DAY for day in days_of_month(month)}
    missing = dict.fromkeys(wanted, 0 if points else SLOTS_PER_DAY)
    evidence: dict[str, dict[str, int]] = {}
    for point in points:
        seen = {each.day: each for each in intervals.load_days(conn, point, month, month_after(month))}
        evidence[point] = {day.isoformat(): seen[day].revision for day in wanted if day in seen}
        for day in wanted:
            if day not in seen:
                missing[day] += SLOTS_PER_DAY
                continue
            values = seen[day].export_wh if side is Side.GENERATOR else seen[day].import_wh
            missing[day] += sum(value is None for value in values)
            curve[day] = [had + (value or 0) for had, value in zip(curve[day], values, strict=True)]
    return Metered(
        tuple(tuple(row) for row in curve.values()),
        evidence,
        sum(missing.values()),
        tuple(day for day, slots in missing.items() if slots),
        members.open_findings(conn, points, month, month_after(month)),
    )


def _is_inside(part: Member, day: date) -> bool:
    """Terms and packages change at midnight; the day on which a part begins counts, the one on which it ends does not."""
    return day_of(part.start) <= day and (part.end is None or day < day_of(part.end))


def _problems(account_id: str, metered: Metered) -> list[dict[str, Any]]:
    problems: list[dict[str, Any]] = []
    if metered.missing_slots:
        facts = {
            "account": account_id,
            "slots": metered.missing_slots,
            "days": len(metered.missing_days),
            "first": metered.missing_days[0].isoformat(),
        }
        problems.append({"kind": "intervals_missing", "facts": facts})
    if metered.errors:
        problems.append({"kind": "vee_open", "facts": {"account": account_id, "findings": metered.errors}})
    return problems


def _declared(
    conn: Conn, unit: UnitRow, month: date, rule: MarketRule
) -> tuple[tuple[int, ...], tuple[date, ...]]:
    days = days_of_month(month)
    size = stretches(rule, month)[0].end
    kept = entered.declared_days(conn, unit.unit_id, days[0], days[-1])
    flat = [kwh for day in days for kwh in _resized(kept.get(day, (0,) * size), size)]
    return tuple(flat), tuple(day for day in days if day not in kept)


def _resized(kwh: Sequence[int], size: int) -> tuple[int, ...]:
    """Turn 24 hours into 96 quarter-hours, or back; no kWh is lost."""
    if len(kwh) == size:
        return tuple(kwh)
    if len(kwh) < size:
        return tuple(part for whole in kwh for part in spread(whole, (1,) * (size // len(kwh))))
    width = len(kwh) // size
    return tuple(sum(kwh[start : start + width]) for start in range(0, len(kwh), width))


def named_days(kind: str, absent: Sequence[date]) -> list[dict[str, Any]]:
    """Name a problem that days have, by how many and which first."""
    if not absent:
        return []
    return [{"kind": kind, "facts": {"days": len(absent), "first": absent[0].isoformat()}}]
