"""The books of a market month: named differences, who shares them, the grid company's lines, and the proof. Pure.

Law of conservation: all lines of all units add up to zero. What users and retailers pay is what generators receive,
plus the differences, each by its own name (976号 art. 14). With a spot market the grid company buys what nobody in
the market used (agency customers, losses), computed from quantities and prices and not as a remainder; what is then
left is the rounding of lines, less than half a fen for each, and is shown as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from cloud.errors import Invalid
from cloud.market import sums
from cloud.market.allocation import Share, allocate
from cloud.market.line import GRID_UNIT, Derivation, Input, Item, SettlementLine, Side
from cloud.market.month import ContractFacts, MarketMonth, UnitFacts, added_kwh, mwh, stretches
from cloud.market.rulefile import Difference, Form
from cloud.market.settlement import contract_position
from cloud.markettime import month_after
from cloud.money import quotient, yuan

PRICE_QUANTUM = Decimal("0.001")
_DEVIATIONS = (Item.DEVIATION_OVER, Item.DEVIATION_UNDER)
_USING = (Side.USER, Side.RETAILER)
CAUSES: dict[Difference, tuple[tuple[Item, ...], tuple[Side, ...]]] = {
    Difference.USER_DEVIATION: (_DEVIATIONS, _USING),
    Difference.GENERATOR_DEVIATION: (_DEVIATIONS, (Side.GENERATOR,)),
    Difference.USER_ASSESSMENT: ((Item.ASSESSMENT,), _USING),
    Difference.GENERATOR_ASSESSMENT: ((Item.ASSESSMENT,), (Side.GENERATOR,)),
    Difference.MECHANISM: ((Item.MECHANISM,), (Side.GENERATOR,)),
    Difference.MECHANISM_ENERGY: ((Item.MECHANISM_ENERGY,), (Side.GENERATOR,)),
    Difference.LINE_LOSS: ((Item.LINE_LOSS,), _USING),
}
MIRRORED = (Item.CONTRACT, Item.CONTRACT_DIFFERENCE, Item.GREEN)


class Unbalanced(Invalid):
    """The lines of a month do not add up to zero: a bug or a hole in the data; nothing of it may be published."""


@dataclass(frozen=True, slots=True)
class Named:
    """A named difference: what its causes add up to (positive: paid by the units), and who got it."""

    name: Difference
    amount_fen: int
    shares: tuple[Share, ...]

    @property
    def is_held(self) -> bool:
        """Whether it stays with the grid company under its name."""
        return not self.shares


@dataclass(frozen=True, slots=True)
class Conservation:
    """The sums that prove a month: by side, by item, and over everything, which is zero."""

    by_side: tuple[tuple[Side, int], ...]
    by_item: tuple[tuple[Item, int], ...]
    differences: tuple[Named, ...]
    rounding_fen: int
    total_fen: int


@dataclass(frozen=True, slots=True)
class Books:
    """Everything a balanced month adds to the units' own lines, and the proof."""

    lines: tuple[SettlementLine, ...]
    conservation: Conservation


def balance(
    market: MarketMonth,
    units: Sequence[UnitFacts],
    contracts: Sequence[ContractFacts],
    own: Sequence[SettlementLine],
) -> Books:
    """Share the named differences and close the books of a month. Raises Unbalanced, NobodyToShare."""
    _check_mirrors(own)
    named = tuple(each for each in (_named(market, units, own, name) for name in CAUSES) if each.amount_fen)
    lines = [line for each in named for line in _difference_lines(market, units, each)]
    if market.rule.form is Form.SPOT:
        lines += _residual_lines(market, units, contracts)
    rounding = sum(line.amount_fen for line in (*own, *lines))
    if rounding:
        _check_rounding(market, rounding, len(own) + len(lines))
        lines.append(_rounding_line(market, rounding))
    everything = (*own, *lines)
    return Books(tuple(lines), conservation_of(everything, named, -rounding))


def conservation_of(
    lines: Sequence[SettlementLine], named: tuple[Named, ...], rounding_fen: int
) -> Conservation:
    """Add up the proof. Raises Unbalanced."""
    whole = sum(line.amount_fen for line in lines)
    if whole:
        raise Unbalanced("market_unbalanced", fen=whole, item="total")
    return Conservation(
        tuple((side, sum(x.amount_fen for x in lines if x.side is side)) for side in Side),
        tuple((item, sum(x.amount_fen for x in lines if x.item is item)) for item in Item),
        named,
        rounding_fen,
        whole,
    )


def _check_mirrors(lines: Sequence[SettlementLine]) -> None:
    for item in MIRRORED:
        left = sum(line.amount_fen for line in lines if line.item is item)
        if left:
            raise Unbalanced("market_unbalanced", fen=left, item=item.value)


def _named(
    market: MarketMonth, units: Sequence[UnitFacts], lines: Sequence[SettlementLine], name: Difference
) -> Named:
    items, sides = CAUSES[name]
    amount = sum(line.amount_fen for line in lines if line.item in items and line.side in sides)
    if not amount:
        return Named(name, 0, ())
    among = market.rule.sharing_of(name).among
    kwh = {unit.unit_id: sum(unit.actual_kwh) for unit in units if unit.side in among}
    weights = [(unit_id, weight) for unit_id, weight in kwh.items() if weight]
    return Named(name, amount, allocate(name, amount, weights) if among else ())


def _difference_lines(market: MarketMonth, units: Sequence[UnitFacts], named: Named) -> list[SettlementLine]:
    by_id = {unit.unit_id: unit for unit in units}
    rule = market.rule
    surplus = Input("surplus", yuan(named.amount_fen), "yuan", "lines", rule.document)
    if named.is_held:
        line = _grid_line(market, Item.HELD, -named.amount_fen, "-(surplus)", (surplus,))
        return [_of_difference(line, named.name)]
    whole_kwh = sum(share.weight_kwh for share in named.shares)
    found = []
    for share in named.shares:
        unit = by_id[share.name]
        if share.is_last:
            others = named.amount_fen - share.amount_fen
            formula = "-(surplus - others)"
            inputs: tuple[Input, ...] = (surplus, Input("others", yuan(others), "yuan", "lines"))
        else:
            formula = "-(surplus * weight / weights)"
            inputs = (
                surplus,
                Input("weight", mwh(share.weight_kwh), "MWh", "intervals"),
                Input("weights", mwh(whole_kwh), "MWh", "intervals"),
            )
        quantity = mwh(share.weight_kwh)
        price = quotient(yuan(share.amount_fen), quantity, PRICE_QUANTUM) if quantity else Decimal(0)
        found.append(
            SettlementLine(
                unit.unit_id,
                unit.party_id,
                unit.side,
                Item.SHARE,
                None,
                "month",
                quantity,
                -price,
                -share.amount_fen,
                Derivation(formula, inputs, market.month, month_after(market.month)),
                rule.origin,
                named.name,
            )
        )
    return found


def _residual_lines(
    market: MarketMonth, units: Sequence[UnitFacts], contracts: Sequence[ContractFacts]
) -> list[SettlementLine]:
    pieces = stretches(market.rule, market.month)
    size = pieces[-1].end
    grid = UnitFacts(GRID_UNIT, None, Side.GRID)
    ahead, actual = [], []
    for unit in units:
        position = contract_position(unit, contracts, size)
        sign = 1 if unit.side is Side.GENERATOR else -1
        ahead.append(tuple(sign * kwh for kwh in (unit.day_ahead_kwh if unit.is_metered else position)))
        actual.append(tuple(sign * kwh for kwh in (unit.actual_kwh if unit.is_metered else position)))
    kwh = {"a": added_kwh(size, ahead), "m": added_kwh(size, actual)}
    wanted = sums.Sum(Item.RESIDUAL, sums.RESIDUAL, kwh, 1)
    return [sums.sum_line(grid, market, wanted, piece) for piece in pieces]


def _check_rounding(market: MarketMonth, rounding_fen: int, lines_count: int) -> None:
    # Without spot every amount is paid by one and received by another, to the fen: nothing may be left.
    if market.rule.form is not Form.SPOT or 2 * abs(rounding_fen) > lines_count:
        raise Unbalanced("market_unbalanced", fen=rounding_fen, item="rounding")


def _rounding_line(market: MarketMonth, rounding_fen: int) -> SettlementLine:
    inputs = (Input("surplus", yuan(rounding_fen), "yuan", "lines"),)
    return _grid_line(market, Item.ROUNDING, -rounding_fen, "-(surplus)", inputs)


def _grid_line(
    market: MarketMonth,
    item: Item,
    amount_fen: int,
    formula: str,
    inputs: tuple[Input, ...],
) -> SettlementLine:
    derivation = Derivation(formula, inputs, market.month, month_after(market.month))
    return SettlementLine(
        GRID_UNIT,
        None,
        Side.GRID,
        item,
        None,
        "month",
        Decimal(0),
        Decimal(0),
        amount_fen,
        derivation,
        market.rule.origin,
    )


def _of_difference(line: SettlementLine, name: Difference) -> SettlementLine:
    return replace(line, difference=name)
