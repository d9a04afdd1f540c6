"""SQL: clearing runs of sessions, their prices, fills, pieces and cuts, the contracts they became, and disputes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.errors import UniqueViolation
from psycopg.rows import class_row

from cloud.db import Conn
from cloud.errors import Conflict
from cloud.market.sessionbook import PeriodResult, Piece, Result
from cloud.market.sessiontrade import PieceRow


class Answered(Conflict):
    """Somebody else has answered the dispute meanwhile."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run: from what, how, and what came out, as hashes."""

    session_id: int
    run_no: int
    kind: str
    based_on: int | None
    rule_sha256: str
    price_rule: str
    at_margin: str
    method: str
    first_seq: int
    last_seq: int
    orders: int
    input_sha256: str
    result_sha256: str
    code_version: str
    reason: str
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class CutRow:
    """A piece that the security check cut."""

    piece_no: int
    to_kwh: int
    reason: str
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class ContractRow:
    """A contract that a session became."""

    contract_id: str
    session_id: int
    seller_id: int
    buyer_id: int
    quantity_kwh: int
    amount_fen: int
    at: datetime


@dataclass(frozen=True, slots=True)
class DisputeRow:
    """A dispute and, once there is one, its answer."""

    dispute_id: int
    session_id: int
    party_id: int
    party: str
    seq: int | None
    kind: str
    body: str
    at: datetime
    actor: str
    verdict: str | None
    answer: str | None
    answered_at: datetime | None
    answered_by: str | None


def next_run(conn: Conn, session_id: int) -> int:
    """The number of the session's next run; the caller has locked the session."""
    row = conn.execute(
        "SELECT coalesce(max(run_no), 0) + 1 FROM clearing_run WHERE session_id = %s", (session_id,)
    ).fetchone()
    assert row is not None
    return int(row[0])


def insert_run(conn: Conn, run: RunRow, result: Result, party_of: dict[int, int]) -> None:
    """Keep a run whole; `party_of` tells whose a declaration is."""
    names = ", ".join(RunRow.__slots__)
    conn.execute(
        f"INSERT INTO clearing_run ({names}) VALUES ({', '.join(['%s'] * len(RunRow.__slots__))})",
        tuple(getattr(run, name) for name in RunRow.__slots__),
    )
    key = (run.session_id, run.run_no)
    with conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO clearing_price (session_id, run_no, period, volume_kwh, price_ticks, last_bid_ticks,
                   last_ask_ticks, low_ticks, high_ticks, bid_kwh, ask_kwh, marginal_ticks)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                (
                    *(*key, each.period, each.volume_kwh, each.price_ticks, each.last_bid_ticks),
                    *(each.last_ask_ticks, each.low_ticks, each.high_ticks, each.bid_kwh, each.ask_kwh),
                    each.marginal_ticks,
                )
                for each in result.prices
            ],
        )
        cursor.executemany(
            "INSERT INTO clearing_fill (session_id, run_no, seq, party_id, quantity_kwh) VALUES (%s, %s, %s, %s, %s::bigint[])",
            [(*key, seq, party_of[seq], list(fills)) for seq, fills in sorted(result.fills.items())],
        )
        cursor.executemany(
            """INSERT INTO clearing_piece (session_id, run_no, piece_no, period, sell_seq, buy_seq, seller_id, buyer_id,
                   quantity_kwh, price_ticks) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                (
                    *(*key, each.piece_no, each.period, each.sell_seq, each.buy_seq),
                    *(party_of[each.sell_seq], party_of[each.buy_seq], each.quantity_kwh, each.price_ticks),
                )
                for each in result.pieces
            ],
        )


def runs_of(conn: Conn, session_id: int) -> tuple[RunRow, ...]:
    """The runs of a session that this person sees."""
    with conn.cursor(row_factory=class_row(RunRow)) as cursor:
        return tuple(
            cursor.execute("SELECT * FROM clearing_run WHERE session_id = %s ORDER BY run_no", (session_id,))
        )


def prices_of(conn: Conn, session_id: int, run_no: int) -> tuple[PeriodResult, ...]:
    """The prices of a run, by period."""
    rows = conn.execute(
        """SELECT period, volume_kwh, price_ticks, last_bid_ticks, last_ask_ticks, low_ticks, high_ticks, bid_kwh, ask_kwh,
                  marginal_ticks FROM clearing_price WHERE (session_id, run_no) = (%s, %s) ORDER BY period""",
        (session_id, run_no),
    )
    return tuple(PeriodResult(*row) for row in rows)


def fills_of(conn: Conn, session_id: int, run_no: int) -> dict[int, tuple[int, ...]]:
    """What declarations got in a run, by number; of a party only its own."""
    rows = conn.execute(
        "SELECT seq, quantity_kwh FROM clearing_fill WHERE (session_id, run_no) = (%s, %s) ORDER BY seq",
        (session_id, run_no),
    )
    return {seq: tuple(fills) for seq, fills in rows}


def result_of(conn: Conn, session_id: int, run_no: int) -> Result:
    """A run's result as it was computed."""
    return Result(
        prices_of(conn, session_id, run_no),
        fills_of(conn, session_id, run_no),
        tuple(
            Piece(
                each.piece_no, each.period, each.sell_seq, each.buy_seq, each.quantity_kwh, each.price_ticks
            )
            for each in pieces_of(conn, session_id, run_no)
        ),
    )


def pieces_of(conn: Conn, session_id: int, run_no: int) -> tuple[PieceRow, ...]:
    """Who sells what to whom in a run; of a party only its own."""
    with conn.cursor(row_factory=class_row(PieceRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT p.piece_no, p.period, p.sell_seq, p.buy_seq, p.seller_id, p.buyer_id, s.name AS seller,
                          b.name AS buyer, coalesce(x.unit_id, '') AS seller_unit, coalesce(y.unit_id, '') AS buyer_unit,
                          p.quantity_kwh, p.price_ticks
                   FROM clearing_piece p JOIN party s ON s.party_id = p.seller_id JOIN party b ON b.party_id = p.buyer_id
                        LEFT JOIN bid_event x ON x.seq = p.sell_seq LEFT JOIN bid_event y ON y.seq = p.buy_seq
                   WHERE (p.session_id, p.run_no) = (%s, %s) ORDER BY p.piece_no""",
                (session_id, run_no),
            )
        )


def insert_cut(conn: Conn, session_id: int, run_no: int, cut: CutRow) -> None:
    """Keep a cut of the security check."""
    conn.execute(
        """INSERT INTO security_cut (session_id, run_no, piece_no, to_kwh, reason, at, actor)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (session_id, run_no, cut.piece_no, cut.to_kwh, cut.reason, cut.at, cut.actor),
    )


def cuts_of(conn: Conn, session_id: int, run_no: int) -> tuple[CutRow, ...]:
    """The cuts of a run."""
    with conn.cursor(row_factory=class_row(CutRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT piece_no, to_kwh, reason, at, actor FROM security_cut
                   WHERE (session_id, run_no) = (%s, %s) ORDER BY piece_no""",
                (session_id, run_no),
            )
        )


def insert_contract(conn: Conn, row: ContractRow) -> None:
    """Keep which contract a session became; nothing happens if it is kept."""
    conn.execute(
        """INSERT INTO session_contract (contract_id, session_id, seller_id, buyer_id, quantity_kwh, amount_fen, at)
           VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
        (
            *(row.contract_id, row.session_id, row.seller_id, row.buyer_id, row.quantity_kwh),
            *(row.amount_fen, row.at),
        ),
    )


def change_contract(conn: Conn, contract_id: str, run_no: int, sums: tuple[int, int], at: datetime) -> None:
    """Keep what a corrected run made of a contract: kWh and fen; nothing of either is a void contract."""
    conn.execute(
        """INSERT INTO session_contract_change (contract_id, run_no, quantity_kwh, amount_fen, at)
           VALUES (%s, %s, %s, %s, %s)""",
        (contract_id, run_no, *sums, at),
    )


def contracts_of(conn: Conn, session_id: int) -> tuple[ContractRow, ...]:
    """The contracts of a session as the last run left them; of a party only its own."""
    with conn.cursor(row_factory=class_row(ContractRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT c.contract_id, c.session_id, c.seller_id, c.buyer_id,
                          coalesce(x.quantity_kwh, c.quantity_kwh) AS quantity_kwh,
                          coalesce(x.amount_fen, c.amount_fen) AS amount_fen, coalesce(x.at, c.at) AS at
                   FROM session_contract c LEFT JOIN LATERAL (
                       SELECT * FROM session_contract_change d WHERE d.contract_id = c.contract_id
                       ORDER BY d.run_no DESC LIMIT 1) x ON true
                   WHERE c.session_id = %s ORDER BY c.contract_id""",
                (session_id,),
            )
        )


def insert_dispute(
    conn: Conn, session_id: int, party_id: int, said: tuple[int | None, str, str], who: tuple[str, datetime]
) -> int:
    """Keep a dispute: `said` is the declaration it is about, kind and words."""
    row = conn.execute(
        """INSERT INTO trade_dispute (session_id, party_id, seq, kind, body, at, actor)
           VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING dispute_id""",
        (session_id, party_id, *said, who[1], who[0]),
    ).fetchone()
    assert row is not None
    return int(row[0])


def insert_answer(conn: Conn, dispute_id: int, said: tuple[str, str], who: tuple[str, datetime]) -> None:
    """Keep the answer to a dispute. Raises Answered."""
    try:
        with conn.transaction():
            conn.execute(
                "INSERT INTO trade_dispute_answer (dispute_id, verdict, body, at, actor) VALUES (%s, %s, %s, %s, %s)",
                (dispute_id, *said, who[1], who[0]),
            )
    except UniqueViolation as answered:
        raise Answered("dispute_answered", dispute=dispute_id) from answered


def disputes(conn: Conn, session_id: int | None) -> tuple[DisputeRow, ...]:
    """Disputes of a session, or of all, the latest first; of a party only its own."""
    return _disputes(conn, "(%s::integer IS NULL OR d.session_id = %s)", (session_id, session_id))


def find_dispute(conn: Conn, dispute_id: int) -> DisputeRow | None:
    """The dispute of that number, if this person sees it."""
    return next(iter(_disputes(conn, "d.dispute_id = %s", (dispute_id,))), None)


def _disputes(conn: Conn, condition: str, parameters: Sequence[object]) -> tuple[DisputeRow, ...]:
    with conn.cursor(row_factory=class_row(DisputeRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""SELECT d.dispute_id, d.session_id, d.party_id, p.name AS party, d.seq, d.kind, d.body, d.at, d.actor,
                           a.verdict, a.body AS answer, a.at AS answered_at, a.actor AS answered_by
                    FROM trade_dispute d JOIN party p USING (party_id) LEFT JOIN trade_dispute_answer a USING (dispute_id)
                    WHERE {condition} ORDER BY d.dispute_id DESC LIMIT 500""",
                tuple(parameters),
            )
        )
