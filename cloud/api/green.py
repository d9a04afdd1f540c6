"""Green power: a party's certificates, sales and proofs; the desk of the staff; and the public check of a proof."""

from __future__ import annotations

import csv
import io
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import RedirectResponse

from cloud import db, markettime
from cloud.api import greenpaper, greenviews, reply, who
from cloud.api.greenviews import (
    AheadView,
    CheckView,
    ClaimView,
    DeskView,
    MineView,
    MonthView,
    PlantView,
    StatementView,
    SumDrawing,
)
from cloud.billing.run import greenmoney
from cloud.billing.store import bookings
from cloud.errors import Invalid, NotFound
from cloud.market.run import green as desk
from cloud.market.store import certificates as store
from cloud.market.store import greenaudit, greenfacts, greensales, greenuses, members
from cloud.market.store.certificates import PlantRow
from cloud.market.store.greensales import NewSale
from cloud.money import yuan
from cloud.security import run as security
from cloud.security.access import Deed, Role, Subject

router = APIRouter(tags=["green"])

_BIGINT_MAX: Final = 2**63 - 1
_MONTH: Final = "^[0-9]{4}-(0[1-9]|1[0-2])$"
_DAYS_MAX: Final = 90
Id = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Short = Annotated[str, Form(max_length=60)]
Text = Annotated[str, Form(max_length=300)]


class NoUse(NotFound):
    """There is no such use of certificates, or it is not the visitor's."""


class BadNumber(Invalid):
    """A number or a month of the form cannot be read."""


@router.get("/green", response_model=None)
def green(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_GREEN)]) -> Response:
    """Certificates: of the visitor's party with its green share; for staff the whole ledger."""
    party_id = visit.actor.party_id
    subject = Subject("green", str(party_id or "all"), party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    if visit.actor.role is Role.STAFF:
        return reply.answer(request, visit, "green/desk.html", _desk(visit), drawing=SumDrawing())
    assert party_id is not None
    return reply.answer(request, visit, "green/mine.html", _mine(visit, party_id), drawing=SumDrawing())


@router.get("/green/statements/{month}", response_model=StatementView)
def statement(
    request: Request,
    month: Annotated[str, Path(pattern=_MONTH)],
    visit: Annotated[who.Visit, who.visits(Deed.SEE_GREEN)],
) -> Response:
    """What the certificates that a party bought and sold in a month come to; for staff of everybody."""
    view = _statement(visit, markettime.month_from(month))
    return reply.answer(request, visit, "green/statement.html", view)


@router.get("/green/statements/{month}/csv", response_class=Response)
def statement_csv(
    month: Annotated[str, Path(pattern=_MONTH)],
    visit: Annotated[who.Visit, who.visits(Deed.SEE_GREEN)],
) -> Response:
    """The same as a table."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    head = ("entry", "day", "seller", "buyer", "mwh", "price_yuan", "amount_yuan", "journal")
    writer.writerow(head)
    for row in _statement(visit, markettime.month_from(month)).rows:
        writer.writerow(
            (
                *(row.entry_id, row.day, row.seller, row.buyer, row.mwh, row.price_yuan),
                *(yuan(row.amount_fen), row.journal_id or ""),
            )
        )
    name = f'attachment; filename="green-{month}.csv"'
    return Response(
        out.getvalue(), media_type="text/csv; charset=utf-8", headers={"Content-Disposition": name}
    )


@router.post("/green/sales", response_class=RedirectResponse)
def offer(
    visit: Annotated[who.Visit, who.changes(Deed.TRADE_GREEN)],
    mwh: Short = "",
    price: Short = "",
    buyer: Short = "",
    days: Short = "7",
    key: Short = "",
) -> Response:
    """Put certificates on offer, to anybody or to one party."""
    assert visit.actor.party_id is not None
    open_days = _whole(days)
    if not 0 < open_days <= _DAYS_MAX:
        raise BadNumber("green_bad_number", found=days)
    sale = NewSale(
        visit.actor.party_id,
        _whole(buyer) if buyer.strip() else None,
        _whole(mwh),
        _ticks(price),
        visit.now + timedelta(days=open_days),
        key,
    )
    desk.offer(visit.conn, visit.actor, sale, visit.now)
    return RedirectResponse("/green#sales", 303)


@router.post("/green/sales/{sale_id}/take", response_class=RedirectResponse)
def take(
    sale_id: Id,
    visit: Annotated[who.Visit, who.changes(Deed.TRADE_GREEN)],
    mwh: Short = "",
    key: Short = "",
) -> Response:
    """Buy of a sale."""
    desk.take(visit.conn, visit.actor, sale_id, _whole(mwh), key, visit.now)
    return RedirectResponse("/green", 303)


@router.post("/green/sales/{sale_id}/withdraw", response_class=RedirectResponse)
def withdraw(sale_id: Id, visit: Annotated[who.Visit, who.changes(Deed.TRADE_GREEN)]) -> Response:
    """Give up what is left of one's own sale."""
    desk.withdraw(visit.conn, visit.actor, sale_id, visit.now)
    return RedirectResponse("/green#sales", 303)


@router.post("/green/uses", response_class=RedirectResponse)
def use(
    visit: Annotated[who.Visit, who.changes(Deed.TRADE_GREEN)],
    mwh: Short = "",
    used_by: Text = "",
    purpose: Text = "",
    first_month: Short = "",
    last_month: Short = "",
    key: Short = "",
) -> Response:
    """Use certificates up for a named user, purpose and months."""
    told = desk.Use(used_by, purpose, _month(first_month), _month(last_month))
    desk.retire(visit.conn, visit.actor, _whole(mwh), told, key, visit.now)
    return RedirectResponse("/green#uses", 303)


@router.get("/green/uses/{entry_id}/pdf", response_class=Response)
def proof(
    request: Request, entry_id: Id, visit: Annotated[who.Visit, who.visits(Deed.SEE_GREEN)]
) -> Response:
    """The proof of a use on paper."""
    found = greenuses.retirement(visit.conn, entry_id)
    if found is None:
        raise NoUse("not_found", kind="green_use")
    subject = Subject("green_use", str(entry_id), found.party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    rows = store.used_places(visit.conn, entry_id)
    url = request.app.state.config.public_url or str(request.base_url)
    body = greenpaper.proof_pdf(visit.language, found, rows, url)
    name = f'attachment; filename="{found.proof_no}.pdf"'
    return Response(body, media_type="application/pdf", headers={"Content-Disposition": name})


@router.get("/green/check/{proof_no}", response_model=CheckView)
def check(
    request: Request,
    proof_no: Annotated[str, Path(pattern="^[A-Z0-9-]{20,40}$")],
    guest: Annotated[who.Guest, who.guests(Deed.CHECK_PROOF)],
) -> Response:
    """Whether a proof stands, for anybody: nothing about who used it."""
    with db.transaction(request.app.state.pool, who.nobody()) as conn:
        found = greenuses.proof(conn, proof_no)
    view = CheckView(
        proof_no=proof_no,
        is_valid=found is not None,
        mwh=None if found is None else found[0],
        first_month=None if found is None else found[1],
        last_month=None if found is None else found[2],
        retired_on=None if found is None else found[3],
    )
    if reply.wants_json(request):
        return reply.as_json(view)
    return reply.page(request, guest.language, "green/check.html", view=view)


@router.post("/green/plants", response_class=RedirectResponse)
def enter_plant(
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_GREEN)],
    unit: Short = "",
    name: Text = "",
    energy: Short = "wind",
    tradable: Short = "",
    document: Text = "",
) -> Response:
    """Enter a plant whose energy earns certificates."""
    party_id = greenfacts.party_of(visit.conn, unit.strip())
    is_told = 0 < len(name.strip()) <= 200 and 0 < len(document.strip()) <= 200
    if (
        party_id is None
        or energy not in ("wind", "solar", "hydro", "biomass", "geothermal", "ocean")
        or not is_told
    ):
        raise BadNumber("green_bad_number", found=unit)
    plant = PlantRow(unit.strip(), party_id, "", name.strip(), energy, tradable == "yes", document.strip())
    desk.enter_plant(visit.conn, visit.actor, plant, visit.now)
    return RedirectResponse("/green#plants", 303)


@router.post("/green/months/{month}/{deed}", response_class=RedirectResponse)
def month_deed(
    month: Annotated[str, Path(pattern=_MONTH)],
    deed: str,
    visit: Annotated[who.Visit, who.changes(Deed.DIRECT_GREEN)],
) -> Response:
    """Issue a month's certificates, or hand over those of its settled green contracts."""
    first = markettime.month_from(month)
    if deed == "issue":
        desk.issue_month(visit.conn, first, visit.actor, visit.now)
    elif deed == "allot":
        desk.allot_month(visit.conn, first, visit.actor, visit.now)
    else:
        raise NoUse("not_found", kind="deed")
    return RedirectResponse("/green#months", 303)


# ---- views -----------------------------------------------------------------------------------------------


def _claims(visit: who.Visit, month: date | None = None) -> tuple[ClaimView, ...]:
    days = None if month is None else (month, markettime.month_after(month))
    party_id = visit.actor.party_id
    found = greensales.claims(visit.conn, party_id, days)
    keys = {greenmoney.key_of(each.entry_id): each.entry_id for each in found}
    journals = {keys[key]: number for key, number in bookings.ids_of(visit.conn, list(keys)).items()}
    return tuple(greenviews.claim_view(each, party_id, journals) for each in found)


def _statement(visit: who.Visit, month: date) -> StatementView:
    party_id = visit.actor.party_id
    subject = Subject("green", str(party_id or "all"), party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    rows = _claims(visit, month)
    is_staff = visit.actor.role is Role.STAFF
    sold = sum(each.amount_fen for each in rows if each.amount_fen > 0)
    bought = sold if is_staff else -sum(each.amount_fen for each in rows if each.amount_fen < 0)
    party = None if party_id is None else members.find_party(visit.conn, party_id)
    return StatementView(
        month=month,
        party=None if party is None else party.name,
        rows=rows,
        sold_fen=sold,
        bought_fen=bought,
        net_fen=sold - bought,
    )


def _mine(visit: who.Visit, party_id: int) -> MineView:
    conn = visit.conn
    rows = store.places_of(conn, party_id)
    month = markettime.month_of(markettime.day_of(visit.now))
    since = markettime.month_after(month, -11)
    uses = greenuses.retirements(conn, party_id)
    use_mwh = greenfacts.accounts_use_kwh(conn, party_id, since, markettime.month_after(month)) // 1000
    used_mwh = sum(each.mwh for each in uses if each.last_month >= since)
    sums: dict[str, int] = {}
    for row in rows:
        place = row.account.partition("/")[0]
        sums[place] = sums.get(place, 0) + row.mwh
    return MineView(
        sums=sums,
        use_mwh=use_mwh,
        used_mwh=used_mwh,
        share_percent=None if use_mwh == 0 else f"{min(Decimal(100), Decimal(100) * used_mwh / use_mwh):.1f}",
        certificates=tuple(map(greenviews.certificate_view, rows)),
        sales=tuple(greenviews.sale_view(each, party_id) for each in greensales.sales(conn, party_id)),
        uses=tuple(map(greenviews.use_view, uses)),
        entries=tuple(map(greenviews.entry_view, store.entries_of(conn, party_id))),
        claims=_claims(visit),
        statement_months=greensales.claim_months(conn, party_id),
        form_key=f"{visit.now:%Y%m%d%H%M%S%f}",
    )


def _desk(visit: who.Visit) -> DeskView:
    conn = visit.conn
    balances = greenaudit.balances(conn)
    sums: dict[str, int] = {}
    for row in balances:
        place = row.account.partition("/")[0]
        sums[place] = sums.get(place, 0) + (-row.mwh if place == "issued" else row.mwh)
    month = markettime.month_of(markettime.day_of(visit.now))
    return DeskView(
        sums=sums,
        balances=tuple(map(greenviews.balance_view, balances)),
        doubts=dict(greenaudit.doubts(conn)),
        ahead=tuple(
            AheadView(contract_id=contract, settled_kwh=kwh, handed_mwh=mwh)
            for contract, kwh, mwh in greenfacts.ahead(conn)
        ),
        plants=tuple(
            PlantView(
                unit_id=each.unit_id,
                party=each.party_name,
                name=each.name,
                energy=each.energy,
                is_tradable=each.is_tradable,
                document=each.document,
            )
            for each in store.plants(conn)
        ),
        months=tuple(
            MonthView(
                unit_id=each.unit_id,
                month=each.month,
                generation_kwh=each.generation_kwh,
                mechanism_kwh=each.mechanism_kwh,
                issued_mwh=each.issued_mwh,
                carry_after_kwh=each.carry_after_kwh,
                source=each.source,
            )
            for each in reversed(store.months(conn))
        ),
        sales=tuple(greenviews.sale_view(each, None) for each in greensales.sales(conn, None)),
        uses=tuple(map(greenviews.use_view, greenuses.retirements(conn, None))),
        entries=tuple(map(greenviews.entry_view, store.entries_of(conn, None)))[:100],
        claims=_claims(visit)[:100],
        statement_months=greensales.claim_months(conn, None),
        last_month=markettime.month_after(month, -1),
    )


def _whole(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise BadNumber("green_bad_number", found=text[:30])
    return int(text)


def _ticks(text: str) -> int:
    try:
        ticks = Decimal(text.strip()).scaleb(2)
    except InvalidOperation:
        raise BadNumber("green_bad_number", found=text[:30]) from None
    if not ticks.is_finite() or ticks != int(ticks) or not 0 <= ticks <= 10**9:
        raise BadNumber("green_bad_number", found=text[:30])
    return int(ticks)


def _month(text: str) -> date:
    try:
        return markettime.month_from(text.strip())
    except ValueError:
        raise BadNumber("green_bad_number", found=text[:30]) from None
