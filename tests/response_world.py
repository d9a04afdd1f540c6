"""A small programme with two workshops and an aggregator: what the tests of demand response start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from importlib import resources

import market_world

from cloud import db
from cloud.db import Conn, ProcessRole, Scope
from cloud.market.run import respond
from cloud.market.store.enrolments import NewEnrolment
from cloud.security.access import Actor, Role

EVENT_DAY = date(2026, 8, 20)  # a Thursday
ENROLLED_AT = datetime(2026, 5, 1, 2, tzinfo=UTC)
CALLED_AT = datetime(2026, 8, 19, 2, tzinfo=UTC)  # 10:00 the day before
FIRST, END = 56, 64  # 14:00 to 16:00
BASE_KW = 1000
ACCOUNTS = ("3700000900001", "3700000900002")
STAFF = Actor(1, "operator", "operator", Role.STAFF, None, "zh")
STAFF_SCOPE = Scope(ProcessRole.API, "staff", None, "user:1")
WORKER = Scope(ProcessRole.WORKER, actor="job:response")
OWNER = Scope(ProcessRole.OWNER)


@dataclass(frozen=True)
class Participant:
    """Somebody who answers: the party and its scope."""

    party_id: int

    @property
    def actor(self) -> Actor:
        return Actor(100 + self.party_id, "p", "p", Role.CUSTOMER, self.party_id, "zh")

    @property
    def scope(self) -> Scope:
        return Scope(ProcessRole.API, "customer", self.party_id, f"user:{100 + self.party_id}")


def put_day(conn: Conn, point: str, day: date, kw: Sequence[int | None], revision: int = 1) -> None:
    """Keep a validated day; None is a quarter-hour that was estimated."""
    wh = [None if each is None else each * 250 for each in kw]
    conn.execute(
        """INSERT INTO interval_day (supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh,
                                     quality, made_at, made_by)
           VALUES (%s, %s, %s, %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::smallint[], %s, 'test')""",
        (
            *(point, day, revision, [w or 0 for w in wh], [None] * 96, [None] * 96, [None] * 96),
            *([3 if w is None else 1 for w in wh], datetime(2026, 8, 21, tzinfo=UTC)),
        ),
    )


def account(conn: Conn, account_id: str, party_id: int) -> None:
    """An account with one supply point of the same number."""
    conn.execute(
        "INSERT INTO account (account_id, party_id, name, address) VALUES (%s, %s, %s, '示范园区')",
        (account_id, party_id, f"车间{account_id[-1]}"),
    )
    conn.execute(
        "INSERT INTO supply_point (supply_point_id, account_id, name) VALUES (%s, %s, '总表')",
        (f"SP{account_id}", account_id),
    )


SPLIT = """kind = "response-split"
id = "vpp-split"
version = 1
effective_from = 2026-05-01
keep_ratio = "0.20"
by = "response"
charges = "aggregator"
"""


def build_portfolio(pool: db.Pool) -> tuple[Participant, Participant, Participant]:
    """Both workshops by the aggregator, in a contracted programme that measures them as one. Return the three."""
    one, two, vpp = _everybody(pool)
    name = "vpp-contracted-demo-1.toml"
    text = (resources.files("cloud.market") / "programmes" / name).read_text("utf-8")
    with db.transaction(pool, STAFF_SCOPE) as conn:
        respond.enter_programme(conn, STAFF, name, text, ENROLLED_AT)
        respond.enter_split(conn, STAFF, vpp, SPLIT, ENROLLED_AT)
        for number, party_id in enumerate((one, two)):
            new = replace(enrolment(number, party_id, vpp), programme_id="vpp-contracted-demo")
            respond.enrol(conn, STAFF, new, ENROLLED_AT)
    return Participant(one), Participant(two), Participant(vpp)


def _everybody(pool: db.Pool) -> tuple[int, int, int]:
    """Two workshops, each with 60 days of flat load, and an aggregator."""
    with db.transaction(pool, OWNER) as conn:
        one = market_world.admitted_party(conn, "user", "示范一厂")
        two = market_world.admitted_party(conn, "user", "示范二厂")
        vpp = market_world.admitted_party(conn, "vpp", "示范聚合")
        for account_id, party_id in zip(ACCOUNTS, (one, two), strict=True):
            account(conn, account_id, party_id)
            for back in range(1, 61):
                put_day(conn, f"SP{account_id}", EVENT_DAY - timedelta(days=back), [BASE_KW] * 96)
    return one, two, vpp


def build(pool: db.Pool, *, aggregated: bool = True) -> tuple[Participant, Participant, Participant]:
    """Workshop one by itself, workshop two by the aggregator. Return the three."""
    one, two, vpp = _everybody(pool)
    name = "jibei-peak-demo-1.toml"
    text = (resources.files("cloud.market") / "programmes" / name).read_text("utf-8")
    with db.transaction(pool, STAFF_SCOPE) as conn:
        respond.enter_programme(conn, STAFF, name, text, ENROLLED_AT)
        if aggregated:
            respond.enrol(conn, STAFF, enrolment(1, two, vpp), ENROLLED_AT)
    first = Participant(one)
    with db.transaction(pool, first.scope) as conn:
        respond.enrol(conn, first.actor, enrolment(0, one, None), ENROLLED_AT)
    return first, Participant(two), Participant(vpp)


def enrolment(number: int, party_id: int, aggregator_id: int | None) -> NewEnrolment:
    """How a workshop takes part."""
    return NewEnrolment(
        *("jibei-peak-demo", ACCOUNTS[number], party_id, aggregator_id, date(2026, 5, 2), None),
        *(400, "中央空调与压缩机", "示范协议 1"),
    )
