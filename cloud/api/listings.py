"""The listing market 挂牌/摘牌: search what is offered, publish, take, give up the rest."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from pydantic import Field

from cloud import markettime
from cloud.api import dealviews, reply, streaming, who
from cloud.api.dealviews import Columns, ListingView, TakeView
from cloud.market.listing import Remainder, Sharing
from cloud.market.offering import NAMED_MAX, Offer, kwh_from, may_act, opposite, ticks_from
from cloud.market.run import list as desk
from cloud.market.store import listings
from cloud.market.store.listings import ListingRow, Wanted
from cloud.parties.store import standings
from cloud.security.access import Deed, Role

router = APIRouter(tags=["listings"])

_SEE_OTHER: Final = 303
_INT_MAX: Final = 2**31 - 1
ListingId = Annotated[int, Path(ge=1, le=_INT_MAX)]
Column = Annotated[Sequence[str], Form()]
Short = Annotated[str, Form(max_length=60)]
Box = Annotated[str, Form(max_length=4)]
PartyId = Annotated[int, Field(ge=1, le=2**63 - 1)]
_NAMES_MAX: Final = 12
_COLUMNS: Final = (
    "listing", "party", "side", "month", "period", "mwh", "left_mwh", "price_yuan_per_mwh", "environment_yuan_per_mwh",
    "starts", "ends", "state",
)  # fmt: skip


class MarketView(reply.View):
    """The listing market as searched, with the visitor's own takes."""

    listings: tuple[ListingView, ...]
    takes: tuple[TakeView, ...]
    filters: dict[str, str]
    is_trader: bool


class OneView(reply.View):
    """A listing with the takes that the visitor may see, and whether its kind may take of it."""

    listing: ListingView
    takes: tuple[TakeView, ...]
    may_take: bool
    units: tuple[str, ...]
    named: tuple[str, ...]  # to whom it is directed, for the lister and who oversees
    seq: int


class NameView(reply.View):
    """A party to which a listing may be directed, and whether it is chosen already."""

    party_id: int
    name: str
    kind: str
    is_chosen: bool


class NamesView(reply.View):
    """Whom one may name: those chosen already, then those found by name."""

    parties: tuple[NameView, ...]


class DraftView(reply.View):
    """What a publication form needs."""

    units: tuple[str, ...]
    may_sell: bool
    may_buy: bool
    first_month: str
    price_min_ticks: int
    price_max_ticks: int
    ends: str
    parties: tuple[NameView, ...]


class ReceiptView(reply.View):
    """The receipt of a take; `got` is None while a batch window is open."""

    receipt_no: str
    listing_id: int
    kwh: tuple[int, ...]
    got: tuple[int, ...] | None
    contract_id: str | None


class PublishedView(reply.View):
    """The number of a listing."""

    listing_id: int


@dataclass(frozen=True, slots=True)
class MarketDrawing:
    """The filters as an address, so that the table can be taken along."""

    query: str


@router.get("/listings", response_model=MarketView)
def market(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_LISTINGS)]) -> Response:
    """Listings by side, month, period, price, volume, kind, name and state."""
    dealviews.allow(visit, "listing", "all")
    wanted = _wanted(request, visit)
    party_id = visit.actor.party_id
    takes = () if party_id is None else listings.takes_by(visit.conn, party_id)
    view = MarketView(
        listings=tuple(dealviews.listing_view(row, party_id) for row in listings.search(visit.conn, wanted)),
        takes=tuple(map(dealviews.take_view, reversed(takes[-20:]))),
        filters={name: request.query_params.get(name, "") for name in _FILTERS},
        is_trader=visit.actor.role is Role.CUSTOMER,
    )
    return reply.answer(
        request, visit, "listings/market.html", view, drawing=MarketDrawing(request.url.query)
    )


@router.get("/listings/csv", response_class=Response)
def market_csv(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_LISTINGS)]) -> Response:
    """The same listings as a table, one row a line."""
    dealviews.allow(visit, "listing", "all")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for row in listings.search(visit.conn, _wanted(request, visit)):
        for line, left in zip(row.offer.lines, row.left, strict=True):
            volume = line.volume
            writer.writerow(
                (
                    *(row.listing_id, _neutral(row.party_name), row.offer.side.value, f"{line.month:%Y-%m}"),
                    *(line.period, volume.mwh, f"{left // 1000}.{left % 1000:03d}"),
                    *(volume.price_yuan_per_mwh, volume.environment_yuan_per_mwh),
                    *(row.offer.starts_at.isoformat(), row.offer.ends_at.isoformat(), row.state),
                )
            )
    headers = {"Content-Disposition": 'attachment; filename="listings.csv"'}
    return Response(out.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/listings/new", response_model=DraftView)
def draft(request: Request, visit: Annotated[who.Visit, who.visits(Deed.TRADE_LISTINGS)]) -> Response:
    """The form to publish a listing."""
    party_id = visit.actor.party_id or 0
    dealviews.allow(visit, "listing", "new")
    kind = standings.standing_of(visit.conn, party_id, visit.now).kind
    rules = desk.rules()
    today = markettime.day_of(visit.now)
    view = DraftView(
        units=listings.units_of(visit.conn, party_id, visit.now),
        may_sell=may_act(kind, dealviews.side_from("S")),
        may_buy=may_act(kind, dealviews.side_from("B")),
        first_month=f"{markettime.month_after(markettime.month_of(today)):%Y-%m}",
        price_min_ticks=rules.price_min_ticks,
        price_max_ticks=rules.price_max_ticks,
        ends=reply.local(visit.now + timedelta(days=3), "%Y-%m-%dT18:00"),
        parties=_names(visit, "", ()),
    )
    return reply.answer(request, visit, "listings/draft.html", view)


@router.get("/listings/parties", response_model=NamesView)
def parties(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.TRADE_LISTINGS)],
    find: Annotated[str, Query(max_length=60)] = "",
    named: Annotated[Sequence[PartyId], Query(max_length=NAMED_MAX)] = (),
) -> Response:
    """Parties that may trade, by name, for a listing that is directed to some of them."""
    dealviews.allow(visit, "listing", "new")
    view = NamesView(parties=_names(visit, find.strip().replace("\0", ""), named))
    return reply.answer(request, visit, "listings/_names.html", view)


@router.post("/listings", response_model=PublishedView)
def publish(
    request: Request,
    visit: Annotated[who.Visit, who.changes(Deed.TRADE_LISTINGS)],
    side: Box = "",
    unit: Short = "",
    month: Column = (),
    period: Column = (),
    mwh: Column = (),
    price: Column = (),
    environment: Column = (),
    starts: Short = "",
    ends: Short = "",
    min_take: Short = "",
    all_or_none: Box = "",
    sharing: Annotated[Sharing, Form()] = Sharing.TIME,
    remainder: Annotated[Remainder, Form()] = Remainder.LARGEST,
    above: Annotated[str, Form(pattern="^(clip|refuse)$")] = "clip",
    green: Box = "",
    kind: Column = (),
    named: Annotated[Sequence[PartyId], Form()] = (),
    note: Annotated[str, Form(max_length=desk.NOTE_MAX)] = "",
    client_key: Annotated[UUID | None, Form()] = None,
) -> Response:
    """Publish a listing: one or more lines of month x period, volume and price."""
    offer = Offer(
        visit.actor.party_id or 0,
        dealviews.side_from(side),
        dealviews.lines_from(Columns(month, period, mwh, price, environment)),
        dealviews.instant_from(starts) if starts else visit.now,
        dealviews.instant_from(ends),
        kwh_from(min_take) if min_take.strip() else 0,
        bool(all_or_none),
        sharing,
        remainder,
        above == "clip",
        bool(green),
        tuple(sorted({each for each in kind if each in _KINDS})),
        tuple(sorted(set(named))),
    )
    chosen = dealviews.own_unit(visit, unit)
    sent = desk.Publication(offer, chosen, note, client_key)
    listing_id = desk.publish(visit.conn, visit.actor, sent, visit.now)
    if reply.wants_json(request):
        return reply.as_json(PublishedView(listing_id=listing_id), 201)
    return RedirectResponse(f"/listings/{listing_id}", _SEE_OTHER)


@router.get("/listings/{listing_id}", response_model=OneView)
def one(
    request: Request, listing_id: ListingId, visit: Annotated[who.Visit, who.visits(Deed.SEE_LISTINGS)]
) -> Response:
    """A listing, what is left of it, the own takes (the lister's: all), and the form to take."""
    row = listings.find(visit.conn, listing_id)
    dealviews.allow(visit, "listing", str(listing_id))
    view = _one(visit, row)
    return reply.answer(request, visit, "listings/one.html", view)


@router.get("/listings/{listing_id}/now", response_model=OneView)
def one_now(
    request: Request, listing_id: ListingId, visit: Annotated[who.Visit, who.visits(Deed.SEE_LISTINGS)]
) -> Response:
    """What is left of a listing now, as a fragment that the page asks for while its stream is broken."""
    row = listings.find(visit.conn, listing_id)
    dealviews.allow(visit, "listing", str(listing_id))
    return reply.answer(request, visit, "listings/_left.html", _one(visit, row))


@router.get(
    "/listings/{listing_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "event `listing`: what is left, as JSON; then the changed parts of the page, as HTML",
        }
    },
)
def events(
    request: Request,
    listing_id: ListingId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_LISTINGS)],
    after: streaming.After = 0,
) -> StreamingResponse:
    """What is left of a listing and who took, as it happens."""

    def look(reader: who.Visit, seen: int) -> streaming.Look:
        row = listings.find(reader.conn, listing_id)
        dealviews.allow(reader, "listing", str(listing_id))
        return _seen_now(reader, row, seen)

    return streaming.streaming(request, visit, f"listing:{listing_id}", after, look)


@router.post("/listings/{listing_id}/takes", response_model=ReceiptView)
def take(
    request: Request,
    listing_id: ListingId,
    visit: Annotated[who.Visit, who.changes(Deed.TRADE_LISTINGS)],
    mwh: Column = (),
    price: Column = (),
    unit: Short = "",
    client_key: Annotated[UUID | None, Form()] = None,
) -> Response:
    """Take of a listing: MWh by line, and the prices by line that the taker saw (R274)."""
    row = listings.find(visit.conn, listing_id)
    dealviews.allow(visit, "listing", str(listing_id))
    lines = len(row.offer.lines)
    prices = tuple(ticks_from(each) for each in price) or tuple(line.price_ticks for line in row.offer.lines)
    sent = desk.TakeSent(
        dealviews.quantities_from(mwh, lines),
        prices,
        dealviews.own_unit(visit, unit),
        client_key,
    )
    receipt = desk.take(visit.conn, visit.actor, listing_id, sent, visit.now)
    if reply.wants_json(request):
        view = ReceiptView(
            receipt_no=receipt.receipt_no,
            listing_id=listing_id,
            kwh=receipt.kwh,
            got=receipt.got,
            contract_id=receipt.contract_id,
        )
        return reply.as_json(view, 201)
    return RedirectResponse(f"/listings/{listing_id}#{receipt.receipt_no}", _SEE_OTHER)


@router.post("/listings/{listing_id}/withdraw", response_class=RedirectResponse)
def withdraw(
    listing_id: ListingId, visit: Annotated[who.Visit, who.changes(Deed.TRADE_LISTINGS)]
) -> Response:
    """Withdraw what is left."""
    listings.find(visit.conn, listing_id)
    desk.withdraw(visit.conn, visit.actor, listing_id, visit.now)
    return RedirectResponse(f"/listings/{listing_id}", _SEE_OTHER)


@router.post("/listings/{listing_id}/reduce", response_class=RedirectResponse)
def reduce(
    listing_id: ListingId,
    visit: Annotated[who.Visit, who.changes(Deed.TRADE_LISTINGS)],
    mwh: Column = (),
) -> Response:
    """Give up part of what is left, in MWh by line."""
    row = listings.find(visit.conn, listing_id)
    by = dealviews.quantities_from(mwh, len(row.offer.lines))
    desk.reduce(visit.conn, visit.actor, listing_id, by, visit.now)
    return RedirectResponse(f"/listings/{listing_id}", _SEE_OTHER)


# ---- inside ----------------------------------------------------------------------------------------------

_FILTERS: Final = (
    "side",
    "month",
    "period",
    "text",
    "product",
    "price_min",
    "price_max",
    "mwh",
    "state",
    "whose",
)
_KINDS: Final = ("user", "retailer", "generator", "storage", "vpp")
_STATES: Final = ("open", "taken", "withdrawn", "expired", "cleared")


def _wanted(request: Request, visit: who.Visit) -> Wanted:
    asked = {name: request.query_params.get(name, "").strip()[:60].replace("\0", "") for name in _FILTERS}
    state = asked["state"]
    whose = asked["whose"]
    return Wanted(
        side=asked["side"] if asked["side"] in ("B", "S") else "",
        month=dealviews.month_from(asked["month"]) if asked["month"] else None,
        period=asked["period"],
        text=asked["text"],
        is_green={"green": True, "energy": False}.get(asked["product"]),
        price_min_ticks=ticks_from(asked["price_min"]) if asked["price_min"] else None,
        price_max_ticks=ticks_from(asked["price_max"]) if asked["price_max"] else None,
        kwh_min=kwh_from(asked["mwh"]) if asked["mwh"] else 0,
        state="" if state == "all" else state if state in _STATES else "open",
        party_id=visit.actor.party_id if whose == "mine" else None,
        taken_by_id=visit.actor.party_id if whose == "taken" else None,
    )


def _seen_now(visit: who.Visit, row: ListingRow, seen: int) -> streaming.Look:
    """The listing, and the parts of its page. The form stays while the same may be done with it."""
    view = _one(visit, row)
    news = () if view.seq == seen else (("listing", view.model_dump_json()),)
    parts = {
        name: streaming.Part(
            reply.fragment(visit.language, f"listings/_{name}.html", view=view, form_token=visit.csrf_token),
            f"{view.may_take} {row.state}" if name == "form" else "",
        )
        for name in ("left", "form", "takes")
    }
    return streaming.Look(view.seq, news, parts)


def _one(visit: who.Visit, row: ListingRow) -> OneView:
    party_id = visit.actor.party_id
    seq = listings.last_seq(visit.conn, row.listing_id)
    may_take = False
    units: tuple[str, ...] = ()
    if party_id is not None:
        standing = standings.standing_of(visit.conn, party_id, visit.now)
        units = listings.units_of(visit.conn, party_id, visit.now)
        may_take = (
            row.state == "open"
            and row.offer.starts_at <= visit.now < row.offer.ends_at
            and party_id != row.party_id
            and standing.is_admitted
            and may_act(standing.kind, opposite(row.offer.side))
            and (not row.offer.eligible_kinds or standing.kind in row.offer.eligible_kinds)
        )
    may_know = party_id in (None, row.party_id)
    named = listings.named(visit.conn, row.offer.eligible_ids) if may_know else ()
    return OneView(
        listing=dealviews.listing_view(row, party_id),
        takes=tuple(map(dealviews.take_view, listings.takes_of(visit.conn, row.listing_id))),
        may_take=may_take,
        units=units,
        named=tuple(name for _, name, _ in named),
        seq=seq,
    )


def _names(visit: who.Visit, text: str, chosen: Sequence[int]) -> tuple[NameView, ...]:
    """Those who are chosen stay, whatever is searched for."""
    kept = listings.named(visit.conn, chosen)
    found = listings.admitted(visit.conn, text, visit.actor.party_id or 0, _NAMES_MAX)
    others = [each for each in found if each not in kept]
    return tuple(
        NameView(party_id=party_id, name=name, kind=kind, is_chosen=is_chosen)
        for rows, is_chosen in ((kept, True), (others, False))
        for party_id, name, kind in rows
    )


def _neutral(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
