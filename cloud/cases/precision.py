"""Cases of precision 精度: decimals of settlement, and sums of rounded lines. Pure."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from cloud.cases.result import Value
from cloud.cases.work import Work, by_row
from cloud.money import EXACT, total

RULE = "发改能源规〔2025〕976号 art. 12 · §10.5"
VALUES = "values amounts numbers raw"
LINES = "lines charge_lines bill_lines charges"
QUANTITIES = "quantities kwh_list quantities_kwh quantities_mwh energies"
QUANTITY, PRICE = "mwh kwh quantity energy_mwh energy_kwh kw", "price price_mwh price_kwh unit_price"
# Quantum of a kind of value by the words of its name; the first that fits.
KINDS: Final = (
    (("price", "24h"), "0.0000001"), (("price", "24"), "0.0000001"), (("24_hour", "price"), "0.0000001"), (("price", "hour"), "0.0000001"),
    (("price", "mwh"), "0.001"), (("price", "kwh"), "0.000001"),
    (("package", "price"), "0.000001"), (("mwh",), "0.001"), (("kwh",), "1"), (("kvarh",), "1"), (("pf",), "0.01"), (("power", "factor"), "0.01"),
    (("demand",), "0.000001"), (("kw",), "0.000001"), (("price",), "0.000001"),
    (("money",), "0.01"), (("amount",), "0.01"), (("charge",), "0.01"), (("fee",), "0.01"), (("yuan",), "0.01"),
)  # fmt: skip


def rate(work: Work) -> None:
    """Work a case: round every value by its kind; lines of quantity x price and their sums."""
    work.rule = RULE
    if work.is_list("rows"):
        _lines(work, by_row(work, _row))
    elif work.is_list(LINES):
        rows = work.tables(LINES)
        for row in rows:
            _row(row)
        work.put_rows("rows", rows, also="lines")
        _lines(work, rows)
    elif work.is_list(QUANTITIES):
        _quantities(work)
    elif work.is_table(VALUES):
        _table(work)
    elif work.is_list(VALUES):
        _list(work, work.text_or("money", "kind quantity type"), work.decimals(VALUES))
    else:
        _row(work)


def _table(work: Work) -> None:
    table = work.table(VALUES)
    found: dict[str, Value] = {}
    for name in table.names_given():
        if table.is_list(name):
            found[name] = [_rounded(table, name, each) for each in table.decimals(name)]
        elif table.has(name):
            found[name] = _rounded(table, name, table.decimal(name))
    work.put("rounded", found, "half_up to the decimals of the kind")


def _quantities(work: Work) -> None:
    """Lists of quantities and prices, or one price for all."""
    quantities = work.decimals(QUANTITIES)
    names = "prices price unit_prices unit_price"
    prices = work.decimals(names) if work.is_list(names) else [work.decimal(names)] * len(quantities)
    if len(prices) != len(quantities):
        work.bad(work.here("prices"), f"has {len(prices)} values", f"{len(quantities)}, as the quantities")
    _sums(work, [EXACT.multiply(each, price) for each, price in zip(quantities, prices, strict=True)])


def _list(work: Work, kind: str, values: list[Decimal]) -> None:
    found_list = [_rounded(work, kind, value) for value in values]
    work.put("rounded", list(found_list), "half_up")
    work.put("sum_of_rounded", total(found_list), "round, then sum")
    work.put("sum_unrounded", total(values), "exact sum")
    work.put("rounded_sum_of_values", _rounded(work, kind, total(values)), "sum, then round")
    if kind == "money":
        even = [each.quantize(Decimal("0.01"), ROUND_HALF_EVEN) for each in values]
        work.put("half_even", list(even), "banker's rounding, for comparison only")


def _sums(work: Work, exact: list[Decimal]) -> None:
    """Line amounts, and their sum by both orders of rounding and summing."""
    amounts = [work.money(each) for each in exact]
    work.put("line_amounts", list(amounts), "quantity x price, each rounded", kind="money")
    work.put("total", total(amounts), "each line rounded, then summed")
    work.put("sum_unrounded", total(exact), "exact sum")
    work.put("rounded_sum_of_values", work.money(total(exact)), "sum, then round")


def _row(row: Work) -> None:
    amount = _amount(row)
    if amount is not None:
        row.put_money("amount", amount, "quantity x price")
        return
    if row.own(VALUES) and row.is_table(VALUES):
        _table(row)
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
    exact = [_amount(row) for row in rows]
    if all(each is not None for each in exact):
        _sums(work, [each for each in exact if each is not None])


def _amount(row: Work) -> Decimal | None:
    if not (row.own(QUANTITY) and row.own(PRICE)):
        return None
    return EXACT.multiply(row.decimal(QUANTITY), row.decimal(PRICE))


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
