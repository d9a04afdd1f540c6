"""Shells: what is bound of a guarantee is what contracts still need. The clock frees it when a contract is over.

A contract's reserve is `contract:NUMBER`, after its terms changed `contract:NUMBER:VERSION`. It is free when the contract
came to nothing or is archived, and when it has run and its buyer's last month is settled finally; when terms have changed
it follows the contract's energy, and what went to another party is bound there. What was agreed and is not in force yet is
bound as `agreed:NUMBER`, until it is in force or will not be signed as it is.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cloud.db import Conn, Pool, ProcessRole, Scope, transaction
from cloud.market.store import reserves
from cloud.parties.guarantee import contract_purpose
from cloud.parties.store import standings

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
    return len(handed_over) + len(over) + len(changed)


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
