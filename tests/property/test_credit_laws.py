"""Laws of credit: bounds, monotonicity, hard rules, evidence; and official figures of guarantees."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.parties.conduct import Conduct, Fact
from cloud.parties.credit import UserClass, hints, limit_kwh, score
from cloud.parties.creditfile import model_from
from cloud.parties.guarantee import Volumes
from cloud.parties.guaranteefile import bond_fen, required, rule_from, with_forecast
from cloud.parties.ruletext import BadRule
from cloud.parties.standing import Grade, standing

AT = datetime(2026, 9, 1, tzinfo=UTC)
RULES = resources.files("cloud.parties") / "rules"
BODY = (RULES / "credit-shoudian-2026.toml").read_text("utf-8")
MODEL = model_from(BODY)
ORDER = tuple(Grade)


def fact(kind: Conduct, days_ago: int, magnitude: int, number: int) -> Fact:
    return Fact(1, kind, AT - timedelta(days=days_ago), magnitude, f"k{number}", "document", number)


def _magnitude(kind: Conduct) -> st.SearchStrategy[int]:
    return st.integers(0, 100) if kind is Conduct.FINANCIAL else st.integers(0, 1_000_000)


FACTS = st.lists(
    st.sampled_from(Conduct).flatmap(
        lambda kind: st.tuples(st.just(kind), st.integers(1, 500), _magnitude(kind))
    ),
    min_size=0,
    max_size=20,
).map(lambda rows: tuple(fact(kind, days, size, number) for number, (kind, days, size) in enumerate(rows)))


@given(FACTS)
def test_a_score_lies_between_0_and_100_and_is_what_its_factors_say(facts: tuple[Fact, ...]) -> None:
    made = score(MODEL, facts, AT)

    if made is None:
        assert all(each.at < AT - timedelta(days=MODEL.window_days) for each in facts)
        return
    assert 0 <= made.points <= 100
    weighed = sum(each.points * each.weight for each in made.factors) / 100
    assert abs(made.points - weighed) <= Decimal("0.005")
    assert sum(each.lost for each in made.factors) == pytest.approx(100 - made.points, abs=Decimal("0.03"))


@given(FACTS)
def test_the_order_of_facts_and_facts_outside_the_window_change_nothing(facts: tuple[Fact, ...]) -> None:
    old = fact(Conduct.VIOLATION, 366, 0, 999)

    made, again = score(MODEL, facts, AT), score(MODEL, (old, *reversed(facts)), AT)

    assert (made and made.points, made and made.grade) == (again and again.points, again and again.grade)


@given(
    FACTS.filter(lambda facts: score(MODEL, facts, AT) is not None), st.integers(1, 365), st.integers(1, 60)
)
def test_one_more_late_payment_never_helps(facts: tuple[Fact, ...], ago: int, late: int) -> None:
    known = (*facts, fact(Conduct.PAID_ON_TIME, 3, 0, 998))
    before = score(MODEL, known, AT)

    after = score(MODEL, (*known, fact(Conduct.PAID_LATE, ago, late, 999)), AT)

    assert before is not None
    assert after is not None
    assert after.points <= before.points
    assert not after.has_unsecured


@given(FACTS)
def test_a_violation_caps_at_b_whatever_the_points(facts: tuple[Fact, ...]) -> None:
    made = score(MODEL, (*facts, fact(Conduct.VIOLATION, 300, 0, 999)), AT)

    assert made is not None
    assert ORDER.index(made.grade) >= ORDER.index(Grade.B)


@given(FACTS)
def test_every_fact_of_the_window_is_evidence_of_a_factor(facts: tuple[Fact, ...]) -> None:
    made = score(MODEL, facts, AT)

    named = {each.fact_id for factor in made.factors for each in factor.facts} if made else set()
    within = {
        each.fact_id
        for each in facts
        if AT - timedelta(days=365) <= each.at < AT and each.kind is not Conduct.UNPAID
    }
    assert within <= named


@pytest.mark.parametrize(
    ("points", "grade", "user_class"),
    [
        ("100", "AAA", UserClass.GOOD),
        ("90", "AAA", UserClass.GOOD),
        ("89.99", "AA", UserClass.GOOD),
        ("80", "AA", UserClass.GOOD),
        ("79.99", "A", UserClass.GOOD),
        ("70", "A", UserClass.GOOD),
        ("69.99", "B", UserClass.AVERAGE),
        ("60", "B", UserClass.AVERAGE),
        ("59.99", "C", UserClass.POOR),
        ("0", "C", UserClass.POOR),
    ],
)
def test_grades_begin_where_the_reference_says(points: str, grade: str, user_class: UserClass) -> None:
    """tariffs-and-settlement 13.3: >= 90 AAA, >= 80 AA, >= 70 A, >= 60 B, else C; AAA-A / B / C are 良好 / 一般 / 较差."""
    rule = next(each for each in MODEL.grades if Decimal(points) >= each.at_least)

    assert (rule.grade, rule.user_class) == (Grade(grade), user_class)


def test_weights_are_those_of_the_reference() -> None:
    assert [each.weight for each in MODEL.factors] == [35, 25, 15, 15, 10]


def test_a_worked_score() -> None:
    """Two bills late by 5 and 2 days: 100-15-12 = 73; deviation 4 %: 85; no violation: 100; financial 60; data 97 %: 85.

    0.35·73 + 0.25·85 + 0.15·100 + 0.15·60 + 0.10·85 = 25.55 + 21.25 + 15 + 9 + 8.5 = 79.30: A.
    """
    facts = (
        fact(Conduct.PAID_LATE, 100, 5, 1),
        fact(Conduct.PAID_LATE, 60, 2, 2),
        fact(Conduct.DEVIATION, 40, 40_000, 3),
        fact(Conduct.FINANCIAL, 200, 60, 4),
        fact(Conduct.DATA_QUALITY, 30, 970_000, 5),
    )

    made = score(MODEL, facts, AT)

    assert made is not None
    assert (made.points, made.grade) == (Decimal("79.30"), Grade.A)
    assert [each.key for each in hints(made)] == ["payment", "financial", "performance", "data"]


def test_a_bill_paid_late_no_longer_counts_as_unpaid() -> None:
    unpaid = Fact(1, Conduct.UNPAID, AT - timedelta(days=20), 1, "unpaid:1/2026-07", "d", 1)
    paid = Fact(1, Conduct.PAID_LATE, AT - timedelta(days=10), 10, "bill:1/2026-07", "d", 2)

    one, both = score(MODEL, (paid,), AT), score(MODEL, (unpaid, paid), AT)

    assert one is not None
    assert both is not None
    assert one.points == both.points


# -- guarantee ---------------------------------------------------------------------------------------------------------


def volumes(year: str, wholesale: str, retail: str) -> Volumes:
    return Volumes(Decimal(year), Decimal(wholesale), Decimal(retail))


def rule(name: str) -> str:
    return (RULES / f"guarantee-{name}.toml").read_text("utf-8")


def test_the_national_rule_takes_the_larger_of_both_rates() -> None:
    """1595号: max(12 months x 0.8 分, max(2 months wholesale, retail) x 5 分): 1e8 kWh -> 800,000; 2e7 x 5 分 = 1,000,000."""
    made = required(
        rule_from(rule("national-2021")),
        volumes("100000000", "15000000", "20000000"),
        None,
        has_unsecured=True,
    )

    assert made.required_fen == 1_000_000_00


@pytest.mark.parametrize(
    ("grade", "yuan"),
    [("AAA", 500_000), ("AA", 700_000), ("A", 1_000_000), ("B", 1_300_000), ("C", 1_500_000)],
)
def test_hunan_scales_by_grade(grade: str, yuan: int) -> None:
    """湖南 2022: guarantee −50/−30/0/+30/+50 %, unrated = A."""
    base = volumes("100000000", "20000000", "0")

    made = required(rule_from(rule("hunan-2022")), base, Grade(grade), has_unsecured=True)

    assert made.required_fen == yuan * 100
    assert (
        required(rule_from(rule("hunan-2022")), base, None, has_unsecured=True).required_fen == 1_000_000_00
    )


@pytest.mark.parametrize(
    ("kwh", "grade", "has_unsecured", "fen"),
    [
        ("399999999", "B", True, 280_000_000),
        ("400000000", "C", True, 280_000_000),
        ("1000000000", "C", True, 700_000_000),
        ("4000000000", "C", True, 2_800_000_000),
        ("5000000000", "C", True, 2_800_000_000),
        ("1000000000", "AAA", True, 648_148_148),  # 7,000,000 / 1.08 = 6,481,481.48
        ("1000000000", "AA", True, 666_666_667),  # / 1.05
        ("1000000000", "A", True, 679_611_650),  # / 1.03
        ("1000000000", "AAA", False, 700_000_000),  # a late payment within 12 months: ratio 0
    ],
)
def test_guangdong_goes_by_steps_and_divides(kwh: str, grade: str, has_unsecured: bool, fen: int) -> None:
    """广东 2024: < 4亿 280万; 4–40亿 0.7 分/kWh; > 40亿 2800万; ÷ (1 + 8/5/3/0 %)."""
    made = required(
        rule_from(rule("guangdong-2024")), volumes(kwh, "0", "0"), Grade(grade), has_unsecured=has_unsecured
    )

    assert made.required_fen == fen


@pytest.mark.parametrize(
    ("name", "kwh", "grade", "has_unsecured", "fen"),
    [
        ("national-2021", 60_000, None, True, 48_000),  # 1595号: 0.8 分 a kWh
        ("national-2021", 60_000, "C", True, 48_000),
        ("hunan-2022", 60_000, "AAA", True, 24_000),  # −50 %
        ("hunan-2022", 60_000, "C", True, 72_000),  # +50 %
        ("guangdong-2024", 1_000_000, "AAA", True, 648_148),  # 7 000 yuan ÷ 1.08
        ("guangdong-2024", 1_000_000, "AAA", False, 700_000),
    ],
)
def test_a_contract_binds_by_its_rule(
    name: str, kwh: int, grade: str | None, has_unsecured: bool, fen: int
) -> None:
    found = rule_from(rule(name))

    assert bond_fen(found, kwh, None if grade is None else Grade(grade), has_unsecured=has_unsecured) == fen


@given(
    name=st.sampled_from(["national-2021", "hunan-2022", "guangdong-2024"]),
    parts=st.lists(st.integers(0, 10**9), min_size=1, max_size=5),
    has_unsecured=st.booleans(),
)
def test_what_contracts_bind_grows_with_energy_falls_with_the_grade_and_adds_up(
    name: str, parts: list[int], has_unsecured: bool
) -> None:
    found = rule_from(rule(name))
    by_grade = [bond_fen(found, sum(parts), grade, has_unsecured=has_unsecured) for grade in Grade]

    assert by_grade == sorted(by_grade)
    assert bond_fen(found, sum(parts) + 1000, Grade.C, has_unsecured=has_unsecured) > by_grade[-1]
    apart = sum(bond_fen(found, kwh, Grade.A, has_unsecured=has_unsecured) for kwh in parts)
    assert abs(apart - bond_fen(found, sum(parts), Grade.A, has_unsecured=has_unsecured)) <= len(parts)


@pytest.mark.parametrize(
    ("declared", "traded", "fen"),
    [
        (
            0,
            "0",
            41_666_670,
        ),  # the least: 5e7 kWh a year; two months 8 333 334 kWh at 5 分 above 0.8 分 of the year
        (600_000_000, "0", 500_000_000),  # 1e8 kWh in two months at 5 分
        (600_000_000, "2000000000", 1_600_000_000),  # what it trades is more: 2e9 kWh at 0.8 分
    ],
)
def test_a_newcomer_counts_with_its_declared_year_and_at_least_with_the_rules(
    declared: int, traded: str, fen: int
) -> None:
    found = rule_from(rule("national-2021"))
    counted = with_forecast(found, volumes(traded, "0", "0"), declared)

    assert required(found, counted, None, has_unsecured=True).required_fen == fen


def test_a_rule_that_says_nothing_of_contracts_binds_its_rate_of_a_year() -> None:
    old = rule("national-2021").split("[contract]")[0]

    assert bond_fen(rule_from(old), 1000, None, has_unsecured=True) == 800
    assert rule_from(old).entrant_least_kwh == 0


def test_who_is_suspended_or_not_graded_is_no_more_than_that() -> None:
    unrated = standing(1, "user", "suspended", grade=None, guarantee_free_fen=None, limit_kwh=None)

    assert (unrated.is_admitted, unrated.grade) == (False, None)


def test_only_b_and_c_are_limited() -> None:
    assert [limit_kwh(MODEL, grade, 1001) for grade in Grade] == [None, None, None, 1001, 500]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("weight = 35", "weight = 36"),
        ('at_least = "80"', 'at_least = "95"'),
        ('method = "latest"', 'method = "guess"'),
        ('kinds = ["financial"]', 'kinds = ["rumour"]'),
        ('without = "70"', "without = 70"),
        ("window_days = 365", "window_days = 0"),
        ('cap = "B"', 'cap = "D"'),
        ("version = 1", "version = 1\nsurprise = 2"),
    ],
)
def test_a_model_that_breaks_its_format_is_refused(old: str, new: str) -> None:
    assert old in BODY

    with pytest.raises(BadRule):
        model_from(BODY.replace(old, new, 1))
