"""Contract transfer 合同转让: propose, take over, consent, or end it; each sees the figures and their hash first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from cloud import markettime
from cloud.api import dealviews, reply, who
from cloud.api.dealviews import LineView, TransferView
from cloud.contracts.contract import IN_FORCE
from cloud.contracts.store import life, wholesale
from cloud.contracts.terms import Volume
from cloud.market.run import handover
from cloud.market.store import listings, negotiations
from cloud.market.store.negotiations import TransferRow
from cloud.security.access import Deed, Role

router = APIRouter(tags=["transfers"])

_SEE_OTHER: Final = 303
_INT_MAX: Final = 2**31 - 1
TransferId = Annotated[int, Path(ge=1, le=_INT_MAX)]
Sha256 = Annotated[str, Form(pattern="^[0-9a-f]{64}$")]
Reason = Annotated[str, Form(max_length=1000)]


class TransfersView(reply.View):
    """The visitor's transfers, and the contracts that may be handed over."""

    transfers: tuple[TransferView, ...]
    contracts: tuple[str, ...]
    is_trader: bool


class ProposalView(reply.View):
    """A contract with what may still be handed over, and to whom."""

    contract_id: str
    version: int
    lines: tuple[LineView, ...]
    is_movable: tuple[bool, ...]
    parties: tuple[tuple[int, str, str], ...]


class ProposedView(reply.View):
    """The number of a transfer."""

    transfer_id: int


class DoneView(reply.View):
    """The contract that a transfer made."""

    contract_id: str


@router.get("/transfers", response_model=TransfersView)
def transfers(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_NEGOTIATIONS)]) -> Response:
    """The visitor's transfers (who oversees: all), the latest first."""
    party_id = visit.actor.party_id
    dealviews.allow(visit, "contract_transfer", "all")
    own = () if party_id is None else life.of_parties(visit.conn, party_id)
    view = TransfersView(
        transfers=tuple(_view(visit, row) for row in negotiations.transfers_of(visit.conn, party_id)),
        contracts=tuple(row.contract_id for row in own if row.state in IN_FORCE and row.agreed is not None),
        is_trader=visit.actor.role is Role.CUSTOMER,
    )
    return reply.answer(request, visit, "transfers/transfers.html", view)


@router.get("/transfers/new", response_model=ProposalView)
def draft(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.NEGOTIATE)],
    contract: Annotated[str, Query(max_length=64)],
) -> Response:
    """The form to hand over part of a contract in force."""
    row = life.find(visit.conn, contract)
    dealviews.allow(visit, "contract", contract, row.parties)
    terms = handover.transferable(visit.conn, contract)
    first = markettime.month_after(markettime.month_of(markettime.day_of(visit.now)))
    view = ProposalView(
        contract_id=contract,
        version=terms.version,
        lines=tuple(map(_line, terms.volumes)),
        is_movable=tuple(volume.month >= first and volume.kwh > 0 for volume in terms.volumes),
        parties=tuple(
            each
            for each in listings.admitted(visit.conn, "", visit.actor.party_id)
            if each[0] not in row.parties
        ),
    )
    return reply.answer(request, visit, "transfers/draft.html", view)


@router.post("/transfers", response_model=ProposedView)
def propose(
    request: Request,
    visit: Annotated[who.Visit, who.changes(Deed.NEGOTIATE)],
    contract: Annotated[str, Form(max_length=64)] = "",
    to: Annotated[int, Form(ge=0, le=2**63 - 1)] = 0,
    mwh: Annotated[Sequence[str], Form()] = (),
    reason: Reason = "",
) -> Response:
    """Propose to hand over MWh of each volume of an own contract."""
    terms = handover.transferable(visit.conn, contract)
    kwh = dealviews.quantities_from(mwh, len(terms.volumes))
    sent = handover.Proposal(contract, to, kwh, reason)
    number = handover.propose(visit.conn, visit.session, sent, visit.now)
    if reply.wants_json(request):
        return reply.as_json(ProposedView(transfer_id=number), 201)
    return RedirectResponse(f"/transfers/{number}", _SEE_OTHER)


@router.get("/transfers/{transfer_id}", response_model=TransferView)
def transfer(
    request: Request, transfer_id: TransferId, visit: Annotated[who.Visit, who.visits(Deed.SEE_NEGOTIATIONS)]
) -> Response:
    """A transfer: who hands what over to whom, how far it is, and what this visitor may do."""
    view = _view(visit, _found(visit, transfer_id))
    return reply.answer(request, visit, "transfers/transfer.html", view)


@router.post("/transfers/{transfer_id}/take-over", response_class=RedirectResponse)
def take_over(
    transfer_id: TransferId,
    visit: Annotated[who.Visit, who.changes(Deed.NEGOTIATE)],
    sha256: Sha256,
    unit: Annotated[str, Form(max_length=60)] = "",
) -> Response:
    """Take over, as the transferee, exactly these figures."""
    _found(visit, transfer_id)
    chosen = dealviews.own_unit(visit, unit)
    handover.take_over(visit.conn, visit.session, transfer_id, (sha256, chosen), visit.now)
    return RedirectResponse(f"/transfers/{transfer_id}", _SEE_OTHER)


@router.post("/transfers/{transfer_id}/consent", response_model=DoneView)
def consent(
    request: Request,
    transfer_id: TransferId,
    visit: Annotated[who.Visit, who.changes(Deed.NEGOTIATE)],
    sha256: Sha256,
) -> Response:
    """Consent, as the counterparty, to exactly these figures: the contract is parted now."""
    _found(visit, transfer_id)
    contract_id = handover.consent(visit.conn, visit.session, transfer_id, sha256, visit.now)
    if reply.wants_json(request):
        return reply.as_json(DoneView(contract_id=contract_id), 201)
    return RedirectResponse(f"/transfers/{transfer_id}", _SEE_OTHER)


@router.post("/transfers/{transfer_id}/{deed}", response_class=RedirectResponse)
def end(
    transfer_id: TransferId,
    deed: Annotated[str, Path(max_length=20)],
    visit: Annotated[who.Visit, who.changes(Deed.NEGOTIATE)],
    reason: Reason = "",
) -> Response:
    """Withdraw the own proposal, or decline."""
    _found(visit, transfer_id)
    handover.end(visit.conn, visit.actor, (transfer_id, deed), reason, visit.now)
    return RedirectResponse(f"/transfers/{transfer_id}", _SEE_OTHER)


# ---- inside ----------------------------------------------------------------------------------------------


def _found(visit: who.Visit, transfer_id: int) -> TransferRow:
    row = negotiations.find_transfer(visit.conn, transfer_id)
    dealviews.allow(visit, "contract_transfer", str(transfer_id), (row.from_id, row.to_id, row.other_id))
    return row


def _view(visit: who.Visit, row: TransferRow) -> TransferView:
    terms = wholesale.find(visit.conn, row.contract_id, row.from_version)
    lines = () if terms is None else tuple(map(_line, terms.volumes))
    events = negotiations.transfer_events(visit.conn, row.transfer_id)
    party_id = visit.actor.party_id
    view = dealviews.transfer_view(row, lines, events, party_id)
    return view.model_copy(update={"units": dealviews.own_units(visit)}) if "take_over" in view.may else view


def _line(volume: Volume) -> LineView:
    return LineView(
        month=volume.month,
        period=volume.period,
        kwh=volume.kwh,
        price_ticks=int(volume.price_yuan_per_mwh * 100),
        environment_ticks=int(volume.environment_yuan_per_mwh * 100),
    )
