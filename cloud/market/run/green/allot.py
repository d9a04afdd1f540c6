"""Shell: hand over the certificates of settled green contracts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from cloud.contracts.store import wholesale
from cloud.contracts.terms import ContractKind
from cloud.db import Conn
from cloud.market import certificates as gec
from cloud.market.certificates import Kind, Serials
from cloud.market.run.green.holder import CLOCK, is_old, tell
from cloud.market.store import certificates as store
from cloud.market.store import greenfacts
from cloud.market.store.certificates import NewEntry
from cloud.money import shares
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow


@dataclass(frozen=True, slots=True)
class Allotted:
    """What went along with a green contract of a month."""

    contract_id: str
    seller_id: int
    settled_kwh: int
    moved_mwh: int


def allot_month(conn: Conn, month: date, actor: Actor | None, now: datetime) -> tuple[Allotted, ...]:
    """Hand over the certificates of a settled month's green contracts: min(contract, generation − mechanism, use).

    The quantity is that of the final statements' environmental value; parts below one MWh of a contract add up over
    its months. They go to the buyer, or to the users a retailer's contract names (1656号 art. 53, 79). What a contract
    was handed counts against all it has settled so far: running it again changes nothing, a month settled anew to more
    brings the difference, one settled anew to less is made up by the months after it. Return what was handed over now.
    """
    if actor is not None:
        allow(conn, actor, Deed.DIRECT_GREEN, Subject("green_month", f"{month:%Y-%m}"), now)
    by = CLOCK if actor is None else actor_name(actor)
    done = []
    settled = greenfacts.settled_kwh(conn, month)
    for terms in wholesale.of_month(conn, month):
        if terms.kind is not ContractKind.GREEN or terms.contract_id not in settled:
            continue
        seller_id = greenfacts.party_of(conn, terms.seller)
        if seller_id is None:
            continue
        store.lock_unit(conn, terms.seller)
        handed = store.transferred_mwh(conn, terms.contract_id)
        due = gec.due_mwh(greenfacts.settled_until(conn, terms.contract_id, month), handed)
        if due == 0:
            continue
        targets = _targets(conn, terms.green_users or (terms.buyer,), seller_id, month)
        key = f"allot:{terms.contract_id}:{month:%Y-%m}:{handed}"
        moved = _hand_over(
            conn, (terms.contract_id, terms.seller, seller_id), targets, due, (key, month, now, by)
        )
        if moved:
            done.append(Allotted(terms.contract_id, seller_id, settled[terms.contract_id], moved))
    return tuple(done)


def _targets(conn: Conn, users: Sequence[str], seller_id: int, month: date) -> tuple[tuple[int, int], ...]:
    """Who gets the certificates, by party, with the kWh of the month that weigh them; nobody buys of themselves."""
    weights: dict[int, int] = {}
    for user in users:
        party_id = greenfacts.party_of(conn, user)
        if party_id not in (None, seller_id):
            weights[party_id] = weights.get(party_id, 0) + greenfacts.used_kwh(conn, user, month)
    return tuple(sorted(weights.items()))


def _hand_over(
    conn: Conn,
    contract: tuple[str, str, int],
    targets: Sequence[tuple[int, int]],
    due: int,
    made: tuple[str, date, datetime, str],
) -> int:
    contract_id, unit_id, seller_id = contract
    key, month, now, by = made
    held = gec.held_account(seller_id)
    free = [
        each.holding
        for each in store.places(conn, held, unit_id)
        if each.is_tradable and not each.is_traded and each.month <= month and not is_old(each, now)
    ]
    mwh = min(due, sum(each.serials.mwh for each in free))
    if mwh <= 0 or not targets:
        return 0
    weights = [weight for _, weight in targets]
    parts = shares(mwh, weights if any(weights) else [1] * len(weights))
    postings: list[gec.Posting] = []
    for (party_id, _), part in zip(targets, parts, strict=True):
        if part == 0:
            continue
        runs = gec.picked(free, part)
        free = _without(free, runs)
        postings += gec.moved(held, gec.held_account(party_id), runs)
        tell(conn, party_id, "green.allotted", f"{key}:{party_id}", now, contract=contract_id, mwh=str(part))
    if postings:
        store.post(conn, NewEntry(Kind.TRANSFER, key, tuple(postings), contract_id), now, by)
    return sum(each.mwh for each in postings if each.mwh > 0)


def _without(free: Sequence[gec.Holding], runs: Sequence[Serials]) -> list[gec.Holding]:
    """What is left when runs that begin holdings are taken away."""
    ends = {run.start: run.end for run in runs}
    left = []
    for each in free:
        first = ends.get(each.serials.start, each.serials.start)
        if first < each.serials.end:
            rest = Serials(first, each.serials.end)
            left.append(gec.Holding(rest, each.production_month, each.is_traded, each.is_tradable))
    return left
