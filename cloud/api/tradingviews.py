"""Views of trading: what pages and programs see of sessions, declarations, runs and their way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from cloud.api.reply import View
from cloud.market.declaration import Packed
from cloud.market.session import clock_of, phase
from cloud.market.sessionbook import PeriodResult
from cloud.market.sessionfile import SessionRule
from cloud.market.sessiontrade import PieceRow
from cloud.market.store.changes import ChangeRow, OfferRow
from cloud.market.store.clearings import CutRow, DisputeRow, RunRow
from cloud.market.store.orders import BidRow
from cloud.market.store.sessions import EventRow, SessionRow


class SessionHead(View):
    """A session in a list."""

    session_id: int
    session_no: str
    title: str
    product: str
    state: str
    phase: str
    months: tuple[str, ...]
    periods: int
    opens_at: datetime
    freezes_at: datetime
    publishes_at: datetime
    rolls_until: datetime | None
    next_at: datetime | None


class RuleView(View):
    """What a session's rule says."""

    origin: str
    title: str
    document: str
    sha256: str
    method: str
    price_rule: str
    at_margin: str
    tick_yuan: str
    lot_mwh: str
    base_yuan: str
    low_yuan: str
    high_yuan: str
    band_source: str
    buyers: tuple[str, ...]
    sellers: tuple[str, ...]
    grades: tuple[str, ...]
    first_grades: tuple[str, ...]
    first_minutes: int
    cap_mwh: str | None
    margin_percent: str
    segments_max: int
    environment_yuan: str
    is_sealed: bool
    shows_curve: bool
    carries_rests: bool


class DeclarationView(View):
    """A row of the own book."""

    seq: int
    session_id: int
    session_no: str
    kind: str
    unit_id: str
    side: str
    replaces: int | None
    at: datetime
    entries: int
    quantity_kwh: int
    margin_fen: int
    state: str
    filled_kwh: int | None


class PriceView(View):
    """What came out for a period."""

    period: int
    month: str
    label: str
    clock: str
    volume_kwh: int
    price_yuan: str | None
    last_bid_yuan: str | None
    last_ask_yuan: str | None
    low_yuan: str | None
    high_yuan: str | None
    marginal_yuan: str | None
    bid_kwh: int
    ask_kwh: int


class PieceView(View):
    """Who sells what to whom."""

    piece_no: int
    period: str
    seller: str
    buyer: str
    quantity_kwh: int
    price_yuan: str


class RunView(View):
    """A run of the clearing."""

    run_no: int
    kind: str
    based_on: int | None
    method: str
    price_rule: str
    at_margin: str
    orders: int
    last_seq: int
    input_sha256: str
    result_sha256: str
    code_version: str
    reason: str
    at: datetime
    actor: str


class EventView(View):
    """A line of a session's log, or a step on the way of a declaration."""

    deed: str
    at: datetime
    actor: str
    reason: str
    path: str
    key: str


class DisputeView(View):
    """A dispute and its answer."""

    dispute_id: int
    session_id: int
    party: str
    seq: int | None
    kind: str
    body: str
    at: datetime
    verdict: str | None
    answer: str | None
    answered_at: datetime | None


class TradingView(View):
    """The trading desk's first page."""

    now: datetime
    sessions: tuple[SessionHead, ...]
    declarations: tuple[DeclarationView, ...]
    may_direct: bool
    before: int | None


class WarningView(View):
    """Something to look at again before sending."""

    warning: str
    facts: dict[str, str]


class FormView(View):
    """What the declaration form needs and what was typed into it."""

    units: tuple[str, ...]
    unit: str
    sides: tuple[str, ...]
    side: str
    client_key: str
    replaces: int | None
    segments: int
    typed: dict[str, str]
    warnings: tuple[WarningView, ...]
    problem: str
    total_mwh: str
    is_checked: bool
    periods: tuple[tuple[int, str, str], ...]


class SessionView(View):
    """A session as a participant meets it."""

    now: datetime
    head: SessionHead
    announcement: str
    rule: RuleView
    form: FormView | None
    why_not: str
    declarations: tuple[DeclarationView, ...]
    book_sha256: str | None
    result_sha256: str | None
    prices: tuple[PriceView, ...]
    pieces: tuple[PieceView, ...]
    contracts: tuple[str, ...]
    timeline: tuple[EventView, ...]
    disputes: tuple[DisputeView, ...]
    may_direct: bool
    shows_curve: bool
    rolling_id: int | None


class ReceiptView(View):
    """A receipt, with where its declaration stands."""

    receipt: dict[str, Any]
    state: str
    at: datetime
    struck: tuple[datetime, str] | None  # when, and why
    rests: tuple[tuple[int | None, int, int, str], ...]  # order, rolling session, period, why not
    replaced_by: int | None
    session_id: int
    title: str
    entries: tuple[tuple[str, str, str, str], ...]
    public_key: str


class DeskView(View):
    """The calendar of the staff."""

    now: datetime
    sessions: tuple[SessionHead, ...]
    rules: tuple[RuleView, ...]
    disputes: tuple[DisputeView, ...]


class CutView(View):
    """A cut of the security check."""

    piece_no: int
    to_kwh: int
    reason: str


class ChangeView(View):
    """A change of the result that somebody asked for, and its answer."""

    change_id: int
    kind: str
    seq: int | None
    offer_id: int | None
    version: int | None
    reason: str
    asked_at: datetime
    asked_by: str
    verdict: str | None
    answer: str | None
    answered_at: datetime | None
    answered_by: str | None


class OfferView(View):
    """A corrected result of the platform."""

    offer_id: int
    version: int
    at: datetime
    is_taken: bool


class OperationsView(View):
    """A session as the staff directs it."""

    now: datetime
    head: SessionHead
    announcement: str
    rule: RuleView
    drafted_by: str
    deeds: tuple[str, ...]
    book_sha256: str | None
    last_seq: int | None
    counts: dict[str, Any]
    refusals: dict[str, int]
    runs: tuple[RunView, ...]
    log: tuple[EventView, ...]
    disputes: tuple[DisputeView, ...]
    changes: tuple[ChangeView, ...]
    offers: tuple[OfferView, ...]
    is_hosted: bool
    may_strike: bool
    actor: str


class RunPageView(View):
    """A run whole."""

    head: SessionHead
    run: RunView
    prices: tuple[PriceView, ...]
    pieces: tuple[PieceView, ...]
    cuts: tuple[CutView, ...]
    repeated_sha256: str
    is_same: bool
    may_check: bool


def head_view(row: SessionRow, now: datetime) -> SessionHead:
    """A session in a list; `next_at` is what its countdown counts to."""
    met = phase(row.state, row.hours, now)
    following = {
        "announced": row.opens_at,
        "open": row.freezes_at,
        "frozen": row.publishes_at,
        "rolling": row.rolls_until,
    }.get(met)
    return SessionHead(
        session_id=row.session_id,
        session_no=row.session_no,
        title=row.title,
        product=row.product,
        state=row.state,
        phase=met,
        months=tuple(dict.fromkeys(f"{month:%Y-%m}" for month in row.period_month)),
        periods=len(row.period_label),
        opens_at=row.opens_at,
        freezes_at=row.freezes_at,
        publishes_at=row.publishes_at,
        rolls_until=row.rolls_until,
        next_at=following,
    )


def rule_view(rule: SessionRule) -> RuleView:
    """A rule for reading."""
    return RuleView(
        origin=rule.origin,
        title=rule.title,
        document=rule.document,
        sha256=rule.sha256,
        method=rule.method.value,
        price_rule=rule.price_rule.value,
        at_margin=rule.at_margin.value,
        tick_yuan=yuan(rule.step_ticks),
        lot_mwh=mwh(rule.lot_kwh),
        base_yuan=yuan(rule.band.base_ticks),
        low_yuan=yuan(rule.band.low_ticks),
        high_yuan=yuan(rule.band.high_ticks),
        band_source=rule.band.source,
        buyers=rule.buyers,
        sellers=rule.sellers,
        grades=rule.grades,
        first_grades=rule.first.grades,
        first_minutes=rule.first.minutes,
        cap_mwh=None if rule.cap_kwh is None else mwh(rule.cap_kwh),
        margin_percent=format(rule.margin_percent, "f"),
        segments_max=rule.segments_max,
        environment_yuan=yuan(rule.environment_ticks),
        is_sealed=rule.is_sealed,
        shows_curve=rule.shows_curve,
        carries_rests=rule.carries_rests,
    )


def declaration_view(
    bid: BidRow, session: SessionRow | None, gone: str, filled: Sequence[int] | None
) -> DeclarationView:
    """A row of the own book and where it stands; `gone` is 'replaced', 'struck' or empty."""
    state = "withdrawn" if bid.kind == "WITHDRAW" else gone or "standing"
    if state == "standing" and session is not None:
        if session.state == "cancelled":
            state = "void"
        elif filled is not None:
            got, asked = sum(filled), sum(bid.quantity_kwh)
            state = "filled" if got == asked else "part_filled" if got else "unfilled"
        elif session.gate_at is not None:
            state = "locked"
    return DeclarationView(
        seq=bid.seq,
        session_id=bid.session_id,
        session_no="" if session is None else session.session_no,
        kind=bid.kind,
        unit_id=str(bid.unit_id),
        side=str(bid.side),
        replaces=bid.replaces,
        at=bid.at,
        entries=len(bid.period),
        quantity_kwh=sum(bid.quantity_kwh),
        margin_fen=bid.margin_fen,
        state=state,
        filled_kwh=None if filled is None else sum(filled),
    )


def price_view(each: PeriodResult, row: SessionRow) -> PriceView:
    """A period's result for reading."""
    period = row.periods[each.period - 1]
    return PriceView(
        period=each.period,
        month=f"{period.month:%Y-%m}",
        label=period.label,
        clock=clock_of(period.label),
        volume_kwh=each.volume_kwh,
        price_yuan=_yuan(each.price_ticks),
        last_bid_yuan=_yuan(each.last_bid_ticks),
        last_ask_yuan=_yuan(each.last_ask_ticks),
        low_yuan=_yuan(each.low_ticks),
        high_yuan=_yuan(each.high_ticks),
        marginal_yuan=_yuan(each.marginal_ticks),
        bid_kwh=each.bid_kwh,
        ask_kwh=each.ask_kwh,
    )


def piece_view(each: PieceRow, row: SessionRow) -> PieceView:
    """A piece for reading."""
    return PieceView(
        piece_no=each.piece_no,
        period=f"{row.period_month[each.period - 1]:%Y-%m} {clock_of(row.period_label[each.period - 1])}",
        seller=each.seller,
        buyer=each.buyer,
        quantity_kwh=each.quantity_kwh,
        price_yuan=yuan(each.price_ticks),
    )


def run_view(run: RunRow) -> RunView:
    """A run for reading."""
    return RunView(**{name: getattr(run, name) for name in RunView.model_fields})


def cut_view(cut: CutRow) -> CutView:
    """A cut for reading."""
    return CutView(piece_no=cut.piece_no, to_kwh=cut.to_kwh, reason=cut.reason)


def event_view(event: EventRow, session_id: int) -> EventView:
    """A line of the log."""
    run = event.facts.get("run")
    path = f"/trading/desk/{session_id}/runs/{run}" if run else ""
    return EventView(
        deed=event.deed, at=event.at, actor=event.actor, reason=event.reason, path=path, key=str(run or "")
    )


def dispute_view(row: DisputeRow) -> DisputeView:
    """A dispute for reading."""
    return DisputeView(**{name: getattr(row, name) for name in DisputeView.model_fields})


def change_view(row: ChangeRow) -> ChangeView:
    """A change for reading."""
    return ChangeView(**{name: getattr(row, name) for name in ChangeView.model_fields})


def offer_view(row: OfferRow) -> OfferView:
    """A platform's corrected result for reading."""
    return OfferView(**{name: getattr(row, name) for name in OfferView.model_fields})


def entries_of(receipt: Mapping[str, Any], row: SessionRow) -> tuple[tuple[str, str, str, str], ...]:
    """A receipt's entries for reading: month, period, price, MWh."""
    periods = row.periods
    return tuple(
        (f"{periods[number - 1].month:%Y-%m}", clock_of(periods[number - 1].label), yuan(ticks), mwh(kwh))
        for number, ticks, kwh in zip(
            receipt["periods"], receipt["price_ticks"], receipt["quantity_kwh"], strict=True
        )
    )


def typed(packed: Packed) -> dict[str, str]:
    """A declaration as the form's fields."""
    found: dict[str, str] = {}
    counts: dict[int, int] = {}
    for period, ticks, kwh in zip(packed.period, packed.price_ticks, packed.quantity_kwh, strict=True):
        counts[period] = counts.get(period, 0) + 1
        found[f"p{period}_{counts[period]}"] = yuan(ticks)
        found[f"q{period}_{counts[period]}"] = mwh(kwh)
    return found


def yuan(ticks: int) -> str:
    """0.01 yuan/MWh as yuan/MWh."""
    return format(Decimal(ticks).scaleb(-2), "f")


def mwh(kwh: int) -> str:
    """kWh as MWh with three decimals."""
    return format(Decimal(kwh).scaleb(-3), ".3f")


def _yuan(ticks: int | None) -> str | None:
    return None if ticks is None else yuan(ticks)
