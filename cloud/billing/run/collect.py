"""The day's collection: prepaid balances meet open bills, late fees grow or stop, dunning steps are taken.

Every look is safe to repeat: a late fee is the difference to what was posted, a step is taken once per debt. Nothing
here can touch anybody's supply; the last step only puts a proposal before a person (R360).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from cloud import db
from cloud.billing import arrears, payment
from cloud.billing.arrears import CollectionRules, Debt, LateFeeLine
from cloud.billing.ledger import Journal, Posting, receivable
from cloud.billing.payment import Open
from cloud.billing.store import collect as store
from cloud.billing.store import ledger as books
from cloud.billing.store import payments, published
from cloud.daytypes import NoCalendar
from cloud.db import Conn, Pool, ProcessRole, Scope
from cloud.markettime import day_of

log = logging.getLogger(__name__)

SCOPE: Final = Scope(ProcessRole.WORKER, actor="job:collect")
LOW_STEP: Final = "prepaid_low"


@dataclass(frozen=True, slots=True)
class Collected:
    """What a day's look did."""

    moved: int
    fees: int
    notices: int
    proposals: int
    alarms: int
    undated: int  # debts whose step could not be told because a year's holidays are not entered


def collect(pool: Pool, now: datetime) -> Collected:
    """Do the day's collection, each customer in a transaction of its own. Raises NoCollectionRules."""
    today = day_of(now)
    with db.transaction(pool, SCOPE) as conn:
        published.keep(conn, published.packaged_texts(), now)
        rules = arrears.rules_on(published.catalogue(conn).files, today)
    moved = use_prepaid(pool, now)
    fees = _each(
        pool, _all_pages(pool, store.billed), lambda conn, debt: post_late_fee(conn, debt, today, rules, now)
    )
    debts = _all_pages(pool, lambda conn, after: store.debts(conn, after=after))
    owed = [debt for debt in debts if debt.due_date is not None and debt.open_fen > 0]
    notices = proposals = undated = 0
    for debt in owed:
        try:
            with db.transaction(pool, SCOPE) as conn:
                kind = dun(conn, debt, today, rules, now)
        except NoCalendar as problem:
            undated += 1
            log.warning("collect.calendar.missing item=%s problem=%s", debt.item, problem)
            continue
        notices += kind == "notice"
        proposals += kind == "proposal"
    with db.transaction(pool, SCOPE) as conn:
        alarms = warn_low(conn, today, rules, now)
    done = Collected(moved, fees, notices, proposals, alarms, undated)
    log.info("collect.done %s", done)
    return done


def use_prepaid(pool: Pool, now: datetime) -> int:
    """Let prepaid balances and credits settle what is open; count the customers it moved something for."""
    with db.transaction(pool, SCOPE) as conn:
        accounts = store.movable_accounts(conn)
    count = 0
    for account_id in accounts:
        with db.transaction(pool, SCOPE) as conn:
            count += settle_from_prepaid(conn, account_id, now)
    return count


def settle_from_prepaid(conn: Conn, account_id: str, now: datetime) -> bool:
    """Let a customer's prepaid balance and credits settle open bills, oldest first; False when nothing can move."""
    payments.lock_money(conn, account_id)
    given_up = store.forgiven_items(conn, account_id, store.GIVING_UP)
    key = f"recover-bad-debt:{account_id}:{store.last_journal_of(conn, account_id)}"
    journal = payment.recovered(key, account_id, _opened(conn, account_id), given_up, day_of(now))
    has_recovered = journal is not None and books.post(conn, journal, now).is_new
    opened, prepaid_fen = _opened(conn, account_id), books.prepaid_fen(conn, account_id)
    key = f"use-prepaid:{account_id}:{store.last_journal_of(conn, account_id)}"
    journal = payment.moved(key, account_id, opened, prepaid_fen, day_of(now))
    return (journal is not None and books.post(conn, journal, now).is_new) or has_recovered


def _opened(conn: Conn, account_id: str) -> tuple[Open, ...]:
    return tuple(Open(each.item, each.month, each.open_fen) for each in books.open_items(conn, account_id))


def post_late_fee(
    conn: Conn, debt: store.DebtRow, today: date, rules: CollectionRules, now: datetime
) -> bool:
    """Bring the posted late fee of a bill month to what it comes to through today; False when it is that already.

    A payment that counts from an earlier day makes the fee smaller: then the difference is given back the same way,
    but for what was waived or given up of it, which nobody paid.
    """
    payments.lock_money(conn, debt.account_id)
    item = store.late_item(debt.item)
    claims = store.claims_of(conn, debt.account_id, debt.month)
    moves = store.moves_of(conn, debt.account_id, debt.item)
    lines = arrears.late_fee(claims, moves, today, rules.rates_for(debt.category), rules)
    total_fen = arrears.fee_fen(lines)
    posted_fen = store.late_fee_posted_fen(conn, debt.item)
    forgiven_fen = dict(store.forgiven_items(conn, debt.account_id, store.WAIVING)).get(item, 0)
    change_fen = max(total_fen - posted_fen, min(0, forgiven_fen - posted_fen))
    key = f"late-fee:{debt.item}:{today}"
    if change_fen == 0 or books.find_id(conn, key) is not None:
        return False
    postings = (
        Posting(receivable(debt.account_id), change_fen, item),
        Posting("income/late_fee", -change_fen),
    )
    facts = (("item", debt.item), ("rules", rules.head.origin))
    posted = books.post(conn, Journal(key, "charge_late_fee", today, today, postings, facts), now)
    shown = [_shown(line) for line in lines]
    row = store.LateFeeRow(
        *(
            debt.item,
            today,
            debt.account_id,
            total_fen,
            change_fen,
            shown,
            rules.head.origin,
            posted.journal_id,
        )
    )
    store.insert_late_fee(conn, row, now)
    return True


def dun(conn: Conn, debt: store.DebtRow, today: date, rules: CollectionRules, now: datetime) -> str:
    """Take the step that is due for a debt; return 'notice', 'proposal' or ''. Raises NoCalendar."""
    assert debt.due_date is not None
    taken = store.steps_taken(conn, debt.item)
    step = arrears.next_step(Debt(debt.item, debt.due_date, debt.open_fen), taken, today, rules)
    if step is None:
        return ""
    row = store.NoticeRow(
        *(0, debt.account_id, debt.item, step.name, step.deed, step.channel, debt.open_fen + debt.late_fen),
        *(debt.due_date, today, None, ""),
    )
    return str(step.deed) if store.insert_notice(conn, row, rules.head.origin, now) else ""


def warn_low(conn: Conn, today: date, rules: CollectionRules, now: datetime) -> int:
    """Tell customers whose prepaid balance is low, once a month each; count them."""
    count = 0
    for account_id, prepaid_fen in store.prepaid_accounts(conn):
        owed_fen = sum(each.open_fen for each in books.open_items(conn, account_id))
        if arrears.is_low(prepaid_fen, owed_fen, rules):
            row = store.NoticeRow(
                *(0, account_id, f"{account_id}/low/{today:%Y-%m}", LOW_STEP, "notice", "wechat"),
                *(prepaid_fen - owed_fen, None, today, None, ""),
            )
            count += store.insert_notice(conn, row, rules.head.origin, now)
    return count


def _all_pages(
    pool: Pool, page: Callable[[Conn, tuple[str, str]], tuple[store.DebtRow, ...]]
) -> tuple[store.DebtRow, ...]:
    """Turn the pages until one is not full: nobody is left out because the list is long."""
    found: list[store.DebtRow] = []
    after = store.FIRST
    while True:
        with db.transaction(pool, SCOPE) as conn:
            rows = page(conn, after)
        found += rows
        if len(rows) < store.DEBTS_MAX:
            return tuple(found)
        after = (rows[-1].account_id, rows[-1].item)


def _each(pool: Pool, debts: tuple[store.DebtRow, ...], deed: Callable[[Conn, store.DebtRow], bool]) -> int:
    count = 0
    for debt in debts:
        with db.transaction(pool, SCOPE) as conn:
            count += deed(conn, debt)
    return count


def _shown(line: LateFeeLine) -> dict[str, object]:
    """A line with its whole derivation, as it is kept and shown."""
    derivation = line.derivation
    return {
        "first_day": derivation.first_day.isoformat(),
        "end_day": derivation.end_day.isoformat(),
        "principal_fen": line.principal_fen,
        "days": line.days,
        "rate": str(line.rate),
        "amount_fen": line.amount_fen,
        "formula": derivation.formula,
        "inputs": [
            {
                "name": each.name,
                "value": str(each.value),
                "unit": each.unit,
                "origin": each.origin,
                "document": each.document,
            }
            for each in derivation.inputs
        ],
    }
