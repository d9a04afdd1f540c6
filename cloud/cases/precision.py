"""Cases of precision 精度: decimals of settlement, and sums of rounded lines. Pure."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from cloud.cases.work import Work
from cloud.money import EXACT, total

RULE = "发改能源规〔2025〕976号 art. 12 · §10.5"
VALUES = "values amounts numbers raw"
# Quantum of a kind of value by the words of its name; the first that fits.
KINDS: Final = (
    (("price", "mwh"), "0.001"), (("price", "kwh"), "0.000001"), (("price", "24"), "0.0000001"), (("price", "hour"), "0.0000001"),
    (("package", "price"), "0.000001"), (("mwh",), "0.001"), (("kwh",), "1"), (("kvarh",), "1"), (("pf",), "0.01"), (("power", "factor"), "0.01"),
    (("demand",), "0.000001"), (("kw",), "0.000001"), (("price",), "0.000001"),
    (("money",), "0.01"), (("amount",), "0.01"), (("charge",), "0.01"), (("fee",), "0.01"), (("yuan",), "0.01"),
)  # fmt: skip


def rate(work: Work) -> None:
    """Work a case: round every value by its kind; lines of quantity x price and their sums."""
    work.rule = RULE
    if work.is_list("rows"):
        rows = work.tables("rows")
        for row in rows:
            _row(row)
        work.put_rows("rows", rows)
        _lines(work, rows)
    elif work.is_list("lines"):
        rows = work.tables("lines")
        for row in rows:
            _row(row)
        work.put_rows("lines", rows)
        _lines(work, rows)
    elif work.is_table(VALUES):
        found = {name: _rounded(work, name, value) for name, value in work.numbers(VALUES).items()}
        work.put("rounded", dict(found), "half_up to the decimals of the kind")
    elif work.is_list(VALUES):
        kind = work.text_or("money", "kind quantity type")
        values = work.decimals(VALUES)
        found_list = [_rounded(work, kind, value) for value in values]
        work.put("rounded", list(found_list), "half_up")
        work.put("sum_of_rounded", total(found_list), "round, then sum")
        work.put("rounded_sum_of_values", _rounded(work, kind, total(values)), "sum, then round")
        work.put(
            "half_even",
            [each.quantize(Decimal("0.01"), ROUND_HALF_EVEN) for each in values] if kind == "money" else [],
            "banker's rounding, for comparison only",
        )
    else:
        _row(work)


def _row(row: Work) -> None:
    quantity, price = "mwh kwh quantity energy_mwh energy_kwh kw", "price price_mwh price_kwh unit_price"
    if row.own(quantity) and row.own(price):
        row.put_money("amount", EXACT.multiply(row.decimal(quantity), row.decimal(price)), "quantity x price")
        return
    if row.own("value raw"):
        kind = row.text_or("money", "kind quantity type")
        quantum = row.decimal_or(None, "quantum")
        value = row.decimal("value raw")
        row.put(
            "rounded",
            row.rounded(value, "quantum", f"{quantum}") if quantum else _rounded(row, kind, value),
            "half_up",
        )
        return
    names = [name for name in row.names_given() if row.is_number(name)]
    for name in names:
        row.put(
            name, _rounded(row, name, row.decimal(name)), "half_up", also=f"{name}_rounded rounded_{name}"
        )
    if not names:
        row.decimal("value")


def _lines(work: Work, rows: list[Work]) -> None:
    amounts = [row.results.named["amount"].value for row in rows if "amount" in row.results.named]
    if len(amounts) == len(rows):
        work.put(
            "total",
            total(each for each in amounts if isinstance(each, Decimal)),
            "each line rounded, then summed",
        )


def _rounded(work: Work, name: str, value: Decimal) -> Decimal:
    if name in work.case.quanta:
        return work.rounded(value, name)
    words = name.lower().split("_")
    for wanted, quantum in KINDS:
        if all(word in words or (len(word) > 2 and word in name.lower()) for word in wanted):
            kind = "money" if quantum == "0.01" and wanted[0] not in ("pf", "power") else name
            return work.rounded(value, kind, quantum)
    return work.bad(
        work.here(name),
        "is of no known kind",
        "energy_mwh, energy_kwh, money, price_mwh, price_kwh, pf, demand_kw",
    )
