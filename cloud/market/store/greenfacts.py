"""SQL: what a settled month says of green contracts: quantities, the parties behind units, the use behind shares."""

from __future__ import annotations

from datetime import date

from cloud.db import Conn

_SETTLED = """SELECT l.contract_id, s.month, max(l.quantity_mwh) AS mwh
    FROM statement_line l JOIN statement s USING (statement_id)
    WHERE l.item = 'green' AND s.state = 'final' AND s.side = 'generator'
      AND NOT EXISTS (SELECT FROM statement_hold h WHERE h.statement_id = l.statement_id AND h.line_no = l.line_no)
    GROUP BY l.contract_id, s.month"""


def settled_kwh(conn: Conn, month: date) -> dict[str, int]:
    """What final statements of a month settled as green energy, by contract, as the generators' statements say."""
    rows = conn.execute(
        f"SELECT contract_id, (mwh * 1000)::bigint FROM ({_SETTLED}) g WHERE month = %s", (month,)
    )
    return {str(contract_id): int(kwh) for contract_id, kwh in rows}


def settled_until(conn: Conn, contract_id: str, month: date) -> int:
    """What a contract settled as green energy in all months up to one, in kWh."""
    row = conn.execute(
        f"SELECT coalesce(sum(mwh * 1000), 0)::bigint FROM ({_SETTLED}) g WHERE contract_id = %s AND month <= %s",
        (contract_id, month),
    ).fetchone()
    assert row is not None
    return int(row[0])


def settled_months(conn: Conn) -> tuple[date, ...]:
    """The months with final statements of green energy, newest first."""
    rows = conn.execute(f"SELECT DISTINCT month FROM ({_SETTLED}) g ORDER BY month DESC LIMIT 24")
    return tuple(row[0] for row in rows)


def ahead(conn: Conn) -> tuple[tuple[str, int, int], ...]:
    """Contracts that were handed more than they have settled by now: (contract, settled kWh, certificates handed).

    A month was settled anew to less. Nothing is taken back; the next months of the contract make it up, or people do.
    """
    rows = conn.execute(
        f"""SELECT h.contract_id, coalesce(s.kwh, 0)::bigint, h.mwh::bigint
            FROM (SELECT e.contract_id, sum(g.mwh) AS mwh FROM green_entry e JOIN green_posting g USING (entry_id)
                  WHERE e.kind = 'transfer' AND g.mwh > 0 AND e.contract_id IS NOT NULL GROUP BY 1) h
            LEFT JOIN (SELECT contract_id, sum(mwh * 1000) AS kwh FROM ({_SETTLED}) g GROUP BY 1) s USING (contract_id)
            WHERE h.mwh > floor(coalesce(s.kwh, 0) / 1000) ORDER BY 1"""
    )
    return tuple((str(contract_id), int(kwh), int(mwh)) for contract_id, kwh, mwh in rows)


def party_of(conn: Conn, unit_id: str) -> int | None:
    """The party behind a unit of the market: an account number or 'party:N'."""
    row = conn.execute("SELECT unit_party(%s)", (unit_id,)).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def used_kwh(conn: Conn, unit_id: str, month: date) -> int:
    """What an account used in a month, as the latest settlement of it counted: its own, or as a retailer's customer."""
    row = conn.execute(
        """SELECT coalesce((SELECT CASE WHEN e.unit_id = %(unit)s THEN (SELECT sum(k) FROM unnest(e.actual_kwh) k)
                                ELSE (e.customers_kwh ->> %(unit)s)::bigint END
                    FROM settlement_energy e JOIN settlement_run r USING (run_id)
                    WHERE r.month = %(month)s AND (e.unit_id = %(unit)s OR e.customers_kwh ? %(unit)s)
                    ORDER BY e.energy_id DESC LIMIT 1), 0)::bigint""",
        {"unit": unit_id, "month": month},
    ).fetchone()
    assert row is not None
    return int(row[0])


def accounts_use_kwh(conn: Conn, party_id: int, first: date, end: date) -> int:
    """What a party's accounts drew from the grid on the days `[first, end)`, by the latest validated intervals."""
    row = conn.execute(
        """SELECT coalesce(sum((SELECT sum(w) FROM unnest(d.import_wh) w)), 0)::bigint / 1000
           FROM (SELECT DISTINCT ON (i.supply_point_id, i.day) i.import_wh
                 FROM interval_day i JOIN supply_point sp USING (supply_point_id) JOIN account a USING (account_id)
                 WHERE a.party_id = %s AND i.day >= %s AND i.day < %s
                 ORDER BY i.supply_point_id, i.day, i.revision DESC) d""",
        (party_id, first, end),
    ).fetchone()
    assert row is not None
    return int(row[0])
