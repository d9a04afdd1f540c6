"""The published JSON Schema of price files says what their readers say.

`python tests/golden/test_price_file_schema.py` writes it anew from the readers.
"""

from __future__ import annotations

import copy
import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.billing.fileschema import schema_of, schema_text
from cloud.billing.filetable import BadPriceFile, FileTable
from cloud.billing.pricefile import KINDS, opened_price_file, price_file_from_content
from cloud.billing.store.published import packaged_schema, packaged_texts

FOLDER = Path(__file__).parent / "price_files"
SCHEMA_FILE = Path(__file__).parents[2] / "cloud/billing/published/price-file.schema.json"
TEXTS = {each.name: each.text for each in packaged_texts()} | {
    each.name: each.read_text("utf-8") for each in sorted(FOLDER.glob("*.toml"))
}
Json = dict[str, Any]


def as_json(value: object) -> Any:
    """Show TOML as JSON Schema sees it: a date is its text."""
    match value:
        case dict():
            return {key: as_json(each) for key, each in value.items()}
        case list():
            return [as_json(each) for each in value]
        case date():
            return value.isoformat()
        case _:
            return value


def made_from_the_readers() -> str:
    tables: list[FileTable] = [opened_price_file(name, text)[1] for name, text in TEXTS.items()]
    return schema_text(schema_of(tables))


CHECKER = jsonschema.Draft202012Validator(
    json.loads(packaged_schema()), format_checker=jsonschema.FormatChecker()
)
PLACES = [
    (name, path)
    for name, text in TEXTS.items()
    for path in [*((key,) for key in tomllib.loads(text)), ("source", 0, "status"), ("source", 0, "mark")]
]


def test_the_published_schema_is_that_of_the_readers() -> None:
    assert packaged_schema() == made_from_the_readers()


def test_the_schema_is_one_and_covers_every_kind() -> None:
    schema = json.loads(packaged_schema())

    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["$defs"]) == set(KINDS)


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_price_file_is_valid(name: str) -> None:
    CHECKER.validate(as_json(tomllib.loads(TEXTS[name])))


@given(st.sampled_from(PLACES), st.sampled_from(["remove", 7, True, "no such word", [], {}, "1e3"]))
def test_what_the_schema_refuses_the_reader_refuses(
    place: tuple[str, tuple[str | int, ...]], change: Any
) -> None:
    name, path = place
    content = copy.deepcopy(tomllib.loads(TEXTS[name]))
    inner: Any = content
    for key in path[:-1]:
        inner = inner[key]
    if change == "remove":
        inner.pop(path[-1], None)
    else:
        inner[path[-1]] = change

    if not CHECKER.is_valid(as_json(content)):
        with pytest.raises(BadPriceFile):
            price_file_from_content(name, content)


@given(st.sampled_from(sorted(TEXTS)), st.sampled_from(["vat", "note", "effective", "Kind"]))
def test_a_key_that_nobody_knows_is_refused_by_both(name: str, key: str) -> None:
    content = {**tomllib.loads(TEXTS[name]), key: "1"}

    assert not CHECKER.is_valid(as_json(content))
    with pytest.raises(BadPriceFile) as refusal:
        price_file_from_content(name, content)
    assert refusal.value.facts["key"] == key


if __name__ == "__main__":
    SCHEMA_FILE.write_text(made_from_the_readers(), "utf-8")
