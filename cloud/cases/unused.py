"""Inputs that no rule looked at: numbers, booleans, dates, nulls, and words that choose a rule. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from cloud.cases.reading import DECIMAL, Json

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}(-[0-9]{2})?|[0-9]{2}:[0-9]{2}")
# The last word of a name whose text chooses a rule; any other text is a label.
_CHOICES: Final = frozenset(
    [
        "rule",
        "mode",
        "method",
        "variant",
        "allocation",
        "form",
        "basis",
        "convention",
        "direction",
        "rounding",
        "pricing",
        "selection",
        "ranking",
        "switch",
        "class",
        "adjustment",
        "to",
    ]
)


def unused_in(value: Json, at: str, used: set[str]) -> Iterator[str]:
    """Paths below `at` that are not in `used`; texts that are labels are left out."""
    return (path for path, each in _leaves(value, at, used) if _counts(path, each))


def weighty_in(value: Json, at: str, used: set[str]) -> Iterator[tuple[str, Json]]:
    """Paths and values of unused numbers but zero, booleans and dates."""
    for path, each in _leaves(value, at, used):
        if isinstance(each, bool) or (isinstance(each, str) and _is_weighty(each)):
            yield path, each


def _is_weighty(text: str) -> bool:
    if DECIMAL.fullmatch(text):
        return bool(Decimal(text))
    return _DATE.fullmatch(text) is not None


def _counts(path: str, value: Json) -> bool:
    if isinstance(value, str):
        name = path.rpartition(".")[2].partition("[")[0]
        is_value = DECIMAL.fullmatch(value) or _DATE.fullmatch(value)
        return bool(is_value) or name.split("_")[-1] in _CHOICES
    return True


def _leaves(value: Json, at: str, used: set[str]) -> Iterator[tuple[str, Json]]:
    if at in used and not isinstance(value, dict | list):
        return
    if isinstance(value, dict):
        if at in used and not any(_touched(f"{at}.{key}", used) for key in value):
            return
        for key, each in value.items():
            yield from _leaves(each, f"{at}.{key}", used)
    elif isinstance(value, list):
        if at in used and not any(isinstance(each, dict) for each in value):
            return
        for number, each in enumerate(value):
            yield from _leaves(each, f"{at}[{number}]", used)
    else:
        yield at, value


def _touched(at: str, used: set[str]) -> bool:
    return any(path == at or path.startswith((f"{at}.", f"{at}[")) for path in used)
