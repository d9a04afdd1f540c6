"""SQL of parties, their contract accounts (户号) and dated terms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import psycopg
from psycopg.rows import class_row

from cloud.db import Conn
from cloud.errors import Conflict, NotFound

ACCOUNTS_MAX = 500  # of one list


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A contract account and whose it is."""

    account_id: str
    party_id: int
    name: str
    address: str
    party_name: str
    grid: str


@dataclass(frozen=True, slots=True)
class TermsRow:
    """The rating facts of an account in force at an instant."""

    account_id: str
    category: str
    purchase: str
    structure: str
    voltage: str
    demand_mode: str
    capacity_kva: int | None
    contract_demand_kw: int | None
    option: str


def find_account(conn: Conn, account_id: str) -> AccountRow | None:
    """The account of that number, if this transaction may see it."""
    with conn.cursor(row_factory=class_row(AccountRow)) as cursor:
        return cursor.execute(
            """SELECT a.account_id, a.party_id, a.name, a.address, p.name AS party_name, a.grid
               FROM account a JOIN party p USING (party_id) WHERE a.account_id = %s""",
            (account_id,),
        ).fetchone()


def list_accounts(conn: Conn, party_id: int | None) -> tuple[AccountRow, ...]:
    """The party's accounts by number, or everybody's with None; the first ACCOUNTS_MAX."""
    with conn.cursor(row_factory=class_row(AccountRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT a.account_id, a.party_id, a.name, a.address, p.name AS party_name, a.grid
                   FROM account a JOIN party p USING (party_id)
                   WHERE %(party_id)s::bigint IS NULL OR a.party_id = %(party_id)s
                   ORDER BY a.account_id LIMIT %(most)s""",
                {"party_id": party_id, "most": ACCOUNTS_MAX},
            )
        )


def find_terms(conn: Conn, account_id: str, at: datetime) -> TermsRow | None:
    """The terms of the account in force at the instant."""
    with conn.cursor(row_factory=class_row(TermsRow)) as cursor:
        return cursor.execute(
            """SELECT account_id, category, purchase, structure, voltage, demand_mode, capacity_kva,
                      contract_demand_kw, option
               FROM account_terms WHERE account_id = %s AND effective @> %s""",
            (account_id, at),
        ).fetchone()


@dataclass(frozen=True, slots=True)
class DatedTerms:
    """Rating facts of an account in `[start, end)`; `end` is None while they last."""

    account_id: str
    start: datetime
    end: datetime | None
    category: str
    purchase: str
    structure: str
    voltage: str
    demand_mode: str
    capacity_kva: int | None
    contract_demand_kw: int | None
    power_factor_standard: Decimal | None
    option: str = ""


def find_party(conn: Conn, name: str) -> int | None:
    """The number of the party of that name."""
    row = conn.execute("SELECT party_id FROM party WHERE name = %s", (name,)).fetchone()
    return None if row is None else int(row[0])


def state_of(conn: Conn, party_id: int) -> str | None:
    """Where the party stands in its life (cloud/parties/party.py); only 'effective' may trade."""
    row = conn.execute("SELECT state FROM party WHERE party_id = %s", (party_id,)).fetchone()
    return None if row is None else str(row[0])


def put_party(conn: Conn, name: str, kind: str) -> int:
    """Register a party by its name, or find it; return its number."""
    row = conn.execute(
        """INSERT INTO party (name, kind) VALUES (%s, %s)
           ON CONFLICT (name) DO UPDATE SET kind = excluded.kind RETURNING party_id""",
        (name, kind),
    ).fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True, slots=True)
class NewAccount:
    """A contract account to register; `grid` is the grid company's area it is in."""

    account_id: str
    party_id: int
    name: str
    address: str
    grid: str


def put_account(conn: Conn, account: NewAccount) -> bool:
    """Register an account or renew its name and address; False when it is another party's or in another grid."""
    return (
        conn.execute(
            """INSERT INTO account AS a (account_id, party_id, name, address, grid) VALUES (%s, %s, %s, %s, %s)
               ON CONFLICT (account_id) DO UPDATE SET name = excluded.name, address = excluded.address
               WHERE (a.party_id, a.grid) = (excluded.party_id, excluded.grid)""",
            (account.account_id, account.party_id, account.name, account.address, account.grid),
        ).rowcount
        == 1
    )


def put_year_opening(conn: Conn, account_id: str, month: date, kwh: int) -> bool:
    """Note the kWh an account used in the calendar year before `month`; False when others are noted already."""
    conn.execute(
        "INSERT INTO year_opening (account_id, month, kwh) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (account_id, month, kwh),
    )
    return (
        conn.execute(
            "SELECT FROM year_opening WHERE (account_id, month, kwh) = (%s, %s, %s)", (account_id, month, kwh)
        ).fetchone()
        is not None
    )


class TermsOverlap(Conflict):
    """Other terms of the account are in force in that time."""


class NoSuchAccount(NotFound):
    """There is no account of that number."""


def put_terms(conn: Conn, terms: DatedTerms) -> bool:
    """Add terms, or end those of the same start and content; False when the same start has other content.

    Raises TermsOverlap; then the transaction can only be rolled back.
    """
    try:
        return _put_terms(conn, terms)
    except psycopg.errors.ExclusionViolation as problem:
        raise TermsOverlap("terms_overlap", account=terms.account_id) from problem


def _put_terms(conn: Conn, terms: DatedTerms) -> bool:
    facts = (
        *(terms.category, terms.purchase, terms.structure, terms.voltage, terms.demand_mode),
        *(terms.capacity_kva, terms.contract_demand_kw, terms.power_factor_standard, terms.option),
    )
    kept = conn.execute(
        """SELECT category, purchase, structure, voltage, demand_mode, capacity_kva, contract_demand_kw,
                  power_factor_standard, option
           FROM account_terms WHERE account_id = %s AND lower(effective) = %s FOR UPDATE""",
        (terms.account_id, terms.start),
    ).fetchone()
    if kept is None:
        conn.execute(
            """INSERT INTO account_terms (account_id, effective, category, purchase, structure, voltage, demand_mode,
                                          capacity_kva, contract_demand_kw, power_factor_standard, option)
               VALUES (%s, tstzrange(%s, %s), %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            (terms.account_id, terms.start, terms.end, *facts),
        )
        return True
    conn.execute(
        """UPDATE account_terms SET effective = tstzrange(%s, %s)
           WHERE account_id = %s AND lower(effective) = %s AND upper(effective) IS DISTINCT FROM %s""",
        (terms.start, terms.end, terms.account_id, terms.start, terms.end),
    )
    return kept == facts


def put_supply_point(conn: Conn, supply_point_id: str, account_id: str, name: str) -> bool:
    """Register a supply point or renew its name; False when it belongs to another account. Raises NoSuchAccount."""
    try:
        changed = conn.execute(
            """INSERT INTO supply_point AS s (supply_point_id, account_id, name) VALUES (%s, %s, %s)
               ON CONFLICT (supply_point_id) DO UPDATE SET name = excluded.name
               WHERE s.account_id = excluded.account_id""",
            (supply_point_id, account_id, name),
        ).rowcount
    except psycopg.errors.ForeignKeyViolation as problem:
        raise NoSuchAccount("no_such_account", account=account_id) from problem
    return changed == 1
