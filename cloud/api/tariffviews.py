"""What the tariff designer's pages and API show, made from drafts, files and bench runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from cloud import words
from cloud.api import reply
from cloud.billing.bench import Balance, Bar, Outcome, change_percent
from cloud.billing.draft import DiffLine, Season
from cloud.billing.store.drafts import Bench, Draft, DraftHead, Result
from cloud.billing.tablerows import TableRow
from cloud.billing.tariff import PriceFile

UNCHANGED_BELOW_PERCENT = Decimal("0.01")


class FileView(reply.View):
    """A published price file."""

    kind: str
    kind_word: str
    id: str
    version: int
    title: str
    effective_from: date
    effective_to: date | None
    document: str
    in_force: bool
    is_provisional: bool


class RowView(reply.View):
    """A row of the table rebuilt from its components; `differs` marks prices that the notice prints otherwise."""

    structure: str
    voltage: str
    prices: tuple[Decimal, ...]
    differs: tuple[bool, ...]
    demand: Decimal | None
    capacity: Decimal | None


class ProblemView(reply.View):
    """What the reader refuses, and where."""

    line: int
    key: str
    found: str
    allowed: str


class DraftHeadView(reply.View):
    """A draft in a list."""

    draft_id: int
    title: str
    revision: int
    author_name: str
    saved_at: datetime
    problems: int
    kind: str | None
    origin: str
    published_at: datetime | None


class TariffsView(reply.View):
    """Everything published, and the drafts."""

    files: tuple[FileView, ...]
    drafts: tuple[DraftHeadView, ...]


class FileTextView(reply.View):
    """A published file with its text and, for a price table, the rows rebuilt from components."""

    file: FileView
    body: str
    rows: tuple[RowView, ...]


class BenchView(reply.View):
    """A bench run and how far it is."""

    bench_id: int
    draft_id: int
    revision: int
    asked_at: datetime
    first_month: date
    end_month: date
    units: int
    done: int
    rated_months: int
    is_done: bool


class DraftView(reply.View):
    """A draft as it stands: text, problems, what it replaces and how it differs, bench runs, who may publish."""

    head: DraftHeadView
    body: str
    problems: tuple[ProblemView, ...]
    effective_from: date | None
    replaces: str
    difference: tuple[str, ...]
    rows: tuple[RowView, ...]
    benches: tuple[BenchView, ...]
    may_publish: bool
    publish_hint: str


class AccountChangeView(reply.View):
    """An account before and after over the months of a run."""

    account_id: str
    category: str
    before_fen: int
    after_fen: int
    change_fen: int
    change_percent: Decimal


class CategoryView(reply.View):
    """All accounts of a category together."""

    category: str
    accounts: int
    winners: int
    losers: int
    before_fen: int
    after_fen: int


class BarView(reply.View):
    """Accounts whose change in percent lies in `[start, end)`."""

    start_percent: Decimal
    end_percent: Decimal
    accounts: int


class UnratedView(reply.View):
    """Months that could not be rated, by reason."""

    reason: str
    months: int


class BenchResultView(reply.View):
    """A bench run with everything it found so far."""

    bench: BenchView
    winners: int
    losers: int
    categories: tuple[CategoryView, ...]
    bars: tuple[BarView, ...]
    worst: tuple[AccountChangeView, ...]
    accounts: tuple[AccountChangeView, ...]
    unrated: tuple[UnratedView, ...]


class MonthChangeView(reply.View):
    """A month of an account in a run: totals and the charges that differ."""

    month: date
    before_fen: int | None
    after_fen: int | None
    problem: str
    changes: tuple[dict[str, Any], ...]


class AccountResultView(reply.View):
    """One account in a bench run."""

    bench: BenchView
    account_id: str
    months: tuple[MonthChangeView, ...]


@dataclass(frozen=True, slots=True)
class Against:
    """What a draft follows: the file's name, the difference to its text, and the draft's own table."""

    origin: str
    difference: tuple[DiffLine, ...]
    rows: tuple[TableRow, ...]


@dataclass(frozen=True, slots=True)
class DraftDrawing:
    """What the page of a draft shows besides: the seasons to paint, the categories to choose from."""

    seasons: tuple[Season, ...]
    categories: tuple[str, ...]
    first_month: str
    last_month: str


@dataclass(frozen=True, slots=True)
class Column:
    """A bar of the distribution, in per cent of the drawing."""

    x: float
    width: float
    height: float
    tone: str


def file_view(file: PriceFile, today: date) -> FileView:
    """A published file as a list shows it."""
    head = file.head
    return FileView(
        kind=head.kind,
        kind_word=head.kind if words.known(f"tariff_kind.{head.kind}") else "other",
        id=head.id,
        version=head.version,
        title=head.title,
        effective_from=head.effective_from,
        effective_to=head.effective_to,
        document=head.sources[0].document,
        in_force=head.in_force(today),
        is_provisional=not all(source.confirmed for source in head.sources),
    )


def head_view(head: DraftHead) -> DraftHeadView:
    """A draft as a list shows it."""
    return DraftHeadView(
        draft_id=head.draft_id,
        title=head.title,
        revision=head.revision,
        author_name=head.author_name,
        saved_at=head.saved_at,
        problems=head.problems,
        kind=head.kind,
        origin="" if head.sheet_id is None else f"{head.sheet_id}@{head.version}",
        published_at=head.published_at,
    )


def row_view(row: TableRow) -> RowView:
    """A row of the rebuilt table."""
    return RowView(
        structure=row.structure,
        voltage=row.voltage,
        prices=row.prices,
        differs=row.differs,
        demand=row.demand_yuan_per_kw_month,
        capacity=row.capacity_yuan_per_kva_month,
    )


def bench_view(bench: Bench) -> BenchView:
    """A bench run and how far it is."""
    return BenchView(
        bench_id=bench.bench_id,
        draft_id=bench.draft_id,
        revision=bench.revision,
        asked_at=bench.asked_at,
        first_month=bench.first_month,
        end_month=bench.end_month,
        units=bench.units,
        done=bench.done,
        rated_months=bench.rated,
        is_done=bench.is_done,
    )


def publish_hint(draft: Draft, benches: Sequence[Bench], actor: str) -> str:
    """Say as a word why this person cannot publish the draft now; 'ready' when nothing is in the way."""
    if draft.head.published_at is not None:
        return "published"
    if draft.problems:
        return "not_valid"
    if not any(each.revision == draft.head.revision and each.is_done and each.rated for each in benches):
        return "not_benched"
    return "own_draft" if actor in draft.authors else "ready"


def draft_view(
    draft: Draft, file: PriceFile | None, against: Against, benches: Sequence[Bench], actor: str
) -> DraftView:
    """A draft as its page shows it to one person."""
    hint = publish_hint(draft, benches, actor)
    return DraftView(
        head=head_view(draft.head),
        body=draft.body,
        problems=tuple(
            ProblemView(line=each.line_no, key=each.key, found=each.found, allowed=each.allowed)
            for each in draft.problems
        ),
        effective_from=None if file is None else file.head.effective_from,
        replaces=against.origin,
        difference=tuple(each.sign + each.text for each in against.difference),
        rows=tuple(map(row_view, against.rows)),
        benches=tuple(map(bench_view, benches)),
        may_publish=hint == "ready",
        publish_hint=hint,
    )


def result_view(bench: Bench, result: Outcome, results: Sequence[Result]) -> BenchResultView:
    """A bench run with everything it found so far."""
    unrated = Counter(told(each.problem) for each in results if each.problem)
    return BenchResultView(
        bench=bench_view(bench),
        winners=result.winners,
        losers=result.losers,
        categories=tuple(
            CategoryView(
                category=each.category,
                accounts=each.account_count,
                winners=each.winner_count,
                losers=each.loser_count,
                before_fen=each.before_fen,
                after_fen=each.after_fen,
            )
            for each in result.categories
        ),
        bars=tuple(
            BarView(
                start_percent=each.start_percent, end_percent=each.end_percent, accounts=each.account_count
            )
            for each in result.bars
        ),
        worst=tuple(map(_change_view, result.worst)),
        accounts=tuple(map(_change_view, result.balances)),
        unrated=tuple(UnratedView(reason=reason, months=n) for reason, n in sorted(unrated.items())),
    )


def columns(result: Outcome) -> tuple[Column, ...]:
    """The bars of the distribution as drawn."""
    highest = max((bar.account_count for bar in result.bars), default=0) or 1
    width = 100 / max(len(result.bars), 4)
    return tuple(
        Column(index * width, width * 0.86, 100 * bar.account_count / highest, _tone(bar))
        for index, bar in enumerate(result.bars)
    )


def _tone(bar: Bar) -> str:
    if bar.start_percent < 0:
        return "best"
    return "today" if bar.end_percent <= UNCHANGED_BELOW_PERCENT else "loss"


def told(reason: str) -> str:
    """The word for why a month was not rated."""
    return reason if words.known(f"bench_problem.{reason}") else "other"


def _change_view(balance: Balance) -> AccountChangeView:
    return AccountChangeView(
        account_id=balance.account_id,
        category=balance.category,
        before_fen=balance.before_fen,
        after_fen=balance.after_fen,
        change_fen=balance.change_fen,
        change_percent=change_percent(balance.before_fen, balance.after_fen),
    )
