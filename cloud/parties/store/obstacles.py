"""SQL: what a party still has open in every room, and is to be ended before it is struck off; as far as a reader may see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from psycopg.rows import class_row

from cloud.db import Conn

SHOWN_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that stands in the way; `name` and `number` say which, `amount_fen` how much money it is about."""

    kind: str
    name: str
    number: str
    amount_fen: int | None


_ALL: Final = """
    SELECT 'contract' AS kind, contract_id AS name, contract_id AS number, NULL::bigint AS amount_fen FROM contract
    WHERE %(party)s IN (seller_id, buyer_id) AND end_day > %(today)s
      AND state IN ('signing', 'cooling', 'effective', 'executing')
    UNION ALL
    SELECT 'statement', to_char(month, 'YYYY-MM') || ' ' || unit_id, statement_id::text, total_fen FROM statement
    WHERE party_id = %(party)s AND state NOT IN ('final', 'superseded')
    UNION ALL
    SELECT 'receivable', i.item, i.account_id, i.open_fen
    FROM (SELECT coalesce(l.account_id, '') AS account_id, p.item, sum(p.amount_fen)::bigint AS open_fen
          FROM posting p JOIN ledger_account l USING (account_code) LEFT JOIN account a ON a.account_id = l.account_id
          WHERE l.account_code LIKE 'receivable/%%' AND %(party)s IN (a.party_id, l.party_id) GROUP BY 1, 2) i
    WHERE i.open_fen > 0
    UNION ALL
    SELECT 'payable', p.item, '', -sum(p.amount_fen)::bigint FROM posting p JOIN ledger_account l USING (account_code)
    WHERE l.account_code LIKE 'payable/%%' AND l.party_id = %(party)s GROUP BY p.item HAVING sum(p.amount_fen) <> 0
    UNION ALL
    SELECT 'bill', to_char(b.month, 'YYYY-MM') || ' ' || b.account_id, b.bill_id::text, b.total_fen
    FROM bill b JOIN account a USING (account_id) WHERE a.party_id = %(party)s AND b.state = 'draft'
      AND NOT EXISTS (SELECT FROM bill n WHERE (n.account_id, n.month) = (b.account_id, b.month) AND n.revision > b.revision)
    UNION ALL
    SELECT 'guarantee', e.purpose_key, e.party_id::text, e.amount_fen FROM guarantee_entry e
    WHERE e.party_id = %(party)s AND e.kind = 'reserve'
      AND NOT EXISTS (SELECT FROM guarantee_entry r WHERE r.kind = 'release' AND r.purpose_key = e.purpose_key)
    UNION ALL
    SELECT 'declaration', s.session_no || ' ' || b.unit_id, s.session_id::text, NULL
    FROM bid_event b JOIN trading_session s USING (session_id)
    WHERE b.party_id = %(party)s AND b.kind IN ('SUBMIT', 'REPLACE')
      AND s.state IN ('open', 'suspended', 'frozen', 'cleared', 'checked')
      AND NOT EXISTS (SELECT FROM bid_event r WHERE r.replaces = b.seq)
    UNION ALL
    SELECT 'listing', 'ZP' || lpad(listing_id::text, 6, '0'), listing_id::text, NULL FROM listing WHERE party_id = %(party)s AND state = 'open'
    UNION ALL
    SELECT 'order', r.title || ' ' || a.seq, r.rolling_id::text, NULL
    FROM rolling_event a JOIN rolling_session r USING (rolling_id)
         JOIN LATERAL (SELECT n.seq, n.op, n.quantity_kwh FROM rolling_event n
                       WHERE n.party_id = a.party_id AND n.rolling_id = a.rolling_id AND a.seq IN (n.seq, n.order_seq)
                       ORDER BY n.seq DESC LIMIT 1) l ON l.op <> 'cancel'
    WHERE a.party_id = %(party)s AND a.op = 'add' AND a.terms = 'day' AND r.state = 'scheduled'
      AND l.quantity_kwh > (SELECT coalesce(sum(t.kwh), 0) FROM rolling_trade t
                            WHERE t.rolling_id = a.rolling_id AND t.period_no = a.period_no AND t.seq >= l.seq
                              AND a.seq IN (t.buy_seq, t.sell_seq))
    UNION ALL
    SELECT 'negotiation', title, negotiation_id::text, NULL FROM negotiation
    WHERE %(party)s IN (seller_id, buyer_id) AND state IN ('invited', 'negotiating', 'offered', 'changing')
    UNION ALL
    SELECT 'transfer', contract_id, transfer_id::text, NULL FROM contract_transfer
    WHERE %(party)s IN (from_id, to_id) AND state IN ('proposed', 'taken_over')"""


def of_party(conn: Conn, party_id: int, today: date) -> tuple[Obstacle, ...]:
    """What stands in the way of a party's end, by kind; at most SHOWN_MAX."""
    with conn.cursor(row_factory=class_row(Obstacle)) as cursor:
        return tuple(
            cursor.execute(
                f"SELECT * FROM ({_ALL}) o ORDER BY kind, name, number LIMIT {SHOWN_MAX}",
                {"party": party_id, "today": today},
            )
        )
