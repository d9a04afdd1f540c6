"""The top of a bill: whose it is, for when, how much, against the months before; and what it corrects. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal

from cloud.billing.document import figures
from cloud.billing.document.around import Around
from cloud.billing.document.model import Field, Figure, MonthBar, Notice
from cloud.billing.facts import Bill, RatedSegment
from cloud.billing.labels import WORDS, Language, day_text, number_text, word
from cloud.billing.line import PERIODS, Section
from cloud.markettime import day_of, month_after
from cloud.money import EXACT, quotient, total, yuan


def overview(bill: Bill, around: Around, language: Language) -> tuple[Field, ...]:
    """Lay out 概况."""
    terms = bill.segments[-1].segment.terms
    kwh = kwh_by_period(bill.segments)
    grid = _grid(bill)
    pairs = [
        ("account_id", Figure(bill.account.account_id, bill.account.account_id)),
        ("name", Figure(bill.account.name, bill.account.name)),
        ("address", Figure(bill.account.address, bill.account.address)),
        ("month", _span(bill, language)),
        *(
            (key, Figure(word(language, f"{key}.{code}"), code))
            for key, code in (
                ("category", terms.category),
                ("purchase", terms.purchase),
                ("structure", terms.structure),
                ("voltage", terms.voltage),
                ("demand_mode", str(terms.demand_mode)),
            )
        ),
        *([("supplier", Figure(word(language, f"grid.{grid}"), grid))] if grid else []),
        ("energy", figures.with_unit(bill.total_kwh, "kWh", language)),
        ("average_price", _average_price(bill, language)),
        ("peak_share", figures.share(kwh[0] + kwh[1], bill.total_kwh)),
        ("valley_share", figures.share(kwh[3] + kwh[4], bill.total_kwh)),
        *_power_factor(bill, language),
        *_compared(bill, around),
        ("printed_on", _day(day_of(around.issued_at or bill.made_at), language)),
        *([("due_on", _day(around.due_on, language))] if around.due_on else []),
        *([] if around.arrears_fen is None else [("arrears", figures.money(around.arrears_fen))]),
    ]
    return figures.fields(language, pairs)


def months(bill: Bill, around: Around) -> tuple[MonthBar, ...]:
    """Lay out the year that ends with this bill: a bar for each month that is known, gaps for those that are not."""
    known = {each.month: (each.import_wh, each.total_fen) for each in around.past}
    known[bill.month] = (bill.import_wh, bill.total_fen)
    first = min(known)
    return tuple(
        MonthBar(
            label=str(month.month),
            year=str(month.year),
            kwh=figures.number(EXACT.scaleb(Decimal(wh), -3)) if month in known else Figure("—", ""),
            amount=figures.money(fen) if month in known else Figure("—", ""),
            import_wh=wh,
            is_this=month == bill.month,
        )
        for month in _year_to(bill.month)
        if month >= first
        for wh, fen in (known.get(month, (0, 0)),)
    )


def correction(bill: Bill, around: Around, language: Language) -> Notice | None:
    """Explain what this bill corrects, if it does."""
    corrects = around.corrects
    if corrects is None:
        return None
    pairs = [
        ("corrected_revision", Figure(str(corrects.revision), corrects.revision)),
        ("corrected_total", figures.money(corrects.total_fen)),
        ("corrected_now", figures.money(bill.total_fen)),
        ("corrected_change", figures.money(bill.total_fen - corrects.total_fen)),
    ]
    known = f"correction.{corrects.reason}" in WORDS
    reason = word(language, f"correction.{corrects.reason}") if known else corrects.reason
    return Notice(word(language, "correction"), reason, figures.fields(language, pairs))


def kwh_by_period(segments: Sequence[RatedSegment]) -> tuple[Decimal, ...]:
    """Add up the billed kWh of each period."""
    return tuple(total(each.kwh[index] for each in segments) for index in range(len(PERIODS)))


def _year_to(month: date) -> Iterator[date]:
    return (month_after(month, back) for back in range(-12, 1))


def _day(day: date, language: Language) -> Figure:
    return Figure(day_text(language, day), day.isoformat())


def _span(bill: Bill, language: Language) -> Figure:
    first, end = bill.segments[0].segment.first_day, bill.segments[-1].segment.end_day
    last = date.fromordinal(end.toordinal() - 1)
    join = "至" if language is Language.ZH else " to "
    text = f"{day_text(language, first)}{join}{day_text(language, last)}"
    return Figure(text, f"{first.isoformat()}/{end.isoformat()}")


def _grid(bill: Bill) -> str:
    """The grid company whose network the bill pays for, by the file of its T&D prices."""
    names = (
        file.id.split("-")[0] for each in bill.segments for file in each.files if file.kind == "transmission"
    )
    return next((name for name in names if f"grid.{name}" in WORDS), "")


def _average_price(bill: Bill, language: Language) -> Figure:
    if not bill.total_kwh:
        return Figure("—", "")
    price = quotient(yuan(bill.total_fen), bill.total_kwh, figures.PRICE_QUANTUM)
    per = f"{word(language, 'yuan_unit')}/{word(language, 'unit.kWh')}"
    return Figure(f"{price:f} {per}".replace("-", "−"), str(price))


def _power_factor(bill: Bill, language: Language) -> list[tuple[str, Figure]]:
    notes = [dict(line.derivation.notes) for line in bill.lines if line.section is Section.POWER_FACTOR]
    actual = ", ".join(note.get("power_factor", "") for note in notes)
    return [("power_factor", Figure(actual, actual))] if actual else []


def _compared(bill: Bill, around: Around) -> list[tuple[str, Figure]]:
    pairs: list[tuple[str, Figure]] = []
    for key, back in (("last_month", -1), ("last_year", -12)):
        before = around.month(month_after(bill.month, back))
        if before is None:
            continue
        kwh = EXACT.scaleb(Decimal(before.import_wh), -3)
        now_kwh = EXACT.scaleb(Decimal(bill.import_wh), -3)
        figure = figures.money(before.total_fen)
        pairs += [
            (f"{key}_amount", Figure(f"{figure.text} ({number_text(kwh)} kWh)", before.total_fen)),
            (f"{key}_change", figures.change(Decimal(bill.total_fen), Decimal(before.total_fen))),
            (f"{key}_energy_change", figures.change(now_kwh, kwh)),
        ]
    return pairs
