"""shoudian-cloud bill-run: draw up, issue what is of low risk, print. Each account is a transaction of its own.

Nothing here stops at an account that cannot be billed or printed: it is listed at the end. Running again goes on where
a run was stopped: what is drawn up stays, what is printed is not printed again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TypeVar

from cloud import db
from cloud.billing.labels import Language
from cloud.billing.run import bill as billing
from cloud.billing.run import issue, review
from cloud.billing.run.print import Job, bill_file_name, print_all
from cloud.billing.store import bills, display
from cloud.config import CloudConfig
from cloud.db import Pool
from cloud.errors import Refused

ACTOR = "cli:bill-run"
SCOPE = db.Scope(db.ProcessRole.WORKER, actor=ACTOR)
PRINTED_STATES = ("issued",)
BAR = 24
SHOWN_EVERY_S = 0.2

_T = TypeVar("_T")


@dataclass
class Tally:
    """What a run did; failures by account."""

    drawn: int = 0
    unchanged: int = 0
    issued: int = 0
    waiting: int = 0
    printed: int = 0
    there: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)


def bill_run(arguments: argparse.Namespace, config: CloudConfig, clock: Callable[[], datetime]) -> int:
    """Run; exit code 0 when every account was billed and printed, 1 when some failed."""
    tally = Tally()
    with db.open_pool(config.dsn, size_max=1) as pool:
        _draw(pool, arguments.month, arguments.issue_low, tally, clock)
        if arguments.pdf_dir:
            arguments.pdf_dir.mkdir(parents=True, exist_ok=True)
            _print(pool, config, arguments, tally)
    print(
        f"{arguments.month:%Y-%m}: 新账单 / drawn {tally.drawn}, 未变 / unchanged {tally.unchanged}, "
        f"已出账 / issued {tally.issued}, 待审 / for review {tally.waiting}, 已打印 / printed {tally.printed}, "
        f"已有 / there {tally.there}, 失败 / failed {len(tally.failures)}"
    )
    for account_id, problem in tally.failures:
        print(f"  ✗ {account_id}: {problem}")
    return 1 if tally.failures else 0


def _draw(pool: Pool, month: date, issue_low: bool, tally: Tally, clock: Callable[[], datetime]) -> None:
    with db.transaction(pool, SCOPE) as conn:
        accounts = billing.accounts_to_bill(conn, month)
    for account_id in _shown("计算 / rating", accounts, len(accounts)):
        now = clock()
        try:
            with db.transaction(pool, SCOPE) as conn:
                drawn = billing.bill_month(conn, account_id, month, now)
                review.assess(conn, drawn.bill_id, ACTOR, now)
        except Refused as problem:
            tally.failures.append((account_id, str(problem)))
            continue
        tally.drawn += drawn.is_new
        tally.unchanged += not drawn.is_new
        if issue_low:
            _issue(pool, drawn.bill_id, tally, now)


def _issue(pool: Pool, bill_id: int, tally: Tally, now: datetime) -> None:
    """Issue a draft of low risk; whatever else it is, it stays for a person."""
    try:
        with db.transaction(pool, SCOPE) as conn:
            review.clear(conn, bill_id, ACTOR, now, together=True)
            issue.issue(conn, bill_id, ACTOR, now)
    except (review.NotLow, review.NotOpen, review.SamePerson):
        tally.waiting += 1
    else:
        tally.issued += 1


def _print(pool: Pool, config: CloudConfig, arguments: argparse.Namespace, tally: Tally) -> None:
    with db.transaction(pool, SCOPE) as conn:
        wanted = display.bills_of_month(conn, arguments.month, PRINTED_STATES)
    jobs = _jobs(pool, config, wanted, arguments, tally)
    processes = arguments.processes or os.cpu_count() or 1
    for done in _shown("打印 / printing", print_all(jobs, processes), len(wanted)):
        if done.problem:
            tally.failures.append((done.name, done.problem))
        else:
            tally.printed += 1


def _jobs(
    pool: Pool,
    config: CloudConfig,
    wanted: tuple[tuple[int, str, int], ...],
    arguments: argparse.Namespace,
    tally: Tally,
) -> Iterator[Job]:
    from cloud.billing.document.around import bill_file_text

    for bill_id, account_id, _ in wanted:
        with db.transaction(pool, SCOPE) as conn:
            row = display.find_bill(conn, bill_id, with_drafts=False)
            if row is None:
                continue
            bill = bills.load(conn, bill_id)
            path = Path(arguments.pdf_dir) / bill_file_name(bill, "pdf")
            if path.exists():
                tally.there += 1
                continue
            text = bill_file_text(bill, display.around(conn, row, bill))
        yield Job(account_id, text, path, Language(arguments.language), config.bill_signer)


def _shown(what: str, items: Iterable[_T], count: int) -> Iterator[_T]:
    """Pass items on, with a bar on a terminal."""
    started = shown = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if sys.stderr.isatty() and (now - shown >= SHOWN_EVERY_S or done == count):
            shown = now
            filled = BAR * done // max(1, count)
            rate = done / max(0.001, now - started)
            left_s = (count - done) / rate
            print(
                f"\r{what} [{'█' * filled}{'·' * (BAR - filled)}] {done}/{count} {rate:.1f}/s {left_s:.0f} s ",
                end="\n" if done == count else "",
                file=sys.stderr,
                flush=True,
            )
