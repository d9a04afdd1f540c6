"""The green pages over HTTP: certificates are offered, taken and used; the proof can be checked by anybody."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime
from decimal import Decimal

import httpx
import market_world
import psycopg
import pypdfium2
import pytest
from pages.site import Site


class Person:
    """A signed-in person as a program; a form carries the session's token."""

    def __init__(self, site: Site, stack: ExitStack, login: str | None) -> None:
        self.client: httpx.Client = stack.enter_context(site.client())
        self.token = ""
        if login is not None:
            form = {"login": login, "password": market_world.PASSWORD}
            assert self.client.post("/login", data=form).status_code == 200
            self.token = site.form_token(self.client)

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def json(self, path: str) -> dict:  # type: ignore[type-arg]  # JSON
        return dict(self.client.get(path).raise_for_status().json())

    def post(self, path: str, form: dict[str, str]) -> httpx.Response:
        return self.client.post(path, data=form | {"form_token": self.token})


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


PAST = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def parties(site: Site) -> tuple[int, int, str]:
    """A wind farm with 4321 kWh of last month, and a buyer; with the month."""
    today = datetime.now(UTC).astimezone(UTC)  # noqa: TID251  # the site's own clock runs on
    month = date(today.year - (today.month == 1), (today.month - 2) % 12 + 1, 1)
    with psycopg.connect(site.app.state.config.dsn, autocommit=True) as conn:
        seller = market_world.admitted_party(conn, "generator", "示范风电绿", subkind="wind")
        buyer = market_world.admitted_party(conn, "user", "示范用户绿")
        market_world.person(conn, seller, "windfarm")
        market_world.person(conn, buyer, "greenbuyer")
        market_world.operator(conn, "greendesk")
        conn.execute(
            """INSERT INTO market_quantity (unit_id, month, item, mwh, source, entered_at, entered_by)
               VALUES (%s, %s, 'generation', %s, 'test', %s, 'test')""",
            (f"party:{seller}", month, Decimal("4.321"), PAST),
        )
    return seller, buyer, f"{month:%Y-%m}"


def test_from_issue_to_a_proof_that_anybody_can_check(
    site: Site, stack: ExitStack, parties: tuple[int, int, str]
) -> None:
    seller, _, month = parties
    staff = Person(site, stack, "greendesk")
    farm = Person(site, stack, "windfarm")
    buyer = Person(site, stack, "greenbuyer")
    plant = {
        "unit": f"party:{seller}",
        "name": "示范风场",
        "energy": "wind",
        "tradable": "yes",
        "document": "备案",
    }

    assert staff.post("/green/plants", plant).status_code == 303
    assert staff.post(f"/green/months/{month}/issue", {}).status_code == 303
    assert farm.json("/green")["sums"] == {"held": 4}
    offer = {"mwh": "3", "price": "4.14", "days": "7", "key": "a"}
    assert farm.post("/green/sales", offer).status_code == 303
    (sale,) = buyer.json("/green")["sales"]
    take = {"mwh": "2", "key": "b"}
    assert buyer.post(f"/green/sales/{sale['sale_id']}/take", take).status_code == 303
    assert buyer.post(f"/green/sales/{sale['sale_id']}/take", take).status_code == 303  # the same click twice
    use = {
        "mwh": "1",
        "used_by": "示范用户绿",
        "purpose": "碳报告",
        "first_month": month,
        "last_month": month,
    }
    assert buyer.post("/green/uses", use | {"key": "c"}).status_code == 303

    this_month = f"{buyer.json('/green')['claims'][0]['day']:.7}"
    statement = f"/green/statements/{this_month}"
    assert [each.json(statement)["net_fen"] for each in (farm, buyer, staff)] == [828, -828, 0]  # 2 x 4.14
    assert "8.28" in farm.get(f"{statement}/csv").text
    for who in (farm, buyer, staff):
        for language in ("zh", "en"):
            page = who.client.get(f"{statement}?lang={language}", headers={"accept": "text/html"})
            assert page.status_code == 200
            assert "8.28" in page.text
    mine = buyer.json("/green")
    assert mine["sums"] == {"held": 1, "retired": 1}
    (used,) = mine["uses"]
    pdf = buyer.get(f"/green/uses/{used['entry_id']}/pdf").content
    text = pypdfium2.PdfDocument(io.BytesIO(pdf))[0].get_textpage().get_text_bounded()
    assert used["proof_no"] in text
    assert "示范风场" in text
    assert farm.get(f"/green/uses/{used['entry_id']}/pdf").status_code == 404
    guest = Person(site, stack, None)
    found = guest.json(f"/green/check/{used['proof_no']}")
    assert (found["is_valid"], found["mwh"]) == (True, 1)
    assert "示范用户绿" not in guest.get(f"/green/check/{used['proof_no']}").text
    assert guest.json("/green/check/GR-000001-0000000000000000")["is_valid"] is False
    desk = staff.json("/green")
    assert sum(desk["doubts"].values()) == 0
    assert desk["sums"] == {"issued": 4, "held": 2, "locked": 1, "retired": 1}


@pytest.mark.parametrize(
    ("path", "form", "status"),
    [
        ("/green/sales", {"mwh": "0", "price": "1", "key": "x"}, 422),
        ("/green/sales", {"mwh": "1.5", "price": "1", "key": "x"}, 422),
        ("/green/sales", {"mwh": "1", "price": "1.234", "key": "x"}, 422),
        ("/green/sales", {"mwh": "9999", "price": "1", "key": "x"}, 409),
        ("/green/sales/999999/take", {"mwh": "1", "key": "x"}, 404),
        ("/green/uses", {"mwh": "1", "used_by": "", "purpose": "x", "key": "x"}, 422),
    ],
)
def test_a_bad_form_changes_nothing(
    site: Site, stack: ExitStack, parties: tuple[int, int, str], path: str, form: dict[str, str], status: int
) -> None:
    buyer = Person(site, stack, "greenbuyer")
    before = buyer.json("/green")["sums"]

    assert buyer.post(path, form).status_code == status
    assert buyer.json("/green")["sums"] == before
