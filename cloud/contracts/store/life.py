"""SQL: contracts, their state and what happened to them. Nothing here commits or decides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.contracts import search
from cloud.contracts.contract import CONTRACT, PARTY_UNIT, NewContract, terms_json
from cloud.contracts.execution import ARCHIVE_DAYS
from cloud.db import Conn
from cloud.errors import Conflict, NotFound
from cloud.lives import step

LIST_MAX = 500


class NoSuchUnit(NotFound):
    """A unit of the contract is neither an account nor a party."""


class ContractKept(Conflict):
    """A contract of that number is kept already."""


class NoContract(NotFound):
    """There is no such contract, or this person does not see it."""


class MovedMeanwhile(Conflict):
    """Somebody else has moved the contract meanwhile."""


@dataclass(frozen=True, slots=True)
class ContractRow:
    """A contract as it stands, with the names of its parties; `is_frozen` while a dispute is open."""

    contract_id: str
    kind: str
    source: str
    seller_id: int
    buyer_id: int
    seller_unit: str
    buyer_unit: str
    seller_name: str
    buyer_name: str
    drafter_id: int | None
    agreed: dict[str, Any] | None
    start_day: date
    end_day: date
    state: str
    version: int
    signed_at: datetime | None
    cooling_until: datetime | None
    effective_at: datetime | None
    entered_at: datetime
    entered_by: str
    is_frozen: bool

    @property
    def parties(self) -> tuple[int, int]:
        """Both parties by number: who sells, who buys."""
        return self.seller_id, self.buyer_id

    def side_of(self, party_id: int | None) -> str:
        """Name the side of a party; empty when it is none."""
        return {self.seller_id: "seller", self.buyer_id: "buyer"}.get(party_id or 0, "")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a contract; `document` is the hash of the paper or file it is founded on."""

    deed: str
    at: datetime
    actor: str
    reason: str = ""
    paper_no: int | None = None
    document: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event as it was kept."""

    event_id: int
    paper_no: int | None
    deed: str
    before: str
    after: str
    at: datetime
    actor: str
    party_id: int | None
    reason: str
    document: str
    facts: dict[str, Any]


_COLUMNS = """c.contract_id, c.kind, c.source, c.seller_id, c.buyer_id, c.seller_unit, c.buyer_unit,
    s.name AS seller_name, b.name AS buyer_name, c.drafter_id, c.agreed, c.start_day, c.end_day, c.state, c.version,
    c.signed_at, c.cooling_until, c.effective_at, c.entered_at, c.entered_by, contract_is_frozen(c.contract_id) AS is_frozen"""
_FROM = "contract c JOIN party s ON s.party_id = c.seller_id JOIN party b ON b.party_id = c.buyer_id"


def insert(conn: Conn, new: NewContract, at: datetime, by: str) -> str:
    """Enter a contract into its life: a trade's confirmation effective at once, every other as a draft.

    Safe to repeat: a contract of that number from the same source is left as it is. Returns its number.
    Raises NoSuchUnit, ContractKept.
    """
    state = step(CONTRACT, None, new.deed)
    seller_id, buyer_id = party_of_unit(conn, new.seller), party_of_unit(conn, new.buyer)
    is_trade = new.deed == "trade"
    inserted = conn.execute(
        """INSERT INTO contract (contract_id, kind, source, seller_id, buyer_id, seller_unit, buyer_unit, drafter_id,
                                 agreed, start_day, end_day, state, version, shown_at, signed_at, effective_at,
                                 entered_at, entered_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (contract_id) DO NOTHING""",
        (
            *(new.contract_id, new.kind, new.source, seller_id, buyer_id, new.seller, new.buyer),
            *(new.drafter_id, None if new.terms is None else Jsonb(terms_json(new.terms))),
            *(new.start_day, new.end_day, state, 1 if new.terms is None else new.terms.version),
            *(None if new.drafter_id else at, at if is_trade else None, at if is_trade else None, at, by),
        ),
    ).rowcount
    if inserted:
        names = [party_facts(conn, party_id)[0] for party_id in (seller_id, buyer_id)]
        text = "\n".join((new.contract_id, *names, new.seller, new.buyer, new.source))
        conn.execute(
            "SELECT contract_indexed(%s, %s, %s)",
            (new.contract_id, search.plain(text), list(search.grams(text))),
        )
        note(conn, new.contract_id, Event(new.deed, at, by, new.source), ("", state))
        return new.contract_id
    row = conn.execute("SELECT source FROM contract WHERE contract_id = %s", (new.contract_id,)).fetchone()
    if row is None or row[0] != new.source:
        raise ContractKept("contract_kept", contract=new.contract_id)
    return new.contract_id


def party_of_unit(conn: Conn, unit_id: str) -> int:
    """The party behind a unit: `party:N` itself, else the account's. Raises NoSuchUnit."""
    row = conn.execute("SELECT contract_unit_party(%s)", (unit_id,)).fetchone()
    if row is None or row[0] is None:
        raise NoSuchUnit("no_such_unit", unit=unit_id)
    return int(row[0])


def party_facts(conn: Conn, party_id: int) -> tuple[str, str, str]:
    """A party's name, state of registration, and 统一社会信用代码 as far as it is known."""
    row = conn.execute(
        "SELECT name, state, contract_identifier(party_id) FROM party WHERE party_id = %s", (party_id,)
    ).fetchone()
    if row is None:
        raise NoSuchUnit("no_such_unit", unit=f"party:{party_id}")
    return str(row[0]), str(row[1]), str(row[2])


def kind_of(conn: Conn, party_id: int) -> str:
    """What kind of market entity a party is. Raises NoSuchUnit."""
    row = conn.execute("SELECT kind FROM party WHERE party_id = %s", (party_id,)).fetchone()
    if row is None:
        raise NoSuchUnit("no_such_unit", unit=f"party:{party_id}")
    return str(row[0])


def units_of(conn: Conn, party_id: int) -> tuple[str, ...]:
    """The units that a party trades as: itself, and each of its accounts."""
    rows = conn.execute("SELECT account_id FROM account WHERE party_id = %s ORDER BY account_id", (party_id,))
    return (f"{PARTY_UNIT}{party_id}", *(str(row[0]) for row in rows))


def in_force(conn: Conn, kinds: Collection[str], but: int | None) -> tuple[tuple[str, str, str], ...]:
    """Parties of some kinds whose registration is in force, by name, but one: unit, name, kind; the first LIST_MAX."""
    rows = conn.execute(
        """SELECT party_id, name, kind FROM party WHERE state = 'effective' AND kind = ANY(%s)
           AND party_id IS DISTINCT FROM %s ORDER BY name, party_id LIMIT %s""",
        (sorted(kinds), but, LIST_MAX),
    )
    return tuple((f"{PARTY_UNIT}{party_id}", str(name), str(kind)) for party_id, name, kind in rows)


def is_kept(conn: Conn, contract_id: str) -> bool:
    """Whether there is a contract of that number; a market file may enter terms without one."""
    row = conn.execute(
        "SELECT EXISTS (SELECT FROM contract WHERE contract_id = %s)", (contract_id,)
    ).fetchone()
    return bool(row and row[0])


def next_number(conn: Conn) -> int:
    """Draw the next number for contracts that are drawn up here."""
    row = conn.execute("SELECT nextval('contract_number')").fetchone()
    assert row is not None
    return int(row[0])


def find(conn: Conn, contract_id: str, *, is_locked: bool = False) -> ContractRow:
    """Load a contract; `is_locked` holds it until the transaction's end. Raises NoContract."""
    lock = " FOR UPDATE OF c" if is_locked else ""
    with conn.cursor(row_factory=class_row(ContractRow)) as cursor:
        found = cursor.execute(
            f"SELECT {_COLUMNS} FROM {_FROM} WHERE c.contract_id = %s{lock}", (contract_id,)
        ).fetchone()
    if found is None:
        raise NoContract("not_found", kind="contract")
    return found


def of_parties(conn: Conn, party_id: int | None) -> tuple[ContractRow, ...]:
    """The contracts of a party, or everybody's with None, latest first; the first LIST_MAX."""
    return _load(
        conn,
        """WHERE %(party)s::bigint IS NULL OR c.seller_id = %(party)s OR c.buyer_id = %(party)s
           ORDER BY c.entered_at DESC, c.contract_id LIMIT %(most)s""",
        {"party": party_id, "most": LIST_MAX},
    )


def due(conn: Conn, now: datetime, today: date, most: int) -> tuple[str, ...]:
    """Contracts, not frozen, that the clock does something to: cooled, begun, over, to archive, or with a paper to apply."""
    rows = conn.execute(
        """SELECT c.contract_id FROM contract c
           WHERE NOT contract_is_frozen(c.contract_id)
             AND ((c.state = 'cooling' AND c.cooling_until <= %(now)s)
               OR (c.state = 'effective' AND c.start_day <= %(today)s) OR (c.state = 'executing' AND c.end_day <= %(today)s)
               OR (c.state IN ('completed', 'terminated', 'void') AND c.end_day + %(archive)s <= %(today)s)
               OR (c.state IN ('effective', 'executing')
                   AND EXISTS (SELECT FROM contract_paper p WHERE p.contract_id = c.contract_id AND p.state = 'signed'
                               AND p.purpose IN ('supplement', 'termination')
                               AND NOT EXISTS (SELECT FROM contract_event e
                                               WHERE (e.contract_id, e.paper_no) = (p.contract_id, p.paper_no)
                                               AND e.deed IN ('amend', 'terminate')))))
           ORDER BY c.contract_id LIMIT %(most)s""",
        {"now": now, "today": today, "archive": ARCHIVE_DAYS, "most": most},
    )
    return tuple(str(row[0]) for row in rows)


def running(conn: Conn, past: str, most: int) -> tuple[ContractRow, ...]:
    """Contracts in signature, cooling or in force behind a number, in its order: whom there is something to remind of."""
    return _load(
        conn,
        """WHERE c.state IN ('signing', 'cooling', 'effective', 'executing') AND c.contract_id > %(past)s
           ORDER BY c.contract_id LIMIT %(most)s""",
        {"past": past, "most": most},
    )


def move(conn: Conn, row: ContractRow, event: Event, **changed: object) -> str:
    """Take a contract along its life by the event's deed and note it; `changed` are columns to set beside the state.

    Returns the state after. Raises NoSuchMove, MovedMeanwhile.
    """
    after = step(CONTRACT, row.state, event.deed)
    if row.is_frozen and after not in (row.state, "void"):
        raise MovedMeanwhile("contract_frozen", contract=row.contract_id)
    allowed = ("version", "start_day", "end_day", "shown_at", "signed_at", "cooling_until", "effective_at")
    assert set(changed) <= set(allowed)
    sets = ", ".join(f"{name} = %({name})s" for name in changed)
    moved = conn.execute(
        f"""UPDATE contract SET state = %(after)s{", " if sets else ""}{sets}
            WHERE contract_id = %(id)s AND state = %(before)s""",
        {"after": after, "id": row.contract_id, "before": row.state, **changed},
    ).rowcount
    if moved != 1:
        raise MovedMeanwhile("contract_moved", contract=row.contract_id)
    note(conn, row.contract_id, event, (row.state, after))
    return after


def note(conn: Conn, contract_id: str, event: Event, states: tuple[str, str]) -> None:
    """Keep that something happened; `states` are those before and after. The party is that of the transaction."""
    conn.execute(
        """INSERT INTO contract_event (contract_id, paper_no, deed, before, after, at, actor, party_id, reason,
                                       document, facts)
           VALUES (%s, %s, %s, %s, %s, %s, %s, nullif(current_setting('app.party_id', true), '')::bigint, %s, %s, %s)""",
        (
            *(contract_id, event.paper_no, event.deed, *states, event.at, event.actor),
            *(event.reason, event.document, Jsonb(dict(event.facts))),
        ),
    )


def events_of(conn: Conn, contract_id: str) -> tuple[EventRow, ...]:
    """What happened to a contract, in order."""
    with conn.cursor(row_factory=class_row(EventRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT event_id, paper_no, deed, before, after, at, actor, party_id, reason, document, facts
                   FROM contract_event WHERE contract_id = %s ORDER BY event_id""",
                (contract_id,),
            )
        )


def _load(conn: Conn, rest: str, parameters: Mapping[str, object]) -> tuple[ContractRow, ...]:
    with conn.cursor(row_factory=class_row(ContractRow)) as cursor:
        return tuple(cursor.execute(f"SELECT {_COLUMNS} FROM {_FROM} {rest}", parameters))
