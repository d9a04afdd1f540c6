"""Laws of the contracts' pure parts: texts, values, comparisons, cards, search, timetable, deviation."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.contracts import difference, document, execution, keyterms, search
from cloud.contracts.clause import PLACE, Clause, UnknownVariable, clause_from, filled
from cloud.contracts.contract import Kind, from_trade, terms_from_json, terms_json
from cloud.contracts.document import Changes, Heading, LockedClause, PartyFacts
from cloud.contracts.entries import BadMarketFile
from cloud.contracts.keyterms import NotAcknowledged, Reference, ShownOther
from cloud.contracts.template import GIVEN, BadValue, Template, template_from, values_of, volumes_from
from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms

FOLDER = resources.files("cloud.contracts") / "templates"
CLAUSES = {
    clause.clause_id: clause
    for clause in (
        clause_from(file.name, file.read_text(encoding="utf-8")) for file in (FOLDER / "clauses").iterdir()
    )
}
TEMPLATES = {
    template.template_id: template
    for template in (
        template_from(file.name, file.read_text(encoding="utf-8"))
        for file in FOLDER.iterdir()
        if file.name.endswith(".toml")
    )
}
HEADING = Heading(
    "GS-1",
    1,
    Kind.WHOLESALE,
    (
        PartyFacts("seller", 1, "䶮㙦𠮷示范热电厂", "party:1"),
        PartyFacts("buyer", 2, "示范铸造厂", "3700000000002"),
    ),
)
VALUES = {"volumes": "2026-09 month 1200.000 398.50\n2026-10 month 1000 401.20", "shape": "平均分解"}


def clauses_of(template: Template) -> list[Clause]:
    return [CLAUSES[clause_id] for clause_id, _ in template.clauses]


def composed(changes: Changes | None = None) -> dict[str, object]:
    template = TEMPLATES["wholesale-bilateral"]
    values = values_of(template, VALUES)
    return document.compose(template, clauses_of(template), HEADING, values, changes or Changes())


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda each: each.template_id)
def test_every_supplied_template_asks_for_what_its_texts_need_and_for_nothing_else(
    template: Template,
) -> None:
    names = {variable.name for variable in template.variables}
    texts = [clause.body for clause in clauses_of(template)] + list(template.card.values())
    used = {name for text in texts for name in PLACE.findall(text)}

    assert used - GIVEN - names == set()
    assert names - used <= {"volumes"}  # printed as a table
    assert [version for _, version in template.clauses] == [
        CLAUSES[one].version for one, _ in template.clauses
    ]


def test_the_kinds_that_the_market_asks_for_are_there() -> None:
    kinds = {template.kind for template in TEMPLATES.values() if template.purpose == "main"}

    assert kinds == {Kind.WHOLESALE, Kind.RETAIL, Kind.AGENCY, Kind.GREEN}
    assert {template.purpose.value for template in TEMPLATES.values()} == {
        "main",
        "supplement",
        "termination",
    }


def test_a_value_is_text_and_is_never_read_again() -> None:
    assert filled("{a} 与 {b}", {"a": "{b}", "b": "乙"}) == "{b} 与 乙"
    with pytest.raises(UnknownVariable):
        filled("{c}", {"a": ""})


@given(st.text(max_size=60), st.text(max_size=60))
def test_pieces_give_both_texts_back(before: str, after: str) -> None:
    found = difference.pieces(before, after)

    assert "".join(piece.text for piece in found if piece.how != difference.ADDED) == before
    assert "".join(piece.text for piece in found if piece.how != difference.REMOVED) == after


def test_a_changed_clause_is_marked_and_a_locked_one_cannot_be() -> None:
    content = composed(
        Changes({"breach": "违约方支付违约金一千元。"}, ("secrecy",), (("特别约定", "检修期顺延"),))
    )
    found = difference.changes(document.standard_clauses(content), document.agreed_clauses(content))

    assert {each.clause_id: each.how for each in found if each.how != difference.SAME} == {
        "breach": "changed",
        "secrecy": "removed",
        "special-1": "added",
    }
    for changes in (
        Changes({"settlement": "随便"}),
        Changes({}, ("electronic-signature",)),
        Changes({"nothing": "x"}),
    ):
        with pytest.raises(LockedClause):
            composed(changes)


def test_sums_and_averages_are_exact() -> None:
    content = composed()

    assert content["totals"] == {
        "volume_mwh": "2200.000",  # 1200 + 1000
        "price_yuan_per_mwh": "399.73",  # (1200 x 398.50 + 1000 x 401.20) / 2200 = 399.727…
        "amount_yuan": "879400.00",  # 478200 + 401200
    }
    assert (content["first_day"], content["end_day"]) == ("2026-09-01", "2026-11-01")
    assert [each["term"] for each in content["card"]] == ["parties", "volume", "price", "period", "deviation"]


@given(st.sampled_from(["398.505", "0", "399"]), st.sampled_from(["1200.001", "7"]))
def test_any_change_of_a_term_changes_the_cards_hash(price: str, mwh: str) -> None:
    template = TEMPLATES["wholesale-bilateral"]
    other = values_of(template, VALUES | {"volumes": f"2026-09 month {mwh} {price}"})
    changed = document.compose(template, clauses_of(template), HEADING, other, Changes())

    assert document.sha256_of(keyterms.card_of(changed)) != document.sha256_of(keyterms.card_of(composed()))
    assert document.sha256_of(composed()) == document.sha256_of(composed())


def test_a_card_is_confirmed_whole_or_not_at_all() -> None:
    card = keyterms.card_of(composed())
    terms = [each["term"] for each in card["terms"]]
    warnings = [{"key": keyterms.PRICE_WARNING}]

    keyterms.check(card, document.sha256_of(card), [*terms, keyterms.PRICE_WARNING], warnings)
    for missing in (*terms, keyterms.PRICE_WARNING):
        ticked = [each for each in [*terms, keyterms.PRICE_WARNING] if each != missing]
        with pytest.raises(NotAcknowledged):
            keyterms.check(card, document.sha256_of(card), ticked, warnings)
    with pytest.raises(ShownOther):
        keyterms.check(card, "0" * 64, [*terms, keyterms.PRICE_WARNING], warnings)


@pytest.mark.parametrize(
    ("price", "percent"),
    [
        ("478.20", None),
        ("478.21", "+20.0"),
        ("478.40", "+20.1"),
        ("318.80", None),
        ("318.00", "-20.2"),
        ("", None),
    ],
)
def test_a_price_is_warned_of_beyond_the_band_of_a_published_average(price: str, percent: str | None) -> None:
    references = (
        Reference("monthly_average", Decimal("398.50"), "月报"),
        Reference("annual_average", Decimal(0), "无"),
    )

    compared = keyterms.compared(price, 20, references)
    found = keyterms.price_warnings(compared)

    assert [each["percent"] for each in found] == ([] if percent is None else [percent])
    assert [each["name"] for each in compared] == (["monthly_average"] if price else [])


def test_how_far_a_price_is_off_is_said_in_yuan_and_in_percent() -> None:
    # 国网冀北 2026-08: 0.398598 yuan/kWh; 398.50 is 0.098 below it, 0.0246 %; 420 is 21.402 above, 5.369 %
    published = [Reference("agency_average", Decimal("398.598000"), "公告")]

    said = [keyterms.compared(price, 5, published)[0] for price in ("398.50", "420.00", "398.598")]

    assert [each["reference"] for each in said] == ["398.598"] * 3
    assert [each["off"] for each in said] == ["-0.098", "21.402", "0.00"]
    assert [each["percent"] for each in said] == ["+0.0", "+5.4", "+0.0"]
    assert [each["beyond"] for each in said] == ["", "5", ""]


def test_the_published_agency_price_is_read_from_its_file() -> None:
    sheet = resources.files("cloud.billing") / "published" / "jibei-agency-2026-08.toml"

    assert keyterms.agency_price(sheet.read_text(encoding="utf-8")) == (
        Decimal("398.598"),  # 0.398598 yuan/kWh
        "国网冀北电力有限公司代理购电工商业用户电价表(2026年8月)",
    )
    other = resources.files("cloud.billing") / "published" / "shanghai-agency-2026-08.toml"
    stated = keyterms.agency_price(other.read_text(encoding="utf-8"))
    assert stated is not None
    assert stated[0] == Decimal("428.899")
    assert keyterms.agency_price("not toml [") is None
    assert keyterms.agency_price("[[component]]\nitem = 'line_loss'") is None


@given(st.text(max_size=40), st.integers(0, 40), st.integers(1, 6))
def test_search_never_misses_what_is_in_the_text(text: str, at: int, length: int) -> None:
    word = search.plain(text)[at : at + length]

    for needle in search.needles(word):
        if needle in search.plain(text):
            assert set(search.wanted((needle,))) <= set(search.grams(text))


def test_one_form_for_full_width_and_capital_letters() -> None:
    assert search.plain(" ＧＳ-１２ 合 同") == "gs-12合同"
    assert search.wanted(("电",)) == ("电",)
    assert search.wanted(("售电公司",)) == ("公司", "售电", "电公")


VOLUME_TEXTS = ["2026-09 month 0 398", "2026-13 month 1 1", "2026-09 month 1.0001 398", "2026-09 month 1 -1"]
VOLUME_TEXTS += [
    "2026-09 month 1",
    "2026-09 MONTH 1 1",
    "",
    "2026-09 month 1e3 1",
    "2026-09 month 1 1\n2026-09 month 2 1",
    "9999-12 month 1 1",
    "2026-09 h25 1 1",
    "2026-09 h00 1 1",
    "2026-09 q97 1 1",
]


@pytest.mark.parametrize("text", VOLUME_TEXTS)
def test_a_volume_that_is_not_exact_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        volumes_from("电量", text)


def test_what_a_template_does_not_ask_for_is_refused() -> None:
    template = TEMPLATES["wholesale-bilateral"]
    for wrong in (
        {"other": "1"},
        {"notice_days": "1.5"},
        {"cooling_hours": "0"},
        {"shape": "随意"},
        {"volumes": ""},
    ):
        with pytest.raises(BadValue):
            values_of(template, VALUES | wrong)


def test_a_broken_text_names_its_key() -> None:
    with pytest.raises(BadMarketFile, match="title"):
        clause_from("x", 'id = "a-b"\nversion = 1\nbody = "x"')


@given(st.integers(1, 5), st.sampled_from(list(Shape)), st.booleans())
def test_terms_survive_their_json(count: int, shape: Shape, is_green: bool) -> None:
    volumes = tuple(
        Volume(
            date(2026, month, 1),
            "month",
            Decimal(month),
            Decimal("398.505"),
            Decimal("1.5") if is_green else Decimal(0),
        )
        for month in range(1, count + 1)
    )
    kind = ContractKind.GREEN if is_green else ContractKind.BILATERAL
    terms = WholesaleTerms(
        "C-1", 3, kind, "party:1", "party:2", date(2026, 1, 1), "文", shape, (1, 2), volumes, ("x",)
    )

    assert terms_from_json(terms_json(terms)) == terms
    assert from_trade(terms, "negotiation:1").kind is (Kind.GREEN if is_green else Kind.WHOLESALE)
    assert from_trade(terms, "take:1").kind is Kind.CONFIRMATION
    assert from_trade(terms, "take:1").end_day == date(2026, count + 1, 1)


def test_of_a_milestones_reminders_only_the_nearest_is_due() -> None:
    ends = execution.Milestone("delivery_ends", date(2026, 12, 31))
    days = {
        left: [each[1] for each in execution.reminders((ends,), date(2026, 12, 31) - timedelta(days=left))]
        for left in (61, 60, 45, 30, 8, 7, 0, -1)
    }

    assert days == {61: [], 60: [60], 45: [60], 30: [30], 8: [30], 7: [7], 0: [0], -1: []}


def test_every_delivery_month_has_its_statement() -> None:
    dates = execution.Dates(
        "executing", None, datetime(2026, 8, 1, tzinfo=UTC), date(2026, 9, 1), date(2026, 12, 1)
    )

    statements = [each.month for each in execution.milestones(dates) if each.key == "statement_due"]
    assert statements == [date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1)]


@given(st.integers(0, 10**9), st.integers(1, 10**9), st.integers(0, 10**9))
def test_a_contracts_share_of_what_is_off_never_exceeds_it(part: int, rest: int, actual: int) -> None:
    deviation = execution.Deviation(part, part + rest, actual)
    off = actual - part - rest

    assert abs(deviation.share_kwh) <= abs(off)
    assert deviation.share_kwh * off >= 0
    assert (
        abs(deviation.share_kwh) + abs(execution.Deviation(rest, part + rest, actual).share_kwh)
        >= abs(off) - 1
    )


def test_a_deviation_beyond_its_band() -> None:
    assert execution.Deviation(600, 1000, 1051).percent == Decimal("5.1")
    assert execution.Deviation(600, 1000, 1051).is_beyond(Decimal(5))
    assert not execution.Deviation(600, 1000, 1050).is_beyond(Decimal(5))
    assert execution.Deviation(600, 1000, 900).share_kwh == -60
    assert execution.projected_kwh(1000, 10, 31) == 3100
