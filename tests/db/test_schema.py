"""The schema itself: migrations that refuse to differ, exclusive installations, least privilege, walls between customers."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import psycopg
import pytest
from ingest_world import build, site_text
from psycopg.conninfo import conninfo_to_dict

from cloud import db
from cloud.db import ProcessRole, SchemaChanged, SchemaUnknown, Scope, migrate, open_pool, transaction
from cloud.errors import Unavailable
from cloud.metering.store import partitions


def test_migrating_again_changes_nothing(empty_database: str) -> None:
    assert migrate(empty_database)[0] == "0001_security.sql"
    assert migrate(empty_database) == ()


def test_two_at_once_migrate_once(empty_database: str) -> None:
    applied: list[tuple[str, ...]] = []
    threads = [threading.Thread(target=lambda: applied.append(migrate(empty_database))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(names) for names in applied) == [0, len(max(applied, key=len))]


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ("UPDATE schema_migration SET sha256 = '\\x00' WHERE name = '0003_metering.sql'", SchemaChanged),
        ("INSERT INTO schema_migration VALUES ('9999_future.sql', '\\x00')", SchemaUnknown),
    ],
)
def test_a_database_that_differs_is_refused_in_one_line(database: str, change: str, refusal: type) -> None:
    with psycopg.connect(database) as conn:
        conn.execute(change)
    with pytest.raises(refusal) as told:
        migrate(database)
    assert "\n" not in str(told.value)
    assert ("0003_metering.sql" in str(told.value)) or ("9999_future.sql" in str(told.value))


def test_a_server_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        db.wait_ready("host=127.0.0.1 port=1", 0.2)
    with pytest.raises(Unavailable):
        migrate("host=127.0.0.1 port=1")


@pytest.mark.parametrize(
    ("meter_key", "supply_point"),
    [(1, "SP-GW1M2"), (2, "SP-GW1M1")],
    ids=["a meter in two places", "two meters at one supply point"],
)
def test_places_are_exclusive_in_time(database: str, meter_key: int, supply_point: str) -> None:
    build(database, ("GW1",), 2)
    insert = """INSERT INTO installation (meter_key, supply_point_id, gateway_id, multiplier, period)
                VALUES (%s, %s, 'GW1', 1, tstzrange('2026-06-01Z', '2026-07-01Z'))"""
    with psycopg.connect(database) as conn:
        conn.execute(
            "DELETE FROM installation WHERE meter_key = 2 AND supply_point_id <> %s", (supply_point,)
        )
        with pytest.raises(psycopg.errors.ExclusionViolation):
            conn.execute(insert, (meter_key, supply_point))
    with psycopg.connect(database) as conn:
        conn.execute("DELETE FROM installation")
        conn.execute(insert, (meter_key, supply_point))
        conn.execute(
            insert.replace("2026-06-01Z", "2026-07-01Z").replace("'2026-07-01Z')", "'2026-08-01Z')"),
            (meter_key, supply_point),
        )


EVIDENCE = (
    "sealed_batch",
    "reading",
    "interval_day",
    "finding",
    "bill_line",
    "audit_event",
    "gateway_event",
    "batch_loss",
)


def test_nobody_may_change_or_remove_evidence(database: str) -> None:
    with psycopg.connect(database) as conn:
        held = conn.execute(
            """SELECT r, t FROM unnest(%s::text[]) r, unnest(%s::text[]) t
               WHERE has_any_column_privilege(r, t, 'UPDATE') OR has_table_privilege(r, t, 'DELETE')
                  OR has_table_privilege(r, t, 'TRUNCATE')""",
            ([role.value for role in ProcessRole if role], list(EVIDENCE)),
        ).fetchall()
    assert held == []


BEYOND = (
    (ProcessRole.INGEST, "SELECT * FROM app_user"),
    (ProcessRole.INGEST, "INSERT INTO interval_day SELECT * FROM interval_day"),
    (ProcessRole.WORKER, "INSERT INTO reading SELECT * FROM reading"),
    (ProcessRole.WORKER, "SELECT * FROM user_session"),
    (ProcessRole.API, "SELECT * FROM reading"),
    (ProcessRole.API, "INSERT INTO gateway (gateway_id, name) VALUES ('GW9', 'x')"),
    (ProcessRole.PROVISION, "SELECT * FROM reading"),
    (ProcessRole.PROVISION, "UPDATE bill SET total_fen = 0"),
)


def test_each_process_may_do_its_own_work_only(database: str) -> None:
    with open_pool(database, size_max=1) as pool:
        for role, statement in BEYOND:
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                transaction(pool, Scope(role, person_role="staff")) as conn,
            ):
                conn.execute(statement)


def test_a_scope_ends_with_its_transaction(database: str) -> None:
    with open_pool(database, size_max=1) as pool:
        with transaction(pool, Scope(ProcessRole.API, "customer", 4711)) as conn:
            assert conn.execute("SELECT current_user, current_setting('app.party_id')").fetchone() == (
                "shoudian_api",
                "4711",
            )
        with transaction(pool, Scope(ProcessRole.OWNER)) as conn:
            user = conninfo_to_dict(database)["user"]
            assert conn.execute("SELECT current_user, current_setting('app.party_id')").fetchone() == (
                user,
                "",
            )


SEEN = """SELECT (SELECT count(*) FROM account), (SELECT count(*) FROM account_terms), (SELECT count(*) FROM supply_point),
                 (SELECT count(*) FROM installation), (SELECT count(*) FROM interval_day), (SELECT count(*) FROM live_value)"""


def test_a_customer_sees_the_own_partys_rows_and_nobodys_else(database: str) -> None:
    from cloud.site import import_site, site_from

    build(database, ("GW1",), 2)
    other = site_text(("GW8",), 1).replace("示范纺织", "示范造纸").replace("3700000000001", "3700000000002")
    with psycopg.connect(database) as conn:
        import_site(conn, site_from(other, "other.toml"))
        conn.execute("INSERT INTO live_value SELECT meter_key, now(), '{}' FROM meter")
        conn.execute(
            """INSERT INTO interval_day (supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh,
                                         quality, made_at, made_by)
               SELECT supply_point_id, '2026-08-03', 1, a, a, a, a, a::smallint[], now(), 'test'
               FROM supply_point, (SELECT array_fill(0::bigint, ARRAY[96]) AS a) z"""
        )
        parties = dict(conn.execute("SELECT name, party_id FROM party").fetchall())

    def seen(person_role: str, party_id: int | None) -> tuple[int, ...]:
        with (
            open_pool(database, size_max=1) as pool,
            transaction(pool, Scope(ProcessRole.API, person_role, party_id)) as conn,
        ):
            return conn.execute(SEEN).fetchone()

    assert seen("staff", None) == (2, 2, 3, 3, 3, 3)
    assert seen("customer", parties["示范纺织有限公司"]) == (1, 1, 2, 2, 2, 2)
    assert seen("customer", parties["示范造纸有限公司"]) == (1, 1, 1, 1, 1, 1)
    assert seen("customer", None) == (0,) * 6
    assert seen("", None) == (0,) * 6


def test_partitions_are_made_once_whatever_width_was_used_before(database: str) -> None:
    noon = datetime(2026, 8, 12, 4, tzinfo=UTC)
    with psycopg.connect(database) as conn:
        assert partitions.ensure_partitions(conn, [noon], 1) == 1
        assert partitions.ensure_partitions(conn, [noon, noon + timedelta(hours=11)], 7) == 0
        assert (
            partitions.ensure_partitions(conn, [noon - timedelta(days=1), noon + timedelta(days=1)], 7) == 2
        )
        bounds = partitions.partition_bounds(conn)
    assert [end - start for start, end in bounds] == [timedelta(days=2), timedelta(days=1), timedelta(days=4)]
    assert all(before[1] == after[0] for before, after in pairwise(bounds))


def test_the_server_is_asked_what_it_has(database: str) -> None:
    now = datetime(2026, 8, 12, tzinfo=UTC)
    with psycopg.connect(database) as conn:
        storage = partitions.prepare_readings(conn, now, 7)
        again = partitions.prepare_readings(conn, now, 7)
        bounds = partitions.partition_bounds(conn)
        has_timescale = conn.execute(
            "SELECT current_setting('shared_preload_libraries') LIKE '%timescaledb%'"
        ).fetchone()
    assert storage == again
    if has_timescale == (True,):
        assert storage.keeping is partitions.Keeping.HYPERTABLE
    else:
        assert storage == partitions.Storage(partitions.Keeping.NATIVE, "none", False, False)
        assert bounds[0][0] <= now
        assert bounds[-1][1] >= now + timedelta(days=35)
