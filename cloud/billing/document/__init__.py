"""A bill as print data: every number formatted and raw, in the groups and order of a State Grid bill. Pure.

The page (HTML) and the paper (typst) show the same `BillDocument`; neither computes nor formats anything.
Layout: tariffs-and-settlement 15. 代理购电 detail is listed by component (发改办价格〔2021〕809号).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from cloud.billing.capitals import capitals
from cloud.billing.document import blocks, figures
from cloud.billing.document.around import NOTHING, Around
from cloud.billing.document.charges import groups, how
from cloud.billing.document.model import (
    BillDocument,
    DayBar,
    Figure,
    PeriodRow,
    RegisterRow,
)
from cloud.billing.document.overview import correction, kwh_by_period, months, overview
from cloud.billing.facts import Bill, RatedSegment, Register
from cloud.billing.labels import WORDS, Language, word
from cloud.billing.line import PERIODS
from cloud.money import rounded

__all__ = ["BillDocument", "bill_document", "how"]

REGISTER_QUANTUM = Decimal("0.01")  # what a meter's face shows; `raw` keeps every digit
WITH_A_MARK = ("draft", "held", "superseded", "void")


def bill_document(bill: Bill, language: Language, around: Around = NOTHING) -> BillDocument:
    """Lay a bill out for print in one language."""
    refund = bill.total_fen < 0
    return BillDocument(
        language=language,
        title=word(language, "title"),
        subtitle=_subtitle(bill, language),
        status=_status(bill, language),
        words={key: word(language, key) for key in WORDS if "." not in key},
        account_id=bill.account.account_id,
        month=bill.month.strftime("%Y-%m"),
        revision=bill.revision,
        total=figures.money(bill.total_fen),
        total_label=word(language, "amount_to_refund" if refund else "amount_due"),
        total_capitals=capitals(bill.total_fen),
        overview=overview(bill, around, language),
        correction=correction(bill, around, language),
        registers=tuple(_register_row(each, language) for each in bill.registers),
        periods=_periods(bill, language),
        total_kwh=figures.number(bill.total_kwh),
        days=_days(bill.segments),
        months=months(bill, around),
        groups=groups(bill.lines, language, bill.segments[-1].segment.terms.purchase),
        basic=blocks.basic(bill, language),
        power_factor=blocks.power_factor(bill, language),
        tax=blocks.tax(bill, language),
        checks=blocks.checks(bill, language),
        basis=blocks.basis(bill.segments, language),
        pay=tuple(word(language, key, account=bill.account.account_id) for key in ("pay_online", "pay_bank")),
        remarks=blocks.remarks(bill, language),
    )


def _subtitle(bill: Bill, language: Language) -> str:
    terms = bill.segments[-1].segment.terms
    parts = (f"purchase.{terms.purchase}", f"category.{terms.category}", f"structure.{terms.structure}")
    return " · ".join(word(language, key) for key in parts)


def _status(bill: Bill, language: Language) -> str:
    marks = [word(language, f"mark_{bill.state}")] if bill.state in WITH_A_MARK else []
    if bill.revision > 1:
        marks.append(word(language, "revision", n=bill.revision))
    return " · ".join(marks)


def _register_row(each: Register, language: Language) -> RegisterRow:
    start, end = (_register_figure(value, language) for value in (each.start, each.end))
    measured = Figure("—", "") if each.moved_kwh is None else figures.number(each.moved_kwh)
    return RegisterRow(
        each.meter_id,
        each.supply_point_id,
        word(language, f"register.{each.register}"),
        start,
        end,
        Figure(str(each.multiplier), each.multiplier),
        measured,
        word(language, f"unit.{each.unit}"),
    )


def _register_figure(value: Decimal | None, language: Language) -> Figure:
    if value is None:
        return Figure(word(language, "no_value"), "")
    return Figure(f"{rounded(value, REGISTER_QUANTUM):,f}", str(value))


def _periods(bill: Bill, language: Language) -> tuple[PeriodRow, ...]:
    return tuple(
        PeriodRow(
            period,
            word(language, f"period.{period}"),
            figures.number(kwh),
            figures.share(kwh, bill.total_kwh),
        )
        for period, kwh in zip(PERIODS, kwh_by_period(bill.segments), strict=True)
    )


def _days(segments: Iterable[RatedSegment]) -> tuple[DayBar, ...]:
    return tuple(
        DayBar(str(day.day.day), day.import_wh) for each in segments for day in each.segment.usage.days
    )
