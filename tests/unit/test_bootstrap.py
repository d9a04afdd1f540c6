"""What `demo/run` and `tests/run` decide before anything is installed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo import bootstrap

ROOT = Path(__file__).resolve().parents[2]


def test_a_python_that_is_too_old_is_told_in_one_line(tmp_path: Path) -> None:
    """Where no newer one is on the path; the script pretends, this Python being new enough."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from demo.old_python import become_newer; become_newer('x')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_newer_python_on_the_path_takes_over(tmp_path: Path) -> None:
    newer = tmp_path / "python3.14"
    newer.write_text('#!/bin/sh\n[ "$1" = "-c" ] || echo "took over: $*"\n')
    newer.chmod(0o755)
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from demo.old_python import become_newer; become_newer('run')"
    done = subprocess.run(
        [sys.executable, "-c", script, "--port", "1"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "took over: run --port 1"


@pytest.mark.parametrize("name", ["old_python.py"])
def test_what_an_old_python_must_read_uses_no_newer_words(name: str) -> None:
    ast.parse((ROOT / "demo" / name).read_text(encoding="utf-8"), feature_version=(3, 4))


@pytest.mark.parametrize("script", ["demo/run", "tests/run"])
def test_the_commands_are_executable_and_readable_by_old_pythons(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3\n")
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 5))


def test_pip_is_not_led_astray_but_keeps_the_persons_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_TARGET", "elsewhere")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    kept = bootstrap._clean_environment()
    assert "PIP_USER" not in kept
    assert "PIP_TARGET" not in kept
    assert kept["PIP_INDEX_URL"] == "https://mirror.example/simple"


def test_another_lock_file_or_another_place_asks_for_another_installation(tmp_path: Path) -> None:
    lock = tmp_path / "locked.txt"
    lock.write_text("a==1\n")
    before = bootstrap._wanted(lock)
    assert before == bootstrap._wanted(lock)
    lock.write_text("a==2\n")
    assert bootstrap._wanted(lock) != before
    assert str(ROOT) in before


def test_an_environment_without_a_python_does_not_work(tmp_path: Path) -> None:
    assert not bootstrap._works(tmp_path / "python")
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert not bootstrap._works(broken)


def test_every_requirement_is_locked_by_hash() -> None:
    for lock in ("edge_agent", "cloud", "demo", "tests", "benchmarks"):
        text = (ROOT / lock / "locked.txt").read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            assert not line.strip() or line.startswith("#") or ("==" in line and "--hash=sha256:" in line), (
                line
            )
