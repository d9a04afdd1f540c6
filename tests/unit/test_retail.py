"""Retail packages: the worked cases RT-101 and RT-102, and every form by figures worked by hand."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
import retail_texts as texts

from cloud.billing import retail
from cloud.billing.filetable import BadPriceFile
from cloud.billing.formula import fen_by
from cloud.billing.line import BillLine, Section
from cloud.billing.package import NoReferencePrice, Package, References
from cloud.billing.pricefile import price_file_from
from cloud.billing.store.published import packaged_catalogue, packaged_texts
from cloud.billing.tariff import Energy

CALENDAR = packaged_catalogue().calendar_on(date(2026, 8, 1), "jibei")
AUGUST = (date(2026, 8, 1), date(2026, 9, 1))
ENERGY = Energy(tuple(map(Decimal, (1000, 2000, 3000, 4000, 500))), *AUGUST)  # 10,500 kWh
FIXED_PRICES = ("0.75", "0.66", "0.42", "0.17", "0.12")
LIMITS = ("1.8", "1.6", "1", "0.4", "0.3")


def lines_of(
    package: Package, references: References | None = None, energy: Energy = ENERGY
) -> tuple[BillLine, ...]:
    lines = retail.package_lines(energy, package, references, CALENDAR)
    for line in lines:
        inputs = {each.name: each.value for each in line.derivation.inputs}
        assert fen_by(line.derivation.formula, inputs) == line.amount_fen
    return lines


def fen(lines: tuple[BillLine, ...]) -> list[int]:
    return [line.amount_fen for line in lines]


def test_rt_101_fixed_and_linked_with_ratio_correction() -> None:
    text = (
        texts.HEAD.format(kind="market-prices", id="m", version=1)
        + texts.SOURCE
        + '\n[[series]]\nseries = "real_time_average"\n'
        + texts.by_period("series.price_yuan_per_kwh", ("0.52", "0.48", "0.36", "0.22", "0.15"))
    )
    references = price_file_from("m.toml", text)
    assert isinstance(references, References)
    package = texts.package(
        'form = "fixed_linked"\nlinked = "real_time_average"\nlinked_ratio = "0.2"\n',
        below=texts.by_period("formula.fixed_price", FIXED_PRICES) + texts.by_period("correction", LIMITS),
    )

    prices = retail.period_prices(package, references, CALENDAR)
    lines = lines_of(package, references)

    assert [str(each.yuan_per_kwh) for each in prices] == [
        *("0.734400", "0.652800", "0.408000", "0.163200", "0.122400")
    ]
    # 1,000 x 0.7344, 2,000 x 0.6528, 3,000 x 0.408, 4,000 x 0.1632, 500 x 0.1224
    assert fen(lines) == [73440, 130560, 122400, 65280, 6120]


MWH = Energy((Decimal(0), Decimal(0), Decimal(120_500), Decimal(0), Decimal(0)), *AUGUST)


@pytest.mark.parametrize(
    ("formula", "expected_fen"),
    [
        ('form = "fixed"\nfixed_price = "0.432"\n', 5205600),
        ('form = "average_spread"\naverage = "market_average"\nspread = "0.0065"\n', 5119563),
        (
            'form = "spread_share"\nreference_price = "0.440"\naverage = "market_average"\ncustomer_share = "0.7"\n',
            5119467,
        ),
    ],
    ids=["fixed", "average plus spread", "spread sharing"],
)
def test_rt_102(formula: str, expected_fen: int) -> None:
    (line,) = lines_of(texts.package(formula), texts.references(market_average="0.41836"), MWH)

    assert (line.amount_fen, line.period, line.section) == (expected_fen, None, Section.ENERGY)


def test_own_prices_by_period() -> None:
    package = texts.package('form = "fixed"\n', below=texts.by_period("formula.fixed_price", FIXED_PRICES))

    # 1,000 x 0.75, 2,000 x 0.66, 3,000 x 0.42, 4,000 x 0.17, 500 x 0.12
    assert fen(lines_of(package)) == [75000, 132000, 126000, 68000, 6000]


def test_a_fixed_price_with_the_calendars_ratios() -> None:
    package = texts.package('form = "fixed"\nfixed_price = "0.40"\nratios = "calendar"\n')

    # 0.40 x 2.04, 1.7, 1, 0.3, 0.24 (冀发改能价〔2025〕1275号)
    assert fen(lines_of(package)) == [81600, 136000, 120000, 48000, 4800]


def test_average_plus_spread_multiplies_the_average_only() -> None:
    package = texts.package(
        'form = "average_spread"\naverage = "market_average"\nspread = "0.01"\n',
        below=texts.by_period("formula.ratios", ("2", "1.5", "1", "0.5", "0.25")),
    )

    # 0.40 x ratio + 0.01: 0.81, 0.61, 0.41, 0.21, 0.11
    assert fen(lines_of(package, texts.references(market_average="0.40"))) == [
        *(81000, 122000, 123000, 84000, 5500)
    ]


def test_spread_sharing_with_ratios_and_a_floating_part() -> None:
    package = texts.package(
        'form = "spread_share"\nreference = "agency"\naverage = "market_average"\ncustomer_share = "0.5"\nfloating = "0.002"\nratios = "calendar"\n'
    )

    # 0.40 x ratio - (0.40 - 0.38) x 0.5 + 0.002: 0.808, 0.672, 0.392, 0.112, 0.088
    lines = lines_of(package, texts.references(agency="0.40", market_average="0.38"))
    assert fen(lines) == [80800, 134400, 117600, 44800, 4400]


LADDER = "".join(
    f'\n[[formula.tier]]\nfrom_kwh = "{start}"\nprice_yuan_per_kwh = "{price}"\n'
    for start, price in ((0, "0.50"), (2000, "0.45"), (8000, "0.40"))
)


def test_a_ladder_charges_each_tier() -> None:
    lines = lines_of(texts.package('form = "ladder"\n', below=LADDER))

    # 2,000 x 0.50, 6,000 x 0.45, 2,500 x 0.40
    assert fen(lines) == [100000, 270000, 100000]
    assert [line.item for line in lines] == ["package_tier_1", "package_tier_2", "package_tier_3"]


def test_a_ladder_over_part_of_a_month_has_its_thresholds_cut_by_days() -> None:
    energy = Energy(ENERGY.kwh, date(2026, 6, 1), date(2026, 6, 16))  # 15 of 30 days: from 1,000 and 4,000

    lines = lines_of(texts.package('form = "ladder"\n', below=LADDER), energy=energy)

    assert fen(lines) == [50000, 135000, 260000]


def test_a_cap_takes_back_what_is_above_it() -> None:
    package = texts.package('form = "fixed"\nfixed_price = "0.50"\n', 'cap_yuan_per_kwh = "0.45"\n')

    lines = lines_of(package)

    # 10,500 x 0.50 = 5,250.00; 10,500 x 0.45 = 4,725.00
    assert fen(lines) == [525000, -52500]
    assert lines[1].item == "package_cap"


def test_a_cap_above_the_average_makes_no_line() -> None:
    package = texts.package('form = "fixed"\nfixed_price = "0.45"\n', 'cap_yuan_per_kwh = "0.45"\n')

    assert fen(lines_of(package)) == [472500]


def test_green_value_is_a_section_of_its_own() -> None:
    below = '\n[green]\nshare = "0.3"\nprice_yuan_per_kwh = "0.025"\n'

    lines = lines_of(texts.package('form = "fixed"\nfixed_price = "0.40"\n', below=below))

    assert [(line.section, line.amount_fen) for line in lines] == [
        (Section.ENERGY, 420000),
        (Section.GREEN, 7875),  # 10,500 x 0.3 x 0.025
    ]


def test_price_limits_bound_every_period() -> None:
    below = (
        texts.by_period("formula.fixed_price", FIXED_PRICES)
        + '\n[limits]\nfloor = "0.15"\nceiling = "0.70"\n'
    )

    lines = lines_of(texts.package('form = "fixed"\n', below=below))

    # 0.70, 0.66, 0.42, 0.17, 0.15
    assert fen(lines) == [70000, 132000, 126000, 68000, 7500]
    assert "price_ceiling" in lines[0].derivation.formula


def test_a_price_is_rounded_to_its_decimals_and_says_so() -> None:
    package = texts.package(
        'form = "spread_share"\nreference_price = "0.398598"\naverage = "market_average"\ncustomer_share = "0.35"\n'
    )

    (line,) = lines_of(package, texts.references(market_average="0.386201"))

    # 0.398598 - 0.012397 x 0.35 = 0.39425905 -> 0.394259; x 10,500 = 4,139.7195
    assert (str(line.price_yuan_per_unit), line.amount_fen) == ("0.394259", 413972)
    (rounding,) = [each for each in line.derivation.inputs if each.name == "price_rounding"]
    assert rounding.value == Decimal("-0.00000005")


def test_a_market_price_that_is_not_published_is_refused() -> None:
    package = texts.package('form = "average_spread"\naverage = "annual_average"\nspread = "0"\n')

    with pytest.raises(NoReferencePrice):
        retail.package_lines(ENERGY, package, texts.references(market_average="0.4"), CALENDAR)
    with pytest.raises(NoReferencePrice):
        retail.package_lines(ENERGY, package, None, CALENDAR)


@pytest.mark.parametrize(
    ("formula", "top", "below", "key"),
    [
        ('form = "fixed"\n', "", "", "formula.fixed_price"),
        ('form = "fixed"\nfixed_price = 0.4\n', "", "", "formula.fixed_price"),
        ('form = "fixed"\nfixed_price = "0.4"\nspread = "0"\n', "", "", "formula.spread"),
        ('form = "swap"\n', "", "", "formula.form"),
        (
            'form = "fixed_linked"\nfixed_price = "0.4"\nlinked = "agency"\nlinked_ratio = "1.2"\n',
            *("", "", "formula.linked_ratio"),
        ),
        (
            'form = "spread_share"\nreference = "agency"\nreference_price = "0.4"\naverage = "agency"\ncustomer_share = "1"\n',
            *("", "", "formula.reference"),
        ),
        ('form = "ladder"\n', "", LADDER.replace('"8000"', '"1500"'), "formula.tier"),
        ('form = "ladder"\n', "", LADDER + texts.by_period("correction", LIMITS), "correction"),
        (
            'form = "fixed"\nfixed_price = "0.4"\n',
            "",
            '[limits]\nfloor = "2"\nceiling = "1"\n',
            "limits.floor",
        ),
        ('form = "fixed"\nfixed_price = "0.4"\n', 'colour = "green"\n', "", "colour"),
    ],
)
def test_a_package_that_does_not_say_exactly_what_is_expected_is_refused(
    formula: str, top: str, below: str, key: str
) -> None:
    with pytest.raises(BadPriceFile) as refused:
        texts.package(formula, top, below)

    assert refused.value.facts["key"] == key


def test_the_demonstration_packages_say_that_they_are_fictional() -> None:
    packages = [each for each in packaged_catalogue().files if isinstance(each, Package)]

    assert len(packages) == 8
    assert all(package.retailer == "示范售电有限公司" for package in packages)
    assert all(any("PROJ" in source.mark for source in package.head.sources) for package in packages)
    assert all("示范" in each.text for each in packaged_texts() if each.name.startswith("demo-"))
