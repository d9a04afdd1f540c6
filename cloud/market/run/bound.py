"""Shells: what is bound of a guarantee is what contracts still need. The clock frees it when a contract is over.

A contract's reserve is `contract:NUMBER`, after its terms changed `contract:NUMBER:VERSION`. It is free when the contract
came to nothing or is archived, and when it has run and its buyer's last month is settled finally; when terms have changed
it follows the contract's energy, and what went to another party is bound there. What was agreed and is not in force yet is
bound as `agreed:NUMBER` (a room's) or `agreed:NUMBER:PAPER` (a paper's), until it is in force or will not be signed as it
is. A contract that came into force with nothing bound, before contracts bound anything or while nothing was lodged, binds
once what is free.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from cloud.contracts.store import life, wholesale
from cloud.db import Conn, Pool, ProcessRole, Scope, transaction
from cloud.market.store import reserves
from cloud.parties.guarantee import contract_purpose
from cloud.parties.guaranteefile import rule_from
from cloud.parties.store import credits, standings

SETTLED_DOWN: Final = timedelta(hours=1)  # by then what a transfer or an order had bound is its contract's
CLOCK: Final = Scope(ProcessRole.WORKER, actor="job:reserves")


def ring(pool: Pool, now: datetime) -> int:
    """Free or shrink every reserve whose contract no longer needs all of it; return how many."""
    with transaction(pool, CLOCK) as conn:
        handed_over = reserves.taken_over(conn)
        over, changed = (*reserves.over(conn), *reserves.lapsed(conn)), reserves.changed(conn)
    for transfer_id in handed_over:
        with transaction(pool, CLOCK) as conn:
            _take_over(conn, transfer_id, now)
    for key in over:
        with transaction(pool, CLOCK) as conn:
            standings.release(conn, key, now)
    for key in changed:
        with transaction(pool, CLOCK) as conn:
            _shrink(conn, key, now)
    with transaction(pool, CLOCK) as conn:
        unbound = reserves.unbound(conn, standings.LODGING_KINDS, now - SETTLED_DOWN)
    caught_up = 0
    for contract_id in unbound:
        with transaction(pool, CLOCK) as conn:
            caught_up += _catch_up(conn, contract_id, now)
    return len(handed_over) + len(over) + len(changed) + caught_up


def _catch_up(conn: Conn, contract_id: str, now: datetime) -> bool:
    """Bind for a contract in force that has never bound anything, as far as there is something free."""
    row = life.find(conn, contract_id, is_locked=True)
    if not reserves.unbound(conn, standings.LODGING_KINDS, now - SETTLED_DOWN, contract_id):
        return False
    terms = wholesale.find(conn, contract_id, row.version)
    assert terms is not None
    rule = rule_from(credits.active_body(conn, "guarantee"))
    kwh = sum(volume.kwh for volume in terms.volumes)
    bond_fen = standings.bond_fen(conn, rule, row.buyer_id, kwh, now)
    bound_fen = min(bond_fen, standings.free_fen(conn, row.buyer_id, now))
    if bound_fen <= 0:
        return False
    try:
        standings.reserve(conn, row.buyer_id, bound_fen, contract_purpose(contract_id, row.version), now)
    except standings.OverGuarantee:
        return False  # somebody else was quicker: the next look binds what is left
    return True


def _take_over(conn: Conn, transfer_id: int, now: datetime) -> None:
    """Let what the transferee bound to take over be bound by its new contract."""
    found = reserves.of_transfer(conn, transfer_id)
    if found is not None:
        party_id, amount_fen, contract_id = found
        standings.release(conn, f"transfer:{transfer_id}", now)
        standings.carry(conn, party_id, amount_fen, contract_purpose(contract_id), now)


def _shrink(conn: Conn, key: str, now: datetime) -> None:
    """Follow a contract's terms by one version: its share of the energy stays bound, what its buyer keeps elsewhere too."""
    found = reserves.step_of(conn, key)
    if found is None:
        return
    standings.release(conn, key, now)
    stays_fen = 0
    if found.kwh_after:
        stays_fen = -(-found.amount_fen * found.kwh_after // max(1, found.kwh_before))
        standings.carry(
            conn, found.party_id, stays_fen, contract_purpose(found.contract_id, found.version + 1), now
        )
    if found.sold_on is not None and found.amount_fen > stays_fen:
        standings.carry(
            conn, found.party_id, found.amount_fen - stays_fen, contract_purpose(found.sold_on), now
        )
