"""Final settlement lines of a direct user -> lines of the user's bill. Pure.

The market settles a direct user's energy; the bill takes its final lines over unchanged, with formula, inputs and the
rule they follow, and adds T&D, system operation, funds and the rest from the grid's files. Environmental value of green
power stands in its own section, outside the power factor base (发改能源规〔2025〕1656号 art. 33).
"""

from __future__ import annotations

from collections.abc import Iterable

from cloud.billing.line import BillLine, Derivation, Input, Period, Section
from cloud.market.line import Item, SettlementLine

PREFIX = "settled_"
SECTIONS = {Item.GREEN: Section.GREEN, Item.LINE_LOSS: Section.LINE_LOSS}


def bill_lines(lines: Iterable[SettlementLine]) -> tuple[BillLine, ...]:
    """Take settlement lines over into a bill, in their order."""
    return tuple(map(_bill_line, lines))


def _bill_line(line: SettlementLine) -> BillLine:
    how = line.derivation
    facts = {
        "contract": line.contract_id or "",
        "difference": line.difference,
        "rule": line.rule_version,
        "settlement_period": line.period,
    }
    notes = dict(how.notes) | {key: value for key, value in facts.items() if value}
    inputs = tuple(Input(each.name, each.value, each.unit, each.origin, each.document) for each in how.inputs)
    return BillLine(
        SECTIONS.get(line.item, Section.ENERGY),
        item=f"{PREFIX}{line.item}",
        period=Period(line.period) if line.period in set(Period) else None,
        quantity=line.quantity_mwh,
        unit="MWh",
        price_yuan_per_unit=line.price_yuan_per_mwh,
        amount_fen=line.amount_fen,
        derivation=Derivation(how.formula, inputs, how.first_day, how.end_day, tuple(sorted(notes.items()))),
    )
