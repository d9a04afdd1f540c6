"""SQL of the bulk run: the accounts of a shard, plans, drafts and progress. Nothing here commits or decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.types.json import Jsonb

from cloud.billing import bulkrow
from cloud.billing.segment import DemandMode, Terms
from cloud.db import Conn


@dataclass(frozen=True, slots=True)
class ShardAccount:
    """An account with supply points in a shard, and its terms that touch the month."""

    account_id: str
    preceding_rows: int
    rows: int
    grid: str
    is_whole: bool  # all its supply points stand here, one after the other
    terms: tuple[tuple[datetime | None, datetime | None, Terms], ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """The latest draft of an account and month."""

    account_id: str
    revision: int
    plan_id: int
    amounts_fen: tuple[int, ...]
    total_fen: int
    input_sha256: bytes
    bill_id: int | None  # of the bill it has become


def try_lock(conn: Conn, month: date, shard_id: int, *, wait: bool) -> bool:
    """Let only this transaction draft the shard's month; False when another one does and we do not wait."""
    key = f"bulk {month.isoformat()} {shard_id}"
    if wait:
        conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (key,))
        return True
    row = conn.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (key,)).fetchone()
    return bool(row and row[0])


def shard_accounts(conn: Conn, shard_id: int, start: datetime, end: datetime) -> tuple[ShardAccount, ...]:
    """List the accounts of a shard that have terms in `[start, end)`, in the order of their rows."""
    found = conn.execute(
        """WITH own AS (
               SELECT s.account_id, min(m.row_no) AS first_row, count(*)::integer AS points,
                      max(m.row_no) - min(m.row_no) + 1 AS span
               FROM block_member m JOIN supply_point s USING (supply_point_id)
               WHERE m.shard_id = %(shard)s GROUP BY 1),
           every AS (SELECT s.account_id, count(*) AS points FROM supply_point s JOIN own USING (account_id) GROUP BY 1)
           SELECT account_id, first_row, own.points, grid, own.points = span AND own.points = every.points,
                  lower(effective), upper(effective), category, purchase, structure, voltage, demand_mode,
                  capacity_kva, contract_demand_kw, power_factor_standard, option
           FROM own JOIN every USING (account_id) JOIN account USING (account_id) JOIN account_terms USING (account_id)
           WHERE effective && tstzrange(%(start)s, %(end)s) ORDER BY first_row, lower(effective)""",
        {"shard": shard_id, "start": start, "end": end},
    )
    by_account: dict[str, ShardAccount] = {}
    for account_id, first_row, points, grid, is_whole, lower, upper, *facts in found:
        category, purchase, structure, voltage, mode, *amounts = facts
        terms = (lower, upper, Terms(category, purchase, structure, voltage, DemandMode(mode), *amounts))
        before = by_account[account_id].terms if account_id in by_account else ()
        by_account[account_id] = ShardAccount(account_id, first_row, points, grid, is_whole, (*before, terms))
    return tuple(by_account.values())


def accounts_elsewhere(conn: Conn, start: datetime, end: datetime) -> tuple[str, ...]:
    """List the accounts with terms in `[start, end)` none of whose supply points is in a shard."""
    rows = conn.execute(
        """SELECT DISTINCT t.account_id FROM account_terms t WHERE t.effective && tstzrange(%s, %s)
             AND NOT EXISTS (SELECT FROM supply_point s JOIN block_member m USING (supply_point_id)
                             WHERE s.account_id = t.account_id) ORDER BY 1""",
        (start, end),
    )
    return tuple(account_id for (account_id,) in rows)


def keep_plan(conn: Conn, sha256: bytes, month: date, content: Mapping[str, Any], now: datetime) -> int:
    """Keep a plan once; return its number."""
    wanted = "SELECT plan_id FROM bulk_plan WHERE sha256 = %s"
    row = conn.execute(wanted, (sha256,)).fetchone()
    if row is None:
        conn.execute(
            """INSERT INTO bulk_plan (sha256, month, content, made_at) VALUES (%s, %s, %s, %s)
               ON CONFLICT (sha256) DO NOTHING""",
            (sha256, month, Jsonb(content), now),
        )
        row = conn.execute(wanted, (sha256,)).fetchone()
    if row is None:
        raise TypeError("a plan just kept is not there")
    return int(row[0])


def latest(conn: Conn, month: date, account_ids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Find the latest revision and input hash of each account that has a draft."""
    rows = conn.execute(
        """SELECT DISTINCT ON (account_id) account_id, revision, input_sha256 FROM bulk_draft
           WHERE month = %s AND account_id = ANY(%s) ORDER BY account_id, revision DESC""",
        (month, list(account_ids)),
    )
    return {account_id: (revision, bytes(sha256)) for account_id, revision, sha256 in rows}


def copy_drafts(conn: Conn, packed: Iterable[bytes]) -> None:
    """Add drafts that `bulkrow.rows` has packed."""
    columns = ", ".join(bulkrow.COLUMNS)
    with (
        conn.cursor() as cursor,
        cursor.copy(f"COPY bulk_draft ({columns}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.write(bulkrow.HEADER)
        for part in packed:
            copy.write(part)
        copy.write(bulkrow.TRAILER)


def is_done(conn: Conn, month: date, shard_id: int, inputs_sha256: bytes) -> bool:
    """Tell whether the shard was drafted with exactly these inputs, and nothing else since."""
    row = conn.execute(
        """SELECT inputs_sha256 FROM bulk_done WHERE month = %s AND shard_id = %s ORDER BY done_no DESC LIMIT 1""",
        (month, shard_id),
    ).fetchone()
    return row is not None and bytes(row[0]) == inputs_sha256


def add_done(
    conn: Conn,
    place: tuple[date, int, bytes],
    counts: tuple[int, int],
    left_over: Mapping[str, str],
    now: datetime,
) -> None:
    """Note that a shard's month, with inputs of this hash, is drafted: (drafts, of them added), and who is left over."""
    conn.execute(
        """INSERT INTO bulk_done (month, shard_id, inputs_sha256, drafts, added, left_over, done_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (*place, *counts, Jsonb(dict(left_over)), now),
    )


def left_over(conn: Conn, month: date) -> tuple[tuple[str, str], ...]:
    """List accounts that the latest run of each shard left to the single path, with the reason."""
    rows = conn.execute(
        """SELECT key, value FROM (SELECT DISTINCT ON (shard_id) shard_id, left_over FROM bulk_done
                                   WHERE month = %s ORDER BY shard_id, done_no DESC) d,
                                  jsonb_each_text(d.left_over) ORDER BY key""",
        (month,),
    )
    return tuple(rows)


def draft(conn: Conn, month: date, account_id: str) -> Draft | None:
    """Load an account's latest draft."""
    row = conn.execute(
        """SELECT account_id, revision, plan_id, amounts_fen, total_fen, input_sha256, e.bill_id
           FROM bulk_draft LEFT JOIN bulk_expanded e USING (month, account_id, revision)
           WHERE month = %s AND account_id = %s ORDER BY revision DESC LIMIT 1""",
        (month, account_id),
    ).fetchone()
    if row is None:
        return None
    account, revision, plan_id, amounts, total_fen, sha256, bill_id = row
    return Draft(account, revision, plan_id, tuple(amounts), total_fen, bytes(sha256), bill_id)


def waiting(conn: Conn, month: date, limit: int) -> tuple[str, ...]:
    """List accounts whose latest draft has not become a bill yet."""
    rows = conn.execute(
        """SELECT d.account_id FROM (SELECT DISTINCT ON (account_id) account_id, revision FROM bulk_draft
                                     WHERE month = %(month)s ORDER BY account_id, revision DESC) d
           WHERE NOT EXISTS (SELECT FROM bulk_expanded e WHERE (e.month, e.account_id, e.revision)
                                                              = (%(month)s, d.account_id, d.revision))
           ORDER BY 1 LIMIT %(limit)s""",
        {"month": month, "limit": limit},
    )
    return tuple(account_id for (account_id,) in rows)


def add_expanded(conn: Conn, month: date, known: Draft, bill_id: int) -> None:
    """Note which bill a draft has become."""
    conn.execute(
        "INSERT INTO bulk_expanded (account_id, month, revision, bill_id) VALUES (%s, %s, %s, %s)",
        (known.account_id, month, known.revision, bill_id),
    )
