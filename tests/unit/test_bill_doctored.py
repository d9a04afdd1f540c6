"""`verify-bill` on bills made to deceive it: each is told as wrong or refused, soon, and none is OK."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from unit.test_bill_recompute import a_bill

from cloud.billing.billjson import NotABill, bill_json
from cloud.billing.run.verify import Verdict, verify

Content = dict[str, Any]


def verdict_on(doctor: Callable[[Content], object]) -> Verdict:
    content = json.loads(json.dumps(bill_json(a_bill())))
    doctor(content)
    return verify(json.dumps(content).encode())


def first_segment(content: Content) -> Content:
    segment: Content = content["segments"][0]
    return segment


def test_the_bill_itself_is_right() -> None:
    assert verdict_on(lambda content: None).is_right


def test_prices_of_an_unknown_file_prove_nothing() -> None:
    """The forger names a price file that nobody has, drops every line but one, and the total follows."""

    def forge(content: Content) -> None:
        first_segment(content)["files"][0]["id"] = "jibei-agency-2026-13"
        content["lines"] = content["lines"][:1]
        content["total_fen"] = content["lines"][0]["amount_fen"]

    verdict = verdict_on(forge)

    assert not verdict.is_right
    assert verdict.text.startswith("UNPROVEN 1300000000001 2026-08 revision 1: price files not known here")


def test_a_bill_of_nothing_is_not_right() -> None:
    assert not verdict_on(lambda content: content.update(lines=[], segments=[], total_fen=0)).is_right


@pytest.mark.parametrize(
    "doctor",
    [
        lambda c: c["lines"][0]["derivation"]["inputs"][0].update(value="1E+99999999"),
        lambda c: c["lines"][0].update(quantity="1E-99999999"),
        lambda c: first_segment(c)["terms"].update(capacity_kva=10**120),
        lambda c: first_segment(c)["files"][0].update(id=[1]),
        lambda c: first_segment(c)["files"][0].update(version="1"),
        lambda c: first_segment(c)["files"][0].update(sha256=5),
        lambda c: first_segment(c)["usage"]["days"][0].update(import_wh=[1]),
    ],
)
def test_what_no_bill_can_hold_is_refused(doctor: Callable[[Content], object]) -> None:
    with pytest.raises(NotABill):
        verdict_on(doctor)


def test_an_amount_beyond_all_money_is_told() -> None:
    formula = "*".join(["9" * 900] * 10)
    assert not verdict_on(lambda c: c["lines"][0]["derivation"].update(formula=formula)).is_right
