"""How much the ledger's guarantees cost, as ratios to plain INSERTs of the same rows in the same run.

Posting   one journal of a bill (receivable, five sections, funds) at a time by store/ledger.post, a commit every
          500, against the same rows by the same kind of statement into two tables with a primary key and nothing else
Reading   trial balance of everything and at a pair of dates, against GROUP BY on the plain tables; one statement,
          one customer's open items

    python -m benchmarks.ledger [--journals 100000] [--accounts 5000] [--dsn DSN]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg.types.json import Jsonb

from cloud.billing import ledger
from cloud.billing.ledger import Journal, Posting
from cloud.billing.store import bookings
from cloud.billing.store import ledger as books
from cloud.db import Conn, migrate
from demo.postgres import embedded_postgres

COMMIT_EVERY = 500
FIRST = date(2026, 1, 1)
NOW = datetime(2026, 9, 3, 2, tzinfo=UTC)
SECTIONS = ("energy", "line_loss", "transmission", "system_operation", "basic")
PLAIN = """
    CREATE TABLE plain_journal (journal_id bigint PRIMARY KEY, idem_key text, deed text, event_date date,
                                effective_date date, booked_at timestamptz, facts jsonb, content_sha256 bytea);
    CREATE TABLE plain_posting (journal_id bigint, posting_no smallint, account_code text, amount_fen bigint, item text,
                                PRIMARY KEY (journal_id, posting_no))"""


def main() -> None:
    """Fill both, read both, print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--journals", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=5_000)
    parser.add_argument("--dsn", help="a database of its own; default: an embedded server, durable")
    arguments = parser.parse_args()
    with _server(arguments.dsn) as dsn, psycopg.connect(dsn) as conn:
        _prepare(conn, arguments.accounts)
        plain_s, posted_s = _fill(conn, arguments.journals, arguments.accounts)
        conn.execute("ANALYZE")
        conn.commit()
        rate = arguments.journals / posted_s
        print(
            f"{arguments.journals} journals of {len(SECTIONS) + 2} postings, {arguments.accounts} customers"
        )
        print(f"post: {rate:,.0f} journals/s = {rate * (len(SECTIONS) + 2):,.0f} postings/s")
        print(f"plain INSERT: {arguments.journals / plain_s:,.0f} journals/s; ratio {plain_s / posted_s:.2f}")
        _read(conn)


def _journals(count: int, accounts: int) -> Iterator[Journal]:
    for number in range(count):
        account = f"13{number % accounts:011d}"
        month = ledger.bill_event_date(date(2026, 1 + number // accounts % 12, 1))
        fen = [(number * 7919 + place * 104729) % 900_000 + 1 for place in range(len(SECTIONS) + 1)]
        item = f"{account}/{month:%Y-%m}"
        postings = (
            Posting(ledger.receivable(account), sum(fen), item),
            Posting(ledger.FUNDS, -fen[-1]),
            *(Posting(f"revenue/{section}", -part) for section, part in zip(SECTIONS, fen, strict=False)),
        )
        day = FIRST + timedelta(days=number % 240)
        yield Journal(f"bill:{number}", "issue_bill", month, day, postings, (("bill", str(number)),))


def _fill(conn: Conn, count: int, accounts: int) -> tuple[float, float]:
    """Seconds of the plain rows and of the ledger; in slices one after the other, so that both see the same machine."""
    plain_s = posted_s = 0.0
    slice_of: list[Journal] = []
    number = 0
    for journal in _journals(count, accounts):
        slice_of.append(journal)
        if len(slice_of) == COMMIT_EVERY:
            plain_s += _timed(lambda first=number, part=slice_of: _insert_plain(conn, first, part))  # type: ignore[misc]
            posted_s += _timed(lambda part=slice_of: _post(conn, part))  # type: ignore[misc]
            number += len(slice_of)
            slice_of = []
    return plain_s, posted_s


def _post(conn: Conn, journals: list[Journal]) -> None:
    for journal in journals:
        books.post(conn, journal, NOW)
    conn.commit()


def _insert_plain(conn: Conn, first: int, journals: list[Journal]) -> None:
    for number, journal in enumerate(journals, start=first):
        conn.execute(
            """WITH booked AS (
                   INSERT INTO plain_journal VALUES (%s, %s, %s, %s, %s, %s, %s, %s))
               INSERT INTO plain_posting
               SELECT %s, p.no, p.code, p.fen, p.item
               FROM unnest(%s::text[], %s::bigint[], %s::text[]) WITH ORDINALITY p (code, fen, item, no)""",
            (
                *(number, journal.idem_key, journal.deed, journal.event_date, journal.effective_date, NOW),
                *(Jsonb(dict(journal.facts)), ledger.content_sha256(journal), number),
                [each.account for each in journal.postings],
                [each.amount_fen for each in journal.postings],
                [each.item for each in journal.postings],
            ),
        )
    conn.commit()


def _read(conn: Conn) -> None:
    half = FIRST + timedelta(days=120)
    plain = (
        "SELECT account_code, sum(amount_fen) FROM plain_posting p JOIN plain_journal j USING (journal_id) "
        "WHERE j.effective_date < %s GROUP BY 1"
    )
    whole_s = _best(lambda: books.trial_balance(conn, None, None))
    pair_s = _best(lambda: books.trial_balance(conn, half, NOW + timedelta(hours=1)))
    plain_s = _best(lambda: conn.execute(plain, (half,)).fetchall())
    print(f"trial balance: everything {whole_s * 1000:.0f} ms, at a pair of dates {pair_s * 1000:.0f} ms")
    print(f"plain GROUP BY with a join at one date: {plain_s * 1000:.0f} ms; ratio {plain_s / pair_s:.2f}")
    one = "1300000000001"
    statement_s = _best(lambda: bookings.statement(conn, ledger.receivable(one), bookings.Span()))
    items_s = _best(lambda: books.open_items(conn, one))
    print(f"one customer: statement {statement_s * 1000:.1f} ms, open items {items_s * 1000:.1f} ms")
    if sum(row.balance_fen for row in books.trial_balance(conn, None, None)) != 0:
        raise AssertionError("the ledger does not balance")


def _prepare(conn: Conn, accounts: int) -> None:
    conn.execute(PLAIN)
    conn.execute("INSERT INTO party (kind, name) VALUES ('user', 'benchmark')")
    conn.execute(
        """INSERT INTO account (account_id, party_id, name, address)
           SELECT '13' || lpad(n::text, 11, '0'), party_id, 'n', 'a' FROM party, generate_series(0, %s) n""",
        (accounts - 1,),
    )
    conn.commit()


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _best(work: Callable[[], object]) -> float:
    return min(_timed(work) for _ in range(5))


@contextmanager
def _server(dsn: str | None) -> Iterator[str]:
    if dsn is not None:
        migrate(dsn)
        yield dsn
        return
    with tempfile.TemporaryDirectory() as folder, embedded_postgres(Path(folder) / "server") as server:
        migrate(server.dsn)
        yield server.dsn


if __name__ == "__main__":
    main()
