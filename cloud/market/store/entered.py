"""SQL: what was entered about a market: rule, prices, declared days, quantities. The last entry speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from cloud.db import Conn
from cloud.errors import Conflict


class AnotherMarket(Conflict):
    """This database settles one market, and it is another."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Who enters something, and when."""

    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class MarketRow:
    """The market this database settles."""

    market_id: str
    name: str


@dataclass(frozen=True, slots=True)
class RuleRow:
    """The rule entered for a month, with its exact text."""

    rule_id: str
    version: int
    sha256: str
    document: str
    body: str
    entered_at: datetime
    entered_by: str


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A price of a month; value None: none called."""

    price_key: str
    value: Decimal | None
    source: str


@dataclass(frozen=True, slots=True)
class QuantityRow:
    """A quantity of a unit's month that is declared, not metered here."""

    item: str
    mwh: Decimal
    price_yuan_per_mwh: Decimal | None
    source: str


def find_market(conn: Conn) -> MarketRow | None:
    """The market of this database, once it is entered."""
    row = conn.execute("SELECT market_id, name FROM market").fetchone()
    return None if row is None else MarketRow(*row)


def put_market(conn: Conn, market: MarketRow, entry: Entry) -> None:
    """Enter the market. Raises AnotherMarket."""
    conn.execute(
        """INSERT INTO market (market_id, name, entered_at, entered_by) VALUES (%s, %s, %s, %s)
           ON CONFLICT DO NOTHING""",
        (market.market_id, market.name, entry.at, entry.actor),
    )
    kept = find_market(conn)
    if kept is None or kept.market_id != market.market_id:
        raise AnotherMarket(
            "another_market", market=market.market_id, kept="" if kept is None else kept.market_id
        )


def put_rule(conn: Conn, market_id: str, from_month: date, rule: RuleRow) -> bool:
    """Enter a rule from a month on; False when the very same is in force there already."""
    kept = rule_of(conn, market_id, from_month)
    if kept is not None and (kept.sha256, kept.rule_id, kept.version) == (
        *(rule.sha256, rule.rule_id, rule.version),
    ):
        return False
    conn.execute(
        """INSERT INTO market_rule (market_id, from_month, rule_id, version, sha256, document, body, entered_at, entered_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            *(market_id, from_month, rule.rule_id, rule.version, rule.sha256, rule.document, rule.body),
            *(rule.entered_at, rule.entered_by),
        ),
    )
    return True


def rule_of(conn: Conn, market_id: str, month: date) -> RuleRow | None:
    """The rule in force for a month: of the latest from_month not after it, the last entry."""
    row = conn.execute(
        """SELECT rule_id, version, sha256, document, body, entered_at, entered_by FROM market_rule
           WHERE market_id = %s AND from_month <= %s ORDER BY from_month DESC, entry_id DESC LIMIT 1""",
        (market_id, month),
    ).fetchone()
    return None if row is None else RuleRow(*row)


def rules_ahead(conn: Conn, market_id: str, after: date) -> tuple[tuple[str, date], ...]:
    """Rules that are entered for a month after this one, by name, and from which month: of each month the last entry."""
    rows = conn.execute(
        """SELECT DISTINCT ON (from_month) rule_id || '@' || version, from_month FROM market_rule
           WHERE market_id = %s AND from_month > %s ORDER BY from_month, entry_id DESC""",
        (market_id, after),
    ).fetchall()
    return tuple((str(name), month) for name, month in rows)


def first_month(conn: Conn, market_id: str) -> date | None:
    """The month from which the market has a rule; None: no rule is entered at all."""
    row = conn.execute(
        "SELECT min(from_month) FROM market_rule WHERE market_id = %s", (market_id,)
    ).fetchone()
    return None if row is None else row[0]


def put_price(conn: Conn, market_id: str, month: date, price: PriceRow, entry: Entry) -> bool:
    """Enter a price of a month; False when it stands so already."""
    kept = {each.price_key: each for each in prices_of(conn, market_id, month)}
    if kept.get(price.price_key) == price:
        return False
    conn.execute(
        """INSERT INTO market_price (market_id, month, price_key, value, source, entered_at, entered_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (market_id, month, price.price_key, price.value, price.source, entry.at, entry.actor),
    )
    return True


def prices_of(conn: Conn, market_id: str, month: date) -> tuple[PriceRow, ...]:
    """The prices of a month by key."""
    rows = conn.execute(
        """SELECT DISTINCT ON (price_key) price_key, value, source FROM market_price
           WHERE market_id = %s AND month = %s ORDER BY price_key, entry_id DESC""",
        (market_id, month),
    )
    return tuple(PriceRow(*row) for row in rows)


def put_price_days(
    conn: Conn, market_id: str, kind: str, days: Sequence[tuple[date, tuple[Decimal, ...], str]], entry: Entry
) -> int:
    """Enter spot prices of days (24 or 96 each); return how many days were new or changed."""
    if not days:
        return 0
    kept = price_days(conn, market_id, kind, min(day for day, *_ in days), max(day for day, *_ in days))
    new = [(day, prices, source) for day, prices, source in days if kept.get(day) != prices]
    with conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO market_price_day (market_id, kind, day, yuan_per_mwh, source, entered_at, entered_by)
               VALUES (%s, %s, %s, %s::numeric[], %s, %s, %s)""",
            [
                (market_id, kind, day, list(prices), source, entry.at, entry.actor)
                for day, prices, source in new
            ],
        )
    return len(new)


def price_days(
    conn: Conn, market_id: str, kind: str, first: date, last: date
) -> dict[date, tuple[Decimal, ...]]:
    """The spot prices of the days `first` to `last`, both included, that are entered."""
    rows = conn.execute(
        """SELECT DISTINCT ON (day) day, yuan_per_mwh FROM market_price_day
           WHERE market_id = %s AND kind = %s AND day BETWEEN %s AND %s ORDER BY day, entry_id DESC""",
        (market_id, kind, first, last),
    )
    return {day: tuple(prices) for day, prices in rows}


def put_declared_days(
    conn: Conn, unit_id: str, days: Sequence[tuple[date, tuple[int, ...], str]], entry: Entry
) -> int:
    """Enter day-ahead quantities of a unit; return how many days were new or changed."""
    if not days:
        return 0
    kept = declared_days(conn, unit_id, min(day for day, *_ in days), max(day for day, *_ in days))
    new = [(day, kwh, source) for day, kwh, source in days if kept.get(day) != kwh]
    with conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO declared_day (unit_id, day, kwh, source, entered_at, entered_by)
               VALUES (%s, %s, %s::bigint[], %s, %s, %s)""",
            [(unit_id, day, list(kwh), source, entry.at, entry.actor) for day, kwh, source in new],
        )
    return len(new)


def declared_days(conn: Conn, unit_id: str, first: date, last: date) -> dict[date, tuple[int, ...]]:
    """The declared quantities of the days `first` to `last`, both included, that are entered."""
    rows = conn.execute(
        """SELECT DISTINCT ON (day) day, kwh FROM declared_day
           WHERE unit_id = %s AND day BETWEEN %s AND %s ORDER BY day, entry_id DESC""",
        (unit_id, first, last),
    )
    return {day: tuple(kwh) for day, kwh in rows}


def put_quantity(conn: Conn, unit_id: str, month: date, quantity: QuantityRow, entry: Entry) -> bool:
    """Enter a declared quantity of a unit's month; False when it stands so already."""
    if quantities_of(conn, unit_id, month).get(quantity.item) == quantity:
        return False
    conn.execute(
        """INSERT INTO market_quantity (unit_id, month, item, mwh, yuan_per_mwh, source, entered_at, entered_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            *(unit_id, month, quantity.item, quantity.mwh, quantity.price_yuan_per_mwh, quantity.source),
            *(entry.at, entry.actor),
        ),
    )
    return True


def quantities_of(conn: Conn, unit_id: str, month: date) -> dict[str, QuantityRow]:
    """The declared quantities of a unit's month by item."""
    rows = conn.execute(
        """SELECT DISTINCT ON (item) item, mwh, yuan_per_mwh, source FROM market_quantity
           WHERE unit_id = %s AND month = %s ORDER BY item, entry_id DESC""",
        (unit_id, month),
    )
    return {row[0]: QuantityRow(*row) for row in rows}
