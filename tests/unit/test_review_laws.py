"""How much a bill wants to be looked at: each reason by its own law, and the score is nothing but their sum."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.test_bill_recompute import a_bill

from cloud import words
from cloud.billing import review
from cloud.billing.facts import Bill
from cloud.billing.review import History, PastBill, ReasonKey, Risk, risk
from cloud.billing.tariff import Finding
from cloud.markettime import month_after

AUGUST = date(2026, 8, 1)
RULES = review.rules_for(AUGUST)
BILL = a_bill()
FILES = tuple(f"{file.id}@{file.version}" for each in BILL.segments for file in each.files)


def past(total_fen: int, back: int = 1, **changes: object) -> PastBill:
    known = PastBill(1, month_after(AUGUST, -back), total_fen, BILL.import_wh, FILES, "agency", "single_part")
    return replace(known, **changes)


def keys(found: Risk) -> set[ReasonKey]:
    return {each.key for each in found.reasons}


QUIET = History((past(BILL.total_fen, 12), past(BILL.total_fen)))


def worth(bill: Bill, total_fen: int) -> Bill:
    """The same bill with another total."""
    first, *others = bill.lines
    return replace(
        bill, lines=(replace(first, amount_fen=first.amount_fen + total_fen - bill.total_fen), *others)
    )


def test_a_bill_like_those_before_it_is_of_no_risk() -> None:
    assert risk(BILL, QUIET) == Risk(0, (), RULES.version)


def test_a_first_bill_and_a_correction_say_so() -> None:
    assert keys(risk(BILL, History())) == {ReasonKey.FIRST_BILL}
    assert keys(risk(replace(BILL, revision=2), QUIET)) == {ReasonKey.CORRECTION}


def test_a_negative_bill_is_told_with_its_amount() -> None:
    (reason,) = [each for each in risk(worth(BILL, -5_00), QUIET).reasons if each.key is ReasonKey.NEGATIVE]

    assert reason.facts == (("yuan", "-5.00"),)


@pytest.mark.parametrize(("percent", "jumps"), [(50, False), (51, True), (-50, False), (-51, True)])
def test_a_jump_is_beyond_the_limit_and_not_at_it(percent: int, jumps: bool) -> None:
    bill = worth(BILL, 1_000_000 + 10_000 * percent)
    found = risk(bill, History((past(1_000_000),)))

    assert (ReasonKey.JUMP_LAST_MONTH in keys(found)) == jumps


def test_a_small_bill_may_double_without_a_jump() -> None:
    assert ReasonKey.JUMP_LAST_MONTH not in keys(risk(worth(BILL, 90_00), History((past(20_00),))))


def test_the_month_a_year_ago_is_compared_too() -> None:
    found = risk(BILL, History((past(BILL.total_fen // 3, 12), past(BILL.total_fen))))

    assert keys(found) == {ReasonKey.JUMP_LAST_YEAR}


def test_other_terms_or_files_are_news_and_a_new_months_price_table_is_not() -> None:
    assert keys(risk(BILL, History((past(BILL.total_fen, purchase="retail"),)))) == {ReasonKey.NEW_TARIFF}
    older = tuple(each.replace("jibei-tou@", "jibei-tou-before@") for each in FILES)
    assert keys(risk(BILL, History((past(BILL.total_fen, files=older),)))) == {ReasonKey.NEW_TARIFF}
    july = tuple(each.replace("jibei-agency-2026-08", "jibei-agency-2026-07") for each in FILES)
    assert keys(risk(BILL, History((past(BILL.total_fen, files=july),)))) == set()


def test_estimates_count_from_their_share_on() -> None:
    def with_slots(count: int) -> Bill:
        (rated,) = BILL.segments
        usage = replace(rated.segment.usage, estimated_slots=count)
        return replace(BILL, segments=(replace(rated, segment=replace(rated.segment, usage=usage)),))

    limit = 31 * 96 * RULES.estimated_permille // 1000

    assert ReasonKey.ESTIMATED not in keys(risk(with_slots(limit), QUIET))
    assert ReasonKey.ESTIMATED in keys(risk(with_slots(limit + 1), QUIET))


def test_findings_are_told_by_what_they_are() -> None:
    findings = (
        Finding("register_differs", ()),
        Finding("register_not_read", ()),
        Finding("printed_price", ()),
    )

    assert keys(risk(replace(BILL, findings=findings), QUIET)) == {
        ReasonKey.REGISTER_DIFFERS,
        ReasonKey.REGISTER_NOT_READ,
        ReasonKey.OTHER_FINDING,
    }


def test_what_the_package_let_expect_is_compared() -> None:
    far = replace(QUIET, expected_fen=BILL.total_fen * 2)

    assert keys(risk(BILL, far)) == {ReasonKey.OFF_EXPECTATION}
    assert keys(risk(BILL, replace(QUIET, expected_fen=BILL.total_fen))) == set()


@given(
    st.integers(-(10**10), 10**10),
    st.integers(1, 3),
    st.lists(
        st.tuples(st.integers(1, 13), st.integers(-(10**10), 10**10)), max_size=13, unique_by=lambda m: m[0]
    ),
)
def test_the_score_is_the_sum_of_its_reasons_and_within_bounds(
    total_fen: int, revision: int, before: list[tuple[int, int]]
) -> None:
    bill = replace(worth(BILL, total_fen), revision=revision)
    found = risk(bill, History(tuple(past(fen, back) for back, fen in before)))

    assert found.score == min(100, sum(each.weight for each in found.reasons))
    assert [each.weight for each in found.reasons] == sorted((r.weight for r in found.reasons), reverse=True)
    assert all(each.weight == RULES.weight(each.key) for each in found.reasons)
    assert found == risk(bill, History(tuple(past(fen, back) for back, fen in before)))


@given(st.integers(0, 100), st.integers(-(10**11), 10**11))
def test_what_needs_two_persons_is_never_approved_in_bulk(score: int, total_fen: int) -> None:
    assert not (
        review.is_low(score, total_fen, RULES) and review.needs_second_person(score, total_fen, RULES)
    )
    assert review.needs_second_person(score, total_fen, RULES) == review.needs_second_person(
        score, -total_fen, RULES
    )


def test_every_reason_has_a_weight_and_words() -> None:
    assert {key for key, _ in RULES.weights} == set(ReasonKey)
    for key in ReasonKey:
        assert words.known(f"review_reason.{key}")
    for reason in review.HoldReason:
        assert words.known(f"hold_reason.{reason}")
