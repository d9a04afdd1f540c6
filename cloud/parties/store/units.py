"""SQL of consumption units 用电单元, the retailer of a user, and the accounts and points a party may group."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg.errors import CheckViolation, ExclusionViolation, UniqueViolation
from psycopg.rows import class_row

from cloud.db import Conn
from cloud.errors import Conflict, Invalid

LISTED_MAX: Final = 1000


class InOtherUnit(Conflict):
    """The supply point is in another unit in that time."""


class ForeignPoint(Invalid):
    """The supply point is not the party's."""


class OtherRetailer(Conflict):
    """Another retailer serves this user in that time (国能发监管规〔2024〕76号 art. 23)."""


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A consumption unit."""

    unit_no: int
    party_id: int
    name: str


@dataclass(frozen=True, slots=True)
class PointRow:
    """A supply point of a party and the unit it is in now, if any."""

    supply_point_id: str
    account_id: str
    name: str
    unit_no: int | None


@dataclass(frozen=True, slots=True)
class RelationRow:
    """A user and its retailer in `[start, end)`; end None: for good."""

    user_id: int
    user_name: str
    retailer_id: int
    retailer_name: str
    start: datetime
    end: datetime | None


def insert(conn: Conn, party_id: int, name: str, at: datetime, by: str) -> int:
    """Make a unit. Raises Conflict when the party has one of that name."""
    try:
        with conn.transaction():
            row = conn.execute(
                """INSERT INTO consumption_unit (party_id, name, made_at, made_by) VALUES (%s, %s, %s, %s)
                   RETURNING unit_no""",
                (party_id, name, at, by),
            ).fetchone()
    except UniqueViolation as problem:
        raise Conflict("unit_name_taken", name=name) from problem
    assert row is not None
    return int(row[0])


def find(conn: Conn, unit_no: int) -> UnitRow | None:
    """One unit, if this transaction may see it."""
    with conn.cursor(row_factory=class_row(UnitRow)) as cursor:
        return cursor.execute(
            "SELECT unit_no, party_id, name FROM consumption_unit WHERE unit_no = %s", (unit_no,)
        ).fetchone()


def of_party(conn: Conn, party_id: int) -> tuple[UnitRow, ...]:
    """The party's units by name."""
    with conn.cursor(row_factory=class_row(UnitRow)) as cursor:
        return tuple(
            cursor.execute(
                "SELECT unit_no, party_id, name FROM consumption_unit WHERE party_id = %s ORDER BY name LIMIT %s",
                (party_id, LISTED_MAX),
            )
        )


def points(conn: Conn, party_id: int, at: datetime) -> tuple[PointRow, ...]:
    """The party's supply points and the unit of each at an instant."""
    with conn.cursor(row_factory=class_row(PointRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT s.supply_point_id, s.account_id, s.name,
                          (SELECT u.unit_no FROM consumption_unit_point u
                           WHERE u.supply_point_id = s.supply_point_id AND u.effective @> %(at)s) AS unit_no
                   FROM supply_point s JOIN account a USING (account_id)
                   WHERE a.party_id = %(party)s ORDER BY s.account_id, s.supply_point_id LIMIT %(most)s""",
                {"party": party_id, "at": at, "most": LISTED_MAX},
            )
        )


def put_point(
    conn: Conn, unit_no: int, supply_point_id: str, start: datetime, act: tuple[datetime, str]
) -> None:
    """Put a supply point into a unit from an instant on; `act` is when and who. Raises InOtherUnit, ForeignPoint."""
    try:
        with conn.transaction():
            conn.execute(
                """INSERT INTO consumption_unit_point (unit_no, supply_point_id, effective, made_at, made_by)
                   VALUES (%s, %s, tstzrange(%s, NULL), %s, %s)""",
                (unit_no, supply_point_id, start, *act),
            )
    except ExclusionViolation as problem:
        raise InOtherUnit("point_in_other_unit", point=supply_point_id) from problem
    except CheckViolation as problem:
        raise ForeignPoint("not_found", kind="supply_point") from problem


def end_point(conn: Conn, supply_point_id: str, end: datetime) -> bool:
    """Take a supply point out of its unit from an instant on; False when it is in none then."""
    return (
        conn.execute(
            """UPDATE consumption_unit_point SET effective = tstzrange(lower(effective), %(end)s)
               WHERE supply_point_id = %(point)s AND effective @> %(end)s::timestamptz
                 AND lower(effective) < %(end)s""",
            {"point": supply_point_id, "end": end},
        ).rowcount
        == 1
    )


def serve(conn: Conn, source: str, pair: tuple[int, int], start: datetime, end: datetime | None) -> None:
    """Note that a retailer serves a user in `[start, end)`; `pair` is user, retailer; `source` 'contract:12', once.

    Raises OtherRetailer; nothing is then noted.
    """
    try:
        with conn.transaction():
            conn.execute(
                """INSERT INTO retail_service (source, user_id, retailer_id, effective)
                   VALUES (%s, %s, %s, tstzrange(%s, %s)) ON CONFLICT (source) DO NOTHING""",
                (source, *pair, start, end),
            )
    except ExclusionViolation as problem:
        raise OtherRetailer("other_retailer") from problem


def end_service(conn: Conn, source: str, end: datetime) -> bool:
    """End a service earlier; False when it has no instant after that."""
    return (
        conn.execute(
            """UPDATE retail_service SET effective = tstzrange(lower(effective), %(end)s)
               WHERE source = %(source)s AND lower(effective) < %(end)s
                 AND (upper_inf(effective) OR upper(effective) > %(end)s)""",
            {"source": source, "end": end},
        ).rowcount
        == 1
    )


def relations(conn: Conn, party_id: int) -> tuple[RelationRow, ...]:
    """Who serves the party as a user, or whom it serves as a retailer, newest first."""
    with conn.cursor(row_factory=class_row(RelationRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT r.user_id, u.name AS user_name, r.retailer_id, s.name AS retailer_name,
                          lower(r.effective) AS start, upper(r.effective) AS "end"
                   FROM retail_relation r JOIN party u ON u.party_id = r.user_id JOIN party s ON s.party_id = r.retailer_id
                   WHERE %(party)s IN (r.user_id, r.retailer_id)
                   ORDER BY lower(r.effective) DESC, u.name LIMIT %(most)s""",
                {"party": party_id, "most": LISTED_MAX},
            )
        )


def retailer_of(conn: Conn, user_id: int, at: datetime) -> int | None:
    """The retailer that serves a user at an instant."""
    row = conn.execute(
        "SELECT retailer_id FROM retail_relation WHERE user_id = %s AND effective @> %s::timestamptz",
        (user_id, at),
    ).fetchone()
    return None if row is None else int(row[0])
