"""SQL: what bills, statements and measured days say of a party's conduct, and how much a party trades."""

from __future__ import annotations

from datetime import date
from typing import Any

from cloud.db import Conn

ROWS_MAX = 100_000


def bill_payments(conn: Conn, since: date) -> tuple[tuple[Any, ...], ...]:
    """Bill months due since: party, item, due date, what is open, and the day of the last payment."""
    return tuple(
        conn.execute(
            """SELECT a.party_id, i.item, b.due_date, i.open_fen, i.paid_on
               FROM (SELECT l.account_id, p.item, sum(p.amount_fen)::bigint AS open_fen,
                            max(j.effective_date) FILTER (WHERE p.amount_fen < 0) AS paid_on
                     FROM posting p JOIN ledger_account l USING (account_code) JOIN journal j USING (journal_id)
                     WHERE l.account_code LIKE 'receivable/%%' AND l.account_id IS NOT NULL
                       AND p.item LIKE '%%/____-__' GROUP BY 1, 2) i
               JOIN account a USING (account_id)
               JOIN bill b ON b.account_id = i.account_id AND b.state = 'issued' AND b.due_date >= %s
                          AND b.month = to_date(split_part(i.item, '/', 2), 'YYYY-MM')
               ORDER BY i.item LIMIT %s""",
            (since, ROWS_MAX),
        )
    )


def deviations(conn: Conn, since: date) -> tuple[tuple[Any, ...], ...]:
    """Final statements since a month: party, unit, month, metered kWh and contracted MWh."""
    return tuple(
        conn.execute(
            """SELECT s.party_id, s.unit_id, s.month, s.quantity_kwh,
                      (SELECT coalesce(sum(l.quantity_mwh), 0) FROM statement_line l
                       WHERE l.statement_id = s.statement_id AND l.item IN ('contract', 'contract_difference'))
               FROM statement s
               WHERE s.state = 'final' AND s.month >= %s AND s.party_id IS NOT NULL AND s.quantity_kwh > 0
               ORDER BY s.month, s.unit_id LIMIT %s""",
            (since, ROWS_MAX),
        )
    )


def measured(conn: Conn, first: date, end: date) -> tuple[tuple[Any, ...], ...]:
    """Per party: quarter-hours of the days of [first, end), and how many of them were measured (read on time or later)."""
    return tuple(
        conn.execute(
            """SELECT a.party_id, count(*)::bigint, count(*) FILTER (WHERE q IN (1, 2))::bigint
               FROM (SELECT DISTINCT ON (supply_point_id, day) supply_point_id, day, quality FROM interval_day
                     WHERE day >= %s AND day < %s ORDER BY supply_point_id, day, revision DESC) d
               JOIN supply_point s USING (supply_point_id) JOIN account a USING (account_id), unnest(d.quality) q
               GROUP BY 1 ORDER BY 1""",
            (first, end),
        )
    )


def wholesale_months(conn: Conn, first: date, end: date) -> tuple[tuple[Any, ...], ...]:
    """Per party and month of [first, end): MWh of the latest versions of its wholesale contracts, either side."""
    return tuple(
        conn.execute(
            """SELECT u.party_id, v.month, sum(v.mwh)
               FROM (SELECT DISTINCT ON (contract_id) contract_id, version, buyer, seller FROM wholesale_contract
                     ORDER BY contract_id, version DESC) c
               JOIN wholesale_volume v USING (contract_id, version)
               JOIN LATERAL (SELECT p.party_id FROM party p WHERE 'party:' || p.party_id IN (c.buyer, c.seller)
                             UNION SELECT a.party_id FROM account a WHERE a.account_id IN (c.buyer, c.seller)) u ON true
               WHERE v.month >= %s AND v.month < %s GROUP BY 1, 2 ORDER BY 1, 2""",
            (first, end),
        )
    )


def retail_months(conn: Conn, first: date, end: date) -> tuple[tuple[Any, ...], ...]:
    """Per retailer and month of [first, end): Wh billed to its customers by the latest standing bills."""
    return tuple(
        conn.execute(
            """SELECT p.retailer_id, b.month, sum(b.import_wh)::bigint
               FROM (SELECT DISTINCT ON (account_id, month) account_id, month, import_wh FROM bill
                     WHERE month >= %s AND month < %s AND state <> 'void' ORDER BY account_id, month, revision DESC) b
               JOIN account_package p ON p.account_id = b.account_id
                                     AND p.effective @> (b.month::timestamp AT TIME ZONE 'Asia/Shanghai')
               GROUP BY 1, 2 ORDER BY 1, 2""",
            (first, end),
        )
    )
