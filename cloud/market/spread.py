"""Price differences with a return coefficient 价差对、返还系数 (广东 2016, replaced in 2017). Pure, exact fractions.

Orders declare a difference to the benchmark price. Pairs are matched as in high-low pairing; of the surplus W between
bids and asks the share beta goes to the sellers, the rest to the buyers. How a side shares its part was stated in two
ways, so both are computed (market.md 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from cloud.errors import Invalid
from cloud.market.auction import Order, Pair, Side, paired


class ReturnSplit(StrEnum):
    """In proportion to what a side's part of the surplus is shared."""

    BY_VOLUME = "by_volume"
    BY_DECLARED_MONEY = "by_declared_money"


class BetaOutOfRange(Invalid):
    """A return coefficient is a share: 0 to 1."""


@dataclass(frozen=True, slots=True)
class SpreadReturn:
    """The matched pairs, the surplus W (tick x kWh), and each traded order's exact difference in ticks."""

    pairs: tuple[Pair, ...]
    surplus_tick_kwh: int
    settled_ticks: Mapping[str, Fraction]

    @property
    def volume_kwh(self) -> int:
        """What was matched."""
        return sum(pair.quantity_kwh for pair in self.pairs)

    def filled_kwh(self) -> dict[str, int]:
        """Order id -> quantity, of the orders that traded."""
        filled: dict[str, int] = {}
        for pair in self.pairs:
            filled[pair.buy_id] = filled.get(pair.buy_id, 0) + pair.quantity_kwh
            filled[pair.sell_id] = filled.get(pair.sell_id, 0) + pair.quantity_kwh
        return filled

    def money(self) -> dict[str, int]:
        """Order id -> ticks x kWh, whole, in proportion to the exact amounts; what buyers pay is what sellers get.

        The buyers' total is rounded once; the units left over go to the largest remainders of each side.
        """
        filled = self.filled_kwh()
        sides = (
            tuple(dict.fromkeys(pair.buy_id for pair in self.pairs)),
            tuple(dict.fromkeys(pair.sell_id for pair in self.pairs)),
        )
        rounded: dict[str, int] = {}
        for ids in sides:
            exact = [self.settled_ticks[each] * filled[each] for each in ids]
            rounded |= dict(zip(ids, _rounded(exact), strict=True))
        return rounded


def spread_return(
    orders: Iterable[Order], beta: Fraction, split: ReturnSplit = ReturnSplit.BY_VOLUME
) -> SpreadReturn:
    """Match and share the surplus: sellers get their difference plus beta W, buyers pay theirs less (1 - beta) W.

    Raises BetaOutOfRange. Where every order of a side declared no difference at all, its part is shared by volume.
    """
    if not 0 <= beta <= 1:
        raise BetaOutOfRange("beta_out_of_range", beta=str(beta))
    listed = {order.id: order for order in orders}
    pairs = paired(listed.values())
    surplus = sum(pair.quantity_kwh * (pair.bid_ticks - pair.ask_ticks) for pair in pairs)
    matched = SpreadReturn(pairs, surplus, {})
    filled = matched.filled_kwh()
    settled: dict[str, Fraction] = {}
    for side, share in ((Side.SELL, beta), (Side.BUY, beta - 1)):
        own = {each: kwh for each, kwh in filled.items() if listed[each].side is side}
        weights = _weights({each: listed[each].price_ticks for each in own}, own, split)
        whole = sum(weight * own[each] for each, weight in weights.items())
        for each, weight in weights.items():
            settled[each] = listed[each].price_ticks + share * surplus * Fraction(weight, whole)
    return SpreadReturn(pairs, surplus, settled)


def _weights(ticks: Mapping[str, int], filled: Mapping[str, int], split: ReturnSplit) -> dict[str, int]:
    """What a kWh of each order counts."""
    if split is ReturnSplit.BY_DECLARED_MONEY and any(ticks.values()):
        return {each: abs(ticks[each]) for each in filled}
    return dict.fromkeys(filled, 1)


def _rounded(exact: list[Fraction]) -> list[int]:
    """Round parts so that they add up to the whole, itself rounded down: both sides have the same exact whole."""
    whole = sum(exact, Fraction(0)).__floor__()
    parts = [each.__floor__() for each in exact]
    order = sorted(range(len(parts)), key=lambda index: (parts[index] - exact[index], index))
    for index in order[: whole - sum(parts)]:
        parts[index] += 1
    return parts
