"""What becomes of the demonstration's month once it is measured: market settled, bills issued, money taken.

Everything goes through the commands and the rooms of the real system; each step may run again and finds what it did. The
bills go out on the tenth working day of September 2026, as the rule says, so that by today some of them are overdue.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import resources

import psycopg
from rich.console import Console

from cloud import db
from cloud.billing.run import collect, review
from cloud.billing.run.bill import bill_month
from cloud.billing.run.issue import issue
from cloud.billing.store import bills
from cloud.daytypes import working_day
from cloud.errors import Refused
from cloud.markettime import month_after, slot_start
from demo.files import LATE_CONTRACT_FILE, billed_sites, late_site_text
from demo.guard import Trouble
from demo.history import BILL_MONTH
from demo.up import Running
from demo.world import LATE_CONTRACT, PACKAGES, RETAILER

MONTH = BILL_MONTH.date()
OUT_ON = working_day(month_after(MONTH), 10)  # 发改能源规〔2025〕976号: bills by WD10 of the following month
OUT_AT = slot_start(OUT_ON, 40)
PAID_AFTER = timedelta(days=6)
REASON = "合同补录 / a contract was entered late"
# Whose draft waits for review, and who has not paid: the others paid by bank transfer, one of them without saying who.
IN_REVIEW = ("130200020003", "130300030007")
UNPAID = ("130200020002", "130300030002", "130100010004")
PAID_IN_PART = "130200020005"
NAMELESS = "130300030005"


def settle_and_bill(running: Running, console: Console) -> None:
    """Take the month from validated intervals to money, and say what was done."""
    with psycopg.connect(running.dsn, autocommit=True) as conn:
        if not _is_measured(conn):
            console.print(
                f"[yellow]没有 {MONTH:%Y-%m} 的读数，未结算；shoudian-demo reset 后可从头回放 / "
                f"no readings of {MONTH:%Y-%m}, so nothing to settle; after shoudian-demo reset they are replayed[/]"
            )
            return
        steps: tuple[tuple[str, Callable[[], str]], ...] = (
            ("零售套餐 / retail packages", lambda: _packages(running, conn)),
            ("市场结算 / market settlement", lambda: _settle(running, conn)),
            ("电费账单 / bills", lambda: _bills(running)),
            ("售电公司收支 / the retailer's result", lambda: _retail_result(running, conn)),
            ("银行到账 / bank transfers", lambda: _bank(running, conn)),
            ("违约金与催收 / late fees, dunning", lambda: _collect(running)),
            ("更正草案 / a proposed correction", lambda: _late_contract(running, conn)),
        )
        for title, step in steps:
            with console.status(title):
                done = step()
            console.print(f"[green]✓[/] {title} [dim]{done}[/]")


def _is_measured(conn: psycopg.Connection[tuple[object, ...]]) -> bool:
    found = conn.execute("SELECT EXISTS (SELECT FROM interval_day WHERE day = %s)", (MONTH,)).fetchone()
    return found == (True,)


def _packages(running: Running, conn: psycopg.Connection[tuple[object, ...]]) -> str:
    known = {account for (account,) in conn.execute("SELECT account_id FROM account_package")}
    for account_id, package in PACKAGES:
        if account_id not in known:
            running.family.run(
                *("package", "cloud", "package", "assign", account_id, package),
                *("--from", f"{MONTH:%Y-%m-%d}"),
            )
    return f"{len(PACKAGES)} 户 / accounts, {RETAILER}"


def _settle(running: Running, conn: psycopg.Connection[tuple[object, ...]]) -> str:
    market = running.home.folder / "market.toml"
    market.write_text(resources.files("demo").joinpath("market.toml").read_text("utf-8"), encoding="utf-8")
    running.family.run("market", "cloud", "market", "import", str(market))
    month = f"{MONTH:%Y-%m}"
    if not _is_final(conn):
        _by_the_calendar(running, month)
    states = conn.execute("SELECT state, count(*) FROM statement GROUP BY state ORDER BY state").fetchall()
    return ", ".join(f"{count} {state}" for state, count in states)


def _by_the_calendar(running: Running, month: str) -> None:
    """Settle as on the days that the rule names: drafts on WD5, silence confirms after WD6, final by WD8.

    Exit code 1 says that something still waits, such as bills that are drawn up only after this.
    """
    following = month_after(MONTH)
    steps = ((1, ("--stage", "draw")), (5, ("--release",)), (7, ()))
    for number, options in steps:
        day = f"{working_day(following, number):%Y-%m-%d}"
        running.family.run("settle", "cloud", "settle", month, *options, "--on", day, allowed=(0, 1))


def _is_final(conn: psycopg.Connection[tuple[object, ...]]) -> bool:
    found = conn.execute("SELECT EXISTS (SELECT FROM statement WHERE state = 'final')").fetchone()
    return found == (True,)


def _bills(running: Running) -> str:
    made, waiting, refused = 0, 0, []
    with db.open_pool(running.dsn, size_max=1) as pool:
        for site in billed_sites():
            try:
                with db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor="demo")) as conn:
                    drawn = bill_month(conn, site.account_id, MONTH, OUT_AT)
                    kept = bills.latest(conn, site.account_id, MONTH)
                    if drawn.revision > 1 or kept is None or kept.state != "draft":
                        continue  # it is out already; a later revision is for the corrections desk
                    review.assess(conn, drawn.bill_id, "demo", OUT_AT)
                    if site.account_id in IN_REVIEW:
                        waiting += 1
                    else:
                        issue(conn, drawn.bill_id, "demo", OUT_AT)
                        made += 1
            except Refused as problem:
                refused.append(f"{site.account_id} {site.party}: {problem}")
    if refused and not made:
        raise Trouble("\n".join(refused))
    told = f"{made} 份出账，{waiting} 份待审 / {made} issued, {waiting} in review"
    return "\n  ".join([told, *refused])


def _retail_result(running: Running, conn: psycopg.Connection[tuple[object, ...]]) -> str:
    """Take what the retailer's customers were billed into its month: the last stage, now that the bills are drawn up."""
    again = "SELECT 1 FROM settlement_event WHERE stage = 'bills' AND outcome = 'restart'"
    if conn.execute(again).fetchone():
        return "已有 / there already"
    month, day = f"{MONTH:%Y-%m}", f"{OUT_ON:%Y-%m-%d}"
    options = ("--restart", "bills", "--reason", "账单已出 / bills are drawn up", "--on", day)
    done = running.family.run("settle", "cloud", "settle", month, *options, allowed=(0, 1))
    return done.strip().splitlines()[-1].strip()


def _bank(running: Running, conn: psycopg.Connection[tuple[object, ...]]) -> str:
    """Write the bank's statement of who paid, and import it as staff do."""
    rows = conn.execute(
        """SELECT b.account_id, a.name, b.total_fen FROM bill b JOIN account a USING (account_id)
           WHERE b.month = %s AND b.revision = 1 AND b.state IN ('issued', 'superseded') AND b.total_fen > 0
           ORDER BY b.account_id""",
        (MONTH,),
    ).fetchall()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["交易日期", "收入金额", "支出金额", "对方户名", "对方账号", "附言", "流水号"])
    for account_id, name, total_fen in rows:
        if account_id in UNPAID or not isinstance(total_fen, int):
            continue
        paid_fen = total_fen // 2 if account_id == PAID_IN_PART else total_fen
        memo, payer = (
            ("电费", "某公司财务部") if account_id == NAMELESS else (f"户号 {account_id} 电费", str(name))
        )
        day = OUT_ON + PAID_AFTER
        amount = f"{paid_fen // 100}.{paid_fen % 100:02d}"
        writer.writerow(
            [f"{day:%Y-%m-%d}", amount, "", payer, f"6200{account_id}", memo, f"DEMO{account_id}"]
        )
    path = running.home.folder / "bank-2026-09.csv"
    path.write_text(out.getvalue(), encoding="utf-8")
    return running.family.run("bank", "cloud", "pay", "import-bank", str(path)).strip().splitlines()[-1]


def _collect(running: Running) -> str:
    with db.open_pool(running.dsn, size_max=2) as pool:
        done = collect.collect(pool, datetime.now(UTC))  # noqa: TID251 - a composition root
    return f"{done.fees} 笔违约金 / late fees, {done.notices} 份通知 / notices"


def _late_contract(running: Running, conn: psycopg.Connection[tuple[object, ...]]) -> str:
    """Enter a contract after its bill went out: what the corrections desk is for."""
    account_id, package, first_day = LATE_CONTRACT
    if conn.execute("SELECT 1 FROM account_package WHERE account_id = %s", (account_id,)).fetchone():
        return "已有 / there already"
    path = running.home.folder / LATE_CONTRACT_FILE
    path.write_text(late_site_text(), encoding="utf-8")
    running.family.run("import-late", "cloud", "import", str(path))
    running.family.run("package", "cloud", "package", "assign", account_id, package, "--from", first_day)
    proposal = ("--account", account_id, "--reason", REASON, "--login", "staff")
    password = f"{running.logins['staff']}\n"
    running.family.run("correct", "cloud", "correct", "prepare", *proposal, stdin=password)
    return f"{account_id} 自 {first_day} 起签约，出账后补录 / signed from {first_day}, entered late"
