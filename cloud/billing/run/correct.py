"""Find, propose, approve: how a changed reading, price or contract reaches bills that are out already.

look -> waiting -> propose          every hour: what is due becomes a proposal, the bills as they would be
approve                             a second person: correction bills and ledger reversals in one transaction

What is shown is what is issued: a proposal keeps the bills as drawn up, and is refused if what they rest on has
changed since. Shells of a room do not call each other, so drawing up and issuing are handed in as `Shells`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Generic, Protocol, TypeVar

from cloud.billing import correction
from cloud.billing.correction import CorrectionRules, Item, Outcome, Touched
from cloud.billing.facts import Bill
from cloud.billing.store import bills, corrections, published, touched
from cloud.billing.store.corrections import CorrectionRow, ItemRow, SamePerson
from cloud.db import Conn, Pool, Scope, transaction
from cloud.errors import Conflict, Invalid, NotFound, NotNow, Refused
from cloud.markettime import day_of
from cloud.security import run as security
from cloud.security.access import Actor, Deed, Subject
from cloud.words import LANGUAGES, say

log = logging.getLogger(__name__)

REASON_MIN = 2
ITEMS_MAX = (
    500  # bills of one proposal: what one person can look through, and one transaction issues in seconds
)


class Known(Protocol):
    """What a bill is drawn up from; equal hash = equal bill."""

    @property
    def sha256(self) -> bytes:
        """The hash of everything that decides the amounts."""
        ...


K = TypeVar("K", bound=Known)


@dataclass(frozen=True, slots=True)
class Shells(Generic[K]):
    """Drawing up (run/bill.inputs, run/bill.draw) and issuing (run/issue.issue), as the caller puts them together."""

    inputs: Callable[[Conn, str, date, datetime], K]
    draw: Callable[[Conn, K, int, datetime], Bill]
    issue: Callable[[Conn, int, str, datetime], object]


@dataclass(frozen=True, slots=True)
class Order:
    """Who asks for a proposal, for which run, and what the customers will read."""

    run: str
    reason: str
    actor: str


class NoCorrection(NotFound):
    """There is no proposal of that number."""


class Decided(NotNow):
    """The proposal has been decided about; it is done once."""


class NeedsReason(Invalid):
    """Who declines or withdraws says why."""


class NothingToCorrect(NotNow):
    """No bill of the proposal differs."""


class Outdated(Conflict):
    """What a bill rests on, or the bill itself, has changed since the proposal was prepared."""


class NoCorrectionRules(Refused):
    """No file of kind "correction" is in force."""


class NothingTouched(NotFound):
    """Nothing has changed under the bills asked for."""


def propose_due(pool: Pool, scope: Scope, shells: Shells[K], now: datetime) -> tuple[int, ...]:
    """Look for touched bills and prepare a proposal for each run that is due; return their numbers. Safe to repeat."""
    with transaction(pool, scope) as conn:
        published.keep(conn, published.packaged_texts(), now)
        found = touched.look(conn, now)
        rules = correction_rules(conn, day_of(now))
        due = [
            each for each in correction.by_bill(touched.waiting(conn)) if correction.is_due(each, now, rules)
        ]
    made = []
    for run, group in groupby(
        sorted(due, key=_run_key(rules)), key=lambda each: correction.run_of(each, rules)
    ):
        whole = tuple(group)
        for start in range(0, len(whole), ITEMS_MAX):
            part = whole[start : start + ITEMS_MAX]
            with transaction(pool, scope) as conn:
                touched.lock(conn)  # another look may have taken them meanwhile
                still = {each.bill_id for each in touched.waiting(conn)}
                part = tuple(each for each in part if each.bill_id in still)
                if not part:
                    continue
                made.append(prepare(conn, part, Order(run, reason_for(run, part), scope.actor), shells, now))
    log.info("correct.looked found=%d due=%d proposals=%d", found, len(due), len(made))
    return tuple(made)


def prepare(conn: Conn, notes: Sequence[Touched], order: Order, shells: Shells[K], now: datetime) -> int:
    """Draw up what each touched bill would become, without keeping it as a bill; return the proposal's number.

    One account that cannot be drawn up is listed with its refusal and never stops the others.
    Raises NothingTouched, NoCorrectionRules.
    """
    if not notes:
        raise NothingTouched("nothing_touched")
    rules = correction_rules(conn, day_of(now))
    correction_id = corrections.insert(conn, order.run, order.reason, order.actor, now)
    for each in notes:
        corrections.insert_item(conn, correction_id, _item(conn, each, rules, shells, now))
    return correction_id


def approve(
    conn: Conn, actor: Actor, correction_id: int, shells: Shells[K], now: datetime
) -> tuple[int, ...]:
    """Issue a proposal's bills, supersede and reverse what they replace, all in this transaction; return their ids.

    Raises NoCorrection, Decided, SamePerson, NothingToCorrect, Outdated.
    """
    security.allow(conn, actor, Deed.DECIDE_CORRECTION, _subject(correction_id), now)
    row = _undecided(conn, correction_id)
    name = security.actor_name(actor)
    if row.prepared_by == name:
        raise SamePerson("correction_same_person", correction=correction_id)
    changed = [each for each in corrections.items(conn, correction_id) if each.outcome is Outcome.DIFFERS]
    if not changed:
        raise NothingToCorrect("nothing_to_correct", correction=correction_id)
    corrections.decide(conn, correction_id, "approve", "", (name, now))
    return tuple(_carry_out(conn, row, each, shells, (name, now)) for each in changed)


def decline(conn: Conn, actor: Actor, correction_id: int, reason: str, now: datetime) -> None:
    """Leave the bills as they are: this change is not proposed again. Raises NoCorrection, Decided, NeedsReason."""
    security.allow(conn, actor, Deed.DECIDE_CORRECTION, _subject(correction_id), now)
    _put_away(conn, actor, correction_id, ("decline", reason), now)


def withdraw(conn: Conn, actor: Actor, correction_id: int, reason: str, now: datetime) -> None:
    """Put a proposal away so that the next look prepares it anew. Raises NoCorrection, Decided, NeedsReason."""
    security.allow(conn, actor, Deed.DECIDE_CORRECTION, _subject(correction_id), now)
    _put_away(conn, actor, correction_id, ("withdraw", reason), now)


def correction_rules(conn: Conn, day: date) -> CorrectionRules:
    """Find the correction rules in force on a day. Raises NoCorrectionRules."""
    files = [each for each in published.catalogue(conn).files if isinstance(each, CorrectionRules)]
    in_force = [each for each in files if each.head.in_force(day)]
    if not in_force:
        raise NoCorrectionRules("no_correction_rules", day=day.isoformat())
    return max(in_force, key=lambda each: (each.head.effective_from, each.head.version))


def reason_for(run: str, notes: Sequence[Touched]) -> str:
    """Tell the customers, in every language, what kind of change it was."""
    causes = sorted({why.cause for each in notes for why in each.whys})
    told = []
    for language in LANGUAGES:
        what = " · ".join(say(language, f"cause.{each}") for each in causes)
        name = (
            say(language, f"correction_run.{run}")
            if run in (correction.DESK, correction.BEYOND)
            else run.upper()
        )
        told.append(say(language, "corrections.reason", what=what, run=name))
    return " / ".join(told)


def _run_key(rules: CorrectionRules) -> Callable[[Touched], tuple[str, str, date]]:
    return lambda each: (correction.run_of(each, rules), each.account_id, each.month)


def _item(conn: Conn, each: Touched, rules: CorrectionRules, shells: Shells[K], now: datetime) -> Item:
    _, total_fen, _ = corrections.issued_input(conn, each.bill_id)
    if correction.is_beyond(each.month, each.known_at, rules):
        return correction.not_billed(each, total_fen, Outcome.BEYOND)
    try:
        with conn.transaction():
            return _redrawn(conn, each, shells, now)
    except Refused as refusal:
        return correction.not_billed(each, total_fen, Outcome.REFUSED, str(refusal))
    except (
        Exception
    ) as bug:  # whatever one account's data does to the code, the others are owed their correction
        log.exception("correct.item.failed bill=%d", each.bill_id)
        return correction.not_billed(each, total_fen, Outcome.REFUSED, f"bug: {type(bug).__name__}")


def _redrawn(conn: Conn, each: Touched, shells: Shells[K], now: datetime) -> Item:
    sha256, _, latest_revision = corrections.issued_input(conn, each.bill_id)
    before = bills.load(conn, each.bill_id).lines
    known = shells.inputs(conn, each.account_id, each.month, now)
    if known.sha256 == sha256:
        return correction.same(each, before, known.sha256)
    bill = shells.draw(conn, known, latest_revision + 1, now)
    if not correction.changes(before, bill.lines):
        return correction.same(each, before, known.sha256)
    return correction.differs(each, before, bill, known.sha256)


def _put_away(
    conn: Conn, actor: Actor, correction_id: int, deed_reason: tuple[str, str], now: datetime
) -> None:
    deed, reason = deed_reason[0], deed_reason[1].strip()
    if len(reason) < REASON_MIN:
        raise NeedsReason("correction_needs_reason")
    _undecided(conn, correction_id)
    corrections.decide(conn, correction_id, deed, reason, (security.actor_name(actor), now))


def _undecided(conn: Conn, correction_id: int) -> CorrectionRow:
    corrections.lock(conn, correction_id)
    row = corrections.find(conn, correction_id)
    if row is None:
        raise NoCorrection("not_found", kind="correction")
    if row.deed is not None:
        raise Decided("correction_decided", correction=correction_id)
    return row


def _carry_out(
    conn: Conn, row: CorrectionRow, item: ItemRow, shells: Shells[K], by: tuple[str, datetime]
) -> int:
    actor, now = by
    bills.lock_month(conn, item.account_id, item.month)
    known = shells.inputs(conn, item.account_id, item.month, now)
    proposed = corrections.proposed_bill(conn, row.correction_id, item.bill_id)
    standing = bills.load(conn, item.bill_id)
    if proposed is None or standing.state != "issued" or known.sha256 != item.input_sha256:
        raise Outdated("correction_outdated", account=item.account_id, month=item.month.strftime("%Y-%m"))
    _, _, latest_revision = corrections.issued_input(conn, item.bill_id)
    bill = dataclasses.replace(proposed, revision=latest_revision + 1)
    bill_id = bills.save(conn, bill, known.sha256)
    corrections.insert_bill(conn, item, bill_id, row.reason, now)
    shells.issue(conn, bill_id, actor, now)
    return bill_id


def _subject(correction_id: int) -> Subject:
    return Subject("correction", str(correction_id))
