"""Two texts side by side, clause by clause and character by character: what was changed, added, left out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

SAME, CHANGED, ADDED, REMOVED = "same", "changed", "added", "removed"
PIECES_MAX = 8000  # characters of a clause beyond which it is shown whole


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of characters: 'same', 'added' (in the new text only) or 'removed' (in the old text only)."""

    how: str
    text: str


@dataclass(frozen=True, slots=True)
class ClauseChange:
    """What became of a clause."""

    clause_id: str
    title: str
    how: str
    pieces: tuple[Piece, ...]


def pieces(before: str, after: str) -> tuple[Piece, ...]:
    """Tell character runs apart; joined, all but the added give `before`, all but the removed give `after`."""
    if before == after:
        return (Piece(SAME, before),) if before else ()
    if len(before) + len(after) > PIECES_MAX:
        return tuple(piece for piece in (Piece(REMOVED, before), Piece(ADDED, after)) if piece.text)
    found: list[Piece] = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for how, start, end, other_start, other_end in matcher.get_opcodes():
        if how == "equal":
            found.append(Piece(SAME, before[start:end]))
            continue
        if end > start:
            found.append(Piece(REMOVED, before[start:end]))
        if other_end > other_start:
            found.append(Piece(ADDED, after[other_start:other_end]))
    return tuple(found)


def changes(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> tuple[ClauseChange, ...]:
    """Compare clauses (mappings with clause_id, title, text) in the new order; clauses left out come last."""
    old = {each["clause_id"]: each for each in before}
    new_ids = {each["clause_id"] for each in after}
    found = [_change(old.get(each["clause_id"]), each) for each in after]
    found += [
        ClauseChange(each["clause_id"], each["title"], REMOVED, (Piece(REMOVED, each["text"]),))
        for each in before
        if each["clause_id"] not in new_ids
    ]
    return tuple(found)


def is_changed(found: Sequence[ClauseChange]) -> bool:
    """Whether anything differs at all."""
    return any(change.how != SAME for change in found)


def changes_json(found: Sequence[ClauseChange]) -> list[dict[str, Any]]:
    """Write changes as plain values, for the page and for what a confirmation keeps."""
    return [
        {
            "clause_id": change.clause_id,
            "title": change.title,
            "how": change.how,
            "pieces": [[piece.how, piece.text] for piece in change.pieces],
        }
        for change in found
    ]


def _change(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> ClauseChange:
    if old is None:
        return ClauseChange(new["clause_id"], new["title"], ADDED, (Piece(ADDED, new["text"]),))
    found = pieces(old["text"], new["text"])
    how = SAME if (old["title"], old["text"]) == (new["title"], new["text"]) else CHANGED
    return ClauseChange(new["clause_id"], new["title"], how, found)
