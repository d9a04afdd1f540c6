"""SQL: what a regulator sees of the market: entities, trades by seller and buyer, prices, sessions and their results.

Everything here is read under row-level security: accounts of customers are closed to that role, so a unit that is an
account is named by its last four digits only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal

from psycopg.rows import class_row

from cloud.db import Conn

_NAMED: Final = """CASE WHEN c.{side} LIKE 'party:%%' THEN coalesce(
        (SELECT p.name FROM party p WHERE 'party:' || p.party_id = c.{side}), c.{side}) ELSE '…' || right(c.{side}, 4) END"""
_LATEST: Final = """FROM wholesale_contract c JOIN wholesale_volume v USING (contract_id, version)
    WHERE v.month = %s AND c.version = (SELECT max(l.version) FROM wholesale_contract l WHERE l.contract_id = c.contract_id)"""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session with what its result came to; without a published result the figures are None."""

    session_id: int
    session_no: str
    title: str
    state: str
    opens_at: datetime
    gate_at: datetime | None
    rule_id: str
    rule_version: int
    volume_kwh: int | None
    low_ticks: int | None
    high_ticks: int | None


@dataclass(frozen=True, slots=True)
class PeriodRow:
    """A period of a published result."""

    period: int
    month: date
    label: str
    volume_kwh: int
    price_ticks: int | None
    bid_kwh: int
    ask_kwh: int


def room_counts(conn: Conn) -> tuple[tuple[str, int], ...]:
    """How many negotiations there are by state; of none of them anything else is told."""
    return tuple(
        (str(state), int(rooms))
        for state, rooms in conn.execute("SELECT state, rooms FROM negotiation_counts()")
    )


def entity_counts(conn: Conn) -> tuple[tuple[str, str, int], ...]:
    """Market entities by kind and state."""
    rows = conn.execute(
        """SELECT kind, state, count(*) FROM party
           WHERE state IN ('publicised', 'effective', 'suspended', 'deregistering', 'deregistered')
           GROUP BY kind, state ORDER BY kind, state"""
    )
    return tuple((str(kind), str(state), int(count)) for kind, state, count in rows)


def traded_months(conn: Conn) -> tuple[date, ...]:
    """Months with contracts, the latest first."""
    rows = conn.execute("SELECT DISTINCT month FROM wholesale_volume ORDER BY month DESC LIMIT 24")
    return tuple(month for (month,) in rows)


def quantities(conn: Conn, month: date, side: Literal["seller", "buyer"]) -> dict[str, int]:
    """The month's contracted energy by seller or buyer, in kWh."""
    rows = conn.execute(
        f"SELECT {_NAMED.format(side=side)}, round(sum(v.mwh) * 1000)::bigint {_LATEST} GROUP BY 1", (month,)
    )
    return {str(name): int(quantity) for name, quantity in rows}


def contract_prices(conn: Conn, month: date) -> tuple[tuple[str, str, str, Decimal, Decimal], ...]:
    """The month's contracts with seller, buyer, MWh and mean price weighted by volume."""
    rows = conn.execute(
        f"""SELECT c.contract_id, {_NAMED.format(side="seller")}, {_NAMED.format(side="buyer")}, sum(v.mwh),
                   round(sum(v.mwh * v.price_yuan_per_mwh) / sum(v.mwh), 2)
            {_LATEST} AND v.mwh > 0 GROUP BY c.contract_id, c.seller, c.buyer ORDER BY c.contract_id""",
        (month,),
    )
    return tuple((row[0], row[1], row[2], Decimal(row[3]), Decimal(row[4])) for row in rows)


def listed(conn: Conn, most: int = 60) -> tuple[SessionRow, ...]:
    """Sessions, the latest first."""
    return _sessions(conn, "true", (), most)


def find(conn: Conn, session_id: int) -> SessionRow | None:
    """One session."""
    return next(iter(_sessions(conn, "s.session_id = %s", (session_id,), 1)), None)


def periods(conn: Conn, session_id: int) -> tuple[PeriodRow, ...]:
    """A published result by period."""
    with conn.cursor(row_factory=class_row(PeriodRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT p.period::integer, s.period_month[p.period] AS month, s.period_label[p.period] AS label,
                          p.volume_kwh, p.price_ticks, p.bid_kwh, p.ask_kwh
                   FROM trading_session s JOIN clearing_price p ON (p.session_id, p.run_no) = (s.session_id, s.final_run)
                   WHERE s.session_id = %s ORDER BY p.period""",
                (session_id,),
            )
        )


def _sessions(
    conn: Conn, condition: str, parameters: tuple[object, ...], most: int
) -> tuple[SessionRow, ...]:
    with conn.cursor(row_factory=class_row(SessionRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""SELECT s.session_id, s.session_no, s.title, s.state, s.opens_at, s.gate_at, s.rule_id, s.rule_version,
                           sum(p.volume_kwh)::bigint AS volume_kwh, min(p.price_ticks) AS low_ticks,
                           max(p.price_ticks) AS high_ticks
                    FROM trading_session s
                    LEFT JOIN clearing_price p ON (p.session_id, p.run_no) = (s.session_id, s.final_run)
                    WHERE s.state NOT IN ('drafted', 'dropped') AND {condition}
                    GROUP BY s.session_id ORDER BY s.opens_at DESC, s.session_id DESC LIMIT %s""",
                (*parameters, most),
            )
        )
