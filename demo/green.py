"""The demo's green power and demand response: a wind farm's certificates, a proof, a programme and an invitation."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from importlib import resources

from cloud import db, markettime
from cloud.market.run import green, respond
from cloud.market.store import certificates, enrolments, entered
from cloud.market.store import response as store
from cloud.market.store.certificates import PlantRow
from cloud.market.store.enrolments import NewEnrolment
from cloud.market.store.greensales import NewSale
from cloud.security.access import Actor, Role

STAFF_SCOPE = db.Scope(db.ProcessRole.OWNER)
PROGRAMME = "jibei-peak-demo-1.toml"


def set_up(pool: db.Pool, generator_id: int, account_id: str, now: datetime) -> None:
    """Show both on the parties named; running it again changes nothing.

    `generator_id` is a generator that may trade, `account_id` an account whose holder may. Months and event follow `now`.
    """
    today = markettime.day_of(now)
    month = markettime.month_of(today)
    with db.transaction(pool, STAFF_SCOPE) as conn:
        row = conn.execute("SELECT user_id FROM app_user WHERE role = 'staff' ORDER BY 1 LIMIT 1").fetchone()
        owner_id = enrolments.account_party(conn, account_id)
        if row is None or owner_id is None:
            return
        staff = Actor(int(row[0]), "demo", "demo", Role.STAFF, None, "zh")
        _certificates(conn, staff, (generator_id, owner_id), month, now)
        _event(conn, staff, (account_id, owner_id), today, now)


def _certificates(conn: db.Conn, staff: Actor, parties: tuple[int, int], month: date, now: datetime) -> None:
    generator_id, owner_id = parties
    unit = f"party:{generator_id}"
    plant = PlantRow(unit, generator_id, "", "示范风电场", "wind", True, "演示备案")
    if not any(each.unit_id == unit for each in certificates.plants(conn)):
        green.enter_plant(conn, staff, plant, now)
    if certificates.months(conn, unit):
        return
    for back, mwh in ((3, "812.345"), (2, "905.120"), (1, "768.900")):
        produced = markettime.month_after(month, -back)
        quantity = entered.QuantityRow("generation", Decimal(mwh), None, "演示")
        entered.put_quantity(conn, unit, produced, quantity, entered.Entry("demo", now))
        green.issue_plant(conn, staff, unit, produced, now)
    seller = Actor(staff.user_id, "demo", "demo", Role.CUSTOMER, generator_id, "zh")
    buyer = Actor(staff.user_id, "demo", "demo", Role.CUSTOMER, owner_id, "zh")
    sale = NewSale(generator_id, None, 300, 414, now + timedelta(days=30), "demo")
    sale_id = green.offer(conn, seller, sale, now).sale_id
    green.take(conn, buyer, sale_id, 120, "demo", now)
    used = markettime.month_after(month, -1)
    green.retire(conn, buyer, 40, green.Use("示范用户", "年度碳排放报告", used, used), "demo", now)


def _event(conn: db.Conn, staff: Actor, holder: tuple[str, int], today: date, now: datetime) -> None:
    account_id, owner_id = holder
    if store.events(conn):
        return
    text = (resources.files("cloud.market") / "programmes" / PROGRAMME).read_text("utf-8")
    respond.enter_programme(conn, staff, PROGRAMME, text, now)
    enrolment = NewEnrolment(
        *("jibei-peak-demo", account_id, owner_id, None, today, None, 120, "中央空调与空压机", "演示协议")
    )
    respond.enrol(conn, staff, enrolment, now)
    new = respond.NewEvent(
        "jibei-peak-demo", today + timedelta(days=1), 68, 76, 5000, Decimal("1.2"), "晚峰供需偏紧"
    )
    respond.notify(conn, staff, respond.plan(conn, staff, new, now), now)
