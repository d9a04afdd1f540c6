"""SQL: which issued bills does a change touch? Nothing here commits or decides.

The indexes bill_interval and bill_file are written by the database as a bill is kept (cloud/schema/0015). A change is
found by when it became known, so a look costs what has changed since the last one, not what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from cloud.billing.correction import Cause, Touched, Why
from cloud.db import Conn

EVER = datetime(1970, 1, 1, tzinfo=UTC)
OVERLAP = timedelta(
    days=1
)  # a look goes back behind the last one: what was written before may be committed after

# What a look finds, as (bill_id, account_id, month, cause, detail, known_at) of issued bills.
_MONTH = """tstzrange(b.month::timestamp AT TIME ZONE 'Asia/Shanghai',
                      (b.month + interval '1 month') AT TIME ZONE 'Asia/Shanghai')"""
_CHANGED_INTERVALS = """
    SELECT b.bill_id, b.account_id, b.month, 'interval' AS cause,
           concat_ws(' ', d.supply_point_id, d.day, u.revisions[d.day - u.first_day + 1], max(d.revision)) AS detail,
           max(d.made_at) AS known_at
    FROM interval_day d
    JOIN bill_interval u ON u.supply_point_id = d.supply_point_id AND u.first_day BETWEEN d.day - 31 AND d.day
    JOIN bill b ON b.bill_id = u.bill_id AND b.state = 'issued'
    WHERE d.made_at >= %(since)s AND d.day < u.first_day + cardinality(u.revisions)
      AND d.revision > u.revisions[d.day - u.first_day + 1]
    GROUP BY b.bill_id, d.supply_point_id, d.day, u.revisions, u.first_day"""
_SUPERSEDED_FILES = """
    SELECT b.bill_id, b.account_id, b.month, 'price_file', p.sheet_id || '@' || p.version, p.loaded_at
    FROM price_sheet p JOIN bill_file f ON f.sheet_id = p.sheet_id AND f.version < p.version
    JOIN bill b ON b.bill_id = f.bill_id AND b.state = 'issued'
    WHERE p.loaded_at >= %(since)s"""
_NEW_FILES = f"""
    SELECT b.bill_id, b.account_id, b.month, 'price_file', p.sheet_id || '@' || p.version, p.loaded_at
    FROM price_sheet p JOIN bill b ON b.state = 'issued' AND b.made_at < p.loaded_at
    JOIN account a ON a.account_id = b.account_id AND p.grid IN (a.grid, 'cn')
    WHERE p.loaded_at >= %(since)s AND p.kind NOT IN ('package', 'collection', 'correction') AND p.effective && {_MONTH}
      AND NOT EXISTS (SELECT FROM bill_file f WHERE f.bill_id = b.bill_id AND f.sheet_id = p.sheet_id)
      AND EXISTS (SELECT FROM bill_file f JOIN price_sheet o USING (sheet_id, version)
                  WHERE f.bill_id = b.bill_id AND o.kind = p.kind)"""
_CHANGED_BASIS = f"""
    SELECT b.bill_id, b.account_id, b.month, c.cause, c.account_id || ' #' || c.change_id, least(c.changed_at, %(now)s)
    FROM basis_change c JOIN bill b ON b.account_id = c.account_id AND b.state = 'issued'
    WHERE c.changed_at >= %(since_kept)s AND c.changed_at >= b.kept_at AND c.effective && {_MONTH}"""
_NEW_STATEMENTS = """
    SELECT b.bill_id, b.account_id, b.month, 'settlement', s.unit_id || ' r' || s.revision, e.at
    FROM statement_event e JOIN statement s USING (statement_id)
    JOIN bill b ON b.account_id = s.account_id AND b.month = s.month AND b.state = 'issued'
    WHERE e.after = 'final' AND e.at >= %(since)s AND e.at > b.made_at"""
_MOVED_LADDERS = """
    SELECT b.bill_id, b.account_id, b.month, 'ladder', to_char(r.month, 'YYYY-MM') || ' r' || r.revision, r.issued_at
    FROM bill r JOIN bill b ON b.account_id = r.account_id AND b.state = 'issued' AND b.month > r.month
         AND date_trunc('year', b.month) = date_trunc('year', r.month) AND b.made_at < r.issued_at
    WHERE r.revision > 1 AND r.state = 'issued' AND r.issued_at >= %(since)s
      AND b.facts @? '$.segments[*].terms.purchase ? (@ == "catalogue")'"""
_LOOK = " UNION ALL ".join(
    (_CHANGED_INTERVALS, _SUPERSEDED_FILES, _NEW_FILES, _CHANGED_BASIS, _NEW_STATEMENTS, _MOVED_LADDERS)
)


def look(conn: Conn, now: datetime) -> int:
    """Note the bills that something has changed under since the last look; count the new notes."""
    since, since_kept = _seen_until(conn)
    found = (
        conn.execute(  # the instants are given, not computed, so that the planner sees how few rows are meant
            f"""INSERT INTO touched_bill (bill_id, cause, detail, known_at, found_at)
            SELECT bill_id, cause, detail, known_at, %(now)s FROM ({_LOOK}) found
            ON CONFLICT DO NOTHING""",
            {
                "now": now,
                "since": since,
                "since_kept": since_kept,
            },
            prepare=False,
        ).rowcount
    )
    conn.execute("INSERT INTO correction_look (looked_at, found) VALUES (%s, %s)", (now, found))
    return found


def _seen_until(conn: Conn) -> tuple[datetime, datetime]:
    """Tell up to when changes have been looked at, by the market's clock and by the database's.

    A draft is not looked at. So a look goes back to where the oldest bill issued since the last one was drawn up:
    what changed under it while it waited for its issue is found then.
    """
    row = conn.execute(
        """SELECT least(l.looked_at, b.made_at), least(l.kept_at, b.kept_at)
           FROM (SELECT max(looked_at) AS looked_at, max(kept_at) AS kept_at FROM correction_look) l
           CROSS JOIN LATERAL (SELECT min(made_at) AS made_at, min(kept_at) AS kept_at FROM bill
                               WHERE issued_at >= l.looked_at - %s AND state = 'issued') b
           WHERE l.looked_at IS NOT NULL""",
        (OVERLAP,),
    ).fetchone()
    return (EVER, EVER) if row is None else (row[0] - OVERLAP, row[1] - OVERLAP)


def lock(conn: Conn) -> None:
    """Let only this transaction take notes into a proposal, until it ends."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('correction proposals', 0))")


def waiting(conn: Conn, account_id: str | None = None) -> tuple[Touched, ...]:
    """List the notes about issued bills that no standing proposal has taken up, one for each note.

    A note is taken up by a proposal about its bill that was prepared after it was found, unless that was withdrawn.
    """
    rows = conn.execute(
        """SELECT b.bill_id, b.account_id, b.month, t.cause, t.detail, t.known_at
           FROM touched_bill t JOIN bill b ON b.bill_id = t.bill_id AND b.state = 'issued'
           WHERE (%(account)s::text IS NULL OR b.account_id = %(account)s)
             AND NOT EXISTS (
               SELECT FROM correction_item i JOIN correction c USING (correction_id)
               LEFT JOIN correction_decision d USING (correction_id)
               WHERE i.bill_id = t.bill_id AND c.prepared_at >= t.found_at AND d.deed IS DISTINCT FROM 'withdraw')
           ORDER BY b.account_id, b.month, t.cause, t.detail""",
        {"account": account_id},
    )
    return tuple(map(_touched, rows))


def bills_of_day(conn: Conn, supply_point_id: str, day: date) -> tuple[int, ...]:
    """List the bills, in whatever state, that were drawn from a supply point's day."""
    rows = conn.execute(
        """SELECT bill_id FROM bill_interval
           WHERE supply_point_id = %s AND first_day BETWEEN %s - 31 AND %s AND %s < first_day + cardinality(revisions)
           ORDER BY bill_id""",
        (supply_point_id, day, day, day),
    )
    return tuple(int(bill_id) for (bill_id,) in rows)


def bills_of_file(conn: Conn, sheet_id: str, versions: Sequence[int]) -> tuple[int, ...]:
    """List the bills that name a price file in one of the versions."""
    rows = conn.execute(
        "SELECT bill_id FROM bill_file WHERE sheet_id = %s AND version = ANY(%s) ORDER BY bill_id",
        (sheet_id, list(versions)),
    )
    return tuple(int(bill_id) for (bill_id,) in rows)


def _touched(row: tuple[int, str, date, str, str, datetime]) -> Touched:
    bill_id, account_id, month, cause, detail, known_at = row
    return Touched(bill_id, account_id, month, (Why(Cause(cause), detail),), known_at)
