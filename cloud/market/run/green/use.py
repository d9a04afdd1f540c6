"""Shell: use certificates up, with a proof, and let the old ones go."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from cloud import markettime
from cloud.db import Conn
from cloud.errors import Invalid
from cloud.market import certificates as gec
from cloud.market.certificates import Kind
from cloud.market.run.green.holder import CLOCK, is_old, tell
from cloud.market.store import certificates as store
from cloud.market.store import greenuses
from cloud.market.store.certificates import NewEntry
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow

TEXT_MAX: Final = 200
PURPOSE_MAX: Final = 300


class BadUse(Invalid):
    """A use names its user, its purpose and its months."""


@dataclass(frozen=True, slots=True)
class Use:
    """For whom, for what and for which months certificates are used up."""

    used_by: str
    purpose: str
    first_month: date
    last_month: date


def retire(conn: Conn, actor: Actor, mwh: int, use: Use, key: str, now: datetime) -> int:
    """Use up certificates that the actor's party holds, for a named user, purpose and months. Return the entry.

    Those that count for all of the months are taken, the oldest first. The same key uses once.
    Raises BadUse, NotValidThen, NotEnough.
    """
    allow(conn, actor, Deed.TRADE_GREEN, Subject("party", str(actor.party_id), actor.party_id), now)
    assert actor.party_id is not None
    party_id = actor.party_id
    used_by, purpose = use.used_by.strip(), use.purpose.strip()
    this_month = markettime.month_of(markettime.day_of(now))
    if not (0 < len(used_by) <= TEXT_MAX and 0 < len(purpose) <= PURPOSE_MAX):
        raise BadUse("green_bad_use")
    if not use.first_month <= use.last_month <= this_month:
        raise BadUse("green_bad_period")
    idem_key = f"retire:{party_id}:{key}"
    if (kept := store.find_entry(conn, idem_key)) is not None:
        return kept[0]
    held = gec.held_account(party_id)
    everything = [each for each in store.places(conn, held) if not is_old(each, now)]
    fitting = [
        each.holding for each in everything if gec.counts_for(each.month, use.first_month, use.last_month)
    ]
    total = sum(each.mwh for each in everything)
    if sum(each.serials.mwh for each in fitting) < mwh <= total:
        raise gec.NotValidThen("green_not_valid_then", asked=mwh, months=gec.VALID_MONTHS)
    postings = gec.moved(held, gec.retired_account(party_id), gec.picked(fitting, mwh))
    entry_id = store.post(conn, NewEntry(Kind.RETIRE, idem_key, postings), now, actor_name(actor))
    proof_no = f"GR-{entry_id:06d}-{secrets.token_hex(8).upper()}"
    row = greenuses.Retirement(
        party_id, proof_no, used_by, purpose, use.first_month, use.last_month, mwh, now
    )
    greenuses.insert_retirement(conn, entry_id, row)
    return entry_id


def expire(conn: Conn, now: datetime) -> int:
    """Let certificates go whose 24 months are over, also those put aside for a sale; return how many."""
    today = markettime.day_of(now)
    oldest = markettime.month_after(markettime.month_of(today), -(gec.VALID_MONTHS - 1))
    moved = 0
    for each in store.old_places(conn, oldest):
        postings = gec.moved(each.account, gec.EXPIRED, (each.holding.serials,))
        store.post(conn, NewEntry(Kind.EXPIRE, f"expire:{each.first}:{each.end}", postings), now, CLOCK)
        moved += each.mwh
        if each.party_id is not None:
            key = f"green-expired:{each.first}:{each.end}"
            tell(
                conn, each.party_id, "green.expired", key, now, mwh=str(each.mwh), month=f"{each.month:%Y-%m}"
            )
    return moved
