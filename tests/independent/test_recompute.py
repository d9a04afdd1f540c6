"""1,000 random lines of random bills, recomputed by a script that shares nothing with the program."""

from __future__ import annotations

import ast
import copy
import json
import subprocess
import sys
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import recompute

from cloud.billing import bill, facts
from cloud.billing.billjson import bill_text
from cloud.billing.catalogue import AnyPrices, Buyer
from cloud.billing.segment import Demand, DemandMode, Segment, Terms, Usage
from cloud.billing.store.published import packaged_catalogue
from cloud.markettime import month_bounds

SCRIPT = Path(recompute.__file__)
AUGUST, SEPTEMBER = date(2026, 8, 1), date(2026, 9, 1)
CATALOGUE = packaged_catalogue()
SEED = 20260801
LINES = 1000
STANDARDS = (None, Decimal("0.80"), Decimal("0.85"), Decimal("0.90"))
PACKAGES = ("demo-capped", "demo-fixed", "demo-green", "demo-ladder", "demo-linked", "demo-share", "demo-spread", "demo-tou")  # fmt: skip


def prices_of(terms: Terms, grid: str = "jibei", package: str = "") -> AnyPrices:
    return CATALOGUE.any_prices_on(AUGUST, Buyer(grid, terms.purchase, terms.category, terms.option, package))


def customers() -> list[tuple[Terms, AnyPrices]]:
    """Every row of two grids with every demand mode, every package, and every catalogue price."""
    found: list[tuple[Terms, AnyPrices]] = []
    for grid in ("jibei", "shanghai"):
        shop = Terms("commercial", "agency", "", "", DemandMode.NONE, None, None, None)
        for number, row in enumerate(prices_of(shop, grid).transmission.rows):  # type: ignore[union-attr]  # no ladder
            modes = [DemandMode.NONE] if row.structure == "single_part" else list(DemandMode)[1:]
            for mode in modes:
                if mode is not DemandMode.NONE and row.demand_yuan_per_kw_month is None:
                    continue
                terms = Terms(
                    "commercial",
                    "agency",
                    row.structure,
                    row.voltage,
                    mode,
                    4000,
                    2600,
                    STANDARDS[number % 4],
                )
                found.append((terms, prices_of(terms, grid)))
    for package in PACKAGES:
        terms = Terms(
            "commercial", "retail", "two_part", "1-10kV", DemandMode.ACTUAL, 4000, None, Decimal("0.90")
        )
        found.append((terms, prices_of(terms, package=f"{package}@1")))
    for option in ("ladder", "ladder_tou", "shared"):
        terms = Terms(
            "residential", "catalogue", "single_part", "lt1kV", DemandMode.NONE, None, None, None, option
        )
        found.append((terms, prices_of(terms)))
    return found


@cache
def texts() -> tuple[str, ...]:
    """Bills of all customers, as the JSON that is attached to them; every third changes its terms inside the month."""
    rng = np.random.default_rng(SEED)
    result = []
    for number, (terms, prices) in enumerate([*customers(), *customers()]):
        cut = date(2026, 8, int(rng.integers(2, 31)))
        stretches = [(AUGUST, cut), (cut, SEPTEMBER)] if number % 3 == 0 else [(AUGUST, SEPTEMBER)]
        segments = []
        for first, end in stretches:
            wh = tuple(int(each) for each in rng.integers(0, 10 ** int(rng.integers(4, 10)), 5))
            demands = (Demand("SP1", Decimal(int(rng.integers(0, 8_000_000))).scaleb(-3), first, 40),)
            usage = Usage(wh, 0, int(sum(wh) * rng.uniform(0, 1.5)), 0, demands, 0)
            segments.append((Segment(first, end, terms, usage), prices))
        priced = bill.priced(segments)
        given = bill.Given(Decimal(int(rng.integers(0, 4000))))
        account = facts.Account(f"{1_300_000_000_000 + number}", "示范园区䶮光铸造厂", "示范园区1号")
        lines = bill.rate(priced, AUGUST, given)
        rated, now = tuple(map(facts.rated, priced)), month_bounds(AUGUST)[1]
        result.append(bill_text(facts.Bill(account, AUGUST, 1, now, rated, lines, given=given)))
    return tuple(result)


def bills() -> list[dict[str, Any]]:
    return [json.loads(text) for text in texts()]


def test_the_script_knows_nothing_of_the_program() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)


def test_a_thousand_random_lines_follow_from_their_derivations_alone() -> None:
    every = bills()
    drawn = recompute.drawn(every, LINES, str(SEED))

    assert len(every) >= 60
    assert len(set(drawn)) == LINES
    assert recompute.problems(every, LINES, str(SEED)) == []
    seen = {every[b]["lines"][n]["section"] for b, n in drawn}
    assert seen == {
        "energy", "line_loss", "transmission", "system_operation", "funds", "basic", "power_factor", "green", "catalogue",
    }  # fmt: skip


def test_every_doctored_line_is_found() -> None:
    """A fen more in any line, a digit of an input, an operator, a power factor of a hundredth more."""
    for number, content in enumerate(bills()[:8]):
        for at in range(len(content["lines"])):
            doctored = copy.deepcopy(content)
            doctored["lines"][at]["amount_fen"] += 1
            doctored["total_fen"] += 1
            (problem,) = recompute.problems([doctored], LINES, "0")
            assert f"line {at + 1} " in problem, number
    (content,) = [
        each
        for each in bills()
        if any(line["derivation"]["notes"].get("power_factor") for line in each["lines"])
    ][:1]
    (notes,) = [
        line["derivation"]["notes"] for line in content["lines"] if line["section"] == "power_factor"
    ][:1]
    notes["power_factor"] = str(Decimal(notes["power_factor"]) + Decimal("0.01"))
    assert "power factor" in recompute.problems([content], LINES, "0")[0]
    (content, *_) = bills()
    content["total_fen"] += 1
    assert "total" in recompute.problems([content], LINES, "0")[0]


def test_what_is_no_formula_is_a_problem_and_no_traceback() -> None:
    for formula in (
        "kwh *",
        "kwh ** 2",
        "__import__",
        "(kwh",
        "kwh / 0",
        "kwh kwh",
        "fen",
        "1 +- ",
        "kwh; 1",
        "",
        "价",
    ):
        line = {
            "derivation": {"formula": formula, "inputs": [{"name": "kwh", "value": "1"}]},
            "amount_fen": 100,
        }
        assert recompute.line_problem(line), formula
    for formula, amount_fen in (
        ("-kwh", -125),
        ("1 - 2 - 3", -400),
        ("8 / 2 / 2 * kwh", 250),
        ("fen(kwh / 1000) * 3", 0),
    ):
        line = {
            "derivation": {"formula": formula, "inputs": [{"name": "kwh", "value": "1.25"}]},
            "amount_fen": amount_fen,
        }
        assert recompute.line_problem(line) == "", formula


def test_it_runs_by_hand(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.json" for number in range(3)]
    for file, text in zip(files, texts(), strict=False):
        file.write_text(text, encoding="utf-8")
    command = [sys.executable, "-I", SCRIPT, *files, "--lines", "1000"]
    right = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (right.returncode, right.stdout.splitlines()[-1].split(", ")[1]) == (0, "0 wrong")

    content = json.loads(texts()[1])
    content["lines"][3]["amount_fen"] -= 1
    files[1].write_text(json.dumps(content), encoding="utf-8")
    wrong = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert wrong.returncode == 1
    assert "line 4 " in wrong.stdout
