"""Settlement pages on a real server: who sees which statement, what each may do, and that every page speaks both languages."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest
from journeys import settlement_world as market
from pages import site, world
from psycopg.conninfo import make_conninfo

from cloud import db
from cloud.market.progress import Outcome, Stage
from cloud.market.run import settle
from cloud.security import run as security
from cloud.security.store import UserRow

LOGINS = {"staff": None, "foundry": "示范铸造有限公司", "windfarm": "示范风电场", "shop": "示范商户甲"}
_number = itertools.count(1)


@dataclass
class Market:
    """The running server and what the tests need to know of its database."""

    base: str
    dsn: str
    run_id: int
    statements: dict[str, int]

    @contextmanager
    def client(self, login: str) -> Iterator[httpx.Client]:
        headers = {"accept": "application/json"}
        with httpx.Client(base_url=self.base, headers=headers, trust_env=False, timeout=20) as client:
            answer = client.post("/login", data={"login": login, "password": world.PASSWORD})
            assert answer.status_code == 200, answer.text
            yield client

    def post(self, client: httpx.Client, path: str, **data: str | list[str]) -> httpx.Response:
        page = client.get("/statements", headers={"accept": "text/html"}).text
        token = page.split('name="form_token" value="')[1].split('"')[0]
        return client.post(path, data={"form_token": token, **data})


def fill(dsn: str, folder: Path) -> tuple[int, dict[str, int]]:
    """A market whose August is published as drafts, and people of both sides."""
    market.build(dsn, folder)
    market.fill(dsn)
    with psycopg.connect(dsn) as conn:
        for login, party in LOGINS.items():
            row = conn.execute("SELECT party_id FROM party WHERE name = %s", (party,)).fetchone()
            role = "staff" if party is None else "customer"
            user = UserRow(0, login, "", login, role, None if row is None else row[0], "zh")
            security.add_user(conn, user, world.PASSWORD)
    with db.open_pool(dsn, size_max=2) as pool:
        # Published "today", so that the working day to object is not over while the tests run.
        desk = settle.Desk(pool, "test", datetime.now(UTC))  # noqa: TID251
        run = settle.open_run(desk, market.AUGUST, "initial", "")
        settle.advance(desk, run)
        settle.add_event(desk, run, desk.event(Stage.DRAW, None, Outcome.REVIEW))
        settle.advance(desk, run)
        with psycopg.connect(dsn) as conn:
            found = conn.execute("SELECT unit_id, statement_id FROM statement").fetchall()
    return run.run_id, dict(found)


@pytest.fixture(scope="module")
def here(
    postgres_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Market]:
    name = f"shoudian_market_{os.getpid()}_{next(_number)}"
    site._run(postgres_dsn, "CREATE DATABASE {} TEMPLATE {}", name, template_database)
    try:
        dsn = make_conninfo(postgres_dsn, dbname=name)
        run_id, statements = fill(dsn, tmp_path_factory.mktemp("market"))
        with site._serving(dsn) as (base, _):
            yield Market(base, dsn, run_id, statements)
    finally:
        site._run(postgres_dsn, "DROP DATABASE {} WITH (FORCE)", name)


def test_staff_see_the_month_and_its_proof(here: Market) -> None:
    with here.client("staff") as staff:
        console = staff.get("/settlement?month=2026-08").json()

    assert console["books"]["total_fen"] == 0
    assert sum(console["books"]["by_side"].values()) == 0
    assert {each["unit_id"] for each in console["statements"]} == set(here.statements)
    stages = {each["stage"]: (each["done"], each["whole"]) for each in console["stages"]}
    assert stages["settle"] == (5, 5)
    assert stages["publish"] == (6, 6)
    assert console["deadlines"] == {
        "collect": "2026-09-01", "publish": "2026-09-07", "final": "2026-09-10", "bills": "2026-09-14",
    }  # fmt: skip


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize(
    "path", ["/settlement?month=2026-08", "/settlement?month=2026-03", "/statements", "statement"]
)
def test_every_page_speaks(here: Market, path: str, language: str) -> None:
    path = f"/statements/{here.statements['party:5']}" if path == "statement" else path
    with here.client("staff") as staff:
        page = staff.get(
            path + ("&" if "?" in path else "?") + f"lang={language}", headers={"accept": "text/html"}
        )

    assert page.status_code == 200
    assert "<h1>" in page.text
    assert "style=" not in page.text


def test_a_unit_sees_its_own_statement_and_no_other(here: Market) -> None:
    own, foreign = here.statements[market.USERS[0]], here.statements[market.GENERATORS[1]]
    with here.client("foundry") as foundry:
        listed = foundry.get("/statements").json()["statements"]
        statement = foundry.get(f"/statements/{own}").json()

        assert [each["statement_id"] for each in listed] == [own]
        assert sum(line["amount_fen"] for line in statement["lines"]) == statement["head"]["total_fen"]
        assert len(statement["actual_day_kwh"]) == len(statement["contract_day_kwh"]) == 31
        for path in (f"/statements/{foreign}", f"/statements/{foreign}/csv", f"/statements/{foreign}/json"):
            there, nowhere = foundry.get(path), foundry.get("/statements/999999")
            assert (there.status_code, there.json()) == (404, nowhere.json())
        assert here.post(foundry, f"/statements/{foreign}/confirm").status_code == 404
        assert foundry.get("/settlement").status_code == 403
        assert here.post(foundry, f"/settlement/runs/{here.run_id}/review").status_code == 403
        assert foundry.get(f"/settlement/runs/{here.run_id}/csv").status_code == 403
    with here.client("shop") as shop:  # a retail customer has no statement of the wholesale market
        assert shop.get("/statements").json()["statements"] == []
        assert shop.get(f"/statements/{here.statements['party:5']}").status_code == 404


def test_a_unit_confirms_once(here: Market) -> None:
    path = f"/statements/{here.statements[market.GENERATORS[1]]}"
    with here.client("windfarm") as windfarm:
        assert here.post(windfarm, f"{path}/confirm").status_code == 303
        assert windfarm.get(path).json()["head"]["state"] == "confirmed"
        assert here.post(windfarm, f"{path}/confirm").status_code == 409
        assert here.post(windfarm, f"{path}/object", reason="太晚了").status_code == 409


def test_an_objection_and_a_query_go_to_staff_and_come_back_answered(here: Market) -> None:
    number = here.statements[market.USERS[0]]
    path = f"/statements/{number}"
    with here.client("foundry") as foundry, here.client("staff") as staff:
        assert here.post(foundry, f"{path}/object", reason=" ", line=["2"]).status_code == 422
        assert here.post(foundry, f"{path}/object", reason="偏差电量不对", line=["99"]).status_code == 422
        assert here.post(foundry, f"{path}/object", reason="偏差电量不对", line=["2"]).status_code == 303
        assert here.post(foundry, f"{path}/ask", reason="分摊怎么来的？", line="").status_code == 303
        console = staff.get("/settlement?month=2026-08").json()
        assert [each["statement_id"] for each in console["disputed"]] == [number]
        (query,) = console["queries"]

        assert here.post(staff, f"{path}/confirm").status_code == 403  # nobody confirms for the recipient
        assert (
            here.post(
                staff, f"/settlement/queries/{query['query_id']}/answer", text="按当月用网电量"
            ).status_code
            == 303
        )
        assert (
            here.post(staff, f"/settlement/queries/{query['query_id']}/answer", text="再答").status_code
            == 409
        )
        assert (
            here.post(
                staff, f"/settlement/statements/{number}/check", verdict="reject", reason="表计核对无误"
            ).status_code
            == 303
        )

        told = foundry.get(path).json()
        assert told["head"]["state"] == "confirmed"
        assert told["queries"][0]["answer"] == "按当月用网电量"
        assert [move["deed"] for move in told["moves"]] == ["draw", "publish", "object", "reject"]


def test_staff_direct_a_run_with_a_reason_on_record(here: Market) -> None:
    path = f"/settlement/runs/{here.run_id}/restart"
    with here.client("staff") as staff:
        assert here.post(staff, path, stage="draw", reason="").status_code == 422
        assert here.post(staff, path, stage="draw", reason="复核一遍").status_code == 303
        log = staff.get("/settlement?month=2026-08").json()["log"]
        assert here.post(staff, f"/settlement/runs/{here.run_id}/explode", reason="x").status_code == 404
        assert here.post(staff, "/settlement/months/2026-08/runs", reason="迟到").status_code == 409
        assert (
            here.post(staff, "/settlement/months/2099-12/runs", reason="早到").status_code == 409
        )  # not over
    assert (log[0]["outcome"], log[0]["stage"], log[0]["text"]) == ("restart", "draw", "复核一遍")
    with psycopg.connect(here.dsn) as conn:
        audits = conn.execute("SELECT deed FROM audit_event WHERE deed = 'direct_settlement'").fetchall()
    assert audits


def test_exports_say_what_the_page_says(here: Market) -> None:
    number = here.statements[market.USERS[1]]
    with here.client("staff") as staff:
        page = staff.get(f"/statements/{number}").json()
        table = staff.get(f"/statements/{number}/csv").text.splitlines()
        whole = staff.get(f"/settlement/runs/{here.run_id}/csv").text.splitlines()
        text = staff.get(f"/statements/{number}/json").json()

    assert len(table) == 1 + len(page["lines"])
    assert set(table[1:]) <= set(whole)
    assert [line["amount_fen"] for line in text["lines"]] == [line["amount_fen"] for line in page["lines"]]
    assert text["total_yuan"] == f"{page['head']['total_fen'] / 100:.2f}"
