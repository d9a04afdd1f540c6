"""Shells of contract transfer 合同转让: propose, take over, consent; the parting is done in the transaction of the last consent.

Each of the three is a person who may sign for its party, proven a moment ago, and names the hash of the figures it saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloud import markettime
from cloud.contracts.contract import IN_FORCE, from_trade
from cloud.contracts.store import life, wholesale
from cloud.contracts.store.promised import promised_kwh
from cloud.contracts.terms import WholesaleTerms
from cloud.db import Conn, Pool, ProcessRole, Scope, transaction
from cloud.errors import Conflict, Forbidden, Invalid, NotNow
from cloud.lives import step
from cloud.market.auction import Side
from cloud.market.offering import may_act
from cloud.market.store import listings, negotiations
from cloud.market.store.negotiations import NewTransfer, TransferEvent, TransferRow
from cloud.market.transfer import TRANSFER, check, parted, terms_sha256
from cloud.notices import Notice, post
from cloud.parties.guaranteefile import rule_from
from cloud.parties.store import credits, standings
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import Session, actor_name, allow, demand_step_up, may_sign_for

CLOCK: Final = Scope(ProcessRole.WORKER, actor="job:transfers")
LASTS: Final = timedelta(days=14)
REASON_MAX: Final = 1000


class NotAdmitted(Forbidden):
    """Only parties whose registration is in force take over contracts, on a side that their kind may take."""


class NotASigner(Forbidden):
    """Only who may sign for the party transfers, takes over or consents for it."""


class NotYourTurn(Forbidden):
    """The deed is another's of the three."""


class BadProposal(Invalid):
    """A transfer cannot be proposed like this."""


class OverLimit(NotNow):
    """The transferee would contract more than its credit grade lets it."""


class NotInForce(NotNow):
    """The contract is not in force, frozen by a dispute, or has another version by now."""


class OtherFigures(Conflict):
    """What this person saw is not what is proposed."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be handed over: of which contract, to whom, how many kWh of each volume, and why."""

    contract_id: str
    to_id: int
    kwh: tuple[int, ...]
    reason: str


def propose(conn: Conn, session: Session, sent: Proposal, now: datetime) -> int:
    """Propose to hand over part of an own contract; return the transfer's number.

    Raises StepUpNeeded, NotASigner, NotInForce, BadTransfer, NotAdmitted, BadProposal.
    """
    actor = session.actor
    allow(conn, actor, Deed.NEGOTIATE, Subject("contract_transfer", "new", actor.party_id), now)
    party_id = _authorised(conn, session, now)
    row, terms = _in_force(conn, sent.contract_id)
    side = row.side_of(party_id)
    if not side:
        raise life.NoContract("not_found", kind="contract")
    other_id = row.buyer_id if side == "seller" else row.seller_id
    if sent.to_id in (party_id, other_id):
        raise BadProposal("transfer_to_itself")
    if not 0 < len(sent.reason.strip()) <= REASON_MAX:
        raise BadProposal("text_missing", longest=REASON_MAX)
    _gate(conn, sent.to_id, side, now)
    check(terms, sent.kwh, markettime.day_of(now))
    new = NewTransfer(
        sent.contract_id,
        terms.version,
        side,
        (party_id, sent.to_id, other_id),
        sent.kwh,
        sent.reason.strip(),
        terms_sha256(terms, side, sent.kwh, sent.to_id),
        now + LASTS,
    )
    number = negotiations.insert_transfer(conn, new, now, actor_name(actor))
    first = step(TRANSFER, None, "propose")
    told = TransferEvent("propose", "", first, party_id, actor_name(actor), now, new.reason)
    negotiations.note_transfer(conn, number, told)
    _tell(conn, negotiations.find_transfer(conn, number), "propose", party_id, now)
    return number


def take_over(conn: Conn, session: Session, transfer_id: int, seen: tuple[str, str], now: datetime) -> None:
    """Let the transferee agree; `seen` is (hash of the figures, unit that takes over). Raises NotYourTurn, OtherFigures."""
    actor = session.actor
    allow(conn, actor, Deed.NEGOTIATE, Subject("contract_transfer", str(transfer_id), actor.party_id), now)
    party_id = _authorised(conn, session, now)
    row = _open(conn, actor, transfer_id, now)
    sha256, unit_id = seen
    if party_id != row.to_id:
        raise NotYourTurn("not_your_turn", deed="take_over")
    step(TRANSFER, row.state, "take_over")
    _check_seen(row, sha256)
    _gate(conn, party_id, row.side, now)
    if unit_id not in listings.units_of(conn, party_id, now):
        raise BadProposal("unknown_unit", unit=unit_id[:40])
    _hold_to_limit(conn, party_id, sum(row.kwh), now)
    if row.side == "buyer":
        rule = rule_from(credits.active_body(conn, "guarantee"))
        bond_fen = standings.bond_fen(conn, rule, party_id, sum(row.kwh), now)
        standings.reserve(conn, party_id, bond_fen, _key(row), now)
    _move(conn, row, (actor, "take_over", ""), now, unit_id)


def _hold_to_limit(conn: Conn, party_id: int, kwh: int, now: datetime) -> None:
    """Hold what a transferee takes to what its grade lets it contract in this month. Raises OverLimit."""
    limit_kwh = standings.standing_of(conn, party_id, now).limit_kwh
    if limit_kwh is None:
        return
    standings.lock_limit(conn, party_id)
    since = markettime.slot_start(markettime.month_of(markettime.day_of(now)), 0)
    if promised_kwh(conn, party_id, since) + kwh > limit_kwh:
        raise OverLimit("transfer_over_limit", limit=str(limit_kwh))


def consent(conn: Conn, session: Session, transfer_id: int, sha256: str, now: datetime) -> str:
    """Let the counterparty consent: the contract is parted now. Returns the new contract's number.

    Raises NotYourTurn, OtherFigures, NotInForce, BadTransfer.
    """
    actor = session.actor
    allow(conn, actor, Deed.NEGOTIATE, Subject("contract_transfer", str(transfer_id), actor.party_id), now)
    party_id = _authorised(conn, session, now)
    row = _open(conn, actor, transfer_id, now)
    if party_id != row.other_id:
        raise NotYourTurn("not_your_turn", deed="consent")
    step(TRANSFER, row.state, "consent")
    _check_seen(row, sha256)
    contract, terms = _in_force(conn, row.contract_id)
    if terms.version != row.from_version or terms_sha256(terms, row.side, row.kwh, row.to_id) != sha256:
        raise NotInForce("transfer_stale", contract=row.contract_id)
    check(terms, row.kwh, markettime.day_of(now))
    _gate(conn, row.to_id, row.side, now)
    day = markettime.day_of(now)
    document = f"transfer {row.transfer_id} sha256 {sha256}"
    left, given = parted(terms, row.side, row.kwh, row.to_unit, (row.new_contract_id, day, document))
    by = actor_name(actor)
    wholesale.put(conn, left, by, now)
    facts = {"to": row.to_id, "contract": given.contract_id, "kwh": sum(row.kwh)}
    told = life.Event("transfer", now, by, row.reason, document=sha256, facts=facts)
    life.move(conn, contract, told, version=left.version)
    wholesale.put(conn, given, by, now)
    life.insert(conn, from_trade(given, f"transfer:{row.transfer_id}"), now, by)
    _move(conn, row, (actor, "consent", ""), now)
    return given.contract_id


def end(conn: Conn, actor: Actor, at: tuple[int, str], reason: str, now: datetime) -> None:
    """Withdraw the own proposal, or decline it as one of the other two; `at` is (transfer, deed). Raises NotYourTurn."""
    allow(conn, actor, Deed.NEGOTIATE, Subject("contract_transfer", str(at[0]), actor.party_id), now)
    transfer_id, deed = at
    row = _open(conn, actor, transfer_id, now)
    if deed not in ("withdraw", "decline") or (deed == "withdraw") != (actor.party_id == row.from_id):
        raise NotYourTurn("not_your_turn", deed=deed[:20])
    if not 0 < len(reason.strip()) <= REASON_MAX:
        raise BadProposal("text_missing", longest=REASON_MAX)
    _move(conn, row, (actor, deed, reason.strip()), now)


def ring(pool: Pool, now: datetime) -> int:
    """End transfers whose time is over, and free what was bound for any that came to nothing; return how many ended."""
    with transaction(pool, CLOCK) as conn:
        due = negotiations.due_transfers(conn, now)
        for row in negotiations.failed_transfers(conn, now - LASTS - LASTS):
            standings.release(conn, _key(row), now)
    for transfer_id in due:
        with transaction(pool, CLOCK) as conn:
            negotiations.lock_transfer(conn, transfer_id)
            row = negotiations.find_transfer(conn, transfer_id)
            if row.expires_at <= now and row.state in ("proposed", "taken_over"):
                after = step(TRANSFER, row.state, "expire")
                told = TransferEvent("expire", row.state, after, None, CLOCK.actor, now, "")
                negotiations.move_transfer(conn, row, told)
                standings.release(conn, _key(row), now)
                _tell(conn, row, "expire", None, now)
    return len(due)


def transferable(conn: Conn, contract_id: str) -> WholesaleTerms:
    """The terms in force of a contract that this transaction sees. Raises NotInForce, NoContract."""
    return _in_force(conn, contract_id)[1]


# ---- inside ----------------------------------------------------------------------------------------------


def _in_force(conn: Conn, contract_id: str) -> tuple[life.ContractRow, WholesaleTerms]:
    row = life.find(conn, contract_id, is_locked=True)
    terms = wholesale.find(conn, contract_id, row.version)
    if row.state not in IN_FORCE or row.is_frozen or terms is None:
        raise NotInForce("transfer_not_in_force", contract=contract_id)
    return row, terms


def _open(conn: Conn, actor: Actor, transfer_id: int, now: datetime) -> TransferRow:
    negotiations.lock_transfer(conn, transfer_id)
    row = negotiations.find_transfer(conn, transfer_id)
    if actor.party_id not in (row.from_id, row.to_id, row.other_id):
        raise negotiations.NoRoom("not_found", kind="contract_transfer")
    if row.state in ("proposed", "taken_over") and row.expires_at <= now:
        raise NotInForce("transfer_over")
    return row


def _authorised(conn: Conn, session: Session, now: datetime) -> int:
    actor = session.actor
    if actor.party_id is None or not may_sign_for(conn, actor, actor.party_id, now):
        raise NotASigner("not_a_signer")
    demand_step_up(conn, session, now)
    return actor.party_id


def _gate(conn: Conn, party_id: int, side: str, now: datetime) -> None:
    standing = standings.standing_of(conn, party_id, now)
    if not standing.is_admitted:
        raise NotAdmitted("trader_not_admitted")
    if not may_act(standing.kind, Side.SELL if side == "seller" else Side.BUY):
        raise NotAdmitted("wrong_side")


def _check_seen(row: TransferRow, sha256: str) -> None:
    if row.terms_sha256 != sha256:
        raise OtherFigures("transfer_other_figures")


def _move(
    conn: Conn, row: TransferRow, done: tuple[Actor, str, str], now: datetime, to_unit: str = ""
) -> None:
    actor, deed, reason = done
    after = step(TRANSFER, row.state, deed)
    told = TransferEvent(deed, row.state, after, actor.party_id, actor_name(actor), now, reason)
    negotiations.move_transfer(conn, row, told, to_unit)
    _tell(conn, row, deed, actor.party_id, now)


def _tell(conn: Conn, row: TransferRow, deed: str, by: int | None, now: datetime) -> None:
    for party_id in (row.from_id, row.to_id, row.other_id):
        if party_id != by:
            facts = {"contract": row.contract_id, "transfer": str(row.transfer_id)}
            key = f"transfer:{row.transfer_id}:{deed}:{party_id}"
            post(conn, Notice(party_id, f"transfer.{deed}", facts, f"/transfers/{row.transfer_id}", key), now)


def _key(row: TransferRow) -> str:
    return f"transfer:{row.transfer_id}"
