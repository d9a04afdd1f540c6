"""What every deed of demand response needs: who may, why, and who is told."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cloud import markettime
from cloud.db import Conn
from cloud.errors import Invalid
from cloud.market.store import enrolments
from cloud.market.store.enrolments import EnrolmentRow
from cloud.market.store.response import EventRow
from cloud.notices import Notice, post
from cloud.security.access import Actor, Deed, Subject

CLOCK: Final = "job:response"
REASON_MAX: Final = 1000


class ReasonMissing(Invalid):
    """Whoever objects, cancels or decides says why."""


def deed_of(actor: Actor) -> Deed:
    """The deed by which staff or a party does what both may."""
    return Deed.DIRECT_RESPONSE if actor.party_id is None else Deed.ANSWER_RESPONSE


def of_enrolment(conn: Conn, enrolment_id: int, *, is_paid: bool) -> Subject:
    """A resource, owned by whom it pays, or by whose account it is."""
    row = enrolments.enrolment(conn, enrolment_id)
    return Subject("response_enrolment", str(enrolment_id), row.payee_id if is_paid else row.party_id)


def check_reason(reason: str) -> None:
    """Refuse a deed without a reason. Raises ReasonMissing."""
    if not 0 < len(reason.strip()) <= REASON_MAX:
        raise ReasonMissing("reason_missing", longest=REASON_MAX)


def tell(
    conn: Conn, row: EnrolmentRow, event: EventRow, key: str, at: datetime, again: str = "", **facts: str
) -> None:
    """Tell whoever answers and is paid for a resource, once."""
    idem_key = f"{key}:{event.event_id}:{row.enrolment_id}:{again}"
    told = {"when": when_of(event), "account": row.account_id, **facts}
    post(conn, Notice(row.payee_id, key, told, f"/response/events/{event.event_id}", idem_key), at)


def tell_party(conn: Conn, party_id: int, event: EventRow, key: str, at: datetime, **facts: str) -> None:
    """Tell a party what an event comes to for it, each time that changes."""
    idem_key = f"{key}:{event.event_id}:{party_id}:{at:%Y%m%d%H%M%S%f}"
    told = {"when": when_of(event), **facts}
    post(conn, Notice(party_id, key, told, f"/response/events/{event.event_id}", idem_key), at)


def when_of(event: EventRow) -> str:
    """Write the day and hours of an event."""
    return f"{event.day} {markettime.slot_label(event.first_slot)}–{markettime.slot_label(event.end_slot)}"


def yuan_text(amount_fen: int) -> str:
    """Write fen as yuan."""
    sign = "-" if amount_fen < 0 else ""
    return f"{sign}{abs(amount_fen) // 100}.{abs(amount_fen) % 100:02d}"


def clock_text(instant: datetime) -> str:
    """Write an instant by the market's clock."""
    return markettime.market_local(instant).strftime("%Y-%m-%d %H:%M")
