"""What the fleet page counts: gaps of the last seven whole days, also those of days without any row."""

from __future__ import annotations

from datetime import date, timedelta

import psycopg
from pages import world
from pages.site import Site


def gateway(site: Site, gateway_id: str) -> dict[str, object]:
    with site.client("staff") as client:
        rows: list[dict[str, object]] = client.get("/fleet").json()["gateways"]
    return next(row for row in rows if row["gateway_id"] == gateway_id)


def week(site: Site) -> list[date]:
    today = site.world.now.astimezone(world.BEIJING).date()
    return [today - timedelta(days=back) for back in range(1, 8)]


def test_a_missing_slot_a_missing_day_and_an_estimate_are_counted_once(site: Site) -> None:
    days = week(site)
    slots, nothing, estimates = [1] * 96, [None] * 96, [1] * 96
    slots[10:15], estimates[3] = [0] * 5, 3
    with psycopg.connect(site.world.dsn) as conn:  # GW001: the workshop and the shop, seven days of 96 each
        conn.execute("UPDATE interval_day SET quality = %s", ([1] * 96,))
        conn.execute("DELETE FROM interval_day WHERE supply_point_id = 'SP0001' AND day = %s", (days[0],))
        conn.execute(
            "UPDATE interval_day SET quality = %s WHERE supply_point_id = 'SP0002' AND day = %s",
            (slots, days[1]),
        )
        conn.execute(  # a later revision speaks for its day
            """INSERT INTO interval_day (supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh,
                                         quality, made_at, made_by)
               VALUES ('SP0002', %s, 2, %s, %s, %s, %s, %s, now(), 'test:1')""",
            (days[6], nothing, nothing, nothing, nothing, estimates),
        )

    row = gateway(site, "GW001")

    assert (row["expected"], row["missing"], row["estimated"]) == (2 * 7 * 96, 96 + 5, 1)


def test_conditions_are_told_apart(site: Site) -> None:
    assert gateway(site, "GW001")["condition"] == "online"
    assert gateway(site, "GW002")["condition"] == "behind"
    assert gateway(site, "GW003")["condition"] == "never"
    with psycopg.connect(site.world.dsn) as conn:
        conn.execute(
            "UPDATE gateway_status SET seen_at = seen_at - interval '6 minutes' WHERE gateway_id = 'GW001'"
        )

    assert gateway(site, "GW001")["condition"] == "offline"


def test_quarantined_messages_are_counted_by_verdict_and_good_ones_are_not(site: Site) -> None:
    assert gateway(site, "GW002")["quarantined"] == {"bad_signature": 3, "malformed": 1}
