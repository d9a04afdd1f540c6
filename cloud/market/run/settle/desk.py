"""What every stage works with: whose desk it is, and what a run is settled from, loaded at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from cloud import markettime
from cloud.contracts.store import wholesale
from cloud.contracts.terms import Shape, WholesaleTerms
from cloud.db import Conn, Pool, ProcessRole, Scope
from cloud.market.line import GRID_UNIT, Side
from cloud.market.month import (
    ContractFacts,
    MarketMonth,
    Mechanism,
    UnitFacts,
    contract_facts,
    stretches,
)
from cloud.market.progress import Blocker, Event, Outcome, Progress, Stage
from cloud.market.rulefile import Form, MarketRule, rule_from
from cloud.market.run.settle.gather import load_curve, named_days
from cloud.market.store import entered, runs
from cloud.market.store.runs import EnergyRow, RunRow, UnitRow
from cloud.markettime import days_of_month

MECHANISM_REFERENCE = "mechanism_reference"


@dataclass(frozen=True, slots=True)
class Revenue:
    """What a retailer's customers were billed for energy, and how many of them have a bill."""

    amount_fen: int
    bills: int


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the rooms above do with final lines: draw up a direct user's bill, add up a retailer's revenue."""

    draw_bill: Callable[[Conn, str, date], int | None]
    retail_fen: Callable[[Conn, Sequence[str], date], Revenue]


@dataclass(frozen=True, slots=True)
class Desk:
    """Who works, at which instant, and what the rooms above do with final lines."""

    pool: Pool
    actor: str
    now: datetime
    rooms: Rooms | None = None

    @property
    def scope(self) -> Scope:
        """Work in the name of the worker."""
        return Scope(ProcessRole.WORKER, actor=self.actor)

    @property
    def today(self) -> date:
        """The market's day of the instant."""
        return markettime.day_of(self.now)

    def event(self, stage: Stage, unit_id: str | None, outcome: Outcome, **facts: object) -> Event:
        """Say in the log that something happened now."""
        return Event(0, stage, unit_id, outcome, self.now, self.actor, facts)


@dataclass(frozen=True, slots=True)
class Entered:
    """What the market month rests on apart from energy; `problems` are in the way of everybody."""

    rule: MarketRule | None
    contracts: tuple[WholesaleTerms, ...]
    prices: Mapping[str, Decimal | None]
    day_ahead: tuple[Decimal, ...]
    real_time: tuple[Decimal, ...]
    problems: tuple[Blocker, ...]


def load_entered(conn: Conn, run: RunRow) -> Entered:
    """Load rule, contracts and prices of a run's month, and name what is missing."""
    contracts = wholesale.of_month(conn, run.month)
    row = entered.rule_of(conn, run.market_id, run.month)
    prices = {each.price_key: each.value for each in entered.prices_of(conn, run.market_id, run.month)}
    if row is None:
        facts = {"month": f"{run.month:%Y-%m}", "market": run.market_id}
        return Entered(None, contracts, prices, (), (), (Blocker(Stage.COLLECT, None, "no_rule", facts),))
    rule = rule_from(f"{row.rule_id}@{row.version}", row.body)
    if not rule.in_force(run.month):
        facts = {"rule": rule.origin, "month": f"{run.month:%Y-%m}"}
        problem = Blocker(Stage.COLLECT, None, "rule_not_in_force", facts)
        return Entered(rule, contracts, prices, (), (), (problem,))
    if rule.form is not Form.SPOT:
        return Entered(rule, contracts, prices, (), (), ())
    day_ahead, absent_ahead = _spot(conn, run, rule, "day_ahead")
    real_time, absent_real = _spot(conn, run, rule, "real_time")
    problems = tuple(
        Blocker(Stage.CHECK, None, each["kind"], each["facts"])
        for each in (
            *named_days("no_day_ahead_price", absent_ahead),
            *named_days("no_real_time_price", absent_real),
        )
    )
    return Entered(rule, contracts, prices, day_ahead, real_time, problems)


def _spot(
    conn: Conn, run: RunRow, rule: MarketRule, kind: str
) -> tuple[tuple[Decimal, ...], tuple[date, ...]]:
    days = days_of_month(run.month)
    size = stretches(rule, run.month)[0].end
    kept = entered.price_days(conn, run.market_id, kind, days[0], days[-1])
    usable = {day: _repeated(prices, size) for day, prices in kept.items() if size % len(prices) == 0}
    flat = [price for day in days for price in usable.get(day, (Decimal(0),) * size)]
    return tuple(flat), tuple(day for day in days if day not in usable)


def _repeated(prices: Sequence[Decimal], size: int) -> tuple[Decimal, ...]:
    """An hour's price is that of each of its quarter-hours; the reverse would need an average that no rule names."""
    times = size // len(prices)
    return tuple(price for price in prices for _ in range(times))


@dataclass(frozen=True, slots=True)
class Table:
    """A run's month laid out for settlement."""

    market: MarketMonth
    units: tuple[UnitFacts, ...]
    contracts: tuple[ContractFacts, ...]
    customers_kwh: Mapping[str, int]


def load_table(conn: Conn, run: RunRow, found: Entered, progress: Progress) -> Table:
    """Lay out energy, mechanism quantities and contracts of all units. Raises NoSuchPeriod, NothingToFollow."""
    if found.rule is None:
        raise TypeError("a run without a rule does not come this far")
    units = runs.units_of(conn, run.run_id)
    energies = runs.energies_of(conn, run.run_id)
    facts = tuple(
        _unit_facts(conn, run, unit, energies.get(unit.unit_id), found, unit.unit_id in progress.deferred)
        for unit in units
        if unit.side is not Side.GRID
    )
    contracts = tuple(
        contract_facts(terms, found.rule, run.month, _load(conn, run, terms, units))
        for terms in found.contracts
    )
    market = MarketMonth(run.month, found.rule, found.prices, found.day_ahead, found.real_time)
    named = {account: kwh for each in energies.values() for account, kwh in each.customers_kwh.items()}
    return Table(market, facts, contracts, named)


def _load(
    conn: Conn, run: RunRow, terms: WholesaleTerms, units: Sequence[UnitRow]
) -> tuple[tuple[int, ...], ...]:
    if terms.shape is not Shape.LOAD:
        return ()
    buyer = next((unit for unit in units if unit.unit_id == terms.buyer and unit.is_metered), None)
    return () if buyer is None else load_curve(conn, buyer, run.month)


def _unit_facts(
    conn: Conn, run: RunRow, unit: UnitRow, energy: EnergyRow | None, found: Entered, is_deferred: bool
) -> UnitFacts:
    quantities = entered.quantities_of(conn, unit.unit_id, run.month)
    generation = quantities.get("generation")
    is_metered = unit.is_metered and not is_deferred and energy is not None
    return UnitFacts(
        unit.unit_id,
        unit.party_id,
        unit.side,
        energy.actual_kwh if energy is not None and is_metered else (),
        energy.day_ahead_kwh if energy is not None and is_metered else (),
        _mechanism(quantities.get("mechanism"), found) if is_metered else None,
        is_metered,
        None if generation is None else int(generation.mwh * 1000),
    )


def _mechanism(quantity: entered.QuantityRow | None, found: Entered) -> Mechanism | None:
    if quantity is None or quantity.price_yuan_per_mwh is None:
        return None
    reference = found.prices.get(MECHANISM_REFERENCE)
    if reference is None:
        return None  # named as missing by the check of the unit
    return Mechanism(int(quantity.mwh * 1000), quantity.price_yuan_per_mwh, reference, quantity.source)


def is_settled_unit(unit: UnitRow) -> bool:
    """The grid company has lines only from the books."""
    return unit.unit_id != GRID_UNIT
