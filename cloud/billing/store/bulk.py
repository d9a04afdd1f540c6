"""SQL of the bulk run: the accounts of a shard, plans, drafts and progress. Nothing here commits or decides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from psycopg.types.json import Jsonb

from cloud.billing import bulkrow
from cloud.billing.bulkplan import Shape
from cloud.billing.bulkshard import Account
from cloud.billing.segment import DemandMode
from cloud.db import Conn
from cloud.markettime import day_of, month_bounds


@dataclass(frozen=True, slots=True)
class ShardAccounts:
    """The accounts of a shard with terms in a month: by group those whose terms are the same all month, and the others."""

    groups: tuple[tuple[Shape, tuple[Account, ...]], ...]
    changing: tuple[str, ...]
    sha256: str  # of all this


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


def shard_accounts(conn: Conn, shard_id: int, start: datetime, end: datetime) -> ShardAccounts:
    """List the accounts of a shard that have terms in `[start, end)`, in the order of their rows.

    OFFSET 0 keeps the planner from reading the whole tables for a thousand accounts: each is looked up by its key.
    """
    found = conn.execute(
        """SELECT grid, category, purchase, structure, voltage, demand_mode, power_factor_standard::text, option,
                  own.account_id, own.first_row, own.points, capacity_kva, contract_demand_kw,
                  coalesce(lower(effective) <= %(start)s, true) AND coalesce(upper(effective) >= %(end)s, true)
           FROM (SELECT s.account_id, min(m.row_no) AS first_row, count(*)::integer AS points
                 FROM block_member m CROSS JOIN LATERAL
                      (SELECT account_id FROM supply_point s WHERE s.supply_point_id = m.supply_point_id OFFSET 0) s
                 WHERE m.shard_id = %(shard)s GROUP BY 1) own
           CROSS JOIN LATERAL (SELECT grid FROM account a WHERE a.account_id = own.account_id OFFSET 0) a
           CROSS JOIN LATERAL (SELECT * FROM account_terms t WHERE t.account_id = own.account_id OFFSET 0) t
           WHERE effective && tstzrange(%(start)s, %(end)s) ORDER BY first_row""",
        {"shard": shard_id, "start": start, "end": end},
    ).fetchall()
    groups: dict[tuple[str, ...], list[Account]] = {}
    changing: dict[str, None] = {}
    for *shape, account_id, first_row, points, capacity, contract, whole_month in found:
        if whole_month:
            account = Account(account_id, first_row, points, capacity, contract)
            groups.setdefault(tuple(shape), []).append(account)
        else:
            changing[account_id] = None
    by_shape = tuple((_shape(*shape), tuple(accounts)) for shape, accounts in groups.items())
    return ShardAccounts(by_shape, tuple(changing), hashlib.sha256(repr(found).encode()).hexdigest())


def ladder_positions(
    conn: Conn, month: date, account_ids: Sequence[str]
) -> dict[str, tuple[Decimal, date | None] | None]:
    """Find where in the year's ladder the month of each account begins: (kWh before it, first day of service).

    None: an earlier month of the year with catalogue terms is not billed. The same as the single path finds for one
    account (`run.bill`), by one query for all.
    """
    rows = conn.execute(
        """WITH own AS (SELECT unnest(%(ids)s::text[]) AS account_id),
           opening AS (
               SELECT DISTINCT ON (account_id) account_id, month, kwh FROM year_opening JOIN own USING (account_id)
               WHERE month >= %(year)s AND month <= %(month)s ORDER BY account_id, month DESC),
           served AS (
               SELECT account_id, effective, min(lower(effective)) OVER (PARTITION BY account_id) AS first,
                      bool_or(lower_inf(effective)) OVER (PARTITION BY account_id) AS ever
               FROM account_terms JOIN own USING (account_id)
               WHERE purchase = 'catalogue' AND effective && tstzrange(%(start)s, %(end)s)),
           earlier AS (
               SELECT generate_series(%(year)s::date, %(month)s::date - 1, '1 month')::date AS month),
           billed AS (
               SELECT DISTINCT ON (account_id, month) account_id, month, facts FROM bill JOIN own USING (account_id)
               WHERE month >= %(year)s AND month < %(month)s AND state <> 'void'
               ORDER BY account_id, month, revision DESC),
           counted AS (
               SELECT account_id, sum((SELECT coalesce(sum(kwh.value::numeric), 0)
                                       FROM jsonb_array_elements(facts -> 'segments') s, jsonb_each_text(s -> 'kwh') kwh
                                       WHERE s -> 'terms' ->> 'purchase' = 'catalogue')) AS kwh
               FROM billed LEFT JOIN opening USING (account_id)
               WHERE opening.month IS NULL OR billed.month >= opening.month GROUP BY 1)
           SELECT own.account_id, coalesce(counted.kwh, 0) + coalesce(opening.kwh, 0),
                  (SELECT min(first) FROM served s WHERE s.account_id = own.account_id AND NOT ever),
                  EXISTS (SELECT FROM earlier e JOIN served s ON s.account_id = own.account_id AND s.effective &&
                              tstzrange(e.month::timestamp AT TIME ZONE 'Asia/Shanghai',
                                        (e.month + interval '1 month')::timestamp AT TIME ZONE 'Asia/Shanghai')
                          WHERE (opening.month IS NULL OR e.month >= opening.month)
                            AND NOT EXISTS (SELECT FROM billed b WHERE (b.account_id, b.month) = (own.account_id, e.month)))
           FROM own LEFT JOIN opening USING (account_id) LEFT JOIN counted USING (account_id)""",
        {
            "ids": list(account_ids),
            "year": month.replace(month=1),
            "month": month,
            "start": month_bounds(month.replace(month=1))[0],
            "end": month_bounds(month)[1],
        },
    )
    year_start, _ = month_bounds(month.replace(month=1))
    return {
        account_id: None
        if is_missing
        else (kwh, None if first is None or first <= year_start else day_of(first))
        for account_id, kwh, first, is_missing in rows
    }


def scattered(conn: Conn) -> frozenset[str]:
    """List the accounts whose supply points are not all in one shard, one after the other."""
    rows = conn.execute(
        """SELECT s.account_id FROM supply_point s LEFT JOIN block_member m USING (supply_point_id) GROUP BY 1
           HAVING count(m.shard_id) > 0 AND (count(*) <> count(m.shard_id) OR count(DISTINCT m.shard_id) > 1
                                             OR max(m.row_no) - min(m.row_no) + 1 <> count(*))"""
    )
    return frozenset(account_id for (account_id,) in rows)


def _shape(  # the columns of a group, as they come
    grid: str, category: str, purchase: str, structure: str, voltage: str, mode: str, *rest: str | None
) -> Shape:
    standard, option = rest
    known = None if standard is None else Decimal(standard)
    return Shape(grid, category, purchase, structure, voltage, DemandMode(mode), known, option or "")


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


def done(conn: Conn, month: date, shard_id: int, inputs_sha256: bytes) -> tuple[int, int] | None:
    """Tell how many drafts and left over the shard's latest run had, if it was with exactly these inputs."""
    row = conn.execute(
        """SELECT inputs_sha256, drafts, (SELECT count(*) FROM jsonb_object_keys(left_over))
           FROM bulk_done WHERE month = %s AND shard_id = %s ORDER BY done_no DESC LIMIT 1""",
        (month, shard_id),
    ).fetchone()
    return (row[1], row[2]) if row is not None and bytes(row[0]) == inputs_sha256 else None


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
