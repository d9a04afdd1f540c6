"""Basic charge: floor, limit, discount and days of service at their boundaries (tariffs-and-settlement 3.2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from cloud.billing import basic
from cloud.billing.basic import Service
from cloud.billing.catalogue import Buyer
from cloud.billing.segment import DemandMode, Terms
from cloud.billing.store.published import packaged_catalogue

AUGUST, SEPTEMBER = date(2026, 8, 1), date(2026, 9, 1)
PRICES = packaged_catalogue().prices_on(AUGUST, Buyer("jibei", "agency", "commercial"))
TERMS = Terms("commercial", "agency", "two_part", "1-10kV", DemandMode.CONTRACTED, 1000, 500, None)
MONTH = Service(TERMS, AUGUST, SEPTEMBER, demand_kw=Decimal(0), month_kwh=Decimal(0), whole_month=True)


def fen(service: Service) -> int:
    line = basic.basic_line(service, PRICES.transmission, PRICES.two_part)
    assert line is not None
    return line.amount_fen


def demanding(terms: Terms, demand_kw: str, month_kwh: str = "0") -> Service:
    return replace(MONTH, terms=terms, demand_kw=Decimal(demand_kw), month_kwh=Decimal(month_kwh))


@pytest.mark.parametrize(
    ("contract_kw", "demand_kw", "chargeable"),
    [
        (500, "0", "500"),  # the contract value, however little was used
        (399, "0", "400.0"),  # not below 40 % of 1000 kVA
        (400, "420", "400"),  # 105 % of 400: not over
        (400, "420.001", "420.002"),  # 420 + 0.001 x 2
        (399, "420", "400.0"),  # the floor moves the limit too
        (399, "430", "440.0"),
    ],
)
def test_contracted_demand(contract_kw: int, demand_kw: str, chargeable: str) -> None:
    terms = replace(TERMS, contract_demand_kw=contract_kw)

    assert fen(demanding(terms, demand_kw)) == int(Decimal(chargeable) * 3780 + Decimal("0.5"))


@pytest.mark.parametrize(
    ("month_kwh", "price_fen"),
    [("259999.999", Decimal(3780)), ("260000", Decimal(3402)), ("999999", Decimal(3402))],
)
def test_the_discount_begins_at_exactly_260_kwh_per_kva(month_kwh: str, price_fen: Decimal) -> None:
    actual = replace(TERMS, demand_mode=DemandMode.ACTUAL, contract_demand_kw=None)

    assert fen(demanding(actual, "480.5", month_kwh)) == int(Decimal("480.5") * price_fen)
    assert fen(demanding(TERMS, "480.5", month_kwh)) == int(500 * price_fen)


def test_the_discount_is_a_dated_switch() -> None:
    rules = replace(PRICES.two_part, load_discount_in_force=False)
    line = basic.basic_line(demanding(TERMS, "480.5", "999999"), PRICES.transmission, rules)

    assert line is not None
    assert line.amount_fen == 500 * 3780


def test_capacity_knows_no_discount_and_a_single_part_tariff_no_basic_charge() -> None:
    capacity = replace(TERMS, demand_mode=DemandMode.CAPACITY)
    single = replace(TERMS, structure="single_part", demand_mode=DemandMode.NONE)

    assert fen(demanding(capacity, "0", "999999")) == 1000 * 2360
    assert basic.basic_line(replace(MONTH, terms=single), PRICES.transmission, PRICES.two_part) is None


def test_part_of_a_month_pays_a_thirtieth_per_day_rounded_once() -> None:
    capacity = replace(TERMS, demand_mode=DemandMode.CAPACITY, capacity_kva=1)
    part = replace(MONTH, terms=capacity, end_day=date(2026, 8, 2), whole_month=False)

    assert fen(part) == 79  # 23.6 / 30 = 0.78666…


def test_terms_without_what_their_mode_needs_are_a_bug_that_shows() -> None:
    with pytest.raises(ValueError, match="contract_demand_kw"):
        fen(demanding(replace(TERMS, contract_demand_kw=None), "1"))
