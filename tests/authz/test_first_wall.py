"""The routes' own wall: with row-level security switched off, a foreign object is still not found."""

from __future__ import annotations

import psycopg
import pytest
from pages import world
from pages.site import Site

WALLED = (
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


@pytest.fixture(autouse=True)
def wall_down(site: Site) -> None:
    with psycopg.connect(site.world.dsn) as conn:
        for table in WALLED:
            conn.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/{account}/live",
        "/accounts/{account}/live/now",
        "/accounts/{account}/live/events",
        "/accounts/{account}/usage",
        "/accounts/{account}/days/2026-08-11",
        "/accounts/{account}/months/2026-08",
        "/accounts/{account}/bills",
        "/bills/{bill}",
        "/bills/{bill}/json",
        "/bills/{bill}/pdf",
    ],
)
def test_a_foreign_object_is_not_found(site: Site, path: str) -> None:
    with site.client("yunling") as client:
        asked = path.format(account=world.STRANGER, bill=site.world.foreign_bill_id)

        assert client.get(asked).status_code == 404


def test_lists_hold_only_ones_own(site: Site) -> None:
    with site.client("yunling") as client:
        listed = {account["account_id"] for account in client.get("/accounts").json()["accounts"]}

    assert listed == {world.WORKSHOP, world.SHOP, world.SOLAR}


def test_a_customer_sees_no_draft(site: Site) -> None:
    with site.client("yunling") as client:
        assert client.get(f"/bills/{site.world.draft_bill_id}").status_code == 404
        assert client.get(f"/accounts/{world.SHOP}/bills").json()["bills"] == []
