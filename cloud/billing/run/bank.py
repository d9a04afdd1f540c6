"""Bank transfers: import a statement, book what is certain, and let a person place the rest, whole or split."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time

from cloud.billing import bankfile, payment
from cloud.billing import reconcile as match
from cloud.billing.payment import BadAmount, Cash, NothingThere, Open, codes_in, numbers_in
from cloud.billing.reconcile import BankLine, Guess
from cloud.billing.store import ledger as books
from cloud.billing.store import payments as store
from cloud.billing.store import statements
from cloud.db import Conn
from cloud.markettime import MARKET_ZONE, day_of

log = logging.getLogger(__name__)

CHANNEL = "bank"
SPLITS_MAX = 50


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a bank file: every line is known, booked, pooled or outgoing."""

    import_id: int
    lines: int
    known: int
    booked: int
    pooled: int
    outgoing: int


def import_file(conn: Conn, name: str, content: bytes, actor: str, now: datetime) -> Imported:
    """Read a bank statement and book each new line: to its customer when that is certain, else to suspense.

    A line that was imported before is left alone, whatever file it comes in. Raises BadBankFile.
    """
    lines = bankfile.bank_lines(content)
    digest = hashlib.sha256(content).digest()
    import_id = statements.insert_import(conn, name, digest, len(lines), (now, actor))
    known = booked = pooled = outgoing = 0
    for line in lines:
        if not statements.insert_line(conn, import_id, line):
            known += 1
        elif line.amount_fen < 0:
            outgoing += 1
        elif _book(conn, line, actor, now):
            booked += 1
        else:
            pooled += 1
    log.info("bank.imported import=%d lines=%d booked=%d pooled=%d", import_id, len(lines), booked, pooled)
    return Imported(import_id, len(lines), known, booked, pooled, outgoing)


def guesses_for(conn: Conn, line: BankLine) -> tuple[Guess, ...]:
    """Rank the customers a bank line may come from."""
    text = f"{line.memo} {line.payer_name}"
    named = (*codes_in(text), *numbers_in(text))
    return match.guesses(line, statements.candidates(conn, named, line.payer_name, line.amount_fen))


def guesses_of(conn: Conn, receipt: store.ReceiptRow) -> tuple[Guess, ...]:
    """Rank the customers that unplaced money may come from, bank line or provider payment."""
    line = BankLine(
        line_no=0,
        line_sha256=b"",
        booked_on=receipt.received_on,
        amount_fen=receipt.open_fen,
        payer_name=receipt.payer_name,
        payer_account="",
        memo=receipt.memo,
        bank_ref="",
    )
    return guesses_for(conn, line)


def place(
    conn: Conn, receipt_id: int, splits: Sequence[tuple[str, int]], actor: str, now: datetime
) -> store.ReceiptRow:
    """Give parts of unplaced money to customers, each part its own journal. Raises NothingThere, BadAmount, NoReceipt."""
    receipt = store.lock_receipt(conn, receipt_id)
    if not splits or len(splits) > SPLITS_MAX or any(fen <= 0 for _, fen in splits):
        raise BadAmount("bad_split", most=SPLITS_MAX)
    if sum(fen for _, fen in splits) > receipt.open_fen:
        raise NothingThere(
            "nothing_there", amount_fen=sum(fen for _, fen in splits), left_fen=receipt.open_fen
        )
    for account_id in sorted({account_id for account_id, _ in splits}):
        store.lock_money(conn, account_id)
    for account_id, fen in splits:
        part_no = store.next_part(conn, receipt_id)
        allocation = payment.allocate(fen, _opened(conn, account_id))
        named = (receipt_id, receipt.channel, receipt.reference)
        journal = payment.placed(named, part_no, account_id, allocation, day_of(now))
        journal_id = books.post(conn, journal, now).journal_id
        store.add_part(conn, receipt_id, account_id, fen, journal_id, (actor, now))
    return store.load_receipt(conn, receipt_id)


def _book(conn: Conn, line: BankLine, actor: str, now: datetime) -> bool:
    """Keep the money and book it; tell whether its customer was certain."""
    sure = match.certain(guesses_for(conn, line))
    receipt_id = store.insert_receipt(conn, _receipt(line, "" if sure else "unmatched"), now)
    if receipt_id is None:
        raise AssertionError("a new bank line has no receipt yet")
    cash = Cash(CHANNEL, line.line_sha256.hex(), line.amount_fen, line.booked_on)
    day = payment.effective_day(line.booked_on, books.locked_through(conn))
    if sure is None:
        books.post(conn, payment.suspended(cash, day), now)
        return False
    store.lock_money(conn, sure.account_id)
    allocation = payment.allocate(line.amount_fen, _opened(conn, sure.account_id))
    journal = payment.taken(cash, sure.account_id, allocation, day)
    journal_id = books.post(conn, journal, now).journal_id
    store.add_part(conn, receipt_id, sure.account_id, line.amount_fen, journal_id, (actor, now))
    return True


def _opened(conn: Conn, account_id: str) -> tuple[Open, ...]:
    return tuple(Open(each.item, each.month, each.open_fen) for each in books.open_items(conn, account_id))


def _receipt(line: BankLine, why: str) -> store.NewReceipt:
    noon = datetime.combine(line.booked_on, time(12), MARKET_ZONE)  # a bank names the day only
    return store.NewReceipt(
        channel=CHANNEL,
        reference=line.line_sha256.hex(),
        order_no=None,
        amount_fen=line.amount_fen,
        received_on=line.booked_on,
        received_at=noon.astimezone(UTC),
        payer_name=line.payer_name,
        memo=line.memo,
        found_by="bank_file",
        why_suspended=why,
    )
