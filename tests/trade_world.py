"""A session with participants: what the tests of trading start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import market_world
import psycopg

from cloud import db
from cloud.db import Conn, ProcessRole, Scope
from cloud.market.auction import Side
from cloud.market.declaration import Declaration, Entry
from cloud.market.receipt import Acknowledged
from cloud.market.run import convene, trade
from cloud.market.session import Hours
from cloud.market.store import sessions
from cloud.security.access import Actor, Role

OPENS = datetime(2026, 11, 20, 1, tzinfo=UTC)
FREEZES = OPENS + timedelta(minutes=20)
HOURS = Hours(OPENS, FREEZES, FREEZES + timedelta(minutes=10), None)
DURING = OPENS + timedelta(minutes=5)
DECEMBER = date(2026, 12, 1)
WORKER = Scope(ProcessRole.WORKER, actor="test")
AFTER = FREEZES + timedelta(seconds=1)
PEAK, FLAT = 1, 2


@dataclass(frozen=True)
class People:
    """Two of the staff, and participants by kind."""

    operator: Actor
    second: Actor
    plants: tuple[Actor, ...]
    users: tuple[Actor, ...]
    retailers: tuple[Actor, ...]
    units: dict[int, str]


def people(conn: Conn, plants: int = 2, users: int = 2, retailers: int = 0) -> People:
    """Admitted parties with a person each; users have an account that buys directly."""
    units: dict[int, str] = {}

    def party(kind: str, number: int) -> Actor:
        party_id = market_world.admitted_party(conn, kind, f"示范{kind}{number}")
        login = f"{kind}{number}"
        user_id = market_world.person(conn, party_id, login)
        units[party_id] = f"party:{party_id}"
        if kind == "user":
            units[party_id] = f"{1300000000100 + number}"
            conn.execute(
                "INSERT INTO account (account_id, party_id, name, address) VALUES (%s, %s, '示范园区', '示范园区')",
                (units[party_id], party_id),
            )
            conn.execute(
                """INSERT INTO account_terms (account_id, effective, category, purchase, structure, voltage)
                   VALUES (%s, '[2020-01-01 00:00+08,)', 'commercial', 'direct', 'single_part', '1-10kV')""",
                (units[party_id],),
            )
        return Actor(user_id, login, login, Role.CUSTOMER, party_id, "zh")

    def staff(login: str) -> Actor:
        return Actor(market_world.operator(conn, login), login, login, Role.STAFF, None, "zh")

    return People(
        staff("operator"),
        staff("second"),
        tuple(party("generator", number) for number in range(plants)),
        tuple(party("user", number) for number in range(users)),
        tuple(party("retailer", number) for number in range(retailers)),
        units,
    )


def announced(
    conn: Conn,
    who: People,
    rule: str = "jibei-monthly-auction@1",
    hours: Hours = HOURS,
    number: str = "TEST-01",
) -> int:
    """A session drawn up by one and announced by another, an hour before it opens."""
    before = hours.opens_at - timedelta(hours=1)
    plan = convene.Plan(number, "十二月集中竞价", "公告正文", rule, (DECEMBER,), date(2026, 11, 20), hours)
    session_id = convene.draft(conn, who.operator, plan, before)
    convene.announce(conn, who.second, session_id, before)
    return session_id


def entries(*each: tuple[int, str, str]) -> tuple[Entry, ...]:
    return tuple(Entry(*one) for one in each)


def sent(
    who: People,
    actor: Actor,
    given: Sequence[tuple[int, str, str]] | None,
    *,
    key: UUID | None = None,
    replaces: int | None = None,
) -> Declaration:
    """A declaration of the actor's own unit; a plant sells, the others buy."""
    assert actor.party_id is not None
    side = Side.SELL if actor in who.plants else Side.BUY
    unit = who.units[actor.party_id]
    return Declaration(unit, side, None if given is None else entries(*given), key or uuid4(), replaces)


def take(
    conn: Conn, session_id: int, arrivals: Sequence[tuple[Actor, Declaration]], now: datetime = DURING
) -> tuple[trade.Outcome, ...]:
    """The intake's own call, in the caller's transaction."""
    found = [trade.Arrival(actor, session_id, each) for actor, each in arrivals]
    return trade.take_in(conn, found, {}, now)


def kept(outcome: trade.Outcome) -> Acknowledged:
    assert isinstance(outcome, Acknowledged), outcome
    return outcome


def as_person(conn: Conn, actor: Actor) -> None:
    db.take_scope(conn, Scope(ProcessRole.API, actor.role.value, actor.party_id, f"user:{actor.user_id}"))


def opened(dsn: str, **counts: int) -> tuple[People, int]:
    with psycopg.connect(dsn) as conn:
        who = people(conn, **counts)
        session_id = announced(conn, who)
        sessions.ring(conn, DURING)
    return who, session_id


def guaranteed(dsn: str, party_id: int, now: datetime) -> None:
    """Lodge 2,000 yuan for a party."""
    with psycopg.connect(dsn) as conn:
        row = conn.execute(
            """INSERT INTO guarantee_instrument (party_id, form, issuer, reference, amount_fen, valid_from, expires_on,
                   lodged_at, lodged_by) VALUES (%s, 'insurance', '示范保险', 'P1', 200000, '2026-01-01', '2027-01-01', %s, 'user:1')
               RETURNING instrument_id""",
            (party_id, now),
        ).fetchone()
        assert row is not None
        conn.execute("INSERT INTO guarantee_verdict VALUES (%s, 'accept', %s, 'user:2')", (row[0], now))
        conn.execute(
            """INSERT INTO guarantee_entry (party_id, kind, amount_fen, instrument_id, purpose_key, at, actor)
               VALUES (%s, 'lodge', 200000, %s, 'l', %s, 'user:2')""",
            (party_id, row[0], now),
        )


def cleared_book(dsn: str) -> tuple[People, int]:
    """Two plants and two users; CA-106 of the case file has its own test: here a hand-made book.

    Peak: bids 100@400 and 50@390, asks 80@350 and 60@380: the last pair is 390 with 380, 140 MWh trade. Flat: nobody meets.
    """
    who, session_id = opened(dsn)
    given = [
        (who.users[0], [(PEAK, "400", "100"), (FLAT, "310", "10")]),
        (who.users[1], [(PEAK, "390", "50")]),
        (who.plants[0], [(PEAK, "350", "80"), (FLAT, "330", "10")]),
        (who.plants[1], [(PEAK, "380", "60")]),
    ]
    with psycopg.connect(dsn) as conn:
        db.take_scope(conn, WORKER)
        for actor, entries in given:
            kept(*take(conn, session_id, [(actor, sent(who, actor, entries))]))
    with psycopg.connect(dsn) as conn:
        db.take_scope(conn, WORKER)
        assert convene.look(conn, AFTER) == 1
    return who, session_id
