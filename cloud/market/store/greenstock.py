"""SQL: how many certificates parties can sell of a month of production."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from cloud.db import Conn


def tradable_mwh(conn: Conn, party_ids: Sequence[int], month: date) -> dict[int, int]:
    """Certificates of that month that parties hold free, and that nobody has traded yet; who has none is left out."""
    rows = conn.execute(
        """SELECT p.party_id, sum(upper(p.serials) - lower(p.serials))
           FROM green_place p JOIN green_batch b ON b.entry_id = p.batch_id
           WHERE p.party_id = ANY(%s) AND p.account = 'held/' || p.party_id AND b.month = %s AND b.is_tradable
             AND NOT p.is_traded
           GROUP BY p.party_id""",
        (list(party_ids), month),
    )
    return {int(party_id): int(mwh) for party_id, mwh in rows}
