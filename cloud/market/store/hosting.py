"""SQL: a platform's result written as a clearing run of our own session (tables of 0028_sessions.sql)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cloud.db import Conn


@dataclass(frozen=True, slots=True)
class RunRow:
    """What a platform's result becomes in our books: a PRE run, to be checked and published like one of our own."""

    price_rule: str
    at_margin: str
    first_seq: int
    last_seq: int
    orders: int
    input_sha256: str
    result_sha256: str
    made_by: str


def next_run_no(conn: Conn, session_id: int) -> int | None:
    """The number of a session's next clearing run, under its lock; None unless its closed book waits for one."""
    row = conn.execute(
        "SELECT state FROM trading_session WHERE session_id = %s FOR UPDATE", (session_id,)
    ).fetchone()
    if row is None or row[0] != "frozen":
        return None
    found = conn.execute(
        "SELECT coalesce(max(run_no), 0) + 1 FROM clearing_run WHERE session_id = %s", (session_id,)
    ).fetchone()
    assert found is not None
    return int(found[0])


def insert_run(conn: Conn, run: tuple[int, int], row: RunRow, reason: str, who: tuple[str, datetime]) -> None:
    """Keep the head of a run `(session_id, run_no)`."""
    conn.execute(
        """INSERT INTO clearing_run (session_id, run_no, kind, price_rule, at_margin, method, first_seq, last_seq, orders,
               input_sha256, result_sha256, rule_sha256, code_version, reason, at, actor)
           SELECT %s, %s, 'pre', %s, %s, 'uniform', %s, %s, %s, %s, %s, s.rule_sha256, %s, %s, %s, %s
           FROM trading_session s WHERE s.session_id = %s""",
        (
            *run,
            *(row.price_rule, row.at_margin, row.first_seq, row.last_seq, row.orders),
            *(row.input_sha256, row.result_sha256, row.made_by, reason, who[1], who[0], run[0]),
        ),
    )


def insert_prices(conn: Conn, run: tuple[int, int], rows: Sequence[tuple[int | None, ...]]) -> None:
    """Keep a run's periods: number, volume, price, last bid and ask, low, high, declared bids and asks."""
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO clearing_price VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [(*run, *row) for row in rows],
        )


def insert_fills(conn: Conn, run: tuple[int, int], rows: Sequence[tuple[int, list[int]]]) -> None:
    """Keep what each declaration got, entry by entry: its number and the quantities."""
    with conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO clearing_fill (session_id, run_no, seq, party_id, quantity_kwh)
               SELECT %s, %s, b.seq, b.party_id, %s FROM bid_event b WHERE b.seq = %s""",
            [(*run, quantities, seq) for seq, quantities in rows],
        )


def insert_pieces(conn: Conn, run: tuple[int, int], rows: Sequence[tuple[int, int, int, int, int]]) -> None:
    """Keep who sells to whom: period, seller's and buyer's declaration, quantity, price."""
    with conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO clearing_piece (session_id, run_no, piece_no, period, sell_seq, buy_seq, seller_id, buyer_id,
                   quantity_kwh, price_ticks)
               SELECT %s, %s, %s, %s, s.seq, b.seq, s.party_id, b.party_id, %s, %s FROM bid_event s, bid_event b
               WHERE s.seq = %s AND b.seq = %s""",
            [
                (*run, number, period, quantity, price, sell_seq, buy_seq)
                for number, (period, sell_seq, buy_seq, quantity, price) in enumerate(rows, start=1)
            ],
        )


def has_cleared(conn: Conn, session_id: int, run_no: int, who: tuple[str, datetime]) -> None:
    """Move a session on to its PRE result, and say so in its log."""
    conn.execute("UPDATE trading_session SET state = 'cleared' WHERE session_id = %s", (session_id,))
    conn.execute(
        """INSERT INTO session_event (session_id, deed, state, at, actor, facts)
           VALUES (%s, 'clear', 'cleared', %s, %s, jsonb_build_object('run', %s::integer))""",
        (session_id, who[1], who[0], run_no),
    )
