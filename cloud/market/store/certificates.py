"""SQL: the ledger of green certificates, and the plants, months and batches behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import psycopg
from psycopg.rows import class_row

from cloud.db import Conn
from cloud.errors import Conflict, NotNow
from cloud.market.certificates import Due, Holding, KeyReused, Kind, Posting, Serials

ROWS_MAX = 500
_LOCK = 46  # see cloud/schema/0031_green.sql


class GoneMeanwhile(Conflict):
    """Somebody else moved these certificates first."""


class TradedAlready(NotNow):
    """A certificate is traded once (1044号)."""


@dataclass(frozen=True, slots=True)
class PlantRow:
    """A plant whose energy earns certificates."""

    unit_id: str
    party_id: int
    party_name: str
    name: str
    energy: str
    is_tradable: bool
    document: str


@dataclass(frozen=True, slots=True)
class MonthRow:
    """How a plant's month came to its certificates."""

    unit_id: str
    month: date
    party_id: int
    generation_kwh: int
    mechanism_kwh: int
    carry_before_kwh: int
    issued_mwh: int
    carry_after_kwh: int
    source: str


@dataclass(frozen=True, slots=True)
class PlaceRow:
    """A run of certificates, where it is, and what stands on it; `end` is the number after the last."""

    first: int
    end: int
    account: str
    party_id: int | None
    plant: str
    energy: str
    month: date
    is_traded: bool
    is_tradable: bool

    @property
    def holding(self) -> Holding:
        """The run as the ledger's arithmetic wants it."""
        return Holding(Serials(self.first, self.end), self.month, self.is_traded, self.is_tradable)

    @property
    def mwh(self) -> int:
        """How many certificates these are."""
        return self.end - self.first


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to be made."""

    kind: Kind
    idem_key: str
    postings: tuple[Posting, ...]
    contract_id: str | None = None
    price_ticks: int | None = None


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry as a party's ledger page lists it; mwh + into the party's account, - out of it."""

    entry_id: int
    kind: str
    account: str
    first: int
    end: int
    mwh: int
    contract_id: str | None
    price_ticks: int | None
    at: datetime


_PLACE = """SELECT lower(p.serials) AS first, upper(p.serials) AS end, p.account, p.party_id, b.plant, b.energy, b.month,
    p.is_traded, b.is_tradable FROM green_place p JOIN green_batch b ON b.entry_id = p.batch_id"""


def put_plant(conn: Conn, plant: PlantRow, at: datetime, actor: str) -> bool:
    """Enter a plant; False when it stands so already."""
    if any(each == plant for each in plants(conn)):
        return False
    conn.execute(
        """INSERT INTO green_plant (unit_id, party_id, name, energy, is_tradable, document, entered_at, entered_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            *(plant.unit_id, plant.party_id, plant.name, plant.energy, plant.is_tradable, plant.document),
            *(at, actor),
        ),
    )
    return True


def plants(conn: Conn) -> tuple[PlantRow, ...]:
    """The plants by unit, each by its latest entry."""
    with conn.cursor(row_factory=class_row(PlantRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT DISTINCT ON (g.unit_id) g.unit_id, g.party_id, p.name AS party_name, g.name, g.energy,
                          g.is_tradable, g.document
                   FROM green_plant g JOIN party p USING (party_id) ORDER BY g.unit_id, g.entry_no DESC"""
            )
        )


def months(conn: Conn, unit_id: str | None = None) -> tuple[MonthRow, ...]:
    """The months of a plant, or of all, in order."""
    with conn.cursor(row_factory=class_row(MonthRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT unit_id, month, party_id, generation_kwh, mechanism_kwh, carry_before_kwh, issued_mwh,
                          carry_after_kwh, source
                   FROM green_month WHERE %(unit)s::text IS NULL OR unit_id = %(unit)s ORDER BY month, unit_id""",
                {"unit": unit_id},
            )
        )


def insert_month(
    conn: Conn, row: MonthRow, found: Due, entry_id: int | None, made: tuple[datetime, str]
) -> None:
    """Keep how a month came to its certificates."""
    conn.execute(
        """INSERT INTO green_month (unit_id, month, party_id, generation_kwh, mechanism_kwh, carry_before_kwh,
               issued_mwh, carry_after_kwh, source, entry_id, at, actor)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            *(row.unit_id, row.month, row.party_id, row.generation_kwh, row.mechanism_kwh),
            *(found.carry_before_kwh, found.issued_mwh, found.carry_after_kwh, row.source, entry_id, *made),
        ),
    )


def lock_unit(conn: Conn, unit_id: str) -> None:
    """Let nobody else issue for this plant until the transaction's end."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", (unit_id, _LOCK))


def next_serial(conn: Conn) -> int:
    """The next free number; nobody else draws one until the transaction's end."""
    row = conn.execute("SELECT green_next_serial()").fetchone()
    assert row is not None
    return int(row[0])


def post(
    conn: Conn, entry: NewEntry, at: datetime, actor: str, batch: tuple[PlantRow, date] | None = None
) -> int:
    """Make an entry once: the same key with the same content again changes nothing. Return its number.

    Raises KeyReused, GoneMeanwhile, TradedAlready.
    """
    sha256 = _content_sha256(entry)
    row = conn.execute(
        """INSERT INTO green_entry (kind, idem_key, content_sha256, contract_id, price_ticks, at, actor)
           VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING entry_id""",
        (entry.kind.value, entry.idem_key, sha256, entry.contract_id, entry.price_ticks, at, actor),
    ).fetchone()
    if row is None:
        kept = find_entry(conn, entry.idem_key)
        if kept is None or kept[1] != sha256:
            raise KeyReused("green_key_reused", key=entry.idem_key)
        return kept[0]
    entry_id = int(row[0])
    if batch is not None:
        _insert_batch(conn, entry_id, batch, entry.postings)
    try:
        for no, each in enumerate(entry.postings, start=1):
            conn.execute(
                """INSERT INTO green_posting (entry_id, posting_no, kind, account, party_id, serials, mwh)
                   VALUES (%s, %s, %s, %s, nullif(split_part(%s, '/', 2), '')::bigint, int8range(%s, %s), %s)""",
                (
                    *(entry_id, no, entry.kind.value, each.account, each.account),
                    *(each.serials.start, each.serials.end, each.mwh),
                ),
            )
    except psycopg.errors.ExclusionViolation as problem:
        raise TradedAlready("green_traded_already") from problem
    except psycopg.errors.CheckViolation as problem:
        raise GoneMeanwhile("green_gone_meanwhile") from problem
    return entry_id


def find_entry(conn: Conn, idem_key: str) -> tuple[int, str] | None:
    """Number and content hash of the entry that was made under a key."""
    row = conn.execute(
        "SELECT entry_id, content_sha256 FROM green_entry WHERE idem_key = %s", (idem_key,)
    ).fetchone()
    return None if row is None else (int(row[0]), str(row[1]))


def _insert_batch(
    conn: Conn, entry_id: int, batch: tuple[PlantRow, date], postings: Sequence[Posting]
) -> None:
    plant, month = batch
    serials = postings[0].serials
    conn.execute(
        """INSERT INTO green_batch (entry_id, party_id, unit_id, plant, energy, month, is_tradable, serials)
           VALUES (%s, %s, %s, %s, %s, %s, %s, int8range(%s, %s))""",
        (
            *(entry_id, plant.party_id, plant.unit_id, plant.name, plant.energy, month, plant.is_tradable),
            *(serials.start, serials.end),
        ),
    )


def places(conn: Conn, account: str, unit_id: str | None = None) -> tuple[PlaceRow, ...]:
    """What lies at an account, in order of month and number; of one plant only, if it is named."""
    with conn.cursor(row_factory=class_row(PlaceRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_PLACE} WHERE p.account = %(account)s AND (%(unit)s::text IS NULL OR b.unit_id = %(unit)s)
                    ORDER BY b.month, lower(p.serials)""",
                {"account": account, "unit": unit_id},
            )
        )


def places_of(conn: Conn, party_id: int) -> tuple[PlaceRow, ...]:
    """Everything of a party, wherever it lies, newest production first."""
    with conn.cursor(row_factory=class_row(PlaceRow)) as cursor:
        return tuple(
            cursor.execute(
                f"{_PLACE} WHERE p.party_id = %s ORDER BY b.month DESC, lower(p.serials) LIMIT %s",
                (party_id, ROWS_MAX),
            )
        )


def used_places(conn: Conn, entry_id: int) -> tuple[PlaceRow, ...]:
    """The certificates that a use has used up, with their source."""
    with conn.cursor(row_factory=class_row(PlaceRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT lower(g.serials) AS first, upper(g.serials) AS end, g.account, g.party_id, b.plant, b.energy,
                          b.month, false AS is_traded, b.is_tradable
                   FROM green_posting g JOIN green_batch b ON b.serials @> g.serials
                   WHERE g.entry_id = %s AND g.mwh > 0 ORDER BY lower(g.serials)""",
                (entry_id,),
            )
        )


def old_places(conn: Conn, before: date) -> tuple[PlaceRow, ...]:
    """What is held or locked and was produced before a month."""
    with conn.cursor(row_factory=class_row(PlaceRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_PLACE} WHERE b.month < %s AND p.account ~ '^(held|locked)/' ORDER BY lower(p.serials)""",
                (before,),
            )
        )


def entries_of(conn: Conn, party_id: int | None) -> tuple[EntryRow, ...]:
    """The postings of a party, or of everybody, newest first; at most ROWS_MAX."""
    with conn.cursor(row_factory=class_row(EntryRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT e.entry_id, e.kind, g.account, lower(g.serials) AS first, upper(g.serials) AS end, g.mwh,
                          e.contract_id, e.price_ticks, e.at
                   FROM green_posting g JOIN green_entry e ON e.entry_id = g.entry_id
                   WHERE (%(party)s::bigint IS NULL OR g.party_id = %(party)s) AND g.mwh > 0
                   ORDER BY e.entry_id DESC, g.posting_no LIMIT %(most)s""",
                {"party": party_id, "most": ROWS_MAX},
            )
        )


def transferred_mwh(conn: Conn, contract_id: str) -> int:
    """How many certificates went along with a contract so far."""
    row = conn.execute(
        """SELECT coalesce(sum(g.mwh), 0) FROM green_posting g JOIN green_entry e ON e.entry_id = g.entry_id
           WHERE e.contract_id = %s AND e.kind = 'transfer' AND g.mwh > 0""",
        (contract_id,),
    ).fetchone()
    assert row is not None
    return int(row[0])


def _content_sha256(entry: NewEntry) -> str:
    content = [
        entry.kind.value,
        [[each.account, each.serials.start, each.serials.end, each.mwh] for each in entry.postings],
        entry.contract_id,
        entry.price_ticks,
    ]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
