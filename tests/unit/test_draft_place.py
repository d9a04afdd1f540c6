"""A draft must have a place among the published files: on every day one file of a kind for the same customers."""

from __future__ import annotations

import re
from datetime import date

import pytest

from cloud.billing import draft
from cloud.billing.catalogue import Buyer
from cloud.billing.run.publish import read
from cloud.billing.store.published import packaged_catalogue, packaged_texts

KNOWN = packaged_catalogue()
AUGUST = date(2026, 8, 1)
OPEN_ENDED = ("jibei-transmission", "jibei-funds", "hebei-residential-ladder", "cn-two-part", "cn-collection")


def text_of(sheet_id: str) -> str:
    return next(each.text for each in packaged_texts() if f'id = "{sheet_id}"' in each.text)


@pytest.mark.parametrize("sheet_id", [*OPEN_ENDED, "demo-market-2026-08"])
def test_a_second_file_for_the_same_days_is_refused(sheet_id: str) -> None:
    """Published, it would stop every bill of the grid: nobody could tell which of the two holds."""
    text = text_of(sheet_id).replace(f'id = "{sheet_id}"', f'id = "{sheet_id}-again"')
    later = re.sub(r"effective_from = \S+", "effective_from = 2026-08-15", text, count=1)

    (problem,) = read(later, KNOWN).problems

    assert problem.key == "effective_from"
    assert f"{sheet_id}@1 holds" in problem.found
    assert later.splitlines()[problem.line_no - 1] == "effective_from = 2026-08-15"


def test_an_id_is_not_taken_for_prices_of_another_kind() -> None:
    text = text_of("jibei-funds").replace('id = "jibei-funds"', 'id = "jibei-tou"')

    (problem,) = read(text.replace("version = 1", "version = 3"), KNOWN).problems

    assert problem.key == "id"
    assert "jibei-tou@1 is a calendar" in problem.allowed


@pytest.mark.parametrize("sheet_id", OPEN_ENDED)
def test_the_next_version_has_its_place(sheet_id: str) -> None:
    assert read(text_of(sheet_id).replace("version = 1", "version = 2"), KNOWN).problems == ()


def test_a_draft_of_one_option_leaves_the_other_options_in_force() -> None:
    """A household on the time-of-use option is rated as before when the plain ladder is on the bench."""
    ladder = read(text_of("hebei-residential-ladder").replace("version = 1", "version = 2"), KNOWN).file
    assert ladder is not None

    moved = draft.as_if_in_force(ladder, KNOWN)

    found = {
        option: moved.ladder_on(AUGUST, Buyer("jibei", "catalogue", "residential", option)).head.origin
        for option in ("ladder", "ladder_tou", "shared")
    }
    assert found == {
        "ladder": "hebei-residential-ladder@2",
        "ladder_tou": "hebei-residential-tou@1",
        "shared": "hebei-residential-shared@1",
    }
    before = draft.in_force_before(ladder, KNOWN, AUGUST)
    assert before is not None
    assert before.head.origin == "hebei-residential-ladder@1"


@pytest.mark.parametrize("name", ["../../outside", "a/b", "..", "电价", "a b", "-a", "x" * 101, 'x"onload=1'])
def test_an_id_is_a_name_for_an_address_and_a_file(name: str) -> None:
    """The evidence of a bill has a file of this name, and the page of the file an address with it."""
    quoted = name.replace('"', '\\"')
    (problem,) = read(
        text_of("jibei-funds").replace('id = "jibei-funds"', f'id = "{quoted}"'), KNOWN
    ).problems

    assert problem.key == "id"


@pytest.mark.parametrize("price", ["0.02_406", " 0.02", "０.０２", "2e-2", "NaN", "0.02\\n"])
def test_a_price_is_plain_digits(price: str) -> None:
    text = text_of("jibei-transmission").replace('"0.1803"', f'"{price}"', 1)

    (problem,) = read(text, KNOWN).problems

    assert problem.key.endswith("energy_yuan_per_kwh")


@pytest.mark.parametrize("item", ["in", "lambda", "None", "a-b", "kwh"])
def test_an_item_is_a_name_that_a_formula_may_use(item: str) -> None:
    text = re.sub(r'^item = "[^"]*"', f'item = "{item}"', text_of("jibei-funds"), count=1, flags=re.MULTILINE)

    (problem,) = read(text, KNOWN).problems

    assert problem.key.endswith("item")
