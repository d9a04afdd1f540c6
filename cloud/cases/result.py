"""What a case gives: named results, each with how it came about. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Final, TypeAlias

Value: TypeAlias = "Decimal | bool | str | list[Value] | dict[str, Value] | None"

# Words of field names that mean the same thing, so that `pf_percent_true` and `true_pf_pct` are one name.
_SAME: Final = {
    "amount": "money", "charge": "money", "fee": "money", "cost": "money", "payment": "money", "yuan": "money",
    "cny": "money", "charges": "money", "fees": "money", "sum": "total",
    "pct": "percent", "percentage": "percent",
    "avg": "average", "mean": "average", "maximum": "max", "minimum": "min", "qty": "quantity", "powerfactor": "pf",
    "prices": "price", "orders": "order", "coef": "coefficient", "coeff": "coefficient", "coefficients": "coefficient",
    "certificates": "gec", "certificate": "gec", "gecs": "gec", "env": "environmental", "environment": "environmental",
    "trans": "transmission", "upper": "up", "lower": "low", "down": "low", "reactive": "reactive", "kvarh": "kvarh",
    "consumed": "consumption", "usage": "consumption", "used": "consumption", "cap": "cap", "capped": "cap",
}  # fmt: skip
_PRICE_UNITS: Final = frozenset({"per", "kwh", "mwh", "kw", "kva", "month", "money", "in"})
_UNITS: Final = frozenset(
    {"money", "kwh", "mwh", "kw", "kva", "kvarh", "percent", "total", "final", "result", "computed", "mwhs"}
)
_FILLERS: Final = frozenset({"the", "of", "for", "per", "quantity", "value"})


@dataclass(frozen=True, slots=True)
class Step:
    """How a result came about: formula over named numbers, the rule behind it, where it was rounded."""

    formula: str
    numbers: tuple[tuple[str, str], ...]
    rule: str
    rounding: str


@dataclass(frozen=True, slots=True)
class Result:
    """One named result. `rows` holds the results of a list of rows, `parts` those of an object; else there is a value."""

    value: Value
    step: Step
    rows: tuple[Results, ...] | None = None
    parts: Results | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """Results by name; `also` says by which other names a case may ask for them."""

    named: dict[str, Result]
    also: dict[str, list[str]]

    def find(self, name: str, wanted: object = None) -> Result | None:
        """Find a result by its name, another name of it, or the one name made of the same words.

        Where several go by one name, `wanted` decides by its shape: a number, a list of so many, an object.
        """
        called = [name] if name in self.named else []
        called += [own for own in self.also.get(name, ()) if own in self.named]
        found = self._best(called, wanted)
        if found is not None and (wanted is None or shape_fits(found, wanted)):
            return found
        by_words = self._by_words(words_of(name))
        if found is None or any(shape_fits(self.named[own], wanted) for own in by_words):
            fitting = [own for own in by_words if wanted is None or shape_fits(self.named[own], wanted)]
            one = fitting if len(fitting) == 1 else by_words if len(by_words) == 1 else []
            return self.named[one[0]] if one else found
        return found

    def _best(self, names: list[str], wanted: object) -> Result | None:
        found = [self.named[name] for name in names]
        return max(found, key=lambda each: shape_fits(each, wanted)) if found else None

    def _by_words(self, wanted: tuple[str, ...]) -> list[str]:
        found = {own for own in self.named if words_of(own) == wanted}
        found |= {own for other, owns in self.also.items() if words_of(other) == wanted for own in owns}
        if not found and (bare := _bare(wanted)):
            found = {own for own in self.named if _bare(words_of(own)) == bare}
        return sorted(found & set(self.named))


def shape_fits(result: Result, wanted: object) -> int:
    """How well a result has the shape of what is expected: 0 not at all, 1 in kind, 2 in size and keys too."""
    if wanted is None:
        return 1
    if isinstance(wanted, dict):
        if result.parts is not None:
            return 2 if all(result.parts.find(key) for key in wanted) else 1
        return 0 if not isinstance(result.value, dict) else 2 if set(result.value) == set(wanted) else 1
    if isinstance(wanted, list):
        return _list_fits(result, wanted)
    if result.parts is not None or result.rows is not None or isinstance(result.value, list | dict):
        return 0
    return 2 if isinstance(result.value, bool) == isinstance(wanted, bool) else 0


def _list_fits(result: Result, wanted: list[object]) -> int:
    of_tables = any(isinstance(each, dict) for each in wanted)
    if result.rows is not None:
        first = wanted[0] if wanted else None
        if not of_tables and wanted:
            return 1 if len(wanted) == len(result.rows) else 0
        known = not result.rows or not isinstance(first, dict) or all(map(result.rows[0].find, first))
        return 2 if known and len(result.rows) == len(wanted) else 1
    if not isinstance(result.value, list) or (
        of_tables and not any(isinstance(each, dict) for each in result.value)
    ):
        return 0
    return 2 if len(result.value) == len(wanted) else 1


@cache
def words_of(name: str) -> tuple[str, ...]:
    """The words of a field name without regard to their order, with one word for those that mean the same."""
    words = [_SAME.get(word, word) for word in name.lower().replace("-", "_").split("_") if word]
    if "price" in words:
        words = [word for word in words if word not in _PRICE_UNITS]
    elif "kwh" in words or "mwh" in words:
        words = [word for word in words if word != "energy"]
    return tuple(sorted(word for word in words if word not in _FILLERS))


@cache
def _bare(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words that say which quantity it is, without those that say in what it is counted."""
    return tuple(word for word in words if word not in _UNITS)


def plain(results: Results) -> dict[str, Value]:
    """The results as JSON would have them."""
    return {name: plain_value(result) for name, result in results.named.items()}


def plain_value(result: Result) -> Value:
    """One result as JSON would have it."""
    if result.rows is not None:
        return [plain(row) for row in result.rows]
    return plain(result.parts) if result.parts is not None else result.value


def text_of(value: object) -> str:
    """Write a value on one line, as JSON without quotes around numbers."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Decimal():
            return f"{value:f}"
        case dict():
            return "{" + ", ".join(f"{key}: {text_of(each)}" for key, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(text_of(each) for each in value) + "]"
        case _:
            return str(value)
