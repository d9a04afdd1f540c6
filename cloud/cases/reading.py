"""The text of a case file -> cases, strictly: every fault is named with file, case and key. Pure.

Schema `tariff-cases` 1.0: numbers are decimal strings, ids are unique, no key stands twice. `expected` may be absent
for a case that is only to be rated.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from cloud.errors import Invalid, NotFound

Json: TypeAlias = "str | bool | list[Json] | dict[str, Json] | BareNumber | None"

CASES_MAX: Final = 100_000
DEPTH_MAX: Final = 12
DIGITS_MAX: Final = 40
IDS_SHOWN_MAX: Final = 40
SHOWN_MAX: Final = 80
SCHEMA: Final = "tariff-cases"
CURRENCY: Final = "CNY"
# Kinds of quantity that a case may name in `rounding`; another one rounds nothing.
KINDS: Final = frozenset(
    [
        "money",
        "price",
        "price_mwh",
        "price_kwh",
        "pf",
        "energy",
        "energy_kwh",
        "energy_mwh",
        "energy_kwh_response",
        "coefficient",
        "power_kw",
        "power",
        "ratio",
        "percent",
        "pct",
        "kwh_per_kva",
        "average_price",
        "quantum",
        "hours",
        "demand_kw",
        "factor",
        "step",
        "share",
        "mwh",
        "kwh",
        "kw",
        "price_24h",
        "package_price",
    ]
)
VERSION: Final = "1.0"
AREAS: Final = (
    "power_factor", "two_part", "agency_purchase", "real_bill", "tou", "ladder", "market_clearing", "deviation",
    "settlement", "retail_package", "guarantee", "admission", "demand_response", "green_power", "precision",
    "metering_vee",
)  # fmt: skip
MODES: Final = ("half_up", "down", "none")
DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_LIKE_A_NUMBER: Final = re.compile(
    r"[\s+\-]*(nan|snan|inf(inity)?|[0-9.,_]+(e[+\-]?[0-9]+)?)\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class BareNumber:
    """A JSON number, where the format wants a decimal string; kept as written so that its key can be named."""

    text: str

    def __repr__(self) -> str:
        return f"the JSON number {self.text[:DIGITS_MAX]}, not in quotes"


def clean(text: str) -> str:
    """A text for one line of a terminal: without control characters and marks that turn the direction of writing."""
    return "".join(
        each if unicodedata.category(each) not in ("Cc", "Cf", "Zl", "Zp") else " " for each in text
    )


class BadCase(Invalid):
    """A case file, or a case in it, is not what the format says."""

    def __init__(self, file: str, case: str, key: str, problem: str, allowed: str) -> None:
        super().__init__(
            "bad_case" if case else "bad_case_file",
            file=clean(file),
            case=clean(case),
            at=clean(key),
            problem=clean(problem),
            allowed=clean(allowed),
        )


class MissingInput(BadCase):
    """A case lacks an input that some of its results need; the others can be worked all the same."""


class NoSuchCase(NotFound):
    """The file has no case of that id."""


class WhichCase(Invalid):
    """The file has several cases and none was named."""


@dataclass(frozen=True, slots=True)
class Case:
    """One worked case; `expected` is None when it is only to be rated."""

    file: str
    id: str
    area: str
    title: str
    scope: str
    section: str
    rule: str
    source: str
    grade: str
    inputs: Mapping[str, Json]
    expected: Mapping[str, Json] | None
    mode: str
    quanta: Mapping[str, Decimal]
    tolerance: Mapping[str, Decimal]
    remarks: tuple[str, ...] = ()  # What in the case has no effect: keys of `tolerance` and `rounding`.

    def bad(self, key: str, problem: str, allowed: str) -> BadCase:
        """Name a fault of this case."""
        return BadCase(self.file, self.id, key, problem, allowed)


def cases_from(octets: bytes, file: str) -> tuple[Case, ...]:
    """Read a file of cases, or one case by itself. `file` is only for messages. Raises BadCase."""
    document = _document(octets, file)
    if not isinstance(document, dict):
        raise BadCase(file, "", "JSON", f"is {_a(document)}", "an object with `cases`, or one case")
    if "cases" not in document:
        return (_case(document, file, "0"),)
    for key, only in (("schema", SCHEMA), ("schema_version", VERSION)):
        if document.get(key, only) != only:
            raise BadCase(file, "", key, f"is {document[key]!r}"[:SHOWN_MAX], only)
    listed = document["cases"]
    if not isinstance(listed, list) or not listed:
        what = "holds no case" if isinstance(listed, list) else f"is {_a(listed)}"
        raise BadCase(file, "", "cases", what, "a list of at least one case")
    currency = document.get("currency", CURRENCY)
    if currency != CURRENCY:
        raise BadCase(file, "", "currency", f"is {currency!r}"[:SHOWN_MAX], f"{CURRENCY}: amounts are yuan")
    if len(listed) > CASES_MAX:
        raise BadCase(file, "", "cases", f"{len(listed)} cases", f"at most {CASES_MAX}")
    cases = tuple(_case(each, file, str(number)) for number, each in enumerate(listed))
    _check_ids(cases, file)
    count = document.get("case_count", str(len(cases)))
    if not isinstance(count, str) or count != str(len(cases)):
        raise BadCase(
            file,
            "",
            "case_count",
            f"is {count!r}"[:SHOWN_MAX] + f", but there are {len(cases)}",
            f'"{len(cases)}"',
        )
    return cases


def case_of(cases: tuple[Case, ...], file: str, case_id: str | None) -> Case:
    """Choose one case of a file. Raises NoSuchCase, WhichCase."""
    if case_id is None:
        if len(cases) > 1:
            raise WhichCase("which_case", file=file, n=len(cases), example=cases[0].id)
        return cases[0]
    for case in cases:
        if case.id == case_id:
            return case
    listed = ", ".join(case.id for case in cases[:IDS_SHOWN_MAX])
    raise NoSuchCase("no_such_case", file=file, case=case_id, allowed=listed)


def _document(octets: bytes, file: str) -> Json:
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise BadCase(file, "", "JSON", f"byte {problem.start + 1} is no UTF-8", "UTF-8") from None
    try:
        document: Json = json.loads(
            text,
            object_pairs_hook=_once,
            parse_float=BareNumber,
            parse_int=BareNumber,
            parse_constant=BareNumber,
        )
    except _Twice as problem:
        raise BadCase(file, "", str(problem), "stands twice in one object", "every key once") from None
    except RecursionError:
        raise BadCase(file, "", "JSON", "is nested too deep", f"at most {DEPTH_MAX} levels") from None
    except ValueError as problem:
        raise BadCase(file, "", "JSON", str(problem), "a JSON document") from None
    return document


class _Twice(ValueError):
    """A key stands twice."""


def _once(pairs: list[tuple[str, Json]]) -> Json:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for key in keys if keys.count(key) > 1))
    return table


def _check_ids(cases: tuple[Case, ...], file: str) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise BadCase(file, case.id, "id", "two cases have this id", "every id once")
        seen.add(case.id)


def _case(given: Json, file: str, position: str) -> Case:
    if not isinstance(given, dict):
        raise BadCase(file, f"[{position}]", "case", f"is {_a(given)}", "an object")
    name = given.get("id")
    if not isinstance(name, str) or not name.strip():
        raise BadCase(
            file,
            f"[{position}]",
            "id",
            "is missing" if name is None else f"is {name!r}"[:SHOWN_MAX],
            "a text, unique in the file",
        )
    area = given.get("area")
    if area not in AREAS:
        raise BadCase(
            file, name, "area", "is missing" if area is None else f"is {area!r}"[:SHOWN_MAX], ", ".join(AREAS)
        )
    inputs = _table(given, "inputs", file, name)
    _bounded(inputs, "inputs", file, name, 0)
    expected = _table(given, "expected", file, name) if "expected" in given else None
    if expected is not None:
        _bounded(expected, "expected", file, name, 0)
    mode, quanta = _rounding(given, file, name)
    tolerance = _tolerance(given, file, name)
    named = {"default", *_keys(expected)}
    return Case(
        file,
        name,
        str(area),
        _text(given, "title", file, name),
        _text(given, "scope", file, name),
        _text(given, "reference_section", file, name),
        _text(given, "rule", file, name),
        _text(given, "source", file, name),
        _text(given, "grade", file, name),
        inputs=inputs,
        expected=expected,
        mode=mode,
        quanta=quanta,
        tolerance=tolerance,
        remarks=(
            *(f"tolerance.{key}" for key in tolerance if key not in named),
            *(f"rounding.{kind}" for kind in quanta if kind not in KINDS and kind not in _keys(inputs)),
        ),
    )


def _keys(value: Json) -> set[str]:
    """Every key of objects in a value, at any depth."""
    if isinstance(value, dict):
        return set(value) | {key for each in value.values() for key in _keys(each)}
    return {key for each in value for key in _keys(each)} if isinstance(value, list) else set()


def _table(given: Mapping[str, Json], key: str, file: str, case: str) -> dict[str, Json]:
    found = given.get(key)
    if not isinstance(found, dict):
        raise BadCase(file, case, key, "is missing" if key not in given else f"is {_a(found)}", "an object")
    return found


def _text(given: Mapping[str, Json], key: str, file: str, case: str) -> str:
    found = given.get(key, "")
    if not isinstance(found, str):
        raise BadCase(file, case, key, f"is {_a(found)}", "a text")
    return found


def _rounding(given: Mapping[str, Json], file: str, case: str) -> tuple[str, Mapping[str, Decimal]]:
    if "rounding" not in given:
        return "half_up", {}
    table = _table(given, "rounding", file, case)
    mode = table.get("mode", "half_up")
    if mode not in MODES:
        raise BadCase(file, case, "rounding.mode", f"is {mode!r}"[:SHOWN_MAX], ", ".join(MODES))
    quanta = {
        kind: decimal_of(value, f"rounding.{kind}", file, case)
        for kind, value in table.items()
        if kind not in ("mode", "apply")
    }
    for kind, quantum in quanta.items():
        if (
            quantum <= 0
            or quantum.as_tuple().digits.count(0) + 1 < len(quantum.as_tuple().digits)
            or quantum.normalize().as_tuple().digits != (1,)
        ):
            raise BadCase(file, case, f"rounding.{kind}", f"is {quantum}", "a power of ten, as 0.01")
    return str(mode), quanta


def _tolerance(given: Mapping[str, Json], file: str, case: str) -> Mapping[str, Decimal]:
    if "tolerance" not in given:
        return {"default": Decimal(0)}
    table = _table(given, "tolerance", file, case)
    limits = {key: decimal_of(value, f"tolerance.{key}", file, case) for key, value in table.items()}
    for key, limit in limits.items():
        if limit < 0:
            raise BadCase(file, case, f"tolerance.{key}", f"is {limit}", "zero or more")
    return {"default": Decimal(0), **limits}


def decimal_of(value: Json, key: str, file: str, case: str) -> Decimal:
    """Read a decimal string. Raises BadCase."""
    if not isinstance(value, str) or not DECIMAL.fullmatch(value):
        what = f"is {value!r}"[:80] if isinstance(value, str) else f"is {_a(value)}"
        if isinstance(value, BareNumber):
            what = f"is the JSON number {value.text[:DIGITS_MAX]}, not in quotes"
        raise BadCase(file, case, key, what, 'a decimal string, as "0.25"')
    if len(value) > DIGITS_MAX:
        raise BadCase(file, case, key, f"has {len(value)} characters", f"at most {DIGITS_MAX}")
    return Decimal(value)


def _bounded(value: Json, key: str, file: str, case: str, depth: int) -> None:
    """Refuse what no reader of this format should meet: too deep, or a text that only looks like a number."""
    if depth > DEPTH_MAX:
        raise BadCase(file, case, key, "is nested too deep", f"at most {DEPTH_MAX} levels")
    if isinstance(value, BareNumber):
        decimal_of(value, key, file, case)
    elif isinstance(value, dict):
        for name, each in value.items():
            _bounded(each, f"{key}.{name}", file, case, depth + 1)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            _bounded(each, f"{key}[{number}]", file, case, depth + 1)
    elif isinstance(value, str) and _LIKE_A_NUMBER.fullmatch(value):
        decimal_of(value, key, file, case)


def _a(value: Json) -> str:
    kind = _kind(value)
    return f"an {kind}" if kind == "object" else kind if kind == "null" else f"a {kind}"


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "text"
        case list():
            return "list"
        case BareNumber():
            return "number"
        case _:
            return "object"
