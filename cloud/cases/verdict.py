"""Expected against got, exactly as the format's README compares: a limit per field name, valid at any depth. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from cloud.cases.reading import BadCase, Case, Json
from cloud.cases.result import Result, Results, Value, text_of


class State(StrEnum):
    """How a case came out."""

    PASS = "pass"
    FAIL = "fail"
    REFUSED = "refused"  # the case contradicts itself or lacks what its rule needs
    EMPTY = "empty"  # nothing is expected, so nothing is shown


class Kind(StrEnum):
    """What is wrong with a field."""

    DIFFERS = "differs"
    NOT_COMPUTED = "not_computed"
    LENGTH = "length"
    KEYS = "keys"
    TYPE = "type"
    NOT_READ = "not_read"  # an input that no rule looked at, while the program took a number of its own


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not as expected."""

    at: str
    kind: Kind
    expected: str
    got: str
    tolerance: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One case tried: what came out, which fields differ, which numbers of the case no rule looked at."""

    case: Case
    state: State
    differences: tuple[Difference, ...]
    results: Results
    unused: tuple[str, ...]
    fields: int
    problem: BadCase | None = None
    unread: tuple[str, ...] = ()  # Of the unused those that a rule may well depend on.

    @property
    def is_right(self) -> bool:
        """Whether every expected field is there and right."""
        return self.state is State.PASS


def differences(case: Case, results: Results) -> tuple[Difference, ...]:
    """Compare the case's `expected` with the results of the names it asks for."""
    limit = case.tolerance["default"]
    return tuple(_named(dict(case.expected or {}), results, case.tolerance, "", limit))


def count_fields(expected: Json) -> int:
    """Count the single values of an `expected`."""
    if isinstance(expected, dict):
        return sum(count_fields(each) for each in expected.values())
    if isinstance(expected, list):
        return sum(count_fields(each) for each in expected)
    return 1


def _named(
    expected: Mapping[str, Json], results: Results, tolerance: Mapping[str, Decimal], at: str, limit: Decimal
) -> Iterator[Difference]:
    for name, wanted in expected.items():
        path = f"{at}.{name}" if at else name
        result = results.find(name, wanted)
        here = tolerance.get(name, limit)
        if result is None:
            yield Difference(path, Kind.NOT_COMPUTED, text_of(wanted), "", f"{here:f}")
        else:
            yield from _result(wanted, result, tolerance, path, here)


def _result(
    expected: Json, result: Result, tolerance: Mapping[str, Decimal], at: str, limit: Decimal
) -> Iterator[Difference]:
    if result.parts is not None:
        if isinstance(expected, dict):
            yield from _named(expected, result.parts, tolerance, at, limit)
        else:
            yield Difference(at, Kind.TYPE, text_of(expected), "{…}", f"{limit:f}")
    elif result.rows is not None:
        if not isinstance(expected, list) or len(expected) != len(result.rows):
            yield Difference(at, Kind.LENGTH, _length(expected), str(len(result.rows)), f"{limit:f}")
            return
        for number, (wanted, row) in enumerate(zip(expected, result.rows, strict=True)):
            yield from _row(wanted, row, tolerance, f"{at}[{number}]", limit)
    else:
        yield from _value(expected, result.value, tolerance, at, limit)


def _row(
    expected: Json, row: Results, tolerance: Mapping[str, Decimal], at: str, limit: Decimal
) -> Iterator[Difference]:
    """A row is an object of named results; a bare value stands for the only result of a row, its first."""
    if isinstance(expected, dict):
        yield from _named(expected, row, tolerance, at, limit)
    elif row.named:
        yield from _result(expected, next(iter(row.named.values())), tolerance, at, limit)
    else:
        yield Difference(at, Kind.NOT_COMPUTED, text_of(expected), "", f"{limit:f}")


def _value(
    expected: Json, got: Value, tolerance: Mapping[str, Decimal], at: str, limit: Decimal
) -> Iterator[Difference]:
    if isinstance(expected, dict):
        if not isinstance(got, dict):
            yield Difference(at, Kind.TYPE, "{…}", text_of(got), f"{limit:f}")
            return
        if set(expected) != set(got):
            yield Difference(at, Kind.KEYS, ", ".join(expected), ", ".join(got), f"{limit:f}")
        for key in expected:
            if key in got:
                yield from _value(
                    expected[key], got[key], tolerance, f"{at}.{key}", tolerance.get(key, limit)
                )
    elif isinstance(expected, list):
        if not isinstance(got, list) or len(expected) != len(got):
            length = str(len(got)) if isinstance(got, list) else text_of(got)
            yield Difference(at, Kind.LENGTH, str(len(expected)), length, f"{limit:f}")
            return
        for number, (wanted, one) in enumerate(zip(expected, got, strict=True)):
            yield from _value(wanted, one, tolerance, f"{at}[{number}]", limit)
    elif not _equal(expected, got, limit):
        yield Difference(at, Kind.DIFFERS, text_of(expected), text_of(got), f"{limit:f}")


def _equal(expected: Json, got: Value, limit: Decimal) -> bool:
    if not isinstance(expected, str):
        return expected is got or (isinstance(got, bool) and expected == got)
    number, other = _decimal(expected), _decimal(got)
    if number is None:
        return isinstance(got, str) and expected == got
    return other is not None and abs(other - number) <= limit


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, str):
        try:
            found = Decimal(value)
        except InvalidOperation:
            return None
        return found if found.is_finite() else None
    return None


def _length(expected: Json) -> str:
    return str(len(expected)) if isinstance(expected, list) else text_of(expected)
