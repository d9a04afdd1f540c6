"""SQL: what risk is measured from, measurements, alarms, and plans with what became of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn


@dataclass(frozen=True, slots=True)
class MeasurementRow:
    """A measurement kept."""

    measurement_id: int
    party_id: int
    at: datetime
    readings: list[dict[str, Any]]
    positions: list[dict[str, Any]]
    portfolio: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """An alarm, and when it ended; `is_unlodged`: nothing was lodged that it could be a share of."""

    alarm_id: int
    party_id: int
    name: str
    indicator: str
    level: str
    value_ppm: int
    is_unlodged: bool
    at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A response with its owner, and the words it was closed with."""

    plan_id: int
    party_id: int
    name: str
    alarm_id: int | None
    measure: str
    action: str
    owner: str
    due_on: date
    state: str
    made_at: datetime
    outcome: str | None


def traders(conn: Conn) -> tuple[tuple[int, str, str], ...]:
    """The parties whose risk is measured: admitted retailers, id, kind and name."""
    found = conn.execute(
        "SELECT party_id, kind, name FROM party WHERE kind = 'retailer' ORDER BY name"
    ).fetchall()
    return tuple((int(row[0]), str(row[1]), str(row[2])) for row in found)


def name_of(conn: Conn, party_id: int) -> str | None:
    """A party's name, if this transaction sees it."""
    row = conn.execute("SELECT name FROM party WHERE party_id = %s", (party_id,)).fetchone()
    return None if row is None else str(row[0])


def load_days(conn: Conn, party_id: int, first: date, end: date) -> Mapping[date, tuple[int, ...]]:
    """Wh per quarter-hour of a retailer's customers, or of a user's own direct accounts, by day of [first, end)."""
    rows = conn.execute(
        """WITH own AS (
               SELECT account_id, effective FROM account_package WHERE retailer_id = %(party)s
               UNION SELECT t.account_id, t.effective FROM account_terms t JOIN account a USING (account_id)
               WHERE a.party_id = %(party)s AND t.purchase = 'direct')
           SELECT d.day, n.slot, sum(n.wh)::bigint
           FROM (SELECT DISTINCT ON (supply_point_id, day) supply_point_id, day, import_wh FROM interval_day
                 WHERE day >= %(first)s AND day < %(end)s
                   AND supply_point_id IN (SELECT supply_point_id FROM supply_point JOIN own USING (account_id))
                 ORDER BY supply_point_id, day, revision DESC) d
           JOIN supply_point s USING (supply_point_id)
           JOIN own o ON o.account_id = s.account_id
                     AND o.effective @> (d.day::timestamp AT TIME ZONE 'Asia/Shanghai'),
           unnest(d.import_wh) WITH ORDINALITY n(wh, slot)
           GROUP BY 1, 2 ORDER BY 1, 2""",
        {"party": party_id, "first": first, "end": end},
    )
    days: dict[date, list[int]] = defaultdict(list)
    for day, _, wh in rows:
        days[day].append(int(wh or 0))
    return {day: tuple(slots) for day, slots in days.items() if len(slots) == 96}


def retail_result(conn: Conn, unit_id: str) -> tuple[int, int] | None:
    """Revenue in fen and metered kWh of the unit's last settled month that has both."""
    row = conn.execute(
        """SELECT r.revenue_fen, s.quantity_kwh FROM settlement_retail r
           JOIN statement s ON s.run_id = r.run_id AND s.unit_id = r.unit_id
           WHERE r.unit_id = %s AND s.state = 'final' AND s.quantity_kwh > 0 AND r.revenue_fen > 0
           ORDER BY s.month DESC, r.retail_id DESC LIMIT 1""",
        (unit_id,),
    ).fetchone()
    return None if row is None else (int(row[0]), int(row[1]))


def unpaid_fen(conn: Conn, unit_id: str, since: date) -> int:
    """What the unit's final statements of months since then come to, where it has to pay."""
    row = conn.execute(
        """SELECT coalesce(sum(greatest(total_fen, 0)), 0)::bigint FROM statement
           WHERE unit_id = %s AND state = 'final' AND month >= %s""",
        (unit_id, since),
    ).fetchone()
    return 0 if row is None else int(row[0])


def insert_measurement(
    conn: Conn, party_id: int, parts: tuple[Any, Any, Any], act: tuple[str, datetime]
) -> int:
    """Keep a measurement: readings, positions, portfolio."""
    by, at = act
    row = conn.execute(
        """INSERT INTO risk_measurement (party_id, at, readings, positions, portfolio, made_by)
           VALUES (%s, %s, %s, %s, %s, %s) RETURNING measurement_id""",
        (party_id, at, *(Jsonb(part) for part in parts), by),
    ).fetchone()
    assert row is not None
    return int(row[0])


def last_measurement(conn: Conn, party_id: int) -> MeasurementRow | None:
    """The newest measurement of a party."""
    with conn.cursor(row_factory=class_row(MeasurementRow)) as cursor:
        return cursor.execute(
            """SELECT measurement_id, party_id, at, readings, positions, portfolio FROM risk_measurement
               WHERE party_id = %s ORDER BY measurement_id DESC LIMIT 1""",
            (party_id,),
        ).fetchone()


def lock(conn: Conn, party_id: int) -> None:
    """Let the measurements of one party pass one after the other, so that an alarm is raised once."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('risk:' || %s, 0))", (party_id,))


def insert_alarm(
    conn: Conn, party_id: int, alarm: tuple[str, str, int], facts: Mapping[str, str], at: datetime
) -> int:
    """Keep an alarm: indicator, level, value."""
    row = conn.execute(
        """INSERT INTO risk_alarm (party_id, indicator, level, value_ppm, facts, at) VALUES (%s, %s, %s, %s, %s, %s)
           RETURNING alarm_id""",
        (party_id, *alarm, Jsonb(dict(facts)), at),
    ).fetchone()
    assert row is not None
    return int(row[0])


def end_alarm(conn: Conn, alarm_id: int, at: datetime) -> None:
    """The indicator is no longer at that level."""
    conn.execute("INSERT INTO risk_alarm_end (alarm_id, at) VALUES (%s, %s)", (alarm_id, at))


def alarms(conn: Conn, party_id: int | None, *, only_open: bool = False) -> tuple[AlarmRow, ...]:
    """Alarms of a party, or of all; the newest first."""
    with conn.cursor(row_factory=class_row(AlarmRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT a.alarm_id, a.party_id, p.name, a.indicator, a.level, a.value_ppm,
                          coalesce(a.facts->>'held_fen' = '0', false) AS is_unlodged, a.at, e.at AS ended_at
                   FROM risk_alarm a JOIN party p USING (party_id) LEFT JOIN risk_alarm_end e USING (alarm_id)
                   WHERE (%(party)s::bigint IS NULL OR a.party_id = %(party)s) AND (e.at IS NULL OR NOT %(open)s)
                   ORDER BY a.alarm_id DESC LIMIT 200""",
                {"party": party_id, "open": only_open},
            )
        )


def insert_plan(conn: Conn, party_id: int, plan: Mapping[str, object], act: tuple[str, datetime]) -> int:
    """Keep a plan: alarm_id, measure, action, owner_id, due_on."""
    by, at = act
    row = conn.execute(
        """INSERT INTO risk_plan (party_id, alarm_id, measure, action, owner_id, due_on, made_at, made_by)
           VALUES (%(party_id)s, %(alarm_id)s, %(measure)s, %(action)s, %(owner_id)s, %(due_on)s, %(at)s, %(by)s)
           RETURNING plan_id""",
        {**plan, "party_id": party_id, "at": at, "by": by},
    ).fetchone()
    assert row is not None
    return int(row[0])


def move_plan(
    conn: Conn, plan_id: int, move: tuple[str, str, str], outcome: str, act: tuple[str, datetime]
) -> None:
    """Take a plan along: deed, before, after."""
    by, at = act
    if move[1]:
        conn.execute("UPDATE risk_plan SET state = %s WHERE plan_id = %s", (move[2], plan_id))
    conn.execute(
        """INSERT INTO risk_plan_event (plan_id, deed, before, after, at, actor, outcome)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (plan_id, *move, at, by, outcome),
    )


_PLANS = """SELECT p.plan_id, p.party_id, y.name, p.alarm_id, p.measure, p.action, u.display_name AS owner, p.due_on, p.state,
                   p.made_at, (SELECT e.outcome FROM risk_plan_event e WHERE e.plan_id = p.plan_id AND e.outcome <> ''
                               ORDER BY e.event_id DESC LIMIT 1) AS outcome
            FROM risk_plan p JOIN party y USING (party_id) JOIN app_user u ON u.user_id = p.owner_id"""


def plans(conn: Conn, party_id: int | None) -> tuple[PlanRow, ...]:
    """Plans of a party, or of all; the newest first."""
    with conn.cursor(row_factory=class_row(PlanRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_PLANS} WHERE %(party)s::bigint IS NULL OR p.party_id = %(party)s
                    ORDER BY p.plan_id DESC LIMIT 200""",
                {"party": party_id},
            )
        )


def find_plan(conn: Conn, plan_id: int) -> PlanRow | None:
    """One of them, locked until the transaction's end."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('risk_plan:' || %s, 0))", (plan_id,))
    with conn.cursor(row_factory=class_row(PlanRow)) as cursor:
        return cursor.execute(f"{_PLANS} WHERE p.plan_id = %s", (plan_id,)).fetchone()


def owners(conn: Conn, party_id: int) -> tuple[tuple[int, str], ...]:
    """Who may own a plan of a party: its own people, and the staff."""
    found = conn.execute(
        """SELECT user_id, display_name FROM app_user
           WHERE disabled_at IS NULL AND (party_id = %s OR role = 'staff') ORDER BY role, display_name""",
        (party_id,),
    ).fetchall()
    return tuple((int(row[0]), str(row[1])) for row in found)
