"""Laws of demand response: baselines from the right days only, bounded adjustment, payment by band; published examples."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.contracts.entries import BadMarketFile
from cloud.daytypes import DayKind, kind_of
from cloud.market import baseline as bl
from cloud.market import performance as pf
from cloud.market.baseline import DayLoad
from cloud.market.programme import (
    Adjustment,
    BaselineRule,
    Direction,
    Form,
    Programme,
)
from cloud.market.programmefile import programme_from
from cloud.market.response import Band, Ranking, Shortfall

EVENT_DAY = date(2026, 8, 20)  # a Thursday
FOLDER = resources.files("cloud.market") / "programmes"


def packaged(name: str) -> Programme:
    return programme_from(name, (FOLDER / name).read_text("utf-8"))


def flat(day: date, kw: int) -> DayLoad:
    return DayLoad(day, (kw * 250,) * 96)


def rule(days: int, of: int, ranking: Ranking = Ranking.HIGHEST) -> BaselineRule:
    return BaselineRule(days, of, ranking, 60, None)


def at_slots(values_kw: list[str], first: int = 40) -> tuple[int, ...]:
    wh = [0] * 96
    for slot, kw in enumerate(values_kw, start=first):
        wh[slot] = int(Decimal(kw) * 250)
    return tuple(wh)


def test_the_mean_of_five_days_is_that_of_jiangsu() -> None:
    """DR-102 of the tariff cases: five days, four quarter-hours, 227.50 kWh, 682.50 yuan at 3.00."""
    days_kw = [
        ["900", "950", "1000", "980"],
        ["880", "940", "1010", "990"],
        ["910", "960", "990", "970"],
        ["920", "930", "1020", "1000"],
        ["890", "970", "1005", "985"],
    ]
    loads = {
        EVENT_DAY - timedelta(days=back): DayLoad(EVENT_DAY - timedelta(days=back), at_slots(kw))
        for back, kw in enumerate(days_kw, start=1)
    }
    raw = bl.baseline(rule(5, 5), sorted(loads, reverse=True), loads)
    actual = at_slots(["700", "720", "760", "750"])
    fitted = bl.adjusted(raw, None, DayLoad(EVENT_DAY, actual), (40, 44))
    programme = replace(
        packaged("jibei-peak-demo-1.toml"), cap_yuan_per_kwh=Decimal(5), band=Band(Decimal("0.8"), None)
    )
    called = pf.Called(EVENT_DAY, (40, 44), 200, Decimal("3.00"), "1")

    found = pf.performance(programme, called, fitted, actual[40:44])

    assert fitted.kw == (900, 950, 1005, 985)
    assert found.response_kwh == Decimal("227.500")
    assert [(line.item, line.amount_fen) for line in found.lines] == [(pf.Item.RESPONSE, -68250)]


def test_the_five_largest_of_ten_are_those_of_beijing() -> None:
    """DR-103: days 1, 3, 6, 7, 9 of the list; baseline 834 kW."""
    daily_kwh = [9800, 10100, 9900, 10400, 10050, 9700, 10300, 10250, 9950, 10150]
    interval_kw = [800, 820, 805, 850, 815, 790, 840, 835, 808, 825]
    days = [EVENT_DAY - timedelta(days=back) for back in range(1, 11)]
    loads = {}
    for day, kwh, kw in zip(days, daily_kwh, interval_kw, strict=True):
        wh = [0] * 96
        wh[40] = kw * 250
        wh[0] = kwh * 1000 - wh[40]
        loads[day] = DayLoad(day, tuple(wh))

    found = bl.baseline(rule(5, 10), days, loads)

    assert set(found.days) == {days[number] for number in (1, 3, 6, 7, 9)}
    assert found.kw[40] == 834


def test_a_price_above_the_cap_is_paid_at_the_cap() -> None:
    """DR-101: 1250.5 kWh at 1.85, capped at 1.5 of 海南 日前削峰: 1875.75 yuan."""
    programme = packaged("hainan-day-ahead-draft-1.toml")
    raw_kw = (Fraction(5002),) * 4
    called = pf.Called(EVENT_DAY, (40, 44), 5000, Decimal("1.85"), "1")
    fitted = bl.Adjusted((Fraction(12505, 10),), None, None, Fraction(0))
    called = replace(called, slots=(40, 41), bid_kw=5002)
    fitted = replace(fitted, kw=raw_kw[:1])

    found = pf.performance(programme, called, fitted, (0,))

    assert found.eligible_kwh == Decimal("1250.5")
    assert found.total_fen == -187575


@given(
    st.lists(st.integers(0, 500), min_size=60, max_size=60),
    st.sets(st.integers(1, 59), max_size=20),
    st.sets(st.integers(1, 59), max_size=20),
    st.integers(1, 10),
    st.data(),
)
def test_a_baseline_uses_only_days_that_may_be_used(
    kws: list[int], called: set[int], broken: set[int], of: int, data: st.DataObject
) -> None:
    """Not event days, not holidays or weekends, not incomplete days, and none later than the event."""
    days = data.draw(st.integers(1, of))
    event_days = {EVENT_DAY - timedelta(days=back) for back in called}
    loads = {}
    for back, kw in enumerate(kws):
        day = EVENT_DAY + timedelta(days=7) - timedelta(days=back)
        gap = (None,) if back in broken else (0,)
        loads[day] = DayLoad(day, gap + (kw * 250,) * 95)
    candidates = bl.candidate_days(EVENT_DAY, kind_of, event_days, replace(rule(days, of), look_back_days=45))
    usable = [day for day in candidates if day in loads and None not in loads[day].wh]

    if len(usable) < of:
        with pytest.raises(bl.TooFewDays):
            bl.baseline(rule(days, of), candidates, loads)
        return
    found = bl.baseline(rule(days, of), candidates, loads)

    assert len(found.days) == days
    for day in found.days:
        assert day < EVENT_DAY
        assert day not in event_days
        assert kind_of(day) is DayKind.WORKDAY
        assert None not in loads[day].wh
    window = sorted(usable, reverse=True)[:of]
    best = sorted((sum(wh or 0 for wh in loads[day].wh) for day in window), reverse=True)[:days]
    assert sorted(sum(wh or 0 for wh in loads[day].wh) for day in found.days) == sorted(best)


@given(
    st.integers(1, 2000), st.integers(0, 4000), st.sampled_from(Form), st.integers(1, 8), st.integers(0, 8)
)
def test_an_adjustment_stays_within_its_limits(
    base_kw: int, before_kw: int, form: Form, slots: int, gap: int
) -> None:
    is_ratio = form is Form.RATIO
    low, high, limit = Decimal("0.8"), Decimal("1.2"), Decimal(100)
    own = Adjustment(
        form,
        slots,
        gap,
        low if is_ratio else None,
        high if is_ratio else None,
        None if is_ratio else limit,
    )
    raw = bl.Baseline((EVENT_DAY,), (Fraction(base_kw),) * 96, ())
    wh = [99_999_999] * 96  # what is not in the window must not matter
    for slot in range(40 - gap - slots, 40 - gap):
        wh[slot] = before_kw * 250

    found = bl.adjusted(raw, own, DayLoad(EVENT_DAY, tuple(wh)), (40, 48))

    difference = before_kw - base_kw
    expected = (
        min(max(Fraction(before_kw), Fraction(4, 5) * base_kw), Fraction(6, 5) * base_kw)
        if is_ratio
        else base_kw + min(100, max(-100, difference))
    )
    assert found.kw == (expected,) * 8


def test_without_measurements_before_the_event_the_raw_baseline_stands() -> None:
    raw = bl.Baseline((EVENT_DAY,), (Fraction(100),) * 96, ())
    own = Adjustment(Form.RATIO, 4, 0, Decimal("0.8"), Decimal("1.2"), None)
    wh: list[int | None] = [50 * 250] * 96
    wh[38] = None

    assert bl.adjusted(raw, own, DayLoad(EVENT_DAY, tuple(wh)), (40, 44)).kw == (100,) * 4
    assert bl.adjusted(raw, own, DayLoad(EVENT_DAY, tuple(wh)), (2, 4)).kw == (100,) * 2


@given(
    st.sampled_from(Direction),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=1, max_size=16),
    st.integers(1, 2000),
    st.decimals("0.01", "4", places=2),
    st.booleans(),
)
def test_what_is_paid_follows_from_what_was_done(
    direction: Direction, points: list[tuple[int, int]], bid_kw: int, price: Decimal, has_penalty: bool
) -> None:
    """Nothing below the band, no more than its top, never more than the capped price; short of half, a charge."""
    penalty = Shortfall(Decimal("0.5"), Decimal("0.5")) if has_penalty else None
    programme = replace(packaged("jibei-peak-demo-1.toml"), direction=direction, penalty=penalty)
    fitted = bl.Adjusted(tuple(Fraction(base) for base, _ in points), None, None, Fraction(1))
    called = pf.Called(EVENT_DAY, (40, 40 + len(points)), bid_kw, price, "1")

    found = pf.performance(programme, called, fitted, [actual * 250 for _, actual in points])

    sign = 1 if direction is Direction.REDUCE else -1
    done = sign * Fraction(sum(base - actual for base, actual in points), 4)
    bid = Fraction(bid_kw * len(points), 4)
    paid_kwh = Fraction(0) if done < Fraction(4, 5) * bid else min(done, Fraction(6, 5) * bid)
    paid_price = min(Fraction(price), Fraction(3, 2))
    assert Fraction(found.response_kwh) == done
    amounts = {line.item: line.amount_fen for line in found.lines}
    assert abs(Fraction(-amounts[pf.Item.RESPONSE]) - 100 * paid_kwh * paid_price) <= Fraction(1, 2)
    missing = max(Fraction(0), bid / 2 - max(Fraction(0), done)) if has_penalty else Fraction(0)
    charged = amounts.get(pf.Item.SHORTFALL, 0)
    assert abs(charged - 100 * missing * paid_price / 2) <= Fraction(1, 2)
    assert found.total_fen == sum(amounts.values())


@given(st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 9999)), min_size=1, max_size=24))
def test_a_derivation_gives_its_amount(points: list[tuple[int, int]]) -> None:
    programme = packaged("jibei-peak-demo-1.toml")
    fitted = bl.Adjusted(tuple(Fraction(base, 3) for base, _ in points), None, None, Fraction(1))
    called = pf.Called(EVENT_DAY, (0, len(points)), 100, Decimal("1.234"), "1")

    for line in pf.performance(programme, called, fitted, [wh for _, wh in points]).lines:
        value = Fraction(1)
        for factor in line.derivation.formula.split(" * "):
            named = [each.value for each in line.derivation.inputs if each.name == factor]
            value *= Fraction(named[0] if named else factor)
        assert abs(line.amount_fen - 100 * value) <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("found", "planted"),
    [
        ('cap_yuan_per_kwh = "1.5"', 'cap_yuan_per_kwh = "0"'),
        ('cap_yuan_per_kwh = "1.5"', "cap_yuan_per_kwh = 1.5"),
        ('high_ratio = "1.2"\n\n[penalty]', 'high_ratio = "0.7"\n\n[penalty]'),
        ("\ndays = 5", "\ndays = 11"),
        ("answer_minutes = 60", "answer_minutes = 120"),
        ('type = "day-ahead"', 'type = "sometimes"'),
        ('ranking = "highest"', 'ranking = "highest"\nsurprise = 1'),
    ],
)
def test_a_programme_with_a_slip_is_refused(found: str, planted: str) -> None:
    text = (FOLDER / "jibei-peak-demo-1.toml").read_text("utf-8")
    assert found in text

    with pytest.raises(BadMarketFile):
        programme_from("x.toml", text.replace(found, planted, 1))
