"""The import contracts of pyproject.toml are kept; and each of them sees a forbidden import that is planted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("edge_agent", "cloud", "provisioning")

# (number of the contract that must see it, file to add a line to, the line, modules that must be named)
PLANTED = (
    ("1", "edge_agent/outbox/store.py", "import cloud.money", ("edge_agent.outbox.store", "cloud.money")),
    ("2", "cloud/metering/vee.py", "import edge_agent.profile", ("cloud.metering.vee", "edge_agent.profile")),
    ("3a", "edge_agent/wire/cose.py", "import edge_agent.profile", ("edge_agent.wire.cose", "edge_agent.profile")),
    ("3b", "cloud/metering/interval.py", "import cloud.billing.tariff", ("cloud.metering.interval", "cloud.billing.tariff")),
    ("3b", "cloud/utils.py", "", ("utils",)),
    ("3c", "edge_agent/wire/cose.py", "import edge_agent.wire.batch", ("edge_agent.wire.cose", "edge_agent.wire.batch")),
    ("3d", "provisioning/identity.py", "import provisioning.ca", ("provisioning.identity", "provisioning.ca")),
    ("4a", "cloud/security/store.py", "import cloud.security.run", ("cloud.security.store", "cloud.security.run")),
    ("4e", "cloud/api/chart.py", "import cloud.api.billing", ("cloud.api.chart", "cloud.api.billing")),
    ("4f", "cloud/metering/estimate.py", "import cloud.metering.vee", ("cloud.metering", ".vee -> .estimate")),
    ("5", "cloud/billing/tariff.py", "import random", ("cloud.billing.tariff", "random")),
    ("5", "cloud/metering/check.py", "import cloud.db", ("cloud.metering.check", "psycopg")),
    ("6a", "cloud/api/who.py", "import psycopg", ("cloud.api.who", "psycopg")),
    ("6b", "cloud/billing/bill.py", "import pydantic", ("cloud.billing.bill", "pydantic")),
    ("6d", "cloud/db.py", "import aiomqtt", ("cloud.db", "aiomqtt")),
    ("6e", "cloud/db.py", "import typst", ("cloud.db", "typst")),
    ("6g", "edge_agent/profile/model.py", "import serial", ("edge_agent.profile.model", "serial")),
    ("6h", "cloud/billing/charges.py", "import numpy", ("cloud.billing.charges", "numpy")),
    ("7", "cloud/errors.py", "import demo", ("cloud.errors", "demo")),
)  # fmt: skip


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages of a folder."""
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "400", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-P", "-c", script, "--no-cache"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_every_contract_is_kept() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of a copy with every fault planted, by the number of the contract."""
    copy = tmp_path_factory.mktemp("planted")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, copy / package, ignore=lambda _, names: [n for n in names if "__pycache__" in n]
        )
    shutil.copytree(ROOT / "demo", copy / "demo", ignore=shutil.ignore_patterns("__pycache__", "curves"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for _, path, line, _ in PLANTED:
        with (copy / path).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    said = lint(copy).stdout.partition("Broken contracts")[2]
    parts = re.split(r"^(\d\w?)\. .*\n-+\n", said, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(("number", "path", "line", "named"), PLANTED)
def test_a_planted_import_is_seen(
    report: dict[str, str], number: str, path: str, line: str, named: tuple[str, ...]
) -> None:
    assert number in report, f"contract {number} was kept although {path} got: {line}"
    assert any(all(name in part for name in named) for part in report[number].split("\n\n\n")), report[number]
