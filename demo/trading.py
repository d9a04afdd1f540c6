"""Call auctions of the demonstration: one published with its contracts, one open today, one announced for later.

Everything goes through the shells of the real system; run again, it finds what it did and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from cloud import db
from cloud.db import Conn, Pool, ProcessRole, Scope
from cloud.market.auction import Side
from cloud.market.declaration import Declaration, Entry
from cloud.market.run import clear, convene, trade
from cloud.market.session import Hours
from cloud.market.store import sessions
from cloud.markettime import day_of, month_after, month_of, slot_start
from cloud.security.access import Actor

MONTHLY: Final = "jibei-monthly-auction@1"
HOURLY: Final = "jibei-multiday-24@1"
ANNOUNCED: Final = "按冀北电力中长期交易规则组织；申报截止前申报内容封存。示范数据。"
DESK: Final = Scope(ProcessRole.WORKER, actor="demo")
# By the order in which the traders are given: price of the best segment and MWh of a segment.
BIDS: Final = (("392.00", "120.000"), ("401.50", "80.000"), ("385.00", "150.000"))
OFFERS: Final = (("352.00", "140.000"), ("361.20", "110.000"), ("374.80", "90.000"))


def set_up(
    pool: Pool, staff: tuple[Actor, Actor], traders: Sequence[Actor], now: datetime
) -> tuple[int, ...]:
    """Bring the three sessions about: two of the staff convene, `traders` declare as far as they are admitted."""
    with db.transaction(pool, Scope(ProcessRole.OWNER, actor="demo")) as conn:
        there = {row.session_no: row.session_id for row in sessions.listed(conn)}
        past = _past(conn, staff, traders, now) if "DEMO-AUCTION-1" not in there else there["DEMO-AUCTION-1"]
        today = _open(conn, staff, traders, now) if "DEMO-AUCTION-2" not in there else there["DEMO-AUCTION-2"]
        later = _later(conn, staff, now) if "DEMO-AUCTION-3" not in there else there["DEMO-AUCTION-3"]
    return past, today, later


def _past(conn: Conn, staff: tuple[Actor, Actor], traders: Sequence[Actor], now: datetime) -> int:
    opens = slot_start(day_of(now) - timedelta(days=5), 36)
    hours = Hours(opens, opens + timedelta(minutes=20), opens + timedelta(minutes=30), None)
    session_id = _announced(conn, staff, ("DEMO-AUCTION-1", "下月电能量集中竞价", MONTHLY), hours, now)
    _declare(conn, session_id, traders, opens + timedelta(minutes=6))
    after = hours.freezes_at + timedelta(seconds=5)
    db.take_scope(conn, DESK)
    convene.look(conn, after)
    clear.clear(conn, staff[0], session_id, "", after)
    clear.check(conn, staff[0], session_id, (), after)
    clear.publish(conn, staff[1], session_id, hours.publishes_at)
    return session_id


def _open(conn: Conn, staff: tuple[Actor, Actor], traders: Sequence[Actor], now: datetime) -> int:
    hours = Hours(now - timedelta(minutes=5), now + timedelta(days=2), now + timedelta(days=2, hours=1), None)
    session_id = _announced(conn, staff, ("DEMO-AUCTION-2", "24 时段集中竞价（申报中）", HOURLY), hours, now)
    _declare(conn, session_id, traders, now)
    return session_id


def _later(conn: Conn, staff: tuple[Actor, Actor], now: datetime) -> int:
    opens = slot_start(day_of(now) + timedelta(days=3), 36)
    hours = Hours(opens, opens + timedelta(minutes=20), opens + timedelta(minutes=30), None)
    return _announced(
        conn, staff, ("DEMO-AUCTION-3", "次月高低匹配交易", "jibei-monthly-pairing@1"), hours, now
    )


def _announced(
    conn: Conn, staff: tuple[Actor, Actor], named: tuple[str, str, str], hours: Hours, now: datetime
) -> int:
    before = min(hours.opens_at - timedelta(days=1), now)
    db.take_scope(conn, DESK)
    months = (month_after(month_of(day_of(hours.opens_at))),)
    plan = convene.Plan(named[0], named[1], ANNOUNCED, named[2], months, day_of(hours.opens_at), hours)
    session_id = convene.draft(conn, staff[0], plan, before)
    convene.announce(conn, staff[1], session_id, before)
    return session_id


def _declare(conn: Conn, session_id: int, traders: Sequence[Actor], at: datetime) -> None:
    """Three falling or rising segments in every period, by who is admitted; a refusal is part of the picture."""
    db.take_scope(conn, DESK)
    sessions.ring(conn, at)
    row = sessions.find(conn, session_id)
    assert row is not None
    rule = trade.rule_of(row)
    counts = {Side.BUY: 0, Side.SELL: 0}
    memory: dict[int, trade.Known] = {}
    for actor in traders:
        assert actor.party_id is not None
        known = trade.known_party(conn, actor.party_id, at)
        side = Side.BUY if known.standing.kind in rule.buyers else Side.SELL
        units = trade.units_of(known)
        if not units:
            continue
        price, mwh = (BIDS if side is Side.BUY else OFFERS)[counts[side] % 3]
        counts[side] += 1
        entries = tuple(
            Entry(period.number, _stepped(price, side, segment), mwh)
            for period in row.periods
            for segment in range(3)
        )
        key = uuid5(NAMESPACE_URL, f"demo:{row.session_no}:{actor.party_id}")
        sent = Declaration(units[0], side, entries, key)
        trade.take_in(conn, [trade.Arrival(actor, session_id, sent)], memory, at)


def _stepped(price: str, side: Side, segment: int) -> str:
    whole, _, decimals = price.partition(".")
    step = -6 * segment if side is Side.BUY else 6 * segment
    return f"{int(whole) + step}.{decimals}"
