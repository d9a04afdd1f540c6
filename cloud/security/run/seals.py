"""Shells: who may sign and seal for a party. A holder names the next one; the first needs two of the staff.

Each deed demands a fresh proof of who sits there (run.demand_step_up). Nobody of the staff ever signs for a party.
"""

from __future__ import annotations

from datetime import datetime

from cloud.db import Conn
from cloud.errors import NotFound
from cloud.security import run, store
from cloud.security.access import Deed, Role, Subject


class NoSuchSeal(NotFound):
    """There is no such seal holder, or this person does not see it."""


class NoSuchPerson(NotFound):
    """There is no such person of that party."""


def propose(conn: Conn, session: run.Session, party_id: int, user_id: int, now: datetime) -> int:
    """Name a person as seal holder of a party; by a holder of the party this takes effect at once.

    By one of the staff it waits for another's approval. Raises NotYours, StepUpNeeded, SealTaken, NobodyOfParty,
    SealNeedsHolder.
    """
    actor = session.actor
    run.allow(conn, actor, Deed.GRANT_SEAL, Subject("party", str(party_id), party_id), now)
    run.demand_step_up(conn, session, now)
    if actor.role is Role.CUSTOMER and not store.holds_seal(conn, actor.user_id, party_id, now):
        raise store.SealNeedsHolder("seal_needs_holder")
    holder_id = store.insert_seal(conn, party_id, user_id, actor.user_id, now)
    if actor.role is Role.CUSTOMER:
        store.approve_seal(conn, holder_id, actor.user_id, now)
    return holder_id


def approve(conn: Conn, session: run.Session, holder_id: int, now: datetime) -> None:
    """Put a proposed first holder in force: the second of the staff. Raises NoSuchSeal, StepUpNeeded, SealNeedsHolder."""
    seal = _seal_for(conn, session, holder_id, now)
    run.demand_step_up(conn, session, now)
    store.approve_seal(conn, seal.holder_id, session.actor.user_id, now)


def end(conn: Conn, session: run.Session, holder_id: int, now: datetime) -> None:
    """Take the seal from a person: by a holder of the party, by the person itself, or by staff."""
    seal, actor = _seal_for(conn, session, holder_id, now), session.actor
    run.demand_step_up(conn, session, now)
    is_holder = store.holds_seal(conn, actor.user_id, seal.party_id, now)
    if actor.role is Role.CUSTOMER and not is_holder and actor.user_id != seal.user_id:
        raise store.SealNeedsHolder("seal_needs_holder")
    store.end_seal(conn, seal.holder_id, actor.user_id, now)


def reset_factor(conn: Conn, session: run.Session, party_id: int, user_id: int, now: datetime) -> None:
    """End the second factor of somebody who lost it, by staff; with it go all seals of that person.

    So a factor made anew by whoever holds the password signs nothing until the party, or two of the staff, say so.
    """
    actor = session.actor
    run.allow(conn, actor, Deed.RESET_FACTOR, Subject("party", str(party_id), party_id), now)
    run.demand_step_up(conn, session, now)
    if user_id not in {person[0] for person in store.people_of(conn, party_id)}:
        raise NoSuchPerson("not_found", kind="user")
    store.end_factors(conn, user_id, now)
    store.end_seals_of(conn, user_id, actor.user_id, now)


def _seal_for(conn: Conn, session: run.Session, holder_id: int, now: datetime) -> store.SealRow:
    seal = store.find_seal(conn, holder_id)
    if seal is None or seal.ended_at is not None:
        raise NoSuchSeal("not_found", kind="seal")
    subject = Subject("party", str(seal.party_id), seal.party_id)
    run.allow(conn, session.actor, Deed.GRANT_SEAL, subject, now)
    return seal
