"""Shell: settle a month by the calendar of 976号, stage by stage; safe to run at any time, by any number of workers.

A run's state is the fold of its log. Every unit of every stage is one transaction that takes the run's lock, looks
again whether it is still to be done, and commits the work together with its event: a killed worker leaves both or
neither. What cannot go on is named as a blocker and looked at again the next time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from cloud.db import transaction
from cloud.errors import NotFound, NotNow
from cloud.market.deadlines import correctable_until, deadlines
from cloud.market.line import SettlementLine, Side
from cloud.market.progress import STAGES, Event, Stage
from cloud.market.run.settle import papers, stages
from cloud.market.run.settle.desk import Desk as Desk
from cloud.market.run.settle.desk import Revenue as Revenue
from cloud.market.run.settle.desk import Rooms as Rooms
from cloud.market.run.settle.desk import is_settled_unit
from cloud.market.run.settle.stages import Look as Look
from cloud.market.run.settle.stages import look_at
from cloud.market.statement import Heading
from cloud.market.store import entered, runs, settlements
from cloud.market.store.runs import KINDS
from cloud.market.store.runs import RunRow as RunRow
from cloud.markettime import month_after, month_of

RUNS_MAX = 60  # looked at each time: more than the runs of the months that can still be corrected

_DEEDS: dict[Stage, Callable[[Desk, RunRow], None]] = {
    Stage.COLLECT: stages.collect,
    Stage.CHECK: stages.check,
    Stage.SETTLE: stages.settle,
    Stage.BALANCE: stages.close_books,
    Stage.DRAW: papers.draw,
    Stage.PUBLISH: papers.publish,
    Stage.CONFIRM: papers.confirm,
    Stage.FINAL: papers.finalise,
    Stage.BILLS: papers.bills,
}


class NoMarket(NotFound):
    """No market is entered, so there is nothing to settle by."""


class TooEarly(NotNow):
    """The month is not over, or its first working day has not come."""


class NoSuchRun(NotFound):
    """There is no such run."""


class RunNotFinal(NotNow):
    """The run before this one is not final yet: late data goes into that one."""


class TooOld(NotNow):
    """The month is further back than corrections reach (追溯 ≤ 12 months)."""


def open_run(desk: Desk, month: date, kind: str, reason: str) -> RunRow:
    """Open a run of a month, or find it when it is open. Raises NoMarket, TooEarly, RunNotFinal, TooOld."""
    with transaction(desk.pool, desk.scope) as conn:
        market = entered.find_market(conn)
        if market is None:
            raise NoMarket("no_market")
        kept = {run.kind: run for run in runs.runs_of(conn, month)}
        if kind not in kept:
            if desk.today < month_after(month):
                raise TooEarly(
                    "settled_too_early", month=f"{month:%Y-%m}", day=month_after(month).isoformat()
                )
            if desk.today >= correctable_until(month):
                until = correctable_until(month).isoformat()
                raise TooOld("settled_too_old", month=f"{month:%Y-%m}", until=until)
            if kind != KINDS[0]:
                before = kept.get(KINDS[KINDS.index(kind) - 1])
                if before is None or not is_final(look_at(conn, before)):
                    raise RunNotFinal("run_not_final", month=f"{month:%Y-%m}", kind=kind)
        return runs.open_run(conn, market.market_id, month, kind, (desk.actor, desk.now, reason))


def advance(desk: Desk, run: RunRow, upto: Stage = Stage.BILLS) -> Look:
    """Take a run as far as it can go now, at most through `upto`; return how far it is."""
    for stage in STAGES[: STAGES.index(upto) + 1]:
        _DEEDS[stage](desk, run)
    with transaction(desk.pool, desk.scope) as conn:
        return look_at(conn, run)


def is_final(look: Look) -> bool:
    """Whether every statement of the run is final."""
    return bool(look.units) and not look.progress.open(Stage.FINAL, [unit.unit_id for unit in look.units])


def is_complete(look: Look) -> bool:
    """Whether nothing of the run is left to do."""
    settled = [unit.unit_id for unit in look.units if is_settled_unit(unit)]
    return is_final(look) and not look.progress.open(Stage.BILLS, settled)


def look(desk: Desk) -> int:
    """What is due today: last month's run from its first working day on, and every run that is not complete.

    Returns how many runs were looked at.
    """
    last = month_after(month_of(desk.today), -1)
    with transaction(desk.pool, desk.scope) as conn:
        market = entered.find_market(conn)
        if market is None:
            return 0
        open_runs = [run for run in runs.recent_runs(conn, RUNS_MAX) if not is_complete(look_at(conn, run))]
        begins = entered.first_month(conn, market.market_id)
        is_new = not runs.runs_of(conn, last) and (begins is None or begins <= last)
    if is_new and desk.today >= deadlines(last).readings:
        open_runs.append(open_run(desk, last, KINDS[0], ""))
    for run in sorted(open_runs, key=lambda each: (each.month, each.run_id)):
        advance(desk, run)
    return len(open_runs)


def run_of(desk: Desk, month: date, kind: str | None, *, may_open: bool) -> RunRow:
    """Find a month's run of a kind (None: the latest), or open the first. Raises NoSuchRun and what open_run does."""
    with transaction(desk.pool, desk.scope) as conn:
        kept = [run for run in runs.runs_of(conn, month) if kind in (None, run.kind)]
    if kept:
        return kept[-1]
    if may_open and kind in (None, KINDS[0]):
        return open_run(desk, month, KINDS[0], "")
    raise NoSuchRun("no_such_run", month=f"{month:%Y-%m}", kind=kind or KINDS[0])


def look_at_run(desk: Desk, run: RunRow) -> Look:
    """Load how far a run is, and do nothing."""
    with transaction(desk.pool, desk.scope) as conn:
        return look_at(conn, run)


def add_event(desk: Desk, run: RunRow, event: Event) -> None:
    """Say something in a run's log: restart, defer, accept, review."""
    with transaction(desk.pool, desk.scope) as conn:
        runs.lock_run(conn, run.run_id)
        runs.add_event(conn, run.run_id, event)


def statements_of(desk: Desk, run: RunRow) -> tuple[tuple[Heading, tuple[SettlementLine, ...]], ...]:
    """Load the statements of a run with their lines: the results for accounting and for the grid company."""
    with transaction(desk.pool, desk.scope) as conn:
        return tuple(
            (
                Heading(row.unit_id, row.name, Side(row.side), row.month, row.revision, row.state),
                tuple(line for _, line in settlements.lines_of(conn, row.statement_id)),
            )
            for row in settlements.of_run(conn, run.run_id)
        )
