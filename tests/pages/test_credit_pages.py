"""Security, credit, guarantee and risk over HTTP on a real server: who may, two persons, a fresh proof, both languages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import market_world
import psycopg
import pytest
import risk_world
import stepup_world
from pages import world
from pages.site import Site

from cloud.market.run import risk as desk
from cloud.parties.conduct import Conduct, Fact
from cloud.parties.store import conduct

NOW = datetime.now(UTC)  # noqa: TID251  # the server's clock is the real one
PAGES = ("/security", "/credit", "/risk")
HTML = {"accept": "text/html"}


@pytest.fixture(scope="module")
def market(site: Site) -> dict[str, int]:
    """A retailer with a past, a second staff user, and somebody who acts for the retailer."""
    with psycopg.connect(site.world.dsn, autocommit=True) as conn:
        retailer = risk_world.retailer(conn, NOW)
        facts = (
            Fact(retailer, Conduct.PAID_LATE, NOW - timedelta(days=60), 3, "bill:x/2026-07", "2026-07 账单"),
            Fact(retailer, Conduct.FINANCIAL, NOW - timedelta(days=90), 82, "audit", "审计报告"),
        )
        conduct.note(conn, facts, "test", NOW)
        ids = {
            "retailer": retailer,
            "seller": market_world.person(conn, retailer, "seller"),
            "staff2": market_world.operator(conn, "staff2"),
        }
        with conn.transaction():
            risk_world.assess(conn, NOW)
            desk.measure(conn, retailer, ("test", NOW))
    return ids


@contextmanager
def signed_in(site: Site, login: str) -> Iterator[httpx.Client]:
    headers = {"accept": "application/json"}
    with httpx.Client(base_url=site.base, headers=headers, trust_env=False, timeout=20) as client:
        password = market_world.PASSWORD if login in ("seller", "staff2") else world.PASSWORD
        answer = client.post("/login", data={"login": login, "password": password})
        assert answer.status_code == 200, answer.text
        yield client


def post(client: httpx.Client, path: str, **data: str) -> httpx.Response:
    page = client.get("/security", headers=HTML).text
    return client.post(
        path, data={"form_token": page.split('name="form_token" value="')[1].split('"')[0], **data}
    )


def enrolled(client: httpx.Client, login: str) -> str:
    password = market_world.PASSWORD if login in ("seller", "staff2") else world.PASSWORD
    made = post(client, "/security/second-factor", password=password)
    assert made.status_code == 200, made.text
    secret = str(made.json()["secret"])
    at = datetime.now(UTC)  # noqa: TID251
    first = stepup_world.code(secret, at - timedelta(seconds=30))
    answer = post(client, "/security/second-factor/confirm", code=first)
    assert answer.status_code == 303, answer.text
    proof = {"password": password, "code": stepup_world.code(secret, at), "next": "/security"}
    answer = post(client, "/security/step-up", **proof)
    assert answer.status_code == 303, answer.text
    return secret


def test_a_seal_is_granted_by_two_staff_after_fresh_proofs(site: Site, market: dict[str, int]) -> None:
    retailer, seller = str(market["retailer"]), str(market["seller"])
    with (
        signed_in(site, "staff") as one,
        signed_in(site, "staff2") as two,
        signed_in(site, "seller") as person,
    ):
        refused = post(one, "/security/seals", party_id=retailer, user_id=seller)
        assert (refused.status_code, refused.json()["problem"]) == (401, "step_up_needed")
        in_browser = one.post("/security/seals", headers=HTML | {"referer": f"{site.base}/security/seals?party={retailer}"},
                              data={"form_token": _token(one), "party_id": retailer, "user_id": seller})  # fmt: skip
        assert in_browser.headers["location"] == f"/security?next=%2Fsecurity%2Fseals%3Fparty%3D{retailer}"
        enrolled(one, "staff")
        enrolled(two, "staff2")
        assert post(one, "/security/seals", party_id=retailer, user_id=seller).status_code == 303
        (seal,) = one.get(f"/security/seals?party={retailer}").json()["seals"]
        assert post(one, f"/security/seals/{seal['holder_id']}/approve").status_code == 403
        assert not person.get("/security").json()["may_sign"]
        assert post(two, f"/security/seals/{seal['holder_id']}/approve").status_code == 303
        assert person.get("/security").json()["may_sign"]


def _token(client: httpx.Client) -> str:
    return client.get("/security", headers=HTML).text.split('name="form_token" value="')[1].split('"')[0]


def test_a_party_sees_its_own_credit_and_risk_and_no_other(site: Site, market: dict[str, int]) -> None:
    retailer = market["retailer"]
    with signed_in(site, "seller") as seller, signed_in(site, "zhou") as other:
        own = seller.get("/credit").json()
        assert own["head"]["party_id"] == retailer
        # lost: performance 25 x 25 %, payment 13 x 35 %, financial 18 x 15 %
        assert own["hints"][:3] == ["performance", "payment", "financial"]
        assert own["rules"][0]["key"] == "late_payment"
        assert seller.get("/risk").json()["positions"]
        for path in (f"/credit/parties/{retailer}", f"/risk/parties/{retailer}"):
            assert seller.get(path).status_code == 200
            foreign, absent = other.get(path), other.get(path.replace(str(retailer), "999999"))
            assert (foreign.status_code, foreign.json()) == (absent.status_code, absent.json())
            assert foreign.status_code == 404


def test_an_exception_takes_two_persons_over_http(site: Site, market: dict[str, int]) -> None:
    path = f"/credit/parties/{market['retailer']}"
    until = f"{NOW + timedelta(days=40):%Y-%m-%d}"
    with signed_in(site, "staff") as one, signed_in(site, "staff2") as two:
        assert (
            post(one, f"{path}/overrides", grade="AAA", reason="母公司担保", until=until).status_code == 303
        )
        (waiting,) = one.get("/credit").json()["overrides"]
        decide = f"/credit/overrides/{waiting['override_id']}/accept"
        assert post(one, decide).json()["problem"] == "second_person_needed"
        assert post(two, decide).status_code == 303
        assert one.get(path).json()["head"]["grade"] == "AAA"
        assert post(two, decide).status_code == 409
        assert post(one, f"{path}/overrides", grade="AAA", reason="", until=until).status_code == 422
        assert post(one, f"{path}/overrides", grade="AAA", reason="x", until="soon").status_code == 422


def test_a_guarantee_is_lodged_and_drawn(site: Site, market: dict[str, int]) -> None:
    path = f"/credit/parties/{market['retailer']}"
    paper = {"form": "letter", "issuer": "示范银行", "reference": "LG-1", "amount_yuan": "50,000.00"}
    paper |= {"valid_from": "2026-01-01", "expires_on": f"{NOW + timedelta(days=20):%Y-%m-%d}"}
    with signed_in(site, "staff") as one, signed_in(site, "staff2") as two:
        assert post(one, f"{path}/instruments", **paper | {"amount_yuan": "0.001"}).status_code == 422
        assert post(one, f"{path}/instruments", **paper).status_code == 303
        assert post(one, f"{path}/instruments", **paper).status_code == 409
        (instrument,) = one.get(path).json()["instruments"]
        move = f"/credit/instruments/{instrument['instrument_id']}"
        assert post(two, f"{move}/accept").status_code == 303
        assert post(one, f"{move}/draw", amount_yuan="50000.01", reason="未付").status_code == 409
        assert post(one, f"{move}/draw", amount_yuan="100", reason="未付").status_code == 303
        assert one.get(path).json()["head"]["held_fen"] == 49_900_00


def test_a_model_that_is_no_model_is_refused_and_a_good_one_simulated(
    site: Site, market: dict[str, int]
) -> None:
    with signed_in(site, "staff") as one:
        bad = post(one, "/credit/rules", subject="credit", body="[model]\nid = 3", reason="x")
        assert (bad.status_code, bad.json()["problem"]) == (422, "bad_party_rule")
        page = one.get("/credit", headers=HTML).text
        text = re.search(r'name="body"[^>]*>(.*?)</textarea>', page, re.S)
        assert text
        body = text[1].replace("&#34;", '"').replace("version = 1", "version = 2")
        made = post(one, "/credit/rules", subject="credit", body=body, reason="新版")
        assert made.status_code == 303, made.text
        found = one.get(made.headers["location"]).json()
        assert market["retailer"] in {row["party_id"] for row in found["simulation"]}


def test_every_page_speaks_both_languages(site: Site, market: dict[str, int]) -> None:
    paths = (*PAGES, f"/credit/parties/{market['retailer']}", f"/risk/parties/{market['retailer']}")
    for login in ("staff", "seller"):
        with signed_in(site, login) as client:
            for path in (*paths, "/security/seals"):
                for language in ("zh", "en"):
                    answer = client.get(path, params={"lang": language}, headers=HTML)
                    assert answer.status_code == 200, (login, path, answer.text[:300])
                    assert "<style" not in answer.text
                    if language == "en":
                        main = answer.text.split("<main")[1].split("</main>")[0]
                        plain = re.sub(r"<textarea.*?</textarea>|<[^>]*>", "", main, flags=re.S)
                        told = re.sub(
                            "示范[^<\n]*|审计报告|母公司担保|2026-07 账单|未付|新版|云岭[^<\n]*|周家[^<\n]*|邻家[^<\n]*|值班员",
                            "",
                            plain,
                        )
                        assert not re.search("[\u4e00-\u9fff]", told), re.findall(
                            ".{0,20}[\u4e00-\u9fff]+.{0,20}", told
                        )[:5]


def test_figures_without_a_retail_price_are_called_cost_and_a_share_of_nothing_is_no_share(
    site: Site, market: dict[str, int]
) -> None:
    path = f"/risk/parties/{market['retailer']}"
    with site.client("staff") as staff:
        view = staff.get(path).json()
        page = staff.get(path, headers={"accept": "text/html"}).text

    assert view["portfolio"]["retail_yuan"] == 0
    assert "预期收益" not in page
    assert "预期成本" in page
    assert "仅成本" in page
    nothing = [
        each for each in view["readings"] if each["facts"].get("held_fen") == "0" and each["value_ppm"]
    ]
    alarms = sum(each["is_unlodged"] for each in view["alarms"])
    assert page.count("未缴担保") == len(nothing) + alarms
    assert min(len(nothing), alarms) > 0


def test_too_short_a_history_is_said_and_not_measured(site: Site, market: dict[str, int]) -> None:
    with psycopg.connect(site.world.dsn) as conn:
        newcomer = market_world.admitted_party(conn, "retailer", "初来售电有限公司")
        desk.measure(conn, newcomer, ("test", NOW))
    with site.client("staff") as staff:
        page = staff.get(f"/risk/parties/{newcomer}", headers=HTML)

    assert page.status_code == 200
    assert "历史太短，不测算" in page.text
    assert "只有 0 天" in page.text
