"""View models of settlement: a month's run for staff, and a statement for whom it is for. Integers keep their unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from cloud import words
from cloud.api import reply
from cloud.market.line import SettlementLine, Side
from cloud.market.progress import STAGES, WHOLE_MARKET, Blocker, Event, Progress, Stage
from cloud.market.statement import line_json
from cloud.market.store.runs import RunRow, UnitRow
from cloud.market.store.settlements import MoveRow, QueryRow, StatementRow

LOG_MAX = 200
NAMED_INPUTS = ("mwh", "price", "factor", "reference", "surplus", "weight", "weights", "others", "value")


class RunView(reply.View):
    """A run of a month."""

    run_id: int
    month: date
    kind: str
    opened_at: datetime
    opened_by: str
    reason: str


class StageView(reply.View):
    """A stage: how many of how many are done, what blocks, and by when it should be."""

    stage: str
    done: int
    whole: int
    blockers: int
    due: date | None


class BlockerView(reply.View):
    """What is in the way of a unit; with the words of the person's language."""

    stage: str
    unit_id: str | None
    name: str
    kind: str
    facts: dict[str, Any]
    text: str
    is_acceptable: bool


class StatementHeadView(reply.View):
    """A statement in a list."""

    statement_id: int
    run_id: int
    unit_id: str
    name: str
    side: str
    month: date
    revision: int
    state: str
    quantity_kwh: int
    total_fen: int
    change_fen: int
    last_month_fen: int | None
    made_at: datetime


class EventView(reply.View):
    """A row of a run's log."""

    at: datetime
    stage: str
    unit_id: str | None
    outcome: str
    actor: str
    text: str


class QueryView(reply.View):
    """A query and its answer."""

    query_id: int
    statement_id: int
    line_no: int | None
    question: str
    asked_at: datetime
    answer_by: date
    answer: str | None


class ConsoleView(reply.View):
    """Everything staff see of a month's settlement."""

    month: date
    month_before: date
    month_after: date
    market: str | None
    rule: str | None
    runs: tuple[RunView, ...]
    run: RunView | None
    stages: tuple[StageView, ...]
    blockers: tuple[BlockerView, ...]
    deferred: tuple[str, ...]
    is_reviewed: bool
    statements: tuple[StatementHeadView, ...]
    disputed: tuple[StatementHeadView, ...]
    queries: tuple[QueryView, ...]
    log: tuple[EventView, ...]
    books: dict[str, Any]
    deadlines: dict[str, date]
    late_units: tuple[str, ...]
    retail: tuple[dict[str, Any], ...]
    sections_fen: dict[str, int]
    problem: str


class StatementsView(reply.View):
    """Statements, newest month first."""

    statements: tuple[StatementHeadView, ...]


class MoveView(reply.View):
    """A move of a statement's life."""

    at: datetime
    deed: str
    after: str
    actor: str
    reason: str
    line_nos: tuple[int, ...]


class StatementView(reply.View):
    """One statement, every line with how it was computed."""

    head: StatementHeadView
    lines: tuple[dict[str, Any], ...]
    held: tuple[int, ...]
    moves: tuple[MoveView, ...]
    queries: tuple[QueryView, ...]
    rule: str
    input_sha256: str
    is_deferred: bool
    object_until: date | None
    actual_day_kwh: tuple[int, ...]
    contract_day_kwh: tuple[int, ...]
    retail: dict[str, Any] | None
    may_answer: bool
    may_direct: bool


@dataclass(frozen=True, slots=True)
class FlowBar:
    """Who pays or receives, as a bar in per cent of the drawing."""

    label: str
    fen: int
    x: float
    width: float
    pays: bool


@dataclass(frozen=True, slots=True)
class DayBar:
    """One day: metered energy as a bar, contract as a mark; in per cent of the drawing."""

    label: str
    x: float
    width: float
    y: float
    height: float
    mark_y: float | None


def run_view(run: RunRow) -> RunView:
    """Show a run."""
    return RunView(**{name: getattr(run, name) for name in RunView.model_fields})


def head_view(row: StatementRow) -> StatementHeadView:
    """Show a statement without its lines."""
    last = row.facts.get("last_month")
    names = [name for name in StatementHeadView.model_fields if name != "last_month_fen"]
    return StatementHeadView(
        **{name: getattr(row, name) for name in names},
        last_month_fen=last["fen"] if isinstance(last, dict) else None,
    )


def stage_views(progress: Progress, units: Sequence[UnitRow], due: dict[str, date]) -> tuple[StageView, ...]:
    """Show how far each stage is."""
    everybody = [unit.unit_id for unit in units]
    settled = [unit.unit_id for unit in units if unit.side is not Side.GRID]
    found = []
    for stage in STAGES:
        with_grid = stage in (Stage.DRAW, Stage.PUBLISH, Stage.CONFIRM, Stage.FINAL)
        wanted: list[str | None] = (
            [None] if stage in WHOLE_MARKET else [*(everybody if with_grid else settled)]
        )
        found.append(
            StageView(
                stage=stage,
                done=sum(progress.is_done(stage, unit) for unit in wanted),
                whole=len(wanted),
                blockers=sum(blocker.stage is stage for blocker in progress.blockers),
                due=due.get(stage),
            )
        )
    return tuple(found)


def blocker_view(
    language: str, blocker: Blocker, names: dict[str, str], acceptable: frozenset[str]
) -> BlockerView:
    """Show what is in the way, in words."""
    return BlockerView(
        stage=blocker.stage,
        unit_id=blocker.unit_id,
        name=names.get(blocker.unit_id or "", blocker.unit_id or ""),
        kind=blocker.kind,
        facts=dict(blocker.facts),
        text=blocker_text(language, blocker.kind, dict(blocker.facts)),
        is_acceptable=blocker.unit_id is not None and blocker.kind in acceptable,
    )


def blocker_text(language: str, kind: str, facts: dict[str, Any]) -> str:
    """Say what is in the way; a refusal of another room in that room's own words."""
    say = _speaker(language)
    try:
        if words.known(f"settlement_blocker.{kind}"):
            return say(f"settlement_blocker.{kind}", **facts)
        if words.known(f"cli.{kind}"):
            return say(f"cli.{kind}", **facts)
    except words.NoWords:  # a refusal of another room that carries other facts than these words name
        pass
    return f"{kind}: " + ", ".join(f"{name}={value}" for name, value in facts.items())


def event_view(language: str, event: Event) -> EventView:
    """Show a row of the log."""
    facts = {name: value for name, value in event.facts.items() if name != "blockers"}
    listed = event.facts.get("blockers")
    texts = [
        blocker_text(language, str(each["kind"]), dict(each.get("facts", {})))
        for each in (listed if isinstance(listed, list) else [])
    ]
    told = "; ".join(texts) or ", ".join(
        _fact_text(name, value) for name, value in facts.items() if value is not None
    )
    return EventView(
        at=event.at,
        stage=event.stage,
        unit_id=event.unit_id,
        outcome=event.outcome,
        actor=event.actor,
        text=told,
    )


def _fact_text(name: str, value: object) -> str:
    """Show a fact of the log: money as yuan, energy as MWh, a person's words as they are."""
    if name == "fen" and isinstance(value, int):
        return f"¥ {reply.yuan_text(value)}"
    if name == "kwh" and isinstance(value, int):
        return f"{reply.scaled(value, 3, 3)} MWh"
    return str(value) if name == "reason" else f"{name} {value}"


def query_view(row: QueryRow) -> QueryView:
    """Show a query."""
    return QueryView(**{name: getattr(row, name) for name in QueryView.model_fields})


def move_view(row: MoveRow) -> MoveView:
    """Show a move."""
    return MoveView(
        at=row.at,
        deed=row.deed,
        after=row.after,
        actor=row.actor,
        reason=row.reason,
        line_nos=tuple(row.line_nos),
    )


def line_view(number: int, line: SettlementLine) -> dict[str, Any]:
    """Show a line with its number."""
    return {"line_no": number, **line_json(line)}


def section_names(language: str, sections_fen: dict[str, int]) -> dict[str, str]:
    """Name the sections of bills; one that these words do not know keeps its own name."""
    say = _speaker(language)
    known = [section for section in sections_fen if words.known(f"settlement_section.{section}")]
    return {section: section for section in sections_fen} | {
        section: say(f"settlement_section.{section}") for section in known
    }


def flow_bars(by_side: dict[str, int], language: str) -> tuple[FlowBar, ...]:
    """Draw who pays (to the right of the middle) and who receives (to its left)."""
    say = _speaker(language)
    most = max([1, *(abs(fen) for fen in by_side.values())])
    bars = []
    for side in Side:
        fen = by_side.get(side.value, 0)
        width = 50 * abs(fen) / most
        label = say(f"settlement_side.{side.value}")
        bars.append(FlowBar(label, fen, 50 if fen >= 0 else 50 - width, width, fen >= 0))
    return tuple(bars)


def day_bars(actual_kwh: Sequence[int], contract_kwh: Sequence[int]) -> tuple[DayBar, ...]:
    """Draw metered energy day by day beside what was contracted."""
    size = max(len(actual_kwh), len(contract_kwh))
    most = max([1, *actual_kwh, *contract_kwh])
    bars = []
    for number in range(size):
        actual = actual_kwh[number] if number < len(actual_kwh) else 0
        contract = contract_kwh[number] if number < len(contract_kwh) else None
        height = 100 * max(actual, 0) / most
        mark = None if contract is None else 100 - 100 * max(contract, 0) / most
        bars.append(
            DayBar(f"{number + 1}", 100 * number / size, 100 / size * 0.8, 100 - height, height, mark)
        )
    return tuple(bars)


def _speaker(language: str) -> Callable[..., str]:
    def say(key: str, **facts: object) -> str:
        return words.say(language, key, **facts)

    return say
