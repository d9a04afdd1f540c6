"""Notices, files in and out, the regulator's view and policies over HTTP, as each role meets them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import openpyxl
import psycopg
import pytest
from market_world import PASSWORD as MARKET_PASSWORD
from market_world import admitted_party, person
from pages.site import Site
from pages.site import site as site

from cloud.api import upload
from cloud.api.upload import BadFile
from cloud.notices import Notice, post

NOW = datetime(2026, 10, 1, tzinfo=UTC)
PDF = b"%PDF-1.7\n1 0 obj<<>>endobj\n"


@contextmanager
def regulator(site: Site) -> Iterator[httpx.Client]:
    with psycopg.connect(site.world.dsn) as conn:
        if conn.execute("SELECT 1 FROM app_user WHERE login = 'inspector'").fetchone() is None:
            person(conn, None, "inspector", "regulator")
    with site.client() as client:
        answer = client.post("/login", data={"login": "inspector", "password": MARKET_PASSWORD})
        assert answer.status_code == 200, answer.text
        yield client


def token(client: httpx.Client, path: str) -> str:
    page = client.get(path, headers={"accept": "text/html"}).text
    return page.split('name="form_token" value="')[1].split('"')[0]


def badge(client: httpx.Client) -> str:
    """What the bell in the header says."""
    page = client.get("/notices", headers={"accept": "text/html"}).text
    assert 'class="bell"' in page
    return page.split('class="badge" aria-hidden="true">')[1].split("<")[0] if 'class="badge"' in page else ""


def test_a_notice_is_read_by_each_person_for_oneself_and_by_nobody_else(site: Site) -> None:
    with psycopg.connect(site.world.dsn) as conn:
        party = conn.execute("SELECT party_id FROM app_user WHERE login = 'yunling'").fetchone()
        assert party is not None
        notice = Notice(
            party[0], "policy.entered", {"number": "1号", "title": "规则"}, "/statements", "test:1"
        )
        assert post(conn, notice, NOW)
        assert not post(conn, notice, NOW)
    with site.client("yunling") as client, site.client("zhou") as other:
        view = client.get("/notices").json()
        assert (view["unread"], view["notices"][0]["text"]) == (1, "新政策文件 1号《规则》")
        number = view["notices"][0]["notice_id"]
        assert (badge(client), badge(other)) == ("1", "")
        assert other.get("/notices").json()["notices"] == []
        refused = other.post(f"/notices/{number}/open", data={"form_token": token(other, "/notices")})
        assert refused.status_code == 404
        opened = client.post(f"/notices/{number}/open", data={"form_token": token(client, "/notices")})
        assert (opened.status_code, opened.headers["location"]) == (303, "/statements")
        assert badge(client) == ""
        after = client.get("/notices", params={"unread": True}).json()
        assert (after["unread"], after["notices"]) == (0, [])


def policy(number: str) -> dict[str, str]:
    return {
        "number": number,
        "title": "示范规则",
        "issuer": "示范监管局",
        "issued": "2026-08-01",
        "effective": "2026-09-01",
        "tags": "价格 结算",
        "rules": "cloud/market/rules/x.toml",
    }


def test_a_policy_with_its_file_is_read_by_everybody_and_entered_by_staff_only(site: Site) -> None:
    with site.client("staff") as staff:
        form = {**policy("示范〔2026〕9号"), "form_token": token(staff, "/policies")}
        entered = staff.post(
            "/policies", data=form, files={"file": ("../政策\u202e文件.pdf", PDF, "text/html")}
        )
        assert entered.status_code == 303, entered.text
        path = entered.headers["location"]
        assert staff.post("/policies", data=form).status_code == 409
    with regulator(site) as client:
        view = client.get(path).json()
        assert (view["policy"]["standing"], view["policy"]["has_file"]) == ("in_force", True)
        assert client.post(f"{path}/read", data={"form_token": token(client, "/policies")}).status_code == 303
        assert client.get(path).json()["policy"]["read_at"] is not None
        file = client.get(f"{path}/file")
        assert file.content == PDF
        assert file.headers["content-disposition"] == (
            "attachment; filename*=UTF-8''%E6%94%BF%E7%AD%96%E6%96%87%E4%BB%B6.pdf"
        )
        assert (file.headers["content-type"], file.headers["x-content-type-options"]) == (
            "application/pdf",
            "nosniff",
        )
        assert client.post("/policies", data={"form_token": token(client, "/policies")}).status_code == 403
    with site.client("staff") as staff:
        assert staff.get(path).json()["readers"] == 1


def test_only_routes_that_take_files_take_large_bodies_and_only_from_who_is_signed_in(site: Site) -> None:
    large = PDF + b"0" * (5 * 1024 * 1024)
    with site.client("staff") as staff:
        form = {**policy("示范〔2026〕10号"), "form_token": token(staff, "/policies")}
        assert staff.post("/policies", data=form, files={"file": ("a.pdf", large)}).status_code == 303
        assert staff.post("/notices/read", data=form, files={"file": ("a.pdf", large)}).status_code == 413
        huge = large + large + large
        assert staff.post("/policies", data=form, files={"file": ("a.pdf", huge)}).status_code == 413
    with site.client() as guest:
        assert guest.post("/policies", files={"file": ("a.pdf", large)}).status_code == 413


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.pdf", b"<html><script>alert(1)</script>"),
        ("a.pdf", b"MZ\x90\x00"),
        ("a.exe", PDF),
        ("a.pdf.html", PDF),
        ("a.png", PDF),
        ("a.pdf", b""),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("a.docx", b"PK\x03\x04 no archive"),
    ],
)
def test_what_is_not_what_it_says_is_refused(name: str, body: bytes) -> None:
    with pytest.raises(BadFile):
        upload.checked(name, body)


def packed(**parts: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, body in parts.items():
            archive.writestr(path.replace("__", "/").replace("_T", "[Content_Types].xml"), body)
    return out.getvalue()


def test_office_files_are_told_by_their_parts_and_macros_refused() -> None:
    assert upload.checked("a.xlsx", packed(_T=b"", **{"xl__workbook.xml": b""})).media_type.endswith("sheet")
    assert upload.checked("a.docx", packed(_T=b"", **{"word__document.xml": b""})).media_type.endswith(
        "document"
    )
    for parts in (
        {"_T": b"", "xl__workbook.xml": b"", "xl__vbaProject.bin": b"x"},
        {"xl__workbook.xml": b""},
        {"_T": b"", "xl__workbook.xml": b"0" * (201 * 1024 * 1024)},
    ):
        with pytest.raises(BadFile):
            upload.checked("a.xlsx", packed(**parts))


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("合同.pdf", "合同.pdf"),
        ("C:\\Users\\x\\合同.pdf", "合同.pdf"),
        ("../../etc/passwd.pdf", "passwd.pdf"),
        (".htaccess.pdf", "htaccess.pdf"),
        ("a\x00b\r\n.pdf", "ab.pdf"),
        ("invoice\u202efdp.exe.pdf", "invoicefdp.exe.pdf"),
        ("a;rm -rf $HOME.pdf", "a_rm -rf _HOME.pdf"),
        ("字" * 300 + ".pdf", "字" * 116 + ".pdf"),
        ("", "file"),
    ],
)
def test_names_are_cleaned(name: str, cleaned: str) -> None:
    assert upload.clean_name(name) == cleaned


def market(site: Site) -> None:
    with psycopg.connect(site.world.dsn) as conn:
        if conn.execute("SELECT 1 FROM wholesale_contract WHERE contract_id = 'O1'").fetchone():
            return
        sellers = [admitted_party(conn, "generator", f"示范电厂{number}") for number in range(4)]
        buyer = admitted_party(conn, "retailer", "示范售电有限公司")
        for number, price in enumerate((370, 371, 372, 373, 374, 500)):
            seller = f"party:{sellers[number % 4]}"
            conn.execute(
                """INSERT INTO wholesale_contract VALUES (%s, 1, 'auction', %s, %s, '2026-07-20', '', 'flat', '{}', '{}',
                       now(), 'test')""",
                (f"O{number + 1}", seller, f"party:{buyer}" if number else "1300000000001"),
            )
            conn.execute(
                "INSERT INTO wholesale_volume VALUES (%s, 1, 1, '2026-08-01', 'month', 100, %s, 0)",
                (f"O{number + 1}", price),
            )


def test_a_regulator_sees_concentration_and_outliers_and_nobodys_account(site: Site) -> None:
    market(site)
    with regulator(site) as client:
        assert client.get("/").json()["path"] == "/regulator"
        view = client.get("/regulator", params={"month": "2026-08"}).json()
        # Sellers have 2, 2, 1, 1 of 6: HHI 2 x 33.33^2 + 2 x 16.67^2 = 2777.8. Buyers 5 and 1 of 6: 7222.2.
        assert (view["sellers"]["hhi"], view["buyers"]["hhi"]) == (2778, 7222)
        assert [each["contract_id"] for each in view["outliers"]] == ["O6"]
        text = client.get("/regulator", headers={"accept": "text/html"}).text
        assert "…0001" in text
        assert "1300000000001" not in text
        for path in (
            "/accounts",
            "/fleet",
            "/statements",
            "/exchange",
            "/reports",
            "/review",
            "/ledger",
            "/settlement",
        ):
            assert client.get(path).status_code == 403, path


def test_a_report_is_built_shown_and_exported_over_http(site: Site) -> None:
    market(site)
    with site.client("staff") as staff:
        form = {"report_id": "trades-monthly", "first": "2026-08-01", "form_token": token(staff, "/reports")}
        built = staff.post("/reports/build", data={**form, "reason": "复核"})
        assert built.status_code == 303, built.text
        path = built.headers["location"]
        assert staff.get(path).json()["version"]["row_count"] >= 6
        book = openpyxl.load_workbook(io.BytesIO(staff.get(f"{path}/xlsx").content))
        rows = list(book.worksheets[0].iter_rows(values_only=True))
        first = next(row for row in rows if row[0] == "O2")
        assert (first[6], first[7], first[8]) == (100, 371, 37100)
        assert "O6,auction," in staff.get(f"{path}/csv").text
        for page in ("/reports", path, "/exchange", "/regulator", "/policies", "/notices"):
            shown = staff.get(page, headers={"accept": "text/html"})
            assert shown.status_code == 200, page
