"""Named ways to fill a gap (拟合). Pure, whole watt-hours, and none of them makes or loses one.

Between two register readings the energy of a gap is known; only its course within the gap is estimated. The ways are
Oracle's "Interval Adjustment from Scalar" by the shape of a like day, and the straight line when no like day is there
(tariffs-and-settlement §14.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate, pairwise


class Method(StrEnum):
    """How a slot was filled."""

    LIKE_DAY = "like_day"
    LINEAR = "linear"


def shared(energy_wh: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Split a whole into parts proportional to weights, in whole units that add up to it exactly.

    Each running total is rounded down, so no part is negative and the remainder is spread over the parts.
    Weights that are all zero share equally.
    """
    if energy_wh < 0 or min(weights) < 0:
        raise ValueError("energy and weights are never negative")
    counted = weights if any(weights) else [1] * len(weights)
    whole = sum(counted)
    totals = [energy_wh * weight // whole for weight in accumulate(counted, initial=0)]
    return tuple(after - before for before, after in pairwise(totals))


def filled_by_like_day(
    register_difference_wh: int, good_sum_wh: int, like_day_wh: Sequence[int]
) -> tuple[int, ...]:
    """Fill the missing points of a day whose register difference is known, by a like day's values at those points.

    Missing energy = register difference - sum of the good points (case VE-101).
    """
    return shared(register_difference_wh - good_sum_wh, like_day_wh)
