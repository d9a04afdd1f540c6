"""shoudian-cloud party."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cloud import commands

if TYPE_CHECKING:
    from cloud.db import Conn
    from cloud.parties.store.entities import PartyRow

KINDS = ("user", "retailer", "generator", "storage", "vpp")
EXAMPLE = """
例 / example:
  shoudian-cloud party invite generator 示范热电厂 --login redian --person 热电厂操作员
  shoudian-cloud party list --kind retailer --state effective
  shoudian-cloud party show 示范热电厂
  shoudian-cloud party missing 示范热电厂            # 还缺什么 / what stands against its application
  shoudian-cloud party queue                         # 待审核，按承诺日 / what waits, by promised day
  shoudian-cloud party expiring --days 60
  shoudian-cloud party watch                         # 到期、公示、注销，平时由 work 每小时做 / what `work` does hourly
  shoudian-cloud party checklist retailer
"""


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    deed = commands.topic(
        add, "party", "市场主体：邀请、查看、资质 / market entities: invite, look, qualifications", EXAMPLE
    )
    command = deed("invite", _invite, "邀请登记：建立主体和第一个操作员 / make a party and its first person")
    command.add_argument("kind", choices=KINDS)
    command.add_argument("name", metavar="NAME")
    command.add_argument("--login", required=True, help="操作员登录名 / login of its first person")
    command.add_argument("--person", required=True, metavar="NAME", help="操作员姓名 / name of the person")
    command.add_argument(
        "--password-file", type=Path, metavar="FILE", help="口令文件；不给则询问 / else asked for"
    )
    command = deed("list", _list, "列出主体 / list parties")
    command.add_argument("--kind", choices=KINDS, default="")
    command.add_argument("--state", default="", metavar="STATE")
    for name, run, text in (
        ("show", _show, "一个主体的档案与经过 / a party's profile and timeline"),
        ("missing", _missing, "申请还缺什么 / what stands against its application"),
    ):
        deed(name, run, text).add_argument("name", metavar="NAME")
    deed("queue", _queue, "待审核，按承诺日 / what waits for review, by promised day")
    command = deed("expiring", _expiring, "即将到期的资质 / documents that end soon")
    command.add_argument("--days", type=int, default=60, metavar="N")
    command = deed(
        "watch", _watch, "办理到期事项：公示、资质、注销 / do what is due: publicity, expiry, leaving"
    )
    command.add_argument(
        "--on", metavar="DATE", type=date.fromisoformat, help="按这一天（演练）/ as on this day"
    )
    deed("checklist", _checklist, "注册清单 / the checklist of a kind").add_argument("kind", choices=KINDS)


def _invite(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.parties.run import register
    from cloud.security import run as security
    from cloud.security.access import Role
    from cloud.security.store import UserRow

    password = security.read_password(arguments.password_file)
    user = security.new_user(
        UserRow(0, arguments.login, "", arguments.person, Role.CUSTOMER, 0, "zh"), password
    )
    person = register.Person(user.login, user.password_hash, user.display_name)
    scope = db.Scope(db.ProcessRole.OWNER, "staff", None, "cli:party")
    with db.open_pool(commands.config().dsn, size_max=1) as pool, db.transaction(pool, scope) as conn:
        party_id = register.invite(
            conn, arguments.kind, arguments.name, person, (commands.now(), "cli:party")
        )
    print(f"party:{party_id}  {arguments.name}  {user.login}")


def _list(arguments: argparse.Namespace) -> None:
    from cloud.parties.store import entities

    with _looking() as conn:
        for row in entities.listed(conn, kind=arguments.kind, state=arguments.state):
            print(f"party:{row.party_id}\t{row.kind}\t{row.subkind or '-'}\t{row.state}\t{row.name}")


def _show(arguments: argparse.Namespace) -> None:
    from cloud.parties.labels import label
    from cloud.parties.store import entities

    with _looking() as conn:
        row = _party(conn, arguments.name)
        print(f"party:{row.party_id}  {row.kind}/{row.subkind or '-'}  {row.state}  {row.name}")
        profile = entities.profile_at(conn, row.party_id, commands.now())
        form = entities.form_of(conn, row.party_id)
        facts = profile.facts if profile else form.facts if form else {}
        for key, value in facts.items():
            print(f"  {label(f'field.{key}')}: {value}")
        for paper in entities.speaking(entities.papers(conn, row.party_id)):
            until = "…" if paper.valid_until is None else paper.valid_until - timedelta(days=1)
            print(f"  {label(paper.item)}: {paper.file_name}  ≤ {until}")
        for event in entities.events(conn, row.party_id):
            print(
                f"  {event.at:%Y-%m-%d %H:%M}Z  {event.deed}: {event.before} → {event.after}  {event.actor}  {event.reason}"
            )


def _missing(arguments: argparse.Namespace) -> int:
    from cloud import words
    from cloud.parties.labels import label
    from cloud.parties.run import register

    with _looking() as conn:
        ready = register.readiness(conn, _party(conn, arguments.name), commands.now())
    for gap in ready.gaps:
        print(f"{label(gap.item)}: {words.say('zh', f'entity_gap.{gap.why}', **gap.facts)}")
    print("可以提交 / ready" if ready.is_ready else f"{len(ready.gaps)}")
    return 0 if ready.is_ready else 1


def _queue(arguments: argparse.Namespace) -> None:
    from cloud.parties.store import reviews

    with _looking() as conn:
        for each in reviews.work(conn, "cli:party"):
            print(f"{each.due}\t{each.kind}\t{each.accepts}/2\tparty:{each.party_id}\t{each.party_name}")


def _expiring(arguments: argparse.Namespace) -> None:
    from cloud import markettime
    from cloud.parties.labels import label
    from cloud.parties.store import entities

    today = markettime.day_of(commands.now())
    with _looking() as conn:
        for party, paper in entities.expiring(conn, today + timedelta(days=max(arguments.days, 0) + 1)):
            assert paper.valid_until is not None
            last = paper.valid_until - timedelta(days=1)
            print(f"{last}\t{(last - today).days}\t{party.name}\t{party.state}\t{label(paper.item)}")


def _watch(arguments: argparse.Namespace) -> None:
    from cloud import db, markettime
    from cloud.parties.run import watch

    now = commands.now() if arguments.on is None else markettime.slot_start(arguments.on, 48)
    scope = db.Scope(db.ProcessRole.WORKER, actor=watch.ACTOR)
    with db.open_pool(commands.config().dsn, size_max=1) as pool, db.transaction(pool, scope) as conn:
        seen = watch.watch(conn, now)
    print(
        f"生效 effective {seen.took_effect}，注销 struck off {seen.struck_off}，暂停 suspended {seen.suspended}，"
        f"恢复 restored {seen.restored}，提醒 reminded {seen.reminded}"
    )


def _checklist(arguments: argparse.Namespace) -> None:
    from cloud import markettime
    from cloud.parties import checklist
    from cloud.parties.labels import label
    from cloud.parties.party import Kind

    found = checklist.in_force(Kind(arguments.kind), markettime.day_of(commands.now()))
    print(f"{found.name}  {found.effective}  sha256 {found.sha256[:12]}")
    for source in found.sources:
        print(f"  [{source.mark}] {source.document}: {source.note}")
    for field in found.fields:
        classes = ", ".join(field.subkinds) or "*"
        print(
            f"  {label(f'field.{field.key}')}  {field.type}  {classes}{'  (选填 optional)' if field.is_optional else ''}"
        )
    for paper in found.papers:
        classes = ", ".join(paper.subkinds) or "*"
        dated = "  有效期 dated" if paper.is_dated else ""
        print(
            f"  {label(paper.key)}  {classes}{dated}{'  过期停牌 stops trading' if paper.stops_trading else ''}"
        )


def _party(conn: Conn, name: str) -> PartyRow:
    from cloud.errors import NotFound
    from cloud.parties.store import entities

    for row in entities.listed(conn, text=name):
        if row.name == name:
            return row
    raise NotFound("no_such_party", party=name)


@contextmanager
def _looking() -> Iterator[Conn]:
    from cloud import db

    scope = db.Scope(db.ProcessRole.WORKER, actor="cli:party")
    with db.open_pool(commands.config().dsn, size_max=1) as pool, db.transaction(pool, scope) as conn:
        yield conn
