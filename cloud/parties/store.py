"""SQL of parties, their contract accounts (户号) and dated terms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from cloud.db import Conn

ACCOUNTS_MAX = 500  # of one list


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A contract account and whose it is."""

    account_id: str
    party_id: int
    name: str
    address: str
    party_name: str


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


def find_account(conn: Conn, account_id: str) -> AccountRow | None:
    """The account of that number, if this transaction may see it."""
    with conn.cursor(row_factory=class_row(AccountRow)) as cursor:
        return cursor.execute(
            """SELECT a.account_id, a.party_id, a.name, a.address, p.name AS party_name
               FROM account a JOIN party p USING (party_id) WHERE a.account_id = %s""",
            (account_id,),
        ).fetchone()


def list_accounts(conn: Conn, party_id: int | None) -> tuple[AccountRow, ...]:
    """The party's accounts by number, or everybody's with None; the first ACCOUNTS_MAX."""
    with conn.cursor(row_factory=class_row(AccountRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT a.account_id, a.party_id, a.name, a.address, p.name AS party_name
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
                      contract_demand_kw
               FROM account_terms WHERE account_id = %s AND effective @> %s""",
            (account_id, at),
        ).fetchone()
