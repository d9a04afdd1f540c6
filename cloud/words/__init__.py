"""What people read: say(language, key, **facts), from one catalogue per language.

Catalogues are the TOML files in zh/ and en/, one file per topic: nested tables give dotted keys
("live.power_now"); no key may stand in two files. A text with a count is a table {one = "…", other = "…"}, chosen by the fact `n`.
Texts are whole sentences with named facts, never glued together, so each language keeps its own order.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Final

LANGUAGES: Final = ("zh", "en")
HTML_LANGUAGE: Final = {"zh": "zh-Hans", "en": "en"}


class NoWords(KeyError):
    """A key or a fact is missing: a bug in the page, found by the tests, never shown as a guess."""


def say(language: str, key: str, /, **facts: object) -> str:
    """The text of `key` in `language` with the facts put in. Raises NoWords."""
    try:
        text = _CATALOGUES[language][key]
    except KeyError as missing:
        raise NoWords(f"{language}: {key}") from missing
    if isinstance(text, dict):
        text = text["one" if facts.get("n") == 1 else "other"]
    try:
        return text.format(**facts)
    except KeyError as missing:
        raise NoWords(f"{language}: {key} needs the fact {missing}") from missing


def known(key: str) -> bool:
    """Whether every language has a text for the key."""
    return all(key in catalogue for catalogue in _CATALOGUES.values())


def keys(language: str) -> frozenset[str]:
    """All keys of one catalogue."""
    return frozenset(_CATALOGUES[language])


def _flat(table: dict[str, object], prefix: str = "") -> dict[str, str | dict[str, str]]:
    found: dict[str, str | dict[str, str]] = {}
    for name, value in table.items():
        if isinstance(value, str) or (isinstance(value, dict) and set(value) == {"one", "other"}):
            found[prefix + name] = value
        elif isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            raise TypeError(f"{prefix}{name}: a text is a string or {{one, other}}")
    return found


def _load(language: str) -> dict[str, str | dict[str, str]]:
    found: dict[str, str | dict[str, str]] = {}
    for file in sorted(files(__package__).joinpath(language).iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            topic = _flat(tomllib.loads(file.read_text("utf-8")))
            if twice := found.keys() & topic.keys():
                raise TypeError(f"{language}/{file.name}: {sorted(twice)} stand in another file too")
            found |= topic
    return found


_CATALOGUES: Final = {language: _load(language) for language in LANGUAGES}
