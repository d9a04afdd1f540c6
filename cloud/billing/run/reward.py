"""Shell: book what settled demand-response results are owed or owe, once each, to the participant's account."""

from __future__ import annotations

from datetime import datetime

from cloud import markettime
from cloud.billing.ledger import Journal, Posting
from cloud.billing.store import ledger
from cloud.db import Conn
from cloud.market.store import responseresults

COST = "settlement/demand_response"


def book_settled(conn: Conn, now: datetime) -> int:
    """Book every settled result that is not booked yet; return how many. Safe to run twice.

    Effective on the day on which it was settled. Raises PeriodLocked.
    """
    booked = 0
    for row in responseresults.settled(conn):
        key = f"response:{row.result_id}"
        if row.total_fen == 0 or ledger.find_id(conn, key) is not None:
            continue
        day = markettime.day_of(responseresults.steps(conn, row.result_id)[-1].at)
        postings = (
            Posting(f"payable/party/{row.payee_id}", row.total_fen),
            Posting(COST, -row.total_fen),
        )
        facts = (("response_event", str(row.event_id)), ("response_result", str(row.result_id)))
        ledger.post(conn, Journal(key, "settle_response", day, day, postings, facts), now)
        booked += 1
    return booked
