"""A table of keys says once what a TOML table may hold: the reader and the JSON Schema both come from it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

REQUIRED = object()
_T = TypeVar("_T")
_KINDS_BY_TYPE: dict[str, Any] = {"string": str, "integer": int, "number": (int, Decimal), "boolean": bool}
_NAME_BY_KIND: dict[type, str] = {dict: "a table", list: "an array", str: "text in quotes"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file: its JSON type, what is allowed, and what happens when it is left out."""

    type: str  # string | integer | number | boolean | strings | integers | numbers | table | tables
    told: str
    default: Any = REQUIRED
    allowed: tuple[Any, ...] = ()
    pattern: str = ""
    low: int | None = None
    high: int | None = None
    keys: "Mapping[str, Key] | None" = None


class BadProfile(ValueError):
    """A file that can't be used: which file, which key, what is allowed there."""

    def __init__(self, source: str, key: str, problem: str) -> None:
        super().__init__(f"{source}: {key}: {problem}")
        self.source = source
        self.key = key


def read_table(source: str, where: str, raw: Mapping[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Check one table against its keys and fill in the defaults. Raises BadProfile."""
    for name in raw:
        if name not in keys:
            raise BadProfile(source, _path(where, name), f"unknown key; allowed: {', '.join(sorted(keys))}")
    read: dict[str, Any] = {}
    for name, key in keys.items():
        path = _path(where, name)
        if name in raw:
            read[name] = _value(source, path, raw[name], key)
        elif key.default is REQUIRED:
            raise BadProfile(source, path, f"is missing: {key.told}")
        elif key.type == "table":
            read[name] = read_table(source, path, {}, key.keys or {})
        else:
            read[name] = key.default
    return read


def _value(source: str, path: str, value: Any, key: Key) -> Any:
    if key.type == "table":
        return read_table(source, path, _checked(source, path, value, dict), key.keys or {})
    if key.type == "tables":
        rows = _checked(source, path, value, list)
        return tuple(
            read_table(source, f"{path}[{n}]", _checked(source, f"{path}[{n}]", row, dict), key.keys or {})
            for n, row in enumerate(rows)
        )
    if key.type == "values":
        table = _checked(source, path, value, dict)
        return {name: _checked(source, f"{path}.{name}", text, str) for name, text in table.items()}
    if key.type == "ranges":
        return tuple(_range(source, path, pair) for pair in _checked(source, path, value, list))
    if key.type in ("strings", "integers", "numbers"):
        single = Key(key.type[:-1], key.told)
        values = tuple(_value(source, path, one, single) for one in _checked(source, path, value, list))
        if not values:
            raise BadProfile(source, path, "must not be empty")
        return values
    return _single(source, path, value, key)


def _single(source: str, path: str, value: Any, key: Key) -> Any:
    if not isinstance(value, _KINDS_BY_TYPE[key.type]) or (isinstance(value, bool) and key.type != "boolean"):
        raise BadProfile(source, path, f"{value!r} given, {_article(key.type)} is allowed: {key.told}")
    if key.allowed and value not in key.allowed:
        raise BadProfile(source, path, f"{value!r} is not one of {', '.join(map(str, key.allowed))}")
    if key.pattern and not re.fullmatch(key.pattern, value):
        raise BadProfile(source, path, f"{value!r} does not look like {key.pattern} ({key.told})")
    if key.low is not None and value < key.low:
        raise BadProfile(source, path, f"{value} given, at least {key.low} is allowed")
    if key.high is not None and value > key.high:
        raise BadProfile(source, path, f"{value} given, at most {key.high} is allowed")
    return value


def _range(source: str, path: str, pair: Any) -> tuple[int, int]:
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(one, int) for one in pair):
        raise BadProfile(source, path, f"{pair!r} is not a pair [first, end)")
    if not 0 <= pair[0] < pair[1] <= 65536:
        raise BadProfile(source, path, f"{pair!r}: first register before the end, both within 0 and 65536")
    return pair[0], pair[1]


def _checked(source: str, path: str, value: Any, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise BadProfile(source, path, f"{value!r} given, {_NAME_BY_KIND[kind]} is allowed")
    return value


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def table_schema(keys: Mapping[str, Key]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, key in keys.items() if key.default is REQUIRED],
        "properties": {name: _key_schema(key) for name, key in keys.items()},
    }


def _key_schema(key: Key) -> dict[str, Any]:
    told: dict[str, Any] = {"description": key.told}
    if key.type == "table":
        return {**told, **table_schema(key.keys or {})}
    if key.type == "tables":
        return {**told, "type": "array", "items": table_schema(key.keys or {})}
    if key.type == "values":
        return {**told, "type": "object", "additionalProperties": {"type": "string"}}
    if key.type == "ranges":
        pair = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
        return {**told, "type": "array", "items": pair}
    if key.type in ("strings", "integers", "numbers"):
        return {**told, "type": "array", "minItems": 1, "items": {"type": key.type[:-1]}}
    limits = {
        "enum": list(key.allowed) or None,
        "pattern": f"^{key.pattern}$" if key.pattern else None,
        "minimum": key.low,
        "maximum": key.high,
    }
    return {**told, "type": key.type, **{name: limit for name, limit in limits.items() if limit is not None}}
