"""Shell: book what demand response is owed or owes, once each: results, portfolios and their split, capacity."""

from __future__ import annotations

from datetime import date, datetime

from cloud import markettime
from cloud.billing.ledger import Journal, Posting, open_day
from cloud.billing.store import bookings, ledger
from cloud.db import Conn
from cloud.market.store import response, responsemoney, responseresults

COST = "settlement/demand_response"
ALL = 2**62


def book_settled(conn: Conn, now: datetime) -> int:
    """Book everything settled that is not booked yet; return how many journals. Safe to run twice.

    Effective on the day on which it was settled, or on the first day that is still open.
    """
    return _results(conn, now) + _portfolios(conn, now) + _capacity(conn, now)


def _results(conn: Conn, now: datetime) -> int:
    booked = 0
    rows = [row for row in responseresults.settled(conn) if row.total_fen]
    known = bookings.ids_of(conn, [f"response:{row.result_id}" for row in rows])
    for row in rows:
        key = f"response:{row.result_id}"
        if key in known:
            continue
        day = markettime.day_of(responseresults.steps(conn, row.result_id)[-1].at)
        postings = (
            Posting(f"payable/party/{row.payee_id}", row.total_fen),
            Posting(COST, -row.total_fen),
        )
        facts = (("response_event", str(row.event_id)), ("response_result", str(row.result_id)))
        booked += _book(conn, (key, "settle_response"), postings, facts, (day, now))
    return booked


def _portfolios(conn: Conn, now: datetime) -> int:
    """The amount of a portfolio measured as one, and what an aggregator passes on, whichever way it was measured."""
    booked = 0
    shares: dict[int, list[responsemoney.ShareRow]] = {}
    for share in responsemoney.shares_of(conn):
        shares.setdefault(share.portfolio_id, []).append(share)
    rows = [row for row in responsemoney.portfolios(conn, most=ALL) if row.event_state == "settled"]
    keys = [f"response-{kind}:{row.portfolio_id}" for row in rows for kind in ("portfolio", "split")]
    known = bookings.ids_of(conn, keys)
    for row in rows:
        day = markettime.day_of(response.steps(conn, row.event_id)[-1].at)
        facts = (("response_event", str(row.event_id)), ("response_portfolio", str(row.portfolio_id)))
        aggregator = f"payable/party/{row.aggregator_id}"
        key = f"response-portfolio:{row.portfolio_id}"
        if row.assess == "portfolio" and row.total_fen and key not in known:
            paid = (Posting(aggregator, row.total_fen), Posting(COST, -row.total_fen))
            booked += _book(conn, (key, "settle_portfolio"), paid, facts, (day, now))
        key = f"response-split:{row.portfolio_id}"
        passed_on = [each for each in shares.get(row.portfolio_id, ()) if each.share_no and each.amount_fen]
        total = sum(each.amount_fen for each in passed_on)
        if total and key not in known:
            to_members = tuple(
                Posting(f"payable/party/{each.party_id}", each.amount_fen) for each in passed_on
            )
            postings = (*to_members, Posting(aggregator, -total))
            booked += _book(conn, (key, "split_portfolio"), postings, facts, (day, now))
    return booked


def _capacity(conn: Conn, now: datetime) -> int:
    booked = 0
    rows = [row for row in responsemoney.capacities(conn, ALL) if row.total_fen]
    known = bookings.ids_of(conn, [f"response-capacity:{row.capacity_id}" for row in rows])
    for row in rows:
        key = f"response-capacity:{row.capacity_id}"
        if key in known:
            continue
        kept = row.total_fen - row.passed_on_fen
        postings = [Posting(COST, -row.total_fen)]
        postings += [Posting(f"payable/party/{row.payee_id}", kept)] if kept else []
        postings += [Posting(f"payable/party/{row.party_id}", row.passed_on_fen)] if row.passed_on_fen else []
        facts = (("month", f"{row.month:%Y-%m}"), ("response_capacity", str(row.capacity_id)))
        day = markettime.day_of(row.at)
        booked += _book(conn, (key, "pay_capacity"), tuple(postings), facts, (day, now))
    return booked


def _book(
    conn: Conn,
    journal: tuple[str, str],
    postings: tuple[Posting, ...],
    facts: tuple[tuple[str, str], ...],
    at: tuple[date, datetime],
) -> int:
    """Book a journal (key, deed); 1 when it is new."""
    (key, deed), (day, now) = journal, at
    effective = open_day(day, ledger.locked_through(conn))
    return int(ledger.post(conn, Journal(key, deed, day, effective, postings, facts), now).is_new)
