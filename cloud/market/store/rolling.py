"""SQL: rolling sessions, the event logs of their books, trades, and the contracts of a day. Rows are only added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from psycopg.rows import class_row

from cloud.db import Conn, hold_key
from cloud.errors import NotFound
from cloud.market.auction import Side
from cloud.market.rollbook import Event, Match, Op, Stays
from cloud.market.rolling import TradePrice

_LOCK = 45  # see cloud/schema/0029_listings.sql
_BOOKS_PER_SESSION = 1000
ROWS_MAX = 300


class NoRolling(NotFound):
    """There is no such rolling session, or this transaction does not see it."""


@dataclass(frozen=True, slots=True)
class RollingRow:
    """A rolling session as it was announced."""

    rolling_id: int
    title: str
    session_id: int | None
    period_month: list[date]
    period_label: list[str]
    trade_price: str
    price_min_ticks: int | None
    price_max_ticks: int | None
    tick: int
    lot_kwh: int
    margin_rate_pct: Decimal
    opens_at: datetime
    closes_at: datetime
    state: str
    announced_at: datetime
    announced_by: str

    @property
    def rule(self) -> TradePrice:
        """Whose price a trade gets."""
        return TradePrice(self.trade_price)

    def period(self, number: int) -> tuple[date, str]:
        """Month and label of a period, numbered from 1."""
        return self.period_month[number - 1], self.period_label[number - 1]

    def is_open(self, now: datetime) -> bool:
        """Whether orders are taken at that instant."""
        return self.state == "scheduled" and self.opens_at <= now < self.closes_at


@dataclass(frozen=True, slots=True)
class NewRolling:
    """A rolling session to announce; `periods` are (month, label) in their numbers' order."""

    title: str
    periods: tuple[tuple[date, str], ...]
    trade_price: TradePrice
    band: tuple[int | None, int | None]
    steps: tuple[int, int]  # tick, lot in kWh
    margin_rate_pct: Decimal
    hours: tuple[datetime, datetime]
    session_id: int | None = None


@dataclass(frozen=True, slots=True)
class LogRow:
    """An event of a book with whose it is."""

    seq: int
    op: str
    order_seq: int | None
    party_id: int | None
    unit_id: str | None
    side: str | None
    terms: str | None
    price_ticks: int | None
    quantity_kwh: int | None
    at: datetime

    @property
    def event(self) -> Event:
        """The event as the book takes it."""
        return Event(
            self.seq,
            Op(self.op),
            "" if self.party_id is None else str(self.party_id),
            Side.BUY if self.side is None else Side(self.side),
            Stays.DAY if self.terms is None else Stays(self.terms),
            self.price_ticks or 0,
            self.quantity_kwh or 0,
            self.order_seq or 0,
        )


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that enters a book's log."""

    op: Op
    at: datetime
    actor: str
    party_id: int | None = None
    unit_id: str | None = None
    side: Side | None = None
    stays: Stays | None = None
    price_ticks: int | None = None
    quantity_kwh: int | None = None
    order_seq: int | None = None
    client_key: UUID | None = None


@dataclass(frozen=True, slots=True)
class OwnRow:
    """An own event with its book."""

    seq: int
    rolling_id: int
    period_no: int
    op: str
    order_seq: int | None
    unit_id: str | None
    side: str | None
    terms: str | None
    price_ticks: int | None
    quantity_kwh: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class TradeRow:
    """A trade with both sides; who reads it is one of them or oversees."""

    trade_id: int
    period_no: int
    seq: int
    buy_seq: int
    sell_seq: int
    buyer_id: int
    seller_id: int
    buyer_unit: str
    seller_unit: str
    kwh: int
    price_ticks: int
    at: datetime


@dataclass(frozen=True, slots=True)
class FeedRow:
    """A trade as the market sees it."""

    trade_id: int
    period_no: int
    kwh: int
    price_ticks: int
    at: datetime


def announce(conn: Conn, new: NewRolling, at: datetime, by: str) -> int:
    """Keep a rolling session and return its number."""
    row = conn.execute(
        """INSERT INTO rolling_session (title, session_id, period_month, period_label, trade_price, price_min_ticks,
               price_max_ticks, tick, lot_kwh, margin_rate_pct, opens_at, closes_at, announced_at, announced_by)
           VALUES (%s, %s, %s::date[], %s::text[], %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING rolling_id""",
        (
            *(
                new.title,
                new.session_id,
                [month for month, _ in new.periods],
                [label for _, label in new.periods],
            ),
            *(new.trade_price, *new.band, *new.steps, new.margin_rate_pct, *new.hours, at, by),
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def find(conn: Conn, rolling_id: int) -> RollingRow:
    """Load a rolling session. Raises NoRolling."""
    with conn.cursor(row_factory=class_row(RollingRow)) as cursor:
        row = cursor.execute(f"{_SELECT} WHERE rolling_id = %s", (rolling_id,)).fetchone()
    if row is None:
        raise NoRolling("not_found", kind="rolling_session")
    return row


def recent(conn: Conn) -> tuple[RollingRow, ...]:
    """Rolling sessions, the latest first; at most ROWS_MAX."""
    with conn.cursor(row_factory=class_row(RollingRow)) as cursor:
        return tuple(cursor.execute(f"{_SELECT} ORDER BY opens_at DESC, rolling_id DESC LIMIT {ROWS_MAX}"))


def due(conn: Conn, now: datetime) -> tuple[RollingRow, ...]:
    """Scheduled sessions whose end has come."""
    with conn.cursor(row_factory=class_row(RollingRow)) as cursor:
        return tuple(
            cursor.execute(
                f"{_SELECT} WHERE state = 'scheduled' AND closes_at <= %s ORDER BY rolling_id", (now,)
            )
        )


def move(conn: Conn, rolling_id: int, before: str, after: str) -> bool:
    """Move a session along its life; False when it is no longer in that state."""
    return (
        conn.execute(
            "UPDATE rolling_session SET state = %s WHERE rolling_id = %s AND state = %s",
            (after, rolling_id, before),
        ).rowcount
        == 1
    )


def lock(conn: Conn, rolling_id: int, period_no: int) -> None:
    """Be the only writer of a book until the transaction's end."""
    conn.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_LOCK, _book(rolling_id, period_no)))


def log_after(conn: Conn, rolling_id: int, period_no: int, seq: int) -> tuple[LogRow, ...]:
    """A book's events after a number, in their order; whose they are is for the writer of the book alone."""
    with conn.cursor(row_factory=class_row(LogRow)) as cursor:
        return tuple(cursor.execute("SELECT * FROM rolling_log(%s, %s, %s)", (rolling_id, period_no, seq)))


def add_event(conn: Conn, rolling_id: int, period_no: int, event: NewEvent) -> int:
    """Append an event and return its number. The caller holds the book's lock."""
    row = conn.execute(
        """INSERT INTO rolling_event (rolling_id, period_no, op, order_seq, party_id, unit_id, side, terms, price_ticks,
                                      quantity_kwh, client_key, at, actor)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING seq""",
        (
            *(rolling_id, period_no, event.op, event.order_seq, event.party_id, event.unit_id, event.side),
            *(event.stays, event.price_ticks, event.quantity_kwh, event.client_key, event.at, event.actor),
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def add_trade(conn: Conn, rolling_id: int, period_no: int, trade: TradeRow) -> None:
    """Keep a trade; its `trade_id` is given here."""
    conn.execute(
        """INSERT INTO rolling_trade (rolling_id, period_no, seq, buy_seq, sell_seq, buyer_id, seller_id, buyer_unit,
                                      seller_unit, kwh, price_ticks, at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            *(
                rolling_id,
                period_no,
                trade.seq,
                trade.buy_seq,
                trade.sell_seq,
                trade.buyer_id,
                trade.seller_id,
            ),
            *(trade.buyer_unit, trade.seller_unit, trade.kwh, trade.price_ticks, trade.at),
        ),
    )


def by_client_key(conn: Conn, party_id: int, client_key: UUID) -> OwnRow | None:
    """The event that a party sent under this key before; nobody else does so until the transaction's end."""
    hold_key(conn, client_key)
    found = _own(conn, "party_id = %s AND client_key = %s", (party_id, client_key))
    return found[0] if found else None


def own_events(conn: Conn, party_id: int, rolling_id: int) -> tuple[OwnRow, ...]:
    """A party's own events of a session, in their order."""
    return _own(conn, "party_id = %s AND rolling_id = %s", (party_id, rolling_id))


def own_order(conn: Conn, party_id: int, order_seq: int) -> OwnRow | None:
    """An own order by its number."""
    found = _own(conn, "party_id = %s AND seq = %s AND op = 'add'", (party_id, order_seq))
    return found[0] if found else None


def bound_kwh(conn: Conn, rolling_id: int, party_id: int, but_order: int | None) -> int:
    """What a party has traded in a session and may still trade by its orders, leaving out what is open of one of them.

    An order to stay counts with what it asked for last, less what it has traded since, until it is cancelled.
    """
    row = conn.execute(
        """SELECT (SELECT coalesce(sum(kwh), 0) FROM rolling_trade
                   WHERE rolling_id = %(session)s AND %(party)s IN (buyer_id, seller_id))
                + (SELECT coalesce(sum(greatest(0, l.quantity_kwh - (SELECT coalesce(sum(t.kwh), 0) FROM rolling_trade t
                        WHERE t.rolling_id = a.rolling_id AND t.period_no = a.period_no AND t.seq >= l.seq
                          AND a.seq IN (t.buy_seq, t.sell_seq)))), 0)
                   FROM rolling_event a JOIN LATERAL (SELECT r.seq, r.op, r.quantity_kwh FROM rolling_event r
                        WHERE r.party_id = a.party_id AND r.rolling_id = a.rolling_id AND a.seq IN (r.seq, r.order_seq)
                        ORDER BY r.seq DESC LIMIT 1) l ON l.op <> 'cancel'
                   WHERE a.rolling_id = %(session)s AND a.party_id = %(party)s AND a.op = 'add' AND a.terms = 'day'
                     AND a.seq IS DISTINCT FROM %(but)s)""",
        {"session": rolling_id, "party": party_id, "but": but_order},
    ).fetchone()
    assert row is not None
    return int(row[0])


def bought_value(conn: Conn, rolling_id: int, order_seq: int) -> int:
    """Price x quantity of what a bid has bought so far, in 1e-5 yuan."""
    row = conn.execute(
        "SELECT coalesce(sum(price_ticks::bigint * kwh), 0) FROM rolling_trade WHERE rolling_id = %s AND buy_seq = %s",
        (rolling_id, order_seq),
    ).fetchone()
    assert row is not None
    return int(row[0])


def trades_of(conn: Conn, rolling_id: int) -> tuple[TradeRow, ...]:
    """The trades of a session that this transaction may see, in their order."""
    with conn.cursor(row_factory=class_row(TradeRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT trade_id, period_no, seq, buy_seq, sell_seq, buyer_id, seller_id, buyer_unit, seller_unit, kwh,
                          price_ticks, at FROM rolling_trade WHERE rolling_id = %s ORDER BY trade_id""",
                (rolling_id,),
            )
        )


def feed(conn: Conn, rolling_id: int, period_no: int, most: int) -> tuple[FeedRow, ...]:
    """The last trades of a book without names (period 0: of all books), the latest first."""
    with conn.cursor(row_factory=class_row(FeedRow)) as cursor:
        return tuple(cursor.execute("SELECT * FROM rolling_feed(%s, %s, %s)", (rolling_id, period_no, most)))


@dataclass(frozen=True, slots=True)
class NewTrade:
    """A trade without names, with the number of the event that made it."""

    trade_id: int
    seq: int
    kwh: int
    price_ticks: int
    at: datetime


def feed_after(conn: Conn, rolling_id: int, period_no: int, seq: int) -> tuple[NewTrade, ...]:
    """The trades of a book that were made after an event's number, without names, in their order."""
    with conn.cursor(row_factory=class_row(NewTrade)) as cursor:
        return tuple(
            cursor.execute("SELECT * FROM rolling_feed_after(%s, %s, %s)", (rolling_id, period_no, seq))
        )


def last_seq(conn: Conn, rolling_id: int, period_no: int) -> int:
    """The number of a book's last event; 0: nothing has happened."""
    row = conn.execute("SELECT rolling_last(%s, %s)", (rolling_id, period_no)).fetchone()
    assert row is not None
    return int(row[0])


def matches_of(row: RollingRow, trades: Sequence[TradeRow]) -> tuple[Match, ...]:
    """Trades with month and period, as contracts need them."""
    return tuple(
        Match(
            each.seller_unit,
            each.buyer_unit,
            *row.period(each.period_no),
            kwh=each.kwh,
            price_ticks=each.price_ticks,
        )
        for each in trades
    )


def add_contract(conn: Conn, rolling_id: int, contract_id: str, pair: TradeRow, at: datetime) -> None:
    """Keep which contract a pair's trades of a session became."""
    conn.execute(
        """INSERT INTO rolling_contract (contract_id, rolling_id, seller_id, buyer_id, seller_unit, buyer_unit, at)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (contract_id, rolling_id, pair.seller_id, pair.buyer_id, pair.seller_unit, pair.buyer_unit, at),
    )


def contracts_of(conn: Conn, rolling_id: int) -> tuple[str, ...]:
    """The contracts of a session that this transaction may see."""
    rows = conn.execute(
        "SELECT contract_id FROM rolling_contract WHERE rolling_id = %s ORDER BY contract_id", (rolling_id,)
    )
    return tuple(contract_id for (contract_id,) in rows)


_SELECT = """SELECT rolling_id, title, session_id, period_month, period_label, trade_price, price_min_ticks, price_max_ticks,
    tick, lot_kwh, margin_rate_pct, opens_at, closes_at, state, announced_at, announced_by FROM rolling_session"""


def _own(conn: Conn, condition: str, parameters: tuple[object, ...]) -> tuple[OwnRow, ...]:
    with conn.cursor(row_factory=class_row(OwnRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""SELECT seq, rolling_id, period_no, op, order_seq, unit_id, side, terms, price_ticks, quantity_kwh, at
                    FROM rolling_event WHERE {condition} ORDER BY seq""",
                parameters,
            )
        )


def _book(rolling_id: int, period_no: int) -> int:
    return rolling_id * _BOOKS_PER_SESSION + period_no
