"""Codes, checklists, clocks of registration: the published rules and examples, and laws by hypothesis."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.lives import NoSuchMove, step
from cloud.parties import checklist as checklists
from cloud.parties import expiry, registration, usci
from cloud.parties.checklist import BadChecklist, BadFact, Field, HeldPaper
from cloud.parties.party import PARTY, SUBKINDS, Kind, may_trade
from cloud.parties.registration import Finding, Given, Verdict

# Codes as the National Enterprise Credit Information Publicity System shows them.
PUBLISHED = ("914403001922038216", "9144030071526726XG", "91330100799655058B")
TODAY = date(2026, 3, 2)
RETAILER = checklists.in_force(Kind.RETAILER, TODAY)

codes = st.text(usci.CHARACTERS, min_size=17, max_size=17).map(
    lambda first: first + usci.check_character(first)
)


@pytest.mark.parametrize("code", PUBLISHED)
def test_published_codes_are_right(code: str) -> None:
    assert usci.code_from(f" {code[:9].lower()} {code[9:].lower()} ") == code


@given(codes, st.integers(0, 17), st.sampled_from(usci.CHARACTERS))
def test_one_wrong_character_is_always_found(code: str, place: int, other: str) -> None:
    wrong = code[:place] + other + code[place + 1 :]
    if other == code[place]:
        assert usci.code_from(wrong) == code
    else:
        with pytest.raises(usci.BadCode):
            usci.code_from(wrong)


@given(codes, st.integers(0, 15))
def test_two_neighbours_swapped_are_always_found(code: str, place: int) -> None:
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    if swapped != code:
        with pytest.raises(usci.BadCode):
            usci.code_from(swapped)


@pytest.mark.parametrize(
    "text", ["", "9144030019220382I6", "91440300192203821", "9144030019220382166", "９１" * 9]
)
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(usci.BadCode):
        usci.code_from(text)


@pytest.mark.parametrize(
    ("subkind", "staff", "senior", "middle", "short"),
    [  # 售电公司管理办法 发改体改规〔2021〕1595号: 10 with 1 + 3; with a distribution network 20 with 2 + 5
        ("independent", "10", "1", "3", set()),
        ("independent", "9", "0", "2", {"staff_count", "senior_titles", "middle_titles"}),
        ("grid", "10", "1", "2", {"middle_titles"}),
        ("distribution", "10", "1", "3", {"staff_count", "senior_titles", "middle_titles"}),
        ("distribution", "20", "2", "5", set()),
    ],
)
def test_a_retailer_needs_the_people_that_the_rule_names(
    subkind: str, staff: str, senior: str, middle: str, short: set[str]
) -> None:
    facts = {"staff_count": staff, "senior_titles": senior, "middle_titles": middle, "staff_years": "3"}
    gaps = checklists.gaps(RETAILER, subkind, facts, (), TODAY)

    assert {gap.item.removeprefix("field.") for gap in gaps if gap.why == "too_small"} == short


@pytest.mark.parametrize(
    ("assets", "cap"),
    [  # 2000万 to 1亿: 30亿 kWh; to 2亿: 60亿; from 2亿 on unlimited; bounds belong to the tier above (AD-101)
        ("19999999.99", "none"),
        ("20000000", "3000000000"),
        ("99999999.99", "3000000000"),
        ("100000000", "6000000000"),
        ("200000000", "unlimited"),
    ],
)
def test_assets_decide_how_much_a_retailer_may_sell(assets: str, cap: str) -> None:
    found = checklists.admitted(RETAILER, {"assets_yuan": assets})
    assert found is not None
    told = "none" if not found.is_admitted else str(found.annual_cap_kwh or "unlimited")

    assert told == cap
    refused = [
        gap
        for gap in checklists.gaps(RETAILER, "grid", {"assets_yuan": assets}, (), TODAY)
        if gap.why == "too_small"
    ]
    assert bool(refused) == (cap == "none")


def test_with_a_distribution_network_capital_is_a_fifth_of_assets() -> None:
    def short(capital: str) -> bool:
        facts = {"registered_capital_yuan": capital, "assets_yuan": "100000000"}
        return any(
            gap.why == "too_small" for gap in checklists.gaps(RETAILER, "distribution", facts, (), TODAY)
        )

    assert (short("19999999.99"), short("20000000")) == (True, False)


@pytest.mark.parametrize(
    ("kind", "text", "kept"),
    [
        ("yuan", "1,234,567.80", "1234567.8"),
        ("whole", "007", "7"),
        ("decimal", "305.500", "305.5"),
        ("day", "2026-02-28", "2026-02-28"),
        ("phone", "+86 10 8888 0000", "+86 10 8888 0000"),
    ],
)
def test_facts_are_kept_in_one_form(kind: str, text: str, kept: str) -> None:
    assert checklists.fact_from(Field("x", kind), text) == kept


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("yuan", "1.234"),
        ("yuan", "-5"),
        ("whole", "1.5"),
        ("whole", "١٢"),
        ("day", "2026-02-30"),
        ("phone", "call me"),
        ("email", "a@b"),
        ("text", "x\x00y"),
        ("yuan", "1e6"),
        ("text", "长" * 301),
    ],
)
def test_a_fact_that_cannot_be_read_is_refused(kind: str, text: str) -> None:
    with pytest.raises(BadFact):
        checklists.fact_from(Field("x", kind), text)


@pytest.mark.parametrize("kind", list(Kind))
def test_every_class_of_every_kind_can_complete_its_checklist(kind: Kind) -> None:
    wanted = checklists.in_force(kind, TODAY)
    natures = {subkind: nature for nature, subkind in checklists.CLASS_OF.items()}
    for subkind in SUBKINDS[kind]:
        values = {"usci": PUBLISHED[0], "contact_phone": "0310-123456", "nature": natures.get(subkind, "")}
        facts = {
            each.key: values.get(each.key)
            or {"choice": (each.options or ("",))[0], "day": "2020-01-01"}.get(each.type, "300000000")
            for each in checklists.fields_of(wanted, subkind)
        }
        held = [HeldPaper(each.key, date(2030, 1, 1)) for each in checklists.papers_of(wanted, subkind)]
        assert checklists.gaps(wanted, subkind, facts, held, TODAY) == ()
        for left_out in [paper for paper in checklists.papers_of(wanted, subkind) if not paper.is_optional]:
            rest = [paper for paper in held if paper.item != left_out.key]
            (gap,) = checklists.gaps(wanted, subkind, facts, rest, TODAY)
            assert (gap.item, gap.why) == (f"paper.{left_out.key}", "paper_missing")


def test_only_retailers_and_vpps_are_publicised() -> None:
    # 国能发监管规〔2024〕76号
    months = {kind: checklists.in_force(kind, TODAY).publicity_months for kind in Kind}

    assert {kind for kind, count in months.items() if count} == {Kind.RETAILER, Kind.VPP}


def test_households_and_farms_never_trade() -> None:
    assert not may_trade("user", "residential", "effective")
    assert not may_trade("user", "agricultural", "effective")
    assert may_trade("user", "industrial", "effective")
    assert not any(
        may_trade("user", "industrial", state) for state in set(PARTY.moves.values()) - {"effective"}
    )


def test_a_checklist_that_contradicts_itself_is_refused() -> None:
    good = 'id="x"\nversion=1\nkind="user"\neffective=2024-01-01\ncommitment="c"\npapers=[]\n[[sources]]\ndocument="d"\nmark="OFF"\nnote="n"\n'
    fields = 'fields=[{key="name", type="text"}]\n'
    assert checklists.checklist_from(fields + good, "x").name == "x@1"
    for wrong in (
        fields.replace('"text"', '"colour"'),
        fields.replace("}]", ', subkinds=["coal"]}]'),
        'fields=[{key="a", type="text"}, {key="a", type="text"}]\n',
        fields.replace('type="text"', 'type="choice"'),
    ):
        with pytest.raises(BadChecklist):
            checklists.checklist_from(wrong + good, "x")


@pytest.mark.parametrize(
    ("accepted", "starts", "ends"),
    [
        (date(2026, 3, 2), date(2026, 3, 3), date(2026, 4, 3)),
        (date(2026, 1, 30), date(2026, 1, 31), date(2026, 2, 28)),
        (date(2026, 12, 5), date(2026, 12, 6), date(2027, 1, 6)),
    ],
)
def test_publicity_lasts_a_month(accepted: date, starts: date, ends: date) -> None:
    assert registration.month_publicity(accepted, 1) == registration.Publicity(starts, ends)


def test_clocks_count_working_days_with_make_up_days() -> None:
    # 2026-10-01 to 10-07 are off, 10-10 (a Saturday) is worked: 29, 30 September, 8, 9, 10 October
    assert registration.due(date(2026, 9, 28), 5) == date(2026, 10, 10)
    assert registration.due(date(2026, 9, 29), 5) == date(2026, 10, 12)
    assert not registration.is_late(date(2026, 9, 29), date(2026, 10, 12), 5)
    assert registration.is_late(date(2026, 9, 29), date(2026, 10, 13), 5)


verdicts = st.lists(
    st.builds(Given, st.sampled_from(("user:1", "user:2", "user:3")), st.sampled_from(Verdict), st.just("x")),
    max_size=4,
    unique_by=lambda each: each.reviewer,
)


@given(verdicts)
def test_nobody_is_admitted_by_fewer_than_two_or_against_a_return(given_so_far: list[Given]) -> None:
    deed = registration.deed_of(given_so_far, RETAILER)
    accepts = {each.reviewer for each in given_so_far if each.verdict is Verdict.ACCEPT}
    returned = any(each.verdict is Verdict.RETURN for each in given_so_far)

    assert (deed == "publicise") == (len(accepts) >= 2 and not returned)
    assert (deed == "return") == returned


def test_a_return_needs_a_reason_or_a_wrong_item() -> None:
    new = Given("user:1", Verdict.RETURN, "")
    with pytest.raises(registration.ReasonMissing):
        registration.check_verdict(new, (), ("a",), ())
    registration.check_verdict(new, (), ("a",), (Finding("user:1", "a", False, "不符"),))


@given(st.integers(-400, 400))
def test_the_reminder_is_the_tightest_that_is_reached(left: int) -> None:
    last_day = TODAY + timedelta(days=left)
    held = [HeldPaper("assets_proof", last_day + timedelta(days=1))]
    found = expiry.reminders(RETAILER, "independent", held, TODAY)
    expected = 0 if left < 0 else 7 if left <= 7 else 30 if left <= 30 else 60 if left <= 60 else None

    assert [each.days for each in found] == ([] if expected is None else [expected])
    assert bool(expiry.stopping(RETAILER, "independent", held, TODAY)) == (left < 0)


@given(st.lists(st.sampled_from(sorted({deed for _, deed in PARTY.moves})), max_size=30))
def test_no_way_leads_into_force_past_the_review(deeds: list[str]) -> None:
    state, seen = "unregistered", []
    for deed in deeds:
        try:
            state = step(PARTY, state, deed)
        except NoSuchMove:
            continue
        seen.append(deed)
        if state == "effective":
            last = len(seen) - 1 - seen[::-1].index("invite")
            assert "review" in seen[last:]
