"""Wrong input to listings, rolling books, rooms, transfers, credit and risk: refused with a reason, never a fault."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import deal_world
import pytest
from deal_world import Deals, next_month

MONTH = f"{next_month():%Y-%m}"
WRONG = (
    "\0",
    "a\0b",
    "-1",
    "NaN",
    "1e400",
    "9" * 40,
    "2020-01",
    "9999-99",
    "\ud7ff\U0010ffff" * 40,
    "Infinity",
    "0x10",
)
LATER = (datetime.now(UTC) + timedelta(hours=5)).isoformat()  # noqa: TID251
LINE = {"month": MONTH, "period": "month", "mwh": "1", "price": "380"}
ROUTES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("coal", "/listings", LINE | {"side": "S", "ends": LATER, "unit": "", "note": "x", "min_take": "", "starts": ""}),
    ("mill", "/listings/{listing}/takes", {"mwh": "1", "price": "", "unit": "", "key": ""}),
    ("coal", "/listings/{listing}/reduce", {"mwh": "0.001"}),
    ("operator", "/rolling", {"title": "试验", "month": MONTH, "opens": LATER, "closes": LATER, "price_min": "300"}
     | {"price_max": "450", "margin": "5", "lot": "1", "tick": "1"}),
    ("mill", "/rolling/{rolling}/orders", {"side": "B", "price": "380", "mwh": "1", "period": "1", "unit": "", "key": ""}),
    ("coal", "/negotiations", {"title": "试验", "side": "S", "unit": "", "invited": "1", "until": LATER}),
    ("coal", "/negotiations/{room}/offers", LINE | {"method": "physical", "deviation": "market"}),
    ("coal", "/negotiations/{room}/messages", {"text": "x"}),
    ("coal", "/negotiations/{room}/withdraw", {"reason": ""}),
    ("coal", "/negotiations/{room}/reopen", {"reason": "x", "until": LATER}),
    ("mill", "/negotiations/{room}/join", {"unit": ""}),
    ("coal", "/transfers", {"contract": "GP-1", "to": "2", "mwh": "1", "reason": "x"}),
    ("operator", "/credit/parties/{party}/facts", {"kind": "violation", "day": "2026-01-05", "points": "1", "document": "x"}),
    ("operator", "/credit/parties/{party}/overrides", {"grade": "A", "reason": "x", "until": "2027-01-05"}),
    ("operator", "/credit/rules", {"subject": "credit", "body": "x", "reason": "x"}),
    ("operator", "/credit/parties/{party}/instruments", {"form": "cash", "issuer": "x", "reference": "x"}
     | {"amount_yuan": "1", "valid_from": "2026-01-01", "expires_on": ""}),
    ("operator", "/risk/parties/{party}/plans", {"measure": "hedge", "alarm_id": "", "action": "x", "owner_id": "1"}
     | {"due_on": "2099-01-01"}),
)  # fmt: skip
PAGES = (
    ("mill", "/listings", ("month", "period", "text", "state", "side", "price_min", "price_max", "mwh", "kind", "mine")),
    ("mill", "/listings/new", ("month", "side")),
    ("mill", "/rolling/{rolling}", ("period",)),
    ("mill", "/negotiations", ("state", "text")),
    ("mill", "/transfers/new", ("contract",)),
)  # fmt: skip


@pytest.fixture(scope="module")
def deals(
    postgres_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deals]:
    with deal_world.market(postgres_dsn, template_database, tmp_path_factory.mktemp("wrong")) as found:
        yield found


@pytest.fixture(scope="module")
def named(deals: Deals) -> dict[str, object]:
    now = datetime.now(UTC)  # noqa: TID251
    with deals.client("coal") as coal, deals.client("operator") as operator:
        deals.prove("coal")
        listing = coal.post("/listings", LINE | {"side": "S", "mwh": "100", "ends": LATER}).json()
        hours = {"opens": (now - timedelta(minutes=1)).isoformat(), "closes": LATER}
        rolling = operator.post("/rolling", {"title": "月内滚动", "month": MONTH} | hours)
        room = coal.post(
            "/negotiations", {"title": "试验", "side": "S", "invited": deals.parties["mill"], "until": LATER}
        )
    return {
        "listing": listing["listing_id"],
        "rolling": rolling.headers["location"].rsplit("/", 1)[1],
        "room": room.json()["negotiation_id"],
        "party": deals.parties["shop"],
    }


@pytest.mark.parametrize(("who", "path", "form"), ROUTES, ids=[path for _, path, _ in ROUTES])
def test_a_wrong_field_is_refused_and_never_a_fault(
    deals: Deals, named: dict[str, object], who: str, path: str, form: dict[str, str]
) -> None:
    faults = []
    with deals.client(who) as desk:
        for field in form:
            for wrong in WRONG:
                answer = desk.post(path.format(**named), form | {field: wrong})
                if answer.status_code >= 500:
                    faults.append((field, wrong[:20], answer.status_code))

    assert faults == []


@pytest.mark.parametrize(("who", "path", "fields"), PAGES, ids=[path for _, path, _ in PAGES])
def test_a_wrong_query_is_refused_and_never_a_fault(
    deals: Deals, named: dict[str, object], who: str, path: str, fields: tuple[str, ...]
) -> None:
    faults = []
    with deals.client(who) as desk:
        for field in fields:
            for wrong in WRONG:
                answer = desk.http.get(path.format(**named), params={field: wrong})
                if answer.status_code >= 500:
                    faults.append((field, wrong[:20], answer.status_code))

    assert faults == []
