"""Laws of decomposition: every kWh of a contract is in exactly one quarter-hour, in any month, with any calendar."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud import daytypes
from cloud.contracts.terms import HOURS, QUARTERS, ContractKind, Shape, Volume, WholesaleTerms
from cloud.contracts.volumes import contract_curve, months_of_year, volume_curve
from cloud.daytypes import DayKind
from cloud.markettime import days_of_month

NAMED = ("valley", "flat", "peak")
MONTHS = (
    *(date(2024, number, 1) for number in (2, 12)),  # the leap day; the end of a year
    *(date(2025, number, 1) for number in range(1, 13)),
    *(date(2026, number, 1) for number in range(1, 13)),
)


class Holidays:
    """A calendar by which a day off is valley from end to end, as some provinces' are; other days have three periods."""

    def label_of(self, day: date, slot: int) -> str:
        """Name the period of a quarter-hour."""
        if is_off(day) or slot < 32:
            return "valley"
        return "peak" if 40 <= slot < 88 else "flat"


def is_off(day: date) -> bool:
    """Whether a day is off; of years without an arrangement, by the weekday."""
    if day.year in (2025, 2026):
        return daytypes.kind_of(day) is not DayKind.WORKDAY
    return day.weekday() >= 5


@st.composite
def contracts(draw: st.DrawFn) -> WholesaleTerms:
    months = draw(st.lists(st.sampled_from(MONTHS), min_size=1, max_size=3, unique=True))
    volumes: list[Volume] = []
    for month in sorted(months):
        family = draw(st.sampled_from((("month",), NAMED, HOURS, QUARTERS)))
        labels = draw(st.lists(st.sampled_from(family), min_size=1, max_size=4, unique=True))
        for label in labels:
            kwh = draw(st.one_of(st.integers(0, 200), st.integers(0, 10**12)))
            volumes.append(Volume(month, label, Decimal(kwh).scaleb(-3), Decimal(1), Decimal(0)))
    shape = draw(st.sampled_from((Shape.FLAT, Shape.CURVE, Shape.LOAD)))
    curve = draw(st.lists(st.integers(1, 999), min_size=24, max_size=24)) if shape is Shape.CURVE else ()
    return WholesaleTerms(
        *("C", 1, ContractKind.BILATERAL, "s", "b", date(2024, 1, 1), "doc", shape),
        curve=tuple(curve),
        volumes=tuple(volumes),
    )


def load_of(month: date) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(1 + (day.day * 7 + slot) % 11 for slot in range(96)) for day in days_of_month(month))


@settings(max_examples=30, deadline=None)
@given(contracts())
def test_every_kwh_is_in_one_quarter_hour_of_its_own_period(terms: WholesaleTerms) -> None:
    calendar = Holidays()
    laid_out = 0
    for month in {volume.month for volume in terms.volumes}:
        load, days = load_of(month), days_of_month(month)
        whole = contract_curve(terms, month, calendar, load)
        assert [len(row) for row in whole] == [96] * len(days)
        laid_out += sum(map(sum, whole))
        for volume in terms.volumes_of(month):
            curve = volume_curve(terms, volume, calendar, load)
            assert sum(map(sum, curve)) == volume.mwh * 1000
            assert min(map(min, curve)) >= 0
            for day, row in zip(days, curve, strict=True):
                assert not any(kwh for slot, kwh in enumerate(row) if not belongs(volume.period, day, slot))
    assert laid_out == sum(volume.mwh * 1000 for volume in terms.volumes)


def belongs(period: str, day: date, slot: int) -> bool:
    """Whether a quarter-hour is of a period, said another way than the code does."""
    if period in NAMED:
        return Holidays().label_of(day, slot) == period
    number = 0 if period == "month" else int(period[1:])
    return {"m": True, "h": slot // 4 == number - 1, "q": slot == number - 1}[period[0]]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**12), st.sampled_from(MONTHS))
def test_a_flat_month_gives_each_quarter_hour_its_even_share(kwh: int, month: date) -> None:
    volume = Volume(month, "month", Decimal(kwh).scaleb(-3), Decimal(1), Decimal(0))
    terms = WholesaleTerms(
        *("C", 1, ContractKind.BILATERAL, "s", "b", month, "doc", Shape.FLAT), curve=(), volumes=(volume,)
    )
    slots = [kwh for row in contract_curve(terms, month, Holidays()) for kwh in row]

    assert len(slots) == 96 * len(days_of_month(month))
    assert max(abs(each - Fraction(kwh, len(slots))) for each in slots) < 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**12), st.sampled_from((2024, 2025, 2026)))
def test_a_year_comes_back_from_its_quarter_hours(kwh: int, year: int) -> None:
    parts = months_of_year(kwh, year)
    volumes = tuple(
        Volume(month, "month", Decimal(part).scaleb(-3), Decimal(1), Decimal(0)) for month, part in parts
    )
    terms = WholesaleTerms(
        *("C", 1, ContractKind.BILATERAL, "s", "b", date(year, 1, 1), "doc", Shape.FLAT),
        curve=(),
        volumes=volumes,
    )

    assert sum(sum(map(sum, contract_curve(terms, month, Holidays()))) for month, _ in parts) == kwh
