"""Issue bills: state, due date and ledger in one transaction, the caller's.

An issued bill is never changed. Its next revision takes its place: the old one is superseded, its journal reversed
and the new one booked, both effective on the market day of the deed, so a closed month stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from cloud.billing import ledger
from cloud.billing.arrears import CollectionRules, due_date
from cloud.billing.ledger import Journal
from cloud.billing.store import bills, issued, published
from cloud.billing.store import ledger as books
from cloud.billing.store.issued import MonthBill
from cloud.db import Conn
from cloud.errors import NotFound, NotNow, Refused
from cloud.markettime import day_of


class NoSuchBill(NotFound):
    """There is no bill of that number, or it is not this person's to see."""


class NotADraft(NotNow):
    """Only a draft is issued: this one is held, void, or issued already."""


class NotLatest(NotNow):
    """A later revision of the month exists; that one is to be issued."""


class NeedsCorrection(NotNow):
    """The month's bill is out already: another takes its place only by a correction that a second person approved."""


class NoCollectionRules(Refused):
    """No file of kind "collection" is in force, so nobody can say when the bill is due."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What was done. `journal_id` is None for a bill of zeros; the change is against what was owed before."""

    bill_id: int
    journal_id: int | None
    superseded_bill_id: int | None
    reversal_id: int | None
    due_date: date
    change_fen: int


def issue(conn: Conn, bill_id: int, actor: str, now: datetime) -> Issued:
    """Issue a draft: from now on its customer sees it and owes it; what it replaces is superseded and reversed.

    Raises NoSuchBill, NotADraft, NotLatest, NeedsCorrection, NoCollectionRules, PeriodLocked.
    """
    found = issued.account_month(conn, bill_id)
    if found is None:
        raise NoSuchBill("no_such_bill", bill_id=bill_id, state="draft")
    account_id, month = found
    bills.lock_month(conn, account_id, month)
    revisions = issued.revisions(conn, account_id, month)
    this = next(each for each in revisions if each.bill_id == bill_id)
    if this.state != "draft":
        raise NotADraft("bill_not_draft", bill_id=bill_id, state=this.state)
    later = [each for each in revisions if each.revision > this.revision and each.state != "void"]
    if later:
        raise NotLatest("bill_not_latest", bill_id=bill_id, latest=later[-1].bill_id)
    today = day_of(now)
    due = due_date(today, collection_rules(conn, today))
    before, reversal_id = _put_away(conn, revisions, this, now)
    issued.issue(conn, bill_id, actor, now, due)
    return Issued(
        bill_id=bill_id,
        journal_id=_book(conn, this, account_id, month, now),
        superseded_bill_id=None if before is None else before.bill_id,
        reversal_id=reversal_id,
        due_date=due,
        change_fen=this.total_fen - (0 if before is None else before.total_fen),
    )


def collection_rules(conn: Conn, day: date) -> CollectionRules:
    """Find the collection rules in force on a day. Raises NoCollectionRules."""
    files = [each for each in published.catalogue(conn).files if isinstance(each, CollectionRules)]
    in_force = [each for each in files if each.head.in_force(day)]
    if not in_force:
        raise NoCollectionRules("no_collection_rules", day=day.isoformat())
    return max(in_force, key=lambda each: (each.head.effective_from, each.head.version))


def _put_away(
    conn: Conn, revisions: tuple[MonthBill, ...], this: MonthBill, now: datetime
) -> tuple[MonthBill | None, int | None]:
    """Supersede the issued revision and reverse its journal; drafts that nobody issued become void."""
    before, reversal_id = None, None
    for each in revisions:
        if each.revision >= this.revision:
            continue
        if each.state == "issued":
            if not issued.is_corrected_by(conn, each.bill_id, this.bill_id):
                raise NeedsCorrection("needs_correction", bill_id=this.bill_id, issued=each.bill_id)
            before, reversal_id = each, _reverse(conn, each.bill_id, now)
            issued.move(conn, each.bill_id, "superseded")
        elif each.state in ("draft", "held"):
            issued.move(conn, each.bill_id, "void")
    return before, reversal_id


def _reverse(conn: Conn, bill_id: int, now: datetime) -> int | None:
    journal_id = books.find_id(conn, _key(bill_id))
    if journal_id is None:
        return None  # a bill of zeros books nothing
    undone = ledger.reversal(journal_id, books.load(conn, journal_id), day_of(now))
    return books.post(conn, undone, now).journal_id


def _book(conn: Conn, this: MonthBill, account_id: str, month: date, now: datetime) -> int | None:
    postings = ledger.bill_postings(account_id, month, issued.sections_fen(conn, this.bill_id))
    if not postings:
        return None
    journal = Journal(
        idem_key=_key(this.bill_id),
        deed="issue_bill",
        event_date=ledger.bill_event_date(month),
        effective_date=day_of(now),
        postings=postings,
        facts=(("account", account_id), ("bill", str(this.bill_id)), ("revision", str(this.revision))),
    )
    return books.post(conn, journal, now).journal_id


def _key(bill_id: int) -> str:
    return f"bill:{bill_id}"
