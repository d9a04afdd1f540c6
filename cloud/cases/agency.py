"""Cases of agency purchase 代理购电: price composition, a month's bill on the price table, rebuilding a table. Pure."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from functools import partial

from cloud.billing import tariff
from cloud.billing.line import Period, Section
from cloud.billing.tariff import Component
from cloud.cases.agency_bill import bill
from cloud.cases.agency_parts import (
    AGENCY,
    AVERAGE,
    COEFFICIENTS,
    HISTORIC,
    KWH,
    LOSS,
    LOSS_RATE,
    RULE,
    SYSTEM,
    TRANSMISSION,
    components_of,
    extra_floats,
    funds_only,
    part_price,
    parts_of,
    penalised,
)
from cloud.cases.rules import Rules
from cloud.cases.work import Work, percents_of
from cloud.money import EXACT, total


def rate(work: Work, rules: Rules) -> None:
    """Work a case: a bill where there is energy, a price table where there are rows, else the price of each period."""
    work.rule = RULE
    if work.is_list("rows"):
        _table(work, rules)
        return
    if work.is_table(TRANSMISSION) and work.has(COEFFICIENTS):
        _grid_table(work, rules)
        return
    if work.has_ratio(LOSS_RATE) and not work.has(COEFFICIENTS):
        _loss_price(work)
        if not work.has(KWH):
            _composition(work)
            return
    elif work.has_ratio(LOSS_RATE):
        _loss_price(work)
    if work.has("printed_price published_price") and not work.has(COEFFICIENTS):
        _composition(work)
    elif not parts_of(work) or not components_of(work).has(f"{AVERAGE} {AGENCY}"):
        funds_only(work)
        _items_sum(work)
        work.attempt(lambda: _priced(work, rules))
    else:
        _priced(work, rules)


def _table(work: Work, rules: Rules) -> None:
    """Rebuild the rows of a price table, or the bills of several customers."""
    rows = work.tables("rows")
    for row in rows:
        row.attempt(partial(_table_row, row, rules))
    work.put_rows("rows", rows)
    exact = [
        row.results.named["matches_printed"].value for row in rows if "matches_printed" in row.results.named
    ]
    if exact:
        work.put("all_match", all(value is True for value in exact), "every row")
        work.put("rows_matching", Decimal(sum(1 for value in exact if value is True)), "count")


def _table_row(row: Work, rules: Rules) -> None:
    if row.own(LOSS_RATE, percents_of((LOSS_RATE,))):
        _loss_price(row)
    if row.has(COEFFICIENTS) or row.has(KWH):
        _priced(row, rules)
    elif not row.own(LOSS_RATE, percents_of((LOSS_RATE,))):
        _composition(row)


def _grid_table(work: Work, rules: Rules) -> None:
    """Rebuild a whole price table: T&D prices by structure and voltage, or by voltage alone."""
    table = work.table(TRANSMISSION)
    whole = _nested(work, table, rules)
    names = "table price_table prices all_in_price all_in_prices rows all_in_price_by_period price_by_voltage all_in"
    work.put_parts("all_in_price_table", whole, also=names)


def _nested(work: Work, table: Work, rules: Rules) -> Work:
    found = work.part("all_in_price_table")
    for name in table.names_given():
        if table.is_table(name):
            found.put_parts(name, _nested(work, table.table(name), rules))
        else:
            row = Work(
                work.case, {"td_energy_price": f"{table.decimal(name):f}"}, f"{table.path}.{name}", work
            )
            _priced(row, rules)
            found.put(
                name,
                row.results.named["all_in_price_by_period"].value,
                row.results.named["all_in_price_by_period"].step.formula,
            )
    return found


def _loss_price(work: Work) -> None:
    """上网环节线损费用折价 = P x r / (1 - r), six decimals."""
    rate = work.ratio(LOSS_RATE)
    ratio = Fraction(rate)
    if not 0 <= ratio < 1:
        work.bad(work.here("line_loss_rate"), f"is {rate}", "0 to below 1")
    source = components_of(work)
    price = source.decimal(f"{AVERAGE} {AGENCY} price price_per_kwh")
    found = work.rounded(Fraction(price) * ratio / (1 - ratio), "price", "0.000001")
    work.put("line_loss_price", found, "P x r / (1 - r)", kind="price")
    printed = (
        "line_loss_price_printed printed_line_loss_price published_line_loss_price line_loss_price_published"
    )
    if source.has(printed) or source.has(LOSS):
        given = source.decimal(f"{printed} {LOSS}")
        work.put("line_loss_difference", EXACT.subtract(given, found), "printed - computed")
        work.put("matches_published", given == found, "printed = computed")


def _composition(work: Work) -> None:
    """Prices that no time of use touches: agency price, flat total."""
    source = components_of(work)
    if source.has(AVERAGE) and source.has(HISTORIC):
        work.put(
            "agency_price",
            EXACT.add(source.decimal(AVERAGE), source.decimal(HISTORIC)),
            "month_average_purchase_price + historic_deviation_price",
        )
    parts = parts_of(work)
    if len(parts) > 1:
        work.put(
            "all_in_price",
            total(part.price_yuan_per_kwh for part in parts),
            " + ".join(part.item for part in parts),
        )
        _against_one_printed(work)
    funds_only(work)
    _items_sum(work)


def _against_one_printed(work: Work) -> None:
    """One printed price beside the sum of the components: it is billed, the difference is noted (§1.3 no. 18)."""
    names = "printed_price published_price printed_all_in_price all_in_price_printed"
    if not work.has(names):
        return
    found = work.decimal_result("all_in_price")
    work.put("computed_price", found, "sum of the components")
    printed = work.decimal(names)
    work.put("price_difference", EXACT.subtract(printed, found), "printed - computed", rule="§1.3 no. 18")
    work.put("matches_printed", printed == found, "printed = computed")
    if work.has(KWH) and work.is_number(KWH):
        work.put_money("charge", EXACT.multiply(work.decimal(KWH), printed), "kWh x printed price")


def _items_sum(work: Work) -> None:
    source = components_of(work)
    names = "system_operation_items system_operation_item_prices items"
    if source.is_table(names) or source.is_list(names):
        sum_of = part_price(source, names)
        work.put("system_operation_items_sum", sum_of, "sum of the items")
        if source.has(SYSTEM):
            work.put(
                "system_operation_difference",
                EXACT.subtract(source.decimal(SYSTEM), sum_of),
                "printed - sum of items",
            )


def _priced(work: Work, rules: Rules) -> None:
    parts = parts_of(work)
    if not parts:
        components_of(work).decimal(f"{AVERAGE} {AGENCY}")
    coefficients = work.numbers(COEFFICIENTS) if work.has(COEFFICIENTS) else {}
    for name in coefficients:
        if name not in tuple(Period):
            work.bad(f"{work.here(COEFFICIENTS.split()[0])}.{name}", "is no period", ", ".join(Period))
    extra = penalised(work)
    if coefficients:
        _row(work, parts, coefficients, extra)
    base = "base_prices all_in_price_by_period prices price_by_period published_prices printed_prices"
    if extra and not coefficients and work.is_table(base):
        raised = {name: EXACT.add(price, extra) for name, price in work.numbers(base).items()}
        formula = "published price + extra_price"
        work.put(
            "all_in_price_by_period",
            dict(raised),
            formula,
            also="price_by_period_1_5x prices_1_5x raised_prices",
        )
    _composition_notes(work)
    if work.has(KWH):
        bill(work, rules, parts, coefficients, extra)


def _composition_notes(work: Work) -> None:
    source = components_of(work)
    if source.has(AVERAGE) and source.has(HISTORIC):
        work.put(
            "agency_price",
            EXACT.add(source.decimal(AVERAGE), source.decimal(HISTORIC)),
            "month_average_purchase_price + historic_deviation_price",
        )
    floating = total(part.price_yuan_per_kwh for part in parts_of(work) if part.floats)
    work.put("floating_base", floating, "components that float")
    _items_sum(work)


def _row(work: Work, parts: tuple[Component, ...], coefficients: dict[str, Decimal], extra: Decimal) -> None:
    """The price of every period: floating components x coefficient + the others (+ the extra of 1.5x users)."""
    prices: dict[str, Decimal] = {}
    energy: dict[str, Decimal] = {}
    energy_parts = tuple(part for part in parts if part.section is Section.ENERGY)
    for name, coefficient in coefficients.items():
        added = EXACT.multiply(extra, coefficient) if extra_floats(work) else extra
        prices[name] = work.rounded(EXACT.add(tariff.floated(parts, coefficient), added), "price")
        energy[name] = EXACT.add(tariff.floated(energy_parts, coefficient), added)
    words = [f"{part.item} x coefficient" if part.floats else part.item for part in parts]
    formula = " + ".join(words + (["extra_price"] if extra else []))
    work.put("all_in_price_by_period", dict(prices), formula)
    work.put("energy_price_by_period", dict(energy), "energy components")
    for name in prices:
        work.put(
            name, prices[name], formula, also=f"{name}_price all_in_{name} price_{name} all_in_price_{name}"
        )
    _against_printed(work, prices)


def _against_printed(work: Work, prices: dict[str, Decimal]) -> None:
    names = "printed_prices printed printed_price_by_period published_prices printed_all_in_price_by_period published_price_by_period published printed_all_in_prices published_all_in_price_by_period printed_prices_by_period"
    if not work.is_table(names):
        return
    printed = work.numbers(names)
    both = {name: EXACT.subtract(printed[name], prices[name]) for name in printed if name in prices}
    off = {name: value for name, value in both.items() if value}
    work.put("difference_by_period", dict(both), "printed - computed", rule="§1.3 no. 18")
    work.put("matches_printed", not off, "every difference is zero")
    work.put("differing_periods", [str(name) for name in off], "")
    work.put("billed_price_by_period", dict(printed), "the printed price is billed", rule="§1.3 no. 18")
