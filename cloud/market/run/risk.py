"""Shells: measure the risk of retailers, raise and end alarms, and lead the responses to an outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from importlib import resources
from typing import Any, Final

import numpy as np

from cloud import db, notices
from cloud.contracts.store import wholesale
from cloud.contracts.terms import WholesaleTerms
from cloud.contracts.volumes import volume_curve
from cloud.db import Conn, Pool, ProcessRole, Scope
from cloud.errors import Invalid, NotFound, Refused
from cloud.lives import step
from cloud.market import portfolio, risk
from cloud.market.portfolio import History, Portfolio, TooLittleHistory
from cloud.market.risk import Change, Indicator, Measure, Position, Reading, Threshold
from cloud.market.rulefile import MarketRule, rule_from
from cloud.market.store import entered, policies, risks
from cloud.markettime import day_of, days_of_month, month_after, month_of
from cloud.money import yuan
from cloud.notices import Notice
from cloud.parties.store import credits, guarantees
from cloud.security import run as security
from cloud.security.access import Actor, Deed, Subject

SCOPE: Final = Scope(ProcessRole.WORKER, actor="job:risk")
MONTHS_AHEAD: Final = 6
HISTORY_DAYS: Final = 730
RECENT_DAYS: Final = 28
HORIZON_DAYS: Final = 30
SEED: Final = 20260901
BAND: Final = (0.8, 1.2)  # 基准价上下浮动 20 %: market.md §1
HOURS: Final = 24
NOBODY: Final = 0  # no person: who has read a policy is not asked
POLICIES_MAX: Final = 1000
CHANGES_TOLD: Final = 5
OF_GUARANTEE: Final = frozenset({Indicator.CREDIT, Indicator.GUARANTEE, Indicator.CVAR})
Act = tuple[str, datetime]


class NoPlan(NotFound):
    """There is no such party or plan, or this person does not see it."""


class BadPlan(Invalid):
    """Of a plan something is missing or cannot be."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a party's risk is measured from."""

    contracts: tuple[WholesaleTerms, ...]
    rule: MarketRule | None
    load: Mapping[date, tuple[int, ...]]
    prices: Mapping[date, tuple[Decimal, ...]]
    changes: tuple[Change, ...]
    today: date


def look(pool: Pool, now: datetime) -> int:
    """Measure every retailer, each in a transaction of its own; say how many were."""
    with db.transaction(pool, SCOPE) as conn:
        found = risks.traders(conn)
    for party_id, _, _ in found:
        with db.transaction(pool, SCOPE) as conn:
            measure(conn, party_id, (SCOPE.actor, now))
    return len(found)


def measure_now(conn: Conn, actor: Actor, party_id: int, now: datetime) -> None:
    """Measure one party at once, for the staff. Raises NoPlan."""
    security.allow(conn, actor, Deed.MEASURE_RISK, Subject("party", str(party_id), party_id), now)
    if risks.name_of(conn, party_id) is None:
        raise NoPlan("not_found", kind="party")
    measure(conn, party_id, (security.actor_name(actor), now))


def measure(conn: Conn, party_id: int, act: Act) -> int:
    """Measure a party's positions, indicators and portfolio, keep it, and raise or end alarms."""
    risks.lock(conn, party_id)
    seen, unit = _seen(conn, party_id, act[1]), f"party:{party_id}"
    found, unsaid = _positions(seen, unit)
    value = _portfolio(conn, seen, unit)
    readings = _readings(conn, party_id, seen, found, value, act[1])
    limits = {each.indicator: each for each in thresholds()}
    kept = [_reading_json(each, limits[each.indicator]) for each in readings]
    rows = [{**asdict(each), "month": f"{each.month:%Y-%m}"} for each in found]
    measurement_id = risks.insert_measurement(conn, party_id, (kept, rows, value | {"unsaid": unsaid}), act)
    _alarm(conn, party_id, readings, limits, act[1])
    return measurement_id


def thresholds() -> tuple[Threshold, ...]:
    """Read the thresholds that come with the program."""
    return risk.thresholds_from(
        (resources.files("cloud.market") / "desk" / "risk-2026.toml").read_text("utf-8")
    )


def propose(conn: Conn, actor: Actor, party_id: int, plan: Mapping[str, Any], now: datetime) -> int:
    """Open a response: measure, action, owner, day it is due, and the alarm it answers. Raises BadPlan, NoPlan."""
    security.allow(conn, actor, Deed.MANAGE_RISK, Subject("party", str(party_id), party_id), now)
    if risks.name_of(conn, party_id) is None:
        raise NoPlan("not_found", kind="party")
    own_alarms = {each.alarm_id for each in risks.alarms(conn, party_id)}
    action, alarm_id = str(plan["action"]).strip(), plan["alarm_id"]
    if plan["owner_id"] not in {user_id for user_id, _ in risks.owners(conn, party_id)}:
        raise BadPlan("risk_owner")
    if not 0 < len(action) <= 1000 or (alarm_id is not None and alarm_id not in own_alarms):
        raise BadPlan("bad_risk_plan")
    if plan["due_on"] < day_of(now):
        raise BadPlan("risk_due")
    act = (security.actor_name(actor), now)
    measure_taken = Measure(plan["measure"])
    kept = {**plan, "action": action, "measure": measure_taken.value}
    plan_id = risks.insert_plan(conn, party_id, kept, act)
    risks.move_plan(conn, plan_id, ("propose", "", step(risk.PLAN, None, "propose")), "", act)
    return plan_id


def move(conn: Conn, actor: Actor, plan_id: int, deed: str, outcome: str, now: datetime) -> int:
    """Start, finish or drop a plan; whoever closes it says what came of it. Returns the party. Raises BadPlan, NoPlan."""
    found = risks.find_plan(conn, plan_id)
    if found is None:
        raise NoPlan("not_found", kind="risk_plan")
    security.allow(conn, actor, Deed.MANAGE_RISK, Subject("risk_plan", str(plan_id), found.party_id), now)
    after, words = step(risk.PLAN, found.state, deed), outcome.strip()
    if len(words) > 1000 or (after in ("done", "dropped") and not words):
        raise BadPlan("risk_outcome")
    risks.move_plan(conn, plan_id, (deed, found.state, after), words, (security.actor_name(actor), now))
    return found.party_id


def _seen(conn: Conn, party_id: int, now: datetime) -> Seen:
    today = day_of(now)
    first = today - timedelta(days=HISTORY_DAYS)
    contracts = {
        (each.contract_id, each.version): each
        for number in range(MONTHS_AHEAD)
        for each in wholesale.of_month(conn, month_after(month_of(today), number))
    }
    market = entered.find_market(conn)
    row = None if market is None else entered.rule_of(conn, market.market_id, month_of(today))
    rule = None if row is None else rule_from(f"{row.rule_id}@{row.version}", row.body)
    prices: dict[date, tuple[Decimal, ...]] = {}
    if market is not None:
        for kind in ("day_ahead", "real_time"):
            prices |= {
                day: tuple(row)
                for day, row in entered.price_days(conn, market.market_id, kind, first, today).items()
            }
    load = risks.load_days(conn, party_id, first, today)
    market_id = None if market is None else market.market_id
    return Seen(tuple(contracts.values()), rule, load, prices, _changes_ahead(conn, market_id, today), today)


def _changes_ahead(conn: Conn, market_id: str | None, today: date) -> tuple[Change, ...]:
    """What is about to change: rules of the market that are entered for later, and policies that touch rules of ours."""
    found = (
        []
        if market_id is None
        else [Change(name, month) for name, month in entered.rules_ahead(conn, market_id, month_of(today))]
    )
    for row in policies.listed(conn, NOBODY, most=POLICIES_MAX):
        if row.rules:
            ends = [*row.repealed, *([] if row.expires is None else [row.expires])]
            days = [day for day in (row.effective, *ends) if day > today]
            found += [Change(row.number, min(days))] if days else []
    return tuple(sorted(found, key=lambda each: (each.from_day, each.name)))


class _WholeMonth:
    """A market without named periods."""

    def label_of(self, day: date, slot: int) -> str:
        """Name none."""
        return ""


def _positions(seen: Seen, unit: str) -> tuple[tuple[Position, ...], list[str]]:
    """Lay out the months ahead; a contract that cannot be laid out is named, not left out silently."""
    recent = [seen.load[day] for day in sorted(seen.load)[-RECENT_DAYS:]]
    mean = [sum(slots) // len(recent) for slots in zip(*recent, strict=True)] if recent else [0] * 96
    periods = seen.rule or _WholeMonth()
    found: list[Position] = []
    unsaid: list[str] = []
    for number in range(MONTHS_AHEAD):
        load = risk.expected_load(month_after(month_of(seen.today), number), mean)
        sure = []
        for terms in seen.contracts:
            if unit not in (terms.buyer, terms.seller):
                continue
            try:
                risk.positions((unit,), (terms,), load, periods)
            except Refused:
                unsaid.append(terms.contract_id)
            else:
                sure.append(terms)
        found.extend(risk.positions((unit,), sure, load, periods))
    return tuple(found), sorted(set(unsaid))


def _portfolio(conn: Conn, seen: Seen, unit: str) -> dict[str, Any]:
    days = sorted(set(seen.load) & set(seen.prices))
    method: dict[str, Any] = {
        "method": "historical-blocks@1",
        "days": len(days),
        "block_days": portfolio.BLOCK_DAYS,
        "scenarios": portfolio.SCENARIOS,
        "horizon_days": HORIZON_DAYS,
        "seed": SEED,
    }
    if len(days) < portfolio.DAYS_LEAST:
        return method | {"problem": "too_little_history", "least": portfolio.DAYS_LEAST}
    history = History(
        np.array([_hourly_mwh(seen.load[day]) for day in days]),
        np.array([_hourly_price(seen.prices[day]) for day in days]),
    )
    held = _held(conn, seen, unit)
    drawn = portfolio.drawn_days(history.days, HORIZON_DAYS, SEED)
    results = portfolio.scenario_results(held, history, drawn)
    mean_price = float(history.spot_yuan.mean())
    band = (BAND[0] * mean_price, BAND[1] * mean_price)
    value = method | {
        "expected_yuan": round(float(results.mean())),
        "measures": [asdict(portfolio.measure(results, level)) for level in portfolio.LEVELS],
        "stresses": [asdict(each) for each in portfolio.stresses(held, history, band, HORIZON_DAYS)],
        "band_yuan": [round(limit, 2) for limit in band],
        "retail_yuan": held.retail_yuan,
        "histogram": _histogram(results),
    }
    try:
        value["backtest"] = asdict(
            portfolio.backtest(held, history, 0.95, max(portfolio.DAYS_LEAST, len(days) // 2))
        )
    except TooLittleHistory:
        value["backtest"] = None
    return value


def _held(conn: Conn, seen: Seen, unit: str) -> Portfolio:
    """The contracts of this month as a mean day, and what customers paid per MWh in the last settled month."""
    month = month_of(seen.today)
    days, cost, mwh = len(days_of_month(month)), Decimal(0), np.zeros(HOURS)
    recent = [seen.load[day] for day in sorted(seen.load)[-RECENT_DAYS:]]
    mean = [sum(slots) // len(recent) for slots in zip(*recent, strict=True)]
    load = risk.expected_load(month, mean)
    for terms in seen.contracts:
        sign = (terms.buyer == unit) - (terms.seller == unit)
        for volume in terms.volumes_of(month) if sign else ():
            try:
                curve = volume_curve(terms, volume, seen.rule or _WholeMonth(), load.curve_wh)
            except Refused:
                continue  # named in the measurement: see _positions
            cost += sign * volume.mwh * volume.price_yuan_per_mwh / days
            mwh += sign * np.array(curve, dtype=float).sum(axis=0).reshape(HOURS, 4).sum(axis=1) / 1000 / days
    result = risks.retail_result(conn, unit)
    retail = 0.0 if result is None else round(result[0] / 100 / (result[1] / 1000), 2)
    return Portfolio(mwh, float(cost), retail)


def _readings(
    conn: Conn, party_id: int, seen: Seen, found: Sequence[Position], value: Mapping[str, Any], now: datetime
) -> tuple[Reading, ...]:
    means = [sum(seen.prices[day], Decimal(0)) / len(seen.prices[day]) for day in sorted(seen.prices)[-31:]]
    held_fen, _ = guarantees.balances(conn, party_id, seen.today)
    reserved_fen = guarantees.told_fen(conn, party_id)
    needed = credits.requirement(conn, party_id, now)
    required_fen = 0 if needed is None else needed.required_fen
    measures = {each["level"]: each for each in value.get("measures", ())}
    future_fen = round(100 * measures[0.95]["var_yuan"]) if measures else 0
    unpaid_fen = risks.unpaid_fen(conn, f"party:{party_id}", month_after(month_of(seen.today), -1))
    marked_fen = _marked_fen(seen, f"party:{party_id}")
    used_fen = unpaid_fen + marked_fen + max(0, future_fen) + reserved_fen
    parts = {
        "unpaid_fen": unpaid_fen,
        "marked_fen": marked_fen,
        "future_fen": future_fen,
        "reserved_fen": reserved_fen,
    }
    cvar_fen = round(100 * measures[0.99]["cvar_yuan"]) if measures else None
    line = {"held_fen": str(held_fen)}
    return (
        Reading(Indicator.EXPOSURE, risk.exposure_ppm(found), {}),
        Reading(Indicator.PRICE, risk.price_ppm(means), {"days": str(len(means))}),
        Reading(
            Indicator.CREDIT, risk.share_ppm(used_fen, held_fen), line | {k: str(v) for k, v in parts.items()}
        ),
        Reading(
            Indicator.GUARANTEE,
            risk.share_ppm(max(0, required_fen - held_fen), required_fen),
            line | {"required_fen": str(required_fen)},
        ),
        Reading(
            Indicator.CVAR,
            None if cvar_fen is None else risk.share_ppm(cvar_fen, held_fen),
            line | {"cvar_fen": str(cvar_fen)},
        ),
        Reading(
            Indicator.POLICY,
            risk.policy_ppm(found, seen.changes),
            {
                "changes": "、".join(
                    f"{each.name}（{each.from_day:%Y-%m-%d}）" for each in seen.changes[:CHANGES_TOLD]
                )
            },
        ),
    )


def _marked_fen(seen: Seen, unit: str) -> int:
    """What the contracts ahead would lose at the mean spot price of late: nobody's gain counts."""
    lately = [price for day in sorted(seen.prices)[-RECENT_DAYS:] for price in seen.prices[day]]
    if not lately:
        return 0
    spot, lost = sum(lately, Decimal(0)) / len(lately), Decimal(0)
    for terms in seen.contracts:
        sign = (terms.buyer == unit) - (terms.seller == unit)
        lost += sum(
            (
                sign * each.mwh * (each.price_yuan_per_mwh - spot)
                for each in terms.volumes
                if each.month >= month_of(seen.today)
            ),
            Decimal(0),
        )
    return max(0, int(lost * 100))


def _alarm(
    conn: Conn,
    party_id: int,
    readings: Sequence[Reading],
    limits: Mapping[Indicator, Threshold],
    now: datetime,
) -> None:
    """Raise an alarm when a level is new, end it when it is left; the party and the staff are told once."""
    standing = {each.indicator: each for each in risks.alarms(conn, party_id, only_open=True)}
    name = risks.name_of(conn, party_id) or ""
    for each in readings:
        level, kept = limits[each.indicator].level_of(each.value_ppm), standing.get(each.indicator.value)
        if kept is not None and (level is None or level.value != kept.level):
            risks.end_alarm(conn, kept.alarm_id, now)
        if level is None or each.value_ppm is None or (kept is not None and kept.level == level.value):
            continue
        alarm_id = risks.insert_alarm(
            conn, party_id, (each.indicator.value, level.value, each.value_ppm), each.facts, now
        )
        percent = f"{each.value_ppm / 10_000:.1f}"
        facts = {"party": name, "percent": percent}
        key = f"risk_{each.indicator.value}_{level.value}"
        if each.indicator in OF_GUARANTEE and each.facts["held_fen"] == "0":
            key, facts = f"risk_unlodged_{each.indicator.value}", {"party": name, "amount": _needed(each)}
        elif each.indicator is Indicator.POLICY:
            facts = facts | {"changes": each.facts["changes"]}
        for to, path in ((party_id, "/risk"), (None, f"/risk/parties/{party_id}")):
            notices.post(conn, Notice(to, key, facts, path, f"risk_alarm:{alarm_id}:{to or 'staff'}"), now)


def _needed(reading: Reading) -> str:
    """The yuan that no guarantee stands behind: of nothing a share says nothing."""
    facts = {key: int(value) for key, value in reading.facts.items()}
    if reading.indicator is Indicator.CREDIT:
        used_fen = facts["unpaid_fen"] + facts["marked_fen"] + facts["reserved_fen"]
        return str(yuan(used_fen + max(0, facts["future_fen"])))
    return str(yuan(facts["required_fen" if reading.indicator is Indicator.GUARANTEE else "cvar_fen"]))


def _reading_json(reading: Reading, limits: Threshold) -> dict[str, Any]:
    level = limits.level_of(reading.value_ppm)
    return {
        "indicator": reading.indicator.value,
        "value_ppm": reading.value_ppm,
        "level": None if level is None else level.value,
        "watch": limits.watch,
        "alarm": limits.alarm,
        "stop": limits.stop,
        "facts": dict(reading.facts),
    }


def _hourly_mwh(slots_wh: Sequence[int]) -> list[float]:
    return [sum(slots_wh[at : at + 4]) / 1e6 for at in range(0, 96, 4)]


def _hourly_price(prices: Sequence[Decimal]) -> list[float]:
    size = len(prices) // HOURS
    return [float(sum(prices[at : at + size], Decimal(0)) / size) for at in range(0, len(prices), size)]


def _histogram(results: portfolio.Floats) -> dict[str, Any]:
    counts, edges = np.histogram(results, bins=30)
    return {"counts": [int(each) for each in counts], "first": float(edges[0]), "last": float(edges[-1])}
