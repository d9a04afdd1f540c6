"""A few accounts with a meter each and bills that are out: the world of ledger and correction tests.

Every account has the same flat load of 1 kWh a quarter-hour, times its place in the row: kWh are whole, nothing is
rounded on the way, and one changed interval changes exactly one account.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from cloud.billing.run import bill as billing
from cloud.billing.run import correct
from cloud.billing.run import issue as issuing
from cloud.db import Conn
from cloud.markettime import days_of_month
from cloud.metering.interval import IntervalDay, IntervalQuality
from cloud.metering.store import intervals
from cloud.security.access import Actor, Role

AUGUST = date(2026, 8, 1)
ISSUED_AT = datetime(2026, 9, 14, 2, tzinfo=UTC)
MADE_AT = datetime(2026, 9, 1, 2, tzinfo=UTC)
SHELLS = correct.Shells(billing.inputs, billing.draw, issuing.issue)
NO = (0,) * 96
MEASURED = (int(IntervalQuality.ACTUAL),) * 96


def account_id(number: int) -> str:
    return f"13000000{number:05d}"


def point_id(number: int) -> str:
    return f"SP{number:05d}"


def a_day(number: int, day: date, revision: int = 1, **wh_at: int) -> IntervalDay:
    """The account's flat day; `slot_40=500` puts another energy into a slot."""
    curve = [1000 * number] * 96
    for name, wh in wh_at.items():
        curve[int(name.removeprefix("slot_"))] = wh
    return IntervalDay(point_id(number), day, revision, tuple(curve), NO, NO, NO, quality=MEASURED)


def put_accounts(conn: Conn, numbers: Sequence[int]) -> None:
    """A party of its own for each, single-part commercial, agency purchase."""
    for number in numbers:
        conn.execute(
            "INSERT INTO party (kind, name) VALUES ('user', %s) ON CONFLICT DO NOTHING",
            (f"示范园区{number}",),
        )
        conn.execute(
            """INSERT INTO account (account_id, party_id, name, address)
               SELECT %s, party_id, name, '示范园区' FROM party WHERE name = %s""",
            (account_id(number), f"示范园区{number}"),
        )
        conn.execute(
            """INSERT INTO account_terms (account_id, effective, category, purchase, structure, voltage)
               VALUES (%s, '[2020-01-01 00:00+08,)', 'commercial', 'agency', 'single_part', '1-10kV')""",
            (account_id(number),),
        )
        conn.execute(
            "INSERT INTO supply_point VALUES (%s, %s, '总表')", (point_id(number), account_id(number))
        )


def put_month(conn: Conn, number: int, month: date = AUGUST, made_at: datetime = MADE_AT) -> None:
    """Every day of the month, as first validated."""
    making = intervals.Making(made_at, "test:1", None, None)
    for day in days_of_month(month):
        intervals.add_day(conn, a_day(number, day), making)


def put_revision(conn: Conn, day: IntervalDay, made_at: datetime) -> None:
    """A later revision of one day."""
    intervals.add_day(conn, day, intervals.Making(made_at, "test:2", None, None))


def bill_and_issue(conn: Conn, number: int, month: date = AUGUST, now: datetime = ISSUED_AT) -> int:
    """Draw up and issue; return the bill's number."""
    drawn = billing.bill_month(conn, account_id(number), month, now)
    issuing.issue(conn, drawn.bill_id, "test", now)
    return drawn.bill_id


def put_staff(conn: Conn, login: str) -> Actor:
    """A member of the staff who may decide."""
    row = conn.execute(
        "INSERT INTO app_user (login, password_hash, display_name, role) VALUES (%s, 'x', %s, 'staff') RETURNING user_id",
        (login, login),
    ).fetchone()
    assert row is not None
    return Actor(row[0], login, login, Role.STAFF, None, "zh")
