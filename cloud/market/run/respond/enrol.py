"""Shell: programmes, who takes part in them, and how aggregators split."""

from __future__ import annotations

from datetime import datetime, timedelta

from cloud import markettime
from cloud.db import Conn
from cloud.errors import Invalid
from cloud.market.aggregate import split_from
from cloud.market.programmefile import programme_from
from cloud.market.run.respond.telling import deed_of, of_enrolment
from cloud.market.store import enrolments, members, programmes
from cloud.market.store.enrolments import NewEnrolment
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow


class BadEnrolment(Invalid):
    """An enrolment names an account, a resource with its kW, and an agreement."""


def enter_programme(conn: Conn, actor: Actor, name: str, text: str, now: datetime) -> bool:
    """Enter a version of a programme; False when it is entered already."""
    allow(conn, actor, Deed.DIRECT_RESPONSE, Subject("response_programme", name), now)
    programme = programme_from(name, text)
    return programmes.put_programme(conn, programme, text, (now, actor_name(actor)))


def enter_split(conn: Conn, actor: Actor, aggregator_id: int, text: str, now: datetime) -> bool:
    """Enter a version of how an aggregator shares with its members; False when it is entered already."""
    allow(conn, actor, Deed.DIRECT_RESPONSE, Subject("response_split", str(aggregator_id)), now)
    if not is_aggregator(conn, aggregator_id):
        raise BadEnrolment("response_no_aggregator", party=aggregator_id)
    made = (now, actor_name(actor))
    return programmes.put_split(conn, aggregator_id, split_from("split.toml", text), text, made)


def enrol(conn: Conn, actor: Actor, new: NewEnrolment, now: datetime) -> int:
    """Put an account into a programme: the holder its own, staff anybody's, for an aggregator with the agreement named.

    Raises BadEnrolment, NoProgramme, EnrolledAlready.
    """
    allow(conn, actor, deed_of(actor), _of_account(conn, new.account_id), now)
    owner_id = enrolments.account_party(conn, new.account_id)
    is_told = 0 < len(new.resource.strip()) <= 200 and 0 < len(new.agreement.strip()) <= 200
    if (
        owner_id is None
        or owner_id != new.party_id
        or not is_told
        or not 0 < new.capacity_kw <= 10_000_000
        or (actor.party_id is not None and new.aggregator_id is not None)
        or new.aggregator_id == owner_id
        or (new.aggregator_id is not None and not is_aggregator(conn, new.aggregator_id))
    ):
        raise BadEnrolment("response_bad_enrolment")
    if new.first_day < markettime.day_of(now) or (new.end_day is not None and new.end_day <= new.first_day):
        raise BadEnrolment("response_bad_days")
    programmes.programme_on(conn, new.programme_id, new.first_day)
    return enrolments.insert_enrolment(conn, new, (now, actor_name(actor)))


def leave(conn: Conn, actor: Actor, enrolment_id: int, now: datetime) -> None:
    """End an enrolment with today, one that has not begun with its first day; promises already given stand."""
    allow(conn, actor, deed_of(actor), of_enrolment(conn, enrolment_id, is_paid=False), now)
    last = max(markettime.day_of(now), enrolments.enrolment(conn, enrolment_id).first_day)
    enrolments.end_enrolment(conn, enrolment_id, last + timedelta(days=1))


def _of_account(conn: Conn, account_id: str) -> Subject:
    return Subject("account", account_id, enrolments.account_party(conn, account_id))


def is_aggregator(conn: Conn, party_id: int) -> bool:
    """Whether a party may take part for others."""
    party = members.find_party(conn, party_id)
    return party is not None and party.kind in ("vpp", "retailer")
