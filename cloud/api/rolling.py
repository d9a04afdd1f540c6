"""The rolling desk 滚动撮合: sessions, books with depth and trades, own orders; staff announce and call off."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from cloud import markettime
from cloud.api import dealviews, reply, streaming, who
from cloud.api.dealviews import DepthView, RollingView
from cloud.contracts.terms import HOURS, WHOLE_MONTH
from cloud.market.offering import ticks_from
from cloud.market.orders import parsed
from cloud.market.rollbook import Op, Stays
from cloud.market.rolling import TradePrice
from cloud.market.run import list as listing_desk
from cloud.market.run import roll
from cloud.market.store import rolling
from cloud.market.store.rolling import NewRolling, RollingRow
from cloud.security.access import Deed, Role

router = APIRouter(tags=["rolling"])

_SEE_OTHER: Final = 303
_BIGINT_MAX: Final = 2**63 - 1
_INT_MAX: Final = 2**31 - 1
_FEED_MAX: Final = 30
RollingId = Annotated[int, Path(ge=1, le=_INT_MAX)]
OrderSeq = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Short = Annotated[str, Form(max_length=60)]
PeriodNo = Annotated[int, Query(ge=1, le=1000)]


class SessionsView(reply.View):
    """Rolling sessions, the latest first."""

    sessions: tuple[RollingView, ...]
    may_direct: bool
    first_month: str
    opens: str
    closes: str
    price_min_ticks: int
    price_max_ticks: int


class OwnOrderView(reply.View):
    """An own order: what is open of it, what it traded."""

    order_seq: int
    period_no: int
    side: str
    stays: str
    price_ticks: int
    kwh: int
    open_kwh: int
    traded_kwh: int
    at: datetime


class OwnTradeView(reply.View):
    """An own trade."""

    trade_id: int
    period_no: int
    side: str
    kwh: int
    price_ticks: int
    at: datetime


class DeskView(reply.View):
    """One book with the own orders and trades of the session."""

    session: RollingView
    book: DepthView
    orders: tuple[OwnOrderView, ...]
    trades: tuple[OwnTradeView, ...]
    contracts: tuple[str, ...]
    units: tuple[str, ...]
    is_trader: bool
    may_direct: bool
    seq: int


class TradeView(reply.View):
    """A trade of a book without names; `seq` is the event that made it."""

    trade_id: int
    seq: int
    kwh: int
    price_ticks: int
    at: datetime


class ReceiptView(reply.View):
    """What became of an order, a cancellation or a replacement at once."""

    receipt_no: str
    order_seq: int
    traded_kwh: int
    resting_kwh: int
    cancelled_kwh: int
    trades: tuple[tuple[int, int], ...]  # price in ticks, kWh
    is_self_match: bool


@dataclass(frozen=True, slots=True)
class DeskDrawing:
    """The widths of the book's bars, in percent of its largest level."""

    bids: tuple[int, ...]
    asks: tuple[int, ...]


@router.get("/rolling", response_model=SessionsView)
def sessions(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_ROLLING)]) -> Response:
    """Rolling sessions; for staff the form to announce one."""
    dealviews.allow(visit, "rolling_session", "all")
    today = markettime.day_of(visit.now)
    bounds = listing_desk.rules()
    view = SessionsView(
        sessions=tuple(dealviews.rolling_view(row, visit.now) for row in rolling.recent(visit.conn)),
        may_direct=visit.actor.role is Role.STAFF,
        first_month=f"{markettime.month_after(markettime.month_of(today)):%Y-%m}",
        opens=reply.local(visit.now, "%Y-%m-%dT%H:%M"),
        closes=reply.local(visit.now + timedelta(hours=2), "%Y-%m-%dT%H:%M"),
        price_min_ticks=bounds.price_min_ticks,
        price_max_ticks=bounds.price_max_ticks,
    )
    return reply.answer(request, visit, "rolling/sessions.html", view)


@router.post("/rolling", response_class=RedirectResponse)
def announce(
    request: Request,
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_ROLLING)],
    title: Annotated[str, Form(max_length=200)] = "",
    month: Annotated[Sequence[str], Form()] = (),
    labels: Annotated[str, Form(pattern="^(month|hours)$")] = WHOLE_MONTH,
    trade_price: Annotated[TradePrice, Form()] = TradePrice.RESTING,
    price_min: Short = "",
    price_max: Short = "",
    margin_pct: Short = "5",
    opens: Short = "",
    closes: Short = "",
) -> Response:
    """Announce a rolling session: products are the months given, whole or by hour."""
    margin = parsed(margin_pct.strip())
    months = [dealviews.month_from(each) for each in month if each.strip()]
    if margin is None or not 0 <= margin <= 100 or not 2 <= len(title.strip()) <= 200 or not months:
        raise dealviews.BadForm("rolling_form")
    named = (WHOLE_MONTH,) if labels == WHOLE_MONTH else HOURS
    new = NewRolling(
        title.strip(),
        tuple((each, label) for each in sorted(set(months)) for label in named),
        trade_price,
        (ticks_from(price_min) if price_min else None, ticks_from(price_max) if price_max else None),
        (1, 1),
        Decimal(margin),
        (dealviews.instant_from(opens), dealviews.instant_from(closes)),
    )
    rolling_id = roll.announce(visit.conn, visit.actor, new, visit.now)
    return RedirectResponse(f"/rolling/{rolling_id}", _SEE_OTHER)


@router.get("/rolling/{rolling_id}", response_model=DeskView)
def desk(
    request: Request,
    rolling_id: RollingId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_ROLLING)],
    period: PeriodNo = 1,
) -> Response:
    """A book: depth, last trades, the own orders with what may be done to them."""
    row = _found(visit, rolling_id, period)
    view = _desk(visit, row, period)
    return reply.answer(request, visit, "rolling/desk.html", view, drawing=_drawing(view.book))


@router.get("/rolling/{rolling_id}/now", response_model=DeskView)
def desk_now(
    request: Request,
    rolling_id: RollingId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_ROLLING)],
    period: PeriodNo = 1,
) -> Response:
    """The book now, as a fragment that the page asks for while its stream is broken."""
    row = _found(visit, rolling_id, period)
    view = _desk(visit, row, period)
    return reply.answer(request, visit, "rolling/_book.html", view, drawing=_drawing(view.book))


@router.get(
    "/rolling/{rolling_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "event `trade`: a trade, as JSON; then the changed parts of the page, as HTML",
        }
    },
)
def events(
    request: Request,
    rolling_id: RollingId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_ROLLING)],
    period: PeriodNo = 1,
    after: streaming.After = 0,
) -> StreamingResponse:
    """A book as it moves; after Last-Event-ID or `after` no trade is left out."""

    def look(reader: who.Visit, seen: int) -> streaming.Look:
        return _seen_now(reader, _found(reader, rolling_id, period), period, seen)

    return streaming.streaming(request, visit, f"book:{rolling_id}:{period}", after, look)


@router.post("/rolling/{rolling_id}/orders", response_model=ReceiptView)
def submit(
    request: Request,
    rolling_id: RollingId,
    visit: Annotated[who.Visit, who.changes(Deed.TRADE_ROLLING)],
    period: Annotated[int, Form(ge=1, le=1000)] = 1,
    side: Annotated[str, Form(max_length=4)] = "",
    stays: Annotated[Stays, Form()] = Stays.DAY,
    price: Short = "",
    mwh: Short = "",
    unit: Short = "",
    client_key: Annotated[UUID | None, Form()] = None,
) -> Response:
    """Send an order: it trades at once as far as prices meet."""
    chosen = dealviews.own_unit(visit, unit)
    sent = roll.OrderSent(period, dealviews.side_from(side), stays, price, mwh, chosen, client_key)
    receipt = roll.submit(visit.conn, visit.actor, rolling_id, sent, visit.now)
    return _receipt(request, rolling_id, period, receipt)


@router.post("/rolling/{rolling_id}/orders/{order_seq}/cancel", response_model=ReceiptView)
def cancel(
    request: Request,
    rolling_id: RollingId,
    order_seq: OrderSeq,
    visit: Annotated[who.Visit, who.changes(Deed.TRADE_ROLLING)],
) -> Response:
    """Cancel what is open of an own order."""
    receipt = roll.cancel(visit.conn, visit.actor, rolling_id, order_seq, visit.now)
    return _receipt(request, rolling_id, 0, receipt)


@router.post("/rolling/{rolling_id}/orders/{order_seq}/replace", response_model=ReceiptView)
def replace(
    request: Request,
    rolling_id: RollingId,
    order_seq: OrderSeq,
    visit: Annotated[who.Visit, who.changes(Deed.TRADE_ROLLING)],
    price: Short = "",
    mwh: Short = "",
) -> Response:
    """Change price and open quantity of an own order."""
    receipt = roll.replace(visit.conn, visit.actor, (rolling_id, order_seq), (price, mwh), visit.now)
    return _receipt(request, rolling_id, 0, receipt)


@router.post("/rolling/{rolling_id}/call-off", response_class=RedirectResponse)
def call_off(
    rolling_id: RollingId, visit: Annotated[who.Visit, who.changes(Deed.DIRECT_ROLLING)]
) -> Response:
    """Call off a session that has not traded."""
    roll.cancel_session(visit.conn, visit.actor, rolling_id, visit.now)
    return RedirectResponse("/rolling", _SEE_OTHER)


# ---- inside ----------------------------------------------------------------------------------------------


def _receipt(request: Request, rolling_id: int, period: int, receipt: roll.Receipt) -> Response:
    if reply.wants_json(request):
        view = ReceiptView(
            receipt_no=receipt.receipt_no,
            order_seq=receipt.order_seq,
            traded_kwh=receipt.traded_kwh,
            resting_kwh=receipt.resting_kwh,
            cancelled_kwh=receipt.cancelled_kwh,
            trades=tuple((trade.price_ticks, trade.kwh) for trade in receipt.trades),
            is_self_match=receipt.is_self_match,
        )
        return reply.as_json(view, 201)
    at = f"?period={period}" if period else ""
    return RedirectResponse(f"/rolling/{rolling_id}{at}#{receipt.receipt_no}", _SEE_OTHER)


def _seen_now(visit: who.Visit, row: RollingRow, period_no: int, seen: int) -> streaming.Look:
    """The trades after a number, and the parts of the page. The order's form stays while orders are taken."""
    view = _desk(visit, row, period_no)
    drawing = _drawing(view.book)
    found = rolling.feed_after(visit.conn, row.rolling_id, period_no, seen)
    trades = [each for each in found if each.seq <= view.seq]  # what is newer comes with the next look, once
    news = tuple(("trade", TradeView(**dataclasses.asdict(each)).model_dump_json()) for each in trades)
    parts = {
        name: streaming.Part(
            reply.fragment(
                visit.language,
                f"rolling/_{name}.html",
                view=view,
                drawing=drawing,
                form_token=visit.csrf_token,
            ),
            f"{view.session.is_open}" if name == "order" else "",
        )
        for name in ("state", "book", "order", "own")
    }
    return streaming.Look(view.seq, news, parts)


def _desk(visit: who.Visit, row: RollingRow, period_no: int) -> DeskView:
    conn, party_id = visit.conn, visit.actor.party_id
    seq = rolling.last_seq(
        conn, row.rolling_id, period_no
    )  # first: what is read after it may be newer, never older
    depth = roll.depth(conn, row, period_no)
    feed = rolling.feed(conn, row.rolling_id, period_no, _FEED_MAX)
    return DeskView(
        session=dealviews.rolling_view(row, visit.now),
        book=dealviews.depth_view(row.rolling_id, period_no, depth, feed),
        orders=() if party_id is None else _orders(visit, row, period_no),
        trades=() if party_id is None else _trades(visit, row, party_id),
        contracts=rolling.contracts_of(conn, row.rolling_id),
        units=dealviews.own_units(visit),
        is_trader=visit.actor.role is Role.CUSTOMER,
        may_direct=visit.actor.role is Role.STAFF and row.state == "scheduled",
        seq=seq,
    )


def _orders(visit: who.Visit, row: RollingRow, period_no: int) -> tuple[OwnOrderView, ...]:
    party_id = visit.actor.party_id or 0
    resting = roll.open_orders(visit.conn, row, period_no)
    traded: dict[int, int] = {}
    for trade in rolling.trades_of(visit.conn, row.rolling_id):
        for seq in (trade.buy_seq, trade.sell_seq):
            traded[seq] = traded.get(seq, 0) + trade.kwh
    own = [
        each
        for each in rolling.own_events(visit.conn, party_id, row.rolling_id)
        if each.op == Op.ADD and each.period_no == period_no
    ]
    found = []
    for each in reversed(own):
        price_ticks, open_kwh = resting.get(each.seq, (each.price_ticks or 0, 0))
        found.append(
            OwnOrderView(
                order_seq=each.seq,
                period_no=each.period_no,
                side=each.side or "",
                stays=each.terms or "",
                price_ticks=price_ticks,
                kwh=each.quantity_kwh or 0,
                open_kwh=open_kwh,
                traded_kwh=traded.get(each.seq, 0),
                at=each.at,
            )
        )
    return tuple(found)


def _trades(visit: who.Visit, row: RollingRow, party_id: int) -> tuple[OwnTradeView, ...]:
    return tuple(
        OwnTradeView(
            trade_id=each.trade_id,
            period_no=each.period_no,
            side="B" if each.buyer_id == party_id else "S",
            kwh=each.kwh,
            price_ticks=each.price_ticks,
            at=each.at,
        )
        for each in reversed(rolling.trades_of(visit.conn, row.rolling_id))
    )


def _drawing(book: DepthView) -> DeskDrawing:
    most = max((level.kwh for level in (*book.bids, *book.asks)), default=1)
    bids, asks = (
        tuple(max(2, 100 * level.kwh // most) for level in levels) for levels in (book.bids, book.asks)
    )
    return DeskDrawing(bids, asks)


def _found(visit: who.Visit, rolling_id: int, period_no: int) -> RollingRow:
    row = rolling.find(visit.conn, rolling_id)
    if period_no > len(row.period_label):
        raise rolling.NoRolling("not_found", kind="rolling_session")
    dealviews.allow(visit, "rolling_session", str(rolling_id))
    return row
