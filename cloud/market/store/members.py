"""SQL: who takes part in the market in a month, and the metered energy behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from cloud.db import Conn


@dataclass(frozen=True, slots=True)
class Member:
    """An account that is in the market, or a retailer's customer, in `[start, end)`; None: without end."""

    account_id: str
    party_id: int
    name: str
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class PartyRow:
    """A party by its number."""

    party_id: int
    kind: str
    name: str


def direct_users(conn: Conn, start: datetime, end: datetime) -> tuple[Member, ...]:
    """Accounts that buy directly in some part of `[start, end)`, with those parts."""
    return _members(conn, "t.purchase = 'direct' AND t.category <> 'generation'", start, end)


def generators(conn: Conn, start: datetime, end: datetime) -> tuple[Member, ...]:
    """Accounts that generate in some part of `[start, end)`, with those parts."""
    return _members(conn, "t.category = 'generation'", start, end)


def _members(conn: Conn, condition: str, start: datetime, end: datetime) -> tuple[Member, ...]:
    rows = conn.execute(
        f"""SELECT a.account_id, a.party_id, a.name, coalesce(lower(t.effective), 'epoch'), upper(t.effective)
            FROM account_terms t JOIN account a USING (account_id)
            WHERE {condition} AND t.effective && tstzrange(%s, %s) ORDER BY a.account_id, lower(t.effective)""",
        (start, end),
    )
    return tuple(Member(*row) for row in rows)


def customers(conn: Conn, start: datetime, end: datetime) -> tuple[tuple[PartyRow, Member], ...]:
    """Every retail customer in `[start, end)` with the retailer and the part of the month."""
    rows = conn.execute(
        """SELECT r.party_id, r.kind, r.name, a.account_id, a.party_id, a.name, lower(p.effective), upper(p.effective)
           FROM account_package p JOIN account a USING (account_id) JOIN party r ON r.party_id = p.retailer_id
           WHERE p.effective && tstzrange(%s, %s) ORDER BY r.party_id, a.account_id, lower(p.effective)""",
        (start, end),
    )
    return tuple((PartyRow(*row[:3]), Member(*row[3:])) for row in rows)


def find_party(conn: Conn, party_id: int) -> PartyRow | None:
    """The party of that number."""
    row = conn.execute("SELECT party_id, kind, name FROM party WHERE party_id = %s", (party_id,)).fetchone()
    return None if row is None else PartyRow(*row)


def find_account(conn: Conn, account_id: str) -> tuple[int, str] | None:
    """Party and name of an account."""
    row = conn.execute("SELECT party_id, name FROM account WHERE account_id = %s", (account_id,)).fetchone()
    return None if row is None else (int(row[0]), str(row[1]))


def supply_points(conn: Conn, account_id: str) -> tuple[str, ...]:
    """An account's supply points by id."""
    rows = conn.execute(
        "SELECT supply_point_id FROM supply_point WHERE account_id = %s ORDER BY supply_point_id",
        (account_id,),
    )
    return tuple(supply_point_id for (supply_point_id,) in rows)


def open_findings(conn: Conn, supply_point_ids: Sequence[str], first: date, end: date) -> int:
    """Count errors that validation found in the latest revision of days of `[first, end)`."""
    row = conn.execute(
        """SELECT count(*) FROM finding f
           WHERE f.supply_point_id = ANY(%s) AND f.day >= %s AND f.day < %s AND f.severity = 'error'
             AND f.revision = (SELECT max(d.revision) FROM interval_day d
                               WHERE (d.supply_point_id, d.day) = (f.supply_point_id, f.day))""",
        (list(supply_point_ids), first, end),
    ).fetchone()
    return int(row[0]) if row else 0


def latest_revisions(
    conn: Conn, supply_point_ids: Sequence[str], first: date, end: date
) -> dict[tuple[str, date], int]:
    """The latest revision of each day of `[first, end)`, by supply point and day."""
    rows = conn.execute(
        """SELECT supply_point_id, day, max(revision) FROM interval_day
           WHERE supply_point_id = ANY(%s) AND day >= %s AND day < %s GROUP BY 1, 2""",
        (list(supply_point_ids), first, end),
    )
    return {(point, day): int(revision) for point, day, revision in rows}
