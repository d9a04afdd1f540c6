"""SQL: negotiation rooms as chains of events, and contract transfers. Rows are only added; a state moves along its table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.errors import Conflict, NotFound
from cloud.market.negotiation import EXPIRING, NOTHING, Event, Link, Room, folded
from cloud.market.transfer import OPEN

ROWS_MAX = 200
_LOCK = 46  # of a room: see cloud/schema/0034_negotiations.sql
_TRANSFER_LOCK = 47


class NoRoom(NotFound):
    """There is no such room or transfer, or this transaction does not see it."""


class MovedMeanwhile(Conflict):
    """Somebody else has moved it meanwhile."""


@dataclass(frozen=True, slots=True)
class RoomRow:
    """A room with the names of its sides."""

    negotiation_id: int
    title: str
    is_green: bool
    seller_id: int
    buyer_id: int
    seller_name: str
    buyer_name: str
    opener_id: int
    seller_unit: str
    buyer_unit: str
    state: str
    expires_at: datetime
    opened_at: datetime
    opened_by: str

    @property
    def empty(self) -> Room:
        """The room before anything happened."""
        return Room(self.seller_id, self.buyer_id)

    @property
    def parties(self) -> tuple[int, int]:
        """Both sides by number."""
        return self.seller_id, self.buyer_id


@dataclass(frozen=True, slots=True)
class NewRoom:
    """A room to open."""

    title: str
    is_green: bool
    seller_id: int
    buyer_id: int
    opener_id: int
    units: tuple[str, str]  # seller's, buyer's; '' of who is invited
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TransferRow:
    """A transfer of part of a contract, with the names of the three."""

    transfer_id: int
    contract_id: str
    from_version: int
    side: str
    from_id: int
    to_id: int
    other_id: int
    from_name: str
    to_name: str
    other_name: str
    to_unit: str
    kwh: list[int]
    reason: str
    terms_sha256: str
    state: str
    new_contract_id: str
    expires_at: datetime
    asked_at: datetime
    asked_by: str


@dataclass(frozen=True, slots=True)
class NewTransfer:
    """A transfer to propose."""

    contract_id: str
    from_version: int
    side: str
    parties: tuple[int, int, int]  # from, to, the other side of the contract
    kwh: tuple[int, ...]
    reason: str
    terms_sha256: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TransferEvent:
    """Something that happened to a transfer."""

    deed: str
    before: str
    after: str
    party_id: int | None
    actor: str
    at: datetime
    reason: str


_ROOM = """SELECT n.negotiation_id, n.title, n.is_green, n.seller_id, n.buyer_id, s.name AS seller_name,
    b.name AS buyer_name, n.opener_id, n.seller_unit, n.buyer_unit, n.state, n.expires_at, n.opened_at, n.opened_by
    FROM negotiation n JOIN party s ON s.party_id = n.seller_id JOIN party b ON b.party_id = n.buyer_id"""
_TRANSFER = """SELECT t.transfer_id, t.contract_id, t.from_version, t.side, t.from_id, t.to_id, t.other_id,
    f.name AS from_name, o.name AS to_name, p.name AS other_name, t.to_unit, t.kwh, t.reason, t.terms_sha256, t.state,
    t.new_contract_id, t.expires_at, t.asked_at, t.asked_by
    FROM contract_transfer t JOIN party f ON f.party_id = t.from_id JOIN party o ON o.party_id = t.to_id
    JOIN party p ON p.party_id = t.other_id"""


def insert(conn: Conn, new: NewRoom, at: datetime, by: str) -> int:
    """Keep a room and return its number."""
    row = conn.execute(
        """INSERT INTO negotiation (title, is_green, seller_id, buyer_id, opener_id, seller_unit, buyer_unit, expires_at,
                                    opened_at, opened_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING negotiation_id""",
        (
            *(new.title, new.is_green, new.seller_id, new.buyer_id, new.opener_id, *new.units),
            *(new.expires_at, at, by),
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def lock(conn: Conn, negotiation_id: int) -> None:
    """Let nobody else act in this room until the transaction's end."""
    conn.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_LOCK, negotiation_id))


def find(conn: Conn, negotiation_id: int) -> RoomRow:
    """Load a room. Raises NoRoom."""
    with conn.cursor(row_factory=class_row(RoomRow)) as cursor:
        row = cursor.execute(f"{_ROOM} WHERE n.negotiation_id = %s", (negotiation_id,)).fetchone()
    if row is None:
        raise NoRoom("not_found", kind="negotiation")
    return row


def of_party(conn: Conn, party_id: int | None) -> tuple[RoomRow, ...]:
    """A party's rooms, or all with None, the latest first; at most ROWS_MAX."""
    with conn.cursor(row_factory=class_row(RoomRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_ROOM} WHERE %(of)s::bigint IS NULL OR n.seller_id = %(of)s OR n.buyer_id = %(of)s
                    ORDER BY n.negotiation_id DESC LIMIT {ROWS_MAX}""",
                {"of": party_id},
            )
        )


def changing(conn: Conn) -> tuple[RoomRow, ...]:
    """Rooms in which a change of what was agreed waits for an answer."""
    with conn.cursor(row_factory=class_row(RoomRow)) as cursor:
        return tuple(cursor.execute(f"{_ROOM} WHERE n.state = 'changing' ORDER BY n.negotiation_id"))


def due(conn: Conn, now: datetime) -> tuple[int, ...]:
    """Rooms whose time is over and in which nothing was agreed."""
    rows = conn.execute(
        """SELECT negotiation_id FROM negotiation WHERE state = ANY(%s) AND expires_at <= %s
           ORDER BY negotiation_id""",
        (list(EXPIRING), now),
    )
    return tuple(int(number) for (number,) in rows)


def move(conn: Conn, row: RoomRow, after: str, **changed: object) -> None:
    """Move a room; `changed` are units when somebody joins, or the new end when it is reopened. Raises MovedMeanwhile."""
    assert set(changed) <= {"seller_unit", "buyer_unit", "expires_at"}
    sets = "".join(f", {name} = %({name})s" for name in changed)
    moved = conn.execute(
        f"UPDATE negotiation SET state = %(after)s{sets} WHERE negotiation_id = %(id)s AND state = %(before)s",
        {"after": after, "id": row.negotiation_id, "before": row.state, **changed},
    ).rowcount
    if moved != 1:
        raise MovedMeanwhile("moved_meanwhile")


def add_link(conn: Conn, negotiation_id: int, link: Link) -> None:
    """Append an event with its place in the chain; the database checks both."""
    event = link.event
    conn.execute(
        """INSERT INTO negotiation_event (negotiation_id, number, deed, party_id, actor, at, body, body_text,
                                          before_sha256, sha256)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            *(negotiation_id, event.event_no, event.deed, event.party_id, event.actor, event.at),
            *(Jsonb(dict(event.body)), link.text, link.before_sha256, link.sha256),
        ),
    )


def links_of(conn: Conn, negotiation_id: int) -> tuple[Link, ...]:
    """The room's chain in its order."""
    rows = conn.execute(
        """SELECT number, deed, party_id, actor, at, body, body_text, before_sha256, sha256 FROM negotiation_event
           WHERE negotiation_id = %s ORDER BY number""",
        (negotiation_id,),
    )
    return tuple(Link(Event(*row[:6]), *row[6:]) for row in rows)


def room_of(row: RoomRow, links: tuple[Link, ...]) -> Room:
    """The room as its events leave it."""
    return folded(row.empty, [link.event for link in links])


def last_sha256(links: tuple[Link, ...]) -> str:
    """The end of the chain."""
    return links[-1].sha256 if links else NOTHING


def mark_read(conn: Conn, negotiation_id: int, user_id: int, number: int) -> None:
    """Note how far a person has read."""
    conn.execute(
        """INSERT INTO negotiation_read AS r (negotiation_id, user_id, number) VALUES (%s, %s, %s)
           ON CONFLICT (negotiation_id, user_id) DO UPDATE SET number = greatest(r.number, excluded.number)""",
        (negotiation_id, user_id, number),
    )


def unread(conn: Conn, user_id: int) -> dict[int, int]:
    """How many events of others a person has not seen, by room."""
    rows = conn.execute(
        """SELECT e.negotiation_id, count(*) FROM negotiation_event e
           LEFT JOIN negotiation_read r ON r.negotiation_id = e.negotiation_id AND r.user_id = %s
           WHERE e.number > coalesce(r.number, 0) AND e.actor <> 'user:' || %s GROUP BY 1""",
        (user_id, user_id),
    )
    return {int(room): int(count) for room, count in rows}


def agreed_volumes(
    conn: Conn, seller_unit: str, buyer_unit: str, but_contract: str
) -> frozenset[tuple[date, str, int]]:
    """Month, period and kWh of what this pair has agreed already, in contracts that are not cancelled."""
    rows = conn.execute(
        """SELECT (v.value ->> 'month') || '-01', v.value ->> 'period', (v.value ->> 'mwh')::numeric * 1000
           FROM contract c, jsonb_array_elements(c.agreed -> 'volumes') v
           WHERE c.seller_unit = %s AND c.buyer_unit = %s AND c.contract_id <> %s AND c.agreed IS NOT NULL
             AND c.state NOT IN ('cancelled', 'declined', 'expired', 'void')""",
        (seller_unit, buyer_unit, but_contract),
    )
    return frozenset((date.fromisoformat(month), period, int(kwh)) for month, period, kwh in rows)


# ---- transfers -----------------------------------------------------------------------------------------------------


def insert_transfer(conn: Conn, new: NewTransfer, at: datetime, by: str) -> int:
    """Keep a proposed transfer and return its number; the database makes the new contract's number of it."""
    row = conn.execute(
        """INSERT INTO contract_transfer (contract_id, from_version, side, from_id, to_id, other_id, kwh, reason,
                                          terms_sha256, expires_at, asked_at, asked_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s::bigint[], %s, %s, %s, %s, %s) RETURNING transfer_id""",
        (
            *(new.contract_id, new.from_version, new.side, *new.parties, list(new.kwh)),
            *(new.reason, new.terms_sha256, new.expires_at, at, by),
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def lock_transfer(conn: Conn, transfer_id: int) -> None:
    """Let nobody else act on this transfer until the transaction's end."""
    conn.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_TRANSFER_LOCK, transfer_id))


def find_transfer(conn: Conn, transfer_id: int) -> TransferRow:
    """Load a transfer. Raises NoRoom."""
    with conn.cursor(row_factory=class_row(TransferRow)) as cursor:
        row = cursor.execute(f"{_TRANSFER} WHERE t.transfer_id = %s", (transfer_id,)).fetchone()
    if row is None:
        raise NoRoom("not_found", kind="contract_transfer")
    return row


def transfers_of(conn: Conn, party_id: int | None) -> tuple[TransferRow, ...]:
    """A party's transfers, or all with None, the latest first; at most ROWS_MAX."""
    with conn.cursor(row_factory=class_row(TransferRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_TRANSFER} WHERE %(of)s::bigint IS NULL OR %(of)s IN (t.from_id, t.to_id, t.other_id)
                    ORDER BY t.transfer_id DESC LIMIT {ROWS_MAX}""",
                {"of": party_id},
            )
        )


def due_transfers(conn: Conn, now: datetime) -> tuple[int, ...]:
    """Open transfers whose time is over."""
    rows = conn.execute(
        "SELECT transfer_id FROM contract_transfer WHERE state = ANY(%s) AND expires_at <= %s ORDER BY 1",
        (list(OPEN), now),
    )
    return tuple(int(number) for (number,) in rows)


def failed_transfers(conn: Conn, since: datetime) -> tuple[TransferRow, ...]:
    """Transfers that came to nothing and were asked for since then."""
    with conn.cursor(row_factory=class_row(TransferRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_TRANSFER} WHERE t.state IN ('declined', 'withdrawn', 'expired') AND t.asked_at >= %s
                    ORDER BY t.transfer_id""",
                (since,),
            )
        )


def move_transfer(conn: Conn, row: TransferRow, event: TransferEvent, to_unit: str = "") -> None:
    """Move a transfer and keep who did it. Raises MovedMeanwhile."""
    moved = conn.execute(
        """UPDATE contract_transfer SET state = %s, to_unit = CASE WHEN %s = '' THEN to_unit ELSE %s END
           WHERE transfer_id = %s AND state = %s""",
        (event.after, to_unit, to_unit, row.transfer_id, event.before),
    ).rowcount
    if moved != 1:
        raise MovedMeanwhile("moved_meanwhile")
    note_transfer(conn, row.transfer_id, event)


def note_transfer(conn: Conn, transfer_id: int, event: TransferEvent) -> None:
    """Keep what happened to a transfer."""
    conn.execute(
        """INSERT INTO contract_transfer_event (transfer_id, deed, before, after, party_id, actor, at, reason)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            *(transfer_id, event.deed, event.before, event.after, event.party_id),
            *(event.actor, event.at, event.reason),
        ),
    )


def transfer_events(conn: Conn, transfer_id: int) -> tuple[TransferEvent, ...]:
    """What happened to a transfer, in its order."""
    with conn.cursor(row_factory=class_row(TransferEvent)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT deed, before, after, party_id, actor, at, reason FROM contract_transfer_event
                   WHERE transfer_id = %s ORDER BY event_id""",
                (transfer_id,),
            )
        )
