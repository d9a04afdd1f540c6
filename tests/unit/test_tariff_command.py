"""`shoudian-cloud tariff validate` and `tariff schema`: what an analyst sees of a price file, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloud.__main__ import main
from cloud.billing.store.published import packaged_texts

TEXTS = {each.name: each.text for each in packaged_texts()}


def test_a_good_file_is_told_with_what_is_not_sure_and_what_does_not_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next version of Hubei's table, with its published defects."""
    file = tmp_path / "next.toml"
    file.write_text(TEXTS["hubei-agency-2026-01.toml"].replace("version = 1", "version = 2"), "utf-8")

    code = main(["tariff", "validate", str(file)])

    told = capsys.readouterr().out
    assert code == 0
    assert "price-sheet hubei-agency-2026-01@2, hubei [2026-01-01, 2026-02-01)" in told
    assert "[SEC+CALC] printed, component.system_operation" in told
    assert told.count("printed_price_differs") == 10
    assert "printed 0.082273, recomputed 0.077973" in told


def test_one_bad_file_of_two_is_named_by_key_and_gives_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(TEXTS["jibei-funds-2026.toml"], "utf-8")
    bad.write_text(TEXTS["jibei-funds-2026.toml"].replace('"0.019"', "0.019"), "utf-8")

    code = main(["tariff", "validate", str(bad), str(good)])

    told = capsys.readouterr().out
    assert code == 1
    assert f"{bad}: item[1].price_yuan_per_kwh: found 0.019, allowed: a decimal in quotes" in told
    assert f"{good}: funds jibei-funds@1" in told


def test_a_sheet_without_the_files_beside_it_says_what_was_not_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TEXTS["jibei-agency-2026-08.toml"].replace('"jibei"', '"guizhou"'), "utf-8")

    assert main(["tariff", "validate", str(file)]) == 0
    assert "not recomputed" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"\xff\xfe", b"kind = ", b""])
def test_no_price_file_at_all_is_refused_in_one_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "none.toml"
    file.write_bytes(content)

    assert main(["tariff", "validate", str(file)]) == 1
    assert capsys.readouterr().out.count("\n") == 1


def test_a_file_that_is_not_there_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tariff", "validate", "no-such-file.toml"]) == 2
    assert "no-such-file.toml" in capsys.readouterr().err


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tariff", "schema"]) == 0
    assert "catalogue" in json.loads(capsys.readouterr().out)["$defs"]
