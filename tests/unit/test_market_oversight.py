"""Concentration, price outliers, report definitions and checks, how policies stand: official and hand-counted figures."""

from __future__ import annotations

import statistics
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from importlib import resources

import chinese_calendar
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.market import concentration, report, reportrule
from cloud.market.policy import BadPolicy, NewPolicy, Relation, Standing, standing
from cloud.market.report import REPORT, Control
from cloud.market.reportrule import BadReportRule, definition_from

DAY = date(2026, 11, 12)


@pytest.mark.parametrize(
    ("parts", "hhi", "top4"),
    [
        # US DoJ / FTC Horizontal Merger Guidelines: four firms with 30, 30, 20 and 20 per cent have an HHI of 2600.
        ({"a": 30, "b": 30, "c": 20, "d": 20}, 2600, "100.0"),
        ({"monopoly": 7}, 10_000, "100.0"),
        ({str(number): 5 for number in range(10)}, 1000, "40.0"),
        ({"a": 1, "b": 1, "c": 1, "nobody": 0}, 3333, "100.0"),
    ],
)
def test_concentration_of_known_markets(parts: dict[str, int], hhi: int, top4: str) -> None:
    found = concentration.concentration(parts)

    assert found is not None
    assert (found.hhi, str(found.top4_percent)) == (hhi, top4)


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 10**12), max_size=30))
def test_concentration_lies_between_equal_parts_and_monopoly_and_a_merger_raises_it(
    parts: dict[str, int],
) -> None:
    found = concentration.concentration(parts)
    present = [name for name, quantity in parts.items() if quantity]
    if found is None:
        assert not present
        return

    assert 10_000 // len(present) <= found.hhi <= 10_000
    assert sum(share.quantity_kwh for share in found.shares) == found.total_kwh == sum(parts.values())
    if len(present) > 1:
        first, second = present[:2]
        merged = {name: own for name, own in parts.items() if name != second}
        merged[first] += parts[second]
        after = concentration.concentration(merged)
        assert after is not None
        assert after.hhi >= found.hhi


def test_outliers_of_a_sample_counted_by_hand() -> None:
    prices = [2.1, 2.6, 2.4, 2.5, 2.3, 2.1, 2.3, 2.6, 8.2, 8.3]

    found = concentration.outliers([(str(place), Decimal(str(price))) for place, price in enumerate(prices)])

    # median 2.45; deviations .05 .05 .15 .15 .15 .15 .35 .35 5.75 5.85, their median .15; 0.6745 x 5.85 / .15 = 26.31
    assert [(each.name, str(each.z)) for each in found] == [("9", "26.31"), ("8", "25.86")]


@given(st.lists(st.integers(1, 10**6), min_size=5, max_size=40))
def test_outliers_are_those_of_the_formula_in_floats(prices: list[int]) -> None:
    found = {
        each.name for each in concentration.outliers([(str(n), Decimal(p)) for n, p in enumerate(prices)])
    }
    middle = statistics.median(prices)
    spread = statistics.median(abs(price - middle) for price in prices)

    if spread:
        scores = {str(n): abs(0.6745 * (price - middle) / spread) for n, price in enumerate(prices)}
        assert {name for name, score in scores.items() if score > 3.5 + 1e-9} <= found
        assert found <= {name for name, score in scores.items() if score > 3.5 - 1e-9}
    else:
        assert found == {str(n) for n, price in enumerate(prices) if abs(price - middle) * 10 > middle}


def test_due_days_are_working_days_of_an_independent_calendar() -> None:
    dues = reportrule.calendar(reportrule.packaged(), date(2026, 2, 1), date(2026, 12, 31))

    assert len(dues) == 11 + 11 + 3
    for due in dues:
        days = [due.end + timedelta(days=offset) for offset in range((due.due - due.end).days + 1)]
        number = sum(chinese_calendar.is_workday(day) for day in days)
        wanted = {"trades-monthly": 8, "entities-quarterly": 10, "settlement-monthly": 12}[due.report_id]
        assert number == wanted
        assert chinese_calendar.is_workday(due.due)


def test_a_later_version_of_a_definition_governs_from_its_day() -> None:
    text = (resources.files("cloud.market") / "reporting" / "trades-monthly.toml").read_text("utf-8")
    second = (
        text[text.index("\n[[version]]") :]
        .replace("version = 1", "version = 2")
        .replace("2026-01-01", "2026-09-01")
    )
    definition = definition_from(
        "trades-monthly.toml", text + second.replace("due_working_day = 8", "due_working_day = 5")
    )

    dues = reportrule.calendar((definition,), date(2026, 9, 1), date(2026, 10, 31))

    assert [(due.name, due.version, due.due) for due in dues] == [
        ("2026-08", 1, date(2026, 9, 10)),
        ("2026-09", 2, date(2026, 10, 13)),  # 8, 9, 10 (make-up Saturday), 12, 13 October
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('kind = "trades"', 'kind = "gossip"'),
        ('period = "month"', 'period = "week"'),
        ("due_working_day = 8", "due_working_day = 0"),
        ('"contract", ', '"colour", '),
        ('"some_rows", ', '"looks_nice", '),
        ("from = 2026-01-01", "from = 2026-01-02"),
        ('id = "trades-monthly"', 'id = "other"'),
        ("version = 1", "version = 0"),
        ("basis =", "base ="),
    ],
)
def test_a_definition_that_contradicts_itself_is_refused(before: str, after: str) -> None:
    text = (resources.files("cloud.market") / "reporting" / "trades-monthly.toml").read_text("utf-8")
    assert before in text

    with pytest.raises(BadReportRule):
        definition_from("trades-monthly.toml", text.replace(before, after, 1))


def trade(**changed: str) -> dict[str, str]:
    row = {"contract": "C1", "kind": "auction", "seller": "party:1", "buyer": "party:2", "month": "2026-10"}
    row |= {"period": "month", "mwh": "100.000", "price_yuan_per_mwh": "372.05", "amount_yuan": "37205.00"}
    return row | changed


CONTROL = Control(row_count=1, sum_mwh=Decimal(100), known_units=frozenset({"party:1", "party:2"}))
TRADE_CHECKS = ("some_rows", "no_row_twice", "both_sides_known", "amounts_are_products", "sums_tie_contracts")


@pytest.mark.parametrize(
    ("rows", "failed"),
    [
        ([trade()], set()),
        ([], {"some_rows", "sums_tie_contracts"}),
        ([trade(), trade()], {"no_row_twice", "sums_tie_contracts"}),
        ([trade(buyer="party:9")], {"both_sides_known"}),
        ([trade(amount_yuan="37205.01")], {"amounts_are_products"}),
        ([trade(mwh="99.999", amount_yuan="37204.63")], {"sums_tie_contracts"}),
    ],
)
def test_each_check_of_trades_finds_its_own_fault(rows: list[dict[str, str]], failed: set[str]) -> None:
    found = report.verified("trades", TRADE_CHECKS, rows, CONTROL)

    assert {each.check for each in found if not each.is_passed} == failed
    assert all(each.detail for each in found if not each.is_passed)


def test_each_check_of_settlement_and_entities_finds_its_own_fault() -> None:
    row = {"unit": "party:1", "name": "甲", "side": "retailer", "month": "2026-10", "revision": "1"}
    row |= {"state": "final", "lines": "2", "mwh": "1.000", "amount_yuan": "-12.34"}
    control = Control(row_count=1, sum_fen=-1234, units=frozenset({"party:1"}))
    checks = tuple(report.CHECKS["settlement"])

    def failed(rows: list[dict[str, str]], against: Control) -> set[str]:
        found = report.verified("settlement", checks, rows, against)
        return {each.check for each in found if not each.is_passed}

    assert failed([row], control) == set()
    assert failed([row | {"state": "disputed"}], control) == {"every_statement_final"}
    assert failed([row], replace(control, units=frozenset({"party:1", "party:2"}))) == {"no_unit_missing"}
    assert failed([row], replace(control, sum_fen=-1235)) == {"sums_tie_statements"}
    assert failed([row], replace(control, unequal=("party:1 2026-10",))) == {"sums_tie_statements"}
    entity = {
        "party": "1",
        "name": "甲",
        "kind": "retailer",
        "subkind": "",
        "state": "effective",
        "since": "",
    }
    register = Control(row_count=1, counts={"retailer": 1}, parties=frozenset({"1"}))
    checks = tuple(report.CHECKS["entities"])
    for against, name in (
        (register, None),
        (replace(register, parties=frozenset({"1", "2"})), "no_entity_missing"),
        (
            replace(register, units=frozenset({"party:1", "party:7", "1300000000001"})),
            "every_trader_admitted",
        ),
        (replace(register, counts={"retailer": 2}), "counts_tie_register"),
    ):
        found = report.verified("entities", checks, [entity], against)
        assert [each.check for each in found if not each.is_passed] == ([] if name is None else [name])


def test_the_database_and_the_life_of_a_report_know_the_same_moves() -> None:
    text = (resources.files("cloud") / "schema" / "0036_regulator.sql").read_text("utf-8")
    rows = text.split("INSERT INTO report_move VALUES")[1].split(";")[0]

    for (before, deed), after in REPORT.moves.items():
        assert f"('{before or ''}', '{deed}', '{after}')" in rows
    assert rows.count("(") == len(REPORT.moves)


def test_a_cell_that_a_spreadsheet_would_run_stays_a_text() -> None:
    assert report.as_text("=HYPERLINK(1)") == "'=HYPERLINK(1)"
    assert report.as_text("-12.34") == "-12.34"
    assert report.as_text("-cmd") == "'-cmd"
    assert report.as_text("示范热电厂") == "示范热电厂"


@pytest.mark.parametrize(
    ("effective", "expires", "repealed", "expected"),
    [
        (DAY + timedelta(days=1), None, [], Standing.COMING),
        (DAY, None, [], Standing.IN_FORCE),
        (DAY, DAY + timedelta(days=61), [], Standing.IN_FORCE),
        (date(2025, 1, 1), DAY + timedelta(days=60), [], Standing.EXPIRING),
        (date(2025, 1, 1), DAY, [], Standing.EXPIRED),
        (date(2025, 1, 1), None, [DAY + timedelta(days=10)], Standing.EXPIRING),
        (date(2025, 1, 1), None, [DAY], Standing.REPEALED),
    ],
)
def test_how_a_policy_stands(
    effective: date, expires: date | None, repealed: list[date], expected: Standing
) -> None:
    assert standing(effective, expires, repealed, DAY) is expected


def test_a_policy_neither_repeals_itself_nor_ends_before_it_begins() -> None:
    def policy(**changed: object) -> NewPolicy:
        facts: dict[str, object] = {"number": "N 1", "title": "标题", "issuer": "机关", "issued": DAY}
        facts |= {"effective": DAY, "expires": None, "summary": "", "tags": (), "rules": (), "relations": ()}
        return NewPolicy(**(facts | changed))  # type: ignore[arg-type]  # a table of facts for the test

    assert policy().number == "N 1"
    with pytest.raises(BadPolicy):
        policy(relations=(Relation("repeals", "N 1", DAY),))
    with pytest.raises(BadPolicy):
        policy(expires=DAY)
