"""SQL: the whole ledger of green certificates at once: balances, and what of it contradicts itself."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.rows import class_row

from cloud.db import Conn


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account's balance."""

    account: str
    party_id: int | None
    party_name: str | None
    mwh: int


def balances(conn: Conn) -> tuple[AccountRow, ...]:
    """The sum of the postings of each account; all of them add up to zero."""
    with conn.cursor(row_factory=class_row(AccountRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT g.account, g.party_id, p.name AS party_name, sum(g.mwh)::bigint AS mwh
                   FROM green_posting g LEFT JOIN party p USING (party_id)
                   GROUP BY g.account, g.party_id, p.name HAVING sum(g.mwh) <> 0 ORDER BY g.account"""
            )
        )


def doubts(conn: Conn) -> tuple[tuple[str, int], ...]:
    """The double-count check: what of the ledger contradicts itself, by name, with how many MWh. Nothing may.

    Numbers at two places, numbers lost, places that the postings do not give, numbers of two batches or of none,
    months whose certificates are not those that were issued.
    """
    rows = conn.execute(
        """WITH folded AS (
               SELECT account, range_agg(serials) FILTER (WHERE mwh > 0) AS came,
                      sum(mwh) AS mwh FROM green_posting GROUP BY account),
           placed AS (SELECT account, sum(upper(serials) - lower(serials)) AS mwh FROM green_place GROUP BY account)
           SELECT 'two_places', coalesce(sum(upper(a.serials * b.serials) - lower(a.serials * b.serials)), 0)::bigint
           FROM green_place a JOIN green_place b ON a.serials && b.serials AND a.serials < b.serials
           UNION ALL
           SELECT 'sum_not_zero', coalesce(abs(sum(mwh)), 0)::bigint FROM green_posting
           UNION ALL
           SELECT 'place_differs', coalesce(sum(abs(coalesce(f.mwh, 0) - coalesce(p.mwh, 0))), 0)::bigint
           FROM (SELECT * FROM folded WHERE account NOT LIKE 'issued/%%') f FULL JOIN placed p USING (account)
           UNION ALL
           SELECT 'never_arrived', coalesce(sum(p.mwh), 0)::bigint FROM (
               SELECT upper(g.serials) - lower(g.serials) AS mwh FROM green_place g JOIN folded f USING (account)
               WHERE NOT f.came @> g.serials) p
           UNION ALL
           SELECT 'batch_differs', abs(coalesce((SELECT sum(upper(serials) - lower(serials)) FROM green_batch), 0)
                                       - coalesce((SELECT sum(issued_mwh) FROM green_month), 0))::bigint
           UNION ALL
           SELECT 'traded_twice', coalesce(sum(upper(a.serials * b.serials) - lower(a.serials * b.serials)), 0)::bigint
           FROM green_posting a JOIN green_posting b ON a.serials && b.serials AND a.entry_id < b.entry_id
           WHERE a.kind = 'transfer' AND b.kind = 'transfer' AND a.mwh > 0 AND b.mwh > 0
           UNION ALL
           SELECT 'used_twice', coalesce(sum(upper(a.serials * b.serials) - lower(a.serials * b.serials)), 0)::bigint
           FROM green_posting a JOIN green_posting b ON a.serials && b.serials AND a.entry_id < b.entry_id
           WHERE a.kind = 'retire' AND b.kind = 'retire' AND a.mwh > 0 AND b.mwh > 0"""
    )
    return tuple((str(name), int(mwh)) for name, mwh in rows)
