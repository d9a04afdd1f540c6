"""SQL: what the market asks of bills: a retailer's revenue, and what a month's bills are made of by section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from cloud.billing.line import Section
from cloud.db import Conn

STANDING = ["draft", "held", "issued"]


@dataclass(frozen=True, slots=True)
class EnergyRevenue:
    """The energy part of the bills of some accounts, and how many of them have one."""

    amount_fen: int
    bills: int


def energy_revenue(conn: Conn, account_ids: Sequence[str], month: date) -> EnergyRevenue:
    """Add up the energy sections of the accounts' latest bills of a month."""
    row = conn.execute(
        """SELECT coalesce(sum(l.amount_fen) FILTER (WHERE l.section = %s), 0)::bigint, count(DISTINCT b.account_id)
           FROM (SELECT DISTINCT ON (account_id) account_id, bill_id FROM bill
                 WHERE account_id = ANY(%s) AND month = %s AND state = ANY(%s)
                 ORDER BY account_id, revision DESC) b
           JOIN bill_line l USING (bill_id)""",
        (Section.ENERGY, list(account_ids), month, STANDING),
    ).fetchone()
    return EnergyRevenue(0, 0) if row is None else EnergyRevenue(*row)


def section_sums(conn: Conn, month: date) -> dict[str, int]:
    """Add up the latest bills of everybody in a month by section: where the users' money goes."""
    rows = conn.execute(
        """SELECT l.section, sum(l.amount_fen)::bigint
           FROM (SELECT DISTINCT ON (account_id) account_id, bill_id FROM bill
                 WHERE month = %s AND state = ANY(%s) ORDER BY account_id, revision DESC) b
           JOIN bill_line l USING (bill_id) GROUP BY l.section""",
        (month, STANDING),
    )
    return {section: int(fen) for section, fen in rows}
