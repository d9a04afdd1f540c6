"""shoudian-cloud on files and settings that are not what they should be: its own words and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.__main__ import main


@pytest.fixture
def no_text(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes("# 张".encode("gb18030"))
    return file


def test_a_site_file_in_another_encoding_is_named(no_text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(no_text)]) == 2
    assert f"{no_text}: TOML: byte 3 is no UTF-8" in capsys.readouterr().err


def test_a_password_file_that_is_no_text_is_named(no_text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user = ["user", "add", "zhang", "--role", "staff", "--name", "Z"]
    assert main([*user, "--password-file", str(no_text)]) == 2
    assert f"The password file {no_text} is not UTF-8 text." in capsys.readouterr().err


def test_a_secret_file_that_is_no_text_is_named(
    no_text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SHOUDIAN_DSN", raising=False)
    monkeypatch.setenv("SHOUDIAN_DSN_FILE", str(no_text))
    assert main(["migrate"]) == 2
    assert "SHOUDIAN_DSN_FILE: " in capsys.readouterr().err


@pytest.mark.parametrize("dsn", ["rubbish", "postgresql://u:secret%zz@h/d"])
def test_a_bad_connection_string_is_named_and_not_repeated(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SHOUDIAN_DSN_FILE", raising=False)
    monkeypatch.setenv("SHOUDIAN_DSN", dsn)
    assert main(["migrate", "--wait-s", "0"]) == 2
    said = capsys.readouterr().err
    assert "SHOUDIAN_DSN: " in said
    assert dsn not in said
    assert "secret" not in said
