"""Every case of `market_auction_cases.json`, exactly: auctions, rolling books, listings, spread return, order intake."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from cloud.cases import auctionfile, auctions
from cloud.cases.auctionfile import Case

FILE = Path(__file__).parent / "market_auction_cases.json"
CASES = auctionfile.cases_from(FILE.read_text("utf-8"), FILE.name)


def by_id(case: Case) -> str:
    return case.id


@pytest.mark.parametrize("case", CASES, ids=by_id)
def test_a_case_comes_out_as_worked_out(case: Case) -> None:
    assert auctionfile.differences(case, auctions.work(case)) == ()


def test_every_kind_and_every_stated_field_is_compared() -> None:
    """Change each expected field in turn: each must be noticed."""
    unnoticed = []
    for case in CASES:
        got = auctions.work(case)
        for at, changed in changes(dict(case.expected)):
            other = Case(case.kind, case.id, case.title, case.table, changed)
            if not auctionfile.differences(other, got):
                unnoticed.append((case.id, at))

    assert {case.kind for case in CASES} == set(auctionfile.KINDS)
    assert unnoticed == []


def changes(expected: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The same expectation with one top-level field changed, each field once."""
    found = []
    for key, value in expected.items():
        if key == "published_price" and value is None:
            continue
        changed = copy.deepcopy(expected)
        changed[key] = other_than(value)
        found.append((key, changed))
    return found


def other_than(value: Any) -> Any:
    if isinstance(value, dict):
        return {**value, "nobody": 1}
    if isinstance(value, list):
        return [*value, 1]
    if isinstance(value, int):
        return value + 10**9
    return json.dumps(value) + "?"
