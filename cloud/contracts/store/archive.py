"""SQL: finding contracts: by number, party, text, kind, state and day of signing; and published prices to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from psycopg.rows import class_row

from cloud.contracts import search
from cloud.db import Conn

PAGE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; empty fields do not matter. Days are half-open `[first, end)` of signing."""

    text: str = ""
    number: str = ""
    party: str = ""
    kind: str = ""
    state: str = ""
    first: date | None = None
    end: date | None = None
    page: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """A contract as the archive lists it."""

    contract_id: str
    kind: str
    state: str
    seller_name: str
    buyer_name: str
    start_day: date
    end_day: date
    signed_at: datetime | None
    entered_at: datetime


def index(conn: Conn, contract_id: str, body: str) -> None:
    """Let a contract be found by this text."""
    conn.execute(
        "SELECT contract_indexed(%s, %s, %s)", (contract_id, search.plain(body), list(search.grams(body)))
    )


def find(conn: Conn, wanted: Wanted) -> tuple[tuple[Found, ...], bool]:
    """Load a page of contracts, the last signed first, and tell whether there are more."""
    conditions, parameters = _conditions(wanted)
    with conn.cursor(row_factory=class_row(Found)) as cursor:
        rows = cursor.execute(
            f"""SELECT c.contract_id, c.kind, c.state, s.name AS seller_name, b.name AS buyer_name, c.start_day, c.end_day,
                       c.signed_at, c.entered_at
                FROM contract c JOIN party s ON s.party_id = c.seller_id JOIN party b ON b.party_id = c.buyer_id
                WHERE {" AND ".join(conditions)}
                ORDER BY coalesce(c.signed_at, c.entered_at) DESC, c.contract_id LIMIT %(most)s OFFSET %(past)s""",
            {**parameters, "most": PAGE_ROWS + 1, "past": (wanted.page - 1) * PAGE_ROWS},
        ).fetchall()
    return tuple(rows[:PAGE_ROWS]), len(rows) > PAGE_ROWS


def counts(conn: Conn) -> tuple[tuple[str, int, int], ...]:
    """Count contracts by kind and year of signing (0: not signed), as the archive's shelves."""
    rows = conn.execute(
        """SELECT kind, coalesce(extract(year FROM signed_at AT TIME ZONE 'Asia/Shanghai')::int, 0), count(*)
           FROM contract GROUP BY 1, 2 ORDER BY 1, 2 DESC"""
    )
    return tuple((str(kind), int(year), int(count)) for kind, year, count in rows)


def _conditions(wanted: Wanted) -> tuple[list[str], dict[str, object]]:
    conditions, parameters = ["true"], dict[str, object]()
    words = search.needles(wanted.text)
    if words:
        conditions.append("c.contract_id IN (SELECT contract_matching(%(grams)s, %(words)s))")
        parameters |= {"grams": list(search.wanted(words)), "words": list(words)}
    if wanted.number:
        conditions.append("position(lower(%(number)s) in lower(c.contract_id)) > 0")
    if wanted.party:
        conditions.append("(position(%(party)s in s.name) > 0 OR position(%(party)s in b.name) > 0)")
    for column in ("kind", "state"):
        if getattr(wanted, column):
            conditions.append(f"c.{column} = %({column})s")
    if wanted.first is not None:
        conditions.append("c.signed_at >= %(first)s::date::timestamp AT TIME ZONE 'Asia/Shanghai'")
    if wanted.end is not None:
        conditions.append("c.signed_at < %(end)s::date::timestamp AT TIME ZONE 'Asia/Shanghai'")
    names = ("number", "party", "kind", "state", "first", "end")
    return conditions, parameters | {name: getattr(wanted, name) for name in names}


def traded_average(conn: Conn, months: Sequence[date]) -> tuple[Decimal, Decimal] | None:
    """Energy and value of what the market promised for the months, where at least three contracts make it up."""
    row = conn.execute("SELECT mwh, value_yuan FROM contract_traded(%s)", (list(months),)).fetchone()
    return None if row is None else (row[0], row[1])


def published_prices(
    conn: Conn, before: date, keys: Sequence[str]
) -> tuple[tuple[str, date, Decimal, str], ...]:
    """The last entered value of each published average price: key, month, yuan/MWh, source."""
    rows = conn.execute(
        "SELECT key, of_month, yuan_per_mwh, from_source FROM contract_published(%s, %s)",
        (list(keys), before),
    )
    return tuple((str(key), month, value, str(source)) for key, month, value, source in rows)


def agency_sheets(conn: Conn, at: datetime, parties: Sequence[int]) -> tuple[tuple[str, str], ...]:
    """The agency-purchase price files published up to an instant for where the parties are: grid and text, the last first.

    Where no account of theirs tells a grid, those of the market's; then those of any account here; with no account at all, all.
    """
    rows = conn.execute(
        """WITH of AS (SELECT array_agg(g) AS grids FROM contract_grids(%s) g)
           SELECT s.grid, s.body FROM price_sheet s, of WHERE s.kind = 'price-sheet' AND lower(s.effective) <= %s
           AND (of.grids IS NULL OR s.grid = ANY(of.grids)) AND s.body LIKE '%%purchase = "agency"%%'
           ORDER BY lower(s.effective) DESC, s.version DESC, s.sheet_id""",
        (list(parties), at),
    )
    return tuple((str(grid), str(body)) for grid, body in rows)
