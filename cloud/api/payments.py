"""What a customer owes and pays: balance, open bills, a payment order with its QR code, receipts, history.

The order is committed before the provider is told of it, in the background of the answer; the page looks again until it
knows. A number never comes from the provider's page: what counts is what was booked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Final

import segno
from fastapi import APIRouter, BackgroundTasks, Form, Path, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup

from cloud.api import reply, who
from cloud.billing import arrears
from cloud.billing.payment import BadAmount, Order, Provider, Purpose, fen_from, payment_code
from cloud.billing.run import pay as money
from cloud.billing.run import receipt as paper
from cloud.billing.store import collect
from cloud.billing.store import ledger as books
from cloud.billing.store import payments as store
from cloud.markettime import day_of, month_from
from cloud.outside.payments import errands
from cloud.security import run as security
from cloud.security.access import Deed, Subject

router = APIRouter(tags=["payments"])

_SEE_OTHER: Final = 303
_BIGINT_MAX: Final = 2**63 - 1
OrderNo = Annotated[str, Path(pattern="^P[0-9A-Z]{8,31}$")]
ReceiptId = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
PartNo = Annotated[int, Path(ge=1, le=1000)]


class LateLineView(reply.View):
    """A stretch of a late fee: principal x days x rate."""

    first_day: date
    end_day: date
    principal_fen: int
    days: int
    rate: str
    amount_fen: int


class OpenView(reply.View):
    """A bill month that is open. `overdue_days` 0: not late; `late_lines` explain the late fee through `late_through`."""

    month: date
    open_fen: int
    late_fen: int
    due_date: date | None
    overdue_days: int
    late_through: date | None
    late_lines: tuple[LateLineView, ...]


class OrderView(reply.View):
    """A payment order. State: created, pending, paid, failed, closed, suspended."""

    order_no: str
    account_id: str
    provider: str
    purpose: str
    month: date | None
    amount_fen: int
    state: str
    is_phone: bool
    pay_url: str
    problem: str
    created_at: datetime
    expires_at: datetime
    receipt: str | None


class PaidView(reply.View):
    """Money that was booked to the account; `receipt` is the address of its receipt."""

    amount_fen: int
    channel: str
    received_at: datetime
    reference: str
    receipt: str


class BankView(reply.View):
    """Where to transfer money, and what to write on it so that it finds its account by itself."""

    holder: str
    number: str
    bank: str
    code: str


class NoticeView(reply.View):
    """What the customer was told about an open amount."""

    made_on: date
    step: str
    channel: str
    amount_fen: int
    due_date: date | None


class RefundView(reply.View):
    """Money that goes back."""

    amount_fen: int
    state: str
    asked_at: datetime


class MoneyView(reply.View):
    """An account's money."""

    account_id: str
    account_name: str
    owed_fen: int
    overdue_fen: int
    next_due: date | None
    prepaid_fen: int
    open: tuple[OpenView, ...]
    providers: tuple[str, ...]
    bank: BankView | None
    orders: tuple[OrderView, ...]
    paid: tuple[PaidView, ...]
    refunds: tuple[RefundView, ...]
    notices: tuple[NoticeView, ...]


class SettledView(reply.View):
    """What a payment settled: bill, late_fee or prepaid."""

    kind: str
    month: str
    amount_fen: int


class ReceiptView(reply.View):
    """A receipt."""

    number: str
    account_id: str
    account_name: str
    party_name: str
    channel: str
    reference: str
    order_no: str
    paid_at: datetime
    amount_fen: int
    in_capitals: str
    lines: tuple[SettledView, ...]
    pdf: str


@dataclass(frozen=True, slots=True)
class OrderDrawing:
    """The QR code of an order that waits to be paid, and whether the page looks again by itself."""

    qr: Markup
    looks_again: bool


@router.get("/accounts/{account_id}/payments", response_model=MoneyView)
def account_money(
    request: Request, account_id: who.AccountId, visit: Annotated[who.Visit, who.visits(Deed.SEE_PAYMENTS)]
) -> Response:
    """Balance, open bills, how to pay, and what was paid."""
    account = who.account_for(visit, account_id)
    view = _money_view(request, visit, account_id, account.name)
    return reply.answer(request, visit, "payments/money.html", view, account_id=account_id)


@router.post("/accounts/{account_id}/payments", response_model=OrderView)
def open_payment(
    request: Request,
    account_id: who.AccountId,
    tasks: BackgroundTasks,
    visit: Annotated[who.Visit, who.changes(Deed.PAY)],
    provider: Annotated[Provider, Form()],
    purpose: Annotated[Purpose, Form()] = Purpose.BALANCE,
    month: Annotated[str, Form(max_length=7)] = "",
    amount_yuan: Annotated[str, Form(max_length=20)] = "",
    device: Annotated[str, Form(pattern="^(qr|phone)$")] = "qr",
) -> Response:
    """Open a payment order: of everything open, of one bill (also in part), or in advance."""
    who.account_for(visit, account_id)
    chosen = Purpose.BILL if month and purpose is Purpose.BALANCE else purpose
    wish = _wish(account_id, provider, chosen, month, amount_yuan, device)
    order = money.open_order(visit.conn, wish, security.actor_name(visit.actor), visit.now)
    state = request.app.state
    back = errands.return_address(state.config.public_url, order.order_no)
    if order.state == "created":
        tasks.add_task(errands.offer, state.pool, state.payments, order, back, visit.now)
    answer: Response
    if reply.wants_json(request):
        answer = reply.as_json(_order_view(visit, order))
    else:
        answer = RedirectResponse(f"/payments/{order.order_no}", _SEE_OTHER)
    answer.background = tasks
    return answer


@router.get("/payments/{order_no}", response_model=OrderView)
def payment_order(
    request: Request, order_no: OrderNo, visit: Annotated[who.Visit, who.visits(Deed.SEE_PAYMENTS)]
) -> Response:
    """How a payment stands, with its QR code while it waits; also where a person comes back to from the provider."""
    order = store.find_order(visit.conn, order_no)
    if order is None:
        raise store.NoOrder("not_found", kind="payment")
    who.account_for(visit, order.account_id)
    view = _order_view(visit, order)
    waits = order.state in ("created", "pending") and visit.now < order.expires_at
    drawn = OrderDrawing(_qr(order.pay_url) if order.state == "pending" else Markup(""), waits)
    return reply.answer(
        request, visit, "payments/order.html", view, account_id=order.account_id, drawing=drawn
    )


@router.get("/receipts/{receipt_id}/{part_no}", response_model=ReceiptView)
def receipt(
    request: Request,
    receipt_id: ReceiptId,
    part_no: PartNo,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_PAYMENTS)],
) -> Response:
    """The receipt of a payment."""
    found = _receipt_for(visit, receipt_id, part_no)
    view = ReceiptView(
        number=found.number,
        account_id=found.account_id,
        account_name=found.account_name,
        party_name=found.party_name,
        channel=found.channel,
        reference=found.reference,
        order_no=found.order_no,
        paid_at=found.paid_at,
        amount_fen=found.amount_fen,
        in_capitals=found.in_capitals,
        lines=tuple(
            SettledView(kind=each.kind, month=each.month, amount_fen=each.amount_fen) for each in found.lines
        ),
        pdf=f"/receipts/{receipt_id}/{part_no}/pdf",
    )
    return reply.answer(request, visit, "payments/receipt.html", view, account_id=found.account_id)


@router.get(
    "/receipts/{receipt_id}/{part_no}/pdf",
    response_class=Response,
    responses={
        200: {"content": {"application/pdf": {}}, "description": "PDF/A-3 with the receipt's facts inside"}
    },
)
def receipt_as_pdf(
    receipt_id: ReceiptId, part_no: PartNo, visit: Annotated[who.Visit, who.visits(Deed.SEE_PAYMENTS)]
) -> Response:
    """The receipt to keep."""
    found = _receipt_for(visit, receipt_id, part_no)
    name = f"receipt-{found.number}.pdf"
    return Response(
        paper.receipt_pdf(found, visit.language),
        media_type="application/pdf",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _wish(
    account_id: str, provider: Provider, purpose: Purpose, month: str, amount_yuan: str, device: str
) -> money.Wish:
    try:
        chosen = month_from(month) if purpose is Purpose.BILL else None
    except ValueError as problem:
        raise BadAmount("bad_month", found=month) from problem
    if purpose is Purpose.TOP_UP and not amount_yuan:
        raise BadAmount("bad_yuan", found="")
    fen = fen_from(amount_yuan) if amount_yuan else None
    return money.Wish(account_id, provider, purpose, chosen, fen, device == "phone")


def _receipt_for(visit: who.Visit, receipt_id: int, part_no: int) -> paper.Receipt:
    part = store.find_part(visit.conn, receipt_id, part_no)
    if part is None or part.account_id is None:
        raise store.NoReceipt("not_found", kind="receipt")
    account = who.account_for(visit, part.account_id)
    subject = Subject("receipt", f"{receipt_id}/{part_no}", account.party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    return paper.receipt_of(visit.conn, part)


def _money_view(request: Request, visit: who.Visit, account_id: str, name: str) -> MoneyView:
    conn, today, config = visit.conn, day_of(visit.now), request.app.state.config
    opened = _open_views(visit, account_id, today)
    overdue = [each for each in opened if each.overdue_days]
    dues = [each.due_date for each in opened if each.due_date is not None and each.open_fen > 0]
    bank = config.bank
    return MoneyView(
        account_id=account_id,
        account_name=name,
        owed_fen=sum(each.open_fen + each.late_fen for each in opened),
        overdue_fen=sum(each.open_fen + each.late_fen for each in overdue),
        next_due=min(dues, default=None),
        prepaid_fen=books.prepaid_fen(conn, account_id),
        open=opened,
        providers=tuple(request.app.state.payments),
        bank=None
        if bank is None
        else BankView(holder=bank.holder, number=bank.number, bank=bank.bank, code=payment_code(account_id)),
        orders=tuple(_order_view(visit, each) for each in store.orders_of(conn, account_id)[:10]),
        paid=tuple(_paid_view(each) for each in store.parts_of_account(conn, account_id)),
        refunds=tuple(
            RefundView(amount_fen=each.amount_fen, state=each.state, asked_at=each.asked_at)
            for each in collect.refunds_of_account(conn, account_id)
        ),
        notices=tuple(
            NoticeView(
                made_on=each.made_on,
                step=each.step,
                channel=each.channel,
                amount_fen=each.amount_fen,
                due_date=each.due_date,
            )
            for each in collect.notices(conn, account_id)
            if each.kind == "notice"
        ),
    )


def _open_views(visit: who.Visit, account_id: str, today: date) -> tuple[OpenView, ...]:
    fees = {each.item: each for each in collect.late_fees_of(visit.conn, account_id)}
    views = []
    for debt in collect.debts(visit.conn, account_id):
        fee = fees.get(debt.item)
        late = debt.due_date is not None and debt.open_fen > 0
        views.append(
            OpenView(
                month=debt.month,
                open_fen=debt.open_fen,
                late_fen=debt.late_fen,
                due_date=debt.due_date,
                overdue_days=arrears.overdue_days(debt.due_date, today) if late and debt.due_date else 0,
                late_through=fee.through_day if fee is not None else None,
                late_lines=() if fee is None else tuple(map(_late_line, fee.lines)),
            )
        )
    return tuple(views)


def _late_line(line: dict[str, object]) -> LateLineView:
    shown = ("first_day", "end_day", "principal_fen", "days", "rate", "amount_fen")
    return LateLineView.model_validate({name: line[name] for name in shown})


def _paid_view(part: store.PartRow) -> PaidView:
    return PaidView(
        amount_fen=part.amount_fen,
        channel=part.channel,
        received_at=part.received_at,
        reference=part.reference[:32],
        receipt=f"/receipts/{part.receipt_id}/{part.part_no}",
    )


def _order_view(visit: who.Visit, order: Order) -> OrderView:
    found = store.receipt_of_order(visit.conn, order.order_no) if order.state == "paid" else None
    return OrderView(
        order_no=order.order_no,
        account_id=order.account_id,
        provider=order.provider,
        purpose=order.purpose,
        month=order.month,
        amount_fen=order.amount_fen,
        state=order.state,
        is_phone=order.is_phone,
        pay_url=order.pay_url,
        problem=order.problem,
        created_at=order.created_at,
        expires_at=order.expires_at,
        receipt=None if found is None else f"/receipts/{found.receipt_id}/1",
    )


def _qr(url: str) -> Markup:
    drawn = segno.make(url, error="m").svg_inline(omitsize=True, border=2, svgclass="qr", lineclass=None)
    return Markup(drawn)
