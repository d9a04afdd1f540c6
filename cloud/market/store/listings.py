"""SQL: listings, what was asked of them and what each take got. Rows are only added; of a listing only the state moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from cloud.db import Conn, hold_key
from cloud.errors import NotFound
from cloud.market.auction import Side
from cloud.market.listing import Remainder, Sharing
from cloud.market.offering import Line, Offer

ROWS_MAX = 200
_LOCK = 44  # see cloud/schema/0029_listings.sql


class NoListing(NotFound):
    """There is no such listing, or this transaction does not see it."""


@dataclass(frozen=True, slots=True)
class ListingRow:
    """A listing with what is left of each line."""

    listing_id: int
    party_id: int
    party_name: str
    party_kind: str
    is_admitted: bool
    unit_id: str
    offer: Offer
    note: str
    state: str
    left: tuple[int, ...]
    published_at: datetime
    published_by: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to search for; None or empty: anything."""

    side: str = ""
    month: date | None = None
    period: str = ""
    text: str = ""
    is_green: bool | None = None
    price_min_ticks: int | None = None
    price_max_ticks: int | None = None
    kwh_min: int = 0
    state: str = "open"
    party_id: int | None = None
    taken_by_id: int | None = None


@dataclass(frozen=True, slots=True)
class TakeRow:
    """A take and what it got; `got` is None while a batch window is open."""

    seq: int
    listing_id: int
    party_id: int | None
    party_name: str | None
    unit_id: str | None
    kwh: list[int]
    at: datetime
    got: list[int] | None
    contract_id: str | None


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that happens to a listing; `kwh` by line, `party_id` None is the clock."""

    kind: str
    kwh: tuple[int, ...]
    party_id: int | None
    unit_id: str | None
    at: datetime
    actor: str
    client_key: UUID | None = None


@dataclass(frozen=True, slots=True)
class _Flat:
    listing_id: int
    party_id: int
    party_name: str
    party_kind: str
    is_admitted: bool
    unit_id: str
    side: str
    is_green: bool
    sharing: str
    remainder: str
    is_clipped: bool
    all_or_none: bool
    min_take_kwh: int
    eligible_kinds: list[str]
    eligible_ids: list[int]
    note: str
    starts_at: datetime
    ends_at: datetime
    state: str
    published_at: datetime
    published_by: str
    left: list[int]
    months: list[date] = field(default_factory=list)
    periods: list[str] = field(default_factory=list)
    kwhs: list[int] = field(default_factory=list)
    prices: list[int] = field(default_factory=list)
    environments: list[int] = field(default_factory=list)


_SELECT = """SELECT l.listing_id, l.party_id, p.name AS party_name, p.kind AS party_kind,
    p.state = 'effective' AS is_admitted, l.unit_id, l.side, l.is_green,
    l.sharing, l.remainder, l.is_clipped, l.all_or_none, l.min_take_kwh, l.eligible_kinds, l.eligible_ids, l.note,
    l.starts_at, l.ends_at, l.state, l.published_at, l.published_by, listing_left(l.listing_id) AS left,
    n.months, n.periods, n.kwhs, n.prices, n.environments
    FROM listing l JOIN party p USING (party_id)
    CROSS JOIN LATERAL (SELECT array_agg(month ORDER BY line_no) AS months, array_agg(period ORDER BY line_no) AS periods,
        array_agg(kwh ORDER BY line_no) AS kwhs, array_agg(price_ticks ORDER BY line_no) AS prices,
        array_agg(environment_ticks ORDER BY line_no) AS environments
        FROM listing_line WHERE listing_id = l.listing_id) n"""


def lock(conn: Conn, listing_id: int) -> None:
    """Let nobody else change this listing until the transaction's end."""
    conn.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_LOCK, listing_id))


def insert(
    conn: Conn, offer: Offer, unit_id: str, note: str, published: tuple[datetime, str, UUID | None]
) -> int:
    """Keep a listing with its lines and its first event; `published` is (when, by whom, client key). Return its number."""
    at, actor, client_key = published
    row = conn.execute(
        """INSERT INTO listing (party_id, unit_id, side, is_green, sharing, remainder, is_clipped, all_or_none,
               min_take_kwh, eligible_kinds, eligible_ids, note, starts_at, ends_at, client_key, published_at, published_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s::text[], %s::bigint[], %s, %s, %s, %s, %s, %s)
           RETURNING listing_id""",
        (
            *(offer.lister_id, unit_id, offer.side, offer.is_green, offer.sharing, offer.remainder),
            *(offer.is_clipped, offer.all_or_none, offer.min_take_kwh, list(offer.eligible_kinds)),
            *(list(offer.eligible_ids), note, offer.starts_at, offer.ends_at, client_key, at, actor),
        ),
    ).fetchone()
    assert row is not None
    listing_id = int(row[0])
    with conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO listing_line (listing_id, line_no, month, period, kwh, price_ticks, environment_ticks)
               VALUES (%s, %s, %s, %s, %s, %s, %s)""",
            [
                (
                    listing_id,
                    number,
                    each.month,
                    each.period,
                    each.kwh,
                    each.price_ticks,
                    each.environment_ticks,
                )
                for number, each in enumerate(offer.lines, start=1)
            ],
        )
    nothing = (0,) * len(offer.lines)
    add_event(conn, listing_id, NewEvent("publish", nothing, offer.lister_id, unit_id, at, actor))
    return listing_id


def find(conn: Conn, listing_id: int) -> ListingRow:
    """Load a listing. Raises NoListing."""
    with conn.cursor(row_factory=class_row(_Flat)) as cursor:
        row = cursor.execute(f"{_SELECT} WHERE l.listing_id = %s", (listing_id,)).fetchone()
    if row is None:
        raise NoListing("not_found", kind="listing")
    return _row(row)


def by_client_key(conn: Conn, party_id: int, client_key: UUID) -> int | None:
    """The listing that a party published under this key before; nobody else does so until the transaction's end."""
    hold_key(conn, client_key)
    row = conn.execute(
        "SELECT listing_id FROM listing WHERE party_id = %s AND client_key = %s", (party_id, client_key)
    ).fetchone()
    return None if row is None else int(row[0])


def search(conn: Conn, wanted: Wanted) -> tuple[ListingRow, ...]:
    """Listings that have what is wanted in one of their lines, the newest first; at most ROWS_MAX."""
    with conn.cursor(row_factory=class_row(_Flat)) as cursor:
        rows = cursor.execute(
            f"""{_SELECT}
            WHERE (%(state)s = '' OR l.state = %(state)s) AND (%(side)s = '' OR l.side = %(side)s)
              AND (%(green)s::boolean IS NULL OR l.is_green = %(green)s)
              AND (%(party)s::bigint IS NULL OR l.party_id = %(party)s)
              AND (%(text)s = '' OR p.name ILIKE '%%' || %(text)s || '%%' OR l.note ILIKE '%%' || %(text)s || '%%')
              AND (%(taker)s::bigint IS NULL OR EXISTS (SELECT FROM listing_event e WHERE e.listing_id = l.listing_id
                   AND e.kind = 'take' AND e.party_id = %(taker)s))
              AND EXISTS (SELECT FROM listing_line n WHERE n.listing_id = l.listing_id
                   AND (%(month)s::date IS NULL OR n.month = %(month)s) AND (%(period)s = '' OR n.period = %(period)s)
                   AND (%(low)s::bigint IS NULL OR n.price_ticks >= %(low)s)
                   AND (%(high)s::bigint IS NULL OR n.price_ticks <= %(high)s)
                   AND (listing_left(l.listing_id))[n.line_no] >= %(least)s)
            ORDER BY l.listing_id DESC LIMIT %(most)s""",
            {
                "state": wanted.state,
                "side": wanted.side,
                "green": wanted.is_green,
                "party": wanted.party_id,
                "text": _like(wanted.text),
                "taker": wanted.taken_by_id,
                "month": wanted.month,
                "period": wanted.period,
                "low": wanted.price_min_ticks,
                "high": wanted.price_max_ticks,
                "least": wanted.kwh_min,
                "most": ROWS_MAX,
            },
        ).fetchall()
    return tuple(map(_row, rows))


def due(conn: Conn, now: datetime) -> tuple[int, ...]:
    """Open listings whose end has come, by number."""
    rows = conn.execute(
        "SELECT listing_id FROM listing WHERE state = 'open' AND ends_at <= %s ORDER BY listing_id", (now,)
    )
    return tuple(int(listing_id) for (listing_id,) in rows)


def exhausted_bound(conn: Conn) -> tuple[int, ...]:
    """Listings to buy that others took to the end, and whose reserve is still the listing's."""
    rows = conn.execute(
        """SELECT l.listing_id FROM listing l JOIN guarantee_entry e ON e.purpose_key = 'listing:' || l.listing_id
           WHERE l.side = 'B' AND l.state = 'taken' AND e.kind = 'reserve'
             AND NOT EXISTS (SELECT FROM guarantee_entry r WHERE r.kind = 'release' AND r.purpose_key = e.purpose_key)
           ORDER BY l.listing_id"""
    )
    return tuple(int(listing_id) for (listing_id,) in rows)


def add_event(conn: Conn, listing_id: int, event: NewEvent) -> int:
    """Append what happens to a listing and return its number: the priority in time."""
    row = conn.execute(
        """INSERT INTO listing_event (listing_id, kind, party_id, unit_id, kwh, client_key, at, actor)
           VALUES (%s, %s, %s, %s, %s::bigint[], %s, %s, %s) RETURNING seq""",
        (
            *(listing_id, event.kind, event.party_id, event.unit_id, list(event.kwh)),
            *(event.client_key, event.at, event.actor),
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def add_share(
    conn: Conn, listing_id: int, seq: int, kwh: Sequence[int], kept: tuple[str | None, datetime]
) -> None:
    """Keep what a take got; `kept` is (its contract, when)."""
    conn.execute(
        "INSERT INTO listing_share (seq, listing_id, kwh, contract_id, at) VALUES (%s, %s, %s::bigint[], %s, %s)",
        (seq, listing_id, list(kwh), *kept),
    )


def exhausted(conn: Conn, listing_id: int) -> None:
    """Close a listing of which nothing is left."""
    conn.execute("SELECT listing_exhausted(%s)", (listing_id,))


def move(conn: Conn, listing_id: int, before: str, after: str) -> bool:
    """Move a listing along its life; False when it is no longer in that state."""
    return (
        conn.execute(
            "UPDATE listing SET state = %s WHERE listing_id = %s AND state = %s", (after, listing_id, before)
        ).rowcount
        == 1
    )


def admitted(
    conn: Conn, text: str, but_id: int | None, most: int | None = None
) -> tuple[tuple[int, str, str], ...]:
    """Parties that may trade and have this in their name: number, name and kind, by name; None: as many as there are."""
    rows = conn.execute(
        """SELECT party_id, name, kind FROM party WHERE state = 'effective' AND party_id IS DISTINCT FROM %s
             AND name ILIKE '%%' || %s || '%%' ORDER BY name, party_id LIMIT %s""",
        (but_id, _like(text), most),
    )
    return tuple((int(party_id), name, kind) for party_id, name, kind in rows)


def named(conn: Conn, party_ids: Sequence[int]) -> tuple[tuple[int, str, str], ...]:
    """Those of these parties that may trade: number, name and kind, by name."""
    rows = conn.execute(
        """SELECT party_id, name, kind FROM party WHERE state = 'effective' AND party_id = ANY(%s::bigint[])
           ORDER BY name, party_id""",
        (list(party_ids),),
    )
    return tuple((int(party_id), name, kind) for party_id, name, kind in rows)


def last_seq(conn: Conn, listing_id: int) -> int:
    """The number of a listing's last event, whoever's it is."""
    row = conn.execute("SELECT listing_last(%s)", (listing_id,)).fetchone()
    assert row is not None
    return int(row[0])


def takes_of(conn: Conn, listing_id: int) -> tuple[TakeRow, ...]:
    """The takes of a listing that this transaction may see, in their order of time."""
    return _takes(conn, "e.listing_id = %s", (listing_id,))


def takes_by(conn: Conn, party_id: int) -> tuple[TakeRow, ...]:
    """A party's own takes, the latest last; at most ROWS_MAX."""
    return _takes(conn, "e.party_id = %s", (party_id,))


def take_by_key(conn: Conn, party_id: int, client_key: UUID) -> TakeRow | None:
    """The take that a party sent under this key before; nobody else does so until the transaction's end."""
    hold_key(conn, client_key)
    found = _takes(conn, "e.party_id = %s AND e.client_key = %s", (party_id, client_key))
    return found[0] if found else None


def asked_by(conn: Conn, listing_id: int, party_id: int, lines: int) -> tuple[int, ...]:
    """What a party asked of a listing so far, by line."""
    sums: dict[int, int] = dict(
        conn.execute("SELECT line_no, kwh FROM listing_asked(%s, %s)", (listing_id, party_id)).fetchall()
    )
    return tuple(int(sums.get(number, 0)) for number in range(1, lines + 1))


def bound_kwh(conn: Conn, party_id: int, since: datetime) -> int:
    """What a party has listed since an instant and not given up, and what it has taken or asked of a batch since then."""
    row = conn.execute(
        """SELECT (SELECT coalesce(sum(n.kwh), 0) FROM listing l JOIN listing_line n USING (listing_id)
                   WHERE l.party_id = %(party)s AND l.published_at >= %(since)s)
                - (SELECT coalesce(sum(k.kwh), 0) FROM listing l JOIN listing_event e USING (listing_id), unnest(e.kwh) k (kwh)
                   WHERE l.party_id = %(party)s AND l.published_at >= %(since)s
                     AND e.kind IN ('reduce', 'withdraw', 'expire'))
                + (SELECT coalesce(sum(k.kwh), 0) FROM listing_event e LEFT JOIN listing_share s USING (seq),
                        unnest(coalesce(s.kwh, e.kwh)) k (kwh)
                   WHERE e.kind = 'take' AND e.party_id = %(party)s AND e.at >= %(since)s)""",
        {"party": party_id, "since": since},
    ).fetchone()
    assert row is not None
    return int(row[0])


def units_of(conn: Conn, party_id: int, at: datetime) -> tuple[str, ...]:
    """The units that a party trades with: a direct user's accounts, of everybody else the party itself."""
    rows = conn.execute(
        """SELECT a.account_id FROM account a JOIN account_terms t USING (account_id) JOIN party p USING (party_id)
           WHERE a.party_id = %s AND p.kind = 'user' AND t.purchase = 'direct' AND t.category <> 'generation'
             AND t.effective @> %s::timestamptz ORDER BY a.account_id""",
        (party_id, at),
    ).fetchall()
    return tuple(account_id for (account_id,) in rows) or (f"party:{party_id}",)


def past_month_kwh(conn: Conn, unit_ids: Sequence[str]) -> tuple[int, ...]:
    """What each month of the past promised to or by these units, in kWh: to compare a declaration with."""
    try:
        with conn.transaction():
            rows = conn.execute(
                """SELECT sum(v.mwh) * 1000 FROM wholesale_contract c JOIN wholesale_volume v USING (contract_id, version)
                   WHERE (c.seller = ANY(%(units)s) OR c.buyer = ANY(%(units)s))
                     AND c.version = (SELECT max(l.version) FROM wholesale_contract l WHERE l.contract_id = c.contract_id)
                   GROUP BY v.month ORDER BY v.month""",
                {"units": list(unit_ids)},
            ).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        return ()
    return tuple(int(kwh) for (kwh,) in rows)


def _like(text: str) -> str:
    """A text as LIKE takes it: nothing in it stands for anything else."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _takes(conn: Conn, condition: str, parameters: tuple[object, ...]) -> tuple[TakeRow, ...]:
    with conn.cursor(row_factory=class_row(TakeRow)) as cursor:
        found = cursor.execute(
            f"""SELECT e.seq, e.listing_id, e.party_id, p.name AS party_name, e.unit_id, e.kwh, e.at, s.kwh AS got,
                       s.contract_id
                FROM listing_event e LEFT JOIN listing_share s USING (seq) LEFT JOIN party p ON p.party_id = e.party_id
                WHERE e.kind = 'take' AND {condition} ORDER BY e.seq DESC LIMIT {ROWS_MAX * 50}""",
            parameters,
        ).fetchall()
    return tuple(reversed(found))


def _row(flat: _Flat) -> ListingRow:
    lines = zip(flat.months, flat.periods, flat.kwhs, flat.prices, flat.environments, strict=True)
    offer = Offer(
        flat.party_id,
        Side(flat.side),
        tuple(Line(*line) for line in lines),
        flat.starts_at,
        flat.ends_at,
        flat.min_take_kwh,
        flat.all_or_none,
        Sharing(flat.sharing),
        Remainder(flat.remainder),
        flat.is_clipped,
        flat.is_green,
        tuple(flat.eligible_kinds),
        tuple(flat.eligible_ids),
    )
    return ListingRow(
        *(
            flat.listing_id,
            flat.party_id,
            flat.party_name,
            flat.party_kind,
            flat.is_admitted,
            flat.unit_id,
            offer,
            flat.note,
        ),
        *(flat.state, tuple(flat.left), flat.published_at, flat.published_by),
    )
