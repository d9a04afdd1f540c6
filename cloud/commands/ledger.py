"""shoudian-cloud ledger, correct."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from cloud import commands

if TYPE_CHECKING:
    from cloud.billing.run.bill import Inputs
    from cloud.billing.run.correct import Shells
    from cloud.billing.store.corrections import ItemRow
    from cloud.db import Conn, Pool
    from cloud.security.access import Actor

LEDGER_EXAMPLE = """
例 / example:
  shoudian-cloud ledger trial-balance                                  # 现在的试算平衡表 / as of now
  shoudian-cloud ledger trial-balance --effective 2026-08-31 --booked 2026-09-15T00:00+08:00 --csv > trial.csv
  shoudian-cloud ledger statement receivable/3700000000001
  shoudian-cloud ledger lock 2026-08                                   # 永久关账 / close for good
说明 / manual: docs/operations/corrections.md
"""
CORRECT_EXAMPLE = """
例 / example:
  shoudian-cloud correct find                                          # 哪些已出账单受影响 / which issued bills are touched
  shoudian-cloud correct find --day SP0001/2026-08-12                  # 用到这一天电量的账单 / bills drawn from that day
  shoudian-cloud correct find --file jibei-agency-2026-08@1            # 用到该电价文件的账单 / bills that name that file
  shoudian-cloud correct prepare --account 3700000000001 --reason "表计更换漏录 / meter change entered late" --login li
  shoudian-cloud correct show 1
  shoudian-cloud correct approve 1 --login zhang                       # 由另一人以本人口令审批 / by another person, with the password
说明 / manual: docs/operations/corrections.md
"""


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    deed = commands.topic(
        add,
        "ledger",
        "总账：试算平衡、明细账、关账 / ledger: trial balance, statement, closing",
        LEDGER_EXAMPLE,
    )
    text = "试算平衡表，按任意两个日期 / trial balance at any pair of dates"
    command = deed("trial-balance", _trial_balance, text)
    command.add_argument(
        "--effective", type=_day, metavar="DATE", help="生效至该日（含） / effective up to and including it"
    )
    command.add_argument(
        "--booked", type=_instant, metavar="INSTANT", help="记账早于此刻 / booked before it, ISO 8601"
    )
    command.add_argument("--csv", action="store_true", help="CSV，金额为分 / CSV, amounts in fen")
    command = deed("statement", _statement, "一个科目的明细账 / an account's statement with running balance")
    command.add_argument(
        "account", metavar="ACCOUNT", help="例 / e.g. receivable/3700000000001, revenue/energy"
    )
    text = "永久关闭一个月及其以前各月 / close a month, and every month before it, for good"
    command = deed("lock", _lock, text)
    command.add_argument("month", metavar="MONTH", type=commands.month, help="YYYY-MM")

    deed = commands.topic(
        add,
        "correct",
        "账单更正：查找、提出、查看、审批 / corrections: find, prepare, show, approve",
        CORRECT_EXAMPLE,
    )
    command = deed("find", _find, "受影响的账单 / the bills that a change touches")
    one = command.add_mutually_exclusive_group()
    one.add_argument(
        "--day", type=_point_day, metavar="POINT/DATE", help="计量点与日期 / supply point and day"
    )
    one.add_argument("--file", type=_file, metavar="ID@VERSION", help="电价文件 / price file")
    command = deed(
        "prepare", _prepare, "立即提出更正，不等批次 / propose at once, without waiting for the run"
    )
    who = command.add_mutually_exclusive_group(required=True)
    who.add_argument("--account", metavar="ACCOUNT", help="户号 / account number")
    who.add_argument("--all", action="store_true", help="全部受影响的账单 / every touched bill")
    command.add_argument("--reason", required=True, help="客户看到的原因 / what the customers read")
    _ask_login(command, "提出人登录名，口令从终端读取 / who proposes; the password is asked for")
    command = deed("show", _show, "一份更正的内容 / what a proposal says")
    command.add_argument("correction", type=int, metavar="ID")
    command = deed(
        "approve", _approve, "审批；须为提出者以外的人员 / approve, as another person than who prepared it"
    )
    command.add_argument("correction", type=int, metavar="ID")
    _ask_login(command, "审批人登录名，口令从终端读取 / whose approval; the password is asked for")


def _ask_login(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--login", required=True, help=text)


def _trial_balance(arguments: argparse.Namespace) -> None:
    from cloud.billing.store import ledger

    before = None if arguments.effective is None else arguments.effective + timedelta(days=1)
    with _worker("cli:ledger") as conn:
        rows = ledger.trial_balance(conn, before, arguments.booked)
    if arguments.csv:
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(("account", "debit_fen", "credit_fen", "balance_fen"))
        table.writerows((row.account, row.debit_fen, row.credit_fen, row.balance_fen) for row in rows)
        return
    for row in rows:
        print(
            f"{row.account:<40} {_yuan(row.debit_fen):>18} {_yuan(row.credit_fen):>18} {_yuan(row.balance_fen):>18}"
        )
    sums = (sum(row.debit_fen for row in rows), sum(row.credit_fen for row in rows))
    print(f"{'合计 / sum':<38} {_yuan(sums[0]):>18} {_yuan(sums[1]):>18} {_yuan(sums[0] - sums[1]):>18}")


def _statement(arguments: argparse.Namespace) -> None:
    from cloud.billing.store import bookings

    with _worker("cli:ledger") as conn:
        lines = bookings.statement(conn, arguments.account, bookings.Span())
    for line in lines:
        print(
            f"{line.effective_date} #{line.journal_id:<8} {line.deed:<24} {_yuan(line.amount_fen):>16} "
            f"{_yuan(line.balance_fen):>16}  {line.item}"
        )
    if not lines:
        print(f"{arguments.account}: 没有记账 / no postings")


def _lock(arguments: argparse.Namespace) -> None:
    from cloud.billing.store import ledger

    with _worker("cli:ledger") as conn:
        is_new = ledger.lock_period(conn, arguments.month, "cli:ledger", commands.now())
    print(
        f"{arguments.month:%Y-%m}: {'已永久关账 / closed for good' if is_new else '早已关账 / was closed before'}"
    )


def _find(arguments: argparse.Namespace) -> None:
    from cloud.billing import correction
    from cloud.billing.run import correct
    from cloud.billing.store import touched
    from cloud.markettime import day_of

    now = commands.now()
    with _worker("cli:correct") as conn:
        if arguments.day:
            print(*touched.bills_of_day(conn, *arguments.day), sep="\n")
            return
        if arguments.file:
            sheet_id, version = arguments.file
            print(*touched.bills_of_file(conn, sheet_id, [version]), sep="\n")
            return
        touched.look(conn, now)
        rules = correct.correction_rules(conn, day_of(now))
        notes = correction.by_bill(touched.waiting(conn))
    for each in notes:
        whys = "; ".join(f"{why.cause} {why.detail}" for why in each.whys)
        print(
            f"{each.account_id} {each.month:%Y-%m} #{each.bill_id} {correction.run_of(each, rules)}: {whys}"
        )
    print(f"受影响的账单 / touched bills: {len(notes)}")


def _prepare(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.billing import correction
    from cloud.billing.run import correct
    from cloud.billing.store import published, touched
    from cloud.security import run as security

    now = commands.now()
    with db.open_pool(commands.config().dsn, size_max=1) as pool:
        name = security.actor_name(_person(pool, arguments.login, now))
    with _worker(name) as conn:
        published.keep(conn, published.packaged_texts(), now)
        touched.lock(conn)
        touched.look(conn, now)
        notes = correction.by_bill(touched.waiting(conn, arguments.account))[: correct.ITEMS_MAX]
        order = correct.Order(correction.DESK, arguments.reason, name)
        number = correct.prepare(conn, notes, order, _shells(), now)
    _print_correction(number)


def _show(arguments: argparse.Namespace) -> None:
    _print_correction(arguments.correction)


def _print_correction(number: int) -> None:
    from cloud.billing.run.correct import NoCorrection
    from cloud.billing.store import corrections

    with _worker("cli:correct") as conn:
        row = corrections.find(conn, number)
        if row is None:
            raise NoCorrection("no_such_correction", correction=number)
        items = corrections.items(conn, number)
    print(f"更正 / correction {number} ({row.run}, {row.prepared_by}): {row.reason}")
    for each in items:
        print(_item_text(each))
    print(
        f"多收 / more {_yuan(row.more_fen)}, 少收 / less {_yuan(row.less_fen)} 元 / yuan; "
        f"{row.deed or '待审批 / waits for approval'}"
    )


def _item_text(each: ItemRow) -> str:
    whys = "; ".join(f"{why.cause} {why.detail}" for why in each.whys)
    change = f"{_yuan(each.before_fen)} -> {_yuan(each.after_fen)}"
    return f"  {each.account_id} {each.month:%Y-%m} #{each.bill_id} {each.outcome}: {change} ({whys}) {each.problem}".rstrip()


def _approve(arguments: argparse.Namespace) -> int:
    """Approve as a person: the command itself has no right to."""
    from cloud import db
    from cloud.billing.run import correct
    from cloud.security import run as security

    now = commands.now()
    with db.open_pool(commands.config().dsn, size_max=1) as pool:
        actor = _person(pool, arguments.login, now)
        scope = db.Scope(db.ProcessRole.API, actor.role.value, actor.party_id, security.actor_name(actor))
        with db.transaction(pool, scope) as conn:
            issued = correct.approve(conn, actor, arguments.correction, _shells(), now)
    print(f"已出更正账单 / correction bills issued: {', '.join(f'#{bill_id}' for bill_id in issued)}")
    return 0


def _person(pool: Pool, login: str, now: datetime) -> Actor:
    """Tell by the password who sits at the terminal. Raises WrongPassword, TooManyTries, NotForRole."""
    from cloud import db
    from cloud.security import run as security
    from cloud.security.access import Actor, Deed, NotForRole, Role, may

    password = security.read_password(None)
    with db.transaction(pool, db.Scope(db.ProcessRole.API)) as conn:
        tried = security.knock(conn, login, "cli", now)
    if tried.user is None or not security.is_right(tried, password):
        raise security.WrongPassword("wrong_password")
    with db.transaction(pool, db.Scope(db.ProcessRole.API)) as conn:
        security.proven(conn, tried)
    user = tried.user
    actor = Actor(user.user_id, user.login, user.display_name, Role(user.role), user.party_id, user.language)
    if not may(actor, Deed.DECIDE_CORRECTION, None):
        raise NotForRole("not_for_role", deed=Deed.DECIDE_CORRECTION.value)
    return actor


def _shells() -> Shells[Inputs]:
    from cloud.billing.run import bill, correct, issue

    return correct.Shells(bill.inputs, bill.draw, issue.issue)


@contextmanager
def _worker(actor: str) -> Iterator[Conn]:
    from cloud import db

    scope = db.Scope(db.ProcessRole.WORKER, actor=actor)
    with db.open_pool(commands.config().dsn, size_max=1) as pool, db.transaction(pool, scope) as conn:
        yield conn


def _yuan(fen: int) -> str:
    from cloud.money import yuan

    return f"{yuan(fen):,}"


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: YYYY-MM-DD, 例 / e.g. 2026-08-31") from None


def _point_day(text: str) -> tuple[str, date]:
    point, _, day = text.rpartition("/")
    return point, _day(day)


def _file(text: str) -> tuple[str, int]:
    sheet_id, _, version = text.rpartition("@")
    if not sheet_id or not version.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: 例 / e.g. jibei-agency-2026-08@1")
    return sheet_id, int(version)


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r}: 例 / e.g. 2026-09-15T00:00+08:00")
    return instant
