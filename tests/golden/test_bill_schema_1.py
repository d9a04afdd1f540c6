"""A bill of the first schema, written by the program that had it, is still read and still proven.

`bill-schema-1.json` was written by commit e5c701c from the inputs of the worked case AG-101.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloud.billing.bill import NOTHING_GIVEN
from cloud.billing.billjson import SCHEMA, NotABill, bill_from_text, bill_json, bill_text
from cloud.billing.recompute import Checked, check
from cloud.billing.store.published import packaged_catalogue

TEXT = (Path(__file__).parent / "bill-schema-1.json").read_text("utf-8")


def test_it_is_read_and_recomputes() -> None:
    """AG-101: total 181,141.40."""
    bill = bill_from_text(TEXT)

    assert json.loads(TEXT)["schema"] == "shoudian-bill/1"
    assert bill.total_fen == 18_114_140
    assert (bill.given, bill.rating_version) == (NOTHING_GIVEN, "1")
    assert not any(line.items for line in bill.lines)
    assert check(bill, packaged_catalogue()) == Checked((), ())


def test_it_is_written_in_the_present_schema_and_stays_the_same_bill() -> None:
    bill = bill_from_text(TEXT)

    assert bill_json(bill)["schema"] == SCHEMA
    assert bill_from_text(bill_text(bill)) == bill


def test_a_changed_amount_of_it_is_told_with_the_version_that_rated_it() -> None:
    content = json.loads(TEXT)
    line = content["lines"][0]
    line["amount_fen"] += 1
    content["total_fen"] += 1
    line["derivation"]["formula"] += " + 1 / 100"

    (problem,) = check(bill_from_text(json.dumps(content)), packaged_catalogue()).problems
    assert (
        "line 1 (energy energy tip): printed 24007.66, rating gives 24007.65 (rated by version 1)" in problem
    )


@pytest.mark.parametrize("schema", ["shoudian-bill/0", "shoudian-bill/3", ""])
def test_another_schema_is_no_bill(schema: str) -> None:
    with pytest.raises(NotABill):
        bill_from_text(json.dumps(json.loads(TEXT) | {"schema": schema}))


@pytest.mark.parametrize("count", [-1, 1000])
def test_settled_lines_are_lines_of_the_bill(count: int) -> None:
    given = {"year_kwh": "0", "service_from": None, "settled_lines": count}

    with pytest.raises(NotABill):
        bill_from_text(json.dumps(json.loads(TEXT) | {"given": given}))
