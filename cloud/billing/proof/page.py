"""Do the pages show what the data says? The visible text against the document, in order. Pure.

Only needed where the pages are not byte for byte what this program prints (another version, or a forger): then every
name, quantity, price and amount must be found, one after the other, as the paper lays them out.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloud.billing.document.model import BillDocument

MARK = "〓"


def page_problems(text: str, document: BillDocument) -> list[str]:
    """Name the first thing that the pages do not show where it should stand. `text` has no white space."""
    at = 0
    for name, shown in _expected(document):
        wanted = "".join(shown.split())
        if not wanted:
            continue
        found = _find(text, wanted, at)
        if found < 0:
            return [f"{name}: the data says {shown!r}, the page does not show it there"]
        at = found + len(wanted)
    return []


def _find(text: str, wanted: str, start: int) -> int:
    """Find a text; a character that could not be printed stands as a mark."""
    at = text.find(wanted, start)
    if at >= 0 or MARK not in text:
        return at
    last = len(text) - len(wanted)
    return next(
        (
            place
            for place in range(start, last + 1)
            if all(shown in (each, MARK) for each, shown in zip(wanted, text[place:], strict=False))
        ),
        -1,
    )


def _expected(document: BillDocument) -> Iterator[tuple[str, str]]:
    """What the paper shows, in its order (cloud/paper/bill.typ)."""
    yield "title", document.title
    yield "total", document.total.text
    yield "capitals", document.total_capitals
    for field in document.overview:
        yield field.label, field.value.text
    if document.correction:
        for field in document.correction.fields:
            yield field.label, field.value.text
    for period in document.periods:
        yield period.label, period.kwh.text
    yield "kWh", document.total_kwh.text
    for register in document.registers:
        for shown in (register.meter_id, register.start.text, register.end.text, register.multiplier.text):
            yield f"register {register.meter_id}", shown
    for group in document.groups:
        yield group.label, group.subtotal.text
        for row in group.rows:
            name = f"line {row.line_no} ({row.label} {row.period_label})"
            for shown in (row.label, row.period_label, row.quantity.text, row.price.text, row.amount.text):
                yield name, shown
    yield "total", document.total.text
