"""Listings, a rolling session and a negotiation for the demonstration: what the trading pages show on the first day.

Everything goes through the rooms of the real system, in the name of the first person of each party; it may run again and
finds what it did.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import psycopg

from cloud import db
from cloud.market.auction import Side
from cloud.market.listing import Sharing
from cloud.market.negotiation import Deviation, SettlementMethod, Terms
from cloud.market.offering import Line, Offer
from cloud.market.rollbook import Stays
from cloud.market.rolling import TradePrice
from cloud.market.run import list as desk
from cloud.market.run import negotiate, roll
from cloud.market.store import listings
from cloud.market.store.rolling import NewRolling
from cloud.markettime import day_of, month_after, month_of
from cloud.parties.store.standings import OverGuarantee
from cloud.security.access import Actor, Role

TITLE = "示范月内滚动撮合 / demonstration"


def set_up(dsn: str, now: datetime) -> str:
    """Fill the trading pages with what the admitted parties offer; say what was done."""
    with db.open_pool(dsn, size_max=1) as pool:
        with psycopg.connect(dsn) as conn:
            people = _people(conn)
            if conn.execute("SELECT 1 FROM rolling_session WHERE title = %s", (TITLE,)).fetchone():
                return "已有 / there already"
        sellers = [who for kind, who in people if kind == "generator"]
        buyers = [who for kind, who in people if kind in ("retailer", "user")]
        staff = [who for kind, who in people if kind == "staff"]
        if not sellers or not buyers or not staff:
            return "没有可交易的主体 / nobody may trade yet"
        months = [month_after(month_of(day_of(now)), ahead) for ahead in (1, 2, 3)]
        made = [
            _list(pool, sellers[0], months, now),
            _roll(pool, (staff[0], sellers[0], buyers[0]), months, now),
            _talk(pool, (sellers[-1], buyers[-1]), months, now - timedelta(hours=1)),
        ]
    return ", ".join(made)


def _people(conn: db.Conn) -> list[tuple[str, Actor]]:
    """The first person of every admitted party, and the first of the staff, with their kind."""
    rows = conn.execute(
        """SELECT DISTINCT ON (coalesce(p.party_id, 0)) coalesce(p.kind, 'staff'), u.user_id, u.login, u.display_name, u.role,
                  u.party_id, u.language
           FROM app_user u LEFT JOIN party p USING (party_id)
           WHERE u.disabled_at IS NULL AND (p.state = 'effective' OR u.role = 'staff')
           ORDER BY coalesce(p.party_id, 0), u.user_id"""
    ).fetchall()
    return [
        (kind, Actor(user, login, name, Role(role), party, language))
        for kind, user, login, name, role, party, language in rows
    ]


def _as(who: Actor) -> db.Scope:
    return db.Scope(db.ProcessRole.API, who.role.value, who.party_id, f"user:{who.user_id}")


def _unit(conn: db.Conn, who: Actor, now: datetime) -> str:
    return listings.units_of(conn, who.party_id or 0, now)[0]


def _list(pool: db.Pool, seller: Actor, months: list[date], now: datetime) -> str:
    ends = now + timedelta(days=5)
    first, second, third = (month for month in months)
    offers = (
        ((Line(first, "month", 3_000_000, 38_550), Line(second, "month", 2_500_000, 38_900)), Sharing.TIME),
        ((Line(first, "peak", 800_000, 42_000), Line(first, "valley", 600_000, 31_500)), Sharing.TIME),
        ((Line(third, "month", 5_000_000, 38_200),), Sharing.PRORATA),
    )
    for lines, sharing in offers:
        with db.transaction(pool, _as(seller)) as conn:
            offer = Offer(seller.party_id or 0, Side.SELL, lines, now, ends, 100_000, sharing=sharing)
            note = "示范挂牌，最小摘牌 100 MWh"
            desk.publish(conn, seller, desk.Publication(offer, _unit(conn, seller, now), note), now)
    return f"{len(offers)} 个挂牌 / listings"


def _roll(pool: db.Pool, who: tuple[Actor, Actor, Actor], months: list[date], now: datetime) -> str:
    operator, seller, buyer = who
    new = NewRolling(
        TITLE,
        tuple((month, "month") for month in months),
        TradePrice.RESTING,
        (29_760, 44_640),
        (1, 1),
        Decimal(5),
        (now, now + timedelta(days=3)),
    )
    with db.transaction(pool, _as(operator)) as conn:
        rolling_id = roll.announce(conn, operator, new, now)
    later = now + timedelta(seconds=1)
    orders = (
        (seller, Side.SELL, "384.50", "120"),
        (seller, Side.SELL, "385.20", "200"),
        (seller, Side.SELL, "386.00", "150"),
        (buyer, Side.BUY, "383.80", "100"),
        (buyer, Side.BUY, "383.10", "180"),
        (buyer, Side.BUY, "384.50", "60"),
    )
    done = 0
    for actor, side, price, mwh in orders:
        try:
            with db.transaction(pool, _as(actor)) as conn:
                sent = roll.OrderSent(1, side, Stays.DAY, price, mwh, _unit(conn, actor, later))
                roll.submit(conn, actor, rolling_id, sent, later)
                done += 1
        except OverGuarantee:  # a retailer that has lodged nothing yet
            continue
    return f"滚动撮合 {done} 笔委托 / orders"


def _talk(pool: db.Pool, who: tuple[Actor, Actor], months: list[date], now: datetime) -> str:
    seller, buyer = who
    with db.transaction(pool, _as(seller)) as conn:
        opening = negotiate.Opening(
            "季度电能量双边协商",
            Side.SELL,
            _unit(conn, seller, now),
            buyer.party_id or 0,
            False,
            now + timedelta(days=14),
        )
        room = negotiate.open_room(conn, seller, opening, now)
    with db.transaction(pool, _as(buyer)) as conn:
        negotiate.join(conn, buyer, room, _unit(conn, buyer, now), now + timedelta(minutes=3))
    for minutes, actor, ticks, said in (
        (6, seller, 39_200, "按近期月度均价报，三个月同价。"),
        (19, buyer, 38_400, "量可以锁定，价格希望靠近挂牌水平。"),
    ):
        at = now + timedelta(minutes=minutes)
        terms = Terms(
            tuple(Line(month, "month", 1_200_000, ticks) for month in months),
            SettlementMethod.PHYSICAL,
            Deviation.BAND,
            50,
        )
        with db.transaction(pool, _as(actor)) as conn:
            negotiate.offer(conn, actor, room, terms, at)
            negotiate.say(conn, actor, room, said, at)
    return "1 个协商室 / room"
