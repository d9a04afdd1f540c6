"""shoudian-cloud market clear | check, as an analyst uses them; what is wrong with a file is said in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloud.__main__ import main

CASES = Path(__file__).parents[1] / "golden" / "market_auction_cases.json"
BOOK = [
    {"id": "B1", "side": "B", "p": 40000, "q": 100000, "seq": 1},
    {"id": "B2", "side": "B", "p": 39000, "q": 100000, "seq": 2},
    {"id": "S1", "side": "S", "p": 35000, "q": 120000, "seq": 3},
]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.json"
    path.write_text(json.dumps(BOOK), encoding="utf-8")
    return path


def test_a_book_is_cleared_and_drawn(book: Path, capsys: Captured) -> None:
    assert main(["market", "clear", str(book), "--rule", "seller"]) == 0

    told = capsys.readouterr().out
    assert "120.000 MWh" in told
    assert "350.00 元/MWh" in told
    assert "B2         20.000 MWh  @ 390.00  部分 / part" in told
    assert "▔" in told
    assert "▁" in told


def test_the_order_of_the_list_means_nothing_to_any_byte(book: Path, capsys: Captured) -> None:
    main(["market", "clear", str(book), "--json"])
    first = capsys.readouterr().out
    book.write_text(json.dumps(BOOK[::-1]), encoding="utf-8")
    main(["market", "clear", str(book), "--json"])

    assert capsys.readouterr().out == first


def test_periods_clear_by_themselves_and_each_has_a_picture(tmp_path: Path, capsys: Captured) -> None:
    path, picture = tmp_path / "day.json", tmp_path / "curves.svg"
    path.write_text(json.dumps({"periods": {"h01": BOOK, "h02": []}}), encoding="utf-8")

    assert main(["market", "clear", str(path), "--json", "--plot", str(picture)]) == 0

    first, second = json.loads(capsys.readouterr().out)["periods"]
    assert (first["volume"], first["fills"]) == (120000, {"B1": 100000, "B2": 20000, "S1": 120000})
    assert (second["volume"], second["price"]) == (0, None)
    assert "120.000 MWh" in (tmp_path / "curves-h01.svg").read_text("utf-8")
    assert (tmp_path / "curves-h02.svg").exists()


def test_pairs_have_prices_of_their_own(book: Path, capsys: Captured) -> None:
    main(["market", "clear", str(book), "--pairs", "--json"])

    (period,) = json.loads(capsys.readouterr().out)["periods"]
    assert period["pairs"] == [["B1", "S1", 100000, 37500], ["B2", "S1", 20000, 37000]]
    assert period["price"] is None


def test_a_file_of_cases_is_checked(tmp_path: Path, capsys: Captured) -> None:
    assert main(["market", "check", str(CASES)]) == 0
    assert "一致 / right 50, 不一致 / wrong 0" in capsys.readouterr().out

    wrong = json.loads(CASES.read_text("utf-8"))
    wrong["call_auction"][5]["expected"]["price"]["marginal"] = 38900
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(wrong), encoding="utf-8")

    assert main(["market", "check", str(path), "--failures"]) == 1
    told = capsys.readouterr().out
    assert "✗ CA-106" in told
    assert "price.marginal: 应为 / expected 38900, 算得 / got 39000" in told
    assert "✓" not in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "JSON"),
        ("[{}]", "id"),
        ('[{"id": "a", "side": "X", "p": 1, "q": 1}]', "B | S"),
        ('[{"id": "a", "side": "B", "p": 1.5, "q": 1}]', "1.5"),
        ('[{"id": "a", "side": "B", "p": NaN, "q": 1}]', "NaN"),
        ('[{"id": "a", "side": "B", "p": 1, "q": -1}]', "a whole number from 0"),
        ('[{"id": "a", "id": "b", "side": "B", "p": 1, "q": 1}]', "each key once"),
        ('[{"id":"a","side":"B","p":1,"q":1,"seq":1},{"id":"a","side":"S","p":1,"q":1,"seq":2}]', "'a'"),
        ('[{"id":"a","side":"B","p":1,"q":1,"seq":1},{"id":"b","side":"S","p":1,"q":1,"seq":1}]', "seq"),
        ('{"orders": 3}', "a list of objects"),
        ("{}", "orders"),
        ("3", "an object"),
        ('{"periods": {}}', "periods"),
        ('[{"id": "a", "side": "B", "p": true, "q": 1}]', "True"),
        ('[{"id": "a", "side": "B", "p": 99999999999999999999, "q": 1}]', "a whole number"),
    ],
)
def test_what_is_no_book_is_named_in_one_line(text: str, told: str, tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")

    assert main(["market", "clear", str(path)]) == 2

    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("错误 / error: bad.json")
    assert error.count("\n") == 1


def test_a_file_without_a_case_is_not_right(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "empty.json"
    path.write_text('{"call_auction": [], "rolling": []}', encoding="utf-8")

    assert main(["market", "check", str(path)]) == 2
    assert "at least one case" in capsys.readouterr().err


def test_bytes_that_are_no_text_are_named(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(b"\xff\xfe[")

    assert main(["market", "check", str(path)]) == 2
    assert "UTF-8" in capsys.readouterr().err


def test_a_case_that_cannot_be_worked_is_wrong_and_the_rest_is_checked(
    tmp_path: Path, capsys: Captured
) -> None:
    cases = json.loads(CASES.read_text("utf-8"))
    cases["rolling"][0]["events"][0]["q"] = "many"
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(cases), encoding="utf-8")

    assert main(["market", "check", str(path), "--json"]) == 1
    wrong = [each for each in json.loads(capsys.readouterr().out) if not each["passed"]]
    assert [each["id"] for each in wrong] == ["RO-101"]
    assert "many" in wrong[0]["problem"]


def test_a_picture_can_be_pixels(book: Path, tmp_path: Path) -> None:
    picture = tmp_path / "curves.png"

    assert main(["market", "clear", str(book), "--plot", str(picture)]) == 0

    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="2"):
        main(["market", "clear", str(book), "--plot", "curves.gif"])


def test_what_a_newer_file_expects_is_named_and_what_it_leaves_out_is_not_missed(
    tmp_path: Path, capsys: Captured
) -> None:
    cases = json.loads(CASES.read_text("utf-8"))
    auction, spread = cases["call_auction"][5], cases["spread_return"][0]
    auction["expected"]["colour"] = "blue"
    del auction["expected"]["fills"]["prorata"], auction["expected"]["price"]["seller"]
    auction["expected"]["fills"]["time"]["B3"] = 0
    del spread["expected"]["settlement"]["by_volume"]["S1"]["spread_rounded"]
    spread["expected"]["settlement"]["by_volume"]["S1"]["spread_exact"] = "-10600/2"
    path = tmp_path / "newer.json"
    path.write_text(json.dumps(cases), encoding="utf-8")

    assert main(["market", "check", str(path)]) == 0

    assert "expected.colour (1)" in capsys.readouterr().err


def test_a_case_that_expects_nothing_known_is_wrong(tmp_path: Path, capsys: Captured) -> None:
    cases = json.loads(CASES.read_text("utf-8"))
    cases["intake"][0]["expected"] = {"kode": "ACCEPT"}
    path = tmp_path / "typo.json"
    path.write_text(json.dumps(cases), encoding="utf-8")

    assert main(["market", "check", str(path), "--failures"]) == 1
    assert "kode" in capsys.readouterr().out
