"""`verify-bill` on bills made to deceive it: each is told as wrong or refused, soon, and none is OK."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pypdfium2
import pytest
from unit.test_bill_recompute import a_bill

from cloud.billing.billjson import NotABill, bill_json, facts_json
from cloud.billing.facts import file_ref
from cloud.billing.run.verify import Verdict, verify
from cloud.billing.store.published import packaged_catalogue
from cloud.paper.attached import NoAttachment

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


@pytest.mark.parametrize("key", ["title", "document"])
def test_a_price_file_that_is_told_otherwise(key: str) -> None:
    """The bytes are the published ones, but the bill prints another document under them."""
    verdict = verdict_on(lambda c: first_segment(c)["files"][1].update({key: "another document"}))

    assert "told otherwise" in verdict.text


def test_a_settled_line_on_the_bill_of_somebody_who_does_not_trade() -> None:
    """What the market settled is given, not rated: so a forger would give away anything."""

    def forge(content: Content) -> None:
        gift = json.loads(json.dumps(content["lines"][0]))
        gift["amount_fen"] = -500_000
        gift["derivation"].update(
            formula="-x",
            inputs=[{"name": "x", "value": "5000", "unit": "yuan", "origin": "o", "document": "d"}],
        )
        content["lines"].insert(0, gift)
        content["total_fen"] -= 500_000
        content["given"]["settled_lines"] = 1

    verdict = verdict_on(forge)

    assert not verdict.is_right
    assert "does not trade directly" in verdict.text


def test_price_files_of_another_category_or_grid() -> None:
    assert not verdict_on(lambda c: first_segment(c)["terms"].update(category="residential")).is_right

    hubei = next(
        each
        for each in packaged_catalogue().files
        if each.head.kind == "transmission" and each.head.grid == "hubei"
    )
    ref = facts_json(a_bill())["segments"][0]["files"][0] | {
        "kind": hubei.head.kind,
        "id": hubei.head.id,
        "version": hubei.head.version,
        "sha256": hubei.head.sha256,
        "title": hubei.head.title,
        "document": file_ref(hubei.head).document,
        "provisional": list(file_ref(hubei.head).provisional),
    }

    def mix(content: Content) -> None:
        files = first_segment(content)["files"]
        at = next(at for at, each in enumerate(files) if each["kind"] == hubei.head.kind)
        files[at] = ref

    assert "is not that of one commercial customer" in verdict_on(mix).text


def test_a_key_that_stands_twice_is_refused() -> None:
    text = json.dumps(bill_json(a_bill()))

    with pytest.raises(NotABill):
        verify(f'{{"total_fen": 1, {text[1:]}'.encode())


def test_a_day_at_the_end_of_time_is_told_soon() -> None:
    verdict = verdict_on(lambda c: first_segment(c).update(end_day="9999-12-31"))

    assert not verdict.is_right


@pytest.mark.parametrize("formula", ["kwh" + ".a" * 2000, "kwh" + "[0]" * 2000, "-" * 3000 + "kwh"])
def test_a_formula_that_goes_too_deep(formula: str) -> None:
    assert not verdict_on(lambda c: c["lines"][0]["derivation"].update(formula=formula)).is_right


@pytest.mark.parametrize("content", [b"", b" " * 50_000_001])
def test_an_attached_file_of_no_size_or_of_a_huge_one(content: bytes) -> None:
    pdf = pypdfium2.PdfDocument.new()
    pdf.new_page(100, 100)
    attachment = pdf.new_attachment("bill.json")
    if content:
        attachment.set_data(content)
    out = io.BytesIO()
    pdf.save(out)

    with pytest.raises(NoAttachment):
        verify(out.getvalue())


def test_a_formula_whose_numbers_grow_is_told_soon() -> None:
    """Two thousand lines of it would take minutes."""

    def grow(content: Content) -> None:
        line = content["lines"][0]
        line["derivation"]["inputs"][0].update(name="a", value="1E-59")
        line["derivation"]["formula"] = "+".join(f"1/({'*'.join([f'(a+{n})'] * 80)})" for n in range(15))
        content["lines"] = [line] * 2000
        content["total_fen"] = line["amount_fen"] * 2000

    assert "grow beyond" in verdict_on(grow).text
