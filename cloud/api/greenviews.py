"""What the pages of green power show: certificates, sales, the money of sales, uses, and the ledger of the staff."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from cloud.api import reply
from cloud.market import certificates as gec
from cloud.market.store.certificates import EntryRow, PlaceRow
from cloud.market.store.greenaudit import AccountRow
from cloud.market.store.greensales import ClaimRow, SaleRow
from cloud.market.store.greenuses import RetirementRow


class CertificateView(reply.View):
    """A run of certificates, where it is and where from."""

    numbers: str
    mwh: int
    place: str
    plant: str
    energy: str
    month: date
    valid_to: date
    is_traded: bool
    is_tradable: bool


class SaleView(reply.View):
    """Certificates on offer."""

    sale_id: int
    seller: str
    price_yuan: str
    left_mwh: int
    mwh: int
    ends_at: datetime
    state: str
    months: tuple[date, ...]
    plants: tuple[str, ...]
    is_own: bool


class UseView(reply.View):
    """Certificates used up, with the number of the proof."""

    entry_id: int
    party: str
    proof_no: str
    used_by: str
    purpose: str
    first_month: date
    last_month: date
    mwh: int
    at: datetime


class EntryView(reply.View):
    """A move of certificates into an account."""

    entry_id: int
    kind: str
    account: str
    numbers: str
    mwh: int
    contract_id: str | None
    at: datetime


class ClaimView(reply.View):
    """The money of one purchase: + the visitor's party is owed it, - it owes it; for staff what moves."""

    entry_id: int
    sale_id: int
    day: date
    seller: str
    buyer: str
    mwh: int
    price_yuan: str
    amount_fen: int
    journal_id: int | None


class StatementView(reply.View):
    """What a party's (None: everybody's) purchases and sales of a month come to."""

    month: date
    party: str | None
    rows: tuple[ClaimView, ...]
    sold_fen: int
    bought_fen: int
    net_fen: int


class MineView(reply.View):
    """A party's green page."""

    sums: dict[str, int]
    use_mwh: int
    used_mwh: int
    share_percent: str | None
    certificates: tuple[CertificateView, ...]
    sales: tuple[SaleView, ...]
    uses: tuple[UseView, ...]
    entries: tuple[EntryView, ...]
    claims: tuple[ClaimView, ...]
    statement_months: tuple[date, ...]
    form_key: str


class BalanceView(reply.View):
    """An account of the ledger with its balance."""

    account: str
    party: str | None
    mwh: int


class MonthView(reply.View):
    """How a plant's month came to its certificates."""

    unit_id: str
    month: date
    generation_kwh: int
    mechanism_kwh: int
    issued_mwh: int
    carry_after_kwh: int
    source: str


class PlantView(reply.View):
    """A plant whose energy earns certificates."""

    unit_id: str
    party: str
    name: str
    energy: str
    is_tradable: bool
    document: str


class AheadView(reply.View):
    """A contract that was handed more certificates than it has settled by now."""

    contract_id: str
    settled_kwh: int
    handed_mwh: int


class DeskView(reply.View):
    """The whole ledger, for the staff."""

    sums: dict[str, int]
    balances: tuple[BalanceView, ...]
    doubts: dict[str, int]
    ahead: tuple[AheadView, ...]
    plants: tuple[PlantView, ...]
    months: tuple[MonthView, ...]
    sales: tuple[SaleView, ...]
    uses: tuple[UseView, ...]
    entries: tuple[EntryView, ...]
    claims: tuple[ClaimView, ...]
    statement_months: tuple[date, ...]
    last_month: date


class CheckView(reply.View):
    """Whether a proof stands, and for how much."""

    proof_no: str
    is_valid: bool
    mwh: int | None
    first_month: date | None
    last_month: date | None
    retired_on: date | None


@dataclass(frozen=True, slots=True)
class SumDrawing:
    """The places of certificates in the order of their life."""

    places: tuple[str, ...] = ("issued", "held", "locked", "retired", "expired")


def certificate_view(row: PlaceRow) -> CertificateView:
    """A run of certificates of a party."""
    return CertificateView(
        numbers=gec.span(row.holding.serials),
        mwh=row.mwh,
        place=row.account.partition("/")[0],
        plant=row.plant,
        energy=row.energy,
        month=row.month,
        valid_to=gec.last_valid_month(row.month),
        is_traded=row.is_traded,
        is_tradable=row.is_tradable,
    )


def sale_view(row: SaleRow, party_id: int | None) -> SaleView:
    """A sale as a visitor sees it."""
    return SaleView(
        sale_id=row.sale_id,
        seller=row.seller,
        price_yuan=str(Decimal(row.price_ticks).scaleb(-2)),
        left_mwh=row.left_mwh,
        mwh=row.mwh,
        ends_at=row.ends_at,
        state=row.state,
        months=tuple(row.months),
        plants=tuple(row.plants),
        is_own=row.seller_id == party_id,
    )


def use_view(row: RetirementRow) -> UseView:
    """A use with its proof."""
    return UseView(
        entry_id=row.entry_id,
        party=row.party_name,
        proof_no=row.proof_no,
        used_by=row.used_by,
        purpose=row.purpose,
        first_month=row.first_month,
        last_month=row.last_month,
        mwh=row.mwh,
        at=row.at,
    )


def entry_view(row: EntryRow) -> EntryView:
    """A move of certificates."""
    return EntryView(
        entry_id=row.entry_id,
        kind=row.kind,
        account=row.account,
        numbers=gec.span(gec.Serials(row.first, row.end)),
        mwh=row.mwh,
        contract_id=row.contract_id,
        at=row.at,
    )


def balance_view(row: AccountRow) -> BalanceView:
    """An account of the ledger."""
    return BalanceView(account=row.account, party=row.party_name, mwh=row.mwh)


def claim_view(row: ClaimRow, party_id: int | None, journals: Mapping[int, int]) -> ClaimView:
    """The money of a purchase as the seller (+), the buyer (-) or the staff sees it."""
    sign = -1 if row.buyer_id == party_id else 1
    return ClaimView(
        entry_id=row.entry_id,
        sale_id=row.sale_id,
        day=row.day,
        seller=row.seller,
        buyer=row.buyer,
        mwh=row.mwh,
        price_yuan=f"{Decimal(row.price_ticks).scaleb(-2):.2f}",
        amount_fen=sign * row.amount_fen,
        journal_id=journals.get(row.entry_id),
    )
