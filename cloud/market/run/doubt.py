"""Shell: what is doubtful about a party's standing declarations in a session, against what it declared before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cloud.db import Conn
from cloud.market import plausible
from cloud.market.plausible import Doubt
from cloud.market.store import orders, sessions
from cloud.market.store.orders import BidRow
from cloud.market.store.sessions import SessionRow

RECENT_MAX: Final = 200  # rows of the party looked back at


@dataclass(frozen=True, slots=True)
class OwnDoubt:
    """A doubt and the unit and side that it is about."""

    unit_id: str
    side: str
    doubt: Doubt


def own_doubts(conn: Conn, session: SessionRow, party_id: int) -> tuple[OwnDoubt, ...]:
    """Compare each standing declaration with the same unit's in earlier sessions of the same rule."""
    now = _standing(orders.of_party(conn, session.session_id, party_id))
    if not now:
        return ()
    recent = _standing(orders.recent_of(conn, party_id, None, RECENT_MAX))
    alike = sessions.find_many(conn, sorted({row.session_id for row in recent}))
    past = [
        row
        for row in recent
        if row.session_id != session.session_id and alike[row.session_id].rule_id == session.rule_id
    ]
    found = []
    for row in now:
        before = [_by_period(each) for each in past if (each.unit_id, each.side) == (row.unit_id, row.side)]
        beside = [_by_period(each) for each in now if each.side == row.side and each.seq < row.seq]
        for doubt in plausible.doubts(_by_period(row), before, beside):
            found.append(OwnDoubt(str(row.unit_id), str(row.side), doubt))
    return tuple(found)


def _standing(rows: Iterable[BidRow]) -> list[BidRow]:
    """Rows that nothing replaced or withdrew, the latest first."""
    listed = list(rows)
    gone = {row.replaces for row in listed}
    return sorted((row for row in listed if row.period and row.seq not in gone), key=lambda row: -row.seq)


def _by_period(row: BidRow) -> dict[int, int]:
    summed: dict[int, int] = {}
    for period, kwh in zip(row.period, row.quantity_kwh, strict=True):
        summed[period] = summed.get(period, 0) + kwh
    return summed
