"""Catalogue prices: the worked cases LD-101 and LD-102, positions in the cycle, and files that are refused."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from cloud.billing.bill import Given, priced, rate
from cloud.billing.catalogue import Buyer, Catalogue, LadderPrices, NoSuchPrice, UnpricedMonth
from cloud.billing.filetable import BadPriceFile
from cloud.billing.ladder import Before, Ladder, Position, limits_at, position_of
from cloud.billing.line import BillLine, Period
from cloud.billing.pricefile import price_file_from
from cloud.billing.segment import DemandMode, Segment, Terms, Usage
from cloud.billing.store.published import packaged_catalogue
from cloud.money import yuan

CATALOGUE = packaged_catalogue()
MONTHS = tuple(date(2026, number, 1) for number in range(1, 13))

# 浙江省电网居民生活用电价格表 (LD-101), as a price file.
ZHEJIANG = """
kind = "catalogue"
id = "zhejiang-residential-ladder"
version = 1
title = "浙江省居民阶梯电价"
grid = "zhejiang"
effective_from = 2024-01-01
category = "residential"
option = "ladder"
energy_quantum_kwh = "1"
cycle = "year"
pro_rata = "none"
limits_kwh = ["2760", "4800"]

[[source]]
document = "浙江省电网居民生活用电价格表"
mark = "SEC"
status = "confirmed"

[[row]]
voltages = ["lt1kV"]
tiers = ["0.538", "0.588", "0.838"]
"""
ZHEJIANG_TOU = (
    ZHEJIANG.replace('option = "ladder"', 'option = "ladder_tou"')
    .replace("residential-ladder", "residential-tou")
    .replace('tiers = ["0.538", "0.588", "0.838"]', 'tiers = ["0", "0.05", "0.30"]')
    + """
[row.periods]
peak = "0.568"
valley = "0.288"

[[season]]
months = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
peak = ["08:00-22:00"]
valley = ["00:00-08:00", "22:00-24:00"]
"""
)


def home(option: str = "ladder", voltage: str = "lt1kV") -> Terms:
    return Terms(
        "residential", "catalogue", "single_part", voltage, DemandMode.NONE, None, None, None, option
    )


def lines_of(
    terms: Terms, kwh: dict[Period, int], given: Given, catalogue: Catalogue = CATALOGUE, grid: str = "jibei"
) -> tuple[BillLine, ...]:
    prices = catalogue.any_prices_on(MONTHS[5], Buyer(grid, "catalogue", "residential", terms.option))
    usage = Usage(tuple(kwh.get(period, 0) * 1000 for period in Period), 0, 0, 0, (), 0)
    return rate(priced([(Segment(MONTHS[5], MONTHS[6], terms, usage), prices)]), MONTHS[5], given)


def test_a_month_that_crosses_the_first_threshold_is_split() -> None:
    """LD-101: 2700 to 2900 kWh of the year: 60 x 0.538 + 140 x 0.588 = 114.60."""
    catalogue = Catalogue((*CATALOGUE.files, price_file_from("zhejiang", ZHEJIANG)))

    lines = lines_of(home(), {Period.FLAT: 200}, Given(Decimal(2700)), catalogue, "zhejiang")

    assert [line.quantity for line in lines] == [60, 140, 0]
    assert [line.item for line in lines] == ["catalogue_tier_1", "catalogue_tier_2", "catalogue_tier_3"]
    assert yuan(sum(line.amount_fen for line in lines)) == Decimal("114.60")


def test_a_year_of_the_hebei_ladder() -> None:
    """LD-102: 4000 kWh in the year: 2160 x 0.52, 1200 x 0.57, 640 x 0.82, in one bill or in twelve."""
    lines = lines_of(home(), {Period.FLAT: 4000}, Given())
    monthly, used = [0, 0, 0], 0
    for kwh in (400, 300, 250, 200, 210, 340, 500, 520, 380, 300, 280, 320):
        parts = lines_of(home(), {Period.FLAT: kwh}, Given(Decimal(used)))
        monthly = [sum + int(line.quantity) for sum, line in zip(monthly, parts, strict=True)]
        used += kwh

    assert [yuan(line.amount_fen) for line in lines] == [
        Decimal("1123.20"),
        Decimal("684.00"),
        Decimal("524.80"),
    ]
    assert used == 4000
    assert monthly == [2160, 1200, 640]


@pytest.mark.parametrize(
    ("before", "peak", "valley", "amount"),
    [
        (0, 100, 100, "85.60"),  # 100 x 0.568 + 100 x 0.288
        (3000, 100, 100, "95.60"),  # 100 x 0.618 + 100 x 0.338
        (5000, 100, 100, "145.60"),  # 100 x 0.868 + 100 x 0.588
        (2700, 100, 100, "92.60"),  # 85.60 + 140 x 0.05
        (4750, 60, 40, "63.10"),  # 60 x 0.568 + 40 x 0.288 + 50 x 0.05 + 50 x 0.30
    ],
)
def test_time_of_use_adds_the_increment_of_the_tier(before: int, peak: int, valley: int, amount: str) -> None:
    """浙江: peak/valley 0.568/0.288, 0.618/0.338, 0.868/0.588 in the three tiers (tariffs-and-settlement 4.4)."""
    catalogue = Catalogue((*CATALOGUE.files, price_file_from("zhejiang", ZHEJIANG_TOU)))
    kwh = {Period.PEAK: peak, Period.VALLEY: valley}

    lines = lines_of(home("ladder_tou"), kwh, Given(Decimal(before)), catalogue, "zhejiang")

    assert yuan(sum(line.amount_fen for line in lines)) == Decimal(amount)
    assert [line.item for line in lines] == [
        "catalogue_energy", "catalogue_energy", "catalogue_tier_2_increment", "catalogue_tier_3_increment",
    ]  # fmt: skip


def test_the_shipped_time_of_use_price_of_hebei() -> None:
    """河北 2022-12: peak 8-22 h 0.55, valley 22-8 h 0.30."""
    prices = CATALOGUE.any_prices_on(MONTHS[5], Buyer("jibei", "catalogue", "residential", "ladder_tou"))
    lines = lines_of(home("ladder_tou"), {Period.PEAK: 100, Period.VALLEY: 80}, Given())

    assert [prices.calendar.period_of(MONTHS[5], slot) for slot in (0, 31, 32, 87, 88)] == [
        Period.VALLEY, Period.VALLEY, Period.PEAK, Period.PEAK, Period.VALLEY,
    ]  # fmt: skip
    assert yuan(sum(line.amount_fen for line in lines)) == Decimal("79.00")


def test_a_household_that_comes_in_june_has_seven_twelfths_of_the_year() -> None:
    ladder = shipped("ladder")
    position = position_of(ladder, MONTHS[5], MONTHS[6], Before(Decimal(10), Decimal(5), MONTHS[5]))

    assert position == Position(Decimal(15), 7, 12)
    assert limits_at(ladder, position) == (Decimal(1260), Decimal(1960))


def test_a_monthly_ladder_is_shared_out_by_days() -> None:
    """10 of June's 30 days have a third of the limits; a whole month has them whole, and starts at zero."""
    text = ZHEJIANG.replace('cycle = "year"', 'cycle = "month"').replace('"none"', '"days"')
    ladder = price_file_from("monthly", text)
    assert isinstance(ladder, Ladder)
    before = Before(Decimal(9999), Decimal(0))

    third = position_of(ladder, date(2026, 6, 21), MONTHS[6], before)
    assert limits_at(ladder, third) == (Decimal(920), Decimal(1600))
    assert limits_at(ladder, position_of(ladder, MONTHS[5], MONTHS[6], before)) == ladder.limits_kwh
    assert third.before_kwh == 0


def test_a_yearly_ladder_by_days_counts_the_days_left() -> None:
    text = ZHEJIANG.replace('pro_rata = "none"', 'pro_rata = "days"')
    ladder = price_file_from("days", text)
    assert isinstance(ladder, Ladder)

    position = position_of(ladder, MONTHS[5], MONTHS[6], Before(service_from=date(2026, 7, 2)))
    assert (position.part_count, position.whole_count) == (183, 365)
    assert limits_at(ladder, position) == (Decimal(1384), Decimal(2407))  # 2760, 4800 x 183 / 365


def test_a_voltage_or_option_without_a_price_is_refused_by_name() -> None:
    with pytest.raises(NoSuchPrice, match="35kV"):
        lines_of(home("ladder_tou", "35kV"), {Period.PEAK: 1}, Given())
    with pytest.raises(UnpricedMonth, match="hebei-residential-ladder"):
        CATALOGUE.any_prices_on(date(2020, 1, 1), Buyer("jibei", "catalogue", "residential", "ladder"))


@pytest.mark.parametrize(
    ("text", "old", "new", "key", "allowed"),
    [
        (ZHEJIANG, '["2760", "4800"]', '["4800", "2760"]', "limits_kwh", "rising"),
        (ZHEJIANG, '["0.538", "0.588", "0.838"]', '["0.538", "0.588"]', "row[1].tiers", "3 prices"),
        (ZHEJIANG, '"0.588"', "0.588", "row[1].tiers", "decimals in quotes"),
        (ZHEJIANG, 'cycle = "year"', 'cycle = "week"', "cycle", "year | month"),
        (ZHEJIANG, '["lt1kV"]', '["lt1kV", "lt1kV"]', "row[1].voltages", "each once"),
        (ZHEJIANG, '["lt1kV"]', "[]", "row[1].voltages", "lt1kV | 1-10kV"),
        (ZHEJIANG, 'option = "ladder"', 'option = "a-b"', "option", "small letters"),
        (ZHEJIANG, 'pro_rata = "none"', 'pro_rata = "none"\nfloor = "1"', "floor", "only "),
        (ZHEJIANG_TOU, 'tiers = ["0"', 'tiers = ["0.1"', "row[1].tiers", "0 first"),
        (ZHEJIANG_TOU, 'valley = "0.288"', 'deep = "0.288"', "row.periods", "peak, valley"),
        (
            ZHEJIANG.replace('cycle = "year"', 'cycle = "month"'),
            'pro_rata = "none"',
            'pro_rata = "months"',
            "pro_rata",
            "none | days",
        ),
    ],
)
def test_a_wrong_file_is_refused_by_key(text: str, old: str, new: str, key: str, allowed: str) -> None:
    assert old in text

    with pytest.raises(BadPriceFile) as refusal:
        price_file_from("mine.toml", text.replace(old, new, 1))

    told = str(refusal.value)
    assert f"mine.toml: {key}:" in told
    assert allowed in told


def shipped(option: str) -> Ladder:
    prices = CATALOGUE.any_prices_on(MONTHS[5], Buyer("jibei", "catalogue", "residential", option))
    assert isinstance(prices, LadderPrices)
    return prices.ladder


def test_a_change_inside_the_month_goes_on_where_the_ladder_stood() -> None:
    """1500 kWh before; 1200 kWh below 1 kV to 10 June, 1200 kWh at 10 kV from then on: 660 + 540, then 660 + 540."""
    cut = date(2026, 6, 11)
    stretches = []
    for first, end, voltage in ((MONTHS[5], cut, "lt1kV"), (cut, MONTHS[6], "1-10kV")):
        prices = CATALOGUE.any_prices_on(first, Buyer("jibei", "catalogue", "residential", "ladder"))
        usage = Usage((0, 0, 1_200_000, 0, 0), 0, 0, 0, (), 0)
        stretches.append((Segment(first, end, home(voltage=voltage), usage), prices))

    lines = rate(priced(stretches), MONTHS[5], Given(Decimal(1500)))

    assert [line.quantity for line in lines] == [660, 540, 0, 0, 660, 540]
    assert [line.price_yuan_per_unit for line in lines[4:]] == [Decimal("0.52"), Decimal("0.77")]


def test_only_a_price_by_period_has_hours_to_show() -> None:
    knows = {option: shipped(option).knows_periods for option in ("ladder", "ladder_tou", "shared")}

    assert knows == {"ladder": False, "ladder_tou": True, "shared": False}
