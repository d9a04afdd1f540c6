"""Paper: names are shown as they are, refunds say so, two segments fit, fonts come from one known place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pypdfium2
import pytest

from cloud.billing import bill, facts
from cloud.billing.catalogue import Buyer
from cloud.billing.document import bill_document
from cloud.billing.labels import WORDS, Language, number_text, word
from cloud.billing.run.print import bill_pdf
from cloud.billing.segment import DayUse, Demand, DemandMode, Segment, Terms, Usage
from cloud.billing.store.published import packaged_catalogue
from cloud.paper import fonts
from cloud.paper.attached import attached_json
from cloud.paper.render import Attachment, Unprintable, render

AUGUST, MIDDLE, SEPTEMBER = date(2026, 8, 1), date(2026, 8, 11), date(2026, 9, 1)
MADE = datetime(2026, 9, 3, tzinfo=UTC)
PRICES = packaged_catalogue().prices_on(AUGUST, Buyer("jibei", "agency", "commercial"))
TERMS = Terms("commercial", "agency", "two_part", "35kV", DemandMode.ACTUAL, 2000, None, Decimal("0.85"))
HOSTILE = '#panic("x") *粗* _斜_ $x$ @ref <b> \\ " 𠮷'


def a_bill(name: str) -> facts.Bill:
    usage = Usage(
        (1_000_400, 2_000_000, 3_000_000, 0, 0),
        0,
        9_000_000,
        0,
        (Demand("SP1", Decimal("1234.5"), AUGUST, 40),),
        3,
        (DayUse(AUGUST, (1_000_400, 2_000_000, 3_000_000, 0, 0)),),
    )
    larger = replace(TERMS, capacity_kva=2500, demand_mode=DemandMode.CAPACITY)
    priced = bill.priced(
        [(Segment(AUGUST, MIDDLE, TERMS, usage), PRICES), (Segment(MIDDLE, SEPTEMBER, larger, usage), PRICES)]
    )
    account = facts.Account("1300000000001", name, name)
    return facts.Bill(account, AUGUST, 2, MADE, tuple(map(facts.rated, priced)), bill.rate(priced, AUGUST))


def text_of(pdf: bytes) -> str:
    with pypdfium2.PdfDocument(pdf) as document:
        return "".join(page.get_textpage().get_text_range() for page in document)


def test_a_hostile_name_is_only_a_name() -> None:
    shown = "".join(text_of(bill_pdf(a_bill(HOSTILE), Language.ZH)).split())

    for part in HOSTILE.split():
        assert part in shown


def test_a_correction_of_two_segments_says_both() -> None:
    shown = text_of(bill_pdf(a_bill("示范"), Language.ZH))

    assert "更正账单 第 2 版" in shown
    assert "实际最大需量电费" in shown
    assert "变压器容量电费" in shown
    assert "6 个 15 分钟时段" in shown


def test_a_refund_is_called_one_and_keeps_its_sign() -> None:
    owed = a_bill("示范")
    lines = tuple(replace(line, amount_fen=-line.amount_fen) for line in owed.lines)

    document = bill_document(replace(owed, lines=lines), Language.ZH)

    assert document.total_label == "应退金额"
    assert document.total.text.startswith("−")
    assert document.total_capitals.startswith("人民币负")


def test_every_label_speaks_both_languages() -> None:
    for key, (chinese, english) in WORDS.items():
        assert chinese, key
        assert english, key
        assert not any("一" <= character <= "鿿" for character in english), key
    assert word(Language.EN, "page", n=1, of=2) == "Page 1 of 2"


@pytest.mark.parametrize(
    ("value", "text"),
    [("1234567.8900", "1,234,567.89"), ("100", "100"), ("0", "0"), ("-0.50", "−0.5"), ("1E+3", "1,000")],
)
def test_numbers_are_written_for_people(value: str, text: str) -> None:
    assert number_text(Decimal(value)) == text


def test_a_template_that_does_not_exist_and_data_that_does_not_fit_are_refused() -> None:
    attachment = Attachment("a.json", "{}", "data")
    with pytest.raises(Unprintable):
        render("../bill", {}, attachment, MADE)
    with pytest.raises(Unprintable) as refusal:
        render("bill", {"words": {}}, attachment, MADE)
    assert "bill" in str(refusal.value)


def test_the_attached_json_is_the_bill() -> None:
    from cloud.billing.billjson import bill_from_text

    original = a_bill("示范")

    assert bill_from_text(attached_json(bill_pdf(original, Language.EN))) == original


def test_without_any_font_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (folder,) = fonts.font_folders()
    assert any(folder.glob(fonts.PATTERN))
    monkeypatch.setattr(fonts, "WHEEL", "no_such_wheel")
    monkeypatch.setattr(fonts, "SYSTEM_FOLDERS", (tmp_path,))

    with pytest.raises(fonts.NoChineseFont) as refusal:
        fonts.font_folders()

    assert "fonts-noto-cjk" in str(refusal.value)
