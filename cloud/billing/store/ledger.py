"""SQL of the ledger: post, lock a period, and read balances at any pair of dates. Nothing here commits or decides.

`effective_before` and `booked_before` are exclusive; None means without that bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.billing.ledger import Journal, Posting, content_sha256, prepaid, receivable
from cloud.db import Conn
from cloud.errors import Conflict, Invalid, NotFound, NotNow


class KeyReused(Conflict):
    """A journal of that key is booked with other content."""


class AlreadyReversed(Conflict):
    """The journal has been reversed; it is done once."""


class PeriodLocked(NotNow):
    """The month of the effective date is closed for good; choose a day in an open month."""


class PeriodNotOver(NotNow):
    """A month is locked only after its last day."""


class NoLedgerOwner(Invalid):
    """A posting names a customer account or a party that does not exist."""


class NoSuchJournal(NotFound):
    """There is no journal of that number, or it is not this person's to see."""


@dataclass(frozen=True, slots=True)
class Posted:
    """Where the journal stands; `is_new` is False when the same content was booked before."""

    journal_id: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class OpenItem:
    """What is still open of one bill month; negative: the customer has paid more than is owed."""

    item: str
    month: date
    open_fen: int
    due_date: date | None
    issued_on: date | None


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One account's debits and credits up to the two dates, and the balance (+ debit)."""

    account: str
    debit_fen: int
    credit_fen: int

    @property
    def balance_fen(self) -> int:
        """Compute debits less credits."""
        return self.debit_fen - self.credit_fen


def post(conn: Conn, journal: Journal, booked_at: datetime) -> Posted:
    """Book a journal once: the same key with the same content again changes nothing.

    Raises KeyReused, AlreadyReversed, PeriodLocked, NoLedgerOwner.
    """
    sha256 = content_sha256(journal)
    journal_id = _insert(conn, journal, sha256, booked_at)
    if journal_id is not None:
        return Posted(journal_id, is_new=True)
    row = conn.execute(
        "SELECT journal_id, content_sha256 FROM journal WHERE idem_key = %s", (journal.idem_key,)
    ).fetchone()
    if row is None or bytes(row[1]) != sha256:
        raise KeyReused("key_reused", key=journal.idem_key)
    return Posted(int(row[0]), is_new=False)


def balance_fen(
    conn: Conn, account: str, *, effective_before: date | None, booked_before: datetime | None
) -> int:
    """Compute an account's balance (+ debit) from the journals effective and booked before the two instants."""
    row = conn.execute(
        """SELECT coalesce(sum(p.amount_fen), 0) FROM posting p JOIN journal j USING (journal_id)
           WHERE p.account_code = %s AND (%s::date IS NULL OR j.effective_date < %s)
             AND (%s::timestamptz IS NULL OR j.booked_at < %s)""",
        (account, effective_before, effective_before, booked_before, booked_before),
    ).fetchone()
    return 0 if row is None else int(row[0])


def trial_balance(
    conn: Conn, effective_before: date | None, booked_before: datetime | None
) -> tuple[TrialRow, ...]:
    """Add up every account that has postings before the two dates, by its code. Balances add up to zero."""
    rows = conn.execute(
        """SELECT p.account_code, coalesce(sum(p.amount_fen) FILTER (WHERE p.amount_fen > 0), 0),
                  coalesce(-sum(p.amount_fen) FILTER (WHERE p.amount_fen < 0), 0)
           FROM posting p JOIN journal j USING (journal_id)
           WHERE (%s::date IS NULL OR j.effective_date < %s) AND (%s::timestamptz IS NULL OR j.booked_at < %s)
           GROUP BY p.account_code ORDER BY p.account_code""",
        (effective_before, effective_before, booked_before, booked_before),
    )
    return tuple(TrialRow(account, int(debit), int(credit)) for account, debit, credit in rows)


def open_items(conn: Conn, account_id: str) -> tuple[OpenItem, ...]:
    """List what is open on a customer's receivable account by bill month, oldest first."""
    with conn.cursor(row_factory=class_row(OpenItem)) as cursor:
        return tuple(
            cursor.execute(
                """WITH open AS (
                       SELECT item, to_date(split_part(item, '/', 2), 'YYYY-MM') AS month, sum(amount_fen)::bigint AS fen
                       FROM posting WHERE account_code = %s AND item LIKE %s
                       GROUP BY item HAVING sum(amount_fen) <> 0)
                   SELECT o.item, o.month, o.fen AS open_fen, b.due_date,
                          (b.issued_at AT TIME ZONE 'Asia/Shanghai')::date AS issued_on
                   FROM open o LEFT JOIN bill b ON b.account_id = %s AND b.month = o.month AND b.state = 'issued'
                   ORDER BY o.month""",
                (receivable(account_id), f"{account_id}/%", account_id),
            )
        )


def prepaid_fen(conn: Conn, account_id: str) -> int:
    """Compute what a customer has paid in advance and not used: positive = money of theirs that we hold."""
    return -balance_fen(conn, prepaid(account_id), effective_before=None, booked_before=None)


def load(conn: Conn, journal_id: int) -> Journal:
    """Load a booked journal. Raises NoSuchJournal."""
    row = conn.execute(
        """SELECT idem_key, deed, event_date, effective_date, facts, reverses FROM journal WHERE journal_id = %s""",
        (journal_id,),
    ).fetchone()
    if row is None:
        raise NoSuchJournal("not_found", kind="journal", journal=journal_id)
    key, deed, event_date, effective_date, facts, reverses = row
    postings = conn.execute(
        "SELECT account_code, amount_fen, item FROM posting WHERE journal_id = %s ORDER BY posting_no",
        (journal_id,),
    )
    return Journal(
        key,
        deed,
        event_date,
        effective_date,
        tuple(Posting(*posting) for posting in postings),
        tuple(sorted(facts.items())),
        reverses,
    )


def find_id(conn: Conn, idem_key: str) -> int | None:
    """Find the number of the journal that was booked under a key."""
    row = conn.execute("SELECT journal_id FROM journal WHERE idem_key = %s", (idem_key,)).fetchone()
    return None if row is None else int(row[0])


def lock_period(conn: Conn, month: date, actor: str, now: datetime) -> bool:
    """Close a month and every month before it for good; False when it was closed already. Raises PeriodNotOver."""
    if conn.execute("SELECT 1 FROM period_lock WHERE month >= %s", (month,)).fetchone():
        return False
    try:
        return (
            conn.execute(
                """INSERT INTO period_lock (month, locked_at, locked_by) VALUES (%s, %s, %s)
                   ON CONFLICT (month) DO NOTHING""",
                (month, now, actor),
            ).rowcount
            == 1
        )
    except psycopg.errors.CheckViolation as problem:
        raise PeriodNotOver("period_not_over", month=month.strftime("%Y-%m")) from problem


def locked_through(conn: Conn) -> date | None:
    """Find the last closed month; None when none is."""
    row = conn.execute("SELECT max(month) FROM period_lock").fetchone()
    return None if row is None else row[0]


def _insert(conn: Conn, journal: Journal, sha256: bytes, booked_at: datetime) -> int | None:
    """Insert a journal with its postings and new accounts in one statement; None when the key is there."""
    try:
        row = conn.execute(
            """WITH opened AS (
                   INSERT INTO ledger_account (account_code)
                   SELECT DISTINCT code FROM unnest(%(codes)s::text[]) code
                   WHERE NOT EXISTS (SELECT FROM ledger_account l WHERE l.account_code = code) ORDER BY code
                   ON CONFLICT DO NOTHING),
               booked AS (
                   INSERT INTO journal (idem_key, deed, event_date, effective_date, booked_at, facts, content_sha256,
                                        reverses, posting_count)
                   VALUES (%(key)s, %(deed)s, %(event)s, %(effective)s, %(booked)s, %(facts)s, %(sha256)s,
                           %(reverses)s, %(count)s)
                   ON CONFLICT (idem_key) DO NOTHING RETURNING journal_id, posting_count),
               postings AS (
                   INSERT INTO posting (journal_id, posting_no, posting_count, account_code, amount_fen, item)
                   SELECT b.journal_id, p.no, b.posting_count, p.code, p.fen, p.item
                   FROM booked b, unnest(%(codes)s::text[], %(fen)s::bigint[], %(items)s::text[])
                                  WITH ORDINALITY p (code, fen, item, no))
               SELECT journal_id FROM booked""",
            {
                "key": journal.idem_key,
                "deed": journal.deed,
                "event": journal.event_date,
                "effective": journal.effective_date,
                "booked": booked_at,
                "facts": Jsonb(dict(journal.facts)),
                "sha256": sha256,
                "reverses": journal.reverses,
                "count": len(journal.postings),
                "codes": [each.account for each in journal.postings],
                "fen": [each.amount_fen for each in journal.postings],
                "items": [each.item for each in journal.postings],
            },
        ).fetchone()
    except (psycopg.errors.CheckViolation, psycopg.errors.IntegrityError) as problem:
        raise _named(problem, journal) from problem
    return None if row is None else int(row[0])


def _named(problem: psycopg.errors.IntegrityError, journal: Journal) -> Exception:
    constraint = problem.diag.constraint_name or ""
    if constraint == "journal_in_open_period":
        return PeriodLocked("period_locked", month=journal.effective_date.strftime("%Y-%m"))
    if constraint == "journal_reverses_key":
        return AlreadyReversed("already_reversed", journal=journal.reverses)
    if constraint in ("ledger_account_account_id_fkey", "ledger_account_party_id_fkey"):
        accounts = ", ".join(each.account for each in journal.postings)
        return NoLedgerOwner("no_ledger_owner", accounts=accounts)
    return problem
