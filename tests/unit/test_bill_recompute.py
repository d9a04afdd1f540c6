"""A bill is checked by three opinions; each of them alone finds its own kind of fault."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

from cloud.billing import bill, facts
from cloud.billing.catalogue import Buyer, Catalogue
from cloud.billing.line import BillLine
from cloud.billing.recompute import check
from cloud.billing.segment import DayUse, DemandMode, Segment, Terms, Usage
from cloud.billing.store.published import packaged_catalogue
from cloud.markettime import days_of_month

AUGUST, SEPTEMBER = date(2026, 8, 1), date(2026, 9, 1)
CATALOGUE = packaged_catalogue()
PRICES = CATALOGUE.prices_on(AUGUST, Buyer("jibei", "agency", "commercial"))
WITHOUT_SHEET = Catalogue(tuple(each for each in CATALOGUE.files if each.head.kind != "price-sheet"))


def a_bill() -> facts.Bill:
    terms = Terms("commercial", "agency", "single_part", "lt1kV", DemandMode.NONE, None, None, None)
    wh = (1_000_000, 2_000_000, 3_000_000, 4_000_000, 0)
    others = tuple(DayUse(day, (0,) * 5) for day in days_of_month(AUGUST)[1:])
    usage = Usage(wh, 0, 0, 0, (), 0, (DayUse(AUGUST, wh), *others))
    priced = bill.priced([(Segment(AUGUST, SEPTEMBER, terms, usage), PRICES)])
    made_at = datetime(2026, 9, 3, tzinfo=UTC)
    account = facts.Account("1300000000001", "示范", "示范")
    return facts.Bill(account, AUGUST, 1, made_at, tuple(map(facts.rated, priced)), bill.rate(priced, AUGUST))


def with_line(original: facts.Bill, index: int, line: BillLine) -> facts.Bill:
    return replace(original, lines=(*original.lines[:index], line, *original.lines[index + 1 :]))


def test_a_right_bill_is_right_also_where_its_sheet_is_unknown() -> None:
    assert check(a_bill(), CATALOGUE).problems == ()
    checked = check(a_bill(), WITHOUT_SHEET)
    assert (checked.problems, checked.unknown_files) == ((), ("jibei-agency-2026-08@1",))


def test_the_formula_alone_finds_a_wrong_amount() -> None:
    original = a_bill()
    wrong = replace(original.lines[1], amount_fen=original.lines[1].amount_fen + 1)

    problems = check(with_line(original, 1, wrong), WITHOUT_SHEET).problems

    assert len(problems) == 1
    assert problems[0].startswith("line 2 (energy energy peak): printed 1329.47, formula gives 1329.46")


def test_rating_again_finds_a_consistent_line_with_a_price_of_its_own() -> None:
    """Amount and formula agree with each other, but not with the published price."""
    original = a_bill()
    line = original.lines[6]
    assert line.item == "transmission_energy"
    price = Decimal("0.1903")
    inputs = tuple(
        replace(each, value=price) if each.name == "transmission_price" else each
        for each in line.derivation.inputs
    )
    dearer = replace(
        line,
        price_yuan_per_unit=price,
        amount_fen=190_300,
        derivation=replace(line.derivation, inputs=inputs),
    )

    (problem,) = check(with_line(original, 6, dearer), CATALOGUE).problems

    assert problem == "line 7 (transmission transmission_energy): printed 1903.00, rating gives 1803.00"


def test_rating_again_finds_a_right_amount_with_another_story() -> None:
    original = a_bill()
    line = original.lines[6]
    retold = replace(line, derivation=replace(line.derivation, formula="transmission_price * kwh"))

    (problem,) = check(with_line(original, 6, retold), CATALOGUE).problems

    assert "its derivation is not that of the price files" in problem


def test_a_missing_line_is_found() -> None:
    original = a_bill()

    (problem,) = check(replace(original, lines=original.lines[:-1]), CATALOGUE).problems

    assert problem == f"the bill has {len(original.lines) - 1} lines, rating gives {len(original.lines)}"


def test_other_bytes_of_a_price_file_are_told() -> None:
    original = a_bill()
    (segment,) = original.segments
    other = replace(segment.files[0], sha256="0" * 64)
    forged = replace(original, segments=(replace(segment, files=(other, *segment.files[1:])),))

    (problem,) = check(forged, CATALOGUE).problems

    assert problem.startswith("price file jibei-agency-2026-08@1: other bytes")


def test_energy_that_does_not_add_up_is_told() -> None:
    original = a_bill()
    (rated,) = original.segments
    usage = replace(
        rated.segment.usage, days=(DayUse(AUGUST, (1_000_000, 2_000_000, 3_000_000, 3_999_999, 0)),)
    )
    forged = replace(original, segments=(replace(rated, segment=replace(rated.segment, usage=usage)),))

    assert "energy valley" in check(forged, CATALOGUE).problems[0]


def test_energy_billed_beyond_the_measured_is_told() -> None:
    original = a_bill()
    (rated,) = original.segments
    forged = replace(original, segments=(replace(rated, kwh=(Decimal(1001), *rated.kwh[1:])),))

    assert check(forged, CATALOGUE).problems[0].startswith("billed energy 2026-08-01")
