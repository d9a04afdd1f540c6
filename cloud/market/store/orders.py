"""SQL: declarations of trading sessions. They come in by the functions of 0028_sessions.sql only, and are never changed.

The intake's functions work for many declarations at once, so that what arrives together costs one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from psycopg import errors
from psycopg.rows import class_row

from cloud.db import Conn
from cloud.errors import NotNow
from cloud.parties.party import may_trade

EVENTS_MAX: Final = 10_000


class GateClosed(NotNow):
    """The book was closed before the declaration got its number."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A session as the intake sees it under its shared lock."""

    session_id: int
    state: str
    opens_at: datetime
    freezes_at: datetime


@dataclass(frozen=True, slots=True)
class BidRow:
    """A row of the book: what a party declared for one of its units and a side, or that the book was closed."""

    seq: int
    session_id: int
    kind: str
    party_id: int | None
    unit_id: str | None
    side: str | None
    replaces: int | None
    period: list[int]
    price_ticks: list[int]
    quantity_kwh: list[int]
    margin_fen: int
    client_key: UUID | None
    content_sha256: bytes
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class NewBid:
    """A row that is to get its number."""

    session_id: int
    kind: str
    party_id: int
    unit_id: str
    side: str
    replaces: int | None
    period: tuple[int, ...]
    price_ticks: tuple[int, ...]
    quantity_kwh: tuple[int, ...]
    margin_fen: int
    client_key: UUID
    content_sha256: bytes
    actor: str


@dataclass(frozen=True, slots=True)
class CurveEvent:
    """A row of the book without names: `replaces` is the row that no longer stands."""

    seq: int
    kind: str
    side: str | None
    replaces: int | None
    period: list[int]
    price_ticks: list[int]
    quantity_kwh: list[int]
    at: datetime


@dataclass(frozen=True, slots=True)
class Counts:
    """How many declarations came, of how many parties, and how many since an instant."""

    events: int
    parties: int
    recent: int
    withdrawn: int
    last_at: datetime | None


# ---- intake --------------------------------------------------------------------------------------------------------


def gates(conn: Conn, session_ids: Sequence[int], at: datetime) -> dict[int, Gate]:
    """Take the shared gate locks of sessions and tell their states: none of them closes before this transaction ends."""
    with conn.cursor(row_factory=class_row(Gate)) as cursor:
        rows = cursor.execute("SELECT * FROM bid_gates(%s::integer[], %s)", (list(session_ids), at))
        return {row.session_id: row for row in rows}


def lock_exposures(conn: Conn, whose: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Lock what parties have bound in sessions, by (session, party), and tell it in fen."""
    rows = conn.execute("SELECT * FROM bid_exposures(%s::integer[], %s::bigint[])", _columns(whose, 2))
    return {(session_id, party_id): int(margin) for session_id, party_id, margin in rows}


def standing(conn: Conn, whose: Sequence[tuple[int, int, UUID]]) -> tuple[BidRow, ...]:
    """The declarations that stand of (session, party), and whatever was kept under the party's client key."""
    with conn.cursor(row_factory=class_row(BidRow)) as cursor:
        return tuple(
            cursor.execute(
                "SELECT * FROM bid_standing(%s::integer[], %s::bigint[], %s::uuid[])", _columns(whose, 3)
            )
        )


def append(conn: Conn, bids: Sequence[NewBid], at: datetime) -> tuple[int, ...]:
    """Give declarations their numbers, in this order. Raises GateClosed: then none has one."""
    columns = (
        [bid.session_id for bid in bids],
        [bid.kind for bid in bids],
        [bid.party_id for bid in bids],
        [bid.unit_id for bid in bids],
        [bid.side for bid in bids],
        [bid.replaces for bid in bids],
        [_array(bid.period) for bid in bids],
        [_array(bid.price_ticks) for bid in bids],
        [_array(bid.quantity_kwh) for bid in bids],
        [bid.margin_fen for bid in bids],
        [bid.client_key for bid in bids],
        [bid.content_sha256 for bid in bids],
        [bid.actor for bid in bids],
    )
    try:
        rows = conn.execute(
            """SELECT * FROM bid_append(%s, %s::integer[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::bigint[],
                                        %s::text[], %s::text[], %s::text[], %s::bigint[], %s::uuid[], %s::bytea[],
                                        %s::text[])""",
            (at, *columns),
        )
    except errors.ObjectNotInPrerequisiteState as closed:
        raise GateClosed("gate_closed") from closed
    return tuple(seq for (seq,) in rows)


def accounts_of(conn: Conn, party_ids: Sequence[int], at: datetime) -> dict[int, tuple[str, ...]]:
    """The accounts by which parties buy in the market directly: the units of users."""
    rows = conn.execute(
        """SELECT a.party_id, array_agg(a.account_id ORDER BY a.account_id)
           FROM account a JOIN account_terms t USING (account_id)
           WHERE a.party_id = ANY(%s) AND t.purchase = 'direct' AND t.category <> 'generation' AND t.effective @> %s
           GROUP BY 1""",
        (list(party_ids), at),
    )
    return {party_id: tuple(accounts) for party_id, accounts in rows}


def admitted(conn: Conn, party_ids: Sequence[int]) -> frozenset[int]:
    """Which of these parties are in force at this moment, and of a class that trades."""
    rows = conn.execute(
        "SELECT party_id, kind, subkind, state FROM party WHERE party_id = ANY(%s) AND state = 'effective'",
        (list(party_ids),),
    )
    return frozenset(party_id for party_id, kind, subkind, state in rows if may_trade(kind, subkind, state))


def refuse(conn: Conn, refused: Sequence[tuple[int, int, str, str]], at: datetime) -> None:
    """Note refusals as (session, party, code, place), for the count of the session's desk."""
    conn.execute(
        "SELECT bid_refuse(%s, %s::integer[], %s::bigint[], %s::text[], %s::text[])",
        (at, *_columns(refused, 4)),
    )


def close(conn: Conn, session_id: int, actor: str, at: datetime) -> tuple[int, str]:
    """Close the book under the exclusive lock; return the number of its CLOSE row and the hash of what stands."""
    row = conn.execute("SELECT * FROM bid_close(%s, %s, %s)", (session_id, at, actor)).fetchone()
    assert row is not None
    return int(row[0]), str(row[1])


def hold_gate(conn: Conn, session_id: int) -> None:
    """Wait for the declarations that are on their way; until this transaction ends no other one is judged."""
    conn.execute("SELECT pg_advisory_xact_lock(42, %s)", (session_id,))


def free_exposures(conn: Conn, session_id: int) -> None:
    """The session is over: it binds nobody's money any more."""
    conn.execute("UPDATE trading_exposure SET margin_fen = 0 WHERE session_id = %s", (session_id,))


# ---- reading -------------------------------------------------------------------------------------------------------


def events_after(conn: Conn, session_id: int, seq: int, most: int = EVENTS_MAX) -> tuple[CurveEvent, ...]:
    """The committed rows of a book after a number, without names, in their order; at most so many.

    Empty while the session's rule hides its curve and the gate is open. Numbers become visible in their order, so who
    goes on from the last one misses none.
    """
    with conn.cursor(row_factory=class_row(CurveEvent)) as cursor:
        return tuple(cursor.execute("SELECT * FROM bid_events_after(%s, %s, %s)", (session_id, seq, most)))


def book(conn: Conn, session_id: int, last_seq: int) -> tuple[BidRow, ...]:
    """The declarations that stood when the book was closed at `last_seq`, by number; sealed from staff before."""
    return _rows(
        conn,
        """session_id = %s AND seq <= %s AND kind IN ('SUBMIT', 'REPLACE')
           AND NOT EXISTS (SELECT FROM bid_event r WHERE r.replaces = bid_event.seq AND r.seq <= %s)""",
        (session_id, last_seq, last_seq),
    )


def rows_of(conn: Conn, session_id: int, seqs: Sequence[int]) -> tuple[BidRow, ...]:
    """Declarations of a session by their numbers, whether they stand or not."""
    if not seqs:
        return ()
    return _rows(
        conn, "session_id = %s AND seq = ANY(%s) AND kind IN ('SUBMIT', 'REPLACE')", (session_id, list(seqs))
    )


def of_party(conn: Conn, session_id: int, party_id: int) -> tuple[BidRow, ...]:
    """Everything a party sent to a session, by number."""
    return _rows(conn, "session_id = %s AND party_id = %s", (session_id, party_id))


def find(conn: Conn, seq: int) -> BidRow | None:
    """The row of that number, if this person may see it."""
    return next(iter(_rows(conn, "seq = %s AND kind <> 'CLOSE'", (seq,))), None)


def recent_of(conn: Conn, party_id: int, before_seq: int | None, most: int) -> tuple[BidRow, ...]:
    """A party's declarations of all sessions, the latest first; `before_seq` goes on."""
    with conn.cursor(row_factory=class_row(BidRow)) as cursor:
        return tuple(
            cursor.execute(
                "SELECT * FROM bid_event WHERE party_id = %s AND (%s::bigint IS NULL OR seq < %s) ORDER BY seq DESC LIMIT %s",
                (party_id, before_seq, before_seq, most),
            )
        )


def lines(conn: Conn, session_id: int) -> tuple[tuple[int, str], ...]:
    """The closed book's lines without names: number and content hash of what stood; empty before the gate."""
    rows = conn.execute("SELECT * FROM bid_lines(%s)", (session_id,))
    return tuple((int(seq), str(content)) for seq, content in rows)


def participants(conn: Conn, session_id: int) -> tuple[int, ...]:
    """The parties that sent something to a session, as far as this person may know."""
    rows = conn.execute(
        "SELECT DISTINCT party_id FROM bid_event WHERE session_id = %s AND party_id IS NOT NULL ORDER BY 1",
        (session_id,),
    )
    return tuple(party_id for (party_id,) in rows)


def reserved(conn: Conn, session_id: int) -> tuple[tuple[str, int], ...]:
    """Under which names margins of a session's declarations were reserved, and how much."""
    rows = conn.execute(
        """SELECT 'bid:' || party_id || ':' || client_key, margin_fen FROM bid_event
           WHERE session_id = %s AND margin_fen > 0 ORDER BY party_id, seq""",
        (session_id,),
    )
    return tuple((key, int(fen)) for key, fen in rows)


def replaced_by(conn: Conn, seq: int) -> int | None:
    """The number of the row that replaced or withdrew this one."""
    row = conn.execute("SELECT seq FROM bid_event WHERE replaces = %s", (seq,)).fetchone()
    return None if row is None else int(row[0])


def counts(conn: Conn, session_id: int, since: datetime) -> Counts:
    """How many came; what they said stays sealed."""
    with conn.cursor(row_factory=class_row(Counts)) as cursor:
        found = cursor.execute("SELECT * FROM bid_counts(%s, %s)", (session_id, since)).fetchone()
    assert found is not None
    return found


def refusals(conn: Conn, session_id: int) -> dict[str, int]:
    """How many declarations were refused, by code."""
    rows = conn.execute(
        "SELECT code, count(*) FROM bid_refusal WHERE session_id = %s GROUP BY code ORDER BY 2 DESC, 1",
        (session_id,),
    )
    return {code: int(count) for code, count in rows}


def _rows(conn: Conn, condition: str, parameters: tuple[object, ...]) -> tuple[BidRow, ...]:
    with conn.cursor(row_factory=class_row(BidRow)) as cursor:
        return tuple(cursor.execute(f"SELECT * FROM bid_event WHERE {condition} ORDER BY seq", parameters))


def _columns(rows: Sequence[Sequence[object]], width: int) -> tuple[list[object], ...]:
    return tuple([row[place] for row in rows] for place in range(width))


def _array(numbers: Sequence[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"
