"""What staff see of money: open bills, unplaced money, statements, requests, dunning."""

from __future__ import annotations

from datetime import date, datetime

from cloud.api import reply


class DebtView(reply.View):
    """An open bill month."""

    account_id: str
    account_name: str
    month: date
    item: str
    open_fen: int
    late_fen: int
    due_date: date | None
    overdue_days: int


class BucketView(reply.View):
    """What is open by age: `days_from` 0 and `days_to` 0 is not yet due, `days_to` null is everything older."""

    days_from: int
    days_to: int | None
    open_fen: int


class ReceivablesView(reply.View):
    """Everybody's open bills."""

    buckets: tuple[BucketView, ...]
    debts: tuple[DebtView, ...]
    owed_fen: int
    overdue_fen: int
    suspense_fen: int


class MoveView(reply.View):
    """One posting on a customer's account: + the customer owes more, - less."""

    booked_at: datetime
    effective_date: date
    deed: str
    journal_id: int
    account: str
    item: str
    amount_fen: int


class PlacedView(reply.View):
    """A payment of the customer that a refund can be asked for."""

    receipt_id: int
    part_no: int
    amount_fen: int
    channel: str
    received_at: datetime


class TimelineView(reply.View):
    """One customer's money, newest first."""

    account_id: str
    account_name: str
    owed_fen: int
    prepaid_fen: int
    debts: tuple[DebtView, ...]
    receipts: tuple[PlacedView, ...]
    moves: tuple[MoveView, ...]


class GuessView(reply.View):
    """Who may have sent money: confidence in per cent, and why (code, number, name, amount)."""

    account_id: str
    confidence_percent: int
    reasons: tuple[str, ...]


class UnplacedView(reply.View):
    """Money that is nobody's yet."""

    receipt_id: int
    channel: str
    reference: str
    amount_fen: int
    open_fen: int
    received_on: date
    payer_name: str
    memo: str
    why: str
    guesses: tuple[GuessView, ...]


class PoolView(reply.View):
    """The unmatched pool."""

    receipts: tuple[UnplacedView, ...]
    open_fen: int


class ImportedView(reply.View):
    """What became of a bank file."""

    lines: int
    known: int
    booked: int
    pooled: int
    outgoing: int


class StatementView(reply.View):
    """A provider's day."""

    provider: str
    day: date
    line_count: int
    payments_fen: int
    refunds_fen: int
    fee_fen: int
    open_count: int


class DifferenceView(reply.View):
    """A difference between a provider's statement and our books."""

    provider: str
    day: date
    kind: str
    what: str
    reference: str
    order_no: str
    ours_fen: int | None
    theirs_fen: int | None
    resolved_at: datetime | None
    resolved_by: str | None
    resolution: str


class CallCountView(reply.View):
    """How many provider calls of a day turned out to be what."""

    provider: str
    day: date
    verdict: str
    calls: int


class StatementsView(reply.View):
    """Statements that were compared, what differs, and what providers' calls were like."""

    statements: tuple[StatementView, ...]
    differences: tuple[DifferenceView, ...]
    calls: tuple[CallCountView, ...]


class RequestView(reply.View):
    """Something that needs a second person; `is_mine`: asked by whoever looks."""

    request_id: int
    kind: str
    account_id: str | None
    receipt_id: int | None
    item: str
    amount_fen: int
    reason: str
    state: str
    asked_by: str
    asked_at: datetime
    decided_by: str | None
    is_mine: bool
    is_by_bank: bool
    problem: str


class RequestsView(reply.View):
    """Requests, newest first."""

    requests: tuple[RequestView, ...]


class StepView(reply.View):
    """A dunning step; a proposal waits for a decision."""

    notice_id: int
    account_id: str
    item: str
    step: str
    kind: str
    channel: str
    amount_fen: int
    due_date: date | None
    made_on: date
    decided_by: str | None
    decision: str


class DunningView(reply.View):
    """Dunning steps, newest first, and the rules they follow."""

    steps: tuple[StepView, ...]
    rules: str
