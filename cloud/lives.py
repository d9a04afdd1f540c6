"""A life is a table: which deed leads from which state to which. Pure; no other state logic exists anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cloud.errors import NotNow


class NoSuchMove(NotNow):
    """The thing is not in a state in which this deed is possible."""


@dataclass(frozen=True, slots=True)
class Life:
    """`moves`: (state, deed) → next state; the state None is before the beginning."""

    name: str
    moves: Mapping[tuple[str | None, str], str]


def step(life: Life, state: str | None, deed: str) -> str:
    """Take a deed and return the state it leads to. Raises NoSuchMove."""
    try:
        return life.moves[state, deed]
    except KeyError:
        raise NoSuchMove("no_such_move", life=life.name, state=state, deed=deed) from None


def deeds(life: Life, state: str | None) -> tuple[str, ...]:
    """List what can be done in a state, in the table's order: which buttons a page shows."""
    return tuple(deed for before, deed in life.moves if before == state)
