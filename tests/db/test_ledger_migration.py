"""Bills that were issued before there was a ledger are booked when it comes."""

from __future__ import annotations

from importlib import resources

import psycopg

from cloud.billing.store import ledger as books
from cloud.db import migrate

BEFORE = ("0001", "0002", "0003", "0004", "0009")


def test_issued_bills_get_their_journals_and_an_older_revision_is_superseded(empty_database: str) -> None:
    folder = resources.files("cloud") / "schema"
    with psycopg.connect(empty_database) as conn:
        for name in sorted(each.name for each in folder.iterdir() if each.name.startswith(BEFORE)):
            conn.execute((folder / name).read_text("utf-8"))
        conn.execute("INSERT INTO party (kind, name) VALUES ('user', '示范园区')")
        conn.execute("INSERT INTO account SELECT '1300000000001', party_id, name, '示范园区' FROM party")
        for revision, fen in ((1, 900), (2, 1000)):
            row = conn.execute(
                """INSERT INTO bill (account_id, month, revision, total_fen, import_wh, state, facts, input_sha256, made_at)
                   VALUES ('1300000000001', '2026-08-01', %s, %s, 0, 'issued', %s, %s, '2026-09-03 10:00+08')
                   RETURNING bill_id""",
                (
                    *(revision, fen),
                    '{"segments": [{"files": [{"id": "f", "version": 1}]}], "intervals": '
                    '[{"supply_point_id": "SP1", "day": "2026-08-02", "revision": 3}]}',
                    bytes(32),
                ),
            ).fetchone()
            assert row is not None
            for number, (section, part) in enumerate((("energy", fen - 40), ("funds", 40)), start=1):
                conn.execute(
                    "INSERT INTO bill_line VALUES (%s, %s, %s, 'x', NULL, 1, 'kWh', 1, %s, '{}')",
                    (row[0], number, section, part),
                )
        conn.execute(
            "CREATE TABLE schema_migration (name text PRIMARY KEY, sha256 bytea, applied_at timestamptz)"
        )
        for name in sorted(each.name for each in folder.iterdir() if each.name.startswith(BEFORE)):
            conn.execute(
                "INSERT INTO schema_migration VALUES (%s, sha256(%s::bytea), now())",
                (name, (folder / name).read_bytes()),
            )

    migrate(empty_database)

    with psycopg.connect(empty_database) as conn:
        states = conn.execute("SELECT revision, state FROM bill ORDER BY revision").fetchall()
        balances = {row.account: row.balance_fen for row in books.trial_balance(conn, None, None)}
        (item,) = books.open_items(conn, "1300000000001")
        index = conn.execute(
            "SELECT supply_point_id, first_day::text, revisions FROM bill_interval"
        ).fetchall()
    assert states == [(1, "superseded"), (2, "issued")]
    assert balances == {
        "payable/government_funds": -40,
        "receivable/1300000000001": 1000,
        "revenue/energy": -960,
    }
    assert item.open_fen == 1000
    assert index == [("SP1", "2026-08-02", [3])] * 2
