"""A regulator's report: its life, its rows, and the named checks that it must pass before it may go out. Pure.

A check compares the rows with figures that were counted another way (`Control`), so that what was lost on the way into
the report shows. A correction is a new revision with its reason; what was handed in is never edited.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from cloud.lives import Life
from cloud.money import fen_of

REPORT: Final = Life(
    "report",
    {
        (None, "build"): "built",
        ("built", "submit"): "submitted",
        ("submitted", "submit"): "submitted",  # the same bytes again, after no credible answer
        ("submitted", "accept"): "accepted",
        ("submitted", "return"): "returned",
        ("built", "replace"): "replaced",
        ("returned", "replace"): "replaced",
        ("accepted", "replace"): "replaced",
    },
)
SCHEMA: Final = "shoudian-report/1"
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "trades": (
            *("contract", "kind", "seller", "buyer", "month", "period", "mwh", "price_yuan_per_mwh"),
            "amount_yuan",
        ),
        "entities": ("party", "name", "kind", "subkind", "state", "since"),
        "settlement": ("unit", "name", "side", "month", "revision", "state", "lines", "mwh", "amount_yuan"),
    }
)
_KEYS: Final = {
    "trades": ("contract", "month", "period"),
    "entities": ("party",),
    "settlement": ("unit", "month"),
}
_EXAMPLES_MAX: Final = 5

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Control:
    """Figures counted another way than the rows: by the database, from the tables that money and contracts rest on."""

    row_count: int = 0
    sum_mwh: Decimal = Decimal(0)
    sum_fen: int = 0
    units: frozenset[str] = frozenset()  # of sellers and buyers, or of the settlement's run
    known_units: frozenset[str] = frozenset()
    parties: frozenset[str] = frozenset()
    counts: Mapping[str, int] = field(default_factory=dict)
    unequal: tuple[str, ...] = ()  # statements whose lines do not add up to their total


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `detail` are examples of what is wrong, empty when it passed."""

    check: str
    is_passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Head:
    """Which report, of which form, for which period, in which revision, and why there is a further one."""

    report_id: str
    version: int
    kind: str
    period: str
    first: date
    end: date
    revision: int
    reason: str
    columns: tuple[str, ...]


def verified(kind: str, checks: Sequence[str], rows: Sequence[Row], control: Control) -> tuple[Finding, ...]:
    """Run the named checks, each to its end; a report goes out when all have passed."""
    found = []
    for name in checks:
        wrong = CHECKS[kind][name](rows, control)
        found.append(Finding(name, not wrong, "；".join(wrong[:_EXAMPLES_MAX])))
    return tuple(found)


def document(head: Head, rows: Sequence[Row]) -> bytes:
    """The report as it is handed in: JSON of which there is one for one content."""
    content = {
        "schema": SCHEMA,
        "report": head.report_id,
        "version": head.version,
        "period": head.period,
        "first": head.first.isoformat(),
        "end": head.end.isoformat(),
        "revision": head.revision,
        "reason": head.reason,
        "columns": list(head.columns),
        "rows": [[row[column] for column in head.columns] for row in rows],
    }
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def table_of(body: bytes) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and rows of a report's document."""
    content: dict[str, Any] = json.loads(body)
    assert content["schema"] == SCHEMA
    return tuple(content["columns"]), tuple(tuple(row) for row in content["rows"])


def csv_text(body: bytes, titles: Mapping[str, str]) -> str:
    """A report's document as CSV with titled columns; a text that a spreadsheet would run is kept a text."""
    columns, rows = table_of(body)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([titles[column] for column in columns])
    writer.writerows([[as_text(cell) for cell in row] for row in rows])
    return out.getvalue()


def as_text(cell: str) -> str:
    """The cell with an apostrophe before what a spreadsheet takes for a formula."""
    is_number = cell.removeprefix("-").replace(".", "", 1).isdigit()
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not is_number else cell


def sha256_of(body: bytes) -> str:
    """The hash under which a report is kept."""
    return hashlib.sha256(body).hexdigest()


# ---- checks: each names what is wrong ----------------------------------------------------------------------


def _some_rows(rows: Sequence[Row], control: Control) -> list[str]:
    return [] if rows or not control.row_count else [f"0 / {control.row_count}"]


def _no_row_twice(kind: str) -> Callable[[Sequence[Row], Control], list[str]]:
    def check(rows: Sequence[Row], control: Control) -> list[str]:
        keys = Counter(" ".join(row[column] for column in _KEYS[kind]) for row in rows)
        return [key for key, count in keys.items() if count > 1]

    return check


def _both_sides_known(rows: Sequence[Row], control: Control) -> list[str]:
    units = {row[side] for row in rows for side in ("seller", "buyer")}
    return sorted(units - control.known_units)


def _amounts_are_products(rows: Sequence[Row], control: Control) -> list[str]:
    return [
        f"{row['contract']} {row['month']} {row['period']}"
        for row in rows
        if fen_of(Decimal(row["mwh"]) * Decimal(row["price_yuan_per_mwh"]))
        != fen_of(Decimal(row["amount_yuan"]))
    ]


def _sums_tie_contracts(rows: Sequence[Row], control: Control) -> list[str]:
    return _differs("rows", len(rows), control.row_count) + _differs(
        "MWh", sum((Decimal(row["mwh"]) for row in rows), Decimal(0)), control.sum_mwh
    )


def _no_entity_missing(rows: Sequence[Row], control: Control) -> list[str]:
    named = {row["party"] for row in rows}
    return sorted(control.parties ^ named)


def _every_trader_admitted(rows: Sequence[Row], control: Control) -> list[str]:
    named = {f"party:{row['party']}" for row in rows}
    return sorted(unit for unit in control.units if unit.startswith("party:") and unit not in named)


def _counts_tie_register(rows: Sequence[Row], control: Control) -> list[str]:
    counts = Counter(row["kind"] for row in rows)
    kinds = sorted(counts.keys() | control.counts.keys())
    return [each for kind in kinds for each in _differs(kind, counts[kind], control.counts.get(kind, 0))]


def _every_statement_final(rows: Sequence[Row], control: Control) -> list[str]:
    return [f"{row['unit']} {row['month']}: {row['state']}" for row in rows if row["state"] != "final"]


def _no_unit_missing(rows: Sequence[Row], control: Control) -> list[str]:
    return sorted(control.units ^ {row["unit"] for row in rows})


def _sums_tie_statements(rows: Sequence[Row], control: Control) -> list[str]:
    total_fen = sum(fen_of(Decimal(row["amount_yuan"])) for row in rows)
    return [
        *control.unequal,
        *_differs("fen", total_fen, control.sum_fen),
        *_differs("rows", len(rows), control.row_count),
    ]


def _differs(name: str, ours: object, counted: object) -> list[str]:
    return [] if ours == counted else [f"{name}: {ours} ≠ {counted}"]


CHECKS: Final[Mapping[str, Mapping[str, Callable[[Sequence[Row], Control], list[str]]]]] = MappingProxyType(
    {
        "trades": {
            "some_rows": _some_rows,
            "no_row_twice": _no_row_twice("trades"),
            "both_sides_known": _both_sides_known,
            "amounts_are_products": _amounts_are_products,
            "sums_tie_contracts": _sums_tie_contracts,
        },
        "entities": {
            "some_rows": _some_rows,
            "no_row_twice": _no_row_twice("entities"),
            "no_entity_missing": _no_entity_missing,
            "every_trader_admitted": _every_trader_admitted,
            "counts_tie_register": _counts_tie_register,
        },
        "settlement": {
            "some_rows": _some_rows,
            "no_row_twice": _no_row_twice("settlement"),
            "every_statement_final": _every_statement_final,
            "no_unit_missing": _no_unit_missing,
            "sums_tie_statements": _sums_tie_statements,
        },
    }
)
