"""Our code keeps its own rules; and each rule can see: a planted fault turns it red."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import tidy_rules as rules
from tidy_rules import Rule

ROOT = Path(__file__).resolve().parents[2]
TEXT = (
    ".py",
    ".md",
    ".toml",
    ".yml",
    ".yaml",
    ".sql",
    ".sh",
    ".html",
    ".js",
    ".css",
    ".txt",
    ".cfg",
    ".json",
)


def tracked() -> list[str]:
    """Name every file of the project; in a checkout without git, what is not ignored by name."""
    git = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=False)
    if git.returncode == 0:
        paths = git.stdout.decode().split("\0")[:-1]
    else:
        away = (".venv", ".shoudian", "build", "dist", ".git", "__pycache__")
        paths = [
            p.relative_to(ROOT).as_posix()
            for p in ROOT.rglob("*")
            if not any(part in away for part in p.parts)
        ]
    return sorted(path for path in paths if (ROOT / path).is_file())


FILES = tracked()
CODE = [path for path in FILES if path.endswith(".py")]
PRODUCTION = [path for path in CODE if path.startswith(rules.PRODUCTION)]


def contract_5() -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    return next(list(c["source_modules"]) for c in contracts if c["name"].startswith("5."))


def file_of(module: str) -> str:
    plain = module.replace(".", "/")
    return f"{plain}.py" if (ROOT / f"{plain}.py").exists() else f"{plain}/__init__.py"


CORE = [file_of(module) for module in contract_5()]

KEPT: list[tuple[Rule, list[str]]] = [
    (rules.file_length, CODE),
    (rules.function_length, CODE),
    (rules.module_docstring, CODE),
    (rules.file_name, CODE),
    (rules.machine_path, [path for path in FILES if path.endswith(TEXT) and "vendor/" not in path]),
    (rules.clock, PRODUCTION),
    (rules.no_float, CORE),
    (rules.unit_suffix, CORE),
    (rules.allow_first, [path for path in PRODUCTION if path.startswith("cloud/")]),
]


@pytest.mark.parametrize(("rule", "paths"), KEPT, ids=[rule.__name__ for rule, _ in KEPT])
def test_kept(rule: Rule, paths: list[str]) -> None:
    assert paths
    faults = [
        f"{path}:{fault.line}: {fault.what}"
        for path in paths
        for fault in rule(path, (ROOT / path).read_text(encoding="utf-8"))
    ]
    assert not faults, "\n" + "\n".join(faults)


def test_every_file_of_a_room_that_is_not_run_or_store_is_checked_as_pure() -> None:
    with_code = [path for path in PRODUCTION if ast.parse((ROOT / path).read_text(encoding="utf-8")).body[1:]]
    expected = rules.pure_by_habit(with_code)
    wanted = "\n".join(f'  "{module}",' for module in sorted(expected))
    assert set(contract_5()) == expected, f"source_modules of contract 5 must be:\n{wanted}"


DATACLASS = "from dataclasses import dataclass\n@dataclass(frozen=True, slots=True)\nclass Line:\n    "
SHELL = '"""Shell."""\ndef bill(conn: Conn, actor: Actor) -> None:\n    """Bill."""\n    '
CORE_FILE = "cloud/billing/bill.py"
MACHINE = "/".join(("", "home", "somebody", "data"))

PLANTED: list[tuple[Rule, str, str, str]] = [
    (rules.file_length, CORE_FILE, "x = 1\n" * 501, "x = 1\n" * 500),
    (rules.function_length, CORE_FILE, "def f():\n" + "    x = 1\n" * 60, "def f():\n" + "    x = 1\n" * 59),
    (rules.function_length, CORE_FILE, "async def f():\n" + "    x = 1\n" * 60, ""),
    (rules.module_docstring, CORE_FILE, "x = 1\n", '"""What it is."""\nx = 1\n'),
    (rules.module_docstring, CORE_FILE, "x = 1\n", ""),
    (rules.file_name, "cloud/utils.py", "", ""),
    (rules.machine_path, "docs/x.md", f"cd {MACHINE}", "cd /var/lib/shoudian"),
    (rules.clock, CORE_FILE, "now = datetime.now(UTC)", "def f(now: datetime) -> None: ..."),
    (rules.clock, CORE_FILE, "now = dt.datetime.utcnow()", "now = clock()"),
    (rules.clock, CORE_FILE, "day = date.today()", "day = day_of(instant)"),
    (rules.no_float, CORE_FILE, "rate = 0.5283", 'rate = Decimal("0.5283")'),
    (rules.no_float, CORE_FILE, "x = float(y)", "x = int(y)"),
    (rules.no_float, CORE_FILE, "fen = round(yuan * 100)", "fen = fen_for(wh, price_yuan_per_kwh)"),
    (rules.no_float, CORE_FILE, "def f(x: float) -> None: ...", "def f(x_wh: int) -> None: ..."),
    (rules.unit_suffix, CORE_FILE, DATACLASS + "energy: int", DATACLASS + "energy_wh: int"),
    (rules.unit_suffix, CORE_FILE, DATACLASS + "energy_mwh: int", DATACLASS + "wh_max: int"),
    (rules.unit_suffix, CORE_FILE, DATACLASS + "price: Decimal", DATACLASS + "price_yuan_per_kwh: Decimal"),
    (
        rules.unit_suffix,
        CORE_FILE,
        DATACLASS + "demand: Decimal | None",
        DATACLASS + "demand_kw: Decimal | None",
    ),
    (rules.unit_suffix, CORE_FILE, DATACLASS + "start: Decimal", DATACLASS + "start: Decimal\n    unit: str"),
    (rules.unit_suffix, CORE_FILE, DATACLASS + "amount: int = 0", DATACLASS + "revision: int = 0"),
    (
        rules.allow_first,
        "cloud/billing/run/bill.py",
        SHELL + "save(conn)",
        SHELL + "allow(conn, actor, Deed.BILL)",
    ),
]


@pytest.mark.parametrize(("rule", "path", "bad", "good"), PLANTED, ids=[p[0].__name__ for p in PLANTED])
def test_a_planted_fault_is_seen(rule: Rule, path: str, bad: str, good: str) -> None:
    assert rule(path, bad)
    assert not rule(path.replace("utils", "tariff"), good)


def test_every_rule_has_a_planted_fault() -> None:
    assert {rule for rule, _ in KEPT} == {rule for rule, *_ in PLANTED}


def test_the_clock_may_be_looked_at_in_the_composition_roots() -> None:
    assert not rules.clock("cloud/jobs.py", "now = datetime.now(UTC)")


def test_a_new_file_in_a_room_counts_as_pure() -> None:
    paths = [
        "cloud/billing/new.py", "cloud/billing/run/new.py", "cloud/billing/store.py", "cloud/api/new.py",
        "edge_agent/wire/new.py", "edge_agent/drivers/bus.py", "edge_agent/drivers/new.py", "provisioning/ca.py",
    ]  # fmt: skip
    assert rules.pure_by_habit(paths) == {
        "cloud.billing.new",
        "edge_agent.wire.new",
        "edge_agent.drivers.new",
    }


def test_no_two_test_files_have_one_name() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name.startswith("test_"))

    assert [
        name for name, count in names.items() if count > 1
    ] == []  # collected together, one hides the other
