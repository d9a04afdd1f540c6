"""A generator's way into the market through the pages: invited, filled in, reviewed by two, changed; and who sees what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg
from pages.site import Site

from cloud.parties import checklist as checklists
from cloud.parties.party import Kind

PDF = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n"
CODE = "91330100799655058B"  # 国家企业信用信息公示系统
FACTS = {
    "name": "示范热电厂", "usci": CODE, "legal_representative": "法定代表人甲", "address": "示范路 2 号",
    "contact_person": "联系人乙", "contact_phone": "0310-7654321", "installed_kw": "600000", "unit_count": "2",
    "unit_type": "300MW 亚临界", "commissioned_on": "2010-06-01", "grid_voltage": "220kV",
    "dispatch_level": "provincial", "coal_g_per_kwh": "305.5", "so2_mg_per_m3": "35", "nox_mg_per_m3": "50",
    "dust_mg_per_m3": "10",
}  # fmt: skip


@contextmanager
def signed_in(site: Site, login: str, password: str) -> Iterator[httpx.Client]:
    """A program's connection whose every form carries the session's token."""
    headers = {"accept": "application/json"}
    with httpx.Client(base_url=site.base, headers=headers, trust_env=False, timeout=20) as client:
        assert client.post("/login", data={"login": login, "password": password}).status_code == 200
        page = client.get("/publicity", headers={"accept": "text/html"}).text
        client.headers["x-form-token"] = page.split('name="form_token" value="')[1].split('"')[0]
        yield client


def done(answer: httpx.Response) -> httpx.Response:
    assert answer.status_code in (200, 303), answer.text
    return answer


def test_a_generator_registers_itself_and_is_admitted_by_two(site: Site) -> None:
    with psycopg.connect(site.world.dsn) as conn:
        conn.execute(
            """INSERT INTO app_user (login, password_hash, display_name, role)
               SELECT 'second', password_hash, '复核员', 'staff' FROM app_user WHERE login = 'staff'"""
        )
    from pages import world

    with signed_in(site, "staff", world.PASSWORD) as staff:
        asked = {"kind": "generator", "name": "示范热电厂", "login": "redian", "display_name": "热电厂操作员"}
        invited = done(staff.post("/entities", data=asked)).json()
        party_id = invited["party_id"]
    with signed_in(site, "redian", invited["password"]) as plant:
        assert plant.get("/company").json()["head"]["state"] == "draft"
        bad = plant.post("/company/form", data={"subkind": "coal", "f.usci": CODE[:-1] + "C"})
        assert (bad.status_code, bad.json()["problem"]) == (422, "usci_check")
        done(plant.post("/company/form", data={"subkind": "coal"} | {f"f.{k}": v for k, v in FACTS.items()}))
        gaps = plant.get("/company").json()["gaps"]
        assert all(gap["why"] == "paper_missing" for gap in gaps)
        for paper in checklists.papers_of(checklists.in_force(Kind.GENERATOR, site.world.now.date()), "coal"):
            form = {"item": paper.key, "number": "1", "until": "2030-12-31" if paper.is_dated else ""}
            done(
                plant.post("/company/papers", data=form, files={"file": ("证照.pdf", PDF, "application/pdf")})
            )
        assert plant.post("/company/submit", data={}).status_code == 422  # without the commitment
        done(plant.post("/company/submit", data={"promise": "yes"}))
        assert plant.post("/company/form", data={"subkind": "coal"}).status_code == 409
        papers = [each["held"]["paper_id"] for each in plant.get("/company").json()["papers"] if each["held"]]
        assert plant.get(f"/papers/{papers[0]}").content == PDF
    for login in ("staff", "second"):
        with signed_in(site, login, world.PASSWORD) as staff:
            shown = staff.get(f"/entity-review/{party_id}").json()
            assert staff.get(f"/papers/{shown['shown']}/view").headers["content-disposition"] == "inline"
            words = {f"v.{each['item']}": "yes" for each in shown["items"]}
            done(staff.post(f"/entity-review/{party_id}/findings", data=words | {"verdict": "accept"}))
    with signed_in(site, "redian", invited["password"]) as plant:
        head = plant.get("/company").json()["head"]
        assert (head["state"], head["may_trade"]) == ("effective", True)
        change = {"f.legal_representative": "法定代表人丁", "happened_on": "2026-01-05", "reason": "换届"}
        done(
            plant.post(
                "/company/changes", data=change | {"subkind": "coal"}, files={"file": ("决议.pdf", PDF)}
            )
        )
        (asked_change,) = plant.get("/company").json()["changes"]
    with signed_in(site, "yunling", world.PASSWORD) as stranger:
        assert stranger.get(f"/papers/{papers[0]}").status_code == 404
        assert stranger.get(f"/entities/{party_id}").status_code == 403
        withdrawal = f"/company/changes/{asked_change['change_id']}/withdraw"
        assert stranger.post(withdrawal).status_code == 404


def test_every_page_answers_in_both_languages(site: Site) -> None:
    from pages import world

    for login, paths in (
        ("staff", ("/entities", "/entities/1", "/entity-review", "/qualifications", "/publicity")),
        ("yunling", ("/company", "/publicity")),
    ):
        with signed_in(site, login, world.PASSWORD) as client:
            for path in paths:
                for language in ("zh", "en"):
                    page = client.get(f"{path}?lang={language}", headers={"accept": "text/html"})
                    assert page.status_code == 200, page.text
