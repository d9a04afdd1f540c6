"""Shell: book what certificate sales are owed, once each: the buyer's debt is the seller's claim."""

from __future__ import annotations

from datetime import datetime

from cloud.billing.ledger import Journal, Posting, open_day
from cloud.billing.store import bookings, ledger
from cloud.db import Conn
from cloud.market.store import greensales


def key_of(entry_id: int) -> str:
    """Name the journal of a purchase."""
    return f"green-sale:{entry_id}"


def book_sales(conn: Conn, now: datetime) -> int:
    """Book every purchase that is not booked yet; return how many. Safe to run twice.

    Effective on the day of the purchase, or on the first day that is still open.
    """
    booked = 0
    claims = greensales.all_claims(conn)
    known = bookings.ids_of(conn, [key_of(each.entry_id) for each in claims])
    for claim in claims:
        key = key_of(claim.entry_id)
        if key in known:
            continue
        item = f"green-sale/{claim.entry_id}"
        postings = (
            Posting(f"receivable/party/{claim.buyer_id}", claim.amount_fen, item),
            Posting(f"payable/party/{claim.seller_id}", -claim.amount_fen, item),
        )
        facts = (("green_entry", str(claim.entry_id)), ("green_sale", str(claim.sale_id)))
        effective = open_day(claim.day, ledger.locked_through(conn))
        ledger.post(conn, Journal(key, "sell_certificates", claim.day, effective, postings, facts), now)
        booked += 1
    return booked
