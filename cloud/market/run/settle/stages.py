"""The stages that compute: collect, check, settle, balance. Each unit of each is one transaction (see once)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud.db import Conn, transaction
from cloud.errors import Refused
from cloud.market.balance import Books, balance
from cloud.market.greenmatch import GreenMatch, green_matches
from cloud.market.line import Side
from cloud.market.month import mwh
from cloud.market.progress import STAGES, Blocker, Event, Outcome, Progress, Stage, progress_of
from cloud.market.run.settle import gather
from cloud.market.run.settle.desk import (
    MECHANISM_REFERENCE,
    Desk,
    Entered,
    Table,
    is_settled_unit,
    load_entered,
    load_table,
)
from cloud.market.settlement import contract_days, unit_lines
from cloud.market.store import entered, runs
from cloud.market.store.runs import RunRow, UnitRow

ACCEPTABLE = frozenset({"vee_open", "no_contract", "not_in_market"})
Work = Callable[[Conn], Event | None]


@dataclass(frozen=True, slots=True)
class Look:
    """A run as it was when a stage began."""

    progress: Progress
    units: tuple[UnitRow, ...]
    restarts: int

    def ready(self, stage: Stage) -> tuple[UnitRow, ...]:
        """List the units whose turn it is: the stage is open for them and the one before it done."""
        before = STAGES[STAGES.index(stage) - 1]
        return tuple(
            unit
            for unit in self.units
            if not self.progress.is_done(stage, unit.unit_id)
            and (before is Stage.BALANCE or self.progress.is_done(before, unit.unit_id))
        )


def look_at(conn: Conn, run: RunRow) -> Look:
    """Load how far a run is."""
    events = runs.events_of(conn, run.run_id)
    restarts = [event.event_id for event in events if event.outcome is Outcome.RESTART]
    return Look(progress_of(events), runs.units_of(conn, run.run_id), max(restarts, default=0))


def once(desk: Desk, run: RunRow, look: Look, at: tuple[Stage, str | None], work: Work) -> None:
    """Do one unit of a stage in one transaction, unless it is done or was restarted meanwhile.

    Work and its event are committed together or not at all; a refusal is named as a blocker, once.
    """
    stage, unit_id = at
    with transaction(desk.pool, desk.scope) as conn:
        runs.lock_run(conn, run.run_id)
        if (
            runs.is_done(conn, run.run_id, stage, unit_id)
            or runs.last_restart(conn, run.run_id) != look.restarts
        ):
            return
        try:
            with conn.transaction():
                event = work(conn)
        except Refused as refused:
            facts = {name: str(value) for name, value in refused.facts.items()}
            event = blocked(desk, stage, unit_id, [Blocker(stage, unit_id, refused.key, facts)])
        if event is not None and not _is_known(event, look.progress.last.get(at)):
            runs.add_event(conn, run.run_id, event)


def blocked(desk: Desk, stage: Stage, unit_id: str | None, blockers: Sequence[Blocker]) -> Event:
    """Name what is in the way."""
    found = [{"kind": each.kind, "facts": dict(each.facts)} for each in blockers]
    return desk.event(stage, unit_id, Outcome.BLOCKED, blockers=found)


def _is_known(event: Event, last: Event | None) -> bool:
    return (
        event.outcome is Outcome.BLOCKED
        and last is not None
        and last.outcome is Outcome.BLOCKED
        and last.facts == event.facts
    )


def gate(desk: Desk, run: RunRow, look: Look, stage: Stage, blockers: Sequence[Blocker]) -> bool:
    """Say whether a stage may begin for anybody; what is in everybody's way is named for the market as a whole."""
    last = look.progress.last.get((stage, None))
    if blockers:
        event = blocked(desk, stage, None, blockers)
    elif last is not None and last.outcome is Outcome.BLOCKED:
        event = desk.event(stage, None, Outcome.DONE)
    else:
        return True
    if not _is_known(event, last):
        with transaction(desk.pool, desk.scope) as conn:
            runs.lock_run(conn, run.run_id)
            runs.add_event(conn, run.run_id, event)
    return not blockers


def collect(desk: Desk, run: RunRow) -> None:
    """Find the units of the month, then add up the energy of each."""
    with transaction(desk.pool, desk.scope) as conn:
        look, found = look_at(conn, run), load_entered(conn, run)
    settled = [unit for unit in look.units if is_settled_unit(unit)]
    if look.units and not look.progress.open(Stage.COLLECT, [unit.unit_id for unit in settled]):
        return
    with transaction(desk.pool, desk.scope) as conn:
        units = gather.find_units(conn, run.month, found.contracts)
        runs.put_units(conn, run.run_id, units)
        look = look_at(conn, run)
    problems = [each for each in found.problems if each.stage is Stage.COLLECT]
    if not look.units:
        problems.append(Blocker(Stage.COLLECT, None, "no_units", {"month": f"{run.month:%Y-%m}"}))
    if not gate(desk, run, look, Stage.COLLECT, problems) or found.rule is None:
        return
    rule = found.rule
    for unit in look.units:
        if is_settled_unit(unit) and not look.progress.is_done(Stage.COLLECT, unit.unit_id):

            def work(conn: Conn, unit: UnitRow = unit) -> Event:
                energy = gather.energy(conn, unit, run.month, rule)
                runs.add_energy(conn, run.run_id, unit.unit_id, energy, desk.now)
                return desk.event(Stage.COLLECT, unit.unit_id, Outcome.DONE, kwh=sum(energy.actual_kwh))

            once(desk, run, look, (Stage.COLLECT, unit.unit_id), work)


def check(desk: Desk, run: RunRow) -> None:
    """Name everything that is missing, for the market and for each unit."""
    with transaction(desk.pool, desk.scope) as conn:
        look, found = look_at(conn, run), load_entered(conn, run)
    ready = [unit for unit in look.ready(Stage.CHECK) if is_settled_unit(unit)]
    if not ready:
        return
    known = {unit.unit_id for unit in look.units}
    problems = [each for each in found.problems if each.stage is Stage.CHECK]
    problems += [
        Blocker(Stage.CHECK, None, "unknown_unit", {"contract": terms.contract_id, "unit": unit_id})
        for terms in found.contracts
        for unit_id in (terms.seller, terms.buyer)
        if unit_id not in known
    ]
    gate(desk, run, look, Stage.CHECK, problems)
    for unit in ready:

        def work(conn: Conn, unit: UnitRow = unit) -> Event:
            blockers = _doubts(conn, run, look.progress, found, unit)
            if problems or blockers:
                return blocked(desk, Stage.CHECK, unit.unit_id, blockers)
            return desk.event(Stage.CHECK, unit.unit_id, Outcome.DONE)

        once(desk, run, look, (Stage.CHECK, unit.unit_id), work)


def _doubts(conn: Conn, run: RunRow, progress: Progress, found: Entered, unit: UnitRow) -> list[Blocker]:
    doubts: list[tuple[str, dict[str, object]]] = []
    energy = runs.energy_of(conn, run.run_id, unit.unit_id)
    if unit.unit_id not in progress.deferred and energy is not None:
        doubts += [(str(each["kind"]), dict(each["facts"])) for each in energy.problems]
    mechanism = entered.quantities_of(conn, unit.unit_id, run.month).get("mechanism")
    if mechanism is not None and found.prices.get(MECHANISM_REFERENCE) is None:
        doubts.append(("no_such_price", {"price": MECHANISM_REFERENCE}))
    if mechanism is not None and energy is not None and mechanism.mwh > mwh(sum(energy.actual_kwh)):
        facts = {"mwh": str(mechanism.mwh), "generation": str(mwh(sum(energy.actual_kwh)))}
        doubts.append(("mechanism_exceeds", dict(facts)))
    has_contract = any(unit.unit_id in (terms.seller, terms.buyer) for terms in found.contracts)
    if not has_contract and unit.side in (Side.USER, Side.RETAILER):
        doubts.append(("no_contract", {"month": f"{run.month:%Y-%m}"}))
    if not unit.is_metered and unit.account_id is not None:
        doubts.append(("not_in_market", {"account": unit.account_id}))
    return [
        Blocker(Stage.CHECK, unit.unit_id, kind, facts)
        for kind, facts in doubts
        if kind not in ACCEPTABLE or (unit.unit_id, kind) not in progress.accepted
    ]


def settle(desk: Desk, run: RunRow) -> None:
    """Compute the own lines of every unit that was checked."""
    with transaction(desk.pool, desk.scope) as conn:
        look, found = look_at(conn, run), load_entered(conn, run)
        ready = [unit for unit in look.ready(Stage.SETTLE) if is_settled_unit(unit)]
        if not ready:
            return
        problems: list[Blocker] = []
        try:
            table = load_table(conn, run, found, look.progress)
            green = _green(table, look.progress)
        except Refused as refused:
            facts = {name: str(value) for name, value in refused.facts.items()}
            problems.append(Blocker(Stage.SETTLE, None, refused.key, facts))
    if not gate(desk, run, look, Stage.SETTLE, problems):
        return
    by_id = {unit.unit_id: unit for unit in table.units}
    for unit in ready:

        def work(conn: Conn, unit: UnitRow = unit) -> Event:
            lines = unit_lines(by_id[unit.unit_id], table.market, table.contracts, green)
            days = contract_days(by_id[unit.unit_id], table.contracts)
            runs.add_work(conn, run.run_id, unit.unit_id, lines, {"contract_day_kwh": days}, desk.now)
            fen = sum(line.amount_fen for line in lines)
            return desk.event(Stage.SETTLE, unit.unit_id, Outcome.DONE, lines=len(lines), fen=fen)

        once(desk, run, look, (Stage.SETTLE, unit.unit_id), work)


def _green(table: Table, progress: Progress) -> dict[str, GreenMatch]:
    """Match green energy; a contract whose party was deferred waits for the next run."""
    units = {unit.unit_id: unit for unit in table.units}
    waits = progress.deferred
    usable = [
        each for each in table.contracts if each.terms.seller not in waits and each.terms.buyer not in waits
    ]
    order = table.market.rule.green_order
    return {match.contract_id: match for match in green_matches(usable, units, order, table.customers_kwh)}


def close_books(desk: Desk, run: RunRow) -> None:
    """Share the named differences once every unit is settled, and prove that the month adds up to zero."""
    with transaction(desk.pool, desk.scope) as conn:
        look, found = look_at(conn, run), load_entered(conn, run)
        settled = [unit.unit_id for unit in look.units if is_settled_unit(unit)]
        waits = look.progress.open(Stage.SETTLE, settled)
        if not settled or waits or look.progress.is_done(Stage.BALANCE, None):
            return

    def work(conn: Conn) -> Event:
        table = load_table(conn, run, found, look.progress)
        kept = runs.work_of(conn, run.run_id)
        own = [line for unit_id in settled for line in kept[unit_id]]
        books = balance(table.market, table.units, table.contracts, own)
        runs.add_work(conn, run.run_id, "", books.lines, _proof(table, books), desk.now)
        return desk.event(Stage.BALANCE, None, Outcome.DONE, lines=len(own) + len(books.lines), fen=0)

    once(desk, run, look, (Stage.BALANCE, None), work)


def _proof(table: Table, books: Books) -> dict[str, object]:
    proof = books.conservation
    kwh = {side: sum(sum(u.actual_kwh) for u in table.units if u.side is side) for side in Side}
    return {
        "by_side": {side.value: fen for side, fen in proof.by_side},
        "by_item": {item.value: fen for item, fen in proof.by_item if fen},
        "differences": [
            {"name": each.name.value, "fen": each.amount_fen, "shares": len(each.shares)}
            for each in proof.differences
        ],
        "rounding_fen": proof.rounding_fen,
        "total_fen": proof.total_fen,
        "kwh": {side.value: each for side, each in kwh.items()},
        "rule": table.market.rule.origin,
        "rule_sha256": table.market.rule.sha256,
    }
