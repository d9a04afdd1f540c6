"""SQL: reserves of guarantees beside the contracts that hold them. Only the worker sees all of both."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from cloud.db import Conn


@dataclass(frozen=True, slots=True)
class StepRow:
    """A reserve whose contract has a later version: the energy of both in kWh; `sold_on` is the contract that another
    seller delivers to the same buyer since then."""

    party_id: int
    amount_fen: int
    contract_id: str
    version: int
    kwh_before: int
    kwh_after: int
    sold_on: str | None


# A number never has a colon; without a version it is the first.
_OPEN = """SELECT e.purpose_key, e.party_id, e.amount_fen, split_part(e.purpose_key, ':', 2) AS contract_id,
                  coalesce(nullif(split_part(e.purpose_key, ':', 3), ''), '1')::integer AS version
           FROM guarantee_entry e WHERE e.kind = 'reserve' AND e.purpose_key LIKE 'contract:%%'
             AND NOT EXISTS (SELECT FROM guarantee_entry r WHERE r.kind = 'release' AND r.purpose_key = e.purpose_key)"""


def over(conn: Conn) -> tuple[str, ...]:
    """Reserves of contracts that came to nothing, are archived, or have run and are settled finally."""
    rows = conn.execute(
        f"""SELECT o.purpose_key FROM ({_OPEN}) o JOIN contract c USING (contract_id)
            WHERE c.state IN ('void', 'cancelled', 'archived')
               OR (c.state IN ('completed', 'terminated')
                   AND EXISTS (SELECT FROM statement s WHERE s.unit_id = c.buyer_unit AND s.state = 'final'
                               AND s.month >= date_trunc('month', c.end_day - 1)::date))
            ORDER BY o.party_id, o.purpose_key""",
        (),
    )
    return tuple(str(key) for (key,) in rows)


def lapsed(conn: Conn) -> tuple[str, ...]:
    """Reserves of what was agreed and will not be signed as it is: declined, expired, cancelled, void."""
    rows = conn.execute(
        """SELECT e.purpose_key FROM guarantee_entry e JOIN contract c ON c.contract_id = split_part(e.purpose_key, ':', 2)
           WHERE e.kind = 'reserve' AND e.purpose_key LIKE 'agreed:%' AND c.state NOT IN ('draft', 'signing', 'cooling')
             AND NOT EXISTS (SELECT FROM guarantee_entry r WHERE r.kind = 'release' AND r.purpose_key = e.purpose_key)
           ORDER BY e.party_id, e.purpose_key"""
    )
    return tuple(str(key) for (key,) in rows)


def changed(conn: Conn) -> tuple[str, ...]:
    """Reserves of running contracts that have a later version than the one they were reserved for."""
    rows = conn.execute(
        f"""SELECT o.purpose_key FROM ({_OPEN}) o JOIN contract c USING (contract_id)
            WHERE c.state IN ('effective', 'executing', 'completed', 'terminated') AND c.version > o.version
            ORDER BY o.party_id, o.purpose_key""",
        (),
    )
    return tuple(str(key) for (key,) in rows)


def step_of(conn: Conn, key: str) -> StepRow | None:
    """A reserve and what its contract's next version changes of the energy; None when it is released meanwhile."""
    kwh = """(SELECT coalesce(sum(v.mwh) * 1000, 0)::bigint
              FROM wholesale_volume v WHERE (v.contract_id, v.version) = (o.contract_id, o.version{}))"""
    with conn.cursor(row_factory=class_row(StepRow)) as cursor:
        return cursor.execute(
            f"""SELECT o.party_id, o.amount_fen, o.contract_id, o.version, {kwh.format("")} AS kwh_before,
                       {kwh.format(" + 1")} AS kwh_after,
                       (SELECT t.new_contract_id FROM contract_transfer t WHERE t.contract_id = o.contract_id
                        AND t.from_version = o.version AND t.state = 'done' AND t.side = 'seller') AS sold_on
                FROM ({_OPEN}) o WHERE o.purpose_key = %s""",
            (key,),
        ).fetchone()


def unbound(conn: Conn, kinds: Collection[str], until: datetime, only: str | None = None) -> tuple[str, ...]:
    """Contracts (or one) in force since before `until`, of buyers of a kind that lodges, for which nothing was ever bound."""
    rows = conn.execute(
        """SELECT c.contract_id FROM contract c JOIN party p ON p.party_id = c.buyer_id
           WHERE c.state IN ('effective', 'executing') AND c.effective_at < %s AND p.kind = ANY(%s)
             AND (%s::text IS NULL OR c.contract_id = %s)
             AND EXISTS (SELECT FROM wholesale_volume v WHERE (v.contract_id, v.version) = (c.contract_id, c.version)
                         AND v.mwh > 0)
             AND NOT EXISTS (SELECT FROM generate_series(1, c.version) n JOIN guarantee_entry e ON e.kind = 'reserve'
                             AND e.purpose_key = 'contract:' || c.contract_id || CASE n WHEN 1 THEN '' ELSE ':' || n END)
           ORDER BY c.buyer_id, c.effective_at, c.contract_id""",
        (until, sorted(kinds), only, only),
    )
    return tuple(str(contract_id) for (contract_id,) in rows)


def taken_over(conn: Conn) -> tuple[int, ...]:
    """Transfers that are done and whose transferee's reserve is still the transfer's."""
    rows = conn.execute(
        """SELECT t.transfer_id FROM contract_transfer t JOIN guarantee_entry e ON e.purpose_key = 'transfer:' || t.transfer_id
           WHERE t.state = 'done' AND e.kind = 'reserve'
             AND NOT EXISTS (SELECT FROM guarantee_entry r WHERE r.kind = 'release' AND r.purpose_key = e.purpose_key)
           ORDER BY t.transfer_id"""
    )
    return tuple(int(transfer_id) for (transfer_id,) in rows)


def of_transfer(conn: Conn, transfer_id: int) -> tuple[int, int, str] | None:
    """The open reserve of a transfer: its party, fen, and the contract that it became."""
    row = conn.execute(
        """SELECT e.party_id, e.amount_fen, t.new_contract_id FROM guarantee_entry e
           JOIN contract_transfer t ON e.purpose_key = 'transfer:' || t.transfer_id
           WHERE t.transfer_id = %s AND e.kind = 'reserve'
             AND NOT EXISTS (SELECT FROM guarantee_entry r WHERE r.kind = 'release' AND r.purpose_key = e.purpose_key)""",
        (transfer_id,),
    ).fetchone()
    return None if row is None else (int(row[0]), int(row[1]), str(row[2]))
