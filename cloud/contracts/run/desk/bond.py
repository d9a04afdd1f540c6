"""What a contract binds of its buyer's guarantee when it comes into force or is amended; without it, it is held."""

from __future__ import annotations

from datetime import datetime

from cloud.contracts.store.life import ContractRow
from cloud.contracts.terms import WholesaleTerms
from cloud.db import Conn
from cloud.errors import NotNow
from cloud.parties.guarantee import contract_purpose
from cloud.parties.guaranteefile import rule_from
from cloud.parties.store import credits, standings


class GuaranteeShort(NotNow):
    """The buyer's guarantee does not cover the contract; the contract is held until it does."""


def bind(conn: Conn, row: ContractRow, terms: WholesaleTerms, now: datetime) -> None:
    """Bind the guarantee for these terms of a contract, once; what was bound for it before is free for it.

    Raises GuaranteeShort.
    """
    purpose, bound = (
        contract_purpose(row.contract_id, terms.version),
        standings.bound_for(conn, row.contract_id),
    )
    if purpose in bound:
        return
    rule = rule_from(credits.active_body(conn, "guarantee"))
    kwh = int(sum(volume.mwh for volume in terms.volumes) * 1000)
    bond_fen = standings.bond_fen(conn, rule, row.buyer_id, kwh, now)
    for each in bound:
        standings.release(conn, each, now)
    try:
        standings.reserve(conn, row.buyer_id, bond_fen, purpose, now)
    except standings.OverGuarantee as problem:
        raise GuaranteeShort("guarantee_short", party=row.buyer_name) from problem
