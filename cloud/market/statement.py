"""A settlement statement: its life, its text in JSON and CSV, and the hash of what it was made from. Pure.

Drawn up, published as a draft 核对版, confirmed by its recipient (silence confirms) or disputed, then final 正式. A final
statement is never edited: a later run makes the next revision, which replaces it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from cloud.lives import Life
from cloud.market.line import Derivation, Input, Item, SettlementLine, Side
from cloud.money import yuan

STATEMENT = Life(
    "statement",
    {
        (None, "draw"): "drawn",
        ("drawn", "publish"): "draft",
        ("drawn", "replace"): "superseded",
        ("draft", "confirm"): "confirmed",
        ("draft", "silence"): "confirmed",
        ("draft", "object"): "disputed",
        ("draft", "replace"): "superseded",
        ("disputed", "reject"): "confirmed",
        ("disputed", "uphold"): "disputed",
        ("disputed", "finalise"): "final",
        ("disputed", "replace"): "superseded",
        ("confirmed", "finalise"): "final",
        ("confirmed", "replace"): "superseded",
        ("final", "replace"): "superseded",
    },
)
SCHEMA = "shoudian-statement/1"
COLUMNS = (
    "month", "revision", "unit_id", "side", "line_no", "item", "contract_id", "period", "difference",
    "quantity_mwh", "price_yuan_per_mwh", "amount_yuan", "rule_version", "first_day", "end_day",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Heading:
    """Whose statement it is, of which month and revision."""

    unit_id: str
    name: str
    side: Side
    month: date
    revision: int
    state: str


def ordered(lines: Sequence[SettlementLine]) -> tuple[SettlementLine, ...]:
    """Put lines into the order of a statement: by item, contract and period; ties keep their order."""
    items = tuple(Item)
    return tuple(
        sorted(lines, key=lambda line: (items.index(line.item), line.contract_id or "", line.difference))
    )


def input_sha256(lines: Sequence[SettlementLine], rule_sha256: str) -> str:
    """Hash what a statement was made from: the rule's text and every input of every line, with its origin."""
    content = {"rule": rule_sha256, "lines": [line_json(line) for line in lines]}
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def line_json(line: SettlementLine) -> dict[str, Any]:
    """Write a line as plain values; numbers are strings, so that no digit is lost."""
    return {
        "unit_id": line.unit_id,
        "party_id": line.party_id,
        "side": line.side.value,
        "item": line.item.value,
        "contract_id": line.contract_id,
        "period": line.period,
        "difference": line.difference,
        "quantity_mwh": _text(line.quantity_mwh),
        "price_yuan_per_mwh": _text(line.price_yuan_per_mwh),
        "amount_fen": line.amount_fen,
        "derivation": derivation_json(line.derivation),
        "rule_version": line.rule_version,
    }


def line_from(content: Mapping[str, Any]) -> SettlementLine:
    """Read what `line_json` wrote."""
    return SettlementLine(
        content["unit_id"],
        content["party_id"],
        Side(content["side"]),
        Item(content["item"]),
        content["contract_id"],
        content["period"],
        Decimal(content["quantity_mwh"]),
        Decimal(content["price_yuan_per_mwh"]),
        content["amount_fen"],
        derivation_from(content["derivation"]),
        content["rule_version"],
        content["difference"],
    )


def derivation_json(derivation: Derivation) -> dict[str, Any]:
    """Write a derivation as plain values."""
    return {
        "formula": derivation.formula,
        "inputs": [
            [each.name, _text(each.value), each.unit, each.origin, each.document]
            for each in derivation.inputs
        ],
        "first_day": derivation.first_day.isoformat(),
        "end_day": derivation.end_day.isoformat(),
        "notes": [list(note) for note in derivation.notes],
    }


def derivation_from(content: Mapping[str, Any]) -> Derivation:
    """Read what `derivation_json` wrote."""
    return Derivation(
        content["formula"],
        tuple(
            Input(name, Decimal(value), unit, origin, document)
            for name, value, unit, origin, document in content["inputs"]
        ),
        date.fromisoformat(content["first_day"]),
        date.fromisoformat(content["end_day"]),
        tuple((key, value) for key, value in content["notes"]),
    )


def statement_json(heading: Heading, lines: Sequence[SettlementLine]) -> dict[str, Any]:
    """Write a whole statement for programs: accounting, audit, an independent recomputation."""
    return {
        "schema": SCHEMA,
        "unit_id": heading.unit_id,
        "name": heading.name,
        "side": heading.side.value,
        "month": f"{heading.month:%Y-%m}",
        "revision": heading.revision,
        "state": heading.state,
        "total_yuan": str(yuan(sum(line.amount_fen for line in lines))),
        "lines": [line_json(line) for line in lines],
    }


def statements_csv(statements: Sequence[tuple[Heading, Sequence[SettlementLine]]]) -> str:
    """Write statements as one table, one row a line, for accounting and for the grid company."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for heading, lines in statements:
        for number, line in enumerate(lines, start=1):
            writer.writerow(
                (
                    *(
                        f"{heading.month:%Y-%m}",
                        heading.revision,
                        heading.unit_id,
                        heading.side.value,
                        number,
                    ),
                    *(line.item.value, line.contract_id or "", line.period, line.difference),
                    *(_text(line.quantity_mwh), _text(line.price_yuan_per_mwh), str(yuan(line.amount_fen))),
                    *(line.rule_version, line.derivation.first_day, line.derivation.end_day),
                )
            )
    return out.getvalue()


def _text(value: Decimal) -> str:
    return format(value, "f")
