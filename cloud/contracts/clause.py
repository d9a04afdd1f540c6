"""A clause of the library: a numbered text with `{variables}`, dated by version, read from TOML. Pure.

A locked clause is owed to law or the market's rules and stands in every contract as it is; of the others the parties
may agree something else, which the comparison with the standard text then shows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cloud.contracts.entries import Entries, entries_from
from cloud.errors import Invalid

TEXT_ID = re.compile(r"[a-z][a-z0-9-]{1,48}", re.ASCII)
PLACE = re.compile(r"\{([a-z][a-z0-9_]{0,39})\}", re.ASCII)
BODY_MAX = 4000
VERSION_MAX = 9999


class UnknownVariable(Invalid):
    """A text asks for a variable that nobody gives."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause; `basis` names the rules that it rests on."""

    clause_id: str
    version: int
    title: str
    body: str
    basis: tuple[str, ...]
    is_locked: bool

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of its text, each once, in order."""
        return tuple(dict.fromkeys(PLACE.findall(self.body)))


def clause_from(file: str, text: str) -> Clause:
    """Read a clause. Raises BadMarketFile."""
    table = entries_from(file, text)
    clause = Clause(
        text_id_of(table),
        table.integer("version", 1, VERSION_MAX),
        table.text("title"),
        _body(table),
        table.texts("basis"),
        table.flag("locked", False),
    )
    table.done()
    return clause


def text_id_of(table: Entries) -> str:
    """Read the id of a clause or template."""
    text_id = table.text("id")
    if not TEXT_ID.fullmatch(text_id):
        table.refuse("id", text_id, "2 to 49 small letters, digits and -")
    return text_id


def filled(body: str, values: Mapping[str, str]) -> str:
    """Put values into the places of a text; a value is text and is never read again. Raises UnknownVariable."""

    def put(place: re.Match[str]) -> str:
        try:
            return values[place[1]]
        except KeyError:
            raise UnknownVariable("unknown_variable", name=place[1]) from None

    return PLACE.sub(put, body)


def _body(table: Entries) -> str:
    body = table.take("body")
    if not isinstance(body, str) or not 1 <= len(body.strip()) <= BODY_MAX:
        table.refuse("body", body, f"a text of 1 to {BODY_MAX} characters")
    return "\n".join(line.strip() for line in body.strip().splitlines())
