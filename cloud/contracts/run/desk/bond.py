"""What a contract binds of its buyer's guarantee, and how far both sides may contract.

Looked at whenever its terms are confirmed or signed, bound with the last signature, and bound anew when it comes into force
or is amended; what its guarantee does not cover then is held. What a room agreed is bound since the agreement.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cloud import markettime
from cloud.contracts import delivery, document
from cloud.contracts.contract import STUDIO, Purpose
from cloud.contracts.run.desk.ask import Ask
from cloud.contracts.run.desk.check import cooling_hours, latest_terms
from cloud.contracts.store import life
from cloud.contracts.store.life import ContractRow
from cloud.contracts.store.papers import PaperRow
from cloud.contracts.store.promised import promised_kwh
from cloud.contracts.terms import KWH_PER_MWH, Volume, WholesaleTerms
from cloud.db import Conn, ProcessRole, Scope, take_scope
from cloud.errors import NotNow
from cloud.parties.guarantee import agreed_purpose, contract_purpose
from cloud.parties.guaranteefile import rule_from
from cloud.parties.store import credits, standings

LAPSES = frozenset(
    {"decline", "expire"}
)  # after which what a room agreed is neither bound nor counted any more


class GuaranteeShort(NotNow):
    """The buyer's guarantee does not cover the contract; one that is signed already is held until it does."""


class OverLimit(NotNow):
    """A side would contract more in a month than its credit grade allows."""


def check(conn: Conn, ask: Ask, row: ContractRow, paper: PaperRow, *, is_last: bool) -> None:
    """Hold a paper to the limits of both sides and to the buyer's guarantee, and with its last signature bind that.

    Before the last signature each side is held to its own, so that nobody can sound out the other's. Any side signs last,
    so the guarantee is looked at as the worker. Raises OverLimit, GuaranteeShort.
    """
    kept = latest_terms(conn, row)
    is_ours = document.is_wholesale(paper.content) or (
        paper.purpose == Purpose.SUPPLEMENT and kept is not None
    )
    if not is_ours or not paper.content["volumes"]:
        return
    take_scope(conn, Scope(ProcessRole.WORKER, actor=ask.name))
    kwh, more_kwh = _energy(paper, kept, ask.now)
    party_id = ask.actor.party_id
    if _has_limits(conn, row, paper, more_kwh):
        _check_limits(conn, row, paper, more_kwh, (None if is_last else party_id, ask.now))
    bound = standings.bound_for(conn, row.buyer_id, row.contract_id)
    is_main = paper.purpose == Purpose.MAIN
    missing_fen = 0 if is_main and bound else _bond_fen(conn, row, kwh, ask.now) - sum(bound.values())
    if missing_fen > 0 and (is_last or party_id == row.buyer_id):
        if missing_fen > standings.free_fen(conn, row.buyer_id, ask.now):
            raise GuaranteeShort("guarantee_short", party=row.buyer_name)
        if is_main and is_last:
            purpose = agreed_purpose(row.contract_id, paper.paper_no)
            _reserve(conn, row, missing_fen, purpose, ask.now)
    take_scope(conn, Scope(ProcessRole.API, ask.actor.role.value, party_id, ask.name))


def bind(conn: Conn, row: ContractRow, terms: WholesaleTerms, now: datetime) -> None:
    """Bind the guarantee for these terms of a contract, once; what was bound for it before is free for it.

    Raises GuaranteeShort.
    """
    purpose = contract_purpose(row.contract_id, terms.version)
    bound = standings.bound_for(conn, row.buyer_id, row.contract_id)
    if purpose in bound:
        return
    bond_fen = _bond_fen(conn, row, _kwh(terms.volumes), now)
    for each in bound:
        standings.release(conn, each, now)
    _reserve(conn, row, bond_fen, purpose, now)


def _energy(paper: PaperRow, kept: WholesaleTerms | None, now: datetime) -> tuple[int, int]:
    """The kWh that are promised with the paper, and how many more than without it."""
    named = document.volumes_in(paper.content)
    if paper.purpose == Purpose.MAIN or kept is None:
        return _kwh(named), _kwh(named)
    effect_at = now + timedelta(hours=cooling_hours(paper.content))
    kwh = _kwh(delivery.merged(kept.volumes, named, effect_at))
    return kwh, kwh - _kwh(kept.volumes)


def _has_limits(conn: Conn, row: ContractRow, paper: PaperRow, more_kwh: int) -> bool:
    """What a room agreed was held to the limits then (market/run/negotiate.py), unless it has lapsed since."""
    if paper.purpose != Purpose.MAIN or row.source == STUDIO:
        return more_kwh > 0
    return any(each.deed in LAPSES for each in life.events_of(conn, row.contract_id))


def _check_limits(
    conn: Conn, row: ContractRow, paper: PaperRow, more_kwh: int, of: tuple[int | None, datetime]
) -> None:
    """Hold a side (None: both) to what its grade allows in this month, in rooms and in the studio together."""
    only_id, now = of
    since = markettime.slot_start(markettime.month_of(markettime.day_of(now)), 0)
    but = row.contract_id if paper.purpose == Purpose.MAIN else ""
    for party_id, name in sorted(((row.seller_id, row.seller_name), (row.buyer_id, row.buyer_name))):
        if only_id not in (None, party_id):
            continue
        limit_kwh = standings.standing_of(conn, party_id, now).limit_kwh
        if limit_kwh is not None:
            standings.lock_limit(conn, party_id)
            if promised_kwh(conn, party_id, since, but) + more_kwh > limit_kwh:
                raise OverLimit("agreed_over_limit", party=name, limit=str(limit_kwh))


def _bond_fen(conn: Conn, row: ContractRow, kwh: int, now: datetime) -> int:
    rule = rule_from(credits.active_body(conn, "guarantee"))
    return standings.bond_fen(conn, rule, row.buyer_id, kwh, now)


def _reserve(conn: Conn, row: ContractRow, fen: int, purpose: str, now: datetime) -> None:
    try:
        standings.reserve(conn, row.buyer_id, fen, purpose, now)
    except standings.OverGuarantee as problem:
        raise GuaranteeShort("guarantee_short", party=row.buyer_name) from problem


def _kwh(volumes: tuple[Volume, ...]) -> int:
    return int(sum(volume.mwh for volume in volumes) * KWH_PER_MWH)
