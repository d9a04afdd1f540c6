"""Trading over real HTTP: a burst to the real server process, and a session from announcement to contract by its pages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import market_world
import psycopg
import pytest
import trade_world as world

from benchmarks import intake_burst
from cloud.market.receipt import BadReceipt, public_from, verified
from cloud.market.session import Hours
from cloud.market.store import sessions

HTML = {"accept": "text/html"}


@pytest.fixture
def port(database: str, tmp_path: Path) -> Iterator[int]:
    with intake_burst.servers(database, tmp_path, 1) as ports:
        yield ports[0]


@contextmanager
def person(port: int, login: str) -> Iterator[httpx.Client]:
    """Somebody who has signed in, with the token of the session's forms."""
    base = f"http://127.0.0.1:{port}"
    with httpx.Client(
        base_url=base, headers={"accept": "application/json"}, trust_env=False, timeout=30
    ) as client:
        answer = client.post("/login", data={"login": login, "password": market_world.PASSWORD})
        assert answer.status_code == 200, answer.text
        page = client.get("/trading", headers=HTML).text
        client.headers["x-form-token"] = page.split('name="form_token" value="')[1].split('"')[0]
        yield client


@pytest.mark.timeout(180)
def test_every_declaration_of_a_burst_is_acknowledged_exactly_once(database: str, port: int) -> None:
    session_id, senders = intake_burst.prepared(database, 240, 24)

    answers = asyncio.run(intake_burst.burst((port,), session_id, senders, 0.2))
    again = asyncio.run(intake_burst.burst((port,), session_id, senders[:40], 0.0))

    assert {answer.status for answer in answers} == {201}
    assert intake_burst.differences(database, session_id, senders, answers) == []
    first = {answer.client_key: answer.seq for answer in answers}
    assert [answer.seq for answer in again] == [first[sender.client_key] for sender in senders[:40]]


@pytest.mark.timeout(180)
def test_a_session_goes_from_announcement_to_contract(database: str, port: int, tmp_path: Path) -> None:
    now = datetime.now(UTC)  # noqa: TID251  # the server has its own clock
    hours = Hours(now - timedelta(minutes=1), now + timedelta(hours=1), now + timedelta(hours=2), None)
    with psycopg.connect(database) as conn:
        who = world.people(conn)
        session_id = world.announced(conn, who, hours=hours)
    path = f"/trading/sessions/{session_id}"

    def declare(client: httpx.Client, actor: world.Actor, side: str, price: str) -> dict[str, object]:
        unit, key = who.units[actor.party_id or 0], str(uuid4())
        body = {"unit": unit, "side": side, "client_key": key, "replaces": None}
        answer = client.post(f"{path}/orders", json=body | {"entries": [[1, price, "10"]]})
        assert answer.status_code == 201, answer.text
        found: dict[str, object] = answer.json()
        return found

    with person(port, "user0") as buyer, person(port, "generator0") as seller, person(port, "user1") as other:
        receipt = declare(buyer, who.users[0], "B", "390.00")
        declare(seller, who.plants[0], "S", "350.00")
        key = public_from(buyer.get("/trading/receipt-key").content)
        file = buyer.get(f"/trading/declarations/{receipt['seq']}/receipt").content
        assert verified(file, key)["seq"] == receipt["seq"]
        changed = json.dumps(json.loads(file) | {"quantity_kwh": [20_000]}).encode()
        with pytest.raises(BadReceipt):
            verified(changed, key)
        assert other.get(f"/trading/declarations/{receipt['seq']}").status_code == 404
        foreign = {"unit": who.units[who.users[0].party_id or 0], "side": "B", "client_key": str(uuid4())}
        refused = other.post(f"{path}/orders", json=foreign | {"entries": [[1, "390", "1"]]})
        assert (refused.status_code, refused.json()["problem"]) == (422, "unit_unknown")
        assert buyer.post(f"{path}/orders", json={"entries": []}).status_code == 422
        no_token = buyer.post(
            f"{path}/orders", json=foreign | {"entries": None}, headers={"x-form-token": "x"}
        )
        assert no_token.status_code == 403
        page = buyer.get(path, headers=HTML)
        assert page.status_code == 200
        assert "q1_1" in page.text
        typed = {"unit": foreign["unit"], "side": "B", "client_key": str(uuid4()), "p1_1": "390", "q1_1": "1"}
        in_yuan_per_kwh = buyer.post(f"{path}/check", data=typed | {"p1_1": "0.39"}, headers=HTML)
        assert in_yuan_per_kwh.status_code == 200
        assert all(said in in_yuan_per_kwh.text for said in ("0.39", "yuan/kWh", "390.00"))
        assert buyer.post(f"{path}/check", data=typed, headers=HTML).status_code == 200

    _directed(port, session_id, receipt)
    with person(port, "user0") as buyer:
        view = buyer.get(path).json()
        assert [piece["price_yuan"] for piece in view["pieces"]] == ["370.00"]
        assert len(view["contracts"]) == 1
        assert [step["deed"] for step in view["timeline"]][-2:] == ["publish", "contract"]
        assert buyer.get(path, headers=HTML).status_code == 200
        assert buyer.get(f"/trading/declarations/{receipt['seq']}", headers=HTML).status_code == 200
        assert "370.00" in buyer.get(f"{path}/result").text
        assert f"{receipt['seq']} {receipt['content_sha256']}" in buyer.get(f"{path}/book").text
        dispute = buyer.post(f"{path}/disputes", data={"kind": "result", "body": "请复核"})
        assert dispute.status_code == 303
    with psycopg.connect(database) as conn:
        row = sessions.find(conn, session_id)
        assert row is not None
        assert row.state == "published"


def _directed(port: int, session_id: int, receipt: dict[str, object]) -> None:
    """Two of the staff close, clear, check and publish; neither reads what is sealed."""
    desk = f"/trading/desk/{session_id}"
    with person(port, "operator") as operator, person(port, "second") as second:
        assert operator.get("/trading", headers=HTML).status_code == 200
        assert operator.get("/trading/desk", headers=HTML).status_code == 200
        sealed = operator.get(f"/trading/declarations/{receipt['seq']}")
        assert sealed.status_code == 404
        assert operator.get(desk).json()["counts"]["events"] == 2
        assert "user:" not in operator.get(desk, headers=HTML).text  # people have names
        for deed, client in (("freeze", operator), ("clear", operator)):
            answer = client.post(f"{desk}/{deed}", data={"reason": "演练"})
            assert answer.status_code == 303, answer.text
        assert operator.get(desk, headers=HTML).status_code == 200
        run = operator.get(f"{desk}/runs/1")
        assert run.json()["is_same"] is True
        assert operator.get(f"{desk}/runs/1", headers=HTML).status_code == 200
        _asked_to_strike(desk, (operator, second), receipt)
        assert operator.post(f"{desk}/check", data={}).status_code == 303
        assert operator.post(f"{desk}/publish").status_code == 403
        assert second.post(f"{desk}/publish").status_code == 303


def _asked_to_strike(desk: str, staff: tuple[httpx.Client, httpx.Client], receipt: dict[str, object]) -> None:
    """One asks to strike a declaration out, the other one refuses; what is no number or no change is said to be none."""
    operator, second = staff
    wanted = {"seq": str(receipt["seq"]), "reason": "买方来函"}
    assert operator.post(f"{desk}/strike", data=wanted | {"seq": "x"}).status_code == 422
    assert operator.post(f"{desk}/strike", data=wanted | {"reason": ""}).status_code == 422
    assert operator.post(f"{desk}/takeover", data={"offer": "1", "reason": "没有"}).status_code == 404
    assert operator.post(f"{desk}/strike", data=wanted).status_code == 303
    assert second.post(f"{desk}/strike", data=wanted).status_code == 409
    (change,) = operator.get(desk).json()["changes"]
    answer = {"change": str(change["change_id"]), "reason": "不成立"}
    assert operator.post(f"{desk}/approve", data=answer).status_code == 403
    assert second.get(desk, headers=HTML).text.count(f'value="{change["change_id"]}"') == 1
    assert second.post(f"{desk}/refuse", data=answer).status_code == 303
    assert second.post(f"{desk}/approve", data=answer).status_code == 409
    assert second.post(f"{desk}/approve", data={"change": "9999"}).status_code == 404
