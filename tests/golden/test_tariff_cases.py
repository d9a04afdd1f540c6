"""Worked cases by the tool that analysts and acceptance use: all right as they are, wrong as soon as a digit is.

Expected values come from the official notices, real bills and exam keys the cases name, or were worked by hand.
"""

from __future__ import annotations

import copy
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cloud.__main__ import main
from cloud.billing.pricefile import price_file_from
from cloud.billing.store.published import packaged_texts
from cloud.cases.areas import AREAS, tried
from cloud.cases.reading import BadCase, cases_from
from cloud.cases.rules import FILES, rules_from
from cloud.cases.text import answered
from cloud.cases.verdict import Kind, State

FOLDER = Path(__file__).parent
GIVEN, MORE = FOLDER / "prices_tariff_cases.json", FOLDER / "tariff_cases_more.json"
RULES = rules_from(
    price_file_from(each.name, each.text) for each in packaged_texts() if each.name.startswith(FILES)
)
CASES = {case.id: case for file in (GIVEN, MORE) for case in cases_from(file.read_bytes(), file.name)}
RAW = {case["id"]: case for file in (GIVEN, MORE) for case in json.loads(file.read_text("utf-8"))["cases"]}

Json = dict[str, Any]


def compare(expected: Any, actual: Any, tol: Json, name: Any = None, limit: Any = None) -> None:
    """The comparison of the format's README, word for word: the independent opinion on our verdicts."""
    limit = Decimal(tol.get(name, limit if limit is not None else tol["default"]))
    if isinstance(expected, dict):
        assert set(expected) == set(actual), name
        for k in expected:
            compare(expected[k], actual[k], tol, k, limit)
    elif isinstance(expected, list):
        assert len(expected) == len(actual), name
        for e, a in zip(expected, actual, strict=True):
            compare(e, a, tol, name, limit)
    elif isinstance(expected, str):
        try:
            number = Decimal(expected)
        except ArithmeticError:
            assert expected == actual, (name, expected, actual)
        else:
            assert abs(Decimal(actual) - number) <= limit, (name, expected, actual)
    else:
        assert expected == actual, (name, expected, actual)


def tried_alone(case: Json) -> Any:
    (only,) = cases_from(json.dumps(case).encode(), "case.json")
    return tried(only, RULES)


@pytest.mark.parametrize("case_id", CASES)
def test_every_case_comes_out_as_its_source_says(case_id: str) -> None:
    case = CASES[case_id]

    verdict = tried(case, RULES)

    assert (verdict.state, verdict.differences, verdict.unused) == (State.PASS, (), ())
    compare(
        RAW[case_id]["expected"],
        answered(dict(case.expected or {}), verdict.results),
        RAW[case_id]["tolerance"],
    )


def test_every_area_has_cases_of_both_files() -> None:
    for file in (GIVEN, MORE):
        assert {case.area for case in cases_from(file.read_bytes(), file.name)} == set(AREAS)


def wrong_by_a_digit(value: Any, limit: Decimal) -> Any:
    """The value moved beyond what its tolerance allows on either side."""
    if isinstance(value, str):
        try:
            number = Decimal(value)
        except ArithmeticError:
            return value + "?"
        return f"{number + 2 * limit + Decimal(10) ** -9:f}"
    return not value if isinstance(value, bool) else "1"


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, each in value.items() for leaf in leaves(each, (*path, key))]
    if isinstance(value, list):
        return [leaf for number, each in enumerate(value) for leaf in leaves(each, (*path, number))]
    return [path]


@pytest.mark.parametrize("case_id", CASES)
def test_a_case_with_any_one_digit_changed_fails_and_names_the_field(case_id: str) -> None:
    for path in leaves(RAW[case_id]["expected"]):
        case = copy.deepcopy(RAW[case_id])
        names = [step for step in path if isinstance(step, str)]
        limit = next(
            (case["tolerance"][name] for name in reversed(names) if name in case["tolerance"]),
            case["tolerance"]["default"],
        )
        place = case["expected"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = wrong_by_a_digit(place[path[-1]], Decimal(limit))

        verdict = tried_alone(case)

        assert verdict.state is State.FAIL, path
        assert verdict.differences[0].at.startswith(str(path[0]))


@pytest.mark.parametrize("case_id", CASES)
def test_a_case_never_passes_by_what_it_does_not_ask(case_id: str) -> None:
    unknown = {**RAW[case_id], "expected": {**RAW[case_id]["expected"], "never_heard_of_kwh": "1"}}
    nothing = {**RAW[case_id], "expected": {}}

    assert [each.kind for each in tried_alone(unknown).differences] == [Kind.NOT_COMPUTED]
    assert tried_alone(nothing).state is State.EMPTY


def test_a_number_that_no_rule_looks_at_is_named() -> None:
    case = copy.deepcopy(RAW["TP-101"])
    case["inputs"]["surcharge_of_the_moon"] = "2"

    assert tried_alone(case).unused == ("inputs.surcharge_of_the_moon",)


def file_of(tmp_path: Path, content: bytes | Json) -> Path:
    file = tmp_path / "cases.json"
    file.write_bytes(
        content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
    )
    return file


def test_check_ends_with_0_1_or_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctored = json.loads(GIVEN.read_text("utf-8"))
    doctored["cases"][0]["expected"]["back_bill_amount"] = "540.01"

    assert main(["tariff", "check", str(GIVEN)]) == 0
    assert "全部一致：32 个算例" in capsys.readouterr().out
    assert main(["tariff", "check", str(file_of(tmp_path, doctored)), "--language", "en"]) == 1
    said = capsys.readouterr().out
    assert "FAIL  PF-101" in said
    assert "expected 540.01   got 540.00   off by -0.01   tolerance 0" in said
    assert "1 of 32 cases are wrong." in said
    assert main(["tariff", "check", str(file_of(tmp_path, b"{"))]) == 2


def test_check_for_machines_names_every_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctored = json.loads(GIVEN.read_text("utf-8"))
    doctored["cases"][5]["expected"]["rows"][2]["demand_charge_variant_a"] = "39765.61"

    assert main(["tariff", "check", str(file_of(tmp_path, doctored)), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)

    assert (told["cases"], told["pass"], told["fail"]) == (32, 31, 1)
    assert told["results"][5]["differences"] == [
        {
            "field": "rows[2].demand_charge_variant_a",
            "kind": "differs",
            "expected": "39765.61",
            "got": "39765.60",
            "off_by": "-0.01",
            "tolerance": "0",
        }
    ]


def test_rate_writes_how_each_result_came_about(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tariff", "rate", str(GIVEN), "--id", "PF-101", "--language", "en"]) == 0
    said = capsys.readouterr().out

    assert "back_bill_amount = 540.00" in said
    assert "(83)水电财字第215号" in said
    assert "half_up 0.01" in said


def test_rate_takes_a_case_by_itself_that_expects_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = {
        "id": "X",
        "area": "two_part",
        "inputs": {"transformer_kva": "315", "capacity_price_per_kva_month": "22.6"},
    }

    assert main(["tariff", "rate", str(file_of(tmp_path, case)), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)

    assert told["results"]["basic_charge"] == "7119.00"
    assert told["derivations"]["basic_charge"]["rule"]


def test_rate_refuses_what_it_would_have_to_ignore(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = {
        "id": "X",
        "area": "two_part",
        "inputs": {"transformer_kva": "315", "capacity_price_per_kva_month": "22.6", "moon_phase": "0.5"},
    }

    assert main(["tariff", "rate", str(file_of(tmp_path, case))]) == 2
    assert "case X: inputs.moon_phase" in capsys.readouterr().err


def test_rate_of_several_cases_asks_which(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tariff", "rate", str(GIVEN)]) == 2
    assert "--id PF-101" in capsys.readouterr().err
    assert main(["tariff", "rate", str(GIVEN), "--id", "NO-1"]) == 2
    assert "NO-1" in capsys.readouterr().err


TWO_PART: Json = {
    "id": "X",
    "area": "two_part",
    "inputs": {"transformer_kva": "315", "capacity_price_per_kva_month": "22.6"},
}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"{", "JSON"),
        (b"[]", "JSON"),
        (b"\xff\xfe{", "UTF-8"),
        (b'{"cases": []}', "cases"),
        (b'{"schema": "other", "cases": [1]}', "schema"),
        (b'{"a": "1", "a": "2", "cases": []}', "a"),
        ({"cases": [TWO_PART, TWO_PART]}, "id"),
        ({**TWO_PART, "area": "astrology"}, "area"),
        ({**TWO_PART, "id": ""}, "id"),
        ({**TWO_PART, "inputs": []}, "inputs"),
        ({**TWO_PART, "inputs": {"transformer_kva": 315.5}}, "inputs.transformer_kva"),
        ({**TWO_PART, "inputs": {"transformer_kva": 315}}, "inputs.transformer_kva"),
        ({**TWO_PART, "inputs": {"transformer_kva": "NaN"}}, "inputs.transformer_kva"),
        ({**TWO_PART, "inputs": {"transformer_kva": "Infinity"}}, "inputs.transformer_kva"),
        ({**TWO_PART, "inputs": {"transformer_kva": "1e999999"}}, "inputs.transformer_kva"),
        ({**TWO_PART, "inputs": {"transformer_kva": "9" * 41}}, "inputs.transformer_kva"),
        ({**TWO_PART, "expected": {"capacity_charge": 7119.0}}, "expected.capacity_charge"),
        ({**TWO_PART, "rounding": {"mode": "bankers"}}, "rounding.mode"),
        ({**TWO_PART, "rounding": {"money": "0.02"}}, "rounding.money"),
        ({**TWO_PART, "tolerance": {"default": "-1"}}, "tolerance.default"),
        ({"cases": [TWO_PART], "case_count": "2"}, "case_count"),
    ],
)
def test_an_unreadable_file_is_one_clear_line(
    content: bytes | Json, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tariff", "check", str(file_of(tmp_path, content))]) == 2
    said = capsys.readouterr().err.splitlines()

    assert len(said) == 2  # one line in each language
    assert named in said[1]


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({"capacity_price_per_kva_month": "22.6"}, "inputs.transformer_kva"),
        ({"transformer_kva": "abc", "capacity_price_per_kva_month": "22.6"}, "inputs.transformer_kva"),
        ({"transformer_kva": "-1", "capacity_price_per_kva_month": "22.6"}, "inputs.transformer_kva"),
        ({"transformer_kva": "1", "capacity_price_per_kva_month": "1", "days": "1.5"}, "inputs.days"),
    ],
)
def test_a_case_that_cannot_be_worked_is_wrong_and_says_why(inputs: Json, named: str) -> None:
    verdict = tried_alone({**TWO_PART, "inputs": inputs, "expected": {"capacity_charge": "0"}})

    assert verdict.state is State.REFUSED
    assert isinstance(verdict.problem, BadCase)
    assert verdict.problem.facts["at"] == named


def test_a_switch_that_no_rule_reads_makes_agreement_worthless() -> None:
    case = {
        **TWO_PART,
        "inputs": {**TWO_PART["inputs"], "is_half_price": True},
        "expected": {"capacity_charge": "7119.00"},
    }

    verdict = tried_alone(case)

    assert verdict.state is State.FAIL
    assert [(each.at, each.kind) for each in verdict.differences] == [("inputs.is_half_price", Kind.NOT_READ)]


def test_a_number_beside_one_of_our_own_makes_agreement_worthless() -> None:
    """The published table gives -0.75 %; a cap of the case that no rule reads may say otherwise."""
    case = {
        "id": "X",
        "area": "power_factor",
        "inputs": {"pf": "0.98", "pf_standard": "0.90", "participating_amount": "1000", "own_cap": "0.5"},
        "expected": {"pf_percent": "-0.75"},
    }

    verdict = tried_alone(case)

    assert (verdict.state, verdict.differences[0].kind) == (State.FAIL, Kind.NOT_READ)
    assert "-0.75" in verdict.differences[0].got


@pytest.mark.parametrize(
    ("value", "is_seen"),
    [
        ("1", True),
        ("0", True),
        (True, True),
        (None, True),
        ("2026-08-01", True),
        (["x"], False),
        ("x", False),
    ],
)
def test_whatever_is_no_label_is_seen_as_unused(value: Any, is_seen: bool) -> None:
    verdict = tried_alone({**TWO_PART, "inputs": {**TWO_PART["inputs"], "moon": value}})

    assert any(path.startswith("inputs.moon") for path in verdict.unused) is is_seen


def test_a_missing_input_refuses_only_what_needs_it() -> None:
    case = {
        "id": "X",
        "area": "settlement",
        "inputs": {"contract_mwh": "10", "contract_price": "400"},
        "expected": {"contract_charge": "4000.00"},
    }

    assert tried_alone(case).state is State.PASS
    more = tried_alone({**case, "expected": {"contract_charge": "4000.00", "deviation_amount": "0.00"}})
    assert more.state is State.FAIL
    assert isinstance(more.problem, BadCase)
    assert more.problem.facts["at"] == "inputs.actual_mwh"


def test_a_rate_above_one_is_a_percentage_only_by_its_name() -> None:
    """0.4 x 0.0287 / (1 - 0.0287) = 0.01181921 -> 0.011819."""
    case = {"id": "X", "area": "agency_purchase", "expected": {"line_loss_price": "0.011819"}}

    def state(name: str, value: str) -> State:
        found: State = tried_alone({**case, "inputs": {"average_purchase_price": "0.4", name: value}}).state
        return found

    assert state("line_loss_rate", "0.0287") is State.PASS
    assert state("line_loss_rate_pct", "2.87") is State.PASS
    assert state("line_loss_rate", "2.87") is State.REFUSED


def test_a_like_day_of_nothing_is_shared_equally_only_where_the_case_says_so() -> None:
    inputs = {"like_day_values_kwh": ["0", "0"], "register_difference_kwh": "10"}
    case = {"id": "X", "area": "metering_vee", "expected": {"filled_values_kwh": ["5", "5"]}}

    assert tried_alone({**case, "inputs": inputs}).state is State.REFUSED
    assert tried_alone({**case, "inputs": {**inputs, "equal_split": True}}).state is State.PASS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({**TWO_PART, "area": 3}, "the JSON number 3, not in quotes"),
        ({"cases": {"a": "1"}}, "cases: is an object"),
        ({"currency": "USD", "cases": [TWO_PART]}, "currency: is 'USD'"),
        ({"cases": [None]}, "case is null"),
    ],
)
def test_what_is_wrong_is_said_in_words_of_the_format(
    content: Json, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tariff", "check", str(file_of(tmp_path, content))]) == 2
    assert said in capsys.readouterr().err


def test_keys_without_effect_are_told_and_no_control_character_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = {
        **TWO_PART,
        "id": "X\x1b[31m",
        "title": "a\nPASS  Y",
        "expected": {"capacity_charge": "7119.00"},
        "tolerance": {"default": "0", "nope": "5"},
        "rounding": {"mode": "half_up", "foo": "0.1"},
    }

    assert main(["tariff", "check", str(file_of(tmp_path, case)), "--language", "en"]) == 0
    said = capsys.readouterr().out

    assert "tolerance.nope, rounding.foo" in said
    assert "\x1b" not in said
    assert not any(line.startswith("PASS  Y") for line in said.splitlines())


def test_check_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GIVEN.read_bytes())))

    assert main(["tariff", "check", "-"]) == 0
    assert "32" in capsys.readouterr().out
