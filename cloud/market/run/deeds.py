"""Shells: what a person does to a run (restart, defer, accept, review, open) and to a statement (confirm, object, ask)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from cloud import markettime
from cloud.db import Conn
from cloud.errors import Conflict, Invalid, NotNow
from cloud.lives import step
from cloud.market.deadlines import answer_until, ask_until, correctable_until
from cloud.market.progress import Event, Outcome, Stage, progress_of
from cloud.market.statement import STATEMENT
from cloud.market.store import entered, runs, settlements
from cloud.market.store.runs import KINDS, RunRow
from cloud.market.store.settlements import MoveRow, StatementRow
from cloud.markettime import month_after
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow

REASON_MAX = 1000


class ReasonMissing(Invalid):
    """Whoever changes the course of a run, or objects, says why."""


class NoSuchLine(Invalid):
    """An objection or a query names a line that the statement does not have."""


class Answered(Conflict):
    """Somebody else has answered it meanwhile."""


class AskedTooLate(NotNow):
    """Queries about a final statement end fifteen working days after it."""


class NotOpenable(NotNow):
    """The run cannot be opened: no market, a month not over or too old, or the run before it is not final."""


def note_on_run(conn: Conn, actor: Actor, run: RunRow, event: Event) -> None:
    """Restart a stage, defer a unit, accept a doubt or release the drafts; all but a release say why.

    The event's actor is this person, whatever it says. Raises ReasonMissing.
    """
    allow(conn, actor, Deed.DIRECT_SETTLEMENT, Subject("settlement_run", str(run.run_id)), event.at)
    reason = str(event.facts.get("reason", "")).strip()
    if event.outcome is not Outcome.REVIEW and not 0 < len(reason) <= REASON_MAX:
        raise ReasonMissing("reason_missing", longest=REASON_MAX)
    runs.lock_run(conn, run.run_id)
    own = Event(0, event.stage, event.unit_id, event.outcome, event.at, actor_name(actor), event.facts)
    runs.add_event(conn, run.run_id, own)


def open_later_run(conn: Conn, actor: Actor, month: date, reason: str, now: datetime) -> RunRow:
    """Open the next run of a month for late data: R1, R2, then the final one. Raises NotOpenable, ReasonMissing."""
    allow(conn, actor, Deed.DIRECT_SETTLEMENT, Subject("settlement_month", f"{month:%Y-%m}"), now)
    kept = {run.kind: run for run in runs.runs_of(conn, month)}
    market = entered.find_market(conn)
    kind = next((kind for kind in KINDS if kind not in kept), None)
    is_in_time = month_after(month) <= markettime.day_of(now) < correctable_until(month)
    last = kept.get(KINDS[len(kept) - 1]) if kept else None
    if market is None or kind is None or not is_in_time or (last is not None and not _is_final(conn, last)):
        raise NotOpenable("run_not_openable", month=f"{month:%Y-%m}", kind=kind or KINDS[-1])
    if not 0 < len(reason.strip()) <= REASON_MAX:
        raise ReasonMissing("reason_missing", longest=REASON_MAX)
    return runs.open_run(conn, market.market_id, month, kind, (actor_name(actor), now, reason.strip()))


def _is_final(conn: Conn, run: RunRow) -> bool:
    progress = progress_of(runs.events_of(conn, run.run_id))
    units = [unit.unit_id for unit in runs.units_of(conn, run.run_id)]
    return bool(units) and not progress.open(Stage.FINAL, units)


def confirm(conn: Conn, actor: Actor, row: StatementRow, now: datetime) -> None:
    """Let its recipient confirm a draft. Raises NoSuchMove when it is none (any more)."""
    allow(conn, actor, Deed.ANSWER_STATEMENT, _subject(row), now)
    _move(conn, actor_name(actor), row, MoveRow("confirm", row.state, "", now, "", "", []))


def object_to(
    conn: Conn, actor: Actor, row: StatementRow, told: tuple[str, Sequence[int]], now: datetime
) -> None:
    """Let its recipient object to a draft or some lines of it; `told` is (why, line numbers; none: all).

    Raises NoSuchMove, ReasonMissing, NoSuchLine.
    """
    allow(conn, actor, Deed.ANSWER_STATEMENT, _subject(row), now)
    reason, line_nos = told
    _check_reason(reason)
    _check_lines(conn, row, line_nos)
    _move(
        conn,
        actor_name(actor),
        row,
        MoveRow("object", row.state, "", now, "", reason.strip(), list(line_nos)),
    )


def check_objection(
    conn: Conn, actor: Actor, row: StatementRow, told: tuple[bool, str], now: datetime
) -> None:
    """Decide about an objection; `told` is (upheld, why). Rejected: the statement stands as confirmed.

    Upheld: its lines stay disputed until a restart draws it anew, or the next run settles them. Raises NoSuchMove.
    """
    allow(conn, actor, Deed.DIRECT_SETTLEMENT, _subject(row), now)
    is_upheld, reason = told
    _check_reason(reason)
    deed = "uphold" if is_upheld else "reject"
    _move(conn, actor_name(actor), row, MoveRow(deed, row.state, "", now, "", reason.strip(), []))


def ask(conn: Conn, actor: Actor, row: StatementRow, told: tuple[int | None, str], now: datetime) -> int:
    """Keep a query about a statement or a line of it; `told` is (line or None, question). Return its number.

    Raises AskedTooLate, ReasonMissing, NoSuchLine.
    """
    allow(conn, actor, Deed.ANSWER_STATEMENT, _subject(row), now)
    line_no, question = told
    today = markettime.day_of(now)
    finals = [move.at for move in settlements.moves_of(conn, row.statement_id) if move.after == "final"]
    if finals and today > ask_until(markettime.day_of(finals[-1])):
        raise AskedTooLate("asked_too_late", until=ask_until(markettime.day_of(finals[-1])).isoformat())
    _check_reason(question)
    _check_lines(conn, row, [] if line_no is None else [line_no])
    asked = (now, actor_name(actor), answer_until(today))
    return settlements.add_query(conn, row.statement_id, line_no, question.strip(), asked)


def answer(conn: Conn, actor: Actor, query_id: int, text: str, now: datetime) -> None:
    """Answer a query. Raises Answered, ReasonMissing."""
    allow(conn, actor, Deed.DIRECT_SETTLEMENT, Subject("settlement_query", str(query_id)), now)
    _check_reason(text)
    if not settlements.add_answer(conn, query_id, text.strip(), actor_name(actor), now):
        raise Answered("answered_already")


def _subject(row: StatementRow) -> Subject:
    return Subject("statement", str(row.statement_id), row.party_id)


def _move(conn: Conn, actor: str, row: StatementRow, move: MoveRow) -> None:
    after = step(STATEMENT, row.state, move.deed)
    runs.lock_run(conn, row.run_id)
    if not settlements.move(conn, row.statement_id, row.state, after):
        raise Answered("answered_already")
    done = MoveRow(move.deed, row.state, after, move.at, actor, move.reason, move.line_nos)
    settlements.add_move(conn, row.statement_id, done)


def _check_reason(reason: str) -> None:
    if not 0 < len(reason.strip()) <= REASON_MAX or "\0" in reason:
        raise ReasonMissing("reason_missing", longest=REASON_MAX)


def _check_lines(conn: Conn, row: StatementRow, line_nos: Sequence[int]) -> None:
    known = {number for number, _ in settlements.lines_of(conn, row.statement_id)}
    if wrong := sorted(set(line_nos) - known):
        raise NoSuchLine("no_such_line", line=wrong[0])
