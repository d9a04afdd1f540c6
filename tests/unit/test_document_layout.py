"""What a bill shows (tariffs-and-settlement 15): all of it, adding up, on page and paper, whatever is in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.test_bill_recompute import PRICES, a_bill

from cloud.billing import bill as rating
from cloud.billing import facts
from cloud.billing.document import bill_document
from cloud.billing.document.around import NOTHING, Around, Corrects, PastMonth, bill_file_text
from cloud.billing.document.charges import groups
from cloud.billing.facts import Bill
from cloud.billing.labels import Language
from cloud.billing.line import PERIODS
from cloud.billing.proof.page import page_problems
from cloud.billing.proof.step import Finding, walk
from cloud.billing.run.print import Job, bill_paper, bill_pdf, print_all
from cloud.billing.run.verify import verify
from cloud.billing.segment import DayUse, Demand, DemandMode, Segment, Terms, Usage
from cloud.config import SignerConfig
from cloud.markettime import days_of_month, month_after
from cloud.paper import glyphs
from cloud.paper.attached import page_text

AUGUST, SEPTEMBER = date(2026, 8, 1), date(2026, 9, 1)
MADE = datetime(2026, 9, 3, tzinfo=UTC)
UNSIGNED = SignerConfig(None, None)
YEAR = tuple(
    PastMonth(month_after(AUGUST, -back), 100_000 * back, 1_000_000 * back) for back in range(12, 0, -1)
)
AROUND = Around(YEAR, MADE, date(2026, 9, 23), 50_00, Corrects(1, 800_000, "reading"))


@st.composite
def bills(draw: st.DrawFn) -> Bill:
    """Two-part or single-part bills of any size and shape of the day."""
    two_part = draw(st.booleans())
    mode = draw(st.sampled_from([DemandMode.CAPACITY, DemandMode.ACTUAL])) if two_part else DemandMode.NONE
    terms = Terms(
        "commercial",
        "agency",
        "two_part" if two_part else "single_part",
        "1-10kV",
        mode,
        draw(st.integers(100, 5000)) if two_part else None,
        None,
        draw(st.sampled_from([None, Decimal("0.85"), Decimal("0.90")])),
    )
    days = tuple(
        DayUse(day, tuple(draw(st.integers(0, 40_000_000)) if at == 0 else 7_000 * at for _ in PERIODS))
        for at, day in enumerate(days_of_month(AUGUST))
    )
    wh = tuple(sum(day.import_wh[index] for day in days) for index in range(len(PERIODS)))
    demand = Demand("SP1", Decimal(draw(st.integers(0, 90_000))) / 10, AUGUST, 40)
    usage = Usage(wh, 0, draw(st.integers(0, 10**9)), 0, (demand,), draw(st.integers(0, 9)), days)
    priced = rating.priced([(Segment(AUGUST, SEPTEMBER, terms, usage), PRICES)])
    account = facts.Account(
        "1300000000001", draw(st.sampled_from(["示范", "䶮㙦𠮷", "A & B"])), "示范路 1 号"
    )
    return Bill(account, AUGUST, 1, MADE, tuple(map(facts.rated, priced)), rating.rate(priced, AUGUST))


def fen(text: str) -> int:
    return int(text.replace(",", "").replace("−", "-").replace(".", ""))


@settings(max_examples=25)
@given(bills())
def test_printed_amounts_add_up_to_the_printed_total(bill: Bill) -> None:
    """Lines to the sections, parts to their line, sections to the total: as a reader with a pencil would."""
    document = bill_document(bill, Language.ZH, AROUND)

    for group in document.groups:
        assert sum(fen(row.amount.text) for row in group.rows) == fen(group.subtotal.text)
        for row in group.rows:
            if row.parts:
                assert sum(fen(part.amount.text) for part in row.parts) == fen(row.amount.text)
    older = replace(
        bill, lines=tuple(replace(line, items=()) for line in bill.lines)
    )  # of before there were items
    for group in bill_document(older, Language.ZH).groups:
        for row in group.rows:
            if row.parts:
                assert sum(fen(part.amount.text) for part in row.parts) == fen(row.amount.text)
    assert sum(fen(group.subtotal.text) for group in document.groups) == fen(document.total.text)
    assert sum(len(group.rows) for group in document.groups) == len(bill.lines)
    assert all(check.agrees for check in document.checks)
    tax = {field.key: field.value for field in document.tax}
    assert fen(tax["vat_net"].text) + fen(tax["vat_amount"].text) == fen(document.total.text)


@settings(max_examples=4)
@given(bills())
def test_the_text_of_the_pdf_adds_up_to_its_total(bill: Bill) -> None:
    """Amounts are taken out of the PDF, one section after the other, and added."""
    pdf = bill_pdf(bill, Language.ZH, AROUND)
    shown = page_text(pdf)
    document = bill_document(bill, Language.ZH, AROUND)

    at, added = 0, 0
    for group in document.groups:
        for row in group.rows:
            wanted = f"{row.quantity.text}{row.unit}{row.price.text}"
            at = shown.index(wanted.replace(" ", ""), at) + len(wanted.replace(" ", ""))
            end = shown.index(".", at) + 3
            added += fen(shown[at:end])
            at = end
    assert added == bill.total_fen
    assert verify(pdf).is_right


@settings(max_examples=3)
@given(bills(), st.sampled_from(list(Language)))
def test_the_same_bill_is_the_same_paper(bill: Bill, language: Language) -> None:
    assert bill_paper(bill, language, AROUND, is_signed=False) == bill_paper(
        bill, language, AROUND, is_signed=False
    )


def test_the_overview_holds_what_a_state_grid_bill_holds() -> None:
    fields = {each.key: each.value for each in bill_document(a_bill(), Language.ZH, AROUND).overview}

    assert {"account_id", "name", "address", "category", "voltage", "purchase", "supplier", "month"} <= set(
        fields
    )
    assert fields["supplier"].text == "国网冀北电力有限公司"
    assert fields["month"].text == "2026年8月1日至2026年8月31日"
    assert fields["printed_on"].text == "2026年9月3日"  # of the bill, not of the clock
    assert fields["due_on"].text == "2026年9月23日"
    assert fields["arrears"].text == "50.00"
    assert fields["last_month_amount"].text == "1,000.00 (1,000 kWh)"
    assert fields["last_year_amount"].text == "12,000.00 (12,000 kWh)"


def test_vat_is_thirteen_hundred_and_thirteenths() -> None:
    """发改: 113.00 yuan hold 13.00 of VAT."""
    (line, *_) = a_bill().lines
    bill = replace(a_bill(), lines=(replace(line, amount_fen=11_300),))
    tax = {field.key: field.value.text for field in bill_document(bill, Language.ZH).tax}

    assert (tax["vat_rate"], tax["vat_net"], tax["vat_amount"]) == ("13%", "100.00", "13.00")


def test_a_correction_tells_why_and_by_how_much() -> None:
    notice = bill_document(replace(a_bill(), revision=2), Language.ZH, AROUND).correction

    assert notice is not None
    assert notice.reason == "读数更正"
    values = {field.key: field.value.raw for field in notice.fields}
    assert values["corrected_change"] == a_bill().total_fen - 800_000
    assert bill_document(a_bill(), Language.ZH).correction is None


def test_months_that_are_not_known_stay_empty() -> None:
    known = (PastMonth(date(2026, 5, 1), 1, 1000), PastMonth(date(2026, 7, 1), 1, 1000))
    months = bill_document(a_bill(), Language.EN, Around(known)).months

    assert [each.label for each in months] == ["5", "6", "7", "8"]
    assert [each.kwh.text for each in months][:3] == ["1", "—", "1"]
    assert [each.is_this for each in months] == [False, False, False, True]


@pytest.mark.parametrize(
    "name", ["示范 😀 公司", "a\u202eb", "\u200b\ufeff", "ก ข ع", "\ue000", "字\ufe00", "𠮷䶮㙦旸垚囍"]
)
def test_no_character_stops_a_bill(name: str) -> None:
    bill = replace(a_bill(), account=replace(a_bill().account, name=name, address=name))

    pdf = bill_pdf(bill, Language.ZH, AROUND)

    shown, missing = glyphs.printable(name)
    assert "".join(shown.split()) in page_text(pdf)
    assert ("〓" in page_text(pdf)) == bool(missing)
    assert all(f"U+{ord(each):04X}" in page_text(pdf) for each in missing)
    assert verify(pdf).is_right


def test_rare_characters_of_names_are_in_the_font() -> None:
    assert all(map(glyphs.is_printable, "𠮷䶮㙦旸垚囍龘"))
    assert not any(map(glyphs.is_printable, "😀\u202e\x00\ue000"))


def test_a_bill_that_cannot_be_printed_does_not_stop_the_others(
    tmp_path: Path,
) -> None:
    good = bill_file_text(a_bill())
    jobs = [
        Job(name, text, tmp_path / f"{name}.pdf", Language.ZH, UNSIGNED)
        for name, text in (("a", good), ("b", '{"schema": "something else"}'), ("c", good))
    ]

    done = list(print_all(jobs, 2))

    assert [(each.name, each.problem[:8]) for each in done] == [("a", ""), ("b", "NotABill"), ("c", "")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "c.pdf"]
    assert (tmp_path / "a.pdf").read_bytes() == bill_pdf(a_bill(), Language.ZH)


def test_pages_of_another_version_are_compared_by_their_text() -> None:
    bill, around = a_bill(), AROUND
    shown = page_text(bill_paper(bill, Language.ZH, around, is_signed=False))
    document = bill_document(bill, Language.ZH, around)

    assert page_problems(shown, document) == []
    amount = document.groups[0].rows[1].amount.text
    (problem,) = page_problems(shown.replace(amount, "1,329.40"), document)
    assert problem.startswith("line 2 (代理购电电费 高峰): the data says '1,329.46'")


def test_data_that_the_pages_do_not_show_is_told() -> None:
    """The pages of one bill around the data of another, both printed by us."""
    dearer = replace(a_bill(), account=replace(a_bill().account, name="别人"))
    pdf = bill_paper(a_bill(), Language.ZH, NOTHING, is_signed=False)
    forged = with_attachment(bill_paper(dearer, Language.ZH, NOTHING, is_signed=False), pdf)

    steps = list(walk(verify(forged).steps))

    assert any(each.key == "page" and each.finding is Finding.WRONG for each in steps)


def with_attachment(source: bytes, pages: bytes) -> bytes:
    """The pages of one PDF with the attachment of the other."""
    import io

    with pypdfium2.PdfDocument(source) as one, pypdfium2.PdfDocument(pages) as other:
        content = bytes(one.get_attachment(0).get_data())
        name = one.get_attachment(0).get_name()
        while other.count_attachments():
            other.del_attachment(0)
        attachment = other.new_attachment(name)
        attachment.set_data(content)
        out = io.BytesIO()
        other.save(out)
    return out.getvalue()


def test_groups_name_energy_bought_in_the_market() -> None:
    assert groups(a_bill().lines, Language.ZH, "retail")[0].label == "市场化购电费(零售)"
    assert groups(a_bill().lines, Language.ZH, "agency")[0].label == "代理购电费"
