"""Policies, notices, reports and a regulator in the demonstration. Safe to repeat."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from cloud import db
from cloud.db import Conn, Pool, ProcessRole, Scope
from cloud.errors import Refused
from cloud.files import Vault
from cloud.market import reportrule
from cloud.market.policy import NewPolicy, Relation
from cloud.market.run import policies, report
from cloud.market.run.report import Wanted
from cloud.market.store import policies as kept
from cloud.market.store import reports
from cloud.markettime import day_of, month_after
from cloud.security import run as security
from cloud.security.store import LoginTaken, UserRow

REGULATOR = "regulator"
ISSUER = "国家发展改革委、国家能源局"
# Numbers, titles and days as published; 889号 and its repeal are what the market's rules of the demonstration go by.
POLICIES = (
    NewPolicy(
        "发改能源规〔2020〕889号",
        "电力中长期交易基本规则",
        ISSUER,
        date(2020, 6, 10),
        date(2020, 6, 10),
        None,
        "旧的中长期交易规则；1656号施行之日起废止。",
        ("中长期交易",),
        ("cloud/market/rules/889-demo.toml",),
        (),
    ),
    NewPolicy(
        "发改能源规〔2025〕1656号",
        "电力中长期市场基本规则",
        ISSUER,
        date(2025, 12, 17),
        date(2026, 3, 1),
        None,
        "中长期交易的组织、申报、出清、合同与结算衔接；直接参与市场的用户不再执行政府规定的分时电价时段与水平。",
        ("中长期交易", "绿电"),
        ("cloud/market/rules/two-settlement.toml",),
        (Relation("repeals", "发改能源规〔2020〕889号", date(2026, 3, 1)),),
    ),
)


def set_up(pool: Pool, vault: Vault, now: datetime, password: str) -> str:
    """Add the regulator's person, enter policies, build the last month's report of trades; say what there is."""
    with db.transaction(pool, Scope(ProcessRole.OWNER)) as conn:
        _person(conn, password)
        for new in POLICIES:
            if not kept.is_kept(conn, new.number):
                policies.enter(conn, new, None, "demo", now)
    with db.transaction(pool, Scope(ProcessRole.WORKER, actor="demo")) as conn:
        built = _report(conn, vault, now)
        try:
            due = report.remind(conn, now)
        except Refused:  # a year without a holiday arrangement
            due = ()
    return f"监管账号 {REGULATOR}，政策 {len(POLICIES)} 份，{built}，待报 {len(due)} / a regulator, policies, reports"


def _person(conn: Conn, password: str) -> None:
    user = UserRow(0, REGULATOR, "", "示范监管处", "regulator", None, "zh")
    try:
        security.add_user(conn, user, password)
    except LoginTaken:
        return


def _report(conn: Conn, vault: Vault, now: datetime) -> str:
    """Build the report of the latest month over that has contracts, if it has none."""
    first = month_after(day_of(now).replace(day=1), -1)
    for _ in range(4):
        rows = reports.trade_rows(conn, first, first + timedelta(days=1))
        if rows and not reports.revisions(conn, "trades-monthly", first):
            row = report.build(conn, vault, Wanted("trades-monthly", first), "demo", now)
            return f"{reportrule.period_name(row.first_day, row.end_day)} 交易月报 {row.row_count} 行"
        if rows:
            return "交易月报已在"
        first = month_after(first, -1)
    return "没有可报的合同"
