"""SQL: a participant's own past, and the way of a declaration from announcement to delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from cloud.db import Conn


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened on the way: what, when, and where it can be seen."""

    what: str
    at: datetime
    path: str
    key: str


def past_kwh(conn: Conn, party_id: int, side: str, before_session: int, most: int = 12) -> tuple[int, ...]:
    """Totals of the party's last declarations of a side in earlier sessions of one month each, per delivery month."""
    rows = conn.execute(
        """SELECT (SELECT sum(q) FROM unnest(b.quantity_kwh) q)
                  / (SELECT count(DISTINCT m) FROM unnest(s.period_month) m)
           FROM bid_event b JOIN trading_session s USING (session_id)
           WHERE b.party_id = %s AND b.side = %s AND b.session_id <> %s AND b.kind IN ('SUBMIT', 'REPLACE')
             AND NOT EXISTS (SELECT FROM bid_event r WHERE r.replaces = b.seq)
           ORDER BY b.seq DESC LIMIT %s""",
        (party_id, side, before_session, most),
    )
    return tuple(int(kwh) for (kwh,) in rows)


def declared_elsewhere(conn: Conn, party_id: int, side: str, session_id: int, months: Sequence[date]) -> int:
    """What the party declared or was given in other sessions for any of these months, in kWh."""
    row = conn.execute(
        """SELECT coalesce(sum(q), 0) FROM bid_event b JOIN trading_session s USING (session_id), unnest(b.quantity_kwh) q
           WHERE b.party_id = %s AND b.side = %s AND b.session_id <> %s AND b.kind IN ('SUBMIT', 'REPLACE')
             AND s.period_month && %s::date[] AND s.state NOT IN ('cancelled', 'closed')
             AND NOT EXISTS (SELECT FROM bid_event r WHERE r.replaces = b.seq)""",
        (party_id, side, session_id, list(months)),
    ).fetchone()
    return 0 if row is None else int(row[0])


def contract_steps(conn: Conn, session_id: int) -> tuple[Step, ...]:
    """What happened to the contracts of a session, as far as this person sees them."""
    rows = conn.execute(
        """SELECT e.deed, e.at, c.contract_id FROM session_contract c JOIN contract_event e USING (contract_id)
           WHERE c.session_id = %s ORDER BY e.at, c.contract_id LIMIT 500""",
        (session_id,),
    )
    return tuple(
        Step(f"contract_{deed}", at, f"/contracts/{contract_id}", contract_id)
        for deed, at, contract_id in rows
    )
