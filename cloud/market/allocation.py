"""Allocation of a named amount by weights, exact to the fen: the last in the listed order takes the remainder. Pure.

Source: tariffs-and-settlement 10.4; shares by energy of the month: 889号 art. 110.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloud.errors import Invalid
from cloud.money import shares


class NobodyToShare(Invalid):
    """A named difference is to be shared among units of which none has any weight."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one participant gets of an allocation."""

    name: str
    weight_kwh: int
    amount_fen: int
    is_last: bool


def allocate(name: str, surplus_fen: int, weights: Sequence[tuple[str, int]]) -> tuple[Share, ...]:
    """Share `surplus_fen` over (participant, weight) in the listed order; the shares add up to it exactly.

    Each is round(surplus x weight / sum); the last with a weight takes the remainder. Raises NobodyToShare.
    """
    if not any(weight for _, weight in weights):
        raise NobodyToShare("nobody_to_share", difference=name, fen=surplus_fen)
    amounts = shares(surplus_fen, [weight for _, weight in weights])
    last = max(number for number, (_, weight) in enumerate(weights) if weight)
    return tuple(
        Share(participant, weight, amount, number == last)
        for number, ((participant, weight), amount) in enumerate(zip(weights, amounts, strict=True))
    )
