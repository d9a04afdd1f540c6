"""Baseline days by hand, capacity payments and portfolios of demand response: figures on paper, and laws."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.billing.formula import fen_by
from cloud.contracts.entries import BadMarketFile
from cloud.daytypes import kind_of
from cloud.market import aggregate
from cloud.market import baseline as bl
from cloud.market import capacity as cp
from cloud.market import performance as pf
from cloud.market.aggregate import By, Charges, Part, SplitRule
from cloud.market.baseline import DayLoad
from cloud.market.programme import Adjustment, BaselineRule, Basis, CapacityRule, Failure, Form, Programme
from cloud.market.programmefile import programme_from
from cloud.market.response import Ranking

FOLDER = resources.files("cloud.market") / "programmes"
THURSDAY = date(2026, 8, 20)
AUGUST = date(2026, 8, 1)


def packaged(name: str) -> Programme:
    return programme_from(name, (FOLDER / name).read_text("utf-8"))


def flat(day: date, kw: int) -> DayLoad:
    return DayLoad(day, (kw * 250,) * 96)


def rule(days: int, of: int, **more: object) -> BaselineRule:
    return replace(BaselineRule(days, of, Ranking.HIGHEST, 60, None), **more)  # type: ignore[arg-type]


# ---- which days, by the definitions of tariffs-and-settlement 12.3 and the official calendar of 2026 ------


@pytest.mark.parametrize(
    ("event", "more", "expected"),
    [
        # 北京: eligible days from D-2 on; Wednesday the 19th does not count
        (THURSDAY, {"skip_days": 1}, ["08-18", "08-17", "08-14", "08-13", "08-12"]),
        (THURSDAY, {}, ["08-19", "08-18", "08-17", "08-14", "08-13"]),
        # after the holidays of National Day and Mid-Autumn: 1-7 October and 25-27 September are none
        (date(2026, 10, 9), {}, ["10-08", "09-30", "09-29", "09-28", "09-24"]),
        # Saturday 10 October is worked for the holiday: a working day like the others
        (date(2026, 10, 12), {}, ["10-10", "10-09", "10-08", "09-30", "09-29"]),
        # a Saturday takes weekends; a holiday takes weekends too, and Sunday 20 September was worked
        (date(2026, 8, 22), {}, ["08-16", "08-15", "08-09", "08-08", "08-02"]),
        (date(2026, 10, 1), {}, ["09-19", "09-13", "09-12", "09-06", "09-05"]),
    ],
)
def test_the_days_of_a_baseline_are_those_on_the_calendar(
    event: date, more: dict[str, object], expected: list[str]
) -> None:
    found = bl.candidate_days(event, kind_of, (), rule(5, 5, **more))

    assert [f"{day:%m-%d}" for day in found[:5]] == expected


def test_the_five_highest_of_ten_from_two_days_before_are_beijings() -> None:
    """Loads 101, 102 … kW going back from D-2; D-1 had 9,000 kW and an event day 8,000, a day is incomplete."""
    own = rule(5, 10, skip_days=1)
    called = {date(2026, 8, 14)}
    candidates = bl.candidate_days(THURSDAY, kind_of, called, own)
    loads = {day: flat(day, 101 + number) for number, day in enumerate(candidates)}
    loads[date(2026, 8, 19)] = flat(date(2026, 8, 19), 9000)
    loads[date(2026, 8, 14)] = flat(date(2026, 8, 14), 8000)
    broken = date(2026, 8, 17)  # would be 102 kW
    loads[broken] = DayLoad(broken, (None, *(loads[broken].wh[1:])))

    found = bl.baseline(own, candidates, loads)

    # left: 101, 103 … 111 kW; the five highest are 107 to 111, their mean is 109
    assert set(found.kw) == {Fraction(109)}
    assert [f"{day:%m-%d}" for day in found.days] == ["08-07", "08-06", "08-05", "08-04", "08-03"]


def test_a_day_of_an_outage_gives_its_place_to_an_earlier_one() -> None:
    """Five days of 1000, 1000, 100, 1000, 1000: mean 820, a quarter of it 205; the 100 goes and the sixth, 400, comes."""
    kws = [1000, 1000, 100, 1000, 1000, 400, 1000]
    days = [THURSDAY - timedelta(days=back) for back in range(1, 8)]
    loads = {day: flat(day, kw) for day, kw in zip(days, kws, strict=True)}

    found = bl.baseline(rule(5, 5, least_ratio=Decimal("0.25")), days, loads)
    kept = bl.baseline(rule(5, 5), days, loads)
    with pytest.raises(bl.TooFewDays):
        bl.baseline(rule(5, 5, least_ratio=Decimal("0.25")), days[:5], loads)

    assert set(found.kw) == {Fraction(880)}
    assert set(kept.kw) == {Fraction(820)}


@pytest.mark.parametrize(
    ("ranking", "count", "expected"),
    [(Ranking.HIGHEST, 4, 350), (Ranking.LOWEST, 2, 150), (Ranking.MIDDLE, 3, 300), (Ranking.MIDDLE, 2, 350)],
)
def test_x_of_five_days_of_100_to_500_kw(ranking: Ranking, count: int, expected: int) -> None:
    """PJM's four highest of five: 200 to 500; the middle three: 200 to 400; the middle two: 300 and 400."""
    days = [THURSDAY - timedelta(days=back) for back in range(1, 6)]
    loads = {day: flat(day, 100 * (number + 1)) for number, day in enumerate(days)}

    found = bl.baseline(rule(count, 5, ranking=ranking), days, loads)

    assert set(found.kw) == {Fraction(expected)}


@pytest.mark.parametrize(
    ("form", "before_kw", "expected"),
    [
        (Form.RATIO, 1300, 1200),  # 1.3 held at 1.2
        (Form.RATIO, 1100, 1100),
        (Form.RATIO, 500, 800),  # 0.5 held at 0.8
        (Form.ADD, 1300, 1200),  # 300 held at 200
        (Form.ADD, 950, 950),
        (Form.ADD, 0, 800),
    ],
)
def test_a_day_of_adjustment_is_held_by_its_caps(form: Form, before_kw: int, expected: int) -> None:
    is_ratio = form is Form.RATIO
    own = Adjustment(
        *(form, 8, 4),
        *((Decimal("0.8"), Decimal("1.2"), None) if is_ratio else (None, None, Decimal(200))),
    )
    wh = [0] * 56 + [0] * 40
    wh[44:52] = [before_kw * 250] * 8  # two hours that end an hour before 14:00

    found = bl.adjusted(
        bl.Baseline((), (Fraction(1000),) * 96, ()), own, DayLoad(THURSDAY, tuple(wh)), (56, 64)
    )

    assert found.kw == (expected,) * 8


def test_nobody_is_expected_to_draw_less_than_nothing() -> None:
    own = Adjustment(Form.ADD, 4, 0, None, None, Decimal(200))
    raw = bl.Baseline((), (Fraction(300),) * 40 + (Fraction(150),) * 56, ())

    found = bl.adjusted(raw, own, DayLoad(THURSDAY, (100 * 250,) * 96), (40, 44))

    assert found.change == -200
    assert found.kw == (0,) * 4


# ---- capacity --------------------------------------------------------------------------------------------

RULE = CapacityRule(Decimal("0.3"), Basis.UNCALLED, Failure(Decimal("0.8"), Decimal("0.5")))


def call(number: int, bid_kw: int | None, done_kwh: str = "0", is_test: bool = False) -> cp.Call:
    """Two hours each."""
    return cp.Call(str(number), is_test, bid_kw, Decimal(2 * (bid_kw or 0)), Decimal(done_kwh))


@pytest.mark.parametrize(
    ("calls", "days", "expected"),
    [
        ([], 31, [-12000]),  # 400 kW x 0.3
        ([], 20, [-7742]),  # x 20/31 = 77.419
        ([call(1, 150, "300")], 31, [-7500]),  # 250 kW were not called
        ([call(1, 150, "240")], 31, [-7500]),  # exactly 80 %: no failure
        ([call(1, 150, "239.999")], 31, [-7500, 3750]),
        ([call(1, 300, "600", is_test=True)], 31, [-12000]),  # a test takes nothing
        ([call(1, 300, "0", is_test=True)], 31, [-12000, 6000]),
        ([call(1, None, is_test=True), call(2, 300, "0", is_test=True)], 31, [-12000, 12000]),
        (
            [call(n, 300, "0", is_test=True) for n in range(3)],
            31,
            [-12000, 12000],
        ),  # never more than the payment
        ([call(1, None)], 31, [0]),  # an unanswered call took all of it
        ([call(1, 150, "300"), call(2, 350, "700")], 31, [-1500]),  # the largest call counts: 50 kW
    ],
)
def test_a_months_capacity_by_hand(calls: list[cp.Call], days: int, expected: list[int]) -> None:
    programme = packaged("vpp-contracted-demo-1.toml")
    assert programme.capacity == RULE

    found = cp.payment(programme, RULE, cp.Resource("7", AUGUST, 400, days), calls)

    assert [line.amount_fen for line in found.lines] == expected


def test_the_draft_of_hainan_pays_uncalled_capacity_and_withholds_nothing() -> None:
    """SEC: 0.3 yuan/kW·month for uncalled capacity; no text on failures is known."""
    programme = packaged("hainan-contracted-draft-1.toml")
    assert programme.capacity is not None

    found = cp.payment(
        programme, programme.capacity, cp.Resource("7", AUGUST, 1000, 31), [call(1, 400, "0", is_test=True)]
    )

    assert [line.amount_fen for line in found.lines] == [-30000]


CALLS = st.lists(
    st.builds(
        lambda number, bid, share, is_test: cp.Call(
            str(number), is_test, bid, Decimal(2 * (bid or 0)), Decimal(2 * (bid or 0)) * share / 100
        ),
        st.integers(1, 99),
        st.one_of(st.none(), st.integers(1, 5000)),
        st.integers(0, 150),
        st.booleans(),
    ),
    max_size=6,
)


@given(
    st.integers(1, 5000),
    st.integers(1, 31),
    CALLS,
    st.decimals("0.01", "50", places=2),
    st.sampled_from(Basis),
)
def test_capacity_is_never_a_charge_and_follows_from_its_inputs(
    kw: int, days: int, calls: list[cp.Call], price: Decimal, basis: Basis
) -> None:
    """Between nothing and the whole month's price; each failure withholds, none pays; lines recompute from inputs."""
    programme = packaged("vpp-contracted-demo-1.toml")
    own = replace(RULE, yuan_per_kw_month=price, basis=basis)
    resource = cp.Resource("1", AUGUST, kw, days)

    found = cp.payment(programme, own, resource, calls)

    assert -Fraction(kw) * Fraction(price) * 100 - Fraction(1, 2) <= found.total_fen <= 0
    for line in found.lines:
        assert (
            fen_by(line.derivation.formula, {i.name: i.value for i in line.derivation.inputs})
            == line.amount_fen
        )
    one_more = cp.payment(programme, own, resource, [*calls, call(100, 1, "0", is_test=True)])
    assert one_more.total_fen >= found.total_fen
    without = cp.payment(programme, replace(own, failure=None), resource, calls)
    assert without.total_fen <= found.total_fen


# ---- portfolios ------------------------------------------------------------------------------------------

SPLIT = SplitRule("s", 1, "", AUGUST, Decimal("0.2"), By.RESPONSE, Charges.AGGREGATOR)


def part(number: int, bid: str, done: str) -> Part:
    return Part(number, 100 + number, Decimal(bid), Decimal(done))


def test_a_portfolio_of_912_yuan_is_split_by_hand() -> None:
    """A fifth, 182.40, stays; 729.60 in the ratio 760 : 40 are 693.12 and 36.48."""
    found = aggregate.split(SPLIT, -91200, [part(1, "800", "760"), part(2, "600", "40")])

    assert found.aggregator_fen == -18240
    assert [share.amount_fen for share in found.shares] == [-69312, -3648]


def test_a_charge_of_a_portfolio_is_borne_as_the_rule_says() -> None:
    """100 yuan; one lacks 40 kWh of its bid, two 560: 6.67 and 93.33, or all by the aggregator."""
    parts = [part(1, "800", "760"), part(2, "600", "40")]

    borne = aggregate.split(SPLIT, 10000, parts)
    shared = aggregate.split(replace(SPLIT, charges=Charges.MEMBERS), 10000, parts)

    assert (borne.aggregator_fen, [each.amount_fen for each in borne.shares]) == (10000, [0, 0])
    assert (shared.aggregator_fen, [each.amount_fen for each in shared.shares]) == (0, [667, 9333])


@given(
    st.integers(-10_000_000, 10_000_000),
    st.lists(st.tuples(st.integers(1, 9000), st.integers(-500, 12000)), min_size=1, max_size=12),
    st.integers(0, 100),
    st.sampled_from(By),
    st.sampled_from(Charges),
)
def test_a_split_keeps_every_fen(
    total_fen: int, members: list[tuple[int, int]], keep: int, by: By, charges: Charges
) -> None:
    """The parts add up to the whole; who did nothing gets nothing of what was done; order does not favour anybody much."""
    own = replace(SPLIT, keep_ratio=Decimal(keep) / 100, by=by, charges=charges)
    parts = [part(number, str(bid), str(done)) for number, (bid, done) in enumerate(members)]

    found = aggregate.split(own, total_fen, parts)

    assert found.aggregator_fen + sum(each.amount_fen for each in found.shares) == total_fen
    if total_fen <= 0:
        assert abs(Fraction(found.aggregator_fen) - Fraction(total_fen * keep, 100)) <= Fraction(
            1, 2
        ) or not any(each.weight_wh for each in found.shares)
    for share, (_, done) in zip(found.shares, members, strict=True):
        if by is By.RESPONSE and total_fen < 0 and done <= 0:
            assert share.amount_fen == 0
    weight = sum(each.weight_wh for each in found.shares)
    to_share = total_fen - found.aggregator_fen
    for each in found.shares:
        if weight:
            exact = Fraction(to_share * each.weight_wh, weight)
            assert abs(each.amount_fen - exact) <= Fraction(len(members), 2)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 500),
            st.lists(st.integers(0, 900), min_size=4, max_size=4),
            st.lists(st.integers(0, 900), min_size=4, max_size=4),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_a_portfolio_is_measured_as_the_sum_of_its_members(
    members: list[tuple[int, list[int], list[int]]],
) -> None:
    programme = packaged("vpp-contracted-demo-1.toml")
    called = pf.Called(THURSDAY, (56, 60), 0, Decimal("0.80"), "1")
    own = [
        aggregate.Member(
            number,
            number,
            bid,
            bl.Adjusted(tuple(map(Fraction, base)), None, None, Fraction(0)),
            tuple(kw * 250 for kw in actual),
        )
        for number, (bid, base, actual) in enumerate(members)
    ]

    found = aggregate.portfolio_performance(programme, called, own)

    done = sum(Fraction(sum(base) - sum(actual), 4) for _, base, actual in members)
    assert Fraction(found.response_kwh) == done
    assert found.bid_kwh == sum(bid for bid, _, _ in members)
    alone = [
        pf.performance(programme, replace(called, bid_kw=each.bid_kw), each.fitted, each.actual_wh)
        for each in own
    ]
    assert sum(each.response_kwh for each in alone) == found.response_kwh
    if len(own) == 1:
        assert alone[0].total_fen == found.total_fen


@pytest.mark.parametrize(
    ("found", "planted"),
    [
        ('basis = "uncalled"', 'basis = "always"'),
        ('withheld_ratio = "0.5"', 'withheld_ratio = "1.5"'),
        ('yuan_per_kw_month = "0.3"', 'yuan_per_kw_month = "-1"'),
        ('assess = "portfolio"', 'assess = "both"'),
        ("skip_days = 1", "skip_days = -1"),
    ],
)
def test_a_slip_in_the_rules_of_capacity_is_refused(found: str, planted: str) -> None:
    text = (FOLDER / "vpp-contracted-demo-1.toml").read_text("utf-8")
    assert found in text

    with pytest.raises(BadMarketFile):
        programme_from("x.toml", text.replace(found, planted, 1))
