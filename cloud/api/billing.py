"""An account's bills, one bill with 怎么算的 on every line, and the bill to take away as PDF or JSON.

Page, PDF and JSON show one structure (`cloud.billing.document`); nothing is computed or formatted here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response

from cloud.api import reply, who
from cloud.billing import billjson
from cloud.billing.document import BillDocument, bill_document
from cloud.billing.document.around import Around, around_json, bill_file_text
from cloud.billing.facts import Bill
from cloud.billing.labels import Language
from cloud.billing.line import PERIODS, Period
from cloud.billing.run.print import bill_file_name, bill_pdf, signer_of
from cloud.billing.store import bills as kept
from cloud.billing.store import display as store
from cloud.errors import NotFound
from cloud.security import run as security
from cloud.security.access import Deed, Role, Subject

router = APIRouter(tags=["billing"])

_BIGINT_MAX: Final = 2**63 - 1


class NoBill(NotFound):
    """There is no such bill, or this person does not see it."""


class BillHeadView(reply.View):
    """A bill in a list."""

    bill_id: int
    month: date
    revision: int
    total_fen: int
    import_wh: int
    state: str
    made_at: datetime
    due_date: date | None


class BillsView(reply.View):
    """An account's bills, newest first."""

    account_id: str
    account_name: str
    bills: tuple[BillHeadView, ...]


class BillView(reply.View):
    """A bill: its number, and the bill itself in the schema shoudian-bill/1 (every line with its derivation)."""

    bill_id: int
    account_id: str
    state: str
    due_date: date | None
    bill: dict[str, Any]
    around: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Share:
    """A period's part of the energy bar, in per cent of its width."""

    period: Period
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Block:
    """One period's part of one day's bar, in per cent of the drawing."""

    period: Period
    x: float
    width: float
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One month's bar, in per cent of the drawing."""

    x: float
    width: float
    y: float
    height: float
    is_this: bool


@dataclass(frozen=True, slots=True)
class BillDrawing:
    """What the page of a bill shows: the printed document, the bar of shares, and a bar for each day."""

    document: BillDocument
    shares: tuple[Share, ...]
    blocks: tuple[Block, ...]
    months: tuple[Bar, ...]
    is_signed: bool


BillId = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]


@router.get("/accounts/{account_id}/bills", response_model=BillsView)
def bills(
    request: Request,
    account_id: who.AccountId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_BILLS)],
) -> Response:
    """The account's bills; customers see issued ones."""
    account = who.account_for(visit, account_id)
    rows = store.bills_of_account(visit.conn, account_id, with_drafts=_sees_drafts(visit))
    view = BillsView(account_id=account_id, account_name=account.name, bills=tuple(map(_head_view, rows)))
    return reply.answer(request, visit, "billing/bills.html", view, account_id=account_id)


@router.get("/bills/{bill_id}", response_model=BillView)
def bill(
    request: Request, bill_id: BillId, visit: Annotated[who.Visit, who.visits(Deed.SEE_BILLS)]
) -> Response:
    """One bill, every line with how it was computed."""
    row, found, around = _bill_for(visit, bill_id)
    view = BillView(
        bill_id=bill_id,
        account_id=row.account_id,
        state=row.state,
        due_date=row.due_date,
        bill=billjson.bill_json(found),
        around=around_json(around),
    )
    document = bill_document(found, Language(visit.language), around)
    is_signed = request.app.state.config.bill_signer.key_file is not None
    drawn = BillDrawing(document, _shares(found), _blocks(document), _months(document), is_signed)
    return reply.answer(request, visit, "billing/bill.html", view, account_id=row.account_id, drawing=drawn)


@router.get("/bills/{bill_id}/json", response_class=Response)
def bill_as_json(bill_id: BillId, visit: Annotated[who.Visit, who.visits(Deed.TAKE_BILL)]) -> Response:
    """The bill as a file for programs: the same text that is attached to its PDF."""
    _, found, around = _bill_for(visit, bill_id)
    return _download(
        bill_file_text(found, around).encode(), "application/json", bill_file_name(found, "json")
    )


@router.get(
    "/bills/{bill_id}/pdf",
    response_class=Response,
    responses={
        200: {"content": {"application/pdf": {}}, "description": "PDF/A-3 with the bill's JSON inside"}
    },
)
def bill_as_pdf(
    request: Request, bill_id: BillId, visit: Annotated[who.Visit, who.visits(Deed.TAKE_BILL)]
) -> Response:
    """The bill as PDF/A-3 with its JSON attached, in the language of the page, signed when there is a signer."""
    _, found, around = _bill_for(visit, bill_id)
    signer = signer_of(request.app.state.config.bill_signer)
    pdf = bill_pdf(found, Language(visit.language), around, signer)
    return _download(pdf, "application/pdf", bill_file_name(found, "pdf"))


def _bill_for(visit: who.Visit, bill_id: int) -> tuple[store.BillRow, Bill, Around]:
    """The bill, if the visitor may do this visit's deed to it. Raises NoBill, NotYours."""
    row = store.find_bill(visit.conn, bill_id, with_drafts=_sees_drafts(visit))
    if row is None:
        raise NoBill("not_found", kind="bill")
    subject = Subject("bill", str(bill_id), row.party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    found = kept.load(visit.conn, bill_id)
    return row, found, store.around(visit.conn, row, found)


def _sees_drafts(visit: who.Visit) -> bool:
    return visit.actor.role is Role.STAFF


def _head_view(row: store.BillRow) -> BillHeadView:
    return BillHeadView(
        bill_id=row.bill_id,
        month=row.month,
        revision=row.revision,
        total_fen=row.total_fen,
        import_wh=row.import_wh,
        state=row.state,
        made_at=row.made_at,
        due_date=row.due_date,
    )


def _months(document: BillDocument) -> tuple[Bar, ...]:
    highest = max((each.import_wh for each in document.months), default=0)
    if highest <= 0 or len(document.months) < 2:
        return ()
    place = 100 / len(document.months)
    return tuple(
        Bar((index + 0.14) * place, 0.72 * place, 100 - height, height, each.is_this)
        for index, each in enumerate(document.months)
        for height in (100 * max(0, each.import_wh) / highest,)
    )


def _shares(found: Bill) -> tuple[Share, ...]:
    kwh = [sum(each.kwh[index] for each in found.segments) for index in range(len(PERIODS))]
    whole = sum(kwh)
    shares, x = [], 0.0
    for period, part in zip(PERIODS, kwh, strict=True):
        width = float(part * 100 / whole) if whole else 0.0
        if width > 0:
            shares.append(Share(period, x, width))
        x += width
    return tuple(shares)


def _blocks(document: BillDocument) -> tuple[Block, ...]:
    highest = max((sum(day.import_wh) for day in document.days), default=0)
    if highest <= 0:
        return ()
    place = 100 / len(document.days)
    blocks = []
    for index, day in enumerate(document.days):
        top = 100.0
        for period, wh in zip(PERIODS, day.import_wh, strict=True):
            height = 100 * wh / highest
            top -= height
            blocks.append(Block(period, (index + 0.1) * place, 0.8 * place, top, height))
    return tuple(blocks)


def _download(content: bytes, media_type: str, name: str) -> Response:
    return Response(
        content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
