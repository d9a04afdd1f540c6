"""Row-level security: what a transaction with a person's scope sees, whatever the query forgot to ask."""

from __future__ import annotations

import psycopg
import pytest
from pages import world
from pages.site import Site

from cloud import db

TABLES = (
    "account",
    "account_terms",
    "supply_point",
    "installation",
    "interval_day",
    "finding",
    "live_value",
    "bill",
    "bill_line",
)
OWNER_OF = {
    "account": "SELECT DISTINCT party_id FROM account",
    "account_terms": "SELECT DISTINCT party_id FROM account_terms JOIN account USING (account_id)",
    "supply_point": "SELECT DISTINCT party_id FROM supply_point JOIN account USING (account_id)",
    "bill": "SELECT DISTINCT party_id FROM bill JOIN account USING (account_id)",
    "interval_day": "SELECT DISTINCT party_id FROM interval_day JOIN supply_point USING (supply_point_id) JOIN account USING (account_id)",
}


def scope(role: str, party_id: int | None = None) -> db.Scope:
    return db.Scope(db.ProcessRole.API, role, party_id, "user:1")


def counts(site: Site, as_whom: db.Scope) -> dict[str, int]:
    with psycopg.connect(site.world.dsn) as conn:
        db.take_scope(conn, as_whom)
        found = {}
        for table in TABLES:
            row = conn.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert row
            found[table] = int(row[0])
        return found


def test_a_transaction_for_nobody_sees_no_customers_rows(site: Site) -> None:
    assert counts(site, scope("")) == dict.fromkeys(TABLES, 0)
    assert counts(site, scope("customer", None)) == dict.fromkeys(TABLES, 0)


@pytest.mark.parametrize("table", OWNER_OF)
def test_a_customers_transaction_sees_rows_of_the_own_party_only(site: Site, table: str) -> None:
    with psycopg.connect(site.world.dsn) as conn:
        db.take_scope(conn, scope("customer", 1))
        assert conn.execute(OWNER_OF[table]).fetchall() == [(1,)]


def test_staff_see_everything_a_customer_a_true_part_of_it(site: Site) -> None:
    staff, customer = counts(site, scope("staff")), counts(site, scope("customer", 1))

    assert all(0 < customer[table] < staff[table] for table in TABLES)


def test_a_regulator_sees_no_accounts_bills_or_readings(site: Site) -> None:
    assert counts(site, scope("regulator")) == dict.fromkeys(TABLES, 0)


def test_drafts_are_seen_by_staff_only(site: Site) -> None:
    for role, party, seen in (
        ("staff", None, 1),
        ("customer", 1, 0),
        ("technician", None, 0),
        ("regulator", None, 0),
    ):
        with psycopg.connect(site.world.dsn) as conn:
            db.take_scope(conn, scope(role, party))
            found = conn.execute(
                "SELECT count(*) FROM bill WHERE bill_id = %s", (site.world.draft_bill_id,)
            ).fetchone()
            assert found == (seen,), role


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bill SET total_fen = 0",
        "DELETE FROM bill_line",
        "UPDATE interval_day SET import_wh = import_wh",
        "DELETE FROM audit_event",
        "UPDATE app_user SET role = 'staff', party_id = NULL",
        "INSERT INTO account (account_id, party_id, name, address) VALUES ('1300000000077', 1, 'x', 'x')",
        "SELECT count(*) FROM reading",
        "SELECT count(*) FROM claim",
    ],
)
def test_the_pages_process_may_not(site: Site, statement: str) -> None:
    with psycopg.connect(site.world.dsn) as conn:
        db.take_scope(conn, scope("staff"))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(statement)


def test_a_customer_cannot_be_another_by_asking(site: Site) -> None:
    with site.client("yunling") as client:
        answer = client.get(
            f"/accounts/{world.STRANGER}/live",
            params={"party_id": 3, "role": "staff"},
            headers={"x-forwarded-user": "staff"},
        )

    assert answer.status_code == 404
