"""Every text that a page asks for exists in every language, takes the same facts, and none is left over."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from cloud import words
from cloud.billing.labels import Language, word
from cloud.billing.line import PERIODS, Period
from cloud.words import NoWords, say

CLOUD = Path(words.__file__).parents[1]
TEMPLATES = sorted((CLOUD / "api" / "templates").rglob("*.html"))
PYTHON = sorted(path for path in CLOUD.rglob("*.py"))

# t("a.b") and say("a.b"), also with a formatted end: t("a." ~ x), say(f"a.{x}").
_WHOLE = re.compile(r"""\b(?:t|say)\(\s*"([a-z0-9_.]+)"\s*[,)]""")
_WHOLE_CHOICE = re.compile(r'"([a-z0-9_]+\.[a-z0-9_.]+)"')
_BEGINNING = re.compile(r"""\b(?:t|say)\(\s*(?:"([a-z0-9_.]+)"\s*[~+]|f"([a-z0-9_.]+)\{)""")


def _asked() -> tuple[set[str], set[str]]:
    whole: set[str] = set()
    beginnings: set[str] = {
        "problem.",
        "cli.",
        "verify.",  # steps of a proof carry theirs: cloud/billing/run/verify.py
        "notice.",  # so do notices: cloud/notices.py
        "contract_paper.",  # printed: cloud/contracts/run/desk/print.py
    }  # errors carry their own key: cloud/api/app.py, cloud/__main__.py
    for path in (*TEMPLATES, *(CLOUD / "api").glob("*.py")):
        text = path.read_text("utf-8")
        whole |= set(_WHOLE.findall(text))
        beginnings |= {one or other for one, other in _BEGINNING.findall(text)}
    return whole, beginnings


def _facts(text: str | dict[str, str]) -> set[str]:
    texts = [text] if isinstance(text, str) else list(text.values())
    return {name for each in texts for _, name, _, _ in string.Formatter().parse(each) if name}


def test_the_scan_finds_what_pages_ask_for() -> None:
    whole, beginnings = _asked()

    assert {"live.power_now", "login.title"} <= whole
    assert {"period.", "quality."} <= beginnings


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_every_text_asked_for_exists(language: str) -> None:
    whole, beginnings = _asked()

    assert whole - words.keys(language) == set()
    assert {
        start for start in beginnings if not any(key.startswith(start) for key in words.keys(language))
    } == set()


def test_languages_have_the_same_keys() -> None:
    assert words.keys("zh") == words.keys("en")


def test_languages_take_the_same_facts() -> None:
    zh, en = (words._CATALOGUES[language] for language in ("zh", "en"))

    assert {key: (_facts(zh[key]), _facts(en[key])) for key in zh if _facts(zh[key]) != _facts(en[key])} == {}


def test_no_text_is_left_over() -> None:
    whole, beginnings = _asked()
    mentioned = {
        key for path in (*TEMPLATES, *PYTHON) for key in _WHOLE_CHOICE.findall(path.read_text("utf-8"))
    }
    used = whole | mentioned

    assert {key for key in words.keys("zh") - used if not key.startswith(tuple(beginnings))} == set()


def test_a_count_of_one_has_its_own_form() -> None:
    assert say("en", "accounts.count", n=1) == "1 account"
    assert say("en", "accounts.count", n=2) == "2 accounts"
    assert say("zh", "accounts.count", n=2) == "共 2 户"


def test_a_missing_key_or_fact_is_a_bug_not_a_guess() -> None:
    with pytest.raises(NoWords, match=r"no\.such"):
        say("zh", "no.such")
    with pytest.raises(NoWords, match="needs the fact"):
        say("zh", "live.sampled_at")
    with pytest.raises(NoWords):
        say("de", "login.title")


def test_facts_are_put_in_as_they_are_and_never_read_as_a_pattern() -> None:
    assert say("zh", "live.sampled_at", at="{0.__class__}") == "采样 {0.__class__}"


@pytest.mark.parametrize("language", words.LANGUAGES)
@pytest.mark.parametrize("period", PERIODS)
def test_a_period_has_one_name_on_live_page_and_bill(language: str, period: Period) -> None:
    assert say(language, f"period.{period}") == word(Language(language), f"period.{period}")
