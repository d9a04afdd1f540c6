"""JSON Schema of price files, made from what their readers ask for. Pure.

Every reader goes through `FileTable`, which keeps what was asked of each key. Reading files that use every key once
therefore tells the whole format; the published schema is compared with the readers by a test, so the two cannot drift.
An editor that knows JSON Schema then completes and checks a price file while it is written. What a schema cannot say
(hours that leave a gap, an item twice) only the reader refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloud.billing.filetable import TABLE, TABLES, Asked, FileTable

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NUMBERED = re.compile(r"\[\d+\]")

Json = dict[str, Any]
Tables = Mapping[str, Sequence[Mapping[str, Asked]]]


def schema_of(files: Iterable[FileTable]) -> Json:
    """Make the schema of all kinds from files that were read; each is the outermost table of its file."""
    by_kind: dict[str, dict[str, list[Mapping[str, Asked]]]] = {}
    for file in files:
        places = by_kind.setdefault(str(file.content["kind"]), {})
        for table in file.opened:
            places.setdefault(NUMBERED.sub("[]", table.place), []).append(table.asked)
    kinds = sorted(by_kind)
    return {
        "$schema": DIALECT,
        "title": "Shoudian price file",
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": kinds}},
        "allOf": [
            {"if": {"properties": {"kind": {"const": kind}}}, "then": {"$ref": f"#/$defs/{kind}"}}
            for kind in kinds
        ],
        "$defs": {kind: _table_schema(by_kind[kind], "") for kind in kinds},
    }


def schema_text(schema: Json) -> str:
    """Write a schema as it is published."""
    return json.dumps(schema, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _table_schema(tables: Tables, place: str) -> Json:
    asked = tables.get(place, ())
    keys = sorted({key for each in asked for key in each})
    required = [key for key in keys if all(key in each and each[key].required for each in asked)]
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": {
            key: _value_schema(tables, place, key, [each[key] for each in asked if key in each])
            for key in keys
        },
    }


def _value_schema(tables: Tables, place: str, key: str, asked: Sequence[Asked]) -> Json:
    shapes: list[Json] = []
    for each in asked:
        shape = _shape(tables, f"{place}{key}", each)
        if shape not in shapes:
            shapes.append(shape)
    return shapes[0] if len(shapes) == 1 else {"anyOf": sorted(shapes, key=json.dumps)}


def _shape(tables: Tables, place: str, asked: Asked) -> Json:
    if asked.shape == TABLE:
        return _table_schema(tables, f"{place}.")
    if asked.shape == TABLES:
        return {**asked.shape, "items": _table_schema(tables, f"{place}[].")}
    plain: Json = json.loads(json.dumps(asked.shape, default=dict))
    return plain
