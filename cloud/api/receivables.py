"""Staff and money: who owes what since when, money that is nobody's yet, statements, what waits for a second person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Form, Path, Request, Response, UploadFile
from fastapi.responses import RedirectResponse

from cloud import words
from cloud.api import reply, who
from cloud.api.moneyviews import (
    BucketView,
    CallCountView,
    DebtView,
    DifferenceView,
    DunningView,
    GuessView,
    ImportedView,
    MoveView,
    PlacedView,
    PoolView,
    ReceivablesView,
    RequestsView,
    RequestView,
    StatementsView,
    StatementView,
    StepView,
    TimelineView,
    UnplacedView,
)
from cloud.billing import arrears, bankfile
from cloud.billing.arrears import Debt
from cloud.billing.payment import BadAmount, Provider, fen_from
from cloud.billing.run import bank, requests
from cloud.billing.store import collect, payments, published, statements
from cloud.billing.store import ledger as books
from cloud.markettime import day_of
from cloud.money import yuan
from cloud.security import run as security
from cloud.security.access import Deed, Subject

router = APIRouter(tags=["receivables"])

_SEE_OTHER: Final = 303
_BIGINT_MAX: Final = 2**63 - 1
SHOWN_SINCE: Final = timedelta(days=62)
Number = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Place = Annotated[who.Visit, who.changes(Deed.PLACE_MONEY)]
Look = Annotated[who.Visit, who.visits(Deed.SEE_RECEIVABLES)]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bucket's bar, in per cent of the drawing's width."""

    width: float
    label: str


@router.get("/receivables", response_model=ReceivablesView)
def receivables(request: Request, visit: Look) -> Response:
    """What is open, by age, and by customer."""
    view = _receivables(request, visit)
    most = max((bucket.open_fen for bucket in view.buckets), default=0)
    bars = tuple(
        Bar(bucket.open_fen * 100 / most if most and bucket.open_fen > 0 else 0.0, _label(bucket))
        for bucket in view.buckets
    )
    return reply.answer(request, visit, "receivables/receivables.html", view, drawing=bars)


@router.get("/receivables.csv", response_class=Response)
def receivables_as_csv(request: Request, visit: Look) -> Response:
    """The same as a table for a spreadsheet; no cell can become a formula."""
    header = ("account", "name", "month", "open_yuan", "late_fee_yuan", "due", "days_overdue")
    rows = (
        (
            *(each.account_id, each.account_name, f"{each.month:%Y-%m}", yuan(each.open_fen)),
            *(yuan(each.late_fen), each.due_date or "", each.overdue_days),
        )
        for each in _receivables(request, visit).debts
    )
    return Response(
        bankfile.csv_text(header, rows),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="receivables.csv"'},
    )


@router.get("/accounts/{account_id}/timeline", response_model=TimelineView)
def timeline(request: Request, account_id: who.AccountId, visit: Look) -> Response:
    """One customer's money in the order in which it was booked."""
    account = who.account_for(visit, account_id)
    conn, today = visit.conn, day_of(visit.now)
    debts = tuple(_debt_view(each, today) for each in collect.debts(conn, account_id))
    view = TimelineView(
        account_id=account_id,
        account_name=account.name,
        owed_fen=sum(each.open_fen + each.late_fen for each in debts),
        prepaid_fen=books.prepaid_fen(conn, account_id),
        debts=debts,
        receipts=tuple(
            PlacedView(
                receipt_id=each.receipt_id,
                part_no=each.part_no,
                amount_fen=each.amount_fen,
                channel=each.channel,
                received_at=each.received_at,
            )
            for each in payments.parts_of_account(conn, account_id)
        ),
        moves=tuple(
            MoveView(
                booked_at=each.booked_at,
                effective_date=each.effective_date,
                deed=each.deed,
                journal_id=each.journal_id,
                account=each.account_code.split("/")[0],
                item=each.item,
                amount_fen=each.amount_fen,
            )
            for each in collect.timeline(conn, account_id)
        ),
    )
    named = frozenset(each.deed for each in view.moves if words.known(f"journal_deed.{each.deed}"))
    return reply.answer(
        request, visit, "receivables/timeline.html", view, account_id=account_id, drawing=named
    )


# ---- money that is nobody's yet --------------------------------------------------------------------------


@router.get("/receivables/unplaced", response_model=PoolView)
def unplaced(request: Request, visit: Look) -> Response:
    """The unmatched pool with who may have sent what."""
    rows = payments.unplaced(visit.conn)
    view = PoolView(
        receipts=tuple(_unplaced_view(visit, each) for each in rows),
        open_fen=sum(each.open_fen for each in rows),
    )
    return reply.answer(request, visit, "receivables/unplaced.html", view)


@router.post("/receivables/bank-files", response_model=ImportedView)
def import_bank_file(request: Request, visit: Place, file: UploadFile) -> Response:
    """Import a bank statement (the whole request at most 64 KiB; larger files by `shoudian-cloud pay import-bank`)."""
    content = file.file.read()
    name = (file.filename or "bank.csv")[:200]
    done = bank.import_file(visit.conn, name, content, _actor(visit), visit.now)
    _note(visit, "bank-file", str(done.import_id))
    view = ImportedView(
        lines=done.lines, known=done.known, booked=done.booked, pooled=done.pooled, outgoing=done.outgoing
    )
    return reply.answer(request, visit, "receivables/imported.html", view)


@router.post("/receivables/unplaced/{receipt_id}/place", response_class=Response)
def place(
    request: Request,
    receipt_id: Number,
    visit: Place,
    account_id: Annotated[list[str], Form()],
    amount_yuan: Annotated[list[str], Form()],
) -> Response:
    """Give money to one customer, or split it; an account without an amount gets the rest."""
    receipt = payments.load_receipt(visit.conn, receipt_id)
    pairs = [
        (each.strip(), yuan) for each, yuan in zip(account_id, amount_yuan, strict=False) if each.strip()
    ]
    if len(account_id) != len(amount_yuan) or not pairs:
        raise BadAmount("bad_split", most=bank.SPLITS_MAX)
    told = [(account, fen_from(text)) for account, text in pairs if text.strip()]
    rest_fen = receipt.open_fen - sum(fen for _, fen in told)
    splits = told + [(account, rest_fen) for account, text in pairs if not text.strip()]
    for account, _ in splits:
        who.account_for(visit, account)
    bank.place(visit.conn, receipt_id, splits, _actor(visit), visit.now)
    return _back(request, visit, "/receivables/unplaced")


# ---- statements ------------------------------------------------------------------------------------------


@router.get("/receivables/statements", response_model=StatementsView)
def compared(request: Request, visit: Look) -> Response:
    """Which days were compared with the providers, and what differs."""
    since = day_of(visit.now) - SHOWN_SINCE
    view = StatementsView(
        statements=tuple(
            StatementView(
                provider=each.provider,
                day=each.day,
                line_count=each.line_count,
                payments_fen=each.payments_fen,
                refunds_fen=each.refunds_fen,
                fee_fen=each.fee_fen,
                open_count=each.open_count,
            )
            for each in statements.statements(visit.conn, since)
        ),
        differences=tuple(
            DifferenceView(
                provider=each.provider,
                day=each.day,
                kind=each.kind,
                what=each.what,
                reference=each.reference,
                order_no=each.order_no,
                ours_fen=each.ours_fen,
                theirs_fen=each.theirs_fen,
                resolved_at=each.resolved_at,
                resolved_by=each.resolved_by,
                resolution=each.resolution,
            )
            for each in statements.difference_rows(visit.conn, is_open=False)
        ),
        calls=tuple(
            CallCountView(provider=provider, day=day, verdict=verdict, calls=calls)
            for provider, day, verdict, calls in payments.call_counts(visit.conn, since)
        ),
    )
    return reply.answer(request, visit, "receivables/statements.html", view)


@router.post("/receivables/statements/resolve", response_class=Response)
def resolve(
    request: Request,
    visit: Place,
    provider: Annotated[Provider, Form()],
    day: Annotated[date, Form()],
    kind: Annotated[str, Form(max_length=20)],
    what: Annotated[str, Form(max_length=20)],
    reference: Annotated[str, Form(max_length=128)],
    resolution: Annotated[str, Form(min_length=1, max_length=500)],
) -> Response:
    """Say what became of a difference."""
    key = (provider.value, day, kind, what, reference)
    statements.resolve(visit.conn, key, resolution, (visit.now, _actor(visit)))
    _note(visit, "difference", f"{provider}/{day}/{kind}/{reference}")
    return _back(request, visit, "/receivables/statements")


# ---- requests and dunning --------------------------------------------------------------------------------


@router.get("/receivables/requests", response_model=RequestsView)
def asked(request: Request, visit: Look) -> Response:
    """What waits for a second person, and what was decided."""
    rows = collect.requests(visit.conn, is_open=False)
    view = RequestsView(requests=tuple(_request_view(visit, each) for each in rows))
    return reply.answer(request, visit, "receivables/requests.html", view)


@router.post("/receivables/requests", response_class=Response)
def ask(
    request: Request,
    visit: Place,
    kind: Annotated[Literal["refund", "waiver", "bad_debt", "write_off"], Form()],
    amount_yuan: Annotated[str, Form(max_length=20)],
    reason: Annotated[str, Form(min_length=1, max_length=500)],
    account_id: Annotated[str, Form(max_length=13)] = "",
    receipt_id: Annotated[int, Form(ge=0, le=_BIGINT_MAX)] = 0,
    item: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """Ask for a refund, a waiver of a late fee, a bad debt or a write-off; somebody else decides."""
    if kind != "write_off":
        who.account_for(visit, account_id)
    asked_item = collect.late_item(item) if kind == "waiver" else item if kind == "bad_debt" else ""
    wish = requests.Wish(
        kind,
        account_id if kind != "write_off" else None,
        receipt_id or None,
        asked_item,
        fen_from(amount_yuan),
        reason,
    )
    request_id = requests.ask(visit.conn, wish, _actor(visit), visit.now)
    _note(visit, "request", str(request_id))
    return _back(request, visit, "/receivables/requests")


@router.post("/receivables/requests/{request_id}/{decision}", response_class=Response)
def decide(
    request: Request,
    request_id: Number,
    decision: Literal["approve", "decline", "transferred"],
    visit: Annotated[who.Visit, who.changes(Deed.DECIDE_MONEY)],
) -> Response:
    """Approve or decline what somebody else asked for; note that a refund was transferred by bank."""
    _note(visit, "request", str(request_id))
    if decision == "transferred":
        requests.transferred(visit.conn, request_id, visit.now)
    else:
        requests.decide(visit.conn, request_id, _actor(visit), visit.now, is_approved=decision == "approve")
    return _back(request, visit, "/receivables/requests")


@router.get("/receivables/dunning", response_model=DunningView)
def dunning(request: Request, visit: Look) -> Response:
    """Which steps were taken, and which proposals wait."""
    rules = _rules(request, visit)
    view = DunningView(
        rules=rules.head.origin,
        steps=tuple(
            StepView(
                notice_id=each.notice_id,
                account_id=each.account_id,
                item=each.item,
                step=each.step,
                kind=each.kind,
                channel=each.channel,
                amount_fen=each.amount_fen,
                due_date=each.due_date,
                made_on=each.made_on,
                decided_by=each.decided_by,
                decision=each.decision,
            )
            for each in collect.notices(visit.conn, None)
        ),
    )
    return reply.answer(request, visit, "receivables/dunning.html", view)


@router.post("/receivables/dunning/{notice_id}/{decision}", response_class=Response)
def decide_proposal(
    request: Request,
    notice_id: Number,
    decision: Literal["agreed", "refused"],
    visit: Annotated[who.Visit, who.changes(Deed.DECIDE_MONEY)],
) -> Response:
    """Decide on a proposal. Whatever is decided, nothing is switched off from here."""
    collect.decide_notice(visit.conn, notice_id, decision, (_actor(visit), visit.now))
    _note(visit, "proposal", str(notice_id))
    return _back(request, visit, "/receivables/dunning")


# ---- views -----------------------------------------------------------------------------------------------


def _receivables(request: Request, visit: who.Visit) -> ReceivablesView:
    today = day_of(visit.now)
    rules = _rules(request, visit)
    rows = collect.debts(visit.conn)
    debts = tuple(_debt_view(each, today) for each in rows)
    aged = arrears.ageing(
        (Debt(each.item, each.due_date or today, each.open_fen + each.late_fen) for each in rows),
        today,
        rules,
    )
    ends = (0, *rules.ageing_days, None)
    starts = (0, *(end + 1 for end in (0, *rules.ageing_days)))
    buckets = tuple(
        BucketView(days_from=start, days_to=end, open_fen=fen)
        for start, end, fen in zip(starts, ends, aged, strict=True)
    )
    suspense_fen = -books.balance_fen(
        visit.conn, "suspense/payments", effective_before=None, booked_before=None
    )
    return ReceivablesView(
        buckets=buckets,
        debts=debts,
        owed_fen=sum(aged),
        overdue_fen=sum(aged[1:]),
        suspense_fen=suspense_fen,
    )


def _rules(request: Request, visit: who.Visit) -> arrears.CollectionRules:
    """The collection rules in force: those that the database has taken, before its first bill those of the program."""
    files = published.catalogue(visit.conn).files or request.app.state.catalogue.files
    return arrears.rules_on(files, day_of(visit.now))


def _label(bucket: BucketView) -> str:
    if bucket.days_to == 0:
        return ""
    return f"{bucket.days_from}+" if bucket.days_to is None else f"{bucket.days_from}–{bucket.days_to}"


def _debt_view(row: collect.DebtRow, today: date) -> DebtView:
    return DebtView(
        account_id=row.account_id,
        account_name=row.account_name,
        month=row.month,
        item=row.item,
        open_fen=row.open_fen,
        late_fen=row.late_fen,
        due_date=row.due_date,
        overdue_days=arrears.overdue_days(row.due_date, today) if row.due_date and row.open_fen > 0 else 0,
    )


def _unplaced_view(visit: who.Visit, row: payments.ReceiptRow) -> UnplacedView:
    return UnplacedView(
        receipt_id=row.receipt_id,
        channel=row.channel,
        reference=row.reference[:32],
        amount_fen=row.amount_fen,
        open_fen=row.open_fen,
        received_on=row.received_on,
        payer_name=row.payer_name,
        memo=row.memo,
        why=row.why_suspended,
        guesses=tuple(
            GuessView(
                account_id=each.account_id,
                confidence_percent=each.confidence_percent,
                reasons=tuple(reason.value for reason in each.reasons),
            )
            for each in bank.guesses_of(visit.conn, row)
        ),
    )


def _request_view(visit: who.Visit, row: collect.RequestRow) -> RequestView:
    is_by_bank = (
        row.receipt_id is not None
        and payments.load_receipt(visit.conn, row.receipt_id).channel == bank.CHANNEL
    )
    return RequestView(
        request_id=row.request_id,
        kind=row.kind,
        account_id=row.account_id,
        receipt_id=row.receipt_id,
        item=row.item,
        amount_fen=row.amount_fen,
        reason=row.reason,
        state=row.state,
        asked_by=row.asked_by,
        asked_at=row.asked_at,
        decided_by=row.decided_by,
        is_mine=row.asked_by == _actor(visit),
        is_by_bank=is_by_bank,
        problem=row.problem,
    )


def _actor(visit: who.Visit) -> str:
    return security.actor_name(visit.actor)


def _note(visit: who.Visit, kind: str, key: str) -> None:
    security.allow(visit.conn, visit.actor, visit.deed, Subject(kind, key), visit.now)


def _back(request: Request, visit: who.Visit, path: str) -> Response:
    """After a change: programs get a short word, people the page they came from."""
    if reply.wants_json(request):
        return Response('{"done":true}', media_type="application/json")
    return RedirectResponse(path, _SEE_OTHER)
