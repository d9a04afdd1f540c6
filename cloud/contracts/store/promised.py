"""SQL: what a party has promised by contracts that it made or took over itself. Only the worker sees all of them."""

from __future__ import annotations

from datetime import datetime

from cloud.db import Conn


def promised_kwh(conn: Conn, party_id: int, since: datetime, but_contract: str = "") -> int:
    """What a party has agreed in rooms or signed of the studio since an instant, on either side, and has not come to nothing.

    What was agreed counts from its agreement, a contract of the studio from its last signature; what was taken over counts
    for who took it over.
    """
    row = conn.execute(
        """SELECT coalesce(sum((v->>'mwh')::numeric) * 1000, 0)::bigint FROM (
               SELECT c.agreed -> 'volumes' AS volumes FROM contract c
               WHERE %(party)s IN (c.seller_id, c.buyer_id) AND c.entered_at >= %(since)s AND c.contract_id <> %(but)s
                 AND c.source LIKE 'negotiation:%%' AND c.state NOT IN ('cancelled', 'void', 'declined', 'expired')
               UNION ALL
               SELECT c.agreed -> 'volumes' FROM contract c JOIN contract_transfer t ON c.source = 'transfer:' || t.transfer_id
               WHERE t.to_id = %(party)s AND c.entered_at >= %(since)s AND c.contract_id <> %(but)s
                 AND c.state NOT IN ('cancelled', 'void')
               UNION ALL
               SELECT p.content -> 'volumes' FROM contract c JOIN contract_paper p USING (contract_id)
               WHERE %(party)s IN (c.seller_id, c.buyer_id) AND c.signed_at >= %(since)s AND c.contract_id <> %(but)s
                 AND c.source = 'studio' AND c.kind IN ('wholesale', 'green') AND c.state NOT IN ('cancelled', 'void')
                 AND p.purpose = 'main' AND p.state = 'signed') w, jsonb_array_elements(w.volumes) v""",
        {"party": party_id, "since": since, "but": but_contract},
    ).fetchone()
    assert row is not None
    return int(row[0])
