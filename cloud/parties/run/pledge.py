"""Shells: lodge a guarantee (two persons), give it back, draw on it after a default, and tell in time of its expiry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from cloud import markettime, notices
from cloud.db import Conn
from cloud.errors import Invalid, NotFound
from cloud.notices import Notice
from cloud.parties.conduct import Conduct, Fact
from cloud.parties.guaranteefile import rule_from
from cloud.parties.store import conduct, credits, guarantees, standings
from cloud.parties.store.guarantees import InstrumentRow
from cloud.security import run as security
from cloud.security.access import Actor, Deed, Subject

FORMS: Final = ("letter", "insurance", "cash")
TEXT_MAX: Final = 200


class NoInstrument(NotFound):
    """There is no such instrument."""


class BadInstrument(Invalid):
    """Of an instrument something is missing or contradicts itself."""


@dataclass(frozen=True, slots=True)
class Paper:
    """An instrument as its paper says; `expires_on` is the first day it no longer holds, cash has none."""

    form: str
    issuer: str
    reference: str
    amount_fen: int
    valid_from: date
    expires_on: date | None


def lodge(conn: Conn, actor: Actor, party_id: int, paper: Paper, now: datetime) -> int:
    """Enter an instrument of a party; it counts once a second person has accepted it. Raises BadInstrument."""
    security.allow(conn, actor, Deed.KEEP_GUARANTEE, Subject("party", str(party_id), party_id), now)
    if credits.find_party(conn, party_id) is None:
        raise NoInstrument("not_found", kind="party")
    texts_fit = all(0 < len(text.strip()) <= TEXT_MAX for text in (paper.issuer, paper.reference))
    if paper.form not in FORMS or not texts_fit or not 0 < paper.amount_fen < 10**15:
        raise BadInstrument("bad_instrument")
    if (paper.form == "cash") != (paper.expires_on is None):
        raise BadInstrument("instrument_expiry")
    if paper.expires_on is not None and paper.expires_on <= max(paper.valid_from, markettime.day_of(now)):
        raise BadInstrument("instrument_expired")
    facts = {"party_id": party_id, "form": paper.form, "issuer": paper.issuer.strip()}
    facts |= {"reference": paper.reference.strip()[:100], "amount_fen": paper.amount_fen}
    facts |= {"valid_from": paper.valid_from, "expires_on": paper.expires_on}
    return guarantees.insert(conn, facts | {"at": now, "by": security.actor_name(actor)})


def decide(conn: Conn, actor: Actor, instrument_id: int, verdict: str, now: datetime) -> None:
    """Accept an instrument, so that it counts, or reject it: a second person."""
    found = _instrument(conn, actor, instrument_id, now)
    credits.decide(conn, "guarantee", instrument_id, verdict, (security.actor_name(actor), now))
    if verdict == "accept":
        entry = ("lodge", found.amount_fen, f"lodge:{instrument_id}", "")
        _add(conn, actor, found, entry, now)
        amount = {"amount": f"{found.amount_fen // 100}.{found.amount_fen % 100:02d}", "issuer": found.issuer}
        told = Notice(
            found.party_id, "guarantee_lodged", amount, "/credit", f"guarantee_lodged:{instrument_id}"
        )
        notices.post(conn, told, now)


def give_back(conn: Conn, actor: Actor, instrument_id: int, reason: str, now: datetime) -> None:
    """Give back what is left of an instrument; not while orders and contracts need it. Raises MoreThanLeft."""
    found = _instrument(conn, actor, instrument_id, now)
    if found.left_fen == 0:
        raise guarantees.MoreThanLeft("more_than_left")
    _add(conn, actor, found, ("return", found.left_fen, f"return:{instrument_id}", _reason(reason)), now)


def draw(conn: Conn, actor: Actor, instrument_id: int, amount: tuple[int, str], now: datetime) -> None:
    """Draw on an instrument because its party did not pay in full (976号 art. 18, 46): amount in fen, and the reason.

    The party is told, and the draw is a fact of its conduct. Raises MoreThanLeft.
    """
    found = _instrument(conn, actor, instrument_id, now)
    amount_fen, reason = amount
    if amount_fen <= 0:
        raise BadInstrument("bad_instrument")
    number = sum(entry.kind == "draw" for entry in guarantees.entries(conn, found.party_id)) + 1
    key = f"draw:{instrument_id}:{number}"
    _add(conn, actor, found, ("draw", amount_fen, key, _reason(reason)), now)
    document = f"{found.issuer} {found.reference}"
    fact = Fact(found.party_id, Conduct.DEFAULT_DRAW, now, amount_fen, key, document)
    conduct.note(conn, (fact,), security.actor_name(actor), now)
    facts = {"amount": f"{amount_fen // 100}.{amount_fen % 100:02d}", "issuer": found.issuer}
    notices.post(conn, Notice(found.party_id, "guarantee_drawn", facts, "/credit", key), now)


def remind(conn: Conn, now: datetime) -> int:
    """Tell the party and the staff of every instrument that expires soon, once per step of the rule; count the notices."""
    days = sorted(rule_from(credits.active_body(conn, "guarantee")).remind_days)
    today, told = markettime.day_of(now), 0
    for each in guarantees.of_party(conn, None):
        if each.expires_on is None or each.left_fen == 0:
            continue
        left = (each.expires_on - today).days
        step = 0 if left <= 0 else next((day for day in days if left <= day), None)
        if step is None:
            continue
        facts = {"party": each.name, "issuer": each.issuer, "day": f"{each.expires_on:%Y-%m-%d}"}
        key = "guarantee_expired" if left <= 0 else "guarantee_expires"
        for party_id, path in ((each.party_id, "/credit"), (None, f"/credit/parties/{each.party_id}")):
            idem = f"guarantee:{each.instrument_id}:{step}:{party_id or 'staff'}"
            told += notices.post(conn, Notice(party_id, key, facts, path, idem), now)
    return told


def shortfall_fen(conn: Conn, party_id: int, at: datetime) -> int:
    """How much is lodged and in force too little, by what must be lodged."""
    needed = credits.requirement(conn, party_id, at)
    held_fen, _ = guarantees.balances(conn, party_id, markettime.day_of(at))
    return 0 if needed is None else max(0, needed.required_fen - held_fen)


def free_fen(conn: Conn, party_id: int, at: datetime) -> int:
    """What orders and contracts may still reserve."""
    return standings.free_fen(conn, party_id, at)


def _instrument(conn: Conn, actor: Actor, instrument_id: int, now: datetime) -> InstrumentRow:
    found = guarantees.find(conn, instrument_id)
    if found is None:
        raise NoInstrument("not_found", kind="instrument")
    subject = Subject("guarantee", str(instrument_id), found.party_id)
    security.allow(conn, actor, Deed.KEEP_GUARANTEE, subject, now)
    return found


def _add(
    conn: Conn, actor: Actor, instrument: InstrumentRow, entry: tuple[str, int, str, str], now: datetime
) -> None:
    kind, amount_fen, key, reason = entry
    facts = {"kind": kind, "amount_fen": amount_fen, "purpose_key": key, "reason": reason}
    guarantees.add(conn, instrument, facts | {"at": now, "actor": security.actor_name(actor)})


def _reason(text: str) -> str:
    reason = text.strip()
    if not 0 < len(reason) <= 1000:
        raise BadInstrument("reason_missing", longest=1000)
    return reason
