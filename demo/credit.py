"""Credit, guarantee, seals and risk in the demonstration: the retailer lodges, is graded and measured. Safe to repeat."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import psycopg

from cloud.billing.run import conduct
from cloud.market.run import risk
from cloud.market.store import risks
from cloud.parties.conduct import Conduct, Fact
from cloud.parties.run import pledge, rate
from cloud.parties.store import conduct as facts
from cloud.parties.store import guarantees
from cloud.security.access import Actor, Role

DOCUMENT = "示范会计师事务所 2025 年度审计报告"
Conn = psycopg.Connection[tuple[object, ...]]


def set_up(conn: Conn, now: datetime) -> str:
    """Show it on the parties that are there: `conn` is the owner's, outside of a transaction."""
    with conn.transaction():
        two = _staff(conn)
        found = [party_id for party_id, _, _ in risks.traders(conn)]
        for party_id in found:
            _audited(conn, party_id, now)
            if len(two) == 2 and not guarantees.of_party(conn, party_id):
                _lodge(conn, two, party_id, now)
        _, graded = rate.look(conn, conduct.gather(conn, now), conduct.traded(conn, now), ("demo", now))
        pledge.remind(conn, now)
        for party_id in found:
            if risks.last_measurement(conn, party_id) is None:
                risk.measure(conn, party_id, ("demo", now))
                _respond(conn, two[0] if two else None, party_id, now)
    return f"{graded} 个主体有评级，{len(found)} 家售电公司已测算 / graded, measured"


def _staff(conn: Conn) -> tuple[Actor, ...]:
    rows = conn.execute(
        "SELECT user_id, login, display_name FROM app_user WHERE role = 'staff' AND disabled_at IS NULL ORDER BY user_id LIMIT 2"
    ).fetchall()
    return tuple(Actor(int(str(row[0])), str(row[1]), str(row[2]), Role.STAFF, None, "zh") for row in rows)


def _audited(conn: Conn, party_id: int, now: datetime) -> None:
    at = datetime(now.year, now.month, 1, tzinfo=UTC) - timedelta(days=40)
    fact = Fact(party_id, Conduct.FINANCIAL, at, 82, f"audit:{party_id}:2025", DOCUMENT)
    facts.note(conn, (fact,), "demo", now)


def _lodge(conn: Conn, two: tuple[Actor, ...], party_id: int, now: datetime) -> None:
    soon = now.date() + timedelta(days=25)
    papers = (
        pledge.Paper(
            "letter", "示范银行", f"LG-2026-{party_id:04d}", 60_000_00, date(2026, 1, 1), date(2027, 6, 30)
        ),
        pledge.Paper("insurance", "示范财险", f"PI-2026-{party_id:04d}", 20_000_00, date(2026, 1, 1), soon),
    )
    for paper in papers:
        instrument_id = pledge.lodge(conn, two[0], party_id, paper, now)
        pledge.decide(conn, two[1], instrument_id, "accept", now)


def _respond(conn: Conn, owner: Actor | None, party_id: int, now: datetime) -> None:
    alarms = risks.alarms(conn, party_id, only_open=True)
    if owner is None or not alarms:
        return
    plan = {"alarm_id": alarms[0].alarm_id, "measure": "hedge", "action": "在下一次集中竞价中补购未签约电量"}
    plan |= {"owner_id": owner.user_id, "due_on": now.date() + timedelta(days=10)}
    plan_id = risk.propose(conn, owner, party_id, plan, now)
    risk.move(conn, owner, plan_id, "start", "", now)
