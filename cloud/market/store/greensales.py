"""SQL: certificates on offer, and what each sale is owed: a claim of the seller, a debt of the buyer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from psycopg.rows import class_row

from cloud.db import Conn
from cloud.errors import NotFound
from cloud.market.certificates import KeyReused

ROWS_MAX = 500
_LOCK = 46  # see cloud/schema/0031_green.sql


class NoSale(NotFound):
    """There is no such sale, or this transaction does not see it."""


@dataclass(frozen=True, slots=True)
class SaleRow:
    """A sale and what is left of it."""

    sale_id: int
    seller_id: int
    seller: str
    buyer_id: int | None
    mwh: int
    price_ticks: int
    ends_at: datetime
    state: str
    left_mwh: int
    months: list[date]
    plants: list[str]


@dataclass(frozen=True, slots=True)
class NewSale:
    """A sale to be opened."""

    seller_id: int
    buyer_id: int | None
    mwh: int
    price_ticks: int
    ends_at: datetime
    client_key: str


_SALE = """SELECT s.sale_id, s.seller_id, p.name AS seller, s.buyer_id, s.mwh, s.price_ticks, s.ends_at, s.state,
    coalesce(l.mwh, 0)::bigint AS left_mwh, coalesce(l.months, '{}') AS months, coalesce(l.plants, '{}') AS plants
    FROM green_sale s JOIN party p ON p.party_id = s.seller_id
    LEFT JOIN LATERAL (SELECT sum(upper(g.serials) - lower(g.serials)) AS mwh, array_agg(DISTINCT b.month) AS months,
                              array_agg(DISTINCT b.plant) AS plants
                       FROM green_place g JOIN green_batch b ON b.entry_id = g.batch_id
                       WHERE g.account = 'locked/' || s.seller_id || '/' || s.sale_id) l ON true"""


def insert_sale(conn: Conn, sale: NewSale, at: datetime, actor: str) -> tuple[int, bool]:
    """Open a sale once by the seller's key; return its number and whether it is new."""
    row = conn.execute(
        """INSERT INTO green_sale (seller_id, buyer_id, mwh, price_ticks, ends_at, client_key, at, actor)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING sale_id""",
        (
            *(sale.seller_id, sale.buyer_id, sale.mwh, sale.price_ticks, sale.ends_at, sale.client_key),
            *(at, actor),
        ),
    ).fetchone()
    if row is not None:
        return int(row[0]), True
    kept = conn.execute(
        """SELECT sale_id, buyer_id, mwh, price_ticks, ends_at FROM green_sale
           WHERE seller_id = %s AND client_key = %s""",
        (sale.seller_id, sale.client_key),
    ).fetchone()
    if kept is None or kept[1:4] != (sale.buyer_id, sale.mwh, sale.price_ticks):
        raise KeyReused("green_key_reused", key=sale.client_key)
    return int(kept[0]), False


def lock_sale(conn: Conn, sale_id: int) -> None:
    """Let nobody else take from or end this sale until the transaction's end."""
    conn.execute("SELECT pg_advisory_xact_lock(%s, %s::integer)", (_LOCK, sale_id % 2**31))


def sale(conn: Conn, sale_id: int) -> SaleRow:
    """A sale. Raises NoSale."""
    with conn.cursor(row_factory=class_row(SaleRow)) as cursor:
        found = cursor.execute(f"{_SALE} WHERE s.sale_id = %s", (sale_id,)).fetchone()
    if found is None:
        raise NoSale("not_found", kind="green_sale")
    return found


def sales(conn: Conn, party_id: int | None) -> tuple[SaleRow, ...]:
    """Open sales, and those of a party in any state, newest first."""
    with conn.cursor(row_factory=class_row(SaleRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_SALE} WHERE s.state = 'open' OR s.seller_id = %(party)s OR s.buyer_id = %(party)s
                    ORDER BY s.state = 'open' DESC, s.sale_id DESC LIMIT %(most)s""",
                {"party": party_id, "most": ROWS_MAX},
            )
        )


def lapsed_sales(conn: Conn, at: datetime) -> tuple[int, ...]:
    """Open sales whose time is over."""
    rows = conn.execute(
        "SELECT sale_id FROM green_sale WHERE state = 'open' AND ends_at <= %s ORDER BY sale_id", (at,)
    )
    return tuple(int(row[0]) for row in rows)


def move_sale(conn: Conn, sale_id: int, state: str) -> None:
    """Write a sale's new state."""
    conn.execute("UPDATE green_sale SET state = %s WHERE sale_id = %s", (state, sale_id))


def note_exhausted(conn: Conn, sale_id: int) -> None:
    """The sale is over if nothing is left of it."""
    conn.execute("SELECT green_sale_exhausted(%s)", (sale_id,))


# ---- what a sale is owed ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewClaim:
    """The money of one purchase, in the transaction that moves the certificates."""

    entry_id: int
    sale_id: int
    seller_id: int
    buyer_id: int
    mwh: int
    price_ticks: int
    amount_fen: int


@dataclass(frozen=True, slots=True)
class ClaimRow(NewClaim):
    """The money of one purchase: the seller's claim, the buyer's debt; with their names and the market day."""

    seller: str
    buyer: str
    day: date


def insert_claim(conn: Conn, claim: NewClaim, day: date, at: datetime) -> None:
    """Keep what the buyer owes the seller; the database holds it against the entry and the sale at commit."""
    conn.execute(
        """INSERT INTO green_claim (entry_id, sale_id, seller_id, buyer_id, mwh, price_ticks, amount_fen, day, at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            *(claim.entry_id, claim.sale_id, claim.seller_id, claim.buyer_id, claim.mwh),
            *(claim.price_ticks, claim.amount_fen, day, at),
        ),
    )


def claims(
    conn: Conn, party_id: int | None, days: tuple[date, date] | None = None, most: int = ROWS_MAX
) -> tuple[ClaimRow, ...]:
    """Claims and debts of a party (None: of everybody) on the days `[first, end)`, newest first."""
    first, end = days if days is not None else (date.min, date.max)
    with conn.cursor(row_factory=class_row(ClaimRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT c.entry_id, c.sale_id, c.seller_id, c.buyer_id, c.mwh, c.price_ticks, c.amount_fen,
                          s.name AS seller, b.name AS buyer, c.day
                   FROM green_claim c JOIN party s ON s.party_id = c.seller_id JOIN party b ON b.party_id = c.buyer_id
                   WHERE (%(party)s::bigint IS NULL OR %(party)s IN (c.seller_id, c.buyer_id))
                     AND c.day >= %(first)s AND c.day < %(end)s
                   ORDER BY c.entry_id DESC LIMIT %(most)s""",
                {"party": party_id, "first": first, "end": end, "most": most},
            )
        )


def all_claims(conn: Conn) -> tuple[ClaimRow, ...]:
    """Every claim with money in it, oldest first: what is to be booked."""
    return tuple(each for each in reversed(claims(conn, None, most=2**62)) if each.amount_fen)


def claim_months(conn: Conn, party_id: int | None) -> tuple[date, ...]:
    """The months in which a party (None: anybody) bought or sold certificates, newest first."""
    rows = conn.execute(
        """SELECT DISTINCT date_trunc('month', day)::date FROM green_claim
           WHERE %(party)s::bigint IS NULL OR %(party)s IN (seller_id, buyer_id) ORDER BY 1 DESC LIMIT 24""",
        {"party": party_id},
    )
    return tuple(row[0] for row in rows)
