"""SQL: what demand response pays beside the results: capacity by month, portfolios of aggregators, members' shares."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.market import capacity as cp
from cloud.market.aggregate import Split

ROWS_MAX = 500


@dataclass(frozen=True, slots=True)
class NewCapacity:
    """A resource's month to be kept."""

    enrolment_id: int
    month: date
    programme: tuple[str, int]
    payee_id: int
    party_id: int
    passed_on_fen: int


@dataclass(frozen=True, slots=True)
class CapacityRow:
    """A resource's month of capacity."""

    capacity_id: int
    enrolment_id: int
    account_id: str
    month: date
    payee_id: int
    party_id: int
    kw: int
    failures: int
    total_fen: int
    passed_on_fen: int
    lines: list[dict[str, Any]]
    at: datetime


@dataclass(frozen=True, slots=True)
class NewPortfolio:
    """An aggregator's event to be kept."""

    members: int
    bid_kwh: Decimal
    response_kwh: Decimal
    eligible_kwh: Decimal
    total_fen: int
    lines: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class PortfolioRow:
    """An aggregator in an event, as the revision that stands says it."""

    portfolio_id: int
    event_id: int
    aggregator_id: int
    aggregator: str
    revision: int
    assess: str
    members: int
    bid_kwh: Decimal
    response_kwh: Decimal
    eligible_kwh: Decimal
    total_fen: int
    lines: list[dict[str, Any]]
    event_state: str
    day: date


@dataclass(frozen=True, slots=True)
class ShareRow:
    """A part of a settled portfolio; enrolment None: what stays with the aggregator."""

    portfolio_id: int
    event_id: int
    share_no: int
    enrolment_id: int | None
    party_id: int
    party: str
    rule: str
    weight_wh: int
    amount_fen: int


_PORTFOLIO = """SELECT DISTINCT ON (p.event_id, p.aggregator_id) p.portfolio_id, p.event_id, p.aggregator_id,
    a.name AS aggregator, p.revision, p.assess, p.members, p.bid_kwh, p.response_kwh, p.eligible_kwh, p.total_fen,
    p.lines, e.state AS event_state, e.day
    FROM response_portfolio p JOIN party a ON a.party_id = p.aggregator_id JOIN response_event e USING (event_id)"""


def insert_capacity(conn: Conn, new: NewCapacity, found: cp.Payment, at: datetime) -> bool:
    """Keep a resource's month, once; False when it is kept already."""
    return (
        conn.execute(
            """INSERT INTO response_capacity (enrolment_id, month, programme_id, version, payee_id, party_id, kw, failures,
                   total_fen, passed_on_fen, lines, at)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
            (
                *(new.enrolment_id, new.month, *new.programme, new.payee_id, new.party_id, found.kw),
                *(len(found.failures), found.total_fen, new.passed_on_fen),
                *(Jsonb([cp.line_json(line) for line in found.lines]), at),
            ),
        ).rowcount
        == 1
    )


def capacities(conn: Conn, most: int = ROWS_MAX) -> tuple[CapacityRow, ...]:
    """The months of capacity that this transaction sees, newest first."""
    with conn.cursor(row_factory=class_row(CapacityRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT c.capacity_id, c.enrolment_id, n.account_id, c.month, c.payee_id, c.party_id, c.kw, c.failures,
                          c.total_fen, c.passed_on_fen, c.lines, c.at
                   FROM response_capacity c JOIN response_enrolment n USING (enrolment_id)
                   ORDER BY c.month DESC, c.capacity_id DESC LIMIT %s""",
                (most,),
            )
        )


def insert_portfolio(
    conn: Conn, key: tuple[int, int], assess: str, found: NewPortfolio, at: datetime
) -> None:
    """Keep an aggregator's event as its next revision; `key` is (event, aggregator)."""
    conn.execute(
        """INSERT INTO response_portfolio (event_id, aggregator_id, revision, assess, members, bid_kwh, response_kwh,
               eligible_kwh, total_fen, lines, at)
           SELECT %(event)s, %(aggregator)s, 1 + count(*), %(assess)s, %(members)s, %(bid)s, %(response)s, %(eligible)s,
                  %(total)s, %(lines)s, %(at)s
           FROM response_portfolio WHERE event_id = %(event)s AND aggregator_id = %(aggregator)s""",
        {
            "event": key[0],
            "aggregator": key[1],
            "assess": assess,
            "members": found.members,
            "bid": found.bid_kwh,
            "response": found.response_kwh,
            "eligible": found.eligible_kwh,
            "total": found.total_fen,
            "lines": Jsonb(list(found.lines)),
            "at": at,
        },
    )


def portfolios(conn: Conn, event_id: int | None = None, most: int = ROWS_MAX) -> tuple[PortfolioRow, ...]:
    """The portfolios of an event, or of all, that this transaction sees, newest event first."""
    with conn.cursor(row_factory=class_row(PortfolioRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_PORTFOLIO} WHERE %(event)s::bigint IS NULL OR p.event_id = %(event)s
                    ORDER BY p.event_id DESC, p.aggregator_id, p.revision DESC LIMIT %(most)s""",
                {"event": event_id, "most": most},
            )
        )


def insert_shares(conn: Conn, portfolio: PortfolioRow, rule: str, found: Split, at: datetime) -> None:
    """Keep a portfolio's parts; the database holds them against it at commit."""
    rows: list[tuple[int | None, int, int, int]] = [
        (None, portfolio.aggregator_id, 0, found.aggregator_fen),
        *((each.enrolment_id, each.party_id, each.weight_wh, each.amount_fen) for each in found.shares),
    ]
    for number, row in enumerate(rows):
        conn.execute(
            """INSERT INTO response_share (portfolio_id, event_id, share_no, enrolment_id, party_id, weight_wh, amount_fen,
                   rule, at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            (portfolio.portfolio_id, portfolio.event_id, number, *row, rule, at),
        )


def shares_of(conn: Conn, event_id: int | None = None) -> tuple[ShareRow, ...]:
    """The parts of settled portfolios of an event, or of all, that this transaction sees."""
    with conn.cursor(row_factory=class_row(ShareRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT s.portfolio_id, s.event_id, s.share_no, s.enrolment_id, s.party_id, y.name AS party, s.rule, s.weight_wh,
                          s.amount_fen
                   FROM response_share s JOIN party y USING (party_id)
                   WHERE %(event)s::bigint IS NULL OR s.event_id = %(event)s
                   ORDER BY s.portfolio_id DESC, s.share_no""",
                {"event": event_id},
            )
        )
