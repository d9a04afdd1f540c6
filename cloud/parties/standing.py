"""Standing: whether a party may trade now, and how far. Pure.

The gate of every session, listing and contract. What cannot be said is None, never a guess: no limit is asked of the
party, or it is not graded yet. A grade orders nothing by itself: who may declare first is a session's rule
(market/sessionfile.py, `first`), and what is declared is ranked by price and time alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cloud.errors import NotFound

ADMITTED: Final = "effective"


class NoParty(NotFound):
    """There is no such party, or this transaction does not see it."""


class Grade(StrEnum):
    """三等五级: five grades in three classes (湖南 2022)."""

    AAA = "AAA"
    AA = "AA"
    A = "A"
    B = "B"
    C = "C"


UNRATED: Final = Grade.A  # whoever has no grade yet counts as A (湖南 2022)


@dataclass(frozen=True, slots=True)
class Standing:
    """A party at the gate at an instant."""

    party_id: int
    kind: str
    is_admitted: bool
    grade: str | None  # AAA … C; None: not graded yet
    guarantee_free_fen: int | None  # lodged, in force and not reserved; None: this kind need not lodge any
    limit_kwh: (
        int | None
    )  # the most it may contract in one session, all periods together; None: no limit of credit


def standing(
    party_id: int,
    kind: str,
    state: str,
    *,
    grade: Grade | None,
    guarantee_free_fen: int | None,
    limit_kwh: int | None,
) -> Standing:
    """Say where a party stands: only an admitted one may trade."""
    return Standing(
        party_id,
        kind,
        state == ADMITTED,
        None if grade is None else grade.value,
        guarantee_free_fen,
        limit_kwh,
    )
