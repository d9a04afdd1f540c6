"""Forms that say what no form of ours asks for: characters nobody can keep, days that do not exist, parts of numbers."""

from __future__ import annotations

import pytest
from pages.site import Site, site

from cloud.api.tradingdesk import _kwh, _piece_no

__all__ = ["site"]

PLAN = {
    "session_no": "WRONG-01",
    "title": "十二月集中竞价",
    "rule": "jibei-monthly-auction@1",
    "day": "2026-11-20",
    "months": "2026-12",
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"announcement": "公告\0正文"},
        {"title": "十二月\0"},
        {"rule": "x\0@1"},
        {"day": "0001-01-01"},
        {"day": "0001-01-01", "opens": "00:00", "freezes": "01:00", "publishes": "02:00"},
        {"day": "9999-12-31"},
        {"months": "2026-13"},
        {"months": "2026-12 2026-12"},
        {"months": "9999-12"},
        {"months": "2026-10"},
        {"opens": "NaN", "freezes": "x", "publishes": "y"},
        {"opens": "10:00", "freezes": "09:00", "publishes": "11:00"},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_and_breaks_nothing(site: Site, wrong: dict[str, str]) -> None:
    with site.client("staff") as client:
        form = PLAN | wrong | {"form_token": site.form_token(client)}
        answer = client.post("/trading/desk", data=form)

    assert answer.status_code in (404, 422), answer.text


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/contract-draft", "seller"),
        ("/contract-draft", "template"),
        ("/contract-draft", "contract"),
        ("/contract-draft/preview", "buyer"),
    ],
)
def test_a_character_that_cannot_be_kept_is_a_mistake_of_the_form(site: Site, path: str, field: str) -> None:
    with site.client("staff") as client:
        form = {"seller": "party:1", "buyer": "party:2", "form_token": site.form_token(client)}
        answer = client.post(path, data=form | {field: "a\0b"})

    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("text", ["1.-99", "1.+5", "1. 5", "", ".5", "-1", "1e3", "NaN", "1.2345", "１"])
def test_what_is_left_of_a_piece_is_written_in_digits(text: str) -> None:
    with pytest.raises(ValueError, match=r"^.*$"):
        _kwh(text)


@pytest.mark.parametrize("text", ["", "12345678901", "1x", "²"])
def test_a_piece_is_named_by_its_whole_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"^.*$"):
        _piece_no(text)
