"""What a price file can say: day types, payers, items, prices by voltage, what is left open; each refused by key."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from cloud.billing.bill import priced, rate
from cloud.billing.catalogue import Buyer, Catalogue, NoSuchPrice, Prices
from cloud.billing.filetable import BadPriceFile
from cloud.billing.line import BillLine, Period, Section
from cloud.billing.pricefile import price_file_from
from cloud.billing.segment import DemandMode, Segment, Terms, Usage
from cloud.billing.store.published import packaged_texts
from cloud.billing.tariff import Calendar

AUGUST, SEPTEMBER = date(2026, 8, 1), date(2026, 9, 1)
TEXTS = {each.name: each.text for each in packaged_texts()}
SHEET, FUNDS, TRANSMISSION, TOU = (
    "jibei-agency-2026-08.toml",
    "jibei-funds-2026.toml",
    "jibei-transmission-2026.toml",
    "jibei-tou-2025-1275.toml",
)
GREEN = """
[[component]]
section = "green"
item = "green_value"
name = "绿电环境价值"
name_en = "Green environmental value"
price_yuan_per_kwh = "0.005"
floats = false
"""
BY_DAY_TYPE = """
[[season]]
months = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
days = ["workday"]
peak = ["08:00-22:00"]
valley = ["00:00-08:00", "22:00-24:00"]

[[season]]
months = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
days = ["weekend"]
flat = ["00:00-24:00"]

[[season]]
months = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
days = ["holiday"]
valley = ["00:00-12:00", "15:00-24:00"]
deep = ["12:00-15:00"]
"""


def changed(name: str, *changes: tuple[str, str]) -> Catalogue:
    texts = dict(TEXTS)
    for old, new in changes:
        assert old in texts[name]
        texts[name] = texts[name].replace(old, new)
    return Catalogue(tuple(price_file_from(each, text) for each, text in texts.items()))


def prices_of(catalogue: Catalogue, purchase: str = "agency") -> Prices:
    return catalogue.prices_on(AUGUST, Buyer("jibei", purchase, "commercial"))


def lines_of(catalogue: Catalogue, purchase: str = "agency", voltage: str = "lt1kV") -> tuple[BillLine, ...]:
    terms = Terms(
        "commercial", purchase, "single_part", voltage, DemandMode.NONE, None, None, Decimal("0.90")
    )
    usage = Usage((0, 0, 1_000_000, 0, 0), 0, 750_000, 0, (), 0)
    segment = Segment(AUGUST, SEPTEMBER, terms, usage)
    return rate(priced([(segment, prices_of(catalogue, purchase))]), AUGUST)


def calendar_with(seasons: str) -> Calendar:
    text = TEXTS[TOU]
    calendar = price_file_from("mine.toml", text[: text.index("[[season]]")] + seasons)
    assert isinstance(calendar, Calendar)
    return calendar


@pytest.mark.parametrize(
    ("day", "at_noon"),
    [
        (date(2026, 9, 30), Period.PEAK),  # Wednesday
        (date(2026, 10, 1), Period.DEEP),  # National Day
        (date(2026, 10, 10), Period.PEAK),  # a Saturday that is worked for it
        (date(2026, 10, 17), Period.FLAT),  # a Saturday
        (date(2026, 2, 17), Period.DEEP),  # Spring Festival
        (date(2026, 2, 28), Period.PEAK),  # a Saturday that is worked for it
    ],
)
def test_hours_follow_the_day_type_with_make_up_days(day: date, at_noon: Period) -> None:
    calendar = calendar_with(BY_DAY_TYPE)

    assert calendar.period_of(day, 48) is at_noon
    assert len(calendar.day(day)) == 96


def test_a_calendar_without_day_types_needs_no_holiday_arrangement() -> None:
    """2031 has no notice yet; hours that do not ask for the day type need none."""
    catalogue = changed(TOU)

    assert catalogue.calendar_on(date(2031, 1, 1), "jibei").period_of(date(2031, 1, 1), 0) is Period.FLAT


@pytest.mark.parametrize(
    ("old", "new", "key", "allowed"),
    [
        ('days = ["holiday"]', 'days = ["sunday"]', "season[3].days", "workday | weekend | holiday"),
        ('days = ["holiday"]', 'days = ["holiday", "weekend"]', "season[3].months", "one season only"),
        ('days = ["holiday"]\n', "", "season[3].months", "one season only"),
        ('days = ["weekend"]', 'days = ["workday"]', "season[2].months", "one season only"),
        ('deep = ["12:00-15:00"]', 'deep = ["12:00-14:00"]', "season[3].hours", "exactly once"),
    ],
)
def test_hours_that_leave_a_day_type_out_are_refused(old: str, new: str, key: str, allowed: str) -> None:
    with pytest.raises(BadPriceFile) as refusal:
        calendar_with(BY_DAY_TYPE.replace(old, new, 1))

    assert f"mine.toml: {key}:" in str(refusal.value)
    assert allowed in str(refusal.value)


def test_a_day_type_without_hours_is_refused() -> None:
    with pytest.raises(BadPriceFile, match="day type holiday"):
        calendar_with(BY_DAY_TYPE[: BY_DAY_TYPE.rindex("[[season]]")])


def test_whoever_buys_in_the_market_pays_the_grids_prices_and_not_its_energy() -> None:
    direct = lines_of(changed(SHEET), "direct")

    assert [line.item for line in direct] == [
        "line_loss", "transmission_energy", "system_operation", "government_funds", "power_factor_adjustment",
    ]  # fmt: skip
    agency = {line.item: line.amount_fen for line in lines_of(changed(SHEET))}
    assert all(agency[line.item] == line.amount_fen for line in direct[:-1])


def test_a_component_is_paid_by_those_it_names() -> None:
    """The grid's line loss is for its own agency customers only, where the market settles it for the others."""
    named = changed(SHEET, ('item = "line_loss"', 'item = "line_loss"\npaid_by = ["agency"]'))

    assert "line_loss" not in [line.item for line in lines_of(named, "direct")]
    assert "line_loss" in [line.item for line in lines_of(named, "agency")]


def test_the_environmental_value_is_outside_time_of_use_and_the_power_factor_base() -> None:
    plain, green = (
        lines_of(changed(SHEET)),
        lines_of(changed(SHEET, ("# The notice as printed", GREEN + "\n#"))),
    )
    (line,) = (each for each in green if each.section is Section.GREEN)

    assert (line.amount_fen, line.period) == (500, None)
    base = [each.quantity for each in (plain[-1], green[-1]) if each.section is Section.POWER_FACTOR]
    assert base[0] == base[1]
    assert sum(each.amount_fen for each in green) == sum(each.amount_fen for each in plain) + 500


def test_items_of_a_price_share_its_amount() -> None:
    items = """
[[component.items]]
item = "pumped_storage"
name = "抽水蓄能容量电费"
name_en = "Pumped storage"
price_yuan_per_kwh = "0.020001"

[[component.items]]
item = "gain"
name = "损益"
name_en = "Gain or loss"
price_yuan_per_kwh = "-0.006913"
"""
    catalogue = changed(SHEET, ('"0.013088"\nfloats = false\n', '"0.013088"\nfloats = false\n' + items))
    (line,) = (each for each in lines_of(catalogue) if each.section is Section.SYSTEM_OPERATION)

    assert line.amount_fen == 1309
    assert [(item.item, item.amount_fen) for item in line.items] == [("pumped_storage", 2000), ("gain", -691)]
    assert catalogue.findings() == changed(SHEET).findings()


def test_a_fund_is_paid_at_the_voltages_it_names() -> None:
    reduced = changed(
        FUNDS, ('item = "reservoir_resettlement"', 'item = "reservoir_resettlement"\nvoltages = ["lt1kV"]')
    )

    def funds(voltage: str) -> Decimal:
        (line,) = (each for each in lines_of(reduced, "direct", voltage) if each.section is Section.FUNDS)
        return line.price_yuan_per_unit

    assert funds("lt1kV") == Decimal("0.02406875")
    assert funds("35kV") == Decimal("0.02096875")


def test_a_demand_price_that_is_not_known_is_refused_when_it_is_needed() -> None:
    """河北南网: energy prices are published, demand and capacity prices are not in the sources."""
    text = TEXTS["hebei-south-transmission-2026.toml"].replace("hebei-south", "jibei")
    catalogue = changed(TRANSMISSION, (TEXTS[TRANSMISSION], text))
    terms = Terms("commercial", "agency", "two_part", "1-10kV", DemandMode.ACTUAL, 100, None, None)
    segment = Segment(AUGUST, SEPTEMBER, terms, Usage((0,) * 5, 0, 0, 0, (), 0))

    with pytest.raises(NoSuchPrice, match="actual"):
        rate(priced([(segment, prices_of(catalogue))]), AUGUST)


@pytest.mark.parametrize(
    ("name", "old", "new", "key", "allowed"),
    [
        (SHEET, 'item = "line_loss"', 'item = "line_loss"\npaid_by = ["all"]', "component[3].paid_by", "agency"),
        (SHEET, 'section = "line_loss"', 'section = "funds"', "component[3].section", "energy | line_loss"),
        (SHEET, "# The notice as", GREEN.replace("floats = false", "floats = true") + "#", "component[5].floats", "false"),
        (SHEET, 'grid = "jibei"', 'grid = "jibei"\nprice_quantum_yuan_per_kwh = "0.5"', "price_quantum", "0.000001"),
        (SHEET, 'tip = "1.02948967"\npeak = "0.89396635"\nflat = "0.61494775"\nvalley = "0.33592915"\ndeep = "0.31201327"', "", "printed[1].flat", "at least one"),
        (FUNDS, 'item = "major_water_works"', 'item = "major_water_works"\nvoltages = ["1kV"]', "item[2].voltages", "lt1kV"),
        (TRANSMISSION, 'demand_yuan_per_kw_month = "39.4"\n', "", "row[6].demand_yuan_per_kw_month", "both"),
        (TRANSMISSION, 'energy_yuan_per_kwh = "0.1803"', 'energy_yuan_per_kwh = "0.1803"\ndemand_yuan_per_kw_month = "1"', "row[1].demand", "two_part only"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_refused_by_name(name: str, old: str, new: str, key: str, allowed: str) -> None:
    with pytest.raises(BadPriceFile) as refusal:
        changed(name, (old, new))

    assert f"{name}: {key}" in str(refusal.value)
    assert allowed in str(refusal.value)
