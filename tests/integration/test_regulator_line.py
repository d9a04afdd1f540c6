"""Reports built from a real database, checked, handed in over a real socket, corrected; what a regulator can and cannot see."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg
import pytest
from market_world import admitted_party

from cloud import db
from cloud.config import load_config
from cloud.db import Pool, ProcessRole, Scope, open_pool
from cloud.files import FolderVault
from cloud.lives import NoSuchMove
from cloud.market.run import report as run
from cloud.market.run.report import NotOver, NotSound, ReasonMissing, Wanted
from cloud.outside.regulator import connected, errands
from cloud.outside.regulator.client import HttpRegulator
from cloud.outside.regulatorsim.server import Simulator

NOW = datetime(2026, 11, 5, 2, 0, tzinfo=UTC)
OCTOBER = date(2026, 10, 1)


@dataclass
class World:
    dsn: str
    pool: Pool
    vault: FolderVault
    simulator: Simulator
    regulator: HttpRegulator

    def build(self, report: str, first: date = OCTOBER, reason: str = "") -> int:
        with db.transaction(self.pool, errands.SCOPE) as conn:
            return run.build(conn, self.vault, Wanted(report, first, reason), "user:1", NOW).version_id

    def submit(self, version_id: int) -> bool:
        return errands.submit(self.pool, self.vault, self.regulator, version_id, "user:1", NOW)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(query).fetchall()

    def do(self, statement: str) -> None:
        with psycopg.connect(self.dsn) as conn:
            conn.execute(statement)


@pytest.fixture
def place(database: str, tmp_path: Path) -> Iterator[World]:
    simulator = Simulator(tmp_path / "regulator", ("127.0.0.1", 0), lambda: NOW)
    thread = threading.Thread(target=simulator.run)
    thread.start()
    pool = open_pool(database, size_max=3)
    lines = (tmp_path / "regulator" / "regulator.env").read_text().splitlines()
    regulator = connected(
        load_config({"SHOUDIAN_DSN": database} | dict(line.split("=", 1) for line in lines))
    )
    assert regulator is not None
    fill(database)
    try:
        yield World(database, pool, FolderVault(tmp_path / "files"), simulator, regulator)
    finally:
        pool.close()
        simulator.close()
        thread.join(timeout=5)


def fill(dsn: str) -> None:
    """Two sellers, one buyer, three volumes of October, one of which was replaced by a second version."""
    with psycopg.connect(dsn) as conn:
        sellers = [admitted_party(conn, "generator", name) for name in ("示范电厂甲", "示范电厂乙")]
        buyer = admitted_party(conn, "retailer", "示范售电公司")
        conn.execute("INSERT INTO party (kind, name) VALUES ('user', '某居民')")
        for contract, version, seller, mwh in (
            ("C1", 1, sellers[0], "100"),
            ("C2", 1, sellers[1], "50.5"),
            ("C2", 2, sellers[1], "60.125"),
        ):
            conn.execute(
                """INSERT INTO wholesale_contract VALUES (%s, %s, 'auction', %s, %s, '2026-09-20', '', 'flat', '{}', '{}',
                       now(), 'test')""",
                (contract, version, f"party:{seller}", f"party:{buyer}"),
            )
            conn.execute(
                "INSERT INTO wholesale_volume VALUES (%s, %s, 1, '2026-10-01', 'month', %s, 372.05, 0)",
                (contract, version, mwh),
            )


def test_a_report_is_built_checked_handed_in_and_receipted(place: World) -> None:
    version_id = place.build("trades-monthly")

    assert place.submit(version_id)

    body = json.loads(place.vault.get(str(place.rows("SELECT sha256 FROM report_version")[0][0])))
    # By hand: 100 x 372.05 = 37205.00 and 60.125 x 372.05 = 22369.50625
    assert [(row[0], row[6], row[8]) for row in body["rows"]] == [
        ("C1", "100", "37205.00"),
        ("C2", "60.125", "22369.51"),
    ]
    assert place.rows("SELECT state, receipt_no, is_sound, due FROM report_version") == [
        ("accepted", "HB000001", True, date(2026, 11, 11))
    ]
    assert place.simulator.reports["trades-monthly", "2026-10"] == [body]
    assert place.rows("SELECT deed FROM report_event ORDER BY event_id") == [
        ("build",),
        ("submit",),
        ("accept",),
    ]


@pytest.mark.parametrize("fault", ["500", "lost", "signature"])
def test_a_fault_of_the_line_neither_loses_nor_doubles_a_report(place: World, fault: str) -> None:
    version_id = place.build("trades-monthly")
    place.simulator.faults = [fault]

    assert not place.submit(version_id)
    assert place.rows("SELECT state FROM report_version") == [("submitted",)]
    errands.look(place.pool, place.vault, place.regulator, NOW)

    assert place.rows("SELECT state, receipt_no FROM report_version") == [("accepted", "HB000001")]
    assert len(place.simulator.reports["trades-monthly", "2026-10"]) == 1


def test_a_correction_is_a_new_revision_with_its_reason_and_replaces_when_accepted(place: World) -> None:
    first = place.build("trades-monthly")
    place.submit(first)
    place.do(
        "INSERT INTO wholesale_contract SELECT 'C1', 2, kind, seller, buyer, signed, document, shape, curve, green_users, now(), 'test' FROM wholesale_contract WHERE contract_id = 'C1'"
    )
    place.do("INSERT INTO wholesale_volume VALUES ('C1', 2, 1, '2026-10-01', 'month', 90, 372.05, 0)")

    with pytest.raises(ReasonMissing):
        place.build("trades-monthly")
    second = place.build("trades-monthly", reason="合同变更")
    assert place.rows("SELECT state FROM report_version ORDER BY revision") == [("accepted",), ("built",)]
    place.submit(second)

    assert place.rows("SELECT revision, state, reason FROM report_version ORDER BY revision") == [
        (1, "replaced", ""),
        (2, "accepted", "合同变更"),
    ]
    assert [said["revision"] for said in place.simulator.reports["trades-monthly", "2026-10"]] == [1, 2]


def test_what_the_regulator_returns_says_why_and_is_made_anew(place: World) -> None:
    version_id = place.build("trades-monthly")
    place.simulator.faults = ["return"]

    assert place.submit(version_id)

    assert place.rows("SELECT state, answer FROM report_version") == [("returned", "请补充说明")]
    assert place.rows("SELECT key FROM notice WHERE key = 'report.returned'") == [("report.returned",)]
    again = place.build("trades-monthly", reason="补充说明")
    assert place.submit(again)
    assert place.rows("SELECT state FROM report_version ORDER BY revision") == [("replaced",), ("accepted",)]


def test_an_unsound_report_cannot_be_handed_in_by_anybody(place: World) -> None:
    place.do(
        "INSERT INTO wholesale_contract VALUES ('C3', 1, 'auction', 'party:1', 'party:999', '2026-09-20', '', 'flat', '{}', '{}', now(), 'test')"
    )
    place.do("INSERT INTO wholesale_volume VALUES ('C3', 1, 1, '2026-10-01', 'month', 1, 1, 0)")
    version_id = place.build("trades-monthly")

    with pytest.raises(NotSound) as refused:
        place.submit(version_id)

    assert refused.value.facts["checks"] == "both_sides_known"
    for state in ("submitted", "accepted"):
        with psycopg.connect(place.dsn) as conn, pytest.raises(psycopg.errors.CheckViolation):
            conn.execute("UPDATE report_version SET state = %s", (state,))
    assert place.simulator.reports == {}


def test_entities_are_those_of_the_register_and_no_resident(place: World) -> None:
    version_id = place.build("entities-quarterly", date(2026, 7, 1))

    assert place.rows(f"SELECT row_count, is_sound FROM report_version WHERE version_id = {version_id}") == [
        (3, True)
    ]
    body = place.vault.get(str(place.rows("SELECT sha256 FROM report_version")[0][0])).decode()
    assert "示范电厂甲" in body
    assert "某居民" not in body


def test_a_period_that_is_not_over_has_no_report_and_one_on_its_way_no_correction(place: World) -> None:
    with pytest.raises(NotOver):
        place.build("trades-monthly", date(2026, 11, 1))
    version_id = place.build("trades-monthly")
    place.simulator.faults = ["500"]
    place.submit(version_id)
    with pytest.raises(NoSuchMove):
        place.build("trades-monthly", reason="等不及")


def test_a_report_moves_only_along_its_life_and_is_never_edited(place: World) -> None:
    place.submit(place.build("trades-monthly"))
    for change in ("state = 'built'", "sha256 = repeat('0', 64)", "receipt_no = 'X'", "row_count = 0"):
        with psycopg.connect(place.dsn) as conn, pytest.raises(psycopg.errors.CheckViolation):
            conn.execute(f"UPDATE report_version SET {change}")
    with psycopg.connect(place.dsn) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("DELETE FROM report_version")


def test_staff_are_reminded_once_of_what_is_due(place: World) -> None:
    for _ in range(2):
        errands.look(place.pool, place.vault, None, datetime(2026, 11, 12, 1, tzinfo=UTC))

    found = place.rows("SELECT key, facts ->> 'report', facts ->> 'due' FROM notice ORDER BY notice_id")
    assert ("report.due", "settlement-monthly", "2026-11-17") in found
    assert ("report.late", "trades-monthly", "2026-11-11") in found
    assert len(found) == len(set(found))


def test_published_policies_are_entered_once_and_repeal_others(place: World) -> None:
    facts = {"issuer": "示范监管局", "issued": "2026-10-20", "effective": "2026-11-01"}
    place.simulator.policies = [
        {"number": "示范〔2025〕1号", "title": "旧规则", **facts, "effective": "2025-01-01"},
        {
            "number": "示范〔2026〕7号",
            "title": "新规则",
            **facts,
            "relations": [{"kind": "repeals", "number": "示范〔2025〕1号"}],
        },
        {"number": "x", "title": "太短", **facts},
    ]

    counts = [errands.fetch_policies(place.pool, place.regulator, NOW) for _ in range(2)]

    assert counts == [2, 0]
    assert place.rows("SELECT kind, other_number FROM policy_relation") == [("repeals", "示范〔2025〕1号")]
    errands.look(place.pool, place.vault, None, NOW)
    told = place.rows("SELECT key FROM notice WHERE key LIKE 'policy.%' ORDER BY key")
    assert told == [("policy.published",), ("policy.published",), ("policy.repealed",)]


# What belongs to persons, and what only the operator's staff or the owner may know: closed to the regulator's role.
CLOSED = (
    *(
        "account",
        "account_terms",
        "supply_point",
        "installation",
        "interval_day",
        "bill",
        "bill_line",
        "finding",
    ),
    *(
        "statement",
        "settlement_unit",
        "market_quantity",
        "exchange_message",
        "exchange_session",
        "notice",
        "policy_read",
    ),
)


def test_a_regulator_reads_contracts_and_nothing_of_persons(place: World) -> None:
    with psycopg.connect(place.dsn) as conn:
        conn.execute("INSERT INTO account VALUES ('1300000000001', 4, '某居民', '某街1号')")
        conn.execute(
            "INSERT INTO notice (party_id, key, facts, path, idem_key, at) VALUES (NULL, 'x', '{}', '/x', 'x', now())"
        )
    scope = Scope(ProcessRole.API, "regulator", None, "user:77")
    with db.transaction(place.pool, scope) as conn:
        assert conn.execute("SELECT count(*) FROM wholesale_volume").fetchone() == (3,)
        for table in CLOSED:
            column = "message_id" if table == "exchange_message" else "*"
            assert conn.execute(f"SELECT count({column}) FROM {table}").fetchone() == (0,), table
    for statement in (
        "INSERT INTO policy (number, title, issuer, issued, effective, source, entered_at, entered_by) VALUES ('1号', '标题', '机关', now(), now(), 'staff', now(), 'x')",
        "INSERT INTO report_event (version_id, deed, state, at, actor) VALUES (1, 'x', 'x', now(), 'x')",
        "INSERT INTO wholesale_volume VALUES ('C1', 1, 9, '2026-10-01', 'h01', 1, 1, 0)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction(place.pool, scope) as conn:
            conn.execute(statement)


def test_a_regulator_sees_reports_once_they_are_handed_in(place: World) -> None:
    scope = Scope(ProcessRole.API, "regulator", None, "user:77")

    def seen() -> tuple[object, ...] | None:
        with db.transaction(place.pool, scope) as conn:
            return conn.execute("SELECT count(*) FROM report_version").fetchone()

    version_id = place.build("trades-monthly")
    assert seen() == (0,)
    place.submit(version_id)
    assert seen() == (1,)
