"""SQL: instruments lodged as guarantee, and the entries that move them. Entries are only added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from psycopg.errors import CheckViolation, UniqueViolation
from psycopg.rows import class_row

from cloud.db import Conn
from cloud.errors import Conflict, NotNow


class InstrumentKnown(Conflict):
    """An instrument of that issuer and number is lodged already."""


class MoreThanLeft(NotNow):
    """More than is left of the instrument, or than may be taken back while orders and contracts need it."""


@dataclass(frozen=True, slots=True)
class InstrumentRow:
    """An instrument, what became of it, and what is left of it."""

    instrument_id: int
    party_id: int
    name: str
    form: str
    issuer: str
    reference: str
    amount_fen: int
    valid_from: date
    expires_on: date | None
    lodged_at: datetime
    lodged_by: str
    verdict: str | None
    left_fen: int


@dataclass(frozen=True, slots=True)
class EntryRow:
    """A row of the ledger."""

    entry_id: int
    kind: str
    amount_fen: int
    instrument_id: int | None
    purpose_key: str
    at: datetime
    actor: str
    reason: str


_INSTRUMENTS = """SELECT i.instrument_id, i.party_id, p.name, i.form, i.issuer, i.reference, i.amount_fen, i.valid_from,
                         i.expires_on, i.lodged_at, i.lodged_by, v.verdict, coalesce(l.left_fen, 0) AS left_fen
                  FROM guarantee_instrument i JOIN party p USING (party_id)
                       LEFT JOIN guarantee_verdict v USING (instrument_id)
                       LEFT JOIN guarantee_left l USING (instrument_id)"""


def insert(conn: Conn, facts: Mapping[str, object]) -> int:
    """Keep an instrument that a second person has yet to see. Raises InstrumentKnown."""
    try:
        with conn.transaction():
            row = conn.execute(
                """INSERT INTO guarantee_instrument (party_id, form, issuer, reference, amount_fen, valid_from, expires_on,
                                                     lodged_at, lodged_by)
                   VALUES (%(party_id)s, %(form)s, %(issuer)s, %(reference)s, %(amount_fen)s, %(valid_from)s,
                           %(expires_on)s, %(at)s, %(by)s) RETURNING instrument_id""",
                facts,
            ).fetchone()
    except UniqueViolation as problem:
        raise InstrumentKnown("instrument_known", reference=facts["reference"]) from problem
    assert row is not None
    return int(row[0])


def find(conn: Conn, instrument_id: int) -> InstrumentRow | None:
    """One instrument."""
    with conn.cursor(row_factory=class_row(InstrumentRow)) as cursor:
        return cursor.execute(f"{_INSTRUMENTS} WHERE i.instrument_id = %s", (instrument_id,)).fetchone()


def of_party(conn: Conn, party_id: int | None) -> tuple[InstrumentRow, ...]:
    """The instruments of a party, or of all; those that expire first come first."""
    with conn.cursor(row_factory=class_row(InstrumentRow)) as cursor:
        return tuple(
            cursor.execute(
                f"""{_INSTRUMENTS} WHERE %(party)s::bigint IS NULL OR i.party_id = %(party)s
                    ORDER BY i.expires_on NULLS LAST, i.instrument_id""",
                {"party": party_id},
            )
        )


def add(conn: Conn, instrument: InstrumentRow, entry: Mapping[str, object]) -> None:
    """Lodge, return or draw: kind, amount_fen, purpose_key, at, actor, reason. Raises MoreThanLeft."""
    facts = {**entry, "party_id": instrument.party_id, "instrument_id": instrument.instrument_id}
    try:
        with conn.transaction():
            conn.execute(
                """INSERT INTO guarantee_entry (party_id, kind, amount_fen, instrument_id, purpose_key, at, actor, reason)
                   VALUES (%(party_id)s, %(kind)s, %(amount_fen)s, %(instrument_id)s, %(purpose_key)s, %(at)s, %(actor)s,
                           %(reason)s)""",
                facts,
            )
    except CheckViolation as problem:
        raise MoreThanLeft("more_than_left") from problem


def entries(conn: Conn, party_id: int) -> tuple[EntryRow, ...]:
    """A party's ledger, the newest first."""
    with conn.cursor(row_factory=class_row(EntryRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT entry_id, kind, amount_fen, instrument_id, purpose_key, at, actor, reason FROM guarantee_entry
                   WHERE party_id = %s ORDER BY entry_id DESC LIMIT 200""",
                (party_id,),
            )
        )


def told_fen(conn: Conn, party_id: int) -> int:
    """What is reserved of a party's guarantee, without what sealed declarations bind: that is nobody's to know yet."""
    row = conn.execute("SELECT guarantee_told_fen(%s)", (party_id,)).fetchone()
    assert row is not None
    return int(row[0])


def balances(conn: Conn, party_id: int, day: date) -> tuple[int, int]:
    """What is lodged and in force on a day, and what is reserved of it."""
    row = conn.execute(
        "SELECT guarantee_held_fen(%s, %s), guarantee_reserved_fen(%s)", (party_id, day, party_id)
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])
