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
    also: dict[str, str]

    def find(self, name: str) -> Result | None:
        """Find a result by its name, another name of it, or the one name made of the same words."""
        if name in self.named:
            return self.named[name]
        if name in self.also:
            return self.named[self.also[name]]
        wanted = words_of(name)
        found = {other for other in self.named if words_of(other) == wanted}
        found |= {own for other, own in self.also.items() if words_of(other) == wanted}
        if not found and (bare := _bare(wanted)):
            found = {other for other in self.named if _bare(words_of(other)) == bare}
        return self.named[found.pop()] if len(found) == 1 else None


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
